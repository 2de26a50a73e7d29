//! Anchor-free levels, each with four tensors: class, objectness, box and five landmarks (YuNet: Wu et al., "YuNet: a tiny
//! millisecond-level face detector", 2023; decoding as in libfacedetection.train and OpenCV's `FaceDetectorYN`).
//!
//! For a level with `s` pixels per cell and the cell (col, row), row-major:
//!
//! ```text
//! score = sqrt(clip01(cls) * clip01(obj))
//! cx = (col + b0) * s    cy = (row + b1) * s    w = exp(b2) * s    h = exp(b3) * s
//! landmark j = ((col + k[2j]) * s, (row + k[2j+1]) * s)
//! ```

use super::{Candidate, Seen};
use crate::detection::Score;
use crate::geom::{Box2, Point};
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// Appends every candidate at or above the threshold. `outputs`: for each stride `cls [1,n,1]`, `obj [1,n,1]`,
/// `box [1,n,4]`, `kps [1,n,10]` with `n = (height / s) * (width / s)`.
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    strides: &[u32],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    for (level, &stride) in strides.iter().enumerate() {
        let columns = (seen.input.width / stride) as usize;
        let cells = columns * (seen.input.height / stride) as usize;
        let part = |k: usize, per_cell: usize| OutputView::sized(outputs, level * 4 + k, cells * per_cell);
        let (cls, obj, boxes, kps) = (part(0, 1)?, part(1, 1)?, part(2, 4)?, part(3, 10)?);
        let s = stride as f32;
        // sqrt is monotonic: comparing the product spares a root for each of the many empty cells.
        let product_floor = seen.threshold * seen.threshold;
        for (i, (c, o)) in cls.iter().zip(obj).enumerate() {
            let product = c.clamp(0.0, 1.0) * o.clamp(0.0, 1.0);
            if product < product_floor {
                continue;
            }
            let Some(score) = Score::new(product.sqrt()) else { continue };
            let (col, row) = ((i % columns) as f32, (i / columns) as f32);
            let b = &boxes[i * 4..i * 4 + 4];
            let k = &kps[i * 10..i * 10 + 10];
            let bbox = Box2::from_cxcywh((col + b[0]) * s, (row + b[1]) * s, b[2].exp() * s, b[3].exp() * s);
            let landmarks =
                std::array::from_fn(|j| seen.mapping.point(Point::new((col + k[2 * j]) * s, (row + k[2 * j + 1]) * s)));
            let bbox = seen.mapping.boxed(bbox);
            if !bbox.is_empty() {
                out.push(Candidate { bbox, column: 0, score, landmarks: Some(landmarks) });
            }
        }
    }
    Ok(())
}
