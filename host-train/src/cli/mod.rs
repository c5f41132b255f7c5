//! The command line: what can be asked, one file a subcommand.

pub mod calibrate;
pub mod curves;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod gate;
pub mod phantom;
pub mod study;
pub mod train;

use clap::{Parser, Subcommand};

/// Trains, evaluates and exports the multi-task glaucoma network.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands, in the order in which a model is made.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make synthetic fundus photographs with exact truth.
    Phantom(phantom::Args),
    /// Look at data sets: what is there, what is wrong with it.
    Data(data::Args),
    /// Train a network, or go on with an interrupted training.
    Train(train::Args),
    /// Draw a training's losses, and how much its tasks conflict.
    Curves(curves::Args),
    /// Make the paper's tables and figures: every method, seed and learning rate.
    Study(study::Args),
    /// Measure a checkpoint on a data set.
    Evaluate(evaluate::Args),
    /// Write a checkpoint as an ONNX bundle for the device.
    Export(export::Args),
    /// Run a bundle on labelled photographs and write into it how far it is to be trusted.
    Calibrate(calibrate::Args),
    /// Hold a bundle's quality gate against photographs and phantoms of known quality.
    Gate(gate::Args),
}
