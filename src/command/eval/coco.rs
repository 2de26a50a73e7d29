//! `eval coco`, `eval merge`: how well objects are found, in COCO's twelve numbers.
//!
//! Pictures are looked at by as many single-threaded sessions as there are processors, each with one decoded picture at a
//! time, or with one batch of them (`--batch`). What was found goes line by line into `FILE.part`, from which `--resume` goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::super::bench::advice;
use super::super::detect::{picture, threads};
use super::super::{Failure, Printer, complain};
use super::{plot, read, read_json, tables, write};
use crate::attention::{Attention, Settings};
use crate::detection::Detection;
use crate::eval::coco::{Found, Truth, evaluate};
use crate::exit::Exit;
use crate::frame::{Frame, MonoNs};
use crate::geom::Region;
use crate::labels::Labels;
use crate::model::card::{Card, find, hex};
use crate::model::detector::Detector;
use crate::model::infer::Runtime;
use crate::model::prep::LongSide;
use crate::motion::{Kind, Verdict};
use crate::track::{Predicted, State, TrackId};

/// What scores less is not worth a line in a results file: it changes no number that anybody compares.
const LEAST: f32 = 0.01;
/// Best detections of a picture that are kept.
const MOST: usize = 100;
/// Pictures between two looks at the progress.
const WINDOW: usize = 32;

/// What was typed.
pub(in crate::command) use crate::cli::EvalArgs as Work;

/// One thing that was found.
pub(super) struct Seen {
    pub(super) label: String,
    /// Left, top, width, height; pixels.
    pub(super) bbox: [f64; 4],
    pub(super) score: f64,
}

/// One session with what it needs.
struct Eye {
    detector: Detector,
    labels: Labels,
}

/// Sessions for all processors.
pub(super) struct Finder {
    eyes: Vec<Mutex<Eye>>,
    /// Pictures (and crops) of one inference, at most.
    batch: usize,
    regions: bool,
    labels: Vec<String>,
    pub(super) name: String,
    pub(super) sha256: String,
}

/// The shortest decimal that is this `f32`, so that a results file and the numbers in memory are the same.
fn plain(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

impl Finder {
    pub(super) fn load(work: &Work, default: &str) -> Result<Self, Failure> {
        let card = Card::load(&find(work.model.as_deref().unwrap_or(default))?)?;
        if let Some(warning) = card.licence_warning() {
            complain(&warning);
        }
        let runtime = Runtime::load()?;
        let load = |_| {
            let mut labels = Labels::default();
            let detector = Detector::load(&runtime, card.clone(), 1, &mut labels)?;
            Ok(Mutex::new(Eye { detector, labels }))
        };
        let first: Mutex<Eye> = load(0)?;
        let batch = batch(work, &first)?;
        let rest = (1..threads().max(1)).map(load);
        let eyes = std::iter::once(Ok(first)).chain(rest).collect::<Result<Vec<_>, Failure>>()?;
        let labels = card.labels.iter().flatten().cloned().collect();
        Ok(Self { eyes, batch, regions: work.regions, labels, name: card.name, sha256: card.sha256 })
    }

    /// What each of some pictures shows, best first; they are decoded all at once.
    fn look(&self, paths: &[PathBuf]) -> Result<Vec<Vec<Seen>>, Failure> {
        let decoded =
            |path: &PathBuf| picture(path).map_err(|e| Failure::new(Exit::Source, format!("{}: {e}", path.display())));
        let frames = paths.iter().map(decoded).collect::<Result<Vec<Frame>, Failure>>()?;
        let index = rayon::current_thread_index().unwrap_or(0) % self.eyes.len();
        // A session whose last picture panicked is as good as before: it holds nothing between pictures.
        let mut eye = self.eyes[index].lock().unwrap_or_else(PoisonError::into_inner);
        let Eye { detector, labels } = &mut *eye;
        let mut all = Vec::new();
        let looks: Vec<_> = frames.iter().map(|frame| (frame, Region::whole(frame.size()))).collect();
        detector.detect_batch(&looks, self.batch, LongSide::Card, LEAST, &mut all)?;
        for (frame, found) in frames.iter().zip(&mut all) {
            if self.regions {
                let crops = crops(frame, detector.card(), found);
                detector.detect_regions(frame, &crops, self.batch, LEAST, found)?;
            }
            found.sort_by_key(|d| std::cmp::Reverse(d.score));
        }
        Ok(all.iter().map(|found| found.iter().map(|d| seen(d, labels)).collect()).collect())
    }
}

/// How many pictures each inference takes: as `--batch` says, which must fit, else as the graph does.
fn batch(work: &Work, eye: &Mutex<Eye>) -> Result<usize, Failure> {
    let detector = &eye.lock().unwrap_or_else(PoisonError::into_inner).detector;
    let Some(batch) = work.batch.map(|n| n as usize) else { return Ok(detector.batch().usual()) };
    if batch > 1 {
        let line = |e| format!("eval: --batch {batch}: {e}: {}", advice(detector.batch()));
        detector.takes(batch).map_err(|e| usage(line(e)))?;
    }
    Ok(batch)
}

fn seen(d: &Detection, labels: &Labels) -> Seen {
    let b = d.bbox;
    let bbox = [b.x0, b.y0, b.width(), b.height()].map(plain);
    Seen { label: labels.name(d.class).to_owned(), bbox, score: plain(d.score.get()) }
}

/// Where the run's own strategy would look next if what was found were its tracks; the whole picture first.
fn crops(frame: &Frame, card: &Card, found: &[Detection]) -> Vec<Region> {
    let mut attention = Attention::new(Settings::default());
    let still = Verdict { kind: Kind::Still, boxes: &[], share: 0.0 };
    let _ = attention.choose(MonoNs(0), frame.size(), &still, []);
    let tracks = found.iter().filter(|d| d.score.get() >= card.score).enumerate().map(|(i, d)| Predicted {
        id: TrackId(i as u32),
        bbox: d.bbox,
        state: State::Confirmed,
        leaving: false,
        speed: 0.0,
        moving: true,
    });
    let look = attention.choose(MonoNs(500_000_000), frame.size(), &still, tracks);
    let mut all = vec![Region::whole(frame.size())];
    all.extend_from_slice(look.regions);
    all
}

/// Looks at all pictures and hands what was found to `sink` in their order, with the picture's index.
pub(super) fn progress(
    finder: &Finder,
    paths: &[PathBuf],
    mut sink: impl FnMut(usize, Vec<Seen>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (started, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let mut done = 0;
    for window in paths.chunks(WINDOW.max(finder.batch * finder.eyes.len())) {
        let results: Vec<Result<Vec<Vec<Seen>>, Failure>> =
            window.par_chunks(finder.batch).map(|some| finder.look(some)).collect();
        for result in results {
            for seen in result? {
                sink(done, seen)?;
                done += 1;
            }
        }
        if terminal {
            let rate = done as f64 / started.elapsed().as_secs_f64().max(1e-3);
            let left = ((paths.len() - done) as f64 / rate).ceil() as u64;
            // Overwrites itself; whatever the terminal thinks of it is nobody's problem.
            let _ = write!(
                std::io::stderr(),
                "\r{done}/{} pictures, {rate:.1}/s, {:02}:{:02} left ",
                paths.len(),
                left / 60,
                left % 60
            );
        }
    }
    if terminal {
        let _ = writeln!(std::io::stderr());
    }
    Ok(())
}

/// The first line of a file of parts: only parts with the same one (but for the shard) belong together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    porchlight: String,
    model: String,
    sha256: String,
    truth_sha256: String,
    regions: bool,
    /// Which of how many, from 1.
    shard: [usize; 2],
}

/// A further line: a picture that was looked at.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image_id: u64,
    found: Vec<Found>,
}

fn internal(e: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, e.to_string())
}

fn usage(line: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, line)
}

/// `2/8`: this is the second of eight.
fn shard(text: Option<&str>) -> Result<[usize; 2], Failure> {
    let Some(text) = text else { return Ok([1, 1]) };
    let parts = text.split_once('/').and_then(|(i, n)| Some([i.parse().ok()?, n.parse().ok()?]));
    parts
        .filter(|[i, n]| (1..=*n).contains(i) && *n <= 100_000)
        .ok_or_else(|| usage(format!("--shard: wanted I/N with I of 1..=N, found {text:?}")))
}

/// Head and lines of a file of parts; a torn last line, which a kill leaves, is passed over.
fn read_parts(path: &Path) -> Result<(Head, Vec<Line>), Failure> {
    let wrong = |what: String| Failure::new(Exit::Source, format!("{}: {what}", path.display()));
    let text = read(path)?;
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let mut lines = whole.lines();
    let head = lines.next().unwrap_or_default();
    let head = serde_json::from_str(head).map_err(|e| wrong(format!("line 1: wanted the head of a part: {e}")))?;
    let parse = |(i, l)| serde_json::from_str(l).map_err(|e| wrong(format!("line {}: {e}", i + 2)));
    Ok((head, lines.enumerate().map(parse).collect::<Result<_, _>>()?))
}

fn truth(path: &Path) -> Result<(Truth, String), Failure> {
    let text = read(path)?;
    let wrong = |e: String| Failure::new(Exit::Source, format!("{}: {e}", path.display()));
    let truth: Truth = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    truth.check().map_err(wrong)?;
    Ok((truth, hex(&sha2::Sha256::digest(text.as_bytes()))))
}

/// The same kind under COCO's name and under that of lists which follow PASCAL VOC.
const ALSO: [[&str; 2]; 6] = [
    ["airplane", "aeroplane"],
    ["couch", "sofa"],
    ["dining table", "diningtable"],
    ["motorcycle", "motorbike"],
    ["potted plant", "pottedplant"],
    ["tv", "tvmonitor"],
];

/// Category of each label that the truth knows; labels it does not know are named, for they would be misses without a word.
fn categories<'a>(truth: &'a Truth, finder: &Finder) -> BTreeMap<&'a str, u64> {
    let mut ids: BTreeMap<&str, u64> = truth.categories.iter().map(|c| (c.name.as_str(), c.id)).collect();
    for [a, b] in ALSO {
        for (known, other) in [(a, b), (b, a)] {
            if let Some(id) = ids.get(known).copied() {
                ids.entry(other).or_insert(id);
            }
        }
    }
    let missing: Vec<&str> = finder.labels.iter().map(String::as_str).filter(|l| !ids.contains_key(l)).collect();
    let few = truth.categories.len() < finder.labels.len();
    if !missing.is_empty() && !few {
        complain(&format!("model '{}': the truth has no category {}: not judged", finder.name, missing.join(", ")));
    }
    ids
}

pub(in crate::command) fn coco(work: &Work) -> Result<Exit, Failure> {
    let (truth, hash) = truth(&work.truth)?;
    if let Some(path) = &work.results {
        if work.resume || work.shard.is_some() || work.regions || work.model.is_some() || work.batch.is_some() {
            return Err(usage("eval coco: --results judges what was found before: remove --model and its companions"));
        }
        let found: Vec<Found> = read_json(path)?;
        truth.check_found(&found).map_err(|e| Failure::new(Exit::Source, format!("{}: {e}", path.display())))?;
        return report(work, &truth, &found, &path.display().to_string());
    }
    let of = shard(work.shard.as_deref())?;
    if (work.resume || of[1] > 1) && work.save.is_none() {
        return Err(usage("eval coco: --resume and --shard need --save FILE"));
    }
    let finder = Finder::load(work, "ssdlite-mobilenet-v2")?;
    let head = Head {
        porchlight: env!("CARGO_PKG_VERSION").to_owned(),
        model: finder.name.clone(),
        sha256: finder.sha256.clone(),
        truth_sha256: hash,
        regions: work.regions,
        shard: of,
    };
    let mut lines = Vec::new();
    let part = work.save.as_ref().map(|save| {
        let mut part = save.as_os_str().to_owned();
        part.push(".part");
        PathBuf::from(part)
    });
    if let (true, Some(part)) = (work.resume, part.as_ref().filter(|p| p.exists())) {
        let (held, before) = read_parts(part)?;
        if held != head {
            let what = "another model, truth, version, shard or --regions: remove it, or leave --resume out";
            return Err(usage(format!("{}: was begun with {what}", part.display())));
        }
        lines = before;
    }
    // Begun anew with what is whole, so that a torn line does not end up in the middle.
    let mut file = match &part {
        Some(path) => {
            let unwritable = |e: std::io::Error| usage(format!("{}: cannot be written: {e}", path.display()));
            let mut file = std::fs::File::create(path).map_err(unwritable)?;
            let mut text = serde_json::to_string(&head).map_err(internal)? + "\n";
            for line in &lines {
                text += &(serde_json::to_string(line).map_err(internal)? + "\n");
            }
            file.write_all(text.as_bytes()).map_err(unwritable)?;
            Some(file)
        }
        None => None,
    };
    let before: BTreeSet<u64> = lines.iter().map(|l| l.image_id).collect();
    let folder = work.images.clone().unwrap_or_else(|| work.truth.parent().unwrap_or(Path::new("")).join("images"));
    let mine = truth.images.iter().enumerate().filter(|(k, _)| k % of[1] == of[0] - 1).map(|(_, i)| i);
    let images: Vec<_> = mine.filter(|i| !before.contains(&i.id)).collect();
    let paths: Vec<PathBuf> = images.iter().map(|i| folder.join(&i.file_name)).collect();
    let ids = categories(&truth, &finder);
    progress(&finder, &paths, |k, seen| {
        let image_id = images[k].id;
        let one = |s: &Seen| {
            let category_id = *ids.get(s.label.as_str())?;
            Some(Found { image_id, category_id, bbox: s.bbox, score: s.score })
        };
        let line = Line { image_id, found: seen.iter().filter_map(one).take(MOST).collect() };
        if let Some(file) = &mut file {
            let text = serde_json::to_string(&line).map_err(internal)? + "\n";
            file.write_all(text.as_bytes()).map_err(|e| usage(format!("--save: cannot be written: {e}")))?;
        }
        lines.push(line);
        Ok(())
    })?;
    if of[1] > 1 {
        // A shard's numbers mean nothing alone: only its part is left, for `eval merge`.
        if let (Some(part), Some(save)) = (part, &work.save) {
            std::fs::rename(&part, save).map_err(|e| usage(format!("{}: {e}", save.display())))?;
        }
        return Ok(Exit::Done);
    }
    let found: Vec<Found> = lines.into_iter().flat_map(|l| l.found).collect();
    if let Some(save) = &work.save {
        write(save, &serde_json::to_string(&found).map_err(internal)?)?;
        let _ = part.map(std::fs::remove_file);
    }
    report(work, &truth, &found, &finder.name)
}

/// Parts of one evaluation, put together.
pub(in crate::command) fn merge(work: &Work, parts: &[PathBuf]) -> Result<Exit, Failure> {
    let (truth, hash) = truth(&work.truth)?;
    let mut first: Option<Head> = None;
    let (mut shards, mut images, mut found) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for path in parts {
        let (head, lines) = read_parts(path)?;
        let wrong = |what: String| Err(Failure::new(Exit::Source, format!("{}: {what}", path.display())));
        if head.truth_sha256 != hash {
            return wrong(format!("is of another truth than {}", work.truth.display()));
        }
        let like = first.get_or_insert_with(|| head.clone());
        if (Head { shard: [0, like.shard[1]], ..like.clone() }) != (Head { shard: [0, head.shard[1]], ..head.clone() })
        {
            return wrong("is of another model, version, number of shards or --regions than the first".into());
        }
        if !shards.insert(head.shard[0]) {
            return wrong(format!("shard {} is there twice", head.shard[0]));
        }
        for line in lines {
            images.insert(line.image_id);
            found.extend(line.found);
        }
    }
    let missing = truth.images.iter().filter(|i| !images.contains(&i.id)).count();
    if missing > 0 {
        let n = first.as_ref().map_or(0, |f| f.shard[1]);
        let absent: Vec<String> = (1..=n).filter(|i| !shards.contains(i)).map(|i| format!("{i}/{n}")).collect();
        let hint = if absent.is_empty() { String::new() } else { format!(": add shard {}", absent.join(", ")) };
        return Err(usage(format!("eval merge: {missing} of {} pictures are in no part{hint}", truth.images.len())));
    }
    truth.check_found(&found).map_err(|e| Failure::new(Exit::Source, e))?;
    if let Some(save) = &work.save {
        write(save, &serde_json::to_string(&found).map_err(internal)?)?;
    }
    report(work, &truth, &found, &first.map_or_else(String::new, |f| f.model))
}

fn report(work: &Work, truth: &Truth, found: &[Found], model: &str) -> Result<Exit, Failure> {
    let result = evaluate(truth, found);
    if let Some(path) = &work.html {
        let mut models = plot::Models::default();
        models.accuracy(model, result.stats()[0]);
        for file in &work.beside {
            models.read(file)?;
        }
        write(path, &tables::html(truth, found, &result, model, &models.svg()))?;
    } else if !work.beside.is_empty() {
        return Err(usage("--beside: is for the page that --html FILE writes: add it, or leave it out"));
    }
    let text = if work.json { tables::json(truth, &result, model) } else { tables::table(truth, &result) };
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}
