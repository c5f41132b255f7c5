//! The arithmetic of the balancing methods: plain numbers in, weights of the tasks out; no tensors.
//!
//! The methods that combine gradients need no more of them than their inner products: each is a pure
//! function of a [`Gram`] matrix, and its answer is the coefficient of every task's gradient in the
//! combination. The methods that weigh losses are functions of the losses.
//!
//! A task whose gradient is zero never makes a weight that is not finite.

pub mod aligned;
pub mod cagrad;
pub mod dwa;
mod eigen;
pub mod famo;
pub mod gradnorm;
pub mod gram;
pub mod imtl;
pub mod learnt;
mod linear;
pub mod mgda;
pub mod nash;
pub mod pcgrad;
mod simplex;
#[cfg(test)]
mod torchjd;
pub mod uncertainty;

pub use gram::Gram;
pub use learnt::Learnt;

/// A number for each task in the order of [`crate::network::Task::ALL`]; `None` for a task that takes
/// no part.
pub type PerTask = [Option<f64>; 4];
