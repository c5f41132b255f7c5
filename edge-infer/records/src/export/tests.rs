//! What an export says, and what it must not say.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::visit::EyeWithoutPhotograph;
use Laterality::{Left, Right};

fn exam(eye: Laterality, finding: Finding) -> EyeExam {
    EyeExam {
        uid: Uid("2.25.EXAM".into()),
        eye,
        eye_seen: Some(eye),
        eye_confirmed: false,
        taken_at: "2026-05-01T09:31:00Z".into(),
        photograph_sha256: "PHOTOGRAPH".into(),
        photograph_type: "image/jpeg".into(),
        burned_in: None,
        finding,
        model: ModelName { name: "m".into(), version: "1".into(), sha256: "ab".into() },
    }
}

fn recorded() -> Recorded {
    let graded = Finding::Graded {
        probability: 0.75,
        threshold: 0.5,
        vcdr: 0.8,
        vcdr_interval: Some((0.7, 0.9)),
    };
    let retake = Finding::Retake { reasons: vec!["focus".into()] };
    let visit = Visit {
        uid: Uid("2.25.VISIT".into()),
        person: Person {
            id: "=PERSON".into(),
            name: Some("NAME, \"of\" somebody".into()),
            age_years: Some(93),
            sex: Sex::Female,
        },
        site: "SITE".into(),
        operator: "OPERATOR".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: Some("NOTE".into()),
        without_photograph: vec![EyeWithoutPhotograph { eye: Left, why: NoPhotograph::Absent }],
        exams: vec![exam(Right, graded), exam(Right, retake)],
        decision: Some(Decision::Refer { reasons: vec!["suspected_right".into()] }),
        decided_by: Some("DECIDER".into()),
    };
    Recorded { sequence: 12, pseudonym: "0123456789abcdef".into(), closed_at: None, visit }
}

fn csv_text(identity: Identity) -> String {
    let mut bytes = Vec::new();
    export_csv(&[recorded()], identity, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn json_text(identity: Identity) -> String {
    let mut bytes = Vec::new();
    export_json(&[recorded()], identity, [0xab; 32], &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_line_of_csv() {
    let kept = "sequence,visit,person,name,age_years,sex,site,operator,decided_by,begun_at,note,decision,reasons,\
        right_finding,right_probability,right_threshold,right_vcdr,right_vcdr_low,right_vcdr_high,right_photographs,\
        left_finding,left_probability,left_threshold,left_vcdr,left_vcdr_low,left_vcdr_high,left_photographs\n\
        12,2.25.VISIT,'=PERSON,\"NAME, \"\"of\"\" somebody\",93,female,SITE,OPERATOR,DECIDER,2026-05-01T09:30:00Z,NOTE,refer,\
        suspected_right,graded,0.75,0.5,0.8,0.7,0.9,2,absent,,,,,,0\n";
    assert_eq!(csv_text(Identity::Kept), kept);
    let removed = csv_text(Identity::Removed);
    assert_eq!(
        removed.lines().nth(1).unwrap(),
        "12,,0123456789abcdef,,90,female,,,,2026,,refer,suspected_right,\
         graded,0.75,0.5,0.8,0.7,0.9,2,absent,,,,,,0"
    );
}

#[test]
fn json_says_the_same() {
    let export: serde_json::Value = serde_json::from_str(&json_text(Identity::Kept)).unwrap();
    assert_eq!(export["audit_head"], "ab".repeat(32));
    let visit = &export["visits"][0];
    assert_eq!(visit["person"], "=PERSON");
    assert_eq!(visit["reasons"][0], "suspected_right");
    assert_eq!(visit["exams"][0]["finding"]["vcdr"], 0.8);
    assert_eq!(visit["exams"][1]["finding"]["kind"], "retake");
}

#[test]
fn without_identity_nothing_identifying_is_left() {
    for text in [csv_text(Identity::Removed), json_text(Identity::Removed)] {
        for secret in [
            "PERSON",
            "NAME",
            "93",
            "SITE",
            "OPERATOR",
            "DECIDER",
            "NOTE",
            "VISIT",
            "EXAM",
            "PHOTOGRAPH",
            "-05-",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("0123456789abcdef"));
    }
}

#[test]
fn an_eye_speaks_by_its_suspected_photograph() {
    let graded = |probability| Finding::Graded {
        probability,
        threshold: 0.5,
        vcdr: probability,
        vcdr_interval: None,
    };
    let mut visit = recorded().visit;
    visit.exams = vec![exam(Right, graded(0.75)), exam(Right, graded(0.25))];
    visit.exams.push(exam(Left, Finding::Retake { reasons: vec!["focus".into()] }));
    visit.exams.push(exam(Left, graded(0.125)));
    visit.exams.push(exam(Left, Finding::Ungradable { reasons: vec!["focus".into()] }));
    let speaks =
        |visit: &Visit| [Right, Left].map(|eye| speaks_for(visit, eye).unwrap().finding.clone());
    assert_eq!(speaks(&visit), [graded(0.75), graded(0.125)]);
    // A photograph that seems to be of the other eye speaks for nobody while there is another.
    visit.exams[0].eye_seen = Some(Left);
    assert_eq!(speaks(&visit)[0], graded(0.25));
    visit.exams.remove(1);
    assert_eq!(speaks(&visit)[0], graded(0.75));
}
