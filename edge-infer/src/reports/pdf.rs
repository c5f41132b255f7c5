//! A page of paper as PDF: the page as it was drawn, without loss, and its photographs as JPEG over it.
//!
//! The drawing is stored as PNG stores it, which PDF reads too (`FlateDecode` with a PNG predictor; ISO 32000-1,
//! 7.4.4.4), so that nothing is compressed in a second way.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::display::{Frame, png};
use glaucoma_kiosk::page::{Item, Page};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::CompressionType;
use image::imageops::crop_imm;
use image::{ImageError, Rgb, RgbImage};
use pdf_writer::types::Predictor;
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, TextStr};

/// Of 100: outlines over a photograph stay sharp.
const JPEG_QUALITY: u8 = 92;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const INFO: Ref = Ref::new(5);
const DRAWING: Ref = Ref::new(6);

/// The page, which was drawn as `frame`, in a file of its own. `title` and `language` are those of the document; it
/// says nothing of who made it when: that stands on the page.
///
/// # Errors
/// The encoder's.
pub(super) fn write(
    page: &Page,
    frame: &Frame,
    title: &str,
    language: &str,
) -> Result<Vec<u8>, ImageError> {
    let mut drawing = frame.to_image();
    let photographs = page.items.iter().filter_map(|item| match item {
        Item::Picture { area, .. } => Some(area.intersection(&frame.bounding_box())),
        _ => None,
    });
    let mut placed = Vec::new();
    for (area, id) in photographs.zip(DRAWING.get() + 1..) {
        placed.push((area, Ref::new(id), cut(&mut drawing, area)?));
    }
    let size = frame.size();
    let points = |pixels: f32| (f64::from(pixels) * page.panel.mm_per_px * 72.0 / 25.4) as f32;
    // A hair less than the pixels: rounding up, a renderer would make room for one more and scale everything.
    let [width, height] = [size.width as f32, size.height as f32].map(|it| points(it) - 0.01);

    let mut pdf = Pdf::new();
    pdf.catalog(CATALOG).pages(PAGES).lang(TextStr(language));
    pdf.document_info(INFO).title(TextStr(title));
    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut sheet = pdf.page(PAGE);
    sheet.media_box(Rect::new(0.0, 0.0, width, height)).parent(PAGES).contents(CONTENT);
    let mut resources = sheet.resources();
    let mut objects = resources.x_objects();
    for id in std::iter::once(DRAWING).chain(placed.iter().map(|(_, id, _)| *id)) {
        objects.pair(Name(name(id).as_bytes()), id);
    }
    objects.finish();
    resources.finish();
    sheet.finish();

    let idat = pixels_of_png(&png(&drawing, CompressionType::Default)?);
    let mut object = pdf.image_xobject(DRAWING, &idat);
    object.filter(Filter::FlateDecode);
    let columns = size.width as i32;
    object.decode_parms().predictor(Predictor::PngOptimum).colors(3).columns(columns);
    object.width(columns).height(size.height as i32).bits_per_component(8);
    object.color_space().device_rgb();
    object.finish();
    let mut content = Content::new();
    place(&mut content, DRAWING, [width, height, 0.0, 0.0]);
    for (area, id, jpeg) in &placed {
        let mut object = pdf.image_xobject(*id, jpeg);
        object.filter(Filter::DctDecode);
        object.width(area.size.width as i32).height(area.size.height as i32);
        object.bits_per_component(8);
        object.color_space().device_rgb();
        object.finish();
        let below = size.height as f32 - area.top_left.y as f32 - area.size.height as f32;
        let sides =
            [area.size.width as f32, area.size.height as f32, area.top_left.x as f32, below];
        place(&mut content, *id, sides.map(points));
    }
    pdf.stream(CONTENT, &content.finish());
    Ok(pdf.finish())
}

/// Takes a photograph out of the drawing, as JPEG; what is left behind is white.
fn cut(drawing: &mut RgbImage, area: Rectangle) -> Result<Vec<u8>, ImageError> {
    let (left, top) = (area.top_left.x as u32, area.top_left.y as u32);
    let Size { width, height } = area.size;
    let photograph = crop_imm(drawing, left, top, width, height).to_image();
    let mut jpeg = Vec::new();
    photograph.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY))?;
    for y in top..top + height {
        for x in left..left + width {
            drawing.put_pixel(x, y, Rgb([255; 3]));
        }
    }
    Ok(jpeg)
}

/// Draws an image `[width, height, left, bottom]`, points.
fn place(content: &mut Content, id: Ref, [width, height, left, bottom]: [f32; 4]) {
    content.save_state().transform([width, 0.0, 0.0, height, left, bottom]);
    content.x_object(Name(name(id).as_bytes())).restore_state();
}

fn name(id: Ref) -> String {
    format!("Im{}", id.get())
}

/// The pixels of a PNG file as they are stored there: its IDAT chunks joined (PNG, 11.2.3).
fn pixels_of_png(file: &[u8]) -> Vec<u8> {
    let mut pixels = Vec::new();
    let mut rest = file.get(8..).unwrap_or_default();
    // Length, name, data, check sum.
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(data) = after.get(..length) else { break };
        if &head[4..] == b"IDAT" {
            pixels.extend_from_slice(data);
        }
        rest = after.get(length + 4..).unwrap_or_default();
    }
    pixels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chunks_other_than_pixels_are_passed_over() {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in [(b"IHDR", &b"0123456789abc"[..]), (b"IDAT", b"one"), (b"IDAT", b"two")]
        {
            file.extend((data.len() as u32).to_be_bytes());
            file.extend(name);
            file.extend(data);
            file.extend([0; 4]);
        }
        assert_eq!(pixels_of_png(&file), b"onetwo");
        assert_eq!(pixels_of_png(&file[..file.len() - 8]), b"one", "cut short");
        assert_eq!(pixels_of_png(b"short"), b"");
    }
}
