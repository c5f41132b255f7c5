//! How well a model does: ROC figures, overlap, distances, intervals.

use crate::mask::Mask;

/// An estimate with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What one threshold gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// A score `>=` this is called positive; the first point's is infinite.
    pub threshold: f64,
    /// Share of the positives called positive.
    pub sensitivity: f64,
    /// Share of the negatives called negative.
    pub specificity: f64,
}

/// Area under the ROC curve: the share of (positive, negative) pairs ranked rightly, ties counting
/// half. `None` when a class is missing, the lengths differ or a score is not finite.
#[must_use]
pub fn auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let (positives, negatives) = classes(scores, positive)?;
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    let ranks = midranks(scores);
    let rank_sum: f64 = ranks.iter().zip(positive).filter(|&(_, &p)| p).map(|(rank, _)| rank).sum();
    Some((rank_sum - m * (m + 1.0) / 2.0) / (m * n))
}

/// Area under the ROC curve with the normal interval of DeLong, DeLong and Clarke-Pearson
/// (Biometrics 44, 1988), clipped to 0..1. At an area of exactly 0 or 1 the variance estimate, and
/// with it the interval's width, is 0. `None` where [`auc`] gives none, with fewer than two of a
/// class, or for a confidence not between 0 and 1.
#[must_use]
pub fn auc_interval(scores: &[f64], positive: &[bool], confidence: f64) -> Option<Interval> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let (positives, negatives) = classes(scores, positive)?;
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    if m < 2.0 || n < 2.0 {
        return None;
    }
    // A score's midrank among all less its midrank within its class counts the other class's
    // scores below it (Sun and Xu, IEEE Signal Processing Letters 21, 2014).
    let all = midranks(scores);
    let placements = |own: &[f64], label: bool, others: f64| -> Vec<f64> {
        let of_class = all.iter().zip(positive).filter(|&(_, &p)| p == label);
        of_class.zip(midranks(own)).map(|((rank, _), own)| (rank - own) / others).collect()
    };
    let above = placements(&positives, true, n);
    let below = placements(&negatives, false, m);
    let estimate = above.iter().sum::<f64>() / m;
    let variance = sample_variance(&above) / m + sample_variance(&below) / n;
    let half = normal_quantile(f64::midpoint(1.0, confidence)) * variance.sqrt();
    let (low, high) = ((estimate - half).max(0.0), (estimate + half).min(1.0));
    Some(Interval { estimate, low, high })
}

/// Percentile bootstrap interval of `statistic`, which is given the indices (0 to `n` - 1, with
/// repetition) of a resample and returns `None` where it is undefined, as the AUC of one class.
/// Undefined resamples are left out. The same seed gives the same interval on every machine.
///
/// `None` when the statistic of the sample itself is undefined, when more than half of the
/// resamples are, or for a confidence not between 0 and 1.
pub fn bootstrap_interval<F>(
    n: usize,
    seed: u64,
    resamples: usize,
    confidence: f64,
    mut statistic: F,
) -> Option<Interval>
where
    F: FnMut(&[usize]) -> Option<f64>,
{
    if !(confidence > 0.0 && confidence < 1.0) || n == 0 {
        return None;
    }
    let mut indices: Vec<usize> = (0..n).collect();
    let estimate = statistic(&indices)?;
    let mut random = SplitMix64(seed);
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        indices.fill_with(|| random.below(n));
        values.extend(statistic(&indices));
    }
    if values.is_empty() || values.len() * 2 < resamples {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Some(Interval { estimate, low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
}

/// A share `hits / n` with Wilson's score interval (Journal of the American Statistical Association
/// 22, 1927), which says something even where nothing was hit. `None` for nothing to
/// hit, more hits than that, or a confidence not between 0 and 1.
#[must_use]
pub fn share_interval(hits: u64, n: u64, confidence: f64) -> Option<Interval> {
    if n == 0 || hits > n || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let (estimate, n) = (hits as f64 / n as f64, n as f64);
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    let middle = (estimate + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let variance = estimate * (1.0 - estimate) / n + z * z / (4.0 * n * n);
    let half = z * variance.sqrt() / (1.0 + z * z / n);
    Some(Interval { estimate, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}

/// The ROC curve: one point a distinct score from the highest down, after a first point at which
/// nothing is called positive. Empty where [`auc`] gives none.
#[must_use]
pub fn roc(scores: &[f64], positive: &[bool]) -> Vec<RocPoint> {
    let Some((positives, negatives)) = classes(scores, positive) else { return Vec::new() };
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    let order = descending(scores);
    let mut points =
        vec![RocPoint { threshold: f64::INFINITY, sensitivity: 0.0, specificity: 1.0 }];
    let (mut hits, mut false_alarms) = (0.0, 0.0);
    for (rank, &index) in order.iter().enumerate() {
        if positive[index] {
            hits += 1.0;
        } else {
            false_alarms += 1.0;
        }
        let last_of_ties = order.get(rank + 1).is_none_or(|&next| scores[next] != scores[index]);
        if last_of_ties {
            points.push(RocPoint {
                threshold: scores[index],
                sensitivity: hits / m,
                specificity: 1.0 - false_alarms / n,
            });
        }
    }
    points
}

/// The highest sensitivity of any threshold whose specificity is at least `specificity`. `None`
/// where [`auc`] gives none.
#[must_use]
pub fn sensitivity_at_specificity(
    scores: &[f64],
    positive: &[bool],
    specificity: f64,
) -> Option<f64> {
    // Specificities are ratios of counts: the tolerance is far below one count's worth.
    let reaches = |point: &RocPoint| point.specificity >= specificity - 1e-12;
    let points = roc(scores, positive);
    points.iter().filter(|&point| reaches(point)).map(|point| point.sensitivity).reduce(f64::max)
}

/// Dice coefficient, twice the overlap over the sum of the areas; 1 when both masks are empty.
///
/// # Panics
/// When the sizes differ.
#[must_use]
pub fn dice(a: &Mask, b: &Mask) -> f64 {
    let total = a.area() + b.area();
    if total == 0 {
        return 1.0;
    }
    2.0 * a.intersection(b).area() as f64 / total as f64
}

/// Euclidean distance of two points of one coordinate system, in its pixels.
#[must_use]
pub fn distance<P: Into<(f64, f64)>>(a: P, b: P) -> f64 {
    let ((ax, ay), (bx, by)) = (a.into(), b.into());
    (ax - bx).hypot(ay - by)
}

/// Mean and sample standard deviation (divisor n - 1; 0 for a single value). `None` for no value.
#[must_use]
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some((mean, sample_variance(values).sqrt()))
}

/// The scores of the positives and of the negatives; `None` when there is nothing to compare.
fn classes(scores: &[f64], positive: &[bool]) -> Option<(Vec<f64>, Vec<f64>)> {
    if scores.len() != positive.len() || scores.iter().any(|score| !score.is_finite()) {
        return None;
    }
    let of = |label| -> Vec<f64> {
        let pairs = scores.iter().zip(positive).filter(|&(_, &p)| p == label);
        pairs.map(|(&score, _)| score).collect()
    };
    let (positives, negatives) = (of(true), of(false));
    (!positives.is_empty() && !negatives.is_empty()).then_some((positives, negatives))
}

/// Indices from the highest score down.
fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Rank of each value from 1 up; equal values share the mean of their ranks.
fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order = descending(values);
    order.reverse();
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let ties = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]);
        let end = start + ties.count();
        let rank = (start + end + 1) as f64 / 2.0;
        for &index in &order[start..end] {
            ranks[index] = rank;
        }
        start = end;
    }
    ranks
}

fn sample_variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (n - 1.0).max(1.0)
}

/// The `share` quantile of ascending values, linear between neighbours (type 7 of Hyndman and Fan,
/// numpy's default).
///
/// # Panics
/// When there are none.
#[must_use]
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let position = share * (ascending.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(ascending.len() - 1);
    ascending[below] + (position - below as f64) * (ascending[above] - ascending[below])
}

/// Standard normal quantile of 0.5 <= `share` < 1, by bisection of the distribution function.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if normal_upper_half(middle) < share - 0.5 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// Probability that a standard normal variable lies between 0 and `x` >= 0: the series
/// density(x) * (x + x^3/3 + x^5/(3*5) + ...), all of whose terms are positive (Abramowitz and
/// Stegun 26.2.11).
fn normal_upper_half(x: f64) -> f64 {
    // Beyond, the density underflows and the probability is 0.5 to the last digit.
    if x > 9.0 {
        return 0.5;
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term > 1e-17 * sum {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): tiny, and the same on every machine.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; the bias of the multiplication is below n / 2^64.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn figures() -> Value {
        let bytes = std::fs::read(glaucoma_tests::golden("common/figures.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn labels(value: &Value) -> Vec<bool> {
        value.as_array().unwrap().iter().map(|label| label.as_bool().unwrap()).collect()
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-12
    }

    #[test]
    fn ranking_figures_equal_scikit_learn_and_delong_over_all_pairs() {
        for case in figures()["roc"].as_array().unwrap() {
            let (scores, positive) = (numbers(&case["scores"]), labels(&case["positive"]));
            let name = &case["name"];
            let area = auc(&scores, &positive).unwrap();
            assert!(near(area, case["auc"].as_f64().unwrap()), "{name}");
            for (confidence, expected) in case["delong"].as_object().unwrap() {
                let found = auc_interval(&scores, &positive, confidence.parse().unwrap()).unwrap();
                let expected = numbers(expected);
                assert!(near(found.estimate, expected[0]), "{name} {found:?}");
                assert!(near(found.low, expected[1]), "{name} {found:?}");
                assert!(near(found.high, expected[2]), "{name} {found:?}");
            }
            let points = roc(&scores, &positive);
            assert_eq!(points[0].threshold, f64::INFINITY);
            let expected = case["roc"].as_array().unwrap();
            assert_eq!(points.len(), expected.len() + 1, "{name}");
            for (point, expected) in points[1..].iter().zip(expected) {
                let expected = numbers(expected);
                assert!(near(point.threshold, expected[0]), "{name}");
                assert!(near(point.sensitivity, expected[1]), "{name}");
                assert!(near(point.specificity, expected[2]), "{name}");
            }
            for pair in case["sensitivity_at"].as_array().unwrap() {
                let pair = numbers(pair);
                let found = sensitivity_at_specificity(&scores, &positive, pair[0]).unwrap();
                assert!(near(found, pair[1]), "{name} at {}: {found}", pair[0]);
            }
        }
    }

    #[test]
    fn bootstrap_equals_the_same_draws_in_numpy() {
        let case = &figures()["bootstrap"];
        let (scores, positive) = (numbers(&case["scores"]), labels(&case["positive"]));
        let area = |indices: &[usize]| {
            let scores: Vec<f64> = indices.iter().map(|&index| scores[index]).collect();
            let positive: Vec<bool> = indices.iter().map(|&index| positive[index]).collect();
            auc(&scores, &positive)
        };
        let interval = bootstrap_interval(scores.len(), 42, 200, 0.9, area).unwrap();
        let expected = numbers(&case["interval"]);
        assert!(near(interval.estimate, expected[0]), "{interval:?}");
        assert!(near(interval.low, expected[1]), "{interval:?}");
        assert!(near(interval.high, expected[2]), "{interval:?}");
        assert!(bootstrap_interval(5, 1, 10, 0.9, |_| None).is_none());
        assert!(bootstrap_interval(5, 1, 0, 0.9, |_| Some(1.0)).is_none());
        assert!(bootstrap_interval(0, 1, 10, 0.9, |_| Some(1.0)).is_none());
    }

    #[test]
    fn moments_and_quantiles_equal_numpy_and_scipy() {
        let figures = figures();
        for case in figures["moments"].as_array().unwrap() {
            let (mean, deviation) = mean_and_deviation(&numbers(&case[0])).unwrap();
            assert!(near(mean, case[1].as_f64().unwrap()));
            assert!(near(deviation, case[2].as_f64().unwrap()));
        }
        for pair in figures["normal_quantile"].as_array().unwrap() {
            let (share, expected) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
            assert!((normal_quantile(share) - expected).abs() < 1e-10, "{share}");
        }
        for case in figures["shares"].as_array().unwrap() {
            let [hits, n, confidence, ..] = numbers(case)[..] else { panic!("{case}") };
            let found = share_interval(hits as u64, n as u64, confidence).unwrap();
            let found = [found.estimate, found.low, found.high];
            assert!(found.iter().zip(&numbers(case)[3..]).all(|(a, b)| near(*a, *b)), "{case}");
        }
        assert_eq!((share_interval(0, 0, 0.95), share_interval(2, 1, 0.95)), (None, None));
        assert_eq!(mean_and_deviation(&[]), None);
        assert_eq!(mean_and_deviation(&[3.0]), Some((3.0, 0.0)));
    }

    #[test]
    fn mask_figures_equal_scikit_learn_and_scipy() {
        for case in figures()["masks"].as_array().unwrap() {
            let side = |name: &str| case[name].as_u64().unwrap() as u32;
            let (width, height) = (side("width"), side("height"));
            let mask = |name: &str| {
                let bits = case[name].as_str().unwrap().as_bytes();
                Mask::from_fn(width, height, |x, y| bits[(y * width + x) as usize] == b'1')
            };
            let (a, b) = (mask("a"), mask("b"));
            assert!(near(dice(&a, &b), case["dice"].as_f64().unwrap()));
            let areas: Vec<f64> = a.component_areas().iter().map(|&area| area as f64).collect();
            assert_eq!(areas, numbers(&case["component_areas"]));
            assert_eq!(
                f64::from(a.vertical_diameter()),
                case["vertical_diameter"].as_f64().unwrap()
            );
            match a.centroid() {
                None => assert!(case["centroid"].is_null()),
                Some((x, y)) => {
                    let expected = numbers(&case["centroid"]);
                    assert!(near(x, expected[0]) && near(y, expected[1]));
                }
            }
        }
        assert_eq!(dice(&Mask::new(4, 3), &Mask::new(4, 3)), 1.0);
    }

    #[test]
    fn what_cannot_be_ranked_has_no_figure() {
        assert_eq!(auc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(auc(&[0.1, f64::NAN], &[true, false]), None);
        assert_eq!(auc(&[0.1], &[true, false]), None);
        assert_eq!(auc_interval(&[0.1, 0.2, 0.3], &[true, false, false], 0.95), None);
        assert_eq!(auc_interval(&[0.1, 0.2, 0.3, 0.4], &[true, false, false, true], 1.0), None);
        assert!(roc(&[], &[]).is_empty());
        assert_eq!(sensitivity_at_specificity(&[0.5], &[true], 0.9), None);
    }

    proptest! {
        #[test]
        fn auc_is_the_share_of_pairs_ranked_rightly(
            cases in proptest::collection::vec((0u8..6, any::<bool>()), 1..40),
        ) {
            let scores: Vec<f64> = cases.iter().map(|&(score, _)| f64::from(score)).collect();
            let positive: Vec<bool> = cases.iter().map(|&(_, label)| label).collect();
            let (mut pairs, mut right) = (0.0, 0.0);
            for (i, j) in (0..cases.len()).flat_map(|i| (0..cases.len()).map(move |j| (i, j))) {
                if positive[i] && !positive[j] {
                    pairs += 1.0;
                    right += if scores[i] > scores[j] { 1.0 } else { 0.0 };
                    right += if scores[i] == scores[j] { 0.5 } else { 0.0 };
                }
            }
            match auc(&scores, &positive) {
                None => prop_assert_eq!(pairs, 0.0),
                Some(area) => prop_assert!(near(area, right / pairs)),
            }
        }
    }
}
