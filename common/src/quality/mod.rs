//! Whether a photograph can be graded, and the reason in words a health worker can act on.
//!
//! Pure: pixels and the model's limits in, a verdict out. [`measure`](mod@measure) turns the
//! photograph into a few numbers, [`judge`] holds them against the manifest's
//! [`QualityLimits`]. Two kinds of reason are kept apart: a picture that is *no fundus
//! photograph* is refused, a poor fundus photograph is *ungradable*, which is a result of its own.

pub mod measure;

use std::fmt;

use crate::manifest::QualityLimits;
use crate::reading::Inconsistency;

pub use measure::{Measures, measure};

/// Why a photograph is not graded.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Hardly any light anywhere.
    Black,
    /// No round bright field on a dark ground.
    NoFieldOfView,
    /// The colours are not those of a retina.
    UnexpectedColours,
    /// The field of view fills too little of the picture.
    FieldTooSmall,
    /// Too much of the field of view lies outside the picture.
    FieldCutOff,
    /// The bright field is not round.
    FieldNotRound,
    /// The vessels' edges are blurred.
    OutOfFocus,
    /// Details hardly differ from their surroundings: haze, or a smeared lens.
    LowContrast,
    /// Colours are pale all over: haze, or light from outside.
    WashedOut,
    /// Too little light over the whole field.
    TooDark,
    /// Too much light over the whole field.
    TooBright,
    /// A large part of the field is overexposed.
    Glare,
    /// A large part of the field lies in shadow.
    Shadow,
    /// The network found no optic disc.
    DiscNotFound,
    /// The network found no cup inside the disc.
    CupNotFound,
    /// The network's answers contradict each other or anatomy.
    Inconsistent(Inconsistency),
    /// The classifier and the cup-to-disc ratio give probabilities too far apart.
    HeadsDisagree {
        /// By the classifier, 0 to 1.
        classifier: f64,
        /// By the ratio, 0 to 1.
        vcdr_model: f64,
    },
}

impl Reason {
    /// Whether this says that the picture is no fundus photograph at all.
    #[must_use]
    pub fn is_not_fundus(&self) -> bool {
        matches!(self, Self::Black | Self::NoFieldOfView | Self::UnexpectedColours)
    }

    /// A name for records and screens, which have their own words for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Black => "black",
            Self::NoFieldOfView => "no_field_of_view",
            Self::UnexpectedColours => "unexpected_colours",
            Self::FieldTooSmall => "field_too_small",
            Self::FieldCutOff => "field_cut_off",
            Self::FieldNotRound => "field_not_round",
            Self::OutOfFocus => "out_of_focus",
            Self::LowContrast => "low_contrast",
            Self::WashedOut => "washed_out",
            Self::TooDark => "too_dark",
            Self::TooBright => "too_bright",
            Self::Glare => "glare",
            Self::Shadow => "shadow",
            Self::DiscNotFound => "disc_not_found",
            Self::CupNotFound => "cup_not_found",
            Self::Inconsistent(_) => "inconsistent",
            Self::HeadsDisagree { .. } => "heads_disagree",
        }
    }

    /// What is wrong, as a sentence.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            Self::Black => "The photograph is black.".into(),
            Self::NoFieldOfView => {
                "Not a fundus photograph: there is no round image of a retina in it.".into()
            }
            Self::UnexpectedColours => {
                "Unexpected colours: a retina is red to orange, so this is not a colour fundus \
                 photograph."
                    .into()
            }
            Self::FieldTooSmall => "The retina fills too little of the photograph.".into(),
            Self::FieldCutOff => "Too much of the retina lies outside the photograph.".into(),
            Self::FieldNotRound => "The image of the retina is not round.".into(),
            Self::OutOfFocus => "The photograph is out of focus.".into(),
            Self::LowContrast => "The vessels hardly stand out.".into(),
            Self::WashedOut => "The colours are washed out.".into(),
            Self::TooDark => "The photograph is too dark.".into(),
            Self::TooBright => "The photograph is too bright.".into(),
            Self::Glare => "Part of the retina is hidden by glare.".into(),
            Self::Shadow => "Part of the retina lies in shadow.".into(),
            Self::DiscNotFound => "The optic disc was not found.".into(),
            Self::CupNotFound => "The cup of the optic disc was not found.".into(),
            Self::Inconsistent(inconsistency) => {
                format!("The findings contradict each other: {inconsistency}.").replace("..", ".")
            }
            Self::HeadsDisagree { classifier, vcdr_model } => format!(
                "Two ways of judging the eye disagree: the whole image gives a probability of \
                 {classifier:.2}, the cup-to-disc ratio one of {vcdr_model:.2}."
            ),
        }
    }

    /// What to do about it, as a sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Black => "Check the flash and the lens cap, then photograph again.",
            Self::NoFieldOfView => "Choose a photograph taken with the fundus camera.",
            Self::UnexpectedColours => {
                "Use an unfiltered colour photograph; check the camera's colour setting."
            }
            Self::FieldTooSmall => "Move the camera closer and photograph again.",
            Self::FieldCutOff => "Centre the retina in the picture and photograph again.",
            Self::FieldNotRound => "Hold the eyelid open, centre the pupil and photograph again.",
            Self::OutOfFocus => {
                "Focus on the vessels, ask the person to keep still, and photograph again."
            }
            Self::LowContrast | Self::WashedOut => {
                "Wipe the lens, darken the room and photograph again; if it stays so, suspect a \
                 cataract and refer."
            }
            Self::TooDark => {
                "Raise the flash or wait for the pupil to widen, then photograph again."
            }
            Self::TooBright => "Lower the flash and photograph again.",
            Self::Glare => "Move the camera a little to lose the reflection and photograph again.",
            Self::Shadow => "Centre the pupil, hold the eyelid open and photograph again.",
            Self::DiscNotFound => {
                "Aim so that the bright optic disc is inside the picture and photograph again."
            }
            Self::CupNotFound | Self::Inconsistent(_) | Self::HeadsDisagree { .. } => {
                "Photograph again; if it stays so, refer for an examination."
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.finding(), self.advice())
    }
}

/// Holds the measures of a photograph against the model's limits; no reason means gradable as
/// far as pixels can tell. Reasons stand in the order in which a person would deal with them; when
/// the picture is no fundus photograph, that is the only reason given.
#[must_use]
pub fn judge(measures: &Measures, limits: &QualityLimits) -> Vec<Reason> {
    let Some(field) = &measures.field else {
        let black = measures.brightness < limits.black_below;
        return vec![if black { Reason::Black } else { Reason::NoFieldOfView }];
    };
    if field.surround > limits.max_surround {
        return vec![Reason::NoFieldOfView];
    }
    if field.redness < limits.min_redness_fundus || field.warm_share < limits.min_warm_share {
        return vec![Reason::UnexpectedColours];
    }
    let too_dark = field.brightness < limits.min_brightness;
    let breaches = [
        (field.radius_share < limits.min_fov_radius_share, Reason::FieldTooSmall),
        (field.visible < limits.min_visible, Reason::FieldCutOff),
        (field.circularity < limits.min_circularity, Reason::FieldNotRound),
        (too_dark, Reason::TooDark),
        (field.brightness > limits.max_brightness, Reason::TooBright),
        // A photograph that is dark all over has no shadow to speak of.
        (!too_dark && field.dark_share > limits.max_dark_share, Reason::Shadow),
        (field.saturated_share > limits.max_saturated_share, Reason::Glare),
        (field.redness < limits.min_redness, Reason::WashedOut),
        (field.contrast < limits.min_contrast, Reason::LowContrast),
        (field.focus < limits.min_focus, Reason::OutOfFocus),
    ];
    breaches.into_iter().filter_map(|(breached, reason)| breached.then_some(reason)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::FieldMeasures;

    fn good() -> Measures {
        Measures {
            brightness: 0.3,
            field: Some(FieldMeasures {
                radius_share: 1.0,
                surround: 0.01,
                visible: 1.0,
                circularity: 0.98,
                focus: 0.28,
                contrast: 0.06,
                brightness: 0.3,
                saturated_share: 0.0,
                dark_share: 0.0,
                redness: 0.74,
                warm_share: 1.0,
            }),
        }
    }

    fn changed(change: impl Fn(&mut FieldMeasures)) -> Vec<Reason> {
        let mut measures = good();
        measures.field.as_mut().into_iter().for_each(change);
        judge(&measures, &QualityLimits::default())
    }

    #[test]
    fn each_measure_has_its_own_reason() {
        assert_eq!(changed(|_| ()), []);
        assert_eq!(changed(|m| m.radius_share = 0.3), [Reason::FieldTooSmall]);
        assert_eq!(changed(|m| m.visible = 0.4), [Reason::FieldCutOff]);
        assert_eq!(changed(|m| m.circularity = 0.5), [Reason::FieldNotRound]);
        assert_eq!(changed(|m| m.brightness = 0.02), [Reason::TooDark]);
        assert_eq!(changed(|m| m.brightness = 0.9), [Reason::TooBright]);
        assert_eq!(changed(|m| m.dark_share = 0.7), [Reason::Shadow]);
        assert_eq!(changed(|m| m.saturated_share = 0.3), [Reason::Glare]);
        assert_eq!(changed(|m| m.redness = 0.25), [Reason::WashedOut]);
        assert_eq!(changed(|m| m.contrast = 0.005), [Reason::LowContrast]);
        assert_eq!(changed(|m| m.focus = 0.1), [Reason::OutOfFocus]);
    }

    #[test]
    fn what_is_no_fundus_has_that_as_its_only_reason() {
        assert_eq!(
            changed(|m| {
                m.redness = 0.0;
                m.focus = 0.0;
            }),
            [Reason::UnexpectedColours]
        );
        let limits = QualityLimits::default();
        let nothing = |brightness| judge(&Measures { brightness, field: None }, &limits);
        assert_eq!(nothing(0.001), [Reason::Black]);
        assert_eq!(nothing(0.5), [Reason::NoFieldOfView]);
        assert_eq!(changed(|m| m.surround = 0.4), [Reason::NoFieldOfView]);
        assert!(nothing(0.5).iter().all(Reason::is_not_fundus));
    }
}
