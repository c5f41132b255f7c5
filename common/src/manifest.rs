//! Everything about a model that is not a weight; travels as JSON in the ONNX `metadata_props`.

mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, VcdrError};
use crate::preprocess::InputContract;
use crate::risk::{OperatingPoint, VcdrModel};
use crate::self_test::SelfTest;

/// Key of the ONNX `metadata_props` entry whose value is the whole manifest as one JSON string.
pub const METADATA_KEY: &str = "glaucoma.manifest";

/// The manifest format this code reads and writes.
pub const FORMAT: u32 = 1;

/// What trainer and device must agree on about one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this manifest: [`FORMAT`].
    pub format: u32,
    /// The model's name, as shown beside a result.
    pub name: String,
    /// The model's version, as shown beside a result.
    pub version: String,
    /// Day of export, `YYYY-MM-DD`.
    pub created: String,
    /// The network's shape and training strategy.
    pub network: NetworkFacts,
    /// Arithmetic of the graph.
    pub precision: Precision,
    /// From photograph to network input.
    pub input: InputContract,
    /// Names of the graph's outputs.
    pub outputs: OutputNames,
    /// From maps to disc, cup and fovea.
    pub decoding: Decoding,
    /// Bounds beyond which a reading contradicts anatomy.
    pub anatomy: Anatomy,
    /// Bounds beyond which a photograph is not gradable.
    pub quality: QualityLimits,
    /// From cup-to-disc ratio to probability.
    pub vcdr_model: VcdrModel,
    /// When to refer.
    pub operating_point: OperatingPoint,
    /// What other thresholds would find and spare; absent where nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// How far the cup-to-disc ratio may be off; absent where nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcdr_error: Option<VcdrError>,
    /// An exam whose classifier and cup-to-disc ratio give probabilities further apart than this, 0 to
    /// 1, abstains; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_head_disagreement: Option<f64>,
    /// Where the weights come from.
    pub provenance: Provenance,
    /// What the model was measured on, with the figures.
    pub certificates: Vec<Certificate>,
    /// What the file answered for a drawn picture at its export; absent from older bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
}

/// The network's shape and training strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFacts {
    /// Encoder: `vgg13` or `vgg16`.
    pub encoder: String,
    /// Multiplier of the paper's channel counts (1.0 = 64 to 512).
    pub width: f64,
    /// Trained parameters.
    pub parameters: u64,
    /// Task balancing in training: `independent` (MTL-IO), `aggregated`, ...
    pub strategy: String,
}

/// Arithmetic of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating-point weights, computed with in 32 bits.
    F16Weights,
    /// 8-bit integers, as QuantizeLinear / DequantizeLinear pairs.
    Int8Qdq,
}

/// Names of the graph's outputs, all probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputNames {
    /// The classifier head, `[1, 1]`.
    pub glaucoma: String,
    /// The disc map, `[1, 1, side, side]`.
    pub disc: String,
    /// The cup map, `[1, 1, side, side]`.
    pub cup: String,
    /// The fovea map, `[1, 1, side, side]`.
    pub fovea: String,
}

impl Default for OutputNames {
    /// The names the exporter writes: `glaucoma`, `disc`, `cup`, `fovea`.
    fn default() -> Self {
        let [glaucoma, disc, cup, fovea] = ["glaucoma", "disc", "cup", "fovea"].map(String::from);
        Self { glaucoma, disc, cup, fovea }
    }
}

/// From maps to disc, cup and fovea.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// A pixel belongs to the disc at a probability `>=` this.
    pub disc_threshold: f32,
    /// A pixel belongs to the cup at a probability `>=` this.
    pub cup_threshold: f32,
    /// The fovea is the centre of mass over map values `>= fovea_floor * peak`; 0 is the paper's
    /// plain centre of mass.
    pub fovea_floor: f32,
    /// A fovea map whose peak is lower shows no fovea.
    pub fovea_min_peak: f32,
}

impl Default for Decoding {
    /// Thresholds and plain centre of mass as in the paper; a fovea at any positive peak.
    fn default() -> Self {
        Self { disc_threshold: 0.5, cup_threshold: 0.5, fovea_floor: 0.0, fovea_min_peak: 0.0 }
    }
}

/// Bounds beyond which a reading contradicts anatomy; pairs are (lowest, highest) allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anatomy {
    /// Distance of disc and fovea centres over the mean disc diameter.
    pub disc_fovea_diameters: (f64, f64),
    /// Vertical cup-to-disc ratio.
    pub vcdr: (f64, f64),
    /// Mean disc diameter as a share of the network's side.
    pub disc_share_of_side: (f64, f64),
    /// Disc width over height.
    pub disc_aspect: (f64, f64),
    /// Largest share of the cup's pixels that may lie outside the disc.
    pub max_cup_outside_share: f64,
    /// A further region of the disc map counts as a second disc from this share of the largest
    /// one's area.
    pub second_disc_share: f64,
    /// Horizontal distance of disc and fovea centres, in disc diameters, below which the eye is
    /// not told.
    pub laterality_min_diameters: f64,
}

impl Default for Anatomy {
    /// The fovea lies about 2.5 disc diameters from the disc; a disc of 1.5 to 2.2 mm spans a
    /// twentieth (60 degrees) to a quarter (30 degrees) of the field of view. Widened for
    /// measuring errors of coarse masks.
    fn default() -> Self {
        Self {
            disc_fovea_diameters: (1.5, 4.5),
            vcdr: (0.1, 0.95),
            disc_share_of_side: (0.05, 0.35),
            disc_aspect: (0.6, 1.5),
            max_cup_outside_share: 0.1,
            second_disc_share: 0.25,
            laterality_min_diameters: 0.75,
        }
    }
}

/// Bounds beyond which a photograph is not gradable.
///
/// Everything but `black_below` is measured on a copy of the field of view 512 pixels wide, inside
/// 0.85 of its radius; [`crate::quality::measure`](mod@crate::quality::measure) defines each measure.
/// Levels are shares of full scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimits {
    /// A photograph without a field of view is black when the mean of its brightest channel is
    /// below this.
    pub black_below: f64,
    /// Above this mean of the brightest channel outside the field of view the picture is no fundus
    /// photograph, whose surround is black.
    pub max_surround: f64,
    /// Below this redness (mean of (red - blue) over the brightest channel) the picture shows no
    /// retina.
    pub min_redness_fundus: f64,
    /// Below this share of pixels with more red than green and blue the picture shows no retina.
    pub min_warm_share: f64,
    /// Smallest radius of the field of view over half the photograph's shorter side.
    pub min_fov_radius_share: f64,
    /// Smallest share of the circle that lies inside the photograph.
    pub min_visible: f64,
    /// Smallest circularity of the field of view.
    pub min_circularity: f64,
    /// Smallest mean luma.
    pub min_brightness: f64,
    /// Largest mean luma.
    pub max_brightness: f64,
    /// Largest share of pixels with a luma below 0.08.
    pub max_dark_share: f64,
    /// Largest share of pixels with a green of at least 0.9.
    pub max_saturated_share: f64,
    /// Smallest redness of a retina that is not washed out.
    pub min_redness: f64,
    /// Smallest deviation of green's local contrast over green's mean.
    pub min_contrast: f64,
    /// Smallest deviation of green's Laplacian over that of its local contrast.
    pub min_focus: f64,
}

impl Default for QualityLimits {
    /// As loose as five cameras' photographs of good quality need, and no looser where faults would pass:
    /// `edge-infer/docs/quality.md` has the rule and the figures.
    fn default() -> Self {
        Self {
            black_below: 0.03,
            min_redness_fundus: 0.15,
            max_surround: 0.15,
            min_warm_share: 0.5,
            min_fov_radius_share: 0.6,
            min_visible: 0.6,
            min_circularity: 0.75,
            min_brightness: 0.119,
            max_brightness: 0.564,
            max_dark_share: 0.291,
            max_saturated_share: 0.05,
            min_redness: 0.38,
            min_contrast: 0.018,
            min_focus: 0.122,
        }
    }
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The pictures learnt from, with their numbers, in words, one entry a source.
    pub trained_on: Vec<String>,
    /// Source revision of the trainer.
    pub revision: String,
    /// Seed of the training run.
    pub seed: u64,
    /// Licence of the weights.
    pub licence: String,
    /// Credits that the sources' licences ask for.
    pub credits: Vec<String>,
    /// What the model is for, and what it must not be used for.
    pub intended_use: String,
}

/// One measurement of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What was measured, such as `validation` or `engine parity`.
    pub name: String,
    /// The pictures it was measured on, in words.
    pub measured_on: String,
    /// Number of pictures.
    pub n: u64,
    /// The figures by name.
    pub values: BTreeMap<String, f64>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not these fields.
    #[error("reading the model's manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by another generation of the trainer.
    #[error("the model's manifest has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The manifest's format.
        found: u64,
    },
    /// A value that cannot be right.
    #[error("the model's manifest: {field} {reason}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Manifest {
    /// The manifest as one line of JSON. Floating-point figures read back equal to within one
    /// unit in the last place.
    ///
    /// # Errors
    /// When a value is out of range: what could not be read back is not written.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        self.validate()?;
        Ok(serde_json::to_string(self)?)
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// When it is no such JSON, has an unknown or missing key, another format or a value out of
    /// range.
    pub fn from_json(json: &str) -> Result<Self, ManifestError> {
        // The format first: another format's unknown keys would hide the true reason.
        let value: serde_json::Value = serde_json::from_str(json)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(FORMAT) => {
                return Err(ManifestError::Format { found });
            }
            _ => {}
        }
        let manifest: Self = serde_json::from_value(value)?;
        manifest.validate()?;
        Ok(manifest)
    }
}

#[cfg(test)]
pub(crate) mod tests;
