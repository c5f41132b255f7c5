//! The paper's curves: ROC (Figure 1), metrics and losses against the learning rate (2 and 3).

use super::StudyConfig;
use super::table::{Cell, rates};
use super::trial::TrialResult;
use crate::evaluation::figures::{roc_axes, roc_series};
use crate::evaluation::report::pairs;
use crate::network::Task;
use crate::plot::{Axis, Chart, Panel, Series};
use crate::strategy::StrategyName;
use crate::training::curves::Curves;
use glaucoma_common::metrics::auc;

/// A chart by the name of its file.
pub type Named = (&'static str, Chart);

/// Every chart that `results` allow.
#[must_use]
pub fn charts(config: &StudyConfig, results: &[TrialResult]) -> Vec<Named> {
    let found = [
        ("figure1-roc", roc_of_methods(config, results)),
        ("figure2-metrics", sweep(config, results, &METRICS)),
        ("figure3-losses", sweep(config, results, &LOSSES)),
        ("conflict", conflict(config, results)),
    ];
    found.into_iter().filter_map(|(name, chart)| Some((name, chart?))).collect()
}

/// Figure 1: single-task learning and MTL-IO, of each the seed whose area is the median.
fn roc_of_methods(config: &StudyConfig, results: &[TrialResult]) -> Option<Chart> {
    let usual = config.training.optimizer.lr;
    let mut curves = Vec::new();
    for (color, method) in [StrategyName::Single, StrategyName::Independent].iter().enumerate() {
        let own =
            results.iter().filter(|r| r.method == *method && !r.pretrained && r.rate == usual);
        let mut seeds: Vec<(f64, Vec<f64>, Vec<bool>)> = own
            .filter_map(|result| {
                let (scores, classes): (Vec<f64>, Vec<bool>) =
                    pairs(&result.scored).into_iter().unzip();
                Some((auc(&scores, &classes)?, scores, classes))
            })
            .collect();
        seeds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, scores, classes)) = seeds.get(seeds.len() / 2) else { continue };
        curves.extend(roc_series(&label(*method), color, scores, classes));
    }
    (!curves.is_empty()).then(|| Chart {
        title: "Glaucoma: sensitivity and specificity (median seed)".to_owned(),
        columns: 1,
        panels: vec![roc_axes("", curves)],
    })
}

/// How much the tasks conflicted in the first trial of MTL-IO that measured it.
fn conflict(config: &StudyConfig, results: &[TrialResult]) -> Option<Chart> {
    let own = results.iter().filter(|r| r.method == StrategyName::Independent);
    own.filter_map(|result| {
        let curves = Curves::read(&config.out.join("trials").join(&result.name)).ok()?;
        curves.conflict(&format!("Conflict of the tasks: {}", result.name))
    })
    .next()
}

/// What is drawn over the learning rates: a title, and a panel a task.
struct Sweep {
    title: &'static str,
    panels: [&'static str; 4],
    value: fn(&TrialResult) -> [Option<f64>; 4],
}

/// Figure 2.
const METRICS: Sweep = Sweep {
    title: "Best validation metric against the learning rate, standard deviation shaded",
    panels: ["glaucoma: AUC (classifier)", "disc: Dice", "cup: Dice", "fovea: error, network px"],
    value: |result| result.best_metrics,
};

/// Figure 3.
const LOSSES: Sweep = Sweep {
    title: "Lowest validation loss against the learning rate, standard deviation shaded",
    panels: ["glaucoma: focal loss", "disc: cross-entropy", "cup: cross-entropy", "fovea: loss"],
    value: |result| result.lowest,
};

/// `None` unless some method was tried at two rates.
fn sweep(config: &StudyConfig, results: &[TrialResult], what: &Sweep) -> Option<Chart> {
    let own = |method: StrategyName| -> Vec<&TrialResult> {
        results.iter().filter(|r| r.method == method && !r.pretrained).collect()
    };
    let swept: Vec<(usize, StrategyName)> = config
        .sweep_methods
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, method)| rates(&own(*method)).len() > 1)
        .collect();
    let panel = |task: Task| {
        let line = |(color, method): &(usize, StrategyName)| {
            let own = own(*method);
            let value = |result: &&TrialResult| (what.value)(result)[task.index()];
            let at = |rate: f64| {
                let here = own.iter().copied().filter(|result| result.rate == rate);
                Cell::of(&here.filter_map(|result| value(&result)).collect::<Vec<_>>())
            };
            let cells: Vec<(f64, Cell)> =
                rates(&own).into_iter().filter_map(|rate| Some((rate, at(rate)?))).collect();
            Series {
                band: Some(cells.iter().map(|(_, c)| (c.mean - c.sd, c.mean + c.sd)).collect()),
                marked: true,
                ..Series::line(
                    label(*method),
                    *color,
                    cells.iter().map(|(rate, cell)| (*rate, cell.mean)).collect(),
                )
            }
        };
        Panel {
            title: what.panels[task.index()].to_owned(),
            x: Axis::logarithmic("learning rate"),
            y: Axis::free(""),
            series: swept.iter().map(line).collect(),
        }
    };
    (!swept.is_empty()).then(|| Chart {
        title: what.title.to_owned(),
        columns: 2,
        panels: config.training.network.tasks.iter().map(|task| panel(*task)).collect(),
    })
}

/// The method as the paper calls it, where it has a name there.
#[must_use]
pub fn label(method: StrategyName) -> String {
    match method {
        StrategyName::Single => "STL".to_owned(),
        StrategyName::Independent => "MTL-IO".to_owned(),
        StrategyName::Gradnorm => "GradNorm".to_owned(),
        StrategyName::Pcgrad => "PCGrad".to_owned(),
        other => other.name().to_owned(),
    }
}
