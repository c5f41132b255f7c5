//! From trials to rows: mean and standard deviation over the seeds.

use super::trial::TrialResult;
use crate::strategy::StrategyName;
use glaucoma_common::metrics::mean_and_deviation;

/// A number over several seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Seeds.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for one seed.
    pub sd: f64,
}

impl Cell {
    /// Of one value a seed; `None` for none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let (mean, sd) = mean_and_deviation(values)?;
        let sd = if values.len() > 1 { sd } else { 0.0 };
        Some(Self { n: values.len(), mean, sd })
    }

    /// `mean ± sd` with so many decimals; without the deviation for one seed.
    #[must_use]
    pub fn text(&self, decimals: usize) -> String {
        let Self { n, mean, sd } = self;
        if *n > 1 {
            format!("{mean:.decimals$} ± {sd:.decimals$}")
        } else {
            format!("{mean:.decimals$}")
        }
    }
}

/// One method at one learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The method.
    pub method: StrategyName,
    /// Whether its encoder was pretrained.
    pub pretrained: bool,
    /// The learning rate.
    pub rate: f64,
    /// Learnable numbers.
    pub parameters: usize,
    /// Seconds a step.
    pub seconds: Option<Cell>,
    /// AUC of glaucoma by the fused probability, percent.
    pub auc: Option<Cell>,
    /// The same by the classifier alone.
    pub classifier: Option<Cell>,
    /// Dice of the disc, percent.
    pub disc: Option<Cell>,
    /// Dice of the cup, percent.
    pub cup: Option<Cell>,
    /// Absolute error of the vertical cup-to-disc ratio.
    pub vcdr: Option<Cell>,
    /// Fovea error, network pixels.
    pub fovea: Option<Cell>,
    /// Total validation loss of the chosen epoch.
    pub chosen: Option<Cell>,
}

impl Row {
    /// Of the trials of one method at one rate; `None` for none.
    #[must_use]
    pub fn of(trials: &[&TrialResult]) -> Option<Self> {
        let first = trials.first()?;
        let over = |value: &dyn Fn(&TrialResult) -> Option<f64>| {
            Cell::of(&trials.iter().filter_map(|trial| value(trial)).collect::<Vec<_>>())
        };
        let class = |t: &TrialResult| t.report.glaucoma;
        Some(Self {
            method: first.method,
            pretrained: first.pretrained,
            rate: first.rate,
            parameters: first.parameters,
            seconds: over(&|t| Some(t.seconds)),
            auc: over(&|t| Some(100.0 * class(t)?.fused?.auc)),
            classifier: over(&|t| Some(100.0 * class(t)?.classifier?.auc)),
            disc: over(&|t| Some(100.0 * t.report.disc_dice?.mean)),
            cup: over(&|t| Some(100.0 * t.report.cup_dice?.mean)),
            vcdr: over(&|t| Some(t.report.vcdr_error?.mean)),
            fovea: over(&|t| Some(t.report.fovea_px?.mean)),
            chosen: over(&|t| Some(t.chosen)),
        })
    }
}

/// One row a method among `methods`, at the learning rate with the lowest mean validation loss of
/// those that were tried with every seed that any rate was tried with.
#[must_use]
pub fn rows(results: &[TrialResult], methods: &[(StrategyName, bool)]) -> Vec<Row> {
    methods.iter().filter_map(|(method, pretrained)| best(results, *method, *pretrained)).collect()
}

fn best(results: &[TrialResult], method: StrategyName, pretrained: bool) -> Option<Row> {
    let own = results.iter().filter(|r| r.method == method && r.pretrained == pretrained);
    let own: Vec<&TrialResult> = own.collect();
    let candidates: Vec<Row> = rates(&own).into_iter().filter_map(|rate| at(&own, rate)).collect();
    let seeds = |row: &Row| row.chosen.map_or(0, |cell| cell.n);
    let most = candidates.iter().map(seeds).max()?;
    let loss = |row: &Row| row.chosen.map_or(f64::INFINITY, |cell| cell.mean);
    let complete = candidates.into_iter().filter(|row| seeds(row) == most);
    complete.min_by(|a, b| loss(a).total_cmp(&loss(b)))
}

/// The learning rates among `results`, ascending.
#[must_use]
pub fn rates(results: &[&TrialResult]) -> Vec<f64> {
    let mut rates: Vec<f64> = results.iter().map(|result| result.rate).collect();
    rates.sort_unstable_by(f64::total_cmp);
    rates.dedup();
    rates
}

fn at(results: &[&TrialResult], rate: f64) -> Option<Row> {
    let own: Vec<&TrialResult> = results.iter().copied().filter(|r| r.rate == rate).collect();
    Row::of(&own)
}
