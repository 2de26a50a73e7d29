//! `detect`: pictures in, boxes out.

use std::process::Output;

use serde_json::Value;

use crate::support::{assert_refused, porchlight, sample, stderr, stdout};

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect()
}

fn labels(line: &Value) -> Vec<&str> {
    line["detections"].as_array().expect("a list").iter().filter_map(|d| d["label"].as_str()).collect()
}

#[test]
fn persons_faces_and_cats_are_found_in_the_order_given() {
    let output = porchlight()
        .arg("detect")
        .args([sample("cat.jpg"), sample("people.jpg"), sample("astronaut.jpg")])
        .output()
        .expect("starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let lines = lines(&output);
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["path"].as_str().is_some_and(|p| p.ends_with("cat.jpg")));
    assert_eq!((lines[0]["width"].as_u64(), lines[0]["height"].as_u64()), (Some(451), Some(300)));
    assert_eq!(labels(&lines[0]), ["cat"]);
    let mut people = labels(&lines[1]);
    people.sort_unstable();
    assert_eq!(people, ["face", "face", "person", "person"]);
    assert_eq!(labels(&lines[2]), ["face", "person"]);
    let face = &lines[2]["detections"][0];
    assert_eq!(face["landmarks"].as_array().map(Vec::len), Some(5));
    assert!(lines[2]["detections"][1].get("landmarks").is_none());
    for line in &lines {
        let scores: Vec<f64> =
            line["detections"].as_array().expect("a list").iter().filter_map(|d| d["score"].as_f64()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{line}");
    }
}

#[test]
fn folders_and_globs_are_sorted() {
    let by = |spec: &str| {
        let output = porchlight().args(["detect", "--model", "yunet", spec]).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        lines(&output).iter().map(|l| l["path"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let wanted: Vec<String> = ["astronaut", "cat", "hopper", "people"].map(|n| format!("samples/{n}.jpg")).to_vec();
    assert_eq!(by("samples"), wanted);
    assert_eq!(by("samples/*.jpg"), wanted);
    assert_eq!(by("samples/[ah]*.jpg"), [wanted[0].as_str(), wanted[2].as_str()]);
}

/// A JPEG's bytes with an EXIF block that holds only an orientation.
fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut out = vec![0xff, 0xd8, 0xff, 0xe1];
    out.extend(u16::try_from(exif.len() + 2).expect("short").to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

#[test]
fn exif_orientation_is_honoured() {
    let folder = tempfile::tempdir().expect("a folder");
    let jpeg = std::fs::read(sample("hopper.jpg")).expect("a sample");
    for (orientation, size) in [(1, (512, 600)), (3, (512, 600)), (6, (600, 512)), (8, (600, 512))] {
        std::fs::write(folder.path().join("a.jpg"), oriented(&jpeg, orientation)).expect("written");
        let output = porchlight()
            .args(["detect", "--model", "yunet", "--score", "0.5"])
            .arg(folder.path())
            .output()
            .expect("starts");
        let line = &lines(&output)[0];
        assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(size.0), Some(size.1)), "{orientation}");
        if orientation == 1 {
            assert_eq!(labels(line), ["face"]);
        }
    }
}

#[test]
fn long_side_changes_what_a_dynamic_model_sees_and_nothing_else_may_ask_for_it() {
    let score = |flags: &[&str]| {
        let output = porchlight()
            .args(["detect", "--model", "yunet", "samples/people.jpg"])
            .args(flags)
            .output()
            .expect("starts");
        lines(&output)[0]["detections"][0]["score"].as_f64().expect("a face")
    };
    assert_ne!(score(&["--long-side", "native"]), score(&[]));
    assert_eq!(score(&["--long-side", "640"]), score(&[]));
    assert_eq!(score(&["--long-side=1280"]), score(&["--long-side", "native"]));
    let mut command = porchlight();
    command.args(["detect", "--model", "ssdlite-mobilenet-v2", "--long-side", "640", "samples/cat.jpg"]);
    assert_refused(&mut command, 2, &["--long-side", "fixed"]);
    assert_refused(
        porchlight().args(["detect", "--model", "yunet", "--model", "yunet", "samples/cat.jpg"]),
        2,
        &["twice"],
    );
}

#[test]
fn broken_pictures_are_named_and_the_others_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let jpeg = std::fs::read(sample("cat.jpg")).expect("a sample");
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bomb.extend([0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
    for (name, bytes, wanted) in [
        ("cut.jpg", &jpeg[..jpeg.len() / 2], "cut off"),
        ("head.jpg", &jpeg[..20], "head.jpg: "),
        ("empty.jpg", &[], "no bytes"),
        ("text.png", b"hello, I am text", "not a picture"),
        ("bomb.png", &bomb, "65535x65535"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        let mut command = porchlight();
        command.args(["detect", "--model", "yunet", "samples/astronaut.jpg"]).arg(&file).arg("samples/hopper.jpg");
        assert_refused(&mut command, 4, &[name, wanted]);
        let output = command.output().expect("starts");
        assert_eq!(lines(&output).len(), 2, "{name}");
    }
    std::fs::create_dir(folder.path().join("folder.jpg")).expect("made");
    assert_refused(porchlight().args(["detect"]).arg(folder.path().join("folder.jpg")), 4, &["folder.jpg"]);
    assert_refused(porchlight().args(["detect", "none.jpg"]), 4, &["none.jpg", "No such file"]);
    assert_refused(porchlight().args(["detect", "none-*.jpg"]), 4, &["none-*.jpg"]);
    let unread = std::fs::File::create(folder.path().join("large.jpg")).expect("made");
    unread.set_len((64 << 20) + 1).expect("sparse");
    assert_refused(porchlight().args(["detect"]).arg(folder.path().join("large.jpg")), 4, &["large.jpg", "67108864"]);
}

#[test]
fn a_reader_that_went_away_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = porchlight().args(["detect", "--model", "yunet", "samples"]).stdout(writer).output().expect("starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
