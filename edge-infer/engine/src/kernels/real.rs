//! Convolution of f32 maps, and ReLU: packed weights, and the choice of an algorithm.
//!
//! An output is `max(0, b + sum w u)`. Forms and algorithms differ in the order of their sums; each
//! is within 1e-5 of the map's largest output of the definition in 64 bits.

use super::Form;
use super::wide::Line;
use super::winograd::{self, Task};
use crate::layout::{BLOCK, Layout, Source};

/// Maps from so many pixels a side on are made in tiles of 4x4 pixels. A smaller map has many
/// channels and few tiles to use their weights, which take 36/9 of the memory for such tiles and
/// 16/9 of it for tiles of 2x2 pixels.
pub const LARGE_TILES_FROM: usize = 64;

/// One convolution as the kernels read it.
#[derive(Debug, Clone, PartialEq)]
pub struct RealConv {
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Blocks of channels of each map that is read, in the order of the channels.
    pub sources: Vec<usize>,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// The weights, as the algorithm orders them.
    pub weights: Vec<Line>,
    /// One a block of outputs.
    pub bias: Vec<Line>,
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By the definition. Weights: for each block of outputs, source, row of the kernel, block of
    /// inputs, column of the kernel and input of the block.
    Direct,
    /// Transformed, in output tiles of 2 or 4 pixels a side; see [`winograd`].
    Winograd(usize),
}

impl Algorithm {
    fn choose(kernel: usize, side: usize) -> Self {
        match side {
            _ if kernel != 3 => Self::Direct,
            LARGE_TILES_FROM.. if side.is_multiple_of(4) => Self::Winograd(4),
            _ if side.is_multiple_of(2) => Self::Winograd(2),
            _ => Self::Direct,
        }
    }

    /// What the number of rows that are computed at once must be a multiple of.
    fn rows(self) -> usize {
        match self {
            Self::Direct => 1,
            Self::Winograd(out) => out,
        }
    }
}

/// Weights as a file holds them, shape (outputs, inputs, kernel, kernel).
struct Plain<'a> {
    kernel: usize,
    weight: &'a [f32],
    outputs: usize,
    sources: &'a [usize],
}

impl RealConv {
    /// Packs weights of shape (outputs, inputs, kernel, kernel) for maps of `side` pixels;
    /// `sources` are the channels of the maps that are read.
    pub fn pack(
        kernel: usize,
        weight: &[f32],
        bias: &[f32],
        sources: &[usize],
        side: usize,
    ) -> Self {
        let plain = Plain { kernel, weight, outputs: bias.len(), sources };
        let algorithm = Algorithm::choose(kernel, side);
        let lane = |output: usize| bias.get(output).copied().unwrap_or(0.0);
        let lines = (0..bias.len().div_ceil(BLOCK))
            .map(|block| Line(std::array::from_fn(|output| lane(block * BLOCK + output))));
        Self {
            kernel,
            sources: sources.iter().map(|channels| channels.div_ceil(BLOCK)).collect(),
            algorithm,
            weights: match algorithm {
                Algorithm::Direct => plain.direct(),
                Algorithm::Winograd(out) => plain.winograd(out),
            },
            bias: lines.collect(),
        }
    }
}

impl Plain<'_> {
    /// For each channel of the blocks of all sources, its number in the file; none for those that
    /// fill a block up.
    fn inputs(&self) -> Vec<Option<usize>> {
        let mut before = 0;
        let mut inputs = Vec::new();
        for &channels in self.sources {
            let filled = channels.next_multiple_of(BLOCK);
            inputs.extend((0..filled).map(|at| (at < channels).then_some(before + at)));
            before += channels;
        }
        inputs
    }

    fn at(&self, output: usize, input: Option<usize>, row: usize, column: usize) -> f32 {
        let inputs: usize = self.sources.iter().sum();
        match input {
            Some(input) if output < self.outputs => {
                self.weight[((output * inputs + input) * self.kernel + row) * self.kernel + column]
            }
            _ => 0.0,
        }
    }

    fn direct(&self) -> Vec<Line> {
        let inputs = self.inputs();
        let mut weights = Vec::new();
        for block in 0..self.outputs.div_ceil(BLOCK) {
            let mut rest = &inputs[..];
            for channels in self.sources {
                let (inputs, behind) = rest.split_at(channels.next_multiple_of(BLOCK));
                rest = behind;
                for row in 0..self.kernel {
                    for inputs in inputs.chunks_exact(BLOCK) {
                        for column in 0..self.kernel {
                            weights.extend(inputs.iter().map(|input| {
                                Line(std::array::from_fn(|output| {
                                    self.at(block * BLOCK + output, *input, row, column)
                                }))
                            }));
                        }
                    }
                }
            }
        }
        weights
    }

    fn winograd(&self, out: usize) -> Vec<Line> {
        let inputs = self.inputs();
        let outputs = self.outputs.div_ceil(BLOCK);
        winograd::transform_weights(out, inputs.len() / BLOCK, outputs, |output, input| {
            std::array::from_fn(|at| self.at(output, inputs[input], at / 3, at % 3))
        })
    }
}

/// Computes the rows from `first_row` on that `output` holds: whole rows of a map of `layout`,
/// whose border is left alone. Both the first row and the number of rows are even, and from a side of
/// [`LARGE_TILES_FROM`] on multiples of 4 where the side is one.
///
/// # Panics
/// When the sources are not those that `conv` was packed for, or the rows are other ones.
pub fn convolve_rows(
    form: Form,
    conv: &RealConv,
    sources: &[Source<'_, f32>],
    first_row: usize,
    layout: Layout,
    output: &mut [f32],
) {
    assert_eq!(layout.blocks, conv.bias.len(), "the output has as many blocks as the weights");
    assert_eq!(sources.len(), conv.sources.len(), "as many maps are read as were packed for");
    for (source, blocks) in sources.iter().zip(&conv.sources) {
        assert_eq!((source.layout.blocks, source.layout.side), (*blocks, layout.side));
        assert_eq!(source.data.len(), source.layout.len(), "a map is read whole");
    }
    let rows = output.len() / layout.row_len();
    assert!(first_row + rows <= layout.side, "the rows lie in the map");
    let step = conv.algorithm.rows();
    assert!(first_row.is_multiple_of(step) && rows.is_multiple_of(step), "rows of whole tiles");
    match conv.algorithm {
        Algorithm::Direct => direct(conv, sources, first_row, layout, output),
        Algorithm::Winograd(out) => {
            let (weights, bias) = (&conv.weights, &conv.bias);
            let task = Task { weights, bias, sources, first_row, layout };
            winograd::convolve_rows(form, out, &task, output);
        }
    }
}

/// By the definition, slowly: for the kernels and sides that a network seldom has.
fn direct(
    conv: &RealConv,
    sources: &[Source<'_, f32>],
    first_row: usize,
    layout: Layout,
    output: &mut [f32],
) {
    let before = 1 - conv.kernel / 2;
    let per_block = conv.weights.len() / conv.bias.len();
    for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, output) in output.chunks_exact_mut(layout.block_len()).enumerate() {
            let pixels = output[BLOCK..(layout.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let mut sums = conv.bias[block].0;
                let mut weights = conv.weights[block * per_block..(block + 1) * per_block].iter();
                for source in sources {
                    let from = source.layout;
                    for y in 0..conv.kernel {
                        for input_block in 0..from.blocks {
                            let start = (first_row + row + y + before) * from.row_len()
                                + input_block * from.block_len();
                            for x in 0..conv.kernel {
                                let inputs = &source.data[start + (column + x + before) * BLOCK..];
                                for (input, weights) in inputs[..BLOCK].iter().zip(&mut weights) {
                                    for (sum, weight) in sums.iter_mut().zip(weights.0) {
                                        *sum += weight * input;
                                    }
                                }
                            }
                        }
                    }
                }
                for (output, sum) in pixel.iter_mut().zip(sums) {
                    *output = if sum > 0.0 { sum } else { 0.0 };
                }
            }
        }
    }
}
