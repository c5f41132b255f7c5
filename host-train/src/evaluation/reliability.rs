//! Whether a probability means what it says: reliability curve, Brier score, calibration error.

use serde::{Deserialize, Serialize};

/// Bins of equal width from 0 to 1.
pub const BINS: usize = 10;

/// How predicted probabilities compare with what came true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Pictures.
    pub n: usize,
    /// Mean squared difference of probability and class (Brier 1950).
    pub brier: f64,
    /// Expected calibration error: mean over the pictures of |share positive - mean probability| of
    /// their bin (Guo et al. 2017, equation 5).
    pub calibration_error: f64,
    /// The bins that hold a picture, from low to high.
    pub bins: Vec<Bin>,
}

/// The pictures whose probability lies in one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub n: usize,
    /// Their mean probability.
    pub predicted: f64,
    /// The share of them with glaucoma.
    pub observed: f64,
    /// Wilson's 95 % interval of that share.
    pub interval: [f64; 2],
}

impl Reliability {
    /// Of (probability, class) pairs; `None` for none.
    #[must_use]
    pub fn of(pairs: &[(f64, bool)]) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let n = pairs.len();
        let class = |positive: bool| f64::from(u8::from(positive));
        let mut sums = [(0usize, 0.0, 0.0); BINS];
        for &(probability, positive) in pairs {
            let at = ((probability * BINS as f64) as usize).min(BINS - 1);
            let (count, predicted, observed) = &mut sums[at];
            *count += 1;
            *predicted += probability;
            *observed += class(positive);
        }
        let bin = |(count, predicted, observed): (usize, f64, f64)| {
            let n = count as f64;
            let share = observed / n;
            Bin { n: count, predicted: predicted / n, observed: share, interval: wilson(share, n) }
        };
        let bins: Vec<Bin> = sums.into_iter().filter(|sum| sum.0 > 0).map(bin).collect();
        let gap = |bin: &Bin| bin.n as f64 * (bin.observed - bin.predicted).abs();
        let square =
            |&(probability, positive): &(f64, bool)| (probability - class(positive)).powi(2);
        Some(Self {
            n,
            brier: pairs.iter().map(square).sum::<f64>() / n as f64,
            calibration_error: bins.iter().map(gap).sum::<f64>() / n as f64,
            bins,
        })
    }
}

/// Wilson's score interval (1927) of a share of `n` at 95 %.
fn wilson(share: f64, n: f64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let spread = Z * Z / n;
    let center = share + spread / 2.0;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(center - half) / (1.0 + spread), (center + half) / (1.0 + spread)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Golden values: tests/golden/evaluation/reliability.py (scikit-learn, statsmodels' formula).
    #[test]
    fn figures_agree_with_an_independent_implementation() {
        let path = glaucoma_tests::golden("evaluation/reliability.json");
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let list = |key: &str| -> Vec<f64> {
            golden[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let classes = list("classes").into_iter().map(|class| class > 0.5);
        let pairs: Vec<(f64, bool)> = list("probabilities").into_iter().zip(classes).collect();
        let found = Reliability::of(&pairs).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(found.brier, golden["brier"].as_f64().unwrap());
        near(found.calibration_error, golden["calibration_error"].as_f64().unwrap());
        let pick = |of: fn(&Bin) -> f64| found.bins.iter().map(of).collect::<Vec<_>>();
        let columns = [
            (pick(|bin| bin.predicted), "predicted"),
            (pick(|bin| bin.observed), "observed"),
            (pick(|bin| bin.interval[0]), "low"),
            (pick(|bin| bin.interval[1]), "high"),
        ];
        for (values, key) in columns {
            let golden = list(key);
            assert_eq!(values.len(), golden.len(), "{key}");
            values.into_iter().zip(golden).for_each(|(a, b)| near(a, b));
        }
    }

    #[test]
    fn certainty_lies_in_the_last_bin() {
        let found = Reliability::of(&[(1.0, true), (0.0, false)]).unwrap();
        assert_eq!((found.brier, found.calibration_error, found.bins.len()), (0.0, 0.0, 2));
        assert!(Reliability::of(&[]).is_none());
    }
}
