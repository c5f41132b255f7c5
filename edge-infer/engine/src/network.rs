//! The network as the device computes it: which layer reads which map. No order of memory, no
//! instruction set.

/// A number for a map within its network.
pub type MapId = usize;

/// The grid of integers that a map's values lie on: real value = `scale * integer`, with integers
/// from 0 to `top`.
///
/// Every map is zero or above, because it follows a ReLU, so a file's signed integers with zero
/// point -128 are these integers less 128, and those with zero point 0 use 0 to 127 alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Value of one step.
    pub scale: f32,
    /// The largest integer: 127 or 255.
    pub top: u8,
}

/// One map.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Its name in the file.
    pub name: String,
    /// Its channels.
    pub channels: usize,
    /// Its side in pixels.
    pub side: usize,
    /// The grid its values are rounded to; `None` for f32.
    pub grid: Option<Grid>,
}

/// Weights of a convolution, shape (outputs, inputs, kernel, kernel), row major.
#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    /// As they are.
    Real {
        /// The weights.
        weight: Vec<f32>,
        /// One an output channel.
        bias: Vec<f32>,
    },
    /// Integers within ±127, one scale an output channel.
    Integer {
        /// The weights.
        weight: Vec<i8>,
        /// Value of one step of a weight, an output channel.
        scale: Vec<f32>,
        /// One an output channel, in steps of input scale x weight scale.
        bias: Vec<i32>,
    },
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// Convolution with stride 1 that keeps the side, and ReLU.
    Conv {
        /// What is read; `None`: the photograph, three channels in f32.
        input: Option<MapId>,
        /// Side of the kernel: 1 or 3.
        kernel: usize,
        /// The numbers.
        weights: Weights,
        /// What is made.
        output: MapId,
    },
    /// The largest of each 2x2 pixels.
    Pool {
        /// What is read.
        input: MapId,
        /// What is made.
        output: MapId,
    },
    /// Twice the side, bilinear, corners aligned.
    Upsample {
        /// What is read.
        input: MapId,
        /// What is made.
        output: MapId,
    },
    /// The channels of the first map, then those of the second.
    Concat {
        /// What is read.
        inputs: [MapId; 2],
        /// What is made.
        output: MapId,
    },
}

/// A weighted sum of channels and a sigmoid.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// What is read.
    pub input: MapId,
    /// One a channel.
    pub weight: Vec<f32>,
    /// Added to the sum.
    pub bias: f32,
}

/// The whole network, in an order in which every map is made before it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Side of the photograph in network pixels.
    pub side: usize,
    /// All maps.
    pub maps: Vec<Map>,
    /// All layers but the heads.
    pub layers: Vec<Layer>,
    /// Reads the maximum of each channel over the whole map.
    pub glaucoma: Head,
    /// Disc, cup and fovea; each pixel by itself.
    pub heads: [Head; 3],
}
