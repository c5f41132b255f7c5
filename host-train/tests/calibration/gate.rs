//! Which limits photographs of known quality allow.

use glaucoma_common::manifest::QualityLimits;
use glaucoma_common::quality::Measures;
use glaucoma_common::quality::measure::FieldMeasures;
use host_train::calibration::gate::{Judged, LIMITS, Set};
use host_train::dataset::phantom::Degradation;

fn set(name: &str, fault: Option<Degradation>, focus: &[(f64, Option<f32>)]) -> Set {
    let one = |&(focus, score): &(f64, Option<f32>)| Judged {
        score,
        measures: Measures {
            brightness: 0.3,
            field: Some(FieldMeasures {
                radius_share: 1.0,
                surround: 0.0,
                visible: 1.0,
                circularity: 1.0,
                focus,
                contrast: 0.06,
                brightness: focus,
                saturated_share: 0.0,
                dark_share: 0.0,
                redness: 0.7,
                warm_share: 1.0,
            }),
        },
        reasons: Vec::new(),
        graded: true,
    };
    let judged = focus.iter().map(one).collect();
    Set { name: name.into(), fault, phantoms: fault.is_some(), judged }
}

#[test]
fn the_softest_camera_decides_and_poor_photographs_have_no_say() {
    let sets = [
        set("sharp", None, &[(0.5, None), (0.4, None), (0.3, None)]),
        set("soft", None, &[(0.2, Some(6.0)), (0.3, Some(7.0)), (0.05, Some(2.0))]),
        set("blurred", Some(Degradation::Defocus), &[(0.1, None), (0.15, None), (0.25, None)]),
        set("bright", Some(Degradation::OverExposure), &[(0.6, None), (0.4, None)]),
    ];
    let limits = QualityLimits { min_focus: 0.12, max_brightness: 0.55, ..Default::default() };
    let held = LIMITS[0].held(&sets, &limits, 0.0, 5.0).unwrap();
    assert_eq!((held.now, held.tightest.estimate, held.decided_by.as_str()), (0.12, 0.2, "soft"));
    assert!(held.tightest.low <= 0.2 && held.tightest.high >= 0.2);
    assert_eq!(held.caught, [1, 2, 3]);
    let held = LIMITS[4].held(&sets, &limits, 0.0, 5.0).unwrap();
    assert_eq!((held.tightest.estimate, held.decided_by.as_str()), (0.5, "sharp"));
    assert!(held.tightest.low <= 0.5 && held.tightest.high >= 0.5);
    assert_eq!(held.caught, [1, 1, 2]);
    assert_eq!(LIMITS[0].held(&sets[2..], &limits, 0.0, 5.0), None);
    let scored = set(
        "soft",
        None,
        &[(0.2, Some(6.0)), (0.3, Some(7.0)), (0.05, Some(2.0)), (0.25, Some(3.0))],
    );
    // Of the four pairs of a poor and a good one, three are ranked rightly.
    assert_eq!(LIMITS[0].tells_scores(&scored, 5.0).unwrap().estimate, 0.75);
}
