//! Who opens what a source reads from: the process itself, or somebody it asks.
//!
//! A sealed process opens nothing. Its sources are given an [`Opener`] instead of a path, and ask it again when a camera has
//! to be opened anew; behind it stands either a path or the warden, who hands over a descriptor and never learns what it is
//! used for.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

/// Opens one thing, as often as asked.
pub trait Opener: Send {
    /// A fresh descriptor.
    ///
    /// # Errors
    /// The system's reason, whoever met it.
    fn open(&mut self) -> io::Result<OwnedFd>;
}

/// Opens the files of a list that was made earlier, by their numbers from 0.
pub type Numbered = Box<dyn FnMut(usize) -> io::Result<OwnedFd> + Send>;

/// Opens a camera's device node itself, as the V4L2 library would.
#[derive(Clone, Debug)]
pub struct DevicePath(pub PathBuf);

impl Opener for DevicePath {
    fn open(&mut self) -> io::Result<OwnedFd> {
        open_device(&self.0)
    }
}

/// A device node for reading and writing (V4L2 queues buffers by ioctl), without waiting for it and without becoming its
/// terminal.
pub(crate) fn open_device(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?)
}

/// A file for reading, without waiting for a writer should it be a pipe.
pub(crate) fn open_file(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?)
}
