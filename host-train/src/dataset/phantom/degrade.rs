//! What goes wrong between eye and file: faults that make a picture ungradable, and their milder
//! forms that every collection contains.

use super::draw::Draw;
use serde::{Deserialize, Serialize};

/// Why a picture cannot be graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degradation {
    /// Out of focus.
    Defocus,
    /// Cloudy media: contrast lost behind a grey veil.
    Haze,
    /// Reflected flash over the posterior pole.
    Glare,
    /// Too dark.
    UnderExposure,
    /// Too bright: the disc is burnt out.
    OverExposure,
    /// Lid or lashes before a large part of the field.
    Shadow,
    /// The disc is not, or only partly, in the picture.
    DiscOutOfField,
}

impl Degradation {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Defocus,
        Self::Haze,
        Self::Glare,
        Self::UnderExposure,
        Self::OverExposure,
        Self::Shadow,
        Self::DiscOutOfField,
    ];
}

/// A soft patch of light or shade in the circle's coordinates (-1..1 across the circle).
#[derive(Debug, Clone, Copy)]
pub struct Patch {
    /// Centre.
    pub x: f32,
    /// Centre.
    pub y: f32,
    /// Gaussian deviation.
    pub size: f32,
    /// Strength of its effect.
    pub strength: f32,
    /// Colour of light.
    pub color: [f32; 3],
}

/// A lid: the part of the circle beyond a slightly bent line is dark.
#[derive(Debug, Clone, Copy)]
pub struct Lid {
    /// +1: the upper lid (dark above), -1: the lower.
    pub side: f32,
    /// Height of the line in the circle's coordinates (-1 top, 1 bottom) for the upper lid.
    pub line: f32,
    /// Softness of the line.
    pub soft: f32,
    /// Number of lashes reaching into the picture.
    pub lashes: usize,
    /// Phase of the lashes.
    pub phase: f32,
}

/// All faults of one capture, mild or severe.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Additional blur, Gaussian deviation in degrees.
    pub defocus: f32,
    /// Share of the light that comes from the veil, 0..1.
    pub haze: f32,
    /// Factor on the exposure; 0 is read as 1.
    pub exposure: f32,
    /// Reflections.
    pub glare: Vec<Patch>,
    /// Dark patches.
    pub shade: Vec<Patch>,
    /// Lid and lashes.
    pub lid: Option<Lid>,
}

impl Faults {
    /// Draws the mild faults of an ordinary capture; `uneven` (0..1) is the camera's share of dark
    /// patches.
    pub fn mild(draw: &mut Draw, uneven: f32) -> Self {
        let mut faults = Self { exposure: 1.0, ..Self::default() };
        if draw.chance(0.15) {
            faults.defocus = draw.between(0.02, 0.1);
        }
        if draw.chance(0.25) {
            faults.haze = draw.between(0.02, 0.2);
        }
        if draw.chance(uneven) {
            for _ in 0..1 + draw.below(2) {
                let patch = Patch {
                    x: draw.normal(0.0, 0.5),
                    y: draw.normal(0.1, 0.5),
                    size: draw.between(0.2, 0.5),
                    strength: draw.between(0.2, 0.75),
                    color: [0.0; 3],
                };
                faults.shade.push(patch);
            }
        }
        if draw.chance(0.12) {
            let angle = draw.angle();
            faults.glare.push(Patch {
                x: 0.95 * angle.cos(),
                y: 0.95 * angle.sin(),
                size: draw.between(0.1, 0.4),
                strength: draw.between(0.1, 0.5),
                color: glare_color(draw),
            });
        }
        faults
    }

    /// Adds a severe fault.
    pub fn add(&mut self, draw: &mut Draw, kind: Degradation) {
        match kind {
            Degradation::Defocus => self.defocus = draw.between(0.5, 1.1),
            Degradation::Haze => {
                self.haze = draw.between(0.6, 0.88);
                self.defocus = self.defocus.max(draw.between(0.1, 0.35));
            }
            Degradation::Glare => self.add_glare(draw),
            Degradation::UnderExposure => self.exposure = draw.between(0.015, 0.07),
            Degradation::OverExposure => self.exposure = draw.between(4.0, 9.0),
            Degradation::Shadow => {
                self.lid = Some(Lid {
                    side: draw.sign(),
                    line: draw.between(-0.15, 0.3),
                    soft: draw.between(0.1, 0.3),
                    lashes: if draw.chance(0.6) { 4 + draw.below(10) } else { 0 },
                    phase: draw.angle(),
                });
            }
            Degradation::DiscOutOfField => {}
        }
    }

    fn add_glare(&mut self, draw: &mut Draw) {
        let color = glare_color(draw);
        for _ in 0..3 + draw.below(3) {
            self.glare.push(Patch {
                x: draw.normal(0.0, 0.35),
                y: draw.normal(0.0, 0.3),
                size: draw.between(0.2, 0.45),
                strength: draw.between(0.6, 1.6),
                color,
            });
        }
    }
}

fn glare_color(draw: &mut Draw) -> [f32; 3] {
    if draw.chance(0.5) {
        [0.55, draw.between(0.5, 0.75), draw.between(0.6, 1.0)]
    } else {
        [0.95, draw.between(0.55, 0.85), draw.between(0.3, 0.7)]
    }
}

impl Lid {
    /// Share of light that passes at (`x`, `y`) of the circle's coordinates.
    #[must_use]
    pub fn passes(&self, x: f32, y: f32) -> f32 {
        let y = y * self.side;
        let bend = 0.18 * x * x;
        let mut edge = self.line - bend;
        if self.lashes > 0 {
            let wave = (x * self.lashes as f32 * 2.2 + self.phase + 1.5 * y).sin();
            edge += 0.35 * wave.max(0.0).powi(6);
        }
        super::texture::step(edge - self.soft, edge + self.soft, y)
    }
}
