//! Strategies against PyTorch (tests/golden/training/make.py) and against their own guarantees.
#![allow(clippy::unwrap_used)]

use super::draw::orders;
use super::telemetry::measure;
use super::{Options, State, Step, StepOptions, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::dataset::batches::{Batch, Target};
use crate::gradients::Gradients;
use crate::loss::FoveaLoss;
use crate::network::golden::{network, noise};
use crate::network::{NetworkConfig, Task, UNet};
use crate::parallel::{Alone, Peers, PeersError};
use candle_core::{DType, Device, Tensor};
use clap::ValueEnum;
use std::collections::HashMap;

const SIDE: usize = 32;
/// As in the script.
const LR: f64 = 1e-2;
const ADAM: AdamConfig = AdamConfig {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-3,
    weight_decay: 0.0,
    clip_norm: None,
    encoder_rate: 1.0,
};
const OPTIONS: StepOptions = StepOptions {
    lr: LR,
    epoch: 0,
    dropout_seed: 7,
    seed: 5,
    fovea: FoveaLoss::L1,
    freeze_encoder: false,
};
/// Labelled images step by step, in the order of [`Task::ALL`]; as in the script.
const LABELLED: [[&[usize]; 4]; 3] =
    [[&[0, 1], &[0, 1], &[0], &[0, 1]], [&[], &[1], &[], &[0, 1]], [&[1], &[0, 1], &[1], &[0]]];

fn target(task: Task, seed: u64, labelled: &[usize]) -> Option<Target> {
    let binary = |from: f64| move |x: f64| f64::from(u8::from(x > from));
    let values = match task {
        Task::Glaucoma => noise(2, seed, binary(0.0)),
        Task::Disc | Task::Cup => noise((2, 1, SIDE, SIDE), seed, binary(0.5)),
        Task::Fovea => noise((2, 1, SIDE, SIDE), seed, |x| (x + 1.0) / 2.0),
    };
    let weights: Vec<f32> = (0..2).map(|i| f32::from(u8::from(labelled.contains(&i)))).collect();
    let weights = Tensor::from_vec(weights, 2, &Device::Cpu).unwrap();
    (!labelled.is_empty()).then_some(Target { values, weights, labelled: labelled.len() })
}

fn labelled_batch(step: u64, labelled: [&[usize]; 4]) -> Batch {
    let seed = 2000 + 10 * step;
    let of = |task: Task| target(task, seed + 1 + task.index() as u64, labelled[task.index()]);
    Batch {
        images: noise((2, 3, SIDE, SIDE), seed, |x| (x + 1.0) / 2.0),
        glaucoma: of(Task::Glaucoma),
        disc: of(Task::Disc),
        cup: of(Task::Cup),
        fovea: of(Task::Fovea),
        ids: vec!["a".into(), "b".into()],
    }
}

fn batch(step: usize) -> Batch {
    labelled_batch(step as u64, LABELLED[step])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(net: &UNet, strategy: &dyn Strategy) -> Vec<(String, Vec<u8>)> {
    let own = net.parameters().into_iter().chain(net.buffers());
    let tensors = own.map(|(name, var)| (name, var.as_detached_tensor()));
    let all = tensors.chain(strategy.state().unwrap());
    all.map(|(name, tensor)| {
        let flat = tensor.flatten_all().unwrap();
        let bytes = match tensor.dtype() {
            DType::U32 => bytes(flat.to_vec1::<u32>().unwrap(), u32::to_le_bytes),
            DType::F64 => bytes(flat.to_vec1::<f64>().unwrap(), f64::to_le_bytes),
            _ => bytes(flat.to_vec1::<f32>().unwrap(), f32::to_le_bytes),
        };
        (name, bytes)
    })
    .collect()
}

fn bytes<T, const N: usize>(values: Vec<T>, of: fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(of).collect()
}

/// A network that `name` can train: of all tasks, or of the cup alone.
fn network_for(name: StrategyName) -> UNet {
    if name != StrategyName::Single {
        return network();
    }
    let config =
        NetworkConfig { width: 1.0 / 32.0, tasks: vec![Task::Cup], ..NetworkConfig::default() };
    UNet::new(&config, 3, &Device::Cpu).unwrap()
}

fn build(name: StrategyName, net: &UNet) -> Box<dyn Strategy> {
    super::build(name, &Options::default(), net, ADAM).unwrap()
}

fn all() -> &'static [StrategyName] {
    StrategyName::value_variants()
}

fn make_step(
    strategy: &mut dyn Strategy,
    net: &UNet,
    batch: &Batch,
) -> Result<StepReport, StrategyError> {
    strategy.step(&Step::new(net, batch, OPTIONS, &Alone)?)
}

fn run(name: StrategyName, steps: usize) -> (UNet, Box<dyn Strategy>, Vec<[Option<f64>; 4]>) {
    let net = network_for(name);
    let mut strategy = build(name, &net);
    let losses = (0..steps)
        .map(|step| make_step(strategy.as_mut(), &net, &batch(step)).unwrap().losses)
        .collect();
    (net, strategy, losses)
}

fn golden() -> HashMap<String, Tensor> {
    let path = glaucoma_tests::golden("training/strategies.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// Largest difference over the largest value.
fn difference(found: &Tensor, golden: &Tensor) -> f32 {
    assert_eq!(found.elem_count(), golden.elem_count());
    let (found, golden) = (values(found), values(golden));
    let scale = golden.iter().fold(1e-6f32, |most, v| most.max(v.abs()));
    found.iter().zip(&golden).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

/// After the first `steps` batches, as many as the script made.
fn agrees_with_pytorch(name: StrategyName, steps: usize) {
    let prefix = name.name();
    let golden = golden();
    let (net, strategy, losses) = run(name, steps);
    for (step, losses) in losses.iter().enumerate() {
        for task in Task::ALL {
            let wanted = golden.get(&format!("{prefix}.loss.{step}.{}", task.name()));
            match (losses[task.index()], wanted) {
                (Some(loss), Some(wanted)) => {
                    let wanted = f64::from(values(wanted)[0]);
                    assert!(
                        (loss - wanted).abs() < 1e-4 * wanted.abs().max(0.1),
                        "{task:?} {loss} {wanted}"
                    );
                }
                (None, None) => {}
                other => panic!("step {step} {task:?}: {other:?}"),
            }
        }
    }
    for (key, var) in net.parameters().into_iter().chain(net.buffers()) {
        let found = difference(var.as_tensor(), &golden[&format!("{prefix}.final.{key}")]);
        assert!(found < 1e-3, "{key} differs by {found}");
    }
    let state = strategy.state().unwrap();
    let moments = golden
        .iter()
        .filter_map(|(key, wanted)| Some((key.strip_prefix(&format!("{prefix}.state."))?, wanted)));
    for (key, wanted) in moments {
        if key.ends_with(".steps") {
            let steps = state[key].flatten_all().unwrap().to_vec1::<u32>().unwrap();
            assert_eq!(steps[0] as f32, values(wanted)[0], "{key}");
        } else {
            let found = difference(&state[key], wanted);
            assert!(found < 2e-3, "{key} differs by {found}");
        }
    }
}

#[test]
fn mtl_io_is_equation_3() {
    agrees_with_pytorch(StrategyName::Independent, 3);
}

#[test]
fn aggregated_is_equation_1() {
    agrees_with_pytorch(StrategyName::Aggregated, 3);
}

#[test]
fn alternating_is_equation_2() {
    agrees_with_pytorch(StrategyName::Alternating, 2);
}

#[test]
fn gradnorm_is_algorithm_1_of_chen() {
    agrees_with_pytorch(StrategyName::Gradnorm, 3);
}

#[test]
fn uncertainty_is_the_loss_of_kendall() {
    agrees_with_pytorch(StrategyName::Uncertainty, 3);
}

#[test]
fn famo_is_algorithm_1_of_liu() {
    agrees_with_pytorch(StrategyName::Famo, 3);
}

#[test]
fn pcgrad_is_algorithm_1_of_yu() {
    // The orders that the script projects in are those drawn here.
    assert_eq!(orders(2, OPTIONS.seed), [[0, 1], [1, 0]]);
    assert_eq!(orders(4, OPTIONS.seed), [[0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1], [3, 1, 2, 0]]);
    agrees_with_pytorch(StrategyName::Pcgrad, 3);
}

/// The part of a strategy's state that belongs to `task`.
fn of_task(state: &State, task: Task) -> Vec<(String, Tensor)> {
    let prefix = format!("{}.", task.name());
    state
        .iter()
        .filter(|(n, _)| n.starts_with(&prefix))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect()
}

fn is_zero(tensor: &Tensor) -> bool {
    let tensor = tensor.to_dtype(candle_core::DType::F32).unwrap();
    values(&tensor).iter().all(|value| *value == 0.0)
}

#[test]
fn moments_of_a_task_see_only_its_own_gradients() {
    let net = network();
    let mut strategy = build(StrategyName::Independent, &net);
    make_step(strategy.as_mut(), &net, &labelled_batch(0, [&[], &[], &[], &[0]])).unwrap();
    let state = strategy.state().unwrap();
    for task in [Task::Glaucoma, Task::Disc, Task::Cup] {
        assert!(of_task(&state, task).iter().all(|(_, moment)| is_zero(moment)), "{task:?}");
    }
    let fovea = of_task(&state, Task::Fovea);
    let moved = |part: &str| fovea.iter().any(|(name, m)| name.contains(part) && !is_zero(m));
    assert!(moved("encoder") && moved("decoder") && moved("head.fovea"));
    assert!(!moved("head.disc") && !moved("head.cup") && !moved("head.glaucoma"));
}

#[test]
fn a_loss_moves_only_what_it_reaches() {
    let net = network();
    let before: HashMap<String, Vec<f32>> =
        net.parameters().into_iter().map(|(n, v)| (n, values(v.as_tensor()))).collect();
    let mut strategy = build(StrategyName::Independent, &net);
    let report =
        make_step(strategy.as_mut(), &net, &labelled_batch(0, [&[0, 1], &[], &[], &[]])).unwrap();
    assert!(report.losses[0].is_some() && report.losses[1..].iter().all(Option::is_none));
    for (name, var) in net.parameters() {
        let same = before[&name] == values(var.as_tensor());
        let reached = name.starts_with("encoder") || name.starts_with("head.glaucoma");
        // A channel whose ReLU passes nothing may stand still, so only the unreached is certain.
        assert!(reached || same, "{name} moved");
    }
}

#[test]
fn a_batch_without_labels_changes_nothing() {
    for &name in all() {
        let net = network_for(name);
        let mut strategy = build(name, &net);
        make_step(strategy.as_mut(), &net, &batch(0)).unwrap();
        let before = bits(&net, strategy.as_ref());
        let report = make_step(strategy.as_mut(), &net, &labelled_batch(0, [&[]; 4])).unwrap();
        assert_eq!(report, StepReport::default());
        assert!(before == bits(&net, strategy.as_ref()), "{name:?}");
    }
}

#[test]
fn the_report_has_a_loss_and_a_finite_weight_for_each_labelled_task_and_no_other() {
    for &name in all() {
        let net = network_for(name);
        let mut strategy = build(name, &net);
        for (at, labelled) in LABELLED.iter().enumerate() {
            let report = make_step(strategy.as_mut(), &net, &batch(at)).unwrap();
            for task in Task::ALL {
                let trained = net.config().tasks.contains(&task);
                let wanted = trained && !labelled[task.index()].is_empty();
                let (loss, weight) = (report.losses[task.index()], report.weights[task.index()]);
                assert_eq!((loss.is_some(), weight.is_some()), (wanted, wanted), "{name:?}");
                assert!(weight.is_none_or(f64::is_finite), "{name:?} {weight:?}");
            }
        }
        let finite = |tensor: &Tensor| values(tensor).iter().all(|value| value.is_finite());
        assert!(net.parameters().iter().all(|(_, var)| finite(var.as_tensor())), "{name:?}");
    }
}

#[test]
fn a_restored_strategy_goes_on_bit_by_bit() {
    for &name in all() {
        let (straight, straight_strategy, _) = run(name, 3);
        let (net, strategy, _) = run(name, 2);
        let state = strategy.state().unwrap();
        let mut resumed = build(name, &net);
        resumed.restore(&state).unwrap();
        make_step(resumed.as_mut(), &net, &batch(2)).unwrap();
        let same = bits(&straight, straight_strategy.as_ref()) == bits(&net, resumed.as_ref());
        assert!(same, "{name:?}");
    }
}

#[test]
fn the_state_of_another_strategy_is_refused() {
    let states: Vec<(StrategyName, State)> =
        all().iter().map(|&name| (name, run(name, 1).1.state().unwrap())).collect();
    for &name in all() {
        let net = network_for(name);
        for (other, state) in states.iter().filter(|(other, _)| *other != name) {
            let mut strategy = build(name, &net);
            let error = strategy.restore(state).unwrap_err();
            assert!(error.to_string().contains("another strategy"), "{name:?} {other:?}: {error}");
        }
    }
}

#[test]
fn a_state_without_the_numbers_of_its_method_is_refused() {
    let (net, famo, _) = run(StrategyName::Famo, 1);
    let mut state = famo.state().unwrap();
    state.remove("famo.numbers.logits.values").unwrap();
    let error = build(StrategyName::Famo, &net).restore(&state).unwrap_err();
    assert!(error.to_string().contains("numbers.logits.values"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_names_its_task() {
    for &name in all() {
        let net = network_for(name);
        let mut strategy = build(name, &net);
        let mut poisoned = batch(0);
        let cup = poisoned.cup.as_mut().unwrap();
        cup.values = (&cup.values * f64::NAN).unwrap();
        match make_step(strategy.as_mut(), &net, &poisoned).unwrap_err() {
            StrategyError::NotFinite { task, loss } => assert!(task == Task::Cup && loss.is_nan()),
            other => panic!("{name:?}: {other}"),
        }
    }
}

#[test]
fn single_task_learning_refuses_several_heads() {
    let refused =
        super::build(StrategyName::Single, &Options::default(), &network(), ADAM).err().unwrap();
    assert!(refused.to_string().contains("list one task in network.tasks"), "{refused}");
}

#[test]
fn a_task_that_shares_nothing_has_no_say() {
    // With the encoder frozen the classifier's gradient is zero on what the maps share: were it
    // part of the shortest combination, that would be zero too and the decoder would stand still.
    let net = network();
    let part = |prefix: &str| -> Vec<Vec<f32>> {
        let own = net.parameters().into_iter().filter(|(name, _)| name.starts_with(prefix));
        own.map(|(_, var)| values(var.as_tensor())).collect()
    };
    let (encoder, decoder, head) = (part("encoder"), part("decoder"), part("head.glaucoma"));
    let mut mgda = build(StrategyName::Mgda, &net);
    let frozen = StepOptions { freeze_encoder: true, ..OPTIONS };
    let report = mgda.step(&Step::new(&net, &batch(0), frozen, &Alone).unwrap()).unwrap();
    assert_eq!(report.weights[0], Some(1.0));
    assert!((report.weights[1..].iter().flatten().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(encoder == part("encoder"));
    assert!(decoder != part("decoder") && head != part("head.glaucoma"));
}

/// Two processes that happen to have the same batch.
#[derive(Debug)]
struct Twins;

impl Peers for Twins {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        2
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, PeersError> {
        Ok(vec![own.to_vec(); 2])
    }

    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError> {
        Ok(gradients)
    }
}

#[test]
fn two_processes_with_one_batch_step_as_one_alone() {
    for &name in all() {
        let (alone, strategy, _) = run(name, 2);
        let net = network_for(name);
        let mut twin = build(name, &net);
        for at in 0..2 {
            twin.step(&Step::new(&net, &batch(at), OPTIONS, &Twins).unwrap()).unwrap();
        }
        assert!(bits(&alone, strategy.as_ref()) == bits(&net, twin.as_ref()), "{name:?}");
    }
}

#[test]
fn a_measurement_of_conflict_leaves_no_trace() {
    let (net, strategy, _) = run(StrategyName::Independent, 1);
    let before = bits(&net, strategy.as_ref());
    let batch = batch(2);
    let step = Step::new(&net, &batch, OPTIONS, &Alone).unwrap();
    let found = measure(&step).unwrap();
    assert!(before == bits(&net, strategy.as_ref()));
    assert_eq!((found.encoder.norms.len(), found.encoder.cosines.len()), (4, 6));
    assert_eq!((found.decoder.norms.len(), found.decoder.cosines.len()), (3, 3));
    assert!(found.decoder.cosines.contains_key("disc-cup"));
    let all = found.encoder.cosines.values().chain(found.decoder.cosines.values());
    assert!(all.clone().all(|cosine| cosine.abs() <= 1.0) && all.clone().any(|c| c.abs() > 1e-3));
}
