//! MGDA: the shortest combination (Désidéri 2012; Sener & Koltun 2018, "Multi-Task Learning as
//! Multi-Objective Optimization", equation 3).

use super::{Gram, simplex};

/// The weights of the simplex whose combination of gradients is the shortest. Its negative is a
/// direction in which no loss rises: `<g, g_k> >= |g|^2` for every task k. It vanishes only where the
/// weights are Pareto stationary, as they are where a task's gradient is zero.
///
/// Exact, where the paper's algorithm 2 approaches the same point by Frank-Wolfe steps.
#[must_use]
pub fn weights(gram: &Gram) -> Vec<f64> {
    simplex::least(gram, &vec![0.0; gram.len()])
}

/// The same for unit vectors along the gradients, so that the shortest gradient does not take all
/// the weight; as coefficients of the gradients. Tasks whose gradient is zero take no part.
#[must_use]
pub fn weights_of_directions(gram: &Gram) -> Vec<f64> {
    gram.by_direction(weights)
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, any_independent, assert_close};
    use super::super::gram::tests::{ignores_a_zero_gradient, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_task_loses_by_the_shortest_combination(rows in any_gradients()) {
            let gram = of_rows(&rows);
            let found = weights(&gram);
            let shortest = gram.length(&found).powi(2);
            let largest = gram.norms().iter().fold(0.0f64, |most, n| most.max(*n));
            let rounding = 1e-9 * largest * largest;
            for (k, inner) in gram.times(&found).iter().enumerate() {
                prop_assert!(*inner >= shortest - rounding, "{k}: {inner} {shortest}");
                // Complementary slackness: those that take part are reached with equality.
                prop_assert!(found[k] < 1e-6 || (inner - shortest).abs() <= 1e-6 * largest * largest);
            }
            for other in 0..gram.len() {
                let mut vertex = vec![0.0; gram.len()];
                vertex[other] = 1.0;
                prop_assert!(gram.length(&found) <= gram.length(&vertex) * (1.0 + 1e-9));
            }
        }

        #[test]
        fn directions_do_not_feel_the_lengths(gram in any_independent(), by in 0.1..10.0f64) {
            let mut factors = vec![1.0; gram.len()];
            factors[0] = by;
            let other = weights_of_directions(&gram.scaled(&factors));
            let back: Vec<f64> = other.iter().zip(&factors).map(|(w, f)| w * f).collect();
            assert_close(&back, &weights_of_directions(&gram), 1e-6);
            ignores_a_zero_gradient(&gram, weights_of_directions);
        }
    }

    #[test]
    fn a_zero_gradient_is_the_shortest_combination() {
        let gram = of_rows(&[vec![1.0, 2.0], vec![0.0, 0.0]]);
        assert_eq!(weights(&gram), [0.0, 1.0]);
        assert_eq!(weights(&of_rows(&[vec![0.0], vec![0.0]])), [0.5, 0.5]);
    }
}
