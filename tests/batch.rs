//! Several pictures in one inference: the same answers as one by one, on real weights where those are at hand and on a graph that is
//! made here everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use porchlight::detection::Detection;
use porchlight::frame::{Frame, Stamp};
use porchlight::geom::{Region, Size};
use porchlight::model::ModelError;
use porchlight::model::card::Card;
use porchlight::model::detector::{Batch, Detector};
use porchlight::model::infer::{Infer, OutputView, TensorInfo};
use porchlight::model::prep::LongSide;
use serde_json::{Value, json};
use sha2::Digest;

use crate::support::{RUNTIME, assert_refused, porchlight, root, sample, stderr, stdout};
use crate::zoo::zoo;

/// How many pictures each inference has.
type Log = Arc<Mutex<Vec<usize>>>;

/// A session that notes what it is asked.
struct Counted {
    session: Box<dyn Infer>,
    log: Log,
}

impl Infer for Counted {
    fn inputs(&self) -> &[TensorInfo] {
        self.session.inputs()
    }
    fn outputs(&self) -> &[TensorInfo] {
        self.session.outputs()
    }
    fn run(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        self.log.lock().expect("one thread").push(shape[0]);
        self.session.run(shape, data, read)
    }
}

fn detector(card: Card) -> (Detector, Log) {
    let log = Log::default();
    let weights = card.verified_weights().expect("at hand");
    let session = RUNTIME.session(&card.name, &weights, 1, &card.tensors).expect("loads");
    let counted = Counted { session: Box::new(session), log: Arc::clone(&log) };
    (Detector::new(card, Box::new(counted), &mut Default::default()).expect("fits"), log)
}

fn picture(path: &Path) -> Frame {
    let rgb = image::open(path).expect("a picture").to_rgb8();
    let size = Size::new(rgb.width(), rgb.height());
    Frame::from_rgb(Stamp::default(), size, rgb.into_raw()).expect("length fits")
}

/// Holds a batch to what its pictures give one by one; how many pictures each of its inferences had.
fn same(detector: &mut Detector, log: &Log, looks: &[(&Frame, Region)], threshold: f32) -> Vec<usize> {
    let one = |(frame, region): &(&Frame, Region)| {
        let mut found = Vec::new();
        detector.detect(frame, *region, LongSide::Card, threshold, &mut found).expect("runs");
        found
    };
    let alone: Vec<Vec<Detection>> = looks.iter().map(one).collect();
    log.lock().expect("one thread").clear();
    let mut together = Vec::new();
    detector.detect_batch(looks, looks.len(), LongSide::Card, threshold, &mut together).expect("runs");
    assert_eq!(together.len(), alone.len());
    for (a, b) in alone.iter().zip(&together) {
        assert!(!a.is_empty(), "nothing to compare");
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            let numbers = |d: &Detection| {
                let mut all = vec![d.score.get(), d.bbox.x0, d.bbox.y0, d.bbox.x1, d.bbox.y1];
                all.extend(d.landmarks.iter().flatten().flat_map(|p| [p.x, p.y]));
                all
            };
            assert_eq!(a.class, b.class);
            assert_eq!(a.landmarks.is_some(), b.landmarks.is_some());
            for (x, y) in numbers(a).into_iter().zip(numbers(b)) {
                assert!((x - y).abs() <= 1e-4, "{x} {y}: {a:?} {b:?}");
            }
        }
    }
    std::mem::take(&mut log.lock().expect("one thread"))
}

#[test]
fn four_pictures_of_a_real_model_are_found_as_one_by_one() {
    let Some(zoo) = zoo() else { return };
    for name in ["yunet-s", "yunet-n"] {
        let mut card = Card::load(&root().join("models").join(name)).expect("a good card");
        card.weights = zoo.join(card.weights.file_name().expect("named"));
        let (mut detector, log) = detector(card);
        assert_eq!(detector.batch(), Batch::Any);
        // Four crops of one size with faces in them, which share an inference.
        let people = picture(&sample("people.jpg"));
        let size = Size::new(640, 480);
        let crops = [(160, 60), (200, 80), (560, 100), (600, 120)];
        let looks: Vec<_> = crops.iter().map(|&(x, y)| (&people, Region { x, y, size })).collect();
        assert_eq!(same(&mut detector, &log, &looks, 0.3), [4], "{name}");
        // Pictures as they come.
        let frames: Vec<Frame> = ["astronaut.jpg", "hopper.jpg", "people.jpg", "astronaut.jpg"]
            .iter()
            .map(|n| picture(&sample(n)))
            .collect();
        let looks: Vec<_> = frames.iter().map(|f| (f, Region::whole(f.size()))).collect();
        let runs = same(&mut detector, &log, &looks, 0.3);
        assert!(runs.iter().sum::<usize>() == 4 && runs.contains(&2), "{name}: {runs:?}");
    }
}

/// Protocol Buffers, as much of them as a graph needs.
mod proto {
    fn varint(mut value: u64, out: &mut Vec<u8>) {
        while value > 127 {
            out.push(value as u8 | 128);
            value >>= 7;
        }
        out.push(value as u8);
    }

    pub(super) fn number(field: u64, value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint(field << 3, &mut out);
        varint(value, &mut out);
        out
    }

    pub(super) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        varint(field << 3 | 2, &mut out);
        varint(value.as_ref().len() as u64, &mut out);
        out.extend_from_slice(value.as_ref());
        out
    }
}

/// An ONNX model for pictures of 16x16: one row for each, whose right and bottom edges are the mean of red and of green and whose score
/// is half and half the mean of blue. `batch` 0 is dynamic.
fn rows(batch: u64) -> Vec<u8> {
    use proto::{bytes, number};
    let node = |op: &str, inputs: &[&str], output: &str| {
        let inputs = inputs.iter().flat_map(|i| bytes(1, i));
        bytes(1, inputs.chain(bytes(2, output)).chain(bytes(4, op)).collect::<Vec<_>>())
    };
    let tensor = |name: &str, kind: u64, dims: &[u64], raw: Vec<u8>| {
        let dims = dims.iter().flat_map(|d| number(1, *d));
        bytes(5, dims.chain(number(2, kind)).chain(bytes(8, name)).chain(bytes(9, raw)).collect::<Vec<_>>())
    };
    let value = |field: u64, name: &str, dims: &[u64]| {
        let dim = |d: &u64| bytes(1, if *d == 0 { bytes(2, "batch") } else { number(1, *d) });
        let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
        let kind = bytes(1, [number(1, 1), bytes(2, shape)].concat());
        bytes(field, [bytes(1, name), bytes(2, kind)].concat())
    };
    let floats = |v: &[f32]| v.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<u8>>();
    #[rustfmt::skip]
    let weights = [
        0., 0., 1., 0., 0.0, 0.,
        0., 0., 0., 1., 0.0, 0.,
        0., 0., 0., 0., 0.5, 0.,
    ];
    let graph = [
        node("GlobalAveragePool", &["x"], "mean"),
        node("Flatten", &["mean"], "flat"),
        node("MatMul", &["flat", "weights"], "sum"),
        node("Add", &["sum", "bias"], "row"),
        node("Reshape", &["row", "shape"], "rows"),
        bytes(2, "rows"),
        tensor("weights", 1, &[3, 6], floats(&weights)),
        tensor("bias", 1, &[6], floats(&[0., 0., 0., 0., 0.5, 0.])),
        tensor("shape", 7, &[3], [0i64, 1, 6].iter().flat_map(|d| d.to_le_bytes()).collect()),
        value(11, "x", &[batch, 3, 16, 16]),
        value(12, "rows", &[batch, 1, 6]),
    ];
    let opset = [bytes(1, ""), number(2, 13)].concat();
    [number(1, 8), bytes(7, graph.concat()), bytes(8, opset)].concat()
}

/// Its card and weights as models `dynamic`, `four` and `one`, six pictures of one colour each and what is in them.
struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, batch) in [("dynamic", 0), ("four", 4), ("one", 1)] {
            let dir = folder.path().join("models").join(name);
            std::fs::create_dir_all(&dir).expect("made");
            let weights = rows(batch);
            let hash: String = sha2::Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect();
            let card = format!(
                r#"task = "detect"
file = "rows.onnx"
sha256 = "{hash}"
licence = "MIT"
licence_file = "LICENSE.txt"
source = "tests/batch.rs"
[input]
tensor = "x"
layout = "nchw"
size = [16, 16]
colour = "rgb"
fit = "stretch"
resample = "bilinear"
scale = 0.00392156862745098
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
family = "rows-box-score-class"
tensors = ["rows"]
activation = "applied"
boxes = "unit"
labels = "labels.txt"
score = 0.3
nms_iou = 0.5
[golden]
"#
            );
            std::fs::write(dir.join("card.toml"), card).expect("written");
            std::fs::write(dir.join("labels.txt"), "thing\n").expect("written");
            std::fs::write(dir.join("rows.onnx"), weights).expect("written");
        }
        let made = Self(folder);
        let mut images = Vec::new();
        for (i, [r, g, b]) in Self::COLOURS.into_iter().enumerate() {
            let name = format!("{i}.png");
            let pixel = image::Rgb([r, g, b]);
            image::RgbImage::from_pixel(100, 80, pixel).save(made.0.path().join(&name)).expect("written");
            images.push(json!({ "id": i + 1, "file_name": name, "width": 100, "height": 80 }));
        }
        let truth = json!({
            "images": images,
            "categories": [{ "id": 1, "name": "thing" }],
            "annotations": [{ "id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 40], "area": 2000, "iscrowd": 0 }],
        });
        std::fs::write(made.0.path().join("truth.json"), truth.to_string()).expect("written");
        made
    }

    const COLOURS: [[u8; 3]; 6] =
        [[51, 102, 0], [255, 51, 51], [102, 204, 102], [204, 153, 153], [153, 255, 204], [127, 127, 255]];

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = porchlight();
        command.env("PORCHLIGHT_MODELS", self.path("models")).args(args);
        command
    }

    /// What `eval coco` found, by the file it saves.
    fn found(&self, flags: &[&str]) -> Value {
        let save = self.path("found.json");
        let mut command = self.command(&["eval", "coco"]);
        command.arg(self.path("truth.json")).arg("--images").arg(self.0.path()).arg("--save").arg(&save).args(flags);
        let output = command.output().expect("starts");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{flags:?}");
        serde_json::from_str(&std::fs::read_to_string(&save).expect("saved")).expect("JSON")
    }
}

#[test]
fn a_graph_of_any_batch_and_one_of_four_see_what_is_in_each_picture() {
    let made = Made::new();
    let frames: Vec<Frame> = (0..6).map(|i| picture(&made.path(&format!("{i}.png")))).collect();
    let looks: Vec<_> = frames.iter().map(|f| (f, Region::whole(f.size()))).collect();
    for (name, batch, runs) in [
        ("dynamic", Batch::Any, &[6][..]),
        ("four", Batch::Fixed(4), &[4, 4]),
        ("one", Batch::Fixed(1), &[1, 1, 1, 1, 1, 1]),
    ] {
        let card = Card::load(&made.path("models").join(name)).expect("a good card");
        let (mut detector, log) = detector(card);
        assert_eq!(detector.batch(), batch);
        assert_eq!(same(&mut detector, &log, &looks, 0.3), runs, "{name}");
        let mut found = Vec::new();
        detector.detect_batch(&looks, 6, LongSide::Card, 0.3, &mut found).expect("runs");
        for ([r, g, b], found) in Made::COLOURS.map(|c| c.map(|v| f32::from(v) / 255.0)).iter().zip(&found) {
            let d = found[0];
            let told = [d.bbox.x0, d.bbox.y0, d.bbox.x1, d.bbox.y1, d.score.get()];
            let wanted = [0.0, 0.0, 100.0 * r, 80.0 * g, 0.5 + 0.5 * b];
            assert!(
                found.len() == 1 && told.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-3),
                "{told:?} {wanted:?}"
            );
        }
    }
}

#[test]
fn eval_finds_the_same_in_batches() {
    let made = Made::new();
    let wanted = made.found(&["--model", "one"]);
    let mut ids: Vec<_> = wanted.as_array().expect("a list").iter().map(|f| f["image_id"].as_u64()).collect();
    ids.dedup();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6].map(Some));
    for flags in [
        &["--model", "dynamic"][..],
        &["--model", "dynamic", "--batch", "4"],
        &["--model", "dynamic", "--batch", "256"],
        &["--model", "four"],
        &["--model", "four", "--batch", "3"],
        &["--model", "one", "--batch", "1"],
    ] {
        let found = made.found(flags);
        for (a, b) in found.as_array().expect("a list").iter().zip(wanted.as_array().expect("a list")) {
            assert_eq!((&a["image_id"], &a["category_id"]), (&b["image_id"], &b["category_id"]), "{flags:?}");
            let numbers = |v: &Value| {
                let mut all: Vec<f64> = v["bbox"].as_array().expect("a box").iter().filter_map(Value::as_f64).collect();
                all.extend(v["score"].as_f64());
                all
            };
            assert!(numbers(a).iter().zip(numbers(b)).all(|(a, b)| (a - b).abs() < 1e-3), "{flags:?}: {a} {b}");
        }
        assert_eq!(found.as_array().map(Vec::len), wanted.as_array().map(Vec::len), "{flags:?}");
    }
    let crops = made.found(&["--model", "one", "--regions"]);
    assert_eq!(made.found(&["--model", "four", "--regions"]), crops);
    assert_eq!(made.found(&["--model", "dynamic", "--regions", "--batch", "4"]), crops);
}

#[test]
fn bench_runs_batches_of_detectors_whole() {
    let made = Made::new();
    for (flags, batch) in [
        (&["--model", "dynamic", "--batch", "4"][..], 4),
        (&["--model", "dynamic"], 1),
        (&["--model", "four"], 4),
        (&["--model", "four", "--batch", "3", "--scenario", "offline"], 3),
    ] {
        let mut command = made.command(&["bench", "--json", "--seconds", "0.1", "--warm-up", "0", "--threads", "1"]);
        let output = command.args(flags).output().expect("starts");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{flags:?}");
        let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let row = &report["rows"][0];
        assert_eq!((&row["batch"], &row["pictures"]), (&batch.into(), &batch.into()), "{flags:?}");
        // Both sides: ours with all that is around an inference, and the bare session.
        for side in ["ours", "bare"] {
            assert!(row[side]["pictures_per_second"].as_f64() > Some(0.0), "{flags:?}: {side}");
        }
        assert!(row["percent_of_bare"].as_f64() > Some(0.0), "{flags:?}");
    }
}

#[test]
fn a_batch_that_a_graph_does_not_take_is_refused_with_what_it_says() {
    let made = Made::new();
    let truth = made.path("truth.json").to_string_lossy().into_owned();
    for (model, batch, words) in [
        ("one", "4", ["'one'", "'x'", "at least 4", "[1, 3, 16, 16]", "leave it out"]),
        ("four", "5", ["'four'", "'x'", "at least 5", "[4, 3, 16, 16]", "at most --batch 4"]),
    ] {
        for args in [&["bench"][..], &["eval", "coco", &truth]] {
            let flag = format!("--batch {batch}");
            let wanted: Vec<&str> = words.iter().copied().chain([flag.as_str()]).collect();
            assert_refused(made.command(args).args(["--model", model, "--batch", batch]), 2, &wanted);
        }
    }
    let results = ["eval", "wider", &truth, "--results", &truth, "--batch", "2"];
    assert_refused(&mut made.command(&results), 2, &["--results", "--batch"]);
}
