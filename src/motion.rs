//! What moved: a verdict and boxes. Pure.

use crate::frame::{Frame, MonoNs};
use crate::geom::{Box2, FramePx, Size};

/// Thresholds and time constants.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {}

/// A small picture of luma.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    frame: Size,
}

impl Plane {
    /// Shrinks a frame.
    pub fn set_frame(&mut self, frame: &Frame) {
        self.frame = frame.size();
    }

    /// Shrinks a luma plane of `size` (rows `stride` bytes apart) that stands for a frame of size `frame`. False (and
    /// unchanged) when `luma` is too short.
    pub fn set_luma(&mut self, luma: &[u8], size: Size, stride: usize, frame: Size) -> bool {
        self.frame = frame;
        luma.len() >= stride * size.height as usize
    }
}

/// What kind of frame it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing to compare with: the first frame, another size, or everything differs (the camera was turned).
    First,
    /// Nothing moved.
    Still,
    /// Something moved.
    Moving,
    /// The light changed at once over most of the frame.
    Flash,
}

/// What moved in one frame.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// What kind of frame it was.
    pub kind: Kind,
    /// Where, in frame pixels, biggest first, at most [`MAX_BOXES`].
    pub boxes: &'a [Box2<FramePx>],
    /// Share of the plane that moved, 0..=1.
    pub share: f32,
}

/// The most boxes a verdict holds.
pub const MAX_BOXES: usize = 16;

/// Watches one camera.
#[derive(Default)]
pub struct Motion {
    plane: Plane,
    boxes: Vec<Box2<FramePx>>,
}

impl Motion {
    /// Has seen nothing yet.
    pub fn new(_settings: Settings) -> Self {
        Self::default()
    }

    /// Compares a frame with what came before.
    pub fn look(&mut self, _at: MonoNs, frame: &Frame) -> Verdict<'_> {
        self.plane.set_frame(frame);
        Verdict { kind: Kind::First, boxes: &self.boxes, share: 1.0 }
    }

    /// The same for a plane made elsewhere (a scaled JPEG decode, the Y of YUYV).
    pub fn look_plane(&mut self, _at: MonoNs, _plane: &Plane) -> Verdict<'_> {
        Verdict { kind: Kind::First, boxes: &self.boxes, share: 1.0 }
    }
}
