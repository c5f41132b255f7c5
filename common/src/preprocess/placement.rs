//! Where the network's square lies in the photograph; points and masks there and back.

use crate::mask::Mask;
use crate::metrics::distance;

/// A point in the photograph, in pixel-index coordinates: the centre of the top-left pixel is
/// (0, 0), x goes right, y down.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NativePoint {
    /// Native pixels from the left.
    pub x: f64,
    /// Native pixels from the top.
    pub y: f64,
}

/// A point in the network's square input, in pixel-index coordinates: the centre of the top-left
/// pixel is (0, 0), x goes right, y down.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NetworkPoint {
    /// Network pixels from the left.
    pub x: f64,
    /// Network pixels from the top.
    pub y: f64,
}

impl NativePoint {
    /// Euclidean distance in native pixels.
    #[must_use]
    pub fn distance_to(self, other: Self) -> f64 {
        distance(self, other)
    }
}

impl NetworkPoint {
    /// Euclidean distance in network pixels.
    #[must_use]
    pub fn distance_to(self, other: Self) -> f64 {
        distance(self, other)
    }
}

impl From<NativePoint> for (f64, f64) {
    fn from(point: NativePoint) -> Self {
        (point.x, point.y)
    }
}

impl From<NetworkPoint> for (f64, f64) {
    fn from(point: NetworkPoint) -> Self {
        (point.x, point.y)
    }
}

/// Where the network's square lies in the photograph.
///
/// The origin is in corner coordinates: (0, 0) is the outer corner of the top-left pixel, whose
/// centre is (0.5, 0.5). The square may reach outside the photograph.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Placement {
    /// Native pixels from the photograph's left edge to the square's left edge; may be negative.
    pub origin_x: f64,
    /// Native pixels from the photograph's top edge to the square's top edge; may be negative.
    pub origin_y: f64,
    /// Native pixels covered horizontally.
    pub width: f64,
    /// Native pixels covered vertically.
    pub height: f64,
    /// Network pixels along each side.
    pub side: u32,
}

impl Placement {
    /// The square of `extent` native pixels around `center`.
    #[must_use]
    pub fn square(center: NativePoint, extent: f64, side: u32) -> Self {
        Self {
            origin_x: center.x + 0.5 - extent / 2.0,
            origin_y: center.y + 0.5 - extent / 2.0,
            width: extent,
            height: extent,
            side,
        }
    }

    /// The network point at a native point.
    #[must_use]
    pub fn to_network(&self, point: NativePoint) -> NetworkPoint {
        let (x, y) = self.native_per_network();
        NetworkPoint {
            x: (point.x + 0.5 - self.origin_x) / x - 0.5,
            y: (point.y + 0.5 - self.origin_y) / y - 0.5,
        }
    }

    /// The native point at a network point.
    #[must_use]
    pub fn to_native(&self, point: NetworkPoint) -> NativePoint {
        let (x, y) = self.native_per_network();
        NativePoint {
            x: (point.x + 0.5) * x + self.origin_x - 0.5,
            y: (point.y + 0.5) * y + self.origin_y - 0.5,
        }
    }

    /// Native pixels a network pixel, horizontally and vertically.
    #[must_use]
    pub fn native_per_network(&self) -> (f64, f64) {
        (self.width / f64::from(self.side), self.height / f64::from(self.side))
    }

    /// `native` seen by the network: a network pixel is inside when at least half of its footprint
    /// is; outside the photograph nothing is.
    #[must_use]
    pub fn mask_to_network(&self, native: &Mask) -> Mask {
        let (x_step, y_step) = self.native_per_network();
        let side = self.side as usize;
        let rows = native.data().chunks_exact((native.width() as usize).max(1));
        let rows: Vec<&[bool]> = rows.collect();
        let mut mask = Mask::new(self.side, self.side);
        let mut covered = vec![0.0; side];
        for network_y in 0..self.side {
            let top = self.origin_y + f64::from(network_y) * y_step;
            covered.fill(0.0);
            for (y, share) in overlaps(top, top + y_step, rows.len()) {
                self.add_row(rows[y], share, &mut covered);
            }
            for (network_x, area) in (0u32..).zip(&covered) {
                // A hair below one half: sums of shares must not lose a tie to rounding.
                if *area >= (0.5 - 1e-9) * x_step * y_step {
                    mask.set(network_x, network_y, true);
                }
            }
        }
        mask
    }

    /// Adds the length covered in each network column by one native row, times `share`.
    fn add_row(&self, row: &[bool], share: f64, covered: &mut [f64]) {
        let x_step = self.native_per_network().0;
        for run in runs(row) {
            let (from, to) = (run.0 as f64 - self.origin_x, run.1 as f64 - self.origin_x);
            for (column, length) in overlaps(from / x_step, to / x_step, covered.len()) {
                covered[column] += length * x_step * share;
            }
        }
    }

    /// `network` seen in a photograph of `width` x `height`: each native pixel takes the value of
    /// the network pixel it lies in; outside the square nothing is inside.
    #[must_use]
    pub fn mask_to_native(&self, network: &Mask, width: u32, height: u32) -> Mask {
        let column = |x: u32| self.to_network(NativePoint { x: f64::from(x), y: 0.0 }).x;
        let row = |y: u32| self.to_network(NativePoint { x: 0.0, y: f64::from(y) }).y;
        let pixel = |at: f64| {
            let index = (at + 0.5).floor();
            (index >= 0.0 && index < f64::from(self.side)).then_some(index as u32)
        };
        let columns: Vec<Option<u32>> = (0..width).map(|x| pixel(column(x))).collect();
        let rows: Vec<Option<u32>> = (0..height).map(|y| pixel(row(y))).collect();
        Mask::from_fn(width, height, |x, y| {
            let at = columns[x as usize].zip(rows[y as usize]);
            at.is_some_and(|(x, y)| network.get(x, y))
        })
    }
}

/// The unit cells 0..`count` that the stretch `from`..`to` touches, with the length in each.
fn overlaps(from: f64, to: f64, count: usize) -> impl Iterator<Item = (usize, f64)> {
    let first = from.max(0.0).floor() as usize;
    let last = to.min(count as f64).ceil().max(0.0) as usize;
    (first..last).filter_map(move |cell| {
        let length = to.min(cell as f64 + 1.0) - from.max(cell as f64);
        (length > 0.0).then_some((cell, length))
    })
}

/// The stretches (first, one past the last) of a row's inside pixels.
fn runs(row: &[bool]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + row.get(at..)?.iter().position(|&inside| inside)?;
        let rest = row[start..].iter().position(|&inside| !inside);
        at = rest.map_or(row.len(), |length| start + length);
        Some((start, at))
    })
}
