//! What report asks of the models of faces.

use std::sync::Arc;

use super::FaceLook;
use crate::detection::{Detection, Landmarks};
use crate::face::embed::{Embedder, Embedding};
use crate::frame::Frame;
use crate::model::ModelError;
use crate::model::detector::Detector;
use crate::track::Track;

/// Which of its models an errand is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Where faces are.
    Faces,
    /// Whose they are.
    Embeddings,
}

/// The models of faces with what they work on: it goes to whoever may infer and comes back with the answer. Report lends it the lists
/// and takes them again, so that none of them is made anew.
pub(super) struct Errand {
    pub(super) ask: Ask,
    /// Gone when it comes back: whoever has the other one may be the only one who has it.
    pub(super) frame: Option<Arc<Frame>>,
    faces: Detector,
    embedder: Option<Embedder>,
    /// For [`Ask::Faces`]: whose heads have been looked at, who is there, and the answer.
    pub(super) looked: FaceLook,
    pub(super) tracks: Vec<Track>,
    pub(super) found: Vec<Detection>,
    /// For [`Ask::Embeddings`]: the faces, and the answer.
    pub(super) landmarks: Vec<Landmarks>,
    pub(super) embeddings: Vec<Option<Embedding>>,
    /// Whether there is one.
    pub(super) result: Result<(), ModelError>,
}

impl Errand {
    pub(super) fn new(faces: Detector, embedder: Option<Embedder>) -> Self {
        Self {
            ask: Ask::Faces,
            frame: None,
            faces,
            embedder,
            looked: FaceLook::new(None),
            tracks: Vec::new(),
            found: Vec::new(),
            landmarks: Vec::new(),
            embeddings: Vec::new(),
            result: Ok(()),
        }
    }

    /// Infers.
    pub(super) fn run(&mut self) {
        let Some(frame) = self.frame.take() else { return };
        self.result = match (self.ask, &mut self.embedder) {
            (Ask::Faces, _) => self.looked.look(&mut self.faces, &frame, &self.tracks, &mut self.found),
            (Ask::Embeddings, Some(embedder)) => embedder.embed(&frame, &self.landmarks, &mut self.embeddings),
            (Ask::Embeddings, None) => Ok(()),
        };
    }
}
