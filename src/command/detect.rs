//! `detect`: what the models see in pictures, whole and without tracking.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::{Failure, Printer, complain};
use crate::cli::{DetectArgs, RunArgs};
use crate::config::{Config, RunConfig};
use crate::decode::{Decoder, Limits};
use crate::detection::Detection;
use crate::exit::Exit;
use crate::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
use crate::geom::{Point, Region};
use crate::labels::Labels;
use crate::model::card::{Card, InputSize, find};
use crate::model::detector::Detector;
use crate::model::infer::Runtime;
use crate::model::prep::LongSide;
use crate::source::replay;

/// Pictures decoded ahead, at most: a decoded one may have 200 MB.
const WINDOW: usize = 4;

/// One line of output; fields in the contract's order.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    width: u32,
    height: u32,
    detections: Vec<Seen<'a>>,
}

#[derive(Serialize)]
struct Seen<'a> {
    label: &'a str,
    score: f64,
    #[serde(rename = "box")]
    bbox: [f64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    landmarks: Option<[[f64; 2]; 5]>,
}

pub(super) fn run(args: &DetectArgs) -> Result<Exit, Failure> {
    if let Some(folder) = &args.draw {
        super::draw::refuse_cameras(&args.paths)?;
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::new(Exit::Usage, format!("detect: --draw: {}: {e}", folder.display())))?;
    }
    let mut exit = Exit::Done;
    let mut paths: Vec<PathBuf> = Vec::new();
    for spec in &args.paths {
        let found = match spec.to_str() {
            Some(text) => replay::pictures(text).map_err(|e| e.to_string()),
            None => Err(format!("{}: wanted a path of UTF-8 text: JSON can hold no other", spec.display())),
        };
        match found {
            Ok(found) => paths.extend(found),
            Err(what) => {
                complain(&what);
                exit = Exit::Source;
            }
        }
    }
    if paths.is_empty() {
        return Ok(Exit::Source);
    }
    let mut labels = Labels::default();
    let mut models = load(args, &mut labels)?;
    let mut printer = Printer::new();

    // While the models look at one window of pictures, the next one is read and decoded; the order stays.
    let mut windows = paths.chunks(WINDOW);
    let mut current = windows.next().map(decode_all).unwrap_or_default();
    while !current.is_empty() {
        let ahead = windows.next();
        let (done, next) = rayon::join(
            || look(&current, args, &mut models, &labels, &mut printer),
            || ahead.map(decode_all).unwrap_or_default(),
        );
        if !done? {
            exit = Exit::Source;
        }
        current = next;
    }
    Ok(exit)
}

fn load(args: &DetectArgs, labels: &mut Labels) -> Result<Vec<Detector>, Failure> {
    let names = if args.models.is_empty() {
        let config = Config::resolve(&RunArgs::default(), None)?;
        vec![config.objects.model, config.faces.detector]
    } else {
        args.models.clone()
    };
    if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(Failure::new(Exit::Usage, format!("detect: --model {twice} is given twice: remove one")));
    }
    let cards = names.iter().map(|name| find(name).and_then(|dir| Card::load(&dir))).collect::<Result<Vec<_>, _>>()?;
    cards.iter().filter_map(Card::licence_warning).for_each(|warning| complain(&warning));
    if args.long_side != LongSide::Card && !cards.iter().any(|c| matches!(c.input.size, InputSize::Dynamic(_))) {
        let names = names.join(", ");
        let line = format!("detect: --long-side has no effect: {names} has a fixed input size: remove it");
        return Err(Failure::new(Exit::Usage, line));
    }
    let runtime = Runtime::load()?;
    let threads = threads();
    Ok(cards.into_iter().map(|card| Detector::load(&runtime, card, threads, labels)).collect::<Result<_, _>>()?)
}

/// As many as there are processors for us.
pub(super) fn threads() -> usize {
    Config::resolve(&RunArgs::default(), None).map_or(1, |c| RunConfig::thread_count(&c.run))
}

type Decoded<'a> = (&'a Path, Result<Frame, String>);

fn decode_all(paths: &[PathBuf]) -> Vec<Decoded<'_>> {
    paths.par_iter().map(|path| (path.as_path(), picture(path))).collect()
}

/// Reads and decodes one JPEG or PNG, turned as its EXIF orientation says, within the limits of the contract.
///
/// The error says what is wrong with the picture, not which one it is.
pub(super) fn picture(path: &Path) -> Result<Frame, String> {
    let limits = Limits::default();
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    // Before opening: a pipe would make us wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("wanted a file, found a folder or device".into());
    }
    let mut data = Vec::new();
    // One byte more than allowed is enough for the decoder to refuse it.
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits.max_encoded as u64 + 1).read_to_end(&mut data).map_err(unreadable)?;
    let mut raw = RawFrame {
        stamp: Stamp::default(),
        format: PixelFormat::Still,
        size: None,
        stride: 0,
        range: Range::Full,
        data,
    };
    let mut frame = Frame::new();
    Decoder::new(limits).decode(&mut raw, &mut frame).map_err(|e| e.to_string())?;
    Ok(frame)
}

/// Prints a line for each picture; false when one of them was broken.
fn look(
    pictures: &[Decoded<'_>],
    args: &DetectArgs,
    models: &mut [Detector],
    labels: &Labels,
    printer: &mut Printer,
) -> Result<bool, Failure> {
    let mut whole = true;
    let mut found = Vec::new();
    for (path, decoded) in pictures {
        let name = path.to_string_lossy();
        let frame = match decoded {
            Ok(frame) => frame,
            Err(what) => {
                complain(&format!("{name}: {what}"));
                whole = false;
                continue;
            }
        };
        found.clear();
        for model in models.iter_mut() {
            let threshold = args.score.unwrap_or(model.card().score);
            model.detect(frame, Region::whole(frame.size()), args.long_side, threshold, &mut found)?;
        }
        // Best first over all models; a stable sort, so that equal scores keep the models' order.
        found.sort_by_key(|d| std::cmp::Reverse(d.score));
        if let Some(folder) = &args.draw {
            super::draw::draw(folder, path, frame, &found, labels)?;
        }
        let size = frame.size();
        let line = Line {
            path: &name,
            width: size.width,
            height: size.height,
            detections: found.iter().map(|d| seen(d, labels)).collect(),
        };
        let mut text = serde_json::to_string(&line)
            .map_err(|e| Failure::new(Exit::Internal, format!("{name}: no JSON for what was found: {e}")))?;
        text.push('\n');
        printer.print(&text)?;
    }
    Ok(whole)
}

fn seen<'a>(d: &Detection, labels: &'a Labels) -> Seen<'a> {
    let b = d.bbox;
    Seen {
        label: labels.name(d.class),
        score: rounded(d.score.get()),
        bbox: [b.x0, b.y0, b.width(), b.height()].map(rounded),
        landmarks: d.landmarks.map(|l| l.map(|Point { x, y, .. }| [rounded(x), rounded(y)])),
    }
}

/// To 4 decimals.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}
