//! Output tensors to detections, one file per tensor layout. No model names here: a layout is named by what it holds.

pub mod anchors_box_classscores;
pub mod stride_cls_obj_box_kps;

/// The families, as cards name them.
pub const NAMES: [&str; 3] = ["stride-cls-obj-box-kps", "anchors-box-classscores", "embedding"];

use crate::geom::{Box2, FramePx, Point, Region, Size};

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
