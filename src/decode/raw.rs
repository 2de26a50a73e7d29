//! Uncompressed formats: checks of stride, height and length, and where each channel lies. No byte is moved; colours are made of
//! the parts that are looked at (ITU-R BT.601, which cameras use for SD and HD alike unless they say otherwise, which V4L2 drivers
//! hardly do).

use super::{DecodeError, Limits};
use crate::frame::{Colours, Frame, Layout, Luma, PixelFormat, Place, RawFrame};
use crate::geom::Size;

/// Where the planes of a raw frame lie.
struct Planes {
    /// Bytes used of a row of the first plane.
    row: usize,
    /// Bytes from row to row of the first plane.
    stride: usize,
    /// The same for the planes of chroma.
    chroma_row: usize,
    chroma_stride: usize,
    chroma_height: usize,
    chroma_planes: usize,
}

impl Planes {
    fn of(format: PixelFormat, size: Size, stride: usize) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let half = width.div_ceil(2);
        let row = match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => half * 4,
            PixelFormat::Rgb24 => width * 3,
            _ => width,
        };
        // 0: the source knows of no padding.
        let stride = if stride == 0 { row } else { stride };
        let (chroma_row, chroma_stride, chroma_height, chroma_planes) = match format {
            PixelFormat::I420 => (half, stride.div_ceil(2), height.div_ceil(2), 2),
            PixelFormat::I422 => (half, stride.div_ceil(2), height, 2),
            PixelFormat::I444 => (width, stride, height, 2),
            // An odd width without padding still has whole pairs of U and V.
            PixelFormat::Nv12 => {
                (half * 2, stride.checked_next_multiple_of(2).unwrap_or(usize::MAX), height.div_ceil(2), 1)
            }
            _ => (0, 0, 0, 0),
        };
        Self { row, stride, chroma_row, chroma_stride, chroma_height, chroma_planes }
    }

    /// Bytes wanted; the padding behind the very last row is not. `None` beyond the address space.
    fn wanted(&self, height: usize) -> Option<usize> {
        let last = |stride: usize, rows: usize, row: usize| stride.checked_mul(rows.checked_sub(1)?)?.checked_add(row);
        if self.chroma_planes == 0 {
            return last(self.stride, height, self.row);
        }
        let luma = self.stride.checked_mul(height)?;
        let plane = self.chroma_stride.checked_mul(self.chroma_height)?;
        let whole_planes = plane.checked_mul(self.chroma_planes - 1)?;
        luma.checked_add(whole_planes)?.checked_add(last(self.chroma_stride, self.chroma_height, self.chroma_row)?)
    }
}

/// The least number of bytes that a frame can have; `None` beyond the address space.
pub(super) fn least_bytes(format: PixelFormat, size: Size, stride: usize) -> Option<usize> {
    Planes::of(format, size, stride).wanted(size.height as usize)
}

/// The frame's size and layout, once it is certain that all of it is there.
fn check(raw: &RawFrame, limits: &Limits) -> Result<(Size, Planes), DecodeError> {
    let format = raw.format;
    let size = raw.size.ok_or(DecodeError::NoSize { format })?;
    limits.check(size)?;
    let layout = Planes::of(format, size, raw.stride);
    if layout.stride < layout.row {
        return Err(DecodeError::Stride { format, found: layout.stride, wanted: layout.row });
    }
    let found = raw.data.len();
    let missing = |wanted: usize| DecodeError::Missing { format, size, stride: layout.stride, found, wanted };
    let wanted = layout.wanted(size.height as usize).ok_or_else(|| missing(usize::MAX))?;
    if found < wanted { Err(missing(wanted)) } else { Ok((size, layout)) }
}

/// Where the channels lie, and what they stand for.
fn layout(raw: &RawFrame, size: Size, planes: &Planes) -> Layout {
    let (stride, luma) = (planes.stride, planes.stride.saturating_mul(size.height as usize));
    let Size { width, height } = size;
    let place = |at: usize, size: Size, stride: usize, step: usize| Place { at, size, stride, step };
    let whole = |at, step| place(at, size, stride, step);
    let half = Size::new(width.div_ceil(2), height);
    let quarter = Size::new(width.div_ceil(2), height.div_ceil(2));
    let beside = |at| place(at, half, stride, 4);
    // Planes of colour behind the luma, of that size.
    let planar = |size: Size, step: usize| {
        let second = if step == 1 { luma + planes.chroma_stride * planes.chroma_height } else { luma + 1 };
        [whole(0, 1), place(luma, size, planes.chroma_stride, step), place(second, size, planes.chroma_stride, step)]
    };
    let yuv = Colours::Yuv(raw.range);
    let (colours, channels) = match raw.format {
        PixelFormat::Yuyv => (yuv, [whole(0, 2), beside(1), beside(3)]),
        PixelFormat::Uyvy => (yuv, [whole(1, 2), beside(0), beside(2)]),
        PixelFormat::Nv12 => (yuv, planar(quarter, 2)),
        PixelFormat::I420 => (yuv, planar(quarter, 1)),
        PixelFormat::I422 => (yuv, planar(half, 1)),
        PixelFormat::I444 => (yuv, planar(size, 1)),
        PixelFormat::Grey => (Colours::Grey(raw.range), [whole(0, 1); 3]),
        // The other two are encoded and never come here.
        PixelFormat::Rgb24 | PixelFormat::Mjpg | PixelFormat::Still => {
            (Colours::Rgb, [whole(0, 3), whole(1, 3), whole(2, 3)])
        }
    };
    Layout { colours, channels, eighth: None }
}

/// The luma as it lies there, and the frame's size; `None` for formats that have none.
pub(super) fn luma<'a>(raw: &'a RawFrame, limits: &Limits) -> Result<Option<(Luma<'a>, Size)>, DecodeError> {
    let (size, planes) = check(raw, limits)?;
    let layout = layout(raw, size, &planes);
    Ok(match layout.colours {
        Colours::Rgb => None,
        Colours::Yuv(range) | Colours::Grey(range) => {
            Some((Luma { channel: layout.channels[0].of(&raw.data), range }, size))
        }
    })
}

pub(super) fn decode(raw: &mut RawFrame, limits: &Limits, into: &mut Frame) -> Result<(), DecodeError> {
    let (size, planes) = check(raw, limits)?;
    let layout = layout(raw, size, &planes);
    if into.exchange(raw.stamp, size, layout, &mut raw.data) {
        Ok(())
    } else {
        let (format, found) = (raw.format, raw.data.len());
        Err(DecodeError::Missing { format, size, stride: planes.stride, found, wanted: usize::MAX })
    }
}
