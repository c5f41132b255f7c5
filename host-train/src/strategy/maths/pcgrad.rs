//! PCGrad: gradient surgery (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning").

use super::Gram;

/// Algorithm 1: each task's gradient is projected, one after the other in the order `orders` gives
/// for it, onto the normal plane of every other task's gradient that it conflicts with at that
/// moment; the results are summed. Returns the coefficients of the original gradients in that sum.
///
/// A projection against `g_j` leaves an inner product of exactly zero with `g_j`, but later ones may
/// spoil it again: only the last task of the order is certain not to be in conflict with the result.
/// With two tasks each has one other, so the sum conflicts with neither.
#[must_use]
pub fn weights(gram: &Gram, orders: &[Vec<usize>]) -> Vec<f64> {
    let mut sum = vec![0.0; gram.len()];
    for (task, order) in orders.iter().enumerate() {
        let own = project(gram, task, order);
        sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    sum
}

/// The coefficients of `task`'s own gradient after the projections.
fn project(gram: &Gram, task: usize, order: &[usize]) -> Vec<f64> {
    let mut own = vec![0.0; gram.len()];
    own[task] = 1.0;
    for &other in order.iter().filter(|other| **other != task) {
        let inner = gram.times(&own)[other];
        if inner < 0.0 && gram[(other, other)] > 0.0 {
            own[other] -= inner / gram[(other, other)];
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, assert_close, of_rows};
    use super::*;
    use proptest::prelude::*;

    fn all_in_order(tasks: usize) -> Vec<Vec<usize>> {
        (0..tasks).map(|_| (0..tasks).collect()).collect()
    }

    proptest! {
        #[test]
        fn the_last_task_projected_against_is_not_in_conflict(
            rows in any_gradients(),
            order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
        ) {
            let gram = of_rows(&rows);
            let order: Vec<usize> = order.into_iter().filter(|i| *i < gram.len()).collect();
            for task in 0..gram.len() {
                let own = project(&gram, task, &order);
                let last = order.iter().rev().find(|other| **other != task).copied().unwrap_or(0);
                let scale = gram.norm(last) * gram.length(&own);
                prop_assert!(gram.times(&own)[last] >= -1e-9 * scale);
            }
        }

        #[test]
        fn two_tasks_end_in_conflict_with_neither(rows in any_gradients()) {
            let gram = of_rows(&rows[..2]);
            let found = weights(&gram, &all_in_order(2));
            for (inner, norm) in gram.times(&found).iter().zip(gram.norms()) {
                prop_assert!(*inner >= -1e-9 * norm * gram.length(&found));
            }
        }

        #[test]
        fn without_conflict_it_is_the_plain_sum(rows in any_gradients()) {
            let rows: Vec<Vec<f64>> =
                rows.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect();
            let gram = of_rows(&rows);
            prop_assert_eq!(weights(&gram, &all_in_order(gram.len())), vec![1.0; gram.len()]);
        }

        /// The length of one gradient alone does not change the projections against it.
        #[test]
        fn a_longer_other_gradient_projects_the_same(rows in any_gradients(), by in 0.1..10.0f64) {
            let gram = of_rows(&rows);
            let mut factors = vec![1.0; gram.len()];
            factors[1] = by;
            let order: Vec<usize> = (0..gram.len()).collect();
            let (one, other) =
                (project(&gram, 0, &order), project(&gram.scaled(&factors), 0, &order));
            let other: Vec<f64> = other.iter().zip(&factors).map(|(c, f)| c * f).collect();
            assert_close(&one, &other, 1e-6);
        }
    }

    #[test]
    fn a_zero_gradient_is_not_projected_against() {
        let gram = of_rows(&[vec![0.0, 0.0], vec![1.0, 0.0], vec![-1.0, 1.0]]);
        assert!(weights(&gram, &all_in_order(3)).iter().all(|w| w.is_finite()));
    }
}
