//! Aligned-MTL: principal components of the gradients made equally long (Senushkin et al. 2023,
//! "Independent Component Alignment for Multi-Task Learning").

use super::{Gram, eigen};

/// Share of the largest eigenvalue below which a component is rounding of single-precision gradients.
const RANK: f64 = 1e-12;

/// Algorithm 1 with equal preferences: the weights `B / T` with
/// `B = sqrt(l_min) V L^(-1/2) V'`, where `G = V L V'` and `l_min` is the smallest eigenvalue that is
/// not zero. The aligned gradients (rows `B g`) are orthogonal and of one length: the condition
/// number of their matrix is 1. Weights can be negative.
#[must_use]
pub fn weights(gram: &Gram) -> Vec<f64> {
    let balance = balance(gram);
    balance.iter().map(|row| row.iter().sum::<f64>() / gram.len() as f64).collect()
}

/// The paper's balance transformation `B`.
fn balance(gram: &Gram) -> Vec<Vec<f64>> {
    let parts = eigen::decompose(gram);
    let largest = parts.iter().fold(0.0f64, |most, (value, _)| most.max(*value));
    let solid: Vec<_> =
        parts.into_iter().filter(|(value, _)| *value > RANK * largest && *value > 0.0).collect();
    let least = solid.iter().fold(f64::INFINITY, |least, (value, _)| least.min(*value));
    let entry = |i: usize, j: usize| {
        solid.iter().map(|(value, v)| (least / value).sqrt() * v[i] * v[j]).sum()
    };
    (0..gram.len()).map(|i| (0..gram.len()).map(|j| entry(i, j)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_independent, assert_close};
    use super::super::gram::tests::{ignores_a_zero_gradient, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_aligned_gradients_have_condition_number_1(gram in any_independent()) {
            let balance = balance(&gram);
            // B G B': the products of the aligned gradients.
            let tasks = gram.len();
            let aligned = Gram::new(tasks, |i, j| {
                gram.times(&balance[j]).iter().zip(&balance[i]).map(|(g, b)| g * b).sum()
            });
            let parts = eigen::decompose(&gram);
            let least = parts.iter().fold(f64::INFINITY, |least, (value, _)| least.min(*value));
            for i in 0..tasks {
                let row: Vec<f64> = (0..tasks).map(|j| aligned[(i, j)] / least).collect();
                let wanted: Vec<f64> = (0..tasks).map(|j| f64::from(u8::from(i == j))).collect();
                assert_close(&row, &wanted, 1e-7);
            }
        }

        #[test]
        fn the_scale_of_all_gradients_together_does_not_matter(gram in any_independent(), by in 0.01..100.0f64) {
            let other = weights(&gram.scaled(&vec![by; gram.len()]));
            assert_close(&other, &weights(&gram), 1e-9);
        }
    }

    #[test]
    fn dependent_and_zero_gradients_give_finite_weights() {
        let gram = of_rows(&[vec![1.0, 2.0], vec![2.0, 4.0]]);
        assert!(weights(&gram).iter().all(|w| w.is_finite()));
        let gram = of_rows(&[vec![1.0, 2.0], vec![-2.0, 4.0]]);
        let doubled = |gram: &Gram| -> Vec<f64> {
            weights(gram).iter().map(|w| w * gram.len() as f64).collect()
        };
        ignores_a_zero_gradient(&gram, doubled);
        assert_eq!(weights(&of_rows(&[vec![0.0], vec![0.0]])), [0.0, 0.0]);
    }
}
