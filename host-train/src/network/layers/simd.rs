//! Vector registers of the processor at hand, and loops compiled for each kind of them.

// Vector loads and stores take raw pointers, and instructions beyond the baseline must be known to
// be there.
#![allow(unsafe_code)]

/// Vectors never have more lanes than this; lines of a multiple of it have no remainder.
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
    /// The sets this processor has, best first.
    pub(super) fn supported() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = {
            // VL and DQ let the compiler use all 32 registers in the sums across lanes, too.
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            [avx512.then_some(Level::Avx512), avx2.then_some(Level::Avx2)]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None; 0];
        wide.into_iter().flatten().chain([Level::Portable])
    }

    /// The best set this processor has.
    pub(super) fn detect() -> Self {
        Self::supported().next().unwrap_or(Level::Portable)
    }

    /// Runs the loop with this set's registers.
    pub(super) fn run(self, task: impl Loop) {
        // SAFETY: a level other than `Portable` exists only where its instructions were detected.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => x86::with_avx512(task),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => x86::with_avx2(task),
                Level::Portable => task.run::<Portable>(),
            }
        }
    }
}

/// A loop written once for any register. `run` must be `#[inline(always)]`, and so must all that
/// it calls: only then is it compiled with the instructions of its caller.
pub(super) trait Loop {
    /// # Safety
    /// The instructions of `S` must be there.
    unsafe fn run<S: Lanes>(self);
}

/// A vector register of `f32`. The methods are only called where the instruction set is known to
/// be there.
pub(super) trait Lanes: Copy {
    /// Lanes of a register; a divisor of [`LINE`].
    const COUNT: usize;
    /// Whether there are 32 registers, not 16.
    const MANY: bool;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + term`.
    unsafe fn multiply_add(self, factor: Self, term: Self) -> Self;
    unsafe fn sum(self) -> f32;
}

/// A single number, for what is left over at the end of a row.
#[derive(Clone, Copy)]
pub(super) struct One(f32);

impl Lanes for One {
    const COUNT: usize = 1;
    const MANY: bool = false;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        One(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for a readable element.
        One(unsafe { from.read() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for a writable element.
        unsafe { to.write(self.0) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, term: Self) -> Self {
        One(self.0 * factor.0 + term.0)
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0
    }
}

/// Eight lanes in plain Rust, which the compiler maps to what the target has.
#[derive(Clone, Copy)]
struct Portable([f32; 8]);

impl Lanes for Portable {
    const COUNT: usize = 8;
    const MANY: bool = false;
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The registers of AVX2 and AVX-512. Loops are inlined into `with_...`, so that their vector
    //! calls become single instructions.

    use super::{Lanes, Loop};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) unsafe fn with_avx512(task: impl Loop) {
        // SAFETY: the caller's.
        unsafe { task.run::<Avx512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn with_avx2(task: impl Loop) {
        // SAFETY: the caller's.
        unsafe { task.run::<Avx2>() }
    }

    #[derive(Clone, Copy)]
    struct Avx512(__m512);

    // SAFETY (all methods): called only from functions compiled for AVX-512, with pointers that
    // those functions' callers checked.
    impl Lanes for Avx512 {
        const COUNT: usize = 16;
        const MANY: bool = true;
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
        const MANY: bool = false;
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
}
