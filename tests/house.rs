//! The house rules that a compiler does not check: who may import whom.

use std::path::{Path, PathBuf};

use crate::support::root;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Product code of each file, without comments and without its test module.
fn code() -> Vec<(String, String)> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20);
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            let code = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            let name = path.strip_prefix(root().join("src")).expect("inside").to_string_lossy().into_owned();
            (name, code)
        })
        .collect()
}

/// Only these files (or folders) may contain the text.
fn only(text: &str, allowed: &[&str]) {
    let mut users = 0;
    for (name, code) in code() {
        if code.contains(text) {
            assert!(allowed.iter().any(|a| name.starts_with(a)), "src/{name} uses `{text}`; only {allowed:?} may");
            users += 1;
        }
    }
    assert!(users > 0, "nobody uses `{text}` any more: drop the rule");
}

/// These files may not contain any of the texts.
fn never(room: &str, texts: &[&str]) {
    let mut rooms = 0;
    for (name, code) in code() {
        if name.starts_with(room) {
            rooms += 1;
            for text in texts {
                assert!(!code.contains(text), "src/{name} uses `{text}`");
            }
        }
    }
    assert!(rooms > 0, "there is no src/{room} any more: correct the rule");
}

#[test]
fn one_user_of_each_way_out_and_in() {
    only("v4l::", &["source/camera/sys.rs"]);
    only("use ort::", &["model/infer.rs", "model/sys.rs"]);
    only(" ort::", &["model/infer.rs", "model/sys.rs"]);
    only("pulp::", &["decode/baseline.rs", "model/resample/level.rs"]);
    only("zune_jpeg", &["decode/"]);
    only("rustix::net", &["warden", "command/check.rs"]);
    only("chacha20poly1305", &["face/vault.rs"]);
    only("stdin()", &["source/", "warden", "seal/sys.rs", "command/watch.rs"]);
}

/// Each file that may is written for it, and each block says why it is needed and sound (clippy sees to that).
#[test]
fn unsafe_code_has_its_few_places() {
    only("allow(unsafe_code)", &["source/camera/sys.rs", "seal/sys.rs", "model/sys.rs"]);
    only("unsafe {", &["source/camera/sys.rs", "seal/sys.rs", "model/sys.rs"]);
}

#[test]
fn threads_are_spawned_in_one_place() {
    only("thread::Builder", &["pipeline.rs"]);
    for (name, code) in code() {
        assert!(!code.contains("thread::spawn"), "src/{name} spawns a thread");
    }
}

#[test]
fn events_know_no_pixels() {
    let pixels = ["frame::Frame", "frame::{Frame", "RawFrame", "crate::face", "crate::model", "crate::decode"];
    never("event/", &pixels);
    never("emit.rs", &pixels);
    never("scene/", &pixels);
    never("track/", &pixels);
}

#[test]
fn pure_rooms_know_no_clock_and_no_disk() {
    let impure = ["std::fs", "Instant", "SystemTime", "watch::", "std::net", "std::thread"];
    for room in [
        "geom.rs",
        "cadence.rs",
        "motion.rs",
        "attention.rs",
        "track/",
        "scene/",
        "model/nms.rs",
        "model/family/",
        "decode/",
        "face/vote.rs",
        "face/quality.rs",
        "face/identity.rs",
        "event/",
        "view.rs",
        "stats.rs",
    ] {
        never(room, &impure);
    }
}

#[test]
fn no_network_anywhere() {
    for (name, code) in code() {
        for text in ["std::net", "TcpStream", "UdpSocket"] {
            assert!(!code.contains(text), "src/{name} uses `{text}`");
        }
    }
}

/// The files that a sealed eye may name when it panics are those of the tree.
#[test]
fn a_panic_can_be_anywhere() {
    let mut files: Vec<String> = code().into_iter().map(|(name, _)| format!("src/{name}")).collect();
    files.sort();
    if std::env::var_os("PORCHLIGHT_WRITE_GOLDEN").is_some() {
        let list: String = files.iter().map(|f| format!("    \"{f}\",\n")).collect();
        std::fs::write(root().join("src/seal/files.in"), format!("[\n{list}]\n")).expect("writable");
        return;
    }
    assert_eq!(porchlight::seal::phrases::FILES, files, "src/seal/files.in: PORCHLIGHT_WRITE_GOLDEN=1 writes it");
}

/// An address is fetched by another program, and only `models pull` starts it.
#[test]
fn one_place_starts_curl() {
    only("\"curl\"", &["command/pull.rs"]);
    only("pull::pull(", &["command/models.rs"]);
}

/// Pixels are written by `detect --draw` alone.
#[test]
fn one_place_writes_pictures() {
    only("i.save(", &["command/draw.rs"]);
    only("draw::draw(", &["command/detect.rs"]);
}
