//! Random grouping: the tasks are dealt anew at every step into a few groups, each with an optimiser of
//! its own (Pascal et al. 2021, "Optimization Strategies in Multi-Task Learning: Averaged or
//! Independent Losses?").

use super::draw::shuffled;
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use super::{refuse_strangers, under_prefix, with_prefix};
use crate::adam::{Adam, AdamConfig};
use crate::network::{Task, UNet};
use candle_core::Tensor;

/// Between the aggregated loss (one group) and alternating steps (one group a task): for each group in
/// turn one step on the sum of its tasks' losses, at the weights that the group before left behind.
///
/// The article this project reproduces cites the method for independent optimisers and leaves the
/// grouping to it; that work proposes random grouping to trade cost for separation. How it is read
/// here: at every step the tasks that have a label are shuffled and dealt like cards, so that groups
/// differ in size by one at most, and the moving averages belong to the *group's number*, not to a
/// task: with as many groups as tasks this is not yet MTL-IO, since the tasks change places.
pub struct Grouped {
    groups: Vec<Adam>,
}

impl Grouped {
    /// Fresh optimisers of `groups` groups for the parameters of `net`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig, groups: usize) -> Self {
        Self { groups: (0..groups).map(|_| Adam::new(net.parameters(), adam)).collect() }
    }

    fn names(&self) -> Vec<String> {
        (0..self.groups.len()).map(|group| format!("group{group}")).collect()
    }
}

/// Deals `tasks` into at most `groups` groups, in the paper's order within each.
fn deal(tasks: &[Task], groups: usize, seed: u64) -> Vec<Vec<Task>> {
    let mut dealt = vec![Vec::new(); groups.min(tasks.len())];
    let count = dealt.len();
    for (at, task) in shuffled(tasks.len(), seed).into_iter().enumerate() {
        dealt[at % count].push(tasks[task]);
    }
    dealt.iter_mut().for_each(|group| group.sort());
    dealt
}

impl Strategy for Grouped {
    fn name(&self) -> &'static str {
        StrategyName::Grouped.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        let dealt = deal(&step.tasks(), self.groups.len(), step.seed);
        for (tasks, adam) in dealt.iter().zip(&mut self.groups) {
            let outputs = step.forward(tasks)?;
            let mut total: Option<Tensor> = None;
            for &task in tasks {
                report.weights[task.index()] = Some(1.0);
                let Some(loss) = step.loss(task, &outputs)? else { continue };
                report.losses[task.index()] = Some(loss.value);
                total = Some(match total {
                    Some(sum) => (sum + loss.on_tape)?,
                    None => loss.on_tape,
                });
            }
            adam.step(&step.gradients(&outputs, total.as_ref())?, step.lr)?;
        }
        Ok(report)
    }

    fn state(&self) -> Result<State, StrategyError> {
        let mut state = State::new();
        for (name, adam) in self.names().iter().zip(&self.groups) {
            state.extend(with_prefix(name, adam.state()?));
        }
        Ok(state)
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        let names = self.names();
        refuse_strangers(&names.iter().map(String::as_str).collect::<Vec<_>>(), state)?;
        for (name, adam) in names.iter().zip(&mut self.groups) {
            adam.restore(&under_prefix(name, state))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_task_is_dealt_once_into_groups_of_like_size_that_change() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let dealt = deal(&Task::ALL, 2, seed);
            assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
            let all: BTreeSet<Task> = dealt.iter().flatten().copied().collect();
            assert_eq!(all.len(), 4);
            seen.insert(dealt);
        }
        // All ordered ways to deal four tasks into two pairs.
        assert_eq!(seen.len(), 6);
        assert_eq!(deal(&Task::ALL[..1], 3, 5), [[Task::Glaucoma]]);
        assert!(deal(&[], 3, 5).is_empty());
    }
}
