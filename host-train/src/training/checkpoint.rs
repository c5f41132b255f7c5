//! Checkpoints: weights, running statistics and optimiser state in one safetensors file, and in its
//! metadata everything else that is needed to go on or to judge the model.

use super::config::Config;
use crate::network::quantize_aware::MapScales;
use crate::network::{NetworkConfig, NetworkError, UNet};
use crate::strategy::State;
use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use glaucoma_common::risk::VcdrModel;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// Key of the metadata under which [`CheckpointInfo`] stands as JSON.
pub const METADATA_KEY: &str = "glaucoma.checkpoint";
/// Version of the format written here; another one is refused.
pub const FORMAT: u32 = 1;
/// Prefix of the optimiser's tensors. All other tensors are the network's, under their own names.
const OPTIMISER: &str = "optimizer.";

/// Where a training stands: the next batch to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batch within the epoch, from 0; equal to the number of batches when only the epoch's
    /// validation is left to do.
    pub batch: u64,
    /// Steps made so far in all epochs.
    pub step: u64,
}

/// The best validation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch after which it was measured, from 0.
    pub epoch: u64,
    /// Total validation loss: the sum of the tasks' means.
    pub loss: f64,
}

/// Everything about a checkpoint that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// The configuration with every default and override resolved.
    pub config: Config,
    /// Where the training stood.
    pub position: Position,
    /// The best validation so far; `None` before the first.
    pub best: Option<Best>,
    /// Linear classifier of the vertical cup-to-disc ratio, fitted to the true masks of the training
    /// images; `None` when they do not have masks and labels of both classes.
    pub vcdr_model: Option<VcdrModel>,
    /// The grids that a quantisation-aware training computes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_scales: Option<MapScales>,
    /// SHA-256, in hex, of everything that was fed to the network.
    pub dataset_hash: String,
    /// Revision of the sources, where the program was run from a checkout.
    pub git_revision: Option<String>,
    /// Version of this program.
    pub program: String,
}

/// A checkpoint in memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    info: CheckpointInfo,
    tensors: BTreeMap<String, Tensor>,
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The checkpoint.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is cut short or not a safetensors file at all.
    #[error("{}: not a complete safetensors file (truncated, or something else): {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader stumbled over.
        what: String,
    },
    /// Sound safetensors without this trainer's metadata.
    #[error("{}: a safetensors file, but not a checkpoint of this program: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing or not understood.
        what: String,
    },
    /// A tensor that the network of the checkpoint's own configuration has is not there.
    #[error("{}: the tensor `{tensor}` is missing", path.display())]
    Missing {
        /// The checkpoint.
        path: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// A tensor that the network of the checkpoint's own configuration does not have.
    #[error("{}: the tensor `{tensor}` belongs to no part of the network", path.display())]
    Unexpected {
        /// The checkpoint.
        path: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// A tensor of another shape than the network's.
    #[error("{}: the tensor `{tensor}` has shape {found:?}, the network needs {needed:?}", path.display())]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the network.
        needed: Vec<usize>,
    },
    /// The checkpoint is of another network than the one asked for.
    #[error("{}: a checkpoint of another architecture: it is {found}, asked for is {needed}", path.display())]
    Architecture {
        /// The checkpoint.
        path: PathBuf,
        /// The network in the file.
        found: String,
        /// The network asked for.
        needed: String,
    },
    /// Weights without the state of an optimiser (such as `best.safetensors`).
    #[error("{}: holds weights but no optimiser state, so no training can be resumed from it; \
             resume from `last.safetensors`, or start from these weights with `init_from`", path.display())]
    WeightsOnly {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight is NaN or infinite: such a checkpoint is not written.
    #[error("`{tensor}` has values that are not finite; no checkpoint written")]
    NotFinite {
        /// Its name.
        tensor: String,
    },
    /// The file cannot be written; what was there before is untouched.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The checkpoint.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The network cannot be built.
    #[error("{}: {source}", path.display())]
    Network {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        source: NetworkError,
    },
    /// The tensor library failed.
    #[error("checkpoint: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Checkpoint {
    /// The state of a training: `net` as it is now, and `optimiser` (a strategy's state, or empty
    /// for weights only).
    #[must_use]
    pub fn new(net: &UNet, optimiser: State, info: CheckpointInfo) -> Self {
        let own = net.parameters().into_iter().chain(net.buffers());
        let weights = own.map(|(name, var)| (name, var.as_detached_tensor()));
        let state = optimiser.into_iter().map(|(name, t)| (format!("{OPTIMISER}{name}"), t));
        Self { path: PathBuf::new(), info, tensors: weights.chain(state).collect() }
    }

    /// The file it was read from; empty for one that was made in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that is not a tensor.
    #[must_use]
    pub fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// Writes the checkpoint under a temporary name, syncs it and renames it to `path`.
    ///
    /// # Errors
    /// [`CheckpointError::NotFinite`] when a weight or running statistic is NaN or infinite, and
    /// whatever the file system says; what was at `path` before is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.refuse_not_finite()?;
        let write = |source: io::Error| CheckpointError::Write { path: path.to_path_buf(), source };
        let json = serde_json::to_string(&self.info).map_err(|error| write(error.into()))?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
        // In memory first: safetensors' own files can be read by their owner alone.
        let bytes = safetensors::serialize(&self.tensors, Some(metadata));
        let bytes = bytes.map_err(|error| write(io::Error::other(error)))?;
        glaucoma_common::files::write(path, &bytes).map_err(write)
    }

    fn refuse_not_finite(&self) -> Result<(), CheckpointError> {
        for (name, tensor) in self.network_tensors() {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if !values.iter().all(|value| value.is_finite()) {
                return Err(CheckpointError::NotFinite { tensor: name.clone() });
            }
        }
        Ok(())
    }

    /// Reads a checkpoint into the host's memory.
    ///
    /// # Errors
    /// Unreadable, truncated, not safetensors, or not written by this program.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let owned = || path.to_path_buf();
        let bytes = std::fs::read(path)
            .map_err(|source| CheckpointError::Read { path: owned(), source })?;
        let damaged = |error: safetensors::SafeTensorError| CheckpointError::Damaged {
            path: owned(),
            what: error.to_string(),
        };
        let foreign = |what: String| CheckpointError::Foreign { path: owned(), what };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let json = header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY));
        let json = json.ok_or_else(|| foreign(format!("no `{METADATA_KEY}` in its metadata")))?;
        let info = parse_info(json).map_err(foreign)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors() {
            tensors.insert(name, view.load(&Device::Cpu)?);
        }
        Ok(Self { path: owned(), info, tensors })
    }

    /// Builds the network of the checkpoint's configuration and fills in weights, statistics and the
    /// grids it was trained on, where it was.
    ///
    /// # Errors
    /// Missing, superfluous or misshapen tensors.
    pub fn network(&self, device: &Device) -> Result<UNet, CheckpointError> {
        // Every weight is overwritten, so the seed does not matter.
        let mut net = UNet::new(&self.info.config.network, 0, device)
            .map_err(|source| CheckpointError::Network { path: self.path.clone(), source })?;
        net.set_map_scales(self.info.map_scales.clone());
        let mut left: BTreeMap<&String, &Tensor> = self.network_tensors().collect();
        for (name, var) in net.parameters().into_iter().chain(net.buffers()) {
            let Some(tensor) = left.remove(&name) else {
                return Err(CheckpointError::Missing { path: self.path.clone(), tensor: name });
            };
            if tensor.dims() != var.dims() || tensor.dtype() != var.dtype() {
                return Err(CheckpointError::Shape {
                    path: self.path.clone(),
                    tensor: name,
                    found: tensor.dims().to_vec(),
                    needed: var.dims().to_vec(),
                });
            }
            var.set(&tensor.to_device(device)?)?;
        }
        match left.keys().next() {
            Some(name) => Err(CheckpointError::Unexpected {
                path: self.path.clone(),
                tensor: (*name).clone(),
            }),
            None => Ok(net),
        }
    }

    /// Like [`Checkpoint::network`], for a caller that needs the architecture `needed`.
    ///
    /// # Errors
    /// [`CheckpointError::Architecture`] for another encoder, width or set of tasks (dropout may
    /// differ: it has no weights), and those of [`Checkpoint::network`].
    pub fn network_like(
        &self,
        needed: &NetworkConfig,
        device: &Device,
    ) -> Result<UNet, CheckpointError> {
        let own = &self.info.config.network;
        if (own.encoder, own.width, &own.tasks) != (needed.encoder, needed.width, &needed.tasks) {
            return Err(CheckpointError::Architecture {
                path: self.path.clone(),
                found: describe(own),
                needed: describe(needed),
            });
        }
        let mut wanted = self.clone();
        wanted.info.config.network.dropout = needed.dropout;
        wanted.network(device)
    }

    /// The optimiser's state, for [`crate::strategy::Strategy::restore`].
    ///
    /// # Errors
    /// [`CheckpointError::WeightsOnly`] when there is none.
    pub fn optimiser(&self, device: &Device) -> Result<State, CheckpointError> {
        let mut state = State::new();
        for (name, tensor) in &self.tensors {
            if let Some(own) = name.strip_prefix(OPTIMISER) {
                state.insert(own.to_owned(), tensor.to_device(device)?);
            }
        }
        // A training that has not made a step yet has no moments, and none are missing.
        if state.is_empty() && self.info.position.step > 0 {
            return Err(CheckpointError::WeightsOnly { path: self.path.clone() });
        }
        Ok(state)
    }

    fn network_tensors(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.tensors.iter().filter(|(name, _)| !name.starts_with(OPTIMISER))
    }
}

fn parse_info(json: &str) -> Result<CheckpointInfo, String> {
    /// Read first: a later format may have any other fields.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if version.format != FORMAT {
        return Err(format!("its format is {}, this program knows {FORMAT}", version.format));
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn describe(network: &NetworkConfig) -> String {
    let tasks: Vec<&str> = network.tasks.iter().map(|task| task.name()).collect();
    format!("{:?} of width {} for {}", network.encoder, network.width, tasks.join(", "))
}
