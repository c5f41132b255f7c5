//! `host-train`: the engineer's program. One `match`, one file a subcommand.

use clap::Parser;
use host_train::cli::{
    Cli, Command, calibrate, curves, data, evaluate, export, gate, phantom, study, train,
};
use host_train::memory::Recycler;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

// A training step allocates the same tensors each time: a quarter of its CPU time was page faults.
#[global_allocator]
static MEMORY: Recycler = Recycler::new();

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Warnings, and what an export tries; RUST_LOG says otherwise.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,host_train=info,tract=error"));
    let plain = tracing_subscriber::fmt().without_time().with_target(false);
    plain.with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("host-train: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Phantom(args) => phantom::run(args),
        Command::Data(args) => data::run(args),
        Command::Train(args) => train::run(args),
        Command::Curves(args) => curves::run(args),
        Command::Study(args) => study::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Export(args) => export::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Gate(args) => gate::run(args),
    }
}
