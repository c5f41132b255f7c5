//! A measurement in words, its layers as a table.

use std::fmt::Write;

use super::Record;
use crate::board::Temperature;

/// Said of what a machine does not tell.
const NOT_EXPOSED: &str = "not exposed";

/// All of `record`, for a terminal or a file.
#[must_use]
pub fn table(record: &Record<'_>) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("model", model(record)),
        ("engine", engine(record)),
        ("latency", latency(record)),
        ("start", start(record)),
        ("memory", exposed(record.peak_rss_mib, |mib| format!("{mib:.1} MiB peak"))),
        ("energy", energy(record)),
    ];
    lines.extend(board(record));
    let mut out = String::new();
    for (name, text) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<12}{text}");
    }
    out + &layers(record)
}

fn model(record: &Record<'_>) -> String {
    let model = &record.model;
    format!("{} {}, {} x {} px, {}", model.name, model.version, model.side, model.side, model.file)
}

fn engine(record: &Record<'_>) -> String {
    let engine = &record.engine;
    let mut parts = vec![engine.kind.to_string()];
    parts.extend(engine.arithmetic.map(str::to_string));
    parts.extend(engine.instructions.map(str::to_string));
    parts.push(format!("{} thread{}", engine.threads, if engine.threads == 1 { "" } else { "s" }));
    parts.extend(engine.not_fused.as_ref().map(|reason| format!("not fused: {reason}")));
    parts.extend(record.peak_gmacs_per_s.map(|peak| format!("a core's peak {peak:.1} GMAC/s")));
    parts.join(", ")
}

fn latency(record: &Record<'_>) -> String {
    let spread = record.latency_ms;
    let cpu = exposed(record.cpu_ms, |ms| format!("{ms:.2} ms a run"));
    format!(
        "median {:.2} ms, fastest {:.2}, 90 % within {:.2}, slowest {:.2} ({} runs); processor time {cpu}",
        spread.median, spread.min, spread.p90, spread.max, spread.runs
    )
}

fn start(record: &Record<'_>) -> String {
    let start = &record.start_ms;
    format!(
        "first answer {:.1} ms after the program began: {:.1} to prepare, {:.1} for the first run",
        start.to_first_answer, start.prepare, start.first_run
    )
}

fn energy(record: &Record<'_>) -> String {
    exposed(record.energy.as_ref(), |meters| {
        let meters = meters.iter().map(|energy| {
            format!("{:.3} J a run ({}, {})", energy.joules, energy.meter, energy.from)
        });
        meters.collect::<Vec<_>>().join("; ")
    })
}

fn board(record: &Record<'_>) -> Vec<(&'static str, String)> {
    let found = &record.board;
    let or_not = |text: Option<&String>| text.map_or(NOT_EXPOSED.to_string(), String::clone);
    let mut size = Vec::new();
    size.extend(found.board.cores.map(|cores| format!("{cores} cores")));
    size.extend(found.board.memory_mib.map(|mib| format!("{mib} MiB of memory")));
    size.extend(found.load.map(|load| format!("load {load:.2}")));
    let clocks = exposed(found.clocks, |clocks| {
        let clocks = clocks.iter().map(|clock| {
            let mhz = exposed(clock.mhz, |mhz| format!("{mhz} MHz"));
            let most = exposed(clock.max_mhz, |mhz| format!("{mhz} MHz"));
            let governor = or_not(clock.governor.as_ref());
            format!("cores {}: governor {governor}, {mhz} of {most}", clock.cores)
        });
        clocks.collect::<Vec<_>>().join("; ")
    });
    let warm = exposed(found.temperatures.as_ref(), |both| {
        format!("{} before, {} behind", degrees(both.before), degrees(both.after))
    });
    let throttling = exposed(found.throttling, |throttling| {
        let said = |list: &[String]| {
            if list.is_empty() { "none".to_string() } else { list.join(", ") }
        };
        format!("now {}; since boot {}", said(&throttling.now), said(&throttling.since_boot))
    });
    vec![
        ("board", or_not(found.board.name.as_ref())),
        ("processor", or_not(found.board.cpu.as_ref())),
        ("", size.join(", ")),
        ("clocks", clocks),
        ("temperature", warm),
        ("throttling", throttling),
    ]
}

fn degrees(sensors: &[Temperature]) -> String {
    let sensors = sensors.iter().map(|read| format!("{} {:.1} °C", read.sensor, read.celsius));
    sensors.collect::<Vec<_>>().join(", ")
}

/// The layers as computed; the one that takes longest is marked.
fn layers(record: &Record<'_>) -> String {
    let Some(layers) = &record.layers else { return String::new() };
    let width = layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max(5);
    let heaviest = layers.iter().map(|layer| layer.ms).fold(0.0, f64::max);
    let mut out = format!(
        "\n{:<width$}  {:<8} {:>9} {:>9} {:>6} {:>8} {:>7}\n",
        "layer", "kind", "MMAC", "ms", "time", "GMAC/s", "of peak"
    );
    for layer in layers {
        let rate = layer.gmacs_per_s.map_or_else(String::new, |rate| format!("{rate:.1}"));
        let peak = layer.share_of_peak.map_or_else(String::new, percent);
        let mark = if layer.ms == heaviest { "  < heaviest" } else { "" };
        let row = format!(
            "{:<width$}  {:<8} {:>9.1} {:>9.3} {:>6} {rate:>8} {peak:>7}{mark}",
            layer.name,
            layer.kind,
            layer.macs as f64 / 1e6,
            layer.ms,
            percent(layer.share_of_time),
        );
        out += row.trim_end();
        out.push('\n');
    }
    let (macs, ms) =
        layers.iter().fold((0.0, 0.0), |sum, layer| (sum.0 + layer.macs as f64, sum.1 + layer.ms));
    let total = format!(
        "{:<width$}  {:<8} {:>9.1} {ms:>9.3} {:>6} {:>8.1}\n",
        "all",
        "",
        macs / 1e6,
        percent(1.0),
        macs / ms / 1e6
    );
    out + &total
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn exposed<T>(value: Option<T>, say: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NOT_EXPOSED.to_string(), say)
}
