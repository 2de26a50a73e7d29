//! Peaks of a heat map (CenterNet: Zhou et al., "Objects as Points", 2019): a cell counts when it is the greatest of its
//! three by three neighbours, which stands for suppression.
//!
//! `centre = (col + dx, row + dy) * s`, width and height in cells.

use super::{Activation, Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: `heat [1, c, rows, columns]`, `size [1, 2, rows, columns]`
/// (width, height), `offset [1, 2, rows, columns]` (x, y).
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    stride: u32,
    activation: Activation,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let ((columns, rows), s) = (seen.cells(stride), stride as f32);
    let n = columns * rows;
    let heat = OutputView::sized(outputs, 0, n * wanted.len())?;
    let (size, offset) = (OutputView::sized(outputs, 1, 2 * n)?, OutputView::sized(outputs, 2, 2 * n)?);
    for (column, map) in heat.chunks_exact(n.max(1)).enumerate().filter(|(c, _)| wanted[*c]) {
        for (i, value) in map.iter().enumerate() {
            let score = activation.of(*value);
            if score.is_nan() || score < seen.threshold {
                continue;
            }
            let (col, row) = (i % columns, i / columns);
            let around =
                |y: usize| &map[y * columns + col.saturating_sub(1)..=y * columns + (col + 1).min(columns - 1)];
            let mut near = (row.saturating_sub(1)..=(row + 1).min(rows - 1)).flat_map(around);
            if near.any(|v| v > value) {
                continue;
            }
            let bbox = Box2::from_cxcywh(
                (col as f32 + offset[i]) * s,
                (row as f32 + offset[n + i]) * s,
                size[i] * s,
                size[n + i] * s,
            );
            seen.push(out, bbox, column, score, None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn only_peaks_count() {
        // 12x8 at 4 pixels a cell.
        let heat = [0.6, 0.9, 0.7, 0.1, 0.8, 0.2];
        let (size, offset) = ([2.0; 12], [0.5; 12]);
        let mut out = Vec::new();
        let tensors: [&[f32]; 3] = [&heat, &size, &offset];
        decode(4, Activation::Applied, &[true], &views(&tensors), &seen(12, 8, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), [([2., -2., 8., 8.], 0, 0.9)]);
    }
}
