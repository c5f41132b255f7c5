//! Times a training step: each task in turn forward, backward and its own Adam, as MTL-IO does.
//!
//! `cargo run --release -p host-train --example network_step -- [width] [side] [batch] [steps]
//! [device] [precision]` prints seconds of each step and the peak memory; threads as in
//! `RAYON_NUM_THREADS`. A GPU is waited for at the end of the step alone: there the parts say how long
//! the host took to ask, and the rest of the step is waiting.

use anyhow::Result;
use candle_core::{DType, Tensor};
use host_train::adam::{Adam, AdamConfig};
use host_train::cli::device::Place;
use host_train::gradients::Gradients;
use host_train::loss::{FoveaLoss, masked_loss};
use host_train::memory::Recycler;
use host_train::network::cuda::Precision;
use host_train::network::{Mode, NetworkConfig, Task, UNet};
use std::time::Instant;

#[global_allocator]
static MEMORY: Recycler = Recycler::new();

fn main() -> Result<()> {
    let argument = |at: usize, default: f64| -> Result<f64> {
        Ok(std::env::args().nth(at).map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let (width, side) = (argument(1, 0.25)?, argument(2, 256.0)? as usize);
    let (batch, steps) = (argument(3, 8.0)? as usize, argument(4, 5.0)? as usize);
    let place: Place =
        std::env::args().nth(5).unwrap_or("cpu".into()).parse().map_err(anyhow::Error::msg)?;
    let precision = match std::env::args().nth(6).as_deref() {
        None => None,
        Some("f32") => Some(Precision::F32),
        Some("tf32") => Some(Precision::Tf32),
        Some("bf16") => Some(Precision::Bf16),
        Some(other) => anyhow::bail!("precision {other} is none of f32, tf32, bf16"),
    };
    let device = place.open(precision, 0)?;
    let net = UNet::new(&NetworkConfig { width, ..NetworkConfig::default() }, 1, &device)?;
    let parameters = net.parameters();
    let new_adam = |_| Adam::new(net.parameters(), AdamConfig::default());
    let mut optimisers: Vec<Adam> = Task::ALL.into_iter().map(new_adam).collect();
    let count = batch * 3 * side * side;
    let pixels: Vec<f32> = (0..count).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    let images = Tensor::from_vec(pixels, (batch, 3, side, side), &device)?;
    let weights = Tensor::ones(batch, DType::F32, &device)?;
    for step in 0..steps {
        let start = Instant::now();
        let cpu = cpu_seconds();
        let mut parts = [0.0; 3];
        for (task, adam) in Task::ALL.into_iter().zip(&mut optimisers) {
            let mut clock = Instant::now();
            let mut lap = |part: &mut f64| {
                *part += clock.elapsed().as_secs_f64();
                clock = Instant::now();
            };
            let outputs =
                net.forward(&images, &[task], Mode::Train { dropout_seed: step as u64 })?;
            let logits = outputs.logits(task).ok_or_else(|| anyhow::anyhow!("no logits"))?;
            let values = (logits.detach() * 0.0)?;
            let loss = masked_loss(task, FoveaLoss::L1, logits, &values, &weights)?;
            lap(&mut parts[0]);
            let gradients = Gradients::of(&outputs.backward(&loss)?, &parameters)?;
            lap(&mut parts[1]);
            adam.step(&gradients, 1e-4)?;
            lap(&mut parts[2]);
        }
        // Whatever is read waits for all that was asked for before.
        parameters[0].1.flatten_all()?.get(0)?.to_scalar::<f32>()?;
        let [forward, backward, adam] = parts;
        let total = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - cpu;
        print!("step {step}: {total:.4} s (forward {forward:.4}, backward {backward:.4}, ");
        println!("Adam {adam:.4}), CPU {cpu:.3} s");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    if let Some(Ok(kib)) = peak.map(str::parse::<u64>) {
        println!("peak {} MiB", kib / 1024);
    }
    Ok(())
}

/// CPU seconds of all threads of this process so far, in hundredths; 0 where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, counted from behind the name in brackets, which is field 2.
    let after = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    after.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
