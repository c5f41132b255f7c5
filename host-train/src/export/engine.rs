//! Runs a written file in the engine that the device uses.

use glaucoma_common::manifest::{METADATA_KEY, Manifest, ManifestError, OutputNames};
use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use glaucoma_engine::{Options, ParsedModel};
use image::RgbImage;
use std::num::NonZeroUsize;

/// Why a file does not run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The device's engine refuses the file, or fails in running it.
    #[error("engine: {0}")]
    Device(#[from] glaucoma_engine::EngineError),
    /// tract refuses a file with further outputs, or fails in running it.
    #[error("engine: {step}: {reason}")]
    Engine {
        /// What was being done.
        step: &'static str,
        /// The engine's words, the whole chain.
        reason: String,
    },
    /// The file's inputs or outputs are not those of this network.
    #[error("engine: {0}")]
    Interface(String),
    /// The file has no manifest.
    #[error("the model carries no manifest: it was not exported for the device")]
    NoManifest,
    /// The file's manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A photograph of another size than the network's.
    #[error("engine: photograph of {width} x {height} pixels, the network reads {side} x {side}")]
    Size {
        /// Of the photograph.
        width: u32,
        /// Of the photograph.
        height: u32,
        /// Of the network.
        side: u32,
    },
}

/// A loaded file.
#[derive(Debug)]
pub struct Engine {
    engine: glaucoma_engine::Engine,
    parsed: ParsedModel,
}

impl Engine {
    /// Parses and prepares an ONNX file.
    ///
    /// # Errors
    /// What the engine refuses, or a graph with other inputs and outputs.
    pub fn load(bytes: &[u8]) -> Result<Self, EngineError> {
        let parsed = ParsedModel::parse(bytes)?;
        let side = parsed.input_side().ok_or_else(|| {
            EngineError::Interface("the file does not say its input's side".into())
        })?;
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let options = Options { threads, ..Options::default() };
        let engine =
            glaucoma_engine::Engine::new(&parsed, side, &OutputNames::default(), &options)?;
        Ok(Self { engine, parsed })
    }

    /// The photograph's side in network pixels.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.engine.side()
    }

    /// The file's metadata under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.parsed.metadata(key)
    }

    /// What the file says of itself.
    ///
    /// # Errors
    /// A file without a manifest, or with one that cannot be used.
    pub fn manifest(&self) -> Result<Manifest, EngineError> {
        let text = self.metadata(METADATA_KEY).ok_or(EngineError::NoManifest)?;
        Ok(Manifest::from_json(&text)?)
    }

    /// The four outputs for one prepared photograph; `scale` as in the input contract.
    ///
    /// # Errors
    /// A photograph of another size, or an engine that fails.
    pub fn run(&self, photograph: &RgbImage, scale: f32) -> Result<NetworkOutput, EngineError> {
        check_size(photograph, self.side())?;
        self.run_input(&to_input(photograph, scale))
    }

    /// The four outputs for one input: `3 * side * side` values, channel by channel, already scaled.
    ///
    /// # Errors
    /// An input of another length or with values that are not finite, or an engine that fails.
    pub fn run_input(&self, input: &[f32]) -> Result<NetworkOutput, EngineError> {
        Ok(self.engine.run(input)?)
    }
}

/// A photograph must have the network's side.
///
/// # Errors
/// [`EngineError::Size`].
pub(super) fn check_size(photograph: &RgbImage, side: u32) -> Result<(), EngineError> {
    match photograph.dimensions() {
        (width, height) if (width, height) == (side, side) => Ok(()),
        (width, height) => Err(EngineError::Size { width, height, side }),
    }
}
