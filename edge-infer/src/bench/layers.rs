//! The time of each layer over several runs.

use glaucoma_engine::Lap;

use super::{Spread, milliseconds};

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The map that is made.
    pub name: String,
    /// What is done: `conv`, which includes upsampling what is read and pooling what is made, or `heads`.
    pub kind: &'static str,
    /// Multiplications and additions, in pairs.
    pub macs: u64,
    /// Median over the runs.
    pub ms: f64,
}

impl Layer {
    /// Multiplications and additions, in pairs, a second; `None` for a layer that has none.
    #[must_use]
    pub fn macs_per_second(&self) -> Option<f64> {
        (self.macs > 0 && self.ms > 0.0).then(|| self.macs as f64 / self.ms * 1e3)
    }
}

/// Each layer with the median of its times, in the order of the first run.
#[must_use]
pub fn medians(runs: &[Vec<Lap>]) -> Vec<Layer> {
    let first = runs.first().into_iter().flatten().enumerate();
    first
        .map(|(at, lap)| {
            let times = runs.iter().filter_map(|laps| laps.get(at));
            let times: Vec<f64> = times.map(|lap| milliseconds(lap.time)).collect();
            let ms = Spread::of(&times).median;
            Layer { name: lap.name.clone(), kind: lap.kind, macs: lap.macs, ms }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_layers_time_is_its_median() {
        let lap = |name: &str, macs, ms| Lap {
            name: name.into(),
            kind: "conv",
            macs,
            time: Duration::from_millis(ms),
        };
        let run = |a, b| vec![lap("a", 6_000_000, a), lap("b", 0, b)];
        let layers = medians(&[run(9, 1), run(3, 2), run(2, 5)]);
        assert_eq!(layers.iter().map(|layer| layer.ms).collect::<Vec<_>>(), [3.0, 2.0]);
        assert_eq!(layers[0].macs_per_second(), Some(2e9));
        assert_eq!(layers[1].macs_per_second(), None);
        assert_eq!(medians(&[]), []);
    }
}
