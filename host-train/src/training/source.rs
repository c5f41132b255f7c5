//! Where the images of a training come from, as configured.

use super::config::{ConfigError, require};
use crate::dataset::augment::Augment;
use crate::dataset::framing::DiscCrop;
use crate::network::Task;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One source of images: a data set's folder, or phantoms drawn while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Folder of a data set in a layout that `host-train data check` knows.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Instead of a folder: synthetic photographs, drawn ahead of the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phantoms: Option<Phantoms>,
    /// How often an epoch shows each image of this source; 0.5 shows half of them, drawn anew each
    /// epoch.
    pub weight: f64,
    /// Instead of the general `validation_share`; 0 learns from every image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_share: Option<f64>,
    /// Folder of machine-made disc and cup masks: learnt from where the publisher gives none, never
    /// scored and never part of the validation loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_masks: Option<PathBuf>,
    /// Table `image,disc_x,disc_y,disc_diameter` (native pixels; `host-train evaluate --write-discs`
    /// writes one) that says where the disc lies in photographs without a disc label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discs: Option<PathBuf>,
    /// Random changes of this source's training images, instead of the general `augment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Learn the class from views of the disc only, so that the framing of the photographs says
    /// nothing about it; needs to know where the disc is (truth, or `discs`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disc_crop: Option<DiscCrop>,
    /// Labels to use; absent: all there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
    /// Share of glaucoma among the class-labelled images that an epoch shows, in (0, 1): the rarer
    /// class is shown more often, the other less. Absent: as the data set has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glaucoma_share: Option<f64>,
}

/// Synthetic fundus photographs with exact truth for every task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phantoms {
    /// How many an epoch shows.
    pub count: usize,
    /// How many others are kept apart to choose the best model by.
    pub validation: usize,
    /// Every epoch shows new ones; otherwise every epoch shows the same, drawn once.
    pub fresh: bool,
    /// Longer side of the drawn photographs in pixels, 128 to 2048.
    pub side: u32,
    /// Share of glaucomatous eyes.
    pub glaucoma_share: f64,
    /// Share of ungradable captures; they carry no class.
    pub degraded_share: f64,
    /// Seed of the series.
    pub seed: u64,
}

impl Default for Phantoms {
    fn default() -> Self {
        Self {
            count: 400,
            validation: 40,
            fresh: true,
            side: 384,
            glaucoma_share: 0.5,
            degraded_share: 0.0,
            seed: 1,
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            phantoms: None,
            weight: 1.0,
            validation_share: None,
            pseudo_masks: None,
            discs: None,
            augment: None,
            disc_crop: None,
            tasks: None,
            glaucoma_share: None,
        }
    }
}

impl Source {
    /// What to call this source in messages: its folder, or what it draws.
    #[must_use]
    pub fn label(&self) -> String {
        match self.phantoms {
            Some(Phantoms { seed, .. }) => format!("phantoms of seed {seed}"),
            None => self.path.display().to_string(),
        }
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`ConfigError::Value`] naming the source and the key.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let label = self.label();
        let require = |good: bool, what: &str| require(good, &format!("data {label}: {what}"));
        require(
            is_empty(&self.path) == self.phantoms.is_some(),
            "each [[data]] needs a `path`, or `phantoms` instead",
        )?;
        if let Some(phantoms) = &self.phantoms {
            phantoms.validate(&label)?;
            let of_folders = self.validation_share.is_some()
                || self.pseudo_masks.is_some()
                || self.discs.is_some()
                || self.glaucoma_share.is_some();
            require(
                !of_folders,
                "phantoms have `validation` and `glaucoma_share` of their own, and need neither \
                 masks nor discs from elsewhere",
            )?;
        }
        require(
            self.glaucoma_share.is_none_or(|share| share > 0.0 && share < 1.0),
            "glaucoma_share must be between 0 and 1",
        )?;
        require(self.weight.is_finite() && self.weight > 0.0, "weight must be above 0")?;
        require(
            self.validation_share.is_none_or(|share| (0.0..1.0).contains(&share)),
            "validation_share must be in [0, 1)",
        )?;
        require(self.tasks.as_ref().is_none_or(|tasks| !tasks.is_empty()), "tasks is empty")
    }
}

impl Phantoms {
    fn validate(&self, label: &str) -> Result<(), ConfigError> {
        let require = |good: bool, what: &str| require(good, &format!("data {label}: {what}"));
        let share = |value: f64| (0.0..=1.0).contains(&value);
        require(self.count > 0, "count must be at least 1")?;
        require((128..=2048).contains(&self.side), "side must be within 128..2048")?;
        require(share(self.glaucoma_share), "glaucoma_share must be within 0..1")?;
        require(share(self.degraded_share), "degraded_share must be within 0..1")
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
