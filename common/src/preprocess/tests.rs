//! Tests of framing and resizing, against Pillow and on drawn pictures.

#![allow(clippy::unwrap_used)]

use glaucoma_tests::golden;
use image::Rgb;
use proptest::prelude::*;

use super::*;
use crate::photo::{Limits, decode};

const FILTER: ResizeFilter = ResizeFilter::AntialiasedBilinear;

fn contract(framing: Framing) -> InputContract {
    InputContract { side: 64, framing, filter: FILTER, scale: 1.0 / 255.0 }
}

fn placement((left, top, right, bottom): (f64, f64, f64, f64), side: u32) -> Placement {
    Placement { origin_x: left, origin_y: top, width: right - left, height: bottom - top, side }
}

/// A plain orange circle on black.
fn circle(width: u32, height: u32, center: (f64, f64), radius: f64) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let inside = (f64::from(x) - center.0).hypot(f64::from(y) - center.1) <= radius;
        if inside { Rgb([180, 90, 40]) } else { Rgb([0, 0, 0]) }
    })
}

#[test]
fn resizing_equals_pillow() {
    let bytes = std::fs::read(golden("common/pictures.json")).unwrap();
    let golden_values: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let png = std::fs::read(golden("common/rgb.png")).unwrap();
    let photo = decode(&png, &Limits::default()).unwrap().pixels;
    for case in golden_values["resized"].as_array().unwrap() {
        let edge = |index: usize| case["box"][index].as_f64().unwrap();
        let side = case["side"].as_u64().unwrap() as u32;
        let region = placement((edge(0), edge(1), edge(2), edge(3)), side);
        let found = prepare_region(&photo, &region, FILTER).unwrap();
        let hex = case["pixels"].as_str().unwrap();
        for (index, &value) in found.as_raw().iter().enumerate() {
            let expected = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
            let off = i32::from(value) - i32::from(expected);
            assert!(off.abs() <= 1, "byte {index}: {value} for {expected}");
        }
    }
}

#[test]
fn a_reduced_picture_keeps_proportions_and_means() {
    for (size, longest, expected) in [
        ((90, 60), 30, (30, 20)),
        ((60, 90), 30, (20, 30)),
        ((9, 6), 30, (9, 6)),
        ((500, 1), 5, (5, 1)),
    ] {
        let photo = RgbImage::from_fn(size.0, size.1, |x, y| {
            image::Rgb([(x * 200 / size.0) as u8, (y * 200 / size.1) as u8, 7])
        });
        let small = reduce(&photo, longest).unwrap();
        assert_eq!(small.dimensions(), expected);
        let mean = |picture: &RgbImage, channel: usize| {
            let sum: f64 = picture.pixels().map(|pixel| f64::from(pixel.0[channel])).sum();
            sum / f64::from(picture.width() * picture.height())
        };
        for channel in 0..3 {
            let (before, after) = (mean(&photo, channel), mean(&small, channel));
            assert!((before - after).abs() < 1.0, "{size:?}: {before} became {after}");
        }
    }
    assert!(matches!(reduce(&RgbImage::new(0, 4), 9), Err(PreprocessError::Empty)));
}

#[test]
fn outside_the_photograph_is_black() {
    let photo = RgbImage::from_pixel(200, 150, Rgb([200, 100, 50]));
    let region = placement((-100.0, -100.0, 300.0, 300.0), 40);
    let pixels = prepare_region(&photo, &region, FILTER).unwrap();
    assert_eq!(pixels.get_pixel(2, 2), &Rgb([0, 0, 0]));
    assert_eq!(pixels.get_pixel(20, 15), &Rgb([200, 100, 50]));
    assert_eq!(pixels.get_pixel(20, 37), &Rgb([0, 0, 0]));
    let beside = prepare_region(&photo, &placement((300.0, 0.0, 400.0, 100.0), 16), FILTER);
    assert_eq!(beside.unwrap(), RgbImage::new(16, 16));
}

#[test]
fn absurd_placements_are_errors() {
    let photo = RgbImage::new(100, 100);
    for edges in [(0.0, 0.0, 0.0, 10.0), (0.0, 0.0, 1e9, 1e9), (-1e9, 0.0, 10.0, 10.0)] {
        assert!(prepare_region(&photo, &placement(edges, 16), FILTER).is_err());
    }
    let nan = Placement { origin_x: f64::NAN, ..placement((0.0, 0.0, 10.0, 10.0), 16) };
    assert!(prepare_region(&photo, &nan, FILTER).is_err());
    assert!(prepare_region(&photo, &placement((0.0, 0.0, 10.0, 10.0), 0), FILTER).is_err());
    let empty = prepare(&RgbImage::new(0, 5), &contract(Framing::FieldOfView));
    assert_eq!(empty.unwrap_err(), PreprocessError::Empty);
}

#[test]
fn the_whole_image_fills_the_square() {
    let photo = circle(300, 200, (150.0, 100.0), 80.0);
    let prepared = prepare(&photo, &contract(Framing::WholeImage)).unwrap();
    assert_eq!(prepared.placement, placement((0.0, 0.0, 300.0, 200.0), 64));
    assert_eq!(prepared.pixels.dimensions(), (64, 64));
    assert!(prepared.field_of_view.is_some());
}

#[test]
fn a_field_of_view_that_was_looked_for_is_taken_as_found() {
    let photo = circle(300, 200, (150.0, 100.0), 80.0);
    let input = contract(Framing::FieldOfView);
    let found = find_field_of_view(&photo);
    assert!(found.is_some());
    assert_eq!(prepare_within(&photo, found, &input), prepare(&photo, &input));
    let unfound = prepare_within(&photo, None, &input).unwrap();
    assert_eq!(unfound.placement, placement((0.0, -50.0, 300.0, 250.0), 64));
}

#[test]
fn without_a_circle_the_square_goes_around_the_photograph() {
    let black = RgbImage::new(300, 200);
    let prepared = prepare(&black, &contract(Framing::FieldOfView)).unwrap();
    assert_eq!(prepared.placement, placement((0.0, -50.0, 300.0, 250.0), 64));
    assert_eq!(prepared.field_of_view, None);
}

#[test]
fn the_input_is_planes_of_red_green_and_blue() {
    let pixels = RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20, 255]));
    assert_eq!(to_input(&pixels, 1.0), vec![10.0, 11.0, 20.0, 20.0, 255.0, 255.0]);
    assert_eq!(to_input(&pixels, 1.0 / 255.0)[4], 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Pixels and placement agree: a bright spot drawn in the photograph appears where the
    /// placement says, to half a network pixel.
    #[test]
    fn a_spot_appears_where_the_placement_says(
        width in 150u32..500, height in 150u32..500, left in -60.0..60.0f64, top in -60.0..60.0f64,
        extent in 120.0..500.0f64, side in 32u32..200, at_x in 0.3..0.7f64, at_y in 0.3..0.7f64,
    ) {
        let region = Placement { origin_x: left, origin_y: top, width: extent, height: extent, side };
        let spot = NativePoint { x: left + at_x * extent, y: top + at_y * extent };
        let sigma = 1.5 * region.native_per_network().0.max(2.0);
        let reach = 4.0 * sigma;
        prop_assume!(spot.x > reach && spot.y > reach);
        prop_assume!(spot.x < f64::from(width) - reach && spot.y < f64::from(height) - reach);
        let photo = RgbImage::from_fn(width, height, |x, y| {
            let d = (f64::from(x) - spot.x).hypot(f64::from(y) - spot.y);
            Rgb([(250.0 * (-d * d / (2.0 * sigma * sigma)).exp()) as u8; 3])
        });
        let pixels = prepare_region(&photo, &region, FILTER).unwrap();
        let (mut total, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
        for (x, y, pixel) in pixels.enumerate_pixels() {
            let weight = f64::from(pixel[0]);
            total += weight;
            x_sum += weight * f64::from(x);
            y_sum += weight * f64::from(y);
        }
        let found = NetworkPoint { x: x_sum / total, y: y_sum / total };
        let off = found.distance_to(region.to_network(spot));
        prop_assert!(off < 0.25, "{off} network pixels off");
    }

    /// Circles of any size and place, cut off or not, bright or dark, are found to within a
    /// hundredth of the radius.
    #[test]
    fn drawn_circles_are_found(
        width in 300u32..1500, height in 300u32..1500, at_x in 0.4..0.6f64, at_y in 0.4..0.6f64,
        size in 0.35..0.62f64, level in 24u8..220, noise in 0u8..5,
    ) {
        let shorter = f64::from(width.min(height));
        let center = (at_x * f64::from(width), at_y * f64::from(height));
        let radius = size * shorter;
        let photo = RgbImage::from_fn(width, height, |x, y| {
            let d = (f64::from(x) - center.0).hypot(f64::from(y) - center.1) / radius;
            // A third of the light is lost towards the rim.
            let light = if d <= 1.0 { f64::from(level) * (1.0 - 0.35 * d * d) } else { 0.0 };
            let hash = x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b);
            let speck = (hash.wrapping_mul(0xc2b2_ae35) >> 24) as u8 % (noise + 1);
            Rgb([light as u8 + speck, light as u8 / 2, speck])
        });
        let found = find_field_of_view(&photo).unwrap();
        let tolerance = 0.01 * radius + 1.0;
        prop_assert!((found.center.x - center.0).abs() < tolerance, "{found:?} for {center:?}");
        prop_assert!((found.center.y - center.1).abs() < tolerance, "{found:?} for {center:?}");
        prop_assert!((found.radius - radius).abs() < tolerance, "{found:?} for {radius}");
        prop_assert!(found.circularity > 0.9, "{found:?}");
    }
}
