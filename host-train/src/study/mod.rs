//! The paper's tables and figures as one command: every method, seed and learning rate trained,
//! measured on the photographs kept for reporting, and set beside the published numbers.
//!
//! A study is a folder. Each training is a run in it ([`plan`]); a finished run is never made again,
//! an interrupted one goes on ([`trial`]). Tables, figures and the page are drawn anew from whatever
//! is there.

pub mod case;
pub mod config;
pub mod figures;
pub mod page;
pub mod plan;
pub mod published;
pub mod table;
pub mod trial;

pub use config::StudyConfig;

use crate::evaluation::EvaluationError;
use crate::plot::PlotError;
use crate::training::{ConfigError, Control, Ending, TrainingError};
use candle_core::Device;
use plan::Trial;
use std::path::{Path, PathBuf};
use std::time::Instant;
use trial::TrialResult;

/// Which part of the paper to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every method, from scratch (Table 1).
    Table1,
    /// Single-task learning and MTL-IO with and without a pretrained encoder (Table 2).
    Table2,
    /// Single-task learning and MTL-IO over the learning rates (Figures 2 and 3).
    LrSweep,
    /// Train nothing: draw all figures from what is there.
    Figures,
}

/// What stops a study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run failed.
    #[error("{run}: {source}")]
    Training {
        /// Its name.
        run: String,
        /// Why.
        source: Box<TrainingError>,
    },
    /// A run could not be measured.
    #[error("{run}: {source}")]
    Evaluation {
        /// Its name.
        run: String,
        /// Why.
        source: EvaluationError,
    },
    /// The photographs to report on cannot be had.
    #[error("{0}")]
    Data(String),
    /// A figure cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A file cannot be read or written, or is not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl StudyError {
    fn file(path: &Path, what: impl ToString) -> Self {
        Self::File { path: path.to_path_buf(), what: what.to_string() }
    }
}

/// How a study ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyOutcome {
    /// Trials that are done, those of earlier runs included.
    pub done: usize,
    /// Trials that the part has.
    pub planned: usize,
    /// The page.
    pub page: PathBuf,
}

/// Makes the trials of `part` that are missing until `control` stops it, then draws everything that
/// the folder allows. `say` is told of each trial.
///
/// # Errors
/// See [`StudyError`]. Finished trials stay.
pub fn run(
    config: &StudyConfig,
    part: Part,
    control: &Control,
    device: &Device,
    say: &dyn Fn(&str),
) -> Result<StudyOutcome, StudyError> {
    let started = Instant::now();
    let trials = plan::trials(config, part);
    let mut done = 0;
    for (number, planned) in trials.iter().enumerate() {
        if let Some(finished) = trial::load(config, planned)? {
            say(&format!("{} of {}: {} is done", number + 1, trials.len(), finished.name));
            done += 1;
            continue;
        }
        say(&format!("{} of {}: {}", number + 1, trials.len(), planned.name()));
        let left = control.limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let control = Control { limit: left, ..control.clone() };
        if trial::make(config, planned, &control, device)? != Ending::Finished {
            break;
        }
        done += 1;
    }
    let page = draw(config, device)?;
    Ok(StudyOutcome { done, planned: trials.len(), page })
}

/// Draws tables, figures and the page from the finished trials of all parts.
fn draw(config: &StudyConfig, device: &Device) -> Result<PathBuf, StudyError> {
    let all: Vec<Trial> = [Part::Table1, Part::Table2, Part::LrSweep]
        .into_iter()
        .flat_map(|part| plan::trials(config, part))
        .collect();
    let mut results: Vec<TrialResult> = Vec::new();
    for planned in &all {
        if results.iter().any(|known| known.name == planned.name()) {
            continue;
        }
        results.extend(trial::load(config, planned)?);
    }
    let mut figures = figures::charts(config, &results);
    for (name, chart) in &figures {
        chart.write(&config.out, name)?;
    }
    let cases = case::draw(config, &results, device)?;
    let page = config.out.join("study.html");
    let html = page::html(config, &results, &mut figures, &cases)?;
    glaucoma_common::files::write(&page, html.as_bytes())
        .map_err(|error| StudyError::file(&page, error))?;
    Ok(page)
}
