//! What each way of quantising a checkpoint changes, on validation photographs: a table for the docs.
//!
//! ```sh
//! cargo run --release -p host-train --example quantization -- CHECKPOINT DATA... [--trained CHECKPOINT]...
//! ```
//!
//! `--trained` names checkpoints of quantisation-aware trainings that began at CHECKPOINT. Everything is
//! compared with the float network of CHECKPOINT.

use anyhow::Context;
use candle_core::Device;
use clap::Parser;
use glaucoma_common::manifest::{Certificate, Manifest, Precision};
use host_train::evaluation::predict;
use host_train::export::bounds::Bounds;
use host_train::export::calibrate::observe;
use host_train::export::certify::{Certification, ask, certify};
use host_train::export::choose::{Judge, choose};
use host_train::export::correct::correct;
use host_train::export::describe::{Identity, describe};
use host_train::export::fold::{FoldedNetwork, fold};
use host_train::export::network_tensors;
use host_train::export::onnx::{Graph, Numbers, encode};
use host_train::export::photographs::{Counts, gather};
use host_train::export::quality::Case;
use host_train::export::quantize::{Quantization, Scheme, quantize};
use host_train::network::grid::{Clipping, Levels};
use host_train::training::Checkpoint;
use std::path::PathBuf;

/// Photographs that biases are corrected by.
const CORRECTION: usize = 6;
/// Nothing is refused: what is out of bounds is what the table is to show.
const UNBOUNDED: Bounds = Bounds {
    glaucoma_max: f64::INFINITY,
    glaucoma_mean: f64::INFINITY,
    map_max: f64::INFINITY,
    map_mean: f64::INFINITY,
    pixels_differing: f64::INFINITY,
    disc_dice: f64::NEG_INFINITY,
    cup_dice: f64::NEG_INFINITY,
    vcdr_difference: f64::INFINITY,
    fovea_shift_share: f64::INFINITY,
    dice_loss: f64::INFINITY,
    vcdr_loss: f64::INFINITY,
    fovea_loss_share: f64::INFINITY,
    auc_loss: f64::INFINITY,
    ratio_auc_loss: f64::INFINITY,
    flipped_decisions: f64::INFINITY,
};

#[derive(Parser)]
struct Args {
    checkpoint: PathBuf,
    data: Vec<PathBuf>,
    #[arg(long)]
    trained: Vec<PathBuf>,
    /// Folder in which decoded pictures are kept from run to run.
    #[arg(long)]
    cache: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = Device::Cpu;
    let checkpoint = Checkpoint::load(&args.checkpoint)?;
    let net = checkpoint.network(&device)?;
    let identity = Identity {
        name: "table".into(),
        version: "0".into(),
        created: "2026-01-01".into(),
        precision: Precision::Int8Qdq,
    };
    let manifest =
        describe(checkpoint.info(), &net, &identity, "provenance.licence = \"none: a table\"")?;
    let counts = Counts { calibration: 48, certification: 600 };
    let cache = args.cache.as_deref().map(host_train::dataset::cache::Cache::open).transpose()?;
    let found = gather(&args.data, &checkpoint.info().config, counts, cache.as_ref())?;
    let cases = found.cases();
    let trainer = |pixels: &image::RgbImage| {
        predict(&net, pixels, &device).map_err(|error| error.to_string())
    };
    let trained = ask(&trainer, &cases)?;
    println!("{}; {} for calibration\n", found.measured_on, found.calibration.len());
    println!(
        "| way | map, mean | disc Dice | fovea, px | classifier AUC, views | fused AUC | flipped |"
    );
    println!("|---|---|---|---|---|---|---|");
    let network = fold(&network_tensors(&net))?;
    let table = Table { manifest: &manifest, cases: &cases, trained: &trained };
    table.row(&network, "f16 weights", Numbers::F16Weights)?;
    let (side, scale) = (manifest.input.side, manifest.input.scale);
    let observed = observe(&network, side, scale, &found.calibration)?;
    let judge = Judge::new(&network, &found.calibration, (side, scale), manifest.decoding)?;
    let step = found.calibration.len().div_ceil(CORRECTION).max(1);
    let few: Vec<_> = found.calibration.iter().step_by(step).collect();
    let corrected =
        |quantization: &Quantization| correct(&network, quantization, side, scale, &few);
    for levels in [Levels::Half, Levels::Full] {
        let name = |way: &str| format!("{:.0} steps, {way}", levels.steps());
        for way in Clipping::CANDIDATES {
            let scales = Scheme::uniform(&observed, levels, way).scales(&observed)?;
            let rounded = quantize(&network, levels, &scales)?;
            table.row(&network, &name(&way.to_string()), Numbers::Int8(&rounded))?;
        }
        let choice = choose(&judge, &observed, levels)?;
        let rounded = quantize(&network, levels, &choice.scheme.scales(&observed)?)?;
        table.row(&network, &name("map by map"), Numbers::Int8(&rounded))?;
        let way = format!("map by map, biases corrected (taken: {})", choice.corrected);
        table.row(&network, &name(&way), Numbers::Int8(&corrected(&rounded)?))?;
    }
    for path in &args.trained {
        let net = Checkpoint::load(path)?.network(&device)?;
        let grids = net.map_scales().with_context(|| format!("{}: no grids", path.display()))?;
        let network = fold(&network_tensors(&net))?;
        let rounded = quantize(&network, grids.levels, &grids.scales)?;
        let name = format!("{:.0} steps, trained: {}", grids.levels.steps(), path.display());
        table.row(&network, &name, Numbers::Int8(&rounded))?;
    }
    Ok(())
}

struct Table<'a> {
    manifest: &'a Manifest,
    cases: &'a [Case<'a>],
    trained: &'a [glaucoma_common::reading::NetworkOutput],
}

impl Table<'_> {
    fn row(&self, network: &FoldedNetwork, name: &str, numbers: Numbers<'_>) -> anyhow::Result<()> {
        let side = self.manifest.input.side;
        let bytes = encode(&Graph { network, side, numbers, extra_outputs: &[] }, &[]);
        let certification = Certification {
            manifest: self.manifest,
            cases: self.cases,
            trained: self.trained,
            measured_on: "",
            bounds: UNBOUNDED,
        };
        let certificates = certify(&bytes, &certification)?;
        let value = |certificate: &str, name: &str| {
            let found = certificates.iter().find(|one: &&Certificate| one.name == certificate);
            found.and_then(|one| one.values.get(name)).copied().unwrap_or(f64::NAN)
        };
        let map: f64 = ["disc", "cup", "fovea"]
            .map(|map| value("trainer parity", &format!("{map}.mean")))
            .iter()
            .sum();
        let change = |name: &str, unit: f64, digits: usize| {
            let of = |part: &str| unit * value("labelled data", &format!("{name}{part}"));
            let (change, low, high) = (of(".change"), of(".change.low"), of(".change.high"));
            let n = value("labelled data", &format!("{name}.n"));
            if n.is_nan() {
                return "-".to_owned();
            }
            format!("{change:+.digits$} [{low:+.digits$}, {high:+.digits$}] ({n})")
        };
        println!(
            "| {name} | {:.5} | {} | {} | {} | {} | {} of {} |",
            map / 3.0,
            change("disc_dice", 100.0, 2),
            change("fovea_error_px", 1.0, 3),
            change("view_classifier_auc", 100.0, 2),
            change("fused_auc", 100.0, 2),
            value("decisions", "flipped"),
            value("decisions", "n"),
        );
        Ok(())
    }
}
