//! A page of examples with their labels drawn on them, for people to look at.

use super::example::Example;
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::NetworkPoint;
use image::{Rgb, RgbImage};

const DISC: Rgb<u8> = Rgb([80, 255, 80]);
const CUP: Rgb<u8> = Rgb([90, 190, 255]);
const FOVEA: Rgb<u8> = Rgb([255, 255, 0]);
const POSITION: Rgb<u8> = Rgb([255, 255, 255]);

/// Pixels of a tile's frame, which shows the class.
const FRAME: u32 = 3;

/// Lays the examples out in rows of `columns` tiles (at least 1).
///
/// Disc outlined green, cup light blue (machine-made ones dotted), fovea a yellow cross, the position
/// by which a disc is framed a small white one; the frame is red with glaucoma, green without, grey
/// where the class is unknown. An empty page for no examples.
pub fn sheet(examples: &[Example], columns: u32) -> RgbImage {
    let columns = columns.max(1);
    let tile = examples.iter().map(Example::side).max().unwrap_or(0) + 2 * FRAME;
    let rows = (examples.len() as u32).div_ceil(columns);
    let mut page = RgbImage::new(columns.min(examples.len() as u32) * tile, rows * tile);
    for (index, example) in (0u32..).zip(examples) {
        let picture = drawn(example);
        let (left, top) = (index % columns * tile, index / columns * tile);
        let colour = match example.glaucoma {
            Some(true) => Rgb([230, 40, 40]),
            Some(false) => Rgb([40, 160, 60]),
            None => Rgb([110; 3]),
        };
        for y in 0..picture.height() + 2 * FRAME {
            for x in 0..picture.width() + 2 * FRAME {
                let inner = x.checked_sub(FRAME).zip(y.checked_sub(FRAME));
                let pixel =
                    inner.and_then(|(x, y)| picture.get_pixel_checked(x, y)).unwrap_or(&colour);
                page.put_pixel(left + x, top + y, *pixel);
            }
        }
    }
    page
}

/// The example's picture with its labels on it.
fn drawn(example: &Example) -> RgbImage {
    let mut picture = example.pixels.clone();
    for (mask, colour, dotted) in
        [(&example.disc, DISC, example.disc_pseudo), (&example.cup, CUP, example.cup_pseudo)]
    {
        if let Some(mask) = mask {
            outline(&mut picture, mask, colour, dotted);
        }
    }
    if let Some(point) = example.fovea {
        cross(&mut picture, point, 5, FOVEA);
    }
    if let Some(position) = example.disc_position {
        cross(&mut picture, position.center, 2, POSITION);
    }
    picture
}

fn outline(picture: &mut RgbImage, mask: &Mask, colour: Rgb<u8>, dotted: bool) {
    for y in 0..mask.height() {
        for x in 0..mask.width() {
            let neighbours =
                [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
            let outside =
                |&(x, y): &(u32, u32)| x < mask.width() && y < mask.height() && !mask.get(x, y);
            let shown = !dotted || (x + y) % 4 < 2;
            if shown && mask.get(x, y) && neighbours.iter().any(outside) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
}

fn cross(picture: &mut RgbImage, at: NetworkPoint, reach: i64, colour: Rgb<u8>) {
    let (cx, cy) = (at.x.round() as i64, at.y.round() as i64);
    for offset in -reach..=reach {
        for (x, y) in [(cx + offset, cy), (cx, cy + offset)] {
            let pixel = u32::try_from(x).ok().zip(u32::try_from(y).ok());
            if let Some(pixel) = pixel.and_then(|(x, y)| picture.get_pixel_mut_checked(x, y)) {
                *pixel = colour;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::warp::tests::{FOVEA as AT, painted};

    #[test]
    fn labels_are_drawn_where_they_are() {
        let mut example = painted();
        example.glaucoma = Some(true);
        let page = sheet(&[example.clone(), example], 2);
        assert_eq!(page.dimensions(), (2 * 262, 262));
        let at =
            |x: f64, y: f64| page.get_pixel(x.round() as u32 + FRAME, y.round() as u32 + FRAME);
        assert_eq!(at(AT.x, AT.y), &FOVEA);
        assert_eq!(at(170.0 + 17.0, 128.0), &DISC);
        assert_eq!(at(170.0 - 8.0, 128.0), &CUP);
        assert_eq!(page.get_pixel(0, 0), &Rgb([230, 40, 40]));
        assert_eq!(sheet(&[], 3).dimensions(), (0, 0));
    }
}
