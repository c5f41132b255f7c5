//! Line charts: what is drawn is data ([`Chart`]), drawn once as SVG and once as PNG.

mod draw;

use std::path::Path;

/// Width of one panel in pixels.
pub const PANEL_WIDTH: u32 = 480;
/// Height of one panel in pixels.
pub const PANEL_HEIGHT: u32 = 360;

/// Panels side by side, in rows of [`Chart::columns`].
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above all panels.
    pub title: String,
    /// Panels a row, at least 1.
    pub columns: usize,
    /// The panels.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Above the axes.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, the later above the earlier.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What it measures, with the unit.
    pub label: String,
    /// Ends; absent: what the series need.
    pub range: Option<(f64, f64)>,
    /// Equal steps are equal factors; values must be above 0.
    pub logarithmic: bool,
}

/// A line with what surrounds it.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// In the legend; empty: not there.
    pub name: String,
    /// Index of its colour; series of one index look alike from chart to chart.
    pub color: usize,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper end at each point: a shaded band.
    pub band: Option<Vec<(f64, f64)>>,
    /// A mark on every point.
    pub marked: bool,
    /// A thin grey line, for comparison.
    pub reference: bool,
}

/// What stops a figure.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The figure cannot be drawn.
    #[error("the figure \u{201c}{title}\u{201d} cannot be drawn: {what}")]
    Draw {
        /// Its title.
        title: String,
        /// What the drawing library said.
        what: String,
    },
    /// The figure cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Axis {
    /// An axis whose ends are found.
    pub fn free(label: impl Into<String>) -> Self {
        Self { label: label.into(), range: None, logarithmic: false }
    }

    /// An axis from `low` to `high`.
    pub fn fixed(label: impl Into<String>, low: f64, high: f64) -> Self {
        Self { label: label.into(), range: Some((low, high)), logarithmic: false }
    }

    /// A logarithmic axis whose ends are found.
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), range: None, logarithmic: true }
    }
}

impl Series {
    /// A line.
    pub fn line(name: impl Into<String>, color: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), color, points, ..Self::default() }
    }

    /// A thin grey line without a name.
    #[must_use]
    pub fn reference(points: Vec<(f64, f64)>) -> Self {
        Self { points, reference: true, ..Self::default() }
    }
}

impl Chart {
    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let columns = self.columns.max(1).min(self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns).max(1);
        (columns as u32 * PANEL_WIDTH, rows as u32 * PANEL_HEIGHT + draw::TITLE_HEIGHT)
    }

    /// The chart as SVG.
    ///
    /// # Errors
    /// [`PlotError::Draw`].
    pub fn svg(&self) -> Result<String, PlotError> {
        draw::svg(self).map_err(|what| PlotError::Draw { title: self.title.clone(), what })
    }

    /// The chart as a picture.
    ///
    /// # Errors
    /// [`PlotError::Draw`].
    pub fn picture(&self) -> Result<image::RgbImage, PlotError> {
        draw::picture(self).map_err(|what| PlotError::Draw { title: self.title.clone(), what })
    }

    /// Writes `name.svg` and `name.png` in `folder`.
    ///
    /// # Errors
    /// See [`PlotError`].
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), PlotError> {
        write(&folder.join(format!("{name}.svg")), self.svg()?.as_bytes())?;
        write_png(&folder.join(format!("{name}.png")), &self.picture()?)
    }
}

/// Writes a picture as PNG.
///
/// # Errors
/// [`PlotError::Write`].
pub fn write_png(path: &Path, picture: &image::RgbImage) -> Result<(), PlotError> {
    let failed = |source| PlotError::Write { path: path.to_path_buf(), source };
    write(path, &png(picture).map_err(failed)?)
}

/// A picture as the bytes of a PNG file.
///
/// # Errors
/// Whatever the encoder says.
pub fn png(picture: &image::RgbImage) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    picture.write_with_encoder(encoder).map_err(std::io::Error::other)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    glaucoma_common::files::write(path, bytes)
        .map_err(|source| PlotError::Write { path: path.to_path_buf(), source })
}
