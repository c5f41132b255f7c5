//! `edge-infer man`: the manual pages, written from the same definition as `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, Completion};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder: gets edge-infer.1 and a page for each subcommand.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}

/// Writes the pages.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<Completion> {
    let written = std::fs::create_dir_all(&args.out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.out));
    written.with_context(|| args.out.display().to_string())?;
    Ok(Completion::Whole)
}
