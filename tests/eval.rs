//! Measures of accuracy against what the reference tools say; `xtask/oracle_eval.py` made the expected numbers.

use porchlight::eval::{coco, mot, wider};
use serde_json::Value;

use crate::support::{assert_refused, porchlight, root, run, sample};

fn cases(name: &str) -> Value {
    let path = root().join("tests/eval").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON")
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("of that form")
}

fn close(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-6, "{what}: {ours}, the reference says {theirs}");
}

#[test]
fn the_twelve_numbers_are_those_of_pycocotools() {
    let cases = cases("coco.json");
    let cases = cases.as_object().expect("cases");
    assert!(cases.len() >= 9);
    for (name, case) in cases {
        let truth: coco::Truth = parsed(&case["truth"]);
        truth.check().expect("sound");
        let found: Vec<coco::Found> = parsed(&case["results"]);
        truth.check_found(&found).expect("sound");
        let stats = coco::evaluate(&truth, &found).stats();
        for ((key, ours), theirs) in
            coco::Report::STATS.iter().zip(stats).zip(case["stats"].as_array().expect("numbers"))
        {
            close(&format!("{name}: {key}"), ours, theirs.as_f64().expect("a number"));
        }
    }
}

#[test]
fn a_truth_that_makes_no_sense_is_refused() {
    let good = cases("coco.json")["plain"]["truth"].clone();
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut truth = good.clone();
        change(&mut truth);
        parsed::<coco::Truth>(&truth).check().expect_err("refused")
    };
    assert!(broken(&|t| t["annotations"][0]["id"] = 0.into()).contains("1 or more"));
    assert!(broken(&|t| t["annotations"][0]["id"] = 2.into()).contains("twice"));
    assert!(broken(&|t| t["annotations"][0]["image_id"] = 9999.into()).contains("not in this file"));
    assert!(broken(&|t| t["annotations"][0]["bbox"][2] = (-1).into()).contains("negative"));
    assert!(broken(&|t| t["images"][1]["id"] = t["images"][0]["id"].clone()).contains("same id"));
}

#[test]
fn faces_are_judged_as_the_authors_of_wider_face_do() {
    let case = cases("wider.json");
    let pictures = case["pictures"].as_array().expect("a list");
    let faces: Vec<Vec<wider::Face>> = pictures.iter().map(|p| parsed(&p["faces"])).collect();
    let pictures: Vec<wider::Picture<'_>> = pictures
        .iter()
        .zip(&faces)
        .map(|(p, faces)| {
            let mut found: Vec<[f64; 5]> = parsed(&p["found"]);
            found.sort_by(|a, b| b[4].total_cmp(&a[4]));
            wider::Picture { faces, found }
        })
        .collect();
    for (subset, ap) in case["ap"].as_object().expect("numbers") {
        close(subset, wider::average_precision(&pictures, subset), ap.as_f64().expect("a number"));
    }
    assert_eq!(wider::average_precision(&pictures, "none"), 0.0);
}

#[test]
fn tracks_are_judged_as_trackeval_does() {
    for (name, case) in cases("mot.json").as_object().expect("cases") {
        let text = |key: &str| case[key].as_str().expect("text");
        let sequence = mot::Sequence::parse(text("truth"), text("tracks")).expect("sound");
        let ours = serde_json::to_value(mot::evaluate(&sequence)).expect("JSON");
        let theirs = case["measures"].as_object().expect("numbers");
        assert_eq!(ours.as_object().expect("an object").len(), theirs.len());
        for (key, theirs) in theirs {
            close(&format!("{name}: {key}"), ours[key].as_f64().expect("a number"), theirs.as_f64().expect("a number"));
        }
    }
    for (truth, tracks, is_truth, wanted) in [
        ("1,1,0,0,5", "", true, "line 1"),
        ("", "1,1,0,0,5,5,1\n1,1,9,9,5,5,1", false, "line 2: this id is twice"),
        ("1,1.5,0,0,5,5,1", "", true, "whole numbers"),
        ("", "1,1,0,0,nan,5,1", false, "line 1"),
    ] {
        let (which, what) = mot::Sequence::parse(truth, tracks).expect_err("refused");
        assert!(which == is_truth && what.contains(wanted), "{what}");
    }
}

/// A truth over the committed samples.
fn truth(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("truth.json");
    let text = serde_json::json!({
        "images": [
            { "id": 1, "file_name": "people.jpg" }, { "id": 2, "file_name": "cat.jpg" },
            { "id": 5, "file_name": "hopper.jpg" }, { "id": 9, "file_name": "astronaut.jpg" },
        ],
        "categories": [{ "id": 1, "name": "person" }, { "id": 17, "name": "cat" }],
        "annotations": [
            { "id": 1, "image_id": 1, "category_id": 1, "bbox": [731, 204, 382, 430], "area": 164000 },
            { "id": 2, "image_id": 1, "category_id": 1, "bbox": [79, 128, 426, 511], "area": 217000 },
            { "id": 3, "image_id": 2, "category_id": 17, "bbox": [60, 20, 330, 270], "area": 89000 },
        ],
    });
    std::fs::write(&path, text.to_string()).expect("written");
    path
}

#[test]
fn shards_put_together_and_a_resumed_run_say_what_one_run_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = truth(folder.path());
    let coco = |more: &[&str]| {
        let mut command = porchlight();
        command.args(["eval", "coco"]).arg(&truth).args(["--images", "samples", "--json"]).args(more);
        let output = command.output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (saved, page) = (at("saved.json"), at("page.html"));
    let whole = coco(&["--save", &saved, "--html", &page]);
    let report: Value = serde_json::from_str(&whole).expect("JSON");
    assert!(report["stats"]["AP50"].as_f64().is_some_and(|ap| ap > 0.5), "{whole}");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<polyline") && page.contains("person") && !page.contains("http"), "{page}");
    // What was saved is judged the same.
    let mut again: Value = serde_json::from_str(&coco(&["--results", &saved])).expect("JSON");
    again["model"] = report["model"].clone();
    assert_eq!(again, report);
    assert!(!std::path::Path::new(&at("saved.json.part")).exists());

    let parts = [at("1.part"), at("2.part")];
    for (i, part) in parts.iter().enumerate() {
        assert_eq!(coco(&["--shard", &format!("{}/2", i + 1), "--save", part]), "");
    }
    let merge = |parts: &[String]| {
        let mut command = porchlight();
        command.args(["eval", "merge"]).arg(&truth).args(parts).arg("--json");
        command
    };
    let merged = merge(&parts).output().expect("starts");
    assert_eq!(String::from_utf8_lossy(&merged.stdout), whole, "{}", String::from_utf8_lossy(&merged.stderr));
    assert_refused(&mut merge(&parts[..1]), 2, &["2 of 4 pictures", "2/2"]);
    assert_refused(&mut merge(&[parts[0].clone(), parts[0].clone()]), 4, &["twice"]);

    // A run that was killed: the head, one picture and half a line.
    let part = std::fs::read_to_string(&parts[0]).expect("a part").replace("\"shard\":[1,2]", "\"shard\":[1,1]");
    let lines: Vec<&str> = part.lines().collect();
    std::fs::write(at("killed.json.part"), format!("{}\n{}\n{{\"image_id\":5,\"fou", lines[0], lines[1]))
        .expect("written");
    assert_eq!(coco(&["--resume", "--save", &at("killed.json")]), whole);
    std::fs::write(at("other.json.part"), format!("{}\n", lines[0].replace("ssdlite", "other"))).expect("written");
    let mut command = porchlight();
    command.args(["eval", "coco"]).arg(&truth).args(["--images", "samples", "--resume", "--save", &at("other.json")]);
    assert_refused(&mut command, 2, &["other.json.part", "another model"]);
}

#[test]
fn regions_find_no_less_than_the_whole_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = truth(folder.path()).to_string_lossy().into_owned();
    let done = run(&["eval", "coco", &truth, "--images", "samples", "--regions", "--json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(report["stats"]["AP50"].as_f64().is_some_and(|ap| ap > 0.5), "{report}");
}

/// The whole set of 64 pictures where the project's data is; else nothing. What the int8 model may cost: a point of AP.
#[test]
fn the_int8_model_stays_within_a_point_of_the_default_one() {
    let data = std::env::var_os("PORCHLIGHT_COCO")
        .map_or_else(|| root().join("../shared/eval/coco_val64"), std::path::PathBuf::from);
    if !data.is_dir() {
        return;
    }
    let ap = |model: &str| {
        let (truth, images) = (data.join("instances_val64.json"), data.join("images"));
        let done = run(&[
            "eval",
            "coco",
            &truth.to_string_lossy(),
            "--images",
            &images.to_string_lossy(),
            "--model",
            model,
            "--json",
        ]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
        (report["stats"]["AP"].as_f64().expect("a number"), report["stats"]["AP50"].as_f64().expect("a number"))
    };
    let (floats, bytes) = (ap("ssdlite-mobilenet-v2"), ap("ssdlite-mobilenet-v2-int8"));
    assert!(bytes.0 > floats.0 - 0.01 && bytes.1 > floats.1 - 0.02, "int8 {bytes:?}, fp32 {floats:?}");
}

/// On every machine: what the default model is sure of in the samples, the int8 one finds too, and nothing else.
#[test]
fn the_int8_model_agrees_with_the_default_one() {
    let found = |model: &str| {
        let mut list = Vec::new();
        for name in ["people.jpg", "cat.jpg", "hopper.jpg", "astronaut.jpg"] {
            let done = run(&["detect", "--model", model, &format!("samples/{name}")]);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            let said: Value = serde_json::from_str(&done.stdout).expect("JSON");
            for d in said["detections"].as_array().expect("a list") {
                let numbers: Vec<f64> =
                    d["box"].as_array().expect("four numbers").iter().filter_map(Value::as_f64).collect();
                list.push((name, d["label"].clone(), numbers, d["score"].as_f64().expect("a score")));
            }
        }
        list
    };
    let (floats, bytes) = (found("ssdlite-mobilenet-v2"), found("ssdlite-mobilenet-v2-int8"));
    assert!(floats.len() >= 4, "{floats:?}");
    for (sure, other) in [(&floats, &bytes), (&bytes, &floats)] {
        for (picture, class, place, score) in sure.iter().filter(|d| d.3 >= 0.65) {
            let near = other.iter().any(|(p, c, at, s)| {
                let size = place[2].max(place[3]);
                p == picture
                    && c == class
                    && (s - score).abs() < 0.12
                    && place.iter().zip(at).all(|(a, b)| (a - b).abs() < 0.06 * size)
            });
            assert!(near, "{picture}: {class} {place:?} {score} has no like in {other:?}");
        }
    }
}

#[test]
fn accuracy_is_plotted_against_what_bench_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = truth(folder.path()).to_string_lossy().into_owned();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let bench = run(&[
        "bench",
        "--model",
        "ssdlite-mobilenet-v2",
        "--threads",
        "1",
        "--seconds",
        "0.1",
        "--warm-up",
        "0",
        "--json",
    ]);
    assert_eq!(bench.code, Some(0), "{}", bench.stderr);
    std::fs::write(at("bench.json"), &bench.stdout).expect("written");
    let (page, measured) = (at("page.html"), at("bench.json"));
    let done = run(&["eval", "coco", &truth, "--images", "samples", "--html", &page, "--beside", &measured]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let html = std::fs::read_to_string(&page).expect("written");
    assert!(html.contains("Accuracy and latency") && html.contains("<title>ssdlite-mobilenet-v2: AP "), "{html}");
    let refused = |more: &[&str], code, wanted: &[&str]| {
        assert_refused(porchlight().args(["eval", "coco", &truth, "--images", "samples"]).args(more), code, wanted);
    };
    refused(&["--html", &page, "--beside", &truth], 4, &["--beside", "truth.json", "bench --json"]);
    refused(&["--beside", &measured], 2, &["--beside", "--html"]);
}

#[test]
fn bad_truths_results_and_shards_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = truth(folder.path()).to_string_lossy().into_owned();
    let coco = |more: &[&str]| {
        let mut command = porchlight();
        command.args(["eval", "coco", &truth]).args(more);
        command
    };
    assert_refused(&mut coco(&["--shard", "3/2", "--save", "x"]), 2, &["--shard", "3/2"]);
    assert_refused(&mut coco(&["--shard", "1/2"]), 2, &["--save"]);
    assert_refused(&mut coco(&["--images", "nowhere"]), 4, &["nowhere/people.jpg"]);
    assert_refused(&mut coco(&["--model", "sface"]), 3, &["sface", "wanted a detector"]);
    let results = folder.path().join("results.json");
    std::fs::write(&results, r#"[{"image_id":77,"category_id":1,"bbox":[0,0,1,1],"score":0.5}]"#).expect("written");
    assert_refused(coco(&["--results"]).arg(&results), 4, &["results.json", "row 1", "77"]);
    std::fs::write(&results, "{}").expect("written");
    assert_refused(coco(&["--results"]).arg(&results), 4, &["results.json"]);
    assert_refused(porchlight().args(["eval", "coco", "none.json"]), 4, &["none.json"]);
    assert_refused(porchlight().args(["eval", "mot", "none.txt", "none.txt"]), 4, &["none.txt"]);
    assert_refused(porchlight().args(["eval", "events", &truth, &truth]), 4, &["truth.json"]);
}

#[test]
fn the_clip_is_told_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = sample("porch.mjpeg").to_string_lossy().into_owned();
    let stream = run(&["run", "--source", &clip, "--fps", "15", "--deterministic"]);
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, &stream.stdout).expect("written");
    let done = run(&["eval", "events", "samples/porch.truth.json", &path.to_string_lossy(), "--json"]);
    let measures: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(
        (&measures["precision"], &measures["recall"], &measures["duplicates"]),
        (&1.0.into(), &1.0.into(), &0.0.into()),
        "{measures}"
    );
    assert!(measures["dwell_error"].as_f64().is_some_and(|e| e < 0.1), "{measures}");
}
