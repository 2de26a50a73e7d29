//! Files, folders, globs and stdin as sources.
//!
//! Files are told apart by content; only where content cannot tell does the name decide: a JPEG named `.jpg` or `.jpeg` is
//! one still picture, under any other name it is a stream of JPEGs. Opening reads ahead to the first frame, so that a file
//! without one is an error before anything has started.

use std::collections::VecDeque;
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::input::Input;
use super::mjpeg::MjpegSource;
use super::synth::{self, Synth};
use super::y4m::{self, Y4mSource};
use super::{FrameSource, Pulled, Rate, Skip, SourceError, SourceInfo, Tally, Ticker, Times};
use crate::decode::Limits;
use crate::frame::{CameraId, PixelFormat, Range, RawFrame};

/// File name endings that are taken for pictures, in any case.
pub const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];
/// The spec that stands for stdin.
pub const STDIN: &str = "-";

const JPEG: &[u8] = &[0xff, 0xd8];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Broken frames that opening looks past in search of the first good one.
const LOOK_AHEAD: usize = 16;

/// How a source is opened.
pub struct Options<'a> {
    /// Frames per second given by the user. Wins over a y4m header; without it files of JPEGs run at 30.
    pub fps: Option<f64>,
    /// Whose frames these are.
    pub camera: CameraId,
    /// Longest and largest frames.
    pub limits: Limits,
    /// Asked about ten times a second while stdin is silent; `true` ends the wait with [`SourceError::Stopped`].
    pub stop: &'a dyn Fn() -> bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { fps: None, camera: CameraId(0), limits: Limits::default(), stop: &|| false }
    }
}

/// Opens a JPEG or PNG, a folder or glob of them, a `.mjpeg`, a `.y4m`, `-` (stdin: y4m or JPEGs) or a `synth:` pattern.
///
/// # Errors
/// One line that names the path, what was found and wanted, and the fix.
pub fn open(spec: &str, options: &Options<'_>) -> Result<Box<dyn FrameSource>, SourceError> {
    rate_of(spec, options)?;
    let found = find(spec)?;
    let opener: Numbered = match &found {
        Found::MadeUp => Box::new(|_| Err(std::io::ErrorKind::NotFound.into())),
        Found::Stdin => Box::new(|_| std::io::stdin().as_fd().try_clone_to_owned()),
        Found::Pictures(_) | Found::File(_) => {
            let paths = found.paths().to_vec();
            Box::new(move |item| paths.get(item).map_or(Err(std::io::ErrorKind::NotFound.into()), |p| open_file(p)))
        }
    };
    open_found(spec, found, opener, options)
}

/// The rate that was asked for.
fn rate_of(spec: &str, options: &Options<'_>) -> Result<Option<Rate>, SourceError> {
    let Some(fps) = options.fps else { return Ok(None) };
    Rate::from_f64(fps).map(Some).ok_or_else(|| SourceError::Spec {
        spec: spec.to_owned(),
        problem: format!("the rate is {fps} frames per second; wanted 0.001 to 1000"),
    })
}

/// Opens what [`find`] found, through `opener`, which is given numbers from 0 in the order of [`Found::paths`]. Nothing is
/// named any more: a sealed process can do this.
///
/// # Errors
/// As [`open`].
pub fn open_found(
    spec: &str,
    found: Found,
    mut opener: Numbered,
    options: &Options<'_>,
) -> Result<Box<dyn FrameSource>, SourceError> {
    let rate = rate_of(spec, options)?;
    let ticker = Ticker::new(options.camera, rate.unwrap_or(Rate::DEFAULT));
    let limits = options.limits;
    let source: Box<dyn FrameSource> = match found {
        Found::MadeUp => return Ok(Box::new(Synth::open(spec, options.camera, &limits)?)),
        Found::Stdin => {
            let fd = opener(0).map_err(|e| SourceError::io(spec, "open", e))?;
            return stream(spec, fd, rate, ticker, options);
        }
        Found::Pictures(paths) => Box::new(Stills::new(spec, paths, opener, ticker, limits)),
        Found::File(path) => {
            let fd = opener(0).map_err(|e| SourceError::io(spec, "open", e))?;
            let mut input = Input::new(fd, false);
            let head = input.peek(12, options.stop).map_err(|e| SourceError::io(spec, "read", e))?.unwrap_or_default();
            match kind_of(head, &path) {
                Contents::Still => Box::new(Stills::new(spec, vec![path], opener, ticker, limits)),
                Contents::Y4m => Box::new(Y4mSource::new(spec, input, options.camera, rate, limits)),
                Contents::Jpegs => Box::new(MjpegSource::new(spec, input, ticker, limits.max_encoded)),
                Contents::Other(found) => return Err(unsuitable(spec, found, CONVERT)),
            }
        }
    };
    Primed::new(source, options.stop)
}

/// A source over bytes in memory: YUV4MPEG2 or else concatenated JPEGs, as on stdin. Reads nothing ahead.
pub fn from_bytes<'a>(name: &str, bytes: &'a [u8], options: &Options<'_>) -> Box<dyn FrameSource + 'a> {
    let rate = options.fps.and_then(Rate::from_f64);
    if bytes.starts_with(y4m::MAGIC) {
        return Box::new(Y4mSource::new(name, bytes, options.camera, rate, options.limits));
    }
    let ticker = Ticker::new(options.camera, rate.unwrap_or(Rate::DEFAULT));
    Box::new(MjpegSource::new(name, bytes, ticker, options.limits.max_encoded))
}

/// The pictures that `spec` stands for (one file, a folder's, a glob's), in the order of their names.
///
/// # Errors
/// As [`open`]. A file that is no picture is not noticed here.
pub fn pictures(spec: &str) -> Result<Vec<PathBuf>, SourceError> {
    find(spec).map(|found| found.paths().to_vec())
}

const CONVERT: &str = "convert it: ffmpeg -i FILE -f yuv4mpegpipe - | porchlight run --source -";

fn unsuitable(name: &str, found: impl Into<String>, fix: &'static str) -> SourceError {
    SourceError::Unsuitable { name: name.to_owned(), found: found.into(), fix }
}

/// What a stream's first bytes decide.
fn stream(
    spec: &str,
    fd: OwnedFd,
    rate: Option<Rate>,
    ticker: Ticker,
    options: &Options<'_>,
) -> Result<Box<dyn FrameSource>, SourceError> {
    let mut input = Input::new(fd, true);
    let head = match input.peek(y4m::MAGIC.len(), options.stop) {
        Ok(Some(head)) => head,
        Ok(None) => return Err(SourceError::Stopped { name: spec.to_owned() }),
        Err(error) => return Err(SourceError::io(spec, "read", error)),
    };
    if head.starts_with(y4m::MAGIC) {
        let source = Y4mSource::new(spec, input, options.camera, rate, options.limits);
        return Primed::new(Box::new(source), options.stop);
    }
    // Anything else may be garbage or a multipart header in front of the first JPEG; PNG and empty streams cannot be.
    if head.is_empty() || head.starts_with(&PNG[..4]) {
        let found = if head.is_empty() { "no bytes at all" } else { "a PNG" };
        return Err(unsuitable(
            spec,
            found,
            "on stdin give YUV4MPEG2 (ffmpeg -f yuv4mpegpipe -) or JPEGs (-f mjpeg -)",
        ));
    }
    let source = MjpegSource::new(spec, input, ticker, options.limits.max_encoded);
    Primed::new(Box::new(source), options.stop)
}

/// What a spec turned out to be; looked at, not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A `synth:` pattern.
    MadeUp,
    /// `-`
    Stdin,
    /// The pictures of a folder or a glob.
    Pictures(Vec<PathBuf>),
    /// One file, of whatever content.
    File(PathBuf),
}

impl Found {
    /// The files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::MadeUp | Self::Stdin => &[],
            Self::Pictures(paths) => paths,
            Self::File(path) => std::slice::from_ref(path),
        }
    }
}

/// Opens the files of a list that was made earlier, by their numbers from 0.
pub type Numbered = Box<dyn FnMut(usize) -> std::io::Result<OwnedFd> + Send>;

/// A file for reading, without waiting for a writer should it be a pipe.
pub(crate) fn open_file(path: &Path) -> std::io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Finds out what a spec stands for, without opening a file.
///
/// # Errors
/// As [`open`].
pub fn find(spec: &str) -> Result<Found, SourceError> {
    if spec.starts_with(synth::PREFIX) {
        return Ok(Found::MadeUp);
    }
    if spec == STDIN {
        return Ok(Found::Stdin);
    }
    if spec.is_empty() {
        return Err(SourceError::Spec { spec: spec.to_owned(), problem: "an empty path; wanted a file".to_owned() });
    }
    let path = Path::new(spec);
    let kind = match fs::metadata(path) {
        Ok(meta) => meta.file_type(),
        // A name that exists is never a pattern, so that `a[1].jpg` can be opened.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && spec.contains(['*', '?', '[']) => {
            return globbed(spec).map(Found::Pictures);
        }
        Err(error) => return Err(SourceError::io(spec, "open", error)),
    };
    if kind.is_dir() {
        let mut paths = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| SourceError::io(spec, "list", e))? {
            paths.push(entry.map_err(|e| SourceError::io(spec, "list", e))?.path());
        }
        paths.retain(|path| is_picture(path));
        paths.sort();
        if paths.is_empty() {
            let (wanted, skipped) = ("files named .jpg, .jpeg or .png in the folder", None);
            return Err(SourceError::NoFrame { name: spec.to_owned(), wanted, skipped });
        }
        return Ok(Found::Pictures(paths));
    }
    if kind.is_file() {
        return Ok(Found::File(path.to_owned()));
    }
    let (found, fix) = if kind.is_fifo() {
        ("a pipe", "read it from stdin: --source - < PIPE")
    } else if kind.is_char_device()
        && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"video"))
    {
        ("a video device", "give it as --camera")
    } else if kind.is_char_device() {
        ("a character device", "for a stream use --source -")
    } else if kind.is_socket() {
        ("a socket", "for a stream use --source -")
    } else {
        ("a block device", "for a stream use --source -")
    };
    Err(unsuitable(spec, found, fix))
}

fn globbed(spec: &str) -> Result<Vec<PathBuf>, SourceError> {
    let paths = glob::glob(spec).map_err(|error| SourceError::Spec {
        spec: spec.to_owned(),
        problem: format!("the pattern is wrong at character {}: {}", error.pos, error.msg),
    })?;
    // Folders that cannot be read are an error: fewer pictures than asked for would be a silent loss.
    let mut matches = Vec::new();
    for path in paths {
        matches.push(path.map_err(|error| {
            let name = error.path().to_string_lossy().into_owned();
            SourceError::io(&name, "list", error.into())
        })?);
    }
    matches.retain(|path| is_picture(path));
    matches.sort();
    if matches.is_empty() {
        let (wanted, skipped) = ("files named .jpg, .jpeg or .png that match (quote the pattern?)", None);
        return Err(SourceError::NoFrame { name: spec.to_owned(), wanted, skipped });
    }
    Ok(matches)
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|end| PICTURES.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// What a regular file holds.
enum Contents {
    Still,
    Y4m,
    Jpegs,
    Other(&'static str),
}

fn kind_of(head: &[u8], path: &Path) -> Contents {
    let named = |name: &str| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(name));
    if head.starts_with(PNG) {
        Contents::Still
    } else if head.starts_with(JPEG) {
        if named("jpg") || named("jpeg") { Contents::Still } else { Contents::Jpegs }
    } else if head.starts_with(y4m::MAGIC) || named("y4m") {
        Contents::Y4m
    } else if head.is_empty() {
        Contents::Other("an empty file")
    } else if head.get(4..8) == Some(b"ftyp") {
        Contents::Other("an MP4 or HEIF file")
    } else if head.starts_with(b"RIFF") {
        Contents::Other("an AVI or WebP file")
    } else if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        Contents::Other("a Matroska or WebM file")
    } else if named("mjpeg") || named("mjpg") {
        // Garbage before the first picture is tolerated in what calls itself a stream.
        Contents::Jpegs
    } else {
        Contents::Other("neither JPEG nor PNG nor YUV4MPEG2 by its first bytes")
    }
}

/// Still pictures, one file each.
struct Stills {
    info: SourceInfo,
    paths: std::iter::Enumerate<std::vec::IntoIter<PathBuf>>,
    opener: Numbered,
    ticker: Ticker,
    tally: Tally,
    limits: Limits,
}

impl Stills {
    fn new(name: &str, paths: Vec<PathBuf>, opener: Numbered, ticker: Ticker, limits: Limits) -> Self {
        let info = SourceInfo {
            name: name.to_owned(),
            size: None,
            fps: ticker.rate.as_f64(),
            format: PixelFormat::Still,
            live: false,
        };
        Self { info, paths: paths.into_iter().enumerate(), opener, ticker, tally: Tally::default(), limits }
    }
}

/// Reads one picture file whole; the reason when it is none. `path` is for people.
fn read_still(
    path: &Path,
    opened: std::io::Result<OwnedFd>,
    limits: &Limits,
    into: &mut Vec<u8>,
) -> Result<(), String> {
    into.clear();
    let shown = path.display();
    let cannot = |doing, error: std::io::Error| format!("{shown}: cannot {doing}: {error}");
    let fd = opened.map_err(|e| cannot("open", e))?;
    // By descriptor: a sealed process has no call that takes a path.
    let stat = rustix::fs::fstat(&fd).map_err(|e| cannot("open", e.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(format!("{shown}: not a regular file"));
    }
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let too_long = |found| format!("{shown}: {found} bytes; at most {} are read", limits.max_encoded);
    if length > limits.max_encoded as u64 {
        return Err(too_long(length.to_string()));
    }
    let most = limits.max_encoded as u64 + 1;
    fs::File::from(fd).take(most).read_to_end(into).map_err(|e| cannot("read", e))?;
    if into.len() > limits.max_encoded {
        return Err(too_long("more".to_owned()));
    }
    if !into.starts_with(JPEG) && !into.starts_with(PNG) {
        let found = if into.is_empty() { "an empty file" } else { "other first bytes" };
        return Err(format!("{shown}: wanted a JPEG (ff d8) or PNG (89 50 4e 47), found {found}"));
    }
    Ok(())
}

impl FrameSource for Stills {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let Some((number, path)) = self.paths.next() else {
            return self.tally.end(&self.info.name, "JPEG or PNG pictures");
        };
        match read_still(&path, (self.opener)(number), &self.limits, &mut buffer) {
            Ok(()) => {
                self.tally.frame();
                Ok(Pulled::Frame(RawFrame {
                    stamp: self.ticker.tick(),
                    format: PixelFormat::Still,
                    size: None,
                    stride: 0,
                    range: Range::Full,
                    data: buffer,
                }))
            }
            Err(reason) => {
                let reason = Skip::new(reason);
                self.tally.skip(&reason);
                Ok(Pulled::Skipped { buffer, stamp: self.ticker.tick(), reason })
            }
        }
    }
}

/// A source whose first frame has been looked for already.
struct Primed {
    inner: Box<dyn FrameSource>,
    first: VecDeque<Pulled>,
}

impl Primed {
    #[expect(clippy::new_ret_no_self, reason = "only ever used as a source")]
    fn new(mut inner: Box<dyn FrameSource>, stop: &dyn Fn() -> bool) -> Result<Box<dyn FrameSource>, SourceError> {
        let mut first = VecDeque::new();
        let mut buffer = Vec::new();
        while first.len() < LOOK_AHEAD {
            match inner.next(std::mem::take(&mut buffer))? {
                Pulled::Quiet(_) if stop() => return Err(SourceError::Stopped { name: inner.info().name.clone() }),
                Pulled::Quiet(back) => buffer = back,
                frame @ (Pulled::Frame(_) | Pulled::Unread { .. } | Pulled::End) => {
                    first.push_back(frame);
                    break;
                }
                skipped => first.push_back(skipped),
            }
        }
        Ok(Box::new(Self { inner, first }))
    }
}

impl FrameSource for Primed {
    fn pass_over(&mut self, times: Option<Times>) {
        self.inner.pass_over(times);
    }

    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        match self.first.pop_front() {
            Some(pulled) => Ok(pulled),
            None => self.inner.next(buffer),
        }
    }
}
