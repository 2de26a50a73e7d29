//! One row for each cell of several grids: box, objectness, a score per class (YOLOX: Ge et al., "YOLOX: Exceeding YOLO
//! Series in 2021"; decoding as in Megvii's `demo/ONNXRuntime`). `score = objectness * class`.
//!
//! Raw boxes of the cell (col, row) with `s` pixels a cell, levels one after the other, row-major:
//!
//! ```text
//! cx = (b0 + col) * s    cy = (b1 + row) * s    w = exp(b2) * s    h = exp(b3) * s
//! ```
//!
//! Without strides the boxes are ready: centre and size in input pixels.

use super::{Activation, Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: one tensor `[1, n, 5 + classes]`; `strides` empty for ready
/// boxes.
///
/// # Errors
/// [`ModelError::Tensor`] when the tensor has another number of elements.
pub fn decode(
    strides: &[u32],
    activation: Activation,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let width = 5 + wanted.len();
    if strides.is_empty() {
        for row in OutputView::rows(outputs, 0, width)? {
            scored(row, activation, wanted, seen, out, || Box2::from_cxcywh(row[0], row[1], row[2], row[3]));
        }
        return Ok(());
    }
    let cells: usize = strides.iter().map(|s| seen.cells(*s)).map(|(c, r)| c * r).sum();
    let mut rows = OutputView::sized(outputs, 0, cells * width)?.chunks_exact(width);
    for &stride in strides {
        let (columns, lines) = seen.cells(stride);
        let s = stride as f32;
        for (i, row) in rows.by_ref().take(columns * lines).enumerate() {
            scored(row, activation, wanted, seen, out, || {
                let (col, line) = ((i % columns) as f32, (i / columns) as f32);
                Box2::from_cxcywh((row[0] + col) * s, (row[1] + line) * s, row[2].exp() * s, row[3].exp() * s)
            });
        }
    }
    Ok(())
}

fn scored(
    row: &[f32],
    activation: Activation,
    wanted: &[bool],
    seen: &Seen,
    out: &mut Vec<Candidate>,
    bbox: impl Fn() -> Box2<crate::geom::ModelPx>,
) {
    let objectness = activation.of(row[4]);
    // No class score is above 1: most cells end here.
    if objectness < seen.threshold {
        return;
    }
    for (column, value) in row[5..].iter().enumerate().filter(|(c, _)| wanted[*c]) {
        let score = objectness * activation.of(*value);
        if score >= seen.threshold {
            seen.push(out, bbox(), column, score, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn a_cell_of_the_second_level_is_where_its_stride_puts_it() {
        // 16x16 at strides 8 and 16: four cells, then one; two classes.
        let mut data = vec![0.0; 5 * 7];
        data[7..14].copy_from_slice(&[0.5, 0.25, 0.0, 2f32.ln(), 0.8, 0.1, 0.5]);
        data[28..35].copy_from_slice(&[0.5, 0.5, 0.0, 0.0, 1.0, 0.9, 0.2]);
        let mut out = Vec::new();
        decode(&[8, 16], Activation::Applied, &[true, true], &views(&[&data]), &seen(16, 16, 0.3), &mut out)
            .expect("fits");
        // 8 * (1 + .5) = 12, 8 * .25 = 2.
        assert_eq!(told(&out), [([8., -6., 8., 16.], 1, 0.4), ([0., 0., 16., 16.], 0, 0.9)]);
        out.clear();
        decode(&[8, 16], Activation::Applied, &[false, true], &views(&[&data]), &seen(16, 16, 0.3), &mut out)
            .expect("fits");
        assert_eq!(out.len(), 1);
        let short = decode(&[8], Activation::Applied, &[true, true], &views(&[&data]), &seen(16, 16, 0.3), &mut out);
        assert!(short.is_err_and(|e| e.to_string().contains("wanted 28 elements, found 35")));
    }

    #[test]
    fn ready_boxes_and_logits() {
        let data = [10., 20., 4., 6., 0.0, 3.0];
        let mut out = Vec::new();
        decode(&[], Activation::Sigmoid, &[true], &views(&[&data]), &seen(32, 32, 0.3), &mut out).expect("fits");
        assert_eq!(told(&out)[0].0, [8., 17., 4., 6.]);
        assert!((out[0].score.get() - 0.5 * 0.952_574).abs() < 1e-5);
    }
}
