//! The joint of the decoder: bilinear upsampling by two, then the skip connection's channels.
//!
//! Both in one operation, because they write one tensor: a separate concatenation would copy the
//! largest maps of the network once more in each direction.

use super::{elements, read};
use crate::network::cuda;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

const NAME: &str = "upsample_concat";

/// `deep` (B, D, H, W) is enlarged to (2H, 2W) with corners aligned (the corner pixels' centres
/// stay corners, as `nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)`), and
/// `skip` (B, S, 2H, 2W) follows it: gives (B, D + S, 2H, 2W).
pub fn upsample_concat(tape: &Tape, deep: &Tensor, skip: &Tensor) -> Result<Tensor> {
    if cuda::on_gpu(deep) {
        return cuda::upsample_concat(tape, deep, skip);
    }
    tape.apply2(UpsampleConcat, deep, skip)
}

struct UpsampleConcat;

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    deep: usize,
    skip: usize,
    height: usize,
    width: usize,
}

fn sizes(deep: &Shape, skip: &Shape) -> Result<Sizes> {
    let (batch, channels, height, width) = deep.dims4()?;
    let (skip_batch, skip_channels, skip_height, skip_width) = skip.dims4()?;
    if (skip_batch, skip_height, skip_width) != (batch, 2 * height, 2 * width) {
        candle_core::bail!("{NAME}: {deep:?} enlarged does not meet {skip:?}");
    }
    Ok(Sizes { batch, deep: channels, skip: skip_channels, height, width })
}

impl CustomOp2 for UpsampleConcat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        deep: &CpuStorage,
        deep_layout: &Layout,
        skip: &CpuStorage,
        skip_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let s = sizes(deep_layout.shape(), skip_layout.shape())?;
        let deep = elements(NAME, deep, deep_layout)?;
        let skip = elements(NAME, skip, skip_layout)?;
        let (rows, columns) = (Axis::new(s.height), Axis::new(s.width));
        let (plane, channels) = (4 * s.height * s.width, s.deep + s.skip);
        let mut y = vec![0.0; s.batch * channels * plane];
        y.par_chunks_mut(plane).enumerate().for_each(|(at, y)| {
            let (image, c) = (at / channels, at % channels);
            if c < s.deep {
                let from = (image * s.deep + c) * s.height * s.width;
                enlarge(y, &deep[from..][..s.height * s.width], &rows, &columns);
            } else {
                y.copy_from_slice(&skip[(image * s.skip + c - s.deep) * plane..][..plane]);
            }
        });
        Ok((CpuStorage::F32(y), (s.batch, channels, 2 * s.height, 2 * s.width).into()))
    }

    fn bwd(
        &self,
        deep: &Tensor,
        skip: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let s = sizes(deep.shape(), skip.shape())?;
        let (rows, columns) = (Axis::new(s.height), Axis::new(s.width));
        let (plane, channels) = (4 * s.height * s.width, s.deep + s.skip);
        let mut to_deep = vec![0.0; deep.elem_count()];
        let mut to_skip = vec![0.0; skip.elem_count()];
        read(NAME, &gradient.contiguous()?, |g| {
            to_deep.par_chunks_mut(plane / 4).enumerate().for_each(|(at, to)| {
                let from = (at / s.deep * channels + at % s.deep) * plane;
                reduce(to, &g[from..][..plane], &rows, &columns);
            });
            to_skip.par_chunks_mut(plane).enumerate().for_each(|(at, to)| {
                let from = (at / s.skip * channels + s.deep + at % s.skip) * plane;
                to.copy_from_slice(&g[from..][..plane]);
            });
        })?;
        let to_deep = Tensor::from_vec(to_deep, deep.shape(), deep.device())?;
        let to_skip = Tensor::from_vec(to_skip, skip.shape(), skip.device())?;
        Ok((Some(to_deep), Some(to_skip)))
    }
}

/// How one axis of n samples is enlarged to 2n. With corners aligned, output j lies at
/// j (n - 1) / (2n - 1) of the input: output 2k between inputs k - 1 and k, output 2k + 1 between
/// k and k + 1.
struct Axis {
    /// Of inputs k - 1 and k in output 2k.
    even: Vec<[f32; 2]>,
    /// Of inputs k and k + 1 in output 2k + 1.
    odd: Vec<[f32; 2]>,
}

impl Axis {
    fn new(n: usize) -> Self {
        let step = (n as f64 - 1.0) / (2.0 * n as f64 - 1.0);
        let share = |k: usize, j: usize| {
            let upper = j as f64 * step - k as f64;
            [(1.0 - upper) as f32, upper as f32]
        };
        let even = (0..n).map(|k| if k == 0 { [0.0, 1.0] } else { share(k - 1, 2 * k) }).collect();
        let odd =
            (0..n).map(|k| if k + 1 == n { [1.0, 0.0] } else { share(k, 2 * k + 1) }).collect();
        Axis { even, odd }
    }

    fn len(&self) -> usize {
        self.even.len()
    }

    /// The two inputs of an output and their shares.
    fn at(&self, output: usize) -> (usize, usize, [f32; 2]) {
        let k = output / 2;
        if output.is_multiple_of(2) {
            (k.saturating_sub(1), k, self.even[k])
        } else {
            (k, (k + 1).min(self.len() - 1), self.odd[k])
        }
    }
}

fn enlarge(y: &mut [f32], x: &[f32], rows: &Axis, columns: &Axis) {
    let width = columns.len();
    // A column of zeros on either side spares the edges their own case: their shares are zero.
    let mut blend = vec![0.0; width + 2];
    for (j, y) in y.chunks_exact_mut(2 * width).enumerate() {
        let (a, b, [of_a, of_b]) = rows.at(j);
        let (upper, lower) = (&x[a * width..][..width], &x[b * width..][..width]);
        for ((to, upper), lower) in blend[1..].iter_mut().zip(upper).zip(lower) {
            *to = upper * of_a + lower * of_b;
        }
        let shares = columns.even.iter().zip(&columns.odd);
        for ((y, x), (even, odd)) in y.chunks_exact_mut(2).zip(blend.windows(3)).zip(shares) {
            y[0] = x[0] * even[0] + x[1] * even[1];
            y[1] = x[1] * odd[0] + x[2] * odd[1];
        }
    }
}

/// The transpose of [`enlarge`]: collects what each input sample contributed to.
fn reduce(to: &mut [f32], g: &[f32], rows: &Axis, columns: &Axis) {
    let width = columns.len();
    let mut blend = vec![0.0f32; 2 * width + 2];
    let weights: Vec<[f32; 4]> = (0..width).map(|k| transposed(columns, k)).collect();
    for (k, to) in to.chunks_exact_mut(width).enumerate() {
        blend.fill(0.0);
        for (at, share) in transposed(rows, k).into_iter().enumerate() {
            // Outputs 2k - 1 to 2k + 2 read input k.
            let Some(row) = (2 * k + at).checked_sub(1).filter(|row| *row < 2 * rows.len()) else {
                continue;
            };
            let g = &g[row * 2 * width..][..2 * width];
            blend[1..].iter_mut().zip(g).for_each(|(sum, g)| *sum += share * g);
        }
        let windows = blend.windows(4).step_by(2);
        for ((to, g), w) in to.iter_mut().zip(windows).zip(&weights) {
            *to = (g[0] * w[0] + g[1] * w[1]) + (g[2] * w[2] + g[3] * w[3]);
        }
    }
}

/// Shares of input k in outputs 2k - 1, 2k, 2k + 1, 2k + 2.
fn transposed(axis: &Axis, k: usize) -> [f32; 4] {
    let before = if k == 0 { 0.0 } else { axis.odd[k - 1][1] };
    let after = if k + 1 == axis.len() { 0.0 } else { axis.even[k + 1][0] };
    [before, axis.even[k][1], axis.odd[k][0], after]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{noise, numeric_gradients};
    use super::*;
    use candle_core::Device;

    #[test]
    fn corners_stay_and_a_ramp_stays_a_ramp() {
        let deep = Tensor::new(&[[[[0.0f32, 3.0], [6.0, 9.0]]]], &Device::Cpu).unwrap();
        let skip = Tensor::zeros((1, 1, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let y = upsample_concat(&Tape::none(), &deep, &skip).unwrap();
        assert_eq!(y.dims(), [1, 2, 4, 4]);
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (at, y) in y[..16].iter().enumerate() {
            let wanted = (at % 4) as f32 + 2.0 * (at / 4) as f32;
            assert!((y - wanted).abs() < 1e-5, "{at}: {y}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (height, width) in [(3, 5), (1, 1), (2, 1), (4, 4)] {
            let deep = noise((2, 2, height, width), 1);
            let skip = noise((2, 3, 2 * height, 2 * width), 2);
            // Linear, so a step of one is exact.
            numeric_gradients(&[deep, skip], 1.0, 1e-5, |t, v| {
                upsample_concat(t, &v[0], &v[1]).unwrap()
            });
        }
    }
}
