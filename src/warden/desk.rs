//! How the eye gets descriptors: 8 bytes to the gatekeeper, 8 bytes and a descriptor back.
//!
//! The eye names nothing but numbers that both sides counted before it was sealed: which camera of the configuration, and
//! which of its things (a folder of pictures has many). The socket is a SOCK_SEQPACKET pair, so a message is whole or is
//! none, and one longer than 8 bytes is refused.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use crate::source::opener::Opener;

/// Bytes of a message, either way.
const LENGTH: usize = 8;

/// First byte of a question, so that noise is not mistaken for one.
const OPEN: u8 = 1;

/// "Every part of me gets on." Not answered.
const ALIVE: [u8; LENGTH] = [2, 0, 0, 0, 0, 0, 0, 0];

/// "Open the `item`th thing of camera `camera`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// In the order of the configuration.
    pub camera: u8,
    /// In the order of the list made before the seal.
    pub item: u32,
}

impl Question {
    fn bytes(self) -> [u8; LENGTH] {
        let [a, b, c, d] = self.item.to_le_bytes();
        [OPEN, self.camera, 0, 0, a, b, c, d]
    }

    /// `None` for anything but a question.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [OPEN, camera, 0, 0, a, b, c, d] => Some(Self { camera, item: u32::from_le_bytes([a, b, c, d]) }),
            _ => None,
        }
    }
}

/// What waits in the gatekeeper's socket.
#[derive(Debug)]
pub(super) enum Asked {
    Question(Question),
    /// Nothing, but a sign of life.
    Alive,
    /// The eye is gone.
    Closed,
    /// Not of this protocol.
    Noise,
}

/// The gatekeeper reads one question.
pub(super) fn listen(socket: BorrowedFd<'_>) -> io::Result<Asked> {
    let mut bytes = [0u8; LENGTH + 1];
    let mut no_descriptors = RecvAncillaryBuffer::default();
    let got =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut no_descriptors, RecvFlags::DONTWAIT)?;
    Ok(match bytes.get(..got.bytes) {
        Some([]) => Asked::Closed,
        Some(message) if message == ALIVE => Asked::Alive,
        Some(message) if !got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) => {
            Question::read(message).map_or(Asked::Noise, Asked::Question)
        }
        _ => Asked::Noise,
    })
}

/// The gatekeeper answers: a descriptor, or the system's reason.
pub(super) fn answer(socket: BorrowedFd<'_>, opened: io::Result<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let errno = match &opened {
        Ok(_) => 0,
        Err(e) => e.raw_os_error().unwrap_or(match e.kind() {
            io::ErrorKind::NotFound => Errno::NOENT.raw_os_error(),
            io::ErrorKind::InvalidInput => Errno::INVAL.raw_os_error(),
            _ => Errno::IO.raw_os_error(),
        }),
    };
    let fds = [*opened.as_ref().unwrap_or(&socket)];
    if opened.is_ok() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let mut bytes = [0u8; LENGTH];
    bytes[..4].copy_from_slice(&errno.to_le_bytes());
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The eye's end.
#[derive(Clone, Debug)]
pub struct Desk {
    socket: Arc<OwnedFd>,
    /// Held while an answer is awaited: answers carry no name.
    asking: Arc<Mutex<()>>,
}

impl Desk {
    /// Over the socket that the warden started this process with.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket), asking: Arc::default() }
    }

    /// Tells the gatekeeper that every part of this process gets on. One that it has not heard of for a while is replaced.
    pub fn alive(&self) {
        // A gatekeeper that is gone needs no sign.
        let _ = rustix::io::write(&self.socket, &ALIVE);
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The reason the gatekeeper met, or the socket's.
    pub fn ask(&self, question: Question) -> io::Result<OwnedFd> {
        let _one_at_a_time = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // `write`, because the policy of a sealed eye has no call that could pass a descriptor on.
        if rustix::io::write(&self.socket, &question.bytes())? != LENGTH {
            return Err(io::Error::other("the warden takes no questions"));
        }
        let mut bytes = [0u8; LENGTH];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            match rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let errno = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let mut fds = control.drain().filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        match (got.bytes, errno, fds.next().and_then(|mut f| f.next())) {
            (LENGTH, 0, Some(fd)) => Ok(fd),
            (LENGTH, 1.., None) => Err(io::Error::from_raw_os_error(errno)),
            (0, ..) => Err(io::Error::other("the warden is gone")),
            _ => Err(io::Error::other("the warden gave no answer")),
        }
    }
}

/// One thing, opened by the warden.
#[derive(Clone, Debug)]
pub struct FromWarden {
    /// The line to the warden.
    pub desk: Desk,
    /// Which thing.
    pub question: Question,
}

impl Opener for FromWarden {
    fn open(&mut self) -> io::Result<OwnedFd> {
        // What is not there is asked for again by whoever wants it, at its own pace; the gatekeeper watches the folder.
        self.desk.ask(self.question)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_descriptor_comes_over_and_so_does_a_reason() {
        let (ours, theirs) = pair();
        let desk = Desk::new(theirs);
        let asking = std::thread::spawn(move || {
            let mut first = FromWarden { desk: desk.clone(), question: Question { camera: 3, item: 70_000 } };
            (first.open(), desk.ask(Question { camera: 0, item: 0 }))
        });
        let wait = |socket: &OwnedFd| loop {
            match listen(socket.as_fd()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        assert!(matches!(wait(&ours), Asked::Question(Question { camera: 3, item: 70_000 })));
        answer(ours.as_fd(), Ok(std::fs::File::open("Cargo.toml").unwrap().as_fd())).unwrap();
        assert!(matches!(wait(&ours), Asked::Question(Question { camera: 0, item: 0 })));
        answer(ours.as_fd(), Err(io::Error::from_raw_os_error(19))).unwrap();
        let (fd, refused) = asking.join().unwrap();
        let mut text = [0u8; 9];
        assert_eq!(rustix::io::read(fd.unwrap(), &mut text), Ok(9));
        assert_eq!((&text, refused.unwrap_err().raw_os_error()), (b"[package]", Some(19)));
    }

    #[test]
    fn noise_is_no_question() {
        let (ours, theirs) = pair();
        for noise in [&b"x"[..], &[OPEN, 0, 1, 0, 0, 0, 0, 0], &[OPEN, 0, 0, 0, 0, 0, 0, 0, 0], &[0xff; 4000]] {
            rustix::io::write(&theirs, noise).unwrap();
            assert!(matches!(listen(ours.as_fd()).unwrap(), Asked::Noise), "{noise:?}");
        }
        drop(theirs);
        assert!(matches!(listen(ours.as_fd()).unwrap(), Asked::Closed));
    }
}
