//! The configuration file, through `config --explain`.

use std::path::Path;
use std::process::Command;

use crate::support::{assert_refused, porchlight, stderr, stdout};

const GOOD: &str = r#"
[[camera]]
name = "front"
source = "/dev/video0"
format = "mjpg"
size = [1280, 720]
fps = 15
detect = ["person", "car"]

[[camera.zone]]
name = "porch"
points = [[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1.0]]
labels = ["person"]
dwell_ms = 10000

[[camera.line]]
name = "gate"
from = [0.5, 0]
to = [0.5, 1.0]

[objects]
score = 0.4

[faces]
gallery = "faces.gallery"
match = 0.5

[run]
threads = 2
attention = "every-frame"
"#;

fn explain(folder: &Path, text: &[u8]) -> Command {
    let file = folder.join("porch.toml");
    std::fs::write(&file, text).expect("written");
    let mut command = porchlight();
    command.args(["config", "--explain", "--config"]).arg(file);
    command
}

/// The row of a key: its value and its origin.
fn row(table: &str, key: &str) -> (String, String) {
    let line =
        table.lines().find(|l| l.split_whitespace().next() == Some(key)).unwrap_or_else(|| panic!("{key}: {table}"));
    let mut cells = line.split("  ").map(str::trim).filter(|c| !c.is_empty()).skip(1);
    (cells.next().unwrap_or_default().to_owned(), cells.next().unwrap_or_default().to_owned())
}

#[test]
fn every_value_remembers_where_it_came_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let output =
        explain(folder.path(), GOOD.as_bytes()).args(["--fps", "7", "--deterministic"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    let file = |line: usize| format!("{}:{line}", folder.path().join("porch.toml").display());
    for (key, value, origin) in [
        ("camera.front.source", "\"/dev/video0\"", file(4)),
        ("camera.front.size", "[1280,720]", file(6)),
        ("camera.front.fps", "7.0", "--fps".into()),
        ("camera.front.faces", "true", "default".into()),
        ("camera.front.zone.porch.dwell_ms", "10000", file(14)),
        ("camera.front.line.gate.to", "[0.5,1.0]", file(19)),
        ("objects.model", "\"ssdlite-mobilenet-v2\"", "default".into()),
        ("objects.score", "0.4", file(22)),
        ("faces.match", "0.5", file(26)),
        ("faces.min_eye_px", "24", "default".into()),
        ("run.threads", "2", file(29)),
        ("run.attention", "\"every-frame\"", file(30)),
        ("run.deterministic", "true", "--deterministic".into()),
        ("output.bytes_per_second", "4096", "default".into()),
    ] {
        assert_eq!(row(&table, key), (value.to_owned(), origin), "{key}: {table}");
    }
    // Paths in the file are relative to it.
    assert!(row(&table, "faces.gallery").0.contains(&folder.path().display().to_string()), "{table}");
}

#[test]
fn the_hash_is_of_values_not_of_bytes() {
    let hash = |text: &str, flags: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let output = explain(folder.path(), text.as_bytes()).args(flags).output().expect("starts");
        stdout(&output).lines().last().unwrap_or_default().to_owned()
    };
    let plain = hash("[run]\nthreads = 2\n", &[]);
    assert_eq!(plain.len(), "config_sha256 ".len() + 64);
    assert_eq!(plain, hash("# a comment\n\n[run]\n  threads   =  2", &[]));
    assert_eq!(plain, hash("", &["--threads", "2"]));
    assert_ne!(plain, hash("[run]\nthreads = 3\n", &[]));
}

#[test]
fn a_recording_replays_through_a_cameras_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = explain(folder.path(), GOOD.as_bytes())
        .args(["--source", "clip.mjpeg", "--start", "2024-05-01T12:00:00Z"])
        .output()
        .expect("starts");
    let table = stdout(&output);
    assert_eq!(row(&table, "camera.front.source"), ("\"clip.mjpeg\"".into(), "--source".into()), "{}", stderr(&output));
    assert_eq!(row(&table, "camera.front.zone.porch.dwell_ms").0, "10000");
    assert!(!table.contains("camera.front.size"));
}

#[test]
fn sources_without_a_name_get_a_unique_one() {
    let mut command = porchlight();
    command.args(["config", "--explain"]);
    for source in ["a/clip one.mjpeg", "b/clip one.mjpeg", "b/*.jpg", "-"] {
        command.args(["--source", source]);
    }
    let table = stdout(&command.args(["--camera", "/dev/video3"]).output().expect("starts"));
    for (name, source) in
        [("clip_one", "a/"), ("clip_one-2", "b/clip"), ("source", "b/*"), ("stdin", "-"), ("video3", "/dev")]
    {
        let key = format!("camera.{name}.source");
        assert!(row(&table, &key).0.contains(source), "{table}");
    }
}

#[test]
fn wrong_values_are_named_with_file_line_and_key() {
    let camera = "[[camera]]\nname = 'a'\nsource = '/dev/video0'\n";
    let zone = |points: &str| format!("{camera}[[camera.zone]]\nname = 'z'\npoints = {points}\n");
    let two = format!("{camera}[[camera]]\nname = 'a'\nsource = 'x.y4m'\n");
    let many: String = (0..17).map(|i| format!("[[camera]]\nname = 'c{i}'\nsource = 'x{i}.y4m'\n")).collect();
    let stdin = "[[camera]]\nname='a'\nsource='-'\n[[camera]]\nname='b'\nsource='-'\n".to_owned();
    for (text, wanted) in [
        ("[run]\nthreads = 0".to_owned(), &["porch.toml: line 2", "run.threads", "1..=64", "found 0"][..]),
        ("[run]\nthreads = \"all\"".into(), &["porch.toml: line 2", "run.threads", "\"auto\""]),
        ("[run]\nmax_cpu = 0".into(), &["porch.toml: line 2", "run.max_cpu", "0.05..=64", "found 0"]),
        ("[run]\nmax_cpu = \"half\"".into(), &["porch.toml: line 2", "run.max_cpu", "cores", "half"]),
        ("[run]\nspeed = 3".into(), &["porch.toml: line 2", "speed", "threads"]),
        ("[rnu]\nthreads = 1".into(), &["porch.toml: line 1", "rnu"]),
        ("[objects]\nscore = 0.5\nscore = 0.6".into(), &["porch.toml: line 3", "score"]),
        ("[objects]\nscore = 1.5".into(), &["porch.toml: line 2", "objects.score", "0.01..=1", "1.5"]),
        ("[objects]\nscore = nan".into(), &["objects.score", "found NaN"]),
        ("[objects]\nscore = 'high'".into(), &["porch.toml: line 2", "invalid type"]),
        ("[objects]\nmodel = ''".into(), &["porch.toml: line 2", "objects.model"]),
        ("[faces]\nmatch = -0.1".into(), &["porch.toml: line 2", "faces.match", "0..=1"]),
        ("[faces]\nmin_eye_px = 2".into(), &["porch.toml: line 2", "faces.min_eye_px", "4..=512"]),
        ("[output]\nformat = 'xml'".into(), &["porch.toml: line 2", "output.format", "onvif", "xml"]),
        ("[output]\nbytes_per_second = -1".into(), &["porch.toml: line 2", "output.bytes_per_second", "256..=1048576"]),
        ("[[camera]]\nsource = 'x'".into(), &["porch.toml: line 1", "name"]),
        ("[[camera]]\nname = 'a b'\nsource = 'x'".into(), &["porch.toml: line 2", "camera[0].name", "A-Z"]),
        (two, &["porch.toml: line 5", "camera[1].name", "unique"]),
        (many, &["porch.toml", "at most 16 cameras", "17"]),
        (stdin, &["stdin"]),
        (format!("{camera}fps = 1000"), &["porch.toml: line 4", "camera.a.fps", "0.1..=240", "1000"]),
        (format!("{camera}size = [0, 720]"), &["porch.toml: line 4", "camera.a.size", "16..=8192"]),
        (format!("{camera}format = 'rgb'"), &["porch.toml: line 4", "camera.a.format", "auto, mjpg", "rgb"]),
        (format!("{camera}detect = []"), &["porch.toml: line 4", "camera.a.detect"]),
        (format!("{camera}detect = ['cat', 'cat']"), &["porch.toml: line 4", "\"cat\" twice"]),
        ("[[camera]]\nname = 'a'\nsource = 'x.y4m'\nsize = [640, 480]".into(), &["porch.toml: line 4", "device"]),
        (zone("[[0,0],[1,1]]"), &["porch.toml: line 6", "camera.a.zone.z.points", "3..=64"]),
        (zone("[[0,0],[1,1],[1.2,0]]"), &["porch.toml: line 6", "0..=1", "1.2"]),
        (zone("[[0,0],[1,1],[1,0],[0,1]]"), &["porch.toml: line 6", "simple polygon", "edges 1 and 3"]),
        (zone("[[0,0],[0.5,0.5],[1,1]]"), &["porch.toml: line 6", "simple polygon"]),
        (zone("[[0,0],[1,0],[1,0],[0,1]]"), &["porch.toml: line 6", "twice in a row"]),
        (format!("{camera}[[camera.line]]\nname='l'\nfrom=[0,0]\nto=[0,0]"), &["porch.toml: line 7", "another point"]),
        ("x = [".into(), &["porch.toml: line 1"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = explain(folder.path(), text.as_bytes());
        assert_refused(&mut command, 2, wanted);
    }
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_refused(
        &mut explain(folder.path(), b"[run]\nx = \"\xff\""),
        2,
        &["porch.toml", "porch.toml: line 2", "UTF-8"],
    );
    assert_refused(&mut explain(folder.path(), &vec![b'#'; (1 << 20) + 1]), 2, &["porch.toml", "1048576"]);
    let explain = || {
        let mut command = porchlight();
        command.args(["config", "--explain", "--config"]);
        command
    };
    assert_refused(explain().arg(folder.path()), 2, &["wanted a file"]);
    assert_refused(explain().arg(folder.path().join("none.toml")), 2, &["none.toml", "No such file"]);
}

#[test]
fn flags_that_nothing_obeys_are_refused() {
    let flags_only = |flags: &[&str]| {
        let mut command = porchlight();
        command.args(["config", "--explain"]).args(flags);
        command
    };
    assert_refused(&mut flags_only(&["--start", "2024-05-01T12:00:00Z"]), 2, &["--start", "file source"]);
    assert_refused(&mut flags_only(&["--camera", "/dev/video0", "--pace", "fast"]), 2, &["--pace", "file source"]);
    let folder = tempfile::tempdir().expect("a folder");
    let two = "[[camera]]\nname='a'\nsource='x'\n[[camera]]\nname='b'\nsource='y'\n";
    let mut command = explain(folder.path(), two.as_bytes());
    assert_refused(command.args(["--source", "z"]), 2, &["2 [[camera]]", "one place"]);
}
