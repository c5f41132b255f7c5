//! The operations of the network, each with its own forward and backward pass.
//!
//! The tensor library's own versions are not used: its max-pool gradient is a quarter of the
//! truth, its bilinear upsampling has no gradient, and its convolution gradients are naive loops.
//! All operations work on contiguous `f32` tensors and are deterministic: every sum is taken in an
//! order that depends on the shapes alone, never on the number of threads.

pub mod batch_norm;
pub mod conv2d;
mod conv_kernel;
pub mod conv_norm_relu;
mod conv_weight;
pub mod dropout;
pub mod fake_quant;
pub mod global_max;
mod inner_loops;
pub mod linear;
pub mod max_pool;
mod pointwise;
mod reduce;
mod simd;
mod strips;
pub mod upsample_concat;
mod winograd;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};

/// The elements of a contiguous `f32` tensor in CPU storage; `op` names who asks in the error.
pub(crate) fn elements<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("{op}: a contiguous tensor is needed, not {:?}", layout.shape());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `f` with the elements of a contiguous `f32` tensor on the CPU.
pub(crate) fn read<R>(op: &'static str, tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(elements(op, cpu, layout)?)),
        _ => candle_core::bail!("{op}: has a CPU form only"),
    }
}

#[cfg(test)]
pub(crate) mod check;
