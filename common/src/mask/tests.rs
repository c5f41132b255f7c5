//! Tests of masks: hand-drawn cases and properties.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn mask(rows: &[&str]) -> Mask {
    let (width, height) = (rows[0].len() as u32, rows.len() as u32);
    Mask::from_fn(width, height, |x, y| rows[y as usize].as_bytes()[x as usize] == b'#')
}

fn disc(side: u32, center: (f64, f64), radii: (f64, f64), angle: f64) -> Mask {
    Mask::from_fn(side, side, |x, y| {
        let (dx, dy) = (f64::from(x) - center.0, f64::from(y) - center.1);
        let along = dx * angle.cos() + dy * angle.sin();
        let across = dy * angle.cos() - dx * angle.sin();
        (along / radii.0).powi(2) + (across / radii.1).powi(2) <= 1.0
    })
}

fn contains(polygon: &[(f64, f64)], (x, y): (f64, f64)) -> bool {
    let mut inside = false;
    for (index, &(ax, ay)) in polygon.iter().enumerate() {
        let (bx, by) = polygon[(index + 1) % polygon.len()];
        if (ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax) {
            inside = !inside;
        }
    }
    inside
}

#[test]
fn diagonal_neighbours_are_one_component_and_ties_go_to_the_first() {
    let two = mask(&["#..#.", ".#..#", "....."]);
    assert_eq!(two.component_count(), 2);
    assert_eq!(two.component_areas(), vec![2, 2]);
    assert_eq!(two.largest_component(), mask(&["#....", ".#...", "....."]));
    assert_eq!(Mask::new(3, 2).largest_component(), Mask::new(3, 2));
}

#[test]
fn a_million_pixels_in_one_snake_need_no_deep_stack() {
    let comb = Mask::from_fn(1000, 1000, |x, y| y == 0 || x % 2 == 0);
    assert_eq!(comb.component_count(), 1);
    assert_eq!(comb.largest_component(), comb);
}

#[test]
fn diameters_are_the_fullest_column_and_row() {
    let notched = mask(&["###.", "....", "##..", "##.."]);
    assert_eq!(notched.vertical_diameter(), 3);
    assert_eq!(notched.horizontal_diameter(), 3);
    assert_eq!(notched.bounding_box(), Some(Bounds { x0: 0, y0: 0, x1: 2, y1: 3 }));
    assert_eq!(Mask::new(0, 0).vertical_diameter(), 0);
    assert_eq!(Mask::new(4, 4).bounding_box(), None);
}

#[test]
fn ellipse_recovers_a_tilted_one() {
    let ellipse = disc(200, (90.0, 110.0), (60.0, 35.0), 0.5).ellipse().unwrap();
    assert!((ellipse.center.0 - 90.0).abs() < 0.1 && (ellipse.center.1 - 110.0).abs() < 0.1);
    assert!((ellipse.semi_major - 60.0).abs() < 0.3, "{ellipse:?}");
    assert!((ellipse.semi_minor - 35.0).abs() < 0.3, "{ellipse:?}");
    assert!((ellipse.angle - 0.5).abs() < 0.01, "{ellipse:?}");
    assert!(Mask::new(5, 5).ellipse().is_none() && Mask::new(5, 5).centroid().is_none());
}

#[test]
fn contour_of_one_pixel_is_its_diamond() {
    let one = mask(&["...", ".#.", "..."]);
    assert_eq!(one.contour(), vec![(1.0, 0.5), (1.5, 1.0), (1.0, 1.5), (0.5, 1.0)]);
    assert!(Mask::new(3, 3).contour().is_empty());
}

proptest! {
    #[test]
    fn contour_separates_the_first_component_from_everything_else(
        bits in proptest::collection::vec(proptest::bool::weighted(0.55), 12 * 9)
    ) {
        let all = Mask::from_fn(12, 9, |x, y| bits[(y * 12 + x) as usize]);
        let (labels, _) = all.components();
        let component = Mask::from_fn(12, 9, |x, y| labels[(y * 12 + x) as usize] == 1);
        let outline = component.contour();
        // What cannot be reached from outside by 4-steps is a hole and lies inside.
        let outside = Mask::from_fn(14, 11, |x, y| {
            x == 0 || y == 0 || !component.get(x - 1, y - 1)
        });
        let mut reached = Mask::new(14, 11);
        let mut open = vec![(0u32, 0u32)];
        while let Some((x, y)) = open.pop() {
            if outside.get(x, y) && !reached.get(x, y) {
                reached.set(x, y, true);
                open.extend([(x + 1, y), (x, y + 1)]);
                open.extend(x.checked_sub(1).map(|x| (x, y)));
                open.extend(y.checked_sub(1).map(|y| (x, y)));
            }
        }
        for y in 0..9 {
            for x in 0..12 {
                let filled = !reached.get(x + 1, y + 1);
                let point = (f64::from(x) + 1e-4, f64::from(y) + 1e-5);
                prop_assert_eq!(!outline.is_empty() && contains(&outline, point), filled);
            }
        }
    }

    #[test]
    fn largest_component_is_one_component_of_the_mask(
        bits in proptest::collection::vec(any::<bool>(), 15 * 11)
    ) {
        let all = Mask::from_fn(15, 11, |x, y| bits[(y * 15 + x) as usize]);
        let largest = all.largest_component();
        prop_assert!(largest.is_subset_of(&all));
        prop_assert_eq!(largest.component_count(), usize::from(!all.is_empty()));
        prop_assert_eq!(all.component_areas().iter().sum::<usize>(), all.area());
        prop_assert_eq!(all.component_areas().first().copied().unwrap_or(0), largest.area());
    }
}
