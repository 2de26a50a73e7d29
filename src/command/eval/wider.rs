//! `eval wider`: how well faces are found, by the protocol of WIDER FACE.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{Failure, Printer};
use super::coco::{Finder, Work, progress};
use super::{read_json, write};
use crate::eval::wider::{Face, Picture, average_precision};
use crate::exit::Exit;

/// A picture of the truth.
#[derive(Deserialize)]
struct Known {
    file_name: PathBuf,
    faces: Vec<Face>,
}

/// What was found in a picture, best first.
#[derive(Clone, Deserialize, Serialize)]
struct Seen {
    file_name: PathBuf,
    /// Left, top, width, height, score.
    found: Vec<[f64; 5]>,
}

pub(in crate::command) fn wider(work: &Work) -> Result<Exit, Failure> {
    if work.results.is_some() && (work.model.is_some() || work.batch.is_some()) {
        let line = "eval wider: --results judges what was found before: remove --model and --batch";
        return Err(Failure::new(Exit::Usage, line));
    }
    let known: Vec<Known> = read_json(&work.truth)?;
    let seen: Vec<Seen> = match &work.results {
        Some(path) => read_json(path)?,
        None => look(work, &known)?,
    };
    if let Some(path) = &work.save {
        write(path, &serde_json::to_string(&seen).map_err(|e| Failure::new(Exit::Internal, e.to_string()))?)?;
    }
    let pictures: Vec<Picture<'_>> = known
        .iter()
        .map(|k| {
            let mut found =
                seen.iter().find(|s| s.file_name == k.file_name).map(|s| s.found.clone()).unwrap_or_default();
            found.sort_by(|a, b| b[4].total_cmp(&a[4]));
            Picture { faces: &k.faces, found }
        })
        .collect();
    let mut subsets: Vec<&str> =
        known.iter().flat_map(|k| k.faces.iter().flat_map(|f| &f.subsets)).map(|s| &**s).collect();
    subsets.sort_unstable();
    subsets.dedup();
    if subsets.is_empty() {
        let line = format!("{}: no face has a subset (easy, medium, hard): nothing to measure", work.truth.display());
        return Err(Failure::new(Exit::Source, line));
    }
    let numbers: Vec<(&str, f64)> = subsets.iter().map(|s| (*s, average_precision(&pictures, s))).collect();
    let text = if work.json {
        let object: serde_json::Map<_, _> = numbers.iter().map(|(s, ap)| ((*s).to_owned(), json!(ap))).collect();
        format!("{}\n", serde_json::Value::Object(object))
    } else {
        let rows: String = numbers.iter().map(|(s, ap)| format!("| {s} | {ap:.4} |\n")).collect();
        format!("| subset | AP |\n| --- | --- |\n{rows}")
    };
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

fn look(work: &Work, known: &[Known]) -> Result<Vec<Seen>, Failure> {
    let finder = Finder::load(work, "yunet")?;
    let folder = work.images.clone().unwrap_or_else(|| work.truth.parent().unwrap_or(Path::new("")).to_owned());
    let paths: Vec<PathBuf> = known.iter().map(|k| folder.join(&k.file_name)).collect();
    let mut seen = Vec::new();
    progress(&finder, &paths, |i, found| {
        let rows = found.iter().map(|d| {
            let [x, y, w, h] = d.bbox;
            [x, y, w, h, d.score]
        });
        seen.push(Seen { file_name: known[i].file_name.clone(), found: rows.collect() });
        Ok(())
    })?;
    Ok(seen)
}
