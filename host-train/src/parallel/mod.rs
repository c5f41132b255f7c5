//! Data parallel training: several processes, each with its share of every batch, that step as one.
//!
//! [`Met::from_environment`] says who this process is and finds the others, and [`Met::with`] joins them
//! for the device at hand: over TCP, and the GPUs by NCCL. On its own a process is [`Alone`].
//!
//! - **Batches.** The configured batch is that of all processes together; each takes every
//!   [`Peers::count`]-th example of it ([`Batches::part`](crate::dataset::batches::Batches::part)).
//! - **Steps.** Losses are weighted by [`Peers::shares`] and gradients averaged by [`Peers::average`],
//!   so that every process makes the same step: after it, all hold the same weights, bit for bit.
//! - **Batch normalisation** uses the statistics of the process's own part of the batch, as PyTorch's
//!   does without synchronisation: a part should not be smaller than two images. The running
//!   statistics that are saved and validated with are those of the first process.
//! - **The first process** (rank 0) validates, logs and writes the checkpoints; the others wait for its
//!   verdict. The losses it logs are those of its own part. Its folder must be readable by all where a
//!   training is resumed.
//! - **Endings.** A limit reached or Ctrl-C pressed in any process stops all after the same step.

mod environment;
mod nccl;
mod tcp;
#[cfg(test)]
mod tests;
mod wire;

pub use environment::Place;
pub use nccl::NcclPeers;
pub use tcp::TcpPeers;

use crate::gradients::Gradients;
use candle_core::{Device, Var};
use std::fmt::Debug;
use std::time::Duration;

/// Why processes could not work together.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The environment does not say clearly who this process is.
    #[error("data parallel: {variable}: {what}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The processes did not all find each other.
    #[error("data parallel: {address}: {what}")]
    Meeting {
        /// Where the first process listens.
        address: String,
        /// What went wrong.
        what: String,
    },
    /// The process of this rank has ended or its machine is out of reach.
    #[error("data parallel: the process of rank {rank} is gone ({what})")]
    Gone {
        /// Which process.
        rank: usize,
        /// What the system said.
        what: String,
    },
    /// The process of this rank has said nothing for too long.
    #[error("data parallel: the process of rank {rank} has been silent for {} s", patience.as_secs_f64())]
    Silent {
        /// Which process.
        rank: usize,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The process of this rank does something else.
    #[error("data parallel: the process of rank {rank} has another {what}")]
    Different {
        /// Which process.
        rank: usize,
        /// What differs: program version, configuration, data, gradients.
        what: String,
    },
    /// The first process has given up, and says why.
    #[error("data parallel: the process of rank 0 has given up: {0}")]
    Abandoned(String),
    /// NCCL is missing on the machine of this rank, or does not work there.
    #[error("data parallel: the process of rank {rank}: {what}")]
    Nccl {
        /// Which process.
        rank: usize,
        /// What is wrong.
        what: String,
    },
    /// The tensor library failed.
    #[error("data parallel: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The processes that train one network together.
///
/// Every process makes the same calls in the same order; a call returns when all have made it. An
/// implementation gives the first four methods; the others are made of [`Peers::exchange`].
pub trait Peers: Debug {
    /// Which of the processes this one is, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn count(&self) -> usize;

    /// The message of every process, in the order of their ranks.
    ///
    /// # Errors
    /// A process is gone.
    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, PeersError>;

    /// The mean over the processes, the same bits in each. An entry that is `None` here and present
    /// elsewhere counts as zero.
    ///
    /// # Errors
    /// A process is gone, or has other gradients.
    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError>;

    /// How much this process's loss of each task counts, so that the plain mean of the processes'
    /// gradients is the gradient of the mean over all labelled images: its number of labelled images
    /// times the number of processes over the sum of all. `None` where no process has a label.
    ///
    /// # Errors
    /// A process is gone.
    fn shares(&self, labelled: [usize; 4]) -> Result<[Option<f64>; 4], PeersError> {
        let own: Vec<u8> = labelled.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
        let mut totals = [0; 4];
        for message in self.exchange(&own)? {
            for (total, number) in totals.iter_mut().zip(numbers(&message)) {
                *total += number;
            }
        }
        let mut shares = [None; 4];
        for ((share, own), total) in shares.iter_mut().zip(labelled).zip(totals) {
            let weighted = (own * self.count()) as f64;
            *share = (total > 0).then(|| weighted / total as f64);
        }
        Ok(shares)
    }

    /// The largest of the processes' values.
    ///
    /// # Errors
    /// A process is gone.
    fn most(&self, value: u64) -> Result<u64, PeersError> {
        let told = self.exchange(&value.to_le_bytes())?;
        Ok(told.iter().flat_map(|message| numbers(message)).fold(value, u64::max))
    }

    /// Makes sure that all processes have the same of something.
    ///
    /// # Errors
    /// [`PeersError::Different`] with `what`, naming the first process that differs from rank 0 (in
    /// rank 0 as in all others); a process is gone.
    fn same(&self, what: &str, own: &str) -> Result<(), PeersError> {
        let told = self.exchange(own.as_bytes())?;
        match told.iter().position(|other| Some(other) != told.first()) {
            Some(rank) => Err(PeersError::Different { rank, what: what.to_owned() }),
            None => Ok(()),
        }
    }

    /// Gives every process the values of rank 0.
    ///
    /// # Errors
    /// A process is gone, or its values are others in number; failures of the tensor library.
    fn follow_first(&self, values: &[(String, Var)]) -> Result<(), PeersError> {
        let leads = self.rank() == 0;
        let own = if leads {
            wire::flatten(values.iter().map(|(_, var)| var.as_tensor()))?
        } else {
            vec![]
        };
        let told = self.exchange(&wire::bytes(&own))?;
        if leads {
            return Ok(());
        }
        let mut rest = wire::floats(told.first().map_or(&[], Vec::as_slice));
        if rest.len() != values.iter().map(|(_, var)| var.elem_count()).sum::<usize>() {
            return Err(PeersError::Different { rank: 0, what: "network".into() });
        }
        for (_, var) in values {
            let left = rest.split_off(var.elem_count());
            let tensor = candle_core::Tensor::from_vec(rest, var.shape(), var.device())?;
            var.set(&tensor)?;
            rest = left;
        }
        Ok(())
    }
}

/// The processes that this one's environment speaks of. They have found each other before any of them
/// has a device, so that a process whose GPU cannot be used is missed at once.
#[derive(Debug)]
pub struct Met {
    place: Place,
    /// `None`: there are no others.
    others: Option<TcpPeers>,
}

impl Met {
    /// Waits until all have found each other.
    ///
    /// # Errors
    /// The environment is not clear, or the others are not found in time.
    pub fn from_environment() -> Result<Self, PeersError> {
        let place = Place::read(|name| std::env::var(name).ok())?;
        let others = if place.count == 1 { None } else { Some(TcpPeers::meet(&place)?) };
        Ok(Self { place, others })
    }

    /// Which of the processes on its machine this one is, from 0: the number of its GPU.
    #[must_use]
    pub fn local_rank(&self) -> usize {
        self.place.local_rank
    }

    /// The processes at work on their devices, `device` being this one's.
    ///
    /// # Errors
    /// Some compute on a GPU and some do not; failures of [`NcclPeers::join`].
    pub fn with(self, device: &Device) -> Result<Box<dyn Peers>, PeersError> {
        let Some(others) = self.others else { return Ok(Box::new(Alone)) };
        others.same("kind of device", if device.is_cuda() { "cuda" } else { "cpu" })?;
        if device.is_cuda() {
            return Ok(Box::new(NcclPeers::join(others, device)?));
        }
        Ok(Box::new(others))
    }
}

/// One process on its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, PeersError> {
        Ok(vec![own.to_vec()])
    }

    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError> {
        Ok(gradients)
    }

    fn follow_first(&self, _values: &[(String, Var)]) -> Result<(), PeersError> {
        Ok(())
    }
}

fn numbers(message: &[u8]) -> impl Iterator<Item = u64> {
    let (eights, _) = message.as_chunks::<8>();
    eights.iter().map(|eight| u64::from_le_bytes(*eight))
}
