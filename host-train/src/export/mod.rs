//! From a trained network to a bundle for the device.
//!
//! [`mod@fold`] makes plain convolutions of it, [`calibrate`] and [`mod@quantize`] make integers of
//! those, [`onnx`] writes the file, [`mod@certify`] runs the written file beside the trained
//! network. What is certified is what is shipped: [`export`] adds the manifest to those same
//! bytes, nothing else.

pub mod agreement;
pub mod calibrate;
pub mod certify;
pub mod describe;
pub mod engine;
pub mod fold;
#[cfg(test)]
mod interop;
pub mod onnx;
pub mod photographs;
pub mod plan;
mod proto;
pub mod quantize;
#[cfg(test)]
pub(crate) mod testing;

use crate::network::UNet;
use agreement::{Agreement, Case};
use calibrate::{Clipping, observe};
use candle_core::Tensor;
use certify::{Bounds, Certification, CertifyError, Trainer, certify};
use engine::{Engine, EngineError};
use fold::{FoldError, FoldedNetwork, fold};
use glaucoma_common::manifest::{Certificate, METADATA_KEY, Manifest, ManifestError, Precision};
use image::RgbImage;
use onnx::{Graph, encode};
use quantize::{Levels, Quantization, QuantizeError, Scheme, quantize};
use std::collections::BTreeMap;

/// Photographs on which the ways of clipping are compared: the choice among three needs few.
const CHOOSING_PHOTOGRAPHS: usize = 16;

/// What is to be exported.
pub struct Job<'a> {
    /// The network's parameters and running statistics by name.
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// What the bundle will say of itself; its precision decides what is written, and the
    /// certificates are added to those it has.
    pub manifest: Manifest,
    /// Prepared photographs (side x side) that int8 ranges are taken from; unused for f32.
    pub calibration: &'a [RgbImage],
    /// Prepared photographs that the written file is certified on; none of `calibration`.
    pub cases: &'a [Case<'a>],
    /// Says which photographs `cases` are, for the certificates.
    pub measured_on: &'a str,
    /// What the written file must keep.
    pub bounds: Bounds,
}

/// A certified model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// The manifest within it.
    pub manifest: Manifest,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not a network that can be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// No scales could be chosen.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The engine refused a graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The written file does not say what the network says.
    #[error(transparent)]
    Certify(#[from] CertifyError),
    /// The manifest cannot be written.
    #[error("export: {0}")]
    Manifest(#[from] ManifestError),
    /// int8 without photographs.
    #[error("calibrate: no photographs to take the ranges of int8 from")]
    NoCalibration,
    /// A side that the network cannot halve often enough.
    #[error("export: a side of {side} px is not a multiple of {multiple}")]
    Side {
        /// The manifest's input side.
        side: u32,
        /// What it must be a multiple of.
        multiple: usize,
    },
    /// The finished file does not read back as it was written.
    #[error("export: the finished file does not read back: {0}")]
    ReadBack(String),
}

/// Parameters and running statistics of a network, by name: what [`Job::tensors`] takes.
#[must_use]
pub fn network_tensors(network: &UNet) -> BTreeMap<String, Tensor> {
    let parts = network.parameters().into_iter().chain(network.buffers());
    parts.map(|(name, var)| (name, var.as_tensor().clone())).collect()
}

/// Writes `job`'s network as a certified bundle. `trainer` is the trained network itself, in
/// evaluation mode.
///
/// For int8 the maps use 0 to 127 where that keeps the bounds (the fast form on every processor),
/// all 256 levels where only that does.
///
/// # Errors
/// Whatever stands in the way of a bundle; above all a file outside the bounds.
pub fn export(job: &Job<'_>, trainer: &Trainer<'_>) -> Result<Bundle, ExportError> {
    let network = fold(job.tensors)?;
    let (side, multiple) = (job.manifest.input.side, network.side_multiple());
    if side == 0 || !(side as usize).is_multiple_of(multiple) {
        return Err(ExportError::Side { side, multiple });
    }
    let graph = Graph { network: &network, side, quantization: None, extra_outputs: &[] };
    let (quantization, certificates) = match job.manifest.precision {
        Precision::F32 => (None, certify_graph(&graph, job, trainer)?),
        Precision::Int8Qdq => {
            let (quantization, certificates) = export_int8(&network, job, trainer)?;
            (Some(quantization), certificates)
        }
    };
    let mut manifest = job.manifest.clone();
    manifest.certificates.extend(certificates);
    finish(&Graph { quantization: quantization.as_ref(), ..graph }, manifest)
}

fn certify_graph(
    graph: &Graph<'_>,
    job: &Job<'_>,
    trainer: &Trainer<'_>,
) -> Result<Vec<Certificate>, CertifyError> {
    let certification = Certification {
        decoding: job.manifest.decoding,
        scale: job.manifest.input.scale,
        cases: job.cases,
        measured_on: job.measured_on,
        bounds: job.bounds,
    };
    certify(&encode(graph, &[]), trainer, &certification)
}

/// The coarser levels if they keep the bounds, else the finer ones.
fn export_int8(
    network: &FoldedNetwork,
    job: &Job<'_>,
    trainer: &Trainer<'_>,
) -> Result<(Quantization, Vec<Certificate>), ExportError> {
    if job.calibration.is_empty() {
        return Err(ExportError::NoCalibration);
    }
    let (side, scale) = (job.manifest.input.side, job.manifest.input.scale);
    let observed = observe(network, side, scale, job.calibration)?;
    let attempt = |levels| {
        let schemes = Clipping::CANDIDATES.map(|clipping| Scheme { levels, clipping });
        let candidates = schemes.map(|scheme| quantize(network, &observed, scheme));
        let candidates = candidates.into_iter().collect::<Result<Vec<_>, _>>()?;
        let best = nearest(network, job, &candidates)?;
        let graph =
            Graph { network, side, quantization: Some(&candidates[best]), extra_outputs: &[] };
        let mut certificates = certify_graph(&graph, job, trainer)?;
        certificates.push(calibration_certificate(schemes[best], job));
        Ok::<_, ExportError>((candidates[best].clone(), certificates))
    };
    match attempt(Levels::Half) {
        Err(ExportError::Certify(CertifyError::OutOfBounds(figures))) => {
            tracing::warn!(
                "int8 with 128 levels is outside the bounds, trying 256: {}",
                figures.join("; ")
            );
            attempt(Levels::Full)
        }
        other => other,
    }
}

fn calibration_certificate(scheme: Scheme, job: &Job<'_>) -> Certificate {
    Certificate {
        name: format!("calibration of int8 ranges: {}", scheme.clipping),
        measured_on: "training photographs".into(),
        n: job.calibration.len() as u64,
        values: BTreeMap::from([("map_steps".into(), scheme.levels.steps())]),
    }
}

/// Which of the candidates changes the outputs least, as the sum over the four heads of the mean
/// difference from f32, each in units of the first candidate's.
fn nearest(
    network: &FoldedNetwork,
    job: &Job<'_>,
    candidates: &[Quantization],
) -> Result<usize, EngineError> {
    let (side, scale) = (job.manifest.input.side, job.manifest.input.scale);
    let graph = Graph { network, side, quantization: None, extra_outputs: &[] };
    // Evenly over all of them: they lie data set by data set.
    let (all, count) = (job.calibration, job.calibration.len().min(CHOOSING_PHOTOGRAPHS));
    let photographs: Vec<&RgbImage> =
        (0..count).map(|index| &all[index * all.len() / count]).collect();
    let run = |graph: &Graph<'_>| -> Result<Vec<_>, EngineError> {
        let engine = Engine::load(&encode(graph, &[]))?;
        photographs.iter().map(|photograph| engine.run(photograph, scale)).collect()
    };
    let exact = run(&graph)?;
    let mut units: Option<[f64; 4]> = None;
    let mut best = (0, f64::INFINITY);
    for (index, candidate) in candidates.iter().enumerate() {
        let outputs = run(&Graph { quantization: Some(candidate), ..graph })?;
        let mut agreement = Agreement::new(job.manifest.decoding);
        exact.iter().zip(&outputs).for_each(|(exact, output)| agreement.add(exact, output));
        let figures = agreement.figures();
        let errors = ["glaucoma.mean", "disc.mean", "cup.mean", "fovea.mean"]
            .map(|name| figures.get(name).copied().unwrap_or(f64::INFINITY));
        let units = *units.get_or_insert(errors);
        let total: f64 = errors.iter().zip(units).map(|(error, unit)| error / unit.max(1e-9)).sum();
        let [glaucoma, disc, cup, fovea] = errors;
        tracing::info!(
            "{}: mean difference from f32: glaucoma {glaucoma:.5}, disc {disc:.5}, cup {cup:.5}, fovea \
             {fovea:.5}",
            Clipping::CANDIDATES.get(index).map_or_else(String::new, ToString::to_string)
        );
        if total < best.1 {
            best = (index, total);
        }
    }
    Ok(best.0)
}

/// Adds the manifest, and reads the finished file back.
fn finish(graph: &Graph<'_>, manifest: Manifest) -> Result<Bundle, ExportError> {
    let json = manifest.to_json()?;
    let bytes = encode(graph, &[(METADATA_KEY, &json)]);
    let graph_again =
        onnx::without_metadata(&bytes).map_err(|error| ExportError::ReadBack(error.to_string()))?;
    if graph_again != encode(graph, &[]) {
        return Err(ExportError::ReadBack("its graph is not the certified one".into()));
    }
    let engine = Engine::load(&bytes)?;
    if engine.metadata(METADATA_KEY) != Some(json.as_str()) {
        return Err(ExportError::ReadBack("its manifest is not the one written".into()));
    }
    Manifest::from_json(&json)?;
    Ok(Bundle { bytes, manifest })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::testing::{manifest, photograph, random_network, reference};
    use super::*;
    use crate::evaluation::predict;
    use crate::network::{Encoder, NetworkConfig};
    use candle_core::Device;

    /// Bounds for a random network, whose maps have edges everywhere.
    const LOOSE: Bounds = Bounds {
        glaucoma_max: 0.05,
        glaucoma_mean: 0.05,
        map_max: 0.15,
        map_mean: 0.02,
        pixels_differing: 0.1,
        disc_dice: 0.8,
        cup_dice: 0.8,
        vcdr_difference: 0.2,
        fovea_shift_share: 0.01,
        ..Bounds::INT8
    };

    fn export_random(precision: Precision, bounds: Bounds) -> Result<Bundle, ExportError> {
        let side = 32;
        let tensors = random_network(8, 11);
        let calibration: Vec<_> = (0..6).map(|seed| photograph(side, seed)).collect();
        let photographs: Vec<_> = (100..104).map(|seed| photograph(side, seed)).collect();
        let cases: Vec<_> = photographs.iter().map(Case::unlabelled).collect();
        let job = Job {
            tensors: &tensors,
            manifest: manifest(side, precision),
            calibration: &calibration,
            cases: &cases,
            measured_on: "4 synthetic pictures",
            bounds,
        };
        export(&job, &|photograph| Ok(reference(&tensors, photograph)))
    }

    /// The trainer's own network, both encoders, its BatchNorms as different as after a training.
    #[test]
    fn written_f32_file_is_the_trainers_network() {
        for (encoder, width, side) in [(Encoder::Vgg13, 0.125, 64), (Encoder::Vgg16, 0.0625, 48)] {
            let config = NetworkConfig { encoder, width, ..NetworkConfig::default() };
            let network = UNet::new(&config, 7, &Device::Cpu).unwrap();
            for (name, var) in network.parameters().into_iter().chain(network.buffers()) {
                if name.contains(".norm") || name.starts_with("head.") {
                    var.set(&testing::like(&var, &name)).unwrap();
                }
            }
            let photograph = photograph(side, 3);
            let expected = predict(&network, &photograph, &Device::Cpu).unwrap();
            let folded = fold(&network_tensors(&network)).unwrap();
            let graph = Graph { network: &folded, side, quantization: None, extra_outputs: &[] };
            let engine = Engine::load(&encode(&graph, &[])).unwrap();
            let mut agreement = Agreement::new(Default::default());
            agreement.add(&expected, &engine.run(&photograph, 1.0 / 255.0).unwrap());
            let figures = agreement.figures();
            for head in ["glaucoma", "disc", "cup", "fovea"] {
                let difference = figures[&format!("{head}.max")];
                assert!(difference <= 1e-5, "{encoder:?} {head}: {difference:e}");
            }
            let spread = |map: &[f32]| {
                let of = |pick: fn(f32, f32) -> f32| map.iter().copied().reduce(pick).unwrap();
                of(f32::max) - of(f32::min)
            };
            let spread = spread(&expected.disc);
            assert!(spread > 0.01, "a flat map would agree with anything: {spread}");
        }
    }

    #[test]
    fn f32_bundle_is_certified_and_carries_its_manifest() {
        let bundle = export_random(Precision::F32, Bounds::F32).unwrap();
        let engine = Engine::load(&bundle.bytes).unwrap();
        let json = engine.metadata(METADATA_KEY).unwrap();
        assert_eq!(json, bundle.manifest.to_json().unwrap());
        let parity = &bundle.manifest.certificates[0];
        assert_eq!((parity.name.as_str(), parity.n), ("trainer parity", 4));
        assert!(parity.values["disc.max"] < 1e-5, "{:?}", parity.values);
    }

    #[test]
    fn int8_bundle_is_certified_and_small() {
        let bundle = export_random(Precision::Int8Qdq, LOOSE).unwrap();
        let exact = export_random(Precision::F32, Bounds::F32).unwrap();
        println!("{:#?}", bundle.manifest.certificates);
        assert!(bundle.bytes.len() * 3 < exact.bytes.len());
        assert!(bundle.manifest.certificates[0].values["disc.mean"] > 0.0);
    }

    #[test]
    fn a_file_outside_its_bounds_is_refused_by_name() {
        let error = export_random(Precision::Int8Qdq, Bounds::F32).unwrap_err();
        let ExportError::Certify(CertifyError::OutOfBounds(figures)) = &error else {
            panic!("{error}");
        };
        assert!(figures.iter().any(|figure| figure.starts_with("glaucoma.max")), "{figures:?}");
    }

    #[test]
    fn no_photographs_no_bundle() {
        let tensors = random_network(4, 1);
        let job = Job {
            tensors: &tensors,
            manifest: manifest(32, Precision::Int8Qdq),
            calibration: &[],
            cases: &[],
            measured_on: "",
            bounds: Bounds::INT8,
        };
        let trainer = |photograph: &RgbImage| Ok(reference(&tensors, photograph));
        assert!(matches!(export(&job, &trainer), Err(ExportError::NoCalibration)));
        let job = Job { manifest: manifest(32, Precision::F32), ..job };
        let error = export(&job, &trainer).unwrap_err();
        assert!(matches!(error, ExportError::Certify(CertifyError::NoPhotographs)));
        let job = Job { manifest: manifest(40, Precision::F32), ..job };
        let error = export(&job, &trainer).unwrap_err();
        assert!(matches!(error, ExportError::Side { side: 40, multiple: 16 }));
    }
}
