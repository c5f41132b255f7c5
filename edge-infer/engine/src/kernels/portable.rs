//! The convolution of integers in plain Rust.

use super::integer::{DEPTH, IntegerConv, Line, OUTPUTS, requantise};
use crate::layout::{BLOCK, Layout, Source};

/// As [`super::integer::convolve_rows`].
pub fn convolve_rows(
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    first_row: usize,
    layout: Layout,
    output: &mut [u8],
) {
    for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, output) in output.chunks_exact_mut(layout.block_len()).enumerate() {
            let pixels = output[BLOCK..(layout.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let sums = sums(conv, sources, block, first_row + row, column);
                for (lane, output) in pixel.iter_mut().enumerate() {
                    let multiplier = conv.multiplier[block * BLOCK + lane];
                    *output = requantise(sums[lane], multiplier, conv.top);
                }
            }
        }
    }
}

fn sums(
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    block: usize,
    row: usize,
    column: usize,
) -> [i32; BLOCK] {
    let mut sums: [i32; BLOCK] = std::array::from_fn(|lane| conv.bias[block * BLOCK + lane]);
    let lines = conv.lines_per_block();
    let mut lines = conv.lines[block * lines..(block + 1) * lines].iter();
    // A 1x1 kernel begins at the pixel itself, a 3x3 kernel one before it; the border is one.
    let before = 1 - conv.kernel / 2;
    for sums in sums.chunks_exact_mut(OUTPUTS) {
        for source in sources {
            let layout = source.layout;
            for y in 0..conv.kernel {
                for input_block in 0..layout.blocks {
                    let line = source.starting_at(row + y + before);
                    let start = input_block * layout.block_len();
                    for x in 0..conv.kernel {
                        let pixel = &line[start + (column + x + before) * BLOCK..][..BLOCK];
                        for (inputs, line) in pixel.chunks_exact(DEPTH).zip(&mut lines) {
                            add_line(sums, inputs, line);
                        }
                    }
                }
            }
        }
    }
    sums
}

fn add_line(sums: &mut [i32], inputs: &[u8], line: &Line) {
    for (inputs, weights) in inputs.chunks_exact(4).zip(line.0.chunks_exact(4 * OUTPUTS)) {
        for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(4)) {
            for (weight, input) in weights.iter().zip(inputs) {
                *sum += i32::from(*weight) * i32::from(*input);
            }
        }
    }
}
