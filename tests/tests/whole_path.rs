//! The whole path on phantoms: train, export int8, screen; the device says what the trainer says.

#![allow(clippy::unwrap_used)]

use candle_core::Device;
use edge_infer::bundle::Bundle;
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::{prepare, to_input};
use glaucoma_common::reading::NetworkOutput;
use glaucoma_engine::Options;
use glaucoma_tests::program;
use host_train::evaluation::predict;
use host_train::training::Checkpoint;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bounds on what int8 may change in a network that two steps have hardly trained: its maps lie
/// near 0.5 everywhere, so a mask at the threshold says nothing and the values themselves are
/// compared. 8-bit maps of ten layers leave about a hundredth.
const MEAN_MAP_DIFFERENCE: f32 = 0.02;
const PROBABILITY_DIFFERENCE: f32 = 0.05;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}\n{err}");
    out.into_owned()
}

fn photographs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn mean_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

fn assert_close(trainer: &NetworkOutput, device: &NetworkOutput) {
    let maps = [
        ("disc", &trainer.disc, &device.disc),
        ("cup", &trainer.cup, &device.cup),
        ("fovea", &trainer.fovea, &device.fovea),
    ];
    for (name, trainer, device) in maps {
        let off = mean_difference(trainer, device);
        assert!(off <= MEAN_MAP_DIFFERENCE, "{name}: mean difference {off}");
    }
    let off = (trainer.glaucoma - device.glaucoma).abs();
    assert!(off <= PROBABILITY_DIFFERENCE, "glaucoma: {off}");
}

#[test]
fn two_steps_of_training_reach_the_device_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    run(program("host-train")
        .args(["phantom", "--count", "24", "--seed", "5", "--split", "2,1,1"])
        .args(["--glaucoma-share", "0.5", "--side", "256", "--layout", "index"])
        .arg(at("phantoms")));

    let config = format!(
        "out = {:?}\nbatch = 4\nepochs = 1\n[network]\nwidth = 0.0625\n\
         [input]\nside = 64\nframing = \"field_of_view\"\n[[data]]\npath = {:?}\n",
        at("run"),
        at("phantoms")
    );
    std::fs::write(at("config.toml"), config).unwrap();
    run(program("host-train")
        .args(["train", "--max-steps", "2", "--config"])
        .arg(at("config.toml")));

    // Certified on one photograph: two steps leave every probability near every other, and the AUC
    // of such a network moves with the least rounding, which the export rightly refuses.
    let (last, model) = (at("run/last.safetensors"), at("model.onnx"));
    std::fs::write(at("terms.toml"), "[provenance]\nlicence = \"none: a test\"\n").unwrap();
    run(program("host-train")
        .args(["export", "--precision", "int8", "--name", "test", "--version", "0"])
        .args(["--certification-photographs", "1"])
        .arg("--checkpoint")
        .arg(&last)
        .arg("--data")
        .arg(at("phantoms"))
        .arg("--manifest-overrides")
        .arg(at("terms.toml"))
        .arg("--out")
        .arg(&model));

    let photos = photographs(&at("phantoms/test/images"));
    assert_eq!(photos.len(), 6);
    let network = Checkpoint::load(&last).unwrap().network(&Device::Cpu).unwrap();
    let bundle = Bundle::open(&model, &Options::default()).unwrap();
    for path in &photos {
        let photo = decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
        let prepared = prepare(&photo.pixels, &bundle.manifest.input).unwrap();
        let trainer = predict(&network, &prepared.pixels, &Device::Cpu).unwrap();
        let input = to_input(&prepared.pixels, bundle.manifest.input.scale);
        assert_close(&trainer, &bundle.engine.run(&input).unwrap());
    }

    // An untrained network finds no disc: the device must say so, photograph by photograph, and
    // never give a risk.
    let text = run(program("edge-infer")
        .args(["screen", "--json", "--model"])
        .arg(&model)
        .arg(at("phantoms/test/images")));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), photos.len());
    for line in &lines {
        let graded = line["status"] == "graded";
        assert!(graded || line["status"] == "ungradable", "{line}");
        assert_eq!(graded, line["risk"].is_object(), "{line}");
        assert_eq!(line["model"]["name"], "test", "{line}");
    }
}
