//! `models list | info | check`: the cards that are there, and whether they keep their word.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::detect::{picture, threads};
use super::{Failure, Printer, complain};
use crate::cli::ModelsArgs;
use crate::detection::Detection;
use crate::exit::Exit;
use crate::face::align::landmarks;
use crate::face::embed::Embedder;
use crate::frame::Frame;
use crate::geom::{Box2, Region};
use crate::labels::Labels;
use crate::model::ModelError;
use crate::model::card::{Anchor, Card, Colour, Expect, FamilySpec, Fit, InputSize, Layout, Resample, all, find};
use crate::model::detector::Detector;
use crate::model::infer::Runtime;
use crate::model::prep::LongSide;

pub(super) fn run(args: &ModelsArgs) -> Result<Exit, Failure> {
    match args {
        ModelsArgs::List => list(),
        ModelsArgs::Info(name) => info(name),
        ModelsArgs::Check(name) => check(name.as_deref()),
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

fn check(name: Option<&str>) -> Result<Exit, Failure> {
    let folders = folders(name)?;
    let runtime = Runtime::load()?;
    let mut printer = Printer::new();
    let mut exit = Exit::Done;
    for dir in folders {
        let name = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let name = name.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
        let outcome = Card::load(&dir).and_then(|card| keeps_its_word(&runtime, card));
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

/// The name of a card's folder, and whether the card keeps its word.
pub(super) type Verdict = (String, Result<(), ModelError>);

/// Every card by its folder's name, and whether it keeps its word; for `porchlight check`.
pub(super) fn verdicts() -> Result<Vec<Verdict>, Failure> {
    let folders = folders(None)?;
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
    if card.golden.image.is_some() || !card.golden.expect.is_empty() {
        return golden(card, "'image' and 'expect' are for detectors: remove them");
    }
    if card.golden.expect_cosine.is_empty() {
        return golden(card, NONE);
    }
    for pair in &card.golden.expect_cosine {
        let mut sides = Vec::new();
        for (path, points) in [(&pair.a, &pair.landmarks_a), (&pair.b, &pair.landmarks_b)] {
            let frame = sample(card, path)?;
            let mut out = Vec::new();
            embedder.embed(&frame, &[landmarks(points)], &mut out)?;
            match out.pop().flatten() {
                Some(embedding) => sides.push(embedding),
                None => return golden(card, format!("{}: its landmarks are no face's", path.display())),
            }
        }
        let [a, b] = sides.as_slice() else { continue };
        let found = a.cosine(b);
        let near = (found - pair.cosine).abs() <= pair.tolerance;
        if !near {
            let (a, b) = (pair.a.display(), pair.b.display());
            return golden(
                card,
                format!("{a} and {b}: wanted cosine {} (+-{}), found {found:.4}", pair.cosine, pair.tolerance),
            );
        }
    }
    Ok(())
}
