//! Where to look this frame: motion boxes, predicted tracks and sweeps become square crops. Pure.

use crate::frame::MonoNs;
use crate::geom::{Region, Size};
use crate::motion::Verdict;
use crate::track::Predicted;

/// Intervals and sizes.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {}

/// What to look at in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// The whole frame, beside the regions.
    pub whole: bool,
    /// Crops.
    pub regions: &'a [Region],
}

impl Look<'_> {
    /// Nothing to do: the frame counts as still.
    pub fn is_empty(&self) -> bool {
        !self.whole && self.regions.is_empty()
    }

    /// Everything that is looked at, the whole frame first: what to infer on and what to give to
    /// [`crate::track::Tracker::update`].
    pub fn all(&self, frame: Size) -> impl Iterator<Item = Region> + '_ {
        self.whole.then_some(Region::whole(frame)).into_iter().chain(self.regions.iter().copied())
    }
}

/// Decides for one camera.
#[derive(Default)]
pub struct Attention {
    regions: Vec<Region>,
}

impl Attention {
    /// Has looked at nothing yet.
    pub fn new(_settings: Settings) -> Self {
        Self::default()
    }

    /// Where to look in the frame of time `at`.
    pub fn choose(
        &mut self,
        _at: MonoNs,
        _frame: Size,
        _verdict: &Verdict<'_>,
        _tracks: impl IntoIterator<Item = Predicted>,
    ) -> Look<'_> {
        Look { whole: true, regions: &self.regions }
    }
}
