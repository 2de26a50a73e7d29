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
//! Channels that lie in one another (all of YUYV, the chroma of NV12) are gathered from the same windows, each with places of
//! its own. Packed R, G, B are three outputs for each pixel and are separated only at the output size: windows three times as
//! wide would cost more.

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
    /// The first channel or all of packed pixels; the second and the third; or all three.
    first: Strand<1>,
    others: Strand<2>,
    all: Strand<3>,
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
            all: Strand::default(),
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
        let Self { machine, columns, rows, first, others, all, planes } = self;
        let mut tables = (columns, rows);
        let [one, two, three] = *channels;
        // Luma that is taken as it is need not be gathered.
        let gathered = (one.size, region.size) != (frame, to);
        let weave = match colours {
            Colours::Rgb if is_packed(channels) => Weave::Packed,
            Colours::Yuv(_) if gathered && Woven::of([one, two, three]).is_some() => Weave::All,
            Colours::Grey(_) => Weave::First,
            _ => Weave::Apart,
        };
        match weave {
            Weave::Packed => first.plan([one], 3, frame, region, to, &mut tables),
            Weave::All => all.plan([one, two, three], 1, frame, region, to, &mut tables),
            Weave::First => first.plan([one], 1, frame, region, to, &mut tables),
            Weave::Apart => {
                first.plan([one], 1, frame, region, to, &mut tables);
                others.plan([two, three], 1, frame, region, to, &mut tables);
            }
        }
        for plane in planes.iter_mut() {
            plane.resize((to.width as usize).div_ceil(32), Default::default());
        }
        let (columns, rows) = (&tables.0.kept, &tables.1.kept);
        machine.run(Picture { channels, colours, weave, target, columns, rows, first, others, all, planes });
    }
}

/// Which channels are taken together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weave {
    /// Packed R, G, B as one channel of three parts.
    Packed,
    /// Those of YUYV.
    All,
    /// Luma, and there is nothing else.
    First,
    /// The first by itself, the second with the third.
    Apart,
}

/// Whether the three are the bytes of packed pixels. Compares addresses, and only those.
fn is_packed(channels: &[Channel<'_>; 3]) -> bool {
    let [red, green, blue] = channels.each_ref().map(|c| c.data.as_ptr().addr());
    channels.iter().all(|c| c.step == 3 && c.stride == channels[0].stride)
        && (green, blue) == (red.wrapping_add(1), red.wrapping_add(2))
        && channels[0].data.len() == channels[2].data.len() + 2
}

/// Channels whose samples lie in one another, so that one look at a row finds those of all.
#[derive(Clone, Copy)]
struct Woven<const P: usize> {
    /// Whose first sample comes first: its data hold the others'.
    lowest: usize,
    /// Bytes from there to each one's first sample.
    behind: [usize; P],
}

impl<const P: usize> Woven<P> {
    /// `None` when they lie apart. Compares addresses, and only those.
    fn of(channels: [Channel<'_>; P]) -> Option<Self> {
        let starts = channels.map(|c| c.data.as_ptr().addr());
        let lowest = (0..P).min_by_key(|&c| starts[c])?;
        let behind = starts.map(|start| start - starts[lowest]);
        let Channel { stride, size, data, .. } = channels[lowest];
        let alike = |(c, behind): (&Channel<'_>, usize)| {
            c.stride == stride && c.size.height == size.height && behind < 4 && behind + c.data.len() == data.len()
        };
        (P > 1 && channels.iter().zip(behind).all(alike)).then_some(Self { lowest, behind })
    }
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
#[derive(Clone, Copy, Default, PartialEq, Eq)]
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

/// How a channel lies along a row.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Across {
    axis: AxisOf,
    /// Bytes from sample to sample.
    step: usize,
    /// Bytes before the first sample.
    behind: usize,
}

/// What [`Columns`] depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ColumnsOf {
    /// The channels that are gathered together; behind `count`, nothing.
    channels: [Across; 3],
    count: usize,
    /// Outputs for each pixel of a channel: neighbouring bytes.
    parts: usize,
}

/// The most windows that a group of eight outputs of three channels can need: one for each byte.
const MOST: usize = 48;

/// How a source row is gathered.
///
/// A block is 32 outputs and two entries, each of two groups of eight: the first entry has groups 0 and 2, the second 1 and 3.
/// That is the order in which [`Level::pack`] takes its values.
#[derive(Default)]
struct Columns {
    /// Bytes of a row from the first sample to behind the last.
    len: usize,
    /// The entries that need one window, two, and so on. Each number has a loop of its own, without a branch to mispredict.
    lists: Vec<List>,
    /// The most that one needs.
    most: usize,
    /// While it is made.
    taps: [Vec<Tap>; 3],
}

/// Entries with the same number of windows.
#[derive(Default)]
struct List {
    /// For each entry which half of which block it is: twice the block, plus 1 for the second.
    at: Vec<u32>,
    /// For each entry and channel what [`Level::mix`] multiplies.
    weights: Vec<Bytes>,
    /// For each entry and window where the window begins in the row, for both groups.
    starts: Vec<[u32; 2]>,
    /// For each entry, window and channel where the samples are in it.
    places: Vec<Bytes>,
}

/// A group of eight outputs of each channel; behind the last window, anything.
#[derive(Clone, Copy)]
struct Group {
    windows: usize,
    starts: [u32; MOST],
    places: [[[u8; 16]; 3]; MOST],
    weights: [[i16; 8]; 3],
}

impl Group {
    const EMPTY: Self =
        Self { windows: 0, starts: [0; MOST], places: [[[NOWHERE; 16]; 3]; MOST], weights: [[0; 8]; 3] };

    /// Where the window begins; anywhere when there is none.
    fn start(&self, window: usize) -> u32 {
        if window < self.windows { self.starts[window] } else { 0 }
    }

    /// The places in it of that channel.
    fn places(&self, window: usize, channel: usize) -> [u8; 16] {
        if window < self.windows { self.places[window][channel] } else { [NOWHERE; 16] }
    }
}

/// A place that [`Level::shuffle`] takes nothing from.
const NOWHERE: u8 = 255;

impl Columns {
    fn build(&mut self, of: ColumnsOf) {
        let ColumnsOf { channels, count, parts } = of;
        let channels = &channels[..count];
        self.len = 0;
        for (channel, taps) in channels.iter().zip(&mut self.taps) {
            channel.axis.taps(false, taps);
            self.len = self.len.max(channel.behind + (channel.axis.samples() as usize - 1) * channel.step + parts);
        }
        self.most = 0;
        self.lists.resize_with(MOST, List::default);
        for list in &mut self.lists {
            list.at.clear();
            list.weights.clear();
            list.starts.clear();
            list.places.clear();
        }
        // No group that begins behind the last output; of a pair, the second may.
        let groups = (channels[0].axis.to as usize * parts).div_ceil(8);
        let entries = groups.div_ceil(4) * 2;
        let [mut a, mut b] = [Group::EMPTY; 2];
        for at in (0..entries).filter(|at| at / 2 * 4 + at % 2 < groups) {
            let first = at / 2 * 4 + at % 2;
            self.group(first * 8, channels, parts, &mut a);
            self.group((first + 2) * 8, channels, parts, &mut b);
            let windows = a.windows.max(b.windows);
            self.most = self.most.max(windows);
            let list = &mut self.lists[windows - 1];
            if list.at.is_empty() {
                // For as many as there can be: regions differ, and the next one is not to ask for memory.
                list.at.reserve(entries);
                list.weights.reserve(entries * count);
                list.starts.reserve(entries * windows);
                list.places.reserve(entries * windows * count);
            }
            list.at.push(at as u32);
            list.weights.extend((0..count).map(|c| Bytes(cast([a.weights[c], b.weights[c]]))));
            for i in 0..windows {
                list.starts.push([a.start(i), b.start(i)]);
                list.places.extend((0..count).map(|c| Bytes(cast([a.places(i, c), b.places(i, c)]))));
            }
        }
    }

    /// The group of outputs from `from` on; behind the row's end the last output again and again, which nobody reads.
    fn group(&self, from: usize, channels: &[Across], parts: usize, group: &mut Group) {
        // For each channel the byte for each place of the gathered pairs, until it is in a window. In 32 bits, which vectors compare: in 64
        // QEMU 10.0 gives a wrong minimum (TCG, `cmhi` of the lower half behind `ext`), and then nothing can be checked for aarch64.
        let mut bytes = [[u32::MAX; 16]; 3];
        let bytes = &mut bytes[..channels.len()];
        for (c, (Across { axis, step, behind }, taps)) in channels.iter().zip(&self.taps).enumerate() {
            for i in 0..8 {
                let output = (from + i).min(axis.to as usize * parts - 1);
                let (pixel, part) = (output / parts, output % parts);
                let tap = taps[pixel];
                let byte = |sample: u32| (behind + sample as usize * step + part) as u32;
                let near = tap.weight <= ONE / 2;
                let (base, other, weight) =
                    if near { (tap.first, tap.second, tap.weight) } else { (tap.second, tap.first, ONE - tap.weight) };
                // A sample without weight need not be in any window.
                let other = if weight == 0 { base } else { other };
                (bytes[c][2 * i], bytes[c][2 * i + 1]) = (byte(base), byte(other));
                group.weights[c][i] = weight * -32;
            }
        }
        let last = self.len.saturating_sub(16) as u32;
        group.windows = 0;
        loop {
            let next = bytes.as_flattened().iter().fold(u32::MAX, |least, &at| least.min(at));
            if next == u32::MAX {
                break;
            }
            let start = next.min(last);
            for (bytes, places) in bytes.iter_mut().zip(&mut group.places[group.windows]) {
                for (at, place) in bytes.iter_mut().zip(places) {
                    let within = at.wrapping_sub(start);
                    *place = if within < 16 { within as u8 } else { NOWHERE };
                    *at = if within < 16 { u32::MAX } else { *at };
                }
            }
            group.starts[group.windows] = start;
            group.windows += 1;
        }
    }
}

/// Channels whose rows are sampled alike, or one of packed pixels.
struct Strand<const P: usize> {
    /// Whether one look at a row finds all of them.
    woven: Option<Woven<P>>,
    /// Where the region begins in each channel's data; of woven ones, all in those of the lowest.
    starts: [usize; P],
    /// Whether its rows are the picture's, taken from bytes so far apart.
    copied: Option<usize>,
    /// Which of the tables.
    columns: usize,
    rows: usize,
    /// Two source rows resampled to the picture's width, in 1/128, and which they are.
    upper: [Vec<Bytes>; P],
    lower: [Vec<Bytes>; P],
    held: [Option<u32>; 2],
    /// The first source row that memory was not asked for.
    asked: u32,
    /// A row of the picture.
    blended: [Vec<Bytes>; P],
}

impl<const P: usize> Default for Strand<P> {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| Vec::new());
        Self {
            woven: None,
            starts: [0; P],
            copied: None,
            columns: 0,
            rows: 0,
            upper: empty(),
            lower: empty(),
            held: [None; 2],
            asked: 0,
            blended: empty(),
        }
    }
}

impl<const P: usize> Strand<P> {
    /// Whether its channels may lie in one another, and whether they may be apart: what never happens is not compiled.
    const SEVERAL: bool = P > 1;
    const ALIKE: bool = P < 3;

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
        let across = channels.map(|c| AxisOf::new(frame.width, c.size.width, region.x, region.size.width, to.width));
        let one = channels[0];
        let down = AxisOf::new(frame.height, one.size.height, region.y, region.size.height, to.height);
        let row = |c: Channel<'_>| down.first(region.y) * c.stride;
        let mut of = ColumnsOf { channels: Default::default(), count: 1, parts };
        self.woven = Woven::of(channels);
        if let Some(Woven { lowest, behind }) = self.woven {
            let firsts: [usize; P] = std::array::from_fn(|c| behind[c] + across[c].first(region.x) * channels[c].step);
            let first = firsts.into_iter().min().unwrap_or(0);
            of.count = P;
            for c in 0..P {
                of.channels[c] = Across { axis: across[c], step: channels[c].step, behind: firsts[c] - first };
            }
            self.starts = [row(channels[lowest]) + first; P];
            self.copied = None;
        } else {
            let alike = channels.iter().all(|c| (c.size, c.step) == (one.size, one.step));
            assert!(alike && Self::ALIKE, "U and V are sampled alike");
            of.channels[0] = Across { axis: across[0], step: one.step, behind: 0 };
            self.starts = channels.map(|c| row(c) + across[0].first(region.x) * c.step);
            let is_same = across[0].is_identity() && down.is_identity();
            // Packed pixels lie as close as bytes.
            let step = if one.step == parts { 1 } else { one.step };
            self.copied = Some(step).filter(|step| is_same && (1..=2).contains(step));
        }
        self.columns = columns.find(of, |columns| columns.build(of));
        self.rows = rows.find(down, |taps| down.taps(true, taps));
        self.held = [None; 2];
        self.asked = 0;
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
    weave: Weave,
    target: Target<'a>,
    columns: &'a [(ColumnsOf, Columns)],
    rows: &'a [(AxisOf, Vec<Tap>)],
    first: &'a mut Strand<1>,
    others: &'a mut Strand<2>,
    all: &'a mut Strand<3>,
    planes: &'a mut [Vec<Bytes>; 3],
}

impl Job for Picture<'_, '_> {
    #[inline(always)]
    fn run(self, level: impl Level) {
        let Self { channels, colours, weave, mut target, columns, rows, first, others, all, planes } = self;
        let [one, two, three] = *channels;
        let [red, green, blue] = planes;
        // Tables of a strand that has no part are any.
        let tables = |columns_at: usize, rows_at: usize| (&columns[columns_at].1, &*rows[rows_at].1);
        let (tables_of_first, tables_of_others, tables_of_all) =
            (tables(first.columns, first.rows), tables(others.columns, others.rows), tables(all.columns, all.rows));
        for y in 0..target.picture.height as usize {
            let ahead = if y == 0 { 0..=AHEAD } else { y + AHEAD..=y + AHEAD };
            for y in ahead {
                match weave {
                    Weave::All => all.ask([one, two, three], tables_of_all, y),
                    Weave::Apart => {
                        first.ask([one], tables_of_first, y);
                        // Between luma's bytes lie the others'.
                        if first.copied != Some(2) {
                            others.ask([two, three], tables_of_others, y);
                        }
                    }
                    Weave::Packed | Weave::First => first.ask([one], tables_of_first, y),
                }
            }
            let [a, b, c] = match weave {
                Weave::All => {
                    all.row(level, [one, two, three], tables_of_all, y);
                    all.blended.each_ref()
                }
                Weave::Apart => {
                    first.row(level, [one], tables_of_first, y);
                    others.row(level, [two, three], tables_of_others, y);
                    let ([a], [b, c]) = (&first.blended, &others.blended);
                    [a, b, c]
                }
                Weave::Packed | Weave::First => {
                    first.row(level, [one], tables_of_first, y);
                    [&first.blended[0]; 3]
                }
            };
            let rows: [&[Bytes]; 3] = match colours {
                Colours::Rgb if weave == Weave::Packed => {
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

/// How many rows of the picture before they are made their source is asked for.
const AHEAD: usize = 8;

/// Has the bytes brought into the second cache, a line at a time, without waiting for them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask_for(bytes: &[u8]) {
    const LINE: usize = 64;
    bytes.iter().step_by(LINE).chain(bytes.last()).for_each(safe_arch::prefetch_t1);
}

/// There is no such instruction that one could give without `unsafe`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for(_: &[u8]) {}

impl<const P: usize> Strand<P> {
    /// Asks memory for what row `y` of the picture will need and was not asked for. By itself the processor does not see the next row of a
    /// part coming, nor the next page: it would wait at the beginning of each.
    #[inline(always)]
    fn ask(&mut self, channels: [Channel<'_>; P], (columns, rows): (&Columns, &[Tap]), y: usize) {
        let Some(tap) = rows.get(y) else { return };
        for row in [tap.first, tap.second].into_iter().filter(|&row| row >= self.asked) {
            let source = |plane: usize| {
                let Channel { data, stride, .. } = channels[plane];
                &data[self.starts[plane] + row as usize * stride..][..columns.len]
            };
            match self.woven {
                Some(Woven { lowest, .. }) => ask_for(source(lowest)),
                None => (0..P).for_each(|plane| ask_for(source(plane))),
            }
        }
        self.asked = self.asked.max(tap.second + 1);
    }

    /// Row `y` of the picture into `blended`.
    #[inline(always)]
    fn row<L: Level>(&mut self, level: L, channels: [Channel<'_>; P], (columns, rows): (&Columns, &[Tap]), y: usize) {
        let tap = rows[y];
        let Self { starts, upper, lower, held, .. } = self;
        let source = |plane: usize, row: u32| {
            let Channel { data, stride, .. } = channels[plane];
            &data[starts[plane] + row as usize * stride..][..columns.len]
        };
        if let Some(step) = self.copied {
            for (plane, blended) in self.blended.iter_mut().enumerate() {
                let row = source(plane, tap.first);
                if step == 1 {
                    for (block, bytes) in blended.iter_mut().zip(row.chunks(32)) {
                        block.0[..bytes.len()].copy_from_slice(bytes);
                    }
                } else {
                    every_second(level, row, blended);
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
        let missing = (held[0] != Some(tap.first), two && held[1] != Some(tap.second));
        let (row, alone) = if missing.0 { (tap.first, &mut *upper) } else { (tap.second, &mut *lower) };
        match self.woven {
            _ if missing == (false, false) => {}
            Some(Woven { lowest, .. }) if Self::SEVERAL => {
                if missing == (true, true) {
                    let rows = [source(lowest, tap.first), source(lowest, tap.second)];
                    horizontal(level, rows, columns, [slices(upper), slices(lower)]);
                } else {
                    horizontal(level, [source(lowest, row)], columns, [slices(alone)]);
                }
            }
            _ if Self::ALIKE => {
                if missing == (true, true) {
                    for (plane, (upper, lower)) in upper.iter_mut().zip(&mut *lower).enumerate() {
                        let rows = [source(plane, tap.first), source(plane, tap.second)];
                        horizontal(level, rows, columns, [[upper], [lower]]);
                    }
                } else {
                    let rows = std::array::from_fn::<_, P, _>(|plane| source(plane, row));
                    horizontal(level, rows, columns, slices(alone).map(|row| [row]));
                }
            }
            _ => {}
        }
        *held = [Some(tap.first), if two { Some(tap.second) } else { held[1] }];
        for plane in 0..P {
            let (upper, blended) = (&upper[plane], &mut self.blended[plane]);
            if tap.weight == 0 {
                settle(level, upper, blended);
            } else {
                blend(level, upper, if two { &lower[plane] } else { upper }, tap.weight, blended);
            }
        }
    }
}

/// The first of every two bytes.
#[inline(always)]
fn every_second<L: Level>(level: L, row: &[u8], out: &mut [Bytes]) {
    let [to_first, to_second] = FIRSTS.each_ref().map(|places| level.load(places));
    let (blocks, rest) = row.as_chunks::<64>();
    for (out, block) in out.iter_mut().zip(blocks) {
        let [[a, b], [c, d]]: [[[u8; 16]; 2]; 2] = cast(*block);
        let first = level.shuffle(level.halves(&a, &c), to_first);
        *out = level.store(level.or(first, level.shuffle(level.halves(&b, &d), to_second)));
    }
    if let Some(out) = out.get_mut(blocks.len()) {
        out.0.iter_mut().zip(rest.iter().step_by(2)).for_each(|(to, from)| *to = *from);
    }
}

/// For [`Level::shuffle`]: the first byte of each two, to the first or to the second eight bytes of a half.
const FIRSTS: [Bytes; 2] = {
    let mut both = [Bytes([NOWHERE; 32]); 2];
    let mut i = 0;
    while i < 32 {
        both[i % 16 / 8].0[i] = (i % 8 * 2) as u8;
        i += 1;
    }
    both
};

/// As slices.
#[inline(always)]
fn slices<const P: usize>(rows: &mut [Vec<Bytes>; P]) -> [&mut [Bytes]; P] {
    rows.each_mut().map(|row| &mut row[..])
}

/// `R` source rows, each of `C` channels, resampled to the picture's width, in 1/128.
#[inline(always)]
fn horizontal<const R: usize, const C: usize, L: Level>(
    level: L,
    rows: [&[u8]; R],
    columns: &Columns,
    mut out: [[&mut [Bytes]; C]; R],
) {
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
    let width = out[0][0].len();
    for r in 0..R {
        source[r] = &source[r][..len];
        for out in &mut out[r] {
            *out = &mut std::mem::take(out)[..width];
        }
    }
    for (list, windows) in columns.lists.iter().zip(1..=columns.most) {
        match windows {
            // The chroma of YUYV beside luma that is taken as it is.
            2 if C == 2 => gather::<2, R, C, L>(level, source, list, &mut out),
            // Of several channels an entry has enough to do without knowing how many.
            n if C > 1 => gather_many(level, source, list, n, &mut out),
            1 => gather::<1, R, C, L>(level, source, list, &mut out),
            2 => gather::<2, R, C, L>(level, source, list, &mut out),
            3 => gather::<3, R, C, L>(level, source, list, &mut out),
            4 => gather::<4, R, C, L>(level, source, list, &mut out),
            5 => gather::<5, R, C, L>(level, source, list, &mut out),
            n => gather_many(level, source, list, n, &mut out),
        }
    }
}

/// The entries with `N` windows.
#[inline(always)]
fn gather<const N: usize, const R: usize, const C: usize, L: Level>(
    level: L,
    rows: [&[u8]; R],
    list: &List,
    out: &mut [[&mut [Bytes]; C]; R],
) {
    let (weights, starts) = (list.weights.as_chunks::<C>().0, list.starts.as_chunks::<N>().0);
    let places = list.places.as_chunks::<C>().0.as_chunks::<N>().0;
    for (((&at, weights), starts), places) in list.at.iter().zip(weights).zip(starts).zip(places) {
        // Copied, because for all the compiler knows what is stored for one row may change it, and with it what was checked.
        let starts = *starts;
        let mut pairs = [[level.word(0); C]; R];
        for r in 0..R {
            pairs[r] = window(level, rows[r], starts[0], &places[0]);
            for i in 1..N {
                let more = window(level, rows[r], starts[i], &places[i]);
                for c in 0..C {
                    pairs[r][c] = level.or(pairs[r][c], more[c]);
                }
            }
        }
        finish(level, pairs, weights, at, out);
    }
}

/// The entries with that many windows.
#[inline(always)]
fn gather_many<const R: usize, const C: usize, L: Level>(
    level: L,
    rows: [&[u8]; R],
    list: &List,
    windows: usize,
    out: &mut [[&mut [Bytes]; C]; R],
) {
    let (weights, starts) = (list.weights.as_chunks::<C>().0, list.starts.chunks_exact(windows));
    let places = list.places.as_chunks::<C>().0.chunks_exact(windows);
    for (((&at, weights), starts), places) in list.at.iter().zip(weights).zip(starts).zip(places) {
        let mut pairs = [[level.word(0); C]; R];
        for (&starts, places) in starts.iter().zip(places) {
            for r in 0..R {
                let more = window(level, rows[r], starts, places);
                for c in 0..C {
                    pairs[r][c] = level.or(pairs[r][c], more[c]);
                }
            }
        }
        finish(level, pairs, weights, at, out);
    }
}

/// The pairs of one entry to what lies between them.
#[inline(always)]
fn finish<const R: usize, const C: usize, L: Level>(
    level: L,
    pairs: [[L::V; C]; R],
    weights: &[Bytes; C],
    at: u32,
    out: &mut [[&mut [Bytes]; C]; R],
) {
    for c in 0..C {
        let mut weights = level.load(&weights[c]);
        if R > 1 {
            weights = level.kept(weights);
        }
        for r in 0..R {
            out[r][c][at as usize] = level.store(level.mix(pairs[r][c], weights));
        }
    }
}

/// What the places of each channel say of one window for each group.
#[inline(always)]
fn window<const C: usize, L: Level>(level: L, row: &[u8], [a, b]: [u32; 2], places: &[Bytes; C]) -> [L::V; C] {
    let bytes = level.halves(sixteen(row, a as usize), sixteen(row, b as usize));
    let mut found = [bytes; C];
    for c in 0..C {
        found[c] = level.shuffle(bytes, level.load(&places[c]));
    }
    found
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

/// A resampled row alone, as [`blend`] has it with all the weight.
#[inline(always)]
fn settle<L: Level>(level: L, row: &[Bytes], out: &mut [Bytes]) {
    let (one, two) = (level.word(ONE), level.word(2));
    for (out, row) in out.iter_mut().zip(row.as_chunks::<2>().0) {
        let (a, b) = (level.high(level.load(&row[0]), one), level.high(level.load(&row[1]), one));
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
