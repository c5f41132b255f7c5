//! The convolution of integers on 64-bit ARM with dot products of bytes (Cortex-A76, A78AE): one
//! instruction multiplies and adds four bytes of four output channels.
//!
//! Inputs are signed as in [`super::neon`]. A register tile is up to eight neighbouring pixels of the
//! outputs of one line of weights: 16 registers of sums, ten of inputs for the three columns of a
//! kernel, and each register of weights is used for all pixels as soon as it is loaded.
#![allow(unsafe_code)]

use std::arch::{aarch64::*, asm};

use super::integer::{DEPTH, IntegerConv, Line, OUTPUTS};
use super::neon::{signed, store};
use super::tiles::{Tile, for_each_tile};
use crate::layout::{BLOCK, Layout, Source};

/// As [`super::integer::convolve_rows`].
pub fn convolve_rows(
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    first_row: usize,
    layout: Layout,
    output: &mut [u8],
) {
    let sizes = [8, 4, 2, 1];
    for_each_tile(conv, sources, first_row, layout, output, sizes, 1, |tile| {
        // SAFETY: `Form::available` offers this form only where the processor has these
        // instructions, and a tile's pointers are good for what its docstring says.
        unsafe {
            match (tile.pixels, conv.full_inputs) {
                (8, false) => compute::<8, false>(tile),
                (8, true) => compute::<8, true>(tile),
                (4, false) => compute::<4, false>(tile),
                (4, true) => compute::<4, true>(tile),
                (2, false) => compute::<2, false>(tile),
                (2, true) => compute::<2, true>(tile),
                (_, false) => compute::<1, false>(tile),
                (_, true) => compute::<1, true>(tile),
            }
        }
    });
}

/// Pixels of one row that a tile reads at most.
const MOST_INPUTS: usize = 8 + 3 - 1;

/// Computes `PIXELS` pixels of one block.
///
/// # Safety
/// The processor has the instructions, and `tile` is as its docstring says.
#[target_feature(enable = "neon,dotprod")]
unsafe fn compute<const PIXELS: usize, const FULL: bool>(tile: &Tile<'_>) {
    // SAFETY: every pointer stays inside what the tile promises: inputs at rows and columns of the
    // kernel round the tile's pixels, lines of the tile's block, outputs of its pixels.
    unsafe {
        let mut line = tile.lines;
        for group in 0..BLOCK / OUTPUTS {
            let bias = tile.bias.add(group * OUTPUTS);
            let mut sums = [[vld1q_s32(bias), vld1q_s32(bias.add(4))]; PIXELS];
            for window in tile.windows() {
                for y in 0..tile.kernel {
                    let mut input = window.start.add(y * window.row_len);
                    for _ in 0..window.blocks {
                        if tile.kernel == 3 {
                            // Neighbouring pixels share two thirds of what they read.
                            let inputs = signed::<MOST_INPUTS, FULL>(input, PIXELS + 2);
                            line = add_lines::<0, PIXELS>(&mut sums, &inputs, line);
                            line = add_lines::<1, PIXELS>(&mut sums, &inputs, line);
                            line = add_lines::<2, PIXELS>(&mut sums, &inputs, line);
                        } else {
                            let inputs = signed::<MOST_INPUTS, FULL>(input, PIXELS);
                            line = add_lines::<0, PIXELS>(&mut sums, &inputs, line);
                        }
                        input = input.add(window.block_len);
                    }
                }
            }
            for (pixel, sums) in sums.iter().enumerate() {
                store(tile, group, pixel, *sums);
            }
        }
    }
}

/// Adds the products of a block of inputs at one place of the kernel: the inputs of the first pixel
/// are those of number `FROM`. Returns the next line.
///
/// # Safety
/// The processor has the instructions, `line` is good for the lines of a block of inputs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add_lines<const FROM: usize, const PIXELS: usize>(
    sums: &mut [[int32x4_t; OUTPUTS / 4]; PIXELS],
    inputs: &[int8x16_t; MOST_INPUTS],
    line: *const Line,
) -> *const Line {
    let inputs: [int8x16_t; PIXELS] = std::array::from_fn(|pixel| inputs[FROM + pixel]);
    // SAFETY: the caller's; a line holds two fours of inputs, a block of inputs has two lines.
    unsafe {
        let weights = line.cast::<i8>();
        add_four::<0, PIXELS>(sums, &inputs, weights);
        add_four::<1, PIXELS>(sums, &inputs, weights.add(32));
        add_four::<2, PIXELS>(sums, &inputs, weights.add(64));
        add_four::<3, PIXELS>(sums, &inputs, weights.add(96));
        line.add(BLOCK / DEPTH)
    }
}

/// Adds the products of the inputs `FOUR`, counted in fours.
///
/// # Safety
/// The processor has the instructions, `weights` is good for four weights of each output.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add_four<const FOUR: usize, const PIXELS: usize>(
    sums: &mut [[int32x4_t; OUTPUTS / 4]; PIXELS],
    inputs: &[int8x16_t; PIXELS],
    weights: *const i8,
) {
    // SAFETY: the caller's.
    let weights = unsafe { [vld1q_s8(weights), vld1q_s8(weights.add(16))] };
    for (sums, inputs) in sums.iter_mut().zip(inputs) {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            *sums = dot::<FOUR>(*sums, weights, *inputs);
        }
    }
}

/// Adds to each of four sums the products of its four weights with the inputs `FOUR`.
///
/// Written as the instruction itself: the standard library's function for it is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const FOUR: usize>(mut sums: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    // SAFETY: the processor has the instruction, which touches these registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {inputs:v}.4b[{FOUR}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            inputs = in(vreg) inputs,
            FOUR = const FOUR,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
