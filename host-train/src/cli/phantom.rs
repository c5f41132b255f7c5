//! `host-train phantom`.

use std::process::ExitCode;

/// Options of `host-train phantom`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
