//! What a pass through the network leaves behind for the way back.
//!
//! The tensor library has a tape of its own, but it fills every gradient with zeros and then adds the
//! first contribution to them, on one thread: a tenth of a training step, a fifth of the bytes a GPU
//! moves. Here the first contribution *is* the gradient. The library's tape begins where this one ends:
//! the logits are variables to it ([`Tape::end`]), and it does the few numbers of the losses.

use super::cuda;
use super::layers::read;
use candle_core::backprop::GradStore;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, Var};
use rayon::prelude::*;
use std::cell::RefCell;
use std::fmt;

const NAME: &str = "tape";
/// Elements a thread adds at once.
const RUN: usize = 16 * 1024;

/// The operations of one pass in their order, each with its way back.
///
/// What an operation takes must be known: a variable, the images that the pass begins at, or the result
/// of an operation on the same tape. Anything else is refused, since its gradient would be lost without
/// a word.
#[derive(Default)]
pub struct Tape {
    /// Where the pass begins: gets no gradient. `None`: nothing is recorded.
    images: Option<Tensor>,
    steps: RefCell<Vec<Step>>,
}

/// An operation that was applied.
struct Step {
    inputs: Vec<Tensor>,
    output: Tensor,
    back: Box<Back>,
}

/// From the gradient of the output to those of the inputs, in their order; `None` for one that has none.
type Back = dyn Fn(&Tensor) -> Result<Vec<Option<Tensor>>>;

impl Tape {
    /// A tape for a pass that begins at `images`.
    #[must_use]
    pub fn begin(images: &Tensor) -> Self {
        Self { images: Some(images.clone()), steps: RefCell::default() }
    }

    /// Keeps nothing: for passes without a way back.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether anything can use a gradient of `x`: a variable, or what came from one.
    #[must_use]
    pub fn reaches(&self, x: &Tensor) -> bool {
        x.is_variable() || self.steps.borrow().iter().any(|step| step.output.id() == x.id())
    }

    /// `op` of `x`.
    ///
    /// # Errors
    /// Those of the operation; an input that the tape does not know.
    pub fn apply1(&self, op: impl CustomOp1 + 'static, x: &Tensor) -> Result<Tensor> {
        let y = x.apply_op1_no_bwd(&op)?;
        let (of, result) = (x.clone(), y.clone());
        let back = move |gradient: &Tensor| Ok(vec![op.bwd(&of, &result, gradient)?]);
        self.record(&[x], &y, back)?;
        Ok(y)
    }

    /// `op` of `a` and `b`.
    ///
    /// # Errors
    /// As [`Tape::apply1`].
    pub fn apply2(&self, op: impl CustomOp2 + 'static, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let y = a.apply_op2_no_bwd(b, &op)?;
        let (of, result) = ([a.clone(), b.clone()], y.clone());
        let back = move |gradient: &Tensor| {
            let (to_a, to_b) = op.bwd(&of[0], &of[1], &result, gradient)?;
            Ok(vec![to_a, to_b])
        };
        self.record(&[a, b], &y, back)?;
        Ok(y)
    }

    /// `op` of `a`, `b` and `c`.
    ///
    /// # Errors
    /// As [`Tape::apply1`].
    pub fn apply3(
        &self,
        op: impl CustomOp3 + 'static,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
    ) -> Result<Tensor> {
        let y = a.apply_op3_no_bwd(b, c, &op)?;
        let (of, result) = ([a.clone(), b.clone(), c.clone()], y.clone());
        let back = move |gradient: &Tensor| {
            let (to_a, to_b, to_c) = op.bwd(&of[0], &of[1], &of[2], &result, gradient)?;
            Ok(vec![to_a, to_b, to_c])
        };
        self.record(&[a, b, c], &y, back)?;
        Ok(y)
    }

    /// Vectors one after the other.
    ///
    /// # Errors
    /// As [`Tape::apply1`].
    pub fn concat(&self, vectors: &[&Tensor]) -> Result<Tensor> {
        let plain: Vec<Tensor> = vectors.iter().map(|vector| vector.detach()).collect();
        let lengths = plain.iter().map(Tensor::dims1).collect::<Result<Vec<usize>>>()?;
        let y = Tensor::cat(&plain, 0)?;
        let back = move |gradient: &Tensor| {
            let mut from = 0;
            let part = |&length: &usize| {
                from += length;
                gradient.narrow(0, from - length, length).map(Some)
            };
            lengths.iter().map(part).collect()
        };
        self.record(vectors, &y, back)?;
        Ok(y)
    }

    /// Notes that `output` was made of `inputs`, and the way `back` to their gradients.
    ///
    /// # Errors
    /// An input that the tape does not know.
    pub fn record(
        &self,
        inputs: &[&Tensor],
        output: &Tensor,
        back: impl Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Result<()> {
        let Some(images) = &self.images else { return Ok(()) };
        for input in inputs {
            if input.id() != images.id() && !self.reaches(input) {
                candle_core::bail!("{NAME}: {:?} comes from no operation on it", input.shape());
            }
        }
        let inputs = inputs.iter().map(|&input| input.clone()).collect();
        let step = Step { inputs, output: output.clone(), back: Box::new(back) };
        self.steps.borrow_mut().push(step);
        Ok(())
    }

    /// What the pass gives to the outside: a variable of the tensor library with the value of `y`, so
    /// that its tape goes on from here. The value is copied.
    ///
    /// # Errors
    /// As [`Tape::apply1`].
    pub fn end(&self, y: &Tensor) -> Result<Tensor> {
        if self.images.is_none() {
            return Ok(y.clone());
        }
        let leaf = Var::from_tensor(y)?.into_inner();
        self.record(&[y], &leaf, |gradient| Ok(vec![Some(gradient.clone())]))?;
        Ok(leaf)
    }

    /// Goes back from the gradients of the ends to those of all variables, in place. May be done
    /// several times.
    ///
    /// # Errors
    /// Failures of the operations.
    pub fn backward(&self, gradients: &mut GradStore) -> Result<()> {
        for step in self.steps.borrow().iter().rev() {
            let Some(gradient) = gradients.remove(&step.output) else { continue };
            let parts = (step.back)(&gradient)?;
            for (input, part) in step.inputs.iter().zip(parts) {
                let Some(part) = part.filter(|_| self.reaches(input)) else { continue };
                let sum = match gradients.remove(input) {
                    Some(before) => sum(&before, &part)?,
                    None => part,
                };
                gradients.insert(input, sum);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Tape of {} operations", self.steps.borrow().len())
    }
}

fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if cuda::on_gpu(a) {
        return a + b;
    }
    let mut sum = vec![0.0f32; a.elem_count()];
    read(NAME, a, |a| {
        read(NAME, b, |b| {
            let parts = a.par_chunks(RUN).zip(b.par_chunks(RUN));
            sum.par_chunks_mut(RUN).zip(parts).for_each(|(sum, (a, b))| {
                sum.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum = a + b);
            });
        })
    })??;
    Tensor::from_vec(sum, a.shape(), a.device())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::layers::check::noise;
    use super::super::layers::max_pool::max_pool;
    use super::super::layers::upsample_concat::upsample_concat;
    use super::*;

    /// Long enough for several runs of a sum.
    fn variable() -> Var {
        Var::from_tensor(&noise((2, 3, 128, 256), 1)).unwrap()
    }

    #[test]
    fn the_gradient_of_what_is_used_twice_is_the_sum_and_every_way_back_gives_the_same() {
        let (x, images) = (variable(), noise(1, 2));
        let tape = Tape::begin(&images);
        let small = max_pool(&tape, &x).unwrap();
        let y = tape.end(&upsample_concat(&tape, &small, &x).unwrap()).unwrap();
        let loss = (&y * 3.0).unwrap().sum_all().unwrap();
        let back = || {
            let mut gradients = loss.backward().unwrap();
            tape.backward(&mut gradients).unwrap();
            gradients.get(x.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let found = back();
        assert_eq!(found, back());
        // Through the skip connection every element has 3; a window's largest has the enlarged map's
        // weight on top, which is 4 x 3 on average.
        let values: Vec<f64> = found.iter().map(|&g| f64::from(g)).collect();
        assert!(values.iter().all(|&g| g >= 3.0));
        assert_eq!(values.iter().filter(|&&g| g > 3.0).count(), found.len() / 4);
        assert!((values.iter().sum::<f64>() / (6.0 * found.len() as f64) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn what_no_operation_on_the_tape_gave_is_refused() {
        let (x, images) = (variable(), noise(1, 2));
        let tape = Tape::begin(&images);
        let elsewhere = max_pool(&Tape::none(), &x).unwrap();
        let refused = max_pool(&tape, &elsewhere).unwrap_err();
        assert!(refused.to_string().contains("comes from no operation"), "{refused}");
        let of_the_library = (x.as_tensor() * 2.0).unwrap();
        assert!(max_pool(&tape, &of_the_library).is_err());
        assert!(max_pool(&Tape::none(), &of_the_library).is_ok());
    }
}
