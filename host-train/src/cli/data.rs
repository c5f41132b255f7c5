//! `host-train data`: what is in a data set, and what is wrong with it.

use crate::dataset::augment::{Augment, augment};
use crate::dataset::cache::Cache;
use crate::dataset::framing::{self, DiscCrop};
use crate::dataset::{self, Dataset, Sample, check, load, pseudo, sheet};
use anyhow::Context;
use clap::Subcommand;
use glaucoma_common::preprocess::{Framing, InputContract, ResizeFilter};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `host-train data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decode every photograph and mask and name everything that is wrong.
    ///
    /// Reports by name what is missing, unreadable, truncated, of the wrong size, labelled outside the
    /// picture, unlabelled, or there twice. Exit code 2 when anything is wrong.
    Check(CheckArgs),
    /// Draw a page of examples as the network sees them, labels outlined, for people to look at.
    Sheet(SheetArgs),
}

/// Options of `host-train data check`.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Folders, each a data set: REFUGE (either form), IDRiD, HYGD, HRF or Drishti-GS1.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// One JSON object on standard output instead of tables.
    #[arg(long)]
    json: bool,
}

/// Options of `host-train data sheet`.
#[derive(Debug, clap::Args)]
struct SheetArgs {
    /// A data set's folder.
    dir: PathBuf,
    /// The page's file, PNG.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Examples on the page, spread over the whole data set.
    #[arg(long, default_value_t = 24)]
    count: usize,
    /// Pixels of one example's side.
    #[arg(long, default_value_t = 256)]
    side: u32,
    /// The paper's framing: the whole photograph squeezed into a square.
    #[arg(long)]
    whole_image: bool,
    /// Change the examples at random as in training.
    #[arg(long)]
    augment: bool,
    /// Show class-labelled examples as views of their disc.
    #[arg(long)]
    disc_crop: bool,
    /// Determines the random changes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A folder of machine-made disc and cup masks (with index.csv) to attach.
    #[arg(long, value_name = "DIR")]
    machine_masks: Option<PathBuf>,
    /// A table of disc positions: image,disc_x,disc_y[,disc_diameter,fovea_x,fovea_y].
    #[arg(long, value_name = "FILE")]
    disc_positions: Option<PathBuf>,
    /// Keep decoded photographs in this folder.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at. What is wrong *in* a data set is printed and
/// gives exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check(&args),
        Command::Sheet(args) => sheet(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let open = |dir: &PathBuf| dataset::open(dir).context("opening a data set");
    let datasets: Vec<Dataset> = args.dirs.iter().map(open).collect::<anyhow::Result<_>>()?;
    let photographs: usize = datasets.iter().map(|dataset| dataset.samples.len()).sum();
    let bar = ProgressBar::new(photographs as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} photographs, {eta} left")?);
    let reports = check::check(&datasets, &|| bar.inc(1));
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "datasets": reports }))?);
    } else {
        for report in &reports {
            println!("{report}");
        }
    }
    let sound = reports.iter().all(|report| report.problems.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn sheet(args: &SheetArgs) -> anyhow::Result<ExitCode> {
    let mut samples = dataset::open(&args.dir).context("opening a data set")?.samples;
    if let Some(dir) = &args.machine_masks {
        pseudo::attach(&mut samples, dir, false).context("attaching machine-made masks")?;
    }
    if let Some(table) = &args.disc_positions {
        framing::attach_hints(&mut samples, table).context("attaching disc positions")?;
    }
    let step = samples.len().div_ceil(args.count.max(1)).max(1);
    let chosen: Vec<Sample> = samples.into_iter().step_by(step).collect();
    let framing = if args.whole_image { Framing::WholeImage } else { Framing::FieldOfView };
    let filter = ResizeFilter::AntialiasedBilinear;
    let contract = InputContract { side: args.side, framing, filter, scale: 1.0 / 255.0 };
    let cache = args.cache.as_deref().map(Cache::open).transpose()?;
    let changed = args.augment || args.disc_crop;
    let side = if changed { 2 * args.side } else { args.side };
    let bar = ProgressBar::new(chosen.len() as u64);
    let mut examples = load::load(&chosen, &contract, side, cache.as_ref(), &|| bar.inc(1))?;
    bar.finish_and_clear();
    if changed {
        let base = if args.augment { Augment::default() } else { Augment::none() };
        let options = Augment { disc_crop: args.disc_crop.then(DiscCrop::default), ..base };
        let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
        examples =
            examples.iter().map(|master| augment(master, args.side, &options, &mut rng)).collect();
    }
    write_png(&sheet::sheet(&examples, 6), &args.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to a temporary name first, so that a page is there whole or not at all.
fn write_png(page: &RgbImage, out: &Path) -> anyhow::Result<()> {
    let context = || format!("writing {}", out.display());
    let temporary = out.with_extension("partial");
    let mut file = std::fs::File::create(&temporary).with_context(context)?;
    page.write_to(&mut file, image::ImageFormat::Png).with_context(context)?;
    file.sync_all().with_context(context)?;
    std::fs::rename(&temporary, out).with_context(context)
}
