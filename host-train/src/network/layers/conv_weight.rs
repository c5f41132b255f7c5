//! Gradients of weight and bias of the 3x3 convolution on the CPU.

// Tasks write disjoint columns of one matrix, which slices cannot express without copying.
#![allow(unsafe_code)]

use super::inner_loops::{GRADIENT_BLOCK, TAPS, Target, correlate};
use super::simd::Level;
use super::strips::{
    Channel, Shared, Sizes, pack_gradient, pack_input, parts, six_lines, with_scratch, written,
};
use super::winograd::{LINES, WINDOW};
use rayon::prelude::*;
use std::ops::Range;

/// Weights with fewer elements than this are summed up for each image apart: in a batch of large
/// images they offer too few channels to share among the cores.
const SMALL_WEIGHT: usize = 64 * 1024;
/// Elements of a packed gradient that stay in the cache while the input channels pass.
const TILE_ELEMENTS: usize = 384 * 1024;
/// Positions of a tile. Shorter lines spend too much on the sums across vectors; of longer ones a
/// block leaves the first-level cache.
const POSITIONS: (usize, usize) = (256, 1024);
/// Elements of each of the six packed lines of the inputs that meet a block of gradient lines in
/// the first-level cache.
const INPUT_ELEMENTS: usize = 4 * 1024;
/// Sums that a task holds at most.
const SUMS: usize = 1024 * 1024;

/// Gradient of the weight, (outputs, inputs, 3, 3), from the input and the output's gradient.
///
/// The sums over images and tiles are cut by the shapes alone and taken in their order, so that the
/// result does not depend on the threads; those only decide which channels go together.
pub(super) fn weight_gradient(
    level: Level,
    input: &[f32],
    gradient: &[f32],
    sizes: Sizes,
) -> Vec<f32> {
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    let count = outputs * inputs * 9;
    let chunks = if count <= SMALL_WEIGHT { sizes.batch } else { 1 };
    let strips = sizes.batch / chunks * sizes.strips();
    let threads = rayon::current_num_threads();
    let tasks = if threads == 1 { 1 } else { (4 * threads).div_ceil(chunks) };
    let most = (SUMS / (outputs * LINES * TAPS)).max(1);
    let (groups, group) = parts(inputs, inputs.div_ceil(tasks).max(8).min(most));
    let sum_task = |task: usize, shared: Shared| {
        let (chunk, first) = (task / groups, task % groups * group);
        let channels = first..(first + group).min(inputs);
        let part =
            Part { strips: chunk * strips..(chunk + 1) * strips, channels: channels.clone() };
        part.sums(level, input, gradient, &sizes, |o, sums| {
            let at = chunk * count + (o * inputs + channels.start) * 9;
            // SAFETY: these channels of this chunk belong to this task alone.
            let to = unsafe { shared.part(at, channels.len() * 9) };
            to.as_chunks_mut()
                .0
                .iter_mut()
                .zip(sums.as_chunks().0)
                .for_each(|(to, sums)| *to = window(sums));
        });
    };
    // SAFETY: the tasks write every channel of every chunk.
    let mut result = unsafe {
        written(chunks * count, |shared| {
            (0..chunks * groups).into_par_iter().for_each(|task| sum_task(task, shared));
        })
    };
    let (first, others) = result.split_at_mut(count);
    for chunk in others.chunks_exact(count) {
        first.iter_mut().zip(chunk).for_each(|(sum, part)| *sum += part);
    }
    result.truncate(count);
    result
}

/// The gradient of a window (3, 3) from that of its lines, `[line][tap across]`: G transposed.
fn window(sums: &[f32; LINES * TAPS]) -> [f32; 9] {
    let mut window = [0.0; 9];
    for (line, shares) in WINDOW.iter().enumerate() {
        for (row, share) in shares.iter().enumerate().filter(|(_, share)| **share != 0.0) {
            for tap in 0..TAPS {
                window[row * 3 + tap] += share * sums[line * TAPS + tap];
            }
        }
    }
    window
}

/// What one task of [`weight_gradient`] computes.
struct Part {
    strips: Range<usize>,
    channels: Range<usize>,
}

impl Part {
    /// Calls `give` for each output with its sums, `[input][line][tap across]`.
    fn sums(
        &self,
        level: Level,
        input: &[f32],
        gradient: &[f32],
        sizes: &Sizes,
        mut give: impl FnMut(usize, &[f32]),
    ) {
        let (outputs, plane) = (sizes.outputs, sizes.plane());
        let wanted = (TILE_ELEMENTS / (outputs * LINES)).clamp(POSITIONS.0, POSITIONS.1);
        let (_, each) = parts(self.strips.len(), wanted.div_ceil(sizes.pitch()));
        let (line, input_line) = (sizes.line(each), sizes.input_line(each));
        let together = (INPUT_ELEMENTS / line).clamp(4, 32).min(self.channels.len());
        let of_input = LINES * TAPS;
        let of_gradient = self.channels.len() * of_input;
        let (g_size, x_size) = (LINES * outputs * line, LINES * together * input_line);
        with_scratch(g_size + x_size + outputs * of_gradient + sizes.width, |scratch| {
            let (g, rest) = scratch.split_at_mut(g_size);
            let (x, rest) = rest.split_at_mut(x_size);
            let (sums, zeros) = rest.split_at_mut(outputs * of_gradient);
            zeros.fill(0.0);
            let mut fresh = true;
            for start in self.strips.clone().step_by(each) {
                let strips = start..(start + each).min(self.strips.end);
                for o in 0..outputs {
                    let channel =
                        Channel { values: gradient, at: o * plane, step: outputs * plane };
                    let lines = six_lines(g, o, line);
                    pack_gradient(level, channel, sizes, strips.clone(), lines, zeros);
                }
                for (at, first) in self.channels.clone().step_by(together).enumerate() {
                    let count = together.min(self.channels.end - first);
                    for c in 0..count {
                        let (at, step) = ((first + c) * plane, sizes.inputs * plane);
                        let channel = Channel { values: input, at, step };
                        let lines = six_lines(x, c, input_line);
                        pack_input(level, channel, sizes, strips.clone(), lines, zeros);
                    }
                    let target = Target { of_gradient, of_input, fresh };
                    for (f, (g, x)) in g
                        .chunks_exact(outputs * line)
                        .zip(x.chunks_exact(together * input_line))
                        .enumerate()
                    {
                        for (block, g) in g.chunks(GRADIENT_BLOCK * line).enumerate() {
                            let to = block * GRADIENT_BLOCK * of_gradient
                                + at * together * of_input
                                + f * TAPS;
                            correlate(
                                level,
                                &mut sums[to..],
                                target,
                                g,
                                line,
                                &x[..count * input_line],
                                input_line,
                            );
                        }
                    }
                }
                fresh = false;
            }
            sums.chunks_exact(of_gradient).enumerate().for_each(|(o, sums)| give(o, sums));
        });
    }
}

/// Sum of the gradient over everything but the channel: the gradient of the bias.
pub(super) fn bias_gradient(gradient: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    (0..channels)
        .into_par_iter()
        .map(|c| {
            let planes = gradient.chunks_exact(plane).skip(c).step_by(channels);
            planes.map(super::reduce::sum).sum::<f64>() as f32
        })
        .collect()
}
