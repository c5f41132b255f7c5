//! `host-train curves`.

use crate::training::curves::Curves;
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `host-train curves`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of a training, running or ended.
    dir: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// A folder without a log; a figure that cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { dir } = args;
    let shown = dir.display();
    let curves = Curves::read(&dir).with_context(|| format!("{shown}: no log of a training"))?;
    curves.losses(&format!("Losses of {shown}")).write(&dir, "losses")?;
    println!("{shown}/losses.svg, .png");
    match curves.conflict(&format!("Conflict of the tasks in {shown}")) {
        Some(chart) => {
            chart.write(&dir, "conflict")?;
            println!("{shown}/conflict.svg, .png");
        }
        None => println!("no conflict was measured: set telemetry_every in the configuration"),
    }
    Ok(ExitCode::SUCCESS)
}
