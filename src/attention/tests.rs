use super::*;
use proptest::prelude::*;

const HD: Size = Size::new(1280, 720);

fn ms(v: u64) -> MonoNs {
    MonoNs(0).plus_ms(1000 + v)
}

fn still() -> Verdict<'static> {
    Verdict { kind: Kind::Still, boxes: &[], share: 0.0 }
}

fn moving(boxes: &[Box2<FramePx>]) -> Verdict<'_> {
    Verdict { kind: Kind::Moving, boxes, share: 0.02 }
}

/// Quick when it moves.
fn track(id: u32, bbox: Box2<FramePx>, state: State, moves: bool) -> Predicted {
    Predicted { id: TrackId(id), bbox, state, moving: moves, leaving: false, speed: if moves { 1000.0 } else { 0.0 } }
}

/// A person of 150 px.
fn person(x: f32, y: f32) -> Box2<FramePx> {
    Box2::from_cxcywh(x, y, 60.0, 150.0)
}

/// Past the first look; moving tracks are looked at in every frame.
fn started() -> Attention {
    let mut a =
        Attention::new(Settings { track_every_ms: 0, calm_every_ms: 0, urgent_every_ms: 0, ..Settings::default() });
    let first = Verdict { kind: Kind::First, boxes: &[], share: 1.0 };
    assert!(a.choose(ms(0), HD, &first, []).whole);
    a
}

#[test]
fn a_small_person_gets_a_crop_with_context() {
    for (x, y) in [(640.0, 360.0), (40.0, 100.0), (1250.0, 640.0)] {
        let b = person(x, y);
        for tracks in [vec![], vec![track(1, b, State::Tentative, false)], vec![track(1, b, State::Confirmed, true)]] {
            let mut a = started();
            let look = a.choose(ms(33), HD, &moving(&[b]), tracks.clone());
            assert_eq!((look.whole, look.regions.len()), (false, 1), "{tracks:?}");
            let r = look.regions[0];
            assert_eq!(r.size, Size::new(300, 300));
            let inside = b.clip(HD);
            assert!(inside.covered_by(r.bounds()) > 0.999, "{r:?}");
            // Context on each side that is not the frame's edge.
            let space = |inner: f32, outer: f32, edge: f32| (outer - inner).abs() >= 20.0 || (outer - edge).abs() < 1.0;
            let o = r.bounds();
            assert!(space(inside.x0, o.x0, 0.0) && space(inside.x1, o.x1, 1280.0), "{r:?}");
            assert!(space(inside.y0, o.y0, 0.0) && space(inside.y1, o.y1, 720.0), "{r:?}");
        }
    }
}

#[test]
fn a_track_that_moves_is_looked_at_ten_times_a_second() {
    let mut a = Attention::new(Settings::default());
    let mut looks = 0;
    for frame in 0..300 {
        let b = person(200.0 + frame as f32, 400.0);
        let look = a.choose(ms(frame * 33), HD, &moving(&[b]), [track(1, b, State::Confirmed, true)]);
        looks += usize::from(!look.regions.is_empty());
    }
    // Ten seconds at thirty frames a second; the looks at the whole frame count for it too.
    assert!((65..=80).contains(&looks), "{looks}");
}

/// Looks in ten seconds at thirty frames a second, those at the whole frame among them.
fn looks(mut scene: impl FnMut(f32) -> (Vec<Box2<FramePx>>, Vec<Predicted>)) -> usize {
    let mut a = Attention::new(Settings::default());
    let first = Verdict { kind: Kind::First, boxes: &[], share: 1.0 };
    a.choose(ms(0), HD, &first, []);
    (1..300)
        .map(|i| {
            let (boxes, tracks) = scene(i as f32 / 30.0);
            let look = a.choose(ms(i * 1000 / 30), HD, &moving(&boxes), tracks);
            usize::from(look.whole) + look.regions.len()
        })
        .sum()
}

#[test]
fn the_quicker_a_track_the_more_often_it_is_looked_at() {
    // One that stands and is stirred, as by its own arms: no less than every 400 ms, and the sweeps.
    let b = person(640.0, 360.0);
    let standing = looks(|_| (vec![b], vec![track(1, b, State::Confirmed, false)]));
    assert!((28..=35).contains(&standing), "{standing}");
    // Two thirds of its height in a second: every 190 ms.
    let walking = looks(|t| {
        let b = person(100.0 + 100.0 * t, 360.0);
        (vec![b], vec![Predicted { speed: 100.0, ..track(1, b, State::Confirmed, true) }])
    });
    assert!((50..=70).contains(&walking), "{walking}");
}

#[test]
fn who_leaves_or_meets_somebody_is_looked_at_twice_as_often() {
    let apart = looks(|_| {
        let (a, b) = (person(300.0, 360.0), person(700.0, 360.0));
        (vec![a, b], vec![track(1, a, State::Confirmed, true), track(2, b, State::Confirmed, true)])
    });
    let meeting = looks(|_| {
        let (a, b) = (person(300.0, 360.0), person(340.0, 360.0));
        (vec![a, b], vec![track(1, a, State::Confirmed, true), track(2, b, State::Confirmed, true)])
    });
    let leaving = looks(|_| {
        let b = person(1250.0, 360.0);
        (vec![b], vec![Predicted { leaving: true, ..track(1, b, State::Confirmed, true) }])
    });
    // Two that are apart get a crop each, two that meet share one.
    assert!(
        (195..=215).contains(&apart) && (140..=165).contains(&meeting) && (140..=165).contains(&leaving),
        "{apart} {meeting} {leaving}"
    );
    let standing = looks(|_| {
        let (a, b) = (person(300.0, 360.0), person(340.0, 360.0));
        (vec![a, b], vec![track(1, a, State::Confirmed, false), track(2, b, State::Confirmed, false)])
    });
    assert!(standing <= 35, "two who stand beside each other are no meeting: {standing}");
}

#[test]
fn a_bush_in_the_wind_is_looked_at_ever_more_rarely() {
    let bush = |t: f32| Box2::from_cxcywh(900.0, 400.0, 180.0 + 4.0 * (t * 3.0).sin(), 160.0);
    let in_vain = looks(|t| (vec![bush(t)], vec![]));
    // Three, then after 200, 400, 800 ms and each second; the sweeps.
    assert!((15..=28).contains(&in_vain), "{in_vain}");
    // Whoever comes out of it is something new, and so is what moves elsewhere: looked at in the same frame.
    let mut a = started();
    for i in 1..90 {
        a.choose(ms(i * 33), HD, &moving(&[bush(i as f32 / 30.0)]), []);
    }
    let quiet = a.choose(ms(2975), HD, &moving(&[bush(0.0)]), []).is_empty();
    assert!(quiet, "it has just been looked at");
    let out = bush(0.0).hull(person(1010.0, 420.0));
    assert!(!a.choose(ms(2980), HD, &moving(&[out]), []).regions.is_empty());
    let elsewhere = a.choose(ms(2990), HD, &moving(&[bush(0.0), person(200.0, 300.0)]), []).regions.to_vec();
    assert!(elsewhere.iter().any(|r| person(200.0, 300.0).covered_by(r.bounds()) > 0.99), "{elsewhere:?}");
}

#[test]
fn where_something_is_known_no_look_is_in_vain() {
    // Larger than the track, so that the track does not explain it.
    let b = person(640.0, 360.0);
    let around = Box2::from_cxcywh(640.0, 360.0, 300.0, 300.0);
    let all = looks(|_| (vec![around], vec![track(1, b, State::Lost, false)]));
    assert!(all >= 299, "{all}");
}

#[test]
fn every_frame_means_the_whole_of_it_and_nothing_else() {
    let mut a = Attention::new(Settings { every_frame: true, ..Settings::default() });
    let b = person(640.0, 360.0);
    for at in 0..100 {
        let look = a.choose(ms(at), HD, &still(), [track(1, b, State::Lost, true)]);
        assert_eq!(look, Look { whole: true, regions: &[] });
        assert_eq!(a.choose(ms(at), HD, &moving(&[b]), []), Look { whole: true, regions: &[] });
    }
    assert!(a.choose(ms(0), Size::default(), &still(), []).is_empty(), "there is nothing to look at");
}

#[test]
fn a_large_person_gets_a_larger_square() {
    let b = Box2::from_cxcywh(640.0, 360.0, 150.0, 400.0);
    let mut a = started();
    let r = a.choose(ms(33), HD, &moving(&[b]), []).regions[0];
    assert_eq!((r.size, r.y), (Size::new(640, 640), 40));
}

#[test]
fn two_beside_each_other_share_a_crop_and_two_far_apart_do_not() {
    let near = [person(500.0, 360.0), person(620.0, 380.0)];
    let mut a = started();
    assert_eq!(a.choose(ms(33), HD, &moving(&near), []).regions.len(), 1);
    for b in near {
        assert!(b.covered_by(a.regions[0].bounds()) > 0.999);
    }
    let far = [person(200.0, 360.0), person(1000.0, 380.0)];
    let mut a = started();
    assert_eq!(a.choose(ms(33), HD, &moving(&far), []).regions.len(), 2);
}

#[test]
fn nothing_is_looked_at_until_the_idle_sweep_which_grows_rare_whatever_the_rate_of_frames() {
    for fps in [5_u64, 15, 30] {
        let mut a = started();
        let mut looks = Vec::new();
        for i in 1..fps * 200 {
            let now = i * 1000 / fps;
            if !a.choose(ms(now), HD, &still(), []).is_empty() {
                looks.push(now);
            }
        }
        assert_eq!(looks, [10_000, 30_000, 70_000, 130_000, 190_000], "{fps} fps");
        // What moves is looked at, and what comes to rest is swept as soon as ever.
        assert!(!a.choose(ms(200_000), HD, &moving(&[person(300.0, 300.0)]), []).is_empty());
        let rested = (1..fps * 22).map(|i| 200_000 + i * 1000 / fps);
        let looks: Vec<u64> = rested.filter(|now| a.choose(ms(*now), HD, &still(), []).whole).collect();
        assert_eq!(looks, [210_000], "{fps} fps");
    }
}

#[test]
fn while_something_moves_the_whole_frame_is_swept_each_second_of_the_stream() {
    for fps in [5_u64, 10, 25] {
        let mut a = started();
        let mut sweeps = Vec::new();
        for i in 1..fps * 5 {
            let now = i * 1000 / fps;
            if a.choose(ms(now), HD, &moving(&[person(300.0, 300.0)]), []).whole {
                sweeps.push(now);
            }
        }
        assert_eq!(sweeps, [1000, 2000, 3000, 4000], "{fps} fps");
    }
}

#[test]
fn who_stands_is_looked_at_ever_more_rarely_and_at_once_when_stirring() {
    let mut a = started();
    let known = [track(1, person(600.0, 300.0), State::Confirmed, false)];
    let mut crops = Vec::new();
    let mut wholes = Vec::new();
    for i in 1..1000 {
        let look = a.choose(ms(i * 100), HD, &still(), known);
        if !look.regions.is_empty() {
            assert!(known[0].bbox.covered_by(look.regions[0].bounds()) > 0.999);
            crops.push(i * 100);
        }
        if look.whole {
            wholes.push(i * 100);
        }
    }
    assert_eq!(crops, [1100, 3100, 7100, 15_100, 31_100, 61_100, 91_100]);
    assert_eq!(wholes, [1000, 3000, 7000, 15_000, 31_000, 63_000]);
    let stirs = [Box2::from_cxcywh(600.0, 250.0, 30.0, 30.0)];
    let look = a.choose(ms(100_100), HD, &moving(&stirs), known);
    assert_eq!(look.regions.len(), 1, "its own movement is looked at with it");
    assert!(known[0].bbox.covered_by(look.regions[0].bounds()) > 0.999);
    let next = (1..30).map(|i| 100_100 + i * 100).find(|t| !a.choose(ms(*t), HD, &still(), known).regions.is_empty());
    assert_eq!(next, Some(101_100), "and soon again after that");
}

#[test]
fn tentative_and_lost_are_looked_for_though_nothing_moves() {
    let mut a = started();
    let known = [track(1, person(600.0, 300.0), State::Tentative, false)];
    assert!((1..9).all(|i| !a.choose(ms(i * 33), HD, &still(), known).regions.is_empty()));
    let known = [track(1, person(600.0, 300.0), State::Lost, false)];
    let mut a = Attention::new(Settings::default());
    a.choose(ms(0), HD, &still(), known);
    let looks = (1..31).filter(|i| !a.choose(ms(i * 33), HD, &still(), known).regions.is_empty()).count();
    assert_eq!(looks, 2, "every 400 ms in a second");
    // Somebody who stands before it, and stirs, is no reason to look at every frame, nor to forget it.
    let both = [known[0], track(2, person(600.0, 300.0), State::Confirmed, false)];
    let stirs = [known[0].bbox];
    let looks = (31..61).filter(|i| !a.choose(ms(i * 33), HD, &moving(&stirs), both).regions.is_empty()).count();
    assert!((5..=8).contains(&looks), "every 150 ms: {looks}");
}

#[test]
fn everyone_has_a_turn() {
    let mut a = started();
    let known: Vec<_> = (0..10)
        .map(|i| {
            let b = person(80.0 + (i % 5) as f32 * 270.0, 120.0 + (i / 5) as f32 * 450.0);
            track(i + 1, b, State::Confirmed, true)
        })
        .collect();
    // Something small that moves and is nobody, too.
    let motion = |i: u64| Box2::from_cxcywh(400.0 + 12.0 * i as f32, 345.0, 20.0, 20.0);
    let mut last = [0_u64; 11];
    let mut gap = [0_u64; 11];
    for i in 1..25 {
        let motion = [motion(i)];
        let look = a.choose(ms(i * 33), HD, &moving(&motion), known.iter().copied());
        assert!(look.regions.len() <= 4);
        for (k, b) in known.iter().map(|k| k.bbox).chain(motion).enumerate() {
            if look.regions.iter().any(|r| b.clip(HD).covered_by(r.bounds()) > 0.999) {
                gap[k] = gap[k].max(i - last[k]);
                last[k] = i;
            }
        }
    }
    assert!(last.iter().all(|l| *l > 20) && gap.iter().all(|g| *g <= 4), "{last:?} {gap:?}");
}

#[test]
fn of_frames_that_come_often_each_is_looked_at_in_two_places() {
    let four = [(100.0, 100.0), (1180.0, 100.0), (100.0, 620.0), (1180.0, 620.0)];
    let boxes = four.map(|(x, y)| person(x, y));
    let tracks: Vec<_> = (1_u32..).zip(boxes).map(|(id, b)| track(id, b, State::Confirmed, true)).collect();
    for (every, looks) in [(66, [2, 2]), (200, [4, 4])] {
        let mut a = started();
        let mut seen = Vec::new();
        for (i, looks) in looks.into_iter().enumerate() {
            let look = a.choose(ms(every * (i as u64 + 1)), HD, &moving(&boxes), tracks.iter().copied());
            assert_eq!((look.whole, look.regions.len()), (false, looks), "every {every} ms");
            seen.extend_from_slice(look.regions);
        }
        for b in boxes {
            assert!(seen.iter().any(|r| b.covered_by(r.bounds()) > 0.999), "{b:?}, every {every} ms");
        }
    }
}

#[test]
fn much_motion_is_a_look_at_the_whole() {
    let mut a = started();
    let most = [Box2::from_xyxy(100.0, 0.0, 1200.0, 700.0)];
    assert!(a.choose(ms(33), HD, &Verdict { kind: Kind::Moving, boxes: &most, share: 0.7 }, []).whole);
    let many: Vec<_> = (0..MAX_BOXES).map(|i| Box2::from_xywh(i as f32 * 80.0, 100.0, 10.0, 10.0)).collect();
    assert!(a.choose(ms(66), HD, &moving(&many), []).whole);
    assert!(!a.choose(ms(99), HD, &moving(&many[..1]), []).whole);
}

#[test]
fn another_size_is_looked_at_whole() {
    let mut a = started();
    assert!(a.choose(ms(10), Size::new(640, 480), &still(), []).whole);
    assert!(a.choose(ms(20), Size::default(), &still(), []).is_empty());
}

#[test]
fn a_clock_that_steps_back_does_not_stop_the_sweeps() {
    let mut a = started();
    a.choose(ms(3_600_000), HD, &still(), []);
    let looks = (1..210).filter(|i| !a.choose(ms(i * 100), HD, &still(), []).is_empty()).count();
    assert!(looks >= 1);
}

fn any_box() -> impl Strategy<Value = Box2<FramePx>> {
    let v = || {
        prop_oneof![
            12 => -500.0_f32..9000.0,
            1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0]),
        ]
    };
    prop_oneof![
        (v(), v(), v(), v()).prop_map(|(a, b, c, d)| Box2::from_xyxy(a, b, c, d)),
        (v(), v(), 0.0_f32..800.0, 0.0_f32..800.0).prop_map(|(x, y, w, h)| Box2::from_cxcywh(x, y, w, h)),
    ]
}

fn any_size() -> impl Strategy<Value = Size> {
    prop_oneof![
        3 => Just(HD),
        1 => prop::sample::select(vec![(0, 0), (1, 1), (1, 8192), (8192, 1), (8192, 8192), (300, 300), (0, 9)])
            .prop_map(|(w, h)| Size::new(w, h)),
        1 => (1_u32..2000, 1_u32..2000).prop_map(|(w, h)| Size::new(w, h)),
    ]
}

fn any_track() -> impl Strategy<Value = Predicted> {
    let state = prop::sample::select(vec![State::Tentative, State::Confirmed, State::Lost]);
    (1_u32..200, any_box(), state, any::<bool>()).prop_map(|(id, b, s, m)| track(id, b, s, m))
}

proptest! {
    #[test]
    fn regions_lie_in_the_frame_and_are_few(
        frames in prop::collection::vec(
            (any_size(), prop::collection::vec(any_box(), 0..16), prop::collection::vec(any_track(), 0..40), -2000_i64..4000),
            1..12,
        ),
        max_regions in 0_usize..6,
        soon_regions in 0_usize..6,
        min_crop in 0_u32..1000,
    ) {
        let mut a = Attention::new(Settings { max_regions, soon_regions, min_crop, ..Settings::default() });
        let mut now = 1_000_000_i64;
        for (i, (size, boxes, tracks, dt)) in frames.iter().enumerate() {
            now += dt;
            let kind = if boxes.is_empty() { Kind::Still } else { Kind::Moving };
            let verdict = Verdict { kind, boxes, share: 0.1 };
            let look = a.choose(MonoNs(0).plus_ms(now.unsigned_abs()), *size, &verdict, tracks.iter().copied());
            prop_assert!(look.regions.len() <= max_regions.max(1));
            // Before the first there was none.
            if i > 0 && (1..=100).contains(dt) {
                let least = 1 + usize::from(look.whole);
                let most = soon_regions.min(max_regions + usize::from(look.whole)).max(least);
                prop_assert!(look.regions.len() + usize::from(look.whole) <= most);
            }
            prop_assert!(!look.whole || size.pixels() > 0);
            for r in look.regions {
                prop_assert!(r.size.width > 0 && r.size.height > 0);
                prop_assert!(r.x + r.size.width <= size.width && r.y + r.size.height <= size.height, "{r:?} in {size}");
                let square = r.size.width == r.size.height;
                prop_assert!(square || r.size.width.min(r.size.height) == size.width.min(size.height), "{r:?} in {size}");
                prop_assert!(r.size.long_side() >= min_crop.min(size.width.min(size.height)), "{r:?} in {size}");
            }
        }
    }

    #[test]
    fn what_gets_a_crop_is_whole_in_it(x in 0.0_f32..1280.0, y in 0.0_f32..720.0, w in 4.0_f32..600.0, h in 4.0_f32..600.0) {
        let b = Box2::from_cxcywh(x, y, w, h);
        let mut a = started();
        let look = a.choose(ms(33), HD, &still(), [track(1, b, State::Tentative, false)]);
        prop_assert!(b.clip(HD).is_empty() || look.all(HD).any(|r| b.clip(HD).covered_by(r.bounds()) > 0.99));
    }
}

/// Attention and tracker in a circle, with a detector that sees nothing small: what the pipeline does, without pixels.
#[test]
fn looking_and_tracking_together_tell_one_visit() {
    use crate::detection::{ClassId, Detection, Score};
    use crate::track::{self, Change, Tracker};

    for (fps, seed) in [(5_u64, 1_u32), (5, 2), (15, 3), (30, 4), (30, 5)] {
        let (mut a, mut t) = (Attention::new(Settings::default()), Tracker::new(track::Settings::default()));
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 24) as f32
        };
        // In from the left at 2 s, stands from 7 s to 67 s, out again to the left at 72 s.
        let truth = |now: u64| {
            let walked = (now.clamp(2000, 7000) - 2000) as f32 - (now.clamp(67_000, 80_000) - 67_000) as f32;
            (now >= 2000).then(|| person(-30.0 + walked * 0.1, 360.0).clip(HD)).filter(|b| b.width() > 20.0)
        };
        let (mut appeared, mut left, mut looks_while_standing) = (Vec::new(), Vec::new(), 0);
        for i in 0..fps * 85 {
            let now = i * 1000 / fps;
            let here = truth(now);
            // What motion.rs says: boxes while it moves and for a second after.
            let stirs = here.filter(|_| (2000..8000).contains(&now) || now >= 67_000);
            let boxes: Vec<_> = stirs.into_iter().collect();
            let verdict = if boxes.is_empty() { still() } else { moving(&boxes) };
            let look = a.choose(ms(now), HD, &verdict, t.predicted(ms(now)));
            if look.is_empty() {
                t.still(ms(now));
            } else {
                let looked: Vec<_> = look.all(HD).collect();
                looks_while_standing += if (12_000..66_000).contains(&now) { looked.len() } else { 0 };
                let visible = here.filter(|b| {
                    looked
                        .iter()
                        .any(|r| b.covered_by(r.bounds()) > 0.9 && b.height() >= 0.25 * r.size.long_side() as f32)
                });
                let mut found = Vec::new();
                if let Some(b) = visible.filter(|_| random() > 0.15) {
                    found.push(Detection {
                        bbox: b.translate((random() - 0.5) * 8.0, (random() - 0.5) * 8.0),
                        class: ClassId(0),
                        score: Score::new(0.6 + 0.2 * random()).unwrap_or_default(),
                        landmarks: None,
                    });
                }
                t.update(ms(now), HD, &found, &looked);
            }
            for change in t.changes() {
                match change {
                    Change::Appeared(id) => appeared.push(*id),
                    Change::Left(track) => left.push(*track),
                }
            }
        }
        assert_eq!((appeared.len(), left.len(), t.tracks().count()), (1, 1, 0), "{fps} fps, seed {seed}");
        let dwell = left[0].last_seen.ms_since(left[0].first_seen);
        assert!((66_000..=70_500).contains(&dwell), "{fps} fps, seed {seed}: {dwell}");
        // Looking at everybody in every frame would be 270 to 1620 looks.
        assert!(looks_while_standing < 60, "{fps} fps, seed {seed}: {looks_while_standing}");
    }
}
