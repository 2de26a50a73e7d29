//! The program from outside, as people and other programs meet it.

#[path = "main/cards.rs"]
mod cards;
#[path = "main/cli.rs"]
mod cli;
#[path = "main/config.rs"]
mod config;
#[path = "main/detect.rs"]
mod detect;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample(name: &str) -> PathBuf {
    root().join("samples").join(name)
}

/// porchlight with the models of the checkout; add arguments, then [`Command::output`].
fn porchlight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.env("PORCHLIGHT_MODELS", root().join("models")).env("RUST_BACKTRACE", "1").current_dir(root());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8")
}

/// The house's rule for bad input: that exit code, one line on stderr which names what it must, nothing on stdout but
/// whole JSON lines.
fn assert_refused(command: &mut Command, code: i32, wanted: &[&str]) {
    let output = command.output().expect("porchlight starts");
    let (said, printed) = (stderr(&output), stdout(&output));
    let what = format!("{command:?}\nstderr: {said}\nstdout: {printed}");
    assert_eq!(output.status.code(), Some(code), "{what}");
    assert_eq!(said.lines().count(), 1, "{what}");
    assert!(said.starts_with("porchlight: ") && said.ends_with('\n'), "{what}");
    for word in wanted {
        assert!(said.contains(word), "wanted {word:?}: {what}");
    }
    for bad in ["panicked", "backtrace", "internal error"] {
        assert!(!said.contains(bad), "{what}");
    }
    assert!(printed.is_empty() || printed.ends_with('\n'), "{what}");
    for line in printed.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{what}");
    }
}
