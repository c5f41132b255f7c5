//! The written files before other judges: ONNX's own checker, and onnxruntime.

#![allow(clippy::unwrap_used)]

use super::calibrate::observe;
use super::correct::correct;
use super::engine::Engine;
use super::fold::fold;
use super::onnx::{Graph, Numbers, encode};
use super::quantize::{Scheme, quantize};
use super::testing::{photograph, random_network};
use crate::network::grid::{Clipping, Levels};
use glaucoma_common::manifest::{METADATA_KEY, Manifest};
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::{prepare, to_input};
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const SIDE: u32 = 64;
const SCALE: f32 = 1.0 / 255.0;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes a file, a photograph for it, and what the device's engine makes of both.
fn write(folder: &Path, name: &str, file: &[u8], photograph: &RgbImage) {
    let NetworkOutput { glaucoma, disc, cup, fovea, .. } =
        Engine::load(file).unwrap().run(photograph, SCALE).unwrap();
    let values = [vec![glaucoma], disc, cup, fovea].concat();
    let put = |kind: &str, bytes: &[u8]| {
        std::fs::write(folder.join(format!("{name}.{kind}")), bytes).unwrap();
    };
    put("onnx", file);
    put("input", &bytes(&to_input(photograph, SCALE)));
    put("f32", &bytes(&values));
}

/// What the script says of every file in `folder`, by the file's name; `None` where the Python named in
/// `PYTHON` (default `python3`) has no onnxruntime.
fn judge(folder: &Path) -> Option<BTreeMap<String, Value>> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let script = glaucoma_tests::workspace().join("tests/interop/export_onnxruntime.py");
    let output = match Command::new(&python).arg(script).arg(folder).output() {
        Ok(output) if output.status.code() != Some(3) => output,
        _ => {
            eprintln!("SKIPPED: {python} has no onnx and onnxruntime (set PYTHON)");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let report = |line: &str| {
        println!("{line}");
        let report: Value = serde_json::from_str(line).unwrap();
        assert_eq!((report["opset"].as_i64(), report["ir"].as_i64()), (Some(17), Some(8)));
        assert!(report["metadata"][METADATA_KEY].is_i64());
        (report["file"].as_str().unwrap().to_owned(), report)
    };
    Some(lines.lines().map(report).collect())
}

#[test]
fn onnx_checker_and_onnxruntime_agree() {
    let folder = tempfile::tempdir().unwrap();
    let photographs: Vec<_> = (0..4).map(|seed| photograph(SIDE, seed)).collect();
    let network = fold(&random_network(8, 5)).unwrap();
    let write = |name: &str, numbers: Numbers<'_>| {
        let graph = Graph { network: &network, side: SIDE, numbers, extra_outputs: &[] };
        write(folder.path(), name, &encode(&graph, &[(METADATA_KEY, "{}")]), &photographs[0]);
    };
    write("f32", Numbers::F32);
    write("f16w", Numbers::F16Weights);
    let observed = observe(&network, SIDE, SCALE, &photographs).unwrap();
    for (name, levels) in [("int8_half", Levels::Half), ("int8_full", Levels::Full)] {
        let scheme = Scheme::uniform(&observed, levels, Clipping::LeastSquares);
        let scales = scheme.scales(&observed).unwrap();
        let quantization = quantize(&network, levels, &scales).unwrap();
        let corrected =
            correct(&network, &quantization, SIDE, SCALE, &photographs.iter().collect::<Vec<_>>());
        write(name, Numbers::Int8(&corrected.unwrap()));
    }
    let Some(reports) = judge(folder.path()) else { return };
    assert_eq!(reports.len(), 4);
    for (name, report) in reports {
        // Rounding to integers is chaotic in a random network: a sum that lies next to a half goes
        // either way with the order of summation, and what follows differs by whole steps. So no
        // engine can be nearer to another than it is to itself under noise of that size.
        for form in ["as_written", "fused"] {
            for figure in ["max", "mean", "mask"] {
                let of = |form: &str| report[form][figure].as_f64().unwrap();
                let limit = of("noise") * 4.0 + 1e-5;
                assert!(of(form) <= limit, "{name}: {form}.{figure} above {limit}");
            }
        }
    }
}

/// The released bundle, as it is, on a real photograph.
#[test]
fn the_released_bundle_draws_the_same_masks_in_onnxruntime() {
    let models = glaucoma_tests::workspace().join("models");
    let name = std::fs::read_to_string(models.join("default.txt")).unwrap();
    let file = std::fs::read(models.join(name.trim())).unwrap();
    let engine = Engine::load(&file).unwrap();
    let manifest = Manifest::from_json(&engine.metadata(METADATA_KEY).unwrap()).unwrap();
    let photo = glaucoma_tests::workspace().join("tests/data/retina.jpg");
    let photo = decode(&std::fs::read(photo).unwrap(), &Limits::default()).unwrap();
    let prepared = prepare(&photo.pixels, &manifest.input).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "released", &file, &prepared.pixels);
    let Some(reports) = judge(folder.path()) else { return };
    let report = &reports["released.onnx"];
    for form in ["as_written", "fused"] {
        let of = |figure: &str| report[form][figure].as_f64().unwrap();
        assert!(of("mask") <= 1e-4, "{form}: {report}");
        assert!(of("mean") <= 1e-3, "{form}: {report}");
    }
}
