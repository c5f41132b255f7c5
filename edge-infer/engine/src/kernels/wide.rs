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
    /// `self * factor + addend`, rounded once where the form can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Zero in place of what is not above zero.
    unsafe fn relu(self) -> Self;
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
    unsafe fn relu(self) -> Self {
        self.zip(self, |value, _| if value > 0.0 { value } else { 0.0 })
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
            let zero = _mm256_setzero_ps();
            Self(_mm256_max_ps(self.0, zero), _mm256_max_ps(self.1, zero))
        }
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
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the trait's.
        unsafe { _mm512_max_ps(self, _mm512_setzero_ps()) }
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
        Self([vdupq_n_f32(value); 4])
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
        Self([0, 1, 2, 3].map(|at| vaddq_f32(a[at], b[at])))
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([0, 1, 2, 3].map(|at| vsubq_f32(a[at], b[at])))
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let (a, b, c) = (self.0, factor.0, addend.0);
        Self([0, 1, 2, 3].map(|at| vfmaq_f32(c[at], a[at], b[at])))
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // Of a number and of what is none, the number.
        Self(self.0.map(|value| vmaxnmq_f32(value, vdupq_n_f32(0.0))))
    }
}
