//! Smooth random fields over the retina: value noise on a wrapped lattice, summed over octaves.

use super::draw::Draw;

/// Lattice points a side; a power of two, so that wrapping is a bit mask.
const LATTICE: usize = 64;

/// A random field, a pure function of position; it wraps after 64 lattice cells.
#[derive(Debug, Clone)]
pub struct Texture {
    lattice: Vec<f32>,
}

impl Texture {
    /// A new field of values uniform in -1..1 at the lattice points.
    pub fn new(draw: &mut Draw) -> Self {
        Self { lattice: (0..LATTICE * LATTICE).map(|_| draw.between(-1.0, 1.0)).collect() }
    }

    /// The field at (`x`, `y`) in lattice cells; -1..1.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let (u, v) = (ease(x - column), ease(y - row));
        let mask = LATTICE - 1;
        let (c0, r0) = (column as i32 as usize & mask, row as i32 as usize & mask);
        let (c1, r1) = ((c0 + 1) & mask, (r0 + 1) & mask);
        let top = mix(self.lattice[r0 * LATTICE + c0], self.lattice[r0 * LATTICE + c1], u);
        let bottom = mix(self.lattice[r1 * LATTICE + c0], self.lattice[r1 * LATTICE + c1], u);
        mix(top, bottom, v)
    }

    /// `octaves` fields, each at about twice the frequency and `gain` times the weight of the one
    /// before, turned so that the lattices do not line up. The weights sum to 1.
    #[must_use]
    pub fn octaves(&self, x: f32, y: f32, octaves: u32, gain: f32) -> f32 {
        let (mut x, mut y) = (x, y);
        let (mut sum, mut weight, mut total) = (0.0, 1.0, 0.0);
        for _ in 0..octaves {
            sum += weight * self.at(x, y);
            total += weight;
            weight *= gain;
            // Rotation by 37 degrees and scaling by 2.03.
            (x, y) = (1.6212 * x - 1.2217 * y + 17.3, 1.2217 * x + 1.6212 * y + 5.9);
        }
        sum / total
    }
}

/// Linear interpolation from `a` (at 0) to `b` (at 1).
#[must_use]
pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 3t^2 - 2t^3: 0 and 1 at the ends, flat there.
#[must_use]
pub fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// A smooth step from 0 (at or below `low`) to 1 (at or above `high`); `high < low` reverses it.
#[must_use]
pub fn step(low: f32, high: f32, value: f32) -> f32 {
    ease(((value - low) / (high - low)).clamp(0.0, 1.0))
}

/// exp(-d^2 / 2 s^2) of a squared distance.
#[must_use]
pub fn bell(squared_distance: f32, deviation: f32) -> f32 {
    (-0.5 * squared_distance / (deviation * deviation)).exp()
}

#[cfg(test)]
mod tests {
    use super::super::draw::Part;
    use super::*;

    #[test]
    fn the_field_is_continuous_and_bounded() {
        let field = Texture::new(&mut Draw::new(1, 1, Part::Tissue));
        for i in 0..4000 {
            let (x, y) = (i as f32 * 0.037 - 70.0, i as f32 * 0.011 - 20.0);
            let here = field.octaves(x, y, 4, 0.5);
            assert!(here.abs() <= 1.0);
            assert!((here - field.octaves(x + 1e-3, y, 4, 0.5)).abs() < 0.03);
        }
    }

    #[test]
    fn steps_run_both_ways() {
        assert_eq!(step(0.0, 1.0, -1.0), 0.0);
        assert_eq!(step(0.0, 1.0, 2.0), 1.0);
        assert_eq!(step(1.0, 0.0, 2.0), 0.0);
        assert!((step(1.0, 0.0, 0.5) - 0.5).abs() < 1e-6);
    }
}
