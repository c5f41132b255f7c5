//! `rpicam-still`, played by a script.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use glaucoma_common::reading::Laterality;
use glaucoma_exchange::intake::rpicam::Rpicam;
use glaucoma_exchange::intake::{Hints, Status};

use crate::fixture::{Bench, RETINA, bench, until};

/// Finds a camera while `camera` is there; photographs `retina.jpg` to the path after `--output`; hangs while
/// `hang` is there.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
if [ "$1" = --list-cameras ]; then
    if [ -e "$here/camera" ]; then
        echo "Available cameras"
        echo "0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)"
    else
        echo "No cameras available!"
    fi
    exit 0
fi
[ -e "$here/hang" ] && exec sleep 600
[ -e "$here/camera" ] || exit 255
while [ "$1" != --output ]; do shift; done
cp "$here/retina.jpg" "$2"
"#;

fn camera(place: &Path, time: Duration) -> (Bench, Sender<Hints>) {
    let program = place.join("rpicam-still");
    fs::write(&program, SCRIPT).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.join("retina.jpg"), RETINA).unwrap();
    let (press, shutter) = channel();
    let rpicam = Rpicam {
        program,
        arguments: vec!["--shutter".into(), "8000".into()],
        folder: place.to_owned(),
        shutter,
        time,
        ask_every: Duration::from_millis(50),
    };
    (bench(rpicam, 2, Duration::from_millis(1500)), press)
}

#[test]
fn a_photograph_for_each_press_with_what_was_said() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("camera"), "").unwrap();
    let (bench, press) = camera(place.path(), Duration::from_secs(20));
    until("online", || bench.running.status(Instant::now()) == Status::Online);
    let hints = Hints { laterality: Some(Laterality::Left), ..Hints::default() };
    press.send(hints.clone()).unwrap();
    let incoming = bench.next();
    assert_eq!((incoming.bytes.as_slice(), &incoming.hints), (RETINA, &hints));
    let left = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().ends_with(".jpg")).count(), 1);
}

#[test]
fn an_unplugged_camera_is_offline_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (bench, press) = camera(place.path(), Duration::from_secs(20));
    press.send(Hints::default()).unwrap();
    bench.assert_quiet();
    assert_eq!(bench.running.status(Instant::now()), Status::Offline);
    fs::write(place.path().join("camera"), "").unwrap();
    until("online", || bench.running.status(Instant::now()) == Status::Online);
    press.send(Hints::default()).unwrap();
    assert_eq!(bench.next().bytes, RETINA);
    fs::remove_file(place.path().join("camera")).unwrap();
    until("offline", || bench.running.status(Instant::now()) == Status::Offline);
}

#[test]
fn a_program_that_hangs_is_ended() {
    let place = tempfile::tempdir().unwrap();
    for name in ["camera", "hang"] {
        fs::write(place.path().join(name), "").unwrap();
    }
    let (bench, press) = camera(place.path(), Duration::from_secs(1));
    until("online", || bench.running.status(Instant::now()) == Status::Online);
    press.send(Hints::default()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    fs::remove_file(place.path().join("hang")).unwrap();
    press.send(Hints::default()).unwrap();
    assert_eq!(bench.next().bytes, RETINA, "by the second press; the first was given up");
    bench.assert_quiet();
}
