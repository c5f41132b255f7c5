//! Dropout whose mask is a pure function of a seed, so that a resumed training repeats it.

use crate::network::tape::Tape;
use candle_core::{Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Zeroes each element of `x` with `probability` in [0, 1) and divides the others by the share
/// that is kept, so that the expectation stays (Srivastava et al. 2014).
pub fn dropout(tape: &Tape, x: &Tensor, probability: f64, seed: u64) -> Result<Tensor> {
    if probability <= 0.0 {
        return Ok(x.clone());
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kept = (1.0 / (1.0 - probability)) as f32;
    let mask: Vec<f32> = (0..x.elem_count())
        .map(|_| {
            let drop = f64::from(random.next_u32()) < probability * (f64::from(u32::MAX) + 1.0);
            if drop { 0.0 } else { kept }
        })
        .collect();
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?;
    let y = (x.detach() * &mask)?;
    tape.record(&[x], &y, move |gradient| Ok(vec![Some((gradient * &mask)?)]))?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{noise, numeric_gradients};
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_share_kept_and_its_scale_are_right_and_the_seed_decides() {
        let x = Tensor::ones((100, 100), DType::F32, &Device::Cpu).unwrap();
        let draw = |seed| {
            dropout(&Tape::none(), &x, 0.8, seed)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        let y = draw(1);
        let kept = y.iter().filter(|&&v| v != 0.0).count();
        assert!((1850..2150).contains(&kept), "{kept}");
        assert!(y.iter().all(|&v| v == 0.0 || (v - 5.0).abs() < 1e-5));
        assert_eq!(y, draw(1));
        assert_ne!(y, draw(2));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        numeric_gradients(&[noise((3, 20), 1)], 1.0, 1e-5, |t, v| {
            dropout(t, &v[0], 0.5, 2).unwrap()
        });
    }
}
