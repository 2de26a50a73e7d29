use super::*;

/// Numbers that look random and are the same everywhere.
struct Dice(u64);

impl Dice {
    /// 0 to below that.
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(end)) as u32
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// A region of the frame, small and large ones alike often.
    fn region(&mut self, frame: Size) -> Region {
        let (x, y) = (self.below(frame.width), self.below(frame.height));
        Region { x, y, size: Size::new(1 + self.below(frame.width - x), 1 + self.below(frame.height - y)) }
    }
}

/// A frame and where its channels lie in it: offset, size, stride, step.
struct Sample {
    size: Size,
    bytes: Vec<u8>,
    colours: Colours,
    places: [(usize, Size, usize, usize); 3],
    /// Whether each channel ends with its own last sample, so that none is known to lie in another.
    cut: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Rgb,
    RgbPlanes,
    I420,
    I422,
    I444,
    Yuyv,
    Uyvy,
    Nv12,
    Grey,
}

const KINDS: [Kind; 9] =
    [Kind::Rgb, Kind::RgbPlanes, Kind::I420, Kind::I422, Kind::I444, Kind::Yuyv, Kind::Uyvy, Kind::Nv12, Kind::Grey];

impl Sample {
    /// Of noise, or of a smooth picture. Rows end anywhere, the bytes with the last sample.
    fn new(kind: Kind, size: Size, range: Range, smooth: bool, dice: &mut Dice) -> Self {
        let (w, h) = (size.width as usize, size.height as usize);
        let half = |v: u32| v.div_ceil(2);
        let spare = dice.below(20) as usize;
        let stride = w + spare;
        let (side, quarter) =
            (Size::new(half(size.width), size.height), Size::new(half(size.width), half(size.height)));
        // Planes one after the other.
        let planes = |chroma: Size| {
            let row = chroma.width as usize + spare;
            let luma = stride * h;
            [(0, size, stride, 1), (luma, chroma, row, 1), (luma + row * chroma.height as usize, chroma, row, 1)]
        };
        let packed = w.div_ceil(2) * 4 + spare;
        let places = match kind {
            Kind::Rgb => [0, 1, 2].map(|c| (c, size, w * 3 + spare, 3)),
            Kind::RgbPlanes | Kind::I444 => planes(size),
            Kind::I420 => planes(quarter),
            Kind::I422 => planes(side),
            Kind::Yuyv => [(0, size, packed, 2), (1, side, packed, 4), (3, side, packed, 4)],
            Kind::Uyvy => [(1, size, packed, 2), (0, side, packed, 4), (2, side, packed, 4)],
            Kind::Nv12 => {
                let row = w.div_ceil(2) * 2 + spare;
                [(0, size, stride, 1), (stride * h, quarter, row, 2), (stride * h + 1, quarter, row, 2)]
            }
            Kind::Grey => [(0, size, stride, 1); 3],
        };
        let end = places.iter().map(|p| p.0 + last(p.1, p.2, p.3)).max().unwrap_or(0);
        let mut bytes: Vec<u8> = (0..end).map(|_| dice.byte()).collect();
        if smooth {
            for (c, (at, size, stride, step)) in places.into_iter().enumerate() {
                for y in 0..size.height as usize {
                    for x in 0..size.width as usize {
                        bytes[at + y * stride + x * step] = (60 + c * 40 + x * 2 + y * 3).min(250) as u8;
                    }
                }
            }
        }
        let colours = match kind {
            Kind::Rgb | Kind::RgbPlanes => Colours::Rgb,
            Kind::Grey => Colours::Grey(range),
            _ => Colours::Yuv(range),
        };
        Self { size, bytes, colours, places, cut: dice.below(4) == 0 }
    }

    /// Those that lie in one another end with the last sample of all, as in a frame; unless they are `cut`.
    fn channels(&self) -> [Channel<'_>; 3] {
        self.places.map(|(at, size, stride, step)| {
            let end = if self.cut || step == 1 { at + last(size, stride, step) } else { self.bytes.len() };
            Channel { data: &self.bytes[at..end], size, stride, step }
        })
    }
}

/// Bytes from the first sample to behind the last.
fn last(size: Size, stride: usize, step: usize) -> usize {
    (size.height as usize - 1) * stride + (size.width as usize - 1) * step + 1
}

/// The tensor without normalisation, R, G, B.
fn run(resampler: &mut Resampler, sample: &Sample, region: Region, picture: Size, layout: Layout) -> Vec<f32> {
    let mut tensor = vec![-1.0; picture.pixels() * 3];
    let target = Target {
        tensor: &mut tensor,
        tensor_width: picture.width as usize,
        plane: picture.pixels(),
        offset: (0, 0),
        picture,
        layout,
        swap: false,
        gain: [1.0; 3],
        bias: [0.0; 3],
    };
    resampler.run(&sample.channels(), sample.colours, sample.size, region, target);
    tensor
}

/// Pixels for each sample of a channel.
fn ratio(frame: u32, channel: u32) -> u32 {
    if frame == channel { 1 } else { 2 }
}

/// One value of one channel at the output size, as OpenCV's arithmetic has it, in 32 bits and without a table.
fn fixed(channel: &Channel<'_>, frame: Size, region: Region, picture: Size, at: (u32, u32)) -> u8 {
    let axis = |i: u32, first: u32, from: u32, to: u32, frame: u32, channel: u32, edge: bool| {
        let ratio = ratio(frame, channel);
        let (low, high) = (first / ratio, (first + from - 1) / ratio);
        let scale = f64::from(from) / f64::from(to);
        let at = ((f64::from(i) + 0.5) * scale + f64::from(first % ratio)) / f64::from(ratio) - 0.5;
        let (floor, fraction) = ((at as f32).floor(), at as f32 - (at as f32).floor());
        let weight = (fraction * 2048.0).round_ties_even() as i32;
        let inside = floor >= 0.0 && (floor as u32) < high - low;
        let sample = |v: f32| low + (v.max(0.0) as u32).min(high - low);
        (sample(floor), sample(floor + 1.0), if inside || edge { weight } else { 0 }, inside)
    };
    let (x0, x1, wx, inside) =
        axis(at.0, region.x, region.size.width, picture.width, frame.width, channel.size.width, false);
    let x1 = if inside { x1 } else { x0 };
    let (y0, y1, wy, inside) =
        axis(at.1, region.y, region.size.height, picture.height, frame.height, channel.size.height, true);
    let y1 = if inside { y1 } else { y0 };
    let sample = |x: u32, y: u32| i32::from(channel.data[y as usize * channel.stride + x as usize * channel.step]);
    let row = |y: u32| (sample(x0, y) * (2048 - wx) + sample(x1, y) * wx) >> 4;
    ((((row(y0) * (2048 - wy)) >> 16) + ((row(y1) * wy) >> 16) + 2) >> 2) as u8
}

/// One value of one channel, exactly.
fn exact(channel: &Channel<'_>, frame: Size, region: Region, picture: Size, at: (u32, u32)) -> f64 {
    let axis = |i: u32, first: u32, from: u32, to: u32, frame: u32, channel: u32| {
        let ratio = ratio(frame, channel);
        let (low, high) = (f64::from(first / ratio), f64::from((first + from - 1) / ratio));
        let pixel = f64::from(first) + (f64::from(i) + 0.5) * f64::from(from) / f64::from(to) - 0.5;
        ((pixel + 0.5) / f64::from(ratio) - 0.5).clamp(low, high)
    };
    let x = axis(at.0, region.x, region.size.width, picture.width, frame.width, channel.size.width);
    let y = axis(at.1, region.y, region.size.height, picture.height, frame.height, channel.size.height);
    let sample = |x: f64, y: f64| {
        let (x, y) =
            ((x as usize).min(channel.size.width as usize - 1), (y as usize).min(channel.size.height as usize - 1));
        f64::from(channel.data[y * channel.stride + x * channel.step])
    };
    let row = |y: f64| sample(x.floor(), y) * (1.0 - x.fract()) + sample(x.floor() + 1.0, y) * x.fract();
    row(y.floor()) * (1.0 - y.fract()) + row(y.floor() + 1.0) * y.fract()
}

/// BT.601.
fn formula(colours: Colours, [y, u, v]: [f64; 3]) -> [f64; 3] {
    let (range, u, v) = match colours {
        Colours::Rgb => return [y, u, v],
        Colours::Grey(range) => (range, 128.0, 128.0),
        Colours::Yuv(range) => (range, u, v),
    };
    let (y, u, v) = match range {
        Range::Full => (y, u - 128.0, v - 128.0),
        Range::Limited => ((y - 16.0) * 255.0 / 219.0, (u - 128.0) * 255.0 / 224.0, (v - 128.0) * 255.0 / 224.0),
    };
    [y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u].map(|c| c.clamp(0.0, 255.0))
}

/// Every value of a picture against both references: one level from the formula over OpenCV's arithmetic for each channel, which
/// R, G and B are exactly; and not far from the exact value.
fn check(kind: Kind, range: Range, size: Size, region: Region, picture: Size, smooth: bool, dice: &mut Dice) {
    let sample = Sample::new(kind, size, range, smooth, dice);
    let tensor = run(&mut Resampler::new(), &sample, region, picture, Layout::Nchw);
    let channels = sample.channels();
    let mut sum = 0.0;
    for y in 0..picture.height {
        for x in 0..picture.width {
            let near = channels.map(|c| f64::from(fixed(&c, size, region, picture, (x, y))));
            let near = formula(sample.colours, near);
            let exact = formula(sample.colours, channels.map(|c| exact(&c, size, region, picture, (x, y))));
            for c in 0..3 {
                let ours = f64::from(tensor[c * picture.pixels() + (y * picture.width + x) as usize]);
                let limit = if sample.colours == Colours::Rgb { 0.0 } else { 0.6 };
                let say = || format!("{kind:?} {range:?} {size} {region:?} {picture} {:?}", (x, y, c));
                assert!((ours - near[c]).abs() <= limit, "{ours} not {} {}", near[c], say());
                assert!((ours - exact[c]).abs() <= 4.0, "{ours} far from {} {}", exact[c], say());
                sum += ours - exact[c];
            }
        }
    }
    // A half off in phase would show here.
    let mean = sum / (picture.pixels() * 3) as f64;
    assert!(!smooth || mean.abs() < 1.0, "{kind:?} {range:?} {size:?} {region:?} {picture:?} {mean}");
}

#[test]
fn every_kind_of_frame_is_what_the_formulas_say() {
    let mut dice = Dice(1);
    for round in 0..200 {
        for kind in KINDS {
            let size = Size::new(1 + dice.below(70), 1 + dice.below(50));
            let region = dice.region(size);
            let picture = match round % 4 {
                0 => region.size,
                1 => Size::new(1 + dice.below(9), 1 + dice.below(9)),
                _ => Size::new(1 + dice.below(90), 1 + dice.below(40)),
            };
            let range = if dice.below(2) == 0 { Range::Full } else { Range::Limited };
            check(kind, range, size, region, picture, round % 2 == 0, &mut dice);
        }
    }
}

#[test]
fn single_pixels_and_long_rows() {
    let mut dice = Dice(2);
    for kind in KINDS {
        for (size, region, picture) in [
            (Size::new(1, 1), (0, 0, 1, 1), Size::new(1, 1)),
            (Size::new(1, 1), (0, 0, 1, 1), Size::new(40, 3)),
            (Size::new(9, 7), (8, 6, 1, 1), Size::new(5, 5)),
            (Size::new(9, 7), (7, 5, 1, 1), Size::new(2, 2)),
            (Size::new(9, 7), (1, 1, 8, 6), Size::new(64, 48)),
            (Size::new(4000, 3), (13, 0, 3987, 3), Size::new(61, 2)),
            (Size::new(3, 900), (0, 1, 3, 899), Size::new(4, 33)),
        ] {
            let (x, y, width, height) = region;
            let region = Region { x, y, size: Size::new(width, height) };
            for range in [Range::Full, Range::Limited] {
                check(kind, range, size, region, picture, false, &mut dice);
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    let mut dice = Dice(3);
    let mut levels: Vec<Resampler> = Machine::all().map(Resampler::on).collect();
    for _ in 0..300 {
        for kind in KINDS {
            let size = Size::new(1 + dice.below(300), 1 + dice.below(20));
            let region = dice.region(size);
            let other = Size::new(1 + dice.below(120), 1 + dice.below(20));
            let picture = if dice.below(4) == 0 { region.size } else { other };
            let range = if dice.below(2) == 0 { Range::Full } else { Range::Limited };
            let sample = Sample::new(kind, size, range, false, &mut dice);
            let layout = if dice.below(2) == 0 { Layout::Nchw } else { Layout::Nhwc };
            // A fresh one too: what is kept from other pictures changes nothing.
            let plain = run(&mut Resampler::on(Machine::Plain), &sample, region, picture, layout);
            for level in &mut levels {
                let ours = run(level, &sample, region, picture, layout);
                assert!(ours == plain, "{:?} {kind:?} {size} {region:?} {picture}", level.machine);
            }
        }
    }
}

#[test]
fn channels_that_lie_in_one_another_are_looked_for_once() {
    let mut dice = Dice(6);
    for kind in KINDS {
        let sample = Sample { cut: false, ..Sample::new(kind, Size::new(9, 7), Range::Full, false, &mut dice) };
        let [one, two, three] = sample.channels();
        let all = Woven::of([one, two, three]).map(|woven| woven.behind);
        let others = Woven::of([two, three]).map(|woven| woven.behind);
        let wanted = match kind {
            Kind::Yuyv => (Some([0, 1, 3]), Some([0, 2])),
            Kind::Uyvy => (Some([1, 0, 2]), Some([0, 2])),
            Kind::Nv12 => (None, Some([0, 1])),
            Kind::Rgb => (Some([0, 1, 2]), Some([0, 1])),
            Kind::Grey => (Some([0; 3]), Some([0; 2])),
            Kind::RgbPlanes | Kind::I420 | Kind::I422 | Kind::I444 => (None, None),
        };
        assert_eq!((all, others), wanted, "{kind:?}");
    }
}

#[test]
fn what_is_not_scaled_is_copied() {
    let mut dice = Dice(4);
    let size = Size::new(45, 9);
    let region = Region { x: 3, y: 1, size: Size::new(41, 8) };
    for (kind, range) in [(Kind::Rgb, Range::Full), (Kind::RgbPlanes, Range::Full), (Kind::Grey, Range::Full)] {
        let sample = Sample::new(kind, size, range, false, &mut dice);
        let tensor = run(&mut Resampler::new(), &sample, region, region.size, Layout::Nchw);
        for (c, channel) in sample.channels().into_iter().enumerate() {
            for y in 0..8 {
                for x in 0..41 {
                    let byte = channel.data[(y + 1) * channel.stride + (x + 3) * channel.step];
                    assert_eq!(tensor[(c * 8 + y) * 41 + x], f32::from(byte), "{kind:?}");
                }
            }
        }
    }
}

#[test]
fn the_place_the_order_and_the_scale_are_the_targets() {
    let mut dice = Dice(5);
    let sample = Sample::new(Kind::I420, Size::new(30, 20), Range::Full, false, &mut dice);
    let region = Region { x: 1, y: 2, size: Size::new(27, 17) };
    let picture = Size::new(37, 5);
    let rgb = run(&mut Resampler::new(), &sample, region, picture, Layout::Nchw);
    let (tensor_width, plane, offset) = (40, 40 * 8, (2, 1));
    let (gain, bias) = ([0.5, 0.25, 2.0], [1.0, 2.0, 3.0]);
    for (layout, swap) in [(Layout::Nchw, false), (Layout::Nchw, true), (Layout::Nhwc, false), (Layout::Nhwc, true)] {
        let mut tensor = vec![-7.0; plane * 3];
        let target = Target { tensor: &mut tensor, tensor_width, plane, offset, picture, layout, swap, gain, bias };
        Resampler::new().run(&sample.channels(), sample.colours, sample.size, region, target);
        for c in 0..3 {
            for (x, y) in (0..8).flat_map(|y| (0..40).map(move |x| (x, y))) {
                let pixel = y * tensor_width + x;
                let value = tensor[if layout == Layout::Nchw { c * plane + pixel } else { pixel * 3 + c }];
                let inside = (2..39).contains(&x) && (1..6).contains(&y);
                let wanted = if inside {
                    let from = if swap { 2 - c } else { c };
                    rgb[(from * 5 + y - 1) * 37 + x - 2] * gain[c] + bias[c]
                } else {
                    -7.0
                };
                assert_eq!(value, wanted, "{layout:?} {swap} {:?}", (c, x, y));
            }
        }
    }
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
    let size = Size::new(7, 5);
    let mut bytes = Vec::new();
    for (x, y) in (0..5u32).flat_map(|y| (0..7u32).map(move |x| (x, y))) {
        bytes.extend([(x * 37 + y * 53) as u8, (x * x * 11 + y * 91) as u8, (251 - x * 29) as u8]);
    }
    let sample = Sample { size, bytes, colours: Colours::Rgb, places: [0, 1, 2].map(|c| (c, size, 21, 3)), cut: false };
    for machine in Machine::all() {
        for ([w, h], sums) in OPENCV {
            let tensor = run(&mut Resampler::on(machine), &sample, Region::whole(size), Size::new(w, h), Layout::Nchw);
            // Position-weighted, so that a swap of two values shows.
            let sum: u64 = tensor.iter().enumerate().map(|(i, v)| (i as u64 % 1009 + 1) * *v as u64).sum();
            assert_eq!(sum, sums, "{machine:?} {:?}", (w, h));
        }
    }
}
