//! Sixteen numbers in f32 at once, in the registers of each form.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::layout::BLOCK;

/// Sixteen numbers in memory that never straddle two lines of a cache.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [f32; BLOCK]);

impl Line {
    /// Sixteen zeros.
    pub const ZERO: Line = Line([0.0; BLOCK]);
}

/// Sixteen numbers that are computed with.
///
/// # Safety
/// All functions: the processor has the instructions of the form.
pub trait Wide: Copy {
    /// The same number sixteen times.
    unsafe fn splat(value: f32) -> Self;
    /// From memory.
    unsafe fn load(from: &[f32; BLOCK]) -> Self;
    /// To memory.
    unsafe fn store(self, to: &mut [f32; BLOCK]);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once where the form can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self * factor + addend`, rounded once in every form.
    unsafe fn fused_mul_add(self, factor: Self, addend: Self) -> Self;
    /// Zero in place of what is not above zero.
    unsafe fn relu(self) -> Self;
    /// The sum of all: halves are added until one number is left.
    unsafe fn fold(self) -> f32;
    /// From bytes in memory.
    unsafe fn load_bytes(from: &[u8; BLOCK]) -> Self;
    /// To bytes in memory: clamped to 0 to `top`, at most 255, and rounded half to even.
    unsafe fn store_bytes(self, top: f32, to: &mut [u8; BLOCK]);
}

/// Plain Rust, in loops that a compiler turns into vectors.
#[derive(Clone, Copy)]
pub struct Plain([f32; BLOCK]);

impl Plain {
    #[inline(always)]
    fn zip(mut self, other: Self, with: impl Fn(f32, f32) -> f32) -> Self {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            *value = with(*value, other);
        }
        self
    }
}

impl Wide for Plain {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; BLOCK])
    }

    #[inline(always)]
    unsafe fn load(from: &[f32; BLOCK]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; BLOCK]) {
        *to = self.0;
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut result = self;
        for ((value, factor), addend) in result.0.iter_mut().zip(factor.0).zip(addend.0) {
            // Without an instruction for it, one rounding would be a call of a function.
            *value = if cfg!(target_feature = "fma") {
                value.mul_add(factor, addend)
            } else {
                *value * factor + addend
            };
        }
        result
    }

    #[inline(always)]
    unsafe fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].mul_add(factor.0[at], addend.0[at])))
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        self.zip(self, |value, _| if value > 0.0 { value } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        let mut lanes = self.0;
        let mut half = BLOCK / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    #[inline(always)]
    unsafe fn load_bytes(from: &[u8; BLOCK]) -> Self {
        Self(from.map(f32::from))
    }

    #[inline(always)]
    unsafe fn store_bytes(self, top: f32, to: &mut [u8; BLOCK]) {
        for (to, value) in to.iter_mut().zip(self.0) {
            let value = if value > 0.0 { value } else { 0.0 };
            let value = if value < top { value } else { top };
            // Adding 1.5 * 2^23 leaves no bits for fractions: the sum is rounded half to even, and
            // its lowest bits are the integer.
            *to = (value + 12_582_912.0).to_bits() as u8;
        }
    }
}

/// AVX2 and FMA: the first eight and the last eight.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Pair(__m256, __m256);

#[cfg(target_arch = "x86_64")]
impl Wide for Pair {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's.
        let value = unsafe { _mm256_set1_ps(value) };
        Self(value, value)
    }

    #[inline(always)]
    unsafe fn load(from: &[f32; BLOCK]) -> Self {
        // SAFETY: the trait's; eight numbers from the first and from the ninth of sixteen.
        unsafe { Self(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; BLOCK]) {
        // SAFETY: the trait's; eight numbers from the first and from the ninth of sixteen.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe {
            Self(
                _mm256_fmadd_ps(self.0, factor.0, addend.0),
                _mm256_fmadd_ps(self.1, factor.1, addend.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the trait's.
        unsafe {
            // Of zero and of what is none, zero: the second.
            let zero = _mm256_setzero_ps();
            Self(_mm256_max_ps(self.0, zero), _mm256_max_ps(self.1, zero))
        }
    }

    #[inline(always)]
    unsafe fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { self.mul_add(factor, addend) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        // SAFETY: the trait's.
        unsafe { fold_eight(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: &[u8; BLOCK]) -> Self {
        // SAFETY: the trait's; sixteen bytes.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let behind = _mm_unpackhi_epi64(bytes, bytes);
            Self(
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(behind)),
            )
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, top: f32, to: &mut [u8; BLOCK]) {
        // SAFETY: the trait's; sixteen bytes.
        unsafe {
            let (Self(first, last), top) = (self.relu(), _mm256_set1_ps(top));
            let first = _mm256_cvtps_epi32(_mm256_min_ps(first, top));
            let last = _mm256_cvtps_epi32(_mm256_min_ps(last, top));
            // Packing goes by halves of registers: 0 to 3, 8 to 11, 4 to 7, 12 to 15.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, last));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        }
    }
}

/// The sum of eight: halves are added until one number is left.
///
/// # Safety
/// The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn fold_eight(eight: __m256) -> f32 {
    // SAFETY: passed on from the caller.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// AVX-512: one register.
#[cfg(target_arch = "x86_64")]
impl Wide for __m512 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: &[f32; BLOCK]) -> Self {
        // SAFETY: the trait's; sixteen numbers.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; BLOCK]) {
        // SAFETY: the trait's; sixteen numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_div_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_max_ps(self, _mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        // SAFETY: the trait's.
        unsafe {
            let behind = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self));
            fold_eight(_mm256_add_ps(_mm512_castps512_ps256(self), _mm256_castpd_ps(behind)))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: &[u8; BLOCK]) -> Self {
        // SAFETY: the trait's; sixteen bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, top: f32, to: &mut [u8; BLOCK]) {
        // SAFETY: the trait's; sixteen bytes.
        unsafe {
            let clamped = _mm512_min_ps(self.relu(), _mm512_set1_ps(top));
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }
}

/// 64-bit ARM: four registers.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub struct Quad([float32x4_t; 4]);

#[cfg(target_arch = "aarch64")]
impl Wide for Quad {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's.
        unsafe { Self([vdupq_n_f32(value); 4]) }
    }

    #[inline(always)]
    unsafe fn load(from: &[f32; BLOCK]) -> Self {
        let from = from.as_ptr();
        // SAFETY: four numbers from each fourth of sixteen.
        unsafe {
            Self([
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ])
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; BLOCK]) {
        for (to, value) in to.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: four numbers.
            unsafe { vst1q_f32(to.as_mut_ptr(), value) };
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        // SAFETY: the trait's.
        Self([0, 1, 2, 3].map(|at| unsafe { vaddq_f32(a[at], b[at]) }))
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        // SAFETY: the trait's.
        Self([0, 1, 2, 3].map(|at| unsafe { vsubq_f32(a[at], b[at]) }))
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        // SAFETY: the trait's.
        Self([0, 1, 2, 3].map(|at| unsafe { vmulq_f32(a[at], b[at]) }))
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        // SAFETY: the trait's.
        Self([0, 1, 2, 3].map(|at| unsafe { vdivq_f32(a[at], b[at]) }))
    }

    #[inline(always)]
    unsafe fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { self.mul_add(factor, addend) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let (a, b, c) = (self.0, factor.0, addend.0);
        // SAFETY: the trait's.
        Self([0, 1, 2, 3].map(|at| unsafe { vfmaq_f32(c[at], a[at], b[at]) }))
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // Of a number and of what is none, the number.
        // SAFETY: the trait's.
        Self(self.0.map(|value| unsafe { vmaxnmq_f32(value, vdupq_n_f32(0.0)) }))
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        let [a, b, c, d] = self.0;
        // SAFETY: the trait's.
        unsafe {
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: &[u8; BLOCK]) -> Self {
        // SAFETY: the trait's; sixteen bytes.
        unsafe {
            let bytes = vld1q_u8(from.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
            Self([
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(high))),
            ])
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, top: f32, to: &mut [u8; BLOCK]) {
        // SAFETY: the trait's; sixteen bytes.
        unsafe {
            let top = vdupq_n_f32(top);
            // To the nearest, of two the even one.
            let words = self.relu().0.map(|value| vmovn_u32(vcvtnq_u32_f32(vminq_f32(value, top))));
            let [low, high] = [vcombine_u16(words[0], words[1]), vcombine_u16(words[2], words[3])];
            vst1q_u8(to.as_mut_ptr(), vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
        }
    }
}
