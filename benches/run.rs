//! The pipeline against the bare session loop that does the same inferences, on a busy 1280x720 clip.
//!
//! `cargo bench --bench run [-- ROUNDS]`. The clip is the committed sample's liveliest part, played four times. The inferences
//! of a run (which model, which input size, in which order) are recorded once; then the program and a loop over nothing but
//! ONNX Runtime sessions take turns on the same machine, so that what else the machine does hits both. Printed: frames a
//! second of both and their ratio, processor time for each frame, peak memory, and the time from start to the first lines.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use busy::{FPS, Work, card, family, record};
use porchlight::decode::{Decoder, Limits};
use porchlight::frame::Frame;
use porchlight::geom::Region;
use porchlight::model::infer::{Infer, Runtime};
use porchlight::model::prep::LongSide;

mod busy;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let rounds: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(3);
    let frames = busy::frames();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clip = dir.path().join("busy.mjpeg");
    std::fs::write(&clip, frames.concat()).expect("disk space for the clip");
    let runtime = Runtime::load().expect("cargo xtask setup");
    let (work, _) = record(&runtime, &frames, 2);
    let of = |name: &str| work.iter().filter(|w| w.model == name).count();
    let mut looked: Vec<usize> = work.iter().filter(|w| w.model == "objects").map(|w| w.frame).collect();
    looked.dedup();
    println!(
        "{} frames of 1280x720 MJPEG; {} inferences of objects, {} of faces",
        frames.len(),
        of("objects"),
        of("faces")
    );
    println!(
        "threads  run fps  bare fps  ratio (min..max)     CPU ms/frame  bare CPU ms/frame  peak RSS  hello ms  first event ms"
    );
    for threads in [1usize, 2] {
        let bare = Bare::new(&runtime, threads);
        let mut rows = Vec::new();
        let mut before = bare.time(&work);
        for _ in 0..rounds {
            let run = Run::of(&clip, threads, frames.len());
            assert_eq!(run.inferred, looked.len(), "frames looked at by the run and by the stages one after another");
            // What was measured before the run and after it: the machine becomes faster and slower in between.
            let after = bare.time(&work);
            let mean = |a: Duration, b: Duration| (a + b).as_secs_f64() / 2.0;
            let (wall, cpu) = (mean(before.0, after.0), mean(before.1, after.1));
            rows.push((run, frames.len() as f64 / wall, cpu * 1e3 / frames.len() as f64));
            before = after;
        }
        let median = |f: &dyn Fn(&(Run, f64, f64)) -> f64| {
            let mut v: Vec<f64> = rows.iter().map(f).collect();
            v.sort_by(f64::total_cmp);
            (v[v.len() / 2], v[0], v[v.len() - 1])
        };
        let ratio = median(&|r| r.0.fps / r.1);
        println!(
            "{threads:>7}  {:>7.1}  {:>8.1}  {:>5.3} ({:.3}..{:.3})  {:>12.1}  {:>17.1}  {:>5.0} MB  {:>8.0}  {:>14.0}",
            median(&|r| r.0.fps).0,
            median(&|r| r.1).0,
            ratio.0,
            ratio.1,
            ratio.2,
            median(&|r| r.0.cpu_ms).0,
            median(&|r| r.2).0,
            median(&|r| r.0.peak_mb).0,
            median(&|r| r.0.hello_ms).0,
            median(&|r| r.0.event_ms).0,
        );
    }
}

/// Nothing but sessions, arranged in one of two ways; the faster of them is what the run is compared with.
struct Bare {
    /// One worker with as many threads in each session, or as many workers with one thread each.
    arrangements: [Vec<Mutex<Pair>>; 2],
    objects_input: Vec<f32>,
    faces_input: Vec<f32>,
}

/// What one worker has.
struct Pair {
    objects: Box<dyn Infer>,
    faces: Box<dyn Infer>,
}

impl Bare {
    fn new(runtime: &Runtime, threads: usize) -> Self {
        let open = |name: &str, threads| {
            let card = card(name);
            let weights = card.verified_weights().expect("committed");
            Box::new(runtime.session(name, &weights, threads, &card.tensors).expect("loads"))
        };
        let pair = |threads| {
            Mutex::new(Pair { objects: open("ssdlite-mobilenet-v2", threads), faces: open("yunet", threads) })
        };
        // A real picture's tensors: the sizes of activations do not depend on them, denormals would.
        let (objects_input, faces_input) = inputs();
        let beside = if threads > 1 { (0..threads).map(|_| pair(1)).collect() } else { Vec::new() };
        Self { arrangements: [vec![pair(threads)], beside], objects_input, faces_input }
    }

    /// Wall and processor time of the faster arrangement.
    fn time(&self, work: &[Work]) -> (Duration, Duration) {
        let possible = self.arrangements.iter().filter(|workers| !workers.is_empty());
        possible.map(|workers| self.time_of(workers, work)).min().expect("there is one")
    }

    fn time_of(&self, workers: &[Mutex<Pair>], work: &[Work]) -> (Duration, Duration) {
        let next = AtomicUsize::new(0);
        let (wall, cpu) = (Instant::now(), cpu_of(std::process::id()));
        let mut in_workers = Duration::ZERO;
        let one = |worker: &Mutex<Pair>| {
            let mut pair = worker.lock().expect("one thread has it");
            while let Some(w) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                let elements = w.shape.iter().product::<usize>();
                let Pair { objects, faces } = &mut *pair;
                let (session, input) = match w.model {
                    "objects" => (objects, &self.objects_input),
                    _ => (faces, &self.faces_input),
                };
                session.run(w.shape, &input[..elements], &mut |_| Ok(())).expect("runs");
            }
            // Threads that have ended are not counted any more.
            own_cpu()
        };
        if let [worker] = workers {
            one(worker);
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = workers.iter().map(|w| scope.spawn(|| one(w))).collect();
                in_workers = threads.into_iter().map(|t| t.join().expect("no panic")).sum();
            });
        }
        (wall.elapsed(), cpu_of(std::process::id()).saturating_sub(cpu) + in_workers)
    }
}

fn inputs() -> (Vec<f32>, Vec<f32>) {
    use porchlight::model::prep::Prep;
    let mut frame = Frame::new();
    let mut raw = busy::raw(0, &busy::frames()[0]);
    Decoder::new(Limits::default()).decode(&mut raw, &mut frame).expect("a good frame");
    let tensor =
        |name: &str, side| Prep::new(&card(name)).prepare(&frame, Region::whole(frame.size()), side).data.to_vec();
    (tensor("ssdlite-mobilenet-v2", LongSide::Card), tensor("yunet", LongSide::Pixels(1280)))
}

/// One run of the program, watched from outside.
struct Run {
    fps: f64,
    cpu_ms: f64,
    peak_mb: f64,
    hello_ms: f64,
    event_ms: f64,
    /// Frames in which objects were looked for.
    inferred: usize,
}

impl Run {
    fn of(clip: &std::path::Path, threads: usize, frames: usize) -> Self {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_porchlight"))
            .args(["run", "--fps", &FPS.to_string(), "--threads", &threads.to_string(), "--source"])
            .arg(clip)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pid = child.id();
        let (mut hello, mut event, mut bye) = (None, None, None);
        let mut last = String::new();
        let done = AtomicBool::new(false);
        let peak = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut peak = 0u64;
                while !done.load(Ordering::Relaxed) {
                    peak = peak.max(family(pid).iter().map(|p| field(*p, "status", "VmHWM:")).sum());
                    // Seldom: asking is work on the same processors, and the kernel keeps the greatest.
                    std::thread::sleep(Duration::from_millis(100));
                }
                peak
            });
            for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
                let line = line.expect("readable");
                let now = (Instant::now(), family(pid).iter().map(|p| cpu_of(*p)).sum::<Duration>());
                if line.contains("\"type\":\"hello\"") {
                    hello = Some(now);
                } else if line.contains("\"type\":\"bye\"") {
                    bye = Some(now);
                    last = line;
                } else {
                    event.get_or_insert(now);
                }
            }
            done.store(true, Ordering::Relaxed);
            sampler.join().expect("no panic")
        });
        assert!(child.wait().expect("waited").success());
        let (hello, event, bye) = (hello.expect("hello"), event.expect("an event"), bye.expect("bye"));
        let totals = &serde_json::from_str::<serde_json::Value>(&last).expect("JSON")["totals"];
        let number = |key: &str| totals[key].as_f64().expect("a number");
        // What it reports of itself: the process is gone before it could be asked.
        let bye_cpu_ms = number("cpu") * number("interval_ms");
        Self {
            fps: frames as f64 / (bye.0 - hello.0).as_secs_f64(),
            cpu_ms: (bye_cpu_ms - hello.1.as_secs_f64() * 1e3) / frames as f64,
            peak_mb: peak as f64 / 1024.0,
            hello_ms: (hello.0 - began).as_secs_f64() * 1e3,
            event_ms: (event.0 - began).as_secs_f64() * 1e3,
            inferred: totals["cameras"][0]["inferred"].as_u64().expect("a number") as usize,
        }
    }
}

/// A number of `/proc/PID/FILE`, 0 when it is gone.
fn field(pid: u32, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let value = text.lines().find_map(|l| l.strip_prefix(key));
    value.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time of this thread.
fn own_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0))
}

/// Processor time of all threads of a process, from nanosecond counters.
fn cpu_of(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ns = tasks.filter_map(|t| {
        std::fs::read_to_string(t.path().join("schedstat")).ok()?.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ns.sum())
}
