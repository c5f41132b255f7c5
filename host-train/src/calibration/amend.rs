//! A bundle with another manifest and the same network.

use crate::export::engine::{Engine, EngineError};
use crate::export::onnx::{with_metadata, without_metadata};
use crate::export::tolerance;
use glaucoma_common::manifest::{METADATA_KEY, Manifest, ManifestError};
use glaucoma_common::self_test::{SelfTest, SelfTestError, picture};

/// Why a bundle cannot be amended.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// The bytes are no ONNX file.
    #[error("amend: not an ONNX file: {0}")]
    NotOnnx(String),
    /// The file holds more than an export writes.
    #[error("amend: not a file that `host-train export` wrote; a part of it would be lost")]
    Foreign,
    /// The manifest cannot be written.
    #[error("amend: {0}")]
    Manifest(#[from] ManifestError),
    /// The amended file does not run.
    #[error("amend: the amended file: {0}")]
    Engine(#[from] EngineError),
    /// The amended file answers otherwise than before.
    #[error("amend: the amended file: {0}")]
    SelfTest(#[from] SelfTestError),
    /// The amended file does not hold what was put into it.
    #[error("amend: the amended file does not read back: {0}")]
    ReadBack(&'static str),
}

/// The bundle `bytes` with `manifest` in place of its own. The network stays as it is, byte for byte;
/// the self-test is run again, and one without a self-test is given what it answers now.
///
/// # Errors
/// A file of another origin, a manifest out of range, an amended file that is not what it should be.
pub fn amend(bytes: &[u8], manifest: &Manifest) -> Result<Vec<u8>, AmendError> {
    let not_onnx = |error: prost::DecodeError| AmendError::NotOnnx(error.to_string());
    let answer = |engine: &Engine| engine.run(&picture(engine.side()), manifest.input.scale);
    let self_test = match &manifest.self_test {
        Some(recorded) => recorded.clone(),
        None => SelfTest::record(&answer(&Engine::load(bytes)?)?, tolerance(manifest.precision))?,
    };
    let json = Manifest { self_test: Some(self_test.clone()), ..manifest.clone() }.to_json()?;
    let amended =
        with_metadata(bytes, METADATA_KEY, &json).map_err(not_onnx)?.ok_or(AmendError::Foreign)?;
    if without_metadata(&amended).map_err(not_onnx)? != without_metadata(bytes).map_err(not_onnx)? {
        return Err(AmendError::ReadBack("its network is another one"));
    }
    let engine = Engine::load(&amended)?;
    if engine.metadata(METADATA_KEY).as_deref() != Some(json.as_str()) {
        return Err(AmendError::ReadBack("its manifest is not the one written"));
    }
    self_test.check(&answer(&engine)?)?;
    Ok(amended)
}
