//! What the camera looks at: the map between picture pixels and retina degrees, and the drawing of
//! soft strokes and spots through it.

use super::disc::RetinaPoint;
use super::texture::ease;

/// A camera's field on the retina as it falls on the picture.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Centre of the circular field in pixel-index coordinates.
    pub center: (f32, f32),
    /// Radius of the circular field in pixels.
    pub radius: f32,
    /// Diameter of the field in degrees.
    pub field: f32,
    /// The retina's point at the field's centre.
    pub gaze: RetinaPoint,
    /// +1 for a right eye, -1 for a left eye (mirrored).
    pub mirror: f32,
    /// Roll of the camera against the eye, radians.
    pub roll: f32,
}

impl View {
    /// Pixels a degree.
    #[must_use]
    pub fn scale(&self) -> f32 {
        2.0 * self.radius / self.field
    }

    /// The retina's point under a pixel.
    #[must_use]
    pub fn to_retina(&self, x: f32, y: f32) -> RetinaPoint {
        let (u, v) = ((x - self.center.0) / self.scale(), (y - self.center.1) / self.scale());
        let (u, (sine, cosine)) = (u * self.mirror, self.roll.sin_cos());
        self.gaze.shifted(cosine * u - sine * v, sine * u + cosine * v)
    }

    /// The pixel (fractional index coordinates) of a retina point.
    #[must_use]
    pub fn to_picture(&self, point: RetinaPoint) -> (f32, f32) {
        let (x, y) = (point.x - self.gaze.x, point.y - self.gaze.y);
        let (sine, cosine) = self.roll.sin_cos();
        let (u, v) = (cosine * x + sine * y, cosine * y - sine * x);
        (self.center.0 + self.mirror * u * self.scale(), self.center.1 + v * self.scale())
    }

    /// Distance from the field's centre over its radius: 1 on the circle.
    #[must_use]
    pub fn eccentricity(&self, x: f32, y: f32) -> f32 {
        (x - self.center.0).hypot(y - self.center.1) / self.radius
    }

    /// Whether a pixel position lies in the picture and in the field, `margin` pixels inside.
    #[must_use]
    pub fn shows(&self, (x, y): (f32, f32), margin: f32) -> bool {
        (margin - 0.5..=self.width as f32 - 0.5 - margin).contains(&x)
            && (margin - 0.5..=self.height as f32 - 0.5 - margin).contains(&y)
            && (x - self.center.0).hypot(y - self.center.1) <= self.radius - margin
    }
}

/// One value a pixel, row after row.
#[derive(Debug, Clone)]
pub struct Plane {
    width: usize,
    height: usize,
    /// The values.
    pub values: Vec<f32>,
}

impl Plane {
    /// A plane of zeros of the picture's size.
    #[must_use]
    pub fn new(view: &View) -> Self {
        let (width, height) = (view.width as usize, view.height as usize);
        Self { width, height, values: vec![0.0; width * height] }
    }

    /// Draws a straight stroke between two pixel positions, `half_width` pixels to each side with
    /// a soft edge of `soft` pixels; the larger value stays. A stroke thinner than its softness
    /// is fainter in proportion, so that thin vessels keep their weight at any resolution.
    pub fn stroke(
        &mut self,
        a: (f32, f32),
        b: (f32, f32),
        half_width: f32,
        soft: f32,
        strength: f32,
    ) {
        let soft = soft.max(0.5);
        let outer = half_width.max(0.5 * soft) + 0.5 * soft;
        let peak = strength * (2.0 * half_width / soft).min(1.0);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = (dx * dx + dy * dy).max(1e-9);
        self.cover(
            (a.0.min(b.0), a.1.min(b.1)),
            (a.0.max(b.0), a.1.max(b.1)),
            outer,
            |x, y, old| {
                let t = (((x - a.0) * dx + (y - a.1) * dy) / length).clamp(0.0, 1.0);
                let (off_x, off_y) = (x - a.0 - t * dx, y - a.1 - t * dy);
                let inside = (outer - (off_x * off_x + off_y * off_y).sqrt()) / soft;
                if inside > 0.0 { old.max(peak * ease(inside.min(1.0))) } else { old }
            },
        );
    }

    /// Adds a soft round spot, saturating at 1.
    pub fn spot(&mut self, center: (f32, f32), radius: f32, soft: f32, strength: f32) {
        let soft = soft.max(0.7);
        let outer = radius + 0.5 * soft;
        let peak = strength * (radius / (0.5 * soft)).powi(2).min(1.0);
        self.cover(center, center, outer, |x, y, old| {
            let inside = (outer - (x - center.0).hypot(y - center.1)) / soft;
            if inside > 0.0 { (old + peak * ease(inside.min(1.0))).min(1.0) } else { old }
        });
    }

    /// Visits the pixels of a rectangle widened by `margin`.
    fn cover(
        &mut self,
        low: (f32, f32),
        high: (f32, f32),
        margin: f32,
        value: impl Fn(f32, f32, f32) -> f32,
    ) {
        let clip = |v: f32, end: usize| v.clamp(0.0, end as f32) as usize;
        let (x0, x1) = (clip(low.0 - margin, self.width), clip(high.0 + margin + 1.0, self.width));
        let (y0, y1) =
            (clip(low.1 - margin, self.height), clip(high.1 + margin + 1.0, self.height));
        for y in y0..y1 {
            for x in x0..x1 {
                let place = &mut self.values[y * self.width + x];
                *place = value(x as f32, y as f32, *place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_inverts_and_mirrors() {
        let mut view = View {
            width: 320,
            height: 300,
            center: (160.0, 149.0),
            radius: 150.0,
            field: 45.0,
            gaze: RetinaPoint::new(-7.0, 1.0),
            mirror: -1.0,
            roll: 0.1,
        };
        let point = RetinaPoint::new(2.0, -3.0);
        for mirror in [-1.0, 1.0] {
            view.mirror = mirror;
            let (x, y) = view.to_picture(point);
            assert!(view.to_retina(x, y).distance(point) < 1e-4);
            let fovea = view.to_picture(RetinaPoint::new(-15.0, 1.0));
            let disc = view.to_picture(RetinaPoint::new(0.0, 0.0));
            assert_eq!(disc.0 > fovea.0, mirror > 0.0, "right eye: disc on the right");
        }
    }

    #[test]
    fn a_thin_stroke_keeps_its_weight() {
        let view = View {
            width: 40,
            height: 40,
            center: (20.0, 20.0),
            radius: 20.0,
            field: 45.0,
            gaze: RetinaPoint::new(0.0, 0.0),
            mirror: 1.0,
            roll: 0.0,
        };
        let weight = |half: f32| {
            let mut plane = Plane::new(&view);
            plane.stroke((20.0, -5.0), (20.0, 45.0), half, 1.5, 1.0);
            plane.values[20 * 40..21 * 40].iter().sum::<f32>()
        };
        assert!((weight(0.25) * 2.0 - weight(0.5)).abs() < 0.1);
        assert!((weight(3.0) - 6.0).abs() < 0.3);
    }
}
