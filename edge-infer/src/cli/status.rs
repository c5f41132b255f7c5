//! `edge-infer status`: how the device is, for people and for programs that watch many of them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Completion;
use crate::kiosk::Config;
use crate::service::status::{Status, Subject, text};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// What the programme has set up: a TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// The model to look at instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. What is not fine makes the result partial.
///
/// # Errors
/// A configuration that cannot be used, standard output that cannot be written.
pub fn run(args: &StatusArgs) -> anyhow::Result<Completion> {
    let config = Config::read(&args.config)?;
    let status = Status::read(&Subject {
        model: args.model.as_deref(),
        config: &config,
        root: Path::new("/"),
    });
    let text = if args.json { serde_json::to_string(&status)? + "\n" } else { text(&status) };
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
    Ok(if status.fine { Completion::Whole } else { Completion::Partial })
}
