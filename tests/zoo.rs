//! Models by their cards: pulled, added, drafted, and the layouts on real weights where those are at hand.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{assert_refused, porchlight, root, run, sample, stderr, stdout};

/// Weights that are not committed: in the folder that PORCHLIGHT_ZOO names, else beside the checkout. The tests that need
/// them say so and pass without.
pub(crate) fn zoo() -> Option<&'static Path> {
    static ZOO: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        std::env::var_os("PORCHLIGHT_ZOO").map_or_else(|| root().join("../shared/models/zoo"), PathBuf::from)
    });
    if !ZOO.is_dir() {
        eprintln!("skipped: no {}; PORCHLIGHT_ZOO names another folder", ZOO.display());
        return None;
    }
    Some(&ZOO)
}

/// `models/NAME` and the samples in a folder of their own, without weights.
struct Library(tempfile::TempDir);

impl Library {
    fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = |from: PathBuf, to: PathBuf| {
            std::fs::create_dir_all(&to).expect("made");
            for path in std::fs::read_dir(from).expect("listed").flatten().map(|e| e.path()) {
                if path.is_file() && path.extension().is_none_or(|e| e != "onnx" && e != "mjpeg") {
                    std::fs::copy(&path, to.join(path.file_name().expect("named"))).expect("copied");
                }
            }
        };
        copy(root().join("samples"), folder.path().join("samples"));
        std::fs::create_dir(folder.path().join("models")).expect("made");
        for name in names {
            copy(root().join("models").join(name), folder.path().join("models").join(name));
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("models").join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = porchlight();
        command.env("PORCHLIGHT_MODELS", self.0.path().join("models")).args(args);
        command
    }

    fn says(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }
}

const ZOO: [&str; 12] = [
    "fastestdet",
    "light-person",
    "mobilefacenet",
    "nanodet-m",
    "person-reid-0248",
    "retinaface-025",
    "ultra-light-320",
    "ultra-light-320-raw",
    "yolox-nano",
    "yunet-2022",
    "yunet-n",
    "yunet-s",
];

#[test]
fn every_card_of_the_zoo_can_be_read_and_has_an_address_and_goldens() {
    for name in ZOO {
        let info: Value = serde_json::from_str(&run(&["models", "info", name]).stdout).expect("JSON");
        assert!(info["url"].as_str().is_some_and(|u| u.starts_with("https://")), "{name}");
        let goldens = &info["golden"];
        assert!(goldens["expect"].as_u64() > Some(0) || goldens["expect_cosine"].as_u64() > Some(0), "{name}");
        assert!(
            ["Apache-2.0", "MIT", "BSD-3-Clause"].contains(&info["licence"].as_str().expect("a licence")),
            "{name}"
        );
    }
}

#[test]
fn pulled_models_keep_their_word() {
    let Some(zoo) = zoo() else { return };
    let library = Library::of(&ZOO);
    for name in ZOO {
        let said = library.says(&["models", "pull", name, "--from", &zoo.to_string_lossy()]);
        assert_eq!(said, format!("{name} fetched\n"));
    }
    let wanted: String = ZOO.iter().map(|n| format!("{n} ok\n")).collect();
    assert_eq!(library.says(&["models", "check"]), wanted);
    // Any of them can be the run's.
    let config = library.0.path().join("c.toml");
    std::fs::write(&config, "[objects]\nmodel = \"yolox-nano\"\n[faces]\ndetector = \"yunet-n\"\n").expect("written");
    let config = config.to_string_lossy().into_owned();
    let printed = library.says(&["run", "--config", &config, "--source", "samples/people.jpg"]);
    let hello: Value = serde_json::from_str(printed.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&hello["models"][0]["name"], &hello["models"][1]["name"]), (&"yolox-nano".into(), &"yunet-n".into()));
    std::fs::write(&config, "[objects]\nmodel = \"yunet-s\"\n").expect("written");
    assert_refused(
        &mut library.command(&["run", "--config", &config, "--source", "samples/people.jpg"]),
        3,
        &["yunet-s", "objects.model", "task 'detect'"],
    );
}

/// Layouts whose weights may not be shipped: decoded here, on a machine that has them, and warned of.
#[test]
fn licences_that_forbid_something_are_named_and_their_layouts_decoded() {
    let Some(zoo) = zoo() else { return };
    let library = Library::of(&["yolox-nano", "yunet-2022"]);
    let columns = [
        ("file = \"yolox_nano.onnx\"", "file = \"yolov8n_int8_AGPL_compat_only.onnx\""),
        (
            "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
            "8ea02ba965c1f1bafb3c39ca63ea977bf8e16615e48223ff311b76f93f250818",
        ),
        ("licence = \"Apache-2.0\"", "licence = \"AGPL-3.0-only\""),
        ("[416, 416]", "[640, 640]"),
        ("\"bgr\"", "\"rgb\""),
        ("scale = 1.0", "scale = 0.00392156862745098"),
        ("grid-box-obj-classes", "columns-box-classes"),
        ("[\"output\"]", "[\"output0\"]"),
        ("boxes = \"cells\"\nstrides = [8, 16, 32]\n", ""),
    ];
    let points = [
        ("file = \"yunet_2022_320_320.onnx\"", "file = \"scrfd_500m_kps.onnx\""),
        (
            "ce49cfa1630164d5559b4d23de1f1ed472d9e7f57bff665d418d3b52a8144f9c",
            "517cb1980c72422e676738fc45431700fb7cbee56d0f825b623ee427b3e5ce58",
        ),
        ("licence = \"Apache-2.0\"", "licence = \"LicenseRef-non-commercial\""),
        ("tensor = \"input\"", "tensor = \"images\""),
        ("[320, 320]", "[640, 640]"),
        ("\"bgr\"", "\"rgb\""),
        ("mean = [0, 0, 0]", "mean = [127.5, 127.5, 127.5]"),
        ("std = [1, 1, 1]", "std = [128, 128, 128]"),
        ("priors-box-classes", "points-cls-box-kps"),
        (
            "[\"loc\", \"conf\", \"iou\"]",
            "[\"out0\", \"out3\", \"out6\", \"out1\", \"out4\", \"out7\", \"out2\", \"out5\", \"out8\"]",
        ),
        ("parts = [\"box-kps\", \"classes\", \"quality\"]\n", "per_cell = 2\nshift = 0.0\n"),
        ("strides = [8, 16, 32, 64]", "strides = [8, 16, 32]"),
        ("sizes = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]\nclip = false\nvariances = [0.1, 0.2]\n", ""),
    ];
    for (base, changes, file, why, wanted) in [
        ("yolox-nano", &columns[..], "yolov8n_int8_AGPL_compat_only.onnx", "AGPL", &["person", "person", "tie"][..]),
        ("yunet-2022", &points[..], "scrfd_500m_kps.onnx", "not for commercial use", &["face", "face"][..]),
    ] {
        let card = library.path(base).join("card.toml");
        let mut text = std::fs::read_to_string(&card).expect("a card");
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        std::fs::write(&card, text).expect("written");
        std::fs::write(
            library.path(base).join("labels.txt"),
            if base == "yunet-2022" {
                "face\n".into()
            } else {
                std::fs::read_to_string(library.path(base).join("labels.txt")).expect("labels")
            },
        )
        .expect("written");
        std::fs::copy(zoo.join(file), library.path(base).join(file)).expect("copied");
        let output = library
            .command(&["detect", "--model", base, "--score", "0.5", "samples/people.jpg"])
            .output()
            .expect("starts");
        let said = stderr(&output);
        assert!(said.lines().count() == 1 && said.contains("licence") && said.contains(why), "{said}");
        let line: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let labels: Vec<_> = line["detections"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|d| d["label"].as_str().expect("a label"))
            .collect();
        assert_eq!(labels, wanted, "{line}");
    }
}

#[test]
fn only_the_right_weights_are_taken() {
    let library = Library::of(&["yunet"]);
    let weights = library.path("yunet").join("yunet_2023mar_dyn.onnx");
    assert_refused(&mut library.command(&["detect", "--model", "yunet", "samples/cat.jpg"]), 3, &["models pull yunet"]);
    assert_eq!(library.says(&["models", "check"]), "yunet not here: porchlight models pull yunet\n");
    let empty = tempfile::tempdir().expect("a folder");
    let from = empty.path().to_string_lossy().into_owned();
    let pull = ["models", "pull", "yunet", "--from", &from];
    assert_refused(&mut library.command(&pull), 3, &[&from, "yunet_2023mar_dyn.onnx"]);
    // The card of the default model has no address: it is committed.
    assert_refused(&mut library.command(&["models", "pull", "yunet"]), 3, &["url", "--from"]);
    std::fs::write(empty.path().join("yunet_2023mar_dyn.onnx"), "something else").expect("written");
    std::fs::write(&weights, "what was there").expect("written");
    assert_refused(&mut library.command(&pull), 3, &["sha256", "nothing was changed"]);
    assert_eq!(std::fs::read_to_string(&weights).expect("still there"), "what was there");
    assert!(!library.path("yunet").join("yunet_2023mar_dyn.onnx.part").exists());
    let from = root().join("models/yunet").to_string_lossy().into_owned();
    assert_eq!(library.says(&["models", "pull", "yunet", "--from", &from]), "yunet fetched\n");
    assert_eq!(library.says(&["models", "pull", "yunet", "--from", "/nowhere"]), "yunet is here\n");
    assert_eq!(library.says(&["models", "check", "yunet"]), "yunet ok\n");
}

/// A server of one file that can go on where somebody stopped; answers this many requests and returns the ranges asked for.
fn serve(bytes: Vec<u8>, requests: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let mut ranges = Vec::new();
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.expect("a client");
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("cloned"));
            let (mut range, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    range = value.trim().to_owned();
                }
                line.clear();
            }
            let from: usize = range.trim_end_matches('-').parse().unwrap_or(0);
            let (status, rest) =
                if range.is_empty() { ("200 OK", &bytes[..]) } else { ("206 Partial Content", &bytes[from..]) };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
                rest.len(),
                bytes.len() - 1,
                bytes.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(rest));
            ranges.push(range);
        }
        ranges
    });
    (address, server)
}

#[test]
fn an_address_is_fetched_and_gone_on_with() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: no curl");
        return;
    }
    let library = Library::of(&["yunet"]);
    let mut bytes = Vec::new();
    let file = root().join("models/yunet/yunet_2023mar_dyn.onnx");
    std::fs::File::open(file).and_then(|mut f| f.read_to_end(&mut bytes)).expect("weights");
    let (address, server) = serve(bytes.clone(), 1);
    let part = library.path("yunet").join("yunet_2023mar_dyn.onnx.part");
    std::fs::write(&part, &bytes[..100_000]).expect("written");
    let pull = |address: &str| {
        let mut command = library.command(&["models", "pull", "yunet", "--from", address]);
        command.env("NO_PROXY", "*").env("no_proxy", "*");
        command
    };
    let output = pull(&address).output().expect("starts");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "yunet fetched\n"), "{}", stderr(&output));
    assert_eq!(server.join().expect("served"), ["100000-"]);
    assert_eq!(library.says(&["models", "check", "yunet"]), "yunet ok\n");

    let library = Library::of(&["yunet"]);
    let (address, server) = serve(vec![7; 1000], 1);
    let mut command = library.command(&["models", "pull", "yunet", "--from", &address]);
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    assert_refused(&mut command, 3, &["sha256", "nothing was changed"]);
    assert_eq!(server.join().expect("served"), [""]);
    assert!(!library.path("yunet").join("yunet_2023mar_dyn.onnx").exists());
}

#[test]
fn a_model_is_added_when_everything_is_right() {
    let library = Library::of(&[]);
    let own = tempfile::tempdir().expect("a folder");
    let mine = own.path().join("mine");
    std::fs::create_dir(&mine).expect("made");
    for file in ["card.toml", "labels.txt", "LICENSE.txt", "yunet_2023mar_dyn.onnx"] {
        std::fs::copy(root().join("models/yunet").join(file), mine.join(file)).expect("copied");
    }
    let card =
        std::fs::read_to_string(mine.join("card.toml")).expect("a card").replace("samples/people.jpg", "people.jpg");
    std::fs::write(mine.join("card.toml"), &card).expect("written");
    std::fs::copy(sample("people.jpg"), mine.join("people.jpg")).expect("copied");
    let path = mine.join("card.toml").to_string_lossy().into_owned();
    let add = ["models", "add", &path];

    std::fs::remove_file(mine.join("LICENSE.txt")).expect("removed");
    std::fs::rename(mine.join("people.jpg"), mine.join("other.jpg")).expect("renamed");
    let output = library.command(&add).output().expect("starts");
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(3), 2), "{said}");
    assert!(said.contains("LICENSE.txt") && said.contains("people.jpg"), "{said}");
    std::fs::rename(mine.join("other.jpg"), mine.join("people.jpg")).expect("renamed");
    std::fs::write(mine.join("LICENSE.txt"), "MIT").expect("written");
    std::fs::write(mine.join("card.toml"), card.replacen("score = 0.934", "score = 0.1", 1)).expect("written");
    assert_refused(&mut library.command(&add), 3, &["golden", "score 0.1"]);
    assert!(!library.path("mine").exists());
    std::fs::write(mine.join("card.toml"), &card).expect("written");
    assert!(library.says(&add).starts_with("mine ok: "));
    assert_eq!(library.says(&["models", "check"]), "mine ok\n");
    assert_refused(&mut library.command(&add), 3, &["mine", "already"]);
}

#[test]
fn a_card_is_drafted_from_the_graph() {
    let text = run(&["models", "draft", "models/yunet/yunet_2023mar_dyn.onnx"]).stdout;
    let wanted = [
        "family = \"stride-cls-obj-box-kps\"",
        "\"cls_{stride}\"",
        "task = \"face\"",
        "e609d9af3af94a2bdba8bb20e9541645e71e4b57a547fb5354ac554827863368",
        "opset 13",
        "long_side",
        "DECIDE",
    ];
    for word in wanted {
        assert!(text.contains(word), "wanted {word}: {text}");
    }
    let text = run(&["models", "draft", "models/sface/sface_fast_w16.onnx"]).stdout;
    assert!(text.contains("dimensions = 128") && text.contains("size = [112, 112]"), "{text}");
    assert_refused(porchlight().args(["models", "draft", "README.md"]), 3, &["README.md"]);
    assert_refused(porchlight().args(["models", "draft", "none.onnx"]), 3, &["none.onnx"]);
    let Some(zoo) = zoo() else { return };
    for (file, family, classes) in [
        ("yolox_nano.onnx", "grid-box-obj-classes", "80 lines"),
        ("nanodet_m_320.onnx", "stride-cls-dfl", "80 lines"),
        ("FastestDet.onnx", "planes-obj-box-classes", "80 lines"),
        ("yolov8n_int8_AGPL_compat_only.onnx", "columns-box-classes", "# traffic light"),
        ("scrfd_500m_kps.onnx", "points-cls-box-kps", "\"out0\", \"out3\", \"out6\", \"out1\""),
        ("yunet_2022_320_320.onnx", "priors-box-classes", "\"box-kps\", \"classes\", \"quality\""),
        ("retinaface_mbnet0.25.onnx", "priors-box-classes", "\"box\", \"classes\", \"kps\""),
        ("person-reidentification-retail-0248.onnx", "embedding", "dimensions = 256"),
    ] {
        let text = run(&["models", "draft", &zoo.join(file).to_string_lossy()]).stdout;
        assert!(text.contains(&format!("family = \"{family}\"")) && text.contains(classes), "{file}: {text}");
    }
}

#[test]
fn boxes_are_drawn_on_files_and_never_for_a_camera() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("drawn");
    let mut command = porchlight();
    command.args(["detect", "--model", "yunet", "samples/people.jpg", "--draw"]).arg(&out);
    let output = command.output().expect("starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let drawn = image::open(out.join("samples-people.jpg.png")).expect("a picture").to_rgb8();
    let before = image::open(sample("people.jpg")).expect("a picture").to_rgb8();
    assert_eq!(drawn.dimensions(), before.dimensions());
    // The box's left edge of the first face has the class's colour; far from it nothing changed.
    let line: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let b: Vec<f64> =
        line["detections"][0]["box"].as_array().expect("a box").iter().filter_map(Value::as_f64).collect();
    assert_eq!(drawn.get_pixel(b[0] as u32, (b[1] + b[3] / 2.0) as u32).0, [230, 60, 60]);
    let differs = drawn
        .pixels()
        .zip(before.pixels())
        .filter(|(a, b)| a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 16))
        .count();
    assert!(differs > 500 && differs < 20_000, "{differs}");
    let mut command = porchlight();
    command.args(["detect", "/dev/video0", "--draw"]).arg(&out);
    assert_refused(&mut command, 2, &["/dev/video0", "never written"]);
    let mut command = porchlight();
    command.args(["detect", "/dev/null", "--draw"]).arg(&out);
    assert_refused(&mut command, 2, &["/dev/null", "never written"]);
}
