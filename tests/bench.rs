//! `bench`: what it prints is whole and consistent, and `compare` knows what it cannot tell. No test looks at a time.

use std::path::Path;

use serde_json::Value;

use crate::support::{assert_refused, porchlight, stderr, stdout};

/// A short measurement of the smallest model.
fn measured(folder: &Path, flags: &[&str]) -> Value {
    let mut command = porchlight();
    command.args(["bench", "--json", "--seconds", "0.2", "--warm-up", "0", "--model", "yunet", "--html"]);
    let output = command.arg(folder.join("page.html")).args(flags).output().expect("starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{flags:?}");
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

fn samples(side: &Value) -> Vec<f64> {
    let turns = side["turns"].as_array().expect("turns");
    assert_eq!(turns.len(), 10);
    turns.iter().flat_map(|t| t.as_array().expect("a turn")).map(|v| v.as_f64().expect("a number")).collect()
}

#[test]
fn a_measurement_tells_what_it_is_made_of() {
    let folder = tempfile::tempdir().expect("a folder");
    for (scenario, pictures) in [("single-stream", 1), ("offline", 1), ("multi-stream", 3)] {
        let mut flags = vec!["--threads", "1,2", "--scenario", scenario];
        if scenario == "multi-stream" {
            flags.extend(["--streams", "3"]);
        }
        let report = measured(folder.path(), &flags);
        let rows = report["rows"].as_array().expect("rows");
        assert_eq!(rows.iter().map(|r| r["threads"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
        for row in rows {
            assert_eq!((&row["subject"], &row["scenario"]), (&Value::from("yunet"), &Value::from(scenario)));
            assert_eq!(row["pictures"], pictures);
            assert_eq!(row["sha256"].as_str().map(str::len), Some(64));
            for side in ["ours", "bare"] {
                let (side, all) = (&row[side], samples(&row[side]));
                let at = |key: &str| side["summary"][key].as_f64().expect("a number");
                assert_eq!(at("n"), all.len() as f64);
                assert_eq!(at("max"), all.iter().copied().fold(0.0, f64::max));
                let order = ["min", "p50", "p90", "p99", "p999", "max"].map(at);
                assert!(order.is_sorted() && order[0] > 0.0, "{order:?}");
                assert!(side["pictures_per_second"].as_f64() > Some(0.0));
                assert!(side["cpu_ms_per_picture"].as_f64() > Some(0.0));
            }
            assert!(row["percent_of_bare"].as_f64() > Some(0.0), "{row}");
            assert!(row["cold_start_ms"][0].as_f64() > Some(0.0));
            assert!(["good", "fair", "poor"].map(Value::from).contains(&row["judgement"]["grade"]));
        }
        assert!(report["runtime"]["build"].as_str().is_some_and(|b| !b.is_empty()));
        let page = std::fs::read_to_string(folder.path().join("page.html")).expect("written");
        assert_eq!(page.matches("<svg").count(), 4, "a histogram and a course for each row");
        for outside in ["http:", "https:", " src=", "<link", "<script"] {
            assert!(!page.contains(outside), "not self-contained: {outside}");
        }
    }
}

#[test]
fn the_pipeline_is_measured_as_a_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = folder.path().join("still.mjpeg");
    let picture = std::fs::read(crate::support::sample("cat.jpg")).expect("committed");
    std::fs::write(&clip, picture.repeat(12)).expect("written");
    let mut command = porchlight();
    command.args(["bench", "--json", "--scenario", "pipeline", "--seconds", "0.1", "--threads", "1", "--source"]);
    let output = command.arg(&clip).output().expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let row = &report["rows"][0];
    assert_eq!((&row["subject"], &row["pictures"]), (&Value::from("still.mjpeg"), &Value::from(12)));
    assert_eq!(row["ours"]["turns"].as_array().map(Vec::len), Some(4), "runs until there is an interval");
    let program = &row["program"];
    assert_eq!(program["totals"]["cameras"][0]["captured"], 12);
    for stage in ["vision", "scout", "report", "writer"] {
        assert!(program["stage_cpu_ms"][stage].as_f64().is_some(), "{stage}: {program}");
    }
    assert!(row["rss_bytes"].as_u64() > Some(10_000_000));
}

/// Every sample of a result times so much, and the measurement declared sound.
fn scaled(mut report: Value, by: f64) -> Value {
    for row in report["rows"].as_array_mut().expect("rows") {
        row["judgement"]["grade"] = "good".into();
        for (t, turn) in row["ours"]["turns"].as_array_mut().expect("turns").iter_mut().enumerate() {
            // Not what the machine happened to do: a turn's unrest of a percent.
            *turn = (0..9).map(|i| by * (10.0 + 0.01 * f64::from(i) + 0.01 * t as f64)).collect::<Vec<f64>>().into();
        }
    }
    report
}

#[test]
fn compare_tells_what_is_faster_or_that_it_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = measured(folder.path(), &["--threads", "1"]);
    let file = |name: &str, report: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, report.to_string()).expect("written");
        path
    };
    let (a, b) = (file("a.json", &scaled(report.clone(), 1.0)), file("b.json", &scaled(report.clone(), 1.5)));
    let mut poor = scaled(report.clone(), 1.5);
    poor["rows"][0]["judgement"]["grade"] = "poor".into();
    let poor = file("poor.json", &poor);
    let compared = |a: &Path, b: &Path| {
        let mut command = porchlight();
        let output = command.args(["bench", "compare", "--json"]).args([a, b]).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let value: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        (value[0]["time"]["ratio"].as_f64().unwrap_or(0.0), value[0]["verdict"].as_str().unwrap_or("").to_owned())
    };
    let (ratio, verdict) = compared(&a, &b);
    assert!((ratio - 1.5).abs() < 1e-9 && verdict == "B takes 50.0 % longer than A", "{ratio} {verdict}");
    assert_eq!(compared(&b, &a).1, "B takes 33.3 % less time than A");
    assert_eq!(compared(&a, &a).1, "cannot tell: the interval holds 1");
    assert_eq!(compared(&a, &poor).1, "cannot tell: a measurement was poor");

    let mut other = report.clone();
    other["rows"][0]["scenario"] = "offline".into();
    let mut form = report;
    form["form"] = 99.into();
    let (other, form, text) =
        (file("o.json", &other), file("f.json", &form), file("t.json", &Value::from("no result")));
    for (b, wanted) in [
        (other, "no measurement in common"),
        (form, "form: wanted 1, found 99"),
        (text, "bench --json"),
        ("nowhere.json".into(), "nowhere.json: cannot be read"),
        (folder.path().into(), "wanted a file"),
    ] {
        assert_refused(porchlight().args(["bench", "compare"]).arg(&a).arg(b), 2, &[wanted]);
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_one_line() {
    for (line, code, wanted) in [
        (&["--model", "nobody"][..], 3, &["model 'nobody'"][..]),
        (
            &["--model", "yunet", "--batch", "4"],
            2,
            &["--batch 4", "yunet", "'input'", "[1, 3, -1, -1]", "one picture at a time"],
        ),
        (&["--model", "yunet", "--model", "yunet"], 2, &["--model yunet is given twice"]),
        (&["--threads", "2,2"], 2, &["--threads 2 is given twice"]),
        (&["--streams", "4"], 2, &["--streams", "multi-stream"]),
        (&["--source", "x.mjpeg"], 2, &["--source", "pipeline"]),
        (&["--scenario", "pipeline"], 2, &["wanted one --source CLIP"]),
        (&["--scenario", "pipeline", "--source", "x.mjpeg", "--model", "yunet"], 2, &["--model", "configured"]),
        (&["--scenario", "pipeline", "--source", "/nowhere.mjpeg"], 4, &["/nowhere.mjpeg"]),
        (&["--seconds", "0"], 2, &["--seconds", "0.1..=86400"]),
    ] {
        assert_refused(porchlight().arg("bench").args(line), code, wanted);
    }
}
