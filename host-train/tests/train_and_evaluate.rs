//! `host-train train` and `evaluate` as a user runs them: interrupted, resumed, measured, refused.
#![allow(clippy::unwrap_used)]

use glaucoma_tests::program;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn host_train(arguments: &[&str]) -> Command {
    let mut command = program("host-train");
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    host_train(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs what must fail and returns its message.
fn bad(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

const TRAINING: &str = "epochs = 2000\nbatch = 4\nvalidate_every = 1000\n\
    [network]\nwidth = 0.03125\n[input]\nside = 32\n\
    [[data]]\nphantoms = { count = 8, validation = 4, side = 200, fresh = false }\n";

fn config(folder: &Path) -> String {
    let path = folder.join("config.toml");
    std::fs::write(&path, TRAINING).unwrap();
    path.display().to_string()
}

/// Waits until `folder` holds a training's log with steps in it.
fn wait_for_steps(folder: &Path) {
    let started = Instant::now();
    let log = folder.join("metrics.jsonl");
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"event\":\"step\"")) {
        assert!(started.elapsed() < Duration::from_secs(120), "no step in two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_and_the_training_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let out = folder.path().join("run");
    let out_text = out.display().to_string();
    let mut child =
        host_train(&["train", "--config", &config, "--out", &out_text]).spawn().unwrap();
    wait_for_steps(&out);
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert!(child.wait().unwrap().success());

    let said = good(&["train", "--resume", &out_text, "--max-steps", "3"]);
    assert!(said.contains("out of time") && said.contains("--resume"), "{said}");
    let log = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(log.contains("\"interrupted\"") && log.contains("\"out_of_time\""));

    let said = good(&["curves", &out_text]);
    assert!(said.contains("losses.svg") && said.contains("telemetry_every"), "{said}");
    assert!(out.join("losses.png").exists() && !out.join("conflict.png").exists());

    let refused = bad(&["train", "--config", &config, "--out", &out_text]);
    assert!(refused.contains("--resume"), "{refused}");
    let refused = bad(&["train", "--resume", &out_text, "--out", "elsewhere"]);
    assert!(refused.contains("--out"), "{refused}");
}

/// A limit on the size of files stands in for a full disk: writing fails half-way in either case.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let out = folder.path().join("run");
    let out_text = out.display().to_string();
    good(&["train", "--config", &config, "--out", &out_text, "--max-steps", "1"]);
    let last = out.join("last.safetensors");
    let before = std::fs::read(&last).unwrap();
    let mut limited = Command::new("sh");
    let program = host_train(&[]).get_program().to_owned();
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]).arg(program);
    limited.args(["train", "--resume", &out_text, "--max-steps", "1"]);
    let output = limited.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("last.safetensors: cannot be written"), "{said}");
    assert!(before == std::fs::read(&last).unwrap());
    let names = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".partial")));
}

#[test]
fn a_model_is_measured_with_figures_in_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    good(&[
        "phantom",
        &at("eyes"),
        "--count",
        "12",
        "--split",
        "4,4,4",
        "--side",
        "200",
        "--glaucoma-share",
        "0.5",
    ]);
    let config = config(folder.path());
    good(&["train", "--config", &config, "--out", &at("run"), "--epochs", "2"]);
    let (model, json) = (at("run/best.safetensors"), at("report.json"));
    let said = good(&[
        "evaluate",
        "--checkpoint",
        &model,
        "--data",
        &at("eyes"),
        "--split",
        "test",
        "--native",
        "--figures",
        &at("figures"),
        "--json",
        &json,
    ]);
    for word in ["disc Dice (network px)", "in native pixels", "Brier score", "with glaucoma:"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let set = &report["datasets"][0];
    assert_eq!((set["n"].as_u64(), set["native"]["disc_dice"]["n"].as_u64()), (Some(4), Some(4)));
    for name in ["roc.svg", "roc.png", "reliability.svg", "reliability.png"] {
        assert!(folder.path().join("figures").join(name).exists(), "{name}");
    }
    let twice = bad(&["evaluate", "--checkpoint", &model, &model, "--data", &at("eyes")]);
    assert!(twice.contains("a second network"), "{twice}");
    std::fs::write(folder.path().join("cut.safetensors"), &std::fs::read(&model).unwrap()[..999])
        .unwrap();
    let cut = bad(&["evaluate", "--checkpoint", &at("cut.safetensors"), "--data", &at("eyes")]);
    assert!(cut.contains("truncated"), "{cut}");
}

/// What cannot work ends with exit code 2, says why, and leaves nothing that was there changed.
#[test]
fn bad_input_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let plain = config(folder.path());
    let changed = |from: &str, to: &str| {
        let path = at("changed.toml");
        assert!(TRAINING.contains(from));
        std::fs::write(&path, TRAINING.replace(from, to)).unwrap();
        path
    };
    let refused = |config: &str, more: &[&str], words: &[&str]| {
        let new = at("new");
        let said = bad(&[&["train", "--config", config, "--out", &new], more].concat());
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        assert!(!folder.path().join("new/last.safetensors").exists());
    };
    refused(&changed("epochs", "colour = 1\nepochs"), &[], &["changed.toml", "colour"]);
    refused(&changed("fresh", "glaucoma_share = 0.0, fresh"), &[], &["all 8 class labels"]);
    refused(&changed("validation = 4", "validation = 0"), &[], &["validation_share"]);
    refused(&plain, &["--lr", "1e38"], &["step ", " loss is ", "phantom/", "checkpoint is none"]);

    let good_run = at("run");
    good(&["train", "--config", &plain, "--out", &good_run, "--max-steps", "1"]);
    let last = at("run/last.safetensors");
    let wider = changed("0.03125", "0.0625");
    refused(&wider, &["--init-from", &last], &["run/last.safetensors", "another architecture"]);
    std::fs::write(&last, &std::fs::read(&last).unwrap()[..5000]).unwrap();
    let said = bad(&["train", "--resume", &good_run]);
    assert!(said.contains("run/last.safetensors") && said.contains("truncated"), "{said}");
    assert_eq!(std::fs::metadata(&last).unwrap().len(), 5000);
}
