//! Drawing a [`Chart`] on either of plotters' backends.

use super::{Axis, Chart, Panel};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::fmt::Display;
use std::sync::OnceLock;

/// Height of the title above all panels in pixels.
pub const TITLE_HEIGHT: u32 = 36;

/// Colours that colour-blind readers can tell apart (Okabe & Ito 2008), dark ones first.
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(0, 0, 0),
];
const GREY: RGBColor = RGBColor(150, 150, 150);
const FONT: &str = "sans-serif";

pub fn svg(chart: &Chart) -> Result<String, String> {
    load_font()?;
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, chart.size()).into_drawing_area();
    draw(chart, &root)?;
    drop(root);
    Ok(text)
}

pub fn picture(chart: &Chart) -> Result<image::RgbImage, String> {
    load_font()?;
    let (width, height) = chart.size();
    let mut pixels = vec![255; (width * height * 3) as usize];
    let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    draw(chart, &root)?;
    drop(root);
    image::RgbImage::from_raw(width, height, pixels).ok_or_else(|| "no picture".to_owned())
}

/// Makes the font known to plotters, once.
fn load_font() -> Result<(), String> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let bytes = include_bytes!("../../fonts/NotoSans-Regular-Latin.ttf");
    let loaded = LOADED.get_or_init(|| register_font(FONT, FontStyle::Normal, bytes).is_ok());
    if *loaded { Ok(()) } else { Err("the built-in font cannot be read".to_owned()) }
}

fn draw<B: DrawingBackend>(
    chart: &Chart,
    root: &DrawingArea<B, plotters::coord::Shift>,
) -> Result<(), String> {
    root.fill(&WHITE).map_err(said)?;
    let body = root.titled(&chart.title, (FONT, 20)).map_err(said)?;
    let columns = chart.columns.max(1).min(chart.panels.len().max(1));
    let rows = chart.panels.len().div_ceil(columns).max(1);
    let cells = body.split_evenly((rows, columns));
    for (panel, cell) in chart.panels.iter().zip(&cells) {
        draw_panel(panel, cell)?;
    }
    root.present().map_err(said)
}

fn draw_panel<B: DrawingBackend>(
    panel: &Panel,
    area: &DrawingArea<B, plotters::coord::Shift>,
) -> Result<(), String> {
    let bands = || panel.series.iter().filter_map(|series| series.band.as_ref()).flatten();
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let x = Scale::of(&panel.x, points().map(|p| p.0));
    let y = Scale::of(&panel.y, points().map(|p| p.1).chain(bands().flat_map(|b| [b.0, b.1])));
    let area = if panel.title.is_empty() {
        area.clone()
    } else {
        area.titled(&panel.title, (FONT, 16)).map_err(said)?
    };
    let legend = draw_legend(panel, &area)?;
    let (_, plot) = area.split_vertically(legend);
    let mut context = ChartBuilder::on(&plot)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(x.low..x.high, y.low..y.high)
        .map_err(said)?;
    context
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(215, 215, 215))
        .x_labels(6)
        .y_labels(6)
        .x_desc(&panel.x.label)
        .y_desc(&panel.y.label)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .x_label_formatter(&|value| x.label(*value))
        .y_label_formatter(&|value| y.label(*value))
        .draw()
        .map_err(said)?;
    let to = |(a, b): (f64, f64)| (x.place(a), y.place(b));
    for series in &panel.series {
        let color = if series.reference { GREY } else { COLORS[series.color % COLORS.len()] };
        if let Some(band) = &series.band {
            let at = |pick: fn(&(f64, f64)) -> f64| {
                series.points.iter().zip(band).map(move |(point, ends)| to((point.0, pick(ends))))
            };
            let outline: Vec<(f64, f64)> =
                at(|ends| ends.0).chain(at(|ends| ends.1).rev()).collect();
            context.draw_series([Polygon::new(outline, color.mix(0.18))]).map_err(said)?;
        }
        let width = if series.reference { 1 } else { 2 };
        let line =
            LineSeries::new(series.points.iter().copied().map(to), color.stroke_width(width));
        context.draw_series(line).map_err(said)?;
        if series.marked {
            let marks = series.points.iter().copied().map(to);
            context
                .draw_series(marks.map(|point| Circle::new(point, 3, color.filled())))
                .map_err(said)?;
        }
    }
    Ok(())
}

/// The names of the series in their colours, line by line, at the top of `area`: beside the curves,
/// not over them. Gives the height that they take.
fn draw_legend<B: DrawingBackend>(
    panel: &Panel,
    area: &DrawingArea<B, plotters::coord::Shift>,
) -> Result<u32, String> {
    const LINE: i32 = 18;
    const LEFT: i32 = 62;
    // The built-in font's widest letters aside, a letter of 13 pixels takes about 7 across.
    const LETTER: i32 = 7;
    const DASH: i32 = 16;
    let width = area.dim_in_pixel().0 as i32;
    let (mut x, mut y) = (LEFT, 0);
    let named = panel.series.iter().filter(|series| !series.name.is_empty());
    for series in named.clone() {
        let needed = DASH + 4 + LETTER * series.name.chars().count() as i32 + 14;
        if x > LEFT && x + needed > width {
            (x, y) = (LEFT, y + LINE);
        }
        let color = COLORS[series.color % COLORS.len()];
        let middle = y + LINE / 2;
        let dash = PathElement::new([(x, middle), (x + DASH, middle)], color.stroke_width(3));
        area.draw(&dash).map_err(said)?;
        let name = Text::new(series.name.clone(), (x + DASH + 4, y + 2), (FONT, 13));
        area.draw(&name).map_err(said)?;
        x += needed;
    }
    Ok(if named.count() > 0 { (y + LINE + 2) as u32 } else { 0 })
}

/// From values to places on an axis.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let logarithmic = axis.logarithmic;
        let place =
            |value: f64| if logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        if let Some((low, high)) = axis.range {
            return Self { low: place(low), high: place(high), logarithmic };
        }
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(place).filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A flat line needs room around it as well.
        let room = if high > low { 0.05 * (high - low) } else { 0.5 };
        Self { low: low - room, high: high + room, logarithmic }
    }

    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    fn label(&self, place: f64) -> String {
        if self.logarithmic {
            return format!("{:.1e}", 10f64.powf(place));
        }
        let span = self.high - self.low;
        // Sums of steps miss round numbers by a last place.
        let value = if place.abs() < 1e-9 * span { 0.0 } else { place };
        let decimals = (1.0 - span.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.decimals$}")
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Series;
    use super::*;

    fn chart() -> Chart {
        let points: Vec<(f64, f64)> =
            (1..=6).map(|i| (10f64.powi(-i), f64::from(i * i))).rev().collect();
        let band = points.iter().map(|(_, y)| (y - 2.0, y + 2.0)).collect();
        let measured =
            Series { band: Some(band), marked: true, ..Series::line("measured", 0, points) };
        let log = Panel {
            title: "over rates".into(),
            x: Axis::logarithmic("learning rate"),
            y: Axis::free("loss"),
            series: vec![measured],
        };
        let diagonal = Panel {
            title: "diagonal".into(),
            x: Axis::fixed("1 - specificity", 0.0, 1.0),
            y: Axis::fixed("sensitivity", 0.0, 1.0),
            series: vec![
                Series::reference(vec![(0.0, 0.0), (1.0, 1.0)]),
                Series::line("model", 1, vec![(0.0, 0.0), (0.2, 0.8), (1.0, 1.0)]),
            ],
        };
        Chart { title: "Two panels".into(), columns: 2, panels: vec![log, diagonal] }
    }

    #[test]
    fn both_forms_show_the_lines() {
        let chart = chart();
        let text = svg(&chart).unwrap();
        for word in ["Two panels", "learning rate", "sensitivity", "measured", "<polyline"] {
            assert!(text.contains(word), "{word}");
        }
        let picture = picture(&chart).unwrap();
        assert_eq!(picture.dimensions(), chart.size());
        let blue = picture.pixels().filter(|p| p.0 == [0, 114, 178]).count();
        let orange = picture.pixels().filter(|p| p.0 == [213, 94, 0]).count();
        assert!(blue > 200 && orange > 200, "{blue} {orange}");
    }

    #[test]
    fn nothing_to_show_is_an_empty_chart() {
        let mut empty = chart();
        empty.panels.iter_mut().for_each(|panel| panel.series.clear());
        assert!(svg(&empty).is_ok() && picture(&empty).is_ok());
    }
}
