//! Where to look, who looks, and what is followed.
//!
//! ```text
//!                 +-- looker --+
//! scout --> vision             +--> report
//!                 +-- looker --+
//! ```
//!
//! Each looker has a session of the object model; a task is one region of one frame. So the crops of a frame are looked at beside
//! each other, and the next frame is begun while a looker would have nothing to do: two sessions of one thread see a sixth more on
//! two processors than one session of two threads, for less processor time (`docs/performance.md`).
//!
//! Lookers alone infer, as many of them as may: what report wants of the models of faces is an [`Errand`] for the next of them. A third
//! thread that infers on two processors would have to be given the one that a looker leaves, and the kernel takes its time for that: two
//! threads stand behind each other while a processor is idle for milliseconds.
//!
//! What is in work lies on one [`Table`], and whoever comes there with something does what follows from it: a looker that brings the
//! last answer of a frame tells it, begins the next one and takes a task of it, without another thread having to be woken for that.
//! Where inference keeps every processor busy, being woken takes milliseconds. The thread called vision only brings frames.
//!
//! What was seen is told in the order of the frames. Where to look in a frame depends on the tracks: for a file on those that
//! [`Hindsight`] lets be known, whatever is done, so that a replay says the same whatever the number of lookers; for a camera on
//! whatever is known.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::errand::{Ask, Errand};
use super::hindsight::Hindsight;
use super::{FacePace, HOPELESS_AFTER, Moved, Note, Scouted, Seen, Sheet, Wants, for_people};
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
use crate::track::Tracker;
use crate::watch::Pulse;

/// One region to look at.
struct Task {
    frame: Arc<Frame>,
    region: Region,
    /// Of the frame among those in work, and of the region among those of the frame.
    ticket: u64,
    place: usize,
    /// An empty list to write to.
    found: Vec<Detection>,
}

/// Where frames, tasks and answers meet.
pub(super) struct Table<'a> {
    vision: Mutex<Vision<'a>>,
    /// For lookers: there is a task or an errand, or it is over.
    task: Condvar,
    /// For who brings frames: there is room for one, or it is over.
    room: Condvar,
    /// For report: its errand is done, or nobody will do it.
    done: Condvar,
}

/// Says so when a thread at the table dies: the others would wait for its answer.
struct LastWord<'a, 'b>(&'a Table<'b>);

impl Drop for LastWord<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

/// Report at the table, until dropped: lookers stay for its errands.
pub(super) struct Seat<'a, 'b> {
    table: &'a Table<'b>,
    pulse: &'a Pulse,
}

impl Seat<'_, '_> {
    /// Has a looker infer from `frame`, before any region, and waits until it has. `lend` exchanges the lists that it takes, there and back.
    /// `None` when there are no lookers any more.
    pub(super) fn ask(
        &self,
        kept: &mut Option<Box<Errand>>,
        ask: Ask,
        frame: &Arc<Frame>,
        mut lend: impl FnMut(&mut Errand),
    ) -> Option<Result<(), ModelError>> {
        let mut errand = kept.take()?;
        (errand.ask, errand.frame) = (ask, Some(Arc::clone(frame)));
        lend(&mut errand);
        let mut errand = self.pulse.waiting(|| self.send(errand))?;
        lend(&mut errand);
        let result = std::mem::replace(&mut errand.result, Ok(()));
        *kept = Some(errand);
        Some(result)
    }

    fn send(&self, errand: Box<Errand>) -> Option<Box<Errand>> {
        let mut vision = self.table.lock();
        vision.errand = Some(errand);
        if vision.idle > 0 {
            self.table.task.notify_one();
        }
        let waits = |vision: &mut Vision<'_>| vision.done.is_none() && !vision.broken;
        let mut vision = self.table.done.wait_while(vision, waits).unwrap_or_else(PoisonError::into_inner);
        vision.done.take()
    }

    /// Something was taken of what was told: there is room for more.
    pub(super) fn took(&self) {
        let mut vision = self.table.lock();
        if vision.waits_for_report {
            self.table.settle(&mut vision);
        }
    }
}

impl Drop for Seat<'_, '_> {
    fn drop(&mut self) {
        let mut vision = self.table.lock();
        vision.reported = true;
        self.table.settle(&mut vision);
        self.table.task.notify_all();
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(vision: Vision<'a>) -> Self {
        Self { vision: Mutex::new(vision), task: Condvar::new(), room: Condvar::new(), done: Condvar::new() }
    }

    /// Whether report waits for a looker.
    #[cfg(test)]
    pub(super) fn is_asked(&self) -> bool {
        self.lock().errand.is_some()
    }

    /// Regions that wait for a looker.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Report's place; there is one report.
    pub(super) fn seat<'s>(&'s self, pulse: &'s Pulse) -> Seat<'s, 'a> {
        Seat { table: self, pulse }
    }

    /// Ends it all: somebody at the table died, or was never there. Nobody waits for anybody any more.
    pub(super) fn give_up(&self) {
        let mut vision = self.lock();
        (vision.over, vision.broken) = (true, true);
        self.settle(&mut vision);
        self.done.notify_all();
    }

    /// A thread that panicked here has its [`LastWord`]: nobody goes on with what it left.
    fn lock(&self) -> MutexGuard<'_, Vision<'a>> {
        self.vision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what follows from what has been brought, and wakes those who have something to do now.
    fn settle(&self, vision: &mut Vision<'a>) {
        if !vision.over {
            vision.advance();
        }
        if vision.over {
            // Whoever is behind learns of the end by the end of the channel.
            (vision.ways, vision.held) = (None, VecDeque::new());
            vision.tasks.clear();
            self.task.notify_all();
            self.room.notify_all();
            return;
        }
        (0..vision.tasks.len().min(vision.idle)).for_each(|_| self.task.notify_one());
        if vision.waits_for_room && vision.has_room() {
            self.room.notify_one();
        }
    }

    /// Brings frames until there are no more, or nobody wants any.
    pub(super) fn bring(&self, from: &Receiver<Scouted>, pulse: &Pulse) {
        let _last_word = LastWord(self);
        loop {
            let mut vision = self.lock();
            while !vision.over && !vision.has_room() {
                vision.waits_for_room = true;
                vision = pulse.waiting(|| self.room.wait(vision)).unwrap_or_else(PoisonError::into_inner);
                vision.waits_for_room = false;
            }
            let over = vision.over;
            drop(vision);
            if over {
                return;
            }
            let next = pulse.waiting(|| from.recv());
            let mut vision = self.lock();
            match next {
                Ok(next) => vision.held.push_back(next),
                Err(_) => vision.ended = true,
            }
            self.settle(&mut vision);
            if vision.ended {
                return;
            }
        }
    }

    /// Looks at one region after another, and does report's errands.
    pub(super) fn look(&self, mut detector: Detector, floor: f32, pulse: &Pulse) {
        let _last_word = LastWord(self);
        let mut vision = self.lock();
        loop {
            // Report is one, what it asks is short, and all lookers wait for it in the end.
            if let Some(mut errand) = vision.errand.take() {
                drop(vision);
                pulse.work();
                errand.run();
                vision = self.lock();
                vision.done = Some(errand);
                self.done.notify_one();
                continue;
            }
            let Some(Task { frame, region, ticket, place, mut found }) = vision.tasks.pop_front() else {
                if vision.broken || (vision.over && vision.reported) {
                    return;
                }
                vision.idle += 1;
                vision = pulse.waiting(|| self.task.wait(vision)).unwrap_or_else(PoisonError::into_inner);
                vision.idle -= 1;
                continue;
            };
            drop(vision);
            pulse.work();
            let result = detector.detect(&frame, region, LongSide::Card, floor, &mut found);
            // Whoever is told of the frame may be the only one who has it.
            drop(frame);
            vision = self.lock();
            vision.answer(ticket, place, found, result);
            self.settle(&mut vision);
        }
    }
}

/// What vision remembers of one camera.
pub(super) struct Eye {
    wanted: Option<Vec<ClassId>>,
    attention: Attention,
    tracker: Tracker,
    hindsight: Hindsight,
    /// Frames in work of which regions are looked at.
    in_work: usize,
    /// It can wait: what it says is not to depend on how fast we are.
    lossless: bool,
    every_frame: bool,
    /// When faces are looked for, where they are.
    faces: Option<FacePace>,
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
            hindsight: Hindsight::default(),
            in_work: 0,
            lossless,
            every_frame,
            faces: wants.faces.then(|| FacePace::new(every_frame)),
        }
    }

    /// Whether the next frame may be begun.
    fn is_free(&self) -> bool {
        // Where to look in every frame does not depend on the tracks.
        self.every_frame
            || match self.in_work {
                0 => true,
                1 => !self.lossless || self.hindsight.lags(),
                _ => false,
            }
    }
}

/// A frame that was begun.
struct Work {
    stamp: Stamp,
    size: Size,
    received: MonoNs,
    /// None where nothing is looked at.
    frame: Option<Arc<Frame>>,
    moved: Moved,
    looked: Vec<Region>,
    /// What was found in each region.
    found: Vec<Vec<Detection>>,
    /// Regions of which no answer has come.
    left: usize,
    error: Option<ModelError>,
}

/// Something that was begun and is told when all before it has been.
// In a box, a frame's would be an allocation for every frame.
#[allow(clippy::large_enum_variant)]
enum Begun {
    Frame(Work),
    Note { camera: CameraId, at: MonoNs, note: Note },
}

/// Lists that are used again.
#[derive(Default)]
struct Spares {
    regions: Vec<Vec<Region>>,
    found: Vec<Vec<Detection>>,
    lists: Vec<Vec<Vec<Detection>>>,
}

/// Nobody listens any more.
struct GiveUp;

/// Frames of files that may wait to be begun: while one is decoded the one before it lies ready.
const HELD: usize = 2;

/// Chooses where to look, has it looked at, tracks.
pub(super) struct Vision<'a> {
    eyes: Vec<Eye>,
    person: Option<ClassId>,
    nms_iou: f32,
    ledgers: Arc<[Ledger]>,
    failed: &'a AtomicBool,
    stop: Arc<AtomicBool>,
    /// The ways out; none once it is over.
    ways: Option<Ways>,
    /// Frames that have not been begun, and how many of them may lie here.
    held: VecDeque<Scouted>,
    most_held: usize,
    /// What is in work, oldest first; the ticket of the first.
    begun: VecDeque<Begun>,
    first: u64,
    /// What no looker has taken yet.
    tasks: VecDeque<Task>,
    /// Tasks that lookers have not answered, and how many of them keep a frame from being begun.
    open: usize,
    most_open: usize,
    /// There will be no more frames.
    ended: bool,
    /// Nobody is to look at anything any more.
    over: bool,
    /// A thread at the table has died.
    broken: bool,
    /// What report asked for and nobody has begun, and what somebody has done of it.
    errand: Option<Box<Errand>>,
    done: Option<Box<Errand>>,
    /// Report has as much to do as may wait for it; it has left.
    waits_for_report: bool,
    reported: bool,
    /// Lookers that wait for a task.
    idle: usize,
    waits_for_room: bool,
    failures: u32,
    spares: Spares,
    order: nms::Order,
    merged: Vec<(Detection, Region)>,
    detections: Vec<Detection>,
}

/// The ways out of vision.
pub(super) struct Ways {
    /// To report.
    pub(super) to: Sender<Seen>,
    /// Frames that nobody needs, to scout.
    pub(super) frame_free: Sender<Arc<Frame>>,
    /// Sheets that report has read.
    pub(super) sheets: Receiver<Sheet>,
}

impl<'a> Vision<'a> {
    /// For `lookers` of one model, whose suppression goes by `nms_iou` and which calls persons `person`.
    // What they are told, each another kind of thing.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        eyes: Vec<Eye>,
        person: Option<ClassId>,
        lookers: usize,
        nms_iou: f32,
        ledgers: Arc<[Ledger]>,
        failed: &'a AtomicBool,
        stop: Arc<AtomicBool>,
        ways: Ways,
    ) -> Self {
        let lossless = eyes.iter().all(|eye| eye.lossless);
        let most_open = lookers + usize::from(lossless);
        Self {
            eyes,
            person,
            nms_iou,
            ways: Some(ways),
            // A file's next frames and tasks may wait for their looker. A camera's may not: a newer one would be better by then.
            held: VecDeque::with_capacity(HELD),
            most_held: if lossless { HELD } else { 1 },
            most_open,
            ledgers,
            failed,
            stop,
            begun: VecDeque::new(),
            first: 0,
            tasks: VecDeque::with_capacity(most_open + crate::attention::Settings::default().max_regions + 1),
            open: 0,
            ended: false,
            over: false,
            broken: false,
            errand: None,
            done: None,
            waits_for_report: false,
            reported: false,
            idle: 0,
            waits_for_room: false,
            failures: 0,
            spares: Spares::default(),
            order: nms::Order::default(),
            merged: Vec::new(),
            detections: Vec::new(),
        }
    }

    /// Whether another frame may be brought.
    fn has_room(&self) -> bool {
        self.held.len() < self.most_held && (self.most_held > 1 || self.open < self.most_open)
    }

    /// Tells what is done and begins what may be begun.
    fn advance(&mut self) {
        let Some(ways) = self.ways.take() else { return };
        let went = self.advance_on(&ways);
        let done = self.ended && self.held.is_empty() && self.begun.is_empty();
        // Whoever is gone has said why.
        self.over |= went.is_err() || done;
        self.ways = Some(ways);
    }

    fn advance_on(&mut self, ways: &Ways) -> Result<(), GiveUp> {
        loop {
            self.tell(ways)?;
            let ready = self.held.front().is_some_and(|next| self.may_begin(next));
            let Some(next) = ready.then(|| self.held.pop_front()).flatten() else { return Ok(()) };
            self.begin(next, ways);
        }
    }

    fn may_begin(&self, next: &Scouted) -> bool {
        let camera = match next {
            // In its place among the frames, but it needs nobody.
            Scouted::Note { .. } => return true,
            Scouted::Frame { frame, .. } => frame.stamp.camera,
        };
        !self.waits_for_report && self.open < self.most_open && self.eyes[usize::from(camera.0)].is_free()
    }

    /// Chooses where to look and hands it out.
    fn begin(&mut self, next: Scouted, ways: &Ways) {
        let (frame, received, moved) = match next {
            Scouted::Note { camera, at, note } => {
                self.begun.push_back(Begun::Note { camera, at, note });
                return;
            }
            Scouted::Frame { frame, received, moved } => (frame, received, moved),
        };
        let (stamp, size) = (frame.stamp, frame.size());
        let Stamp { camera, at, .. } = stamp;
        let eye = &mut self.eyes[usize::from(camera.0)];
        let verdict = Verdict { kind: moved.kind, boxes: moved.boxes(), share: moved.share };
        let lags = eye.lossless && eye.in_work == 0 && eye.hindsight.lags();
        let look = if lags {
            eye.attention.choose(at, size, &verdict, eye.hindsight.predicted(at))
        } else {
            eye.attention.choose(at, size, &verdict, eye.tracker.predicted(at))
        };
        let mut looked = self.spares.regions.pop().unwrap_or_default();
        looked.clear();
        looked.extend(look.all(size));
        eye.hindsight.begun(!looked.is_empty());
        eye.in_work += usize::from(!looked.is_empty());
        let ticket = self.first + self.begun.len() as u64;
        let mut found = self.spares.lists.pop().unwrap_or_default();
        for (place, &region) in looked.iter().enumerate() {
            let empty = self.spares.found.pop().unwrap_or_default();
            self.tasks.push_back(Task { frame: Arc::clone(&frame), region, ticket, place, found: empty });
            found.push(Vec::new());
        }
        self.open += looked.len();
        let left = looked.len();
        let frame = if looked.is_empty() {
            // A full channel means that there are frames enough.
            let _ = ways.frame_free.try_send(frame);
            None
        } else {
            Some(frame)
        };
        self.begun.push_back(Begun::Frame(Work {
            stamp,
            size,
            received,
            frame,
            moved,
            looked,
            found,
            left,
            error: None,
        }));
    }

    /// Takes what was found in one region; `ticket` is of something in work, for that waits for all its answers.
    fn answer(&mut self, ticket: u64, place: usize, new: Vec<Detection>, result: Result<(), ModelError>) {
        self.open -= 1;
        let index = ticket.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        if let Some(Begun::Frame(work)) = index.and_then(|i| self.begun.get_mut(i)) {
            work.left -= 1;
            work.found[place] = new;
            work.error = work.error.take().or(result.err());
        }
    }

    /// Tells report of everything that is done and has nothing undone before it, as far as there is room: lookers do not wait for report,
    /// for it may wait for one of them.
    fn tell(&mut self, ways: &Ways) -> Result<(), GiveUp> {
        if self.reported {
            return Err(GiveUp);
        }
        self.waits_for_report = false;
        while !matches!(self.begun.front(), None | Some(Begun::Frame(Work { left: 1.., .. }))) {
            if ways.to.is_full() {
                self.waits_for_report = true;
                return Ok(());
            }
            let Some(done) = self.begun.pop_front() else { return Ok(()) };
            self.first += 1;
            match done {
                Begun::Note { camera, at, note } => {
                    let eye = &mut self.eyes[usize::from(camera.0)];
                    let tracks = if note.is_offline() {
                        eye.hindsight.forget();
                        eye.faces = eye.faces.as_ref().map(|_| FacePace::new(eye.every_frame));
                        eye.tracker.finish()
                    } else {
                        Vec::new()
                    };
                    ways.to.send(Seen::Note { camera, at, note, tracks }).map_err(|_| GiveUp)?;
                }
                Begun::Frame(work) => self.frame(work, ways)?,
            }
        }
        Ok(())
    }

    /// Keeps the lists of a frame for the next.
    fn keep(&mut self, mut looked: Vec<Region>, mut found: Vec<Vec<Detection>>) {
        looked.clear();
        self.spares.regions.push(looked);
        self.spares.found.extend(found.drain(..).map(|mut list| {
            list.clear();
            list
        }));
        self.spares.lists.push(found);
    }

    fn frame(&mut self, work: Work, ways: &Ways) -> Result<(), GiveUp> {
        let Work { stamp, size, received, mut frame, moved, looked, mut found, error, .. } = work;
        let ledger = &self.ledgers[usize::from(stamp.camera.0)];
        let eye = &mut self.eyes[usize::from(stamp.camera.0)];
        if !looked.is_empty() {
            eye.in_work -= 1;
            eye.hindsight.remember(&eye.tracker);
        }
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
            let _ = frame.map(|frame| ways.frame_free.try_send(frame));
            self.keep(looked, found);
            return Ok(());
        }
        if looked.is_empty() {
            eye.tracker.unlooked(stamp.at, moved.boxes());
            Ledger::count(&ledger.still);
        } else {
            self.failures = 0;
            Ledger::count(&ledger.inferred);
            merge(&mut found, &looked, size, self.nms_iou, &mut self.order, &mut self.merged, &mut self.detections);
            if let Some(wanted) = &eye.wanted {
                self.detections.retain(|d| wanted.contains(&d.class));
            }
            eye.tracker.update(stamp.at, size, &self.detections, &looked);
        }
        let is_looked = !looked.is_empty();
        let faces = eye.faces.as_mut().filter(|_| is_looked);
        let wanted = faces.is_some_and(|pace| pace.due(stamp.at, self.person, eye.tracker.tracks()));
        if let Some(frame) = frame.take_if(|_| !wanted) {
            let _ = ways.frame_free.try_send(frame);
        }
        let mut sheet = ways.sheets.try_recv().unwrap_or_default();
        sheet.write(&eye.tracker);
        self.keep(looked, found);
        ways.to.send(Seen::Frame { frame, looked: is_looked, stamp, size, received, sheet }).map_err(|_| GiveUp)
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
