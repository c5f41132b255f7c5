//! `kiosk` and `journal` from outside: a person is examined on real pixels, from the PIN to the export.
#![allow(clippy::unwrap_used)]

#[path = "support/camp.rs"]
mod camp;

use std::path::Path;

use camp::{Camp, PIN, done, edge_infer, one_person, text, unlocking};
use glaucoma_tests::retina;
use serde_json::Value;

/// What `screen --json` says of a photograph.
fn screened(path: &Path) -> Value {
    let output = edge_infer(&["screen", path.to_str().unwrap(), "--json"], "");
    serde_json::from_str(&done(&output)).unwrap()
}

#[test]
fn a_person_is_examined_decided_and_recorded() {
    let camp = Camp::founded();
    one_person(&camp);
    let right = camp.path("right.png");
    let screens = std::fs::read_dir(camp.path("screens")).unwrap().count();
    assert!(screens > 10, "{screens} screens");

    let summary: Value = serde_json::from_str(&done(&camp.journal(&["summary"], ""))).unwrap();
    let counts = ["visits", "examined", "open", "photographs"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(0), Some(2)]);
    let verified = done(&camp.journal(&["verify", "--operator", "Asha"], PIN));
    assert!(verified.contains("2 photographs (opened): nothing is wrong"), "{verified}");

    let out = camp.path("").display().to_string();
    done(&camp.journal(&["export", "--operator", "Asha", "--out", &out], PIN));
    let visits = std::fs::read(camp.path("visits.json")).unwrap();
    let visits: Value = serde_json::from_slice(&visits).unwrap();
    let exams = visits["visits"][0]["exams"].as_array().unwrap();
    // In the order they were taken: the left eye, whatever was said at first, and the right one.
    for (exam, (eye, path)) in exams.iter().zip([("left", retina()), ("right", right)]) {
        let screened = screened(&path);
        assert_eq!(exam["eye"], eye);
        assert_eq!(screened["laterality"], eye);
        let finding = if exam["finding"].is_object() { &exam["finding"] } else { exam };
        assert_eq!(finding["probability"], screened["risk"]["probability"], "{exam}");
        assert_eq!(finding["vcdr"], screened["vcdr"], "{exam}");
    }
    assert_eq!(exams.len(), 2);
}

#[test]
fn a_wrong_pin_opens_nothing() {
    let camp = Camp::founded();
    let out = camp.path("").display().to_string();
    let output = camp.journal(&["export", "--operator", "Asha", "--out", &out], "333333");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the PIN is wrong"), "{}", text(&output.stderr));
    assert!(!camp.path("visits.csv").exists());
}

#[test]
fn damage_is_named() {
    let camp = Camp::founded();
    let script = format!(
        "{}button ok\nbutton ok\nbutton ok\nphotograph {}\nbutton down\nbutton ok\n",
        unlocking(),
        retina().display()
    );
    done(&camp.day(&script));
    let mut sealed = std::fs::read_dir(camp.path("journal/sealed")).unwrap();
    let path = sealed.next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = camp.journal(&["verify"], "");
    assert_eq!(output.status.code(), Some(2));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(text(&output.stderr).contains(name), "{}", text(&output.stderr));
}

#[test]
fn what_is_not_a_configuration_is_refused_by_its_key() {
    let camp = Camp::founded();
    for (config, word) in [
        ("[camp]\nretake = 3\n", "retake"),
        ("[camp]\nsites = []\n", "camp.sites"),
        ("[camp]\nthreshold = 1.5\n", "camp.threshold"),
        ("[display]\nlanguage = \"xx\"\n", "display.language"),
    ] {
        std::fs::write(camp.path("config.toml"), config).unwrap();
        let output = camp.day("wait 1s\n");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
    let printed = done(&edge_infer(&["kiosk", "--print-config"], ""));
    std::fs::write(camp.path("config.toml"), printed).unwrap();
    let output = camp.day("no step\n");
    assert!(text(&output.stderr).contains("line 1"), "{}", text(&output.stderr));
}
