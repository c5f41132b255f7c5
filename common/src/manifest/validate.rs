//! The range of every value of a manifest: what is out of it is named and refused.

use super::{Anatomy, Decoding, FORMAT, Manifest, ManifestError, QualityLimits};
use crate::calibration::{Calibration, MAX_ROWS, OperatingRow, VcdrError, VcdrErrorGroup};
use crate::preprocess::InputContract;
use crate::self_test::SelfTest;

impl Manifest {
    /// Checks every value's range.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(ManifestError::Format { found: u64::from(self.format) });
        }
        self.validate_identity()?;
        self.validate_input()?;
        self.decoding.validate()?;
        self.anatomy.validate()?;
        self.quality.validate()?;
        finite("vcdr_model.intercept", self.vcdr_model.intercept)?;
        finite("vcdr_model.slope", self.vcdr_model.slope)?;
        let point = &self.operating_point;
        share("operating_point.threshold", point.threshold)?;
        share("operating_point.sensitivity", point.sensitivity.unwrap_or(0.0))?;
        share("operating_point.specificity", point.specificity.unwrap_or(0.0))?;
        self.calibration.as_ref().map_or(Ok(()), Calibration::validate)?;
        self.vcdr_error.as_ref().map_or(Ok(()), VcdrError::validate)?;
        share("max_head_disagreement", self.max_head_disagreement.unwrap_or(0.0))?;
        for value in self.certificates.iter().flat_map(|one| one.values.values()) {
            finite("certificates.values", *value)?;
        }
        for (field, value) in self.self_test.iter().flat_map(SelfTest::values) {
            share(field, value.into())?;
        }
        Ok(())
    }

    fn validate_identity(&self) -> Result<(), ManifestError> {
        for (field, text) in [
            ("name", &self.name),
            ("version", &self.version),
            ("network.encoder", &self.network.encoder),
            ("network.strategy", &self.network.strategy),
            ("outputs.glaucoma", &self.outputs.glaucoma),
            ("outputs.disc", &self.outputs.disc),
            ("outputs.cup", &self.outputs.cup),
            ("outputs.fovea", &self.outputs.fovea),
            ("provenance.licence", &self.provenance.licence),
        ] {
            require(!text.trim().is_empty(), field, || "is empty".into())?;
        }
        let outputs = &self.outputs;
        let names = [&outputs.glaucoma, &outputs.disc, &outputs.cup, &outputs.fovea];
        let distinct = (1..4).all(|i| !names[..i].contains(&names[i]));
        require(distinct, "outputs", || "name one output twice".into())?;
        require(is_day(&self.created), "created", || {
            format!("is {:?}, not a day as YYYY-MM-DD", self.created)
        })?;
        let width = self.network.width;
        require(width > 0.0 && width <= 8.0, "network.width", || {
            format!("is {width}, not above 0 and at most 8")
        })?;
        require(self.network.parameters > 0, "network.parameters", || "is 0".into())
    }

    fn validate_input(&self) -> Result<(), ManifestError> {
        let InputContract { side, scale, .. } = self.input;
        // The network halves the picture four times.
        require((32..=2048).contains(&side) && side % 16 == 0, "input.side", || {
            format!("is {side}, not a multiple of 16 from 32 to 2048")
        })?;
        require(scale > 0.0 && scale <= 1.0, "input.scale", || {
            format!("is {scale}, not above 0 and at most 1")
        })
    }
}

impl Decoding {
    fn validate(&self) -> Result<(), ManifestError> {
        share("decoding.disc_threshold", self.disc_threshold.into())?;
        share("decoding.cup_threshold", self.cup_threshold.into())?;
        share("decoding.fovea_floor", self.fovea_floor.into())?;
        share("decoding.fovea_min_peak", self.fovea_min_peak.into())
    }
}

impl Anatomy {
    fn validate(&self) -> Result<(), ManifestError> {
        range("anatomy.disc_fovea_diameters", self.disc_fovea_diameters, 20.0)?;
        range("anatomy.vcdr", self.vcdr, 2.0)?;
        range("anatomy.disc_share_of_side", self.disc_share_of_side, 1.0)?;
        range("anatomy.disc_aspect", self.disc_aspect, 10.0)?;
        share("anatomy.max_cup_outside_share", self.max_cup_outside_share)?;
        share("anatomy.second_disc_share", self.second_disc_share)?;
        bounded("anatomy.laterality_min_diameters", self.laterality_min_diameters, 5.0)
    }
}

impl QualityLimits {
    fn validate(&self) -> Result<(), ManifestError> {
        share("quality.black_below", self.black_below)?;
        share("quality.min_redness_fundus", self.min_redness_fundus)?;
        share("quality.max_surround", self.max_surround)?;
        share("quality.min_warm_share", self.min_warm_share)?;
        bounded("quality.min_fov_radius_share", self.min_fov_radius_share, 2.0)?;
        share("quality.min_visible", self.min_visible)?;
        share("quality.min_circularity", self.min_circularity)?;
        range("quality.min_brightness", (self.min_brightness, self.max_brightness), 1.0)?;
        share("quality.max_dark_share", self.max_dark_share)?;
        share("quality.max_saturated_share", self.max_saturated_share)?;
        share("quality.min_redness", self.min_redness)?;
        bounded("quality.min_contrast", self.min_contrast, 10.0)?;
        bounded("quality.min_focus", self.min_focus, 100.0)
    }
}

impl Calibration {
    fn validate(&self) -> Result<(), ManifestError> {
        require(!self.measured_on.trim().is_empty(), "calibration.measured_on", || {
            "is empty".into()
        })?;
        for (field, count) in
            [("calibration.positives", self.positives), ("calibration.negatives", self.negatives)]
        {
            require(count > 0, field, || "is 0".into())?;
        }
        let rows = self.table.len();
        require((1..=MAX_ROWS).contains(&rows), "calibration.table", || {
            format!("has {rows} rows, not 1 to {MAX_ROWS}")
        })?;
        for OperatingRow { threshold, sensitivity, specificity } in self.table.iter().copied() {
            share("calibration.table.threshold", threshold)?;
            share("calibration.table.sensitivity", sensitivity)?;
            share("calibration.table.specificity", specificity)?;
        }
        for pair in self.table.windows(2) {
            let (row, next) = (pair[0], pair[1]);
            let rises = row.threshold < next.threshold
                && row.sensitivity >= next.sensitivity
                && row.specificity <= next.specificity;
            require(rises, "calibration.table", || {
                format!("goes from {row:?} to {next:?}: a higher threshold refers no more people")
            })?;
        }
        Ok(())
    }
}

impl VcdrError {
    fn validate(&self) -> Result<(), ManifestError> {
        require(self.share > 0.0 && self.share < 1.0, "vcdr_error.share", || {
            format!("is {}, not above 0 and below 1", self.share)
        })?;
        require(!self.groups.is_empty(), "vcdr_error.groups", || "is empty".into())?;
        for VcdrErrorGroup { measured_on, n, low, high, .. } in &self.groups {
            require(!measured_on.trim().is_empty(), "vcdr_error.groups.measured_on", || {
                "is empty".into()
            })?;
            require(*n > 0, "vcdr_error.groups.n", || "is 0".into())?;
            require(-1.0 <= *low && low <= high && *high <= 1.0, "vcdr_error.groups", || {
                format!("go from {low} to {high}, not a rising pair within -1 to 1")
            })?;
        }
        Ok(())
    }
}

fn require(
    holds: bool,
    field: &'static str,
    reason: impl FnOnce() -> String,
) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Value { field, reason: reason() }) }
}

fn finite(field: &'static str, value: f64) -> Result<(), ManifestError> {
    require(value.is_finite(), field, || format!("is {value}, not a finite number"))
}

fn bounded(field: &'static str, value: f64, most: f64) -> Result<(), ManifestError> {
    require((0.0..=most).contains(&value), field, || format!("is {value}, not 0 to {most}"))
}

fn share(field: &'static str, value: f64) -> Result<(), ManifestError> {
    bounded(field, value, 1.0)
}

fn range(field: &'static str, (low, high): (f64, f64), most: f64) -> Result<(), ManifestError> {
    require(0.0 <= low && low <= high && high <= most, field, || {
        format!("is ({low}, {high}), not a rising pair within 0 to {most}")
    })
}

/// Whether `text` is `YYYY-MM-DD` with a possible month and day.
fn is_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize| {
        let all_digits = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let [year, month, day] = parts[..] else { return false };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}
