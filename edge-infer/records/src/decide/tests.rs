//! Decisions worked out by hand, and what must hold for every visit.

use proptest::prelude::*;

use super::*;
use crate::visit::{EyeWithoutPhotograph, ModelName, Person, Sex};
use Laterality::{Left, Right};

fn exam(eye: Laterality, finding: Finding) -> EyeExam {
    EyeExam {
        uid: Uid("2.25.1".into()),
        eye,
        eye_seen: None,
        eye_confirmed: false,
        taken_at: "2026-05-01T09:30:00Z".into(),
        photograph_sha256: "00".repeat(32),
        photograph_type: "image/jpeg".into(),
        burned_in: None,
        finding,
        model: ModelName { name: "m".into(), version: "1".into(), sha256: "00".repeat(32) },
    }
}

fn graded(eye: Laterality, probability: f64, vcdr: f64) -> EyeExam {
    exam(eye, Finding::Graded { probability, threshold: 0.5, vcdr, vcdr_interval: None })
}

fn retake(eye: Laterality) -> EyeExam {
    exam(eye, Finding::Retake { reasons: vec!["focus".into()] })
}

fn ungradable(eye: Laterality) -> EyeExam {
    exam(eye, Finding::Ungradable { reasons: vec!["focus".into()] })
}

/// The photograph seems to show the other eye.
fn crossed(exam: EyeExam) -> EyeExam {
    let other = if exam.eye == Right { Left } else { Right };
    EyeExam { eye_seen: Some(other), ..exam }
}

fn visit(exams: Vec<EyeExam>, without: &[(Laterality, NoPhotograph)]) -> Visit {
    Visit {
        uid: Uid("2.25.2".into()),
        person: Person { id: "7".into(), name: None, age_years: None, sex: Sex::Unknown },
        site: "camp".into(),
        operator: "op".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: None,
        without_photograph: without
            .iter()
            .map(|&(eye, why)| EyeWithoutPhotograph { eye, why })
            .collect(),
        exams,
        decision: None,
        decided_by: None,
    }
}

fn refer(reasons: &[&str]) -> Result<Decision, Vec<Open>> {
    Ok(Decision::Refer { reasons: reasons.iter().map(|&reason| reason.to_owned()).collect() })
}

#[test]
fn decisions_by_hand() {
    use NoPhotograph::{Absent, NotPossible};
    let photograph = |eye| Err(vec![Open::Photograph(eye)]);
    let again = |eye, left| Err(vec![Open::Retake { eye, left }]);
    let wrong = || Err(vec![Open::WrongEye(Uid("2.25.1".into()))]);
    let fine = || Ok(Decision::NotSuspected);
    let (good, bad) = (|eye| graded(eye, 0.1, 0.4), |eye| graded(eye, 0.9, 0.4));
    let confirmed = |exam| EyeExam { eye_confirmed: true, ..crossed(exam) };
    let cases: [(&str, Vec<EyeExam>, &[_], _); 26] = [
        ("both fine", vec![good(Right), good(Left)], &[], fine()),
        ("one suspected", vec![good(Right), bad(Left)], &[], refer(&["suspected_left"])),
        ("both", vec![bad(Left), bad(Right)], &[], refer(&["suspected_right", "suspected_left"])),
        (
            "at the threshold",
            vec![graded(Right, 0.5, 0.4), good(Left)],
            &[],
            refer(&["suspected_right"]),
        ),
        (
            "no number",
            vec![graded(Right, f64::NAN, 0.4), good(Left)],
            &[],
            refer(&["suspected_right"]),
        ),
        ("nothing yet", vec![], &[], Err(vec![Open::Photograph(Right), Open::Photograph(Left)])),
        ("one eye missing", vec![good(Right)], &[], photograph(Left)),
        ("suspected, other missing", vec![bad(Right)], &[], photograph(Left)),
        ("other absent", vec![good(Right)], &[(Left, Absent)], fine()),
        ("absent, suspected", vec![bad(Right)], &[(Left, Absent)], refer(&["suspected_right"])),
        (
            "both absent",
            vec![],
            &[(Left, Absent), (Right, Absent)],
            Err(vec![Open::NothingToExamine]),
        ),
        ("cataract", vec![good(Right)], &[(Left, NotPossible)], refer(&["not_photographed_left"])),
        (
            "absent, yet photographed",
            vec![good(Right), bad(Left)],
            &[(Left, Absent)],
            refer(&["suspected_left"]),
        ),
        ("absent, yet tried", vec![good(Right), retake(Left)], &[(Left, Absent)], again(Left, 2)),
        (
            "given up after one",
            vec![good(Right), retake(Left)],
            &[(Left, NotPossible)],
            refer(&["ungradable_left"]),
        ),
        ("first failed", vec![retake(Right), good(Left)], &[], again(Right, 2)),
        ("one retake failed", vec![retake(Right), retake(Right), good(Left)], &[], again(Right, 1)),
        (
            "two retakes failed",
            vec![retake(Right), retake(Right), good(Left), retake(Right)],
            &[],
            refer(&["ungradable_right"]),
        ),
        (
            "the second retake is good",
            vec![retake(Right), retake(Right), good(Right), good(Left)],
            &[],
            fine(),
        ),
        ("ungradable", vec![ungradable(Right), good(Left)], &[], refer(&["ungradable_right"])),
        (
            "a suspicion stays",
            vec![bad(Right), good(Right), good(Left)],
            &[],
            refer(&["suspected_right"]),
        ),
        (
            "a bad one after a good one",
            vec![bad(Right), retake(Right), good(Left)],
            &[],
            refer(&["suspected_right"]),
        ),
        ("wrong eye", vec![crossed(good(Right)), good(Left)], &[], wrong()),
        (
            "wrong eye after a good one",
            vec![good(Right), crossed(retake(Right)), good(Left)],
            &[],
            wrong(),
        ),
        ("wrong eye, taken again", vec![crossed(bad(Right)), good(Right), good(Left)], &[], fine()),
        (
            "wrong eye, confirmed",
            vec![confirmed(bad(Right)), good(Left)],
            &[],
            refer(&["suspected_right"]),
        ),
    ];
    for (name, exams, without, expected) in cases {
        assert_eq!(decide(&visit(exams, without), &Rules::default()), expected, "{name}");
    }
}

#[test]
fn a_difference_of_the_ratios_is_a_reason_from_the_bound_on() {
    let of = |right, left| vec![graded(Right, 0.1, right), graded(Left, 0.1, left)];
    let rules = Rules::default();
    assert_eq!(decide(&visit(of(0.7, 0.5), &[]), &rules), refer(&["asymmetry"]));
    assert_eq!(decide(&visit(of(0.3, 0.8), &[]), &rules), refer(&["asymmetry"]));
    assert_eq!(decide(&visit(of(0.69, 0.5), &[]), &rules), Ok(Decision::NotSuspected));
    let never = Rules { asymmetry: None, ..rules };
    assert_eq!(decide(&visit(of(0.2, 0.9), &[]), &never), Ok(Decision::NotSuspected));
    // With one eye there is nothing to compare.
    let one = visit(vec![graded(Right, 0.1, 0.9)], &[(Left, NoPhotograph::Absent)]);
    assert_eq!(decide(&one, &rules), Ok(Decision::NotSuspected));
}

fn any_exam() -> impl Strategy<Value = EyeExam> {
    let eye = prop_oneof![Just(Right), Just(Left)];
    (eye, 0..4, 0.0..1.0, 0.2..0.9, any::<(bool, bool)>()).prop_map(
        |(eye, kind, probability, vcdr, (alarm, eye_confirmed))| {
            let exam = match kind {
                0 | 1 => graded(eye, probability, vcdr),
                2 => retake(eye),
                _ => ungradable(eye),
            };
            EyeExam { eye_confirmed, ..if alarm { crossed(exam) } else { exam } }
        },
    )
}

fn any_visit() -> impl Strategy<Value = Visit> {
    let why = prop_oneof![Just(NoPhotograph::Absent), Just(NoPhotograph::NotPossible)];
    let eye = prop_oneof![Just(Right), Just(Left)];
    let without = proptest::collection::vec((eye, why), 0..3);
    (proptest::collection::vec(any_exam(), 0..7), without)
        .prop_map(|(exams, without)| visit(exams, &without))
}

/// Whether there is a graded photograph of the eye, and all that are surely of it are below their threshold.
fn low(visit: &Visit, eye: Laterality) -> bool {
    let of_eye = visit.exams.iter().filter(|exam| exam.eye == eye && !exam.wrong_eye_alarm());
    let graded = of_eye.filter_map(|exam| match exam.finding {
        Finding::Graded { probability, threshold, .. } => Some(probability < threshold),
        _ => None,
    });
    let graded: Vec<bool> = graded.collect();
    !graded.is_empty() && graded.iter().all(|low| *low)
}

proptest! {
    #[test]
    fn nobody_is_sent_home_without_every_eye_being_graded_low_or_absent(visit in any_visit()) {
        if decide(&visit, &Rules::default()) == Ok(Decision::NotSuspected) {
            prop_assert!(low(&visit, Right) || low(&visit, Left));
            for eye in [Right, Left] {
                let none = visit.exams.iter().all(|exam| exam.eye != eye);
                prop_assert!(low(&visit, eye) || none);
            }
            let latest = |eye| visit.exams.iter().rfind(|exam| exam.eye == eye);
            prop_assert!(![Right, Left].into_iter().filter_map(latest).any(EyeExam::wrong_eye_alarm));
        }
    }

    #[test]
    fn a_higher_probability_never_turns_a_referral_away(visit in any_visit(), place in 0_usize..7) {
        let before = decide(&visit, &Rules::default());
        let mut worse = visit;
        if let Some(EyeExam { finding: Finding::Graded { probability, .. }, .. }) = worse.exams.get_mut(place) {
            *probability = 1.0;
        }
        if matches!(before, Ok(Decision::Refer { .. })) {
            let still_refers = matches!(decide(&worse, &Rules::default()), Ok(Decision::Refer { .. }));
            prop_assert!(still_refers);
        }
    }

    #[test]
    fn the_order_between_the_eyes_does_not_matter(visit in any_visit()) {
        let mut sorted = visit.clone();
        sorted.exams.sort_by_key(|exam| exam.eye == Left);
        prop_assert_eq!(decide(&visit, &Rules::default()), decide(&sorted, &Rules::default()));
    }

    #[test]
    fn what_is_open_ends(visit in any_visit()) {
        // Doing what is asked for, at most a handful of times, always leads to a decision.
        let mut visit = visit;
        for _ in 0..8 {
            match decide(&visit, &Rules::default()) {
                Ok(_) => return Ok(()),
                Err(open) if open == [Open::NothingToExamine] => return Ok(()),
                Err(open) => for step in open {
                    match step {
                        Open::Photograph(eye) | Open::Retake { eye, .. } => visit.exams.push(retake(eye)),
                        Open::WrongEye(_) => for exam in &mut visit.exams { exam.eye_confirmed = true; },
                        Open::NothingToExamine => prop_assert!(false, "beside other steps"),
                    }
                },
            }
        }
        prop_assert!(false, "no decision");
    }
}
