//! What moved: a verdict and boxes. Pure.
//!
//! A frame is shrunk to a plane of luma cells (about 160 along its long side); averaging a cell's pixels takes away most of
//! the sensor's noise. Each cell keeps three memories of itself:
//!
//! - the **previous** frame, which tells at once that something left or came;
//! - a **short** mean (half a second), which sees what moves too slowly to show from frame to frame, and forgets what
//!   stands still after a second or so: a person who stays stops being motion (the track stays, by other means);
//! - a **long** mean (several seconds), the background. What looks like the background is not an object, though it may
//!   differ from the short mean: that is the ghost of something that was there a moment ago.
//!
//! A cell moved when it differs from the previous frame, or from both means. What counts as different follows the noise:
//! a running estimate for each cell (leaves in the wind grow quiet after some seconds) and one for each whole frame (a
//! camera that turns up its gain at night). All memories fade in stream time, not in frames.
//!
//! Light: before anything is compared, a gain and an offset that carry most cells of the previous frame into this one are
//! fitted (trimmed, from a median start) and applied to all memories, so that automatic exposure is not
//! motion. When most of the plane jumped in one direction, the verdict is [`Kind::Flash`]: the memories are carried over,
//! cells that gain and offset do not explain start anew, and the next frame is compared as ever.
//!
//! Rain and snow: streaks are many and small, and each is somewhere else in every frame. While such newcomers keep coming
//! ([`Settings::weather`]), what is small has to stay, that is to overlap what moved in the frame before, for some frames
//! ([`Settings::weather_frames`]) before it counts; what is much larger than they counts at once, and so does everything in
//! dry weather.

use crate::frame::{Channel, Frame, Luma, MonoNs, Range, Rows};
use crate::geom::{Box2, FramePx, Size};

/// Thresholds and time constants. Luma is 0..=255, the mean over a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Cells along the frame's long side, at most; at least 32. Default 160.
    pub cells: u32,
    /// A cell must differ by at least this much luma. Default 6.
    pub min_delta: f32,
    /// ...and by this many standard deviations of its noise. Default 5.
    pub noise_factor: f32,
    /// Time constant of the short mean: how soon what stands still stops being motion (after two or three of these).
    /// Default 500 ms.
    pub settle_ms: u64,
    /// Time constant of the background. Default 8000 ms.
    pub absorb_ms: u64,
    /// Time constant of a cell's noise estimate. Default 4000 ms.
    pub noise_ms: u64,
    /// Fewer cells than this are no box. Default 3.
    pub min_cells: u32,
    /// It rains (or snows) when so many small clusters a frame, in the mean over [`Settings::noise_ms`], lie where nothing moved
    /// in the frame before. Default 0.7: one who walks leaves fewer.
    pub weather: f32,
    /// Then a small cluster counts when it has moved on, overlapping itself, for this many frames; a streak comes and goes,
    /// which makes two, and two streaks in one place make three. Default 4; up to twice that in a downpour.
    pub weather_frames: u32,
    /// A cluster is small below this many times the mean size of those newcomers. Default 4.
    pub weather_size: f32,
    /// A jump of the light has at least this share of the plane. Default 0.5.
    pub flash_share: f32,
    /// When this share of the plane moved, and not by light, the camera was turned and everything starts anew. Default 0.6.
    pub scene_share: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cells: 160,
            min_delta: 6.0,
            noise_factor: 5.0,
            settle_ms: 500,
            absorb_ms: 8000,
            noise_ms: 4000,
            min_cells: 3,
            weather: 0.7,
            weather_frames: 4,
            weather_size: 4.0,
            flash_share: 0.5,
            scene_share: 0.6,
        }
    }
}

/// The most boxes a verdict holds.
pub const MAX_BOXES: usize = 16;

/// A small picture of luma, and what part of the frame each of its cells stands for.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    frame: Size,
    cols: usize,
    rows: usize,
    /// Frame pixels per cell.
    scale: (f32, f32),
    luma: Vec<f32>,
    /// Sums of one row of cells, and the weight of each of its bytes.
    sums: Vec<u16>,
    weights: Vec<u16>,
}

/// Rows in memory. The last one may end with its last pixel.
struct Lying<'a> {
    data: &'a [u8],
    stride: usize,
}

impl Rows for Lying<'_> {
    fn rows(&mut self, first: usize, count: usize) -> Option<&[u8]> {
        let rest = self.data.get(first * self.stride..)?;
        Some(&rest[..rest.len().min(count * self.stride)])
    }
}

/// The largest cell side for which the sums below cannot overflow.
const MAX_CELL: u32 = 256;
/// The most rows summed for one row of cells, for the same reason.
const MAX_ROWS: usize = 64;

impl Plane {
    /// Shrinks a frame to at most `cells` cells along its long side.
    pub fn set_frame(&mut self, frame: &Frame, cells: u32) {
        let size = frame.size();
        match frame.luma() {
            Some(luma) => {
                self.set_luma(luma, size, cells);
            }
            None => {
                let [Channel { data, stride, .. }, ..] = frame.channels();
                // BT.601 luma in 256ths.
                self.shrink(&mut Lying { data, stride }, stride, size, size, cells, &[77, 150, 29]);
            }
        }
    }

    /// Shrinks luma that stands for a frame of size `frame`: the Y of a camera's YUYV or NV12, or a JPEG's, maybe decoded at
    /// a fraction of its size. Shorter data than that is no plane: false, and everything stays as it was.
    pub fn set_luma(&mut self, luma: Luma<'_>, frame: Size, cells: u32) -> bool {
        let Luma { channel: Channel { data, size, stride, step }, range } = luma;
        let weights: &[u16] = match step {
            1 => &[256],
            2 => &[256, 0],
            _ => return false,
        };
        let (row, height) = ((size.width as usize * step).saturating_sub(step - 1), size.height as usize);
        let needed = stride.checked_mul(height.saturating_sub(1)).and_then(|n| n.checked_add(row));
        if stride < row || needed.is_none_or(|n| data.len() < n) {
            return false;
        }
        self.shrink(&mut Lying { data, stride }, stride, size, frame, cells, weights);
        self.stretch(range);
        true
    }

    /// Shrinks a plane of luma of size `frame`, a byte a pixel, that is fetched row by row. Rows that cannot be had are no plane: false, and
    /// nothing is left of the one before.
    pub fn set_rows(&mut self, rows: &mut impl Rows, frame: Size, range: Range, cells: u32) -> bool {
        let is_whole = self.shrink(rows, frame.width as usize, frame, frame, cells, &[256]);
        self.stretch(range);
        is_whole
    }

    /// So that a difference means the same whatever the camera calls black and white.
    fn stretch(&mut self, range: Range) {
        if range == Range::Limited {
            self.luma.iter_mut().for_each(|v| *v = ((*v - 16.0) * (255.0 / 219.0)).clamp(0.0, 255.0));
        }
    }

    /// Box average. `weights` holds one weight for each byte of a pixel, 256 in all; of a row's last pixel only those bytes that weigh
    /// something need be there.
    fn shrink(
        &mut self,
        rows: &mut impl Rows,
        stride: usize,
        size: Size,
        frame: Size,
        cells: u32,
        weights: &[u16],
    ) -> bool {
        let cell = size.long_side().div_ceil(cells.max(32)).clamp(1, MAX_CELL) as usize;
        let (width, height) = (size.width as usize, size.height as usize);
        self.luma.clear();
        self.frame = frame;
        (self.cols, self.rows) = (width.div_ceil(cell), height.div_ceil(cell));
        if size.pixels() == 0 || frame.pixels() == 0 {
            (self.cols, self.rows) = (0, 0);
            return true;
        }
        let per_pixel = |of: u32, to: u32| cell as f32 * to as f32 / of as f32;
        self.scale = (per_pixel(size.width, frame.width), per_pixel(size.height, frame.height));
        // Half the rows of a large cell tell its mean nearly as well, for half the memory traffic.
        let step = if cell >= 4 { 2 } else { 1 }.max(cell.div_ceil(MAX_ROWS));
        let weightless = weights.iter().rev().take_while(|w| **w == 0).count();
        let bytes = width * weights.len() - weightless;
        self.sums.resize(bytes, 0);
        if self.weights.len() != cell * weights.len() || !self.weights.starts_with(weights) {
            self.weights.clear();
            self.weights.extend(weights.iter().cycle().take(cell * weights.len()));
        }
        for top in (0..height).step_by(cell) {
            let Some(band) = rows.rows(top, cell.min(height - top)) else {
                (self.cols, self.rows) = (0, 0);
                self.luma.clear();
                return false;
            };
            if cell == 1 && weights == [256] {
                // A picture of the right size, as JPEGs have it in their block means.
                self.luma.extend(band[..width].iter().map(|v| f32::from(*v)));
                continue;
            }
            self.sums.fill(0);
            let mut summed = 0_u32;
            for row in band.chunks(stride).step_by(step) {
                // Columns first: this loop is a plain vector addition, which the compiler makes wide.
                for (sum, byte) in self.sums.iter_mut().zip(&row[..bytes]) {
                    *sum += u16::from(*byte);
                }
                summed += 1;
            }
            for chunk in self.sums.chunks(cell * weights.len()) {
                let total: u32 = chunk.iter().zip(&self.weights).map(|(s, w)| u32::from(*s) * u32::from(*w)).sum();
                let pixels = chunk.len().div_ceil(weights.len()) as u32 * summed;
                self.luma.push(total as f32 / (256 * pixels) as f32);
            }
        }
        true
    }

    /// Columns and rows of cells.
    pub fn cells(&self) -> (usize, usize) {
        (self.cols, self.rows)
    }

    /// The luma of each cell, row after row, 0..=255.
    pub fn luma(&self) -> &[f32] {
        &self.luma
    }

    fn same_shape(&self, other: &Self) -> bool {
        (self.frame, self.cols, self.rows) == (other.frame, other.cols, other.rows)
    }
}

/// What kind of frame it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing to compare with: the first frame, another size, or nearly everything differs (the camera was turned).
    First,
    /// Nothing moved.
    Still,
    /// Something moved.
    Moving,
    /// The light changed at once over most of the frame. Boxes, if any, are what gain and offset do not explain.
    Flash,
}

/// What moved in one frame.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// What kind of frame it was.
    pub kind: Kind,
    /// Where, in frame pixels and inside the frame, biggest first, at most [`MAX_BOXES`].
    pub boxes: &'a [Box2<FramePx>],
    /// Share of the plane that moved, 0..=1; 1 for [`Kind::First`].
    pub share: f32,
}

/// What the cells remember: a list for each memory, so that a step over all of them is a plain vector operation, which the compiler
/// makes wide.
#[derive(Debug, Default)]
struct Memories {
    previous: Vec<f32>,
    short: Vec<f32>,
    long: Vec<f32>,
    /// Standard deviation around the short mean.
    noise: Vec<f32>,
}

impl Memories {
    fn len(&self) -> usize {
        self.previous.len()
    }

    /// Knows only this picture.
    fn start(&mut self, luma: &[f32]) {
        for list in [&mut self.previous, &mut self.short, &mut self.long] {
            list.clear();
            list.extend_from_slice(luma);
        }
        self.noise.clear();
        self.noise.resize(luma.len(), 1.0);
    }

    /// As they would be if the light had always been as it is now.
    fn carry(&mut self, light: Light) {
        for list in [&mut self.previous, &mut self.short, &mut self.long] {
            list.iter_mut().for_each(|v| *v = light.carry(*v));
        }
    }

    /// `now` becomes the previous frame and takes its share of the means.
    fn take_in(&mut self, now: &[f32], mask: &[u8], dt_ms: f32, s: &Settings) {
        let (short, long, noise) = (step(dt_ms, s.settle_ms), step(dt_ms, s.absorb_ms), step(dt_ms, s.noise_ms));
        // What passes by should not rub off on the background.
        let passing = long / 4.0;
        let memories = self.short.iter_mut().zip(&mut self.long).zip(&mut self.noise);
        for (((s, l), n), (&v, &mask)) in memories.zip(now.iter().zip(mask)) {
            let off = v - *s;
            // Mean absolute deviation to standard deviation; what is far out counts little, so that one passer-by
            // does not deafen the cell.
            let most = 2.0 * *n + 1.0;
            let deviation = off.abs() * MEAN_TO_SD;
            let deviation = if deviation < most { deviation } else { most };
            let new = *n + noise * (deviation - *n);
            *n = if new < MAX_NOISE { new } else { MAX_NOISE };
            *s += short * off;
            *l += if mask == 0 { long } else { passing } * (v - *l);
        }
        self.previous.copy_from_slice(now);
    }
}

/// How the light changed: `now = gain * (then - pivot) + pivot + offset`.
#[derive(Clone, Copy, Debug)]
struct Light {
    gain: f32,
    offset: f32,
    pivot: f32,
    /// Standard deviation of what is left over, for a single frame.
    noise: f32,
}

impl Light {
    fn carry(&self, then: f32) -> f32 {
        (self.gain * (then - self.pivot) + self.pivot + self.offset).clamp(0.0, 255.0)
    }
}

/// Watches one camera.
pub struct Motion {
    settings: Settings,
    plane: Plane,
    state: Watch,
}

/// Everything but the plane, so that a plane may come from elsewhere.
#[derive(Default)]
struct Watch {
    shape: Plane,
    at: MonoNs,
    cells: Memories,
    boxes: Vec<Box2<FramePx>>,
    // Buffers.
    samples: Vec<(f32, f32)>,
    left_over: Vec<f32>,
    /// Of each cell; and the cells whose mark is not 0, in their order.
    mask: Vec<u8>,
    moved: Vec<u32>,
    queue: Vec<u32>,
    found: Vec<Cluster>,
    weather: Weather,
}

/// What falls from the sky: see the module's beginning.
#[derive(Debug, Default)]
struct Weather {
    /// Small newcomers a frame, and their mean size in cells.
    rate: f32,
    size: f32,
    /// Clusters of the frame before, and for how many frames each has been about.
    before: Vec<(Cluster, u32)>,
    now: Vec<(Cluster, u32)>,
}

/// Nothing that falls from the sky has more cells than this share of the plane, nor is anything of fewer cells than this large.
const MOST_DROP: f32 = 0.005;
const LEAST_LARGE: f32 = 12.0;

impl Weather {
    fn forget(&mut self) {
        self.before.clear();
    }

    /// Learns from the clusters of a frame of `cells` cells, and leaves in `found` those that are not the weather's.
    fn filter(&mut self, found: &mut Vec<Cluster>, cells: usize, dt_ms: f32, s: &Settings) {
        self.now.clear();
        self.now.extend(found.iter().map(|c| {
            let before = self.before.iter().filter(|(b, _)| b.overlaps(c)).map(|(_, frames)| *frames).max();
            (*c, before.unwrap_or_default().saturating_add(1))
        }));
        std::mem::swap(&mut self.before, &mut self.now);
        let share = step(dt_ms, s.noise_ms);
        let drop = |c: &Cluster| c.count as f32 <= (MOST_DROP * cells as f32).max(LEAST_LARGE);
        let (mut count, mut sum) = (0.0, 0.0);
        for (c, frames) in &self.before {
            if *frames == 1 && drop(c) {
                (count, sum) = (count + 1.0, sum + c.count as f32);
            }
        }
        self.rate += share * (count - self.rate);
        if count > 0.0 {
            self.size += share * (sum / count - self.size);
        }
        if self.rate < s.weather {
            return;
        }
        let large = (s.weather_size * self.size).max(LEAST_LARGE);
        // The more there are, the longer a chain of streaks that happen to meet.
        let long = s.weather_frames + ((self.rate / 4.0) as u32).min(s.weather_frames);
        let stays = |(c, frames): &(Cluster, u32)| c.count as f32 > large || *frames >= long;
        found.clear();
        found.extend(self.before.iter().filter(|c| stays(c)).map(|(c, _)| *c));
    }
}

/// Connected cells, edges inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cluster {
    x0: i32,
    y0: i32,
    x1: i32,
    y1: i32,
    count: u32,
}

impl Cluster {
    fn area(&self) -> i64 {
        i64::from(self.x1 - self.x0 + 1) * i64::from(self.y1 - self.y0 + 1)
    }

    fn near(&self, o: &Self) -> bool {
        let gap = 1;
        self.x0 <= o.x1 + gap && o.x0 <= self.x1 + gap && self.y0 <= o.y1 + gap && o.y0 <= self.y1 + gap
    }

    fn overlaps(&self, o: &Self) -> bool {
        self.x0 <= o.x1 && o.x0 <= self.x1 && self.y0 <= o.y1 && o.y0 <= self.y1
    }

    fn join(&self, o: &Self) -> Self {
        Self {
            x0: self.x0.min(o.x0),
            y0: self.y0.min(o.y0),
            x1: self.x1.max(o.x1),
            y1: self.y1.max(o.y1),
            count: self.count + o.count,
        }
    }
}

/// More clusters than this are rain or leaves; the largest are kept.
const MAX_CLUSTERS: usize = 64;
/// Cells looked at to fit the light; the fit does not get better with more.
const LIGHT_SAMPLES: usize = 1024;
/// Noise estimates stop here, so that a cell in which something moved all day does not go blind.
const MAX_NOISE: f32 = 10.0;
/// A change of the light smaller than this (luma) is left to the means.
const MIN_LIGHT: f32 = 0.4;
/// The share of jumping cells that go in the same direction when it is light.
const ONE_DIRECTION: f32 = 0.85;
/// Marks looked at together.
const WIDE: usize = 32;
/// Which of eight marks in a row are looked at, by how many there are behind the first.
const NEIGHBOURS: [u64; 8] = {
    let mut all = [u64::MAX; 8];
    let mut last = 0;
    while last < 7 {
        all[last] = (1 << (8 * (last + 1))) - 1;
        last += 1;
    }
    all
};
/// Marks of the mask.
const MOVED: u8 = 1;
const ALONE: u8 = 2;

impl Motion {
    /// Has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, plane: Plane::default(), state: Watch::default() }
    }

    /// Compares a frame with what came before.
    pub fn look(&mut self, at: MonoNs, frame: &Frame) -> Verdict<'_> {
        self.plane.set_frame(frame, self.settings.cells);
        self.state.look(at, &self.plane, &self.settings)
    }

    /// Compares the luma of a frame of size `frame` that was not decoded; `None` unless the frames before it were seen in the same way.
    pub fn peek(&mut self, at: MonoNs, luma: Luma<'_>, frame: Size) -> Option<Verdict<'_>> {
        if !self.plane.set_luma(luma, frame, self.settings.cells) || !self.state.shape.same_shape(&self.plane) {
            return None;
        }
        Some(self.state.look(at, &self.plane, &self.settings))
    }

    /// The same for luma that is fetched row by row (see [`Plane::set_rows`]).
    pub fn peek_rows(&mut self, at: MonoNs, rows: &mut impl Rows, frame: Size, range: Range) -> Option<Verdict<'_>> {
        if !self.plane.set_rows(rows, frame, range, self.settings.cells) || !self.state.shape.same_shape(&self.plane) {
            return None;
        }
        Some(self.state.look(at, &self.plane, &self.settings))
    }

    /// The same for a plane that was made elsewhere (see [`Plane::set_luma`]).
    pub fn look_plane(&mut self, at: MonoNs, plane: &Plane) -> Verdict<'_> {
        self.state.look(at, plane, &self.settings)
    }
}

/// The share of the way that a mean with time constant `tau_ms` goes in `dt_ms`. Backward Euler instead of 1 - e^-x: as good
/// for small steps, stable for large ones, and exact arithmetic on every machine.
fn step(dt_ms: f32, tau_ms: u64) -> f32 {
    if dt_ms > 0.0 { dt_ms / (dt_ms + tau_ms as f32) } else { 0.0 }
}

fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let mid = values.len() / 2;
    *values.select_nth_unstable_by(mid, f32::total_cmp).1
}

/// Count, and sums of x, y, xx, xy and yy over all cells, x being the luma of `then` and y that of `now`, both less `pivot`; each cell
/// weighs what `weight` says.
fn moments(then: &[f32], now: &[f32], pivot: f32, weight: impl Fn(f32, f32) -> f32) -> [f64; 6] {
    // In so many sums beside each other, which is what a vector holds, and in single precision only as long as it loses nothing.
    const LANES: usize = 8;
    const PIECE: usize = 16 * LANES;
    let mut all = [0.0_f64; 6];
    for (then, now) in then.chunks(PIECE).zip(now.chunks(PIECE)) {
        let mut sums = [[0.0_f32; LANES]; 6];
        let mut add = |lane: usize, x: f32, y: f32| {
            let (x, y) = (x - pivot, y - pivot);
            let k = weight(x, y);
            let (kx, ky) = (k * x, k * y);
            for (sum, of) in sums.iter_mut().zip([k, kx, ky, kx * x, kx * y, ky * y]) {
                sum[lane] += of;
            }
        };
        let (whole, rest) = then.as_chunks::<LANES>();
        let (whole_now, rest_now) = now.as_chunks::<LANES>();
        for (then, now) in whole.iter().zip(whole_now) {
            (0..LANES).for_each(|lane| add(lane, then[lane], now[lane]));
        }
        rest.iter().zip(rest_now).enumerate().for_each(|(lane, (then, now))| add(lane, *then, *now));
        for (all, sums) in all.iter_mut().zip(&sums) {
            *all += f64::from(sums.iter().sum::<f32>());
        }
    }
    all
}

/// From a mean absolute deviation to a standard deviation.
const MEAN_TO_SD: f32 = 1.2533;

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Watch {
    fn look(&mut self, at: MonoNs, plane: &Plane, s: &Settings) -> Verdict<'_> {
        self.boxes.clear();
        if self.cells.len() == 0 || !self.shape.same_shape(plane) {
            return self.start(at, plane);
        }
        let dt_ms = at.0.saturating_sub(self.at.0) as f32 / 1e6;
        self.at = at;
        let light = self.fit_light(&plane.luma);
        let jumped = self.light_jumped(&plane.luma, light, s);
        let pivots = [0.0, light.pivot, 255.0];
        if jumped || pivots.iter().any(|&v| (light.carry(v) - v).abs() > MIN_LIGHT) {
            self.cells.carry(light);
        }
        self.mark(&plane.luma, light.noise, s);
        let (moved, n) = (self.moved.len(), self.cells.len());
        if jumped {
            for &i in &self.moved {
                let i = i as usize;
                (self.cells.short[i], self.cells.long[i]) = (plane.luma[i], plane.luma[i]);
            }
        } else if moved >= 9 && moved as f32 >= s.scene_share * n as f32 {
            return self.start(at, plane);
        }
        self.cells.take_in(&plane.luma, &self.mask, dt_ms, s);
        // Lamps light one side of a room more than the other; what that leaves over is no object.
        let share = moved as f32 / n as f32;
        if !(jumped && share > 0.15) {
            self.cluster(plane, dt_ms, s);
        }
        let kind = match (jumped, self.boxes.is_empty()) {
            (true, _) => Kind::Flash,
            (false, true) => Kind::Still,
            (false, false) => Kind::Moving,
        };
        Verdict { kind, boxes: &self.boxes, share: if kind == Kind::Still { 0.0 } else { share } }
    }

    fn start(&mut self, at: MonoNs, plane: &Plane) -> Verdict<'_> {
        self.at = at;
        self.shape =
            Plane { frame: plane.frame, cols: plane.cols, rows: plane.rows, scale: plane.scale, ..Plane::default() };
        self.weather.forget();
        self.cells.start(&plane.luma);
        Verdict { kind: Kind::First, boxes: &self.boxes, share: 1.0 }
    }

    /// How most cells of the previous frame became those of this one.
    fn fit_light(&mut self, now: &[f32]) -> Light {
        let Self { cells, samples, left_over, shape, .. } = self;
        samples.clear();
        let mut every = cells.len().div_ceil(LIGHT_SAMPLES).max(1);
        // A step that shares a factor with the row length would take all samples from a few columns.
        while common_divisor(every, shape.cols) > 1 {
            every += 1;
        }
        samples.extend(cells.previous.iter().zip(now).step_by(every).map(|(&p, &v)| (p, v)));
        let pivot = samples.iter().map(|p| p.0).sum::<f32>() / samples.len().max(1) as f32;
        left_over.clear();
        left_over.extend(samples.iter().map(|p| p.1 - p.0));
        let shift = median(left_over);
        let mut sd_of = |gain: f32, offset: f32| {
            left_over.clear();
            left_over.extend(samples.iter().map(|p| (p.1 - (gain * (p.0 - pivot) + pivot + offset)).abs()));
            // The median finds the noise among things that moved, but with whole numbers it has steps; the mean of what
            // lies near it has none.
            let limit = 3.0 * median(left_over) + 1.0;
            let (sum, count) = left_over.iter().filter(|v| **v <= limit).fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
            MEAN_TO_SD * sum / f32::max(count, 1.0)
        };
        let plain = sd_of(1.0, shift);
        let (mut gain, mut offset, mut sd) = (1.0_f32, shift, plain);
        for _ in 0..2 {
            // Over all cells: a slow drift of the gain hides deep in the noise of a few.
            let limit = 2.5 * sd + 0.5;
            let [k, sx, sy, sxx, sxy, syy] = moments(&cells.previous, now, pivot, |x, y| {
                // A number, so that leaving a cell out takes no branch.
                if (y - gain * x - offset).abs() <= limit { 1.0 } else { 0.0 }
            });
            let n = k.max(1.0);
            let (var, var_now, both) = (sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n);
            // A plain grey wall knows no gain, nor do two pictures that have nothing in common.
            if k < 8.0 || var < 4.0 * k || both <= 0.0 || both * both < 0.5 * var * var_now {
                break;
            }
            // The ratio of the deviations (reduced major axis), not the least-squares slope: both frames have the same
            // noise, and least squares would take that of the first for a gain below one, frame after frame.
            let slope = (var_now / var).sqrt().clamp(0.2, 5.0);
            // It must stand out of its own uncertainty, or noise would make the memories tremble.
            if (slope - 1.0).abs() * var.sqrt() < 3.0 * f64::from(sd) {
                break;
            }
            (gain, offset) = (slope as f32, ((sy - slope * sx) / k) as f32);
            sd = sd_of(gain, offset);
        }
        // When half the plane changed, what is left over is no noise; a limit keeps that from hiding everything.
        Light { gain, offset, pivot, noise: (sd * std::f32::consts::FRAC_1_SQRT_2).min(MAX_NOISE) }
    }

    /// Whether most of the plane became brighter, or most of it darker, at once.
    fn light_jumped(&self, now: &[f32], light: Light, s: &Settings) -> bool {
        let limit = s.min_delta.max(s.noise_factor * light.noise);
        let count = |by: fn(f32, f32) -> f32| -> u32 {
            self.cells.previous.iter().zip(now).map(|(&then, &v)| u32::from(by(v, then) > limit)).sum()
        };
        let (up, down) = (count(|v, then| v - then), count(|v, then| then - v));
        let jumped = (up + down) as f32;
        jumped >= s.flash_share * self.cells.len() as f32 && up.max(down) as f32 >= ONE_DIRECTION * jumped
    }

    /// Fills the mask and lists what moved.
    fn mark(&mut self, now: &[f32], frame_noise: f32, s: &Settings) {
        let Self { cells, mask, moved, shape, .. } = self;
        mask.resize(now.len(), 0);
        let memories = cells.previous.iter().zip(&cells.short).zip(&cells.long).zip(&cells.noise);
        for (mask, (&v, (((previous, short), long), &noise))) in mask.iter_mut().zip(now.iter().zip(memories)) {
            let noise = s.noise_factor * if noise > frame_noise { noise } else { frame_noise };
            let limit = if noise > s.min_delta { noise } else { s.min_delta };
            // The difference of two frames has the noise of both.
            let jump = noise * std::f32::consts::SQRT_2;
            let jump = if jump > s.min_delta { jump } else { s.min_delta };
            let moved = ((v - previous).abs() > jump) | (((v - short).abs() > limit) & ((v - long).abs() > limit));
            *mask = if moved { MOVED } else { 0 };
        }
        moved.clear();
        for (chunk, marks) in mask.chunks(WIDE).enumerate() {
            // Nearly all of them, on most days.
            if marks.iter().fold(0, |any, m| any | m) != 0 {
                let set = marks.iter().enumerate().filter(|(_, m)| **m != 0);
                moved.extend(set.map(|(i, _)| (chunk * WIDE + i) as u32));
            }
        }
        // A cell alone is noise, wherever there are neighbours to ask.
        let (cols, rows) = (shape.cols, shape.rows);
        let lonely = |mask: &[u8], i: usize| {
            let (x, y) = (i % cols, i / cols);
            let (xs, ys) = (x.saturating_sub(1)..=(x + 1).min(cols - 1), y.saturating_sub(1)..=(y + 1).min(rows - 1));
            ys.flat_map(|y| xs.clone().map(move |x| y * cols + x)).filter(|&k| mask[k] & MOVED != 0).count() < 2
        };
        if cols >= 3 && rows >= 3 {
            for &i in moved.iter() {
                // Swept only when all are marked, so that the order of cells does not matter.
                if lonely(mask, i as usize) {
                    mask[i as usize] |= ALONE;
                }
            }
            moved.retain(|&i| {
                let mark = &mut mask[i as usize];
                if *mark & ALONE != 0 {
                    *mark = 0;
                }
                *mark != 0
            });
        }
    }

    /// Joins moved cells to boxes.
    fn cluster(&mut self, plane: &Plane, dt_ms: f32, s: &Settings) {
        let Self { shape, boxes, mask, moved, queue, found, weather, .. } = self;
        let (cols, rows) = (shape.cols, shape.rows);
        let least = s.min_cells.min((mask.len() as u32).div_ceil(3));
        found.clear();
        // A cell that has been taken is unmarked. Marks are looked at eight at a time, so there are some behind the last.
        let cells = mask.len();
        mask.resize(cells + NEIGHBOURS.len(), 0);
        for &start in moved.iter() {
            if std::mem::take(&mut mask[start as usize]) == 0 {
                continue;
            }
            let at = |i: u32| (i as usize % cols, i as usize / cols);
            let (x, y) = at(start);
            let mut c = Cluster { x0: x as i32, y0: y as i32, x1: x as i32, y1: y as i32, count: 0 };
            queue.push(start);
            while let Some(i) = queue.pop() {
                let (x, y) = at(i);
                c = c.join(&Cluster { x0: x as i32, y0: y as i32, x1: x as i32, y1: y as i32, count: 1 });
                // Two steps: an even jacket moves only at its edges.
                let (left, right) = (x.saturating_sub(2), (x + 2).min(cols - 1));
                let within = NEIGHBOURS[right - left];
                for ny in y.saturating_sub(2)..=(y + 2).min(rows - 1) {
                    let first = ny * cols + left;
                    let Some(marks) = mask[first..].first_chunk_mut() else { continue };
                    let mut set = u64::from_le_bytes(*marks) & within;
                    *marks = (u64::from_le_bytes(*marks) & !within).to_le_bytes();
                    while set != 0 {
                        let byte = set.trailing_zeros() / 8;
                        set &= !(0xff << (8 * byte));
                        queue.push(first as u32 + byte);
                    }
                }
            }
            if c.count >= least {
                found.push(c);
            }
        }
        mask.truncate(cells);
        let order = |c: &Cluster| (std::cmp::Reverse(c.area()), c.y0, c.x0);
        // By all there is to a cluster: only equal ones tie, and a sort that need not keep their order takes no memory.
        found.sort_unstable_by_key(|c| (std::cmp::Reverse(c.count), c.y0, c.x0, c.y1, c.x1));
        found.truncate(MAX_CLUSTERS);
        weather.filter(found, mask.len(), dt_ms, s);
        let mut i = 0;
        while i < found.len() {
            match (i + 1..found.len()).find(|&k| found[i].near(&found[k])) {
                Some(k) => {
                    found[i] = found[i].join(&found[k]);
                    found.swap_remove(k);
                    // The larger one may now reach those that were passed.
                    i = 0;
                }
                None => i += 1,
            }
        }
        found.sort_by_key(order);
        let (sx, sy) = plane.scale;
        boxes.extend(found.iter().take(MAX_BOXES).map(|c| {
            Box2::from_xyxy(c.x0 as f32 * sx, c.y0 as f32 * sy, (c.x1 + 1) as f32 * sx, (c.y1 + 1) as f32 * sy)
                .clip(plane.frame)
        }));
    }
}

#[cfg(test)]
mod tests;
