//! Which detections belong to one visit: predict, assign, decide. Sees boxes and times only.

use crate::detection::{ClassId, Detection, Score};
use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Region, Size};

/// Names one visit; counted from 1 by its tracker and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u32);

/// How much a track is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Seen, but not often or surely enough to be told to anybody.
    Tentative,
    /// Told as `Appeared`, found at the last look.
    Confirmed,
    /// Told as `Appeared`, looked for and not found at the last look; it may come back.
    Lost,
}

/// One object over time, as the rest of the program sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// Its name.
    pub id: TrackId,
    /// What it is, by the votes of its detections; fixed from the moment it is confirmed.
    pub class: ClassId,
    /// Score of the last detection that was matched.
    pub score: Score,
    /// Where it was when last matched, smoothed, in frame pixels; may reach over the frame's edge.
    pub bbox: Box2<FramePx>,
    /// First matched detection.
    pub first_seen: MonoNs,
    /// Last matched detection; `last_seen - first_seen` is the dwell.
    pub last_seen: MonoNs,
    /// When it was confirmed.
    pub confirmed_at: Option<MonoNs>,
    /// How much it is believed.
    pub state: State,
    /// Whether it goes somewhere, with hysteresis in space and time.
    pub moving: bool,
}

/// Where a live track is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Whose.
    pub id: TrackId,
    /// Expected box, frame pixels; may reach over the frame's edge.
    pub bbox: Box2<FramePx>,
    /// How much the track is believed.
    pub state: State,
    /// Whether it goes somewhere.
    pub moving: bool,
}

/// What became of the tracks in one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Confirmed now; find it in [`Tracker::get`].
    Appeared(TrackId),
    /// Looked for too long without being found; this is its last state.
    Left(Track),
}

/// Thresholds; see each default.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {}

/// Follows the objects of one camera.
pub struct Tracker {
    changes: Vec<Change>,
    live: Vec<Track>,
}

impl Tracker {
    /// An empty tracker.
    pub fn new(_settings: Settings) -> Self {
        Self { changes: Vec::new(), live: Vec::new() }
    }

    /// A frame the detector looked at: `looked` are the regions it saw.
    pub fn update(&mut self, _at: MonoNs, _frame: Size, _detections: &[Detection], _looked: &[Region]) {
        self.changes.clear();
    }

    /// A frame in which nothing moved and nothing was looked at.
    pub fn still(&mut self, _at: MonoNs) {
        self.changes.clear();
    }

    /// What the last call changed: first who left, then who appeared, each by id.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// All live tracks by id.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.live.iter()
    }

    /// A live track.
    pub fn get(&self, id: TrackId) -> Option<&Track> {
        self.live.iter().find(|t| t.id == id)
    }

    /// Where each live track is expected at that time, by id.
    pub fn predicted(&self, _at: MonoNs) -> impl Iterator<Item = Predicted> + '_ {
        self.live.iter().map(|t| Predicted { id: t.id, bbox: t.bbox, state: t.state, moving: t.moving })
    }

    /// Everything leaves: the tracks that were told as appeared, by id. The caller knows why. Ids go on counting.
    pub fn finish(&mut self) -> Vec<Track> {
        self.changes.clear();
        std::mem::take(&mut self.live)
    }
}
