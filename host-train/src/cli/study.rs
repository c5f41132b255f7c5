//! `host-train study`.

use super::train::{limits, stop_on_ctrl_c};
use crate::study::{self, Part, StudyConfig};
use crate::training::Control;
use candle_core::Device;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `host-train study`.
///
/// Trials that are done are never made again: after Ctrl-C or a time limit the same command goes on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to make.
    #[arg(value_enum)]
    part: Part,
    /// What to study: a TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder of the study, instead of the configuration's `out`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Stop after this many minutes of wall time.
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the trial it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut config = StudyConfig::read(&args.config)?;
    if let Some(out) = args.out {
        config.out = out;
    }
    let control = Control { stop: stop_on_ctrl_c()?, ..limits(args.max_minutes, None)? };
    let outcome =
        study::run(&config, args.part, &control, &Device::Cpu, &|line| eprintln!("{line}"))?;
    let study::StudyOutcome { done, planned, page } = outcome;
    println!("{}: {done} of {planned} trials are done", page.display());
    Ok(ExitCode::SUCCESS)
}
