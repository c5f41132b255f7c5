//! The program as a service: what a service manager and the system's journal get to hear of it.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use edge_infer::service::{Pulse, Watchdog, notify};
use glaucoma_tests::{retina, workspace};

/// Set in the process that plays the service in a test of this file.
const IS_SERVICE: &str = "EDGE_INFER_TEST_IS_SERVICE";

/// Runs the test `name` of this file as a service of a manager that listens at `socket`, and returns what it
/// said, message by message.
fn messages_of(name: &str, socket: &Path, patience: Duration) -> Vec<String> {
    let manager = UnixDatagram::bind(socket).unwrap();
    let service = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(IS_SERVICE, "1")
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", patience.as_micros().to_string())
        .output()
        .unwrap();
    assert!(service.status.success(), "{}", text(&service.stdout));
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    std::iter::from_fn(|| {
        let length = manager.recv(&mut buffer).ok()?;
        Some(text(&buffer[..length]).trim_end().to_owned())
    })
    .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_manager_hears_that_it_is_ready_alive_and_stopping() {
    if std::env::var_os(IS_SERVICE).is_some() {
        return a_short_life();
    }
    let folder = tempfile::tempdir().unwrap();
    let heard = messages_of(
        "the_manager_hears_that_it_is_ready_alive_and_stopping",
        &folder.path().join("notify"),
        Duration::from_millis(200),
    );
    let expected = [
        "READY=1",
        "STATUS=waiting for the PIN",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STATUS=worker does not move",
        "STATUS=every thread moves again",
        "WATCHDOG=1",
        "STATUS=two lines READY=1",
        "STOPPING=1",
    ];
    assert_eq!(heard, expected);
}

/// Ready, fed twice in its rhythm of 100 ms, one thread late, back again, the end.
fn a_short_life() {
    let (pulse, start) = (Pulse::new(), Instant::now());
    let at = |ms| start + Duration::from_millis(ms);
    let worker = pulse.member("worker", Duration::from_secs(60));
    let mut watchdog = Watchdog::new(pulse);
    notify::ready("waiting for the PIN");
    assert!(watchdog.step(at(0)));
    assert!(!watchdog.step(at(99)));
    assert!(watchdog.step(at(100)));
    assert!(!watchdog.step(at(100_000)));
    worker.tick();
    assert!(watchdog.step(at(300)));
    notify::status("two lines\nREADY=1");
    notify::stopping();
}

#[test]
fn a_manager_that_is_gone_does_not_stop_the_service() {
    if std::env::var_os(IS_SERVICE).is_some() {
        return a_short_life();
    }
    let service = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_manager_that_is_gone_does_not_stop_the_service"])
        .env(IS_SERVICE, "1")
        .env("NOTIFY_SOCKET", "/nowhere/notify")
        .env("WATCHDOG_USEC", "200000")
        .output()
        .unwrap();
    assert!(service.status.success(), "{}", text(&service.stdout));
}

/// Runs the program with standard error in the file `log`, which is called the journal's if `named` so.
fn logged(args: &[&str], log: &Path, named: bool) -> String {
    let file = File::create(log).unwrap();
    let found = file.metadata().unwrap();
    let inode = if named { found.ino() } else { found.ino() + 1 };
    let status = Command::new(env!("CARGO_BIN_EXE_edge-infer"))
        .current_dir(workspace())
        .args(args)
        .env("JOURNAL_STREAM", format!("{}:{inode}", found.dev()))
        .env("RUST_LOG", "edge_infer=debug")
        .stderr(file)
        .output();
    let Output { .. } = status.unwrap();
    std::fs::read_to_string(log).unwrap()
}

#[test]
fn the_journal_gets_levels_and_no_times() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let photograph = retina().display().to_string();
    let examined = ["screen", &photograph, "--json"];
    let lines = logged(&examined, &log, true);
    assert!(lines.starts_with("<7>edge_infer::exam: quality measured "), "{lines}");
    assert!(!lines.contains('\x1b'), "{lines}");
    // Standard error that is not the stream that was named: for people, with the time.
    let lines = logged(&examined, &log, false);
    assert!(lines.starts_with("20") && lines.contains(" DEBUG "), "{lines}");
}

#[test]
fn the_last_word_is_an_error_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let (log, config) = (folder.path().join("log"), folder.path().join("camp.toml"));
    std::fs::write(&config, "[camp]\nretake = 3\n").unwrap();
    let kiosk = ["kiosk", "--config", config.to_str().unwrap(), "--print-config"];
    let lines = logged(&kiosk, &log, true);
    assert!(lines.starts_with("<3>error: ") && lines.lines().count() > 1, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("<3>")), "{lines}");
    assert!(logged(&kiosk, &log, false).starts_with("error: "));
}
