use std::sync::{Arc, Mutex};

use super::*;
use crate::frame::Stamp;
use crate::model::card::{Anchor, Colour, DynamicSize, Fit, Golden, Input, Letterbox, Resample};
use crate::model::family::Activation;
use crate::model::family::points_cls_box_kps::Points;
use crate::model::family::priors_box_classes::{Part, Priors};
use crate::model::family::stride_cls_dfl::Shape;
use crate::model::infer::TensorInfo;

/// The pictures of each inference, by the first value of each: its colour.
type Log = Arc<Mutex<Vec<Vec<f32>>>>;

/// Answers each picture of a batch with tensors that its colour alone decides.
struct Canned {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Dimensions of each output for one picture, without the batch.
    each: Vec<Vec<usize>>,
    /// Whether its answers have a batch dimension.
    tells: bool,
    log: Log,
}

/// 0..1, without a pattern.
fn noise(colour: f32, tensor: usize, at: usize) -> f32 {
    let mut x = (colour as u32).wrapping_mul(0x9e37_79b9) ^ (tensor as u32).wrapping_mul(0x85eb_ca6b) ^ at as u32;
    for _ in 0..2 {
        x = (x ^ (x >> 16)).wrapping_mul(0x45d9_f3b3);
    }
    (x >> 8) as f32 / 16_777_216.0
}

impl Infer for Canned {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }
    fn run(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        let colours: Vec<f32> = data.chunks_exact(data.len() / shape[0]).map(|picture| picture[0]).collect();
        let tensors: Vec<(Vec<i64>, Vec<f32>)> = self
            .each
            .iter()
            .enumerate()
            .map(|(t, dims)| {
                let n: usize = dims.iter().product();
                let values = colours.iter().flat_map(|c| (0..n).map(move |i| noise(*c, t, i))).collect();
                let mut dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
                if self.tells {
                    dims.insert(0, shape[0] as i64);
                } else {
                    dims[0] *= shape[0] as i64;
                }
                (dims, values)
            })
            .collect();
        self.log.lock().expect("one thread").push(colours);
        let view = |(dims, data)| OutputView { name: "t", dims, data };
        read(&tensors.iter().map(|(d, v)| view((d.as_slice(), v.as_slice()))).collect::<Vec<_>>())
    }
}

fn info(name: &str, dims: Vec<i64>) -> TensorInfo {
    TensorInfo { name: name.into(), kind: format!("Float32 {dims:?}"), dims, is_f32: true }
}

fn card(family: FamilySpec, labels: usize) -> Card {
    Card {
        name: "canned".into(),
        dir: "canned".into(),
        task: Task::Detect,
        weights: "canned".into(),
        sha256: String::new(),
        licence: "MIT".into(),
        licence_file: "canned".into(),
        source: String::new(),
        url: None,
        input: Input {
            tensor: "x".into(),
            layout: Layout::Nchw,
            size: InputSize::Fixed([32, 32]),
            colour: Colour::Rgb,
            fit: Fit::Stretch,
            resample: Resample::Bilinear,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        tensors: vec!["t".into()],
        family,
        labels: (0..labels).map(|i| Some(format!("class {i}"))).collect(),
        score: 0.5,
        nms_iou: 0.5,
        golden: Golden::default(),
    }
}

/// A detector of that card whose graph has that first dimension, and what it is asked to run.
fn detector(card: &Card, each: &[Vec<usize>], batch: i64) -> (Detector, Log) {
    let log = Log::default();
    let (w, h) = match card.input.size {
        InputSize::Fixed([w, h]) => (i64::from(w), i64::from(h)),
        InputSize::Dynamic(_) => (-1, -1),
    };
    let dims = |of: &Vec<usize>| std::iter::once(batch).chain(of.iter().map(|d| *d as i64)).collect();
    let canned = Canned {
        inputs: vec![info("x", vec![batch, 3, h, w])],
        outputs: each.iter().map(|of| info("t", dims(of))).collect(),
        each: each.to_vec(),
        tells: true,
        log: Arc::clone(&log),
    };
    (Detector::new(card.clone(), Box::new(canned), &mut Labels::default()).expect("fits"), log)
}

/// One colour everywhere.
fn plain(colour: u8, width: u32, height: u32) -> Frame {
    let size = Size::new(width, height);
    Frame::from_rgb(Stamp::default(), size, vec![colour; size.pixels() * 3]).expect("length fits")
}

fn wholes(frames: &[Frame]) -> Vec<(&Frame, Region)> {
    frames.iter().map(|f| (f, Region::whole(f.size()))).collect()
}

fn one_by_one(detector: &mut Detector, frames: &[Frame]) -> Vec<Vec<Detection>> {
    let one = |(frame, region): (&Frame, Region)| {
        let mut found = Vec::new();
        detector.detect(frame, region, LongSide::Card, 0.3, &mut found).expect("runs");
        found
    };
    wholes(frames).into_iter().map(one).collect()
}

/// Every family with tensors for an input of 32x32, without the batch.
fn families() -> Vec<(Card, Vec<Vec<usize>>)> {
    use FamilySpec as F;
    let applied = Activation::Applied;
    let priors = Priors {
        strides: vec![8, 16],
        sizes: vec![vec![8.0, 12.0], vec![24.0]],
        clip: false,
        variances: [0.1, 0.2],
        parts: vec![Part::BoxLandmarks, Part::Classes, Part::Quality],
    };
    let points = Points { strides: vec![16], per_cell: 2, shift: 0.0, landmarks: true };
    let dfl = |joined| Shape { strides: vec![8, 16], bins: 4, shift: 0.0, joined };
    let anchors = vec![vec![[0.2, 1.0], [0.3, 2.0]]];
    vec![
        (
            card(F::StrideClsObjBoxKps { strides: vec![8, 16] }, 1),
            [16, 4].iter().flat_map(|n| [1, 1, 4, 10].map(|w| vec![*n, w])).collect(),
        ),
        (
            card(F::AnchorsBoxClassScores { grids: vec![2], anchors, variances: [10.0, 5.0] }, 2),
            vec![vec![8, 1, 4], vec![8, 2]],
        ),
        (card(F::GridBoxObjClasses { strides: vec![8, 16], activation: applied }, 2), vec![vec![20, 7]]),
        (card(F::GridBoxObjClasses { strides: vec![], activation: applied }, 2), vec![vec![6, 7]]),
        (
            card(F::StrideClsDfl { shape: dfl(false), activation: applied }, 2),
            vec![vec![16, 2], vec![16, 16], vec![4, 2], vec![4, 16]],
        ),
        (card(F::StrideClsDfl { shape: dfl(true), activation: applied }, 2), vec![vec![20, 18]]),
        (card(F::ColumnsBoxClasses { activation: applied }, 2), vec![vec![6, 9]]),
        (card(F::PriorsBoxClasses(priors), 2), vec![vec![36, 14], vec![36, 2], vec![36, 1]]),
        (card(F::CornersClasses { unit: true }, 2), vec![vec![20, 4], vec![20, 2]]),
        (card(F::PointsClsBoxKps { points, activation: applied }, 2), vec![vec![8, 2], vec![8, 4], vec![8, 10]]),
        (card(F::PlanesObjBoxClasses { stride: 16, exponents: [0.6, 0.4] }, 2), vec![vec![7, 2, 2]]),
        (
            card(F::HeatmapSizeOffset { stride: 8, activation: applied }, 2),
            vec![vec![2, 4, 4], vec![2, 4, 4], vec![2, 4, 4]],
        ),
        (card(F::RowsBoxScoreClass { unit: true }, 2), vec![vec![60, 6]]),
    ]
}

#[test]
fn each_picture_of_a_batch_is_decoded_as_if_it_were_alone() {
    let frames: Vec<Frame> = [10, 20, 30, 40].map(|c| plain(c, 64, 48)).into();
    for (card, each) in families() {
        let name = card.family.name();
        let (mut alone, log) = detector(&card, &each, 1);
        let wanted = one_by_one(&mut alone, &frames);
        assert_eq!(*log.lock().expect("one thread"), [[10.], [20.], [30.], [40.]], "{name}");
        for (i, found) in wanted.iter().enumerate() {
            assert!(!found.is_empty() && wanted[..i].iter().all(|other| other != found), "{name}: {wanted:?}");
        }
        for (batch, runs) in [(-1, vec![vec![10., 20., 30., 40.]]), (4, vec![vec![10., 20., 30., 40.]])] {
            let (mut together, log) = detector(&card, &each, batch);
            let mut found = vec![wanted[3].clone(); 7];
            together.detect_batch(&wholes(&frames), 4, LongSide::Card, 0.3, &mut found).expect("runs");
            assert_eq!(found, wanted, "{name}");
            assert_eq!(*log.lock().expect("one thread"), runs, "{name}");
        }
    }
    let told = families().iter().map(|(card, _)| card.family.name()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(told.len(), crate::model::family::NAMES.len() - 1, "all but embeddings");
}

#[test]
fn a_fixed_batch_is_filled_up_with_its_last_picture() {
    let frames: Vec<Frame> = (1..=6).map(|c| plain(c * 10, 64, 48)).collect();
    for (card, each) in families() {
        let name = card.family.name();
        let wanted = one_by_one(&mut detector(&card, &each, 1).0, &frames);
        let (mut four, log) = detector(&card, &each, 4);
        assert_eq!((four.batch(), four.batch().usual()), (Batch::Fixed(4), 4));
        let mut found = Vec::new();
        four.detect_batch(&wholes(&frames), 4, LongSide::Card, 0.3, &mut found).expect("runs");
        assert_eq!(found, wanted, "{name}");
        assert_eq!(*log.lock().expect("one thread"), [[10., 20., 30., 40.], [50., 60., 60., 60.]], "{name}");
        // Fewer at once than the graph takes, and one alone.
        log.lock().expect("one thread").clear();
        four.detect_batch(&wholes(&frames[..3]), 2, LongSide::Card, 0.3, &mut found).expect("runs");
        assert_eq!(found, wanted[..3], "{name}");
        assert_eq!(one_by_one(&mut four, &frames[5..]), wanted[5..], "{name}");
        let runs = [[10., 20., 20., 20.], [30.; 4], [60.; 4]];
        assert_eq!(*log.lock().expect("one thread"), runs, "{name}");
    }
}

#[test]
fn a_batch_is_no_larger_than_asked_for_and_of_one_tensor_size() {
    let (mut card, each) = families().swap_remove(2);
    let frames: Vec<Frame> = (1..=5).map(|c| plain(c * 10, 64, 64)).collect();
    let wanted = one_by_one(&mut detector(&card, &each, 1).0, &frames);
    let mut found = Vec::new();
    for (graph, asked, runs) in [(-1, 2, vec![2, 2, 1]), (1, 4, vec![1; 5]), (-1, 0, vec![1; 5]), (-1, 999, vec![5])] {
        let (mut detector, log) = detector(&card, &each, graph);
        detector.detect_batch(&wholes(&frames), asked, LongSide::Card, 0.3, &mut found).expect("runs");
        assert_eq!(found, wanted);
        assert_eq!(log.lock().expect("one thread").iter().map(Vec::len).collect::<Vec<_>>(), runs);
    }
    // Of a dynamic size: 32x32 and 32x16 in turns.
    card.input.size = InputSize::Dynamic(DynamicSize { long_side: 32, multiple: 16 });
    card.input.fit = Fit::Letterbox(Letterbox { letterbox: 0.0, anchor: Anchor::TopLeft });
    card.family = FamilySpec::RowsBoxScoreClass { unit: true };
    let each = [vec![9, 6]];
    let frames: Vec<Frame> = (1..=5).map(|c| plain(c * 10, 64, if c % 2 == 0 { 32 } else { 64 })).collect();
    let wanted = one_by_one(&mut detector(&card, &each, 1).0, &frames);
    let (mut mixed, log) = detector(&card, &each, -1);
    mixed.detect_batch(&wholes(&frames), 4, LongSide::Card, 0.3, &mut found).expect("runs");
    assert_eq!(found, wanted);
    assert_eq!(*log.lock().expect("one thread"), [vec![20., 40.], vec![10., 30., 50.]]);
    mixed.detect_batch(&[], 4, LongSide::Card, 0.3, &mut found).expect("nothing to do");
    assert!(found.is_empty());
}

#[test]
fn regions_are_merged_whatever_the_batch() {
    let (card, each) = families().swap_remove(2);
    // Two colours, so that the regions differ.
    let mut frame = plain(10, 64, 64);
    frame.reset(Stamp::default(), Size::new(64, 64))[64 * 3 * 32..].fill(20);
    let half = |y| Region { x: 0, y, size: Size::new(64, 32) };
    let regions = [Region::whole(frame.size()), half(0), half(32)];
    let (mut one, mut all) = (Vec::new(), Vec::new());
    detector(&card, &each, 1).0.detect_regions(&frame, &regions, 1, 0.3, &mut one).expect("runs");
    let (mut together, log) = detector(&card, &each, -1);
    together.detect_regions(&frame, &regions, 3, 0.3, &mut all).expect("runs");
    assert!(!one.is_empty());
    assert_eq!(all, one);
    assert_eq!(log.lock().expect("one thread").len(), 1);
}

#[test]
fn what_a_graph_does_not_take_is_told() {
    let (card, each) = families().pop().expect("rows");
    let said = |r: Result<(), ModelError>| r.expect_err("refused").to_string();
    let one = detector(&card, &each, 1).0;
    assert!(one.takes(1).is_ok());
    let text = said(one.takes(4));
    for word in ["'canned'", "'x'", "-1", "at least 4", "found Float32 [1, 3, 32, 32]"] {
        assert!(text.contains(word), "{text}");
    }
    let four = detector(&card, &each, 4).0;
    assert!(four.takes(4).is_ok() && four.takes(5).is_err());
    let any = detector(&card, &each, -1).0;
    assert!(any.takes(MAX_BATCH).is_ok() && any.takes(MAX_BATCH + 1).is_err());

    // Rows of all pictures in one list: nobody can tell whose they are.
    let canned = |batch: i64, tells| Canned {
        inputs: vec![info("x", vec![batch, 3, 32, 32])],
        outputs: vec![info("t", vec![-1, 6])],
        each: each.clone(),
        tells,
        log: Log::default(),
    };
    let frames: Vec<Frame> = [10, 20].map(|c| plain(c, 64, 48)).into();
    let mut flat = Detector::new(card.clone(), Box::new(canned(-1, false)), &mut Labels::default()).expect("fits");
    assert!(!one_by_one(&mut flat, &frames).concat().is_empty(), "alone it can");
    let text = said(flat.detect_batch(&wholes(&frames), 2, LongSide::Card, 0.3, &mut Vec::new()));
    assert!(text.contains("'t'") && text.contains("2 as the first dimension") && text.contains("[120, 6]"), "{text}");

    // Beyond the limits, and too many elements for a batch of so many.
    for batch in [0, -2, 257] {
        let refused = Detector::new(card.clone(), Box::new(canned(batch, true)), &mut Labels::default());
        let text = refused.err().expect("refused").to_string();
        assert!(text.contains("up to 256"), "{text}");
    }
    let (grid, each) = families().swap_remove(2);
    let short = Canned { outputs: vec![info("t", vec![1, 20, 7])], each, ..canned(4, true) };
    let text = Detector::new(grid, Box::new(short), &mut Labels::default()).err().expect("refused").to_string();
    assert!(text.contains("560 elements") && text.contains("[1, 20, 7]"), "{text}");
}

#[test]
fn a_batch_beyond_the_limit_is_refused_before_it_is_made() {
    let (mut card, each) = families().pop().expect("rows");
    card.input.size = InputSize::Fixed([8192, 8192]);
    let frames = [plain(10, 64, 48)];
    let (mut detector, log) = detector(&card, &each, 2);
    let text = detector
        .detect_batch(&wholes(&frames), 2, LongSide::Card, 0.3, &mut Vec::new())
        .expect_err("refused")
        .to_string();
    assert!(text.contains("268435456 values") && text.contains("2 x 201326592"), "{text}");
    assert!(log.lock().expect("one thread").is_empty());
}
