//! 2x2 max pooling and the maximum over a plane.

use super::gpu::{Address, SPAN, count, gpu, gpu_of, not_here};
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// As `layers::max_pool::max_pool`.
pub(crate) fn max_pool(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    tape.apply1(MaxPool, x)
}

/// As `layers::global_max::global_max`.
pub(crate) fn global_max(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    tape.apply1(GlobalMax, x)
}

struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool_2x2"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        not_here(self.name())
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(x)?;
        let (batch, channels, height, width) = layout.shape().dims4()?;
        if height < 2 || width < 2 {
            candle_core::bail!("{}: {height}x{width} is smaller than a window", self.name());
        }
        let plane = (height / 2) * (width / 2);
        let y = gpu.room(batch * channels * plane)?;
        let addresses = [Address(gpu.address(&y)), Address(gpu.elements(x, layout)?)];
        let arguments = [addresses, [count(height)?, count(width)?]].concat();
        gpu.run("max_pool", (batch * channels, plane.div_ceil(SPAN)), &arguments)?;
        Ok((gpu.storage(y), (batch, channels, height / 2, width / 2).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gpu = gpu(x.device())?;
        let (batch, channels, height, width) = x.dims4()?;
        let gradient = gradient.contiguous()?;
        let to_x = gpu.room(x.elem_count())?;
        let to = Address(gpu.address(&to_x));
        let (from_x, from_y) = (Address(gpu.of(x)?), Address(gpu.of(&gradient)?));
        let arguments = [to, from_x, from_y, count(height)?, count(width)?];
        let grid = (batch * channels, (height * width).div_ceil(SPAN));
        gpu.run("max_pool_grad", grid, &arguments)?;
        Ok(Some(gpu.tensor(to_x, x.shape())))
    }
}

struct GlobalMax;

impl CustomOp1 for GlobalMax {
    fn name(&self) -> &'static str {
        "global_max"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        not_here(self.name())
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(x)?;
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let y = gpu.room(batch * channels)?;
        let addresses = [Address(gpu.address(&y)), Address(gpu.elements(x, layout)?)];
        let arguments = [&addresses[..], &[count(height * width)?]].concat();
        gpu.run("global_max", (batch * channels, 1), &arguments)?;
        Ok((gpu.storage(y), (batch, channels).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gpu = gpu(x.device())?;
        let (batch, channels, height, width) = x.dims4()?;
        let gradient = gradient.contiguous()?;
        let to_x = gpu.room(x.elem_count())?;
        let to = Address(gpu.address(&to_x));
        let (from_x, from_y) = (Address(gpu.of(x)?), Address(gpu.of(&gradient)?));
        let arguments = [to, from_x, from_y, count(height * width)?];
        gpu.run("global_max_grad", (batch * channels, 1), &arguments)?;
        Ok(Some(gpu.tensor(to_x, x.shape())))
    }
}
