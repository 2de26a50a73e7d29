//! What may be known of the tracks when the next frame is begun.

use crate::frame::MonoNs;
use crate::track::{Belief, Predicted, Tracker};

/// Frames for which a look's answer may be unknown: the one after it, and one more where nothing is looked at in that one.
const LAG: usize = 2;

/// One look stays out of sight while the next frames are begun, so that two frames can be looked at beside each other. A frame in which
/// nothing is looked at has no answer, so it keeps nobody waiting; but nothing is decided without a look that is older than two frames.
///
/// Where to look in a file's frame depends on this and on the frames alone, not on what happens to be done: a replay says the same
/// whatever the number of threads.
#[derive(Debug)]
pub struct Hindsight {
    /// What the tracker believed before the last look.
    before: Vec<Belief>,
    /// Frames begun since one was in which something is looked at.
    since: usize,
}

impl Default for Hindsight {
    /// Nothing has been looked at.
    fn default() -> Self {
        Self { before: Vec::new(), since: LAG }
    }
}

impl Hindsight {
    /// Whether the next frame is begun as if the last look had no answer yet.
    pub fn lags(&self) -> bool {
        self.since < LAG
    }

    /// Where each track was expected at that time, as far as was known before the last look.
    pub fn predicted(&self, at: MonoNs) -> impl Iterator<Item = Predicted> + '_ {
        self.before.iter().map(move |belief| belief.at(at))
    }

    /// A frame was begun.
    pub fn begun(&mut self, looked: bool) {
        self.since = if looked { 0 } else { self.since.saturating_add(1) };
    }

    /// The tracker is about to be told of a look.
    pub fn remember(&mut self, tracker: &Tracker) {
        tracker.remember(&mut self.before);
    }

    /// The tracks are no more.
    pub fn forget(&mut self) {
        self.before.clear();
    }
}
