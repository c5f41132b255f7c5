//! From an ONNX graph to a [`Network`]: every node is understood, or the whole graph is left to
//! tract's own operators.
//!
//! What is understood is the multi-task U-Net in f32, or with quantised maps in QDQ form: a pair
//! QuantizeLinear, DequantizeLinear behind every map, a DequantizeLinear behind stored integer
//! weights and biases. The nodes are walked in the file's order; each name stands for a [`Value`].

use std::collections::HashMap;

use glaucoma_common::manifest::OutputNames;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::network::{Grid, Head, Layer, Map, MapId, Network, Weights};
use crate::onnx::{self, View};

/// A graph that is not the network known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` ({operator}): {reason}")]
pub struct Unknown {
    /// The node's name in the file, or its output's.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What is not understood about it.
    pub reason: String,
}

/// What a name in the graph stands for.
#[derive(Debug, Clone)]
enum Value {
    /// The photograph.
    Image,
    /// A convolution before its ReLU or sigmoid.
    Sums { input: Option<MapId>, kernel: usize, outputs: usize, weights: Weights },
    /// A map as its layer makes it.
    Plain(MapId),
    /// A map's integers.
    Integers(MapId),
    /// A map read back from its integers.
    OnGrid(MapId),
    /// The maximum of each channel.
    Peaks(MapId),
    /// A head before its sigmoid.
    Logit(Head),
    /// A head's probability.
    Probability(Head),
}

/// Reads `graph`, whose photograph is `side` x `side` pixels and whose outputs have these names.
///
/// # Errors
/// The first node that is not understood.
pub fn recognise(graph: &GraphProto, side: usize, names: &OutputNames) -> Result<Network, Unknown> {
    let view = View::new(graph);
    let mut reader = Reader {
        view: &view,
        values: HashMap::new(),
        maps: Vec::new(),
        layers: Vec::new(),
        read_plain: Vec::new(),
        side,
    };
    let image = graph.input.iter().find(|input| view.constant(&input.name).is_none());
    if let Some(image) = image {
        reader.values.insert(image.name.as_str(), Value::Image);
    }
    for node in view.nodes {
        reader.node(node).map_err(|reason| unknown(node, reason))?;
    }
    reader.finish(names)
}

fn unknown(node: &NodeProto, reason: impl Into<String>) -> Unknown {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    Unknown {
        node: name.cloned().unwrap_or_default(),
        operator: node.op_type.clone(),
        reason: reason.into(),
    }
}

struct Reader<'a> {
    view: &'a View<'a>,
    values: HashMap<&'a str, Value>,
    maps: Vec<Map>,
    layers: Vec<Layer>,
    /// Whether a layer reads the map as it is made, not from its grid.
    read_plain: Vec<bool>,
    side: usize,
}

type Reading<T> = Result<T, String>;

impl<'a> Reader<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Reading<()> {
        let [output] = &node.output[..] else { return Err("has not one output".into()) };
        let value = match node.op_type.as_str() {
            // Stored numbers are read where they are used.
            "DequantizeLinear" | "Cast" if self.is_stored(node) => return Ok(()),
            "Conv" => self.conv(node)?,
            "Relu" => self.relu(node, output)?,
            "QuantizeLinear" => self.quantize(node)?,
            "DequantizeLinear" => self.dequantize(node)?,
            "MaxPool" => self.pool(node, output)?,
            "Resize" => self.upsample(node, output)?,
            "Concat" => self.concat(node, output)?,
            "GlobalMaxPool" => Value::Peaks(self.map(input(node, 0)?)?),
            "Flatten" => self.flatten(node)?,
            "Gemm" => self.gemm(node)?,
            "Sigmoid" => self.sigmoid(node)?,
            _ => return Err("this operator is not known".into()),
        };
        self.values.insert(output, value);
        Ok(())
    }

    fn is_stored(&self, node: &NodeProto) -> bool {
        node.input.first().is_some_and(|name| self.view.constant(name).is_some())
    }

    fn value(&self, name: &str) -> Reading<&Value> {
        self.values.get(name).ok_or_else(|| format!("reads `{name}`, which no known node makes"))
    }

    /// The map that `name` stands for.
    fn map(&mut self, name: &str) -> Reading<MapId> {
        match *self.value(name)? {
            Value::OnGrid(map) => Ok(map),
            Value::Plain(map) => {
                self.read_plain[map] = true;
                Ok(map)
            }
            _ => Err(format!("reads `{name}`, which is no map")),
        }
    }

    fn new_map(&mut self, name: &str, channels: usize, side: usize) -> MapId {
        self.maps.push(Map { name: name.into(), channels, side, grid: None });
        self.read_plain.push(false);
        self.maps.len() - 1
    }

    fn conv(&mut self, node: &NodeProto) -> Reading<Value> {
        let source = input(node, 0)?;
        let input_map = match self.value(source)? {
            Value::Image => None,
            _ => Some(self.map(source)?),
        };
        let channels = input_map.map_or(3, |map| self.maps[map].channels);
        let step = input_map.and_then(|map| self.maps[map].grid).map(|grid| grid.scale);
        let (shape, weights) = self.weights(input(node, 1)?, input(node, 2)?, step)?;
        let [outputs, inputs, height, width] = shape[..] else {
            return Err(format!("has weights of shape {shape:?}"));
        };
        if inputs != channels || height != width || !matches!(height, 1 | 3) || outputs == 0 {
            return Err(format!(
                "has weights of shape {shape:?} for {channels} channels; 1x1 and 3x3 are known"
            ));
        }
        let pad = (height / 2) as i64;
        let plain = onnx::int(node, "group", 1) == 1
            && onnx::all_are(node, "dilations", 1, true)
            && onnx::all_are(node, "strides", 1, true)
            && onnx::all_are(node, "pads", pad, pad == 0)
            && onnx::text(node, "auto_pad", "NOTSET") == "NOTSET";
        if !plain {
            return Err("is not a convolution of stride 1 that keeps the side".into());
        }
        Ok(Value::Sums { input: input_map, kernel: height, outputs, weights })
    }

    /// Weight and bias of a convolution whose input has steps of `step`, and the weight's shape.
    fn weights(
        &self,
        weight: &str,
        bias: &str,
        step: Option<f32>,
    ) -> Reading<(Vec<usize>, Weights)> {
        if let Some((shape, weight)) = self.real(weight) {
            let (bias_shape, bias) =
                self.real(bias).ok_or_else(|| format!("has a bias `{bias}` not known"))?;
            let whole = weight.len() == shape.iter().product::<usize>()
                && bias_shape == [shape.first().copied().unwrap_or(0)]
                && bias.len() == bias_shape[0];
            let finite = weight.iter().chain(&bias).all(|value| value.is_finite());
            return match whole && finite {
                true => Ok((shape, Weights::Real { weight, bias })),
                false => Err("has weights that are cut short or not finite".into()),
            };
        }
        let step = step.ok_or("has integer weights but reads no quantised map")?;
        let (shape, weight, scale) = self.stored(weight, onnx::bytes)?;
        let (bias_shape, bias, bias_scale) = self.stored(bias, onnx::words)?;
        let outputs = shape.first().copied().unwrap_or(0);
        let whole = weight.len() == shape.iter().product::<usize>()
            && bias_shape == [outputs]
            && [bias.len(), scale.len(), bias_scale.len()] == [outputs; 3];
        if !whole {
            return Err("has weights or scales that are cut short".into());
        }
        let same_step = scale
            .iter()
            .zip(&bias_scale)
            .all(|(scale, bias)| (scale * step - bias).abs() <= 1e-6 * bias.abs());
        if !same_step {
            return Err("has a bias in other steps than its sums".into());
        }
        // Sums must fit into 32 bits whatever the photograph.
        let per_output = weight.len() / outputs.max(1);
        let largest: i64 = 255 * 127 * per_output as i64;
        let fits = bias.iter().all(|bias| largest + i64::from(*bias).abs() < i64::from(i32::MAX));
        let narrow = weight.iter().all(|weight| *weight > i8::MIN);
        if !fits || !narrow {
            return Err("has weights or biases whose sums may not fit into 32 bits".into());
        }
        Ok((shape, Weights::Integer { weight, scale, bias }))
    }

    /// Stored f32 numbers, or f16 ones behind a Cast.
    fn real(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        if let Some(tensor) = self.view.constant(name) {
            return Some((onnx::dims(tensor), onnx::floats(tensor)?));
        }
        let cast = self.view.producer(name).filter(|node| node.op_type == "Cast")?;
        let tensor = self.view.constant(cast.input.first()?)?;
        let to_f32 = onnx::int(cast, "to", 0) == DataType::Float as i64;
        to_f32.then(|| Some((onnx::dims(tensor), onnx::halves(tensor)?)))?
    }

    /// Stored integers behind a DequantizeLinear, as `read` takes them from their tensor: shape,
    /// integers, the scale of each output.
    fn stored<T>(
        &self,
        name: &str,
        read: impl Fn(&TensorProto) -> Option<Vec<T>>,
    ) -> Reading<(Vec<usize>, Vec<T>, Vec<f32>)> {
        let wrong = || format!("has `{name}`, not stored as such integers behind a scale");
        let node = self.view.producer(name).filter(|node| node.op_type == "DequantizeLinear");
        let node = node.ok_or_else(wrong)?;
        let constant = |at: usize| self.view.constant(node.input.get(at)?);
        let tensor = constant(0).ok_or_else(wrong)?;
        let integers = read(tensor).ok_or_else(wrong)?;
        let scale = constant(1).and_then(onnx::floats).ok_or_else(wrong)?;
        let centred = match node.input.get(2).map(String::as_str) {
            None | Some("") => true,
            Some(_) => constant(2)
                .and_then(onnx::zero_points)
                .is_some_and(|(_, zeros)| zeros.iter().all(|zero| *zero == 0)),
        };
        if !centred || onnx::int(node, "axis", 1) != 0 {
            return Err(wrong());
        }
        if scale.iter().any(|scale| !scale.is_normal() || *scale < 0.0) {
            return Err(format!("has `{name}` with a scale that is no step"));
        }
        Ok((onnx::dims(tensor), integers, scale))
    }

    fn relu(&mut self, node: &NodeProto, output: &str) -> Reading<Value> {
        let Value::Sums { input, kernel, outputs, weights } = self.value(input(node, 0)?)?.clone()
        else {
            return Err("does not follow a convolution".into());
        };
        let side = input.map_or(self.side, |map| self.maps[map].side);
        let made = self.new_map(output, outputs, side);
        self.layers.push(Layer::Conv { input, kernel, weights, output: made });
        Ok(Value::Plain(made))
    }

    fn quantize(&mut self, node: &NodeProto) -> Reading<Value> {
        let Value::Plain(map) = *self.value(input(node, 0)?)? else {
            return Err("does not follow a map".into());
        };
        let grid = self.grid(node)?;
        if self.maps[map].grid.is_some_and(|other| other != grid) {
            return Err("puts a map on two grids".into());
        }
        self.maps[map].grid = Some(grid);
        Ok(Value::Integers(map))
    }

    fn dequantize(&mut self, node: &NodeProto) -> Reading<Value> {
        let Value::Integers(map) = *self.value(input(node, 0)?)? else {
            return Err("does not follow a map's integers".into());
        };
        match self.grid(node)? {
            grid if Some(grid) == self.maps[map].grid => Ok(Value::OnGrid(map)),
            _ => Err("reads a map with another scale than it was written with".into()),
        }
    }

    /// The grid that a QuantizeLinear or DequantizeLinear of a map speaks of.
    fn grid(&self, node: &NodeProto) -> Reading<Grid> {
        let scale = self.view.scalar(input(node, 1)?).ok_or("has not one constant scale")?;
        if !scale.is_normal() || scale < 0.0 {
            return Err(format!("has the scale {scale}"));
        }
        let zero = self.view.constant(input(node, 2)?).and_then(onnx::zero_points);
        let top = match zero.as_ref().map(|(kind, values)| (kind, &values[..])) {
            Some((DataType::Int8, [-128]) | (DataType::Uint8, [0])) => 255,
            Some((DataType::Int8, [0])) => 127,
            _ => return Err("has a zero point other than 0 or the least integer".into()),
        };
        Ok(Grid { scale, top })
    }

    fn pool(&mut self, node: &NodeProto, output: &str) -> Reading<Value> {
        let input = self.map(input(node, 0)?)?;
        let halves = onnx::all_are(node, "kernel_shape", 2, false)
            && onnx::all_are(node, "strides", 2, false)
            && onnx::all_are(node, "pads", 0, true)
            && onnx::all_are(node, "dilations", 1, true)
            && onnx::text(node, "auto_pad", "NOTSET") == "NOTSET"
            && self.maps[input].side.is_multiple_of(2);
        if !halves {
            return Err("is not a 2x2 pool of an even side".into());
        }
        let Map { channels, side, .. } = self.maps[input];
        let made = self.new_map(output, channels, side / 2);
        self.layers.push(Layer::Pool { input, output: made });
        Ok(Value::Plain(made))
    }

    fn upsample(&mut self, node: &NodeProto, output: &str) -> Reading<Value> {
        let input_map = self.map(input(node, 0)?)?;
        let scales = node.input.get(2).and_then(|name| self.view.constant(name));
        let doubles = scales.and_then(onnx::floats).is_some_and(|s| s == [1.0, 1.0, 2.0, 2.0])
            && node.input.get(3).is_none_or(String::is_empty)
            && onnx::text(node, "mode", "nearest") == "linear"
            && onnx::text(node, "coordinate_transformation_mode", "half_pixel") == "align_corners"
            && onnx::int(node, "antialias", 0) == 0;
        if !doubles {
            return Err("is not a doubling of the side, bilinear with aligned corners".into());
        }
        let Map { channels, side, .. } = self.maps[input_map];
        let made = self.new_map(output, channels, side * 2);
        self.layers.push(Layer::Upsample { input: input_map, output: made });
        Ok(Value::Plain(made))
    }

    fn concat(&mut self, node: &NodeProto, output: &str) -> Reading<Value> {
        let [first, second] = &node.input[..] else { return Err("joins not two maps".into()) };
        let inputs = [self.map(first)?, self.map(second)?];
        let [a, b] = inputs.map(|map| &self.maps[map]);
        let side = a.side;
        if onnx::int(node, "axis", 0) != 1 || side != b.side {
            return Err("does not join channels of maps of one side".into());
        }
        let channels = a.channels + b.channels;
        let made = self.new_map(output, channels, side);
        self.layers.push(Layer::Concat { inputs, output: made });
        Ok(Value::Plain(made))
    }

    fn flatten(&mut self, node: &NodeProto) -> Reading<Value> {
        match self.value(input(node, 0)?)? {
            peaks @ Value::Peaks(_) if onnx::int(node, "axis", 1) == 1 => Ok(peaks.clone()),
            _ => Err("does not flatten the maxima of channels".into()),
        }
    }

    fn gemm(&mut self, node: &NodeProto) -> Reading<Value> {
        let Value::Peaks(map) = *self.value(input(node, 0)?)? else {
            return Err("does not read the maxima of channels".into());
        };
        let plain = onnx::int(node, "transA", 0) == 0
            && onnx::int(node, "transB", 0) == 1
            && onnx::float(node, "alpha", 1.0) == 1.0
            && onnx::float(node, "beta", 1.0) == 1.0;
        let (_, weights) = self.weights(input(node, 1)?, input(node, 2)?, None)?;
        match weights {
            Weights::Real { weight, bias }
                if plain && weight.len() == self.maps[map].channels && bias.len() == 1 =>
            {
                Ok(Value::Logit(Head { input: map, weight, bias: bias[0] }))
            }
            _ => Err("is not one weighted sum of the channels".into()),
        }
    }

    fn sigmoid(&mut self, node: &NodeProto) -> Reading<Value> {
        match self.value(input(node, 0)?)?.clone() {
            Value::Logit(head) => Ok(Value::Probability(head)),
            Value::Sums {
                input: Some(map),
                kernel: 1,
                outputs: 1,
                weights: Weights::Real { weight, bias },
            } => Ok(Value::Probability(Head { input: map, weight, bias: bias[0] })),
            _ => Err("does not follow a head in f32".into()),
        }
    }

    /// Finds the four outputs and checks that the whole is one arithmetic.
    fn finish(self, names: &OutputNames) -> Result<Network, Unknown> {
        let head = |name: &str| match (self.values.get(name), self.view.outputs.contains(&name)) {
            (Some(Value::Probability(head)), true) => Ok(head.clone()),
            _ => Err(whole(format!("output `{name}` is not a head's probability"))),
        };
        let glaucoma = head(&names.glaucoma)?;
        let heads = [head(&names.disc)?, head(&names.cup)?, head(&names.fovea)?];
        if self.view.outputs.len() != 4 {
            return Err(whole("it has other outputs beside the four"));
        }
        for (map, read_plain) in self.maps.iter().zip(&self.read_plain) {
            if map.grid.is_some() && *read_plain {
                return Err(whole(format!("`{}` is read both from its grid and not", map.name)));
            }
        }
        let network =
            Network { side: self.side, maps: self.maps, layers: self.layers, glaucoma, heads };
        one_arithmetic(&network)?;
        Ok(network)
    }
}

/// All maps in f32 with f32 weights; or all on grids, with integer weights behind the first layer.
fn one_arithmetic(network: &Network) -> Result<(), Unknown> {
    let maps = &network.maps;
    let on_grids = maps.iter().filter(|map| map.grid.is_some()).count();
    if on_grids != 0 && on_grids != maps.len() {
        return Err(whole("some maps are quantised and some are not"));
    }
    for layer in &network.layers {
        match layer {
            Layer::Conv { input, weights, output, .. } => {
                let integer = matches!(weights, Weights::Integer { .. });
                if integer != (input.is_some() && on_grids > 0) {
                    let name = &maps[*output].name;
                    return Err(whole(format!("`{name}` multiplies numbers of two kinds")));
                }
            }
            Layer::Pool { input, output } => same_grid(maps, &[*input, *output])?,
            Layer::Concat { inputs: [a, b], output } => same_grid(maps, &[*a, *b, *output])?,
            Layer::Upsample { .. } => {}
        }
    }
    let sides = network.heads.iter().all(|head| maps[head.input].side == network.side);
    let channels = network.heads.iter().all(|head| maps[head.input].channels == head.weight.len());
    if !sides || !channels {
        return Err(whole("a map's head does not read a map of the photograph's side"));
    }
    Ok(())
}

fn same_grid(maps: &[Map], ids: &[MapId]) -> Result<(), Unknown> {
    match ids.iter().all(|id| maps[*id].grid == maps[ids[0]].grid) {
        true => Ok(()),
        false => Err(whole(format!("`{}` changes the scale of a copy", maps[ids[0]].name))),
    }
}

fn whole(reason: impl Into<String>) -> Unknown {
    Unknown { node: "(whole graph)".into(), operator: "any".into(), reason: reason.into() }
}

fn input(node: &NodeProto, at: usize) -> Reading<&str> {
    match node.input.get(at).map(String::as_str) {
        None | Some("") => Err(format!("has no input {at}")),
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
mod tests;
