//! Running the program and reading its stream the way a suspicious integrator would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use porchlight::model::infer::Runtime;
use serde_json::Value;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A committed sample.
pub(crate) fn sample(name: &str) -> PathBuf {
    root().join("samples").join(name)
}

/// The program, with a clean environment apart from where tools are found.
pub(crate) fn porchlight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.current_dir(root()).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    command
}

/// ONNX Runtime in this process, which has one environment.
pub(crate) static RUNTIME: std::sync::LazyLock<Runtime> = std::sync::LazyLock::new(|| Runtime::load().expect("set up"));

/// What a finished program left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

/// Runs to the end.
pub(crate) fn run(args: &[&str]) -> Done {
    porchlight().args(args).output().expect("the program starts").into()
}

/// What it printed.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8")
}

/// What it said.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8")
}

/// The house's rule for bad input: that exit code, one line on stderr which names what it must, nothing on stdout but
/// whole JSON lines.
pub(crate) fn assert_refused(command: &mut Command, code: i32, wanted: &[&str]) {
    let output = command.env("RUST_BACKTRACE", "1").output().expect("the program starts");
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
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{what}");
    }
}

/// Validates against the schema that the program itself prints, with a validator that is not ours.
pub(crate) fn validator() -> &'static jsonschema::Validator {
    static VALIDATOR: OnceLock<jsonschema::Validator> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        let schema: Value = serde_json::from_str(&run(&["schema"]).stdout).expect("the schema is JSON");
        jsonschema::draft202012::new(&schema).expect("the schema is a schema")
    })
}

/// A stream, read and found well-formed.
pub(crate) struct Stream {
    pub(crate) lines: Vec<Value>,
}

impl Stream {
    /// Every rule of the contract that a stream can be held to without knowing what it shows.
    pub(crate) fn read(stdout: &str) -> Self {
        assert!(stdout.is_empty() || stdout.ends_with('\n'), "torn last line");
        let lines: Vec<Value> = stdout
            .lines()
            .map(|line| {
                let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
                if let Err(e) = validator().validate(&value) {
                    panic!("against the schema: {e}: {line}");
                }
                assert!(value["type"] == "hello" || line.len() < 1024, "{} bytes: {line}", line.len() + 1);
                let head = "{\"v\":1,\"boot\":\"";
                assert!(line.starts_with(head), "keys out of order: {line}");
                value
            })
            .collect();
        let stream = Self { lines };
        stream.is_ordered();
        stream.is_balanced();
        stream
    }

    fn is_ordered(&self) {
        for (i, line) in self.lines.iter().enumerate() {
            assert_eq!(line["seq"], i as u64, "{line}");
            assert_eq!(line["boot"], self.lines[0]["boot"], "{line}");
        }
        assert_eq!(self.lines.first().map(|l| &l["type"]), Some(&Value::from("hello")));
        assert_eq!(self.lines.last().map(|l| &l["type"]), Some(&Value::from("bye")));
        assert_eq!(self.of("hello").count(), 1);
        assert_eq!(self.of("bye").count(), 1);
    }

    /// Each appeared has its one left, each enter its one exit before that, and nothing speaks of a track outside its visit;
    /// what is said of a track is said in the order of time; the ledger adds up.
    fn is_balanced(&self) {
        let (mut open, mut named) = (BTreeMap::new(), BTreeMap::new());
        let mut seen = std::collections::BTreeSet::new();
        let (mut inside, mut times) = (BTreeMap::new(), BTreeMap::new());
        for line in &self.lines {
            let Some(track) = line["track"].as_u64() else { continue };
            let before = times.insert(track, ms(line)).unwrap_or(i64::MIN);
            assert!(before <= ms(line), "earlier than what was said before: {line}");
            let zone = || (track, line["zone"].as_str().expect("a name").to_owned());
            match line["type"].as_str() {
                Some("zone.enter") => assert!(inside.insert(zone(), false).is_none(), "entered twice: {line}"),
                Some("zone.dwell") => assert_eq!(inside.insert(zone(), true), Some(false), "{line}"),
                Some("zone.exit") => assert!(inside.remove(&zone()).is_some(), "never entered: {line}"),
                Some("track.left") => assert!(!inside.keys().any(|(t, _)| *t == track), "left without exits: {line}"),
                _ => {}
            }
            match line["type"].as_str() {
                Some("track.appeared") => {
                    assert!(seen.insert(track), "track {track} appeared twice");
                    open.insert(track, line["label"].clone());
                }
                Some("track.left") => assert_eq!(open.remove(&track).as_ref(), Some(&line["label"]), "{line}"),
                // Lines about an identity name the person instead of the label.
                Some(kind) if kind.starts_with("identity.") => {
                    assert!(open.contains_key(&track), "{line}");
                    let name = line["name"].as_str().map(str::to_owned);
                    match kind {
                        "identity.recognized" => assert_eq!(named.insert(track, name), None, "named twice: {line}"),
                        "identity.revoked" => assert_eq!(named.remove(&track), Some(name), "{line}"),
                        _ => assert!(!named.contains_key(&track), "{line}"),
                    }
                }
                _ => assert_eq!(open.get(&track), Some(&line["label"]), "{line}"),
            }
        }
        assert!(open.is_empty(), "never left: {open:?}");
        assert!(inside.is_empty(), "never exited: {inside:?}");
        for camera in self.lines[self.lines.len() - 1]["totals"]["cameras"].as_array().expect("a list") {
            let n = |key: &str| camera[key].as_u64().expect("a count");
            let fates = n("displaced") + n("undecodable") + n("still") + n("inferred") + n("failed");
            assert_eq!(n("captured"), fates, "{camera}");
        }
    }

    /// Lines of one type.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |l| l["type"] == kind)
    }

    /// Totals of the only camera.
    pub(crate) fn total(&self, key: &str) -> u64 {
        self.lines[self.lines.len() - 1]["totals"]["cameras"][0][key].as_u64().expect("a count")
    }
}

/// Milliseconds since the epoch of a line's `ts`.
pub(crate) fn ms(line: &Value) -> i64 {
    let ts: jiff::Timestamp = line["ts"].as_str().and_then(|t| t.parse().ok()).expect("RFC 3339");
    ts.as_millisecond()
}

/// What a replay must repeat byte for byte.
pub(crate) fn repeatable(stdout: &str) -> Vec<&str> {
    let free = ["hello", "stats", "bye"].map(|t| format!("\"type\":\"{t}\""));
    stdout.lines().filter(|l| !free.iter().any(|t| l.contains(t))).collect()
}
