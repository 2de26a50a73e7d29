//! Bytes to pixels, under explicit limits. Pure: no I/O, no clock, no global state.
//!
//! A [`Decoder`] takes a [`RawFrame`] and fills a [`Frame`]. Every header is checked against [`Limits`] (and against what
//! the source promised) before a buffer of its size exists, and a picture is either whole or an error: half a grey frame
//! would look like movement. Nothing here panics on outside data; the foreign codecs run behind `guarded`, which turns a
//! panic of theirs into [`DecodeError::Codec`].

mod baseline;
pub(crate) mod jpeg;
mod raw;
mod reference;
mod still;

use crate::frame::{Frame, Luma, PixelFormat, RawFrame};
use crate::geom::Size;

/// What a frame may cost. The contract's default: 8192x8192 pixels, 64 MiB encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Widest and highest picture, each side on its own.
    pub max_size: Size,
    /// Most bytes of an encoded frame (JPEG, PNG). Raw formats are bounded by `max_size` alone.
    pub max_encoded: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_size: Size::new(8192, 8192), max_encoded: 64 << 20 }
    }
}

impl Limits {
    /// `Err` for a side of 0 or one beyond [`Limits::max_size`].
    pub fn check(&self, size: Size) -> Result<(), DecodeError> {
        if size.width == 0 || size.height == 0 {
            return Err(DecodeError::Empty { found: size });
        }
        if size.width > self.max_size.width || size.height > self.max_size.height {
            return Err(DecodeError::TooLarge { found: size, limit: self.max_size });
        }
        Ok(())
    }
}

/// Why bytes are no picture. The message names what was wanted and found; which file and frame it was, the caller knows
/// (`RawFrame::stamp`).
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Neither JPEG nor PNG (`wanted`) by its first bytes.
    NotAPicture {
        /// What the format calls for.
        wanted: &'static str,
        /// The first bytes, at most 4.
        found: Vec<u8>,
    },
    /// The data ends before the picture does.
    Truncated {
        /// Format and part, e.g. `"JPEG: end-of-image marker"`.
        missing: &'static str,
        /// Length of the data, where it ended.
        at: usize,
    },
    /// A structure that no picture of this format has.
    Malformed {
        /// What is wrong, in words.
        what: &'static str,
        /// Byte offset in the frame.
        at: usize,
    },
    /// A picture with no pixels.
    Empty {
        /// The size it claims.
        found: Size,
    },
    /// More pixels than allowed.
    TooLarge {
        /// The size it claims.
        found: Size,
        /// The widest and highest allowed.
        limit: Size,
    },
    /// More encoded bytes than allowed.
    TooLong {
        /// Bytes of the frame.
        found: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// A raw frame that is too short for its stride and height.
    Missing {
        /// The frame's format.
        format: PixelFormat,
        /// Its size.
        size: Size,
        /// Its stride.
        stride: usize,
        /// Bytes found.
        found: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// A stride shorter than a row.
    Stride {
        /// The frame's format.
        format: PixelFormat,
        /// Stride given.
        found: usize,
        /// Bytes of a row.
        wanted: usize,
    },
    /// A raw frame of unknown size: the source's mistake.
    NoSize {
        /// The frame's format.
        format: PixelFormat,
    },
    /// The JPEG's header disagrees with the size the camera was set to.
    SizeDiffers {
        /// In the header.
        found: Size,
        /// As negotiated.
        wanted: Size,
    },
    /// A picture of a kind that is not decoded (CMYK, arithmetic coding, ...).
    Unsupported {
        /// What it is.
        what: String,
    },
    /// The codec gave up; its words, on one line.
    Codec {
        /// What it said.
        reason: String,
    },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAPicture { wanted, found } if found.is_empty() => write!(f, "no bytes; wanted {wanted}"),
            Self::NotAPicture { wanted, found } => {
                write!(f, "not a picture: begins with")?;
                found.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
                write!(f, "; wanted {wanted}")
            }
            Self::Truncated { missing, at } => {
                write!(f, "cut off at byte {at}: wanted {missing}, found the end of data")
            }
            Self::Malformed { what, at } => write!(f, "broken at byte {at}: {what}"),
            Self::Empty { found } => write!(f, "the picture is {found}; wanted at least 1x1"),
            Self::TooLarge { found, limit } => write!(f, "the picture is {found}; at most {limit} is decoded"),
            Self::TooLong { found, limit } => write!(f, "the frame has {found} bytes; at most {limit} are decoded"),
            Self::Missing { format, size, stride, found, wanted } => {
                write!(f, "{} frame of {size}, stride {stride}: found {found} bytes, wanted {wanted}", format.name())
            }
            Self::Stride { format, found, wanted } => {
                write!(f, "{} frame: stride {found} is shorter than a row of {wanted} bytes", format.name())
            }
            Self::NoSize { format } => write!(f, "{} frame of unknown size: the source must give it", format.name()),
            Self::SizeDiffers { found, wanted } => {
                write!(f, "the JPEG header says {found}, the camera was set to {wanted}")
            }
            Self::Unsupported { what } => write!(f, "{what} is not supported; save it as an 8-bit RGB JPEG or PNG"),
            Self::Codec { reason } => write!(f, "the codec gave up: {reason}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Whether a frame is whole as far as that shows without decoding it: a JPEG's markers, a raw frame's length.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn check(raw: &RawFrame, limits: &Limits) -> Result<(), DecodeError> {
    match raw.format {
        PixelFormat::Mjpg => jpeg::check(raw, limits).map(|_| ()),
        PixelFormat::Still => Ok(()),
        _ => raw::luma(raw, limits).map(|_| ()),
    }
}

/// Turns raw frames into [`Frame`]s, keeping its buffers from frame to frame.
///
/// Nothing is made that nobody asks for: raw formats are taken as they are, and a JPEG becomes its planes of luma and colour. Both
/// allocate nothing once buffers have grown to their size. A JPEG that is not of the kind that cameras send, and stills, go
/// through foreign codecs to RGB, and allocate freely.
#[derive(Default)]
pub struct Decoder {
    limits: Limits,
    jpeg: jpeg::Jpeg,
}

impl Decoder {
    /// A decoder that refuses what exceeds `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, jpeg: jpeg::Jpeg::default() }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What motion is looked for in, as [`Frame::luma`] of the decoded frame has it, for less than decoding costs, and the frame's
    /// size; `None` for formats that have no luma apart.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn luma<'a>(&'a mut self, raw: &'a RawFrame) -> Result<Option<(Luma<'a>, Size)>, DecodeError> {
        match raw.format {
            PixelFormat::Mjpg => self.jpeg.luma(raw, &self.limits),
            PixelFormat::Still => Ok(None),
            _ => raw::luma(raw, &self.limits),
        }
    }

    /// Decodes `raw` into `into`, which takes on its stamp and size. The bytes of a raw format go into the frame, and `raw` has the
    /// frame's old ones for them: a buffer to use again.
    ///
    /// # Errors
    /// Any [`DecodeError`]; `into` then holds unspecified pixels and must not be used.
    pub fn decode(&mut self, raw: &mut RawFrame, into: &mut Frame) -> Result<(), DecodeError> {
        match raw.format {
            PixelFormat::Mjpg => self.jpeg.decode(raw, &self.limits, into),
            PixelFormat::Still => still::decode(raw, &self.limits, &mut self.jpeg, into),
            _ => raw::decode(raw, &self.limits, into),
        }
    }
}

/// Runs a foreign codec; its panic is this frame's error, not the program's end. (The codecs are fuzzed, but cameras are
/// more inventive. The panic hook still prints its line, which is right: it is a bug worth reporting.)
fn guarded<T>(codec: &str, run: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    // AssertUnwindSafe: on a panic the only thing that survives is pixel memory of unspecified content, as documented.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(DecodeError::Codec { reason: format!("{codec} panicked (a bug in it)") }))
}

/// The least number of bytes that a frame of this format and size can have; `None` beyond the address space. `stride` 0: rows
/// without padding.
pub(crate) fn least_bytes(format: PixelFormat, size: Size, stride: usize) -> Option<usize> {
    match format {
        PixelFormat::Mjpg | PixelFormat::Still => Some(4),
        _ => raw::least_bytes(format, size, stride),
    }
}

/// A foreign message as one line without control characters.
pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests;
