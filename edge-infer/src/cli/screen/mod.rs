//! `edge-infer screen`: examines photographs and prints, draws or emits what was found.

mod inputs;
mod outputs;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use glaucoma_common::photo::Limits;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Completion;
use super::engine::EngineArgs;
use crate::bundle::{self, Bundle};
use crate::display::{Frame, png};
use crate::exam::{ExamResult, Outcome, examine};
use crate::report::{Record, describe};
use crate::screen::{ResultView, draw_result};
use inputs::Input;
use outputs::Outputs;

/// Arguments of `screen`.
#[derive(Debug, Args)]
pub struct ScreenArgs {
    /// Photographs (JPEG or PNG), or folders of them, searched through in the order of their names.
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,

    /// Draw the result: into this PNG file for one photograph, as NAME-result.png into this folder
    /// for several.
    #[arg(long, value_name = "PNG|FOLDER")]
    pub out: Option<PathBuf>,

    /// Size of the drawn picture in pixels.
    #[arg(long, value_name = "WxH", default_value = "1600x960", value_parser = picture_size)]
    pub size: (u32, u32),

    /// Print one JSON object a photograph, one line each, instead of text.
    #[arg(long)]
    pub json: bool,

    /// The model to use instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// How the network is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the command.
///
/// # Errors
/// When nothing at all can be done: no usable model, an output folder that cannot be made, standard
/// output closed. What goes wrong with one photograph is reported and the rest still examined.
pub fn run(args: &ScreenArgs) -> anyhow::Result<Completion> {
    let model = match &args.model {
        Some(path) => path.clone(),
        None => bundle::find_default()?,
    };
    let bundle = Bundle::open(&model, &args.engine.options())?;
    let inputs = inputs::collect(&args.paths, args.out.as_deref());
    let mut outputs = Outputs::prepare(args.out.as_deref(), &args.paths)?;
    let progress = progress_bar(inputs.len());
    let mut completion = Completion::Whole;
    for input in &inputs {
        progress.set_message(input.shown());
        let exam = examine_input(input, &bundle);
        if matches!(exam.outcome, Outcome::Refused(_)) {
            completion = Completion::Partial;
        }
        let picture = outputs.path_for(input);
        progress.suspend(|| report(args, input, &exam, &bundle, picture.as_deref()))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(completion)
}

/// Reads and examines one input; whatever goes wrong is in the result.
fn examine_input(input: &Input, bundle: &Bundle) -> ExamResult {
    let limits = Limits::default();
    match input.read(limits.max_bytes) {
        Ok(bytes) => examine(&bytes, bundle, &limits),
        Err(message) => ExamResult::unavailable(message),
    }
}

/// Hands one result to everyone who asked for it: the picture, standard output, and for a refusal
/// standard error.
fn report(
    args: &ScreenArgs,
    input: &Input,
    exam: &ExamResult,
    bundle: &Bundle,
    picture: Option<&Path>,
) -> anyhow::Result<()> {
    let file = input.shown();
    let manifest = &bundle.manifest;
    if let Some(path) = picture {
        let title = input
            .path
            .file_name()
            .map_or_else(|| file.clone().into(), |name| name.to_string_lossy());
        let view = ResultView { title: &title, exam, model: (&manifest.name, &manifest.version) };
        let mut frame = Frame::new(args.size.0, args.size.1);
        let Ok(()) = draw_result(&view, &mut frame);
        png::write(&frame, path)?;
    }
    let text = if args.json {
        serde_json::to_string(&Record::new(&file, exam, manifest))? + "\n"
    } else {
        describe(&file, exam, manifest)
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
    if let Outcome::Refused(refusal) = &exam.outcome {
        eprintln!("error: {file}: {refusal}");
    }
    Ok(())
}

/// A bar on standard error for several photographs; nothing where no one looks.
fn progress_bar(photographs: usize) -> ProgressBar {
    if photographs < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(photographs as u64), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta_precise} left  {wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Parses `WIDTHxHEIGHT` within what the view can be drawn at.
fn picture_size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match parsed {
        Some((width, height))
            if (320..=4096).contains(&width) && (320..=4096).contains(&height) =>
        {
            Ok((width, height))
        }
        Some(_) => Err("both sides must be from 320 to 4096 pixels".to_string()),
        None => Err("must look like 1600x960".to_string()),
    }
}
