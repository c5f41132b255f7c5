//! 3x3 convolution with padding 1 on the CPU: forward, and the gradients of input and weight.
//!
//! A tile of image rows is copied into lines: each channel's rows one after the other with one
//! zero between them, so that the zero is the right padding of one row and the left padding of the
//! next. In such a line each tap of the window is a constant offset, and vectors run over row
//! ends without a remainder. The results at the zeros are computed and thrown away.

// Tasks write disjoint rows of one output, which slices cannot express without copying.
#![allow(unsafe_code)]

use super::simd::{LINE, Level, Taps, accumulate, correlate};
use rayon::prelude::*;
use std::cell::RefCell;

/// Sizes of a convolution: input (batch, inputs, height, width), output with `outputs` channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Sizes {
    fn plane(&self) -> usize {
        self.height * self.width
    }
    /// Distance between rows in a line.
    fn pitch(&self) -> usize {
        self.width + 1
    }
    fn taps(&self) -> Taps {
        std::array::from_fn(|t| (t / 3) * self.pitch() + t % 3)
    }
    /// Positions of `rows` output rows, in whole vectors.
    fn line(&self, rows: usize) -> usize {
        (rows * self.pitch()).next_multiple_of(LINE)
    }
    /// Elements of one channel's input line for `rows` output rows.
    fn input_line(&self, rows: usize) -> usize {
        self.line(rows) + 2 * self.pitch() + 2
    }
    /// About `wanted` rows a tile, all tiles nearly equal: (tiles, rows of all but the last).
    fn tiles(&self, wanted: usize) -> (usize, usize) {
        let tiles = self.height.div_ceil(wanted.clamp(1, self.height));
        let rows = self.height.div_ceil(tiles);
        (self.height.div_ceil(rows), rows)
    }
}

thread_local! {
    // Tiles are packed thousands of times a second; fresh memory each time costs page faults.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<R>(length: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with(|scratch| {
        let mut scratch = scratch.borrow_mut();
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        f(&mut scratch[..length])
    })
}

/// Weights in the order in which the inner loop reads them:
/// `[output block][input][tap][output in block]`, missing outputs as zeros.
pub(super) struct PackedWeights {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
    level: Level,
}

impl PackedWeights {
    /// For the forward pass; `weight` is (outputs, inputs, 3, 3).
    pub(super) fn forward(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::pack(outputs, inputs, |o, i, t| weight[(o * inputs + i) * 9 + t])
    }

    /// For the gradient of the input, which is the convolution of the output's gradient with the
    /// window turned by 180 degrees, inputs and outputs exchanged.
    pub(super) fn transposed(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::pack(inputs, outputs, |o, i, t| weight[(i * inputs + o) * 9 + 8 - t])
    }

    fn pack(outputs: usize, inputs: usize, at: impl Fn(usize, usize, usize) -> f32 + Sync) -> Self {
        let level = Level::detect();
        let block = level.channel_block();
        let mut values = vec![0.0; outputs.next_multiple_of(block) * inputs * 9];
        values.par_chunks_mut(inputs * 9 * block).enumerate().for_each(|(b, chunk)| {
            for o in 0..block.min(outputs - b * block) {
                for i in 0..inputs {
                    for t in 0..9 {
                        chunk[(i * 9 + t) * block + o] = at(b * block + o, i, t);
                    }
                }
            }
        });
        Self { values, inputs, outputs, level }
    }
}

/// Copies `rows` rows of a plane from row `first` on (zeros outside the plane) into a line.
/// `lead` zeros stand before the first row; the rest of the line is filled with zeros.
fn pack_line(
    line: &mut [f32],
    plane: &[f32],
    sizes: &Sizes,
    first: isize,
    rows: usize,
    lead: usize,
) {
    let (width, pitch) = (sizes.width, sizes.pitch());
    line[..lead].fill(0.0);
    for r in 0..rows {
        let to = &mut line[lead + r * pitch..];
        let y = first + r as isize;
        if (0..sizes.height as isize).contains(&y) {
            let from = y as usize * width;
            to[..width].copy_from_slice(&plane[from..from + width]);
            to[width] = 0.0;
        } else {
            to[..pitch].fill(0.0);
        }
    }
    line[lead + rows * pitch..].fill(0.0);
}

/// The output's memory, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: each task writes only the rows and channels of its own tile.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// `[at, at + length)` lies inside the output and belongs to the calling task alone.
    unsafe fn part<'a>(self, at: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), length) }
    }
}

/// Input channels per pass: a block's weights then stay in the first-level cache.
const CHANNELS_PER_PASS: usize = 64;
/// Elements of a packed tile that fit the second-level cache beside weights and sums.
const TILE_ELEMENTS: usize = 96 * 1024;
/// Fewer tasks than this leave cores of a large machine idle.
const WANTED_TASKS: usize = 32;

/// Convolves `input` (batch, inputs, height, width); returns (batch, outputs, height, width).
pub(super) fn convolve(
    input: &[f32],
    weights: &PackedWeights,
    bias: Option<&[f32]>,
    sizes: Sizes,
) -> Vec<f32> {
    let block = weights.level.channel_block();
    let least = (512 / sizes.pitch()).max(1);
    let fitting = (TILE_ELEMENTS / (weights.inputs * sizes.pitch())).saturating_sub(2);
    let (tiles, rows) = sizes.tiles(fitting.max(least));
    let blocks = weights.outputs.div_ceil(block);
    let groups = WANTED_TASKS.div_ceil(sizes.batch * tiles).clamp(1, blocks.div_ceil(4));
    let blocks_per_group = blocks.div_ceil(groups);
    let mut output = vec![0.0; sizes.batch * weights.outputs * sizes.plane()];
    let shared = Shared(output.as_mut_ptr());
    (0..sizes.batch * tiles * groups).into_par_iter().for_each(|task| {
        let (group, tile) = (task % groups, task / groups % tiles);
        let first = tile * rows;
        let part = Tile {
            image: task / groups / tiles,
            first,
            rows: rows.min(sizes.height - first),
            blocks: group * blocks_per_group..((group + 1) * blocks_per_group).min(blocks),
        };
        convolve_tile(input, weights, bias, &sizes, &part, shared);
    });
    output
}

/// What one task of [`convolve`] computes.
struct Tile {
    image: usize,
    first: usize,
    rows: usize,
    blocks: std::ops::Range<usize>,
}

fn convolve_tile(
    input: &[f32],
    weights: &PackedWeights,
    bias: Option<&[f32]>,
    sizes: &Sizes,
    tile: &Tile,
    output: Shared,
) {
    let (block, inputs, plane) = (weights.level.channel_block(), weights.inputs, sizes.plane());
    let (line, input_line, taps) =
        (sizes.line(tile.rows), sizes.input_line(tile.rows), sizes.taps());
    with_scratch(inputs * input_line + block * line, |scratch| {
        let (packed, sums) = scratch.split_at_mut(inputs * input_line);
        for (c, to) in packed.chunks_exact_mut(input_line).enumerate() {
            let from = &input[(tile.image * inputs + c) * plane..][..plane];
            pack_line(to, from, sizes, tile.first as isize - 1, tile.rows + 2, 1);
        }
        for b in tile.blocks.clone() {
            let block_weights = &weights.values[b * inputs * 9 * block..][..inputs * 9 * block];
            sums.fill(0.0);
            for (pass, w) in block_weights.chunks(CHANNELS_PER_PASS * 9 * block).enumerate() {
                let x = &packed[pass * CHANNELS_PER_PASS * input_line..];
                accumulate(weights.level, sums, line, w, x, input_line, &taps);
            }
            for o in b * block..((b + 1) * block).min(weights.outputs) {
                let shift = bias.map_or(0.0, |bias| bias[o]);
                let at = (tile.image * weights.outputs + o) * plane + tile.first * sizes.width;
                // SAFETY: these rows of this channel belong to this tile alone.
                let rows = unsafe { output.part(at, tile.rows * sizes.width) };
                let from = &sums[(o - b * block) * line..];
                for (r, row) in rows.chunks_exact_mut(sizes.width).enumerate() {
                    let sums = &from[r * sizes.pitch()..][..sizes.width];
                    row.iter_mut().zip(sums).for_each(|(y, s)| *y = s + shift);
                }
            }
        }
    });
}

/// Gradient of the weight, (outputs, inputs, 3, 3), from the input and the output's gradient.
///
/// The work is cut by image and by group of input channels, by the shapes alone; partial sums of
/// the images are added in their order, so that the result does not depend on the threads.
pub(super) fn weight_gradient(input: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // Partial sums of each image cost memory, so only where the weight is small.
    let chunks = if inputs * outputs * 9 <= 64 * 1024 { sizes.batch } else { 1 };
    let images = sizes.batch / chunks;
    // Each group packs the gradient anew: eight channels make that a small part of the work.
    let group = (inputs * chunks).div_ceil(WANTED_TASKS).max(8).min(inputs);
    let groups = inputs.div_ceil(group);
    let partial: Vec<Vec<f32>> = (0..chunks * groups)
        .into_par_iter()
        .map(|task| {
            let (chunk, first) = (task / groups, task % groups * group);
            let channels = first..(first + group).min(inputs);
            weight_gradient_part(
                input,
                gradient,
                &sizes,
                chunk * images..(chunk + 1) * images,
                channels,
            )
        })
        .collect();
    let mut result = vec![0.0; outputs * inputs * 9];
    result.par_chunks_mut(inputs * 9).enumerate().for_each(|(o, row)| {
        for part in partial.chunks(groups) {
            for (row, part) in row.chunks_mut(group * 9).zip(part) {
                let from = &part[o * row.len()..];
                row.iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
            }
        }
    });
    result
}

/// Partial weight gradient (outputs, channels, 3, 3) over some images and input channels.
fn weight_gradient_part(
    input: &[f32],
    gradient: &[f32],
    sizes: &Sizes,
    images: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
) -> Vec<f32> {
    let (level, plane, taps) = (Level::detect(), sizes.plane(), sizes.taps());
    let wanted = (64 * 1024 / sizes.outputs).clamp(512, 2048);
    let (tiles, tile_rows) = sizes.tiles(wanted / sizes.pitch());
    let stride = channels.len() * 9;
    let mut sums = vec![0.0; sizes.outputs * stride];
    let most = sizes.input_line(tile_rows) + sizes.outputs * sizes.line(tile_rows);
    with_scratch(most, |scratch| {
        for (image, tile) in images.flat_map(|image| (0..tiles).map(move |tile| (image, tile))) {
            let first = tile * tile_rows;
            let rows = tile_rows.min(sizes.height - first);
            let (line, input_line) = (sizes.line(rows), sizes.input_line(rows));
            let (x, g) = scratch.split_at_mut(input_line);
            let g = &mut g[..sizes.outputs * line];
            for (o, to) in g.chunks_exact_mut(line).enumerate() {
                let from = &gradient[(image * sizes.outputs + o) * plane..][..plane];
                pack_line(to, from, sizes, first as isize, rows, 0);
            }
            for (i, channel) in channels.clone().enumerate() {
                let from = &input[(image * sizes.inputs + channel) * plane..][..plane];
                pack_line(x, from, sizes, first as isize - 1, rows + 2, 1);
                correlate(level, &mut sums[i * 9..], stride, g, line, x, &taps);
            }
        }
    });
    sums
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
