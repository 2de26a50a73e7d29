//! Suppression of boxes that mean the same object. Pure.

use std::cmp::Reverse;

use crate::detection::Score;
use crate::geom::{Box2, FramePx, Region, Size};

/// What suppression needs to know of a box.
pub trait Scored {
    /// Where.
    fn bbox(&self) -> Box2<FramePx>;
    /// How sure.
    fn score(&self) -> Score;
    /// Boxes of different classes do not suppress each other.
    fn class(&self) -> u16;
}

impl Scored for super::family::Candidate {
    fn bbox(&self) -> Box2<FramePx> {
        self.bbox
    }
    fn score(&self) -> Score {
        self.score
    }
    fn class(&self) -> u16 {
        self.column
    }
}

impl Scored for crate::detection::Detection {
    fn bbox(&self) -> Box2<FramePx> {
        self.bbox
    }
    fn score(&self) -> Score {
        self.score
    }
    fn class(&self) -> u16 {
        self.class.0
    }
}

/// At most this many candidates go into suppression, the best ones: a hostile picture or model cannot make it quadratic
/// in a million boxes. OpenCV's face detector has the same limit (`top_k` 5000).
const MAX_CANDIDATES: usize = 5000;

/// Puts boxes in order. Equal ones stay as they came, so that the result does not depend on the sort; the standard library's sort
/// that does that takes new memory for each longer list, this one keeps its own.
#[derive(Clone, Debug, Default)]
pub struct Order(Vec<(bool, Reverse<Score>, u32)>);

impl Order {
    /// What `last` says false of first, and among those the best first.
    fn sort<T: Copy>(&mut self, boxes: &mut [T], last: impl Fn(&T) -> bool, score: impl Fn(&T) -> Score) {
        let Self(keys) = self;
        keys.clear();
        keys.extend((0..).zip(&*boxes).map(|(i, b)| (last(b), Reverse(score(b)), i)));
        // No two are equal: each has its place.
        keys.sort_unstable();
        for start in 0..boxes.len() {
            // Round the circle of places that change: each gets what belongs there, and points at itself then.
            let (first, mut at) = (boxes[start], start);
            loop {
                let from = std::mem::replace(&mut keys[at].2, at as u32) as usize;
                if from == start {
                    boxes[at] = first;
                    break;
                }
                boxes[at] = boxes[from];
                at = from;
            }
        }
    }
}

/// Keeps, class by class, the best box of each group that overlaps by more than `iou`. The result is ordered best first.
pub fn suppress<T: Scored + Copy>(boxes: &mut Vec<T>, iou: f32, order: &mut Order) {
    order.sort(boxes, |_| false, T::score);
    boxes.truncate(MAX_CANDIDATES);
    keep_unless(boxes, |kept, candidate| kept.class() == candidate.class() && kept.bbox().iou(candidate.bbox()) > iou);
}

/// Removes each box for which an earlier, kept one says so.
fn keep_unless<T>(boxes: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    let mut kept = 0;
    for i in 0..boxes.len() {
        if !boxes[..kept].iter().any(|k| same(k, &boxes[i])) {
            boxes.swap(kept, i);
            kept += 1;
        }
    }
    boxes.truncate(kept);
}

/// Merges what overlapping regions of one frame saw. Besides plain suppression, a box that is cut by the edge of its region
/// (but not of the frame) is a fragment: it gives way to any box of its class that holds most of it, whatever the scores.
///
/// `seen_in[i]` is the region that `boxes[i]` came from.
pub fn merge_regions<T: Scored + Copy>(boxes: &mut Vec<(T, Region)>, frame: Size, iou: f32, order: &mut Order) {
    /// A box this much inside another one of its class is a part of the same object.
    const PART: f32 = 0.7;
    let cut = |(b, region): &(T, Region)| cut_by_region(b.bbox(), *region, frame);
    // Whole ones first, fragments behind them; each group best first.
    order.sort(boxes, cut, |(b, _)| b.score());
    boxes.truncate(MAX_CANDIDATES);
    keep_unless(boxes, |kept, candidate| {
        if kept.0.class() != candidate.0.class() {
            return false;
        }
        let (k, c) = (kept.0.bbox(), candidate.0.bbox());
        let fragment = kept.1 != candidate.1 && cut(candidate);
        k.iou(c) > iou || (fragment && c.covered_by(k) > PART)
    });
    order.sort(boxes, |_| false, |(b, _)| b.score());
}

/// True when the box touches an edge of its region that is not an edge of the frame.
fn cut_by_region(bbox: Box2<FramePx>, region: Region, frame: Size) -> bool {
    let r = region.bounds();
    let f = frame.bounds();
    // 2 % of the region, because a detector's box ends near the edge, not on it.
    let near = 0.02 * r.width().max(r.height());
    (r.x0 > f.x0 && bbox.x0 < r.x0 + near)
        || (r.y0 > f.y0 && bbox.y0 < r.y0 + near)
        || (r.x1 < f.x1 && bbox.x1 > r.x1 - near)
        || (r.y1 < f.y1 && bbox.y1 > r.y1 - near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{ClassId, Detection};

    fn det(class: u16, score: f32, xywh: [f32; 4]) -> Detection {
        Detection {
            bbox: Box2::from_xywh(xywh[0], xywh[1], xywh[2], xywh[3]),
            class: ClassId(class),
            score: Score::new(score).unwrap_or_default(),
            landmarks: None,
        }
    }

    #[test]
    fn the_best_of_a_group_stays() {
        let mut v =
            vec![det(0, 0.5, [0., 0., 10., 10.]), det(0, 0.9, [1., 0., 10., 10.]), det(0, 0.4, [50., 0., 10., 10.])];
        suppress(&mut v, 0.5, &mut Order::default());
        assert_eq!(v.iter().map(|d| d.score.get()).collect::<Vec<_>>(), [0.9, 0.4]);
    }

    proptest::proptest! {
        /// As the standard library's, ties and all.
        #[test]
        fn the_order_is_a_stable_sorts(keys in proptest::collection::vec((proptest::bool::ANY, 0u8..6), 0..200)) {
            let mut list: Vec<_> = keys.iter().copied().enumerate().collect();
            let score = |(_, (_, s)): &(usize, (bool, u8))| Score::new(f32::from(*s) / 10.0).unwrap_or_default();
            let mut wanted = list.clone();
            wanted.sort_by_key(|one| (one.1.0, Reverse(score(one))));
            let mut order = Order::default();
            for _ in 0..2 {
                order.sort(&mut list, |one| one.1.0, score);
                proptest::prop_assert_eq!(&list, &wanted);
            }
        }
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let mut v = vec![det(0, 0.5, [0., 0., 10., 10.]), det(1, 0.9, [0., 0., 10., 10.])];
        suppress(&mut v, 0.5, &mut Order::default());
        assert_eq!(v.len(), 2);
    }

    #[test]
    fn a_fragment_gives_way_to_the_whole_even_with_a_better_score() {
        let frame = Size::new(1000, 1000);
        let whole = Region::whole(frame);
        let crop = Region { x: 300, y: 300, size: Size::new(300, 300) };
        // A person 200 wide in the frame; the crop begins in the middle of it.
        let mut v =
            vec![(det(0, 0.95, [300., 350., 100., 200.]), crop), (det(0, 0.6, [200., 340., 200., 220.]), whole)];
        merge_regions(&mut v, frame, 0.55, &mut Order::default());
        assert_eq!(v.len(), 1);
        assert_eq!(v[0].0.bbox.x0, 200.0);
    }

    #[test]
    fn a_child_before_a_grown_up_is_not_a_fragment() {
        let frame = Size::new(1000, 1000);
        let whole = Region::whole(frame);
        let mut v =
            vec![(det(0, 0.95, [200., 100., 300., 800.]), whole), (det(0, 0.6, [300., 500., 100., 300.]), whole)];
        merge_regions(&mut v, frame, 0.55, &mut Order::default());
        assert_eq!(v.len(), 2);
    }
}
