//! What a model saw in one frame: boxes with a class and a score. No pixels.

use crate::geom::{Box2, FramePx, Point};

/// A confidence in 0..=1. It cannot be NaN, so it has a total order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Score {
    /// Clamped to 0..=1; `None` for NaN (a model that returns one is broken there).
    pub fn new(value: f32) -> Option<Self> {
        // `+ 0.0` turns -0.0 into 0.0, so that equality and order agree.
        (!value.is_nan()).then_some(Self(value.clamp(0.0, 1.0) + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

/// An index into the table of all labels of this run (see [`crate::labels::Labels`]); the same object class has the same id
/// whichever model saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);

/// The five points of a face, in this order: eye at the image's left, eye at its right, nose tip, mouth corner at the
/// image's left, mouth corner at its right.
pub type Landmarks = [Point<FramePx>; 5];

/// One object or face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where, in frame pixels; may reach over the frame's edge.
    pub bbox: Box2<FramePx>,
    /// What.
    pub class: ClassId,
    /// How sure.
    pub score: Score,
    /// Only for faces.
    pub landmarks: Option<Landmarks>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_is_never_nan_and_stays_in_range() {
        assert!(Score::new(f32::NAN).is_none());
        assert_eq!(Score::new(f32::INFINITY).map(Score::get), Some(1.0));
        assert_eq!(Score::new(-3.0).map(Score::get), Some(0.0));
        assert_eq!(Score::new(-0.0), Score::new(0.0));
    }
}
