//! The best one-to-one assignment of rows to columns (Kuhn's Hungarian method with potentials, after Jonker and Volgenant,
//! 1987), in `f64`, for measures that are compared with others to the last digit.

/// For each row the column that it gets, so that the sum of `gain` (finite) is greatest; `None` for rows that get none because
/// there are more rows than columns. `gain` is called with (row, column).
pub fn best(rows: usize, columns: usize, gain: impl Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    if rows > columns {
        let mut out = vec![None; rows];
        for (column, row) in wide(columns, rows, &|c, r| gain(r, c)).into_iter().enumerate() {
            if let Some(row) = row {
                out[row] = Some(column);
            }
        }
        return out;
    }
    wide(rows, columns, &gain)
}

/// The same with no more rows than columns.
fn wide(rows: usize, columns: usize, gain: &dyn Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    // 0 stands for nothing; rows and columns count from 1.
    let (mut u, mut v) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let (mut held, mut way) = (vec![0; columns + 1], vec![0; columns + 1]);
    for row in 1..=rows {
        held[0] = row;
        let mut at = 0;
        let (mut least, mut used) = (vec![f64::INFINITY; columns + 1], vec![false; columns + 1]);
        while held[at] != 0 {
            used[at] = true;
            let (from, mut delta, mut next) = (held[at], f64::INFINITY, 0);
            for column in 1..=columns {
                if used[column] {
                    continue;
                }
                let cost = -gain(from - 1, column - 1) - u[from] - v[column];
                if cost < least[column] {
                    least[column] = cost;
                    way[column] = at;
                }
                if least[column] < delta {
                    delta = least[column];
                    next = column;
                }
            }
            if next == 0 {
                // Only where a gain is not finite: leave the row without a column.
                break;
            }
            for column in 0..=columns {
                if used[column] {
                    u[held[column]] += delta;
                    v[column] -= delta;
                } else {
                    least[column] -= delta;
                }
            }
            at = next;
        }
        while at != 0 {
            held[at] = held[way[at]];
            at = way[at];
        }
    }
    let mut out = vec![None; rows];
    for column in 1..=columns {
        if held[column] > 0 {
            out[held[column] - 1] = Some(column - 1);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn it_is_the_best_of_all_permutations() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 24)
        };
        for _ in 0..50 {
            let gains: Vec<Vec<f64>> = (0..4).map(|_| (0..4).map(|_| next()).collect()).collect();
            let mut most = 0.0f64;
            for a in 0..4 {
                for b in (0..4).filter(|b| *b != a) {
                    for c in (0..4).filter(|c| *c != a && *c != b) {
                        most = most.max(gains[0][a] + gains[1][b] + gains[2][c] + gains[3][6 - a - b - c]);
                    }
                }
            }
            let sum: f64 =
                best(4, 4, |r, c| gains[r][c]).iter().enumerate().map(|(r, c)| gains[r][c.expect("one")]).sum();
            assert_eq!(sum, most);
        }
    }

    #[test]
    fn more_rows_than_columns_leave_some_without() {
        assert_eq!(best(3, 1, |r, _| [1.0, 5.0, 2.0][r]), [None, Some(0), None]);
        assert_eq!(best(1, 3, |_, c| [1.0, 5.0, 2.0][c]), [Some(1)]);
        assert!(best(0, 3, |_, _| 0.0).is_empty());
        assert_eq!(best(2, 0, |_, _| 0.0), [None, None]);
    }
}
