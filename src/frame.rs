//! Frames: what a camera or a file gave, and the pixels decoded from it.
//!
//! A [`Stamp`] is made once, where the frame is captured, and copied into everything that follows; later stages ask it for
//! the time and never a clock, so that replaying a file gives the same events on any machine. Neither [`RawFrame`] nor
//! [`Frame`] can be cloned, serialised or debug-printed with its content: a picture has no way into a log line.

use crate::geom::Size;

/// Nanoseconds on the stream's own clock: `CLOCK_MONOTONIC` for a camera, 0 at the first frame for a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Whole milliseconds from `earlier` to `self`; 0 when `earlier` is later (a driver's clock may step back).
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }

    /// `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

/// Which camera of this run: an index into the configuration's list, so that an event needs no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraId(pub u8);

/// Who, which and when of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The camera it came from.
    pub camera: CameraId,
    /// Counted here from 0, without gaps, per camera.
    pub seq: u64,
    /// The driver's own counter (V4L2 `sequence`); its gaps are frames lost before us. For files equal to `seq`.
    pub driver_seq: u64,
    /// Capture time.
    pub at: MonoNs,
}

/// How the bytes of a [`RawFrame`] are to be read. Closed: what is not here is refused at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// One JPEG image per frame, bytes behind its end tolerated; orientation tags ignored (a stream has none).
    Mjpg,
    /// One JPEG or PNG file; EXIF orientation honoured.
    Still,
    /// 4:2:2 packed, Y0 U Y1 V.
    Yuyv,
    /// 4:2:2 packed, U Y0 V Y1.
    Uyvy,
    /// 4:2:0, a plane of Y then one of interleaved U V.
    Nv12,
    /// 4:2:0, planes Y, U, V (V4L2 calls it YU12).
    I420,
    /// 4:2:2, planes Y, U, V.
    I422,
    /// 4:4:4, planes Y, U, V.
    I444,
    /// One plane of luma.
    Grey,
    /// Packed R G B.
    Rgb24,
}

impl PixelFormat {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Mjpg,
        Self::Still,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::I420,
        Self::I422,
        Self::I444,
        Self::Grey,
        Self::Rgb24,
    ];

    /// The name used in events, errors and the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mjpg => "mjpg",
            Self::Still => "still",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
            Self::Nv12 => "nv12",
            Self::I420 => "i420",
            Self::I422 => "i422",
            Self::I444 => "i444",
            Self::Grey => "grey",
            Self::Rgb24 => "rgb24",
        }
    }
}

/// Whether luma 16..235 or 0..255 stands for black to white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Range {
    /// 16..235 (video).
    #[default]
    Limited,
    /// 0..255 (JPEG).
    Full,
}

/// A frame as the source gave it, already cut to the bytes that the driver says are used.
pub struct RawFrame {
    /// Who, which, when.
    pub stamp: Stamp,
    /// How to read `data`.
    pub format: PixelFormat,
    /// Picture size in pixels; `None` when only the encoded bytes know it.
    pub size: Option<Size>,
    /// Bytes from one row of the first plane to the next; 0 for encoded formats.
    pub stride: usize,
    /// Luma range of YUV formats.
    pub range: Range,
    /// The bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for RawFrame {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawFrame({:?}, {}, {} bytes)", self.stamp, self.format.name(), self.data.len())
    }
}

/// Where the luma lies among the bytes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LumaAt {
    /// Every byte is one.
    Each,
    /// The first of each pair (YUYV).
    First,
    /// The second of each pair (UYVY).
    Second,
}

/// The luma of a frame whose colour nobody has asked for; full or limited range, as it came.
#[derive(Clone, Copy)]
pub struct Luma<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// Of the frame, pixels.
    pub size: Size,
    /// Bytes from row to row.
    pub stride: usize,
    /// Which of them are luma.
    pub at: LumaAt,
}

impl std::fmt::Debug for Luma<'_> {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Luma({})", self.size)
    }
}

/// Decoded pixels: packed R G B, 8 bits, rows without padding.
#[derive(Default)]
pub struct Frame {
    /// Who, which, when.
    pub stamp: Stamp,
    size: Size,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?}, {})", self.stamp, self.size)
    }
}

impl Frame {
    /// A black frame; its buffer is reused by [`Frame::reset`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The pixels: `3 * width * height` bytes, R G B, row after row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Takes on a new stamp and size and gives the buffer to write, `3 * width * height` bytes of unspecified content.
    /// Keeps the allocation when it is large enough.
    pub fn reset(&mut self, stamp: Stamp, size: Size) -> &mut [u8] {
        self.stamp = stamp;
        self.size = size;
        self.rgb.resize(size.pixels() * 3, 0);
        &mut self.rgb
    }

    /// Adopts a ready buffer; `None` unless it holds exactly `3 * width * height` bytes.
    pub fn from_rgb(stamp: Stamp, size: Size, rgb: Vec<u8>) -> Option<Self> {
        (rgb.len() == size.pixels() * 3).then_some(Self { stamp, size, rgb })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_pixel() {
        let raw = RawFrame {
            stamp: Stamp::default(),
            format: PixelFormat::Grey,
            size: Some(Size::new(2, 1)),
            stride: 2,
            range: Range::Full,
            data: vec![201, 202],
        };
        assert!(!format!("{raw:?}").contains("201"));
        let frame = Frame::from_rgb(Stamp::default(), Size::new(1, 1), vec![201, 202, 203]);
        assert!(!format!("{frame:?}").contains("201"));
    }

    #[test]
    fn time_never_runs_negative() {
        assert_eq!(MonoNs(5).ms_since(MonoNs(7_000_000)), 0);
        assert_eq!(MonoNs(7_000_000).ms_since(MonoNs(0)), 7);
    }

    #[test]
    fn a_buffer_of_the_wrong_length_is_no_frame() {
        assert!(Frame::from_rgb(Stamp::default(), Size::new(2, 2), vec![0; 11]).is_none());
    }
}
