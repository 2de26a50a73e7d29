//! What the pipeline asks of the allocator once it is running: nothing for a frame.
//!
//! A program of its own, because its allocator counts for the whole process. The real stages run on a busy made-up scene; only
//! inference is canned: a "model" that finds the even patches the scene is made of, so that tracks, visits, zones and faces are as
//! lively as those of a real one. Counted are a thousand frames after a warm-up, by the stage whose thread asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use porchlight::emit::{Clock, Door, Hello};
use porchlight::event::line::Names;
use porchlight::event::{LineNo, ZoneNo};
use porchlight::flow::Ledger;
use porchlight::frame::{CameraId, MonoNs, PixelFormat, Range, RawFrame, Stamp};
use porchlight::geom::Size;
use porchlight::governor::Governor;
use porchlight::labels::{Labels, PERSON};
use porchlight::model::ModelError;
use porchlight::model::card::{self, Card};
use porchlight::model::detector::Detector;
use porchlight::model::infer::{Infer, OutputView, Runtime, TensorInfo};
use porchlight::pipeline::{self, Camera, Parts};
use porchlight::scene::places::{Line, Places, Zone};
use porchlight::seal::{Opened, Wanted};
use porchlight::source::replay::{self, Options};
use porchlight::source::{FrameSource, Pulled, SourceError, SourceInfo};
use porchlight::watch::Meter;

/// Counts what each thread asks for, and hands it to the system's allocator.
struct Counting;

/// Threads that can be told apart; those after them share the last place.
const MOST: usize = 64;
const NOBODY: usize = usize::MAX;

static NEXT: AtomicUsize = AtomicUsize::new(0);
static THREADS: [AtomicI32; MOST] = [const { AtomicI32::new(0) }; MOST];
static COUNTS: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
/// How many more are to be told on stderr with the way that led to them.
static TRACES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Made at compile time and never dropped: to have it takes no allocation.
    static PLACE: Cell<usize> = const { Cell::new(NOBODY) };
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if PLACE.get() == NOBODY {
        let place = NEXT.fetch_add(1, Ordering::Relaxed).min(MOST - 1);
        PLACE.set(place);
        THREADS[place].store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }
    COUNTS[PLACE.get()].fetch_add(1, Ordering::Relaxed);
    let one_less = |n: usize| n.checked_sub(1);
    if !TRACING.get() && TRACES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        TRACING.set(true);
        eprintln!("{:?}: {}", std::thread::current().name(), std::backtrace::Backtrace::force_capture());
        TRACING.set(false);
    }
}

#[allow(unsafe_code)] // there is no other way to see allocations from inside
// SAFETY: every call goes on to the system's allocator as it came, and what that answers is given back; counting neither reads nor
// writes the memory, and an allocation that it makes itself (a trace) comes here again and goes the same way.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the one of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames before counting begins, and frames that are counted.
const WARM_UP: u64 = 600;
const COUNTED: u64 = 1000;
/// The scene comes back to where it began after so many frames.
const PERIOD: u64 = 200;
const FPS: u64 = 30;
const SIZE: Size = Size::new(640, 360);

/// An upright patch of one luma that goes to and fro.
struct Patch {
    luma: u8,
    width: u32,
    height: u32,
    top: u32,
    /// Where its left edge is at the ends of its way.
    from: u32,
    to: u32,
    /// How often it goes there and back in a period; 0: it stands.
    rounds: u64,
    /// Column of the model's scores.
    column: usize,
}

const PERSON_COLUMN: usize = 1;
const CAR_COLUMN: usize = 3;

/// Between two patches' lumas lie 12 steps, which no encoder in use here blurs.
const PATCHES: [Patch; 8] = [
    Patch { luma: 110, width: 50, height: 130, top: 40, from: 10, to: 300, rounds: 1, column: PERSON_COLUMN },
    Patch { luma: 122, width: 50, height: 130, top: 60, from: 320, to: 20, rounds: 1, column: PERSON_COLUMN },
    Patch { luma: 134, width: 60, height: 180, top: 170, from: 420, to: 570, rounds: 2, column: PERSON_COLUMN },
    Patch { luma: 146, width: 40, height: 100, top: 20, from: 400, to: 580, rounds: 1, column: PERSON_COLUMN },
    Patch { luma: 158, width: 120, height: 60, top: 280, from: 0, to: 250, rounds: 1, column: CAR_COLUMN },
    Patch { luma: 170, width: 40, height: 90, top: 180, from: 40, to: 120, rounds: 3, column: PERSON_COLUMN },
    Patch { luma: 182, width: 90, height: 50, top: 220, from: 250, to: 330, rounds: 1, column: CAR_COLUMN },
    Patch { luma: 194, width: 45, height: 110, top: 120, from: 360, to: 360, rounds: 0, column: PERSON_COLUMN },
];

impl Patch {
    fn left(&self, frame: u64) -> u32 {
        let half = PERIOD / 2;
        let phase = frame * self.rounds % PERIOD;
        let way = if phase < half { phase } else { PERIOD - phase };
        let (from, to) = (self.from as i64, self.to as i64);
        (from + (to - from) * way as i64 / half as i64) as u32
    }
}

/// The luma of a frame of the scene, row after row.
fn paint(frame: u64, luma: &mut [u8]) {
    let width = SIZE.width as usize;
    for (y, row) in luma.chunks_exact_mut(width).enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = (40 + (x / 8 + y / 8) % 40) as u8;
        }
    }
    for patch in &PATCHES {
        let left = patch.left(frame) as usize;
        for row in luma.chunks_exact_mut(width).skip(patch.top as usize).take(patch.height as usize) {
            row[left..left + patch.width as usize].fill(patch.luma);
        }
    }
}

/// How often the model says each of its boxes.
const SAME: usize = 9;

/// What a session would tell of its tensors.
fn info(name: &str, dims: Vec<i64>) -> TensorInfo {
    TensorInfo { name: name.to_owned(), kind: format!("Float32 {dims:?}"), dims, is_f32: true }
}

/// Finds the patches in its input and says so in the default object model's tensors.
struct SeesPatches {
    inputs: [TensorInfo; 1],
    outputs: [TensorInfo; 2],
    boxes: Vec<f32>,
    scores: Vec<f32>,
    columns: usize,
    /// The value of luma 1 in the tensor, and of luma 0.
    gain: f32,
    bias: f32,
}

impl SeesPatches {
    const SIDE: usize = 300;
    const ANCHORS: usize = 1917;

    fn new(card: &Card, range: Range) -> Self {
        let columns = card.labels.len();
        // Video range to 0..=255, then the card's mean and deviation.
        let (gain, bias) = if range == Range::Limited { (255.0 / 219.0, -16.0 * 255.0 / 219.0) } else { (1.0, 0.0) };
        Self {
            inputs: [info(&card.input.tensor, vec![1, 3, Self::SIDE as i64, Self::SIDE as i64])],
            outputs: [
                info(&card.tensors[0], vec![1, Self::ANCHORS as i64, 4]),
                info(&card.tensors[1], vec![1, Self::ANCHORS as i64, columns as i64]),
            ],
            boxes: vec![0.0; Self::ANCHORS * 4],
            scores: vec![0.0; Self::ANCHORS * columns],
            columns,
            gain: gain / card.input.std[0],
            bias: (bias - card.input.mean[0]) / card.input.std[0],
        }
    }
}

impl Infer for SeesPatches {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(
        &mut self,
        _shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let side = Self::SIDE;
        let mut found = [[usize::MAX, usize::MAX, 0, 0]; PATCHES.len()];
        let patch_of = |value: f32| {
            let luma = (value - self.bias) / self.gain;
            PATCHES.iter().position(|p| (luma - f32::from(p.luma)).abs() < 4.0)
        };
        for y in (0..side - 3).step_by(2) {
            for x in (0..side - 3).step_by(2) {
                let Some(which) = patch_of(data[y * side + x]) else { continue };
                // An edge that was blurred is no patch.
                let same = |x: usize, y: usize| patch_of(data[y * side + x]) == Some(which);
                if same(x + 3, y) && same(x, y + 3) {
                    let [x0, y0, x1, y1] = &mut found[which];
                    (*x0, *y0, *x1, *y1) = ((*x0).min(x), (*y0).min(y), (*x1).max(x + 3), (*y1).max(y + 3));
                }
            }
        }
        self.scores.fill(0.0);
        for (which, [x0, y0, x1, y1]) in found.into_iter().enumerate() {
            if x0 >= x1 || y0 >= y1 || (x1 - x0) * (y1 - y0) < 100 {
                continue;
            }
            // The first anchor of one cell each, in the first row of the finest grid: a tenth of the input, square.
            let (ax, ay, anchor) = ((which as f32 + 0.5) / 19.0, 0.5 / 19.0, 0.1);
            let unit = |v: usize| v as f32 / side as f32;
            let (cx, cy) = ((unit(x0) + unit(x1)) / 2.0, (unit(y0) + unit(y1)) / 2.0);
            let offsets = [
                (cy - ay) / anchor * 10.0,
                (cx - ax) / anchor * 10.0,
                ((unit(y1) - unit(y0)) / anchor).ln() * 5.0,
                ((unit(x1) - unit(x0)) / anchor).ln() * 5.0,
            ];
            // As other models do, several boxes for one object, for suppression to choose from.
            for copy in 0..SAME {
                // The same anchor in the next rows.
                let (index, row) = ((copy * 19 + which) * 3, copy as f32);
                let offsets = [offsets[0] - row / 19.0 / anchor * 10.0, offsets[1], offsets[2], offsets[3]];
                self.boxes[index * 4..][..4].copy_from_slice(&offsets);
                self.scores[index * self.columns + PATCHES[which].column] =
                    0.7 + 0.02 * which as f32 + 0.01 * (copy * 5 % SAME) as f32;
            }
        }
        read(&[
            OutputView { name: "box", dims: &[], data: &self.boxes },
            OutputView { name: "score", dims: &[], data: &self.scores },
        ])
    }
}

/// Says that there is the same face in the same place of whatever it is shown, in the default face model's tensors.
struct SeesAFace {
    inputs: [TensorInfo; 1],
    outputs: Vec<TensorInfo>,
    /// For each output, as many values as the largest input wants.
    values: Vec<Vec<f32>>,
}

impl SeesAFace {
    const STRIDES: [usize; 3] = [8, 16, 32];
    const PER_CELL: [usize; 4] = [1, 1, 4, 10];
    const LARGEST: usize = 640 * 640;

    fn new(card: &Card) -> Self {
        let per_cell = Self::PER_CELL.iter().flat_map(|n| Self::STRIDES.map(|stride| (stride, *n)));
        let mut values: Vec<Vec<f32>> =
            per_cell.map(|(stride, n)| vec![0.0; Self::LARGEST / (stride * stride) * n]).collect();
        // In cells of 16 pixels: one face a little right of the corner, which is where a head region has it.
        for cell in [3, 47, 95] {
            values[1][cell] = 1.0;
            values[4][cell] = 1.0;
            values[7][cell * 4..][..4].copy_from_slice(&[0.0, 0.0, 0.5, 0.5]);
            values[10][cell * 10..][..10].copy_from_slice(&[-0.4, -0.4, 0.4, -0.4, 0.0, 0.0, -0.3, 0.4, 0.3, 0.4]);
        }
        let outputs = card.tensors.iter().map(|name| info(name, vec![1, -1, -1])).collect();
        Self { inputs: [info(&card.input.tensor, vec![1, 3, -1, -1])], outputs, values }
    }
}

impl Infer for SeesAFace {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(
        &mut self,
        shape: [usize; 4],
        _data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        // As the session hands them out: all parts of a level, then the next level.
        let mut views = [OutputView { name: "", dims: &[], data: &[] }; 12];
        for (level, stride) in Self::STRIDES.into_iter().enumerate() {
            let cells = (shape[2] / stride) * (shape[3] / stride);
            for (part, n) in Self::PER_CELL.into_iter().enumerate() {
                let data = &self.values[part * Self::STRIDES.len() + level][..cells * n];
                views[level * Self::PER_CELL.len() + part] = OutputView { name: "", dims: &[], data };
            }
        }
        read(&views)
    }
}

/// The scene as a camera gives it, raw.
struct Raw {
    info: SourceInfo,
    luma: Vec<u8>,
    next: u64,
}

impl Raw {
    fn new() -> Self {
        let (name, format) = ("made up".to_owned(), PixelFormat::Yuyv);
        let info = SourceInfo { name, size: Some(SIZE), fps: FPS as f64, format, live: false };
        Self { info, luma: vec![0; SIZE.pixels()], next: 0 }
    }
}

impl FrameSource for Raw {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut data: Vec<u8>) -> Result<Pulled, SourceError> {
        let seq = self.next;
        self.next += 1;
        let at = MonoNs(seq * 1_000_000_000 / FPS);
        let stamp = Stamp { camera: CameraId(0), seq, driver_seq: seq, at };
        paint(seq, &mut self.luma);
        data.resize(SIZE.pixels() * 2, 128);
        data.chunks_exact_mut(2).zip(&self.luma).for_each(|(pixel, luma)| pixel[0] = *luma);
        let (format, stride) = (self.info.format, SIZE.width as usize * 2);
        Ok(Pulled::Frame(RawFrame { stamp, format, size: Some(SIZE), stride, range: Range::Limited, data }))
    }
}

/// What was counted when counting began and when it ended.
#[derive(Default)]
struct Tally {
    /// Of each place, the name of its thread.
    names: Vec<String>,
    before: Vec<u64>,
    after: Vec<u64>,
    lines_before: u64,
    lines_after: u64,
}

/// Lines that were written so far.
static LINES: AtomicU64 = AtomicU64::new(0);

/// Hands frames on, looks at the counts at the beginning and at the end, and ends the stream then.
struct Measured {
    inner: Box<dyn FrameSource>,
    given: u64,
    tally: Arc<Mutex<Tally>>,
}

impl FrameSource for Measured {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if self.given == WARM_UP {
            tally.names = THREADS.iter().map(|id| name_of(id.load(Ordering::Relaxed))).collect();
            tally.after.reserve(MOST);
            tally.lines_before = LINES.load(Ordering::Relaxed);
            tally.before = COUNTS.iter().map(|n| n.load(Ordering::Relaxed)).collect();
            // The list itself.
            tally.before[PLACE.get()] += 1;
            if let Some(n) = std::env::var("PORCHLIGHT_TRACE_ALLOCATIONS").ok().and_then(|n| n.parse().ok()) {
                TRACES.store(n, Ordering::Relaxed);
            }
            tally.before[PLACE.get()] = COUNTS[PLACE.get()].load(Ordering::Relaxed);
        }
        if self.given == WARM_UP + COUNTED {
            tally.after.extend(COUNTS.iter().map(|n| n.load(Ordering::Relaxed)));
            tally.lines_after = LINES.load(Ordering::Relaxed);
            TRACES.store(0, Ordering::Relaxed);
            return Ok(Pulled::End);
        }
        self.given += 1;
        self.inner.next(buffer)
    }
}

fn name_of(thread: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// A reader that counts lines, and keeps those that should not be.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
}

impl Write for Reader {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        if line.windows(13).any(|w| w == b"\"type\":\"fault") {
            self.faults.push(String::from_utf8_lossy(line).into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Allocations of each thread in [`COUNTED`] frames, and lines written meanwhile; frames looked at in the whole run.
#[derive(Debug)]
struct Counted {
    stages: Vec<(String, u64)>,
    lines: u64,
    inferred: u64,
}

impl Counted {
    fn of(&self, stage: &str) -> u64 {
        self.stages.iter().filter(|(name, _)| name.starts_with(stage)).map(|(_, n)| n).sum()
    }
}

fn load(name: &str) -> Card {
    Card::load(&card::find(name).expect("committed")).expect("a good card")
}

/// One pipeline at a time: threads are told apart by their names.
static TURN: Mutex<()> = Mutex::new(());

/// Runs the pipeline on the scene.
fn run(source: Box<dyn FrameSource>, range: Range) -> Counted {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut labels = Labels::default();
    let objects = load("ssdlite-mobilenet-v2");
    let looker = |labels: &mut Labels| {
        Detector::new(objects.clone(), Box::new(SeesPatches::new(&objects, range)), labels).expect("fits the card")
    };
    let lookers = vec![looker(&mut labels), looker(&mut labels)];
    let faces = load("yunet");
    let canned = Box::new(SeesAFace::new(&faces));
    let faces = Detector::new(faces, canned, &mut labels).expect("fits the card");
    let person_class = labels.id(PERSON);
    let zone =
        |no, points: [[f32; 2]; 4]| Zone { no: ZoneNo(no), points: points.to_vec(), labels: None, dwell_ms: Some(500) };
    let zones = vec![
        zone(0, [[0.0, 0.4], [0.3, 0.4], [0.3, 1.0], [0.0, 1.0]]),
        zone(1, [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]),
    ];
    let lines = vec![Line { no: LineNo(0), from: [0.25, 0.0], to: [0.25, 1.0], labels: None }];
    let tally = Arc::new(Mutex::new(Tally::default()));
    let live = source.info().live;
    let camera = Camera {
        name: "front".into(),
        source: Box::new(Measured { inner: source, given: 0, tally: Arc::clone(&tally) }),
        wanted: None,
        faces: true,
        single: false,
        places: Places::new(zones, lines),
    };
    let clock = if live { Clock::Live } else { Clock::Replay { start_ms: 1_795_392_000_000 } };
    let names = Names::new(vec!["front".into()], labels)
        .with_places(vec![vec!["porch".into(), "road".into()]], vec![vec!["gate".into()]]);
    let nowhere = Path::new("/nonexistent");
    let governor = Governor::open(None, nowhere);
    let door = Door {
        hello: Hello { models: Vec::new(), config_sha256: "0".repeat(64), cameras: Vec::new() },
        names,
        clocks: vec![clock],
        clock,
        boot: 1,
        after_death: None,
        deterministic: false,
        bytes_per_second: 4096,
        ledgers: Arc::new([Ledger::default()]),
        meter: Meter::below(nowhere, governor.hot()),
    };
    let ledgers = Arc::clone(&door.ledgers);
    let parts = Parts {
        cameras: vec![camera],
        objects: lookers,
        object_score: 0.5,
        faces: Some(faces),
        identity: None,
        news: None,
        governor,
        person_class,
        every_frame: false,
        stats_every: Duration::from_secs(2),
        stop: Arc::new(AtomicBool::new(false)),
        door,
    };
    let unsealed = Opened::new((), Wanted::Nothing).confine().expect("nothing to do");
    let (sealed, ()) = unsealed.warm(Ok::<(), ()>).expect("nothing to do").seal().expect("nothing to do");
    let mut reader = Reader::default();
    let outcome = std::thread::scope(|scope| {
        let work = || pipeline::run(&sealed, parts, &mut reader, |_| false);
        let writer = std::thread::Builder::new().name("writer".into()).spawn_scoped(scope, work).expect("a thread");
        writer.join().expect("no panic")
    });
    assert!(!outcome.panicked && !outcome.model_failed && !outcome.source_failed, "{outcome:?}");
    assert!(reader.faults.is_empty(), "{:?}", reader.faults);
    let counts = ledgers[0].counts();
    assert_eq!((counts.captured, counts.undecodable), (WARM_UP + COUNTED, 0));
    let tally = tally.lock().expect("nobody panicked");
    let grown = tally.after.iter().zip(&tally.before).map(|(after, before)| after - before);
    let stages = tally.names.iter().cloned().zip(grown).filter(|(name, _)| !name.is_empty()).collect();
    let lines = tally.lines_after - tally.lines_before;
    let counted = Counted { stages, lines, inferred: counts.inferred };
    eprintln!("{counted:?}");
    counted
}

const STAGES: [&str; 6] = ["capture", "scout", "looker", "vision", "report", "writer"];

/// What a stage may ask for in all the frames that are counted, lines and `stats` included: buffers because it has never been so far
/// behind (each place on the way has one in the end: eight frames with their pixels), and lists that have never been so long. What
/// is asked for in every frame or with every line would be more.
const GROWTH: u64 = 16;

/// The same for the lookers, together: each keeps tables for the sizes of regions that it has met, eight across and eight down, and they grow
/// to the largest. There are 1500 looks and more, so that one allocation a look would be far beyond it.
const TABLES: u64 = 100;

/// The same for report, which looks for faces: whole frames and heads, 166 times in that time.
const HEADS: u64 = 50;

fn check(counted: &Counted) {
    for stage in STAGES {
        let found = counted.of(stage);
        let allowed = match stage {
            "looker" => TABLES,
            "report" => HEADS,
            _ => GROWTH,
        };
        assert!(
            found <= allowed,
            "{stage}: {found} allocations in {COUNTED} frames; PORCHLIGHT_TRACE_ALLOCATIONS=20 shows"
        );
    }
}

#[test]
fn raw_frames_cost_no_allocation() {
    let counted = run(Box::new(Raw::new()), Range::Limited);
    assert!(counted.lines > 100 && counted.inferred > COUNTED, "a busy scene: {counted:?}");
    check(&counted);
}

/// A clip of JPEGs with halved colours, of one frame after another of those.
fn clip(frames: impl Iterator<Item = u64>) -> (tempfile::TempDir, Box<dyn FrameSource>) {
    let mut luma = vec![0; SIZE.pixels()];
    let encode = |n: u64| {
        paint(n, &mut luma);
        let rgb: Vec<u8> = luma.iter().flat_map(|l| [*l; 3]).collect();
        let mut jpeg = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
        jpeg.set_size(SIZE.width as usize, SIZE.height as usize);
        jpeg.set_fastest_defaults();
        jpeg.set_quality(90.0);
        jpeg.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
        let mut started = jpeg.start_compress(Vec::new()).expect("starts");
        started.write_scanlines(&rgb).expect("encodes");
        started.finish().expect("ends")
    };
    let frames: Vec<Vec<u8>> = frames.map(encode).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scene.mjpeg");
    let mut file = std::fs::File::create(&path).expect("made");
    for jpeg in frames.iter().cycle().take((WARM_UP + COUNTED + 1) as usize) {
        file.write_all(jpeg).expect("room on the disk");
    }
    let options = Options { fps: Some(FPS as f64), ..Options::default() };
    let source = replay::open(path.to_str().expect("plain"), &options).expect("opens");
    (dir, source)
}

#[test]
fn jpegs_cost_no_allocation() {
    let (_dir, source) = clip(0..PERIOD);
    let counted = run(source, Range::Full);
    assert!(counted.lines > 100 && counted.inferred > COUNTED, "a busy scene: {counted:?}");
    check(&counted);
}

/// Where nothing moves, most frames are not decoded.
#[test]
fn a_calm_scene_costs_no_allocation() {
    let (_dir, source) = clip(0..1);
    let counted = run(source, Range::Full);
    assert!(counted.inferred < COUNTED / 10, "a calm scene: {counted:?}");
    check(&counted);
}

/// What ONNX Runtime itself takes comes from its arena and the C++ library and is not seen here.
#[test]
fn an_inference_costs_no_allocation_of_ours() {
    const TIMES: u64 = 20;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let card = load("ssdlite-mobilenet-v2");
    let runtime = Runtime::load().expect("cargo xtask setup");
    let weights = card.verified_weights().expect("committed");
    let mut session = runtime.session(&card.name, &weights, 1, &card.tensors).expect("loads");
    let side = SeesPatches::SIDE;
    let input = vec![0.5; 3 * side * side];
    let mut infer = || session.run([1, 3, side, side], &input, &mut |_| Ok(())).expect("runs");
    infer();
    let asked = || COUNTS[PLACE.get()].load(Ordering::Relaxed);
    let before = asked();
    (0..TIMES).for_each(|_| infer());
    assert_eq!(asked() - before, 0);
}
