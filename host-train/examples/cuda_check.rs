//! Compares a GPU with the CPU: batches, each layer, each task's pass through the network, what a teacher
//! adds, steps of MTL-IO with a checkpoint between them, and that a loss which is not finite moves nothing.
//!
//! `cargo run --release -p host-train --features cuda --example cuda_check -- [device] [precision]`
//! (default `cuda f32`) prints the relative error of everything compared and fails where one is
//! larger than the precision allows.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Shape, Tensor, Var};
use candle_nn::ops::sigmoid;
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::{NetworkPoint, Placement};
use host_train::adam::AdamConfig;
use host_train::cli::device::Place;
use host_train::dataset::augment::Augment;
use host_train::dataset::batches::{Batch, BatchOptions, Batches, Example, Ingredient, Target};
use host_train::gradients::Gradients;
use host_train::loss::{FoveaLoss, masked_loss, soft_loss};
use host_train::network::cuda::Precision;
use host_train::network::layers::conv2d::conv2d;
use host_train::network::layers::dropout::dropout;
use host_train::network::layers::global_max::global_max;
use host_train::network::layers::max_pool::max_pool;
use host_train::network::layers::upsample_concat::upsample_concat;
use host_train::network::tape::Tape;
use host_train::network::{Mode, NetworkConfig, Task, UNet};
use host_train::parallel::Alone;
use host_train::strategy::{
    self, Step, StepOptions, Strategy, StrategyError, StrategyName, Taught,
};
use image::{Rgb, RgbImage};
use std::sync::Arc;

const SIDE: usize = 32;
const BATCH: usize = 2;

fn main() -> Result<()> {
    let argument = |at| std::env::args().nth(at);
    let place: Place = argument(1).unwrap_or("cuda".into()).parse().map_err(anyhow::Error::msg)?;
    let (precision, of_layer, most) = match argument(2).as_deref() {
        None | Some("f32") => (Precision::F32, 1e-4, 1e-4),
        // Ten bits of fraction in every factor, through twenty convolutions.
        Some("tf32") => (Precision::Tf32, 3e-2, 3e-2),
        // Seven bits: eight times as much. One layer rounds two factors and the result, each by 2^-9 at
        // most.
        Some("bf16") => (Precision::Bf16, 6e-3, 0.24),
        Some(other) => bail!("precision {other} is none of f32, tf32, bf16"),
    };
    let gpu = place.open(Some(precision), 0)?;
    // Back through twenty normalisations over a few values each, bf16's rounding grows until little is left
    // to compare in the first layers: there the moves of whole steps are.
    let deep = precision != Precision::Bf16;
    let mut check = Check { gpu, most: of_layer, deep, failed: Vec::new() };
    check.batches()?;
    check.layers()?;
    check.most = most;
    check.passes()?;
    check.taught()?;
    check.evaluation()?;
    check.steps()?;
    check.a_loss_that_is_not_finite()?;
    ensure!(check.failed.is_empty(), "too far off: {}", check.failed.join(", "));
    println!("everything agrees within {most:e}");
    Ok(())
}

struct Check {
    gpu: Device,
    most: f64,
    /// Whether gradients through the whole network are compared one by one.
    deep: bool,
    failed: Vec<String>,
}

impl Check {
    /// Compares two tensors by the norm of their difference over that of the CPU's.
    fn agree(&mut self, what: &str, cpu: &Tensor, gpu: &Tensor) -> Result<()> {
        ensure!(cpu.dims() == gpu.dims(), "{what}: {:?} and {:?}", cpu.dims(), gpu.dims());
        let (cpu, gpu) = (values(cpu)?, values(gpu)?);
        let off = norm(cpu.iter().zip(&gpu).map(|(a, b)| a - b));
        let error = off / norm(cpu.into_iter()).max(1e-30);
        println!("{error:9.1e}  {what}");
        if error.is_nan() || error > self.most {
            self.failed.push(what.to_owned());
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<()> {
        let maps = |channels, height, width, seed| noise((2, channels, height, width), seed);
        let (x, small) = (maps(5, 12, 14, 1)?, maps(3, 6, 7, 2)?);
        let (weight, bias) = (noise((4, 5, 3, 3), 3)?, noise(4, 4)?);
        let inputs = [x.clone(), weight, bias.clone()];
        self.layer("conv2d 3x3", &inputs, |t, v| Ok(conv2d(t, &v[0], &v[1], &v[2])?))?;
        let inputs = [x.clone(), noise((4, 5, 1, 1), 5)?, bias];
        self.layer("conv2d 1x1", &inputs, |t, v| Ok(conv2d(t, &v[0], &v[1], &v[2])?))?;
        self.layer("max_pool", std::slice::from_ref(&x), |t, v| Ok(max_pool(t, &v[0])?))?;
        self.layer("max_pool, odd", &[maps(2, 7, 9, 6)?], |t, v| Ok(max_pool(t, &v[0])?))?;
        self.layer("global_max", std::slice::from_ref(&x), |t, v| Ok(global_max(t, &v[0])?))?;
        self.layer("upsample_concat", &[small, x], |t, v| Ok(upsample_concat(t, &v[0], &v[1])?))?;
        self.layer("dropout", &[noise((4, 50), 7)?], |t, v| Ok(dropout(t, &v[0], 0.5, 8)?))?;
        for (task, fovea) in [
            (Task::Glaucoma, FoveaLoss::L1),
            (Task::Disc, FoveaLoss::L1),
            (Task::Fovea, FoveaLoss::L1),
            (Task::Fovea, FoveaLoss::Bce),
        ] {
            let name = format!("loss of {} ({fovea:?})", task.name());
            self.layer(&name, &[noise((3, 1, 40, 50), 9)?], |_, v| {
                let device = v[0].device();
                let values = noise((3, 1, 40, 50), 10)?.abs()?.to_device(device)?;
                let weights = Tensor::new(&[1f32, 0.0, 0.5], device)?;
                Ok(masked_loss(task, fovea, &v[0], &values, &weights)?)
            })?;
        }
        Ok(())
    }

    /// Compares `f` of the inputs, and the gradient of a weighted sum of it by each input.
    fn layer(
        &mut self,
        name: &str,
        inputs: &[Tensor],
        f: impl Fn(&Tape, &[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        let run = |device: &Device| -> Result<(Tensor, Vec<Tensor>)> {
            let vars = inputs.iter().map(|x| Ok(Var::from_tensor(&x.to_device(device)?)?));
            let vars = vars.collect::<Result<Vec<Var>>>()?;
            let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let tape = Tape::begin(&noise(1, 0)?);
            let y = f(&tape, &tracked)?;
            // A loss is on the library's own tape already.
            let y = if y.track_op() { y } else { tape.end(&y)? };
            let weights = noise(y.shape().clone(), 99)?.to_device(device)?;
            let mut grads = (&y * weights)?.sum_all()?.backward()?;
            tape.backward(&mut grads)?;
            let of = |var: &Var| grads.get(var.as_tensor()).cloned().context("no gradient");
            Ok((y, vars.iter().map(of).collect::<Result<_>>()?))
        };
        let ((cpu, on_cpu), (gpu, on_gpu)) = (run(&Device::Cpu)?, run(&self.gpu)?);
        self.agree(name, &cpu, &gpu)?;
        for (at, (cpu, gpu)) in on_cpu.iter().zip(&on_gpu).enumerate() {
            self.agree(&format!("{name}, gradient {at}"), cpu, gpu)?;
        }
        Ok(())
    }

    /// Forward and backward of each task, and the running statistics after them.
    fn passes(&mut self) -> Result<()> {
        let (cpu, gpu) = (network(&Device::Cpu)?, network(&self.gpu)?);
        for task in Task::ALL {
            let run = |net: &UNet, device: &Device| -> Result<(Tensor, Tensor, Gradients)> {
                let batch = batch(device)?;
                let mode = Mode::Train { dropout_seed: 5 };
                let outputs = net.forward(&batch.images, &[task], mode)?;
                let logits = outputs.logits(task).context("no logits")?;
                let target = batch.target(task).context("no target")?;
                let loss =
                    masked_loss(task, FoveaLoss::L1, logits, &target.values, &target.weights)?;
                let gradients = Gradients::of(&outputs.backward(&loss)?, &net.parameters())?;
                Ok((logits.detach(), loss.detach(), gradients))
            };
            let (logits, loss, on_cpu) = run(&cpu, &Device::Cpu)?;
            let (gpu_logits, gpu_loss, on_gpu) = run(&gpu, &self.gpu)?;
            let name = task.name();
            self.agree(&format!("{name}: logits"), &logits, &gpu_logits)?;
            self.agree(&format!("{name}: loss"), &loss, &gpu_loss)?;
            let pairs = on_cpu.iter().zip(on_gpu.iter());
            for ((parameter, _), (a, b)) in cpu.parameters().iter().zip(pairs) {
                match (a, b) {
                    (Some(a), Some(b)) if self.deep => {
                        self.agree(&format!("{name}: gradient of {parameter}"), a, b)?;
                    }
                    // A bias before a normalisation has no effect, and on a GPU no gradient.
                    (Some(_), None) if parameter.contains(".conv") => {}
                    (Some(_), Some(_)) | (None, None) => {}
                    _ => bail!("{name}: only one of the two has a gradient of {parameter}"),
                }
            }
        }
        for ((name, a), (_, b)) in cpu.buffers().iter().zip(gpu.buffers()) {
            self.agree(&format!("after four passes: {name}"), a, &b)?;
        }
        Ok(())
    }

    /// What a teacher adds to a step: its loss alone, and a task's whole loss with its gradients.
    fn taught(&mut self) -> Result<()> {
        let said = ((noise((BATCH, 1, SIDE, SIDE), 11)? + 1.0)? / 2.0)?;
        self.layer("loss against a teacher", &[noise((BATCH, 1, SIDE, SIDE), 12)?], |_, v| {
            Ok(soft_loss(Task::Fovea, &v[0], &said.to_device(v[0].device())?)?)
        })?;
        let run = |device: &Device| -> Result<(f64, Gradients)> {
            let (net, batch) = (network(device)?, batch(device)?);
            // As a teacher's own heads say it.
            let of = |seed| -> Result<Tensor> {
                Ok(sigmoid(&noise((BATCH, 1, SIDE, SIDE), seed)?.to_device(device)?)?)
            };
            let probabilities = [None, Some(of(13)?), Some(of(14)?), None];
            let taught = Some(Taught { probabilities, weight: 0.5 });
            let step = Step::new(&net, &batch, options(0), &Alone)?.taught(taught)?;
            let outputs = step.forward(&[Task::Cup])?;
            let loss = step.loss(Task::Cup, &outputs)?.context("no loss")?;
            Ok((loss.value, step.gradients(&outputs, Some(&loss.on_tape))?))
        };
        let ((cpu, on_cpu), (gpu, on_gpu)) = (run(&Device::Cpu)?, run(&self.gpu)?);
        let [cpu, gpu] = [cpu, gpu].map(|loss| Tensor::new(&[loss as f32], &Device::Cpu));
        self.agree("taught: loss", &cpu?, &gpu?)?;
        for (at, pair) in on_cpu.iter().zip(on_gpu.iter()).enumerate() {
            if let (Some(a), Some(b), true) = (pair.0, pair.1, self.deep) {
                self.agree(&format!("taught: gradient {at}"), a, b)?;
            }
        }
        Ok(())
    }

    /// Batches of examples of which the device keeps some, has no room for others, and is given others
    /// anew: the same bits as on the CPU in every epoch.
    fn batches(&mut self) -> Result<()> {
        let plain: Arc<Vec<Example>> = Arc::new((0..5).map(|n| example(n, SIDE as u32)).collect());
        let masters = Arc::new((5..8).map(|n| example(n, 2 * SIDE as u32)).collect::<Vec<_>>());
        let changed =
            Ingredient { source: masters, repeat: 2.0, augment: Some(Augment::default()) };
        let options = BatchOptions {
            batch_size: 4,
            side: SIDE as u32,
            scale: 1.0 / 255.0,
            seed: 1,
            shuffle: true,
            drop_partial: false,
        };
        let run = |device: &Device| -> Result<Vec<Batch>> {
            let ingredients = vec![Ingredient::plain(plain.clone()), changed.clone()];
            let batches = Batches::new(ingredients, options.clone(), device.clone())?;
            // Room for two or three of the five.
            let batches = batches.keeping(3 * 4 * SIDE * SIDE)?;
            Ok((0..3).flat_map(|epoch| batches.epoch(epoch, 0)).collect::<Result<_, _>>()?)
        };
        let (cpu, gpu) = (run(&Device::Cpu)?, run(&self.gpu)?);
        ensure!(
            cpu.len() == gpu.len() && cpu.len() == 9,
            "{} and {} batches",
            cpu.len(),
            gpu.len()
        );
        let same = |a: &Tensor, b: &Tensor| -> Result<bool> {
            Ok(a.dims() == b.dims() && values(a)? == values(b)?)
        };
        for (a, b) in cpu.iter().zip(&gpu) {
            ensure!(a.ids == b.ids && same(&a.images, &b.images)?, "other images: {:?}", b.ids);
            for task in Task::ALL {
                let (a, b) = match (a.target(task), b.target(task)) {
                    (Some(a), Some(b)) => (a, b),
                    (None, None) => continue,
                    _ => bail!("only one of the two has labels of {}: {:?}", task.name(), b.ids),
                };
                let weighed = a.labelled == b.labelled && same(&a.weights, &b.weights)?;
                ensure!(weighed, "other labels of {}", task.name());
                match task {
                    // A GPU's exponential may round otherwise.
                    Task::Fovea => self.agree("batch: map of the fovea", &a.values, &b.values)?,
                    _ => ensure!(same(&a.values, &b.values)?, "other values of {}", task.name()),
                }
            }
        }
        println!("{} batches have the same images and labels", cpu.len());
        Ok(())
    }

    fn evaluation(&mut self) -> Result<()> {
        let run = |device: &Device| -> Result<Vec<Tensor>> {
            let net = network(device)?;
            let outputs = net.forward(&batch(device)?.images, &Task::ALL, Mode::Evaluate)?;
            let logits = |task: Task| outputs.logits(task).cloned().context("no logits");
            Task::ALL.into_iter().map(logits).collect()
        };
        let (cpu, gpu) = (run(&Device::Cpu)?, run(&self.gpu)?);
        for (task, (a, b)) in Task::ALL.into_iter().zip(cpu.iter().zip(&gpu)) {
            self.agree(&format!("{}: evaluated", task.name()), a, b)?;
        }
        Ok(())
    }

    /// Up to three steps, the third with an optimiser restored from the state after the second.
    ///
    /// Steps amplify rounding: an input of a ReLU on the other side of 0 moves all that comes after. So
    /// the measure is what the CPU itself makes of weights that are off by as little.
    fn steps(&mut self) -> Result<()> {
        let off = self.most / 20.0;
        for count in 1..=3 {
            let (cpu, near) =
                (some_steps(&Device::Cpu, count, 0.0)?, some_steps(&Device::Cpu, count, off)?);
            let gpu = some_steps(&self.gpu, count, 0.0)?;
            for (what, cpu, near, gpu) in [
                ("losses", &cpu.losses, &near.losses, &gpu.losses),
                ("moves", &cpu.moves, &near.moves, &gpu.moves),
                ("running statistics", &cpu.statistics, &near.statistics, &gpu.statistics),
            ] {
                let error = |other: &[f64]| {
                    let off = norm(cpu.iter().zip(other).map(|(a, b)| a - b));
                    off / norm(cpu.iter().copied())
                };
                let (usual, error) = (error(near), error(gpu));
                let what = format!("{what} after {count} steps");
                println!("{error:9.1e}  {what} ({usual:.1e} on the CPU, weights off by {off:.0e})");
                if error.is_nan() || error > 3.0 * usual {
                    self.failed.push(what);
                }
            }
        }
        Ok(())
    }

    /// The first task's loss is finite and makes its step; from the second on nothing may move.
    fn a_loss_that_is_not_finite(&mut self) -> Result<()> {
        let (net, mut batch) = (network(&self.gpu)?, batch(&self.gpu)?);
        if let Some(disc) = &mut batch.disc {
            disc.values = (&disc.values * f64::NAN)?;
        }
        let parameters = || -> Result<Vec<Vec<f64>>> {
            net.parameters().iter().map(|(_, var)| values(var)).collect()
        };
        let mut strategy = mtl_io(&net, AdamConfig::default())?;
        let moved = |before: &[Vec<f64>], after: &[Vec<f64>]| -> Vec<String> {
            let names = net.parameters().into_iter().map(|(name, _)| name);
            let pairs = names.zip(before.iter().zip(after));
            pairs.filter(|(_, (a, b))| a != b).map(|(name, _)| name).collect()
        };
        let before = parameters()?;
        let refused = one_step(strategy.as_mut(), &net, &batch, 0);
        match refused.map_err(|error| error.downcast::<StrategyError>()) {
            Err(Ok(StrategyError::NotFinite { task: Task::Disc, .. })) => {}
            other => bail!("a loss that is not finite gave {other:?}"),
        }
        let moved = moved(&before, &parameters()?);
        ensure!(!moved.is_empty(), "the step before a loss that is not finite was not made");
        let strange: Vec<_> = moved.iter().filter(|name| name.starts_with("decoder")).collect();
        ensure!(strange.is_empty(), "moved by a loss that is not finite: {strange:?}");
        println!("nothing moved by or after a loss that is not finite");
        Ok(())
    }
}

/// What steps did.
struct Made {
    losses: Vec<f64>,
    /// Of the parameters that have an effect: the bias before a normalisation has none.
    moves: Vec<f64>,
    statistics: Vec<f64>,
}

/// So many steps from weights that are off by so much of their size.
fn some_steps(device: &Device, count: u64, off: f64) -> Result<Made> {
    // With a large eps a step follows the gradient's size and not the sign of its noise.
    let adam = AdamConfig { eps: 1e-2, ..AdamConfig::default() };
    let (net, batch) = (network(device)?, batch(device)?);
    for (at, (_, var)) in net.parameters().iter().enumerate() {
        let noise = noise(var.shape().clone(), 50 + at as u64)?.to_device(device)?;
        var.set(&(var.as_tensor() * ((noise * off)? + 1.0)?)?)?;
    }
    let effective = || -> Result<Vec<f64>> {
        let all = net.parameters().into_iter();
        let all = all.filter(|(name, _)| !(name.contains(".conv") && name.ends_with(".bias")));
        Ok(all.map(|(_, var)| values(&var)).collect::<Result<Vec<_>>>()?.concat())
    };
    let before = effective()?;
    let fresh = || mtl_io(&net, adam);
    let (mut first, mut second) = (fresh()?, fresh()?);
    let mut losses = Vec::new();
    for number in 0..count {
        let strategy = if number < 2 { &mut first } else { &mut second };
        let report = one_step(strategy.as_mut(), &net, &batch, number)?;
        losses.extend(report.losses.iter().flatten());
        if number == 1 {
            second.restore(&first.state()?)?;
        }
    }
    let moves = effective()?.iter().zip(before).map(|(after, before)| after - before).collect();
    let buffers = net.buffers().iter().map(|(_, var)| values(var)).collect::<Result<Vec<_>>>()?;
    Ok(Made { losses, moves, statistics: buffers.concat() })
}

fn mtl_io(net: &UNet, adam: AdamConfig) -> Result<Box<dyn Strategy>> {
    Ok(strategy::build(StrategyName::Independent, &Default::default(), net, adam)?)
}

fn one_step(
    strategy: &mut dyn Strategy,
    net: &UNet,
    batch: &Batch,
    number: u64,
) -> Result<strategy::StepReport> {
    Ok(strategy.step(&Step::new(net, batch, options(number), &Alone)?)?)
}

fn options(number: u64) -> StepOptions {
    StepOptions {
        lr: 1e-3,
        epoch: 0,
        dropout_seed: number,
        seed: number,
        fovea: FoveaLoss::L1,
        freeze_encoder: false,
    }
}

fn network(device: &Device) -> Result<UNet> {
    let config = NetworkConfig { width: 1.0 / 16.0, dropout: 0.5, ..NetworkConfig::default() };
    Ok(UNet::new(&config, 1, device)?)
}

/// Two images, the second without a cup.
fn batch(device: &Device) -> Result<Batch> {
    let maps = |seed: u64| -> Result<Tensor> {
        Ok(((noise((BATCH, 1, SIDE, SIDE), seed)? + 1.0)? / 2.0)?.to_device(device)?)
    };
    let target = |values: Tensor, second: f32| -> Result<Option<Target>> {
        let weights = Tensor::new(&[1.0, second], device)?;
        Ok(Some(Target { values, weights, labelled: 1 + second as usize }))
    };
    let images = ((noise((BATCH, 3, SIDE, SIDE), 1)? + 1.0)? / 2.0)?.to_device(device)?;
    Ok(Batch {
        images,
        glaucoma: target(Tensor::new(&[1f32, 0.0], device)?, 1.0)?,
        disc: target(maps(2)?, 1.0)?,
        cup: target(maps(3)?, 0.0)?,
        fovea: target(maps(4)?, 1.0)?,
        ids: vec!["one".into(), "two".into()],
    })
}

/// An example with the labels that its number gives it.
fn example(number: usize, side: u32) -> Example {
    let width = f64::from(side);
    let placement = Placement { origin_x: 0.0, origin_y: 0.0, width, height: width, side };
    let level =
        |x: u32, y: u32, channel: u32| (x * 37 + y * 101 + channel * 59 + number as u32 * 7) as u8;
    let pixels = RgbImage::from_fn(side, side, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c))));
    let mut example = Example::unlabelled(format!("set/{number}"), number, pixels, placement);
    let round = |radius: u32| {
        Mask::from_fn(side, side, |x, y| {
            x.abs_diff(side / 2).pow(2) + y.abs_diff(side / 3).pow(2) < radius.pow(2)
        })
    };
    example.glaucoma = (number % 3 != 1).then_some(number.is_multiple_of(2));
    example.disc = (number % 4 != 1).then(|| round(side / 5));
    example.cup = number.is_multiple_of(2).then(|| round(side / 9));
    example.fovea =
        (!number.is_multiple_of(3)).then_some(NetworkPoint { x: width * 0.4, y: width * 0.62 });
    example
}

/// Numbers in [-1, 1) that depend on the seed alone, on the CPU.
fn noise(shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let values: Vec<f32> = (0..shape.elem_count())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f64::from).collect())
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}
