//! A photograph on the screen against a slow and plain reckoning of each pixel.

use std::sync::Arc;

use embedded_graphics::pixelcolor::RgbColor;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::display::Frame;
use glaucoma_kiosk::picture::{EyePicture, View, draw, share_at};
use image::{Rgb, RgbImage};

/// Noise, which no smoothness hides behind, and edges of black and white.
fn noise(x: u32, y: u32) -> Rgb<u8> {
    let hash = (x * 0x9e37 + y * 0x85eb + 7).wrapping_mul(0x9e37_79b1);
    let [a, b, c, _] = (hash ^ (hash >> 15)).to_le_bytes();
    if x % 16 < 8 {
        Rgb([a, b, c])
    } else {
        Rgb([0, 255, if y.is_multiple_of(2) { 0 } else { 255 }])
    }
}

/// The average of so many points under a pixel of the screen, each between its four neighbours; black outside. `None`
/// on the very edge, where a share of 0 tells neither.
fn reference(picture: &EyePicture, view: View, area: Rectangle, at: Point) -> Option<[f32; 3]> {
    let share = share_at(picture, view, area, at);
    let next = share_at(picture, view, area, at + Point::new(1, 1));
    let beyond = |share: f32, next: f32| share >= 1.0 || next <= 0.0;
    if beyond(share.0, next.0) || beyond(share.1, next.1) {
        return Some([0.0; 3]);
    }
    if share.0 <= 0.0 || share.1 <= 0.0 {
        return None;
    }
    let (width, height) = picture.pixels.dimensions();
    let (width, height) = (width as f32, height as f32);
    let fits = (area.size.width as f32 / width).min(area.size.height as f32 / height);
    let reach = (1.0 / (fits * 1.5f32.powi(i32::from(view.step)))).max(1.0);
    let steps = (reach.ceil() as i32).min(4);
    let offset = |step: i32| ((step as f32 + 0.5) / steps as f32 - 0.5) * reach;
    let mut sum = [0.0f32; 3];
    for i in 0..steps * steps {
        let (x, y) = (share.0 * width + offset(i % steps), share.1 * height + offset(i / steps));
        let color = between(&picture.pixels, x, y);
        (0..3).for_each(|channel| sum[channel] += color[channel]);
    }
    Some(sum.map(|sum| sum / (steps * steps) as f32))
}

fn between(pixels: &RgbImage, x: f32, y: f32) -> [f32; 3] {
    let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
    let (across, down) = (x - 0.5 - left, y - 0.5 - top);
    let pixel = |x: f32, y: f32| {
        let x = (x as i32).clamp(0, pixels.width() as i32 - 1);
        let y = (y as i32).clamp(0, pixels.height() as i32 - 1);
        pixels.get_pixel(x as u32, y as u32).0.map(f32::from)
    };
    let [a, b, c, d] = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
        .map(|(right, below)| pixel(left + right, top + below));
    std::array::from_fn(|channel| {
        let mix = |a: [f32; 3], b: [f32; 3]| a[channel] * (1.0 - across) + b[channel] * across;
        mix(a, b) * (1.0 - down) + mix(c, d) * down
    })
}

#[test]
fn a_pixel_of_the_screen_is_the_average_of_what_it_covers() {
    for (width, height) in [(1, 1), (7, 300), (640, 480), (1600, 1550)] {
        let pixels = Arc::new(RgbImage::from_fn(width, height, noise));
        let picture = EyePicture { pixels, disc: Vec::new(), cup: Vec::new(), fovea: None };
        for (step, center) in [(0, (0.5, 0.5)), (1, (0.1, 0.9)), (3, (0.63, 0.4)), (5, (1.0, 0.0))]
        {
            for (at, size) in [((0, 0), (480, 400)), ((13, 5), (211, 97)), ((5, 5), (1, 3))] {
                let (view, area) = (
                    View { step, center },
                    Rectangle::new(Point::new(at.0, at.1), Size::new(size.0, size.1)),
                );
                let mut frame = Frame::new(Size::new(500, 420));
                let Ok(()) = draw(&picture, view, false, area, 1.0, &mut frame);
                for at in area.points() {
                    let Some(drawn) = frame.pixel(at) else { panic!("{at} is outside") };
                    let drawn = [drawn.r(), drawn.g(), drawn.b()].map(f32::from);
                    let Some(expected) = reference(&picture, view, area, at) else { continue };
                    for (drawn, expected) in drawn.into_iter().zip(expected) {
                        assert!(
                            (drawn - expected).abs() <= 1.0,
                            "{width}x{height} step {step} {at}: {drawn} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
