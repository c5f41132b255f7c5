//! What a programme sets up on a device: one TOML file, unknown keys refused.

use std::path::{Path, PathBuf};

use embedded_graphics::prelude::Size;
use glaucoma_kiosk::model::Setup;
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::decide::Rules;
use serde::{Deserialize, Serialize};

use super::intakes::IntakeConfig;
use super::operating_point::Choice;
use super::outbox::OutboxConfig;

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
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Millimetres a pixel, by which touch targets are sized.
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
        self.intake.check()?;
        self.outbox.check()?;
        self.language().map(|_| ())
    }

    /// The panel.
    pub fn panel(&self) -> Panel {
        let Display { width, height, pixel_mm, .. } = self.display;
        Panel { size: Size::new(width, height), mm_per_px: pixel_mm }
    }

    /// The language to begin with.
    ///
    /// # Errors
    /// Says which there are.
    pub fn language(&self) -> Result<Language, String> {
        let wanted = &self.display.language;
        let found = Language::ALL.into_iter().find(|language| language.code() == wanted);
        found.ok_or_else(|| {
            let codes = Language::ALL.map(Language::code).join(", ");
            format!("display.language: {wanted:?} is none of {codes}")
        })
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
        Setup { sites: sites.clone(), operators, rules, lock_after_s }
    }

    /// By what a visit is decided.
    pub fn rules(&self) -> Rules {
        Rules { retakes: self.camp.retakes, asymmetry: self.camp.asymmetry }
    }
}
