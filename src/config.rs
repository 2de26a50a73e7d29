//! What a command line and a configuration file mean together.
//!
//! [`Config`] holds plain values for the rest of the program. Beside them stands the list of [`Setting`]s: every key, its
//! value and where it came from, written by the same function that decides the value, so that `config --explain` cannot
//! tell another story than the one that runs. The configuration's hash is made of those keys and values, not of the file's
//! bytes: a comment changes nothing.
//!
//! Flags win over the file, the file over defaults. Pictures are named in one place: by flags or by `[[camera]]`. The one
//! exception replays a recording through a camera's settings: with exactly one `[[camera]]` and one `--source` or
//! `--camera`, the flag replaces that camera's source and the rest of its section stays. Relative paths in a file are
//! relative to the file's folder.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use sha2::Digest;
use toml::Spanned;

use crate::cli::{FPS, Format, Pace, RunArgs, THREADS, Typed};
use crate::frame::PixelFormat;
use crate::geom::Size;
use crate::model::card::{hex, toml_line};

/// Larger files are refused before they are read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most cameras of one run.
pub const MAX_CAMERAS: usize = 16;
/// Most zones, and most lines, of one camera.
const MAX_SHAPES: usize = 32;
/// Most corners of a zone.
const MAX_POINTS: usize = 64;

/// Everything a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// At most 16, names unique. Empty: the caller takes the first camera that answers.
    pub cameras: Vec<CameraConfig>,
    /// Objects.
    pub objects: ObjectsConfig,
    /// Faces.
    pub faces: FacesConfig,
    /// Events.
    pub output: OutputConfig,
    /// The run itself.
    pub run: RunConfig,
    settings: Vec<Setting>,
}

/// Where a picture stream comes from. Told apart by its spelling; nothing is opened here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// A V4L2 device.
    Device(PathBuf),
    /// A file, a folder or a glob.
    Path(PathBuf),
    /// y4m or concatenated JPEG on stdin.
    Stdin,
    /// A made-up picture; what stood behind `synth:`.
    Synth(String),
}

impl SourceSpec {
    /// By spelling: `-` is stdin, `synth:…` made up, below `/dev` a device (but not the files that live there too).
    pub fn parse(text: &Path) -> Self {
        if text == Path::new("-") {
            return Self::Stdin;
        }
        if let Some(rest) = text.to_str().and_then(|t| t.strip_prefix("synth:")) {
            return Self::Synth(rest.to_owned());
        }
        let file = ["/dev/fd", "/dev/shm", "/dev/stdin"].iter().any(|p| text.starts_with(p));
        if text.starts_with("/dev") && !file { Self::Device(text.to_owned()) } else { Self::Path(text.to_owned()) }
    }

    /// True for a source that waits for nobody.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Device(_))
    }
}

impl std::fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(path) | Self::Path(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("-"),
            Self::Synth(rest) => write!(f, "synth:{rest}"),
        }
    }
}

/// The pixel format asked of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraFormat {
    /// Whatever suits best.
    #[default]
    Auto,
    /// Motion JPEG.
    Mjpg,
    /// 4:2:2 packed.
    Yuyv,
    /// 4:2:0, two planes.
    Nv12,
    /// Luma only.
    Grey,
}

impl CameraFormat {
    /// What to ask a device for; `None`: whatever suits best.
    pub const fn pixel_format(self) -> Option<PixelFormat> {
        match self {
            Self::Auto => None,
            Self::Mjpg => Some(PixelFormat::Mjpg),
            Self::Yuyv => Some(PixelFormat::Yuyv),
            Self::Nv12 => Some(PixelFormat::Nv12),
            Self::Grey => Some(PixelFormat::Grey),
        }
    }

    /// The words of the configuration, in the order of the variants.
    const WORDS: [(&'static str, Self); 5] =
        [("auto", Self::Auto), ("mjpg", Self::Mjpg), ("yuyv", Self::Yuyv), ("nv12", Self::Nv12), ("grey", Self::Grey)];
}

/// One camera, or another source of pictures.
#[derive(Clone, Debug)]
pub struct CameraConfig {
    /// `[A-Za-z0-9_.-]{1,32}`, unique.
    pub name: String,
    /// Where pictures come from.
    pub source: SourceSpec,
    /// Asked of a device.
    pub format: CameraFormat,
    /// Asked of a device, each side 16..=8192; `None`: whatever suits best.
    pub size: Option<Size>,
    /// 0.1..=240: asked of a device, assumed of JPEG streams.
    pub fps: Option<f64>,
    /// Labels to report; `None`: all that the model knows. Whether the model knows them is for its loader to check.
    pub detect: Option<Vec<String>>,
    /// Whether faces are looked for.
    pub faces: bool,
    /// Areas, names unique.
    pub zones: Vec<ZoneConfig>,
    /// Lines, names unique.
    pub lines: Vec<LineConfig>,
}

/// An area of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneConfig {
    /// As camera names.
    pub name: String,
    /// A simple polygon of 3..=64 corners, 0..=1 of the frame.
    pub points: Vec<[f32; 2]>,
    /// Labels that count; `None`: all.
    pub labels: Option<Vec<String>>,
    /// A stay of this long is reported, 1..=86400000; `None`: none is.
    pub dwell_ms: Option<u64>,
}

/// A line across the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct LineConfig {
    /// As camera names.
    pub name: String,
    /// 0..=1 of the frame.
    pub from: [f32; 2],
    /// 0..=1 of the frame, elsewhere than `from`.
    pub to: [f32; 2],
    /// Labels that count; `None`: all.
    pub labels: Option<Vec<String>>,
}

/// `[objects]`
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectsConfig {
    /// Name of a card, or its path.
    pub model: String,
    /// Report what scores at least this, 0.01..=1; `None`: as the card says.
    pub score: Option<f32>,
}

/// `[faces]`
#[derive(Clone, Debug, PartialEq)]
pub struct FacesConfig {
    /// Name of a card, or its path.
    pub detector: String,
    /// Name of a card, or its path.
    pub embedder: String,
    /// Known faces; `None`: no embedding is ever computed.
    pub gallery: Option<PathBuf>,
    /// Least cosine that makes two faces one person, 0..=1 (`match` in the file).
    pub match_threshold: f32,
    /// Least distance between the eyes, pixels of the frame, 4..=512.
    pub min_eye_px: u32,
}

/// `[output]`
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Form of the events.
    pub format: Format,
    /// Cap of each camera's events, 256..=1048576.
    pub bytes_per_second: u32,
    /// Time between `stats` lines, 1..=86400.
    pub stats_every_s: u32,
}

/// Where `run` looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attention {
    /// Where something moves or is known; see [`crate::attention`].
    #[default]
    Regions,
    /// Both detectors at the whole of every frame, and at no part of it: as programs without such a strategy do, for
    /// comparison.
    EveryFrame,
}

impl Attention {
    /// The words of the configuration, in the order of the variants.
    const WORDS: [(&'static str, Self); 2] = [("regions", Self::Regions), ("every-frame", Self::EveryFrame)];
}

/// `[run]`, and what only flags say.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// Threads that infer, 1..=64; `None`: as many as the machine has for us, see [`RunConfig::thread_count`].
    pub threads: Option<usize>,
    /// Processor time that may be used, cores, 0.05..=64; `None`: as much as it takes.
    pub max_cpu: Option<f64>,
    /// Where the board's files are: `/sys` but in tests.
    pub sysfs: PathBuf,
    /// Where to look.
    pub attention: Attention,
    /// Time of a file's first frame.
    pub start: Timestamp,
    /// How fast files are played.
    pub pace: Pace,
    /// `age_ms` is left out.
    pub deterministic: bool,
    /// False with `--no-seal`.
    pub seal: bool,
}

impl RunConfig {
    /// The number of threads, `auto` resolved to the parallelism available to this process (at most 64).
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS.1 as usize)
        })
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file and a line, counted from 1.
    File(PathBuf, usize),
    /// A flag, with its dashes.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One row of `config --explain`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `faces.match`, `camera.front.fps`
    pub key: String,
    /// `null`: not set, see the key's documentation for what that means.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// A configuration that cannot be acted on: file, line, key, wanted, found; one line.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

// ---- The file, as written. Every leaf keeps its place, so that a wrong value can be pointed at. ----

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    camera: Vec<FileCamera>,
    #[serde(default)]
    objects: FileObjects,
    #[serde(default)]
    faces: FileFaces,
    #[serde(default)]
    output: FileOutput,
    #[serde(default)]
    run: FileRun,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCamera {
    name: Spanned<String>,
    source: Spanned<String>,
    format: Option<Spanned<String>>,
    size: Option<Spanned<[i64; 2]>>,
    fps: Option<Spanned<f64>>,
    detect: Option<Spanned<Vec<String>>>,
    faces: Option<Spanned<bool>>,
    #[serde(default)]
    zone: Vec<FileZone>,
    #[serde(default)]
    line: Vec<FileLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileZone {
    name: Spanned<String>,
    points: Spanned<Vec<[f64; 2]>>,
    labels: Option<Spanned<Vec<String>>>,
    dwell_ms: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLine {
    name: Spanned<String>,
    from: Spanned<[f64; 2]>,
    to: Spanned<[f64; 2]>,
    labels: Option<Spanned<Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileObjects {
    model: Option<Spanned<String>>,
    score: Option<Spanned<f64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFaces {
    detector: Option<Spanned<String>>,
    embedder: Option<Spanned<String>>,
    gallery: Option<Spanned<String>>,
    #[serde(rename = "match")]
    match_threshold: Option<Spanned<f64>>,
    min_eye_px: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOutput {
    format: Option<Spanned<String>>,
    bytes_per_second: Option<Spanned<i64>>,
    stats_every_s: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRun {
    threads: Option<Spanned<toml::Value>>,
    max_cpu: Option<Spanned<toml::Value>>,
    sysfs: Option<Spanned<String>>,
    attention: Option<Spanned<String>>,
}

/// Decides values and writes down each decision.
struct Resolver<'a> {
    path: &'a Path,
    text: &'a str,
    settings: Vec<Setting>,
}

impl Resolver<'_> {
    fn origin<T>(&self, spanned: &Spanned<T>) -> Origin {
        let line = self.text.get(..spanned.span().start).map_or(1, |before| before.matches('\n').count() + 1);
        Origin::File(self.path.to_owned(), line)
    }

    /// `key: wanted .., found ..` with the place in front.
    fn wrong<T>(
        &self,
        origin: &Origin,
        key: &str,
        wanted: &str,
        found: impl std::fmt::Display,
    ) -> Result<T, ConfigError> {
        let place = match origin {
            Origin::File(path, line) => format!("{}: line {line}: key '{key}'", path.display()),
            Origin::Flag(flag) => (*flag).to_owned(),
            Origin::Default => format!("key '{key}'"),
        };
        Err(ConfigError(format!("{place}: wanted {wanted}, found {found}")))
    }

    fn note(&mut self, key: impl Into<String>, value: impl Into<serde_json::Value>, origin: Origin) {
        self.settings.push(Setting { key: key.into(), value: value.into(), origin });
    }

    /// The flag's value, else the file's, else `None`.
    fn pick<T: Clone>(&self, flag: Option<(&'static str, T)>, file: Option<&Spanned<T>>) -> (Option<T>, Origin) {
        match (flag, file) {
            (Some((name, value)), _) => (Some(value), Origin::Flag(name)),
            (None, Some(spanned)) => (Some(spanned.get_ref().clone()), self.origin(spanned)),
            (None, None) => (None, Origin::Default),
        }
    }

    fn number(
        &mut self,
        key: &str,
        flag: Option<(&'static str, f64)>,
        file: Option<&Spanned<f64>>,
        default: Option<f64>,
        (least, most): (f64, f64),
    ) -> Result<Option<f64>, ConfigError> {
        let (value, origin) = self.pick(flag, file);
        if let Some(v) = value
            && !(least..=most).contains(&v)
        {
            return self.wrong(&origin, key, &format!("{least}..={most}"), v);
        }
        let value = value.or(default);
        self.note(key, value, origin);
        Ok(value)
    }

    fn count(
        &mut self,
        key: &str,
        file: Option<&Spanned<i64>>,
        default: Option<u32>,
        (least, most): (u32, u32),
    ) -> Result<Option<u32>, ConfigError> {
        let (value, origin) = self.pick(None, file);
        let value = match value {
            None => default,
            Some(v) => match u32::try_from(v) {
                Ok(v) if (least..=most).contains(&v) => Some(v),
                _ => return self.wrong(&origin, key, &format!("{least}..={most}"), v),
            },
        };
        self.note(key, value, origin);
        Ok(value)
    }

    fn model(&mut self, key: &str, file: Option<&Spanned<String>>, default: &str) -> Result<String, ConfigError> {
        let (value, origin) = self.pick(None, file);
        let value = value.unwrap_or_else(|| default.to_owned());
        if value.is_empty() || value.len() > 4096 || value.chars().any(char::is_control) {
            return self.wrong(&origin, key, "the name of a card, or the path of one", format_args!("{value:?}"));
        }
        // A name stays a name; a path is relative to the file it stands in.
        let value = match (value.contains('/') || value.ends_with(".toml"), &origin) {
            (true, Origin::File(..)) => self.beside(&value).to_string_lossy().into_owned(),
            _ => value,
        };
        self.note(key, value.as_str(), origin);
        Ok(value)
    }

    fn beside(&self, relative: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(relative)
    }

    fn labels(&mut self, key: &str, file: Option<&Spanned<Vec<String>>>) -> Result<Option<Vec<String>>, ConfigError> {
        let (value, origin) = self.pick(None, file);
        if let Some(labels) = &value {
            let bad = |l: &&String| l.is_empty() || l.len() > 64 || l.chars().any(char::is_control);
            if let Some(label) = labels.iter().find(bad) {
                return self.wrong(&origin, key, "labels of 1..=64 printable bytes", format_args!("{label:?}"));
            }
            if let Some((_, label)) = labels.iter().enumerate().find(|(i, l)| labels[..*i].contains(l)) {
                return self.wrong(&origin, key, "each label once", format_args!("{label:?} twice"));
            }
            if labels.is_empty() || labels.len() > 1000 {
                return self.wrong(&origin, key, "1..=1000 labels (leave the key out for all)", labels.len());
            }
        }
        self.note(key, value.clone(), origin);
        Ok(value)
    }

    fn name(&self, key: &str, file: &Spanned<String>) -> Result<String, ConfigError> {
        let name = file.get_ref();
        if !name_is_good(name) {
            return self.wrong(
                &self.origin(file),
                key,
                "1..=32 characters of A-Z a-z 0-9 _ . -",
                format_args!("{name:?}"),
            );
        }
        Ok(name.clone())
    }

    fn camera(
        &mut self,
        index: usize,
        file: &FileCamera,
        replaced: Option<&Typed>,
        taken: &[CameraConfig],
        fps: Option<f64>,
    ) -> Result<CameraConfig, ConfigError> {
        let name = self.name(&format!("camera[{index}].name"), &file.name)?;
        let origin = self.origin(&file.name);
        if taken.iter().any(|c| c.name == name) {
            return self.wrong(
                &origin,
                &format!("camera[{index}].name"),
                "unique names",
                format_args!("{name:?} twice"),
            );
        }
        let at = format!("camera.{name}");
        self.note(format!("{at}.name"), name.as_str(), origin);

        let key = format!("{at}.source");
        let text = file.source.get_ref();
        let written = match SourceSpec::parse(Path::new(text)) {
            _ if text.is_empty() || text.contains('\0') => {
                let wanted = "a device, file, folder, glob, \"-\" or \"synth:...\"";
                return self.wrong(&self.origin(&file.source), &key, wanted, format_args!("{text:?}"));
            }
            SourceSpec::Path(_) => SourceSpec::Path(self.beside(text)),
            other => other,
        };
        let (source, origin) = match replaced {
            Some(typed) => typed_source(typed),
            None => (written.clone(), self.origin(&file.source)),
        };
        self.note(key, source.to_string(), origin);

        // A device's mode means nothing for a recording. Written for a recording it is a mistake; written for the camera
        // whose source a flag replaced it is only out of use.
        let device = source.is_live();
        if !written.is_live() {
            for (key, origin) in [
                ("format", file.format.as_ref().map(|s| self.origin(s))),
                ("size", file.size.as_ref().map(|s| self.origin(s))),
            ] {
                if let Some(origin) = origin {
                    return self.wrong(&origin, &format!("{at}.{key}"), "the key with a device only", &written);
                }
            }
        }
        let (word, origin) = self.pick(None, file.format.as_ref());
        let format = match &word {
            None => CameraFormat::Auto,
            Some(word) => match CameraFormat::WORDS.iter().find(|(w, _)| w == word) {
                Some((_, format)) => *format,
                None => {
                    let wanted = CameraFormat::WORDS.map(|(w, _)| w).join(", ");
                    return self.wrong(
                        &origin,
                        &format!("{at}.format"),
                        &format!("one of {wanted}"),
                        format_args!("{word:?}"),
                    );
                }
            },
        };
        let (sides, size_origin) = self.pick(None, file.size.as_ref());
        let side = |v: i64| u32::try_from(v).ok().filter(|v| (16..=8192).contains(v));
        let size = match sides {
            None => None,
            Some([w, h]) => match (side(w), side(h)) {
                (Some(w), Some(h)) => Some(Size::new(w, h)),
                _ => {
                    let wanted = "[width, height] of 16..=8192";
                    return self.wrong(&size_origin, &format!("{at}.size"), wanted, format_args!("[{w}, {h}]"));
                }
            },
        };
        let (format, size) = if device { (format, size) } else { (CameraFormat::Auto, None) };
        if device {
            self.note(format!("{at}.format"), word.as_deref().unwrap_or("auto"), origin);
            self.note(format!("{at}.size"), size.map(|s| vec![s.width, s.height]), size_origin);
        }
        let fps = self.number(&format!("{at}.fps"), fps.map(|v| ("--fps", v)), file.fps.as_ref(), None, FPS)?;
        let detect = self.labels(&format!("{at}.detect"), file.detect.as_ref())?;
        let (faces, origin) = self.pick(None, file.faces.as_ref());
        let faces = faces.unwrap_or(true);
        self.note(format!("{at}.faces"), faces, origin);
        let zones = self.zones(&at, &file.zone)?;
        let lines = self.lines(&at, &file.line)?;
        Ok(CameraConfig { name, source, format, size, fps, detect, faces, zones, lines })
    }

    fn zones(&mut self, camera: &str, file: &[FileZone]) -> Result<Vec<ZoneConfig>, ConfigError> {
        let mut zones: Vec<ZoneConfig> = Vec::new();
        for (i, zone) in file.iter().enumerate() {
            let name = self.name(&format!("{camera}.zone[{i}].name"), &zone.name)?;
            let origin = self.origin(&zone.name);
            if zones.iter().any(|z| z.name == name) || i >= MAX_SHAPES {
                let wanted = format!("at most {MAX_SHAPES} zones with unique names");
                return self.wrong(
                    &origin,
                    &format!("{camera}.zone[{i}].name"),
                    &wanted,
                    format_args!("{name:?} as number {}", i + 1),
                );
            }
            let at = format!("{camera}.zone.{name}");
            let key = format!("{at}.points");
            let origin = self.origin(&zone.points);
            let given = zone.points.get_ref();
            if !(3..=MAX_POINTS).contains(&given.len()) {
                return self.wrong(&origin, &key, &format!("3..={MAX_POINTS} points"), given.len());
            }
            let points = given.iter().map(|p| self.point(&origin, &key, *p)).collect::<Result<Vec<_>, _>>()?;
            if let Err(what) = simple_polygon(&points) {
                return self.wrong(&origin, &key, "a simple polygon", what);
            }
            self.note(key, serde_json::json!(given), origin);
            let labels = self.labels(&format!("{at}.labels"), zone.labels.as_ref())?;
            let dwell_ms = self.count(&format!("{at}.dwell_ms"), zone.dwell_ms.as_ref(), None, (1, 86_400_000))?;
            zones.push(ZoneConfig { name, points, labels, dwell_ms: dwell_ms.map(u64::from) });
        }
        Ok(zones)
    }

    fn lines(&mut self, camera: &str, file: &[FileLine]) -> Result<Vec<LineConfig>, ConfigError> {
        let mut lines: Vec<LineConfig> = Vec::new();
        for (i, line) in file.iter().enumerate() {
            let name = self.name(&format!("{camera}.line[{i}].name"), &line.name)?;
            let origin = self.origin(&line.name);
            if lines.iter().any(|l| l.name == name) || i >= MAX_SHAPES {
                let wanted = format!("at most {MAX_SHAPES} lines with unique names");
                return self.wrong(
                    &origin,
                    &format!("{camera}.line[{i}].name"),
                    &wanted,
                    format_args!("{name:?} as number {}", i + 1),
                );
            }
            let at = format!("{camera}.line.{name}");
            let mut ends = [[0.0; 2]; 2];
            for (end, (key, value)) in ends.iter_mut().zip([("from", &line.from), ("to", &line.to)]) {
                let (key, origin) = (format!("{at}.{key}"), self.origin(value));
                *end = self.point(&origin, &key, *value.get_ref())?;
                self.note(key, serde_json::json!(value.get_ref()), origin);
            }
            let [from, to] = ends;
            if from == to {
                return self.wrong(
                    &self.origin(&line.to),
                    &format!("{at}.to"),
                    "another point than 'from'",
                    format_args!("{to:?}"),
                );
            }
            let labels = self.labels(&format!("{at}.labels"), line.labels.as_ref())?;
            lines.push(LineConfig { name, from, to, labels });
        }
        Ok(lines)
    }

    fn point(&self, origin: &Origin, key: &str, [x, y]: [f64; 2]) -> Result<[f32; 2], ConfigError> {
        if (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) {
            Ok([x as f32, y as f32])
        } else {
            self.wrong(origin, key, "points of 0..=1 of the frame", format_args!("[{x}, {y}]"))
        }
    }
}

/// `[A-Za-z0-9_.-]{1,32}`
fn name_is_good(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Twice the area of the triangle, positive when `c` lies to the right of the way from `a` to `b` (y points down).
fn turn(a: [f32; 2], b: [f32; 2], c: [f32; 2]) -> f64 {
    let [a, b, c] = [a, b, c].map(|p| p.map(f64::from));
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// Whether two closed segments share a point.
fn touch(a: [f32; 2], b: [f32; 2], c: [f32; 2], d: [f32; 2]) -> bool {
    let within =
        |p: [f32; 2], q: [f32; 2], r: [f32; 2]| (0..2).all(|k| r[k] >= p[k].min(q[k]) && r[k] <= p[k].max(q[k]));
    let (t1, t2, t3, t4) = (turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b));
    (t1 * t2 < 0.0 && t3 * t4 < 0.0)
        || (t1 == 0.0 && within(a, b, c))
        || (t2 == 0.0 && within(a, b, d))
        || (t3 == 0.0 && within(c, d, a))
        || (t4 == 0.0 && within(c, d, b))
}

/// No edge crosses or touches another but its neighbours at their common corner, and there is an area.
fn simple_polygon(points: &[[f32; 2]]) -> Result<(), String> {
    let n = points.len();
    let edge = |i: usize| (points[i], points[(i + 1) % n]);
    // First, because an edge of no length also touches its neighbours, which would be the more puzzling message.
    if let Some(i) = (0..n).find(|i| points[*i] == points[(i + 1) % n]) {
        return Err(format!("point {} twice in a row", i + 1));
    }
    for i in 0..n {
        let (a, b) = edge(i);
        let c = points[(i + 2) % n];
        let back = f64::from(b[0] - a[0]) * f64::from(c[0] - b[0]) + f64::from(b[1] - a[1]) * f64::from(c[1] - b[1]);
        if turn(a, b, c) == 0.0 && back < 0.0 {
            return Err(format!("an edge that runs back at point {}", (i + 1) % n + 1));
        }
        for j in i + 2..n {
            // The last edge ends where the first begins.
            if i == 0 && j == n - 1 {
                continue;
            }
            let (c, d) = edge(j);
            if touch(a, b, c, d) {
                return Err(format!("edges {} and {} that cross or touch", i + 1, j + 1));
            }
        }
    }
    let area: f64 = (0..n).map(|i| turn([0.0, 0.0], points[i], points[(i + 1) % n])).sum();
    if area.abs() < 1e-6 { Err("no area".into()) } else { Ok(()) }
}

fn typed_source(typed: &Typed) -> (SourceSpec, Origin) {
    match typed {
        Typed::Camera(device) => (SourceSpec::Device(device.clone()), Origin::Flag("--camera")),
        Typed::Source(path) => (SourceSpec::parse(path), Origin::Flag("--source")),
    }
}

/// A name for a source that has none: the file's stem, the device's name, `stdin`; made unique with -2, -3, ..
fn default_name(source: &SourceSpec, taken: &[CameraConfig]) -> String {
    let raw = match source {
        SourceSpec::Stdin => "stdin".to_owned(),
        SourceSpec::Synth(_) => "synth".to_owned(),
        SourceSpec::Device(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        SourceSpec::Path(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let clean: String =
        raw.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).take(32).collect();
    // A name of underscores only (`*.jpg`) says nothing.
    let clean = if clean.chars().all(|c| "_.-".contains(c)) { "source".to_owned() } else { clean };
    let free = |name: &str| taken.iter().all(|c| c.name != name);
    if free(&clean) {
        return clean;
    }
    (2..=MAX_CAMERAS + 1)
        .map(|n| {
            let tail = format!("-{n}");
            let head: String = clean.chars().take(32 - tail.len()).collect();
            head + &tail
        })
        .find(|name| free(name))
        .unwrap_or(clean)
}

impl Config {
    /// The meaning of a command line; reads the file that `--config` names.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, is larger than 1 MiB, is not UTF-8 or not as the contract says, or
    /// flags that contradict it.
    pub fn load(args: &RunArgs) -> Result<Self, ConfigError> {
        match &args.config {
            None => Self::resolve(args, None),
            Some(path) => Self::resolve(args, Some((path, &read(path)?))),
        }
    }

    /// As [`Config::load`], with the file's path and text given.
    ///
    /// # Errors
    /// As there.
    pub fn resolve(args: &RunArgs, file: Option<(&Path, &str)>) -> Result<Self, ConfigError> {
        let (path, text) = file.unwrap_or((Path::new(""), ""));
        let file: File =
            toml::from_str(text).map_err(|e| ConfigError(format!("{}: {}", path.display(), toml_line(text, &e))))?;
        let mut r = Resolver { path, text, settings: Vec::new() };
        let cameras = cameras(&mut r, args, &file)?;

        let model = r.model("objects.model", file.objects.model.as_ref(), "ssdlite-mobilenet-v2")?;
        let score = r.number("objects.score", None, file.objects.score.as_ref(), None, (0.01, 1.0))?;
        let detector = r.model("faces.detector", file.faces.detector.as_ref(), "yunet")?;
        let embedder = r.model("faces.embedder", file.faces.embedder.as_ref(), "sface")?;
        let gallery = match (&args.gallery, &file.faces.gallery) {
            (Some(path), _) => (Some(path.clone()), Origin::Flag("--gallery")),
            (None, Some(spanned)) if spanned.get_ref().is_empty() || spanned.get_ref().contains('\0') => {
                let found = format!("{:?}", spanned.get_ref());
                return r.wrong(&r.origin(spanned), "faces.gallery", "a path", found);
            }
            (None, Some(spanned)) => (Some(r.beside(spanned.get_ref())), r.origin(spanned)),
            (None, None) => (None, Origin::Default),
        };
        r.note("faces.gallery", gallery.0.as_ref().map(|p| p.to_string_lossy().into_owned()), gallery.1);
        let threshold = r.number("faces.match", None, file.faces.match_threshold.as_ref(), Some(0.45), (0.0, 1.0))?;
        let min_eye_px = r.count("faces.min_eye_px", file.faces.min_eye_px.as_ref(), Some(24), (4, 512))?;

        let format = match (args.format, &file.output.format) {
            (Some(format), _) => (format, Origin::Flag("--format")),
            (None, Some(spanned)) => {
                let origin = r.origin(spanned);
                match Format::parse(spanned.get_ref()) {
                    Ok(format) => (format, origin),
                    Err(what) => {
                        let Origin::File(path, line) = origin else { return Err(ConfigError(what)) };
                        return Err(ConfigError(format!(
                            "{}: line {line}: key 'output.format': {what}",
                            path.display()
                        )));
                    }
                }
            }
            (None, None) => (Format::Native, Origin::Default),
        };
        r.note("output.format", format.0.word(), format.1);
        let rate =
            r.count("output.bytes_per_second", file.output.bytes_per_second.as_ref(), Some(4096), (256, 1 << 20))?;
        let stats = r.count("output.stats_every_s", file.output.stats_every_s.as_ref(), Some(60), (1, 86_400))?;
        let run = run_config(&mut r, args, &file.run, &cameras)?;
        Ok(Self {
            cameras,
            objects: ObjectsConfig { model, score: score.map(|s| s as f32) },
            faces: FacesConfig {
                detector,
                embedder,
                gallery: gallery.0,
                match_threshold: threshold.map_or(0.45, |t| t as f32),
                min_eye_px: min_eye_px.unwrap_or(24),
            },
            output: OutputConfig {
                format: format.0,
                bytes_per_second: rate.unwrap_or(4096),
                stats_every_s: stats.unwrap_or(60),
            },
            run,
            settings: r.settings,
        })
    }

    /// Every key, its value and its origin.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// SHA-256 of the effective configuration: one JSON object of all keys and values, keys sorted. 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        // serde_json's map is sorted by key (its `preserve_order` feature is off).
        let object: std::collections::BTreeMap<&str, &serde_json::Value> =
            self.settings.iter().map(|s| (s.key.as_str(), &s.value)).collect();
        hex(&sha2::Sha256::digest(serde_json::to_vec(&object).unwrap_or_default()))
    }

    /// The table of `config --explain`: key, value, origin.
    pub fn explain(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .settings
            .iter()
            .map(|s| [s.key.clone(), s.value.to_string(), crate::cli::one_line(s.origin.to_string().as_ref())])
            .collect();
        let width = |k: usize| rows.iter().map(|r| r[k].chars().count()).max().unwrap_or(0);
        let (w0, w1) = (width(0), width(1).min(60));
        let mut text: String = rows.iter().map(|[k, v, o]| format!("{k:w0$}  {v:w1$}  {o}\n")).collect();
        if self.cameras.is_empty() {
            text.push_str("(no camera named: the first one that answers)\n");
        }
        text.push_str(&format!("config_sha256 {}\n", self.sha256()));
        text
    }
}

fn cameras(r: &mut Resolver<'_>, args: &RunArgs, file: &File) -> Result<Vec<CameraConfig>, ConfigError> {
    let total = args.inputs.len().max(file.camera.len());
    if total > MAX_CAMERAS {
        return Err(ConfigError(format!(
            "{}: wanted at most {MAX_CAMERAS} cameras, found {total}",
            if args.inputs.len() == total { "--camera and --source".into() } else { r.path.display().to_string() }
        )));
    }
    let mut cameras: Vec<CameraConfig> = Vec::new();
    match (args.inputs.as_slice(), file.camera.as_slice()) {
        ([], written) => {
            for (i, camera) in written.iter().enumerate() {
                let camera = r.camera(i, camera, None, &cameras, args.fps)?;
                cameras.push(camera);
            }
        }
        (typed, []) => {
            for typed in typed {
                let (source, origin) = typed_source(typed);
                let name = default_name(&source, &cameras);
                let at = format!("camera.{name}");
                r.note(format!("{at}.name"), name.as_str(), Origin::Default);
                r.note(format!("{at}.source"), source.to_string(), origin);
                let fps = r.number(&format!("{at}.fps"), args.fps.map(|v| ("--fps", v)), None, None, FPS)?;
                r.note(format!("{at}.detect"), serde_json::Value::Null, Origin::Default);
                r.note(format!("{at}.faces"), true, Origin::Default);
                cameras.push(CameraConfig {
                    name,
                    source,
                    format: CameraFormat::Auto,
                    size: None,
                    fps,
                    detect: None,
                    faces: true,
                    zones: Vec::new(),
                    lines: Vec::new(),
                });
            }
        }
        ([typed], [camera]) => cameras.push(r.camera(0, camera, Some(typed), &[], args.fps)?),
        (typed, written) => {
            return Err(ConfigError(format!(
                "{}: {} [[camera]] sections and {} --camera or --source: name cameras in one place, or one in each (the flag then replaces that camera's source)",
                r.path.display(),
                written.len(),
                typed.len()
            )));
        }
    }
    if cameras.iter().filter(|c| c.source == SourceSpec::Stdin).count() > 1 {
        return Err(ConfigError("source '-': wanted at most one camera on stdin, found several".into()));
    }
    Ok(cameras)
}

fn run_config(
    r: &mut Resolver<'_>,
    args: &RunArgs,
    file: &FileRun,
    cameras: &[CameraConfig],
) -> Result<RunConfig, ConfigError> {
    let threads = match (args.threads, &file.threads) {
        (Some(count), _) => (count, Origin::Flag("--threads")),
        (None, None) => (None, Origin::Default),
        (None, Some(spanned)) => {
            let origin = r.origin(spanned);
            let count = match spanned.get_ref() {
                toml::Value::String(word) if word == "auto" => None,
                toml::Value::Integer(n) if (i64::from(THREADS.0)..=i64::from(THREADS.1)).contains(n) => Some(*n as u32),
                other => {
                    let wanted = format!("{}..={} or \"auto\"", THREADS.0, THREADS.1);
                    let found = other.to_string().replace('\n', " ");
                    return r.wrong(&origin, "run.threads", &wanted, found);
                }
            };
            (count, origin)
        }
    };
    r.note("run.threads", threads.0.map_or(serde_json::json!("auto"), Into::into), threads.1);

    let max_cpu = match &file.max_cpu {
        None => (None, Origin::Default),
        Some(spanned) => {
            let origin = r.origin(spanned);
            let cores = match spanned.get_ref() {
                toml::Value::Float(cores) => *cores,
                toml::Value::Integer(cores) => *cores as f64,
                _ => f64::NAN,
            };
            if !(0.05..=64.0).contains(&cores) {
                let found = spanned.get_ref().to_string().replace('\n', " ");
                return r.wrong(&origin, "run.max_cpu", "0.05..=64 (cores)", found);
            }
            (Some(cores), origin)
        }
    };
    r.note("run.max_cpu", max_cpu.0.map_or(serde_json::json!("unlimited"), Into::into), max_cpu.1);
    let (sysfs, origin) = r.pick(None, file.sysfs.as_ref());
    let sysfs = sysfs.unwrap_or_else(|| "/sys".to_owned());
    r.note("run.sysfs", sysfs.clone(), origin);

    let (word, origin) = r.pick(None, file.attention.as_ref());
    let word = word.as_deref().unwrap_or(Attention::WORDS[0].0);
    let Some((_, attention)) = Attention::WORDS.iter().find(|(w, _)| *w == word) else {
        let wanted = Attention::WORDS.map(|(w, _)| w).join(" or ");
        return r.wrong(&origin, "run.attention", &wanted, format_args!("{word:?}"));
    };
    r.note("run.attention", word, origin);

    // Flags that only a recording obeys must have one to speak to.
    let recorded = cameras.iter().any(|c| !c.source.is_live());
    for (flag, given) in [("--start", args.start.is_some()), ("--pace", args.pace.is_some())] {
        if given && !recorded {
            return Err(ConfigError(format!("{flag}: wanted a file source (--source), found only cameras: remove it")));
        }
    }
    let flag = |name: &'static str, given: bool| if given { Origin::Flag(name) } else { Origin::Default };
    let start = args.start.unwrap_or(Timestamp::UNIX_EPOCH);
    r.note("run.start", start.to_string(), flag("--start", args.start.is_some()));
    let pace = args.pace.unwrap_or_default();
    let word = if pace == Pace::Realtime { "realtime" } else { "fast" };
    r.note("run.pace", word, flag("--pace", args.pace.is_some()));
    r.note("run.deterministic", args.deterministic, flag("--deterministic", args.deterministic));
    r.note("run.seal", !args.no_seal, flag("--no-seal", args.no_seal));
    Ok(RunConfig {
        threads: threads.0.map(|n| n as usize),
        max_cpu: max_cpu.0,
        sysfs: sysfs.into(),
        attention: *attention,
        start,
        pace,
        deterministic: args.deterministic,
        seal: !args.no_seal,
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let wrong = |what: String| ConfigError(format!("{}: {what}", path.display()));
    let unreadable = |e: std::io::Error| wrong(format!("cannot be read: {e}"));
    // Opened before it is asked for its kind; a pipe would make the opening wait for a writer, so the kind comes first.
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(wrong("wanted a file, found a folder or device".into()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(format!(
            "wanted at most {MAX_FILE_BYTES} bytes, found {}",
            meta.len().max(bytes.len() as u64)
        )));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..good].iter().filter(|b| **b == b'\n').count() + 1;
        wrong(format!("line {line}: wanted UTF-8 text, found other bytes"))
    })
}
