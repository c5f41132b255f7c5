//! The command line: one file a subcommand, each thin.

pub mod bench;
pub mod completions;
pub mod engine;
pub mod journal;
pub mod kiosk;
pub mod man;
pub mod operating_point;
pub mod screen;
pub mod status;

use clap::{Parser, Subcommand};

/// Screens fundus photographs for glaucoma, on the device beside the camera.
#[derive(Debug, Parser)]
#[command(name = "edge-infer", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Examine photographs: the probability of glaucoma, what it rests on, and a picture of it.
    Screen(screen::ScreenArgs),
    /// Time a model on this machine: layer by layer, with memory, energy and the machine's state.
    Bench(bench::BenchArgs),
    /// The screens of a camp's day: registers, photographs, examines, decides, records.
    Kiosk(kiosk::KioskArgs),
    /// What a model's thresholds would mean for a population, and which does what a programme wants.
    OperatingPoint(operating_point::OperatingPointArgs),
    /// The records: set up, check, count, export.
    Journal(journal::JournalArgs),
    /// How the device is: model, journal, storage, power, clock. Exit code 0 when all is fine, else 2.
    Status(status::StatusArgs),
    /// Print what a shell needs to complete commands and options.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    Man(man::ManArgs),
}

/// How a command that ran to its end came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Everything was done.
    Whole,
    /// Something was refused, and has been reported.
    Partial,
}
