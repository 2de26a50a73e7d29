//! Names for tracks: which faces are worth an embedding, what they say together, and what of that has been told.
//!
//! A look at a frame brings faces, each bound to the track it belongs to. Of those that pass the gate the best are embedded in
//! one batch: at most [`MOST_PER_LOOK`] a look, at most [`MOST_PER_SECOND`] of a track in any second, one a second once a
//! track has a name or is unknown. Each embedding is compared with the whole gallery, given to the track's vote, and wiped.
//! All in stream time, so that a replay names the same.

use std::collections::BTreeMap;

use super::embed::Embedding;
use super::gallery::{Gallery, Index, Template};
use super::quality::{Gate, measure};
use super::vote::{PersonId, Settings, Verdict, Vote};
use crate::detection::{Detection, Landmarks};
use crate::event::PersonNo;
use crate::frame::{Frame, MonoNs};
use crate::geom::{Box2, FramePx, Point};
use crate::model::ModelError;
use crate::track::{State, Track, TrackId};

/// Embeddings of one look: one batch.
pub const MOST_PER_LOOK: usize = 4;
/// Embeddings of one track in any second.
pub const MOST_PER_SECOND: usize = 3;
/// Time between embeddings of a track whose identity was told.
const SETTLED_MS: u64 = 1000;
/// A face below this share of the best one of late waits for a better one, for a second at most.
const MUCH_WORSE: f32 = 0.7;

/// Whose face: the track of a person who holds it, or that of a face which nobody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A track of the object detector.
    Person(TrackId),
    /// A track of faces.
    Face(TrackId),
}

/// What is to be told of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
    /// See [`Verdict`].
    Verdict(Verdict),
    /// The person's consent has lapsed meanwhile.
    Expired(PersonId),
    /// The person was taken out of the gallery. By number, for there is no place any more.
    Removed(PersonNo),
}

/// What is known of one track.
#[derive(Debug)]
struct Case {
    vote: Vote,
    embedded: [Option<MonoNs>; MOST_PER_SECOND],
    best: f32,
    /// A verdict that waits until the track itself is told.
    waiting: Option<Verdict>,
    /// The name that was told and not revoked.
    told: Option<PersonId>,
}

impl Case {
    fn new(settings: Settings) -> Self {
        Self { vote: Vote::new(settings), embedded: [None; MOST_PER_SECOND], best: 0.0, waiting: None, told: None }
    }

    fn last(&self) -> Option<MonoNs> {
        self.embedded.iter().flatten().copied().max()
    }

    /// Whether a face of this rank is worth an embedding now.
    fn worth(&self, at: MonoNs, rank: f32) -> bool {
        let Some(last) = self.last() else { return true };
        let since = at.ms_since(last);
        if since >= SETTLED_MS {
            return true;
        }
        let settled = self.vote.named().is_some() || self.vote.is_unknown();
        let lately = self.embedded.iter().flatten().filter(|t| at.ms_since(**t) < 1000).count();
        !settled && lately < MOST_PER_SECOND && rank >= MUCH_WORSE * self.best
    }

    fn embedded(&mut self, at: MonoNs, rank: f32) {
        let recent = self.last().is_some_and(|t| at.ms_since(t) < 2000);
        self.best = if recent { self.best.max(rank) } else { rank };
        self.embedded.rotate_left(1);
        self.embedded[MOST_PER_SECOND - 1] = Some(at);
    }

    /// A verdict that nobody was told of yet cancels out with its revocation.
    fn take(&mut self, verdict: Verdict, say: &mut impl FnMut(Told)) {
        match verdict {
            Verdict::Revoked { person, .. } => {
                self.waiting = None;
                if self.told.take() == Some(person) {
                    say(Told::Verdict(verdict));
                }
            }
            other => self.waiting = Some(other),
        }
    }
}

/// The cases of one camera.
#[derive(Debug)]
pub struct Cases {
    settings: Settings,
    open: BTreeMap<Holder, Case>,
}

impl Cases {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, open: BTreeMap::new() }
    }

    /// All tracks have ended.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// The gallery was replaced: names of those who are gone are taken back at once, `say` is told.
    pub fn rearrange(&mut self, moved: &Moved, mut say: impl FnMut(Holder, Told)) {
        for (holder, case) in &mut self.open {
            case.vote.rearrange(|p| moved.place(p));
            case.waiting = match case.waiting.take() {
                Some(Verdict::Recognized { person, similarity, margin, faces }) => {
                    moved.place(person).map(|person| Verdict::Recognized { person, similarity, margin, faces })
                }
                other => other,
            };
            if let Some(person) = case.told.take() {
                case.told = moved.place(person);
                if case.told.is_none() {
                    say(*holder, Told::Removed(moved.number(person)));
                }
            }
        }
    }
}

/// What became of the persons of a gallery that was replaced.
#[derive(Debug)]
pub struct Moved {
    /// Number and new place of each, by the old one.
    old: Vec<(PersonNo, Option<PersonId>)>,
    /// Names that were never heard before, in the order of their numbers.
    pub fresh: Vec<String>,
}

impl Moved {
    fn place(&self, person: PersonId) -> Option<PersonId> {
        self.old.get(person.0 as usize).and_then(|(_, place)| *place)
    }

    fn number(&self, person: PersonId) -> PersonNo {
        self.old.get(person.0 as usize).map_or(PersonNo(u32::MAX), |(number, _)| *number)
    }
}

/// Names that one run can get to know, over all changes of its gallery.
const MAX_ROLL: usize = 4 * super::gallery::MAX_PERSONS;

struct Candidate {
    holder: Holder,
    landmarks: Landmarks,
    rank: f32,
}

/// The gallery in use.
pub struct Identity {
    index: Index,
    expires: Vec<Option<i64>>,
    /// Whose vectors they are.
    maker: [u8; 32],
    /// Every name of this run; a name's place is its number in events, which outlives its place in the gallery.
    roll: Vec<String>,
    /// The number of each person, in the gallery's order.
    numbers: Vec<PersonNo>,
    gate: Gate,
    /// Of each vote.
    pub settings: Settings,
    /// The clock that consent lapses by, for replays: when the run began.
    pub began_ms: i64,
    // Buffers of `look`.
    scratch: Vec<u8>,
    candidates: Vec<Candidate>,
    landmarks: Vec<Landmarks>,
    likeness: Vec<f32>,
    unlapsed: Vec<Option<f32>>,
    embeddings: Vec<Option<Embedding>>,
}

impl Identity {
    /// Of the persons of `gallery`.
    pub fn new(gallery: &Gallery, gate: Gate, settings: Settings, began_ms: i64) -> Self {
        Self {
            index: Index::new(gallery),
            expires: gallery.persons().iter().map(|p| p.expires_ms).collect(),
            maker: gallery.embedder,
            roll: gallery.persons().iter().map(|p| p.name.clone()).collect(),
            numbers: (0..).zip(gallery.persons()).map(|(i, _)| PersonNo(i)).collect(),
            gate,
            settings,
            began_ms,
            scratch: Vec::new(),
            candidates: Vec::new(),
            landmarks: Vec::new(),
            likeness: Vec::new(),
            unlapsed: Vec::new(),
            embeddings: Vec::new(),
        }
    }

    /// Hash of the embedder that the gallery must be of.
    pub fn embedder(&self) -> [u8; 32] {
        self.maker
    }

    /// The number by which events name a person.
    pub fn number(&self, person: PersonId) -> PersonNo {
        self.numbers.get(person.0 as usize).copied().unwrap_or(PersonNo(u32::MAX))
    }

    /// Takes a changed gallery of the same embedder (`None`: it was deleted, so nobody is known). Give what it returns to
    /// every camera's [`Cases::rearrange`].
    pub fn replace(&mut self, gallery: Option<&Gallery>) -> Moved {
        let persons = gallery.map_or(&[][..], Gallery::persons);
        let known: BTreeMap<&str, u32> = (0..).zip(&self.roll).map(|(i, name)| (name.as_str(), i)).collect();
        let mut fresh = Vec::new();
        let mut numbers = Vec::with_capacity(persons.len());
        for person in persons {
            numbers.push(PersonNo(known.get(person.name.as_str()).copied().unwrap_or_else(|| {
                if self.roll.len() + fresh.len() < MAX_ROLL {
                    fresh.push(person.name.clone());
                    (self.roll.len() + fresh.len() - 1) as u32
                } else {
                    // Nobody has enrolled so many; they are matched and have no name.
                    u32::MAX
                }
            })));
        }
        let places: BTreeMap<PersonNo, PersonId> =
            numbers.iter().zip(0..).map(|(number, i)| (*number, PersonId(i))).collect();
        let old = self.numbers.iter().map(|number| (*number, places.get(number).copied())).collect();
        self.roll.extend(fresh.iter().cloned());
        self.numbers = numbers;
        self.expires = persons.iter().map(|p| p.expires_ms).collect();
        self.index = gallery.map_or_else(|| Index::nobody(self.index.dimensions()), Index::new);
        Moved { old, fresh }
    }

    /// One look: `faces` with their holders, of tracks that are alive: `alive` tells which. `embed` turns those that are worth it into the
    /// gallery's vectors, as [`Embedder::embed`](super::embed::Embedder::embed) does; it may exchange the lists. `say` receives what became
    /// known of tracks that were told (`told`); of the others it waits.
    ///
    /// # Errors
    /// When inference fails; what was known stays.
    #[allow(clippy::too_many_arguments)] // one call, of the report stage
    pub fn look(
        &mut self,
        cases: &mut Cases,
        frame: &Frame,
        now_ms: i64,
        faces: &[(Holder, Detection)],
        embed: impl FnOnce(&mut Vec<Landmarks>, &mut Vec<Option<Embedding>>) -> Result<(), ModelError>,
        alive: impl Fn(Holder) -> bool,
        told: impl Fn(Holder) -> bool,
        mut say: impl FnMut(Holder, Told),
    ) -> Result<(), ModelError> {
        let at = frame.stamp.at;
        let Self { candidates, landmarks, likeness, unlapsed, embeddings, expires, .. } = self;
        cases.open.retain(|holder, _| alive(*holder));
        let lapsed = |p: PersonId| expires.get(p.0 as usize).copied().flatten().is_some_and(|t| t <= now_ms);
        for (holder, case) in &mut cases.open {
            if let Some(person) = case.vote.named().filter(|p| lapsed(*p)) {
                case.vote.forget(person);
                case.waiting = None;
                if case.told.take() == Some(person) {
                    say(*holder, Told::Expired(person));
                }
            }
        }
        candidates.clear();
        for (holder, face) in faces {
            let Some(landmarks) = face.landmarks else { continue };
            let Some(quality) = measure(frame, &landmarks, face.score, &mut self.scratch) else { continue };
            let Ok(rank) = self.gate.check(&quality) else { continue };
            if cases.open.get(holder).is_none_or(|c| c.worth(at, rank)) {
                candidates.push(Candidate { holder: *holder, landmarks, rank });
            }
        }
        // Those without a name first, then the best faces; the holder decides between equals.
        let settled = |c: &Candidate| cases.open.get(&c.holder).is_some_and(|c| c.vote.named().is_some());
        candidates
            .sort_by(|a, b| settled(a).cmp(&settled(b)).then(b.rank.total_cmp(&a.rank)).then(a.holder.cmp(&b.holder)));
        candidates.truncate(MOST_PER_LOOK);
        let outcome = if candidates.is_empty() {
            Ok(())
        } else {
            landmarks.clear();
            landmarks.extend(candidates.iter().map(|c| c.landmarks));
            embed(landmarks, embeddings)
        };
        if outcome.is_ok() {
            for (candidate, embedding) in candidates.iter().zip(embeddings.drain(..)) {
                let Some(embedding) = embedding else { continue };
                self.index.search(&Template::of(&embedding), likeness);
                unlapsed.clear();
                let likeness = likeness.iter().enumerate();
                unlapsed.extend(likeness.map(|(i, l)| (!lapsed(PersonId(i as u32))).then_some(*l)));
                let case = cases.open.entry(candidate.holder).or_insert_with(|| Case::new(cases.settings));
                case.embedded(at, candidate.rank);
                for verdict in case.vote.face(at, unlapsed, candidate.rank).into_iter().flatten() {
                    case.take(verdict, &mut |t| say(candidate.holder, t));
                }
            }
        }
        for (holder, case) in &mut cases.open {
            if told(*holder)
                && let Some(verdict) = case.waiting.take()
            {
                if let Verdict::Recognized { person, .. } = verdict {
                    case.told = Some(person);
                }
                say(*holder, Told::Verdict(verdict));
            }
        }
        outcome
    }
}

/// A track that was not found for so long keeps no face from one that is there.
const GHOST_MS: u64 = 500;

/// Which person each face belongs to, where that is clear: each person has one face and each face one person, the nearest
/// head first. A face between two heads belongs to nobody: better no name than another's. A track that
/// has been looked for in vain for half a second has no head to confuse a present one's with. Replaces what `into` holds.
pub fn bind<'a>(
    at: MonoNs,
    persons: impl Iterator<Item = &'a Track> + Clone,
    faces: &[Detection],
    holds: impl Fn(Box2<FramePx>, Box2<FramePx>) -> bool,
    into: &mut Bound,
) {
    let head = |b: Box2<FramePx>| Point::<FramePx>::new(b.center().x, b.y0 + 0.12 * b.height());
    let far = |t: &Track, d: &Detection| {
        let (h, c) = (head(t.bbox), d.bbox.center());
        (h.x - c.x).hypot(h.y - c.y) / d.bbox.width().max(1.0)
    };
    let Bound { pairs, faces: bound } = into;
    pairs.clear();
    bound.clear();
    for (i, face) in faces.iter().enumerate() {
        let holders = || persons.clone().filter(|t| holds(t.bbox, face.bbox));
        let present = |t: &Track| t.state != State::Lost || at.ms_since(t.last_seen) < GHOST_MS;
        let some_present = holders().any(present);
        let closer = |a: (f32, TrackId), b: (f32, TrackId)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt();
        let (mut first, mut second) = (None, None);
        for t in holders().filter(|t| !some_present || present(t)) {
            let this = (far(t, face), t.id);
            if first.is_none_or(|first| closer(this, first)) {
                (first, second) = (Some(this), first);
            } else if second.is_none_or(|second| closer(this, second)) {
                second = Some(this);
            }
        }
        match (first, second) {
            (Some((distance, id)), None) => pairs.push((distance, id, i)),
            (Some((nearest, id)), Some((next, _))) if next >= nearest + 1.0 => pairs.push((nearest, id, i)),
            _ => {}
        }
    }
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    for &(_, id, i) in pairs.iter() {
        if !bound.iter().any(|(h, _)| *h == Holder::Person(id)) {
            bound.push((Holder::Person(id), faces[i]));
        }
    }
}

/// Faces and whose they are, in memory that is used again.
#[derive(Default)]
pub struct Bound {
    /// What may belong together: how far apart, whose, which face.
    pairs: Vec<(f32, TrackId, usize)>,
    /// Each with its holder.
    pub faces: Vec<(Holder, Detection)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{ClassId, Score};

    fn at(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    fn track(id: u32, x: f32, y: f32, w: f32, h: f32) -> Track {
        Track {
            id: TrackId(id),
            class: ClassId(0),
            score: Score::default(),
            bbox: Box2::from_xywh(x, y, w, h),
            first_seen: at(0),
            last_seen: at(0),
            confirmed_at: Some(at(0)),
            state: State::Confirmed,
            moving: false,
        }
    }

    fn face(x: f32, y: f32, side: f32) -> Detection {
        let bbox = Box2::from_xywh(x, y, side, side);
        Detection { bbox, class: ClassId(1), score: Score::default(), landmarks: None }
    }

    fn inside(body: Box2<FramePx>, face: Box2<FramePx>) -> bool {
        body.contains(face.center())
    }

    #[test]
    fn a_face_goes_to_the_head_it_is_on_and_to_nobody_between_two() {
        let persons = [track(1, 0.0, 0.0, 100.0, 300.0), track(2, 80.0, 0.0, 100.0, 300.0)];
        let bound = |faces: &[Detection]| -> Vec<Holder> {
            let mut bound = Bound::default();
            bind(at(0), persons.iter(), faces, inside, &mut bound);
            bound.faces.into_iter().map(|(h, _)| h).collect()
        };
        assert_eq!(bound(&[face(35.0, 20.0, 30.0)]), [Holder::Person(TrackId(1))]);
        assert_eq!(bound(&[face(75.0, 20.0, 30.0)]), [], "between two heads");
        // Two faces in one body: the one at its head.
        let two = [face(35.0, 150.0, 30.0), face(35.0, 20.0, 30.0)];
        let mut bound = Bound::default();
        bind(at(0), persons[..1].iter(), &two, inside, &mut bound);
        let bound = bound.faces;
        assert_eq!(bound.len(), 1);
        assert_eq!(bound[0].1.bbox.y0, 20.0);
    }

    #[test]
    fn a_ghost_does_not_keep_a_face_from_the_head_it_is_on() {
        let bound = |states: [State; 2], ms: u64| -> Vec<Holder> {
            let mut persons = [track(1, 0.0, 0.0, 100.0, 300.0), track(2, 10.0, 0.0, 100.0, 300.0)];
            persons.iter_mut().zip(states).for_each(|(t, state)| t.state = state);
            let mut bound = Bound::default();
            bind(at(ms), persons.iter(), &[face(35.0, 20.0, 30.0)], inside, &mut bound);
            bound.faces.into_iter().map(|(h, _)| h).collect()
        };
        let (there, lost) = (State::Confirmed, State::Lost);
        assert_eq!(bound([there, lost], 499), []);
        assert_eq!(bound([there, lost], 500), [Holder::Person(TrackId(1))]);
        assert_eq!(bound([lost, there], 500), [Holder::Person(TrackId(2))]);
        // Not two who are both there, nor two who are both gone.
        assert_eq!(bound([there, State::Tentative], 500), []);
        assert_eq!(bound([lost, lost], 500), []);
    }

    #[test]
    fn a_track_gets_few_embeddings_and_fewer_once_it_is_settled() {
        let mut case = Case::new(Settings::default());
        let mut times = Vec::new();
        for ms in (0..2000).step_by(100) {
            if case.worth(at(ms), 0.8) {
                case.embedded(at(ms), 0.8);
                times.push(ms);
            }
        }
        for t in &times {
            assert!(times.iter().filter(|u| (*t..t + 1000).contains(*u)).count() <= MOST_PER_SECOND, "{times:?}");
        }
        assert!(times.len() >= 4);
        assert!(
            !case.worth(at(2000), 0.1) || case.last().is_some_and(|t| at(2000).ms_since(t) >= 1000),
            "a bad one waits"
        );
        for ms in [3000, 4000] {
            case.vote.face(at(ms), &[Some(0.9)], 1.0);
            case.embedded(at(ms), 0.8);
        }
        assert!(case.vote.named().is_some());
        assert!(!case.worth(at(4500), 0.8) && case.worth(at(5000), 0.8));
    }

    #[test]
    fn what_nobody_was_told_needs_no_revocation() {
        let mut case = Case::new(Settings::default());
        let person = PersonId(3);
        let mut said = Vec::new();
        case.take(Verdict::Recognized { person, similarity: 0.8, margin: 0.4, faces: 2 }, &mut |t| said.push(t));
        case.take(Verdict::Revoked { person, overtaken: false }, &mut |t| said.push(t));
        assert!(said.is_empty() && case.waiting.is_none());
        case.told = Some(person);
        case.take(Verdict::Revoked { person, overtaken: false }, &mut |t| said.push(t));
        assert_eq!(said.len(), 1);
    }
}
