//! The messages that Frigate publishes on `frigate/events`: `new`, `update` and `end`, each with the object as it was told
//! before and as it is after. Automations written for Frigate read `after.label`, `after.camera`, `after.current_zones`,
//! `after.entered_zones`, `after.stationary`, `type`; all of them are true here. There is never a snapshot nor a clip, and the
//! fields say so.
//!
//! Only what happens to tracks has a counterpart there; other lines are not written.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{MAX_OPEN, Native, put};

/// Width and height that boxes are scaled to where a source does not tell its size: Frigate's own default.
const NOMINAL: (u32, u32) = (1280, 720);

/// Most zones remembered of an object: as many as a camera may have.
const MAX_ZONES: usize = 32;

/// An object, as a message has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Object {
    id: String,
    camera: String,
    frame_time: f64,
    snapshot_time: f64,
    label: String,
    sub_label: Option<()>,
    top_score: f64,
    false_positive: bool,
    start_time: f64,
    end_time: Option<f64>,
    score: f64,
    /// x0, y0, x1, y1 in pixels.
    #[serde(rename = "box")]
    bbox: [u32; 4],
    area: u64,
    ratio: f64,
    region: [u32; 4],
    active: bool,
    stationary: bool,
    motionless_count: u32,
    position_changes: u32,
    current_zones: Vec<String>,
    entered_zones: Vec<String>,
    thumbnail: Option<()>,
    has_snapshot: bool,
    has_clip: bool,
    attributes: BTreeMap<String, ()>,
    current_attributes: [(); 0],
}

impl Object {
    fn place(&mut self, [x, y, w, h]: [f64; 4], (width, height): (u32, u32)) {
        let px = |v: f64, side: u32| (v.clamp(0.0, 1.0) * f64::from(side)).round() as u32;
        self.bbox = [px(x, width), px(y, height), px(x + w, width), px(y + h, height)];
        let [x0, y0, x1, y1] = self.bbox;
        let (w, h) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
        self.area = u64::from(w) * u64::from(h);
        self.ratio = (f64::from(w) / f64::from(h.max(1)) * 1e4).round() / 1e4;
    }

    fn enter(&mut self, zone: &str) {
        for zones in [&mut self.current_zones, &mut self.entered_zones] {
            if zones.len() < MAX_ZONES && !zones.iter().any(|z| z == zone) {
                zones.push(zone.to_owned());
            }
        }
    }

    fn end(&mut self, time: f64) {
        self.end_time = Some(time);
        self.active = false;
        self.current_zones.clear();
    }
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    before: &'a Object,
    after: &'a Object,
}

/// What was told of all objects that have not ended.
#[derive(Debug, Default)]
pub(super) struct Told {
    sizes: BTreeMap<String, (u32, u32)>,
    /// By their number, so that the first is the oldest.
    open: BTreeMap<u64, Object>,
    /// The latest time told, in seconds.
    now: f64,
}

impl Told {
    /// Writes the message that a line makes, if it makes one.
    pub(super) fn tell(&mut self, line: &Native<'_>, out: &mut Vec<u8>) {
        if line.kind == "hello" {
            let side = |v: u64| u32::try_from(v).ok().filter(|v| *v > 0);
            self.sizes = (line.cameras.iter())
                .filter_map(|c| Some((c.name.as_deref()?.to_owned(), (side(c.width)?, side(c.height)?))))
                .collect();
        }
        let Some(track) = line.track else { return };
        let time = line.ms() as f64 / 1000.0;
        self.now = self.now.max(time);
        if line.kind == "track.appeared" {
            return self.begin(track, time, line, out);
        }
        let size = self.size(line.camera());
        let Some(object) = self.open.get_mut(&track) else { return };
        let before = object.clone();
        match (line.kind, line.zone.as_deref()) {
            ("track.updated", _) => {
                let (score, moving) = (line.score.unwrap_or_default(), line.moving.unwrap_or_default());
                object.score = score;
                if score > object.top_score {
                    (object.top_score, object.snapshot_time) = (score, time);
                }
                object.position_changes += u32::from(moving && object.stationary);
                (object.stationary, object.active) = (!moving, moving);
            }
            ("zone.enter", Some(zone)) => object.enter(zone),
            ("zone.exit", Some(zone)) => object.current_zones.retain(|z| z != zone),
            ("track.left", _) => object.end(time),
            _ => return,
        }
        object.frame_time = time;
        if let Some(bbox) = line.bbox {
            object.place(bbox, size);
        }
        let kind = if object.end_time.is_some() { "end" } else { "update" };
        put(&Message { kind, before: &before, after: object }, out);
        if kind == "end" {
            self.open.remove(&track);
        }
    }

    /// Ends what has not ended.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        while self.end_oldest(out) {}
    }

    fn size(&self, camera: &str) -> (u32, u32) {
        self.sizes.get(camera).copied().unwrap_or(NOMINAL)
    }

    fn begin(&mut self, track: u64, time: f64, line: &Native<'_>, out: &mut Vec<u8>) {
        if self.open.len() >= MAX_OPEN {
            self.end_oldest(out);
        }
        let (width, height) = self.size(line.camera());
        let score = line.score.unwrap_or_default();
        let mut object = Object {
            // Start time, run and track: unique over all runs.
            id: format!("{time:.3}-{}{track:06}", line.boot.get(8..).unwrap_or_default()),
            camera: line.camera().to_owned(),
            frame_time: time,
            snapshot_time: time,
            label: line.label().to_owned(),
            sub_label: None,
            top_score: score,
            false_positive: false,
            start_time: time,
            end_time: None,
            score,
            bbox: [0; 4],
            area: 0,
            ratio: 0.0,
            region: [0, 0, width, height],
            active: true,
            stationary: false,
            motionless_count: 0,
            position_changes: 0,
            current_zones: Vec::new(),
            entered_zones: Vec::new(),
            thumbnail: None,
            has_snapshot: false,
            has_clip: false,
            attributes: BTreeMap::new(),
            current_attributes: [],
        };
        object.place(line.bbox.unwrap_or_default(), (width, height));
        put(&Message { kind: "new", before: &object, after: &object }, out);
        self.open.insert(track, object);
    }

    fn end_oldest(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((_, before)) = self.open.pop_first() else { return false };
        let mut after = before.clone();
        after.end(self.now);
        after.frame_time = self.now;
        put(&Message { kind: "end", before: &before, after: &after }, out);
        true
    }
}
