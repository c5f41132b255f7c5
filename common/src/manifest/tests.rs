//! Tests of the manifest: there and back, and everything that must be refused.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::calibration::{OperatingRow, VcdrErrorGroup};
use crate::preprocess::{Framing, ResizeFilter};
use crate::reading::NetworkOutput;
use crate::self_test::Tolerance;

pub(crate) fn example() -> Manifest {
    Manifest {
        format: FORMAT,
        name: "camp".into(),
        version: "0.1.0".into(),
        created: "2024-05-31".into(),
        network: NetworkFacts {
            encoder: "vgg13".into(),
            width: 0.25,
            parameters: 1_000_000,
            strategy: "independent".into(),
        },
        precision: Precision::Int8Qdq,
        input: InputContract {
            side: 256,
            framing: Framing::FieldOfView,
            filter: ResizeFilter::AntialiasedBilinear,
            scale: 1.0 / 255.0,
        },
        outputs: OutputNames::default(),
        decoding: Decoding::default(),
        anatomy: Anatomy::default(),
        quality: QualityLimits::default(),
        vcdr_model: VcdrModel { intercept: -5.25, slope: 8.5 },
        operating_point: OperatingPoint {
            threshold: 0.5,
            sensitivity: Some(0.875),
            specificity: None,
            chosen_on: "validation, 40 eyes".into(),
        },
        calibration: Some(calibration()),
        vcdr_error: Some(vcdr_error()),
        max_head_disagreement: Some(0.6),
        provenance: Provenance {
            trained_on: vec!["phantoms, 4000".into()],
            revision: "0123abc".into(),
            seed: u64::MAX,
            licence: "MIT OR Apache-2.0".into(),
            credits: vec!["A. Author".into()],
            intended_use: "research".into(),
        },
        certificates: vec![Certificate {
            name: "validation".into(),
            measured_on: "IDRiD validation part".into(),
            n: 18,
            values: BTreeMap::from([("disc_dice".into(), 0.9375)]),
        }],
        self_test: Some(self_test()),
    }
}

fn calibration() -> Calibration {
    let row =
        |threshold, sensitivity, specificity| OperatingRow { threshold, sensitivity, specificity };
    Calibration {
        measured_on: "validation, 44 eyes".into(),
        positives: 20,
        negatives: 20,
        ungraded: 4,
        table: vec![row(0.0, 1.0, 0.0), row(0.4, 0.9, 0.5), row(0.75, 0.5, 0.9)],
    }
}

fn vcdr_error() -> VcdrError {
    let group = |measured_on: &str, n, phantoms, low, high| VcdrErrorGroup {
        measured_on: measured_on.into(),
        n,
        phantoms,
        low,
        high,
    };
    let groups =
        vec![group("drawn", 200, true, -0.125, 0.25), group("eyes", 4, false, -0.375, -0.0625)];
    VcdrError { share: 0.9, groups }
}

fn self_test() -> SelfTest {
    let map = |level: f32| vec![level; 64 * 64];
    let output = NetworkOutput {
        side: 64,
        glaucoma: 0.1,
        disc: map(0.2),
        cup: map(0.3),
        fovea: map(1.0 / 3.0),
    };
    let tolerance = Tolerance { glaucoma: 0.01, mean: 0.01, sample: 0.1 };
    SelfTest::record(&output, tolerance).unwrap()
}

/// The example's JSON with the value at `pointer` replaced.
fn changed(pointer: &str, value: Value) -> String {
    let mut json: Value = serde_json::from_str(&example().to_json().unwrap()).unwrap();
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    json.to_string()
}

#[test]
fn json_goes_there_and_back() {
    let json = example().to_json().unwrap();
    assert!(!json.contains('\n'));
    assert!(json.contains(r#""precision":"int8_qdq""#), "{json}");
    assert!(json.contains(r#""framing":"field_of_view","filter":"antialiased_bilinear""#));
    let back = Manifest::from_json(&json).unwrap();
    assert_eq!(back, example());
    // The scale must come back to the bit: it multiplies every pixel.
    assert_eq!(back.input.scale.to_bits(), (1.0f32 / 255.0).to_bits());
}

#[test]
fn a_bundle_from_before_these_were_measured_is_read() {
    let older = Manifest {
        self_test: None,
        calibration: None,
        vcdr_error: None,
        max_head_disagreement: None,
        ..example()
    };
    let json = older.to_json().unwrap();
    for key in ["self_test", "calibration", "vcdr_error", "max_head_disagreement"] {
        assert!(!json.contains(key), "{key}: {json}");
    }
    assert_eq!(Manifest::from_json(&json).unwrap(), older);
}

#[test]
fn the_true_ratio_lies_where_the_worst_group_allows() {
    let error = vcdr_error();
    assert_eq!(error.interval(0.5), (0.25, 0.875));
    assert_eq!(error.interval(0.125), (0.0, 0.5));
    assert_eq!(error.interval(0.75), (0.5, 1.0));
    assert_eq!(error.real_eyes(), 4);
    let drawn = VcdrError { groups: error.groups[..1].to_vec(), ..error.clone() };
    let eyes = VcdrError { groups: error.groups[1..].to_vec(), ..error };
    assert_eq!(drawn.real_eyes(), 0);
    // Every one of these eyes was read too small: so is the next, as far as is known.
    assert_eq!(eyes.interval(0.5), (0.5625, 0.875));
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    let json = example().to_json().unwrap();
    for part in ["", "network", "input", "outputs", "decoding", "anatomy", "quality", "vcdr_model"]
        .into_iter()
        .chain(["operating_point", "provenance", "calibration", "vcdr_error"])
    {
        let mut extra: Value = serde_json::from_str(&json).unwrap();
        let object = if part.is_empty() { &mut extra } else { &mut extra[part] };
        object.as_object_mut().unwrap().insert("surprise".into(), json!(1));
        let error = Manifest::from_json(&extra.to_string()).unwrap_err();
        assert!(error.to_string().contains("surprise"), "{part}: {error}");
    }
    let mut less: Value = serde_json::from_str(&json).unwrap();
    less.as_object_mut().unwrap().remove("vcdr_model");
    let error = Manifest::from_json(&less.to_string()).unwrap_err();
    assert!(error.to_string().contains("vcdr_model"), "{error}");
    assert!(matches!(Manifest::from_json("{"), Err(ManifestError::Json(_))));
}

#[test]
fn another_format_is_named_before_its_keys_are_judged() {
    let error = Manifest::from_json(r#"{"format": 7, "other": true}"#).unwrap_err();
    assert!(matches!(error, ManifestError::Format { found: 7 }));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (pointer, value) in [
        ("/name", json!(" ")),
        ("/created", json!("31.05.2024")),
        ("/created", json!("2024-13-01")),
        ("/network/width", json!(0.0)),
        ("/network/parameters", json!(0)),
        ("/input/side", json!(250)),
        ("/input/scale", json!(0.0)),
        ("/outputs/cup", json!("disc")),
        ("/decoding/disc_threshold", json!(1.5)),
        ("/anatomy/vcdr", json!([0.9, 0.1])),
        ("/anatomy/second_disc_share", json!(-0.1)),
        ("/quality/min_visible", json!(1.2)),
        ("/quality/min_brightness", json!(0.9)),
        ("/quality/min_focus", json!(-1.0)),
        ("/operating_point/threshold", json!(2.0)),
        ("/operating_point/sensitivity", json!(-1.0)),
        ("/calibration/measured_on", json!("")),
        ("/calibration/negatives", json!(0)),
        ("/calibration/table", json!([])),
        ("/calibration/table/0/threshold", json!(-0.5)),
        // A threshold twice, and a higher one that refers more people.
        ("/calibration/table/1/threshold", json!(0.0)),
        ("/calibration/table/2/sensitivity", json!(0.95)),
        ("/calibration/table/2/specificity", json!(0.4)),
        ("/vcdr_error/share", json!(1.0)),
        ("/vcdr_error/groups", json!([])),
        ("/vcdr_error/groups/0/n", json!(0)),
        ("/vcdr_error/groups/0/low", json!(0.5)),
        ("/vcdr_error/groups/1/high", json!(1.5)),
        ("/max_head_disagreement", json!(1.5)),
    ] {
        let error = Manifest::from_json(&changed(pointer, value)).unwrap_err();
        let field = pointer[1..].split('/').next().unwrap();
        assert!(matches!(error, ManifestError::Value { .. }), "{pointer}: {error}");
        assert!(error.to_string().contains(field), "{pointer}: {error}");
    }
}

#[test]
fn what_is_not_finite_is_not_written() {
    let nan = |change: fn(&mut Manifest)| {
        let mut manifest = example();
        change(&mut manifest);
        manifest.to_json().is_err()
    };
    assert!(nan(|manifest| manifest.vcdr_model.slope = f64::NAN));
    assert!(nan(|manifest| manifest.decoding.fovea_floor = f32::NAN));
    assert!(nan(|manifest| manifest.anatomy.disc_aspect.1 = f64::INFINITY));
    assert!(nan(|manifest| manifest.quality.min_contrast = f64::NAN));
    assert!(nan(|manifest| manifest.network.width = f64::NAN));
    assert!(nan(|manifest| {
        manifest.certificates[0].values.insert("auc".into(), f64::NAN);
    }));
}

proptest! {
    #[test]
    fn figures_come_back_to_the_last_digit_but_one(
        intercept in -1e3..1e3f64, slope in -1e3..1e3f64, threshold in 0.0..=1.0f64,
        floor in 0.0..=1.0f32,
    ) {
        let mut manifest = example();
        manifest.vcdr_model = VcdrModel { intercept, slope };
        manifest.operating_point.threshold = threshold;
        manifest.decoding.fovea_floor = floor;
        let back = Manifest::from_json(&manifest.to_json().unwrap()).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() <= f64::EPSILON * a.abs();
        prop_assert!(close(intercept, back.vcdr_model.intercept));
        prop_assert!(close(slope, back.vcdr_model.slope));
        prop_assert!(close(threshold, back.operating_point.threshold));
        prop_assert_eq!(floor, back.decoding.fovea_floor);
    }
}
