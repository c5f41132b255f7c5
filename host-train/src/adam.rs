//! Adam (Kingma & Ba 2015) in one pass over each parameter, with a state that can be saved.

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::gradients::Gradients;
use crate::network::cuda;
use crate::network::layers::elements;

const NAME: &str = "adam";
/// Elements a thread takes at once.
const RUN: usize = 16 * 1024;

/// Parameters whose names begin so are the encoder's.
pub const ENCODER: &str = "encoder.";

/// Constants of the method; the learning rate is given at each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay of the mean of the gradient.
    pub beta1: f64,
    /// Decay of the mean of its square.
    pub beta2: f64,
    /// Added to the root of the latter.
    pub eps: f64,
    /// Share of the learning rate by which weights shrink each step, apart from the gradient
    /// (AdamW; Loshchilov & Hutter 2019). Biases and normalisation parameters, which have one
    /// dimension, do not shrink.
    pub weight_decay: f64,
    /// Gradients whose norm over all parameters is above this are scaled down to it.
    pub clip_norm: Option<f64>,
    /// The encoder's learning rate as a share of everything else's.
    pub encoder_rate: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: None,
            encoder_rate: 1.0,
        }
    }
}

/// Why an optimiser's step or restoration failed.
#[derive(Debug, thiserror::Error)]
pub enum AdamError {
    /// A saved state lacks an entry, or has it in another shape or type.
    #[error("optimiser state: {name} is missing or not of shape {shape:?}")]
    State {
        /// Name of the entry.
        name: String,
        /// Shape it must have.
        shape: Vec<usize>,
    },
    /// Gradients of another network.
    #[error("optimiser: {found} gradients for {needed} parameters")]
    Count {
        /// Entries given.
        found: usize,
        /// Parameters of the optimiser.
        needed: usize,
    },
    /// A tensor operation failed.
    #[error("optimiser: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The optimiser of a set of named parameters; the same numbers as `torch.optim.Adam`.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    slots: Vec<Slot>,
    /// Means and squares from the first step on a GPU on, instead of those in the slots.
    on_gpu: Option<cuda::Moments>,
}

/// A parameter with its moments, which start at zero.
#[derive(Debug)]
struct Slot {
    name: String,
    parameter: Var,
    moments: Moments,
}

impl Slot {
    /// The scalars of the step that its count of steps has reached.
    fn rates(&self, config: &AdamConfig, lr: f64, scale: f32) -> Rates {
        let lr = if self.name.starts_with(ENCODER) { lr * config.encoder_rate } else { lr };
        let shrink = if self.parameter.rank() > 1 { config.weight_decay } else { 0.0 };
        let keep = (1.0 - lr * shrink) as f32;
        Rates { scale, keep, ..Rates::new(config, lr, self.moments.steps) }
    }
}

#[derive(Clone, Debug)]
struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: u32,
}

impl Adam {
    /// An optimiser at its start.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamConfig) -> Self {
        let slots = parameters.into_iter().map(|(name, parameter)| {
            let zeros = vec![0.0; parameter.elem_count()];
            let moments = Moments { mean: zeros.clone(), square: zeros, steps: 0 };
            Slot { name, parameter, moments }
        });
        Self { config, slots: slots.collect(), on_gpu: None }
    }

    /// One step at learning rate `lr` along the gradients. A parameter without a gradient keeps
    /// its value, its moments and its count of steps.
    pub fn step(&mut self, gradients: &Gradients, lr: f64) -> Result<(), AdamError> {
        let (found, needed) = (gradients.len(), self.slots.len());
        if found != needed {
            return Err(AdamError::Count { found, needed });
        }
        let scale = match self.config.clip_norm {
            Some(most) => (most / gradients.norm(|_| true)?).min(1.0),
            None => 1.0,
        };
        if self.slots.first().is_some_and(|slot| cuda::on_gpu(&slot.parameter)) {
            return self.step_on_gpu(gradients, lr, scale as f32);
        }
        for (slot, gradient) in self.slots.iter_mut().zip(gradients.iter()) {
            if let Some(gradient) = gradient {
                slot.moments.steps += 1;
                let rates = slot.rates(&self.config, lr, scale as f32);
                let update = Update { rates, moments: RefCell::new(&mut slot.moments) };
                slot.parameter.inplace_op2(gradient, &update)?;
            }
        }
        Ok(())
    }

    /// All parameters in one go; the host does not wait for it.
    fn step_on_gpu(&mut self, gradients: &Gradients, lr: f64, scale: f32) -> Result<(), AdamError> {
        let Some(first) = self.slots.first() else { return Ok(()) };
        let device = first.parameter.device().clone();
        let moments = match &mut self.on_gpu {
            Some(moments) => moments,
            none => {
                let pairs = self.slots.iter().map(|slot| &slot.moments);
                let pairs = pairs.map(|own| (own.mean.as_slice(), own.square.as_slice()));
                none.insert(cuda::Moments::upload(&device, pairs)?)
            }
        };
        let mut moves = Vec::with_capacity(self.slots.len());
        for (at, (slot, gradient)) in self.slots.iter_mut().zip(gradients.iter()).enumerate() {
            if let Some(gradient) = gradient {
                slot.moments.steps += 1;
                let Rates { step, root, keep, .. } = slot.rates(&self.config, lr, scale);
                let parameter = &slot.parameter;
                moves.push(cuda::Move { slot: at, parameter, gradient, step, root, keep, scale });
            }
        }
        let Rates { beta2, gain1, gain2, eps, .. } = Rates::new(&self.config, lr, 1);
        Ok(moments.step(&moves, cuda::Rates { beta2, gain1, gain2, eps })?)
    }

    /// Everything that later steps depend on besides the parameters themselves: for each
    /// parameter `<name>.mean` and `<name>.square` in its shape, and `<name>.steps` (1), u32; on the
    /// CPU.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, AdamError> {
        let mut state = BTreeMap::new();
        let mut downloaded = match &self.on_gpu {
            Some(moments) => moments.download()?.into_iter(),
            None => Vec::new().into_iter(),
        };
        for Slot { name, parameter, moments } in &self.slots {
            let latest = downloaded.next();
            let (mean, square) = match &latest {
                Some((mean, square)) => (mean, square),
                None => (&moments.mean, &moments.square),
            };
            for (part, values) in [("mean", mean), ("square", square)] {
                let tensor = Tensor::from_slice(values, parameter.shape(), &Device::Cpu)?;
                state.insert(format!("{name}.{part}"), tensor);
            }
            state.insert(format!("{name}.steps"), Tensor::new(&[moments.steps], &Device::Cpu)?);
        }
        Ok(state)
    }

    /// Takes over a saved state, exactly. Entries of other parameters are ignored; where one is
    /// missing or of another shape nothing is changed.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), AdamError> {
        let find = |name: String, shape: &[usize]| {
            let found = state.get(&name).filter(|tensor| tensor.dims() == shape);
            found.ok_or(AdamError::State { name, shape: shape.to_vec() })
        };
        let mut restored = Vec::with_capacity(self.slots.len());
        for Slot { name, parameter, .. } in &self.slots {
            let values = |part: &str| -> Result<Vec<f32>, AdamError> {
                let tensor = find(format!("{name}.{part}"), parameter.dims())?;
                Ok(tensor.flatten_all()?.to_vec1()?)
            };
            let steps = find(format!("{name}.steps"), &[1])?.to_vec1::<u32>()?[0];
            restored.push(Moments { mean: values("mean")?, square: values("square")?, steps });
        }
        for (slot, moments) in self.slots.iter_mut().zip(restored) {
            slot.moments = moments;
        }
        self.on_gpu = None;
        Ok(())
    }
}

/// The scalars of one step, from double precision.
#[derive(Clone, Copy)]
struct Rates {
    beta2: f32,
    gain1: f32,
    gain2: f32,
    /// Learning rate over the bias correction of the mean.
    step: f32,
    /// Root of the bias correction of the square.
    root: f32,
    eps: f32,
    /// What clipping leaves of the gradient.
    scale: f32,
    /// What decay leaves of the parameter.
    keep: f32,
}

impl Rates {
    fn new(config: &AdamConfig, lr: f64, steps: u32) -> Self {
        let steps = f64::from(steps);
        Self {
            beta2: config.beta2 as f32,
            gain1: (1.0 - config.beta1) as f32,
            gain2: (1.0 - config.beta2) as f32,
            step: (lr / (1.0 - config.beta1.powf(steps))) as f32,
            root: (1.0 - config.beta2.powf(steps)).sqrt() as f32,
            eps: config.eps as f32,
            scale: 1.0,
            keep: 1.0,
        }
    }
}

struct Update<'a> {
    rates: Rates,
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = elements(NAME, gradient, gradient_layout)?;
        let range = layout.contiguous_offsets();
        let (CpuStorage::F32(all), Some((start, end))) = (parameter, range) else {
            candle_core::bail!("{NAME}: parameters must be contiguous f32");
        };
        let parameter = &mut all[start..end];
        if parameter.len() != gradient.len() {
            candle_core::bail!("{NAME}: {} gradients, {} values", gradient.len(), parameter.len());
        }
        let moments = &mut *self.moments.borrow_mut();
        let rates = self.rates;
        parameter
            .par_chunks_mut(RUN)
            .zip(gradient.par_chunks(RUN))
            .zip(moments.mean.par_chunks_mut(RUN).zip(moments.square.par_chunks_mut(RUN)))
            .for_each(|((p, g), (m, v))| {
                for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * rates.scale;
                    *m += rates.gain1 * (g - *m);
                    *v = *v * rates.beta2 + rates.gain2 * g * g;
                    *p = *p * rates.keep - rates.step * (*m / (v.sqrt() / rates.root + rates.eps));
                }
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Result;

    /// Gradient of this is (p - 1)^3 * 4 and so changes from step to step.
    fn gradients(named: &[(String, Var)]) -> Result<Gradients> {
        let p = named[0].1.as_tensor();
        Gradients::of(&(p - 1.0)?.sqr()?.sqr()?.sum_all()?.backward()?, named)
    }

    fn values(p: &Var) -> Vec<f32> {
        p.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit_and_the_untouched_rests() {
        let device = Device::Cpu;
        let start = Tensor::new(&[[0.3f32, -2.0, 5.0], [0.0, 1.0, 1.5]], &device).unwrap();
        let p = Var::from_tensor(&start).unwrap();
        let idle = Var::from_tensor(&start).unwrap();
        let named = |p: &Var, idle: &Var| {
            vec![("p".to_string(), p.clone()), ("idle".to_string(), idle.clone())]
        };
        let mut adam = Adam::new(named(&p, &idle), AdamConfig::default());
        for _ in 0..3 {
            adam.step(&gradients(&named(&p, &idle)).unwrap(), 0.1).unwrap();
        }
        let state = adam.state().unwrap();
        assert_eq!(state["idle.steps"].to_vec1::<u32>().unwrap(), [0]);
        assert_eq!(state["p.steps"].to_vec1::<u32>().unwrap(), [3]);
        let copy = Var::from_tensor(&p.as_tensor().copy().unwrap()).unwrap();
        for _ in 0..3 {
            adam.step(&gradients(&named(&p, &idle)).unwrap(), 0.1).unwrap();
        }
        let mut resumed = Adam::new(named(&copy, &idle), AdamConfig::default());
        resumed.restore(&state).unwrap();
        for _ in 0..3 {
            resumed.step(&gradients(&named(&copy, &idle)).unwrap(), 0.1).unwrap();
        }
        assert_eq!(values(&p), values(&copy));
        assert_eq!(values(&idle), start.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }

    #[test]
    fn a_foreign_state_is_refused_by_name() {
        let p = Var::from_tensor(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap()).unwrap();
        let mut adam = Adam::new(vec![("p".to_string(), p)], AdamConfig::default());
        let mut state = adam.state().unwrap();
        state.remove("p.square");
        let refused = adam.restore(&state).unwrap_err();
        assert!(refused.to_string().contains("p.square"), "{refused}");
    }
}
