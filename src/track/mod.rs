//! Which detections belong to one visit: predict, assign, decide. Sees boxes and times only.
//!
//! The association is ByteTrack's (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
//! 2022): sure detections first, then the doubtful ones for the tracks that are left, and a doubtful one never founds a
//! track. Overlap is measured between enlarged boxes (C-BIoU: Yang et al., "Hard to Track Objects with Irregular Motions
//! and Similar Appearances? Make It Easier by Buffering the Matching Space", 2023), so that small or quick things still
//! meet their prediction at 5 frames a second; the enlargement grows with the time a track has not been seen.
//!
//! What differs from the papers, because this tracker sits behind a camera that looks only where something may be:
//!
//! - **Time is milliseconds of the stream**, never frames.
//! - **Not looked at is not missed.** A track ages only in frames in which a region of at least the fineness in which it
//!   was found before covered the place where it is expected ([`Tracker::update`]). A frame in which nothing moved is no
//!   evidence at all ([`Tracker::still`]): a person may sit on the porch for an hour.
//! - **One visit is one track.** Two boxes on one object, a change of label and a few seconds behind a tree must not make
//!   a second one.

mod assign;
mod kalman;

use crate::detection::{ClassId, Detection, Score};
use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Point, Region, Size};
use assign::Assign;
use kalman::{Expected, Filter};

/// Names one visit; counted from 1 by its tracker and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u32);

/// How much a track is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Seen, but not often or surely enough to be told to anybody.
    Tentative,
    /// Told as [`Change::Appeared`], found at the last look.
    Confirmed,
    /// Told as [`Change::Appeared`], looked for and not found at the last look; it may come back.
    Lost,
}

/// One object over time, as the rest of the program sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// Its name.
    pub id: TrackId,
    /// What it is, by the votes of its detections; fixed from the moment it is confirmed, so that who was told of a dog
    /// that came is not told of a cat that left.
    pub class: ClassId,
    /// Score of the last detection that was matched.
    pub score: Score,
    /// Where it was when last matched, smoothed, in frame pixels; may reach over the frame's edge.
    pub bbox: Box2<FramePx>,
    /// First matched detection.
    pub first_seen: MonoNs,
    /// Last matched detection; never before `first_seen`. Their difference is the dwell.
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
    /// Whether it is going or has gone out over the frame's edge.
    pub leaving: bool,
    /// Of the fastest of its four sides, pixels a second.
    pub speed: f32,
}

/// What is known of a track at one time.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    id: TrackId,
    filter: Filter,
    last: Box2<FramePx>,
    frame: Size,
    state: State,
    moving: bool,
}

impl Belief {
    fn of(live: &Live, frame: Size) -> Self {
        let Live { track: Track { id, bbox, state, moving, .. }, filter, .. } = *live;
        Self { id, filter, last: bbox, frame, state, moving }
    }

    /// Where it is expected at that time.
    pub fn at(&self, at: MonoNs) -> Predicted {
        let Self { id, filter, last, frame, state, moving } = *self;
        let expected = filter.expect(at);
        let speed = expected.edges.iter().fold(0f32, |most, e| most.max(e.abs()));
        Predicted { id, bbox: expected.bbox, state, moving, leaving: expected.leaves(last, frame), speed }
    }
}

/// What became of a track in one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Confirmed now; [`Tracker::get`] has it.
    Appeared(TrackId),
    /// Looked for too long without being found; this is how it was. Said once, and only of what appeared.
    Left(Track),
}

/// Thresholds. Scores and overlaps are 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Detections with at least this score are matched first. Default 0.5.
    pub high_score: f32,
    /// Detections below this are ignored; between it and `high_score` they may only continue a track. Default 0.25.
    pub low_score: f32,
    /// A detection founds a track from this score on. Default 0.5.
    pub new_score: f32,
    /// A tentative track is confirmed when it was matched this often within `confirm_within_ms`, or this often in a row
    /// (which is what remains at a frame in two seconds). 1..=8, default 3.
    pub confirm_hits: u32,
    /// See `confirm_hits`. Default 2000 ms.
    pub confirm_within_ms: u64,
    /// One match with at least this score confirms at once. Default 0.85.
    pub instant_score: f32,
    /// How long a confirmed track is looked for in vain before it has left. Default 2000 ms.
    pub lost_after_ms: u64,
    /// The same for one that went out over the frame's edge. Default 500 ms.
    pub exit_after_ms: u64,
    /// The same for one that is not confirmed yet; such a one also ends when it was missed more often than matched.
    /// Default 500 ms.
    pub tentative_ms: u64,
    /// A detection of another class is accepted from this plain IoU on (labels flicker between cat and dog). Default 0.5.
    pub other_class_iou: f32,
    /// A second box of the same class with at least this IoU to a matched one is the same object. Default 0.6.
    pub same_iou: f32,
    /// The same across classes (a frisbee that is also a sports ball). High, because a rider and a bicycle overlap too.
    /// Default 0.8.
    pub same_iou_across: f32,
    /// A second box of the same class with at least this share inside a matched one (or around it) is the same object,
    /// unless it is less than a fifth of it, as a child before its parent. Default 0.85.
    pub same_cover: f32,
    /// Moving starts when the centre is displaced within a second by this many object sizes (square root of the area),
    /// or the size changes by as much. Default 0.25.
    pub moving_start: f32,
    /// Moving ends when the displacement stays below this... Default 0.12.
    pub moving_stop: f32,
    /// ...for this long. Default 1500 ms.
    pub moving_stop_ms: u64,
    /// At most this many live tracks; further detections found none until one ends. Default 256.
    pub max_tracks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            high_score: 0.5,
            low_score: 0.25,
            new_score: 0.5,
            confirm_hits: 3,
            confirm_within_ms: 2000,
            instant_score: 0.85,
            lost_after_ms: 2000,
            exit_after_ms: 500,
            tentative_ms: 500,
            other_class_iou: 0.5,
            same_iou: 0.6,
            same_iou_across: 0.8,
            same_cover: 0.85,
            moving_start: 0.25,
            moving_stop: 0.12,
            moving_stop_ms: 1500,
            max_tracks: 256,
        }
    }
}

/// The most detections of one frame that are considered, the surest first.
const MAX_DETECTIONS: usize = 512;
/// Below this overlap of the enlarged boxes nothing is matched.
const MIN_OVERLAP: f32 = 0.1;
/// The same for doubtful detections: they may continue a track, not move it.
const MIN_OVERLAP_LOW: f32 = 0.4;
/// A box is enlarged on each side by this share of itself...
const BUFFER: f32 = 0.3;
/// ...and by at most this share more when its place is uncertain.
const BUFFER_MORE: f32 = 0.7;
/// Boxes whose areas differ by more than this factor are not one object.
const MAX_AREA_RATIO: f32 = 5.0;
/// A class counts as a track's own when it has at least this share of its votes.
const OWN_CLASS_SHARE: f32 = 0.1;
/// Displacement is measured over this time.
const MOVING_OVER_MS: u64 = 1000;

/// Votes for the classes that a track was called.
#[derive(Clone, Copy, Debug)]
struct Votes {
    list: [(ClassId, f32); 4],
    len: usize,
}

impl Votes {
    fn new(class: ClassId, score: Score) -> Self {
        Self { list: [(class, score.get()); 4], len: 1 }
    }

    fn slice(&self) -> &[(ClassId, f32)] {
        &self.list[..self.len]
    }

    fn add(&mut self, class: ClassId, score: Score) {
        // Old votes fade, slowly: a tally over the last hundred or so.
        for v in &mut self.list[..self.len] {
            v.1 *= 0.99;
        }
        if let Some(v) = self.list[..self.len].iter_mut().find(|v| v.0 == class) {
            v.1 += score.get();
        } else if self.len < self.list.len() {
            self.list[self.len] = (class, score.get());
            self.len += 1;
        } else if let Some(v) = self.list.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)) {
            *v = (class, score.get());
        }
    }

    /// The one with most votes; `current` when it is as good as any.
    fn winner(&self, current: ClassId) -> ClassId {
        let of = |class| self.slice().iter().find(|v| v.0 == class).map_or(0.0, |v| v.1);
        self.slice().iter().fold((current, of(current)), |best, v| if v.1 > best.1 { *v } else { best }).0
    }

    fn holds(&self, class: ClassId) -> bool {
        let total: f32 = self.slice().iter().map(|v| v.1).sum();
        self.slice().iter().any(|v| v.0 == class && v.1 >= total * OWN_CLASS_SHARE)
    }
}

/// A place of the past.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: MonoNs,
    center: Point<FramePx>,
    size: f32,
}

impl Place {
    fn of(at: MonoNs, bbox: Box2<FramePx>) -> Self {
        Self { at, center: bbox.center(), size: bbox.area().sqrt().max(1.0) }
    }

    /// How far apart, in sizes of the one where it is now.
    fn displacement(&self, now: &Self) -> f32 {
        let (dx, dy) = (now.center.x - self.center.x, now.center.y - self.center.y);
        let grown = (now.size - self.size).abs() / now.size.max(self.size);
        ((dx * dx + dy * dy).sqrt() / now.size).max(grown)
    }
}

/// Recent places, to tell going from standing.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// A ring, at least `STEP_MS` apart: enough for the time displacement is measured over.
    places: [Place; Self::LEN],
    len: usize,
    next: usize,
    /// Where it was last known to stand; slow drift away from it is movement too.
    anchor: Place,
    calm_since: Option<MonoNs>,
}

impl Path {
    const LEN: usize = 16;
    const STEP_MS: u64 = 100;

    fn new(place: Place) -> Self {
        Self { places: [place; Self::LEN], len: 1, next: 1, anchor: place, calm_since: None }
    }

    fn shift(&mut self, back: impl Fn(&mut MonoNs)) {
        for p in &mut self.places {
            back(&mut p.at);
        }
        back(&mut self.anchor.at);
        if let Some(t) = &mut self.calm_since {
            back(t);
        }
    }

    /// Notes where it is and says whether it moves, given that it did or did not before.
    fn moving(&mut self, now: Place, was: bool, s: &Settings) -> bool {
        let last = self.places[(self.next + Self::LEN - 1) % Self::LEN];
        if now.at.ms_since(last.at) >= Self::STEP_MS {
            self.places[self.next] = now;
            self.next = (self.next + 1) % Self::LEN;
            self.len = (self.len + 1).min(Self::LEN);
        }
        // The latest place that is old enough, else the oldest there is.
        let oldest = (self.next + Self::LEN - self.len) % Self::LEN;
        let then = (0..self.len)
            .map(|i| &self.places[(oldest + i) % Self::LEN])
            .take_while(|p| now.at.ms_since(p.at) >= MOVING_OVER_MS)
            .last()
            .unwrap_or(&self.places[oldest]);
        let displacement = then.displacement(&now);
        if !was {
            let starts = displacement >= s.moving_start || self.anchor.displacement(&now) >= 2.0 * s.moving_start;
            self.calm_since = None;
            return starts;
        }
        if displacement >= s.moving_stop {
            self.calm_since = None;
            return true;
        }
        let since = *self.calm_since.get_or_insert(now.at);
        let stops = now.at.ms_since(since) >= s.moving_stop_ms;
        if stops {
            self.anchor = now;
        }
        !stops
    }
}

/// A track with what only the tracker needs to know.
struct Live {
    track: Track,
    filter: Filter,
    votes: Votes,
    path: Path,
    /// Matches so far and without a miss between.
    hits: u32,
    streak: u32,
    /// Times of the last matches, a ring.
    hit_times: [MonoNs; 8],
    /// The last look in vain since the last match, and the time spent on looking in vain.
    last_vain: Option<MonoNs>,
    vain_ns: u64,
    /// All looks in vain.
    misses: u32,
    /// The least share of a region's long side that its box had where it was found: what a miss has to be measured by.
    found_at: f32,
    /// The box it was matched with in this frame.
    matched: Option<Box2<FramePx>>,
    /// Where it is expected in this frame.
    expected: Expected,
    confirmed_now: bool,
    gone: bool,
}

impl Live {
    fn new(id: TrackId, at: MonoNs, d: &Seen, s: &Settings) -> Self {
        let filter = Filter::new(at, d.bbox);
        let mut live = Self {
            track: Track {
                id,
                class: d.class,
                score: d.score,
                bbox: d.bbox,
                first_seen: at,
                last_seen: at,
                confirmed_at: None,
                state: State::Tentative,
                moving: false,
            },
            filter,
            votes: Votes::new(d.class, d.score),
            path: Path::new(Place::of(at, d.bbox)),
            hits: 0,
            streak: 0,
            hit_times: [at; 8],
            last_vain: None,
            vain_ns: 0,
            misses: 0,
            found_at: f32::INFINITY,
            matched: Some(d.bbox),
            expected: filter.expect(at),
            confirmed_now: false,
            gone: false,
        };
        live.count_hit(at, d, s);
        live
    }

    fn matches(&mut self, at: MonoNs, d: &Seen, s: &Settings) {
        // A doubtful detection says that it is there, less where.
        self.filter.correct(at, d.bbox, if d.score.get() >= s.high_score { 1.0 } else { 0.5 });
        self.votes.add(d.class, d.score);
        self.track.bbox = self.filter.bbox();
        self.track.score = d.score;
        self.track.last_seen = at;
        self.track.moving = self.path.moving(Place::of(at, self.track.bbox), self.track.moving, s);
        self.matched = Some(d.bbox);
        self.last_vain = None;
        self.vain_ns = 0;
        if self.track.state == State::Lost {
            self.track.state = State::Confirmed;
        }
        self.count_hit(at, d, s);
    }

    fn count_hit(&mut self, at: MonoNs, d: &Seen, s: &Settings) {
        self.hit_times[self.hits as usize % 8] = at;
        self.hits = self.hits.saturating_add(1);
        self.streak = self.streak.saturating_add(1);
        if d.score.get() >= s.high_score && d.fineness > 0.0 {
            self.found_at = self.found_at.min(d.fineness);
        }
        if self.track.state != State::Tentative {
            return;
        }
        self.track.class = self.votes.winner(self.track.class);
        let need = s.confirm_hits.clamp(1, 8);
        let first_of_them = self.hit_times[self.hits.saturating_sub(need) as usize % 8];
        let often = self.hits >= need && at.ms_since(first_of_them) <= s.confirm_within_ms;
        if often || self.streak >= need || d.score.get() >= s.instant_score {
            self.track.state = State::Confirmed;
            self.track.confirmed_at = Some(at);
            self.confirmed_now = true;
        }
    }

    /// Looked for in vain.
    fn missed(&mut self, at: MonoNs, limit_ms: u64) {
        self.streak = 0;
        self.misses = self.misses.saturating_add(1);
        match self.track.state {
            State::Confirmed => self.track.state = State::Lost,
            // False positives come and go, and by chance some meet: what is there is there more often than not.
            State::Tentative => self.gone |= self.misses > self.hits,
            State::Lost => {}
        }
        if let Some(last) = self.last_vain {
            // One pause between two looks is no proof: it takes at least three looks in vain to give up.
            let most = limit_ms.saturating_mul(1_000_000) / 2;
            self.vain_ns = self.vain_ns.saturating_add(at.0.saturating_sub(last.0).min(most));
        }
        self.last_vain = Some(at);
        self.gone |= self.vain_ns / 1_000_000 >= limit_ms.max(1);
    }

    /// Whether it is going or has gone out over the frame's edge.
    fn leaves_frame(&self, frame: Size) -> bool {
        self.expected.leaves(self.track.bbox, frame)
    }

    fn limit_ms(&self, frame: Size, s: &Settings) -> u64 {
        match self.track.state {
            State::Tentative => s.tentative_ms,
            _ if self.leaves_frame(frame) => s.exit_after_ms.min(s.lost_after_ms),
            _ => s.lost_after_ms,
        }
    }

    /// Whether one of the regions would have shown it, had it been there.
    fn was_looked_at(&self, frame: Size, looked: &[Region]) -> bool {
        let b = self.expected.bbox.clip(frame);
        if b.is_empty() || self.expected.bbox.covered_by(frame.bounds()) < 0.5 {
            // Outside there is nothing to look at, and nothing to wait for.
            return true;
        }
        // A region much coarser than any in which it was ever found proves nothing.
        let need = if self.found_at.is_finite() { self.found_at * 0.7 } else { 0.0 };
        looked.iter().any(|r| b.covered_by(r.bounds()) >= 0.5 && fineness(b, r) >= need)
    }

    fn shift(&mut self, by_ns: u64) {
        let back = |t: &mut MonoNs| t.0 = t.0.saturating_sub(by_ns);
        let t = &mut self.track;
        for time in [&mut t.first_seen, &mut t.last_seen, &mut self.filter.at].into_iter().chain(&mut self.hit_times) {
            back(time);
        }
        for time in [&mut t.confirmed_at, &mut self.last_vain].into_iter().flatten() {
            back(time);
        }
        self.path.shift(back);
    }

    fn scale(&mut self, sx: f32, sy: f32) {
        self.filter.scale(f64::from(sx), f64::from(sy));
        self.track.bbox = self.filter.bbox();
        self.path = Path::new(Place::of(self.track.last_seen, self.track.bbox));
        self.found_at = f32::INFINITY;
    }
}

/// A box's long side as a share of the region's.
fn fineness(b: Box2<FramePx>, r: &Region) -> f32 {
    b.width().max(b.height()) / r.size.long_side().max(1) as f32
}

/// A detection as the tracker uses it: clean, and with a note whether it is taken.
#[derive(Clone, Copy)]
struct Seen {
    bbox: Box2<FramePx>,
    class: ClassId,
    score: Score,
    /// Share of the finest looked-at region that holds it; 0 when none does.
    fineness: f32,
    taken: bool,
}

/// The rounds of matching.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    /// Sure detections with what was told.
    Sure,
    /// Doubtful ones with the rest of it.
    Doubtful,
    /// Sure ones that are left with the tentative tracks.
    Tentative,
}

/// Follows the objects of one camera.
pub struct Tracker {
    settings: Settings,
    live: Vec<Live>,
    changes: Vec<Change>,
    last_id: u32,
    now: MonoNs,
    frame: Size,
    // Buffers of `update`.
    seen: Vec<Seen>,
    rows: Vec<usize>,
    cols: Vec<usize>,
    assign: Assign,
}

impl Tracker {
    /// An empty tracker.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            live: Vec::new(),
            changes: Vec::new(),
            last_id: 0,
            now: MonoNs(0),
            frame: Size::default(),
            seen: Vec::new(),
            rows: Vec::new(),
            cols: Vec::new(),
            assign: Assign::default(),
        }
    }

    /// A frame the detector looked at, its size, what was found, and the regions that were looked at
    /// ([`crate::attention::Look::all`]). Give it every frame that was inferred, also when nothing was found: that is
    /// how a track ends.
    ///
    /// A track whose place lies mostly outside all regions was not missed, only not looked at; so was one that was so far
    /// found only in crops, when the only region that holds it is the whole frame.
    pub fn update(&mut self, at: MonoNs, frame: Size, detections: &[Detection], looked: &[Region]) {
        self.begin(at);
        self.resize(frame);
        self.take_in(frame, detections, looked);
        for t in &mut self.live {
            t.expected = t.filter.expect(at);
        }
        for round in [Round::Sure, Round::Doubtful, Round::Tentative] {
            self.match_round(at, round);
        }
        for t in &mut self.live {
            if t.matched.is_none() && t.was_looked_at(frame, looked) {
                t.missed(at, t.limit_ms(frame, &self.settings));
            }
        }
        self.drop_doubles();
        self.found(at);
        self.end(at);
    }

    /// A frame in which nothing moved and nothing was looked at: no evidence for or against. Keeps what stands still.
    pub fn still(&mut self, at: MonoNs) {
        self.unlooked(at, &[]);
    }

    /// A frame in which nothing was looked at and those parts moved. What nothing moves on stands still; of what something moves on nothing
    /// new is known, so it is expected where it was going.
    pub fn unlooked(&mut self, at: MonoNs, moved: &[Box2<FramePx>]) {
        self.begin(at);
        let (frame, s) = (self.frame, &self.settings);
        for t in &mut self.live {
            t.expected = t.filter.expect(at);
            let moves_on = |b: Box2<FramePx>| moved.iter().any(|m| !m.intersection(b).is_empty());
            match t.track.state {
                // What went out over the edge is not kept by a quiet picture: that is what its leaving looks like.
                State::Lost if t.leaves_frame(frame) => t.missed(at, t.limit_ms(frame, s)),
                State::Confirmed if !moves_on(t.track.bbox) && !moves_on(t.expected.bbox) => {
                    t.track.moving = t.path.moving(Place::of(at, t.track.bbox), t.track.moving, s);
                    t.filter.rest(at);
                }
                State::Confirmed | State::Lost | State::Tentative => {}
            }
        }
        self.end(at);
    }

    /// What the last call of [`Tracker::update`] or [`Tracker::unlooked`] changed: first who left, then who appeared, each
    /// in the order of ids.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// All live tracks in the order of ids, tentative ones too.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.live.iter().map(|t| &t.track)
    }

    /// A live track.
    pub fn get(&self, id: TrackId) -> Option<&Track> {
        let i = self.live.binary_search_by_key(&id, |t| t.track.id).ok()?;
        Some(&self.live[i].track)
    }

    /// Where each live track is expected at that time, in the order of ids.
    pub fn predicted(&self, at: MonoNs) -> impl Iterator<Item = Predicted> + '_ {
        self.live.iter().map(move |t| Belief::of(t, self.frame).at(at))
    }

    /// Writes down what [`Tracker::predicted`] goes by, for whoever asks when the tracker has gone on; replaces `into`.
    pub fn remember(&self, into: &mut Vec<Belief>) {
        into.clear();
        into.extend(self.live.iter().map(|t| Belief::of(t, self.frame)));
    }

    /// Everything leaves, for a reason that the caller knows (shutdown, the camera went away): gives the tracks that had
    /// appeared, in the order of ids. The tracker may be used on; ids go on counting.
    pub fn finish(&mut self) -> Vec<Track> {
        self.changes.clear();
        self.live.drain(..).map(|t| t.track).filter(|t| t.confirmed_at.is_some()).collect()
    }

    fn begin(&mut self, at: MonoNs) {
        self.changes.clear();
        // A driver's clock may step back. Everything known moves with it, so that durations stay right.
        let back = self.now.0.saturating_sub(at.0);
        for t in &mut self.live {
            if back > 0 {
                t.shift(back);
            }
            t.matched = None;
            t.confirmed_now = false;
        }
        self.now = at;
    }

    fn resize(&mut self, frame: Size) {
        let old = std::mem::replace(&mut self.frame, frame);
        if old != frame && old.pixels() > 0 && frame.pixels() > 0 {
            let (sx, sy) = (frame.width as f32 / old.width as f32, frame.height as f32 / old.height as f32);
            for t in &mut self.live {
                t.scale(sx, sy);
            }
        }
    }

    /// Fills `seen`: usable boxes of a sufficient score, the surest first.
    fn take_in(&mut self, frame: Size, detections: &[Detection], looked: &[Region]) {
        // A model may say anything; half a frame beyond the edge is as far as a real object reaches.
        let reach = frame.bounds().scale_about_center(2.0);
        self.seen.clear();
        for d in detections {
            if d.bbox.is_empty() || d.score.get() < self.settings.low_score {
                continue;
            }
            let bbox = d.bbox.intersection(reach);
            let inside = bbox.clip(frame);
            if inside.is_empty() {
                continue;
            }
            let finest = looked
                .iter()
                .filter(|r| inside.covered_by(r.bounds()) >= 0.8)
                .map(|r| fineness(inside, r))
                .fold(0.0, f32::max);
            self.seen.push(Seen { bbox, class: d.class, score: d.score, fineness: finest, taken: false });
        }
        // As a rule they come in that order, and a sort that keeps ties would take memory to find out.
        if !self.seen.is_sorted_by_key(|d| std::cmp::Reverse(d.score)) {
            self.seen.sort_by_key(|d| std::cmp::Reverse(d.score));
        }
        self.seen.truncate(MAX_DETECTIONS);
    }

    fn match_round(&mut self, at: MonoNs, round: Round) {
        let Self { settings, live, seen, rows, cols, assign, .. } = self;
        rows.clear();
        cols.clear();
        assign.clear();
        let sure = |d: &Seen| d.score.get() >= settings.high_score;
        rows.extend((0..live.len()).filter(|&i| {
            live[i].matched.is_none() && (live[i].track.state == State::Tentative) == (round == Round::Tentative)
        }));
        cols.extend((0..seen.len()).filter(|&j| !seen[j].taken && sure(&seen[j]) == (round != Round::Doubtful)));
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        for (r, &i) in rows.iter().enumerate() {
            for (c, &j) in cols.iter().enumerate() {
                assign.edge(r, c, affinity(&live[i], &seen[j], round, settings));
            }
        }
        for &(r, c) in assign.solve(rows.len(), cols.len()) {
            let (t, d) = (&mut live[rows[r]], &mut seen[cols[c]]);
            d.taken = true;
            t.matches(at, d, settings);
        }
    }

    /// A tentative track on an object that a told one has too is not a second object.
    fn drop_doubles(&mut self) {
        for i in 0..self.live.len() {
            let t = &self.live[i];
            let (Some(bbox), true) = (t.matched, t.confirmed_now || t.track.state == State::Tentative) else {
                continue;
            };
            let double = self.live.iter().enumerate().any(|(k, other)| {
                // Of two that are equally new, the older one stays.
                let before = other.track.confirmed_at.is_some() && !other.confirmed_now || k < i;
                before && !other.gone && is_double(bbox, t.track.class, other, &self.settings)
            });
            if double {
                self.live[i].gone = true;
                self.live[i].confirmed_now = false;
                self.live[i].track.state = State::Tentative;
                self.live[i].track.confirmed_at = None;
            }
        }
    }

    /// New tracks from what nobody claimed.
    fn found(&mut self, at: MonoNs) {
        let Self { settings, live, seen, .. } = self;
        for d in seen.iter().filter(|d| !d.taken && d.score.get() >= settings.new_score.max(settings.low_score)) {
            if live.len() >= settings.max_tracks || self.last_id == u32::MAX {
                break;
            }
            if live.iter().any(|t| !t.gone && is_double(d.bbox, d.class, t, settings)) {
                continue;
            }
            self.last_id += 1;
            live.push(Live::new(TrackId(self.last_id), at, d, settings));
        }
    }

    fn end(&mut self, at: MonoNs) {
        let Self { settings, live, changes, .. } = self;
        for t in live.iter_mut() {
            // Nobody knows of a tentative track, so it may be forgotten when nobody looks for it either.
            let forgotten = t.matched.is_none()
                && t.track.state == State::Tentative
                && at.ms_since(t.track.last_seen) >= settings.tentative_ms.saturating_mul(8);
            t.gone |= forgotten;
            if t.gone && t.track.confirmed_at.is_some() {
                changes.push(Change::Left(t.track));
            }
        }
        live.retain(|t| !t.gone);
        changes.extend(live.iter().filter(|t| t.confirmed_now).map(|t| Change::Appeared(t.track.id)));
    }
}

/// How well a detection fits a track, 0..=1; 0 for not at all.
fn affinity(t: &Live, d: &Seen, round: Round, s: &Settings) -> f32 {
    let (a, b) = (t.expected.bbox, d.bbox);
    let buffer = match round {
        Round::Doubtful => BUFFER,
        Round::Sure | Round::Tentative => BUFFER + t.expected.spread.min(BUFFER_MORE),
    };
    let factor = 1.0 + 2.0 * buffer;
    // Most pairs of a large scene are nowhere near each other.
    let reach = factor / 2.0;
    if (a.x0 + a.x1 - b.x0 - b.x1).abs() / 2.0 >= (a.width() + b.width()) * reach
        || (a.y0 + a.y1 - b.y0 - b.y1).abs() / 2.0 >= (a.height() + b.height()) * reach
    {
        return 0.0;
    }
    let iou = a.iou(b);
    let wide = a.scale_about_center(factor).iou(b.scale_about_center(factor));
    let min = if round == Round::Doubtful { MIN_OVERLAP_LOW } else { MIN_OVERLAP };
    let (small, large) = (a.area().min(b.area()), a.area().max(b.area()));
    if wide < min || (large > small * MAX_AREA_RATIO && iou < 0.15) {
        return 0.0;
    }
    let own = t.votes.holds(d.class);
    if !own && iou < s.other_class_iou {
        return 0.0;
    }
    // The mean of both, so that a wide buffer does not make a long unseen track the better match. Squared, so that one
    // good pair beats two poor ones.
    let fit = (iou + wide) / 2.0 * if own { 1.0 } else { 0.7 };
    fit * fit
}

/// Whether a box of that class shows what `t` was matched with in this frame.
fn is_double(bbox: Box2<FramePx>, class: ClassId, t: &Live, s: &Settings) -> bool {
    let Some(matched) = t.matched else { return false };
    let same = t.votes.holds(class);
    [matched, t.track.bbox].into_iter().any(|known| {
        let iou = bbox.iou(known);
        let cover = bbox.covered_by(known).max(known.covered_by(bbox));
        let (small, large) = (bbox.area().min(known.area()), bbox.area().max(known.area()));
        iou >= s.same_iou_across || (same && (iou >= s.same_iou || (cover >= s.same_cover && small >= large * 0.2)))
    })
}

#[cfg(test)]
mod tests;
