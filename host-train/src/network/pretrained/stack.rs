//! From a file's tensors to a stack of convolutions that takes this trainer's images.

use super::names::{Layout, Names, Origin};
use super::{PretrainedError, Tensors};
use candle_core::{Device, Result, Tensor};
use std::path::Path;

/// The convolutions of an encoder in five stages.
pub struct Stack {
    /// What it is, in words.
    pub described: String,
    pub stages: [Vec<Layer>; 5],
}

/// One convolution, and the normalisation after it where the stack has one.
pub struct Layer {
    /// What the weight is called in the file.
    pub name: String,
    /// (O, I, 3, 3).
    pub weight: Tensor,
    /// (O).
    pub bias: Tensor,
    /// Weight, bias, running mean and running variance, each (O).
    pub norm: Option<[Tensor; 4]>,
}

impl Stack {
    /// Finds the stack among the tensors of a file, checks every name and shape, and folds what its
    /// authors did to images into the first convolution.
    ///
    /// # Errors
    /// Names or shapes of no stack known here, or values that are not finite.
    pub fn of(path: &Path, tensors: &Tensors) -> std::result::Result<Self, PretrainedError> {
        let layout = Layout::find(path, tensors)?;
        let mut inputs = 3;
        let mut stages: [Vec<Layer>; 5] = Default::default();
        for (stage, names) in stages.iter_mut().zip(&layout.stages) {
            let outputs = names.first().and_then(|first| tensors.get(&first.weight));
            let outputs = outputs.and_then(|weight| weight.dims().first().copied()).unwrap_or(0);
            for names in names {
                stage.push(Layer::of(path, names, tensors, inputs, outputs)?);
                inputs = outputs;
            }
        }
        if let Some(first) = stages[0].first_mut() {
            let form = if layout.origin == Origin::Keras { &OXFORD } else { &TORCHVISION };
            (first.weight, first.bias) = form.fold(&first.weight, &first.bias)?;
        }
        Ok(Self { described: layout.describe(), stages })
    }

    /// Output channels of each stage.
    pub fn channels(&self) -> [usize; 5] {
        self.stages.each_ref().map(|stage| stage.first().map_or(0, |layer| layer.weight.dims()[0]))
    }

    /// Whether normalisations come with it.
    pub fn is_normalised(&self) -> bool {
        self.stages.iter().flatten().all(|layer| layer.norm.is_some())
    }
}

impl Layer {
    fn of(
        path: &Path,
        names: &Names,
        tensors: &Tensors,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, PretrainedError> {
        let find = |name: &String, needed: &[usize]| {
            let path = || path.to_path_buf();
            let Some(tensor) = tensors.get(name) else {
                return Err(PretrainedError::Empty { path: path() });
            };
            let (tensor_name, found) = (name.clone(), tensor.dims().to_vec());
            if found != needed {
                let (tensor, needed) = (tensor_name, needed.to_vec());
                return Err(PretrainedError::Shape { path: path(), tensor, found, needed });
            }
            if !tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite()) {
                return Err(PretrainedError::NotFinite { path: path(), tensor: tensor_name });
            }
            Ok(tensor.clone())
        };
        let norm = match &names.norm {
            Some([weight, bias, mean, variance]) => Some([
                find(weight, &[outputs])?,
                find(bias, &[outputs])?,
                find(mean, &[outputs])?,
                find(variance, &[outputs])?,
            ]),
            None => None,
        };
        let weight = find(&names.weight, &[outputs, inputs, 3, 3])?;
        Ok(Self { name: names.weight.clone(), weight, bias: find(&names.bias, &[outputs])?, norm })
    }
}

/// How a stack's authors fed it, seen from an RGB image in 0..1: its channel k is
/// `gain[k] * rgb[channel[k]] + shift[k]`.
struct InputForm {
    channel: [usize; 3],
    gain: [f64; 3],
    shift: [f64; 3],
}

/// Torchvision: ImageNet's mean taken off, divided by its deviation.
const TORCHVISION: InputForm = InputForm {
    channel: [0, 1, 2],
    gain: [1.0 / 0.229, 1.0 / 0.224, 1.0 / 0.225],
    shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
};

/// Simonyan & Zisserman's own networks, as Keras keeps them: BGR in 0..255, ImageNet's mean taken off.
const OXFORD: InputForm = InputForm {
    channel: [2, 1, 0],
    gain: [255.0, 255.0, 255.0],
    shift: [-103.939, -116.779, -123.68],
};

impl InputForm {
    /// Weight (O, 3, 3, 3) and bias (O) that give from an RGB image in 0..1 what the given ones give
    /// from the authors' form of it: sum_k W_k (g_k x_c(k) + s_k) = sum_k g_k W_k x_c(k) + sum_k s_k W_k.
    fn fold(&self, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Tensor)> {
        const TAPS: usize = 9;
        let old = weight.flatten_all()?.to_vec1::<f32>()?;
        let mut bias = bias.to_vec1::<f32>()?;
        let mut new = vec![0f32; old.len()];
        let kernels = new.chunks_mut(3 * TAPS).zip(old.chunks(3 * TAPS));
        for ((new, old), bias) in kernels.zip(&mut bias) {
            let mut added = 0.0;
            for (k, taps) in old.chunks(TAPS).enumerate() {
                for (new, &tap) in new[self.channel[k] * TAPS..].iter_mut().zip(taps) {
                    *new = (self.gain[k] * f64::from(tap)) as f32;
                    added += self.shift[k] * f64::from(tap);
                }
            }
            *bias = (f64::from(*bias) + added) as f32;
        }
        let channels = bias.len();
        let weight = Tensor::from_vec(new, weight.shape(), &Device::Cpu)?;
        Ok((weight, Tensor::from_vec(bias, channels, &Device::Cpu)?))
    }
}
