//! The two inner loops of the 3x3 convolution, in the widest vectors the processor has.
//!
//! Both loops work on planes laid out as one line with zero padding in between (see
//! `conv_kernel`), so that a tap of the 3x3 window is nothing but an offset into the line.

// Vector loads and stores take raw pointers. Every public function checks its slices against the
// largest index its loops touch before it hands out a pointer.
#![allow(unsafe_code)]

/// The nine taps of the window as offsets into a padded line, row by row.
pub(super) type Taps = [usize; 9];

/// Positions are handled in whole vectors: line lengths must be a multiple of this.
pub(super) const LINE: usize = 16;

/// The instruction set used, found at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// The best set this processor has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            // VL and DQ let the compiler use all 32 registers in the sums across lanes, too.
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// Output channels computed together by [`accumulate`]; weights are packed in such groups.
    pub(super) fn channel_block(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 8,
            _ => 4,
        }
    }
}

/// Adds the 3x3 correlation of `channels` input lines to a block of output lines.
///
/// `sums` holds [`Level::channel_block`] lines of `length` positions; `weights` is
/// `[channel][tap][channel_block]`; input channel `c` starts at `input[c * plane]`, and position
/// `p` of tap `t` reads `input[c * plane + p + taps[t]]`. Every sum is taken channel by channel,
/// tap by tap, whatever the vector width.
pub(super) fn accumulate(
    level: Level,
    sums: &mut [f32],
    length: usize,
    weights: &[f32],
    input: &[f32],
    plane: usize,
    taps: &Taps,
) {
    let block = level.channel_block();
    let channels = weights.len() / (9 * block);
    let reach = taps.iter().copied().max().unwrap_or(0) + length;
    assert!(length.is_multiple_of(LINE) && sums.len() >= block * length);
    assert!(channels == 0 || input.len() >= (channels - 1) * plane + reach);
    let (s, w, x) = (sums.as_mut_ptr(), weights.as_ptr(), input.as_ptr());
    // SAFETY: the instruction set was detected, and the assertions above bound every access.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::accumulate_avx512(s, length, w, channels, x, plane, taps),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::accumulate_avx2(s, length, w, channels, x, plane, taps),
            Level::Portable => {
                accumulate_lines::<Portable, 4>(s, length, w, channels, x, plane, taps)
            }
        }
    }
}

/// Adds, for each of `rows` gradient lines and each tap, its dot product with the input line moved
/// by the tap: `sums[row * stride + tap] += sum over p of gradient[row * length + p] * input[p + taps[tap]]`.
pub(super) fn correlate(
    level: Level,
    sums: &mut [f32],
    stride: usize,
    gradient: &[f32],
    length: usize,
    input: &[f32],
    taps: &Taps,
) {
    let rows = gradient.len() / length;
    let reach = taps.iter().copied().max().unwrap_or(0) + length;
    assert!(length.is_multiple_of(LINE) && input.len() >= reach && stride >= 9);
    assert!(rows == 0 || sums.len() >= (rows - 1) * stride + 9);
    let (s, g, x) = (sums.as_mut_ptr(), gradient.as_ptr(), input.as_ptr());
    // SAFETY: the instruction set was detected, and the assertions above bound every access.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::correlate_avx512(s, stride, g, rows, length, x, taps),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::correlate_avx2(s, stride, g, rows, length, x, taps),
            Level::Portable => {
                correlate_lines::<Portable, 4, 3>(s, stride, g, rows, length, x, taps)
            }
        }
    }
}

/// A vector register of `f32`. The methods are only called where the instruction set is known to
/// be there.
trait Lanes: Copy {
    const COUNT: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + term`.
    unsafe fn multiply_add(self, factor: Self, term: Self) -> Self;
    unsafe fn sum(self) -> f32;
}

/// Eight lanes in plain Rust, which the compiler maps to what the target has.
#[derive(Clone, Copy)]
struct Portable([f32; 8]);

impl Lanes for Portable {
    const COUNT: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight readable elements.
        Portable(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight writable elements.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, term: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] * factor.0[i] + term.0[i]))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let v = self.0;
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}

#[inline(always)]
unsafe fn accumulate_lines<S: Lanes, const BLOCK: usize>(
    sums: *mut f32,
    length: usize,
    weights: *const f32,
    channels: usize,
    input: *const f32,
    plane: usize,
    taps: &Taps,
) {
    let mut p = 0;
    // SAFETY: positions stay below `length`, which the caller checked against all three slices.
    unsafe {
        while p + 3 * S::COUNT <= length {
            let (s, x) = (sums.add(p), input.add(p));
            accumulate_block::<S, BLOCK, 3>(s, length, weights, channels, x, plane, taps);
            p += 3 * S::COUNT;
        }
        while p < length {
            let (s, x) = (sums.add(p), input.add(p));
            if p + 2 * S::COUNT <= length {
                accumulate_block::<S, BLOCK, 2>(s, length, weights, channels, x, plane, taps);
                p += 2 * S::COUNT;
            } else {
                accumulate_block::<S, BLOCK, 1>(s, length, weights, channels, x, plane, taps);
                p += S::COUNT;
            }
        }
    }
}

/// `BLOCK` channels by `VECTORS` vectors of positions are kept in registers through all inputs.
#[inline(always)]
unsafe fn accumulate_block<S: Lanes, const BLOCK: usize, const VECTORS: usize>(
    sums: *mut f32,
    length: usize,
    mut weights: *const f32,
    channels: usize,
    mut input: *const f32,
    plane: usize,
    taps: &Taps,
) {
    // SAFETY: as in `accumulate_lines`.
    unsafe {
        let mut held = [[S::splat(0.0); VECTORS]; BLOCK];
        for (o, row) in held.iter_mut().enumerate() {
            for (v, lanes) in row.iter_mut().enumerate() {
                *lanes = S::load(sums.add(o * length + v * S::COUNT));
            }
        }
        for _ in 0..channels {
            for &tap in taps {
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
            input = input.add(plane);
        }
        for (o, row) in held.iter().enumerate() {
            for (v, lanes) in row.iter().enumerate() {
                lanes.store(sums.add(o * length + v * S::COUNT));
            }
        }
    }
}

#[inline(always)]
unsafe fn correlate_lines<S: Lanes, const ROWS: usize, const TAPS: usize>(
    sums: *mut f32,
    stride: usize,
    gradient: *const f32,
    rows: usize,
    length: usize,
    input: *const f32,
    taps: &Taps,
) {
    // SAFETY: rows and taps stay below what the caller checked.
    unsafe {
        for first in (0..9).step_by(TAPS) {
            // As an array, so that the loop over it is unrolled and its sums stay in registers.
            let taps: [usize; TAPS] = std::array::from_fn(|t| taps[first + t]);
            let mut row = 0;
            while row + ROWS <= rows {
                let (s, g) = (sums.add(row * stride + first), gradient.add(row * length));
                correlate_block::<S, ROWS, TAPS>(s, stride, g, length, input, &taps);
                row += ROWS;
            }
            while row < rows {
                let (s, g) = (sums.add(row * stride + first), gradient.add(row * length));
                correlate_block::<S, 1, TAPS>(s, stride, g, length, input, &taps);
                row += 1;
            }
        }
    }
}

/// `ROWS` gradient lines by `TAPS` taps of vector sums are kept in registers along the line.
#[inline(always)]
unsafe fn correlate_block<S: Lanes, const ROWS: usize, const TAPS: usize>(
    sums: *mut f32,
    stride: usize,
    gradient: *const f32,
    length: usize,
    input: *const f32,
    taps: &[usize; TAPS],
) {
    // SAFETY: as in `correlate_lines`; `length` is a multiple of the lane count.
    unsafe {
        let mut held = [[S::splat(0.0); TAPS]; ROWS];
        let mut p = 0;
        while p < length {
            let mut g = [S::splat(0.0); ROWS];
            for (r, lanes) in g.iter_mut().enumerate() {
                *lanes = S::load(gradient.add(r * length + p));
            }
            for (t, &tap) in taps.iter().enumerate() {
                let x = S::load(input.add(p + tap));
                for (row, g) in held.iter_mut().zip(g) {
                    row[t] = g.multiply_add(x, row[t]);
                }
            }
            p += S::COUNT;
        }
        for (r, row) in held.iter().enumerate() {
            for (t, lanes) in row.iter().enumerate() {
                *sums.add(r * stride + t) += lanes.sum();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The same loops compiled for AVX2 and AVX-512. The generic functions are inlined here, so
    //! that their vector calls become single instructions.

    use super::{Lanes, Taps, accumulate_lines, correlate_lines};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    struct Avx512(__m512);

    // SAFETY (all methods): called only from functions compiled for AVX-512, with pointers that
    // those functions' callers checked.
    impl Lanes for Avx512 {
        const COUNT: usize = 16;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Avx512(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Avx512(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, term: Self) -> Self {
            Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }

    #[derive(Clone, Copy)]
    struct Avx2(__m256);

    // SAFETY (all methods): called only from functions compiled for AVX2 and FMA, with pointers
    // that those functions' callers checked.
    impl Lanes for Avx2 {
        const COUNT: usize = 8;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Avx2(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Avx2(unsafe { _mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, term: Self) -> Self {
            Avx2(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let half =
                    _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
                _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) unsafe fn accumulate_avx512(
        sums: *mut f32,
        length: usize,
        weights: *const f32,
        channels: usize,
        input: *const f32,
        plane: usize,
        taps: &Taps,
    ) {
        // SAFETY: the caller's.
        unsafe {
            accumulate_lines::<Avx512, 8>(sums, length, weights, channels, input, plane, taps)
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn accumulate_avx2(
        sums: *mut f32,
        length: usize,
        weights: *const f32,
        channels: usize,
        input: *const f32,
        plane: usize,
        taps: &Taps,
    ) {
        // SAFETY: the caller's.
        unsafe { accumulate_lines::<Avx2, 4>(sums, length, weights, channels, input, plane, taps) }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) unsafe fn correlate_avx512(
        sums: *mut f32,
        stride: usize,
        gradient: *const f32,
        rows: usize,
        length: usize,
        input: *const f32,
        taps: &Taps,
    ) {
        // SAFETY: the caller's.
        unsafe {
            correlate_lines::<Avx512, 3, 9>(sums, stride, gradient, rows, length, input, taps)
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn correlate_avx2(
        sums: *mut f32,
        stride: usize,
        gradient: *const f32,
        rows: usize,
        length: usize,
        input: *const f32,
        taps: &Taps,
    ) {
        // SAFETY: the caller's.
        unsafe { correlate_lines::<Avx2, 4, 3>(sums, stride, gradient, rows, length, input, taps) }
    }
}
