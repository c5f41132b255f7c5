//! The task losses; the scalar stays on the device until somebody reads it.

use super::LossKind;
use super::gpu::{Address, Argument, Count, SPAN, STRETCH, count, gpu, gpu_of, not_here};
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor};

const NAME: &str = "loss";

/// As `loss::masked_loss` of tensors that fit, but the weights are not looked at: where none is
/// above zero the loss is NaN. Going back from a loss that is not finite halts the optimisers of the
/// device.
pub(crate) fn masked_loss(
    kind: LossKind,
    logits: &Tensor,
    values: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let (values, weights) = (values.contiguous()?, weights.contiguous()?);
    logits.contiguous()?.apply_op3(&values, &weights, MaskedLoss(kind))
}

struct MaskedLoss(LossKind);

/// Images and elements of each; both of logits and values, the former of the weights.
fn sizes(logits: &Shape, values: &Shape, weights: &Shape) -> Result<(usize, usize)> {
    let batch = weights.elem_count();
    let total = logits.elem_count();
    if values.elem_count() != total || batch == 0 || total == 0 || !total.is_multiple_of(batch) {
        candle_core::bail!("{NAME}: {logits:?}, {values:?} and {weights:?} do not fit");
    }
    Ok((batch, total / batch))
}

impl MaskedLoss {
    fn kind(&self) -> Argument {
        Count(self.0 as u32)
    }
}

impl CustomOp3 for MaskedLoss {
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
        logits: &CudaStorage,
        logits_layout: &Layout,
        values: &CudaStorage,
        values_layout: &Layout,
        weights: &CudaStorage,
        weights_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu_of(logits)?;
        let (batch, each) =
            sizes(logits_layout.shape(), values_layout.shape(), weights_layout.shape())?;
        let logits = Address(gpu.elements(logits, logits_layout)?);
        let values = Address(gpu.elements(values, values_layout)?);
        let weights = Address(gpu.elements(weights, weights_layout)?);
        let runs = each.div_ceil(STRETCH);
        let sums = gpu.room::<f64>(batch * runs)?;
        let of_sums = Address(gpu.address(&sums));
        let arguments = [of_sums, logits, values, weights, self.kind(), count(each)?];
        gpu.run("loss_sums", (batch, runs), &arguments)?;
        let loss = gpu.room(1)?;
        let to = Address(gpu.address(&loss));
        let counts = [count(batch * runs)?, count(batch)?, count(each)?];
        gpu.run("loss_finish", (1, 1), &[&[to, of_sums, weights][..], &counts].concat())?;
        Ok((gpu.storage(loss), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        values: &Tensor,
        weights: &Tensor,
        loss: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gpu = gpu(logits.device())?;
        let (batch, each) = sizes(logits.shape(), values.shape(), weights.shape())?;
        let to_logits = gpu.room(logits.elem_count())?;
        let gradient = gradient.contiguous()?;
        let mut arguments = vec![Address(gpu.address(&to_logits))];
        for tensor in [logits, values, weights, loss, &gradient] {
            arguments.push(Address(gpu.of(tensor)?));
        }
        let counts = [self.kind(), count(batch)?, count(each)?];
        arguments.push(Address(gpu.halted()));
        arguments.extend(counts);
        gpu.run("loss_grad", (batch, each.div_ceil(SPAN)), &arguments)?;
        Ok((Some(gpu.tensor(to_logits, logits.shape())), None, None))
    }
}
