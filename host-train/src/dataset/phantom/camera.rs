//! The cameras: picture format, field, colour response, and how a capture is framed.

use super::anatomy::Eye;
use super::disc::RetinaPoint;
use super::draw::Draw;
use super::view::View;
use glaucoma_common::reading::Laterality;
use serde::{Deserialize, Serialize};
use std::f32::consts::TAU;

/// A family of fundus cameras whose pictures the phantom resembles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Camera {
    /// 45 degrees, 2124 x 2056 (as the REFUGE training pictures).
    Visucam,
    /// 45 degrees, square (as the REFUGE validation and test pictures).
    Cr2,
    /// 50 degrees, 3:2, circle cut above and below, yellow (as IDRiD).
    Vx10,
    /// 45 degrees, cropped tightly to the circle, dark (as HYGD).
    Triton,
    /// 60 degrees, 3:2, circle cut above and below, red (as HRF).
    Cr1,
    /// 30 degrees round the disc (as Drishti-GS1).
    Narrow,
    /// 50 degrees, square, pink.
    Tabletop,
    /// Hand-held: 40 to 50 degrees, 4:3, softer and noisier.
    Handheld,
}

/// What a camera does to every picture. Colours are sRGB values (0..255) of a medium fundus.
#[derive(Debug, Clone, Copy)]
pub struct CameraModel {
    /// Height over width of the picture.
    pub aspect: f32,
    /// Field of view in degrees, least and most.
    pub field: (f32, f32),
    /// Diameter of the circle over the picture's shorter side, least and most.
    pub circle: (f32, f32),
    /// Mean colour of a medium fundus.
    pub fundus: [f32; 3],
    /// Deviation of the logarithm of exposure from eye to eye.
    pub exposure_spread: f32,
    /// Fall-off of light at the circle, share, least and most.
    pub falloff: (f32, f32),
    /// Optical blur (Gaussian deviation) in degrees, least and most.
    pub blur: (f32, f32),
    /// Noise deviation in grey levels, least and most.
    pub noise: (f32, f32),
    /// JPEG quality, least and most.
    pub quality: (f32, f32),
    /// Probability of a notch in the circle's upper right edge.
    pub marker: f32,
    /// Probability of dark patches and of a bluish rim of stray light.
    pub uneven: f32,
    /// Weights of macula-centred, disc-centred and in-between framing.
    pub framing: [f32; 3],
}

impl Camera {
    /// All cameras.
    pub const ALL: [Self; 8] = [
        Self::Visucam,
        Self::Cr2,
        Self::Vx10,
        Self::Triton,
        Self::Cr1,
        Self::Narrow,
        Self::Tabletop,
        Self::Handheld,
    ];

    /// The camera's constants.
    #[must_use]
    pub const fn model(self) -> CameraModel {
        let base = CameraModel {
            aspect: 1.0,
            field: (45.0, 45.0),
            circle: (0.96, 1.0),
            fundus: [180.0, 88.0, 46.0],
            exposure_spread: 0.22,
            falloff: (0.15, 0.5),
            blur: (0.02, 0.06),
            noise: (0.4, 2.0),
            quality: (75.0, 95.0),
            marker: 0.2,
            uneven: 0.15,
            framing: [0.5, 0.1, 0.4],
        };
        match self {
            Self::Visucam => CameraModel { aspect: 2056.0 / 2124.0, circle: (0.97, 1.01), ..base },
            Self::Cr2 => {
                CameraModel { fundus: [192.0, 96.0, 60.0], framing: [0.35, 0.1, 0.55], ..base }
            }
            Self::Vx10 => CameraModel {
                aspect: 2848.0 / 4288.0,
                field: (50.0, 50.0),
                circle: (1.18, 1.24),
                fundus: [172.0, 86.0, 22.0],
                exposure_spread: 0.35,
                marker: 0.9,
                uneven: 0.1,
                framing: [0.9, 0.02, 0.08],
                ..base
            },
            Self::Triton => CameraModel {
                circle: (0.985, 1.005),
                fundus: [118.0, 52.0, 31.0],
                exposure_spread: 0.5,
                falloff: (0.3, 0.75),
                blur: (0.04, 0.12),
                marker: 0.95,
                uneven: 0.7,
                framing: [0.25, 0.4, 0.35],
                ..base
            },
            Self::Cr1 => CameraModel {
                aspect: 2336.0 / 3504.0,
                field: (60.0, 60.0),
                circle: (1.36, 1.42),
                fundus: [204.0, 66.0, 35.0],
                exposure_spread: 0.12,
                falloff: (0.1, 0.35),
                marker: 0.9,
                uneven: 0.05,
                framing: [0.85, 0.0, 0.15],
                ..base
            },
            Self::Narrow => CameraModel {
                aspect: 1760.0 / 2047.0,
                field: (30.0, 32.0),
                circle: (1.1, 1.17),
                fundus: [130.0, 70.0, 24.0],
                exposure_spread: 0.3,
                falloff: (0.3, 0.6),
                marker: 0.9,
                uneven: 0.35,
                framing: [0.0, 1.0, 0.0],
                ..base
            },
            Self::Tabletop => CameraModel {
                field: (45.0, 52.0),
                fundus: [222.0, 100.0, 76.0],
                falloff: (0.1, 0.4),
                marker: 0.5,
                ..base
            },
            Self::Handheld => CameraModel {
                aspect: 0.75,
                field: (40.0, 50.0),
                circle: (0.86, 1.08),
                fundus: [166.0, 84.0, 48.0],
                exposure_spread: 0.4,
                falloff: (0.25, 0.8),
                blur: (0.06, 0.16),
                noise: (1.5, 5.0),
                quality: (60.0, 92.0),
                marker: 0.1,
                uneven: 0.4,
                framing: [0.4, 0.25, 0.35],
            },
        }
    }
}

/// What must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The whole disc.
    Disc,
    /// The whole disc and the fovea.
    DiscAndFovea,
    /// A badly aimed picture: at least half of the disc lies outside.
    MissDisc,
}

/// Frames a capture: `side` is the picture's longer side in pixels.
#[must_use]
pub fn frame(draw: &mut Draw, model: &CameraModel, eye: &Eye, side: u32, aim: Aim) -> View {
    let height = (side as f32 * model.aspect).round().max(1.0);
    let field = draw.between(model.field.0, model.field.1);
    let diameter = draw.between(model.circle.0, model.circle.1) * height.min(side as f32);
    let drift = 0.012 * side as f32;
    let room = (0.5 * (side as f32 - diameter)).max(0.0);
    let mut view = View {
        width: side,
        height: height as u32,
        center: (
            0.5 * (side as f32 - 1.0) + draw.normal(0.0, drift).clamp(-room, room),
            0.5 * (height - 1.0) + draw.normal(0.0, 0.3 * drift),
        ),
        radius: 0.5 * diameter,
        field,
        gaze: RetinaPoint::new(0.0, 0.0),
        mirror: if eye.laterality == Laterality::Right { 1.0 } else { -1.0 },
        roll: draw.normal(0.0, 0.05),
    };
    let kind = pick(draw, &model.framing);
    for attempt in 0..60 {
        // Macula, disc, or in between; late attempts fall back to what always fits.
        let share = match (aim, kind, attempt) {
            (Aim::MissDisc, _, _) => draw.between(1.0, 2.2),
            (Aim::Disc, 0, 0..20) => 1.0,
            (Aim::Disc, 1, 0..40) | (Aim::Disc, _, 40..) => 0.0,
            (Aim::DiscAndFovea, 0, 0..20) => 0.85,
            (Aim::DiscAndFovea, 1, 0..20) => 0.3,
            _ => 0.5,
        };
        let jitter = if attempt >= 40 { 0.3 } else { 1.3 };
        view.gaze = RetinaPoint::new(
            share * eye.fovea.x + draw.normal(0.0, jitter),
            share * eye.fovea.y + draw.normal(0.0, jitter),
        );
        if satisfied(&view, eye, aim) {
            break;
        }
    }
    view
}

/// Whether the aim is met. "Whole" means with a margin of 1 % of the circle's radius.
fn satisfied(view: &View, eye: &Eye, aim: Aim) -> bool {
    let margin = 0.01 * view.radius + 1.0;
    let edges = 48;
    let seen = (0..edges)
        .filter(|&i| {
            let edge = eye.disc.outline.edge(i as f32 / edges as f32 * TAU);
            view.shows(view.to_picture(edge), margin)
        })
        .count();
    match aim {
        Aim::Disc => seen == edges,
        Aim::DiscAndFovea => seen == edges && view.shows(view.to_picture(eye.fovea), margin),
        Aim::MissDisc => !view.shows(view.to_picture(RetinaPoint::new(0.0, 0.0)), 0.0),
    }
}

/// An index drawn with the given weights.
pub(super) fn pick(draw: &mut Draw, weights: &[f32]) -> usize {
    let mut left = draw.unit() * weights.iter().sum::<f32>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::super::draw::Part;
    use super::*;

    #[test]
    fn every_camera_can_show_the_disc_or_miss_it() {
        for (number, camera) in Camera::ALL.into_iter().enumerate() {
            for index in 0..40 {
                let eye = Eye::draw(2, index, false);
                let mut draw = Draw::new(2, index + 1000 * number as u64, Part::Capture);
                let view = frame(&mut draw, &camera.model(), &eye, 320, Aim::Disc);
                assert!(satisfied(&view, &eye, Aim::Disc), "{camera:?} {index}");
                let view = frame(&mut draw, &camera.model(), &eye, 320, Aim::MissDisc);
                assert!(satisfied(&view, &eye, Aim::MissDisc), "{camera:?} {index}");
            }
        }
    }
}
