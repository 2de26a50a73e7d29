//! `porchlight watch`: the events on stdin as a view that changes in place; where stdout is no terminal, the last one once.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Failure, Printer};
use crate::exit::Exit;
use crate::view::{LONGEST, View};

/// Between two drawings: enough for eyes, little for a slow line.
const PAUSE: Duration = Duration::from_millis(200);

/// Of a terminal that does not tell its size.
const SIZE: (usize, usize) = (80, 24);

/// Until stdin ends or nobody looks.
pub(super) fn run() -> Result<Exit, Failure> {
    if std::io::stdin().is_terminal() {
        let line = "watch: stdin is a terminal: wanted events: try `porchlight run | porchlight watch`";
        return Err(Failure::new(Exit::Usage, line));
    }
    let (mut printer, live) = (Printer::new(), std::io::stdout().is_terminal());
    let (mut view, mut held, mut skipping) = (View::default(), Vec::new(), false);
    let mut drawn = None;
    let mut piece = vec![0u8; 64 * 1024];
    loop {
        if live && drawn.is_none_or(|at: Instant| at.elapsed() >= PAUSE) {
            // The first drawing clears what was there; each overwrites the one before, so that nothing flickers.
            let (width, height) = size();
            let mut screen = String::from(if drawn.is_none() { "\x1b[2J\x1b[H" } else { "\x1b[H" });
            for row in view.render(width, Some(height.saturating_sub(1))) {
                screen.push_str(&row);
                screen.push_str("\x1b[K\r\n");
            }
            screen.push_str("\x1b[J");
            printer.print(&screen)?;
            drawn = Some(Instant::now());
        }
        match read(&mut piece, live)? {
            None => {}
            Some(0) => break,
            Some(n) => take(&piece[..n], &mut held, &mut skipping, &mut view),
        }
    }
    if !held.is_empty() {
        view.tell(&held);
    }
    let rows = if live { view.render(size().0, Some(size().1.saturating_sub(1))) } else { view.render(SIZE.0, None) };
    let (start, end) = if live { ("\x1b[H", "\x1b[K\r\n") } else { ("", "\n") };
    printer.print(&rows.iter().fold(start.to_owned(), |text, row| text + row + end))?;
    if view.events() > 0 {
        return Ok(Exit::Done);
    }
    let found = view.odd().map_or("nothing".to_owned(), |(line, why)| format!("{line} lines, the last: {why}"));
    let line = format!("watch: stdin: wanted events as `porchlight run` writes them, found {found}");
    Err(Failure::new(Exit::Source, line))
}

/// What is there: `None` when nothing came for a while, 0 at the end.
fn read(piece: &mut [u8], live: bool) -> Result<Option<usize>, Failure> {
    let stdin = std::io::stdin();
    if live {
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(PAUSE.subsec_nanos()) };
        match poll(&mut polled, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            // What is wrong with it, reading will tell.
            _ => {}
        }
    }
    match rustix::io::read(&stdin, piece) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(e) => Err(Failure::new(Exit::Source, format!("watch: stdin: {}", std::io::Error::from(e)))),
    }
}

/// Cuts a piece of the stream into lines.
fn take(piece: &[u8], held: &mut Vec<u8>, skipping: &mut bool, view: &mut View) {
    for part in piece.split_inclusive(|c| *c == b'\n') {
        let ends = part.ends_with(b"\n");
        if *skipping {
            *skipping = !ends;
            continue;
        }
        held.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
        if held.len() > LONGEST {
            view.too_long();
            *skipping = !ends;
            held.clear();
        } else if ends {
            view.tell(held);
            held.clear();
        }
    }
}

/// Columns and rows.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => SIZE,
    }
}
