//! What several busy cameras do to one another: frames in all, and how fairly they are shared.
//!
//! `cargo bench --bench cameras [-- SECONDS]`. The liveliest part of the committed sample, 1280x720 MJPEG, from one, two, four and eight
//! sources at once, each beginning elsewhere in it, all as fast as they are taken: the machine is full, nothing is dropped, and whoever is
//! served less falls behind. SECONDS of the clip in all, shared by the sources, and once with ever more of them and once with ever fewer, of
//! which the mean is told: a machine that is full for longer gets slower by itself. Shares are of what was answered by the last `stats`
//! before any source is through, from `stats` lines a second apart. Fairness is Jain's index (R. Jain et al., "A Quantitative Measure of Fairness and Discrimination", 1984): 1 when all
//! had as many, 1/n when one had all.
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
    let seconds: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(48);
    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("1280x720 MJPEG as fast as it is taken, {} frames from all cameras together", seconds * FPS);
    println!("cameras  frames/s  to one camera's  looks/s  fairness  least..most frames/s  CPU ms/frame  memory");
    let mut rows = BTreeMap::<usize, Vec<[f64; 7]>>::new();
    for cameras in [1, 2, 4, MOST, MOST, 4, 2, 1] {
        let each = seconds * FPS / cameras;
        let run = run(&clips(dir.path(), cameras, each), each);
        let totals = &run.totals;
        let number = |key: &str| totals[key].as_f64().expect("a number");
        let all = |key: &str| -> f64 {
            let listed = totals["cameras"].as_array().expect("a list");
            listed.iter().map(|c| c[key].as_f64().expect("a number")).sum()
        };
        let (frames, wall) = (all("captured"), number("interval_ms") / 1e3);
        assert_eq!(frames, (cameras * each) as f64, "files lose nothing");
        assert_eq!(run.shares.len(), cameras, "each camera has its account");
        let rate = frames / wall;
        rows.entry(cameras).or_default().push([
            rate,
            all("inferred") / wall,
            fairness(&run.shares),
            run.shares.iter().copied().fold(f64::INFINITY, f64::min),
            run.shares.iter().copied().fold(0.0, f64::max),
            number("cpu") * number("interval_ms") / frames,
            number("rss_bytes") / 1e6,
        ]);
    }
    let mut alone = None;
    for (cameras, rows) in rows {
        let [rate, looks, fair, least, most, cpu, memory] =
            std::array::from_fn(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64);
        let ratio = rate / *alone.get_or_insert(rate);
        println!(
            "{cameras:>7}  {rate:>8.1}  {ratio:>15.2}  {looks:>7.1}  {fair:>8.3}  {least:>9.1}..{most:<9.1}  {cpu:>12.1}  {memory:>3.0} MB"
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
    /// Of its last line.
    totals: Value,
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
    let mut bye = lines.into_iter().next_back().expect("a line");
    assert_eq!(bye["type"], "bye", "{bye}");
    Told { totals: bye["totals"].take(), shares }
}
