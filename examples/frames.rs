//! What a camera gives, without models and without pictures: one line for each frame or state, with a hash of the bytes and of
//! the decoded pixels. The camera test bed (`cargo xtask vm`) compares the hashes with those of what it fed in.
//!
//! ```text
//! frames DEVICE FRAMES [format=yuyv] [size=640x480] [fps=30] [stride=2048] [wait=10]
//! frames --hash FORMAT SIZE FILE        the line that a frame with the bytes of FILE has
//! frames --yuyv SIZE JPEG FILE          a JPEG as a raw frame
//! ```
//! Ends after FRAMES frames, or after `wait` seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use porchlight::decode::{Decoder, Limits};
use porchlight::frame::{CameraId, Frame, PixelFormat, RawFrame, Stamp};
use porchlight::geom::Size;
use porchlight::source::camera::{CameraSource, Wish};
use porchlight::source::{FrameSource, Pulled};

/// FNV-1a: short, and good enough to tell two pictures apart.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn format(word: &str) -> Option<PixelFormat> {
    use PixelFormat::{Grey, I420, Mjpg, Nv12, Uyvy, Yuyv};
    [Grey, I420, Mjpg, Nv12, Uyvy, Yuyv].into_iter().find(|format| format.name() == word)
}

fn size(word: &str) -> Option<Size> {
    let (width, height) = word.split_once('x')?;
    Some(Size::new(width.parse().ok()?, height.parse().ok()?))
}

/// A picture of another size as YUYV, BT.601, limited range: the nearest pixel will do.
fn yuyv(frame: &Frame, size: Size) -> Vec<u8> {
    let (from, rgb) = (frame.size(), frame.to_rgb());
    let mut out = Vec::with_capacity(size.pixels() * 2);
    for y in 0..size.height {
        for x in 0..size.width {
            let at = (y * from.height / size.height * from.width + x * from.width / size.width) as usize * 3;
            let [r, g, b] = [0, 1, 2].map(|channel| f32::from(rgb[at + channel]));
            let chroma = if x % 2 == 0 {
                128.0 - 0.148 * r - 0.291 * g + 0.439 * b
            } else {
                128.0 + 0.439 * r - 0.368 * g - 0.071 * b
            };
            out.extend([16.0 + 0.257 * r + 0.504 * g + 0.098 * b, chroma].map(|value| value.round() as u8));
        }
    }
    out
}

fn describe(raw: &mut RawFrame, decoder: &mut Decoder, frame: &mut Frame) -> String {
    // Of the bytes as they came: decoding may take them.
    let (length, came) = (raw.data.len(), hash(&raw.data));
    let pixels = match decoder.decode(raw, frame) {
        Ok(()) => format!("{:016x}", hash(&frame.to_rgb())),
        Err(error) => format!("undecodable ({error})"),
    };
    format!("bytes={length} hash={came:016x} stride={} pixels={pixels}", raw.stride)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    let (mut decoder, mut frame) = (Decoder::new(Limits::default()), Frame::new());
    if let ["--hash", code, wanted, file] = words[..] {
        let format = format(code).ok_or("an unknown format")?;
        let size = size(wanted).ok_or("a size is WIDTHxHEIGHT")?;
        let range = porchlight::frame::Range::Limited;
        let data = std::fs::read(file)?;
        let stride = data.len() / size.height as usize;
        let mut raw = RawFrame { stamp: Stamp::default(), format, size: Some(size), stride, range, data };
        writeln!(out, "{}", describe(&mut raw, &mut decoder, &mut frame))?;
        return Ok(());
    }
    if let ["--yuyv", wanted, jpeg, file] = words[..] {
        let mut raw = RawFrame {
            stamp: Stamp::default(),
            format: PixelFormat::Mjpg,
            size: None,
            stride: 0,
            range: porchlight::frame::Range::Full,
            data: std::fs::read(jpeg)?,
        };
        decoder.decode(&mut raw, &mut frame)?;
        std::fs::write(file, yuyv(&frame, size(wanted).ok_or("a size is WIDTHxHEIGHT")?))?;
        return Ok(());
    }
    let [device, frames, options @ ..] = &words[..] else { return Err("wanted DEVICE FRAMES [KEY=VALUE...]".into()) };
    let mut wish = Wish::default();
    let mut wait = Duration::from_secs(10);
    for option in options {
        let (key, value) = option.split_once('=').ok_or("options are KEY=VALUE")?;
        match key {
            "format" => wish.format = Some(format(value).ok_or("an unknown format")?),
            "size" => wish.size = size(value).ok_or("a size is WIDTHxHEIGHT")?,
            "fps" => wish.fps = value.parse()?,
            "stride" => wish.stride = value.parse()?,
            "wait" => wait = Duration::from_secs(value.parse()?),
            _ => return Err(format!("unknown option {key}").into()),
        }
    }
    let mut left: u64 = frames.parse()?;
    let mut source = CameraSource::open(device.as_ref(), CameraId(0), &wish, &Limits::default())?;
    if let Some(agreed) = source.agreed() {
        writeln!(out, "agreed {} {} {:.2} stride={}", agreed.format.name(), agreed.size, agreed.fps, agreed.stride)?;
    }
    let begun = Instant::now();
    let mut buffer = Vec::new();
    while left > 0 && begun.elapsed() < wait {
        buffer = match source.next(buffer)? {
            Pulled::Frame(mut raw) => {
                left -= 1;
                let Stamp { seq, driver_seq, at, .. } = raw.stamp;
                let ms = at.0 / 1_000_000;
                writeln!(
                    out,
                    "frame {seq} driver={driver_seq} ms={ms} {}",
                    describe(&mut raw, &mut decoder, &mut frame)
                )?;
                raw.data
            }
            Pulled::Passed { buffer, .. } | Pulled::Unread { raw: RawFrame { data: buffer, .. }, .. } => buffer,
            Pulled::Skipped { buffer, reason, .. } => {
                writeln!(out, "skipped {reason}")?;
                buffer
            }
            Pulled::State { buffer, state } => {
                writeln!(out, "state {:?} {} attempt={}", state.change, state.reason.word(), state.attempt)?;
                buffer
            }
            Pulled::Quiet(buffer) => buffer,
            Pulled::End => break,
        };
    }
    writeln!(out, "end {left} frames short")?;
    Ok(())
}
