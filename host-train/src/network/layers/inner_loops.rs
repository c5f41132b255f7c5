//! The two inner loops of the 3x3 convolution, on lines as `strips` lays them out.

// Registers are filled from raw pointers. Each public function checks its slices against the
// largest index its loop touches.
#![allow(unsafe_code)]

use super::simd::{LINE, Lanes, Level, Loop};

/// Taps across: a position's product reads the input at it and at the next two positions.
pub(super) const TAPS: usize = 3;

/// Output channels computed together by [`accumulate`]; weights are packed in such groups.
pub(super) fn channel_block(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 8,
        _ => 4,
    }
}

/// Gradient lines taken together by [`correlate`].
pub(super) const GRADIENT_BLOCK: usize = 8;

/// Correlates input lines with weights and sums over them, for a block of output lines.
///
/// `sums` holds [`channel_block`] lines of `length` positions, which are added to, or written where
/// `fresh`; `weights` is `[line][tap][channel_block]`; input line `c` starts at `input[c * stride]`.
/// Every sum is taken line by line, tap by tap, whatever the vector width.
pub(super) fn accumulate(
    level: Level,
    sums: &mut [f32],
    length: usize,
    fresh: bool,
    weights: &[f32],
    input: &[f32],
    stride: usize,
) {
    let block = channel_block(level);
    let lines = weights.len() / (TAPS * block);
    assert!(length.is_multiple_of(LINE) && sums.len() >= block * length);
    assert!(lines == 0 || input.len() >= (lines - 1) * stride + length + TAPS - 1);
    level.run(Accumulate {
        sums: sums.as_mut_ptr(),
        length,
        fresh,
        weights: weights.as_ptr(),
        lines,
        input: input.as_ptr(),
        stride,
    });
}

#[derive(Clone, Copy)]
struct Accumulate {
    sums: *mut f32,
    length: usize,
    fresh: bool,
    weights: *const f32,
    lines: usize,
    input: *const f32,
    stride: usize,
}

impl Loop for Accumulate {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        // SAFETY: `accumulate` has checked the slices; the block is the level's.
        unsafe { if S::MANY { self.lines::<S, 8>() } else { self.lines::<S, 4>() } }
    }
}

impl Accumulate {
    #[inline(always)]
    unsafe fn lines<S: Lanes, const BLOCK: usize>(self) {
        let mut p = 0;
        // SAFETY: positions stay below `length`, a multiple of the lanes.
        unsafe {
            while p + 3 * S::COUNT <= self.length {
                self.block::<S, BLOCK, 3>(p);
                p += 3 * S::COUNT;
            }
            if p + 2 * S::COUNT <= self.length {
                self.block::<S, BLOCK, 2>(p);
            } else if p < self.length {
                self.block::<S, BLOCK, 1>(p);
            }
        }
    }

    /// `BLOCK` channels by `VECTORS` vectors of positions from `p` on are kept in registers
    /// through all inputs.
    #[inline(always)]
    unsafe fn block<S: Lanes, const BLOCK: usize, const VECTORS: usize>(self, p: usize) {
        // SAFETY: as in `lines`.
        unsafe {
            let sums = self.sums.add(p);
            let (mut input, mut weights) = (self.input.add(p), self.weights);
            let mut held = [[S::splat(0.0); VECTORS]; BLOCK];
            if !self.fresh {
                for (o, row) in held.iter_mut().enumerate() {
                    for (v, lanes) in row.iter_mut().enumerate() {
                        *lanes = S::load(sums.add(o * self.length + v * S::COUNT));
                    }
                }
            }
            for _ in 0..self.lines {
                for tap in 0..TAPS {
                    let mut x = [S::splat(0.0); VECTORS];
                    for (v, lanes) in x.iter_mut().enumerate() {
                        *lanes = S::load(input.add(tap + v * S::COUNT));
                    }
                    for (o, row) in held.iter_mut().enumerate() {
                        let weight = S::splat(*weights.add(o));
                        for (lanes, x) in row.iter_mut().zip(x) {
                            *lanes = x.multiply_add(weight, *lanes);
                        }
                    }
                    weights = weights.add(BLOCK);
                }
                input = input.add(self.stride);
            }
            for (o, row) in held.iter().enumerate() {
                for (v, lanes) in row.iter().enumerate() {
                    lanes.store(sums.add(o * self.length + v * S::COUNT));
                }
            }
        }
    }
}

/// Where [`correlate`] puts its sums: distances between gradient lines and between input lines,
/// and whether what stands there is added to or replaced.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) of_gradient: usize,
    pub(super) of_input: usize,
    pub(super) fresh: bool,
}

/// The dot products of gradient lines with input lines moved by each tap:
/// `sums[r * of_gradient + c * of_input + tap] = sum over p of gradient[r * length + p] *
/// input[c * stride + p + tap]`.
///
/// At most [`GRADIENT_BLOCK`] gradient lines of `length` positions; as many input lines as there are
/// whole strides in `input`.
pub(super) fn correlate(
    level: Level,
    sums: &mut [f32],
    target: Target,
    gradient: &[f32],
    length: usize,
    input: &[f32],
    stride: usize,
) {
    let (rows, channels) = (gradient.len() / length, input.len() / stride);
    assert!(length.is_multiple_of(LINE) && stride >= length + TAPS - 1);
    assert!(rows <= GRADIENT_BLOCK && rows > 0 && channels > 0);
    let last = (rows - 1) * target.of_gradient + (channels - 1) * target.of_input;
    assert!(sums.len() >= last + TAPS);
    level.run(Correlate {
        sums: sums.as_mut_ptr(),
        target,
        gradient: gradient.as_ptr(),
        rows,
        length,
        input: input.as_ptr(),
        stride,
        channels,
    });
}

#[derive(Clone, Copy)]
struct Correlate {
    sums: *mut f32,
    target: Target,
    gradient: *const f32,
    rows: usize,
    length: usize,
    input: *const f32,
    stride: usize,
    channels: usize,
}

impl Loop for Correlate {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        // SAFETY: rows and channels stay below what `correlate` has checked.
        unsafe {
            for channel in 0..self.channels {
                let mut row = 0;
                if S::MANY && self.rows == 8 {
                    self.block::<S, 8>(0, channel);
                    row = 8;
                }
                while row + 4 <= self.rows {
                    self.block::<S, 4>(row, channel);
                    row += 4;
                }
                while row < self.rows {
                    self.block::<S, 1>(row, channel);
                    row += 1;
                }
            }
        }
    }
}

impl Correlate {
    /// The vector sums of `ROWS` gradient lines by three taps are kept in registers along the line.
    #[inline(always)]
    unsafe fn block<S: Lanes, const ROWS: usize>(self, row: usize, channel: usize) {
        // SAFETY: as in `run`; `length` is a multiple of the lane count.
        unsafe {
            let gradient = self.gradient.add(row * self.length);
            let input = self.input.add(channel * self.stride);
            let mut held = [[S::splat(0.0); TAPS]; ROWS];
            let mut p = 0;
            while p < self.length {
                let mut x = [S::splat(0.0); TAPS];
                for (tap, lanes) in x.iter_mut().enumerate() {
                    *lanes = S::load(input.add(p + tap));
                }
                for (r, row) in held.iter_mut().enumerate() {
                    let g = S::load(gradient.add(r * self.length + p));
                    for (lanes, x) in row.iter_mut().zip(x) {
                        *lanes = g.multiply_add(x, *lanes);
                    }
                }
                p += S::COUNT;
            }
            let sums =
                self.sums.add(row * self.target.of_gradient + channel * self.target.of_input);
            for (r, row) in held.iter().enumerate() {
                for (tap, lanes) in row.iter().enumerate() {
                    let sum = sums.add(r * self.target.of_gradient + tap);
                    *sum = lanes.sum() + if self.target.fresh { 0.0 } else { *sum };
                }
            }
        }
    }
}
