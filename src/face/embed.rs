//! Aligned faces to vectors that say whose they are.
//!
//! An [`Embedding`] is personal data. It cannot be cloned, serialised or printed, and its memory is overwritten when it is
//! dropped; the only thing to do with it is to compare it.

use zeroize::Zeroize;

use super::align::Aligner;
use crate::detection::Landmarks;
use crate::frame::Frame;
use crate::model::ModelError;
use crate::model::card::{Card, FamilySpec, Task};
use crate::model::detector::check_input;
use crate::model::infer::{Infer, OutputView, Runtime};

/// A face as a vector of length 1.
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Brings a model's vector to length 1. `None` when that cannot be done: a zero vector, or one that is not finite.
    pub fn normalised(raw: &[f32]) -> Option<Self> {
        let norm = raw.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        let sound = norm.is_finite() && norm > 1e-12;
        sound.then(|| {
            let values: Box<[f32]> = raw.iter().map(|v| (f64::from(*v) / norm) as f32).collect();
            // Out of swap, with the rest of its pages; they stay so when it is gone, for the next ones. Where the user's limit is
            // too low for that, swap is the user's to encrypt.
            let _ = crate::seal::lock_memory(&values);
            Self(values)
        })
    }

    /// Likeness, -1..=1; 0 for embeddings of different length (of different models).
    pub fn cosine(&self, other: &Self) -> f32 {
        if self.0.len() != other.0.len() {
            return 0.0;
        }
        let dot: f64 = self.0.iter().zip(&other.0).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        dot.clamp(-1.0, 1.0) as f32
    }

    /// Number of dimensions.
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// For the gallery alone, which keeps them in another form.
    pub(super) fn values(&self) -> &[f32] {
        &self.0
    }
}

impl Drop for Embedding {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Embedding {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embedding({} dimensions)", self.0.len())
    }
}

/// A loaded embedder.
pub struct Embedder {
    card: Card,
    infer: Box<dyn Infer>,
    aligner: Aligner,
    dimensions: usize,
    tensor: Vec<f32>,
}

impl Embedder {
    /// Loads the weights of `card` into a session with `threads` threads.
    ///
    /// # Errors
    /// [`ModelError`]: wrong hash, a model the runtime refuses, tensors other than the card says, or no embedder.
    pub fn load(runtime: &Runtime, card: Card, threads: usize) -> Result<Self, ModelError> {
        let weights = card.verified_weights()?;
        let session = runtime.session(&card.name, &weights, threads, &card.tensors)?;
        Self::new(card, Box::new(session))
    }

    /// Binds a card to something that answers tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when names, types or dimensions differ, [`ModelError::Session`] for a card of another task.
    pub fn new(card: Card, infer: Box<dyn Infer>) -> Result<Self, ModelError> {
        let refused = |what: String| ModelError::Session { model: card.name.clone(), what };
        let (FamilySpec::Embedding { dimensions }, Task::Embed) = (&card.family, card.task) else {
            return Err(refused(format!("wanted an embedder, found task '{}'", card.task.name())));
        };
        let dimensions = *dimensions;
        check_input(&card, infer.as_ref())?;
        let aligner = Aligner::new(&card.input)
            .ok_or_else(|| refused(format!("[input] size: wanted a fixed square, found {:?}", card.input.size)))?;
        if let Some(info) = infer.outputs().first() {
            // [N, dimensions]; a model that does not tell its shape is found out by its answer.
            let fits = info.dims.is_empty()
                || (info.dims.len() == 2 && (info.dims[1] == -1 || info.dims[1] == dimensions as i64));
            if !fits {
                return Err(ModelError::Tensor {
                    model: card.name.clone(),
                    tensor: info.name.clone(),
                    wanted: format!("Float32 [-1, {dimensions}] (card, [output] dimensions)"),
                    found: info.kind.clone(),
                });
            }
        }
        Ok(Self { card, infer, aligner, dimensions, tensor: Vec::new() })
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Replaces the content of `out` by one entry for each face, in their order: `None` where the landmarks are no face's
    /// (see [`super::align::Similarity::to_frame`]) or the model's answer has no direction.
    ///
    /// # Errors
    /// [`ModelError`] when inference fails or answers another number of values than announced.
    pub fn embed(
        &mut self,
        frame: &Frame,
        faces: &[Landmarks],
        out: &mut Vec<Option<Embedding>>,
    ) -> Result<(), ModelError> {
        out.clear();
        out.resize_with(faces.len(), || None);
        let side = match self.card.input.size {
            crate::model::card::InputSize::Fixed([w, _]) => w as usize,
            crate::model::card::InputSize::Dynamic(_) => 0, // refused in `new`
        };
        let shape = match self.card.input.layout {
            crate::model::card::Layout::Nchw => [1, 3, side, side],
            crate::model::card::Layout::Nhwc => [1, side, side, 3],
        };
        self.tensor.resize(self.aligner.len(), 0.0);
        // One by one: a batch of four takes .96 of the time, and each of its faces 3 MB and more of activations.
        for (face, embedding) in faces.iter().zip(out) {
            if self.aligner.align(frame, face, &mut self.tensor) {
                self.infer.run(shape, &self.tensor, &mut |outputs| {
                    *embedding = Embedding::normalised(OutputView::sized(outputs, 0, self.dimensions)?);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_have_length_one_and_say_nothing() {
        let a = Embedding::normalised(&[3.0, 4.0]).expect("a direction");
        let b = Embedding::normalised(&[-4.0, 3.0]).expect("a direction");
        assert_eq!(a.cosine(&a), 1.0);
        assert!(a.cosine(&b).abs() < 1e-7);
        assert_eq!(format!("{a:?}"), "Embedding(2 dimensions)");
        assert_eq!(a.cosine(&Embedding::normalised(&[1.0]).expect("a direction")), 0.0);
    }

    #[test]
    fn a_vector_without_direction_is_refused() {
        for bad in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0], &[]] {
            assert!(Embedding::normalised(bad).is_none(), "{bad:?}");
        }
    }
}
