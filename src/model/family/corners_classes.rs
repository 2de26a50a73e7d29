//! Boxes that the graph has decoded, as two corners, and a score per class (Linzaer's Ultra-Light with its decoding inside).

use super::{Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: `box [1, n, 4]` (left, top, right, bottom; 0..1 of the input
/// with `unit`, else input pixels) and `classes [1, n, c]`.
///
/// # Errors
/// [`ModelError::Tensor`] when the tensors hold no whole rows, or not as many.
pub fn decode(
    unit: bool,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let boxes = OutputView::whole(outputs, 0, 4)?;
    let scores = OutputView::sized(outputs, 1, boxes.len() / 4 * wanted.len())?;
    let (w, h) = if unit { (seen.input.width as f32, seen.input.height as f32) } else { (1.0, 1.0) };
    for (b, row) in boxes.chunks_exact(4).zip(scores.chunks_exact(wanted.len())) {
        for (column, score) in row.iter().enumerate().filter(|(c, s)| wanted[*c] && **s >= seen.threshold) {
            seen.push(out, Box2::from_xyxy(b[0] * w, b[1] * h, b[2] * w, b[3] * h), column, *score, None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn corners_are_of_the_input() {
        let (boxes, scores) = ([0.25, 0.5, 0.75, 1.0, 0., 0., 1., 1.], [0.9, 0.6, 0.8, 0.2]);
        let mut out = Vec::new();
        decode(true, &[false, true], &views(&[&boxes, &scores]), &seen(40, 20, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), [([10., 10., 20., 10.], 1, 0.6)]);
        assert!(decode(true, &[true], &views(&[&boxes, &scores]), &seen(40, 20, 0.5), &mut out).is_err());
        assert!(decode(true, &[true], &views(&[&boxes[1..], &scores]), &seen(40, 20, 0.5), &mut out).is_err());
    }
}
