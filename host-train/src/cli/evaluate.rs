//! `host-train evaluate`.

use crate::dataset::cache::Cache;
use crate::dataset::{Dataset, Sample, open};
use crate::evaluation::discs::{locate, write_table};
use crate::evaluation::measure::{Model, Options, measure};
use crate::evaluation::report::Report;
use crate::training::data::{divide, loading_bar};
use crate::training::{Checkpoint, Config};
use anyhow::{Context, bail};
use candle_core::Device;
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `host-train evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a checkpoint of `host-train train`.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Folders of data sets.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Which photographs: the validation part as the training divided them, the training part, the
    /// publisher's test part, or all. Default: validation; with --write-discs: all.
    #[arg(long, value_enum)]
    split: Option<Split>,
    /// Judge the class also on views of the disc, cut where a first pass finds it.
    #[arg(long)]
    disc_crops: bool,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead of measuring, write where the network sees the disc (native pixels): the table for
    /// `discs` in a later training's configuration.
    #[arg(long, value_name = "FILE")]
    write_discs: Option<PathBuf>,
    /// Folder in which decoded pictures are kept from run to run.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    Train,
    Validation,
    Test,
    All,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::load(&args.checkpoint)?;
    let info = checkpoint.info();
    let device = Device::Cpu;
    let net = checkpoint.network(&device)?;
    let contract = info.config.input.contract();
    let model = Model { net: &net, contract, vcdr_model: info.vcdr_model, device };
    let cache = args.cache.as_deref().map(Cache::open).transpose()?;
    let wanted = args.split.unwrap_or(match args.write_discs {
        Some(_) => Split::All,
        None => Split::Validation,
    });
    let sets = args.data.iter().map(|dir| select(dir, wanted, &info.config));
    let sets = sets.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(path) = &args.write_discs {
        return write_discs(&model, &sets, cache.as_ref(), path);
    }
    let crop = disc_crop(&info.config);
    let disc_views = args.disc_crops.then_some(&crop);
    let mut datasets = Vec::new();
    for (name, samples) in &sets {
        let bar = loading_bar(name, samples.len());
        let options = Options { disc_views, cache: cache.as_ref() };
        datasets.push(measure(&model, name, samples, &options, &|| bar.inc(1))?);
        bar.finish_and_clear();
    }
    let report = Report {
        checkpoint: args.checkpoint.display().to_string(),
        trained_on_hash: info.dataset_hash.clone(),
        side: info.config.input.side,
        framing: format!("{:?}", info.config.input.framing),
        split: describe(wanted).to_owned(),
        datasets,
    };
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        crate::files::write(path, &json).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The wanted photographs of a data set, divided exactly as the training did.
fn select(dir: &Path, wanted: Split, config: &Config) -> anyhow::Result<(String, Vec<Sample>)> {
    let dataset: Dataset = open(dir)?;
    let here = dir.canonicalize().ok();
    let source = config.data.iter().find(|source| source.path.canonicalize().ok() == here);
    let share = source.and_then(|source| source.validation_share);
    let parts = divide(&dataset, share, config.validation_share, config.split_seed);
    let samples = match wanted {
        Split::Train => parts.train,
        Split::Validation => parts.validation,
        Split::Test => parts.test,
        Split::All => dataset.samples,
    };
    if samples.is_empty() {
        bail!("{}: no photographs in the {}", dir.display(), describe(wanted));
    }
    Ok((dataset.name, samples))
}

fn describe(split: Split) -> &'static str {
    match split {
        Split::Train => "training part",
        Split::Validation => "validation part",
        Split::Test => "test part",
        Split::All => "all photographs",
    }
}

/// The views of the disc that the model was trained on, or the usual ones.
fn disc_crop(config: &Config) -> crate::dataset::framing::DiscCrop {
    let general = config.augment.iter().filter_map(|augment| augment.disc_crop.as_ref());
    let own = config.data.iter().filter_map(|source| source.disc_crop.as_ref());
    own.chain(general).next().cloned().unwrap_or_default()
}

fn write_discs(
    model: &Model<'_>,
    sets: &[(String, Vec<Sample>)],
    cache: Option<&Cache>,
    path: &Path,
) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    for (name, samples) in sets {
        let bar = loading_bar(name, samples.len());
        found.extend(locate(model, samples, cache, &|| bar.inc(1))?);
        bar.finish_and_clear();
    }
    write_table(path, &found)?;
    let seen = found.iter().filter(|(_, found)| found.is_some()).count();
    println!(
        "{}: the disc in {seen} of {} photographs; the others show none or a doubtful one",
        path.display(),
        found.len()
    );
    Ok(ExitCode::SUCCESS)
}
