//! Runs a graph that gives its maps beside its outputs, in tract's own operators: what the values
//! of the maps are is asked of f32 graphs alone, before there is anything to fuse.

use super::engine::{EngineError, check_size};
use super::plan::{IMAGE, OUTPUTS};
use glaucoma_common::preprocess::to_input;
use image::RgbImage;
use tract_onnx::prelude::*;

fn failed(step: &'static str) -> impl Fn(TractError) -> EngineError {
    move |error| EngineError::Engine { step, reason: format!("{error:#}") }
}

/// A loaded graph.
#[derive(Debug)]
pub struct Observer {
    model: Arc<TypedRunnableModel>,
    side: u32,
}

impl Observer {
    /// Parses and prepares an ONNX file.
    ///
    /// # Errors
    /// What tract refuses, or a graph with other inputs and outputs.
    pub fn load(mut bytes: &[u8]) -> Result<Self, EngineError> {
        let parsed = tract_onnx::onnx().model_for_read(&mut bytes).map_err(failed("parsing"))?;
        let model = parsed.into_optimized().map_err(failed("optimising"))?;
        let side = check_interface(&model)?;
        let model = model.into_runnable().map_err(failed("planning"))?;
        Ok(Self { model, side })
    }

    /// The values of the outputs behind the four, for one prepared photograph; `scale` as in the
    /// input contract.
    ///
    /// # Errors
    /// A photograph of another size, or an engine that fails.
    pub fn maps(&self, photograph: &RgbImage, scale: f32) -> Result<Vec<Vec<f32>>, EngineError> {
        check_size(photograph, self.side)?;
        let side = self.side as usize;
        let input = Tensor::from_shape(&[1, 3, side, side], &to_input(photograph, scale))
            .map_err(failed("input"))?;
        let outputs = self.model.run(tvec!(input.into())).map_err(failed("running"))?;
        let values = outputs.iter().skip(OUTPUTS.len()).map(|output| {
            let view = output.to_plain_array_view::<f32>().map_err(failed("reading outputs"))?;
            Ok(view.iter().copied().collect())
        });
        values.collect()
    }
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
