//! Fixed anchors with offsets in one tensor and a score per class in another (SSD: Liu et al., "SSD: Single Shot MultiBox
//! Detector", 2016; anchors and variances as in TensorFlow's object detection API).
//!
//! Anchors are ordered level, row, column, shape; centre `((i + .5) / n)`, `h = scale / sqrt(ratio)`,
//! `w = scale * sqrt(ratio)`, all relative to the input. With variances (v0, v1):
//!
//! ```text
//! cy = ty / v0 * ah + acy    cx = tx / v0 * aw + acx    h = exp(th / v1) * ah    w = exp(tw / v1) * aw
//! ```

use super::{Candidate, Seen};
use crate::detection::Score;
use crate::geom::Box2;
use crate::model::ModelError;
use crate::model::infer::OutputView;

/// One anchor, relative to the input: centre y, centre x, height, width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnchorBox {
    cy: f32,
    cx: f32,
    h: f32,
    w: f32,
}

/// All anchors in the order of the tensors' rows.
pub fn anchors(grids: &[u32], shapes: &[Vec<[f32; 2]>]) -> Vec<AnchorBox> {
    let mut all = Vec::new();
    for (&n, level) in grids.iter().zip(shapes) {
        for row in 0..n {
            for col in 0..n {
                for &[scale, ratio] in level {
                    let root = ratio.sqrt();
                    all.push(AnchorBox {
                        cy: (row as f32 + 0.5) / n as f32,
                        cx: (col as f32 + 0.5) / n as f32,
                        h: scale / root,
                        w: scale * root,
                    });
                }
            }
        }
    }
    all
}

/// Appends every candidate above the threshold. `outputs`: `box [1,n,..4]` (ty, tx, th, tw) and `score [1,n,classes]`;
/// `is_class` says which columns are classes.
///
/// # Errors
/// [`ModelError::Tensor`] when a tensor has another number of elements.
pub fn decode(
    anchors: &[AnchorBox],
    variances: [f32; 2],
    is_class: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    let boxes = OutputView::sized(outputs, 0, anchors.len() * 4)?;
    let scores = OutputView::sized(outputs, 1, anchors.len() * is_class.len())?;
    let (width, height) = (seen.input.width as f32, seen.input.height as f32);
    for ((anchor, offsets), row) in anchors.iter().zip(boxes.chunks_exact(4)).zip(scores.chunks_exact(is_class.len())) {
        // Nearly all anchors see nothing but background. Without a way out the loop is one of vectors: a quarter of the time that asking each
        // score takes.
        let sees = |any, (&value, &wanted): (&f32, &bool)| any | ((value > seen.threshold) & wanted);
        if !row.iter().zip(is_class).fold(false, sees) {
            continue;
        }
        for (column, (&value, &wanted)) in row.iter().zip(is_class).enumerate() {
            if value <= seen.threshold || !wanted {
                continue;
            }
            let Some(score) = Score::new(value) else { continue };
            let cy = offsets[0] / variances[0] * anchor.h + anchor.cy;
            let cx = offsets[1] / variances[0] * anchor.w + anchor.cx;
            let h = (offsets[2] / variances[1]).exp() * anchor.h;
            let w = (offsets[3] / variances[1]).exp() * anchor.w;
            let bbox = seen.mapping.boxed(Box2::from_cxcywh(cx * width, cy * height, w * width, h * height));
            if !bbox.is_empty() {
                out.push(Candidate { bbox, column: column as u16, score, landmarks: None });
            }
        }
    }
    Ok(())
}
