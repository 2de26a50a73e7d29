//! Uncompressed formats: the crate `yuv` after our own checks of stride, height and length.

use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvGrayImage, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};

use super::{DecodeError, Limits, guarded, one_line};
use crate::frame::{Frame, PixelFormat, Range, RawFrame};
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
            PixelFormat::Nv12 => (half * 2, stride.next_multiple_of(2), height.div_ceil(2), 1),
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

pub(super) fn decode(raw: &RawFrame, limits: &Limits, into: &mut Frame) -> Result<(), DecodeError> {
    let format = raw.format;
    let size = raw.size.ok_or(DecodeError::NoSize { format })?;
    limits.check(size)?;
    let height = size.height as usize;
    let layout = Layout::of(format, size, raw.stride);
    if layout.stride < layout.row {
        return Err(DecodeError::Stride { format, found: layout.stride, wanted: layout.row });
    }
    let found = raw.data.len();
    let missing = |wanted: usize| DecodeError::Missing { format, size, stride: layout.stride, found, wanted };
    let wanted = layout.wanted(height).ok_or_else(|| missing(usize::MAX))?;
    if found < wanted {
        return Err(missing(wanted));
    }
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
            PixelFormat::Yuyv | PixelFormat::Uyvy => packed(raw, size, &layout, rgb, range),
            PixelFormat::Nv12 => {
                let planes = YuvBiPlanarImage {
                    y_plane: luma,
                    y_stride: narrow(layout.stride),
                    uv_plane: chroma,
                    uv_stride: narrow(layout.chroma_stride),
                    width: size.width,
                    height: size.height,
                };
                yuv::yuv_nv12_to_rgb(&planes, rgb, rgb_stride, range, MATRIX, MODE)
            }
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
            PixelFormat::Grey => {
                let plane = YuvGrayImage {
                    y_plane: luma,
                    y_stride: narrow(layout.stride),
                    width: size.width,
                    height: size.height,
                };
                yuv::yuv400_to_rgb(&plane, rgb, rgb_stride, range, MATRIX)
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

/// YUYV and UYVY. The library wants whole strides; the last row may lack its padding, so it is given alone.
fn packed(raw: &RawFrame, size: Size, layout: &Layout, rgb: &mut [u8], range: YuvRange) -> Result<(), YuvError> {
    let convert = |yuy: &[u8], stride: usize, height: u32, rgb: &mut [u8]| {
        let yuy_stride = u32::try_from(stride).unwrap_or(u32::MAX);
        let image = YuvPackedImage { yuy, yuy_stride, width: size.width, height };
        match raw.format {
            PixelFormat::Yuyv => yuv::yuyv422_to_rgb(&image, rgb, size.width * 3, range, MATRIX),
            _ => yuv::uyvy422_to_rgb(&image, rgb, size.width * 3, range, MATRIX),
        }
    };
    let whole = layout.stride.saturating_mul(size.height as usize);
    if let Some(all) = raw.data.get(..whole) {
        return convert(all, layout.stride, size.height, rgb);
    }
    let (above, last) = raw.data.split_at(layout.stride.saturating_mul(size.height as usize - 1));
    let (rgb_above, rgb_last) = rgb.split_at_mut(size.width as usize * 3 * (size.height as usize - 1));
    if size.height > 1 {
        convert(above, layout.stride, size.height - 1, rgb_above)?;
    }
    convert(&last[..layout.row], layout.row, 1, rgb_last)
}
