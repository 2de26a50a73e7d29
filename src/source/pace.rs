//! Real time for files: `--pace realtime`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{FrameSource, Pulled, SourceError, SourceInfo, Times};
use crate::frame::MonoNs;

/// Longest sleep of one pull, so that a stop is noticed. Beyond the time between two frames that are opened: it would wake us for nothing.
const STEP: Duration = Duration::from_millis(200);

/// `CLOCK_MONOTONIC` now: the clock that V4L2 stamps frames with.
pub fn now() -> MonoNs {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    MonoNs(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Holds each frame of a file back until its stamp is due, counted from the first pull. Stamps stay what they were: the same
/// file gives the same events at any pace. Frames that nobody would open are given together, when the first that somebody may open is due:
/// nobody is woken for them.
pub struct Pace {
    inner: Box<dyn FrameSource>,
    begun: Option<MonoNs>,
    /// When the last frame was due, the time from the one before to it, and when the next one will be if frames come evenly.
    last: MonoNs,
    between: u64,
    expected: MonoNs,
    /// Times of frames that nobody would open.
    passed: Option<Times>,
    waiting: Option<Pulled>,
    /// A buffer lent while a frame waits.
    spare: Vec<u8>,
}

impl Pace {
    /// Slows `inner` down to real time.
    pub fn new(inner: Box<dyn FrameSource>) -> Self {
        let (last, expected) = (MonoNs(0), MonoNs(0));
        Self { inner, begun: None, last, between: 0, expected, passed: None, waiting: None, spare: Vec::new() }
    }

    /// The time until that stamp is due.
    fn left(&self, due: MonoNs) -> Duration {
        let begun = self.begun.map_or(0, |begun| now().0.saturating_sub(begun.0));
        Duration::from_nanos(due.0.saturating_sub(begun))
    }

    /// When to read on: when the next frame is expected, or the first one behind it that somebody may open.
    fn read_at(&self) -> MonoNs {
        let Some(times) = self.passed.as_ref().filter(|times| times.contains(&self.expected)) else {
            return self.expected;
        };
        let frames = (times.end.0 - self.expected.0).div_ceil(self.between.max(1));
        MonoNs(self.expected.0.saturating_add(frames.saturating_mul(self.between)))
    }
}

impl FrameSource for Pace {
    fn pass_over(&mut self, times: Option<Times>) {
        self.passed.clone_from(&times);
        self.inner.pass_over(times);
    }

    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Pulled, SourceError> {
        let pulled = match self.waiting.take() {
            Some(pulled) => {
                self.spare = buffer;
                pulled
            }
            None => {
                // Read no sooner than needed: until then it may turn out that nobody would open it.
                let left = self.left(self.read_at());
                if !left.is_zero() {
                    std::thread::sleep(STEP.min(left));
                    return Ok(Pulled::Quiet(buffer));
                }
                self.inner.next(buffer)?
            }
        };
        let due = match &pulled {
            Pulled::Frame(raw) | Pulled::Unread { raw, .. } => raw.stamp.at,
            Pulled::Passed { stamp, .. } | Pulled::Skipped { stamp, .. } => stamp.at,
            Pulled::Quiet(_) | Pulled::State { .. } | Pulled::End => return Ok(pulled),
        };
        self.begun.get_or_insert_with(now);
        let left = self.left(due);
        if left.is_zero() {
            let between = due.0.saturating_sub(self.last.0);
            if between > 0 {
                self.between = between;
                // And a microsecond: stamps are rounded, and a frame that is read too early is waited for once more.
                self.expected = MonoNs(due.0.saturating_add(between).saturating_add(1000));
            }
            self.last = due;
            return Ok(pulled);
        }
        std::thread::sleep(STEP.min(left));
        self.waiting = Some(pulled);
        Ok(Pulled::Quiet(std::mem::take(&mut self.spare)))
    }
}
