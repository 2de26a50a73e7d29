//! Uncompressed formats: the crate `yuv` after our own checks of stride, height and length.

use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvGrayImage, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};

use super::{DecodeError, Limits, guarded, one_line};
use crate::frame::{Frame, Luma, LumaAt, PixelFormat, Range, RawFrame};
use crate::geom::Size;

/// Cameras and JPEG use it for SD and HD alike unless they say otherwise, which V4L2 drivers hardly do.
const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt601;
const MODE: YuvConversionMode = YuvConversionMode::Balanced;

/// Where the planes of a raw frame lie.
struct Layout {
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

impl Layout {
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
    Layout::of(format, size, stride).wanted(size.height as usize)
}

/// The frame's size and layout, once it is certain that all of it is there.
fn check(raw: &RawFrame, limits: &Limits) -> Result<(Size, Layout), DecodeError> {
    let format = raw.format;
    let size = raw.size.ok_or(DecodeError::NoSize { format })?;
    limits.check(size)?;
    let layout = Layout::of(format, size, raw.stride);
    if layout.stride < layout.row {
        return Err(DecodeError::Stride { format, found: layout.stride, wanted: layout.row });
    }
    let found = raw.data.len();
    let missing = |wanted: usize| DecodeError::Missing { format, size, stride: layout.stride, found, wanted };
    let wanted = layout.wanted(size.height as usize).ok_or_else(|| missing(usize::MAX))?;
    if found < wanted { Err(missing(wanted)) } else { Ok((size, layout)) }
}

/// The luma as it lies there; `None` for formats that have none.
pub(super) fn luma<'a>(raw: &'a RawFrame, limits: &Limits) -> Result<Option<Luma<'a>>, DecodeError> {
    let (size, layout) = check(raw, limits)?;
    let at = match raw.format {
        PixelFormat::Yuyv => LumaAt::First,
        PixelFormat::Uyvy => LumaAt::Second,
        PixelFormat::Rgb24 | PixelFormat::Mjpg | PixelFormat::Still => return Ok(None),
        _ => LumaAt::Each,
    };
    Ok(Some(Luma { data: &raw.data, size, stride: layout.stride, at }))
}

pub(super) fn decode(raw: &RawFrame, limits: &Limits, into: &mut Frame) -> Result<(), DecodeError> {
    let format = raw.format;
    let (size, layout) = check(raw, limits)?;
    let (height, found) = (size.height as usize, raw.data.len());
    // A stride of more than 4 GiB had wanted more bytes than there are, unless the frame is one row high, where it means
    // nothing; so the fall-back is right.
    let narrow = |stride: usize| u32::try_from(stride).unwrap_or(u32::MAX);

    let rgb = into.reset(raw.stamp, size);
    let rgb_stride = size.width * 3;
    let range = match raw.range {
        Range::Limited => YuvRange::Limited,
        Range::Full => YuvRange::Full,
    };
    let (luma, chroma) = raw.data.split_at((layout.stride.saturating_mul(height)).min(found));
    guarded("yuv", || {
        let done = match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Grey => {
                in_rows(&raw.data, size, &layout, rgb, |data, stride, height, rgb| match format {
                    PixelFormat::Grey => {
                        let (y_plane, y_stride, width) = (data, narrow(stride), size.width);
                        yuv::yuv400_to_rgb(
                            &YuvGrayImage { y_plane, y_stride, width, height },
                            rgb,
                            rgb_stride,
                            range,
                            MATRIX,
                        )
                    }
                    _ => {
                        let image = YuvPackedImage { yuy: data, yuy_stride: narrow(stride), width: size.width, height };
                        if format == PixelFormat::Yuyv {
                            yuv::yuyv422_to_rgb(&image, rgb, rgb_stride, range, MATRIX)
                        } else {
                            yuv::uyvy422_to_rgb(&image, rgb, rgb_stride, range, MATRIX)
                        }
                    }
                })
            }
            PixelFormat::Nv12 => nv12(luma, chroma, size, &layout, rgb, range),
            PixelFormat::I420 | PixelFormat::I422 | PixelFormat::I444 => {
                let (u_plane, v_plane) = chroma.split_at(layout.chroma_stride * layout.chroma_height);
                let planes = YuvPlanarImage {
                    y_plane: luma,
                    y_stride: narrow(layout.stride),
                    u_plane,
                    u_stride: narrow(layout.chroma_stride),
                    v_plane,
                    v_stride: narrow(layout.chroma_stride),
                    width: size.width,
                    height: size.height,
                };
                match format {
                    PixelFormat::I420 => yuv::yuv420_to_rgb(&planes, rgb, rgb_stride, range, MATRIX),
                    PixelFormat::I422 => yuv::yuv422_to_rgb(&planes, rgb, rgb_stride, range, MATRIX),
                    _ => yuv::yuv444_to_rgb(&planes, rgb, rgb_stride, range, MATRIX),
                }
            }
            PixelFormat::Rgb24 => {
                let rows = raw.data.chunks(layout.stride.min(found).max(1));
                rgb.chunks_exact_mut(layout.row)
                    .zip(rows)
                    .for_each(|(to, from)| to.copy_from_slice(&from[..layout.row]));
                Ok(())
            }
            PixelFormat::Mjpg | PixelFormat::Still => return Err(DecodeError::NoSize { format }),
        };
        done.map_err(|error| DecodeError::Codec { reason: one_line(&error.to_string()) })
    })
}

/// Formats of one plane. The library wants whole strides, and passes over a last row without its padding (grey) or refuses
/// it (packed); so such a row is given alone.
fn in_rows(
    data: &[u8],
    size: Size,
    layout: &Layout,
    rgb: &mut [u8],
    convert: impl Fn(&[u8], usize, u32, &mut [u8]) -> Result<(), YuvError>,
) -> Result<(), YuvError> {
    let height = size.height as usize;
    if let Some(all) = data.get(..layout.stride.saturating_mul(height)) {
        return convert(all, layout.stride, size.height, rgb);
    }
    let (above, last) = data.split_at(layout.stride.saturating_mul(height - 1));
    let (rgb_above, rgb_last) = rgb.split_at_mut(size.width as usize * 3 * (height - 1));
    if height > 1 {
        convert(above, layout.stride, size.height - 1, rgb_above)?;
    }
    convert(&last[..layout.row], layout.row, 1, rgb_last)
}

/// NV12, where the library passes over a last row of chroma without its padding: that row and its luma are given alone.
fn nv12(
    luma: &[u8],
    chroma: &[u8],
    size: Size,
    layout: &Layout,
    rgb: &mut [u8],
    range: YuvRange,
) -> Result<(), YuvError> {
    let narrow = |stride: usize| u32::try_from(stride).unwrap_or(u32::MAX);
    let convert = |y_plane: &[u8], uv_plane: &[u8], uv_stride: usize, height: u32, rgb: &mut [u8]| {
        let (y_stride, uv_stride, width) = (narrow(layout.stride), narrow(uv_stride), size.width);
        let planes = YuvBiPlanarImage { y_plane, y_stride, uv_plane, uv_stride, width, height };
        yuv::yuv_nv12_to_rgb(&planes, rgb, width * 3, range, MATRIX, MODE)
    };
    if chroma.len() >= layout.chroma_stride.saturating_mul(layout.chroma_height) {
        return convert(luma, chroma, layout.chroma_stride, size.height, rgb);
    }
    let above = size.height.saturating_sub(1) / 2 * 2;
    let (luma_above, luma_last) = luma.split_at(layout.stride * above as usize);
    let (chroma_above, chroma_last) = chroma.split_at(layout.chroma_stride * (layout.chroma_height - 1));
    let (rgb_above, rgb_last) = rgb.split_at_mut(size.width as usize * 3 * above as usize);
    if above > 0 {
        convert(luma_above, chroma_above, layout.chroma_stride, above, rgb_above)?;
    }
    convert(luma_last, &chroma_last[..layout.chroma_row], layout.chroma_row, size.height - above, rgb_last)
}
