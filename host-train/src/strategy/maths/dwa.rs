//! Dynamic weight average (Liu et al. 2019, "End-to-End Multi-Task Learning with Attention").

use super::PerTask;

/// Equation 7: `T exp(r_k / temperature) / sum_i exp(r_i / temperature)` over the `T` tasks with a
/// ratio, where `r_k` is the mean loss of the last epoch over that of the epoch before.
#[must_use]
pub fn weights(ratios: PerTask, temperature: f64) -> PerTask {
    // Subtracting the greatest changes nothing but the range.
    let greatest = ratios.iter().flatten().fold(f64::NEG_INFINITY, |most, r| most.max(*r));
    let raised = ratios.map(|ratio| ratio.map(|r| ((r - greatest) / temperature).exp()));
    let count = raised.iter().flatten().count() as f64;
    let sum: f64 = raised.iter().flatten().sum();
    raised.map(|raised| raised.map(|raised| count * raised / sum))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// NumPy: `r = np.array([0.9, 1.1, 0.5]); e = np.exp(r / 2); 3 * e / e.sum()`.
    #[test]
    fn the_values_are_numpys() {
        let found = weights([Some(0.9), None, Some(1.1), Some(0.5)], 2.0);
        let wanted = [1.0260262954794734, 1.1339344229448054, 0.8400392815757212];
        assert_eq!(found[1], None);
        for (found, wanted) in [found[0], found[2], found[3]].into_iter().zip(wanted) {
            assert!((found.unwrap() - wanted).abs() < 1e-12, "{found:?}");
        }
        let equal = weights([Some(2000.0); 4], 2.0);
        assert_eq!(equal, [Some(1.0); 4]);
    }
}
