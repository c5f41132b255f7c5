//! 3x3 convolution with padding 1 on the CPU: forward, and the gradient of the input.

// Tasks write disjoint rows of one output, which slices cannot express without copying.
#![allow(unsafe_code)]

use super::inner_loops::{TAPS, accumulate, channel_block};
use super::simd::{Lanes, Level, Loop};
use super::strips::{
    Channel, Shared, Sizes, equal_parts, pack_input, parts, six_lines, with_scratch, written,
};
use super::winograd::{LINES, ROWS, ToOutput, WINDOW, combine};
use rayon::prelude::*;
use std::ops::Range;

/// Weights in the order in which the inner loop reads them:
/// `[output block][line][input][tap across][output in block]`, missing outputs as zeros.
pub(super) struct PackedWeights {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
    level: Level,
}

impl PackedWeights {
    /// For the forward pass; `weight` is (outputs, inputs, 3, 3).
    pub(super) fn forward(level: Level, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::pack(level, outputs, inputs, |o, i| {
            std::array::from_fn(|t| weight[(o * inputs + i) * 9 + t])
        })
    }

    /// For the gradient of the input, which is the convolution of the output's gradient with the
    /// window turned by 180 degrees, inputs and outputs exchanged.
    pub(super) fn transposed(level: Level, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::pack(level, inputs, outputs, |o, i| {
            std::array::from_fn(|t| weight[(i * inputs + o) * 9 + 8 - t])
        })
    }

    fn pack(
        level: Level,
        outputs: usize,
        inputs: usize,
        window: impl Fn(usize, usize) -> [f32; 9] + Sync,
    ) -> Self {
        let block = channel_block(level);
        let line = inputs * TAPS * block;
        let blocks = outputs.div_ceil(block);
        let fill = |b: usize, shared: Shared| {
            // SAFETY: this block's weights belong to this task alone.
            let chunk = unsafe { shared.part(b * LINES * line, LINES * line) };
            let first = b * block;
            let window = |o: usize, i: usize| {
                if first + o < outputs { window(first + o, i) } else { [0.0; 9] }
            };
            match block {
                8 => level.run(PackBlock::<8, _> { lines: equal_parts(chunk), inputs, window }),
                _ => level.run(PackBlock::<4, _> { lines: equal_parts(chunk), inputs, window }),
            }
        };
        // SAFETY: each block writes all six lines of all inputs.
        let values = unsafe {
            written(blocks * LINES * line, |shared| {
                (0..blocks).into_par_iter().for_each(|b| fill(b, shared));
            })
        };
        Self { values, inputs, outputs, level }
    }

    /// `[input][tap][output in block]` of some inputs.
    fn part(&self, block: usize, line: usize, inputs: Range<usize>) -> &[f32] {
        let each = TAPS * channel_block(self.level);
        let start = (block * LINES + line) * self.inputs;
        &self.values[(start + inputs.start) * each..(start + inputs.end) * each]
    }
}

/// Packs the weights of one block of `BLOCK` outputs: as arrays over the outputs, which the
/// compiler turns into vectors.
struct PackBlock<'a, const BLOCK: usize, W> {
    lines: [&'a mut [f32]; LINES],
    inputs: usize,
    window: W,
}

impl<const BLOCK: usize, W: Fn(usize, usize) -> [f32; 9]> Loop for PackBlock<'_, BLOCK, W> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(mut self) {
        for i in 0..self.inputs {
            let mut window = [[0.0; BLOCK]; 9];
            for o in 0..BLOCK {
                let taps = (self.window)(o, i);
                window.iter_mut().zip(taps).for_each(|(of_tap, weight)| of_tap[o] = weight);
            }
            for t in 0..TAPS {
                for (line, g) in self.lines.iter_mut().zip(&WINDOW) {
                    let to = &mut line[(i * TAPS + t) * BLOCK..][..BLOCK];
                    for (o, to) in to.iter_mut().enumerate() {
                        let [a, b, c] = [window[t][o], window[3 + t][o], window[6 + t][o]];
                        *to = g[0] * a + g[1] * b + g[2] * c;
                    }
                }
            }
        }
    }
}

/// Input channels per pass: a block's weights then stay in the first-level cache.
const CHANNELS_PER_PASS: usize = 128;
/// Elements of packed input that fit the second-level cache beside weights and sums.
const TILE_ELEMENTS: usize = 192 * 1024;
/// Fewer positions than this leave too little work for each weight that is read.
const LEAST_POSITIONS: usize = 96;

/// Convolves `input` (batch, inputs, height, width); returns (batch, outputs, height, width).
///
/// How the work is cut depends on the number of threads, its result does not.
pub(super) fn convolve(
    input: &[f32],
    weights: &PackedWeights,
    bias: Option<&[f32]>,
    sizes: Sizes,
) -> Vec<f32> {
    let strips = sizes.batch * sizes.strips();
    let fitting = TILE_ELEMENTS / (weights.inputs * LINES * sizes.pitch());
    let (tiles, each) = parts(strips, fitting.max(LEAST_POSITIONS.div_ceil(sizes.pitch())));
    // One thread packs each tile once; several share the output channels where tiles are few.
    let blocks = weights.outputs.div_ceil(channel_block(weights.level));
    let threads = rayon::current_num_threads();
    let wanted = if threads == 1 { 1 } else { (4 * threads).div_ceil(tiles) };
    let (groups, blocks_per_group) = parts(blocks, blocks.div_ceil(wanted));
    let convolve_task = |task: usize, shared: Shared| {
        let (tile, group) = (task / groups, task % groups);
        let strips = tile * each..((tile + 1) * each).min(strips);
        let blocks = group * blocks_per_group..((group + 1) * blocks_per_group).min(blocks);
        convolve_tile(input, weights, bias, &sizes, strips, blocks, shared);
    };
    // SAFETY: the tasks write every row of every channel.
    unsafe {
        written(sizes.batch * weights.outputs * sizes.plane(), |shared| {
            (0..tiles * groups).into_par_iter().for_each(|task| convolve_task(task, shared));
        })
    }
}

fn convolve_tile(
    input: &[f32],
    weights: &PackedWeights,
    bias: Option<&[f32]>,
    sizes: &Sizes,
    strips: Range<usize>,
    blocks: Range<usize>,
    output: Shared,
) {
    let (level, block, inputs) = (weights.level, channel_block(weights.level), weights.inputs);
    let (line, input_line) = (sizes.line(strips.len()), sizes.input_line(strips.len()));
    let (x_size, sums_size) = (LINES * inputs * input_line, LINES * block * line);
    with_scratch(x_size + sums_size + (1 + ROWS) * sizes.width, |scratch| {
        let (x, rest) = scratch.split_at_mut(x_size);
        let (sums, rest) = rest.split_at_mut(sums_size);
        let (zeros, spare) = rest.split_at_mut(sizes.width);
        zeros.fill(0.0);
        for c in 0..inputs {
            let step = inputs * sizes.plane();
            let channel = Channel { values: input, at: c * sizes.plane(), step };
            pack_input(level, channel, sizes, strips.clone(), six_lines(x, c, input_line), zeros);
        }
        for b in blocks {
            for (f, sums) in sums.chunks_exact_mut(block * line).enumerate() {
                for first in (0..inputs).step_by(CHANNELS_PER_PASS) {
                    let pass = first..(first + CHANNELS_PER_PASS).min(inputs);
                    let x = &x[(f * inputs + first) * input_line..];
                    let w = weights.part(b, f, pass);
                    accumulate(level, sums, line, first == 0, w, x, input_line);
                }
            }
            for o in b * block..((b + 1) * block).min(weights.outputs) {
                let shift = bias.map_or(0.0, |bias| bias[o]);
                let lines = six_lines(sums, o - b * block, line);
                for (k, strip) in strips.clone().enumerate() {
                    let from =
                        lines.each_ref().map(|line| &line[k * sizes.pitch()..][..sizes.width]);
                    let (image, first) = sizes.place(strip);
                    let rows = ROWS.min(sizes.height - first);
                    let at = (image * weights.outputs + o) * sizes.plane() + first * sizes.width;
                    // SAFETY: these rows of this channel belong to this task alone.
                    let to = unsafe { output.part(at, rows * sizes.width) };
                    unpack(level, from, to, spare, shift);
                }
            }
        }
    });
}

/// The four rows of a strip, of which `to` has those that lie in the image.
fn unpack(level: Level, from: [&[f32]; LINES], to: &mut [f32], spare: &mut [f32], shift: f32) {
    if to.len() == spare.len() {
        combine::<ToOutput, LINES, ROWS>(level, from, equal_parts(to), shift);
    } else {
        combine::<ToOutput, LINES, ROWS>(level, from, equal_parts(spare), shift);
        to.copy_from_slice(&spare[..to.len()]);
    }
}
