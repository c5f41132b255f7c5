//! The convolution of integers on 64-bit ARM without dot products of bytes (Cortex-A53, A72): two
//! products meet in 16 bits, two such sums in 32 bits.
//!
//! Inputs are multiplied as signed bytes: those that may be above 127 are read 128 less, which the
//! bias makes up for. Two products of a weight within ±127 and a signed byte are within ±32512, so
//! that nothing saturates and all sums are exact.
//!
//! A register tile is up to four neighbouring pixels of the outputs of one line of weights.
#![allow(unsafe_code)]

use std::arch::{aarch64::*, asm};

use super::integer::{DEPTH, IntegerConv, Line, OUTPUTS};
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
    let sizes = [4, 2, 1, 1];
    for_each_tile(conv, sources, first_row, layout, output, sizes, 1, |tile| {
        // SAFETY: every 64-bit ARM processor has NEON, and a tile's pointers are good for what its
        // docstring says.
        unsafe {
            match (tile.pixels, conv.full_inputs) {
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

/// Computes `PIXELS` pixels of one block.
///
/// # Safety
/// `tile` is as its docstring says.
#[target_feature(enable = "neon")]
unsafe fn compute<const PIXELS: usize, const FULL: bool>(tile: &Tile<'_>) {
    // SAFETY: every pointer stays inside what the tile promises: inputs at rows and columns of the
    // kernel round the tile's pixels, lines of the tile's block, outputs of its pixels.
    unsafe {
        let mut line = tile.lines;
        for group in 0..BLOCK / OUTPUTS {
            // Two sums for each output: of its inputs 0 and 1, and of its inputs 2 and 3.
            let mut sums = [[vdupq_n_s32(0); OUTPUTS / 2]; PIXELS];
            for window in tile.windows() {
                for y in 0..tile.kernel {
                    let mut input = window.start.add(y * window.row_len);
                    for _ in 0..window.blocks {
                        for x in 0..tile.kernel {
                            let inputs: [_; PIXELS] =
                                signed::<PIXELS, FULL>(input.add(x * BLOCK), PIXELS);
                            add_line::<0, 1, PIXELS>(&mut sums, &inputs, line);
                            add_line::<2, 3, PIXELS>(&mut sums, &inputs, line.add(1));
                            line = line.add(BLOCK / DEPTH);
                        }
                        input = input.add(window.block_len);
                    }
                }
            }
            let bias = tile.bias.add(group * OUTPUTS);
            for (pixel, sums) in sums.iter().enumerate() {
                let low = vaddq_s32(vpaddq_s32(sums[0], sums[1]), vld1q_s32(bias));
                let high = vaddq_s32(vpaddq_s32(sums[2], sums[3]), vld1q_s32(bias.add(4)));
                store(tile, group, pixel, [low, high]);
            }
        }
    }
}

/// The 16 inputs of each of the first `count` pixels from `input` on, as signed bytes: 128 less
/// where they are `FULL`, which is from 0 to 255.
///
/// # Safety
/// `input` is good for `count` pixels of a block.
#[inline(always)]
pub unsafe fn signed<const MOST: usize, const FULL: bool>(
    input: *const u8,
    count: usize,
) -> [int8x16_t; MOST] {
    // SAFETY: the caller's; NEON is always there.
    unsafe {
        let mut inputs = [vdupq_n_s8(0); MOST];
        for (pixel, inputs) in inputs.iter_mut().take(count).enumerate() {
            let bytes = vld1q_u8(input.add(pixel * BLOCK));
            let bytes = if FULL { veorq_u8(bytes, vdupq_n_u8(128)) } else { bytes };
            *inputs = vreinterpretq_s8_u8(bytes);
        }
        inputs
    }
}

/// Adds the products of a line with the inputs `FIRST` and `SECOND` of each pixel, counted in fours.
///
/// # Safety
/// `line` is good for one line.
#[inline(always)]
unsafe fn add_line<const FIRST: usize, const SECOND: usize, const PIXELS: usize>(
    sums: &mut [[int32x4_t; OUTPUTS / 2]; PIXELS],
    inputs: &[int8x16_t; PIXELS],
    line: *const Line,
) {
    // SAFETY: the caller's; NEON is always there, and the instructions touch registers alone.
    unsafe {
        let line = line.cast::<i8>();
        // Each register holds four outputs.
        let first = [vld1q_s8(line), vld1q_s8(line.add(16))];
        let second = [vld1q_s8(line.add(32)), vld1q_s8(line.add(48))];
        for ([s0, s1, s2, s3], inputs) in sums.iter_mut().zip(inputs) {
            // Left to itself the compiler mixes the pixels, runs out of registers and moves sums to
            // memory and back.
            asm!(
                "dup {a:v}.4s, {inputs:v}.s[{FIRST}]",
                "dup {b:v}.4s, {inputs:v}.s[{SECOND}]",
                "smull {t0:v}.8h, {first0:v}.8b, {a:v}.8b",
                "smull2 {t1:v}.8h, {first0:v}.16b, {a:v}.16b",
                "smlal {t0:v}.8h, {second0:v}.8b, {b:v}.8b",
                "smlal2 {t1:v}.8h, {second0:v}.16b, {b:v}.16b",
                "sadalp {s0:v}.4s, {t0:v}.8h",
                "sadalp {s1:v}.4s, {t1:v}.8h",
                "smull {t0:v}.8h, {first1:v}.8b, {a:v}.8b",
                "smull2 {t1:v}.8h, {first1:v}.16b, {a:v}.16b",
                "smlal {t0:v}.8h, {second1:v}.8b, {b:v}.8b",
                "smlal2 {t1:v}.8h, {second1:v}.16b, {b:v}.16b",
                "sadalp {s2:v}.4s, {t0:v}.8h",
                "sadalp {s3:v}.4s, {t1:v}.8h",
                FIRST = const FIRST,
                SECOND = const SECOND,
                inputs = in(vreg) *inputs,
                first0 = in(vreg) first[0],
                first1 = in(vreg) first[1],
                second0 = in(vreg) second[0],
                second1 = in(vreg) second[1],
                s0 = inout(vreg) *s0,
                s1 = inout(vreg) *s1,
                s2 = inout(vreg) *s2,
                s3 = inout(vreg) *s3,
                a = out(vreg) _,
                b = out(vreg) _,
                t0 = out(vreg) _,
                t1 = out(vreg) _,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
}

/// Stores the outputs of one pixel from their sums: those of the block's line of number `group`.
///
/// # Safety
/// The tile is as its docstring says and has this pixel.
#[inline(always)]
pub unsafe fn store(tile: &Tile<'_>, group: usize, pixel: usize, sums: [int32x4_t; 2]) {
    // SAFETY: multiplier and output are good for the block's 16 channels; NEON is always there.
    unsafe {
        let words = |four: usize| {
            let multiplier = vld1q_f32(tile.multiplier.add(group * OUTPUTS + four * 4));
            // Rounded half to even; numbers that do not fit become the nearest that does, here and
            // where they are narrowed.
            vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[four]), multiplier)))
        };
        let bytes = vqmovun_s16(vcombine_s16(words(0), words(1)));
        let bytes = vmin_u8(bytes, vdup_n_u8(tile.top));
        vst1_u8(tile.output.add(pixel * BLOCK + group * OUTPUTS), bytes);
    }
}
