//! Where frames come from: files, folders, a stream on stdin, a pattern, a camera.
//!
//! A [`FrameSource`] is pulled by one thread and hands out [`RawFrame`]s; it decodes nothing. The caller lends a buffer with
//! every pull and gets it back as the frame's data, so that a running stream allocates nothing. Files are lossless, and
//! their time is exact: frame `k` is stamped `k * 1e9 / fps` nanoseconds by integer arithmetic.
//!
//! Bytes that were no frame are not an error of the source but a [`Pulled::Skipped`], which uses up a sequence number and a
//! stamp, so that the ledger sees it. A [`SourceError`] ends the source, and is one line: what, where, wanted and found, and
//! the fix where there is one.

pub mod camera;
mod input;
pub mod mjpeg;
pub mod opener;
pub mod pace;
pub mod replay;
pub mod synth;
pub mod y4m;

use std::io;

use crate::decode::one_line;
use crate::event::CameraReason;
use crate::frame::{CameraId, MonoNs, PixelFormat, RawFrame, Stamp};
use crate::geom::Size;

pub use input::Unread;

/// Something that gives frames, one after another.
pub trait FrameSource: Send {
    /// What it is.
    fn info(&self) -> &SourceInfo;

    /// The next frame. `buffer` is any allocation to reuse, its content is ignored; it comes back in [`Pulled`].
    ///
    /// Blocks at most about 200 ms (files: as long as the disk does).
    ///
    /// # Errors
    /// A [`SourceError`] ends the source: later calls give [`Pulled::End`] or the error again. What a failed camera can do
    /// next, [`SourceError::kind`] says.
    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError>;

    /// Until told otherwise nobody would open frames of these times. Of an uncompressed one a source may give [`Pulled::Passed`], which
    /// spares whoever copies its bytes. Others may come as [`Pulled::Unread`] as long as there are such times.
    fn pass_over(&mut self, _times: Option<Times>) {}
}

/// A stretch of stream time, without its end.
pub type Times = std::ops::Range<MonoNs>;

/// What a source is, known once it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// For people: the path or device as it was given.
    pub name: String,
    /// Size of the first frame where known without decoding; `None` for still pictures, which may differ.
    pub size: Option<Size>,
    /// Nominal frames per second.
    pub fps: f64,
    /// How frames are encoded.
    pub format: PixelFormat,
    /// True when frames that nobody takes are lost (a camera); files and streams wait.
    pub live: bool,
}

/// What a pull gave.
pub enum Pulled {
    /// A frame.
    Frame(RawFrame),
    /// A whole frame of a file, uncompressed, whose bytes lie there still: `raw.data` is a buffer for them.
    Unread {
        /// Everything else about the frame.
        raw: RawFrame,
        /// Where they are.
        bytes: Unread,
    },
    /// A whole frame that nobody would open ([`FrameSource::pass_over`]).
    Passed {
        /// The buffer, unused.
        buffer: Vec<u8>,
        /// The frame's stamp.
        stamp: Stamp,
    },
    /// Bytes that were no frame: counted as undecodable.
    Skipped {
        /// The buffer, unused.
        buffer: Vec<u8>,
        /// The stamp that the frame would have had.
        stamp: Stamp,
        /// What was wrong.
        reason: Skip,
    },
    /// The camera changed its state. Cameras only: they never end, and no device makes them fail for good.
    State {
        /// The buffer, unused.
        buffer: Vec<u8>,
        /// How it is now.
        state: CameraState,
    },
    /// Nothing yet; ask again. (Live: no frame within the poll timeout. Stdin: nothing written. Paced: not due.)
    Quiet(Vec<u8>),
    /// No more frames, ever.
    End,
}

impl std::fmt::Debug for Pulled {
    /// Never the content: even a buffer that is given back may hold an old picture.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame(raw) => write!(f, "Frame({raw:?})"),
            Self::Unread { raw, .. } => write!(f, "Unread({:?}, {})", raw.stamp, raw.format.name()),
            Self::Passed { stamp, .. } => write!(f, "Passed({stamp:?})"),
            Self::Skipped { stamp, reason, .. } => write!(f, "Skipped({stamp:?}, {reason})"),
            Self::State { state, .. } => write!(f, "{state:?}"),
            Self::Quiet(_) => f.write_str("Quiet"),
            Self::End => f.write_str("End"),
        }
    }
}

/// The state that a camera is in from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It delivers.
    Online,
    /// It does not.
    Offline,
    /// It delivers worse than it should.
    Degraded,
}

/// A change of a camera's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraState {
    /// What it is now.
    pub change: Change,
    /// Why.
    pub reason: CameraReason,
    /// Tries to open it since it last delivered; online: which of them succeeded.
    pub attempt: u32,
    /// When the next try will be made; 0 for none.
    pub retry_ms: u32,
    /// One line for people, on stderr; empty for nothing to say.
    pub words: String,
}

/// Why something was skipped, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(String);

impl Skip {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self(one_line(&reason.to_string()))
    }
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the caller may do about a [`SourceError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The words given to open it are wrong: exit code 2.
    Usage,
    /// The file, stream or device cannot be used as it is: exit code 4.
    Unusable,
    /// A camera that is not there (any more): wait and open it again.
    Gone,
    /// A camera that is there and does not work (or is in use): drop it, pause, open it again.
    Broken,
    /// The caller asked to stop.
    Stopped,
}

/// Why a source does not give (more) frames.
#[derive(Debug)]
pub enum SourceError {
    /// A source or rate that cannot be understood.
    Spec {
        /// As given.
        spec: String,
        /// What is wrong, wanted and found.
        problem: String,
    },
    /// A path that cannot be opened or read.
    Io {
        /// The path or device.
        name: String,
        /// Doing what, e.g. `"open"`.
        doing: &'static str,
        /// Frame number and byte offset, once there are frames.
        at: Option<(u64, u64)>,
        /// The system's reason.
        error: io::Error,
    },
    /// A path that holds something else.
    Unsuitable {
        /// The path.
        name: String,
        /// What it is.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A stream that stops making sense.
    Format {
        /// The path.
        name: String,
        /// Frames given before.
        frame: u64,
        /// Byte offset of the offence.
        offset: u64,
        /// What is wrong, wanted and found.
        problem: String,
    },
    /// A file, folder or stream without a single frame.
    NoFrame {
        /// The path.
        name: String,
        /// What was looked for.
        wanted: &'static str,
        /// How much was skipped, and the first reason.
        skipped: Option<(u64, Skip)>,
    },
    /// No camera on this machine answers.
    NoCamera {
        /// Each device and why it was not taken; empty when there is no device at all.
        tried: Vec<(String, String)>,
    },
    /// A device that is no usable camera.
    Camera {
        /// The device.
        name: String,
        /// Doing what, e.g. `"set the format"`.
        doing: &'static str,
        /// The reason; fix included where there is one.
        problem: String,
        /// Whether trying again makes sense.
        kind: Kind,
    },
    /// The caller's `stop` said so while the first bytes were awaited.
    Stopped {
        /// The source.
        name: String,
    },
}

impl SourceError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Spec { .. } => Kind::Usage,
            Self::Io { .. } | Self::Unsuitable { .. } | Self::Format { .. } | Self::NoFrame { .. } => Kind::Unusable,
            Self::NoCamera { .. } => Kind::Gone,
            Self::Camera { kind, .. } => *kind,
            Self::Stopped { .. } => Kind::Stopped,
        }
    }

    pub(crate) fn io(name: &str, doing: &'static str, error: io::Error) -> Self {
        Self::Io { name: name.to_owned(), doing, at: None, error }
    }
}

/// A path in a message: no control characters, bounded.
fn show(name: &str) -> String {
    if name == "-" { "stdin".to_owned() } else { one_line(name) }
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spec { spec, problem } => write!(f, "source {:?}: {}", one_line(spec), one_line(problem)),
            Self::Io { name, doing, at, error } => {
                write!(f, "{}: cannot {doing}", show(name))?;
                if let Some((frame, offset)) = at {
                    write!(f, " (frame {frame}, byte {offset})")?;
                }
                write!(f, ": {}", one_line(&error.to_string()))?;
                match error.kind() {
                    io::ErrorKind::NotFound => write!(f, "; check the path"),
                    io::ErrorKind::PermissionDenied => write!(f, "; make it readable for this user"),
                    _ => Ok(()),
                }
            }
            Self::Unsuitable { name, found, fix } => write!(
                f,
                "{}: found {}; wanted a JPEG or PNG, a folder of them, a .mjpeg or a .y4m; {fix}",
                show(name),
                one_line(found)
            ),
            Self::Format { name, frame, offset, problem } => {
                write!(f, "{}: frame {frame}, byte {offset}: {}", show(name), one_line(problem))
            }
            Self::NoFrame { name, wanted, skipped } => {
                write!(f, "{}: holds no frame: wanted {wanted}, found ", show(name))?;
                match skipped {
                    None => write!(f, "none"),
                    Some((1, reason)) => write!(f, "one that is broken: {reason}"),
                    Some((count, reason)) => write!(f, "{count} that are broken; the first: {reason}"),
                }
            }
            Self::NoCamera { tried } if tried.is_empty() => {
                write!(f, "no camera: /dev holds no video device; plug one in, or give --camera DEV or --source PATH")
            }
            Self::NoCamera { tried } => {
                write!(f, "no camera answers:")?;
                for (index, (name, reason)) in tried.iter().enumerate() {
                    write!(f, "{} {}: {}", if index == 0 { "" } else { ";" }, show(name), one_line(reason))?;
                }
                Ok(())
            }
            Self::Camera { name, doing, problem, .. } => {
                write!(f, "{}: cannot {doing}: {}", show(name), one_line(problem))
            }
            Self::Stopped { name } => write!(f, "{}: stopped before the first frame", show(name)),
        }
    }
}

impl std::error::Error for SourceError {}

/// Frames per second as a fraction, so that time stamps are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    num: u64,
    den: u64,
}

impl Rate {
    /// 30 frames per second: what files without a rate of their own run at.
    pub const DEFAULT: Self = Self { num: 30, den: 1 };

    /// `num / den` frames per second; `None` outside 0.001 to 1000.
    pub fn new(num: u64, den: u64) -> Option<Self> {
        let (n, d) = (u128::from(num), u128::from(den));
        (den > 0 && n * 1000 >= d && n <= d * 1000).then_some(Self { num, den })
    }

    /// To the millionth, so that 29.97 is 29.97; `None` outside 0.001 to 1000 or for NaN.
    pub fn from_f64(fps: f64) -> Option<Self> {
        // The comparison is false for NaN.
        (0.001..=1000.0).contains(&fps).then(|| Self { num: (fps * 1e6).round() as u64, den: 1_000_000 })
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// When frame `index` is due: `index * 1e9 / fps` nanoseconds, rounded down.
    pub fn at(self, index: u64) -> MonoNs {
        let ns = u128::from(index) * u128::from(self.den) * 1_000_000_000 / u128::from(self.num.max(1));
        MonoNs(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// Stamps of a file: counted from 0 at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticker {
    camera: CameraId,
    rate: Rate,
    next: u64,
}

impl Ticker {
    pub(crate) fn new(camera: CameraId, rate: Rate) -> Self {
        Self { camera, rate, next: 0 }
    }

    /// How many stamps were given.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }

    /// The time of the next stamp.
    pub(crate) fn due(&self) -> MonoNs {
        self.rate.at(self.next)
    }

    pub(crate) fn tick(&mut self) -> Stamp {
        let seq = self.next;
        self.next += 1;
        Stamp { camera: self.camera, seq, driver_seq: seq, at: self.rate.at(seq) }
    }
}

/// Counts what a file gave, for the error when that was nothing.
#[derive(Default)]
pub(crate) struct Tally {
    frames: u64,
    skipped: u64,
    first: Option<Skip>,
}

impl Tally {
    pub(crate) fn frame(&mut self) {
        self.frames += 1;
    }

    pub(crate) fn skip(&mut self, reason: &Skip) {
        self.skipped += 1;
        self.first.get_or_insert_with(|| reason.clone());
    }

    /// The end of the source: an error when there was no frame.
    pub(crate) fn end(&mut self, name: &str, wanted: &'static str) -> Result<Pulled, SourceError> {
        if self.frames > 0 {
            return Ok(Pulled::End);
        }
        let skipped = self.first.clone().map(|reason| (self.skipped, reason));
        Err(SourceError::NoFrame { name: name.to_owned(), wanted, skipped })
    }
}

#[cfg(test)]
mod tests;
