//! Processes over TCP, played by threads: means, shares, steps, and what happens when one fails.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::adam::AdamConfig;
use crate::dataset::batches::{Batch, Target};
use crate::loss::{FoveaLoss, masked_loss, soft_loss};
use crate::network::golden::{network, noise};
use crate::network::tape::Tape;
use crate::network::{Mode, Task, UNet};
use crate::strategy::{Options, Step, StepOptions, StrategyName, Taught, build};
use candle_core::{Device, Tensor};
use clap::ValueEnum;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);
const SIDE: usize = 32;

fn place(rank: usize, count: usize, port: u16, patience: Duration) -> Place {
    let address = "127.0.0.1".to_owned();
    Place { rank, count, local_rank: rank, address, port, patience }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs `work` in `count` threads that have met; its results in the order of the ranks.
fn together<T: Send>(
    count: usize,
    patience: Duration,
    work: impl Fn(TcpPeers) -> T + Sync,
) -> Vec<T> {
    let port = free_port();
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count)
            .map(|rank| {
                let place = place(rank, count, port, patience);
                scope.spawn(move || work(TcpPeers::meet(&place).unwrap()))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_mean_is_summed_in_the_order_of_the_ranks_and_the_same_in_all() {
    // More than a bucket, one that only rank 1 has, one that nobody has.
    let large = (1 << 20) + 5;
    let own = |rank: u64| -> Gradients {
        let last = (rank == 1).then(|| noise((2, 3), 50, |x| x));
        [Some(noise(large, rank, |x| x * 1e3)), None, last].into_iter().collect()
    };
    let means = together(3, PATIENCE, |peers| {
        let mean = peers.average(own(peers.rank() as u64)).unwrap();
        mean.iter().map(|entry| entry.map(|t| (t.dims().to_vec(), values(t)))).collect::<Vec<_>>()
    });
    let [a, b, c] = [0, 1, 2].map(|rank| values(own(rank).iter().next().unwrap().unwrap()));
    let expected: Vec<f32> = (0..large).map(|i| (a[i] + b[i] + c[i]) / 3.0).collect();
    for mean in &means {
        assert!(mean[0] == Some((vec![large], expected.clone())));
        assert!(mean[1].is_none());
        let lonely = noise((2, 3), 50, |x| x);
        let expected = values(&lonely).iter().map(|x| x / 3.0).collect();
        assert_eq!(mean[2], Some((vec![2, 3], expected)));
    }
}

/// Gradients of the disc's loss over images `range` of four, in the mode in which normalisation does
/// not couple images; image 3 has no label.
fn gradients(net: &UNet, range: [usize; 2], peers: &dyn Peers) -> Gradients {
    let [from, count] = range;
    let part = |tensor: Tensor| tensor.narrow(0, from, count).unwrap();
    let images = part(noise((4, 3, SIDE, SIDE), 1, |x| (x + 1.0) / 2.0));
    let masks = part(noise((4, 1, SIDE, SIDE), 2, |x| f64::from(u8::from(x > 0.5))));
    let weights = part(Tensor::new(&[1f32, 1.0, 1.0, 0.0], &Device::Cpu).unwrap());
    let labelled = values(&weights).iter().sum::<f32>() as usize;
    let share = peers.shares([0, labelled, 0, 0]).unwrap()[1].unwrap();
    let outputs =
        net.forward_on(Tape::begin(&images), &images, &[Task::Disc], Mode::Evaluate).unwrap();
    let logits = outputs.logits(Task::Disc).unwrap();
    let loss = masked_loss(Task::Disc, FoveaLoss::L1, logits, &masks, &weights).unwrap();
    let found = outputs.backward(&(loss * share).unwrap()).unwrap();
    let own = Gradients::of(&found, &net.parameters()).unwrap();
    peers.average(own).unwrap()
}

#[test]
fn two_half_batches_have_the_gradient_of_the_whole() {
    let whole = gradients(&network(), [0, 4], &Alone);
    let halves = together(2, PATIENCE, |peers| {
        gradients(&network(), [2 * peers.rank(), 2], &peers)
            .iter()
            .map(|entry| entry.map(values))
            .collect::<Vec<_>>()
    });
    assert!(halves[0] == halves[1]);
    let mut reached = 0;
    for (whole, half) in whole.iter().zip(&halves[0]) {
        let (Some(whole), Some(half)) = (whole.map(values), half) else {
            assert!(whole.is_none() && half.is_none());
            continue;
        };
        let scale = whole.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
        let off = whole.iter().zip(half).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(off < 1e-4 * scale, "{off} of {scale}");
        reached += 1;
    }
    assert!(reached > 60, "{reached}");
}

/// Two images, of which rank 0 has labels for discs and rank 1 for foveas as well.
fn batch(rank: usize, step: u64) -> Batch {
    let target = |seed: u64, labelled: bool| {
        let values = noise((2, 1, SIDE, SIDE), seed, |x| f64::from(u8::from(x > 0.5)));
        let weights = Tensor::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        labelled.then_some(Target { values, weights, labelled: 2 })
    };
    let seed = 100 * step + 10 * rank as u64;
    Batch {
        images: noise((2, 3, SIDE, SIDE), seed, |x| (x + 1.0) / 2.0),
        glaucoma: None,
        disc: target(seed + 1, true),
        cup: None,
        fovea: target(seed + 2, rank == 1),
        ids: vec!["a".into(), "b".into()],
    }
}

#[test]
fn all_processes_step_to_the_same_weights() {
    let all = StrategyName::value_variants().iter().copied();
    for name in all.filter(|name| *name != StrategyName::Single) {
        let ends = together(2, PATIENCE, |peers| {
            // Others to begin with, and the first's before the first step.
            let net = network();
            if peers.rank() == 1 {
                let (_, var) = net.parameters().swap_remove(0);
                var.set(&var.zeros_like().unwrap()).unwrap();
            }
            peers.follow_first(&net.parameters()).unwrap();
            let mut strategy =
                build(name, &Options::default(), &net, AdamConfig::default()).unwrap();
            for step in 0..3 {
                let options = StepOptions {
                    lr: 1e-2,
                    epoch: 0,
                    dropout_seed: step,
                    seed: step,
                    fovea: FoveaLoss::L1,
                    freeze_encoder: false,
                };
                let batch = batch(peers.rank(), step);
                let report =
                    strategy.step(&Step::new(&net, &batch, options, &peers).unwrap()).unwrap();
                assert_eq!(report.losses[3].is_some(), peers.rank() == 1);
            }
            net.parameters().iter().map(|(_, var)| values(var)).collect::<Vec<_>>()
        });
        assert!(ends[0] == ends[1], "{name:?}");
        let start: Vec<_> = network().parameters().iter().map(|(_, var)| values(var)).collect();
        let moved = start.iter().zip(&ends[0]).filter(|(a, b)| a != b).count();
        assert!(moved > start.len() / 2 && start[0] != ends[0][0]);
    }
}

#[test]
fn a_taught_loss_is_that_of_all_labelled_and_all_images() {
    const WEIGHT: f64 = 0.3;
    let found = together(2, PATIENCE, |peers| {
        let (net, batch) = (network(), batch(peers.rank(), 0));
        let said = noise((2, 1, SIDE, SIDE), 7 + peers.rank() as u64, |x| (x + 1.0) / 2.0);
        let probabilities = [None, None, Some(said.clone()), Some(said.clone())];
        let options = StepOptions {
            lr: 1e-2,
            epoch: 0,
            dropout_seed: 1,
            seed: 1,
            fovea: FoveaLoss::Bce,
            freeze_encoder: false,
        };
        let step = Step::new(&net, &batch, options, &peers).unwrap();
        let step = step.taught(Some(Taught { probabilities, weight: WEIGHT })).unwrap();
        assert_eq!(step.tasks(), [Task::Disc, Task::Cup, Task::Fovea]);
        let outputs = step.forward(&step.tasks()).unwrap();
        let own = Task::ALL.map(|task| step.loss(task, &outputs).unwrap().map(|l| l.value));
        let of_all = step.losses_of_all(own).unwrap();
        let number = |tensor: Tensor| f64::from(tensor.to_scalar::<f32>().unwrap());
        let soft = |task| number(soft_loss(task, outputs.logits(task).unwrap(), &said).unwrap());
        let label = batch.fovea.as_ref().map(|own| {
            let logits = outputs.logits(Task::Fovea).unwrap();
            let fovea = FoveaLoss::Bce;
            number(masked_loss(Task::Fovea, fovea, logits, &own.values, &own.weights).unwrap())
        });
        (of_all, label, [soft(Task::Cup), soft(Task::Fovea)])
    });
    // The fovea is labelled in rank 1 alone, the cup nowhere; both are taught in both.
    let [(of_all, none, first), (_, label, second)] = &found[..] else { panic!() };
    assert!(none.is_none());
    let mean = |at: usize| WEIGHT * (first[at] + second[at]) / 2.0;
    assert!((of_all[2].unwrap() - mean(0)).abs() < 1e-6);
    assert!((of_all[3].unwrap() - mean(1) - label.unwrap()).abs() < 1e-6);
    assert_eq!(found[0].0, found[1].0);
}

#[test]
fn the_process_that_differs_is_named() {
    let found = together(3, PATIENCE, |peers| {
        peers.same("configuration", "a").unwrap();
        peers.same("data", if peers.rank() == 2 { "b" } else { "a" }).unwrap_err()
    });
    for error in found {
        assert!(
            matches!(&error, PeersError::Different { rank: 2, what } if what == "data"),
            "{error}"
        );
    }
}

#[test]
fn a_process_that_ends_is_named_at_once_and_to_all() {
    let started = Instant::now();
    let errors = together(3, PATIENCE, |peers| {
        if peers.rank() == 1 {
            return None;
        }
        (0..5).find_map(|value| peers.most(value).err())
    });
    assert!(matches!(errors[0], Some(PeersError::Gone { rank: 1, .. })), "{errors:?}");
    let Some(PeersError::Abandoned(why)) = &errors[2] else { panic!("{errors:?}") };
    assert!(why.contains("rank 1 is gone"), "{why}");
    assert!(started.elapsed() < PATIENCE / 2);
}

#[test]
fn a_process_that_hangs_is_named_after_the_timeout() {
    let patience = Duration::from_millis(300);
    let errors = together(2, patience, |peers| {
        if peers.rank() == 1 {
            std::thread::sleep(Duration::from_secs(2));
        }
        peers.most(0).err()
    });
    assert!(matches!(errors[0], Some(PeersError::Silent { rank: 1, .. })), "{errors:?}");
}

#[test]
fn strangers_are_ignored_and_other_versions_refused() {
    let port = free_port();
    let (first, other) = (place(0, 2, port, PATIENCE), place(1, 2, port, PATIENCE));
    let connect = || {
        let open = || TcpStream::connect(("127.0.0.1", port)).ok();
        std::iter::repeat_with(open).flatten().next().unwrap()
    };
    let met = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| TcpPeers::meet(&first));
        connect().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        drop(connect());
        TcpPeers::meet(&other).unwrap();
        waiting.join().unwrap()
    });
    assert!(met.is_ok());
    drop(met);
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| TcpPeers::meet(&first));
        let line = wire::Line::new(connect(), 0, PATIENCE).unwrap();
        line.send(b"glaucoma peers\n0.0.0\n2\n1").unwrap();
        assert!(matches!(line.receive(), Err(PeersError::Abandoned(_))));
        waiting.join().unwrap().unwrap_err()
    });
    assert!(error.to_string().contains("rank 1 has another version"), "{error}");
}

#[test]
fn who_does_not_come_is_named() {
    let patience = Duration::from_millis(200);
    let error = TcpPeers::meet(&place(0, 3, free_port(), patience)).unwrap_err().to_string();
    assert!(error.contains("ranks 1, 2 have not come"), "{error}");
    let error = TcpPeers::meet(&place(1, 2, free_port(), patience)).unwrap_err().to_string();
    assert!(error.contains("rank 0 is not to be reached"), "{error}");
}
