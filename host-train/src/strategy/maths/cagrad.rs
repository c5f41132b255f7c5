//! CAGrad: the direction near the mean gradient that helps the worst task most (Liu et al. 2021,
//! "Conflict-Averse Gradient Descent for Multi-task Learning").

use super::{Gram, simplex};

/// Halvings of the interval: the whole mantissa and some room below.
const HALVINGS: usize = 100;
/// Share of the mean gradient's length below which a combination counts as zero.
const STATIONARY: f64 = 1e-7;

/// Algorithm 1, without the rescaling of the published code: the direction `d` in the ball
/// `|d - g0| <= c |g0|` round the mean gradient `g0` with the greatest `min_k <g_k, d>`.
///
/// By duality `d = g0 + c |g0| g_w / |g_w|`, where `w` is the point of the simplex with the least
/// `F(w) = <g_w, g0> + c |g0| |g_w|`. `F` is not smooth where `g_w` vanishes, but `|g_w|` is the least
/// of `(|g_w|^2 / t + t) / 2` over `t > 0`: for each `t` an exact quadratic problem remains, and what
/// is left is convex in `t` with the slope `1 - |g_w|^2 / t^2`, whose zero is found by halving.
///
/// Where `g_w` vanishes no direction of the ball helps every task, and the answer is the mean.
#[must_use]
pub fn weights(gram: &Gram, c: f64) -> Vec<f64> {
    let uniform = vec![1.0 / gram.len() as f64; gram.len()];
    let radius = c * gram.length(&uniform);
    let longest = gram.norms().into_iter().fold(0.0, f64::max);
    if radius <= STATIONARY * longest * c || radius <= 0.0 {
        return uniform;
    }
    let with_mean = gram.times(&uniform);
    let best_at = |t: f64| {
        let linear: Vec<f64> = with_mean.iter().map(|inner| inner * t / radius).collect();
        simplex::least(gram, &linear)
    };
    let (mut low, mut high) = (0.0, longest);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if gram.length(&best_at(middle)) < middle {
            high = middle;
        } else {
            low = middle;
        }
    }
    let found = best_at(high);
    let length = gram.length(&found);
    if length <= STATIONARY * radius / c {
        return uniform;
    }
    uniform.iter().zip(found).map(|(mean, w)| mean + radius / length * w).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, any_independent, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_direction_stays_in_its_ball(rows in any_gradients(), c in 0.0..0.99f64) {
            let gram = of_rows(&rows);
            let mean = 1.0 / gram.len() as f64;
            let found = weights(&gram, c);
            let away: Vec<f64> = found.iter().map(|w| w - mean).collect();
            let radius = c * gram.length(&vec![mean; gram.len()]);
            prop_assert!(gram.length(&away) <= radius * (1.0 + 1e-6) + 1e-12);
        }

        /// No other point of the ball in the span of the gradients is better for the worst task.
        #[test]
        fn no_direction_of_the_ball_is_better_for_the_worst_task(
            gram in any_independent(),
            c in 0.05..0.95f64,
            other in prop::array::uniform4(-1.0..1.0f64),
        ) {
            let mean = vec![1.0 / gram.len() as f64; gram.len()];
            let worst = |w: &[f64]| gram.times(w).into_iter().fold(f64::INFINITY, f64::min);
            let found = worst(&weights(&gram, c));
            let step = &other[..gram.len()];
            let size = c * gram.length(&mean) / gram.length(step).max(1e-12);
            let tried: Vec<f64> = mean.iter().zip(step).map(|(m, s)| m + size * s).collect();
            let scale = gram.norms().iter().fold(0.0f64, |most, n| most.max(*n)).powi(2);
            prop_assert!(found >= worst(&tried) - 1e-9 * scale, "{found} {}", worst(&tried));
            prop_assert!(found >= worst(&mean) - 1e-9 * scale);
        }

        #[test]
        fn a_radius_of_nothing_is_the_mean(rows in any_gradients()) {
            let gram = of_rows(&rows);
            prop_assert_eq!(weights(&gram, 0.0), vec![1.0 / gram.len() as f64; gram.len()]);
        }
    }

    #[test]
    fn where_the_tasks_cancel_or_vanish_the_weights_are_finite() {
        let cases = [
            of_rows(&[vec![1.0, 0.0], vec![-1.0, 0.0]]),
            of_rows(&[vec![1.0, 0.0], vec![0.0, 0.0]]),
            of_rows(&[vec![0.0], vec![0.0]]),
            of_rows(&[vec![3.0, 0.0], vec![-1.0, 0.0]]),
        ];
        for gram in cases {
            assert!(weights(&gram, 0.4).iter().all(|w| w.is_finite()), "{gram:?}");
        }
    }
}
