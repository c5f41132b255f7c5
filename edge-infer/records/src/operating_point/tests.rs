//! Trade-offs worked out by hand with whole people, and what Bayes' rule must keep.

use proptest::prelude::*;

use super::*;

fn row(threshold: f64, sensitivity: f64, specificity: f64) -> OperatingRow {
    OperatingRow { threshold, sensitivity, specificity }
}

fn table() -> Vec<OperatingRow> {
    vec![row(0.2, 0.95, 0.70), row(0.5, 0.80, 0.90), row(0.8, 0.50, 0.98)]
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn of_1000_people_40_have_it() {
    // 40 of 1000 have the disease; at 0.5: 32 of the 40 are found, 96 of the other 960 are suspected as
    // well. 128 are referred, 32 of them rightly; 872 are not, 8 of them wrongly.
    let at = trade_off(row(0.5, 0.80, 0.90), 0.04);
    assert!(near(at.referrals_per_1000, 128.0));
    assert!(near(at.ppv.unwrap_or(0.0), 32.0 / 128.0));
    assert!(near(at.npv.unwrap_or(0.0), 864.0 / 872.0));
    assert!(near(at.missed_per_1000, 8.0));
    // At 0.2: 38 of 40 and 288 of 960. At 0.8: 20 of 40 and 19.2 of 960.
    let capacity = |most| operating_point(&table(), 0.04, Wanted::ReferralsPer1000(most));
    assert_eq!(capacity(326.0).map(|row| row.point.threshold), Ok(0.2));
    assert_eq!(capacity(325.0).map(|row| row.point.threshold), Ok(0.5));
    assert_eq!(capacity(128.0).map(|row| row.point.threshold), Ok(0.5));
    assert_eq!(capacity(127.0).map(|row| row.point.threshold), Ok(0.8));
    assert!(capacity(39.0).is_err_and(|error| error.to_string()
        == "no threshold of the table does that; the nearest is 0.8, with 39.2 referrals of 1000"));
    // PPV at 0.2: 38/326 = 0.117; at 0.5: 0.25; at 0.8: 20/39.2 = 0.510.
    let ppv = |least| operating_point(&table(), 0.04, Wanted::Ppv(least));
    assert_eq!(ppv(0.11).map(|row| row.point.threshold), Ok(0.2));
    assert_eq!(ppv(0.25).map(|row| row.point.threshold), Ok(0.5));
    assert_eq!(ppv(0.26).map(|row| row.point.threshold), Ok(0.8));
    assert!(
        matches!(ppv(0.6), Err(OperatingPointError::OutOfReach { nearest }) if near(nearest.point.threshold, 0.8))
    );
}

#[test]
fn the_ends_have_no_share() {
    let nobody = trade_off(row(1.0, 0.0, 1.0), 0.04);
    assert_eq!((nobody.ppv, nobody.npv), (None, Some(0.96)));
    let everybody = trade_off(row(0.0, 1.0, 0.0), 0.04);
    assert_eq!((everybody.ppv, everybody.npv), (Some(0.04), None));
}

#[test]
fn what_cannot_be_is_refused() {
    let wanted = Wanted::Ppv(0.1);
    let of = |table: &[OperatingRow]| operating_point(table, 0.04, wanted);
    let refused = |table: &[OperatingRow]| matches!(of(table), Err(OperatingPointError::Table(_)));
    assert!(refused(&[]));
    assert!(refused(&[row(0.5, f64::NAN, 0.9)]));
    assert!(refused(&[row(0.5, 1.1, 0.9)]));
    assert!(refused(&[row(0.5, 0.8, 0.9), row(0.5, 0.7, 0.95)]));
    assert!(refused(&[row(0.5, 0.8, 0.9), row(0.6, 0.9, 0.95)]));
    assert!(refused(&[row(0.5, 0.8, 0.9), row(0.6, 0.7, 0.85)]));
    for prevalence in [-0.1, 1.1, f64::NAN] {
        let answer = operating_point(&table(), prevalence, wanted);
        assert!(matches!(answer, Err(OperatingPointError::Range(..))), "{prevalence}");
    }
    let too_many = operating_point(&table(), 0.04, Wanted::ReferralsPer1000(1001.0));
    assert!(matches!(too_many, Err(OperatingPointError::Range(..))));
}

/// A table as a model may have: sensitivity falls, specificity rises.
fn any_table() -> impl Strategy<Value = Vec<OperatingRow>> {
    proptest::collection::vec((0.0..=1.0, 0.0..=1.0_f64), 1..12).prop_map(|pairs| {
        let (mut falling, mut rising): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        falling.sort_by(|a, b| b.total_cmp(a));
        rising.sort_by(f64::total_cmp);
        let rows = falling.iter().zip(&rising).enumerate();
        rows.map(|(i, (&s, &c))| row(f64::from(u8::try_from(i).unwrap_or(0)) / 16.0, s, c))
            .collect()
    })
}

proptest! {
    #[test]
    fn counts_of_people_agree(point in (0.0..=1.0, 0.0..=1.0), prevalence in 0.0..=1.0) {
        let at = trade_off(row(0.5, point.0, point.1), prevalence);
        let referred = at.referrals_per_1000 / 1000.0;
        // Everybody with the disease is either found or missed.
        let found = at.ppv.unwrap_or(0.0) * referred;
        prop_assert!(near(found + at.missed_per_1000 / 1000.0, prevalence));
        // Everybody not referred is healthy or missed.
        if let Some(npv) = at.npv {
            prop_assert!(near((1.0 - npv) * (1.0 - referred), at.missed_per_1000 / 1000.0));
        }
    }

    #[test]
    fn the_choice_is_within_the_wish_and_no_more_sensitive_row_is(
        table in any_table(), prevalence in 0.0..=1.0, most in 0.0..=1000.0
    ) {
        let within = |point: &OperatingRow| trade_off(*point, prevalence).referrals_per_1000 <= most;
        match operating_point(&table, prevalence, Wanted::ReferralsPer1000(most)) {
            Ok(row) => {
                prop_assert!(row.referrals_per_1000 <= most + 1e-6);
                let best = table.iter().filter(|p| within(p)).map(|p| p.sensitivity).fold(0.0, f64::max);
                prop_assert!(row.point.sensitivity >= best);
            }
            Err(OperatingPointError::OutOfReach { .. }) => prop_assert!(!table.iter().any(within)),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn more_capacity_never_finds_fewer(
        table in any_table(), prevalence in 0.0..=1.0, few in 0.0..=1000.0, more in 0.0..=1000.0
    ) {
        let (few, more) = (f64::min(few, more), f64::max(few, more));
        let at = |most| operating_point(&table, prevalence, Wanted::ReferralsPer1000(most));
        if let Ok(row) = at(few) {
            let wider = at(more).map(|row| row.point.sensitivity);
            prop_assert!(wider.is_ok_and(|sensitivity| sensitivity >= row.point.sensitivity));
        }
    }
}
