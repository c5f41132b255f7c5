//! Global max pooling: the strongest response of each channel, wherever it is.

use super::{elements, read};
use crate::network::cuda;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

const NAME: &str = "global_max";

/// Maximum of `x` (B, C, H, W) over the plane; gives (B, C). The gradient goes to one element,
/// the first largest in reading order; a NaN wins.
pub fn global_max(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    if cuda::on_gpu(x) {
        return cuda::global_max(tape, x);
    }
    tape.apply1(GlobalMax, x)
}

struct GlobalMax;

fn first_largest(plane: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in plane.iter().enumerate() {
        if *value > plane[best] || (value.is_nan() && !plane[best].is_nan()) {
            best = at;
        }
    }
    best
}

impl CustomOp1 for GlobalMax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = elements(NAME, x, layout)?;
        let y = x.par_chunks(height * width).map(|plane| plane[first_largest(plane)]).collect();
        Ok((CpuStorage::F32(y), (batch, channels).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, height, width) = x.dims4()?;
        let gradient = gradient.contiguous()?;
        let mut dx = vec![0.0; x.elem_count()];
        read(NAME, x, |x| {
            read(NAME, &gradient, |g| {
                let planes = dx.par_chunks_mut(height * width).zip(x.par_chunks(height * width));
                planes.zip(g).for_each(|((dx, x), g)| dx[first_largest(x)] = *g);
            })
        })??;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{gradients_of_sum, noise, numeric_gradients};
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = noise((2, 3, 4, 5), 1);
        numeric_gradients(&[x], 1e-3, 1e-3, |t, v| global_max(t, &v[0]).unwrap());
    }

    #[test]
    fn of_equals_only_one_gets_the_gradient() {
        let x = Var::ones((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let grads = gradients_of_sum(|tape| global_max(tape, &x).unwrap());
        let dx = grads.get(x.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(dx, [1.0, 0.0, 0.0, 0.0]);
    }
}
