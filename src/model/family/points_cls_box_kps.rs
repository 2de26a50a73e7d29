//! Grid points with class scores, distances to the four sides and, for faces, offsets of five landmarks (SCRFD: Guo et al.,
//! "Sample and Computation Redistribution for Efficient Face Detection", 2021; without landmarks FCOS and RTMDet).
//!
//! With `s` pixels a cell and `p` points a cell (the same place `p` times), row-major: `point = ((col + shift) * s, (row + shift)
//! * s)`, `box = point -/+ distances * s` (left, top, right, bottom), `landmark = point + offset * s`.

use super::{Activation, Candidate, Seen, five};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// The grids.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Pixels per cell of each level.
    pub strides: Vec<u32>,
    /// Points of each cell, 1..=16.
    pub per_cell: usize,
    /// Where in the cell they lie, cells.
    pub shift: f32,
    /// Whether each level has a third tensor with landmarks.
    pub landmarks: bool,
}

/// Appends every candidate at or above the threshold. `outputs`: for each stride `cls [1, n, c]`, `box [1, n, 4]` and, where
/// there are landmarks, `kps [1, n, 10]`.
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    points: &Points,
    activation: Activation,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let classes = wanted.len();
    let per_level = if points.landmarks { 3 } else { 2 };
    for (level, &stride) in points.strides.iter().enumerate() {
        let ((columns, rows), s) = (seen.cells(stride), stride as f32);
        let n = columns * rows * points.per_cell;
        let scores = OutputView::sized(outputs, level * per_level, n * classes)?;
        let boxes = OutputView::sized(outputs, level * per_level + 1, n * 4)?;
        let kps = if points.landmarks { OutputView::sized(outputs, level * per_level + 2, n * 10)? } else { &[] };
        for (i, row) in scores.chunks_exact(classes).enumerate() {
            for (column, value) in row.iter().enumerate().filter(|(c, _)| wanted[*c]) {
                let score = activation.of(*value);
                if score.is_nan() || score < seen.threshold {
                    continue;
                }
                let cell = i / points.per_cell;
                let x = ((cell % columns) as f32 + points.shift) * s;
                let y = ((cell / columns) as f32 + points.shift) * s;
                let d = &boxes[i * 4..][..4];
                let bbox = Box2::from_xyxy(x - d[0] * s, y - d[1] * s, x + d[2] * s, y + d[3] * s);
                let landmarks = points.landmarks.then(|| five(&kps[i * 10..][..10], |dx, dy| (x + dx * s, y + dy * s)));
                seen.push(out, bbox, column, score, landmarks);
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
    fn two_points_share_a_cell() {
        let (mut scores, mut boxes, mut kps) = (vec![0.0; 4], vec![0.0; 16], vec![0.0; 40]);
        // 16x8, stride 8: the second point of the second cell.
        scores[3] = 0.7;
        boxes[12..].copy_from_slice(&[1.0, 0.5, 0.25, 1.0]);
        kps[30] = 1.0;
        let points = Points { strides: vec![8], per_cell: 2, shift: 0.0, landmarks: true };
        let mut out = Vec::new();
        let tensors: [&[f32]; 3] = [&scores, &boxes, &kps];
        decode(&points, Activation::Applied, &[true], &views(&tensors), &seen(16, 8, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), [([0., -4., 10., 12.], 0, 0.7)]);
        let at = out[0].landmarks.expect("landmarks")[0];
        assert_eq!((at.x, at.y), (16., 0.));
        let points = Points { landmarks: false, shift: 0.5, ..points };
        out.clear();
        decode(&points, Activation::Applied, &[true], &views(&tensors), &seen(16, 8, 0.5), &mut out).expect("fits");
        assert_eq!((told(&out)[0].0, out[0].landmarks), ([4., 0., 10., 12.], None));
    }
}
