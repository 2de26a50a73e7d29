//! What several busy cameras do to one another: frames in all, and how fairly they are shared.
//!
//! `cargo bench --bench cameras [-- TIMES]`. The liveliest part of the committed sample, 1280x720 MJPEG, from two, four and eight sources at
//! once, each beginning elsewhere in it, all as fast as they are taken: the machine is full, nothing is dropped, and whoever is served less
//! falls behind. TIMES that part in all, shared by the sources. What they reach is compared with the same clips one after another, half of them
//! before and half of them after: where a clip begins decides how often it is looked at, by up to a fifth, and a machine that is full for
//! longer gets slower by itself. Shares are of what was answered by the last `stats` before any source is through, from `stats` lines a second
//! apart. Fairness is Jain's index (R. Jain et al., "A Quantitative Measure of Fairness and Discrimination", 1984): 1 when all had as many, 1/n
//! when one had all.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porchlight::source::mjpeg::{Split, Splitter};
use serde_json::Value;

/// The liveliest part of the sample, in frames: two persons cross.
const BUSY: std::ops::Range<usize> = 243..294;
const FPS: usize = 15;
const MOST: usize = 8;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let times: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(16);
    let times = times.next_multiple_of(MOST);
    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("1280x720 MJPEG as fast as it is taken, {} frames from all cameras together", times * BUSY.len());
    println!("cameras  frames/s  one by one  ratio  fairness  least..most frames/s  CPU ms/frame  one by one  memory");
    for cameras in [2, 4, MOST] {
        let each = times * BUSY.len() / cameras;
        let clips = clips(dir.path(), cameras, each);
        let (before, after) = clips.split_at(cameras / 2);
        let alone = |clips: &[PathBuf]| clips.iter().map(|clip| run(std::slice::from_ref(clip), each)).collect();
        let mut single: Vec<Told> = alone(before);
        let all = run(&clips, each);
        single.extend(alone(after));
        assert_eq!(all.shares.len(), cameras, "each camera has its account");
        let frames = (cameras * each) as f64;
        let sum = |of: fn(&Told) -> f64| single.iter().map(of).sum::<f64>() / frames;
        let (rate, one_by_one) = (frames / all.seconds, 1.0 / sum(|told| told.seconds));
        let (ratio, fair) = (rate / one_by_one, fairness(&all.shares));
        let (least, most) =
            (all.shares.iter().copied().fold(f64::INFINITY, f64::min), all.shares.iter().copied().fold(0.0, f64::max));
        let (cpu, cpu_alone, memory) = (all.cpu_ms / frames, sum(|told| told.cpu_ms), all.memory_mb);
        println!(
            "{cameras:>7}  {rate:>8.1}  {one_by_one:>10.1}  {ratio:>5.2}  {fair:>8.3}  {least:>9.1}..{most:<9.1}  {cpu:>12.1}  {cpu_alone:>10.1}  {memory:>3.0} MB"
        );
    }
}

/// Jain's index: the square of the sum, over the number times the sum of the squares.
fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|s| s * s).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// A clip for each camera, all of the same frames, none in step with another.
fn clips(dir: &Path, cameras: usize, each: usize) -> Vec<PathBuf> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/porch.mjpeg");
    let mut splitter = Splitter::new(64 << 20);
    splitter.feed(&std::fs::read(sample).expect("committed"));
    splitter.finish();
    let (mut all, mut frame) = (Vec::new(), Vec::new());
    while let Split::Frame(_) = splitter.next(&mut frame) {
        all.push(std::mem::take(&mut frame));
    }
    let part = &all[BUSY];
    let clip = |camera: usize| {
        let path = dir.join(format!("camera-{camera}.mjpeg"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("disk space for the clip"));
        let frames = part.iter().cycle().skip(camera * part.len() / MOST);
        for frame in frames.take(each) {
            file.write_all(frame).expect("disk space for the clip");
        }
        file.flush().expect("disk space for the clip");
        path
    };
    (0..cameras).map(clip).collect()
}

/// What a run told of itself.
struct Told {
    /// From `hello` to `bye`.
    seconds: f64,
    /// Processor time of that process.
    cpu_ms: f64,
    /// Resident in the end, of the process that sees pixels.
    memory_mb: f64,
    /// Frames a second of each camera, while all of them had some left.
    shares: Vec<f64>,
}

fn run(clips: &[PathBuf], frames: usize) -> Told {
    let mut config = String::from("[output]\nstats_every_s = 1\n");
    for (index, clip) in clips.iter().enumerate() {
        write!(config, "[[camera]]\nname = \"c{index}\"\nsource = {:?}\nfps = {FPS}\n", clip.display().to_string())
            .expect("a string takes it");
    }
    let path = clips[0].with_file_name("cameras.toml");
    std::fs::write(&path, config).expect("disk space");
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    let output = command.arg("run").arg("--config").arg(path).stderr(Stdio::inherit()).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();

    let mut answered: BTreeMap<String, f64> = BTreeMap::new();
    let mut shares = Vec::new();
    let mut seconds = 0.0;
    for stats in lines.iter().filter(|l| l["type"] == "stats") {
        let took = stats["interval_ms"].as_f64().expect("a number") / 1e3;
        let listed = stats["cameras"].as_array().expect("a list");
        for camera in listed {
            let name = camera["name"].as_str().expect("a name").to_owned();
            *answered.entry(name).or_default() += camera["fps_done"].as_f64().expect("a number") * took;
        }
        if answered.values().any(|n| *n >= frames as f64 - 1.0) {
            break;
        }
        // A second's cameras may need several lines; the last one of them is here when the first camera's is.
        seconds += took * listed.len() as f64 / clips.len() as f64;
        shares = answered.values().map(|n| n / seconds).collect();
    }
    let bye = lines.last().expect("a line");
    assert_eq!(bye["type"], "bye", "{bye}");
    let totals = &bye["totals"];
    let number = |key: &str| totals[key].as_f64().expect("a number");
    let captured = |camera: &Value| camera["captured"].as_u64().expect("a number");
    let captured: u64 = totals["cameras"].as_array().expect("a list").iter().map(captured).sum();
    assert_eq!(captured, (clips.len() * frames) as u64, "files lose nothing");
    let ms = number("interval_ms");
    Told { seconds: ms / 1e3, cpu_ms: number("cpu") * ms, memory_mb: number("rss_bytes") / 1e6, shares }
}
