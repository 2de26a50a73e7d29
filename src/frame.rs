//! Frames: what a camera or a file gave, and the pixels decoded from it.
//!
//! A [`Stamp`] is made once, where the frame is captured, and copied into everything that follows; later stages ask it for
//! the time and never a clock, so that replaying a file gives the same events on any machine. Neither [`RawFrame`] nor
//! [`Frame`] can be cloned, serialised or debug-printed with its content: a picture has no way into a log line.

use crate::geom::{Region, Size};

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

/// One channel of a frame: samples that lie `step` bytes apart, in rows `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Channel<'a> {
    /// The bytes, from the first sample on; what follows the last sample need not be there.
    pub data: &'a [u8],
    /// In samples.
    pub size: Size,
    /// Bytes from row to row.
    pub stride: usize,
    /// Bytes from sample to sample: 1 in a plane, 2 for the luma of YUYV, 3 in packed R G B.
    pub step: usize,
}

impl Channel<'_> {
    /// The sample at (`x`, `y`), which must lie inside.
    pub fn at(&self, x: usize, y: usize) -> u8 {
        self.data[y * self.stride + x * self.step]
    }
}

impl std::fmt::Debug for Channel<'_> {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.size)
    }
}

/// Rows of a plane, which may be fetched only when they are asked for: from above to below.
pub trait Rows {
    /// `count` rows from row `first` on, one behind the other without padding; `None` when they cannot be had.
    fn rows(&mut self, first: usize, count: usize) -> Option<&[u8]>;
}

/// What motion is looked for in: brightness, and what stands for black and white in it.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    /// The samples: those of the frame, or the means of its blocks of 8x8.
    pub channel: Channel<'a>,
    /// Of the samples.
    pub range: Range,
}

/// What the three channels of a frame stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Colours {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Luma and the differences of blue and of red from it (ITU-R BT.601), the differences perhaps in half as many columns or rows.
    Yuv(Range),
    /// Luma alone: only the first channel counts.
    Grey(Range),
}

/// Where one channel lies among the bytes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Offset of the first sample.
    pub at: usize,
    /// See [`Channel::size`].
    pub size: Size,
    /// See [`Channel::stride`].
    pub stride: usize,
    /// See [`Channel::step`].
    pub step: usize,
}

impl Place {
    /// One byte behind the last sample; `None` beyond the address space or without samples.
    fn end(&self) -> Option<usize> {
        let (columns, rows) = (self.size.width.checked_sub(1)? as usize, self.size.height.checked_sub(1)? as usize);
        let (row, column) = (rows.checked_mul(self.stride)?, columns.checked_mul(self.step)?);
        self.at.checked_add(row)?.checked_add(column)?.checked_add(1)
    }

    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> Channel<'a> {
        let data = bytes.get(self.at..).unwrap_or_default();
        Channel { data, size: self.size, stride: self.stride, step: self.step }
    }
}

/// How the samples of a frame lie among its bytes, and what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// What the channels stand for.
    pub colours: Colours,
    /// R, G and B, or Y, U and V.
    pub channels: [Place; 3],
    /// The means of the luma's blocks of 8x8, where the decoder had them for nothing.
    pub eighth: Option<Place>,
}

impl Layout {
    /// Packed R G B, rows without padding.
    pub fn rgb(size: Size) -> Self {
        let stride = size.width as usize * 3;
        Self { channels: [0, 1, 2].map(|at| Place { at, size, stride, step: 3 }), ..Self::default() }
    }

    fn fits(&self, bytes: usize) -> bool {
        let counts = match self.colours {
            Colours::Grey(_) => 1,
            _ => 3,
        };
        let mut places = self.channels[..counts].iter().chain(&self.eighth);
        places.all(|place| place.end().is_some_and(|end| end <= bytes))
    }
}

/// From this long side on, motion is looked for in the means of blocks: they are then as fine as its cells.
const MEANS_FROM: u32 = 1280;

/// Whether motion is looked for in the means of a frame's 8x8 blocks rather than in its samples.
pub(crate) fn means_serve(size: Size) -> bool {
    size.long_side() >= MEANS_FROM
}

/// A decoded frame: 8-bit samples, as the camera sent them. Colours are made where they are needed, of the parts that are looked at;
/// see [`Frame::channels`].
#[derive(Default)]
pub struct Frame {
    /// Who, which, when.
    pub stamp: Stamp,
    size: Size,
    layout: Layout,
    bytes: Vec<u8>,
    made: bool,
}

impl std::fmt::Debug for Frame {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?}, {})", self.stamp, self.size)
    }
}

impl Frame {
    /// A frame without pixels; its buffer is used again by whoever fills it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What [`Frame::channels`] stand for.
    pub fn colours(&self) -> Colours {
        self.layout.colours
    }

    /// Its samples, R, G and B or Y, U and V. Of a grey frame all three are the luma.
    pub fn channels(&self) -> [Channel<'_>; 3] {
        let [first, second, third] = self.layout.channels.map(|place| place.of(&self.bytes));
        match self.layout.colours {
            Colours::Grey(_) => [first; 3],
            _ => [first, second, third],
        }
    }

    /// What motion is looked for in; `None` for a frame of red, green and blue.
    pub fn luma(&self) -> Option<Luma<'_>> {
        let range = match self.layout.colours {
            Colours::Rgb => return None,
            Colours::Yuv(range) | Colours::Grey(range) => range,
        };
        let means = self.layout.eighth.filter(|_| means_serve(self.size));
        Some(Luma { channel: means.unwrap_or(self.layout.channels[0]).of(&self.bytes), range })
    }

    /// The pixels where they are packed R G B without padding: `3 * width * height` bytes.
    pub fn packed_rgb(&self) -> Option<&[u8]> {
        (self.layout == Layout::rgb(self.size)).then(|| &self.bytes[..self.size.pixels() * 3])
    }

    /// Whether its pixels were made R G B from something else, as those of stills are, rather than sent so by a camera.
    pub fn is_made(&self) -> bool {
        self.made
    }

    /// All pixels, packed R G B. For tools and tests: it makes more than anybody needs who looks at a part.
    pub fn to_rgb(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.part_to_rgb(Region::whole(self.size), &mut out);
        out
    }

    /// The pixels of a part inside the frame, packed R G B, replacing `out`; the nearest samples of colour.
    pub fn part_to_rgb(&self, part: Region, out: &mut Vec<u8>) {
        let (colours, channels) = (self.layout.colours, self.channels());
        let Size { width, height } = self.size;
        // How many times as many pixels as samples.
        let fewer = channels.map(|c| {
            (width.div_ceil(c.size.width.max(1)).max(1) as usize, height.div_ceil(c.size.height.max(1)).max(1) as usize)
        });
        out.clear();
        out.reserve(part.size.pixels() * 3);
        for y in part.y as usize..(part.y + part.size.height) as usize {
            for x in part.x as usize..(part.x + part.size.width) as usize {
                let sample = |c: usize| f32::from(channels[c].at(x / fewer[c].0, y / fewer[c].1));
                let rgb = colours.to_rgb([0, 1, 2].map(sample));
                out.extend(rgb.map(|v| v.round() as u8));
            }
        }
    }

    /// Takes on a new stamp and size and gives the buffer to write, `3 * width * height` bytes of unspecified content, packed R G B.
    /// Keeps the allocation when it is large enough.
    pub fn reset(&mut self, stamp: Stamp, size: Size) -> &mut [u8] {
        self.stamp = stamp;
        self.size = size;
        self.layout = Layout::rgb(size);
        self.made = true;
        self.bytes.resize(size.pixels() * 3, 0);
        &mut self.bytes
    }

    /// Adopts a ready buffer; `None` unless it holds exactly `3 * width * height` bytes.
    pub fn from_rgb(stamp: Stamp, size: Size, rgb: Vec<u8>) -> Option<Self> {
        let layout = Layout::rgb(size);
        (rgb.len() == size.pixels() * 3).then_some(Self { stamp, size, layout, bytes: rgb, made: true })
    }

    /// Exchanges its bytes for those of another, which lie as `layout` says. False, and nothing is exchanged, when a sample
    /// would lie beyond their end.
    pub fn exchange(&mut self, stamp: Stamp, size: Size, layout: Layout, bytes: &mut Vec<u8>) -> bool {
        let fits = layout.fits(bytes.len());
        if fits {
            std::mem::swap(&mut self.bytes, bytes);
            (self.stamp, self.size, self.layout, self.made) = (stamp, size, layout, false);
        }
        fits
    }

    /// Has its bytes written by `fill`, which says how they lie. False when a sample would lie beyond their end; then, and when
    /// `fill` fails, it is a frame without pixels that keeps the buffer.
    ///
    /// # Errors
    /// What `fill` says.
    pub fn fill<E>(
        &mut self,
        stamp: Stamp,
        size: Size,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<Layout, E>,
    ) -> Result<bool, E> {
        let mut bytes = std::mem::take(self).bytes;
        let layout = fill(&mut bytes);
        self.bytes = bytes;
        let layout = layout?;
        let fits = layout.fits(self.bytes.len());
        if fits {
            (self.stamp, self.size, self.layout) = (stamp, size, layout);
        }
        Ok(fits)
    }
}

impl Colours {
    /// Three samples as red, green and blue, 0..=255, by ITU-R BT.601.
    pub fn to_rgb(self, samples: [f32; 3]) -> [f32; 3] {
        let [y, u, v] = samples;
        let (y, gain) = match self {
            Self::Rgb => return samples,
            Self::Yuv(Range::Full) => (y, 1.0),
            Self::Yuv(Range::Limited) => ((y - 16.0) * (255.0 / 219.0), 255.0 / 224.0),
            Self::Grey(Range::Full) => return [y; 3],
            Self::Grey(Range::Limited) => return [((y - 16.0) * (255.0 / 219.0)).clamp(0.0, 255.0); 3],
        };
        let (u, v) = (gain * (u - 128.0), gain * (v - 128.0));
        [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u].map(|value| value.clamp(0.0, 255.0))
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

    #[test]
    fn what_came_to_nothing_has_no_pixels_and_keeps_the_buffer() {
        let (size, room) = (Size::new(2, 2), 100);
        let mut frame = Frame::new();
        let mut fill = |count, good: bool| {
            let fill = |bytes: &mut Vec<u8>| {
                bytes.reserve_exact(room);
                bytes.resize(count, 7);
                if good { Ok(Layout::rgb(size)) } else { Err("broken") }
            };
            let filled = frame.fill(Stamp::default(), size, fill);
            assert!(frame.bytes.capacity() >= room);
            (filled, frame.size(), frame.packed_rgb().map(<[u8]>::len))
        };
        assert_eq!(fill(12, true), (Ok(true), size, Some(12)));
        assert_eq!(fill(11, true).0, Ok(false));
        assert_eq!(fill(12, true), (Ok(true), size, Some(12)));
        let (filled, now, rgb) = fill(12, false);
        assert_eq!((filled, now), (Err("broken"), Size::default()));
        assert_ne!(rgb, Some(12));
    }
}
