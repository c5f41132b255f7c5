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
fn tolerance(precision: Precision) -> Tolerance {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::agreement::Agreement;
    use super::testing::{example, like, manifest, photograph, random_network, reference};
    use super::*;
    use crate::evaluation::predict;
    use crate::network::layers::fake_quant::fake_quant_weight;
    use crate::network::quantize_aware::QuantizeAware;
    use crate::network::tape::Tape;
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
        flipped_decisions: 1.0,
        ..Bounds::INT8
    };

    fn export_random(precision: Precision, bounds: Bounds) -> Result<Bundle, ExportError> {
        let side = 32;
        let tensors = random_network(8, 11);
        let calibration: Vec<_> = (0..6).map(|seed| photograph(side, seed)).collect();
        let examples: Vec<_> = (100..104).map(|seed| example(side, seed)).collect();
        let cases: Vec<_> =
            examples.iter().map(|example| Case { example, class_only: false }).collect();
        let job = Job {
            tensors: &tensors,
            manifest: manifest(side, precision),
            calibration: &calibration,
            map_scales: None,
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
                    var.set(&like(&var, &name)).unwrap();
                }
            }
            let photograph = photograph(side, 3);
            let expected = predict(&network, &photograph, &Device::Cpu).unwrap();
            let folded = fold(&network_tensors(&network)).unwrap();
            let graph = Graph { network: &folded, side, numbers: Numbers::F32, extra_outputs: &[] };
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
    fn f16_bundle_is_certified_and_half_as_large() {
        let bundle = export_random(Precision::F16Weights, Bounds::F16_WEIGHTS).unwrap();
        let exact = export_random(Precision::F32, Bounds::F32).unwrap();
        assert!(bundle.bytes.len() * 10 < exact.bytes.len() * 6);
        let parity = &bundle.manifest.certificates[0].values;
        assert!(parity["disc.max"] > 1e-6, "the weights were not rounded: {parity:?}");
    }

    /// Every bundle answers its own self-test, and not that of a network which differs by a little.
    #[test]
    fn the_self_test_knows_its_own_file() {
        let bundle = export_random(Precision::F32, Bounds::F32).unwrap();
        let test = bundle.manifest.self_test.unwrap();
        let answer = |bytes: &[u8]| {
            let engine = Engine::load(bytes).unwrap();
            engine.run(&picture(engine.side()), 1.0 / 255.0).unwrap()
        };
        assert_eq!(test.check(&answer(&bundle.bytes)), Ok(()));
        let mut network = fold(&random_network(8, 11)).unwrap();
        network.maps[1].bias[0] += 0.01;
        let graph =
            Graph { network: &network, side: 32, numbers: Numbers::F32, extra_outputs: &[] };
        let error = test.check(&answer(&encode(&graph, &[]))).unwrap_err().to_string();
        assert!(error.contains("cup.mean"), "{error}");
    }

    /// A network that computes on grids and the int8 file of it differ by rounding alone.
    #[test]
    fn a_quantisation_aware_network_is_its_int8_file() {
        let side = 64;
        let config = NetworkConfig { width: 0.125, ..NetworkConfig::default() };
        for levels in [Levels::Half, Levels::Full] {
            let mut network = UNet::new(&config, 7, &Device::Cpu).unwrap();
            for (name, var) in network.parameters().into_iter().chain(network.buffers()) {
                if name.contains(".norm") || name.starts_with("head.") {
                    var.set(&like(&var, &name)).unwrap();
                }
            }
            let photographs: Vec<_> = (0..4).map(|seed| photograph(side, seed)).collect();
            let float = photographs.iter().map(|one| predict(&network, one, &Device::Cpu).unwrap());
            let float: Vec<_> = float.collect();
            let inputs: Vec<f32> = photographs
                .iter()
                .flat_map(|one| glaucoma_common::preprocess::to_input(one, 1.0 / 255.0))
                .collect();
            let shape = (4, 3, side as usize, side as usize);
            let images = Tensor::from_vec(inputs, shape, &Device::Cpu).unwrap();
            let options = QuantizeAware { levels, ..QuantizeAware::default() };
            network.quantize_aware(&images, &options).unwrap();
            let folded = fold(&network_tensors(&network)).unwrap();
            let MapScales { levels, scales } = network.map_scales().unwrap();
            let quantization = quantize(&folded, *levels, scales).unwrap();
            // What it was trained on is what is written: each weight of the rounded network, folded, is
            // its integer times its channel's step.
            let rounded = fold(&on_their_grids(&network)).unwrap();
            let (mut compared, mut elsewhere) = (0, 0);
            for conv in rounded.convs() {
                let Some(written) = quantization.convs.get(&conv.name) else { continue };
                let channels = conv.weight.chunks_exact(conv.weights_per_output());
                let integers = written.weight.chunks_exact(conv.weights_per_output());
                for ((trained, integers), scale) in
                    channels.zip(integers).zip(&written.weight_scale)
                {
                    for (trained, integer) in trained.iter().zip(integers) {
                        let off = (trained / scale - f32::from(*integer)).abs();
                        // A weight halfway between two steps may go either way.
                        assert!(off < 1.001, "{}: {off} steps", conv.name);
                        elsewhere += usize::from(off > 1e-3);
                        compared += 1;
                    }
                }
            }
            assert!(compared > 50_000 && elsewhere * 1000 < compared, "{elsewhere} of {compared}");
            // Untrained layers spread a sum that is rounded the other way over the whole map: no more
            // can be asked of the outputs than that they lie as near as rounding itself.
            let numbers = Numbers::Int8(&quantization);
            let graph = Graph { network: &folded, side, numbers, extra_outputs: &[] };
            let engine = Engine::load(&encode(&graph, &[])).unwrap();
            let mut apart = Agreement::new(Default::default());
            let mut rounding = Agreement::new(Default::default());
            for (photograph, float) in photographs.iter().zip(&float) {
                let trainer = predict(&network, photograph, &Device::Cpu).unwrap();
                let file = engine.run(photograph, 1.0 / 255.0).unwrap();
                apart.add(&trainer, &file);
                rounding.add(float, &file);
            }
            let (apart, rounding) = (apart.figures(), rounding.figures());
            for figure in ["glaucoma.mean", "disc.mean", "cup.mean", "fovea.mean"] {
                let (apart, rounding) = (apart[figure], rounding[figure]);
                println!("{levels:?} {figure}: {apart:e} of {rounding:e}");
                let most = 1.5 * rounding + 1e-5;
                assert!(apart < most, "{levels:?} {figure}: {apart:e} of {rounding:e}");
            }
        }
    }

    /// The network's tensors with the weights that its file holds as integers rounded as in training.
    fn on_their_grids(network: &UNet) -> BTreeMap<String, Tensor> {
        let mut tensors = network_tensors(network);
        for (name, tensor) in &mut tensors {
            let integer = name.contains(".conv")
                && name.ends_with(".weight")
                && !name.starts_with("encoder.stage1.conv1");
            if integer {
                *tensor = fake_quant_weight(&Tape::none(), tensor).unwrap();
            }
        }
        tensors
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
            map_scales: None,
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
