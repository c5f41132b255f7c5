//! Batch normalisation and ReLU, and the block that they form with a convolution.

use super::gpu::{Address, Gpu, SPAN, STRETCH, THREADS, count, gpu, gpu_of, not_here};
use super::{Block, conv2d};
use crate::network::layers::conv_norm_relu::By;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;
use std::sync::{Mutex, PoisonError};

const NAME: &str = "batch_norm_relu";

/// `block` of `x` (B, I, H, W): gives (B, O, H, W). In training the running statistics move.
pub(crate) fn conv_norm_relu(tape: &Tape, x: &Tensor, block: &Block<'_>) -> Result<Tensor> {
    let x = conv2d::without_bias(tape, x, block.weight)?;
    let norm = block.norm;
    let op = NormRelu {
        running_mean: norm.running_mean.as_tensor().clone(),
        running_var: norm.running_var.as_tensor().clone(),
        offset: block.bias.clone(),
        train: block.by == By::Batch,
        statistics: Mutex::new(None),
    };
    tape.apply3(op, &x, &norm.weight, &norm.bias)
}

struct NormRelu {
    running_mean: Tensor,
    running_var: Tensor,
    /// What the input lacks: the bias of the convolution before.
    offset: Tensor,
    train: bool,
    /// Filled by the forward pass, read by the backward pass.
    statistics: Mutex<Option<Statistics>>,
}

/// On the device.
struct Statistics {
    /// Mean and inverse deviation of each channel: (C, 2).
    moments: CudaSlice<f64>,
    /// What multiplies and what is added: (C, 2).
    affine: CudaSlice<f32>,
}

/// Sizes of x as the kernels count them.
struct Sizes {
    batch: usize,
    channels: usize,
    plane: usize,
}

impl Sizes {
    fn of(x: &Shape) -> Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        Ok(Self { batch, channels, plane: height * width })
    }

    /// Partial sums a channel.
    fn parts(&self) -> usize {
        self.batch * self.plane.div_ceil(STRETCH)
    }

    /// The grid of the element-wise kernels.
    fn planes(&self) -> (usize, usize) {
        (self.batch * self.channels, self.plane.div_ceil(SPAN))
    }
}

impl NormRelu {
    /// Statistics of `x`, whose running ones follow; or the running ones as they are.
    fn measure(
        &self,
        gpu: &Gpu,
        sizes: &Sizes,
        x: u64,
        weight: u64,
        bias: u64,
    ) -> Result<Statistics> {
        let Sizes { batch, channels, plane } = *sizes;
        let moments = gpu.room::<f64>(2 * channels)?;
        let affine = gpu.room::<f32>(2 * channels)?;
        let to = [Address(gpu.address(&moments)), Address(gpu.address(&affine))];
        let running = [Address(gpu.of(&self.running_mean)?), Address(gpu.of(&self.running_var)?)];
        let given = [Address(weight), Address(bias), Address(gpu.of(&self.offset)?)];
        if !self.train {
            let arguments = [&to[..], &running, &given, &[count(channels)?]].concat();
            gpu.run("norm_fixed", (channels.div_ceil(THREADS), 1), &arguments)?;
            return Ok(Statistics { moments, affine });
        }
        if batch * plane < 2 {
            candle_core::bail!("{NAME}: needs more than one value a channel to train");
        }
        let parts = sizes.parts();
        let sums = gpu.room::<f64>(2 * channels * parts)?;
        let of_sums = [Address(gpu.address(&sums)), Address(x)];
        let arguments = [&of_sums[..], &[count(channels)?, count(plane)?]].concat();
        gpu.run("norm_sums", (channels, parts), &arguments)?;
        let counts = [count(parts)?, count(batch)?, count(plane)?];
        let arguments = [&to[..], &running, &of_sums, &given, &counts].concat();
        gpu.run("norm_finish", (channels, 1), &arguments)?;
        Ok(Statistics { moments, affine })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        statistics: &Statistics,
        [x, weight, gradient]: [&Tensor; 3],
    ) -> Result<[Tensor; 3]> {
        let sizes = Sizes::of(x.shape())?;
        let (channels, parts) = (sizes.channels, sizes.parts());
        let (c, n) = (count(channels)?, count(sizes.plane)?);
        let (from_x, from_y) = (Address(gpu.of(x)?), Address(gpu.of(gradient)?));
        let moments = Address(gpu.address(&statistics.moments));
        let affine = Address(gpu.address(&statistics.affine));
        let sums = gpu.room::<f64>(2 * channels * parts)?;
        let of_sums = Address(gpu.address(&sums));
        let arguments = [of_sums, from_x, from_y, moments, affine, c, n];
        gpu.run("norm_grad_sums", (channels, parts), &arguments)?;

        let (to_weight, to_bias) = (gpu.room(channels)?, gpu.room(channels)?);
        let terms = gpu.room::<f32>(3 * channels)?;
        let of_terms = Address(gpu.address(&terms));
        let results = [Address(gpu.address(&to_weight)), Address(gpu.address(&to_bias)), of_terms];
        let given = [of_sums, moments, Address(gpu.of(weight)?)];
        let counts = [count(parts)?, count(sizes.batch)?, n, count(usize::from(self.train))?];
        let arguments = [&results[..], &given, &counts].concat();
        gpu.run("norm_grad_finish", (channels, 1), &arguments)?;

        let to_x = gpu.room(x.elem_count())?;
        let arguments = [Address(gpu.address(&to_x)), from_x, from_y, affine, of_terms, c, n];
        gpu.run("norm_grad_apply", sizes.planes(), &arguments)?;
        Ok([
            gpu.tensor(to_x, x.shape()),
            gpu.tensor(to_weight, channels),
            gpu.tensor(to_bias, channels),
        ])
    }
}

impl CustomOp3 for NormRelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        not_here(NAME)
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(x)?;
        let sizes = Sizes::of(x_layout.shape())?;
        let wanted = [sizes.channels];
        let given = [weight_layout.shape(), bias_layout.shape(), self.offset.shape()];
        let running = [self.running_mean.shape(), self.running_var.shape()];
        if given.into_iter().chain(running).any(|shape| shape.dims() != wanted) {
            candle_core::bail!("{NAME}: {given:?} and {running:?} for {wanted:?} channels");
        }
        let x = gpu.elements(x, x_layout)?;
        let weight = gpu.elements(weight, weight_layout)?;
        let bias = gpu.elements(bias, bias_layout)?;
        let statistics = self.measure(&gpu, &sizes, x, weight, bias)?;
        let y = gpu.room(x_layout.shape().elem_count())?;
        let affine = Address(gpu.address(&statistics.affine));
        let counts = [count(sizes.channels)?, count(sizes.plane)?];
        let arguments = [&[Address(gpu.address(&y)), Address(x), affine][..], &counts].concat();
        gpu.run("norm_apply", sizes.planes(), &arguments)?;
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = Some(statistics);
        Ok((gpu.storage(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let statistics = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(statistics) = statistics.as_ref() else {
            candle_core::bail!("{NAME}: backward before forward")
        };
        let gradient = gradient.contiguous()?;
        let [to_x, to_weight, to_bias] =
            self.backward(&*gpu(x.device())?, statistics, [x, weight, &gradient])?;
        Ok((Some(to_x), Some(to_weight), Some(to_bias)))
    }
}
