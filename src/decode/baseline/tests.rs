//! The planes against those of the common C library; and against every kind of damage.

use mozjpeg::CompInfoExt;
use proptest::prelude::*;

use super::*;

/// Small, fast, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(below)) >> 32) as u32
    }
}

/// The planes as the C library has them, each with its stride.
fn reference(data: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let mut decoder = mozjpeg::Decompress::new_mem(data).unwrap().raw().unwrap();
    let strides: Vec<usize> = decoder.components().iter().map(|part| part.row_stride()).collect();
    let mut planes = vec![Vec::new(); strides.len()];
    decoder.read_raw_data(&mut planes.iter_mut().collect::<Vec<_>>());
    planes.into_iter().zip(strides).collect()
}

/// What is wrong. (Where, is not exact.)
fn kind<T>(found: &Result<T, Refusal>) -> Option<&'static str> {
    match found {
        Ok(_) => None,
        Err(Refusal::NotBaseline) => Some("not baseline"),
        Err(Refusal::Broken { what, .. }) => Some(what),
    }
}

/// Decodes with every path there is, which must agree.
fn decode(data: &[u8]) -> Result<(Picture, Vec<u8>), Refusal> {
    let mut out = Vec::new();
    let mut decoder = Baseline::new();
    let picture = decoder.decode(data, Want::Planes, &mut out);
    let mut small = Vec::new();
    let eighth = decoder.decode(data, Want::Eighth, &mut small);
    assert_eq!(kind(&picture), kind(&eighth));
    let portable = decoder.decode_portable(data);
    assert_eq!(kind(&picture), kind(&portable));
    let (picture, eighth) = (picture?, eighth.unwrap());
    assert_eq!(Ok(&out), portable.as_ref(), "the vector paths differ");
    assert_eq!(eighth.eighth, Plane { at: 0, ..picture.eighth });
    assert_eq!(small, out[picture.eighth.at..]);
    assert_eq!(eighth.planes, [Plane::default(); 3]);
    Ok((picture, out))
}

impl Baseline {
    /// [`Baseline::decode`] without this processor's own instructions.
    fn decode_portable(&mut self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        self.scan(data, Want::Planes, &mut out, |scan| scan.run::<false, _>(Portable))?;
        Ok(out)
    }
}

/// Decodes and compares every sample of the picture (the C library pads chroma of odd sizes as coded, as is done here).
fn compare(data: &[u8]) -> Picture {
    let (picture, out) = decode(data).unwrap();
    let reference = reference(data);
    assert_eq!(reference.len(), usize::from(picture.components));
    for ((ours, (theirs, stride)), index) in picture.planes.iter().zip(&reference).zip(0..) {
        for y in 0..ours.height as usize {
            let from = ours.at + y * ours.stride;
            let ours = &out[from..from + ours.width as usize];
            assert_eq!(ours, &theirs[y * stride..][..ours.len()], "row {y} of plane {index}");
        }
    }
    picture
}

/// A picture of gradients, edges and noise.
fn scene(width: usize, height: usize, dice: &mut Dice) -> Vec<u8> {
    let noise = [1, 10, 60, 256][dice.roll(4) as usize];
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let edge = if (x / 11 + y / 7) % 3 == 0 { 90 } else { 0 };
            for c in 0..3 {
                let base = (x * (c + 1) + y * 2) as u32 % 160 + edge;
                pixels.push((base + dice.roll(noise)).min(255) as u8);
            }
        }
    }
    pixels
}

fn encode(pixels: &[u8], (width, height): (usize, usize), quality: f32, chroma: Option<(u8, u8)>) -> Vec<u8> {
    use mozjpeg::{ColorSpace, Compress};
    let mut codec = Compress::new(if chroma.is_some() { ColorSpace::JCS_RGB } else { ColorSpace::JCS_GRAYSCALE });
    codec.set_size(width, height);
    codec.set_fastest_defaults();
    codec.set_quality(quality);
    codec.set_optimize_coding(quality > 50.0);
    if let Some(chroma) = chroma {
        codec.set_chroma_sampling_pixel_sizes(chroma, chroma);
    }
    let mut codec = codec.start_compress(Vec::new()).unwrap();
    let gray: Vec<u8> = pixels.iter().step_by(3).copied().collect();
    codec.write_scanlines(if chroma.is_some() { pixels } else { &gray }).unwrap();
    codec.finish().unwrap()
}

/// Splits concatenated JPEGs (a thumbnail would be in the way, but there is none).
fn split(data: &[u8]) -> Vec<&[u8]> {
    let starts = data.windows(3).enumerate().filter(|(_, bytes)| *bytes == [0xff, 0xd8, 0xff]).map(|(at, _)| at);
    let mut starts: Vec<usize> = starts.collect();
    starts.push(data.len());
    starts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}

#[test]
fn the_clip_is_exact() {
    let frames = split(include_bytes!("../../../samples/porch.mjpeg"));
    assert_eq!(frames.len(), 315);
    for frame in frames.iter().step_by(21) {
        let picture = compare(frame);
        assert_eq!((picture.width, picture.height, picture.chroma), (1280, 720, (2, 2)));
    }
}

#[test]
fn the_sample_stills_are_exact() {
    compare(include_bytes!("../../../samples/astronaut.jpg"));
    compare(include_bytes!("../../../samples/cat.jpg"));
    compare(include_bytes!("../../../samples/hopper.jpg"));
    compare(include_bytes!("../../../samples/people.jpg"));
}

#[test]
fn every_sampling_size_and_quality_is_exact() {
    let mut dice = Dice(1);
    for size in [(1, 1), (7, 5), (8, 8), (17, 33), (16, 16), (639, 481)] {
        for chroma in [Some((1, 1)), Some((2, 1)), Some((2, 2)), Some((1, 2)), Some((4, 1)), None] {
            for quality in [20.0, 50.0, 75.0, 90.0, 100.0] {
                let data = encode(&scene(size.0, size.1, &mut dice), size, quality, chroma);
                let picture = compare(&data);
                assert_eq!((picture.width as usize, picture.height as usize), size);
                assert_eq!(picture.chroma, chroma.unwrap_or((1, 1)));
            }
        }
    }
}

#[test]
fn luma_means_are_those_of_the_blocks() {
    // Where only the DC coefficient is there, the mean is exact; elsewhere it is that of the unclamped samples.
    let data = encode(&scene(200, 120, &mut Dice(9)), (200, 120), 90.0, Some((2, 2)));
    let (picture, out) = decode(&data).unwrap();
    let (luma, eighth) = (picture.planes[0], picture.eighth);
    assert_eq!((eighth.width, eighth.height, eighth.stride), (25, 15, 26));
    let mut off = 0;
    for y in 0..eighth.height as usize {
        for x in 0..eighth.width as usize {
            let samples = (0..64).map(|i| u32::from(out[luma.at + (y * 8 + i / 8) * luma.stride + x * 8 + i % 8]));
            let mean = (samples.sum::<u32>() + 32) / 64;
            off += u32::from(mean.abs_diff(out[eighth.at + y * eighth.stride + x].into()) > 1);
        }
    }
    assert!(off < 20, "{off}");
}

/// An encoder of coefficients, for what the C library's wrapper cannot be asked for.
struct Made {
    size: (u16, u16),
    /// Sampling of each component.
    sampling: Vec<(u8, u8)>,
    interval: u16,
    /// The standard tables are written.
    tables: bool,
    /// Largest AC coefficient, and one in how many is not 0.
    spread: (u32, u32),
    /// 16-bit quantiser tables of this step.
    step: u16,
}

/// Codes by symbol: bits and length.
fn codes(table: &[u8]) -> Vec<(u32, u32)> {
    let mut codes = vec![(0, 0); 256];
    let (mut code, mut at) = (0, 16);
    for length in 1..=16 {
        for _ in 0..table[length - 1] {
            codes[usize::from(table[at])] = (code, length as u32);
            (code, at) = (code + 1, at + 1);
        }
        code <<= 1;
    }
    codes
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    bits: u64,
    count: u32,
}

impl Writer {
    fn put(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | u64::from(bits) & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                self.bytes.push(0);
            }
        }
    }

    fn value(&mut self, (code, length): (u32, u32), value: i32, size: u32) {
        assert!(length > 0);
        self.put(code, length);
        self.put((if value < 0 { value - 1 } else { value }) as u32, size);
    }

    fn align(&mut self) {
        self.put(0x7f, (8 - self.count % 8) % 8);
    }
}

impl Made {
    fn new(sampling: &[(u8, u8)], interval: u16) -> Self {
        Self { size: (75, 41), sampling: sampling.to_vec(), interval, tables: false, spread: (3, 6), step: 3 }
    }

    fn header(&self) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8, 0xff, 0xdb, 0, 131, 0x10];
        (0..64).for_each(|_| data.extend(self.step.to_be_bytes()));
        if self.tables {
            data.extend([0xff, 0xc4]);
            data.extend((STANDARD_TABLES.len() as u16 + 2).to_be_bytes());
            data.extend(STANDARD_TABLES);
        }
        if self.interval > 0 {
            data.extend([0xff, 0xdd, 0, 4]);
            data.extend(self.interval.to_be_bytes());
        }
        let count = self.sampling.len() as u8;
        data.extend([0xff, 0xc0, 0, 8 + 3 * count, 8]);
        data.extend(self.size.1.to_be_bytes());
        data.extend(self.size.0.to_be_bytes());
        data.push(count);
        for (id, &(h, v)) in (1..).zip(&self.sampling) {
            data.extend([id, h << 4 | v, 0]);
        }
        data.extend([0xff, 0xda, 0, 6 + 2 * count, count]);
        (1..=count).for_each(|id| data.extend([id, if id == 1 { 0 } else { 0x11 }]));
        data.extend([0, 63, 0]);
        data
    }

    fn mcus(&self) -> usize {
        let one = self.sampling.len() == 1;
        let (h, v) = if one { (1, 1) } else { self.sampling[0] };
        usize::from(self.size.0).div_ceil(8 * usize::from(h)) * usize::from(self.size.1).div_ceil(8 * usize::from(v))
    }

    fn encode(&self, dice: &mut Dice) -> Vec<u8> {
        let mut data = self.header();
        let tables = [0, 29, 29 + 179, 29 + 179 + 29].map(|at| codes(&STANDARD_TABLES[at + 1..]));
        let mut writer = Writer::default();
        let mut last = [0i32; 3];
        for mcu in 0..self.mcus() {
            if self.interval > 0 && mcu > 0 && mcu % usize::from(self.interval) == 0 {
                writer.align();
                writer.bytes.extend([0xff, 0xd0 + (mcu / usize::from(self.interval) - 1) as u8 % 8]);
                last = [0; 3];
            }
            for (index, &(h, v)) in self.sampling.iter().enumerate() {
                let (dc, ac) = if index == 0 { (&tables[0], &tables[1]) } else { (&tables[2], &tables[3]) };
                for _ in 0..if self.sampling.len() == 1 { 1 } else { h * v } {
                    let value = dice.roll(300) as i32 - 150;
                    let difference = value - std::mem::replace(&mut last[index], value);
                    let size = 32 - difference.unsigned_abs().leading_zeros();
                    writer.value(dc[size as usize], difference, size);
                    let mut run = 0;
                    let end = 1 + dice.roll(64);
                    for _ in 1..end {
                        let (largest, rare) = self.spread;
                        let value =
                            if dice.roll(rare) == 0 { dice.roll(2 * largest + 1) as i32 - largest as i32 } else { 0 };
                        if value == 0 {
                            run += 1;
                            continue;
                        }
                        (0..run / 16).for_each(|_| writer.value(ac[0xf0], 0, 0));
                        let size = 32 - value.unsigned_abs().leading_zeros();
                        writer.value(ac[((run % 16) << 4) | size as usize], value, size);
                        run = 0;
                    }
                    if end < 64 || run > 0 {
                        writer.value(ac[0], 0, 0);
                    }
                }
            }
        }
        writer.align();
        data.extend(writer.bytes);
        data.extend([0xff, 0xd9]);
        data
    }
}

#[test]
fn restarts_samplings_and_long_codes_are_exact() {
    let mut dice = Dice(3);
    let colour = |h, v, ch, cv| vec![(h, v), (ch, cv), (ch, cv)];
    let samplings = [
        vec![(1, 1)],
        vec![(2, 2)],
        colour(1, 1, 1, 1),
        colour(2, 1, 1, 1),
        colour(1, 2, 1, 1),
        colour(2, 2, 1, 1),
        colour(4, 1, 1, 1),
        colour(2, 2, 1, 2),
        colour(2, 2, 2, 1),
        colour(2, 1, 2, 1),
    ];
    for sampling in samplings {
        for interval in [0, 1, 3, 7, 1000] {
            for spread in [(3, 6), (1, 60), (60, 9), (1, 1)] {
                let step = if spread.0 > 10 { 1 } else { 3 };
                let made = Made { spread, step, tables: interval == 3, ..Made::new(&sampling, interval) };
                let data = made.encode(&mut dice);
                let picture = compare(&data);
                assert_eq!(usize::from(picture.components), sampling.len());
            }
        }
    }
}

#[test]
fn buffers_and_tables_last_from_picture_to_picture() {
    let mut dice = Dice(5);
    let pictures: Vec<Vec<u8>> = (0..12)
        .map(|i| {
            let size = (16 + 40 * (i % 3), 90 - 20 * (i % 4));
            encode(&scene(size.0, size.1, &mut dice), size, 30.0 + 6.0 * i as f32, [Some((2, 1)), None][i % 2])
        })
        .chain([Made::new(&[(1, 1); 3], 2).encode(&mut Dice(6))])
        .collect();
    let (mut decoder, mut out) = (Baseline::new(), Vec::new());
    for data in pictures.iter().chain(pictures.iter().rev()) {
        let (picture, fresh) = decode(data).unwrap();
        assert_eq!(decoder.decode(data, Want::Planes, &mut out), Ok(picture));
        assert_eq!(out, fresh);
    }
    // The tables of an earlier picture are not this one's.
    let whole = Made { tables: true, ..Made::new(&[(1, 1)], 0) }.encode(&mut Dice(7));
    let mut other = whole.clone();
    let at = other.windows(2).position(|two| two == [0xff, 0xc4]).unwrap();
    other[at + 4] = 0x02;
    assert!(decoder.decode(&whole, Want::Planes, &mut out).is_ok());
    let missing = decoder.decode(&other, Want::Planes, &mut out);
    assert!(
        matches!(missing, Err(Refusal::Broken { what: "a scan names a table that is not there", .. })),
        "{missing:?}"
    );
}

#[test]
fn every_cut_is_noticed() {
    let mut dice = Dice(11);
    let scene = encode(&scene(40, 24, &mut dice), (40, 24), 60.0, Some((2, 1)));
    for data in [scene, Made::new(&[(2, 2), (1, 1), (1, 1)], 2).encode(&mut dice)] {
        let scan = data.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        for cut in 2..data.len() - 2 {
            let mut part = data[..cut].to_vec();
            assert!(matches!(decode(&part), Err(Refusal::Broken { .. })), "cut at {cut}");
            part.extend([0xff, 0xd9]);
            let found = decode(&part);
            // The last byte may hold one-bits only, which nobody misses; and ff d9 makes other sense inside a segment.
            let padding = cut + 3 >= data.len() && found.is_ok();
            let noticed = matches!(found, Err(Refusal::Broken { .. })) || cut < scan + 14 && found.is_err();
            assert!(padding || noticed, "cut at {cut}: {found:?}");
        }
        let mut rest = data[2..].to_vec();
        rest.splice(0..0, [0xff, 0xd8]);
        rest.truncate(rest.len() - 1);
        assert!(decode(&rest).is_err());
    }
}

#[test]
fn damage_is_an_error_or_a_picture_but_no_panic() {
    let mut dice = Dice(13);
    let scene = encode(&scene(24, 24, &mut dice), (24, 24), 75.0, Some((2, 2)));
    for data in [scene, Made { size: (30, 20), ..Made::new(&[(2, 1), (1, 1), (1, 1)], 1) }.encode(&mut dice)] {
        let (mut decoder, mut out) = (Baseline::new(), Vec::new());
        let mut bytes = data.clone();
        for at in 0..data.len() {
            for value in
                [0x00, 0xff, 0xd9, 0xda, 0xd0, !data[at], data[at] ^ 1, data[at] ^ 0x80, data[at].wrapping_add(1)]
            {
                bytes[at] = value;
                let found = decoder.decode(&bytes, Want::Planes, &mut out);
                let eighth = decoder.decode(&bytes, Want::Eighth, &mut out);
                assert_eq!(kind(&found), kind(&eighth), "{value:02x} at {at}");
            }
            bytes[at] = data[at];
        }
        assert!(decode(&data).is_ok());
    }
}

#[test]
fn restart_markers_must_be_those_that_are_due() {
    let mut dice = Dice(17);
    let made = Made { size: (64, 8), ..Made::new(&[(1, 1)], 2) };
    let data = made.encode(&mut dice);
    let marker = |code: u8| data.windows(2).position(|two| two == [0xff, code]).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut data = data.clone();
        change(&mut data);
        decode(&data).map(|_| ())
    };
    let is_broken = |found: Result<(), Refusal>| assert!(matches!(found, Err(Refusal::Broken { .. })), "{found:?}");
    assert_eq!(with(&|_| ()), Ok(()));
    is_broken(with(&|data| data[marker(0xd1) + 1] = 0xd2));
    is_broken(with(&|data| data[marker(0xd1) + 1] = 0xd0));
    is_broken(with(&|data| drop(data.drain(marker(0xd1)..marker(0xd1) + 2))));
    is_broken(with(&|data| drop(data.drain(marker(0xd0)..marker(0xd1)))));
    is_broken(with(&|data| drop(data.splice(marker(0xd9)..marker(0xd9), [0xff, 0xd3]))));
    is_broken(with(&|data| drop(data.splice(marker(0xd1)..marker(0xd1), [0xff, 0xfe, 0, 2]))));
    // Fill bytes before markers, padding and comments before the end are no harm.
    assert_eq!(with(&|data| data.insert(marker(0xd1), 0xff)), Ok(()));
    assert_eq!(with(&|data| drop(data.splice(marker(0xd9)..marker(0xd9), [0, 0, 0xff, 0, 0xff, 0xff]))), Ok(()));
    assert_eq!(with(&|data| drop(data.splice(marker(0xd9)..marker(0xd9), [0xff, 0xfe, 0, 3, 7]))), Ok(()));
}

#[test]
fn other_kinds_are_left_to_others() {
    let mut dice = Dice(19);
    let data = Made::new(&[(2, 2), (1, 1), (1, 1)], 0).encode(&mut dice);
    let frame = data.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut data = data.clone();
        change(&mut data);
        decode(&data).map(|_| ())
    };
    let adobe = |transform: u8| {
        let mut segment = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".to_vec();
        segment.push(transform);
        segment
    };
    let named = |data: &mut Vec<u8>| {
        let scan = data.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        for (i, &id) in b"RGB".iter().enumerate() {
            data[frame + 10 + 3 * i] = id;
            data[scan + 5 + 2 * i] = id;
        }
    };
    let no = Err(Refusal::NotBaseline);
    for code in [0xc2, 0xc3, 0xc5, 0xc9, 0xca, 0xcf] {
        assert_eq!(with(&|data| data[frame + 1] = code), no, "{code:02x}");
    }
    assert_eq!(with(&|data| data[frame + 1] = 0xc1), Ok(()));
    assert_eq!(with(&|data| data[frame + 4] = 12), no);
    assert_eq!(with(&|data| data[frame + 5..frame + 7].fill(0)), no);
    assert_eq!(with(&|data| data[frame + 11] = 0x31), no);
    assert_eq!(with(&|data| data[frame + 14] = 0x12), no);
    assert_eq!(with(&|data| drop(data.splice(2..2, adobe(0)))), no);
    assert_eq!(with(&|data| drop(data.splice(2..2, adobe(1)))), Ok(()));
    assert_eq!(with(&named), no);
    assert_eq!(with(&|data| (named(data), drop(data.splice(2..2, adobe(1)))).1), Ok(()));
    assert_eq!(with(&|data| (named(data), drop(data.splice(2..2, *b"\xff\xe0\0\x07JFIF\0"))).1), Ok(()));
    let end = data.len() - 2;
    assert_eq!(with(&|data| drop(data.splice(end..end, [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]))), no);
    let mut progressive = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    progressive.set_size(8, 8);
    progressive.set_progressive_mode();
    let mut progressive = progressive.start_compress(Vec::new()).unwrap();
    progressive.write_scanlines(&[99; 8 * 8 * 3]).unwrap();
    assert_eq!(decode(&progressive.finish().unwrap()).map(|_| ()), no);
}

#[test]
fn a_header_alone_takes_no_memory() {
    let made = Made { size: (65535, 65535), ..Made::new(&[(1, 1); 3], 0) };
    let mut data = made.header();
    data.resize(10_000, 0);
    data.extend([0xff, 0xd9]);
    let mut out = Vec::new();
    let found = Baseline::new().decode(&data, Want::Planes, &mut out);
    assert!(matches!(found, Err(Refusal::Broken { what: "less data than blocks", .. })), "{found:?}");
    assert_eq!(out.capacity(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_behind_a_header_are_survived(
        sampling in 0usize..4,
        interval in 0u16..4,
        step in any::<u16>(),
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let samplings: [&[(u8, u8)]; 4] =
            [&[(1, 1)], &[(1, 1); 3], &[(2, 1), (1, 1), (1, 1)], &[(2, 2), (1, 1), (1, 1)]];
        let mut data = Made { step, ..Made::new(samplings[sampling], interval) }.header();
        data.extend(&bytes);
        let _ = decode(&data);
        data.extend([0xff, 0xd9]);
        let _ = decode(&data);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut data = vec![0xff, 0xd8];
        data.extend(&bytes);
        let _ = decode(&data);
    }

    #[test]
    fn coefficients_survive_the_way(seed in 1u64.., width in 1u16..100, height in 1u16..60, interval in 0u16..9) {
        let made = Made { size: (width, height), ..Made::new(&[(2, 2), (1, 1), (1, 1)], interval) };
        compare(&made.encode(&mut Dice(seed)));
    }
}
