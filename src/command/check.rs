//! `porchlight check`: proves the seal on this machine by trying to break it.
//!
//! Each forbidden act is attempted in a process of its own that went the way an eye goes, so what is shown is what this kernel
//! does and not what the documentation says. Three layers are tried apart, because the outer one would hide the inner ones:
//!
//! - `seal`: everything an eye has. A forbidden act ends in death by SIGSYS.
//! - `landlock`: Landlock alone. A forbidden act fails. What this kernel's Landlock does not know is named, not hidden.
//! - `anywhere`: what every command has: no sockets, nobody else's memory.
//!
//! and `gate` is what the gatekeeper does with what an eye writes. The first rows are acts that must succeed: a cage in which
//! nothing moves proves nothing.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, Ipv4Addr, SocketAddrUnix, SocketAddrV4, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::{Failure, Printer, models};
use crate::cli::CheckArgs;
use crate::exit::Exit;
use crate::seal::gate::{Gate, Words};
use crate::seal::policy::{EYE, Role, Rule, Seen, When};
use crate::seal::{self, Opened, SealError, Wanted, sys};
use crate::source::camera;

/// First word of an attempt's command line.
pub(super) const ATTEMPT: &str = "attempt";

/// Names a call that the policy of the attempts allows besides its own, so that a test can see `check` fail. Refused by every
/// other command.
pub(super) const WEAKEN: &str = "PORCHLIGHT_CHECK_WEAKEN";

/// What [`WEAKEN`] may name.
const WEAK: &[Rule] = &[
    Rule {
        call: "socket",
        x86_64: Some(41),
        aarch64: Some(198),
        when: When::Always,
        seen: Seen::Rarely,
        why: "a test",
    },
    Rule {
        call: "openat",
        x86_64: Some(257),
        aarch64: Some(56),
        when: When::Always,
        seen: Seen::Rarely,
        why: "a test",
    },
    Rule { call: "kill", x86_64: Some(62), aarch64: Some(129), when: When::Always, seen: Seen::Rarely, why: "a test" },
];

/// Exit code of an attempt that did not get as far as its act.
const NOT_CONFINED: i32 = 200;

/// In which confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Seal,
    Landlock,
    Anywhere,
}

impl Layer {
    const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Landlock => "landlock",
            Self::Anywhere => "anywhere",
        }
    }
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It works.
    Done,
    /// The kernel ends the process.
    Killed,
    /// It fails with this error.
    Fails(i32),
    /// The process ends with this code.
    Ends(i32),
}

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENOSYS: i32 = 38;

/// What an attempt may need.
struct Stage {
    /// Descriptor of a device opened before, as a camera is.
    device: OwnedFd,
    parent: i32,
    /// A file of the parent, writable.
    file: Vec<u8>,
    /// Name of an abstract socket that the parent listens at.
    abstract_name: String,
}

type Deed = fn(&Stage) -> io::Result<()>;

/// A row.
struct Act {
    name: &'static str,
    layer: Layer,
    wanted: Outcome,
    /// Version of Landlock from which on it is denied.
    since_abi: u32,
    deed: Deed,
}

const fn sealed(name: &'static str, deed: Deed) -> Act {
    Act { name, layer: Layer::Seal, wanted: Outcome::Killed, since_abi: 0, deed }
}

const fn landlocked(name: &'static str, errno: i32, since_abi: u32, deed: Deed) -> Act {
    Act { name, layer: Layer::Landlock, wanted: Outcome::Fails(errno), since_abi, deed }
}

const fn anywhere(name: &'static str, deed: Deed) -> Act {
    Act { name, layer: Layer::Anywhere, wanted: Outcome::Fails(EACCES), since_abi: 0, deed }
}

/// A raw call; arguments that are not given are 0.
fn call<const N: usize>(number: i64, given: [usize; N]) -> io::Result<()> {
    let mut arguments = [0; 6];
    arguments.iter_mut().zip(given).for_each(|(a, g)| *a = g);
    sys::attempt(number, arguments).map(drop)
}

fn socket(family: usize, kind: usize) -> io::Result<()> {
    call(libc::SYS_socket, [family, kind])
}

/// A path with its end marked, as the kernel reads it.
fn path(text: &'static std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

const CWD: usize = libc::AT_FDCWD as usize;

fn open(text: &'static std::ffi::CStr, flags: i32) -> io::Result<()> {
    call(libc::SYS_openat, [CWD, path(text), flags as usize, 0o600])
}

/// Memory of the parent, through the file system.
fn open_memory(stage: &Stage) -> io::Result<()> {
    let name = format!("/proc/{}/mem\0", stage.parent);
    call(libc::SYS_openat, [CWD, name.as_ptr() as usize, libc::O_RDWR as usize])
}

/// One word of the parent's memory, in one call.
fn read_memory(stage: &Stage) -> io::Result<()> {
    call(libc::SYS_process_vm_readv, [stage.parent as usize])
}

fn connect_abstract(stage: &Stage) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    let address = SocketAddrUnix::new_abstract_name(stage.abstract_name.as_bytes())?;
    Ok(rustix::net::connect(&socket, &address)?)
}

/// To a port of this machine where nobody listens: refused at the other end unless denied at this one.
fn connect_tcp(_: &Stage) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    Ok(rustix::net::connect(&socket, &address)?)
}

fn bind_tcp(_: &Stage) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    Ok(rustix::net::bind(&socket, &address)?)
}

/// What every stage of a pipeline does all day.
fn work(_: &Stage) -> io::Result<()> {
    let (to, from) = std::sync::mpsc::channel();
    let worker = move || {
        let memory = vec![7u8; 3 << 20];
        let _ = to.send(memory.iter().map(|b| u64::from(*b)).sum::<u64>());
    };
    std::thread::scope(|scope| drop(scope.spawn(worker)));
    let sum = from.recv().map_err(io::Error::other)?;
    if sum != 7 * (3 << 20) {
        return Err(io::Error::other("a wrong sum"));
    }
    io::stdout().write_all(b"x")
}

/// What a stage does whose queue was long: each of several threads gives back tens of megabytes in small pieces. The C library may
/// want to ask a file how to do that.
fn give_back(_: &Stage) -> io::Result<()> {
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(std::hint::black_box((0..1500).map(|_| vec![1u8; 32 << 10]).collect::<Vec<_>>())));
        }
    });
    io::stdout().write_all(b"x")
}

fn panic_now(stage: &Stage) -> io::Result<()> {
    assert!(stage.parent < 0, "on purpose");
    Ok(())
}

/// Everything that is tried.
const ACTS: &[Act] = &[
    Act {
        name: "threads, memory, writing to stdout",
        layer: Layer::Seal,
        wanted: Outcome::Done,
        since_abi: 0,
        deed: work,
    },
    Act { name: "giving much memory back", layer: Layer::Seal, wanted: Outcome::Done, since_abi: 0, deed: give_back },
    Act {
        name: "a panic",
        layer: Layer::Seal,
        wanted: Outcome::Ends(Exit::Internal.code() as i32),
        since_abi: 0,
        deed: panic_now,
    },
    sealed("TCP socket", |_| socket(libc::AF_INET as usize, libc::SOCK_STREAM as usize)),
    sealed("TCP socket, IPv6", |_| socket(libc::AF_INET6 as usize, libc::SOCK_STREAM as usize)),
    sealed("UDP socket", |_| socket(libc::AF_INET as usize, libc::SOCK_DGRAM as usize)),
    sealed("unix socket", |_| socket(libc::AF_UNIX as usize, libc::SOCK_STREAM as usize)),
    sealed("netlink socket", |_| socket(libc::AF_NETLINK as usize, libc::SOCK_RAW as usize)),
    sealed("vsock socket", |_| socket(libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize)),
    sealed("packet socket", |_| socket(libc::AF_PACKET as usize, libc::SOCK_RAW as usize)),
    sealed("bluetooth socket", |_| socket(libc::AF_BLUETOOTH as usize, libc::SOCK_RAW as usize)),
    sealed("socket pair", |_| call(libc::SYS_socketpair, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize])),
    sealed("connect", |s| call(libc::SYS_connect, [s.device.as_raw_fd() as usize])),
    sealed("bind", |s| call(libc::SYS_bind, [s.device.as_raw_fd() as usize])),
    sealed("sending a descriptor away", |_| call(libc::SYS_sendmsg, [0])),
    sealed("sending a datagram", |_| call(libc::SYS_sendto, [0])),
    sealed("open for reading", |_| open(c"/proc/version", libc::O_RDONLY)),
    sealed("open for writing", |_| open(c"/tmp/porchlight-check", libc::O_WRONLY | libc::O_CREAT)),
    sealed("open for writing, nameless", |_| open(c"/tmp", libc::O_WRONLY | libc::O_TMPFILE)),
    sealed("open by another call", |_| call(libc::SYS_openat2, [CWD])),
    sealed("a file in memory", |_| call(libc::SYS_memfd_create, [path(c"x")])),
    sealed("changing a file's length", |_| call(libc::SYS_ftruncate, [1])),
    sealed("renaming a file", |_| call(libc::SYS_renameat2, [CWD, path(c"/nowhere"), CWD, path(c"/elsewhere")])),
    sealed("looking whether a file is there", |_| call(libc::SYS_statx, [CWD, path(c"/")])),
    sealed("writing to a camera", |s| call(libc::SYS_write, [s.device.as_raw_fd() as usize, path(c"x"), 1])),
    sealed("writing to a camera at a place", |s| {
        call(libc::SYS_pwrite64, [s.device.as_raw_fd() as usize, path(c"x"), 1])
    }),
    sealed("writing pieces to stdout", |_| call(libc::SYS_writev, [1])),
    sealed("an ioctl outside the list", |s| {
        call(libc::SYS_ioctl, [s.device.as_raw_fd() as usize, libc::FIONREAD as usize])
    }),
    sealed("pushing keys into a terminal", |s| {
        call(libc::SYS_ioctl, [s.device.as_raw_fd() as usize, libc::TIOCSTI as usize])
    }),
    sealed("another descriptor in the place of stdout", |s| call(libc::SYS_dup3, [s.device.as_raw_fd() as usize, 1])),
    sealed("a copy of a descriptor", |s| {
        call(libc::SYS_fcntl, [s.device.as_raw_fd() as usize, libc::F_DUPFD as usize, 1])
    }),
    sealed("exec", |_| call(libc::SYS_execve, [path(c"/bin/true")])),
    sealed("exec by descriptor", |s| call(libc::SYS_execveat, [s.device.as_raw_fd() as usize])),
    sealed("a process", |_| call(libc::SYS_clone, [libc::SIGCHLD as usize])),
    sealed("a process in another namespace", |_| call(libc::SYS_clone, [libc::CLONE_NEWUSER as usize])),
    Act {
        name: "a process by flags in memory",
        layer: Layer::Seal,
        wanted: Outcome::Fails(ENOSYS),
        since_abi: 0,
        deed: |_| call(libc::SYS_clone3, [0]),
    },
    sealed("executable memory", |_| {
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        call(libc::SYS_mmap, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, flags, usize::MAX])
    }),
    sealed("making memory executable", |_| call(libc::SYS_mprotect, [0, 4096, libc::PROT_EXEC as usize])),
    sealed("the same with a key", |_| call(libc::SYS_pkey_mprotect, [0, 4096, libc::PROT_EXEC as usize])),
    sealed("ptrace of the parent", |s| call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, s.parent as usize])),
    sealed("reading the parent's memory", read_memory),
    sealed("writing the parent's memory", |s| call(libc::SYS_process_vm_writev, [s.parent as usize])),
    sealed("opening the parent's memory", open_memory),
    sealed("a handle of the parent", |s| call(libc::SYS_pidfd_open, [s.parent as usize])),
    sealed("taking a descriptor of another process", |_| call(libc::SYS_pidfd_getfd, [0])),
    sealed("a signal to the parent", |s| call(libc::SYS_kill, [s.parent as usize, 0])),
    sealed("io_uring", |_| call(libc::SYS_io_uring_setup, [1])),
    sealed("splice", |_| call(libc::SYS_splice, [0, 0, 1, 0, 1])),
    sealed("sendfile", |_| call(libc::SYS_sendfile, [1, 0, 0, 1])),
    sealed("shared memory", |_| call(libc::SYS_shmget, [0, 4096, 0o1600])),
    sealed("a message queue", |_| call(libc::SYS_mq_open, [path(c"x")])),
    sealed("mount", |_| call(libc::SYS_mount, [0])),
    sealed("unshare", |_| call(libc::SYS_unshare, [0])),
    sealed("bpf", |_| call(libc::SYS_bpf, [0])),
    sealed("perf", |_| call(libc::SYS_perf_event_open, [0])),
    sealed("userfaultfd", |_| call(libc::SYS_userfaultfd, [0])),
    sealed("becoming dumpable", |_| call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1])),
    sealed("lifting a limit", |_| call(libc::SYS_prlimit64, [0])),
    sealed("a filter of its own", |_| call(libc::SYS_seccomp, [0])),
    #[cfg(target_arch = "x86_64")]
    sealed("a socket by its x32 number", |_| call(libc::SYS_socket | 0x4000_0000, [libc::AF_INET as usize, 1])),
    #[cfg(target_arch = "x86_64")]
    sealed("fork", |_| call(libc::SYS_fork, [])),
    #[cfg(target_arch = "x86_64")]
    sealed("open by the old call", |_| call(libc::SYS_open, [path(c"/proc/version")])),
    landlocked("open for reading", EACCES, 1, |_| open(c"/proc/version", libc::O_RDONLY)),
    landlocked("open for writing", EACCES, 1, |_| open(c"/tmp/porchlight-check", libc::O_WRONLY | libc::O_CREAT)),
    landlocked("opening a device", EACCES, 1, |_| open(c"/dev/null", libc::O_RDWR)),
    landlocked("listing a folder", EACCES, 1, |_| open(c"/", libc::O_RDONLY | libc::O_DIRECTORY)),
    landlocked("making a folder", EACCES, 1, |_| call(libc::SYS_mkdirat, [CWD, path(c"/tmp/porchlight-check"), 0o700])),
    landlocked("exec", EACCES, 1, |_| call(libc::SYS_execve, [path(c"/bin/sh")])),
    landlocked("removing a file", EACCES, 1, |s| call(libc::SYS_unlinkat, [CWD, s.file.as_ptr() as usize])),
    landlocked("cutting a file", EACCES, 3, |s| call(libc::SYS_truncate, [s.file.as_ptr() as usize])),
    landlocked("TCP connect", EACCES, 4, connect_tcp),
    landlocked("TCP bind", EACCES, 4, bind_tcp),
    landlocked("abstract unix socket of another process", EPERM, 6, connect_abstract),
    landlocked("a signal to the parent", EPERM, 6, |s| call(libc::SYS_kill, [s.parent as usize, 0])),
    anywhere("TCP socket", |_| socket(libc::AF_INET as usize, libc::SOCK_STREAM as usize)),
    anywhere("unix socket", |_| socket(libc::AF_UNIX as usize, libc::SOCK_STREAM as usize)),
    anywhere("netlink socket", |_| socket(libc::AF_NETLINK as usize, libc::SOCK_RAW as usize)),
    anywhere("socket pair of another family", |_| call(libc::SYS_socketpair, [libc::AF_INET as usize, 1])),
    anywhere("io_uring", |_| call(libc::SYS_io_uring_setup, [1])),
    anywhere("ptrace", |s| call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, s.parent as usize])),
    anywhere("reading the parent's memory", read_memory),
    #[cfg(target_arch = "x86_64")]
    anywhere("a socket by its x32 number", |_| call(libc::SYS_socket | 0x4000_0000, [libc::AF_INET as usize, 1])),
];

/// The child: confines itself, does the deed, and says by its exit code what came of it.
pub(super) fn attempt(words: &[String]) -> Exit {
    let code = match words {
        [index, parent, file, abstract_name] => {
            match (index.parse().ok().and_then(|i: usize| ACTS.get(i)), parent.parse()) {
                (Some(act), Ok(parent)) => {
                    let stage =
                        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(|device| Stage {
                            device: device.into(),
                            parent,
                            file: format!("{file}\0").into_bytes(),
                            abstract_name: abstract_name.clone(),
                        });
                    match stage {
                        Ok(stage) if confine(act.layer).is_ok() => match (act.deed)(&stage) {
                            Ok(()) => 0,
                            Err(e) => e.raw_os_error().unwrap_or(EPERM),
                        },
                        _ => NOT_CONFINED,
                    }
                }
                _ => NOT_CONFINED,
            }
        }
        _ => NOT_CONFINED,
    };
    // Through exit_group and nothing else: what a process does to end in order is not what is being tried.
    std::process::exit(code)
}

fn confine(layer: Layer) -> Result<(), SealError> {
    let weak = std::env::var(WEAKEN).ok().and_then(|name| WEAK.iter().find(|r| r.call == name));
    match layer {
        Layer::Seal => {
            // As after reading weights: a large piece that was given back changes how the C library deals with the next.
            drop(std::hint::black_box(vec![1u8; 16 << 20]));
            let warm = Opened::new((), Wanted::Seal).confine()?.warm(Ok::<_, SealError>)?;
            warm.seal_with(weak).map(drop)
        }
        Layer::Landlock => Opened::new((), Wanted::Seal).confine().map(drop),
        Layer::Anywhere => seal::enforce(Role::Anybody, weak),
    }
}

/// A row of the answer.
struct Row {
    act: &'static str,
    layer: &'static str,
    wanted: String,
    seen: String,
    ok: bool,
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::Killed => "killed".into(),
        Outcome::Fails(errno) => name_of(errno),
        Outcome::Ends(code) => format!("exit code {code}"),
    }
}

fn name_of(errno: i32) -> String {
    match errno {
        EPERM => "EPERM".into(),
        EACCES => "EACCES".into(),
        ENOSYS => "ENOSYS".into(),
        other => io::Error::from_raw_os_error(other).to_string(),
    }
}

/// What the children may try themselves at.
struct Scene {
    file: std::path::PathBuf,
    abstract_name: String,
    _listener: OwnedFd,
}

impl Scene {
    fn set() -> io::Result<Self> {
        let pid = std::process::id();
        let abstract_name = format!("porchlight-check-{pid}");
        let kind = SocketType::STREAM;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new_abstract_name(abstract_name.as_bytes())?)?;
        rustix::net::listen(&listener, 8)?;
        let file = std::env::temp_dir().join(format!("porchlight-check-{pid}"));
        std::fs::write(&file, b"x")?;
        Ok(Self { file, abstract_name, _listener: listener })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A file of one byte that cannot be removed is not worth a word.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Tries one act; what came of it, and what it wrote to stdout.
fn try_one(index: usize, scene: &Scene) -> io::Result<(Outcome, Vec<u8>)> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(ATTEMPT).arg(index.to_string()).arg(std::process::id().to_string());
    command.arg(&scene.file).arg(&scene.abstract_name).env_clear();
    if let Some(weak) = std::env::var_os(WEAKEN) {
        command.env(WEAKEN, weak);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut wrote = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(1 << 20).read_to_end(&mut wrote)?;
    }
    let status = child.wait()?;
    let panicked = i32::from(Exit::Internal.code());
    Ok((
        match (status.signal(), status.code()) {
            (Some(libc::SIGSYS), _) => Outcome::Killed,
            (_, Some(0)) => Outcome::Done,
            // No act here can fail with ENXIO, which has the number that a panic ends with.
            (_, Some(code)) if code == panicked || code == NOT_CONFINED => Outcome::Ends(code),
            (_, Some(errno)) => Outcome::Fails(errno),
            (signal, None) => Outcome::Ends(128 + signal.unwrap_or(0)),
        },
        wrote,
    ))
}

/// What the gatekeeper says to what an eye could write.
fn gate_rows() -> Vec<Row> {
    let mut words = Words::default();
    ["front", "person"].into_iter().for_each(|w| words.name(w));
    let line = |rest: &str| {
        format!(
            "{{\"v\":1,\"boot\":\"0123456789abcdef\",\"seq\":0,\"type\":\"hello\",\"ts\":\"1970-01-01T00:00:00.000Z\",\
             \"camera\":null{rest}}}\n"
        )
        .into_bytes()
    };
    let writings: [(&'static str, Vec<u8>); 3] = [
        ("64 KiB of noise on stdout", (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("a picture in a field", line(&format!(",\"version\":\"{}\"", "A".repeat(8000)))),
        ("a key that no event has", line(",\"pixels\":[1,2,3]")),
    ];
    writings
        .into_iter()
        .map(|(act, bytes)| {
            let refused = Gate::new(words.clone()).pass(&bytes).is_err();
            let seen = if refused { "refused" } else { "passed" }.to_owned();
            Row { act, layer: "gate", wanted: "refused".into(), seen, ok: refused }
        })
        .collect()
}

fn rows(scene: &Scene, abi: u32) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, act) in ACTS.iter().enumerate() {
        let (seen, wrote) = try_one(index, scene)?;
        let unknown = act.since_abi > abi;
        let mut ok = seen == act.wanted || unknown;
        if act.wanted == Outcome::Done {
            ok &= wrote == b"x";
        }
        let wanted = if unknown { format!("none (Landlock {abi})") } else { told(act.wanted) };
        let seen = match seen {
            Outcome::Ends(NOT_CONFINED) => "no seal".to_owned(),
            other => told(other),
        };
        rows.push(Row { act: act.name, layer: act.layer.name(), wanted, seen, ok });
    }
    rows.extend(gate_rows());
    Ok(rows)
}

/// Tries everything and tells.
pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let system = |what: &'static str| move |e: io::Error| Failure::new(Exit::Internal, format!("check: {what}: {e}"));
    let scene = Scene::set().map_err(system("setting the scene"))?;
    let abi = seal::landlock_abi();
    let missing = seal::missing(abi);
    let rows = rows(&scene, abi).map_err(system("starting an attempt"))?;
    let denied = rows.iter().all(|r| r.ok);
    let models = models::verdicts()?;
    let cameras = camera::list(camera::Wish::default().size);
    let models_ok = models.iter().all(|(_, verdict)| verdict.is_ok());
    let exit = match (denied, models_ok) {
        (false, _) => Exit::Seal,
        (true, false) => Exit::Model,
        (true, true) => Exit::Done,
    };
    let missing: Vec<&str> = missing.iter().map(|m| m.word()).collect();
    let mut text = String::new();
    if args.json {
        let acts: Vec<Value> = rows
            .iter()
            .map(|r| json!({"act": r.act, "layer": r.layer, "wanted": r.wanted, "seen": r.seen, "ok": r.ok}))
            .collect();
        let models: Vec<Value> = models
            .iter()
            .map(|(name, v)| json!({"model": name, "ok": v.is_ok(), "problem": v.as_ref().err().map(ToString::to_string)}))
            .collect();
        let cameras: Vec<Value> = cameras
            .iter()
            .map(|c| {
                let problem = c.offer.as_ref().err().map(ToString::to_string);
                json!({"camera": c.path.to_string_lossy(), "ok": problem.is_none(), "problem": problem})
            })
            .collect();
        let answer = json!({
            "ok": exit == Exit::Done, "landlock_abi": abi, "missing": missing,
            "acts": acts, "models": models, "cameras": cameras,
        });
        text = format!("{answer:#}\n");
    } else {
        table(&mut text, &rows);
        for (name, verdict) in &models {
            let verdict = verdict.as_ref().map_or_else(ToString::to_string, |()| "keeps its card".to_owned());
            text.push_str(&format!("model     {name}: {verdict}\n"));
        }
        for camera in &cameras {
            let verdict = camera.offer.as_ref().map_or_else(ToString::to_string, |c| format!("{} answers", c.card));
            text.push_str(&format!("camera    {}: {}\n", camera.path.display(), crate::decode::one_line(&verdict)));
        }
        if cameras.is_empty() {
            text.push_str("camera    none: /dev holds no video device\n");
        }
        let failed = rows.iter().filter(|r| !r.ok).count();
        text.push_str(&match (failed, missing.is_empty()) {
            (0, true) => format!("sealed: {} acts, each as wanted; {} calls are allowed\n", rows.len(), EYE.len()),
            (0, false) => format!(
                "sealed in part: {} acts, each as wanted; this kernel's Landlock ({abi}) lacks {}\n",
                rows.len(),
                missing.join(", ")
            ),
            (n, _) => format!("NOT sealed: {n} of {} acts came out otherwise than wanted\n", rows.len()),
        });
    }
    Printer::new().print(&text)?;
    if exit == Exit::Seal {
        return Err(Failure::new(exit, "check: the seal does not hold on this machine: see the rows marked FAIL"));
    }
    Ok(exit)
}

fn table(text: &mut String, rows: &[Row]) {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0).max(6);
    let (act, wanted, seen) = (width(|r| r.act.len()), width(|r| r.wanted.len()), width(|r| r.seen.len()));
    text.push_str(&format!("{:<9} {:<act$} {:<wanted$} {:<seen$}\n", "LAYER", "ACT", "WANTED", "SEEN"));
    for r in rows {
        let mark = if r.ok { "ok" } else { "FAIL" };
        text.push_str(&format!("{:<9} {:<act$} {:<wanted$} {:<seen$} {mark}\n", r.layer, r.act, r.wanted, r.seen));
    }
}
