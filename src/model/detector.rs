//! A detector: card, session and decoder bound together and checked against each other.

use super::ModelError;
use super::card::{Card, FamilySpec, InputSize, Layout, Task};
use super::family::{
    Candidate, Seen, anchors_box_classscores, columns_box_classes, corners_classes, grid_box_obj_classes,
    heatmap_size_offset, planes_obj_box_classes, points_cls_box_kps, priors_box_classes, rows_box_score_class,
    stride_cls_dfl, stride_cls_obj_box_kps,
};
use super::infer::{Infer, OutputView, Runtime};
use super::nms;
use super::prep::{LongSide, Prep};
use crate::detection::{ClassId, Detection};
use crate::frame::Frame;
use crate::geom::{Region, Size};
use crate::labels::Labels;

enum Decoder {
    Anchors {
        anchors: Vec<anchors_box_classscores::AnchorBox>,
        variances: [f32; 2],
    },
    /// Everything its family needs is in the card.
    Plain,
}

/// A loaded detector of objects or faces.
pub struct Detector {
    card: Card,
    infer: Box<dyn Infer>,
    prep: Prep,
    decoder: Decoder,
    /// Class of each column; `None` for a column that is no class or whose label is not wanted.
    classes: Vec<Option<ClassId>>,
    /// Which of them are classes: spares the decoder the columns nobody wants.
    wanted: Vec<bool>,
    candidates: Vec<Candidate>,
    merged: Vec<(Detection, Region)>,
    order: nms::Order,
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
        let wrong = |tensor: &str, wanted: String, found: String| ModelError::Tensor {
            model: card.name.clone(),
            tensor: tensor.to_owned(),
            wanted,
            found,
        };
        let decoder = match &card.family {
            FamilySpec::StrideClsObjBoxKps { .. } if card.labels.len() != 1 => {
                let tensor = card.tensors.first().map_or("", String::as_str);
                let found = format!("{} labels", card.labels.len());
                return Err(wrong(tensor, "one label (card, [output] labels)".into(), found));
            }
            FamilySpec::AnchorsBoxClassScores { grids, anchors, variances } => {
                let anchors = anchors_box_classscores::anchors(grids, anchors);
                for (index, per_anchor) in [(0, 4), (1, card.labels.len())] {
                    let Some(info) = infer.outputs().get(index) else { continue };
                    if info.elements().is_some_and(|found| found != anchors.len() * per_anchor) {
                        let wanted = format!("{} anchors x {per_anchor} (card: grids, anchors, labels)", anchors.len());
                        return Err(wrong(&info.name, wanted, info.kind.clone()));
                    }
                }
                Decoder::Anchors { anchors, variances: *variances }
            }
            FamilySpec::Embedding { .. } => {
                return Err(ModelError::Session {
                    model: card.name.clone(),
                    what: format!("wanted a detector, found task '{}'", card.task.name()),
                });
            }
            _ => Decoder::Plain,
        };
        if let InputSize::Fixed(size) = card.input.size {
            let wanted = card.family.elements(size, card.labels.len());
            for (info, wanted) in infer.outputs().iter().zip(wanted) {
                if let (Some(wanted), Some(found)) = (wanted, info.elements())
                    && wanted != found
                {
                    let wanted = format!(
                        "{wanted} elements ([output] of the card, {} labels, input {}x{})",
                        card.labels.len(),
                        size[0],
                        size[1]
                    );
                    return Err(wrong(&info.name, wanted, info.kind.clone()));
                }
            }
        }
        if let (FamilySpec::ColumnsBoxClasses { .. }, Some(info)) = (&card.family, infer.outputs().first())
            && let [_, rows, _] = info.dims[..]
            && rows > 0
            && rows != 4 + card.labels.len() as i64
        {
            let wanted = format!("[1, 4 + {} labels, n]", card.labels.len());
            return Err(wrong(&info.name, wanted, info.kind.clone()));
        }
        let classes: Vec<_> = card.labels.iter().map(|l| l.as_deref().map(|l| labels.intern(l))).collect();
        let wanted = classes.iter().map(Option::is_some).collect();
        let prep = Prep::new(&card);
        let (candidates, merged, order) = Default::default();
        Ok(Self { card, infer, prep, decoder, classes, wanted, candidates, merged, order })
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
        self.wanted = self.classes.iter().map(Option::is_some).collect();
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
        let (decoder, family, wanted) = (&self.decoder, &self.card.family, self.wanted.as_slice());
        let candidates = &mut self.candidates;
        candidates.clear();
        self.infer.run(prepared.shape, prepared.data, &mut |outputs| {
            decode(decoder, family, wanted, outputs, &seen, candidates)
        })?;
        nms::suppress(&mut self.candidates, self.card.nms_iou, &mut self.order);
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
        nms::merge_regions(&mut merged, frame.size(), self.card.nms_iou, &mut self.order);
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

/// Output tensors to candidates, by the card's family.
fn decode(
    decoder: &Decoder,
    family: &FamilySpec,
    wanted: &[bool],
    outputs: &[OutputView<'_>],
    seen: &Seen,
    out: &mut Vec<Candidate>,
) -> Result<(), ModelError> {
    use FamilySpec as F;
    match family {
        F::StrideClsObjBoxKps { strides } => stride_cls_obj_box_kps::decode(strides, outputs, seen, out),
        F::GridBoxObjClasses { strides, activation } => {
            grid_box_obj_classes::decode(strides, *activation, wanted, outputs, seen, out)
        }
        F::StrideClsDfl { shape, activation } => stride_cls_dfl::decode(shape, *activation, wanted, outputs, seen, out),
        F::ColumnsBoxClasses { activation } => columns_box_classes::decode(*activation, wanted, outputs, seen, out),
        F::PriorsBoxClasses(priors) => priors_box_classes::decode(priors, wanted, outputs, seen, out),
        F::CornersClasses { unit } => corners_classes::decode(*unit, wanted, outputs, seen, out),
        F::PointsClsBoxKps { points, activation } => {
            points_cls_box_kps::decode(points, *activation, wanted, outputs, seen, out)
        }
        F::PlanesObjBoxClasses { stride, exponents } => {
            planes_obj_box_classes::decode(*stride, *exponents, wanted, outputs, seen, out)
        }
        F::HeatmapSizeOffset { stride, activation } => {
            heatmap_size_offset::decode(*stride, *activation, wanted, outputs, seen, out)
        }
        F::RowsBoxScoreClass { unit } => rows_box_score_class::decode(*unit, wanted, outputs, seen, out),
        F::AnchorsBoxClassScores { .. } | F::Embedding { .. } => match decoder {
            Decoder::Anchors { anchors, variances } => {
                anchors_box_classscores::decode(anchors, *variances, wanted, outputs, seen, out)
            }
            // Refused when the detector was made.
            Decoder::Plain => Ok(()),
        },
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
