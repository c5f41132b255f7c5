//! Options of every command that runs the network.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use glaucoma_engine::{EngineKind, Options};

/// How the network is run.
#[derive(Debug, Clone, Copy, Args)]
pub struct EngineArgs {
    /// Threads of the network; one a core unless said.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Which operators run the network: `fused` (one operator with kernels for this processor), or
    /// `stock` (tract's own, for comparison).
    #[arg(long, value_name = "NAME", default_value = "fused")]
    pub engine: EngineName,
}

/// The operators by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// One fused operator.
    Fused,
    /// tract's own operators.
    Stock,
}

impl EngineArgs {
    /// The same as the engine takes it.
    pub fn options(&self) -> Options {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Options {
            kind: match self.engine {
                EngineName::Fused => EngineKind::Fused,
                EngineName::Stock => EngineKind::Stock,
            },
            threads: self.threads.map_or_else(cores, NonZeroUsize::get),
            ..Options::default()
        }
    }
}
