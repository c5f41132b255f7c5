//! Sums along a plane: fast because of independent lanes, accurate because the lanes of a short
//! run are collected in `f64`, and always taken in the same order.

/// Independent partial sums; enough for the compiler to use whole vectors.
pub(super) const LANES: usize = 16;
/// Elements after which the `f32` lanes are emptied into `f64`.
pub(super) const RUN: usize = 2048;

/// Sum of the values.
pub(super) fn sum(values: &[f32]) -> f64 {
    values.chunks(RUN).map(|run| run_sum(run, |x| x)).sum()
}

/// Sum over a run of at most [`RUN`] elements of `f(element)`.
#[inline(always)]
fn run_sum(run: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let whole = run.chunks_exact(LANES);
    let rest = whole.remainder();
    for values in whole {
        for (lane, &x) in lanes.iter_mut().zip(values) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

/// Count, mean and sum of squared deviations of a set of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    /// Takes in a plane. Deviations are taken from each run's own mean and runs are merged as in
    /// Chan, Golub & LeVeque 1979, so that a large mean does not swallow a small variance.
    pub(super) fn include(&mut self, plane: &[f32]) {
        for run in plane.chunks(RUN) {
            let count = run.len() as f64;
            let mean = run_sum(run, |x| x) / count;
            let pivot = mean as f32;
            let squares = run_sum(run, |x| (x - pivot) * (x - pivot))
                - count * (mean - f64::from(pivot)).powi(2);
            let total = self.count + count;
            let delta = mean - self.mean;
            self.squares += squares + delta * delta * self.count * count / total;
            self.mean += delta * count / total;
            self.count = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_far_off_mean_agree_with_the_two_pass_formula() {
        let values: Vec<f32> = (0..5000).map(|i| 1000.0 + ((i * 37) % 101) as f32 * 0.01).collect();
        let mut moments = Moments::default();
        values.chunks(1700).for_each(|part| moments.include(part));
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 5000.0;
        let squares = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
        assert!((moments.mean - mean).abs() < 1e-5, "{} {mean}", moments.mean);
        assert!((moments.squares / squares - 1.0).abs() < 1e-4, "{} {squares}", moments.squares);
        assert!((sum(&values) / (mean * 5000.0) - 1.0).abs() < 1e-7);
    }
}
