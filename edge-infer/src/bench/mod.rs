//! Times a bundle on this machine: the network again and again on the picture of the self-test.
//!
//! First whole runs, as an exam makes them, with processor time and energy; then as many runs whose
//! layers are timed one by one; then the rate that a core can reach.

mod layers;
mod record;
mod spread;
mod text;

use std::path::Path;
use std::time::{Duration, Instant};

use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::self_test::picture;
use glaucoma_engine::EngineError;

pub use layers::Layer;
pub use record::{EngineRecord, ModelRecord, Names, Record};
pub use spread::Spread;
pub use text::table;

use crate::board::energy::{Energy, Meters};
use crate::board::{self, Board, Clock, Temperature, Throttling, process};
use crate::bundle::Bundle;

/// Runs before those that are counted, beside the first.
const WARM_UP_RUNS: usize = 2;
/// How long the rate that a core can reach is looked for.
const PEAK_TIME: Duration = Duration::from_millis(100);

/// What was measured. Times are in milliseconds, energy is a run's.
#[derive(Debug)]
pub struct Measured {
    /// The first run of all, which finds the caches empty.
    pub first_ms: f64,
    /// When the first run was over.
    pub first_done: Instant,
    /// Of whole runs.
    pub latency_ms: Spread,
    /// Processor time of a run, all threads together.
    pub cpu_ms: Option<f64>,
    /// Energy of a run; empty where nothing is metered.
    pub energy: Vec<Energy>,
    /// The layers as computed; empty for tract's own operators.
    pub layers: Vec<Layer>,
    /// Multiplications and additions, in pairs, that a core computes in a second at best.
    pub peak_macs_per_second: Option<f64>,
    /// The most memory of the process at a time, in KiB, before layers and peak were measured.
    pub peak_memory_kib: Option<u64>,
    /// The machine, and its state behind the runs.
    pub board: BoardState,
    /// The network's input.
    pub input: Vec<f32>,
    /// What the network made of it.
    pub output: NetworkOutput,
}

/// The machine, and its state behind the runs.
#[derive(Debug)]
pub struct BoardState {
    /// What it is.
    pub board: Board,
    /// Its clocks.
    pub clocks: Vec<Clock>,
    /// Its temperatures before the runs.
    pub before: Vec<Temperature>,
    /// Its temperatures behind the runs.
    pub after: Vec<Temperature>,
    /// What slows it down.
    pub throttling: Option<Throttling>,
    /// Programs that ran or waited in the last minute.
    pub load: Option<f64>,
}

/// Times `runs` runs, at least one. The machine is read below `root`.
///
/// # Errors
/// When the network fails.
pub fn measure(bundle: &Bundle, runs: usize, root: &Path) -> Result<Measured, EngineError> {
    let engine = &bundle.engine;
    let input = to_input(&picture(engine.side()), bundle.manifest.input.scale);
    let start = Instant::now();
    let output = engine.run(&input)?;
    let (first_ms, first_done) = (milliseconds(start.elapsed()), Instant::now());
    for _ in 0..WARM_UP_RUNS {
        engine.run(&input)?;
    }

    let before = board::temperatures(root);
    let mut meters = Meters::start(root);
    let cpu_before = process::processor_time(root);
    let mut latencies = Vec::new();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        engine.run(&input)?;
        latencies.push(milliseconds(start.elapsed()));
        meters.sample();
    }
    let cpu_after = process::processor_time(root);
    let count = latencies.len() as f64;
    let energy = meters.used().into_iter();
    let energy = energy.map(|used| Energy { joules: used.joules / count, ..used }).collect();
    let peak_memory_kib = process::peak_memory_kib(root);
    let board = BoardState {
        board: Board::read(root),
        clocks: board::clocks(root),
        before,
        after: board::temperatures(root),
        throttling: board::throttling(root),
        load: board::load(root),
    };
    let mut laps = Vec::new();
    for _ in 0..latencies.len() {
        laps.push(engine.run_timed(&input)?.1);
    }
    Ok(Measured {
        first_ms,
        first_done,
        latency_ms: Spread::of(&latencies),
        cpu_ms: cpu_before
            .zip(cpu_after)
            .map(|(from, to)| milliseconds(to.saturating_sub(from)) / count),
        energy,
        layers: layers::medians(&laps),
        peak_macs_per_second: engine.peak(PEAK_TIME),
        peak_memory_kib,
        board,
        input,
        output,
    })
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
