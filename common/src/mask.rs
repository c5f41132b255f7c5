//! Binary masks: components, diameters, outline, ellipse.

/// A binary picture, row major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    data: Vec<bool>,
}

/// The smallest axis-parallel box around a mask, in pixel indices, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Leftmost column.
    pub x0: u32,
    /// Topmost row.
    pub y0: u32,
    /// Rightmost column.
    pub x1: u32,
    /// Bottom row.
    pub y1: u32,
}

/// The ellipse with the same second moments as a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ellipse {
    /// Centre in pixel-index coordinates (x, y).
    pub center: (f64, f64),
    /// Longer half axis in pixels.
    pub semi_major: f64,
    /// Shorter half axis in pixels.
    pub semi_minor: f64,
    /// Direction of the longer axis against the x axis, radians in (-pi/2, pi/2], y down.
    pub angle: f64,
}

impl Mask {
    /// An empty mask of `width` x `height` pixels.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, data: vec![false; width as usize * height as usize] }
    }

    /// The mask whose pixel in column `x`, row `y` is `inside(x, y)`.
    #[must_use]
    pub fn from_fn(width: u32, height: u32, mut inside: impl FnMut(u32, u32) -> bool) -> Self {
        let mut data = Vec::with_capacity(width as usize * height as usize);
        for y in 0..height {
            data.extend((0..width).map(|x| inside(x, y)));
        }
        Self { width, height, data }
    }

    /// The pixels of a row-major map that are `>= threshold`; a value that is not a number is
    /// outside.
    ///
    /// # Panics
    /// When `map` does not hold `width * height` values.
    #[must_use]
    pub fn from_probabilities(map: &[f32], width: u32, height: u32, threshold: f32) -> Self {
        assert_eq!(map.len(), width as usize * height as usize, "map of another size");
        Self { width, height, data: map.iter().map(|&value| value >= threshold).collect() }
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, row major.
    #[must_use]
    pub fn data(&self) -> &[bool] {
        &self.data
    }

    /// Whether the pixel in column `x`, row `y` belongs to the mask; `false` outside the picture.
    #[must_use]
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width && y < self.height && self.data[self.index(x, y)]
    }

    /// Sets the pixel in column `x`, row `y`.
    ///
    /// # Panics
    /// When it lies outside the picture.
    pub fn set(&mut self, x: u32, y: u32, inside: bool) {
        assert!(x < self.width && y < self.height, "pixel ({x}, {y}) outside the mask");
        let index = self.index(x, y);
        self.data[index] = inside;
    }

    /// Number of pixels that belong to the mask.
    #[must_use]
    pub fn area(&self) -> usize {
        self.data.iter().filter(|&&inside| inside).count()
    }

    /// Whether no pixel belongs to the mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.data.contains(&true)
    }

    /// Whether every pixel of this mask belongs to `other` too.
    ///
    /// # Panics
    /// When the sizes differ.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.assert_same_size(other);
        self.data.iter().zip(&other.data).all(|(&a, &b)| !a || b)
    }

    /// The pixels of both masks.
    ///
    /// # Panics
    /// When the sizes differ.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// The pixels of either mask.
    ///
    /// # Panics
    /// When the sizes differ.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }

    /// Areas in pixels of the 8-connected components, largest first.
    #[must_use]
    pub fn component_areas(&self) -> Vec<usize> {
        let mut areas = self.components().1;
        areas.sort_unstable_by(|a, b| b.cmp(a));
        areas
    }

    /// Number of 8-connected components.
    #[must_use]
    pub fn component_count(&self) -> usize {
        self.components().1.len()
    }

    /// The largest 8-connected component alone; of equals the first in raster order. Empty for an
    /// empty mask.
    #[must_use]
    pub fn largest_component(&self) -> Self {
        let (labels, areas) = self.components();
        let mut best = (0, 0);
        for (index, &area) in areas.iter().enumerate() {
            if area > best.1 {
                best = (index as u32 + 1, area);
            }
        }
        let data = labels.iter().map(|&label| label != 0 && label == best.0).collect();
        Self { width: self.width, height: self.height, data }
    }

    /// The largest number of mask pixels in any one column: the "height" of disc and cup from
    /// which the paper's reference code takes the vertical cup-to-disc ratio.
    #[must_use]
    pub fn vertical_diameter(&self) -> u32 {
        let mut counts = vec![0; self.width as usize];
        for (index, _) in self.data.iter().enumerate().filter(|&(_, &inside)| inside) {
            counts[index % self.width as usize] += 1;
        }
        counts.into_iter().max().unwrap_or(0)
    }

    /// The largest number of mask pixels in any one row.
    #[must_use]
    pub fn horizontal_diameter(&self) -> u32 {
        self.rows()
            .map(|row| row.iter().filter(|&&inside| inside).count() as u32)
            .max()
            .unwrap_or(0)
    }

    /// The smallest box around the mask; `None` when it is empty.
    #[must_use]
    pub fn bounding_box(&self) -> Option<Bounds> {
        let mut bounds: Option<Bounds> = None;
        for (y, row) in (0u32..).zip(self.rows()) {
            let Some(first) = row.iter().position(|&inside| inside) else { continue };
            let last = row.iter().rposition(|&inside| inside).unwrap_or(first);
            let (first, last) = (first as u32, last as u32);
            bounds = Some(bounds.map_or(Bounds { x0: first, y0: y, x1: last, y1: y }, |b| {
                Bounds { x0: b.x0.min(first), y0: b.y0, x1: b.x1.max(last), y1: y }
            }));
        }
        bounds
    }

    /// Mean position of the mask's pixels in pixel-index coordinates; `None` when it is empty.
    #[must_use]
    pub fn centroid(&self) -> Option<(f64, f64)> {
        self.moments().map(|moments| moments.center)
    }

    /// The ellipse with the mask's centre and second moments, each pixel counted as a unit square;
    /// `None` when the mask is empty. For a filled ellipse its half axes are the ellipse's own.
    #[must_use]
    pub fn ellipse(&self) -> Option<Ellipse> {
        let Moments { center, xx, xy, yy } = self.moments()?;
        let mean = (xx + yy) / 2.0;
        let spread = ((xx - yy) / 2.0).hypot(xy);
        // The variance of a filled ellipse along an axis is a quarter of the half axis squared.
        Some(Ellipse {
            center,
            semi_major: 2.0 * (mean + spread).sqrt(),
            semi_minor: 2.0 * (mean - spread).max(0.0).sqrt(),
            angle: 0.5 * (2.0 * xy).atan2(xx - yy),
        })
    }

    /// The closed outer outline, in pixel-index coordinates and drawing order, of the component
    /// that holds the mask's first pixel in raster order; empty for an empty mask.
    ///
    /// The outline joins the midpoints of the pixel edges between inside and outside, so it keeps
    /// every inside pixel's centre in and every outside pixel's centre out, and slopes come out as
    /// slopes, not as stairs. The last point joins the first, which is not repeated.
    #[must_use]
    pub fn contour(&self) -> Vec<(f64, f64)> {
        let Some(first) = self.data.iter().position(|&inside| inside) else { return Vec::new() };
        let width = self.width as usize;
        let start = ((first % width) as i64, (first / width) as i64, Side::Top);
        let mut outline = Vec::new();
        let mut at = start;
        loop {
            let (x, y, side) = at;
            let (dx, dy) = side.midpoint();
            outline.push((x as f64 + dx, y as f64 + dy));
            at = self.next_edge(x, y, side);
            if at == start {
                return outline;
            }
        }
    }

    /// The boundary edge after (`x`, `y`, `side`), walking clockwise on the screen with the mask
    /// on the right hand. Where two pixels touch at a corner only, the walk goes over to the
    /// other: the component is 8-connected.
    fn next_edge(&self, x: i64, y: i64, side: Side) -> (i64, i64, Side) {
        let (ahead, outward) = (side.along(), side.outward());
        let diagonal = (x + ahead.0 + outward.0, y + ahead.1 + outward.1);
        if self.at(diagonal) {
            return (diagonal.0, diagonal.1, side.previous());
        }
        let neighbour = (x + ahead.0, y + ahead.1);
        if self.at(neighbour) {
            return (neighbour.0, neighbour.1, side);
        }
        (x, y, side.next())
    }

    fn at(&self, (x, y): (i64, i64)) -> bool {
        u32::try_from(x).is_ok_and(|x| u32::try_from(y).is_ok_and(|y| self.get(x, y)))
    }

    /// Label of each pixel (0 outside, else 1 + the component's index in raster order of first
    /// pixels) and the components' areas. Each pixel is visited once.
    fn components(&self) -> (Vec<u32>, Vec<usize>) {
        let mut labels = vec![0u32; self.data.len()];
        let mut areas = Vec::new();
        let mut open = Vec::new();
        for seed in 0..self.data.len() {
            if !self.data[seed] || labels[seed] != 0 {
                continue;
            }
            let label = areas.len() as u32 + 1;
            let mut area = 0;
            labels[seed] = label;
            open.push(seed);
            while let Some(index) = open.pop() {
                area += 1;
                self.for_each_neighbour(index, |neighbour| {
                    if self.data[neighbour] && labels[neighbour] == 0 {
                        labels[neighbour] = label;
                        open.push(neighbour);
                    }
                });
            }
            areas.push(area);
        }
        (labels, areas)
    }

    fn for_each_neighbour(&self, index: usize, mut visit: impl FnMut(usize)) {
        let (width, height) = (self.width as usize, self.height as usize);
        let (x, y) = (index % width, index / width);
        for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
            for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                visit(ny * width + nx);
            }
        }
    }

    fn moments(&self) -> Option<Moments> {
        let (mut n, mut sx, mut sy) = (0.0, 0.0, 0.0);
        self.for_each_inside(|x, y| {
            n += 1.0;
            sx += x;
            sy += y;
        });
        if n == 0.0 {
            return None;
        }
        let center = (sx / n, sy / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        self.for_each_inside(|x, y| {
            let (dx, dy) = (x - center.0, y - center.1);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        });
        // 1/12: the variance of a unit square about its own centre.
        Some(Moments { center, xx: xx / n + 1.0 / 12.0, xy: xy / n, yy: yy / n + 1.0 / 12.0 })
    }

    fn for_each_inside(&self, mut visit: impl FnMut(f64, f64)) {
        for (y, row) in self.rows().enumerate() {
            for (x, _) in row.iter().enumerate().filter(|&(_, &inside)| inside) {
                visit(x as f64, y as f64);
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.data.chunks_exact((self.width as usize).max(1))
    }

    fn combine(&self, other: &Self, both: impl Fn(bool, bool) -> bool) -> Self {
        self.assert_same_size(other);
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| both(a, b)).collect();
        Self { width: self.width, height: self.height, data }
    }

    fn assert_same_size(&self, other: &Self) {
        assert_eq!((self.width, self.height), (other.width, other.height), "masks of two sizes");
    }

    fn index(&self, x: u32, y: u32) -> usize {
        y as usize * self.width as usize + x as usize
    }
}

/// Centre and central second moments of a mask's pixels.
struct Moments {
    center: (f64, f64),
    xx: f64,
    xy: f64,
    yy: f64,
}

/// One of a pixel's four edges, in the order of a clockwise walk (y down).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Top,
    Right,
    Bottom,
    Left,
}

impl Side {
    fn next(self) -> Self {
        match self {
            Self::Top => Self::Right,
            Self::Right => Self::Bottom,
            Self::Bottom => Self::Left,
            Self::Left => Self::Top,
        }
    }

    fn previous(self) -> Self {
        self.next().next().next()
    }

    /// Unit step from the pixel across this edge.
    fn outward(self) -> (i64, i64) {
        match self {
            Self::Top => (0, -1),
            Self::Right => (1, 0),
            Self::Bottom => (0, 1),
            Self::Left => (-1, 0),
        }
    }

    /// Unit step along this edge in the walk's direction.
    fn along(self) -> (i64, i64) {
        self.next().outward()
    }

    /// The edge's midpoint seen from the pixel's centre.
    fn midpoint(self) -> (f64, f64) {
        let (x, y) = self.outward();
        (0.5 * x as f64, 0.5 * y as f64)
    }
}

#[cfg(test)]
mod tests;
