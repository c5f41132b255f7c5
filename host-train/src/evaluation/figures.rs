//! ROC and reliability curves of an evaluation.

use super::reliability::Reliability;
use super::report::pairs;
use super::score::Scored;
use crate::plot::{Axis, Chart, Panel, Series};
use glaucoma_common::metrics::{auc, roc};

/// The ROC of each score of each group of pictures, a panel a group; `None` when no group has both
/// classes.
#[must_use]
pub fn roc_chart(title: &str, groups: &[(&str, &[Scored])]) -> Option<Chart> {
    let panels: Vec<Panel> =
        groups.iter().filter_map(|(name, scored)| roc_panel(name, scored)).collect();
    (!panels.is_empty()).then(|| Chart { title: title.to_owned(), columns: 2, panels })
}

fn roc_panel(name: &str, scored: &[Scored]) -> Option<Panel> {
    type Score = fn(&Scored) -> Option<f64>;
    let scores: [(&str, Score); 3] = [
        ("classifier", |s| s.classifier),
        ("vCDR model", |s| s.vcdr_probability),
        ("fused", |s| s.fused),
    ];
    let curves = scores.into_iter().enumerate().filter_map(|(color, (name, score))| {
        let labelled = scored.iter().filter_map(|s| Some((score(s)?, s.glaucoma?)));
        let (scores, positive): (Vec<f64>, Vec<bool>) = labelled.unzip();
        roc_series(name, color, &scores, &positive)
    });
    let curves: Vec<Series> = curves.collect();
    (!curves.is_empty()).then(|| roc_axes(name, curves))
}

/// One ROC curve with its area in the legend; `None` unless both classes are there.
#[must_use]
pub fn roc_series(name: &str, color: usize, scores: &[f64], positive: &[bool]) -> Option<Series> {
    let area = auc(scores, positive)?;
    let points = roc(scores, positive).into_iter().map(|p| (1.0 - p.specificity, p.sensitivity));
    Some(Series::line(format!("{name}, AUC {area:.3}"), color, points.collect()))
}

/// The axes of a ROC with the line of chance.
#[must_use]
pub fn roc_axes(title: &str, mut curves: Vec<Series>) -> Panel {
    curves.insert(0, Series::reference(vec![(0.0, 0.0), (1.0, 1.0)]));
    Panel {
        title: title.to_owned(),
        x: Axis::fixed("1 - specificity", 0.0, 1.0),
        y: Axis::fixed("sensitivity", 0.0, 1.0),
        series: curves,
    }
}

/// The reliability curve of each group of pictures with Wilson's intervals, a panel a group; `None`
/// when no picture of any has both a class and a probability.
#[must_use]
pub fn reliability_chart(title: &str, groups: &[(&str, &[Scored])]) -> Option<Chart> {
    let panel = |(name, scored): &(&str, &[Scored])| {
        let found = Reliability::of(&pairs(scored))?;
        let curve = Series {
            band: Some(found.bins.iter().map(|bin| (bin.interval[0], bin.interval[1])).collect()),
            marked: true,
            ..Series::line(
                format!("n {}, calibration error {:.3}", found.n, found.calibration_error),
                0,
                found.bins.iter().map(|bin| (bin.predicted, bin.observed)).collect(),
            )
        };
        Some(Panel {
            title: (*name).to_owned(),
            x: Axis::fixed("probability said", 0.0, 1.0),
            y: Axis::fixed("share with glaucoma", 0.0, 1.0),
            series: vec![Series::reference(vec![(0.0, 0.0), (1.0, 1.0)]), curve],
        })
    };
    let panels: Vec<Panel> = groups.iter().filter_map(panel).collect();
    (!panels.is_empty()).then(|| Chart { title: title.to_owned(), columns: 2, panels })
}
