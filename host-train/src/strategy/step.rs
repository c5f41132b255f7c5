//! What a strategy is given for one step, and the passes through the network that it is made of.

use super::{PerTask, StepReport, StrategyError};
use crate::adam::ENCODER;
use crate::dataset::batches::Batch;
use crate::gradients::Gradients;
use crate::loss::{FoveaLoss, masked_loss, soft_loss};
use crate::network::{Mode, Outputs, Task, UNet};
use crate::parallel::Peers;
use candle_core::{Device, Tensor, Var};
use std::cell::RefCell;

/// One batch with everything that decides the step to make on it.
pub struct Step<'a> {
    /// The network to move.
    pub net: &'a UNet,
    /// What to learn from.
    pub batch: &'a Batch,
    /// Learning rate.
    pub lr: f64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Decides the random choices of the strategy; the same for all peers.
    pub seed: u64,
    parameters: Vec<(String, Var)>,
    dropout_seed: u64,
    fovea: FoveaLoss,
    freeze_encoder: bool,
    peers: &'a dyn Peers,
    /// Of each task's images, labelled or taught, in the batches of all peers.
    shares: [Option<f64>; 4],
    taught: Option<Taught>,
    /// What the loss against the labels counts beside that against the teacher: 1 without peers.
    of_labels: PerTask,
    /// Losses that are still on the device.
    unread: RefCell<Vec<(Task, Tensor)>>,
}

/// What a teacher says of the images of a batch, beside their labels.
#[derive(Clone, Debug)]
pub struct Taught {
    /// Its probabilities of each task: (B), or (B, 1, S, S). `None` where it has no head.
    pub probabilities: [Option<Tensor>; 4],
    /// What the loss against them counts beside the loss against the labels; above 0.
    pub weight: f64,
}

/// What decides a step besides network, batch and peers.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Learning rate.
    pub lr: f64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Decides every dropout mask of the step.
    pub dropout_seed: u64,
    /// Decides the random choices of the strategy; must be the same for all peers.
    pub seed: u64,
    /// How the fovea's map is compared.
    pub fovea: FoveaLoss,
    /// Leave the encoder as it is: nothing gets a gradient there.
    pub freeze_encoder: bool,
}

impl<'a> Step<'a> {
    /// A step of all `peers` on their batches.
    ///
    /// # Errors
    /// A peer is gone.
    pub fn new(
        net: &'a UNet,
        batch: &'a Batch,
        options: StepOptions,
        peers: &'a dyn Peers,
    ) -> Result<Self, StrategyError> {
        let heads = &net.config().tasks;
        let labelled = Task::ALL.map(|task| {
            batch.target(task).filter(|_| heads.contains(&task)).map_or(0, |own| own.labelled)
        });
        let shares = peers.shares(labelled)?;
        let StepOptions { lr, epoch, dropout_seed, seed, fovea, freeze_encoder } = options;
        let parameters = net.parameters();
        Ok(Self {
            net,
            batch,
            lr,
            epoch,
            seed,
            parameters,
            dropout_seed,
            fovea,
            freeze_encoder,
            peers,
            shares,
            taught: None,
            of_labels: shares.map(|share| share.map(|_| 1.0)),
            unread: RefCell::default(),
        })
    }

    /// The same step with what a teacher says, if there is one: to each task's loss over its labelled
    /// images comes `weight` times [`soft_loss`] over all images, so that a task without any label is
    /// taught as well.
    ///
    /// # Errors
    /// A peer is gone.
    pub fn taught(mut self, taught: Option<Taught>) -> Result<Self, StrategyError> {
        let Some(taught) = taught else { return Ok(self) };
        let heads = &self.net.config().tasks;
        let has = |task: &Task| taught.probabilities[task.index()].is_some();
        let images = |task| {
            if heads.contains(&task) && has(&task) { self.batch.ids.len() } else { 0 }
        };
        let shares = self.peers.shares(Task::ALL.map(images))?;
        for (at, share) in shares.into_iter().enumerate() {
            let Some(share) = share else { continue };
            self.of_labels[at] = self.shares[at].map(|labelled| labelled / share);
            self.shares[at] = Some(share);
        }
        self.taught = Some(taught);
        Ok(self)
    }

    /// The tasks that have a head and, in the batch of any peer, a label or a teacher; in the paper's
    /// order.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        Task::ALL.into_iter().filter(|task| self.shares[task.index()].is_some()).collect()
    }

    /// Logits of `tasks` in training mode: one pass. Passes that begin with different tasks have
    /// different dropout masks.
    ///
    /// # Errors
    /// Failures of the network.
    pub fn forward(&self, tasks: &[Task]) -> Result<Outputs, StrategyError> {
        let first = tasks.first().map_or(0, |task| task.index() as u64);
        let dropout_seed = crate::training::seed::mix(self.dropout_seed, first);
        Ok(self.net.forward(&self.batch.images, tasks, Mode::Train { dropout_seed })?)
    }

    /// The loss of `task`, a teacher's part included; `None` where only a peer has a label for it.
    ///
    /// # Errors
    /// [`StrategyError::NotFinite`]; failures of the tensor library.
    pub fn loss(&self, task: Task, outputs: &Outputs) -> Result<Option<Loss>, StrategyError> {
        let Some(loss) = self.scalar(task, outputs)? else { return Ok(None) };
        let value = read(task, &loss)?;
        let share = self.shares[task.index()].unwrap_or(1.0);
        let on_tape = if share == 1.0 { loss } else { (loss * share)? };
        Ok(Some(Loss { value, on_tape }))
    }

    fn scalar(&self, task: Task, outputs: &Outputs) -> Result<Option<Tensor>, StrategyError> {
        let Some(logits) = outputs.logits(task) else { return Ok(None) };
        let labels = match self.batch.target(task) {
            Some(own) => Some(masked_loss(task, self.fovea, logits, &own.values, &own.weights)?),
            None => None,
        };
        let Some(taught) = &self.taught else { return Ok(labels) };
        let Some(probabilities) = &taught.probabilities[task.index()] else { return Ok(labels) };
        let soft = (soft_loss(task, logits, probabilities)? * taught.weight)?;
        let of_labels = self.of_labels[task.index()].unwrap_or(1.0);
        Ok(Some(match labels {
            Some(labels) => ((labels * of_labels)? + soft)?,
            None => soft,
        }))
    }

    /// The gradients of a scalar made of this process's losses on `outputs`, averaged over the peers.
    /// Several calls may go back through the same pass.
    ///
    /// # Errors
    /// Failures of the tensor library; a peer is gone.
    pub fn gradients(
        &self,
        outputs: &Outputs,
        scalar: Option<&Tensor>,
    ) -> Result<Gradients, StrategyError> {
        let mut own = match scalar {
            Some(scalar) => Gradients::of(&outputs.backward(scalar)?, &self.parameters)?,
            None => Gradients::none(self.parameters.len()),
        };
        if self.freeze_encoder {
            let named = self.parameters.iter().zip(own.iter_mut());
            named
                .filter(|((name, _), _)| name.starts_with(ENCODER))
                .for_each(|(_, own)| *own = None);
        }
        Ok(self.peers.average(own)?)
    }

    /// The losses over the labelled images of all peers, from this process's: what a method may
    /// learn from, since every peer then learns the same. One entry for each of [`Step::tasks`].
    ///
    /// # Errors
    /// A peer is gone; failures of the tensor library.
    pub fn losses_of_all(&self, own: PerTask) -> Result<PerTask, StrategyError> {
        if self.peers.count() == 1 {
            return Ok(own);
        }
        // Averaged as gradients are: times the share, the plain mean is the mean over the images.
        let shared = Task::ALL.map(|task| {
            let (loss, share) = (own[task.index()], self.shares[task.index()]);
            loss.zip(share).map_or(0.0, |(loss, share)| (loss * share) as f32)
        });
        let one = Gradients::from_iter([Some(Tensor::new(&shared, &Device::Cpu)?)]);
        let averaged = self.peers.average(one)?;
        let mut all = [None; 4];
        if let Some(Some(mean)) = averaged.iter().next() {
            for (task, mean) in Task::ALL.into_iter().zip(mean.to_vec1::<f32>()?) {
                all[task.index()] = self.shares[task.index()].map(|_| f64::from(mean));
            }
        }
        Ok(all)
    }

    /// Runs `passes` and puts the running statistics back as they were, bit for bit: for passes that
    /// measure and are no part of the training.
    ///
    /// # Errors
    /// Those of `passes`; failures of the tensor library.
    pub fn without_trace<T>(
        &self,
        passes: impl FnOnce() -> Result<T, StrategyError>,
    ) -> Result<T, StrategyError> {
        let buffers = self.net.buffers();
        let before =
            buffers.iter().map(|(_, var)| var.as_tensor().copy()).collect::<Result<Vec<_>, _>>()?;
        let found = passes();
        for ((_, var), before) in buffers.iter().zip(&before) {
            var.set(before)?;
        }
        found
    }

    /// The names of the parameters, in the order of the gradients.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// A pass for `task` alone, at the weights as they are now: its gradients and its loss.
    ///
    /// # Errors
    /// As [`Step::loss`] and [`Step::gradients`].
    pub fn one_task(&self, task: Task) -> Result<(Gradients, Option<f64>), StrategyError> {
        let outputs = self.forward(&[task])?;
        let loss = self.loss(task, &outputs)?;
        // The pass is dropped before the optimiser's step: no two tasks' activations live at once.
        let scalar = loss.as_ref().map(|loss| &loss.on_tape);
        let gradients = self.gradients(&outputs, scalar)?;
        Ok((gradients, loss.map(|loss| loss.value)))
    }

    /// As [`Step::one_task`], for a strategy that needs the loss only for its report: a GPU is not
    /// waited for, and the loss is `None` until [`Step::settle`].
    ///
    /// # Errors
    /// As [`Step::one_task`].
    pub fn one_task_ahead(&self, task: Task) -> Result<(Gradients, Option<f64>), StrategyError> {
        // With peers a loss that is not finite must be known before it is averaged into theirs.
        if !self.batch.images.device().is_cuda() || self.peers.count() > 1 {
            return self.one_task(task);
        }
        let outputs = self.forward(&[task])?;
        let loss = self.scalar(task, &outputs)?;
        let gradients = self.gradients(&outputs, loss.as_ref())?;
        self.unread.borrow_mut().extend(loss.map(|loss| (task, loss.detach())));
        Ok((gradients, None))
    }

    /// The report with the losses that [`Step::one_task_ahead`] left on the device. The device has
    /// made no step with or after one that is not finite.
    ///
    /// # Errors
    /// [`StrategyError::NotFinite`]; failures of the tensor library.
    pub fn settle(&self, mut report: StepReport) -> Result<StepReport, StrategyError> {
        for (task, loss) in self.unread.take() {
            report.losses[task.index()] = Some(read(task, &loss)?);
        }
        Ok(report)
    }
}

/// The number, where it is one.
fn read(task: Task, loss: &Tensor) -> Result<f64, StrategyError> {
    let loss = f64::from(loss.to_scalar::<f32>()?);
    if loss.is_finite() { Ok(loss) } else { Err(StrategyError::NotFinite { task, loss }) }
}

/// A task's loss on this process's part of the batch.
pub struct Loss {
    /// The mean over its labelled images, and with a teacher the mean over all of them.
    pub value: f64,
    /// The same on the tape, times the process's share.
    pub on_tape: Tensor,
}
