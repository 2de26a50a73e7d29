//! Reading from a file or a pipe so that the reader can be asked to stop.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

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

    /// Passes over so many bytes without reading them, where that can be done and all of them are there. False: nothing was done.
    fn skip(&mut self, _count: usize) -> io::Result<bool> {
        Ok(false)
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
    fd: OwnedFd,
    /// Wait for data with a timeout first; pointless for regular files.
    waits: bool,
    /// Without it: where the next byte lies.
    at: u64,
    ahead: Vec<u8>,
    taken: usize,
}

impl Input {
    pub(crate) fn new(fd: OwnedFd, waits: bool) -> Self {
        Self { fd, waits, at: 0, ahead: Vec::new(), taken: 0 }
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

    fn skip(&mut self, count: usize) -> io::Result<bool> {
        let Some(last) = count.checked_sub(1).filter(|_| !self.waits && self.taken == self.ahead.len()) else {
            return Ok(false);
        };
        let is_there = rustix::io::pread(&self.fd, &mut [0; 1], self.at + last as u64)? == 1;
        self.at += if is_there { count as u64 } else { 0 };
        Ok(is_there)
    }
}
