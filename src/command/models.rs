//! `models list | info | check`: the cards that are there, and whether they keep their word.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;

use super::detect::{picture, threads};
use super::{Failure, Printer, complain};
use crate::cli::ModelsArgs;
use crate::detection::Detection;
use crate::exit::Exit;
use crate::face::align::landmarks;
use crate::face::appearance::Appearance;
use crate::face::embed::{Embedder, Embedding};
use crate::frame::Frame;
use crate::geom::{Box2, Region, Size};
use crate::labels::Labels;
use crate::model::ModelError;
use crate::model::card::{
    Anchor, Card, Colour, Expect, ExpectCosine, FamilySpec, Fit, InputSize, Layout, Resample, Task, all, find,
};
use crate::model::detector::Detector;
use crate::model::family::priors_box_classes::Part;
use crate::model::infer::Runtime;
use crate::model::prep::LongSide;

pub(super) fn run(args: &ModelsArgs) -> Result<Exit, Failure> {
    match args {
        ModelsArgs::List => list(),
        ModelsArgs::Info(name) => info(name),
        ModelsArgs::Check(name) => check(name.as_deref()),
        ModelsArgs::Pull { name, from } => super::pull::pull(name, from.as_deref()),
        ModelsArgs::Add(card) => add(card),
        ModelsArgs::Draft(file) => draft(file),
    }
}

/// Every card's folder, or the one that was asked for.
fn folders(name: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let folders = match name {
        Some(name) => vec![find(name)?],
        None => all(),
    };
    if folders.is_empty() {
        let places: Vec<_> = crate::model::card::library().iter().map(|d| d.display().to_string()).collect();
        let line = format!("no model card in {}: set PORCHLIGHT_MODELS to a folder of models", places.join(", "));
        return Err(Failure::new(Exit::Model, line));
    }
    Ok(folders)
}

fn list() -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut rows = vec![["NAME", "TASK", "FAMILY", "LICENCE", "BYTES", "WEIGHTS"].map(str::to_owned)];
    for dir in folders(None)? {
        match Card::load(&dir) {
            Ok(card) => {
                let size = bytes(&card);
                rows.push([
                    card.name.clone(),
                    card.task.name().to_owned(),
                    card.family.name().to_owned(),
                    card.licence,
                    size.map_or_else(|| "-".to_owned(), |n| n.to_string()),
                    if size.is_some() { "present" } else { "missing" }.to_owned(),
                ]);
            }
            Err(error) => exit = Failure::from(error).report(),
        }
    }
    let width: [usize; 6] =
        std::array::from_fn(|k| rows.iter().map(|r| r[k].chars().count()).max().unwrap_or_default());
    let table: String = rows
        .iter()
        .map(|r| {
            let cells: Vec<String> = r.iter().zip(width).map(|(cell, w)| format!("{cell:w$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect();
    Printer::new().print(&table)?;
    Ok(exit)
}

fn bytes(card: &Card) -> Option<u64> {
    std::fs::metadata(&card.weights).ok().filter(std::fs::Metadata::is_file).map(|m| m.len())
}

fn info(name: &str) -> Result<Exit, Failure> {
    let card = Card::load(&find(name)?)?;
    let text = serde_json::to_string_pretty(&described(&card))
        .map_err(|e| Failure::new(Exit::Internal, format!("{name}: no JSON for this card: {e}")))?;
    Printer::new().print(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

fn described(card: &Card) -> Value {
    let shown = |path: &Path| path.display().to_string();
    let input = &card.input;
    let mut output = json!({ "family": card.family.name(), "tensors": card.tensors });
    if let Value::Object(output) = &mut output {
        match &card.family {
            FamilySpec::StrideClsObjBoxKps { strides } => {
                output.insert("strides".into(), json!(strides));
            }
            FamilySpec::AnchorsBoxClassScores { grids, anchors, variances } => {
                output.insert("grids".into(), json!(grids));
                output.insert(
                    "anchors".into(),
                    anchors
                        .iter()
                        .map(|l| l.iter().map(|a| a.map(tidy).to_vec()).collect())
                        .collect::<Vec<Value>>()
                        .into(),
                );
                output.insert("variances".into(), json!(variances.map(tidy)));
            }
            FamilySpec::Embedding { dimensions } => {
                output.insert("dimensions".into(), json!(dimensions));
            }
            FamilySpec::GridBoxObjClasses { strides, activation } => {
                output.insert("strides".into(), json!(strides));
                output.insert("activation".into(), json!(activation.name()));
            }
            FamilySpec::StrideClsDfl { shape, activation } => {
                output.insert("strides".into(), json!(shape.strides));
                output.insert("bins".into(), json!(shape.bins));
                output.insert("shift".into(), json!(tidy(shape.shift)));
                output.insert("activation".into(), json!(activation.name()));
            }
            FamilySpec::ColumnsBoxClasses { activation } => {
                output.insert("activation".into(), json!(activation.name()));
            }
            FamilySpec::PriorsBoxClasses(p) => {
                let part = |part| Part::NAMES.iter().find(|(_, p)| p == part).map_or("", |(name, _)| *name);
                output.insert("strides".into(), json!(p.strides));
                output.insert("sizes".into(), json!(p.sizes));
                output.insert("clip".into(), json!(p.clip));
                output.insert("variances".into(), json!(p.variances.map(tidy)));
                output.insert("parts".into(), p.parts.iter().map(part).collect::<Vec<_>>().into());
            }
            FamilySpec::CornersClasses { unit } | FamilySpec::RowsBoxScoreClass { unit } => {
                output.insert("boxes".into(), json!(if *unit { "unit" } else { "pixels" }));
            }
            FamilySpec::PointsClsBoxKps { points, activation } => {
                output.insert("strides".into(), json!(points.strides));
                output.insert("per_cell".into(), json!(points.per_cell));
                output.insert("shift".into(), json!(tidy(points.shift)));
                output.insert("activation".into(), json!(activation.name()));
            }
            FamilySpec::PlanesObjBoxClasses { stride, exponents } => {
                output.insert("strides".into(), json!([stride]));
                output.insert("exponents".into(), json!(exponents.map(tidy)));
            }
            FamilySpec::HeatmapSizeOffset { stride, activation } => {
                output.insert("strides".into(), json!([stride]));
                output.insert("activation".into(), json!(activation.name()));
            }
        }
        if !card.labels.is_empty() {
            output.insert("labels".into(), json!(card.labels.iter().flatten().collect::<Vec<_>>()));
            output.insert("columns".into(), json!(card.labels.len()));
            output.insert("score".into(), json!(tidy(card.score)));
            output.insert("nms_iou".into(), json!(tidy(card.nms_iou)));
        }
    }
    json!({
        "name": card.name,
        "task": card.task.name(),
        "folder": shown(&card.dir),
        "file": shown(&card.weights),
        "bytes": bytes(card),
        "sha256": card.sha256,
        "licence": card.licence,
        "licence_file": shown(&card.licence_file),
        "source": card.source,
        "url": card.url,
        "input": {
            "tensor": input.tensor,
            "layout": match input.layout { Layout::Nchw => "nchw", Layout::Nhwc => "nhwc" },
            "size": match input.size {
                InputSize::Fixed(size) => json!(size),
                InputSize::Dynamic(d) => json!({ "long_side": d.long_side, "multiple": d.multiple }),
            },
            "colour": match input.colour { Colour::Rgb => "rgb", Colour::Bgr => "bgr" },
            "fit": match input.fit {
                Fit::Stretch => json!("stretch"),
                Fit::Align => json!("align"),
                Fit::Letterbox(l) => json!({
                    "letterbox": tidy(l.letterbox),
                    "anchor": match l.anchor { Anchor::TopLeft => "top-left", Anchor::Center => "center" },
                }),
            },
            "resample": match input.resample { Resample::Bilinear => "bilinear", Resample::Area => "area" },
            "scale": tidy(input.scale),
            "mean": input.mean.map(tidy),
            "std": input.std.map(tidy),
        },
        "output": output,
        "golden": { "image": card.golden.image.as_deref().map(shown), "expect": card.golden.expect.len(), "expect_cosine": card.golden.expect_cosine.len() },
    })
}

/// The shortest decimal that is this `f32`: 0.1, not 0.10000000149.
fn tidy(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

fn check(named: Option<&str>) -> Result<Exit, Failure> {
    let folders = folders(named)?;
    let runtime = Runtime::load()?;
    let mut printer = Printer::new();
    let mut exit = Exit::Done;
    for dir in folders {
        let name = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let name = name.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
        let card = Card::load(&dir);
        if named.is_none()
            && let Ok(card) = &card
            && !card.weights.exists()
        {
            printer
                .print(&format!("{} not here: porchlight models pull {0}\n", crate::cli::one_line(name.as_ref())))?;
            continue;
        }
        let outcome = card.and_then(|card| keeps_its_word(&runtime, card));
        printer.print(&format!(
            "{} {}\n",
            crate::cli::one_line(name.as_ref()),
            if outcome.is_ok() { "ok" } else { "FAILED" }
        ))?;
        if let Err(error) = outcome {
            complain(&error.to_string());
            exit = Exit::Model;
        }
    }
    Ok(exit)
}

/// Checks a card and all it names; what is wrong is told in a line each, and only a card that is right is taken in.
fn add(name: &str) -> Result<Exit, Failure> {
    let path = if name.contains('/') || name.ends_with(".toml") { name.to_owned() } else { format!("./{name}") };
    let dir = find(&path)?;
    let card = Card::load(&dir)?;
    if let Some(warning) = card.licence_warning() {
        complain(&warning);
    }
    let mut wrong = Vec::new();
    if !card.licence_file.is_file() {
        wrong
            .push(format!("{}: the licence's text (card, key 'licence_file') is missing", card.licence_file.display()));
    }
    let goldens = &card.golden;
    let named = goldens.image.iter().chain(goldens.expect_cosine.iter().flat_map(|p| [&p.a, &p.b]));
    for picture in named {
        match card.golden_path(picture) {
            Ok(path) if path.is_file() => {}
            Ok(path) => wrong.push(format!("{}: the golden picture is missing", path.display())),
            Err(e) => wrong.push(e.to_string()),
        }
    }
    match card.verified_weights() {
        Err(e) => wrong.push(e.to_string()),
        // With something missing the check would only say so again.
        Ok(_) if wrong.is_empty() => {
            wrong.extend(keeps_its_word(&Runtime::load()?, card.clone()).err().map(|e| e.to_string()));
        }
        Ok(_) => {}
    }
    if !wrong.is_empty() {
        wrong.iter().for_each(|line| complain(line));
        return Ok(Exit::Model);
    }
    let target = match find(&card.name) {
        Ok(there) => {
            let same = there.canonicalize().ok() == dir.canonicalize().ok();
            if !same {
                let line =
                    format!("{}: there is a model of that name already: rename {}", there.display(), dir.display());
                return Err(Failure::new(Exit::Model, line));
            }
            there
        }
        Err(_) => take_in(&dir, &card)?,
    };
    Printer::new().print(&format!("{} ok: {}\n", card.name, target.display()))?;
    Ok(Exit::Done)
}

/// Copies the files of a card into the first folder of models that takes them: under another name first, so that a copy that
/// was cut off is no model.
fn take_in(dir: &Path, card: &Card) -> Result<PathBuf, Failure> {
    let library = crate::model::card::library();
    let Some(models) = library.iter().find(|l| l.is_dir()) else {
        let line = "models add: no folder of models: set PORCHLIGHT_MODELS to one that exists";
        return Err(Failure::new(Exit::Model, line));
    };
    let (part, target) = (models.join(format!(".{}.part", card.name)), models.join(&card.name));
    let copy = || -> std::io::Result<()> {
        if part.exists() {
            std::fs::remove_dir_all(&part)?;
        }
        std::fs::create_dir(&part)?;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // Cards name files in their folder only: folders and what is no file stay behind.
            if entry.file_type()?.is_file() || entry.path().is_file() {
                std::fs::copy(entry.path(), part.join(entry.file_name()))?;
            }
        }
        std::fs::rename(&part, &target)
    };
    copy().map_err(|e| Failure::new(Exit::Model, format!("{}: cannot be written: {e}", target.display())))?;
    Ok(target)
}

fn draft(file: &Path) -> Result<Exit, Failure> {
    const MAX: u64 = 2 << 30;
    let wrong = |what: String| Failure::new(Exit::Model, format!("{}: {what}", file.display()));
    let meta = std::fs::metadata(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if !meta.is_file() || meta.len() > MAX {
        return Err(wrong(format!("wanted an ONNX file of at most {MAX} bytes, found {} bytes", meta.len())));
    }
    let bytes = std::fs::read(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let name = crate::cli::one_line(file.file_name().unwrap_or_default());
    let graph = Runtime::load()?.inspect(&name, &bytes)?;
    let hash = crate::model::card::hex(&sha2::Sha256::digest(&bytes));
    let text = crate::model::draft::card(&name, &hash, crate::model::draft::opset(&bytes), &graph);
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

/// The name of a card's folder, and whether the card keeps its word.
pub(super) type Verdict = (String, Result<(), ModelError>);

/// Every card whose weights are here by its folder's name, and whether it keeps its word; for `porchlight check`.
pub(super) fn verdicts() -> Result<Vec<Verdict>, Failure> {
    let mut folders = folders(None)?;
    folders.retain(|dir| Card::load(dir).map_or(true, |card| card.weights.exists()));
    let runtime = Runtime::load()?;
    let name = |dir: &Path| crate::cli::one_line(dir.file_name().unwrap_or(dir.as_os_str()));
    let verdict = |dir: &PathBuf| Card::load(dir).and_then(|card| keeps_its_word(&runtime, card));
    Ok(folders.iter().map(|dir| (name(dir), verdict(dir))).collect())
}

/// Hash, session, tensors, licence, goldens.
fn keeps_its_word(runtime: &Runtime, card: Card) -> Result<(), ModelError> {
    if !card.licence_file.is_file() {
        let what = "the licence's text (card, key 'licence_file') is missing".into();
        return Err(ModelError::Card { path: card.licence_file, what });
    }
    if card.task == Task::Reid {
        return replay_persons(&card, &mut Appearance::load(runtime, &card, threads())?);
    }
    if matches!(card.family, FamilySpec::Embedding { .. }) {
        let mut embedder = Embedder::load(runtime, card.clone(), threads())?;
        replay_pairs(&card, &mut embedder)
    } else {
        let mut labels = Labels::default();
        let mut detector = Detector::load(runtime, card.clone(), threads(), &mut labels)?;
        replay_picture(&card, &mut detector, &labels)
    }
}

fn golden<T>(card: &Card, what: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Golden { model: card.name.clone(), what: what.into() })
}

const NONE: &str = "the card has none: a model that cannot be checked cannot be trusted; fill in [golden]";

fn sample(card: &Card, relative: &Path) -> Result<Frame, ModelError> {
    let path = card.golden_path(relative)?;
    picture(&path).or_else(|what| golden(card, format!("{}: {what}", path.display())))
}

fn replay_picture(card: &Card, detector: &mut Detector, labels: &Labels) -> Result<(), ModelError> {
    if !card.golden.expect_cosine.is_empty() {
        return golden(card, "'expect_cosine' is for embedders: remove it");
    }
    let Some(image) = &card.golden.image else { return golden(card, NONE) };
    if card.golden.expect.is_empty() {
        return golden(card, NONE);
    }
    let frame = sample(card, image)?;
    let mut found = Vec::new();
    detector.detect(&frame, Region::whole(frame.size()), LongSide::Card, card.score, &mut found)?;
    for expect in &card.golden.expect {
        let Some(at) = found.iter().position(|d| is_expected(d, expect, labels)) else {
            let near = found.iter().map(|d| told(d, labels)).collect::<Vec<_>>().join("; ");
            return golden(
                card,
                format!(
                    "{}: wanted {} at {:?} with score {} (+-{}) and IoU >= {}, found {}",
                    image.display(),
                    expect.class,
                    expect.bbox,
                    expect.score,
                    expect.score_tolerance,
                    expect.min_iou,
                    if near.is_empty() { "nothing" } else { &near }
                ),
            );
        };
        found.remove(at);
    }
    match found.first() {
        None => Ok(()),
        Some(d) => golden(card, format!("{}: wanted nothing else, found {}", image.display(), told(d, labels))),
    }
}

fn is_expected(d: &Detection, expect: &Expect, labels: &Labels) -> bool {
    let [x, y, w, h] = expect.bbox;
    let near = |a: &[[f32; 2]; 5]| {
        let found = d.landmarks.unwrap_or_default();
        // A twentieth of the box: a wrong order of the points is far beyond it.
        found.iter().zip(a).all(|(p, q)| (p.x - q[0]).hypot(p.y - q[1]) <= 0.05 * w.max(h))
    };
    labels.name(d.class) == expect.class
        && d.bbox.iou(Box2::from_xywh(x, y, w, h)) >= expect.min_iou
        && (d.score.get() - expect.score).abs() <= expect.score_tolerance
        && expect.landmarks.as_ref().is_none_or(near)
}

fn told(d: &Detection, labels: &Labels) -> String {
    let b = d.bbox;
    let (label, score) = (labels.name(d.class), d.score.get());
    format!("{label} at [{:.1}, {:.1}, {:.1}, {:.1}] with score {score:.3}", b.x0, b.y0, b.width(), b.height())
}

fn replay_pairs(card: &Card, embedder: &mut Embedder) -> Result<(), ModelError> {
    replay(card, "landmarks_a and landmarks_b", |pair| {
        let sides = [(&pair.a, pair.landmarks_a?), (&pair.b, pair.landmarks_b?)];
        Some(sides.map(|(path, points)| {
            let frame = sample(card, path)?;
            let mut out = Vec::new();
            embedder.embed(&frame, &[landmarks(&points)], &mut out)?;
            match out.pop().flatten() {
                Some(embedding) => Ok(embedding),
                None => golden(card, format!("{}: its landmarks are no face's", path.display())),
            }
        }))
    })
}

fn replay_persons(card: &Card, appearance: &mut Appearance) -> Result<(), ModelError> {
    replay(card, "box_a and box_b", |pair| {
        let sides = [(&pair.a, pair.box_a?), (&pair.b, pair.box_b?)];
        Some(sides.map(|(path, [x, y, width, height])| {
            let region = Region { x, y, size: Size::new(width, height) };
            match appearance.embed(&sample(card, path)?, region)? {
                Some(embedding) => Ok(embedding),
                None => golden(card, format!("{}: the answer has no direction", path.display())),
            }
        }))
    })
}

/// Compares the likeness of each golden pair; `embed` is `None` for a pair that lacks what the task needs.
fn replay(
    card: &Card,
    needed: &str,
    mut embed: impl FnMut(&ExpectCosine) -> Option<[Result<Embedding, ModelError>; 2]>,
) -> Result<(), ModelError> {
    if card.golden.image.is_some() || !card.golden.expect.is_empty() {
        return golden(card, "'image' and 'expect' are for detectors: remove them");
    }
    if card.golden.expect_cosine.is_empty() {
        return golden(card, NONE);
    }
    for pair in &card.golden.expect_cosine {
        let (a, b) = (pair.a.display(), pair.b.display());
        let Some([left, right]) = embed(pair) else {
            return golden(card, format!("{a} and {b}: wanted {needed} for task '{}'", card.task.name()));
        };
        let found = left?.cosine(&right?);
        let near = (found - pair.cosine).abs() <= pair.tolerance;
        if !near {
            return golden(
                card,
                format!("{a} and {b}: wanted cosine {} (+-{}), found {found:.4}", pair.cosine, pair.tolerance),
            );
        }
    }
    Ok(())
}
