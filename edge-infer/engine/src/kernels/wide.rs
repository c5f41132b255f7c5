//! Sixteen numbers in f32 at once, in the registers of each form.
#![allow(unsafe_code)]

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
            *value = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
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
