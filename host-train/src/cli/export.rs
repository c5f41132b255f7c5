//! `host-train export`.

use crate::dataset::cache::Cache;
use crate::evaluation::predict;
use crate::export::certify::Bounds;
use crate::export::describe::{Identity, day, describe};
use crate::export::photographs::{Counts, gather};
use crate::export::{Bundle, Job, export, network_tensors};
use crate::files;
use crate::training::Checkpoint;
use anyhow::{Context, ensure};
use candle_core::Device;
use clap::ValueEnum;
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
    /// 8-bit weights and maps: a quarter of the size.
    Int8,
}

impl From<Precision> for manifest::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
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
    let network = checkpoint.network(&device)?;
    let identity = Identity {
        name: args.name.clone(),
        version: args.version.clone(),
        created: args.created.clone().unwrap_or_else(|| day(SystemTime::now())),
        precision: args.precision.into(),
    };
    // Before the photographs: a missing licence should not cost minutes.
    let manifest = describe(info, &network, &identity, &overrides(&args)?)?;
    let cache = args.cache.as_deref().map(Cache::open).transpose()?;
    let counts = Counts {
        calibration: args.calibration_photographs,
        certification: args.certification_photographs,
    };
    let photographs = gather(&args.data, &info.config, counts, cache.as_ref())?;
    let cases = photographs.cases();
    let job = Job {
        tensors: &network_tensors(&network),
        bounds: Bounds::of(manifest.precision),
        manifest,
        calibration: &photographs.calibration,
        cases: &cases,
        measured_on: &photographs.measured_on,
    };
    let trainer = |pixels: &image::RgbImage| {
        predict(&network, pixels, &device).map_err(|error| error.to_string())
    };
    let bundle = export(&job, &trainer)
        .with_context(|| format!("{}: not exported", args.checkpoint.display()))?;
    save(&bundle, &args.out)?;
    print_summary(&bundle, &args.out);
    Ok(ExitCode::SUCCESS)
}

fn overrides(args: &Args) -> anyhow::Result<String> {
    let Some(path) = &args.manifest_overrides else { return Ok(String::new()) };
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
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
