//! What a visit's transaction says.

use std::collections::HashSet;

use dicom_dictionary_std::tags;
use dicom_object::from_reader;
use glaucoma_exchange::dicom::{Identity, Subject, photograph};
use glaucoma_exchange::fhir::{FhirError, Programme, bundle};
use glaucoma_exchange::identity::{derive, uuid};
use glaucoma_records::visit::{Finding, Visit};
use serde_json::{Value, json};

use crate::fixture::{RETINA, station, visit};

fn programme() -> Programme {
    Programme {
        person_system: "https://programme.example/persons".into(),
        device_system: "https://programme.example/devices".into(),
        station: station(),
    }
}

fn written(visit: &Visit) -> Value {
    serde_json::to_value(bundle(visit, false, &programme(), Identity::Own).unwrap()).unwrap()
}

fn of_kind<'a>(bundle: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let entries = bundle["entry"].as_array().unwrap().iter();
    entries.map(|entry| &entry["resource"]).filter(move |it| it["resourceType"] == kind)
}

fn observation<'a>(bundle: &'a Value, code: &str, eye: &str) -> Option<&'a Value> {
    of_kind(bundle, "Observation")
        .find(|it| it["code"]["coding"][0]["code"] == code && it["bodySite"]["text"] == eye)
}

#[test]
fn each_eye_says_what_was_found_and_no_more() {
    let bundle = written(&visit());
    let right = "Right eye";
    assert_eq!(observation(&bundle, "gradable", right).unwrap()["valueBoolean"], true);
    let probability = observation(&bundle, "glaucoma-probability", right).unwrap();
    assert_eq!(probability["valueQuantity"]["value"], 0.75);
    assert_eq!(probability["interpretation"][0]["coding"][0]["code"], "POS");
    assert_eq!(probability["component"][0]["valueQuantity"]["value"], 0.5);
    let vcdr = observation(&bundle, "vcdr", right).unwrap();
    assert_eq!(
        vcdr["valueQuantity"],
        json!({"value": 0.66, "system": "http://unitsofmeasure.org", "code": "1"})
    );
    assert_eq!(vcdr["code"]["coding"][1]["code"], "71485-7");
    assert_eq!(vcdr["component"].as_array().unwrap().len(), 2);
    // The left eye could not be graded: that is said, and no number is.
    let left = observation(&bundle, "gradable", "Left eye").unwrap();
    assert_eq!(
        (&left["valueBoolean"], &left["note"][0]["text"]),
        (&json!(false), &json!("blurred"))
    );
    assert_eq!(observation(&bundle, "vcdr", "Left eye"), None);
    assert_eq!(of_kind(&bundle, "Observation").count(), 4);
    let report = of_kind(&bundle, "DiagnosticReport").next().unwrap();
    assert_eq!(report["status"], "final");
    assert_eq!(report["result"].as_array().unwrap().len(), 4);
    assert_eq!(of_kind(&bundle, "ServiceRequest").count(), 1);
    assert_eq!(of_kind(&bundle, "ImagingStudy").next().unwrap()["numberOfInstances"], 2);
}

#[test]
fn the_left_eye_has_no_code_of_the_right() {
    let mut visit = visit();
    visit.exams[1].finding = visit.exams[0].finding.clone();
    let bundle = written(&visit);
    let codings = &observation(&bundle, "vcdr", "Left eye").unwrap()["code"]["coding"];
    assert_eq!(codings.as_array().unwrap().len(), 1);
}

#[test]
fn every_reference_leads_to_an_entry_and_every_entry_is_conditional() {
    let bundle = written(&visit());
    let entries = bundle["entry"].as_array().unwrap();
    let urls: HashSet<&str> = entries.iter().map(|it| it["fullUrl"].as_str().unwrap()).collect();
    assert_eq!(urls.len(), entries.len());
    let text = bundle.to_string();
    let mut references = 0;
    for reference in text.split("\"reference\":\"").skip(1) {
        assert!(urls.contains(reference.split('"').next().unwrap()), "{reference:.60}");
        references += 1;
    }
    assert!(references > 10);
    for entry in entries {
        let (request, kind) =
            (&entry["request"], entry["resource"]["resourceType"].as_str().unwrap());
        if kind == "Patient" {
            let query = "identifier=https%3A%2F%2Fprogramme.example%2Fpersons%7CCAMP%2F7%5C%7C1";
            assert_eq!(*request, json!({"method": "POST", "url": "Patient", "ifNoneExist": query}));
        } else {
            assert_eq!(request["method"], "PUT");
            assert!(request["url"].as_str().unwrap().starts_with(&format!("{kind}?identifier=")));
        }
    }
}

#[test]
fn the_same_visit_is_the_same_bundle_and_another_is_not() {
    assert_eq!(written(&visit()), written(&visit()));
    let mut other = visit();
    other.uid.0 = "2.25.2000".into();
    let urls = |bundle: &Value| -> HashSet<String> {
        bundle["entry"].as_array().unwrap().iter().map(|it| it["fullUrl"].to_string()).collect()
    };
    assert!(urls(&written(&visit())).is_disjoint(&urls(&written(&other))));
}

#[test]
fn a_retake_gives_way_to_the_photograph_that_was_graded() {
    let mut visit = visit();
    let mut again = visit.exams[0].clone();
    again.uid.0 = "2.25.1003".into();
    again.finding = Finding::Retake { reasons: vec!["dark".into()] };
    visit.exams.push(again);
    let bundle = written(&visit);
    assert_eq!(observation(&bundle, "gradable", "Right eye").unwrap()["valueBoolean"], true);
    visit.decision = None;
    assert_eq!(
        of_kind(&written(&visit), "DiagnosticReport").next().unwrap()["status"],
        "preliminary"
    );
}

/// Whoever reads it must not wait for a decision, and must not miss what was found.
#[test]
fn a_visit_closed_without_a_decision_says_so_and_keeps_its_findings() {
    let mut visit = visit();
    visit.decision = None;
    let bundle = bundle(&visit, true, &programme(), Identity::Own).unwrap();
    let bundle = serde_json::to_value(bundle).unwrap();
    let report = of_kind(&bundle, "DiagnosticReport").next().unwrap();
    assert_eq!(report["status"], "cancelled");
    assert_eq!(report["conclusion"], "Closed without a decision.");
    assert_eq!(of_kind(&bundle, "ServiceRequest").count(), 0);
    let probability = observation(&bundle, "gradable", "Right eye").unwrap();
    assert_eq!(
        (&probability["status"], &probability["valueBoolean"]),
        (&json!("final"), &json!(true))
    );
}

#[test]
fn what_fhir_cannot_hold_is_an_error() {
    let mut nameless = visit();
    nameless.person.id = " ".into();
    assert!(matches!(
        bundle(&nameless, false, &programme(), Identity::Own),
        Err(FhirError::Empty(_))
    ));
    let mut nan = visit();
    if let Finding::Graded { vcdr, .. } = &mut nan.exams[0].finding {
        *vcdr = f64::NAN;
    }
    assert!(matches!(
        bundle(&nan, false, &programme(), Identity::Own),
        Err(FhirError::NotFinite { .. })
    ));
    let mut empty = visit();
    empty.exams.clear();
    assert!(matches!(bundle(&empty, false, &programme(), Identity::Own), Err(FhirError::Empty(_))));
}

#[test]
fn under_a_pseudonym_nothing_of_the_person_is_left() {
    let (visit, programme) = (visit(), programme());
    let text =
        |identity| serde_json::to_string(&bundle(&visit, false, &programme, identity).unwrap());
    let open = text(Identity::Own).unwrap();
    let hidden = text(Identity::Pseudonym("X-1")).unwrap();
    let uid = derive(&visit.uid, "patient");
    for secret in [
        "आशा",
        "CAMP/7",
        "Rampur",
        "SN-1",
        "2026-05-01",
        "09:3",
        "2.25.1000",
        "2.25.1001",
        &uuid(&uid),
    ] {
        assert!(open.contains(secret), "{secret} would be found if it were there");
        assert!(!hidden.contains(secret), "{secret}");
    }
    assert!(hidden.contains("X-1") && hidden.contains("\"2026\""));
    // A referral is a referral, whoever it is.
    let count = |text: &str| text.matches("\"resourceType\"").count();
    assert_eq!(count(&hidden), count(&open));
}

#[test]
fn a_pseudonyms_uids_are_those_of_its_dicom_objects() {
    let (visit, station) = (visit(), station());
    let identity = Identity::Pseudonym("X-1");
    let bundle =
        serde_json::to_value(bundle(&visit, false, &programme(), identity).unwrap()).unwrap();
    let study = of_kind(&bundle, "ImagingStudy").next().unwrap();
    let exam = &visit.exams[0];
    let burned_in = Some(false);
    let subject = Subject { visit: &visit, exam, station: &station, identity, burned_in };
    let object = from_reader(&photograph(&subject, RETINA).unwrap().bytes[..]).unwrap();
    let uid =
        |tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
    let of_study = format!("urn:oid:{}", uid(tags::STUDY_INSTANCE_UID));
    assert_eq!(study["identifier"][0]["value"], of_study);
    assert_eq!(study["series"][0]["uid"], uid(tags::SERIES_INSTANCE_UID));
    assert_eq!(study["series"][0]["instance"][0]["uid"], uid(tags::SOP_INSTANCE_UID));
}
