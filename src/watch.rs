//! What this process costs: memory, processor time, temperature of the board.
//!
//! The files are opened once, at the start, because a sealed process opens nothing; afterwards they are only read again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::ClockId;

use crate::frame::MonoNs;
use crate::governor::Board;

/// This machine's monotonic clock.
pub fn now() -> MonoNs {
    to_mono(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// This machine's idea of UTC, milliseconds since 1970.
pub fn utc_ms() -> i64 {
    let t = rustix::time::clock_gettime(ClockId::Realtime);
    t.tv_sec.saturating_mul(1000).saturating_add(i64::from(t.tv_nsec as i32) / 1_000_000)
}

fn to_mono(t: rustix::time::Timespec) -> MonoNs {
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let rest = u64::try_from(t.tv_nsec).unwrap_or(0);
    MonoNs(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// Whether a thread gets on: since when it has been at work on one thing, or that it waits for the next.
///
/// Waiting for work is no fault, however long it lasts. Waiting for room behind a stage needs no mention either: then that stage
/// is the one that does not get on, or the writer waits for whoever reads, which the gatekeeper knows better.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// Longest work on one thing. Inference on the slowest board takes a few seconds, and a camera's driver may think as long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Waits for the next thing to work on.
    pub fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.rest();
        let next = wait();
        self.work();
        next
    }

    /// Begins the next thing.
    pub fn work(&self) {
        self.0.store(now().0.max(1), Ordering::Relaxed);
    }

    /// Nothing to do, or no more.
    pub fn rest(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether it has been at one thing for so long that it will hardly end.
    pub fn is_stuck(&self, now: MonoNs) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        since != 0 && u128::from(now.0.saturating_sub(since)) > Self::PATIENCE.as_nanos()
    }
}

/// Reads what the kernel says of this process and its board.
#[derive(Debug)]
pub struct Meter {
    statm: Option<File>,
    board: Board,
    /// Whether less is done than could be, because of heat.
    hot: Arc<AtomicBool>,
}

impl Meter {
    /// Opens the files that are there.
    pub fn open() -> Self {
        Self::below(Path::new("/sys"), Arc::default())
    }

    /// The same with another root than `/sys`, and somebody who knows whether less is done because of heat.
    pub fn below(sysfs: &Path, hot: Arc<AtomicBool>) -> Self {
        Self { statm: File::open("/proc/self/statm").ok(), board: Board::open(sysfs), hot }
    }

    /// Resident memory in bytes; 0 when the kernel does not say.
    pub fn rss_bytes(&self) -> u64 {
        let pages = self.statm.as_ref().and_then(|f| number(f, 1)).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }

    /// Temperature in degrees Celsius, where the board has a sensor.
    pub fn temp_c(&self) -> Option<f64> {
        self.board.temp_c()
    }

    /// Whether the board has slowed itself down, or we spare it; `None` where it does not say and is not spared.
    pub fn throttled(&self) -> Option<bool> {
        let hot = self.hot.load(Ordering::Relaxed);
        self.board.is_throttled().map(|throttled| throttled || hot).or(hot.then_some(true))
    }

    /// Processor time of all threads since the process began.
    pub fn cpu(&self) -> Duration {
        cpu()
    }
}

/// Processor time of all threads since the process began.
pub fn cpu() -> Duration {
    Duration::from_nanos(to_mono(rustix::time::clock_gettime(ClockId::ProcessCPUTime)).0)
}

/// The `index`th number in a one-line file.
pub(crate) fn number(file: &File, index: usize) -> Option<u64> {
    text(file, &mut [0u8; 128])?.split_whitespace().nth(index)?.parse().ok()
}

/// The beginning of a file, read anew.
pub(crate) fn text<'a>(file: &File, bytes: &'a mut [u8]) -> Option<&'a str> {
    let n = file.read_at(bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..n)?).ok()
}

/// Latencies of the current interval, in a histogram of constant size: 32 steps per doubling, so that a percentile is off by
/// at most 2.2 %, from a microsecond to over an hour.
#[derive(Debug)]
pub struct Latencies {
    counts: Box<[u32; Self::CELLS]>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: Box::new([0; Self::CELLS]), total: 0 }
    }
}

impl Latencies {
    const CELLS: usize = 32 * 32;

    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let us = latency.as_secs_f64() * 1e6;
        let cell = if us < 1.0 { 0 } else { (us.log2() * 32.0) as usize };
        let cell = &mut self.counts[cell.min(Self::CELLS - 1)];
        *cell = cell.saturating_add(1);
        self.total += 1;
    }

    /// The latency that a share `p` (0..=1) of the frames did not exceed, in milliseconds; 0 without any.
    pub fn percentile_ms(&self, p: f64) -> f64 {
        let rank = (p * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, n) in self.counts.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= rank {
                return ((i as f64 + 0.5) / 32.0).exp2() / 1000.0;
            }
        }
        0.0
    }

    /// Takes all of another histogram.
    pub fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total += other.total;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_three_percent() {
        let mut l = Latencies::default();
        (1..=1000).for_each(|ms| l.add(Duration::from_millis(ms)));
        for (p, wanted) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = l.percentile_ms(p);
            assert!((found / wanted - 1.0).abs() < 0.03, "p{p}: {found}");
        }
    }

    #[test]
    fn who_works_too_long_is_stuck_and_who_waits_is_not() {
        let pulse = Pulse::default();
        let in_a_year = MonoNs(now().0 + 365 * 86_400 * 1_000_000_000);
        assert!(!pulse.is_stuck(in_a_year), "it has not begun");
        pulse.waiting(|| assert!(!pulse.is_stuck(in_a_year)));
        assert!(!pulse.is_stuck(now()) && pulse.is_stuck(in_a_year));
        pulse.rest();
        assert!(!pulse.is_stuck(in_a_year));
    }

    #[test]
    fn no_latency_is_zero_and_absurd_ones_are_kept() {
        let mut l = Latencies::default();
        assert_eq!(l.percentile_ms(0.5), 0.0);
        l.add(Duration::from_secs(1 << 40));
        l.add(Duration::ZERO);
        assert!(l.percentile_ms(0.99) > 1e6);
    }

    #[test]
    fn the_kernel_knows_our_memory_and_time() {
        let meter = Meter::open();
        assert!(meter.rss_bytes() > 100_000);
        let before = meter.cpu();
        let mut x = 1u64;
        for i in 0..2_000_000u64 {
            x = std::hint::black_box(x.wrapping_mul(i | 1));
        }
        assert!(meter.cpu() > before, "{x}");
    }
}
