//! Small dense systems of linear equations.

/// Relative size below which a pivot counts as zero.
const SINGULAR: f64 = 1e-13;

/// Solves `matrix x = right` by Gaussian elimination with row exchange; `None` where the matrix is
/// singular. The matrix must be square and of the right side's size.
pub fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    let largest = matrix.iter().flatten().fold(0.0f64, |most, v| most.max(v.abs()));
    for at in 0..size {
        let size_of = |row: &usize| matrix[*row][at].abs();
        let pivot = (at..size).max_by(|a, b| size_of(a).total_cmp(&size_of(b)))?;
        if size_of(&pivot) <= SINGULAR * largest {
            return None;
        }
        matrix.swap(at, pivot);
        right.swap(at, pivot);
        for row in at + 1..size {
            let factor = matrix[row][at] / matrix[at][at];
            let (above, below) = matrix.split_at_mut(row);
            below[0].iter_mut().zip(&above[at]).for_each(|(x, p)| *x -= factor * p);
            right[row] -= factor * right[at];
        }
    }
    for at in (0..size).rev() {
        let known: f64 = (at + 1..size).map(|j| matrix[at][j] * right[j]).sum();
        right[at] = (right[at] - known) / matrix[at][at];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_system_that_needs_row_exchange_and_one_that_has_no_solution() {
        let matrix = vec![vec![0.0, 2.0, 1.0], vec![1.0, -1.0, 0.0], vec![3.0, 0.0, -2.0]];
        // x = (1, 2, 3)
        let found = solve(matrix, vec![7.0, -1.0, -3.0]).unwrap();
        assert!(found.iter().zip([1.0, 2.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(solve(vec![vec![1.0, 2.0], vec![2.0, 4.0]], vec![1.0, 2.0]), None);
    }
}
