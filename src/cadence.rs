//! How closely a frame is looked at before anybody knows what is on it. Pure, in stream time.
//!
//! Most frames of a fixed camera show what the one before showed. Decoding all of them costs more than everything else such a
//! camera needs, so once nothing has moved for [`Settings::calm_after_ms`] the scene is *calm*: every
//! [`Settings::peek_every_ms`] one frame's luma is compared with the background (a *peek*; no colour is decoded), every
//! [`Settings::full_every_ms`] one is decoded whole, for the looks that attention wants of things that stand, and the frames
//! between go unopened. The first peek that sees something ends the calm, and that very frame is decoded whole.

use std::ops::Range;

use crate::frame::MonoNs;
use crate::motion::Kind;

/// Intervals of stream time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Without motion for so long, a scene is calm. Default 2000 ms.
    pub calm_after_ms: u64,
    /// Between peeks. With the time between two frames it bounds how late something that starts to move is seen: 200 ms at 30 frames a second.
    /// Default 170 ms.
    pub peek_every_ms: u64,
    /// Between whole frames. Default 2000 ms: what stands is looked at every few seconds, and a whole frame costs as much as three peeks.
    pub full_every_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { calm_after_ms: 2000, peek_every_ms: 170, full_every_ms: 2000 }
    }
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Decode it whole.
    Full,
    /// Compare its luma; whole only if something moved.
    Peek,
    /// Leave it: it counts as still.
    Skip,
}

/// The state of one camera.
#[derive(Clone, Debug)]
pub struct Cadence {
    settings: Settings,
    /// Since when nothing has moved.
    still_since: Option<MonoNs>,
    looked: MonoNs,
    full: MonoNs,
}

impl Cadence {
    /// Has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, still_since: None, looked: MonoNs(0), full: MonoNs(0) }
    }

    /// What to do with the frame of time `at`.
    pub fn glance(&self, at: MonoNs) -> Glance {
        let Some(since) = self.still_since else { return Glance::Full };
        // A clock that stepped back: everything is to be learnt anew.
        if at < self.looked || at.ms_since(since) < self.settings.calm_after_ms {
            return Glance::Full;
        }
        if at.ms_since(self.full) >= self.settings.full_every_ms {
            Glance::Full
        } else if at.ms_since(self.looked) >= self.settings.peek_every_ms {
            Glance::Peek
        } else {
            Glance::Skip
        }
    }

    /// The times for which [`Cadence::glance`] says [`Glance::Skip`] as long as nothing else is seen.
    pub fn unopened(&self) -> Option<Range<MonoNs>> {
        let calm = self.still_since?.plus_ms(self.settings.calm_after_ms);
        let peek = self.looked.plus_ms(self.settings.peek_every_ms);
        let until = peek.min(self.full.plus_ms(self.settings.full_every_ms));
        let from = calm.max(self.looked);
        (from < until).then_some(from..until)
    }

    /// What a look at the frame of time `at` showed; `whole`: it was decoded whole.
    pub fn saw(&mut self, at: MonoNs, kind: Kind, whole: bool) {
        if at < self.looked || kind != Kind::Still {
            self.still_since = None;
        }
        if kind == Kind::Still {
            self.still_since.get_or_insert(at);
        }
        self.looked = at;
        if whole {
            self.full = at;
        }
    }

    /// Nothing is known any more: the camera went, or its frames broke.
    pub fn forget(&mut self) {
        self.still_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    /// Plays frames and tells what was done with each.
    fn play(frames: impl IntoIterator<Item = (u64, bool)>) -> Vec<(u64, Glance)> {
        let mut cadence = Cadence::new(Settings::default());
        let mut done = Vec::new();
        for (at, moves) in frames {
            let glance = cadence.glance(ms(at));
            // What is told beforehand is what is said then.
            let unopened = cadence.unopened().is_some_and(|times| times.contains(&ms(at)));
            assert_eq!(unopened, glance == Glance::Skip, "{at} {cadence:?}");
            let kind = if moves { Kind::Moving } else { Kind::Still };
            match glance {
                Glance::Skip => {}
                // What moved is decoded whole.
                Glance::Peek => cadence.saw(ms(at), kind, moves),
                Glance::Full => cadence.saw(ms(at), kind, true),
            }
            done.push((at, glance));
        }
        done
    }

    #[test]
    fn a_calm_scene_costs_half_a_whole_frame_and_few_peeks_a_second() {
        let done = play((0..300).map(|i| (i * 1000 / 30, false)));
        let of = |g: Glance| done.iter().filter(|(at, x)| *at >= 4000 && *at < 9000 && *x == g).count();
        assert!((2..=3).contains(&of(Glance::Full)), "{}", of(Glance::Full));
        assert!((15..=25).contains(&of(Glance::Peek)), "{}", of(Glance::Peek));
        assert!(done.iter().take_while(|(at, _)| *at < 2000).all(|(_, g)| *g == Glance::Full));
    }

    #[test]
    fn motion_ends_the_calm_at_once() {
        let done = play((0..200).map(|i| (i * 33, i >= 150)));
        let first = done.iter().find(|(at, g)| *at >= 150 * 33 && *g != Glance::Skip).expect("looked at").0;
        assert!(first - 150 * 33 <= 200, "{first}");
        assert!(done.iter().filter(|(at, _)| *at > first).all(|(_, g)| *g == Glance::Full));
    }

    proptest! {
        /// Whatever the frame rate and the steps of the clock: what begins to move is looked at within 170 ms and a frame.
        #[test]
        fn nothing_that_moves_waits_long(period in 1u64..500, start in 1usize..400, back in prop::option::of(0usize..400)) {
            let mut at = 10_000u64;
            let mut times = Vec::new();
            for i in 0..400 {
                at = if back == Some(i) { at.saturating_sub(5_000) } else { at + period };
                times.push(at);
            }
            let done = play(times.iter().enumerate().map(|(i, t)| (*t, i >= start)));
            let seen = done[start..].iter().position(|(_, g)| *g != Glance::Skip);
            if let Some(n) = seen {
                prop_assert!(n as u64 * period <= 170 + period);
            } else {
                prop_assert!(done.len() - start <= (170 / period + 1) as usize);
            }
        }
    }
}
