//! FAMO: equal relative progress of all losses from their values alone (Liu et al. 2023, "FAMO: Fast
//! Adaptive Multitask Optimization").

use super::PerTask;

/// Added to every loss before its logarithm, as in the published code: a loss may reach zero.
const FLOOR: f64 = 1e-8;

/// The logarithm whose progress is balanced.
#[must_use]
pub fn logarithm(loss: f64) -> f64 {
    (loss + FLOOR).ln()
}

/// The shares `z = softmax(xi)` of the tasks that take part (those with a loss).
#[must_use]
pub fn shares(logits: &[f64; 4], losses: PerTask) -> PerTask {
    let taking = |k: usize| losses[k].map(|_| logits[k]);
    let logits: PerTask = [taking(0), taking(1), taking(2), taking(3)];
    let greatest = logits.iter().flatten().fold(f64::NEG_INFINITY, |most, x| most.max(*x));
    let raised = logits.map(|x| x.map(|x| (x - greatest).exp()));
    let sum: f64 = raised.iter().flatten().sum();
    raised.map(|raised| raised.map(|raised| raised / sum))
}

/// The weights of the losses: `c z_k / L_k`, the gradient of `c sum_k z_k log L_k`, where `c` makes
/// their sum 1 (algorithm 1).
#[must_use]
pub fn weights(shares: PerTask, losses: PerTask) -> PerTask {
    let mut steep: PerTask = [None; 4];
    for ((steep, share), loss) in steep.iter_mut().zip(shares).zip(losses) {
        *steep = share.zip(loss).map(|(share, loss)| share / (loss + FLOOR));
    }
    let sum: f64 = steep.iter().flatten().sum();
    steep.map(|steep| steep.map(|steep| steep / sum))
}

/// The slope for the logits `xi` from the progress `log L_k(before) - log L_k(after)` of each task
/// (algorithm 1): the softmax' Jacobian times the progress, plus the decay
/// `gamma xi`. A task that progressed less than the others gains weight.
#[must_use]
pub fn slopes(logits: &[f64; 4], shares: PerTask, progress: PerTask, gamma: f64) -> PerTask {
    let mean: f64 = shares.iter().zip(progress).filter_map(|(z, d)| Some((*z)? * d?)).sum();
    let mut slopes: PerTask = [None; 4];
    for (k, slope) in slopes.iter_mut().enumerate() {
        *slope = shares[k].zip(progress[k]).map(|(z, d)| z * (d - mean) + gamma * logits[k]);
    }
    slopes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const LOGITS: [f64; 4] = [0.3, -0.2, 9.0, 0.1];
    const LOSSES: PerTask = [Some(0.5), Some(2.0), None, Some(0.01)];

    /// PyTorch, `xi = [0.3, -0.2, 0.1]` and the losses above, by automatic differentiation:
    /// `loss = c * (softmax(xi) * log(L + 1e-8)).sum()` with `c` as a constant, and
    /// `grad(softmax(xi), xi, grad_outputs=progress) + 1e-3 * xi` for progress 0.1, -0.05, 0.2.
    #[test]
    fn the_values_are_pytorchs() {
        let shares = shares(&LOGITS, LOSSES);
        let weights = weights(shares, LOSSES);
        let progress = [Some(0.1), Some(-0.05), None, Some(0.2)];
        let slopes = slopes(&LOGITS, shares, progress, 1e-3);
        for (found, wanted) in [
            (weights, [0.023759667991161134, 0.003602741829349153, 0.9726375901794897]),
            (slopes, [0.0018482300974160194, -0.036774267470883096, 0.03512603737346706]),
        ] {
            assert_eq!(found[2], None);
            for (found, wanted) in [found[0], found[1], found[3]].into_iter().zip(wanted) {
                assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?} {wanted}");
            }
        }
    }

    proptest! {
        #[test]
        fn equal_progress_moves_nothing_and_a_laggard_gains(
            logits in prop::array::uniform4(-2.0..2.0f64),
            losses in prop::array::uniform4(0.0..3.0f64),
            progress in -0.5..0.5f64,
        ) {
            let shares = shares(&logits, losses.map(Some));
            let weights = weights(shares, losses.map(Some));
            prop_assert!((weights.iter().flatten().sum::<f64>() - 1.0).abs() < 1e-9);
            let equal = slopes(&logits, shares, [Some(progress); 4], 0.0);
            prop_assert!(equal.iter().flatten().all(|slope| slope.abs() < 1e-12));
            let lagging =
                slopes(&logits, shares, [Some(-1.0), Some(1.0), Some(1.0), Some(1.0)], 0.0);
            prop_assert!(lagging[0].unwrap() < 0.0 && lagging[1].unwrap() > 0.0);
        }
    }
}
