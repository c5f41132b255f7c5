//! The gradient of a loss, parameter by parameter.

use candle_core::{Result, Tensor, Var};

/// One entry for each parameter of a network, in the order of [`crate::network::UNet::parameters`];
/// `None` where the loss does not reach.
#[derive(Clone, Debug, Default)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// Goes backward from the scalar `loss`.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn of(loss: &Tensor, parameters: &[(String, Var)]) -> Result<Self> {
        let store = loss.backward()?;
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

    /// Euclidean norm over all parameters.
    ///
    /// # Errors
    /// Failures of the tensor library.
    pub fn norm(&self) -> Result<f64> {
        let square = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f32>();
        let squares = self.iter().flatten().map(square).collect::<Result<Vec<_>>>()?;
        Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
    }

    /// The entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&Tensor>> {
        self.0.iter().map(Option::as_ref)
    }

    /// The entries in order, to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Option<Tensor>> {
        self.0.iter_mut()
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
