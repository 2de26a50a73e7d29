//! Still files: JPEG or PNG, turned as their EXIF orientation says.
//!
//! Everything becomes 8-bit RGB: palettes and grey are expanded, 16 bits are scaled to 8, and alpha is dropped (the colour
//! channels are taken as they are: a cut-out stays visible instead of turning black).

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, RgbImage};

use super::{DecodeError, Limits, guarded, jpeg, one_line, reference};
use crate::frame::{Frame, RawFrame};
use crate::geom::Size;

const PNG_MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

pub(super) fn decode(
    raw: &RawFrame,
    limits: &Limits,
    codec: &mut jpeg::Jpeg,
    into: &mut Frame,
) -> Result<(), DecodeError> {
    let data = raw.data.as_slice();
    if data.len() > limits.max_encoded {
        return Err(DecodeError::TooLong { found: data.len(), limit: limits.max_encoded });
    }
    if data.starts_with(&[0xff, 0xd8]) {
        // Not through `image`: its JPEG decoder accepts cut-off files.
        let mut orientation = None;
        codec.rgb(raw, limits, into, |exif| orientation = Orientation::from_exif_chunk(exif))?;
        reference::refine(data, into);
        match orientation {
            None | Some(Orientation::NoTransforms) => Ok(()),
            Some(orientation) => {
                let size = into.size();
                let pixels = RgbImage::from_raw(size.width, size.height, into.to_rgb());
                let pixels = pixels.ok_or(DecodeError::Empty { found: size })?;
                turn(DynamicImage::ImageRgb8(pixels), orientation, raw, into)
            }
        }
    } else if data.starts_with(&PNG_MAGIC) {
        png(raw, limits, into)
    } else {
        let found = data.iter().take(4).copied().collect();
        Err(DecodeError::NotAPicture { wanted: "a JPEG (ff d8) or PNG (89 50 4e 47)", found })
    }
}

fn png(raw: &RawFrame, limits: &Limits, into: &mut Frame) -> Result<(), DecodeError> {
    let data = raw.data.as_slice();
    if let Some(head) = data.get(16..24) {
        let side = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        limits.check(Size::new(side(0), side(4)))?;
    }
    whole_png(data)?;
    let (pixels, orientation) = guarded("png", || {
        let mut most = image::Limits::default();
        most.max_image_width = Some(limits.max_size.width);
        most.max_image_height = Some(limits.max_size.height);
        // The largest allowed picture at 16-bit RGBA, and room for the inflater and colour profiles.
        most.max_alloc = Some(limits.max_size.pixels() as u64 * 8 + (64 << 20));
        let mut codec = PngDecoder::with_limits(Cursor::new(data), most).map_err(image_error)?;
        let (width, height) = codec.dimensions();
        limits.check(Size::new(width, height))?;
        // Orientation that cannot be read is no reason to lose the picture.
        let orientation = codec.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((DynamicImage::from_decoder(codec).map_err(image_error)?, orientation))
    })?;
    turn(pixels, orientation, raw, into)
}

/// Checks that the chunks go on to IEND: the codec is content once it has all pixels.
fn whole_png(data: &[u8]) -> Result<(), DecodeError> {
    let cut = DecodeError::Truncated { missing: "the PNG's end chunk (IEND)", at: data.len() };
    let mut at = PNG_MAGIC.len();
    loop {
        let Some(head) = data.get(at..at + 8) else { return Err(cut) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(length).saturating_add(12);
        if end > data.len() {
            return Err(cut);
        }
        if &head[4..] == b"IEND" {
            return Ok(());
        }
        at = end;
    }
}

fn turn(
    mut pixels: DynamicImage,
    orientation: Orientation,
    raw: &RawFrame,
    into: &mut Frame,
) -> Result<(), DecodeError> {
    pixels.apply_orientation(orientation);
    let pixels = pixels.into_rgb8();
    let size = Size::new(pixels.width(), pixels.height());
    *into = Frame::from_rgb(raw.stamp, size, pixels.into_raw()).ok_or(DecodeError::Empty { found: size })?;
    Ok(())
}

fn image_error(error: ImageError) -> DecodeError {
    DecodeError::Codec { reason: one_line(&error.to_string()) }
}
