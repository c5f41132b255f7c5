//! `host-train evaluate`.

use super::device::Place;
use crate::dataset::cache::Cache;
use crate::dataset::{Dataset, Sample, open};
use crate::evaluation::discs::{locate, write_table};
use crate::evaluation::figures::{reliability_chart, roc_chart};
use crate::evaluation::measure::{Measured, Model, Options, measure};
use crate::evaluation::report::Report;
use crate::evaluation::score::Scored;
use crate::network::cuda::Precision;
use crate::training::data::{divide, loading_bar};
use crate::training::{Checkpoint, CheckpointInfo, Config};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `host-train evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a checkpoint of `host-train train`, or one for each of several tasks, which are
    /// then measured as one model.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    checkpoint: Vec<PathBuf>,
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
    /// Measure also in the photographs' own pixels, as the REFUGE challenge does.
    #[arg(long)]
    native: bool,
    /// Write ROC and reliability curves as SVG and PNG to this folder.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead of measuring, write where the network sees the disc (native pixels): the table for
    /// `discs` in a later training's configuration.
    #[arg(long, value_name = "FILE")]
    write_discs: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N, the GPU with that number (in full f32).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Place,
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
    let checkpoints =
        args.checkpoint.iter().map(|path| Checkpoint::load(path)).collect::<Result<Vec<_>, _>>()?;
    let info = common_info(&checkpoints)?;
    let device = args.device.open(Some(Precision::F32), 0)?;
    let nets = checkpoints.iter().map(|own| own.network(&device)).collect::<Result<Vec<_>, _>>()?;
    let contract = info.config.input.contract();
    let decoding = info.config.decoding();
    let vcdr_model = checkpoints.iter().find_map(|own| own.info().vcdr_model);
    let model = Model { nets: nets.iter().collect(), contract, decoding, vcdr_model, device };
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
    let (mut datasets, mut pictures) = (Vec::new(), Vec::new());
    for (name, samples) in &sets {
        let bar = loading_bar(name, samples.len());
        let options = Options { native: args.native, disc_views, cache: cache.as_ref() };
        let Measured { report, scored } = measure(&model, name, samples, &options, &|| bar.inc(1))?;
        bar.finish_and_clear();
        datasets.push(report);
        pictures.push((name.as_str(), scored));
    }
    if let Some(folder) = &args.figures {
        write_figures(folder, &pictures)?;
    }
    let files: Vec<String> =
        args.checkpoint.iter().map(|path| path.display().to_string()).collect();
    let report = Report {
        checkpoint: files.join(" + "),
        trained_on_hash: info.dataset_hash.clone(),
        side: info.config.input.side,
        framing: format!("{:?}", info.config.input.framing),
        split: describe(wanted).to_owned(),
        datasets,
    };
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        glaucoma_common::files::write(path, &json).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What all checkpoints of one model must share; that of the first.
fn common_info(checkpoints: &[Checkpoint]) -> anyhow::Result<&CheckpointInfo> {
    let (first, others) = checkpoints.split_first().context("no checkpoint given")?;
    let mut known = first.info().config.network.tasks.clone();
    for other in others {
        let (one, two) = (&first.info().config, &other.info().config);
        if one.input != two.input {
            bail!("{}: trained on other inputs than the first checkpoint", other.path().display());
        }
        for task in &two.network.tasks {
            if known.contains(task) {
                bail!("{}: a second network for {}", other.path().display(), task.name());
            }
            known.push(*task);
        }
    }
    Ok(first.info())
}

fn write_figures(folder: &Path, pictures: &[(&str, Vec<Scored>)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let groups: Vec<(&str, &[Scored])> =
        pictures.iter().map(|(name, scored)| (*name, scored.as_slice())).collect();
    let charts = [
        ("roc", roc_chart("Receiver operating characteristic, whole pictures", &groups)),
        ("reliability", reliability_chart("Reliability of the fused probability", &groups)),
    ];
    for (name, chart) in charts {
        match chart {
            Some(chart) => chart.write(folder, name)?,
            None => eprintln!("no {name} curve: no pictures of both classes"),
        }
    }
    Ok(())
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
