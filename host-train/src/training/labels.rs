//! Whether there is something to learn from for every task.

use super::{Config, TrainingError};
use crate::dataset::batches::Example;
use crate::network::Task;

/// How many labels there are to learn from.
#[derive(Default)]
pub struct Labels {
    tasks: [usize; 4],
    glaucomatous: usize,
}

impl Labels {
    /// Counts those of one more example.
    pub fn count(&mut self, example: &Example) {
        let has = [
            example.glaucoma.is_some(),
            example.disc.is_some(),
            example.cup.is_some(),
            example.fovea.is_some(),
        ];
        self.tasks.iter_mut().zip(has).for_each(|(count, has)| *count += usize::from(has));
        self.glaucomatous += usize::from(example.glaucoma == Some(true));
    }

    /// Refuses heads that nothing can teach: they would answer, and the answer would be noise.
    ///
    /// # Errors
    /// [`TrainingError::Data`] naming the task, or that all labels are of one class.
    pub fn check(&self, config: &Config) -> Result<(), TrainingError> {
        if config.init_from.is_some() || config.distill.is_some() {
            // A later stage may leave a head as the earlier one made it; a teacher teaches them all.
            return Ok(());
        }
        let untaught = |task: &&Task| self.tasks[task.index()] == 0;
        if let Some(task) = config.network.tasks.iter().find(untaught) {
            return Err(TrainingError::Data(format!(
                "no training image has a label for the task {}: leave it out of network.tasks, or \
                 add images that have one",
                task.name()
            )));
        }
        let classed = self.tasks[Task::Glaucoma.index()];
        let asked = config.network.tasks.contains(&Task::Glaucoma);
        if asked && (self.glaucomatous == 0 || self.glaucomatous == classed) {
            let class = if self.glaucomatous == 0 { "healthy" } else { "glaucoma" };
            return Err(TrainingError::Data(format!(
                "all {classed} class labels to learn from say {class}: two classes cannot be told \
                 apart from one; add images of the other, or leave glaucoma out of network.tasks"
            )));
        }
        Ok(())
    }
}
