//! Processes with a GPU each: gradients are averaged by NCCL, from GPU to GPU.
//!
//! Everything else that they say to each other, shapes of gradients and losses among it, goes over TCP
//! as on the CPU. The gradients of a call are laid one after the other in one buffer and summed at once,
//! on the device's stream: the host waits for no gradient. All processes get the same bits; NCCL chooses
//! the order of summation by the machine, so that another machine may round otherwise.
//!
//! A process that has ended is noticed at the next message. One that ends *during* a sum leaves the
//! others waiting in it, for NCCL knows no patience: launchers end them.

use super::{Peers, PeersError, TcpPeers};
use crate::gradients::Gradients;
use crate::network::cuda::{Nccl, NcclId, Together};
use candle_core::{DType, Device, Tensor};

/// What a process says when it has the library; any other message is why it has not.
const READY: &[u8] = b"nccl";

/// Processes joined over TCP whose GPUs are joined by NCCL.
#[derive(Debug)]
pub struct NcclPeers {
    tcp: TcpPeers,
    gpus: Together,
    device: Device,
}

impl NcclPeers {
    /// Joins the GPUs of processes that have met, `device` being this one's.
    ///
    /// # Errors
    /// A process has no NCCL, which all of them then say; two have the same GPU; a process is gone.
    pub fn join(tcp: TcpPeers, device: &Device) -> Result<Self, PeersError> {
        let (rank, count) = (tcp.rank(), tcp.count());
        let drawn = Nccl::load().and_then(|nccl| {
            let id = if rank == 0 { nccl.draw()?.to_vec() } else { vec![] };
            Ok((nccl, [READY, &id].concat()))
        });
        let (nccl, own) = match drawn {
            Ok((nccl, own)) => (Ok(nccl), own),
            Err(error) => (Err(error.to_string()), error.to_string().into_bytes()),
        };
        let told = tcp.exchange(&own)?;
        let nccl = nccl.map_err(|what| PeersError::Nccl { rank, what })?;
        for (rank, told) in told.iter().enumerate() {
            if !told.starts_with(READY) {
                let what = String::from_utf8_lossy(told).into_owned();
                return Err(PeersError::Nccl { rank, what });
            }
        }
        let id = told.first().and_then(|first| NcclId::try_from(first.get(READY.len()..)?).ok());
        let id = id.ok_or_else(|| PeersError::Different { rank: 0, what: "NCCL".into() })?;
        let gpus = nccl.join(device, id, rank, count)?;
        Ok(Self { tcp, gpus, device: device.clone() })
    }
}

impl Peers for NcclPeers {
    fn rank(&self) -> usize {
        self.tcp.rank()
    }

    fn count(&self) -> usize {
        self.tcp.count()
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, PeersError> {
        self.tcp.exchange(own)
    }

    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError> {
        let shapes = self.tcp.shapes(&gradients)?;
        let mut parts = Vec::new();
        for (own, shape) in gradients.iter().zip(&shapes) {
            match (own, shape) {
                (Some(own), _) => parts.push(own.flatten_all()?),
                (None, Some(shape)) => {
                    parts.push(Tensor::zeros(shape.elem_count(), DType::F32, &self.device)?);
                }
                (None, None) => {}
            }
        }
        if parts.is_empty() {
            return Ok(gradients);
        }
        drop(gradients);
        // One part alone would be the gradient's own memory.
        let sum = match parts.as_slice() {
            [only] => only.copy()?,
            parts => Tensor::cat(parts, 0)?,
        };
        drop(parts);
        self.gpus.sum(&sum)?;
        let mean = (sum / self.count() as f64)?;
        let mut at = 0;
        let entries = shapes.into_iter().map(|shape| {
            let Some(shape) = shape else { return Ok(None) };
            let count = shape.elem_count();
            let entry = mean.narrow(0, at, count)?.reshape(shape)?;
            at += count;
            Ok(Some(entry))
        });
        Ok(entries.collect::<candle_core::Result<_>>()?)
    }
}
