//! V4L2 cameras; the only user of the crate `v4l`.
//!
//! The crate is thin and trusting, so this module is careful in its place:
//!
//! - It panics on driver answers it does not know (a colour space, a card name that is no UTF-8) and, in its destructors, on
//!   any error but "gone": every call runs behind `careful`, and a stream is stopped by hand before it is dropped.
//! - Its `next()` queues the last buffer and then waits; when the wait times out, the following call queues the same buffer
//!   again, which the kernel refuses. So we wait ourselves, before `next()`, and all buffers but the first are queued by hand.
//! - It starts the stream inside `next()`. We start it while opening, where a failure can be reported as one.
//!
//! Drivers adjust what they are asked for without a word: what was really set is read back and obeyed.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use v4l::buffer::{Flags, Metadata, Type};
use v4l::capability::Flags as Able;
use v4l::format::{Colorspace, FourCC, Quantization};
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, Fraction};

use super::pace::now;
use super::{FrameSource, Kind, Pulled, Skip, SourceError, SourceInfo};
use crate::decode::Limits;
use crate::frame::{CameraId, MonoNs, PixelFormat, Range, RawFrame, Stamp};
use crate::geom::Size;

/// Buffers asked of the driver: three to fill while one is being copied.
const BUFFERS: u32 = 4;
/// How long a pull waits for a frame, milliseconds.
const POLL_MS: i32 = 200;
/// A driver's time stamp further than this from now is not believed, nanoseconds.
const BELIEVABLE: u64 = 10_000_000_000;

/// A rate is reached at this part of it: 29.97 is good enough for 30.
const REACHED: f64 = 0.99;

/// The formats we read, the cheapest to decode first. Grey comes last: it is cheap, but has no colour, which costs the
/// detector more. Sorting by this order is part of [`choose`]'s rule.
const FORMATS: [(&[u8; 4], PixelFormat); 6] = [
    (b"NV12", PixelFormat::Nv12),
    (b"YU12", PixelFormat::I420),
    (b"YUYV", PixelFormat::Yuyv),
    (b"UYVY", PixelFormat::Uyvy),
    (b"MJPG", PixelFormat::Mjpg),
    (b"GREY", PixelFormat::Grey),
];

/// What is wanted of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// This format and no other; `None`: any.
    pub format: Option<PixelFormat>,
    /// Width and height.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
}

impl Default for Wish {
    fn default() -> Self {
        Self { format: None, size: Size::new(1280, 720), fps: 15.0 }
    }
}

/// One combination that a camera offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// Pixel format.
    pub format: PixelFormat,
    /// Width and height.
    pub size: Size,
    /// Frame rates, highest first; empty when the driver does not say.
    pub fps: Vec<f64>,
}

impl Mode {
    /// The slowest rate that still reaches `wanted`, else the fastest; `wanted` when the driver does not say.
    fn rate_for(&self, wanted: f64) -> f64 {
        let reaching = self.fps.iter().copied().filter(|fps| *fps >= wanted * REACHED);
        reaching.reduce(f64::min).or(self.fps.first().copied()).unwrap_or(wanted)
    }
}

/// A camera and what it offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Device node.
    pub path: PathBuf,
    /// The card's name.
    pub card: String,
    /// Driver name.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What we can read of what it offers.
    pub modes: Vec<Mode>,
}

/// The mode `run` takes, and why.
///
/// The rule: of the wanted format if one is given; first the size (exact, else the next larger, else the largest smaller),
/// then whether the rate is reached, then the cheapest decoding (NV12, YU12, YUYV, UYVY, MJPG, GREY). `None` when nothing
/// offered can be read.
pub fn choose<'a>(modes: &'a [Mode], wish: &Wish) -> Option<(&'a Mode, String)> {
    let size_class = |size: Size| {
        let (width, height) = (wish.size.width, wish.size.height);
        match (size == wish.size, size.width >= width && size.height >= height) {
            (true, _) => (0, 0),
            (false, true) => (1, size.pixels() as u64),
            (false, false) => (2, u64::MAX - size.pixels() as u64),
        }
    };
    let cost = |format| FORMATS.iter().position(|(_, known)| *known == format).unwrap_or(FORMATS.len());
    // 0 when the rate is reached, else more the further it is missed, in steps of a tenth.
    let short = |mode: &Mode| match mode.rate_for(wish.fps) {
        rate if rate >= wish.fps * REACHED => 0,
        rate => 1 + ((wish.fps - rate) * 10.0 / wish.fps.max(0.1)) as u64,
    };
    let able = modes.iter().filter(|mode| wish.format.is_none_or(|format| format == mode.format));
    let best = able.min_by_key(|mode| (size_class(mode.size), short(mode), cost(mode.format)))?;
    let size = match size_class(best.size).0 {
        0 => "the wanted size",
        1 => "the next larger size",
        _ => "the largest size",
    };
    let rate = if short(best) == 0 { "reaches the rate" } else { "comes closest to the rate" };
    Some((best, format!("{size}, {rate}, cheapest to decode of those")))
}

/// Runs a call of the crate `v4l`: its errors get names, and its panics become errors.
fn careful<T>(name: &str, doing: &'static str, call: impl FnOnce() -> io::Result<T>) -> Result<T, SourceError> {
    // AssertUnwindSafe: after a panic the device is closed and nothing of it used again.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| named(name, doing, &error)),
        Err(_) => Err(SourceError::Camera {
            name: name.to_owned(),
            doing,
            problem: "the driver gave an answer that the v4l library does not know".to_owned(),
            kind: Kind::Broken,
        }),
    }
}

/// An ioctl's error, with its meaning for a camera.
fn named(name: &str, doing: &'static str, error: &io::Error) -> SourceError {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
    let (kind, hint) = match errno {
        Errno::NODEV | Errno::NXIO | Errno::NOENT => (Kind::Gone, "no such camera (unplugged?)"),
        Errno::BUSY => (Kind::Broken, "another program uses it; `fuser -v DEVICE` names it"),
        Errno::NOSPC => (Kind::Broken, "the USB bus has no room for it; lower size or rate, or use another port"),
        Errno::IO => (Kind::Broken, "the camera or its cable failed"),
        Errno::ACCESS | Errno::PERM => (Kind::Unusable, "add this user to the group video"),
        Errno::NOTTY => (Kind::Unusable, "not a V4L2 device"),
        _ => (Kind::Broken, "the driver refused"),
    };
    SourceError::Camera { name: name.to_owned(), doing, problem: format!("{error}; {hint}"), kind }
}

fn open_device(path: &Path) -> Result<(Device, Offer), SourceError> {
    let name = path.to_string_lossy();
    let unusable = |problem: &str| SourceError::Camera {
        name: name.clone().into_owned(),
        doing: "use it as a camera",
        problem: problem.to_owned(),
        kind: Kind::Unusable,
    };
    let meta = std::fs::metadata(path).map_err(|error| named(&name, "open", &error))?;
    if !meta.file_type().is_char_device() {
        return Err(unusable("not a device; a file goes to --source"));
    }
    let device = careful(&name, "open", || Device::with_path(path))?;
    let caps = careful(&name, "ask what it is", || device.query_caps())?;
    if !caps.capabilities.contains(Able::VIDEO_CAPTURE | Able::STREAMING) {
        return Err(unusable("the node does not capture video; try the camera's other /dev/video node"));
    }
    let modes = careful(&name, "list its formats", || list_modes(&device))?;
    let offer = Offer { path: path.to_owned(), card: caps.card, driver: caps.driver, bus: caps.bus, modes };
    Ok((device, offer))
}

fn list_modes(device: &Device) -> io::Result<Vec<Mode>> {
    let mut modes = Vec::new();
    for description in device.enum_formats()? {
        let fourcc = description.fourcc;
        let Some((_, format)) = FORMATS.iter().find(|(code, _)| **code == fourcc.repr) else { continue };
        let mut sizes = Vec::new();
        // Drivers without this ioctl offer one size, the current one.
        for found in device.enum_framesizes(fourcc).unwrap_or_default() {
            match found.size {
                FrameSizeEnum::Discrete(one) => sizes.push(Size::new(one.width, one.height)),
                // Any size goes: name a few that are usual, and the ends.
                FrameSizeEnum::Stepwise(range) => {
                    let fit = |value: u32, min: u32, max: u32, step: u32| {
                        let value = value.clamp(min, max.max(min));
                        value - (value - min) % step.max(1)
                    };
                    for (width, height) in [(0, 0), (640, 480), (1280, 720), (1920, 1080), (u32::MAX, u32::MAX)] {
                        let width = fit(width, range.min_width, range.max_width, range.step_width);
                        sizes
                            .push(Size::new(width, fit(height, range.min_height, range.max_height, range.step_height)));
                    }
                }
            }
        }
        if sizes.is_empty() {
            let current = device.format()?;
            sizes.push(Size::new(current.width, current.height));
        }
        sizes.sort_by_key(|size| (size.pixels(), size.width));
        sizes.dedup();
        for size in sizes {
            let intervals = device.enum_frameintervals(fourcc, size.width, size.height).unwrap_or_default();
            let mut fps: Vec<f64> = Vec::new();
            for interval in intervals {
                match interval.interval {
                    FrameIntervalEnum::Discrete(one) => fps.extend(rate(one)),
                    FrameIntervalEnum::Stepwise(range) => {
                        fps.extend(rate(range.min).into_iter().chain(rate(range.max)))
                    }
                }
            }
            fps.sort_by(|a, b| b.total_cmp(a));
            modes.push(Mode { format: *format, size, fps });
        }
    }
    Ok(modes)
}

/// Frames per second of a frame interval.
fn rate(interval: Fraction) -> Option<f64> {
    (interval.numerator > 0 && interval.denominator > 0)
        .then(|| f64::from(interval.denominator) / f64::from(interval.numerator))
}

/// The frame interval for a rate, to the thousandth.
fn interval(fps: f64) -> Fraction {
    let rounded = fps.round();
    if (fps - rounded).abs() < 1e-3 {
        return Fraction::new(1, rounded.clamp(1.0, 1000.0) as u32);
    }
    Fraction::new(1000, (fps * 1000.0).round().clamp(1.0, 1e6) as u32)
}

/// What a device offers; for `porchlight cameras`.
///
/// # Errors
/// [`SourceError::Camera`].
pub fn probe(path: &Path) -> Result<Offer, SourceError> {
    open_device(path).map(|(_, offer)| offer)
}

/// The `/dev/video*` nodes in the order of their numbers.
pub fn nodes() -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Every node that captures video, or the reason why it cannot be asked. Nodes of another purpose are left out.
pub fn list() -> Vec<(PathBuf, Result<Offer, SourceError>)> {
    let probed = nodes().into_iter().map(|path| (path.clone(), probe(&path)));
    let other_purpose = "use it as a camera";
    probed
        .filter(|(_, found)| !matches!(found, Err(SourceError::Camera { doing, .. }) if *doing == other_purpose))
        .collect()
}

/// Opens the first camera that answers.
///
/// # Errors
/// [`SourceError::NoCamera`] with the reason for each device tried.
pub fn first(camera: CameraId, wish: &Wish, limits: &Limits) -> Result<CameraSource, SourceError> {
    let mut tried = Vec::new();
    for path in nodes() {
        match CameraSource::open(&path, camera, wish, limits) {
            Ok(source) => return Ok(source),
            Err(SourceError::Camera { name, problem, .. }) => tried.push((name, problem)),
            Err(error) => tried.push((path.to_string_lossy().into_owned(), error.to_string())),
        }
    }
    Err(SourceError::NoCamera { tried })
}

/// What the driver agreed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The camera's name.
    pub card: String,
    /// Why this mode.
    pub why: String,
    /// What differs from the mode asked for, in words; empty when nothing does.
    pub adjusted: String,
    /// Bytes from row to row (0 for MJPG).
    pub stride: usize,
    /// Luma range.
    pub range: Range,
}

/// A streaming camera.
pub struct CameraSource {
    info: SourceInfo,
    size: Size,
    agreed: Agreed,
    camera: CameraId,
    /// `None` once it has failed.
    stream: Option<Stream<'static>>,
    /// The stream's last buffer is with the driver although `next()` failed: it must not be queued again.
    owed: bool,
    seq: u64,
    driver: Option<(u32, u64)>,
    last: MonoNs,
}

impl CameraSource {
    /// Opens `path`, sets the mode that [`choose`] picks and starts streaming.
    ///
    /// # Errors
    /// [`SourceError::Camera`]; its kind says whether trying again makes sense.
    pub fn open(path: &Path, camera: CameraId, wish: &Wish, limits: &Limits) -> Result<Self, SourceError> {
        let name = path.to_string_lossy().into_owned();
        let refuse =
            |doing, problem: String| SourceError::Camera { name: name.clone(), doing, problem, kind: Kind::Unusable };
        let (device, offer) = open_device(path)?;
        let able = offer.modes.iter().filter(|mode| limits.check(mode.size).is_ok()).cloned().collect::<Vec<_>>();
        let Some((mode, why)) = choose(&able, wish) else {
            let wanted = wish.format.map_or("MJPG, YUYV, UYVY, NV12, YU12 or GREY", PixelFormat::name);
            return Err(refuse("find a mode", format!("it offers nothing we read; wanted {wanted}")));
        };
        let fourcc = FORMATS.iter().find(|(_, format)| *format == mode.format).map_or(*b"YUYV", |(code, _)| **code);
        // A fresh Format has stride 0: a stride taken over from `format()` would be kept by the driver.
        let asked = Format::new(mode.size.width, mode.size.height, FourCC::new(&fourcc));
        let got = careful(&name, "set the format", || device.set_format(&asked))?;
        let Some((_, format)) = FORMATS.iter().find(|(code, _)| **code == got.fourcc.repr) else {
            let found = got.fourcc.repr.escape_ascii().to_string();
            return Err(refuse("set the format", format!("the driver gave {found}, which we do not read")));
        };
        let size = Size::new(got.width, got.height);
        limits.check(size).map_err(|error| refuse("set the format", error.to_string()))?;

        let wanted_fps = mode.rate_for(wish.fps);
        // Drivers without a settable rate run at their own; asking is worth a try, failing is not an error.
        let params = careful(&name, "set the rate", || device.set_params(&Parameters::new(interval(wanted_fps)))).ok();
        let fps = params.and_then(|params| rate(params.interval)).unwrap_or(wanted_fps);

        let mut adjusted = Vec::new();
        if *format != mode.format {
            adjusted.push(format!("format {} instead of {}", format.name(), mode.format.name()));
        }
        if size != mode.size {
            adjusted.push(format!("size {size} instead of {}", mode.size));
        }
        if (fps - wanted_fps).abs() > wanted_fps * 0.01 {
            adjusted.push(format!("{fps:.2} instead of {wanted_fps:.2} frames per second"));
        }
        let encoded = *format == PixelFormat::Mjpg;
        let agreed = Agreed {
            card: offer.card,
            why,
            adjusted: adjusted.join(", "),
            stride: if encoded { 0 } else { got.stride as usize },
            range: range_of(*format, &got),
        };
        let stream = start(&name, &device)?;
        let info = SourceInfo { name, size: Some(size), fps, format: *format, live: true };
        Ok(Self {
            info,
            size,
            agreed,
            camera,
            stream: Some(stream),
            owed: false,
            seq: 0,
            driver: None,
            last: MonoNs(0),
        })
    }

    /// What the driver agreed to.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    fn stamp(&mut self, meta: &Metadata) -> Stamp {
        let monotonic = (meta.flags & Flags::TIMESTAMP_MASK) == Flags::TIMESTAMP_MONOTONIC;
        let driver = (monotonic && meta.timestamp.sec >= 0 && meta.timestamp.usec >= 0).then(|| {
            let (sec, usec) = (meta.timestamp.sec as u64, meta.timestamp.usec as u64);
            MonoNs(sec.saturating_mul(1_000_000_000).saturating_add(usec.saturating_mul(1000)))
        });
        self.last = believable(driver, now(), self.last);
        let driver_seq = unwrap_sequence(&mut self.driver, meta.sequence);
        let seq = self.seq;
        self.seq += 1;
        Stamp { camera: self.camera, seq, driver_seq, at: self.last }
    }

    /// Ends the stream at once, so that the device is free to be opened again.
    fn failed(&mut self, error: &io::Error) -> SourceError {
        if let Some(stream) = self.stream.take() {
            release(stream);
        }
        named(&self.info.name, "read a frame", error)
    }
}

/// Maps the buffers and starts the stream with all of them queued but the first, which `next()` will queue.
fn start(name: &str, device: &Device) -> Result<Stream<'static>, SourceError> {
    let mut stream = careful(name, "get buffers", || Stream::with_buffers(device, Type::VideoCapture, BUFFERS))?;
    let started = (|| {
        // The crate does not say how many buffers there are; the kernel refuses the first index too many.
        let mut queued = 0;
        for index in 1..32 {
            match CaptureStream::queue(&mut stream, index) {
                Ok(()) => queued += 1,
                Err(error) if queued > 0 && error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(named(name, "queue a buffer", &error)),
            }
        }
        careful(name, "start streaming", || stream.start())
    })();
    match started {
        Ok(()) => Ok(stream),
        Err(error) => {
            release(stream);
            Err(error)
        }
    }
}

/// Drops a stream without the crate's panics: its destructor panics when stopping fails for any reason but "gone", and a
/// second panic in the buffers' destructor would abort. A stream that cannot be stopped is leaked instead.
fn release(mut stream: Stream<'static>) {
    const ENODEV: i32 = 19;
    match stream.stop() {
        Err(error) if error.raw_os_error() != Some(ENODEV) => std::mem::forget(stream),
        _ => drop(catch_unwind(AssertUnwindSafe(|| drop(stream)))),
    }
}

impl Drop for CameraSource {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            release(stream);
        }
    }
}

impl FrameSource for CameraSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let Some(stream) = &mut self.stream else { return Ok(Pulled::End) };
        match stream.handle().poll(PollFlags::IN.bits() as i16, POLL_MS) {
            Ok(0) => return Ok(Pulled::Quiet(buffer)),
            Ok(_) => {}
            Err(error) if is_passing(&error) => return Ok(Pulled::Quiet(buffer)),
            Err(error) => return Err(self.failed(&error)),
        }
        // The kernel has said that a frame is ready, so this is for the crate's own poll only.
        stream.set_timeout(std::time::Duration::from_millis(POLL_MS as u64));
        if self.owed {
            // Its bytes cannot be reached without `next()`: the frame is given back unread, and counted.
            return match CaptureStream::dequeue(stream) {
                Ok(_) => {
                    self.owed = false;
                    let sequence = self.driver.map_or(0, |(last, _)| last.wrapping_add(1));
                    let stamp = self.stamp(&Metadata { sequence, ..Metadata::default() });
                    Ok(Pulled::Skipped { buffer, stamp, reason: Skip::new("given up after a failed read") })
                }
                Err(error) if is_passing(&error) => Ok(Pulled::Quiet(buffer)),
                Err(error) => Err(self.failed(&error)),
            };
        }
        let pulled = CaptureStream::next(stream).map(|(bytes, meta)| {
            let used = (meta.bytesused as usize).min(bytes.len());
            let broken = meta.flags.contains(Flags::ERROR);
            buffer.clear();
            if !broken {
                buffer.extend_from_slice(&bytes[..used]);
            }
            (*meta, broken, used)
        });
        match pulled {
            Ok((meta, broken, used)) => {
                let stamp = self.stamp(&meta);
                if broken || used == 0 {
                    let reason = Skip::new(if broken { "the driver marked it as broken" } else { "no bytes" });
                    return Ok(Pulled::Skipped { buffer, stamp, reason });
                }
                Ok(Pulled::Frame(RawFrame {
                    stamp,
                    format: self.info.format,
                    size: Some(self.size),
                    stride: self.agreed.stride,
                    range: self.agreed.range,
                    data: buffer,
                }))
            }
            Err(error) if is_passing(&error) => {
                self.owed = true;
                Ok(Pulled::Quiet(buffer))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// Errors after which the stream goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Luma range: as the driver says, else what V4L2 says is usual.
fn range_of(format: PixelFormat, got: &Format) -> Range {
    match (got.quantization, got.colorspace) {
        (Quantization::FullRange, _) => Range::Full,
        (Quantization::LimitedRange, _) => Range::Limited,
        (Quantization::Default, Colorspace::JPEG) => Range::Full,
        (Quantization::Default, _) => match format {
            PixelFormat::Grey | PixelFormat::Mjpg => Range::Full,
            _ => Range::Limited,
        },
    }
}

/// The driver's time if it is near `now`, else `now`; always later than `last`, because stages divide by differences.
fn believable(driver: Option<MonoNs>, now: MonoNs, last: MonoNs) -> MonoNs {
    let at = driver.filter(|at| at.0 > last.0 && at.0.abs_diff(now.0) <= BELIEVABLE).unwrap_or(now);
    MonoNs(at.0.max(last.0.saturating_add(1)))
}

/// A 32-bit counter as one that does not wrap. A step back (the driver restarted) counts as one frame on.
fn unwrap_sequence(state: &mut Option<(u32, u64)>, sequence: u32) -> u64 {
    let wide = match *state {
        None => u64::from(sequence),
        Some((last, wide)) => match sequence.wrapping_sub(last) {
            step @ 1..=0x7fff_ffff => wide + u64::from(step),
            _ => wide + 1,
        },
    };
    *state = Some((sequence, wide));
    wide
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(format: PixelFormat, width: u32, height: u32, fps: &[f64]) -> Mode {
        Mode { format, size: Size::new(width, height), fps: fps.to_vec() }
    }

    fn wish(width: u32, height: u32, fps: f64) -> Wish {
        Wish { format: None, size: Size::new(width, height), fps }
    }

    /// A usual USB camera: raw only where the bus allows it.
    fn usb() -> Vec<Mode> {
        vec![
            mode(PixelFormat::Yuyv, 640, 480, &[30.0, 15.0]),
            mode(PixelFormat::Yuyv, 1280, 720, &[10.0, 5.0]),
            mode(PixelFormat::Mjpg, 640, 480, &[30.0]),
            mode(PixelFormat::Mjpg, 1280, 720, &[30.0, 15.0]),
            mode(PixelFormat::Mjpg, 1920, 1080, &[30.0]),
            mode(PixelFormat::Grey, 640, 480, &[30.0]),
        ]
    }

    #[test]
    fn the_mode_is_the_cheapest_that_reaches_size_and_rate() {
        let chosen = |wish: Wish| choose(&usb(), &wish).map(|(mode, _)| (mode.format, mode.size)).unwrap();
        assert_eq!(chosen(wish(640, 480, 30.0)), (PixelFormat::Yuyv, Size::new(640, 480)));
        assert_eq!(chosen(wish(1280, 720, 15.0)), (PixelFormat::Mjpg, Size::new(1280, 720)), "yuyv is too slow");
        assert_eq!(chosen(wish(1280, 720, 5.0)), (PixelFormat::Yuyv, Size::new(1280, 720)));
        assert_eq!(chosen(wish(800, 600, 15.0)), (PixelFormat::Mjpg, Size::new(1280, 720)), "the next larger");
        assert_eq!(chosen(wish(3840, 2160, 15.0)), (PixelFormat::Mjpg, Size::new(1920, 1080)), "the largest");
        let grey = Wish { format: Some(PixelFormat::Grey), ..wish(1280, 720, 15.0) };
        assert_eq!(chosen(grey).0, PixelFormat::Grey);
        let nv12 = Wish { format: Some(PixelFormat::Nv12), ..Wish::default() };
        assert!(choose(&usb(), &nv12).is_none() && choose(&[], &Wish::default()).is_none());
        assert_eq!(mode(PixelFormat::Yuyv, 1, 1, &[60.0, 30.0, 15.0]).rate_for(20.0), 30.0);
        assert_eq!(mode(PixelFormat::Yuyv, 1, 1, &[29.97]).rate_for(30.0), 29.97);
        assert_eq!(mode(PixelFormat::Yuyv, 1, 1, &[]).rate_for(30.0), 30.0);
    }

    #[test]
    fn driver_time_is_believed_only_when_it_can_be_true() {
        let now = MonoNs(100_000_000_000);
        let last = MonoNs(99_000_000_000);
        assert_eq!(believable(Some(MonoNs(99_950_000_000)), now, last), MonoNs(99_950_000_000));
        for absurd in [None, Some(MonoNs(0)), Some(last), Some(MonoNs(98_000_000_000)), Some(MonoNs(u64::MAX))] {
            assert_eq!(believable(absurd, now, last), now, "{absurd:?}");
        }
        assert_eq!(believable(None, now, now), MonoNs(now.0 + 1), "time moves on");
    }

    #[test]
    fn the_sequence_survives_its_wrap_and_a_restart() {
        let mut state = None;
        let wide: Vec<_> =
            [u32::MAX - 1, u32::MAX, 0, 3, 3, 0].map(|sequence| unwrap_sequence(&mut state, sequence)).into();
        let first = u64::from(u32::MAX) - 1;
        assert_eq!(wide, [first, first + 1, first + 2, first + 5, first + 6, first + 7]);
    }

    #[test]
    fn rates_become_frame_intervals() {
        let pair = |fps| (interval(fps).numerator, interval(fps).denominator);
        assert_eq!([pair(30.0), pair(29.97), pair(7.5)], [(1, 30), (1000, 29970), (1000, 7500)]);
        assert_eq!(pair(0.0), (1, 1));
        assert_eq!((rate(Fraction::new(0, 30)), rate(Fraction::new(1, 0))), (None, None));
    }

    #[test]
    fn errors_say_what_may_be_done() {
        let kind = |errno| named("/dev/video9", "open", &io::Error::from_raw_os_error(errno)).kind();
        assert_eq!([19, 6, 2].map(kind), [Kind::Gone; 3]);
        assert_eq!([5, 16, 22, 28].map(kind), [Kind::Broken; 4]);
        assert_eq!([13, 1, 25].map(kind), [Kind::Unusable; 3]);
        let line = named("/dev/video9", "open", &io::Error::from_raw_os_error(16)).to_string();
        assert!(line.starts_with("/dev/video9: cannot open: ") && line.contains("fuser -v"), "{line}");
        let missing =
            CameraSource::open(Path::new("/dev/video-none"), CameraId(0), &Wish::default(), &Limits::default());
        assert!(missing.is_err_and(|error| error.kind() == Kind::Gone));
        for no_camera in ["/dev/null", "/", "Cargo.toml"] {
            let refused = probe(Path::new(no_camera));
            assert!(refused.is_err_and(|error| error.kind() == Kind::Unusable), "{no_camera}");
        }
        let none = SourceError::NoCamera { tried: Vec::new() }.to_string();
        assert!(none.contains("--source"), "{none}");
    }

    #[test]
    fn a_panic_of_the_library_is_a_broken_camera() {
        let error = careful::<()>("/dev/video9", "ask", || panic!("on purpose")).unwrap_err();
        assert_eq!(error.kind(), Kind::Broken);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_offered_mode_beats_the_chosen_one(
            offered in prop::collection::vec((0..6usize, 1u32..5, prop::collection::vec(1.0..60.0f64, 0..3)), 1..12),
            side in 1u32..5,
            fps in 1.0..60.0f64,
        ) {
            let modes: Vec<_> = offered
                .into_iter()
                .map(|(format, side, mut fps)| {
                    fps.sort_by(|a, b| b.total_cmp(a));
                    mode(FORMATS[format].1, side * 320, side * 240, &fps)
                })
                .collect();
            let wish = wish(side * 320, side * 240, fps);
            let (chosen, _) = choose(&modes, &wish).unwrap();
            let reaches = |mode: &Mode| mode.size == wish.size && mode.rate_for(fps) >= fps * REACHED;
            let cost = |mode: &Mode| FORMATS.iter().position(|(_, format)| *format == mode.format);
            for mode in modes.iter().filter(|mode| reaches(mode)) {
                prop_assert!(reaches(chosen) && cost(chosen) <= cost(mode), "{chosen:?} against {mode:?}");
            }
        }
    }
}
