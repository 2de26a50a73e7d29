//! Average precision and recall of boxes as COCO defines them (Lin et al., "Microsoft COCO", 2014; rules as in the reference
//! implementation, pycocotools): ten overlaps from .5 to .95, 101 recalls, four ranges of area, at most 1, 10 or 100
//! detections a picture. `cargo xtask oracle-eval` compares the numbers with pycocotools.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Overlaps at which a detection counts as right.
pub const OVERLAPS: usize = 10;
/// Recalls at which precision is read.
pub const RECALLS: usize = 101;
/// Ranges of area: all, small, medium, large; pixels of the annotation.
const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];
/// Best detections of a picture (and class) that count.
const MOST: [usize; 3] = [1, 10, 100];

/// An object that is there.
#[derive(Clone, Debug, Deserialize)]
pub struct Annotation {
    /// From 1; no two are the same.
    pub id: u64,
    /// Of a picture.
    pub image_id: u64,
    /// Of a category.
    pub category_id: u64,
    /// Left, top, width, height; pixels.
    pub bbox: [f64; 4],
    /// Pixels; of the object, not of its box, where the two differ.
    pub area: f64,
    /// 1 for a group: finding it neither counts nor costs.
    #[serde(default)]
    pub iscrowd: u8,
}

/// A kind of object.
#[derive(Clone, Debug, Deserialize)]
pub struct Category {
    /// Any number.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// A picture.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// Any number.
    pub id: u64,
    /// Relative to the folder of pictures.
    #[serde(default)]
    pub file_name: String,
}

/// What is there: the parts of a COCO annotation file that count.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// Pictures.
    pub images: Vec<Image>,
    /// Kinds of objects.
    pub categories: Vec<Category>,
    /// Objects.
    pub annotations: Vec<Annotation>,
}

/// An object that was found: a row of a COCO results file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Found {
    /// Of a picture.
    pub image_id: u64,
    /// Of a category.
    pub category_id: u64,
    /// Left, top, width, height; pixels.
    pub bbox: [f64; 4],
    /// Higher is surer.
    pub score: f64,
}

impl Truth {
    /// Whether the numbers can be trusted.
    ///
    /// # Errors
    /// One line: an id that is 0 or there twice, an annotation of nothing known, a box that is no box.
    pub fn check(&self) -> Result<(), String> {
        let images: BTreeSet<u64> = self.images.iter().map(|i| i.id).collect();
        let categories: BTreeSet<u64> = self.categories.iter().map(|c| c.id).collect();
        if images.len() != self.images.len() || categories.len() != self.categories.len() {
            return Err("two images or two categories have the same id".into());
        }
        let mut ids = BTreeSet::new();
        for a in &self.annotations {
            let what = |w: &str| Err(format!("annotation {}: {w}", a.id));
            if a.id == 0 {
                return what("wanted an id of 1 or more: the reference implementation takes 0 for unmatched");
            }
            if !ids.insert(a.id) {
                return what("the id is there twice");
            }
            if !images.contains(&a.image_id) || !categories.contains(&a.category_id) {
                return what("its image_id or category_id is not in this file");
            }
            if !a.bbox.iter().all(|v| v.is_finite()) || a.bbox[2] < 0.0 || a.bbox[3] < 0.0 || !a.area.is_finite() {
                return what("wanted a bbox of finite numbers and no negative size");
            }
        }
        Ok(())
    }

    /// Whether these results are of this truth.
    ///
    /// # Errors
    /// One line that names the first row that is not.
    pub fn check_found(&self, found: &[Found]) -> Result<(), String> {
        let images: BTreeSet<u64> = self.images.iter().map(|i| i.id).collect();
        for (i, f) in found.iter().enumerate() {
            if !images.contains(&f.image_id) {
                return Err(format!("row {}: image_id {} is not among the annotations' images", i + 1, f.image_id));
            }
            if !f.bbox.iter().all(|v| v.is_finite()) || !f.score.is_finite() {
                return Err(format!("row {}: wanted finite numbers in bbox and score", i + 1));
            }
        }
        Ok(())
    }
}

/// Precision and recall of one class, range of area and number of detections.
#[derive(Clone, Debug)]
struct Curve {
    /// By overlap: precision at each recall; empty when there is no such object.
    precision: Vec<[f64; RECALLS]>,
    /// By overlap.
    recall: Vec<f64>,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Report {
    /// Category ids in order; `curves[class][area][most]`.
    categories: Vec<u64>,
    curves: Vec<Vec<Vec<Option<Curve>>>>,
}

/// The mean; -1 of none, as the reference implementation says it.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0usize, 0.0), |(n, sum), v| (n + 1, sum + v));
    if n == 0 { -1.0 } else { sum / n as f64 }
}

impl Report {
    fn ap(&self, classes: &[usize], overlap: Option<usize>, area: usize) -> f64 {
        let curves = classes.iter().filter_map(|k| self.curves[*k][area][2].as_ref());
        mean(curves.flat_map(|c| {
            let levels = c.precision.iter().enumerate().filter(move |(t, _)| overlap.is_none_or(|o| o == *t));
            levels.flat_map(|(_, p)| p.iter().copied())
        }))
    }

    fn ar(&self, classes: &[usize], area: usize, most: usize) -> f64 {
        let curves = classes.iter().filter_map(|k| self.curves[*k][area][most].as_ref());
        mean(curves.flat_map(|c| c.recall.iter().copied()))
    }

    fn all(&self) -> Vec<usize> {
        (0..self.categories.len()).collect()
    }

    /// The twelve numbers: AP, AP at .5, AP at .75, AP of small, medium and large objects, AR with 1, 10 and 100 detections,
    /// AR of small, medium and large objects. -1 where there is nothing to measure.
    pub fn stats(&self) -> [f64; 12] {
        let k = self.all();
        [
            self.ap(&k, None, 0),
            self.ap(&k, Some(0), 0),
            self.ap(&k, Some(5), 0),
            self.ap(&k, None, 1),
            self.ap(&k, None, 2),
            self.ap(&k, None, 3),
            self.ar(&k, 0, 0),
            self.ar(&k, 0, 1),
            self.ar(&k, 0, 2),
            self.ar(&k, 1, 2),
            self.ar(&k, 2, 2),
            self.ar(&k, 3, 2),
        ]
    }

    /// Names of [`Report::stats`].
    pub const STATS: [&'static str; 12] =
        ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

    /// Category id, AP, AP at .5, AR with 100 detections of each class that is there.
    pub fn classes(&self) -> Vec<(u64, [f64; 3])> {
        let one = |k: usize| [self.ap(&[k], None, 0), self.ap(&[k], Some(0), 0), self.ar(&[k], 0, 2)];
        let rows = self.categories.iter().enumerate().map(|(k, id)| (*id, one(k)));
        rows.filter(|(_, v)| v[0] >= 0.0).collect()
    }

    /// Precision at each recall from 0 to 1, the mean over classes, at overlap .5 plus .05 times `overlap` (0..=9).
    pub fn curve(&self, overlap: usize) -> Vec<f64> {
        let curves: Vec<&Curve> = self.curves.iter().filter_map(|c| c[0][2].as_ref()).collect();
        let at = |r: usize| mean(curves.iter().filter_map(|c| c.precision.get(overlap)).map(|p| p[r]));
        (0..RECALLS).map(at).collect()
    }
}

/// Intersection over union of a detection with an object; over the detection alone for a group.
fn overlap(d: &[f64; 4], g: &[f64; 4], crowd: bool) -> f64 {
    let w = (d[0] + d[2]).min(g[0] + g[2]) - d[0].max(g[0]);
    let h = (d[1] + d[3]).min(g[1] + g[3]) - d[1].max(g[1]);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let both = w * h;
    both / if crowd { d[2] * d[3] } else { d[2] * d[3] + g[2] * g[3] - both }
}

/// One picture, class and range of area: for each detection its score and, by overlap, whether it matched and whether it is
/// left out.
struct Matched {
    scores: Vec<f64>,
    right: Vec<[bool; OVERLAPS]>,
    ignored: Vec<[bool; OVERLAPS]>,
    wanted: usize,
}

fn threshold(t: usize) -> f64 {
    // As NumPy's linspace(.5, .95, 10) has them, whose last is exact.
    if t + 1 == OVERLAPS { 0.95 } else { (0.95 - 0.5) / 9.0 * t as f64 + 0.5 }
}

fn matched(truth: &[&Annotation], found: &[&Found], overlaps: &[Vec<f64>], area: [f64; 2]) -> Matched {
    let outside = |a: f64| a < area[0] || a > area[1];
    let ignore: Vec<bool> = truth.iter().map(|a| a.iscrowd != 0 || outside(a.area)).collect();
    // What counts first: a detection takes an ignored object only where it finds no other.
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by_key(|g| ignore[*g]);
    let (mut right, mut ignored) = (vec![[false; OVERLAPS]; found.len()], vec![[false; OVERLAPS]; found.len()]);
    for t in 0..OVERLAPS {
        let mut taken = vec![false; truth.len()];
        for (d, row) in overlaps.iter().enumerate() {
            let mut least = threshold(t).min(1.0 - 1e-10);
            let mut best: Option<usize> = None;
            for &g in &order {
                if taken[g] && truth[g].iscrowd == 0 {
                    continue;
                }
                if best.is_some_and(|b| !ignore[b] && ignore[g]) {
                    break;
                }
                // A later one of the same overlap wins, as in the reference implementation.
                if row[g] >= least {
                    least = row[g];
                    best = Some(g);
                }
            }
            match best {
                Some(g) => {
                    taken[g] = true;
                    right[d][t] = true;
                    ignored[d][t] = ignore[g];
                }
                None => ignored[d][t] = outside(found[d].bbox[2] * found[d].bbox[3]),
            }
        }
    }
    let wanted = ignore.iter().filter(|i| !**i).count();
    Matched { scores: found.iter().map(|f| f.score).collect(), right, ignored, wanted }
}

/// The curve of one class from its pictures in the order of their ids.
fn accumulate(pictures: &[Matched], most: usize) -> Option<Curve> {
    let wanted: usize = pictures.iter().map(|p| p.wanted).sum();
    if wanted == 0 {
        return None;
    }
    let mut order: Vec<(f64, usize, usize)> = Vec::new();
    for (p, picture) in pictures.iter().enumerate() {
        order.extend(picture.scores.iter().take(most).enumerate().map(|(d, s)| (*s, p, d)));
    }
    // Stable: equal scores stay in the order of the pictures.
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut curve = Curve { precision: Vec::new(), recall: Vec::new() };
    for t in 0..OVERLAPS {
        let (mut right, mut wrong) = (0.0f64, 0.0f64);
        let (mut recalls, mut precisions) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        for &(_, p, d) in &order {
            if !pictures[p].ignored[d][t] {
                if pictures[p].right[d][t] {
                    right += 1.0;
                } else {
                    wrong += 1.0;
                }
            }
            recalls.push(right / wanted as f64);
            precisions.push(right / (right + wrong + f64::EPSILON));
        }
        for i in (1..precisions.len()).rev() {
            precisions[i - 1] = precisions[i - 1].max(precisions[i]);
        }
        let mut line = [0.0; RECALLS];
        for (r, value) in line.iter_mut().enumerate() {
            // As NumPy's linspace(0, 1, 101) has them.
            let at = recalls.partition_point(|v| *v < r as f64 * 0.01);
            *value = precisions.get(at).copied().unwrap_or(0.0);
        }
        curve.precision.push(line);
        curve.recall.push(recalls.last().copied().unwrap_or(0.0));
    }
    Some(curve)
}

/// Compares what was found with what is there. Results of categories that the truth does not have are left out.
pub fn evaluate(truth: &Truth, found: &[Found]) -> Report {
    let mut there: BTreeMap<(u64, u64), Vec<&Annotation>> = BTreeMap::new();
    for a in &truth.annotations {
        there.entry((a.category_id, a.image_id)).or_default().push(a);
    }
    let mut seen: BTreeMap<(u64, u64), Vec<&Found>> = BTreeMap::new();
    for f in found {
        seen.entry((f.category_id, f.image_id)).or_default().push(f);
    }
    let categories: BTreeSet<u64> = truth.categories.iter().map(|c| c.id).collect();
    let images: BTreeSet<u64> = truth.images.iter().map(|i| i.id).collect();
    let categories: Vec<u64> = categories.into_iter().collect();
    let mut curves = Vec::new();
    for &category in &categories {
        let mut by_area: Vec<Vec<Matched>> = AREAS.iter().map(|_| Vec::new()).collect();
        for &image in &images {
            let objects = there.get(&(category, image)).map_or(&[][..], Vec::as_slice);
            let mut boxes: Vec<&Found> = seen.get(&(category, image)).cloned().unwrap_or_default();
            if objects.is_empty() && boxes.is_empty() {
                continue;
            }
            boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
            boxes.truncate(MOST[2]);
            let line = |d: &&Found| objects.iter().map(|g| overlap(&d.bbox, &g.bbox, g.iscrowd != 0)).collect();
            let overlaps: Vec<Vec<f64>> = boxes.iter().map(line).collect();
            for (area, pictures) in AREAS.iter().zip(&mut by_area) {
                pictures.push(matched(objects, &boxes, &overlaps, *area));
            }
        }
        curves.push(by_area.iter().map(|p| MOST.iter().map(|most| accumulate(p, *most)).collect()).collect());
    }
    Report { categories, curves }
}

/// Which kinds are taken for which: for each detection of at least `score` that lies on an object of another kind (overlap of
/// at least .5) better than on any of its own, the pair (there, found); most frequent first.
pub fn confusions(truth: &Truth, found: &[Found], score: f64) -> Vec<((u64, u64), usize)> {
    let mut there: BTreeMap<u64, Vec<&Annotation>> = BTreeMap::new();
    for a in truth.annotations.iter().filter(|a| a.iscrowd == 0) {
        there.entry(a.image_id).or_default().push(a);
    }
    let mut pairs: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for f in found.iter().filter(|f| f.score >= score) {
        let objects = there.get(&f.image_id).map_or(&[][..], Vec::as_slice);
        let near = |own: bool| {
            let of = objects.iter().filter(|a| (a.category_id == f.category_id) == own);
            of.map(|a| (overlap(&f.bbox, &a.bbox, false), a.category_id)).max_by(|a, b| a.0.total_cmp(&b.0))
        };
        if let Some((other, kind)) = near(false)
            && other >= 0.5
            && near(true).is_none_or(|(own, _)| own < 0.5)
        {
            *pairs.entry((kind, f.category_id)).or_default() += 1;
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(pair, n)| (std::cmp::Reverse(*n), *pair));
    pairs
}
