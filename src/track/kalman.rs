//! Predicts where a box will be: a Kalman filter per box coordinate (centre x, centre y, width, height).
//!
//! Constant velocity, as in SORT (Bewley et al. 2016) and ByteTrack (Zhang et al. 2022), with two changes. Time is in
//! seconds between stamps, not in frames, so that 5 and 30 frames a second, or a gap, give the same track. And the velocity
//! fades while nothing is seen (an Ornstein-Uhlenbeck process instead of a random walk): a walker behind a tree is expected
//! on its other side, but not in the next street.
//!
//! All noise is relative to the box's long side, because detectors err in proportion to the object and near objects
//! move faster over the picture.

use crate::frame::MonoNs;
use crate::geom::{Box2, FramePx, Size};

/// How long a centre keeps its speed, seconds.
const CENTER_FADE_S: f64 = 4.0;
/// How long a width or height keeps growing or shrinking, seconds.
const EXTENT_FADE_S: f64 = 0.5;
/// Spectral density of a centre's acceleration, (long sides)^2 / s^3. People and cars change speed by nearly twice their own
/// length per second, in a second.
const CENTER_PROCESS: f64 = 3.0;
/// The same for width and height, which change slowly.
const EXTENT_PROCESS: f64 = 0.1;
/// Standard deviation of a detected centre, long sides.
const CENTER_NOISE: f64 = 0.04;
/// Standard deviation of a detected width or height, long sides.
const EXTENT_NOISE: f64 = 0.06;
/// Standard deviation of the speed of something just seen for the first time, long sides per second.
const FIRST_SPEED: f64 = 1.0;
/// The same for the change of width and height.
const FIRST_GROWTH: f64 = 0.3;

/// e^-x for x >= 0 from the four basic operations alone, so that it has the same bits on every machine (libm's `exp` has
/// not). Padé [2/2] of e^(-x/8), then squared three times; within 1e-5 for x <= 8, and falling beyond.
fn fade(x: f64) -> f64 {
    let y = (x / 8.0).clamp(0.0, 3.0);
    let e = (12.0 - 6.0 * y + y * y) / (12.0 + 6.0 * y + y * y);
    let (e2, e4) = (e * e, e * e * e * e);
    e2 * e2 * e4
}

/// Seconds from `earlier` to `later`, 0 when the clock went back.
pub(super) fn seconds(earlier: MonoNs, later: MonoNs) -> f64 {
    later.0.saturating_sub(earlier.0) as f64 / 1e9
}

/// Position and velocity of one coordinate with their covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    position: f64,
    velocity: f64,
    /// Variance of the position, covariance, variance of the velocity.
    p: [f64; 3],
}

impl Axis {
    fn new(position: f64, sd: f64, speed_sd: f64) -> Self {
        Self { position, velocity: 0.0, p: [sd * sd, 0.0, speed_sd * speed_sd] }
    }

    fn predict(self, dt: f64, fade_s: f64, process: f64) -> Self {
        let e = fade(dt / fade_s);
        // The distance that a unit of speed still covers while it fades. It stands in for dt in the process noise too,
        // so that a gap of minutes does not let the variance grow without bound.
        let g = fade_s * (1.0 - e);
        let [pp, pv, vv] = self.p;
        Self {
            position: self.position + self.velocity * g,
            velocity: self.velocity * e,
            p: [
                pp + 2.0 * g * pv + g * g * vv + process * g * g * g / 3.0,
                e * (pv + g * vv) + process * g * g / 2.0,
                e * e * vv + process * g,
            ],
        }
    }

    fn correct(self, measured: f64, noise_sd: f64) -> Self {
        let [pp, pv, vv] = self.p;
        let s = pp + noise_sd * noise_sd;
        // No variance at all happens only for a box of no size, which never gets here; then there is nothing to learn.
        if s.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return self;
        }
        let off = measured - self.position;
        // Beyond three deviations it counts less (Huber's weight): a false positive beside the object should not throw
        // the track, and a real change of course is confirmed by the next ones.
        let surprise = (off * off / (9.0 * s)).max(1.0);
        let s = pp + noise_sd * noise_sd * surprise;
        let (k0, k1) = (pp / s, pv / s);
        Self {
            position: self.position + k0 * off,
            velocity: self.velocity + k1 * off,
            p: [(1.0 - k0) * pp, (1.0 - k0) * pv, (vv - k1 * pv).max(0.0)],
        }
    }

    fn scaled(self, by: f64) -> Self {
        Self { position: self.position * by, velocity: self.velocity * by, p: self.p.map(|v| v * by * by) }
    }
}

/// The four coordinates of a box at the time of its last correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Filter {
    /// When the state below held.
    pub(super) at: MonoNs,
    x: Axis,
    y: Axis,
    w: Axis,
    h: Axis,
}

/// Where a box is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    /// The box, frame pixels.
    pub(super) bbox: Box2<FramePx>,
    /// Standard deviation of its centre, in long sides.
    pub(super) spread: f32,
    /// Speed of the left, top, right and bottom edge, pixels per second.
    pub(super) edges: [f32; 4],
}

impl Expected {
    /// Whether what was matched at `last` is going or has gone out over the frame's edge.
    pub(super) fn leaves(&self, last: Box2<FramePx>, frame: Size) -> bool {
        let full = frame.bounds();
        if self.bbox.covered_by(full) < 0.5 {
            return true;
        }
        // At the edge the detector sees ever less of it, so the box shrinks and stays inside; what tells is that its
        // inner edge goes outwards.
        let (mx, my) = (full.x1 * 0.02, full.y1 * 0.02);
        let speed = 0.1 * last.width().max(last.height());
        (last.x0 <= mx && self.edges[2] < -speed)
            || (last.y0 <= my && self.edges[3] < -speed)
            || (last.x1 >= full.x1 - mx && self.edges[0] > speed)
            || (last.y1 >= full.y1 - my && self.edges[1] > speed)
    }
}

fn long_side(b: Box2<FramePx>) -> f64 {
    f64::from(b.width().max(b.height())).max(1.0)
}

impl Filter {
    /// Stands at `bbox`, which is not empty.
    pub(super) fn new(at: MonoNs, bbox: Box2<FramePx>) -> Self {
        let (l, c) = (long_side(bbox), bbox.center());
        let center = |v: f32| Axis::new(f64::from(v), CENTER_NOISE * l, FIRST_SPEED * l);
        let extent = |v: f32| Axis::new(f64::from(v), EXTENT_NOISE * l, FIRST_GROWTH * l);
        Self { at, x: center(c.x), y: center(c.y), w: extent(bbox.width()), h: extent(bbox.height()) }
    }

    fn advanced(&self, at: MonoNs) -> Self {
        let dt = seconds(self.at, at);
        if dt <= 0.0 {
            return *self;
        }
        let l = self.w.position.max(self.h.position).max(1.0);
        let center = |a: Axis| a.predict(dt, CENTER_FADE_S, CENTER_PROCESS * l * l);
        let extent = |a: Axis| {
            let next = a.predict(dt, EXTENT_FADE_S, EXTENT_PROCESS * l * l);
            // A box never shrinks to nothing, and never doubles or halves unseen.
            let position = next.position.clamp((a.position / 2.0).max(1.0), (a.position * 2.0).max(1.0));
            Axis { position, ..next }
        };
        Self { at, x: center(self.x), y: center(self.y), w: extent(self.w), h: extent(self.h) }
    }

    /// The box as it was at the last correction.
    pub(super) fn bbox(&self) -> Box2<FramePx> {
        Box2::from_cxcywh(
            self.x.position as f32,
            self.y.position as f32,
            self.w.position as f32,
            self.h.position as f32,
        )
    }

    /// What to expect at `at`. The state stays as it is: only what was seen changes it, so that it does not matter how
    /// often somebody asks.
    pub(super) fn expect(&self, at: MonoNs) -> Expected {
        let s = self.advanced(at);
        let variance = s.x.p[0].max(s.y.p[0]).max(0.0);
        let (vx, vy) = (s.x.velocity as f32, s.y.velocity as f32);
        let (gx, gy) = (s.w.velocity as f32 / 2.0, s.h.velocity as f32 / 2.0);
        Expected {
            bbox: s.bbox(),
            spread: (variance.sqrt() / s.w.position.max(s.h.position).max(1.0)) as f32,
            edges: [vx - gx, vy - gy, vx + gx, vy + gy],
        }
    }

    /// A detection of this object; `trust` in 0..=1 widens its noise (a weak detection is also a badly placed one).
    pub(super) fn correct(&mut self, at: MonoNs, bbox: Box2<FramePx>, trust: f32) {
        let s = self.advanced(at);
        let (l, c) = (long_side(bbox) / f64::from(trust.clamp(0.1, 1.0)), bbox.center());
        let extent = |a: Axis, v: f32| {
            let a = a.correct(f64::from(v), EXTENT_NOISE * l);
            Axis { position: a.position.max(1.0), ..a }
        };
        *self = Self {
            at,
            x: s.x.correct(f64::from(c.x), CENTER_NOISE * l),
            y: s.y.correct(f64::from(c.y), CENTER_NOISE * l),
            w: extent(s.w, bbox.width()),
            h: extent(s.h, bbox.height()),
        };
    }

    /// Nothing moved in the picture: so neither does this.
    pub(super) fn rest(&mut self, at: MonoNs) {
        self.at = at;
        for axis in [&mut self.x, &mut self.y, &mut self.w, &mut self.h] {
            axis.velocity = 0.0;
            axis.p[1] = 0.0;
        }
    }

    /// The camera changed its picture size.
    pub(super) fn scale(&mut self, sx: f64, sy: f64) {
        self.x = self.x.scaled(sx);
        self.y = self.y.scaled(sy);
        self.w = self.w.scaled(sx);
        self.h = self.h.scaled(sy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> MonoNs {
        MonoNs(0).plus_ms(ms)
    }

    #[test]
    fn fade_is_the_exponential() {
        for i in 0..800 {
            let x = f64::from(i) / 100.0;
            assert!((fade(x) - (-x).exp()).abs() < 1e-5, "{x}");
        }
        assert!(fade(1e9) < 1e-4 && fade(1e9) >= 0.0);
    }

    #[test]
    fn a_walker_is_expected_ahead_whatever_the_rate_of_frames() {
        for step_ms in [33_u64, 66, 200, 500] {
            let boxed = |ms: u64| Box2::from_cxcywh(100.0 + ms as f32 * 0.1, 300.0, 60.0, 150.0);
            let mut f = Filter::new(at_ms(0), boxed(0));
            let mut ms = 0;
            while ms < 3000 {
                ms += step_ms;
                f.correct(at_ms(ms), boxed(ms), 1.0);
            }
            let seen = f.expect(at_ms(ms + 500)).bbox.center().x;
            let truth = boxed(ms + 500).center().x;
            assert!((seen - truth).abs() < 8.0, "{step_ms} ms: {seen} for {truth}");
        }
    }

    #[test]
    fn an_unseen_box_fades_to_a_halt_and_stays_finite() {
        let mut f = Filter::new(at_ms(0), Box2::from_cxcywh(100.0, 100.0, 50.0, 100.0));
        for i in 1..=20_u64 {
            f.correct(at_ms(i * 50), Box2::from_cxcywh(100.0 + i as f32 * 5.0, 100.0, 50.0, 100.0), 1.0);
        }
        let far = f.expect(MonoNs(u64::MAX));
        assert!(!far.bbox.is_empty() && far.spread.is_finite());
        // At most speed x fade ahead: 100 px/s x 4 s from x = 200.
        assert!(far.bbox.center().x < 200.0 + 450.0, "{far:?}");
        assert!(far.edges[0].abs() < 0.1);
    }

    #[test]
    fn asking_does_not_change_the_answer() {
        let mut f = Filter::new(at_ms(0), Box2::from_cxcywh(0.0, 0.0, 10.0, 10.0));
        f.correct(at_ms(100), Box2::from_cxcywh(5.0, 0.0, 10.0, 10.0), 1.0);
        let _ = f.expect(at_ms(700));
        assert_eq!(f.expect(at_ms(300)), f.expect(at_ms(300)));
    }
}
