//! The door: the only user of stdout. It speaks the native format alone; other systems' are made of its lines behind the gate
//! ([`crate::event::format`]).
//!
//! One thread receives events over a bounded queue and writes one line for each, whole, with one call. A reader that is slow
//! makes the queue full and thereby stalls the stage before it; events are never lost, frames are (at the capture slot, where
//! they are counted). The cap on output bytes touches only `track.updated`: such a line waits, the next one of the same track
//! takes its place, and `dropped` says how many gave way. The cap is kept on the stream's own clock, so that a replay gives
//! the same lines on any machine.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::event::line::{Hex64, Kind, Line, Names, Ratio, UtcMs};
use crate::event::{Body, ByeReason, DropCause, Event, FaultReason, MAX_LINE, Part, Seccomp, TrackNo, VERSION, Way};
use crate::flow::{Counts, Ledger};
use crate::frame::{CameraId, MonoNs};
use crate::seal::Sealed;
use crate::watch::{self, Latencies, Meter};

/// What the last stage sends to the door.
#[derive(Debug)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// Names of persons, numbered on from those known so far; sent before an event has one of them.
    Persons(Vec<String>),
    /// Time for a `stats` line; the latencies of the frames since the last one.
    Stats {
        /// Stream time.
        at: MonoNs,
        /// Capture to decision.
        latencies: Arc<Latencies>,
    },
    /// The last line; sent once.
    Bye {
        /// Stream time.
        at: MonoNs,
        /// Why.
        reason: ByeReason,
        /// Capture to decision since the last `stats`.
        latencies: Arc<Latencies>,
    },
}

/// How stream time becomes UTC.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// A file begins at this UTC time, in milliseconds since 1970.
    Replay {
        /// The time of stream time 0.
        start_ms: i64,
    },
    /// Stream time is this machine's monotonic clock.
    Live,
}

impl Clock {
    fn utc(self, at: MonoNs, wall: &mut Wall) -> UtcMs {
        let ms = i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX);
        match self {
            Self::Replay { start_ms } => UtcMs(start_ms.saturating_add(ms)),
            Self::Live => {
                let now = i64::try_from(watch::now().0 / 1_000_000).unwrap_or(i64::MAX);
                UtcMs(ms.saturating_add(wall.ahead(ms, watch::utc_ms().saturating_sub(now))))
            }
        }
    }
}

/// How far the wall clock is ahead of the monotonic one, as the lines about one camera see it.
///
/// Both clocks are read anew for each line, so that after a step of the wall clock new lines are right at once. The difference of
/// two readings trembles by a millisecond, though, and a clock that is being slewed runs slow: taken as it is, a line would now and
/// then be earlier than the one before it about the same frame.
#[derive(Clone, Copy, Debug, Default)]
struct Wall {
    /// What was used last, ms; `None` before the first line.
    held: Option<i64>,
    /// Latest monotonic time of a line, ms.
    newest: i64,
}

impl Wall {
    /// Less is the trembling of two readings, ms.
    const TREMBLE: i64 = 5;
    /// Whoever moves the clock so far at once means it, ms.
    const STEP: i64 = 1000;

    /// For a line of the monotonic time `at`, while the clocks are `now` apart, both ms.
    fn ahead(&mut self, at: i64, now: i64) -> i64 {
        let held = self.held.unwrap_or(now);
        let moved = now.saturating_sub(held);
        let ahead = match moved.saturating_abs() {
            0..=Self::TREMBLE => held,
            Self::STEP.. => now,
            _ => now.max(held.saturating_sub(at.saturating_sub(self.newest).max(0))),
        };
        self.newest = self.newest.max(at);
        self.held = Some(ahead);
        ahead
    }
}

/// A model, as `hello` names it.
#[derive(Clone, Debug)]
pub struct HelloModel {
    /// Its name.
    pub name: String,
    /// Hash of its weights.
    pub sha256: String,
}

/// A camera, as `hello` names it.
#[derive(Clone, Debug)]
pub struct HelloCamera {
    /// Its name.
    pub name: String,
    /// Path or device.
    pub source: String,
    /// Columns; 0 when only the frames will tell.
    pub width: u64,
    /// Rows; 0 when only the frames will tell.
    pub height: u64,
    /// Nominal frames a second.
    pub fps: f64,
    /// Pixel format.
    pub format: &'static str,
}

/// What the first line says; known before the first frame.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Models in use.
    pub models: Vec<HelloModel>,
    /// Hash of the effective configuration.
    pub config_sha256: String,
    /// Cameras in the order of their ids.
    pub cameras: Vec<HelloCamera>,
}

/// Everything the door needs.
pub struct Door {
    /// First line.
    pub hello: Hello,
    /// Tables of names.
    pub names: Names,
    /// Stream time to UTC, of each camera.
    pub clocks: Vec<Clock>,
    /// The same for lines about the run as a whole.
    pub clock: Clock,
    /// Identifies this run.
    pub boot: u64,
    /// How the eye before this one ended, which the second line says.
    pub after_death: Option<FaultReason>,
    /// Leaves `age_ms` out.
    pub deterministic: bool,
    /// Bytes a second and camera that `track.updated` must fit in.
    pub bytes_per_second: u64,
    /// One per camera.
    pub ledgers: Arc<[Ledger]>,
    /// Cost of this process.
    pub meter: Meter,
}

/// How the writing ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything was written.
    Complete,
    /// The reader closed the pipe.
    ReaderGone,
    /// Writing failed.
    Failed(io::Error),
}

/// How often the writer looks up from its queue.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Bytes that may be written at once after a quiet time.
const BURST: u64 = 32 * 1024;

/// A token bucket on stream time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    filled_at: MonoNs,
}

impl Bucket {
    fn refill(&mut self, at: MonoNs, per_second: u64) {
        let ms = at.ms_since(self.filled_at);
        if ms > 0 {
            self.level = self.level.saturating_add(per_second.saturating_mul(ms) / 1000).min(BURST);
            self.filled_at = at;
        }
    }
}

struct Writer<'a, W> {
    door: &'a Door,
    names: Names,
    sealed: &'a Sealed,
    out: W,
    line: Line,
    seq: u64,
    bytes_out: u64,
    buckets: Vec<Bucket>,
    waiting: Waiting,
    given_way: Vec<u64>,
    /// Of each camera, and one for what is about none.
    walls: Vec<Wall>,
    began: Instant,
    last_stats: Instant,
    last_cpu: Duration,
    last_counts: Vec<Counts>,
    all_latencies: Latencies,
    // Buffers of `stats`.
    counts: Vec<Counts>,
    entries: Vec<Entry>,
}

/// `track.updated` that wait for the cap, newest of each track, in the order of cameras and tracks. A list: it is short, and keeps
/// its memory.
#[derive(Default)]
struct Waiting(Vec<((CameraId, TrackNo), Event)>);

impl Waiting {
    fn place(&self, camera: CameraId, track: TrackNo) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(camera, track), |(key, _)| *key)
    }

    /// Whether one gave way to it.
    fn insert(&mut self, camera: CameraId, track: TrackNo, event: Event) -> bool {
        let place = self.place(camera, track);
        match place {
            Ok(i) => self.0[i].1 = event,
            Err(i) => self.0.insert(i, ((camera, track), event)),
        }
        place.is_ok()
    }

    /// Whether there was one.
    fn remove(&mut self, camera: CameraId, track: TrackNo) -> bool {
        self.place(camera, track).map(|i| self.0.remove(i)).is_ok()
    }

    /// The first of a camera.
    fn take(&mut self, camera: CameraId) -> Option<Event> {
        let first = self.0.partition_point(|((c, _), _)| *c < camera);
        self.0.get(first).filter(|((c, _), _)| *c == camera)?;
        Some(self.0.remove(first).1)
    }
}

/// Writes until the stages before have ended. `out` is stdout, or a buffer in tests; `gone`, asked about once a second, tells
/// whether the reader has left.
pub fn run<W: Write>(
    door: &Door,
    sealed: &Sealed,
    messages: &Receiver<Message>,
    out: W,
    gone: impl Fn() -> bool,
) -> Ended {
    let cameras = door.names.cameras().len();
    let mut writer = Writer {
        door,
        names: door.names.clone(),
        sealed,
        out,
        line: Line::new(),
        seq: 0,
        bytes_out: 0,
        buckets: vec![Bucket { level: BURST, filled_at: MonoNs(0) }; cameras],
        waiting: Waiting::default(),
        given_way: vec![0; cameras],
        walls: vec![Wall::default(); cameras + 1],
        began: Instant::now(),
        last_stats: Instant::now(),
        last_cpu: Duration::ZERO,
        last_counts: vec![Counts::default(); cameras],
        all_latencies: Latencies::default(),
        counts: Vec::new(),
        entries: Vec::new(),
    };
    match writer.all(messages, gone) {
        Ok(true) => Ended::Complete,
        Ok(false) => Ended::ReaderGone,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ended::ReaderGone,
        Err(e) => Ended::Failed(e),
    }
}

impl<W: Write> Writer<'_, W> {
    fn all(&mut self, messages: &Receiver<Message>, gone: impl Fn() -> bool) -> io::Result<bool> {
        self.hello()?;
        if let Some(reason) = self.door.after_death {
            let at = if matches!(self.door.clock, Clock::Live) { watch::now() } else { MonoNs(0) };
            let body = Body::Fault { part: Part::Eye, reason, restarted: true };
            self.put(Event { camera: None, at, received: at, body })?;
        }
        let mut asked = Instant::now();
        loop {
            if asked.elapsed() >= LOOK_AROUND {
                asked = Instant::now();
                if gone() {
                    return Ok(false);
                }
            }
            match messages.recv_timeout(LOOK_AROUND) {
                Ok(Message::Event(event)) => self.event(event)?,
                Ok(Message::Persons(names)) => self.names.add_persons(names),
                Ok(Message::Stats { at, latencies }) => self.stats(at, &latencies)?,
                Ok(Message::Bye { at, reason, latencies }) => {
                    self.let_waiting_out(at, true)?;
                    self.bye(at, reason, &latencies)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
    }

    /// The wall clock's time of a moment of a camera's stream, or of the run's.
    fn utc(&mut self, at: MonoNs, camera: Option<CameraId>) -> UtcMs {
        let clock = camera.and_then(|c| self.door.clocks.get(usize::from(c.0))).unwrap_or(&self.door.clock);
        let last = self.walls.len() - 1;
        clock.utc(at, &mut self.walls[camera.map_or(last, |c| usize::from(c.0)).min(last)])
    }

    /// Header fields, in the contract's order.
    fn begin(&mut self, kind: Kind, ts: UtcMs, camera: Option<CameraId>) {
        let door = self.door;
        self.line.clear();
        self.line
            .field("v", VERSION)
            .field("boot", Hex64(door.boot))
            .field("seq", self.seq)
            .field("type", kind)
            .field("ts", ts)
            .nullable("camera", camera.map(|c| self.names.camera(c)));
    }

    fn write(&mut self) -> io::Result<usize> {
        let bytes = self.line.finish();
        self.out.write_all(bytes)?;
        self.out.flush()?;
        self.seq += 1;
        self.bytes_out += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn hello(&mut self) -> io::Result<()> {
        let at = if matches!(self.door.clock, Clock::Live) { watch::now() } else { MonoNs(0) };
        let ts = self.utc(at, None);
        self.begin(Kind::HELLO, ts, None);
        let hello = &self.door.hello;
        self.line
            .text_before_frames("version", env!("CARGO_PKG_VERSION"))
            .objects("models", &hello.models, |l, m| {
                l.text_before_frames("name", &m.name).text_before_frames("sha256", &m.sha256);
            })
            .text_before_frames("config_sha256", &hello.config_sha256)
            .object("seal", |l| {
                let seal = self.sealed.reached();
                let way = if seal.seccomp { Way::Denied } else { Way::Allowed };
                l.field("state", seal.state)
                    .field("landlock_abi", seal.landlock_abi)
                    .field("seccomp", if seal.seccomp { Seccomp::Enforced } else { Seccomp::Off })
                    .field("network", way)
                    .field("files", way);
                if !seal.missing.is_empty() {
                    l.list("missing", seal.missing.iter().copied());
                }
            })
            .objects("cameras", &hello.cameras, |l, c| {
                l.text_before_frames("name", &c.name)
                    .text_before_frames("source", &c.source)
                    .field("width", c.width)
                    .field("height", c.height)
                    .field("fps", Ratio(c.fps))
                    .text_before_frames("format", c.format);
            });
        self.write()?;
        Ok(())
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        self.let_waiting_out(event.at, false)?;
        let camera = event.camera.filter(|c| usize::from(c.0) < self.buckets.len());
        match (event.body, camera) {
            (Body::TrackUpdated { track, .. }, Some(camera)) => {
                let index = usize::from(camera.0);
                if self.buckets[index].level < MAX_LINE as u64 {
                    if self.waiting.insert(camera, track, event) {
                        self.given_way[index] += 1;
                    }
                    return Ok(());
                }
                // There is room for this one, and was none for the last: that gives way, or it would come after.
                if self.waiting.remove(camera, track) {
                    self.given_way[index] += 1;
                }
            }
            // What is said of a track is said in the order of time: a waiting update gives way to what came after it.
            (body, Some(camera)) if body.track().is_some_and(|track| self.waiting.remove(camera, track)) => {
                self.given_way[usize::from(camera.0)] += 1;
            }
            _ => {}
        }
        self.put(event)
    }

    /// Writes the updates that the cap held back, as far as it allows now.
    fn let_waiting_out(&mut self, at: MonoNs, all: bool) -> io::Result<()> {
        let per_second = self.door.bytes_per_second;
        for index in 0..self.buckets.len() {
            self.buckets[index].refill(at, per_second);
            let camera = CameraId(index as u8);
            let room = |writer: &Self| all || writer.buckets[index].level >= 2 * MAX_LINE as u64;
            if self.given_way[index] > 0 && room(self) {
                let count = std::mem::take(&mut self.given_way[index]);
                let body = Body::Dropped { count, cause: DropCause::OutputCap };
                self.put(Event { camera: Some(camera), at, received: at, body })?;
            }
            while room(self)
                && let Some(event) = self.waiting.take(camera)
            {
                self.put(event)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, event: Event) -> io::Result<()> {
        let door = self.door;
        let ts = self.utc(event.at, event.camera);
        self.begin(Kind::of(&event.body), ts, event.camera);
        let age = (!door.deterministic).then(|| watch::now().ms_since(event.received));
        let line = &mut self.line;
        let mut aged = false;
        match event.body {
            Body::CameraOnline { reason, attempt } => {
                line.field("reason", reason).field("attempt", attempt).field("retry_ms", 0u64);
            }
            Body::CameraOffline { reason, attempt, retry_ms } | Body::CameraDegraded { reason, attempt, retry_ms } => {
                line.field("reason", reason).field("attempt", attempt).field("retry_ms", retry_ms);
            }
            Body::TrackAppeared { track, label, score, bbox } => {
                aged = true;
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("score", score)
                    .field("box", bbox);
            }
            Body::TrackUpdated { track, label, score, bbox, moving } => {
                aged = true;
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("score", score)
                    .field("box", bbox)
                    .field("moving", moving);
            }
            Body::TrackLeft { track, label, bbox, dwell_ms, reason } => {
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("box", bbox)
                    .field("dwell_ms", dwell_ms)
                    .field("reason", reason);
            }
            Body::IdentityRecognized { track, person, similarity, margin, faces } => {
                line.field("track", track)
                    .field("name", self.names.person(person))
                    .field("similarity", similarity)
                    .field("margin", margin)
                    .field("faces", faces);
            }
            Body::IdentityUnknown { track, faces } => {
                line.field("track", track).field("faces", faces);
            }
            Body::IdentityRevoked { track, person, reason } => {
                line.field("track", track).field("name", self.names.person(person)).field("reason", reason);
            }
            Body::ZoneEnter { track, label, zone } => {
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("zone", self.names.zone(event.camera, zone));
            }
            Body::ZoneExit { track, label, zone, dwell_ms } | Body::ZoneDwell { track, label, zone, dwell_ms } => {
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("zone", self.names.zone(event.camera, zone))
                    .field("dwell_ms", dwell_ms);
            }
            Body::LineCrossed { track, label, line: crossed, direction } => {
                line.field("track", track)
                    .field("label", self.names.label(label))
                    .field("line", self.names.line(event.camera, crossed))
                    .field("direction", direction);
            }
            Body::Dropped { count, cause } => {
                line.field("count", count).field("cause", cause);
            }
            Body::Fault { part, reason, restarted } => {
                line.field("part", part).field("reason", reason).field("restarted", restarted);
            }
        }
        if let (true, Some(age)) = (aged, age) {
            line.field("age_ms", age);
        }
        let bytes = self.write()? as u64;
        if let Some(bucket) = event.camera.and_then(|c| self.buckets.get_mut(usize::from(c.0))) {
            bucket.level = bucket.level.saturating_sub(bytes);
        }
        Ok(())
    }

    fn stats(&mut self, at: MonoNs, latencies: &Latencies) -> io::Result<()> {
        self.let_waiting_out(at, false)?;
        let interval = self.last_stats.elapsed();
        let cpu = self.door.meter.cpu();
        self.counts.clear();
        self.counts.extend(self.door.ledgers.iter().map(Ledger::counts));
        let each = self.counts.iter().zip(&self.last_counts).enumerate();
        self.entries.clear();
        self.entries.extend(
            each.map(|(i, (now, before))| Entry::new(Some(CameraId(i as u8)), *now, now.since(before), interval)),
        );
        let ts = self.utc(at, None);
        let cost = self.cost(interval, cpu.saturating_sub(self.last_cpu), latencies);
        let mut done = 0;
        while done < self.entries.len() {
            // As many cameras as fit into one line; the others get lines of their own.
            let mut take = self.entries.len() - done;
            loop {
                self.begin(Kind::STATS, ts, None);
                cost.put(&mut self.line, &self.names, &self.entries[done..done + take]);
                if take == 1 || self.line.len() + 2 <= MAX_LINE {
                    break;
                }
                take -= 1;
            }
            self.write()?;
            done += take;
        }
        self.all_latencies.absorb(latencies);
        (self.last_stats, self.last_cpu) = (Instant::now(), cpu);
        std::mem::swap(&mut self.last_counts, &mut self.counts);
        Ok(())
    }

    fn bye(&mut self, at: MonoNs, reason: ByeReason, latencies: &Latencies) -> io::Result<()> {
        self.all_latencies.absorb(latencies);
        let interval = self.began.elapsed();
        let cost = self.cost(interval, self.door.meter.cpu(), &self.all_latencies);
        let counts: Vec<Counts> = self.door.ledgers.iter().map(Ledger::counts).collect();
        let entry = |(i, c): (usize, &Counts)| Entry::new(Some(CameraId(i as u8)), *c, *c, interval);
        let each: Vec<Entry> = counts.iter().enumerate().map(entry).collect();
        let sum = counts.iter().fold(Counts::default(), |sum, c| sum.plus(c));
        let ts = self.utc(at, None);
        // One line must hold it: where there are too many cameras for that, their sum stands for them, without a name.
        for entries in [&each[..], &[Entry::new(None, sum, sum, interval)]] {
            self.begin(Kind::BYE, ts, None);
            self.line.field("reason", reason).object("totals", |l| cost.put(l, &self.names, entries));
            if self.line.len() + 2 <= MAX_LINE {
                break;
            }
        }
        self.write()?;
        Ok(())
    }

    fn cost(&self, interval: Duration, cpu: Duration, latencies: &Latencies) -> Cost {
        Cost {
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            latency: [0.5, 0.9, 0.99].map(|p| latencies.percentile_ms(p)),
            rss_bytes: self.door.meter.rss_bytes(),
            cpu: cpu.as_secs_f64() / interval.as_secs_f64().max(1e-3),
            temp_c: self.door.meter.temp_c(),
            throttled: self.door.meter.throttled(),
            bytes_out: self.bytes_out,
        }
    }
}

/// One camera's part of a `stats` line.
struct Entry {
    camera: Option<CameraId>,
    total: Counts,
    fps_in: f64,
    fps_done: f64,
}

impl Entry {
    fn new(camera: Option<CameraId>, total: Counts, recent: Counts, interval: Duration) -> Self {
        let seconds = interval.as_secs_f64().max(1e-3);
        let done = recent.still + recent.inferred + recent.failed;
        Self { camera, total, fps_in: recent.captured as f64 / seconds, fps_done: done as f64 / seconds }
    }
}

/// What a run costs, apart from its cameras.
struct Cost {
    interval_ms: u64,
    latency: [f64; 3],
    rss_bytes: u64,
    /// Cores.
    cpu: f64,
    temp_c: Option<f64>,
    throttled: Option<bool>,
    bytes_out: u64,
}

impl Cost {
    fn put(&self, line: &mut Line, names: &Names, entries: &[Entry]) {
        line.field("interval_ms", self.interval_ms)
            .objects("cameras", entries, |l, e| {
                l.nullable("name", e.camera.map(|c| names.camera(c)))
                    .field("fps_in", Ratio(e.fps_in))
                    .field("fps_done", Ratio(e.fps_done))
                    .field("captured", e.total.captured)
                    .field("displaced", e.total.displaced)
                    .field("undecodable", e.total.undecodable)
                    .field("still", e.total.still)
                    .field("inferred", e.total.inferred)
                    .field("failed", e.total.failed)
                    .field("driver_gaps", e.total.driver_gaps);
            })
            .object("latency_ms", |l| {
                l.field("p50", Ratio(self.latency[0]))
                    .field("p90", Ratio(self.latency[1]))
                    .field("p99", Ratio(self.latency[2]));
            })
            .field("rss_bytes", self.rss_bytes)
            .field("cpu", Ratio(self.cpu));
        if let Some(t) = self.temp_c {
            line.field("temp_c", Ratio(t));
        }
        if let Some(throttled) = self.throttled {
            line.field("throttled", throttled);
        }
        line.field("bytes_out", self.bytes_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{ClassId, Score};
    use crate::event::{Direction, LeftReason, LineNo};
    use crate::geom::{Box2, Unit};
    use crate::labels::Labels;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn door(bytes_per_second: u64) -> Door {
        let mut labels = Labels::default();
        labels.intern("person");
        Door {
            hello: Hello { models: Vec::new(), config_sha256: "0".repeat(64), cameras: Vec::new() },
            names: Names::new(vec!["front".into(), "back".into()], labels)
                .with_places(Vec::new(), vec![vec!["gate".into()], vec!["gate".into()]]),
            clocks: vec![Clock::Replay { start_ms: 0 }; 2],
            clock: Clock::Replay { start_ms: 0 },
            boot: 1,
            after_death: None,
            deterministic: true,
            bytes_per_second,
            ledgers: Arc::new([Ledger::default(), Ledger::default()]),
            meter: Meter::open(),
        }
    }

    /// Lines about moments in order are in order, whatever the readings of the clocks tremble and however the wall clock is slewed;
    /// after a step they are right at once.
    #[test]
    fn a_trembling_clock_turns_no_order_around() {
        let mut wall = Wall::default();
        let (mut at, mut last) = (1_000, 0);
        let mut real = 1_700_000_000_000i64;
        for n in 0..50_000i64 {
            at += [0, 0, 33][n as usize % 3];
            // A clock slewed by 10 % of the time, back and forth, and readings that tremble by 2 ms.
            real += if n / 5_000 % 2 == 0 { -(n % 3) } else { n % 3 };
            let ts = at + wall.ahead(at, real + n * 7 % 5 - 2);
            assert!(ts >= last, "{ts} after {last}");
            assert!((ts - at - real).abs() <= 50, "{} ms off", ts - at - real);
            last = ts;
        }
        for step in [3_600_000, -7_200_000, 2_000, -1_500] {
            real += step;
            assert!((wall.ahead(at, real) - real).abs() <= Wall::TREMBLE, "{step}");
        }
    }

    /// What one of a few tracks does next, after so many milliseconds.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Update,
        Cross,
        Leave,
    }

    fn event(track: u32, at: MonoNs, act: Option<Act>) -> Event {
        let (track, label, bbox) = (TrackNo(track), ClassId(0), Box2::<Unit>::from_xyxy(0.0, 0.0, 1.0, 1.0));
        let body = match act {
            None => Body::TrackAppeared { track, label, score: Score::default(), bbox },
            Some(Act::Update) => Body::TrackUpdated { track, label, score: Score::default(), bbox, moving: true },
            Some(Act::Cross) => Body::LineCrossed { track, label, line: LineNo(0), direction: Direction::Forward },
            Some(Act::Leave) => Body::TrackLeft { track, label, bbox, dwell_ms: 1, reason: LeftReason::Lost },
        };
        Event { camera: Some(CameraId((track.0 % 2) as u8)), at, received: at, body }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the cap holds back: what is said of a track is in the order of time, only updates give way, and those that
        /// did are counted.
        #[test]
        fn the_cap_keeps_the_order_and_counts_what_gave_way(
            acts in prop::collection::vec(
                (0u64..40, 0u32..6, prop_oneof![20 => Just(Act::Update), 2 => Just(Act::Cross), 1 => Just(Act::Leave)]),
                200..900,
            ),
            cap in prop_oneof![Just(256u64), Just(4096u64)],
        ) {
            let (to, messages) = crossbeam_channel::unbounded();
            let (mut ms, mut numbers, mut open) = (0, 0, [None::<u32>; 6]);
            let (mut updates, mut others) = (0u64, 0usize);
            for (pause, slot, act) in acts {
                ms += pause;
                let at = MonoNs(0).plus_ms(ms);
                let slot = &mut open[slot as usize];
                let sent = match (*slot, act) {
                    (None, _) => {
                        numbers += 1;
                        *slot = Some(numbers);
                        event(numbers, at, None)
                    }
                    (Some(track), act) => {
                        if matches!(act, Act::Leave) {
                            *slot = None;
                        }
                        event(track, at, Some(act))
                    }
                };
                match sent.body {
                    Body::TrackUpdated { .. } => updates += 1,
                    _ => others += 1,
                }
                to.send(Message::Event(sent)).unwrap();
            }
            let bye = Message::Bye { at: MonoNs(0).plus_ms(ms), reason: ByeReason::Signal, latencies: Arc::default() };
            to.send(bye).unwrap();
            drop(to);
            let unsealed = crate::seal::Opened::new((), crate::seal::Wanted::Nothing).confine().unwrap();
            let (sealed, ()) = unsealed.warm(Ok::<(), ()>).unwrap().seal().unwrap();
            let mut out = Vec::new();
            let ended = run(&door(cap), &sealed, &messages, &mut out, || false);
            prop_assert!(matches!(ended, Ended::Complete));
            let lines: Vec<Value> =
                String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            let mut times = BTreeMap::new();
            let mut left = std::collections::BTreeSet::new();
            for line in lines.iter().filter(|l| l["track"].is_u64()) {
                let (track, ts) = (line["track"].as_u64(), line["ts"].as_str().unwrap().to_owned());
                prop_assert!(!left.contains(&track), "after its left: {line}");
                let before = times.insert(track, ts.clone()).unwrap_or_default();
                prop_assert!(before <= ts, "{line} after {before}");
                if line["type"] == "track.left" {
                    left.insert(track);
                }
            }
            let of = |kind: &'static str| lines.iter().filter(move |l| l["type"] == kind);
            let told = of("track.updated").count() as u64;
            let gave_way: u64 = of("dropped").map(|l| l["count"].as_u64().unwrap()).sum();
            prop_assert_eq!(told + gave_way, updates);
            let rest = lines.len() - 2 - told as usize - of("dropped").count();
            prop_assert_eq!(rest, others, "only updates give way");
            prop_assert!(cap > 256 || updates < 400 || gave_way > 0, "the cap was never met");
        }
    }
}
