//! Prior boxes with variances (SSD as simplified for faces: Linzaer's Ultra-Light, biubug6's RetinaFace after Deng et al.,
//! "RetinaFace", 2019, the YuNet of 2021). Scores may be weighted by a quality: `score = sqrt(clip01(class) * clip01(quality))`.
//!
//! Priors are ordered level, row, column, size. With `s` pixels a cell the centre of (col, row) is at `(col + .5) * s` and
//! `(row + .5) * s`, and a prior is a square of its size, in input pixels; relative to the input all four may be cut to 0..1.
//! With variances (v0, v1):
//!
//! ```text
//! cx = px + b0 * v0 * pw    cy = py + b1 * v0 * ph    w = pw * exp(b2 * v1)    h = ph * exp(b3 * v1)
//! landmark j = (px + k[2j] * v0 * pw, py + k[2j+1] * v0 * ph)
//! ```

use super::{Candidate, Seen, five};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// What a tensor holds for each prior.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 4 values.
    Box,
    /// 4 values of the box, 10 of the landmarks.
    BoxLandmarks,
    /// A score for each class.
    Classes,
    /// 10 values.
    Landmarks,
    /// One value.
    Quality,
}

impl Part {
    /// All of them, as cards spell them.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("box", Self::Box),
        ("box-kps", Self::BoxLandmarks),
        ("classes", Self::Classes),
        ("kps", Self::Landmarks),
        ("quality", Self::Quality),
    ];

    /// Values for each prior.
    pub const fn width(self, classes: usize) -> usize {
        match self {
            Self::Box => 4,
            Self::BoxLandmarks => 14,
            Self::Classes => classes,
            Self::Landmarks => 10,
            Self::Quality => 1,
        }
    }
}

/// The priors and what is told of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Priors {
    /// Pixels per cell of each level.
    pub strides: Vec<u32>,
    /// Sides of each level's priors, input pixels.
    pub sizes: Vec<Vec<f32>>,
    /// Whether priors are cut to the input.
    pub clip: bool,
    /// Of centres and of sizes.
    pub variances: [f32; 2],
    /// What each tensor holds, in the order of the card's tensors: a box and classes once each.
    pub parts: Vec<Part>,
}

/// Appends every candidate at or above the threshold. `outputs`: one tensor `[1, n, width]` for each part.
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    priors: &Priors,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let level = |(stride, sizes): (&u32, &Vec<f32>)| {
        let (c, r) = seen.cells(*stride);
        c * r * sizes.len()
    };
    let n: usize = priors.strides.iter().zip(&priors.sizes).map(level).sum();
    let classes = wanted.len();
    let tensor = |part: Part| {
        let at = priors.parts.iter().position(|p| *p == part);
        at.map(|k| OutputView::sized(outputs, k, n * part.width(classes))).transpose()
    };
    // [`super::super::card`] has seen to it that there is one of the first two, and classes.
    let (mut boxes, mut step) = (tensor(Part::Box)?.unwrap_or_default(), 4);
    let mut points = tensor(Part::Landmarks)?.map(|t| (t, 0, 10));
    if let Some(both) = tensor(Part::BoxLandmarks)? {
        (boxes, step) = (both, 14);
        points = Some((both, 4, 14));
    }
    let scores = tensor(Part::Classes)?.unwrap_or_default();
    let quality = tensor(Part::Quality)?;
    let (width, height) = (seen.input.width as f32, seen.input.height as f32);
    let cut = |v: f32, most: f32| if priors.clip { v.clamp(0.0, most) } else { v };
    let [v0, v1] = priors.variances;
    let mut i = 0;
    for (&stride, sizes) in priors.strides.iter().zip(&priors.sizes) {
        let ((columns, rows), s) = (seen.cells(stride), stride as f32);
        for cell in 0..columns * rows {
            for &size in sizes {
                let row = &scores[i * classes..][..classes];
                for (column, value) in row.iter().enumerate().filter(|(c, _)| wanted[*c]) {
                    let score = match quality {
                        Some(q) => (value.clamp(0.0, 1.0) * q[i].clamp(0.0, 1.0)).sqrt(),
                        None => *value,
                    };
                    if score.is_nan() || score < seen.threshold {
                        continue;
                    }
                    let px = cut(((cell % columns) as f32 + 0.5) * s, width);
                    let py = cut(((cell / columns) as f32 + 0.5) * s, height);
                    let (pw, ph) = (cut(size, width), cut(size, height));
                    let b = &boxes[i * step..][..4];
                    let bbox = Box2::from_cxcywh(
                        px + b[0] * v0 * pw,
                        py + b[1] * v0 * ph,
                        pw * (b[2] * v1).exp(),
                        ph * (b[3] * v1).exp(),
                    );
                    let landmarks = points.map(|(all, from, step)| {
                        five(&all[i * step + from..][..10], |x, y| (px + x * v0 * pw, py + y * v0 * ph))
                    });
                    seen.push(out, bbox, column, score, landmarks);
                }
                i += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn a_prior_is_moved_and_grown_by_its_variances() {
        // 16x8, stride 8: two cells with two sizes each; the second size of the second cell is a face.
        let (mut boxes, mut scores) = (vec![0.0; 4 * 14], vec![0.0; 4 * 2]);
        boxes[3 * 14..][..14].copy_from_slice(&[1., 2., 0., 5. * 2f32.ln(), 1., 0., 0., 1., 0., 0., 0., 0., -1., -1.]);
        scores[7] = 0.81;
        let quality = [0., 0., 0., 1.5];
        let mut priors = Priors {
            strides: vec![8],
            sizes: vec![vec![4., 10.]],
            clip: false,
            variances: [0.1, 0.2],
            parts: vec![Part::BoxLandmarks, Part::Classes, Part::Quality],
        };
        let mut out = Vec::new();
        let tensors: [&[f32]; 3] = [&boxes, &scores, &quality];
        decode(&priors, &[false, true], &views(&tensors), &seen(16, 8, 0.5), &mut out).expect("fits");
        // Centre (12, 4) moved by (1, 2); 10 wide, 20 high.
        assert_eq!(told(&out), [([8., -4., 10., 20.], 1, 0.9)]);
        let points = out[0].landmarks.expect("landmarks").map(|p| (p.x, p.y));
        assert_eq!(points, [(13., 4.), (12., 5.), (12., 4.), (12., 4.), (11., 3.)]);
        // A prior of 10 in a picture 8 high is cut to 8.
        priors.clip = true;
        out.clear();
        decode(&priors, &[false, true], &views(&tensors), &seen(16, 8, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out)[0].0, [8., -2.4, 10., 16.]);
    }
}
