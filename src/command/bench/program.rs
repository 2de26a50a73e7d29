//! The pipeline scenario: `run` over a clip as a child process, watched from outside.
//!
//! The stages' shares are the processor times of its threads, which have names; they are read while it runs. Of what it knows itself
//! (frames by fate, latencies) its last line tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{BenchArgs, Exit, Failure, Progress, Row, Side, stats, usage};
use crate::stats::{Evidence, Summary};

/// Runs at least: fewer make no interval for `compare`.
const LEAST_RUNS: usize = stats::Ratio::LEAST_TURNS;
/// Between two looks at a run's threads.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A line longer than this is no line of ours.
const LONGEST: usize = 1 << 20;

/// What is known of the pipeline besides its speed; of the last run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Detail {
    /// As `hello` names them.
    models: serde_json::Value,
    /// `hello.seal.state`
    seal: String,
    /// Processor time of each stage, milliseconds for each captured frame; `warden` is all that is not the eye.
    stage_cpu_ms: BTreeMap<String, f64>,
    /// From the start to `hello`, and to the first line after it.
    start_ms: [f64; 2],
    /// Totals of the last line.
    totals: serde_json::Value,
}

impl Detail {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut stages: Vec<(&String, &f64)> = self.stage_cpu_ms.iter().collect();
        stages.sort_by(|a, b| b.1.total_cmp(a.1));
        let stages: Vec<String> = stages.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        let camera = &self.totals["cameras"][0];
        let fates = ["captured", "inferred", "still", "undecodable", "displaced", "failed"];
        let fates: Vec<String> = fates.iter().map(|k| format!("{k} {}", camera[k])).collect();
        let latency = &self.totals["latency_ms"];
        vec![
            format!("CPU ms/frame by stage: {}", stages.join(", ")),
            format!(
                "frames: {}; latency p50 {} p90 {} p99 {} ms",
                fates.join(", "),
                latency["p50"],
                latency["p90"],
                latency["p99"]
            ),
            format!(
                "hello after {:.0} ms, first event after {:.0} ms; seal {}",
                self.start_ms[0], self.start_ms[1], self.seal
            ),
        ]
    }
}

/// One run.
struct Once {
    ms_per_frame: f64,
    frames: u64,
    cpu_ms: f64,
    peak: u64,
    detail: Detail,
}

pub(super) fn measure(args: &BenchArgs, threads: u32) -> Result<Row, Failure> {
    let [clip] = args.sources.as_slice() else {
        return usage(format_args!("--scenario pipeline: wanted one --source CLIP, found {}", args.sources.len()));
    };
    if clip.as_os_str() == "-" {
        return usage("--source -: wanted a file that can be played several times");
    }
    let seconds = Duration::from_secs_f64(args.seconds.unwrap_or(10.0));
    let (began, progress) = (Instant::now(), Progress::new());
    let mut runs: Vec<Once> = Vec::new();
    while runs.len() < LEAST_RUNS || began.elapsed() < seconds {
        progress.say(&format!("pipeline, {threads} threads: run {}", runs.len() + 1));
        runs.push(once(clip, args.fps, threads)?);
    }
    drop(progress);
    let turns: Vec<Vec<f64>> = runs.iter().map(|r| vec![r.ms_per_frame]).collect();
    let all = turns.concat();
    let frames: u64 = runs.iter().map(|r| r.frames).sum();
    let seconds: f64 = runs.iter().map(|r| r.ms_per_frame * r.frames as f64 / 1e3).sum();
    let cpu: f64 = runs.iter().map(|r| r.cpu_ms).sum();
    // Each sample is a whole run of many frames: four of them are few, but not the few of single inferences.
    let mut judgement = stats::judge(&Evidence { turns: &turns, busy: None, waited: None });
    judgement.remarks.retain(|r| !r.starts_with("only "));
    if judgement.remarks.is_empty() {
        judgement.grade = "good".into();
    }
    let peak = runs.iter().map(|r| r.peak).max().unwrap_or(0);
    let last_over_first = stats::drift(&turns);
    let last = runs.pop();
    Ok(Row {
        subject: clip.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: None,
        scenario: args.scenario.word().into(),
        threads,
        batch: 1,
        pictures: last.as_ref().map_or(0, |l| l.frames),
        unit: "ms a frame, one run each".into(),
        ours: Side {
            summary: Summary::of(&all),
            pictures_per_second: frames as f64 / seconds.max(1e-9),
            cpu_ms_per_picture: cpu / frames.max(1) as f64,
            turns,
        },
        bare: None,
        percent_of_bare: None,
        against_bare: None,
        cold_start_ms: None,
        rss_bytes: peak,
        last_over_first,
        judgement,
        program: last.map(|l| l.detail),
    })
}

/// Ends the child when the watching fails.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn once(clip: &std::path::Path, fps: Option<f64>, threads: u32) -> Result<Once, Failure> {
    let internal = |what: String| Failure::new(Exit::Internal, format!("bench: run: {what}"));
    let program = std::env::current_exe().map_err(|e| internal(format!("who am I: {e}")))?;
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(["run", "--threads", &threads.to_string(), "--source"]).arg(clip);
    if let Some(fps) = fps {
        command.args(["--fps", &fps.to_string()]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Ending(child.map_err(|e| internal(format!("cannot be started: {e}")))?);
    let Some(mut out) = child.0.stdout.take() else { return Err(internal("no stdout".into())) };
    let (mut text, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    let (mut hello, mut first, mut bye) = (None, None, None);
    let mut watched = Watched::default();
    let mut looked: Option<Instant> = None;
    let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.as_nanos() as i64 };
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            watched.look(child.0.id());
            looked = Some(Instant::now());
        }
        let ready = match poll(&mut [PollFd::new(&out.as_fd(), PollFlags::IN)], Some(&wait)) {
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(internal(format!("stdout: {e}"))),
        };
        if ready == 0 {
            continue;
        }
        let n = out.read(&mut chunk).map_err(|e| internal(format!("stdout: {e}")))?;
        if n == 0 {
            break;
        }
        text.extend_from_slice(&chunk[..n]);
        while let Some(end) = text.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let value: serde_json::Value =
                serde_json::from_slice(&line).map_err(|e| internal(format!("a line that is no JSON: {e}")))?;
            let now = (Instant::now(), value);
            match now.1["type"].as_str() {
                Some("hello") => {
                    watched.look(child.0.id());
                    watched.begin();
                    hello = Some(now);
                }
                Some("bye") => {
                    watched.look(child.0.id());
                    bye = Some(now);
                }
                _ => {
                    first.get_or_insert(now.0);
                }
            }
        }
        if text.len() > LONGEST {
            return Err(internal("a line without end".into()));
        }
    }
    let status = child.0.wait().map_err(|e| internal(format!("cannot be waited for: {e}")))?;
    if !status.success() {
        return Err(super::said(status).unwrap_or_else(|| internal(format!("ended with {status}"))));
    }
    let (Some(hello), Some(bye)) = (hello, bye) else { return Err(internal("it said no hello or no bye".into())) };
    let totals = bye.1["totals"].clone();
    let cameras = totals["cameras"].as_array().cloned().unwrap_or_default();
    let frames: u64 = cameras.iter().filter_map(|c| c["captured"].as_u64()).sum();
    let per_frame = 1e3 / frames.max(1) as f64;
    let stages = watched.stages();
    Ok(Once {
        ms_per_frame: bye.0.duration_since(hello.0).as_secs_f64() * per_frame,
        frames,
        cpu_ms: stages.values().sum::<Duration>().as_secs_f64() * 1e3,
        peak: watched.peak,
        detail: Detail {
            models: hello.1["models"].clone(),
            seal: hello.1["seal"]["state"].as_str().unwrap_or("unknown").to_owned(),
            stage_cpu_ms: stages.into_iter().map(|(name, cpu)| (name, cpu.as_secs_f64() * per_frame)).collect(),
            start_ms: [hello.0, first.unwrap_or(bye.0)].map(|at| at.duration_since(began).as_secs_f64() * 1e3),
            totals,
        },
    })
}

/// Processor times of the threads of a process and its children, and their memory. What a thread spends after the last
/// look, at most [`LOOK_EVERY`], is not seen.
#[derive(Default)]
struct Watched {
    /// By thread id: name, time so far, time when the first frame began.
    threads: BTreeMap<u32, (String, Duration, Duration)>,
    /// Processes found to be the eye; one that ends forgets its arguments before its times.
    eyes: BTreeSet<u32>,
    peak: u64,
}

impl Watched {
    fn look(&mut self, program: u32) {
        let mut memory = 0;
        for process in family(program, 0) {
            memory += peak_bytes(process);
            if is_eye(process) {
                self.eyes.insert(process);
            }
            let eye = self.eyes.contains(&process);
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
                let Some(id) = task.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
                let Some(ns) = read("schedstat").split_whitespace().next().and_then(|n| n.parse().ok()) else {
                    continue;
                };
                let name = match read("comm").trim() {
                    stage @ ("scout" | "vision" | "report") => stage.to_owned(),
                    capture if capture.starts_with("capture") => "capture".to_owned(),
                    _ if eye && id == process => "writer".to_owned(),
                    _ if eye => "pool".to_owned(),
                    _ => "warden".to_owned(),
                };
                let entry = self.threads.entry(id).or_insert_with(|| (name.clone(), Duration::ZERO, Duration::ZERO));
                (entry.0, entry.1) = (name, Duration::from_nanos(ns));
            }
        }
        self.peak = self.peak.max(memory);
    }

    /// From now on it counts: what came before was start-up.
    fn begin(&mut self) {
        self.threads.values_mut().for_each(|(_, now, then)| *then = *now);
    }

    fn stages(&self) -> BTreeMap<String, Duration> {
        let mut stages = BTreeMap::new();
        for (name, now, then) in self.threads.values() {
            *stages.entry(name.clone()).or_default() += now.saturating_sub(*then);
        }
        stages
    }
}

/// A process and its children, two generations down: the warden, the gatekeeper and the eye.
fn family(process: u32, depth: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let mut all = vec![process];
    if depth < 2 {
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            all.extend(family(child, depth + 1));
        }
    }
    all
}

/// The eye is the one whose first argument says so.
fn is_eye(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).nth(1) == Some(crate::warden::EYE.as_bytes())
}

fn peak_bytes(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
