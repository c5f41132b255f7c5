//! The 3x3 convolution of f32 maps after Winograd: F(2x2, 3x3) and F(4x4, 3x3) of Lavin and Gray
//! (<https://arxiv.org/abs/1509.09308>, equations 8 to 15).
//!
//! An output tile of `OUT` x `OUT` pixels comes from an input tile of `OUT + 2` pixels a side. Both
//! are transformed, so that the convolution becomes a product at each of the input tile's places,
//! here called points: 16 products make 4 pixels (36 make 16) where 36 (144) would be needed. A
//! strip of tiles is transformed at a time; at each point its numbers form a matrix of tiles by
//! inputs, which is multiplied with one of inputs by outputs.
#![allow(unsafe_code)]

use std::cell::RefCell;

use super::Form;
use super::wide::{Line, Plain, Wide};
use crate::layout::{BLOCK, Layout, Source};

/// The most places of an input tile along one side.
const MOST_POINTS: usize = 6;

/// Tiles of a strip come in groups of so many, of which every form makes whole register tiles.
const GROUP: usize = 8;

/// Bytes of a strip's transformed inputs, that they stay in a second-level cache of 1 MiB with what
/// is read and written beside them.
const STRIP_BYTES: usize = 448 << 10;

/// Tiles of a strip at least: each of them uses the weights once, which come from far.
const LEAST_TILES: usize = 32;

/// Numbers of one thread's strip, kept from call to call.
#[derive(Default)]
struct Scratch {
    /// For each point, block of inputs and tile: 16 inputs.
    inputs: Vec<Line>,
    /// For each point, block of outputs that is computed together, and tile: 16 outputs.
    products: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One call: what is read, and the weights.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// As [`transform_weights`] orders them, for each block of outputs.
    pub weights: &'a [Line],
    /// One a block of outputs.
    pub bias: &'a [Line],
    /// The maps that are read, in the order of their channels.
    pub sources: &'a [Source<'a, f32>],
    /// The first row that is computed, a multiple of the output tile's side.
    pub first_row: usize,
    /// The map that is made.
    pub layout: Layout,
}

/// Computes the rows that `output` holds, with output tiles of `out` (2 or 4) pixels a side, which
/// divides the number of rows and the map's side.
pub fn convolve_rows(form: Form, out: usize, task: &Task<'_>, output: &mut [f32]) {
    SCRATCH.with_borrow_mut(|scratch| match out {
        2 => in_form::<2>(form, task, output, scratch),
        _ => in_form::<4>(form, task, output, scratch),
    });
}

fn in_form<const OUT: usize>(
    form: Form,
    task: &Task<'_>,
    output: &mut [f32],
    scratch: &mut Scratch,
) {
    match form {
        // SAFETY: `Form::available` offers these forms only where the processor has their
        // instructions.
        #[cfg(target_arch = "x86_64")]
        Form::Avx512Vnni | Form::Amx => unsafe { avx512::<OUT>(task, output, scratch) },
        #[cfg(target_arch = "x86_64")]
        Form::Avx2 => unsafe { avx2::<OUT>(task, output, scratch) },
        // SAFETY: every 64-bit ARM processor has these instructions.
        #[cfg(target_arch = "aarch64")]
        Form::Neon | Form::NeonDotprod => unsafe {
            compute::<super::wide::Quad, OUT, 4, 1>(task, output, scratch);
        },
        // SAFETY: plain Rust needs no instructions.
        Form::Portable => unsafe { compute::<Plain, OUT, 4, 1>(task, output, scratch) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<const OUT: usize>(task: &Task<'_>, output: &mut [f32], scratch: &mut Scratch) {
    // SAFETY: the instructions are there.
    unsafe { compute::<std::arch::x86_64::__m512, OUT, 8, 2>(task, output, scratch) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<const OUT: usize>(task: &Task<'_>, output: &mut [f32], scratch: &mut Scratch) {
    // SAFETY: the instructions are there.
    unsafe { compute::<super::wide::Pair, OUT, 4, 1>(task, output, scratch) }
}

/// Some tiles, row after row, and where their numbers lie in the scratch memory.
#[derive(Clone, Copy)]
struct Strip {
    /// The first tile.
    first: usize,
    /// Tiles of the strip.
    tiles: usize,
    /// Tiles of one row of tiles.
    across: usize,
    /// Places for tiles, a multiple of [`GROUP`]; those behind the last tile hold anything.
    room: usize,
    /// Blocks of inputs.
    blocks: usize,
}

impl Strip {
    /// Lines from one point's inputs to the next one's. The line more keeps the numbers of one tile
    /// out of each other's places in the cache.
    fn input_stride(&self) -> usize {
        self.blocks * self.room + 1
    }

    /// Lines from one point's products to the next one's.
    fn product_stride(&self, together: usize) -> usize {
        together * self.room + 1
    }

    /// Row and column of tiles of each tile.
    #[inline(always)]
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        (self.first..self.first + self.tiles)
            .map(move |tile| (tile / self.across, tile % self.across))
    }
}

/// Computes whole rows: register tiles of `TILES` tiles and `BLOCKS` blocks of outputs.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn compute<V: Wide, const OUT: usize, const TILES: usize, const BLOCKS: usize>(
    task: &Task<'_>,
    output: &mut [f32],
    scratch: &mut Scratch,
) {
    let points = (OUT + 2) * (OUT + 2);
    let layout = task.layout;
    let across = layout.side / OUT;
    let total = output.len() / layout.row_len() / OUT * across;
    let blocks: usize = task.sources.iter().map(|source| source.layout.blocks).sum();
    let fitting = STRIP_BYTES / (points * blocks * size_of::<Line>());
    let room = fitting.max(LEAST_TILES).min(total).next_multiple_of(GROUP);
    for first in (0..total).step_by(room) {
        let strip = Strip { first, tiles: room.min(total - first), across, room, blocks };
        scratch.inputs.resize(points * strip.input_stride(), Line::ZERO);
        scratch.products.resize(points * strip.product_stride(BLOCKS), Line::ZERO);
        // SAFETY: passed on from the caller.
        unsafe {
            transform_inputs::<V, OUT>(task, strip, &mut scratch.inputs);
            for block in (0..layout.blocks).step_by(BLOCKS) {
                let together = BLOCKS.min(layout.blocks - block);
                for point in 0..points {
                    let inputs = &scratch.inputs[point * strip.input_stride()..];
                    let products = &mut scratch.products[point * strip.product_stride(BLOCKS)..];
                    let weights = &task.weights[(block * points + point) * blocks * BLOCK..];
                    if together == BLOCKS {
                        multiply::<V, TILES, BLOCKS>(strip, points, inputs, weights, products);
                    } else {
                        multiply::<V, TILES, 1>(strip, points, inputs, weights, products);
                    }
                }
                for at in 0..together {
                    let products = &scratch.products[at * strip.room..];
                    let stride = strip.product_stride(BLOCKS);
                    finish::<V, OUT>(task, strip, block + at, products, stride, output);
                }
            }
        }
    }
}

/// Transforms the input tiles of a strip.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn transform_inputs<V: Wide, const OUT: usize>(
    task: &Task<'_>,
    strip: Strip,
    inputs: &mut [Line],
) {
    let side = OUT + 2;
    let mut before = 0;
    for source in task.sources {
        let from = source.layout;
        for block in 0..from.blocks {
            let from_first = &source.starting_at(task.first_row)[block * from.block_len()..];
            for (at, (row, column)) in strip.places().enumerate() {
                let corner = row * OUT * from.row_len() + column * OUT * BLOCK;
                // SAFETY: passed on from the caller.
                unsafe {
                    let mut half = [[V::splat(0.0); MOST_POINTS]; MOST_POINTS];
                    for (y, half) in half.iter_mut().enumerate().take(side) {
                        let line = &from_first[corner + y * from.row_len()..][..side * BLOCK];
                        for (value, pixel) in half.iter_mut().zip(line.as_chunks::<BLOCK>().0) {
                            *value = V::load(pixel);
                        }
                        *half = input_points::<V, OUT>(*half);
                    }
                    for x in 0..side {
                        let mut column = [V::splat(0.0); MOST_POINTS];
                        for (value, half) in column.iter_mut().zip(&half) {
                            *value = half[x];
                        }
                        let column = input_points::<V, OUT>(column);
                        for (y, value) in column.iter().enumerate().take(side) {
                            let point = (y * side + x) * strip.input_stride();
                            value.store(&mut inputs[point + (before + block) * strip.room + at].0);
                        }
                    }
                }
            }
        }
        before += from.blocks;
    }
}

/// One point's products: for each tile the sums over inputs, of `BLOCKS` blocks of outputs.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn multiply<V: Wide, const TILES: usize, const BLOCKS: usize>(
    strip: Strip,
    points: usize,
    inputs: &[Line],
    weights: &[Line],
    products: &mut [Line],
) {
    let lines = strip.blocks * BLOCK;
    for first in (0..strip.tiles).step_by(TILES) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[V::splat(0.0); BLOCKS]; TILES];
            for block in 0..strip.blocks {
                let inputs = &inputs[block * strip.room + first..].as_chunks::<TILES>().0[0];
                let mut lanes = [&[Line::ZERO; BLOCK]; BLOCKS];
                for (at, lanes) in lanes.iter_mut().enumerate() {
                    let start = at * points * lines + block * BLOCK;
                    *lanes = &weights[start..].as_chunks::<BLOCK>().0[0];
                }
                for lane in 0..BLOCK {
                    let mut weights = [V::splat(0.0); BLOCKS];
                    for (weights, lanes) in weights.iter_mut().zip(lanes) {
                        *weights = V::load(&lanes[lane].0);
                    }
                    for (sums, inputs) in sums.iter_mut().zip(inputs) {
                        let input = V::splat(inputs.0[lane]);
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = input.mul_add(weights, *sum);
                        }
                    }
                }
            }
            for at in 0..BLOCKS {
                let products = &mut products[at * strip.room + first..][..TILES];
                for (product, sums) in products.iter_mut().zip(&sums) {
                    sums[at].store(&mut product.0);
                }
            }
        }
    }
}

/// Transforms products back, adds the bias, and writes what is above zero. The products of one
/// block lie at the beginning of every `stride` lines.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn finish<V: Wide, const OUT: usize>(
    task: &Task<'_>,
    strip: Strip,
    block: usize,
    products: &[Line],
    stride: usize,
    output: &mut [f32],
) {
    let side = OUT + 2;
    let layout = task.layout;
    for (at, (row, column)) in strip.places().enumerate() {
        let start = row * OUT * layout.row_len() + block * layout.block_len();
        let start = start + (column * OUT + 1) * BLOCK;
        // SAFETY: passed on from the caller.
        unsafe {
            let bias = V::load(&task.bias[block].0);
            let mut half = [[V::splat(0.0); MOST_POINTS]; MOST_POINTS];
            for (y, half) in half.iter_mut().enumerate().take(side) {
                for (x, value) in half.iter_mut().enumerate().take(side) {
                    *value = V::load(&products[(y * side + x) * stride + at].0);
                }
                *half = output_pixels::<V, OUT>(*half);
            }
            let mut pixels = [[V::splat(0.0); MOST_POINTS]; MOST_POINTS];
            for x in 0..OUT {
                let mut column = [V::splat(0.0); MOST_POINTS];
                for (value, half) in column.iter_mut().zip(&half) {
                    *value = half[x];
                }
                pixels[x] = output_pixels::<V, OUT>(column);
            }
            for y in 0..OUT {
                let line = &mut output[start + y * layout.row_len()..][..OUT * BLOCK];
                for (pixel, column) in line.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&pixels) {
                    column[y].add(bias).relu().store(pixel);
                }
            }
        }
    }
}

/// Input transform along one side, the paper's `B^T d`.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn input_points<V: Wide, const OUT: usize>(d: [V; MOST_POINTS]) -> [V; MOST_POINTS] {
    // SAFETY: passed on from the caller.
    unsafe {
        let zero = V::splat(0.0);
        if OUT == 2 {
            return [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3]), zero, zero];
        }
        let (two, four) = (V::splat(2.0), V::splat(4.0));
        let (minus_four, minus_five) = (V::splat(-4.0), V::splat(-5.0));
        let (even, odd) = (d[2].mul_add(minus_four, d[4]), d[1].mul_add(minus_four, d[3]));
        let (near, far) = (d[4].sub(d[2]), d[3].sub(d[1]));
        [
            d[0].mul_add(four, d[2].mul_add(minus_five, d[4])),
            even.add(odd),
            even.sub(odd),
            far.mul_add(two, near),
            far.mul_add(V::splat(-2.0), near),
            d[1].mul_add(four, d[3].mul_add(minus_five, d[5])),
        ]
    }
}

/// Output transform along one side, the paper's `A^T m`.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn output_pixels<V: Wide, const OUT: usize>(m: [V; MOST_POINTS]) -> [V; MOST_POINTS] {
    // SAFETY: passed on from the caller.
    unsafe {
        let zero = V::splat(0.0);
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        if OUT == 2 {
            return [m[0].add(sum), difference.sub(m[3]), zero, zero, zero, zero];
        }
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum).add(far_sum),
            far_difference.mul_add(V::splat(2.0), difference),
            far_sum.mul_add(V::splat(4.0), sum),
            far_difference.mul_add(V::splat(8.0), difference).add(m[5]),
            zero,
            zero,
        ]
    }
}

/// Transforms kernels for output tiles of `out` pixels a side, the paper's `G g G^T`. `kernel` gives
/// the one from an input to an output channel, of `inputs` and `outputs` blocks of channels. The
/// order is: block of outputs, point, input.
pub fn transform_weights(
    out: usize,
    inputs: usize,
    outputs: usize,
    kernel: impl Fn(usize, usize) -> [f32; 9],
) -> Vec<Line> {
    let points = (out + 2) * (out + 2);
    let inputs = inputs * BLOCK;
    let mut weights = vec![Line::ZERO; outputs * points * inputs];
    for (block, weights) in weights.chunks_exact_mut(points * inputs).enumerate() {
        for (input, lane) in (0..inputs).flat_map(|input| (0..BLOCK).map(move |lane| (input, lane)))
        {
            let transformed = transform_kernel(out, &kernel(block * BLOCK + lane, input));
            for (lines, number) in weights.chunks_exact_mut(inputs).zip(transformed) {
                lines[input].0[lane] = number;
            }
        }
    }
    weights
}

/// One kernel's numbers, row of points after row; those of the smaller tile come first and alone.
fn transform_kernel(out: usize, kernel: &[f32; 9]) -> [f32; MOST_POINTS * MOST_POINTS] {
    let matrix: &[[f64; 3]] = match out {
        2 => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
        _ => &[
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ],
    };
    let kernel = kernel.map(f64::from);
    let dot = |factors: &[f64; 3], values: [f64; 3]| {
        factors[0] * values[0] + factors[1] * values[1] + factors[2] * values[2]
    };
    let mut points = [0.0; MOST_POINTS * MOST_POINTS];
    for (down, points) in matrix.iter().zip(points.chunks_exact_mut(matrix.len())) {
        let row = [0, 1, 2].map(|x| dot(down, [kernel[x], kernel[x + 3], kernel[x + 6]]));
        for (across, point) in matrix.iter().zip(points) {
            *point = dot(across, row) as f32;
        }
    }
    points
}
