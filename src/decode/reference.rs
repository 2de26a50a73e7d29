//! Still JPEGs exactly as the field's tools see them.
//!
//! A JPEG does not say how its halved colour planes are to be doubled, and decoders differ by a few grey levels there: enough
//! to move the box of a face twelve pixels wide. Published accuracy, OpenCV and every reference output were made with
//! libjpeg-turbo, so stills, whose results people compare with other tools, are decoded by it (mozjpeg is that code, built
//! from source with a plain C compiler). It is C, and files come from strangers: it only ever sees a file that the
//! memory-safe decoder has already decoded whole under our limits. Camera streams never come here.

use super::{DecodeError, guarded};
use crate::frame::Frame;

/// Replaces the pixels of a picture that was decoded already. When this decoder disagrees about the size, or refuses the
/// file, the pixels stay as they are.
pub(super) fn refine(data: &[u8], into: &mut Frame) {
    let size = into.size();
    let exact = guarded("libjpeg", || {
        let failed = |e: std::io::Error| DecodeError::Codec { reason: e.to_string() };
        let mut picture = mozjpeg::Decompress::new_mem(data).map_err(failed)?.rgb().map_err(failed)?;
        if (picture.width(), picture.height()) != (size.width as usize, size.height as usize) {
            return Err(DecodeError::Codec { reason: "another size".into() });
        }
        let pixels: Vec<[u8; 3]> = picture.read_scanlines().map_err(failed)?;
        picture.finish().map_err(failed)?;
        Ok(pixels)
    });
    if let Ok(pixels) = exact
        && pixels.len() == size.pixels()
    {
        into.reset(into.stamp, size).copy_from_slice(pixels.as_flattened());
    }
}
