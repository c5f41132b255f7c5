//! The JSON contract of `bench`. Every key is always there; what is not exposed or does not apply is
//! `null`. Documented in `edge-infer/README.md`.

use serde::Serialize;

use super::{Layer, Measured, Spread};
use crate::board::energy::Energy;
use crate::board::{Board, Clock, Temperature, Throttling};

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The model.
    pub model: ModelRecord<'a>,
    /// How it was run.
    pub engine: EngineRecord<'a>,
    /// From the start of the program to the first answer.
    pub start_ms: StartRecord,
    /// Whole runs.
    pub latency_ms: Spread,
    /// Processor time of a run, all threads together.
    pub cpu_ms: Option<f64>,
    /// The most memory of the process at a time, in MiB.
    pub peak_rss_mib: Option<f64>,
    /// Energy of a run, meter by meter.
    pub energy: Option<Vec<Energy>>,
    /// The rate that a core can reach.
    pub peak_gmacs_per_s: Option<f64>,
    /// The layers in the order they are computed.
    pub layers: Option<Vec<LayerRecord>>,
    /// The machine.
    pub board: BoardRecord<'a>,
}

/// The model.
#[derive(Debug, Serialize)]
pub struct ModelRecord<'a> {
    /// The file as it was named or found.
    pub file: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Side of the network's input in pixels.
    pub side: u32,
}

/// How it was run.
#[derive(Debug, Serialize)]
pub struct EngineRecord<'a> {
    /// `fused` or `stock`.
    pub kind: &'static str,
    /// Why `stock` although `fused` was asked for.
    pub not_fused: Option<String>,
    /// `int8` or `f32`; `null` for stock operators.
    pub arithmetic: Option<&'static str>,
    /// Instructions; `null` for stock operators.
    pub instructions: Option<&'a str>,
    /// Threads.
    pub threads: usize,
}

/// From the start of the program to the first answer.
#[derive(Debug, Serialize)]
pub struct StartRecord {
    /// Reading, checking and preparing the bundle.
    pub prepare: f64,
    /// The first run.
    pub first_run: f64,
    /// From the first line of the program to the first answer, everything included.
    pub to_first_answer: f64,
}

/// One layer.
#[derive(Debug, Serialize)]
pub struct LayerRecord {
    /// The map that is made.
    pub name: String,
    /// As the engine calls it: `conv` or `heads`.
    pub kind: &'static str,
    /// Multiplications and additions, in pairs.
    pub macs: u64,
    /// Median over the runs.
    pub ms: f64,
    /// Of the sum of all layers, 0 to 1.
    pub share_of_time: f64,
    /// Rate; `null` for a layer without multiplications.
    pub gmacs_per_s: Option<f64>,
    /// Rate over the peak of all threads together.
    pub share_of_peak: Option<f64>,
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct BoardRecord<'a> {
    /// What it is.
    #[serde(flatten)]
    pub board: &'a Board,
    /// Its clocks behind the runs.
    pub clocks: Option<&'a [Clock]>,
    /// Before and behind the runs.
    pub temperatures: Option<TemperaturesRecord<'a>>,
    /// What slows it down.
    pub throttling: Option<&'a Throttling>,
    /// Programs that ran or waited to run, on average over the last minute.
    pub load: Option<f64>,
}

/// Temperatures before and behind the runs.
#[derive(Debug, Serialize)]
pub struct TemperaturesRecord<'a> {
    /// Before.
    pub before: &'a [Temperature],
    /// Behind.
    pub after: &'a [Temperature],
}

/// What the measurement itself does not know.
#[derive(Debug)]
pub struct Names<'a> {
    /// The model.
    pub model: ModelRecord<'a>,
    /// How it was run.
    pub engine: EngineRecord<'a>,
    /// Milliseconds of reading, checking and preparing.
    pub prepare_ms: f64,
    /// Milliseconds from the program's start to the first answer.
    pub to_first_answer_ms: f64,
}

impl<'a> Record<'a> {
    /// The record of `measured`. Times are given to the microsecond.
    #[must_use]
    pub fn new(names: Names<'a>, measured: &'a Measured) -> Self {
        let Spread { runs, min, median, p90, max } = measured.latency_ms;
        let state = &measured.board;
        let peak = measured.peak_macs_per_second.map(|rate| rate / 1e9);
        let layers = layer_records(&measured.layers, peak, names.engine.threads);
        Self {
            model: names.model,
            engine: names.engine,
            start_ms: StartRecord {
                prepare: thousandths(names.prepare_ms),
                first_run: thousandths(measured.first_ms),
                to_first_answer: thousandths(names.to_first_answer_ms),
            },
            latency_ms: Spread {
                runs,
                min: thousandths(min),
                median: thousandths(median),
                p90: thousandths(p90),
                max: thousandths(max),
            },
            cpu_ms: measured.cpu_ms.map(thousandths),
            peak_rss_mib: measured.peak_memory_kib.map(|kib| thousandths(kib as f64 / 1024.0)),
            energy: unless_empty(measured.energy.clone()),
            peak_gmacs_per_s: peak.map(thousandths),
            layers: unless_empty(layers),
            board: BoardRecord {
                board: &state.board,
                clocks: unless_empty(&state.clocks[..]),
                temperatures: (!state.after.is_empty())
                    .then_some(TemperaturesRecord { before: &state.before, after: &state.after }),
                throttling: state.throttling.as_ref(),
                load: state.load,
            },
        }
    }
}

/// `peak` is one core's, in GMAC/s.
fn layer_records(layers: &[Layer], peak: Option<f64>, threads: usize) -> Vec<LayerRecord> {
    let total: f64 = layers.iter().map(|layer| layer.ms).sum();
    let record = |layer: &Layer| {
        let rate = layer.macs_per_second().map(|rate| rate / 1e9);
        LayerRecord {
            name: layer.name.clone(),
            kind: layer.kind,
            macs: layer.macs,
            ms: thousandths(layer.ms),
            share_of_time: thousandths(layer.ms / total),
            gmacs_per_s: rate.map(thousandths),
            share_of_peak: rate
                .zip(peak)
                .map(|(rate, peak)| thousandths(rate / (peak * threads as f64))),
        }
    };
    layers.iter().map(record).collect()
}

/// Nothing instead of a list of nothing.
fn unless_empty<L: AsRef<[T]>, T>(list: L) -> Option<L> {
    (!list.as_ref().is_empty()).then_some(list)
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_of_all_threads_and_all_time() {
        let layer = |macs, ms| Layer { name: "a".into(), kind: "conv", macs, ms };
        let layers = [layer(30_000_000, 3.0), layer(0, 1.0)];
        let records = layer_records(&layers, Some(20.0), 2);
        assert_eq!(records[0].gmacs_per_s, Some(10.0));
        assert_eq!(records[0].share_of_peak, Some(0.25));
        assert_eq!(records[0].share_of_time, 0.75);
        assert_eq!((records[1].gmacs_per_s, records[1].share_of_peak), (None, None));
        assert_eq!(layer_records(&layers, None, 1)[0].share_of_peak, None);
    }
}
