//! Which threshold a programme works at: from how common the disease is and how many people its clinic can
//! see, by Bayes' rule.

use std::cmp::Ordering;

use glaucoma_common::calibration::OperatingRow;
use thiserror::Error;

/// What the programme wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// At most this many referrals of 1000 people screened, 0 to 1000.
    ReferralsPer1000(f64),
    /// At least this share of those referred shall have the disease (positive predictive value), 0 to 1.
    Ppv(f64),
}

/// What an operating point means for a population. Counted are graded people: those referred because they
/// could not be graded come on top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TradeOff {
    /// The row of the table.
    pub point: OperatingRow,
    /// Of those referred, the share that has the disease; `None` where nobody is referred.
    pub ppv: Option<f64>,
    /// Of those not referred, the share that has not got it; `None` where everybody is referred.
    pub npv: Option<f64>,
    /// Referrals of 1000 people screened.
    pub referrals_per_1000: f64,
    /// People of 1000 screened who have the disease and are not referred.
    pub missed_per_1000: f64,
}

/// Why there is no operating point.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum OperatingPointError {
    /// The table cannot be one.
    #[error("the calibration table cannot be right: {0}")]
    Table(&'static str),
    /// A share outside its range.
    #[error("{0} must be from {1} to {2}")]
    Range(&'static str, f64, f64),
    /// No row does what is wanted.
    #[error(
        "no threshold of the table does that; the nearest is {}, with {:.1} referrals of 1000",
        .nearest.point.threshold, .nearest.referrals_per_1000
    )]
    OutOfReach {
        /// The row that comes nearest.
        nearest: TradeOff,
    },
}

/// Bayes' rule for one row of the table and a prevalence from 0 to 1.
///
/// With prevalence p, sensitivity s and specificity c: referred `p s + (1 - p)(1 - c)`, PPV `p s /
/// referred`, NPV `(1 - p) c / (1 - referred)`, missed `p (1 - s)` (Altman and Bland, BMJ 1994;309:102).
#[must_use]
pub fn trade_off(point: OperatingRow, prevalence: f64) -> TradeOff {
    let found = prevalence * point.sensitivity;
    let spared = (1.0 - prevalence) * point.specificity;
    let missed = prevalence * (1.0 - point.sensitivity);
    let referred = found + (1.0 - prevalence) * (1.0 - point.specificity);
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    TradeOff {
        point,
        ppv: share(found, referred),
        npv: share(spared, spared + missed),
        referrals_per_1000: 1000.0 * referred,
        missed_per_1000: 1000.0 * missed,
    }
}

/// The most sensitive row of `table` that does what is wanted where the share `prevalence` of people
/// has the disease; of several, the most specific.
///
/// # Errors
/// A table that is empty, has a value outside 0 to 1, or whose sensitivity rises or specificity falls as the
/// threshold rises; a prevalence or a wish out of range; no such row.
pub fn operating_point(
    table: &[OperatingRow],
    prevalence: f64,
    wanted: Wanted,
) -> Result<TradeOff, OperatingPointError> {
    check(table)?;
    in_range("the prevalence", prevalence, 1.0)?;
    match wanted {
        Wanted::ReferralsPer1000(most) => in_range("the referrals of 1000", most, 1000.0)?,
        Wanted::Ppv(least) => in_range("the positive predictive value", least, 1.0)?,
    }
    // How far a row is from doing it; not positive where it does. Rounding must not decide: a capacity read
    // off a trade-off gives the same row.
    let lack = |row: &TradeOff| match wanted {
        Wanted::ReferralsPer1000(most) => row.referrals_per_1000 - most - 1e-9,
        Wanted::Ppv(least) => least - row.ppv.unwrap_or(0.0) - 1e-12,
    };
    let rows = || table.iter().map(|&point| trade_off(point, prevalence));
    let better = |a: &TradeOff, b: &TradeOff| {
        let by = |value: fn(&OperatingRow) -> f64| value(&a.point).total_cmp(&value(&b.point));
        by(|p| p.sensitivity).then_with(|| by(|p| p.specificity))
    };
    let nearest = || rows().min_by(|a, b| lack(a).total_cmp(&lack(b)));
    match rows().filter(|row| lack(row) <= 0.0).max_by(better) {
        Some(row) => Ok(row),
        None => Err(nearest().map_or(OperatingPointError::Table(EMPTY), |nearest| {
            OperatingPointError::OutOfReach { nearest }
        })),
    }
}

const EMPTY: &str = "it has no rows";

fn check(table: &[OperatingRow]) -> Result<(), OperatingPointError> {
    let bad = |why| Err(OperatingPointError::Table(why));
    if table.is_empty() {
        return bad(EMPTY);
    }
    let share = |value: f64| (0.0..=1.0).contains(&value);
    if !table.iter().all(|p| share(p.threshold) && share(p.sensitivity) && share(p.specificity)) {
        return bad("a value is not from 0 to 1");
    }
    let mut rows = table.to_vec();
    rows.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
    for pair in rows.windows(2) {
        if pair[0].threshold.total_cmp(&pair[1].threshold) == Ordering::Equal {
            return bad("a threshold is there twice");
        }
        if pair[1].sensitivity > pair[0].sensitivity || pair[1].specificity < pair[0].specificity {
            return bad("a higher threshold must not suspect more people");
        }
    }
    Ok(())
}

fn in_range(what: &'static str, value: f64, most: f64) -> Result<(), OperatingPointError> {
    if (0.0..=most).contains(&value) {
        return Ok(());
    }
    Err(OperatingPointError::Range(what, 0.0, most))
}

#[cfg(test)]
mod tests;
