//! Rounding to the grids that a quantised file computes on, in a training that is to take it into
//! account (Jacob et al. 2018). Forward the values are rounded; backward the gradient passes straight
//! through (Bengio et al. 2013), except where a value was cut off.

use super::{elements, read};
use crate::network::grid::on_grid;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

const NAME: &str = "fake_quant";
/// Elements a thread takes at once.
const RUN: usize = 16 * 1024;
/// The largest integer of a weight.
const LARGEST_WEIGHT: f32 = 127.0;

/// `x` on a grid of `steps` steps of `scale` above 0; below it and beyond the last step it is cut off,
/// and gets no gradient.
pub fn fake_quant_map(tape: &Tape, x: &Tensor, scale: f32, steps: f32) -> Result<Tensor> {
    tape.apply1(OnGrid { scale, steps }, x)
}

/// `weight` (O, ...) in 127 steps each way of its output channel's largest: nothing is cut off.
pub fn fake_quant_weight(tape: &Tape, weight: &Tensor) -> Result<Tensor> {
    tape.apply1(OnChannelGrids, weight)
}

struct OnGrid {
    scale: f32,
    steps: f32,
}

impl CustomOp1 for OnGrid {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(NAME, x, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(RUN).zip(x.par_chunks(RUN)).for_each(|(y, x)| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = on_grid(x, self.scale, self.steps);
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let mut dx = vec![0.0; x.elem_count()];
        read(NAME, x, |x| {
            read(NAME, &gradient, |g| {
                let runs = dx.par_chunks_mut(RUN).zip(x.par_chunks(RUN)).zip(g.par_chunks(RUN));
                runs.for_each(|((dx, x), g)| {
                    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
                        let told = x >= 0.0 && (x / self.scale).round_ties_even() <= self.steps;
                        *dx = if told { g } else { 0.0 };
                    }
                });
            })
        })??;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

struct OnChannelGrids;

impl CustomOp1 for OnChannelGrids {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, weight: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape();
        let mut weight = elements(NAME, weight, layout)?.to_vec();
        let outputs = shape.dims().first().copied().unwrap_or(1).max(1);
        for channel in weight.chunks_mut(shape.elem_count().div_ceil(outputs).max(1)) {
            let largest = channel.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
            let scale = largest / LARGEST_WEIGHT;
            if scale.is_normal() {
                let round =
                    |weight: &mut f32| *weight = (*weight / scale).round_ties_even() * scale;
                channel.iter_mut().for_each(round);
            }
        }
        Ok((CpuStorage::F32(weight), shape.clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::check::{gradients_of_sum, noise, numeric_gradients};
    use super::*;
    use candle_core::{Device, Var};

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Over many steps of the staircase a difference quotient sees the slope that the tape claims. The
    /// inputs keep away from 0 and from the last step, where the slope jumps.
    #[test]
    fn gradients_agree_with_differences_over_many_steps() {
        // From -3 to 3 in steps of 0.25, moved off 0 and 1.5 by an eighth.
        let x: Vec<f32> = (0..25).map(|k| (k as f32 - 12.0) * 0.25 + 0.125).collect();
        let x = Tensor::from_vec(x, (1, 1, 5, 5), &Device::Cpu).unwrap();
        numeric_gradients(&[x], 0.1, 2e-3, |t, v| {
            fake_quant_map(t, &v[0], 1e-4, 15_000.0).unwrap()
        });
        // Nothing moves the largest weight of a channel, which sets the grid: 5 and -5.
        let weight = (noise((2, 3, 3, 3), 4) * 0.5).unwrap();
        let grid = |tape: &Tape, v: &Tensor| {
            let ends = Tensor::new(&[[[[5.0f32; 3]; 3]], [[[-5.0; 3]; 3]]], &Device::Cpu).unwrap();
            let whole = Tensor::cat(&[v.detach(), ends], 1).unwrap();
            let back = |gradient: &Tensor| Ok(vec![Some(gradient.narrow(1, 0, 3)?.contiguous()?)]);
            tape.record(&[v], &whole, back).unwrap();
            fake_quant_weight(tape, &whole).unwrap()
        };
        numeric_gradients(&[weight], 1.0, 0.05, |t, v| grid(t, &v[0]));
    }

    #[test]
    fn what_is_cut_off_gets_no_gradient_and_a_second_rounding_changes_nothing() {
        let x = Var::new(&[-0.2f32, 0.0, 0.1, 0.6, 31.7, 31.9, 40.0], &Device::Cpu).unwrap();
        let once = |tape: &Tape, x: &Tensor| fake_quant_map(tape, x, 0.25, 127.0).unwrap();
        let y = once(&Tape::none(), &x);
        assert_eq!(values(&y), [0.0, 0.0, 0.0, 0.5, 31.75, 31.75, 31.75]);
        assert_eq!(values(&once(&Tape::none(), &y)), values(&y));
        let grads = gradients_of_sum(|tape| once(tape, &once(tape, &x)));
        let open = values(grads.get(x.as_tensor()).unwrap());
        assert_eq!(open, [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let nan = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
        assert!(values(&once(&Tape::none(), &nan))[0].is_nan());
    }

    #[test]
    fn each_channel_of_a_weight_has_a_grid_of_its_own() {
        let weight =
            Tensor::new(&[[1.27f32, -0.004, 0.006], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        let found = values(&fake_quant_weight(&Tape::none(), &weight).unwrap());
        let expected = [1.27, 0.0, 0.01, 0.0, 0.0, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }
}
