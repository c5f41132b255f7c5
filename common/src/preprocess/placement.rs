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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placements() -> impl Strategy<Value = Placement> {
        (-500.0..500.0f64, -500.0..500.0f64, 8.0..5000.0f64, 8.0..5000.0f64, 16u32..600).prop_map(
            |(origin_x, origin_y, width, height, side)| Placement {
                origin_x,
                origin_y,
                width,
                height,
                side,
            },
        )
    }

    #[test]
    fn corners_meet_corners() {
        let placement =
            Placement { origin_x: 10.0, origin_y: -4.0, width: 64.0, height: 128.0, side: 16 };
        let corner = placement.to_network(NativePoint { x: 9.5, y: -4.5 });
        assert_eq!((corner.x, corner.y), (-0.5, -0.5));
        let opposite = placement.to_native(NetworkPoint { x: 15.5, y: 15.5 });
        assert_eq!((opposite.x, opposite.y), (73.5, 123.5));
        assert_eq!(placement.native_per_network(), (4.0, 8.0));
        let square = Placement::square(NativePoint { x: 99.5, y: 49.5 }, 60.0, 30);
        assert_eq!((square.origin_x, square.origin_y), (70.0, 20.0));
    }

    #[test]
    fn half_a_footprint_is_inside() {
        // Network pixels of 4 x 4 native ones; the first is half covered, the second less.
        let native = Mask::from_fn(8, 4, |x, y| if x < 4 { y < 2 } else { y == 0 });
        let placement =
            Placement { origin_x: 0.0, origin_y: 0.0, width: 8.0, height: 8.0, side: 2 };
        let network = placement.mask_to_network(&native);
        assert!(network.get(0, 0) && !network.get(1, 0) && !network.get(0, 1));
        // Half of the footprint outside the photograph counts as outside.
        let shifted = Placement { origin_x: -2.5, ..placement };
        let full = Mask::from_fn(8, 8, |_, _| true);
        assert!(!shifted.mask_to_network(&full).get(0, 0));
        assert!(shifted.mask_to_network(&full).get(1, 0));
    }

    proptest! {
        #[test]
        fn points_come_back(placement in placements(), x in -900.0..6000.0f64, y in -900.0..6000.0f64) {
            let point = NativePoint { x, y };
            let back = placement.to_native(placement.to_network(point));
            prop_assert!(back.distance_to(point) < 1e-6);
        }

        /// A pixel drawn in native coordinates at a rounded point comes back within half a network
        /// pixel (and the native pixel's own half).
        #[test]
        fn rounded_points_come_back_within_half_a_network_pixel(
            placement in placements(), x in 0u32..600, y in 0u32..600,
        ) {
            let point = NetworkPoint {
                x: f64::from(x % placement.side), y: f64::from(y % placement.side),
            };
            let native = placement.to_native(point);
            let rounded = NativePoint { x: native.x.round(), y: native.y.round() };
            let back = placement.to_network(rounded);
            let (step_x, step_y) = placement.native_per_network();
            prop_assert!((back.x - point.x).abs() <= 0.5 / step_x + 1e-9);
            prop_assert!((back.y - point.y).abs() <= 0.5 / step_y + 1e-9);
        }

        /// A shape seen by the network and put back keeps its place to half a network pixel.
        #[test]
        fn masks_come_back_within_half_a_network_pixel(
            left in -40.0..40.0f64, top in -40.0..40.0f64, extent in 200.0..420.0f64,
            side in 24u32..200, center_x in 120.0..180.0f64, center_y in 120.0..180.0f64,
        ) {
            let placement =
                Placement { origin_x: left, origin_y: top, width: extent, height: extent, side };
            let step = placement.native_per_network().0;
            let radius = 4.0 * step.max(4.0);
            let native = Mask::from_fn(300, 300, |x, y| {
                (f64::from(x) - center_x).hypot(f64::from(y) - center_y) <= radius
            });
            let inside = center_x + radius < left + extent && center_y + radius < top + extent;
            prop_assume!(inside && center_x - radius > left && center_y - radius > top);
            let network = placement.mask_to_network(&native);
            let back = placement.mask_to_native(&network, 300, 300);
            let ((ax, ay), (bx, by)) = (native.centroid().unwrap_or_default(), back.centroid().unwrap_or_default());
            prop_assert!((ax - bx).abs() <= 0.5 * step && (ay - by).abs() <= 0.5 * step);
            let (nx, ny) = network.centroid().unwrap_or_default();
            let seen = placement.to_native(NetworkPoint { x: nx, y: ny });
            prop_assert!((seen.x - ax).abs() <= 0.5 * step && (seen.y - ay).abs() <= 0.5 * step);
        }

        /// Footprint areas, computed pixel by pixel over fine samples, decide as the sums do.
        #[test]
        fn footprints_are_measured_rightly(
            bits in proptest::collection::vec(any::<bool>(), 12 * 10),
            left in -3.0..3.0f64, top in -3.0..3.0f64, width in 6.0..14.0f64, height in 6.0..14.0f64,
        ) {
            let native = Mask::from_fn(12, 10, |x, y| bits[(y * 12 + x) as usize]);
            let placement =
                Placement { origin_x: left, origin_y: top, width, height, side: 4 };
            let network = placement.mask_to_network(&native);
            const FINE: u32 = 60;
            for (x, y) in (0..4).flat_map(|x| (0..4).map(move |y| (x, y))) {
                let mut hits = 0;
                for (i, j) in (0..FINE).flat_map(|i| (0..FINE).map(move |j| (i, j))) {
                    let at = |start: f64, extent: f64, cell: u32, sub: u32| {
                        start + extent / 4.0 * (f64::from(cell) + (f64::from(sub) + 0.5) / f64::from(FINE))
                    };
                    let (nx, ny) = (at(left, width, x, i), at(top, height, y, j));
                    let inside = nx >= 0.0 && ny >= 0.0 && native.get(nx as u32, ny as u32);
                    hits += u32::from(inside);
                }
                let share = f64::from(hits) / f64::from(FINE * FINE);
                if (share - 0.5).abs() > 0.05 {
                    prop_assert_eq!(network.get(x, y), share > 0.5);
                }
            }
        }
    }
}
