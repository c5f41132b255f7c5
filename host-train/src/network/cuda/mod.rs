//! The network on an NVIDIA GPU: cuDNN's convolutions, and kernels of our own for the rest.
//!
//! Everything that the GPU does is in this folder. The layers ask [`on_gpu`] and hand over; what
//! comes back is on the tape like the CPU's, and agrees with it within rounding. Without the feature
//! `cuda` each of these functions is the one error that says so, and nothing else changes.
//!
//! Nothing here waits for the GPU: a step is queued and the host reads the losses when it is over.
//! Sums are taken in an order that the shapes decide and cuDNN's algorithms are chosen among the
//! deterministic ones, but which is the fastest is measured anew in every process: a repeated
//! training agrees closely, not bit for bit as on the CPU.

use serde::{Deserialize, Serialize};

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod adam;
#[cfg(feature = "cuda")]
mod batch;
#[cfg(feature = "cuda")]
mod conv2d;
#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod joint;
#[cfg(feature = "cuda")]
mod loss;
#[cfg(feature = "cuda")]
mod nccl;
#[cfg(feature = "cuda")]
mod norm;
#[cfg(feature = "cuda")]
mod pool;

#[cfg(not(feature = "cuda"))]
pub(crate) use absent::*;
#[cfg(feature = "cuda")]
pub(crate) use {
    adam::Moments, batch::Kept, conv2d::conv2d, gpu::device, joint::upsample_concat,
    loss::masked_loss, nccl::Id as NcclId, nccl::Nccl, nccl::Together, norm::conv_norm_relu,
    pool::global_max, pool::max_pool,
};

use super::layers::batch_norm::BatchNorm;
use super::layers::conv_norm_relu::By;
use candle_core::{Device, Tensor, Var};

/// How a GPU multiplies. The CPU always computes in full `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Convolutions round their factors to TF32 (10 bits of fraction) and add in `f32`; everything
    /// else is `f32`. Several times as fast on a GPU of Ampere's generation or later, and the same
    /// as `F32` on an earlier one.
    #[default]
    Tf32,
    /// Full `f32` throughout.
    F32,
    /// Convolutions are given bf16 (7 bits of fraction) and add in `f32`; what comes out is rounded to
    /// bf16 as well. Weights, normalisation, losses and Adam stay `f32`. Needs Ampere's generation.
    Bf16,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program was compiled without the feature.
    #[error("this program was built without CUDA: build it with `--features cuda`")]
    NotBuilt,
    /// Something asked for that the CPU cannot do.
    #[error("precision {0:?} is for a GPU: the CPU computes in full f32")]
    Precision(Precision),
    /// No driver, no such GPU, or its libraries are missing.
    #[error("CUDA device {ordinal}: {source}")]
    Open {
        /// Number of the device, from 0.
        ordinal: usize,
        /// What the driver said.
        source: candle_core::Error,
    },
}

/// Whether the operations on this tensor are this module's.
pub(crate) fn on_gpu(tensor: &Tensor) -> bool {
    tensor.device().is_cuda()
}

/// A parameter of a step of Adam, for [`Moments::step`].
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read on a GPU alone"))]
pub(crate) struct Move<'a> {
    /// Its number in the moments.
    pub slot: usize,
    /// What moves.
    pub parameter: &'a Var,
    /// Along this.
    pub gradient: &'a Tensor,
    /// Learning rate over the bias correction of the mean.
    pub step: f32,
    /// Root of the bias correction of the square.
    pub root: f32,
    /// What decay leaves of the parameter.
    pub keep: f32,
    /// What clipping leaves of the gradient.
    pub scale: f32,
}

/// What a step of Adam is the same in for all parameters.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read on a GPU alone"))]
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    /// Decay of the square.
    pub beta2: f32,
    /// One minus the decay of the mean.
    pub gain1: f32,
    /// One minus the decay of the square.
    pub gain2: f32,
    /// Added to the root of the square.
    pub eps: f32,
}

/// What an example is kept under on the device, for [`Kept`].
pub(crate) type Key = (usize, usize);

/// An example on its way to the device, for [`Kept::show`].
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read on a GPU alone"))]
pub(crate) struct Packed {
    /// What to keep it under; `None`: it is shown but once.
    pub key: Option<Key>,
    /// RGB row by row, then the masks it has, disc before cup, 0 or 1: a byte each. `None` where the
    /// device keeps them already.
    pub bytes: Option<Vec<u8>>,
    /// Whether there is a mask of the disc.
    pub disc: bool,
    /// Whether there is a mask of the cup.
    pub cup: bool,
    /// Where the fovea is, (x, y) in pixel-index coordinates.
    pub fovea: Option<[f64; 2]>,
}

/// What the device made of examples: tensors on it.
pub(crate) struct Shown {
    /// (B, 3, S, S).
    pub images: Tensor,
    /// (B, 1, S, S), zero in an image without the label; `None` where no image has it.
    pub disc: Option<Tensor>,
    /// As `disc`.
    pub cup: Option<Tensor>,
    /// As `disc`; see [`crate::dataset::target::fovea_map`].
    pub fovea: Option<Tensor>,
}

/// The kinds of loss that the kernels know; numbers as in `kernels.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// Focal loss with gamma 2.
    Focal = 0,
    /// Binary cross-entropy.
    CrossEntropy = 1,
    /// |p - t|.
    Distance = 2,
}

/// Convolution, normalisation and ReLU as one: what the blocks of the network are made of.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read on a GPU alone"))]
pub(crate) struct Block<'a> {
    /// (O, I, 3, 3).
    pub weight: &'a Tensor,
    /// (O). A batch's own mean takes it away again, so in training it is not added and gets no
    /// gradient: only the running mean knows it.
    pub bias: &'a Tensor,
    /// Of the O channels.
    pub norm: &'a BatchNorm,
    /// Which statistics to normalise with.
    pub by: By,
}

/// Opens CUDA device `ordinal`, counted from 0, to compute in `precision`.
///
/// # Errors
/// [`DeviceError`].
pub fn open(ordinal: usize, precision: Precision) -> Result<Device, DeviceError> {
    device(ordinal, precision)
}
