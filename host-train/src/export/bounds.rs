//! What a written file may lose: the bounds of an export, and the sentences for figures beyond them.

use glaucoma_common::manifest::Precision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a file may lie from the trained network. Differences are of probabilities (0 to 1),
/// means are over all photographs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Largest difference of the classifier's probability on any photograph.
    pub glaucoma_max: f64,
    /// Mean difference of the classifier's probability.
    pub glaucoma_mean: f64,
    /// Largest difference of any pixel of any map.
    pub map_max: f64,
    /// Mean difference of a map's pixels.
    pub map_mean: f64,
    /// Share of a mask's pixels (at the threshold) that may differ.
    pub pixels_differing: f64,
    /// Least mean Dice between both discs.
    pub disc_dice: f64,
    /// Least mean Dice between both cups.
    pub cup_dice: f64,
    /// Mean difference of the vertical cup-to-disc ratios.
    pub vcdr_difference: f64,
    /// Mean distance of both foveas, as a share of the photograph's side.
    pub fovea_shift_share: f64,
    /// Loss of mean Dice against the truth, disc and cup.
    pub dice_loss: f64,
    /// Growth of the mean error of the vertical cup-to-disc ratio against the truth.
    pub vcdr_loss: f64,
    /// Growth of the mean fovea error against the truth, as a share of the side.
    pub fovea_loss_share: f64,
    /// Loss of the classifier's AUC against the truth, on photographs and on views.
    pub auc_loss: f64,
    /// Loss of the AUC of the ratio, alone and fused. A ratio of two heights in pixels has many ties:
    /// on fifty eyes one pixel of one cup can be worth a hundredth.
    pub ratio_auc_loss: f64,
    /// Share of the decisions (refer, do not, abstain) that may turn.
    pub flipped_decisions: f64,
}

/// Why bounds could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BoundsError {
    /// Not TOML, an unknown key, or not a number.
    #[error("bounds: {0}")]
    Toml(#[from] toml::de::Error),
    /// The defaults cannot be written as TOML.
    #[error("bounds: {0}")]
    Defaults(#[from] toml::ser::Error),
}

impl Bounds {
    /// For f32: the same numbers but for the order of sums.
    pub const F32: Self = Self {
        glaucoma_max: 1e-4,
        glaucoma_mean: 1e-4,
        map_max: 1e-4,
        map_mean: 1e-4,
        pixels_differing: 1e-3,
        disc_dice: 0.99,
        cup_dice: 0.99,
        vcdr_difference: 1e-3,
        fovea_shift_share: 1e-3,
        dice_loss: 1e-3,
        vcdr_loss: 1e-3,
        fovea_loss_share: 1e-3,
        auc_loss: 1e-3,
        ratio_auc_loss: 1e-3,
        flipped_decisions: 0.005,
    };

    /// For weights in f16, rounded to 11 bits: some thousandths of a probability.
    pub const F16_WEIGHTS: Self = Self {
        glaucoma_max: 0.01,
        glaucoma_mean: 0.002,
        map_max: 0.05,
        map_mean: 1e-3,
        auc_loss: 5e-3,
        ratio_auc_loss: 0.02,
        dice_loss: 2e-3,
        vcdr_loss: 5e-3,
        vcdr_difference: 5e-3,
        ..Self::F32
    };

    /// For int8: no loss that a reader of the results would notice. A single pixel at the edge of
    /// a disc may change sides, so the largest difference of a map's pixel is not bounded.
    pub const INT8: Self = Self {
        glaucoma_max: 0.1,
        glaucoma_mean: 0.02,
        map_max: 1.0,
        map_mean: 0.01,
        pixels_differing: 0.005,
        disc_dice: 0.97,
        cup_dice: 0.94,
        vcdr_difference: 0.02,
        fovea_shift_share: 0.005,
        dice_loss: 0.01,
        vcdr_loss: 0.01,
        fovea_loss_share: 0.003,
        auc_loss: 0.01,
        ratio_auc_loss: 0.02,
        flipped_decisions: 0.02,
    };

    /// The bounds that a file of this precision must keep unless others are given.
    #[must_use]
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16Weights => Self::F16_WEIGHTS,
            Precision::Int8Qdq => Self::INT8,
        }
    }

    /// These bounds with what the TOML text `own` says in their place.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or a value that is no number.
    pub fn with(self, own: &str) -> Result<Self, BoundsError> {
        let mut table = toml::Table::try_from(self)?;
        table.extend(own.parse::<toml::Table>()?);
        Ok(table.try_into()?)
    }

    /// A sentence for each of an agreement's `figures` that is beyond its bound; `side` is that of
    /// the maps in pixels.
    #[must_use]
    pub fn outside_agreement(&self, figures: &BTreeMap<String, f64>, side: u32) -> Vec<String> {
        let shift = self.fovea_shift_share * f64::from(side);
        let mut outside = vec![
            at_most(figures, "glaucoma.max", self.glaucoma_max),
            at_most(figures, "glaucoma.mean", self.glaucoma_mean),
            at_least(figures, "disc.dice_mean", self.disc_dice),
            at_least(figures, "cup.dice_mean", self.cup_dice),
            at_most(figures, "vcdr.difference_mean", self.vcdr_difference),
            at_most(figures, "fovea.shift_px_mean", shift),
        ];
        for map in ["disc", "cup", "fovea"] {
            outside.push(at_most(figures, &format!("{map}.max"), self.map_max));
            outside.push(at_most(figures, &format!("{map}.mean"), self.map_mean));
            let pixels = format!("{map}.pixels_differing");
            outside.push(at_most(figures, &pixels, self.pixels_differing));
        }
        outside.into_iter().flatten().collect()
    }

    /// The same for the figures against the truth.
    #[must_use]
    pub fn outside_quality(&self, figures: &BTreeMap<String, f64>, side: u32) -> Vec<String> {
        let fovea = self.fovea_loss_share * f64::from(side);
        let losses = ["disc_dice", "cup_dice"].map(|name| (name, self.dice_loss)).into_iter();
        let aucs = ["classifier_auc", "view_classifier_auc"].map(|name| (name, self.auc_loss));
        let ratio_aucs = ["vcdr_auc", "fused_auc"].map(|name| (name, self.ratio_auc_loss));
        let losses = losses.chain(aucs).chain(ratio_aucs);
        let growths = [("vcdr_mae", self.vcdr_loss), ("fovea_error_px", fovea)];
        losses
            .map(|(name, loss)| at_least(figures, &format!("{name}.change"), -loss))
            .chain(growths.map(|(name, most)| at_most(figures, &format!("{name}.change"), most)))
            .flatten()
            .collect()
    }

    /// The same for the decisions.
    #[must_use]
    pub fn outside_decisions(&self, figures: &BTreeMap<String, f64>) -> Option<String> {
        let found = at_most(figures, "flipped.share", self.flipped_decisions)?;
        let figure = |name| figures.get(name).copied().unwrap_or(f64::NAN);
        Some(format!("decisions.{found} ({} of {})", figure("flipped"), figure("n")))
    }
}

/// The sentence for a figure above `limit`. NaN breaks every limit.
fn at_most(values: &BTreeMap<String, f64>, name: &str, limit: f64) -> Option<String> {
    let value = values.get(name).copied()?;
    let over = value - limit;
    let fits = value <= limit;
    (!fits).then(|| format!("{name} is {value:.3e}, must be at most {limit}: {over:.3e} too much"))
}

/// The sentence for a figure below `limit`.
fn at_least(values: &BTreeMap<String, f64>, name: &str, limit: f64) -> Option<String> {
    let value = values.get(name).copied()?;
    let under = limit - value;
    let fits = value >= limit;
    (!fits)
        .then(|| format!("{name} is {value:.3e}, must be at least {limit}: {under:.3e} too little"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_file_says_stands_on_the_defaults() {
        let bounds = Bounds::INT8.with("auc_loss = 0.005\nflipped_decisions = 0.0\n").unwrap();
        assert_eq!((bounds.auc_loss, bounds.flipped_decisions), (0.005, 0.0));
        assert_eq!(Bounds { auc_loss: 0.01, flipped_decisions: 0.02, ..bounds }, Bounds::INT8);
        assert_eq!(Bounds::F32.with("").unwrap(), Bounds::F32);
        let error = Bounds::INT8.with("auc_los = 0.005").unwrap_err().to_string();
        assert!(error.contains("auc_los"), "{error}");
        assert!(Bounds::INT8.with("auc_loss = \"little\"").is_err());
    }

    #[test]
    fn every_figure_that_is_out_is_named_with_by_how_much() {
        let of = |values: &[(&str, f64)]| -> BTreeMap<String, f64> {
            values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let quality = of(&[
            ("disc_dice.change", -0.015),
            ("cup_dice.change", -0.005),
            ("fused_auc.change", -0.03),
            ("vcdr_mae.change", f64::NAN),
            ("fovea_error_px.change", 0.2),
        ]);
        let outside = Bounds::INT8.outside_quality(&quality, 64);
        assert_eq!(outside.len(), 4, "{outside:?}");
        assert!(
            outside[0].contains("disc_dice.change is -1.500e-2, must be at least -0.01: 5.000e-3")
        );
        assert!(outside[1].starts_with("fused_auc.change"), "{outside:?}");
        assert!(outside[2].starts_with("vcdr_mae.change is NaN"), "{outside:?}");
        assert!(outside[3].contains("must be at most 0.192"), "{outside:?}");
        let decisions = of(&[("n", 40.0), ("flipped", 2.0), ("flipped.share", 0.05)]);
        let sentence = Bounds::INT8.outside_decisions(&decisions).unwrap();
        assert!(sentence.starts_with("decisions.flipped.share is 5.000e-2"), "{sentence}");
        assert!(sentence.ends_with("(2 of 40)"), "{sentence}");
        assert_eq!(Bounds::INT8.outside_decisions(&of(&[("flipped.share", 0.02)])), None);
    }
}
