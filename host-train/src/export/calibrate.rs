//! What values the network's maps take on real photographs.
//!
//! The folded network runs in f32 with every map as an output, and the values are counted.

use super::engine::EngineError;
use super::fold::FoldedNetwork;
use super::observer::Observer;
use super::onnx::{self, Graph, Numbers};
use super::plan::{plan, scale_groups};
use crate::network::grid::Histogram;
use image::RgbImage;
use std::collections::BTreeMap;

/// The histograms of the values of each group of maps that will share a scale.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    groups: BTreeMap<String, Histogram>,
}

impl Observed {
    /// The histogram of all maps of `group`; `None` when it was not seen.
    #[must_use]
    pub fn of(&self, group: &str) -> Option<&Histogram> {
        self.groups.get(group)
    }

    /// The groups' names.
    pub fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }
}

/// Runs `network` over `photographs` (side x side pixels, as prepared for the network) and counts
/// the values of every map.
///
/// # Errors
/// A photograph of the wrong size, or an engine that does not run the graph.
pub fn observe(
    network: &FoldedNetwork,
    side: u32,
    scale: f32,
    photographs: &[RgbImage],
) -> Result<Observed, EngineError> {
    let map_groups = scale_groups(&plan(network));
    let mut observed = Observed::default();
    for group in map_groups.values() {
        observed.groups.entry(group.clone()).or_default();
    }
    let photographs: Vec<&RgbImage> = photographs.iter().collect();
    each_map(network, side, scale, &photographs, |map, values| {
        let group = map_groups.get(map).and_then(|group| observed.groups.get_mut(group));
        if let Some(histogram) = group {
            histogram.add(values);
        }
    })?;
    Ok(observed)
}

/// Runs `network` in f32 over `photographs` and hands the values of each of its maps, by name, to
/// `take`: shape (channels, rows, columns), row major.
///
/// # Errors
/// As [`observe`].
pub(super) fn each_map(
    network: &FoldedNetwork,
    side: u32,
    scale: f32,
    photographs: &[&RgbImage],
    mut take: impl FnMut(&str, &[f32]),
) -> Result<(), EngineError> {
    let names: Vec<String> = scale_groups(&plan(network)).into_keys().collect();
    let graph = Graph { network, side, numbers: Numbers::F32, extra_outputs: &names };
    let observer = Observer::load(&onnx::encode(&graph, &[]))?;
    for photograph in photographs {
        let maps = observer.maps(photograph, scale)?;
        names.iter().zip(&maps).for_each(|(name, values)| take(name, values));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::fold::fold;
    use crate::export::testing::{photograph, random_network};

    #[test]
    fn photographs_of_another_size_are_refused() {
        let network = fold(&random_network(4, 3)).unwrap();
        let error = observe(&network, 32, 1.0, &[photograph(48, 1)]).unwrap_err();
        assert!(error.to_string().contains("48 x 48"), "{error}");
    }
}
