//! Eigenvalues of small symmetric matrices (Jacobi's method; Golub & Van Loan, section 8.5).

use super::Gram;

/// Each sweep about squares the off-diagonal part; matrices this small need four or five.
const SWEEPS: usize = 30;

/// Every eigenvalue with its unit eigenvector, in no particular order.
pub fn decompose(gram: &Gram) -> Vec<(f64, Vec<f64>)> {
    let size = gram.len();
    let mut a: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| gram[(i, j)]).collect()).collect();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    (0..size).map(|k| (a[k][k], vectors.iter().map(|row| row[k]).collect())).collect()
}

/// One rotation in the plane (p, q) that makes `a[p][q]` zero.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let tangent = tau.signum() / (tau.abs() + tau.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    let turn = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
    for row in a.iter_mut().chain(vectors) {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    let (above, below) = a.split_at_mut(q);
    for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
        (*x, *y) = turn(*x, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gram::tests::{any_gradients, of_rows};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_make_the_whole_and_the_vectors_are_orthonormal(rows in any_gradients()) {
            let gram = of_rows(&rows);
            let parts = decompose(&gram);
            let largest = parts.iter().fold(0.0f64, |most, (value, _)| most.max(*value));
            for i in 0..gram.len() {
                for j in 0..gram.len() {
                    let sum: f64 = parts.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                    prop_assert!((sum - gram[(i, j)]).abs() <= 1e-12 * largest);
                    let inner: f64 = (0..gram.len()).map(|k| parts[i].1[k] * parts[j].1[k]).sum();
                    prop_assert!((inner - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
        }
    }
}
