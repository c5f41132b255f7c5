//! A training's log as charts: losses, and how much the tasks conflict.

use super::log::FILE_NAME;
use crate::network::Task;
use crate::plot::{Axis, Chart, Panel, Series};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What a log holds, by the name of the curve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// Training loss of each task over the steps, by the task's name.
    pub training: Named,
    /// Validation loss of each task.
    pub validation: Named,
    /// Cosines between the tasks' gradients on the encoder, by pair.
    pub encoder_cosines: Named,
    /// The same on the decoder.
    pub decoder_cosines: Named,
    /// Length of each task's gradient on the encoder over the mean length.
    pub ratios: Named,
    /// Weight that the strategy gave each task.
    pub weights: Named,
}

/// Points (step, value) by the curve's name.
pub type Named = BTreeMap<String, Vec<(f64, f64)>>;

impl Curves {
    /// Reads the log in `folder`. A line that is cut short is no line.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(folder.join(FILE_NAME))?;
        let mut curves = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(step) = line["step"].as_f64() else { continue };
            match line["event"].as_str() {
                Some("step") => add(&mut curves.training, step, &line["losses"]),
                Some("validation") => add(&mut curves.validation, step, &line["losses"]),
                Some("conflict") => {
                    let (encoder, decoder) = (&line["encoder"], &line["decoder"]);
                    add(&mut curves.encoder_cosines, step, &encoder["cosines"]);
                    add(&mut curves.decoder_cosines, step, &decoder["cosines"]);
                    add(&mut curves.ratios, step, &encoder["ratios"]);
                    add(&mut curves.weights, step, &line["weights"]);
                }
                _ => {}
            }
        }
        Ok(curves)
    }

    /// A panel of losses for each task that has any.
    #[must_use]
    pub fn losses(&self, title: &str) -> Chart {
        let panel = |task: Task| {
            let curve = |name: &str, color, curves: &Named| {
                curves.get(task.name()).map(|points| Series::line(name, color, points.clone()))
            };
            let series: Vec<Series> =
                [curve("training", 0, &self.training), curve("validation", 1, &self.validation)]
                    .into_iter()
                    .flatten()
                    .collect();
            (!series.is_empty()).then(|| Panel {
                title: task.name().to_owned(),
                x: Axis::free("step"),
                y: Axis::free("loss"),
                series,
            })
        };
        let panels = Task::ALL.into_iter().filter_map(panel).collect();
        Chart { title: title.to_owned(), columns: 2, panels }
    }

    /// Cosines, norm ratios and weights; `None` when the training measured no conflict
    /// (`telemetry_every`).
    #[must_use]
    pub fn conflict(&self, title: &str) -> Option<Chart> {
        let panel =
            |title: &str, y: Axis, curves: &Named| {
                let level = if y.range.is_some() { 0.0 } else { 1.0 };
                let every = || curves.values().flatten().map(|point| point.0);
                let (first, last) = (every().reduce(f64::min)?, every().reduce(f64::max)?);
                let mut series = vec![Series::reference(vec![(first, level), (last, level)])];
                series.extend(curves.iter().enumerate().map(|(color, (name, points))| {
                    Series::line(name.clone(), color, points.clone())
                }));
                Some(Panel { title: title.to_owned(), x: Axis::free("step"), y, series })
            };
        let cosine = || Axis::fixed("cosine", -1.0, 1.0);
        let panels: Vec<Panel> = [
            panel("angles on the encoder", cosine(), &self.encoder_cosines),
            panel("angles on the decoder", cosine(), &self.decoder_cosines),
            panel("lengths on the encoder", Axis::free("norm / mean norm"), &self.ratios),
            self.weights_differ()
                .then(|| panel("weights given", Axis::free("weight"), &self.weights))
                .flatten(),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!panels.is_empty()).then(|| Chart { title: title.to_owned(), columns: 2, panels })
    }
}

impl Curves {
    /// Whether the strategy ever preferred a task.
    fn weights_differ(&self) -> bool {
        self.weights.values().flatten().any(|(_, weight)| (weight - 1.0).abs() > 1e-9)
    }
}

/// Takes the numbers of an object among the curves of their names.
fn add(curves: &mut Named, step: f64, numbers: &Value) {
    for (name, value) in numbers.as_object().into_iter().flatten() {
        if let Some(value) = value.as_f64() {
            curves.entry(name.clone()).or_default().push((step, value));
        }
    }
}
