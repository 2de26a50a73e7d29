//! Which system calls are left, under which conditions, and why: a table for each role, with the numbers of each
//! architecture.
//!
//! The tables are data so that they can be printed, compiled for both architectures on either, and counted against a
//! recording of a real run: a row that no run uses must go. What is not in the table of a role kills its process.
//!
//! Two things a filter cannot see decide what is not here. It sees registers, not memory: calls whose meaning lies behind a
//! pointer (openat's path, clone3's flags, statx's path) can only be had whole or not at all. And it sees numbers, not
//! objects: `write` is held to the descriptors 0, 1 and 2, which the eye is born with and which it cannot change, because
//! nothing that makes descriptors with a chosen number (dup2, dup3, fcntl's F_DUPFD) is allowed.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Under which condition on its registers a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Argument (from 0) is one of these.
    OneOf(u8, &'static [u64]),
    /// Argument has none of these bits.
    Without(u8, u64),
    /// Argument is anything but this.
    Not(u8, u64),
}

/// Where a row can be seen in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Every recording of a run on files shows it.
    Files,
    /// Only a run with a V4L2 camera uses it: the test bed shows it.
    Camera,
    /// Only this architecture, another version of the C library, or a rare turn of events uses it; the reason says which.
    Rarely,
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name of the call.
    pub call: &'static str,
    /// Its number on x86_64; `None` where it does not exist.
    pub x86_64: Option<u16>,
    /// Its number on aarch64.
    pub aarch64: Option<u16>,
    /// When.
    pub when: When,
    /// Where it is used.
    pub seen: Seen,
    /// Why it is needed, or what it may not do.
    pub why: &'static str,
}

const fn rule(call: &'static str, x86_64: u16, aarch64: u16, when: When, seen: Seen, why: &'static str) -> Rule {
    Rule { call, x86_64: Some(x86_64), aarch64: Some(aarch64), when, seen, why }
}

const fn only_x86_64(call: &'static str, number: u16, when: When, seen: Seen, why: &'static str) -> Rule {
    Rule { call, x86_64: Some(number), aarch64: None, when, seen, why }
}

use Seen::{Camera, Files, Rarely};
use When::{Always, Not, OneOf, Without};

const PROT_EXEC: u64 = 4;
const F_GETFD: u64 = 1;
const F_GETFL: u64 = 3;
const F_SETFL: u64 = 4;
const PR_SET_NAME: u64 = 15;
const AF_UNIX: u64 = 1;

/// What the C library passes to start a thread, and nothing else: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS,
/// PARENT_SETTID, CHILD_CLEARTID.
const THREAD: u64 = 0x003d_0f00;

/// O_WRONLY, O_CREAT, O_TRUNC, O_APPEND and the bit of O_TMPFILE that is its own.
const WRITES: u64 = 0o1 | 0o100 | 0o1000 | 0o2000 | 0o20_000_000;

/// "What are you?", the first of [`IOCTLS`].
const QUERYCAP: u64 = IOCTLS[0].1;

/// The V4L2 commands of a camera that is set up and streams; none of them reaches another device than the camera.
pub const IOCTLS: &[(&str, u64)] = &[
    ("VIDIOC_QUERYCAP", 0x8068_5600),
    ("VIDIOC_ENUM_FMT", 0xc040_5602),
    ("VIDIOC_G_FMT", 0xc0d0_5604),
    ("VIDIOC_S_FMT", 0xc0d0_5605),
    ("VIDIOC_REQBUFS", 0xc014_5608),
    ("VIDIOC_QUERYBUF", 0xc058_5609),
    ("VIDIOC_QBUF", 0xc058_560f),
    ("VIDIOC_DQBUF", 0xc058_5611),
    ("VIDIOC_STREAMON", 0x4004_5612),
    ("VIDIOC_STREAMOFF", 0x4004_5613),
    ("VIDIOC_S_PARM", 0xc0cc_5616),
    ("VIDIOC_ENUM_FRAMESIZES", 0xc02c_564a),
    ("VIDIOC_ENUM_FRAMEINTERVALS", 0xc034_564b),
];

const IOCTL_NUMBERS: &[u64] = &{
    let mut numbers = [0; IOCTLS.len()];
    let mut i = 0;
    while i < numbers.len() {
        numbers[i] = IOCTLS[i].1;
        i += 1;
    }
    numbers
};

/// The process that sees pixels, from the moment it is sealed.
pub const EYE: &[Rule] = &[
    rule("read", 0, 63, Always, Files, "files, stdin's pipe: whatever the warden handed over"),
    rule("pread64", 17, 67, Always, Files, "files opened before the seal: clips, memory use, temperature"),
    rule(
        "write",
        1,
        64,
        OneOf(0, &[0, 1, 2]),
        Files,
        "0 asks the warden, 1 events, 2 complaints: all three read by the warden",
    ),
    rule(
        "recvmsg",
        47,
        212,
        OneOf(0, &[0]),
        Files,
        "the warden's answer with a descriptor; there is no sendmsg to pass one on",
    ),
    rule("close", 3, 57, Always, Files, "a still that is read, a camera that is gone"),
    rule("fstat", 5, 80, Always, Files, "the length of a picture before it is read; by descriptor only, no path"),
    rule(
        "fcntl",
        72,
        25,
        OneOf(1, &[F_GETFD, F_GETFL]),
        Rarely,
        "debug builds check a descriptor before closing it; never F_DUPFD",
    ),
    rule("ppoll", 271, 73, Always, Files, "waiting for stdin; asking whether the warden still reads"),
    rule("ioctl", 16, 29, OneOf(1, IOCTL_NUMBERS), Camera, "the V4L2 commands of IOCTLS and no other"),
    rule("mmap", 9, 222, Without(2, PROT_EXEC), Files, "memory, camera buffers; never executable"),
    rule(
        "mprotect",
        10,
        226,
        Without(2, PROT_EXEC),
        Files,
        "stacks and heaps grow; never executable: ONNX Runtime generates no code",
    ),
    rule("munmap", 11, 215, Always, Files, "memory given back"),
    rule(
        "mremap",
        25,
        216,
        Always,
        Rarely,
        "large buffers that grow (a first large picture); keeps the protection it had",
    ),
    rule("madvise", 28, 233, Always, Files, "stacks of ended threads, heap trimming"),
    rule("brk", 12, 214, Always, Files, "the main heap"),
    rule("mlock", 149, 228, Always, Files, "vectors of faces stay out of swap; only with a gallery"),
    rule("futex", 202, 98, Always, Files, "every lock and condition variable"),
    rule("sched_yield", 24, 124, Always, Files, "ONNX Runtime's threads wait for each other"),
    rule("sched_getaffinity", 204, 123, Always, Files, "the C library counts processors when a thread gets its heap"),
    rule("gettid", 186, 178, Always, Files, "the standard library's name for a thread"),
    rule(
        "clone",
        56,
        220,
        OneOf(0, &[THREAD]),
        Files,
        "the stages' threads: the flags of a thread exactly, so no process",
    ),
    rule("set_robust_list", 273, 99, Always, Files, "part of starting a thread"),
    rule("rseq", 334, 293, Always, Files, "part of starting a thread"),
    rule("prctl", 157, 167, OneOf(0, &[PR_SET_NAME]), Files, "a thread's name, for top -H"),
    rule(
        "sigaltstack",
        131,
        132,
        Always,
        Files,
        "the standard library's guard against stack overflow, for each thread",
    ),
    rule("rt_sigprocmask", 14, 135, Always, Files, "part of starting a thread"),
    rule("rt_sigreturn", 15, 139, Always, Files, "back from the handler of SIGTERM"),
    rule(
        "restart_syscall",
        219,
        128,
        Always,
        Rarely,
        "the kernel resumes a timed wait after SIGSTOP and SIGCONT with it",
    ),
    rule("clock_gettime", 228, 113, Always, Files, "processor time; also all clocks where there is no vDSO"),
    rule("clock_nanosleep", 230, 115, Always, Files, "--pace realtime"),
    rule("getrandom", 318, 278, Always, Rarely, "seeds of hash tables and of the heap's checks"),
    rule("exit", 60, 93, Always, Files, "a thread ends"),
    rule("exit_group", 231, 94, Always, Files, "the process ends"),
];

/// The warden's half that touches data: opens cameras and files, checks lines.
pub const GATEKEEPER: &[Rule] = &[
    rule("read", 0, 63, Always, Files, "the eye's lines"),
    rule("write", 1, 64, OneOf(0, &[1, 2]), Files, "events to stdout, complaints to stderr"),
    rule("recvmsg", 47, 212, Always, Files, "what the eye asks"),
    rule("sendmsg", 46, 211, Always, Files, "the answer, with a descriptor"),
    rule(
        "openat",
        257,
        56,
        Without(2, WRITES),
        Files,
        "cameras and sources of the list, for reading; cameras that only capture for both; Landlock knows which",
    ),
    rule("fstat", 5, 80, Always, Files, "is it a device of V4L2, is it a file?"),
    rule("ioctl", 16, 29, OneOf(1, &[QUERYCAP]), Camera, "does it capture? What only shows is handed to nobody"),
    rule(
        "fcntl",
        72,
        25,
        OneOf(1, &[F_GETFD, F_GETFL, F_SETFL]),
        Rarely,
        "debug builds check a descriptor before closing it",
    ),
    rule("close", 3, 57, Always, Files, "what was handed over is not kept"),
    rule("statx", 332, 291, Always, Camera, "which camera is it (sysfs); Landlock knows which files"),
    rule("newfstatat", 262, 79, Always, Camera, "the same, by the C library's name for it"),
    only_x86_64("readlink", 89, Always, Camera, "where is it plugged in (sysfs)"),
    rule("readlinkat", 267, 78, Always, Rarely, "the same: aarch64 has no other, and newer C libraries use it"),
    rule("getdents64", 217, 61, Always, Camera, "which cameras are there (sysfs)"),
    rule("ppoll", 271, 73, Always, Files, "waiting for the eye and for whoever reads stdout"),
    rule("mmap", 9, 222, Without(2, PROT_EXEC), Rarely, "heap"),
    rule("mprotect", 10, 226, Without(2, PROT_EXEC), Rarely, "heap"),
    rule("mlock", 149, 228, Always, Files, "the gallery's key stays out of swap while its names are read"),
    rule("munmap", 11, 215, Always, Files, "heap"),
    rule("mremap", 25, 216, Always, Rarely, "heap"),
    rule("madvise", 28, 233, Always, Rarely, "heap"),
    rule("brk", 12, 214, Always, Rarely, "heap"),
    rule("futex", 202, 98, Always, Rarely, "locks of the standard library"),
    rule("sigaltstack", 131, 132, Always, Files, "the standard library puts its stack away at the end"),
    rule(
        "restart_syscall",
        219,
        128,
        Always,
        Rarely,
        "the kernel resumes a timed wait after SIGSTOP and SIGCONT with it",
    ),
    rule("clock_gettime", 228, 113, Always, Rarely, "where there is no vDSO"),
    rule("exit_group", 231, 94, Always, Files, "the process ends"),
];

/// What no command but `models pull` can do, in any of its processes, from its first line on. These fail with "permission
/// denied" rather than kill: a library that merely asks (for a user's name, say) goes on without.
pub const NOWHERE: &[Rule] = &[
    rule("socket", 41, 198, Always, Files, "no socket of any family"),
    rule("socketpair", 53, 199, Not(0, AF_UNIX), Files, "a pair of pipes' cousins is all that is left of sockets"),
    rule("connect", 42, 203, Always, Files, "nor a connection through one that was inherited"),
    rule("bind", 49, 200, Always, Files, "no listener"),
    rule("listen", 50, 201, Always, Files, "no listener"),
    rule("accept", 43, 202, Always, Files, "no listener"),
    rule("accept4", 288, 242, Always, Files, "no listener"),
    rule("io_uring_setup", 425, 425, Always, Files, "would do all of this past the filter"),
    rule("io_uring_enter", 426, 426, Always, Files, "would do all of this past the filter"),
    rule("io_uring_register", 427, 427, Always, Files, "would do all of this past the filter"),
    rule("ptrace", 101, 117, Always, Files, "nobody else's memory"),
    rule("process_vm_readv", 310, 270, Always, Files, "nobody else's memory"),
    rule("process_vm_writev", 311, 271, Always, Files, "nobody else's memory"),
    rule("pidfd_getfd", 438, 438, Always, Files, "nobody else's descriptors"),
    rule("bpf", 321, 280, Always, Files, "no program in the kernel"),
    rule("perf_event_open", 298, 241, Always, Files, "no observation of others"),
    rule("userfaultfd", 323, 282, Always, Files, "a tool of kernel exploits"),
    rule("keyctl", 250, 219, Always, Files, "nobody else's keys"),
    rule("mount", 165, 40, Always, Files, "no other view of files"),
    rule("unshare", 272, 97, Always, Files, "no other view of anything"),
    rule("setns", 308, 268, Always, Files, "no other view of anything"),
];

/// A call that must fail as if the kernel did not know it, so that the C library takes its older kin, whose flags a filter
/// can see.
const UNKNOWN: &[Rule] =
    &[rule("clone3", 435, 435, Always, Files, "flags behind a pointer: the C library falls back to clone")];

/// A table that cannot be made into a filter: a bug in the table.
#[derive(Debug)]
pub struct BadTable(String);

impl std::fmt::Display for BadTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the policy table is wrong: {}", self.0)
    }
}

/// What a filter does with the calls of its table, and with all others.
#[derive(Clone, Copy, Debug)]
enum Way {
    Allow,
    Fail(u32),
}

/// Bit that marks the x32 calls of x86_64: the same kernel functions under other numbers.
const X32: i64 = 0x4000_0000;

fn compile(rules: &[&Rule], way: Way, arch: TargetArch) -> Result<BpfProgram, BadTable> {
    let bad = |e: &dyn std::fmt::Display| BadTable(e.to_string());
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let number = match arch {
            TargetArch::x86_64 => rule.x86_64,
            TargetArch::aarch64 => rule.aarch64,
            _ => return Err(BadTable(format!("no numbers for {arch:?}"))),
        };
        let Some(number) = number else { continue };
        let condition = |index: u8, op, value| {
            SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)
                .and_then(|c| SeccompRule::new(vec![c]))
                .map_err(|e| bad(&e))
        };
        let conditions = match rule.when {
            When::Always => Vec::new(),
            When::OneOf(index, values) => {
                values.iter().map(|v| condition(index, SeccompCmpOp::Eq, *v)).collect::<Result<_, _>>()?
            }
            When::Without(index, bits) => vec![condition(index, SeccompCmpOp::MaskedEq(bits), 0)?],
            When::Not(index, value) => vec![condition(index, SeccompCmpOp::Ne, value)?],
        };
        let mut numbers = vec![i64::from(number)];
        if matches!((way, arch), (Way::Fail(_), TargetArch::x86_64)) {
            // A list of what fails must name both numbers; a list of what is allowed leaves the other one out.
            numbers.push(i64::from(number) | X32);
        }
        for number in numbers {
            if map.insert(number, conditions.clone()).is_some() {
                return Err(BadTable(format!("{} stands twice", rule.call)));
            }
        }
    }
    let (matching, others) = match way {
        Way::Allow => (SeccompAction::Allow, SeccompAction::KillProcess),
        Way::Fail(errno) => (SeccompAction::Errno(errno), SeccompAction::Allow),
    };
    SeccompFilter::new(map, others, matching, arch).and_then(BpfProgram::try_from).map_err(|e| bad(&e))
}

/// Filters of a role, to be put in place in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// [`EYE`].
    Eye,
    /// [`GATEKEEPER`].
    Gatekeeper,
    /// [`NOWHERE`].
    Anybody,
}

impl Role {
    /// The filters; `also` is an extra call for tests that must see a weakened policy fail.
    ///
    /// # Errors
    /// [`BadTable`]; a test compiles every role for every architecture.
    pub fn filters(self, arch: TargetArch, also: Option<&'static Rule>) -> Result<Vec<BpfProgram>, BadTable> {
        const EACCES: u32 = 13;
        const ENOSYS: u32 = 38;
        let table = |rules: &'static [Rule]| rules.iter().chain(also).collect::<Vec<_>>();
        match self {
            Self::Eye => Ok(vec![
                compile(&UNKNOWN.iter().collect::<Vec<_>>(), Way::Fail(ENOSYS), arch)?,
                // Also named here: of two filters' answers the stricter one holds, and that must not be the kill.
                compile(&table(EYE).into_iter().chain(UNKNOWN).collect::<Vec<_>>(), Way::Allow, arch)?,
            ]),
            Self::Gatekeeper => Ok(vec![compile(&table(GATEKEEPER), Way::Allow, arch)?]),
            Self::Anybody => {
                let also = also.map(|r| r.call);
                let rules: Vec<_> = NOWHERE.iter().filter(|r| Some(r.call) != also).collect();
                Ok(vec![compile(&rules, Way::Fail(EACCES), arch)?])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: [(&str, &[Rule]); 4] =
        [("eye", EYE), ("gatekeeper", GATEKEEPER), ("nowhere", NOWHERE), ("unknown", UNKNOWN)];

    #[test]
    fn every_table_becomes_a_filter_for_every_architecture() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            for role in [Role::Eye, Role::Gatekeeper, Role::Anybody] {
                for filter in role.filters(arch, None).unwrap() {
                    assert!(filter.len() > 5 && filter.len() < 1000, "{role:?} {arch:?}: {}", filter.len());
                }
            }
        }
    }

    #[test]
    fn every_row_has_a_reason_and_stands_once() {
        for (name, table) in TABLES {
            for (i, rule) in table.iter().enumerate() {
                assert!(rule.why.len() > 3, "{name}: {}", rule.call);
                assert!(table[..i].iter().all(|r| r.call != rule.call), "{name}: {} stands twice", rule.call);
                assert!(rule.x86_64.is_some() || rule.aarch64.is_some());
            }
        }
    }

    /// Nothing that makes a way out, whatever else the tables say.
    #[test]
    fn what_must_never_be_allowed_is_not() {
        let never = [
            "socket",
            "socketpair",
            "connect",
            "bind",
            "sendto",
            "sendmmsg",
            "open",
            "openat2",
            "creat",
            "execve",
            "execveat",
            "fork",
            "vfork",
            "clone3",
            "kill",
            "tkill",
            "tgkill",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "memfd_create",
            "io_uring_setup",
            "mount",
            "bpf",
            "perf_event_open",
            "dup",
            "dup2",
            "dup3",
            "pwrite64",
            "writev",
            "pwritev",
            "sendfile",
            "splice",
            "tee",
            "vmsplice",
            "copy_file_range",
            "shmget",
            "mq_open",
            "msgsnd",
            "ftruncate",
            "chmod",
            "fchmod",
            "pkey_mprotect",
            "seccomp",
            "setrlimit",
            "prlimit64",
            "setxattr",
            "fsetxattr",
            "utimensat",
            "flock",
        ];
        for call in never {
            assert!(EYE.iter().all(|r| r.call != call), "the eye may {call}");
            assert!(GATEKEEPER.iter().all(|r| r.call != call), "the gatekeeper may {call}");
        }
        for call in ["openat", "sendmsg", "statx", "newfstatat", "getdents64", "readlink", "readlinkat"] {
            assert!(EYE.iter().all(|r| r.call != call), "the eye may {call}");
        }
    }

    /// The numbers of this architecture, against the C library's.
    #[test]
    fn numbers_are_those_of_the_c_library() {
        let names: Vec<(&str, i64)> = include!("numbers.in");
        for (_, table) in TABLES {
            for rule in table {
                let ours = if cfg!(target_arch = "x86_64") { rule.x86_64 } else { rule.aarch64 };
                let Some(ours) = ours else { continue };
                let theirs = names.iter().find(|(n, _)| *n == rule.call).map(|(_, n)| *n);
                assert_eq!(Some(i64::from(ours)), theirs, "{}", rule.call);
            }
        }
    }

    /// The numbers of aarch64, against the kernel's generic table, where its header is installed.
    #[test]
    fn aarch64_numbers_are_those_of_the_generic_table() {
        let Ok(header) = std::fs::read_to_string("/usr/include/asm-generic/unistd.h") else {
            eprintln!("skipped: no /usr/include/asm-generic/unistd.h (package linux-libc-dev)");
            return;
        };
        for (_, table) in TABLES {
            for rule in table {
                let Some(ours) = rule.aarch64 else { continue };
                // The one whose name there is another.
                let name = if rule.call == "newfstatat" { "fstatat" } else { rule.call };
                let found = header.lines().any(|l| {
                    let mut words = l.split_whitespace();
                    words.next() == Some("#define")
                        && words.next().is_some_and(|n| n == format!("__NR_{name}") || n == format!("__NR3264_{name}"))
                        && words.next() == Some(&ours.to_string())
                });
                assert!(found, "{} {ours}", rule.call);
            }
        }
    }

    #[test]
    fn ioctls_are_those_of_the_camera() {
        let ours: Vec<u64> = IOCTLS.iter().map(|(_, n)| *n).collect();
        let theirs: Vec<u64> = crate::source::camera::IOCTLS.iter().map(|n| u64::from(*n)).collect();
        assert_eq!(ours, theirs);
        assert_eq!(QUERYCAP, u64::from(crate::source::camera::WHAT_IS_IT));
    }
}
