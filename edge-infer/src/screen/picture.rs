//! The photograph with disc and cup outlined and the fovea marked.

use std::convert::Infallible;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{
    Circle, Line, Polyline, PrimitiveStyle, PrimitiveStyleBuilder, Rectangle, StrokeAlignment,
};
use glaucoma_common::preprocess::{
    FieldOfView, NativePoint, Placement, ResizeFilter, prepare_region,
};
use glaucoma_common::reading::{Reading, Region};
use glaucoma_kiosk::sign::{self, Sign};
use glaucoma_kiosk::theme::{self, Paint};
use image::RgbImage;

use super::PALETTE;
use super::outline::rounded;
use super::smooth::{FINENESS, Layer, draw_picture};
use crate::exam::{ExamResult, Outcome};

/// Around the photograph: the black of a fundus photograph's own surround.
const SURROUND: Rgb888 = Rgb888::BLACK;

/// Draws the photograph's field of view into the middle of `area`, or the whole photograph where no
/// field was found, or a sign that there is none.
pub fn draw<D>(
    exam: &ExamResult,
    area: Rectangle,
    unit: f32,
    target: &mut D,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    target.fill_solid(&area, SURROUND)?;
    let side = area.size.width.min(area.size.height);
    let Some(photo) = &exam.photo else {
        return draw_nothing(area, unit, target);
    };
    let margin = 1.03;
    let placement = match &exam.field_of_view {
        Some(field) => around_field(field, margin, side),
        None => around_photo(&photo.pixels, margin, side),
    };
    let view = marked(&photo.pixels, &placement, reading_of(exam), unit);
    let corner = area.center() - Point::new((side as i32 - 1) / 2, (side as i32 - 1) / 2);
    draw_picture(&view, corner, target)
}

/// The disc's surroundings, three disc diameters wide, `side` pixels square; `None` without a disc
/// that can be trusted.
pub fn disc_close_up(exam: &ExamResult, side: u32, unit: f32) -> Option<RgbImage> {
    let Outcome::Graded(grading) = &exam.outcome else { return None };
    let photo = exam.photo.as_ref()?;
    let disc = grading.reading.disc.as_ref()?;
    let width = disc.width.max(disc.height) * 1.8;
    let placement = Placement::square(disc.center, width, side);
    Some(marked(&photo.pixels, &placement, Some(&grading.reading), unit))
}

/// The reading behind a result, trusted or not.
fn reading_of(exam: &ExamResult) -> Option<&Reading> {
    match &exam.outcome {
        Outcome::Graded(grading) => Some(&grading.reading),
        Outcome::Ungradable { reading, .. } => reading.as_deref(),
        Outcome::Refused(_) => None,
    }
}

fn around_field(field: &FieldOfView, margin: f64, side: u32) -> Placement {
    Placement::square(field.center, 2.0 * field.radius * margin, side)
}

fn around_photo(photo: &RgbImage, margin: f64, side: u32) -> Placement {
    let center = NativePoint {
        x: (f64::from(photo.width()) - 1.0) / 2.0,
        y: (f64::from(photo.height()) - 1.0) / 2.0,
    };
    Placement::square(center, f64::from(photo.width().max(photo.height())) * margin, side)
}

/// The placed part of the photograph with the findings drawn over it.
fn marked(
    photo: &RgbImage,
    placement: &Placement,
    reading: Option<&Reading>,
    unit: f32,
) -> RgbImage {
    let side = placement.side;
    // A view that cannot be cut out stays black: the result beside it still stands.
    let mut view = prepare_region(photo, placement, ResizeFilter::AntialiasedBilinear)
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the photograph cannot be shown");
            RgbImage::new(side, side)
        });
    let Some(reading) = reading else { return view };
    let mut layer = Layer::new(side, side);
    let Ok(()) = draw_findings(reading, placement, unit, &mut layer);
    layer.over(&mut view);
    view
}

fn draw_findings(
    reading: &Reading,
    placement: &Placement,
    unit: f32,
    layer: &mut Layer,
) -> Result<(), Infallible> {
    let fine = fine_pixels(unit);
    if let Some(disc) = &reading.disc {
        let outline = cells(disc, placement);
        draw_line(&outline, 3.4 * fine, theme::HALO, layer)?;
        draw_line(&outline, 1.6 * fine, theme::DISC, layer)?;
    }
    if let Some(cup) = &reading.cup {
        let outline = cells(cup, placement);
        for dash in dashes(&outline, 7.0 * fine, 4.0 * fine) {
            draw_line(&dash, 3.4 * fine, theme::HALO, layer)?;
        }
        for dash in dashes(&outline, 7.0 * fine, 4.0 * fine) {
            draw_line(&dash, 1.6 * fine, theme::CUP, layer)?;
        }
    }
    if let Some(fovea) = reading.fovea {
        draw_cross(cell(fovea, placement), fine, layer)?;
    }
    Ok(())
}

/// Layer cells to one unit of the design.
pub fn fine_pixels(unit: f32) -> f32 {
    unit * FINENESS as f32
}

/// A cross with an open middle, so that it hides nothing of the fovea.
pub fn draw_cross(at: Point, fine: f32, layer: &mut Layer) -> Result<(), Infallible> {
    for (width, extra, color) in [(3.6, 1.0, theme::HALO), (1.8, 0.0, theme::FOVEA)] {
        let style = PrimitiveStyle::with_stroke(color, (width * fine).round() as u32);
        let near = ((4.0 - extra) * fine).round() as i32;
        let far = ((11.0 + extra) * fine).round() as i32;
        for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
            let arm = |distance: i32| at + Point::new(dx * distance, dy * distance);
            Line::new(arm(near), arm(far)).into_styled(style).draw(layer)?;
        }
    }
    Ok(())
}

/// Draws a line of layer cells with round joints.
pub fn draw_line(
    points: &[Point],
    width: f32,
    color: Rgb888,
    layer: &mut Layer,
) -> Result<(), Infallible> {
    let width = width.round().max(1.0) as u32;
    Polyline::new(points).into_styled(PrimitiveStyle::with_stroke(color, width)).draw(layer)?;
    // embedded-graphics leaves the two ends of a line square and a closed line's seam open.
    let style = PrimitiveStyleBuilder::new()
        .fill_color(color)
        .stroke_alignment(StrokeAlignment::Inside)
        .build();
    for end in [points.first(), points.last()].into_iter().flatten() {
        Circle::with_center(*end, width).into_styled(style).draw(layer)?;
    }
    Ok(())
}

/// A region's closed outline in layer cells, rounded: the mask's staircase of network pixels is
/// no property of the eye.
fn cells(region: &Region, placement: &Placement) -> Vec<Point> {
    let smooth = rounded(&region.outline, placement.native_per_network().0);
    let mut points: Vec<Point> = smooth.into_iter().map(|point| cell(point, placement)).collect();
    points.dedup();
    points.extend(points.first().copied());
    points
}

/// Layer cell of a native point.
fn cell(point: NativePoint, placement: &Placement) -> Point {
    let at = placement.to_network(point);
    let fine = f64::from(FINENESS);
    // The centre of a pixel is the middle of its cells.
    Point::new(
        ((at.x + 0.5) * fine - 0.5).round() as i32,
        ((at.y + 0.5) * fine - 0.5).round() as i32,
    )
}

/// Cuts a line into dashes of `long` cells with `gap` cells between them.
fn dashes(line: &[Point], long: f32, gap: f32) -> Vec<Vec<Point>> {
    let mut dashes = Vec::new();
    let mut dash: Vec<Point> = Vec::new();
    let mut along = 0.0f32;
    for pair in line.windows(2) {
        let step = pair[1] - pair[0];
        if along % (long + gap) < long {
            if dash.is_empty() {
                dash.push(pair[0]);
            }
            dash.push(pair[1]);
        } else if !dash.is_empty() {
            dashes.push(std::mem::take(&mut dash));
        }
        along += (step.x as f32).hypot(step.y as f32);
    }
    if !dash.is_empty() {
        dashes.push(dash);
    }
    dashes
}

/// A sign in place of a photograph that could not be read.
fn draw_nothing<D>(area: Rectangle, unit: f32, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let side = (120.0 * unit) as u32;
    let at = area.center() - Point::new(side as i32 / 2, side as i32 / 2);
    let paint = Paint { ground: SURROUND, ink: PALETTE.muted };
    sign::draw(Sign::NoPicture, Rectangle::new(at, Size::new_equal(side)), paint, target)
}
