//! What is concluded of groups of photographs.

use glaucoma_common::calibration::Calibration;
use glaucoma_common::grading::Grade;
use glaucoma_common::risk::Risk;
use host_train::calibration::{Group, Observation, Wanted, find};

fn seen(
    glaucoma: Option<bool>,
    true_vcdr: Option<f64>,
    graded: Option<(f64, f64, f64)>,
) -> Observation {
    let grade = graded.map(|(classifier, vcdr_model, vcdr)| Grade {
        risk: Risk { probability: f64::midpoint(classifier, vcdr_model), classifier, vcdr_model },
        vcdr,
    });
    Observation { glaucoma, true_vcdr, grade }
}

#[test]
fn what_abstains_counts_as_ungraded_and_phantoms_have_no_class() {
    let observations = vec![
        seen(Some(true), Some(0.75), Some((0.75, 0.5, 0.5))),
        seen(Some(false), None, Some((0.25, 0.25, 0.4))),
        seen(Some(true), None, None),
        // Further apart than all others.
        seen(Some(false), Some(0.5), Some((1.0, 0.0, 0.5))),
    ];
    let learnt = seen(None, None, Some((0.5, 0.25, 0.4)));
    let learnt: Vec<Grade> = vec![learnt; 96].into_iter().filter_map(|one| one.grade).collect();
    let real = Group { name: "real".into(), phantoms: false, observations, learnt };
    let drawn = vec![seen(Some(true), Some(0.5), Some((0.0, 1.0, 0.625))); 4];
    let phantoms =
        Group { name: "drawn".into(), phantoms: true, observations: drawn, learnt: vec![] };
    let wanted = Wanted { abstain_share: 0.02, error_share: 0.9, threshold: 0.75 };
    let found = find(&[real, phantoms], wanted);
    assert_eq!(found.max_head_disagreement, Some(0.25));
    let calibration = found.calibration.unwrap_or_else(|| panic!("there are both classes"));
    let Calibration { measured_on, positives, negatives, ungraded, table } = calibration;
    assert_eq!((measured_on.as_str(), positives, negatives, ungraded), ("real", 1, 1, 2));
    // The best threshold, and the model's own, which finds nobody.
    let rows: Vec<_> = table.iter().map(|row| (row.threshold, row.sensitivity)).collect();
    assert_eq!(rows, [(0.625, 1.0), (0.75, 0.0)]);
    // The phantoms' heads disagree more than the bound: the device would abstain on them too.
    let errors = found.vcdr_error.unwrap_or_else(|| panic!("one eye has masks"));
    assert_eq!(errors.groups.len(), 1);
    assert_eq!(
        (errors.groups[0].n, errors.groups[0].low, errors.groups[0].phantoms),
        (1, -0.25, false)
    );
}
