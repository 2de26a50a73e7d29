//! Baseline JPEG to planes: the hot path of cameras that send MJPEG.
//!
//! **Format.** Sequential DCT with Huffman codes (ITU-T T.81, Annex F; frame headers `SOF0` and, with 8 bits, `SOF1`), one
//! interleaved scan of three components or one scan of a single one, restart intervals, 8- and 16-bit quantiser tables.
//! Frames without Huffman tables (many cameras, after AVI's MJPG) get those of Annex K.3. Everything else is
//! [`Refusal::NotBaseline`], and a general decoder may try.
//!
//! **Goals.** The result is what is in the picture: luma and chroma planes as coded, at their own sizes, so that who only
//! needs luma, or a small picture, pays for no colour. Each luma block's mean (its DC coefficient) falls off on the way:
//! a picture of an eighth of the size. A picture is whole or an error; nothing is filled in. Nothing is allocated once the
//! buffers have grown to the size of the camera's frames, and nothing panics on any input.
//!
//! **How.**
//!
//! - Entropy-coded bytes are freed of their stuffing (`ff 00`, B.1.1.5) into a small window, in runs of 16 bytes. The
//!   reader then takes 8 bytes at a time without a look at their values. What it reads behind the end of the data are
//!   zeros; whether a code needed them is checked once per MCU, which is enough: the window is larger than any MCU.
//! - One look-up of the next 11 bits gives a symbol's run, size and total length, so that the next look-up depends on one
//!   load and one shift. Longer codes (rare, as codes go) take the canonical way of F.2.2.3.
//! - Coefficients are multiplied while they are decoded, and stored in the order that the transform loads: rows in the
//!   pairs 0+4, 2+6, 1+7, 3+5, which meet in one multiply-add, and columns in that order too, so that the transposition
//!   in the middle yields such pairs again.
//! - The transform is Loeffler, Ligtenberg and Moschytz's (ICASSP 1989) with 13-bit constants and two extra bits between
//!   the passes. Its flow graph is multiplied out into pairs: more products, but a multiply-add of 16-bit pairs does two of
//!   them and a sum in one instruction, without a loss: whole numbers are exact. The planes are, bit for bit, those of
//!   the common C library's accurate integer transform. A block of which only the DC coefficient is there has one value.
//! - The whole scan is compiled twice on x86-64, for AVX2 with BMI2 and for the base instruction set, and the processor
//!   is asked once per picture. Other architectures have one path, over 128-bit vectors.
//!
//! **Trade-offs.** Coefficients are kept in 16 bits; an encoder stays within 12. A broken picture whose codes happen to be
//! valid may wrap there, and looks broken, as it would in any decoder. Bytes that remain between the last code of an
//! interval and its marker are not looked at: some cameras pad.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::__m256i;
use core::hint::select_unpredictable;
#[cfg(target_arch = "x86_64")]
use pulp::{NullaryFnOnce, x86::V3};
use wide::{i16x8, i32x4, i32x8, u8x16, u32x4};

/// What to make of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All planes, and the luma means.
    Planes,
    /// Only the luma means. The rest is read as well, so that a broken picture is noticed, but not kept.
    Eighth,
}

/// Where a plane lies in the output buffer. Rows and columns are padded to whole MCUs with what the encoder put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plane {
    /// Offset of its first sample.
    pub(super) at: usize,
    /// Samples of a row that belong to the picture.
    pub(super) width: u32,
    /// Rows that belong to the picture.
    pub(super) height: u32,
    /// Samples from one row to the next.
    pub(super) stride: usize,
}

/// A decoded picture; its samples are in the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Width in pixels.
    pub(super) width: u32,
    /// Height in pixels.
    pub(super) height: u32,
    /// Luma (Y), then Cb and Cr if there are three components. All of size 0 with [`Want::Eighth`].
    pub(super) planes: [Plane; 3],
    /// 1 (grey) or 3 (YCbCr).
    pub(super) components: u8,
    /// Pixels that one chroma sample spans, across and down: (2, 2) for 4:2:0. (1, 1) for grey.
    pub(super) chroma: (u8, u8),
    /// The mean of each 8x8 block of luma, one sample per block, those at the right and lower edge with their padding.
    pub(super) eighth: Plane,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Perhaps a picture, but none for this decoder: progressive, arithmetic, 12 bits, several scans, RGB or CMYK, or a
    /// sampling that cameras do not use.
    NotBaseline,
    /// No whole picture.
    Broken {
        /// What is wrong.
        what: &'static str,
        /// Offset of it; inside entropy-coded data, near it.
        at: usize,
    },
}

/// The decoder: tables and buffers that are reused from picture to picture.
pub(super) struct Baseline {
    tables: Box<Tables>,
    window: Box<[u8; WINDOW + 8]>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self::new()
    }
}

impl Baseline {
    /// A decoder without tables.
    pub(super) fn new() -> Self {
        let tables = Tables { dc: Default::default(), ac: Default::default(), quant: [[0; 64]; 4], quants: 0 };
        Self { tables: Box::new(tables), window: Box::new([0; WINDOW + 8]) }
    }

    /// Decodes one picture, which begins with the start-of-image marker, into `out`. What `out` holds after a refusal is
    /// not specified. `out` only ever grows to what this picture takes: a header alone cannot make it, for no block takes
    /// less than two bits of data.
    pub(super) fn decode(&mut self, data: &[u8], want: Want, out: &mut Vec<u8>) -> Result<Picture, Refusal> {
        self.scan(data, want, out, |scan| match want {
            Want::Planes => scan.dispatch::<false>(),
            Want::Eighth => scan.dispatch::<true>(),
        })
    }

    /// Reads the headers, makes room and lets `run` decode.
    fn scan(
        &mut self,
        data: &[u8],
        want: Want,
        out: &mut Vec<u8>,
        run: impl FnOnce(Scan<'_>) -> Result<(), Refusal>,
    ) -> Result<Picture, Refusal> {
        let (frame, start) = self.tables.read(data)?;
        let layout = Layout::new(&frame, want);
        if layout.blocks > data.len() as u64 * 4 {
            return Err(broken("less data than blocks", data.len()));
        }
        out.resize(layout.length, 0);
        if want == Want::Eighth {
            self.tables.ac.iter_mut().for_each(Huffman::prepare_skips);
        }
        let missing = broken("a scan names a table that is not there", start);
        let mut parts = [None; 3];
        for (part, (component, plane)) in parts.iter_mut().zip(frame.parts().iter().zip(layout.planes)) {
            *part = Some(self.tables.part(component, plane).ok_or(missing)?);
        }
        let source = Source { data, src: start, window: &mut self.window, len: 0, end: End::NotYet };
        run(Scan { frame, layout, parts, source, out })?;
        Ok(layout.picture(&frame, want))
    }
}

fn broken(what: &'static str, at: usize) -> Refusal {
    Refusal::Broken { what, at }
}

// ---------------------------------------------------------------------------------------------------------------------
// Headers
// ---------------------------------------------------------------------------------------------------------------------

/// One component of the frame, with what the scan says about it.
#[derive(Clone, Copy, Debug, Default)]
struct Component {
    id: u8,
    h: usize,
    v: usize,
    quant: u8,
    dc: u8,
    ac: u8,
}

/// Frame and scan header.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    width: usize,
    height: usize,
    components: [Component; 3],
    count: usize,
    /// MCUs between restart markers; 0 for none.
    interval: usize,
}

impl Frame {
    fn parts(&self) -> &[Component] {
        &self.components[..self.count.min(3)]
    }

    /// Reads a frame header (B.2.2) whose marker is at `at`.
    fn read(body: &[u8], at: usize) -> Result<Self, Refusal> {
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = body else {
            return Err(broken("a frame header that is too short", at));
        };
        if precision != 8 || !matches!(count, 1 | 3) {
            return Err(Refusal::NotBaseline);
        }
        let (triples, []) = rest.as_chunks::<3>() else {
            return Err(broken("a frame header whose length is wrong", at));
        };
        if triples.len() != usize::from(count) {
            return Err(broken("a frame header whose length is wrong", at));
        }
        let mut frame = Self {
            width: u16::from_be_bytes([w1, w0]).into(),
            height: u16::from_be_bytes([h1, h0]).into(),
            count: triples.len(),
            ..Self::default()
        };
        for (component, &[id, sampling, quant]) in frame.components.iter_mut().zip(triples) {
            let (h, v) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || quant > 3 {
                return Err(broken("a frame header with impossible values", at));
            }
            *component = Component { id, h, v, quant, ..Component::default() };
        }
        // A scan of one component has MCUs of one block, whatever its sampling (A.2.2).
        if let [only] = &mut frame.components[..frame.count] {
            (only.h, only.v) = (1, 1);
        }
        if frame.width == 0 {
            return Err(broken("a picture without width", at));
        }
        let [y, cb, cr] = frame.components;
        let blocks: usize = frame.parts().iter().map(|part| part.h * part.v).sum();
        let sampled = (cb.h, cb.v) == (cr.h, cr.v)
            && (frame.count == 1 || matches!((y.h, y.v), (1, 1 | 2) | (2, 1 | 2) | (4, 1)))
            && (frame.count == 1 || y.h % cb.h == 0 && y.v % cb.v == 0);
        // A height of 0 comes later, in a DNL segment: not from a camera. 10 blocks are the most of an MCU (B.2.3).
        if frame.height == 0 || !sampled || blocks > 10 {
            return Err(Refusal::NotBaseline);
        }
        Ok(frame)
    }

    /// Reads the scan header (B.2.3).
    fn read_scan(&mut self, body: &[u8], at: usize) -> Result<(), Refusal> {
        let wrong = broken("a scan header whose length is wrong", at);
        let Some((&count, rest)) = body.split_first() else { return Err(wrong) };
        let Some((selectors, spectrum)) = rest.split_last_chunk::<3>() else { return Err(wrong) };
        let (pairs, left) = selectors.as_chunks::<2>();
        if pairs.len() != usize::from(count) || !left.is_empty() {
            return Err(wrong);
        }
        // One scan for all components is what is decoded here; its order must be the frame's (B.2.3).
        if pairs.len() != self.count || spectrum[2] != 0 {
            return Err(Refusal::NotBaseline);
        }
        for (component, &[id, tables]) in self.components.iter_mut().zip(pairs) {
            (component.dc, component.ac) = (tables >> 4, tables & 15);
            if component.id != id || component.dc > 3 || component.ac > 3 {
                return Err(broken("a scan header with impossible values", at));
            }
        }
        Ok(())
    }
}

/// Bits of a look-up. A longer code is searched for.
const FAST: u32 = 11;

/// Most bits of code and value that a look-up knows: two of them, or one and the longest there is (31), fit in a refill.
const SHORT: u32 = 25;

/// Bits of a look-up that only counts.
const SKIP: u32 = 12;

/// A Huffman table, canonical (Annex C).
struct Huffman {
    /// What the next [`FAST`] bits begin with: bits 0-4 the length of code and value, 5-8 the size of the value, 9-12 the
    /// run of zeros before it. 0 if there is no code, or it is too long, alone or with its value.
    fast: [u16; 1 << FAST],
    /// As many whole symbols as the next [`SKIP`] bits hold, for who needs no values: bits 0-4 the length of all, bit 5
    /// that the last of them ends the block, from bit 8 the number of coefficients. 0 if there is no whole one.
    skip: [u16; 1 << SKIP],
    /// `skip` belongs to `fast`; it is made when first needed.
    skips: bool,
    /// By length: the first 16 bits behind the codes of this length and all shorter ones.
    limit: [u32; 17],
    /// By length: what to add to a code to get its place among the symbols.
    place: [i32; 17],
    /// As the segment has it: the numbers of codes by length, and the symbols.
    counts: [u8; 16],
    symbols: [u8; 256],
    /// The picture at hand has this table. (The contents may be of an earlier one, and are kept for the next.)
    defined: bool,
}

impl Default for Huffman {
    fn default() -> Self {
        let (limit, place) = ([0; 17], [0; 17]);
        let (fast, skip) = ([0; 1 << FAST], [0; 1 << SKIP]);
        Self { fast, skip, skips: false, limit, place, counts: [0; 16], symbols: [0; 256], defined: false }
    }
}

impl Huffman {
    /// Takes over a table, unless it is what it was: most cameras repeat their tables with every picture. `direct` is for
    /// DC, whose symbols are sizes.
    fn set(&mut self, counts: &[u8; 16], symbols: &[u8], direct: bool) -> Result<(), &'static str> {
        self.defined = true;
        if self.counts == *counts && self.symbols.get(..symbols.len()) == Some(symbols) {
            return Ok(());
        }
        let made = self.make(counts, symbols, direct);
        if made.is_err() {
            // Half a table must not be taken for one.
            *self = Self::default();
        }
        made
    }

    fn make(&mut self, counts: &[u8; 16], symbols: &[u8], direct: bool) -> Result<(), &'static str> {
        let total = symbols.len();
        if total > 256 || direct && symbols.iter().any(|&symbol| symbol > 15) {
            return Err("a Huffman table with impossible symbols");
        }
        self.fast = [0; 1 << FAST];
        self.skips = false;
        self.symbols[..total].copy_from_slice(symbols);
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            self.place[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                if code >> length != 0 {
                    return Err("a Huffman table with more codes than there are");
                }
                let entry = Self::entry(self.symbols[index & 255], length);
                if length <= FAST && entry & 31 <= SHORT {
                    let first = (code << (FAST - length)) as usize;
                    self.fast[first..first + (1 << (FAST - length))].fill(entry as u16);
                }
                (code, index) = (code + 1, index + 1);
            }
            self.limit[length as usize] = code << (16 - length);
            code <<= 1;
        }
        self.counts = *counts;
        Ok(())
    }

    fn entry(symbol: u8, length: u32) -> u32 {
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        (length + size) | (size << 5) | (run << 9)
    }

    /// Makes `skip` of `fast`.
    fn prepare_skips(&mut self) {
        if !self.defined || std::mem::replace(&mut self.skips, true) {
            return;
        }
        for (window, entry) in (0u32..).zip(&mut self.skip) {
            let (mut used, mut coefficients, mut end) = (0, 0, 0);
            while end == 0 && coefficients < 64 {
                // Bits behind the window read as zeros; a symbol that needs some of them is too long.
                let next = window << used & ((1 << SKIP) - 1);
                let symbol = u32::from(self.fast[(next >> (SKIP - FAST)) as usize & ((1 << FAST) - 1)]);
                let (total, kind) = (symbol & 31, symbol >> 5);
                if symbol == 0 || used + total > SKIP {
                    break;
                }
                match kind {
                    END_OF_BLOCK => end = 1,
                    SIXTEEN_ZEROS => coefficients += 16,
                    _ if kind & 15 == 0 => break,
                    _ => coefficients += (symbol >> 9) + 1,
                }
                used += total;
            }
            *entry = (used | end << 5 | coefficients << 8) as u16;
        }
    }

    /// The symbol of a code that is not in `fast`, in the same form; 0 if there is none.
    #[cold]
    #[inline(never)]
    fn long(&self, bits: u64) -> u32 {
        let next = (bits >> 48) as u32;
        for length in 1..=16 {
            if next < self.limit[length as usize] {
                let index = (next >> (16 - length)) as i32 + self.place[length as usize];
                return Self::entry(self.symbols[index as usize & 255], length);
            }
        }
        0
    }
}

/// What the segments before the scan define.
struct Tables {
    dc: [Huffman; 4],
    ac: [Huffman; 4],
    /// In zigzag order, as in the data.
    quant: [[u16; 64]; 4],
    /// A bit for each quantiser table that this picture has.
    quants: u8,
}

impl Tables {
    /// Reads everything up to the scan's data; gives the header and where the data begins.
    fn read(&mut self, data: &[u8]) -> Result<(Frame, usize), Refusal> {
        self.quants = 0;
        self.dc.iter_mut().chain(&mut self.ac).for_each(|table| table.defined = false);
        let mut frame: Option<Frame> = None;
        let (mut interval, mut huffman, mut jfif, mut adobe) = (0, false, false, None);
        let mut at = 2;
        loop {
            let (code, body, next) = segment(data, at)?;
            let head = next - body.len();
            match code {
                0xc0 | 0xc1 if frame.is_some() => return Err(broken("a second frame header", head)),
                0xc0 | 0xc1 => frame = Some(Frame::read(body, head)?),
                0xc4 => {
                    huffman = true;
                    self.read_huffman(body, head)?;
                }
                0xc2..=0xcf => return Err(Refusal::NotBaseline),
                0xdb => self.read_quant(body, head)?,
                0xdc => return Err(Refusal::NotBaseline),
                0xdd => match *body {
                    [high, low] => interval = u16::from_be_bytes([high, low]).into(),
                    _ => return Err(broken("a restart interval whose length is wrong", head)),
                },
                0xe0 => jfif |= body.starts_with(b"JFIF\0"),
                0xee if body.len() >= 12 && body.starts_with(b"Adobe") => adobe = Some(body[11]),
                0xd9 => return Err(broken("end of image before any picture data", head)),
                0xda => {
                    let mut frame = frame.ok_or(broken("a scan before the frame header", head))?;
                    frame.read_scan(body, head)?;
                    frame.interval = interval;
                    let ids = frame.components.map(|component| component.id);
                    // Adobe's marker says what the colours are; without it and without JFIF, names may.
                    let rgb = adobe.map_or(!jfif && ids == *b"RGB", |transform| transform != 1);
                    if frame.count == 3 && rgb {
                        return Err(Refusal::NotBaseline);
                    }
                    if !huffman {
                        self.read_huffman(&STANDARD_TABLES, head)?;
                    }
                    return Ok((frame, next));
                }
                _ => {}
            }
            at = next;
        }
    }

    /// Reads a DHT segment (B.2.4.2).
    fn read_huffman(&mut self, mut body: &[u8], at: usize) -> Result<(), Refusal> {
        while let Some((&kind, rest)) = body.split_first() {
            let short = broken("a Huffman table that is too short", at);
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(short)?;
            let (direct, tables) = if kind >> 4 == 0 { (true, &mut self.dc) } else { (false, &mut self.ac) };
            let table = tables.get_mut(usize::from(kind & 15)).filter(|_| kind < 0x20);
            let table = table.ok_or(broken("a Huffman table of an unknown kind", at))?;
            table.set(counts, symbols, direct).map_err(|what| broken(what, at))?;
            body = rest;
        }
        Ok(())
    }

    /// Reads a DQT segment (B.2.4.1).
    fn read_quant(&mut self, mut body: &[u8], at: usize) -> Result<(), Refusal> {
        while let Some((&kind, rest)) = body.split_first() {
            let table = self.quant.get_mut(usize::from(kind & 15)).filter(|_| kind < 0x20);
            let table = table.ok_or(broken("a quantiser table of an unknown kind", at))?;
            let short = broken("a quantiser table that is too short", at);
            if kind >> 4 == 0 {
                let (values, left) = rest.split_first_chunk::<64>().ok_or(short)?;
                *table = values.map(u16::from);
                body = left;
            } else {
                let (values, left) = rest.split_first_chunk::<128>().ok_or(short)?;
                for (step, &pair) in table.iter_mut().zip(values.as_chunks::<2>().0) {
                    *step = u16::from_be_bytes(pair);
                }
                body = left;
            }
            self.quants |= 1 << (kind & 15);
        }
        Ok(())
    }

    /// A component's tables and place, ready for the scan.
    fn part(&self, component: &Component, plane: Plane) -> Option<Part<'_>> {
        let quant = self.quant.get(usize::from(component.quant)).filter(|_| self.quants >> component.quant & 1 != 0)?;
        let mut steps = [0; 128];
        for ((step, &factor), slot) in steps.iter_mut().zip(quant).zip(SLOTS) {
            *step = u32::from(factor) | u32::from(slot) << 16;
        }
        Some(Part {
            dc: self.dc.get(usize::from(component.dc)).filter(|table| table.defined)?,
            ac: self.ac.get(usize::from(component.ac)).filter(|table| table.defined)?,
            steps,
            h: component.h,
            v: component.v,
            cell: plane.at / 8,
            stride: plane.stride / 8,
        })
    }
}

/// The segment at or behind `at`: its code, its contents without the length, and where it ends. Bytes that belong to no
/// segment are skipped, as still pictures have them.
fn segment(data: &[u8], mut at: usize) -> Result<(u8, &[u8], usize), Refusal> {
    let ended = broken("the data ends before the picture does", data.len());
    loop {
        at += data.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)).ok_or(ended)?;
        let code = *data.get(at + 1).ok_or(ended)?;
        match code {
            0xff => at += 1,
            0x00 | 0x01 | 0xd0..=0xd7 => at += 2,
            0xd8 => return Err(broken("a second start-of-image marker before the end of the picture", at)),
            0xd9 => return Ok((code, &[], at + 2)),
            _ => {
                let length = data.get(at + 2..).and_then(|rest| rest.first_chunk()).ok_or(ended)?;
                let length = usize::from(u16::from_be_bytes(*length));
                if length < 2 {
                    return Err(broken("a segment length below 2", at + 2));
                }
                let end = at + 2 + length;
                return Ok((code, data.get(at + 4..end).ok_or(ended)?, end));
            }
        }
    }
}

/// Sizes and places in the output.
#[derive(Clone, Copy)]
struct Layout {
    planes: [Plane; 3],
    eighth: Plane,
    /// Bytes in all.
    length: usize,
    /// MCUs across and down.
    mcus: (usize, usize),
    /// Blocks in all.
    blocks: u64,
    chroma: (u8, u8),
}

impl Layout {
    fn new(frame: &Frame, want: Want) -> Self {
        let luma = frame.components[0];
        let mcus = (frame.width.div_ceil(8 * luma.h), frame.height.div_ceil(8 * luma.v));
        let (mut planes, mut length, mut blocks) = ([Plane::default(); 3], 0, 0);
        for (plane, part) in planes.iter_mut().zip(frame.parts()) {
            let (wide, high) = (mcus.0 * part.h, mcus.1 * part.v);
            blocks += wide as u64 * high as u64;
            *plane = Plane {
                at: length,
                width: (frame.width * part.h).div_ceil(luma.h) as u32,
                height: (frame.height * part.v).div_ceil(luma.v) as u32,
                stride: wide * 8,
            };
            if want == Want::Planes {
                // Saturates where an address has 32 bits, for a picture that fails the test of `blocks`.
                length = length.saturating_add((wide * 8).saturating_mul(high * 8));
            }
        }
        let eighth = Plane {
            at: length,
            width: frame.width.div_ceil(8) as u32,
            height: frame.height.div_ceil(8) as u32,
            stride: mcus.0 * luma.h,
        };
        let length = length.saturating_add(eighth.stride * mcus.1 * luma.v);
        let chroma = match frame.count {
            3 => ((luma.h / frame.components[1].h) as u8, (luma.v / frame.components[1].v) as u8),
            _ => (1, 1),
        };
        Self { planes, eighth, length, mcus, blocks, chroma }
    }

    fn picture(&self, frame: &Frame, want: Want) -> Picture {
        Picture {
            width: frame.width as u32,
            height: frame.height as u32,
            planes: if want == Want::Planes { self.planes } else { Default::default() },
            components: frame.count as u8,
            chroma: self.chroma,
            eighth: self.eighth,
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Entropy-coded data
// ---------------------------------------------------------------------------------------------------------------------

/// Bytes of the window, a power of 2 so that a masked offset needs no check.
const WINDOW: usize = 1 << 14;

/// No MCU takes more: 10 blocks of 64 coefficients, each with a code and a value of 31 bits at most, and what the bit
/// buffer holds.
const MCU_BYTES: usize = 10 * 64 * 4 + 16;

/// Why the window is not filled further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    /// A marker is at [`Source::src`], or the end of all data.
    Marker,
}

/// Entropy-coded data, and a window on it without the stuffing.
struct Source<'a> {
    data: &'a [u8],
    /// Offset of the first byte that is not in the window.
    src: usize,
    window: &'a mut [u8; WINDOW + 8],
    /// Bytes in the window.
    len: usize,
    end: End,
}

impl Source<'_> {
    /// Moves what is unread to the front and fills up; gives the new offset of the first unread byte.
    #[inline(never)]
    fn fill(&mut self, pos: usize) -> usize {
        const RUN: usize = 16;
        let pos = pos.min(self.len);
        self.window.copy_within(pos..self.len, 0);
        self.len -= pos;
        while self.len < WINDOW - 64 {
            let rest = &self.data[self.src.min(self.data.len())..];
            let run = match rest.first_chunk::<RUN>() {
                Some(run) => {
                    self.window[self.len..self.len + RUN].copy_from_slice(run);
                    if run.iter().fold(0, |any, &byte| any | u8::from(byte == 0xff)) == 0 {
                        self.len += RUN;
                        self.src += RUN;
                        continue;
                    }
                    &run[..]
                }
                None => {
                    self.window[self.len..self.len + rest.len()].copy_from_slice(rest);
                    rest
                }
            };
            let plain = run.iter().position(|&byte| byte == 0xff).unwrap_or(run.len());
            self.len += plain;
            self.src += plain;
            match (self.data.get(self.src), self.data.get(self.src + 1)) {
                (Some(_), Some(0)) => {
                    self.window[self.len] = 0xff;
                    self.len += 1;
                    self.src += 2;
                }
                // Fill bytes before a marker (B.1.1.2).
                (Some(_), Some(0xff)) => self.src += 1,
                _ => {
                    self.end = End::Marker;
                    self.window[self.len..self.len + 64].fill(0);
                    break;
                }
            }
        }
        0
    }

    /// More has been read than there was.
    fn overrun(&self, bits: &Bits) -> bool {
        bits.pos * 8 > self.len * 8 + bits.count as usize
    }

    /// About where the reader is: stuffing between here and the end of the window counts as if it were not there.
    fn offset(&self, bits: &Bits) -> usize {
        let read = bits.pos.saturating_sub(bits.count as usize / 8);
        self.src.saturating_sub(self.len.saturating_sub(read))
    }

    /// Passes what is left before the next marker; gives its code and the offset behind it, `None` at the end of all data.
    fn marker(&mut self) -> Option<(u8, usize)> {
        while self.end == End::NotYet {
            self.len = 0;
            self.fill(0);
        }
        self.data.get(self.src + 1).map(|&code| (code, self.src + 2))
    }
}

/// The bit buffer. After [`Bits::refill`] it holds at least 56 bits.
#[derive(Clone, Copy)]
struct Bits {
    /// The next bits, at the top. Those below `count` are no more than a start of what follows.
    bits: u64,
    count: u32,
    /// Offset in the window of the byte behind those in `bits`.
    pos: usize,
}

impl Bits {
    const NONE: Self = Self { bits: 0, count: 0, pos: 0 };

    #[inline(always)]
    fn refill(&mut self, window: &[u8; WINDOW + 8]) {
        let at = self.pos & (WINDOW - 1);
        let next = window[at..at + 8].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.bits |= next >> self.count;
        self.pos += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// The next symbol as in [`Huffman::fast`], its bits not taken.
    #[inline(always)]
    fn symbol(&self, table: &Huffman) -> u32 {
        table.fast[(self.bits >> (64 - FAST)) as usize].into()
    }

    /// The value of a symbol (F.2.2.1, EXTEND): a first bit of 0 means negative, and the rest counts up from the least.
    #[inline(always)]
    fn value(&self, symbol: u32) -> i32 {
        const LEAST: [i32; 16] = {
            let mut least = [0; 16];
            let mut size = 0;
            while size < 16 {
                least[size] = 1 - (1 << size);
                size += 1;
            }
            least
        };
        let (total, size) = (symbol & 31, symbol >> 5 & 15);
        let next = self.bits << (total - size);
        let value = (next >> 1 >> (63 - size)) as i32;
        // Half of all values are negative: nothing to be predicted.
        value + select_unpredictable(next >> 63 == 0, LEAST[size as usize], 0)
    }

    #[inline(always)]
    fn take(&mut self, symbol: u32) {
        self.bits <<= symbol & 31;
        self.count = self.count.wrapping_sub(symbol & 31);
    }
}

/// A component during the scan.
#[derive(Clone, Copy)]
struct Part<'a> {
    dc: &'a Huffman,
    ac: &'a Huffman,
    /// In zigzag order: the quantiser's step, and above 16 bits the slot of [`Block`]. Those behind the last coefficient,
    /// where a broken picture may get, are the DC coefficient's, which comes after them.
    steps: [u32; 128],
    h: usize,
    v: usize,
    /// Where the plane begins, and the way from row to row, in pieces of 8 samples.
    cell: usize,
    stride: usize,
}

/// One block of each MCU.
#[derive(Clone, Copy)]
struct Unit<'a> {
    part: &'a Part<'a>,
    component: usize,
    /// Row and column inside the MCU.
    v: usize,
    h: usize,
    /// Where the next block goes, and its mean.
    cell: usize,
    mean: usize,
}

/// 64 dequantised coefficients in the transform's order: four vectors, each of two rows, interleaved.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Block([i16; 64]);

/// By zigzag index: the slot in a [`Block`].
const SLOTS: [u8; 64] = {
    // Rows and columns alike: 0, 4, 2, 6, 1, 7, 3, 5.
    const ORDER: [usize; 8] = [0, 4, 2, 6, 1, 7, 3, 5];
    let mut rank = [0; 8];
    let mut i = 0;
    while i < 8 {
        rank[ORDER[i]] = i;
        i += 1;
    }
    let (mut slots, mut x, mut y, mut k) = ([0; 64], 0usize, 0usize, 0);
    while k < 64 {
        slots[k] = (rank[y] / 2 * 16 + rank[x] * 2 + rank[y] % 2) as u8;
        // Up and to the right on even diagonals, down and to the left on odd ones.
        match ((x + y) % 2 == 0, x, y) {
            (true, 7, _) => y += 1,
            (true, _, 0) => x += 1,
            (true, ..) => (x, y) = (x + 1, y - 1),
            (false, _, 7) => x += 1,
            (false, 0, _) => y += 1,
            (false, ..) => (x, y) = (x - 1, y + 1),
        }
        k += 1;
    }
    slots
};

const NO_CODE: &str = "bits that are no Huffman code";

/// Decodes a block but for its DC coefficient, whose difference it returns; `true` if there were others.
///
/// The bits of a refill are enough for two symbols of at most 25 bits, which is what the look-up knows; a longer one (of at
/// most 31) refills for itself.
#[inline(always)]
fn block<const COUNT: bool>(
    bits: &mut Bits,
    window: &[u8; WINDOW + 8],
    part: &Part<'_>,
    block: &mut Block,
) -> Result<(i32, bool), &'static str> {
    bits.refill(window);
    let mut symbol = bits.symbol(part.dc);
    if symbol == 0 {
        symbol = part.dc.long(bits.bits);
        if symbol == 0 {
            return Err(NO_CODE);
        }
    }
    let difference = bits.value(symbol);
    bits.take(symbol);
    let mut k = 1;
    // One symbol; leaves the loop behind the last one.
    macro_rules! coefficient {
        () => {{
            let mut symbol = bits.symbol(part.ac);
            if symbol >> 5 & 15 == 0 {
                if symbol == 0 {
                    bits.refill(window);
                    symbol = part.ac.long(bits.bits);
                }
                match symbol >> 5 {
                    _ if symbol == 0 => return Err(NO_CODE),
                    END_OF_BLOCK => {
                        bits.take(symbol);
                        break;
                    }
                    // A value of 0 behind 15 zeros.
                    SIXTEEN_ZEROS => {}
                    value if value & 15 == 0 => return Err("a Huffman code that means nothing in a baseline picture"),
                    _ => {}
                }
            }
            k += (symbol >> 9) as usize;
            if !COUNT {
                let step = part.steps[k & 127];
                let value = bits.value(symbol).wrapping_mul((step & 0xffff) as i32);
                block.0[(step >> 16) as usize & 63] = value as i16;
            }
            bits.take(symbol);
            k += 1;
            if k >= 64 {
                break;
            }
        }};
    }
    loop {
        if COUNT {
            // Not across the end of the block, where a full one has no code for it.
            let many = u32::from(part.ac.skip[(bits.bits >> (64 - SKIP)) as usize]);
            let behind = k + (many >> 8) as usize;
            if many != 0 && behind < 64 {
                k = behind;
                bits.take(many);
                if many & 32 != 0 {
                    break;
                }
                // Short as it is, it takes the place of one symbol.
                bits.refill(window);
                continue;
            }
        }
        coefficient!();
        bits.refill(window);
        if !COUNT {
            coefficient!();
        }
    }
    if k > 64 {
        return Err("a coefficient behind the last of its block");
    }
    Ok((difference, k > 1))
}

/// Size and run of the symbol that ends a block, EOB, and of ZRL (F.1.2.2.1).
const END_OF_BLOCK: u32 = 0;
const SIXTEEN_ZEROS: u32 = 15 << 4;

/// The value of all samples of a block that has but a DC coefficient, and the mean of any other.
#[inline(always)]
fn mean(dc: i16) -> u8 {
    (((i32::from(dc) + 4) >> 3) + 128).clamp(0, 255) as u8
}

/// A scan about to be decoded.
struct Scan<'a> {
    frame: Frame,
    layout: Layout,
    parts: [Option<Part<'a>>; 3],
    source: Source<'a>,
    out: &'a mut [u8],
}

impl Scan<'_> {
    /// Decodes with what this processor has.
    fn dispatch<const COUNT: bool>(self) -> Result<(), Refusal> {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = V3::try_new() {
            return simd.vectorize(Vectorised::<COUNT>(self, simd));
        }
        self.run::<COUNT, _>(Portable)
    }

    #[inline(always)]
    fn run<const COUNT: bool, T: Transform>(self, transform: T) -> Result<(), Refusal> {
        let Self { frame, layout, parts, mut source, out } = self;
        let (planes, means) = out.split_at_mut(layout.eighth.at.min(out.len()));
        // Pieces of a row: a block's rows have a length that needs no check.
        let cells = planes.as_chunks_mut::<8>().0;
        let mut units: [Option<Unit<'_>>; 10] = [None; 10];
        let mut free = 0;
        for (component, part) in parts.iter().flatten().enumerate() {
            for (v, h) in (0..part.v).flat_map(|v| (0..part.h).map(move |h| (v, h))) {
                let unit = Unit { part, component, v, h, cell: 0, mean: 0 };
                units[free] = Some(unit);
                free += 1;
            }
        }
        let mut bits = Bits::NONE;
        let mut predictions = [0i32; 3];
        // A block is transformed after the next one is read: its coefficients, stored one by one, cannot be loaded as a
        // vector before they have all arrived in the cache.
        let mut blocks = [Block([0; 64]); 2];
        let mut current = 0;
        let mut pending: Option<(usize, usize)> = None;
        let mut left = if frame.interval == 0 { usize::MAX } else { frame.interval };
        let mut restarts = 0u8;
        for y in 0..layout.mcus.1 {
            for unit in units.iter_mut().flatten() {
                let Unit { part, v, h, .. } = *unit;
                unit.cell = part.cell + (y * part.v + v) * 8 * part.stride + h;
                unit.mean = (y * part.v + v) * layout.eighth.stride + h;
            }
            for _ in 0..layout.mcus.0 {
                if left == 0 {
                    match source.marker() {
                        Some((code, behind)) if code == 0xd0 | restarts & 7 => source.src = behind,
                        _ => return Err(broken("wanted the next restart marker", source.src)),
                    }
                    (source.end, source.len, bits) = (End::NotYet, 0, Bits::NONE);
                    (left, restarts, predictions) = (frame.interval, restarts.wrapping_add(1), [0; 3]);
                }
                left -= 1;
                if source.len < bits.pos + MCU_BYTES && source.end == End::NotYet {
                    bits.pos = source.fill(bits.pos);
                }
                let mut failed = None;
                for unit in &mut units {
                    let Some(unit) = unit else { break };
                    let part = unit.part;
                    let into = &mut blocks[current & 1];
                    let (difference, more) = match block::<COUNT>(&mut bits, source.window, part, into) {
                        Ok(read) => read,
                        Err(what) => {
                            failed = Some(what);
                            break;
                        }
                    };
                    let prediction = &mut predictions[unit.component];
                    *prediction = prediction.wrapping_add(difference);
                    let dc = prediction.wrapping_mul((part.steps[0] & 0xffff) as i32) as i16;
                    if unit.component == 0 {
                        means[unit.mean] = mean(dc);
                        unit.mean += part.h;
                    }
                    if !COUNT {
                        if more {
                            into.0[0] = dc;
                            current ^= 1;
                            if let Some((cell, stride)) = pending.replace((unit.cell, part.stride)) {
                                rows(cells, cell, stride, transform.block(&blocks[current & 1]));
                                blocks[current & 1] = Block([0; 64]);
                            }
                        } else {
                            rows(cells, unit.cell, part.stride, [[mean(dc); 8]; 8]);
                        }
                        unit.cell += part.h;
                    }
                }
                // First of all: behind the end of the data, anything may seem wrong. A code is up to 16 bits long.
                let missing = source.overrun(&bits)
                    || failed == Some(NO_CODE)
                        && source.overrun(&Bits { count: bits.count.saturating_sub(16), ..bits });
                if missing {
                    return Err(broken("the data ends before the picture does", source.src));
                }
                if let Some(what) = failed {
                    return Err(broken(what, source.offset(&bits)));
                }
            }
        }
        if let Some((cell, stride)) = pending {
            rows(cells, cell, stride, transform.block(&blocks[current & 1 ^ 1]));
        }
        // What may follow the scan: segments without pixels, and the end.
        match source.marker() {
            None => return Err(broken("the data ends before the picture does", source.src)),
            Some((0xd0..=0xd7, behind)) => return Err(broken("a restart marker too many", behind - 2)),
            Some(_) => {}
        }
        let mut at = source.src;
        loop {
            match segment(source.data, at)? {
                (0xd9, ..) => return Ok(()),
                (0xda | 0xdc, ..) => return Err(Refusal::NotBaseline),
                (.., next) => at = next,
            }
        }
    }
}

/// Writes a block's rows.
#[inline(always)]
fn rows(cells: &mut [[u8; 8]], cell: usize, stride: usize, rows: [[u8; 8]; 8]) {
    for (y, row) in rows.into_iter().enumerate() {
        cells[cell + y * stride] = row;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The transform
// ---------------------------------------------------------------------------------------------------------------------

/// Bits of a constant's fraction.
const FRACTION: u32 = 13;

/// Bits of fraction that the first pass leaves.
const BETWEEN: u32 = 2;

/// The factors of the flow graph, times 2^13: sums and differences of cosines, each rounded on its own.
mod factor {
    pub(super) const F0_298: i32 = 2446;
    pub(super) const F0_390: i32 = 3196;
    pub(super) const F0_541: i32 = 4433;
    pub(super) const F0_765: i32 = 6270;
    pub(super) const F0_899: i32 = 7373;
    pub(super) const F1_175: i32 = 9633;
    pub(super) const F1_501: i32 = 12299;
    pub(super) const F1_847: i32 = 15137;
    pub(super) const F1_961: i32 = 16069;
    pub(super) const F2_053: i32 = 16819;
    pub(super) const F2_562: i32 = 20995;
    pub(super) const F3_072: i32 = 25172;
}

/// The flow graph, multiplied out: for each of its inner sums the factors of two inputs. No sum of products overflows 32
/// bits: the largest is 61,212 times an input of 16 bits.
mod pair {
    use super::FRACTION;
    use super::factor::*;

    /// Of inputs 0 and 4.
    pub(super) const EVEN_A: [(i32, i32); 2] = [(1 << FRACTION, 1 << FRACTION), (1 << FRACTION, -(1 << FRACTION))];
    /// Of inputs 2 and 6.
    pub(super) const EVEN_B: [(i32, i32); 2] = [(F0_541 + F0_765, F0_541), (F0_541, F0_541 - F1_847)];
    /// Of inputs 1 and 7, for outputs 0 (and 7) to 3 (and 4).
    pub(super) const ODD_A: [(i32, i32); 4] = [
        (F1_501 - F0_899 - F0_390 + F1_175, F1_175 - F0_899),
        (F1_175, F1_175 - F1_961),
        (F1_175 - F0_390, F1_175),
        (F1_175 - F0_899, F0_298 - F0_899 - F1_961 + F1_175),
    ];
    /// Of inputs 3 and 5.
    pub(super) const ODD_B: [(i32, i32); 4] = [
        (F1_175, F1_175 - F0_390),
        (F3_072 - F2_562 - F1_961 + F1_175, F1_175 - F2_562),
        (F1_175 - F2_562, F2_053 - F2_562 - F0_390 + F1_175),
        (F1_175 - F1_961, F1_175),
    ];
}

/// Half of what the first pass rounds away.
const ROUND_1: i32 = 1 << (FRACTION - BETWEEN - 1);

/// Bits that the second pass rounds away; the last 3 of them are the transform's own scale.
const SHIFT_2: u32 = FRACTION + BETWEEN + 3;

/// Half of that, and the level shift (A.3.1).
const ROUND_2: i32 = (1 << (SHIFT_2 - 1)) + (128 << SHIFT_2);

/// The inverse transform of one block into 8 rows of samples.
trait Transform: Copy {
    fn block(self, block: &Block) -> [[u8; 8]; 8];
}

/// 128-bit vectors.
#[derive(Clone, Copy)]
struct Portable;

impl Portable {
    /// One dimension, for 4 columns: from the pairs of rows to the rows, not yet scaled down.
    #[inline(always)]
    fn pass(pairs: [i16x8; 4], round: i32) -> [i32x4; 8] {
        let dot = |input: i16x8, (a, b): (i32, i32)| {
            let (a, b) = (a as i16, b as i16);
            input.dot(i16x8::new([a, b, a, b, a, b, a, b]))
        };
        let [p04, p26, p17, p35] = pairs;
        let round = i32x4::splat(round);
        let [sum, difference] = pair::EVEN_A.map(|factors| dot(p04, factors) + round);
        let [outer, inner] = pair::EVEN_B.map(|factors| dot(p26, factors));
        let even = [sum + outer, difference + inner, difference - inner, sum - outer];
        let odd: [i32x4; 4] = std::array::from_fn(|i| dot(p17, pair::ODD_A[i]) + dot(p35, pair::ODD_B[i]));
        std::array::from_fn(|i| if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] })
    }

    fn pack(low: i32x4, high: i32x4) -> i16x8 {
        i16x8::from_i32x8_saturate(pulp::cast::<[i32x4; 2], i32x8>([low, high]))
    }

    fn transposed(rows: [i32x4; 4]) -> [i32x4; 4] {
        u32x4::transpose(rows.map(pulp::cast)).map(pulp::cast)
    }
}

impl Transform for Portable {
    #[inline(always)]
    fn block(self, block: &Block) -> [[u8; 8]; 8] {
        let halves: [i16x8; 8] = pulp::cast(block.0);
        let half = |i: usize| Self::pass([halves[i], halves[2 + i], halves[4 + i], halves[6 + i]], ROUND_1);
        let (left, right) = (half(0), half(1));
        let scaled: [i32x4; 8] = std::array::from_fn(|y| {
            let scale = |row: i32x4| row >> (FRACTION - BETWEEN) as i32;
            pulp::cast(Self::pack(scale(left[y]), scale(right[y])))
        });
        let mut lines = [[0; 8]; 8];
        for (four, lines) in scaled.as_chunks::<4>().0.iter().zip(lines.as_chunks_mut::<2>().0.as_chunks_mut::<2>().0) {
            let columns = Self::pass(Self::transposed(*four).map(pulp::cast), ROUND_2).map(|row| row >> SHIFT_2 as i32);
            let [c0, c1, c2, c3, c4, c5, c6, c7] = columns;
            let (left, right) = (Self::transposed([c0, c1, c2, c3]), Self::transposed([c4, c5, c6, c7]));
            for (i, two) in lines.iter_mut().enumerate() {
                let line = |y: usize| Self::pack(left[y], right[y]);
                *two = pulp::cast(u8x16::narrow_i16x8(line(2 * i), line(2 * i + 1)));
            }
        }
        lines
    }
}

/// A scan that AVX2 and BMI2 decode.
#[cfg(target_arch = "x86_64")]
struct Vectorised<'a, const COUNT: bool>(Scan<'a>, V3);

#[cfg(target_arch = "x86_64")]
impl<const COUNT: bool> NullaryFnOnce for Vectorised<'_, COUNT> {
    type Output = Result<(), Refusal>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.0.run::<COUNT, _>(self.1)
    }
}

/// One dimension, for 8 columns: from the pairs of rows to the rows, not yet scaled down.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pass(simd: V3, pairs: [__m256i; 4], round: i32) -> [__m256i; 8] {
    let (avx, avx2) = (simd.avx, simd.avx2);
    let add = |a, b| avx2._mm256_add_epi32(a, b);
    let sub = |a, b| avx2._mm256_sub_epi32(a, b);
    let dot =
        |input, (a, b): (i32, i32)| avx2._mm256_madd_epi16(input, avx._mm256_set1_epi32(b << 16 | i32::from(a as u16)));
    let [p04, p26, p17, p35] = pairs;
    let round = avx._mm256_set1_epi32(round);
    let [sum, difference] = pair::EVEN_A.map(|factors| add(dot(p04, factors), round));
    let [outer, inner] = pair::EVEN_B.map(|factors| dot(p26, factors));
    let even = [add(sum, outer), add(difference, inner), sub(difference, inner), sub(sum, outer)];
    let odd: [__m256i; 4] = std::array::from_fn(|i| add(dot(p17, pair::ODD_A[i]), dot(p35, pair::ODD_B[i])));
    std::array::from_fn(|i| if i < 4 { add(even[i], odd[i]) } else { sub(even[7 - i], odd[7 - i]) })
}

#[cfg(target_arch = "x86_64")]
impl Transform for V3 {
    #[inline(always)]
    fn block(self, block: &Block) -> [[u8; 8]; 8] {
        let avx2 = self.avx2;
        let columns = pass(self, pulp::cast(block.0), ROUND_1)
            .map(|row| avx2._mm256_srai_epi32::<{ (FRACTION - BETWEEN) as i32 }>(row));
        let [r0, r1, r2, r3, r4, r5, r6, r7] = columns;
        // Each half of a vector holds two units, pairs of columns, of one row and then of another, four rows below. Two
        // rounds of interleaving collect a unit's four rows; then its upper and lower rows meet.
        let pack = |a, b| avx2._mm256_packs_epi32(a, b);
        let [a, b, c, d] = [pack(r0, r4), pack(r1, r5), pack(r2, r6), pack(r3, r7)];
        let low = |a, b| avx2._mm256_unpacklo_epi32(a, b);
        let high = |a, b| avx2._mm256_unpackhi_epi32(a, b);
        let [upper_0, upper_1] = [low(a, b), low(c, d)];
        let [lower_0, lower_1] = [high(a, b), high(c, d)];
        let low = |a, b| avx2._mm256_unpacklo_epi64(a, b);
        let high = |a, b| avx2._mm256_unpackhi_epi64(a, b);
        let (upper_even, upper_odd) = (low(upper_0, upper_1), high(upper_0, upper_1));
        let (lower_even, lower_odd) = (low(lower_0, lower_1), high(lower_0, lower_1));
        let pairs = [
            avx2._mm256_permute2x128_si256::<0x20>(upper_even, lower_even),
            avx2._mm256_permute2x128_si256::<0x20>(upper_odd, lower_odd),
            avx2._mm256_permute2x128_si256::<0x31>(upper_even, lower_even),
            avx2._mm256_permute2x128_si256::<0x31>(upper_odd, lower_odd),
        ];
        let [c0, c1, c2, c3, c4, c5, c6, c7] =
            pass(self, pairs, ROUND_2).map(|row| avx2._mm256_srai_epi32::<{ SHIFT_2 as i32 }>(row));
        // Four columns of four rows in each half; a shuffle makes them four rows, whose halves then meet.
        let turn = pulp::cast::<[[u8; 16]; 2], __m256i>([[0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]; 2]);
        let four = |a, b, c, d| avx2._mm256_shuffle_epi8(avx2._mm256_packus_epi16(pack(a, b), pack(c, d)), turn);
        let (left, right) = (four(c0, c1, c2, c3), four(c4, c5, c6, c7));
        let (first, second) = (avx2._mm256_unpacklo_epi32(left, right), avx2._mm256_unpackhi_epi32(left, right));
        let [y0, y1, y4, y5]: [[u8; 8]; 4] = pulp::cast(first);
        let [y2, y3, y6, y7]: [[u8; 8]; 4] = pulp::cast(second);
        [y0, y1, y2, y3, y4, y5, y6, y7]
    }
}

/// The Huffman tables of Annex K.3, as the contents of a DHT segment: DC and AC for luma, DC and AC for chroma.
#[rustfmt::skip]
pub(super) const STANDARD_TABLES: [u8; 416] = [
    // DC, luma
    0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // AC, luma
    0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d,
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32,
    0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16,
    0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45,
    0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6,
    0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,
    0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
    // DC, chroma
    0x01, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // AC, chroma
    0x11, 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77,
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81,
    0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34,
    0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44,
    0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92,
    0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4,
    0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6,
    0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[cfg(test)]
mod tests;
