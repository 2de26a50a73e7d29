//! Zones and lines: where in the picture a track is, and what it passed. Pure.
//!
//! **The anchor** of a track is the middle of the bottom edge of its box, as events print it (cut to the frame): where feet,
//! paws and tyres touch the ground. Zones and lines are drawn on the ground of the picture, and the centre of a box would be
//! metres behind them.
//!
//! **Zones.** A track that appears inside has entered. Later, an enter is an anchor inside for [`Settings::hold_ms`]; an exit
//! is an anchor outside by more than the margin for as long. Between the edge and the margin everything stays as it is. The
//! margin grows with the object ([`Settings::margin`]), because so does the trembling of its box, and is at most a tenth of
//! the zone's own size. A stay is counted from the first frame inside, the hold included.
//!
//! **Lines.** A track has a side once its anchor was clear of the line by the margin, for the hold; the first time, its whole
//! foot print must be clear: what is born astride has no side until it has left the line. A crossing is a change from one side
//! to the other whose way led between the ends of the line. A line's end at the edge of the frame (within 1 %) goes on beyond
//! it. Who walks around an end changes sides without a crossing. So for a line that divides the frame, forward minus backward
//! is the net change of side.
//!
//! A track that is lost stands where it was: it neither enters nor leaves anything until it is found again or has left.

use crate::detection::ClassId;
use crate::event::{Body, Direction, LineNo, TrackNo, ZoneNo};
use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Size};

/// How much trembling is no movement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How long an anchor must stay on the other side of an edge or line before that counts, and in at least two frames.
    /// Default 300 ms.
    pub hold_ms: u64,
    /// How far beyond an edge or line it must be, in sizes of the object (square root of its box's area). Default 0.08.
    pub margin: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hold_ms: 300, margin: 0.08 }
    }
}

/// An area of the ground.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its number at its camera.
    pub no: ZoneNo,
    /// A simple polygon, 0..=1 of the frame.
    pub points: Vec<[f32; 2]>,
    /// Labels that count; `None` for all but faces, whose boxes touch no ground.
    pub labels: Option<Vec<ClassId>>,
    /// A stay of this long is told, once.
    pub dwell_ms: Option<u64>,
}

/// A line on the ground.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number at its camera.
    pub no: LineNo,
    /// Where one stands, 0..=1 of the frame.
    pub from: [f32; 2],
    /// Where one looks to. Forward is from the left hand to the right.
    pub to: [f32; 2],
    /// Labels that count; `None` for all but faces.
    pub labels: Option<Vec<ClassId>>,
}

/// A zone in pixels of the frame.
#[derive(Clone, Debug)]
struct Area {
    zone: Zone,
    corners: Vec<[f32; 2]>,
    least: [f32; 2],
    most: [f32; 2],
    most_margin: f32,
}

/// Where a point lies.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Inside,
    Margin,
    Outside,
}

impl Area {
    fn resize(&mut self, size: [f32; 2]) {
        for (corner, point) in self.corners.iter_mut().zip(&self.zone.points) {
            *corner = [point[0] * size[0], point[1] * size[1]];
        }
        (self.least, self.most) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for corner in &self.corners {
            self.least = [self.least[0].min(corner[0]), self.least[1].min(corner[1])];
            self.most = [self.most[0].max(corner[0]), self.most[1].max(corner[1])];
        }
        let doubled: f32 = self.edges().map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum();
        self.most_margin = 0.1 * (doubled.abs() / 2.0).sqrt();
    }

    fn edges(&self) -> impl Iterator<Item = ([f32; 2], [f32; 2])> + '_ {
        let last = self.corners.last().copied().into_iter();
        last.chain(self.corners.iter().copied()).zip(self.corners.iter().copied())
    }

    fn place(&self, p: [f32; 2], margin: f32) -> Where {
        let margin = margin.min(self.most_margin);
        if p.iter().zip(&self.least).any(|(v, least)| *v < least - margin)
            || p.iter().zip(&self.most).any(|(v, most)| *v > most + margin)
        {
            return Where::Outside;
        }
        let (mut inside, mut near) = (false, f32::INFINITY);
        for (a, b) in self.edges() {
            if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < (b[0] - a[0]) * (p[1] - a[1]) / (b[1] - a[1]) + a[0] {
                inside = !inside;
            }
            let (along, to) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
            let length2 = (along[0] * along[0] + along[1] * along[1]).max(f32::MIN_POSITIVE);
            let t = ((along[0] * to[0] + along[1] * to[1]) / length2).clamp(0.0, 1.0);
            let off = [to[0] - t * along[0], to[1] - t * along[1]];
            near = near.min(off[0] * off[0] + off[1] * off[1]);
        }
        match inside {
            true => Where::Inside,
            false if near > margin * margin => Where::Outside,
            false => Where::Margin,
        }
    }
}

/// A line in pixels of the frame.
#[derive(Clone, Debug)]
struct Gate {
    line: Line,
    from: [f32; 2],
    /// Of length 1, from `from` to `to`.
    along: [f32; 2],
    length: f32,
    /// Whether the line goes on beyond `from` and `to`, because they lie at the frame's edge.
    open: [bool; 2],
}

impl Gate {
    fn resize(&mut self, size: [f32; 2]) {
        let px = |p: [f32; 2]| [p[0] * size[0], p[1] * size[1]];
        let (from, to) = (px(self.line.from), px(self.line.to));
        let way = [to[0] - from[0], to[1] - from[1]];
        self.length = way[0].hypot(way[1]).max(f32::MIN_POSITIVE);
        self.along = way.map(|v| v / self.length);
        self.from = from;
        self.open = [self.line.from, self.line.to].map(|p| p.iter().any(|v| *v <= 0.01 || *v >= 0.99));
    }

    /// Distance to the line without ends, positive to the right of the way (y points down), and the place along it.
    fn measure(&self, p: [f32; 2]) -> (f32, f32) {
        let v = [p[0] - self.from[0], p[1] - self.from[1]];
        (self.along[0] * v[1] - self.along[1] * v[0], self.along[0] * v[0] + self.along[1] * v[1])
    }

    /// Whether a way between two measured points on different sides leads between the ends.
    fn is_passed(&self, (d0, t0): (f32, f32), (d1, t1): (f32, f32)) -> bool {
        let t = t0 + (t1 - t0) * d0 / (d0 - d1);
        (self.open[0] || t >= 0.0) && (self.open[1] || t <= self.length)
    }
}

/// The zones and lines of one camera.
#[derive(Clone, Debug, Default)]
pub struct Places {
    settings: Settings,
    areas: Vec<Area>,
    gates: Vec<Gate>,
    size: Size,
}

impl Places {
    /// Zones, then lines.
    pub fn new(zones: Vec<Zone>, lines: Vec<Line>) -> Self {
        let areas = zones.into_iter().map(|zone| Area {
            corners: zone.points.clone(),
            least: [0.0; 2],
            most: [0.0; 2],
            most_margin: 0.0,
            zone,
        });
        let gates = lines.into_iter().map(|line| Gate {
            from: line.from,
            along: [0.0; 2],
            length: 0.0,
            open: [false; 2],
            line,
        });
        Self { settings: Settings::default(), areas: areas.collect(), gates: gates.collect(), size: Size::default() }
    }

    /// With other settings.
    #[must_use]
    pub fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Those that name the labels they count: what is left for faces.
    #[must_use]
    pub fn for_faces(&self) -> Self {
        let mut places = self.clone();
        places.areas.retain(|a| a.zone.labels.is_some());
        places.gates.retain(|g| g.line.labels.is_some());
        places
    }

    /// Tells the frame's size; gives the factors by which it changed, if it did.
    pub(super) fn resize(&mut self, size: Size) -> Option<[f32; 2]> {
        if self.size == size {
            return None;
        }
        let of = |s: Size| [s.width.max(1) as f32, s.height.max(1) as f32];
        let (old, new) = (of(self.size), of(size));
        self.size = size;
        for area in &mut self.areas {
            area.resize(new);
        }
        for gate in &mut self.gates {
            gate.resize(new);
        }
        Some([new[0] / old[0], new[1] / old[1]])
    }

    /// Fills in what a new track of that label has to do with.
    pub(super) fn settle(&self, label: ClassId, into: &mut Whereabouts) {
        let counts = |labels: &Option<Vec<ClassId>>| labels.as_ref().is_none_or(|l| l.contains(&label));
        let areas = (0..self.areas.len()).filter(|&i| counts(&self.areas[i].zone.labels));
        let gates = (0..self.gates.len()).filter(|&i| counts(&self.gates[i].line.labels));
        let side = |gate| Side { gate, settled: None, other: None, last: None, passed: false };
        into.stays.clear();
        into.stays.extend(areas.map(|area| Stay { area, state: Stance::New }));
        into.sides.clear();
        into.sides.extend(gates.map(side));
    }
}

/// A track and a zone.
#[derive(Clone, Copy, Debug)]
struct Stay {
    area: usize,
    state: Stance,
}

#[derive(Clone, Copy, Debug)]
enum Stance {
    /// Not looked at yet.
    New,
    /// Told to be outside; since when it has been inside without a break.
    Outside(Option<MonoNs>),
    Inside {
        /// First frame inside.
        since: MonoNs,
        /// Since when it has been outside without a break.
        leaving: Option<MonoNs>,
        /// What was told of its dwell.
        dwelt_ms: Option<u64>,
    },
}

/// A track and a line.
#[derive(Clone, Copy, Debug)]
struct Side {
    gate: usize,
    /// Right of the line; `None` until it was clear of it.
    settled: Option<bool>,
    /// Since when it has been clear of the line on a side that is not the settled one.
    other: Option<(bool, MonoNs)>,
    last: Option<[f32; 2]>,
    /// Whether the last change of sides led between the ends.
    passed: bool,
}

/// Where one track stands with all zones and lines of its camera.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    stays: Vec<Stay>,
    sides: Vec<Side>,
}

/// Whose whereabouts.
#[derive(Clone, Copy)]
pub(super) struct Who {
    pub(super) track: TrackNo,
    pub(super) label: ClassId,
}

impl Whereabouts {
    /// Where it is in a frame it was found in, or in which nothing moved. Order: exits, crossings, enters, dwells.
    pub(super) fn look(
        &mut self,
        at: MonoNs,
        who: Who,
        bbox: Box2<FramePx>,
        places: &Places,
        say: &mut impl FnMut(Body),
    ) {
        if self.stays.is_empty() && self.sides.is_empty() {
            return;
        }
        let Who { track, label } = who;
        let Settings { hold_ms, margin } = places.settings;
        let (w, h) = (places.size.width.max(1) as f32, places.size.height.max(1) as f32);
        let (x0, x1) = (bbox.x0.clamp(0.0, w), bbox.x1.clamp(0.0, w));
        let (y0, y1) = (bbox.y0.clamp(0.0, h), bbox.y1.clamp(0.0, h));
        // Half a pixel inside, so that a zone that reaches to the frame's edge holds what stands there.
        let anchor = [((x0 + x1) / 2.0).clamp(0.5, w - 0.5), y1.clamp(0.5, h - 0.5)];
        let margin = margin * ((x1 - x0) * (y1 - y0)).max(0.0).sqrt();

        let mut any_inside = false;
        for stay in &mut self.stays {
            let area = &places.areas[stay.area];
            let place = area.place(anchor, margin);
            match &mut stay.state {
                // Enters are told after exits and crossings.
                Stance::New => any_inside |= place == Where::Inside,
                Stance::Outside(since) => {
                    if place == Where::Inside {
                        since.get_or_insert(at);
                        any_inside = true;
                    } else {
                        *since = None;
                    }
                }
                Stance::Inside { since, leaving, dwelt_ms } => {
                    any_inside = true;
                    if place != Where::Outside {
                        *leaving = None;
                    } else if at.ms_since(*leaving.get_or_insert(at)) >= hold_ms {
                        let out = leaving.unwrap_or(at);
                        let dwell_ms = out.ms_since(*since).max(dwelt_ms.unwrap_or(0));
                        say(Body::ZoneExit { track, label, zone: area.zone.no, dwell_ms });
                        stay.state = Stance::Outside(None);
                    }
                }
            }
            if matches!(stay.state, Stance::New) && place != Where::Inside {
                stay.state = Stance::Outside(None);
            }
        }

        for side in &mut self.sides {
            let gate = &places.gates[side.gate];
            let here = gate.measure(anchor);
            let (distance, right) = (here.0.abs(), here.0 > 0.0);
            if let Some(there) = side.last.map(|p| gate.measure(p))
                && (there.0 > 0.0) != right
            {
                side.passed = gate.is_passed(there, here);
            }
            side.last = Some(anchor);
            // Seen from above: as wide as the box, and not deep.
            let foot_print = gate.along[1].abs() * (x1 - x0) / 2.0 + gate.along[0].abs() * (y1 - y0) * 0.1;
            let clear = distance > if side.settled.is_some() { margin } else { margin.max(foot_print) };
            if !clear || side.settled == Some(right) {
                side.other = None;
                continue;
            }
            let since = match side.other {
                Some((on, since)) if on == right => since,
                _ => at,
            };
            side.other = Some((right, since));
            if at.ms_since(since) >= hold_ms {
                if side.settled.is_some() && side.passed {
                    let direction = if right { Direction::Forward } else { Direction::Backward };
                    say(Body::LineCrossed { track, label, line: gate.line.no, direction });
                }
                (side.settled, side.other) = (Some(right), None);
            }
        }

        if !any_inside {
            return;
        }
        for stay in &mut self.stays {
            let zone = &places.areas[stay.area].zone;
            let entered = match stay.state {
                Stance::New => at,
                Stance::Outside(Some(since)) if at.ms_since(since) >= hold_ms => since,
                _ => continue,
            };
            say(Body::ZoneEnter { track, label, zone: zone.no });
            stay.state = Stance::Inside { since: entered, leaving: None, dwelt_ms: None };
        }
        for stay in &mut self.stays {
            let zone = &places.areas[stay.area].zone;
            if let (Stance::Inside { since, leaving: None, dwelt_ms: dwelt @ None }, Some(least)) =
                (&mut stay.state, zone.dwell_ms)
                && at.ms_since(*since) >= least
            {
                let dwell_ms = at.ms_since(*since);
                *dwelt = Some(dwell_ms);
                say(Body::ZoneDwell { track, label, zone: zone.no, dwell_ms });
            }
        }
    }

    /// It has left: every enter gets its exit. `seen` is when it was seen last.
    pub(super) fn end(&mut self, seen: MonoNs, who: Who, places: &Places, say: &mut impl FnMut(Body)) {
        for stay in self.stays.drain(..) {
            if let Stance::Inside { since, leaving, dwelt_ms } = stay.state {
                let dwell_ms = leaving.unwrap_or(seen).ms_since(since).max(dwelt_ms.unwrap_or(0));
                let zone = places.areas[stay.area].zone.no;
                say(Body::ZoneExit { track: who.track, label: who.label, zone, dwell_ms });
            }
        }
        self.sides.clear();
    }

    /// The clock stepped back: so does everything that was remembered.
    pub(super) fn shift(&mut self, back: impl Fn(&mut MonoNs)) {
        for stay in &mut self.stays {
            match &mut stay.state {
                Stance::New => {}
                Stance::Outside(since) => since.iter_mut().for_each(&back),
                Stance::Inside { since, leaving, .. } => {
                    back(since);
                    leaving.iter_mut().for_each(&back);
                }
            }
        }
        self.sides.iter_mut().filter_map(|s| s.other.as_mut()).for_each(|(_, since)| back(since));
    }

    /// The frame's size changed by these factors.
    pub(super) fn scale(&mut self, by: [f32; 2]) {
        for last in self.sides.iter_mut().filter_map(|s| s.last.as_mut()) {
            *last = [last[0] * by[0], last[1] * by[1]];
        }
    }
}
