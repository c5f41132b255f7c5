//! Convolution of f32 maps, and ReLU.

use super::Form;
use crate::layout::{BLOCK, Layout, Source};

/// One convolution as the kernels read it.
#[derive(Debug, Clone, PartialEq)]
pub struct RealConv {
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Blocks of channels of each map that is read, in the order of the channels.
    pub sources: Vec<usize>,
    /// For each block of outputs: for each source, row of the kernel, block of inputs, column of the
    /// kernel and input of the block: 16 outputs.
    pub weights: Vec<[f32; BLOCK]>,
    /// One a block of outputs.
    pub bias: Vec<[f32; BLOCK]>,
}

impl RealConv {
    /// Packs weights of shape (outputs, inputs, kernel, kernel).
    pub fn pack(
        kernel: usize,
        weight: &[f32],
        bias: &[f32],
        sources: &[usize],
        _side: usize,
    ) -> Self {
        let inputs: usize = sources.iter().sum();
        let at = |output: usize, input: usize, row: usize, column: usize| {
            weight[((output * inputs + input) * kernel + row) * kernel + column]
        };
        let blocks = bias.len().div_ceil(BLOCK);
        let mut weights = Vec::new();
        for block in 0..blocks {
            let mut before = 0;
            for &channels in sources {
                for row in 0..kernel {
                    for input_block in 0..channels.div_ceil(BLOCK) {
                        for column in 0..kernel {
                            for lane in 0..BLOCK {
                                let input = input_block * BLOCK + lane;
                                weights.push(std::array::from_fn(|output| {
                                    let output = block * BLOCK + output;
                                    if input < channels && output < bias.len() {
                                        at(output, before + input, row, column)
                                    } else {
                                        0.0
                                    }
                                }));
                            }
                        }
                    }
                }
                before += channels;
            }
        }
        let lane = |output: usize| bias.get(output).copied().unwrap_or(0.0);
        Self {
            kernel,
            sources: sources.iter().map(|channels| channels.div_ceil(BLOCK)).collect(),
            weights,
            bias: (0..blocks)
                .map(|block| std::array::from_fn(|output| lane(block * BLOCK + output)))
                .collect(),
        }
    }
}

/// Computes the rows from `first_row` on that `output` holds.
pub fn convolve_rows(
    _form: Form,
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
                let mut sums = conv.bias[block];
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
                                    for (sum, weight) in sums.iter_mut().zip(weights) {
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
