//! YUV4MPEG2 (`.y4m`): uncompressed video with a text header, as `ffmpeg -f yuv4mpegpipe` writes it.
//!
//! ```text
//! YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n
//! FRAME\n <Y plane> <U plane> <V plane>   FRAME\n ...
//! ```
//! Why not the crate `y4m`: it takes a cut-off frame for the end, knows no byte offsets, and reads in one blocking call.
//! Interlacing is ignored (both fields stand in one frame). Every line is bounded, and a frame's memory grows with the bytes
//! that really arrive, so that a header alone costs nothing.

use std::io;

use super::input::{Got, Read, Unread};
use super::{FrameSource, Pulled, Rate, Skip, SourceError, SourceInfo, Tally, Ticker, Times};
use crate::decode::Limits;
use crate::frame::{CameraId, PixelFormat, Range, RawFrame};
use crate::geom::Size;

/// The first bytes.
pub const MAGIC: &[u8] = b"YUV4MPEG2 ";
/// Longest line; ffmpeg's header has about 80 bytes.
const LONGEST_LINE: usize = 1024;
/// Bytes of a frame read at a time.
const PIECE: usize = 1 << 20;

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Width and height.
    pub size: Size,
    /// Frames per second, when given (`F0:0` means unknown).
    pub rate: Option<Rate>,
    /// One of I420, I422, I444, Grey.
    pub format: PixelFormat,
    /// Luma range: `XCOLORRANGE`, else limited (grey: full, as ffmpeg means it).
    pub range: Range,
}

impl Header {
    /// Reads the first line, without its newline.
    ///
    /// # Errors
    /// What is wrong, wanted and found, on one line.
    pub fn parse(line: &[u8], limits: &Limits) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "the header is no text".to_owned())?;
        let fields = text.strip_prefix("YUV4MPEG2 ").ok_or("wanted a header that begins with YUV4MPEG2")?;
        let (mut width, mut height, mut rate, mut format, mut range) = (None, None, None, None, None);
        for field in fields.split(' ').filter(|field| !field.is_empty()) {
            let mut chars = field.chars();
            let (key, value) = (chars.next(), chars.as_str());
            match key {
                Some('W') => width = Some(side("width", value)?),
                Some('H') => height = Some(side("height", value)?),
                Some('F') => rate = fraction(value)?,
                Some('C') => format = Some(colour(value)?),
                Some('X') => match value {
                    "COLORRANGE=FULL" => range = Some(Range::Full),
                    "COLORRANGE=LIMITED" => range = Some(Range::Limited),
                    _ => {}
                },
                // I interlacing, A pixel aspect; anything else is for others.
                _ => {}
            }
        }
        let size = Size::new(
            width.ok_or("the header has no width (W)".to_owned())?,
            height.ok_or("the header has no height (H)".to_owned())?,
        );
        limits.check(size).map_err(|error| error.to_string())?;
        let format = format.unwrap_or(PixelFormat::I420);
        let usual = if format == PixelFormat::Grey { Range::Full } else { Range::Limited };
        Ok(Self { size, rate, format, range: range.unwrap_or(usual) })
    }

    /// Bytes of a frame.
    pub fn frame_len(&self) -> usize {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let chroma = match self.format {
            PixelFormat::I420 => width.div_ceil(2) * height.div_ceil(2) * 2,
            PixelFormat::I422 => width.div_ceil(2) * height * 2,
            PixelFormat::I444 => width * height * 2,
            _ => 0,
        };
        width * height + chroma
    }
}

fn side(what: &str, value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("the header's {what} is {value:?}; wanted a number of pixels"))
}

fn fraction(value: &str) -> Result<Option<Rate>, String> {
    let wrong = || format!("the header's frame rate is {value:?}; wanted NUM:DEN, 0.001 to 1000 per second");
    let (num, den) = value.split_once(':').ok_or_else(wrong)?;
    let (num, den) = (num.parse().map_err(|_| wrong())?, den.parse().map_err(|_| wrong())?);
    if num == 0 || den == 0 {
        return Ok(None);
    }
    Rate::new(num, den).map(Some).ok_or_else(wrong)
}

fn colour(value: &str) -> Result<PixelFormat, String> {
    match value {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(PixelFormat::I420),
        "422" => Ok(PixelFormat::I422),
        "444" => Ok(PixelFormat::I444),
        "mono" => Ok(PixelFormat::Grey),
        _ => Err(format!(
            "colour space C{value} is not read; wanted 8-bit 420, 422, 444 or mono: convert with `ffmpeg -pix_fmt yuv420p`"
        )),
    }
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the first line.
    Header,
    /// In a FRAME line.
    FrameLine,
    /// In a frame's bytes.
    Body,
    /// Behind the end, or behind an error.
    Done,
}

/// A y4m stream as a source.
pub(crate) struct Y4mSource<R> {
    info: SourceInfo,
    input: R,
    limits: Limits,
    camera: CameraId,
    /// Given by the user: wins over the header.
    rate: Option<Rate>,
    header: Option<Header>,
    ticker: Ticker,
    tally: Tally,
    state: State,
    line: Vec<u8>,
    /// A frame that is not whole yet; survives pulls that end quietly.
    body: Vec<u8>,
    have: usize,
    /// Read ahead while looking for the end of a line.
    ahead: Box<[u8]>,
    ahead_at: usize,
    ahead_len: usize,
    /// Bytes consumed.
    offset: u64,
    /// Times of frames that nobody would open.
    passed: Option<Times>,
}

impl<R: Read> Y4mSource<R> {
    pub(crate) fn new(name: &str, input: R, camera: CameraId, rate: Option<Rate>, limits: Limits) -> Self {
        let ticker = Ticker::new(camera, rate.unwrap_or(Rate::DEFAULT));
        let info = SourceInfo {
            name: name.to_owned(),
            size: None,
            fps: ticker.rate.as_f64(),
            format: PixelFormat::I420,
            live: false,
        };
        Self {
            info,
            input,
            limits,
            camera,
            rate,
            header: None,
            ticker,
            tally: Tally::default(),
            state: State::Header,
            line: Vec::new(),
            body: Vec::new(),
            have: 0,
            ahead: vec![0; 4096].into_boxed_slice(),
            ahead_at: 0,
            ahead_len: 0,
            offset: 0,
            passed: None,
        }
    }

    fn format_error(&mut self, offset: u64, problem: impl Into<String>) -> SourceError {
        self.state = State::Done;
        SourceError::Format {
            name: self.info.name.clone(),
            frame: self.ticker.count(),
            offset,
            problem: problem.into(),
        }
    }

    fn io_error(&mut self, error: io::Error) -> SourceError {
        self.state = State::Done;
        let at = Some((self.ticker.count(), self.offset));
        SourceError::Io { name: self.info.name.clone(), doing: "read", at, error }
    }

    /// Goes on reading a line into `self.line`; `Bytes` once it is whole.
    fn read_line(&mut self) -> Result<Got, SourceError> {
        loop {
            let begin = self.offset - self.line.len() as u64;
            let left = &self.ahead[self.ahead_at..self.ahead_len];
            let newline = left.iter().position(|&byte| byte == b'\n');
            let taken = newline.unwrap_or(left.len()).min(LONGEST_LINE + 1);
            self.line.extend_from_slice(&left[..taken]);
            self.ahead_at += taken;
            self.offset += taken as u64;
            if self.line.len() > LONGEST_LINE {
                let what = if self.state == State::Header { "header" } else { "FRAME line" };
                return Err(self.format_error(begin, format!("a {what} of more than {LONGEST_LINE} bytes")));
            }
            if newline.is_some() {
                self.ahead_at += 1;
                self.offset += 1;
                return Ok(Got::Bytes(taken));
            }
            (self.ahead_at, self.ahead_len) = (0, 0);
            match self.input.read(&mut self.ahead) {
                Ok(Got::Bytes(n)) => self.ahead_len = n,
                Ok(other) => return Ok(other),
                Err(error) => return Err(self.io_error(error)),
            }
        }
    }

    /// Goes on reading a frame into `self.body`; `Bytes` once it is whole.
    fn read_body(&mut self, wanted: usize) -> Result<Got, SourceError> {
        while self.have < wanted {
            let piece = (wanted - self.have).min(PIECE);
            if self.body.len() < self.have + piece {
                self.body.resize(self.have + piece, 0);
            }
            let into = &mut self.body[self.have..self.have + piece];
            let left = &self.ahead[self.ahead_at..self.ahead_len];
            let n = if left.is_empty() {
                match self.input.read(into) {
                    Ok(Got::Bytes(n)) => n,
                    Ok(other) => return Ok(other),
                    Err(error) => return Err(self.io_error(error)),
                }
            } else {
                let n = left.len().min(into.len());
                into[..n].copy_from_slice(&left[..n]);
                self.ahead_at += n;
                n
            };
            self.have += n;
            self.offset += n as u64;
        }
        self.body.truncate(wanted);
        Ok(Got::Bytes(wanted))
    }

    /// The frame whose bytes those are.
    fn frame(&mut self, header: Header, data: Vec<u8>) -> RawFrame {
        RawFrame {
            stamp: self.ticker.tick(),
            format: header.format,
            size: Some(header.size),
            stride: header.size.width as usize,
            range: header.range,
            data,
        }
    }

    /// Passes over a frame's bytes, if that can be done and all are there.
    fn pass(&mut self, bytes: usize) -> Result<Option<Unread>, SourceError> {
        let ahead = self.ahead_len - self.ahead_at;
        let Some(more) = bytes.checked_sub(ahead) else { return Ok(None) };
        let unread = self.input.pass(more).map_err(|error| self.io_error(error))?;
        if unread.is_some() {
            (self.ahead_at, self.ahead_len) = (0, 0);
            self.offset += bytes as u64;
        }
        Ok(unread.map(|unread| unread.after(ahead)))
    }

    fn cut(&mut self, buffer: Vec<u8>, what: &str) -> Pulled {
        self.state = State::Done;
        let reason = Skip::new(format_args!("byte {}: {what} is cut off by the end of data", self.offset));
        self.tally.skip(&reason);
        Pulled::Skipped { buffer, stamp: self.ticker.tick(), reason }
    }
}

impl<R: Read> FrameSource for Y4mSource<R> {
    fn pass_over(&mut self, times: Option<Times>) {
        self.passed = times;
    }

    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        loop {
            match (self.state, self.header) {
                (State::Header, _) => match self.read_line()? {
                    Got::Bytes(_) => {
                        let header = match Header::parse(&self.line, &self.limits) {
                            Ok(header) => header,
                            Err(problem) => return Err(self.format_error(0, problem)),
                        };
                        self.ticker = Ticker::new(self.camera, self.rate.or(header.rate).unwrap_or(Rate::DEFAULT));
                        self.info.size = Some(header.size);
                        self.info.format = header.format;
                        self.info.fps = self.ticker.rate.as_f64();
                        self.header = Some(header);
                        self.line.clear();
                        self.state = State::FrameLine;
                    }
                    Got::Quiet => return Ok(Pulled::Quiet(buffer)),
                    Got::End => {
                        let at = self.offset;
                        return Err(self.format_error(at, "the header line does not end; wanted YUV4MPEG2 W.. H.. ..."));
                    }
                },
                (State::FrameLine, _) => match self.read_line()? {
                    Got::Bytes(_) => {
                        if self.line != b"FRAME" && !self.line.starts_with(b"FRAME ") {
                            let begin = self.offset - self.line.len() as u64 - 1;
                            let found: Vec<u8> = self.line.iter().take(8).copied().collect();
                            let problem = format!("wanted a line FRAME, found \"{}\"", found.escape_ascii());
                            return Err(self.format_error(begin, problem));
                        }
                        self.line.clear();
                        self.have = 0;
                        self.state = State::Body;
                    }
                    Got::Quiet => return Ok(Pulled::Quiet(buffer)),
                    Got::End if self.line.is_empty() => self.state = State::Done,
                    Got::End => return Ok(self.cut(buffer, "a FRAME line")),
                },
                (State::Body, Some(header)) => {
                    let is_passed_over = self.passed.as_ref().map(|times| times.contains(&self.ticker.due()));
                    if self.have == 0
                        && let Some(is_passed_over) = is_passed_over
                        && let Some(bytes) = self.pass(header.frame_len())?
                    {
                        self.state = State::FrameLine;
                        self.tally.frame();
                        return Ok(if is_passed_over {
                            Pulled::Passed { buffer, stamp: self.ticker.tick() }
                        } else {
                            Pulled::Unread { raw: self.frame(header, buffer), bytes }
                        });
                    }
                    if self.have == 0 && self.body.capacity() < buffer.capacity() {
                        // The lent buffer takes the place of a smaller one; nothing of either is needed.
                        return self.next_with(buffer);
                    }
                    match self.read_body(header.frame_len())? {
                        Got::Bytes(_) => {
                            let data = std::mem::replace(&mut self.body, buffer);
                            self.have = 0;
                            self.state = State::FrameLine;
                            self.tally.frame();
                            return Ok(Pulled::Frame(self.frame(header, data)));
                        }
                        Got::Quiet => return Ok(Pulled::Quiet(buffer)),
                        Got::End => return Ok(self.cut(buffer, "a frame")),
                    }
                }
                (State::Body | State::Done, _) => {
                    return self.tally.end(&self.info.name, "a YUV4MPEG2 stream with FRAMEs");
                }
            }
        }
    }
}

impl<R: Read> Y4mSource<R> {
    /// Swaps the lent buffer in and goes on.
    fn next_with(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let smaller = std::mem::replace(&mut self.body, buffer);
        self.next(smaller)
    }
}
