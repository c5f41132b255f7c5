//! What stands for the GPU in a program that was built without it: one error.

use super::{Block, DeviceError, Key, LossKind, Move, Packed, Precision, Rates, Shown};
use crate::network::tape::Tape;
use candle_core::{Device, Error, Result, Tensor};

fn not_built<T>() -> Result<T> {
    Err(Error::wrap(DeviceError::NotBuilt))
}

pub(crate) fn device(_: usize, _: Precision) -> std::result::Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

pub(crate) fn conv2d(_: &Tape, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Tensor> {
    not_built()
}

pub(crate) fn conv_norm_relu(_: &Tape, _: &Tensor, _: &Block<'_>) -> Result<Tensor> {
    not_built()
}

pub(crate) fn max_pool(_: &Tape, _: &Tensor) -> Result<Tensor> {
    not_built()
}

pub(crate) fn global_max(_: &Tape, _: &Tensor) -> Result<Tensor> {
    not_built()
}

pub(crate) fn upsample_concat(_: &Tape, _: &Tensor, _: &Tensor) -> Result<Tensor> {
    not_built()
}

pub(crate) fn masked_loss(_: LossKind, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Tensor> {
    not_built()
}

/// Examples kept on a GPU; there is none.
#[derive(Debug)]
pub(crate) enum Kept {}

impl Kept {
    pub(crate) fn new(_: &Device, _: usize) -> Result<Self> {
        not_built()
    }

    pub(crate) fn holds(&self, _: Key) -> bool {
        match *self {}
    }

    pub(crate) fn show(&self, _: &[Packed], _: usize, _: f32) -> Result<Shown> {
        match *self {}
    }
}

/// Moments of an optimiser; there are none without a GPU.
#[derive(Debug)]
pub(crate) enum Moments {}

impl Moments {
    pub(crate) fn upload<'a>(
        _: &Device,
        _: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    ) -> Result<Self> {
        not_built()
    }

    pub(crate) fn download(&self) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        match *self {}
    }

    pub(crate) fn step(&mut self, _: &[Move<'_>], _: Rates) -> Result<()> {
        match *self {}
    }
}

/// NCCL, which is never found; see `nccl.rs`.
#[derive(Debug)]
pub(crate) enum Nccl {}

/// See `nccl.rs`.
pub(crate) type NcclId = [u8; 128];

impl Nccl {
    pub(crate) fn load() -> Result<Self> {
        not_built()
    }

    pub(crate) fn draw(&self) -> Result<NcclId> {
        match *self {}
    }

    pub(crate) fn join(self, _: &Device, _: NcclId, _: usize, _: usize) -> Result<Together> {
        match self {}
    }
}

/// GPUs of several processes; there are none.
#[derive(Debug)]
pub(crate) enum Together {}

impl Together {
    pub(crate) fn sum(&self, _: &Tensor) -> Result<()> {
        match *self {}
    }
}
