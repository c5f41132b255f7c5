//! `edge-infer completions`: what a shell completes after `edge-infer`.

use std::io::Write;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Completion};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Completion> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edge-infer", &mut script);
    std::io::stdout().write_all(&script).context("writing to standard output")?;
    Ok(Completion::Whole)
}
