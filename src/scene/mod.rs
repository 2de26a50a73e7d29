//! Tracks to facts: what is worth a line. Pure.
//!
//! A visit is one track between its `appeared` and its `left`. Between the two, `updated` is said when something changed that
//! matters, and at most once in [`Settings::update_every_ms`] for each track. What it does with the zones and lines of its camera
//! is told in between too ([`places`]); every enter has its exit, at the latest just before the `left`.

pub mod places;

use crate::event::{Body, LeftReason, TrackNo};
use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Size};
use crate::track::{Change, State, Track, TrackId};
use places::{Places, Whereabouts, Who};

/// When an update is worth a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At most one update in this time for each track. Default 1000 ms.
    pub update_every_ms: u64,
    /// A box that overlaps the one told last by less than this has changed. Default 0.7.
    pub same_iou: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { update_every_ms: 1000, same_iou: 0.7 }
    }
}

/// Gives out the numbers of tracks: one counter for all trackers of all cameras, so that a number names one visit.
#[derive(Debug, Default)]
pub struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> TrackNo {
        self.0 = self.0.wrapping_add(1);
        TrackNo(self.0)
    }
}

#[derive(Debug)]
struct Visit {
    id: TrackId,
    no: TrackNo,
    told_at: MonoNs,
    told_box: Box2<FramePx>,
    told_moving: bool,
    /// As it was last known.
    track: Track,
    whereabouts: Whereabouts,
}

/// The visits of one tracker that were told and have not ended.
#[derive(Debug)]
pub struct Visits {
    settings: Settings,
    open: Vec<Visit>,
    size: Size,
    places: Places,
    now: MonoNs,
    /// Of visits that ended, for their memory.
    spare: Vec<Whereabouts>,
}

impl Visits {
    /// None yet; `places` are the zones and lines of their camera.
    pub fn new(settings: Settings, places: Places) -> Self {
        Self { settings, open: Vec::new(), size: Size::default(), places, now: MonoNs(0), spare: Vec::new() }
    }

    /// The number under which a track was told.
    pub fn number(&self, id: TrackId) -> Option<TrackNo> {
        self.open.iter().find(|v| v.id == id).map(|v| v.no)
    }

    /// What one frame brought, as events: who left (its zones' exits first), who appeared, then of each visit `updated` and what it does
    /// with zones and lines. `tracks` are all live ones of the tracker. `say` receives the events.
    pub fn frame(
        &mut self,
        at: MonoNs,
        size: Size,
        tracks: &[Track],
        changes: &[Change],
        numbers: &mut Numbers,
        mut say: impl FnMut(Body),
    ) {
        self.begin(at, size);
        for change in changes {
            if let Change::Left(track) = change {
                self.left(track, LeftReason::Lost, &mut say);
            }
        }
        for change in changes {
            let Change::Appeared(id) = change else { continue };
            let Some(track) = tracks.iter().find(|t| t.id == *id) else { continue };
            let no = numbers.next();
            say(Body::TrackAppeared {
                track: no,
                label: track.class,
                score: track.score,
                bbox: track.bbox.to_unit(size),
            });
            let mut whereabouts = self.spare.pop().unwrap_or_default();
            self.places.settle(track.class, &mut whereabouts);
            self.open.push(Visit {
                id: *id,
                no,
                told_at: at,
                told_box: track.bbox,
                told_moving: track.moving,
                track: *track,
                whereabouts,
            });
        }
        for visit in &mut self.open {
            let Some(track) = tracks.iter().find(|t| t.id == visit.id && t.state == State::Confirmed) else { continue };
            visit.track = *track;
            let changed = track.moving != visit.told_moving || track.bbox.iou(visit.told_box) < self.settings.same_iou;
            if changed && at.ms_since(visit.told_at) >= self.settings.update_every_ms {
                say(Body::TrackUpdated {
                    track: visit.no,
                    label: track.class,
                    score: track.score,
                    bbox: track.bbox.to_unit(size),
                    moving: track.moving,
                });
                (visit.told_at, visit.told_box, visit.told_moving) = (at, track.bbox, track.moving);
            }
            let who = Who { track: visit.no, label: track.class };
            visit.whereabouts.look(at, who, track.bbox, &self.places, &mut say);
        }
    }

    fn begin(&mut self, at: MonoNs, size: Size) {
        self.size = size;
        let back = self.now.0.saturating_sub(at.0);
        self.now = at;
        let scale = self.places.resize(size);
        for visit in &mut self.open {
            // A driver's clock may step back. What is remembered moves with it, as the tracker's memory does.
            if back > 0 {
                let shift = |t: &mut MonoNs| t.0 = t.0.saturating_sub(back);
                shift(&mut visit.told_at);
                visit.whereabouts.shift(shift);
            }
            if let Some(by) = scale {
                visit.whereabouts.scale(by);
            }
        }
    }

    /// All visits end: the camera or the run does. `tracks` is what the tracker knows of them now; of one that is missing
    /// there, what was known last is told.
    pub fn end(&mut self, tracks: &[Track], reason: LeftReason, mut say: impl FnMut(Body)) {
        for track in tracks {
            self.left(track, reason, &mut say);
        }
        while let Some(visit) = self.open.first() {
            let track = visit.track;
            self.left(&track, reason, &mut say);
        }
    }

    fn left(&mut self, track: &Track, reason: LeftReason, say: &mut impl FnMut(Body)) {
        let Some(index) = self.open.iter().position(|v| v.id == track.id) else { return };
        let mut visit = self.open.remove(index);
        let who = Who { track: visit.no, label: track.class };
        visit.whereabouts.end(track.last_seen, who, &self.places, say);
        say(Body::TrackLeft {
            track: visit.no,
            label: track.class,
            bbox: track.bbox.to_unit(self.size),
            dwell_ms: track.last_seen.ms_since(track.first_seen),
            reason,
        });
        self.spare.push(visit.whereabouts);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod visit_tests {
    use super::*;
    use crate::detection::{ClassId, Score};

    fn track(id: u32, x: f32, at_ms: u64) -> Track {
        Track {
            id: TrackId(id),
            class: ClassId(0),
            score: Score::default(),
            bbox: Box2::from_xywh(x, 0.0, 10.0, 10.0),
            first_seen: MonoNs(0),
            last_seen: MonoNs::default().plus_ms(at_ms),
            confirmed_at: Some(MonoNs(0)),
            state: State::Confirmed,
            moving: false,
        }
    }

    fn kinds(visits: &mut Visits, ms: u64, tracks: &[Track], changes: &[Change], n: &mut Numbers) -> Vec<&'static str> {
        let mut out = Vec::new();
        visits.frame(MonoNs::default().plus_ms(ms), Size::new(100, 100), tracks, changes, n, |b| out.push(b.kind()));
        out
    }

    #[test]
    fn a_visit_is_told_once_updated_rarely_and_ended_once() {
        let (mut v, mut n) = (Visits::new(Settings::default(), Places::default()), Numbers::default());
        let appeared = [Change::Appeared(TrackId(1))];
        assert_eq!(kinds(&mut v, 0, &[track(1, 0.0, 0)], &appeared, &mut n), ["track.appeared"]);
        assert!(kinds(&mut v, 500, &[track(1, 30.0, 500)], &[], &mut n).is_empty(), "too soon");
        assert!(kinds(&mut v, 1100, &[track(1, 1.0, 1100)], &[], &mut n).is_empty(), "has hardly moved");
        assert_eq!(kinds(&mut v, 1200, &[track(1, 30.0, 1200)], &[], &mut n), ["track.updated"]);
        let left = [Change::Left(track(1, 30.0, 1200))];
        assert_eq!(kinds(&mut v, 3300, &[], &left, &mut n), ["track.left"]);
        assert!(kinds(&mut v, 3400, &[], &left, &mut n).is_empty());
    }

    #[test]
    fn the_end_of_a_camera_ends_its_visits_with_their_dwell() {
        let (mut v, mut n) = (Visits::new(Settings::default(), Places::default()), Numbers::default());
        kinds(&mut v, 0, &[track(7, 0.0, 0)], &[Change::Appeared(TrackId(7))], &mut n);
        let mut said = Vec::new();
        v.end(&[track(7, 0.0, 4000), track(8, 0.0, 0)], LeftReason::Shutdown, |b| said.push(b));
        assert!(matches!(said[..], [Body::TrackLeft { dwell_ms: 4000, reason: LeftReason::Shutdown, .. }]), "{said:?}");
    }
}
