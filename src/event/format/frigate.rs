//! The messages that Frigate publishes on `frigate/events`: `new`, `update` and `end`, each with the object as it was told
//! before and as it is after. Automations written for Frigate read `after.label`, `after.camera`, `after.current_zones`,
//! `after.entered_zones`, `after.stationary`, `type`; all of them are true here. There is never a snapshot nor a clip, and the
//! fields say so.
//!
//! Only what happens to tracks has a counterpart there; other lines are not written.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::detection::{ClassId, Score};
use crate::event::line::{Field, Line, Names, UtcMs, Words, fields, sealed};
use crate::event::{Body, Event, TrackNo, ZoneNo};
use crate::frame::CameraId;
use crate::geom::{Box2, Unit};

/// Width and height that boxes are scaled to where a source does not tell its size: Frigate's own default.
pub const NOMINAL: (u32, u32) = (1280, 720);

fields! {
    Id => |v, out| write!(out, "\"{:.3}-{:08x}{:06}\"", seconds(v.0), v.1 as u32, v.2.0);
    Seconds => |v, out| write!(out, "{:.3}", seconds(v.0));
    Tenths => |v, out| write!(out, "{:.4}", v.0);
    Corners => |v, out| write!(out, "[{},{},{},{}]", v.0[0], v.0[1], v.0[2], v.0[3]);
    Empty => |v, out| write!(out, "{}", v.0);
}

/// Start time, run and track: unique over all runs.
struct Id(UtcMs, u64, TrackNo);

struct Seconds(UtcMs);

struct Tenths(f64);

/// x0, y0, x1, y1 in pixels.
struct Corners([u32; 4]);

struct Empty(&'static str);

fn seconds(at: UtcMs) -> f64 {
    at.0 as f64 / 1000.0
}

/// What was told of an object.
#[derive(Clone, Copy, Debug)]
struct Known {
    start: UtcMs,
    seen: UtcMs,
    best: UtcMs,
    end: Option<UtcMs>,
    label: ClassId,
    score: Score,
    top: Score,
    bbox: Box2<Unit>,
    stationary: bool,
    position_changes: u32,
    /// A bit for each zone it is in.
    current: u32,
    /// Zones in the order in which it came into them.
    entered: [u8; 32],
    entered_len: u8,
}

impl Known {
    fn enter(&mut self, zone: ZoneNo) {
        self.current |= 1u32.checked_shl(zone.0.into()).unwrap_or(0);
        let len = usize::from(self.entered_len);
        if !self.entered[..len].contains(&zone.0) && len < self.entered.len() {
            self.entered[len] = zone.0;
            self.entered_len += 1;
        }
    }

    fn exit(&mut self, zone: ZoneNo) {
        self.current &= !1u32.checked_shl(zone.0.into()).unwrap_or(0);
    }
}

/// What was told of all objects that have not ended.
#[derive(Debug, Default)]
pub struct Told {
    open: BTreeMap<(CameraId, TrackNo), Known>,
}

impl Told {
    /// Writes the message that an event makes; false when it makes none, and then `out` is empty. `size` is the frame's.
    pub fn tell(
        &mut self,
        event: &Event,
        boot: u64,
        ts: UtcMs,
        size: (u32, u32),
        names: &Names,
        out: &mut Line,
    ) -> bool {
        out.clear();
        let (Some(camera), Some(track)) = (event.camera, event.body.track()) else { return false };
        let key = (camera, track);
        let before = self.open.get(&key).copied();
        let (kind, after) = match (event.body, before) {
            (Body::TrackAppeared { label, score, bbox, .. }, _) => {
                let known = Known {
                    start: ts,
                    seen: ts,
                    best: ts,
                    end: None,
                    label,
                    score,
                    top: score,
                    bbox,
                    stationary: false,
                    position_changes: 0,
                    current: 0,
                    entered: [0; 32],
                    entered_len: 0,
                };
                ("new", known)
            }
            (Body::TrackUpdated { score, bbox, moving, .. }, Some(before)) => {
                let mut known = Known { score, bbox, stationary: !moving, ..before };
                known.position_changes += u32::from(moving && before.stationary);
                if score > before.top {
                    (known.top, known.best) = (score, ts);
                }
                ("update", known)
            }
            (Body::ZoneEnter { zone, .. }, Some(mut known)) => {
                known.enter(zone);
                ("update", known)
            }
            (Body::ZoneExit { zone, .. }, Some(mut known)) => {
                known.exit(zone);
                ("update", known)
            }
            (Body::TrackLeft { bbox, .. }, Some(known)) => ("end", Known { bbox, end: Some(ts), ..known }),
            _ => return false,
        };
        let after = Known { seen: ts, ..after };
        if after.end.is_some() {
            self.open.remove(&key);
        } else {
            self.open.insert(key, after);
        }
        out.field("type", Words(kind));
        for (key, known) in [("before", before.unwrap_or(after)), ("after", after)] {
            out.object(key, |l| object(&known, boot, camera, track, size, names, l));
        }
        true
    }
}

fn object(
    known: &Known,
    boot: u64,
    camera: CameraId,
    track: TrackNo,
    (width, height): (u32, u32),
    names: &Names,
    line: &mut Line,
) {
    let px = |v: f32, side: u32| (v.clamp(0.0, 1.0) * side as f32).round() as u32;
    let b = known.bbox;
    let corners = [px(b.x0, width), px(b.y0, height), px(b.x1, width), px(b.y1, height)];
    let (w, h) = (corners[2].saturating_sub(corners[0]), corners[3].saturating_sub(corners[1]));
    let zone = |no: u8| names.zone(Some(camera), ZoneNo(no));
    line.field("id", Id(known.start, boot, track))
        .field("camera", names.camera(camera))
        .field("frame_time", Seconds(known.seen))
        .field("snapshot_time", Seconds(known.best))
        .field("label", names.label(known.label))
        .nullable("sub_label", None::<bool>)
        .field("top_score", known.top)
        .field("false_positive", false)
        .field("start_time", Seconds(known.start))
        .nullable("end_time", known.end.map(Seconds))
        .field("score", known.score)
        .field("box", Corners(corners))
        .field("area", u64::from(w) * u64::from(h))
        .field("ratio", Tenths(f64::from(w) / f64::from(h.max(1))))
        .field("region", Corners([0, 0, width, height]))
        .field("active", !known.stationary && known.end.is_none())
        .field("stationary", known.stationary)
        .field("motionless_count", 0u64)
        .field("position_changes", known.position_changes)
        .list("current_zones", (0..32).filter(|no| known.current & 1 << no != 0).map(zone))
        .list("entered_zones", known.entered[..usize::from(known.entered_len)].iter().map(|no| zone(*no)))
        .nullable("thumbnail", None::<bool>)
        .field("has_snapshot", false)
        .field("has_clip", false)
        .field("attributes", Empty("{}"))
        .field("current_attributes", Empty("[]"));
}
