//! A model file parsed, prepared and run by tract.
//!
//! Whatever goes wrong inside the inference library, a panic included, leaves here as an
//! [`EngineError`].

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use glaucoma_common::manifest::OutputNames;
use glaucoma_common::reading::NetworkOutput;
use tract_onnx::pb::{ModelProto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::knobs::KnobScope;
use tract_onnx::tract_hir::infer::Factoid;

use crate::fused::{self, Ready};
use crate::kernels::Form;
use crate::network::Network;
use crate::program::Program;
use crate::recognise::{Unknown, recognise};
use crate::run::{Lap, Runner, Threads};

/// The most pixels a side a network input may have: above it one activation map of the U-Net
/// alone takes more memory than the boards have.
pub const MAX_INPUT_SIDE: u32 = 1024;

/// Why a network could not be prepared or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bytes are not a readable ONNX model.
    #[error("this is not a readable ONNX model: {0}")]
    NotOnnx(String),
    /// The graph's inputs or outputs are not those the manifest promises.
    #[error("the network does not match its manifest: {0}")]
    Interface(String),
    /// The graph is valid but the inference library cannot prepare it.
    #[error("the network cannot be prepared: {0}")]
    Prepare(String),
    /// Running the network failed.
    #[error("running the network failed: {0}")]
    Run(String),
    /// The inference library panicked.
    #[error("the inference library failed while {step}: {message}")]
    Panic {
        /// What was being done.
        step: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// A parsed model whose metadata can be read before it is prepared.
#[derive(Debug)]
pub struct ParsedModel {
    pub(crate) file: ModelProto,
}

impl ParsedModel {
    /// Parses the bytes of an ONNX file.
    ///
    /// # Errors
    /// [`EngineError::NotOnnx`] for anything that is not a complete ONNX model in one file.
    pub fn parse(bytes: &[u8]) -> Result<Self, EngineError> {
        let mut reader = bytes;
        guarded("reading the model", || tract_onnx::onnx().proto_model_for_read(&mut reader))?
            .map(|file| Self { file })
            .map_err(|error| EngineError::NotOnnx(chain(&error)))
    }

    /// The text under `key` in the file's `metadata_props`.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let entry = self.file.metadata_props.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.clone())
    }

    /// The side of the square input that the file declares, in pixels.
    pub fn input_side(&self) -> Option<u32> {
        let graph = self.file.graph.as_ref()?;
        let stored = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        let input = graph.input.iter().find(|input| !stored(&input.name))?;
        let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
        let sides = &tensor.shape.as_ref()?.dim;
        let side = |at: usize| match sides.get(at)?.value.as_ref()? {
            tensor_shape_proto::dimension::Value::DimValue(side) => u32::try_from(*side).ok(),
            tensor_shape_proto::dimension::Value::DimParam(_) => None,
        };
        (sides.len() == 4 && side(2) == side(3)).then(|| side(2))?
    }

    fn inference_model(&self) -> Result<InferenceModel, EngineError> {
        let parsed = tract_onnx::onnx().parse(&self.file, None);
        let parsed = parsed.map_err(|error| EngineError::NotOnnx(chain(&error)))?;
        Ok(parsed.model)
    }
}

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which operators.
    pub kind: EngineKind,
    /// Threads of the fused network; tract's own operators run on the caller's.
    pub threads: usize,
    /// Instructions of the fused network.
    pub form: Form,
}

impl Default for Options {
    /// Fused where it can be, one thread, the fastest instructions of this processor.
    fn default() -> Self {
        Self { kind: EngineKind::Fused, threads: 1, form: Form::best() }
    }
}

/// Which operators run the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// One fused operator where the network is recognised, else tract's own, with a warning.
    Fused,
    /// tract's own operators.
    Stock,
}

/// A network ready to run.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<TypedRunnableModel>,
    side: u32,
    outputs: OutputOrder,
    fused: Option<Arc<Ready>>,
    not_fused: Option<Unknown>,
}

/// Positions of the four heads among the graph's outputs.
#[derive(Debug, Clone, Copy)]
struct OutputOrder {
    glaucoma: usize,
    disc: usize,
    cup: usize,
    fovea: usize,
}

impl Engine {
    /// Checks the graph's interface against the manifest's and prepares it for running.
    ///
    /// `side` is the network input's side in pixels: the graph must take one `f32` tensor
    /// `[1, 3, side, side]` and give the four named outputs, `[1, 1]` for the probability and
    /// `[1, 1, side, side]` for the maps.
    ///
    /// # Errors
    /// [`EngineError::Interface`] when graph and manifest disagree, [`EngineError::Prepare`] when
    /// the graph holds an operator that cannot be run.
    pub fn new(
        parsed: &ParsedModel,
        side: u32,
        names: &OutputNames,
        options: &Options,
    ) -> Result<Self, EngineError> {
        if side == 0 || side > MAX_INPUT_SIDE {
            return Err(EngineError::Interface(format!(
                "an input side of {side} pixels is outside 1 to {MAX_INPUT_SIDE}"
            )));
        }
        guarded("preparing the network", || prepare(parsed, side, names, options))?
    }

    /// Side of the square input in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Why the network runs on tract's own operators although it was to be fused.
    pub fn not_fused(&self) -> Option<String> {
        self.not_fused.as_ref().map(ToString::to_string)
    }

    /// What the fused network computes in: `int8` or `f32`; `None` for tract's own operators.
    pub fn arithmetic(&self) -> Option<&'static str> {
        self.fused.as_deref().map(|network| match network {
            Ready::Integer(_) => "int8",
            Ready::Real(_) => "f32",
        })
    }

    /// Multiplications and additions, in pairs, that one core computes in a second at best: a 1x1
    /// convolution by the kernels of the fused network while what it reads again and again lies in
    /// the first-level cache, the fastest of the repetitions within `time`. `None` for tract's own
    /// operators.
    pub fn peak(&self, time: Duration) -> Option<f64> {
        self.fused.as_ref()?.peak(time)
    }

    /// As [`Self::run`], with how long each step took; no laps from tract's own operators.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_timed(&self, input: &[f32]) -> Result<(NetworkOutput, Vec<Lap>), EngineError> {
        let Some(network) = &self.fused else { return Ok((self.run(input)?, Vec::new())) };
        self.check_input(input)?;
        let mut laps = Vec::new();
        let output =
            guarded("running the network", || network.run(input, &mut |lap| laps.push(lap)))?;
        Ok((output, laps))
    }

    /// Runs the network on one image: `3 * side * side` values, channel by channel (R, G, B), row
    /// by row, scaled as the manifest says.
    ///
    /// # Errors
    /// [`EngineError::Interface`] for an input of another length, [`EngineError::Run`] and
    /// [`EngineError::Panic`] when the library fails.
    pub fn run(&self, input: &[f32]) -> Result<NetworkOutput, EngineError> {
        self.check_input(input)?;
        guarded("running the network", || self.run_unguarded(input))?
            .map_err(|error| EngineError::Run(chain(&error)))
    }

    fn check_input(&self, input: &[f32]) -> Result<(), EngineError> {
        let expected = 3 * self.side as usize * self.side as usize;
        if input.len() != expected {
            return Err(EngineError::Interface(format!(
                "an input of {} values was given, {expected} were expected",
                input.len()
            )));
        }
        match input.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(EngineError::Interface(format!("input value {at} is not finite"))),
            None => Ok(()),
        }
    }

    fn run_unguarded(&self, input: &[f32]) -> TractResult<NetworkOutput> {
        let side = self.side as usize;
        let tensor = Tensor::from_shape(&[1, 3, side, side], input)?;
        let outputs = self.plan.run(tvec!(tensor.into()))?;
        let values = |index: usize| -> TractResult<Vec<f32>> {
            Ok(outputs[index].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        Ok(NetworkOutput {
            side: self.side,
            glaucoma: values(self.outputs.glaucoma)?[0],
            disc: values(self.outputs.disc)?,
            cup: values(self.outputs.cup)?,
            fovea: values(self.outputs.fovea)?,
        })
    }
}

/// Fuses the network where it can be, else leaves it to tract's own operators.
fn prepare(
    parsed: &ParsedModel,
    side: u32,
    names: &OutputNames,
    options: &Options,
) -> Result<Engine, EngineError> {
    let graph = parsed.file.graph.as_ref();
    let graph = graph.ok_or_else(|| EngineError::NotOnnx("it holds no graph".into()))?;
    if options.kind == EngineKind::Stock {
        return prepare_stock(parsed.inference_model()?, side, names);
    }
    match recognise(graph, side as usize, names) {
        Ok(network) => match ready(&network, options)? {
            Ok(ready) => prepare_fused(Arc::new(ready), side),
            Err(unknown) => prepare_unknown(parsed, side, names, unknown),
        },
        Err(unknown) => prepare_unknown(parsed, side, names, unknown),
    }
}

/// The network's program on its threads; or what cannot be computed in that form.
fn ready(network: &Network, options: &Options) -> Result<Result<Ready, Unknown>, EngineError> {
    let threads = Threads::new(options.threads)
        .map_err(|error| EngineError::Prepare(format!("no threads: {error}")))?;
    let on_grids = network.maps.iter().any(|map| map.grid.is_some());
    Ok(if on_grids {
        Program::lower(network)
            .map(|program| Ready::Integer(Runner::new(program, options.form, threads)))
    } else {
        Program::lower(network)
            .map(|program| Ready::Real(Runner::new(program, options.form, threads)))
    })
}

fn prepare_fused(network: Arc<Ready>, side: u32) -> Result<Engine, EngineError> {
    let plan = fused::model(network.clone()).and_then(|model| model.into_runnable());
    let plan = plan.map_err(|error| EngineError::Prepare(chain(&error)))?;
    let outputs = OutputOrder { glaucoma: 0, disc: 1, cup: 2, fovea: 3 };
    Ok(Engine { plan, side, outputs, fused: Some(network), not_fused: None })
}

fn prepare_unknown(
    parsed: &ParsedModel,
    side: u32,
    names: &OutputNames,
    unknown: Unknown,
) -> Result<Engine, EngineError> {
    tracing::warn!("the network runs on tract's own operators, slowly: {unknown}");
    let engine = prepare_stock(parsed.inference_model()?, side, names)?;
    Ok(Engine { not_fused: Some(unknown), ..engine })
}

/// Type-checks, optimises and plans the graph.
fn prepare_stock(
    mut model: InferenceModel,
    side: u32,
    names: &OutputNames,
) -> Result<Engine, EngineError> {
    let side_dim = side as usize;
    let prepare_error = |error: TractError| EngineError::Prepare(chain(&error));
    let inputs = model.input_outlets().map_err(prepare_error)?.len();
    if inputs != 1 {
        return Err(EngineError::Interface(format!("it has {inputs} inputs instead of one")));
    }
    check_declared_input(&model, side)?;
    model.set_input_fact(0, f32::fact([1, 3, side_dim, side_dim]).into()).map_err(prepare_error)?;

    let order = OutputOrder {
        glaucoma: output_position(&model, &names.glaucoma)?,
        disc: output_position(&model, &names.disc)?,
        cup: output_position(&model, &names.cup)?,
        fovea: output_position(&model, &names.fovea)?,
    };
    let typed = model.into_typed().map_err(prepare_error)?;
    check_output(&typed, order.glaucoma, &names.glaucoma, &[1, 1])?;
    for (position, name) in
        [(order.disc, &names.disc), (order.cup, &names.cup), (order.fovea, &names.fovea)]
    {
        check_output(&typed, position, name, &[1, 1, side_dim, side_dim])?;
    }
    let plan = kernel_choice()
        .map_err(prepare_error)?
        .enter(|| typed.into_optimized()?.into_runnable())
        .map_err(prepare_error)?;
    Ok(Engine { plan, side, outputs: order, fused: None, not_fused: None })
}

/// tract's direct spatial convolution runs at a quarter of the speed of its matrix product on
/// x86-64; without it a U-Net takes two thirds of the time. Elsewhere its own choice stands.
fn kernel_choice() -> TractResult<KnobScope> {
    if cfg!(target_arch = "x86_64") {
        KnobScope::new([("TRACT_DISABLE_DIRECT_SPATIAL", "true")])
    } else {
        Ok(KnobScope::default())
    }
}

/// The shape written in the file, before it is overridden, must be the manifest's.
fn check_declared_input(model: &InferenceModel, side: u32) -> Result<(), EngineError> {
    let fact = model.input_fact(0).map_err(|error| EngineError::Prepare(chain(&error)))?;
    let wanted = [1, 3, i64::from(side), i64::from(side)];
    let agrees = match fact.shape.concretize() {
        Some(dims) => {
            dims.len() == wanted.len()
                && dims.iter().zip(wanted).all(|(dim, want)| dim.to_i64().is_ok_and(|d| d == want))
        }
        // A shape left open by the file is closed by the manifest.
        None => true,
    };
    if agrees {
        Ok(())
    } else {
        Err(EngineError::Interface(format!(
            "its input has the shape {:?}, the manifest says 1,3,{side},{side}",
            fact.shape
        )))
    }
}

fn output_position(model: &InferenceModel, name: &str) -> Result<usize, EngineError> {
    let outlets = model.output_outlets().map_err(|error| EngineError::Prepare(chain(&error)))?;
    outlets
        .iter()
        .position(|&outlet| model.outlet_label(outlet) == Some(name))
        .ok_or_else(|| EngineError::Interface(format!("it has no output named `{name}`")))
}

fn check_output(
    model: &TypedModel,
    position: usize,
    name: &str,
    shape: &[usize],
) -> Result<(), EngineError> {
    let fact = model.output_fact(position).map_err(|error| EngineError::Prepare(chain(&error)))?;
    let same_shape = fact.shape.as_concrete().is_some_and(|dims| dims == shape);
    if same_shape && fact.datum_type == f32::datum_type() {
        Ok(())
    } else {
        Err(EngineError::Interface(format!(
            "its output `{name}` is {fact:?}, expected f32 of shape {shape:?}"
        )))
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the engine's boundary, where a panic becomes an
/// [`EngineError::Panic`]: a panic hook that asks can leave the printing to the error.
pub fn panics_become_errors() -> bool {
    GUARDED.get()
}

/// Runs `work`, turning a panic into an error.
fn guarded<T>(step: &'static str, work: impl FnOnce() -> T) -> Result<T, EngineError> {
    let before = GUARDED.replace(true);
    // A broken half-built graph is dropped with the unwinding and never looked at again.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    outcome.map_err(|payload| EngineError::Panic { step, message: panic_message(&*payload) })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_string()))
        .unwrap_or_else(|| "no message".to_string())
}

/// The causes of a library error in one line, outermost first.
fn chain(error: &TractError) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
