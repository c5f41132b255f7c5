//! Convex quadratic functions on the simplex of weights that are not negative and sum to 1.

use super::{Gram, linear};

/// The weights `w` of the simplex with the least `w'Aw / 2 + b'w`.
///
/// Exact up to rounding: the best point lies in the interior of one of the `2^n - 1` faces, where it
/// solves a linear system. Among the best there is one whose system is regular (along a direction
/// that `A` and `b` do not feel it can be moved to a smaller face), so singular ones are passed over.
/// For a handful of tasks this is cheaper than any iteration.
pub fn least(a: &Gram, b: &[f64]) -> Vec<f64> {
    let tasks = a.len();
    let uniform = vec![1.0 / tasks as f64; tasks];
    // The scale of the problem must not decide which systems count as singular.
    let scale = (0..tasks).map(|i| a[(i, i)]).fold(0.0, f64::max);
    if scale <= 0.0 || !scale.is_finite() {
        return uniform;
    }
    let value = |w: &[f64]| -> f64 {
        a.times(w).iter().zip(b).zip(w).map(|((aw, b), w)| (aw / 2.0 + b) * w).sum()
    };
    let faces = 1..1usize << tasks;
    let candidates = faces.filter_map(|face| stationary(a, b, scale, face));
    candidates.min_by(|x, y| value(x).total_cmp(&value(y))).unwrap_or(uniform)
}

/// The stationary point of the face of the tasks whose bit is set, if it lies in the simplex.
fn stationary(a: &Gram, b: &[f64], scale: f64, face: usize) -> Option<Vec<f64>> {
    let kept: Vec<usize> = (0..a.len()).filter(|i| face >> i & 1 == 1).collect();
    // Gradient equal to a multiplier on the face, and the sum of the weights 1.
    let mut matrix: Vec<Vec<f64>> = (kept.iter())
        .map(|&i| kept.iter().map(|&j| a[(i, j)] / scale).chain([-1.0]).collect())
        .collect();
    matrix.push(kept.iter().map(|_| 1.0).chain([0.0]).collect());
    let right = kept.iter().map(|&i| -b[i] / scale).chain([1.0]).collect();
    let found = linear::solve(matrix, right)?;
    let mut weights = vec![0.0; a.len()];
    for (&i, weight) in kept.iter().zip(&found) {
        weights[i] = *weight;
    }
    weights.iter().all(|w| (0.0..=1.0 + 1e-9).contains(w)).then_some(weights)
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Karush-Kuhn-Tucker: no task's slope is below the common one of those that take part.
        #[test]
        fn the_point_is_optimal(rows in any_gradients(), linear in prop::array::uniform4(-1.0..1.0f64)) {
            let gram = of_rows(&rows);
            let b = &linear[..gram.len()];
            let weights = least(&gram, b);
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(weights.iter().all(|w| *w >= 0.0));
            let slopes: Vec<f64> = gram.times(&weights).iter().zip(b).map(|(x, b)| x + b).collect();
            let common: f64 = slopes.iter().zip(&weights).map(|(s, w)| s * w).sum();
            let scale = gram.norms().iter().fold(1.0f64, |most, n| most.max(n * n));
            for (slope, weight) in slopes.iter().zip(&weights) {
                prop_assert!(*slope >= common - 1e-9 * scale, "{slopes:?} {weights:?}");
                prop_assert!(*weight < 1e-6 || (slope - common).abs() <= 1e-6 * scale);
            }
        }
    }
}
