//! Anchor-free levels with class scores and, for each side of the box, a distribution over distances (Li et al.,
//! "Generalized Focal Loss", 2020; decoding as in RangiLyu's NanoDet).
//!
//! With `s` pixels a cell and `b` bins a side, for the cell (col, row), row-major, `shift` in pixels:
//!
//! ```text
//! distance = s * sum_i i * softmax(d)_i    left, top, right, bottom
//! point = ((col + .5) * s + shift, (row + .5) * s + shift)
//! ```

use super::{Activation, Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// How the levels' points and bins lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Pixels per cell of each level.
    pub strides: Vec<u32>,
    /// Bins of each side's distribution, 2..=64.
    pub bins: usize,
    /// Added to the middle of each cell, pixels.
    pub shift: f32,
    /// Whether one tensor `[1, n, c + 4 * bins]` holds all levels; otherwise each level has two.
    pub joined: bool,
}

/// Appends every candidate at or above the threshold. `outputs`: for each stride `cls [1, n, c]` and `dis [1, n, 4 * bins]`,
/// or the joined one.
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    shape: &Shape,
    activation: Activation,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let (classes, sides) = (wanted.len(), 4 * shape.bins);
    let cells = |stride: &u32| {
        let (c, r) = seen.cells(*stride);
        c * r
    };
    let width = classes + sides;
    let all = shape.strides.iter().map(cells).sum::<usize>();
    let joined = if shape.joined { OutputView::sized(outputs, 0, all * width)? } else { &[] };
    let mut from = 0;
    for (level, stride) in shape.strides.iter().enumerate() {
        let n = cells(stride);
        let (scores, distances) = if shape.joined {
            (joined, joined)
        } else {
            (OutputView::sized(outputs, 2 * level, n * classes)?, OutputView::sized(outputs, 2 * level + 1, n * sides)?)
        };
        let (columns, s) = (seen.cells(*stride).0, *stride as f32);
        for i in 0..n {
            let (row, sides) = if shape.joined {
                joined[(from + i) * width..][..width].split_at(classes)
            } else {
                (&scores[i * classes..][..classes], &distances[i * sides..][..sides])
            };
            for (column, value) in row.iter().enumerate().filter(|(c, _)| wanted[*c]) {
                let score = activation.of(*value);
                if score >= seen.threshold {
                    let at = |k: usize| expected(&sides[k * shape.bins..][..shape.bins]) * s;
                    let x = ((i % columns) as f32 + 0.5) * s + shape.shift;
                    let y = ((i / columns) as f32 + 0.5) * s + shape.shift;
                    seen.push(out, Box2::from_xyxy(x - at(0), y - at(1), x + at(2), y + at(3)), column, score, None);
                }
            }
        }
        from += n;
    }
    Ok(())
}

/// The mean bin under the softmax of `logits`.
fn expected(logits: &[f32]) -> f32 {
    // Less the greatest, so that no exponential overflows.
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut mean) = (0.0, 0.0);
    for (i, logit) in logits.iter().enumerate() {
        let e = (logit - most).exp();
        sum += e;
        mean += e * i as f32;
    }
    mean / sum
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn certain_bins_are_distances_in_cells() {
        // One level of 2x1 cells of 8 pixels, 3 bins; the second cell sees an object 1, 0, 2, 1 cells away.
        let mut dis = vec![0.0; 2 * 12];
        for (side, bin) in [1, 0, 2, 1].into_iter().enumerate() {
            dis[12 + side * 3 + bin] = 100.0;
        }
        let cls = [0.1, 0.7];
        let shape = Shape { strides: vec![8], bins: 3, shift: -0.5, joined: false };
        let mut out = Vec::new();
        decode(&shape, Activation::Applied, &[true], &views(&[&cls, &dis]), &seen(16, 8, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), [([3.5, 3.5, 24., 8.], 0, 0.7)]);
        let joined: Vec<f32> =
            cls.iter().zip(dis.chunks(12)).flat_map(|(c, d)| std::iter::once(*c).chain(d.iter().copied())).collect();
        let shape = Shape { joined: true, ..shape };
        let before = told(&out);
        out.clear();
        decode(&shape, Activation::Applied, &[true], &views(&[&joined]), &seen(16, 8, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), before);
    }

    #[test]
    fn an_even_distribution_is_in_the_middle_however_large() {
        assert!((expected(&[7.0; 8]) - 3.5).abs() < 1e-6);
        assert!((expected(&[1e30; 8]) - 3.5).abs() < 1e-6);
    }
}
