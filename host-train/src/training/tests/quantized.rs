//! Trainings on the grids of an int8 file.

use super::*;
use crate::network::quantize_aware::QuantizeAware;
use crate::strategy::State;

/// A rate at which nothing moves: only the validation is of interest.
const NO_RATE: f64 = 1e-12;

fn aware(out: &Path, from: PathBuf, epochs: u64, lr: f64) -> Config {
    let quantize_aware = Some(QuantizeAware { images: 8, ..QuantizeAware::default() });
    let mut config = Config { init_from: Some(from), quantize_aware, epochs, ..tiny(out) };
    config.optimizer.lr = lr;
    config
}

fn best_loss(config: Config) -> f64 {
    run(config, &Control::default(), &CPU).unwrap().best.unwrap().loss
}

/// The same function in floating point, in which the first map's first channel is `factor` times as
/// large as it was: its group's grid has few levels left for the others.
fn unbalance(from: &Path, to: &Path, factor: f64) {
    let checkpoint = Checkpoint::load(from).unwrap();
    let net = checkpoint.network(&CPU).unwrap();
    let change = |name: &str, dim: usize, factor: f64| {
        let named = net.parameters().into_iter().find(|(own, _)| own == name);
        let (_, var) = named.unwrap();
        let size = var.dims()[dim];
        let factors: Vec<f32> =
            (0..size).map(|at| if at == 0 { factor as f32 } else { 1.0 }).collect();
        let mut shape = vec![1; var.dims().len()];
        shape[dim] = size;
        let factors = Tensor::from_vec(factors, shape, &CPU).unwrap();
        var.set(&var.broadcast_mul(&factors).unwrap()).unwrap();
    };
    change("encoder.stage1.norm1.weight", 0, factor);
    change("encoder.stage1.norm1.bias", 0, factor);
    change("encoder.stage1.conv2.weight", 1, 1.0 / factor);
    Checkpoint::new(&net, State::new(), checkpoint.info().clone()).save(to).unwrap();
}

#[test]
fn training_on_the_grids_loses_less_than_rounding_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let mut float = Config { epochs: 10, augment: None, ..tiny(&out("float")) };
    float.optimizer.lr = 3e-3;
    let before = best_loss(float.clone());
    let start = out("unbalanced.safetensors");
    unbalance(&out("float").join(BEST), &start, 100.0);

    let after = |name: &str, from: &Path, epochs, lr| {
        let config = aware(&out(name), from.to_path_buf(), epochs, lr);
        best_loss(Config { data: float.data.clone(), augment: None, ..config })
    };
    let rounded = after("rounded", &start, 1, NO_RATE);
    let trained = after("trained", &start, 6, 1e-3);
    // The same further training in floating point, and rounding after it.
    let mut longer =
        Config { init_from: Some(start.clone()), epochs: 6, out: out("longer"), ..float };
    longer.optimizer.lr = 1e-3;
    let float = longer.clone();
    best_loss(longer);
    let config = aware(&out("late"), out("longer").join(LAST), 1, NO_RATE);
    let late = best_loss(Config { data: float.data.clone(), augment: None, ..config });
    let all = format!("float {before}, rounded {rounded}, trained {trained}, rounded late {late}");
    println!("{all}");
    assert!(rounded > 1.25 * before, "rounding loses nothing: {all}");
    assert!(trained < rounded - 0.5 * (rounded - before), "{all}");
    assert!(trained < late, "{all}");
}

#[test]
fn grids_are_frozen_kept_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    run(tiny(&out("float")), &steps(2), &CPU).unwrap();
    let start = out("float").join(LAST);
    let outcome = run(aware(&out("whole"), start.clone(), 2, 1e-3), &steps(100), &CPU).unwrap();
    assert_eq!(outcome.ending, Ending::Finished);
    run(aware(&out("parts"), start.clone(), 2, 1e-3), &steps(3), &CPU).unwrap();
    let last = Checkpoint::load(&out("parts").join(LAST)).unwrap();
    resume(&last, |_| (), &steps(100), &CPU).unwrap();
    assert!(contents(&out("whole").join(LAST)) == contents(&out("parts").join(LAST)));

    let info = |name: &str, file| Checkpoint::load(&out(name).join(file)).unwrap().info().clone();
    let scales = info("whole", LAST).map_scales.unwrap();
    assert_eq!(scales.scales.len(), 18, "one group a convolution");
    assert_eq!(info("parts", BEST).map_scales.unwrap(), scales);
    assert_eq!(info("float", LAST).map_scales, None);
    // The running statistics are those that the grids were chosen with.
    let (float, whole) = (contents(&start), contents(&out("whole").join(LAST)));
    let running = float.keys().filter(|name| name.contains("running"));
    assert!(running.into_iter().all(|name| float[name] == whole[name]));

    // A training in floating point from there computes in floating point.
    let config = Config { init_from: Some(out("whole").join(BEST)), ..tiny(&out("again")) };
    run(config, &steps(1), &CPU).unwrap();
    assert_eq!(info("again", LAST).map_scales, None);
    let nothing = Config { init_from: None, ..aware(&out("nothing"), start, 1, 1e-3) };
    let error = run(nothing, &steps(1), &CPU).unwrap_err().to_string();
    assert!(error.contains("quantize_aware needs init_from"), "{error}");
}
