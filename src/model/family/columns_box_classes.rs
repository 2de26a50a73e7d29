//! One tensor with a column for each candidate: centre x, centre y, width, height in input pixels, then a score per class; no
//! objectness (the head of Jocher et al., "Ultralytics YOLOv8", 2023, as their documentation describes the exported tensor).

use super::{Activation, Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: `[1, 4 + classes, n]`.
///
/// # Errors
/// [`ModelError::Tensor`] when the tensor does not hold whole columns.
pub fn decode(
    activation: Activation,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let width = 4 + wanted.len();
    let all = OutputView::whole(outputs, 0, width)?;
    let n = all.len() / width;
    if n == 0 {
        return Ok(());
    }
    let (boxes, scores) = all.split_at(4 * n);
    // Class by class: the scores of one class lie side by side.
    for (column, line) in scores.chunks_exact(n).enumerate().filter(|(c, _)| wanted[*c]) {
        for (i, value) in line.iter().enumerate() {
            let score = activation.of(*value);
            if score >= seen.threshold {
                let at = |k: usize| boxes[k * n + i];
                seen.push(out, Box2::from_cxcywh(at(0), at(1), at(2), at(3)), column, score, None);
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
    fn columns_are_read_across() {
        #[rustfmt::skip]
        let data = [
            10., 20., 30.,
            11., 21., 31.,
            2., 4., 6.,
            4., 6., 8.,
            0.1, 0.9, 0.1,
            0.1, 0.1, 0.6,
        ];
        let mut out = Vec::new();
        decode(Activation::Applied, &[true, true], &views(&[&data]), &seen(64, 64, 0.5), &mut out).expect("fits");
        assert_eq!(told(&out), [([18., 18., 4., 6.], 0, 0.9), ([27., 27., 6., 8.], 1, 0.6)]);
        assert!(decode(Activation::Applied, &[true], &views(&[&data]), &seen(64, 64, 0.5), &mut out).is_err());
    }
}
