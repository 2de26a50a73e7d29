//! `bench`: speed of models and of the whole program, with a judgement of the measurement.
//!
//! A model is measured twice in turns: *ours* (preprocessing, session, decoding, suppression) and *bare* (the session alone, with the
//! same tensor), so that what else the machine does hits both. A turn is a tenth of the time asked for. `--threads` is always
//! the sum: the threads inside one session (single-stream), or single-threaded sessions side by side (multi-stream, offline).
//! What the samples say is worked out in [`crate::stats`], which knows no clock.

mod page;
mod program;

use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::detect::{picture, threads};
use super::{Failure, Printer, complain};
use crate::cli::{BenchArgs, Scenario};
use crate::exit::Exit;
use crate::face::embed::Embedder;
use crate::frame::{Frame, Stamp};
use crate::geom::{Point, Region, Size};
use crate::labels::Labels;
use crate::model::ModelError;
use crate::model::card::{Card, Task, find};
use crate::model::detector::{Batch, Detector, check_input, takes};
use crate::model::infer::{Infer, OrtSession, Runtime};
use crate::model::prep::{LongSide, Prep};
use crate::stats::{self, Evidence, Judgement, Ratio, Summary};
use crate::watch::Meter;

/// Turns of a measurement.
const TURNS: u32 = 10;
/// Samples kept of one turn; a model that is faster than that is thinned out, evenly.
const MOST_SAMPLES: usize = 20_000;
/// Of the form of `--json`.
const FORM: u32 = 1;
/// Largest result that `compare` reads.
const MAX_RESULT: u64 = 512 << 20;

/// Everything one call of `bench` found out.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    porchlight: String,
    form: u32,
    machine: Machine,
    runtime: Option<Library>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Machine {
    processors: usize,
    processor: Option<String>,
    governor: Option<String>,
    /// Before and after, degrees Celsius; null without a sensor.
    temp_c: [Option<f64>; 2],
    /// Load of the last minute when the measurement began.
    load: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Library {
    path: String,
    build: String,
}

/// One measurement.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    /// A model's name; the clip's for the pipeline.
    subject: String,
    /// Of the weights; null for the pipeline, whose `program.models` has them.
    sha256: Option<String>,
    scenario: String,
    threads: u32,
    batch: u32,
    /// Pictures of one sample: the streams of multi-stream, the frames of a run.
    pictures: u64,
    /// What is in a sample.
    unit: String,
    ours: Side,
    /// Null where there is nothing of ours to compare with, or no bare session.
    bare: Option<Side>,
    /// Our pictures a second over those of the bare session, percent.
    percent_of_bare: Option<f64>,
    /// Of the bare session's median to ours, with its interval.
    against_bare: Option<Ratio>,
    /// From the file to the first answer, milliseconds: load, first inference.
    cold_start_ms: Option<[f64; 2]>,
    /// What the sessions added to the process, or the greatest of the program, bytes.
    rss_bytes: u64,
    /// Median of the last fifth over the first.
    last_over_first: Option<f64>,
    judgement: Judgement,
    /// Of the pipeline.
    program: Option<program::Detail>,
}

/// What was measured of one of the two.
#[derive(Debug, Serialize, Deserialize)]
struct Side {
    /// `null` only for a report that somebody else wrote.
    summary: Option<Summary>,
    pictures_per_second: f64,
    cpu_ms_per_picture: f64,
    /// Raw, in the order they were taken; a list for each turn.
    turns: Vec<Vec<f64>>,
}

/// Sums over the turns of one side.
#[derive(Default)]
struct Tally {
    turns: Vec<Vec<f64>>,
    pictures: u64,
    wall: Duration,
    cpu: Duration,
    waited: Option<Duration>,
}

impl Tally {
    fn side(&self) -> Side {
        let pictures = self.pictures.max(1) as f64;
        Side {
            summary: Summary::of(&self.turns.concat()),
            pictures_per_second: self.pictures as f64 / self.wall.as_secs_f64().max(1e-9),
            cpu_ms_per_picture: self.cpu.as_secs_f64() * 1e3 / pictures,
            turns: self.turns.clone(),
        }
    }
}

fn usage<T>(line: impl std::fmt::Display) -> Result<T, Failure> {
    Err(Failure::new(Exit::Usage, format!("bench: {line}")))
}

/// Refuses what would have no effect.
fn check(args: &BenchArgs) -> Result<(), Failure> {
    let pipeline = args.scenario == Scenario::Pipeline;
    let only = |given: bool, flag: &str, wanted: &str| match given {
        true => usage(format_args!("--{flag} has no effect with --scenario {}: {wanted}", args.scenario.word())),
        false => Ok(()),
    };
    only(pipeline && !args.models.is_empty(), "model", "the pipeline runs the models that are configured")?;
    only(pipeline && args.batch.is_some(), "batch", "remove it")?;
    only(pipeline && args.warm_up.is_some(), "warm-up", "each run warms up before its first frame")?;
    only(!pipeline && !args.sources.is_empty(), "source", "it is the clip of --scenario pipeline")?;
    only(!pipeline && args.fps.is_some(), "fps", "it is the rate of the clip of --scenario pipeline")?;
    only(args.scenario != Scenario::MultiStream && args.streams.is_some(), "streams", "it is for multi-stream")?;
    if args.scenario == Scenario::MultiStream && args.batch.is_some_and(|b| b > 1) {
        return usage("--batch has no effect with --scenario multi-stream: say how many with --streams");
    }
    let mut seen = Vec::new();
    for n in &args.threads {
        if seen.contains(n) {
            return usage(format_args!("--threads {n} is given twice: remove one"));
        }
        seen.push(*n);
    }
    if let Some((_, twice)) = args.models.iter().enumerate().find(|(i, name)| args.models[..*i].contains(name)) {
        return usage(format_args!("--model {twice} is given twice: remove one"));
    }
    Ok(())
}

pub(super) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    check(args)?;
    let meter = Meter::open();
    let text = |path: &str| std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned());
    let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
    let mut machine = Machine {
        processors: threads(),
        processor: cpuinfo
            .lines()
            .find(|l| l.starts_with("model name"))
            .and_then(|l| Some(l.split_once(':')?.1.trim().to_owned())),
        governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        temp_c: [meter.temp_c(), None],
        load: text("/proc/loadavg").and_then(|t| t.split_whitespace().next()?.parse().ok()),
    };
    let counts = if args.threads.is_empty() { vec![threads() as u32] } else { args.threads.clone() };
    let mut rows = Vec::new();
    let mut runtime = None;
    if args.scenario == Scenario::Pipeline {
        for &threads in &counts {
            rows.push(program::measure(args, threads)?);
        }
    } else {
        let names = if args.models.is_empty() {
            vec![crate::config::Config::resolve(&crate::cli::RunArgs::default(), None)?.objects.model]
        } else {
            args.models.clone()
        };
        let cards = names.iter().map(|n| find(n).and_then(|dir| Card::load(&dir))).collect::<Result<Vec<_>, _>>()?;
        if let ([card], [threads]) = (cards.as_slice(), counts.as_slice()) {
            card.licence_warning().iter().for_each(|warning| complain(warning));
            let library = Runtime::load()?;
            runtime = Some(Library { path: library.path().display().to_string(), build: library.build() });
            rows.push(model(args, &library, card, *threads, &meter)?);
        } else {
            for name in &names {
                for &threads in &counts {
                    let part = alone(args, name, threads)?;
                    rows.extend(part.rows);
                    runtime = part.runtime;
                }
            }
        }
    }
    machine.temp_c[1] = meter.temp_c();
    let report = Report { porchlight: env!("CARGO_PKG_VERSION").into(), form: FORM, machine, runtime, rows };
    if let Some(path) = &args.html {
        super::eval::write(path, &page::html(&report))?;
    }
    let text = if args.json { to_json(&report)? } else { page::table(&report) };
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

/// One of several measurements, in a process of its own: there its start is cold, and the memory is that of nobody else.
fn alone(args: &BenchArgs, name: &str, threads: u32) -> Result<Report, Failure> {
    let mut words: Vec<String> = ["bench", "--json", "--scenario", args.scenario.word()].map(str::to_owned).into();
    let numbers = [
        ("threads", Some(threads.to_string())),
        ("seconds", args.seconds.map(|v| v.to_string())),
        ("warm-up", args.warm_up.map(|v| v.to_string())),
        ("batch", args.batch.map(|v| v.to_string())),
        ("streams", args.streams.map(|v| v.to_string())),
        ("model", Some(name.to_owned())),
    ];
    words.extend(numbers.into_iter().filter_map(|(flag, value)| Some(format!("--{flag}={}", value?))));
    let internal = |what: String| Failure::new(Exit::Internal, format!("bench: {name}, {threads} threads: {what}"));
    let program = std::env::current_exe().map_err(|e| internal(format!("who am I: {e}")))?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().map_err(|e| internal(format!("cannot be started: {e}")))?;
    if !output.status.success() {
        return Err(said(output.status).unwrap_or_else(|| internal(format!("ended with {}", output.status))));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| internal(format!("printed what is no result: {e}")))
}

/// The failure of a child that has told it in its own line; `None` when it cannot have.
fn said(status: std::process::ExitStatus) -> Option<Failure> {
    let exit = match status.code()? {
        2 => Exit::Usage,
        3 => Exit::Model,
        4 => Exit::Source,
        5 => Exit::Seal,
        6 => Exit::Internal,
        _ => return None,
    };
    Some(Failure::new(exit, ""))
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|e| Failure::new(Exit::Internal, format!("bench: no JSON for the result: {e}")))
}

/// How far a measurement is, where somebody looks.
struct Progress(bool);

impl Progress {
    fn new() -> Self {
        Self(std::io::stderr().is_terminal())
    }

    fn say(&self, what: &str) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}

/// Our way from a picture to what is in it.
enum Ours {
    Detector(Box<Detector>),
    Embedder(Box<Embedder>),
}

/// A session and what it is given.
struct Bare {
    session: OrtSession,
    shape: [usize; 4],
    tensor: Vec<f32>,
}

/// Something that can be run once.
enum Subject {
    Ours(Ours),
    Bare(Bare),
}

impl Subject {
    fn once(&mut self, frame: &Frame, batch: usize) -> Result<(), ModelError> {
        match self {
            Self::Ours(Ours::Detector(detector)) => {
                let threshold = detector.card().score;
                let mut found = Vec::new();
                let looks = vec![(frame, Region::whole(frame.size())); batch];
                detector.detect_batch(&looks, batch, LongSide::Card, threshold, &mut found)?;
                std::hint::black_box(found);
                Ok(())
            }
            Self::Ours(Ours::Embedder(embedder)) => {
                let mut out = Vec::new();
                embedder.embed(frame, &vec![face(frame.size()); batch], &mut out)?;
                std::hint::black_box(&out);
                Ok(())
            }
            Self::Bare(bare) => bare.session.run(bare.shape, &bare.tensor, &mut |outputs| {
                std::hint::black_box(outputs);
                Ok(())
            }),
        }
    }
}

/// Where the landmarks of a face in the middle would be: the aligner asks for no more.
fn face(size: Size) -> crate::detection::Landmarks {
    let unit = size.width.min(size.height) as f32 / 224.0;
    let (x, y) = (size.width as f32 / 2.0 - 56.0 * unit, size.height as f32 / 2.0 - 56.0 * unit);
    [(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)]
        .map(|(px, py): (f32, f32)| Point::new(x + px * unit, y + py * unit))
}

/// The picture of the card's golden sample: it shows what the model is made for. Else a pattern.
fn sample(card: &Card) -> Frame {
    let golden = card.golden.image.as_ref().or(card.golden.expect_cosine.first().map(|e| &e.a));
    let path = golden.and_then(|image| card.golden_path(image).ok());
    if let Some(frame) = path.and_then(|path| picture(&path).ok()) {
        return frame;
    }
    let size = Size::new(1280, 720);
    let pixel = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    Frame::from_rgb(Stamp::default(), size, (0..size.pixels() * 3).map(pixel).collect()).unwrap_or_default()
}

/// All threads of one side: one session with several, or several sessions with one.
struct Team {
    members: Vec<Mutex<Subject>>,
    pool: Option<rayon::ThreadPool>,
}

impl Team {
    fn new(members: Vec<Subject>) -> Result<Self, Failure> {
        let pool = (members.len() > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(members.len()).build())
            .transpose()
            .map_err(|e| Failure::new(Exit::Internal, format!("bench: {} threads: {e}", members.len())))?;
        Ok(Self { members: members.into_iter().map(Mutex::new).collect(), pool })
    }

    /// Every member does `work` with its number, side by side.
    fn all<T: Send>(
        &self,
        work: impl Fn(usize, &mut Subject) -> Result<T, ModelError> + Sync,
    ) -> Result<Vec<T>, ModelError> {
        let one = |i: usize| {
            let mut member = self.members[i].lock().unwrap_or_else(PoisonError::into_inner);
            work(i, &mut member)
        };
        match &self.pool {
            None => (0..self.members.len()).map(one).collect(),
            Some(pool) => pool.broadcast(|context| one(context.index())).into_iter().collect(),
        }
    }

    /// One turn.
    fn turn(&self, work: &Work<'_>, length: Duration, meter: &Meter, tally: &mut Tally) -> Result<(), ModelError> {
        let (began, cpu, waited) = (Instant::now(), meter.cpu(), waited());
        let mut samples = Vec::new();
        let timed = |subject: &mut Subject, samples: &mut Vec<f64>| {
            let start = Instant::now();
            subject.once(work.frame, work.batch)?;
            samples.push(start.elapsed().as_secs_f64() * 1e3);
            Ok::<_, ModelError>(())
        };
        if let Some(streams) = work.streams {
            while samples.is_empty() || began.elapsed() < length {
                let start = Instant::now();
                self.all(|i, subject| {
                    (i..streams).step_by(self.members.len()).try_for_each(|_| subject.once(work.frame, work.batch))
                })?;
                samples.push(start.elapsed().as_secs_f64() * 1e3);
            }
            tally.pictures += (samples.len() * streams) as u64;
        } else {
            let parts = self.all(|_, subject| {
                let mut mine = Vec::new();
                while mine.is_empty() || began.elapsed() < length {
                    timed(subject, &mut mine)?;
                }
                Ok(mine)
            })?;
            samples = parts.concat();
            tally.pictures += (samples.len() * work.batch) as u64;
        }
        tally.wall += began.elapsed();
        tally.cpu += meter.cpu().saturating_sub(cpu);
        if let (Some(before), Some(after)) = (waited, self::waited()) {
            *tally.waited.get_or_insert_default() += after.saturating_sub(before);
        }
        let step = samples.len().div_ceil(MOST_SAMPLES).max(1);
        tally.turns.push(samples.into_iter().step_by(step).collect());
        Ok(())
    }
}

/// What a turn does.
struct Work<'a> {
    frame: &'a Frame,
    batch: usize,
    /// Pictures of one sample in multi-stream.
    streams: Option<usize>,
}

/// Time that this process's threads stood ready without a processor; `None` where the kernel does not say.
fn waited() -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?);
    }
    Some(sum)
}

/// Measures one model with one number of threads.
fn model(args: &BenchArgs, runtime: &Runtime, card: &Card, threads: u32, meter: &Meter) -> Result<Row, Failure> {
    let frame = sample(card);
    let (members, inside) = match args.scenario {
        Scenario::SingleStream => (1, threads as usize),
        _ => (threads as usize, 1),
    };
    let streams = (args.scenario == Scenario::MultiStream).then(|| args.streams.unwrap_or(8) as usize);
    let progress = Progress::new();
    let head = format!("{}, {} threads", card.name, threads);
    progress.say(&format!("{head}: loading"));

    let has_ours = card.task != Task::Reid;
    let before = meter.rss_bytes();
    let began = Instant::now();
    let weights = card.verified_weights()?;
    let open = || runtime.session(&card.name, &weights, inside, &card.tensors);
    let first = open()?;
    check_input(card, &first)?;
    let graph = Batch::of(&first);
    // Of multi-stream each picture is answered on its own.
    let usual = if streams.is_some() { 1 } else { graph.usual() };
    let batch = args.batch.map_or(usual, |n| n as usize);
    if batch > 1 {
        takes(card, &first, batch).or_else(|e| usage(format_args!("--batch {batch}: {e}: {}", advice(graph))))?;
    }
    let work = Work { frame: &frame, batch, streams };
    let bare = |session: OrtSession| -> Result<Subject, Failure> {
        let (shape, tensor) = given(card, &frame, if let Batch::Fixed(n) = graph { n } else { batch });
        Ok(Subject::Bare(Bare { session, shape, tensor }))
    };
    let own = |session: OrtSession| -> Result<Subject, Failure> {
        let ours = match card.task {
            _ if !has_ours => return bare(session),
            Task::Embed => Ours::Embedder(Box::new(Embedder::new(card.clone(), Box::new(session))?)),
            _ => Ours::Detector(Box::new(Detector::new(card.clone(), Box::new(session), &mut Labels::default())?)),
        };
        Ok(Subject::Ours(ours))
    };
    let mut lead = own(first)?;
    let loaded = began.elapsed();
    lead.once(&frame, batch)?;
    let cold = [loaded, began.elapsed().saturating_sub(loaded)].map(|d| d.as_secs_f64() * 1e3);
    let others = (1..members).map(|_| own(open()?)).collect::<Result<Vec<_>, Failure>>()?;
    let team = Team::new(std::iter::once(lead).chain(others).collect())?;
    let mut ignored = Tally::default();
    let warm = Duration::from_secs_f64(args.warm_up.unwrap_or(1.0));
    team.turn(&work, warm, meter, &mut ignored)?;
    let rss_bytes = meter.rss_bytes().saturating_sub(before);
    // After that, so that the memory is that of one side.
    let other = match has_ours {
        true => Some(Team::new((0..members).map(|_| bare(open()?)).collect::<Result<_, Failure>>()?)?),
        false => None,
    };
    if let Some(other) = &other {
        other.turn(&work, warm, meter, &mut ignored)?;
    }

    let sides = if other.is_some() { 2.0 } else { 1.0 };
    let length = Duration::from_secs_f64(args.seconds.unwrap_or(10.0) / f64::from(TURNS) / sides);
    let (mut mine, mut theirs) = (Tally::default(), Tally::default());
    for turn in 0..TURNS {
        progress.say(&format!("{head}: turn {} of {TURNS}", turn + 1));
        // Who is first changes: what comes second finds the caches and the clock rate that the first has left.
        for second in [turn % 2 == 1, turn % 2 == 0] {
            match (&other, second) {
                (_, false) => team.turn(&work, length, meter, &mut mine)?,
                (Some(other), true) => other.turn(&work, length, meter, &mut theirs)?,
                (None, true) => {}
            }
        }
    }
    drop(progress);

    // Sessions of one thread that never wait must have had a processor each.
    let always_busy = inside == 1 && streams.is_none();
    let processors = self::threads();
    let crowded = threads as usize > processors;
    let wall = mine.wall.as_secs_f64().max(1e-9);
    let evidence = Evidence {
        turns: &mine.turns,
        busy: always_busy.then(|| mine.cpu.as_secs_f64() / (wall * members.min(processors) as f64)),
        // More threads than processors wait for each other.
        waited: mine.waited.filter(|_| !crowded).map(|w| w.as_secs_f64() / (wall * f64::from(threads))),
    };
    let mut judgement = stats::judge(&evidence);
    if crowded {
        judgement.remarks.push(format!("{threads} threads on {processors} processors"));
    }
    let (ours, bare) = (mine.side(), other.is_some().then(|| theirs.side()));
    Ok(Row {
        subject: card.name.clone(),
        sha256: Some(card.sha256.clone()),
        scenario: args.scenario.word().into(),
        threads,
        batch: batch as u32,
        pictures: streams.unwrap_or(batch) as u64,
        unit: "ms".into(),
        percent_of_bare: bare.as_ref().map(|b| 100.0 * ours.pictures_per_second / b.pictures_per_second.max(1e-9)),
        against_bare: bare.as_ref().and_then(|b| Ratio::of(&ours.turns, &b.turns)),
        cold_start_ms: Some(cold),
        rss_bytes,
        last_over_first: stats::drift(&ours.turns),
        judgement,
        ours,
        bare,
        program: None,
    })
}

/// What to do about a batch that the graph does not take.
pub(super) fn advice(graph: Batch) -> String {
    match graph {
        Batch::Fixed(n) if n > 1 => format!("give at most --batch {n}"),
        _ => "leave it out: the model takes one picture at a time".into(),
    }
}

/// What the bare session is given: the tensor that our preprocessing makes of the picture, `batch` times.
fn given(card: &Card, frame: &Frame, batch: usize) -> ([usize; 4], Vec<f32>) {
    let mut prep = Prep::new(card);
    let prepared = prep.prepare(frame, Region::whole(frame.size()), LongSide::Card);
    let [_, b, c, d] = prepared.shape;
    ([batch, b, c, d], prepared.data.repeat(batch))
}

/// What `compare` says of one pair.
#[derive(Serialize)]
struct Compared {
    a: String,
    b: String,
    scenario: String,
    threads: [u32; 2],
    batch: [u32; 2],
    /// Of B's median time to A's; null when there are too few turns.
    time: Option<Ratio>,
    verdict: String,
}

/// `bench compare A B`
pub(super) fn compare(a: &Path, b: &Path, json: bool) -> Result<Exit, Failure> {
    let (one, two) = (read(a)?, read(b)?);
    let key = |r: &Row| (r.subject.clone(), r.scenario.clone(), r.threads, r.batch, r.pictures);
    let mut pairs: Vec<(&Row, &Row)> =
        one.rows.iter().filter_map(|r| Some((r, two.rows.iter().find(|s| key(s) == key(r))?))).collect();
    // Two models, or two settings, on purpose: then there is no doubt which row is meant.
    if let ([r], [s], true) = (one.rows.as_slice(), two.rows.as_slice(), pairs.is_empty())
        && r.scenario == s.scenario
        && r.pictures == s.pictures
    {
        pairs.push((r, s));
    }
    if pairs.is_empty() {
        return usage(format_args!(
            "compare: {} and {} have no measurement in common: wanted the same model, scenario, threads and batch, or one alone in each",
            a.display(),
            b.display()
        ));
    }
    let compared: Vec<Compared> = pairs.into_iter().map(|(r, s)| pair(r, s)).collect();
    let text = if json { to_json(&compared)? } else { page::compared(&compared) };
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

fn pair(r: &Row, s: &Row) -> Compared {
    let time = Ratio::of(&r.ours.turns, &s.ours.turns);
    let verdict = match time {
        None => format!("cannot tell: wanted at least {} turns in both", Ratio::LEAST_TURNS),
        Some(t) if t.is_undecided() => "cannot tell: the interval holds 1".into(),
        Some(_) if [r, s].iter().any(|r| r.judgement.grade == "poor") => "cannot tell: a measurement was poor".into(),
        Some(t) if t.ratio > 1.0 => format!("B takes {:.1} % longer than A", (t.ratio - 1.0) * 100.0),
        Some(t) => format!("B takes {:.1} % less time than A", (1.0 - t.ratio) * 100.0),
    };
    Compared {
        a: r.subject.clone(),
        b: s.subject.clone(),
        scenario: r.scenario.clone(),
        threads: [r.threads, s.threads],
        batch: [r.batch, s.batch],
        time,
        verdict,
    }
}

fn read(path: &Path) -> Result<Report, Failure> {
    let wrong = |what: String| Failure::new(Exit::Usage, format!("bench: compare: {}: {what}", path.display()));
    let meta = std::fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if !meta.is_file() || meta.len() > MAX_RESULT {
        return Err(wrong(format!("wanted a file of at most {MAX_RESULT} bytes, found {}", meta.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let report: Report =
        serde_json::from_str(&text).map_err(|e| wrong(format!("wanted what `bench --json` prints, found: {e}")))?;
    if report.form != FORM {
        return Err(wrong(format!("form: wanted {FORM}, found {}", report.form)));
    }
    Ok(report)
}
