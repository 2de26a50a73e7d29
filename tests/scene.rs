//! Zones and lines on the committed clip, against its known truth.

use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{self, Stream, ms, sample};

/// The floor of the right half, where who comes from the right appears, and a line through the middle of the picture.
const CONFIG: &str = r#"
[[camera]]
name = "porch"
source = "@"
fps = 15

[[camera.zone]]
name = "right"
points = [[0.6, 0.5], [1.0, 0.5], [1.0, 1.0], [0.6, 1.0]]
labels = ["person"]
dwell_ms = 1000

[[camera.zone]]
name = "cats"
points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
labels = ["cat"]

[[camera.line]]
name = "middle"
from = [0.5, 1.0]
to = [0.5, 0.0]
"#;

/// The clip with its zones and lines, told in one format, under the seal.
pub(crate) fn run(format: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("scene.toml");
    let source = sample("porch.mjpeg").to_string_lossy().into_owned();
    std::fs::write(&file, CONFIG.replace('@', &source)).expect("written");
    let file = file.to_string_lossy().into_owned();
    let done = support::run(&["run", "--config", &file, "--deterministic", "--threads", "2", "--format", format]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    done.stdout
}

pub(crate) fn native() -> &'static str {
    static STDOUT: OnceLock<String> = OnceLock::new();
    STDOUT.get_or_init(|| run("native"))
}

/// A visit of the truth: its label, and when and where its feet were: milliseconds, share of the width.
fn visits() -> Vec<(String, Vec<(i64, f64)>)> {
    let text = std::fs::read_to_string(sample("porch.truth.json")).expect("committed");
    let truth: Value = serde_json::from_str(&text).expect("JSON");
    let n = |v: &Value| v.as_f64().expect("a number");
    let feet = |b: &Value| (n(&b[0]) as i64, (n(&b[1]) + n(&b[3]) / 2.0) / 1280.0);
    let visits = truth["visits"].as_array().expect("a list").iter();
    visits
        .map(|v| {
            let label = v["label"].as_str().expect("a label").to_owned();
            (label, v["boxes"].as_array().expect("a list").iter().map(feet).collect())
        })
        .collect()
}

/// Everybody in the clip walks through the middle: each is counted once, the right way, within a second of passing it.
#[test]
fn everybody_who_passes_the_middle_is_counted_once_and_the_right_way() {
    let stream = Stream::read(native());
    let mut crossed: Vec<&Value> = stream.of("line.crossed").collect();
    for (label, feet) in visits() {
        let (first, last) = (feet[0].1, feet[feet.len() - 1].1);
        // Looking up the picture, the right hand is at its right.
        let direction = if last > first { "forward" } else { "backward" };
        // The cat sits down on the line for a second: passed is who is clear of it.
        let clear = |x: f64| (x - 0.5).abs() > 0.04 && (x > 0.5) != (first > 0.5);
        let passed = feet.iter().find(|f| clear(f.1)).expect("passes the middle").0;
        let index = crossed
            .iter()
            .position(|c| {
                c["label"] == label && c["direction"] == direction && (passed - 200..passed + 1200).contains(&ms(c))
            })
            .unwrap_or_else(|| panic!("{label} {direction} at {passed} is not among {crossed:?}"));
        assert_eq!(crossed.remove(index)["line"], "middle");
    }
    assert!(crossed.is_empty(), "nobody did that: {crossed:?}");
}

#[test]
fn who_comes_into_the_zone_is_told_with_the_length_of_the_stay() {
    let stream = Stream::read(native());
    let mut exits: Vec<&Value> = stream.of("zone.exit").filter(|l| l["zone"] == "right").collect();
    for (_, feet) in visits().into_iter().filter(|v| v.0 == "person") {
        let inside: Vec<i64> = feet.iter().filter(|f| f.1 > 0.6).map(|f| f.0).collect();
        let stay = inside[inside.len() - 1] - inside[0];
        let index = exits
            .iter()
            .position(|e| (e["dwell_ms"].as_i64().expect("ms") - stay).abs() <= 700 && ms(e) > inside[0])
            .unwrap_or_else(|| panic!("a stay of {stay} ms is not among {exits:?}"));
        let exit = exits.remove(index);
        assert_eq!(exit["label"], "person");
        let dwells = stream.of("zone.dwell").filter(|d| d["track"] == exit["track"]).count();
        assert_eq!(dwells, usize::from(exit["dwell_ms"].as_i64().expect("ms") >= 1000), "{exit}");
    }
    assert!(exits.is_empty(), "nobody was there: {exits:?}");
    let cats: Vec<&Value> = stream.of("zone.enter").filter(|l| l["zone"] == "cats").map(|l| &l["label"]).collect();
    assert_eq!(cats, ["cat"]);
}

#[test]
fn a_zone_for_a_label_that_no_model_knows_is_one_clear_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("scene.toml");
    let source = sample("porch.mjpeg").to_string_lossy().into_owned();
    std::fs::write(&file, CONFIG.replace('@', &source).replace("[\"cat\"]", "[\"tiger\"]")).expect("written");
    let mut command = support::porchlight();
    support::assert_refused(
        command.args(["run", "--config"]).arg(&file),
        2,
        &["camera 'porch'", "zone.cats.labels", "tiger"],
    );
}
