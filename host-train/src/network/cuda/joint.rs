//! The joint of the decoder: bilinear upsampling by two, then the skip connection's channels.

use super::gpu::{Address, Argument, SPAN, count, gpu, gpu_of, not_here};
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};

const NAME: &str = "upsample_concat";

/// As `layers::upsample_concat::upsample_concat`.
pub(crate) fn upsample_concat(tape: &Tape, deep: &Tensor, skip: &Tensor) -> Result<Tensor> {
    tape.apply2(UpsampleConcat, deep, skip)
}

struct UpsampleConcat;

struct Sizes {
    batch: usize,
    deep: usize,
    skip: usize,
    height: usize,
    width: usize,
}

impl Sizes {
    fn of(deep: &Shape, skip: &Shape) -> Result<Self> {
        let (batch, channels, height, width) = deep.dims4()?;
        let (skip_batch, skip_channels, skip_height, skip_width) = skip.dims4()?;
        if (skip_batch, skip_height, skip_width) != (batch, 2 * height, 2 * width) {
            candle_core::bail!("{NAME}: {deep:?} enlarged does not meet {skip:?}");
        }
        Ok(Self { batch, deep: channels, skip: skip_channels, height, width })
    }

    fn counts(&self) -> Result<[Argument; 4]> {
        Ok([count(self.deep)?, count(self.skip)?, count(self.height)?, count(self.width)?])
    }

    /// Elements of an enlarged plane.
    fn plane(&self) -> usize {
        4 * self.height * self.width
    }
}

impl CustomOp2 for UpsampleConcat {
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
        deep: &CudaStorage,
        deep_layout: &Layout,
        skip: &CudaStorage,
        skip_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(deep)?;
        let s = Sizes::of(deep_layout.shape(), skip_layout.shape())?;
        let planes = s.batch * (s.deep + s.skip);
        let y = gpu.room(planes * s.plane())?;
        let deep = Address(gpu.elements(deep, deep_layout)?);
        let skip = Address(gpu.elements(skip, skip_layout)?);
        let arguments = [&[Address(gpu.address(&y)), deep, skip][..], &s.counts()?].concat();
        gpu.run("joint", (planes, s.plane().div_ceil(SPAN)), &arguments)?;
        Ok((gpu.storage(y), (s.batch, s.deep + s.skip, 2 * s.height, 2 * s.width).into()))
    }

    fn bwd(
        &self,
        deep: &Tensor,
        skip: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gpu = gpu(deep.device())?;
        let s = Sizes::of(deep.shape(), skip.shape())?;
        let gradient = gradient.contiguous()?;
        let from = Address(gpu.of(&gradient)?);
        let to_deep = gpu.room(deep.elem_count())?;
        let arguments = [&[Address(gpu.address(&to_deep)), from][..], &s.counts()?].concat();
        let grid = (s.batch * s.deep, (s.plane() / 4).div_ceil(SPAN));
        gpu.run("joint_grad_deep", grid, &arguments)?;
        let to_skip = gpu.room(skip.elem_count())?;
        let to = Address(gpu.address(&to_skip));
        let arguments = [to, from, count(s.deep)?, count(s.skip)?, count(s.plane())?];
        gpu.run("joint_grad_skip", (s.batch * s.skip, s.plane().div_ceil(SPAN)), &arguments)?;
        let to_deep = gpu.tensor(to_deep, deep.shape());
        Ok((Some(to_deep), Some(gpu.tensor(to_skip, skip.shape()))))
    }
}
