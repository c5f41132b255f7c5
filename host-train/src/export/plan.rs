//! The order of computation: which operator reads which map, by name.
//!
//! Calibration, quantisation and the graph writer all walk this one list, so that a map has the
//! same name everywhere: a convolution's output (after its ReLU) is called as the convolution,
//! the others `<stage>.pool`, `<stage>.up` and `<stage>.concat`.

use super::fold::{Conv, FoldedNetwork};
use std::collections::BTreeMap;

/// The network's input, shape (1, 3, side, side).
pub const IMAGE: &str = "image";
/// The outputs' names, in the order in which they stand in the file.
pub const OUTPUTS: [&str; 4] = ["glaucoma", "disc", "cup", "fovea"];

/// One step of the computation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// Convolution and ReLU; the output is named as the convolution.
    Conv {
        /// What is read.
        input: String,
        /// The weights.
        conv: &'a Conv,
    },
    /// 2x2 maximum, stride 2.
    Pool {
        /// What is read.
        input: String,
        /// What is made.
        output: String,
    },
    /// Twice the side, bilinear, corners aligned.
    Upsample {
        /// What is read.
        input: String,
        /// What is made.
        output: String,
    },
    /// The upsampled map's channels, then the skip's.
    Concat {
        /// What is read.
        inputs: [String; 2],
        /// What is made.
        output: String,
    },
    /// A 1x1 convolution and a sigmoid.
    MapHead {
        /// What is read.
        input: String,
        /// The weights.
        conv: &'a Conv,
        /// Name of the graph's output.
        output: &'static str,
    },
    /// The maximum of each channel over the whole map, one weighted sum, a sigmoid.
    ClassHead {
        /// What is read.
        input: String,
        /// The weights.
        conv: &'a Conv,
        /// Name of the graph's output.
        output: &'static str,
    },
}

/// The steps of `network` in an order in which every map is made before it is read.
#[must_use]
pub fn plan(network: &FoldedNetwork) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut current = IMAGE.to_string();
    let mut skips = Vec::new();
    for (index, stage) in network.encoder.iter().enumerate() {
        if index > 0 {
            let output = format!("encoder.stage{index}.pool");
            skips.push(current.clone());
            steps.push(Step::Pool { input: current, output: output.clone() });
            current = output;
        }
        current = convolve(&mut steps, current, stage);
    }
    let deepest = current.clone();
    for (index, stage) in network.decoder.iter().enumerate() {
        let name = format!("decoder.stage{}", index + 1);
        let up = format!("{name}.up");
        steps.push(Step::Upsample { input: current, output: up.clone() });
        current = up;
        if let Some(skip) = skips.pop() {
            let output = format!("{name}.concat");
            steps.push(Step::Concat { inputs: [current, skip], output: output.clone() });
            current = output;
        }
        current = convolve(&mut steps, current, stage);
    }
    let [glaucoma, maps @ ..] = OUTPUTS;
    steps.push(Step::ClassHead { input: deepest, conv: &network.glaucoma, output: glaucoma });
    for (conv, output) in network.maps.iter().zip(maps) {
        steps.push(Step::MapHead { input: current.clone(), conv, output });
    }
    steps
}

fn convolve<'a>(steps: &mut Vec<Step<'a>>, mut current: String, stage: &'a [Conv]) -> String {
    for conv in stage {
        steps.push(Step::Conv { input: current, conv });
        current = conv.name.clone();
    }
    current
}

/// Which maps must be quantised with one common scale: each map's group.
///
/// A pool keeps the scale of what it reads. Both inputs of a concatenation and its output share
/// one scale, so that it stays a copy of bytes. A group is named after the convolution whose
/// output belongs to it.
#[must_use]
pub fn scale_groups(steps: &[Step<'_>]) -> BTreeMap<String, String> {
    let mut groups = BTreeMap::new();
    for step in steps {
        match step {
            Step::Conv { conv, .. } => {
                groups.insert(conv.name.clone(), conv.name.clone());
            }
            Step::Pool { input, output } => {
                let group = groups.get(input).unwrap_or(input).clone();
                groups.insert(output.clone(), group);
            }
            Step::Concat { inputs: [up, skip], output } => {
                let group = groups.get(skip).unwrap_or(skip).clone();
                groups.insert(up.clone(), group.clone());
                groups.insert(output.clone(), group);
            }
            Step::Upsample { .. } | Step::MapHead { .. } | Step::ClassHead { .. } => {}
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::fold::fold;
    use crate::export::testing::random_network;
    use std::collections::BTreeSet;

    /// What a step reads, and what it makes.
    fn reads_and_makes(step: &Step<'_>) -> (Vec<String>, String) {
        match step {
            Step::Conv { input, conv } => (vec![input.clone()], conv.name.clone()),
            Step::Pool { input, output } | Step::Upsample { input, output } => {
                (vec![input.clone()], output.clone())
            }
            Step::Concat { inputs, output } => (inputs.to_vec(), output.clone()),
            Step::MapHead { input, output, .. } | Step::ClassHead { input, output, .. } => {
                (vec![input.clone()], (*output).to_string())
            }
        }
    }

    #[test]
    fn every_map_is_made_once_and_before_it_is_read() {
        let network = fold(&random_network(4, 1)).unwrap();
        let mut made = BTreeSet::from([IMAGE.to_string()]);
        for step in plan(&network) {
            let (reads, makes) = reads_and_makes(&step);
            assert!(reads.iter().all(|map| made.contains(map)), "{step:?}");
            assert!(made.insert(makes), "{step:?}");
        }
        assert!(OUTPUTS.iter().all(|output| made.contains(*output)));
    }

    #[test]
    fn upsampled_comes_before_its_skip() {
        let network = fold(&random_network(4, 1)).unwrap();
        let concats: Vec<[String; 2]> = plan(&network)
            .into_iter()
            .filter_map(|step| match step {
                Step::Concat { inputs, .. } => Some(inputs),
                _ => None,
            })
            .collect();
        let expected = [1, 2, 3, 4].map(|stage| {
            [format!("decoder.stage{stage}.up"), format!("encoder.stage{}.conv2", 5 - stage)]
        });
        assert_eq!(concats, expected);
    }
}
