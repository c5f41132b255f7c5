//! Two processes of the trainer that train one network: to its end, and when one of them is killed.

#![allow(clippy::unwrap_used)]

use glaucoma_tests::program;
use host_train::training::Checkpoint;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn phantoms(folder: &Path) {
    let done = program("host-train")
        .args(["phantom", "--count", "16", "--seed", "5", "--split", "2,1,1"])
        .args(["--glaucoma-share", "0.5", "--side", "256", "--layout", "index"])
        .arg(folder)
        .status();
    assert!(done.unwrap().success());
}

/// A configuration of `epochs` epochs of two steps; returns its file.
fn configuration(folder: &Path, name: &str, epochs: u64) -> std::path::PathBuf {
    let text = format!(
        "out = {:?}\nbatch = 4\nepochs = {epochs}\nlog_every = 1\nvalidate_every = {epochs}\n\
         [network]\nwidth = 0.03125\n[input]\nside = 32\nframing = \"field_of_view\"\n\
         [[data]]\npath = {:?}\n",
        folder.join(name),
        folder.join("phantoms")
    );
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn rank(rank: usize, port: u16, arguments: impl FnOnce(&mut Command)) -> Child {
    let mut command = program("host-train");
    command.arg("train").stdout(Stdio::piped()).stderr(Stdio::piped());
    arguments(&mut command);
    let place = [("RANK", rank.to_string()), ("MASTER_PORT", port.to_string())];
    command.envs(place).env("WORLD_SIZE", "2").env("MASTER_ADDR", "localhost");
    command.env("PEERS_TIMEOUT", "120").spawn().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Both ranks with the arguments; their outputs.
fn both(arguments: impl Fn(&mut Command)) -> [Output; 2] {
    let port = free_port();
    [0, 1]
        .map(|number| rank(number, port, &arguments))
        .map(|child| child.wait_with_output().unwrap())
}

fn losses(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let told = lines.filter(|line| line["event"] == "step" || line["event"] == "validation");
    told.map(|line| format!("{} {} {}", line["event"], line["step"], line["losses"])).collect()
}

#[test]
fn two_processes_train_one_network() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    phantoms(&at("phantoms"));

    // The trainer itself compares the weights of both before it ends. The second rank's folder is the
    // first's: it writes nothing into it.
    let straight = configuration(folder.path(), "straight", 3);
    for output in both(|command| {
        command.arg("--config").arg(&straight);
    }) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let last = Checkpoint::load(&at("straight/last.safetensors")).unwrap();
    assert_eq!(last.info().position.step, 6);

    let pieces = configuration(folder.path(), "pieces", 3);
    for output in both(|command| {
        command.args(["--max-steps", "3", "--config"]).arg(&pieces);
    }) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let [first, second] = both(|command| {
        command.arg("--resume").arg(at("pieces"));
    });
    assert!(first.status.success() && second.status.success(), "{}", stderr(&first));
    assert!(second.stdout.is_empty(), "the second rank speaks");
    assert_eq!(losses(&at("straight")), losses(&at("pieces")));

    // The second trains something else.
    let (port, other) = (free_port(), configuration(folder.path(), "other", 4));
    let outputs = [&pieces, &other].into_iter().enumerate().map(|(number, config)| {
        rank(number, port, |command| {
            command.arg("--config").arg(config).arg("--out").arg(at("another"));
        })
    });
    for child in outputs.collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(error.contains("rank 1 has another configuration"), "{error}");
    }
    assert!(!at("another").exists());
}

#[test]
fn a_killed_process_ends_the_others_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    phantoms(&folder.path().join("phantoms"));
    let config = configuration(folder.path(), "run", 100_000);
    let port = free_port();
    let [first, mut second] = [0, 1].map(|number| {
        rank(number, port, |command| {
            command.arg("--config").arg(&config);
        })
    });
    let log = folder.path().join("run/metrics.jsonl");
    let waited = Instant::now();
    let trains = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"step\":3,"));
    while !trains() {
        assert!(waited.elapsed() < Duration::from_secs(100), "no step is made");
        std::thread::sleep(Duration::from_millis(50));
    }
    second.kill().unwrap();
    second.wait().unwrap();
    let killed = Instant::now();
    let output = first.wait_with_output().unwrap();
    assert!(killed.elapsed() < Duration::from_secs(60), "{:?}", killed.elapsed());
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the process of rank 1 is gone"), "{error}");
}
