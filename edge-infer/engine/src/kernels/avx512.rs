//! The convolution of integers with AVX-512 VNNI: one instruction multiplies and adds four bytes of
//! 16 output channels.
//!
//! A register tile is up to twelve neighbouring pixels of up to two blocks of outputs. Each line of
//! weights is loaded once a tile, each four bytes of input are spread over a register.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::integer::{DEPTH, IntegerConv, Line};
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
    for_each_tile(conv, sources, first_row, layout, output, [12, 8, 4, 1], 2, |tile| {
        // SAFETY: `Form::available` offers this form only where the processor has these
        // instructions, and a tile's pointers are good for what its docstring says.
        unsafe {
            match (tile.pixels, tile.blocks) {
                (12, 2) => compute::<12, 2>(tile),
                (12, _) => compute::<12, 1>(tile),
                (8, 2) => compute::<8, 2>(tile),
                (8, _) => compute::<8, 1>(tile),
                _ => compute_rest(tile),
            }
        }
    });
}

/// Computes a tile of four pixels or one.
///
/// # Safety
/// The processor has the instructions, and `tile` is as its docstring says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn compute_rest(tile: &Tile<'_>) {
    // SAFETY: passed on from the caller.
    unsafe {
        match (tile.pixels, tile.blocks) {
            (4, 2) => compute::<4, 2>(tile),
            (4, _) => compute::<4, 1>(tile),
            (_, 2) => compute::<1, 2>(tile),
            (_, _) => compute::<1, 1>(tile),
        }
    }
}

/// Computes `PIXELS` pixels of `BLOCKS` blocks.
///
/// # Safety
/// The processor has the instructions, and `tile` is as its docstring says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn compute<const PIXELS: usize, const BLOCKS: usize>(tile: &Tile<'_>) {
    // SAFETY: every pointer stays inside what the tile promises: inputs at rows and columns of the
    // kernel round the tile's pixels, lines of the tile's blocks, outputs of its pixels.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); BLOCKS]; PIXELS];
        for block in 0..BLOCKS {
            let bias = _mm512_loadu_si512(tile.bias.add(block * BLOCK).cast());
            for sums in &mut sums {
                sums[block] = bias;
            }
        }
        let mut line = tile.lines;
        for window in tile.windows() {
            for y in 0..tile.kernel {
                let mut input = window.start.add(y * window.row_len);
                for _ in 0..window.blocks {
                    for x in 0..tile.kernel {
                        step::<PIXELS, BLOCKS>(
                            &mut sums,
                            input.add(x * BLOCK),
                            line,
                            tile.lines_per_block,
                        );
                        line = line.add(BLOCK / DEPTH);
                    }
                    input = input.add(window.block_len);
                }
            }
        }
        let top = _mm512_set1_ps(f32::from(tile.top));
        for block in 0..BLOCKS {
            let multiplier = _mm512_loadu_ps(tile.multiplier.add(block * BLOCK));
            let output = tile.output.add(block * tile.output_block_len);
            for (pixel, sums) in sums.iter().enumerate() {
                let bytes = requantised(sums[block], multiplier, top);
                _mm_storeu_si128(output.add(pixel * BLOCK).cast(), bytes);
            }
        }
    }
}

/// The outputs of one pixel of a block from their sums; see [`super::integer::requantise`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn requantised(sums: __m512i, multiplier: __m512, top: __m512) -> __m128i {
    let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier);
    let value = _mm512_min_ps(_mm512_max_ps(value, _mm512_setzero_ps()), top);
    _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value))
}

/// Adds the products of one block of 16 inputs at one place of the kernel.
///
/// # Safety
/// As [`compute`]: `input` is good for `PIXELS` pixels, `line` for four lines of each block.
#[inline(always)]
unsafe fn step<const PIXELS: usize, const BLOCKS: usize>(
    sums: &mut [[__m512i; BLOCKS]; PIXELS],
    input: *const u8,
    line: *const Line,
    lines_per_block: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        for four in 0..BLOCK / DEPTH {
            let weights: [__m512i; BLOCKS] = std::array::from_fn(|block| {
                _mm512_load_si512(line.add(block * lines_per_block + four).cast())
            });
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let inputs = input.add(pixel * BLOCK + four * DEPTH).cast::<i32>();
                let inputs = _mm512_set1_epi32(inputs.read_unaligned());
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, inputs, weights);
                }
            }
        }
    }
}
