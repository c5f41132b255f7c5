//! The arithmetic, in one form for every instruction set it is fast on. For integers all forms give
//! the same bits: [`portable`] defines them. For f32 they differ by roundings; [`real`] says how far.
//!
//! `unsafe` lives below this module alone.

/// Compiles a function once for every form, each with its registers as `V`, and picks the one asked for.
macro_rules! in_every_form {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident<V, $element:ident>($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name<$element: Element>(form: Form, $($arg: $type),*) {
            #[inline(always)]
            unsafe fn body<V: Wide, $element: Element>($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$element: Element>($($arg: $type),*) {
                // SAFETY: the instructions are there.
                unsafe { body::<$crate::kernels::wide::Pair, $element>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512<$element: Element>($($arg: $type),*) {
                // SAFETY: the instructions are there.
                unsafe { body::<std::arch::x86_64::__m512, $element>($($arg),*) }
            }
            match form {
                // SAFETY: plain Rust needs no instructions.
                Form::Portable => unsafe { body::<$crate::kernels::wide::Plain, $element>($($arg),*) },
                // SAFETY: `Form::available` offers these forms only where the processor has their
                // instructions.
                #[cfg(target_arch = "x86_64")]
                Form::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                Form::Avx512Vnni | Form::Amx => unsafe { avx512($($arg),*) },
                // SAFETY: every 64-bit ARM processor has these instructions.
                #[cfg(target_arch = "aarch64")]
                Form::Neon | Form::NeonDotprod => unsafe {
                    body::<$crate::kernels::wide::Quad, $element>($($arg),*)
                },
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod dotprod;
pub mod elementwise;
pub mod integer;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
pub mod real;
mod tiles;
mod wide;
mod winograd;

/// An instruction set to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Plain Rust, on every processor; defines the results.
    Portable,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 and its dot products of bytes (VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// The same, and its 3x3 convolutions of integers with AMX; on Linux.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 64-bit ARM with dot products of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
}

impl Form {
    /// The forms that this processor can run, the fastest last.
    #[must_use]
    pub fn available() -> Vec<Form> {
        let mut forms = vec![Form::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                forms.push(Form::Avx2);
            }
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if wide && forms.contains(&Form::Avx2) {
                forms.push(Form::Avx512Vnni);
                if amx::available() {
                    forms.push(Form::Amx);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            forms.push(Form::Neon);
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                forms.push(Form::NeonDotprod);
            }
        }
        forms
    }

    /// The fastest form that this processor can run.
    #[must_use]
    pub fn best() -> Form {
        Form::available().last().copied().unwrap_or(Form::Portable)
    }

    /// Its name, as it is shown and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Form::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Form::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Form::Amx => "amx-int8",
            #[cfg(target_arch = "aarch64")]
            Form::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Form::NeonDotprod => "neon-dotprod",
        }
    }
}
