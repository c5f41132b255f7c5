//! The four task losses, from logits, over the labelled images of a batch only; and the one loss
//! against another network's probabilities.

use crate::dataset::batches::Target;
use crate::network::Task;
use crate::network::cuda::{self, LossKind};
use crate::network::layers::{elements, read};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const NAME: &str = "loss";

/// Why a loss could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// No image of the batch carries a label of the task: there is nothing to learn from it.
    #[error("{}: no image of the batch is labelled", .0.name())]
    Unlabelled(Task),
    /// Logits, values and weights do not belong together.
    #[error("{}: logits {logits:?}, values {values:?} and weights {weights:?} do not fit", task.name())]
    Shapes {
        /// Whose loss.
        task: Task,
        /// (B, ...).
        logits: Vec<usize>,
        /// As the logits.
        values: Vec<usize>,
        /// (B).
        weights: Vec<usize>,
    },
    /// A tensor operation failed.
    #[error("loss: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// How the fovea's map is compared with its Gaussian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoveaLoss {
    /// |p - t|, the paper's. Its minimum is the median: as long as the network is unsure by more
    /// than the Gaussian's width, that is a map of zeros, and short trainings stay there.
    #[default]
    L1,
    /// Binary cross-entropy with the map as a soft label. Its minimum is the mean: an unsure network
    /// answers with a wide map in the right place.
    Bce,
}

impl FoveaLoss {
    /// How a map that was learnt so is decoded: the centre of mass of its values above this share of
    /// its peak. Below the peak of a map learnt by cross-entropy lies a floor of small probabilities,
    /// which together would pull the centre to the middle of the picture; L1 leaves none.
    #[must_use]
    pub fn floor(self) -> f32 {
        match self {
            Self::L1 => 0.0,
            Self::Bce => 0.5,
        }
    }
}

/// [`masked_loss`] against a batch's target.
pub fn task_loss(
    task: Task,
    fovea: FoveaLoss,
    logits: &Tensor,
    target: &Target,
) -> Result<Tensor, LossError> {
    masked_loss(task, fovea, logits, &target.values, &target.weights)
}

/// The task's loss as a scalar tensor: the mean over the elements of the images whose weight is
/// not zero, each image counted with its weight.
///
/// `logits` and `values` have one shape, (B) or (B, 1, S, S); `weights` is (B). With z a logit,
/// p = sigmoid(z), t the value:
/// * glaucoma: focal loss with gamma 2 (Lin et al. 2017), (1 - p_t)^2 BCE with p_t = exp(-BCE);
/// * disc, cup: BCE = max(z, 0) - z t + log(1 + exp(-|z|)), finite for every finite logit;
/// * fovea: as `fovea` says; |p - t| has gradient 0 where p = t.
///
/// On a GPU nothing is waited for: where no image has a weight the loss is NaN, not an error, and
/// after going back from a loss that is not finite no optimiser of the device makes a step.
pub fn masked_loss(
    task: Task,
    fovea: FoveaLoss,
    logits: &Tensor,
    values: &Tensor,
    weights: &Tensor,
) -> Result<Tensor, LossError> {
    masked(kind(task, fovea), task, logits, values, weights)
}

/// What is learnt from a teacher: the cross-entropy between its `probabilities` q of a task and the
/// network's own p = sigmoid(z), of the same shape as `logits`, as the mean over all elements of all
/// images.
///
/// The same for every task: the derivative by a logit is (p - q) / n, nothing where p = q. The focal
/// loss has its minimum elsewhere for a q between 0 and 1, and L1 learns the median. (The knowledge
/// distillation of Hinton et al. 2015 at temperature 1: a higher one is to show how a softmax ranks the
/// classes it does not choose, of which a single probability has none.)
///
/// # Errors
/// Shapes that do not fit; failures of the tensor library.
pub fn soft_loss(task: Task, logits: &Tensor, probabilities: &Tensor) -> Result<Tensor, LossError> {
    let images = logits.dims().first().copied().unwrap_or(0);
    let weights = Tensor::ones(images, DType::F32, logits.device())?;
    masked(LossKind::CrossEntropy, task, logits, probabilities, &weights)
}

fn kind(task: Task, fovea: FoveaLoss) -> LossKind {
    match (task, fovea) {
        (Task::Glaucoma, _) => LossKind::Focal,
        (Task::Disc | Task::Cup, _) | (Task::Fovea, FoveaLoss::Bce) => LossKind::CrossEntropy,
        (Task::Fovea, FoveaLoss::L1) => LossKind::Distance,
    }
}

fn masked(
    kind: LossKind,
    task: Task,
    logits: &Tensor,
    values: &Tensor,
    weights: &Tensor,
) -> Result<Tensor, LossError> {
    if logits.dims() != values.dims()
        || logits.dims().first() != weights.dims().first()
        || weights.rank() != 1
    {
        return Err(LossError::Shapes {
            task,
            logits: logits.dims().to_vec(),
            values: values.dims().to_vec(),
            weights: weights.dims().to_vec(),
        });
    }
    if cuda::on_gpu(logits) {
        return Ok(cuda::masked_loss(kind, logits, values, weights)?);
    }
    let weights = weights.contiguous()?;
    let labelled = read(NAME, &weights, |weights| weights.iter().any(|w| *w != 0.0))?;
    if !labelled {
        return Err(LossError::Unlabelled(task));
    }
    Ok(logits.contiguous()?.apply_op3(&values.contiguous()?, &weights, MaskedLoss(kind))?)
}

struct MaskedLoss(LossKind);

impl CustomOp3 for MaskedLoss {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let logits = elements(NAME, logits, logits_layout)?;
        let values = elements(NAME, values, values_layout)?;
        let weights = elements(NAME, weights, weights_layout)?;
        let each = logits.len() / weights.len();
        let sums: Vec<f64> = logits
            .par_chunks(each)
            .zip(values.par_chunks(each))
            .zip(weights)
            .map(|((logits, values), &weight)| {
                // An image without label may carry any value, NaN included: it is not looked at.
                if weight == 0.0 {
                    return 0.0;
                }
                let losses = logits.iter().zip(values);
                let sum: f64 = losses.map(|(&z, &t)| f64::from(element(self.0, z, t).0)).sum();
                sum * f64::from(weight)
            })
            .collect();
        let loss = sums.iter().sum::<f64>() / total(weights, each);
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        values: &Tensor,
        weights: &Tensor,
        _loss: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let outer = f64::from(gradient.to_scalar::<f32>()?);
        let mut to_logits = vec![0.0; logits.elem_count()];
        read(NAME, logits, |logits| {
            read(NAME, values, |values| {
                read(NAME, weights, |weights| {
                    let each = logits.len() / weights.len();
                    let scale = outer / total(weights, each);
                    to_logits
                        .par_chunks_mut(each)
                        .zip(logits.par_chunks(each).zip(values.par_chunks(each)))
                        .zip(weights)
                        .filter(|(_, weight)| **weight != 0.0)
                        .for_each(|((to, (logits, values)), &weight)| {
                            let scale = (scale * f64::from(weight)) as f32;
                            for ((to, &z), &t) in to.iter_mut().zip(logits).zip(values) {
                                *to = scale * element(self.0, z, t).1;
                            }
                        });
                })
            })
        })???;
        Ok((Some(Tensor::from_vec(to_logits, logits.shape(), logits.device())?), None, None))
    }
}

/// Number of elements that count, weighted.
fn total(weights: &[f32], each: usize) -> f64 {
    weights.iter().map(|&w| f64::from(w)).sum::<f64>() * each as f64
}

/// Loss of one element and its derivative by the logit.
#[inline]
fn element(kind: LossKind, z: f32, t: f32) -> (f32, f32) {
    let tail = (-z.abs()).exp();
    let p = if z >= 0.0 { 1.0 / (1.0 + tail) } else { tail / (1.0 + tail) };
    // Positive part by comparison: `max` would hide a NaN.
    let positive = if z < 0.0 { 0.0 } else { z };
    let bce = positive - z * t + tail.ln_1p();
    match kind {
        LossKind::CrossEntropy => (bce, p - t),
        LossKind::Focal => {
            // 1 - p_t, without cancellation where p_t is close to 1.
            let miss = -(-bce).exp_m1();
            let hit = (-bce).exp();
            (miss * miss * bce, (miss * miss + 2.0 * bce * miss * hit) * (p - t))
        }
        LossKind::Distance => {
            let off = p - t;
            let slope = if z >= 0.0 { p * (tail / (1.0 + tail)) } else { p / (1.0 + tail) };
            let sign = if off > 0.0 {
                1.0
            } else if off < 0.0 {
                -1.0
            } else {
                0.0 * off
            };
            (off.abs(), sign * slope)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{Device, Var};

    fn loss_and_gradient(task: Task, z: &[f32], t: &[f32], w: &[f32]) -> (f32, Vec<f32>) {
        let device = Device::Cpu;
        let shape = (w.len(), 1, 1, z.len() / w.len());
        let z = Var::from_vec(z.to_vec(), shape, &device).unwrap();
        let t = Tensor::from_vec(t.to_vec(), shape, &device).unwrap();
        let w = Tensor::from_vec(w.to_vec(), w.len(), &device).unwrap();
        let loss = masked_loss(task, FoveaLoss::L1, &z, &t, &w).unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(z.as_tensor()).unwrap().flatten_all().unwrap();
        (loss.to_scalar().unwrap(), grad.to_vec1().unwrap())
    }

    #[test]
    fn derivatives_agree_with_differences_in_double_precision() {
        let exact = |task: Task, z: f64, t: f64| -> f64 {
            let p = 1.0 / (1.0 + (-z).exp());
            let bce = z.max(0.0) - z * t + (-z.abs()).exp().ln_1p();
            match task {
                Task::Glaucoma => (1.0 - (-bce).exp()).powi(2) * bce,
                Task::Disc | Task::Cup => bce,
                Task::Fovea => (p - t).abs(),
            }
        };
        for task in Task::ALL {
            for z in [-12.0f32, -3.0, -0.4, 0.0, 0.3, 2.5, 9.0] {
                for t in [0.0f32, 1.0, 0.3] {
                    let (loss, slope) = element(kind(task, FoveaLoss::L1), z, t);
                    let (z, t) = (f64::from(z), f64::from(t));
                    let wanted = exact(task, z, t);
                    assert!((f64::from(loss) - wanted).abs() < 1e-6 * (1.0 + wanted));
                    let numeric = (exact(task, z + 1e-5, t) - exact(task, z - 1e-5, t)) / 2e-5;
                    assert!(
                        (f64::from(slope) - numeric).abs() < 1e-5 * (1.0 + numeric.abs()),
                        "{task:?} at {z}, {t}: {slope} {numeric}"
                    );
                }
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        for task in Task::ALL {
            for z in [-1e30f32, -200.0, 200.0, 1e30] {
                for t in [0.0f32, 1.0] {
                    let (loss, slope) = element(kind(task, FoveaLoss::L1), z, t);
                    assert!(loss.is_finite() && slope.is_finite(), "{task:?} {z} {t}");
                }
            }
            assert!(element(kind(task, FoveaLoss::L1), f32::NAN, 0.0).0.is_nan());
        }
    }

    #[test]
    fn unlabelled_images_neither_count_nor_learn() {
        let (z, t) = ([0.5, -1.0, 3.0, 0.2], [1.0, 0.0, f32::NAN, 7.0]);
        for task in Task::ALL {
            let (alone, grad_alone) = loss_and_gradient(task, &z[..2], &t[..2], &[1.0]);
            let (both, grad) = loss_and_gradient(task, &z, &t, &[1.0, 0.0]);
            assert_eq!(alone, both);
            assert_eq!(grad[..2], grad_alone[..]);
            assert_eq!(grad[2..], [0.0, 0.0]);
        }
        let device = Device::Cpu;
        let z = Tensor::new(&[0.5f32, 0.1], &device).unwrap();
        let none = Tensor::new(&[0.0f32, 0.0], &device).unwrap();
        let refused = masked_loss(Task::Glaucoma, FoveaLoss::L1, &z, &z, &none);
        assert!(matches!(refused, Err(LossError::Unlabelled(Task::Glaucoma))));
        let short = Tensor::new(&[1.0f32], &device).unwrap();
        let refused = masked_loss(Task::Glaucoma, FoveaLoss::L1, &z, &z, &short);
        assert!(matches!(refused, Err(LossError::Shapes { .. })));
    }

    #[test]
    fn a_teacher_is_learnt_from_by_the_same_slope_in_every_task() {
        let (z, q) = ([-6.0f32, -0.7, 0.0, 0.4, 2.0, 8.0], [0.01f32, 0.9, 0.5, 0.3, 0.88, 0.2]);
        let exact = |z: f64, q: f64| -> f64 {
            let p = 1.0 / (1.0 + (-z).exp());
            -q * p.ln() - (1.0 - q) * (1.0 - p).ln()
        };
        for task in Task::ALL {
            let logits = Var::from_slice(&z, (3, 2), &Device::Cpu).unwrap();
            let said = Tensor::from_slice(&q, (3, 2), &Device::Cpu).unwrap();
            let loss = soft_loss(task, &logits, &said).unwrap();
            let slopes = loss.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap();
            let pairs = || z.iter().zip(&q).map(|(&z, &q)| (f64::from(z), f64::from(q)));
            let wanted = pairs().map(|(z, q)| exact(z, q)).sum::<f64>() / 6.0;
            assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - wanted).abs() < 1e-6);
            for ((z, q), slope) in pairs().zip(slopes.to_vec1::<f32>().unwrap()) {
                let numeric = (exact(z + 1e-5, q) - exact(z - 1e-5, q)) / 2e-5 / 6.0;
                assert!((f64::from(slope) - numeric).abs() < 1e-6, "{task:?} {z} {q}: {slope}");
            }
            // Whoever says what the teacher says has nothing to learn.
            let same = candle_nn::ops::sigmoid(logits.as_tensor()).unwrap().detach();
            let loss = soft_loss(task, &logits, &same).unwrap();
            let slopes = loss.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap();
            assert!(slopes.to_vec1::<f32>().unwrap().iter().all(|slope| slope.abs() < 1e-7));
        }
        let short = Tensor::new(&[0.5f32], &Device::Cpu).unwrap();
        let logits = Tensor::new(&[0.5f32, 0.1], &Device::Cpu).unwrap();
        let refused = soft_loss(Task::Cup, &logits, &short);
        assert!(matches!(refused, Err(LossError::Shapes { task: Task::Cup, .. })));
    }
}
