//! One trial: its trainings, its measurement, and its result on disk.

use super::plan::{Run, Trial};
use super::{StudyConfig, StudyError};
use crate::dataset::{Sample, cache::Cache, open};
use crate::evaluation::measure::{Measured, Model, Options, measure};
use crate::evaluation::report::DatasetReport;
use crate::evaluation::score::Scored;
use crate::network::{Task, UNet};
use crate::strategy::StrategyName;
use crate::training::data::{divide, loading_bar};
use crate::training::{self, BEST, Checkpoint, Config, Control, Ending, LAST, TrainingError, log};
use candle_core::Device;
use glaucoma_common::risk::VcdrModel;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of a finished trial's result in its folder.
const RESULT: &str = "result.json";
/// Version of the result's form; another one is made anew.
const FORMAT: u32 = 1;

/// What a trial found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// Version of this form.
    pub format: u32,
    /// Name of the trial.
    pub name: String,
    /// The method.
    pub method: StrategyName,
    /// Whether the encoder was pretrained.
    pub pretrained: bool,
    /// The learning rate.
    pub rate: f64,
    /// The seed.
    pub seed: u64,
    /// The configurations of its trainings; a trial of another configuration is made anew.
    pub configs: Vec<Config>,
    /// Learnable numbers of all its networks.
    pub parameters: usize,
    /// Seconds a step over all its networks, waiting for data excluded.
    pub seconds: f64,
    /// Seconds that steps waited for data.
    pub waited: f64,
    /// Lowest validation loss of each task, whatever the epoch.
    pub lowest: [Option<f64>; 4],
    /// Total validation loss of the chosen epoch; the sum over its networks.
    pub chosen: f64,
    /// Best validation metric of each task, whatever the epoch: AUC, Dice, Dice, pixels.
    pub best_metrics: [Option<f64>; 4],
    /// Which photographs were measured.
    pub part: String,
    /// All of them as one set.
    pub report: DatasetReport,
    /// Each of them.
    pub scored: Vec<Scored>,
}

/// The finished result of `trial`; `None` when there is none, or one of another configuration.
///
/// # Errors
/// A result that cannot be read.
pub fn load(study: &StudyConfig, trial: &Trial) -> Result<Option<TrialResult>, StudyError> {
    let path = trial.folder(study).join(RESULT);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StudyError::file(&path, error)),
    };
    let result: TrialResult =
        serde_json::from_slice(&bytes).map_err(|error| StudyError::file(&path, error))?;
    let configs: Vec<Config> = trial.runs(study).into_iter().map(|run| run.config).collect();
    Ok((result.format == FORMAT && result.configs == configs).then_some(result))
}

/// Trains what is missing of `trial` and measures it. Anything but [`Ending::Finished`]: `control`
/// stopped it, and the next call goes on from there.
///
/// # Errors
/// A training or measurement that failed.
pub fn make(
    study: &StudyConfig,
    trial: &Trial,
    control: &Control,
    device: &Device,
) -> Result<Ending, StudyError> {
    let runs = trial.runs(study);
    for run in &runs {
        let ending = train(run, control, device)?;
        if !matches!(ending, Ending::Finished | Ending::Stalled) {
            return Ok(ending);
        }
    }
    let result = judge(study, trial, &runs, device)?;
    let path = trial.folder(study).join(RESULT);
    let json =
        serde_json::to_vec_pretty(&result).map_err(|error| StudyError::file(&path, error))?;
    glaucoma_common::files::write(&path, &json).map_err(|error| StudyError::file(&path, error))?;
    Ok(Ending::Finished)
}

/// Makes a run or goes on with it.
fn train(run: &Run, control: &Control, device: &Device) -> Result<Ending, StudyError> {
    let failed = |error: TrainingError| StudyError::Training {
        run: run.name.clone(),
        source: Box::new(error),
    };
    let last = run.config.out.join(LAST);
    if !last.exists() {
        return Ok(training::run(run.config.clone(), control, device).map_err(failed)?.ending);
    }
    let checkpoint = Checkpoint::load(&last).map_err(|error| failed(error.into()))?;
    if checkpoint.info().config != run.config {
        let what = "holds a run of another configuration; move it away or choose another `out`";
        return Err(StudyError::file(&run.config.out, what));
    }
    if is_over(&run.config.out) {
        return Ok(Ending::Finished);
    }
    Ok(training::resume(&checkpoint, |_| (), control, device).map_err(failed)?.ending)
}

/// Whether the log in `folder` ends with a training's own end.
fn is_over(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join(log::FILE_NAME)).unwrap_or_default();
    let line = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let reason = line.as_ref().and_then(|line: &serde_json::Value| line["reason"].as_str());
    matches!(reason, Some("finished" | "stalled"))
}

fn judge(
    study: &StudyConfig,
    trial: &Trial,
    runs: &[Run],
    device: &Device,
) -> Result<TrialResult, StudyError> {
    let (nets, vcdr_model) = networks(runs, device)?;
    let failed = |source| StudyError::Evaluation { run: trial.name(), source };
    let (part, samples) = reported(&study.training)?;
    let cache = study.training.cache.as_deref().map(Cache::open).transpose();
    let cache = cache.map_err(|error| failed(error.into()))?;
    let contract = study.training.input.contract();
    let decoding = study.training.decoding();
    let device = device.clone();
    let model = Model { nets: nets.iter().collect(), contract, decoding, vcdr_model, device };
    let bar = loading_bar(&trial.name(), samples.len());
    let options = Options { cache: cache.as_ref(), ..Options::default() };
    let measured = measure(&model, "all", &samples, &options, &|| bar.inc(1));
    bar.finish_and_clear();
    let Measured { report, scored } = measured.map_err(failed)?;
    let mut history = History::default();
    for run in runs {
        history.read(&run.config.out)?;
    }
    Ok(TrialResult {
        format: FORMAT,
        name: trial.name(),
        method: trial.method,
        pretrained: trial.pretrained,
        rate: trial.rate,
        seed: trial.seed,
        configs: runs.iter().map(|run| run.config.clone()).collect(),
        parameters: nets.iter().map(UNet::parameter_count).sum(),
        seconds: history.seconds,
        waited: history.waited,
        lowest: history.lowest,
        chosen: history.chosen,
        best_metrics: history.best_metrics,
        part,
        report,
        scored,
    })
}

/// The best networks of `runs`, and the linear classifier of the ratio.
///
/// # Errors
/// A checkpoint that cannot be read.
pub fn networks(
    runs: &[Run],
    device: &Device,
) -> Result<(Vec<UNet>, Option<VcdrModel>), StudyError> {
    let (mut nets, mut vcdr_model) = (Vec::new(), None);
    for run in runs {
        let failed = |error: training::CheckpointError| StudyError::Training {
            run: run.name.clone(),
            source: Box::new(error.into()),
        };
        let checkpoint = Checkpoint::load(&run.config.out.join(BEST)).map_err(failed)?;
        vcdr_model = vcdr_model.or(checkpoint.info().vcdr_model);
        nets.push(checkpoint.network(device).map_err(failed)?);
    }
    Ok((nets, vcdr_model))
}

/// The photographs to report on: what the publishers call the test part, else what was kept apart to
/// choose by (said so).
///
/// # Errors
/// A data set that cannot be read, or nothing to report on.
pub fn reported(config: &Config) -> Result<(String, Vec<Sample>), StudyError> {
    let (mut tests, mut validations) = (Vec::new(), Vec::new());
    for source in config.data.iter().filter(|source| source.phantoms.is_none()) {
        let dataset = open(&source.path).map_err(|error| StudyError::Data(error.to_string()))?;
        let share = source.validation_share;
        let parts = divide(&dataset, share, config.validation_share, config.split_seed);
        tests.extend(parts.test);
        validations.extend(parts.validation);
    }
    if !tests.is_empty() {
        return Ok(("test part".to_owned(), tests));
    }
    if validations.is_empty() {
        return Err(StudyError::Data("no photographs are left to report on".to_owned()));
    }
    Ok(("validation part, which the epoch was chosen by as well".to_owned(), validations))
}

/// What the logs of a trial's trainings say.
#[derive(Default)]
struct History {
    seconds: f64,
    waited: f64,
    lowest: [Option<f64>; 4],
    chosen: f64,
    best_metrics: [Option<f64>; 4],
}

impl History {
    /// Adds the log in `folder`.
    fn read(&mut self, folder: &Path) -> Result<(), StudyError> {
        let path = folder.join(log::FILE_NAME);
        let text =
            std::fs::read_to_string(&path).map_err(|error| StudyError::file(&path, error))?;
        let (mut took, mut waited, mut lines, mut chosen) = (0.0, 0.0, 0.0, f64::INFINITY);
        for line in text.lines() {
            let line: serde_json::Value =
                serde_json::from_str(line).map_err(|error| StudyError::file(&path, error))?;
            let number = |key: &str| line[key].as_f64();
            match line["event"].as_str() {
                Some("step") => {
                    took += number("seconds_per_step").unwrap_or_default();
                    waited += number("data_wait_seconds").unwrap_or_default();
                    lines += 1.0;
                }
                Some("validation") => {
                    chosen = number("total").map_or(chosen, |total| total.min(chosen));
                    self.validation(&line);
                }
                _ => {}
            }
        }
        if lines > 0.0 {
            self.seconds += (took - waited) / lines;
            self.waited += waited / lines;
        }
        self.chosen += chosen;
        Ok(())
    }

    fn validation(&mut self, line: &serde_json::Value) {
        for task in Task::ALL {
            let loss = line["losses"][task.name()].as_f64();
            let lowest = &mut self.lowest[task.index()];
            *lowest = [*lowest, loss].into_iter().flatten().reduce(f64::min);
        }
        for report in line["metrics"].as_array().into_iter().flatten() {
            let found = [
                report["glaucoma"]["classifier"]["auc"].as_f64(),
                report["disc_dice"]["mean"].as_f64(),
                report["cup_dice"]["mean"].as_f64(),
                report["fovea_px"]["mean"].as_f64(),
            ];
            for ((best, found), smaller) in
                self.best_metrics.iter_mut().zip(found).zip([false, false, false, true])
            {
                let better = if smaller { f64::min } else { f64::max };
                *best = [*best, found].into_iter().flatten().reduce(better);
            }
        }
    }
}
