//! `porchlight run`: the warden's side, which knows names and numbers, and the eye's, which opens models, is sealed, opens
//! its sources through the warden, says hello and runs the pipeline.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
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
use crate::event::{FaultReason, LineNo, ZoneNo};
use crate::exit::Exit;
use crate::face::embed::Embedder;
use crate::face::gallery::Gallery;
use crate::face::identity::Identity;
use crate::face::quality::Gate;
use crate::face::vault::Piece;
use crate::face::vote;
use crate::flow::Ledger;
use crate::frame::{CameraId, PixelFormat};
use crate::governor::Governor;
use crate::labels::{Labels, PERSON};
use crate::model::ModelError;
use crate::model::card::{self, Card, Task};
use crate::model::detector::Detector;
use crate::model::infer::{Arena, Runtime};
use crate::pipeline::{self, AskForNews, Camera, News, Parts};
use crate::scene::places::{Line, Places, Zone};
use crate::seal::gate::Words;
use crate::seal::phrases::Phrases;
use crate::seal::{Opened, SealError, Wanted};
use crate::source::camera::{self, CameraSource, Wish};
use crate::source::opener::PathOpener;
use crate::source::pace::Pace as Paced;
use crate::source::replay::{self, Found};
use crate::source::{FrameSource, SourceError};
use crate::warden::desk::{Desk, FromWarden, Question};
use crate::warden::{self, Bound, Holding, Watched};
use crate::watch::Meter;

fn failure(exit: Exit, line: impl std::fmt::Display) -> Failure {
    Failure::new(exit, line.to_string())
}

/// Starts an eye and watches over it until the sources end, a signal comes, or the reader of stdout goes.
pub(super) fn run(args: &RunArgs, typed: &[OsString]) -> Result<Exit, Failure> {
    let config = Config::load(args)?;
    let wanted = wanted(&config);
    if wanted == Wanted::Nothing {
        super::complain("warning: --no-seal: nothing keeps this run's pixels from being sent or stored");
    }
    let cap = config.output.bytes_per_second.saturating_mul(config.cameras.len().max(1) as u32);
    let all_live = config.cameras.iter().all(|c| is_live(&config, &c.source));
    let bound = match all_live {
        // Twice the cap that an honest eye keeps, for the lines that it does not touch.
        true => Bound { burst: 64 * 1024, per_second: cap.saturating_mul(2).saturating_add(2048) },
        // Whoever replays a file has the file.
        false => Bound { burst: 1 << 20, per_second: cap.saturating_mul(2).max(1 << 20) },
    };
    if config.faces.gallery.is_some() {
        // The gatekeeper, a copy of this process, reads it for its names.
        super::faces::keep_no_core();
    }
    let (names, format) = (names(&config), config.output.format);
    let spoken = spoken(&config);
    let run = warden::Run {
        arguments: typed.to_vec(),
        holdings: Box::new(move || holdings(&config)),
        names,
        phrases: (all_live && wanted == Wanted::Seal).then(|| Phrases::new(spoken)),
        format,
        bound,
        replaceable: all_live,
        wanted,
    };
    warden::run(&run).map_err(|e| Failure::new(e.exit(), e.to_string()))
}

fn wanted(config: &Config) -> Wanted {
    if config.run.seal { Wanted::Seal } else { Wanted::Nothing }
}

/// Whether a source goes on where it left off when another eye takes over: a device, or a pattern played like one.
fn is_live(config: &Config, source: &SourceSpec) -> bool {
    source.is_live() || (matches!(source, SourceSpec::Synth(_)) && config.run.pace == Pace::Realtime)
}

/// What the gatekeeper may hand over, in the order of the cameras. What cannot be found is for the eye to complain about.
fn holdings(config: &Config) -> Vec<Holding> {
    let gallery =
        config.faces.gallery.as_ref().map(|path| Holding::Gallery(Watched::new(super::faces::vault_at(path))));
    if config.cameras.is_empty() {
        let any = Holding::Devices(camera::nodes().into_iter().map(PathOpener::new).collect());
        return std::iter::once(any).chain(gallery).collect();
    }
    let one = |source: &SourceSpec| match source {
        SourceSpec::Device(path) => Holding::Devices(vec![PathOpener::new(path)]),
        SourceSpec::Path(path) => Holding::Files(replay::pictures(&path.to_string_lossy()).unwrap_or_default()),
        SourceSpec::Stdin => Holding::Stdin,
        SourceSpec::Synth(_) => Holding::Nothing,
    };
    config.cameras.iter().map(|c| one(&c.source)).chain(gallery).collect()
}

/// Asks the gatekeeper for a changed gallery, and reads it; one that cannot be read leaves the old one in force.
fn news(config: &Config, desk: &Desk, embedder: [u8; 32]) -> Option<AskForNews> {
    let vault = super::faces::vault_at(config.faces.gallery.as_ref()?);
    let camera = u8::try_from(config.cameras.len().max(1)).ok()?;
    let desk = desk.clone();
    Some(Box::new(move || {
        let ask = |piece: Piece| desk.ask(Question { camera, item: piece as u32 }).map(std::fs::File::from);
        let mut changed = match ask(Piece::Gallery) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Some(News::Deleted),
            Err(_) => return None,
        };
        let opened = vault.open_with(&embedder, &mut |piece| match piece {
            Piece::Gallery => changed.take().ok_or(std::io::ErrorKind::NotFound.into()),
            other => ask(other),
        });
        // The gatekeeper has read it too, and said what is wrong with it.
        opened.ok().map(News::Changed)
    }))
}

/// Every name and hash that a line of this run may hold.
fn names(config: &Config) -> Words {
    let mut words = Words::default();
    words.name(env!("CARGO_PKG_VERSION"));
    words.hash(&config.sha256());
    words.name(NO_FORMAT);
    for format in PixelFormat::ALL {
        words.name(format.name());
    }
    // What cannot be loaded is for the eye to complain about.
    for card in [&config.objects.model, &config.faces.detector, &config.faces.embedder] {
        let Ok(card) = card::find(card).and_then(|dir| Card::load(&dir)) else { continue };
        words.name(&card.name);
        words.hash(&card.sha256);
        let used = card.task != Task::Embed || config.faces.gallery.is_some();
        if let Some(warning) = card.licence_warning().filter(|_| used) {
            super::complain(&warning);
        }
        card.labels.iter().flatten().for_each(|l| words.name(l));
    }
    for camera in &config.cameras {
        words.name(&camera.name);
        words.name(&tail(&camera.source.to_string(), SOURCE_LENGTH));
        camera.zones.iter().for_each(|z| words.name(&z.name));
        camera.lines.iter().for_each(|l| words.name(&l.name));
    }
    if config.cameras.is_empty() {
        for node in camera::nodes() {
            words.name(&name_of_node(&node));
            words.name(&tail(&node.to_string_lossy(), SOURCE_LENGTH));
        }
    }
    words
}

/// Names of cameras and of what they are plugged into, as complaints have them.
fn spoken(config: &Config) -> Vec<String> {
    let node = |node: PathBuf| [name_of_node(&node), node.to_string_lossy().into_owned()];
    match config.cameras.is_empty() {
        true => camera::nodes().into_iter().flat_map(node).collect(),
        false => config.cameras.iter().flat_map(|c| [c.name.clone(), c.source.to_string()]).collect(),
    }
}

/// The format of a camera that is not there.
const NO_FORMAT: &str = "unknown";

/// The contract bounds names; a path may be longer, and its end says more than its beginning.
const SOURCE_LENGTH: usize = 64;

fn name_of_node(node: &Path) -> String {
    node.file_name().and_then(|n| n.to_str()).unwrap_or("camera").to_owned()
}

/// What needs files: everything but the sources.
struct Loaded {
    config: Config,
    runtime: Runtime,
    objects: (Card, Vec<u8>),
    faces: Option<(Card, Vec<u8>)>,
    known: Option<Known>,
    threads: usize,
    meter: Meter,
    governor: Governor,
    found: Vec<Found>,
    /// Where a camera is looked for when none is named.
    nodes: Vec<PathBuf>,
    boot: u64,
}

/// Who is known, and what tells them apart.
struct Known {
    gallery: Gallery,
    embedder: (Card, Vec<u8>),
}

/// What the models have become.
struct Ready {
    config: Config,
    objects: Vec<Detector>,
    object_score: f32,
    faces: Option<Detector>,
    identity: Option<(Identity, Embedder)>,
    persons: Vec<String>,
    models: Vec<HelloModel>,
    labels: Labels,
    meter: Meter,
    governor: Governor,
    found: Vec<Found>,
    /// Where a camera is looked for when none is named.
    nodes: Vec<PathBuf>,
    boot: u64,
}

/// The process that sees pixels: opens its models, is sealed, opens its sources through the warden, runs.
pub(super) fn eye(args: &RunArgs, desk: &Desk) -> Result<Exit, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    listen_for_signals(&stop).map_err(|e| failure(Exit::Internal, format_args!("signals: {e}")))?;
    let seal_failure = |e: SealError| failure(Exit::Seal, e);
    let loaded = load(args)?;
    let wanted = wanted(&loaded.config);
    let confined = Opened::new(loaded, wanted).confine().map_err(seal_failure)?;
    let (sealed, ready) = confined.warm(warm)?.seal().map_err(seal_failure)?;

    let Ready {
        config,
        objects,
        object_score,
        faces,
        identity,
        persons,
        models,
        labels,
        meter,
        governor,
        found,
        nodes,
        boot,
    } = ready;
    let person_class = labels.id(PERSON);
    let (cameras, hello_cameras) = open_all(&config, &labels, (found, &nodes), desk, &stop)?;
    if stop.load(Ordering::Acquire) && cameras.is_empty() {
        return Ok(Exit::Done);
    }
    let live: Vec<bool> = cameras.iter().map(|c| c.source.info().live).collect();
    let start_ms = config.run.start.as_millisecond();
    let clock = |live: bool| if live { Clock::Live } else { Clock::Replay { start_ms } };
    let all_replay = !live.contains(&true);
    let ledgers: Arc<[Ledger]> = cameras.iter().map(|_| Ledger::default()).collect();
    let door = Door {
        hello: Hello { models, config_sha256: config.sha256(), cameras: hello_cameras },
        names: Names::new(cameras.iter().map(|c| c.name.clone()).collect(), labels).with_persons(persons).with_places(
            config.cameras.iter().map(|c| c.zones.iter().map(|z| z.name.clone()).collect()).collect(),
            config.cameras.iter().map(|c| c.lines.iter().map(|l| l.name.clone()).collect()).collect(),
        ),
        clocks: live.iter().map(|&l| clock(l)).collect(),
        clock: clock(!all_replay),
        boot,
        after_death: after_death(),
        deterministic: config.run.deterministic,
        bytes_per_second: config.output.bytes_per_second.into(),
        ledgers,
        meter,
    };
    // A replay says the same bytes every time: with the gallery that it began with.
    let followed = identity.as_ref().filter(|_| !all_replay || config.run.pace == Pace::Realtime);
    let news = followed.and_then(|(identity, _)| news(&config, desk, identity.embedder()));
    let parts = Parts {
        cameras,
        objects,
        object_score,
        faces,
        identity,
        news,
        governor,
        person_class,
        every_frame: config.run.attention == crate::config::Attention::EveryFrame,
        stats_every: Duration::from_secs(config.output.stats_every_s.into()),
        stop,
        door,
    };
    let look_around = |well: bool| {
        if well {
            desk.alive();
        }
        reader_gone()
    };
    let outcome = pipeline::run(&sealed, parts, Stdout, look_around);
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

fn after_death() -> Option<FaultReason> {
    let word = std::env::var(warden::AFTER_DEATH).ok()?;
    Some(if word == FaultReason::Hung.word() { FaultReason::Hung } else { FaultReason::Died })
}

/// Everything that takes a file to open; starts no thread.
fn load(args: &RunArgs) -> Result<Loaded, Failure> {
    let config = Config::load(args)?;
    // Models before cameras: a wrong card must not cost the wait for a device.
    let runtime = Runtime::load()?;
    let load = |name: &str, key: &str, task: Task| {
        let card = card::find(name).and_then(|dir| Card::load(&dir))?;
        if card.task != task {
            let what = format!("{key}: wanted a model of task '{}', found task '{}'", task.name(), card.task.name());
            return Err(ModelError::Session { model: card.name, what });
        }
        let weights = card.verified_weights()?;
        Ok::<_, ModelError>((card, weights))
    };
    let objects = load(&config.objects.model, "objects.model", Task::Detect)?;
    let faces_wanted = config.cameras.is_empty() || config.cameras.iter().any(|c| c.faces);
    let faces = if faces_wanted { Some(load(&config.faces.detector, "faces.detector", Task::Face)?) } else { None };
    let known = match (&config.faces.gallery, &faces) {
        (Some(path), Some((detector, _))) => {
            if !detector.family.has_landmarks() {
                let what = "faces.detector: finds no landmarks, and without them nobody is recognised: wanted another with a gallery";
                return Err(ModelError::Session { model: detector.name.clone(), what: what.into() }.into());
            }
            let card = card::find(&config.faces.embedder).and_then(|dir| Card::load(&dir))?;
            super::faces::keep_no_core();
            // The gallery before the weights: a wrong key need not wait for them.
            let gallery = super::faces::vault_at(path).open(&super::faces::hash_of(&card)?)?;
            let weights = card.verified_weights()?;
            Some(Known { gallery, embedder: (card, weights) })
        }
        _ => None,
    };
    let found = config
        .cameras
        .iter()
        .map(|c| match &c.source {
            SourceSpec::Device(path) => must_exist(path).map(|()| Found::MadeUp),
            other => replay::find(&other.to_string()),
        })
        .collect::<Result<_, _>>()
        .map_err(|e| source_failure(&e))?;
    let replayed = !config.cameras.is_empty() && !config.cameras.iter().any(|c| c.source.is_live());
    let boot = if replayed && after_death().is_none() { boot_of_replay(&config) } else { random_boot() };
    let threads = config.run.thread_count();
    let nodes = if config.cameras.is_empty() { camera::nodes() } else { Vec::new() };
    let governor = Governor::open(config.run.max_cpu, &config.run.sysfs);
    let meter = Meter::below(&config.run.sysfs, governor.hot());
    Ok(Loaded { config, runtime, objects, faces, known, threads, meter, governor, found, nodes, boot })
}

/// What is not there now may be plugged in later, if its name is one that devices have.
fn must_exist(path: &Path) -> Result<(), SourceError> {
    let problem = if path.is_dir() {
        // It will never be a device, however long one waits.
        "wanted a video device, found a folder; check the path: cameras are below /dev"
    } else if path.starts_with("/dev/") || std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    } else {
        "no such device; check the path: cameras are below /dev"
    };
    Err(SourceError::Camera {
        name: path.to_string_lossy().into_owned(),
        doing: "open",
        problem: problem.to_owned(),
        kind: crate::source::Kind::Unusable,
    })
}

/// How many lookers have the session of the object model, and how many threads it computes with, a looker's own among them. Lookers beside
/// each other do more in the same time; threads inside the session answer sooner. A camera occupies two lookers at most, and mostly;
/// what is over goes into the session's pool, which they share.
fn arrangement(threads: usize, cameras: usize) -> (usize, usize) {
    let threads = threads.max(1);
    let lookers = threads.min(2 * cameras.max(1));
    (lookers, threads - lookers + 1)
}

/// Sessions from memory, each run once.
fn warm(loaded: Loaded) -> Result<Ready, Failure> {
    let Loaded { config, runtime, objects, faces, known, threads, meter, governor, found, nodes, boot } = loaded;
    let (lookers, inside) = arrangement(threads, config.cameras.len());
    runtime.lay_out_arena(lookers)?;
    let mut labels = Labels::default();
    let mut models = Vec::new();
    // As many detectors of one model as are to run beside each other; what they know is there once.
    let mut detectors = |(card, weights): (Card, Vec<u8>), count, threads| {
        models.push(HelloModel { name: card.name.clone(), sha256: card.sha256.clone() });
        let session = runtime.session_in(Arena::Common, &card.name, &weights, threads, &card.tensors)?;
        drop(weights);
        crate::seal::give_memory_back();
        let one = |_| Detector::new(card.clone(), Box::new(session.clone()), &mut labels);
        (0..count).map(one).collect::<Result<Vec<_>, ModelError>>()
    };
    let object_score = config.objects.score.unwrap_or(objects.0.score);
    // The greatest first: what loading it takes for a while is there for the others.
    let embedder = known.map(|Known { gallery, embedder: (card, weights) }| {
        let model = HelloModel { name: card.name.clone(), sha256: card.sha256.clone() };
        let session = runtime.session_in(Arena::Common, &card.name, &weights, 1, &card.tensors)?;
        drop(weights);
        crate::seal::give_memory_back();
        Ok::<_, Failure>((gallery, model, Embedder::new(card, Box::new(session))?))
    });
    let embedder = embedder.transpose()?;
    let mut objects = detectors(objects, lookers, inside)?;
    // One thread: up to 640 pixels a second one gains nothing, and it runs beside the objects of the next frame.
    let mut faces = faces.map(|f| detectors(f, 1, 1)).transpose()?.and_then(|mut all| all.pop());
    // Once all are loaded: what loading takes for a while would otherwise lie between what stays. One of those that share a session is
    // enough.
    objects.iter_mut().take(1).chain(&mut faces).try_for_each(Detector::warm_up)?;
    let (identity, persons) = match embedder {
        None => (None, Vec::new()),
        Some((gallery, model, embedder)) => {
            models.push(model);
            let gate = Gate::with_eyes(config.faces.min_eye_px);
            let votes = vote::Settings { threshold: config.faces.match_threshold, ..vote::Settings::default() };
            let persons = gallery.persons().iter().map(|p| p.name.clone()).collect();
            (Some((Identity::new(&gallery, gate, votes, crate::watch::utc_ms()), embedder)), persons)
        }
    };
    crate::seal::give_memory_back();
    Ok(Ready {
        config,
        objects,
        object_score,
        faces,
        identity,
        persons,
        models,
        labels,
        meter,
        governor,
        found,
        nodes,
        boot,
    })
}

/// SIGINT and SIGTERM end the run in order. Not a second one at once: whoever signals a whole control group reaches this process and
/// then the warden, which passes its own on; a person's second one the warden answers, by killing this process.
fn listen_for_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

fn source_failure(e: &SourceError) -> Failure {
    match e.kind() {
        crate::source::Kind::Usage => failure(Exit::Usage, e),
        _ => failure(Exit::Source, e),
    }
}

fn open_all(
    config: &Config,
    labels: &Labels,
    (found, nodes): (Vec<Found>, &[PathBuf]),
    desk: &Desk,
    stop: &Arc<AtomicBool>,
) -> Result<(Vec<Camera>, Vec<HelloCamera>), Failure> {
    let mut cameras = Vec::new();
    let mut hello = Vec::new();
    if config.cameras.is_empty() {
        let source = first_camera(nodes, desk).map_err(|e| source_failure(&e))?;
        let name = name_of_node(Path::new(&source.info().name));
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
    for (index, (camera, found)) in config.cameras.iter().zip(found).enumerate() {
        let id = CameraId(index as u8);
        let known =
            |key: &str, names: &Option<Vec<String>>| known_labels(labels, config, camera, key, names.as_deref());
        let wanted = known("detect", &camera.detect)?;
        let places = places(camera, known)?;
        let one_picture = found.paths().len() == 1;
        let source = match open_one(config, camera, found, id, desk, stop) {
            Ok(source) => source,
            Err(e) if e.kind() == crate::source::Kind::Stopped => return Ok((Vec::new(), Vec::new())),
            Err(e) => return Err(source_failure(&e)),
        };
        hello.push(describe(&camera.name, source.info()));
        let single = one_picture && source.info().format == PixelFormat::Still;
        cameras.push(Camera { name: camera.name.clone(), source, wanted, faces: camera.faces, single, places });
    }
    Ok((cameras, hello))
}

/// The first camera that answers, of the nodes that there were before the seal.
fn first_camera(nodes: &[PathBuf], desk: &Desk) -> Result<CameraSource, SourceError> {
    let mut tried = Vec::new();
    for (item, node) in (0..).zip(nodes) {
        let name = node.to_string_lossy().into_owned();
        let opener = FromWarden { desk: desk.clone(), question: Question { camera: 0, item } };
        let source =
            CameraSource::with_opener(&name, Box::new(opener), CameraId(0), &Wish::default(), &Limits::default());
        match source {
            Ok(source) if source.agreed().is_some() => return Ok(source),
            Ok(_) => tried.push((name, "it does not stream; `porchlight cameras` says more".to_owned())),
            Err(SourceError::Camera { problem, .. }) => tried.push((name, problem)),
            Err(error) => tried.push((name, error.to_string())),
        }
    }
    Err(SourceError::NoCamera { tried })
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
    found: Found,
    id: CameraId,
    desk: &Desk,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn FrameSource>, SourceError> {
    let limits = Limits::default();
    if let SourceSpec::Device(path) = &camera.source {
        let defaults = Wish::default();
        let wish = Wish {
            format: camera.format.pixel_format(),
            size: camera.size.unwrap_or(defaults.size),
            fps: camera.fps.unwrap_or(defaults.fps),
            ..defaults
        };
        let opener = FromWarden { desk: desk.clone(), question: Question { camera: id.0, item: 0 } };
        let name = path.to_string_lossy();
        return Ok(Box::new(CameraSource::with_opener(&name, Box::new(opener), id, &wish, &limits)?));
    }
    let asked = || stop.load(Ordering::Acquire);
    let options = replay::Options { fps: camera.fps, camera: id, limits, stop: &asked };
    let desk = desk.clone();
    let opener = move |item| {
        let item = u32::try_from(item).map_err(|_| std::io::ErrorKind::NotFound)?;
        desk.ask(Question { camera: id.0, item })
    };
    let source = replay::open_found(&camera.source.to_string(), found, Box::new(opener), &options)?;
    Ok(match config.run.pace {
        Pace::Fast => source,
        Pace::Realtime => Box::new(Paced::new(source)),
    })
}

fn describe(name: &str, info: &crate::source::SourceInfo) -> HelloCamera {
    let size = info.size.unwrap_or_default();
    HelloCamera {
        name: name.to_owned(),
        source: tail(&info.name, SOURCE_LENGTH),
        width: size.width.into(),
        height: size.height.into(),
        fps: info.fps,
        // A camera that is not there yet.
        format: if info.live && info.size.is_none() { NO_FORMAT } else { info.format.name() },
    }
}

/// The last `n` characters.
fn tail(text: &str, n: usize) -> String {
    let skip = text.chars().count().saturating_sub(n);
    text.chars().skip(skip).collect()
}

/// The same inputs give the same name of the run: the configuration (but for how fast and with how many threads it runs, and
/// in whose words it is told, which changes nothing that is said), the gallery and, of each file, its name, length and beginning.
fn boot_of_replay(config: &Config) -> u64 {
    /// Enough to tell two recordings apart without reading them.
    const BEGINNING: u64 = 1 << 20;
    let mut hash = sha2::Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for setting in config.settings() {
        let key = setting.key.as_str();
        // A path may be spelled in several ways; the file it leads to counts.
        let only_how = (key.starts_with("run.") && key != "run.start") || key == "output.format";
        let is_file = key.ends_with(".source") || (key == "faces.gallery" && config.faces.gallery.is_some());
        if !only_how && !is_file {
            hash.update(format!("{key}={}\n", setting.value));
        }
    }
    // Who is known changes what is said. The encrypted file stands for them: its hash tells nothing of what is in it.
    if let Some(mark) = config.faces.gallery.as_ref().and_then(|path| super::faces::vault_at(path).mark()) {
        hash.update(b"gallery=");
        hash.update(mark);
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
