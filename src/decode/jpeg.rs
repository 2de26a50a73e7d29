//! JPEG: the marker structure, and who decodes.
//!
//! What cameras send (baseline, one scan) becomes planes through [`super::baseline`], and nothing is allocated for it. Every other kind,
//! and stills, which want packed R G B, go through zune-jpeg.
//!
//! That codec is built for browsers: it fills what is missing with grey, and even in strict mode it does not see that the
//! last rows are gone. Two measures make a picture whole or an error:
//!
//! - [`Walk`] follows the markers from start to end of image; without the end marker the frame is cut off.
//! - The codec gets a copy in which the entropy-coded data is followed by one-bits (`ff 00` pairs) in front of the end
//!   marker. A run of ones is never a Huffman code (T.81, C.2), so that decoding past the real data fails at once instead
//!   of reading zeros, which are codes. A whole picture never gets that far.
//!
//! The copy is also the place where frames without Huffman tables (many cameras, after AVI's MJPG) get the standard ones.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::baseline::{Baseline, Picture, Plane, Refusal, STANDARD_TABLES, Want};
use super::{DecodeError, Limits, guarded, one_line};
use crate::frame::{Colours, Frame, Layout, Luma, Place, Range, RawFrame, means_serve};
use crate::geom::Size;

/// Most scans of one picture: real progressive files have about 10; each costs a pass over all coefficients.
const MAX_SCANS: u32 = 64;

/// What a walk has seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// From the frame header.
    pub(crate) size: Option<Size>,
    /// Number of colour components.
    pub(crate) components: u8,
    /// The frame header's code, `c0` baseline, `c2` progressive.
    pub(crate) frame_kind: u8,
    /// Any Huffman table.
    pub(crate) huffman: bool,
    /// Scans begun.
    pub(crate) scans: u32,
}

/// One step of a [`Walk`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The data ends inside the picture.
    More,
    /// The picture is whole and ends before this offset.
    End(usize),
    /// No picture: what and at which offset.
    Broken(&'static str, usize),
}

/// Follows a JPEG's markers over data that may still grow; each byte is looked at once.
pub(crate) struct Walk {
    pos: usize,
    in_scan: bool,
    lenient: bool,
    pub(crate) facts: Facts,
}

impl Walk {
    /// For data that begins with the start-of-image marker. `lenient` skips stray bytes between segments, as still files
    /// may have; in a stream they mean that a frame was cut, and skipping them would swallow the next one.
    pub(crate) fn new(lenient: bool) -> Self {
        Self { pos: 2, in_scan: false, lenient, facts: Facts::default() }
    }

    /// Goes on in `data`, which must begin with what it held at the last call.
    pub(crate) fn advance(&mut self, data: &[u8]) -> Step {
        loop {
            if self.in_scan {
                let Some(found) = find_marker(data, self.pos) else {
                    self.pos = self.pos.max(data.len());
                    return Step::More;
                };
                self.pos = found;
                match data.get(found + 1) {
                    None => return Step::More,
                    Some(0xd0..=0xd7) => self.pos += 2,
                    Some(0xff) => self.pos += 1,
                    Some(_) => self.in_scan = false,
                }
                continue;
            }
            match data.get(self.pos) {
                None => return Step::More,
                // A cut segment that ends just behind the next picture's first marker: no segment of a whole one does.
                Some(0xff) if !self.lenient && self.pos > 2 && data[self.pos - 2..self.pos] == [0xff, 0xd8] => {
                    return Step::Broken("a second start-of-image marker before the end of the picture", self.pos - 2);
                }
                Some(0xff) => {}
                Some(_) if self.lenient => {
                    self.pos += 1;
                    continue;
                }
                Some(_) => return Step::Broken("wanted a marker (ff)", self.pos),
            }
            // Any number of ff may stand before the marker's code; `pos` stays on the last of them.
            let code = loop {
                match data.get(self.pos + 1) {
                    None => return Step::More,
                    Some(0xff) => self.pos += 1,
                    Some(&code) => break code,
                }
            };
            match code {
                0xd8 => return Step::Broken("a second start-of-image marker before the end of the picture", self.pos),
                0xd9 if self.facts.scans == 0 => return Step::Broken("end of image before any picture data", self.pos),
                0xd9 => return Step::End(self.pos + 2),
                0x00 if self.lenient => self.pos += 2,
                0x00 => return Step::Broken("wanted a marker, found a stuffed byte (ff 00)", self.pos),
                0x01 | 0xd0..=0xd7 => self.pos += 2,
                _ => {
                    let (Some(&high), Some(&low)) = (data.get(self.pos + 2), data.get(self.pos + 3)) else {
                        return Step::More;
                    };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length < 2 {
                        return Step::Broken("a segment length below 2", self.pos + 2);
                    }
                    // A table that was cut, and whose length reaches to a marker of the next picture (or is made of it).
                    if !self.lenient && (0xc0..=0xdd).contains(&code) {
                        let Some(table) = data.get(self.pos + 3..self.pos + 2 + length) else { return Step::More };
                        let start = table.windows(4).position(|four| {
                            four[..3] == [0xff, 0xd8, 0xff]
                                && matches!(four[3], 0xc0 | 0xc4 | 0xdb | 0xe0..=0xef | 0xfe)
                        });
                        if let Some(start) = start {
                            return Step::Broken("a picture's start inside a table", self.pos + 3 + start);
                        }
                    }
                    match code {
                        0xc4 => self.facts.huffman = true,
                        0xc0..=0xcf if code != 0xc8 && code != 0xcc => {
                            // Length, precision, height, width, number of components.
                            let Some(head) = data.get(self.pos + 4..self.pos + 10) else { return Step::More };
                            if length != 8 + 3 * usize::from(head[5]) {
                                return Step::Broken("a frame header whose length is wrong", self.pos + 2);
                            }
                            if self.facts.size.is_some() {
                                return Step::Broken("a second frame header: two pictures run together", self.pos);
                            }
                            let side = |at: usize| u32::from(u16::from_be_bytes([head[at], head[at + 1]]));
                            self.facts.size = Some(Size::new(side(3), side(1)));
                            self.facts.components = head[5];
                            self.facts.frame_kind = code;
                        }
                        0xda => {
                            if self.facts.size.is_none() {
                                return Step::Broken("a scan before the frame header", self.pos);
                            }
                            let Some(&count) = data.get(self.pos + 4) else { return Step::More };
                            if length != 6 + 2 * usize::from(count) {
                                return Step::Broken("a scan header whose length is wrong", self.pos + 2);
                            }
                            self.facts.scans += 1;
                            if self.facts.scans > MAX_SCANS {
                                return Step::Broken("more than 64 scans", self.pos);
                            }
                            self.in_scan = true;
                        }
                        _ => {}
                    }
                    self.pos += 2 + length;
                }
            }
        }
    }
}

/// The first `ff` at or behind `from` that no `00` follows: picture data hides its own `ff` that way, up to one every 20 bytes of noise.
pub(super) fn find_marker(data: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 64;
    let rest = data.get(from..)?;
    // Whole blocks first, without a branch inside: a few vector instructions each.
    let hits = |(bytes, next): (&[u8], &[u8])| {
        bytes.iter().zip(next).fold(0u8, |any, (&byte, &next)| any | u8::from(byte == 0xff) & u8::from(next != 0)) != 0
    };
    let next = rest.get(1..).unwrap_or_default();
    let blocks = next.len() / BLOCK;
    let block = rest.chunks_exact(BLOCK).zip(next.chunks_exact(BLOCK)).position(hits).unwrap_or(blocks);
    let start = block * BLOCK;
    let inside =
        rest[start..].iter().zip(start + 1..).position(|(&byte, next)| byte == 0xff && rest.get(next) != Some(&0))?;
    Some(from + start + inside)
}

/// Where a whole JPEG of a kind that is decoded ends, and its facts; follows its markers only.
pub(super) fn check(raw: &RawFrame, limits: &Limits) -> Result<(usize, Size, Facts), DecodeError> {
    let data = raw.data.as_slice();
    if data.len() > limits.max_encoded {
        return Err(DecodeError::TooLong { found: data.len(), limit: limits.max_encoded });
    }
    if !data.starts_with(&[0xff, 0xd8]) {
        let found = data.iter().take(4).copied().collect();
        return Err(DecodeError::NotAPicture { wanted: "a JPEG (ff d8)", found });
    }
    let mut walk = Walk::new(true);
    let step = walk.advance(data);
    let facts = walk.facts;
    // The header first: a bomb is told apart from a cut-off picture, whichever else is wrong with it.
    if let Some(size) = facts.size {
        limits.check(size)?;
        match raw.size {
            Some(wanted) if wanted != size => return Err(DecodeError::SizeDiffers { found: size, wanted }),
            _ => {}
        }
    }
    let end = match step {
        Step::End(end) => end,
        Step::More => return Err(DecodeError::Truncated { missing: "the JPEG's end marker (ff d9)", at: data.len() }),
        Step::Broken(what, at) => return Err(DecodeError::Malformed { what, at }),
    };
    let kind = match facts.components {
        1 | 3 => None,
        4 => Some("a CMYK JPEG".to_owned()),
        n => Some(format!("a JPEG with {n} colour components")),
    };
    let kind = kind.or_else(|| match facts.frame_kind {
        0xc0..=0xc2 => None,
        0xc3 | 0xc7 | 0xcb | 0xcf => Some("a lossless JPEG".to_owned()),
        0xc9..=0xce => Some("an arithmetic-coded JPEG".to_owned()),
        _ => Some("a hierarchical JPEG".to_owned()),
    });
    if let Some(what) = kind {
        return Err(DecodeError::Unsupported { what });
    }
    match facts.size {
        Some(size) => Ok((end, size, facts)),
        None => Err(DecodeError::Malformed { what: "no frame header", at: end }),
    }
}

/// Decodes JPEGs; what it keeps is used again.
#[derive(Default)]
pub(super) struct Jpeg {
    baseline: Baseline,
    /// Planes of a picture that was peeked at.
    peeked: Vec<u8>,
    /// A picture made ready for the foreign codec.
    scratch: Vec<u8>,
}

impl Jpeg {
    /// Decodes one picture of a stream.
    pub(super) fn decode(&mut self, raw: &RawFrame, limits: &Limits, into: &mut Frame) -> Result<(), DecodeError> {
        let (end, size, facts) = check(raw, limits)?;
        let filled = into.fill(raw.stamp, size, |bytes| {
            let picture = planes(&mut self.baseline, &raw.data[..end], facts, Want::Planes, bytes)?;
            let channels = picture.planes.map(place);
            let colours = if picture.components == 1 { Colours::Grey(Range::Full) } else { Colours::Yuv(Range::Full) };
            Ok(Layout { colours, channels, eighth: Some(place(picture.eighth)) })
        });
        match filled {
            Ok(true) => Ok(()),
            Ok(false) => Err(DecodeError::Malformed { what: "two frame headers that disagree", at: 0 }),
            Err(None) => self.rgb(raw, limits, into, |_orientation| ()),
            Err(Some(error)) => Err(error),
        }
    }

    /// What motion is looked for in, and the frame's size; `None` where it costs as much as decoding.
    pub(super) fn luma(&mut self, raw: &RawFrame, limits: &Limits) -> Result<Option<(Luma<'_>, Size)>, DecodeError> {
        let (end, size, facts) = check(raw, limits)?;
        let want = if means_serve(size) { Want::Eighth } else { Want::Planes };
        let picture = match planes(&mut self.baseline, &raw.data[..end], facts, want, &mut self.peeked) {
            Ok(picture) => picture,
            Err(None) => return Ok(None),
            Err(Some(error)) => return Err(error),
        };
        let plane = if means_serve(size) { picture.eighth } else { picture.planes[0] };
        Ok(Some((Luma { channel: place(plane).of(&self.peeked), range: Range::Full }, size)))
    }

    /// Decodes to packed R G B without turning the picture; gives `exif` the EXIF chunk (who likes may honour its orientation).
    pub(super) fn rgb(
        &mut self,
        raw: &RawFrame,
        limits: &Limits,
        into: &mut Frame,
        exif: impl FnOnce(&[u8]),
    ) -> Result<(), DecodeError> {
        let (end, size, facts) = check(raw, limits)?;
        prepare(&raw.data[..end], facts, &mut self.scratch);
        codec(&self.scratch, limits, size, || into.reset(raw.stamp, size), exif)
    }
}

/// The planes of one picture into `into`; the error is `None` for a kind that the decoder of streams does not know.
fn planes(
    baseline: &mut Baseline,
    whole: &[u8],
    facts: Facts,
    want: Want,
    into: &mut Vec<u8>,
) -> Result<Picture, Option<DecodeError>> {
    if facts.scans != 1 {
        return Err(None);
    }
    baseline.decode(whole, want, into).map_err(|refusal| match refusal {
        Refusal::NotBaseline => None,
        Refusal::Broken { what, at } => Some(DecodeError::Malformed { what, at }),
    })
}

fn place(plane: Plane) -> Place {
    Place { at: plane.at, size: Size::new(plane.width, plane.height), stride: plane.stride, step: 1 }
}

fn codec<'a>(
    data: &[u8],
    limits: &Limits,
    wanted: Size,
    into: impl FnOnce() -> &'a mut [u8],
    exif: impl FnOnce(&[u8]),
) -> Result<(), DecodeError> {
    guarded("zune-jpeg", || {
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(limits.max_size.width as usize)
            .set_max_height(limits.max_size.height as usize)
            .jpeg_set_max_scans(MAX_SCANS as usize)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut codec = JpegDecoder::new_with_options(ZCursor::new(data), options);
        codec.decode_headers().map_err(codec_error)?;
        codec
            .dimensions()
            .map(|(width, height)| Size::new(width as u32, height as u32))
            .filter(|&size| size == wanted)
            .ok_or(DecodeError::Malformed { what: "two frame headers that disagree", at: 0 })?;
        let pixels = into();
        if codec.output_buffer_size() != Some(pixels.len()) {
            return Err(DecodeError::Codec { reason: "zune-jpeg does not give this picture's colours".to_owned() });
        }
        codec.decode_into(pixels).map_err(codec_error)?;
        if let Some(chunk) = codec.exif() {
            exif(chunk);
        }
        Ok(())
    })
}

/// Copies a whole JPEG into `scratch`, adding what the module's essay says.
fn prepare(whole: &[u8], facts: Facts, scratch: &mut Vec<u8>) {
    let body = &whole[2..whole.len() - 2];
    scratch.clear();
    scratch.reserve(whole.len() + STANDARD_TABLES.len() + 64);
    scratch.extend_from_slice(&[0xff, 0xd8]);
    if !facts.huffman {
        scratch.extend_from_slice(&[0xff, 0xc4]);
        scratch.extend_from_slice(&(STANDARD_TABLES.len() as u16 + 2).to_be_bytes());
        scratch.extend_from_slice(&STANDARD_TABLES);
    }
    scratch.extend_from_slice(body);
    if facts.frame_kind != 0xc2 || facts.scans > 1 {
        // Not behind the first scan of a progressive picture, where the codec insists on a marker.
        (0..32).for_each(|_| scratch.extend_from_slice(&[0xff, 0x00]));
    }
    scratch.extend_from_slice(&[0xff, 0xd9]);
}

fn codec_error(error: DecodeErrors) -> DecodeError {
    DecodeError::Codec { reason: one_line(&format!("{error:?}")) }
}
