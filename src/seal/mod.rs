//! The seal: after it, the process that sees pixels can neither send nor store them.
//!
//! # Order
//!
//! The order is the safety argument, so it is a chain of types, each made from the one before and from nothing else:
//!
//! ```text
//! Opened ── confine() ──> Confined ── warm() ──> Warm ── seal() ──> Sealed ──> pipeline::run(Sealed, ..)
//! card, weights,          Landlock, while         sessions, one      seccomp, all
//! ONNX Runtime's library  there is one thread     dummy run          threads
//! ```
//!
//! *Landlock binds the calling thread and those it starts later, never those that run already.* So it is put in place while
//! there is one thread, which is counted, not assumed: the library is loaded and the weights are in memory by then, and
//! ONNX Runtime has not started its pool yet (it does with the first session; creating its environment starts a thread
//! only where its telemetry is on, which is why [`NO_TELEMETRY`] comes first). Sessions are made afterwards, from memory,
//! so the pool's threads are born inside. Then seccomp closes all threads at once (`TSYNC`), whatever their age. Sources
//! are opened after that: not one byte of a picture is looked at before the seal stands.
//!
//! # Two layers
//!
//! seccomp is the wall: an allow-list ([`policy`]) without any call that opens, connects, executes or makes a process;
//! anything else kills the process. Landlock is the second wall, for what a filter cannot tell (it sees no paths) and for
//! the day the first has a hole: nothing can be opened, written, connected, and nobody signalled. Neither needs root.
//!
//! What was really reached is a value, [`Reached`], which the first event reports. A kernel without seccomp is refused; an
//! older Landlock, or none, is reported as `partial` with the missing rules named.
//!
//! # What it cannot do
//!
//! A compromised eye can still encode something in events that are allowed, and in their timing. That is bounded outside of
//! it, by [`gate`], in bytes per second of a strict grammar; SECURITY.md has the figures.

pub mod gate;
pub mod phrases;
pub mod policy;
pub(crate) mod sys;

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::event::{SealRule, SealState};

use policy::Role;

pub(crate) use sys::{give_memory_back, lock_memory};

/// Why the seal does not stand.
#[derive(Debug)]
pub enum SealError {
    /// The kernel refuses filters.
    Seccomp(String),
    /// Landlock answered with something else than "not here".
    Landlock(String),
    /// There were threads already that Landlock would not bind.
    Threads(usize),
    /// A table that is no filter.
    Table(policy::BadTable),
    /// A smaller precaution failed.
    Harden(&'static str, std::io::Error),
}

impl std::fmt::Display for SealError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seal: ")?;
        match self {
            Self::Seccomp(why) => write!(
                f,
                "this kernel takes no seccomp filter ({why}): run on one with CONFIG_SECCOMP_FILTER, or accept an unsealed run with --no-seal"
            ),
            Self::Landlock(why) => write!(f, "Landlock: {why}: see `porchlight check`"),
            Self::Threads(n) => {
                write!(f, "found {n} threads before Landlock, wanted 1: is ORT_DISABLE_TELEMETRY=1 in force?")
            }
            Self::Table(e) => write!(f, "{e}: this is a bug, please report it"),
            Self::Harden(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for SealError {}

/// What the kernel really enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// All, some, or nothing.
    pub state: SealState,
    /// Version of Landlock that this kernel has; 0 for none.
    pub landlock_abi: u32,
    /// Whether the allow-list stands on all threads.
    pub seccomp: bool,
    /// What is wanted of Landlock and this kernel's lacks.
    pub missing: Vec<SealRule>,
}

impl Reached {
    /// Nothing is enforced.
    pub const OFF: Self = Self { state: SealState::Off, landlock_abi: 0, seccomp: false, missing: Vec::new() };
}

/// Whether to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As far as this kernel can; no seccomp is an error.
    Seal,
    /// `--no-seal`: the chain is walked without doing anything, and says so.
    Nothing,
}

/// Everything that takes files is open; the kernel restricts nothing yet.
#[derive(Debug)]
pub struct Opened<T> {
    inner: T,
    wanted: Wanted,
}

/// No file can be opened any more; there is one thread.
#[derive(Debug)]
pub struct Confined<T> {
    inner: T,
    landlock: Option<Landlock>,
}

/// Models have run once; their threads exist.
#[derive(Debug)]
pub struct Warm<T> {
    inner: T,
    landlock: Option<Landlock>,
}

/// The seal stands (or was declined, and says so). Only the chain makes one:
///
/// ```compile_fail
/// let sealed = porchlight::seal::Sealed { reached: porchlight::seal::Reached::OFF };
/// ```
#[derive(Debug)]
pub struct Sealed {
    reached: Reached,
}

impl<T> Opened<T> {
    /// Begins the chain.
    pub fn new(inner: T, wanted: Wanted) -> Self {
        Self { inner, wanted }
    }

    /// Closes files, TCP, abstract sockets and signals to others, by Landlock; and the smaller ways.
    ///
    /// # Errors
    /// [`SealError`]; a kernel without Landlock is none.
    pub fn confine(self) -> Result<Confined<T>, SealError> {
        let Self { inner, wanted } = self;
        let landlock = match wanted {
            Wanted::Nothing => None,
            Wanted::Seal => {
                harden()?;
                let unable = |what| move |e: rustix::io::Errno| SealError::Harden(what, e.into());
                let at_most = |n| Rlimit { current: Some(n), maximum: Some(n) };
                // Files it can write it has none; this is for the day it had.
                rustix::process::setrlimit(Resource::Fsize, at_most(0)).map_err(unable("limit of file sizes"))?;
                rustix::process::setrlimit(Resource::Nofile, at_most(MAX_DESCRIPTORS))
                    .map_err(unable("limit of descriptors"))?;
                Some(landlock(&[])?)
            }
        };
        Ok(Confined { inner, landlock })
    }
}

/// Descriptors of an eye with 16 cameras, each of which may be open twice while it is reopened, and the few it has itself.
const MAX_DESCRIPTORS: u64 = 64;

impl<T> Confined<T> {
    /// Loads sessions and runs them once.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn warm<U, E>(self, work: impl FnOnce(T) -> Result<U, E>) -> Result<Warm<U>, E> {
        let Self { inner, landlock } = self;
        Ok(Warm { inner: work(inner)?, landlock })
    }
}

impl<T> Warm<T> {
    /// Puts the allow-list on all threads.
    ///
    /// # Errors
    /// [`SealError::Seccomp`] when the kernel takes no filter.
    pub fn seal(self) -> Result<(Sealed, T), SealError> {
        self.seal_with(None)
    }

    /// The same with one call more: for `porchlight check`, so that a test can see it fail.
    pub(crate) fn seal_with(self, also: Option<&'static policy::Rule>) -> Result<(Sealed, T), SealError> {
        let Self { inner, landlock } = self;
        let reached = match landlock {
            None => Reached::OFF,
            Some(landlock) => {
                first_thread();
                enforce(Role::Eye, also)?;
                let state = if landlock.missing.is_empty() { SealState::Full } else { SealState::Partial };
                Reached { state, landlock_abi: landlock.abi, seccomp: true, missing: landlock.missing }
            }
        };
        Ok((Sealed { reached }, inner))
    }
}

impl Sealed {
    /// What was reached.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }
}

/// ONNX Runtime's official builds from 1.29 on send telemetry of every process from Linux too, unless this variable is set
/// before the library is loaded; its own switch comes too late, after the first message and the first file.
///
/// Must be called while there is one thread.
pub(crate) fn no_telemetry() {
    sys::set_env(NO_TELEMETRY, "1");
}

/// The variable that turns ONNX Runtime's telemetry off, when it is `1` before the library is loaded.
pub const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// No socket of any kind and no other process's memory, for this process and all it will start; see [`policy::NOWHERE`].
///
/// # Errors
/// [`SealError::Seccomp`] when the kernel takes no filter.
pub fn nowhere() -> Result<(), SealError> {
    enforce(Role::Anybody, None)
}

/// Not dumpable (so no core file, no /proc/PID/mem for others of the same user, and frames need no exclusion of their own),
/// no core file anyway, no way to gain privileges, files made by mistake readable by nobody else.
pub(crate) fn harden() -> Result<(), SealError> {
    let unable = |what| move |e: rustix::io::Errno| SealError::Harden(what, e.into());
    no_core().map_err(|(what, e)| unable(what)(e))?;
    rustix::thread::set_no_new_privs(true).map_err(unable("no new privileges"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    Ok(())
}

/// For a process that is about to hold embeddings of faces, sealed or not: if it crashes, nothing of its memory is kept.
///
/// # Errors
/// What could not be set, and why.
pub(crate) fn no_core() -> Result<(), (&'static str, rustix::io::Errno)> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(|e| ("limit of core files", e))?;
    // A core that is piped to a program (systemd-coredump, apport) heeds no limit; this it heeds.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| ("not dumpable", e))
}

/// So much free memory at the end of a heap goes back to the kernel.
const TRIM: usize = 2 << 20;

/// Looks up once what is looked up at its first use, with calls that the policies do not have: the page size and the clocks,
/// from the kernel's auxiliary vector. Before Landlock: kernels older than 6.4 tell it in a file only.
fn prime() {
    const PIECE: usize = 32 << 10;
    const PIECES: usize = 16;
    let _ = rustix::param::page_size();
    let _ = (crate::watch::now(), crate::watch::utc_ms());
    // The first time that the C library trims a thread's heap it reads /proc/sys/vm/overcommit_memory to learn how. It remembers;
    // so let it be now. Pieces too small for mappings of their own, and together more than a heap may keep: for this once that is
    // little, or this would be the most that a gatekeeper ever holds.
    sys::settle_allocator(PIECES * PIECE / 4);
    std::thread::scope(|scope| {
        let work = || drop(std::hint::black_box((0..PIECES).map(|_| vec![1u8; PIECE]).collect::<Vec<_>>()));
        // It does nothing that could fail.
        let _ = scope.spawn(work).join();
    });
    sys::settle_allocator(TRIM);
    // A thread that was joined may be counted for a moment longer.
    for _ in 0..1000 {
        if threads().is_ok_and(|count| count == 1) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Starts a thread and waits for its end: with the first one the C library installs a signal handler, which no policy
/// allows. Where models have threads of their own this has happened already.
fn first_thread() {
    std::thread::scope(|scope| {
        // It does nothing that could fail.
        let _ = scope.spawn(|| ()).join();
    });
}

pub(crate) fn enforce(role: Role, also: Option<&'static policy::Rule>) -> Result<(), SealError> {
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| SealError::Seccomp(format!("there is no table for {}", std::env::consts::ARCH)))?;
    for filter in role.filters(arch, also).map_err(SealError::Table)? {
        seccompiler::apply_filter_all_threads(&filter)
            .map_err(|e| SealError::Seccomp(crate::decode::one_line(&e.to_string())))?;
    }
    Ok(())
}

/// Threads of this process.
pub(crate) fn threads() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// What Landlock gave.
#[derive(Clone, Debug)]
pub(crate) struct Landlock {
    abi: u32,
    missing: Vec<SealRule>,
}

/// What may still be reached, beneath a path.
#[derive(Clone, Debug)]
pub(crate) struct Beneath {
    pub(crate) path: PathBuf,
    pub(crate) device: bool,
}

impl Beneath {
    pub(crate) fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), device: false }
    }

    /// Read, write and ioctl, but nothing created or removed.
    pub(crate) fn devices(path: &Path) -> Self {
        Self { path: path.to_owned(), device: true }
    }
}

/// The version whose rules are wanted: files, truncation, TCP, device ioctls, abstract sockets and signals. Later versions
/// are welcome and not needed.
const WANTED_ABI: ABI = ABI::V6;

/// Denies everything Landlock can deny but for `allowed`.
pub(crate) fn landlock(allowed: &[Beneath]) -> Result<Landlock, SealError> {
    prime();
    let count = threads().map_err(|e| SealError::Harden("counting threads", e))?;
    if count != 1 {
        return Err(SealError::Threads(count));
    }
    let broken = |e: &dyn std::fmt::Display| SealError::Landlock(crate::decode::one_line(&e.to_string()));
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED_ABI))
        .and_then(|r| r.handle_access(AccessNet::from_all(WANTED_ABI)))
        .and_then(|r| r.scope(Scope::from_all(WANTED_ABI)))
        .and_then(Ruleset::create)
        .map_err(|e| broken(&e))?;
    for Beneath { path, device } in allowed {
        // What is not there cannot be reached; whoever asks for it will be told.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if *device { reading | AccessFs::WriteFile | AccessFs::IoctlDev } else { reading };
        // A rule on a file takes only what files have.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED_ABI) };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|e| broken(&e))?;
    }
    let status = rules.restrict_self().map_err(|e| broken(&e))?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.and_then(|v| u32::try_from(v).ok()).unwrap_or(effective_abi as u32)
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    Ok(Landlock { abi, missing: missing(abi) })
}

/// The version of Landlock that this kernel has; 0 for none.
pub(crate) fn landlock_abi() -> u32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`: no rule set is made, the version is told.
    const VERSION: usize = 1;
    let version = sys::attempt(libc::SYS_landlock_create_ruleset, [0, 0, VERSION, 0, 0, 0]);
    version.ok().and_then(|v| u32::try_from(v).ok()).unwrap_or(0)
}

/// The rules that a kernel with this version of Landlock lacks.
pub(crate) fn missing(abi: u32) -> Vec<SealRule> {
    let since = [
        (1, SealRule::Files),
        (3, SealRule::Truncate),
        (4, SealRule::Tcp),
        (5, SealRule::DeviceIoctl),
        (6, SealRule::AbstractSockets),
        (6, SealRule::Signals),
    ];
    since.into_iter().filter(|(v, _)| abi < *v).map(|(_, rule)| rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_told_rule_by_rule() {
        assert_eq!(missing(7), []);
        assert_eq!(missing(6), []);
        // Debian 12's 6.1.
        let wanted =
            [SealRule::Truncate, SealRule::Tcp, SealRule::DeviceIoctl, SealRule::AbstractSockets, SealRule::Signals];
        assert_eq!(missing(2), wanted);
        assert_eq!(missing(0).len(), 6);
    }
}
