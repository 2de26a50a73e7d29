//! The calls that no safe wrapper offers. With the rings of cameras and two calls of ONNX Runtime the only `unsafe` of the product.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one, and who its child is.
    Parent(Pid),
}

/// A second process with the same memory and descriptors.
///
/// # Errors
/// When there is more than one thread (see below), or the system refuses.
pub(crate) fn fork() -> io::Result<Forked> {
    let threads = super::threads()?;
    if threads != 1 {
        return Err(io::Error::other(format!("fork with {threads} threads; wanted 1")));
    }
    // Needed: the warden's gatekeeper is this program as it stands, tables loaded; an exec would have to load them again.
    // SAFETY: fork is unsound in a process with several threads, whose locks the child would inherit as they stand; there
    // is one thread, checked above, and it holds no lock here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid).map(Forked::Parent).ok_or_else(|| io::Error::other("fork gave no process")),
    }
}

/// Closes every descriptor from 3 on: whatever the parent of a starting eye left open is not for it.
///
/// Must be the first thing a process does: a descriptor that somebody owns must not be closed behind their back.
///
/// # Errors
/// A kernel older than 5.9.
pub(crate) fn close_inherited() -> io::Result<()> {
    // Needed: no wrapper has close_range.
    // SAFETY: it is called before anything was opened, so nobody owns a descriptor above 2 (the standard library holds
    // none), and no memory is involved.
    match unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Above this a piece of memory is a mapping of its own and goes back to the kernel when it is freed. Pictures are, and they are
/// reused; 1 MiB costs no time (measured: 128 KiB costs 2 %).
const OWN_MAPPING: i32 = 1 << 20;

/// Keeps the C library's allocator from opening files at a moment of its own choosing, which behind the seal is death:
///
/// - when a ninth thread wants memory it asks how many processors there are, only to reckon how many pools it may have, so it is told.
///   Four are enough for threads that seldom allocate, and leave less memory lying idle;
/// - when a thread's heap is first trimmed it asks how the kernel overcommits memory. That it will have asked before the seal
///   (`prime` in the module above), but only if a heap is trimmed then; left alone, the bound for trimming follows the largest piece
///   that was ever freed, and after a model was read no small heap reaches it. So it is fixed: `trim` bytes.
///
/// A no-op with another C library than glibc.
pub(crate) fn settle_allocator(trim: usize) {
    #[cfg(target_env = "gnu")]
    // Needed: no wrapper has mallopt.
    // SAFETY: it takes two numbers and sets one of the allocator's, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::try_from(trim).unwrap_or(i32::MAX));
    }
}

/// Gives memory that was freed back to the kernel: loading a model frees about as much as it keeps, and the C library would hold
/// on to it. A no-op with another C library than glibc.
///
/// Not behind the seal: it may read a file below /proc.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // Needed: no wrapper has malloc_trim.
    // SAFETY: it takes no pointer and touches only what the allocator holds as free, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The eye's line to the warden, which it was started with in the place of stdin.
pub(crate) fn take_stdin() -> OwnedFd {
    // Needed: there is no safe way to own descriptor 0.
    // SAFETY: the eye is started with it and reads no stdin; closing it at the end of the process, which is what owning
    // means, harms nobody.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// Signals no longer reach this process, those excepted that cannot be held back.
pub(crate) fn block_signals() -> io::Result<()> {
    // Needed: the gatekeeper shares its parent's handlers and their pipe, and must not answer for it.
    // SAFETY: both calls only fill and read a local set, valid from `sigfillset` on.
    let result = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets a variable of this process's own environment.
///
/// Must be called while there is one thread: others could be reading.
pub(crate) fn set_env(name: &str, value: &str) {
    // Needed: ONNX Runtime's opt-out from telemetry is an environment variable and nothing else.
    // SAFETY: setting is unsound
    // while another thread reads the environment; callers are the first lines of `main`.
    unsafe { std::env::set_var(name, value) }
}

/// Makes a system call with up to six words and nothing behind them; for `porchlight check`, which must try what no
/// library would.
///
/// # Errors
/// The system's reason.
pub(crate) fn attempt(number: i64, arguments: [usize; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    // Needed: the point is to make calls that are forbidden.
    // SAFETY: callers (src/command/check.rs) pass numbers, null
    // pointers and pointers to buffers that live across the call and are as long as they say, and none of the calls they
    // make changes memory that Rust knows of.
    match unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n),
    }
}

/// Keeps memory out of swap, as far as the limit (RLIMIT_MEMLOCK) allows.
///
/// # Errors
/// The limit is reached.
pub(crate) fn lock_memory<T>(memory: &[T]) -> io::Result<()> {
    // Needed: templates of faces must not reach a disk.
    // SAFETY: mlock reads and writes nothing of the memory, and the range is that of a live slice.
    match unsafe { libc::mlock(memory.as_ptr().cast(), size_of_val(memory)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
