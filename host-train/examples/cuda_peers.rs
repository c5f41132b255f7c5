//! Averages gradients over several processes with a GPU each, and compares with the mean that the CPU
//! computes.
//!
//! `torchrun --nproc-per-node 2 --no-python cuda_peers [device]` (built with `--release -p host-train
//! --features cuda --example cuda_peers`; default `cuda`) fails where a mean is off, or not the same
//! bits in all; then it prints how long the paper's network's gradients take.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use host_train::cli::device::Place;
use host_train::gradients::Gradients;
use host_train::network::cuda::Precision;
use host_train::parallel::Met;
use std::time::Instant;

/// Sums and quotients of so many processes round a few times.
const MOST: f64 = 1e-6;
/// Sizes of the gradients: not multiples of anything, one of a single number.
const SIZES: [usize; 3] = [1 << 20, 12_345, 1];
/// Parameters of the paper's network, about.
const PAPERS: usize = 31_000_000;

fn main() -> Result<()> {
    let place: Place =
        std::env::args().nth(1).unwrap_or("cuda".into()).parse().map_err(anyhow::Error::msg)?;
    let met = Met::from_environment()?;
    let device = place.open(Some(Precision::F32), met.local_rank())?;
    let peers = met.with(&device)?;
    let (rank, count) = (peers.rank(), peers.count());
    ensure!(count > 1, "this is one process alone");
    for round in 0..3 {
        let mean = peers.average(gradients(rank, count, round, &device)?)?;
        let all = (0..count).map(|rank| gradients(rank, count, round, &Device::Cpu));
        let all = all.collect::<Result<Vec<_>>>()?;
        let wanted = Gradients::combination(&all, |_, _| 1.0 / count as f64)?;
        let mut bits = String::new();
        for (at, (own, wanted)) in mean.iter().zip(wanted.iter()).enumerate() {
            let (Some(own), Some(wanted)) = (own, wanted) else {
                ensure!(own.is_none() && wanted.is_none(), "{at}: only one has a mean");
                continue;
            };
            ensure!(own.dims() == wanted.dims(), "{at}: {:?}, not {:?}", own.dims(), wanted.dims());
            let (own, wanted) = (values(own)?, values(wanted)?);
            let off: f64 = own.iter().zip(&wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let size: f64 = wanted.iter().map(|a| f64::from(*a).powi(2)).sum();
            let error = (off / size).sqrt();
            ensure!(error <= MOST, "round {round}, gradient {at}: off by {error:e}");
            own.iter().for_each(|x| bits.push_str(&format!("{:08x}", x.to_bits())));
        }
        peers.same("mean", &bits)?;
    }
    let own = Tensor::ones(PAPERS, candle_core::DType::F32, &device)?;
    for _ in 0..3 {
        device.synchronize()?;
        let start = Instant::now();
        let mean = peers.average([Some(own.clone())].into_iter().collect())?;
        device.synchronize()?;
        let seconds = start.elapsed().as_secs_f64();
        let first = mean.iter().flatten().next().context("no mean")?.get(0)?.to_scalar::<f32>()?;
        ensure!(first == 1.0, "the mean of ones is {first}");
        println!("rank {rank} of {count}: {PAPERS} numbers averaged in {seconds:.4} s");
    }
    println!("rank {rank} of {count}: all means agree within {MOST:e}, the same bits in all");
    Ok(())
}

/// What this rank has: all sizes, one that nobody has, and one that only the last has.
fn gradients(rank: usize, count: usize, round: usize, device: &Device) -> Result<Gradients> {
    let entry = |size: usize| -> Result<Option<Tensor>> {
        let value = |at: usize| ((at * 7919 + rank * 104_729 + round) % 1009) as f32 - 500.3;
        let values: Vec<f32> = (0..size).map(value).collect();
        Ok(Some(Tensor::from_vec(values, (size, 1), device)?))
    };
    let mut entries = SIZES.iter().map(|size| entry(*size)).collect::<Result<Vec<_>>>()?;
    entries.push(None);
    entries.insert(1, if rank + 1 == count { entry(77)? } else { None });
    Ok(entries.into_iter().collect())
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}
