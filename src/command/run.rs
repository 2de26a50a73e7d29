//! `porchlight run`: opens everything, says hello, runs the pipeline.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::Digest;

use super::Failure;
use crate::cli::{Pace, RunArgs};
use crate::config::{CameraConfig, Config, SourceSpec};
use crate::decode::Limits;
use crate::detection::ClassId;
use crate::emit::{Clock, Door, Ended, Hello, HelloCamera, HelloModel};
use crate::event::line::Names;
use crate::event::{LineNo, ZoneNo};
use crate::exit::Exit;
use crate::flow::Ledger;
use crate::frame::{CameraId, PixelFormat};
use crate::labels::{Labels, PERSON};
use crate::model::card::{self, Card};
use crate::model::detector::Detector;
use crate::model::infer::Runtime;
use crate::pipeline::{self, Camera, Parts};
use crate::scene::places::{Line, Places, Zone};
use crate::source::camera::{self, CameraSource, Wish};
use crate::source::pace::Pace as Paced;
use crate::source::{FrameSource, SourceError, replay};
use crate::watch::Meter;

fn failure(exit: Exit, line: impl std::fmt::Display) -> Failure {
    Failure::new(exit, line.to_string())
}

/// Runs until the sources end, a signal comes, or the reader of stdout goes.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let config = Config::load(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    listen_for_signals(&stop).map_err(|e| failure(Exit::Internal, format_args!("signals: {e}")))?;

    // Models before cameras: a wrong card must not cost the wait for a device.
    let runtime = Runtime::load()?;
    let threads = config.run.thread_count();
    let mut labels = Labels::default();
    let load = |name: &str| card::find(name).and_then(|dir| Card::load(&dir));
    let objects_card = load(&config.objects.model)?;
    let faces_wanted = config.cameras.is_empty() || config.cameras.iter().any(|c| c.faces);
    let faces_card = if faces_wanted { Some(load(&config.faces.detector)?) } else { None };
    let mut models = Vec::new();
    let mut detector = |card: Card, threads, labels: &mut Labels| {
        models.push(HelloModel { name: card.name.clone(), sha256: card.sha256.clone() });
        let mut detector = Detector::load(&runtime, card, threads, labels)?;
        detector.warm_up()?;
        Ok::<_, crate::model::ModelError>(detector)
    };
    let object_score = config.objects.score.unwrap_or(objects_card.score);
    let objects = detector(objects_card, threads, &mut labels)?;
    let faces = match faces_card {
        // One thread: up to 640 pixels a second one gains nothing, and it runs beside the objects of the next frame.
        Some(card) => Some(detector(card, 1, &mut labels)?),
        None => None,
    };
    let person_class = labels.id(PERSON);

    let (cameras, hello_cameras) = open_all(&config, &labels, &stop)?;
    if stop.load(Ordering::Acquire) && cameras.is_empty() {
        return Ok(Exit::Done);
    }
    let live: Vec<bool> = cameras.iter().map(|c| c.source.info().live).collect();
    let start_ms = config.run.start.as_millisecond();
    let clock = |live: bool| if live { Clock::Live } else { Clock::Replay { start_ms } };
    let all_replay = !live.contains(&true);
    let config_sha256 = config.sha256();
    let boot = if all_replay { boot_of_replay(&config) } else { random_boot() };
    let ledgers: Arc<[Ledger]> = cameras.iter().map(|_| Ledger::default()).collect();
    let door = Door {
        hello: Hello { models, config_sha256, cameras: hello_cameras },
        names: Names::new(cameras.iter().map(|c| c.name.clone()).collect(), labels).with_places(
            config.cameras.iter().map(|c| c.zones.iter().map(|z| z.name.clone()).collect()).collect(),
            config.cameras.iter().map(|c| c.lines.iter().map(|l| l.name.clone()).collect()).collect(),
        ),
        clocks: live.iter().map(|&l| clock(l)).collect(),
        clock: clock(!all_replay),
        boot,
        deterministic: config.run.deterministic,
        format: config.output.format,
        bytes_per_second: config.output.bytes_per_second.into(),
        ledgers,
        meter: Meter::open(),
    };
    let parts = Parts {
        cameras,
        objects,
        object_score,
        faces,
        person_class,
        one_at_a_time: threads == 1,
        stats_every: Duration::from_secs(config.output.stats_every_s.into()),
        stop,
        door,
    };
    let outcome = pipeline::run(parts, Stdout, reader_gone);
    Ok(match outcome.writing {
        _ if outcome.panicked => Exit::Internal,
        Ended::Failed(e) => return Err(failure(Exit::Internal, format_args!("stdout: cannot be written: {e}"))),
        Ended::ReaderGone => Exit::Done,
        Ended::Complete if outcome.nothing_decodable.is_some() => {
            let name = outcome.nothing_decodable.unwrap_or_default();
            return Err(failure(
                Exit::Source,
                format_args!("camera '{name}': not one of its frames is a picture: see `undecodable` in the last line"),
            ));
        }
        Ended::Complete if outcome.model_failed => Exit::Model,
        Ended::Complete if outcome.source_failed => Exit::Source,
        Ended::Complete => Exit::Done,
    })
}

/// SIGINT and SIGTERM end the run in order; a second one at once.
fn listen_for_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Internal.code().into(), Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

fn open_all(
    config: &Config,
    labels: &Labels,
    stop: &Arc<AtomicBool>,
) -> Result<(Vec<Camera>, Vec<HelloCamera>), Failure> {
    let mut cameras = Vec::new();
    let mut hello = Vec::new();
    let source_failure = |e: &SourceError| match e.kind() {
        crate::source::Kind::Usage => failure(Exit::Usage, e),
        _ => failure(Exit::Source, e),
    };
    if config.cameras.is_empty() {
        let wish = Wish::default();
        let source = camera::first(CameraId(0), &wish, &Limits::default()).map_err(|e| source_failure(&e))?;
        let name = std::path::Path::new(&source.info().name)
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or("camera")
            .to_owned();
        hello.push(describe(&name, source.info()));
        cameras.push(Camera {
            name,
            source: Box::new(source),
            wanted: None,
            faces: true,
            single: false,
            places: Places::default(),
        });
    }
    for (index, camera) in config.cameras.iter().enumerate() {
        let id = CameraId(index as u8);
        let known =
            |key: &str, names: &Option<Vec<String>>| known_labels(labels, config, camera, key, names.as_deref());
        let wanted = known("detect", &camera.detect)?;
        let places = places(camera, known)?;
        let source = match open_one(config, camera, id, stop) {
            Ok(source) => source,
            Err(e) if e.kind() == crate::source::Kind::Stopped => return Ok((Vec::new(), Vec::new())),
            Err(e) => return Err(source_failure(&e)),
        };
        hello.push(describe(&camera.name, source.info()));
        let single = match &camera.source {
            SourceSpec::Path(path) => replay::pictures(&path.to_string_lossy()).is_ok_and(|p| p.len() == 1),
            _ => false,
        } && source.info().format == PixelFormat::Still;
        cameras.push(Camera { name: camera.name.clone(), source, wanted, faces: camera.faces, single, places });
    }
    Ok((cameras, hello))
}

/// The ids of labels, which the models must know.
fn known_labels(
    labels: &Labels,
    config: &Config,
    camera: &CameraConfig,
    key: &str,
    names: Option<&[String]>,
) -> Result<Option<Vec<ClassId>>, Failure> {
    let id = |name: &String| {
        labels.id(name).ok_or_else(|| {
            failure(
                Exit::Usage,
                format_args!(
                    "camera '{}': key '{key}': the model knows no label {name:?}: see `porchlight models info {}`",
                    camera.name, config.objects.model
                ),
            )
        })
    };
    names.map(|names| names.iter().map(id).collect()).transpose()
}

/// A camera's zones and lines, their labels resolved.
fn places(
    camera: &CameraConfig,
    known: impl Fn(&str, &Option<Vec<String>>) -> Result<Option<Vec<ClassId>>, Failure>,
) -> Result<Places, Failure> {
    let (mut zones, mut lines) = (Vec::new(), Vec::new());
    for (no, zone) in (0u8..).zip(&camera.zones) {
        let labels = known(&format!("zone.{}.labels", zone.name), &zone.labels)?;
        zones.push(Zone { no: ZoneNo(no), points: zone.points.clone(), labels, dwell_ms: zone.dwell_ms });
    }
    for (no, line) in (0u8..).zip(&camera.lines) {
        let labels = known(&format!("line.{}.labels", line.name), &line.labels)?;
        lines.push(Line { no: LineNo(no), from: line.from, to: line.to, labels });
    }
    Ok(Places::new(zones, lines))
}

fn open_one(
    config: &Config,
    camera: &CameraConfig,
    id: CameraId,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn FrameSource>, SourceError> {
    let limits = Limits::default();
    let spec = match &camera.source {
        SourceSpec::Device(path) => {
            let defaults = Wish::default();
            let wish = Wish {
                format: camera.format.pixel_format(),
                size: camera.size.unwrap_or(defaults.size),
                fps: camera.fps.unwrap_or(defaults.fps),
            };
            return Ok(Box::new(CameraSource::open(path, id, &wish, &limits)?));
        }
        SourceSpec::Path(path) => path.to_string_lossy().into_owned(),
        SourceSpec::Stdin => replay::STDIN.to_owned(),
        SourceSpec::Synth(rest) => format!("synth:{rest}"),
    };
    let asked = || stop.load(Ordering::Acquire);
    let options = replay::Options { fps: camera.fps, camera: id, limits, stop: &asked };
    let source = replay::open(&spec, &options)?;
    Ok(match config.run.pace {
        Pace::Fast => source,
        Pace::Realtime => Box::new(Paced::new(source)),
    })
}

fn describe(name: &str, info: &crate::source::SourceInfo) -> HelloCamera {
    let size = info.size.unwrap_or_default();
    HelloCamera {
        name: name.to_owned(),
        // The contract bounds names; a path may be longer, and its end says more than its beginning.
        source: tail(&info.name, 64),
        width: size.width.into(),
        height: size.height.into(),
        fps: info.fps,
        format: match info.format {
            PixelFormat::Still => "still",
            other => other.name(),
        },
    }
}

/// The last `n` characters.
fn tail(text: &str, n: usize) -> String {
    let skip = text.chars().count().saturating_sub(n);
    text.chars().skip(skip).collect()
}

/// The same inputs give the same name of the run: the configuration (but for how fast and with how many threads it runs,
/// which changes nothing that is said) and, of each file, its name, length and beginning.
fn boot_of_replay(config: &Config) -> u64 {
    /// Enough to tell two recordings apart without reading them.
    const BEGINNING: u64 = 1 << 20;
    let mut hash = sha2::Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for setting in config.settings() {
        let key = setting.key.as_str();
        // A path may be spelled in several ways; the file it leads to counts.
        let only_how = key.starts_with("run.") && key != "run.start";
        if !only_how && !key.ends_with(".source") {
            hash.update(format!("{key}={}\n", setting.value));
        }
    }
    for camera in &config.cameras {
        let SourceSpec::Path(path) = &camera.source else { continue };
        for file in replay::pictures(&path.to_string_lossy()).unwrap_or_else(|_| vec![path.clone()]) {
            hash.update(file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default());
            if let Ok(file) = std::fs::File::open(&file) {
                use std::io::Read;
                hash.update(file.metadata().map_or(0, |m| m.len()).to_le_bytes());
                let mut beginning = Vec::new();
                // What cannot be read has already been complained about, or will be.
                let _ = file.take(BEGINNING).read_to_end(&mut beginning);
                hash.update(&beginning);
            }
        }
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |boot, byte| boot << 8 | u64::from(*byte))
}

fn random_boot() -> u64 {
    let mut bytes = [0u8; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(n) if n == bytes.len() => u64::from_le_bytes(bytes),
        // Without randomness the time tells two runs apart.
        _ => crate::watch::now().0 ^ (crate::watch::utc_ms().unsigned_abs() << 20),
    }
}

/// stdout without the standard library's line buffer: a line is one call already.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(std::io::stdout().as_fd(), bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether whoever read our stdout has closed it.
fn reader_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(n) if n > 0 => fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
        _ => false,
    }
}
