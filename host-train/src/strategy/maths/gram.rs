//! Inner products of the tasks' gradients.

use std::ops::Index;

/// The symmetric, positive semidefinite matrix of `<g_i, g_j>`, one row a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    tasks: usize,
    values: Vec<f64>,
}

impl Gram {
    /// Asks `inner` for each product once.
    ///
    /// # Errors
    /// The first of `inner`'s.
    pub fn try_new<E>(
        tasks: usize,
        mut inner: impl FnMut(usize, usize) -> Result<f64, E>,
    ) -> Result<Self, E> {
        let mut values = vec![0.0; tasks * tasks];
        for i in 0..tasks {
            for j in i..tasks {
                let product = inner(i, j)?;
                values[i * tasks + j] = product;
                values[j * tasks + i] = product;
            }
        }
        Ok(Self { tasks, values })
    }

    /// As [`Gram::try_new`], where nothing can fail.
    #[must_use]
    pub fn new(tasks: usize, mut inner: impl FnMut(usize, usize) -> f64) -> Self {
        let product = |i, j| Ok::<_, std::convert::Infallible>(inner(i, j));
        match Self::try_new(tasks, product) {
            Ok(gram) => gram,
            Err(never) => match never {},
        }
    }

    /// Number of tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks
    }

    /// Whether there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks == 0
    }

    /// `|g_i|`.
    #[must_use]
    pub fn norm(&self, i: usize) -> f64 {
        self[(i, i)].sqrt()
    }

    /// `|g_i|` of every task.
    #[must_use]
    pub fn norms(&self) -> Vec<f64> {
        (0..self.tasks).map(|i| self.norm(i)).collect()
    }

    /// Inner product of every task's gradient with the combination `sum_j weights_j g_j`.
    #[must_use]
    pub fn times(&self, weights: &[f64]) -> Vec<f64> {
        let row = |i| weights.iter().enumerate().map(|(j, w)| self[(i, j)] * w).sum();
        (0..self.tasks).map(row).collect()
    }

    /// Length of the combination `sum_j weights_j g_j`.
    #[must_use]
    pub fn length(&self, weights: &[f64]) -> f64 {
        let square: f64 = self.times(weights).iter().zip(weights).map(|(a, b)| a * b).sum();
        // Rounding can leave a combination that vanishes slightly below zero.
        square.max(0.0).sqrt()
    }

    /// The products of the gradients `factors_i g_i`.
    #[must_use]
    pub fn scaled(&self, factors: &[f64]) -> Self {
        Self::new(self.tasks, |i, j| factors[i] * self[(i, j)] * factors[j])
    }

    /// The products of the tasks in `kept` alone.
    #[must_use]
    pub fn part(&self, kept: &[usize]) -> Self {
        Self::new(kept.len(), |i, j| self[(kept[i], kept[j])])
    }

    /// Runs `method` on the unit vectors along the gradients that are not zero, and gives back its
    /// weights as coefficients of the gradients themselves: 0 for a task whose gradient is zero.
    pub(super) fn by_direction(&self, method: impl FnOnce(&Self) -> Vec<f64>) -> Vec<f64> {
        let alive: Vec<usize> = (0..self.tasks).filter(|&i| self[(i, i)] > 0.0).collect();
        let inverse: Vec<f64> = alive.iter().map(|&i| 1.0 / self.norm(i)).collect();
        let found = method(&self.part(&alive).scaled(&inverse));
        let mut weights = vec![0.0; self.tasks];
        for ((&i, weight), inverse) in alive.iter().zip(found).zip(inverse) {
            weights[i] = weight * inverse;
        }
        weights
    }
}

impl Index<(usize, usize)> for Gram {
    type Output = f64;

    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.values[i * self.tasks + j]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The matrix of gradients given as rows.
    pub fn of_rows(rows: &[Vec<f64>]) -> Gram {
        let product = |i: usize, j: usize| rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum();
        Gram::new(rows.len(), product)
    }

    /// Two to four gradients of eight numbers, whose lengths differ by up to a thousand.
    pub fn any_gradients() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let row = (prop::collection::vec(-1.0..1.0f64, 8), -1.5..1.5f64).prop_map(|(row, size)| {
            row.into_iter().map(|x| x * 10f64.powf(size)).collect::<Vec<_>>()
        });
        prop::collection::vec(row, 2..=4)
    }

    /// As [`any_gradients`], far enough from linear dependence for closed forms to be compared to
    /// many digits.
    pub fn any_independent() -> impl Strategy<Value = Gram> {
        any_gradients().prop_map(|rows| of_rows(&rows)).prop_filter("nearly dependent", |gram| {
            let unit = gram.scaled(&gram.norms().iter().map(|n| 1.0 / n).collect::<Vec<_>>());
            gram.norms().iter().all(|n| *n > 1e-3)
                && super::super::eigen::decompose(&unit).iter().all(|(value, _)| *value > 1e-2)
        })
    }

    /// `weights` of `gram` and of `gram` with a task of zero gradient put before it: that task takes
    /// what it likes so long as it is finite, and the others take the same.
    pub fn ignores_a_zero_gradient(gram: &Gram, weights: impl Fn(&Gram) -> Vec<f64>) {
        let zero = |i: usize| i.checked_sub(1);
        let with = Gram::new(gram.len() + 1, |i, j| match (zero(i), zero(j)) {
            (Some(i), Some(j)) => gram[(i, j)],
            _ => 0.0,
        });
        let (with, without) = (weights(&with), weights(gram));
        assert!(with.iter().all(|weight| weight.is_finite()), "{with:?}");
        assert_close(&with[1..], &without, 1e-9);
    }

    /// Equal to within `tolerance` of the largest.
    pub fn assert_close(found: &[f64], wanted: &[f64], tolerance: f64) {
        assert_eq!(found.len(), wanted.len());
        let scale = wanted.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        for (a, b) in found.iter().zip(wanted) {
            assert!((a - b).abs() <= tolerance * scale, "{found:?} is not {wanted:?}");
        }
    }

    proptest! {
        #[test]
        fn products_with_a_combination_are_those_of_the_vectors(rows in any_gradients()) {
            let weights: Vec<f64> = (0..rows.len()).map(|i| i as f64 - 0.7).collect();
            let mut sum = vec![0.0; 8];
            for (row, w) in rows.iter().zip(&weights) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += w * x);
            }
            let dot = |row: &Vec<f64>| row.iter().zip(&sum).map(|(a, b)| a * b).sum::<f64>();
            let gram = of_rows(&rows);
            assert_close(&gram.times(&weights), &rows.iter().map(dot).collect::<Vec<_>>(), 1e-9);
            assert_close(&[gram.length(&weights)], &[dot(&sum).sqrt()], 1e-6);
        }
    }
}
