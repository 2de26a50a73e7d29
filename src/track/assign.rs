//! Who belongs to whom: the assignment of rows to columns with the greatest total weight.
//!
//! Only pairs that may match at all are given, as edges. In a real scene they fall into many small groups that share
//! nothing, so each group is solved alone: most hold one pair and need no solver, and the cubic cost of Kuhn-Munkres
//! meets only the crowds. The solver is our own so that its memory is used again from frame to frame; the tests compare it with
//! the crate `pathfinding`.

/// A pair that may match; the weight is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    /// Set while solving.
    group: u32,
    row: u32,
    col: u32,
    weight: i64,
}

/// Buffers that are kept between calls.
#[derive(Debug, Default)]
pub(super) struct Assign {
    edges: Vec<Edge>,
    parent: Vec<u32>,
    rows: Vec<u32>,
    cols: Vec<u32>,
    dense: Dense,
    /// The answer, ordered by row.
    pairs: Vec<(usize, usize)>,
}

/// A small matrix, never with more rows than columns; what is not an edge weighs 0. And what it takes to solve it.
#[derive(Debug, Default)]
struct Dense {
    rows: usize,
    cols: usize,
    data: Vec<i64>,
    /// A row's price and a column's together are never less than the weight where they meet; among those that are matched, they
    /// are that weight.
    row_price: Vec<i64>,
    col_price: Vec<i64>,
    /// The answer: the column of each row, and the row of each column.
    col_of: Vec<Option<usize>>,
    row_of: Vec<Option<usize>>,
    /// Of the tree that is grown from an unmatched row: the columns in it; of the others, how far they are from it, and by which
    /// of its rows.
    reached: Vec<bool>,
    slack: Vec<i64>,
    via: Vec<usize>,
}

impl Dense {
    /// Nothing but zeros.
    fn reset(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        self.data.clear();
        self.data.resize(rows * cols, 0);
    }

    fn at(&self, row: usize, col: usize) -> i64 {
        self.data[row * self.cols + col]
    }

    /// Gives every row a column of its own so that the sum of the weights is greatest (Kuhn-Munkres).
    fn solve(&mut self) {
        let Self { rows, cols, .. } = *self;
        self.row_price.clear();
        self.row_price.extend(self.data.chunks_exact(cols.max(1)).map(|row| row.iter().copied().max().unwrap_or(0)));
        self.col_price.clear();
        self.col_price.resize(cols, 0);
        self.col_of.clear();
        self.col_of.resize(rows, None);
        self.row_of.clear();
        self.row_of.resize(cols, None);
        for root in 0..rows {
            let mut end = self.grow(root);
            // Along the path each row gives up its column for the next: one pair more.
            while let Some(col) = end {
                let row = self.via[col];
                self.row_of[col] = Some(row);
                end = self.col_of[row].replace(col);
            }
        }
    }

    /// Grows a tree from an unmatched row until it reaches an unmatched column.
    fn grow(&mut self, root: usize) -> Option<usize> {
        self.reached.clear();
        self.reached.resize(self.cols, false);
        self.slack.clear();
        self.slack.resize(self.cols, i64::MAX);
        self.via.clear();
        self.via.resize(self.cols, root);
        let mut row = root;
        loop {
            for col in 0..self.cols {
                let slack = self.row_price[row] + self.col_price[col] - self.at(row, col);
                if !self.reached[col] && slack < self.slack[col] {
                    (self.slack[col], self.via[col]) = (slack, row);
                }
            }
            let outside = (0..self.cols).filter(|&col| !self.reached[col]);
            // There are as many columns as rows at least, so one is left.
            let nearest = outside.min_by_key(|&col| self.slack[col])?;
            let step = self.slack[nearest];
            self.row_price[root] -= step;
            for col in 0..self.cols {
                match self.row_of[col] {
                    Some(row) if self.reached[col] => {
                        self.col_price[col] += step;
                        self.row_price[row] -= step;
                    }
                    _ => self.slack[col] -= step,
                }
            }
            self.reached[nearest] = true;
            match self.row_of[nearest] {
                Some(owner) => row = owner,
                None => return Some(nearest),
            }
        }
    }
}

fn root(parent: &mut [u32], mut i: u32) -> u32 {
    while parent[i as usize] != i {
        parent[i as usize] = parent[parent[i as usize] as usize];
        i = parent[i as usize];
    }
    i
}

impl Assign {
    /// Forgets the edges of the last problem.
    pub(super) fn clear(&mut self) {
        self.edges.clear();
    }

    /// `row` and `col` may match; `weight` in 0..=1, greater is better. 0, less or NaN: no edge.
    pub(super) fn edge(&mut self, row: usize, col: usize, weight: f32) {
        // Whole numbers: the solver wants an order, and the sum of them has no rounding that depends on its order.
        let weight = (f64::from(weight.clamp(0.0, 1.0)) * 1e6) as i64;
        if weight > 0 {
            self.edges.push(Edge { group: 0, row: row as u32, col: col as u32, weight });
        }
    }

    /// The best set of edges in which each of `rows` rows and `cols` columns occurs at most once.
    pub(super) fn solve(&mut self, rows: usize, cols: usize) -> &[(usize, usize)] {
        let Self { edges, parent, rows: group_rows, cols: group_cols, dense, pairs } = self;
        pairs.clear();
        parent.clear();
        parent.extend(0..(rows + cols) as u32);
        for e in edges.iter() {
            let (a, b) = (root(parent, e.row), root(parent, rows as u32 + e.col));
            parent[a.max(b) as usize] = a.min(b);
        }
        for e in edges.iter_mut() {
            e.group = root(parent, e.row);
        }
        edges.sort_unstable();
        for group in edges.chunk_by(|a, b| a.group == b.group) {
            if let [only] = group {
                pairs.push((only.row as usize, only.col as usize));
                continue;
            }
            for (list, of) in
                [(&mut *group_rows, (|e: &Edge| e.row) as fn(&Edge) -> u32), (&mut *group_cols, |e| e.col)]
            {
                list.clear();
                list.extend(group.iter().map(of));
                list.sort_unstable();
                list.dedup();
            }
            // The solver wants no more rows than columns.
            let turned = group_rows.len() > group_cols.len();
            let (r, c) = if turned { (&*group_cols, &*group_rows) } else { (&*group_rows, &*group_cols) };
            dense.reset(r.len(), c.len());
            for e in group {
                let (er, ec) = if turned { (e.col, e.row) } else { (e.row, e.col) };
                if let (Ok(i), Ok(j)) = (r.binary_search(&er), c.binary_search(&ec)) {
                    dense.data[i * c.len() + j] = e.weight;
                }
            }
            dense.solve();
            for (i, j) in dense.col_of.iter().enumerate().filter_map(|(i, j)| Some((i, (*j)?))) {
                // A row that fits nowhere was given some column for nothing.
                if dense.at(i, j) > 0 {
                    let (row, col) = if turned { (c[j], r[i]) } else { (r[i], c[j]) };
                    pairs.push((row as usize, col as usize));
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All ways, tried one by one.
    fn best_by_trying(edges: &[(usize, usize, i64)], used_cols: u32, row: usize, rows: usize) -> i64 {
        if row == rows {
            return 0;
        }
        let without = best_by_trying(edges, used_cols, row + 1, rows);
        edges
            .iter()
            .filter(|e| e.0 == row && used_cols & (1 << e.1) == 0)
            .map(|e| e.2 + best_by_trying(edges, used_cols | 1 << e.1, row + 1, rows))
            .fold(without, i64::max)
    }

    #[test]
    fn takes_the_pair_of_pairs_that_is_better_together() {
        let mut a = Assign::default();
        for (r, c, w) in [(0, 0, 0.9), (0, 1, 0.8), (1, 0, 0.8)] {
            a.edge(r, c, w);
        }
        assert_eq!(a.solve(2, 2), [(0, 1), (1, 0)]);
        a.clear();
        assert!(a.solve(3, 0).is_empty());
        assert!(a.solve(0, 0).is_empty());
    }

    #[test]
    fn no_weight_is_no_edge() {
        let mut a = Assign::default();
        a.edge(0, 0, f32::NAN);
        a.edge(0, 1, 0.0);
        a.edge(1, 0, -1.0);
        assert!(a.solve(2, 2).is_empty());
    }

    proptest! {
        /// Ties too: they are few weights for many pairs.
        #[test]
        fn as_the_crate_of_that_name(weights in prop::collection::vec(0_i64..12, 1..400), rows in 1_usize..12) {
            let rows = (1..=rows).rev().find(|r| weights.len() / r >= *r).unwrap_or(1);
            let cols = weights.len() / rows;
            let mut dense = Dense::default();
            for turn in 0..2 {
                // The second time in memory that was used.
                dense.reset(rows, cols);
                dense.data.copy_from_slice(&weights[..rows * cols]);
                dense.data.iter_mut().for_each(|w| *w *= 1 + turn);
                dense.solve();
                let matrix = pathfinding::matrix::Matrix::from_vec(rows, cols, dense.data.clone()).expect("as many");
                let (total, chosen) = pathfinding::kuhn_munkres::kuhn_munkres(&matrix);
                let ours: Vec<_> = dense.col_of.iter().map(|c| c.expect("every row has one")).collect();
                prop_assert_eq!(ours.iter().enumerate().map(|(r, c)| dense.at(r, *c)).sum::<i64>(), total);
                prop_assert_eq!(ours, chosen);
            }
        }

        #[test]
        fn as_good_as_trying_all(weights in prop::collection::vec(prop::option::of(1_u32..1000), 30), rows in 1_usize..6) {
            let cols = 30 / rows;
            let mut a = Assign::default();
            let mut edges = Vec::new();
            for (i, w) in weights.iter().take(rows * cols).enumerate() {
                if let Some(w) = w {
                    let (r, c) = (i / cols, i % cols);
                    a.edge(r, c, *w as f32 / 1000.0);
                    edges.push((r, c, (f64::from(*w as f32 / 1000.0) * 1e6) as i64));
                }
            }
            let pairs = a.solve(rows, cols).to_vec();
            let total: i64 = pairs.iter().map(|p| edges.iter().find(|e| (e.0, e.1) == *p).map_or(i64::MIN, |e| e.2)).sum();
            prop_assert_eq!(total, best_by_trying(&edges, 0, 0, rows));
            let mut seen_cols: Vec<_> = pairs.iter().map(|p| p.1).collect();
            seen_cols.sort_unstable();
            seen_cols.dedup();
            prop_assert_eq!(seen_cols.len(), pairs.len());
        }
    }
}
