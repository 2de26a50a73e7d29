//! What samples say and how far they can be trusted. Pure: numbers in, numbers out, no clock.
//!
//! Samples come in *turns*: short stretches of one measurement, between which something else was measured. What differs from turn
//! to turn is the machine (another job, heat); what differs within a turn is mostly the thing measured. An interval of confidence
//! therefore draws whole turns: thousands of samples from one lucky minute are one observation of the machine, not thousands.

use serde::{Deserialize, Serialize};

/// Where samples lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of a sample; 0 for one.
    pub sd: f64,
    /// Least.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// Ninth decile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile; the greatest while there are fewer than a thousand.
    pub p999: f64,
    /// Greatest.
    pub max: f64,
}

impl Summary {
    /// `None` without samples, or with one that is no finite number.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares = sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let at = |p| nearest(&sorted, p);
        Some(Self {
            n,
            mean,
            sd: if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 },
            min: sorted[0],
            p50: median(&mut sorted.clone()).unwrap_or(mean),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: sorted[n - 1],
        })
    }
}

/// The least sample that a share `p` of all do not exceed: a value that was measured, never one in between.
fn nearest(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Of all, in any order, which is changed; `None` without any.
pub fn median(samples: &mut [f64]) -> Option<f64> {
    let half = samples.len() / 2;
    if samples.is_empty() {
        return None;
    }
    let even = samples.len().is_multiple_of(2);
    let (below, upper, _) = samples.select_nth_unstable_by(half, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| even).unwrap_or(upper);
    Some((lower + upper) / 2.0)
}

/// How many samples are far above the others: more than ten (scaled) median deviations over the median.
pub fn outliers(samples: &[f64]) -> usize {
    let Some(middle) = median(&mut samples.to_vec()) else { return 0 };
    let mut deviations: Vec<f64> = samples.iter().map(|v| (v - middle).abs()).collect();
    // A clock's steps can make all deviations 0; a percent of the median is nothing to call an outlier.
    let scale = median(&mut deviations).unwrap_or(0.0).max(0.01 * middle.abs()) * 1.4826;
    samples.iter().filter(|v| **v - middle > 10.0 * scale).count()
}

/// The median of the last fifth of the turns over that of the first fifth; `None` for fewer than four turns.
pub fn drift(turns: &[Vec<f64>]) -> Option<f64> {
    if turns.len() < 4 {
        return None;
    }
    let part = (turns.len() / 5).max(1);
    let first = median(&mut turns[..part].concat())?;
    let last = median(&mut turns[turns.len() - part..].concat())?;
    (first > 0.0).then(|| last / first)
}

/// Standard deviation of the turns' medians over their mean; `None` for fewer than two turns.
pub fn unrest(turns: &[Vec<f64>]) -> Option<f64> {
    let medians: Vec<f64> = turns.iter().filter_map(|t| median(&mut t.clone())).collect();
    let s = Summary::of(&medians).filter(|s| s.n > 1 && s.mean > 0.0)?;
    Some(s.sd / s.mean)
}

/// A ratio of medians and the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the second's median to the first's.
    pub ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// Turns from which an interval can be made: four draws from fewer repeat themselves too often to say anything.
    pub const LEAST_TURNS: usize = 4;
    const DRAWS: usize = 1000;

    /// By the bootstrap over whole turns; the same samples give the same interval. `None` with too few turns.
    pub fn of(first: &[Vec<f64>], second: &[Vec<f64>]) -> Option<Self> {
        if first.len().min(second.len()) < Self::LEAST_TURNS {
            return None;
        }
        let middle = |turns: &[Vec<f64>]| median(&mut turns.concat()).filter(|m| *m > 0.0);
        let ratio = middle(second)? / middle(first)?;
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut pool = Vec::new();
        let mut drawn = |turns: &[Vec<f64>]| {
            pool.clear();
            for _ in turns {
                pool.extend_from_slice(&turns[dice.below(turns.len())]);
            }
            median(&mut pool)
        };
        let mut ratios: Vec<f64> =
            (0..Self::DRAWS).filter_map(|_| Some(drawn(second)? / drawn(first)?)).filter(|r| r.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        (!ratios.is_empty()).then(|| Self { ratio, low: nearest(&ratios, 0.025), high: nearest(&ratios, 0.975) })
    }

    /// Whether the samples cannot tell which is the greater.
    pub fn is_undecided(&self) -> bool {
        self.low <= 1.0 && self.high >= 1.0
    }
}

/// SplitMix64: good enough to draw with, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// What a measurement's quality is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The samples.
    pub turns: &'a [Vec<f64>],
    /// Processor time over wall time times the threads that had always work; `None` where that is not known.
    pub busy: Option<f64>,
    /// Time that our threads stood ready and got no processor, over wall time; `None` where the kernel does not say.
    pub waited: Option<f64>,
}

/// How far a measurement can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// `good`, `fair` or `poor`.
    pub grade: String,
    /// Why not better; a sentence each.
    pub remarks: Vec<String>,
}

/// Judges; every threshold is here.
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let all = evidence.turns.concat();
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let mut remarks = Vec::new();
    let mut worst = 0;
    let mut say = |bad: bool, text: String| {
        worst = worst.max(if bad { 2 } else { 1 });
        remarks.push(text);
    };
    if all.len() < 30 {
        say(all.len() < 5, format!("only {} samples: give it more --seconds", all.len()));
    }
    let share = outliers(&all) as f64 / all.len().max(1) as f64;
    // Among few, one is no share of anything.
    if share > 0.01 && all.len() >= 30 {
        say(share > 0.05, format!("{} of the samples are outliers, far above the median", percent(share)));
    }
    if let Some(drift) = drift(evidence.turns).filter(|d| (d - 1.0).abs() > 0.05) {
        let text = if drift > 1.0 {
            format!(
                "the last part took {} longer than the first: throttling, or a neighbour that came",
                percent(drift - 1.0)
            )
        } else {
            format!(
                "the last part took {} less than the first: too little warm-up, or a neighbour that left",
                percent(1.0 - drift)
            )
        };
        say((drift - 1.0).abs() > 0.15, text);
    }
    if let Some(unrest) = unrest(evidence.turns).filter(|u| *u > 0.05) {
        say(unrest > 0.15, format!("medians differ by {} from turn to turn", percent(unrest)));
    }
    if let Some(busy) = evidence.busy.filter(|b| *b < 0.95) {
        say(busy < 0.8, format!("processor time was {} of wall time: a neighbour had the rest", percent(busy)));
    }
    if let Some(waited) = evidence.waited.filter(|w| *w > 0.05) {
        say(waited > 0.2, format!("our threads waited for a processor for {} of the time", percent(waited)));
    }
    let grade = ["good", "fair", "poor"][worst].to_owned();
    Judgement { grade, remarks }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples around `middle`, without a clock: a sawtooth of +-2 %, shifted from turn to turn by up to `unrest`.
    fn turns(middle: f64, unrest: f64) -> Vec<Vec<f64>> {
        let shift = |t: usize| 1.0 + unrest * ((t * 7 % 10) as f64 / 4.5 - 1.0);
        (0..10)
            .map(|t| (0..50).map(|i| middle * shift(t) * (0.98 + 0.0008 * ((i * 17) % 50) as f64)).collect())
            .collect()
    }

    fn judged(turns: &[Vec<f64>]) -> Judgement {
        judge(&Evidence { turns, busy: None, waited: None })
    }

    #[test]
    fn a_summary_is_what_one_would_compute_by_hand() {
        let s = Summary::of(&(1..=1000).rev().map(f64::from).collect::<Vec<_>>()).expect("samples");
        assert_eq!((s.n, s.mean, s.min, s.p50, s.max), (1000, 500.5, 1.0, 500.5, 1000.0));
        assert_eq!((s.p90, s.p99, s.p999), (900.0, 990.0, 999.0));
        assert!((s.sd - 288.819).abs() < 0.001);
        let one = Summary::of(&[3.0]).expect("a sample");
        assert_eq!((one.sd, one.p50, one.p999), (0.0, 3.0, 3.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn an_interval_holds_the_ratio_and_knows_what_it_cannot_tell() {
        let calm = Ratio::of(&turns(10.0, 0.01), &turns(12.0, 0.01)).expect("ten turns");
        assert!((calm.ratio - 1.2).abs() < 0.02 && !calm.is_undecided(), "{calm:?}");
        assert!(calm.low <= calm.ratio && calm.ratio <= calm.high, "{calm:?}");
        let same = Ratio::of(&turns(10.0, 0.05), &turns(10.0, 0.05)).expect("ten turns");
        assert!(same.is_undecided(), "{same:?}");
        // Twenty percent of difference drown in a machine that changes by sixty.
        let rough = Ratio::of(&turns(10.0, 0.6), &turns(12.0, 0.6)).expect("ten turns");
        assert!(rough.is_undecided() && rough.high - rough.low > 5.0 * (calm.high - calm.low), "{rough:?} {calm:?}");
        assert_eq!(Ratio::of(&turns(10.0, 0.0)[..3], &turns(10.0, 0.0)), None);
        let again = Ratio::of(&turns(10.0, 0.6), &turns(12.0, 0.6));
        assert_eq!(again, Some(rough), "the same samples, the same interval");
    }

    #[test]
    fn a_calm_measurement_is_good() {
        assert_eq!(judged(&turns(10.0, 0.01)), Judgement { grade: "good".into(), remarks: vec![] });
    }

    #[test]
    fn each_fault_is_named() {
        let mut spiked = turns(10.0, 0.01);
        spiked.iter_mut().for_each(|t| t[7] = 100.0);
        let slower: Vec<_> = (0..10).map(|t| turns(10.0 + 0.3 * f64::from(t), 0.0).remove(0)).collect();
        let quiet = turns(10.0, 0.01);
        for (found, grade, word) in [
            (judged(&spiked), "fair", "outliers"),
            (judged(&slower), "poor", "longer than the first"),
            (judged(&turns(10.0, 0.5)), "poor", "from turn to turn"),
            (judged(&turns(10.0, 0.01)[..1].iter().map(|t| t[..4].to_vec()).collect::<Vec<_>>()), "poor", "only 4"),
            (judge(&Evidence { turns: &quiet, busy: Some(0.9), waited: None }), "fair", "neighbour had the rest"),
            (judge(&Evidence { turns: &quiet, busy: Some(0.99), waited: Some(0.3) }), "poor", "waited for a processor"),
        ] {
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.remarks.iter().any(|r| r.contains(word)), "{word}: {found:?}");
        }
    }

    #[test]
    fn nothing_at_all_is_poor_and_no_panic() {
        assert_eq!(judged(&[]).grade, "poor");
        assert_eq!((outliers(&[]), drift(&[]), unrest(&[])), (0, None, None));
        assert_eq!(Ratio::of(&vec![vec![]; 9], &vec![vec![]; 9]), None);
    }
}
