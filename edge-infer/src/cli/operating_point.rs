//! `edge-infer operating-point`: what a model's thresholds would mean for a population.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use glaucoma_common::calibration::Calibration;
use glaucoma_common::metrics::share_interval;
use glaucoma_records::operating_point::{TradeOff, operating_point, trade_off};
use serde::Serialize;

use super::Completion;
use super::engine::{EngineArgs, Photographs};
use crate::bundle::{self, Bundle};
use crate::kiosk::operating_point::{Choice, calibration};

/// Of the intervals that are printed.
const CONFIDENCE: f64 = 0.95;

/// Arguments of `operating-point`.
#[derive(Debug, Args)]
pub struct OperatingPointArgs {
    /// The model to use instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// The share of the people screened who have glaucoma, above 0 and below 1.
    #[arg(long, value_name = "SHARE")]
    pub prevalence: f64,

    /// Choose the most sensitive threshold with at most so many referrals of 1000 people.
    #[arg(long, value_name = "N", conflicts_with = "ppv")]
    pub referrals_per_1000: Option<f64>,

    /// Choose the most sensitive threshold at which at least this share of those referred has glaucoma.
    #[arg(long, value_name = "SHARE")]
    pub ppv: Option<f64>,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,

    /// How the network is run, once, to see that it is the model it says it is.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// The trade-offs of a table, for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    model: (&'a str, &'a str),
    measured_on: &'a str,
    positives: u64,
    negatives: u64,
    ungraded: u64,
    prevalence: f64,
    /// The model's own threshold.
    threshold: f64,
    rows: Vec<Row>,
    chosen: Option<Row>,
}

/// One trade-off; intervals are Wilson's at 95 %.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    threshold: f64,
    sensitivity: f64,
    sensitivity_interval: (f64, f64),
    specificity: f64,
    specificity_interval: (f64, f64),
    ppv: Option<f64>,
    npv: Option<f64>,
    referrals_per_1000: f64,
    missed_per_1000: f64,
}

/// Runs the command.
///
/// # Errors
/// No usable model, one without a calibration table, a wish that cannot be or that no threshold fulfils.
pub fn run(args: &OperatingPointArgs) -> anyhow::Result<Completion> {
    let model = bundle::named_or_default(args.model.as_deref())?;
    let Bundle { manifest, .. } = Bundle::open(&model, &args.engine.options(Photographs::Alone))?;
    let measured = calibration(&manifest).with_context(|| model.display().to_string())?;
    let OperatingPointArgs { prevalence, referrals_per_1000, ppv, .. } = *args;
    let choice = Choice { prevalence, referrals_per_1000, ppv };
    let row = |trade_off: TradeOff| Row::new(&trade_off, measured);
    let chosen = if referrals_per_1000.is_none() && ppv.is_none() {
        choice.check_prevalence().map_err(anyhow::Error::msg)?;
        None
    } else {
        let wanted = choice.wanted().map_err(anyhow::Error::msg)?;
        Some(row(operating_point(&measured.table, prevalence, wanted)?))
    };
    let answer = Answer {
        model: (&manifest.name, &manifest.version),
        measured_on: &measured.measured_on,
        positives: measured.positives,
        negatives: measured.negatives,
        ungraded: measured.ungraded,
        prevalence,
        threshold: manifest.operating_point.threshold,
        rows: measured.table.iter().map(|point| row(trade_off(*point, prevalence))).collect(),
        chosen,
    };
    if args.json {
        println!("{}", serde_json::to_string(&answer)?);
    } else {
        print!("{}", answer.text());
    }
    Ok(Completion::Whole)
}

/// A trade-off in one line.
pub fn in_words(chosen: &TradeOff) -> String {
    format!(
        "refer from a probability of {}: {:.0} of 1000 people are referred, {:.0} of them rightly, {:.0} are missed",
        chosen.point.threshold,
        chosen.referrals_per_1000,
        chosen.ppv.unwrap_or(0.0) * chosen.referrals_per_1000,
        chosen.missed_per_1000
    )
}

impl Row {
    fn new(of: &TradeOff, measured: &Calibration) -> Self {
        let interval = |share: f64, n: u64| {
            let hits = (share * n as f64).round() as u64;
            share_interval(hits, n, CONFIDENCE).map_or((0.0, 1.0), |found| (found.low, found.high))
        };
        Self {
            threshold: of.point.threshold,
            sensitivity: of.point.sensitivity,
            sensitivity_interval: interval(of.point.sensitivity, measured.positives),
            specificity: of.point.specificity,
            specificity_interval: interval(of.point.specificity, measured.negatives),
            ppv: of.ppv,
            npv: of.npv,
            referrals_per_1000: of.referrals_per_1000,
            missed_per_1000: of.missed_per_1000,
        }
    }

    fn line(&self) -> String {
        let interval =
            |value: f64, (low, high): (f64, f64)| format!("{value:.2} [{low:.2}, {high:.2}]");
        let share = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        format!(
            "{:>9.4}  {:<18}  {:<18}  {:>5}  {:>5}  {:>8.0}  {:>6.1}",
            self.threshold,
            interval(self.sensitivity, self.sensitivity_interval),
            interval(self.specificity, self.specificity_interval),
            share(self.ppv),
            share(self.npv),
            self.referrals_per_1000,
            self.missed_per_1000
        )
    }
}

impl Answer<'_> {
    fn text(&self) -> String {
        let Self { model: (name, version), measured_on, positives, negatives, ungraded, .. } = self;
        let mut text = format!(
            "{name} {version}, measured on {measured_on}\n\
             {positives} photographs with glaucoma, {negatives} without; {ungraded} more could not be graded\n\
             of 1000 people {:.0} have glaucoma; those who cannot be graded are referred as well and come on top\n\n\
             refer from  sensitivity         specificity           PPV    NPV  referred  missed\n",
            1000.0 * self.prevalence
        );
        for row in &self.rows {
            let mark = if self.chosen.as_ref() == Some(row) { "*" } else { " " };
            // Writing to a String cannot fail.
            let own = if row.threshold == self.threshold { "  the model's own" } else { "" };
            let _ = writeln!(text, "{mark}{}{own}", row.line());
        }
        text
    }
}
