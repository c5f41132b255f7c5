//! What is done to every pixel beside the convolutions: the first convolution, which reads the
//! photograph, pooling, upsampling and the heads.
//!
//! Each function is written once, in loops over a block's 16 channels that a compiler turns into
//! vectors, and compiled for every form. The order of all sums is written down, and products are
//! added in one rounding, so that every form gives the same bits.
#![allow(unsafe_code)]

use super::Form;
use crate::layout::{BLOCK, Layout, Source};
use crate::network::Grid;

/// One number for each channel of a block.
pub type Lanes = [f32; BLOCK];

/// Compiles a function once for every form, and picks the one asked for.
macro_rules! in_every_form {
    ($(#[$doc:meta])* pub fn $name:ident[$($generic:tt)*]($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name<$($generic)*>(form: Form, $($arg: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$($generic)*>($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<$($generic)*>($($arg: $type),*) { body($($arg),*) }
            match form {
                Form::Portable => body($($arg),*),
                // SAFETY: `Form::available` offers a form only where the processor has its
                // instructions; the body itself is safe code.
                // The compiler makes slower code of these loops for AVX-512 than for AVX2.
                #[cfg(target_arch = "x86_64")]
                Form::Avx2 | Form::Avx512Vnni | Form::Amx => unsafe { avx2($($arg),*) },
                // Whatever is compiled for 64-bit ARM may use NEON.
                #[cfg(target_arch = "aarch64")]
                Form::Neon | Form::NeonDotprod => body($($arg),*),
            }
        }
    };
}

/// A number that maps are made of.
pub trait Element: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// As f32: an integer's own value, not the one its grid gives it.
    fn widen(self) -> f32;
    /// From f32: rounded half to even and clamped to 0 to `top` for integers, as it is for f32.
    fn narrow(value: f32, top: f32) -> Self;
    /// Value of one step of a map.
    fn step(grid: Option<Grid>) -> f32;
    /// The largest number of a map.
    fn top(grid: Option<Grid>) -> f32;
}

impl Element for u8 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn narrow(value: f32, top: f32) -> Self {
        // Adding 1.5 * 2^23 leaves no bits for fractions: the sum is rounded half to even, and its
        // lowest bits are the integer.
        let value = if value > 0.0 { value } else { 0.0 };
        let value = if value < top { value } else { top };
        (value + 12_582_912.0).to_bits() as u8
    }

    fn step(grid: Option<Grid>) -> f32 {
        grid.map_or(1.0, |grid| grid.scale)
    }

    fn top(grid: Option<Grid>) -> f32 {
        grid.map_or(255.0, |grid| f32::from(grid.top))
    }
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32, _top: f32) -> Self {
        value
    }

    fn step(_grid: Option<Grid>) -> f32 {
        1.0
    }

    fn top(_grid: Option<Grid>) -> f32 {
        f32::INFINITY
    }
}

/// Pixels that the first convolution computes together.
pub const FIRST_PIXELS: usize = 8;

/// The first convolution as it is computed: 3x3 on three channels in f32, then ReLU.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstConv {
    /// For each block of outputs, for each input channel, row and column of the kernel: 16 outputs.
    pub weights: Vec<Lanes>,
    /// One a block of outputs.
    pub bias: Vec<Lanes>,
    /// Value of one step of the output.
    pub step: f32,
    /// The largest number of the output.
    pub top: f32,
}

impl FirstConv {
    /// Packs weights of shape (outputs, 3, 3, 3).
    pub fn pack(weight: &[f32], bias: &[f32], step: f32, top: f32) -> Self {
        let lanes = |value: &dyn Fn(usize) -> f32, block: usize| -> Lanes {
            std::array::from_fn(|lane| {
                let output = block * BLOCK + lane;
                if output < bias.len() { value(output) } else { 0.0 }
            })
        };
        let blocks = bias.len().div_ceil(BLOCK);
        let weights = (0..blocks).flat_map(|block| {
            (0..27).map(move |tap| lanes(&|output| weight[output * 27 + tap], block))
        });
        Self {
            weights: weights.collect(),
            bias: (0..blocks).map(|block| lanes(&|output| bias[output], block)).collect(),
            step,
            top,
        }
    }
}

/// The first convolution's rows from `first_row` on. `image` holds three channels of `side + 2` rows
/// of `side + 2` pixels, with a border of zero; the side is a multiple of [`FIRST_PIXELS`].
pub fn first_rows<E: Element>(
    form: Form,
    conv: &FirstConv,
    image: &[f32],
    first_row: usize,
    layout: Layout,
    output: &mut [E],
) {
    let wide = layout.side + 2;
    for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, output) in output.chunks_exact_mut(layout.block_len()).enumerate() {
            let weights = &conv.weights.as_chunks::<27>().0[block];
            let pixels = output[BLOCK..(layout.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
            for (group, pixels) in pixels.chunks_exact_mut(FIRST_PIXELS).enumerate() {
                let lines = std::array::from_fn(|line| {
                    let (channel, y) = (line / 3, line % 3);
                    let start = (channel * wide + first_row + row + y) * wide;
                    let start = start + group * FIRST_PIXELS;
                    std::array::from_fn(|column| image[start + column])
                });
                let sums = first_sums(form, weights, &conv.bias[block], &lines);
                for (pixel, sums) in pixels.iter_mut().zip(&sums) {
                    for lane in 0..BLOCK {
                        let sum = if sums[lane] > 0.0 { sums[lane] } else { 0.0 };
                        pixel[lane] = E::narrow(sum / conv.step, conv.top);
                    }
                }
            }
        }
    }
}

/// What the first convolution reads for a group of pixels: for each channel and row of the kernel,
/// the pixels from one before the first to one behind the last.
pub type FirstLines = [[f32; FIRST_PIXELS + 2]; 9];

/// Bias and products, added in the order of the weights.
fn first_sums(
    form: Form,
    weights: &[Lanes; 27],
    bias: &Lanes,
    lines: &FirstLines,
) -> [Lanes; FIRST_PIXELS] {
    match form {
        Form::Portable => {
            let mut sums = [*bias; FIRST_PIXELS];
            for (line, weights) in lines.iter().zip(weights.as_chunks::<3>().0) {
                for (x, weights) in weights.iter().enumerate() {
                    for (sums, value) in sums.iter_mut().zip(&line[x..]) {
                        for lane in 0..BLOCK {
                            sums[lane] = weights[lane].mul_add(*value, sums[lane]);
                        }
                    }
                }
            }
            sums
        }
        // SAFETY: `Form::available` offers these forms only where the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Form::Avx2 | Form::Avx512Vnni | Form::Amx => unsafe {
            super::avx2::first_sums(weights, bias, lines)
        },
        #[cfg(target_arch = "aarch64")]
        Form::Neon | Form::NeonDotprod => super::neon::first_sums(weights, bias, lines),
    }
}

in_every_form! {
    /// The 2x2 maximum: `input` holds whole rows of a map of `from`, `output` half as many of the
    /// map that has half its side.
    pub fn pool_rows[E: Element](from: Layout, input: &[E], output: &mut [E]) {
        let to = Layout { side: from.side / 2, ..from };
        let pairs = input.chunks_exact(2 * from.row_len());
        for (rows, output) in pairs.zip(output.chunks_exact_mut(to.row_len())) {
            let (upper, lower) = rows.split_at(from.row_len());
            let upper = upper.chunks_exact(from.block_len());
            let lower = lower.chunks_exact(from.block_len());
            let blocks = output.chunks_exact_mut(to.block_len());
            for ((upper, lower), output) in upper.zip(lower).zip(blocks) {
                let inside = BLOCK..(from.side + 1) * BLOCK;
                let pairs = upper[inside.clone()].chunks_exact(2 * BLOCK);
                let pairs = pairs.zip(lower[inside].chunks_exact(2 * BLOCK));
                let pixels = output[BLOCK..(to.side + 1) * BLOCK].chunks_exact_mut(BLOCK);
                for ((upper, lower), pixel) in pairs.zip(pixels) {
                    for lane in 0..BLOCK {
                        let larger = |a: E, b: E| if a > b { a } else { b };
                        pixel[lane] = larger(
                            larger(upper[lane], upper[lane + BLOCK]),
                            larger(lower[lane], lower[lane + BLOCK]),
                        );
                    }
                }
            }
        }
    }
}

/// Between which two of `from` pixels a pixel of twice as many lies, and how far behind the first,
/// with both ends aligned.
pub fn place(at: usize, from: usize) -> (usize, usize, f32) {
    let position = at as f32 * ((from - 1) as f32 / (2 * from - 1) as f32);
    let first = (position as usize).min(from - 1);
    (first, (first + 1).min(from - 1), position - first as f32)
}

in_every_form! {
    /// Rows from `first_row` on of a map of twice the side of `source`, bilinear with corners
    /// aligned: `(1 - t) a + t b` as `a + t (b - a)`, first down, then across, then times `ratio`
    /// (input step / output step). `scratch` holds a block's pixels of one row.
    pub fn upsample_rows[E: Element](
        source: Source<'_, E>,
        first_row: usize,
        ratio: f32,
        top: f32,
        scratch: &mut [f32],
        output: &mut [E],
    ) {
        let from = source.layout;
        let to = Layout { side: from.side * 2, ..from };
        for (row, output) in output.chunks_exact_mut(to.row_len()).enumerate() {
            let (above, below, down) = place(first_row + row, from.side);
            for (block, output) in output.chunks_exact_mut(to.block_len()).enumerate() {
                let above = source.pixels(above, block);
                let below = source.pixels(below, block);
                for ((value, above), below) in scratch.iter_mut().zip(above).zip(below) {
                    let (above, below) = (above.widen(), below.widen());
                    *value = down.mul_add(below - above, above);
                }
                let values = scratch.as_chunks::<BLOCK>().0;
                let pixels = output[BLOCK..(to.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
                for (column, pixel) in pixels.iter_mut().enumerate() {
                    let (left, right, across) = place(column, from.side);
                    let (left, right) = (&values[left], &values[right]);
                    for lane in 0..BLOCK {
                        let value = across.mul_add(right[lane] - left[lane], left[lane]);
                        pixel[lane] = E::narrow(value * ratio, top);
                    }
                }
            }
        }
    }
}

/// The heads that read every pixel, as they are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct MapHeads {
    /// For each block of channels, the weights of disc, cup and fovea, times the input's step.
    pub weights: Vec<[Lanes; 3]>,
    /// Added to the sums.
    pub bias: [f32; 3],
}

in_every_form! {
    /// Probabilities of all pixels of `first_row` and the following rows: `output` holds whole rows
    /// of three numbers a pixel.
    pub fn head_rows[E: Element](
        heads: &MapHeads,
        source: Source<'_, E>,
        first_row: usize,
        output: &mut [[f32; 3]],
    ) {
        let side = source.layout.side;
        for (row, output) in output.chunks_exact_mut(side).enumerate() {
            for (column, output) in output.iter_mut().enumerate() {
                let mut sums = [[0.0f32; BLOCK]; 3];
                for (block, weights) in heads.weights.iter().enumerate() {
                    let pixels = source.pixels(first_row + row, block);
                    let pixel = &pixels.as_chunks::<BLOCK>().0[column];
                    for (sums, weights) in sums.iter_mut().zip(weights) {
                        for lane in 0..BLOCK {
                            sums[lane] = weights[lane].mul_add(pixel[lane].widen(), sums[lane]);
                        }
                    }
                }
                for ((output, sums), bias) in output.iter_mut().zip(&sums).zip(&heads.bias) {
                    *output = folded(sums) + bias;
                }
            }
        }
    }
}

/// The sum of all lanes: halves are added until one is left.
#[inline(always)]
fn folded(lanes: &Lanes) -> f32 {
    let mut lanes = *lanes;
    let mut half = BLOCK / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_rounded_half_to_even_and_clamped() {
        for (value, expected) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (254.5, 254), (255.5, 255), (1e9, 255), (-3.0, 0)]
        {
            assert_eq!(u8::narrow(value, 255.0), expected, "{value}");
        }
        assert_eq!((u8::narrow(200.0, 127.0), u8::narrow(f32::NAN, 127.0)), (127, 0));
    }

    /// ONNX's definition of Resize, linear with aligned corners.
    #[test]
    fn places_are_those_of_aligned_corners() {
        for from in [1usize, 2, 3, 16, 128] {
            for at in 0..2 * from {
                let exact = at as f64 * (from - 1) as f64 / (2 * from - 1) as f64;
                let (first, second, behind) = place(at, from);
                assert!((first as f64 + f64::from(behind) - exact).abs() < 1e-4, "{at} of {from}");
                assert!(second < from && (second == first + 1 || first == from - 1));
            }
            assert_eq!(place(0, from), (0, 1.min(from - 1), 0.0));
        }
    }

    fn map(layout: Layout, values: &[u8]) -> Vec<u8> {
        let mut map = vec![0; layout.len()];
        let mut values = values.iter();
        for row in map[layout.interior()].chunks_exact_mut(layout.row_len()) {
            for block in row.chunks_exact_mut(layout.block_len()) {
                for value in &mut block[BLOCK..(layout.side + 1) * BLOCK] {
                    *value = *values.next().unwrap();
                }
            }
        }
        map
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_form_gives_the_same_bits(
            half in 1usize..9,
            blocks in 1usize..4,
            values in prop::collection::vec(any::<u8>(), 16 * 16 * 3 * BLOCK),
            weights in prop::collection::vec(-1.0f32..1.0, 27 * BLOCK),
            ratio in 0.2f32..3.0,
        ) {
            let layout = Layout { side: half * 2, blocks };
            let data = map(layout, &values);
            let source = Source { layout, data: &data };
            let double = Layout { side: layout.side * 2, blocks };
            let small = Layout { side: half, blocks };
            let lanes = weights.as_chunks::<BLOCK>().0;
            let heads = MapHeads {
                weights: (0..blocks).map(|block| [lanes[block], lanes[block + 3], lanes[block + 6]]).collect(),
                bias: [0.1, -0.2, 0.3],
            };
            let conv = FirstConv {
                weights: lanes.to_vec(), bias: vec![lanes[5]], step: 0.01 * ratio, top: 255.0,
            };
            let eights = Layout { side: 8, blocks: 1 };
            let image: Vec<f32> = values.iter().map(|value| f32::from(*value) / 255.0).collect();
            let run = |form| {
                let mut up = vec![7u8; 4 * layout.side * double.row_len()];
                up.truncate(double.side * double.row_len());
                let mut scratch = vec![0.0; layout.side * BLOCK];
                upsample_rows(form, source, 0, ratio, 255.0, &mut scratch, &mut up);
                let mut pooled = vec![7u8; half * small.row_len()];
                pool_rows(form, layout, &data[layout.interior()], &mut pooled);
                let mut logits = vec![[0.0; 3]; layout.side * layout.side];
                head_rows(form, &heads, source, 0, &mut logits);
                let mut first = vec![7u8; 8 * eights.row_len()];
                first_rows(form, &conv, &image[..300], 0, eights, &mut first);
                (up, pooled, logits, first)
            };
            let expected = run(Form::Portable);
            for form in Form::available() {
                prop_assert!(run(form) == expected, "{form:?}");
            }
            // Pooling by hand at one place.
            let at = |y: usize, x: usize| source.pixels(y, 0)[x * BLOCK];
            let largest = at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1));
            prop_assert_eq!(expected.1[BLOCK], largest);
        }
    }
}
