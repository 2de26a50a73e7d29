//! The systemd service of deploy/systemd, with a fake notify socket instead of systemd.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Stream, root};

/// So long is waited for what must come; nothing takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The helper, around this program; `None` where there is no Python.
fn helper(command: &[&str], place: &Path) -> Option<Child> {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: wanted python3");
        return None;
    }
    let mut helper = Command::new("python3");
    helper.arg(root().join("deploy/systemd/porchlight-notify")).args(command).current_dir(root());
    helper.env("NOTIFY_SOCKET", place).env("WATCHDOG_USEC", "180000000").stdin(Stdio::null());
    Some(helper.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python starts"))
}

/// systemd's side of it.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { dir, socket }
    }

    fn helper(&self, command: &[&str]) -> Option<Child> {
        helper(command, &self.dir.path().join("notify"))
    }

    /// The next message.
    fn told(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// What has come and was not read.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("set");
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            all.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        all
    }
}

#[test]
fn ready_means_sealed_and_a_stop_ends_the_stream_in_order() {
    let manager = Manager::new();
    let program = env!("CARGO_BIN_EXE_porchlight");
    let run = [program, "run", "--source", "samples/porch.mjpeg", "--fps", "15", "--pace", "realtime"];
    let Some(mut child) = manager.helper(&run) else { return };
    let ready = manager.told();
    assert!(ready.starts_with("READY=1\nWATCHDOG=1\nSTATUS=seal "), "{ready}");
    assert!(!ready.contains("seal off") && ready.contains(", 1 cameras, boot "), "{ready}");

    // Its line was passed on before that.
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    lines.read_line(&mut text).expect("readable");
    assert!(text.contains("\"type\":\"hello\""), "{text}");
    while !text.contains("track.appeared") {
        assert!(lines.read_line(&mut text).expect("readable") > 0, "ended before anybody appeared:\n{text}");
    }
    assert_eq!(manager.told(), "WATCHDOG=1");

    let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(stop.is_ok_and(|s| s.success()));
    lines.read_to_string(&mut text).expect("readable");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    let stream = Stream::read(&text);
    assert_eq!(stream.lines.last().map(|l| l["reason"].as_str()), Some(Some("signal")));
    let rest = manager.rest();
    assert!(rest.contains(&"STOPPING=1".to_owned()) && !rest.iter().any(|m| m.contains("READY")), "{rest:?}");
}

#[test]
fn what_cannot_start_is_never_ready_and_its_exit_code_is_passed_on() {
    let manager = Manager::new();
    let Some(child) = manager.helper(&[env!("CARGO_BIN_EXE_porchlight"), "run", "--source", "no-such-file.jpg"]) else {
        return;
    };
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    assert_eq!(manager.rest(), [""; 0]);
}

#[test]
fn the_pipeline_is_not_told_where_the_socket_is() {
    let manager = Manager::new();
    // More lines than a socket holds messages that nobody fetches: the events go on all the same.
    let Some(child) = manager.helper(&["sh", "-c", "env; seq 2000; kill -9 $$"]) else { return };
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("PATH=") && !said.contains("NOTIFY_SOCKET") && !said.contains("WATCHDOG_"), "{said}");
    // A shell's view of a killed child.
    assert_eq!(output.status.code(), Some(137));
    assert!(manager.rest().iter().all(|m| m == "WATCHDOG=1"));
}

#[test]
fn a_reader_that_went_away_ends_the_pipeline() {
    let manager = Manager::new();
    let program = env!("CARGO_BIN_EXE_porchlight");
    let run = [program, "run", "--source", "samples/porch.mjpeg", "--fps", "15"];
    let Some(mut child) = manager.helper(&run) else { return };
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("readable");
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

/// What the package puts beside the service, also with all of its examples taken in.
#[test]
fn the_example_is_a_configuration() {
    let text = std::fs::read_to_string(root().join("deploy/porchlight.toml")).expect("committed");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("all.toml");
    let line =
        |l: &str| l.strip_prefix("# ").filter(|l| l.starts_with('[') || l.contains(" = ")).unwrap_or(l).to_owned();
    std::fs::write(&path, text.lines().map(line).collect::<Vec<_>>().join("\n")).expect("written");
    for path in [root().join("deploy/porchlight.toml"), path] {
        let path = path.to_string_lossy().into_owned();
        let done = crate::support::run(&["config", "--explain", "--config", &path]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{path}");
    }
}

/// systemd's own reading of the unit: no unknown directive, and the exposure that README states.
#[test]
fn the_unit_is_as_tight_as_it_says() {
    let unit = root().join("deploy/systemd/porchlight@.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold=10"]).arg(unit);
    let Ok(output) = analyze.env("LC_ALL", "C.UTF-8").output() else {
        eprintln!("skipped: wanted systemd-analyze");
        return;
    };
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!complained.contains("Unknown") && !complained.contains("ignoring"), "{complained}");
    let level = said.lines().find_map(|l| l.split_once("@i.service: ").map(|(_, rest)| rest.to_owned()));
    let level: f64 = level.and_then(|l| l.split(' ').next()?.parse().ok()).expect("a level");
    assert!(level <= 1.0, "{said}");
}
