//! What the fuzzers run. Each body takes any bytes and must return: no panic, no hang, no memory beyond the limits.
//!
//! - nightly: `cargo +nightly fuzz run decode --features libfuzzer` (also `mjpeg_split`, `y4m`, `gate`)
//! - stable: `cargo test --manifest-path fuzz/Cargo.toml`, the same bodies over random and damaged bytes

use porchlight::decode::{Decoder, Limits};
use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
use porchlight::geom::Size;
use porchlight::seal::gate::{Gate, MAX_HELLO, Words};
use porchlight::source::Pulled;
use porchlight::source::mjpeg::{Split, Splitter};
use porchlight::source::replay::{Options, from_bytes};

/// Every format, so that a byte chooses one.
pub const FORMATS: [PixelFormat; 10] = [
    PixelFormat::Mjpg,
    PixelFormat::Still,
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::I422,
    PixelFormat::I444,
    PixelFormat::Grey,
    PixelFormat::Rgb24,
];

/// Small limits: the fuzzer looks for wrong code, not for slow pictures.
fn limits() -> Limits {
    Limits { max_size: Size::new(512, 512), max_encoded: 1 << 16 }
}

/// Five bytes of header (format, width, height, stride, flags), then the frame.
pub fn decode(data: &[u8]) {
    let Some((head, body)) = data.split_at_checked(5) else { return };
    let format = FORMATS[usize::from(head[0]) % FORMATS.len()];
    let sized = head[4] & 1 == 1 || !matches!(format, PixelFormat::Mjpg | PixelFormat::Still);
    let mut raw = RawFrame {
        stamp: Stamp::default(),
        format,
        size: sized.then(|| Size::new(u32::from(head[1]), u32::from(head[2]))),
        stride: usize::from(head[3]) << (head[4] >> 6),
        range: if head[4] & 2 == 2 { Range::Full } else { Range::Limited },
        data: body.to_vec(),
    };
    let mut frame = Frame::new();
    match Decoder::new(limits()).decode(&mut raw, &mut frame) {
        Ok(()) => {
            assert_eq!(frame.to_rgb().len(), frame.size().pixels() * 3);
            assert!(frame.luma().is_none_or(|luma| luma.channel.size.pixels() > 0));
            assert!(frame.size().long_side() <= 512);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
            // The guard turns a codec's panic into an error; to a fuzzer it is a find.
            assert!(!line.contains("panicked"), "{line}");
        }
    }
}

/// A byte for the size of the pieces, then the stream: the frames that come out are whole and within the limit.
pub fn mjpeg_split(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let longest = 1 << 12;
    let split = |piece: usize| {
        let mut splitter = Splitter::new(longest);
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        let mut pull = |splitter: &mut Splitter| {
            loop {
                out.clear();
                match splitter.next(&mut out) {
                    Split::Frame(_) => {
                        assert!(out.len() <= longest && out.starts_with(&[0xff, 0xd8]) && out.ends_with(&[0xff, 0xd9]));
                        frames.push(out.clone());
                    }
                    Split::Broken(..) => {}
                    Split::More => break,
                }
            }
        };
        for bytes in stream.chunks(piece) {
            splitter.feed(bytes);
            pull(&mut splitter);
        }
        splitter.finish();
        pull(&mut splitter);
        frames
    };
    let _ = split(usize::from(piece) + 1);
}

/// A y4m stream (the magic is put in front), decoded too.
pub fn y4m(data: &[u8]) {
    let stream = [b"YUV4MPEG2 ", data].concat();
    let options = Options { limits: limits(), ..Options::default() };
    let mut source = from_bytes("fuzz", &stream, &options);
    let (mut decoder, mut frame, mut buffer) = (Decoder::new(limits()), Frame::new(), Vec::new());
    // A frame costs at least the 6 bytes of its line, so that the number of pulls is bounded by the stream.
    for _ in 0..stream.len() {
        match source.next(std::mem::take(&mut buffer)) {
            Ok(Pulled::Frame(mut raw)) => {
                decoder.decode(&mut raw, &mut frame).expect("what the reader accepts can be decoded");
                buffer = raw.data;
            }
            Ok(
                Pulled::Unread { raw: RawFrame { data: back, .. }, .. }
                | Pulled::Passed { buffer: back, .. }
                | Pulled::Skipped { buffer: back, .. }
                | Pulled::State { buffer: back, .. }
                | Pulled::Quiet(back),
            ) => buffer = back,
            Ok(Pulled::End) => return,
            Err(error) => {
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                return;
            }
        }
    }
    panic!("the source does not end");
}

/// Words that the gate is told before the eye is started.
fn words() -> Words {
    let mut words = Words::default();
    ["front", "person", "0.1.0", "net", "a.mjpeg", "mjpg", "qu\"ote"].iter().for_each(|name| words.name(name));
    words.hash(&"a".repeat(64));
    words
}

/// A stream of lines, as an eye could write it: what passes is JSON of the declared kind, in one spelling, and brings nothing along.
pub fn gate(data: &[u8]) {
    let mut gate = Gate::new(words());
    let mut seq = 0;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match gate.pass(line) {
            Ok(()) => {
                assert!(line.ends_with(b"}\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
                let text = std::str::from_utf8(line).expect("names are UTF-8, the rest is ASCII");
                // No white space outside of names, which here have none; no control character; never more than is allowed.
                assert!(!text.trim_end().contains(|c: char| c.is_whitespace() || c.is_control()), "{text}");
                assert!(text.len() <= if seq == 0 { MAX_HELLO } else { 1024 }, "{} bytes", text.len());
                assert!(text.contains(&format!(",\"seq\":{seq},")), "{text}");
                // Behind the name of the run, which may be 16 digits.
                assert!(!text.as_bytes()[31..].windows(13).any(|w| w.iter().all(u8::is_ascii_digit)), "{text}");
                seq += 1;
            }
            Err(refused) => {
                assert_eq!(refused.line, seq);
                // It says where and what was wanted, and quotes nothing.
                assert!(refused.to_string().is_ascii());
                return;
            }
        }
    }
}
