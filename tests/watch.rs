//! `watch`: the view of a real stream, and of what is no stream.

use std::io::Write;
use std::process::Stdio;

use crate::scene::native;
use crate::support::{Done, Stream, porchlight};

fn watch(input: &[u8]) -> Done {
    let mut child = porchlight()
        .arg("watch")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let done = child.wait_with_output().expect("ended").into();
    feed.join().expect("fed").expect("taken");
    done
}

#[test]
fn where_stdout_is_no_terminal_the_last_view_is_printed_once() {
    let done = watch(native().as_bytes());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let stream = Stream::read(native());
    let wanted = |text: &str| assert!(done.stdout.contains(text), "{text}: {}", done.stdout);
    wanted(&format!("STREAM  {} events, 0 gaps, 0 other lines", stream.lines.len()));
    let persons = stream.of("track.appeared").filter(|l| l["label"] == "person").count();
    wanted(&format!("person {persons}"));
    wanted("offline (end_of_stream)");
    wanted("  ended (end_of_stream)\n");
    wanted(" HERE\n");
    wanted("updates gave way, 0 faults\n");
    let captured = stream.total("captured");
    assert!(
        done.stdout.lines().any(|l| l.starts_with("porch ") && l.contains(&format!(" {captured} "))),
        "{}",
        done.stdout
    );
    assert!(done.stdout.lines().all(|l| l.chars().count() <= 80 && !l.contains('\u{1b}')), "{}", done.stdout);
    assert_eq!(done.stdout.matches("STREAM").count(), 1);
}

#[test]
fn broken_lines_are_counted_and_what_is_no_stream_is_refused() {
    let events = native().lines().count();
    let mut odd = native().replacen('\n', "\n\u{1b}[2J\n", 1).into_bytes();
    odd.extend_from_slice(b"\xff\xfe{\n");
    odd.extend_from_slice(&vec![b'x'; 200_000]);
    let done = watch(&odd);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains(&format!("{events} events, 0 gaps, 3 other lines")), "{}", done.stdout);
    assert!(!done.stdout.contains('\u{1b}'));
    for nothing in [&b""[..], b"hello\n", b"{\"type\":\"new\"}\n"] {
        let done = watch(nothing);
        assert_eq!(done.code, Some(4), "{}", done.stderr);
        assert!(done.stderr.starts_with("porchlight: watch: stdin: wanted events") && done.stderr.lines().count() == 1);
    }
}

/// On a terminal: drawn in place, at its size, without colour and without leaving anything but text behind.
#[test]
fn on_a_terminal_it_is_drawn_in_place() {
    let script = std::process::Command::new("sh").args(["-c", "command -v script"]).stdout(Stdio::null()).status();
    if !script.is_ok_and(|s| s.success()) {
        eprintln!("skipped: wanted script(1), which makes a terminal");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("events"), native()).expect("written");
    let line =
        format!("stty cols 80 rows 24; {} watch < {}/events", env!("CARGO_BIN_EXE_porchlight"), dir.path().display());
    let output = std::process::Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("\u{1b}[2J\u{1b}[H"), "{text:?}");
    // Clearing and moving home are all that is asked of the terminal: no colour.
    for control in text.split('\u{1b}').skip(1) {
        assert!(["[2J", "[H", "[K", "[J"].iter().any(|c| control.starts_with(c)), "{control:?}");
    }
    let last = text.rsplit("\u{1b}[H").next().expect("a screen");
    assert!(last.contains("STREAM") && last.matches("\r\n").count() <= 24, "{last:?}");
}
