use super::*;
use crate::frame::{Colours, Layout, Place, Stamp};
use proptest::prelude::*;

/// Numerical Recipes' linear congruential generator: noise that is the same for ever.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// About normal, mean 0, deviation `sd`.
    fn normal(&mut self, sd: f32) -> f32 {
        let v = self.next();
        let sum = (0..4).map(|i| (v >> (i * 7)) & 127).sum::<u32>();
        (sum as f32 - 254.0) / 73.9 * sd
    }
}

/// A scene: a textured background, a light, things in it.
struct Scene {
    size: Size,
    noise: f32,
    gain: f32,
    offset: f32,
    things: Vec<(Box2<FramePx>, f32)>,
    rng: Lcg,
}

impl Scene {
    fn new(size: Size, noise: f32) -> Self {
        Self { size, noise, gain: 1.0, offset: 0.0, things: Vec::new(), rng: Lcg(1) }
    }

    fn frame(&mut self) -> Frame {
        let mut frame = Frame::new();
        let rgb = frame.reset(Stamp::default(), self.size);
        let (w, scale) = (self.size.width as usize, 1280.0 / self.size.width as f32);
        for (i, px) in rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % w) as f32, (i / w) as f32);
            let (u, v) = (x * scale, y * scale);
            // A wall, a slope of light, some furniture.
            let mut luma =
                90.0 + u * 0.04 + if (u as u32 / 160 + v as u32 / 120).is_multiple_of(2) { 25.0 } else { 0.0 };
            for (b, tone) in &self.things {
                if b.contains(crate::geom::Point::new(x, y)) {
                    luma = *tone;
                }
            }
            let luma = luma * self.gain + self.offset;
            // The same on all three channels: the worst case, since nothing of it averages out between them.
            px.fill((luma + self.rng.normal(self.noise)).round().clamp(0.0, 255.0) as u8);
        }
        frame
    }
}

const SMALL: Size = Size::new(640, 360);

fn at_ms(ms: u64) -> MonoNs {
    MonoNs(0).plus_ms(ms)
}

fn person(x: f32) -> Box2<FramePx> {
    Box2::from_xywh(x, 120.0, 30.0, 80.0)
}

#[test]
fn sensor_noise_is_still() {
    for (size, sd) in [(SMALL, 3.0), (SMALL, 5.0), (Size::new(160, 120), 5.0), (Size::new(320, 240), 12.0)] {
        let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(size, sd));
        let kinds: Vec<_> = (0..60).map(|i| m.look(at_ms(i * 66), &scene.frame()).kind).collect();
        assert_eq!(kinds[0], Kind::First);
        let moving = kinds[1..].iter().filter(|k| **k != Kind::Still).count();
        assert_eq!(moving, 0, "{size}, noise {sd}");
    }
}

#[test]
fn a_walker_is_boxed_in_every_frame() {
    for fps in [5_u64, 15, 30] {
        let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
        for i in 0..10 {
            m.look(at_ms(i * 1000 / fps), &scene.frame());
        }
        for i in 10..10 + 2 * fps {
            let now = i * 1000 / fps;
            let b = person(50.0 + (now - 10_000 / fps) as f32 * 0.06);
            scene.things = vec![(b, 40.0)];
            let v = m.look(at_ms(now), &scene.frame());
            assert_eq!(v.kind, Kind::Moving, "{fps} fps, frame {i}");
            let cover = v.boxes.iter().map(|m| b.covered_by(*m)).fold(0.0, f32::max);
            assert!(cover > 0.6, "{fps} fps, frame {i}: {cover} of {b:?} in {:?}", v.boxes);
            // The trail is not an object: the box is not much longer than the way of a frame and the thing itself.
            let way = 60.0 / fps as f32;
            assert!(v.boxes[0].width() < 30.0 + 2.0 * way + 30.0, "{fps} fps, frame {i}: {:?}", v.boxes);
        }
    }
}

#[test]
fn who_stands_is_still_after_two_seconds_and_moving_at_once_when_he_goes() {
    for fps in [5_u64, 30] {
        let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
        let mut last_moving = 0;
        for i in 0..fps * 40 {
            let now = i * 1000 / fps;
            let walked = (now.clamp(1000, 3000) - 1000) as f32 * 0.06;
            scene.things = if now < 1000 { vec![] } else { vec![(person(50.0 + walked), 40.0)] };
            if m.look(at_ms(now), &scene.frame()).kind == Kind::Moving {
                last_moving = now;
            }
        }
        assert!((2900..5000).contains(&last_moving), "{fps} fps: moved until {last_moving}");
        scene.things = vec![(person(50.0 + 120.0 + 8.0), 40.0)];
        let v = m.look(at_ms(40_000), &scene.frame());
        assert_eq!(v.kind, Kind::Moving);
        // Gone altogether, the place itself tells, and is quiet soon.
        scene.things.clear();
        assert_eq!(m.look(at_ms(40_200), &scene.frame()).kind, Kind::Moving);
        let mut ghost_until = 0;
        for i in 2..30 {
            if m.look(at_ms(40_000 + i * 200), &scene.frame()).kind == Kind::Moving {
                ghost_until = i * 200;
            }
        }
        assert!(ghost_until < 3000, "{ghost_until}");
    }
}

#[test]
fn where_someone_passed_there_is_no_ghost() {
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
    for i in 0..20 {
        m.look(at_ms(i * 66), &scene.frame());
    }
    for i in 20..50 {
        scene.things = vec![(person(50.0 + (i - 20) as f32 * 5.0), 40.0)];
        m.look(at_ms(i * 66), &scene.frame());
    }
    scene.things.clear();
    m.look(at_ms(50 * 66), &scene.frame());
    let after = m.look(at_ms(51 * 66), &scene.frame());
    assert_eq!(after.kind, Kind::Still, "{:?}", after.boxes);
}

#[test]
fn a_slow_thing_is_seen() {
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 2.0));
    let mut seen = 0;
    for i in 0..120_u64 {
        // 20 px/s: less than a pixel a frame.
        scene.things = vec![(person(100.0 + i as f32 * 20.0 / 30.0), 30.0)];
        seen += u32::from(m.look(at_ms(i * 33), &scene.frame()).kind == Kind::Moving);
    }
    assert!(seen > 90, "{seen} of 120");
}

#[test]
fn slow_light_is_still() {
    // Sunset: a third of the light within 20 s; and exposure that hunts, 30 levels a second.
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
    for i in 0..300_u64 {
        scene.gain = 1.0 - i as f32 / 900.0;
        let v = m.look(at_ms(i * 66), &scene.frame());
        assert!(i == 0 || v.kind == Kind::Still, "frame {i}: {:?}", v.kind);
    }
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
    for i in 0..90_u64 {
        scene.gain = 1.0 + if i % 60 < 30 { i % 30 } else { 30 - i % 30 } as f32 / 100.0;
        let v = m.look(at_ms(i * 33), &scene.frame());
        assert!(i == 0 || v.kind != Kind::Moving, "frame {i}: {:?}", v.boxes);
    }
}

#[test]
fn a_light_switch_is_a_flash_and_what_moves_in_it_is_seen() {
    for (gain, offset) in [(1.0, 60.0), (1.6, 0.0), (0.4, 0.0), (0.7, 40.0)] {
        let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
        for i in 0..30 {
            m.look(at_ms(i * 66), &scene.frame());
        }
        (scene.gain, scene.offset) = (gain, offset);
        let kinds: Vec<_> = (30..40).map(|i| m.look(at_ms(i * 66), &scene.frame()).kind).collect();
        if (gain, offset) != (0.7, 40.0) {
            assert_eq!(kinds[0], Kind::Flash, "gain {gain}, offset {offset}");
        }
        assert!(kinds[1..].iter().all(|k| *k == Kind::Still), "gain {gain}, offset {offset}: {kinds:?}");
        // Lightning, and somebody in it.
        for i in 40..60 {
            let walks = i >= 45;
            (scene.gain, scene.offset) = if i == 50 { (1.0, 90.0) } else { (gain, offset) };
            scene.things = if walks { vec![(person(50.0 + (i - 45) as f32 * 8.0), 20.0)] } else { vec![] };
            let v = m.look(at_ms(i * 66), &scene.frame());
            match i {
                50 => assert_eq!(v.kind, Kind::Flash),
                46..=49 | 52.. => assert_eq!(v.kind, Kind::Moving, "frame {i}, gain {gain}"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_turned_camera_and_another_size_start_anew() {
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
    m.look(at_ms(0), &scene.frame());
    m.look(at_ms(66), &scene.frame());
    // Checkers of another pitch and tone everywhere: some cells up, some down.
    for i in 0..40 {
        let (x, y) = ((i % 8) as f32 * 80.0, (i / 8) as f32 * 72.0);
        scene.things.push((Box2::from_xywh(x, y, 80.0, 72.0), if i % 2 == 0 { 10.0 } else { 240.0 }));
    }
    assert_eq!(m.look(at_ms(132), &scene.frame()).kind, Kind::First);
    assert_eq!(m.look(at_ms(198), &scene.frame()).kind, Kind::Still);
    scene.size = Size::new(320, 180);
    assert_eq!(m.look(at_ms(264), &scene.frame()).kind, Kind::First);
}

#[test]
fn a_luma_plane_tells_the_same_as_the_frame() {
    let mut scene = Scene::new(Size::new(1280, 720), 0.0);
    scene.things = vec![(Box2::from_xywh(400.0, 200.0, 100.0, 200.0), 20.0)];
    let frame = scene.frame();
    let luma: Vec<u8> = frame.to_rgb().chunks_exact(3).map(|p| p[1]).collect();
    let (mut a, mut b, mut c) = (Plane::default(), Plane::default(), Plane::default());
    a.set_frame(&frame, 160);
    assert!(b.set_luma(plain(&luma, frame.size(), 1280), frame.size(), 160));
    assert_eq!(a.cells(), (160, 90));
    // Grey pixels: the weights sum to one.
    assert!(a.luma().iter().zip(b.luma()).all(|(p, q)| (p - q).abs() < 0.01));
    // A small plane that stands for a large frame gives boxes of the large one.
    let mut m = Motion::new(Settings::default());
    let mut small = vec![100_u8; 160 * 90];
    c.set_luma(plain(&small, Size::new(160, 90), 160), frame.size(), 160);
    m.look_plane(at_ms(0), &c);
    for y in 20..40 {
        small[y * 160 + 50..][..10].fill(200);
    }
    c.set_luma(plain(&small, Size::new(160, 90), 160), frame.size(), 160);
    let v = m.look_plane(at_ms(66), &c);
    assert_eq!(v.boxes, [Box2::from_xyxy(400.0, 160.0, 480.0, 320.0)]);
    assert!(!c.set_luma(plain(&small, Size::new(160, 91), 160), frame.size(), 160), "too short");
    assert!(!c.set_luma(plain(&small, Size::new(160, 90), 159), frame.size(), 160), "rows overlap");
    assert!(c.set_luma(plain(&[], Size::default(), 0), frame.size(), 160), "an empty plane is a plane");
}

#[test]
fn a_clock_that_steps_back_or_stands_harms_nothing() {
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(SMALL, 3.0));
    for t in [5000, 5066, 1000, 1000, 1066, 0, u64::MAX / 1_000_000, 7] {
        m.look(at_ms(t), &scene.frame());
    }
    assert_eq!(m.look(at_ms(80), &scene.frame()).kind, Kind::Still);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn boxes_lie_in_the_frame(
        frames in prop::collection::vec((0_u32..90, 0_u32..90, any::<u64>(), any::<bool>()), 1..12),
        same in any::<bool>(),
    ) {
        let mut m = Motion::new(Settings::default());
        for (i, (w, h, seed, noisy)) in frames.iter().enumerate() {
            let size = if same { Size::new(frames[0].0, frames[0].1) } else { Size::new(*w, *h) };
            let mut rng = Lcg(*seed);
            let rgb = (0..size.pixels() * 3).map(|k| if *noisy { rng.next() as u8 } else { (k / 64) as u8 ^ *seed as u8 });
            let frame = Frame::from_rgb(Stamp::default(), size, rgb.collect()).unwrap_or_default();
            let v = m.look(MonoNs(seed % 1_000_000_000 * i as u64), &frame);
            prop_assert!(v.boxes.len() <= MAX_BOXES && (0.0..=1.0).contains(&v.share));
            prop_assert!(v.boxes.windows(2).all(|p| p[0].area() >= p[1].area()));
            for b in v.boxes {
                prop_assert!(!b.is_empty() && b.covered_by(size.bounds()) > 0.999, "{b:?} in {size}");
            }
        }
    }

    #[test]
    fn any_shape_has_a_plane(w in 0_u32..3000, h in 0_u32..40, turn in any::<bool>(), cells in 0_u32..400) {
        let size = if turn { Size::new(h, w) } else { Size::new(w, h) };
        let frame = Frame::from_rgb(Stamp::default(), size, vec![255; size.pixels() * 3]).unwrap_or_default();
        let mut p = Plane::default();
        p.set_frame(&frame, cells);
        prop_assert_eq!(p.luma().len(), p.cells().0 * p.cells().1);
        prop_assert!(p.cells().0.max(p.cells().1) <= cells.max(32) as usize);
        prop_assert!(p.luma().iter().all(|v| (v - 255.0).abs() < 0.01));
    }
}

#[test]
fn the_largest_frame_does_not_overflow_its_sums() {
    let size = Size::new(8192, 600);
    let frame = Frame::from_rgb(Stamp::default(), size, vec![255; size.pixels() * 3]).unwrap_or_default();
    let mut p = Plane::default();
    p.set_frame(&frame, 32);
    assert!(p.luma().iter().all(|v| (v - 255.0).abs() < 0.01), "{:?}", p.luma().first());
}

fn plain(data: &[u8], size: Size, stride: usize) -> Luma<'_> {
    Luma { channel: Channel { data, size, stride, step: 1 }, range: Range::Full }
}

/// A peek at a frame goes on where looks at decoded frames of its kind left off, and sees what comes.
#[test]
fn a_peek_sees_what_moves_and_nothing_else() {
    let size = Size::new(640, 360);
    let luma = |with: bool| -> Vec<u8> {
        let of = |x: usize, y: usize| {
            let there = with && (400..460).contains(&x) && (100..250).contains(&y);
            if there { 230 } else { (60 + (x / 8 + y / 8) % 90) as u8 }
        };
        (0..360).flat_map(|y| (0..640).map(move |x| of(x, y))).collect()
    };
    let (empty, with) = (luma(false), luma(true));
    let at = |ms: u64| MonoNs(ms * 1_000_000);
    let mut motion = Motion::new(Settings::default());
    assert!(motion.peek(at(0), plain(&empty, size, 640), size).is_none(), "nothing to compare with");
    for i in 0..60 {
        let mut frame = Frame::new();
        let place = Place { at: 0, size, stride: 640, step: 1 };
        let layout = Layout { colours: Colours::Grey(Range::Full), channels: [place; 3], eighth: None };
        assert!(frame.exchange(Stamp::default(), size, layout, &mut empty.clone()));
        motion.look(at(i * 33), &frame);
    }
    for i in 0..20 {
        let verdict = motion.peek(at(2000 + i * 150), plain(&empty, size, 640), size).expect("compared");
        assert_eq!(verdict.kind, Kind::Still, "{i}");
    }
    let verdict = motion.peek(at(5000), plain(&with, size, 640), size).expect("compared");
    assert_eq!((verdict.kind, verdict.boxes.len()), (Kind::Moving, 1));
    let wanted = Box2::from_xywh(400.0, 100.0, 60.0, 150.0);
    assert!(verdict.boxes[0].iou(wanted) > 0.7, "{:?}", verdict.boxes);
    // A plane of another shape knows nothing of what was.
    let small = Size::new(320, 180);
    assert!(motion.peek(at(5200), plain(&with[..320 * 180], small, 320), small).is_none());
}

#[test]
fn packed_luma_is_the_plane() {
    let (size, plane_data) = (Size::new(320, 180), (0..320 * 180).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>());
    let mut wanted = Plane::default();
    assert!(wanted.set_luma(plain(&plane_data, size, 320), size, 160));
    for first in [0, 1] {
        let packed: Vec<u8> = plane_data.iter().flat_map(|y| if first == 0 { [*y, 200] } else { [200, *y] }).collect();
        let mut plane = Plane::default();
        // The last sample's neighbour need not be there.
        for end in [packed.len(), packed.len() - 1 + first] {
            let channel = Channel { data: &packed[first..end], size, stride: 640, step: 2 };
            assert!(plane.set_luma(Luma { channel, range: Range::Full }, size, 160));
            assert_eq!(plane.luma(), wanted.luma(), "{first}");
        }
        let channel = Channel { data: &packed[first..packed.len() - 2], size, stride: 640, step: 2 };
        assert!(!plane.set_luma(Luma { channel, range: Range::Full }, size, 160));
    }
}

#[test]
fn luma_of_limited_range_means_the_same() {
    let size = Size::new(64, 64);
    let (full, limited): (Vec<u8>, Vec<u8>) =
        (0..64 * 64).map(|i| i as u8).map(|y| (y, (16.0 + f32::from(y) * 219.0 / 255.0).round() as u8)).unzip();
    let (mut a, mut b) = (Plane::default(), Plane::default());
    assert!(a.set_luma(plain(&full, size, 64), size, 64));
    let channel = Channel { data: &limited, size, stride: 64, step: 1 };
    assert!(b.set_luma(Luma { channel, range: Range::Limited }, size, 64));
    assert!(a.luma().iter().zip(b.luma()).all(|(a, b)| (a - b).abs() <= 0.6));
}

/// The whole road from pixels to a visit: a car comes, parks, and stands for an hour through slow light, a lamp that is switched on,
/// the headlights of others and ten minutes of rain. It is one track, and hardly ever worth a look of the model.
#[test]
fn a_parked_car_is_one_track_for_an_hour_at_almost_no_cost() {
    use crate::attention::{self, Attention};
    use crate::detection::{ClassId, Detection, Score};
    use crate::track::{self, Change, Tracker};

    const TINY: Size = Size::new(320, 180);
    let (mut m, mut scene) = (Motion::new(Settings::default()), Scene::new(TINY, 2.0));
    let (mut a, mut t) = (Attention::new(attention::Settings::default()), Tracker::new(track::Settings::default()));
    let mut rng = Lcg(7);
    let (mut appeared, mut left) = (0, 0);
    // Frames, and looks of the model, in quiet and in rain.
    let (mut quiet, mut rainy) = ([0u32; 2], [0u32; 2]);
    let mut random = move |n: u32| (rng.next() % n) as f32;
    let hour = 3_600_000;
    for i in 0..hour / 1000 * 2 + 60 {
        // Ten frames a second while it comes, then two.
        let now = if i < 150 { i * 100 } else { 15_000 + (i - 150) * 500 };
        let car = Box2::from_xywh(280.0 - (now.clamp(2000, 8000) - 2000) as f32 * 0.025, 80.0, 70.0, 50.0);
        scene.things.clear();
        if now >= 2000 {
            scene.things.push((car, 35.0));
        }
        let minutes = now / 60_000;
        scene.gain = 1.0 + 0.3 * (now as f32 / hour as f32 * 12.0).sin();
        scene.offset = if (40..45).contains(&minutes) { 30.0 } else { 0.0 };
        let raining = (20..30).contains(&minutes);
        if raining {
            for _ in 0..6 {
                scene.things.push((Box2::from_xywh(random(320), random(170), 1.0, 8.0), 200.0));
            }
        }
        // Every five minutes the cone of somebody's headlights runs over the wall, for three seconds.
        let sweep = now % 300_000;
        if now > 60_000 && sweep < 3000 {
            scene.things.push((Box2::from_xywh(sweep as f32 * 0.1, 20.0, 40.0, 40.0), 240.0));
        }
        let frame = scene.frame();
        let verdict = m.look(at_ms(now), &frame);
        let look = a.choose(at_ms(now), TINY, &verdict, t.predicted(at_ms(now)));
        let looked: Vec<_> = look.all(TINY).collect();
        if now > 60_000 {
            let sums = if raining { &mut rainy } else { &mut quiet };
            sums[0] += 1;
            sums[1] += u32::from(!looked.is_empty());
        }
        if looked.is_empty() {
            t.still(at_ms(now));
        } else {
            let seen = now >= 2000 && looked.iter().any(|r| car.clip(TINY).covered_by(r.bounds()) > 0.9);
            // Rain hides it from every third look.
            let hidden = raining && i % 3 == 0;
            let tremble = random(5) - 2.0;
            let score = Score::new(0.7).unwrap_or_default();
            let found = Detection { bbox: car.translate(tremble, -tremble), class: ClassId(2), score, landmarks: None };
            let found: Vec<Detection> = (seen && !hidden).then_some(found).into_iter().collect();
            t.update(at_ms(now), TINY, &found, &looked);
        }
        for change in t.changes() {
            match change {
                Change::Appeared(_) => appeared += 1,
                Change::Left(_) => left += 1,
            }
        }
    }
    assert_eq!((appeared, left), (1, 0), "quiet {quiet:?}, rain {rainy:?}");
    // Two frames a second came; at fifteen, what is looked at would be the same, for it is chosen by time.
    assert!(quiet[1] * 5 < quiet[0], "{} looks in {} quiet frames, {rainy:?} in rain", quiet[1], quiet[0]);
    eprintln!("looks in frames: quiet {} of {}, rain {} of {}", quiet[1], quiet[0], rainy[1], rainy[0]);
}

/// Motion, attention and tracks, as vision has them, with a detector that finds what is whole in a region.
struct Eye {
    motion: Motion,
    attention: crate::attention::Attention,
    tracker: crate::track::Tracker,
    looks: u32,
}

impl Eye {
    fn new(settings: Settings) -> Self {
        Self {
            motion: Motion::new(settings),
            attention: crate::attention::Attention::new(crate::attention::Settings::default()),
            tracker: crate::track::Tracker::new(crate::track::Settings::default()),
            looks: 0,
        }
    }

    /// Whether the model looked; `things` are what there is to find, by class.
    fn look(&mut self, at: MonoNs, frame: &Frame, things: &[(Box2<FramePx>, u16)]) -> bool {
        use crate::detection::{ClassId, Detection, Score};
        let size = frame.size();
        let verdict = self.motion.look(at, frame);
        let look = self.attention.choose(at, size, &verdict, self.tracker.predicted(at));
        let looked: Vec<_> = look.all(size).collect();
        if looked.is_empty() {
            self.tracker.still(at);
            return false;
        }
        self.looks += 1;
        let score = Score::new(0.7).unwrap_or_default();
        let found: Vec<Detection> = things
            .iter()
            .filter(|(b, _)| looked.iter().any(|r| b.clip(size).covered_by(r.bounds()) > 0.9))
            .map(|(b, class)| Detection { bbox: *b, class: ClassId(*class), score, landmarks: None })
            .collect();
        self.tracker.update(at, size, &found, &looked);
        true
    }
}

/// In drizzle, rain and a downpour a parked car is looked at a bounded number of times a minute, and somebody who walks through
/// it is found as soon as in dry weather, but for a few frames.
#[test]
fn rain_over_a_parked_car_costs_little_and_hides_nobody() {
    const TINY: Size = Size::new(320, 180);
    const CAR: (Box2<FramePx>, u16) = (Box2::from_xyxy(130.0, 80.0, 200.0, 130.0), 2);
    let fps = 15;
    let (from, until) = (30, 36);
    let mut dry_delay = None;
    let blind = Settings { weather: f32::INFINITY, ..Settings::default() };
    let scenes = [0u32, 2, 15].map(|streaks| (streaks, Settings::default()));
    for (streaks, settings) in scenes.into_iter().chain([(2, blind.clone())]) {
        let knows_weather = settings != blind;
        let (mut eye, mut scene, mut rng) = (Eye::new(settings), Scene::new(TINY, 2.0), Lcg(3));
        let mut random = |n: u32| (rng.next() % n) as f32;
        let (mut looks, mut appeared, mut left, mut delay) = (0, 0, 0, None);
        for i in 0..until * fps {
            let now = i * 1000 / fps;
            scene.things = vec![(CAR.0, 35.0)];
            let mut things = vec![CAR];
            // A grown-up far away, 20 pixels high, who comes in from the left.
            let person = Box2::from_xywh((now.max(from * 1000) - from * 1000) as f32 * 0.012 - 8.0, 100.0, 8.0, 20.0);
            if now >= from * 1000 {
                scene.things.push((person, 30.0));
                things.push((person, 0));
            }
            for _ in 0..streaks {
                let (x, y) = (random(320), random(170));
                scene.things.push((Box2::from_xywh(x, y, 1.0, 6.0 + random(6)), 170.0 + random(50)));
            }
            // Rain hides the car from some looks, which makes it lost until the next.
            if streaks > 0 && eye.looks % 8 == 7 {
                things.remove(0);
            }
            let looked = eye.look(at_ms(now), &scene.frame(), &things);
            // The first seconds teach what the weather is like.
            looks += u32::from(looked && (10..from).contains(&(now / 1000)));
            for change in eye.tracker.changes() {
                match change {
                    crate::track::Change::Appeared(id) => {
                        appeared += 1;
                        if eye.tracker.get(*id).is_some_and(|t| t.class.0 == 0) {
                            delay = Some(now - from * 1000);
                        }
                    }
                    crate::track::Change::Left(_) => left += 1,
                }
            }
        }
        let minute = looks * 60 / (from as u32 - 10);
        if !knows_weather {
            assert!(minute > 600, "{minute} looks a minute: without knowing of weather this rain costs nothing");
            continue;
        }
        eprintln!("{streaks} streaks a frame: {minute} looks a minute of {}, person after {delay:?} ms", fps * 60);
        assert_eq!((appeared, left), (2, 0), "{streaks} streaks");
        let delay = delay.expect("found");
        let usual = *dry_delay.get_or_insert(delay);
        assert!(delay <= usual + 300, "{streaks} streaks: found after {delay} ms, dry {usual}");
        assert!(minute <= 90, "{streaks} streaks: {minute} looks a minute");
    }
}

/// Rows that are fetched as they are asked for make the plane that those in memory make, in every size of cell; what cannot be had is none.
#[test]
fn luma_that_is_fetched_row_by_row_is_the_same_plane() {
    let mut rng = Lcg(5);
    for size in [Size::new(1280, 720), Size::new(321, 243), Size::new(160, 90), Size::new(3, 700), Size::new(1, 1)] {
        let (width, height) = (size.width as usize, size.height as usize);
        let luma: Vec<u8> = (0..width * height).map(|_| rng.next() as u8).collect();
        for range in [Range::Full, Range::Limited] {
            let (mut wanted, mut plane) = (Plane::default(), Plane::default());
            assert!(wanted.set_luma(Luma { range, ..plain(&luma, size, width) }, size, 160));
            assert!(plane.set_rows(&mut Lying { data: &luma, stride: width }, size, range, 160));
            assert_eq!(plane.luma(), wanted.luma(), "{size}");
            assert!(plane.same_shape(&wanted));
        }
        struct Broken<'a>(Lying<'a>, usize);
        impl Rows for Broken<'_> {
            fn rows(&mut self, first: usize, count: usize) -> Option<&[u8]> {
                if first + count > self.1 { None } else { self.0.rows(first, count) }
            }
        }
        let mut motion = Motion::new(Settings::default());
        let lying = || Lying { data: &luma, stride: width };
        assert!(motion.peek(MonoNs(0), plain(&luma, size, width), size).is_none(), "nothing to compare with");
        motion.state.look(MonoNs(0), &motion.plane, &motion.settings);
        let still = motion.peek_rows(MonoNs(1), &mut lying(), size, Range::Full).map(|verdict| verdict.kind);
        assert_eq!(still, Some(Kind::Still));
        assert!(motion.peek_rows(MonoNs(2), &mut Broken(lying(), height - 1), size, Range::Full).is_none());
    }
}
