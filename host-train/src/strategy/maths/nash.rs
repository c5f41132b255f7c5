//! Nash-MTL: the bargaining solution (Navon et al. 2022, "Multi-Task Learning as a Bargaining Game").

use super::{Gram, linear};

/// Added to the diagonal of the unit vectors' products: where some combination of the tasks vanishes
/// the bargaining solution is infinitely long, and this keeps it finite.
const RIDGE: f64 = 1e-10;
const ITERATIONS: usize = 200;
/// Newton decrement at which the solution has all its digits.
const SOLVED: f64 = 1e-12;

/// The positive weights with `G a = 1 / a` (claim 3.1 of the paper): the product of the tasks' gains
/// `<g, g_k>` is the greatest in a ball. They do not depend on the lengths of the gradients beyond
/// `a_k ~ 1 / |g_k|`, and the combination always has the length `sqrt(T)`.
///
/// The solution is the minimum of `a'Ga / 2 - sum log a_k`, which is convex and self-concordant, so
/// that damped Newton steps reach it from anywhere (Nesterov 2004, theorem 4.1.12); the published code
/// solves a sequence of convex approximations instead. Tasks whose gradient is zero take no part.
#[must_use]
pub fn weights(gram: &Gram) -> Vec<f64> {
    gram.by_direction(|unit| {
        let mut b = vec![1.0; unit.len()];
        for _ in 0..ITERATIONS {
            let Some((step, decrement)) = newton(unit, &b) else { break };
            let damping = if decrement > 0.25 { 1.0 / (1.0 + decrement) } else { 1.0 };
            b.iter_mut().zip(&step).for_each(|(b, step)| *b -= damping * step);
            if decrement < SOLVED {
                break;
            }
        }
        b
    })
}

/// Newton's step at `b` and its length in the metric of the second derivative.
fn newton(unit: &Gram, b: &[f64]) -> Option<(Vec<f64>, f64)> {
    let tasks = unit.len();
    let entry =
        |i: usize, j: usize| unit[(i, j)] + if i == j { RIDGE + 1.0 / (b[i] * b[i]) } else { 0.0 };
    let hessian = (0..tasks).map(|i| (0..tasks).map(|j| entry(i, j)).collect()).collect();
    let slope: Vec<f64> =
        unit.times(b).iter().zip(b).map(|(inner, b)| inner + RIDGE * b - 1.0 / b).collect();
    let step = linear::solve(hessian, slope.clone())?;
    let decrement = step.iter().zip(&slope).map(|(a, b)| a * b).sum::<f64>().max(0.0).sqrt();
    Some((step, decrement))
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, any_independent, assert_close};
    use super::super::gram::tests::{ignores_a_zero_gradient, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gains_are_the_inverse_of_the_weights(gram in any_independent()) {
            let found = weights(&gram);
            prop_assert!(found.iter().all(|w| *w > 0.0));
            for (gain, weight) in gram.times(&found).iter().zip(&found) {
                prop_assert!((gain * weight - 1.0).abs() < 1e-7, "{gain} {weight}");
            }
            assert_close(&[gram.length(&found)], &[(gram.len() as f64).sqrt()], 1e-7);
            ignores_a_zero_gradient(&gram, weights);
        }

        #[test]
        fn a_gradient_twice_as_long_takes_half_the_weight(gram in any_independent(), by in 0.1..10.0f64) {
            let mut factors = vec![1.0; gram.len()];
            factors[1] = by;
            let other = weights(&gram.scaled(&factors));
            let back: Vec<f64> = other.iter().zip(&factors).map(|(w, f)| w * f).collect();
            assert_close(&back, &weights(&gram), 1e-7);
        }

        #[test]
        fn dependent_gradients_give_finite_weights(rows in any_gradients()) {
            let mut rows = rows;
            rows[1] = rows[0].iter().map(|x| -2.0 * x).collect();
            let found = weights(&of_rows(&rows));
            prop_assert!(found.iter().all(|w| w.is_finite() && *w >= 0.0), "{found:?}");
        }
    }
}
