//! Cameras that are not there. Those that are, are the business of `cargo xtask vm`.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{self, Stream, porchlight};

/// A name that no camera has.
const ABSENT: &str = "/dev/video-that-nobody-has";

/// A camera that is not there is waited for: the run says so, goes on, and ends when it is asked to.
#[test]
fn an_absent_camera_is_offline_and_no_error() {
    let mut child = porchlight()
        .args(["run", "--camera", ABSENT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    while !text.contains("camera.offline") {
        assert!(lines.read_line(&mut text).expect("readable") > 0, "ended before it said anything:\n{text}");
    }
    let asked = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(asked.is_ok_and(|status| status.success()));
    lines.read_to_string(&mut text).expect("readable");
    let mut complaints = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut complaints).expect("readable");
    assert_eq!(child.wait().expect("waited").code(), Some(0), "{complaints}");
    let stream = Stream::read(&text);
    let reasons: Vec<_> = stream.of("camera.offline").map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("absent"), Some("shutdown")]);
    let offline = stream.of("camera.offline").next().expect("two of them");
    assert!(offline["retry_ms"].as_u64().is_some_and(|ms| (1..=1200).contains(&ms)), "{offline}");
    assert_eq!(stream.lines[0]["cameras"][0]["format"], "unknown");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
}

/// What can never be a camera is refused before anything starts.
#[test]
fn what_is_no_camera_is_one_line_and_exit_4() {
    for path in ["/dev/null", "samples/cat.jpg", "no/such/place", "/"] {
        let done = support::run(&["run", "--camera", path]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(4), ""), "{path}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{path}: {}", done.stderr);
    }
}

/// Whatever this machine has: a list with a choice for each camera, or one line that there is none.
#[test]
fn cameras_are_listed_or_there_is_none() {
    let (text, json) = (support::run(&["cameras"]), support::run(&["cameras", "--json"]));
    assert_eq!(text.code, json.code);
    if text.code == Some(0) {
        let list: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        let list = list.as_array().expect("a list");
        assert!(!list.is_empty());
        assert!(list.iter().all(|camera| text.stdout.contains(camera["path"].as_str().expect("a path"))));
    } else {
        assert_eq!((text.code, text.stdout.as_str()), (Some(4), ""));
        assert!(text.stderr.lines().count() == 1 && text.stderr.contains("no camera"), "{}", text.stderr);
    }
}
