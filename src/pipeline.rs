//! The threads, and what flows between them. The only place that spawns any.
//!
//! ```text
//! capture ==slot==> scout --1--> vision --8--> report --64--> writer --> stdout
//! (each camera)     decode,      where to      visits,        the door
//!                   motion       look, track   whose faces
//!                                  |   ^         |   ^
//!                                 lookers: infer, for both
//! ```
//!
//! Each stage owns what it works with; nothing is shared but the slots, the queues and the ledgers. A stage ends when the one
//! before it has dropped its sender, so the end runs from left to right; a stage that dies takes its receiver with it, so its
//! neighbours notice. Decoding the next frame overlaps with looking at this one, faces with the objects of the next, and several
//! regions are looked at beside each other (`vision`); none of it changes what is said. A replayed file gives the same events on
//! any number of threads.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::cadence::{Cadence, Glance};
use crate::decode::{self, DecodeError, Decoder, Limits};
use crate::detection::{ClassId, Detection, Landmarks, Score};
use crate::emit::{self, Door, Ended, Message};
use crate::event::{Body, ByeReason, CameraReason, Event, FaultReason, LeftReason, Part, RevokedReason, TrackNo};
use crate::face::embed::{Embedder, Embedding};
use crate::face::gallery::Gallery;
use crate::face::identity::{Bound, Cases, Holder, Identity, Told, bind};
use crate::face::vote::{self, Verdict as Vote};
use crate::flow::{self, Feeder, Ledger, Mode, Taken, Taker};
use crate::frame::{CameraId, Frame, MonoNs, RawFrame, Stamp};
use crate::geom::{Box2, FramePx, Region, Size};
use crate::governor::{Governor, Mood};
use crate::model::detector::Detector;
use crate::model::prep::LongSide;
use crate::motion::{Kind, MAX_BOXES, Motion, Verdict};
use crate::scene::places::Places;
use crate::scene::{Numbers, Visits};
use crate::seal::Sealed;
use crate::source::{self, CameraState, Change, FrameSource, Pulled, Unread};
use crate::track::{self, State, Track, Tracker};
use crate::watch::{self, Latencies, Pulse};

mod errand;
mod hindsight;
mod vision;

use errand::{Ask, Errand};
pub use hindsight::Hindsight;
use vision::{Eye, Seat, Table, Vision, Ways};

/// One camera, opened.
pub struct Camera {
    /// Its name, for complaints.
    pub name: String,
    /// Where its frames come from.
    pub source: Box<dyn FrameSource>,
    /// Classes to report; `None` for all.
    pub wanted: Option<Vec<ClassId>>,
    /// Whether faces are looked for.
    pub faces: bool,
    /// The source is one picture: there will be no second look, so the first one counts.
    pub single: bool,
    /// Its zones and lines.
    pub places: Places,
}

/// Everything a run needs, loaded and warm.
pub struct Parts {
    /// In the order of their ids.
    pub cameras: Vec<Camera>,
    /// Find objects, beside each other; at least one, all of one model.
    pub objects: Vec<Detector>,
    /// Least score of an object.
    pub object_score: f32,
    /// Finds faces, where a camera wants them.
    pub faces: Option<Detector>,
    /// Whose faces they are, where a gallery is configured, and what tells.
    pub identity: Option<(Identity, Embedder)>,
    /// Asked now and then for a gallery that was changed meanwhile.
    pub news: Option<AskForNews>,
    /// How much may be done.
    pub governor: Governor,
    /// The class whose tracks have faces; `None` where the object model knows no persons.
    pub person_class: Option<ClassId>,
    /// Both detectors look at the whole of every frame, and at nothing else: for comparisons.
    pub every_frame: bool,
    /// Stream time between `stats` lines.
    pub stats_every: Duration,
    /// Set from outside to end the run in order.
    pub stop: Arc<AtomicBool>,
    /// The way out.
    pub door: Door,
}

/// A gallery that changed while it was in use.
#[derive(Debug)]
pub enum News {
    /// There is another one in its place.
    Changed(Gallery),
    /// It was deleted: nobody is known any more.
    Deleted,
}

/// Says whether the gallery has changed since it was asked last.
pub type AskForNews = Box<dyn FnMut() -> Option<News> + Send>;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What became of the writing.
    pub writing: Ended,
    /// A source failed.
    pub source_failed: bool,
    /// Name of a camera of whose frames not one could be decoded.
    pub nothing_decodable: Option<String>,
    /// The detector failed too often in a row.
    pub model_failed: bool,
    /// A stage panicked.
    pub panicked: bool,
}

/// Said by a capture thread about its camera.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Note {
    change: Change,
    reason: CameraReason,
    attempt: u32,
    retry_ms: u32,
}

impl Note {
    /// About a source that is opened once.
    fn plain(change: Change, reason: CameraReason) -> Self {
        Self { change, reason, attempt: 1, retry_ms: 0 }
    }

    fn is_offline(&self) -> bool {
        self.change == Change::Offline
    }
}

/// A raw frame and when we got it.
struct Captured {
    raw: RawFrame,
    /// Where its bytes are, if they have not been read.
    unread: Option<Unread>,
    received: MonoNs,
}

impl Captured {
    /// The bytes are needed, all of them.
    fn read(&mut self) -> &mut RawFrame {
        if let Some(bytes) = self.unread.take() {
            bytes.read(&mut self.raw.data);
        }
        &mut self.raw
    }
}

/// What moved: a [`Verdict`] that owns its boxes.
#[derive(Clone, Copy)]
struct Moved {
    kind: Kind,
    share: f32,
    boxes: [Box2<FramePx>; MAX_BOXES],
    count: usize,
}

impl Moved {
    fn new(verdict: &Verdict<'_>) -> Self {
        let mut boxes = [Box2::default(); MAX_BOXES];
        let count = verdict.boxes.len().min(MAX_BOXES);
        boxes[..count].copy_from_slice(&verdict.boxes[..count]);
        Self { kind: verdict.kind, share: verdict.share, boxes, count }
    }

    fn boxes(&self) -> &[Box2<FramePx>] {
        &self.boxes[..self.count]
    }
}

/// The tracks of one frame and what became of them; goes round between vision and report.
struct Sheet {
    tracks: Vec<Track>,
    changes: Vec<track::Change>,
}

impl Default for Sheet {
    /// With room for a busy scene.
    fn default() -> Self {
        Self { tracks: Vec::with_capacity(32), changes: Vec::with_capacity(32) }
    }
}

impl Sheet {
    fn write(&mut self, tracker: &Tracker) {
        self.tracks.clear();
        self.tracks.extend(tracker.tracks().copied());
        self.changes.clear();
        self.changes.extend_from_slice(tracker.changes());
    }
}

/// Scout to vision.
// In a box, what moved would be an allocation for every frame.
#[allow(clippy::large_enum_variant)]
enum Scouted {
    Frame { frame: Arc<Frame>, received: MonoNs, moved: Moved },
    Note { camera: CameraId, at: MonoNs, note: Note },
}

/// Vision to report.
enum Seen {
    Frame {
        /// With pixels where it is time to look for faces in them.
        frame: Option<Arc<Frame>>,
        /// Objects were looked for in it.
        looked: bool,
        stamp: Stamp,
        size: Size,
        received: MonoNs,
        sheet: Sheet,
    },
    Fault {
        stamp: Stamp,
        received: MonoNs,
    },
    Note {
        camera: CameraId,
        at: MonoNs,
        note: Note,
        tracks: Vec<Track>,
    },
}

/// Undecodable frames in a row after which the camera is called degraded.
const DEGRADED_AFTER: u32 = 10;

/// Failed inferences in a row after which the run gives up: the model is broken, not the frame.
const HOPELESS_AFTER: u32 = 30;

/// Frames that may wait for report. While it tells one face from another, which takes as long as a frame, lookers go on; of many
/// frames there are only tracks to tell.
const SEEN: usize = 8;

/// The same where faces are looked for in every frame.
const SEEN_WITH_PIXELS: usize = 4;

/// How long stages wait before they look around.
const PATIENCE: Duration = Duration::from_millis(200);

/// Runs until every source has ended, somebody asks to stop, or the reader of `out` is gone.
///
/// Only a [`Sealed`] gets pixels moving; see [`crate::seal`].
/// `look_around` is called about once a second while the writer does not wait: it learns whether every stage gets on, and says
/// whether the reader of `out` has left.
pub fn run<W: Write + Send>(
    sealed: &Sealed,
    parts: Parts,
    out: W,
    look_around: impl Fn(bool) -> bool + Send,
) -> Outcome {
    let Parts {
        cameras,
        objects,
        object_score,
        faces,
        identity,
        news,
        governor,
        person_class,
        every_frame,
        stats_every,
        stop,
        door,
    } = parts;
    let modes: Vec<Mode> =
        cameras.iter().map(|c| if c.source.info().live { Mode::Latest } else { Mode::Lossless }).collect();
    let live = modes.contains(&Mode::Latest);
    let count = cameras.len();
    let names: Vec<String> = cameras.iter().map(|c| c.name.clone()).collect();
    let (feeders, taker) = flow::slots::<Captured, Note>(&modes);
    // Of each camera one at capture, one in its slot and one at scout; all three may lie here for a moment.
    let (raw_free, raw_taken): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded::<Vec<u8>>(3)).unzip();
    let lookers = objects.len();
    let nms_iou = objects.first().map_or(0.5, |d| d.card().nms_iou);
    // Of each camera two in work, and three on their way there or from there. More are wanted where report takes its time; then scout
    // waits, which costs nothing while lookers are busy, and those that go round are the sooner in the cache again.
    let most_frames = (2 * count + 3).max(lookers + 3);
    let (frame_free, frame_taken) = bounded::<Arc<Frame>>(most_frames);
    let (sheet_free, sheet_taken) = bounded::<Sheet>(SEEN + 2);
    let (scouted_to, scouted) = bounded::<Scouted>(1);
    let (seen_to, seen) = bounded::<Seen>(if every_frame { SEEN_WITH_PIXELS } else { SEEN });
    let (message_to, messages) = bounded::<Message>(64);
    let ledgers = Arc::clone(&door.ledgers);
    let source_failed = AtomicBool::new(false);
    let model_failed = AtomicBool::new(false);

    let wants: Vec<Wants> = cameras
        .iter()
        .map(|c| Wants {
            classes: c.wanted.clone(),
            faces: c.faces && faces.is_some(),
            single: c.single,
            places: c.places.clone(),
        })
        .collect();
    let eyes = wants.iter().zip(&modes);
    let vision = Vision::new(
        eyes.map(|(w, &mode)| Eye::new(w, object_score, every_frame, mode == Mode::Lossless)).collect(),
        person_class,
        lookers,
        nms_iou,
        Arc::clone(&ledgers),
        &model_failed,
        Arc::clone(&stop),
        Ways { to: seen_to, frame_free: frame_free.clone(), sheets: sheet_taken },
    );
    let table = Table::new(vision);
    let (identity, embedder) = identity.unzip();
    let report = Report {
        errand: faces.map(|detector| Box::new(Errand::new(detector, embedder))),
        person: person_class,
        views: {
            let votes = identity.as_ref().map(|i| i.settings).unwrap_or_default();
            wants.iter().map(|w| View::new(w, person_class, votes, every_frame)).collect()
        },
        identity,
        news,
        asked: watch::now(),
        numbers: Numbers::default(),
        buffers: Buffers::default(),
        latencies: Arc::default(),
        told_latencies: Arc::default(),
        stats_every,
        live,
        newest: MonoNs(0),
        stop: Arc::clone(&stop),
        model_failed: &model_failed,
    };

    let pulses: Vec<Pulse> = (0..count + 3 + lookers).map(|_| Pulse::default()).collect();
    let (captures, stages) = pulses.split_at(count);
    let (stages, looking) = stages.split_at(3);
    let (writing, panicked) = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, ((camera, feeder), free)) in cameras.into_iter().zip(feeders).zip(raw_taken).enumerate() {
            let (ledgers, stop, failed) = (Arc::clone(&ledgers), Arc::clone(&stop), &source_failed);
            let pulse = &captures[index];
            let work = move || capture(camera, &feeder, &ledgers[index], &free, &stop, failed, pulse);
            threads.push(start(scope, format!("capture-{index}"), pulse, work));
        }
        let scout_ledgers = Arc::clone(&ledgers);
        let [first, second, third] = [0, 1, 2].map(|stage| &stages[stage]);
        let limits = Reins { governor, modes, stop: Arc::clone(&stop) };
        let frames = Frames { free: frame_taken, unmade: most_frames, spare: None };
        let work = move || scout(&taker, &scouted_to, &scout_ledgers, &raw_free, frames, first, every_frame, limits);
        threads.push(start(scope, "scout".into(), first, work));
        // Below the reporting threshold a detection may still continue a track.
        let floor = object_score.min(crate::track::Settings::default().low_score);
        for ((index, detector), pulse) in objects.into_iter().enumerate().zip(looking) {
            let table = &table;
            let work = move || table.look(detector, floor, pulse);
            threads.push(start(scope, format!("looker-{index}"), pulse, work));
        }
        let table = &table;
        threads.push(start(scope, "vision".into(), second, move || table.bring(&scouted, second)));
        let work = move || report.run(&seen, &table.seat(third), &message_to, &frame_free, &sheet_free, third);
        threads.push(start(scope, "report".into(), third, work));
        // For a thread there may be no memory. The others would wait for it as for one that died.
        if threads.iter().any(Result::is_err) {
            stop.store(true, Ordering::Release);
            table.give_up();
        }
        let reader_gone = || {
            let now = watch::now();
            look_around(!pulses.iter().any(|pulse| pulse.is_stuck(now)))
        };
        let writing = emit::run(&door, sealed, &messages, out, reader_gone);
        // Nobody reads any more, or nobody writes: whoever still runs is to stop.
        drop(messages);
        stop.store(true, Ordering::Release);
        let mut panicked = false;
        for thread in threads {
            panicked |= !matches!(thread.map(std::thread::ScopedJoinHandle::join), Ok(Ok(())));
        }
        (writing, panicked)
    });
    let nothing_decodable = names.into_iter().zip(door.ledgers.iter()).find_map(|(name, ledger)| {
        let n = ledger.counts();
        (n.captured > 0 && n.undecodable == n.captured).then_some(name)
    });
    Outcome {
        writing,
        nothing_decodable,
        source_failed: source_failed.into_inner(),
        model_failed: model_failed.into_inner(),
        panicked,
    }
}

/// A thread with a name that `top -H` shows.
fn start<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    name: String,
    pulse: &'scope Pulse,
    work: impl FnOnce() + Send + 'scope,
) -> std::io::Result<std::thread::ScopedJoinHandle<'scope, ()>> {
    std::thread::Builder::new().name(name).spawn_scoped(scope, || {
        work();
        pulse.rest();
    })
}

struct Wants {
    classes: Option<Vec<ClassId>>,
    faces: bool,
    single: bool,
    places: Places,
}

/// Drains one source. Never decodes; waits only for a file's slot.
fn capture(
    mut camera: Camera,
    feeder: &Feeder<Captured, Note>,
    ledger: &Ledger,
    free: &Receiver<Vec<u8>>,
    stop: &AtomicBool,
    failed: &AtomicBool,
    pulse: &Pulse,
) {
    let mut last: Option<Stamp> = None;
    // The driver's count at the last frame or broken frame; a stream that began anew counts anew.
    let mut counted: Option<u64> = None;
    let mut online = false;
    let mut spare = None;
    let gap = |counted: &mut Option<u64>, stamp: &Stamp| {
        let before = counted.replace(stamp.driver_seq).unwrap_or(stamp.driver_seq);
        let gap = stamp.driver_seq.saturating_sub(before).saturating_sub(1);
        ledger.driver_gaps.fetch_add(gap, Ordering::Relaxed);
    };
    let reason = loop {
        if stop.load(Ordering::Acquire) {
            break CameraReason::Shutdown;
        }
        if camera.source.info().live {
            // A file may wait: for the disk, for whoever writes the other end of a pipe, for a slot.
            pulse.work();
        }
        let buffer = spare.take().or_else(|| free.try_recv().ok()).unwrap_or_default();
        camera.source.pass_over(feeder.passed_over());
        let (pulled, unread) = match camera.source.next(buffer) {
            Ok(Pulled::Unread { raw, bytes }) => (Ok(Pulled::Frame(raw)), Some(bytes)),
            pulled => (pulled, None),
        };
        match pulled {
            // Taken apart above.
            Ok(Pulled::Unread { raw, .. }) => spare = Some(raw.data),
            Ok(Pulled::Frame(raw)) => {
                let stamp = raw.stamp;
                if !online && feeder.note(stamp.at, Note::plain(Change::Online, CameraReason::Started)).is_err() {
                    return;
                }
                online = true;
                gap(&mut counted, &stamp);
                last = Some(stamp);
                Ledger::count(&ledger.captured);
                // Whole as far as one sees from outside, and nobody would look inside.
                if feeder.is_passed_over(stamp.at)
                    && (unread.is_some() || decode::check(&raw, &Limits::default()).is_ok())
                {
                    Ledger::count(&ledger.still);
                    spare = Some(raw.data);
                    continue;
                }
                match feeder.put(stamp.at, Captured { raw, unread, received: watch::now() }) {
                    Ok(None) => {}
                    Ok(Some(old)) => {
                        Ledger::count(&ledger.displaced);
                        spare = Some(old.raw.data);
                    }
                    Err(flow::Closed) => {
                        // It was captured and nobody will look at it.
                        Ledger::count(&ledger.displaced);
                        return;
                    }
                }
            }
            Ok(Pulled::Passed { buffer, stamp }) => {
                Ledger::count(&ledger.captured);
                Ledger::count(&ledger.still);
                gap(&mut counted, &stamp);
                last = Some(stamp);
                spare = Some(buffer);
            }
            Ok(Pulled::Skipped { buffer, stamp, .. }) => {
                Ledger::count(&ledger.captured);
                Ledger::count(&ledger.undecodable);
                gap(&mut counted, &stamp);
                last = Some(stamp).filter(|_| last.is_some());
                spare = Some(buffer);
            }
            Ok(Pulled::State { buffer, state }) => {
                if !state.words.is_empty() {
                    complain(&camera.name, &state.words);
                }
                online = state.change != Change::Offline;
                if !online {
                    counted = None;
                }
                let CameraState { change, reason, attempt, retry_ms, .. } = state;
                if feeder.note(watch::now(), Note { change, reason, attempt, retry_ms }).is_err() {
                    return;
                }
                spare = Some(buffer);
            }
            Ok(Pulled::Quiet(buffer)) => spare = Some(buffer),
            Ok(Pulled::End) => break CameraReason::EndOfStream,
            Err(e) if e.kind() == source::Kind::Stopped => break CameraReason::Shutdown,
            Err(e) => {
                complain(&camera.name, &e);
                failed.store(true, Ordering::Release);
                break match e.kind() {
                    source::Kind::Gone => CameraReason::Unplugged,
                    source::Kind::Broken => CameraReason::DeviceError,
                    _ => CameraReason::StreamBroken,
                };
            }
        }
    };
    let at = match last {
        _ if camera.source.info().live => watch::now(),
        Some(stamp) => stamp.at,
        None => MonoNs(0),
    };
    // The consumer is gone: then nobody needs to be told.
    let _ = feeder.note(at, Note::plain(Change::Offline, reason));
}

/// One line for people. Whether somebody reads stderr must not matter.
fn for_people(what: &str) {
    let _ = writeln!(std::io::stderr(), "porchlight: {what}");
}

/// One line for people about a camera; stderr is theirs.
fn complain(camera: &str, what: &dyn std::fmt::Display) {
    for_people(&format!("camera '{camera}': {what}"));
}

/// What scout remembers of one camera.
struct Lookout {
    /// Nothing depends on what moved.
    every_frame: bool,
    motion: Motion,
    cadence: Cadence,
    broken_in_a_row: u32,
    /// Of a frame that is read piece by piece.
    strip: Vec<u8>,
}

impl Lookout {
    fn new(every_frame: bool) -> Self {
        Self {
            every_frame,
            motion: Motion::new(crate::motion::Settings::default()),
            cadence: Cadence::new(crate::cadence::Settings::default()),
            broken_in_a_row: 0,
            strip: Vec::new(),
        }
    }

    /// The times whose frames it would not open, as far as it knows.
    fn unopened(&self) -> Option<Range<MonoNs>> {
        self.cadence.unopened().filter(|_| !self.every_frame)
    }

    /// Looks at a frame as closely as it takes. `None`: nothing on it, nobody needs it.
    fn look(
        &mut self,
        decoder: &mut Decoder,
        captured: &mut Captured,
        frames: &mut Frames,
        pulse: &Pulse,
    ) -> Result<Option<Scouted>, DecodeError> {
        let (at, received) = (captured.raw.stamp.at, captured.received);
        if self.every_frame {
            let frame = frames.decoded(decoder, captured.read(), pulse)?;
            let moved = Moved::new(&Verdict { kind: Kind::Moving, boxes: &[], share: 1.0 });
            return Ok(Some(Scouted::Frame { frame, received, moved }));
        }
        let mut moved = None;
        match self.cadence.glance(at) {
            Glance::Full => {}
            Glance::Skip if captured.unread.is_some() => return Ok(None),
            Glance::Skip => return decode::check(&captured.raw, &decoder.limits()).map(|()| None),
            Glance::Peek => {
                if let Some(verdict) = self.peek(decoder, captured)? {
                    if verdict.kind == Kind::Still {
                        self.cadence.saw(at, Kind::Still, false);
                        return Ok(None);
                    }
                    moved = Some(Moved::new(&verdict));
                }
            }
        }
        let frame = frames.decoded(decoder, captured.read(), pulse)?;
        // A peek that saw something has told it: the same frame again would not differ from itself.
        let moved = moved.unwrap_or_else(|| Moved::new(&self.motion.look(at, &frame)));
        self.cadence.saw(at, moved.kind, true);
        Ok(Some(Scouted::Frame { frame, received, moved }))
    }
}

impl Lookout {
    /// Compares a frame's luma with what came before; `None` where that cannot be done with so little of it.
    fn peek(&mut self, decoder: &mut Decoder, captured: &Captured) -> Result<Option<Verdict<'_>>, DecodeError> {
        let Captured { raw, unread, .. } = captured;
        let at = raw.stamp.at;
        match (unread, raw.size) {
            (Some(bytes), Some(size)) => {
                let mut rows = bytes.rows(raw.stride, size.height as usize, &mut self.strip);
                Ok(self.motion.peek_rows(at, &mut rows, size, raw.range))
            }
            _ => Ok(decoder.luma(raw)?.and_then(|(luma, size)| self.motion.peek(at, luma, size))),
        }
    }
}

/// The frames of a run, which go round.
struct Frames {
    /// Those that nobody needs any more.
    free: Receiver<Arc<Frame>>,
    /// How many more may be made.
    unmade: usize,
    /// One that came to nothing.
    spare: Option<Arc<Frame>>,
}

impl Frames {
    /// One to write to. Where all are on their way it waits for the first that comes back; none in a while is none at all, and there is
    /// another.
    fn next(&mut self, pulse: &Pulse) -> Arc<Frame> {
        if let Some(frame) = self.spare.take().or_else(|| self.free.try_recv().ok()) {
            return frame;
        }
        if self.unmade == 0
            && let Ok(frame) = pulse.waiting(|| self.free.recv_timeout(PATIENCE))
        {
            return frame;
        }
        self.unmade = self.unmade.saturating_sub(1);
        Arc::default()
    }

    fn decoded(&mut self, decoder: &mut Decoder, raw: &mut RawFrame, pulse: &Pulse) -> Result<Arc<Frame>, DecodeError> {
        let mut frame = self.next(pulse);
        match decoder.decode(raw, sole(&mut frame)) {
            Ok(_) => Ok(frame),
            Err(e) => {
                self.spare = Some(frame);
                Err(e)
            }
        }
    }
}

/// Something to write to. What comes back for use again is nobody else's; if it were, another is as good.
fn sole<T: Default>(thing: &mut Arc<T>) -> &mut T {
    if Arc::get_mut(thing).is_none() {
        *thing = Arc::default();
    }
    Arc::get_mut(thing).expect("just made, or nobody else's")
}

/// What holds scout back.
struct Reins {
    governor: Governor,
    /// Of each camera.
    modes: Vec<Mode>,
    stop: Arc<AtomicBool>,
}

impl Reins {
    /// What to say about every camera, when the board has become hot or cool.
    fn news(&mut self) -> Option<Note> {
        self.governor.poll(watch::now(), watch::cpu).map(|mood| match mood {
            Mood::Hot => Note::plain(Change::Degraded, CameraReason::Hot),
            Mood::Cool => Note::plain(Change::Online, CameraReason::Recovered),
        })
    }

    /// Whether a frame is to be let go. A file's frame is not: it waits here until there is processor time for it again.
    fn let_go(&mut self, camera: CameraId) -> bool {
        let lossless = self.modes[usize::from(camera.0)] == Mode::Lossless;
        while self.governor.is_overdrawn(watch::now(), watch::cpu) {
            if !lossless || self.stop.load(Ordering::Acquire) {
                return !lossless;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// Decodes and says what moved.
// Ends of channels, each of which has another kind of end.
#[allow(clippy::too_many_arguments)]
fn scout(
    taker: &Taker<Captured, Note>,
    to: &Sender<Scouted>,
    ledgers: &[Ledger],
    raw_free: &[Sender<Vec<u8>>],
    mut frames: Frames,
    pulse: &Pulse,
    every_frame: bool,
    mut reins: Reins,
) {
    let mut newest = MonoNs(0);
    let mut decoder = Decoder::new(Limits::default());
    let mut lookouts: Vec<Lookout> = ledgers.iter().map(|_| Lookout::new(every_frame)).collect();
    loop {
        let taken = pulse.waiting(|| taker.take(PATIENCE));
        if let Some(note) = reins.news() {
            for (index, mode) in reins.modes.iter().enumerate() {
                let camera = CameraId(index as u8);
                let at = if *mode == Mode::Latest { watch::now() } else { newest };
                if to.send(Scouted::Note { camera, at, note }).is_err() {
                    return;
                }
            }
        }
        match taken {
            Taken::Nothing => {}
            Taken::Finished => return,
            Taken::Note(camera, at, note) => {
                if note.is_offline() {
                    let lookout = &mut lookouts[usize::from(camera.0)];
                    lookout.broken_in_a_row = 0;
                    lookout.cadence.forget();
                }
                if to.send(Scouted::Note { camera, at, note }).is_err() {
                    return;
                }
            }
            Taken::Item(camera, mut captured) => {
                let index = usize::from(camera.0);
                let at = captured.raw.stamp.at;
                newest = newest.max(at);
                if pulse.waiting(|| reins.let_go(camera)) {
                    Ledger::count(&ledgers[index].displaced);
                    // As below.
                    let _ = raw_free[index].try_send(captured.raw.data);
                    continue;
                }
                let lookout = &mut lookouts[index];
                let looked = lookout.look(&mut decoder, &mut captured, &mut frames, pulse);
                taker.pass_over(camera, lookout.unopened());
                // A full channel means that the source has buffers enough.
                let _ = raw_free[index].try_send(captured.raw.data);
                let broken = &mut lookout.broken_in_a_row;
                let note = match &looked {
                    Ok(_) if *broken >= DEGRADED_AFTER => Some(Note::plain(Change::Online, CameraReason::Recovered)),
                    Err(_) if *broken + 1 == DEGRADED_AFTER => {
                        Some(Note::plain(Change::Degraded, CameraReason::Undecodable))
                    }
                    _ => None,
                };
                *broken = if looked.is_ok() { 0 } else { broken.saturating_add(1) };
                if let Some(note) = note
                    && to.send(Scouted::Note { camera, at, note }).is_err()
                {
                    return;
                }
                let seen = match looked {
                    Err(_) => {
                        Ledger::count(&ledgers[index].undecodable);
                        continue;
                    }
                    Ok(None) => {
                        Ledger::count(&ledgers[index].still);
                        continue;
                    }
                    Ok(Some(seen)) => seen,
                };
                if to.send(seen).is_err() {
                    // Decoded, and nobody will look at it.
                    Ledger::count(&ledgers[index].displaced);
                    return;
                }
            }
        }
    }
}

/// Stream time between looks for faces: fast enough to see somebody who passes, slow enough to cost little beside objects.
const FACES_EVERY_MS: u64 = 200;

/// The same while all that is there is known and none of it is a person: a person who comes is a track before their face is of use, and a
/// face without one waits a second at most.
const FACES_ELSE_EVERY_MS: u64 = 1000;

/// A person lower than this share of the frame has a face too small for the whole-frame look.
const SMALL_PERSON: f32 = 0.45;

/// Most extra looks at small persons' heads in one frame.
const HEADS_PER_LOOK: usize = 2;

/// What report remembers of one camera.
struct View {
    wants_faces: bool,
    visits: Visits,
    face_tracker: Tracker,
    face_visits: Visits,
    looked: FaceLook,
    cases: Cases,
    /// Of the newest frame.
    newest: MonoNs,
}

impl View {
    fn new(wants: &Wants, person: Option<ClassId>, votes: vote::Settings, every_frame: bool) -> Self {
        let patient = crate::track::Settings {
            // A face that belongs to a person the detector is about to find must not become a visit of its own: it takes
            // three looks, over half a second, for a face to count as nobody's.
            instant_score: f32::INFINITY,
            confirm_hits: if wants.single { 1 } else { 4 },
            ..crate::track::Settings::default()
        };
        Self {
            wants_faces: wants.faces,
            visits: Visits::new(crate::scene::Settings::default(), wants.places.clone()),
            face_tracker: Tracker::new(patient),
            face_visits: Visits::new(crate::scene::Settings::default(), wants.places.for_faces()),
            looked: FaceLook { every_frame, ..FaceLook::new(person) },
            cases: Cases::new(if wants.single { votes.single() } else { votes }),
            newest: MonoNs(0),
        }
    }

    /// The number under which a holder's track was told.
    fn number(&self, holder: Holder) -> Option<TrackNo> {
        match holder {
            Holder::Person(id) => self.visits.number(id),
            Holder::Face(id) => self.face_visits.number(id),
        }
    }
}

/// How often a changed gallery is asked for: a removal is to take effect at once.
const NEWS_EVERY_MS: u64 = 1000;

/// Looks for faces, binds them to persons, tells visits and names.
struct Report<'a> {
    /// Where faces are looked for.
    errand: Option<Box<Errand>>,
    identity: Option<Identity>,
    news: Option<AskForNews>,
    /// When `news` was asked last.
    asked: MonoNs,
    person: Option<ClassId>,
    views: Vec<View>,
    numbers: Numbers,
    buffers: Buffers,
    latencies: Arc<Latencies>,
    /// Those told last, to be used again once the writer has read them.
    told_latencies: Arc<Latencies>,
    stats_every: Duration,
    live: bool,
    newest: MonoNs,
    stop: Arc<AtomicBool>,
    model_failed: &'a AtomicBool,
}

/// Lists of one frame, kept for the next.
#[derive(Default)]
struct Buffers {
    bound: Bound,
    /// Tracks of faces.
    live: Vec<Track>,
    /// What became known of whom.
    said: Vec<(Holder, Told)>,
}

/// The door is closed.
struct DoorClosed;

impl Report<'_> {
    fn run(
        mut self,
        from: &Receiver<Seen>,
        seat: &Seat<'_, '_>,
        to: &Sender<Message>,
        frame_free: &Sender<Arc<Frame>>,
        sheet_free: &Sender<Sheet>,
        pulse: &Pulse,
    ) {
        if self.live {
            self.newest = watch::now();
        }
        // An end that cannot be told needs no telling.
        let _ = self.all(from, seat, to, frame_free, sheet_free, pulse);
    }

    fn all(
        &mut self,
        from: &Receiver<Seen>,
        seat: &Seat<'_, '_>,
        to: &Sender<Message>,
        frame_free: &Sender<Arc<Frame>>,
        sheet_free: &Sender<Sheet>,
        pulse: &Pulse,
    ) -> Result<(), DoorClosed> {
        let every_ms = u64::try_from(self.stats_every.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut stats_at = self.newest.plus_ms(every_ms);
        let mut detections = Vec::new();
        loop {
            // Files: by the stream's clock, so that the lines of a replay keep their places. Cameras: by ours.
            let message = if self.live {
                match pulse.waiting(|| from.recv_timeout(PATIENCE)) {
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Ok(m) => Some(m),
                }
            } else {
                match pulse.waiting(|| from.recv()) {
                    Err(_) => break,
                    Ok(m) => Some(m),
                }
            };
            let now = match (&message, self.live) {
                (_, true) => watch::now(),
                (Some(Seen::Frame { stamp, .. } | Seen::Fault { stamp, .. }), false) => stamp.at,
                (Some(Seen::Note { at, .. }), false) => *at,
                (None, false) => self.newest,
            };
            if message.is_some() {
                seat.took();
            }
            self.newest = self.newest.max(now);
            while self.newest >= stats_at {
                let latencies = self.next_latencies();
                to.send(Message::Stats { at: stats_at, latencies }).map_err(|_| DoorClosed)?;
                stats_at = stats_at.plus_ms(every_ms);
            }
            self.hear(to)?;
            match message {
                None => {}
                Some(Seen::Note { camera, at, note, tracks }) => self.note(to, camera, at, note, &tracks)?,
                Some(Seen::Fault { stamp, received }) => {
                    let body =
                        Body::Fault { part: Part::Objects, reason: FaultReason::InferenceFailed, restarted: false };
                    say(to, stamp.camera, stamp.at, received, body)?;
                }
                Some(Seen::Frame { frame, looked, stamp, size, received, mut sheet }) => {
                    self.frame(to, seat, frame.as_ref(), looked, stamp, size, received, &mut sheet, &mut detections)?;
                    // Full channels mean that there are enough.
                    let _ = sheet_free.try_send(sheet);
                    if let Some(frame) = frame {
                        let _ = frame_free.try_send(frame);
                    }
                    sole(&mut self.latencies).add(Duration::from_nanos(watch::now().0.saturating_sub(received.0)));
                }
            }
        }
        // Cameras end their visits when they go offline. A stage that died could not say so; a visit still has its end.
        for (index, view) in self.views.iter_mut().enumerate() {
            let (camera, at, mut result) = (CameraId(index as u8), self.newest, Ok(()));
            let mut tell = |body| {
                if result.is_ok() {
                    result = say(to, camera, at, at, body);
                }
            };
            view.visits.end(&[], LeftReason::Shutdown, &mut tell);
            view.face_visits.end(&[], LeftReason::Shutdown, &mut tell);
            result?;
        }
        let reason = if self.model_failed.load(Ordering::Acquire) {
            ByeReason::Fault
        } else if self.stop.load(Ordering::Acquire) {
            ByeReason::Signal
        } else {
            ByeReason::EndOfStream
        };
        let latencies = self.next_latencies();
        to.send(Message::Bye { at: self.newest, reason, latencies }).map_err(|_| DoorClosed)
    }

    /// The latencies so far, for the writer; counts anew.
    fn next_latencies(&mut self) -> Arc<Latencies> {
        std::mem::swap(&mut self.latencies, &mut self.told_latencies);
        sole(&mut self.latencies).clear();
        Arc::clone(&self.told_latencies)
    }

    /// Takes over a changed gallery and takes back the names of those who are not in it any more.
    fn hear(&mut self, to: &Sender<Message>) -> Result<(), DoorClosed> {
        let (Some(news), Some(identity)) = (&mut self.news, &mut self.identity) else { return Ok(()) };
        let now = watch::now();
        if now.ms_since(self.asked) < NEWS_EVERY_MS {
            return Ok(());
        }
        self.asked = now;
        let moved = match news() {
            None => return Ok(()),
            Some(News::Changed(gallery)) => identity.replace(Some(&gallery)),
            Some(News::Deleted) => identity.replace(None),
        };
        for (index, view) in self.views.iter_mut().enumerate() {
            let mut said = Vec::new();
            view.cases.rearrange(&moved, |holder, what| said.push((holder, what)));
            for (holder, what) in said {
                if let Some(track) = view.number(holder) {
                    // In the order of what was said of the track so far.
                    say(to, CameraId(index as u8), view.newest, now, identified(identity, track, what))?;
                }
            }
        }
        if moved.fresh.is_empty() {
            return Ok(());
        }
        to.send(Message::Persons(moved.fresh)).map_err(|_| DoorClosed)
    }

    fn note(
        &mut self,
        to: &Sender<Message>,
        camera: CameraId,
        at: MonoNs,
        note: Note,
        tracks: &[Track],
    ) -> Result<(), DoorClosed> {
        let view = &mut self.views[usize::from(camera.0)];
        let mut result = Ok(());
        let mut tell = |body| {
            if result.is_ok() {
                result = say(to, camera, at, at, body);
            }
        };
        let Note { change, reason, attempt, retry_ms } = note;
        let body = match change {
            Change::Online => Body::CameraOnline { reason, attempt },
            Change::Degraded => Body::CameraDegraded { reason, attempt, retry_ms },
            Change::Offline => {
                let why = match reason {
                    CameraReason::Shutdown => LeftReason::Shutdown,
                    _ => LeftReason::CameraOffline,
                };
                view.visits.end(tracks, why, &mut tell);
                view.face_visits.end(&view.face_tracker.finish(), why, &mut tell);
                view.looked = FaceLook { every_frame: view.looked.every_frame, ..FaceLook::new(self.person) };
                view.cases.clear();
                Body::CameraOffline { reason, attempt, retry_ms }
            }
        };
        tell(body);
        result
    }

    // The fields of one message, taken apart by the caller; a struct for them would be that message again.
    #[allow(clippy::too_many_arguments)]
    fn frame(
        &mut self,
        to: &Sender<Message>,
        seat: &Seat<'_, '_>,
        frame: Option<&Arc<Frame>>,
        looked: bool,
        stamp: Stamp,
        size: Size,
        received: MonoNs,
        Sheet { tracks, changes }: &mut Sheet,
        detections: &mut Vec<Detection>,
    ) -> Result<(), DoorClosed> {
        let view = &mut self.views[usize::from(stamp.camera.0)];
        let mut result = Ok(());
        let mut tell = |body| {
            if result.is_ok() {
                result = say(to, stamp.camera, stamp.at, received, body);
            }
        };
        view.newest = view.newest.max(stamp.at);
        view.visits.frame(stamp.at, size, tracks, changes, &mut self.numbers, &mut tell);
        let Buffers { bound, live, said } = &mut self.buffers;
        bound.faces.clear();
        if self.errand.is_some() && view.wants_faces {
            match frame {
                Some(frame) => {
                    let found = seat.ask(&mut self.errand, Ask::Faces, frame, |errand| {
                        std::mem::swap(&mut errand.looked, &mut view.looked);
                        std::mem::swap(&mut errand.tracks, tracks);
                        std::mem::swap(&mut errand.found, detections);
                    });
                    if let Err(e) = found.ok_or(DoorClosed)? {
                        for_people(&e.to_string());
                        tell(Body::Fault { part: Part::Faces, reason: FaultReason::InferenceFailed, restarted: false });
                        detections.clear();
                    }
                    if self.identity.is_some() {
                        let persons = tracks.iter().filter(|t| Some(t.class) == self.person);
                        bind(stamp.at, persons, detections, holds, bound);
                    }
                    let person_holds =
                        |d: &Detection| tracks.iter().any(|t| Some(t.class) == self.person && holds(t.bbox, d.bbox));
                    detections.retain(|d| !person_holds(d));
                    view.face_tracker.update(stamp.at, size, detections, &[Region::whole(size)]);
                }
                None if looked => return result,
                None => view.face_tracker.still(stamp.at),
            }
            live.clear();
            live.extend(view.face_tracker.tracks().copied());
            let changes = view.face_tracker.changes();
            view.face_visits.frame(stamp.at, size, live, changes, &mut self.numbers, &mut tell);
            if let (Some(identity), Some(frame)) = (&mut self.identity, frame) {
                // The tracker does not say which face it took for which track: the one that lies there.
                let own = |t: &Track| {
                    let near = |d: &&Detection| t.last_seen == stamp.at && d.bbox.iou(t.bbox) > 0.3;
                    let best = |a: &&Detection, b: &&Detection| a.bbox.iou(t.bbox).total_cmp(&b.bbox.iou(t.bbox));
                    detections.iter().filter(near).max_by(best).map(|d| (Holder::Face(t.id), *d))
                };
                bound.faces.extend(live.iter().filter_map(own));
                // Consent lapses by the calendar: a camera's is today's, a file's was when the run began.
                let now_ms = if self.live { watch::utc_ms() } else { identity.began_ms };
                let alive = |holder| match holder {
                    Holder::Person(id) => tracks.iter().any(|t| t.id == id),
                    Holder::Face(id) => live.iter().any(|t| t.id == id),
                };
                said.clear();
                let mut cases = std::mem::replace(&mut view.cases, Cases::new(identity.settings));
                let numbered = |holder| view.number(holder).is_some();
                let mut lookers_gone = false;
                let embed = |landmarks: &mut Vec<Landmarks>, embeddings: &mut Vec<Option<Embedding>>| {
                    let embedded = seat.ask(&mut self.errand, Ask::Embeddings, frame, |errand| {
                        std::mem::swap(&mut errand.landmarks, landmarks);
                        std::mem::swap(&mut errand.embeddings, embeddings);
                    });
                    lookers_gone = embedded.is_none();
                    embedded.unwrap_or(Ok(()))
                };
                let say = |holder, what| said.push((holder, what));
                let looked = identity.look(&mut cases, frame, now_ms, &bound.faces, embed, alive, numbered, say);
                view.cases = cases;
                if lookers_gone {
                    return Err(DoorClosed);
                }
                if let Err(e) = looked {
                    eprintln!("porchlight: {e}");
                    tell(Body::Fault { part: Part::Identity, reason: FaultReason::InferenceFailed, restarted: false });
                }
                for (holder, what) in said.drain(..) {
                    if let Some(track) = view.number(holder) {
                        tell(identified(identity, track, what));
                    }
                }
            }
        }
        result
    }
}

/// What became known of a track, as an event.
fn identified(identity: &Identity, track: TrackNo, what: Told) -> Body {
    let person = |p: vote::PersonId| identity.number(p);
    let score = |v| Score::new(v).unwrap_or_default();
    match what {
        Told::Verdict(Vote::Recognized { person: p, similarity, margin, faces }) => Body::IdentityRecognized {
            track,
            person: person(p),
            similarity: score(similarity),
            margin: score(margin),
            faces,
        },
        Told::Verdict(Vote::Unknown { faces }) => Body::IdentityUnknown { track, faces },
        Told::Verdict(Vote::Revoked { person: p, overtaken }) => {
            let reason = if overtaken { RevokedReason::Overtaken } else { RevokedReason::Contradicted };
            Body::IdentityRevoked { track, person: person(p), reason }
        }
        Told::Expired(p) => Body::IdentityRevoked { track, person: person(p), reason: RevokedReason::Expired },
        Told::Removed(person) => Body::IdentityRevoked { track, person, reason: RevokedReason::Removed },
    }
}

/// When faces of one camera are looked for. The frames between are free again as soon as their objects are known.
#[derive(Clone, Debug, Default)]
pub struct FacePace {
    last: Option<MonoNs>,
    every_frame: bool,
}

impl FacePace {
    /// In every frame, or five times a second and where only other things are known once.
    pub fn new(every_frame: bool) -> Self {
        Self { last: None, every_frame }
    }

    /// Whether it is time for a look at the frame of time `at`, in which these tracks are; if so, it counts as looked at. Tracks of class
    /// `person` have faces; so may what is not known yet.
    pub fn due<'a>(
        &mut self,
        at: MonoNs,
        person: Option<ClassId>,
        tracks: impl IntoIterator<Item = &'a Track>,
    ) -> bool {
        let mut tracks = tracks.into_iter().peekable();
        let faceless = |t: &Track| t.state != State::Tentative && person.is_some_and(|person| t.class != person);
        let known = tracks.peek().is_some() && tracks.all(faceless);
        let every_ms = if known { FACES_ELSE_EVERY_MS } else { FACES_EVERY_MS };
        let due = self.every_frame || self.last.is_none_or(|t| at.ms_since(t) >= every_ms);
        if due {
            self.last = Some(at);
        }
        due
    }
}

/// Where faces of one camera are looked for.
#[derive(Debug)]
pub struct FaceLook {
    /// Tracks of this class have faces; `None` where the object model knows no persons.
    person: Option<ClassId>,
    /// Whose head was looked at last, so that small persons take turns.
    last_head: u32,
    /// The whole of every frame, and no heads.
    every_frame: bool,
    /// What was found in heads; kept for its memory.
    found: Vec<Detection>,
}

impl FaceLook {
    /// `person` is the class whose tracks have faces.
    pub fn new(person: Option<ClassId>) -> Self {
        Self { person, last_head: 0, every_frame: false, found: Vec::new() }
    }

    /// Faces in the whole frame, and in the head regions of persons too small for that; replaces `out`.
    ///
    /// # Errors
    /// When inference fails.
    pub fn look(
        &mut self,
        detector: &mut Detector,
        frame: &Frame,
        tracks: &[Track],
        out: &mut Vec<Detection>,
    ) -> Result<(), crate::model::ModelError> {
        let score = detector.card().score;
        out.clear();
        detector.detect(frame, Region::whole(frame.size()), LongSide::Card, score, out)?;
        if self.every_frame {
            return Ok(());
        }
        let size = frame.size();
        let small = |t: &&Track| {
            Some(t.class) == self.person
                && t.state == State::Confirmed
                && t.bbox.height() < SMALL_PERSON * size.height as f32
                && !out.iter().any(|d| holds(t.bbox, d.bbox))
        };
        // Those after the one looked at last, then from the beginning: everybody has a turn.
        let last_head = self.last_head;
        let turn = |t: &&Track| (t.id.0 <= last_head, t.id.0);
        let mut done = None;
        self.found.clear();
        for _ in 0..HEADS_PER_LOOK {
            let later = |t: &&Track| done.is_none_or(|done| turn(t) > done);
            let Some(track) = tracks.iter().filter(small).filter(later).min_by_key(turn) else { break };
            done = Some(turn(&track));
            self.last_head = track.id.0;
            let Some(region) = head_region(track.bbox, size) else { continue };
            let side = LongSide::Pixels((region.size.long_side() * 2).clamp(96, 320));
            detector.detect(frame, region, side, score, &mut self.found)?;
        }
        self.found.retain(|d| !out.iter().any(|o| o.bbox.iou(d.bbox) > 0.3));
        out.append(&mut self.found);
        Ok(())
    }
}

/// Whether a face is this body's: its centre lies in the box (a little wider than it), not below the upper two thirds.
fn holds(body: Box2<FramePx>, face: Box2<FramePx>) -> bool {
    let margin = 0.1 * body.width();
    let upper = Box2::from_xyxy(
        body.x0 - margin,
        body.y0 - 0.1 * body.height(),
        body.x1 + margin,
        body.y0 + 0.67 * body.height(),
    );
    upper.contains(face.center()) && face.area() < body.area()
}

/// A square around the upper part of a body, inside the frame.
fn head_region(body: Box2<FramePx>, frame: Size) -> Option<Region> {
    let side = (body.width() * 1.2).max(body.height() * 0.45);
    let c = body.center();
    let b = Box2::from_xywh(c.x - side / 2.0, body.y0 - side * 0.15, side, side).clip(frame);
    if b.is_empty() || b.width() < 16.0 || b.height() < 16.0 {
        return None;
    }
    let size = Size::new(b.width() as u32, b.height() as u32);
    Some(Region { x: b.x0 as u32, y: b.y0 as u32, size })
}

fn say(to: &Sender<Message>, camera: CameraId, at: MonoNs, received: MonoNs, body: Body) -> Result<(), DoorClosed> {
    to.send(Message::Event(Event { camera: Some(camera), at, received, body })).map_err(|_| DoorClosed)
}

#[cfg(test)]
mod tests;
