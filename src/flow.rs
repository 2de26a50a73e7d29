//! How frames and counts flow between threads. Knows no vision.
//!
//! Loss happens in two declared places: the slot of a live camera, where a newer frame displaces an older one nobody has
//! taken yet, and the crop queue. Both are counted. A file's slot is lossless: its reader waits.
//!
//! The slots of all cameras share one lock and are taken from by one consumer, the one that waited longest first, so that no camera starves
//! when the consumer is the bottleneck. It is built from a mutex and condition variables rather than from channels of length
//! one: a producer that would have to keep a receiver to steal the old frame back could never notice that the consumer died.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::{CameraId, MonoNs};

/// What a full slot does with the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The newer frame displaces the older one (live cameras).
    Latest,
    /// The producer waits (files).
    Lossless,
}

struct Slot<T, N> {
    mode: Mode,
    /// Place in the order of puts, since when something waits here, frame. A frame that displaces another takes over its time:
    /// else a fast camera, whose waiting frame is always young, would never have its turn beside slow ones.
    item: Option<(u64, MonoNs, T)>,
    /// Notes are never displaced; they keep their place among the frames.
    notes: VecDeque<(u64, MonoNs, N)>,
    puts: u64,
    open: bool,
    /// See [`Taker::pass_over`].
    passed: Option<Range<MonoNs>>,
}

impl<T, N> Slot<T, N> {
    /// The time of what is to be taken next, and whether that is a note.
    fn head(&self) -> Option<(MonoNs, bool)> {
        match (&self.item, self.notes.front()) {
            (Some((i, at, _)), Some((n, note_at, _))) => Some(if n < i { (*note_at, true) } else { (*at, false) }),
            (Some((_, at, _)), None) => Some((*at, false)),
            (None, Some((_, at, _))) => Some((*at, true)),
            (None, None) => None,
        }
    }

    fn place(&mut self) -> u64 {
        self.puts += 1;
        self.puts
    }
}

struct Shared<T, N> {
    slots: Vec<Slot<T, N>>,
    consumer_alive: bool,
    /// What was taken last came from a file: a live camera is next, for their clocks cannot be compared.
    file_had_its_turn: bool,
}

struct Inner<T, N> {
    shared: Mutex<Shared<T, N>>,
    /// Something was put or a producer left.
    arrived: Condvar,
    /// Something was taken or the consumer left.
    taken: Condvar,
}

impl<T, N> Inner<T, N> {
    /// A thread that panicked while holding the lock left nothing half done: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Shared<T, N>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One slot per camera in the order of their ids, and the one end that takes from all of them.
pub fn slots<T, N>(modes: &[Mode]) -> (Vec<Feeder<T, N>>, Taker<T, N>) {
    let slots = modes
        .iter()
        .map(|&mode| Slot { mode, item: None, notes: VecDeque::new(), puts: 0, open: true, passed: None })
        .collect();
    let inner = Arc::new(Inner {
        shared: Mutex::new(Shared { slots, consumer_alive: true, file_had_its_turn: false }),
        arrived: Condvar::new(),
        taken: Condvar::new(),
    });
    let feeders = (0..modes.len()).map(|index| Feeder { inner: Arc::clone(&inner), index }).collect();
    (feeders, Taker { inner })
}

/// The capture side of one slot. Dropping it says that nothing more will come.
pub struct Feeder<T, N> {
    inner: Arc<Inner<T, N>>,
    index: usize,
}

/// The consumer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl<T, N> Feeder<T, N> {
    /// Says something about the camera, in order with its frames. Notes are few (a camera changes its state) and are
    /// never displaced.
    ///
    /// # Errors
    /// [`Closed`] when there is no consumer any more.
    pub fn note(&self, at: MonoNs, note: N) -> Result<(), Closed> {
        let mut shared = self.inner.lock();
        if !shared.consumer_alive {
            return Err(Closed);
        }
        let slot = &mut shared.slots[self.index];
        let place = slot.place();
        // Whatever it says, it may concern what is wanted.
        slot.passed = None;
        slot.notes.push_back((place, at, note));
        drop(shared);
        self.inner.arrived.notify_one();
        Ok(())
    }

    /// The times of which [`Feeder::is_passed_over`] speaks, as far as is known now. Later ones are told when a later frame was looked at, so
    /// it holds for frames to come.
    pub fn passed_over(&self) -> Option<Range<MonoNs>> {
        self.inner.lock().slots[self.index].passed.clone()
    }

    /// Whether a frame captured at `at` need not be put: nobody would open it. Saves a still camera a wake-up a frame.
    pub fn is_passed_over(&self, at: MonoNs) -> bool {
        self.inner.lock().slots[self.index].passed.as_ref().is_some_and(|times| times.contains(&at))
    }

    /// Puts a frame captured at `at`. Returns the one it displaced, which the caller counts.
    ///
    /// # Errors
    /// [`Closed`] when there is no consumer any more.
    pub fn put(&self, at: MonoNs, item: T) -> Result<Option<T>, Closed> {
        let mut shared = self.inner.lock();
        loop {
            if !shared.consumer_alive {
                return Err(Closed);
            }
            let slot = &mut shared.slots[self.index];
            if slot.mode == Mode::Latest || slot.item.is_none() {
                let place = slot.place();
                let since = slot.item.as_ref().map_or(at, |(_, since, _)| *since);
                let displaced = slot.item.replace((place, since, item)).map(|(_, _, old)| old);
                drop(shared);
                self.inner.arrived.notify_one();
                return Ok(displaced);
            }
            shared = self.inner.taken.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T, N> Drop for Feeder<T, N> {
    fn drop(&mut self) {
        self.inner.lock().slots[self.index].open = false;
        self.inner.arrived.notify_one();
    }
}

/// What [`Taker::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T, N> {
    /// A frame of that camera.
    Item(CameraId, T),
    /// A note about that camera.
    Note(CameraId, MonoNs, N),
    /// Nothing within the time allowed.
    Nothing,
    /// Every producer has left and every slot is empty.
    Finished,
}

/// The consuming side of all slots.
pub struct Taker<T, N> {
    inner: Arc<Inner<T, N>>,
}

impl<T, N> Taker<T, N> {
    /// Takes from the slot that has waited longest (ties: the lower camera id), waiting for one up to `patience`. Files and live
    /// cameras, whose clocks differ, take turns.
    ///
    /// As long as a lossless slot is open and empty, frames of other lossless slots wait for it: files are replayed in the
    /// order of stream time, whatever the threads do. Frames of live cameras never wait.
    pub fn take(&self, patience: Duration) -> Taken<T, N> {
        let deadline = Instant::now() + patience;
        let mut shared = self.inner.lock();
        loop {
            let waiting_for_file =
                shared.slots.iter().any(|s| s.mode == Mode::Lossless && s.open && s.head().is_none());
            let ready = |s: &Slot<T, N>| s.mode == Mode::Latest || !waiting_for_file;
            let oldest = |mode: Mode| {
                let slots = shared.slots.iter().enumerate().filter(|(_, s)| s.mode == mode && ready(s));
                slots.filter_map(|(i, s)| s.head().map(|(at, is_note)| (at, i, is_note))).min()
            };
            let (live, file) = (oldest(Mode::Latest), oldest(Mode::Lossless));
            let next = if shared.file_had_its_turn { live.or(file) } else { file.or(live) };
            if let Some((_, index, is_note)) = next {
                shared.file_had_its_turn = shared.slots[index].mode == Mode::Lossless;
                let camera = CameraId(index as u8);
                let slot = &mut shared.slots[index];
                if is_note {
                    if let Some((_, at, note)) = slot.notes.pop_front() {
                        return Taken::Note(camera, at, note);
                    }
                } else if let Some((_, _, item)) = slot.item.take() {
                    drop(shared);
                    self.inner.taken.notify_all();
                    return Taken::Item(camera, item);
                }
            }
            if shared.slots.iter().all(|s| !s.open && s.head().is_none()) {
                return Taken::Finished;
            }
            let now = Instant::now();
            if now >= deadline {
                return Taken::Nothing;
            }
            let (guard, _) =
                self.inner.arrived.wait_timeout(shared, deadline - now).unwrap_or_else(PoisonError::into_inner);
            shared = guard;
        }
    }
}

impl<T, N> Taker<T, N> {
    /// Says of a camera in which time its frames will not be opened; until the next call, or a note.
    ///
    /// Frames of several files wait for each other, and one that is not put is waited for: not for those.
    pub fn pass_over(&self, camera: CameraId, times: Option<Range<MonoNs>>) {
        let mut shared = self.inner.lock();
        let files = shared.slots.iter().filter(|s| s.mode == Mode::Lossless).count();
        let slot = &mut shared.slots[usize::from(camera.0)];
        if slot.mode == Mode::Latest || files == 1 {
            slot.passed = times;
        }
    }
}

impl<T, N> Drop for Taker<T, N> {
    fn drop(&mut self) {
        self.inner.lock().consumer_alive = false;
        self.inner.taken.notify_all();
    }
}

/// Where each frame of one camera went. The law, once nothing is in flight:
/// `captured = displaced + undecodable + still + inferred + failed`. Gaps in the driver's own count are counted apart:
/// those frames never reached us.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Frames (or what should have been frames) that a source gave.
    pub captured: AtomicU64,
    /// Pushed out of the slot by a newer one.
    pub displaced: AtomicU64,
    /// Bytes that were no picture.
    pub undecodable: AtomicU64,
    /// Nothing to look at.
    pub still: AtomicU64,
    /// Looked at by the detector.
    pub inferred: AtomicU64,
    /// The detector failed on it.
    pub failed: AtomicU64,
    /// Missing in the driver's own count.
    pub driver_gaps: AtomicU64,
}

/// A [`Ledger`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`Ledger::captured`].
    pub captured: u64,
    /// See [`Ledger::displaced`].
    pub displaced: u64,
    /// See [`Ledger::undecodable`].
    pub undecodable: u64,
    /// See [`Ledger::still`].
    pub still: u64,
    /// See [`Ledger::inferred`].
    pub inferred: u64,
    /// See [`Ledger::failed`].
    pub failed: u64,
    /// See [`Ledger::driver_gaps`].
    pub driver_gaps: u64,
}

impl Ledger {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now. `captured` is read last, so that a frame on its way shows as in flight and never as a surplus.
    pub fn counts(&self) -> Counts {
        let read = |c: &AtomicU64| c.load(Ordering::Acquire);
        let done = Counts {
            captured: 0,
            displaced: read(&self.displaced),
            undecodable: read(&self.undecodable),
            still: read(&self.still),
            inferred: read(&self.inferred),
            failed: read(&self.failed),
            driver_gaps: read(&self.driver_gaps),
        };
        Counts { captured: read(&self.captured), ..done }
    }
}

impl Counts {
    /// Frames whose fate is known.
    pub fn finished(&self) -> u64 {
        self.displaced + self.undecodable + self.still + self.inferred + self.failed
    }

    /// What was added since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            captured: self.captured.saturating_sub(earlier.captured),
            displaced: self.displaced.saturating_sub(earlier.displaced),
            undecodable: self.undecodable.saturating_sub(earlier.undecodable),
            still: self.still.saturating_sub(earlier.still),
            inferred: self.inferred.saturating_sub(earlier.inferred),
            failed: self.failed.saturating_sub(earlier.failed),
            driver_gaps: self.driver_gaps.saturating_sub(earlier.driver_gaps),
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            captured: self.captured + other.captured,
            displaced: self.displaced + other.displaced,
            undecodable: self.undecodable + other.undecodable,
            still: self.still + other.still,
            inferred: self.inferred + other.inferred,
            failed: self.failed + other.failed,
            driver_gaps: self.driver_gaps + other.driver_gaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn frames_that_nobody_would_open_are_told_beforehand_until_something_is_said() {
        let (feeders, taker) = slots::<u8, u8>(&[Mode::Latest, Mode::Lossless]);
        let times = || Some(MonoNs(10)..MonoNs(20));
        for (feeder, camera) in feeders.iter().zip([CameraId(0), CameraId(1)]) {
            taker.pass_over(camera, times());
            let passed = [9, 10, 19, 20].map(|at| feeder.is_passed_over(MonoNs(at)));
            assert_eq!(passed, [false, true, true, false]);
            feeder.note(MonoNs(11), 1).expect("there is a consumer");
            assert!(!feeder.is_passed_over(MonoNs(12)));
        }
        // Another file would wait for a frame that never comes.
        let (feeders, taker) = slots::<u8, u8>(&[Mode::Lossless, Mode::Lossless]);
        taker.pass_over(CameraId(0), times());
        assert!(!feeders[0].is_passed_over(MonoNs(12)));
    }

    #[test]
    fn a_live_slot_keeps_the_newest() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Latest]);
        assert_eq!(feeders[0].put(MonoNs(1), "a"), Ok(None));
        assert_eq!(feeders[0].put(MonoNs(2), "b"), Ok(Some("a")));
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(0), "b"));
        assert_eq!(taker.take(SOON), Taken::Nothing);
        drop(feeders);
        assert_eq!(taker.take(SOON), Taken::Finished);
    }

    #[test]
    fn the_oldest_waiting_frame_is_served_first() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Latest, Mode::Latest]);
        let _ = feeders[0].put(MonoNs(20), "late");
        let _ = feeders[1].put(MonoNs(10), "early");
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(1), "early"));
    }

    #[test]
    fn a_fast_camera_has_its_turn_beside_slow_ones() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Latest, Mode::Latest]);
        let _ = feeders[0].put(MonoNs(10), "fast");
        let _ = feeders[1].put(MonoNs(11), "slow");
        for at in 12..20 {
            let _ = feeders[0].put(MonoNs(at), "fast");
        }
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(0), "fast"));
        let _ = feeders[0].put(MonoNs(20), "fast");
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(1), "slow"));
    }

    #[test]
    fn a_file_and_a_camera_take_turns() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Lossless, Mode::Latest]);
        let mut order = Vec::new();
        for turn in 0..6 {
            if turn % 2 == 0 {
                let _ = feeders[0].put(MonoNs(turn), "file");
                let _ = feeders[1].put(MonoNs(1_000_000 + turn), "live");
            }
            if let Taken::Item(camera, _) = taker.take(SOON) {
                order.push(camera.0);
            }
        }
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn files_wait_for_each_other_but_not_live_cameras() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Lossless, Mode::Lossless, Mode::Latest]);
        let _ = feeders[0].put(MonoNs(5), "file 0");
        assert_eq!(taker.take(SOON), Taken::Nothing);
        let _ = feeders[2].put(MonoNs(9), "live");
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(2), "live"));
        let _ = feeders[1].put(MonoNs(3), "file 1");
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(1), "file 1"));
    }

    #[test]
    fn a_producer_notices_that_the_consumer_died_even_while_waiting() {
        let (mut feeders, taker) = slots::<_, &str>(&[Mode::Lossless]);
        let feeder = feeders.remove(0);
        let _ = feeder.put(MonoNs(1), 1);
        let waiting = std::thread::spawn(move || feeder.put(MonoNs(2), 2));
        std::thread::sleep(Duration::from_millis(20));
        drop(taker);
        assert_eq!(waiting.join().ok(), Some(Err(Closed)));
    }

    #[test]
    fn what_was_put_before_the_producer_left_is_still_delivered() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Lossless]);
        let _ = feeders[0].put(MonoNs(1), 1);
        drop(feeders);
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(0), 1));
        assert_eq!(taker.take(SOON), Taken::Finished);
    }

    #[test]
    fn a_note_is_never_displaced_and_keeps_its_place() {
        let (feeders, taker) = slots::<_, &str>(&[Mode::Latest]);
        let _ = feeders[0].note(MonoNs(0), "online");
        let _ = feeders[0].put(MonoNs(1), "a");
        let _ = feeders[0].note(MonoNs(1), "offline");
        assert_eq!(taker.take(SOON), Taken::Note(CameraId(0), MonoNs(0), "online"));
        assert_eq!(feeders[0].put(MonoNs(2), "b"), Ok(Some("a")));
        assert_eq!(taker.take(SOON), Taken::Note(CameraId(0), MonoNs(1), "offline"));
        assert_eq!(taker.take(SOON), Taken::Item(CameraId(0), "b"));
    }

    proptest! {
        /// Every frame put is either taken, displaced or still in a slot, for any interleaving of puts and takes.
        #[test]
        fn nothing_is_lost_uncounted(steps in proptest::collection::vec((0usize..4, any::<bool>()), 0..200)) {
            let (feeders, taker) = slots::<_, ()>(&[Mode::Latest; 4]);
            let (mut put, mut displaced, mut taken) = (0u64, 0u64, 0u64);
            for (now, (camera, is_put)) in steps.into_iter().enumerate() {
                if is_put {
                    put += 1;
                    displaced += u64::from(feeders[camera].put(MonoNs(now as u64), now).ok().flatten().is_some());
                } else if matches!(taker.take(Duration::ZERO), Taken::Item(..)) {
                    taken += 1;
                }
            }
            drop(feeders);
            let mut left = 0;
            while matches!(taker.take(Duration::ZERO), Taken::Item(..)) {
                left += 1;
            }
            prop_assert_eq!(put, displaced + taken + left);
        }
    }
}
