//! Options of every command that runs the network.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use clap::{Args, ValueEnum};
use glaucoma_engine::{EngineKind, Options};

/// How the network is run.
#[derive(Debug, Clone, Copy, Args)]
pub struct EngineArgs {
    /// Threads that run the network on one photograph. By default as many as there are cores; one
    /// where several photographs of an archive are examined at a time.
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

/// How many photographs are in the network at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Photographs {
    /// One, which should be done soon.
    Alone,
    /// As many as there are cores, all of which should be done soon.
    Several,
}

impl EngineArgs {
    /// The same as the engine takes it, for so many photographs at a time.
    pub fn options(&self, photographs: Photographs) -> Options {
        let threads = || match photographs {
            Photographs::Alone => available_parallelism().map_or(1, NonZeroUsize::get),
            Photographs::Several => 1,
        };
        Options {
            kind: match self.engine {
                EngineName::Fused => EngineKind::Fused,
                EngineName::Stock => EngineKind::Stock,
            },
            threads: self.threads.map_or_else(threads, NonZeroUsize::get),
            ..Options::default()
        }
    }
}
