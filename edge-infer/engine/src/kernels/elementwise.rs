//! What is done to every pixel beside the convolutions: the first convolution, which reads the
//! photograph, pooling, upsampling and the heads.
//!
//! Each function is written once, in sixteens of numbers, and compiled for the registers of every form.
//! The order of all sums is written down, and products are added in one rounding, so that every form
//! gives the same bits.
#![allow(unsafe_code)]

use super::Form;
use super::wide::Wide;
use crate::layout::{BLOCK, Layout, Source};
use crate::network::Grid;

/// One number for each channel of a block.
pub type Lanes = [f32; BLOCK];

/// A number that maps are made of.
pub trait Element: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// As f32: an integer's own value, not the one its grid gives it.
    fn widen(self) -> f32;
    /// A block's numbers as f32, as [`Element::widen`] has them.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn load<V: Wide>(from: &[Self; BLOCK]) -> V;
    /// A block's numbers from f32: rounded half to even and clamped to 0 to `top` for integers, as
    /// they are for f32.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn store<V: Wide>(values: V, top: f32, to: &mut [Self; BLOCK]);
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
    unsafe fn load<V: Wide>(from: &[Self; BLOCK]) -> V {
        // SAFETY: the trait's.
        unsafe { V::load_bytes(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Wide>(values: V, top: f32, to: &mut [Self; BLOCK]) {
        // SAFETY: the trait's.
        unsafe { values.store_bytes(top, to) }
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
    unsafe fn load<V: Wide>(from: &[Self; BLOCK]) -> V {
        // SAFETY: the trait's.
        unsafe { V::load(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Wide>(values: V, _top: f32, to: &mut [Self; BLOCK]) {
        // SAFETY: the trait's.
        unsafe { values.store(to) }
    }

    fn step(_grid: Option<Grid>) -> f32 {
        1.0
    }

    fn top(_grid: Option<Grid>) -> f32 {
        f32::INFINITY
    }
}

/// Pixels that the first convolution computes together.
pub const FIRST_PIXELS: usize = 4;

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

in_every_form! {
    /// The first convolution's rows from `first_row` on. `image` holds three channels of `side + 2`
    /// rows of `side + 2` pixels, with a border of zero; the side is a multiple of [`FIRST_PIXELS`].
    /// Bias and products are added in the order of the weights.
    pub fn first_rows<V, E>(
        conv: &FirstConv,
        image: &[f32],
        first_row: usize,
        layout: Layout,
        output: &mut [E],
    ) {
        let wide = layout.side + 2;
        for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
            let lines: [&[f32]; 9] = std::array::from_fn(|line| {
                let (channel, y) = (line / 3, line % 3);
                &image[(channel * wide + first_row + row + y) * wide..][..wide]
            });
            for (block, output) in output.chunks_exact_mut(layout.block_len()).enumerate() {
                let weights = conv.weights.as_chunks::<27>().0[block].as_chunks::<3>().0;
                let pixels = output[BLOCK..(layout.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
                for (group, pixels) in pixels.chunks_exact_mut(FIRST_PIXELS).enumerate() {
                    // SAFETY: passed on from the caller.
                    unsafe {
                        let mut sums = [V::load(&conv.bias[block]); FIRST_PIXELS];
                        for (line, weights) in lines.iter().zip(weights) {
                            let line = &line[group * FIRST_PIXELS..][..FIRST_PIXELS + 2];
                            for (x, weights) in weights.iter().enumerate() {
                                let weights = V::load(weights);
                                for (sum, value) in sums.iter_mut().zip(&line[x..]) {
                                    *sum = weights.fused_mul_add(V::splat(*value), *sum);
                                }
                            }
                        }
                        for (pixel, sum) in pixels.iter_mut().zip(sums) {
                            E::store(sum.relu().div(V::splat(conv.step)), conv.top, pixel);
                        }
                    }
                }
            }
        }
    }
}

in_every_form! {
    /// The 2x2 maximum: `input` holds whole rows of a map of `from`, `output` half as many of the
    /// map that has half its side.
    pub fn pool_rows<V, E>(from: Layout, input: &[E], output: &mut [E]) {
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

/// How a map of twice the side is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsampling {
    /// For each pixel of a row or a column: the first of two that it lies between, and how far behind.
    places: Vec<(usize, f32)>,
    /// Input step over output step.
    ratio: f32,
    /// The largest number of the output.
    top: f32,
}

impl Upsampling {
    /// From a map of `side` pixels; `ratio` is its step over the output's, `top` the output's largest number.
    pub fn new(side: usize, ratio: f32, top: f32) -> Self {
        Self { places: (0..2 * side).map(|at| place(at, side)).collect(), ratio, top }
    }
}

/// Which of `from` pixels a pixel of twice as many lies behind, and how far, with both ends aligned.
fn place(at: usize, from: usize) -> (usize, f32) {
    let position = at as f32 * ((from - 1) as f32 / (2 * from - 1) as f32);
    let first = (position as usize).min(from - 1);
    (first, position - first as f32)
}

in_every_form! {
    /// Rows from `first_row` on of a map of twice the side of `source`, bilinear with corners
    /// aligned: `(1 - t) a + t b` as `a + t (b - a)`, first down, then across, then in steps of the
    /// output. `line` is room for a block's pixels of one row.
    pub fn upsample_rows<V, E>(
        upsampling: &Upsampling,
        source: Source<'_, E>,
        first_row: usize,
        line: &mut Vec<Lanes>,
        output: &mut [E],
    ) {
        let from = source.layout;
        let to = from.doubled();
        line.resize(from.side + 1, [0.0; BLOCK]);
        let rows = output.chunks_exact_mut(to.row_len());
        for (output, (above, down)) in rows.zip(&upsampling.places[first_row..]) {
            let below = (above + 1).min(from.side - 1);
            for (block, output) in output.chunks_exact_mut(to.block_len()).enumerate() {
                let above = source.pixels(*above, block).as_chunks::<BLOCK>().0;
                let below = source.pixels(below, block).as_chunks::<BLOCK>().0;
                let pixels = output[BLOCK..(to.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
                // SAFETY: passed on from the caller.
                unsafe {
                    let (down, ratio) = (V::splat(*down), V::splat(upsampling.ratio));
                    for ((value, above), below) in line.iter_mut().zip(above).zip(below) {
                        let (above, below) = (E::load::<V>(above), E::load::<V>(below));
                        below.sub(above).fused_mul_add(down, above).store(value);
                    }
                    // What lies behind the last pixel is the last pixel.
                    line[from.side] = line[from.side - 1];
                    for (pixel, (left, across)) in pixels.iter_mut().zip(&upsampling.places) {
                        let [left, right] = &line[*left..].as_chunks::<2>().0[0];
                        let (left, right) = (V::load(left), V::load(right));
                        let value = right.sub(left).fused_mul_add(V::splat(*across), left);
                        E::store(value.mul(ratio), upsampling.top, pixel);
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
    /// Sums, before the sigmoid, of all pixels of `first_row` and the following rows: `output` holds
    /// whole rows of three numbers a pixel.
    pub fn head_rows<V, E>(
        heads: &MapHeads,
        source: Source<'_, E>,
        first_row: usize,
        output: &mut [[f32; 3]],
    ) {
        let side = source.layout.side;
        for (row, output) in output.chunks_exact_mut(side).enumerate() {
            for (column, output) in output.iter_mut().enumerate() {
                // SAFETY: passed on from the caller.
                unsafe {
                    let mut sums = [V::splat(0.0); 3];
                    for (block, weights) in heads.weights.iter().enumerate() {
                        let pixels = source.pixels(first_row + row, block);
                        let pixel = E::load::<V>(&pixels.as_chunks::<BLOCK>().0[column]);
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = V::load(weights).fused_mul_add(pixel, *sum);
                        }
                    }
                    for ((output, sum), bias) in output.iter_mut().zip(sums).zip(&heads.bias) {
                        *output = sum.fold() + bias;
                    }
                }
            }
        }
    }
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

    in_every_form! {
        fn store_and_load<V, E>(values: &Lanes, top: f32, stored: &mut [E; BLOCK], loaded: &mut Lanes) {
            // SAFETY: passed on from the caller.
            unsafe {
                E::store(V::load(values), top, stored);
                E::load::<V>(stored).store(loaded);
            }
        }
    }

    #[test]
    fn integers_are_rounded_half_to_even_and_clamped() {
        let values = [0.5, 1.5, 2.5, 126.5, 127.5, 254.5, 255.5, 1e9, -3.0, f32::NAN, 200.0];
        let full = [0, 2, 2, 126, 128, 254, 255, 255, 0, 0, 200];
        for (top, expected) in [(255.0, full), (127.0, full.map(|value: u8| value.min(127)))] {
            for form in Form::available() {
                let (mut stored, mut loaded) = ([9u8; BLOCK], [9.0; BLOCK]);
                let mut wanted: Lanes = [0.0; BLOCK];
                wanted[..values.len()].copy_from_slice(&values);
                store_and_load(form, &wanted, top, &mut stored, &mut loaded);
                assert_eq!(stored[..values.len()], expected, "{form:?}");
                assert_eq!(loaded, stored.map(f32::from), "{form:?}");
            }
        }
    }

    /// ONNX's definition of Resize, linear with aligned corners.
    #[test]
    fn places_are_those_of_aligned_corners() {
        for from in [1usize, 2, 3, 16, 128] {
            for at in 0..2 * from {
                let exact = at as f64 * (from - 1) as f64 / (2 * from - 1) as f64;
                let (first, behind) = place(at, from);
                assert!((first as f64 + f64::from(behind) - exact).abs() < 1e-4, "{at} of {from}");
                assert!(first < from);
            }
            assert_eq!(place(0, from), (0, 0.0));
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
            let source = Source::whole(layout, &data);
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
                let upsampling = Upsampling::new(layout.side, ratio, 255.0);
                upsample_rows(form, &upsampling, source, 0, &mut Vec::new(), &mut up);
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
