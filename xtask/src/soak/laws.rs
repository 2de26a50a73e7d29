//! What must be true of every stream of events, whatever happens around it; fed line by line, while the stream runs.
//!
//! The tests of the product read whole streams with a JSON library (`Stream::read` in `tests/support.rs`). This one stands beside
//! streams that last for hours and are cut in the middle, so it keeps what is open and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::vm::record::Event;

/// Frames that may be on their way through the pipeline while a `stats` line is made, for each camera: slot, decoded, looked at,
/// reported, and what the counters (which are not read at one instant) may be apart.
const IN_FLIGHT: u64 = 8;

/// Longest line but for `hello`, with its end.
const LONGEST: usize = 1024;

/// One program's stdout: a life, or several when its eye was replaced.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    /// Lines read.
    pub(crate) lines: u64,
    /// Streams begun: lines of type `hello`.
    pub(crate) lives: u64,
    /// Streams that ended without `bye`, another one following.
    pub(crate) cut: u64,
    /// Tracks that appeared.
    pub(crate) tracks: u64,
    /// Zones entered, lines crossed.
    pub(crate) places: u64,
    /// Each `age_ms`: when it was read, and what it said.
    pub(crate) ages: Vec<(f64, u64)>,
    /// When each `stats` line was read and how many frames of all cameras had been captured by then.
    pub(crate) captured: Vec<(f64, u64)>,
    /// When each camera was said to be online.
    pub(crate) online: Vec<f64>,
    /// What was broken: at most a few, and how many more.
    pub(crate) broken: Vec<String>,
    /// The wall clock is set while the stream runs: its times may go back by hours, though not by less.
    pub(crate) clock_is_set: bool,
    life: Life,
}

/// What is open in one stream.
#[derive(Debug, Default)]
struct Life {
    boot: String,
    seq: u64,
    bye: bool,
    seen: BTreeSet<u64>,
    open: BTreeMap<u64, String>,
    inside: BTreeMap<(u64, String), bool>,
    named: BTreeMap<u64, String>,
    times: BTreeMap<u64, String>,
    totals: BTreeMap<String, [u64; 6]>,
}

const FATES: [&str; 6] = ["captured", "displaced", "undecodable", "still", "inferred", "failed"];

impl Laws {
    /// The next line, without its end, read at `at` seconds of the reader's clock.
    pub(crate) fn line(&mut self, at: f64, text: &str) {
        self.lines += 1;
        if let Err(law) = self.check(at, text) {
            self.breach(format!("at {at:.1} s: {law}: {text}"));
        }
    }

    /// Nothing more will come. `ended`: it should have said `bye`.
    pub(crate) fn end(&mut self, ended: bool) {
        if ended && !self.life.bye {
            self.breach("the stream ended without a bye".to_owned());
        }
        if ended && !(self.life.open.is_empty() && self.life.inside.is_empty()) {
            let open = format!("never left: {:?}; never exited: {:?}", self.life.open, self.life.inside);
            self.breach(open);
        }
    }

    fn breach(&mut self, law: String) {
        const KEPT: usize = 20;
        if self.broken.len() < KEPT {
            self.broken.push(law);
        }
    }

    fn check(&mut self, at: f64, text: &str) -> Result<(), String> {
        let event = Event { at, text };
        let whole = text.starts_with("{\"v\":1,\"boot\":\"") && text.ends_with('}');
        if !whole || text.matches('{').count() != text.matches('}').count() {
            return Err("no whole line".into());
        }
        let kind = event.kind();
        if kind != "hello" && text.len() + 1 > LONGEST {
            return Err(format!("{} bytes", text.len() + 1));
        }
        let seq = event.number("seq")?;
        if kind == "hello" {
            self.lives += 1;
            self.cut += u64::from(self.lives > 1 && !self.life.bye);
            if self.lives > 1 && event.get("boot") == Some(&self.life.boot) {
                return Err("another stream with the boot of the last".into());
            }
            self.life = Life { boot: event.get("boot").unwrap_or_default().to_owned(), ..Life::default() };
        }
        let life = &mut self.life;
        if life.bye {
            return Err("after bye".into());
        }
        if event.get("boot") != Some(&life.boot) || seq != life.seq {
            return Err(format!("wanted seq {} of boot {}", life.seq, life.boot));
        }
        life.seq += 1;
        if let Ok(age) = event.number("age_ms") {
            self.ages.push((at, age));
        }
        match kind {
            "camera.online" => self.online.push(at),
            "stats" | "bye" => {
                let all = life.ledger(&event, kind == "bye")?;
                self.captured.push((at, all));
                life.bye = kind == "bye";
                if kind == "bye" && !(life.open.is_empty() && life.inside.is_empty()) {
                    return Err(format!("bye with open tracks {:?} {:?}", life.open, life.inside));
                }
            }
            "track.appeared" => self.tracks += 1,
            "zone.enter" | "line.crossed" => self.places += 1,
            _ => {}
        }
        if event.get("track").is_some() { life.track(&event, self.clock_is_set) } else { Ok(()) }
    }
}

impl Life {
    /// Each camera's frames have one fate each; no count runs backwards. Gives the sum of what was captured.
    fn ledger(&mut self, event: &Event<'_>, end: bool) -> Result<u64, String> {
        let mut all = 0;
        for camera in event.text.split("{\"name\":").skip(1) {
            let camera = Event { at: event.at, text: camera };
            let mut now = [0; 6];
            for (value, key) in now.iter_mut().zip(FATES) {
                *value = camera.number(key)?;
            }
            let done: u64 = now[1..].iter().sum();
            let slack = if end { 0 } else { IN_FLIGHT };
            if now[0].abs_diff(done) > slack {
                return Err(format!("captured {}, accounted for {done}", now[0]));
            }
            let name = camera.text.split(',').next().unwrap_or_default().to_owned();
            let before = self.totals.insert(name, now).unwrap_or_default();
            if before.iter().zip(&now).any(|(before, now)| before > now) {
                return Err(format!("counts ran backwards from {before:?}"));
            }
            all += now[0];
        }
        Ok(all)
    }

    /// One left for each appeared, and nothing of a track outside of that; enter and exit likewise; its lines in the order of time.
    fn track(&mut self, event: &Event<'_>, clock_is_set: bool) -> Result<(), String> {
        let track = event.number("track")?;
        let word = |key| event.get(key).unwrap_or_default().to_owned();
        // RFC 3339 with a fixed number of digits: the order of the texts is the order of the times.
        let ts = word("ts");
        let before = self.times.insert(track, ts.clone()).unwrap_or_default();
        if before > ts && !(clock_is_set && seconds_back(&before, &ts) >= SET_BACK) {
            return Err(format!("earlier than the track's line of {before}"));
        }
        let kind = event.kind();
        match kind {
            "track.appeared" => {
                if !self.seen.insert(track) {
                    return Err("appeared twice".into());
                }
                self.open.insert(track, word("label"));
                return Ok(());
            }
            _ if !self.open.contains_key(&track) => return Err("of a track that is not there".into()),
            "identity.recognized" => {
                return self.named.insert(track, word("name")).map_or(Ok(()), |_| Err("named twice".into()));
            }
            "identity.revoked" => {
                let held = self.named.remove(&track);
                return if held == Some(word("name")) { Ok(()) } else { Err("takes back what was not said".into()) };
            }
            "identity.unknown" => return Ok(()),
            _ => {}
        }
        if self.open.get(&track) != Some(&word("label")) {
            return Err("under another label".into());
        }
        let place = (track, word("zone"));
        let known = match kind {
            "zone.enter" => self.inside.insert(place, false).is_none(),
            "zone.dwell" => self.inside.insert(place, true) == Some(false),
            "zone.exit" => self.inside.remove(&place).is_some(),
            "track.left" => {
                self.open.remove(&track);
                self.named.remove(&track);
                self.times.remove(&track);
                !self.inside.keys().any(|(inside, _)| *inside == track)
            }
            _ => true,
        };
        if known { Ok(()) } else { Err("enter, dwell and exit are not in order".into()) }
    }
}

/// What the bed sets the clock by is an hour and more; less the time that a track may have had no line, this is left of it, seconds.
const SET_BACK: u64 = 600;

/// How much earlier than `before` the time `ts` is, both RFC 3339 in UTC and less than a day apart; 0 if either is no time.
fn seconds_back(before: &str, ts: &str) -> u64 {
    const DAY: u64 = 86_400;
    let of_the_day = |text: &str| {
        let part = |at: usize| text.get(at..at + 2)?.parse::<u64>().ok();
        Some(part(11)? * 3600 + part(14)? * 60 + part(17)?)
    };
    match (of_the_day(before), of_the_day(ts)) {
        (Some(before), Some(ts)) => (before + DAY).saturating_sub(ts) % DAY,
        _ => 0,
    }
}

/// The slope of a line through the points, robust against single ones far off (Theil and Sen: the median of the slopes of all pairs).
/// 0 for fewer than two.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (place, (x, y)) in points.iter().enumerate() {
        slopes.extend(points[place + 1..].iter().filter(|(later, _)| later > x).map(|(x2, y2)| (y2 - y) / (x2 - x)));
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

/// What one process held while it ran.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Whose: `door eye`.
    pub(crate) who: String,
    /// Seconds; descriptors, threads, kilobytes.
    pub(crate) samples: Vec<(f64, [u64; 3])>,
}

/// How much of its time a process is given to fill its caches and pools.
const WARM_UP: f64 = 0.25;
/// So much of them, kB, may be filled later. Some fill by chance: a frame's buffer grows when the largest camera gets it for the first
/// time (a quarter of a megabyte for each of eleven in the bed, and the slowest machine was seen to take its fourth minute for them),
/// an arena when two lookers are at a model's widest place at once. All are bounded; a leak is not, and shows in a longer soak.
const POOLS: f64 = 6144.0;

impl Use {
    /// Growth by the slope over the time that was watched (behind the warm-up): descriptors, threads, kilobytes; and that time.
    pub(crate) fn growth(&self) -> ([f64; 3], f64) {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return ([0.0; 3], 0.0) };
        let from = first.0 + WARM_UP * (last.0 - first.0);
        let warm: Vec<_> = self.samples.iter().filter(|(at, _)| *at >= from).collect();
        let span = last.0 - from;
        let of = |n: usize| {
            let points: Vec<_> = warm.iter().map(|(at, held)| (*at, held[n] as f64)).collect();
            slope(&points) * span
        };
        ([of(0), of(1), of(2)], span)
    }

    /// The middle of what was held, kilobytes.
    pub(crate) fn rss(&self) -> u64 {
        let mut all: Vec<_> = self.samples.iter().map(|(_, held)| held[2]).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    }

    /// Flat: not one descriptor or thread more, and no more memory than 3 % or [`POOLS`].
    pub(crate) fn is_flat(&self) -> Result<(), String> {
        let ([fds, threads, kilobytes], span) = self.growth();
        let allowed = (self.rss() as f64 * 0.03).max(POOLS);
        if self.samples.len() < 5 {
            return Err(format!("{}: watched only {} times", self.who, self.samples.len()));
        }
        if fds >= 1.0 || threads >= 1.0 || kilobytes > allowed {
            return Err(format!(
                "{} grew within {span:.0} s: {fds:+.1} descriptors, {threads:+.1} threads, {kilobytes:+.0} kB (allowed: {allowed:.0})",
                self.who
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, kind: &str, rest: &str) -> String {
        let ts = format!("2026-01-01T00:00:{:02}.000Z", seq % 60);
        format!(
            "{{\"v\":1,\"boot\":\"0123456789abcdef\",\"seq\":{seq},\"type\":\"{kind}\",\"ts\":\"{ts}\",\"camera\":\"c\"{rest}}}"
        )
    }

    fn totals(captured: u64, still: u64) -> String {
        format!(
            ",\"cameras\":[{{\"name\":\"c\",\"captured\":{captured},\"displaced\":0,\"undecodable\":0,\"still\":{still},\
             \"inferred\":0,\"failed\":0}}]"
        )
    }

    fn visit() -> Vec<String> {
        let cat = ",\"track\":1,\"label\":\"cat\"";
        vec![
            line(0, "hello", ""),
            line(1, "track.appeared", &format!("{cat},\"age_ms\":7")),
            line(2, "zone.enter", &format!("{cat},\"zone\":\"z\"")),
            line(3, "stats", &totals(20, 15)),
            line(4, "zone.exit", &format!("{cat},\"zone\":\"z\"")),
            line(5, "track.left", cat),
            line(6, "bye", &totals(30, 30)),
        ]
    }

    fn broken(lines: &[String]) -> Vec<String> {
        let mut laws = Laws::default();
        lines.iter().enumerate().for_each(|(at, text)| laws.line(at as f64, text));
        laws.end(true);
        laws.broken
    }

    #[test]
    fn a_sound_stream_breaks_nothing() {
        assert_eq!(broken(&visit()), [""; 0]);
    }

    #[test]
    fn each_law_is_kept() {
        let renumber = |mut lines: Vec<String>| {
            for (seq, line) in lines.iter_mut().enumerate() {
                let (head, rest) = line.split_once("\"seq\":").expect("seq");
                let rest = rest.split_once(',').expect("more").1;
                *line = format!("{head}\"seq\":{seq},{rest}");
            }
            lines
        };
        let without = |n: usize| {
            let mut lines = visit();
            lines.remove(n);
            renumber(lines)
        };
        let with = |n: usize, text: &str| {
            let mut lines = visit();
            lines[n] = text.to_owned();
            lines
        };
        let mut gap = visit();
        gap.remove(3);
        let mut swapped = visit();
        swapped.swap(4, 5);
        let early = visit()[2].replace("00:00:02", "00:00:00");
        let cases: Vec<(&str, Vec<String>)> = vec![
            ("a gap", gap),
            ("no left", without(5)),
            ("no appeared", without(1)),
            ("no enter", without(2)),
            ("no exit", without(4)),
            ("no bye", visit()[..6].to_vec()),
            ("exit behind left", renumber(swapped)),
            ("time runs backwards", with(2, &early)),
            ("a torn line", with(3, "{\"v\":1,\"boot\":\"01234567")),
            ("a long line", with(3, &line(3, "stats", &format!("{},\"x\":\"{}\"", totals(20, 15), "y".repeat(999))))),
            ("another boot", with(3, &visit()[3].replace("\"0123", "\"1123"))),
            ("a ledger that is off", with(3, &line(3, "stats", &totals(40, 15)))),
            ("a last ledger that is off", with(6, &line(6, "bye", &totals(31, 30)))),
            ("counts run backwards", with(6, &line(6, "bye", &totals(10, 10)))),
            ("another label", with(5, &visit()[5].replace("cat", "dog"))),
        ];
        for (what, lines) in cases {
            assert!(!broken(&lines).is_empty(), "{what}");
        }
    }

    /// Regression: set back by an hour just before a full one, a clock still shows the same hour half a minute later.
    #[test]
    fn a_clock_set_back_within_the_hour_is_no_broken_law() {
        let shown = |before: &str, ts: &str| {
            let mut lines = visit();
            lines[2] = lines[2].replace("2026-01-01T00:00:02.000Z", before);
            for line in &mut lines[4..] {
                let at = line.find("\"ts\":\"").expect("ts") + 6;
                line.replace_range(at..at + 24, ts);
            }
            let mut laws = Laws { clock_is_set: true, ..Laws::default() };
            lines.iter().for_each(|text| laws.line(0.0, text));
            laws.end(true);
            laws.broken
        };
        assert_eq!(shown("2026-01-01T15:59:43.724Z", "2026-01-01T15:00:18.151Z"), [""; 0]);
        assert_eq!(shown("2026-01-02T00:30:00.000Z", "2026-01-01T23:30:00.000Z"), [""; 0]);
        assert!(!shown("2026-01-01T15:00:01.000Z", "2026-01-01T14:59:59.000Z").is_empty(), "two seconds back");
    }

    /// A cut stream closes everything older, and is counted.
    #[test]
    fn a_new_boot_closes_what_was_open() {
        let mut lines = visit()[..3].to_vec();
        lines.extend(visit().iter().map(|line| line.replace("\"0123", "\"1123")));
        let mut laws = Laws::default();
        lines.iter().for_each(|text| laws.line(0.0, text));
        laws.end(true);
        assert_eq!((laws.broken.as_slice(), laws.lives, laws.cut), (&[][..], 2, 1));
    }

    #[test]
    fn what_grows_is_seen_and_what_trembles_is_not() {
        let of = |rss: &dyn Fn(u64) -> u64| Use {
            who: "x".into(),
            samples: (0..60).map(|n| (n as f64 * 10.0, [9, 7, rss(n)])).collect(),
        };
        assert_eq!(of(&|n| 100_000 + 900 * (n % 3)).is_flat(), Ok(()));
        assert_eq!(of(&|n| if n < 12 { 50_000 } else { 100_000 }).is_flat(), Ok(()), "warm-up");
        assert_eq!(of(&|n| 100_000 + 900 * (n / 12)).is_flat(), Ok(()), "pools fill late");
        assert!(of(&|n| 100_000 + 200 * n).is_flat().is_err());
        let leak = Use { who: "x".into(), samples: (0..60).map(|n| (n as f64, [9 + n / 10, 7, 1000])).collect() };
        assert!(leak.is_flat().is_err());
        assert!(Use::default().is_flat().is_err());
    }
}
