//! `edge-infer bench`: times a model on this machine, layer by layer.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::Completion;
use super::engine::{EngineArgs, Photographs};
use crate::bench::{self, Measured, Names, Record, milliseconds};
use crate::bundle::{self, Bundle};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The model to use instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Runs to time.
    #[arg(long, value_name = "N", default_value = "20")]
    pub runs: NonZeroUsize,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,

    /// Write the network's input and its outputs (glaucoma, disc, cup, fovea) into this folder, as
    /// input.f32 and output.f32, little endian: for comparison with other programs.
    #[arg(long, value_name = "FOLDER")]
    pub tensors: Option<PathBuf>,

    /// How the network is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the command; `started` is when the program began.
///
/// # Errors
/// No usable model, a network that fails, a folder or standard output that cannot be written.
pub fn run(args: &BenchArgs, started: Instant) -> anyhow::Result<Completion> {
    let model = bundle::named_or_default(args.model.as_deref())?;
    let options = args.engine.options(Photographs::Alone);
    let before = Instant::now();
    let bundle = Bundle::open(&model, &options)?;
    let prepare_ms = milliseconds(before.elapsed());
    let measured = bench::measure(&bundle, args.runs.get(), Path::new("/"))
        .with_context(|| model.display().to_string())?;
    if let Some(folder) = &args.tensors {
        write_tensors(folder, &measured)?;
    }
    let file = model.display().to_string();
    let arithmetic = bundle.engine.arithmetic();
    let names = Names {
        model: bench::ModelRecord {
            file: &file,
            name: &bundle.manifest.name,
            version: &bundle.manifest.version,
            side: bundle.engine.side(),
        },
        engine: bench::EngineRecord {
            kind: if arithmetic.is_some() { "fused" } else { "stock" },
            not_fused: bundle.engine.not_fused(),
            arithmetic,
            instructions: arithmetic.map(|_| options.form.name()),
            // tract's own operators run on the caller's thread alone.
            threads: if arithmetic.is_some() { options.threads } else { 1 },
        },
        prepare_ms,
        to_first_answer_ms: milliseconds(measured.first_done - started),
    };
    let record = Record::new(names, &measured);
    let text =
        if args.json { serde_json::to_string(&record)? + "\n" } else { bench::table(&record) };
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
    Ok(Completion::Whole)
}

fn write_tensors(folder: &Path, measured: &Measured) -> anyhow::Result<()> {
    let write = |name: &str, values: &mut dyn Iterator<Item = f32>| {
        let path = folder.join(name);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    write("input.f32", &mut measured.input.iter().copied())?;
    let output = &measured.output;
    let maps = [&output.disc, &output.cup, &output.fovea].into_iter().flatten().copied();
    write("output.f32", &mut std::iter::once(output.glaucoma).chain(maps))
}
