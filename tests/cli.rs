//! The command line.

use crate::support::{assert_refused, porchlight, stderr, stdout};

#[test]
fn help_names_every_command_and_exits_0() {
    let output = porchlight().arg("--help").output().expect("porchlight starts");
    assert_eq!(output.status.code(), Some(0));
    for command in ["run", "detect", "cameras", "models", "faces", "bench", "eval", "schema", "check", "config"] {
        assert!(stdout(&output).contains(&format!("  {command}")), "{command}");
    }
    assert!(stderr(&output).is_empty());
}

#[test]
fn mistakes_are_one_line_and_exit_2() {
    for (line, wanted) in [
        (&[][..], &["no command", "detect"][..]),
        (&["rnu"], &["rnu", "did you mean run?"]),
        (&["models", "lits"], &["did you mean list?"]),
        (&["run", "--sorce", "x"], &["--sorce", "did you mean source?"]),
        (&["run", "--fps", "0"], &["--fps", "0.1..=240", "\"0\""]),
        (&["run", "--fps"], &["--fps", "wanted a value"]),
        (&["run", "--fps", "5", "--fps", "5"], &["--fps", "twice"]),
        (&["run", "--start", "today"], &["--start", "RFC 3339"]),
        (&["run", "--pace", "slow"], &["--pace", "fast, realtime"]),
        (&["run", "--threads", "many"], &["--threads", "1..=64"]),
        (&["run", "--format", "xml"], &["--format", "cloudevents", "onvif", "\"xml\""]),
        (&["run", "--no-seal=1"], &["--no-seal", "takes no value"]),
        (&["detect"], &["detect", "PATH"]),
        (&["detect", "--score", "2", "x.png"], &["--score", "0..=1"]),
        (&["detect", "--long-side", "huge", "x.png"], &["--long-side", "32..=8192"]),
        (&["models", "check", "a", "b"], &["unexpected \"b\""]),
        (&["faces"], &["faces: wanted one of enroll, list, remove, compare, rekey"]),
        (&["faces", "enroll", "Ada"], &["faces enroll", "PHOTO"]),
        (&["faces", "enroll", "Ada", "a.jpg"], &["--consent"]),
        (&["bench", "model", "x"], &["bench: not built yet"]),
        (&["eval", "coco"], &["eval coco: wanted TRUTH"]),
        (&["new\nline"], &["new\\nline"]),
    ] {
        assert_refused(porchlight().args(line), 2, wanted);
    }
}

#[test]
fn arguments_that_are_no_text_are_refused_without_a_crash() {
    use std::os::unix::ffi::OsStrExt;
    let bad = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_refused(porchlight().arg(bad), 2, &["no command"]);
    assert_refused(porchlight().args(["run", "--fps"]).arg(bad), 2, &["--fps", "UTF-8"]);
    assert_refused(porchlight().args(["models", "info"]).arg(bad), 2, &["UTF-8"]);
    assert_refused(porchlight().arg("detect").arg(bad), 4, &["UTF-8"]);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = porchlight().arg("--help").stdout(writer).output().expect("porchlight starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
