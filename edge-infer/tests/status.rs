//! `status` from outside: what it prints, with which exit code, while the journal is written.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use glaucoma_records::journal::{Journal, Settings};
use glaucoma_records::seal::{Cost, RecoveryKey};
use glaucoma_tests::workspace;
use serde_json::Value;

/// The status of the device in `folder`.
fn status(folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("camp.toml");
    let at = |name: &str| folder.join(name).display().to_string();
    let journal = [("folder", "journal"), ("device_secret", "secret"), ("output", "")]
        .map(|(key, name)| format!("{key} = {:?}\n", at(name)));
    std::fs::write(&config, format!("[camp]\nthreshold = 0.5\n[journal]\n{}", journal.concat()))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.current_dir(workspace()).args(["status", "--config", config.to_str().unwrap()]);
    command.args(more).output().unwrap()
}

/// The same as JSON; the exit code says the same as the key `fine`.
fn json(folder: &Path, more: &[&str]) -> Value {
    let output = status(folder, &[&["--json"], more].concat());
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = if status["fine"] == true { 0 } else { 2 };
    assert_eq!(output.status.code(), Some(code), "{status}");
    assert_eq!(status["fine"], status["troubles"].as_array().unwrap().is_empty());
    status
}

fn troubles(status: &Value) -> String {
    status["troubles"].to_string()
}

#[test]
fn a_device_is_looked_at_while_its_journal_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let new = json(folder.path(), &[]);
    assert_eq!(new["journal"]["state"], "absent");
    assert!(troubles(&new).contains("edge-infer journal found"), "{new}");

    let settings = Settings::new(folder.path().join("journal"), folder.path().join("secret"));
    let cost = Cost { memory_kib: 64, passes: 1 };
    let journal = Journal::open(Settings { cost, ..settings }).unwrap();
    let empty = json(folder.path(), &[]);
    assert_eq!(empty["journal"]["operators"], 0);
    assert!(troubles(&empty).contains("edge-infer journal found"), "{empty}");
    journal.found("Asha", "271828", RecoveryKey::generate().1).unwrap();
    let set_up = json(folder.path(), &[]);
    assert_eq!(set_up["journal"]["state"], "in_use");
    assert_eq!(set_up["journal"]["operators"], 1);
    assert_eq!(set_up["journal"]["records"]["visits"], 0);
    assert_eq!(set_up["journal"]["outbox"]["waiting"], 0);
    assert!(!troubles(&set_up).contains("edge-infer journal found"), "{set_up}");
    drop(journal);
    assert_eq!(json(folder.path(), &[])["journal"]["state"], "closed");

    let text = String::from_utf8(status(folder.path(), &[]).stdout).unwrap();
    assert!(text.contains(": closed, 0 visits, 0 photographs\n"), "{text}");
    assert!(!text.contains("Asha"), "operators are people: {text}");
}

#[test]
fn a_model_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let fine = json(folder.path(), &[]);
    assert_eq!(fine["model"]["usable"], true);
    assert_eq!(fine["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(fine["clock"]["after_model"], true);
    let broken = folder.path().join("broken.onnx");
    std::fs::write(&broken, "no model").unwrap();
    let status = json(folder.path(), &["--model", broken.to_str().unwrap()]);
    assert_eq!(status["model"]["usable"], false);
    assert_eq!(status["model"]["file"], broken.to_str().unwrap());
    assert!(troubles(&status).contains("broken.onnx"), "{status}");
}

#[test]
fn every_key_is_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let described = readme.split("## How the device is").nth(1).unwrap();
    let described = described.split("\n## ").next().unwrap();
    let status = json(folder.path(), &[]);
    for (key, value) in status.as_object().unwrap() {
        assert!(described.contains(&format!("`{key}`")), "{key}");
        let inner = value.as_object().into_iter().flatten();
        for (inner, _) in inner {
            assert!(described.contains(inner.as_str()), "{key}.{inner}");
        }
    }
}
