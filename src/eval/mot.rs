//! How well tracks are kept: CLEAR (Bernardin and Stiefelhagen, 2008), identity (Ristani et al., 2016) and HOTA (Luiten et al.,
//! 2020), with the matching rules of TrackEval, the benchmark's own evaluation. `cargo xtask oracle-eval` compares.

use std::collections::BTreeMap;

use super::assign;

/// A box of a track in one frame: track, `[left, top, width, height]`.
pub type Row = (u64, [f64; 4]);

/// Frames by number: what is there, what was tracked.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    frames: BTreeMap<u64, (Vec<Row>, Vec<Row>)>,
}

impl Sequence {
    /// Two texts of the MOTChallenge: `frame,id,left,top,width,height,conf,...`, one box a line. Boxes of the truth with
    /// `conf` 0 are left out.
    ///
    /// # Errors
    /// Which text (`true` for the truth) and one line: a row that cannot be read, or an id twice in a frame.
    pub fn parse(truth: &str, tracked: &str) -> Result<Self, (bool, String)> {
        let mut sequence = Self::default();
        for (text, is_truth) in [(truth, true), (tracked, false)] {
            for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
                let wrong = |what: &str| (is_truth, format!("line {}: {what}", i + 1));
                let cells: Option<Vec<f64>> = line.split(',').map(|c| c.trim().parse().ok()).collect();
                let cells = cells.filter(|c| c.len() >= 6 && c.iter().all(|v| v.is_finite()));
                let cells = cells.ok_or_else(|| wrong("wanted frame,id,left,top,width,height,... as numbers"))?;
                let whole = |v: f64| (v >= 0.0 && v.fract() == 0.0 && v < 1e15).then_some(v as u64);
                let (Some(frame), Some(id)) = (whole(cells[0]), whole(cells[1])) else {
                    return Err(wrong("wanted whole numbers for frame and id"));
                };
                if is_truth && cells.get(6) == Some(&0.0) {
                    continue;
                }
                let at = sequence.frames.entry(frame).or_default();
                let rows = if is_truth { &mut at.0 } else { &mut at.1 };
                if rows.iter().any(|(other, _)| *other == id) {
                    return Err(wrong("this id is twice in its frame"));
                }
                rows.push((id, [cells[2], cells[3], cells[4], cells[5]]));
            }
        }
        Ok(sequence)
    }
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let w = ((a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0])).max(0.0);
    let h = ((a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1])).max(0.0);
    let union = a[2] * a[3] + b[2] * b[3] - w * h;
    if union > f64::EPSILON { w * h / union } else { 0.0 }
}

/// The measures; shares are 0..=1 (`mota` may be below 0), counts are of boxes or tracks.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub struct Measures {
    /// HOTA, the mean over overlaps from .05 to .95.
    pub hota: f64,
    /// Its share of detection.
    pub deta: f64,
    /// Its share of association.
    pub assa: f64,
    /// 1 less misses, false alarms and swaps for each box that is there; overlap .5.
    pub mota: f64,
    /// Mean overlap of matched boxes.
    pub motp: f64,
    /// F1 of boxes under the best assignment of tracks to tracks.
    pub idf1: f64,
    /// Its precision.
    pub idp: f64,
    /// Its recall.
    pub idr: f64,
    /// Matched boxes.
    pub tp: f64,
    /// Missed boxes.
    #[serde(rename = "fn")]
    pub misses: f64,
    /// False boxes.
    pub fp: f64,
    /// Times a true track changed its tracked one.
    pub idsw: f64,
    /// True tracks followed for more than .8 of their length.
    pub mt: f64,
    /// Those between.
    pub pt: f64,
    /// True tracks followed for less than .2.
    pub ml: f64,
    /// Times a true track was lost and found again.
    pub frag: f64,
}

/// Overlap that counts as a match for CLEAR and identity.
const MATCH: f64 = 0.5;

/// Frames with ids as indices and the overlaps between them.
struct Frame {
    truth: Vec<usize>,
    tracked: Vec<usize>,
    /// `[truth][tracked]`
    overlaps: Vec<Vec<f64>>,
}

fn share(part: f64, whole: f64) -> f64 {
    part / whole.max(1.0)
}

/// Measures a sequence.
pub fn evaluate(sequence: &Sequence) -> Measures {
    let (mut truths, mut tracks) = (BTreeMap::new(), BTreeMap::new());
    let mut frames = Vec::new();
    for (truth, tracked) in sequence.frames.values() {
        let index = |known: &mut BTreeMap<u64, usize>, rows: &[Row]| -> Vec<usize> {
            let mut of = |id: u64| {
                let next = known.len();
                *known.entry(id).or_insert(next)
            };
            rows.iter().map(|(id, _)| of(*id)).collect()
        };
        let overlaps = truth.iter().map(|(_, a)| tracked.iter().map(|(_, b)| overlap(a, b)).collect()).collect();
        frames.push(Frame { truth: index(&mut truths, truth), tracked: index(&mut tracks, tracked), overlaps });
    }
    let there: usize = frames.iter().map(|f| f.truth.len()).sum();
    let said: usize = frames.iter().map(|f| f.tracked.len()).sum();
    let mut m = Measures::default();
    if there == 0 || said == 0 {
        (m.misses, m.fp, m.ml) = (there as f64, said as f64, truths.len() as f64);
        return m;
    }
    let mut counts = (vec![0.0; truths.len()], vec![0.0; tracks.len()]);
    for f in &frames {
        f.truth.iter().for_each(|g| counts.0[*g] += 1.0);
        f.tracked.iter().for_each(|t| counts.1[*t] += 1.0);
    }
    clear(&frames, &counts.0, &mut m);
    identity(&frames, truths.len(), tracks.len(), there as f64, said as f64, &mut m);
    hota(&frames, &counts, &mut m);
    m
}

fn clear(frames: &[Frame], lengths: &[f64], m: &mut Measures) {
    let n = lengths.len();
    let (mut last, mut before): (Vec<Option<usize>>, Vec<Option<usize>>) = (vec![None; n], vec![None; n]);
    let (mut followed, mut pieces) = (vec![0.0; n], vec![0.0; n]);
    let mut overlaps = 0.0;
    for f in frames {
        if f.truth.is_empty() || f.tracked.is_empty() {
            m.fp += f.tracked.len() as f64;
            m.misses += f.truth.len() as f64;
            continue;
        }
        // Who was matched to whom a frame ago stays so where the boxes allow; otherwise overlap decides.
        let gain = |g: usize, t: usize| {
            let o = f.overlaps[g][t];
            let kept = before[f.truth[g]] == Some(f.tracked[t]);
            if o < MATCH - f64::EPSILON { 0.0 } else { o + if kept { 1000.0 } else { 0.0 } }
        };
        let pairs: Vec<(usize, usize)> = assign::best(f.truth.len(), f.tracked.len(), gain)
            .into_iter()
            .enumerate()
            .filter_map(|(g, t)| t.filter(|t| gain(g, *t) > f64::EPSILON).map(|t| (g, t)))
            .collect();
        let mut now = vec![None; n];
        for &(g, t) in &pairs {
            let (id, track) = (f.truth[g], f.tracked[t]);
            m.idsw += f64::from(u8::from(last[id].is_some_and(|l| l != track)));
            last[id] = Some(track);
            now[id] = Some(track);
            followed[id] += 1.0;
            pieces[id] += f64::from(u8::from(before[id].is_none()));
            overlaps += f.overlaps[g][t];
        }
        before = now;
        m.tp += pairs.len() as f64;
        m.misses += (f.truth.len() - pairs.len()) as f64;
        m.fp += (f.tracked.len() - pairs.len()) as f64;
    }
    for (length, followed) in lengths.iter().zip(&followed).filter(|(l, _)| **l > 0.0) {
        let ratio = followed / length;
        m.mt += f64::from(u8::from(ratio > 0.8));
        m.pt += f64::from(u8::from((0.2..=0.8).contains(&ratio)));
    }
    m.ml = n as f64 - m.mt - m.pt;
    m.frag = pieces.iter().filter(|p| **p > 0.0).map(|p| p - 1.0).sum();
    m.motp = share(overlaps, m.tp);
    m.mota = share(m.tp - m.fp - m.idsw, m.tp + m.misses);
}

fn identity(frames: &[Frame], truths: usize, tracks: usize, there: f64, said: f64, m: &mut Measures) {
    let mut both = vec![vec![0.0; tracks]; truths];
    for f in frames {
        for (g, row) in f.truth.iter().zip(&f.overlaps) {
            for (t, _) in f.tracked.iter().zip(row).filter(|(_, o)| **o >= MATCH) {
                both[*g][*t] += 1.0;
            }
        }
    }
    let pairs = assign::best(truths, tracks, |g, t| both[g][t]);
    let right: f64 = pairs.iter().enumerate().filter_map(|(g, t)| t.map(|t| both[g][t])).sum();
    m.idr = share(right, there);
    m.idp = share(right, said);
    m.idf1 = share(2.0 * right, there + said);
}

/// Overlaps of HOTA.
const ALPHAS: usize = 19;

fn hota(frames: &[Frame], (lengths, spans): &(Vec<f64>, Vec<f64>), m: &mut Measures) {
    let (truths, tracks) = (lengths.len(), spans.len());
    // How much each pair of tracks lies on one another over the whole sequence.
    let mut common = vec![vec![0.0; tracks]; truths];
    for f in frames {
        let rows: Vec<f64> = f.overlaps.iter().map(|r| r.iter().sum()).collect();
        let column = |t: usize| f.overlaps.iter().map(|r| r[t]).sum::<f64>();
        let columns: Vec<f64> = (0..f.tracked.len()).map(column).collect();
        for (g, row) in f.overlaps.iter().enumerate() {
            for (t, o) in row.iter().enumerate() {
                let all = rows[g] + columns[t] - o;
                if all > f64::EPSILON {
                    common[f.truth[g]][f.tracked[t]] += o / all;
                }
            }
        }
    }
    let aligned = |g: usize, t: usize| common[g][t] / (lengths[g] + spans[t] - common[g][t]);
    let alpha = |a: usize| 0.05 + 0.05 * a as f64;
    let (mut right, mut missed, mut wrong) = ([0.0f64; ALPHAS], [0.0; ALPHAS], [0.0; ALPHAS]);
    let mut pairs: Vec<BTreeMap<(usize, usize), f64>> = vec![BTreeMap::new(); ALPHAS];
    for f in frames {
        let gain = |g: usize, t: usize| aligned(f.truth[g], f.tracked[t]) * f.overlaps[g][t];
        let best = assign::best(f.truth.len(), f.tracked.len(), gain);
        for a in 0..ALPHAS {
            let mut n = 0.0;
            for (g, t) in best.iter().enumerate().filter_map(|(g, t)| t.map(|t| (g, t))) {
                if f.overlaps[g][t] >= alpha(a) - f64::EPSILON {
                    n += 1.0;
                    *pairs[a].entry((f.truth[g], f.tracked[t])).or_default() += 1.0;
                }
            }
            right[a] += n;
            missed[a] += f.truth.len() as f64 - n;
            wrong[a] += f.tracked.len() as f64 - n;
        }
    }
    for a in 0..ALPHAS {
        let held: f64 = pairs[a].iter().map(|((g, t), n)| n * n / (lengths[*g] + spans[*t] - n).max(1.0)).sum();
        let associated = share(held, right[a]);
        let detected = share(right[a], right[a] + missed[a] + wrong[a]);
        m.assa += associated / ALPHAS as f64;
        m.deta += detected / ALPHAS as f64;
        m.hota += (associated * detected).sqrt() / ALPHAS as f64;
    }
}
