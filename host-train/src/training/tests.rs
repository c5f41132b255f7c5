//! Whole trainings of tiny networks on drawn pictures: learning, interruption, resumption, bad input.
#![allow(clippy::unwrap_used)]

mod quantized;

use super::checkpoint::{METADATA_KEY, Position};
use super::config::{Input, Phantoms, Source};
use super::*;
use crate::dataset::augment::Augment;
use crate::network::NetworkConfig;
use crate::strategy::StrategyName;
use candle_core::{DType, Tensor};
use clap::ValueEnum;
use glaucoma_common::preprocess::Framing;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};

pub(super) const CPU: Device = Device::Cpu;

/// Writes pictures with a bright disc, a brighter cup and a dark fovea as a REFUGE tree of the
/// converted form: `counts` for training and validation, every other one with glaucoma.
fn pictures(root: &Path, counts: [u32; 2]) {
    const SIDE: u32 = 128;
    for (part, count) in ["train", "val"].into_iter().zip(counts) {
        let folder = root.join(part);
        std::fs::create_dir_all(folder.join("images")).unwrap();
        std::fs::create_dir_all(folder.join("seg")).unwrap();
        let mut index = serde_json::Map::new();
        for number in 0..count {
            let name = format!("{part}{number:03}");
            let glaucoma = number % 2 == 1;
            let (x, y) = (35.0 + f64::from(number % 5) * 3.0, 60.0 + f64::from(number % 3) * 4.0);
            let away = |px: u32, py: u32, cx: f64| (f64::from(px) - cx).hypot(f64::from(py) - y);
            let cup = if glaucoma { 9.0 } else { 5.0 };
            let level = |px, py| match away(px, py, x) {
                d if d < cup => 0,
                d if d < 13.0 => 128,
                _ => 255u8,
            };
            let color = |px, py| match (level(px, py), away(px, py, x + 50.0) < 8.0) {
                (0, _) => [255, 240, 190],
                (128, _) => [240, 180, 90],
                (_, true) => [60, 20, 10],
                _ if away(px, py, 64.0) > 66.0 => [0, 0, 0],
                _ => [160, 70, 30],
            };
            let photo = image::RgbImage::from_fn(SIDE, SIDE, |px, py| image::Rgb(color(px, py)));
            photo.save(folder.join("images").join(format!("{name}.jpg"))).unwrap();
            let seg = image::GrayImage::from_fn(SIDE, SIDE, |px, py| image::Luma([level(px, py)]));
            seg.save(folder.join("seg").join(format!("{name}.bmp"))).unwrap();
            index.insert(
                number.to_string(),
                serde_json::json!({"ImgName": format!("{name}.jpg"), "Label": i32::from(glaucoma),
                    "Fovea_X": x + 50.0, "Fovea_Y": y, "Size_X": SIDE, "Size_Y": SIDE}),
            );
        }
        let index = serde_json::to_vec(&index).unwrap();
        std::fs::write(folder.join("index.json"), index).unwrap();
    }
}

/// Four steps an epoch, two epochs, every random thing switched on; the pictures lie in `out`.
pub(super) fn tiny(out: &Path) -> Config {
    let data = out.join("data");
    if !data.exists() {
        pictures(&data, [8, 4]);
    }
    Config {
        out: out.to_path_buf(),
        seed: 11,
        epochs: 2,
        batch: 2,
        validate_every: 1,
        log_every: 1,
        network: NetworkConfig { width: 1.0 / 32.0, ..NetworkConfig::default() },
        input: Input { side: 32, framing: Framing::FieldOfView },
        augment: Some(Augment::default()),
        data: vec![Source { path: data, ..Source::default() }],
        ..Config::default()
    }
}

pub(super) fn steps(most: u64) -> Control {
    Control { max_steps: Some(most), ..Control::default() }
}

/// Every tensor of a checkpoint file as bytes.
pub(super) fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

fn log_lines(out: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join(log::FILE_NAME)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the log says of losses, without times.
pub(super) fn losses_in_log(out: &Path) -> Vec<String> {
    let told = |line: &serde_json::Value| line["event"] == "step" || line["event"] == "validation";
    let lines = log_lines(out).into_iter().filter(told);
    lines.map(|line| format!("{} {} {}", line["event"], line["step"], line["losses"])).collect()
}

#[test]
fn a_resumed_run_is_bit_identical_to_an_uninterrupted_one() {
    for &strategy in StrategyName::value_variants() {
        let folder = tempfile::tempdir().unwrap();
        let (straight, pieces) = (folder.path().join("straight"), folder.path().join("pieces"));
        let config = |out: &Path| {
            let mut config = Config { strategy, ..tiny(out) };
            if strategy == StrategyName::Single {
                config.network.tasks = vec![Task::Disc];
            }
            config
        };
        let outcome = run(config(&straight), &Control::default(), &CPU).unwrap();
        assert_eq!(outcome.ending, Ending::Finished);
        assert_eq!(outcome.position, Position { epoch: 2, batch: 0, step: 8 });

        // Stops within an epoch, exactly at its end (its validation still to do), and within the next.
        let mut outcome = run(config(&pieces), &steps(3), &CPU).unwrap();
        assert_eq!(outcome.ending, Ending::OutOfTime);
        for most in [1, 2, 100] {
            let last = Checkpoint::load(&pieces.join(LAST)).unwrap();
            outcome = resume(&last, |_| (), &steps(most), &CPU).unwrap();
        }
        assert_eq!(outcome.ending, Ending::Finished);

        let (one, other) = (contents(&straight.join(LAST)), contents(&pieces.join(LAST)));
        let has = |part: &str| one.keys().any(|name| name.contains(part));
        assert!(has("running_var") && has("optimizer.") && has(".square") && has(".steps"));
        assert!(one == other, "{strategy:?}: tensors differ");
        assert!(contents(&straight.join(BEST)) == contents(&pieces.join(BEST)));
        let info = |out: &Path, name| Checkpoint::load(&out.join(name)).unwrap().info().clone();
        assert_eq!(info(&straight, LAST).best, info(&pieces, LAST).best);
        assert_eq!(losses_in_log(&straight), losses_in_log(&pieces));
    }
}

#[test]
fn telemetry_writes_its_lines_and_changes_no_bit_of_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, watched) = (folder.path().join("plain"), folder.path().join("watched"));
    let config = |out: &Path| Config { strategy: StrategyName::Pcgrad, ..tiny(out) };
    run(config(&plain), &Control::default(), &CPU).unwrap();
    let with = Config { telemetry_every: 3, ..config(&watched) };
    run(with, &Control::default(), &CPU).unwrap();
    assert!(contents(&plain.join(LAST)) == contents(&watched.join(LAST)));
    assert!(contents(&plain.join(BEST)) == contents(&watched.join(BEST)));
    let lines: Vec<_> =
        log_lines(&watched).into_iter().filter(|line| line["event"] == "conflict").collect();
    assert_eq!(lines.iter().map(|l| l["step"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 6]);
    for line in &lines {
        assert!(line["encoder"]["cosines"]["glaucoma-disc"].as_f64().unwrap().abs() <= 1.0);
        assert!(line["decoder"]["norms"]["cup"].as_f64().unwrap() > 0.0);
        assert!(line["encoder"]["ratios"]["fovea"].as_f64().unwrap() > 0.0);
        assert!(line["weights"]["disc"].as_f64().unwrap().is_finite());
    }
}

#[test]
fn another_seed_is_another_training() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    run(tiny(&out("a")), &steps(1), &CPU).unwrap();
    run(Config { seed: 12, ..tiny(&out("b")) }, &steps(1), &CPU).unwrap();
    assert!(contents(&out("a").join(LAST)) != contents(&out("b").join(LAST)));
}

#[test]
fn the_losses_go_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.epochs = 12;
    config.validate_every = 12;
    config.batch = 4;
    config.augment = None;
    config.network.width = 1.0 / 16.0;
    config.optimizer.lr = 2e-2;
    config.data[0].path = folder.path().join("more");
    pictures(&config.data[0].path, [12, 4]);
    run(config, &Control::default(), &CPU).unwrap();
    let totals: Vec<f64> = log_lines(folder.path())
        .iter()
        .filter(|line| line["event"] == "step")
        .map(|line| ["disc", "cup", "fovea"].map(|t| line["losses"][t].as_f64().unwrap()))
        .map(|losses| losses.iter().sum())
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&totals[..5]), mean(&totals[totals.len() - 5..]));
    assert!(last < 0.75 * first, "{first} -> {last}");
}

#[test]
fn an_interruption_leaves_a_checkpoint_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::default();
    control.stop.store(true, Ordering::Relaxed);
    let outcome = run(tiny(folder.path()), &control, &CPU).unwrap();
    assert_eq!((outcome.ending, outcome.position.step), (Ending::Interrupted, 0));
    let last = Checkpoint::load(&folder.path().join(LAST)).unwrap();
    assert_eq!(resume(&last, |_| (), &steps(1), &CPU).unwrap().position.step, 1);
    assert_eq!(log_lines(folder.path()).last().unwrap()["reason"], "out_of_time");
}

#[test]
fn a_folder_with_a_training_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(tiny(folder.path()), &steps(1), &CPU).unwrap();
    let before = contents(&folder.path().join(LAST));
    let error = run(tiny(folder.path()), &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    assert!(before == contents(&folder.path().join(LAST)));
}

#[test]
fn a_loss_that_is_not_finite_names_step_task_and_files_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.checkpoint_steps = Some(1);
    run(config, &steps(1), &CPU).unwrap();
    let last = folder.path().join(LAST);
    let before = contents(&last);
    let checkpoint = Checkpoint::load(&last).unwrap();
    let burst = |config: &mut Config| {
        config.optimizer.lr = 1e38;
        config.checkpoint_steps = None;
    };
    let error = resume(&checkpoint, burst, &Control::default(), &CPU).unwrap_err();
    let message = error.to_string();
    let TrainingError::NotFinite { files, .. } = error else { panic!("{message}") };
    assert_eq!(files.len(), 2);
    assert!(message.contains("step ") && message.contains(" loss is "), "{message}");
    assert!(message.contains("refuge/") && message.contains(LAST), "{message}");
    assert!(before == contents(&last));
}

#[test]
fn fine_tuning_takes_weights_and_leaves_the_optimiser() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    run(tiny(&first), &steps(2), &CPU).unwrap();
    let mut config = tiny(&second);
    config.init_from = Some(first.join(LAST));
    let control = Control::default();
    control.stop.store(true, Ordering::Relaxed);
    run(config.clone(), &control, &CPU).unwrap();
    let (one, two) = (contents(&first.join(LAST)), contents(&second.join(LAST)));
    for (name, bytes) in &two {
        if !name.starts_with("optimizer.") {
            assert!(bytes == &one[name], "{name}");
        } else if !name.ends_with(".steps") {
            assert!(bytes.iter().all(|byte| *byte == 0), "{name}");
        }
    }
    config.out = folder.path().join("third");
    config.network.width = 1.0 / 16.0;
    let error = run(config, &control, &CPU).unwrap_err().to_string();
    assert!(error.contains("another architecture") && error.contains("0.03125"), "{error}");
}

#[test]
fn data_that_changed_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    run(tiny(folder.path()), &steps(1), &CPU).unwrap();
    let last = Checkpoint::load(&folder.path().join(LAST)).unwrap();
    let photo = folder.path().join("data/train/images/train003.jpg");
    std::fs::copy(folder.path().join("data/train/images/train002.jpg"), photo).unwrap();
    let error = resume(&last, |_| (), &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("have changed"), "{error}");
}

#[test]
fn nothing_to_learn_from_or_to_choose_by_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.data[0].validation_share = Some(0.0);
    let error = run(config, &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("validation_share"), "{error}");
    let mut config = tiny(folder.path());
    config.data[0] = Source { path: folder.path().join("none"), ..Source::default() };
    let error = run(config, &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
}

/// Writes the tensors of `from` to `to`, changed by `change`, with `info` as metadata.
fn rewrite(
    from: &Path,
    to: &Path,
    info: Option<&str>,
    change: impl FnOnce(&mut HashMap<String, Tensor>),
) {
    let mut tensors = candle_core::safetensors::load(from, &CPU).unwrap();
    change(&mut tensors);
    let metadata = info.map(|json| HashMap::from([(METADATA_KEY.to_owned(), json.to_owned())]));
    safetensors::serialize_to_file(tensors, metadata, to).unwrap();
}

#[test]
fn bad_checkpoints_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    run(tiny(folder.path()), &steps(5), &CPU).unwrap();
    let last = folder.path().join(LAST);
    let info = serde_json::to_string(Checkpoint::load(&last).unwrap().info()).unwrap();
    let bad = folder.path().join("bad.safetensors");
    let refusal = || match Checkpoint::load(&bad) {
        Ok(checkpoint) => checkpoint.network(&CPU).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let expect = |what: &str| {
        let message = refusal().unwrap();
        assert!(message.contains(what) && message.contains("bad.safetensors"), "{message}");
    };
    let weight = "head.cup.weight";
    expect("cannot be read");
    let bytes = std::fs::read(&last).unwrap();
    for length in [0, 5, 1000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&bad, &bytes[..length]).unwrap();
        expect("truncated");
    }
    std::fs::write(&bad, "this is a text file, not a checkpoint").unwrap();
    expect("not a complete safetensors file");
    rewrite(&last, &bad, None, |_| ());
    expect("not a checkpoint of this program");
    rewrite(&last, &bad, Some(&info.replace("\"format\":1", "\"format\":99")), |_| ());
    expect("format is 99");
    rewrite(&last, &bad, Some(&info), |tensors| {
        tensors.remove(weight);
    });
    expect(weight);
    rewrite(&last, &bad, Some(&info), |tensors| {
        tensors.insert("head.cup.extra".into(), tensors[weight].clone());
    });
    expect("head.cup.extra");
    rewrite(&last, &bad, Some(&info), |tensors| {
        tensors.insert(weight.into(), Tensor::zeros((3, 3), DType::F32, &CPU).unwrap());
    });
    expect("[3, 3]");

    let best = Checkpoint::load(&folder.path().join(BEST)).unwrap();
    let error = resume(&best, |_| (), &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("no optimiser state"), "{error}");
}

#[test]
fn weights_that_are_not_finite_are_never_saved() {
    let folder = tempfile::tempdir().unwrap();
    run(tiny(folder.path()), &steps(1), &CPU).unwrap();
    let last = folder.path().join(LAST);
    let before = contents(&last);
    let checkpoint = Checkpoint::load(&last).unwrap();
    let net = checkpoint.network(&CPU).unwrap();
    let (_, var) = net.parameters().pop().unwrap();
    var.set(&(var.as_tensor() * f64::INFINITY).unwrap()).unwrap();
    let poisoned = Checkpoint::new(&net, BTreeMap::new(), checkpoint.info().clone());
    let error = poisoned.save(&last).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    assert!(before == contents(&last));
}

/// Every option that has a state or a random choice of its own.
fn with_every_option(out: &Path) -> Config {
    let mut config = tiny(out);
    config.average = Some(0.9);
    config.freeze_encoder_epochs = 1;
    config.optimizer.weight_decay = 0.01;
    config.optimizer.clip_norm = Some(0.5);
    config.optimizer.encoder_rate = 0.5;
    config.data[0].glaucoma_share = Some(0.25);
    let drawn = Phantoms { count: 3, validation: 1, side: 128, ..Phantoms::default() };
    config.data.push(Source { phantoms: Some(drawn), ..Source::default() });
    config
}

#[test]
fn resumption_is_bit_identical_with_every_option() {
    let folder = tempfile::tempdir().unwrap();
    let (straight, pieces) = (folder.path().join("straight"), folder.path().join("pieces"));
    run(with_every_option(&straight), &Control::default(), &CPU).unwrap();
    run(with_every_option(&pieces), &steps(4), &CPU).unwrap();
    let last = Checkpoint::load(&pieces.join(LAST)).unwrap();
    resume(&last, |_| (), &Control::default(), &CPU).unwrap();
    let (one, other) = (contents(&straight.join(LAST)), contents(&pieces.join(LAST)));
    assert!(one.keys().any(|name| name == "optimizer.average.updates"));
    assert!(one == other, "tensors differ");
    assert!(contents(&straight.join(BEST)) == contents(&pieces.join(BEST)));
}

#[test]
fn the_best_model_holds_the_averaged_weights() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { average: Some(0.9), epochs: 1, ..tiny(folder.path()) };
    run(config, &Control::default(), &CPU).unwrap();
    let (best, last) = (contents(&folder.path().join(BEST)), contents(&folder.path().join(LAST)));
    let name = "encoder.stage1.conv1.weight";
    assert!(best[name] != last[name]);
    assert!(best[name] == last[&format!("optimizer.average.{name}")]);
}

#[test]
fn a_frozen_encoder_stays_and_the_rest_moves() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let frozen = |out: &Path| Config { freeze_encoder_epochs: 1, ..tiny(out) };
    run(frozen(&out("start")), &steps(0), &CPU).unwrap();
    run(frozen(&out("later")), &steps(3), &CPU).unwrap();
    let (start, later) = (contents(&out("start").join(LAST)), contents(&out("later").join(LAST)));
    let same = |part: &str| {
        let own = start.keys().filter(|name| name.starts_with(part) && !name.contains("running"));
        own.map(|name| start[name] == later[name]).collect::<Vec<_>>()
    };
    assert!(same("encoder.").into_iter().all(|same| same));
    assert!(same("decoder.").into_iter().any(|same| !same));
}

#[test]
fn a_training_that_no_longer_improves_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.epochs = 50;
    config.patience = Some(2);
    // A rate at which nothing gets better for long.
    config.optimizer.lr = 0.3;
    let outcome = run(config, &Control::default(), &CPU).unwrap();
    assert_eq!(outcome.ending, Ending::Stalled);
    assert_eq!(outcome.position.epoch, outcome.best.unwrap().epoch + 3);
    assert_eq!(log_lines(folder.path()).last().unwrap()["reason"], "stalled");
}

#[test]
fn heads_that_nothing_can_teach_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.data[0].tasks = Some(vec![Task::Disc, Task::Fovea]);
    let error = run(config, &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("glaucoma") && error.contains("network.tasks"), "{error}");

    let mut config = tiny(folder.path());
    let healthy =
        Phantoms { count: 4, validation: 1, side: 128, glaucoma_share: 0.0, ..Phantoms::default() };
    config.data = vec![Source { phantoms: Some(healthy), ..Source::default() }];
    let error = run(config.clone(), &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("all 4 class labels") && error.contains("healthy"), "{error}");
    config.network.tasks.retain(|task| *task != Task::Glaucoma);
    run(config, &steps(1), &CPU).unwrap();
}

#[test]
fn the_rarer_class_is_shown_as_often_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny(folder.path());
    config.batch = 4;
    config.data[0].path = folder.path().join("more");
    config.data[0].glaucoma_share = Some(0.25);
    pictures(&config.data[0].path, [16, 4]);
    let data = super::data::load(&config, &CPU).unwrap();
    let mut classes = Vec::new();
    for batch in data.batches.epoch(0, 0) {
        classes.extend(batch.unwrap().glaucoma.unwrap().values.to_vec1::<f32>().unwrap());
    }
    assert_eq!((classes.len(), classes.iter().sum::<f32>()), (16, 4.0));
}
