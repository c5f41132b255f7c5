//! Finds the circle that the camera's aperture draws on the photograph.

use std::f64::consts::TAU;

use image::RgbImage;

use super::NativePoint;
use crate::mask::Mask;

/// The circular field of view.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FieldOfView {
    /// The circle's centre.
    pub center: NativePoint,
    /// The circle's radius in native pixels.
    pub radius: f64,
    /// Share of the circle's line inside the photograph along which the picture really ends
    /// there, 0 to 1.
    pub circularity: f64,
    /// Share of the circle's area that lies inside the photograph, 0 to 1.
    pub visible: f64,
}

/// The search looks at about this many cells along the longer side.
const CELLS: u32 = 384;
/// A boundary point belongs to a circle when it is at most this many cells off its line.
const TOLERANCE: f64 = 2.0;
/// A cell is lit when it exceeds the surround by this share of the picture's contrast.
const LIT_SHARES: [f64; 3] = [0.07, 0.17, 0.35];
/// Least excess of a lit cell in 8-bit levels: clear of sensor noise and JPEG ripples in the black.
const MIN_LIT: f64 = 6.0;
/// Circles tried through three boundary points each.
const TRIALS: usize = 250;
/// Rays around the centre.
const SECTORS: usize = 360;
/// At the aperture's edge brightness falls at least by this ratio within two cells.
const MIN_DROP: f64 = 1.25;
/// This near to the photograph's own edge, in cells, an aperture's edge cannot be told from it.
const EDGE: f64 = 3.0;
/// Below this circularity there is no circle.
const MIN_CIRCULARITY: f64 = 0.3;
/// Of the circle's line, at least this share must lie inside the photograph to be seen at all.
const MIN_LINE: f64 = 0.06;

/// Finds the circular field of view: dark photographs, circles cut off by the frame and
/// photographs cropped to the circle included.
///
/// The photograph is reduced to some hundred cells a side. What exceeds its dark surround is lit;
/// the border of the largest lit region, without the frame's own, is searched for the circle with
/// most support, at several thresholds, as a vignetted rim is hardly brighter than the surround
/// and a glowing surround is not black. From that circle's centre rays are searched for the
/// sharpest relative drop in brightness, which is the aperture's edge even where glow spills over
/// it, and a circle is fitted to those. `None` when nothing is lit or no circle's line shows, as
/// where retina fills the whole frame.
#[must_use]
pub fn find_field_of_view(photo: &RgbImage) -> Option<FieldOfView> {
    let grid = Grid::of(photo)?;
    let coarse = LIT_SHARES.into_iter().filter_map(|share| {
        let points = border(&grid.lit(share)?);
        let circle = fit(&points)?;
        Some((circle, grid.support(&circle, &points)?))
    });
    let (mut circle, mut circularity) =
        coarse.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    for _ in 0..2 {
        let edges = grid.edges(&circle);
        let Some(sharper) = fit(&edges) else { break };
        let Some(support) = grid.support(&sharper, &edges) else { break };
        (circle, circularity) = (sharper, support);
    }
    if circularity < MIN_CIRCULARITY {
        return None;
    }
    let step = f64::from(grid.step);
    // From cell indices to pixel indices: a cell's centre is the centre of its pixels.
    let native = |cell: f64| (cell + 0.5) * step - 0.5;
    let (width, height) = (f64::from(photo.width()), f64::from(photo.height()));
    let center = NativePoint { x: native(circle.x), y: native(circle.y) };
    let radius = circle.radius * step;
    Some(FieldOfView {
        center,
        radius,
        circularity,
        visible: visible(center, radius, width, height),
    })
}

/// The photograph's brightness, reduced.
struct Grid {
    step: u32,
    width: u32,
    height: u32,
    /// Mean over a few pixels of the cell of each pixel's brightest channel, row major.
    cells: Vec<u8>,
}

impl Grid {
    fn of(photo: &RgbImage) -> Option<Self> {
        let step = photo.width().max(photo.height()).div_ceil(CELLS);
        let (width, height) = (photo.width().checked_div(step)?, photo.height() / step);
        if width < 8 || height < 8 {
            return None;
        }
        let raw = photo.as_raw();
        let stride = photo.width() as usize * 3;
        // Up to 3 x 3 pixels spread over the cell: enough against noise, cheap on large pictures.
        let taps: Vec<usize> = match step {
            1 => vec![0],
            2 => vec![0, 1],
            _ => [1, 3, 5].map(|sixth| (step * sixth / 6) as usize).to_vec(),
        };
        let count = (taps.len() * taps.len()) as u32;
        let mut cells = Vec::with_capacity(width as usize * height as usize);
        for y in 0..height as usize {
            for x in 0..width as usize {
                let mut sum = 0;
                for dy in &taps {
                    let row = (y * step as usize + dy) * stride;
                    for dx in &taps {
                        let at = row + (x * step as usize + dx) * 3;
                        sum += u32::from(raw[at].max(raw[at + 1]).max(raw[at + 2]));
                    }
                }
                cells.push((sum / count) as u8);
            }
        }
        Some(Self { step, width, height, cells })
    }

    /// The largest connected region that exceeds the surround by `share` of the contrast; `None`
    /// when there is none.
    fn lit(&self, share: f64) -> Option<Mask> {
        let (dark, bright) = (self.quantile(0.01), self.quantile(0.9));
        let threshold = dark + (share * (bright - dark)).max(MIN_LIT);
        let width = self.width as usize;
        let lit = Mask::from_fn(self.width, self.height, |x, y| {
            f64::from(self.cells[y as usize * width + x as usize]) > threshold
        });
        let region = lit.largest_component();
        (!region.is_empty()).then_some(region)
    }

    /// Along each of [`SECTORS`] rays from the circle's centre, the point near its line where
    /// brightness drops most, as a ratio; rays that leave the photograph first, or show no clear
    /// drop, give none.
    fn edges(&self, circle: &Circle) -> Vec<(f64, f64)> {
        let inner = (0.8 * circle.radius) as usize;
        let outer = (1.08 * circle.radius) as usize;
        let mut points = Vec::with_capacity(SECTORS);
        let mut levels: Vec<f64> = Vec::new();
        for sector in 0..SECTORS {
            let (cos, sin) = direction(sector);
            let at = |r: usize| (circle.x + r as f64 * cos, circle.y + r as f64 * sin);
            levels.clear();
            levels.extend((inner..=outer).map_while(|r| self.level(at(r))));
            // Two cells on either side of the gap between cells 1 and 2 of each window of four.
            let drops = levels.windows(4).map(|w| (w[0] + w[1]) / (w[2] + w[3]));
            let sharpest = drops.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((index, _)) = sharpest.filter(|&(_, drop)| drop > MIN_DROP) {
                let r = (inner + index) as f64 + 1.5;
                points.push((circle.x + r * cos, circle.y + r * sin));
            }
        }
        points
    }

    /// Brightness at a point, with a floor that keeps noise in the black from looking like edges;
    /// `None` outside the photograph.
    fn level(&self, (x, y): (f64, f64)) -> Option<f64> {
        let (x, y) = (x.round(), y.round());
        let inside =
            x >= 0.0 && y >= 0.0 && x < f64::from(self.width) && y < f64::from(self.height);
        let index = y as usize * self.width as usize + x as usize;
        inside.then(|| f64::from(self.cells[index]) + MIN_LIT)
    }

    /// The share of the circle's line inside the photograph on which `points` lie; `None` when too
    /// little of the line lies in the photograph.
    fn support(&self, circle: &Circle, points: &[(f64, f64)]) -> Option<f64> {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let mut held = [false; SECTORS];
        for point in points.iter().filter(|&&point| circle.holds(point)) {
            let angle = (point.1 - circle.y).atan2(point.0 - circle.x).rem_euclid(TAU);
            let sector = (angle / TAU * SECTORS as f64) as usize;
            // A sector is a cell or two wide on a large circle: its neighbours share the point.
            for near in [sector + SECTORS - 1, sector, sector + 1] {
                held[near % SECTORS] = true;
            }
        }
        let seen = (0..SECTORS).filter(|&sector| {
            let (cos, sin) = direction(sector);
            let (x, y) = (circle.x + circle.radius * cos, circle.y + circle.radius * sin);
            x >= EDGE && y >= EDGE && x <= width - 1.0 - EDGE && y <= height - 1.0 - EDGE
        });
        let (mut line, mut both) = (0.0, 0.0);
        for sector in seen {
            line += 1.0;
            both += f64::from(u8::from(held[sector]));
        }
        (line >= MIN_LINE * SECTORS as f64).then(|| both / line)
    }

    /// The level below which `share` of the cells lie.
    fn quantile(&self, share: f64) -> f64 {
        let mut counts = [0usize; 256];
        for &cell in &self.cells {
            counts[usize::from(cell)] += 1;
        }
        let wanted = share * self.cells.len() as f64;
        let mut below = 0;
        let level = counts.iter().position(|count| {
            below += count;
            below as f64 > wanted
        });
        level.unwrap_or(255) as f64
    }
}

#[derive(Debug, Clone, Copy)]
struct Circle {
    x: f64,
    y: f64,
    radius: f64,
}

impl Circle {
    /// Whether a point lies beyond the line by more than the tolerance.
    fn excludes(&self, point: (f64, f64)) -> bool {
        self.squared_distance(point) > (self.radius + TOLERANCE).powi(2)
    }

    /// Whether a point lies on the line within the tolerance.
    fn holds(&self, point: (f64, f64)) -> bool {
        let inner = (self.radius - TOLERANCE).max(0.0);
        !self.excludes(point) && self.squared_distance(point) > inner * inner
    }

    /// From the centre. Squared, because this is asked a million times a photograph.
    fn squared_distance(&self, (x, y): (f64, f64)) -> f64 {
        (x - self.x).powi(2) + (y - self.y).powi(2)
    }

    /// The circle through three points; `None` when they lie on a line.
    fn through(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> Option<Self> {
        let (bx, by) = (b.0 - a.0, b.1 - a.1);
        let (cx, cy) = (c.0 - a.0, c.1 - a.1);
        let d = 2.0 * (bx * cy - by * cx);
        if d.abs() < 1.0 {
            return None;
        }
        let (b2, c2) = (bx * bx + by * by, cx * cx + cy * cy);
        let (x, y) = ((cy * b2 - by * c2) / d, (bx * c2 - cx * b2) / d);
        Some(Self { x: a.0 + x, y: a.1 + y, radius: x.hypot(y) })
    }
}

/// First and last lit cell of each row and column, without those at the photograph's own edge.
fn border(lit: &Mask) -> Vec<(f64, f64)> {
    let (width, height) = (lit.width(), lit.height());
    let mut points = Vec::new();
    let mut add = |x: u32, y: u32| {
        let at_edge = x < 2 || y < 2 || x + 2 >= width || y + 2 >= height;
        if !at_edge {
            points.push((f64::from(x), f64::from(y)));
        }
    };
    for y in 0..height {
        if let Some(first) = (0..width).find(|&x| lit.get(x, y)) {
            add(first, y);
            add((0..width).rev().find(|&x| lit.get(x, y)).unwrap_or(first), y);
        }
    }
    for x in 0..width {
        if let Some(first) = (0..height).find(|&y| lit.get(x, y)) {
            add(x, first);
            add(x, (0..height).rev().find(|&y| lit.get(x, y)).unwrap_or(first));
        }
    }
    points
}

/// The circle on which most points lie, if there is any.
fn fit(points: &[(f64, f64)]) -> Option<Circle> {
    Some(refine(best_circle(points)?, points))
}

/// Of circles through triples of border points the one with most points on its line.
fn best_circle(points: &[(f64, f64)]) -> Option<Circle> {
    if points.len() < 12 {
        return None;
    }
    // A fixed low-discrepancy walk over triples: the same photograph gives the same circle.
    let pick = |trial: usize, offset: f64, step: f64| {
        points[(((offset + trial as f64 * step).fract()) * points.len() as f64) as usize]
    };
    let mut best: Option<(usize, Circle)> = None;
    for trial in 0..TRIALS {
        let a = pick(trial, 0.0, 0.618_033_988_75);
        let b = pick(trial, 0.37, 0.754_877_666_25);
        let c = pick(trial, 0.71, 0.569_840_290_99);
        let Some(circle) = Circle::through(a, b, c) else { continue };
        let support = points.iter().filter(|&&point| circle.holds(point)).count();
        if best.is_none_or(|(most, _)| support > most) {
            best = Some((support, circle));
        }
    }
    best.map(|(_, circle)| circle)
}

/// Least squares over the points near the line, repeated (Gauss-Newton on the distances).
fn refine(mut circle: Circle, points: &[(f64, f64)]) -> Circle {
    for _ in 0..8 {
        let near = points.iter().filter(|&&point| circle.holds(point));
        // Normal equations of (dx, dy, dr): the distance changes by -cos, -sin, -1.
        let mut m = [[0.0; 4]; 3];
        for &(x, y) in near {
            let (dx, dy) = (x - circle.x, y - circle.y);
            let length = dx.hypot(dy).max(1e-9);
            let row = [dx / length, dy / length, 1.0];
            for (i, line) in m.iter_mut().enumerate() {
                for j in 0..3 {
                    line[j] += row[i] * row[j];
                }
                line[3] += row[i] * (length - circle.radius);
            }
        }
        let Some([dx, dy, dr]) = solve(m) else { return circle };
        circle = Circle { x: circle.x + dx, y: circle.y + dy, radius: circle.radius + dr };
    }
    circle
}

/// Solves three linear equations by elimination with pivots; `None` when they are singular.
fn solve(mut m: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot =
            (column..3).max_by(|&a, &b| m[a][column].abs().total_cmp(&m[b][column].abs()))?;
        m.swap(column, pivot);
        if m[column][column].abs() < 1e-9 {
            return None;
        }
        let pivot = m[column];
        for (_, row) in m.iter_mut().enumerate().filter(|&(index, _)| index != column) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).for_each(|(value, above)| *value -= factor * above);
        }
    }
    Some([m[0][3] / m[0][0], m[1][3] / m[1][1], m[2][3] / m[2][2]])
}

/// Direction (x, y) of the middle of a sector.
fn direction(sector: usize) -> (f64, f64) {
    let angle = (sector as f64 + 0.5) / SECTORS as f64 * TAU;
    (angle.cos(), angle.sin())
}

/// Share of the circle's area inside a `width` x `height` photograph, by rows.
fn visible(center: NativePoint, radius: f64, width: f64, height: f64) -> f64 {
    const ROWS: usize = 512;
    let mut inside = 0.0;
    let mut total = 0.0;
    for row in 0..ROWS {
        let dy = ((row as f64 + 0.5) / ROWS as f64 * 2.0 - 1.0) * radius;
        let half = (radius * radius - dy * dy).max(0.0).sqrt();
        total += 2.0 * half;
        if (-0.5..=height - 0.5).contains(&(center.y + dy)) {
            let left = (center.x - half).max(-0.5);
            let right = (center.x + half).min(width - 0.5);
            inside += (right - left).max(0.0);
        }
    }
    if total > 0.0 { inside / total } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Path, PathBuf};

    use image::Rgb;

    use super::*;
    use crate::photo::{Limits, decode};

    fn pictures(folder: &Path, every: usize) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().step_by(every).collect()
    }

    fn found(path: &Path) -> FieldOfView {
        let photo = decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
        find_field_of_view(&photo.pixels)
            .unwrap_or_else(|| panic!("no field of view in {}", path.display()))
    }

    #[test]
    fn the_retina_that_travels_along_is_found() {
        let field = found(&glaucoma_tests::retina());
        // Measured by eye on the picture: the retina touches 8 to 1404 across.
        assert!((field.radius - 698.0).abs() < 5.0, "{field:?}");
        assert!((field.center.x - 705.0).abs() < 5.0, "{field:?}");
        assert!(field.circularity > 0.95 && field.visible > 0.99, "{field:?}");
    }

    /// One camera has one aperture: every photograph of it must give nearly the same radius, dark,
    /// glaring or cut off.
    #[test]
    fn real_photographs_of_one_camera_give_one_radius() {
        for (folder, every, radius, visible) in [
            ("hygd/images", 9, 936.5, 0.99),
            ("hrf/images", 4, 1634.0, 0.8),
            ("drishti-gs1/images", 1, 1022.0, 0.9),
            ("idrid/images/loc/test", 3, 1710.0, 0.9),
        ] {
            let Some(folder) = glaucoma_tests::fundus_data(folder) else { continue };
            for path in pictures(&folder, every) {
                let field = found(&path);
                let off = (field.radius - radius).abs() / radius;
                assert!(off < 0.012, "{}: {field:?}", path.display());
                assert!(field.visible > visible, "{}: {field:?}", path.display());
                assert!(field.circularity > 0.85, "{}: {field:?}", path.display());
            }
        }
    }

    #[test]
    fn nothing_is_found_where_no_circle_is() {
        assert_eq!(find_field_of_view(&RgbImage::new(0, 0)), None);
        assert_eq!(find_field_of_view(&RgbImage::new(640, 480)), None);
        assert_eq!(find_field_of_view(&RgbImage::from_pixel(640, 480, Rgb([200, 90, 40]))), None);
        let noise = RgbImage::from_fn(640, 480, |x, y| {
            Rgb([((x * 7919 + y * 104_729) % 251) as u8, (x * y % 97) as u8, 30])
        });
        assert_eq!(find_field_of_view(&noise), None);
        let roundless =
            |photo: &RgbImage| find_field_of_view(photo).is_none_or(|f| f.circularity < 0.6);
        let square = RgbImage::from_fn(640, 480, |x, y| {
            let inside = (100..500).contains(&x) && (60..420).contains(&y);
            Rgb([if inside { 180 } else { 0 }; 3])
        });
        assert!(roundless(&square), "{:?}", find_field_of_view(&square));
        let half =
            RgbImage::from_fn(640, 480, |x, y| Rgb([if x + y / 2 > 300 { 180 } else { 0 }; 3]));
        assert!(roundless(&half), "{:?}", find_field_of_view(&half));
    }
}
