//! Where to look, who looks, and what is followed.
//!
//! ```text
//!            +--tasks--> looker --+
//! scout -->  vision               +--looks--> vision --> report
//!            +--tasks--> looker --+
//! ```
//!
//! Each looker has a session of the object model; a task is one region of one frame. So the crops of a frame are looked at beside
//! each other, and the next frame is begun while a looker would have nothing to do: two sessions of one thread see a sixth more on
//! two processors than one session of two threads, for less processor time (`docs/performance.md`).
//!
//! What was seen is told in the order of the frames. Where to look in a frame depends on the tracks: for a file on those after the frame
//! before the last, whether or not the last one is done, so that a replay says the same whatever the number of lookers; for a camera
//! on whatever is known.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, select};

use super::{HOPELESS_AFTER, Note, Scouted, Seen, Sheet, Wants, for_people};
use crate::attention::Attention;
use crate::detection::{ClassId, Detection};
use crate::flow::Ledger;
use crate::frame::{CameraId, Frame, MonoNs, Stamp};
use crate::geom::{Region, Size};
use crate::model::ModelError;
use crate::model::detector::Detector;
use crate::model::nms;
use crate::model::prep::LongSide;
use crate::motion::Verdict;
use crate::track::{Belief, Tracker};
use crate::watch::Pulse;

/// How many inferences may run at once, of whatever model.
#[derive(Debug)]
pub(super) struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Leave to infer; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count.max(1)), freed: Condvar::new() }
    }

    /// Waits for leave.
    pub(super) fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// One region to look at.
pub(super) struct Task {
    frame: Arc<Frame>,
    region: Region,
    /// Of the frame among those in work, and of the region among those of the frame.
    ticket: u64,
    place: usize,
    /// An empty list to write to.
    found: Vec<Detection>,
}

/// What a looker answers.
pub(super) enum Look {
    Done {
        ticket: u64,
        place: usize,
        found: Vec<Detection>,
        result: Result<(), ModelError>,
    },
    /// It died.
    Dead,
}

/// Says so when a looker dies: vision would wait for its answer.
struct LastWord<'a>(&'a Sender<Look>);

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Look::Dead);
        }
    }
}

/// Looks at one region after another.
pub(super) fn look(
    mut detector: Detector,
    floor: f32,
    turns: &Turns,
    tasks: &Receiver<Task>,
    to: &Sender<Look>,
    pulse: &Pulse,
) {
    let _last_word = LastWord(to);
    while let Ok(Task { frame, region, ticket, place, mut found }) = pulse.waiting(|| tasks.recv()) {
        let turn = turns.take();
        let result = detector.detect(&frame, region, LongSide::Card, floor, &mut found);
        drop(turn);
        // Whoever gets the answer may be the only one who has the frame.
        drop(frame);
        if to.send(Look::Done { ticket, place, found, result }).is_err() {
            return;
        }
    }
}

/// What vision remembers of one camera.
pub(super) struct Eye {
    wanted: Option<Vec<ClassId>>,
    attention: Attention,
    tracker: Tracker,
    /// What the tracker believed before the frame that it was told of last.
    before: Vec<Belief>,
    /// Frames in work.
    in_work: usize,
    /// It can wait: what it says is not to depend on how fast we are.
    lossless: bool,
    every_frame: bool,
}

impl Eye {
    pub(super) fn new(wants: &Wants, score: f32, every_frame: bool, lossless: bool) -> Self {
        let defaults = crate::track::Settings::default();
        let settings = crate::track::Settings {
            high_score: score,
            new_score: score,
            low_score: defaults.low_score.min(score),
            instant_score: defaults.instant_score.max(score),
            confirm_hits: if wants.single { 1 } else { defaults.confirm_hits },
            ..defaults
        };
        Self {
            wanted: wants.classes.clone(),
            attention: Attention::new(crate::attention::Settings { every_frame, ..Default::default() }),
            tracker: Tracker::new(settings),
            before: Vec::new(),
            in_work: 0,
            lossless,
            every_frame,
        }
    }

    /// Whether the next frame may be begun.
    fn is_free(&self) -> bool {
        // Where to look does not depend on the tracks; otherwise on those after the frame before the last.
        self.every_frame || self.in_work < 2
    }
}

/// Something that was begun and is told when all before it has been.
enum Begun {
    Frame {
        frame: Arc<Frame>,
        received: MonoNs,
        looked: Vec<Region>,
        /// What was found in each region.
        found: Vec<Vec<Detection>>,
        left: usize,
        error: Option<ModelError>,
    },
    Note {
        camera: CameraId,
        at: MonoNs,
        note: Note,
    },
}

/// Lists that are used again.
#[derive(Default)]
struct Spares {
    regions: Vec<Vec<Region>>,
    found: Vec<Vec<Detection>>,
    lists: Vec<Vec<Vec<Detection>>>,
}

/// The model is broken, or nobody listens any more.
struct GiveUp;

/// Chooses where to look, has it looked at, tracks.
pub(super) struct Vision<'a> {
    eyes: Vec<Eye>,
    nms_iou: f32,
    ledgers: Arc<[Ledger]>,
    failed: &'a AtomicBool,
    stop: Arc<AtomicBool>,
    /// What is in work, oldest first; the ticket of the first.
    begun: VecDeque<Begun>,
    first: u64,
    /// Tasks that lookers have not answered, and how many of them keep a frame from being begun.
    open: usize,
    most_open: usize,
    failures: u32,
    spares: Spares,
    order: nms::Order,
    merged: Vec<(Detection, Region)>,
    detections: Vec<Detection>,
}

/// The ways out of vision.
pub(super) struct Ways {
    /// To the lookers, and their answers.
    pub(super) tasks: Sender<Task>,
    pub(super) looks: Receiver<Look>,
    /// To report.
    pub(super) to: Sender<Seen>,
    /// Frames that nobody needs, to scout.
    pub(super) frame_free: Sender<Arc<Frame>>,
    /// Sheets that report has read.
    pub(super) sheets: Receiver<Sheet>,
}

impl<'a> Vision<'a> {
    /// For `lookers` of one model, whose suppression goes by `nms_iou`.
    pub(super) fn new(
        eyes: Vec<Eye>,
        lookers: usize,
        nms_iou: f32,
        ledgers: Arc<[Ledger]>,
        failed: &'a AtomicBool,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let most_open = lookers + usize::from(eyes.iter().all(|eye| eye.lossless));
        Self {
            eyes,
            nms_iou,
            // A file's next task may wait for its looker. A camera's frame may not: a newer one would be better by then.
            most_open,
            ledgers,
            failed,
            stop,
            begun: VecDeque::new(),
            first: 0,
            open: 0,
            failures: 0,
            spares: Spares::default(),
            order: nms::Order::default(),
            merged: Vec::new(),
            detections: Vec::new(),
        }
    }

    pub(super) fn run(mut self, from: &Receiver<Scouted>, ways: Ways, pulse: &Pulse) {
        // Whoever is gone has said why.
        let _ = self.all(from, &ways, pulse);
    }

    fn all(&mut self, from: &Receiver<Scouted>, ways: &Ways, pulse: &Pulse) -> Result<(), GiveUp> {
        let (mut held, mut ended) = (None, false);
        loop {
            self.tell(ways)?;
            if let Some(next) = held.take_if(|next| self.may_begin(next)) {
                self.begin(next, ways)?;
                continue;
            }
            let wants_more = held.is_none() && !ended && self.open < self.most_open;
            if wants_more {
                pulse.rest();
                select! {
                    recv(from) -> next => match next {
                        Ok(next) => held = Some(next),
                        Err(_) => ended = true,
                    },
                    recv(ways.looks) -> look => self.answer(look.map_err(|_| GiveUp)?)?,
                }
                pulse.work();
            } else if self.open > 0 {
                self.answer(pulse.waiting(|| ways.looks.recv()).map_err(|_| GiveUp)?)?;
            } else if ended && held.is_none() {
                return Ok(());
            }
        }
    }

    fn may_begin(&self, next: &Scouted) -> bool {
        let camera = match next {
            // In its place among the frames, but it needs nobody.
            Scouted::Note { .. } => return true,
            Scouted::Frame { frame, .. } => frame.stamp.camera,
        };
        self.open < self.most_open && self.eyes[usize::from(camera.0)].is_free()
    }

    /// Chooses where to look and hands it out.
    fn begin(&mut self, next: Scouted, ways: &Ways) -> Result<(), GiveUp> {
        let (frame, received, moved) = match next {
            Scouted::Note { camera, at, note } => {
                self.begun.push_back(Begun::Note { camera, at, note });
                return Ok(());
            }
            Scouted::Frame { frame, received, moved } => (frame, received, moved),
        };
        let Stamp { camera, at, .. } = frame.stamp;
        let size = frame.size();
        let eye = &mut self.eyes[usize::from(camera.0)];
        let verdict = Verdict { kind: moved.kind, boxes: moved.boxes(), share: moved.share };
        let lags = eye.lossless && eye.in_work == 0;
        let look = if lags {
            eye.attention.choose(at, size, &verdict, eye.before.iter().map(|b| b.at(at)))
        } else {
            eye.attention.choose(at, size, &verdict, eye.tracker.predicted(at))
        };
        let mut looked = self.spares.regions.pop().unwrap_or_default();
        looked.clear();
        looked.extend(look.all(size));
        eye.in_work += 1;
        let ticket = self.first + self.begun.len() as u64;
        let mut found = self.spares.lists.pop().unwrap_or_default();
        for (place, &region) in looked.iter().enumerate() {
            let empty = self.spares.found.pop().unwrap_or_default();
            ways.tasks
                .send(Task { frame: Arc::clone(&frame), region, ticket, place, found: empty })
                .map_err(|_| GiveUp)?;
            found.push(Vec::new());
        }
        self.open += looked.len();
        let left = looked.len();
        self.begun.push_back(Begun::Frame { frame, received, looked, found, left, error: None });
        Ok(())
    }

    fn answer(&mut self, look: Look) -> Result<(), GiveUp> {
        let Look::Done { ticket, place, found: new, result } = look else { return Err(GiveUp) };
        self.open -= 1;
        let index = ticket.checked_sub(self.first).and_then(|i| usize::try_from(i).ok()).ok_or(GiveUp)?;
        if let Some(Begun::Frame { found, left, error, .. }) = self.begun.get_mut(index) {
            *left -= 1;
            found[place] = new;
            *error = error.take().or(result.err());
        }
        Ok(())
    }

    /// Tells report of everything that is done and has nothing undone before it.
    fn tell(&mut self, ways: &Ways) -> Result<(), GiveUp> {
        while !matches!(self.begun.front(), None | Some(Begun::Frame { left: 1.., .. })) {
            let Some(done) = self.begun.pop_front() else { return Ok(()) };
            self.first += 1;
            match done {
                Begun::Note { camera, at, note } => {
                    let eye = &mut self.eyes[usize::from(camera.0)];
                    let tracks = if note.is_offline() {
                        eye.before.clear();
                        eye.tracker.finish()
                    } else {
                        Vec::new()
                    };
                    ways.to.send(Seen::Note { camera, at, note, tracks }).map_err(|_| GiveUp)?;
                }
                Begun::Frame { frame, received, mut looked, mut found, error, .. } => {
                    let told = self.frame(frame, received, &looked, &mut found, error, ways);
                    looked.clear();
                    self.spares.regions.push(looked);
                    self.spares.found.extend(found.drain(..).map(|mut list| {
                        list.clear();
                        list
                    }));
                    self.spares.lists.push(found);
                    told?;
                }
            }
        }
        Ok(())
    }

    fn frame(
        &mut self,
        frame: Arc<Frame>,
        received: MonoNs,
        looked: &[Region],
        found: &mut [Vec<Detection>],
        error: Option<ModelError>,
        ways: &Ways,
    ) -> Result<(), GiveUp> {
        let (stamp, size) = (frame.stamp, frame.size());
        let ledger = &self.ledgers[usize::from(stamp.camera.0)];
        let eye = &mut self.eyes[usize::from(stamp.camera.0)];
        eye.in_work -= 1;
        if let Some(error) = error {
            // One whose regions could not be looked at is not a frame without anything: the tracker is not told of it.
            Ledger::count(&ledger.failed);
            self.failures += 1;
            if self.failures == 1 {
                for_people(&error.to_string());
                ways.to.send(Seen::Fault { stamp, received }).map_err(|_| GiveUp)?;
            }
            if self.failures >= HOPELESS_AFTER {
                self.failed.store(true, Ordering::Release);
                self.stop.store(true, Ordering::Release);
            }
            let _ = ways.frame_free.try_send(frame);
            return Ok(());
        }
        eye.tracker.remember(&mut eye.before);
        let pixels = if looked.is_empty() {
            eye.tracker.still(stamp.at);
            Ledger::count(&ledger.still);
            // A full channel means that there are frames enough.
            let _ = ways.frame_free.try_send(frame);
            None
        } else {
            self.failures = 0;
            Ledger::count(&ledger.inferred);
            merge(found, looked, size, self.nms_iou, &mut self.order, &mut self.merged, &mut self.detections);
            if let Some(wanted) = &eye.wanted {
                self.detections.retain(|d| wanted.contains(&d.class));
            }
            eye.tracker.update(stamp.at, size, &self.detections, looked);
            Some(frame)
        };
        let mut sheet = ways.sheets.try_recv().unwrap_or_default();
        sheet.write(&eye.tracker);
        ways.to.send(Seen::Frame { frame: pixels, stamp, size, received, sheet }).map_err(|_| GiveUp)
    }
}

/// What all regions showed, each thing once; replaces `into`.
fn merge(
    found: &mut [Vec<Detection>],
    looked: &[Region],
    frame: Size,
    nms_iou: f32,
    order: &mut nms::Order,
    merged: &mut Vec<(Detection, Region)>,
    into: &mut Vec<Detection>,
) {
    merged.clear();
    for (list, &region) in found.iter_mut().zip(looked) {
        merged.extend(list.drain(..).map(|d| (d, region)));
    }
    nms::merge_regions(merged, frame, nms_iou, order);
    into.clear();
    into.extend(merged.iter().map(|(d, _)| *d));
}
