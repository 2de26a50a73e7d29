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
        (&["bench", "model", "x"], &["bench: unexpected \"model\""]),
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

/// The words that bash would offer at the end of this line.
fn completed(script: &std::path::Path, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let program = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _porchlight; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    let output = std::process::Command::new("bash").args(["-c", &program]).output().expect("bash starts");
    assert!(stderr(&output).is_empty(), "{}", stderr(&output));
    stdout(&output).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_what_the_tables_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = dir.path().join("porchlight");
    let output = porchlight().args(["help", "--as", "bash"]).output().expect("porchlight starts");
    assert_eq!(output.status.code(), Some(0));
    std::fs::write(&script, &output.stdout).expect("written");
    let offered = |line: &str| completed(&script, line);
    assert_eq!(offered("porchlight mo"), ["models"]);
    assert_eq!(offered("porchlight models ch"), ["check"]);
    assert_eq!(offered("porchlight run --no"), ["--no-seal"]);
    assert_eq!(offered("porchlight run --format on"), ["onvif"]);
    assert_eq!(offered("porchlight run --fps 5 --pace r"), ["realtime"]);
    assert_eq!(offered("porchlight detect samples/ca --dr"), ["--draw"]);
    assert!(offered("porchlight detect Cargo.to").contains(&"Cargo.toml".to_owned()));
    assert!(offered("porchlight run --draw").is_empty() && offered("porchlight run --fps ").is_empty());
    assert_refused(porchlight().args(["help", "run", "--as", "man"]), 2, &["--as", "no COMMAND"]);
}

/// What formats manual pages says nothing against ours, where there is one.
#[test]
fn the_manual_page_is_one() {
    let output = porchlight().args(["help", "--as", "man"]).output().expect("porchlight starts");
    let dir = tempfile::tempdir().expect("a folder");
    let page = dir.path().join("porchlight.1");
    std::fs::write(&page, &output.stdout).expect("written");
    for (program, args) in [("groff", &["-man", "-ww", "-z"][..]), ("mandoc", &["-T", "lint", "-W", "warning"])] {
        if let Ok(said) = std::process::Command::new(program).args(args).arg(&page).output() {
            let said = format!("{}{}", stdout(&said), stderr(&said));
            assert!(said.trim().is_empty(), "{program}: {said}");
        }
    }
}
