//! The multi-task U-Net: what it predicts, how it is shaped, and how it is asked.

pub mod cuda;
pub mod grid;
pub mod layers;
pub mod pretrained;
pub mod quantize_aware;
pub mod tape;
pub mod unet;
pub mod vgg;

#[cfg(test)]
pub(crate) mod golden;

pub use unet::UNet;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use tape::Tape;

/// One of the four things the network predicts, in the order of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Referable glaucoma: one logit an image, from the deepest encoder map.
    Glaucoma,
    /// Optic disc (cup included): one logit a pixel.
    Disc,
    /// Optic cup: one logit a pixel.
    Cup,
    /// Fovea: one logit a pixel, whose sigmoid is a map with its peak at the fovea.
    Fovea,
}

impl Task {
    /// All tasks in the paper's order, which is also the order of MTL-IO's steps.
    pub const ALL: [Task; 4] = [Task::Glaucoma, Task::Disc, Task::Cup, Task::Fovea];

    /// The name used in parameter names, logs and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Task::Glaucoma => "glaucoma",
            Task::Disc => "disc",
            Task::Cup => "cup",
            Task::Fovea => "fovea",
        }
    }

    /// The position in [`Task::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether the task predicts one logit a pixel, and so needs the decoder.
    pub fn is_map(self) -> bool {
        self != Task::Glaucoma
    }
}

/// The convolution stack of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Two convolutions a stage; the parameter counts of the paper's Table 1 are this one's.
    #[default]
    Vgg13,
    /// Two convolutions in the first two stages, three in the others.
    Vgg16,
}

impl Encoder {
    /// Number of 3x3 convolutions in each of the five stages.
    pub fn convolutions(self) -> [usize; 5] {
        match self {
            Encoder::Vgg13 => [2, 2, 2, 2, 2],
            Encoder::Vgg16 => [2, 2, 3, 3, 3],
        }
    }
}

/// Shape of a network; together with the parameters it is all that is needed to rebuild one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Convolution stack of the encoder.
    pub encoder: Encoder,
    /// Multiplier of the paper's 64-128-256-512-512 channels, in (0, 4]; 1 is the paper's network.
    pub width: f64,
    /// Probability with which dropout zeroes an input of the glaucoma head, in [0, 1).
    pub dropout: f64,
    /// Heads that exist. The decoder exists when any of them predicts a map.
    pub tasks: Vec<Task>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { encoder: Encoder::Vgg13, width: 1.0, dropout: 0.8, tasks: Task::ALL.to_vec() }
    }
}

impl NetworkConfig {
    /// Channels of the five encoder stages: the paper's times [`width`](Self::width), at least 1.
    pub fn channels(&self) -> [usize; 5] {
        [64.0, 128.0, 256.0, 512.0, 512.0].map(|full| ((full * self.width).round() as usize).max(1))
    }

    /// Refuses values out of range: see the fields.
    pub fn validate(&self) -> Result<(), NetworkError> {
        if !(self.width > 0.0 && self.width <= 4.0) {
            return Err(NetworkError::Config {
                field: "width",
                value: self.width,
                range: "(0, 4]",
            });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(NetworkError::Config {
                field: "dropout",
                value: self.dropout,
                range: "[0, 1)",
            });
        }
        if self.tasks.is_empty() {
            return Err(NetworkError::NoTasks);
        }
        Ok(())
    }
}

/// How a forward pass treats batch statistics and dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics (and the running ones move towards them), dropout from this seed.
    Train {
        /// Decides which inputs of the glaucoma head are dropped; use a fresh one each step.
        dropout_seed: u64,
    },
    /// Running statistics, no dropout; the pass changes nothing in the network.
    Evaluate,
}

/// What a forward pass predicted: logits, that is values before the sigmoid.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    logits: [Option<Tensor>; 4],
    tape: Rc<Tape>,
}

impl Outputs {
    /// Logits of a task that was asked for: (B) for glaucoma, (B, 1, S, S) for the maps.
    pub fn logits(&self, task: Task) -> Option<&Tensor> {
        self.logits[task.index()].as_ref()
    }

    /// Gradients of the scalar `loss`, made of these logits, by all variables that it reaches through
    /// the network. The pass must have been one in training mode; several losses may go back through it.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn backward(&self, loss: &Tensor) -> candle_core::Result<GradStore> {
        let mut gradients = loss.backward()?;
        self.tape.backward(&mut gradients)?;
        Ok(gradients)
    }

    pub(crate) fn set(&mut self, task: Task, logits: Tensor) {
        self.logits[task.index()] = Some(logits);
    }
}

/// Why the network could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A configured number is out of range.
    #[error("network {field} is {value}, must be in {range}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Value given.
        value: f64,
        /// Values allowed.
        range: &'static str,
    },
    /// The configuration lists no task at all.
    #[error("the network has no task")]
    NoTasks,
    /// A task was asked for whose head was not built.
    #[error("the network has no head for {}", .0.name())]
    NoHead(Task),
    /// The images are not (B, 3, H, W) with sides that are positive multiples of 16.
    #[error("images are {0:?}, must be (batch, 3, height, width) with sides a multiple of 16")]
    Images(Vec<usize>),
    /// A group of maps is zero on every image that its grid should be chosen by.
    #[error(
        "quantize-aware: {0} is zero on every calibration image: a dead network, or black images"
    )]
    Dead(String),
    /// A tensor operation failed.
    #[error("network: {0}")]
    Tensor(#[from] candle_core::Error),
}
