//! What the processes of one training make sure of together: that it is one training, and its end.

use super::checkpoint::Position;
use super::data::Data;
use super::{Config, Ending, TrainingError};
use crate::network::UNet;
use crate::parallel::Peers;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Makes sure that all processes train the same from the same weights, and gives each its part of the
/// batches.
///
/// # Errors
/// A process with another configuration (folders for results and decoded pictures, and what a GPU keeps, may differ), other
/// data or another position; more processes than a batch has images.
pub fn join(
    peers: &dyn Peers,
    config: &Config,
    data: Data,
    net: &UNet,
    position: Position,
) -> Result<Data, TrainingError> {
    let shared = Config { out: PathBuf::new(), cache: None, gpu_cache_mib: None, ..config.clone() };
    peers.same("configuration", &shared.to_toml()?)?;
    peers.same("set of images or labels", &data.hash)?;
    peers.same("position in the training", &format!("{position:?}"))?;
    peers.follow_first(&net.parameters())?;
    let batches = data.batches.part(peers.rank(), peers.count())?;
    Ok(Data { batches, ..data })
}

/// Makes sure that the steps made so far have left the same weights in all processes.
///
/// # Errors
/// A process with other weights, or one that is gone.
pub fn same_weights(peers: &dyn Peers, net: &UNet) -> Result<(), TrainingError> {
    if peers.count() == 1 {
        return Ok(());
    }
    let mut hash = Sha256::new();
    for (_, var) in net.parameters() {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    Ok(peers.same("set of weights", &format!("{:?}", hash.finalize()))?)
}

/// Whether all stop now, because one of them wants to.
///
/// # Errors
/// A process is gone.
pub fn ending(peers: &dyn Peers, own: Option<Ending>) -> Result<Option<Ending>, TrainingError> {
    const ENDINGS: [Option<Ending>; 3] = [None, Some(Ending::OutOfTime), Some(Ending::Interrupted)];
    let rank = ENDINGS.iter().position(|ending| *ending == own).unwrap_or_default();
    let most = peers.most(rank as u64)? as usize;
    Ok(ENDINGS.get(most).copied().flatten())
}
