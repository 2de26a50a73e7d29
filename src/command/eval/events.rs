//! `eval events` and `eval mot`: streams and tracks against what is known of a clip.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::super::{Failure, Printer};
use super::{read, read_json};
use crate::eval::events::{Crossing, Track, Truth, evaluate};
use crate::eval::mot;
use crate::exit::Exit;

fn ms(line: &Value) -> Option<i64> {
    line["ts"].as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Tracks and crossings of a stream; times from the first frame's.
fn told(text: &str, size: [f64; 2]) -> Result<(Vec<Track>, Vec<Crossing>), String> {
    let (mut open, mut tracks, mut crossings) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut start = None;
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let wrong = |what: &str| format!("line {}: {what}", i + 1);
        let line: Value = serde_json::from_str(line).map_err(|e| wrong(&e.to_string()))?;
        let now = ms(&line).ok_or_else(|| wrong("wanted an event with a time in \"ts\""))?;
        let kind = line["type"].as_str().unwrap_or_default();
        if start.is_none() && kind == "camera.online" {
            start = Some(now);
        }
        let now = now - start.unwrap_or(now);
        if kind == "line.crossed" {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            crossings.push(Crossing { line: text("line"), direction: text("direction"), ms: now });
        }
        if !kind.starts_with("track.") {
            continue;
        }
        let id = line["track"].as_u64().ok_or_else(|| wrong("wanted a number in \"track\""))?;
        let sides: Vec<f64> = line["box"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let [x, y, w, h] = sides[..] else { return Err(wrong("wanted four numbers in \"box\"")) };
        let row = [now as f64, x * size[0], y * size[1], w * size[0], h * size[1]];
        let label = line["label"].as_str().unwrap_or_default().to_owned();
        let track = open.entry(id).or_insert_with(|| Track {
            label,
            appeared_ms: now,
            left_ms: now,
            dwell_ms: 0,
            boxes: Vec::new(),
        });
        // The last box of a track is a prediction: it left some time before it is said to have.
        if kind != "track.left" {
            track.boxes.push(row);
        }
        if kind == "track.left" {
            track.dwell_ms = line["dwell_ms"].as_i64().ok_or_else(|| wrong("wanted a number in \"dwell_ms\""))?;
            track.left_ms = now;
            tracks.extend(open.remove(&id));
        }
    }
    // A stream that was cut off still has its tracks.
    for (_, mut track) in open {
        track.left_ms = track.boxes.last().map_or(track.appeared_ms, |b| b[0] as i64);
        track.dwell_ms = track.left_ms - track.appeared_ms;
        tracks.push(track);
    }
    Ok((tracks, crossings))
}

pub(in crate::command) fn events(truth: &Path, stream: &Path, json: bool) -> Result<Exit, Failure> {
    let known: Truth = read_json(truth)?;
    let (mut tracks, crossings) = told(&read(stream)?, known.size)
        .map_err(|e| Failure::new(Exit::Source, format!("{}: {e}", stream.display())))?;
    // Faces that no person holds are tracks of their own; a truth that names none does not count them.
    if !known.visits.iter().any(|v| v.label == "face") {
        tracks.retain(|t| t.label != "face");
    }
    print(&evaluate(&known, &tracks, &crossings), json)
}

pub(in crate::command) fn mot(truth: &Path, tracked: &Path, json: bool) -> Result<Exit, Failure> {
    let sequence = mot::Sequence::parse(&read(truth)?, &read(tracked)?).map_err(|(is_truth, what)| {
        let path = if is_truth { truth } else { tracked };
        Failure::new(Exit::Source, format!("{}: {what}", path.display()))
    })?;
    print(&mot::evaluate(&sequence), json)
}

/// A table, or one JSON object.
fn print<T: serde::Serialize>(measures: &T, json: bool) -> Result<Exit, Failure> {
    let value = serde_json::to_value(measures).map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
    let mut text = String::new();
    if json {
        text = format!("{value}\n");
    } else {
        text.push_str("| measure | value |\n| --- | --- |\n");
        for (name, value) in value.as_object().into_iter().flatten() {
            let shown = match value.as_f64().filter(|v| v.fract() != 0.0) {
                Some(v) => format!("{v:.4}"),
                None => value.to_string(),
            };
            text.push_str(&format!("| {name} | {shown} |\n"));
        }
    }
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}
