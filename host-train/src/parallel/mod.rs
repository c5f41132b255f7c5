//! Data parallel training: several processes, each with its share of every batch, that step as one.

use crate::gradients::Gradients;

/// Why processes could not work together.
#[derive(Debug, thiserror::Error)]
#[error("data parallel: {0}")]
pub struct PeersError(pub String);

/// The processes that train one network together.
///
/// Every process makes the same calls in the same order; a call returns when all have made it.
pub trait Peers {
    /// How many processes there are.
    fn count(&self) -> usize;

    /// How much this process's loss of each task counts, so that the plain mean of the processes'
    /// gradients is the gradient of the mean over all labelled images: its number of labelled images
    /// times the number of processes over the sum of all. `None` where no process has a label.
    ///
    /// # Errors
    /// A process is gone.
    fn shares(&self, labelled: [usize; 4]) -> Result<[Option<f64>; 4], PeersError>;

    /// The mean over the processes, the same bits in each. An entry that is `None` here and present
    /// elsewhere counts as zero.
    ///
    /// # Errors
    /// A process is gone, or has other gradients.
    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError>;
}

/// One process on its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn shares(&self, labelled: [usize; 4]) -> Result<[Option<f64>; 4], PeersError> {
        Ok(labelled.map(|count| (count > 0).then_some(1.0)))
    }

    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError> {
        Ok(gradients)
    }
}
