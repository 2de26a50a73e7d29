//! The half of a soak that needs no camera: real models at work on this machine, with what can be done to a program from outside.
//!
//! Two runs last as long as the soak:
//!
//! - **door**: the sample clip comes in through a pipe, over and over, at the pace of a camera. It is never replaced, so what it
//!   holds after hours can be compared with what it held at first.
//! - **eyes**: a made-up camera in real time, whose eye is replaced whenever it dies. It is killed, frozen, starved of memory.
//!
//! Beside them short runs that must end in a certain way (`episodes`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::laws::{Laws, Use};
use super::{Half, Recovery};
use crate::fail::{Failure, Result};
use crate::python::io;
use crate::say;

/// Frames a second that the clip is played with: few, so that hours of it leave the machine to others.
const FPS: u32 = 6;
/// Between two looks at what processes hold.
const SAMPLE: Duration = Duration::from_secs(3);
/// Longest age of a line while nothing is done to the run: the pipeline holds five frames, and the machine may be busy with others.
const CALM_AGE_MS: u64 = 3000;
/// Longest time until a run that was disturbed, but not killed, captures frames again.
const BACK_S: f64 = 10.0;
/// The same for one whose eye was killed: found out, a pause that grows with the deaths in a row, models loaded.
const REPLACED_S: f64 = 30.0;
/// The same for one that gives no sign of life, which is given ten seconds.
const HUNG_S: f64 = 45.0;

/// What all threads of the soak share.
struct Clock {
    began: Instant,
    over: Instant,
}

impl Clock {
    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.over
    }

    /// Sleeps, but not beyond the end.
    fn rest(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds).min(self.over.saturating_duration_since(Instant::now())));
    }
}

/// The soak of this machine, for so long.
pub(super) fn soak(program: &Path, folder: &Path, time: Duration) -> Result<Half> {
    let clock = Clock { began: Instant::now(), over: Instant::now() + time };
    let host = Host { program: program.to_owned(), folder: folder.to_owned(), clock };
    let (door, eyes, rest) = std::thread::scope(|scope| {
        let door = scope.spawn(|| host.door());
        let eyes = scope.spawn(|| host.eyes());
        let rest = scope.spawn(|| host.episodes());
        (door.join(), eyes.join(), rest.join())
    });
    let mut half = Half { name: "on this machine", ..Half::default() };
    for part in [door, eyes, rest] {
        half.absorb(part.map_err(|_| Failure::new("soak: a part of the harness panicked"))??);
    }
    Ok(half)
}

struct Host {
    program: PathBuf,
    folder: PathBuf,
    clock: Clock,
}

/// A run whose lines are read and judged as they come.
struct Watched {
    name: &'static str,
    child: Child,
    laws: Arc<Mutex<Laws>>,
    /// While set, nobody reads.
    hold: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    complaints: PathBuf,
    uses: BTreeMap<&'static str, Use>,
    sampled: Instant,
}

/// A pipe as small as it gets (one page), so that a reader who pauses is felt after a few lines.
const SMALL_PIPE: &str = "import fcntl, os, sys; fcntl.fcntl(1, 1031, 4096); os.execv(sys.argv[1], sys.argv[1:])";

/// The same for the pipe between eye and gatekeeper, from outside; only root and the owner of a process that allows it may.
const SMALL_INNER_PIPE: &str = "import fcntl, sys; fcntl.fcntl(open('/proc/%s/fd/1' % sys.argv[1], 'wb'), 1031, 4096)";

impl Host {
    fn start(&self, name: &'static str, args: &[&str], stdin: Stdio) -> Result<Watched> {
        let complaints = self.folder.join(format!("{name}.err"));
        let errors = fs::File::create(&complaints).map_err(io(&complaints))?;
        let mut command = Command::new("python3");
        command.args(["-c", SMALL_PIPE]).arg(&self.program).args(args).current_dir(crate::root());
        command.stdin(stdin).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(|e| Failure::new(format!("soak: {name} cannot be started: {e}")))?;
        let Some(stdout) = child.stdout.take() else { return Err(Failure::new("soak: no pipe")) };
        let (laws, hold) = (Arc::<Mutex<Laws>>::default(), Arc::<AtomicBool>::default());
        let copy = self.folder.join(format!("{name}.jsonl"));
        let mut copy = fs::File::create(&copy).map_err(io(&copy))?;
        let (judge, held, began) = (Arc::clone(&laws), Arc::clone(&hold), self.clock.began);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::with_capacity(1024, stdout);
            let mut line = Vec::new();
            loop {
                while held.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                line.clear();
                if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                    break;
                }
                let _ = copy.write_all(&line);
                // A line without its end is torn, and must not pass for a whole one.
                let text = String::from_utf8_lossy(&line).into_owned();
                let text = text.strip_suffix('\n').map_or_else(|| format!("{text} (torn)"), str::to_owned);
                judge.lock().unwrap_or_else(PoisonError::into_inner).line(began.elapsed().as_secs_f64(), &text);
            }
        });
        let uses = BTreeMap::new();
        Ok(Watched { name, child, laws, hold, reader, complaints, uses, sampled: Instant::now() })
    }

    /// Sleeps, and looks now and then at what the processes of a run hold. `all`: its eye is the same all the time.
    fn pass(&self, run: &mut Watched, seconds: f64, all: bool) {
        let until = self.clock.now() + seconds;
        while self.clock.now() < until && !self.clock.is_over() {
            self.clock.rest(0.1);
            if run.sampled.elapsed() >= SAMPLE {
                run.sampled = Instant::now();
                run.sample(self.clock.now(), all);
            }
        }
    }

    /// Waits until a condition holds; how long that took, or nothing.
    fn until(&self, seconds: f64, mut holds: impl FnMut() -> bool) -> Option<f64> {
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < seconds {
            if holds() {
                return Some(began.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn door(&self) -> Result<Half> {
        let clip = crate::root().join("samples/porch.mjpeg");
        let frames = pictures(&fs::read(&clip).map_err(io(&clip))?);
        let config = self.folder.join("door.toml");
        fs::write(&config, DOOR).map_err(io(&config))?;
        let args = ["run", "--config", &config.to_string_lossy()];
        let mut run = self.start("door", &args, Stdio::piped())?;
        let Some(stdin) = run.child.stdin.take() else { return Err(Failure::new("soak: no pipe")) };
        let feed = Arc::new(Feed::default());
        let feeder = std::thread::spawn({
            let feed = Arc::clone(&feed);
            move || feed.play(stdin, &frames)
        });
        let mut half = Half::default();
        let mut calm: Vec<(f64, f64)> = Vec::new();
        let mut calm_for = |host: &Self, run: &mut Watched, seconds: f64| {
            let from = host.clock.now();
            host.pass(run, seconds, true);
            // Lines about frames from before that are judged by what was done then.
            calm.push((from + 2.0, host.clock.now()));
        };
        let started = self.until(60.0, || !run.laws().captured.is_empty() || !run.laws().online.is_empty());
        if started.is_none() {
            half.problems.push(format!("door: no camera.online within 60 s; stderr: {}", run.said()));
        }
        while !self.clock.is_over() {
            calm_for(self, &mut run, 8.0);
            feed.set(BROKEN);
            self.pass(&mut run, 3.0, true);
            feed.set(PLAY);
            self.back("broken frames in the stream", &run, &mut half);
            calm_for(self, &mut run, 6.0);
            feed.set(SILENT);
            self.pass(&mut run, 4.0, true);
            feed.set(PLAY);
            self.back("a source that falls silent for 4 s", &run, &mut half);
            calm_for(self, &mut run, 6.0);
            self.slow_reader(&mut run, &feed, &mut half);
            calm_for(self, &mut run, 6.0);
            self.starve(&mut run, &mut half);
        }
        feed.set(OVER);
        let _ = feeder.join();
        self.finish(run, 0, &mut half, Some(&calm))?;
        Ok(half)
    }

    /// Nobody reads until the pipeline has come to a stop and the feeder can write no more; then everybody goes on, and nothing is lost.
    fn slow_reader(&self, run: &mut Watched, feed: &Feed, half: &mut Half) {
        let mut shrink = Command::new("python3");
        shrink.args(["-c", SMALL_INNER_PIPE, &run.processes().get("eye").copied().unwrap_or(0).to_string()]);
        if !shrink.stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
            half.skipped.insert("a reader that pauses (the pipe from eye to gatekeeper holds minutes of lines; as root it can be made small)".into());
            return;
        }
        run.hold.store(true, Ordering::Release);
        let mut written = (feed.written.load(Ordering::Acquire), Instant::now());
        let felt = self.until(90.0, || {
            let now = feed.written.load(Ordering::Acquire);
            if now != written.0 {
                written = (now, Instant::now());
            }
            written.1.elapsed() > Duration::from_secs(2) || self.clock.is_over()
        });
        if felt.is_none() && !self.clock.is_over() {
            half.problems.push("door: a reader that pauses for 90 s was not felt by whoever feeds the pipeline".into());
        }
        run.hold.store(false, Ordering::Release);
        let (from, written) = (self.clock.now(), feed.written.load(Ordering::Acquire));
        // What had piled up is read at once; it counts when the source can give more than a pipe holds.
        let took = self.until(60.0, || self.clock.is_over() || feed.written.load(Ordering::Acquire) > written + 5);
        let took = took.map(|_| self.clock.now() - from);
        if felt.is_some() && !self.clock.is_over() {
            half.recovered("stdout not read until the source blocks", took, BACK_S);
        }
    }

    /// All of its threads on one processor, beside three programs that want all of it.
    fn starve(&self, run: &mut Watched, half: &mut Half) {
        let all = allowed_processors();
        let one = all.split([',', '-']).next().unwrap_or("0").to_owned();
        let pin = |to: &str, run: &Watched| {
            for pid in run.processes().into_values().chain([run.child.id()]) {
                let mut taskset = Command::new("taskset");
                taskset.args(["-a", "-cp", to, &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
                let _ = taskset.status();
            }
        };
        pin(&one, run);
        let mut hog = Command::new("taskset");
        hog.args(["-c", &one, "sh", "-c", "while :; do :; done"]).stdout(Stdio::null());
        let mut hogs: Vec<Child> = (0..3).filter_map(|_| hog.spawn().ok()).collect();
        if hogs.is_empty() {
            half.skipped.insert("no processor time (taskset is not installed)".into());
        }
        self.pass(run, 6.0, true);
        for hog in &mut hogs {
            let _ = hog.kill();
            let _ = hog.wait();
        }
        pin(&all, run);
        self.back("one processor shared with three busy programs for 6 s", run, half);
    }

    /// Notes how long it takes from now until frames are captured and looked at again.
    fn back(&self, what: &str, run: &Watched, half: &mut Half) {
        let from = self.clock.now();
        let before = run.laws().captured.last().map_or(0, |(_, n)| *n);
        let again = || run.laws().captured.last().is_some_and(|(at, n)| *at >= from && *n > before);
        let took = self.until(60.0, || self.clock.is_over() || again());
        if again() || !self.clock.is_over() {
            half.recovered(what, took, BACK_S);
        }
    }

    fn eyes(&self) -> Result<Half> {
        let config = self.folder.join("eyes.toml");
        fs::write(&config, EYES).map_err(io(&config))?;
        let args = ["run", "--config", &config.to_string_lossy(), "--pace", "realtime"];
        let mut run = self.start("eyes", &args, Stdio::null())?;
        let mut half = Half::default();
        let mut deaths = 0;
        if self.until(60.0, || !run.laws().online.is_empty()).is_none() {
            half.problems.push(format!("eyes: no camera.online within 60 s; stderr: {}", run.said()));
        }
        'soak: loop {
            for (what, who, act, bound) in [
                ("the eye killed", "eye", Act::Kill, REPLACED_S),
                ("the eye hangs (frozen in the middle of its work)", "eye", Act::Freeze, HUNG_S),
                ("no more memory for the eye (rlimit)", "eye", Act::Starve, REPLACED_S),
                ("the gatekeeper killed", "gatekeeper", Act::Kill, REPLACED_S),
            ] {
                self.pass(&mut run, 6.0, false);
                if self.clock.over.saturating_duration_since(Instant::now()).as_secs_f64() < bound {
                    break 'soak;
                }
                let (lives, from) = (run.laws().lives, self.clock.now());
                let Some(pid) = run.processes().get(who).copied() else {
                    half.problems.push(format!("eyes: no {who} is running; stderr: {}", run.said()));
                    break 'soak;
                };
                act.on(pid, &mut half);
                let back = |run: &Watched| {
                    let laws = run.laws();
                    laws.lives > lives && laws.online.last().is_some_and(|at| *at > from)
                };
                let took = match act {
                    // What it has may be enough for it; then it must go on as before.
                    Act::Starve => self.until(60.0, || {
                        back(&run) || run.laws().captured.last().is_some_and(|(at, _)| *at > from + 5.0)
                    }),
                    _ => self.until(60.0, || back(&run)),
                };
                if run.laws().lives > lives {
                    deaths += 1;
                }
                half.recovered(what, took, bound);
            }
            // An eye that lived for a minute has recovered: the deaths before it count no more.
            self.pass(&mut run, 65.0, false);
        }
        self.pass(&mut run, 3600.0 * 24.0, false);
        self.finish(run, deaths, &mut half, None)?;
        Ok(half)
    }

    /// Ends a run in order and takes what is known of it.
    fn finish(&self, mut run: Watched, cut: u64, half: &mut Half, calm: Option<&[(f64, f64)]>) -> Result {
        signal("TERM", run.child.id());
        let ended = self.until(20.0, || matches!(run.child.try_wait(), Ok(Some(_))));
        if ended.is_none() {
            let _ = run.child.kill();
        }
        let status = run.child.wait().map_err(|e| Failure::new(format!("soak: {}: {e}", run.name)))?;
        if ended.is_none() || !status.success() {
            half.problems.push(format!("{}: SIGTERM: wanted an end with code 0 within 20 s, found {status}", run.name));
        }
        let _ = run.reader.join();
        let mut laws = std::mem::take(&mut *run.laws.lock().unwrap_or_else(PoisonError::into_inner));
        laws.end(true);
        if laws.cut != cut {
            half.problems.push(format!("{}: {} streams were cut, {cut} were meant to be", run.name, laws.cut));
        }
        if let Some(calm) = calm {
            let inside = |at: f64| calm.iter().any(|(from, to)| (*from..*to).contains(&at));
            let worst = laws.ages.iter().filter(|(at, _)| inside(*at)).map(|(_, age)| *age).max().unwrap_or(0);
            half.ages.push((run.name.to_owned(), worst, CALM_AGE_MS));
            if worst > CALM_AGE_MS {
                half.problems.push(format!("{}: a line {worst} ms old while nothing was done to it", run.name));
            }
        }
        half.problems.extend(laws.broken.drain(..).map(|law| format!("{}: {law}", run.name)));
        half.problems.extend(run.uses.values().filter_map(|held| held.is_flat().err()));
        half.uses.extend(run.uses.into_values());
        half.streams.push((run.name.to_owned(), laws));
        let said = fs::read_to_string(&run.complaints).unwrap_or_default();
        if let Some(line) = said.lines().find(|line| line.contains("panicked") || line.contains("internal error (")) {
            half.problems.push(format!("{}: stderr: {line}", run.name));
        }
        Ok(())
    }

    /// Short runs that must end in a certain way, one after the other until the time is over.
    fn episodes(&self) -> Result<Half> {
        let mut half = Half::default();
        let begun = Instant::now();
        loop {
            // Each once, whatever happens to the clock; then as long as there is time for another round.
            for (what, check) in EPISODES {
                if half.episodes.get(*what).copied().unwrap_or(0) > 0 && self.clock.is_over() {
                    return Ok(half);
                }
                match check(self) {
                    Ok(true) => *half.episodes.entry((*what).to_owned()).or_default() += 1,
                    Ok(false) => drop(half.skipped.insert((*what).to_owned())),
                    Err(problem) => half.problems.push(format!("{what}: {problem}")),
                }
                self.clock.rest(3.0);
            }
            if self.clock.is_over() {
                return Ok(half);
            }
            // Denser in a short soak: nobody wants an hour of nothing but starting programs.
            self.clock.rest((begun.elapsed().as_secs_f64() / 10.0).clamp(5.0, 60.0));
        }
    }

    /// A short run with this clip, to its end: code, stdout, stderr.
    fn short(&self, args: &[&str], stdout: Stdio) -> std::result::Result<(Option<i32>, String, String), String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(crate::root()).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        self.ended(command.spawn().map_err(|e| e.to_string())?)
    }

    /// Waits for an end, which must come.
    fn ended(&self, mut child: Child) -> std::result::Result<(Option<i32>, String, String), String> {
        if self.until(60.0, || matches!(child.try_wait(), Ok(Some(_)))).is_none() {
            let _ = child.kill();
            let _ = child.wait();
            return Err("it was still running after 60 s".into());
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }
}

/// The clip, with a zone and a line that its people cross.
const DOOR: &str = r#"
[[camera]]
name = "door"
source = "-"
fps = 6
[[camera.zone]]
name = "porch"
points = [[0.25, 0.4], [0.75, 0.4], [0.75, 1.0], [0.25, 1.0]]
dwell_ms = 2000
[[camera.line]]
name = "gate"
from = [0.5, 1.0]
to = [0.5, 0.3]
[output]
stats_every_s = 1
[run]
threads = 1
"#;

const EYES: &str = r#"
[[camera]]
name = "pattern"
source = "synth:320x240@5"
faces = false
[output]
stats_every_s = 1
[run]
threads = 1
"#;

/// What is done to a process.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Kill,
    Freeze,
    /// What it has is all it may have.
    Starve,
}

impl Act {
    fn on(self, pid: u32, half: &mut Half) {
        match self {
            Self::Kill => signal("KILL", pid),
            Self::Freeze => signal("STOP", pid),
            Self::Starve => {
                let mut prlimit = Command::new("prlimit");
                let done = prlimit.args(["--pid", &pid.to_string(), "--as=1048576", "--data=1048576"]).status();
                if !done.is_ok_and(|s| s.success()) {
                    half.skipped.insert("no more memory for the eye (prlimit is not installed or not allowed)".into());
                }
            }
        }
    }
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

impl Watched {
    fn laws(&self) -> std::sync::MutexGuard<'_, Laws> {
        self.laws.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last thing it said to people.
    fn said(&self) -> String {
        fs::read_to_string(&self.complaints).unwrap_or_default().lines().last().unwrap_or("nothing").to_owned()
    }

    /// Eye and gatekeeper, as far as they are there.
    fn processes(&self) -> BTreeMap<&'static str, u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let mut found = BTreeMap::new();
        for child in children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let is_eye = line.split(|byte| *byte == 0).nth(1) == Some(b"eye");
            found.insert(if is_eye { "eye" } else { "gatekeeper" }, child);
        }
        found
    }

    fn sample(&mut self, at: f64, all: bool) {
        let mut who: BTreeMap<&'static str, u32> = if all { self.processes() } else { BTreeMap::new() };
        who.insert("warden", self.child.id());
        for (who, pid) in who {
            let Some(held) = held(pid) else { continue };
            let name = format!("{} {who}", self.name);
            let entry = self.uses.entry(who).or_insert_with(|| Use { who: name, samples: Vec::new() });
            entry.samples.push((at, held));
        }
    }
}

/// Descriptors, threads, resident kilobytes.
fn held(pid: u32) -> Option<[u64; 3]> {
    let count = |what: &str| Some(fs::read_dir(format!("/proc/{pid}/{what}")).ok()?.count() as u64);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some([count("fd")?, count("task")?, rss])
}

/// As the kernel lists them: `0-1`.
fn allowed_processors() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or_else(|| "0".to_owned(), |list| list.trim().to_owned())
}

/// Takes concatenated JPEG apart: an end marker that a begin marker follows.
fn pictures(clip: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut from = 0;
    for place in 0..clip.len().saturating_sub(3) {
        if clip[place..place + 4] == [0xff, 0xd9, 0xff, 0xd8] {
            frames.push(clip[from..place + 2].to_vec());
            from = place + 2;
        }
    }
    frames.push(clip[from..].to_vec());
    frames
}

/// What the feeder does.
const PLAY: u8 = 0;
const BROKEN: u8 = 1;
const SILENT: u8 = 2;
const OVER: u8 = 3;

#[derive(Default)]
struct Feed {
    mode: AtomicU8,
    /// Frames written so far.
    written: AtomicU64,
}

impl Feed {
    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::Release);
    }

    /// Writes frames at their pace until it is over or nobody reads.
    fn play(&self, mut to: ChildStdin, frames: &[Vec<u8>]) {
        let pause = Duration::from_secs(1) / FPS;
        for n in 0.. {
            let frame = &frames[n % frames.len()];
            let written = match self.mode.load(Ordering::Acquire) {
                OVER => return,
                SILENT => Ok(()),
                // Two of three: cut short, overwritten in the middle, rubbish between two frames.
                BROKEN if n % 3 == 1 => to.write_all(&frame[..frame.len() / 2]),
                BROKEN if n % 3 == 2 => {
                    let mut frame = frame.clone();
                    let middle = frame.len() / 2;
                    let end = (middle + 2000).min(frame.len());
                    frame[middle..end].fill(0x55);
                    to.write_all(&frame).and_then(|()| to.write_all(&[0x5a; 700]))
                }
                _ => to.write_all(frame),
            };
            if written.is_err() {
                return;
            }
            self.written.fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(pause);
        }
    }
}

/// True: it was as it must be. False: this machine cannot try it.
type Check = fn(&Host) -> std::result::Result<bool, String>;

const EPISODES: &[(&str, Check)] = &[
    ("stdout closed by its reader: exit 0, not a word", closed_stdout),
    ("stdout on a full disk: one line, exit 6", full_stdout),
    ("a gallery on a full disk: refused, and the one that was there is whole", full_gallery),
    ("too little memory from the start (rlimit): a reason, whole lines, no hang", little_memory),
    ("an eye that dies six times in a row: given up with exit 6", hopeless),
];

const SHORT: [&str; 5] = ["run", "--source", "samples/porch.mjpeg", "--fps", "15"];

fn closed_stdout(host: &Host) -> std::result::Result<bool, String> {
    let mut command = Command::new(&host.program);
    command.args(SHORT).current_dir(crate::root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let mut first = String::new();
    let stdout = child.stdout.take().ok_or("no pipe")?;
    BufReader::new(stdout).read_line(&mut first).map_err(|e| e.to_string())?;
    match host.ended(child)? {
        (Some(0), _, said) if said.is_empty() => Ok(true),
        found => Err(format!("wanted exit 0 and silence, found {found:?}")),
    }
}

fn full_stdout(host: &Host) -> std::result::Result<bool, String> {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").map_err(|e| e.to_string())?;
    match host.short(&SHORT, Stdio::from(OwnedFd::from(full)))? {
        (Some(6), _, said) if said.lines().count() == 1 && said.contains("stdout: cannot be written") => Ok(true),
        found => Err(format!("wanted exit 6 and one line, found {found:?}")),
    }
}

fn full_gallery(host: &Host) -> std::result::Result<bool, String> {
    let disk = host.folder.join("disk");
    fs::create_dir_all(&disk).map_err(|e| e.to_string())?;
    // In a mount namespace of its own: it goes with the last process in it.
    let script = "mount -t tmpfs -o size=96k none \"$2\" || exit 77\n\
        g=$2/faces.gallery; enroll() { \"$1\" faces enroll \"$3\" samples/astronaut.jpg --gallery \"$2\" --consent yes; }\n\
        enroll \"$1\" \"$g\" first || exit 10\n\
        head -c 1000000 /dev/zero >\"$2/rest\" 2>/dev/null\n\
        enroll \"$1\" \"$g\" second && exit 11\n\
        rm \"$2/rest\"; \"$1\" faces list --gallery \"$g\" | grep -q first || exit 12\n\
        \"$1\" faces list --gallery \"$g\" | grep -q second && exit 13\nexit 0";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(&host.program).arg(&disk).current_dir(crate::root());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(child) = command.spawn() else { return Ok(false) };
    match host.ended(child)? {
        (Some(0), ..) => Ok(true),
        (Some(77 | 1), ..) => Ok(false),
        found => Err(format!("wanted the first in the gallery and the second refused, found {found:?}")),
    }
}

/// Address space, in MB, from what may be enough to what never is. Where it ends between depends on the machine and the day: what
/// must hold is that it ends as a whole, with its work done or with a reason.
const LITTLE: [u32; 4] = [220, 140, 100, 60];

fn little_memory(host: &Host) -> std::result::Result<bool, String> {
    for megabytes in LITTLE {
        let mut command = Command::new("prlimit");
        command.arg(format!("--as={megabytes}000000")).arg(&host.program).args(SHORT).current_dir(crate::root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(child) = command.spawn() else { return Ok(false) };
        let (code, out, said) = host.ended(child)?;
        let torn = !out.is_empty() && !out.ends_with('\n');
        let done = code == Some(0) && out.lines().last().is_some_and(|line| line.contains("\"type\":\"bye\""));
        let refused = matches!(code, Some(3..=6)) && !said.is_empty();
        // The last is less than the runtime's library and one model.
        if torn || !(refused || done && megabytes != LITTLE[LITTLE.len() - 1]) {
            return Err(format!(
                "{megabytes} MB: wanted exit 3 to 6 and a reason, or all that is to be said, and whole lines, found {code:?}, torn: \
                 {torn}, stderr: {said}"
            ));
        }
    }
    Ok(true)
}

fn hopeless(host: &Host) -> std::result::Result<bool, String> {
    let mut command = Command::new(&host.program);
    command.args(["run", "--source", "synth:64x48@5", "--pace", "realtime"]).current_dir(crate::root());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let pid = child.id();
    let eye = || -> Option<u32> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().filter_map(|word| word.parse().ok()).find(|child: &u32| {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"eye")
        })
    };
    let mut killed = std::collections::BTreeSet::new();
    let over = host.until(90.0, || {
        if let Some(eye) = eye().filter(|eye| !killed.contains(eye)) {
            signal("KILL", eye);
            killed.insert(eye);
        }
        matches!(child.try_wait(), Ok(Some(_)))
    });
    if over.is_none() {
        let _ = child.kill();
    }
    let (code, _, said) = host.ended(child)?;
    let gave_up = said.lines().last().is_some_and(|line| line.contains("nothing takes its place"));
    match (code, killed.len()) {
        (Some(6), 6) if gave_up => Ok(true),
        found => Err(format!("wanted exit 6 after six deaths, found {found:?}: {said}")),
    }
}

impl Half {
    /// A disturbance is over: how long it took until all was well.
    fn recovered(&mut self, what: &str, took: Option<f64>, bound: f64) {
        let entry = self.recoveries.entry(what.to_owned()).or_insert(Recovery { times: 0, worst: 0.0, bound });
        entry.times += 1;
        entry.worst = entry.worst.max(took.unwrap_or(f64::INFINITY));
        if took.is_none_or(|took| took > bound) {
            let took = took.map_or_else(|| "never".to_owned(), |took| format!("after {took:.1} s"));
            self.problems.push(format!("{what}: recovered {took}, allowed: {bound} s"));
            say(format_args!("soak: {what}: recovered {took}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_is_taken_apart_and_nothing_is_lost() {
        let clip = fs::read(crate::root().join("samples/porch.mjpeg")).unwrap();
        let frames = pictures(&clip);
        assert_eq!(frames.len(), 315);
        assert_eq!(frames.concat(), clip);
    }

    #[test]
    fn what_recovers_late_or_never_is_a_problem() {
        let mut half = Half::default();
        half.recovered("x", Some(1.0), 2.0);
        assert!(half.problems.is_empty());
        half.recovered("x", Some(3.0), 2.0);
        half.recovered("x", None, 2.0);
        assert_eq!((half.problems.len(), half.recoveries["x"].times), (2, 3));
    }

    #[test]
    fn this_process_holds_something() {
        let [fds, threads, rss] = held(std::process::id()).unwrap();
        assert!(fds > 2 && threads > 0 && rss > 100);
        assert_eq!(held(u32::MAX), None);
    }
}
