//! A part of a frame to a model's input tensor, with the mapping back.
//!
//! Where the picture goes is decided here; how its pixels get there, in one pass from whatever the camera sent, is
//! `resample`'s. Models that want a shrunk picture without aliasing (`resample = "area"`) get it by a library, channel by
//! channel, in a picture between.

use fast_image_resize as fir;

use super::card::{Anchor, Card, Colour, Fit, Input, InputSize, Layout, Resample};
use super::resample::{Resampler, Target};
use crate::frame::{Channel, Colours, Frame};
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
    resampler: Resampler,
    shrinker: fir::Resizer,
    /// A shrunk picture: packed R G B, or its channels one after the other.
    shrunk: Vec<u8>,
    /// A part of a channel whose samples do not lie side by side.
    dense: Vec<u8>,
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
            resampler: Resampler::default(),
            shrinker: fir::Resizer::new(),
            shrunk: Vec::new(),
            dense: Vec::new(),
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
        // Halved, a bilinear look is the mean of four samples already: no library is needed, and a camera's frames are hardly ever shrunk by
        // more. Of stills it is asked all the same: published accuracy was made with it.
        let most = if frame.is_made() { 1 } else { 2 };
        let shrinks = most * picture.width < region.size.width || most * picture.height < region.size.height;
        let shrunk = self.resample == Resample::Area && shrinks && self.shrink(frame, region, picture);
        let target = Target {
            tensor: &mut self.tensor[place],
            tensor_width: placement.tensor.width as usize,
            plane: placement.tensor.pixels(),
            offset: (placement.offset.0 as usize, placement.offset.1 as usize),
            picture,
            layout: self.layout,
            swap: self.colour == Colour::Bgr,
            gain: self.gain,
            bias: self.bias,
        };
        let (colours, whole) = (frame.colours(), Region::whole(picture));
        if shrunk {
            let (width, pixels) = (picture.width as usize, picture.pixels());
            let channels = [0, 1, 2].map(|c| {
                let (at, step) = if colours == Colours::Rgb { (c, 3) } else { (c * pixels, 1) };
                let data = self.shrunk.get(at..).unwrap_or_default();
                Channel { data, size: picture, stride: width * step, step }
            });
            self.resampler.run(&channels, colours, picture, whole, target);
        } else {
            self.resampler.run(&frame.channels(), colours, frame.size(), region, target);
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

    /// Frees the tensor; the next picture gets one of the size it needs.
    pub fn give_tensor_back(&mut self) {
        (self.tensor, self.input) = Default::default();
        self.filled.clear();
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
        let Self { shrinker, shrunk, dense, .. } = self;
        let Size { width, height } = frame.size();
        let pixels = picture.pixels();
        let options = |part: [f64; 4]| {
            let [x, y, width, height] = part;
            let algorithm = fir::ResizeAlg::Convolution(fir::FilterType::Bilinear);
            fir::ResizeOptions::new().crop(x, y, width, height).resize_alg(algorithm).use_alpha(false)
        };
        let part = [region.x, region.y, region.size.width, region.size.height].map(f64::from);
        // Typed views: the call that finds out the pixel type at run time compiles the library for all sixteen of them.
        if let Some(rgb) = frame.packed_rgb() {
            shrunk.resize(pixels * 3, 0);
            let source = fir::images::TypedImageRef::<fir::pixels::U8x3>::from_buffer(width, height, rgb);
            let target =
                fir::images::TypedImage::<fir::pixels::U8x3>::from_buffer(picture.width, picture.height, shrunk);
            let (Ok(source), Ok(mut target)) = (source, target) else { return false };
            return shrinker.resize_typed(&source, &mut target, &options(part)).is_ok();
        }
        let count = if matches!(frame.colours(), Colours::Grey(_)) { 1 } else { 3 };
        shrunk.resize(pixels * count, 0);
        let channels = frame.channels();
        for (channel, into) in channels.iter().take(count).zip(shrunk.chunks_exact_mut(pixels.max(1))) {
            // Of a halved channel a sample stands for two pixels.
            let fewer =
                [width.div_ceil(channel.size.width.max(1)), height.div_ceil(channel.size.height.max(1))].map(f64::from);
            let [x, y, w, h] = [part[0] / fewer[0], part[1] / fewer[1], part[2] / fewer[0], part[3] / fewer[1]];
            let (columns, rows) = (f64::from(channel.size.width), f64::from(channel.size.height));
            // The last sample of an odd number stands for one pixel, and the library wants a part that lies inside.
            let part = [x, y, w.min(columns - x), h.min(rows - y)];
            let (stride, rows) = (channel.stride, channel.size.height as usize);
            // Rows with their padding are a wider picture, of which a part is wanted; everything else is copied.
            let (wide, bytes) = match channel.data.get(..stride * rows) {
                Some(bytes) if channel.step == 1 => (stride as u32, bytes),
                _ => {
                    let columns = channel.size.width as usize;
                    dense.clear();
                    for y in 0..rows {
                        let row = &channel.data[y * stride..][..(columns - 1) * channel.step + 1];
                        dense.extend(row.iter().step_by(channel.step));
                    }
                    (channel.size.width, dense.as_slice())
                }
            };
            let source = fir::images::TypedImageRef::<fir::pixels::U8>::from_buffer(wide, channel.size.height, bytes);
            let target = fir::images::TypedImage::<fir::pixels::U8>::from_buffer(picture.width, picture.height, into);
            let (Ok(source), Ok(mut target)) = (source, target) else { return false };
            if shrinker.resize_typed(&source, &mut target, &options(part)).is_err() {
                return false;
            }
        }
        true
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
    fn a_camera_s_frame_is_halved_without_the_library_and_a_still_with_it() {
        use crate::decode::{Decoder, Limits};
        use crate::frame::{PixelFormat, Range, RawFrame};
        // A bright column: without aliasing it reaches into the column beside it.
        let size = Size::new(64, 8);
        let still = frame(size, |x, _| [if x == 30 { 200 } else { 0 }; 3]);
        let data = still.packed_rgb().expect("packed").to_vec();
        let (format, range) = (PixelFormat::Rgb24, Range::Full);
        let mut raw = RawFrame { stamp: Stamp::default(), format, size: Some(size), stride: 0, range, data };
        let mut camera = Frame::new();
        Decoder::new(Limits::default()).decode(&mut raw, &mut camera).expect("a good frame");
        let card = Input {
            resample: Resample::Area,
            ..input(InputSize::Fixed([32, 4]), Fit::Stretch, Layout::Nchw, Colour::Rgb)
        };
        let row = |frame: &Frame| {
            let mut prep = Prep::from_input(&card);
            prep.prepare(frame, Region::whole(size), LongSide::Card).data[13..17].to_vec()
        };
        assert_eq!(row(&camera), [0.0, 0.0, 100.0, 0.0]);
        let still = row(&still);
        assert!(still[1] > 20.0 && still[2] < 90.0 && still[2] > still[1], "{still:?}");
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
        // And back: the padding must be written anew; and where there is another tensor of the same size.
        for _ in 0..2 {
            let p = prep.prepare(&f, Region::whole(f.size()), LongSide::Card);
            assert_eq!((p.data[359 * 640], p.data[360 * 640], p.data[383 * 640]), (7.0, 0.0, 0.0));
            prep.give_tensor_back();
            assert_eq!(prep.tensor.capacity(), 0);
        }
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
