//! The main job on real input: the committed clip in, events out, held against the clip's known truth.

use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{self, Stream, ms, repeatable, sample};

const PORCH: [&str; 5] = ["run", "--source", "samples/porch.mjpeg", "--fps", "15"];

/// One run of the clip, shared by the tests that only read it.
fn porch() -> &'static str {
    static STDOUT: OnceLock<String> = OnceLock::new();
    STDOUT.get_or_init(|| {
        let done = support::run(&[&PORCH[..], &["--deterministic", "--threads", "2"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        done.stdout
    })
}

fn truth() -> Value {
    let text = std::fs::read_to_string(sample("porch.truth.json")).expect("committed");
    serde_json::from_str(&text).expect("JSON")
}

/// Every visit of the truth is one track: right label, told soon, dwell within 10 %; and there is nothing else.
#[test]
fn the_clip_is_told_as_it_was() {
    let stream = Stream::read(porch());
    let truth = truth();
    let visits = truth["visits"].as_array().expect("a list");
    let mut appeared: Vec<&Value> = stream.of("track.appeared").collect();
    for visit in visits {
        let (enter, leave) = (visit["enter_ms"].as_i64().expect("ms"), visit["leave_ms"].as_i64().expect("ms"));
        let index = appeared
            .iter()
            .position(|a| {
                a["label"] == visit["label"] && (enter - 400..enter + 1000).contains(&ms(a)) && starts_at(a, visit)
            })
            .unwrap_or_else(|| panic!("nobody told of {visit} among {appeared:?}"));
        let track = &appeared.remove(index)["track"];
        let left = stream.of("track.left").find(|l| l["track"] == *track).expect("balanced");
        let dwell = left["dwell_ms"].as_i64().expect("ms");
        let wanted = leave - enter;
        assert!((dwell - wanted).abs() * 10 <= wanted, "{}: dwell {dwell}, wanted {wanted}", visit["name"]);
    }
    assert!(appeared.is_empty(), "tracks that nobody made: {appeared:?}");
}

/// Two visits may begin together: the box tells them apart.
fn starts_at(appeared: &Value, visit: &Value) -> bool {
    let at = ms(appeared) as f64;
    let boxes = visit["boxes"].as_array().expect("a list");
    let near = boxes.iter().min_by_key(|b| (b[0].as_f64().expect("ms") - at).abs() as i64).expect("not empty");
    let centre = (near[1].as_f64().expect("x") + near[3].as_f64().expect("w") / 2.0) / 1280.0;
    let found = appeared["box"][0].as_f64().expect("x") + appeared["box"][2].as_f64().expect("w") / 2.0;
    (centre - found).abs() < 0.15
}

/// The truth's box at that time, a straight line between those it has, five a second; in shares of the frame.
fn between(visit: &Value, at: i64) -> Option<[f64; 4]> {
    let boxes = visit["boxes"].as_array().expect("a list");
    let n = |b: &Value, i: usize| b[i].as_f64().expect("a number");
    let pair = boxes.windows(2).find(|pair| n(&pair[0], 0) <= at as f64 && at as f64 <= n(&pair[1], 0))?;
    let share = (at as f64 - n(&pair[0], 0)) / (n(&pair[1], 0) - n(&pair[0], 0));
    Some([(1, 1280.0), (2, 720.0), (3, 1280.0), (4, 720.0)].map(|(i, of)| {
        let (before, after) = (n(&pair[0], i), n(&pair[1], i));
        (before + share * (after - before)) / of
    }))
}

/// While a visit lasts, what is told of it lies on the truth's box.
#[test]
fn boxes_lie_on_what_is_there() {
    let stream = Stream::read(porch());
    let truth = truth();
    let mut checked = 0;
    for line in stream.lines.iter().filter(|l| l["type"] == "track.updated") {
        let at = ms(line);
        let n = |v: &Value| v.as_f64().expect("a number");
        let told: Vec<f64> = line["box"].as_array().expect("a box").iter().map(n).collect();
        let visits = truth["visits"].as_array().expect("a list").iter().filter(|v| v["label"] == line["label"]);
        let best = visits
            .filter_map(|visit| between(visit, at))
            .map(|[x, y, w, h]| {
                let iw = (x + w).min(told[0] + told[2]) - x.max(told[0]);
                let ih = (y + h).min(told[1] + told[3]) - y.max(told[1]);
                let inter = iw.max(0.0) * ih.max(0.0);
                inter / (w * h + told[2] * told[3] - inter)
            })
            .fold(0.0, f64::max);
        assert!(best > 0.7, "IoU {best:.2}: {line}");
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} updates");
}

/// Motion decides where to look: the empty parts of the clip, its flash included, cost no inference but the sweeps.
#[test]
fn stillness_is_not_looked_at() {
    let stream = Stream::read(porch());
    assert_eq!(stream.total("captured"), 315);
    let still = stream.total("still");
    assert!(still >= 80, "only {still} of 315 frames were still, though nobody is there in about 120");
}

/// A file's frames that nobody would open are passed over unread, and others are read piece by piece until something moves; those of a
/// stream are read all the same. Each is counted, and what moves is looked at in the same frames.
#[test]
fn frames_that_are_not_read_count_like_those_that_are() {
    let (width, height, frames) = (320_usize, 240_usize, 240_u64);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("still.y4m");
    let mut clip = format!("YUV4MPEG2 W{width} H{height} F30:1 Cmono\n").into_bytes();
    for frame in 0..frames as usize {
        clip.extend(b"FRAME\n");
        // Something comes when all has been still for long.
        let thing = frame.saturating_sub(180) * 4;
        clip.extend((0..width * height).map(|i| {
            let is_thing = i % width < thing && (80..160).contains(&(i / width));
            if is_thing { 220 } else { (i % width / 2 + (i * 7 + frame) % 2) as u8 }
        }));
    }
    std::fs::write(&path, clip).expect("written");
    let told = |from_file: bool| {
        let mut command = support::porchlight();
        command.args(["run", "--deterministic", "--source"]);
        match from_file {
            true => command.arg(&path),
            false => command.arg("-").stdin(std::fs::File::open(&path).expect("it is there")),
        };
        let output = command.output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", support::stderr(&output));
        let stream = Stream::read(&support::stdout(&output));
        ["captured", "still", "inferred", "displaced", "undecodable"].map(|what| stream.total(what))
    };
    let [captured, still, inferred, ..] = told(true);
    assert!(captured == frames && still > captured / 2, "{still} of {captured} still");
    assert!(inferred > 10, "{inferred} looked at");
    assert_eq!(told(true), told(false));
}

#[test]
fn a_replay_says_the_same_bytes_on_any_number_of_threads() {
    for threads in ["1", "3"] {
        let done = support::run(&[&PORCH[..], &["--deterministic", "--threads", threads]].concat());
        assert_eq!(repeatable(&done.stdout), repeatable(porch()), "{threads} threads");
    }
    assert!(!porch().contains("age_ms"));
}

#[test]
fn start_moves_every_time_and_age_is_told_unless_deterministic() {
    let args = [&PORCH[..], &["--start", "2026-03-04T05:06:07Z"]].concat();
    let done = support::run(&args);
    let stream = Stream::read(&done.stdout);
    let plain = Stream::read(porch());
    let shift = ms(&stream.lines[0]) - ms(&plain.lines[0]);
    assert_eq!(stream.lines[0]["ts"], "2026-03-04T05:06:07.000Z");
    for (a, b) in stream.of("track.appeared").zip(plain.of("track.appeared")) {
        assert_eq!(ms(a) - ms(b), shift);
        assert!(a["age_ms"].is_u64());
    }
    assert_ne!(stream.lines[0]["boot"], plain.lines[0]["boot"]);
}

/// Two files at once: told in the order of stream time, each under its own name, tracks numbered over both.
#[test]
fn two_files_are_merged_by_their_own_time() {
    let args =
        ["run", "--source", "samples/porch.mjpeg", "--source", "samples/people.jpg", "--fps", "15", "--deterministic"];
    let (first, second) = (support::run(&args), support::run(&args));
    assert_eq!(repeatable(&first.stdout), repeatable(&second.stdout));
    let stream = Stream::read(&first.stdout);
    let cameras: Vec<&Value> = stream.of("camera.online").map(|l| &l["camera"]).collect();
    assert_eq!(cameras, ["porch", "people"]);
    let times: Vec<i64> = stream.lines[1..].iter().map(ms).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn the_schema_is_strict() {
    let validator = support::validator();
    let good = serde_json::json!({"v":1,"boot":"0123456789abcdef","seq":3,"type":"dropped","ts":"2026-01-01T00:00:00.000Z",
        "camera":"a","count":2,"cause":"output_cap"});
    assert!(validator.is_valid(&good));
    let breaks: [(&str, Value); 8] = [
        ("v", 2.into()),
        ("boot", "xyz".into()),
        ("seq", (-1).into()),
        ("type", "dropped2".into()),
        ("ts", "yesterday".into()),
        ("camera", 5.into()),
        ("count", "2".into()),
        ("pixels", "AAAA".into()),
    ];
    for (key, value) in breaks {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(!validator.is_valid(&bad), "{bad}");
    }
    for key in ["v", "boot", "seq", "type", "ts", "camera", "count", "cause"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(key);
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}

/// `run.attention = "every-frame"`: nothing is passed over as still, though the picture is always the same.
#[test]
fn every_frame_is_looked_at_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, clip) = (folder.path().join("every.toml"), folder.path().join("still.mjpeg"));
    std::fs::write(&file, "[run]\nattention = \"every-frame\"\n").expect("written");
    std::fs::write(&clip, std::fs::read(sample("cat.jpg")).expect("committed").repeat(30)).expect("written");
    let looked = |configured: bool| {
        let mut command = support::porchlight();
        command.args(["run", "--fps", "15", "--source"]).arg(&clip);
        if configured {
            command.arg("--config").arg(&file);
        }
        let output = command.output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", support::stderr(&output));
        let stream = Stream::read(&support::stdout(&output));
        (stream.total("inferred"), stream.total("still"))
    };
    assert_eq!(looked(true), (30, 0));
    let (inferred, still) = looked(false);
    assert!(inferred + still == 30 && still >= 15, "{inferred} looked at, {still} still");
}
