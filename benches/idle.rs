//! What still cameras cost: processor time and wake-ups of the whole program, sealed, in real time.
//!
//! `cargo bench --bench idle [-- SECONDS]`. A 1280x720 scene in which only the sensor's noise changes, 30 frames a second, as MJPEG from
//! one, two, four and eight cameras, and as raw 4:2:0 from one. Each figure is of the seconds behind the first ones of a run, by the
//! scheduler's own clock: neither the start is in it nor the time in which the scene is got to know. That is half a minute where something
//! stands (the object model takes the JPEGs' scene for a keyboard), which is looked at again after 1, 2, 4, 8, 16 and then every 30 seconds.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SIZE: (u32, u32) = (1280, 720);
const FPS: usize = 30;
/// After so many seconds looks at a still scene have become as rare as they get, or nearly: in the raw frames nothing is seen, and a minute of
/// them would be 2.5 GB.
const KNOWN: [(&str, usize); 2] = [("mjpg", 32), ("i420", 12)];
/// Pictures of the same scene; they are repeated.
const PICTURES: usize = 30;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let seconds: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("1280x720, 30 frames a second, {seconds} s; per cent of a core, back to back and one at a time:");
    let [decoding, copying] = [plain_decoding(), plain_copying()];
    for (what, [back_to_back, in_time]) in [("decoding each JPEG", decoding), ("copying each raw frame", copying)] {
        println!("{what:>24}  {back_to_back:>6.2}  {in_time:>6.2}");
    }
    println!("cameras  format  % of a core  a camera  wake-ups/s");
    let [mjpg, i420] = KNOWN;
    for (cameras, (format, known)) in [(1, mjpg), (2, mjpg), (4, mjpg), (8, mjpg), (1, i420)] {
        let path = dir.path().join(format!("still.{}", if format == "mjpg" { "mjpeg" } else { "y4m" }));
        if !path.exists() {
            clip(&path, format, known + seconds + 1);
        }
        let Cost { cpu, wakes } = Cost::of(&path, cameras, known, seconds);
        let share = 100.0 * cpu.as_secs_f64() / seconds as f64;
        let wakes = wakes as f64 / seconds as f64;
        println!("{cameras:>7}  {format:>6}  {share:>11.2}  {:>8.2}  {wakes:>10.0}", share / cameras as f64);
    }
}

/// Edges, gradients and two grey levels of noise.
fn picture(seed: u32) -> Vec<u8> {
    let mut noise = seed.wrapping_mul(2_654_435_761) | 1;
    let mut rgb = Vec::with_capacity((SIZE.0 * SIZE.1 * 3) as usize);
    for y in 0..SIZE.1 {
        for x in 0..SIZE.0 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let shade = (x * 180 / SIZE.0) as u8 / 2 + ((x / 80 + y / 60) % 2) as u8 * 60 + (noise >> 30) as u8;
            rgb.extend([shade, shade + 10, (y * 200 / SIZE.1) as u8 + (noise >> 31) as u8]);
        }
    }
    rgb
}

/// What libjpeg-turbo takes to decode each picture of the clip to RGB, and nothing else.
fn plain_decoding() -> [f64; 2] {
    let jpegs: Vec<Vec<u8>> = (0..PICTURES as u32).map(|seed| encoded(&picture(seed))).collect();
    shares(|i| {
        let mut decoder =
            mozjpeg::Decompress::new_mem(&jpegs[i % PICTURES]).and_then(|d| d.rgb()).expect("our own JPEG");
        let rgb: Vec<[u8; 3]> = decoder.read_scanlines().expect("our own JPEG");
        decoder.finish().expect("our own JPEG");
        std::hint::black_box(rgb);
    })
}

/// What it takes to copy each frame of 4:2:0, as whoever reads it from a file or keeps a camera's must, and nothing else.
fn plain_copying() -> [f64; 2] {
    let frames: Vec<Vec<u8>> = (0..2 * PICTURES).map(|i| vec![i as u8; (SIZE.0 * SIZE.1 * 3 / 2) as usize]).collect();
    let mut copy = frames[0].clone();
    shares(|i| {
        copy.copy_from_slice(&frames[i % frames.len()]);
        std::hint::black_box(&mut copy);
    })
}

/// Per cent of a core for something that is done with each frame: one after another without a pause, and each when it is due, as a
/// camera's would be. A core that was at rest has forgotten everything, and neighbours have filled its caches.
fn shares(mut work: impl FnMut(usize)) -> [f64; 2] {
    const SECONDS: usize = 3;
    [false, true].map(|in_time| {
        let begun = std::time::Instant::now();
        let mut busy = Duration::ZERO;
        for i in 0..SECONDS * FPS {
            if in_time {
                let due = Duration::from_secs(i as u64) / FPS as u32;
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            let before = thread_cpu();
            work(i);
            busy += thread_cpu().saturating_sub(before);
        }
        100.0 * busy.as_secs_f64() / SECONDS as f64
    })
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// As most USB cameras do: colours halved in width, tables of the standard.
fn encoded(rgb: &[u8]) -> Vec<u8> {
    let mut jpeg = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    jpeg.set_size(SIZE.0 as usize, SIZE.1 as usize);
    jpeg.set_fastest_defaults();
    jpeg.set_quality(80.0);
    jpeg.set_chroma_sampling_pixel_sizes((2, 1), (2, 1));
    let mut started = jpeg.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(rgb).expect("encodes");
    started.finish().expect("ends")
}

fn clip(path: &Path, format: &str, seconds: usize) {
    let pictures: Vec<Vec<u8>> = (0..PICTURES as u32)
        .map(|seed| {
            let rgb = picture(seed);
            if format == "mjpg" {
                encoded(&rgb)
            } else {
                let luma = rgb.chunks_exact(3).map(|p| p[1]);
                let chroma = std::iter::repeat_n(128, (SIZE.0 * SIZE.1 / 2) as usize);
                b"FRAME\n".iter().copied().chain(luma).chain(chroma).collect()
            }
        })
        .collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("disk space for the clip"));
    if format != "mjpg" {
        writeln!(file, "YUV4MPEG2 W{} H{} F{FPS}:1 Ip C420jpeg", SIZE.0, SIZE.1).expect("disk space");
    }
    for i in 0..seconds * FPS {
        file.write_all(&pictures[i % PICTURES]).expect("disk space for the clip");
    }
    file.flush().expect("disk space for the clip");
}

/// Of all three processes.
struct Cost {
    cpu: Duration,
    /// Times that a thread went to sleep of its own accord, and so was woken.
    wakes: u64,
}

impl Cost {
    /// What so many seconds take once the scene is known, after so many others.
    fn of(clip: &Path, cameras: usize, known: usize, seconds: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
        command.args(["run", "--pace", "realtime", "--fps", &FPS.to_string()]);
        for index in 0..cameras {
            // A source of its own for each.
            let path = clip.with_file_name(format!("{index}-{}", clip.file_name().expect("ours").display()));
            if !path.exists() {
                std::fs::hard_link(clip, &path).expect("a second name for the clip");
            }
            command.arg("--source").arg(path);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.next().is_some(), "a hello");
        // Whatever else is said fits into the pipe.
        let now = |behind: usize| {
            std::thread::sleep(Duration::from_secs(behind as u64));
            family(child.id()).into_iter().map(Self::so_far).fold((Duration::ZERO, 0), |(a, b), (c, d)| (a + c, b + d))
        };
        let (known, then) = (now(known), now(seconds));
        assert!(lines.last().is_some() && child.wait().expect("waited").success());
        Self { cpu: then.0.saturating_sub(known.0), wakes: then.1.saturating_sub(known.1) }
    }

    /// Of one process.
    fn so_far(pid: u32) -> (Duration, u64) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        tasks.fold((Duration::ZERO, 0), |(cpu, wakes), task| {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            // Nanoseconds on a processor, then others.
            let ran = read("schedstat").split_whitespace().next().and_then(number).expect("CONFIG_SCHED_INFO");
            let status = read("status");
            let slept = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).and_then(number);
            (cpu + Duration::from_nanos(ran), wakes + slept.unwrap_or_default())
        })
    }
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|p| p.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}
