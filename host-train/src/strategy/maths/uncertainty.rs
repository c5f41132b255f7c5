//! Uncertainty weighting (Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses
//! for Scene Geometry and Semantics").

/// The weight `exp(-s) = 1 / sigma^2` of a loss whose log-variance is `s`.
///
/// All four tasks take the paper's form for likelihoods of classes, `L / sigma^2 + log sigma`
/// (equation 10): three of them are, and for the fovea's map the form for distances, half as heavy,
/// differs from it by a constant in `s` alone.
#[must_use]
pub fn weight(log_variance: f64) -> f64 {
    (-log_variance).exp()
}

/// The slope of `exp(-s) L + s / 2` in `s`: zero where the weight is `1 / (2 L)`.
#[must_use]
pub fn slope(log_variance: f64, loss: f64) -> f64 {
    0.5 - weight(log_variance) * loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_slope_is_that_of_the_objective(s in -3.0..3.0f64, loss in 0.0..5.0f64) {
            let objective = |s: f64| weight(s) * loss + s / 2.0;
            let difference = (objective(s + 1e-5) - objective(s - 1e-5)) / 2e-5;
            prop_assert!((slope(s, loss) - difference).abs() < 1e-7 * (1.0 + weight(s) * loss));
        }

        #[test]
        fn it_settles_where_the_weighted_loss_is_one_half(loss in 0.01..10.0f64) {
            prop_assert!(slope((2.0 * loss).ln(), loss).abs() < 1e-12);
        }
    }
}
