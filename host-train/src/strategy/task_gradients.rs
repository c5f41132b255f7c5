//! Every task's gradient at the same weights, and their combination.

use super::maths::{Gram, PerTask};
use super::{Step, StrategyError};
use crate::gradients::Gradients;
use crate::network::Task;

/// The gradients of one step's tasks, from one forward pass and as many backward passes.
///
/// What is *shared* is decided by the step: a parameter that the losses of at least two of its tasks
/// reach. Only on the shared parameters do tasks conflict, so only there are gradients compared and
/// combined; a parameter that one task reaches (its head; the decoder, in a step of one map task)
/// takes that task's own gradient.
pub struct TaskGradients {
    /// The tasks, in the paper's order; all else is in the same order.
    pub tasks: Vec<Task>,
    /// This process's losses.
    pub losses: PerTask,
    /// Gradients averaged over all processes.
    pub gradients: Vec<Gradients>,
    shared: Vec<bool>,
}

impl TaskGradients {
    /// Runs the passes of the step's tasks.
    ///
    /// # Errors
    /// [`StrategyError::NotFinite`] before any backward pass; failures of the tensor library; a peer
    /// is gone.
    pub fn take(step: &Step<'_>) -> Result<Self, StrategyError> {
        let tasks = step.tasks();
        let outputs = step.forward(&tasks)?;
        let mut losses = [None; 4];
        let mut on_tape = Vec::with_capacity(tasks.len());
        for &task in &tasks {
            let loss = step.loss(task, &outputs)?;
            losses[task.index()] = loss.as_ref().map(|loss| loss.value);
            on_tape.push(loss.map(|loss| loss.on_tape));
        }
        let gradients: Vec<Gradients> = (on_tape.iter())
            .map(|loss| step.gradients(&outputs, loss.as_ref()))
            .collect::<Result<_, StrategyError>>()?;
        let parameters = gradients.first().map_or(0, Gradients::len);
        let mut reached = vec![0; parameters];
        for own in &gradients {
            reached.iter_mut().zip(own.iter()).for_each(|(n, g)| *n += usize::from(g.is_some()));
        }
        let shared = reached.into_iter().map(|count| count > 1).collect();
        Ok(Self { tasks, losses, gradients, shared })
    }

    /// The places of the tasks that reach a shared parameter: none or at least two.
    #[must_use]
    pub fn sharing(&self) -> Vec<usize> {
        let reaches =
            |own: &Gradients| own.iter().zip(&self.shared).any(|(g, s)| *s && g.is_some());
        (0..self.tasks.len()).filter(|&task| reaches(&self.gradients[task])).collect()
    }

    /// The inner products over the shared parameters.
    ///
    /// # Errors
    /// [`StrategyError::Gradient`] naming a task whose gradient is not finite.
    pub fn gram(&self) -> Result<Gram, StrategyError> {
        let gram = self.gram_over(|parameter| self.shared[parameter])?;
        match self.tasks.iter().enumerate().find(|(i, _)| !gram[(*i, *i)].is_finite()) {
            Some((_, &task)) => Err(StrategyError::Gradient { task }),
            None => Ok(gram),
        }
    }

    /// The inner products over the parameters that `over` admits.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn gram_over(&self, over: impl Fn(usize) -> bool) -> Result<Gram, StrategyError> {
        Gram::try_new(
            self.tasks.len(),
            |i, j| Ok(self.gradients[i].dot(&self.gradients[j], &over)?),
        )
    }

    /// The combination with `weights` on the shared parameters, each task's own gradient elsewhere.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn combine(&self, weights: &[f64]) -> Result<Gradients, StrategyError> {
        let weight = |parameter: usize, task: usize| {
            if self.shared[parameter] { weights[task] } else { 1.0 }
        };
        Ok(Gradients::combination(&self.gradients, weight)?)
    }

    /// `values`, one for each of the tasks, in their places among all tasks.
    #[must_use]
    pub fn in_place(&self, values: &[f64]) -> PerTask {
        let mut placed = [None; 4];
        for (task, value) in self.tasks.iter().zip(values) {
            placed[task.index()] = Some(*value);
        }
        placed
    }
}
