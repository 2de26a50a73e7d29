//! Where each microsecond of a busy frame goes, and how long its events wait for it.
//!
//! `cargo bench --bench stages`. First the stages of a run walk over the busy clip one after another on one thread, each with a clock
//! around it: what a frame takes when nothing runs beside it. Then the program plays the same clip at a pace that leaves it idle half of
//! the time, and says how old events were when they were told: the promise is that 99 of 100 are younger than twice what the
//! inferences of the median frame take.
#![allow(clippy::print_stdout)]

use std::process::Command;
use std::time::Duration;

use busy::{STAGES, median, percentile};
use porchlight::model::infer::Runtime;

mod busy;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let frames = busy::frames();
    let runtime = Runtime::load().expect("cargo xtask setup");
    let (work, laps) = busy::record(&runtime, &frames, 1);
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    // Of each frame: what its inferences took, and what reading their outputs did.
    let mut models = vec![[Duration::ZERO; 3]; frames.len()];
    for w in &work {
        let index = usize::from(w.model != "objects");
        models[w.frame][index] += w.session;
        models[w.frame][2] += w.reading;
    }
    let mean = |of: &dyn Fn(usize) -> Duration| (0..frames.len()).map(|i| us(of(i))).sum::<f64>() / frames.len() as f64;
    let mut rows: Vec<(String, f64, f64)> = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(usize) -> Duration| {
        let mut each: Vec<f64> = (0..frames.len()).map(|i| us(of(i))).collect();
        rows.push((name.to_owned(), mean(of), percentile(&mut each, 0.99)));
    };
    for (stage, name) in STAGES.iter().enumerate() {
        row(name, &|i| laps[i][stage]);
    }
    row("read outputs", &|i| models[i][2]);
    row("session: objects", &|i| models[i][0]);
    row("session: faces", &|i| models[i][1]);
    let all: f64 = rows.iter().map(|r| r.1).sum();
    println!("{} frames of 1280x720 MJPEG, {} inferences, one thread", frames.len(), work.len());
    println!("{:<26} {:>12} {:>8} {:>12}", "stage", "us a frame", "share", "p99, us");
    for (name, mean, p99) in &rows {
        println!("{name:<26} {mean:>12.0} {:>7.1}% {p99:>12.0}", 100.0 * mean / all);
    }
    println!("{:<26} {all:>12.0}", "all");

    let (inference, ..) = median(models.iter().filter(|m| m[0] > Duration::ZERO).map(|m| us(m[0] + m[1]) / 1e3));
    println!("\ninferences of the median frame that is looked at: {inference:.1} ms");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clip = dir.path().join("busy.mjpeg");
    std::fs::write(&clip, frames.concat()).expect("disk space for the clip");
    println!("threads  frames/s offered  capture to event, ms: p50  p90  p99  p99 / inference");
    for threads in [1usize, 2] {
        // Half of what it could do.
        let fps = (500.0 * threads as f64 / (all / 1e3)).floor().max(1.0);
        let latency = latencies(&clip, threads, fps);
        let [p50, p90, p99] = ["p50", "p90", "p99"].map(|p| latency[p].as_f64().expect("a number"));
        println!("{threads:>7}  {fps:>16}  {p50:>25.1}  {p90:.1}  {p99:.1}  {:>15.2}", p99 / inference);
    }
}

/// Of a run in real time, as it says of itself at the end.
fn latencies(clip: &std::path::Path, threads: usize, fps: f64) -> serde_json::Value {
    let out = Command::new(env!("CARGO_BIN_EXE_porchlight"))
        .args(["run", "--pace", "realtime", "--fps", &fps.to_string(), "--threads", &threads.to_string(), "--source"])
        .arg(clip)
        .output()
        .expect("the program starts");
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let bye: serde_json::Value = serde_json::from_str(text.lines().last().expect("bye")).expect("JSON");
    bye["totals"]["latency_ms"].clone()
}
