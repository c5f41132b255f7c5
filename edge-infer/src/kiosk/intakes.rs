//! Where photographs come from on this device: cards and drops, a DICOM sender, a camera that is released here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant};

use glaucoma_common::photo::Limits;
use glaucoma_exchange::intake::folder::Folder;
use glaucoma_exchange::intake::rpicam::Rpicam;
use glaucoma_exchange::intake::scp::Scp;
use glaucoma_exchange::intake::{
    self, Hints, Inbox, Incoming, Intake, IntakeError, LeaveOut, LiveView, Running, Status,
};
use serde::{Deserialize, Serialize};

/// How many photographs wait between the intakes and whoever takes them.
const CHANNEL: usize = 2;

/// Where photographs come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Where photographs are kept until the journal has them.
    pub inbox: PathBuf,
    /// Folders to watch: a camera's card, a stick, a network drop. They are only read.
    pub folders: Vec<PathBuf>,
    /// Seconds without a sign of life after which the camera counts as offline.
    pub offline_after_s: u64,
    /// A camera or its program that sends by DICOM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dicom: Option<DicomIntake>,
    /// A Raspberry Pi's own camera, which the kiosk releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpicam: Option<RpicamIntake>,
    /// A camera behind V4L2, as USB cameras are, which the kiosk shows and releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v4l: Option<V4lIntake>,
}

/// A Raspberry Pi's own camera, by its system's program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpicamIntake {
    /// The program.
    pub program: PathBuf,
    /// What it is told besides: focus, exposure, light.
    pub arguments: Vec<String>,
    /// Seconds for one photograph.
    pub time_s: u64,
}

impl Default for RpicamIntake {
    fn default() -> Self {
        Self { program: "rpicam-still".into(), arguments: Vec::new(), time_s: 10 }
    }
}

/// A camera behind V4L2; on Linux.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct V4lIntake {
    /// Its device file.
    pub device: PathBuf,
    /// How it codes its frames.
    pub format: V4lFormat,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second, or as near as it can.
    pub fps: u32,
}

/// How a camera codes its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum V4lFormat {
    /// As JPEG, which is kept as it comes.
    Mjpeg,
    /// As pixels, which are kept as PNG.
    Yuyv,
}

impl Default for V4lIntake {
    fn default() -> Self {
        let format = V4lFormat::Mjpeg;
        Self { device: "/dev/video0".into(), format, width: 1920, height: 1080, fps: 30 }
    }
}

impl V4lIntake {
    fn check(&self) -> Result<(), String> {
        if !cfg!(target_os = "linux") {
            return Err("intake.v4l: on Linux alone".into());
        }
        let Self { width, height, fps, .. } = *self;
        let limits = Limits::default();
        let sides = limits.min_side..=limits.max_side;
        if !sides.contains(&width) || !sides.contains(&height) || width % 2 != 0 {
            return Err(format!(
                "intake.v4l: {width} x {height} is not an even width and a height from {} to {}",
                limits.min_side, limits.max_side
            ));
        }
        if !(1..=240).contains(&fps) {
            return Err(format!("intake.v4l.fps: {fps} is not from 1 to 240"));
        }
        Ok(())
    }
}

/// The DICOM receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DicomIntake {
    /// Address and port to listen on: the camera's network only, for there is no encryption.
    pub address: SocketAddr,
    /// The AE title that senders must call.
    pub ae_title: String,
    /// The AE titles of those that are let in.
    pub allowed: Vec<String>,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            inbox: "/var/lib/edge-infer/inbox".into(),
            folders: Vec::new(),
            offline_after_s: 60,
            dicom: None,
            rpicam: None,
            v4l: None,
        }
    }
}

impl IntakeConfig {
    /// Says by its key what cannot be.
    ///
    /// # Errors
    /// The first such thing.
    pub fn check(&self) -> Result<(), String> {
        if self.offline_after_s == 0 {
            return Err("intake.offline_after_s: must be at least 1".into());
        }
        if let Some(folder) = self.folders.iter().find(|folder| self.inbox.starts_with(folder)) {
            return Err(format!("intake.folders: {} holds the inbox", folder.display()));
        }
        if let Some(v4l) = &self.v4l {
            v4l.check()?;
            if self.rpicam.is_some() {
                return Err("intake.rpicam and intake.v4l: one of both".into());
            }
        }
        let Some(dicom) = &self.dicom else { return Ok(()) };
        if dicom.allowed.is_empty() {
            return Err("intake.dicom.allowed: nobody could send".into());
        }
        let titles = dicom.allowed.iter().chain([&dicom.ae_title]);
        check_titles("intake.dicom", titles)
    }
}

/// AE titles have 1 to 16 characters of ASCII without backslash (DICOM PS3.5, 6.2).
pub fn check_titles<'a>(
    key: &str,
    titles: impl IntoIterator<Item = &'a String>,
) -> Result<(), String> {
    let fits = |title: &&String| {
        (1..=16).contains(&title.len())
            && title.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\')
            && title.trim() == title.as_str()
    };
    match titles.into_iter().find(|title| !fits(title)) {
        None => Ok(()),
        Some(title) => Err(format!("{key}: {title:?} is no AE title of 1 to 16 characters")),
    }
}

/// The running intakes; dropping them stops them.
pub struct Intakes {
    running: Vec<Running>,
    inbox: Arc<Inbox>,
    sender: SyncSender<Incoming>,
    offline_after: Duration,
    shutter: Option<Sender<Hints>>,
}

impl Intakes {
    /// Starts what the configuration names. Photographs come out of the receiver, live pictures go into `view`;
    /// `leave_out` says which files of the folders are left out, if any are.
    ///
    /// # Errors
    /// The inbox cannot be used, the port not be had, no thread be made.
    pub fn start(
        config: &IntakeConfig,
        view: impl LiveView,
        leave_out: Option<Arc<dyn LeaveOut>>,
    ) -> Result<(Self, Receiver<Incoming>), IntakeError> {
        let inbox = Arc::new(Inbox::open(&config.inbox)?);
        let (sender, receiver) = intake::channel(CHANNEL);
        let offline_after = Duration::from_secs(config.offline_after_s);
        let mut intakes = Self { running: Vec::new(), inbox, sender, offline_after, shutter: None };
        for folder in &config.folders {
            let leave_out = leave_out.clone();
            intakes.add(Folder { leave_out, ..Folder::new(folder.clone()) })?;
        }
        if let Some(DicomIntake { address, ae_title, allowed }) = &config.dicom {
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            intakes.add(Scp::bind(*address, ae_title, &allowed)?)?;
        }
        if let Some(RpicamIntake { program, arguments, time_s }) = config.rpicam.clone() {
            let (release, shutter) = channel();
            intakes.shutter = Some(release);
            intakes.add(Rpicam {
                program,
                arguments,
                folder: std::env::temp_dir(),
                shutter,
                time: Duration::from_secs(time_s),
                ask_every: offline_after / 2,
            })?;
        }
        if let Some(camera) = &config.v4l {
            intakes.add_v4l(camera, Box::new(view))?;
        }
        Ok((intakes, receiver))
    }

    #[cfg(target_os = "linux")]
    fn add_v4l(&mut self, camera: &V4lIntake, view: Box<dyn LiveView>) -> Result<(), IntakeError> {
        use glaucoma_exchange::intake::v4l::{Pixels, V4l, Wanted};
        let V4lIntake { device, format, width, height, fps } = camera.clone();
        let pixels = match format {
            V4lFormat::Mjpeg => Pixels::Mjpeg,
            V4lFormat::Yuyv => Pixels::Yuyv,
        };
        let (release, shutter) = channel();
        self.shutter = Some(release);
        self.add(V4l { device, wanted: Wanted { pixels, width, height, fps }, shutter, view })
    }

    /// [`IntakeConfig::check`] refuses such a configuration.
    #[cfg(not(target_os = "linux"))]
    fn add_v4l(&mut self, _: &V4lIntake, _: Box<dyn LiveView>) -> Result<(), IntakeError> {
        Ok(())
    }

    fn add(&mut self, intake: impl Intake) -> Result<(), IntakeError> {
        let (sender, inbox) = (self.sender.clone(), Arc::clone(&self.inbox));
        self.running.push(intake::start(intake, sender, inbox, self.offline_after)?);
        Ok(())
    }

    /// What releases the camera, where one waits for that.
    #[must_use]
    pub fn shutter(&self) -> Option<Sender<Hints>> {
        self.shutter.clone()
    }

    /// What hands out what a former run left behind, and waits for room: for a thread of its own.
    pub fn left_over(&self) -> impl FnOnce() -> Result<usize, IntakeError> + Send + use<> {
        let (inbox, sender) = (Arc::clone(&self.inbox), self.sender.clone());
        move || inbox.hand_out_left_over(&sender)
    }

    /// Whether a camera is there. `None` where none is set up.
    #[must_use]
    pub fn online(&self, now: Instant) -> Option<bool> {
        if self.running.is_empty() {
            return None;
        }
        Some(self.running.iter().any(|intake| intake.status(now) == Status::Online))
    }
}
