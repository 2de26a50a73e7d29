//! V4L2 cameras that survive real life.
//!
//! | file | what |
//! | --- | --- |
//! | [`negotiate`](choose) | which mode is asked for: a stated rule, pure |
//! | `sys` | ioctls and mapped buffers on a descriptor; the only unsafe code of this room |
//! | `device` | what a device offers; from a descriptor to a stream |
//! | `find` | the devices of this machine, for `porchlight cameras` and for a run without a camera named |
//! | here | the life of a camera |
//!
//! **Life.** A [`CameraSource`] never ends by itself. It is either streaming or away, and each change is told as a
//! [`Pulled::State`] in order with the frames:
//!
//! ```text
//!            a frame came: online started|recovered             10 broken frames in a row: degraded
//!   away ───────────────────────────────────────────▶ streaming ─────────────────────────────▶ (a good one: online)
//!    ▲ │ cannot be opened: offline absent|busy|...        │
//!    │ └─ again after a pause                             │ error from any ioctl, no frame for too long, format changed
//!    └────────────────────────────────────────────────────┘ offline unplugged|device_error|stalled|format_changed
//! ```
//!
//! A device that is *not there* is looked for every 200 ms, which costs nothing, and the [`Opener`] waits for it by watching
//! the device folder. One that is there and *fails* is tried again after 0.1, 0.2, 0.4, 0.8 and then every 1 second, each
//! a fifth more or less, so that several cameras that failed together do not try together. A stream must run for 5 seconds to
//! be trusted again; until then the next failure goes on where the pauses stood, so that a camera that flaps cannot flood.
//! The longest pause is short of the 2 seconds in which a replugged camera must be back.
//!
//! Drivers adjust what they are asked for without a word: what was really set is read back and obeyed, and said on stderr.
//! A raw frame shorter than its format needs counts as broken; ten in a row, and the driver is asked whether it has changed
//! the format under us.

mod device;
mod find;
mod negotiate;
mod sys;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

pub use device::Offer;
pub use find::{Found, first, list, nodes, probe};
pub use negotiate::{FourCc, Interval, Mode, Rates, Wish, choose};
pub use sys::{IOCTLS, WHAT_IS_IT};

use device::Kernel;
use negotiate::{believable, unwrap_sequence};
use sys::Filled;

use super::opener::{Opener, PathOpener};
use super::{CameraState, Change, FrameSource, Kind, Pulled, Skip, SourceError, SourceInfo, Times};
use crate::decode::{Limits, least_bytes};
use crate::event::CameraReason;
use crate::frame::{CameraId, MonoNs, PixelFormat, Range, RawFrame, Stamp};
use crate::geom::Size;

/// Refuses a node that is no camera, before it is handed to anybody: one that only shows, converts, or tunes.
///
/// # Errors
/// The device's; or, where it is something else, [`NO_CAPTURE`] or [`MULTI_PLANAR`].
pub(crate) fn must_capture(fd: BorrowedFd<'_>) -> io::Result<()> {
    match sys::caps(fd)? {
        caps if caps.captures => Ok(()),
        caps if caps.multi_planar => Err(MULTI_PLANAR.into()),
        _ => Err(NO_CAPTURE.into()),
    }
}

/// The loop-back driver, which may hide that it shows what it is given.
const LOOPBACK: &str = "v4l2 loopback";

/// Whether this is a camera whose buffers can be mapped only through a descriptor that is open for writing: the kernel's videobuf2
/// wants mappings that are shared, which those of a descriptor for reading are not. Such a camera has nothing that could be
/// written: its buffers are its one user's own. A device that is camera and screen at once is another matter; the loop-back driver
/// maps for readers, too, and then nothing can be put into it, by a call or through a mapping.
pub(crate) fn needs_writing(fd: BorrowedFd<'_>) -> bool {
    sys::caps(fd).is_ok_and(|caps| caps.captures && !caps.shows && caps.driver != LOOPBACK)
}

/// How the gatekeeper tells an eye that a node is no camera; no driver answers `open` with this.
pub(crate) const NO_CAPTURE: Errno = Errno::OPNOTSUPP;
/// How it tells that a camera gives each picture in several planes; no driver answers `open` with this.
pub(crate) const MULTI_PLANAR: Errno = Errno::PROTONOSUPPORT;

/// Longest wait of one pull.
const WAIT: Duration = Duration::from_millis(200);
/// How often a device that is not there is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// First pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1000));
/// A stream that lived this long starts over with short pauses.
const STEADY: Duration = Duration::from_secs(5);
/// A camera may take this long to its first frame: exposure, focus, a slow bus.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// No frame for this long, or for eight intervals if they are longer, is a stall.
const STALL: Duration = Duration::from_secs(2);
/// Broken frames in a row after which a camera is called degraded.
const DEGRADED_AFTER: u32 = 10;

/// What the driver agreed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The camera's name.
    pub card: String,
    /// Why this mode.
    pub why: String,
    /// What differs from the mode asked for, in words; empty when nothing does.
    pub adjusted: String,
    /// Pixel format.
    pub format: PixelFormat,
    /// Width and height.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Bytes from row to row (0 for MJPG).
    pub stride: usize,
    /// Luma range.
    pub range: Range,
}

/// Why a device failed, for people and for the event.
#[derive(Debug)]
struct Trouble {
    error: SourceError,
    reason: CameraReason,
}

/// What the life of a camera needs of the world; the kernel, or a simulation in tests.
trait Driver: Send {
    /// Streaming, with a descriptor; dropped to stop.
    type Stream: Send;
    /// As the user named it.
    fn name(&self) -> &str;
    /// From nothing to streaming.
    fn open(&mut self, wish: &Wish, limits: &Limits) -> Result<(Agreed, Self::Stream), Trouble>;
    /// A frame's bytes into `into`; `None` after `wait` without one.
    fn pull(
        &mut self,
        stream: &mut Self::Stream,
        wait: Duration,
        passed: Option<&Times>,
        into: &mut Vec<u8>,
    ) -> Result<Option<Filled>, Trouble>;
    /// Whether what was agreed is still so.
    fn holds(&self, stream: &Self::Stream, agreed: &Agreed) -> bool;
    /// The monotonic clock.
    fn now(&self) -> MonoNs;
    /// Sleeps.
    fn pause(&mut self, time: Duration);
}

enum Phase<S> {
    Streaming {
        stream: S,
        agreed: Agreed,
        /// When it was opened.
        since: MonoNs,
        /// When it last gave anything; `since` before that.
        fresh: MonoNs,
        /// Whether it gave a good frame yet.
        proven: bool,
    },
    Away {
        /// When to try again.
        next: MonoNs,
    },
}

/// The life of one camera.
struct Life<D: Driver> {
    driver: D,
    wish: Wish,
    limits: Limits,
    camera: CameraId,
    info: SourceInfo,
    phase: Phase<D::Stream>,
    /// What was said last: whether it is online, and why not.
    said: Option<(Change, CameraReason)>,
    /// Tries to open it since it last delivered.
    attempts: u32,
    /// Failures in a row, for the pauses.
    failures: u32,
    /// Whether it has ever delivered.
    delivered: bool,
    /// What the next pull gives: a frame behind the state it brought, or a state behind the frame that brought it.
    later: Option<Pulled>,
    /// Broken frames in a row.
    broken: u32,
    /// Times of frames that nobody would open.
    passed: Option<Times>,
    seq: u64,
    sequence: Option<(u32, u64)>,
    last: MonoNs,
}

impl<D: Driver> Life<D> {
    fn new(driver: D, camera: CameraId, wish: Wish, limits: Limits) -> Self {
        let info = SourceInfo {
            name: driver.name().to_owned(),
            size: None,
            fps: wish.fps,
            format: wish.format.unwrap_or(PixelFormat::Yuyv),
            live: true,
        };
        let next = driver.now();
        Self {
            driver,
            wish,
            limits,
            camera,
            info,
            phase: Phase::Away { next },
            said: None,
            attempts: 0,
            failures: 0,
            delivered: false,
            later: None,
            broken: 0,
            passed: None,
            seq: 0,
            sequence: None,
            last: MonoNs(0),
        }
    }

    /// One try to open it.
    fn open(&mut self) -> Result<(), Trouble> {
        self.attempts = self.attempts.saturating_add(1);
        let (agreed, stream) = self.driver.open(&self.wish, &self.limits).inspect_err(|trouble| {
            if trouble.reason == CameraReason::NoBandwidth {
                self.wish.thrift = self.wish.thrift.saturating_add(1);
            }
        })?;
        self.info.size = Some(agreed.size);
        self.info.format = agreed.format;
        self.info.fps = agreed.fps;
        let now = self.driver.now();
        self.sequence = None;
        self.broken = 0;
        self.phase = Phase::Streaming { stream, agreed, since: now, fresh: now, proven: false };
        Ok(())
    }

    /// The pause before the next try.
    fn pause_after(&mut self, kind: Kind) -> Duration {
        if kind == Kind::Gone {
            return LOOK;
        }
        let pause = PAUSES.0.saturating_mul(1 << self.failures.min(10)).min(PAUSES.1);
        self.failures = self.failures.saturating_add(1);
        jittered(pause, self.driver.now().0 ^ u64::from(self.camera.0).rotate_right(8))
    }

    /// Lets go of the device and says so, unless that was said already.
    fn away(&mut self, kind: Kind, reason: CameraReason, why: String) -> Option<CameraState> {
        if let Phase::Streaming { since, proven, .. } = &self.phase
            && *proven
            && self.driver.now().0.saturating_sub(since.0) >= STEADY.as_nanos() as u64
        {
            self.failures = 0;
        }
        // In this order: dropping the stream closes the device, and only then may it be looked for again.
        self.phase = Phase::Away { next: MonoNs(u64::MAX) };
        let pause = self.pause_after(kind);
        let next = self.driver.now().0.saturating_add(pause.as_nanos() as u64);
        self.phase = Phase::Away { next: MonoNs(next) };
        let reason = if reason == CameraReason::Unplugged && !self.delivered { CameraReason::Absent } else { reason };
        if self.said == Some((Change::Offline, reason)) {
            return None;
        }
        self.said = Some((Change::Offline, reason));
        let retry_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        Some(CameraState { change: Change::Offline, reason, attempt: self.attempts, retry_ms, words: why })
    }

    fn stamp(&mut self, filled: &Filled) -> Stamp {
        self.last = believable(filled.at, self.driver.now(), self.last);
        let driver_seq = unwrap_sequence(&mut self.sequence, filled.sequence);
        let seq = self.seq;
        self.seq += 1;
        Stamp { camera: self.camera, seq, driver_seq, at: self.last }
    }

    fn look_for_it(&mut self, next: MonoNs, buffer: Vec<u8>) -> Pulled {
        let left = Duration::from_nanos(next.0.saturating_sub(self.driver.now().0));
        if !left.is_zero() {
            self.driver.pause(left.min(WAIT));
            return Pulled::Quiet(buffer);
        }
        match self.open() {
            Ok(()) => Pulled::Quiet(buffer),
            Err(Trouble { error, reason }) => match self.away(error.kind(), reason, error.to_string()) {
                Some(state) => Pulled::State { buffer, state },
                None => Pulled::Quiet(buffer),
            },
        }
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Pulled {
        if let Some(later) = self.later.take() {
            return later;
        }
        let now = self.driver.now();
        let (stream, agreed, fresh, proven) = match &mut self.phase {
            Phase::Away { next } => {
                let next = *next;
                return self.look_for_it(next, buffer);
            }
            Phase::Streaming { stream, agreed, fresh, proven, .. } => (stream, agreed, fresh, proven),
        };
        let patience = if *proven {
            STALL.max(Duration::from_secs_f64((8.0 / agreed.fps.max(0.1)).min(80.0)))
        } else {
            FIRST_FRAME.max(Duration::from_secs_f64((2.0 / agreed.fps.max(0.1)).min(80.0)))
        };
        // Whether a picture is whole is seen from its length, unless it is compressed. The first one after a state is always given.
        let is_raw = !matches!(agreed.format, PixelFormat::Mjpg | PixelFormat::Still);
        let is_online = matches!(self.said, Some((Change::Online, _)));
        let passed = self.passed.as_ref().filter(|_| is_raw && is_online);
        let lost = match self.driver.pull(stream, WAIT, passed, &mut buffer) {
            Ok(None) if self.driver.now().0.saturating_sub(fresh.0) < patience.as_nanos() as u64 => {
                return Pulled::Quiet(buffer);
            }
            Ok(None) => {
                let words = format!("{}: no frame for {:.1} s", self.info.name, patience.as_secs_f64());
                self.away(Kind::Broken, CameraReason::Stalled, words)
            }
            Err(Trouble { error, reason }) => self.away(error.kind(), reason, error.to_string()),
            Ok(Some(filled)) => {
                *fresh = now;
                let short = least_bytes(agreed.format, agreed.size, agreed.stride).is_none_or(|n| filled.bytes < n);
                if filled.passed && !filled.broken && !short {
                    self.broken = 0;
                    return Pulled::Passed { buffer, stamp: self.stamp(&filled) };
                }
                if !filled.broken && !short {
                    let adjusted = (!*proven && !agreed.adjusted.is_empty()).then(|| agreed.adjusted.clone());
                    *proven = true;
                    let (format, size, stride, range) = (agreed.format, agreed.size, agreed.stride, agreed.range);
                    let stamp = self.stamp(&filled);
                    let frame = RawFrame { stamp, format, size: Some(size), stride, range, data: buffer };
                    return self.good(frame, adjusted);
                }
                let why = match (filled.broken, filled.bytes == 0) {
                    (true, _) => "the driver marked it as broken".to_owned(),
                    (false, true) => "no bytes".to_owned(),
                    (false, false) => {
                        format!("{} bytes, too few for {} {}", filled.bytes, agreed.size, agreed.format.name())
                    }
                };
                if self.broken + 1 >= DEGRADED_AFTER && !self.driver.holds(stream, agreed) {
                    let words = format!("{}: the driver changed its format", self.info.name);
                    self.away(Kind::Broken, CameraReason::FormatChanged, words)
                } else {
                    let stamp = self.stamp(&filled);
                    return self.bad(buffer, stamp, &why);
                }
            }
        };
        match lost {
            Some(state) => Pulled::State { buffer, state },
            None => Pulled::Quiet(buffer),
        }
    }

    fn good(&mut self, frame: RawFrame, adjusted: Option<String>) -> Pulled {
        self.broken = 0;
        let reason = if self.delivered { CameraReason::Recovered } else { CameraReason::Started };
        if matches!(self.said, Some((Change::Online, _))) {
            return Pulled::Frame(frame);
        }
        let attempt = self.attempts.max(1);
        self.said = Some((Change::Online, reason));
        (self.delivered, self.attempts) = (true, 0);
        self.later = Some(Pulled::Frame(frame));
        let words = adjusted.map(|what| format!("{}: the driver gives {what}", self.info.name)).unwrap_or_default();
        let state = CameraState { change: Change::Online, reason, attempt, retry_ms: 0, words };
        Pulled::State { buffer: Vec::new(), state }
    }

    /// A broken frame: counted, and told when there are many in a row.
    fn bad(&mut self, buffer: Vec<u8>, stamp: Stamp, why: &str) -> Pulled {
        self.broken = self.broken.saturating_add(1);
        if self.broken == DEGRADED_AFTER && matches!(self.said, Some((Change::Online, _))) {
            let reason = CameraReason::Undecodable;
            self.said = Some((Change::Degraded, reason));
            let words = format!("{}: {DEGRADED_AFTER} broken frames in a row: {why}", self.info.name);
            let state = CameraState { change: Change::Degraded, reason, attempt: 1, retry_ms: 0, words };
            self.later = Some(Pulled::State { buffer: Vec::new(), state });
        }
        Pulled::Skipped { buffer, stamp, reason: Skip::new(why) }
    }
}

/// A fifth more or less, by a number that hardly repeats.
fn jittered(pause: Duration, seed: u64) -> Duration {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let share = ((mixed ^ (mixed >> 27)) % 401) as f64 / 1000.0;
    pause.mul_f64(0.8 + share)
}

/// A camera, present or not.
pub struct CameraSource(Life<Kernel>);

impl CameraSource {
    /// A camera at `path`, which this process opens.
    ///
    /// # Errors
    /// As [`CameraSource::with_opener`].
    pub fn open(path: &Path, camera: CameraId, wish: &Wish, limits: &Limits) -> Result<Self, SourceError> {
        let source = Self::with_opener(&path.to_string_lossy(), Box::new(PathOpener::new(path)), camera, wish, limits)?;
        // What is not there now may be plugged in later, if its name is one that devices have.
        if matches!(source.0.phase, Phase::Away { .. })
            && !path.starts_with("/dev/")
            && std::fs::symlink_metadata(path).is_err()
        {
            let problem = "no such device; check the path: cameras are below /dev".to_owned();
            let name = path.to_string_lossy().into_owned();
            return Err(SourceError::Camera { name, doing: "open", problem, kind: Kind::Unusable });
        }
        Ok(source)
    }

    /// A camera that `opener` opens, now and after each loss. One that is absent, in use or broken is no error: it is tried
    /// again by [`FrameSource::next`], which tells how it fares.
    ///
    /// # Errors
    /// [`SourceError::Camera`] of kind [`Kind::Unusable`]: what is there can never be used as a camera.
    pub fn with_opener(
        name: &str,
        opener: Box<dyn Opener>,
        camera: CameraId,
        wish: &Wish,
        limits: &Limits,
    ) -> Result<Self, SourceError> {
        let kernel = Kernel { name: name.to_owned(), opener };
        let mut life = Life::new(kernel, camera, *wish, *limits);
        match life.open() {
            Err(Trouble { error, .. }) if error.kind() == Kind::Unusable => Err(error),
            // The first pull tries again, and tells.
            _ => Ok(Self(life)),
        }
    }

    /// What the driver agreed to; `None` while it is away.
    pub fn agreed(&self) -> Option<&Agreed> {
        match &self.0.phase {
            Phase::Streaming { agreed, .. } => Some(agreed),
            Phase::Away { .. } => None,
        }
    }
}

impl FrameSource for CameraSource {
    fn pass_over(&mut self, times: Option<Times>) {
        self.0.passed = times;
    }

    fn info(&self) -> &SourceInfo {
        &self.0.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        Ok(self.0.next(buffer))
    }
}

#[cfg(test)]
mod tests;
