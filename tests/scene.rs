//! Zones and lines on the committed clip, against its known truth; and the same facts in other systems' words.

use std::collections::BTreeMap;
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

fn run(format: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("scene.toml");
    let source = sample("porch.mjpeg").to_string_lossy().into_owned();
    std::fs::write(&file, CONFIG.replace('@', &source)).expect("written");
    let file = file.to_string_lossy().into_owned();
    let mut args = vec!["run", "--config", &file, "--deterministic", "--threads", "2", "--format", format];
    if format != "native" {
        // The seal's gate knows native lines only.
        args.push("--no-seal");
    }
    let done = support::run(&args);
    let warned = format != "native";
    assert_eq!((done.code, done.stderr.contains("--no-seal")), (Some(0), warned), "{}", done.stderr);
    done.stdout
}

fn native() -> &'static str {
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

/// The rules of CloudEvents 1.0 (core specification and JSON format) that concern events like ours, written down here from
/// the specification and checked by a validator that is not ours.
fn cloudevents_schema() -> Value {
    serde_json::json!({
        "type": "object",
        "required": ["id", "source", "specversion", "type"],
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1, "pattern": r"^[A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]+$"},
            "specversion": {"const": "1.0"},
            "type": {"type": "string", "minLength": 1},
            "datacontenttype": {"const": "application/json"},
            "subject": {"type": "string", "minLength": 1},
            "time": {"type": "string",
                "pattern": r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"},
            "data": {"type": "object"}
        },
        // Names of attributes: lower-case letters and digits.
        "propertyNames": {"pattern": "^[a-z0-9]+$"},
        "not": {"required": ["data", "data_base64"]}
    })
}

#[test]
fn cloudevents_are_the_native_lines_in_envelopes() {
    let stdout = run("cloudevents");
    let envelope = jsonschema::draft202012::new(&cloudevents_schema()).expect("a schema");
    let mut inner = String::new();
    let mut ids = std::collections::BTreeSet::new();
    for line in stdout.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert!(envelope.is_valid(&event), "{line}");
        assert!(ids.insert(event["id"].to_string()), "twice: {line}");
        let data = &event["data"];
        assert_eq!(event["time"], data["ts"]);
        assert_eq!(event["type"], format!("porchlight.{}", data["type"].as_str().expect("a type")));
        let source = data["camera"].as_str().map_or("/porchlight".to_owned(), |c| format!("/porchlight/{c}"));
        assert_eq!(event["source"], source);
        assert_eq!(event["subject"].as_str().map(str::to_owned), data["track"].as_u64().map(|t| format!("track/{t}")));
        let start = line.find("\"data\":").expect("data") + "\"data\":".len();
        inner.push_str(&line[start..line.len() - 1]);
        inner.push('\n');
    }
    Stream::read(&inner);
    assert_eq!(repeatable_but_boot(&inner), repeatable_but_boot(native()));
}

/// The run's name is made of its configuration, and the format is part of that.
fn repeatable_but_boot(stdout: &str) -> Vec<&str> {
    support::repeatable(stdout).into_iter().map(|l| l.split_once(",\"seq\"").expect("a header").1).collect()
}

/// The message of `frigate/events` as its documentation has it, with the fields that automations use.
fn frigate_schema() -> Value {
    let time = serde_json::json!({"type": "number", "minimum": 0});
    let zones = serde_json::json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true});
    let corners = serde_json::json!({"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4});
    let object = serde_json::json!({
        "type": "object",
        "required": ["id", "camera", "frame_time", "snapshot_time", "label", "sub_label", "top_score", "false_positive",
            "start_time", "end_time", "score", "box", "area", "ratio", "region", "stationary", "motionless_count",
            "position_changes", "current_zones", "entered_zones", "thumbnail", "has_snapshot", "has_clip", "attributes",
            "current_attributes"],
        "properties": {
            "id": {"type": "string", "pattern": r"^\d+\.\d+-[a-z0-9]+$"},
            "camera": {"type": "string"}, "label": {"type": "string"},
            "frame_time": time, "snapshot_time": time, "start_time": time,
            "end_time": {"type": ["number", "null"]},
            "sub_label": {"type": "null"}, "thumbnail": {"type": "null"},
            "has_snapshot": {"const": false}, "has_clip": {"const": false}, "false_positive": {"const": false},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "top_score": {"type": "number", "minimum": 0, "maximum": 1},
            "box": corners, "region": corners,
            "area": {"type": "integer"}, "ratio": {"type": "number"},
            "stationary": {"type": "boolean"}, "active": {"type": "boolean"},
            "motionless_count": {"type": "integer"}, "position_changes": {"type": "integer"},
            "current_zones": zones, "entered_zones": zones,
            "attributes": {"type": "object"}, "current_attributes": {"type": "array"}
        },
        "additionalProperties": false
    });
    serde_json::json!({
        "type": "object",
        "required": ["type", "before", "after"],
        "properties": {"type": {"enum": ["new", "update", "end"]}, "before": object, "after": object},
        "additionalProperties": false
    })
}

#[test]
fn frigate_messages_tell_the_same_visits() {
    let stdout = run("frigate");
    let schema = jsonschema::draft202012::new(&frigate_schema()).expect("a schema");
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    let (mut ended, mut news, mut zoned) = (0, 0, 0);
    for line in stdout.lines() {
        let message: Value = serde_json::from_str(line).expect("JSON");
        if let Err(e) = schema.validate(&message) {
            panic!("{e}: {line}");
        }
        let (before, after) = (&message["before"], &message["after"]);
        let id = after["id"].as_str().expect("an id").to_owned();
        match message["type"].as_str() {
            Some("new") => {
                news += 1;
                assert_eq!(before, after);
                assert!(last.insert(id, after.clone()).is_none(), "{line}");
            }
            Some("end") => {
                ended += 1;
                assert_eq!(last.remove(&id).as_ref(), Some(before), "{line}");
                assert!(after["end_time"].is_number() && after["current_zones"] == serde_json::json!([]), "{line}");
                zoned += usize::from(after["entered_zones"] == serde_json::json!(["right"]));
            }
            _ => assert_eq!(last.insert(id, after.clone()).as_ref(), Some(before), "before is the last after: {line}"),
        }
    }
    let stream = Stream::read(native());
    assert!(last.is_empty());
    assert_eq!((news, ended), (stream.of("track.appeared").count(), stream.of("track.left").count()));
    assert_eq!(zoned, stream.of("zone.enter").filter(|l| l["zone"] == "right").count());
}
