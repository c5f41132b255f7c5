//! The one optimiser of a strategy that has a single one, saved with what its method has learnt.

use super::maths::Learnt;
use super::{State, StrategyError, StrategyName, refuse_strangers, under_prefix, with_prefix};
use crate::adam::{Adam, AdamConfig};
use crate::gradients::Gradients;
use crate::network::UNet;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// What a method has learnt, by name; saved in double precision.
pub type Numbers = BTreeMap<String, Vec<f64>>;

/// Under this and a name the numbers stand in the state. No parameter of a network begins with it.
const NUMBERS: &str = "numbers";

/// One [`Adam`] for all parameters. Its state lies under the strategy's name, so that another
/// strategy's is recognised and refused.
#[derive(Debug)]
pub struct OneAdam {
    name: StrategyName,
    adam: Adam,
}

impl OneAdam {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(name: StrategyName, net: &UNet, adam: AdamConfig) -> Self {
        Self { name, adam: Adam::new(net.parameters(), adam) }
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.name()
    }

    /// One step along `gradients` at learning rate `lr`.
    ///
    /// # Errors
    /// Those of [`Adam::step`].
    pub fn step(&mut self, gradients: &Gradients, lr: f64) -> Result<(), StrategyError> {
        Ok(self.adam.step(gradients, lr)?)
    }

    /// The optimiser's state and `numbers`.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn state(&self, numbers: Numbers) -> Result<State, StrategyError> {
        let mut state = self.adam.state()?;
        for (name, values) in numbers {
            let count = values.len();
            let tensor = Tensor::from_vec(values, count, &Device::Cpu)?;
            state.insert(format!("{NUMBERS}.{name}"), tensor);
        }
        Ok(with_prefix(self.name(), state).collect())
    }

    /// Takes over the optimiser's state and gives back the numbers, which must be those that `now`
    /// has, in name and count.
    ///
    /// # Errors
    /// A state of another strategy or network; nothing is changed then.
    pub fn restore(&mut self, state: &State, now: &Numbers) -> Result<Numbers, StrategyError> {
        refuse_strangers(&[self.name()], state)?;
        let state = under_prefix(self.name(), state);
        let saved = under_prefix(NUMBERS, &state);
        let mut numbers = Numbers::new();
        for (name, values) in now {
            let fits =
                |tensor: &&Tensor| tensor.dims() == [values.len()] && tensor.dtype() == DType::F64;
            let Some(tensor) = saved.get(name).filter(fits) else {
                let what = format!("`{NUMBERS}.{name}` is missing or not {} numbers", values.len());
                return Err(StrategyError::State(what));
            };
            numbers.insert(name.clone(), tensor.to_vec1()?);
        }
        self.adam.restore(&state)?;
        Ok(numbers)
    }
}

/// Puts `values` under `name`.
pub fn put(numbers: &mut Numbers, name: &str, values: &[f64]) {
    numbers.insert(name.to_owned(), values.to_vec());
}

/// Overwrites `values` with those under `name`, of the same count.
pub fn take(numbers: &Numbers, name: &str, values: &mut [f64]) {
    let saved = numbers.get(name).into_iter().flatten();
    values.iter_mut().zip(saved).for_each(|(value, saved)| *value = *saved);
}

/// All of `learnt` under `name`.
pub fn saved(name: &str, learnt: &Learnt) -> Numbers {
    let part = |(part, values): (&str, [f64; 4])| (format!("{name}.{part}"), values.to_vec());
    learnt.parts().into_iter().map(part).collect()
}

/// Overwrites all of `learnt` with what is under `name`.
pub fn taken(name: &str, learnt: &mut Learnt, numbers: &Numbers) {
    for (part, values) in learnt.parts_mut() {
        take(numbers, &format!("{name}.{part}"), values);
    }
}
