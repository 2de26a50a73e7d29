//! The warden: everything around the process that sees pixels, and nothing of the pixels.
//!
//! ```text
//!  warden ──────────── starts, stops, replaces; reads and writes nothing
//!   ├─ gatekeeper ──── opens cameras and files by number; passes lines on   stdout, stderr
//!   │     ^  │ descriptors                ^ lines (pipe)                        ^
//!   │     │8 bytes (socket pair)          │  ^ complaints (pipe)                │
//!   └─ eye ┴─────────── sealed: decodes, looks, writes ┘                         (gatekeeper only)
//! ```
//!
//! Three processes of one program. The *eye* is started anew (exec), with an empty environment but for five variables, with
//! the socket for stdin and pipes for stdout and stderr, and closes whatever else it may have inherited. The *gatekeeper* is
//! forked from the warden with its tables as they stand; it can open what is on the list and write to stdout, and no more
//! ([`crate::seal::policy::GATEKEEPER`], Landlock). The *warden* proper needs to start processes, which no useful filter
//! allows, so it is the part that touches no data at all: it waits for its children and for signals. None of the three can
//! make a socket ([`crate::seal::policy::NOWHERE`]).
//!
//! # How a life ends
//!
//! SIGINT and SIGTERM are passed on once and the eye ends in order; a second one ends everything at once. An eye that dies
//! (killed, panicked, put down because it wrote what is no event, or because it gave no sign of life) is replaced after a pause,
//! when all its sources are live; the new stream begins with a new `boot` and says `fault`. A replay cannot be taken up in the middle: its stream ends
//! with `fault` and the run with exit code 6. A line is passed on whole or not at all, so the stream stays well-formed
//! wherever the eye was cut. If the warden itself is killed, the kernel kills the other two with it.

pub mod desk;
mod gatekeeper;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Format;
use crate::event::FaultReason;
use crate::exit::Exit;
use crate::seal::gate::Words;
use crate::seal::phrases::Phrases;
use crate::seal::sys::{self, Forked};
use crate::seal::{self, Beneath, Wanted};
use crate::source::opener::PathOpener;

pub use gatekeeper::{Bound, Holding, Watched};

use gatekeeper::{Ending, Post};

/// First word of an eye's command line.
pub const EYE: &str = "eye";

/// Set for an eye that takes the place of another: how that one ended, a word of [`FaultReason`].
pub const AFTER_DEATH: &str = "PORCHLIGHT_AFTER_DEATH";

/// What an eye may know of its surroundings.
const ENVIRONMENT: [&str; 5] =
    ["ORT_DYLIB_PATH", "PORCHLIGHT_MODELS", "TZ", "CREDENTIALS_DIRECTORY", seal::NO_TELEMETRY];

/// A run, seen from outside.
pub struct Run {
    /// The command line, without the program's name.
    pub arguments: Vec<OsString>,
    /// What the eye may be given, for each camera, and then the gallery where there is one; made anew for each eye.
    pub holdings: Box<dyn Fn() -> Vec<Holding>>,
    /// The names and hashes its lines may hold.
    pub names: Words,
    /// What it may say to people once it has been given something to look at; `None` for anything, of printable text.
    pub phrases: Option<Phrases>,
    /// Whose words the lines are passed on in.
    pub format: Format,
    /// How much it may say.
    pub bound: Bound,
    /// Whether a dead eye is replaced: every source is live.
    pub replaceable: bool,
    /// Whether there are filters.
    pub wanted: Wanted,
}

/// Pause before the first replacement; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An eye that lived so long has recovered: counting begins anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// Deaths in a row that are not healed.
const HOPELESS: u32 = 6;

/// Why a run could not be started.
#[derive(Debug)]
pub enum WardenError {
    /// The seal.
    Seal(seal::SealError),
    /// The system.
    System(&'static str, io::Error),
}

impl std::fmt::Display for WardenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seal(e) => write!(f, "{e}"),
            Self::System(what, e) => write!(f, "warden: cannot {what}: {e}"),
        }
    }
}

impl std::error::Error for WardenError {}

impl WardenError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Seal(_) => Exit::Seal,
            Self::System(..) => Exit::Internal,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> WardenError {
    move |e| WardenError::System(what, e)
}

/// Runs until the sources end, a signal comes, nobody reads, or an eye dies that cannot be replaced.
///
/// # Errors
/// [`WardenError`], before any eye has started or when one cannot be.
pub fn run(run: &Run) -> Result<Exit, WardenError> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD]).map_err(system("listen for signals"))?;
    if run.wanted == Wanted::Seal {
        seal::harden().map_err(WardenError::Seal)?;
    }
    let mut deaths = 0;
    let mut after = None;
    loop {
        let born = Instant::now();
        let life = Life::begin(run, after)?;
        match life.watch(&mut signals)? {
            Death::Natural(exit) => return Ok(exit),
            Death::Unexpected(how, reason) => {
                after = Some(reason);
                deaths = if born.elapsed() >= HEALTHY { 1 } else { deaths + 1 };
                if !run.replaceable || deaths >= HOPELESS {
                    complain(&format!("the eye died ({how}); nothing takes its place"));
                    return Ok(Exit::Internal);
                }
                let pause = (FIRST_PAUSE * 2u32.saturating_pow(deaths - 1)).min(LONGEST_PAUSE);
                complain(&format!("the eye died ({how}); another one starts in {:.1} s", pause.as_secs_f32()));
                if stopped_within(pause, &mut signals) {
                    return Ok(Exit::Internal);
                }
            }
        }
    }
}

/// Waits; true when a signal says to stop.
fn stopped_within(pause: Duration, signals: &mut Signals) -> bool {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        if signals.pending().any(|s| s == SIGINT || s == SIGTERM) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// How an eye ended.
enum Death {
    Natural(Exit),
    Unexpected(String, FaultReason),
}

/// One eye and its gatekeeper.
struct Life {
    eye: Child,
    gatekeeper: Pid,
}

impl Life {
    fn begin(run: &Run, after: Option<FaultReason>) -> Result<Self, WardenError> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        use rustix::pipe::{PipeFlags, pipe_with};
        let (socket, eye_socket) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| WardenError::System("make a socket pair", e.into()))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| WardenError::System("make a pipe", e.into()));
        let ((events, eye_events), (words, eye_words)) = (pipe()?, pipe()?);
        let holdings = (run.holdings)();
        let gatekeeper = match sys::fork().map_err(system("start the gatekeeper"))? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                // The other ends are the eye's alone: while anybody else held them, its end would not be seen.
                drop((eye_socket, eye_events, eye_words));
                let post = Post {
                    socket,
                    events,
                    words,
                    holdings,
                    names: run.names.clone(),
                    phrases: run.phrases.clone(),
                    format: run.format,
                    bound: run.bound,
                    replaceable: run.replaceable,
                };
                std::process::exit(i32::from(stand(post, run.wanted) as u8));
            }
        };
        drop((socket, events, words));
        let eye = start_eye(run, after, [eye_socket, eye_events, eye_words]);
        match eye {
            Ok(eye) => Ok(Self { eye, gatekeeper }),
            Err(e) => {
                // Its pipes are closed by now: it ends by itself.
                let _ = rustix::process::waitpid(Some(gatekeeper), WaitOptions::empty());
                Err(WardenError::System("start the eye", e))
            }
        }
    }

    /// Until both have ended.
    fn watch(mut self, signals: &mut Signals) -> Result<Death, WardenError> {
        let mut asked_to_stop = 0;
        let (mut eye, mut gatekeeper) = (None, None);
        loop {
            if eye.is_none() {
                eye = self.eye.try_wait().map_err(system("wait for the eye"))?;
            }
            if gatekeeper.is_none() {
                gatekeeper = self.gatekeeper_status()?;
                if let Some(status) = gatekeeper
                    && status.exit_status() != Some(Ending::Complete as i32)
                    && status.exit_status() != Some(Ending::Cut as i32)
                {
                    // Nobody listens to it any more, or must.
                    let _ = self.eye.kill();
                }
            }
            if let (Some(eye), Some(gatekeeper)) = (eye, gatekeeper) {
                return Ok(judge(eye, gatekeeper, asked_to_stop > 0));
            }
            for signal in signals.wait() {
                if signal == SIGINT || signal == SIGTERM {
                    asked_to_stop += 1;
                    match asked_to_stop {
                        // Its process group is its own, so this is the only one it gets.
                        1 => drop(rustix::process::kill_process(self.pid(), Signal::TERM)),
                        _ => {
                            let _ = self.eye.kill();
                            return Ok(Death::Natural(Exit::Internal));
                        }
                    }
                }
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.eye)
    }

    fn gatekeeper_status(&self) -> Result<Option<WaitStatus>, WardenError> {
        rustix::process::waitpid(Some(self.gatekeeper), WaitOptions::NOHANG)
            .map(|found| found.map(|(_, status)| status))
            .map_err(|e| WardenError::System("wait for the gatekeeper", e.into()))
    }
}

fn judge(eye: ExitStatus, gatekeeper: WaitStatus, stopped: bool) -> Death {
    let ending = gatekeeper.exit_status();
    let is = |e: Ending| ending == Some(e as i32);
    if is(Ending::Broken) {
        return Death::Natural(Exit::Internal);
    }
    if is(Ending::Unsealed) {
        return Death::Natural(Exit::Seal);
    }
    if is(Ending::Refused) {
        return Death::Unexpected("put down by the gatekeeper".into(), FaultReason::Died);
    }
    if is(Ending::Hung) {
        return match stopped {
            true => Death::Natural(Exit::Internal),
            false => Death::Unexpected("it gave no sign of life".into(), FaultReason::Hung),
        };
    }
    if !is(Ending::Complete) && !is(Ending::Cut) {
        return Death::Unexpected("its gatekeeper died".into(), FaultReason::Died);
    }
    let code = eye.code().and_then(|c| u8::try_from(c).ok());
    match [Exit::Done, Exit::Missed, Exit::Usage, Exit::Model, Exit::Source, Exit::Seal]
        .into_iter()
        .find(|e| Some(e.code()) == code)
    {
        Some(exit) => Death::Natural(exit),
        None if stopped => Death::Natural(Exit::Internal),
        None => Death::Unexpected(
            match eye.signal() {
                // Also how it ends that has no memory left: what the C library does then is not allowed either.
                Some(libc::SIGSYS) => "it broke its seal, or had no memory left, and the kernel killed it".into(),
                Some(signal) => format!("signal {signal}"),
                None => "an internal error".into(),
            },
            FaultReason::Died,
        ),
    }
}

/// The gatekeeper's life, in its own process.
fn stand(mut post: Post, wanted: Wanted) -> Ending {
    for holding in &mut post.holdings {
        if let Holding::Devices(openers) = holding {
            openers.iter_mut().for_each(PathOpener::prepare);
        }
    }
    let confined = follow_parent().and_then(|()| sys::block_signals()).map_err(|e| e.to_string()).and_then(|()| {
        if wanted == Wanted::Nothing {
            return Ok(());
        }
        if !post.holdings.iter().any(|h| matches!(h, Holding::Stdin)) {
            let nothing = std::fs::File::open("/dev/null").map_err(|e| format!("/dev/null: {e}"))?;
            rustix::stdio::dup2_stdin(nothing).map_err(|e| format!("stdin: {e}"))?;
        }
        let allowed = beneath(&post.holdings);
        seal::landlock(&allowed)
            .and_then(|_| seal::enforce(seal::policy::Role::Gatekeeper, None))
            .map_err(|e| e.to_string())
    });
    match confined {
        Ok(()) => gatekeeper::keep(post),
        Err(e) => {
            complain(&e);
            Ending::Unsealed
        }
    }
}

/// Landlock rules for so many single files; beyond, for the folders they are in.
const MAX_FILE_RULES: usize = 64;

/// What the gatekeeper must be able to reach.
fn beneath(holdings: &[Holding]) -> Vec<Beneath> {
    let mut allowed = Vec::new();
    for holding in holdings {
        match holding {
            Holding::Nothing | Holding::Stdin => {}
            // The folder: a changed gallery is a new file of the old name.
            Holding::Gallery(watched) => allowed.extend(watched.vault().folders().iter().map(|f| Beneath::read(f))),
            Holding::Files(paths) if paths.len() <= MAX_FILE_RULES => {
                allowed.extend(paths.iter().map(|p| Beneath::read(p)));
            }
            Holding::Files(paths) => {
                let mut folders: Vec<_> = paths.iter().filter_map(|p| p.parent()).collect();
                folders.dedup();
                let here = Path::new(".");
                allowed.extend(
                    folders.into_iter().map(|f| Beneath::read(if f.as_os_str().is_empty() { here } else { f })),
                );
            }
            // A camera that is plugged in again is a new node, so the rule is about the folder of nodes; what is no
            // camera is refused after it was opened, and handed to nobody.
            Holding::Devices(_) => {
                allowed.push(Beneath::devices(Path::new("/dev")));
                // What tells a camera from another.
                let about = ["/sys/class/video4linux", "/sys/dev/char", "/sys/devices"];
                allowed.extend(about.map(|p| Beneath::read(Path::new(p))));
            }
        }
    }
    allowed
}

fn start_eye(run: &Run, after: Option<FaultReason>, [socket, events, words]: [OwnedFd; 3]) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("porchlight").arg(EYE).args(&run.arguments).env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(reason) = after {
        command.env(AFTER_DEATH, reason.word());
    }
    // A group of its own: Ctrl-C reaches the warden, and the eye through it, once.
    command.stdin(Stdio::from(socket)).stdout(Stdio::from(events)).stderr(Stdio::from(words)).process_group(0).spawn()
}

/// Dies with the warden.
fn follow_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// How much sooner than others of its size an eye is ended for want of memory, in thousandths of all memory.
const FIRST_TO_GO: &str = "500";

/// What an eye does before anything else; its line to the warden.
///
/// # Errors
/// One line for people, when this process was not started by a warden.
pub fn enter_eye() -> Result<desk::Desk, String> {
    let refuse = |e: &dyn std::fmt::Display| format!("eye: {e}: wanted to be started by `porchlight run`");
    let socket = rustix::net::sockopt::socket_type(rustix::stdio::stdin()).map_err(|e| refuse(&io::Error::from(e)))?;
    if socket != rustix::net::SocketType::SEQPACKET {
        return Err(refuse(&"stdin is another socket"));
    }
    sys::close_inherited().and_then(|()| follow_parent()).map_err(|e| refuse(&e))?;
    // Where memory is short the kernel shall end the one that is replaced, not the one that replaces it. Best effort: no rule is broken
    // where it may not be said.
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    Ok(desk::Desk::new(sys::take_stdin()))
}

fn complain(what: &str) {
    crate::command::complain(what);
}
