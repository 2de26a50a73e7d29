//! docs/recipes: each block of code is taken out of the document and run on the stream of the sample clip.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::scene::native;
use crate::support::{Stream, root};

/// A block by its name: its language and text.
fn block(name: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/recipes/README.md")).expect("committed");
    let head = format!(" recipe={name}\n");
    let (_, rest) = text.split_once(&head).unwrap_or_else(|| panic!("no recipe {name}"));
    rest.split_once("\n```").expect("ends").0.to_owned()
}

/// Whether a tool is there; says when it is not.
fn there(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
    let there = found.is_ok_and(|s| s.success());
    if !there {
        eprintln!("skipped: wanted {tool}: `cargo xtask test` gets it");
    }
    there
}

/// A folder with the stream in it.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("events.jsonl"), native()).expect("written");
    dir
}

fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .current_dir(dir)
        .env("LOGGER_OPTIONS", "--no-act --stderr")
        .args(["-euc", script])
        .output()
        .expect("sh starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{script}");
    String::from_utf8(output.stdout).expect("UTF-8") + &said
}

/// Every block is run by a test of this file, which names it.
#[test]
fn every_recipe_has_a_test() {
    let text = std::fs::read_to_string(root().join("docs/recipes/README.md")).expect("committed");
    let tests = std::fs::read_to_string(root().join("tests/recipes.rs")).expect("committed");
    let mut blocks = 0;
    for head in text.lines().filter(|l| l.starts_with("```") && l.len() > 3) {
        let (_, name) = head.split_once(" recipe=").unwrap_or_else(|| panic!("a block without a name: {head}"));
        assert!(tests.contains(&format!("block(\"{name}\")")), "{name} is not run");
        blocks += 1;
    }
    assert!(blocks >= 9, "{blocks}");
}

#[test]
fn jq() {
    if !there("jq") {
        return;
    }
    let (dir, stream) = (folder(), Stream::read(native()));
    let visits = sh(dir.path(), &block("jq-visits"));
    let left: Vec<&Value> = stream.of("track.left").collect();
    assert_eq!(visits.lines().count(), left.len());
    for (row, line) in visits.lines().zip(&left) {
        let cells: Vec<&str> = row.split('\t').collect();
        assert_eq!(cells[..3], [&line["ts"], &line["camera"], &line["label"]].map(|v| v.as_str().expect("text")));
        let dwell_ms = line["dwell_ms"].as_f64().expect("a number");
        assert!((cells[3].parse::<f64>().expect("seconds") * 1000.0 - dwell_ms).abs() < 1.0, "{row}");
    }
    let persons = sh(dir.path(), &block("jq-persons"));
    assert_eq!(persons.lines().count(), stream.lines.iter().filter(|l| l["label"] == "person").count());
    let (mut now, mut most) = (0, 0);
    for line in &stream.lines {
        now += i32::from(line["type"] == "track.appeared") - i32::from(line["type"] == "track.left");
        most = most.max(now);
    }
    assert_eq!(sh(dir.path(), &block("jq-most")).trim(), most.to_string());
}

#[test]
fn sqlite() {
    if !there("sqlite3") {
        return;
    }
    let (dir, stream) = (folder(), Stream::read(native()));
    let count = |sql: &str| sh(dir.path(), &format!("sqlite3 events.db '{sql}'")).trim().to_owned();
    // Twice: the second time changes nothing.
    for _ in 0..2 {
        sh(dir.path(), &block("sqlite-load"));
        assert_eq!(count("SELECT count(*) FROM event"), stream.lines.len().to_string());
    }
    let views = block("sqlite-views").replace('\'', "'\\''");
    sh(dir.path(), &format!("sqlite3 events.db '{views}'"));
    let told = sh(dir.path(), &block("sqlite-ask"));
    for label in ["person", "cat"] {
        let left: Vec<&Value> = stream.of("track.left").filter(|l| l["label"] == label).collect();
        assert!(told.lines().any(|l| l.trim() == format!("1970-01-01,porch,{label},{}", left.len())), "{told}");
        let bins: u64 = told
            .lines()
            .map(|l| l.trim().split(',').collect::<Vec<_>>())
            .filter(|c| c.len() == 3 && c[0] == label)
            .map(|c| c[2].parse::<u64>().expect("a count"))
            .sum();
        assert_eq!(bins, left.len() as u64, "{told}");
        let first = left[0]["dwell_ms"].as_u64().expect("ms") / 5000 * 5;
        assert!(told.contains(&format!("{label},{first},")), "{told}");
    }
}

#[test]
fn prometheus() {
    if !there("jq") {
        return;
    }
    let (dir, stream) = (folder(), Stream::read(native()));
    sh(dir.path(), &block("prometheus"));
    let text = std::fs::read_to_string(dir.path().join("porchlight.prom")).expect("written");
    let persons = stream.of("track.appeared").filter(|l| l["label"] == "person").count();
    assert!(
        text.contains(&format!("porchlight_visits_total{{camera=\"porch\",label=\"person\"}} {persons}\n")),
        "{text}"
    );
    let captured = stream.total("captured");
    let line = format!("porchlight_frames_total{{camera=\"porch\",fate=\"captured\"}} {captured}\n");
    assert!(text.contains(&line), "{text}");
    // The text format: comments, or a name with labels and a number.
    for line in text.lines() {
        let sample = line.rsplit_once(' ').is_some_and(|(name, value)| {
            name.starts_with("porchlight_") && name.ends_with("\"}") && value.parse::<u64>().is_ok()
        });
        assert!(sample || line.starts_with("# HELP ") || line.starts_with("# TYPE "), "{line}");
    }
}

#[test]
fn journal() {
    if !there("jq") || !there("logger") {
        return;
    }
    let dir = folder();
    let help = sh(dir.path(), "logger --help");
    if !help.contains("--journald") {
        eprintln!("skipped: this logger knows no journal");
        return;
    }
    let told = sh(dir.path(), &block("journal"));
    let stream = Stream::read(native());
    let entries = told.matches("SYSLOG_IDENTIFIER=porchlight").count();
    assert_eq!(entries, stream.lines.len(), "{told}");
    assert!(told.contains("PORCHLIGHT_TYPE=track.left") && told.contains("PORCHLIGHT_LABEL=cat"), "{told}");
}

/// As far as it can be told without Vector.
#[test]
fn vector() {
    let config: toml::Table = block("vector").parse().expect("TOML");
    let mut names = vec![];
    for kind in ["sources", "transforms", "sinks"] {
        names.extend(config[kind].as_table().expect("a table").keys().cloned());
    }
    for kind in ["transforms", "sinks"] {
        for (name, part) in config[kind].as_table().expect("a table") {
            for input in part["inputs"].as_array().expect("a list") {
                assert!(names.iter().any(|n| input.as_str() == Some(n)), "{name}: {input}");
            }
        }
    }
    let left = Stream::read(native());
    let left = left.of("track.left").next().expect("somebody left");
    for field in ["type", "ts", "dwell_ms", "box"] {
        assert!(block("vector").contains(&format!(".{field}")) && left.get(field).is_some(), "{field}");
    }
}
