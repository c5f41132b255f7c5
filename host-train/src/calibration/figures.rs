//! The statistics of a calibration: numbers in, numbers out.

use glaucoma_common::calibration::{MAX_ROWS, OperatingRow};
use glaucoma_common::metrics::quantile;

/// Thresholds have this many steps from 0 to 1: finer than anybody could tell apart.
const STEPS: f64 = 1e4;
/// A bound on disagreement has so many.
const BOUND_STEPS: f64 = 100.0;

/// What each threshold finds and spares of `scored`, pairs of a probability and whether the eye has
/// glaucoma, by rising threshold. A row that another one beats in sensitivity or specificity, and
/// equals or beats in the other, is left out, as is one that finds nobody; of more than [`MAX_ROWS`]
/// that many are kept, evenly spread. Empty where a class is missing.
#[must_use]
pub fn operating_table(scored: &[(f64, bool)]) -> Vec<OperatingRow> {
    let positives = scored.iter().filter(|(_, glaucoma)| *glaucoma).count();
    let negatives = scored.len() - positives;
    if positives == 0 || negatives == 0 {
        return Vec::new();
    }
    let step = |probability: &f64| (probability * STEPS).floor() as u64;
    let mut thresholds: Vec<u64> =
        scored.iter().map(|(probability, _)| step(probability)).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    // The lowest one's row refers everybody, and says so.
    thresholds[0] = 0;
    let row = |step: u64| {
        let threshold = step as f64 / STEPS;
        let referred = |wanted: bool| {
            let of = scored.iter().filter(|(_, glaucoma)| *glaucoma == wanted);
            of.filter(|(probability, _)| *probability >= threshold).count() as f64
        };
        OperatingRow {
            threshold,
            sensitivity: referred(true) / positives as f64,
            specificity: 1.0 - referred(false) / negatives as f64,
        }
    };
    let rows: Vec<OperatingRow> = thresholds.into_iter().map(row).collect();
    let unbeaten = |at: &usize| {
        let row = &rows[*at];
        let lower = at.checked_sub(1).map(|at| &rows[at]);
        row.sensitivity > 0.0
            && rows.get(at + 1).is_none_or(|next| next.sensitivity < row.sensitivity)
            && lower.is_none_or(|lower| lower.specificity < row.specificity)
    };
    let kept: Vec<OperatingRow> = (0..rows.len()).filter(unbeaten).map(|at| rows[at]).collect();
    thinned(&kept, MAX_ROWS)
}

/// At most `most` of `rows`, first and last among them.
fn thinned(rows: &[OperatingRow], most: usize) -> Vec<OperatingRow> {
    if rows.len() <= most {
        return rows.to_vec();
    }
    (0..most).map(|at| rows[at * (rows.len() - 1) / (most - 1)]).collect()
}

/// Between which values the middle `share` of `errors` lies. Where there are too few to tell so small
/// a tail (fewer than its inverse), the smallest and the largest. `None` for none.
#[must_use]
pub fn range(errors: &[f64], share: f64) -> Option<(f64, f64)> {
    let mut ascending = errors.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    let (&first, &last) = ascending.first().zip(ascending.last())?;
    let tail = (1.0 - share) / 2.0;
    // The tolerance keeps 20 eyes enough for a tail of 5 %.
    if (ascending.len() as f64) * tail < 1.0 - 1e-9 {
        return Some((first, last));
    }
    Some((quantile(&ascending, tail), quantile(&ascending, 1.0 - tail)))
}

/// The bound that at most the share `beyond` of `disagreements` passes, rounded up to a hundredth.
/// `None` where there are too few to tell so small a share.
#[must_use]
pub fn bound(disagreements: &[f64], beyond: f64) -> Option<f64> {
    if (disagreements.len() as f64) * beyond < 1.0 - 1e-9 {
        return None;
    }
    let mut ascending = disagreements.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    let exact = quantile(&ascending, 1.0 - beyond);
    // What is a hundredth but for its last bits is one.
    Some(((exact * BOUND_STEPS - 1e-9).ceil() / BOUND_STEPS).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Golden values: tests/golden/calibration/make.py (numpy).
    fn golden() -> Value {
        let path = glaucoma_tests::golden("calibration/figures.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn tables_equal_those_of_numpy() {
        for case in golden()["tables"].as_array().unwrap() {
            let positive = numbers(&case["positive"]).into_iter().map(|class| class > 0.5);
            let scored: Vec<(f64, bool)> =
                numbers(&case["scores"]).into_iter().zip(positive).collect();
            let found = operating_table(&scored);
            let expected = case["rows"].as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (row, expected) in found.iter().zip(expected) {
                let found = [row.threshold, row.sensitivity, row.specificity];
                let near = found.iter().zip(numbers(expected)).all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(near, "{row:?} {expected}");
            }
        }
        assert!(operating_table(&[(0.3, true)]).is_empty());
        assert!(operating_table(&[]).is_empty());
    }

    #[test]
    fn ranges_and_bounds_equal_those_of_numpy() {
        for case in golden()["ranges"].as_array().unwrap() {
            let (low, high) =
                range(&numbers(&case["errors"]), case["share"].as_f64().unwrap()).unwrap();
            let expected = numbers(&case["range"]);
            assert!(
                (low - expected[0]).abs() < 1e-12 && (high - expected[1]).abs() < 1e-12,
                "{case}"
            );
        }
        for case in golden()["bounds"].as_array().unwrap() {
            let found = bound(&numbers(&case["values"]), case["beyond"].as_f64().unwrap());
            assert_eq!(found, case["bound"].as_f64(), "{case}");
        }
        assert_eq!((range(&[], 0.9), bound(&[0.1; 49], 0.02)), (None, None));
        assert_eq!(bound(&[0.1; 50], 0.02), Some(0.1));
    }

    proptest! {
        /// A manifest takes every table that is made here, and no row is worse than another.
        #[test]
        fn tables_rise_and_hold_no_beaten_row(
            scored in proptest::collection::vec((0.0..=1.0f64, any::<bool>()), 2..300),
        ) {
            let table = operating_table(&scored);
            prop_assert!(table.len() <= MAX_ROWS);
            for pair in table.windows(2) {
                prop_assert!(pair[0].threshold < pair[1].threshold);
                prop_assert!(pair[0].sensitivity > pair[1].sensitivity);
                prop_assert!(pair[0].specificity < pair[1].specificity);
            }
            let both = scored.iter().any(|(_, class)| *class) && scored.iter().any(|(_, class)| !class);
            prop_assert_eq!(table.is_empty(), !both);
        }

        #[test]
        fn no_more_than_the_share_passes_the_bound(
            values in proptest::collection::vec(0.0..=1.0f64, 20..200),
        ) {
            let bound = bound(&values, 0.05).unwrap();
            let beyond = values.iter().filter(|value| **value > bound).count();
            prop_assert!(beyond as f64 <= 0.05 * values.len() as f64);
        }
    }
}
