//! Learning from another network: which teacher, and what it says of a batch.

use super::checkpoint::{Checkpoint, CheckpointError};
use super::config::{Config, ConfigError, Input, require};
use crate::dataset::batches::Batch;
use crate::network::{Mode, NetworkError, Task, UNet};
use crate::strategy::Taught;
use candle_core::{Device, Tensor};
use glaucoma_common::photo::sha256_hex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Whom to learn from, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// The teacher's checkpoint. It must have the student's input and at least its heads.
    pub teacher: PathBuf,
    /// SHA-256 of that file in hex; another file is refused. Absent: whatever the file is now, which
    /// the training then keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What a task's loss against the teacher's probabilities, over all images, counts beside its loss
    /// against the labels, over the labelled ones; above 0.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

impl Distill {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`ConfigError::Value`] naming the key.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        require(!self.teacher.as_os_str().is_empty(), "distill.teacher is empty")?;
        let positive = self.weight.is_finite() && self.weight > 0.0;
        require(positive, "distill.weight must be above 0")
    }
}

/// Why a network cannot teach.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// The file cannot be read.
    #[error("teacher {}: cannot be read: {source}", path.display())]
    Read {
        /// The checkpoint.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not the file that the configuration, or the training so far, had.
    #[error(
        "teacher {}: another file than before: its SHA-256 is {found}, distill.sha256 is {expected}",
        path.display()
    )]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// As configured, or as at the start of the training.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// It looks at photographs in another way than the student.
    #[error(
        "teacher {}: it takes another input than the student: {} px, {:?}, instead of {} px, {:?}; give \
         both the same [input]",
        path.display(), teacher.side, teacher.framing, student.side, student.framing
    )]
    Input {
        /// The checkpoint.
        path: PathBuf,
        /// The teacher's.
        teacher: Input,
        /// The student's.
        student: Input,
    },
    /// It does not predict what the student should learn.
    #[error("teacher {}: it has no head for the student's task {}", path.display(), task.name())]
    Head {
        /// The checkpoint.
        path: PathBuf,
        /// The task.
        task: Task,
    },
    /// The checkpoint is damaged, or none.
    #[error("teacher {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Its pass failed.
    #[error("teacher: {0}")]
    Network(#[from] NetworkError),
    /// The tensor library failed.
    #[error("teacher: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A trained network that says what it sees in every image of a batch. It never changes.
pub struct Teacher {
    net: UNet,
    tasks: Vec<Task>,
    weight: f64,
}

impl Teacher {
    /// The teacher that `config` names, if any. Its hash is noted in the configuration, which is
    /// kept in every checkpoint: a resumed training has the same teacher or none.
    ///
    /// # Errors
    /// See [`TeacherError`].
    pub fn open(config: &mut Config, device: &Device) -> Result<Option<Self>, TeacherError> {
        let student = config.input;
        let tasks = config.network.tasks.clone();
        let Some(distill) = &mut config.distill else { return Ok(None) };
        let path = || distill.teacher.clone();
        let found = hash(&distill.teacher)?;
        if let Some(expected) = distill.sha256.as_ref().filter(|expected| **expected != found) {
            return Err(TeacherError::Changed { path: path(), expected: expected.clone(), found });
        }
        let checkpoint = Checkpoint::load(&distill.teacher)?;
        let own = &checkpoint.info().config;
        let teacher = own.input;
        if teacher != student {
            return Err(TeacherError::Input { path: path(), teacher, student });
        }
        if let Some(&task) = tasks.iter().find(|task| !own.network.tasks.contains(task)) {
            return Err(TeacherError::Head { path: path(), task });
        }
        let net = checkpoint.network(device)?;
        distill.sha256 = Some(found);
        Ok(Some(Self { net, tasks, weight: distill.weight }))
    }

    /// What it says of the images of `batch`, which are those that the student is shown.
    ///
    /// # Errors
    /// Failures of the network.
    pub fn teach(&self, batch: &Batch) -> Result<Taught, TeacherError> {
        let mut said: [Vec<Tensor>; 4] = Default::default();
        for at in 0..batch.images.dim(0)? {
            // One by one: a teacher is large, and its pass holds every map of it until it is over.
            let outputs =
                self.net.forward(&batch.images.narrow(0, at, 1)?, &self.tasks, Mode::Evaluate)?;
            for task in Task::ALL {
                if let Some(logits) = outputs.logits(task) {
                    said[task.index()].push(candle_nn::ops::sigmoid(&logits.detach())?);
                }
            }
        }
        let mut probabilities = [const { None }; 4];
        for (all, images) in probabilities.iter_mut().zip(&said) {
            if !images.is_empty() {
                *all = Some(Tensor::cat(images, 0)?);
            }
        }
        Ok(Taught { probabilities, weight: self.weight })
    }
}

/// SHA-256 of a file, in hex as `sha256sum` prints it.
fn hash(path: &Path) -> Result<String, TeacherError> {
    let read = |source| TeacherError::Read { path: path.to_path_buf(), source };
    Ok(sha256_hex(&std::fs::read(path).map_err(read)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{CPU, contents, losses_in_log, steps, tiny};
    use super::super::{BEST, Control, LAST, TrainingError, resume, run};
    use super::*;
    use crate::dataset::batches::{self, Source as _, Target};
    use crate::dataset::phantom::PhantomConfig;
    use crate::evaluation::{SCALE, predict_batch};
    use crate::gradients::Gradients;
    use crate::loss::{FoveaLoss, soft_loss};
    use crate::network::golden::{network, noise};
    use crate::parallel::Alone;
    use crate::strategy::{Step, StepOptions, StrategyName};
    use crate::training::config::{Phantoms, Source};
    use crate::training::schedule::Shape;
    use glaucoma_common::preprocess::Framing;

    /// A teacher twice as wide as [`tiny`], trained a little.
    fn teacher(folder: &Path, change: impl FnOnce(&mut Config)) -> PathBuf {
        let mut config = tiny(&folder.join("teacher"));
        config.network.width = 1.0 / 16.0;
        config.epochs = 1;
        change(&mut config);
        run(config.clone(), &Control::default(), &CPU).unwrap();
        config.out.join(LAST)
    }

    fn student(out: &Path, teacher: &Path) -> Config {
        let distill = Distill { teacher: teacher.to_path_buf(), sha256: None, weight: 0.5 };
        Config { distill: Some(distill), ..tiny(out) }
    }

    /// Two images without a class; one has a disc.
    fn batch() -> Batch {
        let values = noise((2, 1, 32, 32), 4, |x| f64::from(u8::from(x > 0.5)));
        let weights = Tensor::new(&[1f32, 0.0], &CPU).unwrap();
        Batch {
            images: noise((2, 3, 32, 32), 1, |x| (x + 1.0) / 2.0),
            glaucoma: None,
            disc: Some(Target { values, weights, labelled: 1 }),
            cup: None,
            fovea: None,
            ids: vec!["a".into(), "b".into()],
        }
    }

    fn opened(config: &mut Config) -> Result<Teacher, TeacherError> {
        Teacher::open(config, &CPU).map(Option::unwrap)
    }

    #[test]
    fn what_is_taught_is_what_the_teacher_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = teacher(folder.path(), |_| ());
        let mut config = student(&folder.path().join("student"), &path);
        let taught = opened(&mut config).unwrap().teach(&batch()).unwrap();
        assert_eq!(taught.weight, 0.5);
        let own = Checkpoint::load(&path).unwrap().network(&CPU).unwrap();
        let said = predict_batch(&own, &batch().images).unwrap();
        for task in Task::ALL {
            let found = taught.probabilities[task.index()].as_ref().unwrap();
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let wanted: Vec<f32> = said
                .iter()
                .flat_map(|one| match task {
                    Task::Glaucoma => vec![one.glaucoma],
                    Task::Disc => one.disc.clone(),
                    Task::Cup => one.cup.clone(),
                    Task::Fovea => one.fovea.clone(),
                })
                .collect();
            let off = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(found.len() == wanted.len() && off < 1e-5, "{task:?}: {off}");
        }
    }

    #[test]
    fn a_step_learns_from_labels_and_from_the_weighted_teacher() {
        const WEIGHT: f64 = 0.3;
        let (net, batch) = (network(), batch());
        let said = noise((2, 1, 32, 32), 9, |x| (x + 1.0) / 2.0);
        let class = Tensor::new(&[0.2f32, 0.7], &CPU).unwrap();
        let options = StepOptions {
            lr: 1e-2,
            epoch: 0,
            dropout_seed: 1,
            seed: 1,
            fovea: FoveaLoss::L1,
            freeze_encoder: false,
        };
        let plain = || Step::new(&net, &batch, options, &Alone).unwrap();
        let probabilities = [Some(class.clone()), Some(said.clone()), None, None];
        let with = plain().taught(Some(Taught { probabilities, weight: WEIGHT })).unwrap();
        assert_eq!(plain().tasks(), [Task::Disc]);
        assert_eq!(with.tasks(), [Task::Glaucoma, Task::Disc]);

        let outputs = with.forward(&[Task::Glaucoma, Task::Disc]).unwrap();
        let parameters = net.parameters();
        for (task, said) in [(Task::Glaucoma, &class), (Task::Disc, &said)] {
            let labels = plain().loss(task, &outputs).unwrap();
            let both = with.loss(task, &outputs).unwrap().unwrap();
            let soft = soft_loss(task, outputs.logits(task).unwrap(), said).unwrap();
            let value = f64::from(soft.to_scalar::<f32>().unwrap());
            let wanted = labels.as_ref().map_or(0.0, |labels| labels.value) + WEIGHT * value;
            assert!((both.value - wanted).abs() < 1e-6, "{task:?}");
            // The gradient too is the labels' and the weighted teacher's.
            let of = |loss: &Tensor| {
                Gradients::of(&outputs.backward(loss).unwrap(), &parameters).unwrap()
            };
            let both = of(&both.on_tape);
            let labels = labels.map(|labels| of(&labels.on_tape));
            let (mut reached, soft) = (0, of(&soft));
            for (at, (both, soft)) in both.iter().zip(soft.iter()).enumerate() {
                let (Some(both), Some(soft)) = (both, soft) else { continue };
                let mut rest = (both - (soft * WEIGHT).unwrap()).unwrap();
                if let Some(labels) = labels.as_ref().and_then(|own| own.iter().nth(at).flatten()) {
                    rest = (rest - labels).unwrap();
                }
                let largest =
                    |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(largest(&rest) <= 1e-5 * (1e-2 + largest(both)), "{task:?} {at}");
                reached += 1;
            }
            assert!(reached > 20, "{task:?}: {reached}");
        }
    }

    #[test]
    fn a_resumed_distillation_is_bit_identical_and_keeps_to_its_teacher() {
        let folder = tempfile::tempdir().unwrap();
        let path = teacher(folder.path(), |_| ());
        let (straight, pieces) = (folder.path().join("straight"), folder.path().join("pieces"));
        run(student(&straight, &path), &Control::default(), &CPU).unwrap();
        run(student(&pieces, &path), &steps(3), &CPU).unwrap();
        let last = Checkpoint::load(&pieces.join(LAST)).unwrap();
        let noted = last.info().config.distill.clone().unwrap();
        assert_eq!(noted.sha256, Some(hash(&path).unwrap()));
        resume(&last, |_| (), &Control::default(), &CPU).unwrap();
        for name in [LAST, BEST] {
            assert!(contents(&straight.join(name)) == contents(&pieces.join(name)), "{name}");
        }
        assert_eq!(losses_in_log(&straight), losses_in_log(&pieces));
        // The teacher took part.
        let alone = folder.path().join("alone");
        run(tiny(&alone), &Control::default(), &CPU).unwrap();
        assert!(contents(&straight.join(LAST)) != contents(&alone.join(LAST)));

        // A teacher that has changed since then.
        let other = straight.join(BEST);
        std::fs::copy(&other, &path).unwrap();
        let error = resume(&last, |_| (), &steps(1), &CPU).unwrap_err();
        assert!(matches!(error, TrainingError::Teacher(TeacherError::Changed { .. })), "{error}");
    }

    /// Eight drawn eyes, the same in every epoch.
    fn drawn() -> Phantoms {
        Phantoms { count: 8, validation: 2, fresh: false, side: 128, ..Phantoms::default() }
    }

    /// Those eyes as the network is shown them.
    fn eyes() -> Tensor {
        let Phantoms { seed, count, fresh, side, glaucoma_share, degraded_share, .. } = drawn();
        let config =
            PhantomConfig { side, glaucoma_share, degraded_share, ..PhantomConfig::default() };
        let contract = Input { side: 32, framing: Framing::FieldOfView }.contract();
        let series = batches::Phantoms { seed, count, fresh, config, contract };
        let example = |at| series.example(at, 0).unwrap().into_owned();
        let examples: Vec<_> = (0..count).map(example).collect();
        Batch::from_examples(&examples, SCALE, &CPU).unwrap().images
    }

    #[test]
    fn a_student_comes_nearer_to_its_teacher() {
        let folder = tempfile::tempdir().unwrap();
        let settle = |config: &mut Config| {
            config.data = vec![Source { phantoms: Some(drawn()), ..Source::default() }];
            config.augment = None;
            config.strategy = StrategyName::Aggregated;
            config.optimizer.lr = 1e-2;
            config.schedule.shape = Shape::Cosine;
            (config.batch, config.epochs, config.validate_every) = (4, 40, 40);
        };
        let path = teacher(folder.path(), settle);
        let mut config = student(&folder.path().join("student"), &path);
        settle(&mut config);
        // Of cup, fovea and class it is told by the teacher alone.
        config.data[0].tasks = Some(vec![Task::Disc]);
        let last = config.out.join(LAST);
        run(config, &steps(0), &CPU).unwrap();

        let (images, maps) = (eyes(), [Task::Disc, Task::Cup, Task::Fovea]);
        let logits = |path: &Path| {
            let net = Checkpoint::load(path).unwrap().network(&CPU).unwrap();
            net.forward(&images, &maps, Mode::Evaluate).unwrap()
        };
        let wise = logits(&path);
        // The cross-entropy above the teacher's own entropy: 0 for the teacher.
        let apart = || {
            let own = logits(&last);
            maps.map(|task| {
                let wise = wise.logits(task).unwrap().detach();
                let said = candle_nn::ops::sigmoid(&wise).unwrap();
                let [own, least] = [own.logits(task).unwrap(), &wise].map(|logits| {
                    soft_loss(task, logits, &said).unwrap().to_scalar::<f32>().unwrap()
                });
                own - least
            })
        };
        let before = apart();
        let start = Checkpoint::load(&last).unwrap();
        resume(&start, |_| (), &Control::default(), &CPU).unwrap();
        let after = apart();
        eprintln!("from the teacher in disc, cup and fovea: {before:?} -> {after:?}");
        for (before, after) in before.into_iter().zip(after) {
            assert!(after < 0.7 * before, "{before} -> {after}");
        }
    }

    #[test]
    fn a_network_that_cannot_teach_is_refused_before_any_image_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = teacher(folder.path(), |config| {
            config.network.tasks = vec![Task::Glaucoma, Task::Disc, Task::Cup];
        });
        let out = folder.path().join("student");
        let refused = |change: fn(&mut Config)| {
            let mut config = student(&out, &path);
            config.data[0].path = folder.path().join("nowhere");
            change(&mut config);
            run(config, &steps(1), &CPU).unwrap_err().to_string()
        };
        let message = refused(|_| ());
        assert!(message.contains("no head for the student's task fovea"), "{message}");
        let message = refused(|config| config.input.side = 48);
        assert!(message.contains("32 px") && message.contains("48 px"), "{message}");
        let message = refused(|config| config.input.framing = Framing::WholeImage);
        assert!(message.contains("FieldOfView") && message.contains("WholeImage"), "{message}");
        let message = refused(|config| {
            config.distill.as_mut().unwrap().sha256 = Some("00".into());
        });
        assert!(message.contains("distill.sha256 is 00"), "{message}");
        let message = refused(|config| config.distill.as_mut().unwrap().teacher.push("not"));
        assert!(message.contains("teacher") && message.contains("cannot be read"), "{message}");
        let message = refused(|config| config.distill.as_mut().unwrap().weight = 0.0);
        assert!(message.contains("distill.weight"), "{message}");
        assert!(!out.join(LAST).exists());
    }
}
