//! The busy clip, and the stages of a run over it one after another, for the benchmarks that need them.
#![allow(dead_code)] // each of them uses a part

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use porchlight::attention::Attention;
use porchlight::decode::{Decoder, Limits};
use porchlight::frame::{Frame, MonoNs, PixelFormat, Range, RawFrame, Stamp};
use porchlight::labels::Labels;
use porchlight::model::ModelError;
use porchlight::model::card::{self, Card};
use porchlight::model::detector::Detector;
use porchlight::model::infer::{Infer, OutputView, Runtime, TensorInfo};
use porchlight::motion::Motion;
use porchlight::pipeline::Hindsight;
use porchlight::source::mjpeg::{Split, Splitter};
use porchlight::track::Tracker;

/// The liveliest part of the sample, in frames: two persons cross.
const BUSY: std::ops::Range<usize> = 243..294;
const REPEATS: usize = 4;
/// Frames a second of the clip.
pub(crate) const FPS: u64 = 15;

/// The encoded frames of the clip.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/porch.mjpeg");
    let mut splitter = Splitter::new(64 << 20);
    splitter.feed(&std::fs::read(path).expect("committed"));
    splitter.finish();
    let mut all = Vec::new();
    let mut frame = Vec::new();
    while let Split::Frame(_) = splitter.next(&mut frame) {
        all.push(std::mem::take(&mut frame));
    }
    let part = &all[BUSY];
    (0..REPEATS).flat_map(|_| part.iter().cloned()).collect()
}

/// Frame `seq` of the clip as a source gives it.
pub(crate) fn raw(seq: u64, bytes: &[u8]) -> RawFrame {
    let at = MonoNs(seq * 1_000_000_000 / FPS);
    let stamp = Stamp { seq, driver_seq: seq, at, ..Stamp::default() };
    let (format, range) = (PixelFormat::Mjpg, Range::Full);
    RawFrame { stamp, format, size: None, stride: 0, range, data: bytes.to_vec() }
}

/// A committed card.
pub(crate) fn card(name: &str) -> Card {
    Card::load(&card::find(name).expect("committed")).expect("a good card")
}

/// One inference: of which frame, by which session, on which input.
#[derive(Clone)]
pub(crate) struct Work {
    /// The frame's number.
    pub(crate) frame: usize,
    /// `objects` or `faces`.
    pub(crate) model: &'static str,
    /// Of the input.
    pub(crate) shape: [usize; 4],
    /// In the session.
    pub(crate) session: Duration,
    /// Reading its outputs: boxes, suppression.
    pub(crate) reading: Duration,
}

/// Notes what it is asked to run.
struct Recorder {
    model: &'static str,
    inner: Box<dyn Infer>,
    log: Arc<Mutex<Vec<Work>>>,
}

impl Infer for Recorder {
    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }
    fn outputs(&self) -> &[TensorInfo] {
        self.inner.outputs()
    }
    fn run(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut reading = Duration::ZERO;
        let began = Instant::now();
        let result = self.inner.run(shape, data, &mut |outputs| {
            let began = Instant::now();
            let result = read(outputs);
            reading += began.elapsed();
            result
        });
        let session = began.elapsed().saturating_sub(reading);
        self.log.lock().expect("one thread").push(Work { frame: 0, model: self.model, shape, session, reading });
        result
    }
}

/// Stages in the order of a frame's way; `detect` is all of a detector's work but its session and the reading of its outputs, which are in
/// the [`Work`].
pub(crate) const STAGES: [&str; 5] = ["decode", "motion", "attention", "prepare and bookkeeping", "track"];

/// What one frame took, by stage.
pub(crate) type Laps = [Duration; STAGES.len()];

/// What the stages of a run ask of the models, one after another on one thread with sessions of `threads` threads, and what each stage
/// took of each frame.
pub(crate) fn record(runtime: &Runtime, frames: &[Vec<u8>], threads: usize) -> (Vec<Work>, Vec<Laps>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut labels = Labels::default();
    let mut load = |model: &'static str, name: &str| {
        let card = card(name);
        let weights = card.verified_weights().expect("committed");
        let inner = Box::new(runtime.session(name, &weights, threads, &card.tensors).expect("loads"));
        let inner = Box::new(Recorder { model, inner, log: Arc::clone(&log) });
        let mut detector = Detector::new(card, inner, &mut labels).expect("fits");
        detector.warm_up().expect("runs");
        detector
    };
    let (mut objects, mut faces) = (load("objects", "ssdlite-mobilenet-v2"), load("faces", "yunet"));
    log.lock().expect("one thread").clear();
    let mut decoder = Decoder::new(Limits::default());
    let mut motion = Motion::new(porchlight::motion::Settings::default());
    let mut attention = Attention::new(porchlight::attention::Settings::default());
    let mut tracker = Tracker::new(porchlight::track::Settings::default());
    let mut hindsight = Hindsight::default();
    let person = labels.id(porchlight::labels::PERSON);
    let mut looker = porchlight::pipeline::FaceLook::new(person);
    let mut pace = porchlight::pipeline::FacePace::default();
    let mut frame = Frame::new();
    let (mut found, mut looked, mut laps) = (Vec::new(), Vec::new(), Vec::new());
    for (seq, bytes) in frames.iter().enumerate() {
        let mut raw = raw(seq as u64, bytes);
        let at = raw.stamp.at;
        let mut lap = Laps::default();
        let mut since = Instant::now();
        let mut next = |stage: usize, lap: &mut Laps| {
            let now = Instant::now();
            lap[stage] += now - since;
            since = now;
        };
        decoder.decode(&mut raw, &mut frame).expect("a good frame");
        next(0, &mut lap);
        let size = frame.size();
        let verdict = motion.look(at, &frame);
        next(1, &mut lap);
        looked.clear();
        let look = if hindsight.lags() {
            attention.choose(at, size, &verdict, hindsight.predicted(at))
        } else {
            attention.choose(at, size, &verdict, tracker.predicted(at))
        };
        looked.extend(look.all(size));
        hindsight.begun(!looked.is_empty());
        if !looked.is_empty() {
            hindsight.remember(&tracker);
        }
        next(2, &mut lap);
        if looked.is_empty() {
            tracker.unlooked(at, verdict.boxes);
            next(4, &mut lap);
        } else {
            let first = log.lock().expect("one thread").len();
            objects.detect_regions(&frame, &looked, 1, 0.25, &mut found).expect("runs");
            next(3, &mut lap);
            tracker.update(at, size, &found, &looked);
            let tracks: Vec<_> = tracker.tracks().copied().collect();
            next(4, &mut lap);
            if pace.due(at, person, &tracks) {
                looker.look(&mut faces, &frame, &tracks, &mut found).expect("runs");
                next(3, &mut lap);
            }
            for work in &mut log.lock().expect("one thread")[first..] {
                work.frame = seq;
                lap[3] = lap[3].saturating_sub(work.session + work.reading);
            }
        }
        laps.push(lap);
    }
    drop((objects, faces));
    (Arc::into_inner(log).expect("nobody else has it").into_inner().expect("one thread"), laps)
}

/// A process and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|p| p.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}

/// The middle one, and the least and the greatest.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => (0.0, 0.0, 0.0),
        _ => (values[values.len() / 2], values[0], values[values.len() - 1]),
    }
}

/// The value below which that share of them lies, of the values that occurred.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get(((values.len() as f64 * share) as usize).min(last)).copied().unwrap_or(0.0)
}
