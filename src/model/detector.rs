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

/// Most pictures of one inference.
pub const MAX_BATCH: usize = 256;
/// Most values in the input tensor of several pictures (1 GiB): a card from a stranger must not ask for more.
const MAX_BATCH_VALUES: usize = 1 << 28;

/// How many pictures a graph takes in one inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// As many as it is given.
    Any,
    /// Just so many; where there are fewer, the rest is padding.
    Fixed(usize),
}

impl Batch {
    /// What the first dimension of the input says; one picture where it says nothing.
    pub fn of(infer: &dyn Infer) -> Self {
        match infer.inputs().first().and_then(|info| info.dims.first()) {
            Some(-1) => Self::Any,
            Some(n) => Self::Fixed(usize::try_from(*n).unwrap_or(1).max(1)),
            None => Self::Fixed(1),
        }
    }

    /// Whether `count` pictures fit into one inference.
    pub fn takes(self, count: usize) -> bool {
        match self {
            Self::Any => count <= MAX_BATCH,
            Self::Fixed(n) => count <= n,
        }
    }

    /// How many pictures to give it unless told.
    pub fn usual(self) -> usize {
        match self {
            Self::Any => 1,
            Self::Fixed(n) => n,
        }
    }
}

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
    batch: Batch,
    /// The pictures of this inference.
    seen: Vec<Seen>,
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
        let batch = Batch::of(infer.as_ref());
        // Of a dynamic batch no number of elements is known before the answer.
        let pictures = if let Batch::Fixed(n) = batch { n } else { 1 };
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
                    if info.elements().is_some_and(|found| found != pictures * anchors.len() * per_anchor) {
                        let each = format!("{} anchors x {per_anchor} (card: grids, anchors, labels)", anchors.len());
                        let wanted = if pictures > 1 { format!("{pictures} x {each}") } else { each };
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
                if let (Some(wanted), Some(found)) = (wanted.map(|w| w * pictures), info.elements())
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
        let (seen, candidates, merged, order) = Default::default();
        Ok(Self { card, infer, prep, decoder, classes, wanted, batch, seen, candidates, merged, order })
    }

    /// How many pictures it takes in one inference.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// Whether `count` pictures fit into one inference.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] with what the graph says, when they do not.
    pub fn takes(&self, count: usize) -> Result<(), ModelError> {
        takes(&self.card, self.infer.as_ref(), count)
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
        self.together(&[(frame, region)], long_side, threshold, &mut |_, d| out.push(d))
    }

    /// What the model sees in each of `looks`, at most `batch` of them in one inference: replaces the content of `out` by one list for
    /// each, in their order, as [`Detector::detect`] fills it. A graph that takes fewer is given as many as it takes. With a
    /// dynamic input size only looks of the same tensor size share an inference.
    ///
    /// # Errors
    /// As [`Detector::detect`]; also when the tensor of a batch would be beyond 1 GiB or an output has no batch dimension.
    pub fn detect_batch(
        &mut self,
        looks: &[(&Frame, Region)],
        batch: usize,
        long_side: LongSide,
        threshold: f32,
        out: &mut Vec<Vec<Detection>>,
    ) -> Result<(), ModelError> {
        out.clear();
        out.resize_with(looks.len(), Vec::new);
        let most = match self.batch {
            Batch::Any => batch.clamp(1, MAX_BATCH),
            Batch::Fixed(n) => batch.clamp(1, n),
        };
        let size = |i: &usize| {
            let (frame, region) = looks[*i];
            let Size { width, height } = self.prep.input_size(frame, region, long_side);
            (width, height)
        };
        // Stable: of one size the order stays.
        let mut order: Vec<usize> = (0..looks.len()).collect();
        order.sort_by_cached_key(size);
        let groups: Vec<&[usize]> =
            order.chunk_by(|a, b| size(a) == size(b)).flat_map(|alike| alike.chunks(most)).collect();
        for group in groups {
            let these: Vec<_> = group.iter().map(|i| looks[*i]).collect();
            self.together(&these, long_side, threshold, &mut |i, d| out[group[i]].push(d))?;
        }
        Ok(())
    }

    /// One inference: what is seen in each of `looks`, suppressed, best first, is handed to `found` with the look's number. Their tensors
    /// have one size, and there are at most as many as the graph takes.
    fn together(
        &mut self,
        looks: &[(&Frame, Region)],
        long_side: LongSide,
        threshold: f32,
        found: &mut dyn FnMut(usize, Detection),
    ) -> Result<(), ModelError> {
        let Self { card, infer, prep, decoder, classes, wanted, batch, seen, candidates, order, .. } = self;
        let Some(&(frame, region)) = looks.first() else { return Ok(()) };
        let count = match *batch {
            Batch::Any => looks.len(),
            Batch::Fixed(n) => n,
        };
        let values = prep.input_size(frame, region, long_side).pixels() * 3;
        if count > 1 && values.saturating_mul(count) > MAX_BATCH_VALUES {
            return Err(ModelError::Tensor {
                model: card.name.clone(),
                tensor: card.input.tensor.clone(),
                wanted: format!("at most {MAX_BATCH_VALUES} values in one batch (use a smaller one)"),
                found: format!("{count} x {values}"),
            });
        }
        seen.clear();
        for (at, &(frame, region)) in looks.iter().enumerate() {
            let put = prep.put(at, frame, region, long_side);
            seen.push(Seen { input: put.input, mapping: put.mapping, region, threshold });
        }
        prep.pad(looks.len(), count);
        let (shape, data) = prep.batch(count);
        infer.run(shape, data, &mut |outputs| {
            for (i, seen) in seen.iter().enumerate() {
                candidates.clear();
                if count == 1 {
                    decode(decoder, &card.family, wanted, outputs, seen, candidates)?;
                } else {
                    let own = outputs.iter().map(|o| o.of_picture(i, count)).collect::<Result<Vec<_>, _>>()?;
                    decode(decoder, &card.family, wanted, &own, seen, candidates)?;
                }
                nms::suppress(candidates, card.nms_iou, order);
                for c in candidates.iter() {
                    if let Some(class) = classes.get(usize::from(c.column)).copied().flatten() {
                        found(i, Detection { bbox: c.bbox, class, score: c.score, landmarks: c.landmarks });
                    }
                }
            }
            Ok(())
        })
    }

    /// Looks at several regions of one frame, at most `batch` in one inference, and merges what they saw; replaces the content of
    /// `out`.
    ///
    /// # Errors
    /// As [`Detector::detect_batch`].
    pub fn detect_regions(
        &mut self,
        frame: &Frame,
        regions: &[Region],
        batch: usize,
        threshold: f32,
        out: &mut Vec<Detection>,
    ) -> Result<(), ModelError> {
        out.clear();
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        let looks: Vec<_> = regions.iter().map(|region| (frame, *region)).collect();
        let mut each = Vec::new();
        self.detect_batch(&looks, batch, LongSide::Card, threshold, &mut each)?;
        for (found, &region) in each.into_iter().zip(regions) {
            merged.extend(found.into_iter().map(|d| (d, region)));
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
        self.detect(&frame, Region::whole(size), LongSide::Card, 0.99, &mut Vec::new())?;
        // Of a dynamic size the camera's pictures want another.
        self.prep.give_tensor_back();
        Ok(())
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

/// Whether the graph takes `count` pictures in one inference.
///
/// # Errors
/// [`ModelError::Tensor`] with what the graph says, when it does not.
pub(crate) fn takes(card: &Card, infer: &dyn Infer, count: usize) -> Result<(), ModelError> {
    if Batch::of(infer).takes(count) {
        return Ok(());
    }
    let info = infer.inputs().first();
    Err(ModelError::Tensor {
        model: card.name.clone(),
        tensor: card.input.tensor.clone(),
        wanted: format!("-1 (any number of pictures) or at least {count} as the first dimension"),
        found: info.map_or_else(String::new, |i| i.kind.clone()),
    })
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
    // The session's -1 takes any size; the card's -1 wants one that does. The batch may be free; only detectors fill up a fixed one.
    let detects = matches!(card.task, Task::Detect | Task::Face);
    let most = if detects { MAX_BATCH as i64 } else { 1 };
    let fits = info.is_f32
        && info.dims.len() == 4
        && (info.dims[0] == -1 || (1..=most).contains(&info.dims[0]))
        && info.dims[1..]
            .iter()
            .zip(&wanted[1..])
            .all(|(found, wanted)| *found == *wanted || (*found == -1 && *wanted != 3));
    if fits {
        Ok(())
    } else {
        let any = if detects {
            format!(" (or -1, or up to {MAX_BATCH}, as the first)")
        } else {
            " (or -1 as the first)".into()
        };
        wrong(name, format!("Float32 {wanted:?}{any}"), info.kind.clone())
    }
}

#[cfg(test)]
mod tests;
