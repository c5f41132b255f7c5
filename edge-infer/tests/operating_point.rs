//! `operating-point` from outside: the default model's table, what a programme wants of it, and a model that
//! has none.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use glaucoma_tests::{retina, workspace};
use serde_json::Value;

mod support;

fn edge_infer(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.current_dir(workspace()).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn done(args: &[&str]) -> String {
    let output = edge_infer(args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(args: &[&str]) -> String {
    let output = edge_infer(args);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_row_is_what_bayes_rule_makes_of_it_and_the_most_sensitive_that_fits_is_chosen() {
    let ask = ["operating-point", "--prevalence", "0.04", "--json"];
    let all: Value = serde_json::from_str(&done(&ask)).unwrap();
    let rows = all["rows"].as_array().unwrap();
    assert!(rows.len() > 3 && all["chosen"].is_null());
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    for row in rows {
        let (found, spared) = (number(row, "sensitivity"), number(row, "specificity"));
        // 40 of 1000 people have the disease.
        let (right, wrong) = (40.0 * found, 960.0 * (1.0 - spared));
        assert!((number(row, "referrals_per_1000") - right - wrong).abs() < 1e-9);
        let ppv = (right + wrong > 0.0).then(|| right / (right + wrong));
        assert_eq!(row["ppv"].as_f64().is_some(), ppv.is_some());
        assert!(ppv.is_none_or(|ppv| (number(row, "ppv") - ppv).abs() < 1e-9));
        assert!((number(row, "missed_per_1000") - (40.0 - right)).abs() < 1e-9);
        let end = |at: usize| row["sensitivity_interval"][at].as_f64().unwrap();
        assert!(end(0) <= found + 1e-9 && found <= end(1) + 1e-9);
    }
    // What a row costs chooses that row; a referral less, the next.
    let (wanted, next) = (&rows[1], &rows[2]);
    let chosen = |most: f64| -> Value {
        let most = most.to_string();
        let said = done(&[&ask[..], &["--referrals-per-1000", &most]].concat());
        serde_json::from_str::<Value>(&said).unwrap()["chosen"]["threshold"].clone()
    };
    let cost = number(wanted, "referrals_per_1000");
    assert_eq!(chosen(cost + 0.001), wanted["threshold"]);
    assert_eq!(chosen(cost - 0.001), next["threshold"]);
    let said = done(&["operating-point", "--prevalence", "0.04", "--referrals-per-1000", "999"]);
    assert_eq!(said.lines().filter(|line| line.starts_with('*')).count(), 1, "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with("the model's own")).count(), 1, "{said}");
}

#[test]
fn what_cannot_be_chosen_is_said() {
    let ask = |more: &[&str]| refused(&[&["operating-point"], more].concat());
    let many = ask(&["--prevalence", "0.04", "--referrals-per-1000", "1001"]);
    assert!(many.contains("referrals_per_1000: 1001"), "{many}");
    assert!(ask(&["--prevalence", "1.5"]).contains("prevalence: 1.5"));
    assert!(ask(&["--prevalence", "0.1", "--ppv", "2"]).contains("ppv: 2"));
    assert!(
        ask(&["--prevalence", "0.1", "--ppv", "0.2", "--referrals-per-1000", "9"])
            .contains("cannot be used with")
    );
    let model = support::model();
    let said = ask(&["--model", model.to_str().unwrap(), "--prevalence", "0.04"]);
    assert!(said.contains("no calibration table"), "{said}");
}

#[test]
fn the_default_model_says_how_far_its_ratio_may_be_off() {
    let said = done(&["screen", retina().to_str().unwrap(), "--json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    let interval = &found["vcdr_interval"];
    let [low, high] = ["low", "high"].map(|key| interval[key].as_f64().unwrap());
    assert!(0.0 <= low && low < high && high <= 1.0, "{interval}");
    assert_eq!((interval["share"].as_f64(), interval["real_eyes"].as_u64()), (Some(0.9), Some(4)));
    let words = done(&["screen", retina().to_str().unwrap()]);
    assert!(
        words.contains(&format!(
            "({low:.2} to {high:.2} for 90 % of the eyes measured, 4 of them real)"
        )),
        "{words}"
    );
}
