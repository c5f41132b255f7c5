//! The manifest of an export: what the checkpoint knows, and on top what a person states.
//!
//! A checkpoint knows its network, its input and its training. It does not know a licence, whom to
//! credit, or at which probability to refer; those come from a TOML file with the manifest's own
//! keys, which may replace every other value too, except the facts about the network.

use crate::network::{Encoder, UNet};
use crate::training::CheckpointInfo;
use glaucoma_common::manifest::{
    Anatomy, FORMAT, Manifest, ManifestError, OutputNames, Precision, QualityLimits,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys of the manifest that a file of overrides must not touch: they are what is exported, or what is measured of
/// it afterwards.
const FACTS: [&str; 12] = [
    "format",
    "name",
    "version",
    "created",
    "network",
    "precision",
    "input",
    "outputs",
    "calibration",
    "vcdr_error",
    "certificates",
    "self_test",
];

/// How a bundle is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The model's name, as shown beside a result.
    pub name: String,
    /// The model's version, as shown beside a result.
    pub version: String,
    /// Day of export, `YYYY-MM-DD`.
    pub created: String,
    /// What the numbers in the file are.
    pub precision: Precision,
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The overrides are not TOML.
    #[error("overrides of the manifest: {0}")]
    Toml(#[from] toml::de::Error),
    /// The overrides name a fact.
    #[error(
        "overrides of the manifest: `{0}` follows from the checkpoint and the command line, or is measured"
    )]
    Fact(String),
    /// Something is missing, unknown or out of range.
    #[error("{0}; what the checkpoint does not know is given by --manifest-overrides")]
    Manifest(#[from] ManifestError),
    /// A value cannot be written as JSON.
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

/// The manifest of the network `net` out of a checkpoint, with the TOML text `overrides` on top.
///
/// Thresholds, anatomy and quality limits start from their defaults, the operating point from the
/// paper's 0.5. There is no default for `provenance.licence`, nor for `vcdr_model` where the
/// training had no photographs with masks and class.
///
/// # Errors
/// A value that nobody gave, an unknown key, one out of range.
pub fn describe(
    info: &CheckpointInfo,
    net: &UNet,
    identity: &Identity,
    overrides: &str,
) -> Result<Manifest, DescribeError> {
    let mut manifest = known(info, net, identity)?;
    let stated: toml::Table = overrides.parse()?;
    if let Some(fact) = FACTS.iter().find(|fact| stated.contains_key(**fact)) {
        return Err(DescribeError::Fact((*fact).into()));
    }
    merge(&mut manifest, serde_json::to_value(stated)?);
    Ok(Manifest::from_json(&manifest.to_string())?)
}

fn known(
    info: &CheckpointInfo,
    net: &UNet,
    identity: &Identity,
) -> Result<Value, serde_json::Error> {
    let config = &info.config;
    let encoder = match net.config().encoder {
        Encoder::Vgg13 => "vgg13",
        Encoder::Vgg16 => "vgg16",
    };
    let strategy = config.strategy.name();
    // The folder's name only: where it lies on this machine concerns nobody.
    let trained_on: Vec<String> = (config.data.iter())
        .map(|source| match Path::new(&source.label()).file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => source.label(),
        })
        .collect();
    let mut manifest = json!({
        "format": FORMAT,
        "name": identity.name,
        "version": identity.version,
        "created": identity.created,
        "network": {
            "encoder": encoder,
            "width": net.config().width,
            "parameters": net.parameter_count(),
            "strategy": strategy,
        },
        "precision": identity.precision,
        "input": config.input.contract(),
        "outputs": OutputNames::default(),
        "decoding": config.decoding(),
        "anatomy": Anatomy::default(),
        "quality": QualityLimits::default(),
        "operating_point": {
            "threshold": 0.5,
            "sensitivity": null,
            "specificity": null,
            "chosen_on": "not chosen on data: the paper's 0.5",
        },
        "provenance": {
            "trained_on": trained_on,
            "revision": info.git_revision.as_deref().unwrap_or("unknown"),
            "seed": config.seed,
            "licence": "",
            "credits": [],
            "intended_use": "Research. Not a medical device; not for decisions about patients.",
        },
        "certificates": [],
    });
    if let Some(model) = &info.vcdr_model {
        manifest["vcdr_model"] = serde_json::to_value(model)?;
    }
    Ok(manifest)
}

/// Puts `stated` over `value`: tables key by key, everything else as a whole.
fn merge(value: &mut Value, stated: Value) {
    match (value, stated) {
        (Value::Object(object), Value::Object(stated)) => {
            for (key, stated) in stated {
                merge(object.entry(key).or_insert(Value::Null), stated);
            }
        }
        (value, stated) => *value = stated,
    }
}

/// The day `now` falls on (UTC), as `YYYY-MM-DD`.
#[must_use]
pub fn day(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Days since 1 March of the year 0, when a leap day is the last of its year; 400 years have
    // 146097 days, 4 years 1461, and five months from March on 153.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::network::NetworkConfig;
    use candle_core::Device;
    use glaucoma_common::risk::VcdrModel;
    use std::time::Duration;

    fn describe_with(
        vcdr_model: Option<VcdrModel>,
        overrides: &str,
    ) -> Result<Manifest, DescribeError> {
        let info = CheckpointInfo {
            format: 1,
            config: toml::from_str("seed = 9\n[[data]]\npath = \"data/idrid\"\n").unwrap(),
            position: Default::default(),
            best: None,
            vcdr_model,
            map_scales: None,
            dataset_hash: String::new(),
            git_revision: Some("abc".into()),
            program: "1".into(),
        };
        let config = NetworkConfig { width: 0.0625, ..NetworkConfig::default() };
        let network = UNet::new(&config, 1, &Device::Cpu).unwrap();
        let identity = Identity {
            name: "model".into(),
            version: "3".into(),
            created: "2026-01-01".into(),
            precision: Precision::Int8Qdq,
        };
        describe(&info, &network, &identity, overrides)
    }

    #[test]
    fn what_is_stated_stands_on_what_is_known() {
        let ratio = VcdrModel { intercept: -5.0, slope: 8.0 };
        let overrides = "[provenance]\nlicence = \"CC-BY-4.0\"\ncredits = [\"IDRiD\"]\n\
                         [operating_point]\nthreshold = 0.3\n[quality]\nmin_focus = 0.02\n";
        let manifest = describe_with(Some(ratio), overrides).unwrap();
        assert_eq!((manifest.provenance.seed, manifest.provenance.revision.as_str()), (9, "abc"));
        assert_eq!(manifest.provenance.trained_on, ["idrid"]);
        assert_eq!(manifest.provenance.credits, ["IDRiD"]);
        assert_eq!((manifest.operating_point.threshold, manifest.quality.min_focus), (0.3, 0.02));
        assert_eq!((manifest.precision, manifest.vcdr_model), (Precision::Int8Qdq, ratio));
        assert_eq!((manifest.network.encoder.as_str(), manifest.input.side), ("vgg13", 256));
    }

    #[test]
    fn what_nobody_gave_is_named() {
        let ratio = Some(VcdrModel { intercept: -5.0, slope: 8.0 });
        let refused = |ratio, overrides| describe_with(ratio, overrides).unwrap_err().to_string();
        let error = refused(ratio, "");
        assert!(error.contains("provenance.licence is empty"), "{error}");
        let licence = "provenance.licence = \"x\"\n";
        let error = refused(None, licence);
        assert!(error.contains("vcdr_model"), "{error}");
        let error = refused(ratio, "provenance.licence = \"x\"\nquality.min_fokus = 1.0");
        assert!(error.contains("min_fokus"), "{error}");
        let error = refused(ratio, "provenance.licence = \"x\"\nprecision = \"f32\"");
        assert!(error.contains("`precision` follows from"), "{error}");
        let error = refused(ratio, "provenance = ");
        assert!(error.contains("overrides"), "{error}");
    }

    #[test]
    fn days_of_known_seconds() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_795_478_400, "2026-11-24"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn tables_merge_and_lists_are_replaced() {
        let mut value = json!({"a": {"b": 1, "c": [1, 2]}, "d": 4});
        merge(&mut value, json!({"a": {"c": [3]}, "e": {"f": 5}}));
        assert_eq!(value, json!({"a": {"b": 1, "c": [3]}, "d": 4, "e": {"f": 5}}));
    }
}
