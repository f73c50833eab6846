//! Which rows go to which columns so that the sum of their scores is largest (Kuhn 1955; the potentials of Jonker and
//! Volgenant 1987).

/// For every row of a rectangular table its column, or `None` where there are more rows than columns. Every row of
/// `scores` has `columns` entries.
pub(super) fn best_assignment(scores: &[Vec<f64>], columns: usize) -> Vec<Option<usize>> {
    let rows = scores.len();
    // The method wants at least as many columns as rows: added columns cost nothing and mean `None`.
    let width = rows.max(columns);
    let cost = |row: usize, column: usize| if column < columns { -scores[row][column] } else { 0.0 };
    let (mut row_potential, mut column_potential) = (vec![0.0; rows + 1], vec![0.0; width + 1]);
    // Column 0 is the place of the row that is being added; row numbers are one higher, 0 for nobody.
    let mut row_of = vec![0; width + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let (mut slack, mut seen, mut way) =
            (vec![f64::INFINITY; width + 1], vec![false; width + 1], vec![0; width + 1]);
        let mut column = 0;
        loop {
            seen[column] = true;
            let owner = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for candidate in (1..=width).filter(|&c| !seen[c]) {
                let reduced = cost(owner - 1, candidate - 1) - row_potential[owner] - column_potential[candidate];
                if reduced < slack[candidate] {
                    slack[candidate] = reduced;
                    way[candidate] = column;
                }
                if slack[candidate] < step {
                    step = slack[candidate];
                    next = candidate;
                }
            }
            for candidate in 0..=width {
                if seen[candidate] {
                    row_potential[row_of[candidate]] += step;
                    column_potential[candidate] -= step;
                } else {
                    slack[candidate] -= step;
                }
            }
            column = next;
            if row_of[column] == 0 {
                break;
            }
        }
        while column != 0 {
            row_of[column] = row_of[way[column]];
            column = way[column];
        }
    }
    let mut found = vec![None; rows];
    for column in 1..=columns {
        if row_of[column] > 0 {
            found[row_of[column] - 1] = Some(column - 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::python_random::PythonRandom;

    fn total(scores: &[Vec<f64>], chosen: &[Option<usize>]) -> f64 {
        chosen.iter().enumerate().filter_map(|(row, column)| Some(scores[row][(*column)?])).sum()
    }

    /// The best sum over all ways to give rows from `row` on a free column or none.
    fn by_trying(scores: &[Vec<f64>], row: usize, used: &mut Vec<bool>) -> f64 {
        if row == scores.len() {
            return 0.0;
        }
        let mut best = by_trying(scores, row + 1, used);
        for column in 0..used.len() {
            if !used[column] {
                used[column] = true;
                best = best.max(scores[row][column] + by_trying(scores, row + 1, used));
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn no_other_assignment_is_better() {
        let mut rng = PythonRandom::new(3);
        for round in 0..200 {
            let (rows, columns) = (round % 5 + 1, round / 5 % 6);
            let scores: Vec<Vec<f64>> =
                (0..rows).map(|_| (0..columns).map(|_| (rng.random() * 4.0).floor()).collect()).collect();
            let chosen = best_assignment(&scores, columns);
            let mut taken: Vec<usize> = chosen.iter().flatten().copied().collect();
            assert_eq!(taken.len(), rows.min(columns));
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), rows.min(columns), "a column was given twice");
            assert_eq!(total(&scores, &chosen), by_trying(&scores, 0, &mut vec![false; columns]), "{scores:?}");
        }
    }
}
