//! A face turned and scaled onto the embedder's template, straight into its tensor.
//!
//! The transform is the least-squares similarity (rotation, one scale, translation) of Umeyama, "Least-squares estimation of
//! transformation parameters between two point patterns", 1991. In the plane it needs no decomposition: with points as
//! complex numbers, counted from their means, the map is `w = a z + b` with `a = sum(conj(z) w) / sum(|z|^2)`. Such a map
//! cannot reflect; of a mirrored point set it is the best unmirrored one, as Umeyama's sign correction gives it.

use crate::detection::Landmarks;
use crate::frame::{Channel, Colours, Frame};
use crate::geom::{FramePx, Point, Size};
use crate::model::card::{Colour, Input, InputSize, Layout};

/// Where the five landmarks lie in a crop of [`TEMPLATE_SIDE`] pixels (ArcFace's template, which SFace shares).
pub const TEMPLATE: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// Width and height the template was made for; it is scaled to other (square) inputs.
pub const TEMPLATE_SIDE: u32 = 112;

/// Crop pixels to frame pixels, pixel centres at whole numbers: `x = re * u - im * v + tx`, `y = im * u + re * v + ty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    re: f64,
    im: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// The way from a crop of `side` pixels to the frame, which lays the template onto the landmarks.
    ///
    /// `None` for landmarks no face has: not finite, all in one point, or so arranged that the best similarity would shrink
    /// the face to nothing (a mirrored set of points, for example).
    pub fn to_frame(landmarks: &Landmarks, side: u32) -> Option<Self> {
        let unit = f64::from(side) / f64::from(TEMPLATE_SIDE);
        let z = landmarks.map(|p| [f64::from(p.x), f64::from(p.y)]);
        let w = TEMPLATE.map(|p| p.map(|v| v * unit));
        let (zm, wm) = (mean(&z), mean(&w));
        let (mut re, mut im, mut zz, mut ww) = (0.0, 0.0, 0.0, 0.0);
        for (z, w) in z.iter().zip(&w) {
            let (zx, zy, wx, wy) = (z[0] - zm[0], z[1] - zm[1], w[0] - wm[0], w[1] - wm[1]);
            re += zx * wx + zy * wy;
            im += zx * wy - zy * wx;
            zz += zx * zx + zy * zy;
            ww += wx * wx + wy * wy;
        }
        // Correlation of the two patterns, 0..=1: real faces reach .9, turned away ones .7; below .1 there is no direction.
        let strength = (re * re + im * im).sqrt();
        let sound = zz > 1e-6 && zz.is_finite() && strength > 0.1 * (zz * ww).sqrt();
        if !sound {
            return None;
        }
        // Frame to crop: w = a z + b. Its inverse: z = (w - b) / a.
        let (a_re, a_im) = (re / zz, im / zz);
        let square = a_re * a_re + a_im * a_im;
        let (re, im) = (a_re / square, -a_im / square);
        let tx = zm[0] - (re * wm[0] - im * wm[1]);
        let ty = zm[1] - (im * wm[0] + re * wm[1]);
        [re, im, tx, ty].iter().all(|v| v.is_finite()).then_some(Self { re, im, tx, ty })
    }

    /// A point of the crop in the frame.
    pub fn apply(&self, u: f64, v: f64) -> (f64, f64) {
        (self.re * u - self.im * v + self.tx, self.im * u + self.re * v + self.ty)
    }

    /// Frame pixels per crop pixel.
    pub fn scale(&self) -> f64 {
        (self.re * self.re + self.im * self.im).sqrt()
    }
}

fn mean(points: &[[f64; 2]; 5]) -> [f64; 2] {
    let sum = points.iter().fold([0.0; 2], |s, p| [s[0] + p[0], s[1] + p[1]]);
    sum.map(|v| v / 5.0)
}

/// Distance between the eyes, frame pixels: the measure of whether a face is large enough to be told from others.
pub fn eye_distance(landmarks: &Landmarks) -> f32 {
    let [left, right, ..] = landmarks;
    (right.x - left.x).hypot(right.y - left.y)
}

/// Warps faces into tensors as one card wants them.
#[derive(Clone, Copy, Debug)]
pub struct Aligner {
    side: u32,
    layout: Layout,
    swap: bool,
    /// `value = pixel * gain + bias`, per tensor channel.
    gain: [f32; 3],
    bias: [f32; 3],
}

impl Aligner {
    /// For the `[input]` section of an embedder's card; `None` unless its size is fixed and square.
    pub fn new(input: &Input) -> Option<Self> {
        match input.size {
            InputSize::Fixed([w, h]) if w == h => Some(Self {
                side: w,
                layout: input.layout,
                swap: input.colour == Colour::Bgr,
                gain: std::array::from_fn(|c| input.scale / input.std[c]),
                bias: std::array::from_fn(|c| -input.mean[c] / input.std[c]),
            }),
            _ => None,
        }
    }

    /// Elements of one crop.
    pub fn len(&self) -> usize {
        self.side as usize * self.side as usize * 3
    }

    /// Never: a card's sizes are at least 1.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes one crop, bilinear; what lies outside the frame is black. False, and nothing written, for landmarks without
    /// a similarity (see [`Similarity::to_frame`]) or a slice of another length than [`Aligner::len`].
    pub fn align(&self, frame: &Frame, landmarks: &Landmarks, out: &mut [f32]) -> bool {
        if out.len() != self.len() {
            return false;
        }
        // Landmarks are measured from the top-left corner of the top-left pixel (geom), sampling from its centre. The
        // models' own pipelines feed detector coordinates to the warp unchanged, so ours does too.
        let Some(way) = Similarity::to_frame(landmarks, self.side) else { return false };
        let side = self.side as usize;
        let plane = side * side;
        let at = Sampler::new(frame);
        for v in 0..side {
            for u in 0..side {
                let (x, y) = way.apply(u as f64, v as f64);
                let rgb = at.bilinear(x as f32, y as f32);
                for (channel, value) in rgb.into_iter().enumerate() {
                    let channel = if self.swap { 2 - channel } else { channel };
                    let index = match self.layout {
                        Layout::Nchw => channel * plane + v * side + u,
                        Layout::Nhwc => (v * side + u) * 3 + channel,
                    };
                    // Whole grey levels: what the models were trained with came out of an 8-bit picture.
                    out[index] = value.round_ties_even() * self.gain[channel] + self.bias[channel];
                }
            }
        }
        true
    }
}

/// The luma (BT.601) of a crop of `side` pixels, replacing `out`; black outside the frame.
pub fn crop_luma(frame: &Frame, way: &Similarity, side: u32, out: &mut Vec<u8>) {
    let at = Sampler::new(frame);
    out.clear();
    for v in 0..side {
        for u in 0..side {
            let (x, y) = way.apply(f64::from(u), f64::from(v));
            let [r, g, b] = at.bilinear(x as f32, y as f32);
            out.push((0.299 * r + 0.587 * g + 0.114 * b).round() as u8);
        }
    }
}

struct Sampler<'a> {
    colours: Colours,
    channels: [Channel<'a>; 3],
    /// Samples per pixel of each channel, along and down.
    density: [(f32, f32); 3],
    size: Size,
}

impl<'a> Sampler<'a> {
    fn new(frame: &'a Frame) -> Self {
        let (size, channels) = (frame.size(), frame.channels());
        // Of a halved channel a sample stands for two pixels, also for the last one of an odd number.
        let density = |pixels: u32, samples: u32| 1.0 / pixels.div_ceil(samples.max(1)).max(1) as f32;
        let density = channels.map(|c| (density(size.width, c.size.width), density(size.height, c.size.height)));
        Self { colours: frame.colours(), channels, density, size }
    }

    /// Red, green and blue at a point of the frame, black outside.
    fn bilinear(&self, x: f32, y: f32) -> [f32; 3] {
        // `as` saturates: coordinates beyond any frame stay beyond it; the margin keeps `+ 1` from overflowing.
        let cell = |v: f32| (v.floor() as i64).clamp(-2, 1 << 40);
        let (dx, dy) = (x - x.floor(), y - y.floor());
        let (x0, y0) = (cell(x), cell(y));
        let mix = |[a, b, c, d]: [f32; 4], dx: f32, dy: f32| {
            let (top, bottom) = (a + dx * (b - a), c + dx * (d - c));
            top + dy * (bottom - top)
        };
        let corners = [(x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)];
        let (w, h) = (i64::from(self.size.width), i64::from(self.size.height));
        let inside = corners.map(|(x, y)| (0..w).contains(&x) && (0..h).contains(&y));
        if self.colours == Colours::Rgb {
            return self.channels.map(|c| {
                let at = |i: usize| {
                    if inside[i] { f32::from(c.at(corners[i].0 as usize, corners[i].1 as usize)) } else { 0.0 }
                };
                mix([at(0), at(1), at(2), at(3)], dx, dy)
            });
        }
        // Luma and colours lie on grids of their own, so each is sampled on its own; what is outside darkens the result.
        let lit = mix(inside.map(|inside| f32::from(u8::from(inside))), dx, dy);
        let sample = |c: usize| {
            let (channel, (along, down)) = (self.channels[c], self.density[c]);
            let (x, y) = ((x + 0.5) * along - 0.5, (y + 0.5) * down - 0.5);
            let last = |n: u32| i64::from(n.max(1)) - 1;
            let column = |i: i64| (cell(x) + i).clamp(0, last(channel.size.width)) as usize;
            let row = |i: i64| (cell(y) + i).clamp(0, last(channel.size.height)) as usize;
            let at = |i: i64, j: i64| f32::from(channel.at(column(i), row(j)));
            mix([at(0, 0), at(1, 0), at(0, 1), at(1, 1)], x - x.floor(), y - y.floor())
        };
        self.colours.to_rgb([sample(0), sample(1), sample(2)]).map(|v| v * lit)
    }
}

/// Landmarks from `[x, y]` pairs, as cards write them.
pub fn landmarks(points: &[[f32; 2]; 5]) -> Landmarks {
    points.map(|[x, y]| Point::<FramePx>::new(x, y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Stamp;
    use crate::model::card::{Fit, Resample};

    fn input(layout: Layout, colour: Colour) -> Input {
        Input {
            tensor: "x".into(),
            layout,
            size: InputSize::Fixed([112, 112]),
            colour,
            fit: Fit::Align,
            resample: Resample::Bilinear,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// The template turned by `angle`, scaled and moved.
    fn posed(angle: f64, scale: f64, dx: f64, dy: f64) -> Landmarks {
        let (s, c) = angle.sin_cos();
        TEMPLATE.map(|[x, y]| Point::new((scale * (c * x - s * y) + dx) as f32, (scale * (s * x + c * y) + dy) as f32))
    }

    #[test]
    fn a_posed_template_is_found_exactly() {
        for (angle, scale, dx, dy) in [(0.0, 1.0, 0.0, 0.0), (0.5, 2.0, 30.0, -4.0), (3.0, 0.2, 900.0, 500.0)] {
            let way = Similarity::to_frame(&posed(angle, scale, dx, dy), 112).expect("a face");
            let (x, y) = way.apply(10.0, 20.0);
            let (s, c) = f64::sin_cos(angle);
            assert!((x - (scale * (c * 10.0 - s * 20.0) + dx)).abs() < 1e-3, "{x}");
            assert!((y - (scale * (s * 10.0 + c * 20.0) + dy)).abs() < 1e-3, "{y}");
            assert!((way.scale() - scale).abs() < 1e-4);
        }
    }

    #[test]
    fn points_that_are_no_face_have_no_similarity() {
        let p = |x, y| Point::new(x, y);
        assert!(Similarity::to_frame(&[p(5.0, 5.0); 5], 112).is_none());
        assert!(Similarity::to_frame(&[p(f32::NAN, 5.0); 5], 112).is_none());
        assert!(
            Similarity::to_frame(&[p(f32::INFINITY, 5.0), p(0., 0.), p(1., 1.), p(2., 2.), p(3., 3.)], 112).is_none()
        );
    }

    #[test]
    fn a_mirrored_face_is_never_reflected() {
        let mirrored = posed(0.0, 1.0, 0.0, 0.0).map(|p| Point::new(112.0 - p.x, p.y));
        // Either nothing, or a map that keeps the sense of rotation (which this type cannot lose).
        if let Some(way) = Similarity::to_frame(&mirrored, 112) {
            assert!(way.scale() > 0.0);
        }
    }

    #[test]
    fn an_upright_template_copies_pixels_and_blackens_the_outside() {
        let size = Size::new(100, 112);
        let rgb = (0..112u32).flat_map(|y| (0..100u32).flat_map(move |x| [x as u8, y as u8, 7])).collect();
        let frame = Frame::from_rgb(Stamp::default(), size, rgb).expect("length fits");
        let aligner = Aligner::new(&input(Layout::Nchw, Colour::Bgr)).expect("square");
        let mut out = vec![-1.0; aligner.len()];
        assert!(aligner.align(&frame, &posed(0.0, 1.0, 0.0, 0.0), &mut out));
        let at = |c: usize, x: usize, y: usize| out[c * 112 * 112 + y * 112 + x];
        assert_eq!((at(0, 50, 60), at(1, 50, 60), at(2, 50, 60)), (7.0, 60.0, 50.0));
        assert_eq!((at(0, 105, 60), at(2, 105, 60)), (0.0, 0.0));
        assert!(!aligner.align(&frame, &posed(0.0, 1.0, 0.0, 0.0), &mut [0.0; 4]));
    }

    #[test]
    fn half_a_pixel_is_the_mean_of_two() {
        let size = Size::new(200, 200);
        let rgb = (0..200u32).flat_map(|_| (0..200u32).flat_map(|x| [x as u8, 0, 0])).collect();
        let frame = Frame::from_rgb(Stamp::default(), size, rgb).expect("length fits");
        let sampled = Sampler::new(&frame).bilinear(10.5, 3.25);
        assert_eq!(sampled, [10.5, 0.0, 0.0]);
        assert_eq!(Sampler::new(&frame).bilinear(-0.5, 0.0)[0], 0.0);
        assert_eq!(Sampler::new(&frame).bilinear(199.5, 0.0)[0], 99.5);
        for far in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            assert!(Sampler::new(&frame).bilinear(far, far).iter().all(|v| *v == 0.0 || v.is_nan()));
        }
    }
}
