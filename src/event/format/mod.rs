//! The same facts in the words of other systems. docs/formats.md maps every field.
//!
//! An adapter knows no more than the native line says: what it writes goes through the same [`super::line::Line`] and its sealed
//! fields, so no form of output is wider than the native one.

pub mod cloudevents;
pub mod frigate;

use super::TrackNo;
use super::line::{Kind, UtcMs};
use crate::frame::CameraId;

/// What every line says first.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// This run.
    pub boot: u64,
    /// From 0, without gaps.
    pub seq: u64,
    /// What kind of line.
    pub kind: Kind,
    /// Capture time.
    pub ts: UtcMs,
    /// Whose; `None` for the run as a whole.
    pub camera: Option<CameraId>,
    /// The track it is about.
    pub track: Option<TrackNo>,
}
