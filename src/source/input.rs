//! Reading from a file or a pipe so that the reader can be asked to stop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frame::Rows;

/// How long a read waits for a writer before it says [`Got::Quiet`].
const POLL_MS: i64 = 100;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes, at least 1.
    Bytes(usize),
    /// The end.
    End,
    /// Nothing yet.
    Quiet,
}

/// Anything that is read piece by piece.
pub(crate) trait Read: Send {
    /// Up to `into.len()` bytes (which must not be 0).
    fn read(&mut self, into: &mut [u8]) -> io::Result<Got>;

    /// Passes over so many bytes without reading them, where that can be done and all of them are there. `None`: nothing was done.
    fn pass(&mut self, _count: usize) -> io::Result<Option<Unread>> {
        Ok(None)
    }
}

/// Bytes of a file that lie there still.
#[derive(Clone, Debug)]
pub struct Unread {
    file: Arc<OwnedFd>,
    at: u64,
    len: usize,
}

/// Bytes read at a time of what is used up at once: they stay in the processor's cache, however large the frame.
const STRIP: usize = 64 << 10;

impl Unread {
    /// So many bytes more, which lie before these.
    pub(crate) fn after(self, more: usize) -> Self {
        Self { at: self.at.saturating_sub(more as u64), len: self.len.saturating_add(more), ..self }
    }

    /// Reads them. A file that has become shorter since they were found gives what is left, and one that cannot be read any more nothing:
    /// `into` is then no whole frame, which its decoder tells.
    pub fn read(&self, into: &mut Vec<u8>) {
        into.resize(self.len, 0);
        let have = self.read_at(0, into);
        into.truncate(have);
    }

    /// How many bytes from the `from`th on could be read.
    fn read_at(&self, from: usize, into: &mut [u8]) -> usize {
        let mut have = 0;
        while have < into.len() {
            match rustix::io::pread(&self.file, &mut into[have..], self.at + (from + have) as u64) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        have
    }

    /// Its first plane, of `height` rows of `width` bytes, in strips that are read into `strip`.
    pub fn rows<'a>(&'a self, width: usize, height: usize, strip: &'a mut Vec<u8>) -> impl Rows + 'a {
        Strips { unread: self, width, height, strip, first: 0, count: 0 }
    }
}

struct Strips<'a> {
    unread: &'a Unread,
    width: usize,
    height: usize,
    /// The rows that it holds.
    strip: &'a mut Vec<u8>,
    first: usize,
    count: usize,
}

impl Rows for Strips<'_> {
    fn rows(&mut self, first: usize, count: usize) -> Option<&[u8]> {
        let end = first.checked_add(count).filter(|end| *end <= self.height)?;
        if first < self.first || end > self.first + self.count {
            let most = (STRIP / self.width.max(1)).max(count).min(self.height - first);
            let (from, bytes) = (first.checked_mul(self.width)?, most.checked_mul(self.width)?);
            if from.checked_add(bytes)? > self.unread.len {
                return None;
            }
            self.strip.resize(bytes.max(self.strip.len()), 0);
            (self.first, self.count) = (first, 0);
            if self.unread.read_at(from, &mut self.strip[..bytes]) < bytes {
                return None;
            }
            self.count = most;
        }
        self.strip.get((first - self.first) * self.width..(end - self.first) * self.width)
    }
}

impl Read for &[u8] {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Got> {
        Ok(match io::Read::read(self, into)? {
            0 => Got::End,
            n => Got::Bytes(n),
        })
    }
}

/// A descriptor, with bytes that were read ahead.
pub(crate) struct Input {
    fd: Arc<OwnedFd>,
    /// Wait for data with a timeout first; pointless for regular files.
    waits: bool,
    /// Without it: where the next byte lies.
    at: u64,
    ahead: Vec<u8>,
    taken: usize,
}

impl Input {
    pub(crate) fn new(fd: OwnedFd, waits: bool) -> Self {
        Self { fd: Arc::new(fd), waits, at: 0, ahead: Vec::new(), taken: 0 }
    }

    /// Makes the first `wanted` bytes visible without consuming them; fewer at the end of data. `stop` is asked while the
    /// writer is silent; `Ok(None)` when it says so.
    pub(crate) fn peek(&mut self, wanted: usize, stop: &dyn Fn() -> bool) -> io::Result<Option<&[u8]>> {
        let mut piece = [0; 64];
        while self.ahead.len() < wanted {
            let most = (wanted - self.ahead.len()).min(piece.len());
            match self.read_fd(&mut piece[..most])? {
                Got::Bytes(n) => self.ahead.extend_from_slice(&piece[..n]),
                Got::End => break,
                Got::Quiet if stop() => return Ok(None),
                Got::Quiet => {}
            }
        }
        Ok(Some(&self.ahead))
    }

    fn read_fd(&mut self, into: &mut [u8]) -> io::Result<Got> {
        if self.waits {
            let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_MS * 1_000_000 };
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Got::Quiet),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let read =
            if self.waits { rustix::io::read(&self.fd, into) } else { rustix::io::pread(&self.fd, into, self.at) };
        self.at += *read.as_ref().unwrap_or(&0) as u64;
        match read {
            Ok(0) => Ok(Got::End),
            Ok(n) => Ok(Got::Bytes(n)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(Got::Quiet),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Got> {
        let left = &self.ahead[self.taken..];
        if left.is_empty() {
            return self.read_fd(into);
        }
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        self.taken += n;
        Ok(Got::Bytes(n))
    }

    fn pass(&mut self, len: usize) -> io::Result<Option<Unread>> {
        let Some(last) = len.checked_sub(1).filter(|_| !self.waits && self.taken == self.ahead.len()) else {
            return Ok(None);
        };
        if rustix::io::pread(&self.fd, &mut [0; 1], self.at + last as u64)? == 0 {
            return Ok(None);
        }
        let unread = Unread { file: Arc::clone(&self.fd), at: self.at, len };
        self.at += len as u64;
        Ok(Some(unread))
    }
}
