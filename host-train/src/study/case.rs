//! One photograph with what is true and what two methods say (Figure 4), and a fovea map beside its
//! picture (Figure 6).

use super::figures::label;
use super::plan::Trial;
use super::trial::{TrialResult, networks, reported};
use super::{StudyConfig, StudyError};
use crate::dataset::batches::Example;
use crate::dataset::load::load;
use crate::evaluation::measure::Model;
use crate::evaluation::score::reading_of;
use crate::plot::{PlotError, png, write_png};
use crate::strategy::StrategyName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candle_core::Device;
use glaucoma_common::manifest::Decoding;
use glaucoma_common::preprocess::NetworkPoint;
use glaucoma_common::reading::NetworkOutput;
use image::{Rgb, RgbImage, imageops};
use std::fmt::Write as _;

/// Least height of a drawing in screen pixels.
const HEIGHT: u32 = 480;
const WHITE: [u8; 3] = [255, 255, 255];
/// Colours of the first and second method: those of the charts.
const COLORS: [[u8; 3]; 2] = [[213, 94, 0], [0, 114, 178]];

/// A drawing of lines over a picture.
pub struct Case {
    /// Name of its files.
    pub name: &'static str,
    /// What is to be seen.
    pub caption: String,
    picture: RgbImage,
    lines: Vec<Line>,
}

/// A closed outline, or a cross at its only point; network pixels.
struct Line {
    points: Vec<(f64, f64)>,
    color: [u8; 3],
}

/// Draws and writes both cases; none while the trials they need are not there.
///
/// # Errors
/// A checkpoint or photograph that cannot be read; a file that cannot be written.
pub fn draw(
    config: &StudyConfig,
    results: &[TrialResult],
    device: &Device,
) -> Result<Vec<Case>, StudyError> {
    let usual = config.training.optimizer.lr;
    let first = |method: StrategyName| {
        let own = |r: &&TrialResult| r.method == method && !r.pretrained && r.rate == usual;
        results.iter().find(own)
    };
    let (Some(single), Some(independent)) =
        (first(StrategyName::Single), first(StrategyName::Independent))
    else {
        return Ok(Vec::new());
    };
    let Some(id) = hardest(single) else { return Ok(Vec::new()) };
    let (example, ours) = answer(config, independent, id, device)?;
    let (_, theirs) = answer(config, single, id, device)?;
    let cases = vec![
        hard_case(&example, &theirs, &ours, &config.training.decoding()),
        fovea_map(&example, &ours),
    ];
    for case in &cases {
        case.write(config)?;
    }
    Ok(cases)
}

/// The photograph with full truth on which the masks were worst.
fn hardest(result: &TrialResult) -> Option<&str> {
    let known = result.scored.iter().filter(|s| s.has_fovea);
    let rated = known.filter_map(|s| Some((s.disc_dice? + s.cup_dice?, s.id.as_str())));
    rated.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, id)| id)
}

/// The photograph `id` at the network's side, and what the networks of `result` say of it.
fn answer(
    config: &StudyConfig,
    result: &TrialResult,
    id: &str,
    device: &Device,
) -> Result<(Example, NetworkOutput), StudyError> {
    let trial = Trial {
        method: result.method,
        pretrained: result.pretrained,
        rate: result.rate,
        seed: result.seed,
    };
    let (nets, vcdr_model) = networks(&trial.runs(config), device)?;
    let contract = config.training.input.contract();
    let (_, mut samples) = reported(&config.training)?;
    samples.retain(|sample| sample.id == id);
    let gone = || StudyError::Data(format!("{id}: no longer among the photographs"));
    let failed = |error: &dyn std::fmt::Display| StudyError::Data(format!("{id}: {error}"));
    let mut examples =
        load(&samples, &contract, contract.side, None, &|| ()).map_err(|error| failed(&error))?;
    let (decoding, device) = (config.training.decoding(), device.clone());
    let model = Model { nets: nets.iter().collect(), contract, decoding, vcdr_model, device };
    let output = model.judge(&examples).map_err(|error| failed(&error))?.pop().ok_or_else(gone)?;
    Ok((examples.pop().ok_or_else(gone)?, output))
}

fn hard_case(
    example: &Example,
    theirs: &NetworkOutput,
    ours: &NetworkOutput,
    decoding: &Decoding,
) -> Case {
    let mut lines = Vec::new();
    for mask in [&example.disc, &example.cup].into_iter().flatten() {
        lines.push(Line { points: mask.contour(), color: WHITE });
    }
    if let Some(NetworkPoint { x, y }) = example.fovea {
        lines.push(Line { points: vec![(x, y)], color: WHITE });
    }
    for (output, color) in [(theirs, COLORS[0]), (ours, COLORS[1])] {
        let reading = reading_of(example, output, decoding);
        for region in [&reading.disc, &reading.cup].into_iter().flatten() {
            lines.push(Line { points: region.mask.contour(), color });
        }
        if let Some(fovea) = reading.fovea {
            let NetworkPoint { x, y } = example.placement.to_network(fovea);
            lines.push(Line { points: vec![(x, y)], color });
        }
    }
    Case {
        name: "figure4-hard-case",
        caption: format!(
            "The photograph {} on which single-task masks were worst: truth in white, {} in orange, \
             {} in blue; outlines of disc and cup, crosses for the fovea.",
            example.id,
            label(StrategyName::Single),
            label(StrategyName::Independent)
        ),
        picture: example.pixels.clone(),
        lines,
    }
}

fn fovea_map(example: &Example, output: &NetworkOutput) -> Case {
    let side = example.side();
    let mut picture = RgbImage::new(2 * side, side);
    imageops::replace(&mut picture, &example.pixels, 0, 0);
    for (x, y, pixel) in example.pixels.enumerate_pixels() {
        let value = output.fovea.get((y * side + x) as usize).copied().unwrap_or(0.0);
        let grey = pixel.0.map(|channel| f32::from(channel) / 3.0);
        // The map glows over a darkened picture.
        let mixed = [grey[0] + 255.0 * value, grey[1] + 220.0 * value, grey[2] + 60.0 * value];
        picture.put_pixel(side + x, y, Rgb(mixed.map(|channel| channel.min(255.0) as u8)));
    }
    let cross = |x: f64, y: f64, color| Line { points: vec![(x, y)], color };
    let lines = example.fovea.map(|NetworkPoint { x, y }| cross(x, y, WHITE));
    Case {
        name: "figure6-fovea-map",
        caption: format!(
            "Fovea: the photograph {} with the true fovea, and {}'s map over it.",
            example.id,
            label(StrategyName::Independent)
        ),
        picture,
        lines: lines.into_iter().collect(),
    }
}

impl Case {
    fn write(&self, config: &StudyConfig) -> Result<(), StudyError> {
        let path = config.out.join(format!("{}.png", self.name));
        write_png(&path, &self.drawn())?;
        let path = config.out.join(format!("{}.svg", self.name));
        glaucoma_common::files::write(&path, self.svg()?.as_bytes())
            .map_err(|error| StudyError::file(&path, error))
    }

    /// The drawing as SVG: the picture as it is, the lines as lines.
    ///
    /// # Errors
    /// The picture cannot be encoded.
    pub fn svg(&self) -> Result<String, StudyError> {
        let (width, height) = self.picture.dimensions();
        let bytes = png(&self.picture).map_err(|error| PlotError::Draw {
            title: self.name.to_owned(),
            what: error.to_string(),
        })?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-0.5 -0.5 {width} {height}\" \
             width=\"{}\" height=\"{}\"><image x=\"-0.5\" y=\"-0.5\" width=\"{width}\" \
             height=\"{height}\" href=\"data:image/png;base64,{}\"/>",
            width * self.zoom(),
            height * self.zoom(),
            STANDARD.encode(bytes)
        );
        for line in &self.lines {
            let [r, g, b] = line.color;
            let mut path = String::new();
            for (from, to) in line.strokes() {
                // Writing to a String cannot fail.
                let _ = write!(path, "M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1);
            }
            let _ = write!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"rgb({r},{g},{b})\" stroke-width=\"0.6\"/>"
            );
        }
        svg.push_str("</svg>");
        Ok(svg)
    }

    /// Screen pixels a network pixel.
    fn zoom(&self) -> u32 {
        HEIGHT.div_ceil(self.picture.height().max(1)).max(2)
    }

    fn drawn(&self) -> RgbImage {
        let (width, height) = self.picture.dimensions();
        let (wide, high) = (width * self.zoom(), height * self.zoom());
        let mut drawn = imageops::resize(&self.picture, wide, high, imageops::FilterType::Triangle);
        let zoom = f64::from(self.zoom());
        let place = |at: f64| (at + 0.5) * zoom - 0.5;
        for line in &self.lines {
            for (from, to) in line.strokes() {
                let steps = ((to.0 - from.0).hypot(to.1 - from.1) * zoom * 2.0).ceil().max(1.0);
                for step in 0..=steps as u32 {
                    let t = f64::from(step) / steps;
                    let x = place(from.0 + t * (to.0 - from.0)).round();
                    let y = place(from.1 + t * (to.1 - from.1)).round();
                    if x >= 0.0 && y >= 0.0 && x < f64::from(wide) && y < f64::from(high) {
                        drawn.put_pixel(x as u32, y as u32, Rgb(line.color));
                    }
                }
            }
        }
        drawn
    }
}

impl Line {
    /// The straight pieces to draw.
    fn strokes(&self) -> Vec<((f64, f64), (f64, f64))> {
        const ARM: f64 = 4.0;
        match self.points.as_slice() {
            [(x, y)] => vec![((x - ARM, *y), (x + ARM, *y)), ((*x, y - ARM), (*x, y + ARM))],
            points => {
                let next = points.iter().cycle().skip(1);
                points.iter().copied().zip(next.copied()).collect()
            }
        }
    }
}
