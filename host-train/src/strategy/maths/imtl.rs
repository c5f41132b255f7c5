//! IMTL-G: a direction that no task's gradient is nearer to than another's (Liu et al. 2021, "Towards
//! Impartial Multi-task Learning").

use super::{Gram, eigen};

/// Eigenvalue of unit vectors' products below which their combination counts as zero.
const DEPENDENT: f64 = 1e-10;

/// The weights, of sum 1, whose combination `g` has the same projection `<g, g_k / |g_k|>` on every
/// task's direction (the paper's section 3.1). Weights can be negative. Where gradients are linearly
/// dependent the least-squares solution is taken; where they cancel entirely all weights are 0.
///
/// The sum of the weights that solve the equations can itself be zero or negative. Scaled to 1 they
/// would then explode, or climb every loss, so they are scaled to a sum of *absolute values* of 1:
/// the projections stay equal and positive. Tasks whose gradient is zero take no part.
#[must_use]
pub fn weights(gram: &Gram) -> Vec<f64> {
    let equal = gram.by_direction(|unit| {
        let parts = eigen::decompose(unit);
        let solid = parts.iter().filter(|(value, _)| *value > DEPENDENT);
        let mut solution = vec![0.0; unit.len()];
        for (value, vector) in solid {
            let along = vector.iter().sum::<f64>() / value;
            solution.iter_mut().zip(vector).for_each(|(x, v)| *x += along * v);
        }
        solution
    });
    let sum: f64 = equal.iter().sum();
    let size: f64 = equal.iter().map(|w| w.abs()).sum();
    let scale = if sum > 1e-3 * size { sum } else { size };
    if scale > 0.0 { equal.iter().map(|w| w / scale).collect() } else { equal }
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_independent, assert_close};
    use super::super::gram::tests::{ignores_a_zero_gradient, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn projections_on_all_directions_are_equal_and_positive(gram in any_independent()) {
            let found = weights(&gram);
            let inner = gram.times(&found);
            let projections: Vec<f64> =
                inner.iter().zip(gram.norms()).map(|(inner, norm)| inner / norm).collect();
            prop_assert!(projections[0] > 0.0);
            assert_close(&projections, &vec![projections[0]; gram.len()], 1e-8);
            let (sum, size) =
                (found.iter().sum::<f64>(), found.iter().map(|w| w.abs()).sum::<f64>());
            prop_assert!((sum - 1.0).abs() < 1e-9 || (size - 1.0).abs() < 1e-9);
            ignores_a_zero_gradient(&gram, weights);
        }

        /// Lengths change the sum that is scaled to 1, not the direction.
        #[test]
        fn the_direction_does_not_feel_the_lengths(gram in any_independent(), by in 0.1..10.0f64) {
            let mut factors = vec![1.0; gram.len()];
            factors[0] = by;
            let other = weights(&gram.scaled(&factors));
            let back: Vec<f64> = other.iter().zip(&factors).map(|(w, f)| w * f).collect();
            let unit = |w: &[f64]| w.iter().map(|x| x / gram.length(w)).collect::<Vec<_>>();
            assert_close(&unit(&back), &unit(&weights(&gram)), 1e-7);
        }
    }

    #[test]
    fn parallel_gradients_share_and_opposite_ones_cancel() {
        assert_close(&weights(&of_rows(&[vec![1.0, 1.0], vec![1.0, 1.0]])), &[0.5, 0.5], 1e-9);
        let opposite = weights(&of_rows(&[vec![1.0, 0.0], vec![-1.0, 0.0]]));
        assert!(opposite.iter().all(|w| w.abs() < 1e-9), "{opposite:?}");
        assert_eq!(weights(&of_rows(&[vec![0.0], vec![0.0]])), [0.0, 0.0]);
    }
}
