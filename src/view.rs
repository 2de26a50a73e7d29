//! What an event stream says, for eyes: cameras, who is there, what happened last, health. Text alone, never a picture.
//!
//! [`View`] takes lines as they come, from whomever: nothing in them is trusted. What is no event is counted and named, names are
//! cleaned of everything that could speak to a terminal, and what is remembered is bounded. Time is the stream's own, so a view
//! of the same lines is the same text.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use serde_json::Value;

/// Longest line that is looked at.
pub const LONGEST: usize = 64 * 1024;

/// Most cameras, tracks, labels and names remembered at a time.
const MOST: usize = 4096;

/// Longest name that is shown.
const NAME: usize = 32;

/// What happened last: so many are kept.
const RECENT: usize = 50;

/// Text that a terminal shows and does not obey, cut to a length: control characters and those that turn or hide text
/// become `?`.
pub fn plain(text: &str, longest: usize) -> String {
    let harmless = |c: char| {
        let hides = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}');
        if c.is_control() || hides { '?' } else { c }
    };
    text.chars().take(longest).map(harmless).collect()
}

/// Columns of a character, as terminals have it: East Asian ones and pictures take two.
fn columns(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' => 2,
        '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Cut to so many columns.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += columns(*c);
        used <= width
    };
    text.chars().take_while(fits).collect()
}

/// Cut or filled to so many columns.
fn cell(text: &str, width: usize) -> String {
    let mut out = cut(text, width);
    let used: usize = out.chars().map(columns).sum();
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    out
}

fn seconds(ms: i64) -> String {
    match ms.max(0) {
        ms @ 0..=59_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms @ 60_000..=3_599_999 => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
        ms => format!("{} h {:02} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} B"),
        10_000..=9_999_999 => format!("{} kB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

#[derive(Debug, Default)]
struct Camera {
    state: String,
    fps: f64,
    captured: u64,
    displaced: u64,
    undecodable: u64,
    failed: u64,
}

#[derive(Debug)]
struct Track {
    camera: String,
    label: String,
    score: f64,
    since: i64,
    moving: bool,
    zones: Vec<String>,
    name: Option<String>,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct View {
    version: String,
    seal: String,
    boot: String,
    ended: Option<String>,
    next_seq: Option<u64>,
    now: i64,
    cameras: BTreeMap<String, Camera>,
    tracks: BTreeMap<u64, Track>,
    visits: BTreeMap<String, u64>,
    crossed: BTreeMap<(String, String), [u64; 2]>,
    recent: VecDeque<String>,
    latency: Option<[f64; 3]>,
    age_ms: Option<u64>,
    rss_bytes: u64,
    cpu: f64,
    bytes_out: u64,
    dropped: u64,
    faults: u64,
    lines: u64,
    events: u64,
    gaps: u64,
    /// The last line that was no event, and why.
    odd: Option<(u64, String)>,
    odds: u64,
}

/// Inserts unless there are too many already.
fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if map.len() < MOST || map.contains_key(&key) {
        map.insert(key, value);
    }
}

fn text(value: &Value, key: &str) -> String {
    plain(value.get(key).and_then(Value::as_str).unwrap_or_default(), NAME)
}

fn count(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn amount(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or_default()
}

impl View {
    /// How many lines were events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last line that was no event: which, from 1, and why.
    pub fn odd(&self) -> Option<(u64, &str)> {
        self.odd.as_ref().map(|(line, why)| (*line, why.as_str()))
    }

    /// Takes a line in, without its newline.
    pub fn tell(&mut self, line: &[u8]) {
        self.lines += 1;
        match self.understand(line) {
            Ok(()) => self.events += 1,
            Err(why) => {
                self.odds += 1;
                self.odd = Some((self.lines, why));
            }
        }
    }

    /// A line that was too long to be kept.
    pub fn too_long(&mut self) {
        self.lines += 1;
        self.odds += 1;
        self.odd = Some((self.lines, format!("longer than {LONGEST} bytes")));
    }

    fn understand(&mut self, line: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(line).map_err(|_| "no JSON".to_owned())?;
        // The native line is whole in its envelope.
        let event = if value.get("specversion").is_some() { value.get("data").unwrap_or(&value) } else { &value };
        let Some(kind) = event.get("type").and_then(Value::as_str) else {
            return Err("no event: it has no type".into());
        };
        let (Some(boot), Some(seq)) =
            (event.get("boot").and_then(Value::as_str), event.get("seq").and_then(Value::as_u64))
        else {
            return Err("no event of the native format: it has no boot and seq".into());
        };
        let known = crate::event::schema::SHAPES.iter().find(|s| s.kind == kind);
        let Some(known) = known else { return Err(format!("unknown type \"{}\"", plain(kind, NAME))) };
        if let Some(lacks) = known.keys.iter().find(|k| !k.optional && event.get(k.name).is_none()) {
            return Err(format!("{kind} without {}", lacks.name));
        }
        if kind == "hello" || boot != self.boot {
            *self = Self {
                boot: plain(boot, 16),
                lines: self.lines,
                events: self.events,
                odd: self.odd.take(),
                odds: self.odds,
                gaps: self.gaps,
                recent: std::mem::take(&mut self.recent),
                ..Self::default()
            };
        } else if self.next_seq.is_some_and(|n| n != seq) {
            self.gaps += 1;
        }
        self.next_seq = seq.checked_add(1);
        let ts = event.get("ts").and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
        self.now = ts.map_or(self.now, jiff::Timestamp::as_millisecond);
        self.take(kind, event);
        Ok(())
    }

    fn take(&mut self, kind: &str, event: &Value) {
        let (camera, label, no) = (text(event, "camera"), text(event, "label"), count(event, "track"));
        if let Some(age) = event.get("age_ms").and_then(Value::as_u64) {
            self.age_ms = Some(age);
        }
        let what = format!("{camera}: {label} {no}");
        match kind {
            "hello" => {
                self.version = text(event, "version");
                self.seal = text(&event["seal"], "state");
                for entry in event["cameras"].as_array().into_iter().flatten() {
                    let state = Camera { state: "waiting".into(), ..Camera::default() };
                    insert(&mut self.cameras, text(entry, "name"), state);
                }
            }
            "camera.online" | "camera.offline" | "camera.degraded" => {
                let state = format!("{} ({})", kind.trim_start_matches("camera."), text(event, "reason"));
                self.happened(format!("{camera}: {state}"));
                let old = self.cameras.remove(&camera).unwrap_or_default();
                insert(&mut self.cameras, camera, Camera { state, ..old });
            }
            "track.appeared" => {
                let before = self.visits.get(&label).copied().unwrap_or_default();
                insert(&mut self.visits, label.clone(), before + 1);
                self.happened(format!("{what} appeared"));
                let score = amount(event, "score");
                let (zones, name) = (Vec::new(), None);
                insert(
                    &mut self.tracks,
                    no,
                    Track { camera, label, score, since: self.now, moving: true, zones, name },
                );
            }
            "track.updated" => {
                if let Some(track) = self.tracks.get_mut(&no) {
                    track.score = amount(event, "score");
                    track.moving = event["moving"] == true;
                }
            }
            "track.left" => {
                self.tracks.remove(&no);
                let stayed = i64::try_from(count(event, "dwell_ms")).unwrap_or(i64::MAX);
                self.happened(format!("{what} left after {} ({})", seconds(stayed), text(event, "reason")));
            }
            "zone.enter" | "zone.exit" | "zone.dwell" => {
                let zone = text(event, "zone");
                if let Some(track) = self.tracks.get_mut(&no) {
                    track.zones.retain(|z| *z != zone);
                    if kind != "zone.exit" && track.zones.len() < 32 {
                        track.zones.push(zone.clone());
                    }
                }
                let verb = match kind {
                    "zone.enter" => "came into",
                    "zone.exit" => "went out of",
                    _ => "stays in",
                };
                self.happened(format!("{what} {verb} {zone}"));
            }
            "line.crossed" => {
                let line = text(event, "line");
                let way = usize::from(event["direction"] == "backward");
                self.happened(format!("{what} crossed {line} {}", ["forward", "backward"][way]));
                let mut sums = self.crossed.get(&(camera.clone(), line.clone())).copied().unwrap_or_default();
                sums[way] += 1;
                insert(&mut self.crossed, (camera, line), sums);
            }
            "identity.recognized" | "identity.unknown" | "identity.revoked" => {
                let name = (kind == "identity.recognized").then(|| text(event, "name"));
                let label = self.tracks.get(&no).map(|t| t.label.clone()).unwrap_or_default();
                let said = match (kind, &name) {
                    (_, Some(name)) => format!("is {name}"),
                    ("identity.unknown", _) => "is nobody known".into(),
                    _ => format!("is not {} after all ({})", text(event, "name"), text(event, "reason")),
                };
                self.happened(format!("{camera}: {label} {no} {said}"));
                if let Some(track) = self.tracks.get_mut(&no) {
                    track.name = name;
                }
            }
            "stats" => self.stats(event),
            "bye" => {
                self.stats(&event["totals"]);
                self.tracks.clear();
                self.ended = Some(text(event, "reason"));
            }
            "dropped" => self.dropped = self.dropped.saturating_add(count(event, "count")),
            "fault" => {
                self.faults += 1;
                let mended = if event["restarted"] == true { "replaced" } else { "not replaced" };
                self.happened(format!("fault: {} {}, {mended}", text(event, "part"), text(event, "reason")));
            }
            _ => {}
        }
    }

    fn stats(&mut self, stats: &Value) {
        for entry in stats["cameras"].as_array().into_iter().flatten() {
            let name = text(entry, "name");
            if name.is_empty() {
                continue;
            }
            let state = self.cameras.remove(&name).map(|c| c.state).unwrap_or_default();
            let counted = Camera {
                state,
                fps: amount(entry, "fps_done"),
                captured: count(entry, "captured"),
                displaced: count(entry, "displaced"),
                undecodable: count(entry, "undecodable"),
                failed: count(entry, "failed"),
            };
            insert(&mut self.cameras, name, counted);
        }
        self.latency = Some(["p50", "p90", "p99"].map(|p| amount(&stats["latency_ms"], p)));
        self.rss_bytes = count(stats, "rss_bytes");
        self.cpu = amount(stats, "cpu");
        self.bytes_out = count(stats, "bytes_out");
    }

    fn happened(&mut self, what: String) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(format!("{} {what}", self.clock()));
    }

    fn clock(&self) -> String {
        let of_day = self.now.rem_euclid(86_400_000);
        let (s, ms) = (of_day / 1000, of_day % 1000);
        format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
    }

    /// As it stands: lines of at most `width` columns; at most `height` of them, if there is a bound.
    pub fn render(&self, width: usize, height: Option<usize>) -> Vec<String> {
        let mut head = format!("porchlight {}", self.version);
        // Without the thousandths, and half of the run's name, so that it fits.
        let (boot, clock) = (cut(&self.boot, 8), cut(&self.clock(), 8));
        let _ = write!(head, "  seal {}  run {}  {clock}Z", or(&self.seal, "?"), or(&boot, "?"));
        if let Some(reason) = &self.ended {
            let _ = write!(head, "  ended ({reason})");
        }
        let mut foot = Vec::new();
        let people: Vec<String> = self
            .tracks
            .iter()
            .filter_map(|(no, t)| Some(format!("{} ({}, track {no})", t.name.as_ref()?, t.camera)))
            .collect();
        foot.push(format!("PEOPLE  {}", or(&people.join(", "), "nobody who is known")));
        let visits: Vec<String> = self.visits.iter().map(|(label, n)| format!("{label} {n}")).collect();
        foot.push(format!("VISITS  {}", or(&visits.join(", "), "none")));
        let crossed = self.crossed.iter().map(|((c, l), [f, b])| format!("{c}/{l} {f} forward {b} backward"));
        let crossed: Vec<String> = crossed.collect();
        if !crossed.is_empty() {
            foot.push(format!("LINES   {}", crossed.join(", ")));
        }
        let mut health = String::from("HEALTH  latency ");
        match (self.latency, self.age_ms) {
            (Some([p50, p90, p99]), _) => {
                let _ = write!(health, "{p50:.0}/{p90:.0}/{p99:.0} ms (p50/p90/p99)");
            }
            (None, Some(age)) => {
                let _ = write!(health, "{age} ms (the last event)");
            }
            (None, None) => health.push('?'),
        }
        let _ = write!(health, "  cpu {:.2}  memory {}", self.cpu, bytes(self.rss_bytes));
        foot.push(health);
        let (out, dropped) = (bytes(self.bytes_out), self.dropped);
        foot.push(format!("OUTPUT  {out}, {dropped} updates gave way, {} faults", self.faults));
        foot.push(format!("STREAM  {} events, {} gaps, {} other lines", self.events, self.gaps, self.odds));
        if let Some((line, why)) = &self.odd {
            foot.push(format!("        the last of these is line {line}: {why}"));
        }

        let cameras = self.cameras.iter().map(|(name, c)| {
            let here = self.tracks.values().filter(|t| t.camera == *name).count();
            format!(
                "{} {} {:>6.1} {:>9} {:>9} {:>6} {:>5}",
                cell(name, 15),
                cell(&c.state, 24),
                c.fps,
                c.captured,
                c.displaced,
                c.undecodable + c.failed,
                here
            )
        });
        let tracks = self.tracks.iter().map(|(no, t)| {
            let mut about = t.zones.join(", ");
            if let Some(name) = &t.name {
                about = if about.is_empty() { name.clone() } else { format!("{name}; {about}") };
            }
            format!(
                "{no:>5} {} {} {:>5.2} {} {} {about}",
                cell(&t.camera, 12),
                cell(&t.label, 12),
                t.score,
                cell(&seconds(self.now.saturating_sub(t.since)), 11),
                if t.moving { "moves " } else { "stands" },
            )
        });
        let cameras_head = format!(
            "{} {} {:>6} {:>9} {:>9} {:>6} {:>5}",
            cell("CAMERA", 15),
            cell("STATE", 24),
            "FPS",
            "FRAMES",
            "DISPLACED",
            "BROKEN",
            "HERE"
        );
        let tracks_head = format!(
            "TRACK {} {} SCORE {} {} NAME; ZONES",
            cell("CAMERA", 12),
            cell("LABEL", 12),
            cell("FOR", 11),
            cell("", 6)
        );
        let recent_head = String::from("LAST");
        // Rows to share, once the fixed ones are there: a third each for tracks and for what happened, the rest for cameras.
        let free = height.map_or(usize::MAX, |h| h.saturating_sub(4 + foot.len()));
        let cameras = few(cameras.collect(), (free / 3).max(1), "cameras");
        let rest = free.saturating_sub(cameras.len());
        let tracks = few(tracks.collect(), rest.div_ceil(2), "tracks");
        let last = if height.is_some() { rest.saturating_sub(tracks.len()) } else { 10 };
        let recent = self.recent.iter().skip(self.recent.len().saturating_sub(last)).map(|r| format!("  {r}"));
        let mut out = vec![head, cameras_head];
        out.extend(cameras);
        out.push(tracks_head);
        out.extend(tracks);
        out.push(recent_head);
        out.extend(recent);
        out.extend(foot);
        out.truncate(height.unwrap_or(usize::MAX));
        out.iter().map(|l| cut(l, width).trim_end().to_owned()).collect()
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The first of them, and how many there are besides.
fn few(mut rows: Vec<String>, most: usize, what: &str) -> Vec<String> {
    if rows.len() > most {
        let kept = most.saturating_sub(1);
        let more = rows.len() - kept;
        rows.truncate(kept);
        if most > 0 {
            rows.push(format!("  ... and {more} more {what}"));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(seq: u64, kind: &str, rest: &str) -> String {
        format!(
            "{{\"v\":1,\"boot\":\"00000000000000aa\",\"seq\":{seq},\"type\":\"{kind}\",\
             \"ts\":\"1970-01-01T00:00:{seq:02}.000Z\",\"camera\":\"front\"{rest}}}"
        )
    }

    fn appeared(seq: u64, track: u64) -> String {
        line(seq, "track.appeared", &format!(r#","track":{track},"label":"person","score":0.9,"box":[0,0,1,1]"#))
    }

    fn shown(lines: &[String]) -> String {
        let mut view = View::default();
        lines.iter().for_each(|l| view.tell(l.as_bytes()));
        view.render(80, None).join("\n")
    }

    #[test]
    fn who_is_there_is_shown_with_name_and_zone_until_they_leave() {
        let mut lines = vec![
            appeared(0, 1),
            line(1, "zone.enter", r#","track":1,"label":"person","zone":"porch""#),
            line(2, "identity.recognized", r#","track":1,"name":"Ada","similarity":0.6,"margin":0.2,"faces":3"#),
            line(3, "track.updated", r#","track":1,"label":"person","score":0.5,"box":[0,0,1,1],"moving":false"#),
        ];
        let there = shown(&lines);
        assert!(there.contains("    1 front        person        0.50 3.0 s       stands Ada; porch"), "{there}");
        assert!(there.contains("PEOPLE  Ada (front, track 1)"), "{there}");
        lines.push(line(
            4,
            "track.left",
            r#","track":1,"label":"person","box":[0,0,1,1],"dwell_ms":4000,"reason":"lost""#,
        ));
        let gone = shown(&lines);
        assert!(!gone.contains("stands") && gone.contains("nobody who is known"), "{gone}");
        assert!(gone.contains("person 1 left after 4.0 s (lost)") && gone.contains("VISITS  person 1"), "{gone}");
    }

    #[test]
    fn a_new_boot_closes_everything_older() {
        let mut lines = vec![appeared(0, 1)];
        lines.push(line(0, "camera.online", r#","reason":"started","attempt":1,"retry_ms":0"#).replace("aa\"", "bb\""));
        let view = shown(&lines);
        assert!(!view.contains("moves") && view.contains("0 gaps") && view.contains("VISITS  none"), "{view}");
    }

    #[test]
    fn what_is_no_event_is_counted_and_named() {
        for (odd, why) in [
            ("", "no JSON"),
            ("{\"a\":1}", "it has no type"),
            ("{\"type\":\"new\",\"before\":{}}", "no event of the native format"),
            (&line(0, "track.exploded", ""), "unknown type \"track.exploded\""),
            (&line(0, "track.left", ""), "track.left without track"),
        ] {
            let view = shown(&[appeared(0, 1), odd.to_owned()]);
            assert!(view.contains("1 events, 0 gaps, 1 other lines"), "{view}");
            assert!(view.contains("the last of these is line 2: ") && view.contains(why), "{view}");
        }
        assert!(shown(&[appeared(0, 1), appeared(2, 2)]).contains("1 gaps"));
    }

    #[test]
    fn nothing_that_is_printed_speaks_to_the_terminal() {
        let evil = "\\u001b]0;owned\\u0007\\u202eabc\\u009b31m\\u200b";
        let view = shown(&[appeared(0, 1).replace("front", evil).replace("person", evil), line(1, evil, "")]);
        assert!(view.contains("?]0;owned??abc?31m?"), "{view}");
        assert!(view.chars().all(|c| c == '\n' || !c.is_control()), "{view:?}");
    }

    #[test]
    fn it_fits_the_screen_whatever_there_is() {
        let mut view = View::default();
        for i in 0..300 {
            let many = appeared(i, i + 1).replace("front", &format!("門廊-{}-with-a-long-name", i % 40));
            view.tell(many.as_bytes());
            view.tell(line(i, "camera.online", r#","reason":"started","attempt":1,"retry_ms":0"#).as_bytes());
        }
        for (width, height) in [(80, 24), (40, 10), (200, 60), (1, 1), (0, 0)] {
            let rows = view.render(width, Some(height));
            assert!(rows.len() <= height, "{} rows of {height}", rows.len());
            for row in rows {
                assert!(row.chars().map(columns).sum::<usize>() <= width, "{row}");
            }
        }
        let screen = view.render(80, Some(24)).join("\n");
        for part in ["more tracks", "LAST", "HEALTH", "STREAM"] {
            assert!(screen.contains(part), "{part}: {screen}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let mut view = View::default();
            lines.iter().for_each(|l| view.tell(l));
            prop_assert_eq!(view.events(), 0);
            view.render(80, Some(24));
        }

        /// Any values behind the right keys.
        #[test]
        fn no_values_make_it_panic(kind in 0..crate::event::schema::SHAPES.len(), pick in any::<u64>()) {
            let shape = &crate::event::schema::SHAPES[kind];
            let odd = ["null", "-1", "1e300", "\"\\u001b\"", "[]", "{}", "[[1,{}]]", "18446744073709551615", "true"];
            let mut rest = String::new();
            for (i, key) in shape.keys.iter().enumerate() {
                let at = usize::try_from((pick >> (i * 4)) % odd.len() as u64).unwrap();
                rest.push_str(&format!(",\"{}\":{}", key.name, odd[at]));
            }
            let mut view = View::default();
            view.tell(line(3, shape.kind, &rest).as_bytes());
            let rows = view.render(80, Some(24)).join("\n");
            prop_assert!(rows.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
