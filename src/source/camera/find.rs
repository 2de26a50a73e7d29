//! The cameras of this machine.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::device::{self, OTHER_PURPOSE, Offer};
use super::{CameraSource, Trouble, Wish};
use crate::decode::Limits;
use crate::frame::CameraId;
use crate::geom::Size;
use crate::source::SourceError;
use crate::source::opener::{Opener, PathOpener};

/// A node that captures video.
#[derive(Debug)]
pub struct Found {
    /// Its node.
    pub path: PathBuf,
    /// Names below `/dev/v4l/` that lead to it and stay the same when nodes are numbered anew.
    pub links: Vec<PathBuf>,
    /// What it offers, or why it cannot be asked.
    pub offer: Result<Offer, SourceError>,
}

/// What a device offers. `wanted` is among the sizes where any size goes.
///
/// # Errors
/// [`SourceError::Camera`].
pub fn probe(path: &Path, wanted: Size) -> Result<Offer, SourceError> {
    let name = path.to_string_lossy();
    let opened = PathOpener::new(path).open().map_err(|e| device::Named(&name).failed("open", &e));
    opened.and_then(|fd| device::offer(&name, fd.as_fd(), wanted)).map_err(|Trouble { error, .. }| error)
}

/// The `/dev/video*` nodes in the order of their numbers.
pub fn nodes() -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn links(node: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["/dev/v4l/by-id", "/dev/v4l/by-path"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(entries.filter(|link| std::fs::canonicalize(link).is_ok_and(|target| target == node)));
    }
    found.sort();
    found
}

/// Every node that captures video, and those that cannot be asked. Nodes of another purpose are left out.
pub fn list(wanted: Size) -> Vec<Found> {
    let all = nodes().into_iter().map(|path| {
        let offer = probe(&path, wanted);
        Found { links: links(&path), offer, path }
    });
    let other =
        |found: &Found| matches!(&found.offer, Err(SourceError::Camera { doing, .. }) if *doing == OTHER_PURPOSE);
    all.filter(|found| !other(found)).collect()
}

/// Opens the first camera that answers.
///
/// # Errors
/// [`SourceError::NoCamera`] with the reason for each device tried.
pub fn first(camera: CameraId, wish: &Wish, limits: &Limits) -> Result<CameraSource, SourceError> {
    let mut tried = Vec::new();
    for path in nodes() {
        let name = path.to_string_lossy().into_owned();
        match CameraSource::open(&path, camera, wish, limits) {
            Ok(source) if source.agreed().is_some() => return Ok(source),
            Ok(_) => {
                let why = probe(&path, wish.size).err().map_or("it does not stream".into(), |error| match error {
                    SourceError::Camera { problem, .. } => problem,
                    other => other.to_string(),
                });
                tried.push((name, why));
            }
            Err(SourceError::Camera { problem, .. }) => tried.push((name, problem)),
            Err(error) => tried.push((name, error.to_string())),
        }
    }
    Err(SourceError::NoCamera { tried })
}
