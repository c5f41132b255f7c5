//! Runs a model over pictures and measures what it says: the same reading functions as the device.

pub mod discs;
pub mod figures;
pub mod measure;
pub mod native;
pub mod reliability;
pub mod report;
pub mod score;

pub use report::{DatasetReport, Report};
pub use score::{Scored, score};

use crate::dataset::DatasetError;
use crate::loss::LossError;
use crate::network::{Mode, NetworkError, Outputs, Task, UNet};
use candle_core::{Device, Tensor};
use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use std::path::PathBuf;

/// From 8 bits a channel to the network's 0..1: every network made here takes this.
pub const SCALE: f32 = 1.0 / 255.0;

/// What stops an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The picture is not of a shape that the network takes.
    #[error(
        "the picture has {width}x{height} pixels; the network takes squares with a side that is a multiple of 16"
    )]
    Picture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A result cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The network cannot be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A loss cannot be taken.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The tensor library failed.
    #[error("evaluation: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// What the network says of one prepared picture (square, its side a multiple of 16), as
/// probabilities. A head that the network does not have gives NaN or an empty map, which
/// [`glaucoma_common::reading::read`] reads as "not known".
///
/// # Errors
/// A picture of another shape; failures of the network.
pub fn predict(
    net: &UNet,
    pixels: &RgbImage,
    device: &Device,
) -> Result<NetworkOutput, EvaluationError> {
    let (width, height) = pixels.dimensions();
    if width != height || width == 0 || !width.is_multiple_of(16) {
        return Err(EvaluationError::Picture { width, height });
    }
    let side = width as usize;
    let input = to_input(pixels, SCALE);
    let images = Tensor::from_vec(input, (1, 3, side, side), device)?;
    let mut outputs = predict_batch(net, &images)?;
    outputs.pop().ok_or_else(|| EvaluationError::Tensor(candle_core::Error::msg("no output")))
}

/// What the network says of each of `images` (B, 3, S, S), in order; see [`predict`].
///
/// # Errors
/// Failures of the network.
pub fn predict_batch(net: &UNet, images: &Tensor) -> Result<Vec<NetworkOutput>, EvaluationError> {
    outputs_of(images, &net.forward(images, &net.config().tasks, Mode::Evaluate)?)
}

/// `outputs` of `images` (B, 3, S, S) as probabilities, picture by picture.
pub(crate) fn outputs_of(
    images: &Tensor,
    outputs: &Outputs,
) -> Result<Vec<NetworkOutput>, EvaluationError> {
    let values = |task: Task| -> Result<Option<Vec<f32>>, EvaluationError> {
        let Some(logits) = outputs.logits(task) else { return Ok(None) };
        let flat = logits.flatten_all()?.to_vec1::<f32>()?;
        Ok(Some(flat.into_iter().map(sigmoid).collect()))
    };
    let (count, _, side, _) = images.dims4()?;
    let glaucoma = values(Task::Glaucoma)?;
    let maps = [values(Task::Disc)?, values(Task::Cup)?, values(Task::Fovea)?];
    let map = |of: usize, image: usize| {
        let pixels = side * side;
        let all = maps[of].as_ref();
        all.map_or_else(Vec::new, |all| all[image * pixels..(image + 1) * pixels].to_vec())
    };
    let one = |image: usize| NetworkOutput {
        side: side as u32,
        glaucoma: glaucoma.as_ref().map_or(f32::NAN, |all| all[image]),
        disc: map(0, image),
        cup: map(1, image),
        fovea: map(2, image),
    };
    Ok((0..count).map(one).collect())
}

/// The sigmoid of a logit, without overflow for large negative ones.
fn sigmoid(logit: f32) -> f32 {
    if logit >= 0.0 {
        1.0 / (1.0 + (-logit).exp())
    } else {
        let e = logit.exp();
        e / (1.0 + e)
    }
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    #[test]
    fn the_sigmoid_is_finite_everywhere() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!((sigmoid(-1e30), sigmoid(1e30)), (0.0, 1.0));
        assert!((sigmoid(-2.0) + sigmoid(2.0) - 1.0).abs() < 1e-7);
    }
}
