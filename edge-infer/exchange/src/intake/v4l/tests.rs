//! The intake on frames that a script sends instead of a camera.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::reading::Laterality;
use image::RgbImage;

use super::frame::Colours;
use super::*;
use crate::intake::{Inbox, Incoming, Status, channel as intake_channel, start};

const SIDE: u32 = 128;

/// One moment of a camera.
#[derive(Clone, Copy)]
enum Moment {
    /// A frame of this grey; ready before anybody waits for it, or when somebody does.
    Ready(u8),
    Coming(u8),
    /// A frame of which half came, and one that the driver knows to be damaged.
    Cut(u8),
    Damaged(u8),
    /// Nothing within the wait.
    Nothing,
}

/// Sends its moments, then is gone.
struct Script {
    moments: VecDeque<Moment>,
    bytes: Vec<u8>,
}

impl Script {
    fn new(moments: &[Moment]) -> Self {
        Self { moments: moments.iter().copied().collect(), bytes: Vec::new() }
    }
}

impl Frames for Script {
    fn mode(&self) -> Mode {
        let colours = Colours::JPEG;
        Mode { pixels: Pixels::Yuyv, width: SIDE, height: SIDE, pitch: 2 * SIDE as usize, colours }
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        use Moment::*;
        let Some(moment) = self.moments.front().copied() else {
            return Err(CameraError::Silent(wait));
        };
        if wait.is_zero() && !matches!(moment, Ready(_)) {
            return Ok(None);
        }
        self.moments.pop_front();
        let (Ready(grey) | Coming(grey) | Cut(grey) | Damaged(grey)) = moment else {
            return Ok(None);
        };
        self.bytes = [grey, 128].repeat((SIDE * SIDE) as usize);
        if matches!(moment, Cut(_)) {
            self.bytes.truncate((SIDE * SIDE) as usize);
        }
        Ok(Some(Frame { bytes: &self.bytes, damaged: matches!(moment, Damaged(_)) }))
    }
}

/// A screen that wants pictures or not, and keeps what it was shown.
#[derive(Clone, Default)]
struct Screen {
    wants: bool,
    shown: Arc<Mutex<Vec<RgbImage>>>,
}

impl LiveView for Screen {
    fn wanted(&self) -> bool {
        self.wants
    }

    fn show(&mut self, picture: RgbImage) {
        self.shown.lock().unwrap().push(picture);
    }
}

/// The intake on a thread of its own with the moments as its camera.
struct Scripted {
    v4l: V4l,
    script: Script,
}

impl Intake for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn run(mut self, outlet: &Outlet) -> Result<(), IntakeError> {
        // Presses that are to count come after the camera is there.
        let presses: Vec<Hints> = self.v4l.shutter.try_iter().collect();
        self.v4l.forget_presses();
        for hints in &presses {
            if let Err(End::Failed(error)) = take(&mut self.script, hints, outlet) {
                return Err(error);
            }
        }
        match self.v4l.watch(&mut self.script, outlet) {
            End::Failed(error) => Err(error),
            End::Asked | End::Lost(_) => Ok(()),
        }
    }
}

fn v4l(screen: &Screen) -> (V4l, Sender<Hints>) {
    let (press, shutter) = channel();
    let wanted = Wanted { pixels: Pixels::Yuyv, width: SIDE, height: SIDE, fps: 30 };
    let device = "/dev/video-that-is-not-there".into();
    (V4l { device, wanted, shutter, view: Box::new(screen.clone()) }, press)
}

/// What came of the moments when the camera was released so often before them.
fn photographs(moments: &[Moment], presses: u32, screen: &Screen) -> Vec<Incoming> {
    let folder = tempfile::tempdir().unwrap();
    let (sender, receiver) = intake_channel(8);
    let (v4l, press) = v4l(screen);
    let hints = Hints { laterality: Some(Laterality::Left), ..Hints::default() };
    (0..presses).for_each(|_| press.send(hints.clone()).unwrap());
    let inbox = Arc::new(Inbox::open(folder.path()).unwrap());
    let scripted = Scripted { v4l, script: Script::new(moments) };
    let running = start(scripted, sender, inbox, Duration::from_secs(1)).unwrap();
    let taken: Vec<Incoming> = receiver.iter().collect();
    running.stop().unwrap();
    assert!(taken.iter().all(|incoming| incoming.hints == hints && incoming.origin == "v4l"));
    taken
}

fn greys(taken: &[Incoming]) -> Vec<u8> {
    let decoded = taken.iter().map(|one| decode(&one.bytes, &Limits::default()).unwrap().pixels);
    decoded.map(|pixels| pixels.get_pixel(SIDE / 2, SIDE / 2).0[0]).collect()
}

use Moment::*;

#[test]
fn a_photograph_is_what_was_seen_after_the_press_not_what_lay_ready() {
    let moments = [Ready(1), Ready(2), Ready(3), Coming(40), Coming(50)];
    assert_eq!(greys(&photographs(&moments, 1, &Screen::default())), [40]);
    // A driver that has more frames ready than it has buffers makes them after the press.
    let moments = [Ready(1), Ready(2), Ready(3), Ready(4), Ready(5)];
    assert_eq!(greys(&photographs(&moments, 1, &Screen::default())), [5]);
}

#[test]
fn a_frame_that_is_not_whole_is_never_a_photograph() {
    let moments = [Coming(0), Cut(10), Damaged(20), Nothing, Coming(30), Cut(40), Coming(50)];
    assert_eq!(greys(&photographs(&moments[1..], 2, &Screen::default())), [30, 50]);
    assert!(photographs(&[Cut(10), Damaged(20)], 1, &Screen::default()).is_empty());
}

#[test]
fn the_screen_is_shown_frames_only_while_it_wants_them_and_few() {
    let moments: Vec<Moment> = (0..50).map(Coming).collect();
    let screen = Screen::default();
    photographs(&moments, 0, &screen);
    assert!(screen.shown.lock().unwrap().is_empty());
    let screen = Screen { wants: true, ..Screen::default() };
    photographs(&moments, 0, &screen);
    // Fifty frames come at once: the first is shown, none is kept for later.
    let shown = screen.shown.lock().unwrap();
    assert!((1..5).contains(&shown.len()), "{}", shown.len());
    assert_eq!(shown[0].get_pixel(5, 5).0, [0; 3]);
}

#[test]
fn without_a_camera_it_is_offline_and_a_press_is_not_kept_for_later() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, receiver) = intake_channel(8);
    let (v4l, press) = v4l(&Screen::default());
    let inbox = Arc::new(Inbox::open(folder.path()).unwrap());
    let running = start(v4l, sender, inbox, Duration::from_secs(1)).unwrap();
    press.send(Hints::default()).unwrap();
    assert!(receiver.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!(running.status(Instant::now()), Status::Offline);
    assert!(!running.ended());
    running.stop().unwrap();
    let (v4l, press) = super::tests::v4l(&Screen::default());
    press.send(Hints::default()).unwrap();
    v4l.forget_presses();
    assert!(matches!(v4l.shutter.try_recv(), Err(TryRecvError::Empty)));
}
