//! The whole network as one operator of tract's: tract plans and runs it like any other.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use glaucoma_common::reading::NetworkOutput;
use tract_onnx::tract_core::internal::*;

use crate::network::Grid;
use crate::peak::macs_per_second;
use crate::program::{Program, Work};
use crate::run::{Lap, Runner};

/// A network ready to run, of either arithmetic.
#[derive(Debug)]
pub enum Ready {
    /// Maps of integers.
    Integer(Runner<u8>),
    /// Maps of f32.
    Real(Runner<f32>),
}

impl Ready {
    /// Runs on three channels of side x side, and says how long each step took.
    pub fn run(&self, image: &[f32], lap: &mut dyn FnMut(Lap)) -> NetworkOutput {
        match self {
            Self::Integer(runner) => runner.run_timed(image, lap),
            Self::Real(runner) => runner.run_timed(image, lap),
        }
    }

    /// Multiplications and additions, in pairs, that one thread computes in a second at best;
    /// measured within `time`.
    pub fn peak(&self, time: Duration) -> Option<f64> {
        match self {
            Self::Integer(runner) => {
                let top = if reads_full_range(runner.program()) { 255 } else { 127 };
                macs_per_second::<u8>(runner.form(), Some(Grid { scale: 1.0, top }), time)
            }
            Self::Real(runner) => macs_per_second::<f32>(runner.form(), None, time),
        }
    }

    fn side(&self) -> usize {
        match self {
            Self::Integer(runner) => runner.program().side,
            Self::Real(runner) => runner.program().side,
        }
    }
}

/// Whether an integer above 127 may be multiplied: some forms are slower then.
fn reads_full_range(program: &Program<u8>) -> bool {
    program.steps.iter().any(|step| matches!(&step.work, Work::Conv(conv, ..) if conv.full_inputs))
}

/// Photograph in; probability of glaucoma and the maps of disc, cup and fovea out.
#[derive(Debug, Clone)]
pub struct FusedNetwork(pub Arc<Ready>);

// Two operators are the same when they are the same network in memory.
impl PartialEq for FusedNetwork {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FusedNetwork {}

impl Hash for FusedNetwork {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Op for FusedNetwork {
    fn name(&self) -> StaticName {
        "FusedNetwork".into()
    }

    op_as_typed_op!();
}

impl EvalOp for FusedNetwork {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let image = args_1!(inputs);
        let output = self.0.run(image.try_as_plain_ram()?.as_slice::<f32>()?, &mut |_| {});
        let side = self.0.side();
        let map = |values: &[f32]| -> TractResult<TValue> {
            Ok(Tensor::from_shape(&[1, 1, side, side], values)?.into_tvalue())
        };
        Ok(tvec!(
            Tensor::from_shape(&[1, 1], &[output.glaucoma])?.into_tvalue(),
            map(&output.disc)?,
            map(&output.cup)?,
            map(&output.fovea)?,
        ))
    }
}

impl TypedOp for FusedNetwork {
    as_op!();

    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let side = self.0.side();
        let map = f32::fact([1, 1, side, side]);
        Ok(tvec!(f32::fact([1, 1]), map.clone(), map.clone(), map))
    }
}

/// A graph of this one operator.
pub fn model(network: Arc<Ready>) -> TractResult<TypedModel> {
    let side = network.side();
    let mut model = TypedModel::default();
    let image = model.add_source("image", f32::fact([1, 3, side, side]))?;
    let outputs = model.wire_node("network", FusedNetwork(network), &[image])?;
    model.select_output_outlets(&outputs)?;
    Ok(model)
}
