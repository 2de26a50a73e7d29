//! How much may be done: a budget of processor time, and a board that gets hot.
//!
//! There is one thing to turn, the processor time that frames may cost, because it is what a budget is about, what makes heat, and
//! what can be measured: of each frame it is asked whether the account is overdrawn. A live camera's frame is then let go, and
//! counted as displaced; a file's waits. What was granted and not used is forgotten after a second, so a quiet night pays for no storm.
//!
//! Boards slow themselves down when they are hot, all at once and for everybody: a Raspberry Pi's firmware at 80 degrees, others where
//! their `passive` trip point lies. `Heat` acts five degrees before: it takes three tenths off what is used, and again every
//! five seconds until the board no longer heats up, and gives it back in the same steps. Files of the board are opened once, before the
//! seal, below a root that tests choose.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::frame::MonoNs;
use crate::watch::{number, text};

/// Unused processor time is kept so long.
const CREDIT: Duration = Duration::from_secs(1);
/// Between two looks at the board.
const POLL_MS: u64 = 1000;
/// Between two changes: what is changed shows in the temperature after seconds.
const HOLD_MS: u64 = 5000;
/// What is left of the use when the board is hot, at each step.
const STEP: f64 = 0.7;
/// Never less, cores: an event every now and then is worth more than silence.
const FLOOR: f64 = 0.05;
/// Where a board that names no trip point is taken to slow down, degrees Celsius: a Raspberry Pi's firmware does at 80.
const SLOWS_AT: f64 = 80.0;
/// So far below it we act.
const MARGIN: f64 = 5.0;
/// It must be so much cooler again before anything is given back.
const HYSTERESIS: f64 = 5.0;

/// What the board says of itself; files that are not there say nothing.
#[derive(Debug)]
pub struct Board {
    temperatures: Vec<File>,
    /// Bits 0 to 3 of a Raspberry Pi: too little voltage, clock capped, throttled, soft limit of temperature. Now, not ever.
    throttled: Option<File>,
    /// Where it slows down, degrees Celsius.
    slows_at: f64,
}

impl Board {
    /// Opens what is there below `root`, which is `/sys` but in tests.
    pub fn open(root: &Path) -> Self {
        let mut zones = entries(&root.join("class/thermal"), |name| name.starts_with("thermal_zone"));
        zones.sort();
        let mut slows_at = f64::INFINITY;
        for zone in &zones {
            for kind in entries(zone, |name| name.starts_with("trip_point_") && name.ends_with("_type")) {
                let Some(name) = kind.file_name().and_then(|n| n.to_str()) else { continue };
                let temp = zone.join(name.replace("_type", "_temp"));
                let passive = std::fs::read_to_string(&kind).is_ok_and(|word| word.trim() == "passive");
                if let (true, Ok(file)) = (passive, File::open(temp))
                    && let Some(milli) = number(&file, 0)
                {
                    slows_at = slows_at.min(milli as f64 / 1000.0);
                }
            }
        }
        let firmware = entries(&root.join("devices/platform"), |_| true)
            .into_iter()
            .flat_map(|bus| entries(&bus, |name| name.ends_with("firmware")))
            .find_map(|place| File::open(place.join("get_throttled")).ok());
        Self {
            temperatures: zones.iter().filter_map(|zone| File::open(zone.join("temp")).ok()).collect(),
            throttled: firmware,
            // A trip point of 0 or of 200 degrees is a driver's way to say that it has none.
            slows_at: if (40.0..=110.0).contains(&slows_at) { slows_at } else { SLOWS_AT },
        }
    }

    /// Degrees Celsius of the hottest sensor.
    pub fn temp_c(&self) -> Option<f64> {
        let all = self.temperatures.iter().filter_map(|file| number(file, 0)).map(|milli| milli as f64 / 1000.0);
        all.max_by(f64::total_cmp)
    }

    /// Whether it has slowed itself down; `None` where it does not say.
    pub fn is_throttled(&self) -> Option<bool> {
        let mut bytes = [0u8; 32];
        let bits = text(self.throttled.as_ref()?, &mut bytes)?.trim().trim_start_matches("0x");
        Some(u64::from_str_radix(bits, 16).ok()? & 0xf != 0)
    }
}

/// The entries of a folder whose names pass; none of a folder that is not there.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter(|entry| entry.file_name().to_str().is_some_and(&wanted)).map(|entry| entry.path()).collect()
}

/// An account of processor time.
#[derive(Debug, Default)]
struct Account {
    last: Option<(MonoNs, Duration)>,
    /// Seconds; below 0 it is overdrawn.
    balance: f64,
}

impl Account {
    /// `limit` cores since it was asked last, against what this process has used; whether more was used than granted.
    fn is_overdrawn(&mut self, now: MonoNs, cpu: Duration, limit: f64) -> bool {
        let (then, used) = *self.last.get_or_insert((now, cpu));
        let passed = now.0.saturating_sub(then.0) as f64 / 1e9;
        let spent = cpu.saturating_sub(used).as_secs_f64();
        self.balance = (self.balance + limit * passed - spent).min(limit * CREDIT.as_secs_f64());
        self.last = Some((now, cpu));
        self.balance < 0.0
    }
}

/// How much is left to us while the board is hot.
#[derive(Debug, Default)]
struct Heat {
    /// Cores; `None`: the board is cool.
    limit: Option<f64>,
    /// What was used before it got hot.
    before: f64,
    changed: MonoNs,
}

/// What a look at the board changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// From now on less is done.
    Hot,
    /// As much as before again.
    Cool,
}

impl Heat {
    /// `used`: cores, lately.
    fn look(&mut self, now: MonoNs, temp: Option<f64>, throttled: bool, slows_at: f64, used: f64) -> Option<Mood> {
        let hot = throttled || temp.is_some_and(|t| t >= slows_at - MARGIN);
        let cool = !throttled && temp.is_none_or(|t| t < slows_at - MARGIN - HYSTERESIS);
        let may_change = now.ms_since(self.changed) >= HOLD_MS;
        match self.limit {
            None if hot => {
                self.before = used.max(FLOOR);
                self.limit = Some((self.before * STEP).max(FLOOR));
                self.changed = now;
                Some(Mood::Hot)
            }
            Some(limit) if hot && may_change => {
                self.limit = Some((limit * STEP).max(FLOOR));
                self.changed = now;
                None
            }
            Some(limit) if cool && may_change => {
                self.changed = now;
                let more = limit / STEP;
                // A step short of it: the limit would only be met by chance.
                self.limit = Some(more).filter(|more| *more < self.before * 0.99);
                self.limit.is_none().then_some(Mood::Cool)
            }
            _ => None,
        }
    }
}

/// Asked about each frame.
#[derive(Debug)]
pub struct Governor {
    /// Cores; `None`: as many as there are.
    max_cpu: Option<f64>,
    board: Board,
    account: Account,
    heat: Heat,
    polled: Option<(MonoNs, Duration)>,
    hot: Arc<AtomicBool>,
}

impl Governor {
    /// With a budget of so many cores, and the board below `sysfs`. Opens files: before the seal.
    pub fn open(max_cpu: Option<f64>, sysfs: &Path) -> Self {
        Self {
            max_cpu,
            board: Board::open(sysfs),
            account: Account::default(),
            heat: Heat::default(),
            polled: None,
            hot: Arc::default(),
        }
    }

    /// Whether less is done because of heat; for whoever reports it.
    pub fn hot(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.hot)
    }

    /// Looks at the board, when it is time for that. `cpu`: what this process has used.
    pub fn poll(&mut self, now: MonoNs, cpu: impl FnOnce() -> Duration) -> Option<Mood> {
        if self.polled.is_some_and(|(then, _)| now.ms_since(then) < POLL_MS) {
            return None;
        }
        let cpu = cpu();
        let (then, used) = self.polled.replace((now, cpu))?;
        let passed = now.ms_since(then);
        let cores = cpu.saturating_sub(used).as_secs_f64() * 1000.0 / passed as f64;
        let throttled = self.board.is_throttled() == Some(true);
        let mood = self.heat.look(now, self.board.temp_c(), throttled, self.board.slows_at, cores);
        self.hot.store(self.heat.limit.is_some(), Ordering::Relaxed);
        mood
    }

    /// Whether the next frame has to go, or to wait.
    pub fn is_overdrawn(&mut self, now: MonoNs, cpu: impl FnOnce() -> Duration) -> bool {
        let limit = match (self.max_cpu, self.heat.limit) {
            (Some(a), Some(b)) => a.min(b),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (None, None) => {
                self.account = Account::default();
                return false;
            }
        };
        self.account.is_overdrawn(now, cpu(), limit)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ms(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    /// Work that costs `cost` ms of processor time a frame, at 30 frames a second: how many frames were done and what was used, as
    /// cores.
    fn play(governor: &mut Governor, seconds: u64, cost: u64) -> (u64, f64) {
        let (mut cpu, mut done) = (Duration::ZERO, 0);
        for n in 0..seconds * 30 {
            if !governor.is_overdrawn(ms(1000 + n * 1000 / 30), || cpu) {
                cpu += Duration::from_millis(cost);
                done += 1;
            }
        }
        (done, cpu.as_secs_f64() / seconds as f64)
    }

    #[test]
    fn a_budget_is_used_and_not_exceeded() {
        let nowhere = Path::new("/nonexistent");
        for (budget, cost) in [(0.1, 20), (0.25, 10), (0.5, 30), (1.5, 200)] {
            let (_, used) = play(&mut Governor::open(Some(budget), nowhere), 60, cost);
            assert!((used / budget - 1.0).abs() < 0.05, "{budget}: {used}");
        }
        // What needs less is not held back at all.
        let (done, used) = play(&mut Governor::open(Some(0.5), nowhere), 60, 10);
        assert_eq!((done, (used * 10.0).round()), (1800, 3.0));
        assert_eq!(play(&mut Governor::open(None, nowhere), 60, 30).0, 1800);
    }

    #[test]
    fn a_quiet_night_pays_for_no_storm() {
        let mut account = Account::default();
        assert!(!account.is_overdrawn(ms(0), Duration::ZERO, 0.1));
        assert!(!account.is_overdrawn(ms(8 * 3_600_000), Duration::ZERO, 0.1));
        assert!(account.is_overdrawn(ms(8 * 3_600_000 + 100), Duration::from_millis(150), 0.1));
    }

    /// A board made of files.
    fn board(temp: &str, throttled: Option<&str>, passive: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let zone = dir.path().join("class/thermal/thermal_zone0");
        fs::create_dir_all(&zone).expect("made");
        fs::write(zone.join("temp"), temp).expect("written");
        if let Some(passive) = passive {
            fs::write(zone.join("trip_point_0_type"), "critical\n").expect("written");
            fs::write(zone.join("trip_point_0_temp"), "60000\n").expect("written");
            fs::write(zone.join("trip_point_1_type"), "passive\n").expect("written");
            fs::write(zone.join("trip_point_1_temp"), passive).expect("written");
        }
        if let Some(bits) = throttled {
            let firmware = dir.path().join("devices/platform/soc/soc:firmware");
            fs::create_dir_all(&firmware).expect("made");
            fs::write(firmware.join("get_throttled"), bits).expect("written");
        }
        dir
    }

    #[test]
    fn the_board_is_read() {
        let pi = board("48312\n", Some("50005\n"), None);
        let read = Board::open(pi.path());
        assert_eq!((read.temp_c(), read.is_throttled(), read.slows_at), (Some(48.312), Some(true), 80.0));
        // What was once (the upper bits) is over.
        fs::write(pi.path().join("devices/platform/soc/soc:firmware/get_throttled"), "0xd0000\n").expect("written");
        assert_eq!(read.is_throttled(), Some(false));
        let other = board("rubbish", None, Some("95000\n"));
        let read = Board::open(other.path());
        assert_eq!((read.temp_c(), read.is_throttled(), read.slows_at), (None, None, 95.0));
        assert_eq!(Board::open(board("1", None, Some("0\n")).path()).slows_at, SLOWS_AT);
        let none = Board::open(Path::new("/nonexistent"));
        assert_eq!((none.temp_c(), none.is_throttled()), (None, None));
    }

    /// A board that heats up by what is done on it: it is kept from where it would slow itself down, and all is given back in the cool.
    #[test]
    fn a_hot_board_is_spared_before_it_slows_down() {
        let dir = board("50000", None, None);
        let temp = dir.path().join("class/thermal/thermal_zone0/temp");
        let mut governor = Governor::open(None, dir.path());
        let (mut cpu, mut heat, mut moods, mut hottest) = (Duration::ZERO, 50.0, Vec::new(), 0.0f64);
        let mut used_in_the_end = 0.0;
        for tick in 0..30 * 1200u64 {
            let now = ms(1 + tick * 1000 / 30);
            // Ten minutes in the sun, then shade.
            let around = if tick < 30 * 600 { 60.0 } else { 30.0 };
            if let Some(mood) = governor.poll(now, || cpu) {
                moods.push(mood);
            }
            let work = if governor.is_overdrawn(now, || cpu) { 0.0 } else { 0.9 / 30.0 };
            cpu += Duration::from_secs_f64(work);
            // 40 degrees over the surroundings for a core, in a minute.
            heat += ((around - heat) / 60.0 + work * 30.0 * 40.0 / 60.0) / 30.0;
            if tick % 30 == 0 {
                fs::write(&temp, format!("{:.0}\n", heat * 1000.0)).expect("written");
            }
            hottest = hottest.max(heat);
            used_in_the_end = if tick >= 30 * 1190 { used_in_the_end + work } else { 0.0 };
        }
        assert!(hottest > 75.0 && hottest < SLOWS_AT, "{hottest}");
        assert_eq!((moods.first(), moods.last()), (Some(&Mood::Hot), Some(&Mood::Cool)), "{moods:?}");
        assert!(used_in_the_end > 8.0, "as before in the shade: {used_in_the_end} s of 10");
    }

    #[test]
    fn a_board_that_says_it_is_throttled_is_spared_whatever_its_temperature() {
        let dir = board("40000", Some("4"), None);
        let mut governor = Governor::open(None, dir.path());
        assert_eq!(governor.poll(ms(1), || Duration::ZERO), None);
        assert_eq!(governor.poll(ms(1500), || Duration::from_secs(1)), Some(Mood::Hot));
        assert!(governor.hot().load(Ordering::Relaxed));
        fs::write(dir.path().join("devices/platform/soc/soc:firmware/get_throttled"), "40000").expect("written");
        let moods: Vec<_> = (2..30u64).filter_map(|n| governor.poll(ms(n * 1000), || Duration::from_secs(n))).collect();
        assert_eq!(moods, [Mood::Cool]);
    }
}
