//! A V4L2 camera on the bench: says when it comes and goes, keeps the newest live picture, and takes a photograph
//! for each line on standard input.
//!
//! ```sh
//! cargo run --release -p glaucoma-exchange --features v4l --example camera -- /dev/video0 mjpeg 1920 1080 30 FOLDER
//! ```
//!
//! FOLDER/live.png is the newest live picture at each line; photographs are in FOLDER/inbox, each named on a line
//! of its own.
#![allow(clippy::unwrap_used)]

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glaucoma_exchange::intake::v4l::{Pixels, V4l, Wanted};
use glaucoma_exchange::intake::{self, Hints, Inbox, Incoming, LiveView, Running};
use image::RgbImage;

/// Seconds without a frame after which the camera counts as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(3);

/// Keeps the newest picture, and how many came.
#[derive(Clone, Default)]
struct Newest(Arc<Mutex<(u32, Option<RgbImage>)>>);

impl LiveView for Newest {
    fn wanted(&self) -> bool {
        true
    }

    fn show(&mut self, picture: RgbImage) {
        let mut newest = self.0.lock().unwrap();
        *newest = (newest.0 + 1, Some(picture));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, format, width, height, fps, folder] = &arguments[..] else {
        panic!("DEVICE mjpeg|yuyv WIDTH HEIGHT FPS FOLDER");
    };
    let pixels = if format == "mjpeg" { Pixels::Mjpeg } else { Pixels::Yuyv };
    let [width, height, fps] = [width, height, fps].map(|text| text.parse().unwrap());
    let wanted = Wanted { pixels, width, height, fps };
    let folder = PathBuf::from(folder);
    let inbox = Arc::new(Inbox::open(&folder.join("inbox")).unwrap());
    let (sender, photographs) = intake::channel(2);
    let (press, shutter) = channel();
    let newest = Newest::default();
    let camera = V4l { device: device.into(), wanted, shutter, view: Box::new(newest.clone()) };
    let running = intake::start(camera, sender, inbox, OFFLINE_AFTER).unwrap();
    let lines = lines();
    watch(&running, &photographs, &lines, &press, &|| {
        let (count, picture) = newest.0.lock().unwrap().clone();
        println!("{count} live pictures");
        if let Some(picture) = picture {
            picture.save(folder.join("live.png")).unwrap();
        }
    });
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}

/// Until standard input ends.
fn watch(
    running: &Running,
    photographs: &Receiver<Incoming>,
    lines: &Receiver<()>,
    press: &Sender<Hints>,
    pressed: &dyn Fn(),
) {
    let mut status = None;
    loop {
        let now = running.status(Instant::now());
        if status.as_ref() != Some(&now) {
            println!("{now:?}");
            status = Some(now);
        }
        if let Ok(photograph) = photographs.recv_timeout(Duration::from_millis(50)) {
            println!("photograph {} of {} bytes", photograph.sha256, photograph.bytes.len());
        }
        match lines.try_recv() {
            Ok(()) => {
                pressed();
                press.send(Hints::default()).unwrap();
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        }
    }
}

/// A message for each line of standard input.
fn lines() -> Receiver<()> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            let _ = sender.send(());
        }
    });
    lines
}
