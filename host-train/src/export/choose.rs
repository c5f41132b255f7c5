//! Which quantisation changes the outputs least.
//!
//! Judged by running the written file on calibration photographs beside the f32 file. First one way of
//! clipping is taken for all maps, then each group of maps may take another, then the biases may be
//! corrected; every change must earn its place.

use super::agreement::Agreement;
use super::calibrate::Observed;
use super::correct::correct;
use super::engine::{Engine, EngineError};
use super::fold::FoldedNetwork;
use super::onnx::{Graph, Numbers, encode};
use super::quantize::{Quantization, QuantizeError, Scheme, quantize};
use crate::network::grid::{Clipping, Levels};
use glaucoma_common::manifest::Decoding;
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use std::collections::BTreeMap;

/// Photographs on which candidates are compared: every one is run some sixty times.
const PHOTOGRAPHS: usize = 6;
/// A change is taken when the error falls below this share of what it was: less is noise.
const WORTHWHILE: f64 = 0.99;
/// Two ways of clipping whose scales lie closer than this are one.
const ALIKE: f32 = 0.05;

/// Why nothing could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// No scales.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The engine refused a candidate.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The integers.
    pub quantization: Quantization,
    /// How they came about.
    pub scheme: Scheme,
    /// Whether the biases are corrected.
    pub corrected: bool,
}

/// Photographs, and what the f32 file says of them.
pub struct Judge<'a> {
    network: &'a FoldedNetwork,
    side: u32,
    scale: f32,
    decoding: Decoding,
    photographs: Vec<&'a RgbImage>,
    exact: Vec<NetworkOutput>,
}

impl<'a> Judge<'a> {
    /// A judge on some of `photographs` (side x side), evenly over all of them: they lie data set by
    /// data set. `scale` as in the input contract.
    ///
    /// # Errors
    /// An engine that does not run the f32 file.
    pub fn new(
        network: &'a FoldedNetwork,
        photographs: &'a [RgbImage],
        (side, scale): (u32, f32),
        decoding: Decoding,
    ) -> Result<Self, EngineError> {
        let count = photographs.len().min(PHOTOGRAPHS);
        let photographs =
            (0..count).map(|at| &photographs[at * photographs.len() / count]).collect();
        let mut judge = Self { network, side, scale, decoding, photographs, exact: Vec::new() };
        judge.exact = judge.run(Numbers::F32)?;
        Ok(judge)
    }

    fn run(&self, numbers: Numbers<'_>) -> Result<Vec<NetworkOutput>, EngineError> {
        let graph = Graph { network: self.network, side: self.side, numbers, extra_outputs: &[] };
        let engine = Engine::load(&encode(&graph, &[]))?;
        self.photographs.iter().map(|photograph| engine.run(photograph, self.scale)).collect()
    }

    /// Mean difference from f32 of the four outputs: glaucoma, disc, cup, fovea.
    fn errors(&self, quantization: &Quantization) -> Result<[f64; 4], EngineError> {
        let outputs = self.run(Numbers::Int8(quantization))?;
        let mut agreement = Agreement::new(self.decoding);
        self.exact.iter().zip(&outputs).for_each(|(exact, output)| agreement.add(exact, output));
        let figures = agreement.figures();
        Ok(["glaucoma.mean", "disc.mean", "cup.mean", "fovea.mean"]
            .map(|name| figures.get(name).copied().unwrap_or(f64::INFINITY)))
    }
}

/// The sum of `errors`, each in units of the same output's in `units`.
fn total(errors: [f64; 4], units: [f64; 4]) -> f64 {
    errors.iter().zip(units).map(|(error, unit)| error / unit.max(1e-9)).sum()
}

/// The best so far.
struct Candidate {
    scheme: Scheme,
    scales: BTreeMap<String, f32>,
    quantization: Quantization,
    error: f64,
}

/// Chooses clipping, group by group, and whether to correct the biases.
///
/// # Errors
/// A map without values, or an engine that does not run a candidate.
pub fn choose(
    judge: &Judge<'_>,
    observed: &Observed,
    levels: Levels,
) -> Result<Choice, ChooseError> {
    let ways: Vec<(Clipping, BTreeMap<String, f32>)> = Clipping::CANDIDATES
        .into_iter()
        .map(|way| Ok((way, Scheme::uniform(observed, levels, way).scales(observed)?)))
        .collect::<Result<_, QuantizeError>>()?;
    let mut units = None;
    let mut best: Option<Candidate> = None;
    for (way, scales) in &ways {
        let scheme = Scheme::uniform(observed, levels, *way);
        let quantization = quantize(judge.network, levels, scales)?;
        let errors = judge.errors(&quantization)?;
        report(&way.to_string(), errors);
        let error = total(errors, *units.get_or_insert(errors));
        if best.as_ref().is_none_or(|best| error < best.error) {
            best = Some(Candidate { scheme, scales: scales.clone(), quantization, error });
        }
    }
    let (Some(mut best), Some(units)) = (best, units) else {
        return Err(QuantizeError::NotObserved("any map".into()).into());
    };
    for group in observed.groups() {
        for (way, scales) in &ways {
            if (scales[group] / best.scales[group] - 1.0).abs() < ALIKE {
                continue;
            }
            let (mut scheme, mut other) = (best.scheme.clone(), best.scales.clone());
            scheme.clipping.insert(group.clone(), *way);
            other.insert(group.clone(), scales[group]);
            let quantization = quantize(judge.network, levels, &other)?;
            let error = total(judge.errors(&quantization)?, units);
            if error < best.error * WORTHWHILE {
                tracing::info!("{group}: {way}: {error:.3} after {:.3}", best.error);
                best = Candidate { scheme, scales: other, quantization, error };
            }
        }
    }
    let Candidate { scheme, quantization, error, .. } = best;
    let corrected =
        correct(judge.network, &quantization, judge.side, judge.scale, &judge.photographs)?;
    let errors = judge.errors(&corrected)?;
    report("chosen map by map, biases corrected", errors);
    let better = total(errors, units) < error * WORTHWHILE;
    Ok(Choice {
        quantization: if better { corrected } else { quantization },
        scheme,
        corrected: better,
    })
}

fn report(what: &str, [glaucoma, disc, cup, fovea]: [f64; 4]) {
    tracing::info!(
        "{what}: mean difference from f32: glaucoma {glaucoma:.5}, disc {disc:.5}, cup {cup:.5}, fovea {fovea:.5}"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::calibrate::observe;
    use crate::export::fold::fold;
    use crate::export::testing::{photograph, random_network};

    #[test]
    fn what_is_chosen_is_nearer_than_every_uniform_way() {
        let (side, scale) = (32, 1.0 / 255.0);
        let network = fold(&random_network(4, 9)).unwrap();
        let photographs: Vec<_> = (0..3).map(|seed| photograph(side, seed)).collect();
        let observed = observe(&network, side, scale, &photographs).unwrap();
        let decoding = Decoding::default();
        let judge = Judge::new(&network, &photographs, (side, scale), decoding).unwrap();
        let choice = choose(&judge, &observed, Levels::Half).unwrap();
        let errors = |clipping| {
            let scheme = Scheme::uniform(&observed, Levels::Half, clipping);
            let scales = scheme.scales(&observed).unwrap();
            judge.errors(&quantize(&network, Levels::Half, &scales).unwrap()).unwrap()
        };
        let units = errors(Clipping::Largest);
        let chosen = total(judge.errors(&choice.quantization).unwrap(), units);
        for way in Clipping::CANDIDATES {
            let uniform = total(errors(way), units);
            println!("{way}: {uniform}, chosen {chosen}, corrected {}", choice.corrected);
            assert!(chosen <= uniform, "{way}: {uniform}, chosen {chosen}");
        }
        assert!(chosen < 4.0, "nothing was gained");
    }
}
