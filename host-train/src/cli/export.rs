//! `host-train export`.

use crate::dataset::cache::Cache;
use crate::evaluation::predict;
use crate::export::bounds::Bounds;
use crate::export::describe::{Identity, day, describe};
use crate::export::photographs::{Counts, gather};
use crate::export::{Bundle, Job, export, network_tensors};
use crate::training::Checkpoint;
use anyhow::{Context, ensure};
use candle_core::Device;
use clap::ValueEnum;
use glaucoma_common::files;
use glaucoma_common::manifest;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// Options of `host-train export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network: a checkpoint of `host-train train`.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Arithmetic of the bundle.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// TOML with bounds to keep in place of the defaults: `dice_loss`, `auc_loss`, `flipped_decisions`, ...
    #[arg(long, value_name = "FILE.toml")]
    bounds: Option<PathBuf>,
    /// Measure the bundle against this checkpoint instead: the float network that a
    /// quantisation-aware training started from.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Folders of data sets: int8 ranges come from their training parts, the certificate from
    /// their validation parts.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// The model's name, as shown beside a result.
    #[arg(long)]
    name: String,
    /// The model's version, as shown beside a result.
    #[arg(long)]
    version: String,
    /// The bundle to write.
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// TOML with keys of the manifest that the checkpoint does not know: `provenance.licence`,
    /// `provenance.credits`, `operating_point`, `decoding`, `quality`, ...
    #[arg(long, value_name = "FILE.toml")]
    manifest_overrides: Option<PathBuf>,
    /// Day of export, YYYY-MM-DD [default: today, UTC].
    #[arg(long, value_name = "DAY")]
    created: Option<String>,
    /// At most this many photographs to take int8 ranges from.
    #[arg(long, value_name = "N", default_value_t = 48)]
    calibration_photographs: usize,
    /// At most this many photographs to certify on.
    #[arg(long, value_name = "N", default_value_t = 200)]
    certification_photographs: usize,
    /// Folder in which decoded pictures are kept from run to run.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Arithmetic of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// 32-bit floating point.
    F32,
    /// Weights in 16-bit floating point, computed with in 32: half the size.
    F16w,
    /// 8-bit weights and maps: a quarter of the size.
    Int8,
}

impl From<Precision> for manifest::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16w => Self::F16Weights,
            Precision::Int8 => Self::Int8Qdq,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::load(&args.checkpoint)?;
    let info = checkpoint.info();
    let device = Device::Cpu;
    let mut network = checkpoint.network(&device)?;
    let map_scales = network.map_scales().cloned().filter(|_| args.precision == Precision::Int8);
    // In a file of floating-point numbers nothing is rounded to the grids of a training.
    network.set_map_scales(map_scales.clone());
    let reference = args.reference.as_deref().map(Checkpoint::load).transpose()?;
    let reference = reference.map(|reference| reference.network(&device)).transpose()?;
    let identity = Identity {
        name: args.name.clone(),
        version: args.version.clone(),
        created: args.created.clone().unwrap_or_else(|| day(SystemTime::now())),
        precision: args.precision.into(),
    };
    // Before the photographs: a missing licence should not cost minutes.
    let manifest = describe(info, &network, &identity, &text(args.manifest_overrides.as_deref())?)?;
    let bounds = Bounds::of(manifest.precision).with(&text(args.bounds.as_deref())?);
    let bounds = bounds.with_context(|| named(args.bounds.as_deref()))?;
    let cache = args.cache.as_deref().map(Cache::open).transpose()?;
    let counts = Counts {
        calibration: args.calibration_photographs,
        certification: args.certification_photographs,
    };
    let photographs = gather(&args.data, &info.config, counts, cache.as_ref())?;
    let cases = photographs.cases();
    let job = Job {
        tensors: &network_tensors(&network),
        bounds,
        manifest,
        calibration: &photographs.calibration,
        map_scales: map_scales.as_ref(),
        cases: &cases,
        measured_on: &photographs.measured_on,
    };
    let judged = reference.as_ref().unwrap_or(&network);
    let trainer = |pixels: &image::RgbImage| {
        predict(judged, pixels, &device).map_err(|error| error.to_string())
    };
    let bundle = export(&job, &trainer)
        .with_context(|| format!("{}: not exported", args.checkpoint.display()))?;
    save(&bundle, &args.out)?;
    print_summary(&bundle, &args.out);
    Ok(ExitCode::SUCCESS)
}

/// The file's text; empty where none was given.
fn text(path: Option<&Path>) -> anyhow::Result<String> {
    let Some(path) = path else { return Ok(String::new()) };
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn named(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

/// Writes the bundle, and looks whether the disk holds what was certified.
fn save(bundle: &Bundle, path: &Path) -> anyhow::Result<()> {
    files::write(path, &bundle.bytes).with_context(|| path.display().to_string())?;
    let written = std::fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(written == bundle.bytes, "{}: reads back as something else", path.display());
    Ok(())
}

fn print_summary(bundle: &Bundle, path: &Path) {
    let manifest = &bundle.manifest;
    let megabytes = bundle.bytes.len() as f64 / 1e6;
    println!("{}: {} {}, {megabytes:.2} MB", path.display(), manifest.name, manifest.version);
    for certificate in &manifest.certificates {
        println!("{} (n = {}, {})", certificate.name, certificate.n, certificate.measured_on);
        for (name, value) in &certificate.values {
            println!("  {name:<28} {value:.6}");
        }
    }
}
