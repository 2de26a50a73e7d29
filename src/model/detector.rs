//! A detector: card, session and decoder bound together and checked against each other.

use super::ModelError;
use super::card::{Card, FamilySpec, InputSize, Layout, Task};
use super::family::{Candidate, Seen, anchors_box_classscores, stride_cls_obj_box_kps};
use super::infer::{Infer, Runtime};
use super::nms;
use super::prep::{LongSide, Prep};
use crate::detection::{ClassId, Detection};
use crate::frame::Frame;
use crate::geom::{Region, Size};
use crate::labels::Labels;

enum Decoder {
    Stride { strides: Vec<u32> },
    Anchors { anchors: Vec<anchors_box_classscores::AnchorBox>, variances: [f32; 2], is_class: Vec<bool> },
}

/// A loaded detector of objects or faces.
pub struct Detector {
    card: Card,
    infer: Box<dyn Infer>,
    prep: Prep,
    decoder: Decoder,
    /// Class of each column; `None` for a column that is no class or whose label is not wanted.
    classes: Vec<Option<ClassId>>,
    candidates: Vec<Candidate>,
    merged: Vec<(Detection, Region)>,
}

impl Detector {
    /// Loads the weights of `card` into a session with `threads` threads; its labels are entered into `labels`.
    ///
    /// # Errors
    /// [`ModelError`]: wrong hash, a model the runtime refuses, tensors other than the card says.
    pub fn load(runtime: &Runtime, card: Card, threads: usize, labels: &mut Labels) -> Result<Self, ModelError> {
        let weights = card.verified_weights()?;
        let session = runtime.session(&card.name, &weights, threads, &card.tensors)?;
        Self::new(card, Box::new(session), labels)
    }

    /// Binds a card to something that answers tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when names, types, dimensions or the number of labels differ.
    pub fn new(card: Card, infer: Box<dyn Infer>, labels: &mut Labels) -> Result<Self, ModelError> {
        check_input(&card, infer.as_ref())?;
        let decoder = match &card.family {
            FamilySpec::StrideClsObjBoxKps { strides } => {
                if card.labels.len() != 1 {
                    return Err(ModelError::Tensor {
                        model: card.name.clone(),
                        tensor: card.tensors.first().cloned().unwrap_or_default(),
                        wanted: "one label (card, [output] labels)".into(),
                        found: format!("{} labels", card.labels.len()),
                    });
                }
                Decoder::Stride { strides: strides.clone() }
            }
            FamilySpec::AnchorsBoxClassScores { grids, anchors, variances } => {
                let anchors = anchors_box_classscores::anchors(grids, anchors);
                for (index, per_anchor) in [(0, 4), (1, card.labels.len())] {
                    let Some(info) = infer.outputs().get(index) else { continue };
                    let fixed = info.dims.iter().all(|d| *d > 0);
                    let found: i64 = info.dims.iter().product();
                    if fixed && found != (anchors.len() * per_anchor) as i64 {
                        return Err(ModelError::Tensor {
                            model: card.name.clone(),
                            tensor: info.name.clone(),
                            wanted: format!("{} anchors x {per_anchor} (card: grids, anchors, labels)", anchors.len()),
                            found: info.kind.clone(),
                        });
                    }
                }
                Decoder::Anchors {
                    anchors,
                    variances: *variances,
                    is_class: card.labels.iter().map(Option::is_some).collect(),
                }
            }
            FamilySpec::Embedding { .. } => {
                return Err(ModelError::Session {
                    model: card.name.clone(),
                    what: format!("wanted a detector, found task '{}'", card.task.name()),
                });
            }
        };
        let classes = card.labels.iter().map(|l| l.as_deref().map(|l| labels.intern(l))).collect();
        let prep = Prep::new(&card);
        Ok(Self { card, infer, prep, decoder, classes, candidates: Vec::new(), merged: Vec::new() })
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Reports only classes for which `wanted` holds.
    pub fn keep_classes(&mut self, wanted: impl Fn(ClassId) -> bool) {
        for class in &mut self.classes {
            *class = class.filter(|c| wanted(*c));
        }
        if let Decoder::Anchors { is_class, .. } = &mut self.decoder {
            // Spares the decoder the columns nobody wants.
            *is_class = self.classes.iter().map(Option::is_some).collect();
        }
    }

    /// Appends what the model sees in one region at or above `threshold`, suppressed, best first.
    ///
    /// # Errors
    /// [`ModelError`] when inference fails or answers other tensors than announced.
    pub fn detect(
        &mut self,
        frame: &Frame,
        region: Region,
        long_side: LongSide,
        threshold: f32,
        out: &mut Vec<Detection>,
    ) -> Result<(), ModelError> {
        let prepared = self.prep.prepare(frame, region, long_side);
        let seen = Seen { input: prepared.input, mapping: prepared.mapping, region, threshold };
        let (decoder, candidates) = (&self.decoder, &mut self.candidates);
        candidates.clear();
        self.infer.run(prepared.shape, prepared.data, &mut |outputs| match decoder {
            Decoder::Stride { strides } => stride_cls_obj_box_kps::decode(strides, outputs, &seen, candidates),
            Decoder::Anchors { anchors, variances, is_class } => {
                anchors_box_classscores::decode(anchors, *variances, is_class, outputs, &seen, candidates)
            }
        })?;
        nms::suppress(&mut self.candidates, self.card.nms_iou);
        out.extend(self.candidates.iter().filter_map(|c| {
            let class = self.classes.get(usize::from(c.column)).copied().flatten()?;
            Some(Detection { bbox: c.bbox, class, score: c.score, landmarks: c.landmarks })
        }));
        Ok(())
    }

    /// Looks at several regions of one frame and merges what they saw; replaces the content of `out`.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn detect_regions(
        &mut self,
        frame: &Frame,
        regions: &[Region],
        threshold: f32,
        out: &mut Vec<Detection>,
    ) -> Result<(), ModelError> {
        out.clear();
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        for &region in regions {
            let from = out.len();
            self.detect(frame, region, LongSide::Card, threshold, out)?;
            merged.extend(out.drain(from..).map(|d| (d, region)));
        }
        nms::merge_regions(&mut merged, frame.size(), self.card.nms_iou);
        out.extend(merged.iter().map(|(d, _)| *d));
        self.merged = merged;
        Ok(())
    }

    /// One run on a grey picture, so that the first real frame does not pay for lazy set-up.
    ///
    /// # Errors
    /// As [`Detector::detect`]: a model that fails here would fail on every frame.
    pub fn warm_up(&mut self) -> Result<(), ModelError> {
        let size = Size::new(64, 48);
        let grey = vec![128; size.pixels() * 3];
        let Some(frame) = Frame::from_rgb(crate::frame::Stamp::default(), size, grey) else { return Ok(()) };
        self.detect(&frame, Region::whole(size), LongSide::Card, 0.99, &mut Vec::new())
    }
}

/// Compares the card's input with the session's.
pub(crate) fn check_input(card: &Card, infer: &dyn Infer) -> Result<(), ModelError> {
    let wrong = |tensor: &str, wanted: String, found: String| {
        Err(ModelError::Tensor { model: card.name.clone(), tensor: tensor.to_owned(), wanted, found })
    };
    let inputs = infer.inputs();
    let name = &card.input.tensor;
    let [info] = inputs else {
        return wrong(name, "a model with one input".into(), format!("{} inputs", inputs.len()));
    };
    if info.name != *name {
        return wrong(name, "an input of that name (card, [input] tensor)".into(), info.name.clone());
    }
    let (w, h) = match card.input.size {
        InputSize::Fixed([w, h]) => (i64::from(w), i64::from(h)),
        InputSize::Dynamic(_) => (-1, -1),
    };
    let wanted = match card.input.layout {
        Layout::Nchw => [1, 3, h, w],
        Layout::Nhwc => [1, h, w, 3],
    };
    // The session's -1 takes any size; the card's -1 wants one that does. An embedder's batch may be free.
    let fits = info.is_f32
        && info.dims.len() == 4
        && info.dims.iter().zip(wanted).all(|(found, wanted)| *found == wanted || (*found == -1 && wanted != 3));
    if fits {
        Ok(())
    } else {
        let any = if card.task == Task::Embed { " (or -1 as the first)" } else { "" };
        wrong(name, format!("Float32 {wanted:?}{any}"), info.kind.clone())
    }
}
