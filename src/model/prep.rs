//! A part of a frame to a model's input tensor, with the mapping back.
//!
//! One pass: each output row is made of two source rows (bilinear) and goes, normalised, straight into the tensor; no
//! resized picture is stored in between. The arithmetic of the bilinear kernel is the one OpenCV uses for 8-bit pictures,
//! bit for bit (11-bit fixed-point weights, pixel centres aligned, four and then sixteen bits cut off on the way down the
//! columns, see `blend`), because the models' published accuracy and our reference outputs were made with it. One grey level
//! in a tenth of the pixels, which is what exact rounding differs by, moves boxes by a pixel and scores by .02.

use fast_image_resize as fir;
use wide::{bytemuck, f32x4, i16x8, i32x4, i32x8, u8x16};

use super::card::{Anchor, Card, Colour, Fit, Input, InputSize, Layout, Resample};
use crate::frame::Frame;
use crate::geom::{Mapping, Region, Size};

/// What size a dynamic model is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongSide {
    /// What the card says.
    #[default]
    Card,
    /// The longer side of the region becomes this many pixels.
    Pixels(u32),
    /// The region as it is, only padded.
    Native,
}

/// Where the picture lies in the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placement {
    /// The tensor.
    tensor: Size,
    /// The resized picture.
    picture: Size,
    /// Its top-left corner in the tensor.
    offset: (u32, u32),
}

/// A tensor ready for [`super::infer::Infer::run`], and the way back.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// Dimensions in the model's layout, batch of one.
    pub shape: [usize; 4],
    /// Width and height.
    pub input: Size,
    /// The values.
    pub data: &'a [f32],
    /// Tensor pixels to frame pixels.
    pub mapping: Mapping,
}

/// What was put into a place of the tensor, and the way back.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    /// Width and height of the place.
    pub input: Size,
    /// Its pixels to frame pixels.
    pub mapping: Mapping,
}

/// Buffers that are reused from frame to frame.
pub struct Prep {
    layout: Layout,
    colour: Colour,
    size: InputSize,
    fit: Fit,
    resample: Resample,
    /// `value = pixel * gain + bias`, per tensor channel.
    gain: [f32; 3],
    bias: [f32; 3],
    /// Places for one picture after the other, the batch; some more where there was a larger batch before.
    tensor: Vec<f32>,
    /// Width and height of each place.
    input: Size,
    /// What each place's padding was last filled for; while it stays the same, padding is not written again.
    filled: Vec<Option<Placement>>,
    bilinear: Bilinear,
    shrinker: fir::Resizer,
    shrunk: Vec<u8>,
}

impl Prep {
    /// For models with that card.
    pub fn new(card: &Card) -> Self {
        Self::from_input(&card.input)
    }

    /// For the `[input]` section of a card.
    pub fn from_input(input: &Input) -> Self {
        Self {
            layout: input.layout,
            colour: input.colour,
            size: input.size,
            fit: input.fit,
            resample: input.resample,
            gain: std::array::from_fn(|c| input.scale / input.std[c]),
            bias: std::array::from_fn(|c| -input.mean[c] / input.std[c]),
            tensor: Vec::new(),
            input: Size::default(),
            filled: Vec::new(),
            bilinear: Bilinear::default(),
            shrinker: fir::Resizer::new(),
            shrunk: Vec::new(),
        }
    }

    fn place(&self, region: Size, long_side: LongSide) -> Placement {
        match (self.size, self.fit) {
            (InputSize::Fixed([w, h]), Fit::Letterbox(l)) => {
                let tensor = Size::new(w, h);
                let picture = fit_inside(region, tensor);
                let offset = match l.anchor {
                    Anchor::TopLeft => (0, 0),
                    Anchor::Center => ((w - picture.width) / 2, (h - picture.height) / 2),
                };
                Placement { tensor, picture, offset }
            }
            (InputSize::Fixed([w, h]), Fit::Stretch | Fit::Align) => {
                let tensor = Size::new(w, h);
                Placement { tensor, picture: tensor, offset: (0, 0) }
            }
            (InputSize::Dynamic(d), fit) => {
                let picture = match long_side {
                    LongSide::Native => region,
                    LongSide::Card => scale_long_side(region, d.long_side),
                    LongSide::Pixels(n) => scale_long_side(region, n.clamp(1, 8192)),
                };
                let up = |v: u32| v.div_ceil(d.multiple) * d.multiple;
                let tensor = Size::new(up(picture.width), up(picture.height));
                let offset = match fit {
                    Fit::Letterbox(l) if l.anchor == Anchor::Center => {
                        ((tensor.width - picture.width) / 2, (tensor.height - picture.height) / 2)
                    }
                    _ => (0, 0),
                };
                Placement { tensor, picture, offset }
            }
        }
    }

    /// Makes the tensor for one region of a frame. The region must lie inside the frame (it is cut to it).
    pub fn prepare(&mut self, frame: &Frame, region: Region, long_side: LongSide) -> Prepared<'_> {
        let Put { input, mapping } = self.put(0, frame, region, long_side);
        let (shape, data) = self.batch(1);
        Prepared { shape, input, data, mapping }
    }

    /// Width and height of the tensor for that region: only regions with the same go into one batch.
    pub fn input_size(&self, frame: &Frame, region: Region, long_side: LongSide) -> Size {
        self.place(cut(region, frame.size()).size, long_side).tensor
    }

    /// Makes one place of a batch's tensor, `at` from 0, as [`Prep::prepare`] does the only one. The places before it must have been
    /// put with the same [`Prep::input_size`]: another one begins a new batch, and what the other places hold is lost.
    pub fn put(&mut self, at: usize, frame: &Frame, region: Region, long_side: LongSide) -> Put {
        let region = cut(region, frame.size());
        let placement = self.place(region.size, long_side);
        let place = self.fill_padding(at, placement);
        let picture = placement.picture;
        let shrinks = picture.width < region.size.width || picture.height < region.size.height;
        let source = Source { rgb: frame.rgb(), stride: frame.size().width as usize * 3, region };
        let shrunk = self.resample == Resample::Area && shrinks && self.shrink(frame, region, picture);
        let target = Target {
            placement,
            layout: self.layout,
            swap: self.colour == Colour::Bgr,
            gain: self.gain,
            bias: self.bias,
            tensor: &mut self.tensor[place],
        };
        if shrunk {
            let region = Region::whole(picture);
            self.bilinear.run(Source { rgb: &self.shrunk, stride: picture.width as usize * 3, region }, target);
        } else {
            self.bilinear.run(source, target);
        }
        let scale =
            (region.size.width as f32 / picture.width as f32, region.size.height as f32 / picture.height as f32);
        let offset = (
            region.x as f32 - placement.offset.0 as f32 * scale.0,
            region.y as f32 - placement.offset.1 as f32 * scale.1,
        );
        Put { input: placement.tensor, mapping: Mapping::new(scale, offset) }
    }

    /// Fills the places from `from` on up to `count` with the picture before them: a graph that wants more pictures than there are gets
    /// the last one again. Not zeros, because a graph that quantises by the range of its whole input would see another range.
    pub fn pad(&mut self, from: usize, count: usize) {
        let len = self.input.pixels() * 3;
        let Some(last) = from.checked_sub(1).filter(|_| from < count) else { return };
        self.reach(count);
        for at in from..count {
            self.tensor.copy_within(last * len..from * len, at * len);
            self.filled[at] = self.filled[last];
        }
    }

    /// Shape and values of the first `count` places, which must have been put or padded.
    pub fn batch(&self, count: usize) -> ([usize; 4], &[f32]) {
        let (w, h) = (self.input.width as usize, self.input.height as usize);
        let shape = match self.layout {
            Layout::Nchw => [count, 3, h, w],
            Layout::Nhwc => [count, h, w, 3],
        };
        (shape, &self.tensor[..count * w * h * 3])
    }

    /// Makes room for `count` places.
    fn reach(&mut self, count: usize) {
        let len = count * self.input.pixels() * 3;
        if self.tensor.len() < len {
            self.tensor.resize(len, 0.0);
        }
        if self.filled.len() < count {
            self.filled.resize(count, None);
        }
    }

    /// Where place `at` lies, its padding written.
    fn fill_padding(&mut self, at: usize, placement: Placement) -> std::ops::Range<usize> {
        if self.input != placement.tensor {
            // The places lie elsewhere now.
            self.input = placement.tensor;
            self.filled.clear();
        }
        self.reach(at + 1);
        let plane = placement.tensor.pixels();
        let place = at * plane * 3..(at + 1) * plane * 3;
        if self.filled[at] == Some(placement) {
            return place;
        }
        if let Fit::Letterbox(l) = self.fit {
            let fill: [f32; 3] = std::array::from_fn(|c| l.letterbox * self.gain[c] + self.bias[c]);
            let tensor = &mut self.tensor[place.clone()];
            match self.layout {
                Layout::Nchw => {
                    for (c, values) in tensor.chunks_exact_mut(plane.max(1)).enumerate() {
                        values.fill(fill[c]);
                    }
                }
                Layout::Nhwc => tensor.chunks_exact_mut(3).for_each(|p| p.copy_from_slice(&fill)),
            }
        }
        self.filled[at] = Some(placement);
        place
    }

    /// Antialiased shrinking into `self.shrunk`. False when the library refuses, which it does for no valid region.
    fn shrink(&mut self, frame: &Frame, region: Region, picture: Size) -> bool {
        // Typed views: the call that finds out the pixel type at run time compiles the library for all sixteen of them.
        let Size { width, height } = frame.size();
        let Ok(source) = fir::images::TypedImageRef::<fir::pixels::U8x3>::from_buffer(width, height, frame.rgb())
        else {
            return false;
        };
        self.shrunk.resize(picture.pixels() * 3, 0);
        let Ok(mut target) =
            fir::images::TypedImage::<fir::pixels::U8x3>::from_buffer(picture.width, picture.height, &mut self.shrunk)
        else {
            return false;
        };
        let options = fir::ResizeOptions::new()
            .crop(region.x.into(), region.y.into(), region.size.width.into(), region.size.height.into())
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
            .use_alpha(false);
        self.shrinker.resize_typed(&source, &mut target, &options).is_ok()
    }
}

/// The part of the region that lies in the frame; at least one pixel of it.
fn cut(region: Region, frame: Size) -> Region {
    let x = region.x.min(frame.width.saturating_sub(1));
    let y = region.y.min(frame.height.saturating_sub(1));
    let size = Size::new(
        region.size.width.clamp(1, (frame.width - x).max(1)),
        region.size.height.clamp(1, (frame.height - y).max(1)),
    );
    Region { x, y, size }
}

fn scale_long_side(size: Size, long_side: u32) -> Size {
    let r = long_side as f32 / size.long_side().max(1) as f32;
    let side = |v: u32| ((v as f32 * r).round() as u32).max(1);
    Size::new(side(size.width), side(size.height))
}

fn fit_inside(size: Size, tensor: Size) -> Size {
    let r = (tensor.width as f32 / size.width.max(1) as f32).min(tensor.height as f32 / size.height.max(1) as f32);
    let side = |v: u32, max: u32| ((v as f32 * r).round() as u32).clamp(1, max);
    Size::new(side(size.width, tensor.width), side(size.height, tensor.height))
}

struct Source<'a> {
    rgb: &'a [u8],
    stride: usize,
    region: Region,
}

impl Source<'_> {
    /// Where a row of the region begins.
    fn start(&self, row: u32) -> usize {
        (self.region.y + row) as usize * self.stride + self.region.x as usize * 3
    }
}

struct Target<'a> {
    placement: Placement,
    layout: Layout,
    swap: bool,
    gain: [f32; 3],
    bias: [f32; 3],
    tensor: &'a mut [f32],
}

/// Two neighbouring source positions and the weight of the second, in 1/2048.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tap {
    first: u32,
    second: u32,
    weight: i32,
}

/// 1.0 in fixed point.
const ONE: i32 = 2048;

/// Where each target pixel is sampled. Beyond the first and the last pixel there is only that pixel: with `edge` its two
/// taps keep their weights, otherwise one has all. The sum is the same, [`blend`]'s rounding is not, and OpenCV does the
/// former for rows and the latter for columns.
fn taps(source: u32, target: u32, edge: bool, out: &mut Vec<Tap>) {
    out.clear();
    let scale = f64::from(source) / f64::from(target);
    let last = source - 1;
    out.extend((0..target).map(|i| {
        let at = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
        let floor = at.floor();
        let fraction = at - floor;
        let weight = (fraction * ONE as f32).round_ties_even() as i32;
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

/// The bilinear kernel's tables and row buffers.
///
/// A row holds four 16-bit values for each pixel: R, G, B and one that nobody reads, so that a pixel is half a vector. What
/// [`blend`] uses of a horizontally resampled value, all but its last four bits, fits (255 * 2048 / 16).
#[derive(Default)]
struct Bilinear {
    columns: Vec<Tap>,
    /// Of each column, as [`horizontal`] multiplies: w0, w1 for R, for G, for B, and twice 0.
    weights: Vec<i16x8>,
    rows: Vec<Tap>,
    sizes: Option<(Size, Size)>,
    /// Two horizontally resampled source rows, in 1/128; which source row each holds.
    upper: Vec<i16x8>,
    lower: Vec<i16x8>,
    held: [Option<u32>; 2],
    /// One output row.
    blended: Vec<i16x8>,
}

impl Bilinear {
    fn run(&mut self, source: Source<'_>, target: Target<'_>) {
        let (from, to) = (source.region.size, target.placement.picture);
        let width = to.width as usize;
        if self.sizes != Some((from, to)) {
            taps(from.width, to.width, false, &mut self.columns);
            taps(from.height, to.height, true, &mut self.rows);
            // Two pixels at a time.
            self.columns.extend((width % 2 == 1).then(|| self.columns[width - 1]));
            self.weights.clear();
            self.weights.extend(self.columns.iter().map(|tap| {
                let (w0, w1) = ((ONE - tap.weight) as i16, tap.weight as i16);
                i16x8::new([w0, w1, w0, w1, w0, w1, 0, 0])
            }));
            for row in [&mut self.upper, &mut self.lower, &mut self.blended] {
                row.resize(self.columns.len() / 2, i16x8::ZERO);
            }
            self.sizes = Some((from, to));
        }
        self.held = [None, None];
        let Target { placement, layout, swap, gain, bias, tensor } = target;
        let (tensor_width, plane) = (placement.tensor.width as usize, placement.tensor.pixels());
        let at = |y: usize| (y + placement.offset.1 as usize) * tensor_width + placement.offset.0 as usize;
        let out = Out { layout, order: if swap { [2, 1, 0] } else { [0, 1, 2] }, gain, bias, plane };
        if from == to {
            for y in 0..to.height {
                widen(&source.rgb[source.start(y)..], &mut self.blended);
                out.write(tensor, at(y as usize), width, &self.blended);
            }
            return;
        }
        for (y, tap) in self.rows.iter().enumerate() {
            // Growing pictures use the same source rows for several output rows: keep them, and let the lower become
            // the upper when the window moves on by one.
            if self.held[0] != Some(tap.first) {
                if self.held[1] == Some(tap.first) {
                    std::mem::swap(&mut self.upper, &mut self.lower);
                    self.held.swap(0, 1);
                } else {
                    horizontal(&source, tap.first, &self.columns, &self.weights, &mut self.upper);
                    self.held[0] = Some(tap.first);
                }
            }
            let two = tap.weight != 0 && tap.second != tap.first;
            if two && self.held[1] != Some(tap.second) {
                horizontal(&source, tap.second, &self.columns, &self.weights, &mut self.lower);
                self.held[1] = Some(tap.second);
            }
            let below = if two { &self.lower } else { &self.upper };
            blend(&self.upper, below, tap.weight as i16, &mut self.blended);
            out.write(tensor, at(y), width, &self.blended);
        }
    }
}

/// How values get into a tensor.
struct Out {
    layout: Layout,
    /// Which channel of the tensor R, G and B are.
    order: [usize; 3],
    gain: [f32; 3],
    bias: [f32; 3],
    /// Values of a channel.
    plane: usize,
}

impl Out {
    /// One row, normalised, from pixel `start` of the tensor.
    fn write(&self, tensor: &mut [f32], start: usize, width: usize, row: &[i16x8]) {
        let Self { layout, order, gain, bias, plane } = *self;
        let four = |of: [f32; 3]| f32x4::new([of[order[0]], of[order[1]], of[order[2]], 0.0]);
        let (gain, bias) = (four(gain), four(bias));
        let normalised = |pair: i16x8| {
            let [one, two]: [i32x4; 2] = bytemuck::cast(i32x8::from_i16x8(pair));
            [one, two].map(|pixel| f32x4::from_i32x4(pixel) * gain + bias)
        };
        match layout {
            Layout::Nchw => {
                let (one, rest) = tensor.split_at_mut(plane);
                let (two, three) = rest.split_at_mut(plane);
                let mut channels = [one, two, three].map(|channel| &mut channel[start..][..width]);
                if order[0] == 2 {
                    channels.swap(0, 2);
                }
                for (i, pairs) in row.chunks(2).enumerate() {
                    let [p, q] = normalised(pairs[0]);
                    let [r, s] = normalised(pairs.get(1).copied().unwrap_or_default());
                    let [red, green, blue, _] = f32x4::transpose([p, q, r, s]);
                    for (channel, values) in channels.iter_mut().zip([red, green, blue]) {
                        let values = values.to_array();
                        match channel.get_mut(i * 4..i * 4 + 4) {
                            Some(all) => all.copy_from_slice(&values),
                            None => channel[i * 4..].iter_mut().zip(values).for_each(|(c, v)| *c = v),
                        }
                    }
                }
            }
            Layout::Nhwc => {
                let pixels = row.iter().flat_map(|&pair| normalised(pair));
                for (values, pixel) in tensor[start * 3..][..width * 3].chunks_exact_mut(3).zip(pixels) {
                    for (value, c) in pixel.to_array().into_iter().zip(order) {
                        values[c] = value;
                    }
                }
            }
        }
    }
}

/// Two horizontally resampled rows, the lower with weight `w1` in 1/2048, to one of 8-bit values.
fn blend(upper: &[i16x8], lower: &[i16x8], w1: i16, out: &mut [i16x8]) {
    let (w0, w1) = (i16x8::splat(ONE as i16 - w1), i16x8::splat(w1));
    for ((o, &u), &l) in out.iter_mut().zip(upper).zip(lower) {
        *o = (u.mul_keep_high(w0) + l.mul_keep_high(w1) + i16x8::splat(2)) >> 2;
    }
}

/// One source row resampled to the output width, in 1/128.
fn horizontal(source: &Source<'_>, row: u32, columns: &[Tap], weights: &[i16x8], out: &mut [i16x8]) {
    let line = &source.rgb[source.start(row)..];
    let pixel = |tap: &Tap, &weights: &i16x8| {
        // Behind a row's last pixel there may be anything: its weight is 0.
        let (here, next) = pixels_at(line, tap.first as usize);
        i16x8::from_u8x16_low(u8x16::unpack_low(here, next)).dot(weights) >> 4
    };
    for ((o, taps), weights) in out.iter_mut().zip(columns.chunks_exact(2)).zip(weights.chunks_exact(2)) {
        let pair = [pixel(&taps[0], &weights[0]), pixel(&taps[1], &weights[1])];
        *o = i16x8::from_i32x8_saturate(bytemuck::cast(pair));
    }
}

/// A row as it is.
fn widen(line: &[u8], out: &mut [i16x8]) {
    for (i, o) in out.iter_mut().enumerate() {
        let (here, next) = pixels_at(line, 2 * i);
        let half = |bytes| bytemuck::cast::<i16x8, [u64; 2]>(i16x8::from_u8x16_low(bytes))[0];
        *o = bytemuck::cast([half(here), half(next)]);
    }
}

/// Sixteen bytes from that pixel on, and from the next; zeros behind the end of the frame.
fn pixels_at(line: &[u8], pixel: usize) -> (u8x16, u8x16) {
    let at = pixel * 3;
    match line.get(at..at + 19) {
        Some(bytes) => (load(bytes), load(&bytes[3..])),
        None => {
            let mut bytes = [0; 19];
            let rest = line.get(at..).unwrap_or_default();
            bytes[..rest.len()].copy_from_slice(rest);
            (load(&bytes), load(&bytes[3..]))
        }
    }
}

/// The first sixteen bytes.
fn load(bytes: &[u8]) -> u8x16 {
    let mut sixteen = [0; 16];
    sixteen.copy_from_slice(&bytes[..16]);
    u8x16::new(sixteen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Stamp;
    use crate::geom::{Box2, ModelPx};

    fn input(size: InputSize, fit: Fit, layout: Layout, colour: Colour) -> Input {
        Input {
            tensor: "x".into(),
            layout,
            size,
            colour,
            fit,
            resample: Resample::Bilinear,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    fn frame(size: Size, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Frame {
        let rgb = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y));
        Frame::from_rgb(Stamp::default(), size, rgb.collect()).expect("length fits")
    }

    #[test]
    fn the_same_size_is_copied_exactly_in_channel_order() {
        let f = frame(Size::new(3, 2), |x, y| [x as u8, y as u8, 9]);
        let card = input(InputSize::Fixed([3, 2]), Fit::Stretch, Layout::Nchw, Colour::Bgr);
        let mut prep = Prep::from_input(&card);
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!(p.shape, [1, 3, 2, 3]);
        assert_eq!(&p.data[..6], [9.0; 6]);
        assert_eq!(&p.data[6..12], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(&p.data[12..], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        let card = input(InputSize::Fixed([3, 2]), Fit::Stretch, Layout::Nhwc, Colour::Rgb);
        let mut prep = Prep::from_input(&card);
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!(p.shape, [1, 2, 3, 3]);
        assert_eq!(&p.data[3..6], [1.0, 0.0, 9.0]);
    }

    #[test]
    fn halving_averages_four_pixels() {
        let f = frame(Size::new(4, 2), |x, y| [(x * 10 + y * 40) as u8; 3]);
        let card = input(InputSize::Fixed([2, 1]), Fit::Stretch, Layout::Nchw, Colour::Rgb);
        let mut prep = Prep::from_input(&card);
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!(&p.data[..2], [25.0, 45.0]);
    }

    #[test]
    fn the_mapping_leads_back_to_the_region() {
        let f = frame(Size::new(1280, 720), |_, _| [0; 3]);
        let region = Region { x: 100, y: 50, size: Size::new(400, 200) };
        let letterbox = Fit::Letterbox(crate::model::card::Letterbox { letterbox: 114.0, anchor: Anchor::Center });
        let card = input(InputSize::Fixed([200, 200]), letterbox, Layout::Nchw, Colour::Rgb);
        let mut prep = Prep::from_input(&card);
        let p = prep.prepare(&f, region, LongSide::Card);
        // 400x200 becomes 200x100, 50 rows of padding above it.
        assert_eq!(p.data[0], 114.0);
        assert_eq!(p.data[60 * 200], 0.0);
        let b = p.mapping.boxed(Box2::<ModelPx>::from_xyxy(0.0, 50.0, 200.0, 150.0));
        assert_eq!((b.x0, b.y0, b.x1, b.y1), (100.0, 50.0, 500.0, 250.0));
    }

    #[test]
    fn a_dynamic_model_is_padded_to_its_multiple() {
        let f = frame(Size::new(1280, 720), |_, _| [7; 3]);
        let size = InputSize::Dynamic(crate::model::card::DynamicSize { long_side: 640, multiple: 32 });
        let fit = Fit::Letterbox(crate::model::card::Letterbox { letterbox: 0.0, anchor: Anchor::TopLeft });
        let mut prep = Prep::from_input(&input(size, fit, Layout::Nchw, Colour::Bgr));
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!((p.input, p.data[0], p.data[359 * 640], p.data[360 * 640]), (Size::new(640, 384), 7.0, 7.0, 0.0));
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Native);
        assert_eq!(p.input, Size::new(1280, 736));
        assert_eq!((p.data[719 * 1280], p.data[720 * 1280]), (7.0, 0.0));
        // And back: the padding must be written anew.
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!((p.data[359 * 640], p.data[360 * 640]), (7.0, 0.0));
    }

    #[test]
    fn the_places_of_a_batch_are_those_pictures_alone() {
        let letterbox = Fit::Letterbox(crate::model::card::Letterbox { letterbox: 114.0, anchor: Anchor::Center });
        let frames = [(64, 48, 10), (30, 60, 20), (50, 50, 30)]
            .map(|(w, h, c)| frame(Size::new(w, h), |x, y| [c + x as u8, c + y as u8, c]));
        let fixed = (InputSize::Fixed([32, 32]), [32, 32]);
        let dynamic = InputSize::Dynamic(crate::model::card::DynamicSize { long_side: 40, multiple: 64 });
        for (layout, (size, [h, w])) in
            [Layout::Nchw, Layout::Nhwc].into_iter().flat_map(|l| [(l, fixed), (l, (dynamic, [64, 64]))])
        {
            let card = input(size, letterbox, layout, Colour::Bgr);
            let mut prep = Prep::from_input(&card);
            let alone = frames.each_ref().map(|f| {
                let mut prep = Prep::from_input(&card);
                prep.prepare(f, Region::whole(f.size()), LongSide::Card).data.to_vec()
            });
            // Three times, so that a place holds the padding of another picture or of the same; between them one of another size, which lies
            // over several places.
            for order in [[0, 1, 2], [2, 1, 0], [1, 1, 0]] {
                for (at, i) in order.into_iter().enumerate() {
                    prep.put(at, &frames[i], Region::whole(frames[i].size()), LongSide::Card);
                }
                prep.pad(3, 5);
                let (shape, data) = prep.batch(5);
                assert_eq!(shape, if layout == Layout::Nchw { [5, 3, h, w] } else { [5, h, w, 3] });
                for (at, i) in order.into_iter().chain([order[2]; 2]).enumerate() {
                    assert!(data[at * h * w * 3..][..h * w * 3] == alone[i], "{layout:?} {size:?} {order:?} {at}");
                }
                prep.prepare(&frames[0], Region::whole(frames[0].size()), LongSide::Pixels(130));
            }
        }
    }

    #[test]
    fn growing_by_two_interpolates_between_centres() {
        let f = frame(Size::new(2, 1), |x, _| [x as u8 * 100; 3]);
        let card = input(InputSize::Fixed([4, 1]), Fit::Stretch, Layout::Nchw, Colour::Rgb);
        let mut prep = Prep::from_input(&card);
        let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
        assert_eq!(&p.data[..4], [0.0, 25.0, 75.0, 100.0]);
    }

    /// Target size, and the sum below over what OpenCV makes of it.
    const OPENCV: [([u32; 2], u64); 6] = [
        ([300, 300], 18427354568),
        ([3, 2], 23643),
        ([13, 4], 1760987),
        ([5, 11], 1980393),
        ([7, 9], 2589664),
        ([64, 5], 66460382),
    ];

    /// What `cv2.resize` (OpenCV 5.0.0) makes of the same pictures; see the module's head.
    #[test]
    fn resizing_equals_opencv_bit_for_bit() {
        let f =
            frame(Size::new(7, 5), |x, y| [(x * 37 + y * 53) as u8, (x * x * 11 + y * 91) as u8, (251 - x * 29) as u8]);
        for (to, sums) in OPENCV {
            let card = input(InputSize::Fixed(to), Fit::Stretch, Layout::Nchw, Colour::Rgb);
            let mut prep = Prep::from_input(&card);
            let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
            // Position-weighted, so that a swap of two values shows.
            let sum: u64 = p.data.iter().enumerate().map(|(i, v)| (i as u64 % 1009 + 1) * *v as u64).sum();
            assert_eq!(sum, sums, "{to:?}");
        }
    }

    #[test]
    fn any_region_is_cut_to_the_frame() {
        let f = frame(Size::new(5, 4), |_, _| [1; 3]);
        let card = input(InputSize::Fixed([7, 9]), Fit::Stretch, Layout::Nchw, Colour::Rgb);
        let mut prep = Prep::from_input(&card);
        for (x, y, w, h) in [(0, 0, 99, 99), (4, 3, 1, 1), (99, 99, 5, 5), (2, 2, 0, 0)] {
            let p = prep.prepare(&f, Region { x, y, size: Size::new(w, h) }, LongSide::Card);
            assert!(p.data.iter().all(|v| *v == 1.0));
        }
    }
}
