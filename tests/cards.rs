//! Model cards, good and bad.

use std::path::PathBuf;
use std::process::Command;

use sha2::Digest;

use crate::support::{assert_refused, porchlight, root, sample, stderr, stdout};

/// A copy of the models folder with one model in it, and what its card says.
struct Copy {
    folder: tempfile::TempDir,
    card: String,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (root().join("models/yunet"), folder.path().join("models/yunet"));
        std::fs::create_dir_all(&to).expect("made");
        for entry in std::fs::read_dir(from).expect("the model is there") {
            let path = entry.expect("listed").path();
            std::fs::copy(&path, to.join(path.file_name().expect("named"))).expect("copied");
        }
        let card = std::fs::read_to_string(to.join("card.toml")).expect("a card");
        Self { folder, card }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("models/yunet").join(name)
    }

    fn write_card(&self, text: &str) {
        std::fs::write(self.file("card.toml"), text).expect("written");
    }

    /// Other weights, with their right hash in the card.
    fn write_weights(&self, bytes: &[u8]) {
        std::fs::write(self.file("yunet_2023mar_dyn.onnx"), bytes).expect("written");
        let hash: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let line = self.card.lines().find(|l| l.starts_with("sha256")).expect("a hash");
        self.write_card(&self.card.replace(line, &format!("sha256 = \"{hash}\"")));
    }

    fn detect(&self) -> Command {
        let mut command = porchlight();
        command.env("PORCHLIGHT_MODELS", self.folder.path().join("models"));
        command.args(["detect", "--model", "yunet"]).arg(sample("astronaut.jpg"));
        command
    }
}

#[test]
fn the_default_models_keep_their_word() {
    let output = porchlight().args(["models", "check"]).output().expect("starts");
    // Of the others only the cards are here, unless somebody pulled their weights.
    let printed = stdout(&output);
    for name in ["sface", "ssdlite-mobilenet-v2", "ssdlite-mobilenet-v2-int8", "yunet"] {
        assert!(printed.contains(&format!("{name} ok\n")), "{printed}{}", stderr(&output));
    }
    assert!(
        printed.lines().all(|l| l.ends_with(" ok") || l.contains(" not here: porchlight models pull ")),
        "{printed}"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn list_and_info_tell_what_is_there() {
    let table = stdout(&porchlight().args(["models", "list"]).output().expect("starts"));
    let row = table.lines().find(|l| l.starts_with("yunet ")).expect("a row");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["yunet", "face", "stride-cls-obj-box-kps", "MIT", "229573", "present"]);
    let text = stdout(&porchlight().args(["models", "info", "ssdlite-mobilenet-v2"]).output().expect("starts"));
    let info: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(info["output"]["family"], "anchors-box-classscores");
    assert_eq!(info["output"]["labels"].as_array().map(Vec::len), Some(80));
    assert_eq!(info["input"]["mean"][0], 127.5);
}

#[test]
fn every_key_of_a_card_is_needed_and_no_other_is_taken() {
    let copy = Copy::new();
    let keys = [
        "task",
        "file",
        "sha256",
        "licence",
        "licence_file",
        "source",
        "tensor",
        "layout",
        "size",
        "colour",
        "fit",
        "resample",
        "scale",
        "mean",
        "std",
        "family",
        "tensors",
        "strides",
        "activation",
        "labels",
        "score",
        "nms_iou",
    ];
    for key in keys {
        let line = copy.card.lines().find(|l| l.starts_with(&format!("{key} ="))).expect(key);
        copy.write_card(&copy.card.replacen(&format!("{line}\n"), "", 1));
        assert_refused(&mut copy.detect(), 3, &["yunet/card.toml", key]);
    }
    for (section, key) in
        [("[input]", "gamma"), ("[output]", "top_k"), ("[golden]", "comment"), ("[output]", "dimensions")]
    {
        copy.write_card(&copy.card.replacen(section, &format!("{section}\n{key} = 1"), 1));
        assert_refused(&mut copy.detect(), 3, &["yunet/card.toml", key]);
    }
}

#[test]
fn wrong_values_in_a_card_are_named() {
    let copy = Copy::new();
    for (good, bad, wanted) in [
        ("task = \"face\"", "task = \"gender\"", "gender"),
        ("task = \"face\"", "task = \"embed\"", "task"),
        ("task = \"face\"", "task = 7", "line 2"),
        ("file = \"yunet", "file = \"../yunet/yunet", "inside the card's folder"),
        ("file = \"yunet", "file = \"/yunet", "inside the card's folder"),
        ("labels = \"labels.txt\"", "labels = \"none.txt\"", "none.txt"),
        ("sha256 = \"e6", "sha256 = \"E6", "hexadecimal"),
        ("sha256 = \"e6", "sha256 = \"e7", "sha256"),
        ("layout = \"nchw\"", "layout = \"chw\"", "chw"),
        ("long_side = 640", "long_side = 0", "1..=8192"),
        ("multiple = 32", "multiple = 4096", "1..=1024"),
        ("letterbox = 0", "letterbox = 256", "0..=255"),
        ("scale = 1.0", "scale = 0.0", "scale"),
        ("mean = [0, 0, 0]", "mean = [0, 0]", "line"),
        ("std = [1, 1, 1]", "std = [1, 0, 1]", "std"),
        ("strides = [8, 16, 32]", "strides = []", "strides"),
        ("activation = \"applied\"", "activation = \"sigmoid\"", "activation"),
        ("family = \"stride", "family = \"strude", "family"),
        ("nms_iou = 0.3", "nms_iou = 3", "0..=1"),
        ("tensor = \"input\"", "tensor = \"pixels\"", "pixels"),
        ("\"cls_{stride}\"", "\"class_{stride}\"", "class_8"),
        ("[\"cls_{stride}\", ", "[", "4 names"),
    ] {
        let text = copy.card.replacen(good, bad, 1);
        assert_ne!(text, copy.card, "{good} is not in the card");
        copy.write_card(&text);
        assert_refused(&mut copy.detect(), 3, &["yunet", wanted]);
    }
    copy.write_card(&copy.card);
    std::fs::write(copy.file("labels.txt"), "face\nmask\n").expect("written");
    assert_refused(&mut copy.detect(), 3, &["yunet", "one label", "2 labels"]);
    std::fs::write(copy.file("labels.txt"), "").expect("written");
    assert_refused(&mut copy.detect(), 3, &["labels.txt", "1..=10000 labels"]);
    copy.write_card(&"#".repeat(300_000));
    assert_refused(&mut copy.detect(), 3, &["card.toml", "262144"]);
}

#[test]
fn broken_weights_are_refused() {
    let copy = Copy::new();
    let good = std::fs::read(copy.file("yunet_2023mar_dyn.onnx")).expect("weights");
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [&b""[..], &good[..good.len() / 2], &good[..100], &noise, b"not a model"] {
        copy.write_weights(bytes);
        assert_refused(&mut copy.detect(), 3, &["model 'yunet'"]);
    }
    // Another model's weights: whole, but with other tensors.
    copy.write_weights(&std::fs::read(root().join("models/sface/sface_fast_w16.onnx")).expect("weights"));
    assert_refused(&mut copy.detect(), 3, &["model 'yunet'", "cls_8", "embedding"]);
    std::fs::remove_file(copy.file("yunet_2023mar_dyn.onnx")).expect("removed");
    assert_refused(&mut copy.detect(), 3, &["yunet_2023mar_dyn.onnx", "No such file"]);
}

#[test]
fn a_model_that_breaks_its_word_fails_the_check() {
    let copy = Copy::new();
    std::fs::create_dir(copy.folder.path().join("samples")).expect("made");
    std::fs::copy(sample("people.jpg"), copy.folder.path().join("samples/people.jpg")).expect("copied");
    let check = |wanted: Option<&str>| {
        let output = porchlight()
            .env("PORCHLIGHT_MODELS", copy.folder.path().join("models"))
            .args(["models", "check"])
            .output()
            .expect("starts");
        let (said, printed) = (stderr(&output), stdout(&output));
        match wanted {
            None => assert_eq!((output.status.code(), printed.as_str()), (Some(0), "yunet ok\n"), "{said}"),
            Some(wanted) => {
                assert_eq!((output.status.code(), printed.as_str()), (Some(3), "yunet FAILED\n"), "{said}");
                assert!(said.contains(wanted) && said.lines().count() == 1, "wanted {wanted}: {said}");
            }
        }
    };
    check(None);
    let (head, golden) = copy.card.split_once("[golden]").expect("goldens");
    for (text, wanted) in [
        (format!("{head}[golden]\n"), "has none"),
        (copy.card.replacen("box = [283", "box = [483", 1), "wanted face at [483.0"),
        (copy.card.replacen("score = 0.934", "score = 0.834", 1), "score 0.834"),
        (copy.card.replacen("class = \"face\"", "class = \"person\"", 1), "wanted person"),
        (copy.card.replacen("landmarks = [[311.0, 225.4]", "landmarks = [[365.9, 227.5]", 1), "wanted face"),
        // The second face is no longer expected, so it is one too many.
        (format!("{head}[golden]{}", &golden[..golden.rfind("[[golden.expect]]").expect("two faces")]), "nothing else"),
        (copy.card.replacen("samples/people.jpg", "../people.jpg", 1), "inside"),
        (copy.card.replacen("samples/people.jpg", "samples/none.jpg", 1), "none.jpg"),
    ] {
        assert_ne!(text, copy.card);
        copy.write_card(&text);
        check(Some(wanted));
    }
    copy.write_card(&copy.card);
    std::fs::remove_file(copy.file("LICENSE.txt")).expect("removed");
    check(Some("licence"));
}

#[test]
fn models_that_are_not_there_are_named() {
    assert_refused(porchlight().args(["models", "info", "yolo"]), 3, &["model 'yolo'", "models list"]);
    assert_refused(porchlight().args(["models", "check", ".."]), 3, &["model '..'"]);
    assert_refused(
        porchlight().args(["detect", "--model", "sface"]).arg(sample("cat.jpg")),
        3,
        &["sface", "wanted a detector"],
    );
    let empty = tempfile::tempdir().expect("a folder");
    assert_refused(porchlight().env("PORCHLIGHT_MODELS", empty.path()).args(["models", "list"]), 3, &["no model card"]);
    let missing = empty.path().join("libonnxruntime.so");
    let mut command = porchlight();
    command.env("ORT_DYLIB_PATH", &missing).args(["models", "check"]);
    assert_refused(&mut command, 3, &["ONNX Runtime", "cargo xtask setup"]);
    std::fs::write(&missing, "not a library").expect("written");
    assert_refused(&mut command, 3, &["ONNX Runtime", "cargo xtask setup"]);
}
