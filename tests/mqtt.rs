//! The bridge of deploy/mqtt against a real mosquitto: restarts of the broker, of the bridge and of the pipeline, a slow
//! subscriber, a burst. Nothing here waits for a time to pass: each step waits for what the step before must cause.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{self, Stream, root};

/// So long is waited for what must come; nothing takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn python() -> PathBuf {
    root().join(".tools/mqtt/bin/python")
}

/// Whether there is what it takes; says what is lacking.
fn able() -> bool {
    let script = "PATH=$PATH:/usr/sbin; command -v mosquitto && command -v mosquitto_sub";
    let found = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status();
    let there = found.is_ok_and(|s| s.success()) && python().exists();
    if !there {
        eprintln!("skipped: wanted mosquitto, mosquitto_sub and .tools/mqtt: `cargo xtask test` gets them");
    }
    there
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{signal} {pid}");
}

/// mosquitto on a Unix socket: no port that another test could have.
struct Broker {
    dir: PathBuf,
    child: Child,
}

impl Broker {
    fn start(dir: &Path, persistent: bool) -> Self {
        let (sock, conf) = (dir.join("broker"), dir.join("mosquitto.conf"));
        let text = format!(
            "user root\nlistener 0 {}\nallow_anonymous true\nmax_queued_messages 0\npersistence {persistent}\n\
             persistence_location {}/\n",
            sock.display(),
            dir.display()
        );
        std::fs::write(&conf, text).expect("written");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let began = Instant::now();
        while UnixStream::connect(&sock).is_err() {
            assert!(began.elapsed() < PATIENCE, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { dir: dir.to_owned(), child }
    }

    fn stop(mut self) -> PathBuf {
        kill(self.child.id(), "TERM");
        self.child.wait().expect("waited");
        self.dir.clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A subscriber to everything, with a session that the broker keeps.
struct Listener {
    child: Child,
    messages: Receiver<(String, String)>,
    /// The last payload of each topic.
    states: BTreeMap<String, String>,
    /// `seq` of the events, as they came.
    events: Vec<(String, u64)>,
    lines: Vec<String>,
}

impl Listener {
    /// Subscribed when it returns; reads from `gate` on, if there is one.
    fn start(dir: &Path, id: &str, gate: Option<Receiver<()>>) -> Self {
        let sock = dir.join("broker").to_string_lossy().into_owned();
        let marked = Command::new("mosquitto_pub")
            .args(["--unix", &sock, "-r", "-q", "1", "-t", "test/ready", "-m", "x"])
            .status();
        assert!(marked.expect("starts").success());
        let mut child = Command::new("mosquitto_sub")
            .args(["--unix", &sock, "-c", "-i", id, "-q", "1", "-t", "#", "-F", "%t\t%p"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let (sender, messages) = channel();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            let mut ready = false;
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                let (topic, payload) = line.trim_end_matches('\n').split_once('\t').expect("as asked");
                if sender.send((topic.to_owned(), payload.to_owned())).is_err() {
                    return;
                }
                if !ready && topic == "test/ready" {
                    ready = true;
                    if let Some(gate) = &gate {
                        let _ = gate.recv();
                    }
                }
                line.clear();
            }
        });
        let mut listener = Self { child, messages, states: BTreeMap::new(), events: Vec::new(), lines: Vec::new() };
        listener.until("subscribed", |l| l.states.contains_key("test/ready"));
        listener
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let (topic, payload) = self.messages.recv_timeout(left).unwrap_or_else(|_| {
                panic!("not {what}: {:#?}, {} events", self.states, self.events.len());
            });
            if topic.ends_with("/event") {
                let event: Value = serde_json::from_str(&payload).expect("JSON");
                let boot = event["boot"].as_str().expect("a boot").to_owned();
                self.events.push((boot, event["seq"].as_u64().expect("a seq")));
                self.lines.push(payload);
            } else {
                self.states.insert(topic, payload);
            }
        }
    }

    fn is(&self, topic: &str, payload: &str) -> bool {
        self.states.get(&format!("porchlight/box/{topic}")).is_some_and(|p| p == payload)
    }

    /// Every `seq` up to `last` came.
    fn complete(&self, boot: &str, last: u64) -> bool {
        let came: std::collections::BTreeSet<u64> =
            self.events.iter().filter(|(b, _)| b == boot).map(|(_, seq)| *seq).collect();
        came.len() as u64 == last + 1
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bridge, fed by hand.
struct Bridge {
    child: Child,
    stdin: Option<ChildStdin>,
    boot: String,
    seq: u64,
}

impl Bridge {
    fn start(dir: &Path, boot: &str, more: &[&str]) -> Self {
        let mut child = Command::new(python())
            .current_dir(root())
            .arg("deploy/mqtt/porchlight-mqtt")
            .arg("--unix")
            .arg(dir.join("broker"))
            .args(["--node", "box"])
            .args(more)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdin = child.stdin.take();
        Self { child, stdin, boot: boot.repeat(16), seq: 0 }
    }

    fn line(&mut self, kind: &str, more: Value) -> String {
        let mut event = json!({"v": 1, "boot": self.boot, "seq": self.seq, "type": kind,
            "ts": "1970-01-01T00:00:00.000Z", "camera": "front"});
        for (key, value) in more.as_object().expect("an object") {
            event[key] = value.clone();
        }
        self.seq += 1;
        format!("{event}\n")
    }

    fn say(&mut self, kind: &str, more: Value) {
        let line = self.line(kind, more);
        self.write(&line);
    }

    fn write(&mut self, text: &str) {
        self.stdin.as_mut().expect("open").write_all(text.as_bytes()).expect("taken");
    }

    /// A pipeline begins, and somebody is there.
    fn begin(&mut self) {
        self.say("hello", json!({"camera": null, "cameras": [{"name": "front"}]}));
        self.say("camera.online", json!({"reason": "started", "attempt": 1, "retry_ms": 0}));
        self.say("track.appeared", json!({"track": 1, "label": "person", "score": 0.9, "box": [0, 0, 1, 1]}));
        self.say("zone.enter", json!({"track": 1, "label": "person", "zone": "the porch"}));
        self.say(
            "identity.recognized",
            json!({"track": 1, "name": "Ada", "similarity": 0.6, "margin": 0.2, "faces": 3}),
        );
    }

    /// Somebody comes, and goes.
    fn visit(&mut self, track: u64) -> String {
        let is = json!({"track": track, "label": "cat", "score": 0.9, "box": [0, 0, 1, 1]});
        let mut left = is.clone();
        left["dwell_ms"] = 5.into();
        left["reason"] = "lost".into();
        self.line("track.appeared", is) + &self.line("track.left", left)
    }

    /// stdin ends; what it said.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let mut said = String::new();
        let mut stderr = BufReader::new(self.child.stderr.take().expect("piped"));
        while stderr.read_line(&mut said).expect("UTF-8") > 0 {}
        (self.child.wait().expect("waited").code(), said)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What [`Bridge::begin`] makes.
fn somebody_is_there(l: &Listener) -> bool {
    l.is("status", "online")
        && l.is("front/connectivity", "ON")
        && l.is("front/label/person", "ON")
        && l.is("front/count/person", "1")
        && l.is("front/person", "Ada")
        && l.states.iter().any(|(t, p)| t.contains("/front/zone/the_porch_") && p == "ON")
}

fn nobody_is_there(l: &Listener) -> bool {
    l.is("front/label/person", "OFF")
        && l.is("front/count/person", "0")
        && l.is("front/person", "none")
        && l.states.iter().all(|(t, p)| !t.contains("/front/zone/") || p == "OFF")
}

/// The whole clip, from the pipeline to a subscriber: every line, in order, unchanged; states as Home Assistant reads them.
#[test]
fn the_clip_arrives_whole_and_home_assistant_can_read_it() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let _broker = Broker::start(dir.path(), false);
    let mut listener = Listener::start(dir.path(), "l", None);
    let stream = crate::scene::native();
    let mut bridge = Bridge::start(dir.path(), "", &[]);
    bridge.write(stream);
    let (code, said) = bridge.end();
    assert_eq!(code, Some(0), "{said}");
    listener.until("closed", |l| l.is("status", "offline"));
    assert_eq!(listener.lines.iter().map(|l| l.to_owned() + "\n").collect::<String>(), stream);
    let configs: Vec<(&String, Value)> = listener
        .states
        .iter()
        .filter(|(t, _)| t.starts_with("homeassistant/"))
        .map(|(t, p)| (t, serde_json::from_str(p).expect("JSON")))
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for (topic, config) in &configs {
        let id = config["unique_id"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()) && topic.ends_with(&format!("/{id}/config")), "{topic}");
        let state = listener.states.get(config["state_topic"].as_str().expect("a topic"));
        let state = state.unwrap_or_else(|| panic!("{topic} has no state"));
        let wanted: fn(&str) -> bool = match topic.split('/').nth(1) {
            Some("binary_sensor") => |s| s == "OFF",
            _ => |s| s == "0" || s == "none" || s.parse::<u64>().is_ok(),
        };
        assert!(wanted(state), "{topic}: {state}");
        assert_eq!(config["availability_topic"], "porchlight/box/status");
    }
    let labels = ["connectivity", "label_person", "label_cat", "zone_right", "zone_cats"];
    for label in labels {
        assert!(ids.contains(&format!("porchlight_box_porch_{label}")), "{label}: {ids:?}");
    }
    let read = Stream::read(stream);
    for way in ["forward", "backward"] {
        let wanted = read.of("line.crossed").filter(|l| l["direction"] == way).count().to_string();
        assert!(listener.is(&format!("porch/line/middle/{way}"), &wanted), "{way}");
    }
}

#[test]
fn a_broker_that_restarts_loses_no_event() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), true);
    let mut listener = Listener::start(dir.path(), "l", None);
    let mut bridge = Bridge::start(dir.path(), "a", &[]);
    bridge.begin();
    let boot = bridge.boot.clone();
    for track in 2..200 {
        let visit = bridge.visit(track);
        bridge.write(&visit);
    }
    listener.until("under way", |l| l.events.len() > 50);
    let dir = broker.stop();
    // What does not fit into queue and pipe would wait for the broker: this fits.
    for track in 200..300 {
        let visit = bridge.visit(track);
        bridge.write(&visit);
    }
    let _broker = Broker::start(&dir, true);
    let last = bridge.seq - 1;
    listener.until("complete", |l| l.complete(&boot, last));
    let mut came: Vec<u64> = listener.events.iter().map(|(_, seq)| *seq).collect();
    // At least once: what was on its way may come again, and nothing overtakes.
    came.dedup();
    let backwards = came.windows(2).filter(|w| w[1] < w[0]).count();
    assert!(backwards <= 2, "{backwards} times backwards: {came:?}");
    listener.until("settled", |l| somebody_is_there(l) && l.is("front/label/cat", "OFF"));
    let (code, said) = bridge.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("connected again"), "{said}");
}

/// A broker without memory: all that is retained is told again.
#[test]
fn a_broker_that_forgot_is_told_again() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), false);
    let mut listener = Listener::start(dir.path(), "l", None);
    let mut bridge = Bridge::start(dir.path(), "a", &[]);
    bridge.begin();
    listener.until("there", somebody_is_there);
    let configs = |l: &Listener| l.states.keys().filter(|t| t.starts_with("homeassistant/")).count();
    let before = configs(&listener);
    drop(listener);
    let dir = broker.stop();
    let _broker = Broker::start(&dir, false);
    let mut listener = Listener::start(&dir, "new", None);
    listener.until("there again", |l| somebody_is_there(l) && configs(l) == before);
    assert_eq!(bridge.end().0, Some(0));
}

/// Killed in the middle: the broker says so, and the next one puts right what the first left behind.
#[test]
fn a_bridge_that_restarts_puts_right_what_the_last_one_left() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let _broker = Broker::start(dir.path(), false);
    let mut listener = Listener::start(dir.path(), "l", None);
    let mut bridge = Bridge::start(dir.path(), "a", &[]);
    bridge.begin();
    listener.until("there", somebody_is_there);
    kill(bridge.child.id(), "KILL");
    listener.until("said to be gone", |l| l.is("status", "offline"));
    assert!(listener.is("front/label/person", "ON"), "what was retained stays until somebody puts it right");
    // Before the new pipeline has said a word.
    let mut bridge = Bridge::start(dir.path(), "b", &[]);
    listener
        .until("put right", |l| l.is("status", "online") && l.is("front/connectivity", "OFF") && nobody_is_there(l));
    bridge.begin();
    listener.until("there", somebody_is_there);
    assert_eq!(bridge.end().0, Some(0));
    listener.until("closed", |l| l.is("status", "offline") && nobody_is_there(l));
}

#[test]
fn a_new_boot_closes_everything_older() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let _broker = Broker::start(dir.path(), false);
    let mut listener = Listener::start(dir.path(), "l", None);
    let mut bridge = Bridge::start(dir.path(), "a", &[]);
    bridge.begin();
    listener.until("there", somebody_is_there);
    // The eye was killed and another one began.
    (bridge.boot, bridge.seq) = ("b".repeat(16), 0);
    bridge.say("hello", json!({"camera": null, "cameras": [{"name": "front"}]}));
    listener.until("closed", |l| nobody_is_there(l) && l.is("front/connectivity", "OFF"));
    // Broken lines are counted, and change nothing.
    bridge.write("{\"type\":\n[]\n\u{1b}[2J\n{\"type\":\"new\"}\n");
    bridge.say("camera.online", json!({"reason": "started", "attempt": 1, "retry_ms": 0}));
    listener.until("online", |l| l.is("front/connectivity", "ON"));
    let (code, said) = bridge.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("4 lines not understood") && said.contains(" 0 gaps"), "{said}");
}

/// 10 000 events at once, a broker that stands still for a while, a subscriber that reads nothing until all is over: stdin
/// waits, memory is bounded, nothing is lost.
#[test]
fn a_burst_waits_and_loses_nothing() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), false);
    let (open, gate) = channel();
    let mut listener = Listener::start(dir.path(), "slow", Some(gate));
    let mut bridge = Bridge::start(dir.path(), "a", &[]);
    bridge.begin();
    let visits: Vec<String> = (2..5002).map(|track| bridge.visit(track)).collect();
    let (boot, last) = (bridge.boot.clone(), bridge.seq - 1);
    assert_eq!(last + 1, 10_005);
    kill(broker.child.id(), "STOP");
    let mut stdin = bridge.stdin.take().expect("open");
    let (wrote, progress) = channel();
    let writer = std::thread::spawn(move || {
        for visit in visits {
            stdin.write_all(visit.as_bytes()).expect("taken");
            let _ = wrote.send(());
        }
    });
    // The pipe holds that much whatever the bridge does.
    for _ in 0..100 {
        progress.recv_timeout(PATIENCE).expect("the pipe takes it");
    }
    kill(broker.child.id(), "CONT");
    let memory = std::fs::read_to_string(format!("/proc/{}/status", bridge.child.id()));
    writer.join().expect("written");
    let (code, said) = bridge.end();
    assert_eq!(code, Some(0), "{said}");
    // 1000 messages, and what one more piece of stdin makes.
    let peak: u64 = said
        .rsplit_once("at most ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    assert!(peak < 2000, "the queue grew to {peak}");
    assert!(memory.is_ok_and(|m| m.contains("VmHWM")));
    drop(open);
    listener.until("complete", |l| l.complete(&boot, last) && l.is("status", "offline"));
    assert_eq!(listener.events.len() as u64, last + 1, "each once: nothing was interrupted");
    assert!(listener.events.is_sorted() && nobody_is_there(&listener));
}

/// `porchlight run | bridge`, both asked to stop at once as systemd does: what is said last still arrives.
#[test]
fn the_last_words_arrive_when_everything_is_stopped() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let _broker = Broker::start(dir.path(), false);
    let mut listener = Listener::start(dir.path(), "l", None);
    let mut pipeline = support::porchlight()
        .args(["run", "--source", "samples/porch.mjpeg", "--fps", "15", "--pace", "realtime"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let bridge = Command::new(python())
        .current_dir(root())
        .args(["deploy/mqtt/porchlight-mqtt", "--node", "box", "--unix"])
        .arg(dir.path().join("broker"))
        .stdin(pipeline.stdout.take().expect("piped"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    listener.until("somebody there", |l| l.is("porch/label/person", "ON"));
    kill(bridge.id(), "TERM");
    kill(pipeline.id(), "TERM");
    assert_eq!(pipeline.wait().expect("waited").code(), Some(0));
    assert_eq!(bridge.wait_with_output().expect("waited").status.code(), Some(0));
    listener.until("closed", |l| l.is("status", "offline") && l.is("porch/label/person", "OFF"));
    Stream::read(&listener.lines.iter().map(|l| l.to_owned() + "\n").collect::<String>());
}
