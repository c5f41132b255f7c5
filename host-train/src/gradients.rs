//! The gradient of a loss, parameter by parameter.

use crate::network::layers::{elements, read};
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Storage, Tensor, Var};
use rayon::prelude::*;

const NAME: &str = "gradients";
/// Elements summed at once: fixed, so that no sum depends on the number of threads.
const RUN: usize = 16 * 1024;
/// Sums kept side by side, which the compiler turns into vector instructions.
const LANES: usize = 8;

/// One entry for each parameter of a network, in the order of [`crate::network::UNet::parameters`];
/// `None` where the loss does not reach.
#[derive(Clone, Debug, Default)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// Those of `parameters` among what a way back found.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn of(store: &GradStore, parameters: &[(String, Var)]) -> Result<Self> {
        let contiguous = |(_, var): &(String, Var)| {
            store.get(var.as_tensor()).map(Tensor::contiguous).transpose()
        };
        Ok(Self(parameters.iter().map(contiguous).collect::<Result<_>>()?))
    }

    /// Gradients that reach nothing, for `count` parameters.
    #[must_use]
    pub fn none(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// The entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&Tensor>> {
        self.0.iter().map(Option::as_ref)
    }

    /// The entries in order, to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Option<Tensor>> {
        self.0.iter_mut()
    }

    /// The inner product with `other` over the parameters that `over` admits, in double precision;
    /// an entry that either lacks counts as zero.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn dot(&self, other: &Self, over: impl Fn(usize) -> bool) -> Result<f64> {
        let mut sum = 0.0;
        for (at, (a, b)) in self.0.iter().zip(&other.0).enumerate() {
            if let (Some(a), Some(b), true) = (a, b, over(at)) {
                let (a, b) = (on_host(a)?, on_host(b)?);
                sum += read(NAME, &a, |a| read(NAME, &b, |b| inner_product(a, b)))??;
            }
        }
        Ok(sum)
    }

    /// The length over the parameters that `over` admits.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn norm(&self, over: impl Fn(usize) -> bool) -> Result<f64> {
        Ok(self.dot(self, over)?.sqrt())
    }

    /// The sum of `parts`, each entry times `weight(parameter, part)`, taken in double precision.
    /// A parameter is reached where any part reaches it.
    ///
    /// # Errors
    /// Parts of different networks; failures of the tensor library.
    pub fn combination(parts: &[Self], weight: impl Fn(usize, usize) -> f64) -> Result<Self> {
        let parameters = parts.first().map_or(0, Self::len);
        let entry = |parameter: usize| {
            let reached = parts.iter().enumerate().filter_map(|(part, gradients)| {
                let tensor = gradients.0.get(parameter)?.as_ref()?;
                Some((weight(parameter, part), tensor))
            });
            match reached.collect::<Vec<_>>().as_slice() {
                [] => Ok(None),
                [(1.0, only)] => Ok(Some((*only).clone())),
                terms => weighted_sum(terms).map(Some),
            }
        };
        Ok(Self((0..parameters).map(entry).collect::<Result<_>>()?))
    }

    /// Number of parameters, reached or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no parameter at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Option<Tensor>> for Gradients {
    fn from_iter<T: IntoIterator<Item = Option<Tensor>>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Where the sums are taken.
fn on_host(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_device(&Device::Cpu)?.contiguous()
}

fn inner_product(a: &[f32], b: &[f32]) -> f64 {
    let run = |(a, b): (&[f32], &[f32])| -> f64 {
        let mut lanes = [0.0f64; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += f64::from(*a) * f64::from(*b);
            }
        }
        lanes.iter().sum()
    };
    let runs: Vec<f64> = a.par_chunks(RUN).zip(b.par_chunks(RUN)).map(run).collect();
    runs.iter().sum()
}

/// `sum_i weight_i tensor_i` of tensors of one shape, on the device of the first.
fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let Some((_, first)) = terms.first() else { candle_core::bail!("{NAME}: a sum of nothing") };
    if terms.iter().any(|(_, tensor)| tensor.shape() != first.shape()) {
        candle_core::bail!("{NAME}: entries of different networks");
    }
    let host = terms.iter().map(|(_, tensor)| on_host(tensor)).collect::<Result<Vec<_>>>()?;
    let guards: Vec<_> = host.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = Vec::with_capacity(terms.len());
    for ((storage, layout), (weight, _)) in guards.iter().zip(terms) {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("{NAME}: not on the host")
        };
        slices.push((*weight, elements(NAME, storage, layout)?));
    }
    let mut sum = vec![0.0f32; first.elem_count()];
    sum.par_chunks_mut(RUN).enumerate().for_each(|(run, sum)| {
        for (at, sum) in sum.iter_mut().enumerate() {
            let term =
                |(weight, values): &(f64, &[f32])| weight * f64::from(values[run * RUN + at]);
            *sum = slices.iter().map(term).sum::<f64>() as f32;
        }
    });
    Tensor::from_vec(sum, first.shape(), first.device())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(values: &[f32]) -> Option<Tensor> {
        Some(Tensor::new(values, &Device::Cpu).unwrap())
    }

    fn two() -> [Gradients; 2] {
        let long: Vec<f32> = (0..40_001).map(|i| (i % 7) as f32 - 3.0).collect();
        let one = [entry(&long), entry(&[1.0, -2.0]), None, None];
        let other = [entry(&long), entry(&[0.5, 4.0]), entry(&[3.0]), None];
        [one.into_iter().collect(), other.into_iter().collect()]
    }

    #[test]
    fn products_are_taken_over_what_both_reach_and_is_asked_for() {
        let [one, other] = two();
        let square: f64 = (0..40_001).map(|i| f64::from(i % 7 - 3).powi(2)).sum();
        assert_eq!(one.dot(&other, |_| true).unwrap(), square - 7.5);
        assert_eq!(one.dot(&other, |at| at == 1).unwrap(), -7.5);
        assert_eq!(other.norm(|at| at == 2).unwrap(), 3.0);
        assert_eq!(one.dot(&other, |at| at > 1).unwrap(), 0.0);
    }

    #[test]
    fn a_combination_weighs_each_entry_and_leaves_the_unreached() {
        let parts = two();
        let weight = |parameter, part| if parameter == 2 { 1.0 } else { [2.0, -1.0][part] };
        let sum = Gradients::combination(&parts, weight).unwrap();
        let values = |at: usize| sum.iter().nth(at).unwrap().map(|t| t.to_vec1::<f32>().unwrap());
        let long = values(0).unwrap();
        assert!(long.iter().enumerate().all(|(i, v)| *v == (i % 7) as f32 - 3.0));
        assert_eq!(values(1).unwrap(), [1.5, -8.0]);
        assert_eq!(values(2).unwrap(), [3.0]);
        assert_eq!(values(3), None);
        assert!(Gradients::combination(&[], |_, _| 1.0).unwrap().is_empty());
    }
}
