//! Zones and lines: single stories, then laws over random histories, then stories through the tracker.

use proptest::prelude::*;

use super::places::{Line, Places, Zone};
use super::*;
use crate::detection::{ClassId, Detection, Score};
use crate::event::{Direction, LineNo, ZoneNo};
use crate::geom::Region;
use crate::track::{self, Tracker};

const SIZE: Size = Size::new(1000, 500);
const PERSON: ClassId = ClassId(0);
const CAR: ClassId = ClassId(2);
/// A frame lasts this long.
const STEP: u64 = 100;

/// The right half of the lower half of the picture.
fn porch() -> Zone {
    let points = vec![[0.5, 0.5], [1.0, 0.5], [1.0, 1.0], [0.5, 1.0]];
    Zone { no: ZoneNo(0), points, labels: None, dwell_ms: Some(2000) }
}

/// From the top to the bottom: who stands at the top and looks down has his left hand at the picture's right.
fn gate() -> Line {
    Line { no: LineNo(0), from: [0.5, 0.0], to: [0.5, 1.0], labels: None }
}

/// A person 40 wide and 100 high whose feet are at (x, y): a margin of 5 pixels, a foot print of 20.
fn at(x: f32, y: f32) -> Box2<FramePx> {
    Box2::from_xyxy(x - 20.0, y - 100.0, x + 20.0, y)
}

fn track(id: u32, class: ClassId, bbox: Box2<FramePx>, ms: u64) -> Track {
    Track {
        id: TrackId(id),
        class,
        score: Score::default(),
        bbox,
        first_seen: MonoNs(0),
        last_seen: MonoNs(0).plus_ms(ms),
        confirmed_at: Some(MonoNs(0)),
        state: State::Confirmed,
        moving: false,
    }
}

/// One track walks; what is said, with the time in milliseconds.
struct Walk {
    visits: Visits,
    numbers: Numbers,
    ms: u64,
    said: Vec<(u64, String)>,
    class: ClassId,
    now: Option<Track>,
}

impl Walk {
    fn new(places: Places) -> Self {
        let visits = Visits::new(Settings::default(), places);
        Self { visits, numbers: Numbers::default(), ms: 0, said: Vec::new(), class: PERSON, now: None }
    }

    fn step(&mut self, bbox: Box2<FramePx>) -> &mut Self {
        self.step_as(bbox, State::Confirmed)
    }

    fn step_as(&mut self, bbox: Box2<FramePx>, state: State) -> &mut Self {
        let track = Track { state, ..track(1, self.class, bbox, self.ms) };
        let new = self.now.is_none();
        self.now = Some(track);
        let changes = if new { vec![Change::Appeared(track.id)] } else { Vec::new() };
        self.frame(&[track], &changes);
        self.ms += STEP;
        self
    }

    fn stay(&mut self, x: f32, y: f32, steps: usize) -> &mut Self {
        for _ in 0..steps {
            self.step(at(x, y));
        }
        self
    }

    fn frame(&mut self, tracks: &[Track], changes: &[Change]) {
        let (ms, said) = (self.ms, &mut self.said);
        let say = |body| said.push((ms, word(&body)));
        self.visits.frame(MonoNs(0).plus_ms(ms), SIZE, tracks, changes, &mut self.numbers, say);
    }

    fn left(&mut self) -> &mut Self {
        if let Some(track) = self.now.take() {
            self.frame(&[], &[Change::Left(track)]);
        }
        self
    }

    /// What was said of zones and lines, and `left`.
    fn facts(&self) -> Vec<(u64, &str)> {
        let told = |w: &&(u64, String)| !w.1.starts_with("track.updated") && !w.1.starts_with("track.appeared");
        self.said.iter().filter(told).map(|(ms, w)| (*ms, w.as_str())).collect()
    }
}

fn word(body: &Body) -> String {
    let kind = body.kind();
    match body {
        Body::ZoneEnter { zone, .. } => format!("{kind} {}", zone.0),
        Body::ZoneExit { zone, dwell_ms, .. } | Body::ZoneDwell { zone, dwell_ms, .. } => {
            format!("{kind} {} {dwell_ms}", zone.0)
        }
        Body::LineCrossed { line, direction, .. } => format!("{kind} {} {}", line.0, direction.word()),
        _ => kind.to_owned(),
    }
}

#[test]
fn born_inside_is_an_enter_and_the_end_is_an_exit_before_the_left() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.stay(700.0, 400.0, 3).left();
    assert_eq!(walk.facts(), [(0, "zone.enter 0"), (300, "zone.exit 0 200"), (300, "track.left")]);
}

#[test]
fn a_stay_counts_from_its_first_frame_to_its_last_and_dwells_once() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.stay(400.0, 400.0, 5).stay(600.0, 400.0, 30).stay(400.0, 400.0, 5).left();
    let wanted = [(800, "zone.enter 0"), (2500, "zone.dwell 0 2000"), (3800, "zone.exit 0 3000"), (4000, "track.left")];
    assert_eq!(walk.facts(), wanted);
}

#[test]
fn a_stay_after_a_stay_dwells_again() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    for _ in 0..2 {
        walk.stay(600.0, 400.0, 25).stay(400.0, 400.0, 5);
    }
    let dwells = walk.facts().iter().filter(|f| f.1.starts_with("zone.dwell")).count();
    assert_eq!(dwells, 2, "{:?}", walk.facts());
}

#[test]
fn trembling_on_the_edge_enters_once() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.stay(502.0, 400.0, 5);
    for _ in 0..50 {
        walk.stay(497.0, 400.0, 1).stay(503.0, 400.0, 1).stay(496.0, 400.0, 4);
    }
    walk.left();
    let enters = walk.facts().iter().filter(|f| f.1.starts_with("zone.enter")).count();
    assert_eq!((enters, walk.facts().len()), (1, 4), "{:?}", walk.facts());
}

#[test]
fn one_frame_elsewhere_is_nothing() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![gate()]));
    walk.stay(300.0, 400.0, 5).stay(700.0, 400.0, 2).stay(300.0, 400.0, 5).left();
    assert_eq!(walk.facts(), [(1200, "track.left")]);
}

#[test]
fn labels_choose_who_counts() {
    let zone = Zone { labels: Some(vec![CAR]), ..porch() };
    let line = Line { labels: Some(vec![CAR]), ..gate() };
    let places = Places::new(vec![zone], vec![line]);
    let mut person = Walk::new(places.clone());
    person.stay(300.0, 400.0, 9).stay(700.0, 400.0, 9).left();
    assert_eq!(person.facts().len(), 1, "{:?}", person.facts());
    let mut car = Walk::new(places);
    car.class = CAR;
    car.stay(300.0, 400.0, 9).stay(700.0, 400.0, 9).left();
    assert_eq!(car.facts().len(), 4, "{:?}", car.facts());
}

#[test]
fn faces_count_only_where_they_are_named() {
    let zones = vec![porch(), Zone { no: ZoneNo(1), labels: Some(vec![PERSON]), ..porch() }];
    let mut face = Walk::new(Places::new(zones, vec![gate()]).for_faces());
    face.stay(300.0, 400.0, 9).stay(700.0, 400.0, 9).left();
    assert_eq!(face.facts(), [(1200, "zone.enter 1"), (1800, "zone.exit 1 800"), (1800, "track.left")]);
}

#[test]
fn forward_is_from_the_left_hand_to_the_right() {
    let mut walk = Walk::new(Places::new(vec![], vec![gate()]));
    walk.stay(700.0, 400.0, 5).stay(300.0, 400.0, 5).stay(700.0, 400.0, 5);
    assert_eq!(walk.facts(), [(800, "line.crossed 0 forward"), (1300, "line.crossed 0 backward")]);
}

#[test]
fn born_astride_never_counts_but_coming_back_does() {
    let mut walk = Walk::new(Places::new(vec![], vec![gate()]));
    // Its feet stand 15 beside the line, its box on both sides.
    walk.stay(515.0, 400.0, 9).stay(300.0, 400.0, 9);
    assert_eq!(walk.facts(), []);
    walk.stay(700.0, 400.0, 9);
    assert_eq!(walk.facts(), [(2100, "line.crossed 0 backward")]);
}

#[test]
fn flicker_across_a_line_counts_once_or_not_at_all() {
    let mut walk = Walk::new(Places::new(vec![], vec![gate()]));
    walk.stay(600.0, 400.0, 5);
    for _ in 0..50 {
        walk.stay(520.0, 400.0, 1).stay(480.0, 400.0, 1).stay(502.0, 400.0, 2).stay(498.0, 400.0, 2);
    }
    assert_eq!(walk.facts(), []);
    walk.stay(400.0, 400.0, 5);
    assert_eq!(walk.facts().len(), 1);
}

#[test]
fn who_walks_around_the_end_of_a_line_does_not_cross_it() {
    let line = Line { no: LineNo(3), from: [0.5, 0.3], to: [0.5, 0.6], labels: None };
    let mut walk = Walk::new(Places::new(vec![], vec![line]));
    walk.stay(700.0, 400.0, 5).stay(300.0, 400.0, 5);
    assert_eq!(walk.facts(), [], "below its end");
    walk.stay(300.0, 200.0, 5).stay(700.0, 200.0, 5);
    assert_eq!(walk.facts(), [(1800, "line.crossed 3 backward")], "through it");
}

/// A zone that reaches the edge of the frame holds who stands half outside of it.
#[test]
fn the_edge_of_the_frame_is_no_edge_of_a_zone() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.stay(995.0, 540.0, 10).left();
    assert_eq!(walk.facts(), [(0, "zone.enter 0"), (1000, "zone.exit 0 900"), (1000, "track.left")]);
}

#[test]
fn lost_and_found_again_is_the_same_stay() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![gate()]));
    walk.stay(700.0, 400.0, 5);
    for _ in 0..15 {
        // A lost track is not believed, wherever it is thought to be.
        walk.step_as(at(300.0, 400.0), State::Lost);
    }
    walk.stay(700.0, 400.0, 5).left();
    let wanted = [(0, "zone.enter 0"), (2000, "zone.dwell 0 2000"), (2500, "zone.exit 0 2400"), (2500, "track.left")];
    assert_eq!(walk.facts(), wanted);
}

#[test]
fn the_end_of_a_run_ends_stays_even_of_tracks_that_nobody_mentions() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.stay(700.0, 400.0, 5);
    let mut said = Vec::new();
    walk.visits.end(&[], LeftReason::Shutdown, |b| said.push(word(&b)));
    assert_eq!(said, ["zone.exit 0 400", "track.left"]);
}

#[test]
fn a_step_back_of_the_clock_lengthens_no_stay() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
    walk.ms = 1_000_000;
    walk.stay(700.0, 400.0, 11);
    walk.ms = 5000;
    walk.stay(700.0, 400.0, 20).left();
    let last = walk.facts()[walk.facts().len() - 2];
    // A second before the step, two after it; the step itself lasted no time.
    assert_eq!(last, (7000, "zone.exit 0 2900"), "{:?}", walk.facts());
}

#[test]
fn another_size_of_the_same_picture_changes_nothing() {
    let mut walk = Walk::new(Places::new(vec![porch()], vec![gate()]));
    walk.stay(700.0, 400.0, 5);
    let (ms, said) = (walk.ms, &mut walk.said);
    let half = Box2::from_xywh(340.0, 150.0, 20.0, 50.0);
    for i in 0..9 {
        let at = MonoNs(0).plus_ms(ms + i * STEP);
        let track = track(1, PERSON, half, ms + i * STEP);
        let say = |body| said.push((ms, word(&body)));
        walk.visits.frame(at, Size::new(500, 250), &[track], &[], &mut walk.numbers, say);
    }
    assert_eq!(walk.facts(), [(0, "zone.enter 0")]);
}

// ---- Laws ----

/// What happens to one of a few tracks before the next frame.
#[derive(Clone, Copy, Debug)]
enum Act {
    Walk(f32, f32),
    Jump(f32, f32),
    Lose,
    Find,
    Leave,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (-60f32..60.0, -60f32..60.0).prop_map(|(x, y)| Act::Walk(x, y)),
        2 => (-50f32..1050.0, 50f32..560.0).prop_map(|(x, y)| Act::Jump(x, y)),
        1 => Just(Act::Lose),
        2 => Just(Act::Find),
        1 => Just(Act::Leave),
    ]
}

/// Frames: time since the last one, and what became of whom in it. Nothing at all is a frame in which nothing moved.
fn history() -> impl Strategy<Value = Vec<(u64, Vec<(usize, Act)>)>> {
    let ms = prop_oneof![4 => 20u64..150, 2 => 150u64..900, 1 => 900u64..5000];
    prop::collection::vec((ms, prop::collection::vec((0usize..4, act()), 0..5)), 1..80)
}

/// How the history ends.
#[derive(Clone, Copy, Debug)]
enum Fault {
    CameraGone,
    Shutdown,
    /// The stage that knew the tracks died.
    TrackerGone,
}

fn places() -> Places {
    let triangle =
        Zone { no: ZoneNo(1), points: vec![[0.1, 0.2], [0.6, 0.9], [0.05, 0.8]], labels: None, dwell_ms: None };
    let cars = Zone { no: ZoneNo(2), labels: Some(vec![CAR]), dwell_ms: Some(1), ..porch() };
    let slanted = Line { no: LineNo(1), from: [0.0, 0.2], to: [1.0, 0.9], labels: None };
    let short = Line { no: LineNo(2), from: [0.3, 0.4], to: [0.7, 0.6], labels: Some(vec![PERSON]) };
    Places::new(vec![porch(), triangle, cars], vec![gate(), slanted, short])
}

/// Everything said, with the time; and of each track (in the order in which they appeared) the boxes it was found at.
type Told = (Vec<(u64, Body)>, Vec<Vec<(u64, Box2<FramePx>)>>);

/// `displaced` says (over and over) which frames nobody saw, because the machine was overloaded: what happened in them shows in
/// the next one that is seen.
fn play(history: &[(u64, Vec<(usize, Act)>)], displaced: &[bool], fault: Fault) -> Told {
    let mut visits = Visits::new(Settings::default(), places());
    let (mut numbers, mut ids, mut ms) = (Numbers::default(), 0, 1000);
    let mut slots: [Option<(Track, usize)>; 4] = [None; 4];
    let (mut said, mut found) = (Vec::new(), Vec::new());
    for ((pause, acts), displaced) in history.iter().zip(displaced.iter().cycle()) {
        ms += pause;
        let (mut lefts, mut appeared) = (Vec::new(), Vec::new());
        let mut touched = [false; 4];
        for (slot, act) in acts {
            if std::mem::replace(&mut touched[*slot], true) {
                continue;
            }
            // A track begins and ends in frames that are seen.
            if *displaced && (slots[*slot].is_none() || matches!(act, Act::Leave)) {
                continue;
            }
            let Some((track, _)) = &mut slots[*slot] else {
                ids += 1;
                let (x, y) = match act {
                    Act::Walk(x, y) => (500.0 + x, 300.0 + y),
                    Act::Jump(x, y) => (*x, *y),
                    Act::Lose | Act::Find | Act::Leave => continue,
                };
                let class = if *slot == 3 { CAR } else { PERSON };
                slots[*slot] = Some((track_at(ids, class, at(x, y), ms), found.len()));
                found.push(Vec::new());
                appeared.push(Change::Appeared(TrackId(ids)));
                continue;
            };
            let moved = match act {
                Act::Walk(x, y) => Some(track.bbox.translate(*x, *y)),
                Act::Jump(x, y) => Some(at(*x, *y)),
                Act::Find => Some(track.bbox),
                Act::Lose => None,
                Act::Leave => {
                    lefts.push(Change::Left(*track));
                    slots[*slot] = None;
                    continue;
                }
            };
            match moved {
                Some(bbox) => {
                    (track.bbox, track.last_seen, track.state) = (bbox, MonoNs(0).plus_ms(ms), State::Confirmed)
                }
                None => track.state = State::Lost,
            }
        }
        if *displaced {
            continue;
        }
        for (track, index) in slots.iter().flatten().filter(|(t, _)| t.state == State::Confirmed) {
            found[*index].push((ms, track.bbox));
        }
        let mut tracks: Vec<Track> = slots.iter().flatten().map(|(t, _)| *t).collect();
        tracks.sort_by_key(|t| t.id);
        lefts.extend(appeared);
        visits.frame(MonoNs(0).plus_ms(ms), SIZE, &tracks, &lefts, &mut numbers, |b| said.push((ms, b)));
    }
    let tracks: Vec<Track> = slots.iter().flatten().map(|(t, _)| *t).collect();
    let (tracks, reason) = match fault {
        Fault::CameraGone => (&tracks[..], LeftReason::CameraOffline),
        Fault::Shutdown => (&tracks[..], LeftReason::Shutdown),
        Fault::TrackerGone => (&[][..], LeftReason::Shutdown),
    };
    visits.end(tracks, reason, |b| said.push((ms, b)));
    (said, found)
}

fn track_at(id: u32, class: ClassId, bbox: Box2<FramePx>, ms: u64) -> Track {
    Track { first_seen: MonoNs(0).plus_ms(ms), ..track(id, class, bbox, ms) }
}

/// Sides of a line as one reads them off afterwards: of each unbroken run of frames clear of the line on one side, whether
/// it lasted. `None` until the first one that did.
fn sides(line: &Line, found: &[(u64, Box2<FramePx>)]) -> Vec<bool> {
    let px = |p: [f32; 2]| (f64::from(p[0] * SIZE.width as f32), f64::from(p[1] * SIZE.height as f32));
    let ((ax, ay), (bx, by)) = (px(line.from), px(line.to));
    let length = (bx - ax).hypot(by - ay);
    let mut lasting: Vec<bool> = Vec::new();
    let mut run: Option<(bool, u64)> = None;
    for (ms, b) in found {
        let cut = b.clip(SIZE);
        let (x0, x1) = (f64::from(b.x0.clamp(0.0, 1000.0)), f64::from(b.x1.clamp(0.0, 1000.0)));
        let y = f64::from(b.y1).clamp(0.5, 499.5);
        let x = ((x0 + x1) / 2.0).clamp(0.5, 999.5);
        let right = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length;
        let margin = 0.08 * f64::from(cut.area()).sqrt();
        let high = f64::from(b.y1.clamp(0.0, 500.0) - b.y0.clamp(0.0, 500.0));
        let foot = (by - ay).abs() / length * (x1 - x0) / 2.0 + (bx - ax).abs() / length * high * 0.1;
        let clear = right.abs() > if lasting.is_empty() { margin.max(foot) } else { margin };
        let side = right > 0.0;
        run = match run {
            _ if !clear => None,
            Some((on, since)) if on == side => Some((on, since)),
            _ => Some((side, *ms)),
        };
        if let Some((side, since)) = run
            && ms - since >= 300
            && lasting.last() != Some(&side)
        {
            lasting.push(side);
        }
    }
    lasting
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold(
        history in history(),
        displaced in prop_oneof![Just(vec![false]), prop::collection::vec(any::<bool>(), 1..30)],
        fault in prop_oneof![Just(Fault::CameraGone), Just(Fault::Shutdown), Just(Fault::TrackerGone)],
    ) {
        let (said, found) = play(&history, &displaced, fault);
        let mut open = std::collections::BTreeMap::new();
        let mut inside = std::collections::BTreeMap::new();
        let mut times = std::collections::BTreeMap::new();
        let mut net = std::collections::BTreeMap::new();
        let mut appeared = 0;
        for (ms, body) in &said {
            let track = body.track().expect("only tracks here");
            let before = times.insert(track, *ms).unwrap_or(0);
            prop_assert!(before <= *ms, "{body:?} at {ms} after {before}");
            if let Body::TrackAppeared { label, .. } = body {
                appeared += 1;
                prop_assert_eq!(track, TrackNo(appeared), "numbers count up, each once");
                open.insert(track, *label);
                continue;
            }
            prop_assert!(open.contains_key(&track), "{:?} outside its visit", body);
            match *body {
                Body::TrackLeft { .. } => {
                    open.remove(&track);
                    prop_assert!(!inside.keys().any(|(t, _)| *t == track), "left without an exit");
                }
                Body::ZoneEnter { zone, label, .. } => {
                    prop_assert_eq!(label, open[&track]);
                    prop_assert!(zone != ZoneNo(2) || label == CAR);
                    prop_assert!(inside.insert((track, zone), (*ms, None)).is_none(), "entered twice");
                }
                Body::ZoneDwell { zone, dwell_ms, .. } => {
                    let stay = inside.get_mut(&(track, zone)).expect("inside");
                    prop_assert!(stay.1.replace(dwell_ms).is_none(), "dwelt twice");
                    let least = [2000, u64::MAX, 1][usize::from(zone.0)];
                    prop_assert!(dwell_ms >= least, "{zone:?} {dwell_ms}");
                }
                Body::ZoneExit { zone, dwell_ms, .. } => {
                    let (since, dwelt) = inside.remove(&(track, zone)).expect("inside");
                    prop_assert!(dwell_ms >= dwelt.unwrap_or(0));
                    // The hold before the enter may last long when frames are rare, but not for ever.
                    prop_assert!(dwell_ms <= ms - since + 60_000, "{dwell_ms}");
                }
                Body::LineCrossed { line, direction, .. } => {
                    let net = net.entry((track, line)).or_insert(0);
                    *net += if direction == Direction::Forward { 1i32 } else { -1 };
                    // Around the end of the short one one may walk.
                    prop_assert!(line == LineNo(2) || (-1..=1).contains(net), "the same way twice");
                }
                _ => {}
            }
        }
        prop_assert!(open.is_empty() && inside.is_empty(), "{open:?} {inside:?}");
        prop_assert_eq!(appeared as usize, found.len());
        let slanted = Line { no: LineNo(1), from: [0.0, 0.2], to: [1.0, 0.9], labels: None };
        for (index, found) in found.iter().enumerate() {
            let track = TrackNo(index as u32 + 1);
            for line in [gate(), slanted.clone()] {
                let sides = sides(&line, found);
                let change = match (sides.first(), sides.last()) {
                    (Some(first), Some(last)) => i32::from(*last) - i32::from(*first),
                    _ => 0,
                };
                let crossed = said.iter().filter(|(_, b)| {
                    matches!(b, Body::LineCrossed { track: t, line: l, .. } if *t == track && *l == line.no)
                });
                prop_assert_eq!(net.get(&(track, line.no)).copied().unwrap_or(0), change, "track {:?} {:?}", track, line.no);
                prop_assert_eq!(crossed.count(), sides.len().saturating_sub(1));
            }
        }
    }

    /// However the box trembles within the margin, a stay is one stay.
    #[test]
    fn trembling_is_one_stay(steps in prop::collection::vec((-4.9f32..50.0, 20u64..400), 1..200)) {
        let mut walk = Walk::new(Places::new(vec![porch()], vec![]));
        walk.stay(505.0, 400.0, 5);
        for (off, ms) in steps {
            walk.ms += ms;
            walk.step(at(500.0 + off, 400.0));
        }
        walk.left();
        let enters = walk.facts().iter().filter(|f| f.1.starts_with("zone.enter")).count();
        prop_assert_eq!(enters, 1);
    }
}

// ---- Through the tracker ----

/// A tracker and its visits over frames of 100 ms; `seen` says where somebody is detected, `looked` whether anybody looked.
fn through_tracker(frames: u64, mut seen: impl FnMut(u64) -> (bool, Option<Box2<FramePx>>)) -> Vec<(u64, String)> {
    let mut tracker = Tracker::new(track::Settings::default());
    let mut visits = Visits::new(Settings::default(), Places::new(vec![porch()], vec![gate()]));
    let (mut numbers, mut said) = (Numbers::default(), Vec::new());
    for i in 0..frames {
        let ms = i * STEP;
        let now = MonoNs(0).plus_ms(ms);
        let (looked, bbox) = seen(i);
        if looked {
            let score = Score::new(0.7).unwrap_or_default();
            let found: Vec<Detection> =
                bbox.into_iter().map(|bbox| Detection { bbox, class: PERSON, score, landmarks: None }).collect();
            tracker.update(now, SIZE, &found, &[Region::whole(SIZE)]);
        } else {
            tracker.still(now);
        }
        let tracks: Vec<Track> = tracker.tracks().copied().collect();
        visits.frame(now, SIZE, &tracks, tracker.changes(), &mut numbers, |b| said.push((ms, word(&b))));
    }
    let end = frames * STEP;
    visits.end(&tracker.finish(), LeftReason::Shutdown, |b| said.push((end, word(&b))));
    said.retain(|s| s.1 != "track.updated");
    said
}

#[test]
fn behind_a_tree_for_a_second_and_a_half_is_one_visit_and_one_stay() {
    let said = through_tracker(80, |i| (true, (!(30..45).contains(&i)).then(|| at(650.0, 400.0))));
    let kinds: Vec<&str> = said.iter().map(|s| s.1.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["track.appeared", "zone.enter", "zone.dwell", "zone.exit", "track.left"], "{said:?}");
}

#[test]
fn an_hour_of_stillness_is_one_stay_through_lamps_and_rain() {
    let hour = 36_000;
    // Looked at for a second when it comes, then at a sweep every ten seconds and whenever a lamp or rain stirs the picture;
    // rain hides it from every third look, and the box trembles.
    let said = through_tracker(hour, |i| {
        let stirred = i % 100 == 0 || (i / 600) % 7 == 3 && i % 3 == 0;
        let hidden = i > 20 && i % 9 == 0 && i % 100 != 0;
        let tremble = (i * 7919 % 13) as f32 - 6.0;
        (i < 10 || stirred, (!hidden).then(|| at(503.0 + tremble * 0.5, 400.0 + tremble)))
    });
    let kinds: Vec<&str> = said.iter().map(|s| s.1.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["track.appeared", "zone.enter", "zone.dwell", "zone.exit", "track.left"], "{said:?}");
}

#[test]
fn who_walks_across_is_counted_once_though_every_fourth_look_fails() {
    let said = through_tracker(90, |i| (true, (i % 4 != 3).then(|| at(900.0 - 9.0 * i as f32, 400.0))));
    let crossed: Vec<&str> = said.iter().filter(|s| s.1.starts_with("line.crossed")).map(|s| s.1.as_str()).collect();
    assert_eq!(crossed, ["line.crossed 0 forward"], "{said:?}");
}
