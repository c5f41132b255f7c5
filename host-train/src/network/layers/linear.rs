//! One linear unit: the last step of the glaucoma head.

use crate::network::tape::Tape;
use candle_core::{Result, Tensor};

/// `x` (B, C) times `weight` (1, C), summed, plus `bias` (1): gives (B).
pub fn linear(tape: &Tape, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (plain, row) = (x.detach(), weight.detach());
    let y = plain.broadcast_mul(&row)?.sum(1)?.broadcast_add(&bias.detach())?;
    tape.record(&[x, weight, bias], &y, move |gradient| {
        let column = gradient.unsqueeze(1)?;
        let to_x = column.broadcast_mul(&row)?;
        let to_weight = plain.broadcast_mul(&column)?.sum_keepdim(0)?;
        Ok(vec![Some(to_x), Some(to_weight), Some(column.sum(0)?)])
    })?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{noise, numeric_gradients};
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences() {
        // Bilinear, so a step of one is exact.
        let inputs = [noise((3, 5), 1), noise((1, 5), 2), noise(1, 3)];
        numeric_gradients(&inputs, 1.0, 1e-5, |t, v| linear(t, &v[0], &v[1], &v[2]).unwrap());
    }
}
