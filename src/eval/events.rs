//! How well a clip is told: visits and crossings of an event stream against what is known of the clip.
//!
//! A track tells of a visit when both have the same label, at least half of the track's time lies in the visit's, and its boxes
//! lie on the visit's (mean overlap of at least .3 over the lines that fall into the visit). A track tells of one visit at
//! most, the one its boxes lie on best.

use serde::Deserialize;

/// Somebody or something that was there.
#[derive(Clone, Debug, Deserialize)]
pub struct Visit {
    /// As the object model calls it.
    pub label: String,
    /// Milliseconds from the clip's start.
    pub enter_ms: i64,
    /// The same.
    pub leave_ms: i64,
    /// `[ms, left, top, width, height]`, pixels, in the order of time.
    pub boxes: Vec<[f64; 5]>,
}

/// A line that was crossed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Crossing {
    /// The line's name.
    pub line: String,
    /// `forward` or `backward`.
    pub direction: String,
    /// Milliseconds from the clip's start.
    pub ms: i64,
}

/// What is known of a clip.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// Width and height of its frames, pixels.
    pub size: [f64; 2],
    /// Who was there.
    pub visits: Vec<Visit>,
    /// What was crossed.
    #[serde(default)]
    pub crossings: Vec<Crossing>,
}

/// A track as the stream told it.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its label.
    pub label: String,
    /// When `track.appeared` was captured, milliseconds from the clip's start.
    pub appeared_ms: i64,
    /// When `track.left` was captured.
    pub left_ms: i64,
    /// As `track.left` says it.
    pub dwell_ms: i64,
    /// `[ms, left, top, width, height]`, pixels of the truth's size.
    pub boxes: Vec<[f64; 5]>,
}

/// The measures. Shares are 0..=1, and 1 where there was nothing to get wrong.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Measures {
    /// Visits of the truth.
    pub visits: usize,
    /// Tracks of the stream.
    pub tracks: usize,
    /// Share of tracks that tell of a visit and are the first to do so.
    pub precision: f64,
    /// Share of visits that a track tells of.
    pub recall: f64,
    /// Tracks beyond the first of each visit that was told, on average.
    pub duplicates: f64,
    /// From entering to `track.appeared`, milliseconds: median.
    pub delay_ms: i64,
    /// The longest.
    pub delay_worst_ms: i64,
    /// Mean of the difference between told and true dwell, as a share of the true one; the longest track of each visit.
    pub dwell_error: f64,
    /// Crossings of the truth that were told within a second.
    pub crossings_recall: f64,
    /// Crossings told that are in the truth.
    pub crossings_precision: f64,
}

/// How far a told crossing may be from the true one, milliseconds.
const CROSSING_MS: i64 = 1000;

fn overlap(a: &[f64], b: &[f64]) -> f64 {
    let w = ((a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0])).max(0.0);
    let h = ((a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1])).max(0.0);
    let union = a[2] * a[3] + b[2] * b[3] - w * h;
    if union > 0.0 { w * h / union } else { 0.0 }
}

/// Mean overlap of a track with a visit; `None` where it does not tell of it.
fn tells(track: &Track, visit: &Visit) -> Option<f64> {
    let common = track.left_ms.min(visit.leave_ms) - track.appeared_ms.max(visit.enter_ms);
    if track.label != visit.label || common < 0 || 2 * common < track.left_ms - track.appeared_ms {
        return None;
    }
    let near = |ms: f64| visit.boxes.iter().min_by(|a, b| (a[0] - ms).abs().total_cmp(&(b[0] - ms).abs()));
    let inside = |b: &&[f64; 5]| (visit.enter_ms as f64..=visit.leave_ms as f64).contains(&b[0]);
    let overlaps: Vec<f64> =
        track.boxes.iter().filter(inside).filter_map(|b| near(b[0]).map(|v| overlap(&b[1..], &v[1..]))).collect();
    let mean = overlaps.iter().sum::<f64>() / overlaps.len().max(1) as f64;
    (mean >= 0.3).then_some(mean)
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Compares a stream with the truth.
pub fn evaluate(truth: &Truth, tracks: &[Track], crossings: &[Crossing]) -> Measures {
    let mut told: Vec<Vec<&Track>> = vec![Vec::new(); truth.visits.len()];
    for track in tracks {
        let best = truth.visits.iter().enumerate().filter_map(|(i, v)| tells(track, v).map(|o| (o, i)));
        if let Some((_, i)) = best.max_by(|a, b| a.0.total_cmp(&b.0)) {
            told[i].push(track);
        }
    }
    let found = told.iter().filter(|t| !t.is_empty()).count();
    let matched: usize = told.iter().map(Vec::len).sum();
    let mut delays = Vec::new();
    let mut errors = Vec::new();
    for (visit, tracks) in truth.visits.iter().zip(&told) {
        if let (Some(first), Some(longest)) =
            (tracks.iter().map(|t| t.appeared_ms).min(), tracks.iter().map(|t| t.dwell_ms).max())
        {
            let wanted = (visit.leave_ms - visit.enter_ms).max(1);
            delays.push(first - visit.enter_ms);
            errors.push((longest - wanted).abs() as f64 / wanted as f64);
        }
    }
    delays.sort_unstable();
    let mut left: Vec<&Crossing> = truth.crossings.iter().collect();
    let mut right = 0;
    for c in crossings {
        let same = |t: &&Crossing| t.line == c.line && t.direction == c.direction && (t.ms - c.ms).abs() <= CROSSING_MS;
        if let Some(at) = left.iter().position(same) {
            left.remove(at);
            right += 1;
        }
    }
    Measures {
        visits: truth.visits.len(),
        tracks: tracks.len(),
        precision: share(found, tracks.len()),
        recall: share(found, truth.visits.len()),
        duplicates: (matched - found) as f64 / found.max(1) as f64,
        delay_ms: delays.get(delays.len() / 2).copied().unwrap_or_default(),
        delay_worst_ms: delays.last().copied().unwrap_or_default(),
        dwell_error: errors.iter().sum::<f64>() / errors.len().max(1) as f64,
        crossings_recall: share(right, truth.crossings.len()),
        crossings_precision: share(right, crossings.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(label: &str, from: i64, to: i64, x: f64) -> Track {
        let boxes = (from..=to).step_by(500).map(|ms| [ms as f64, x, 0.0, 10.0, 10.0]).collect();
        Track { label: label.into(), appeared_ms: from, left_ms: to, dwell_ms: to - from, boxes }
    }

    fn visit(label: &str, from: i64, to: i64, x: f64) -> Visit {
        let t = track(label, from, to, x);
        Visit { label: t.label, enter_ms: from, leave_ms: to, boxes: t.boxes }
    }

    #[test]
    fn misses_duplicates_and_ghosts_are_told_apart() {
        let crossing = |line: &str, ms| Crossing { line: line.into(), direction: "forward".into(), ms };
        let truth = Truth {
            size: [100.0, 100.0],
            visits: vec![visit("cat", 0, 4000, 0.0), visit("cat", 0, 4000, 50.0), visit("dog", 5000, 6000, 0.0)],
            crossings: vec![crossing("gate", 1000), crossing("gate", 3000)],
        };
        // The first cat in two pieces, the second one whole, no dog, and a cat where none is.
        let tracks = [
            track("cat", 200, 1000, 1.0),
            track("cat", 1500, 4000, 1.0),
            track("cat", 400, 4000, 50.0),
            track("cat", 0, 4000, 80.0),
        ];
        let m = evaluate(&truth, &tracks, &[crossing("gate", 1800), crossing("gate", 9000)]);
        assert_eq!((m.visits, m.tracks, m.delay_ms, m.delay_worst_ms), (3, 4, 400, 400));
        assert_eq!((m.precision, m.recall, m.duplicates), (0.5, 2.0 / 3.0, 0.5));
        assert!((m.dwell_error - (0.375 + 0.1) / 2.0).abs() < 1e-9);
        assert_eq!((m.crossings_recall, m.crossings_precision), (0.5, 0.5));
        let nothing = evaluate(&Truth { visits: vec![], ..truth }, &[], &[]);
        assert_eq!((nothing.precision, nothing.recall), (1.0, 1.0));
    }
}
