//! Convolution of integers: packed weights, and the choice of a form.
//!
//! With the input's integers u (0 to 255), weights w (within ±127) and a bias b, an output is
//! `clamp(round((b + sum w u) * multiplier), 0, top)`: the sum exact in 32 bits, converted to f32,
//! multiplied once, rounded half to even.

use super::{Form, portable};
use crate::layout::{BLOCK, Layout, Source, checked_rows};

/// Weights that are used together: for each four of [`DEPTH`] input channels the [`OUTPUTS`] output
/// channels, four weights each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line(pub [i8; 64]);

/// Output channels of a [`Line`]: as many as a register tile holds, so that weights are read one
/// behind the other.
pub const OUTPUTS: usize = if cfg!(target_arch = "aarch64") { 8 } else { BLOCK };

/// Input channels of a [`Line`].
pub const DEPTH: usize = size_of::<Line>() / OUTPUTS;

/// One convolution as the kernels read it.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerConv {
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Blocks of channels of each map that is read, in the order of the channels.
    pub sources: Vec<usize>,
    /// For each [`OUTPUTS`] outputs: for each source, row of the kernel, block of inputs, column of
    /// the kernel and [`DEPTH`] inputs of the block a line.
    pub lines: Vec<Line>,
    /// One an output channel, filled up with zeros.
    pub bias: Vec<i32>,
    /// As `bias`, for forms that read inputs as signed bytes: those that may be above 127 are read
    /// 128 less, and 128 times the sum of an output's weights makes up for it.
    pub signed_bias: Vec<i32>,
    /// One an output channel, filled up with zeros: input scale x weight scale / output scale.
    pub multiplier: Vec<f32>,
    /// The largest output, 127 or 255.
    pub top: u8,
    /// Whether an input may be above 127.
    pub full_inputs: bool,
}

/// The numbers of a convolution as a file holds them.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Shape (outputs, inputs, kernel, kernel).
    pub weight: &'a [i8],
    /// One an output channel.
    pub bias: &'a [i32],
    /// One an output channel.
    pub multiplier: &'a [f32],
    /// Channels of each map that is read.
    pub sources: &'a [usize],
    /// The largest output.
    pub top: u8,
    /// Whether an input may be above 127.
    pub full_inputs: bool,
}

impl IntegerConv {
    /// Packs the numbers of a convolution.
    pub fn pack(plain: &Plain<'_>) -> Self {
        let outputs = plain.bias.len();
        let blocks = outputs.div_ceil(BLOCK);
        let filled = |length: usize| length.div_ceil(BLOCK) * BLOCK;
        let (weight, per_output) = (plain.weight, plain.weight.len() / outputs);
        let mut lines = Vec::with_capacity(weight.len().div_ceil(size_of::<Line>()));
        for first_output in (0..blocks * BLOCK).step_by(OUTPUTS) {
            let outputs_left = OUTPUTS.min(outputs.saturating_sub(first_output));
            plain.for_each_step(|first_input, inputs_left, row, column| {
                let mut line = [0; 64];
                for output in 0..outputs_left {
                    let weights = &weight[(first_output + output) * per_output..][..per_output];
                    let first = (first_input * plain.kernel + row) * plain.kernel + column;
                    let inputs = weights.iter().skip(first).step_by(plain.kernel * plain.kernel);
                    for (input, weight) in inputs.take(DEPTH.min(inputs_left)).enumerate() {
                        line[(input / 4 * OUTPUTS + output) * 4 + input % 4] = *weight;
                    }
                }
                lines.push(Line(line));
            });
        }
        let mut bias = plain.bias.to_vec();
        bias.resize(filled(outputs), 0);
        let mut signed_bias = bias.clone();
        if plain.full_inputs {
            let weights = weight.chunks_exact(per_output);
            for (bias, weights) in signed_bias.iter_mut().zip(weights) {
                *bias += 128 * weights.iter().map(|weight| i32::from(*weight)).sum::<i32>();
            }
        }
        let mut multiplier = plain.multiplier.to_vec();
        multiplier.resize(filled(outputs), 0.0);
        Self {
            kernel: plain.kernel,
            sources: plain.sources.iter().map(|channels| channels.div_ceil(BLOCK)).collect(),
            lines,
            bias,
            signed_bias,
            multiplier,
            top: plain.top,
            full_inputs: plain.full_inputs,
        }
    }

    /// Blocks of 16 outputs.
    pub fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Lines of one block of outputs.
    pub fn lines_per_block(&self) -> usize {
        let inputs = self.sources.iter().sum::<usize>() * BLOCK;
        inputs * self.kernel * self.kernel * BLOCK / size_of::<Line>()
    }
}

impl Plain<'_> {
    /// Calls `step` for every line of a block, in their order, with the first input channel, the
    /// number of channels left in its map from there (0 where there are none), and the kernel's
    /// row and column.
    fn for_each_step(&self, mut step: impl FnMut(usize, usize, usize, usize)) {
        let mut before = 0;
        for &channels in self.sources {
            for row in 0..self.kernel {
                for block in 0..channels.div_ceil(BLOCK) {
                    for column in 0..self.kernel {
                        for part in 0..BLOCK / DEPTH {
                            let channel = block * BLOCK + part * DEPTH;
                            step(before + channel, channels.saturating_sub(channel), row, column);
                        }
                    }
                }
            }
            before += channels;
        }
    }
}

/// Computes the rows from `first_row` on that `output` holds: whole rows of a map of `layout`,
/// whose border is left alone.
///
/// # Panics
/// When the sources are not those that `conv` was packed for.
pub fn convolve_rows(
    form: Form,
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    first_row: usize,
    layout: Layout,
    output: &mut [u8],
) {
    checked_rows(sources, &conv.sources, layout, conv.blocks(), first_row, output.len());
    assert_eq!(conv.lines.len(), conv.blocks() * conv.lines_per_block());
    match form {
        Form::Portable => portable::convolve_rows(conv, sources, first_row, layout, output),
        #[cfg(target_arch = "x86_64")]
        Form::Avx2 => super::avx2::convolve_rows(conv, sources, first_row, layout, output),
        #[cfg(target_arch = "x86_64")]
        Form::Avx512Vnni => super::avx512::convolve_rows(conv, sources, first_row, layout, output),
        #[cfg(target_arch = "x86_64")]
        Form::Amx => super::amx::convolve_rows(conv, sources, first_row, layout, output),
        #[cfg(target_arch = "aarch64")]
        Form::Neon => super::neon::convolve_rows(conv, sources, first_row, layout, output),
        #[cfg(target_arch = "aarch64")]
        Form::NeonDotprod => {
            super::dotprod::convolve_rows(conv, sources, first_row, layout, output)
        }
    }
}

/// One output from its sum.
pub fn requantise(sum: i32, multiplier: f32, top: u8) -> u8 {
    // Rounded first and clamped then, or the other way round: the bounds are whole numbers.
    (sum as f32 * multiplier).round_ties_even().clamp(0.0, f32::from(top)) as u8
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
        weight: Vec<i8>,
        bias: Vec<i32>,
        multiplier: Vec<f32>,
        input: Vec<u8>,
        top: u8,
    }

    impl Case {
        fn inputs(&self) -> usize {
            self.sources.iter().sum()
        }

        /// Pixel of a channel; zero outside the map.
        fn at(&self, channel: usize, y: isize, x: isize) -> i64 {
            let side = self.side as isize;
            if !(0..side).contains(&y) || !(0..side).contains(&x) {
                return 0;
            }
            i64::from(self.input[(channel * self.side + y as usize) * self.side + x as usize])
        }

        /// The definition, in 64 bits.
        fn expected(&self, output: usize, y: usize, x: usize) -> u8 {
            let (kernel, inputs) = (self.kernel, self.inputs());
            let before = (kernel / 2) as isize;
            let mut sum = i64::from(self.bias[output]);
            for channel in 0..inputs {
                for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                    let at = ((output * inputs + channel) * kernel + ky) * kernel + kx;
                    let (row, column) = ((y + ky) as isize - before, (x + kx) as isize - before);
                    sum += i64::from(self.weight[at]) * self.at(channel, row, column);
                }
            }
            let value = i32::try_from(sum).unwrap() as f32 * self.multiplier[output];
            value.round_ties_even().clamp(0.0, f32::from(self.top)) as u8
        }

        /// The maps in memory, filled-up channels holding zero.
        fn maps(&self) -> Vec<(Layout, Vec<u8>)> {
            let mut before = 0;
            self.sources
                .iter()
                .map(|&channels| {
                    let layout = Layout::new(channels, self.side);
                    let mut data = vec![0; layout.len()];
                    for channel in 0..channels {
                        for (y, x) in
                            (0..self.side).flat_map(|y| (0..self.side).map(move |x| (y, x)))
                        {
                            let value = self.at(before + channel, y as isize, x as isize) as u8;
                            data[index(layout, channel, y, x)] = value;
                        }
                    }
                    before += channels;
                    (layout, data)
                })
                .collect()
        }

        fn check(&self, form: Form) -> Result<(), TestCaseError> {
            let maps = self.maps();
            let sources: Vec<_> =
                maps.iter().map(|(layout, data)| Source::whole(*layout, data)).collect();
            let conv = IntegerConv::pack(&Plain {
                kernel: self.kernel,
                weight: &self.weight,
                bias: &self.bias,
                multiplier: &self.multiplier,
                sources: &self.sources,
                top: self.top,
                full_inputs: self.input.iter().any(|value| *value > 127),
            });
            let layout = Layout::new(self.outputs, self.side);
            // Every byte that is not a pixel must be left alone, the rows above the first too.
            let mut output = vec![0xAA; layout.len()];
            let first = self.side / 3;
            let rows = (first + 1) * layout.row_len()..layout.interior().end;
            convolve_rows(form, &conv, &sources, first, layout, &mut output[rows]);
            let mut expected = vec![0xAA; layout.len()];
            for (y, x) in (first..self.side).flat_map(|y| (0..self.side).map(move |x| (y, x))) {
                for channel in 0..layout.blocks * BLOCK {
                    expected[index(layout, channel, y, x)] =
                        if channel < self.outputs { self.expected(channel, y, x) } else { 0 };
                }
            }
            prop_assert!(output == expected, "{form:?} differs from the definition");
            Ok(())
        }
    }

    fn index(layout: Layout, channel: usize, y: usize, x: usize) -> usize {
        (y + 1) * layout.row_len()
            + channel / BLOCK * layout.block_len()
            + (x + 1) * BLOCK
            + channel % BLOCK
    }

    fn case() -> impl Strategy<Value = Case> {
        let shape = (
            prop_oneof![Just(1usize), Just(3)],
            1usize..50,
            prop::collection::vec(1usize..40, 1..3),
            1usize..50,
            any::<bool>(),
            0u8..3,
        );
        shape.prop_flat_map(|(kernel, side, sources, outputs, full, extreme)| {
            let inputs: usize = sources.iter().sum();
            let top: u8 = if full { 255 } else { 127 };
            // Extreme numbers as often as any, so that whatever can overflow does.
            let weight = match extreme {
                0 => prop_oneof![Just(-127i8), Just(127)].boxed(),
                _ => (-127i8..=127).boxed(),
            };
            let input = match extreme {
                0 => Just(top).boxed(),
                1 => prop_oneof![Just(0), Just(top)].boxed(),
                _ => (0..=top).boxed(),
            };
            (
                prop::collection::vec(weight, outputs * inputs * kernel * kernel),
                prop::collection::vec(-2_000_000i32..2_000_000, outputs),
                // With a half, sums lie between two integers as often as not.
                prop::collection::vec(prop_oneof![3 => 1e-6f32..1e-2, 1 => Just(0.5)], outputs),
                prop::collection::vec(input, inputs * side * side),
            )
                .prop_map(move |(weight, bias, multiplier, input)| Case {
                    kernel,
                    side,
                    sources: sources.clone(),
                    outputs,
                    weight,
                    bias,
                    multiplier,
                    input,
                    top,
                })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_form_equals_the_definition_in_64_bits(case in case()) {
            for form in Form::available() {
                case.check(form)?;
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_even() {
        let rounded = [1, 3, 5, 7].map(|sum| requantise(sum, 0.5, 255));
        assert_eq!(rounded, [0, 2, 2, 4]);
        assert_eq!((requantise(-9, 1.0, 127), requantise(300, 1.0, 127)), (0, 127));
        assert_eq!(requantise(300, 1.0, 255), 255);
    }
}
