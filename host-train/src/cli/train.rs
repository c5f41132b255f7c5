//! `host-train train`.

use super::device::Place;
use crate::network::cuda::Precision;
use crate::parallel::Met;
use crate::training::config::Source;
use crate::training::{self, Checkpoint, Config, Control, Ending, LAST, Outcome};
use anyhow::{Context, bail};
use candle_core::Device;
use clap::ArgGroup;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Options of `host-train train`.
///
/// Ctrl-C stops after the current step and leaves a checkpoint to resume from; a second Ctrl-C
/// stops at once and leaves the checkpoint before.
///
/// Started several times by torchrun or Slurm's srun (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), the
/// processes share every batch and train one network together.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).args(["config", "preset", "resume"])))]
pub struct Args {
    /// What to train: a TOML file. Every key has a default, which is the paper's; only [[data]] must
    /// be there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Train by a preset instead of a file: `paper` or `recommended`.
    #[arg(long, value_name = "NAME", requires = "data")]
    preset: Option<String>,
    /// With --preset: folders of data sets.
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "preset")]
    data: Vec<PathBuf>,
    /// Go on with the training in this folder, with the configuration it was started with.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "seed", "lr", "init_from"])]
    resume: Option<PathBuf>,
    /// Folder for checkpoints and log, instead of the configuration's `out`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of epochs, instead of the configuration's.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Seed, instead of the configuration's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Learning rate, instead of the configuration's.
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Start from the weights of this checkpoint, instead of the configuration's `init_from`.
    #[arg(long, value_name = "FILE")]
    init_from: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N, the GPU with that number. Of several processes `cuda`
    /// gives each the GPU of its LOCAL_RANK. The configuration's `precision` says how a GPU
    /// multiplies.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Place,
    /// Stop with a checkpoint after this many minutes of wall time.
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// Stop with a checkpoint after this many steps.
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = stop_on_ctrl_c()?;
    let limits = limits(args.max_minutes, args.max_steps)?;
    let met = Met::from_environment()?;
    let ready = |precision: Option<Precision>| -> anyhow::Result<(Device, Control)> {
        let device = args.device.open(precision, met.local_rank())?;
        let peers = met.with(&device)?.into();
        Ok((device, Control { stop, peers, ..limits }))
    };
    let (outcome, leads) = match &args.resume {
        Some(folder) => {
            let checkpoint = Checkpoint::load(&folder.join(LAST))?;
            let change = |config: &mut Config| {
                // The folder may have been moved since.
                config.out.clone_from(folder);
                config.epochs = args.epochs.unwrap_or(config.epochs);
            };
            let (device, control) = ready(checkpoint.info().config.precision)?;
            let outcome = training::resume(&checkpoint, change, &control, &device)?;
            (outcome, control.peers.rank() == 0)
        }
        None => {
            let config = configuration(&args)?;
            let (device, control) = ready(config.precision)?;
            let outcome = training::run(config, &control, &device)?;
            (outcome, control.peers.rank() == 0)
        }
    };
    if leads {
        report(&outcome);
    }
    Ok(ExitCode::SUCCESS)
}

fn configuration(args: &Args) -> anyhow::Result<Config> {
    let mut config = match (&args.config, &args.preset) {
        (Some(path), _) => Config::read(path)?,
        (None, Some(name)) => {
            let source = |path: &PathBuf| Source { path: path.clone(), ..Source::default() };
            let data = args.data.iter().map(source).collect();
            Config { data, ..Config::preset(name)? }
        }
        (None, None) => bail!("none of --config, --preset and --resume is given"),
    };
    if let Some(out) = &args.out {
        config.out.clone_from(out);
    }
    if args.init_from.is_some() {
        config.init_from.clone_from(&args.init_from);
    }
    config.epochs = args.epochs.unwrap_or(config.epochs);
    config.seed = args.seed.unwrap_or(config.seed);
    config.optimizer.lr = args.lr.unwrap_or(config.optimizer.lr);
    Ok(config)
}

/// Where to stop, as asked on the command line.
pub(super) fn limits(minutes: Option<f64>, max_steps: Option<u64>) -> anyhow::Result<Control> {
    let limit = minutes.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0));
    let limit = limit.transpose().context("--max-minutes")?;
    Ok(Control { limit, max_steps, ..Control::default() })
}

/// A flag that the first Ctrl-C sets; the second ends the program.
pub(super) fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // 128 + SIGINT, as shells expect.
            std::process::exit(130);
        }
        eprintln!("stopping after this step; Ctrl-C again stops at once");
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

fn report(outcome: &Outcome) {
    let Outcome { ending, position, best, out } = outcome;
    let out = out.display();
    if let Some(best) = best {
        println!(
            "best model: {out}/best.safetensors, validation loss {:.4} after epoch {}",
            best.loss, best.epoch
        );
    }
    let at = format!("after step {} (epoch {})", position.step, position.epoch);
    match ending {
        Ending::Finished => println!("finished {at}: {out}/last.safetensors"),
        Ending::Stalled => println!("no longer better, stopped {at}: {out}/last.safetensors"),
        Ending::Interrupted | Ending::OutOfTime => {
            let why = if *ending == Ending::Interrupted { "interrupted" } else { "out of time" };
            println!("{why} {at}; resume with: host-train train --resume {out}");
        }
    }
}
