//! Whether a face can be told from others: size, pose, sharpness, light and the detector's own doubt. Pure.
//!
//! The bounds are set by hand and stand beside each field; they have not been calibrated on degraded faces yet.

use super::align::{Similarity, crop_luma, eye_distance};
use crate::detection::{Landmarks, Score};
use crate::frame::Frame;

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Distance between the eyes, frame pixels.
    pub eye_px: f32,
    /// How far the nose is beside the middle of the eyes, in eye distances: 0 from the front, .5 at about 45 degrees.
    pub yaw: f32,
    /// Where the nose stands between eyes (0) and mouth (1): .5 from the front.
    pub pitch: f32,
    /// Variance of the Laplacian of the aligned crop, grey levels squared.
    pub sharpness: f32,
    /// Mean of the crop's middle, 0..=255.
    pub brightness: f32,
    /// Standard deviation there.
    pub contrast: f32,
    /// The detector's score.
    pub score: f32,
}

/// Why a face is not good enough, worst first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    /// The five points are not those of a face.
    NoFace,
    /// The eyes are too close together: found, wanted.
    Small(f32, f32),
    /// The head is turned to a side.
    Turned,
    /// It looks up or down.
    Tilted,
    /// Out of focus, or moved.
    Blurred,
    /// Too little light.
    Dark,
    /// Too much.
    Bright,
    /// Everything is grey: fog, backlight.
    Flat,
    /// The detector hardly believes in it.
    Doubtful,
}

impl std::fmt::Display for Flaw {
    /// The end of a sentence: `the face is ...`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFace => f.write_str("not laid out like one"),
            Self::Small(found, wanted) => {
                write!(f, "too small: {found:.0} pixels between the eyes, wanted {wanted:.0}")
            }
            Self::Turned => f.write_str("turned to the side: wanted one that looks into the camera"),
            Self::Tilted => f.write_str("seen from above or below: wanted one that looks into the camera"),
            Self::Blurred => f.write_str("blurred: wanted a sharp one"),
            Self::Dark => f.write_str("too dark"),
            Self::Bright => f.write_str("too bright"),
            Self::Flat => f.write_str("without contrast"),
            Self::Doubtful => f.write_str("hardly a face: partly hidden?"),
        }
    }
}

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Least distance between the eyes. Default 24 pixels: below, SFace loses one face in a hundred and soon far more.
    pub eye_px: f32,
    /// Most of [`Quality::yaw`]. Default .4.
    pub yaw: f32,
    /// Range of [`Quality::pitch`]. Default .2..=.8.
    pub pitch: (f32, f32),
    /// Least sharpness. Default 12: a face of 24 pixels between the eyes, scaled up, still passes; a defocused one does not.
    pub sharpness: f32,
    /// Range of the brightness. Default 35..=230.
    pub brightness: (f32, f32),
    /// Least contrast. Default 12.
    pub contrast: f32,
    /// Least score. Default .7.
    pub score: f32,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            eye_px: 24.0,
            yaw: 0.4,
            pitch: (0.2, 0.8),
            sharpness: 12.0,
            brightness: (35.0, 230.0),
            contrast: 12.0,
            score: 0.7,
        }
    }
}

impl Gate {
    /// The defaults, with that least distance between the eyes.
    pub fn with_eyes(px: u32) -> Self {
        Self { eye_px: px as f32, ..Self::default() }
    }

    /// How good a face is, 0..=1, for choosing the best of several.
    ///
    /// # Errors
    /// The worst [`Flaw`] of one that is not good enough.
    pub fn check(&self, q: &Quality) -> Result<f32, Flaw> {
        // Written so that a NaN is a flaw.
        let within = |v: f32, (least, most): (f32, f32)| v >= least && v <= most;
        let flaws = [
            (q.eye_px >= self.eye_px, Flaw::Small(q.eye_px, self.eye_px)),
            (q.score >= self.score, Flaw::Doubtful),
            (q.yaw.abs() <= self.yaw, Flaw::Turned),
            (within(q.pitch, self.pitch), Flaw::Tilted),
            (q.brightness >= self.brightness.0, Flaw::Dark),
            (q.brightness <= self.brightness.1, Flaw::Bright),
            (q.contrast >= self.contrast, Flaw::Flat),
            (q.sharpness >= self.sharpness, Flaw::Blurred),
        ];
        if let Some((_, flaw)) = flaws.into_iter().find(|(sound, _)| !sound) {
            return Err(flaw);
        }
        let size = (q.eye_px / (2.0 * self.eye_px)).min(1.0);
        let front = 1.0 - 0.6 * (q.yaw.abs() / self.yaw) - 0.4 * ((q.pitch - 0.5).abs() * 2.0).min(1.0);
        let sharp = (q.sharpness / (8.0 * self.sharpness)).min(1.0);
        Ok((0.35 * size + 0.3 * front.max(0.0) + 0.2 * sharp + 0.15 * q.score).clamp(0.0, 1.0))
    }
}

/// Side of the crop that is measured.
const SIDE: u32 = 112;

/// Measures a face. `None` where the landmarks are no face's. `scratch` is reused.
pub fn measure(frame: &Frame, landmarks: &Landmarks, score: Score, scratch: &mut Vec<u8>) -> Option<Quality> {
    let way = Similarity::to_frame(landmarks, SIDE)?;
    let (yaw, pitch) = pose(landmarks)?;
    crop_luma(frame, &way, SIDE, scratch);
    let (brightness, contrast, sharpness) = texture(scratch, SIDE as usize);
    Some(Quality { eye_px: eye_distance(landmarks), yaw, pitch, sharpness, brightness, contrast, score: score.get() })
}

/// Yaw and pitch out of five points; `None` when the eyes or mouth coincide.
fn pose(landmarks: &Landmarks) -> Option<(f32, f32)> {
    let [left, right, nose, mouth_left, mouth_right] = landmarks;
    let (ex, ey) = (right.x - left.x, right.y - left.y);
    let eyes = ex.hypot(ey);
    let middle = ((left.x + right.x) / 2.0, (left.y + right.y) / 2.0);
    let mouth = ((mouth_left.x + mouth_right.x) / 2.0 - middle.0, (mouth_left.y + mouth_right.y) / 2.0 - middle.1);
    let nose = (nose.x - middle.0, nose.y - middle.1);
    // Along the line of the eyes, and across it.
    let (ux, uy) = (ex / eyes, ey / eyes);
    let across = |(x, y): (f32, f32)| y * ux - x * uy;
    let long = across(mouth);
    let yaw = (nose.0 * ux + nose.1 * uy) / eyes;
    let pitch = across(nose) / long;
    (eyes > 0.0 && long > 0.0 && yaw.is_finite() && pitch.is_finite()).then_some((yaw, pitch))
}

/// Mean, standard deviation and Laplacian variance of the crop's middle, where skin is and no background.
fn texture(luma: &[u8], side: usize) -> (f32, f32, f32) {
    let (from, to) = (side / 5, side - side / 5);
    let at = |x: usize, y: usize| i64::from(luma.get(y * side + x).copied().unwrap_or_default());
    // Whole numbers: the same sums on every machine.
    let (mut n, mut sum, mut squares, mut lap_sum, mut lap_squares) = (0i64, 0i64, 0i64, 0i64, 0i64);
    for y in from..to {
        for x in from..to {
            let v = at(x, y);
            let lap = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4 * v;
            n += 1;
            sum += v;
            squares += v * v;
            lap_sum += lap;
            lap_squares += lap * lap;
        }
    }
    let variance = |sum: i64, squares: i64| {
        let (n, mean) = (n as f64, sum as f64 / n as f64);
        (squares as f64 / n - mean * mean).max(0.0)
    };
    let mean = sum as f64 / n as f64;
    (mean as f32, variance(sum, squares).sqrt() as f32, variance(lap_sum, lap_squares) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::align::TEMPLATE;
    use crate::frame::Stamp;
    use crate::geom::{Point, Size};

    fn template(scale: f32, shift: f32) -> Landmarks {
        TEMPLATE.map(|[x, y]| Point::new(x as f32 * scale + shift, y as f32 * scale + shift))
    }

    fn good() -> Quality {
        Quality { eye_px: 60.0, yaw: 0.0, pitch: 0.5, sharpness: 200.0, brightness: 120.0, contrast: 40.0, score: 0.9 }
    }

    #[test]
    fn each_flaw_is_named() {
        let gate = Gate::default();
        assert!(gate.check(&good()).is_ok_and(|r| r > 0.8));
        for (bad, flaw) in [
            (Quality { eye_px: 23.9, ..good() }, Flaw::Small(23.9, 24.0)),
            (Quality { yaw: -0.45, ..good() }, Flaw::Turned),
            (Quality { pitch: 0.9, ..good() }, Flaw::Tilted),
            (Quality { sharpness: 3.0, ..good() }, Flaw::Blurred),
            (Quality { brightness: 20.0, ..good() }, Flaw::Dark),
            (Quality { brightness: 240.0, ..good() }, Flaw::Bright),
            (Quality { contrast: 5.0, ..good() }, Flaw::Flat),
            (Quality { score: 0.5, ..good() }, Flaw::Doubtful),
        ] {
            assert_eq!(gate.check(&bad), Err(flaw));
            assert!(!flaw.to_string().is_empty());
        }
        let nan = Quality { sharpness: f32::NAN, ..good() };
        assert_eq!(gate.check(&nan), Err(Flaw::Blurred));
    }

    #[test]
    fn better_in_any_respect_is_never_ranked_lower() {
        let gate = Gate::default();
        let rank = |q: Quality| gate.check(&q).expect("passes");
        let poor = Quality { eye_px: 25.0, yaw: 0.3, sharpness: 20.0, score: 0.75, ..good() };
        for better in [
            Quality { eye_px: 40.0, ..poor },
            Quality { yaw: 0.1, ..poor },
            Quality { sharpness: 60.0, ..poor },
            Quality { score: 0.9, ..poor },
        ] {
            assert!(rank(better) > rank(poor));
        }
    }

    #[test]
    fn the_template_looks_ahead_and_a_moved_nose_does_not() {
        let (yaw, pitch) = pose(&template(1.0, 0.0)).expect("a face");
        assert!(yaw.abs() < 0.05 && (pitch - 0.5).abs() < 0.05, "{yaw} {pitch}");
        let mut turned = template(1.0, 0.0);
        turned[2].x += 18.0;
        assert!(pose(&turned).is_some_and(|(yaw, _)| yaw > 0.45));
        // Turned by a right angle in the picture it is the same face.
        let rolled = template(1.0, 0.0).map(|p| Point::new(-p.y, p.x));
        let (y2, p2) = pose(&rolled).expect("a face");
        assert!((y2 - yaw).abs() < 1e-4 && (p2 - pitch).abs() < 1e-4);
        assert!(pose(&[Point::new(1.0, 1.0); 5]).is_none());
    }

    #[test]
    fn a_checkerboard_is_sharper_than_its_blur_and_a_flat_wall_has_neither() {
        let size = Size::new(112, 112);
        let picture = |f: &dyn Fn(u32, u32) -> u8| {
            let rgb = (0..112).flat_map(|y| (0..112).flat_map(move |x| [(x, y); 3])).map(|(x, y)| f(x, y)).collect();
            Frame::from_rgb(Stamp::default(), size, rgb).expect("length fits")
        };
        let mut scratch = Vec::new();
        let score = Score::new(0.9).expect("a number");
        let mut look = |f: &dyn Fn(u32, u32) -> u8| {
            measure(&picture(f), &template(1.0, 0.0), score, &mut scratch).expect("a face")
        };
        let board = look(&|x, y| if (x / 4 + y / 4) % 2 == 0 { 60 } else { 200 });
        let soft = look(&|x, y| (128.0 + 70.0 * (x as f32 / 8.0).sin() * (y as f32 / 8.0).sin()) as u8);
        let wall = look(&|_, _| 90);
        assert!(board.sharpness > 20.0 * soft.sharpness, "{board:?} {soft:?}");
        assert_eq!((wall.sharpness, wall.contrast, wall.brightness), (0.0, 0.0, 90.0));
        assert!((board.eye_px - 35.2).abs() < 0.1);
    }
}
