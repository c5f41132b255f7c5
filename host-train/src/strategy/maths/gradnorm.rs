//! GradNorm: weights that make the tasks' gradients equally long where they are learnt equally fast
//! (Chen et al. 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing").

/// The least a weight can become: a step of the weights' optimiser may not turn a loss round.
const LEAST: f64 = 1e-3;

/// The slope, for each task's weight, of `sum_k |w_k n_k - mean(w n) r_k^alpha|` (equation 2), where
/// `n_k` is the norm of the unweighted gradient, `r_k` is the loss ratio `L_k / L_k(0)` over the mean
/// loss ratio, and the second term is a constant. Zero where the norm is already right.
#[must_use]
pub fn slopes(weights: &[f64], norms: &[f64], ratios: &[f64], alpha: f64) -> Vec<f64> {
    let count = weights.len() as f64;
    let mean_ratio = ratios.iter().sum::<f64>() / count;
    let mean_norm = weights.iter().zip(norms).map(|(w, n)| w * n).sum::<f64>() / count;
    let slope = |((weight, norm), ratio): ((&f64, &f64), &f64)| {
        // Where every loss has vanished no task is behind another.
        let rate = if mean_ratio > 0.0 { ratio / mean_ratio } else { 1.0 };
        let excess = weight * norm - mean_norm * rate.powf(alpha);
        if excess == 0.0 { 0.0 } else { excess.signum() * norm }
    };
    weights.iter().zip(norms).zip(ratios).map(slope).collect()
}

/// Scales weights to the sum `total`, none below 0.001 before.
pub fn renormalise(weights: &mut [f64], total: f64) {
    weights.iter_mut().for_each(|w| *w = w.max(LEAST));
    let scale = total / weights.iter().sum::<f64>();
    weights.iter_mut().for_each(|w| *w *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Equation 2 as it stands, with the right side held constant.
    fn objective(weights: &[f64], norms: &[f64], targets: &[f64]) -> f64 {
        weights.iter().zip(norms).zip(targets).map(|((w, n), t)| (w * n - t).abs()).sum()
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_equation_2(
            weights in prop::collection::vec(0.2..3.0f64, 3),
            norms in prop::collection::vec(0.1..5.0f64, 3),
            ratios in prop::collection::vec(0.1..1.5f64, 3),
            alpha in 0.0..3.0f64,
        ) {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / 3.0;
            let products: Vec<f64> = weights.iter().zip(&norms).map(|(w, n)| w * n).collect();
            let target = |r: &f64| mean(&products) * (r / mean(&ratios)).powf(alpha);
            let targets: Vec<f64> = ratios.iter().map(target).collect();
            let found = slopes(&weights, &norms, &ratios, alpha);
            for k in 0..3 {
                prop_assume!((products[k] - targets[k]).abs() > 1e-3);
                let at = |by: f64| {
                    let mut moved = weights.clone();
                    moved[k] += by;
                    objective(&moved, &norms, &targets)
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                prop_assert!((found[k] - difference).abs() < 1e-6 * norms[k].max(1.0));
            }
        }

        #[test]
        fn the_sum_is_kept(weights in prop::collection::vec(-0.1..3.0f64, 4)) {
            let mut weights = weights;
            renormalise(&mut weights, 4.0);
            prop_assert!((weights.iter().sum::<f64>() - 4.0).abs() < 1e-12);
            prop_assert!(weights.iter().all(|w| *w > 0.0));
        }
    }

    #[test]
    fn one_task_alone_and_vanished_losses_want_nothing() {
        assert_eq!(slopes(&[1.3], &[2.0], &[0.4], 1.5), [0.0]);
        assert_eq!(slopes(&[1.0, 1.0], &[0.0, 0.0], &[0.0, 0.0], 1.5), [0.0, 0.0]);
    }
}
