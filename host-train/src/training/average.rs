//! A moving average of the weights (Polyak averaging), which is validated and kept as the best model.

use crate::network::UNet;
use crate::strategy::State;
use candle_core::{Result, Tensor, Var};

/// Prefix of the average's tensors in a training's state.
const PREFIX: &str = "average.";
/// Number of updates so far.
const UPDATES: &str = "average.updates";

/// `a <- d a + (1 - d) w` after every step, for weights and running statistics alike.
///
/// The decay begins low, `d = min(decay, (1 + t) / (10 + t))` at update t, so that the random
/// beginning is soon forgotten.
pub struct Average {
    decay: f64,
    updates: u32,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    value: Tensor,
}

impl Average {
    /// An average that begins at the network as it is now. `decay` in (0, 1).
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn new(net: &UNet, decay: f64) -> Result<Self> {
        let own = net.parameters().into_iter().chain(net.buffers());
        let slot = |(name, var): (String, Var)| {
            let value = var.as_detached_tensor().copy()?;
            Ok(Slot { name, var, value })
        };
        Ok(Self { decay, updates: 0, slots: own.map(slot).collect::<Result<_>>()? })
    }

    /// Takes in the network after a step.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn update(&mut self) -> Result<()> {
        self.updates += 1;
        let t = f64::from(self.updates);
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        for slot in &mut self.slots {
            let new = (slot.var.as_detached_tensor() * (1.0 - decay))?;
            slot.value = ((&slot.value * decay)? + new)?;
        }
        Ok(())
    }

    /// Exchanges network and average; a second call puts both back.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn exchange(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            let live = slot.var.as_detached_tensor().copy()?;
            slot.var.set(&slot.value)?;
            slot.value = live;
        }
        Ok(())
    }

    /// Everything that [`Average::restore`] needs.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn state(&self) -> Result<State> {
        let own = |slot: &Slot| (format!("{PREFIX}{}", slot.name), slot.value.clone());
        let mut state: State = self.slots.iter().map(own).collect();
        if let Some(slot) = self.slots.first() {
            state.insert(UPDATES.into(), Tensor::new(&[self.updates], slot.var.device())?);
        }
        Ok(state)
    }

    /// Takes its own entries out of a training's `state` and goes on from them.
    ///
    /// # Errors
    /// An entry is missing: the training that wrote the state kept no average.
    pub fn restore(&mut self, state: &mut State) -> Result<()> {
        let mut take = |name: &str| {
            let missing =
                || candle_core::Error::msg(format!("the checkpoint keeps no average: no `{name}`"));
            state.remove(name).ok_or_else(missing)
        };
        self.updates = take(UPDATES)?.squeeze(0)?.to_scalar()?;
        for slot in &mut self.slots {
            slot.value = take(&format!("{PREFIX}{}", slot.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::network::NetworkConfig;
    use candle_core::Device;

    #[test]
    fn it_follows_the_formula_and_exchanges_places() {
        let config = NetworkConfig { width: 1.0 / 64.0, ..NetworkConfig::default() };
        let net = UNet::new(&config, 1, &Device::Cpu).unwrap();
        let (_, var) = net.parameters().swap_remove(0);
        let first = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        let start = f64::from(first(var.as_tensor()));
        let mut average = Average::new(&net, 0.25).unwrap();
        let mut wanted = start;
        for (update, decay) in [(1.0, 2.0 / 11.0), (2.0, 0.25), (3.0, 0.25)] {
            var.set(&(var.as_tensor() + 1.0).unwrap()).unwrap();
            average.update().unwrap();
            wanted = decay * wanted + (1.0 - decay) * (start + update);
        }
        let live = first(var.as_tensor());
        average.exchange().unwrap();
        assert!((f64::from(first(var.as_tensor())) - wanted).abs() < 1e-5);
        let mut state = average.state().unwrap();
        average.exchange().unwrap();
        assert_eq!(first(var.as_tensor()), live);
        let mut other = Average::new(&net, 0.25).unwrap();
        other.restore(&mut state).unwrap();
        assert!(state.is_empty() && other.updates == 3);
        assert!(other.restore(&mut state).unwrap_err().to_string().contains("keeps no average"));
    }
}
