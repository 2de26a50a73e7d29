//! Average precision of faces as WIDER FACE defines it (Yang et al., "WIDER FACE", 2016; rules as in the authors' evaluation):
//! overlap .5, scores brought to 0..1 over the whole set, a thousand thresholds, and subsets (easy, medium, hard) whose
//! other faces neither count nor cost.

use serde::Deserialize;

/// A face that is there.
#[derive(Clone, Debug, Deserialize)]
pub struct Face {
    /// Left, top, width, height; pixels.
    pub bbox: [f64; 4],
    /// Names of the subsets it counts in; in the others it is left out.
    #[serde(default)]
    pub subsets: Vec<String>,
}

/// A picture: what is there and what was found.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// Faces that are there.
    pub faces: &'a [Face],
    /// Left, top, width, height, score; best first.
    pub found: Vec<[f64; 5]>,
}

/// Thresholds of the score.
const THRESHOLDS: usize = 1000;

/// Overlap of two boxes whose last pixel belongs to them, as the authors' evaluation has it.
fn overlap(a: &[f64], b: &[f64]) -> f64 {
    let w = (a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0]) + 1.0;
    let h = (a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1]) + 1.0;
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let area = |v: &[f64]| (v[2] + 1.0) * (v[3] + 1.0);
    w * h / (area(a) + area(b) - w * h)
}

/// Average precision in a subset; 0 where no face counts. The order of `found` is that of the scores, best first.
pub fn average_precision(pictures: &[Picture<'_>], subset: &str) -> f64 {
    let scores = || pictures.iter().flat_map(|p| p.found.iter().map(|f| f[4]));
    let (low, high) = (scores().fold(f64::INFINITY, f64::min), scores().fold(f64::NEG_INFINITY, f64::max));
    let span = high - low;
    let unit = |s: f64| if span > 0.0 { (s - low) / span } else { 0.0 };
    let (mut faces, mut proposed, mut right) = (0usize, vec![0.0; THRESHOLDS], vec![0.0; THRESHOLDS]);
    for picture in pictures {
        let counts: Vec<bool> = picture.faces.iter().map(|f| f.subsets.iter().any(|s| s == subset)).collect();
        faces += counts.iter().filter(|c| **c).count();
        if picture.faces.is_empty() || picture.found.is_empty() {
            continue;
        }
        let mut taken = vec![false; counts.len()];
        let (mut found, mut proposals) = (0.0, 0.0);
        // After each detection: proposals that count, faces found.
        let mut after = Vec::with_capacity(picture.found.len());
        for detection in &picture.found {
            let mut best = (f64::NEG_INFINITY, 0);
            for (i, face) in picture.faces.iter().enumerate() {
                let o = overlap(detection, &face.bbox);
                if o > best.0 {
                    best = (o, i);
                }
            }
            let mut proposal = 1.0;
            if best.0 >= 0.5 {
                if !counts[best.1] {
                    proposal = 0.0;
                } else if !taken[best.1] {
                    taken[best.1] = true;
                    found += 1.0;
                }
            }
            proposals += proposal;
            after.push((proposals, found));
        }
        for t in 0..THRESHOLDS {
            let threshold = 1.0 - (t + 1) as f64 / THRESHOLDS as f64;
            if let Some(last) = picture.found.iter().rposition(|f| unit(f[4]) >= threshold) {
                proposed[t] += after[last].0;
                right[t] += after[last].1;
            }
        }
    }
    if faces == 0 {
        return 0.0;
    }
    let recall: Vec<f64> = std::iter::once(0.0).chain(right.iter().map(|r| r / faces as f64)).chain([1.0]).collect();
    let precision = right.iter().zip(&proposed).map(|(r, p)| if *p > 0.0 { r / p } else { 0.0 });
    let mut precision: Vec<f64> = std::iter::once(0.0).chain(precision).chain([0.0]).collect();
    for i in (1..precision.len()).rev() {
        precision[i - 1] = precision[i - 1].max(precision[i]);
    }
    recall.windows(2).zip(&precision[1..]).map(|(r, p)| (r[1] - r[0]) * p).sum()
}
