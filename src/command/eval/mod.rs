//! `eval`: accuracy against known truths. The measures are in [`crate::eval`]; here files are read and reports written.

mod coco;
mod events;
mod faces;
mod plot;
mod tables;
mod wider;

pub(super) use tables::escaped;

use std::path::Path;

pub(super) use coco::{coco, merge};
pub(super) use events::{events, mot};
pub(super) use faces::faces;
pub(super) use wider::wider;

use super::Failure;
use crate::exit::Exit;

/// Largest file of truths or results that is read.
const MAX_FILE: u64 = 2 << 30;

/// A text file of reasonable size.
fn read(path: &Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::new(Exit::Source, format!("{}: {what}", path.display()));
    let meta = std::fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(wrong(format!("wanted a file of at most {MAX_FILE} bytes, found {}", meta.len())));
    }
    std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))
}

/// A JSON file of that form.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_str(&read(path)?).map_err(|e| Failure::new(Exit::Source, format!("{}: {e}", path.display())))
}

/// Writes beside the target, then renames: a report is whole or not there.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut part = path.as_os_str().to_owned();
    part.push(".tmp");
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| Failure::new(Exit::Usage, format!("{}: cannot be written: {e}", path.display())))
}
