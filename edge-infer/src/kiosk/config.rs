//! What a programme sets up on a device: one TOML file, unknown keys refused.

use std::path::{Path, PathBuf};

use embedded_graphics::prelude::Size;
use glaucoma_exchange::dicom::Station;
use glaucoma_exchange::fhir::Programme;
use glaucoma_kiosk::display::{DisplayChoice, NoSuchDisplay, NoSuchTurn, Turn};
use glaucoma_kiosk::model::Setup;
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::{Language, NoSuchLanguage};
use glaucoma_records::decide::Rules;
use serde::{Deserialize, Serialize};

use super::intakes::IntakeConfig;
use super::local_time;
use super::operating_point::Choice;
use super::outbox::OutboxConfig;
use crate::reports::Format;

/// The whole file. A key that is left out has the value that `--print-config` shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where and how is screened.
    pub camp: Camp,
    /// The display.
    pub display: Display,
    /// Where the records lie.
    pub journal: JournalFiles,
    /// Under which names servers know camera and device.
    pub device: DeviceNames,
    /// What is written to a stick.
    pub export: Export,
    /// Where photographs come from.
    pub intake: IntakeConfig,
    /// Where results go.
    pub outbox: OutboxConfig,
}

/// Where and how is screened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Camp {
    /// The sites to choose from.
    pub sites: Vec<String>,
    /// How many photographs of an eye are taken again before it counts as ungradable.
    pub retakes: u32,
    /// The difference between the ratios of both eyes from which on it is a reason to refer.
    pub asymmetry: Option<f64>,
    /// The probability from which on an eye is suspected, 0 to 1; left out: the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Seconds without a touch after which the PIN is asked for.
    pub lock_after_s: u64,
    /// What the threshold is to do, instead of the threshold itself; resolved by the model's calibration table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operating_point: Option<Choice>,
}

/// The display.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Display {
    /// What it is: `drm`, `drm:CARD`, `fbdev`, `fbdev:DEVICE`, `window`, `png:FOLDER`, `spi:CHIP,dc=LINE`.
    pub device: String,
    /// How it is mounted: `upright`, `right`, `over` or `left`.
    pub turn: String,
    /// Pixels across, of pictures and windows.
    pub width: u32,
    /// Pixels down, of pictures and windows.
    pub height: u32,
    /// Millimetres a pixel, by which touch targets are sized, where the display does not say it.
    pub pixel_mm: f64,
    /// The language to begin with: `en`, `hi`, `es`, `fr`, `pt`, `ar`, `sw`, `am`.
    pub language: String,
    /// `daylight` or `dark`.
    pub theme: ThemeName,
}

/// Colours of the screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeName {
    /// Black on white, for the sun.
    Daylight,
    /// White on black.
    Dark,
}

/// Where the records lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalFiles {
    /// The folder of the journal.
    pub folder: PathBuf,
    /// The device's secret, better on another medium.
    pub device_secret: PathBuf,
    /// Where printed slips and the day's export are written.
    pub output: PathBuf,
}

/// Under which names servers know camera and device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceNames {
    /// The device's serial number, unique in the programme; left out: the machine's name.
    pub serial: String,
    /// Who made the camera; may be empty.
    pub camera_manufacturer: String,
    /// The camera's model; may be empty.
    pub camera_model: String,
    /// The URI under which persons' numbers are known.
    pub person_system: String,
    /// The URI under which devices' serial numbers are known.
    pub device_system: String,
}

/// What is written to a stick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// Where sticks are mounted; `*` stands for any letters but a slash.
    pub sticks: Vec<String>,
    /// The kinds of files: `csv`, `json`, `fhir`, `dicom`, `pdf`, `png`.
    pub formats: Vec<Format>,
    /// Whether they say who somebody is.
    pub identity: bool,
}

impl Default for DeviceNames {
    /// Systems of this program's own, and the machine's name.
    fn default() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("edge-infer");
        Self {
            serial: name.to_owned(),
            camera_manufacturer: String::new(),
            camera_model: String::new(),
            person_system: "urn:uuid:5f2b8d5e-9a52-4a43-8b43-0c6f1f6c7b11".into(),
            device_system: "urn:uuid:c7a1e6c4-3d0a-4f0b-9a6e-2b8f64d9a2f3".into(),
        }
    }
}

impl DeviceNames {
    fn check(&self) -> Result<(), String> {
        let named = [
            ("serial", &self.serial),
            ("person_system", &self.person_system),
            ("device_system", &self.device_system),
        ];
        match named.into_iter().find(|(_, text)| text.trim().is_empty()) {
            Some((key, _)) => Err(format!("device.{key}: must not be empty")),
            None => Ok(()),
        }
    }

    /// As DICOM and FHIR name them.
    #[must_use]
    pub fn programme(&self) -> Programme {
        Programme {
            person_system: self.person_system.clone(),
            device_system: self.device_system.clone(),
            station: Station {
                manufacturer: self.camera_manufacturer.clone(),
                model: self.camera_model.clone(),
                serial: self.serial.clone(),
                software: concat!("edge-infer ", env!("CARGO_PKG_VERSION")).into(),
            },
        }
    }
}

impl Default for Export {
    fn default() -> Self {
        Self {
            sticks: ["/media/*", "/media/*/*", "/run/media/*/*"].map(String::from).into(),
            formats: vec![Format::Csv, Format::Json, Format::Pdf],
            identity: true,
        }
    }
}

impl Default for Camp {
    fn default() -> Self {
        let Rules { retakes, asymmetry } = Rules::default();
        Self {
            sites: vec!["Camp".into()],
            retakes,
            asymmetry,
            threshold: None,
            lock_after_s: 300,
            operating_point: None,
        }
    }
}

impl Default for Display {
    /// The 7-inch touch display of a Raspberry Pi.
    fn default() -> Self {
        Self {
            device: "drm".into(),
            turn: "upright".into(),
            width: 800,
            height: 480,
            pixel_mm: 0.19,
            language: "en".into(),
            theme: ThemeName::Daylight,
        }
    }
}

impl Default for JournalFiles {
    fn default() -> Self {
        Self {
            folder: "/var/lib/edge-infer/journal".into(),
            device_secret: "/var/lib/edge-infer/device.secret".into(),
            output: "/var/lib/edge-infer/output".into(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: cannot read the configuration: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no TOML, or holds a key or a value that is none.
    #[error("{}: {source}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{}: {what}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Key and reason.
        what: String,
    },
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`] with the file and the key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let owned = || path.to_path_buf();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: owned(), source: Box::new(source) })?;
        config.check().map_err(|what| ConfigError::Value { path: owned(), what })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let Camp { sites, retakes, asymmetry, threshold, operating_point, .. } = &self.camp;
        if sites.is_empty() || sites.iter().any(|site| site.trim().is_empty()) {
            return Err("camp.sites: at least one, none empty".into());
        }
        if *retakes > 10 {
            return Err(format!("camp.retakes: {retakes} is more than 10"));
        }
        let share = |key: &str, value: f64| {
            let inside = (0.0..=1.0).contains(&value);
            inside.then_some(()).ok_or_else(|| format!("{key}: {value} is not from 0 to 1"))
        };
        for (key, value) in [("camp.asymmetry", asymmetry), ("camp.threshold", threshold)] {
            value.map_or(Ok(()), |value| share(key, value))?;
        }
        self.device().map_err(|error| format!("display.device: {error}"))?;
        self.turn().map_err(|error| format!("display.turn: {error}"))?;
        if let Some(choice) = operating_point {
            if threshold.is_some() {
                return Err("camp.threshold and camp.operating_point: one of both".into());
            }
            choice.wanted().map_err(|what| format!("camp.operating_point: {what}"))?;
        }
        let Display { width, height, pixel_mm, .. } = self.display;
        if !(320..=4096).contains(&width) || !(320..=4096).contains(&height) {
            return Err(format!(
                "display: {width} x {height} is not from 320 to 4096 pixels a side"
            ));
        }
        if !(0.02..=1.0).contains(&pixel_mm) {
            return Err(format!("display.pixel_mm: {pixel_mm} is not from 0.02 to 1"));
        }
        self.device.check()?;
        self.intake.check()?;
        self.outbox.check()?;
        self.language().map(|_| ())
    }

    /// The display.
    ///
    /// # Errors
    /// Says which there are.
    pub fn device(&self) -> Result<DisplayChoice, NoSuchDisplay> {
        self.display.device.parse()
    }

    /// How the display is mounted.
    ///
    /// # Errors
    /// Says how it can be.
    pub fn turn(&self) -> Result<Turn, NoSuchTurn> {
        self.display.turn.parse()
    }

    /// The panel, where the display does not say how large it is.
    pub fn panel(&self) -> Panel {
        let Display { width, height, pixel_mm, .. } = self.display;
        Panel { size: Size::new(width, height), mm_per_px: pixel_mm }
    }

    /// The language to begin with.
    ///
    /// # Errors
    /// Says which there are.
    pub fn language(&self) -> Result<Language, String> {
        let found = self.display.language.parse();
        found.map_err(|error: NoSuchLanguage| format!("display.language: {error}"))
    }

    /// The colours.
    pub fn theme(&self) -> Theme {
        match self.display.theme {
            ThemeName::Daylight => Theme::Daylight,
            ThemeName::Dark => Theme::Dark,
        }
    }

    /// What the kiosk itself must know; `operators` are those of the journal.
    pub fn setup(&self, operators: Vec<String>) -> Setup {
        let Camp { sites, lock_after_s, .. } = &self.camp;
        let (rules, lock_after_s) = (self.rules(), *lock_after_s);
        let live_view = self.intake.v4l.is_some();
        let shutter = self.intake.rpicam.is_some() || live_view;
        Setup {
            sites: sites.clone(),
            operators,
            rules,
            lock_after_s,
            shutter,
            live_view,
            zone: local_time::zone(),
        }
    }

    /// By what a visit is decided.
    pub fn rules(&self) -> Rules {
        Rules { retakes: self.camp.retakes, asymmetry: self.camp.asymmetry }
    }
}
