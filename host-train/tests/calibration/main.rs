//! `host-train calibrate` and `gate` as a user runs them, and a bundle amended and read back.
#![allow(clippy::unwrap_used)]

mod figures;
mod findings;
mod gate;

use glaucoma_common::calibration::{Calibration, OperatingRow};
use glaucoma_common::manifest::Manifest;
use glaucoma_tests::workspace;
use host_train::calibration::amend::{AmendError, amend};
use host_train::calibration::exam::Examiner;
use host_train::export::onnx::without_metadata;
use std::path::Path;
use std::process::{Command, Output};

fn bundle() -> Vec<u8> {
    std::fs::read(workspace().join("models/fundus-small-0.1.onnx")).unwrap()
}

fn host_train(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-train"));
    command.current_dir(workspace()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(arguments: &[&str]) -> String {
    let output = host_train(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn an_amended_bundle_has_the_same_network_and_keeps_what_it_knew() {
    let bytes = bundle();
    let before = Examiner::open(&bytes).unwrap();
    let row = OperatingRow { threshold: 0.25, sensitivity: 0.75, specificity: 0.5 };
    let table = Calibration {
        measured_on: "nothing".into(),
        positives: 4,
        negatives: 2,
        ungraded: 0,
        table: vec![row],
    };
    let manifest = Manifest { calibration: Some(table), ..before.manifest.clone() };
    let amended = amend(&bytes, &manifest).unwrap();
    assert_eq!(without_metadata(&amended).unwrap(), without_metadata(&bytes).unwrap());
    let after = Examiner::open(&amended).unwrap();
    assert_eq!(after.manifest, manifest);
    // Amended back it is the file it was.
    let again = amend(&amended, &before.manifest).unwrap();
    assert!(again == bytes);
    // One without a self-test is given what it answers, which is what the shipped one answered.
    let untested = Manifest { self_test: None, ..before.manifest.clone() };
    assert!(before.manifest.self_test.is_some());
    assert!(amend(&bytes, &untested).unwrap() == bytes);

    let stranger = workspace().join("edge-infer/tests/fixtures/colour_rules.onnx");
    let refused = amend(&std::fs::read(stranger).unwrap(), &manifest).unwrap_err();
    assert!(matches!(refused, AmendError::Foreign), "{refused}");
    assert!(matches!(amend(b"no file", &manifest), Err(AmendError::NotOnnx(_))));
    let wrong = Manifest { max_head_disagreement: Some(2.0), ..manifest };
    assert!(matches!(amend(&bytes, &wrong), Err(AmendError::Manifest(_))));
}

/// Phantoms stand in for photographs of real eyes here: what is tested is that everything is counted.
#[test]
fn a_bundle_is_calibrated_on_labelled_photographs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (eyes, out) = (at("eyes"), at("out.onnx"));
    let shape = ["--count", "24", "--split", "0,1,0", "--glaucoma-share", "0.5", "--side", "320"];
    good(&[&["phantom", &eyes, "--seed", "5"], &shape[..]].concat());
    let base = ["calibrate", "--model", "models/fundus-small-0.1.onnx", "--data", &eyes];
    let said = good(
        &[&base[..], &["--phantoms", &eyes, "--abstain-share", "0.1", "--out", &out]].concat(),
    );
    assert!(said.contains("refer from"), "{said}");
    let manifest = Examiner::open(&std::fs::read(Path::new(&out)).unwrap()).unwrap().manifest;
    let table = manifest.calibration.unwrap();
    assert_eq!(table.positives + table.negatives + table.ungraded, 24);
    assert_eq!(table.measured_on, "24 of refuge");
    let groups = manifest.vcdr_error.unwrap().groups;
    assert_eq!(groups.len(), 2);
    assert_eq!((groups[0].phantoms, groups[1].phantoms), (false, true));
    assert_eq!((groups[0].low, groups[0].high), (groups[1].low, groups[1].high));
    assert!(groups[0].n >= 12 && groups[0].low < groups[0].high, "{groups:?}");
    let bound = manifest.max_head_disagreement.unwrap();
    assert!(bound > 0.0 && bound < 1.0);

    // Limits that nothing passes, and one that is none.
    let limits = folder.path().join("limits.toml");
    let limits_text = limits.display().to_string();
    let calibrate = [&base[..], &["--quality", &limits_text, "--out", &out]].concat();
    std::fs::write(&limits, "min_focus = 50.0\n").unwrap();
    let said = good(&calibrate);
    assert!(said.contains("0 of 24 graded") && said.contains("no table"), "{said}");
    std::fs::write(&limits, "min_fokus = 50.0\n").unwrap();
    let output = host_train(&calibrate);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("min_fokus"), "{}", text(&output.stderr));
}

#[test]
fn the_gate_is_held_against_phantoms_with_known_faults() {
    let folder = tempfile::tempdir().unwrap();
    let eyes = folder.path().join("eyes").display().to_string();
    good(&["phantom", &eyes, "--count", "6", "--split", "0,1,0", "--side", "320"]);
    let model = ["--model", "models/fundus-small-0.1.onnx", "--data", &eyes];
    let page = good(&[&["gate", "--phantoms", "6"], &model[..]].concat());
    let line = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("| Defocus ").contains("100 % [61, 100]"), "{page}");
    assert!(line("| none ").contains("| 0 % [0, 39] |"), "{page}");
    assert!(line("| min_focus | ").contains("refuge"), "{page}");
}
