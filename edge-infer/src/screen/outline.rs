//! An outline as it is drawn: rounded, for the mask's staircase of network pixels is no property of the eye.

use glaucoma_common::preprocess::NativePoint;

/// A closed outline resampled evenly and averaged along itself over about a fiftieth of its
/// length. `pixel` is the length of one drawn pixel in native pixels, the resampling step.
pub fn rounded(outline: &[NativePoint], pixel: f64) -> Vec<NativePoint> {
    let even = resampled(outline, pixel.max(1e-3));
    let reach = even.len() / 50;
    if reach == 0 {
        return even;
    }
    let count = even.len();
    (0..count)
        .map(|i| {
            let (mut x, mut y) = (0.0, 0.0);
            for k in 0..=2 * reach {
                let point = even[(i + count + k - reach) % count];
                x += point.x;
                y += point.y;
            }
            let total = (2 * reach + 1) as f64;
            NativePoint { x: x / total, y: y / total }
        })
        .collect()
}

/// Points every `step` along a closed outline.
fn resampled(outline: &[NativePoint], step: f64) -> Vec<NativePoint> {
    let mut points = Vec::new();
    let mut travelled = 0.0;
    let mut next = 0.0;
    let following = outline.iter().cycle().skip(1);
    for (from, to) in outline.iter().zip(following) {
        let length = (to.x - from.x).hypot(to.y - from.y);
        while next < travelled + length {
            let share = (next - travelled) / length;
            points.push(NativePoint {
                x: from.x + (to.x - from.x) * share,
                y: from.y + (to.y - from.y) * share,
            });
            next += step;
        }
        travelled += length;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staircase_becomes_the_circle_it_stands_for() {
        // A circle of radius 100 in steps of 8, as a mask's pixels would have it.
        let stairs: Vec<NativePoint> = (0..720)
            .map(|step| (f64::from(step) / 2.0).to_radians())
            .map(|angle| (100.0 * angle.cos(), 100.0 * angle.sin()))
            .map(|(x, y)| NativePoint { x: (x / 8.0).round() * 8.0, y: (y / 8.0).round() * 8.0 })
            .collect();
        let off = |points: &[NativePoint]| {
            points.iter().map(|at| (at.x.hypot(at.y) - 100.0).abs()).fold(0.0, f64::max)
        };
        let smooth = rounded(&stairs, 1.0);
        assert!(off(&stairs) > 4.0 && off(&smooth) < 3.0, "{} {}", off(&stairs), off(&smooth));
        assert!(rounded(&[], 1.0).is_empty());
    }
}
