use super::*;
use proptest::prelude::*;

const HD: Size = Size::new(1280, 720);
const PERSON: ClassId = ClassId(0);
const DOG: ClassId = ClassId(16);
const CAT: ClassId = ClassId(15);

/// Numerical Recipes' linear congruential generator: noise that is the same for ever.
struct Lcg(u64);

impl Lcg {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// About normal, mean 0, deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

fn ms(v: u64) -> MonoNs {
    MonoNs(0).plus_ms(1000 + v)
}

fn det(class: ClassId, score: f32, bbox: Box2<FramePx>) -> Detection {
    Detection { bbox, class, score: Score::new(score).unwrap_or_default(), landmarks: None }
}

fn person(x: f32, y: f32) -> Box2<FramePx> {
    Box2::from_cxcywh(x, y, 64.0, 160.0)
}

/// What a detector would make of a true box.
fn noisy(rng: &mut Lcg, b: Box2<FramePx>) -> Box2<FramePx> {
    let l = b.width().max(b.height()) * 0.025;
    let c = b.center();
    Box2::from_cxcywh(
        c.x + rng.normal() * l,
        c.y + rng.normal() * l,
        (b.width() + rng.normal() * l).max(2.0),
        (b.height() + rng.normal() * l).max(2.0),
    )
}

#[derive(Default)]
struct Told {
    appeared: Vec<TrackId>,
    left: Vec<Track>,
}

impl Told {
    fn hear(&mut self, t: &Tracker) {
        for c in t.changes() {
            match c {
                Change::Appeared(id) => self.appeared.push(*id),
                Change::Left(track) => self.left.push(*track),
            }
        }
    }
}

fn whole() -> [Region; 1] {
    [Region::whole(HD)]
}

/// The known track nearest to a place.
fn nearest(t: &Tracker, b: Box2<FramePx>) -> Option<TrackId> {
    let far = |x: &Track| {
        let (p, q) = (x.bbox.center(), b.center());
        (p.x - q.x).powi(2) + (p.y - q.y).powi(2)
    };
    t.tracks().filter(|t| t.state != State::Tentative).min_by(|a, b| far(a).total_cmp(&far(b))).map(|t| t.id)
}

/// One walk through the frame and out of it again at a rate of frames: misses 20 %, false positives 10 %.
fn walk(fps: u64, seed: u64) -> (Told, u64, u64) {
    let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(seed));
    let (mut first, mut last) = (None, 0);
    for i in 0..fps * 14 {
        let now = i * 1000 / fps;
        // Enters at the left after a second, walks 140 px/s (nearly a body height), leaves at the right after ten.
        let truth = person((now as f32 - 1000.0) * 0.14 - 30.0, 400.0).clip(HD);
        let mut seen = Vec::new();
        if truth.width() > 25.0 {
            if rng.unit() > 0.2 {
                seen.push(det(PERSON, 0.55 + 0.25 * rng.unit(), noisy(&mut rng, truth)));
                first.get_or_insert(now);
                last = now;
            } else if rng.unit() > 0.5 {
                seen.push(det(PERSON, 0.3, noisy(&mut rng, truth)));
            }
        }
        if rng.unit() < 0.1 {
            let (x, y) = (rng.unit() * 1280.0, rng.unit() * 300.0);
            seen.push(det(PERSON, 0.5 + 0.2 * rng.unit(), person(x, y)));
        }
        t.update(ms(now), HD, &seen, &whole());
        told.hear(&t);
    }
    told.left.extend(t.finish());
    (told, first.unwrap_or(0), last)
}

#[test]
fn a_visit_is_one_track_at_any_rate_of_frames() {
    for fps in [5, 10, 15, 30] {
        for seed in 0..20 {
            let (told, first, last) = walk(fps, seed);
            assert_eq!(told.appeared.len(), 1, "{fps} fps, seed {seed}: {:?}", told.left);
            assert_eq!(told.left.len(), 1);
            let dwell = told.left[0].last_seen.ms_since(told.left[0].first_seen);
            let truth = last - first;
            assert!(dwell.abs_diff(truth) * 10 <= truth, "{fps} fps, seed {seed}: dwell {dwell} for {truth}");
        }
    }
}

#[test]
fn a_fast_cat_at_five_frames_a_second_is_one_track() {
    for speed in [0.2_f32, 0.4, 0.6] {
        let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(7));
        for i in 0..10_u64 {
            // Reaches its speed (up to seven of its lengths a second) within 0.8 s, as cats do.
            let s = i as f32 * 200.0;
            let x = 50.0 + speed * if s < 800.0 { s * s / 1600.0 } else { s - 400.0 };
            let b = Box2::from_cxcywh(x, 500.0, 90.0, 60.0);
            t.update(ms(i * 200), HD, &[det(CAT, 0.7, noisy(&mut rng, b))], &whole());
            told.hear(&t);
        }
        assert_eq!((told.appeared.len(), t.tracks().count()), (1, 1), "{speed} px/ms");
    }
}

#[test]
fn two_who_cross_keep_their_names() {
    for fps in [5_u64, 10, 15, 30] {
        for seed in 0..20 {
            let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(seed));
            let mut before = None;
            for i in 0..fps * 8 {
                let now = i * 1000 / fps;
                let a = person(200.0 + now as f32 * 0.11, 400.0);
                let b = person(1080.0 - now as f32 * 0.11, 415.0);
                let mut seen = Vec::new();
                // While they overlap much, the detector (its suppression) gives only the one in front.
                if a.iou(b) < 0.5 && rng.unit() > 0.1 {
                    seen.push(det(PERSON, 0.75, noisy(&mut rng, a)));
                }
                if rng.unit() > 0.1 {
                    seen.push(det(PERSON, 0.75, noisy(&mut rng, b)));
                }
                t.update(ms(now), HD, &seen, &whole());
                told.hear(&t);
                if now >= 2000 && before.is_none() {
                    before = Some((nearest(&t, a), nearest(&t, b)));
                }
            }
            let end = 8000.0 - 1000.0 / fps as f32;
            let after =
                (nearest(&t, person(200.0 + end * 0.11, 400.0)), nearest(&t, person(1080.0 - end * 0.11, 415.0)));
            assert_eq!(before, Some(after), "{fps} fps, seed {seed}");
            assert_eq!(told.appeared.len(), 2, "{fps} fps, seed {seed}");
        }
    }
}

#[test]
fn a_walker_behind_a_tree_for_a_second_and_a_half_is_the_same() {
    for fps in [5_u64, 15, 30] {
        for speed in [0.0_f32, 0.05, 0.12] {
            let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(fps));
            for i in 0..fps * 7 {
                let now = i * 1000 / fps;
                let seen = det(PERSON, 0.7, noisy(&mut rng, person(200.0 + now as f32 * speed, 400.0)));
                let hidden = (3000..4500).contains(&now);
                t.update(ms(now), HD, if hidden { &[] } else { std::slice::from_ref(&seen) }, &whole());
                told.hear(&t);
                if hidden && now > 3400 {
                    assert_eq!(t.tracks().next().map(|t| t.state), Some(State::Lost));
                }
            }
            assert_eq!((told.appeared.len(), told.left.len()), (1, 0), "{fps} fps, {speed} px/ms");
            assert_eq!(t.tracks().count(), 1);
        }
    }
}

#[test]
fn who_is_not_found_any_more_has_left_in_time() {
    for fps in [5_u64, 30] {
        let (mut t, mut told) = (Tracker::new(Settings::default()), Told::default());
        let mut left_at = None;
        for i in 0..fps * 10 {
            let now = i * 1000 / fps;
            let seen = [det(PERSON, 0.7, person(640.0, 400.0))];
            t.update(ms(now), HD, if now < 3000 { &seen } else { &[] }, &whole());
            told.hear(&t);
            if !told.left.is_empty() {
                left_at.get_or_insert(now);
            }
        }
        let left_at = left_at.unwrap_or(0);
        assert!((4900..=5500).contains(&left_at), "{fps} fps: {left_at}");
        assert!(told.left[0].last_seen < ms(3000));
        assert_eq!(t.tracks().count(), 0);
    }
}

#[test]
fn who_walks_out_of_the_frame_is_not_waited_for() {
    let (mut t, mut told) = (Tracker::new(Settings::default()), Told::default());
    let mut left_at = 0;
    for i in 0..100_u64 {
        let now = i * 66;
        let b = person(1280.0 + (now as f32 - 2000.0) * 0.15, 400.0).clip(HD);
        let seen = [det(PERSON, 0.7, b)];
        t.update(ms(now), HD, if b.width() > 20.0 { &seen } else { &[] }, &whole());
        told.hear(&t);
        if told.left.len() == 1 && left_at == 0 {
            left_at = now;
        }
    }
    let gone = told.left[0].last_seen.ms_since(ms(0));
    assert!(left_at > gone && left_at - gone < 900, "left at {left_at}, last seen {gone}");
}

#[test]
fn a_label_that_flickers_is_one_visit_under_one_name() {
    let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(3));
    for i in 0..200_u64 {
        let class = if i == 1 || rng.unit() < 0.4 && i > 2 { CAT } else { DOG };
        let b = Box2::from_cxcywh(300.0 + i as f32 * 3.0, 500.0, 120.0, 90.0);
        t.update(ms(i * 66), HD, &[det(class, 0.6, noisy(&mut rng, b))], &whole());
        told.hear(&t);
    }
    assert_eq!(told.appeared.len(), 1);
    assert_eq!(t.tracks().map(|t| t.class).collect::<Vec<_>>(), [DOG]);
    // Once confirmed, its name does not change any more.
    for i in 200..300_u64 {
        let b = Box2::from_cxcywh(900.0, 500.0, 120.0, 90.0);
        t.update(ms(i * 66), HD, &[det(CAT, 0.6, b)], &whole());
    }
    assert_eq!(t.tracks().map(|t| (t.id, t.class)).collect::<Vec<_>>(), [(told.appeared[0], DOG)]);
}

#[test]
fn an_hour_of_standing_still_is_one_visit() {
    let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(5));
    let b = person(640.0, 400.0);
    let crop = Region { x: 490, y: 250, size: Size::new(300, 300) };
    let mut now = 0;
    while now < 3_600_000 {
        if now < 2000 || now % 10_000 == 0 {
            // A sweep now and then, in which it is found only in its own crop.
            t.update(ms(now), HD, &[det(PERSON, 0.6, noisy(&mut rng, b))], &[Region::whole(HD), crop]);
        } else if now % 5000 == 0 {
            t.update(ms(now), HD, &[], &whole());
        } else {
            t.still(ms(now));
        }
        told.hear(&t);
        now += 100;
    }
    assert_eq!((told.appeared.len(), told.left.len()), (1, 0));
    let track = t.tracks().next().copied();
    assert_eq!(track.map(|t| (t.state, t.moving)), Some((State::Confirmed, false)));
    // And when it then is gone, the crop tells.
    for i in 0..30 {
        t.update(ms(now + i * 100), HD, &[], &[crop]);
        told.hear(&t);
    }
    assert_eq!(told.left.len(), 1);
}

#[test]
fn where_nobody_looked_nobody_is_missed() {
    let mut t = Tracker::new(Settings::default());
    for i in 0..5 {
        t.update(ms(i * 100), HD, &[det(PERSON, 0.9, person(200.0, 400.0))], &whole());
    }
    let elsewhere = Region { x: 800, y: 200, size: Size::new(400, 400) };
    for i in 5..500 {
        t.update(ms(i * 100), HD, &[], &[elsewhere]);
    }
    assert_eq!(t.tracks().map(|t| t.state).collect::<Vec<_>>(), [State::Confirmed]);
}

#[test]
fn flicker_never_appears() {
    let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(11));
    for i in 0..5000_u64 {
        // Doubtful all the time at one place, sure now and then at random places.
        let mut seen = vec![det(PERSON, 0.25 + 0.24 * rng.unit(), person(300.0, 300.0))];
        if rng.unit() < 0.3 {
            let (x, y) = (rng.unit() * 1280.0, rng.unit() * 720.0);
            seen.push(det(PERSON, 0.5 + 0.3 * rng.unit(), Box2::from_cxcywh(x, y, 40.0, 90.0)));
        }
        t.update(ms(i * 100), HD, &seen, &whole());
        told.hear(&t);
    }
    // Random places meet now and then; one in five thousand frames is the most that luck explains.
    assert!(told.appeared.len() <= 1, "{}", told.appeared.len());
}

#[test]
fn two_boxes_on_one_object_are_one_track() {
    let (mut t, mut told, mut rng) = (Tracker::new(Settings::default()), Told::default(), Lcg(13));
    for i in 0..100_u64 {
        let b = person(200.0 + i as f32 * 5.0, 400.0);
        let upper = Box2::from_xyxy(b.x0 + 4.0, b.y0 + 2.0, b.x1 - 4.0, b.y0 + 90.0);
        let seen = [
            det(PERSON, 0.8, noisy(&mut rng, b)),
            det(PERSON, 0.7, noisy(&mut rng, b)),
            det(PERSON, 0.6, upper),
            det(DOG, 0.6, b),
        ];
        t.update(ms(i * 66), HD, &seen, &whole());
        told.hear(&t);
    }
    assert_eq!((told.appeared.len(), told.left.len()), (1, 0));
    assert_eq!(t.tracks().map(|t| t.class).collect::<Vec<_>>(), [PERSON]);
}

#[test]
fn a_rider_and_a_bicycle_are_two_and_so_are_a_parent_and_a_child() {
    let (mut t, mut told) = (Tracker::new(Settings::default()), Told::default());
    for i in 0..20_u64 {
        let x = 300.0 + i as f32 * 10.0;
        let seen = [
            det(PERSON, 0.8, Box2::from_cxcywh(x, 360.0, 70.0, 180.0)),
            det(ClassId(1), 0.8, Box2::from_cxcywh(x, 420.0, 150.0, 110.0)),
            det(PERSON, 0.8, Box2::from_cxcywh(900.0, 360.0, 90.0, 240.0)),
            det(PERSON, 0.8, Box2::from_cxcywh(910.0, 430.0, 40.0, 90.0)),
        ];
        t.update(ms(i * 66), HD, &seen, &whole());
        told.hear(&t);
    }
    assert_eq!(told.appeared.len(), 4);
}

#[test]
fn one_strong_detection_is_enough_and_a_weak_one_is_not() {
    let mut t = Tracker::new(Settings::default());
    let seen = [det(PERSON, 0.95, person(200.0, 400.0)), det(PERSON, 0.6, person(800.0, 400.0))];
    t.update(ms(0), HD, &seen, &whole());
    assert_eq!(t.changes(), [Change::Appeared(TrackId(1))]);
    assert_eq!(t.get(TrackId(2)).map(|t| t.state), Some(State::Tentative));
    assert_eq!(t.get(TrackId(1)).and_then(|t| t.confirmed_at), Some(ms(0)));
    let all: Vec<_> = t.finish().iter().map(|t| t.id).collect();
    assert_eq!(all, [TrackId(1)], "a tentative track has nothing to leave");
}

#[test]
fn at_a_frame_in_three_seconds_a_visit_is_still_one() {
    let (mut t, mut told) = (Tracker::new(Settings::default()), Told::default());
    for i in 0..10_u64 {
        t.update(ms(i * 3000), HD, &[det(PERSON, 0.6, person(400.0 + i as f32 * 10.0, 400.0))], &whole());
        told.hear(&t);
    }
    assert_eq!((told.appeared.len(), told.left.len()), (1, 0));
}

#[test]
fn moving_has_hysteresis() {
    let (mut t, mut rng) = (Tracker::new(Settings::default()), Lcg(17));
    let mut flips = 0;
    let mut was = false;
    let mut at_end_of = [false; 3];
    for i in 0..450_u64 {
        // Stands 10 s, walks 10 s, stands 10 s.
        let walked = i.clamp(150, 300) - 150;
        let b = person(200.0 + walked as f32 * 5.0, 400.0);
        t.update(ms(i * 66), HD, &[det(PERSON, 0.7, noisy(&mut rng, b))], &whole());
        if let Some(track) = t.tracks().next() {
            flips += u32::from(track.moving != was);
            was = track.moving;
        }
        if i % 150 == 149 {
            at_end_of[i as usize / 150] = was;
        }
    }
    assert_eq!((flips, at_end_of), (2, [false, true, false]));
}

#[test]
fn a_quiet_picture_stops_what_moved() {
    let mut t = Tracker::new(Settings::default());
    for i in 0..20_u64 {
        t.update(ms(i * 66), HD, &[det(PERSON, 0.7, person(200.0 + i as f32 * 8.0, 400.0))], &whole());
    }
    let before = t.tracks().next().copied();
    assert_eq!(before.map(|t| t.moving), Some(true));
    for i in 20..120_u64 {
        t.still(ms(i * 66));
    }
    assert_eq!(t.tracks().next().map(|t| t.moving), Some(false));
    let expected = t.predicted(ms(8000)).next().map(|p| p.bbox);
    assert_eq!(expected, before.map(|t| t.bbox), "and it is expected where it stands");
}

#[test]
fn who_moves_on_unlooked_is_expected_where_they_were_going() {
    // Once a frame that was not looked at took everybody's speed away, whatever moved in it.
    let mut t = Tracker::new(Settings::default());
    let at = |i: u64| person(200.0 + i as f32 * 8.0, 400.0);
    for i in 0..20 {
        if i % 2 == 0 {
            t.update(ms(i * 66), HD, &[det(PERSON, 0.9, at(i))], &whole());
        } else {
            t.unlooked(ms(i * 66), &[at(i)]);
        }
    }
    let expected = t.predicted(ms(20 * 66)).next().expect("a track");
    assert!(expected.bbox.iou(at(20)) > 0.95 && expected.speed > 100.0, "{expected:?}");
    // What moves elsewhere says nothing of it.
    t.unlooked(ms(20 * 66), &[person(900.0, 400.0)]);
    let expected = t.predicted(ms(21 * 66)).next().expect("a track");
    assert!(expected.bbox.iou(at(18)) > 0.9 && expected.speed == 0.0, "{expected:?}");
}

#[test]
fn a_clock_that_steps_back_keeps_durations() {
    let mut t = Tracker::new(Settings::default());
    let seen = [det(PERSON, 0.9, person(200.0, 400.0))];
    for i in 0..30_u64 {
        t.update(ms(100_000 + i * 100), HD, &seen, &whole());
    }
    t.update(ms(50_000), HD, &seen, &whole());
    let track = t.tracks().next().copied();
    assert_eq!(track.map(|t| t.last_seen.ms_since(t.first_seen)), Some(2900));
    // And it still ends in time.
    let mut left = None;
    for i in 1..60_u64 {
        t.update(ms(50_000 + i * 100), HD, &[], &whole());
        if !t.changes().is_empty() {
            left.get_or_insert(i * 100);
        }
    }
    assert_eq!(left, Some(2100));
}

#[test]
fn another_picture_size_is_the_same_scene() {
    let (mut t, mut told) = (Tracker::new(Settings::default()), Told::default());
    for i in 0..20_u64 {
        let (size, f) = if i < 10 { (HD, 1.0) } else { (Size::new(640, 360), 0.5) };
        let b = Box2::from_cxcywh(600.0 * f, 400.0 * f, 64.0 * f, 160.0 * f);
        t.update(ms(i * 100), size, &[det(PERSON, 0.9, b)], &[Region::whole(size)]);
        told.hear(&t);
    }
    assert_eq!((told.appeared.len(), told.left.len(), t.tracks().count()), (1, 0, 1));
}

/// Any number a model might say.
fn any_coordinate() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -100.0_f32..1400.0,
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0, f32::MIN_POSITIVE]),
    ]
}

#[derive(Clone, Debug)]
enum Call {
    Update(i64, Size, Vec<Detection>, Vec<Region>),
    Still(i64),
    Finish,
}

fn any_detection() -> impl Strategy<Value = Detection> {
    let boxed = prop_oneof![
        // Few places, so that things meet.
        4 => (0_u8..6, 0_u8..4).prop_map(|(x, y)| person(100.0 + 40.0 * f32::from(x), 200.0 + 60.0 * f32::from(y))),
        1 => (any_coordinate(), any_coordinate(), any_coordinate(), any_coordinate())
            .prop_map(|(a, b, c, d)| Box2::from_xyxy(a, b, c, d)),
    ];
    (boxed, 0_u16..3, 0.0_f32..1.0).prop_map(|(b, class, score)| det(ClassId(class), score, b))
}

fn any_call() -> impl Strategy<Value = Call> {
    let dt = prop_oneof![8 => 0_i64..300, 1 => -5_000_i64..20_000, 1 => Just(i64::MIN / 4_000_000)];
    let size = prop_oneof![9 => Just(HD), 1 => (0_u32..9000, 0_u32..9000).prop_map(|(w, h)| Size::new(w, h))];
    let region =
        (0_u32..1000, 0_u32..500, 1_u32..800).prop_map(|(x, y, side)| Region { x, y, size: Size::new(side, side) });
    let looked = prop_oneof![3 => Just(vec![Region::whole(HD)]), 1 => prop::collection::vec(region, 0..4)];
    prop_oneof![
        12 => (dt.clone(), size, prop::collection::vec(any_detection(), 0..6), looked)
            .prop_map(|(t, s, d, r)| Call::Update(t, s, d, r)),
        4 => dt.prop_map(Call::Still),
        1 => Just(Call::Finish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn laws(calls in prop::collection::vec(any_call(), 1..80)) {
        let (mut t, mut again) = (Tracker::new(Settings::default()), Tracker::new(Settings::default()));
        let mut now = 1_000_000_000_000_i64;
        let mut inside = std::collections::BTreeSet::new();
        let mut highest = 0;
        for call in &calls {
            let step = |now: &mut i64, dt: &i64| {
                *now = now.saturating_add(dt.saturating_mul(1_000_000)).max(0);
                MonoNs(now.unsigned_abs())
            };
            match call {
                Call::Update(dt, size, detections, looked) => {
                    let at = step(&mut now, dt);
                    t.update(at, *size, detections, looked);
                    again.update(at, *size, detections, looked);
                }
                Call::Still(dt) => {
                    let at = step(&mut now, dt);
                    t.still(at);
                    again.still(at);
                }
                Call::Finish => {
                    again.finish();
                    for track in t.finish() {
                        prop_assert!(inside.remove(&track.id), "{:?} left but never appeared", track.id);
                    }
                    prop_assert!(inside.is_empty(), "{inside:?} never left");
                }
            }
            prop_assert_eq!(t.changes(), again.changes(), "the same twice");
            for change in t.changes() {
                match change {
                    Change::Appeared(id) => {
                        prop_assert!(inside.insert(*id), "{id:?} appeared twice");
                        prop_assert!(t.get(*id).is_some_and(|t| t.state == State::Confirmed));
                    }
                    Change::Left(track) => {
                        prop_assert!(inside.remove(&track.id), "{:?} left twice or never appeared", track.id);
                        prop_assert!(track.last_seen >= track.first_seen);
                    }
                }
            }
            let mut last = 0;
            for track in t.tracks() {
                prop_assert!(track.id.0 > last, "in the order of ids");
                last = track.id.0;
                prop_assert!(!track.bbox.is_empty(), "{:?}", track);
                prop_assert_eq!(inside.contains(&track.id), track.state != State::Tentative);
            }
            prop_assert!(last == 0 || last >= highest || t.get(TrackId(last)).is_some());
            highest = highest.max(last);
            for p in t.predicted(MonoNs(now.unsigned_abs()).plus_ms(700)) {
                prop_assert!(!p.bbox.is_empty(), "{:?}", p);
            }
        }
        let left: Vec<_> = t.finish().iter().map(|t| t.id).collect();
        prop_assert_eq!(left, inside.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_crowd_of_anything_does_not_panic(detections in prop::collection::vec(any_detection(), 0..700)) {
        let mut t = Tracker::new(Settings { instant_score: 0.0, ..Settings::default() });
        for i in 0..3 {
            t.update(ms(i * 50), HD, &detections, &whole());
            prop_assert!(t.tracks().count() <= 256);
        }
    }
}
