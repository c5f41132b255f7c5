//! The convolution of integers with AVX2.
//!
//! Inputs up to 127 are multiplied as bytes: a sum of two products stays within 16 bits. Inputs up
//! to 255 would overflow there and are widened to 16 bits first.
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
    if conv.full_inputs {
        for_each_tile(conv, sources, first_row, layout, output, [3, 2, 1, 1], 1, |tile| {
            // SAFETY: `Form::available` offers this form only where the processor has these
            // instructions, and a tile's pointers are good for what its docstring says.
            unsafe {
                match tile.pixels {
                    3 => compute::<Words, 3>(tile),
                    2 => compute::<Words, 2>(tile),
                    _ => compute::<Words, 1>(tile),
                }
            }
        });
    } else {
        for_each_tile(conv, sources, first_row, layout, output, [6, 4, 2, 1], 1, |tile| {
            // SAFETY: as above.
            unsafe {
                match tile.pixels {
                    6 => compute::<Bytes, 6>(tile),
                    4 => compute::<Bytes, 4>(tile),
                    2 => compute::<Bytes, 2>(tile),
                    _ => compute::<Bytes, 1>(tile),
                }
            }
        });
    }
}

/// A way of multiplying four bytes of input with a line of weights.
///
/// # Safety
/// All functions: the processor has AVX2; `line` is good for one line, `input` for four bytes.
trait Products {
    /// Running sums of 16 outputs.
    type Sums: Copy;
    /// Nothing summed.
    unsafe fn zero() -> Self::Sums;
    /// A line, ready for use.
    type Weights: Copy;
    /// Loads a line.
    unsafe fn load(line: *const Line) -> Self::Weights;
    /// Adds the products of four bytes.
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, input: *const u8) -> Self::Sums;
    /// The sums of outputs 0 to 7 and of 8 to 15.
    unsafe fn finish(sums: Self::Sums) -> [__m256i; 2];
}

/// Inputs up to 127.
struct Bytes;

impl Products for Bytes {
    type Sums = [__m256i; 2];
    type Weights = [__m256i; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: the trait's.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn load(line: *const Line) -> Self::Weights {
        // SAFETY: the trait's; a line is aligned to 64 bytes.
        unsafe {
            [_mm256_load_si256(line.cast()), _mm256_load_si256(line.cast::<__m256i>().add(1))]
        }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, input: *const u8) -> Self::Sums {
        // SAFETY: the trait's.
        unsafe {
            let inputs = _mm256_set1_epi32(input.cast::<i32>().read_unaligned());
            let ones = _mm256_set1_epi16(1);
            std::array::from_fn(|half| {
                let pairs = _mm256_maddubs_epi16(inputs, weights[half]);
                _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs, ones))
            })
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: Self::Sums) -> [__m256i; 2] {
        sums
    }
}

/// Inputs up to 255. Each register holds four outputs with two sums each: of inputs 0 and 1, of
/// inputs 2 and 3.
struct Words;

impl Products for Words {
    type Sums = [__m256i; 4];
    type Weights = [__m256i; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: the trait's.
        unsafe { [_mm256_setzero_si256(); 4] }
    }

    #[inline(always)]
    unsafe fn load(line: *const Line) -> Self::Weights {
        // SAFETY: the trait's; a line is aligned to 64 bytes.
        unsafe {
            std::array::from_fn(|quarter| {
                _mm256_cvtepi8_epi16(_mm_load_si128(line.cast::<__m128i>().add(quarter)))
            })
        }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, input: *const u8) -> Self::Sums {
        // SAFETY: the trait's.
        unsafe {
            let inputs = _mm_set1_epi32(input.cast::<i32>().read_unaligned());
            let inputs = _mm256_cvtepu8_epi16(inputs);
            std::array::from_fn(|quarter| {
                _mm256_add_epi32(sums[quarter], _mm256_madd_epi16(inputs, weights[quarter]))
            })
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: Self::Sums) -> [__m256i; 2] {
        // SAFETY: the trait's.
        unsafe {
            // Adding neighbours within halves of a register leaves outputs 0 1 4 5 2 3 6 7.
            let join = |a, b| _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0b11_01_10_00);
            [join(sums[0], sums[1]), join(sums[2], sums[3])]
        }
    }
}

/// Computes `PIXELS` pixels of one block.
///
/// # Safety
/// The processor has the instructions, and `tile` is as its docstring says.
#[target_feature(enable = "avx2,fma")]
unsafe fn compute<P: Products, const PIXELS: usize>(tile: &Tile<'_>) {
    // SAFETY: every pointer stays inside what the tile promises: inputs at rows and columns of the
    // kernel round the tile's pixels, lines of the tile's block, outputs of its pixels.
    unsafe {
        let mut sums = [P::zero(); PIXELS];
        let mut line = tile.lines;
        for window in tile.windows() {
            for y in 0..tile.kernel {
                let mut input = window.start.add(y * window.row_len);
                for _ in 0..window.blocks {
                    for x in 0..tile.kernel {
                        for four in 0..BLOCK / DEPTH {
                            let weights = P::load(line);
                            for (pixel, sums) in sums.iter_mut().enumerate() {
                                let at = (x + pixel) * BLOCK + four * DEPTH;
                                *sums = P::add(*sums, weights, input.add(at));
                            }
                            line = line.add(1);
                        }
                    }
                    input = input.add(window.block_len);
                }
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            let bytes = requantise(P::finish(*sums), tile);
            _mm_storeu_si128(tile.output.add(pixel * BLOCK).cast(), bytes);
        }
    }
}

/// Sixteen outputs from their sums.
///
/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn requantise(sums: [__m256i; 2], tile: &Tile<'_>) -> __m128i {
    // SAFETY: bias and multiplier are good for the block's 16 channels.
    unsafe {
        let top = _mm256_set1_ps(f32::from(tile.top));
        let half = |half: usize| {
            let bias = _mm256_loadu_si256(tile.bias.add(half * 8).cast());
            let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(sums[half], bias));
            let value = _mm256_mul_ps(sum, _mm256_loadu_ps(tile.multiplier.add(half * 8)));
            let value = _mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), top);
            _mm256_cvtps_epi32(value)
        };
        // Packing works within halves of a register: put the quarters back in order.
        let words = _mm256_packs_epi32(half(0), half(1));
        let words = _mm256_permute4x64_epi64(words, 0b11_01_10_00);
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1))
    }
}
