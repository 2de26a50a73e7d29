//! The capture stage against sources that misbehave.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::frame::PixelFormat;
use crate::source::{Skip, SourceError, SourceInfo};

/// What a scripted live source gives.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A frame, so many lost before it.
    Frame { lost: u64 },
    /// A broken frame, so many lost before it.
    Broken { lost: u64 },
    /// Nothing.
    Quiet,
    /// It goes; the driver counts anew when it is back.
    Offline,
    /// It is back.
    Online,
}

struct Scripted {
    info: SourceInfo,
    steps: VecDeque<Step>,
    stamp: Stamp,
}

impl Scripted {
    fn new(steps: &[Step]) -> Self {
        let info = SourceInfo { name: "scripted".into(), size: None, fps: 30.0, format: PixelFormat::Grey, live: true };
        Self { info, steps: steps.iter().copied().collect(), stamp: Stamp::default() }
    }

    fn tick(&mut self, lost: u64) -> Stamp {
        let stamp = self.stamp;
        self.stamp.seq += 1;
        self.stamp.driver_seq += 1 + lost;
        self.stamp.at.0 += 1;
        Stamp { driver_seq: self.stamp.driver_seq, ..stamp }
    }
}

impl FrameSource for Scripted {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let state = |change, reason| CameraState { change, reason, attempt: 1, retry_ms: 0, words: String::new() };
        Ok(match self.steps.pop_front() {
            None => Pulled::End,
            Some(Step::Quiet) => Pulled::Quiet(buffer),
            Some(Step::Frame { lost }) => {
                let (stamp, format) = (self.tick(lost), PixelFormat::Grey);
                Pulled::Frame(RawFrame {
                    stamp,
                    format,
                    size: None,
                    stride: 0,
                    range: crate::frame::Range::Full,
                    data: buffer,
                })
            }
            Some(Step::Broken { lost }) => {
                Pulled::Skipped { buffer, stamp: self.tick(lost), reason: Skip::new("on purpose") }
            }
            Some(Step::Offline) => {
                self.stamp.driver_seq = 0;
                Pulled::State { buffer, state: state(Change::Offline, CameraReason::Unplugged) }
            }
            Some(Step::Online) => Pulled::State { buffer, state: state(Change::Online, CameraReason::Recovered) },
        })
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..3).prop_map(|lost| Step::Frame { lost }),
        2 => (0u64..3).prop_map(|lost| Step::Broken { lost }),
        1 => Just(Step::Quiet),
        1 => Just(Step::Offline),
        1 => Just(Step::Online),
    ]
}

/// Runs capture on its own thread and takes with the given pauses; gives what was taken and the notes.
fn captured(steps: &[Step], takes: &[bool], ledger: &Ledger) -> (u64, Vec<Note>) {
    let (mut feeders, taker) = flow::slots::<Captured, Note>(&[Mode::Latest]);
    let (_free_to, free) = bounded(2);
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let camera = Camera {
        name: "scripted".into(),
        source: Box::new(Scripted::new(steps)),
        wanted: None,
        faces: false,
        single: false,
        places: Default::default(),
    };
    let feeder = feeders.remove(0);
    let (mut taken, mut notes) = (0, Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let feeder = feeder;
            capture(camera, &feeder, ledger, &free, &stop, &failed, &Pulse::default());
        });
        for (turn, slow) in takes.iter().cycle().enumerate() {
            if *slow {
                std::thread::sleep(Duration::from_micros(20 * (turn as u64 % 5)));
            }
            match taker.take(Duration::from_millis(200)) {
                Taken::Item(..) => taken += 1,
                Taken::Note(_, _, note) => notes.push(note),
                Taken::Nothing => {}
                Taken::Finished => break,
            }
        }
    });
    assert!(!failed.load(Ordering::Relaxed));
    (taken, notes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The law of the ledger under random faults: each frame that came is displaced, undecodable or taken, each that the driver
    /// counted and never gave is a gap, and no state is lost.
    #[test]
    fn every_frame_is_accounted_for(
        steps in prop::collection::vec(any_step(), 0..120), takes in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let ledger = Ledger::default();
        let (taken, notes) = captured(&steps, &takes, &ledger);
        let counts = ledger.counts();
        let frames = steps.iter().filter(|s| matches!(s, Step::Frame { .. })).count() as u64;
        let broken = steps.iter().filter(|s| matches!(s, Step::Broken { .. })).count() as u64;
        prop_assert_eq!(counts.captured, frames + broken);
        prop_assert_eq!(counts.undecodable, broken);
        prop_assert_eq!(frames, counts.displaced + taken);
        // Before the first frame of a stream nothing can be missed.
        let (mut gaps, mut counted) = (0, false);
        for step in &steps {
            match step {
                Step::Frame { lost } | Step::Broken { lost } => {
                    gaps += if counted { *lost } else { 0 };
                    counted = true;
                }
                Step::Offline => counted = false,
                Step::Quiet | Step::Online => {}
            }
        }
        prop_assert_eq!(counts.driver_gaps, gaps);
        let offline = steps.iter().filter(|s| matches!(s, Step::Offline)).count();
        prop_assert_eq!(notes.iter().filter(|n| n.reason == CameraReason::Unplugged).count(), offline);
        prop_assert_eq!(notes.last().map(|n| (n.change, n.reason)), Some((Change::Offline, CameraReason::EndOfStream)));
    }
}

/// A live source of its own speed that never ends by itself.
struct Flood {
    info: SourceInfo,
    camera: CameraId,
    every: Duration,
    seq: u64,
    panics_at: u64,
}

impl FrameSource for Flood {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        std::thread::sleep(self.every);
        self.seq += 1;
        assert!(self.seq < self.panics_at, "on purpose");
        let stamp = Stamp { camera: self.camera, seq: self.seq, driver_seq: self.seq, at: watch::now() };
        let range = crate::frame::Range::Full;
        Ok(Pulled::Frame(RawFrame { stamp, format: PixelFormat::Grey, size: None, stride: 0, range, data: buffer }))
    }
}

/// Four cameras, one of them a flood, and a consumer that takes 5 ms a frame: every camera gets its share, and no frame that
/// is served has waited for longer than a round of all.
#[test]
fn four_cameras_are_served_fairly_by_a_slow_consumer() {
    let (feeders, taker) = flow::slots::<Captured, Note>(&[Mode::Latest; 4]);
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let ledgers: [Ledger; 4] = Default::default();
    let (_free_to, free) = bounded(2);
    let mut served = [0u32; 4];
    let mut oldest = Duration::ZERO;
    std::thread::scope(|scope| {
        for (index, feeder) in feeders.into_iter().enumerate() {
            let every = if index == 0 { Duration::from_micros(50) } else { Duration::from_millis(4) };
            let info =
                SourceInfo { name: index.to_string(), size: None, fps: 30.0, format: PixelFormat::Grey, live: true };
            let camera = CameraId(index as u8);
            let source = Box::new(Flood { info, camera, every, seq: 0, panics_at: u64::MAX });
            let camera = Camera {
                name: index.to_string(),
                source,
                wanted: None,
                faces: false,
                single: false,
                places: Default::default(),
            };
            let (ledger, free, stop, failed) = (&ledgers[index], &free, &stop, &failed);
            scope.spawn(move || capture(camera, &feeder, ledger, free, stop, failed, &Pulse::default()));
        }
        let mut turns = 0;
        while turns < 200 {
            if let Taken::Item(camera, item) = taker.take(Duration::from_millis(200)) {
                turns += 1;
                served[usize::from(camera.0)] += 1;
                oldest = oldest.max(Duration::from_nanos(watch::now().0.saturating_sub(item.raw.stamp.at.0)));
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        stop.store(true, Ordering::Release);
    });
    assert!(served[1..].iter().all(|n| *n >= 40), "served {served:?}");
    assert!(served[0] >= 20, "the flood is served too: {served:?}");
    assert!(oldest < Duration::from_millis(250), "a frame waited {oldest:?}");
}

#[test]
fn faces_are_looked_for_once_a_second_where_only_other_things_are_known() {
    let (person, cat) = (ClassId(0), ClassId(16));
    let track = |class, state| Track {
        id: crate::track::TrackId(1),
        class,
        score: Score::default(),
        bbox: Box2::from_xywh(0.0, 0.0, 100.0, 200.0),
        first_seen: MonoNs(0),
        last_seen: MonoNs(0),
        confirmed_at: None,
        state,
        moving: true,
    };
    let looks = |tracks: &[Track], every_frame| {
        let mut pace = FacePace::new(every_frame);
        (0..100).filter(|i| pace.due(MonoNs(0).plus_ms(i * 100), Some(person), tracks)).count()
    };
    assert_eq!(looks(&[track(cat, State::Confirmed), track(cat, State::Lost)], false), 10);
    // What nobody knows yet may be a face, and so may what nobody could tell from a person.
    assert_eq!(looks(&[], false), 50);
    assert_eq!(looks(&[track(cat, State::Tentative)], false), 50);
    assert_eq!(looks(&[track(cat, State::Confirmed), track(person, State::Lost)], false), 50);
    assert_eq!(looks(&[track(cat, State::Confirmed)], true), 100);
}

/// Faces waited for all regions of two frames when lookers had their turn again before a thread that waited was awake.
#[test]
fn who_waits_for_a_turn_has_it_before_who_gives_it_back() {
    for count in [1, 2] {
        let turns = Turns::new(count);
        let had = AtomicBool::new(false);
        let mut mine: Vec<_> = (0..count).map(|_| turns.take()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _turn = turns.take();
                had.store(true, Ordering::Release);
            });
            while turns.waiting() == 0 {
                std::thread::yield_now();
            }
            mine.pop();
            let _again = turns.take();
            assert!(had.load(Ordering::Acquire), "{count}");
        });
    }
}

/// Without the rule it would have it now and then.
#[test]
fn report_has_the_next_turn_whoever_waits() {
    (0..20).for_each(|_| report_has_the_next_turn());
}

fn report_has_the_next_turn() {
    let turns = Turns::new(1);
    let order = std::sync::Mutex::new(Vec::new());
    let mine = turns.take();
    std::thread::scope(|scope| {
        let wait_for = |count| {
            while turns.waiting() < count {
                std::thread::yield_now();
            }
        };
        for looker in ["first", "second"] {
            let (turns, order) = (&turns, &order);
            scope.spawn(move || {
                let _turn = turns.take();
                order.lock().expect("nobody panicked").push(looker);
            });
            wait_for(if looker == "first" { 1 } else { 2 });
        }
        scope.spawn(|| {
            let _turn = turns.take_first();
            order.lock().expect("nobody panicked").push("report");
        });
        wait_for(3);
        drop(mine);
    });
    assert_eq!(order.into_inner().expect("nobody panicked"), ["report", "first", "second"]);
}

#[test]
fn a_look_is_unknown_to_the_next_frame_and_to_one_more_after_a_frame_without() {
    let mut hindsight = Hindsight::default();
    let lags = [true, false, false, false, true, true, false, true, false, false].map(|looked| {
        let lags = hindsight.lags();
        hindsight.begun(looked);
        lags
    });
    assert_eq!(lags, [false, true, true, false, false, true, true, true, true, true]);
    hindsight.begun(false);
    assert!(!hindsight.lags(), "two frames old");
}
