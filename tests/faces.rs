//! Enrolment, erasure, recognition: from outside, with pictures whose licence allows it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::{self, RUNTIME, Stream, assert_refused, porchlight, repeatable, run};

/// Portraits with one face each.
const HOPPER: &str = "samples/hopper.jpg";
const ASTRONAUT: &str = "samples/astronaut.jpg";
/// Both, in one picture.
const PEOPLE: &str = "samples/people.jpg";

fn gallery() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("faces.gallery").to_string_lossy().into_owned();
    (dir, path)
}

fn enroll(gallery: &str, name: &str, photo: &str, more: &[&str]) {
    let args = [&["faces", "enroll", name, photo, "--gallery", gallery, "--consent", "said yes"], more].concat();
    let done = run(&args);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
}

fn listed(gallery: &str) -> Vec<Value> {
    let done = run(&["faces", "list", "--json", "--gallery", gallery]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
}

#[test]
fn somebody_is_enrolled_listed_and_forgotten() {
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &["--expires", "2199-01-31"]);
    enroll(&path, "Astronaut", ASTRONAUT, &[]);
    let people = listed(&path);
    assert_eq!(people.len(), 2);
    assert_eq!(people[1]["name"], "Grace Hopper");
    assert_eq!(people[1]["consent"], "said yes");
    assert_eq!(people[1]["expires_at"], "2199-01-31T00:00:00.000Z");
    assert_eq!((&people[1]["expired"], &people[1]["templates"]), (&Value::from(false), &Value::from(1)));
    assert_eq!(people[0]["expires_at"], Value::Null);
    for file in ["faces.gallery", "faces.gallery.key"] {
        let mode = std::fs::metadata(dir.path().join(file)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // Never a photograph, nor anything as large as one.
    let bytes: u64 =
        std::fs::read_dir(dir.path()).expect("readable").flatten().map(|f| f.metadata().expect("there").len()).sum();
    assert!(bytes < 2000, "{bytes}");

    let key = std::fs::read(dir.path().join("faces.gallery.key")).expect("there");
    let copy = std::fs::read(&path).expect("there");
    let done = run(&["faces", "remove", "Astronaut", "--gallery", &path]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(listed(&path).len(), 1);
    assert_ne!(key, std::fs::read(dir.path().join("faces.gallery.key")).expect("there"), "a new key");
    let done = run(&["faces", "rekey", "--gallery", &path]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(listed(&path).len(), 1);
    // A copy from before the removal is worth nothing.
    std::fs::write(&path, copy).expect("writable");
    assert_refused(porchlight().args(["faces", "list", "--gallery", &path]), 2, &["not the key of"]);
}

#[test]
fn enrolment_refuses_what_it_must() {
    let (_dir, path) = gallery();
    let refused = |code, args: &[&str], wanted: &[&str]| {
        assert_refused(porchlight().args(["faces", "enroll"]).args(args).args(["--gallery", &path]), code, wanted);
    };
    let yes = ["--consent", "yes"];
    refused(1, &["A", "samples/cat.jpg", yes[0], yes[1]], &["cat.jpg", "no face"]);
    refused(1, &["A", PEOPLE, yes[0], yes[1]], &["people.jpg", "faces: cut out"]);
    refused(4, &["A", "samples/README.md", yes[0], yes[1]], &["README.md"]);
    refused(4, &["A", "samples/none.jpg", yes[0], yes[1]], &["none.jpg"]);
    refused(2, &["A", HOPPER], &["--consent"]);
    refused(2, &["A", HOPPER, "--consent", " "], &["--consent"]);
    refused(2, &["A\u{7}", HOPPER, yes[0], yes[1]], &["NAME"]);
    refused(2, &["A", HOPPER, yes[0], yes[1], "--expires", "2001-01-01"], &["--expires", "has passed"]);
    refused(2, &["A", HOPPER, yes[0], yes[1], "--expires", "soon"], &["--expires", "2027-01-31"]);
    refused(1, &["A", HOPPER, ASTRONAUT, yes[0], yes[1]], &["somebody else"]);
    assert!(!Path::new(&path).exists(), "nothing was written");
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    refused(1, &["Amazing Grace", HOPPER, yes[0], yes[1]], &["is like \"Grace Hopper\"", "--force"]);
    refused(1, &["Grace Hopper", HOPPER, yes[0], yes[1]], &["enrolled already", "--force"]);
    assert_eq!(listed(&path).len(), 1);
    enroll(&path, "Amazing Grace", HOPPER, &["--force"]);
    assert_eq!(listed(&path).len(), 2);
}

#[test]
fn two_pictures_are_compared() {
    let compared = |a: &str, b: &str| -> Value {
        let done = run(&["faces", "compare", a, b]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        serde_json::from_str(&done.stdout).expect("JSON")
    };
    let same = compared(HOPPER, HOPPER);
    assert_eq!((same["cosine"].as_f64().map(|c| c > 0.9999), &same["same"]), (Some(true), &Value::from(true)));
    let other = compared(HOPPER, ASTRONAUT);
    // The golden pair of models/sface/card.toml, made with another runtime and its own landmarks.
    assert!(other["cosine"].as_f64().is_some_and(|c| (c - 0.167).abs() < 0.02), "{other}");
    assert_eq!(other["same"], false);
    assert_refused(porchlight().args(["faces", "compare", HOPPER, "samples/cat.jpg"]), 1, &["cat.jpg", "no face"]);
}

fn names(gallery: &[&str], source: &str) -> (Stream, String) {
    let args = [&["run", "--source", source, "--deterministic"], gallery].concat();
    let done = run(&args);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
    (Stream::read(&done.stdout), done.stdout)
}

#[test]
fn the_run_names_who_is_enrolled_and_nobody_else() {
    let (_dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let (stream, text) = names(&["--gallery", &path], PEOPLE);
    let recognized: Vec<_> = stream.of("identity.recognized").collect();
    assert_eq!(recognized.len(), 1, "{text}");
    assert_eq!(recognized[0]["name"], "Grace Hopper");
    assert!(recognized[0]["similarity"].as_f64().is_some_and(|s| s > 0.9));
    assert!(stream.of("identity.unknown").all(|l| l["track"] != recognized[0]["track"]));
    assert!(stream.of("identity.revoked").next().is_none());
    let again = names(&["--gallery", &path], PEOPLE).1;
    assert_eq!(repeatable(&text), repeatable(&again), "a replay names the same");
    assert!(text.contains("\"sface\""));
}

#[test]
fn another_gallery_is_another_replay() {
    let boot = |gallery: &str| names(&["--gallery", gallery], PEOPLE).0.lines[0]["boot"].clone();
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let one = boot(&path);
    // Where it lies says nothing; who is in it does.
    let moved = dir.path().join("moved.gallery").to_string_lossy().into_owned();
    for end in ["", ".key"] {
        std::fs::copy(format!("{path}{end}"), format!("{moved}{end}")).expect("copied");
    }
    assert_eq!(boot(&moved), one);
    enroll(&path, "Astronaut", ASTRONAUT, &[]);
    assert_ne!(boot(&path), one);
    assert_ne!(names(&[], PEOPLE).0.lines[0]["boot"], one);
}

#[test]
fn without_a_gallery_nothing_is_embedded() {
    // Not even the embedder is loaded: `hello` lists what is.
    let (stream, text) = names(&[], PEOPLE);
    assert!(!text.contains("identity.") && !text.contains("sface"), "{text}");
    assert!(stream.of("hello").all(|l| l["models"].as_array().is_some_and(|m| m.len() == 2)));
}

#[test]
fn a_run_refuses_a_gallery_it_cannot_trust() {
    let (dir, path) = gallery();
    let refused = |wanted: &[&str]| {
        assert_refused(porchlight().args(["run", "--source", HOPPER, "--gallery", &path]), 2, wanted);
    };
    refused(&["no such gallery", "faces enroll"]);
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let key = dir.path().join("faces.gallery.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("ours");
    refused(&["wanted mode 600", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[200] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    refused(&["damaged"]);
    std::fs::write(&path, "").expect("writable");
    refused(&["an empty file"]);
}

/// Enrols somebody else with `shell` put before the program's words, which must fail and leave Grace as she was.
fn refused_by_the_disk(shell: &[&str], path: &str, dir: &Path) -> String {
    let before = std::fs::read(path).expect("there");
    let program = porchlight();
    let output = std::process::Command::new(shell[0])
        .args(&shell[1..])
        .arg(program.get_program())
        .args(["faces", "enroll", "Astronaut", ASTRONAUT, "--consent", "yes", "--gallery", path])
        .current_dir(support::root())
        .envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .output()
        .expect("a shell");
    let said = support::stderr(&output);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(std::fs::read(path).expect("there"), before);
    assert_eq!(std::fs::read_dir(dir).expect("readable").count(), 2, "no leftovers");
    assert_eq!(listed(path).len(), 1);
    said
}

#[test]
fn a_full_disk_loses_nothing() {
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    // No file may grow, and the signal that says so is ignored: then writing fails as on a full disk.
    let said = refused_by_the_disk(&["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"], &path, dir.path());
    assert!(said.contains("faces.gallery") && said.contains("nothing was changed"), "{said}");
}

#[test]
fn a_read_only_disk_loses_nothing() {
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).expect("ours");
        let said = refused_by_the_disk(&["env"], &path, dir.path());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        assert!(said.contains("faces.gallery") && said.contains("nothing was changed"), "{said}");
        return;
    }
    // Permissions do not stop root; a mount in a namespace of its own does.
    let folder = dir.path().to_str().expect("a plain name");
    let script = format!("mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}' && exec \"$@\"");
    let possible = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    if !possible.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let said = refused_by_the_disk(&["unshare", "--mount", "sh", "-c", &script, "sh"], &path, dir.path());
    assert!(said.contains("faces.gallery") && said.contains("nothing was changed"), "{said}");
}

/// Ten thousand faces in one picture: whatever is found of them, in bounded memory.
#[test]
fn a_picture_of_ten_thousand_faces_stays_within_memory() {
    use image::imageops::{FilterType, replace, resize};
    let (dir, path) = gallery();
    let face = image::open(support::root().join(HOPPER)).expect("a picture").to_rgb8();
    let face = resize(&face, 48, 48 * face.height() / face.width(), FilterType::Triangle);
    let (w, h) = face.dimensions();
    let mut crowd = image::RgbImage::new(100 * w, 100 * h);
    (0..10_000).for_each(|i| replace(&mut crowd, &face, i64::from(i % 100 * w), i64::from(i / 100 * h)));
    let picture = dir.path().join("crowd.jpg");
    crowd.save(&picture).expect("room for it");
    let picture = picture.to_string_lossy();
    // 2 GB of addresses, of which the picture takes 90 MB twice.
    let within = |args: &[&str]| {
        let program = porchlight();
        std::process::Command::new("sh")
            .args(["-c", "ulimit -v 2000000; exec \"$@\"", "sh"])
            .arg(program.get_program())
            .args(args)
            .current_dir(support::root())
            .envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .output()
            .expect("a shell")
    };
    let enrolled = within(&["faces", "enroll", "Crowd", &picture, "--consent", "yes", "--gallery", &path]);
    let said = support::stderr(&enrolled);
    assert_eq!(enrolled.status.code(), Some(1), "{said}");
    assert!(said.contains("face") && said.lines().count() == 1, "{said}");
    let detected = within(&["detect", &picture]);
    assert_eq!(detected.status.code(), Some(0), "{}", support::stderr(&detected));
}

#[test]
fn the_key_may_be_a_credential() {
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let credentials = tempfile::tempdir().expect("a folder");
    std::fs::rename(dir.path().join("faces.gallery.key"), credentials.path().join("porchlight.gallery.key"))
        .expect("both are ours");
    let output = porchlight()
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .args(["run", "--source", HOPPER, "--gallery", &path])
        .output()
        .expect("runs");
    assert_eq!((output.status.code(), support::stderr(&output).as_str()), (Some(0), ""));
    assert_eq!(Stream::read(&support::stdout(&output)).of("identity.recognized").count(), 1);
}

/// A clip of somebody who comes nearer, from a portrait: 3 seconds at 10 frames a second on a grey wall.
fn walk_up(portrait: &str, into: &Path) {
    use image::imageops::{FilterType, overlay, resize};
    let portrait = image::open(support::root().join(portrait)).expect("a picture").to_rgb8();
    let mut clip = Vec::new();
    for i in 0..30u32 {
        let mut frame = image::RgbImage::from_fn(960, 720, |x, y| image::Rgb([(90 + (x + y) % 7) as u8; 3]));
        let height = 240 + 14 * i;
        let width = portrait.width() * height / portrait.height();
        let small = resize(&portrait, width, height, FilterType::Triangle);
        overlay(&mut frame, &small, i64::from(100 + 4 * i), i64::from(720 - height));
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut clip, 90).encode_image(&frame).expect("encoded");
    }
    std::fs::write(into, clip).expect("writable");
}

/// Stream time in milliseconds of the first frame of a clip whose largest face passes the gate; every frame is looked at.
fn first_good_face(clip: &Path, fps: u64) -> i64 {
    use porchlight::decode::{Decoder, Limits};
    use porchlight::face::quality::{Gate, measure};
    use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
    use porchlight::geom::Region;
    use porchlight::model::card::{Card, find};
    use porchlight::model::{detector::Detector, prep::LongSide};
    use porchlight::source::mjpeg::{Split, Splitter};

    let card = Card::load(&find("yunet").expect("committed")).expect("a good card");
    let mut detector = Detector::load(&RUNTIME, card, 1, &mut Default::default()).expect("fits");
    let (mut decoder, mut frame, mut scratch) = (Decoder::new(Limits::default()), Frame::new(), Vec::new());
    let mut splitter = Splitter::new(64 << 20);
    splitter.feed(&std::fs::read(clip).expect("readable"));
    splitter.finish();
    let mut data = Vec::new();
    let mut at = 0;
    while let Split::Frame(_) = splitter.next(&mut data) {
        let (format, range) = (PixelFormat::Mjpg, Range::Full);
        let mut raw =
            RawFrame { stamp: Stamp::default(), format, size: None, stride: 0, range, data: std::mem::take(&mut data) };
        decoder.decode(&mut raw, &mut frame).expect("a good frame");
        let mut found = Vec::new();
        let score = detector.card().score;
        detector.detect(&frame, Region::whole(frame.size()), LongSide::Card, score, &mut found).expect("runs");
        let good = found.iter().any(|face| {
            let landmarks = face.landmarks.expect("a face has them");
            let quality = measure(&frame, &landmarks, face.score, &mut scratch);
            quality.is_some_and(|q| Gate::default().check(&q).is_ok())
        });
        if good {
            return at;
        }
        at += 1000 / i64::try_from(fps).expect("small");
    }
    panic!("no good face in {}", clip.display());
}

#[test]
fn somebody_who_walks_up_is_named_soon_and_a_stranger_is_not() {
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    for (portrait, known) in [(HOPPER, true), (ASTRONAUT, false)] {
        let clip = dir.path().join("clip.mjpeg");
        walk_up(portrait, &clip);
        let clip = clip.to_string_lossy().into_owned();
        let (stream, text) = names(&["--gallery", &path, "--fps", "10"], &clip);
        let first = first_good_face(Path::new(&clip), 10);
        let named: Vec<_> = stream.of("identity.recognized").collect();
        assert!(stream.of("identity.revoked").next().is_none(), "{text}");
        if known {
            assert!(!named.is_empty(), "{text}");
            let soon = support::ms(named[0]) - first;
            eprintln!("named {soon} ms after the first good face");
            assert!(soon <= 500, "{soon} ms\n{text}");
            assert!(named.iter().all(|l| l["name"] == "Grace Hopper" && l["faces"].as_u64() >= Some(2)), "{text}");
        } else {
            assert!(named.is_empty(), "{text}");
            assert!(stream.of("identity.unknown").next().is_some(), "{text}");
        }
    }
}

/// A run that looks at one picture again and again, in real time, until told to stop.
struct Staring {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    feeder: std::thread::JoinHandle<()>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    said: Vec<String>,
}

impl Staring {
    fn at(picture: &str, more: &[&str]) -> Self {
        use std::io::{BufRead, Write};
        use std::sync::atomic::{AtomicBool, Ordering};
        let mut child = porchlight()
            .args(["run", "--source", "-", "--fps", "10", "--pace", "realtime"])
            .args(more)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        let (frame, mut to) = (std::fs::read(picture).expect("committed"), child.stdin.take().expect("piped"));
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        // The run takes one when it is due; the pipe holds the next back.
        let feeder =
            std::thread::spawn(move || while !stopped.load(Ordering::Relaxed) && to.write_all(&frame).is_ok() {});
        let lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, feeder, stop, said: Vec::new() }
    }

    /// The next line of this type; that it never comes shows in the stream's end.
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("no {kind} in {:?}", self.said)).expect("text");
            let value: Value = serde_json::from_str(&line).expect("JSON");
            self.said.push(line);
            if value["type"] == kind {
                return value;
            }
            let began = self.said.len() < 2000;
            assert!(began, "no {kind} for a long time");
        }
    }

    /// Everything it said, after an end in order.
    fn end(mut self) -> Stream {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.feeder.join().expect("no panic");
        self.said.extend(self.lines.map(|l| l.expect("text")));
        assert!(self.child.wait().expect("waited").success());
        Stream::read(&(self.said.join("\n") + "\n"))
    }
}

#[test]
fn a_running_pipeline_notices_a_changed_gallery() {
    let (_dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let mut run_ = Staring::at(PEOPLE, &["--gallery", &path]);
    let named = run_.until("identity.recognized");
    assert_eq!(named["name"], "Grace Hopper");
    let done = run(&["faces", "remove", "Grace Hopper", "--gallery", &path]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let revoked = run_.until("identity.revoked");
    assert_eq!((&revoked["name"], &revoked["reason"]), (&Value::from("Grace Hopper"), &Value::from("removed")));
    assert_eq!(revoked["track"], named["track"]);
    // A name that the run has never heard passes its gate too.
    enroll(&path, "Amazing Grace", HOPPER, &[]);
    let named_again = run_.until("identity.recognized");
    assert_eq!((&named_again["name"], &named_again["track"]), (&Value::from("Amazing Grace"), &named["track"]));
    // Who deletes the file means it.
    std::fs::remove_file(&path).expect("there");
    assert_eq!(run_.until("identity.revoked")["name"], "Amazing Grace");
    run_.end();
}

#[test]
fn lapsed_consent_is_not_matched() {
    let (_dir, path) = gallery();
    // The least that can be enrolled: it lapses while we wait.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
    enroll(&path, "Grace Hopper", HOPPER, &["--expires", &soon.to_string()]);
    while jiff::Timestamp::now() <= soon {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(listed(&path)[0]["expired"], true);
    let (stream, text) = names(&["--gallery", &path], PEOPLE);
    assert!(stream.of("identity.recognized").next().is_none(), "{text}");
}

#[test]
fn faces_are_evaluated_by_folders_and_broken_lists_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for (person, photo) in [("grace", HOPPER), ("astronaut", ASTRONAUT)] {
        let folder = dir.path().join(person);
        std::fs::create_dir(&folder).expect("new");
        for copy in ["a.jpg", "b.jpg"] {
            std::fs::copy(support::root().join(photo), folder.join(copy)).expect("copied");
        }
    }
    let folder = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let done = run(&["eval", "faces", &folder("grace"), &folder("astronaut")]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    for wanted in ["accuracy at match = 0.45 | 1.0000", "6 of 6", "| EER | 0.0000", "gallery of 1 | FPIR 0.0000"] {
        assert!(done.stdout.contains(wanted), "{wanted}: {}", done.stdout);
    }
    // The likest strangers are at .17: with a rate of none the threshold lies above them, with all allowed at nothing.
    let recommended = |more: &[&str]| -> Value {
        let done = run(&[&["eval", "faces", &folder("grace"), &folder("astronaut"), "--json"], more].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        serde_json::from_str::<Value>(&done.stdout).expect("JSON")["recommended"].clone()
    };
    let (none, all) = (recommended(&["--fpir", "0", "--persons", "1"]), recommended(&["--fpir", "1"]));
    let found = |v: &Value| v["match"].as_f64().expect("a number");
    assert!((0.16..0.20).contains(&found(&none)) && none["fpir"] == 0.0 && none["enough_faces"] == false, "{none}");
    assert!(found(&all) == 0.0 && all["fpir"] == 1.0 && all["enough_faces"] == true, "{all}");
    assert_refused(
        porchlight().args(["eval", "faces", &folder("grace"), &folder("astronaut"), "--persons", "2"]),
        2,
        &["--persons: wanted at most 1", "found 2"],
    );
    let list = dir.path().join("pairs.tsv");
    std::fs::write(&list, "a\tb\tlabel\ngrace/a.jpg\tgrace/b.jpg\tmaybe\n").expect("written");
    assert_refused(porchlight().args(["eval", "faces"]).arg(&list), 4, &["line 2", "same or different"]);
}

/// Files of `dir` that a crash left: named `core`, or with that beginning (`core.PID`).
fn cores(dir: &Path) -> usize {
    let is_core = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with("core");
    std::fs::read_dir(dir).expect("readable").flatten().filter(is_core).count()
}

/// `program` in `dir`, where cores of any size may be left.
fn dumping(program: &str, args: &[&str], dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh", program]).args(args).current_dir(dir);
    command
}

/// As an abort does; the first SIGSEGV from outside would be swallowed by the standard library's handler.
fn crash(pid: &str) {
    let status = std::process::Command::new("kill").args(["-ABRT", pid]).stderr(std::process::Stdio::null()).status();
    assert!(status.is_ok(), "kill -ABRT {pid}");
}

/// A crash of whoever holds embeddings leaves nothing: the eye, sealed or not, and enrolment.
#[test]
fn a_crash_leaves_no_core() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Stdio};
    let (dir, path) = gallery();
    enroll(&path, "Grace Hopper", HOPPER, &[]);
    let dir = dir.path();
    let in_root = |p: &str| support::root().join(p).to_string_lossy().into_owned();
    let wait_for_core = |mut child: Child| child.wait().expect("waited").core_dumped();

    // The kernel does leave one of a program that does nothing about it, or nothing is shown here.
    let control = dumping("sleep", &["100"], dir).spawn();
    let Ok(control) = control else { panic!("no shell") };
    while std::fs::read_to_string(format!("/proc/{}/comm", control.id())).is_ok_and(|c| c.trim() != "sleep") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    crash(&control.id().to_string());
    let shows = wait_for_core(control);
    if !shows {
        eprintln!("skipped in part: this system keeps no core of anybody");
    }
    let before = cores(dir);

    let program = porchlight();
    let environment: Vec<_> = program.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    let program = program.get_program().to_string_lossy().into_owned();
    let people = in_root(PEOPLE);
    for seal in [&[][..], &["--no-seal"]] {
        let args = [&["run", "--source", "-", "--fps", "10", "--pace", "realtime", "--gallery", &path], seal].concat();
        let mut run = dumping(&program, &args, dir);
        run.envs(environment.iter().cloned()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = run.spawn().expect("starts");
        let (frame, mut to) = (std::fs::read(&people).expect("committed"), child.stdin.take().expect("piped"));
        let feeder = std::thread::spawn(move || while to.write_all(&frame).is_ok() {});
        // By now there are embeddings in it.
        use std::io::{BufRead, Write};
        let lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
        let named = lines.map_while(Result::ok).any(|l| l.contains("identity.recognized"));
        assert!(named, "{seal:?}");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        for below in std::fs::read_to_string(children).expect("lives").split_whitespace() {
            // The eye and the gatekeeper; one may have ended with the other.
            crash(below);
        }
        let _ = child.wait();
        feeder.join().expect("no panic");
        assert_eq!(cores(dir), before, "{seal:?}");
    }

    // A photograph that keeps enrolment busy after the first one was embedded.
    let photos: Vec<String> = std::iter::repeat_n(in_root(HOPPER), 32).collect();
    let photos: Vec<&str> = photos.iter().map(String::as_str).collect();
    let tail = ["--consent", "yes", "--gallery", &path, "--force"];
    let mut enrolling = dumping(&program, &[&["faces", "enroll", "Busy"][..], &photos, &tail].concat(), dir);
    let child = enrolling.envs(environment).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    // It has its models when it has threads.
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", child.id())).map_or(0, Iterator::count);
    let began = std::time::Instant::now();
    while tasks() < 2 && began.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    crash(&child.id().to_string());
    assert!(!wait_for_core(child), "enrolment left a core");
    assert_eq!(cores(dir), before);
}
