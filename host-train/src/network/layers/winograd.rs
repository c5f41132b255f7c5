//! The minimal filtering algorithm F(4, 3) down the columns: half the multiplications of a
//! convolution with a window of three rows (Winograd 1980; Lavin & Gray 2016, in one dimension).
//!
//! For four rows g of an output, three rows w of a window and the six rows x of the input that they
//! meet, `sum over r, t of g[r] w[t] x[r + t] = sum over f of (A g)[f] (G w)[f] (B x)[f]`, exactly.
//! Read as a function of g, w and x it gives the output, the gradient of the window and that of the
//! input: all three passes share these matrices. They come from the points 0, 1, -1, 1/2, -2 and
//! infinity, which lose about half a bit against the plain sum in `f32`; 2 and -2 would lose more.

use super::simd::{Lanes, Level, Loop, One};

/// Rows of output that are computed together.
pub(super) const ROWS: usize = 4;
/// Rows of input that they depend on, which is also the number of products.
pub(super) const LINES: usize = 6;

/// G: what becomes of the three rows of a window.
pub(super) const WINDOW: [[f32; 3]; LINES] = [
    [1.0, 0.0, 0.0],
    [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
    [1.0 / 3.0, -1.0 / 3.0, 1.0 / 3.0],
    [16.0 / 15.0, 8.0 / 15.0, 4.0 / 15.0],
    [1.0 / 15.0, -2.0 / 15.0, 4.0 / 15.0],
    [0.0, 0.0, 1.0],
];

/// A constant matrix that makes `TO` rows of `FROM` rows.
pub(super) trait Matrix<const FROM: usize, const TO: usize> {
    const VALUES: [[f32; FROM]; TO];
}

/// B: six rows of the input.
pub(super) struct OfInput;
impl Matrix<LINES, LINES> for OfInput {
    const VALUES: [[f32; LINES]; LINES] = [
        [1.0, -1.5, -2.0, 1.5, 1.0, 0.0],
        [0.0, -1.0, 0.5, 2.5, 1.0, 0.0],
        [0.0, -1.0, 2.5, -0.5, -1.0, 0.0],
        [0.0, 2.0, 1.0, -2.0, -1.0, 0.0],
        [0.0, 0.5, -1.0, -0.5, 1.0, 0.0],
        [0.0, 1.0, -1.5, -2.0, 1.5, 1.0],
    ];
}

/// A: four rows of the output's gradient.
pub(super) struct OfGradient;
impl Matrix<ROWS, LINES> for OfGradient {
    const VALUES: [[f32; ROWS]; LINES] = [
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, -1.0, 1.0, -1.0],
        [1.0, 0.5, 0.25, 0.125],
        [1.0, -2.0, 4.0, -8.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
}

/// A transposed: four rows of output from the six products.
pub(super) struct ToOutput;
impl Matrix<LINES, ROWS> for ToOutput {
    const VALUES: [[f32; LINES]; ROWS] = [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 0.5, -2.0, 0.0],
        [0.0, 1.0, 1.0, 0.25, 4.0, 0.0],
        [0.0, 1.0, -1.0, 0.125, -8.0, 1.0],
    ];
}

/// Column by column, `to[k] = shift + sum over r of M[k][r] from[r]`; all rows have one length.
pub(super) fn combine<M: Matrix<FROM, TO>, const FROM: usize, const TO: usize>(
    level: Level,
    from: [&[f32]; FROM],
    to: [&mut [f32]; TO],
    shift: f32,
) {
    level.run(Combine::<M, FROM, TO> { from, to, shift, matrix: std::marker::PhantomData });
}

struct Combine<'a, M, const FROM: usize, const TO: usize> {
    from: [&'a [f32]; FROM],
    to: [&'a mut [f32]; TO],
    shift: f32,
    matrix: std::marker::PhantomData<M>,
}

// Vector loads and stores take raw pointers; the lengths are checked first.
#[allow(unsafe_code)]
impl<M: Matrix<FROM, TO>, const FROM: usize, const TO: usize> Loop for Combine<'_, M, FROM, TO> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(mut self) {
        let width = self.from[0].len();
        assert!(self.from.iter().all(|row| row.len() == width));
        assert!(self.to.iter().all(|row| row.len() == width));
        let mut from = [std::ptr::null(); FROM];
        from.iter_mut().zip(&self.from).for_each(|(p, row)| *p = row.as_ptr());
        let mut to = [std::ptr::null_mut(); TO];
        to.iter_mut().zip(&mut self.to).for_each(|(p, row)| *p = row.as_mut_ptr());
        let mut at = 0;
        // SAFETY: positions stay below `width`, the length of every row.
        unsafe {
            while at + S::COUNT <= width {
                columns::<S, M, FROM, TO>(&from, &to, at, self.shift);
                at += S::COUNT;
            }
            while at < width {
                columns::<One, M, FROM, TO>(&from, &to, at, self.shift);
                at += 1;
            }
        }
    }
}

/// The loops are unrolled, and what is multiplied by zero falls away.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn columns<S: Lanes, M: Matrix<FROM, TO>, const FROM: usize, const TO: usize>(
    from: &[*const f32; FROM],
    to: &[*mut f32; TO],
    at: usize,
    shift: f32,
) {
    // SAFETY: the caller vouches for `S::COUNT` elements from `at` on in every row.
    unsafe {
        let mut rows = [S::splat(0.0); FROM];
        for (r, lanes) in rows.iter_mut().enumerate() {
            *lanes = S::load(from[r].add(at));
        }
        for (to, factors) in to.iter().zip(&M::VALUES) {
            let mut sum = S::splat(shift);
            for (row, &factor) in rows.iter().zip(factors) {
                if factor != 0.0 {
                    sum = row.multiply_add(S::splat(factor), sum);
                }
            }
            sum.store(to.add(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identity for all unit vectors, in double precision.
    #[test]
    fn the_three_matrices_make_the_correlation() {
        let product = |f: usize, r: usize, t: usize, at: usize| {
            f64::from(OfGradient::VALUES[f][r])
                * f64::from(WINDOW[f][t])
                * f64::from(OfInput::VALUES[f][at])
        };
        for r in 0..ROWS {
            for at in 0..LINES {
                for t in 0..WINDOW[0].len() {
                    let sum: f64 = (0..LINES).map(|f| product(f, r, t, at)).sum();
                    let wanted = if at == r + t { 1.0 } else { 0.0 };
                    assert!((sum - wanted).abs() < 1e-6, "row {r}, tap {t}, input {at}: {sum}");
                }
            }
        }
        for k in 0..ROWS {
            for f in 0..LINES {
                assert_eq!(ToOutput::VALUES[k][f], OfGradient::VALUES[f][k]);
            }
        }
    }
}
