//! At which threshold a camp works: its own, the one that its clinic can cope with, or the model's.

use glaucoma_common::calibration::Calibration;
use glaucoma_common::manifest::Manifest;
use glaucoma_records::operating_point::{OperatingPointError, TradeOff, Wanted, operating_point};
use serde::{Deserialize, Serialize};

use super::config::{Camp, Config};

/// What a threshold is to do, instead of the threshold itself: `[camp.operating_point]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The share of the people screened who have glaucoma, above 0 and below 1.
    pub prevalence: f64,
    /// At most this many referrals of 1000 people, 0 to 1000; this or `ppv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrals_per_1000: Option<f64>,
    /// At least this share of those referred has glaucoma, 0 to 1; this or `referrals_per_1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppv: Option<f64>,
}

/// Why no threshold could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The bundle says nothing of other thresholds than its own.
    #[error(
        "the model {name} {version} has no calibration table to choose from; without one there are camp.threshold \
         and the model's own {threshold}"
    )]
    NoTable {
        /// The model's name.
        name: String,
        /// Its version.
        version: String,
        /// Its threshold.
        threshold: f64,
    },
    /// Nothing that can be is wanted.
    #[error("{0}")]
    Wish(String),
    /// No threshold does what is wanted.
    #[error(transparent)]
    Choice(#[from] OperatingPointError),
    /// Nobody has chosen, and the model's own threshold misses most of what it is to find.
    #[error(
        "by its own measurements {name} {version} finds {found:.0} % of the eyes with glaucoma at its own threshold          {threshold}, so the programme must choose: set camp.threshold or [camp.operating_point];          `edge-infer operating-point` shows what each threshold means"
    )]
    Unchosen {
        /// The model's name.
        name: String,
        /// Its version.
        version: String,
        /// Its threshold.
        threshold: f64,
        /// Percent.
        found: f64,
    },
}

/// A model that finds less than this share of the disease at its own threshold does not screen by default.
const LEAST_SENSITIVITY: f64 = 0.5;

/// Whether `config` may be worked with: a threshold was chosen, or the model's own is not known to miss most.
///
/// # Errors
/// [`ChooseError::Unchosen`].
fn check_chosen(config: &Config, manifest: &Manifest) -> Result<(), ChooseError> {
    let threshold = manifest.operating_point.threshold;
    let table = manifest.calibration.iter().flat_map(|calibration| &calibration.table);
    let mut at_or_above = table.filter(|row| row.threshold >= threshold);
    match at_or_above.next() {
        Some(row) if config.camp.threshold.is_none() && row.sensitivity < LEAST_SENSITIVITY => {
            Err(ChooseError::Unchosen {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                threshold,
                found: 100.0 * row.sensitivity,
            })
        }
        _ => Ok(()),
    }
}

/// The model's calibration table.
///
/// # Errors
/// [`ChooseError::NoTable`].
pub fn calibration(manifest: &Manifest) -> Result<&Calibration, ChooseError> {
    manifest.calibration.as_ref().ok_or_else(|| ChooseError::NoTable {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        threshold: manifest.operating_point.threshold,
    })
}

impl Choice {
    /// Whether the prevalence can be.
    ///
    /// # Errors
    /// It is not above 0 and below 1.
    pub fn check_prevalence(&self) -> Result<(), String> {
        let prevalence = self.prevalence;
        let inside = prevalence > 0.0 && prevalence < 1.0;
        inside
            .then_some(())
            .ok_or_else(|| format!("prevalence: {prevalence} is not above 0 and below 1"))
    }

    /// What is wanted.
    ///
    /// # Errors
    /// A prevalence out of range; neither or both of the wishes.
    pub fn wanted(&self) -> Result<Wanted, String> {
        self.check_prevalence()?;
        match (self.referrals_per_1000, self.ppv) {
            (Some(most), None) if (0.0..=1000.0).contains(&most) => {
                Ok(Wanted::ReferralsPer1000(most))
            }
            (None, Some(least)) if (0.0..=1.0).contains(&least) => Ok(Wanted::Ppv(least)),
            (Some(most), None) => Err(format!("referrals_per_1000: {most} is not from 0 to 1000")),
            (None, Some(least)) => Err(format!("ppv: {least} is not from 0 to 1")),
            _ => Err("one of referrals_per_1000 and ppv, and not both".into()),
        }
    }
}

/// `config` with the threshold that does what it wants of `manifest`'s model, and what that means; as it is
/// where it wants nothing and the model's own threshold will do.
///
/// # Errors
/// [`ChooseError`].
pub fn settled(
    config: &Config,
    manifest: &Manifest,
) -> Result<(Config, Option<TradeOff>), ChooseError> {
    let Some(choice) = config.camp.operating_point else {
        check_chosen(config, manifest)?;
        return Ok((config.clone(), None));
    };
    let wanted = choice.wanted().map_err(ChooseError::Wish)?;
    let table = &calibration(manifest)?.table;
    let chosen = operating_point(table, choice.prevalence, wanted)?;
    let threshold = Some(chosen.point.threshold);
    let camp = Camp { threshold, operating_point: None, ..config.camp.clone() };
    Ok((Config { camp, ..config.clone() }, Some(chosen)))
}
