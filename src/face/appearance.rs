//! Whole persons to vectors that say what they look like: clothes decide, not the person.
//!
//! The part of the frame that a person fills is fitted into the tensor as the card says, without landmarks. The vectors are
//! kept as carefully as those of faces ([`Embedding`]).

use super::embed::Embedding;
use crate::frame::Frame;
use crate::geom::Region;
use crate::model::ModelError;
use crate::model::card::{Card, FamilySpec, Task};
use crate::model::detector::check_input;
use crate::model::infer::{Infer, OutputView, Runtime};
use crate::model::prep::{LongSide, Prep};

/// A loaded model of task `reid`.
pub struct Appearance {
    infer: Box<dyn Infer>,
    prep: Prep,
    dimensions: usize,
}

impl Appearance {
    /// Loads the weights of `card` into a session with `threads` threads.
    ///
    /// # Errors
    /// [`ModelError`]: wrong hash, a model the runtime refuses, tensors other than the card says, or a card of another task.
    pub fn load(runtime: &Runtime, card: &Card, threads: usize) -> Result<Self, ModelError> {
        let weights = card.verified_weights()?;
        let session = runtime.session(&card.name, &weights, threads, &card.tensors)?;
        Self::new(card, Box::new(session))
    }

    /// Binds a card to something that answers tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when names, types or dimensions differ, [`ModelError::Session`] for a card of another task.
    pub fn new(card: &Card, infer: Box<dyn Infer>) -> Result<Self, ModelError> {
        let (FamilySpec::Embedding { dimensions }, Task::Reid) = (&card.family, card.task) else {
            let what = format!("wanted a model of task 'reid', found task '{}'", card.task.name());
            return Err(ModelError::Session { model: card.name.clone(), what });
        };
        check_input(card, infer.as_ref())?;
        if let Some(info) = infer.outputs().first()
            && info.elements().is_some_and(|n| n != *dimensions)
        {
            return Err(ModelError::Tensor {
                model: card.name.clone(),
                tensor: info.name.clone(),
                wanted: format!("Float32 [1, {dimensions}] (card, [output] dimensions)"),
                found: info.kind.clone(),
            });
        }
        Ok(Self { infer, prep: Prep::new(card), dimensions: *dimensions })
    }

    /// The vector of what fills `region` (cut to the frame); `None` when the model's answer has no direction.
    ///
    /// # Errors
    /// [`ModelError`] when inference fails or answers another number of values than announced.
    pub fn embed(&mut self, frame: &Frame, region: Region) -> Result<Option<Embedding>, ModelError> {
        let prepared = self.prep.prepare(frame, region, LongSide::Card);
        let (dimensions, mut found) = (self.dimensions, None);
        self.infer.run(prepared.shape, prepared.data, &mut |outputs| {
            found = Embedding::normalised(OutputView::sized(outputs, 0, dimensions)?);
            Ok(())
        })?;
        Ok(found)
    }
}
