//! Model cards: everything about a model that is not code.
//!
//! A model is a folder `models/NAME/` with a `card.toml`: the task, the weights and their hash, how a picture becomes the
//! input tensor and how the output tensors become detections. There are no silent defaults: a key that preprocessing or
//! decoding needs is required, a key that nobody consumes is refused. This module reads and checks cards; it does not know
//! ONNX Runtime. What a card says is compared with the session when the model is loaded ([`super::detector`]).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::Digest;

use super::ModelError;
use super::family::Activation;
use super::family::points_cls_box_kps::Points;
use super::family::priors_box_classes::{Part, Priors};
use super::family::stride_cls_dfl::Shape;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Boxes of many classes.
    Detect,
    /// Boxes and five landmarks of faces.
    Face,
    /// A vector that says whose face it is.
    Embed,
    /// A vector that says what somebody looks like as a whole.
    Reid,
}

impl Task {
    /// As the card spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Face => "face",
            Self::Embed => "embed",
            Self::Reid => "reid",
        }
    }
}

/// Order of the input tensor's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[1, 3, height, width]`: one plane after the other.
    Nchw,
    /// `[1, height, width, 3]`: pixel after pixel.
    Nhwc,
}

/// Order of the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// How pixels are resampled on the way to the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// Two by two source pixels, pixel centres aligned, no antialiasing: what most detectors were trained with.
    Bilinear,
    /// Shrinking averages all source pixels that fall into one (antialiased); growing is bilinear.
    Area,
}

/// Where a letterboxed picture lies in the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anchor {
    /// Padding on the right and at the bottom.
    TopLeft,
    /// Padding on both sides.
    Center,
}

/// The size of the input tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum InputSize {
    /// `[width, height]`.
    Fixed([u32; 2]),
    /// Any size.
    Dynamic(DynamicSize),
}

/// A size that follows the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicSize {
    /// The longer side is brought to this many pixels.
    pub long_side: u32,
    /// Both sides are padded to a multiple of this.
    pub multiple: u32,
}

/// How a picture of another shape is fitted into the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Both sides scaled on their own; the aspect ratio is lost.
    Stretch,
    /// A face is turned and scaled onto the template of [`crate::face::align`].
    Align,
    /// The aspect ratio is kept, the rest filled with one value.
    #[serde(untagged)]
    Letterbox(Letterbox),
}

/// Aspect ratio kept, the rest filled.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letterbox {
    /// The fill, 0..=255, before scale, mean and std.
    pub letterbox: f32,
    /// Where the picture lies.
    pub anchor: Anchor,
}

/// Picture to tensor: `value = (pixel * scale - mean) / std` for each channel, pixels 0..=255.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of the input tensor.
    pub tensor: String,
    /// Its layout.
    pub layout: Layout,
    /// Its size.
    pub size: InputSize,
    /// Channel order.
    pub colour: Colour,
    /// How pictures of other shapes are fitted.
    pub fit: Fit,
    /// How pixels are resampled.
    pub resample: Resample,
    /// Factor on the pixel.
    pub scale: f32,
    /// Subtracted, in the tensor's channel order.
    pub mean: [f32; 3],
    /// Divided by, in the tensor's channel order.
    pub std: [f32; 3],
}

/// The output section as written; [`Output::spec`] turns it into what a decoder needs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    family: String,
    tensors: Vec<String>,
    labels: Option<PathBuf>,
    activation: Option<String>,
    strides: Option<Vec<u32>>,
    grids: Option<Vec<u32>>,
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    variances: Option<[f32; 2]>,
    boxes: Option<String>,
    bins: Option<usize>,
    shift: Option<f32>,
    sizes: Option<Vec<Vec<f32>>>,
    clip: Option<bool>,
    parts: Option<Vec<String>>,
    per_cell: Option<usize>,
    exponents: Option<[f32; 2]>,
    score: Option<f32>,
    nms_iou: Option<f32>,
    dimensions: Option<usize>,
}

/// One expected detection of a golden sample.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The label.
    pub class: String,
    /// `[x, y, width, height]` in pixels of the picture.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// The score an independent runtime gave.
    pub score: f32,
    /// How far ours may be from it.
    pub score_tolerance: f32,
    /// The least intersection over union with ours.
    pub min_iou: f32,
    /// For faces: the five points, pixels of the picture; ours must lie within a twentieth of the box's longer side.
    pub landmarks: Option<[[f32; 2]; 5]>,
}

/// One expected similarity of a golden pair.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectCosine {
    /// A picture with one largest face.
    pub a: PathBuf,
    /// Another.
    pub b: PathBuf,
    /// Task `embed`: landmarks of the face in `a`, pixels: the embedder is tested alone.
    pub landmarks_a: Option<[[f32; 2]; 5]>,
    /// Landmarks of the face in `b`.
    pub landmarks_b: Option<[[f32; 2]; 5]>,
    /// Task `reid`: the person in `a`, `[x, y, width, height]` in whole pixels.
    pub box_a: Option<[u32; 4]>,
    /// The person in `b`.
    pub box_b: Option<[u32; 4]>,
    /// Cosine of the two embeddings.
    pub cosine: f32,
    /// How far ours may be from it.
    pub tolerance: f32,
}

/// What the model must answer to a committed picture; made with an independent runtime.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The picture, relative to the folder that holds `models/`.
    pub image: Option<PathBuf>,
    /// What must be found in it; nothing else may be found above the card's score threshold.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// For embedders.
    #[serde(default)]
    pub expect_cosine: Vec<ExpectCosine>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCard {
    task: Task,
    file: PathBuf,
    sha256: String,
    licence: String,
    licence_file: PathBuf,
    source: String,
    url: Option<String>,
    input: Input,
    output: Output,
    golden: Golden,
}

/// Parameters of a decoder, one variant per output layout.
#[derive(Clone, Debug, PartialEq)]
pub enum FamilySpec {
    /// See [`super::family::stride_cls_obj_box_kps`].
    StrideClsObjBoxKps {
        /// Pixels per cell of each level.
        strides: Vec<u32>,
    },
    /// See [`super::family::anchors_box_classscores`].
    AnchorsBoxClassScores {
        /// Cells per side of each level.
        grids: Vec<u32>,
        /// `[scale, ratio]` of each anchor of a cell, per level.
        anchors: Vec<Vec<[f32; 2]>>,
        /// Divisors of the centre and of the size offsets.
        variances: [f32; 2],
    },
    /// See [`super::family::grid_box_obj_classes`].
    GridBoxObjClasses {
        /// Pixels per cell of each level; empty when the boxes are ready.
        strides: Vec<u32>,
        /// What is left to do on the scores.
        activation: Activation,
    },
    /// See [`super::family::stride_cls_dfl`].
    StrideClsDfl {
        /// Levels and bins.
        shape: Shape,
        /// What is left to do on the scores.
        activation: Activation,
    },
    /// See [`super::family::columns_box_classes`].
    ColumnsBoxClasses {
        /// What is left to do on the scores.
        activation: Activation,
    },
    /// See [`super::family::priors_box_classes`].
    PriorsBoxClasses(Priors),
    /// See [`super::family::corners_classes`].
    CornersClasses {
        /// Corners are 0..1 of the input rather than its pixels.
        unit: bool,
    },
    /// See [`super::family::points_cls_box_kps`].
    PointsClsBoxKps {
        /// The grids.
        points: Points,
        /// What is left to do on the scores.
        activation: Activation,
    },
    /// See [`super::family::planes_obj_box_classes`].
    PlanesObjBoxClasses {
        /// Pixels per cell.
        stride: u32,
        /// Of objectness and of the class score.
        exponents: [f32; 2],
    },
    /// See [`super::family::heatmap_size_offset`].
    HeatmapSizeOffset {
        /// Pixels per cell.
        stride: u32,
        /// What is left to do on the heat.
        activation: Activation,
    },
    /// See [`super::family::rows_box_score_class`].
    RowsBoxScoreClass {
        /// Corners are 0..1 of the input rather than its pixels.
        unit: bool,
    },
    /// One vector per picture.
    Embedding {
        /// Its length.
        dimensions: usize,
    },
}

impl FamilySpec {
    /// The name used in cards.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::StrideClsObjBoxKps { .. } => "stride-cls-obj-box-kps",
            Self::AnchorsBoxClassScores { .. } => "anchors-box-classscores",
            Self::GridBoxObjClasses { .. } => "grid-box-obj-classes",
            Self::StrideClsDfl { .. } => "stride-cls-dfl",
            Self::ColumnsBoxClasses { .. } => "columns-box-classes",
            Self::PriorsBoxClasses(_) => "priors-box-classes",
            Self::CornersClasses { .. } => "corners-classes",
            Self::PointsClsBoxKps { .. } => "points-cls-box-kps",
            Self::PlanesObjBoxClasses { .. } => "planes-obj-box-classes",
            Self::HeatmapSizeOffset { .. } => "heatmap-size-offset",
            Self::RowsBoxScoreClass { .. } => "rows-box-score-class",
            Self::Embedding { .. } => "embedding",
        }
    }

    /// Whether it serves a task.
    pub fn serves(&self, task: Task) -> bool {
        match self {
            Self::Embedding { .. } => matches!(task, Task::Embed | Task::Reid),
            _ => matches!(task, Task::Detect | Task::Face),
        }
    }

    /// Whether its candidates have landmarks.
    pub fn has_landmarks(&self) -> bool {
        match self {
            Self::StrideClsObjBoxKps { .. } => true,
            Self::PriorsBoxClasses(p) => p.parts.iter().any(|p| matches!(p, Part::Landmarks | Part::BoxLandmarks)),
            Self::PointsClsBoxKps { points, .. } => points.landmarks,
            _ => false,
        }
    }

    /// How many elements each output must have for a fixed input of that size, in the order of the card's tensors; `None`
    /// where the family takes any number of rows.
    pub fn elements(&self, input: [u32; 2], columns: usize) -> Vec<Option<usize>> {
        let cells = |stride: &u32| input[0].div_ceil(*stride) as usize * input[1].div_ceil(*stride) as usize;
        let each = |strides: &[u32], widths: &[usize]| {
            strides.iter().flat_map(|s| widths.iter().map(move |w| Some(cells(s) * w))).collect()
        };
        match self {
            Self::StrideClsObjBoxKps { strides } => each(strides, &[1, 1, 4, 10]),
            Self::GridBoxObjClasses { strides, .. } if !strides.is_empty() => {
                vec![Some(strides.iter().map(cells).sum::<usize>() * (5 + columns))]
            }
            Self::StrideClsDfl { shape, .. } if shape.joined => {
                vec![Some(shape.strides.iter().map(cells).sum::<usize>() * (columns + 4 * shape.bins))]
            }
            Self::StrideClsDfl { shape, .. } => each(&shape.strides, &[columns, 4 * shape.bins]),
            Self::PriorsBoxClasses(p) => {
                let n: usize = p.strides.iter().zip(&p.sizes).map(|(s, sizes)| cells(s) * sizes.len()).sum();
                p.parts.iter().map(|part| Some(n * part.width(columns))).collect()
            }
            Self::PointsClsBoxKps { points: p, .. } => {
                let widths = [columns, 4, 10].map(|w| w * p.per_cell);
                each(&p.strides, &widths[..if p.landmarks { 3 } else { 2 }])
            }
            Self::PlanesObjBoxClasses { stride, .. } => vec![Some(cells(stride) * (5 + columns))],
            Self::HeatmapSizeOffset { stride, .. } => [columns, 2, 2].map(|w| Some(cells(stride) * w)).to_vec(),
            _ => Vec::new(),
        }
    }
}

/// A checked card.
#[derive(Clone, Debug)]
pub struct Card {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// What the model is for.
    pub task: Task,
    /// Path of the weights.
    pub weights: PathBuf,
    /// Their SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// SPDX name of the weights' licence.
    pub licence: String,
    /// The licence's text.
    pub licence_file: PathBuf,
    /// Where the weights come from.
    pub source: String,
    /// Where `models pull` fetches them.
    pub url: Option<String>,
    /// Picture to tensor.
    pub input: Input,
    /// Output tensors in the order the family wants them, `{stride}` written out.
    pub tensors: Vec<String>,
    /// The decoder.
    pub family: FamilySpec,
    /// One label per class column; `None` for a column that is no class.
    pub labels: Vec<Option<String>>,
    /// Scores below this are not reported unless the caller asks for another threshold.
    pub score: f32,
    /// Boxes of one class that overlap more than this are one object.
    pub nms_iou: f32,
    /// What the model must answer.
    pub golden: Golden,
}

/// Larger cards are refused before parsing: a card is a page of text.
const MAX_CARD_BYTES: u64 = 256 * 1024;

fn card_error(path: &Path, what: impl std::fmt::Display) -> ModelError {
    ModelError::Card { path: path.to_owned(), what: what.to_string() }
}

fn read_text(path: &Path) -> Result<String, ModelError> {
    let found = std::fs::metadata(path).map_err(|e| card_error(path, format_args!("cannot be read: {e}")))?;
    if !found.is_file() || found.len() > MAX_CARD_BYTES {
        return Err(card_error(
            path,
            format_args!("wanted a file of at most {MAX_CARD_BYTES} bytes, found {} bytes", found.len()),
        ));
    }
    std::fs::read_to_string(path).map_err(|e| card_error(path, format_args!("cannot be read: {e}")))
}

/// A parse error as one line, with the line number that `toml` knows.
pub fn toml_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
            // This one message does not say which key.
            let key = text.get(span).filter(|_| message == "duplicate key").map_or("", str::trim);
            let colon = if key.is_empty() { "" } else { ": " };
            format!("line {line}: {message}{colon}{key}")
        }
        None => message,
    }
}

/// A path in a card must stay inside its folder: cards are brought by strangers.
fn inside(dir: &Path, relative: &Path, card: &Path, key: &str) -> Result<PathBuf, ModelError> {
    let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if plain && relative.components().next().is_some() {
        Ok(dir.join(relative))
    } else {
        Err(card_error(
            card,
            format_args!(
                "key '{key}': wanted a file name inside the card's folder, found {:?}",
                relative.display().to_string()
            ),
        ))
    }
}

impl Output {
    fn need<T: Clone>(&self, value: &Option<T>, key: &str) -> Result<T, String> {
        value.clone().ok_or_else(|| format!("[output] family '{}' needs the key '{key}'", self.family))
    }

    /// Refuses keys that the family does not read.
    fn only(&self, keys: &[&str]) -> Result<(), String> {
        let given = [
            ("labels", self.labels.is_some()),
            ("activation", self.activation.is_some()),
            ("strides", self.strides.is_some()),
            ("grids", self.grids.is_some()),
            ("anchors", self.anchors.is_some()),
            ("variances", self.variances.is_some()),
            ("boxes", self.boxes.is_some()),
            ("bins", self.bins.is_some()),
            ("shift", self.shift.is_some()),
            ("sizes", self.sizes.is_some()),
            ("clip", self.clip.is_some()),
            ("parts", self.parts.is_some()),
            ("per_cell", self.per_cell.is_some()),
            ("exponents", self.exponents.is_some()),
            ("score", self.score.is_some()),
            ("nms_iou", self.nms_iou.is_some()),
            ("dimensions", self.dimensions.is_some()),
        ];
        match given.iter().find(|(key, there)| *there && !keys.contains(key)) {
            Some((key, _)) => Err(format!("[output] family '{}' does not use the key '{key}': remove it", self.family)),
            None => Ok(()),
        }
    }

    fn applied(&self) -> Result<(), String> {
        let found = self.need(&self.activation, "activation")?;
        if found == "applied" {
            Ok(())
        } else {
            Err(format!("[output] activation: wanted \"applied\" for family '{}', found {found:?}", self.family))
        }
    }

    fn activation(&self) -> Result<Activation, String> {
        match self.need(&self.activation, "activation")?.as_str() {
            "applied" => Ok(Activation::Applied),
            "sigmoid" => Ok(Activation::Sigmoid),
            other => Err(format!("[output] activation: wanted \"applied\" or \"sigmoid\", found {other:?}")),
        }
    }

    fn strides(&self) -> Result<Vec<u32>, String> {
        let strides = self.need(&self.strides, "strides")?;
        if strides.is_empty() || strides.len() > 16 || strides.iter().any(|s| !(1..=1024).contains(s)) {
            return Err(format!("[output] strides: wanted 1..=1024 each, found {strides:?}"));
        }
        Ok(strides)
    }

    /// The stride of a family with one level.
    fn stride(&self) -> Result<u32, String> {
        match self.strides()?[..] {
            [one] => Ok(one),
            _ => Err(format!("[output] strides: family '{}' wants one", self.family)),
        }
    }

    /// Whether boxes are 0..1 of the input rather than its pixels.
    fn unit(&self) -> Result<bool, String> {
        match self.need(&self.boxes, "boxes")?.as_str() {
            "unit" => Ok(true),
            "pixels" => Ok(false),
            other => Err(format!("[output] boxes: wanted \"unit\" or \"pixels\", found {other:?}")),
        }
    }

    fn shift(&self, most: f32) -> Result<f32, String> {
        match self.need(&self.shift, "shift")? {
            shift if shift.abs() <= most => Ok(shift),
            shift => Err(format!("[output] shift: wanted -{most}..={most}, found {shift}")),
        }
    }

    fn priors(&self) -> Result<Priors, String> {
        let strides = self.strides()?;
        let sizes = self.need(&self.sizes, "sizes")?;
        let good = |v: &f32| v.is_finite() && *v > 0.0;
        if sizes.len() != strides.len() || sizes.iter().any(|l| l.is_empty() || l.len() > 64 || !l.iter().all(good)) {
            return Err(format!(
                "[output] sizes: wanted a list of numbers above 0 for each of {} strides, found {sizes:?}",
                strides.len()
            ));
        }
        let variances = self.need(&self.variances, "variances")?;
        if !variances.iter().all(good) {
            return Err(format!("[output] variances: wanted two numbers above 0, found {variances:?}"));
        }
        let mut parts = Vec::new();
        for name in self.need(&self.parts, "parts")? {
            let Some((_, part)) = Part::NAMES.iter().find(|(n, _)| *n == name) else {
                let names = Part::NAMES.map(|(n, _)| format!("{n:?}")).join(", ");
                return Err(format!("[output] parts: wanted some of {names}, found {name:?}"));
            };
            parts.push(*part);
        }
        let count = |wanted: &[Part]| parts.iter().filter(|p| wanted.contains(p)).count();
        let once = count(&[Part::Box, Part::BoxLandmarks]) == 1
            && count(&[Part::Classes]) == 1
            && count(&[Part::Landmarks, Part::BoxLandmarks]) <= 1
            && count(&[Part::Quality]) <= 1;
        if !once {
            return Err(
                "[output] parts: wanted \"box\" or \"box-kps\" once, \"classes\" once, the others at most once".into(),
            );
        }
        Ok(Priors { strides, sizes, clip: self.need(&self.clip, "clip")?, variances, parts })
    }

    fn spec(&self) -> Result<FamilySpec, String> {
        match self.family.as_str() {
            "stride-cls-obj-box-kps" => {
                self.only(&["labels", "activation", "strides", "score", "nms_iou"])?;
                self.applied()?;
                Ok(FamilySpec::StrideClsObjBoxKps { strides: self.strides()? })
            }
            "anchors-box-classscores" => {
                self.only(&["labels", "activation", "grids", "anchors", "variances", "score", "nms_iou"])?;
                self.applied()?;
                let grids = self.need(&self.grids, "grids")?;
                let anchors = self.need(&self.anchors, "anchors")?;
                let variances = self.need(&self.variances, "variances")?;
                if grids.is_empty() || grids.len() != anchors.len() || grids.iter().any(|g| !(1..=4096).contains(g)) {
                    return Err(format!(
                        "[output] grids and anchors: wanted as many levels in both and grids of 1..=4096, found {} grids {grids:?} and {} lists of anchors",
                        grids.len(),
                        anchors.len()
                    ));
                }
                let good = |v: f32| v.is_finite() && v > 0.0;
                if !anchors.iter().all(|l| !l.is_empty() && l.iter().all(|a| good(a[0]) && good(a[1]))) {
                    return Err("[output] anchors: wanted [scale, ratio] pairs above 0".into());
                }
                if !variances.iter().all(|v| good(*v)) {
                    return Err(format!("[output] variances: wanted two numbers above 0, found {variances:?}"));
                }
                Ok(FamilySpec::AnchorsBoxClassScores { grids, anchors, variances })
            }
            "grid-box-obj-classes" => {
                self.only(&["labels", "activation", "boxes", "strides", "score", "nms_iou"])?;
                let activation = self.activation()?;
                let strides = match self.need(&self.boxes, "boxes")?.as_str() {
                    "cells" => self.strides()?,
                    "pixels" if self.strides.is_some() => {
                        return Err("[output] strides: boxes \"pixels\" are ready: remove the key".into());
                    }
                    "pixels" => Vec::new(),
                    other => return Err(format!("[output] boxes: wanted \"cells\" or \"pixels\", found {other:?}")),
                };
                Ok(FamilySpec::GridBoxObjClasses { strides, activation })
            }
            "stride-cls-dfl" => {
                self.only(&["labels", "activation", "strides", "bins", "shift", "score", "nms_iou"])?;
                let bins = self.need(&self.bins, "bins")?;
                if !(2..=64).contains(&bins) {
                    return Err(format!("[output] bins: wanted 2..=64, found {bins}"));
                }
                let (strides, shift) = (self.strides()?, self.shift(64.0)?);
                let shape = Shape { strides, bins, shift, joined: self.tensors.len() == 1 };
                Ok(FamilySpec::StrideClsDfl { shape, activation: self.activation()? })
            }
            "columns-box-classes" => {
                self.only(&["labels", "activation", "score", "nms_iou"])?;
                Ok(FamilySpec::ColumnsBoxClasses { activation: self.activation()? })
            }
            "priors-box-classes" => {
                self.only(&[
                    "labels",
                    "activation",
                    "strides",
                    "sizes",
                    "clip",
                    "variances",
                    "parts",
                    "score",
                    "nms_iou",
                ])?;
                self.applied()?;
                Ok(FamilySpec::PriorsBoxClasses(self.priors()?))
            }
            "corners-classes" => {
                self.only(&["labels", "activation", "boxes", "score", "nms_iou"])?;
                self.applied()?;
                Ok(FamilySpec::CornersClasses { unit: self.unit()? })
            }
            "points-cls-box-kps" => {
                self.only(&["labels", "activation", "strides", "per_cell", "shift", "score", "nms_iou"])?;
                let per_cell = self.need(&self.per_cell, "per_cell")?;
                if !(1..=16).contains(&per_cell) {
                    return Err(format!("[output] per_cell: wanted 1..=16, found {per_cell}"));
                }
                let (strides, shift) = (self.strides()?, self.shift(1.0)?);
                let given = self.tensors.len();
                let landmarks = given == 3 || given == 3 * strides.len();
                let points = Points { strides, per_cell, shift, landmarks };
                Ok(FamilySpec::PointsClsBoxKps { points, activation: self.activation()? })
            }
            "planes-obj-box-classes" => {
                self.only(&["labels", "activation", "strides", "exponents", "score", "nms_iou"])?;
                self.applied()?;
                let exponents = self.need(&self.exponents, "exponents")?;
                if !exponents.iter().all(|e| (0.0..=4.0).contains(e)) {
                    return Err(format!("[output] exponents: wanted two numbers in 0..=4, found {exponents:?}"));
                }
                Ok(FamilySpec::PlanesObjBoxClasses { stride: self.stride()?, exponents })
            }
            "heatmap-size-offset" => {
                self.only(&["labels", "activation", "strides", "score", "nms_iou"])?;
                Ok(FamilySpec::HeatmapSizeOffset { stride: self.stride()?, activation: self.activation()? })
            }
            "rows-box-score-class" => {
                self.only(&["labels", "activation", "boxes", "score", "nms_iou"])?;
                self.applied()?;
                Ok(FamilySpec::RowsBoxScoreClass { unit: self.unit()? })
            }
            "embedding" => {
                self.only(&["dimensions"])?;
                let dimensions = self.need(&self.dimensions, "dimensions")?;
                if !(1..=4096).contains(&dimensions) {
                    return Err(format!("[output] dimensions: wanted 1..=4096, found {dimensions}"));
                }
                Ok(FamilySpec::Embedding { dimensions })
            }
            other => Err(format!(
                "[output] family: wanted one of {}, found {other:?}",
                super::family::NAMES.map(|n| format!("{n:?}")).join(", ")
            )),
        }
    }

    /// `cls_{stride}` becomes one name per stride, level by level; names may also be written out level by level.
    fn tensor_names(&self, family: &FamilySpec) -> Result<Vec<String>, String> {
        let (per_level, levels): (usize, &[u32]) = match family {
            FamilySpec::StrideClsObjBoxKps { strides } => (4, strides),
            FamilySpec::StrideClsDfl { shape, .. } if !shape.joined => (2, &shape.strides),
            FamilySpec::PointsClsBoxKps { points, .. } => (if points.landmarks { 3 } else { 2 }, &points.strides),
            FamilySpec::PriorsBoxClasses(p) => (p.parts.len(), &[]),
            FamilySpec::AnchorsBoxClassScores { .. } | FamilySpec::CornersClasses { .. } => (2, &[]),
            FamilySpec::HeatmapSizeOffset { .. } => (3, &[]),
            _ => (1, &[]),
        };
        let all = per_level * levels.len().max(1);
        let by_stride = !levels.is_empty() && self.tensors.iter().all(|t| t.contains("{stride}"));
        let wanted = if by_stride { per_level } else { all };
        if self.tensors.len() != wanted {
            let each = if levels.is_empty() {
                String::new()
            } else {
                format!(" with {{stride}} in each, or {all} level by level")
            };
            return Err(format!(
                "[output] tensors: family '{}' wants {per_level} names{each}, found {}",
                self.family,
                self.tensors.len()
            ));
        }
        if !by_stride {
            return Ok(self.tensors.clone());
        }
        let named = |s: &u32| self.tensors.iter().map(|t| t.replace("{stride}", &s.to_string())).collect::<Vec<_>>();
        Ok(levels.iter().flat_map(named).collect())
    }
}

impl Input {
    fn check(&self, task: Task) -> Result<(), String> {
        let bad =
            |key: &str, wanted: &str, found: String| Err(format!("[input] {key}: wanted {wanted}, found {found}"));
        match self.size {
            InputSize::Fixed([w, h]) if !(1..=8192).contains(&w) || !(1..=8192).contains(&h) => {
                return bad("size", "[width, height] of 1..=8192", format!("[{w}, {h}]"));
            }
            InputSize::Dynamic(DynamicSize { long_side, multiple })
                if !(1..=8192).contains(&long_side) || !(1..=1024).contains(&multiple) =>
            {
                return bad(
                    "size",
                    "long_side of 1..=8192 and multiple of 1..=1024",
                    format!("long_side {long_side}, multiple {multiple}"),
                );
            }
            _ => {}
        }
        if matches!(self.size, InputSize::Dynamic(_)) && !matches!(self.fit, Fit::Letterbox(_)) {
            return bad("fit", "{ letterbox = .., anchor = \"..\" } with a dynamic size", format!("{:?}", self.fit));
        }
        if (task == Task::Embed) != (self.fit == Fit::Align) {
            return bad("fit", "\"align\" for task \"embed\" and only there", format!("{:?}", self.fit));
        }
        if let Fit::Letterbox(l) = self.fit
            && !(0.0..=255.0).contains(&l.letterbox)
        {
            return bad("fit.letterbox", "0..=255", l.letterbox.to_string());
        }
        if !self.scale.is_finite() || self.scale == 0.0 {
            return bad("scale", "a finite number other than 0", self.scale.to_string());
        }
        if self.mean.iter().any(|v| !v.is_finite()) {
            return bad("mean", "finite numbers", format!("{:?}", self.mean));
        }
        if self.std.iter().any(|v| !v.is_finite() || *v == 0.0) {
            return bad("std", "finite numbers other than 0", format!("{:?}", self.std));
        }
        Ok(())
    }
}

impl Card {
    /// Reads and checks `dir/card.toml`. The weights are not read yet: see [`Card::verified_weights`].
    ///
    /// # Errors
    /// [`ModelError::Card`] with file, line or key, wanted and found.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("card.toml");
        let text = read_text(&path)?;
        let raw: RawCard = toml::from_str(&text).map_err(|e| card_error(&path, toml_line(&text, &e)))?;
        let name = dir
            .canonicalize()
            .ok()
            .and_then(|d| d.file_name().and_then(|n| n.to_str()).map(str::to_owned))
            .ok_or_else(|| card_error(&path, "the folder's name is the model's name: wanted UTF-8 text"))?;
        if raw.sha256.len() != 64 || !raw.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(card_error(
                &path,
                format_args!("key 'sha256': wanted 64 lower-case hexadecimal digits, found {:?}", raw.sha256),
            ));
        }
        raw.input.check(raw.task).map_err(|e| card_error(&path, e))?;
        let family = raw.output.spec().map_err(|e| card_error(&path, e))?;
        if !family.serves(raw.task) {
            return Err(card_error(
                &path,
                format_args!("[output] family '{}' does not serve task '{}'", family.name(), raw.task.name()),
            ));
        }
        let tensors = raw.output.tensor_names(&family).map_err(|e| card_error(&path, e))?;
        let ratio = |key: &str, value: Option<f32>| -> Result<f32, ModelError> {
            match value {
                Some(v) if (0.0..=1.0).contains(&v) => Ok(v),
                Some(v) => Err(card_error(&path, format_args!("[output] {key}: wanted 0..=1, found {v}"))),
                None => Err(card_error(&path, format_args!("[output] the key '{key}' is missing"))),
            }
        };
        if let Some(url) = &raw.url
            && (url.len() > 2048 || !url.starts_with("https://") || url.contains(|c: char| !c.is_ascii_graphic()))
        {
            return Err(card_error(&path, format_args!("key 'url': wanted an https:// address, found {url:?}")));
        }
        let (labels, score, nms_iou) = if matches!(family, FamilySpec::Embedding { .. }) {
            (Vec::new(), 0.0, 0.0)
        } else {
            let Some(file) = &raw.output.labels else {
                return Err(card_error(&path, "[output] the key 'labels' is missing"));
            };
            let labels = read_labels(&inside(dir, file, &path, "labels")?)?;
            (labels, ratio("score", raw.output.score)?, ratio("nms_iou", raw.output.nms_iou)?)
        };
        Ok(Self {
            name,
            dir: dir.to_owned(),
            task: raw.task,
            weights: inside(dir, &raw.file, &path, "file")?,
            sha256: raw.sha256,
            licence: raw.licence,
            licence_file: inside(dir, &raw.licence_file, &path, "licence_file")?,
            source: raw.source,
            url: raw.url,
            input: raw.input,
            tensors,
            family,
            labels,
            score,
            nms_iou,
            golden: raw.golden,
        })
    }

    /// A golden picture's path: `relative` to the folder that holds `models/`.
    ///
    /// # Errors
    /// [`ModelError::Card`] when it leads out of there: cards are brought by strangers.
    pub fn golden_path(&self, relative: &Path) -> Result<PathBuf, ModelError> {
        let card = self.dir.join("card.toml");
        let dir = self.dir.canonicalize().map_err(|e| card_error(&card, format_args!("cannot be read: {e}")))?;
        let own = inside(&dir, relative, &card, "golden")?;
        // A card may bring its picture along.
        if own.is_file() {
            return Ok(own);
        }
        let root = dir.parent().and_then(Path::parent).unwrap_or(&dir);
        inside(root, relative, &card, "golden")
    }

    /// What to warn of before these weights are used: `None` for licences that allow any use as long as they are named.
    ///
    /// Known by the words of the SPDX name, so a name that is none of SPDX's is warned of too.
    pub fn licence_warning(&self) -> Option<String> {
        const FREE: [&str; 8] =
            ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "CC-BY-4.0", "Unlicense"];
        let name = &self.licence;
        if FREE.contains(&name.as_str()) {
            return None;
        }
        let upper = name.to_ascii_uppercase();
        let why = if upper.contains("AGPL") {
            "who offers it over a network must offer the source of the whole work under the AGPL"
        } else if upper.contains("GPL") {
            "the GPL covers the whole work it becomes part of"
        } else if upper.contains("-NC") || upper.contains("NONCOMMERCIAL") || upper.contains("NON-COMMERCIAL") {
            "not for commercial use"
        } else {
            "porchlight does not know what it allows"
        };
        Some(format!("model '{}': licence {name}: {why}", self.name))
    }

    /// The bytes of the weights, after their hash was compared with the card.
    ///
    /// # Errors
    /// [`ModelError::Weights`] when the file cannot be read, is larger than 2 GiB, or has another hash.
    pub fn verified_weights(&self) -> Result<Vec<u8>, ModelError> {
        const MAX: u64 = 2 << 30;
        let wrong = |what: String| ModelError::Weights { path: self.weights.clone(), what };
        let meta = std::fs::metadata(&self.weights).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                wrong(format!("cannot be read: {e}: fetch it with `porchlight models pull {}`", self.name))
            }
            _ => wrong(format!("cannot be read: {e}")),
        })?;
        if !meta.is_file() || meta.len() > MAX {
            return Err(wrong(format!("wanted a file of at most {MAX} bytes, found {} bytes", meta.len())));
        }
        let bytes = std::fs::read(&self.weights).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let found = hex(&sha2::Sha256::digest(&bytes));
        if found == self.sha256 {
            Ok(bytes)
        } else {
            Err(wrong(format!(
                "sha256: wanted {} (card), found {found}: fetch the file again or correct the card",
                self.sha256
            )))
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// One label a line; a line that is only `-` is a column without a class (COCO's numbering has such gaps).
fn read_labels(path: &Path) -> Result<Vec<Option<String>>, ModelError> {
    let text = read_text(path)?;
    let labels: Vec<_> = text.lines().map(str::trim_end).map(|l| (l != "-").then(|| l.to_owned())).collect();
    for (i, label) in labels.iter().enumerate() {
        if let Some(l) = label
            && (l.is_empty() || l.len() > 64 || l.chars().any(char::is_control))
        {
            return Err(card_error(
                path,
                format_args!("line {}: wanted a label of 1..=64 printable bytes or '-', found {l:?}", i + 1),
            ));
        }
    }
    if labels.iter().all(Option::is_none) || labels.len() > 10_000 {
        return Err(card_error(path, format_args!("wanted 1..=10000 labels, found {} lines", labels.len())));
    }
    Ok(labels)
}

/// Where cards are looked for: `PORCHLIGHT_MODELS`, `models/` and `../share/porchlight/models/` beside the executable,
/// the folder of the checkout this binary was built in.
pub fn library() -> Vec<PathBuf> {
    if let Some(dir) = std::env::var_os("PORCHLIGHT_MODELS").filter(|d| !d.is_empty()) {
        return vec![dir.into()];
    }
    let mut dirs = Vec::new();
    if let Some(dir) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        dirs.push(dir.join("models"));
        dirs.push(dir.join("../share/porchlight/models"));
    }
    // Empty in packages: they know of no checkout.
    dirs.extend(option_env!("PORCHLIGHT_MODELS_DIR").filter(|d| !d.is_empty()).map(PathBuf::from));
    dirs
}

/// The folder of the model `name`, or of a card given as a path (`./my/card.toml` or its folder).
///
/// # Errors
/// [`ModelError::Unknown`] with the folders that were looked in.
pub fn find(name: &str) -> Result<PathBuf, ModelError> {
    let path = Path::new(name);
    if name.contains('/') || name.ends_with(".toml") {
        let dir = if name.ends_with(".toml") { path.parent().unwrap_or(Path::new(".")) } else { path };
        return Ok(if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() });
    }
    let looked = library();
    match looked.iter().map(|d| d.join(name)).find(|d| d.join("card.toml").is_file()) {
        Some(dir) if !name.is_empty() && name != "." && name != ".." => Ok(dir),
        _ => Err(ModelError::Unknown { name: name.to_owned(), looked }),
    }
}

/// Every folder with a card, sorted by name; a name found twice is listed once, as [`find`] would take it.
pub fn all() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for dir in library() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.join("card.toml").is_file()) {
            if !found.iter().any(|f| f.file_name() == path.file_name()) {
                found.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}
