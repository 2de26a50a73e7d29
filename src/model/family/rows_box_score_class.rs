//! Rows that the model has suppressed itself: left, top, right, bottom, score, class (the form most exporters give to models
//! with suppression inside). Rows with a class the labels do not have are padding.

use super::{Candidate, Seen};
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: `[1, n, 6]` or `[n, 6]`; corners are 0..1 of the input with
/// `unit`, else input pixels.
///
/// # Errors
/// [`ModelError::Tensor`] when the tensor does not hold whole rows.
pub fn decode(
    unit: bool,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let (w, h) = if unit { (seen.input.width as f32, seen.input.height as f32) } else { (1.0, 1.0) };
    for row in OutputView::rows(outputs, 0, 6)? {
        let column = row[5].round();
        // A comparison with NaN is false: such a row is no candidate.
        if row[4] >= seen.threshold && column >= 0.0 && wanted.get(column as usize) == Some(&true) {
            let bbox = Box2::from_xyxy(row[0] * w, row[1] * h, row[2] * w, row[3] * h);
            seen.push(out, bbox, column as usize, row[4], None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{seen, told, views};
    use super::*;

    #[test]
    fn padding_and_unknown_classes_are_passed_over() {
        #[rustfmt::skip]
        let data = [
            1., 2., 5., 8., 0.9, 1.0,
            1., 2., 5., 8., 0.9, 7.0,
            1., 2., 5., 8., 0.9, -1.0,
            1., 2., 5., 8., 0.9, f32::NAN,
            0., 0., 0., 0., 0.0, 0.0,
        ];
        let mut out = Vec::new();
        decode(false, &[true, true], &views(&[&data]), &seen(16, 16, 0.0), &mut out).expect("fits");
        assert_eq!(told(&out), [([1., 2., 4., 6.], 1, 0.9)]);
    }
}
