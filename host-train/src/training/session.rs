//! One run of the training loop, from a position to an ending.

use super::average::Average;
use super::checkpoint::{Best, FORMAT, Position};
use super::data::{Data, load};
use super::distill::Teacher;
use super::log::{Entry, Log};
use super::progress::Progress;
use super::together;
use super::validate::validate;
use super::{
    BEST, CONFIG, Checkpoint, CheckpointError, CheckpointInfo, Clock, Config, ConfigError,
};
use super::{Ending, LAST, Outcome, TrainingError, git_revision, seed};
use crate::dataset::batches::Batch;
use crate::network::{Task, UNet, pretrained};
use crate::parallel::Peers;
use crate::strategy::telemetry::{self, Conflict};
use crate::strategy::{self, State, Step, StepOptions, StepReport, Strategy, StrategyError};
use candle_core::Device;
use glaucoma_common::risk::VcdrModel;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// At the end of an epoch a checkpoint is written only when the last one is this old: the epochs of
/// a small data set pass in seconds.
const EPOCH_CHECKPOINT_AGE: Duration = Duration::from_secs(60);

pub struct Session<'a> {
    config: Config,
    clock: Clock<'a>,
    peers: &'a dyn Peers,
    device: Device,
    data: Data,
    net: UNet,
    strategy: Box<dyn Strategy>,
    average: Option<Average>,
    teacher: Option<Teacher>,
    vcdr_model: Option<VcdrModel>,
    git_revision: Option<String>,
    position: Position,
    first_step: u64,
    best: Option<Best>,
    log: Log,
    progress: Progress,
    since_line: Tally,
    since_epoch: Tally,
    saved: Instant,
}

/// What is trained and what trains it.
struct Learner {
    net: UNet,
    strategy: Box<dyn Strategy>,
    average: Option<Average>,
    teacher: Option<Teacher>,
}

impl<'a> Session<'a> {
    /// A training from its first step.
    pub fn fresh(
        mut config: Config,
        clock: Clock<'a>,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        if config.quantize_aware.is_some() && !device.is_cpu() {
            let what = "quantize_aware trains on the CPU alone: leave --device out";
            return Err(ConfigError::Value(what.into()).into());
        }
        let teacher = Teacher::open(&mut config, device)?;
        let start = config.init_from.as_deref().map(Checkpoint::load).transpose()?;
        let mut net = match &start {
            Some(checkpoint) => checkpoint.network_like(&config.network, device)?,
            None => UNet::new(&config.network, seed::mix(config.seed, seed::WEIGHTS), device)?,
        };
        net.set_map_scales(None);
        let data = load(&config, device)?;
        if let Some(path) = &config.pretrained {
            let images = data.batches.first_images(pretrained::CALIBRATION_IMAGES)?;
            let report = pretrained::load(path, &net, &images)
                .map_err(|source| TrainingError::Pretrained(Box::new(source)))?;
            eprintln!("{report}");
        }
        if let Some(options) = &config.quantize_aware {
            net.quantize_aware(&data.batches.first_images(options.images)?, options)?;
        }
        let inherited = start.and_then(|checkpoint| checkpoint.info().vcdr_model);
        let vcdr_model = data.vcdr_model.or(inherited);
        let strategy = strategy(&config, &net)?;
        let average = config.average.map(|decay| Average::new(&net, decay)).transpose()?;
        let learner = Learner { net, strategy, average, teacher };
        let start = (Position::default(), None);
        Self::open(config, clock, device, data, learner, vcdr_model, start)
    }

    /// A training from the position of `checkpoint`.
    pub fn resumed(
        mut config: Config,
        checkpoint: &Checkpoint,
        clock: Clock<'a>,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let info = checkpoint.info();
        let teacher = Teacher::open(&mut config, device)?;
        let mut state = checkpoint.optimiser(device)?;
        let net = checkpoint.network(device)?;
        let mut average = config.average.map(|decay| Average::new(&net, decay)).transpose()?;
        if let Some(average) = &mut average {
            average.restore(&mut state)?;
        }
        let mut strategy = strategy(&config, &net)?;
        strategy
            .restore(&state)
            .map_err(|source| TrainingError::Step { step: info.position.step, source })?;
        let data = load(&config, device)?;
        if data.hash != info.dataset_hash {
            let expected = info.dataset_hash.clone();
            return Err(TrainingError::DataChanged { expected, found: data.hash });
        }
        let learner = Learner { net, strategy, average, teacher };
        let start = (info.position, info.best);
        Self::open(config, clock, device, data, learner, info.vcdr_model, start)
    }

    fn open(
        config: Config,
        clock: Clock<'a>,
        device: &Device,
        data: Data,
        Learner { net, strategy, average, teacher }: Learner,
        vcdr_model: Option<VcdrModel>,
        (position, best): (Position, Option<Best>),
    ) -> Result<Self, TrainingError> {
        let io = |source| TrainingError::Io { path: config.out.clone(), source };
        let peers = clock.peers();
        let data = together::join(peers, &config, data, &net, position)?;
        let leads = peers.rank() == 0;
        if leads {
            let text = config.to_toml()?;
            std::fs::create_dir_all(&config.out).map_err(io)?;
            glaucoma_common::files::write(&config.out.join(CONFIG), text.as_bytes()).map_err(io)?;
        }
        let steps = config.epochs * data.steps_per_epoch;
        let mut session = Self {
            log: if leads {
                Log::open(&config.out, position.step).map_err(io)?
            } else {
                Log::none()
            },
            progress: Progress::new(steps, position.step, leads),
            peers,
            device: device.clone(),
            git_revision: git_revision(),
            first_step: position.step,
            since_line: Tally::default(),
            since_epoch: Tally::default(),
            saved: Instant::now(),
            config,
            clock,
            data,
            net,
            strategy,
            average,
            teacher,
            vcdr_model,
            position,
            best,
        };
        session.announce(steps)?;
        Ok(session)
    }

    fn announce(&mut self, steps: u64) -> Result<(), TrainingError> {
        let hash = self.data.hash.clone();
        let parameters = self.net.parameter_count();
        self.progress.say(&format!(
            "{} parameters, {} training and {} validation images, {} steps an epoch, strategy {}",
            parameters,
            self.data.training_images,
            self.data.validation.len(),
            self.data.steps_per_epoch,
            self.strategy.name()
        ));
        self.write_log(&Entry::Start {
            step: self.position.step,
            steps,
            parameters,
            training_images: self.data.training_images,
            validation_images: self.data.validation.len(),
            dataset_hash: &hash,
        })
    }

    /// Trains to an ending.
    pub fn run(mut self) -> Result<Outcome, TrainingError> {
        let mut ending = Ending::Finished;
        while self.position.epoch < self.config.epochs {
            if let Some(early) = self.epoch()? {
                ending = early;
                break;
            }
        }
        together::same_weights(self.peers, &self.net)?;
        self.save_last()?;
        self.write_log(&Entry::Stop { step: self.position.step, reason: ending.name() })?;
        self.progress.finish();
        let Self { position, best, config, .. } = self;
        Ok(Outcome { ending, position, best, out: config.out })
    }

    /// The rest of the current epoch, with its validation where one is due.
    fn epoch(&mut self) -> Result<Option<Ending>, TrainingError> {
        let Position { epoch, batch, .. } = self.position;
        let mut batches = self.data.batches.epoch(epoch, batch as usize);
        loop {
            let own = self.clock.ending(self.position.step - self.first_step);
            if let Some(ending) = together::ending(self.peers, own)? {
                return Ok(Some(ending));
            }
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            let batch = batch?;
            self.step(&batch, asked)?;
            self.save_when_due()?;
        }
        drop(batches);
        let done = epoch + 1;
        let due = done % self.config.validate_every == 0 || done == self.config.epochs;
        if due && !self.judge()? {
            return Ok(Some(Ending::Interrupted));
        }
        if !due {
            self.progress.epoch(epoch, self.position.step, &self.since_epoch.losses());
        }
        self.since_epoch = Tally::default();
        self.position = Position { epoch: done, batch: 0, step: self.position.step };
        if self.saved.elapsed() >= EPOCH_CHECKPOINT_AGE {
            self.save_last()?;
        }
        // The first process alone knows the best validation: the others may have one from before an
        // interruption.
        let own = self.peers.rank() == 0 && self.is_stalled(epoch);
        let stalled = due && self.peers.most(u64::from(own))? > 0;
        Ok(stalled.then_some(Ending::Stalled))
    }

    /// Whether the last `patience` validations, of which that of `epoch` is the latest, were all
    /// worse than the best.
    fn is_stalled(&self, epoch: u64) -> bool {
        let worse = self.best.map_or(0, |best| (epoch - best.epoch) / self.config.validate_every);
        self.config.patience.is_some_and(|patience| worse >= patience)
    }

    /// Validates the averaged weights where there are such, else the live ones. False: interrupted.
    fn judge(&mut self) -> Result<bool, TrainingError> {
        together::same_weights(self.peers, &self.net)?;
        self.exchange_average()?;
        let judged = self.validate_together();
        self.exchange_average()?;
        judged
    }

    fn exchange_average(&mut self) -> Result<(), TrainingError> {
        Ok(self.average.as_mut().map_or(Ok(()), Average::exchange)?)
    }

    fn step(&mut self, batch: &Batch, asked: Instant) -> Result<(), TrainingError> {
        let waited = asked.elapsed();
        let Position { epoch, step, .. } = self.position;
        let steps = self.config.epochs * self.data.steps_per_epoch;
        let lr = self.config.schedule.rate(self.config.optimizer.lr, step, steps);
        // Each process drops other features, as the images of one batch do.
        let number = step * self.peers.count() as u64 + self.peers.rank() as u64;
        let dropout = seed::mix(seed::mix(self.config.seed, seed::DROPOUT), number);
        let options = StepOptions {
            lr,
            epoch,
            dropout_seed: dropout,
            seed: seed::mix(seed::mix(self.config.seed, seed::STRATEGY), step),
            fovea: self.config.fovea_loss,
            freeze_encoder: epoch < self.config.freeze_encoder_epochs,
        };
        let every = self.config.telemetry_every;
        let measured = every > 0 && (step + 1).is_multiple_of(every);
        let taught = self.teacher.as_ref().map(|teacher| teacher.teach(batch)).transpose()?;
        let (report, conflict) = Step::new(&self.net, batch, options, self.peers)
            .and_then(|step| step.taught(taught))
            .and_then(|step| watched(self.strategy.as_mut(), &step, measured))
            .map_err(|source| self.failed_step(source, batch))?;
        if let Some(average) = &mut self.average {
            average.update()?;
        }
        self.position.step += 1;
        self.position.batch += 1;
        let took = asked.elapsed();
        self.since_line.add(&report, took, waited);
        self.since_epoch.add(&report, took, waited);
        self.progress.step(epoch, &report.losses, lr, took);
        if let Some(conflict) = &conflict {
            let (step, weights) = (self.position.step, report.weights.into());
            self.write_log(&Entry::Conflict { step, epoch, conflict, weights })?;
        }
        if self.position.step.is_multiple_of(self.config.log_every) {
            let tally = std::mem::take(&mut self.since_line);
            self.write_log(&Entry::Step {
                step: self.position.step,
                epoch,
                losses: tally.losses().into(),
                lr,
                seconds_per_step: tally.mean(tally.took),
                data_wait_seconds: tally.mean(tally.waited),
            })?;
        }
        Ok(())
    }

    fn failed_step(&self, source: StrategyError, batch: &Batch) -> TrainingError {
        let Position { epoch, step, .. } = self.position;
        match source {
            StrategyError::NotFinite { task, loss } => {
                let last = self.config.out.join(LAST);
                let left = if last.exists() { last.display().to_string() } else { "none".into() };
                let files = batch.ids.clone();
                TrainingError::NotFinite { step, epoch, task, loss, files, checkpoint: left }
            }
            source => TrainingError::Step { step, source },
        }
    }

    /// The first process validates and the others wait. False: interrupted in it.
    fn validate_together(&mut self) -> Result<bool, TrainingError> {
        let through = self.peers.rank() != 0 || self.validate()?;
        Ok(self.peers.most(u64::from(!through))? == 0)
    }

    /// Measures on the validation images and keeps the weights when they are the best so far.
    /// False: interrupted before it was through; it runs again after a resume.
    fn validate(&mut self) -> Result<bool, TrainingError> {
        let started = Instant::now();
        let stop = || self.clock.interrupted();
        let found = validate(
            &self.net,
            &self.data.validation,
            &self.config,
            self.vcdr_model.as_ref(),
            &self.device,
            stop,
        )?;
        let Some(found) = found else { return Ok(false) };
        let Position { epoch, step, .. } = self.position;
        let best = self.best.is_none_or(|best| found.total < best.loss);
        if best {
            self.best = Some(Best { epoch, loss: found.total });
            self.save(BEST, State::new())?;
        }
        self.progress.validated(epoch, step, &found, best);
        self.write_log(&Entry::Validation {
            step,
            epoch,
            losses: found.losses.into(),
            total: found.total,
            best,
            seconds: started.elapsed().as_secs_f64(),
            metrics: found.metrics,
        })?;
        Ok(true)
    }

    fn save_when_due(&mut self) -> Result<(), TrainingError> {
        let age = self.saved.elapsed().as_secs_f64() / 60.0;
        let step = self.position.step;
        let counted = self.config.checkpoint_steps.is_some_and(|every| step.is_multiple_of(every));
        if counted || age >= self.config.checkpoint_minutes {
            self.save_last()?;
        }
        Ok(())
    }

    fn save_last(&mut self) -> Result<(), TrainingError> {
        if self.peers.rank() != 0 {
            return Ok(());
        }
        let mut state = self
            .strategy
            .state()
            .map_err(|source| TrainingError::Step { step: self.position.step, source })?;
        if let Some(average) = &self.average {
            state.extend(average.state()?);
        }
        self.save(LAST, state)?;
        self.saved = Instant::now();
        Ok(())
    }

    fn save(&mut self, name: &str, optimiser: State) -> Result<(), TrainingError> {
        let started = Instant::now();
        let info = CheckpointInfo {
            format: FORMAT,
            config: self.config.clone(),
            position: self.position,
            best: self.best,
            vcdr_model: self.vcdr_model,
            map_scales: self.net.map_scales().cloned(),
            dataset_hash: self.data.hash.clone(),
            git_revision: self.git_revision.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let path: PathBuf = self.config.out.join(name);
        let saved: Result<(), CheckpointError> =
            Checkpoint::new(&self.net, optimiser, info).save(&path);
        saved?;
        self.write_log(&Entry::Checkpoint {
            step: self.position.step,
            file: name,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn write_log(&mut self, entry: &Entry<'_>) -> Result<(), TrainingError> {
        let path = || self.config.out.join(super::log::FILE_NAME);
        self.log.write(entry).map_err(|source| TrainingError::Io { path: path(), source })
    }
}

/// The strategy that `config` names, at its start.
fn strategy(config: &Config, net: &UNet) -> Result<Box<dyn Strategy>, TrainingError> {
    let adam = config.optimizer.adam();
    strategy::build(config.strategy, &config.balance, net, adam).map_err(TrainingError::Strategy)
}

/// One step, with the conflict of its gradients before it where that is to be `measured`.
fn watched(
    strategy: &mut dyn Strategy,
    step: &Step<'_>,
    measured: bool,
) -> Result<(StepReport, Option<Conflict>), StrategyError> {
    let conflict = measured.then(|| telemetry::measure(step)).transpose()?;
    Ok((strategy.step(step)?, conflict))
}

/// Sums over steps.
#[derive(Default)]
struct Tally {
    steps: u32,
    sums: [f64; 4],
    counts: [u32; 4],
    took: Duration,
    waited: Duration,
}

impl Tally {
    fn add(&mut self, report: &StepReport, took: Duration, waited: Duration) {
        self.steps += 1;
        self.took += took;
        self.waited += waited;
        for task in Task::ALL {
            if let Some(loss) = report.losses[task.index()] {
                self.sums[task.index()] += loss;
                self.counts[task.index()] += 1;
            }
        }
    }

    fn losses(&self) -> [Option<f64>; 4] {
        let mean =
            |i: usize| (self.counts[i] > 0).then(|| self.sums[i] / f64::from(self.counts[i]));
        [mean(0), mean(1), mean(2), mean(3)]
    }

    fn mean(&self, time: Duration) -> f64 {
        time.as_secs_f64() / f64::from(self.steps.max(1))
    }
}
