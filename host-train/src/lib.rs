//! Trains the multi-task glaucoma network of Pascal et al. 2022, evaluates it, exports a bundle.

pub mod adam;
pub mod calibration;
pub mod cli;
pub mod dataset;
pub mod evaluation;
pub mod export;
pub mod gradients;
pub mod loss;
pub mod memory;
pub mod network;
pub mod parallel;
pub mod plot;
pub mod strategy;
pub mod study;
pub mod training;
