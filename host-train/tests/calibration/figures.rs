//! The statistics against numpy's, and what every table must keep.

use glaucoma_common::calibration::MAX_ROWS;
use host_train::calibration::figures::{bound, operating_table, range};
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
        let scored: Vec<(f64, bool)> = numbers(&case["scores"]).into_iter().zip(positive).collect();
        let found = operating_table(&scored, case["own"].as_f64().unwrap());
        let expected = case["rows"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (row, expected) in found.iter().zip(expected) {
            let found = [row.threshold, row.sensitivity, row.specificity];
            let near = found.iter().zip(numbers(expected)).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near, "{row:?} {expected}");
        }
    }
    assert!(operating_table(&[(0.3, true)], 0.5).is_empty());
    assert!(operating_table(&[], 0.5).is_empty());
}

#[test]
fn ranges_and_bounds_equal_those_of_numpy() {
    for case in golden()["ranges"].as_array().unwrap() {
        let (low, high) =
            range(&numbers(&case["errors"]), case["share"].as_f64().unwrap()).unwrap();
        let expected = numbers(&case["range"]);
        assert!((low - expected[0]).abs() < 1e-12 && (high - expected[1]).abs() < 1e-12, "{case}");
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
        let table = operating_table(&scored, 0.5);
        prop_assert!(table.len() <= MAX_ROWS);
        for pair in table.windows(2) {
            prop_assert!(pair[0].threshold < pair[1].threshold);
            prop_assert!(pair[0].sensitivity >= pair[1].sensitivity);
            prop_assert!(pair[0].specificity <= pair[1].specificity);
            let own = pair.iter().any(|row| row.threshold == 0.5);
            prop_assert!(own || pair[0].sensitivity > pair[1].sensitivity);
            prop_assert!(own || pair[0].specificity < pair[1].specificity);
        }
        let both = scored.iter().any(|(_, class)| *class) && scored.iter().any(|(_, class)| !class);
        prop_assert_eq!(table.is_empty(), !both);
    }

    #[test]
    fn about_the_share_passes_the_bound(
        values in proptest::collection::vec(0.0..=1.0f64, 20..200),
    ) {
        let bound = bound(&values, 0.05).unwrap();
        let beyond = values.iter().filter(|value| **value > bound).count() as f64;
        let below = values.iter().filter(|value| **value < bound - 0.01).count() as f64;
        let n = values.len() as f64;
        // Linear between neighbours: to within one photograph either way.
        prop_assert!(beyond <= 0.05 * n + 1.0 && below <= 0.95 * n + 1.0);
    }
}
