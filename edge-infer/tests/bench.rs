//! `bench` from outside: text, the JSON contract, the tensors it writes, bad models.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use glaucoma_tests::workspace;
use serde_json::Value;

const SMALL: &str = "models/fundus-small-0.1.onnx";

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.current_dir(workspace()).arg("bench").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one object that `bench --json` prints.
fn object(args: &[&str]) -> Value {
    let output = bench(args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_json_contract_holds() {
    let found = object(&["--model", SMALL, "--runs", "3", "--threads", "2", "--json"]);
    let contract = [
        "board",
        "cpu_ms",
        "energy",
        "engine",
        "latency_ms",
        "layers",
        "model",
        "peak_gmacs_per_s",
        "peak_rss_mib",
        "start_ms",
    ];
    assert_eq!(keys(&found), contract);
    assert_eq!(keys(&found["model"]), ["file", "name", "side", "version"]);
    let engine = ["arithmetic", "instructions", "kind", "not_fused", "threads"];
    assert_eq!(keys(&found["engine"]), engine);
    assert_eq!(found["engine"]["kind"], "fused");
    assert_eq!(found["engine"]["arithmetic"], "int8");
    assert_eq!(found["engine"]["threads"], 2);
    assert_eq!(keys(&found["start_ms"]), ["first_run", "prepare", "to_first_answer"]);
    assert_eq!(keys(&found["latency_ms"]), ["max", "median", "min", "p90", "runs"]);
    let board =
        ["clocks", "cores", "cpu", "load", "memory_mib", "name", "temperatures", "throttling"];
    assert_eq!(keys(&found["board"]), board);
    let layer = ["gmacs_per_s", "kind", "macs", "ms", "name", "share_of_peak", "share_of_time"];
    for found in found["layers"].as_array().unwrap() {
        assert_eq!(keys(found), layer);
    }
}

#[test]
fn the_figures_agree_with_each_other() {
    let found = object(&["--model", SMALL, "--runs", "3", "--threads", "1", "--json"]);
    let number = |path: &str| found.pointer(path).unwrap().as_f64().unwrap();
    assert_eq!(number("/latency_ms/runs"), 3.0);
    let spread = ["min", "median", "p90", "max"].map(|name| number(&format!("/latency_ms/{name}")));
    assert!(spread[0] > 0.0 && spread.is_sorted(), "{spread:?}");
    let parts = number("/start_ms/prepare") + number("/start_ms/first_run");
    assert!(number("/start_ms/to_first_answer") >= parts);
    assert!(number("/peak_gmacs_per_s") > 0.0);

    let layers = found["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|layer| layer[key].as_f64().unwrap()).sum::<f64>();
    assert!((sum("share_of_time") - 1.0).abs() < 0.02);
    // The first layer is a 3x3 convolution of three channels.
    let side = found["model"]["side"].as_u64().unwrap();
    let first = layers[0]["macs"].as_u64().unwrap();
    assert_eq!(layers[0]["name"], "encoder.stage1.conv1");
    assert_eq!(first % (3 * 9 * side * side), 0);
}

#[test]
fn text_says_what_is_not_known() {
    let output = bench(&["--model", SMALL, "--runs", "1", "--threads", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for part in ["model ", "latency ", "board ", "throttling ", "of peak", "head", "< heaviest"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert_eq!(said.matches("< heaviest").count(), 1, "{said}");
}

#[test]
fn stock_operators_have_no_layers() {
    let found = object(&["--model", SMALL, "--runs", "1", "--engine", "stock", "--json"]);
    assert_eq!(found["engine"]["kind"], "stock");
    for absent in ["layers", "peak_gmacs_per_s"] {
        assert!(found[absent].is_null(), "{absent}");
    }
    assert!(found["engine"]["arithmetic"].is_null());
}

#[test]
fn tensors_are_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let args = ["--model", SMALL, "--runs", "1", "--tensors", path.to_str().unwrap(), "--json"];
    let side = object(&args)["model"]["side"].as_u64().unwrap();
    let length = |name: &str| std::fs::metadata(path.join(name)).unwrap().len();
    assert_eq!(length("input.f32"), 4 * 3 * side * side);
    assert_eq!(length("output.f32"), 4 * (1 + 3 * side * side));
}

#[test]
fn bad_models_and_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.onnx");
    std::fs::write(&broken, b"no model").unwrap();
    let broken: &Path = &broken;
    for args in [
        ["--model", broken.to_str().unwrap()],
        ["--model", "nowhere.onnx"],
        ["--runs", "0"],
        ["--threads", "0"],
    ] {
        let output = bench(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stdout).is_empty());
        assert!(text(&output.stderr).contains("error"), "{args:?}");
    }
}
