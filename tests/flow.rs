//! Beginning, end and loss: signals, closed pipes, slow readers, live pace.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{self, Stream, porchlight};

/// Kills with a signal by number, through the shell's `kill`: no library needed for it.
fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()));
}

/// A run in real time that is interrupted while somebody is there: the visit ends, the camera ends, bye.
fn interrupted_by(name: &str, everybody: bool) {
    let mut child = porchlight()
        .args(["run", "--source", "samples/porch.mjpeg", "--fps", "15", "--pace", "realtime"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    while !text.contains("track.appeared") {
        assert!(lines.read_line(&mut text).expect("readable") > 0, "ended before anybody appeared:\n{text}");
    }
    if everybody {
        let found =
            std::process::Command::new("pgrep").args(["-P", &child.id().to_string()]).output().expect("pgrep starts");
        let below = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(below.split_whitespace().count(), 2, "an eye and a gatekeeper: {below}");
        below.split_whitespace().for_each(|pid| signal(pid.parse().expect("a number"), name));
    }
    signal(child.id(), name);
    let asked = Instant::now();
    lines.read_to_string(&mut text).expect("readable");
    let status = child.wait().expect("waited");
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0));
    let stream = Stream::read(&text);
    let kinds: Vec<_> = stream.lines.iter().rev().take(3).map(|l| l["type"].as_str()).collect();
    assert_eq!(kinds, [Some("bye"), Some("camera.offline"), Some("track.left")]);
    assert!(stream.of("track.left").all(|l| l["reason"] == "shutdown"));
    assert_eq!(stream.lines[stream.lines.len() - 1]["reason"], "signal");
}

#[test]
fn sigint_ends_in_order() {
    interrupted_by("INT", false);
}

#[test]
fn sigterm_ends_in_order() {
    interrupted_by("TERM", false);
}

/// As systemd does it by default: the whole control group at once, so that the eye is told twice.
#[test]
fn a_signal_to_everybody_ends_in_order() {
    interrupted_by("TERM", true);
}

/// The first line is read, then nobody listens any more: no complaint, exit 0, soon.
#[test]
fn a_closed_stdout_is_a_normal_end() {
    let mut child = porchlight()
        .args(["run", "--source", "samples/porch.mjpeg", "--fps", "15"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("readable");
    assert!(first.contains("\"type\":\"hello\""));
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

/// A reader that closes while a silent live source runs: noticed without an event.
#[test]
fn a_closed_stdout_is_noticed_in_silence() {
    let mut child = porchlight()
        .args(["run", "--source", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let jpeg = std::fs::read(support::sample("cat.jpg")).expect("committed");
    stdin.write_all(&jpeg).expect("taken");
    stdin.flush().expect("taken");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("readable");
    let closed = Instant::now();
    let status = child.wait().expect("ended");
    assert_eq!(status.code(), Some(0));
    assert!(closed.elapsed() < Duration::from_secs(5));
    drop(stdin);
}

/// A slow reader stalls the pipeline; nothing it was promised is lost and what it reads is the same.
#[test]
fn a_slow_reader_loses_nothing() {
    for format in ["native", "cloudevents", "onvif"] {
        slow_reader(format);
    }
}

fn slow_reader(format: &str) {
    let args = [
        "run",
        "--source",
        "samples/cat.jpg",
        "--source",
        "samples/people.jpg",
        "--fps",
        "5",
        "--deterministic",
        "--format",
        format,
    ];
    let fast = support::run(&args);
    let mut child = porchlight().args(args).stdout(Stdio::piped()).spawn().expect("starts");
    let mut text = String::new();
    let mut out = child.stdout.take().expect("piped");
    let mut byte = [0u8; 16];
    while let Ok(n @ 1..) = out.read(&mut byte) {
        text.push_str(std::str::from_utf8(&byte[..n]).expect("ASCII names"));
        std::thread::sleep(Duration::from_micros(500));
    }
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    assert_eq!(support::repeatable(&text), support::repeatable(&fast.stdout));
}

/// `ffmpeg ... | porchlight run --source -`, both kinds of stream.
#[test]
fn streams_on_stdin_are_told_apart_by_content() {
    let jpeg = std::fs::read(support::sample("people.jpg")).expect("committed");
    let mjpeg: Vec<u8> = (0..6).flat_map(|_| jpeg.iter().copied().chain(*b"garbage")).collect();
    let mut y4m = b"YUV4MPEG2 W64 H48 F10:1 C420jpeg\n".to_vec();
    for _ in 0..5 {
        y4m.extend_from_slice(b"FRAME\n");
        y4m.extend(std::iter::repeat_n(128u8, 64 * 48 * 3 / 2));
    }
    for (input, frames) in [(mjpeg, 6), (y4m, 5)] {
        let mut child = porchlight()
            .args(["run", "--source", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        let feed = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("ended");
        feed.join().expect("fed").expect("taken whole");
        let stream = Stream::read(&String::from_utf8_lossy(&output.stdout));
        assert_eq!((output.status.code(), stream.total("captured")), (Some(0), frames));
    }
}

/// Broken frames in a stream are counted and the stream goes on.
#[test]
fn broken_frames_are_counted_not_fatal() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("half.mjpeg");
    let jpeg = std::fs::read(support::sample("cat.jpg")).expect("committed");
    let mut broken = jpeg.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 2000].fill(0x55);
    // The frame header says 65535 x 65535.
    let mut bomb = jpeg.clone();
    let sof = bomb.windows(2).position(|w| matches!(w, [0xff, 0xc0])).expect("baseline");
    bomb[sof + 5..sof + 9].fill(0xff);
    let stream: Vec<u8> =
        [&jpeg, &bomb, &jpeg, &broken[..middle].to_vec(), &jpeg].into_iter().flatten().copied().collect();
    std::fs::write(&path, stream).expect("written");
    let done = support::run(&["run", "--source", path.to_str().expect("UTF-8")]);
    let stream = Stream::read(&done.stdout);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(stream.total("undecodable") >= 1, "{}", done.stdout);
    assert!(stream.total("captured") - stream.total("undecodable") >= 2, "{}", done.stdout);
}

/// The law of the ledger under real-time pace, and the pace itself.
#[test]
fn realtime_pace_takes_the_time_of_the_stream() {
    let began = Instant::now();
    let done = support::run(&["run", "--source", "synth:320x240@20:30", "--pace", "realtime"]);
    let took = began.elapsed();
    let stream = Stream::read(&done.stdout);
    assert_eq!(stream.total("captured"), 30);
    assert!(took >= Duration::from_millis(1400), "30 frames at 20 a second took {took:?}");
}
