//! The life of a camera, against a simulated device on a simulated clock.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;
use rustix::io::Errno;

use super::device::Named;
use super::*;
use crate::seal::phrases::Phrases;

/// What the device does in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weather {
    /// Frames; every so-manyth is marked as broken (0: none).
    Fine { broken: u32 },
    /// There, but silent.
    Silent,
    /// Gone.
    Unplugged,
    /// There, and every call fails.
    Failing(Errno),
    /// Frames of another size than was agreed when they began.
    Changed,
}

const FINE: Weather = Weather::Fine { broken: 0 };

/// Nanoseconds from frame to frame.
const FRAME: u64 = 50_000_000;
const MS: u64 = 1_000_000;

/// A device with a weather forecast.
struct Simulated {
    clock: Arc<AtomicU64>,
    /// Until when, and what.
    forecast: VecDeque<(u64, Weather)>,
    afterwards: Weather,
    streams: Arc<AtomicU32>,
    /// When it was opened, and whether it was there and failed.
    opened: Vec<(u64, bool)>,
    next_frame: u64,
    sequence: u32,
}

/// Counts itself, and remembers the size that was agreed.
struct Streaming(Arc<AtomicU32>, Size);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Simulated {
    fn new(forecast: &[(u64, Weather)], afterwards: Weather) -> Self {
        let mut until = 0;
        let absolute = forecast.iter().map(|(ms, weather)| {
            until += ms * MS;
            (until, *weather)
        });
        Self {
            forecast: absolute.collect(),
            clock: Arc::new(AtomicU64::new(0)),
            afterwards,
            streams: Arc::new(AtomicU32::new(0)),
            opened: Vec::new(),
            next_frame: 0,
            sequence: 0,
        }
    }

    fn weather(&mut self) -> Weather {
        let now = self.clock.load(Relaxed);
        while self.forecast.front().is_some_and(|(until, _)| *until <= now) {
            self.forecast.pop_front();
        }
        self.forecast.front().map_or(self.afterwards, |(_, weather)| *weather)
    }

    fn size(weather: Weather) -> Size {
        if weather == Weather::Changed { Size::new(32, 32) } else { Size::new(16, 16) }
    }
}

impl Driver for Simulated {
    type Stream = Streaming;

    fn name(&self) -> &str {
        "simulated"
    }

    fn open(&mut self, wish: &Wish, _: &Limits) -> Result<(Agreed, Streaming), Trouble> {
        assert_eq!(self.streams.load(Relaxed), 0, "opened twice");
        let weather = self.weather();
        let now = self.clock.fetch_add(MS, Relaxed);
        let failed = |errno: Errno| Named("simulated").failed("open", &io::Error::from(errno));
        self.opened.push((now, matches!(weather, Weather::Failing(_))));
        match weather {
            Weather::Unplugged => Err(failed(Errno::NOENT)),
            Weather::Failing(errno) => Err(failed(errno)),
            _ => {
                self.streams.fetch_add(1, Relaxed);
                self.next_frame = now + FRAME;
                self.sequence = 0;
                let size = Self::size(weather);
                let agreed = Agreed {
                    card: "simulated".into(),
                    why: String::new(),
                    adjusted: String::new(),
                    format: PixelFormat::Grey,
                    size,
                    fps: wish.fps,
                    stride: size.width as usize,
                    range: Range::Full,
                };
                Ok((agreed, Streaming(Arc::clone(&self.streams), size)))
            }
        }
    }

    fn pull(
        &mut self,
        stream: &mut Streaming,
        wait: Duration,
        passed: Option<&Times>,
        into: &mut Vec<u8>,
    ) -> Result<Option<Filled>, Trouble> {
        let failed = |errno: Errno| Named("simulated").failed("read a frame", &io::Error::from(errno));
        let weather = self.weather();
        let now = self.clock.load(Relaxed);
        match weather {
            Weather::Unplugged => return Err(failed(Errno::NODEV)),
            Weather::Failing(errno) => return Err(failed(errno)),
            Weather::Silent => {
                self.clock.fetch_add(wait.as_nanos() as u64, Relaxed);
                self.next_frame = self.clock.load(Relaxed);
                return Ok(None);
            }
            Weather::Fine { .. } | Weather::Changed => {}
        }
        let at = self.next_frame.max(now);
        self.clock.store(at, Relaxed);
        self.next_frame = at + FRAME;
        self.sequence += 1;
        // A device whose size was changed gives frames of the new size, too short for a stream that was agreed larger.
        into.clear();
        into.resize(Self::size(weather).pixels().min(stream.1.pixels()), 7);
        if stream.1 != Self::size(weather) {
            into.truncate(100);
        }
        let broken = matches!(weather, Weather::Fine { broken } if broken > 0 && self.sequence.is_multiple_of(broken));
        let (bytes, passed) = (into.len(), passed.is_some_and(|times| times.contains(&MonoNs(at))));
        if passed {
            into.clear();
        }
        Ok(Some(Filled { sequence: self.sequence, at: Some(MonoNs(at)), broken, bytes, passed }))
    }

    fn holds(&self, stream: &Streaming, agreed: &Agreed) -> bool {
        assert_eq!(stream.1, agreed.size);
        let now = self.clock.load(Relaxed);
        let weather = self.forecast.iter().find(|(until, _)| *until > now).map_or(self.afterwards, |(_, w)| *w);
        Self::size(weather) == agreed.size
    }

    fn now(&self) -> MonoNs {
        MonoNs(self.clock.load(Relaxed))
    }

    fn pause(&mut self, time: Duration) {
        self.clock.fetch_add(time.as_nanos() as u64, Relaxed);
    }
}

/// What was pulled, and when.
#[derive(Debug)]
enum Seen {
    Frame(Stamp),
    Passed(Stamp),
    Skipped(Stamp),
    State(CameraState),
}

fn live(forecast: &[(u64, Weather)], afterwards: Weather, until_ms: u64) -> (Vec<(u64, Seen)>, Simulated) {
    live_but(None, forecast, afterwards, until_ms)
}

/// Nobody would open frames of the `passed` times.
fn live_but(
    passed: Option<Times>,
    forecast: &[(u64, Weather)],
    afterwards: Weather,
    until_ms: u64,
) -> (Vec<(u64, Seen)>, Simulated) {
    let driver = Simulated::new(forecast, afterwards);
    let clock = Arc::clone(&driver.clock);
    let mut life = Life::new(driver, CameraId(3), Wish { fps: 20.0, ..Wish::default() }, Limits::default());
    life.passed = passed;
    let mut seen = Vec::new();
    let mut buffer = Vec::new();
    let mut pulls = 0;
    while clock.load(Relaxed) < until_ms * MS {
        pulls += 1;
        assert!(pulls < 100_000, "it spins");
        let before = clock.load(Relaxed);
        let pulled = life.next(std::mem::take(&mut buffer));
        let now = clock.load(Relaxed);
        assert!(now - before <= 300 * MS, "a pull took {} ms", (now - before) / MS);
        let what = match pulled {
            Pulled::Frame(raw) => {
                buffer = raw.data;
                Seen::Frame(raw.stamp)
            }
            Pulled::Unread { .. } => panic!("a camera is no file"),
            Pulled::Passed { buffer: back, stamp } => {
                assert!(back.is_empty(), "nothing was copied");
                buffer = back;
                Seen::Passed(stamp)
            }
            Pulled::Skipped { buffer: back, stamp, .. } => {
                buffer = back;
                Seen::Skipped(stamp)
            }
            Pulled::State { buffer: back, state } => {
                buffer = back;
                // Whatever it says of itself, a sealed eye may say.
                let phrases = Phrases::new(vec!["simulated".into(), "front".into()]);
                let line = format!("porchlight: camera 'front': {}", state.words);
                assert!(state.words.is_empty() || phrases.pass(&line), "{line}");
                Seen::State(state)
            }
            Pulled::Quiet(back) => {
                buffer = back;
                continue;
            }
            Pulled::End => panic!("a camera does not end"),
        };
        seen.push((now, what));
    }
    (seen, life.driver)
}

/// The changes: when (ms), what, why, how many tries.
fn states(seen: &[(u64, Seen)]) -> Vec<(u64, Change, CameraReason, u32)> {
    let states = seen.iter().filter_map(|(at, what)| match what {
        Seen::State(state) => Some((at / MS, state.change, state.reason, state.attempt)),
        _ => None,
    });
    states.collect()
}

#[test]
fn an_unplugged_camera_is_reported_and_comes_back() {
    let (seen, driver) = live(&[(1000, FINE), (3000, Weather::Unplugged)], FINE, 6000);
    let states = states(&seen);
    let [(_, Change::Online, CameraReason::Started, 1), (off, Change::Offline, CameraReason::Unplugged, _), (on, ..)] =
        states[..]
    else {
        panic!("{states:?}");
    };
    assert!((1000..1060).contains(&off), "offline at {off}");
    assert!((4000..4300).contains(&on), "online at {on}");
    assert!(states[2].3 > 10, "every look counts as a try: {states:?}");
    assert_eq!(driver.streams.load(Relaxed), 0, "with the life ended, the stream has");
}

#[test]
fn what_nobody_would_open_is_counted_and_not_copied_unless_it_tells_of_a_camera() {
    let weather = [(1000, FINE), (1000, Weather::Fine { broken: 4 }), (500, Weather::Unplugged)];
    let (seen, _) = live_but(Some(MonoNs(500 * MS)..MonoNs(3500 * MS)), &weather, FINE, 4000);
    let count = |from: u64, to: u64| {
        let within = seen.iter().filter(|(at, _)| (from * MS..to * MS).contains(at));
        within.fold([0; 3], |[frames, passed, skipped], (_, what)| match what {
            Seen::Frame(_) => [frames + 1, passed, skipped],
            Seen::Passed(_) => [frames, passed + 1, skipped],
            Seen::Skipped(_) => [frames, passed, skipped + 1],
            Seen::State(_) => [frames, passed, skipped],
        })
    };
    let [before, within, broken] = [count(0, 500), count(500, 1000), count(1000, 2000)];
    assert!(before[0] >= 9 && before[1..] == [0, 0], "{before:?}");
    assert!(within[1] >= 9 && [within[0], within[2]] == [0, 0], "{within:?}");
    assert!(broken[0] == 0 && broken[1] >= 14 && broken[2] >= 4, "{broken:?}");
    // That it is back again is told with a frame.
    let back = count(2500, 3500);
    assert!(back[0] == 1 && back[1] >= 10, "{back:?}");
    assert!(count(3500, 4000)[0] >= 9);
    let stamps = seen.iter().filter_map(|(_, what)| match what {
        Seen::Frame(stamp) | Seen::Passed(stamp) | Seen::Skipped(stamp) => Some(stamp.seq),
        Seen::State(_) => None,
    });
    assert!(stamps.enumerate().all(|(i, seq)| seq == i as u64), "each has its number");
}

#[test]
fn a_camera_absent_at_the_start_is_waited_for() {
    let (seen, _) = live(&[(3000, Weather::Unplugged)], FINE, 4000);
    let states = states(&seen);
    assert!(matches!(states[0], (0..=5, Change::Offline, CameraReason::Absent, 1)), "{states:?}");
    assert!(matches!(states[1], (3000..=3300, Change::Online, CameraReason::Started, _)), "{states:?}");
    assert_eq!(states.len(), 2);
}

#[test]
fn a_silent_camera_has_stalled() {
    let (seen, _) = live(&[(1000, FINE), (4000, Weather::Silent)], FINE, 9000);
    let states = states(&seen);
    assert!(matches!(states[1], (3000..=3400, Change::Offline, CameraReason::Stalled, 0)), "{states:?}");
    assert!(matches!(states[2], (5000..=7000, Change::Online, CameraReason::Recovered, 1)), "{states:?}");
}

#[test]
fn a_camera_in_use_is_tried_again_ever_more_slowly_but_never_too_slowly() {
    let (seen, driver) = live(&[(10_000, Weather::Failing(Errno::BUSY))], FINE, 12_000);
    let states = states(&seen);
    assert!(matches!(states[0], (_, Change::Offline, CameraReason::Busy, 1)), "{states:?}");
    assert!(matches!(states[1], (10_000..=11_300, Change::Online, CameraReason::Started, 10..=20)), "{states:?}");
    let pauses: Vec<u64> = driver.opened.windows(2).map(|pair| (pair[1].0 - pair[0].0) / MS).collect();
    assert!((80..=125).contains(&pauses[0]) && (160..=245).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses.iter().skip(4).all(|ms| (800..=1210).contains(ms)), "{pauses:?}");
}

#[test]
fn many_broken_frames_degrade_and_a_good_one_heals() {
    let (seen, _) = live(&[(1000, FINE), (1000, Weather::Fine { broken: 1 })], FINE, 3000);
    let states = states(&seen);
    assert!(matches!(states[1], (1400..=1600, Change::Degraded, CameraReason::Undecodable, _)), "{states:?}");
    assert!(matches!(states[2], (2000..=2100, Change::Online, CameraReason::Recovered, _)), "{states:?}");
    let skipped = seen.iter().filter(|(_, what)| matches!(what, Seen::Skipped(_))).count();
    assert!((19..=21).contains(&skipped), "{skipped}");
    // A few broken ones are counted and no more is said.
    let (few, _) = live(&[], Weather::Fine { broken: 3 }, 3000);
    let told = few.iter().filter(|(_, what)| matches!(what, Seen::State(_))).count();
    assert_eq!(told, 1);
}

#[test]
fn a_format_changed_under_us_is_noticed() {
    let (seen, _) = live(&[(1000, FINE)], Weather::Changed, 4000);
    let states = states(&seen);
    assert!(matches!(states[1], (1400..=1600, Change::Offline, CameraReason::FormatChanged, _)), "{states:?}");
    assert!(matches!(states[2], (_, Change::Online, CameraReason::Recovered, 1)), "{states:?}");
}

#[test]
fn no_room_on_the_bus_asks_for_less() {
    let driver = Simulated::new(&[(2000, Weather::Failing(Errno::NOSPC))], FINE);
    let mut life = Life::new(driver, CameraId(0), Wish::default(), Limits::default());
    let mut buffer = Vec::new();
    let mut reasons = Vec::new();
    while life.driver.now().0 < 4000 * MS {
        buffer = match life.next(buffer) {
            Pulled::State { buffer, state } => {
                reasons.push(state.reason);
                buffer
            }
            Pulled::Frame(raw) | Pulled::Unread { raw, .. } => raw.data,
            Pulled::Passed { buffer, .. } | Pulled::Skipped { buffer, .. } | Pulled::Quiet(buffer) => buffer,
            Pulled::End => panic!("a camera does not end"),
        };
    }
    assert_eq!(reasons, [CameraReason::NoBandwidth, CameraReason::Started]);
    assert!(life.wish.thrift >= 2 && life.wish.rate() < life.wish.fps);
}

#[test]
fn what_can_never_be_a_camera_is_refused_at_once() {
    let open = |path: &str| CameraSource::open(Path::new(path), CameraId(0), &Wish::default(), &Limits::default());
    for no_camera in ["/dev/null", "/", "Cargo.toml", "no/such/path", "/tmp-none/video0"] {
        let refused = open(no_camera).err().map(|error| (error.kind(), error.to_string()));
        assert!(matches!(&refused, Some((Kind::Unusable, line)) if !line.contains('\n')), "{no_camera}: {refused:?}");
    }
    let absent = open("/dev/video-none").ok();
    assert!(absent.is_some_and(|source| source.agreed().is_none()), "it may be plugged in later");
    let none = SourceError::NoCamera { tried: Vec::new() }.to_string();
    assert!(none.contains("--source"), "{none}");
}

fn any_weather() -> impl Strategy<Value = Weather> {
    prop_oneof![
        3 => (0u32..4).prop_map(|broken| Weather::Fine { broken }),
        1 => Just(Weather::Silent),
        2 => Just(Weather::Unplugged),
        2 => prop::sample::select(vec![Errno::IO, Errno::BUSY, Errno::NOSPC, Errno::INVAL, Errno::ACCESS, Errno::NODEV])
            .prop_map(Weather::Failing),
        1 => Just(Weather::Changed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens: one stream at a time; numbers without gaps and times that move on; frames only while it is said to be
    /// online; no state said twice in a row; not much said; and within 2 seconds of fair weather it delivers again.
    #[test]
    fn any_fault_heals(
        forecast in prop::collection::vec((20u64..4000, any_weather()), 0..12),
        passed in prop::option::of((0u64..20_000, 1u64..10_000)),
    ) {
        let end: u64 = forecast.iter().map(|(ms, _)| ms).sum();
        let passed = passed.map(|(from, for_ms)| MonoNs(from * MS)..MonoNs((from + for_ms) * MS));
        let (seen, driver) = live_but(passed, &forecast, FINE, end + 4000);
        let mut online = false;
        let mut said = None;
        let (mut seq, mut last) = (0, 0);
        for (_, what) in &seen {
            match what {
                Seen::Frame(stamp) | Seen::Passed(stamp) | Seen::Skipped(stamp) => {
                    prop_assert_eq!(stamp.seq, seq);
                    prop_assert!(stamp.at.0 > last, "{:?}", stamp);
                    prop_assert!(online || matches!(what, Seen::Skipped(_)));
                    (seq, last) = (seq + 1, stamp.at.0);
                }
                Seen::State(state) => {
                    prop_assert_ne!(said, Some((state.change, state.reason)));
                    said = Some((state.change, state.reason));
                    online = state.change != Change::Offline;
                    prop_assert_eq!(state.retry_ms > 0, !online);
                }
            }
        }
        prop_assert!(online, "it is back: {:?}", seen.last());
        let first = seen.iter().find(|(at, what)| matches!(what, Seen::Frame(_) | Seen::Passed(_)) && *at >= end * MS);
        // A stall that has not been noticed yet, or a format, takes its own time.
        let late = first.map_or(u64::MAX, |(at, _)| at / MS - end);
        prop_assert!(late <= 2000, "{} ms", late);
        let told = states(&seen).len() as u64;
        prop_assert!(told <= 4 + 2 * (end + 4000) / 500 + 2 * forecast.len() as u64, "{} states in {} ms", told, end + 4000);
        prop_assert!(driver.streams.load(Relaxed) <= 1);
        let quick = driver.opened.windows(2).filter(|pair| pair[0].1 && pair[1].0 - pair[0].0 < 80 * MS).count();
        prop_assert_eq!(quick, 0, "a device that failed was tried again at once");
    }
}
