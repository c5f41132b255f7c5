//! What was measured of a model's errors, for the device to speak honestly about a single result:
//! what a threshold finds and spares, and how far a cup-to-disc ratio may be off.

use serde::{Deserialize, Serialize};

/// The most rows a table of operating points may have.
pub const MAX_ROWS: usize = 64;

/// What thresholds found and spared on photographs of real eyes whose class is known. Counted are
/// graded photographs alone: those refused or abstained from are in `ungraded`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The photographs, in words.
    pub measured_on: String,
    /// Graded photographs of eyes with glaucoma, at least 1.
    pub positives: u64,
    /// Graded photographs of eyes without, at least 1.
    pub negatives: u64,
    /// Photographs of the same sets that were not graded.
    pub ungraded: u64,
    /// By rising threshold: sensitivity never rises, specificity never falls.
    pub table: Vec<OperatingRow>,
}

/// What one threshold found and spared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingRow {
    /// Refer at a fused probability `>=` this, 0 to 1.
    pub threshold: f64,
    /// Share of the positives that are referred, 0 to 1.
    pub sensitivity: f64,
    /// Share of the negatives that are not, 0 to 1.
    pub specificity: f64,
}

/// How far the vertical cup-to-disc ratio was off where the true masks are known: measured ratio
/// less true ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcdrError {
    /// Share of the errors between each group's `low` and `high`, such as 0.9; above 0, below 1.
    pub share: f64,
    /// Groups of photographs, measured one by one; at least one.
    pub groups: Vec<VcdrErrorGroup>,
}

/// The ratio's errors on one group of photographs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcdrErrorGroup {
    /// The photographs, in words.
    pub measured_on: String,
    /// How many; at least 1.
    pub n: u64,
    /// Whether they are synthetic.
    pub phantoms: bool,
    /// The error's lower quantile, -1 to 1; the smallest error where there are too few to tell.
    pub low: f64,
    /// The upper quantile, -1 to 1; the largest error where there are too few to tell.
    pub high: f64,
}

impl VcdrError {
    /// Where the true ratio lies, given the measured one: what each group's errors allow, the widest
    /// of them, within 0 to 1. A bias seen in all groups puts the measured ratio at an end or outside.
    #[must_use]
    pub fn interval(&self, vcdr: f64) -> (f64, f64) {
        let low = self.groups.iter().map(|group| group.low).fold(f64::INFINITY, f64::min);
        let high = self.groups.iter().map(|group| group.high).fold(f64::NEG_INFINITY, f64::max);
        ((vcdr - high).clamp(0.0, 1.0), (vcdr - low).clamp(0.0, 1.0))
    }

    /// Photographs of real eyes that this was measured on, beside phantoms.
    #[must_use]
    pub fn real_eyes(&self) -> u64 {
        self.groups.iter().filter(|group| !group.phantoms).map(|group| group.n).sum()
    }
}
