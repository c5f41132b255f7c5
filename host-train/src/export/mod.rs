//! From a trained network to a bundle for the device.
//!
//! [`mod@fold`] makes plain convolutions of it, [`calibrate`], [`mod@quantize`], [`mod@correct`] and
//! [`mod@choose`] make integers of those, [`onnx`] writes the file, [`mod@certify`] runs the written
//! file beside the trained network. What is certified is what is shipped: [`export`] adds the manifest
//! to those same bytes, nothing else.

pub mod agreement;
pub mod bounds;
pub mod calibrate;
pub mod certify;
pub mod choose;
pub mod correct;
pub mod describe;
pub mod engine;
pub mod fold;
#[cfg(test)]
mod interop;
mod observer;
pub mod onnx;
pub mod photographs;
pub mod plan;
mod proto;
pub mod quality;
pub mod quantize;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::network::UNet;
use crate::network::grid::Levels;
use crate::network::quantize_aware::MapScales;
use bounds::Bounds;
use calibrate::observe;
use candle_core::Tensor;
use certify::{Certification, CertifyError, Trainer, ask, certify};
use choose::{Choice, ChooseError, Judge, choose};
use engine::{Engine, EngineError};
use fold::{FoldError, FoldedNetwork, fold};
use glaucoma_common::manifest::{Certificate, METADATA_KEY, Manifest, ManifestError, Precision};
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::self_test::{SelfTest, SelfTestError, Tolerance, picture};
use image::RgbImage;
use onnx::{Graph, Numbers, encode};
use quality::Case;
use quantize::{Quantization, QuantizeError, quantize};
use std::collections::BTreeMap;

/// What is to be exported.
pub struct Job<'a> {
    /// The network's parameters and running statistics by name.
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// What the bundle will say of itself; its precision decides what is written, and the
    /// certificates are added to those it has.
    pub manifest: Manifest,
    /// Prepared photographs (side x side) that int8 ranges are taken from; unused for the others, and
    /// where `map_scales` are given.
    pub calibration: &'a [RgbImage],
    /// The grids that the network was trained on, where it was: int8 takes them as they are.
    pub map_scales: Option<&'a MapScales>,
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
    /// The network was trained on grids that are not those of its maps.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// No scales could be chosen.
    #[error(transparent)]
    Choose(#[from] ChooseError),
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
    /// The finished file does not answer as it did before.
    #[error("export: the finished file: {0}")]
    SelfTest(#[from] SelfTestError),
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
/// all 256 levels where only that does; a network that was trained on grids keeps those.
///
/// # Errors
/// Whatever stands in the way of a bundle; above all a file outside the bounds.
pub fn export(job: &Job<'_>, trainer: &Trainer<'_>) -> Result<Bundle, ExportError> {
    let network = fold(job.tensors)?;
    let (side, multiple) = (job.manifest.input.side, network.side_multiple());
    if side == 0 || !(side as usize).is_multiple_of(multiple) {
        return Err(ExportError::Side { side, multiple });
    }
    let int8 = job.manifest.precision == Precision::Int8Qdq;
    if int8 && job.map_scales.is_none() && job.calibration.is_empty() {
        return Err(ExportError::NoCalibration);
    }
    let draft = Draft { job, network: &network, trained: &ask(trainer, job.cases)? };
    match (job.manifest.precision, job.map_scales) {
        (Precision::F32, _) => draft.finish(Numbers::F32, draft.certify(Numbers::F32)?),
        (Precision::F16Weights, _) => {
            draft.finish(Numbers::F16Weights, draft.certify(Numbers::F16Weights)?)
        }
        (Precision::Int8Qdq, Some(MapScales { levels, scales })) => {
            let quantization = quantize(&network, *levels, scales)?;
            let numbers = Numbers::Int8(&quantization);
            let mut certificates = draft.certify(numbers)?;
            certificates.push(calibration("trained with", *levels, 0));
            draft.finish(numbers, certificates)
        }
        (Precision::Int8Qdq, None) => {
            let (quantization, certificates) = draft.after_training()?;
            draft.finish(Numbers::Int8(&quantization), certificates)
        }
    }
}

/// A folded network on its way to a bundle, with what the trained one says of each case.
struct Draft<'a> {
    job: &'a Job<'a>,
    network: &'a FoldedNetwork,
    trained: &'a [NetworkOutput],
}

impl Draft<'_> {
    fn encode(&self, numbers: Numbers<'_>, metadata: &[(&str, &str)]) -> Vec<u8> {
        let side = self.job.manifest.input.side;
        encode(&Graph { network: self.network, side, numbers, extra_outputs: &[] }, metadata)
    }

    fn certify(&self, numbers: Numbers<'_>) -> Result<Vec<Certificate>, CertifyError> {
        let certification = Certification {
            manifest: &self.job.manifest,
            cases: self.job.cases,
            trained: self.trained,
            measured_on: self.job.measured_on,
            bounds: self.job.bounds,
        };
        certify(&self.encode(numbers, &[]), &certification)
    }

    /// Integers chosen after training: the coarser levels if they keep the bounds, else the finer.
    fn after_training(&self) -> Result<(Quantization, Vec<Certificate>), ExportError> {
        let Manifest { input, decoding, .. } = &self.job.manifest;
        let photographs = self.job.calibration;
        let observed = observe(self.network, input.side, input.scale, photographs)?;
        let judge = Judge::new(self.network, photographs, (input.side, input.scale), *decoding)?;
        let attempt = |levels| {
            let Choice { quantization, scheme, corrected } = choose(&judge, &observed, levels)?;
            let mut certificates = self.certify(Numbers::Int8(&quantization))?;
            let mut own = calibration("chosen map by map", levels, photographs.len());
            own.values.insert("biases_corrected".into(), f64::from(u8::from(corrected)));
            for way in scheme.clipping.values() {
                *own.values.entry(format!("maps clipped by {way}")).or_default() += 1.0;
            }
            certificates.push(own);
            Ok::<_, ExportError>((quantization, certificates))
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

    /// Adds the manifest with its self-test, and reads the finished file back.
    fn finish(
        &self,
        numbers: Numbers<'_>,
        certificates: Vec<Certificate>,
    ) -> Result<Bundle, ExportError> {
        let mut manifest = self.job.manifest.clone();
        manifest.certificates.extend(certificates);
        let certified = self.encode(numbers, &[]);
        let answer = |engine: &Engine| engine.run(&picture(engine.side()), manifest.input.scale);
        let answered = answer(&Engine::load(&certified)?)?;
        let self_test = SelfTest::record(&answered, tolerance(manifest.precision))?;
        let manifest = Manifest { self_test: Some(self_test.clone()), ..manifest.clone() };
        let json = manifest.to_json()?;
        let bytes = self.encode(numbers, &[(METADATA_KEY, &json)]);
        let graph = onnx::without_metadata(&bytes)
            .map_err(|error| ExportError::ReadBack(error.to_string()))?;
        if graph != certified {
            return Err(ExportError::ReadBack("its graph is not the certified one".into()));
        }
        let engine = Engine::load(&bytes)?;
        if engine.metadata(METADATA_KEY).as_deref() != Some(json.as_str()) {
            return Err(ExportError::ReadBack("its manifest is not the one written".into()));
        }
        Manifest::from_json(&json)?;
        self_test.check(&answer(&engine)?)?;
        Ok(Bundle { bytes, manifest })
    }
}

/// How far another engine may lie from the exporter's on the self-test. Floating point: the order of
/// sums. int8: an engine may take a sum that lies next to a half the other way, and what follows then
/// moves by whole steps. Two trained networks under noise of a millionth moved by at most 3e-4
/// (classifier), 2e-5 (means) and 0.04 (any pixel, at the edge of a disc).
pub(crate) fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::F32 | Precision::F16Weights => {
            Tolerance { glaucoma: 1e-3, mean: 1e-4, sample: 1e-3 }
        }
        Precision::Int8Qdq => Tolerance { glaucoma: 0.005, mean: 5e-4, sample: 0.1 },
    }
}

fn calibration(how: &str, levels: Levels, photographs: usize) -> Certificate {
    Certificate {
        name: format!("int8 ranges: {how}"),
        measured_on: "training photographs".into(),
        n: photographs as u64,
        values: BTreeMap::from([("map_steps".into(), levels.steps().into())]),
    }
}
