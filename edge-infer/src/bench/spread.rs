//! How measured times are spread.

use serde::Serialize;

/// Order statistics of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub runs: usize,
    /// The smallest.
    pub min: f64,
    /// The one in the middle, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest that at least 90 % of all do not exceed.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`; all zero when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let count = sorted.len();
        let last = count.saturating_sub(1);
        Self {
            runs: count,
            min: at(0),
            median: f64::midpoint(at(last / 2), at(count / 2)),
            p90: at((count * 9).div_ceil(10).saturating_sub(1)),
            max: at(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> [f64; 4] {
        let Spread { min, median, p90, max, .. } = Spread::of(values);
        [min, median, p90, max]
    }

    #[test]
    fn order_statistics_are_right() {
        assert_eq!(spread(&[]), [0.0; 4]);
        assert_eq!(spread(&[3.0]), [3.0; 4]);
        assert_eq!(spread(&[4.0, 1.0]), [1.0, 2.5, 4.0, 4.0]);
        assert_eq!(spread(&[5.0, 1.0, 3.0]), [1.0, 3.0, 5.0, 5.0]);
        let ten: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(spread(&ten), [1.0, 5.5, 9.0, 10.0]);
        let eleven: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(spread(&eleven), [1.0, 6.0, 10.0, 11.0]);
        assert_eq!(Spread::of(&ten).runs, 10);
    }
}
