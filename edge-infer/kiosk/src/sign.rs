//! Signs that say in shape what a colour says in hue, drawn with soft edges on a design of 100 x 100 units.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use crate::theme::{Paint, blend};

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A triangle with an exclamation mark: suspected, danger.
    Warning,
    /// A circle with a tick: fine.
    Tick,
    /// An arrow round in a circle: once more.
    Again,
    /// A circle with a bar: cannot be graded, not ready.
    Stop,
    /// A circle with a hand of a clock: wait.
    Wait,
    /// An arrow back.
    Back,
    /// An arrow on.
    Next,
    /// An arrow up.
    Up,
    /// An arrow down.
    Down,
    /// A plus.
    Plus,
    /// A minus.
    Minus,
    /// An eye.
    Eye,
    /// A camera.
    Camera,
    /// A picture, struck through: there is none.
    NoPicture,
    /// A key that deletes.
    Delete,
    /// The key between words.
    Space,
}

type At = (f32, f32);

/// What signs are made of.
enum Stroke {
    /// A line through points, of a width.
    Line(&'static [At], f32),
    /// A filled circle.
    Disc(At, f32),
    /// A circle's line of a width.
    Ring(At, f32, f32),
    /// The same, less the part between the angles in degrees (0 to the right, growing downwards).
    Arc(At, f32, f32, (f32, f32)),
    /// A filled convex outline, turning clockwise.
    Filled(&'static [At]),
    /// Takes away what lies under it.
    Cut(&'static Stroke),
}

use Stroke::{Arc, Cut, Disc, Filled, Line, Ring};

const fn strokes(sign: Sign) -> &'static [Stroke] {
    match sign {
        Sign::Warning => &[
            Line(&[(50.0, 14.0), (90.0, 84.0), (10.0, 84.0), (50.0, 14.0)], 10.0),
            Filled(&[(50.0, 14.0), (90.0, 84.0), (10.0, 84.0)]),
            Cut(&Line(&[(50.0, 38.0), (50.0, 58.0)], 9.0)),
            Cut(&Disc((50.0, 74.0), 5.5)),
        ],
        Sign::Tick => &[
            Disc((50.0, 50.0), 44.0),
            Cut(&Line(&[(29.0, 52.0), (44.0, 67.0), (71.0, 36.0)], 10.0)),
        ],
        Sign::Again => &[
            Arc((50.0, 52.0), 34.0, 10.0, (-60.0, -5.0)),
            Filled(&[(56.0, 10.0), (84.0, 22.0), (60.0, 40.0)]),
        ],
        Sign::Stop => &[Disc((50.0, 50.0), 44.0), Cut(&Line(&[(30.0, 50.0), (70.0, 50.0)], 13.0))],
        Sign::Wait => {
            &[Ring((50.0, 50.0), 40.0, 9.0), Line(&[(50.0, 26.0), (50.0, 50.0), (66.0, 60.0)], 8.0)]
        }
        Sign::Back => &[Line(&[(62.0, 20.0), (32.0, 50.0), (62.0, 80.0)], 13.0)],
        Sign::Next => &[Line(&[(38.0, 20.0), (68.0, 50.0), (38.0, 80.0)], 13.0)],
        Sign::Up => &[Line(&[(20.0, 62.0), (50.0, 32.0), (80.0, 62.0)], 13.0)],
        Sign::Down => &[Line(&[(20.0, 38.0), (50.0, 68.0), (80.0, 38.0)], 13.0)],
        Sign::Plus => {
            &[Line(&[(50.0, 18.0), (50.0, 82.0)], 13.0), Line(&[(18.0, 50.0), (82.0, 50.0)], 13.0)]
        }
        Sign::Minus => &[Line(&[(18.0, 50.0), (82.0, 50.0)], 13.0)],
        Sign::Eye => &[
            Line(&[(6.0, 50.0), (22.0, 33.0), (40.0, 25.0), (60.0, 25.0), (78.0, 33.0)], 7.0),
            Line(&[(78.0, 33.0), (94.0, 50.0), (78.0, 67.0), (60.0, 75.0)], 7.0),
            Line(&[(60.0, 75.0), (40.0, 75.0), (22.0, 67.0), (6.0, 50.0)], 7.0),
            Disc((50.0, 50.0), 15.0),
        ],
        Sign::Camera => &[
            Filled(&[(8.0, 30.0), (92.0, 30.0), (92.0, 82.0), (8.0, 82.0)]),
            Filled(&[(36.0, 18.0), (64.0, 18.0), (70.0, 34.0), (30.0, 34.0)]),
            Cut(&Ring((50.0, 56.0), 16.0, 7.0)),
        ],
        Sign::NoPicture => &[
            Line(&[(10.0, 22.0), (90.0, 22.0), (90.0, 78.0), (10.0, 78.0), (10.0, 22.0)], 4.0),
            Disc((32.0, 40.0), 7.0),
            Line(&[(14.0, 74.0), (42.0, 54.0), (56.0, 64.0), (72.0, 46.0), (88.0, 62.0)], 4.0),
            Cut(&Line(&[(14.0, 90.0), (86.0, 10.0)], 9.0)),
            Line(&[(14.0, 90.0), (86.0, 10.0)], 4.0),
        ],
        Sign::Space => &[Line(&[(18.0, 52.0), (18.0, 70.0), (82.0, 70.0), (82.0, 52.0)], 9.0)],
        Sign::Delete => &[
            Filled(&[(34.0, 22.0), (94.0, 22.0), (94.0, 78.0), (34.0, 78.0), (6.0, 50.0)]),
            Cut(&Line(&[(48.0, 38.0), (74.0, 64.0)], 8.0)),
            Cut(&Line(&[(74.0, 38.0), (48.0, 64.0)], 8.0)),
        ],
    }
}

/// Draws the sign in the largest square in the middle of `area`, on the paint's ground.
///
/// # Errors
/// The target's own.
pub fn draw<D>(sign: Sign, area: Rectangle, paint: Paint, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let side = area.size.width.min(area.size.height) as i32;
    let corner = area.center() - Point::new(side / 2, side / 2);
    let unit = 100.0 / side.max(1) as f32;
    let pixels = (0..side * side).filter_map(|index| {
        let (x, y) = (index % side, index / side);
        let at = ((x as f32 + 0.5) * unit, (y as f32 + 0.5) * unit);
        let mut coverage = 0.0f32;
        for stroke in strokes(sign) {
            coverage = match stroke {
                Cut(inner) => coverage.min(1.0 - soft(distance(inner, at), unit)),
                stroke => coverage.max(soft(distance(stroke, at), unit)),
            };
        }
        let color = blend(paint.ground, paint.ink, coverage);
        (coverage > 0.0).then_some(Pixel(corner + Point::new(x, y), color))
    });
    target.draw_iter(pixels)
}

/// Coverage of a pixel of `unit` design units whose middle is `distance` outside the edge.
fn soft(distance: f32, unit: f32) -> f32 {
    (0.5 - distance / unit).clamp(0.0, 1.0)
}

/// Signed distance of a point from the stroke's edge in design units, negative inside.
fn distance(stroke: &Stroke, at: At) -> f32 {
    let from = |center: &At| (at.0 - center.0).hypot(at.1 - center.1);
    match stroke {
        Line(points, width) => {
            let ends = points.windows(2).map(|ends| to_segment(at, ends[0], ends[1]));
            ends.fold(f32::INFINITY, f32::min) - width / 2.0
        }
        Disc(center, radius) => from(center) - radius,
        Ring(center, radius, width) => (from(center) - radius).abs() - width / 2.0,
        Arc(center, radius, width, (begin, end)) => {
            let angle = (at.1 - center.1).atan2(at.0 - center.0).to_degrees();
            let gone = angle > *begin && angle < *end;
            if gone { f32::INFINITY } else { (from(center) - radius).abs() - width / 2.0 }
        }
        Filled(points) => {
            let ends = (0..points.len()).map(|i| (points[i], points[(i + 1) % points.len()]));
            ends.map(|(a, b)| {
                let (dx, dy) = (b.0 - a.0, b.1 - a.1);
                ((at.0 - a.0) * dy - (at.1 - a.1) * dx) / dx.hypot(dy)
            })
            .fold(f32::NEG_INFINITY, f32::max)
        }
        Cut(inner) => distance(inner, at),
    }
}

fn to_segment(at: At, a: At, b: At) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = ((at.0 - a.0) * dx + (at.1 - a.1) * dy) / (dx * dx + dy * dy);
    let along = along.clamp(0.0, 1.0);
    (at.0 - a.0 - along * dx).hypot(at.1 - a.1 - along * dy)
}
