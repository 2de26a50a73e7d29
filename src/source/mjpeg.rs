//! Concatenated JPEGs: a pure splitter and the source on top of it.
//!
//! The splitter follows each picture's marker structure, so that thumbnails inside APPn segments and `ff d9` inside payloads
//! do not end it. Whatever stands between pictures (garbage, multipart headers) is passed over. A picture that breaks off is
//! reported once, and the search goes on *inside* it, because the cut may have made it swallow the next one.
//!
//! Cost is bounded on hostile data too: the buffer holds at most one frame of the allowed length (and one piece), and each
//! byte is walked at most `RETRIES` + 1 times.

use std::io;

use super::input::{Got, Read};
use super::{FrameSource, Pulled, Skip, SourceError, SourceInfo, Tally, Ticker};
use crate::decode::jpeg::{Step, Walk};
use crate::frame::{PixelFormat, Range, RawFrame};
use crate::geom::Size;

/// How often a search restarts inside a broken picture before the rest of what it covered is given up.
const RETRIES: u32 = 16;
/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// A silent stretch after which the source lets its caller look at the stop flag.
const QUIET_AFTER: u64 = 16 << 20;

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Split {
    /// A whole picture, appended to the buffer; its header's size.
    Frame(Option<Size>),
    /// The beginning of a picture that is none: where in the stream, and why.
    Broken(u64, &'static str),
    /// Nothing more in what was fed.
    More,
}

/// Cuts a stream of bytes into JPEGs.
pub struct Splitter {
    buf: Vec<u8>,
    /// The first byte of `buf` that is still wanted.
    start: usize,
    /// Stream offset of `buf[0]`.
    base: u64,
    /// The walk over the picture at `start`; `None` while a start is searched.
    walk: Option<Walk>,
    longest: usize,
    ended: bool,
    /// Stream offset up to which a broken picture has been walked; starts before it are second guesses.
    covered: u64,
    retries: u32,
}

impl Splitter {
    /// A splitter for pictures of at most `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self { buf: Vec::new(), start: 0, base: 0, walk: None, longest, ended: false, covered: 0, retries: 0 }
    }

    /// Appends what was read. Call [`Splitter::next`] until it says [`Split::More`] before feeding again.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buf.copy_within(self.start.., 0);
            self.buf.truncate(self.buf.len() - self.start);
            self.base += self.start as u64;
            self.start = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Nothing will be fed any more: an unfinished picture is a broken one.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// How far the stream has been consumed, in bytes.
    pub fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The next whole picture, copied behind what `out` holds.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Split {
        loop {
            let Some(walk) = &mut self.walk else {
                if self.seek() {
                    self.walk = Some(Walk::new(false));
                    continue;
                }
                return Split::More;
            };
            let data = &self.buf[self.start..];
            let (reason, walked) = match walk.advance(data) {
                Step::End(length) if length <= self.longest => {
                    let size = walk.facts.size;
                    out.extend_from_slice(&data[..length]);
                    self.start += length;
                    self.walk = None;
                    return Split::Frame(size);
                }
                Step::End(length) => ("a JPEG that is longer than allowed", length),
                Step::Broken(reason, at) => (reason, at),
                Step::More if data.len() > self.longest => ("a JPEG that is longer than allowed", data.len()),
                Step::More if self.ended => ("a JPEG that is cut off by the end of data", data.len()),
                Step::More => return Split::More,
            };
            let offset = self.offset();
            let first_guess = offset >= self.covered;
            self.covered = self.covered.max(offset + walked as u64);
            self.retries = if first_guess { 0 } else { self.retries + 1 };
            self.start = if self.retries < RETRIES {
                self.start + 2
            } else {
                self.buf.len().min((self.covered - self.base) as usize)
            };
            self.walk = None;
            if first_guess {
                return Split::Broken(offset, reason);
            }
        }
    }

    /// Moves to the next `ff d8 ff`.
    fn seek(&mut self) -> bool {
        let rest = &self.buf[self.start..];
        match rest.windows(3).position(|three| three == [0xff, 0xd8, 0xff]) {
            Some(found) => {
                self.start += found;
                true
            }
            None => {
                // The last two bytes may be the beginning of one.
                self.start = self.start.max(self.buf.len().saturating_sub(2));
                false
            }
        }
    }
}

/// A stream of concatenated JPEGs as a source.
pub(crate) struct MjpegSource<R> {
    info: SourceInfo,
    input: R,
    splitter: Splitter,
    piece: Box<[u8]>,
    ticker: Ticker,
    tally: Tally,
}

impl<R: Read> MjpegSource<R> {
    pub(crate) fn new(name: &str, input: R, ticker: Ticker, longest: usize) -> Self {
        let info = SourceInfo {
            name: name.to_owned(),
            size: None,
            fps: ticker.rate.as_f64(),
            format: PixelFormat::Mjpg,
            live: false,
        };
        let piece = vec![0; PIECE].into_boxed_slice();
        Self { info, input, splitter: Splitter::new(longest), piece, ticker, tally: Tally::default() }
    }
}

impl<R: Read> FrameSource for MjpegSource<R> {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        buffer.clear();
        let from = self.splitter.offset();
        loop {
            match self.splitter.next(&mut buffer) {
                Split::Frame(size) => {
                    if self.info.size.is_none() {
                        self.info.size = size;
                    }
                    self.tally.frame();
                    return Ok(Pulled::Frame(RawFrame {
                        stamp: self.ticker.tick(),
                        format: PixelFormat::Mjpg,
                        // Frames of a file may change size; only a camera promises one.
                        size: None,
                        stride: 0,
                        range: Range::Full,
                        data: buffer,
                    }));
                }
                Split::Broken(offset, reason) => {
                    let reason = Skip::new(format_args!("byte {offset}: {reason}"));
                    self.tally.skip(&reason);
                    return Ok(Pulled::Skipped { buffer, stamp: self.ticker.tick(), reason });
                }
                Split::More => {}
            }
            if self.splitter.ended {
                return self.tally.end(&self.info.name, "concatenated JPEGs (ff d8 ... ff d9)");
            }
            if self.splitter.offset() - from > QUIET_AFTER {
                return Ok(Pulled::Quiet(buffer));
            }
            match self.input.read(&mut self.piece) {
                Ok(Got::Bytes(n)) => self.splitter.feed(&self.piece[..n]),
                Ok(Got::End) => self.splitter.finish(),
                Ok(Got::Quiet) => return Ok(Pulled::Quiet(buffer)),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }
}

impl<R> MjpegSource<R> {
    fn failed(&mut self, error: io::Error) -> SourceError {
        // Later pulls end instead of reading on.
        self.splitter.finish();
        let at = Some((self.ticker.count(), self.splitter.offset()));
        SourceError::Io { name: self.info.name.clone(), doing: "read", at, error }
    }
}
