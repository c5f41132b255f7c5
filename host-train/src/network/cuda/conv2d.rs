//! Convolution by cuDNN, in bf16 with a rounding kernel before and after it.
// Addresses for cuDNN; see below.
#![allow(unsafe_code)]

use super::cudnn::Sizes;
use super::gpu::{Address, Gpu, SPAN, STRETCH, count, gpu, gpu_of, not_here};
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;

const NAME: &str = "conv2d";

/// As `layers::conv2d::conv2d`.
pub(crate) fn conv2d(tape: &Tape, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    tape.apply3(Conv2d { to_x: tape.reaches(x) }, x, weight, bias)
}

/// The same without bias.
pub(super) fn without_bias(tape: &Tape, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    tape.apply2(Conv2d { to_x: tape.reaches(x) }, x, weight)
}

struct Conv2d {
    /// Whether x needs a gradient.
    to_x: bool,
}

fn sizes(x: &Shape, weight: &Shape) -> Result<Sizes> {
    let (batch, inputs, height, width) = x.dims4()?;
    let (outputs, weight_inputs, kernel, kernel_width) = weight.dims4()?;
    if inputs != weight_inputs || kernel != kernel_width || (kernel != 3 && kernel != 1) {
        candle_core::bail!("{NAME}: input {x:?} does not fit weight {weight:?}");
    }
    Ok(Sizes { batch, inputs, outputs, height, width, kernel })
}

impl Sizes {
    fn plane(&self) -> usize {
        self.height * self.width
    }
}

/// What cuDNN reads: elements where they are, or their copy in bf16.
struct Factor {
    at: u64,
    /// Holds what is at `at`.
    _copy: Option<CudaSlice<u16>>,
}

impl Factor {
    /// Of the `n` elements at an address.
    fn new(gpu: &Gpu, at: u64, n: usize) -> Result<Self> {
        if !gpu.cudnn.in_bf16() {
            return Ok(Self { at, _copy: None });
        }
        let copy = gpu.room(n)?;
        let arguments = [Address(gpu.address(&copy)), Address(at), count(n)?];
        gpu.run("to_bf16", (n.div_ceil(SPAN), 1), &arguments)?;
        Ok(Self { at: gpu.address(&copy), _copy: Some(copy) })
    }

    fn of(gpu: &Gpu, tensor: &Tensor) -> Result<Self> {
        Self::new(gpu, gpu.of(tensor)?, tensor.elem_count())
    }
}

/// The `n` elements that cuDNN writes to an address, which `write` is given with the workspace's.
fn product(
    gpu: &Gpu,
    n: usize,
    workspace: usize,
    write: impl FnOnce(u64, u64) -> Result<()>,
) -> Result<CudaSlice<f32>> {
    let y = gpu.room(n)?;
    if !gpu.cudnn.in_bf16() {
        gpu.with_workspace(workspace, |workspace| write(gpu.address(&y), workspace))??;
        return Ok(y);
    }
    let rounded = gpu.room::<u16>(n)?;
    gpu.with_workspace(workspace, |workspace| write(gpu.address(&rounded), workspace))??;
    let arguments = [Address(gpu.address(&y)), Address(gpu.address(&rounded)), count(n)?];
    gpu.run("from_bf16", (n.div_ceil(SPAN), 1), &arguments)?;
    Ok(y)
}

fn forward(gpu: &Gpu, sizes: Sizes, x: u64, weight: u64) -> Result<CudaSlice<f32>> {
    let Sizes { batch, inputs, outputs, kernel, .. } = sizes;
    let plan = gpu.cudnn.plan(sizes)?;
    let way = plan.forward(&gpu.cudnn)?;
    let x = Factor::new(gpu, x, batch * inputs * sizes.plane())?;
    let weight = Factor::new(gpu, weight, outputs * inputs * kernel * kernel)?;
    product(gpu, batch * outputs * sizes.plane(), way.workspace, |y, workspace| {
        // SAFETY: x, weight and y have the sizes that the plan was made for.
        unsafe { plan.run_forward(&gpu.cudnn, way, [x.at, weight.at, y, workspace]) }
    })
}

/// Gradients of x, where it is `wanted`, and of the weight.
fn backward(
    gpu: &Gpu,
    [x, weight, gradient]: [&Tensor; 3],
    wanted: bool,
) -> Result<(Option<Tensor>, Tensor)> {
    let plan = gpu.cudnn.plan(sizes(x.shape(), weight.shape())?)?;
    let from_y = Factor::of(gpu, gradient)?;
    let to_x = if wanted {
        let way = plan.to_input(&gpu.cudnn)?;
        let from_weight = Factor::of(gpu, weight)?;
        let to_x = product(gpu, x.elem_count(), way.workspace, |to_x, workspace| {
            let at = [from_weight.at, from_y.at, to_x, workspace];
            // SAFETY: weight, gradient and result have the sizes that the plan was made for.
            unsafe { plan.run_to_input(&gpu.cudnn, way, at) }
        })?;
        Some(gpu.tensor(to_x, x.shape()))
    } else {
        None
    };
    let way = plan.to_weight(&gpu.cudnn)?;
    let from_x = Factor::of(gpu, x)?;
    let to_weight = product(gpu, weight.elem_count(), way.workspace, |to_weight, workspace| {
        let at = [from_x.at, from_y.at, to_weight, workspace];
        // SAFETY: x, gradient and result have the sizes that the plan was made for.
        unsafe { plan.run_to_weight(&gpu.cudnn, way, at) }
    })?;
    Ok((to_x, gpu.tensor(to_weight, weight.shape())))
}

/// Sum of the gradient over everything but the channel.
fn bias_gradient(gpu: &Gpu, gradient: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = gradient.dims4()?;
    let parts = batch * (height * width).div_ceil(STRETCH);
    let sums = gpu.room::<f64>(channels * parts)?;
    let of_sums = Address(gpu.address(&sums));
    let arguments = [of_sums, Address(gpu.of(gradient)?), count(channels)?, count(height * width)?];
    gpu.run("bias_grad_sums", (channels, parts), &arguments)?;
    let to_bias = gpu.room(channels)?;
    let arguments = [Address(gpu.address(&to_bias)), of_sums, count(parts)?];
    gpu.run("bias_grad_finish", (channels, 1), &arguments)?;
    Ok(gpu.tensor(to_bias, channels))
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
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
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(x)?;
        let sizes = sizes(x_layout.shape(), weight_layout.shape())?;
        let weight = gpu.elements(weight, weight_layout)?;
        let y = forward(&gpu, sizes, gpu.elements(x, x_layout)?, weight)?;
        Ok((gpu.storage(y), (sizes.batch, sizes.outputs, sizes.height, sizes.width).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gpu = gpu(x.device())?;
        let (to_x, to_weight) = backward(&gpu, [x, weight, &gradient.contiguous()?], self.to_x)?;
        Ok((to_x, Some(to_weight)))
    }
}

impl CustomOp3 for Conv2d {
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
        let sizes = sizes(x_layout.shape(), weight_layout.shape())?;
        if bias_layout.shape().dims() != [sizes.outputs] {
            candle_core::bail!("{NAME}: biases {:?} for {sizes:?}", bias_layout.shape());
        }
        let weight = gpu.elements(weight, weight_layout)?;
        let y = forward(&gpu, sizes, gpu.elements(x, x_layout)?, weight)?;
        let bias = gpu.elements(bias, bias_layout)?;
        let grid = (sizes.batch * sizes.outputs, sizes.plane().div_ceil(SPAN));
        let (channels, plane) = (count(sizes.outputs)?, count(sizes.plane())?);
        let arguments = [Address(gpu.address(&y)), Address(bias), channels, plane];
        gpu.run("bias_add", grid, &arguments)?;
        Ok((gpu.storage(y), (sizes.batch, sizes.outputs, sizes.height, sizes.width).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gpu = gpu(x.device())?;
        let gradient = gradient.contiguous()?;
        let (to_x, to_weight) = backward(&gpu, [x, weight, &gradient], self.to_x)?;
        Ok((to_x, Some(to_weight), Some(bias_gradient(&gpu, &gradient)?)))
    }
}
