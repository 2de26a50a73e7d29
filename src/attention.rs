//! Where to look this frame: motion boxes, predicted tracks and sweeps become square crops. Pure.
//!
//! A detector with a small input does not see small things in a large frame: SSDLite (300x300) misses a person of 120 to
//! 180 pixels in 1280x720 and finds the same person at .95 in a square crop. So the whole frame is looked at only now and
//! then (a *sweep*), and what moved, or is known, gets crops of its own:
//!
//! - what moved and is not explained by a confirmed track: in every frame; where [`Settings::vain_looks`] showed nothing, as in a bush
//!   in the wind or in the place that somebody has just left, ever more rarely, until it moves elsewhere too;
//! - tentative tracks: in every frame, until they are confirmed or forgotten;
//! - lost tracks: every [`Settings::lost_every_ms`] while something moves there, else every [`Settings::calm_every_ms`], until found or
//!   given up;
//! - confirmed tracks on which something moves: before they have moved by a tenth of themselves, at most every
//!   [`Settings::track_every_ms`] and at least every [`Settings::calm_every_ms`];
//! - of these, those that go out over the frame's edge or meet another track: every [`Settings::urgent_every_ms`], so that it is told when
//!   they left, and who is who;
//! - confirmed tracks that stand: after 1, 2, 4 ... seconds ([`Settings::sweep_ms`], [`Settings::longest_ms`]).
//!
//! For comparison with programs that know no better there is [`Settings::every_frame`]: the whole of every frame, and nothing
//! else.
//!
//! One crop serves several of these when none of them becomes too small in it. When there are more crops than
//! [`Settings::max_regions`], or [`Settings::soon_regions`] where the next frame is near, those that were passed over longest come first, so
//! that each has its turn.

use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Region, Size};
use crate::motion::{Kind, MAX_BOXES, Verdict};
use crate::track::{Predicted, State, TrackId};

/// Intervals and sizes. Times are of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Look at the whole of every frame and at no part of it, whatever moved: no other setting counts then. Default false.
    pub every_frame: bool,
    /// Between looks at the whole frame while something moves. Default 1000 ms.
    pub sweep_ms: u64,
    /// The same when nothing moves and nothing is known. Twice as long after each, up to [`Settings::longest_sweep_ms`]. Default 10000 ms.
    pub idle_sweep_ms: u64,
    /// Longest interval between looks at the whole of a scene in which nothing moves. Whatever comes moves, and is looked at then; what this is
    /// for is what was there before in too little light. Default 60000 ms.
    pub longest_sweep_ms: u64,
    /// Longest interval between looks at a track that stands. Default 30000 ms: what leaves moves, and is looked at then; a parked car is in
    /// view all night.
    pub longest_ms: u64,
    /// Shortest time between looks at a confirmed track on which something moves; 0 for every frame. Default 100 ms: ten looks a second
    /// are enough to follow somebody who runs, and a third of the work at 30 frames a second; at 150 ms what is told of somebody who walks
    /// lags visibly.
    pub track_every_ms: u64,
    /// Longest time between looks at such a track, while it does not move from where it is; also for what has moved of late or was lost,
    /// while nothing moves there. Default 400 ms; no less than [`Settings::track_every_ms`].
    pub calm_every_ms: u64,
    /// Between looks at a track that leaves or meets another. Default 50 ms.
    pub urgent_every_ms: u64,
    /// After so many looks at one moving place that showed nothing there it is looked at after 200 ms, 400, 800 ..., at most
    /// [`Settings::sweep_ms`]. Default 3; 0 counts as 1.
    pub vain_looks: u32,
    /// Between looks for a lost track. Default 150 ms.
    pub lost_every_ms: u64,
    /// At most this many crops in a frame, at least 1. Default 4.
    pub max_regions: usize,
    /// The same, and the look at the whole frame counts, in a frame that came no later than [`Settings::soon_ms`] after the one before: what is
    /// left then need not wait long, and what is told of a frame waits for all that is looked at in it. Default 2.
    pub soon_regions: usize,
    /// See [`Settings::soon_regions`]. Default 100 ms; 0 for never.
    pub soon_ms: u64,
    /// Least side of a crop, pixels: the side of the model's input. Default 300.
    pub min_crop: u32,
    /// Side of a crop as a multiple of the object's long side, at least 1. Default 1.6.
    pub context: f32,
    /// An object's long side is at least this share of the region it is looked for in, 0..=1; below it the detector gets
    /// poor. Default 0.3.
    pub min_share: f32,
    /// When moved cells, or the boxes around them, have this share of the frame, the whole of it is looked at. Default 0.5.
    pub whole_share: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every_frame: false,
            sweep_ms: 1000,
            idle_sweep_ms: 10_000,
            longest_sweep_ms: 60_000,
            longest_ms: 30_000,
            track_every_ms: 100,
            calm_every_ms: 400,
            urgent_every_ms: 50,
            vain_looks: 3,
            lost_every_ms: 150,
            max_regions: 4,
            soon_regions: 2,
            soon_ms: 100,
            min_crop: 300,
            context: 1.6,
            min_share: 0.3,
            whole_share: 0.5,
        }
    }
}

/// What to look at in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// The whole frame, beside the regions.
    pub whole: bool,
    /// Crops inside the frame, the most urgent first; square unless the frame is too small for that.
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

/// What is remembered of a track.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: TrackId,
    looked: MonoNs,
    /// Until the next look while it stands.
    interval_ms: u64,
    /// Frames in which it wanted a look and got none.
    waited: u32,
    /// Of this frame.
    bbox: Box2<FramePx>,
    state: State,
    moving: bool,
    /// It goes out over the frame's edge or into another track's place: now it matters where it is.
    urgent: bool,
    /// See [`Predicted::speed`].
    speed: f32,
    /// Something moves on it.
    stirred: bool,
    wants: bool,
    present: bool,
}

impl Known {
    /// Between looks while it moves: until it has moved by a share of itself.
    fn pace_ms(&self, s: &Settings) -> u64 {
        let (least, most) = (s.track_every_ms, s.calm_every_ms.max(s.track_every_ms));
        if !self.stirred {
            return most;
        }
        let long = self.bbox.width().max(self.bbox.height());
        // `as` saturates.
        ((1000.0 * TRAVEL * long / self.speed.max(0.1)) as u64).clamp(least, most)
    }
}

/// A wish for a crop.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// What must be inside.
    need: Box2<FramePx>,
    /// Least and greatest side, pixels.
    side: f32,
    most: f32,
    waited: u32,
    /// 0 is the most urgent.
    rank: u8,
    looked: MonoNs,
    motion: bool,
    /// Among wishes of the same urgency.
    turn: usize,
}

impl Wish {
    /// The side of a square for both; `None` when one of them would be too small in it.
    fn with(&self, other: &Self) -> Option<Self> {
        let need = self.need.hull(other.need);
        let side = self.side.max(other.side).max(need.width()).max(need.height());
        let most = self.most.min(other.most);
        (side <= most).then(|| Self {
            need,
            side,
            most,
            waited: self.waited.max(other.waited),
            rank: self.rank.min(other.rank),
            looked: self.looked.min(other.looked),
            motion: self.motion || other.motion,
            turn: self.turn.min(other.turn),
        })
    }

    fn urgency(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.waited), self.rank, self.looked)
    }
}

/// A place where something moves that no track explains.
#[derive(Clone, Copy, Debug)]
struct Unrest {
    place: Box2<FramePx>,
    /// What moves there in this frame.
    now: Box2<FramePx>,
    /// Looks there since nothing was known there.
    looks: u32,
    looked: MonoNs,
    /// When something moved there last.
    moved: MonoNs,
    /// In this frame, and it is time for a look.
    wants: bool,
}

impl Unrest {
    /// Until the next look.
    fn pause_ms(&self, settings: &Settings) -> u64 {
        let Some(in_vain) = self.looks.checked_sub(settings.vain_looks.max(1)) else { return 0 };
        (FIRST_PAUSE_MS << in_vain.min(16)).min(settings.sweep_ms)
    }
}

/// After the last look in vain that is still forgiven.
const FIRST_PAUSE_MS: u64 = 200;
/// What moves has to stay so much inside the place where it moved before, or it is something new: whoever comes in grows out of it.
const SAME_PLACE: f32 = 0.9;
/// Something is known at a place when it has so much of the smaller of both.
const KNOWN_THERE: f32 = 0.1;
/// Places that are remembered; with more, the newest are looked at in every frame.
const MAX_UNREST: usize = 2 * MAX_BOXES;

/// So much of its long side a track may be expected to move until the next look.
const TRAVEL: f32 = 0.1;
/// More wishes than this in one frame wait for the next.
const MAX_WISHES: usize = 32;
/// Space around an object that shares its crop, as a share of its long side on each side.
const MARGIN: f32 = 0.15;

/// Decides for one camera.
pub struct Attention {
    settings: Settings,
    frame: Size,
    now: MonoNs,
    started: bool,
    last_whole: MonoNs,
    whole_interval_ms: u64,
    /// Frames in which unexplained motion got no crop.
    motion_waited: u32,
    known: Vec<Known>,
    unrest: Vec<Unrest>,
    wishes: Vec<Wish>,
    regions: Vec<Region>,
}

impl Attention {
    /// Has looked at nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            whole_interval_ms: settings.sweep_ms,
            settings,
            frame: Size::default(),
            now: MonoNs(0),
            started: false,
            last_whole: MonoNs(0),
            motion_waited: 0,
            known: Vec::new(),
            unrest: Vec::with_capacity(MAX_UNREST),
            wishes: Vec::new(),
            regions: Vec::new(),
        }
    }

    /// Where to look in the frame of time `at`. `tracks` is [`crate::track::Tracker::predicted`] for the same time.
    ///
    /// What it returns counts as looked at: call it once for each frame, and look.
    pub fn choose(
        &mut self,
        at: MonoNs,
        frame: Size,
        verdict: &Verdict<'_>,
        tracks: impl IntoIterator<Item = Predicted>,
    ) -> Look<'_> {
        self.regions.clear();
        self.wishes.clear();
        let soon = at > self.now && at.ms_since(self.now) <= self.settings.soon_ms;
        self.begin(at, frame);
        if frame.pixels() == 0 {
            return Look { whole: false, regions: &self.regions };
        }
        if self.settings.every_frame {
            return Look { whole: true, regions: &self.regions };
        }
        self.meet(at, frame, verdict, tracks);
        let mut whole = self.sweep(at, frame, verdict);
        self.wish(at, frame, verdict, whole);
        let motion_wished = self.wishes.iter().any(|w| w.motion);
        self.merge();
        self.wishes.sort_by_key(Wish::urgency);
        let Settings { max_regions, soon_regions, .. } = self.settings;
        let most = if soon { max_regions.min(soon_regions.saturating_sub(usize::from(whole))) } else { max_regions };
        self.wishes.truncate(most.max(1));
        let motion_served = self.wishes.iter().any(|w| w.motion);
        self.motion_waited = if motion_wished && !motion_served { self.motion_waited.saturating_add(1) } else { 0 };
        for w in &self.wishes {
            let region = square(w.need, w.side, frame);
            if region.is_whole(frame) {
                (whole, self.last_whole) = (true, at);
            } else if !self.regions.contains(&region) {
                self.regions.push(region);
            }
        }
        self.note(at, frame, whole);
        Look { whole, regions: &self.regions }
    }

    /// A clock that stepped back takes all that was noted with it; another frame size starts the looking anew.
    fn begin(&mut self, at: MonoNs, frame: Size) {
        let back = self.now.0.saturating_sub(at.0);
        if back > 0 {
            self.last_whole.0 = self.last_whole.0.saturating_sub(back);
            for k in &mut self.known {
                k.looked.0 = k.looked.0.saturating_sub(back);
            }
            self.unrest.clear();
        }
        if self.frame != frame {
            self.started = false;
            self.frame = frame;
            self.unrest.clear();
        }
        self.now = at;
    }

    /// Takes over the tracks of this frame.
    fn meet(&mut self, at: MonoNs, frame: Size, verdict: &Verdict<'_>, tracks: impl IntoIterator<Item = Predicted>) {
        let s = &self.settings;
        for k in &mut self.known {
            k.present = false;
        }
        for t in tracks {
            let bbox = t.bbox.clip(frame);
            let stirred = verdict.boxes.iter().any(|m| !m.intersection(bbox).is_empty());
            let fresh = Known {
                id: t.id,
                looked: at,
                interval_ms: s.sweep_ms,
                waited: 0,
                bbox,
                state: t.state,
                moving: t.moving,
                urgent: t.leaving && stirred,
                speed: t.speed,
                stirred,
                wants: false,
                present: true,
            };
            match self.known.binary_search_by_key(&t.id, |k| k.id) {
                Ok(i) => {
                    let k = &mut self.known[i];
                    *k = Known { looked: k.looked, interval_ms: k.interval_ms, waited: k.waited, ..fresh };
                }
                Err(i) => self.known.insert(i, fresh),
            }
        }
        self.known.retain(|k| k.present);
        for i in 1..self.known.len() {
            let (before, rest) = self.known.split_at_mut(i);
            let Some(this) = rest.first_mut() else { break };
            for other in before {
                let settled = this.state != State::Tentative && other.state != State::Tentative;
                let calm = s.calm_every_ms;
                let quick = this.pace_ms(s) < calm || other.pace_ms(s) < calm;
                if settled && quick && !this.bbox.intersection(other.bbox).is_empty() {
                    this.urgent |= this.stirred;
                    other.urgent |= other.stirred;
                }
            }
        }
        for k in &mut self.known {
            if k.moving || k.stirred || k.state != State::Confirmed {
                k.interval_ms = s.sweep_ms;
            }
        }
    }

    /// Whether it is time for the whole frame.
    fn sweep(&mut self, at: MonoNs, frame: Size, verdict: &Verdict<'_>) -> bool {
        let s = &self.settings;
        let busy = verdict.kind != Kind::Still || self.known.iter().any(|k| k.moving || k.state != State::Confirmed);
        let shortest = if busy || !self.known.is_empty() { s.sweep_ms } else { s.idle_sweep_ms };
        if busy {
            self.whole_interval_ms = s.sweep_ms;
        }
        let interval = self.whole_interval_ms.max(shortest);
        // More boxes than fit into the verdict: nobody knows where the others are.
        let boxed: f32 = verdict.boxes.iter().map(|b| b.area()).sum();
        let much = verdict.boxes.len() >= MAX_BOXES
            || (verdict.kind == Kind::Moving
                && verdict.share.max(boxed / frame.bounds().area().max(1.0)) >= s.whole_share);
        let first = !self.started || verdict.kind == Kind::First;
        let whole = first || much || at.ms_since(self.last_whole) >= interval;
        if whole {
            self.started = true;
            self.last_whole = at;
            if !busy {
                self.whole_interval_ms = interval.saturating_mul(2).min(s.longest_sweep_ms.max(s.sweep_ms));
            }
        }
        whole
    }

    /// Collects what wants a crop.
    fn wish(&mut self, at: MonoNs, frame: Size, verdict: &Verdict<'_>, whole: bool) {
        let Self { settings: s, known, unrest, wishes, motion_waited, .. } = self;
        let (min_crop, context) = (s.min_crop.max(1) as f32, s.context.max(1.0));
        let min_share = s.min_share.clamp(0.01, 1.0);
        let seen_whole = |long: f32| whole && long >= min_share * frame.long_side() as f32;
        for k in known.iter_mut() {
            let since = at.ms_since(k.looked);
            k.wants = match k.state {
                State::Tentative => true,
                State::Lost if k.stirred => since >= s.lost_every_ms,
                State::Lost => since >= s.calm_every_ms.max(s.lost_every_ms),
                State::Confirmed if k.urgent => since >= s.urgent_every_ms,
                State::Confirmed if k.moving || k.stirred => since >= k.pace_ms(s),
                State::Confirmed => since >= k.interval_ms,
            };
            let long = k.bbox.width().max(k.bbox.height());
            if k.bbox.is_empty() {
                k.wants = false;
            }
            if !k.wants || seen_whole(long) {
                continue;
            }
            wishes.push(Wish {
                need: padded(k.bbox, MARGIN * long),
                side: (context * long).max(min_crop),
                most: (long / min_share).max(min_crop).max(context * long),
                waited: k.waited,
                rank: match (k.state, k.moving || k.stirred) {
                    (State::Tentative, _) => 0,
                    (State::Lost, _) => 1,
                    (State::Confirmed, true) => 2,
                    (State::Confirmed, false) => 3,
                },
                looked: k.looked,
                motion: false,
                turn: wishes.len(),
            });
        }
        unrest.iter_mut().for_each(|u| u.wants = false);
        unrest.retain(|u| at.ms_since(u.moved) < s.sweep_ms.saturating_mul(2));
        for m in verdict.boxes {
            let b = m.clip(frame);
            let long = b.width().max(b.height());
            if b.is_empty() || is_explained(b, known) {
                continue;
            }
            let due = is_due(unrest, b, known, at, s);
            if !due || seen_whole(long) {
                continue;
            }
            wishes.push(Wish {
                need: padded(b, MARGIN * long),
                side: (context * long).max(min_crop),
                // What moved may be a part of what is there: a share of it says little, so be content with a bit more.
                most: (long / min_share).max(1.5 * min_crop).max(context * long),
                waited: *motion_waited,
                rank: 0,
                looked: at,
                motion: true,
                turn: wishes.len(),
            });
        }
        // With the turn no two are equal, and a sort that need not keep ties in order takes no memory.
        wishes.sort_unstable_by_key(|w| (w.urgency(), w.turn));
        wishes.truncate(MAX_WISHES);
    }

    /// Joins wishes while one crop can serve two, those first whose common crop is smallest.
    fn merge(&mut self) {
        loop {
            let mut best: Option<(f32, usize, usize, Wish)> = None;
            for i in 0..self.wishes.len() {
                for k in i + 1..self.wishes.len() {
                    if let Some(joined) = self.wishes[i].with(&self.wishes[k])
                        && best.as_ref().is_none_or(|b| joined.side < b.0)
                    {
                        best = Some((joined.side, i, k, joined));
                    }
                }
            }
            let Some((_, i, k, joined)) = best else { break };
            self.wishes[i] = joined;
            self.wishes.swap_remove(k);
        }
    }

    /// Notes which tracks and places were served by what was chosen, on purpose or by the way.
    fn note(&mut self, at: MonoNs, frame: Size, whole: bool) {
        let Self { settings: s, known, unrest, regions, .. } = self;
        let min_share = s.min_share.clamp(0.01, 1.0);
        let everything = whole.then(|| Region::whole(frame));
        for k in known.iter_mut() {
            let long = k.bbox.width().max(k.bbox.height());
            let served = regions.iter().chain(&everything).any(|r| {
                let side = r.size.long_side() as f32;
                let fine = long >= 0.99 * min_share * side || side <= s.min_crop as f32;
                fine && k.bbox.covered_by(r.bounds()) >= 0.95
            });
            if served {
                if k.wants && k.state == State::Confirmed && !k.moving && !k.stirred {
                    k.interval_ms = k.interval_ms.saturating_mul(2).min(s.longest_ms.max(s.sweep_ms));
                }
                k.looked = at;
                k.waited = 0;
            } else if k.wants {
                k.waited = k.waited.saturating_add(1);
            }
        }
        for u in unrest.iter_mut().filter(|u| u.wants) {
            // In the whole frame something small would not have been seen.
            let fine = u.now.width().max(u.now.height()) >= min_share * frame.long_side() as f32;
            let whole = everything.iter().filter(|_| fine);
            if regions.iter().chain(whole).any(|r| u.now.covered_by(r.bounds()) >= 0.95) {
                (u.looks, u.looked) = (u.looks.saturating_add(1), at);
            }
        }
    }
}

/// Whether that is a confirmed track's own movement, which is looked at with the track.
fn is_explained(b: Box2<FramePx>, known: &[Known]) -> bool {
    known.iter().filter(|k| k.state == State::Confirmed).any(|k| {
        let long = k.bbox.width().max(k.bbox.height());
        b.covered_by(padded(k.bbox, 0.25 * long)) >= 0.9
    })
}

/// Whether it is time to look at something that moved there and is not explained.
fn is_due(unrest: &mut Vec<Unrest>, b: Box2<FramePx>, known: &[Known], at: MonoNs, s: &Settings) -> bool {
    let at_known = |k: &Known| {
        let common = k.bbox.intersection(b);
        common.area() > KNOWN_THERE * k.bbox.area().min(b.area())
    };
    let shown = known.iter().any(at_known);
    let place = unrest.iter().position(|u| b.covered_by(u.place) >= SAME_PLACE);
    match place {
        Some(i) if shown => {
            unrest.swap_remove(i);
            true
        }
        Some(i) => {
            let u = &mut unrest[i];
            // Several boxes may lie in it.
            u.now = if u.moved == at { u.now.hull(b) } else { b };
            u.moved = at;
            u.wants |= at.ms_since(u.looked) >= u.pause_ms(s);
            u.wants
        }
        None => {
            if !shown && unrest.len() < MAX_UNREST {
                unrest.push(Unrest { place: b, now: b, looks: 0, looked: at, moved: at, wants: true });
            }
            true
        }
    }
}

fn padded(b: Box2<FramePx>, by: f32) -> Box2<FramePx> {
    Box2::from_xyxy(b.x0 - by, b.y0 - by, b.x1 + by, b.y1 + by)
}

/// A square of that side around the middle of `need`, moved into the frame; as much of it as there is frame.
fn square(need: Box2<FramePx>, side: f32, frame: Size) -> Region {
    // `as` saturates and makes 0 of NaN, so this holds for any input.
    let side = (side.ceil() as u32).max(1);
    let place = |middle: f32, limit: u32| {
        let length = side.min(limit);
        let start = (middle - length as f32 / 2.0).round().max(0.0) as u32;
        (start.min(limit - length), length)
    };
    // The middle of the part inside: padding beyond the edge should not pull the crop off.
    let c = need.clip(frame).center();
    let ((x, width), (y, height)) = (place(c.x, frame.width), place(c.y, frame.height));
    Region { x, y, size: Size::new(width, height) }
}

#[cfg(test)]
mod tests;
