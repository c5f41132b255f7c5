//! Adam's moments on the device, and its step: one kernel for all parameters.
// A table of addresses is handed to the device as plain bytes; see below.
#![allow(unsafe_code)]

use super::gpu::{Address, Gpu, Number, SPAN, count, gpu};
use super::{Move, Rates};
use candle_core::{Device, Error, Result};
use cudarc::driver::{CudaSlice, DeviceRepr};

/// Means and squares of all parameters of an optimiser, one after the other.
#[derive(Debug)]
pub(crate) struct Moments {
    device: Device,
    mean: CudaSlice<f32>,
    square: CudaSlice<f32>,
    /// Where each parameter's begin, and behind the last the end.
    starts: Vec<usize>,
}

/// A line of the kernel's table; as in `kernels.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    parameter: u64,
    gradient: u64,
    start: u64,
    count: u32,
    first_block: u32,
    step: f32,
    root: f32,
    keep: f32,
    scale: f32,
}

// SAFETY: plain numbers without gaps, laid out as the kernel's own struct of three 8-byte and six
// 4-byte fields.
unsafe impl DeviceRepr for Slot {}

impl Moments {
    /// Copies means and squares, a pair a parameter, to the device.
    pub(crate) fn upload<'a>(
        device: &Device,
        moments: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    ) -> Result<Self> {
        let (mut mean, mut square, mut starts) = (Vec::new(), Vec::new(), vec![0]);
        for (of_mean, of_square) in moments {
            mean.extend_from_slice(of_mean);
            square.extend_from_slice(of_square);
            starts.push(mean.len());
        }
        let stream = gpu(device)?.stream.clone();
        let mean = stream.clone_htod(&mean).map_err(Error::wrap)?;
        let square = stream.clone_htod(&square).map_err(Error::wrap)?;
        Ok(Self { device: device.clone(), mean, square, starts })
    }

    /// The reverse of [`Moments::upload`]; waits for the device.
    pub(crate) fn download(&self) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        let stream = gpu(&self.device)?.stream.clone();
        let mean = stream.clone_dtoh(&self.mean).map_err(Error::wrap)?;
        let square = stream.clone_dtoh(&self.square).map_err(Error::wrap)?;
        stream.synchronize().map_err(Error::wrap)?;
        let parts = self.starts.windows(2).map(|ends| ends[0]..ends[1]);
        Ok(parts.map(|part| (mean[part.clone()].to_vec(), square[part].to_vec())).collect())
    }

    /// One step of the parameters that move; none of them does once the device is halted.
    pub(crate) fn step(&mut self, moves: &[Move<'_>], rates: Rates) -> Result<()> {
        let gpu = gpu(&self.device)?;
        let (table, blocks) = self.table(&gpu, moves)?;
        if table.is_empty() {
            return Ok(());
        }
        let slots = gpu.stream.clone_htod(&table).map_err(Error::wrap)?;
        let moments = [Address(gpu.address(&self.mean)), Address(gpu.address(&self.square))];
        let Rates { beta2, gain1, gain2, eps } = rates;
        let numbers = [Number(beta2), Number(gain1), Number(gain2), Number(eps)];
        let slots = [Address(gpu.address(&slots))];
        let flag = [Address(gpu.halted()), count(table.len())?];
        gpu.run("adam", (blocks, 1), &[&slots[..], &moments, &flag, &numbers].concat())
    }

    /// The kernel's table and the number of its blocks.
    fn table(&self, gpu: &Gpu, moves: &[Move<'_>]) -> Result<(Vec<Slot>, usize)> {
        let (mut table, mut blocks) = (Vec::with_capacity(moves.len()), 0);
        for Move { slot, parameter, gradient, step, root, keep, scale } in moves {
            let elements = parameter.elem_count();
            let held = self.starts.get(*slot).zip(self.starts.get(slot + 1));
            let start = match held {
                Some((start, end)) if end - start == elements => *start,
                _ => candle_core::bail!("adam: no moments of {elements} elements in slot {slot}"),
            };
            if gradient.elem_count() != elements {
                candle_core::bail!("adam: {} gradients, {elements} values", gradient.elem_count());
            }
            table.push(Slot {
                // The optimiser is the one writer of its parameters, and all readers are queued on
                // the same stream before or behind.
                parameter: gpu.of(parameter.as_tensor())?,
                gradient: gpu.of(gradient)?,
                start: start as u64,
                count: u32::try_from(elements).map_err(Error::wrap)?,
                first_block: u32::try_from(blocks).map_err(Error::wrap)?,
                step: *step,
                root: *root,
                keep: *keep,
                scale: *scale,
            });
            blocks += elements.div_ceil(SPAN);
        }
        Ok((table, blocks))
    }
}
