//! Output tensors to detections, one file per tensor layout. No model names here: a layout is named by what it holds.
//!
//! Decoders know one picture: of a batch each gets its part of every tensor ([`super::infer::OutputView::of_picture`]).
//!
//! | family | tensors (batch of one) | boxes |
//! | --- | --- | --- |
//! | `stride-cls-obj-box-kps` | four a level | centre offset and log size in cells, five landmarks |
//! | `anchors-box-classscores` | box, score | offsets from anchors of square grids |
//! | `grid-box-obj-classes` | `[1, n, 5 + c]` | as above, or ready in input pixels; objectness times class |
//! | `stride-cls-dfl` | two a level, or one | distances to the four sides, each a distribution over bins |
//! | `columns-box-classes` | `[1, 4 + c, n]` | centre and size in input pixels, no objectness |
//! | `priors-box-classes` | box, classes, perhaps landmarks and quality | offsets from prior boxes, with variances |
//! | `corners-classes` | box, classes | ready: two corners |
//! | `points-cls-box-kps` | two or three a level | distances from grid points to the four sides |
//! | `planes-obj-box-classes` | `[1, 5 + c, h, w]` | centre offset by tanh, size by sigmoid |
//! | `heatmap-size-offset` | three maps | peaks of a heat map |
//! | `rows-box-score-class` | `[1, n, 6]` | ready, suppressed by the model itself |
//! | `embedding` | `[1, d]` | none |

pub mod anchors_box_classscores;
pub mod columns_box_classes;
pub mod corners_classes;
pub mod grid_box_obj_classes;
pub mod heatmap_size_offset;
pub mod planes_obj_box_classes;
pub mod points_cls_box_kps;
pub mod priors_box_classes;
pub mod rows_box_score_class;
pub mod stride_cls_dfl;
pub mod stride_cls_obj_box_kps;

/// The families, as cards name them.
pub const NAMES: [&str; 12] = [
    "stride-cls-obj-box-kps",
    "anchors-box-classscores",
    "grid-box-obj-classes",
    "stride-cls-dfl",
    "columns-box-classes",
    "priors-box-classes",
    "corners-classes",
    "points-cls-box-kps",
    "planes-obj-box-classes",
    "heatmap-size-offset",
    "rows-box-score-class",
    "embedding",
];

use crate::detection::Score;
use crate::geom::{Box2, FramePx, ModelPx, Point, Region, Size};

/// A box before it has a label: the class is still a column of the model.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// In frame pixels.
    pub bbox: Box2<FramePx>,
    /// Column of the class scores.
    pub column: u16,
    /// 0..=1.
    pub score: crate::detection::Score,
    /// For faces.
    pub landmarks: Option<[Point<FramePx>; 5]>,
}

/// What a decoder must know of the picture that went in.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The tensor's width and height.
    pub input: Size,
    /// Tensor pixels to frame pixels.
    pub mapping: crate::geom::Mapping,
    /// The part of the frame that was looked at.
    pub region: Region,
    /// Candidates below it are not made.
    pub threshold: f32,
}

impl Seen {
    /// Cells of a level with `stride` pixels a cell: columns, rows; a rest at the edge counts as a cell.
    fn cells(&self, stride: u32) -> (usize, usize) {
        (self.input.width.div_ceil(stride) as usize, self.input.height.div_ceil(stride) as usize)
    }

    /// Enters a candidate unless its score is no number or below the threshold, or its box holds nothing.
    fn push(
        &self,
        out: &mut Vec<Candidate>,
        bbox: Box2<ModelPx>,
        column: usize,
        score: f32,
        landmarks: Option<[Point<ModelPx>; 5]>,
    ) {
        let Some(score) = Score::new(score).filter(|s| s.get() >= self.threshold) else { return };
        let bbox = self.mapping.boxed(bbox);
        if bbox.is_empty() {
            return;
        }
        let landmarks = landmarks.map(|l| l.map(|p| self.mapping.point(p)));
        out.push(Candidate { bbox, column: column as u16, score, landmarks });
    }
}

/// What the graph left to do on its scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Scores are 0..=1.
    #[default]
    Applied,
    /// Scores are logits, each on its own.
    Sigmoid,
}

impl Activation {
    /// The score, 0..=1 for every finite value.
    pub fn of(self, value: f32) -> f32 {
        match self {
            Self::Applied => value,
            Self::Sigmoid => sigmoid(value),
        }
    }

    /// As cards spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Sigmoid => "sigmoid",
        }
    }
}

/// The logistic function.
fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

/// Ten values `x0 y0 x1 y1 ...` as five points, each through `at`.
fn five(values: &[f32], at: impl Fn(f32, f32) -> (f32, f32)) -> [Point<ModelPx>; 5] {
    std::array::from_fn(|j| {
        let (x, y) = at(values[2 * j], values[2 * j + 1]);
        Point::new(x, y)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::geom::Mapping;
    use crate::model::infer::OutputView;

    /// An input of that size that lies at the frame's corner in its own size.
    pub(crate) fn seen(width: u32, height: u32, threshold: f32) -> Seen {
        let input = Size::new(width, height);
        Seen { input, mapping: Mapping::new((1.0, 1.0), (0.0, 0.0)), region: Region::whole(input), threshold }
    }

    pub(crate) fn views<'a>(data: &[&'a [f32]]) -> Vec<OutputView<'a>> {
        data.iter().map(|data| OutputView { name: "t", dims: &[], data }).collect()
    }

    /// Left, top, width, height; column; score.
    pub(crate) fn told(candidates: &[Candidate]) -> Vec<([f32; 4], u16, f32)> {
        let row = |c: &Candidate| {
            let b = c.bbox;
            ([b.x0, b.y0, b.width(), b.height()].map(|v| (v * 100.0).round() / 100.0), c.column, c.score.get())
        };
        candidates.iter().map(row).collect()
    }

    #[test]
    fn what_is_no_number_is_no_candidate() {
        let (s, mut out) = (seen(64, 64, 0.5), Vec::new());
        s.push(&mut out, Box2::from_xywh(0., 0., 9., 9.), 0, f32::NAN, None);
        s.push(&mut out, Box2::from_xywh(0., 0., f32::NAN, 9.), 0, 0.9, None);
        s.push(&mut out, Box2::from_xywh(0., 0., f32::INFINITY, 9.), 0, 0.9, None);
        s.push(&mut out, Box2::from_xywh(0., 0., -1., 9.), 0, 0.9, None);
        s.push(&mut out, Box2::from_xywh(0., 0., 9., 9.), 0, 0.49, None);
        assert!(out.is_empty());
    }
}
