//! A part of a frame, resized, as the tensor a model takes: one pass, whatever the frame's colours are.
//!
//! Each output row is made of two source rows (bilinear) and goes, as R, G and B and normalised, straight into the tensor. There
//! is no RGB picture of the frame and no resized one: what lies between are rows, a few kilobytes that stay in the nearest
//! cache. A camera's luma and chroma are resized each by itself, and only what the model sees is turned into RGB.
//!
//! # The arithmetic
//!
//! It is the one OpenCV uses for 8-bit pictures, bit for bit: 11-bit fixed-point weights, pixel centres aligned, along the rows
//! first, four bits cut off, then down the columns, sixteen bits cut off, two more rounded. The models' published accuracy and
//! our reference outputs were made with it, and one grey level in a tenth of the pixels, which is what exact rounding differs
//! by, moves boxes by a pixel and scores by .02.
//!
//! Along a row, `(a * (2048 - w) + b * w) >> 4` is computed in 16 bits as `a * 128 + ((b - a) * w >> 4)`: the first term has no
//! bits that are cut off. The product is the upper half of `(a - b) * 128` and `w * -32`, which fits as long as `w` is at most
//! 1024, and it is once `a` is the nearer of the two.
//!
//! Y, U and V become R, G and B by BT.601 in 16 bits with six of fraction, rounded to whole levels as a decoder's would be: at
//! most one level from the formula, and in few pixels.
//!
//! # The gathering
//!
//! The two samples of each output come by byte shuffles. For eight outputs there are one or more windows of 16 bytes which hold
//! all their samples, and for each window the places where they lie in it. Windows, places and weights depend on the sizes
//! alone and are kept. No window reaches beyond the row's last sample, so that nothing has to lie behind the frame's end.
//! Packed R, G, B are three outputs for each pixel and are separated only at the output size: windows three times as wide
//! would cost more.

use bytemuck::cast;

use super::card::Layout;
use crate::frame::{Channel, Colours, Range};
use crate::geom::{Region, Size};

mod level;
#[cfg(test)]
mod tests;

use level::{Bytes, Job, Level, Machine};

/// Where a picture goes, and as what.
pub(super) struct Target<'a> {
    /// All the values of one picture.
    pub(super) tensor: &'a mut [f32],
    /// Pixels of a row of the tensor.
    pub(super) tensor_width: usize,
    /// Pixels of the tensor.
    pub(super) plane: usize,
    /// Where in the tensor the picture's top-left corner lies, pixels.
    pub(super) offset: (usize, usize),
    /// What size it has there.
    pub(super) picture: Size,
    /// Order of the dimensions.
    pub(super) layout: Layout,
    /// B before G before R.
    pub(super) swap: bool,
    /// `value = pixel * gain + bias`, for each channel of the tensor.
    pub(super) gain: [f32; 3],
    /// See `gain`.
    pub(super) bias: [f32; 3],
}

/// Tables and rows, kept from picture to picture.
pub(super) struct Resampler {
    machine: Machine,
    columns: Cache<ColumnsOf, Columns>,
    rows: Cache<AxisOf, Vec<Tap>>,
    /// The first channel or all of packed pixels; the second and the third.
    first: Strand<1>,
    others: Strand<2>,
    /// One row of the picture in R, G and B.
    planes: [Vec<Bytes>; 3],
}

impl Default for Resampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Resampler {
    /// For this processor.
    pub(super) fn new() -> Self {
        Self::on(Machine::detect())
    }

    fn on(machine: Machine) -> Self {
        Self {
            machine,
            columns: Cache::default(),
            rows: Cache::default(),
            first: Strand::default(),
            others: Strand::default(),
            planes: Default::default(),
        }
    }

    /// Writes the region, which lies inside the frame, into the tensor.
    ///
    /// # Panics
    ///
    /// When a channel or the tensor is smaller than it must be.
    pub(super) fn run(
        &mut self,
        channels: &[Channel<'_>; 3],
        colours: Colours,
        frame: Size,
        region: Region,
        target: Target<'_>,
    ) {
        let to = target.picture;
        if region.size.pixels() == 0 || to.pixels() == 0 {
            return;
        }
        let packed = colours == Colours::Rgb && is_packed(channels);
        let parts = if packed { 3 } else { 1 };
        let Self { machine, columns, rows, first, others, planes } = self;
        let mut tables = (columns, rows);
        let [one, two, three] = *channels;
        first.plan([one], parts, frame, region, to, &mut tables);
        if !packed && !matches!(colours, Colours::Grey(_)) {
            others.plan([two, three], 1, frame, region, to, &mut tables);
        }
        for plane in planes.iter_mut() {
            plane.resize((to.width as usize).div_ceil(32), Default::default());
        }
        let (columns, rows) = (&tables.0.kept, &tables.1.kept);
        machine.run(Picture { channels, colours, packed, target, columns, rows, first, others, planes });
    }
}

/// Whether the three are the bytes of packed pixels. Compares addresses, and only those.
fn is_packed(channels: &[Channel<'_>; 3]) -> bool {
    let [red, green, blue] = channels.each_ref().map(|c| c.data.as_ptr().addr());
    channels.iter().all(|c| c.step == 3 && c.stride == channels[0].stride)
        && (green, blue) == (red.wrapping_add(1), red.wrapping_add(2))
        && channels[0].data.len() == channels[2].data.len() + 2
}

/// A few tables, the oldest of which makes room. Regions of one size need one for luma and up to two for chroma, across and
/// down, because an odd offset moves the chroma by half a sample.
struct Cache<K, T> {
    kept: Vec<(K, T)>,
    next: usize,
}

impl<K, T> Default for Cache<K, T> {
    fn default() -> Self {
        Self { kept: Vec::new(), next: 0 }
    }
}

impl<K: PartialEq, T: Default> Cache<K, T> {
    /// How many.
    const ROOM: usize = 8;

    /// Where the table is, after it was made if it has to be.
    fn find(&mut self, key: K, build: impl FnOnce(&mut T)) -> usize {
        if let Some(at) = self.kept.iter().position(|(k, _)| *k == key) {
            // The picture's next table must not take this one's room.
            if at == self.next {
                self.next = (at + 1) % Self::ROOM;
            }
            return at;
        }
        let at = self.next;
        self.next = (at + 1) % Self::ROOM;
        if at == self.kept.len() {
            self.kept.push((key, T::default()));
        } else {
            self.kept[at].0 = key;
        }
        build(&mut self.kept[at].1);
        at
    }
}

/// How one side of a region is sampled.
#[derive(Clone, Copy, PartialEq, Eq)]
struct AxisOf {
    /// Pixels of the region.
    from: u32,
    /// Pixels of the picture.
    to: u32,
    /// Pixels for each sample of the channel.
    ratio: u32,
    /// How many pixels the region begins behind a sample's first.
    behind: u32,
}

impl AxisOf {
    fn new(frame: u32, channel: u32, first: u32, from: u32, to: u32) -> Self {
        let ratio = frame.div_ceil(channel.max(1)).max(1);
        Self { from, to, ratio, behind: first % ratio }
    }

    /// The first sample that a region touches which begins at that pixel.
    fn first(self, pixel: u32) -> usize {
        (pixel / self.ratio) as usize
    }

    /// How many samples the region touches.
    fn samples(self) -> u32 {
        (self.behind + self.from).div_ceil(self.ratio)
    }

    fn is_identity(self) -> bool {
        self.from == self.to && self.ratio == 1
    }

    /// Where each target pixel is sampled. Beyond the first and the last sample there is only that sample: with `edge` its two
    /// taps keep their weights, otherwise one has all. The sum is the same, its rounding is not, and OpenCV does the former
    /// for rows and the latter for columns.
    fn taps(self, edge: bool, out: &mut Vec<Tap>) {
        out.clear();
        let scale = f64::from(self.from) / f64::from(self.to);
        let (ratio, behind, last) = (f64::from(self.ratio), f64::from(self.behind), self.samples() - 1);
        out.extend((0..self.to).map(|i| {
            let at = (((f64::from(i) + 0.5) * scale + behind) / ratio - 0.5) as f32;
            let floor = at.floor();
            let weight = ((at - floor) * ONE as f32).round_ties_even() as i16;
            if floor < 0.0 {
                return Tap { first: 0, second: 0, weight: if edge { weight } else { 0 } };
            }
            let first = floor as u32;
            if first >= last {
                return Tap { first: last, second: last, weight: if edge { weight } else { 0 } };
            }
            Tap { first, second: first + 1, weight }
        }));
    }
}

/// 1.0 in fixed point.
const ONE: i16 = 2048;

/// Two neighbouring samples and the weight of the second, in 1/2048.
#[derive(Clone, Copy, Debug)]
struct Tap {
    first: u32,
    second: u32,
    weight: i16,
}

/// What [`Columns`] depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ColumnsOf {
    axis: AxisOf,
    /// Bytes from sample to sample.
    step: usize,
    /// Outputs for each pixel: neighbouring bytes.
    parts: usize,
}

/// The most windows that a group of eight outputs can need: one for each byte.
const MOST: usize = 16;

/// How a source row is gathered.
///
/// A block is 32 outputs and two entries, each of two groups of eight: the first entry has groups 0 and 2, the second 1 and 3.
/// That is the order in which [`Level::pack`] takes its values.
#[derive(Default)]
struct Columns {
    /// Bytes of a row from the first sample to behind the last.
    len: usize,
    /// The entries that need one window, two, and so on. Each number has a loop of its own, without a branch to mispredict.
    lists: [List; MOST],
    /// The most that one needs.
    most: usize,
    /// While it is made.
    taps: Vec<Tap>,
}

/// Entries with the same number of windows.
#[derive(Default)]
struct List {
    /// For each entry which half of which block it is: twice the block, plus 1 for the second.
    at: Vec<u32>,
    /// For each entry what [`Level::mix`] multiplies.
    weights: Vec<Bytes>,
    /// For each entry and window where the window begins in the row, for both groups.
    starts: Vec<[u32; 2]>,
    /// For each entry and window where the samples are in it.
    places: Vec<Bytes>,
}

/// A group of eight outputs.
#[derive(Clone, Copy, Default)]
struct Group {
    windows: usize,
    starts: [u32; MOST],
    places: [[u8; 16]; MOST],
    weights: [i16; 8],
}

impl Columns {
    fn build(&mut self, of: ColumnsOf) {
        let ColumnsOf { axis, step, parts } = of;
        axis.taps(false, &mut self.taps);
        self.len = (axis.samples() as usize - 1) * step + parts;
        self.most = 0;
        for list in &mut self.lists {
            list.at.clear();
            list.weights.clear();
            list.starts.clear();
            list.places.clear();
        }
        // No group that begins behind the last output; of a pair, the second may.
        let groups = (axis.to as usize * parts).div_ceil(8);
        let entries = groups.div_ceil(4) * 2;
        for at in (0..entries).filter(|at| at / 2 * 4 + at % 2 < groups) {
            let first = at / 2 * 4 + at % 2;
            let [a, b] = [first, first + 2].map(|group| self.group(group * 8, of));
            let windows = a.windows.max(b.windows);
            self.most = self.most.max(windows);
            let list = &mut self.lists[windows - 1];
            if list.at.is_empty() {
                // For as many as there can be: regions differ, and the next one is not to ask for memory.
                list.at.reserve(entries);
                list.weights.reserve(entries);
                list.starts.reserve(entries * windows);
                list.places.reserve(entries * windows);
            }
            list.at.push(at as u32);
            list.weights.push(Bytes(cast([a.weights, b.weights])));
            list.starts.extend((0..windows).map(|i| [a.starts[i], b.starts[i]]));
            list.places.extend((0..windows).map(|i| Bytes(cast([a.places[i], b.places[i]]))));
        }
    }

    /// The group of outputs from `from` on; behind the row's end the last output again and again, which nobody reads.
    fn group(&self, from: usize, ColumnsOf { axis, step, parts }: ColumnsOf) -> Group {
        let mut group = Group { places: [[255; 16]; MOST], ..Group::default() };
        // The byte for each place of the gathered pairs.
        let mut bytes = [0; 16];
        for i in 0..8 {
            let output = (from + i).min(axis.to as usize * parts - 1);
            let tap = self.taps[output / parts];
            let byte = |sample: u32| sample as usize * step + output % parts;
            let near = tap.weight <= ONE / 2;
            let (base, other, weight) =
                if near { (tap.first, tap.second, tap.weight) } else { (tap.second, tap.first, ONE - tap.weight) };
            // A sample without weight need not be in any window.
            let other = if weight == 0 { base } else { other };
            (bytes[2 * i], bytes[2 * i + 1]) = (byte(base), byte(other));
            group.weights[i] = weight * -32;
        }
        let mut left = [true; 16];
        while let Some(next) = (0..16).filter(|&i| left[i]).map(|i| bytes[i]).min() {
            let start = next.min(self.len.saturating_sub(16));
            for i in 0..16 {
                if left[i] && (start..start + 16).contains(&bytes[i]) {
                    group.places[group.windows][i] = (bytes[i] - start) as u8;
                    left[i] = false;
                }
            }
            group.starts[group.windows] = start as u32;
            group.windows += 1;
        }
        group
    }
}

/// Channels that are sampled alike, or one of packed pixels.
struct Strand<const P: usize> {
    /// Where the region begins in each channel's data.
    starts: [usize; P],
    /// Whether its rows are the picture's.
    copied: bool,
    /// Which of the tables.
    columns: usize,
    rows: usize,
    /// Two source rows resampled to the picture's width, in 1/128, and which they are.
    upper: [Vec<Bytes>; P],
    lower: [Vec<Bytes>; P],
    held: [Option<u32>; 2],
    /// A row of the picture.
    blended: [Vec<Bytes>; P],
}

impl<const P: usize> Default for Strand<P> {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| Vec::new());
        Self {
            starts: [0; P],
            copied: false,
            columns: 0,
            rows: 0,
            upper: empty(),
            lower: empty(),
            held: [None; 2],
            blended: empty(),
        }
    }
}

impl<const P: usize> Strand<P> {
    /// Gets ready for one region.
    fn plan(
        &mut self,
        channels: [Channel<'_>; P],
        parts: usize,
        frame: Size,
        region: Region,
        to: Size,
        (columns, rows): &mut (&mut Cache<ColumnsOf, Columns>, &mut Cache<AxisOf, Vec<Tap>>),
    ) {
        let Channel { size, step, .. } = channels[0];
        assert!(channels.iter().all(|c| (c.size, c.step) == (size, step)), "U and V are sampled alike");
        let across = AxisOf::new(frame.width, size.width, region.x, region.size.width, to.width);
        let down = AxisOf::new(frame.height, size.height, region.y, region.size.height, to.height);
        let of = ColumnsOf { axis: across, step, parts };
        self.starts = channels.map(|c| down.first(region.y) * c.stride + across.first(region.x) * step);
        self.copied = across.is_identity() && down.is_identity() && step == parts;
        self.columns = columns.find(of, |columns| columns.build(of));
        self.rows = rows.find(down, |taps| down.taps(true, taps));
        self.held = [None; 2];
        // Of packed pixels, 32 whole ones at a time.
        let blocks = (to.width as usize).div_ceil(32) * parts;
        for row in self.upper.iter_mut().chain(&mut self.lower) {
            row.resize(blocks * 2, Default::default());
        }
        self.blended.iter_mut().for_each(|row| row.resize(blocks, Default::default()));
    }
}

/// What one picture takes.
struct Picture<'a, 'd> {
    channels: &'a [Channel<'d>; 3],
    colours: Colours,
    packed: bool,
    target: Target<'a>,
    columns: &'a [(ColumnsOf, Columns)],
    rows: &'a [(AxisOf, Vec<Tap>)],
    first: &'a mut Strand<1>,
    others: &'a mut Strand<2>,
    planes: &'a mut [Vec<Bytes>; 3],
}

impl Job for Picture<'_, '_> {
    #[inline(always)]
    fn run(self, level: impl Level) {
        let Self { channels, colours, packed, mut target, columns, rows, first, others, planes } = self;
        let [one, two, three] = *channels;
        let [red, green, blue] = planes;
        let tables = |columns_at: usize, rows_at: usize| (&columns[columns_at].1, &*rows[rows_at].1);
        let (first_tables, other_tables) = (
            tables(first.columns, first.rows),
            match (packed, colours) {
                (true, _) | (_, Colours::Grey(_)) => None,
                _ => Some(tables(others.columns, others.rows)),
            },
        );
        for y in 0..target.picture.height as usize {
            first.row(level, [one], first_tables, y);
            if let Some(tables) = other_tables {
                others.row(level, [two, three], tables, y);
            }
            let ([a], [b, c]) = (&first.blended, &others.blended);
            let rows: [&[Bytes]; 3] = match colours {
                Colours::Rgb if packed => {
                    separate(level, a, [red, green, blue]);
                    [red, green, blue]
                }
                Colours::Rgb => [a, b, c],
                Colours::Yuv(range) => {
                    convert(level, &Matrix::of(range), [a, b, c], [red, green, blue]);
                    [red, green, blue]
                }
                Colours::Grey(Range::Full) => [a; 3],
                Colours::Grey(range) => {
                    brighten(level, &Matrix::of(range), a, red);
                    [red; 3]
                }
            };
            target.write(level, y, rows);
        }
    }
}

impl<const P: usize> Strand<P> {
    /// Row `y` of the picture into `blended`.
    #[inline(always)]
    fn row<L: Level>(&mut self, level: L, channels: [Channel<'_>; P], (columns, rows): (&Columns, &[Tap]), y: usize) {
        let tap = rows[y];
        let Self { starts, upper, lower, held, .. } = self;
        let source = |plane: usize, row: u32| {
            let Channel { data, stride, .. } = channels[plane];
            &data[starts[plane] + row as usize * stride..][..columns.len]
        };
        if self.copied {
            for (plane, blended) in self.blended.iter_mut().enumerate() {
                for (block, bytes) in blended.iter_mut().zip(source(plane, tap.first).chunks(32)) {
                    block.0[..bytes.len()].copy_from_slice(bytes);
                }
            }
            return;
        }
        // Growing pictures use the same source rows for several output rows: keep them, and let the lower become the upper when
        // the window moves on by one.
        if held[0] != Some(tap.first) && held[1] == Some(tap.first) {
            std::mem::swap(upper, lower);
            held.swap(0, 1);
        }
        let two = tap.weight != 0 && tap.second != tap.first;
        // All that is missing at once: the tables are read once for it.
        match (held[0] != Some(tap.first), two && held[1] != Some(tap.second)) {
            (true, true) => {
                for (plane, (upper, lower)) in upper.iter_mut().zip(&mut *lower).enumerate() {
                    let rows = [source(plane, tap.first), source(plane, tap.second)];
                    horizontal(level, rows, columns, [upper, lower]);
                }
            }
            (true, false) => {
                let rows = std::array::from_fn::<_, P, _>(|plane| source(plane, tap.first));
                horizontal(level, rows, columns, upper.each_mut().map(|row| &mut row[..]));
            }
            (false, true) => {
                let rows = std::array::from_fn::<_, P, _>(|plane| source(plane, tap.second));
                horizontal(level, rows, columns, lower.each_mut().map(|row| &mut row[..]));
            }
            (false, false) => {}
        }
        *held = [Some(tap.first), if two { Some(tap.second) } else { held[1] }];
        for plane in 0..P {
            let below = if two { &lower[plane] } else { &upper[plane] };
            blend(level, &upper[plane], below, tap.weight, &mut self.blended[plane]);
        }
    }
}

/// Source rows resampled to the picture's width, in 1/128.
#[inline(always)]
fn horizontal<const R: usize, L: Level>(level: L, rows: [&[u8]; R], columns: &Columns, out: [&mut [Bytes]; R]) {
    // A window must fit: a row of few samples is copied to where it does.
    let mut short = [[0; 16]; R];
    let mut source = rows;
    let mut len = columns.len;
    if len < 16 {
        for (short, row) in short.iter_mut().zip(rows) {
            short[..len].copy_from_slice(row);
        }
        len = 16;
        for r in 0..R {
            source[r] = &short[r];
        }
    }
    // So that one check does for all.
    let mut out = out;
    let width = out[0].len();
    for r in 0..R {
        source[r] = &source[r][..len];
        out[r] = &mut std::mem::take(&mut out[r])[..width];
    }
    for windows in 1..=columns.most {
        let list = &columns.lists[windows - 1];
        match windows {
            1 => gather::<1, R, L>(level, source, list, &mut out),
            2 => gather::<2, R, L>(level, source, list, &mut out),
            3 => gather::<3, R, L>(level, source, list, &mut out),
            4 => gather::<4, R, L>(level, source, list, &mut out),
            5 => gather::<5, R, L>(level, source, list, &mut out),
            n => gather_many(level, source, list, n, &mut out),
        }
    }
}

/// The entries with `N` windows.
#[inline(always)]
fn gather<const N: usize, const R: usize, L: Level>(
    level: L,
    rows: [&[u8]; R],
    list: &List,
    out: &mut [&mut [Bytes]; R],
) {
    let (starts, places) = (list.starts.as_chunks::<N>().0, list.places.as_chunks::<N>().0);
    for (((&at, weights), starts), places) in list.at.iter().zip(&list.weights).zip(starts).zip(places) {
        // Copied, because for all the compiler knows what is stored for one row may change it, and with it what was checked.
        let starts = *starts;
        let mut weights = level.load(weights);
        if R > 1 {
            weights = level.kept(weights);
        }
        let mut pairs = [level.word(0); R];
        for r in 0..R {
            pairs[r] = window(level, rows[r], starts[0], level.load(&places[0]));
            for i in 1..N {
                pairs[r] = level.or(pairs[r], window(level, rows[r], starts[i], level.load(&places[i])));
            }
        }
        for r in 0..R {
            out[r][at as usize] = level.store(level.mix(pairs[r], weights));
        }
    }
}

/// The entries with that many windows.
#[inline(always)]
fn gather_many<const R: usize, L: Level>(
    level: L,
    rows: [&[u8]; R],
    list: &List,
    windows: usize,
    out: &mut [&mut [Bytes]; R],
) {
    let (starts, places) = (list.starts.chunks_exact(windows), list.places.chunks_exact(windows));
    for (((&at, weights), starts), places) in list.at.iter().zip(&list.weights).zip(starts).zip(places) {
        for r in 0..R {
            let mut pairs = level.word(0);
            for (&starts, places) in starts.iter().zip(places) {
                pairs = level.or(pairs, window(level, rows[r], starts, level.load(places)));
            }
            out[r][at as usize] = level.store(level.mix(pairs, level.load(weights)));
        }
    }
}

/// What the places say of one window for each group.
#[inline(always)]
fn window<L: Level>(level: L, row: &[u8], [a, b]: [u32; 2], places: L::V) -> L::V {
    level.shuffle(level.halves(sixteen(row, a as usize), sixteen(row, b as usize)), places)
}

/// Sixteen bytes of the row.
#[inline(always)]
fn sixteen(row: &[u8], at: usize) -> &[u8; 16] {
    row[at..at + 16].first_chunk().expect("sixteen")
}

/// Two resampled rows, the lower with weight `w1` in 1/2048, to one of 8-bit values.
#[inline(always)]
fn blend<L: Level>(level: L, upper: &[Bytes], lower: &[Bytes], w1: i16, out: &mut [Bytes]) {
    let (w0, w1) = (level.word(ONE - w1), level.word(w1));
    let (upper, lower) = (upper.as_chunks::<2>().0, lower.as_chunks::<2>().0);
    for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
        let a = level.add(level.high(level.load(&upper[0]), w0), level.high(level.load(&lower[0]), w1));
        let b = level.add(level.high(level.load(&upper[1]), w0), level.high(level.load(&lower[1]), w1));
        let two = level.word(2);
        *out = level.store(level.pack::<2>([level.add(a, two), level.add(b, two)]));
    }
}

/// Of each channel of packed pixels, in the three vectors that hold 32 of them: where it lies in the first and in the second,
/// and then in which order. A half of the first has bytes 0..16 of its 48, of the second 16..32, of the third 32..48.
const PACKED: [[Bytes; 3]; 3] = {
    let mut all = [[Bytes([0; 32]); 3]; 3];
    let mut c = 0;
    while c < 3 {
        let mut i = 0;
        while i < 32 {
            let place = i % 16;
            all[c][0].0[i] = if place % 3 == c { 255 } else { 0 };
            all[c][1].0[i] = if (place + 16) % 3 == c { 255 } else { 0 };
            all[c][2].0[i] = ((place * 3 + c) % 16) as u8;
            i += 1;
        }
        c += 1;
    }
    all
};

/// Packed pixels to one row for each channel.
#[inline(always)]
fn separate<L: Level>(level: L, packed: &[Bytes], out: [&mut [Bytes]; 3]) {
    let [red, green, blue] = out;
    for (((packed, red), green), blue) in packed.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
        let [[a, b], [c, d], [e, f]] = packed.map(|bytes| cast::<_, [[u8; 16]; 2]>(bytes.0));
        let (first, second, third) = (level.halves(&a, &d), level.halves(&b, &e), level.halves(&c, &f));
        for (c, out) in [red, green, blue].into_iter().enumerate() {
            let [in_first, in_second, places] = &PACKED[c];
            let mixed = level.select(level.load(in_second), second, third);
            let mixed = level.select(level.load(in_first), first, mixed);
            *out = level.store(level.shuffle(mixed, level.load(places)));
        }
    }
}

/// BT.601 in 16 bits: luma in 1/16384, chroma in 1/8192, the sum in 1/64.
struct Matrix {
    luma: i16,
    offset: i16,
    red_v: i16,
    green_u: i16,
    green_v: i16,
    blue_u: i16,
}

impl Matrix {
    fn of(range: Range) -> Self {
        // Luma's and chroma's share of the 255 levels; black.
        let (luma, chroma, black) = match range {
            Range::Limited => (255.0 / 219.0, 255.0 / 224.0, 16.0),
            Range::Full => (1.0, 1.0, 0.0),
        };
        let fixed = |value: f64, one: f64| (value * one).round() as i16;
        Self {
            luma: fixed(luma, 16384.0),
            // And a half, to round.
            offset: fixed(0.5 - luma * black, 64.0),
            red_v: fixed(1.402 * chroma, 8192.0),
            green_u: fixed(-0.344136 * chroma, 8192.0),
            green_v: fixed(-0.714136 * chroma, 8192.0),
            blue_u: fixed(1.772 * chroma, 8192.0),
        }
    }
}

/// Luma, times 256, to 64 times the level.
#[inline(always)]
fn level_of<L: Level>(level: L, luma: L::V, matrix: &Matrix) -> L::V {
    level.add(level.fraction(level.half(luma), level.word(matrix.luma)), level.word(matrix.offset))
}

/// A row of Y, U and V to one of R, G and B.
#[inline(always)]
fn convert<L: Level>(level: L, matrix: &Matrix, from: [&[Bytes]; 3], out: [&mut [Bytes]; 3]) {
    let ([luma, u, v], [red, green, blue]) = (from, out);
    let middle = level.word(i16::MIN);
    for (((((y, u), v), red), green), blue) in luma.iter().zip(u).zip(v).zip(red).zip(green).zip(blue) {
        let y = level.spread(level.load(y));
        let u = level.spread(level.load(u));
        let v = level.spread(level.load(v));
        let [mut r, mut g, mut b] = [y; 3];
        for i in 0..2 {
            let grey = level_of(level, y[i], matrix);
            let (u, v) = (level.xor(u[i], middle), level.xor(v[i], middle));
            r[i] = level.add(grey, level.fraction(v, level.word(matrix.red_v)));
            let part = level.add(grey, level.fraction(u, level.word(matrix.green_u)));
            g[i] = level.add(part, level.fraction(v, level.word(matrix.green_v)));
            b[i] = level.add(grey, level.fraction(u, level.word(matrix.blue_u)));
        }
        *red = level.store(level.pack::<6>(r));
        *green = level.store(level.pack::<6>(g));
        *blue = level.store(level.pack::<6>(b));
    }
}

/// A row of luma to one of grey levels.
#[inline(always)]
fn brighten<L: Level>(level: L, matrix: &Matrix, luma: &[Bytes], out: &mut [Bytes]) {
    for (luma, out) in luma.iter().zip(out) {
        let [a, b] = level.spread(level.load(luma));
        *out = level.store(level.pack::<6>([level_of(level, a, matrix), level_of(level, b, matrix)]));
    }
}

impl Target<'_> {
    /// Row `y` of the picture, in R, G and B.
    #[inline(always)]
    fn write<L: Level>(&mut self, level: L, y: usize, rows: [&[Bytes]; 3]) {
        let [red, green, blue] = rows;
        let rows = if self.swap { [blue, green, red] } else { rows };
        let start = (self.offset.1 + y) * self.tensor_width + self.offset.0;
        let width = self.picture.width as usize;
        match self.layout {
            Layout::Nchw => {
                for (c, row) in rows.into_iter().enumerate() {
                    let values = &mut self.tensor[c * self.plane + start..][..width];
                    normalise(level, row, self.gain[c], self.bias[c], values);
                }
            }
            Layout::Nhwc => {
                let values = &mut self.tensor[start * 3..][..width * 3];
                for (i, pixel) in values.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    for c in 0..3 {
                        pixel[c] = f32::from(rows[c][i / 32].0[i % 32]) * self.gain[c] + self.bias[c];
                    }
                }
            }
        }
    }
}

/// A row of one channel to floats.
#[inline(always)]
fn normalise<L: Level>(level: L, row: &[Bytes], gain: f32, bias: f32, out: &mut [f32]) {
    let (gain, bias) = (level.float(gain), level.float(bias));
    let (blocks, rest) = out.as_chunks_mut::<32>();
    for (block, out) in row.iter().zip(blocks.iter_mut()) {
        let eights: [[u8; 8]; 4] = cast(block.0);
        let (out, _) = out.as_chunks_mut::<8>();
        for i in 0..4 {
            out[i] = level.normalise(eights[i], gain, bias);
        }
    }
    if rest.is_empty() {
        return;
    }
    let eights: [[u8; 8]; 4] = cast(row[blocks.len()].0);
    for (&eight, out) in eights.iter().zip(rest.chunks_mut(8)) {
        let values = level.normalise(eight, gain, bias);
        match out.first_chunk_mut() {
            Some(all) => *all = values,
            None => out.copy_from_slice(&values[..out.len()]),
        }
    }
}
