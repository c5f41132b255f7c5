//! The written files before other judges: ONNX's own checker, and onnxruntime.

#![allow(clippy::unwrap_used)]

use super::calibrate::observe;
use super::engine::Engine;
use super::fold::fold;
use super::onnx::{Graph, Numbers, encode};
use super::quantize::{Scheme, quantize};
use super::testing::{photograph, random_network};
use crate::network::grid::{Clipping, Levels};
use glaucoma_common::manifest::METADATA_KEY;
use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use std::path::Path;
use std::process::Command;

const SIDE: u32 = 64;
const SCALE: f32 = 1.0 / 255.0;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes the file, and what the device's engine makes of it, for the script to compare.
fn write(folder: &Path, name: &str, graph: &Graph<'_>, photograph: &RgbImage) {
    let file = encode(graph, &[(METADATA_KEY, "{}")]);
    let NetworkOutput { glaucoma, disc, cup, fovea, .. } =
        Engine::load(&file).unwrap().run(photograph, SCALE).unwrap();
    let values = [vec![glaucoma], disc, cup, fovea].concat();
    std::fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
    std::fs::write(folder.join(format!("{name}.f32")), bytes(&values)).unwrap();
}

/// Runs with the Python named in `PYTHON` (default `python3`); skips where that has no onnxruntime.
#[test]
fn onnx_checker_and_onnxruntime_agree() {
    let folder = tempfile::tempdir().unwrap();
    let photographs: Vec<_> = (0..4).map(|seed| photograph(SIDE, seed)).collect();
    let folder = folder.path();
    std::fs::write(folder.join("input.f32"), bytes(&to_input(&photographs[0], SCALE))).unwrap();
    let network = fold(&random_network(8, 5)).unwrap();
    let graph = Graph { network: &network, side: SIDE, numbers: Numbers::F32, extra_outputs: &[] };
    write(folder, "f32", &graph, &photographs[0]);
    let observed = observe(&network, SIDE, SCALE, &photographs).unwrap();
    for (name, levels) in [("int8_half", Levels::Half), ("int8_full", Levels::Full)] {
        let scheme = Scheme::uniform(&observed, levels, Clipping::LeastSquares);
        let scales = scheme.scales(&observed).unwrap();
        let quantization = quantize(&network, levels, &scales).unwrap();
        let graph = Graph { numbers: Numbers::Int8(&quantization), ..graph };
        write(folder, name, &graph, &photographs[0]);
    }
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let script = glaucoma_tests::workspace().join("tests/interop/export_onnxruntime.py");
    let output = match Command::new(&python).arg(script).arg(folder).output() {
        Ok(output) if output.status.code() != Some(3) => output,
        _ => return eprintln!("SKIPPED: {python} has no onnx and onnxruntime (set PYTHON)"),
    };
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{reason}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    for line in lines.lines() {
        println!("{line}");
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((report["opset"].as_i64(), report["ir"].as_i64()), (Some(17), Some(8)));
        assert!(report["metadata"][METADATA_KEY].is_i64());
        // Rounding to integers is chaotic in a random network: a sum that lies next to a half goes
        // either way with the order of summation, and what follows differs by whole steps. So no
        // engine can be nearer to another than it is to itself under noise of that size.
        for form in ["as_written", "fused"] {
            for figure in ["max", "mean"] {
                let of = |form: &str| report[form][figure].as_f64().unwrap();
                let limit = of("noise") * 4.0 + 1e-5;
                assert!(of(form) <= limit, "{form}.{figure} above {limit}: {line}");
            }
        }
    }
}
