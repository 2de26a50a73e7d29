//! The warden's half that touches data, in a process of its own: opens what the eye asks for, and passes its lines on.
//!
//! It sees no pixels: cameras and files go through its hands as descriptors that it neither reads nor maps. It has one
//! thread and waits in one place. It writes a line to stdout only when the reader can take it, so that questions and signals
//! are never stuck behind a slow reader; and reads the next from the eye only when the last one is out, so that a slow
//! reader, or one whose bound is used up, makes the eye wait, and nothing is lost or stored.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::desk::{self, Asked};
use crate::cli::Format;
use crate::event::format::Adapter;
use crate::event::{FaultReason, Part, VERSION};
use crate::face::vault::{Piece, Vault};
use crate::seal::gate::{Bucket, Gate, MAX_HELLO, Words};
use crate::seal::phrases::Phrases;
use crate::source::camera::must_capture;
use crate::source::opener::PathOpener;
use crate::source::replay::open_file;

/// What one camera may be given.
pub enum Holding {
    /// Made up: nothing.
    Nothing,
    /// stdin.
    Stdin,
    /// Files, by number.
    Files(Vec<PathBuf>),
    /// Device nodes, by number; each is followed to where it is plugged in again.
    Devices(Vec<PathOpener>),
    /// The gallery, when it has changed; by [`Piece`].
    Gallery(Watched),
}

/// A gallery that somebody may change while it is in use.
///
/// Its names are read here too: they are what the eye's lines may hold, and the eye cannot be asked for that.
pub struct Watched {
    vault: Vault,
    /// Which file was handed over last.
    seen: Option<Identity>,
}

/// Device, inode, time of the last change of the inode. A gallery is replaced, never written to.
type Identity = (u64, u64, i64, i64);

impl Watched {
    /// Was never handed over.
    pub fn new(vault: Vault) -> Self {
        Self { vault, seen: None }
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Everybody in it, as far as it can be read.
    fn names(&self) -> Vec<String> {
        self.vault.open_any().map(|g| g.persons().iter().map(|p| p.name.clone()).collect()).unwrap_or_default()
    }

    /// Opens one of its files; the gallery itself only when it is another one than last time.
    fn open(&mut self, item: usize, names: &mut Words) -> io::Result<OwnedFd> {
        let piece = *Piece::ALL.get(item).ok_or(io::ErrorKind::NotFound)?;
        let opened = self.vault.open_piece(piece);
        if piece != Piece::Gallery {
            return opened.map(OwnedFd::from);
        }
        let identity = match &opened {
            Ok(file) => {
                let s = rustix::fs::fstat(file)?;
                Some((s.st_dev, s.st_ino, s.st_ctime as i64, s.st_ctime_nsec as i64))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(_) => return opened.map(OwnedFd::from),
        };
        if self.seen.is_some() && self.seen == identity {
            return Err(Errno::AGAIN.into());
        }
        self.seen = identity;
        let file = opened?;
        match self.vault.open_any() {
            Ok(gallery) => gallery.persons().iter().for_each(|p| names.name(&p.name)),
            Err(e) => {
                complain(&format!("the gallery changed and cannot be used, the old one stays in force: {e}"));
                return Err(Errno::AGAIN.into());
            }
        }
        Ok(file.into())
    }
}

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes at once, after a quiet time.
    pub burst: u32,
    /// Bytes a second.
    pub per_second: u32,
}

/// How it ended; the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ending {
    /// `bye` has passed, or nobody reads any more.
    Complete = 0,
    /// The eye ended without `bye`.
    Cut = 60,
    /// The eye wrote something that is no event, or asked something that is no question.
    Refused = 61,
    /// stdout cannot be written.
    Broken = 62,
    /// The confinement could not be put in place.
    Unsealed = 63,
    /// The eye gave no sign of life, though nobody kept it waiting.
    Hung = 64,
}

/// What the gatekeeper needs.
pub(super) struct Post {
    pub(super) socket: OwnedFd,
    /// The eye's stdout.
    pub(super) events: OwnedFd,
    /// The eye's stderr.
    pub(super) words: OwnedFd,
    pub(super) holdings: Vec<Holding>,
    pub(super) names: Words,
    /// What it may say to people once it may have seen something.
    pub(super) phrases: Option<Phrases>,
    /// Whose words the lines go out in.
    pub(super) format: Format,
    pub(super) bound: Bound,
    /// Whether another eye will take this one's place: then that one tells of the fault.
    pub(super) replaceable: bool,
}

/// Complaints at once, and a second, in bytes; what is more is left out.
const COMPLAINTS: Bound = Bound { burst: 8 * 1024, per_second: 256 };

/// Longest complaint.
const MAX_COMPLAINT: usize = 1024;

/// An eye that writes nothing gives a sign of life every second. One that gives none for so long hangs.
const HUNG: Duration = Duration::from_secs(10);

/// A turn takes no longer than the longest wait. Where the next one comes so late, this process did not run: it was stopped, frozen or had
/// no processor, and so, most likely, was the eye.
const ASLEEP: Duration = Duration::from_secs(2);

/// Longest wait.
const PATIENCE: Duration = Duration::from_millis(500);

/// Until the eye is gone, or nobody reads.
pub(super) fn keep(post: Post) -> Ending {
    let now = Instant::now();
    let Post { socket, events, words, mut holdings, names, phrases, format, bound, replaceable } = post;
    let mut complaints = Complaints {
        from: Some(words),
        line: Vec::new(),
        left_out: 0,
        bucket: bucket(COMPLAINTS, now),
        phrases,
        bound_to_phrases: false,
    };
    let mut names = names;
    for holding in &holdings {
        if let Holding::Gallery(watched) = holding {
            watched.names().iter().for_each(|name| names.name(name));
        }
    }
    let mut lines = Lines {
        from: events,
        gate: Gate::new(names),
        bucket: bucket(bound, now),
        held: Vec::with_capacity(MAX_HELLO),
        adapter: Adapter::new(format),
        native: 0,
        out: Vec::new(),
        written: 0,
        ended: false,
    };
    let mut desk = Desk { socket: Some(socket), last_sign: None, last_turn: now };
    let ending = loop {
        match turn(&mut desk, &mut lines, &mut complaints, &mut holdings) {
            Ok(None) => {}
            Ok(Some(ending)) => break ending,
            Err(ending) => break ending,
        }
    };
    complaints.flush();
    let reason = match ending {
        Ending::Cut => Some(FaultReason::Died),
        Ending::Hung => Some(FaultReason::Hung),
        _ => None,
    };
    if reason.is_some() || ending == Ending::Refused {
        lines.close(reason.filter(|_| !replaceable));
    }
    ending
}

fn bucket(bound: Bound, now: Instant) -> Bucket {
    Bucket::new(bound.burst, bound.per_second, now)
}

/// The eye's line, and when it was last heard on it.
struct Desk {
    socket: Option<OwnedFd>,
    /// `None` until its first line: loading models, and waiting for the first byte of a stream, take as long as they take.
    last_sign: Option<Instant>,
    last_turn: Instant,
}

/// Waits once and does what there is to do.
fn turn(
    desk: &mut Desk,
    lines: &mut Lines,
    complaints: &mut Complaints,
    holdings: &mut [Holding],
) -> Result<Option<Ending>, Ending> {
    lines.look()?;
    if lines.ended && lines.out.is_empty() && complaints.from.is_none() {
        return Ok(Some(if lines.gate.ended() { Ending::Complete } else { Ending::Cut }));
    }
    let waiting = !lines.out.is_empty();
    let wait = if waiting { lines.bucket.wait(lines.native, Instant::now()) } else { Duration::ZERO };
    let may_write = waiting && (wait.is_zero() || lines.written > 0);
    let patience = if waiting && !may_write { wait.clamp(Duration::from_millis(1), PATIENCE) } else { PATIENCE };
    let out = rustix::stdio::stdout();
    // What is not waited for is asked about itself with no flags: only "gone" is reported then.
    let mut polled = [
        PollFd::new(&out, if may_write { PollFlags::OUT } else { PollFlags::empty() }),
        PollFd::new(&out, PollFlags::empty()),
        PollFd::new(&out, PollFlags::empty()),
        PollFd::new(&out, PollFlags::empty()),
    ];
    if !waiting && !lines.ended {
        polled[1] = PollFd::new(&lines.from, PollFlags::IN);
    }
    if let Some(from) = &complaints.from {
        polled[2] = PollFd::new(from, PollFlags::IN);
    }
    if let Some(socket) = &desk.socket {
        polled[3] = PollFd::new(socket, PollFlags::IN);
    }
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return Err(Ending::Broken),
    }
    let [stdout, events, words, questions] = polled.map(|p| p.revents());
    desk.wake();
    if stdout.intersects(PollFlags::ERR | PollFlags::NVAL) || (stdout.intersects(PollFlags::HUP) && !may_write) {
        return Ok(Some(Ending::Complete));
    }
    if may_write && stdout.intersects(PollFlags::OUT) && !lines.write(out)? {
        return Ok(Some(Ending::Complete));
    }
    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    if !waiting && !lines.ended && events.intersects(readable) {
        lines.read()?;
        // Who has begun to speak has a writer, which gives signs: from here on silence counts.
        desk.last_sign.get_or_insert_with(Instant::now);
    }
    if complaints.from.is_some() && words.intersects(readable) {
        complaints.read();
    }
    if questions.intersects(readable) {
        desk.attend(holdings, lines.gate.words(), complaints)?;
    } else if !events.intersects(readable) {
        return Ok(desk.hung(lines).then_some(Ending::Hung));
    }
    Ok(None)
}

impl Desk {
    /// One question and its answer, or a sign of life.
    fn attend(
        &mut self,
        holdings: &mut [Holding],
        names: &mut Words,
        complaints: &mut Complaints,
    ) -> Result<(), Ending> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match attend(socket.as_fd(), holdings, names, complaints)? {
            Attended::Question => {}
            Attended::Sign => self.last_sign = Some(Instant::now()),
            Attended::Closed => self.socket = None,
        }
        Ok(())
    }

    /// Called once a turn: whoever was asleep has heard nobody, and knows nothing against the eye.
    fn wake(&mut self) {
        if self.last_turn.elapsed() > ASLEEP {
            self.last_sign = self.last_sign.map(|_| Instant::now());
        }
        self.last_turn = Instant::now();
    }

    /// Whether the eye hangs, asked when it has said nothing. While a line of it waits for whoever reads, or for its bound, it
    /// may be waiting for us; that is no fault of its own.
    fn hung(&mut self, lines: &Lines) -> bool {
        if !lines.out.is_empty() {
            self.last_sign = self.last_sign.map(|_| Instant::now());
        }
        !lines.ended && self.socket.is_some() && self.last_sign.is_some_and(|sign| sign.elapsed() > HUNG)
    }
}

/// What came over the eye's line.
enum Attended {
    Question,
    Sign,
    /// There will be no more.
    Closed,
}

fn attend(
    socket: BorrowedFd<'_>,
    holdings: &mut [Holding],
    names: &mut Words,
    complaints: &mut Complaints,
) -> Result<Attended, Ending> {
    match desk::listen(socket) {
        Ok(Asked::Question(question)) => {
            // What it has said so far it said without having seen anything. (An eye that gives up before it asks closes this
            // line first, and then says why.)
            complaints.bind_to_phrases();
            let opened = match holdings.get_mut(usize::from(question.camera)) {
                // Handed over as it is; nobody reads it here.
                Some(Holding::Stdin) => desk::answer(socket, Ok(rustix::stdio::stdin())),
                Some(holding) => match open(question.item as usize, holding, names) {
                    Ok(fd) => desk::answer(socket, Ok(fd.as_fd())),
                    Err(e) => desk::answer(socket, Err(e)),
                },
                None => desk::answer(socket, Err(Errno::NOENT.into())),
            };
            Ok(if opened.is_ok() { Attended::Question } else { Attended::Closed })
        }
        Ok(Asked::Alive) => Ok(Attended::Sign),
        Ok(Asked::Closed) => Ok(Attended::Closed),
        Ok(Asked::Noise) => {
            complain("the eye asked something that is no question");
            Err(Ending::Refused)
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(Attended::Question),
        Err(_) => Ok(Attended::Closed),
    }
}

/// Major number of V4L2 devices.
const VIDEO: u32 = 81;

fn open(item: usize, holding: &mut Holding, names: &mut Words) -> io::Result<OwnedFd> {
    let nothing = || io::Error::from(Errno::NOENT);
    match holding {
        Holding::Nothing | Holding::Stdin => Err(nothing()),
        Holding::Gallery(watched) => watched.open(item, names),
        Holding::Files(paths) => {
            let fd = open_file(paths.get(item).ok_or_else(nothing)?)?;
            match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
                FileType::RegularFile => Ok(fd),
                _ => Err(io::Error::from(Errno::INVAL)),
            }
        }
        Holding::Devices(openers) => {
            // Without waiting for what is not there: others have questions too.
            let fd = openers.get_mut(item).ok_or_else(nothing)?.glance()?;
            let stat = rustix::fs::fstat(&fd)?;
            let video = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && rustix::fs::major(stat.st_rdev) == VIDEO;
            if !video {
                return Err(io::Error::from(Errno::NOTTY));
            }
            must_capture(fd.as_fd())?;
            Ok(fd)
        }
    }
}

/// Lines on their way from the eye to stdout.
struct Lines {
    from: OwnedFd,
    gate: Gate,
    /// Counts native lines: what is made of them says no more than they do.
    bucket: Bucket,
    adapter: Adapter,
    /// Read and not yet past the gate.
    held: Vec<u8>,
    /// Length of the native line that `out` was made of.
    native: usize,
    /// Whole lines, past the gate, in the words they go out in.
    out: Vec<u8>,
    /// So much of it is written.
    written: usize,
    /// The eye will write no more.
    ended: bool,
}

/// What a pipe takes whole or not at all; so much can be written without waiting when it says that it can be written to.
const PIECE: usize = 4096;

impl Lines {
    /// Takes whole lines through the gate until one of them makes something to be written.
    fn look(&mut self) -> Result<(), Ending> {
        while self.out.is_empty() {
            let length = match self.held.iter().position(|c| *c == b'\n') {
                Some(end) => end + 1,
                None if self.held.len() >= self.gate.longest() => self.held.len(),
                // What an eye that is gone left unfinished is no line, and goes nowhere.
                None => return Ok(()),
            };
            if let Err(refused) = self.gate.pass(&self.held[..length]) {
                complain(&refused.to_string());
                return Err(Ending::Refused);
            }
            if self.adapter.tell(&self.held[..length], &mut self.out).is_err() {
                complain("a line of the eye passed the gate and is no event");
                return Err(Ending::Refused);
            }
            self.held.drain(..length);
            self.native = length;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Ending> {
        let mut piece = [0u8; 4096];
        match rustix::io::read(&self.from, &mut piece) {
            Ok(0) => self.ended = true,
            Ok(n) => self.held.extend_from_slice(&piece[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
        Ok(())
    }

    /// Writes what can be written; false when nobody reads any more.
    fn write(&mut self, out: BorrowedFd<'_>) -> Result<bool, Ending> {
        let rest = &self.out[self.written..];
        match rustix::io::write(out, &rest[..rest.len().min(PIECE)]) {
            Ok(n) => {
                if self.written == 0 {
                    self.bucket.take(self.native);
                }
                self.written += n;
                if self.written == self.out.len() {
                    self.out.clear();
                    self.written = 0;
                }
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(Errno::PIPE) => Ok(false),
            Err(e) => {
                complain(&format!("stdout: cannot be written: {}", io::Error::from(e)));
                Err(Ending::Broken)
            }
        }
    }

    /// The stream's end, where the eye could not write it: what is open is closed in the formats that have no `boot` to tell
    /// it by, and where no other eye takes this one's place, the stream's last line says what happened.
    fn close(&mut self, last: Option<FaultReason>) {
        self.adapter.close(&mut self.out);
        if let Some(reason) = last
            && let Some((boot, seq)) = self.gate.next()
        {
            let line = format!(
                "{{\"v\":{VERSION},\"boot\":\"{boot}\",\"seq\":{seq},\"type\":\"fault\",\"ts\":\"{}\",\"camera\":null,\
                 \"part\":\"{}\",\"reason\":\"{}\",\"restarted\":false}}\n",
                crate::event::line::UtcMs(crate::watch::utc_ms()),
                Part::Eye.word(),
                reason.word(),
            );
            if self.gate.pass(line.as_bytes()).is_ok() {
                // Our own line: it is an event.
                let _ = self.adapter.tell(line.as_bytes(), &mut self.out);
            }
        }
        // A reader that is slow is waited for, as always; one that is gone is told nothing.
        while !self.out.is_empty() {
            let out = rustix::stdio::stdout();
            let mut polled = [PollFd::new(&out, PollFlags::OUT)];
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let gone = polled[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL);
            if gone || !matches!(self.write(out), Ok(true)) {
                return;
            }
        }
    }
}

/// What the eye says to people: short lines, and not many; and of cameras only what is on the list.
struct Complaints {
    from: Option<OwnedFd>,
    line: Vec<u8>,
    left_out: u64,
    bucket: Bucket,
    phrases: Option<Phrases>,
    bound_to_phrases: bool,
}

impl Complaints {
    /// From here on nothing but phrases. Called before the first answer to the eye.
    fn bind_to_phrases(&mut self) {
        if self.bound_to_phrases {
            return;
        }
        let waits = |from: &OwnedFd| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&now)).is_ok_and(|n| n > 0)
        };
        // At most what a pipe holds; an honest eye has said a line or two.
        for _ in 0..64 {
            match &self.from {
                Some(from) if waits(from) => self.read(),
                _ => break,
            }
        }
        self.bound_to_phrases = true;
    }

    fn read(&mut self) {
        let mut piece = [0u8; 1024];
        let n = match self.from.as_ref().map(|from| rustix::io::read(from, &mut piece)) {
            Some(Ok(n @ 1..)) => n,
            Some(Err(Errno::INTR | Errno::AGAIN)) => return,
            _ => {
                self.from = None;
                return;
            }
        };
        for byte in &piece[..n] {
            match byte {
                b'\n' => self.put(),
                _ if self.line.len() < MAX_COMPLAINT => self.line.push(*byte),
                _ => self.left_out += 1,
            }
        }
    }

    fn put(&mut self) {
        let line = std::mem::take(&mut self.line);
        let bytes = line.len() + 1;
        if self.bound_to_phrases
            && let Some(phrases) = &self.phrases
            && !std::str::from_utf8(&line).is_ok_and(|line| phrases.pass(line))
        {
            self.left_out += bytes as u64;
            return;
        }
        if !self.bucket.wait(bytes, Instant::now()).is_zero() {
            self.left_out += bytes as u64;
            return;
        }
        self.bucket.take(bytes);
        let text: String =
            String::from_utf8_lossy(&line).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        say(&text);
    }

    fn flush(&mut self) {
        if !self.line.is_empty() {
            self.put();
        }
        if self.left_out > 0 {
            let note = "there were too many, or what a sealed eye may not say";
            complain(&format!("{} more bytes of complaints left out: {note}", self.left_out));
        }
    }
}

fn complain(what: &str) {
    say(&format!("porchlight: {what}"));
}

/// A line for people; a closed stderr is nobody's problem.
fn say(line: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        let (from, _) = rustix::pipe::pipe().unwrap();
        Lines {
            from,
            gate: Gate::new(Words::default()),
            bucket: Bucket::new(1, 1, Instant::now()),
            held: Vec::new(),
            adapter: Adapter::new(Format::Native),
            native: 0,
            out: Vec::new(),
            written: 0,
            ended: false,
        }
    }

    /// Silence is a fault only where the eye was heard before, is still there, and waits for nobody.
    #[test]
    fn who_is_silent_without_a_reason_hangs() {
        let long_ago = Instant::now().checked_sub(HUNG * 2);
        let socket = || Some(rustix::pipe::pipe().unwrap().0);
        let silent = || Desk { socket: socket(), last_sign: long_ago, last_turn: Instant::now() };
        assert!(silent().hung(&lines()));
        assert!(!Desk { last_sign: None, ..silent() }.hung(&lines()), "it is still loading");
        assert!(!Desk { last_sign: Some(Instant::now()), ..silent() }.hung(&lines()));
        assert!(!Desk { socket: None, ..silent() }.hung(&lines()), "it is ending");
        assert!(!silent().hung(&Lines { ended: true, ..lines() }), "it is ending");
        let mut waiting = silent();
        assert!(!waiting.hung(&Lines { out: vec![b'x'], ..lines() }), "its line waits for the reader");
        assert!(!waiting.hung(&lines()), "and then it gets its time again");
        let mut awake = silent();
        awake.wake();
        assert!(awake.hung(&lines()));
        let mut asleep = Desk { last_turn: long_ago.unwrap(), ..silent() };
        asleep.wake();
        assert!(!asleep.hung(&lines()), "we did not run ourselves");
        asleep.last_sign = long_ago;
        asleep.wake();
        assert!(asleep.hung(&lines()), "but now we do");
    }
}
