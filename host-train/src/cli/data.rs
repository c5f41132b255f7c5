//! `host-train data`: what is in a data set, and what is wrong with it.

use crate::dataset::{self, Dataset, check};
use anyhow::Context;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
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

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at. What is wrong *in* a data set is printed and
/// gives exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check(&args),
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
