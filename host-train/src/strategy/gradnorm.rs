//! GradNorm: one step on a weighted sum of the losses, whose weights keep the tasks' gradients at a
//! common length (Chen et al. 2018).

use super::maths::{Learnt, gradnorm};
use super::one_adam::{Numbers, OneAdam, put, saved, take, taken};
use super::task_gradients::TaskGradients;
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::gradients::Gradients;
use crate::network::UNet;

/// Algorithm 1. The weights start at 1, are learnt by an Adam of their own and scaled after each of
/// its steps so that the weights of the tasks that took part keep their sum: with all tasks labelled
/// that is their number, and a task without a label keeps its weight.
///
/// **Where the norm is taken.** The paper takes "the last shared layer of weights". In the U-Net the
/// glaucoma head leaves at the deepest encoder map, so the last convolution that all four tasks pass
/// through is the encoder's last; in a network of map heads alone it is the decoder's last. The
/// choice hangs on the network's heads, not on the batch, so that norms of different steps compare.
///
/// While the encoder is frozen that layer has no gradients, and the weights stay.
///
/// `L_k(0)` is the task's loss at the first step in which it has a label.
pub struct GradNorm {
    weights: Learnt,
    /// 0 where the task has not been seen.
    first_losses: [f64; 4],
    alpha: f64,
    lr: f64,
    /// Place of the layer's weight among the parameters.
    layer: usize,
    optimiser: OneAdam,
}

impl GradNorm {
    /// With the strength `alpha` of the restoring force and the weights' learning rate `lr`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig, alpha: f64, lr: f64) -> Self {
        Self {
            weights: Learnt::new(1.0),
            first_losses: [0.0; 4],
            alpha,
            lr,
            layer: last_shared_layer(net),
            optimiser: OneAdam::new(StrategyName::Gradnorm, net, adam),
        }
    }

    /// Learns the weights of `found`'s tasks from its gradients' norms.
    fn learn(
        &mut self,
        found: &TaskGradients,
        losses: [Option<f64>; 4],
    ) -> Result<(), StrategyError> {
        let (mut weights, mut norms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for (task, gradients) in found.tasks.iter().zip(&found.gradients) {
            let k = task.index();
            let loss = losses[k].unwrap_or(0.0);
            if self.first_losses[k] == 0.0 {
                self.first_losses[k] = loss;
            }
            let first = self.first_losses[k];
            ratios.push(if first > 0.0 { loss / first } else { 1.0 });
            norms.push(gradients.norm(|parameter| parameter == self.layer)?);
            weights.push(self.weights.values[k]);
        }
        if let Some((_, &task)) = norms.iter().zip(&found.tasks).find(|(n, _)| !n.is_finite()) {
            return Err(StrategyError::Gradient { task });
        }
        let slopes = gradnorm::slopes(&weights, &norms, &ratios, self.alpha);
        self.weights.descend(found.in_place(&slopes), self.lr);
        let total = weights.iter().sum();
        let mut learnt: Vec<f64> =
            found.tasks.iter().map(|task| self.weights.values[task.index()]).collect();
        gradnorm::renormalise(&mut learnt, total);
        for (task, weight) in found.tasks.iter().zip(learnt) {
            self.weights.values[task.index()] = weight;
        }
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        let mut numbers = saved("weights", &self.weights);
        put(&mut numbers, "first_losses", &self.first_losses);
        numbers
    }
}

/// Place of the last convolution's weight that the losses of all heads reach.
fn last_shared_layer(net: &UNet) -> usize {
    let only_maps = net.config().tasks.iter().all(|task| task.is_map());
    let part = if only_maps { "decoder." } else { "encoder." };
    let in_part = |name: &str| name.starts_with(part) && name.contains(".conv");
    let names = net.parameters();
    names.iter().rposition(|(name, _)| in_part(name) && name.ends_with(".weight")).unwrap_or(0)
}

impl Strategy for GradNorm {
    fn name(&self) -> &'static str {
        self.optimiser.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        if step.tasks().is_empty() {
            return Ok(StepReport::default());
        }
        let found = TaskGradients::take(step)?;
        let weights: Vec<f64> =
            found.tasks.iter().map(|task| self.weights.values[task.index()]).collect();
        self.learn(&found, step.losses_of_all(found.losses)?)?;
        // The gradient of the weighted sum: weights reach heads too.
        let total = Gradients::combination(&found.gradients, |_, task| weights[task])?;
        self.optimiser.step(&total, step.lr)?;
        Ok(StepReport { losses: found.losses, weights: found.in_place(&weights) })
    }

    fn state(&self) -> Result<State, StrategyError> {
        self.optimiser.state(self.numbers())
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        let numbers = self.optimiser.restore(state, &self.numbers())?;
        taken("weights", &mut self.weights, &numbers);
        take(&numbers, "first_losses", &mut self.first_losses);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::{NetworkConfig, Task};
    use candle_core::Device;

    #[test]
    fn the_last_shared_layer_is_the_last_that_all_heads_pass() {
        let layer = |tasks: &[Task]| {
            let config =
                NetworkConfig { width: 0.03, tasks: tasks.to_vec(), ..NetworkConfig::default() };
            let net = UNet::new(&config, 1, &Device::Cpu).unwrap();
            net.parameters()[last_shared_layer(&net)].0.clone()
        };
        assert_eq!(layer(&Task::ALL), "encoder.stage5.conv2.weight");
        assert_eq!(layer(&Task::ALL[1..]), "decoder.stage4.conv2.weight");
    }
}
