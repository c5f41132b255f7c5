//! Runs a written file in the engine that the device uses.

use super::plan::{IMAGE, OUTPUTS};
use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use tract_onnx::prelude::*;

/// Why a file does not run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refuses the file, or fails in running it.
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

fn failed(step: &'static str) -> impl Fn(TractError) -> EngineError {
    move |error| EngineError::Engine { step, reason: format!("{error:#}") }
}

/// A loaded file.
#[derive(Debug)]
pub struct Engine {
    model: Arc<TypedRunnableModel>,
    side: u32,
    metadata: Vec<(String, String)>,
}

impl Engine {
    /// Parses and prepares an ONNX file.
    ///
    /// # Errors
    /// What the engine refuses, or a graph with other inputs and outputs.
    pub fn load(mut bytes: &[u8]) -> Result<Self, EngineError> {
        let parsed = tract_onnx::onnx().model_for_read(&mut bytes).map_err(failed("parsing"))?;
        let metadata = metadata_of(&parsed.properties);
        let model = parsed.into_optimized().map_err(failed("optimising"))?;
        let side = check_interface(&model)?;
        let model = model.into_runnable().map_err(failed("planning"))?;
        Ok(Self { model, side, metadata })
    }

    /// The photograph's side in network pixels.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.side
    }

    /// The file's metadata under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The four outputs for one prepared photograph; `scale` as in the input contract.
    ///
    /// # Errors
    /// A photograph of another size, or an engine that fails.
    pub fn run(&self, photograph: &RgbImage, scale: f32) -> Result<NetworkOutput, EngineError> {
        self.run_with_extra(photograph, scale).map(|(output, _)| output)
    }

    /// As [`Engine::run`], and the values of the outputs behind the four.
    ///
    /// # Errors
    /// A photograph of another size, or an engine that fails.
    pub fn run_with_extra(
        &self,
        photograph: &RgbImage,
        scale: f32,
    ) -> Result<(NetworkOutput, Vec<Vec<f32>>), EngineError> {
        let (width, height) = photograph.dimensions();
        let side = self.side;
        if (width, height) != (side, side) {
            return Err(EngineError::Size { width, height, side });
        }
        let input =
            Tensor::from_shape(&[1, 3, side as usize, side as usize], &to_input(photograph, scale))
                .map_err(failed("input"))?;
        let outputs = self.model.run(tvec!(input.into())).map_err(failed("running"))?;
        let mut values = outputs.iter().map(|output| {
            let view = output.to_plain_array_view::<f32>().map_err(failed("reading outputs"))?;
            Ok::<_, EngineError>(view.iter().copied().collect::<Vec<f32>>())
        });
        let mut next = || values.next().unwrap_or_else(|| Ok(Vec::new()));
        let glaucoma = next()?.first().copied().unwrap_or(f32::NAN);
        let (disc, cup, fovea) = (next()?, next()?, next()?);
        let extra = values.collect::<Result<_, _>>()?;
        Ok((NetworkOutput { side, glaucoma, disc, cup, fovea }, extra))
    }
}

/// Metadata arrives among the graph's properties, as constant strings under a prefix.
fn metadata_of(
    properties: &std::collections::HashMap<String, Arc<Tensor>>,
) -> Vec<(String, String)> {
    let entry = |(key, value): (&String, &Arc<Tensor>)| {
        let key = key.strip_prefix("onnx.metadata_props.")?;
        let value = value.try_as_plain_ram().ok()?.to_scalar::<String>().ok()?.clone();
        Some((key.to_string(), value))
    };
    properties.iter().filter_map(entry).collect()
}

/// Checks names and shapes of the input and the first four outputs; returns the side.
fn check_interface(model: &TypedModel) -> Result<u32, EngineError> {
    let wrong = |what: String| EngineError::Interface(what);
    let inputs = model.input_outlets().map_err(failed("inputs"))?;
    let name = inputs.first().map_or("", |input| model.node(input.node).name.as_str());
    if inputs.len() != 1 || name != IMAGE {
        return Err(wrong(format!(
            "{} inputs, the first {name:?}; expected {IMAGE:?}",
            inputs.len()
        )));
    }
    let fact = model.input_fact(0).map_err(failed("inputs"))?;
    let shape = fact.shape.as_concrete().unwrap_or(&[]);
    let side = match shape {
        [1, 3, height, width] if height == width => *width,
        _ => return Err(wrong(format!("input of shape {shape:?}, expected [1, 3, side, side]"))),
    };
    for (index, output) in OUTPUTS.iter().enumerate() {
        let fact = model.output_fact(index).map_err(failed("outputs"))?;
        let found = fact.shape.as_concrete().unwrap_or(&[]);
        let fits = if index == 0 { found == [1, 1] } else { found == [1, 1, side, side] };
        if !fits {
            return Err(wrong(format!("output {output} of shape {found:?}")));
        }
    }
    u32::try_from(side).map_err(|_| wrong(format!("input of side {side}")))
}
