//! The capture stage against sources that misbehave.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::frame::PixelFormat;
use crate::labels::Labels;
use crate::model::ModelError;
use crate::model::card::{self, Card};
use crate::model::infer::{Infer, OutputView, TensorInfo};
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

/// A model that sees nothing, and does something beside.
struct Blind {
    inputs: [TensorInfo; 1],
    outputs: [TensorInfo; 2],
    answers: [Vec<f32>; 2],
    deed: Box<dyn FnMut() + Send>,
}

impl Infer for Blind {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(
        &mut self,
        _shape: [usize; 4],
        _data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        (self.deed)();
        let view = |i: usize| OutputView { name: &self.outputs[i].name, dims: &[], data: &self.answers[i] };
        read(&[view(0), view(1)])
    }
}

/// The default object model's card with nobody behind it.
fn blind(deed: impl FnMut() + Send + 'static) -> Detector {
    let card = Card::load(&card::find("ssdlite-mobilenet-v2").expect("committed")).expect("a good card");
    let (anchors, columns) = (1917, card.labels.len());
    let info = |name: &str, dims: Vec<i64>| TensorInfo { name: name.into(), kind: String::new(), dims, is_f32: true };
    let infer = Blind {
        inputs: [info(&card.input.tensor, vec![1, 3, 300, 300])],
        outputs: [
            info(&card.tensors[0], vec![1, anchors as i64, 4]),
            info(&card.tensors[1], vec![1, anchors as i64, columns as i64]),
        ],
        answers: [vec![0.0; anchors * 4], vec![0.0; anchors * columns]],
        deed: Box::new(deed),
    };
    Detector::new(card, Box::new(infer), &mut Labels::default()).expect("fits")
}

/// A frame in which everything moves.
fn lively(seq: u64) -> Scouted {
    let mut frame = Frame::new();
    let mut decoder = Decoder::new(Limits::default());
    let stamp = Stamp { seq, driver_seq: seq, at: MonoNs(seq * 100_000_000), ..Stamp::default() };
    let (size, range) = (Some(Size::new(64, 48)), crate::frame::Range::Full);
    let mut raw = RawFrame { stamp, format: PixelFormat::Grey, size, stride: 64, range, data: vec![9; 64 * 48] };
    decoder.decode(&mut raw, &mut frame).expect("a good frame");
    let moved = Moved::new(&Verdict { kind: Kind::Moving, boxes: &[], share: 1.0 });
    Scouted::Frame { frame: Arc::new(frame), received: MonoNs(0), moved }
}

/// A table at which the whole of each of `frames` frames is looked at by one looker that does `deed` and has `pulse`, whose report may be told of `room`
/// frames before it takes one; `report` sits there. Where all stand still the tests end, for nobody can take a thread's work from it.
fn at_table(
    frames: u64,
    room: usize,
    pulse: &Pulse,
    deed: impl FnMut() + Send + 'static,
    report: impl FnOnce(&Table<'_>, &mut dyn FnMut(Box<Errand>) -> Option<Box<Errand>>, &Receiver<Seen>),
) {
    let failed = AtomicBool::new(false);
    let (to, seen) = bounded(room);
    let (frame_free, _) = bounded(1);
    let (_, sheets) = bounded(1);
    let wants = Wants { classes: None, faces: false, single: false, places: Default::default() };
    let vision = Vision::new(
        vec![Eye::new(&wants, 0.5, true, true)],
        None,
        1,
        0.5,
        Arc::new([Ledger::default()]),
        &failed,
        Arc::default(),
        Ways { to, frame_free, sheets },
    );
    let table = Table::new(vision);
    let (scouted_to, scouted) = bounded(frames as usize);
    (0..frames).for_each(|seq| scouted_to.send(lively(seq)).expect("room"));
    drop(scouted_to);
    let Scouted::Frame { frame, .. } = lively(0) else { unreachable!("it is a frame") };
    // Whoever works has the way; it is closed once all of them have ended.
    let (working, all_ended) = bounded::<()>(0);
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if all_ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test}: looker, vision or report has stood still for a minute");
                std::process::abort();
            }
        });
        let (looker_works, vision_works, _report_works) = (working.clone(), working.clone(), working);
        let (table, looking, reporting) = (&table, pulse, &Pulse::default());
        let seat = table.seat(reporting);
        scope.spawn(move || {
            let _works = looker_works;
            // A death on purpose is no news.
            let look = std::panic::AssertUnwindSafe(|| table.look(blind(deed), 0.5, looking));
            let _ = std::panic::catch_unwind(look);
        });
        scope.spawn(move || {
            let _works = vision_works;
            table.bring(&scouted, &Pulse::default());
        });
        let mut send = |errand: Box<Errand>| {
            let mut kept = Some(errand);
            seat.ask(&mut kept, Ask::Faces, &frame, |_| ()).map(|done| {
                done.expect("inferred");
                kept.expect("it came back")
            })
        };
        report(table, &mut send, &seen);
    });
}

type Log = Arc<std::sync::Mutex<Vec<&'static str>>>;

fn note(log: &Log, what: &'static str) -> impl FnMut() + Send + 'static {
    let log = Arc::clone(log);
    move || log.lock().expect("nobody panicked").push(what)
}

#[test]
fn reports_errand_is_next_and_lookers_stay_for_it_when_there_are_no_more_frames() {
    let log = Log::default();
    let (go, gate) = bounded::<()>(0);
    let (mut region, errand) = (note(&log, "region"), Box::new(Errand::new(blind(note(&log, "errand")), None)));
    let looked = move || {
        region();
        gate.recv().expect("let go");
    };
    at_table(3, 8, &Pulse::default(), looked, |table, send, seen| {
        let is_asked = || table.is_asked();
        std::thread::scope(|scope| {
            let go = &go;
            scope.spawn(move || {
                while !is_asked() {
                    std::thread::yield_now();
                }
                (0..3).for_each(|_| go.send(()).expect("somebody waits"));
            });
            while log.lock().expect("nobody panicked").is_empty() {
                std::thread::yield_now();
            }
            let errand = send(errand).expect("a looker");
            // All that there is to look at has been told when the way ends.
            assert_eq!(seen.iter().count(), 3);
            send(errand).expect("a looker, though it is over");
        });
    });
    assert_eq!(*log.lock().expect("nobody panicked"), ["region", "errand", "region", "region", "errand"]);
}

/// A looker that tells what it has seen waited for report, and report for a looker.
#[test]
fn a_full_queue_keeps_no_looker_from_reports_errand() {
    let log = Log::default();
    let errand = Box::new(Errand::new(blind(note(&log, "errand")), None));
    at_table(4, 1, &Pulse::default(), note(&log, "region"), |_, send, seen| {
        while !seen.is_full() {
            std::thread::yield_now();
        }
        send(errand).expect("a looker");
        assert!(seen.is_full(), "nobody took anything");
    });
    assert!(log.lock().expect("nobody panicked").contains(&"errand"));
}

/// One that always had a task at hand, and so had not waited for a minute, counted as hung.
#[test]
fn a_looker_that_never_waits_gives_a_sign_of_life_with_each_task() {
    let (log, pulse) = (Log::default(), Arc::<Pulse>::default());
    let (go, gate) = bounded::<()>(0);
    let (mut fresh, mut stale) = (note(&log, "fresh"), note(&log, "stale"));
    let (mut before, looking) = (None, Arc::clone(&pulse));
    let deed = move || {
        if let Some(before) = before.replace(watch::now()) {
            // So late that it counts as hung if its last sign is older than what it did before.
            let late = MonoNs::plus_ms(before, 60_000);
            if looking.is_stuck(late) { stale() } else { fresh() }
        }
        gate.recv().expect("let go");
    };
    // As if it had waited for the first.
    pulse.work();
    at_table(3, 8, &pulse, deed, |table, _, _| {
        for waiting in [1, 1, 0] {
            while table.waiting() < waiting {
                std::thread::yield_now();
            }
            go.send(()).expect("it works");
        }
    });
    assert_eq!(*log.lock().expect("nobody panicked"), ["fresh", "fresh"]);
}

#[test]
fn nobody_waits_for_a_looker_that_died() {
    at_table(
        1,
        1,
        &Pulse::default(),
        || panic!("on purpose"),
        |_, send, _| {
            assert!(send(Box::new(Errand::new(blind(|| panic!("on purpose")), None))).is_none());
        },
    );
}

/// With too little memory lookers were not started, and everybody waited for them.
#[test]
fn nobody_waits_for_a_thread_that_was_not_started() {
    let (go, gate) = bounded::<()>(0);
    let nothing_done = move || {
        let _ = gate.recv();
    };
    at_table(4, 1, &Pulse::default(), nothing_done, |table, send, seen| {
        table.give_up();
        assert!(send(Box::new(Errand::new(blind(|| ()), None))).is_none(), "there is nobody");
        assert_eq!(seen.iter().count(), 0);
        drop(go);
    });
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

/// Frames that are on their way are waited for; what comes to nothing does not count as on its way.
#[test]
fn scout_makes_no_more_frames_than_it_may() {
    let (free_to, free) = bounded::<Arc<Frame>>(2);
    let mut frames = Frames { free, unmade: 2, spare: None };
    let mut decoder = Decoder::new(Limits::default());
    let pulse = Pulse::default();
    let mut decoded = |width: u32| {
        let (stamp, range) = (Stamp::default(), crate::frame::Range::Full);
        let (size, data) = (Some(Size::new(width, 48)), vec![9; 64 * 48]);
        let mut raw = RawFrame { stamp, format: PixelFormat::Grey, size, stride: 0, range, data };
        frames.decoded(&mut decoder, &mut raw, &pulse)
    };
    for _ in 0..5 {
        assert!(decoded(65).is_err(), "more pixels than bytes");
    }
    let (first, second) = (decoded(64).expect("good"), decoded(64).expect("good"));
    let place = Arc::as_ptr(&first);
    let third = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            free_to.send(first).expect("room");
        });
        decoded(64).expect("good")
    });
    assert_eq!(Arc::as_ptr(&third), place, "it waited");
    // Whoever keeps frames for ever does not stop the rest.
    drop((second, third));
    assert!(decoded(64).is_ok());
}
