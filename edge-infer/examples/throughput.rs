//! How fast an archive goes through, against the network alone and against one photograph after
//! another: `cargo run --release -p edge-infer --example throughput -- FOLDER [ROUNDS]`, with the
//! default model or the file named in `MODEL`.
//!
//! The three take turns. On a busy machine look at the processor seconds.

use glaucoma_engine::Options;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use edge_infer::archive::pipeline::{Threads, examine_all};
use edge_infer::bundle::{self, Bundle};
use edge_infer::exam::examine;
use edge_infer::source::{Photograph, Sources};
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::{prepare, to_input};

/// Network inputs held for the network alone; its time does not depend on what is in them.
const INPUTS: usize = 16;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let folder = PathBuf::from(args.next().context("name a folder of photographs")?);
    let rounds = match args.next() {
        Some(text) => text.to_string_lossy().parse()?,
        None => 3,
    };
    let model = std::env::var_os("MODEL").map(PathBuf::from);
    let bundle = Bundle::open(&model.map_or_else(bundle::find_default, Ok)?, &Options::default())?;
    let sources = Sources { paths: vec![folder], ..Sources::default() };
    let threads = Threads::choose(None);
    let inputs = inputs(&sources, &bundle)?;
    println!("{threads:?}, model {} {}", bundle.manifest.name, bundle.manifest.version);

    for round in 1..=rounds {
        let (photographs, graded) = measured("pipeline", || pipeline(&sources, &bundle, threads))?;
        println!("round {round}: {photographs} photographs, the network saw {graded}");
        measured("one by one", || Ok((one_by_one(&sources, &bundle)?, 0)))?;
        measured("network alone", || network(&bundle, &inputs, photographs, threads))?;
    }
    Ok(())
}

/// Runs and times `work`, which returns a number of photographs and something of its own.
fn measured(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<(usize, usize)>,
) -> anyhow::Result<(usize, usize)> {
    let (started, before) = (Instant::now(), processor_seconds());
    let done = work()?;
    let wall = started.elapsed().as_secs_f64() / done.0 as f64 * 1e3;
    let processor = (processor_seconds() - before) / done.0 as f64 * 1e3;
    println!(
        "  {name:14} {:8.2} photographs/s {wall:8.1} ms each {processor:8.1} ms of processor",
        1e3 / wall
    );
    Ok(done)
}

fn pipeline(
    sources: &Sources,
    bundle: &Bundle,
    threads: Threads,
) -> anyhow::Result<(usize, usize)> {
    let (mut all, mut graded) = (0, 0);
    examine_all(
        sources.photographs(),
        bundle,
        threads,
        |_| false,
        |_, _, exam| exam.timing.network.is_some(),
        |event| -> anyhow::Result<()> {
            all += 1;
            if matches!(event, edge_infer::archive::pipeline::Event::Examined(true)) {
                graded += 1;
            }
            Ok(())
        },
    )?;
    Ok((all, graded))
}

fn one_by_one(sources: &Sources, bundle: &Bundle) -> anyhow::Result<usize> {
    let mut all = 0;
    for found in sources.photographs() {
        examine(&read(found)?, bundle, &Limits::default());
        all += 1;
    }
    Ok(all)
}

/// The network over `count` inputs, on as many threads as in the pipeline.
fn network(
    bundle: &Bundle,
    inputs: &[Vec<f32>],
    count: usize,
    threads: Threads,
) -> anyhow::Result<(usize, usize)> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.network)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..count)
                        .step_by(threads.network)
                        .try_for_each(|at| bundle.engine.run(&inputs[at % inputs.len()]).map(drop))
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_) => bail!("a network thread failed"),
            }
        }
        Ok((count, count))
    })
}

fn inputs(sources: &Sources, bundle: &Bundle) -> anyhow::Result<Vec<Vec<f32>>> {
    let contract = &bundle.manifest.input;
    let mut inputs = Vec::new();
    for found in sources.photographs().take(INPUTS) {
        let photo = decode(&read(found)?, &Limits::default())?;
        inputs.push(to_input(&prepare(&photo.pixels, contract)?.pixels, contract.scale));
    }
    Ok(inputs)
}

fn read(found: Result<Photograph, edge_infer::source::Problem>) -> anyhow::Result<Vec<u8>> {
    let photograph = found.map_err(|problem| anyhow::anyhow!("{problem:?}"))?;
    let fetched = photograph.read(Limits::default().max_bytes).map_err(anyhow::Error::msg)?;
    Ok(fetched.bytes)
}

/// Processor time of this process so far, user and system; not a number where the system does not
/// tell it as Linux does.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; behind it the fields are numbered from 3.
    let ticks = stat.rsplit_once(") ").and_then(|(_, rest)| {
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    });
    ticks.map_or(f64::NAN, |ticks| ticks / 100.0)
}
