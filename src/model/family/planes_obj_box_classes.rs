//! One grid as planes: objectness, box, a score per class (dog-qiuqiu's FastestDet, 2022; decoding as in its `deploy`).
//!
//! For the cell (col, row) of a grid of `w` by `h`, relative to the input, with exponents (e0, e1):
//!
//! ```text
//! cx = (tanh(v1) + col) / w    cy = (tanh(v2) + row) / h    width = sigmoid(v3)    height = sigmoid(v4)
//! score = v0^e0 * class^e1
//! ```
//!
//! Only the best class of a cell is a candidate.

use super::{Candidate, Seen, sigmoid};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: `[1, 5 + classes, rows, columns]`.
///
/// # Errors
/// [`ModelError::Tensor`] when the tensor has another number of elements.
pub fn decode(
    stride: u32,
    exponents: [f32; 2],
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let (columns, rows) = seen.cells(stride);
    let n = columns * rows;
    let all = OutputView::sized(outputs, 0, n * (5 + wanted.len()))?;
    let (width, height) = (seen.input.width as f32, seen.input.height as f32);
    for i in 0..n {
        let at = |plane: usize| all[plane * n + i];
        let objectness = at(0).powf(exponents[0]);
        if objectness.is_nan() || objectness < seen.threshold {
            continue;
        }
        let mut best = (0, f32::NEG_INFINITY);
        for column in 0..wanted.len() {
            let value = at(5 + column);
            if value > best.1 {
                best = (column, value);
            }
        }
        let score = objectness * best.1.powf(exponents[1]);
        if !wanted[best.0] || score.is_nan() || score < seen.threshold {
            continue;
        }
        let cx = (at(1).tanh() + (i % columns) as f32) / columns as f32 * width;
        let cy = (at(2).tanh() + (i / columns) as f32) / rows as f32 * height;
        let bbox = Box2::from_cxcywh(cx, cy, sigmoid(at(3)) * width, sigmoid(at(4)) * height);
        seen.push(out, bbox, best.0, score, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn the_best_class_of_a_cell_counts() {
        // 32x16 at 16 pixels a cell: two cells, two classes.
        let data = [0.0, 0.64, 0., 0., 0., 0., 0., 0., 0., 0., 0.9, 0.3, 0.9, 0.81];
        let mut out = Vec::new();
        decode(16, [0.5, 0.5], &[true, true], &views(&[&data]), &seen(32, 16, 0.5), &mut out).expect("fits");
        assert_eq!((told(&out)[0].0, out[0].column, out.len()), ([8., -4., 16., 8.], 1, 1));
        assert!((out[0].score.get() - 0.72).abs() < 1e-6);
        out.clear();
        // The second best is no substitute for an unwanted best one: the model said something else.
        decode(16, [0.5, 0.5], &[true, false], &views(&[&data]), &seen(32, 16, 0.1), &mut out).expect("fits");
        assert!(out.is_empty());
    }
}
