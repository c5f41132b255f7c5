//! How much the tasks' gradients conflict, measured beside the training without touching it.

use super::maths::Gram;
use super::task_gradients::TaskGradients;
use super::{Step, StrategyError};
use crate::network::Task;
use serde::Serialize;
use std::collections::BTreeMap;

/// The gradients of a step's tasks on what they share, at the weights before the step.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Conflict {
    /// On the encoder, for all tasks of the step.
    pub encoder: Part,
    /// On the decoder, for the map tasks of the step.
    pub decoder: Part,
}

/// The gradients of several tasks on one part of the network.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Part {
    /// Length of each task's gradient, by the task's name.
    pub norms: BTreeMap<&'static str, f64>,
    /// The same over the mean length of the tasks; left out where that is zero.
    pub ratios: BTreeMap<&'static str, f64>,
    /// Cosine of the angle between two tasks' gradients, -1 to 1, by both names in the paper's order,
    /// as in `disc-cup`; left out where one of them is zero.
    pub cosines: BTreeMap<String, f64>,
}

/// Measures on the batch of `step`: one forward and a backward pass a task. Weights, moments and, bit
/// for bit, the running statistics stay as they are.
///
/// # Errors
/// Those of the passes.
pub fn measure(step: &Step<'_>) -> Result<Conflict, StrategyError> {
    if step.tasks().is_empty() {
        return Ok(Conflict::default());
    }
    let found = step.without_trace(|| TaskGradients::take(step))?;
    let part = |prefix: &str, admits: fn(Task) -> bool| -> Result<Part, StrategyError> {
        let inside: Vec<bool> =
            step.parameter_names().map(|name| name.starts_with(prefix)).collect();
        let kept: Vec<usize> = (0..found.tasks.len()).filter(|&i| admits(found.tasks[i])).collect();
        let tasks: Vec<Task> = kept.iter().map(|&i| found.tasks[i]).collect();
        Ok(Part::of(&tasks, &found.gram_over(|parameter| inside[parameter])?.part(&kept)))
    };
    Ok(Conflict { encoder: part("encoder.", |_| true)?, decoder: part("decoder.", Task::is_map)? })
}

impl Part {
    fn of(tasks: &[Task], gram: &Gram) -> Self {
        let norms = gram.norms();
        let mean = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
        let mut part = Self::default();
        for (i, one) in tasks.iter().enumerate() {
            part.norms.insert(one.name(), norms[i]);
            if mean > 0.0 {
                part.ratios.insert(one.name(), norms[i] / mean);
            }
            for (j, other) in tasks.iter().enumerate().skip(i + 1) {
                let product = norms[i] * norms[j];
                if product > 0.0 {
                    let cosine = (gram[(i, j)] / product).clamp(-1.0, 1.0);
                    part.cosines.insert(format!("{}-{}", one.name(), other.name()), cosine);
                }
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::super::maths::Gram;
    use super::*;

    #[test]
    fn angles_and_lengths_are_those_of_the_vectors() {
        // (3, 0), (0, 4), (-1, 0) and a zero vector.
        let rows = [[3.0, 0.0], [0.0, 4.0], [-1.0, 0.0], [0.0, 0.0f64]];
        let product = |i: usize, j: usize| rows[i][0] * rows[j][0] + rows[i][1] * rows[j][1];
        let part = Part::of(&Task::ALL, &Gram::new(4, product));
        assert_eq!(part.norms["disc"], 4.0);
        assert_eq!(part.ratios["glaucoma"], 1.5);
        assert_eq!(part.cosines["glaucoma-disc"], 0.0);
        assert_eq!(part.cosines["glaucoma-cup"], -1.0);
        assert_eq!(part.cosines.len(), 3);
    }
}
