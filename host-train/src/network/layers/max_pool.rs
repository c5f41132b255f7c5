//! 2x2 max pooling with stride 2.

use super::{elements, read};
use crate::network::cuda;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

const NAME: &str = "max_pool_2x2";

/// Maximum over 2x2 windows of `x` (B, C, H, W); gives (B, C, H / 2, W / 2), odd edges left out.
/// The gradient goes to the window's first largest element in reading order; a NaN wins.
pub fn max_pool(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    if cuda::on_gpu(x) {
        return cuda::max_pool(tape, x);
    }
    tape.apply1(MaxPool, x)
}

struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        if height < 2 || width < 2 {
            candle_core::bail!("{NAME}: {height}x{width} is smaller than a window");
        }
        let x = elements(NAME, x, layout)?;
        let mut y = vec![0.0; batch * channels * (height / 2) * (width / 2)];
        y.par_chunks_mut((height / 2) * (width / 2)).zip(x.par_chunks(height * width)).for_each(
            |(y, x)| {
                for (y, rows) in y.chunks_mut(width / 2).zip(x.chunks(2 * width)) {
                    let (upper, lower) = rows.split_at(width);
                    let windows = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                    for (y, (upper, lower)) in y.iter_mut().zip(windows) {
                        *y = larger(larger(upper[0], upper[1]), larger(lower[0], lower[1]));
                    }
                }
            },
        );
        Ok((CpuStorage::F32(y), (batch, channels, height / 2, width / 2).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, height, width) = x.dims4()?;
        let gradient = gradient.contiguous()?;
        let mut dx = vec![0.0; x.elem_count()];
        let out = (height / 2) * (width / 2);
        read(NAME, x, |x| {
            read(NAME, y, |y| {
                read(NAME, &gradient, |g| {
                    dx.par_chunks_mut(height * width)
                        .zip(x.par_chunks(height * width))
                        .zip(y.par_chunks(out).zip(g.par_chunks(out)))
                        .for_each(|((dx, x), (y, g))| plane_gradient(dx, x, y, g, width))
                })
            })
        })???;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// The second only where it is truly larger, or not a number.
#[inline(always)]
fn larger(first: f32, second: f32) -> f32 {
    if second > first || second.is_nan() { second } else { first }
}

fn plane_gradient(dx: &mut [f32], x: &[f32], y: &[f32], g: &[f32], width: usize) {
    let rows = dx.chunks_mut(2 * width).zip(x.chunks(2 * width));
    for ((dx, x), (y, g)) in rows.zip(y.chunks(width / 2).zip(g.chunks(width / 2))) {
        let (dx_upper, dx_lower) = dx.split_at_mut(width);
        let (upper, lower) = x.split_at(width);
        let out = dx_upper.chunks_exact_mut(2).zip(dx_lower.chunks_exact_mut(2));
        let windows = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (((above, below), (upper, lower)), (&y, &g)) in out.zip(windows).zip(y.iter().zip(g)) {
            // Branchless: the position of the largest is as good as random.
            let first = upper[0] == y;
            let second = !first & (upper[1] == y);
            let third = !first & !second & (lower[0] == y);
            above[0] = if first { g } else { 0.0 };
            above[1] = if second { g } else { 0.0 };
            below[0] = if third { g } else { 0.0 };
            below[1] = if first | second | third { 0.0 } else { g };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{gradients_of_sum, noise, numeric_gradients};
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn gradients_agree_with_finite_differences() {
        for shape in [(2, 3, 4, 6), (1, 2, 5, 7)] {
            numeric_gradients(&[noise(shape, 1)], 1e-3, 1e-3, |t, v| max_pool(t, &v[0]).unwrap());
        }
    }

    #[test]
    fn of_equals_the_first_gets_the_gradient() {
        let x = Tensor::new(&[[[[1.0f32, 1.0], [1.0, 1.0]]]], &Device::Cpu).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let grads = gradients_of_sum(|tape| max_pool(tape, &x).unwrap());
        let dx = grads.get(x.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(dx, [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_nan_is_not_hidden() {
        let x = Tensor::new(&[[[[1.0f32, f32::NAN], [2.0, 0.0]]]], &Device::Cpu).unwrap();
        let y =
            max_pool(&Tape::none(), &x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(y[0].is_nan());
    }
}
