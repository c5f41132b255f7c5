//! Convolution of f32 maps, and ReLU: packed weights, and the choice of an algorithm.
//!
//! An output is `max(0, b + sum w u)`. Forms and algorithms differ in the order of their sums; each
//! is within 1e-5 of the map's largest output of the definition in 64 bits.

use super::Form;
use super::wide::Line;
use super::winograd::{self, Task};
use crate::layout::{BLOCK, Layout, Source, checked_rows};

/// Maps from so many pixels a side on are made in tiles of 4x4 pixels. A smaller map has many
/// channels and few tiles to use their weights, which take 36/9 of the memory for such tiles and
/// 16/9 of it for tiles of 2x2 pixels.
pub const LARGE_TILES_FROM: usize = 64;

/// One convolution as the kernels read it.
#[derive(Debug, Clone, PartialEq)]
pub struct RealConv {
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Blocks of channels of each map that is read, in the order of the channels.
    pub sources: Vec<usize>,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// The weights, as the algorithm orders them.
    pub weights: Vec<Line>,
    /// One a block of outputs.
    pub bias: Vec<Line>,
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By the definition. Weights: for each block of outputs, source, row of the kernel, block of
    /// inputs, column of the kernel and input of the block.
    Direct,
    /// Transformed, in output tiles of 2 or 4 pixels a side; see [`winograd`].
    Winograd(usize),
}

impl Algorithm {
    fn choose(kernel: usize, side: usize) -> Self {
        match side {
            _ if kernel != 3 => Self::Direct,
            LARGE_TILES_FROM.. if side.is_multiple_of(4) => Self::Winograd(4),
            _ if side.is_multiple_of(2) => Self::Winograd(2),
            _ => Self::Direct,
        }
    }

    /// What the number of rows that are computed at once must be a multiple of.
    fn rows(self) -> usize {
        match self {
            Self::Direct => 1,
            Self::Winograd(out) => out,
        }
    }
}

/// Weights as a file holds them, shape (outputs, inputs, kernel, kernel).
struct Plain<'a> {
    kernel: usize,
    weight: &'a [f32],
    outputs: usize,
    sources: &'a [usize],
}

impl RealConv {
    /// Packs weights of shape (outputs, inputs, kernel, kernel) for maps of `side` pixels;
    /// `sources` are the channels of the maps that are read.
    pub fn pack(
        kernel: usize,
        weight: &[f32],
        bias: &[f32],
        sources: &[usize],
        side: usize,
    ) -> Self {
        let plain = Plain { kernel, weight, outputs: bias.len(), sources };
        let algorithm = Algorithm::choose(kernel, side);
        let lane = |output: usize| bias.get(output).copied().unwrap_or(0.0);
        let lines = (0..bias.len().div_ceil(BLOCK))
            .map(|block| Line(std::array::from_fn(|output| lane(block * BLOCK + output))));
        Self {
            kernel,
            sources: sources.iter().map(|channels| channels.div_ceil(BLOCK)).collect(),
            algorithm,
            weights: match algorithm {
                Algorithm::Direct => plain.direct(),
                Algorithm::Winograd(out) => plain.winograd(out),
            },
            bias: lines.collect(),
        }
    }
}

impl Plain<'_> {
    /// For each channel of the blocks of all sources, its number in the file; none for those that
    /// fill a block up.
    fn inputs(&self) -> Vec<Option<usize>> {
        let mut before = 0;
        let mut inputs = Vec::new();
        for &channels in self.sources {
            let filled = channels.next_multiple_of(BLOCK);
            inputs.extend((0..filled).map(|at| (at < channels).then_some(before + at)));
            before += channels;
        }
        inputs
    }

    fn at(&self, output: usize, input: Option<usize>, row: usize, column: usize) -> f32 {
        let inputs: usize = self.sources.iter().sum();
        match input {
            Some(input) if output < self.outputs => {
                self.weight[((output * inputs + input) * self.kernel + row) * self.kernel + column]
            }
            _ => 0.0,
        }
    }

    fn direct(&self) -> Vec<Line> {
        let inputs = self.inputs();
        let mut weights = Vec::new();
        for block in 0..self.outputs.div_ceil(BLOCK) {
            let mut rest = &inputs[..];
            for channels in self.sources {
                let (inputs, behind) = rest.split_at(channels.next_multiple_of(BLOCK));
                rest = behind;
                for row in 0..self.kernel {
                    for inputs in inputs.chunks_exact(BLOCK) {
                        for column in 0..self.kernel {
                            weights.extend(inputs.iter().map(|input| {
                                Line(std::array::from_fn(|output| {
                                    self.at(block * BLOCK + output, *input, row, column)
                                }))
                            }));
                        }
                    }
                }
            }
        }
        weights
    }

    fn winograd(&self, out: usize) -> Vec<Line> {
        let inputs = self.inputs();
        let outputs = self.outputs.div_ceil(BLOCK);
        winograd::transform_weights(out, inputs.len() / BLOCK, outputs, |output, input| {
            std::array::from_fn(|at| self.at(output, inputs[input], at / 3, at % 3))
        })
    }
}

/// Computes the rows from `first_row` on that `output` holds: whole rows of a map of `layout`,
/// whose border is left alone. Both the first row and the number of rows are even, and from a side of
/// [`LARGE_TILES_FROM`] on multiples of 4 where the side is one.
///
/// # Panics
/// When the sources are not those that `conv` was packed for, or the rows are other ones.
pub fn convolve_rows(
    form: Form,
    conv: &RealConv,
    sources: &[Source<'_, f32>],
    first_row: usize,
    layout: Layout,
    output: &mut [f32],
) {
    let blocks = conv.bias.len();
    let rows = checked_rows(sources, &conv.sources, layout, blocks, first_row, output.len());
    let step = conv.algorithm.rows();
    assert!(first_row.is_multiple_of(step) && rows.is_multiple_of(step), "rows of whole tiles");
    match conv.algorithm {
        Algorithm::Direct => direct(conv, sources, first_row, layout, output),
        Algorithm::Winograd(out) => {
            let (weights, bias) = (&conv.weights, &conv.bias);
            let task = Task { weights, bias, sources, first_row, layout };
            winograd::convolve_rows(form, out, &task, output);
        }
    }
}

/// By the definition, slowly: for the kernels and sides that a network seldom has.
fn direct(
    conv: &RealConv,
    sources: &[Source<'_, f32>],
    first_row: usize,
    layout: Layout,
    output: &mut [f32],
) {
    let before = 1 - conv.kernel / 2;
    let per_block = conv.weights.len() / conv.bias.len();
    for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, output) in output.chunks_exact_mut(layout.block_len()).enumerate() {
            let pixels = output[BLOCK..(layout.side + 1) * BLOCK].as_chunks_mut::<BLOCK>().0;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let mut sums = conv.bias[block].0;
                let mut weights = conv.weights[block * per_block..(block + 1) * per_block].iter();
                for source in sources {
                    let from = source.layout;
                    for y in 0..conv.kernel {
                        for input_block in 0..from.blocks {
                            let line = source.starting_at(first_row + row + y + before);
                            let start = input_block * from.block_len();
                            for x in 0..conv.kernel {
                                let inputs = &line[start + (column + x + before) * BLOCK..];
                                for (input, weights) in inputs[..BLOCK].iter().zip(&mut weights) {
                                    for (sum, weight) in sums.iter_mut().zip(weights.0) {
                                        *sum += weight * input;
                                    }
                                }
                            }
                        }
                    }
                }
                for (output, sum) in pixel.iter_mut().zip(sums) {
                    *output = if sum > 0.0 { sum } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    /// Numbers of one convolution in the file's order, and the maps it reads.
    #[derive(Debug, Clone)]
    struct Case {
        kernel: usize,
        side: usize,
        sources: Vec<usize>,
        outputs: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
        input: Vec<f32>,
    }

    fn index(layout: Layout, channel: usize, y: usize, x: usize) -> usize {
        let block = (y + 1) * layout.row_len() + channel / BLOCK * layout.block_len();
        block + (x + 1) * BLOCK + channel % BLOCK
    }

    fn pixels(side: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)))
    }

    impl Case {
        /// Pixel of a channel; zero outside the map.
        fn at(&self, channel: usize, y: isize, x: isize) -> f32 {
            let side = self.side as isize;
            if !(0..side).contains(&y) || !(0..side).contains(&x) {
                return 0.0;
            }
            self.input[(channel * self.side + y as usize) * self.side + x as usize]
        }

        /// The definition, in 64 bits.
        fn expected(&self, output: usize, y: usize, x: usize) -> f64 {
            let inputs: usize = self.sources.iter().sum();
            let before = (self.kernel / 2) as isize;
            let mut sum = f64::from(self.bias[output]);
            for channel in 0..inputs {
                for (ky, kx) in pixels(self.kernel) {
                    let at = ((output * inputs + channel) * self.kernel + ky) * self.kernel + kx;
                    let (row, column) = ((y + ky) as isize - before, (x + kx) as isize - before);
                    sum += f64::from(self.weight[at]) * f64::from(self.at(channel, row, column));
                }
            }
            sum.max(0.0)
        }

        /// The maps in memory, filled-up channels holding zero.
        fn maps(&self) -> Vec<(Layout, Vec<f32>)> {
            let mut before = 0;
            let maps = self.sources.iter().map(|&channels| {
                let layout = Layout::new(channels, self.side);
                let mut data = vec![0.0; layout.len()];
                for channel in 0..channels {
                    for (y, x) in pixels(self.side) {
                        data[index(layout, channel, y, x)] =
                            self.at(before + channel, y as isize, x as isize);
                    }
                }
                before += channels;
                (layout, data)
            });
            maps.collect()
        }

        /// All forms against the definition, on the rows from somewhere in the map on.
        fn check(&self) -> Result<(), TestCaseError> {
            let maps = self.maps();
            let sources: Vec<_> =
                maps.iter().map(|(layout, data)| Source::whole(*layout, data)).collect();
            let conv =
                RealConv::pack(self.kernel, &self.weight, &self.bias, &self.sources, self.side);
            let layout = Layout::new(self.outputs, self.side);
            let step = conv.algorithm.rows();
            let first = self.side / 3 / step * step;
            let rows = (first + 1) * layout.row_len()..layout.interior().end;
            let mut expected = vec![None; layout.len()];
            let mut largest = 0.0f64;
            for (y, x) in pixels(self.side).filter(|(y, _)| *y >= first) {
                for channel in 0..layout.blocks * BLOCK {
                    let value =
                        if channel < self.outputs { self.expected(channel, y, x) } else { 0.0 };
                    expected[index(layout, channel, y, x)] = Some(value);
                    largest = largest.max(value);
                }
            }
            for form in Form::available() {
                let mut output = vec![-7.0; layout.len()];
                convolve_rows(form, &conv, &sources, first, layout, &mut output[rows.clone()]);
                for (value, expected) in output.iter().zip(&expected) {
                    // What is not a pixel is left alone, the rows above the first too.
                    let error = (f64::from(*value) - expected.unwrap_or(-7.0)).abs();
                    let most = 1e-5 * largest.max(1.0);
                    prop_assert!(error <= most, "{form:?} {:?}: {error}", conv.algorithm);
                }
            }
            Ok(())
        }
    }

    fn case(sides: impl Strategy<Value = usize>, most: usize) -> impl Strategy<Value = Case> {
        let kernel = prop_oneof![1 => Just(1usize), 4 => Just(3)];
        let shape = (kernel, sides, prop::collection::vec(1..most, 1..3), 1..most);
        shape.prop_flat_map(|(kernel, side, sources, outputs)| {
            let inputs: usize = sources.iter().sum();
            (
                prop::collection::vec(-1.0f32..1.0, outputs * inputs * kernel * kernel),
                prop::collection::vec(-1.0f32..1.0, outputs),
                prop::collection::vec(-1.0f32..1.0, inputs * side * side),
            )
                .prop_map(move |(weight, bias, input)| Case {
                    kernel,
                    side,
                    sources: sources.clone(),
                    outputs,
                    weight,
                    bias,
                    input,
                })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_form_is_near_the_definition_in_64_bits(case in case(1usize..24, 40)) {
            case.check()?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn large_maps_too(case in case(prop_oneof![Just(64usize), Just(66), Just(68)], 24)) {
            case.check()?;
        }
    }

    #[test]
    fn the_algorithm_goes_by_kernel_and_side() {
        let sides = [(3, 256), (3, 66), (3, 32), (3, 25), (1, 64)];
        let chosen = sides.map(|(kernel, side)| Algorithm::choose(kernel, side));
        let winograd = Algorithm::Winograd;
        let direct = Algorithm::Direct;
        assert_eq!(chosen, [winograd(4), winograd(2), winograd(2), direct, direct]);
    }
}
