//! Verification (are two faces one person?) and open-set identification (who of the gallery, or nobody?).

/// Two faces and what is true of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Their likeness.
    pub likeness: f32,
    /// Whether they are one person's.
    pub same: bool,
}

/// A share with its 95 % confidence interval (Wilson's, which stands firm near 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// How many.
    pub hits: usize,
    /// Out of how many.
    pub of: usize,
}

impl Share {
    /// The share itself; 0 of none is 0.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }

    /// Lower and upper end.
    pub fn interval(self) -> (f64, f64) {
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (n, p, z) = (self.of as f64, self.value(), 1.959_964);
        let centre = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval();
        write!(f, "{:.4} ({low:.4} to {high:.4}; {} of {})", self.value(), self.hits, self.of)
    }
}

/// The scores of a verification run, sorted.
#[derive(Clone, Debug)]
pub struct Verification {
    same: Vec<f32>,
    different: Vec<f32>,
}

fn at_least(sorted: &[f32], threshold: f32) -> Share {
    Share { hits: sorted.len() - sorted.partition_point(|v| *v < threshold), of: sorted.len() }
}

impl Verification {
    /// Pairs whose likeness is no number are left out.
    pub fn new(pairs: &[Pair]) -> Self {
        let of = |same| {
            let mut scores: Vec<f32> =
                pairs.iter().filter(|p| p.same == same && !p.likeness.is_nan()).map(|p| p.likeness).collect();
            scores.sort_by(f32::total_cmp);
            scores
        };
        Self { same: of(true), different: of(false) }
    }

    /// True accepts at a threshold.
    pub fn tar(&self, threshold: f32) -> Share {
        at_least(&self.same, threshold)
    }

    /// False accepts at a threshold.
    pub fn far(&self, threshold: f32) -> Share {
        at_least(&self.different, threshold)
    }

    /// Right answers at a threshold.
    pub fn accuracy(&self, threshold: f32) -> Share {
        let (tar, far) = (self.tar(threshold), self.far(threshold));
        Share { hits: tar.hits + far.of - far.hits, of: tar.of + far.of }
    }

    /// The least threshold at which at most this share of different pairs is accepted.
    pub fn threshold_for(&self, far: f64) -> f32 {
        let allowed = (far * self.different.len() as f64).floor() as usize;
        match self.different.len().checked_sub(allowed + 1) {
            Some(i) => self.different[i].next_up(),
            None => -1.0,
        }
    }

    /// Equal error rate and where: false accepts and false rejects nearest to each other.
    pub fn eer(&self) -> (f64, f32) {
        let gap = |t: f32| {
            let (reject, accept) = (1.0 - self.tar(t).value(), self.far(t).value());
            ((reject - accept).abs(), (reject + accept) / 2.0)
        };
        let best =
            self.same.iter().chain(&self.different).map(|t| (gap(*t), *t)).min_by(|a, b| a.0.0.total_cmp(&b.0.0));
        best.map_or((0.0, 0.0), |((_, rate), t)| (rate, t))
    }

    /// The least likeness of a same pair and the greatest of a different one.
    pub fn extremes(&self) -> (Option<f32>, Option<f32>) {
        (self.same.first().copied(), self.different.last().copied())
    }
}

/// One probe against a gallery that holds everybody: its likeness to each other person, and to its own other faces.
#[derive(Clone, Debug)]
pub struct Probe {
    /// To the likest face of each other person.
    pub others: Vec<f32>,
    /// To the likest other face of the same person; `None` where there is none.
    pub own: Option<f32>,
}

/// False positive identification rate at a gallery of `n` persons none of whom is the probe: the mean over all probes and
/// all galleries of that size that can be drawn from the others, computed exactly.
pub fn fpir(probes: &[Probe], n: usize, threshold: f32) -> f64 {
    let one = |p: &Probe| {
        let (all, above) = (p.others.len(), p.others.iter().filter(|l| **l >= threshold).count());
        let n = n.min(all);
        // 1 - C(all - above, n) / C(all, n)
        1.0 - (0..n).map(|i| (all - above).saturating_sub(i) as f64 / (all - i) as f64).product::<f64>()
    };
    probes.iter().map(one).sum::<f64>() / probes.len().max(1) as f64
}

/// False negative identification rate: enrolled, and not found, or taken for somebody else.
pub fn fnir(probes: &[Probe], threshold: f32) -> Share {
    let enrolled = probes.iter().filter_map(|p| p.own.map(|own| (own, &p.others)));
    let missed = |(own, others): &(f32, &Vec<f32>)| *own < threshold || others.iter().any(|o| o >= own);
    Share { hits: enrolled.clone().filter(missed).count(), of: enrolled.count() }
}

/// The least threshold, in hundredths, at which the rate for `n` persons is at most `wanted`.
pub fn threshold_for_fpir(probes: &[Probe], n: usize, wanted: f64) -> f32 {
    (0..=100).map(|h| h as f32 / 100.0).find(|t| fpir(probes, n, *t) <= wanted).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        let of = |same| move |i: u32| Pair { likeness: i as f32 / 100.0 + if same { 0.45 } else { 0.0 }, same };
        (0..50).map(of(false)).chain((0..50).map(of(true))).collect()
    }

    #[test]
    fn rates_are_counted() {
        let v = Verification::new(&pairs());
        // Different: 0 to .49; same: .45 to .94.
        assert_eq!(v.far(0.40).hits, 10);
        assert_eq!(v.tar(0.5).hits, 45);
        assert_eq!(v.accuracy(0.495).hits, 95);
        assert!((v.threshold_for(0.02) - 0.48).abs() < 1e-4);
        assert_eq!(v.far(v.threshold_for(0.02)).hits, 1);
        assert_eq!(v.far(v.threshold_for(0.0)).hits, 0);
        let (eer, at) = v.eer();
        assert!((0.03..=0.07).contains(&eer) && (0.45..0.5).contains(&at), "{eer} {at}");
    }

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        let (low, high) = Share { hits: 0, of: 10 }.interval();
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-3);
        let (low, high) = Share { hits: 5, of: 10 }.interval();
        assert!((low - 0.2366).abs() < 1e-3 && (high - 0.7634).abs() < 1e-3);
        assert_eq!(Share { hits: 0, of: 0 }.interval(), (0.0, 1.0));
    }

    #[test]
    fn larger_galleries_have_more_false_positives() {
        let probes = [
            Probe { others: vec![0.5, 0.1, 0.1, 0.1], own: Some(0.8) },
            Probe { others: vec![0.2; 4], own: Some(0.3) },
        ];
        assert!((fpir(&probes, 1, 0.45) - 0.125).abs() < 1e-9);
        assert!((fpir(&probes, 2, 0.45) - 0.25).abs() < 1e-9);
        assert!((fpir(&probes, 9, 0.45) - 0.5).abs() < 1e-9);
        assert_eq!(fnir(&probes, 0.45), Share { hits: 1, of: 2 });
        assert!((threshold_for_fpir(&probes, 4, 0.0) - 0.51).abs() < 1e-6);
    }
}
