//! `edge-infer`: the program on the device beside the camera.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use edge_infer::cli::{self, Cli, Command, Completion};
use edge_infer::service::logging;

/// Something was refused or failed; also the code clap gives a wrong command line.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let started = Instant::now();
    let log = logging::start();
    leave_engine_panics_to_their_errors();
    let done = match Cli::parse().command {
        Command::Screen(args) => cli::screen::run(&args),
        Command::Bench(args) => cli::bench::run(&args, started),
        Command::Kiosk(args) => cli::kiosk::run(&args),
        Command::OperatingPoint(args) => cli::operating_point::run(&args),
        Command::Journal(args) => cli::journal::run(&args),
        Command::Status(args) => cli::status::run(&args),
        Command::Completions(args) => cli::completions::run(&args),
        Command::Man(args) => cli::man::run(&args),
    };
    match done {
        Ok(Completion::Whole) => ExitCode::SUCCESS,
        Ok(Completion::Partial) => ExitCode::from(FAILED),
        Err(error) => {
            log.last_word(&whole_message(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// The error and its causes in one line; a cause that an outer message already ends with is not
/// said twice.
fn whole_message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |message, cause| {
        if message.is_empty() {
            cause
        } else if message.ends_with(&cause) {
            message
        } else {
            format!("{message}: {cause}")
        }
    })
}

/// A panic inside the engine's boundary comes back as an error and is printed once, as that.
fn leave_engine_panics_to_their_errors() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if glaucoma_engine::panics_become_errors() {
            tracing::debug!(%panic, "panic inside the inference library");
        } else {
            default(panic);
        }
    }));
}
