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
/// that many are kept, evenly spread. The row of the threshold `own`, at which the model works unless
/// told otherwise, is always there. Empty where a class is missing.
#[must_use]
pub fn operating_table(scored: &[(f64, bool)], own: f64) -> Vec<OperatingRow> {
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
    let row = |threshold: f64| {
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
    let rows: Vec<OperatingRow> =
        thresholds.into_iter().map(|step| row(step as f64 / STEPS)).collect();
    let unbeaten = |at: &usize| {
        let row = &rows[*at];
        let lower = at.checked_sub(1).map(|at| &rows[at]);
        row.sensitivity > 0.0
            && rows.get(at + 1).is_none_or(|next| next.sensitivity < row.sensitivity)
            && lower.is_none_or(|lower| lower.specificity < row.specificity)
    };
    let kept: Vec<OperatingRow> = (0..rows.len()).filter(unbeaten).map(|at| rows[at]).collect();
    let mut table = thinned(&kept, MAX_ROWS - 1);
    if let Err(at) = table.binary_search_by(|row| row.threshold.total_cmp(&own)) {
        table.insert(at, row(own));
    }
    table
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

/// The bound that the share `beyond` of `disagreements` passes (their quantile, linear between
/// neighbours), rounded up to a hundredth.
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
