//! Teachers: what they say, who may teach, and that it is learnt.
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
use crate::training::config::{Input, Phantoms, Source};
use crate::training::schedule::Shape;
use glaucoma_common::preprocess::{Framing, to_input};
use glaucoma_common::self_test::picture;
use image::RgbImage;

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
    let distill =
        Distill { teacher: teacher.to_path_buf(), sha256: None, weight: 0.5, tasks: None };
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

/// The shipped bundle, and a drawn picture of its side.
fn bundle() -> (PathBuf, RgbImage) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fundus-small-0.1.onnx");
    let side = Engine::load(&std::fs::read(&path).unwrap()).unwrap().side();
    (path, picture(side))
}

#[test]
fn a_bundle_teaches_what_it_answers_on_the_device_and_only_what_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (path, photograph) = bundle();
    let side = photograph.width() as usize;
    let mut config = student(folder.path(), &path);
    config.input = Input { side: photograph.width(), framing: Framing::FieldOfView };
    let tasks = vec![Task::Glaucoma, Task::Disc, Task::Fovea];
    config.distill.as_mut().unwrap().tasks = Some(tasks.clone());
    // Twice the same picture, the second darker.
    let images = [1.0, 0.5].map(|light| {
        let values = to_input(&photograph, SCALE).iter().map(|v| v * light).collect();
        Tensor::from_vec(values, (1, 3, side, side), &CPU).unwrap()
    });
    let batch = Batch { images: Tensor::cat(&images, 0).unwrap(), ..batch() };
    let taught = opened(&mut config).unwrap().teach(&batch).unwrap();

    let engine = Engine::load(&std::fs::read(&path).unwrap()).unwrap();
    let device = engine.run(&photograph, SCALE).unwrap();
    for task in Task::ALL {
        let said = &taught.probabilities[task.index()];
        assert_eq!(said.is_some(), tasks.contains(&task), "{task:?}");
        let Some(said) = said else { continue };
        let said = said.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wanted = match task {
            Task::Glaucoma => vec![device.glaucoma],
            Task::Disc => device.disc.clone(),
            Task::Cup => device.cup.clone(),
            Task::Fovea => device.fovea.clone(),
        };
        let (bright, dark) = said.split_at(wanted.len());
        assert_eq!(bright, wanted, "{task:?}");
        assert!(dark.len() == wanted.len() && dark != wanted, "{task:?}");
    }
    // It learns from it, too.
    config.data = vec![Source { phantoms: Some(drawn()), ..Source::default() }];
    config.batch = 2;
    run(config, &steps(1), &CPU).unwrap();
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
        let of =
            |loss: &Tensor| Gradients::of(&outputs.backward(loss).unwrap(), &parameters).unwrap();
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
    assert_eq!(noted.sha256, Some(sha256_hex(&std::fs::read(&path).unwrap())));
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
    let config = PhantomConfig { side, glaucoma_share, degraded_share, ..PhantomConfig::default() };
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
            let [own, least] = [own.logits(task).unwrap(), &wise]
                .map(|logits| soft_loss(task, logits, &said).unwrap().to_scalar::<f32>().unwrap());
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
    for tasks in [vec![], vec![Task::Fovea]] {
        let mut config = student(&out, &path);
        config.network.tasks = vec![Task::Disc];
        config.distill.as_mut().unwrap().tasks = Some(tasks);
        let message = run(config, &steps(1), &CPU).unwrap_err().to_string();
        assert!(message.contains("distill.tasks"), "{message}");
    }
    let damaged = folder.path().join("damaged.onnx");
    std::fs::write(&damaged, &std::fs::read(bundle().0).unwrap()[..1000]).unwrap();
    let message = run(student(&out, &damaged), &steps(1), &CPU).unwrap_err().to_string();
    assert!(message.contains("damaged.onnx") && message.contains("engine"), "{message}");
    let message = run(student(&out, &bundle().0), &steps(1), &CPU).unwrap_err().to_string();
    assert!(message.contains("192 px") && message.contains("32 px"), "{message}");
    assert!(!out.join(LAST).exists());
}
