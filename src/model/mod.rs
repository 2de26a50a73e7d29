//! Models: cards, the runtime, the way into a tensor and the way out of one.
//!
//! ```text
//! card.toml --Card--> Detector::load <-- Runtime (ONNX Runtime)
//! Frame + Region --prep--> tensor + Mapping --infer--> tensors --family--> candidates --nms--> Detections
//! ```

pub mod card;
pub mod detector;
pub mod draft;
pub mod family;
pub mod infer;
pub mod nms;
pub mod prep;
mod resample;
mod sys;

use std::path::PathBuf;

/// What can be wrong with a model. Every message is one line: what, where, wanted, found, and the fix where there is one.
#[derive(Debug)]
pub enum ModelError {
    /// No card of that name.
    Unknown {
        /// As asked for.
        name: String,
        /// Folders that were searched.
        looked: Vec<PathBuf>,
    },
    /// A card, or a file beside it, is not as it must be.
    Card {
        /// The file.
        path: PathBuf,
        /// Line or key, wanted, found.
        what: String,
    },
    /// The weights are missing, unreadable or others than the card names.
    Weights {
        /// The file.
        path: PathBuf,
        /// Wanted, found.
        what: String,
    },
    /// ONNX Runtime's library is missing or unusable.
    Runtime {
        /// What, and the fix.
        what: String,
    },
    /// ONNX Runtime refused the model or failed while running it.
    Session {
        /// The model.
        model: String,
        /// Its message, on one line.
        what: String,
    },
    /// A tensor is not what the card says.
    Tensor {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
        /// What the card (or the family) wants.
        wanted: String,
        /// What the session has.
        found: String,
    },
    /// The model's answer to its golden sample is not the expected one.
    Golden {
        /// The model.
        model: String,
        /// Wanted, found.
        what: String,
    },
}

impl std::fmt::Display for ModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { name, looked } => {
                let looked = looked.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
                write!(f, "model '{name}': no such card in {looked}: see `porchlight models list`, or name a card.toml")
            }
            Self::Card { path, what } | Self::Weights { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Runtime { what } => f.write_str(what),
            Self::Session { model, what } => write!(f, "model '{model}': {what}"),
            Self::Tensor { model, tensor, wanted, found } => {
                write!(f, "model '{model}': tensor '{tensor}': wanted {wanted}, found {found}")
            }
            Self::Golden { model, what } => write!(f, "model '{model}': golden sample: {what}"),
        }
    }
}

impl std::error::Error for ModelError {}
