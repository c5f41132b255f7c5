//! Convolution as the network uses it: 3x3 with padding 1, or 1x1; stride 1, with bias.

use super::conv_kernel::{PackedWeights, convolve};
use super::conv_weight::{bias_gradient, weight_gradient};
use super::simd::Level;
use super::strips::Sizes;
use super::{elements, pointwise, read};
use crate::network::cuda;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

const NAME: &str = "conv2d";

/// Convolves `x` (B, I, H, W) with `weight` (O, I, 3, 3), padding 1, or (O, I, 1, 1), and adds
/// `bias` (O); gives (B, O, H, W).
///
/// All three get gradients, `x` only where something before it can use it: the first layer's
/// images cost nothing.
pub fn conv2d(tape: &Tape, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if cuda::on_gpu(x) {
        return cuda::conv2d(tape, x, weight, bias);
    }
    let op = Conv2d { level: Level::detect(), to_x: tape.reaches(x) };
    tape.apply3(op, x, weight, bias)
}

struct Conv2d {
    level: Level,
    /// Whether x needs a gradient.
    to_x: bool,
}

/// The sizes and the side of the window.
pub(super) fn sizes(x: &Shape, weight: &Shape) -> Result<(Sizes, usize)> {
    let (batch, inputs, height, width) = x.dims4()?;
    let (outputs, weight_inputs, kernel, kernel_width) = weight.dims4()?;
    if inputs != weight_inputs || kernel != kernel_width || (kernel != 3 && kernel != 1) {
        candle_core::bail!("{NAME}: input {x:?} does not fit weight {weight:?}");
    }
    Ok((Sizes { batch, inputs, outputs, height, width }, kernel))
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (sizes, kernel) = sizes(x_layout.shape(), weight_layout.shape())?;
        let x = elements(NAME, x, x_layout)?;
        let weight = elements(NAME, weight, weight_layout)?;
        let bias = elements(NAME, bias, bias_layout)?;
        if bias.len() != sizes.outputs {
            candle_core::bail!("{NAME}: {} biases for {} channels", bias.len(), sizes.outputs);
        }
        let y = if kernel == 3 {
            let packed = PackedWeights::forward(self.level, weight, sizes.outputs, sizes.inputs);
            convolve(x, &packed, Some(bias), sizes)
        } else {
            pointwise::forward(x, weight, bias, sizes)
        };
        let shape = (sizes.batch, sizes.outputs, sizes.height, sizes.width);
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (sizes, kernel) = sizes(x.shape(), weight.shape())?;
        let gradient = gradient.contiguous()?;
        let grads = read(NAME, &gradient, |g| -> Result<_> {
            let to_x = if self.to_x {
                Some(read(NAME, weight, |w| input_gradient(self.level, w, g, sizes, kernel))?)
            } else {
                None
            };
            let to_weight = read(NAME, x, |x| match kernel {
                3 => weight_gradient(self.level, x, g, sizes),
                _ => pointwise::weight_gradient(x, g, sizes),
            })?;
            let to_bias = bias_gradient(g, sizes.outputs, sizes.height * sizes.width);
            Ok((to_x, to_weight, to_bias))
        })??;
        let device = x.device();
        let to_x = grads.0.map(|values| Tensor::from_vec(values, x.shape(), device)).transpose()?;
        let to_weight = Tensor::from_vec(grads.1, weight.shape(), device)?;
        let to_bias = Tensor::from_vec(grads.2, bias.shape(), device)?;
        Ok((to_x, Some(to_weight), Some(to_bias)))
    }
}

/// The gradient of a convolution's input from that of its output.
pub(super) fn input_gradient(
    level: Level,
    weight: &[f32],
    gradient: &[f32],
    sizes: Sizes,
    kernel: usize,
) -> Vec<f32> {
    if kernel == 1 {
        return pointwise::input_gradient(weight, gradient, sizes);
    }
    let packed = PackedWeights::transposed(level, weight, sizes.outputs, sizes.inputs);
    let turned = Sizes { inputs: sizes.outputs, outputs: sizes.inputs, ..sizes };
    convolve(gradient, &packed, None, turned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{noise, numeric_gradients};
    use super::*;
    use candle_core::Var;

    /// The definition, in f64: (x, w, b) -> y.
    fn direct(x: &[f32], w: &[f32], b: &[f32], s: Sizes, kernel: usize) -> Vec<f64> {
        let (h, wd, pad) = (s.height as isize, s.width as isize, (kernel / 2) as isize);
        let mut y = Vec::new();
        for (n, o) in (0..s.batch).flat_map(|n| (0..s.outputs).map(move |o| (n, o))) {
            for (py, px) in (0..h).flat_map(|py| (0..wd).map(move |px| (py, px))) {
                let mut sum = f64::from(b[o]);
                for i in 0..s.inputs {
                    for t in 0..kernel * kernel {
                        let qy = py + (t / kernel) as isize - pad;
                        let qx = px + (t % kernel) as isize - pad;
                        if (0..h).contains(&qy) && (0..wd).contains(&qx) {
                            let at = ((n * s.inputs + i) as isize * h + qy) * wd + qx;
                            let weight = w[(o * s.inputs + i) * kernel * kernel + t];
                            sum += f64::from(x[at as usize]) * f64::from(weight);
                        }
                    }
                }
                y.push(sum);
            }
        }
        y
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn apply(tape: &Tape, level: Level, x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
        tape.apply3(Conv2d { level, to_x: true }, x, w, b).unwrap()
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        // Odd sizes, channel counts off the block size, more channels than a pass, several tiles.
        for (batch, inputs, outputs, height, width, kernel) in [
            (2, 3, 5, 7, 9, 3),
            (1, 140, 9, 5, 3, 3),
            (1, 4, 4, 1, 1, 3),
            (1, 20, 3, 40, 60, 3),
            (3, 70, 17, 9, 35, 3),
            (2, 1, 8, 2, 33, 3),
            (2, 6, 2, 5, 4, 1),
        ] {
            let s = Sizes { batch, inputs, outputs, height, width };
            let x = noise((batch, inputs, height, width), 1);
            let w = noise((outputs, inputs, kernel, kernel), 2);
            let b = noise(outputs, 3);
            let wanted = direct(&flat(&x), &flat(&w), &flat(&b), s, kernel);
            let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
            for level in Level::supported() {
                let y = flat(&apply(&Tape::none(), level, &x, &w, &b));
                let off: Vec<f64> = y.iter().zip(&wanted).map(|(y, w)| f64::from(*y) - w).collect();
                // The plain sum in single precision is off by up to about 5e-7. One wrong value of
                // the thousands here would be off by more than 1e-3.
                let error = norm(&off) / norm(&wanted);
                assert!(error < 1.5e-6, "{level:?} {s:?}: {error:e}");
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (batch, inputs, outputs, height, width, kernel) in
            [(2, 3, 4, 5, 6, 3), (3, 2, 1, 4, 4, 1), (2, 5, 9, 3, 3, 3)]
        {
            let x = noise((batch, inputs, height, width), 4);
            let w = noise((outputs, inputs, kernel, kernel), 5);
            let b = noise(outputs, 6);
            for level in Level::supported() {
                let inputs = [x.clone(), w.clone(), b.clone()];
                // Bilinear, so a step of one is exact.
                numeric_gradients(&inputs, 1.0, 1e-4, |t, v| apply(t, level, &v[0], &v[1], &v[2]));
            }
        }
    }

    /// On sizes of many tiles, where a difference for each element would take too long: with y
    /// linear in x and in w, `<dx, x'> = <dy, y(x', w)>` and `<dw, w'> = <dy, y(x, w')>`.
    #[test]
    fn gradients_are_the_adjoints_of_the_definition() {
        for (batch, inputs, outputs, height, width) in
            [(2, 24, 16, 33, 31), (1, 40, 130, 18, 70), (5, 130, 70, 8, 8)]
        {
            let s = Sizes { batch, inputs, outputs, height, width };
            let (x, other_x) = (noise((batch, inputs, height, width), 1), 2);
            let (w, other_w) = (noise((outputs, inputs, 3, 3), 3), 4);
            let dy = noise((batch, outputs, height, width), 5);
            let (other_x, other_w) =
                (noise(x.shape().clone(), other_x), noise(w.shape().clone(), other_w));
            let dot = |a: &[f64], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
            };
            let none = vec![0.0; outputs];
            let along_x = dot(&direct(&flat(&other_x), &flat(&w), &none, s, 3), &flat(&dy));
            let along_w = dot(&direct(&flat(&x), &flat(&other_w), &none, s, 3), &flat(&dy));
            for level in Level::supported() {
                let double =
                    |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
                let dx = double(input_gradient(level, &flat(&w), &flat(&dy), s, 3));
                let dw = double(weight_gradient(level, &flat(&x), &flat(&dy), s));
                // Of the order of a sum of as many random terms.
                let scale = ((x.elem_count() * outputs * 9) as f64).sqrt() / 5.0;
                let error_x = (dot(&dx, &flat(&other_x)) - along_x).abs() / scale;
                let error_w = (dot(&dw, &flat(&other_w)) - along_w).abs() / scale;
                assert!(error_x < 1e-6 && error_w < 1e-6, "{level:?} {s:?}: {error_x} {error_w}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_threads() {
        let s = Sizes { batch: 4, inputs: 24, outputs: 16, height: 33, width: 31 };
        let (x, g) = (noise((4, 24, 33, 31), 7), noise((4, 16, 33, 31), 8));
        let w = noise((16, 24, 3, 3), 9);
        for level in Level::supported() {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let dw = weight_gradient(level, &flat(&x), &flat(&g), s);
                    (dw, input_gradient(level, &flat(&w), &flat(&g), s, 3))
                })
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(5));
        }
    }

    #[test]
    fn images_get_no_gradient() {
        let x = noise((1, 3, 4, 4), 1);
        let w = Var::from_tensor(&noise((2, 3, 3, 3), 2)).unwrap();
        let b = Var::from_tensor(&noise(2, 3)).unwrap();
        let tape = Tape::begin(&x);
        let y = tape.end(&conv2d(&tape, &x, &w, &b).unwrap()).unwrap();
        let mut grads = y.sum_all().unwrap().backward().unwrap();
        tape.backward(&mut grads).unwrap();
        assert!(grads.get(&x).is_none() && grads.get(w.as_tensor()).is_some());
    }
}
