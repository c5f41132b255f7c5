//! `edge-infer screen`: examines photographs and prints, draws or emits what was found.

mod outputs;
mod parts;

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use embedded_graphics::prelude::Size;
use glaucoma_common::photo::Limits;
use glaucoma_kiosk::display::{Frame, write_png};
use glaucoma_kiosk::text::Typesetter;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Completion;
use super::engine::{EngineArgs, Photographs};
use crate::archive::Shard;
use crate::bundle::{self, Bundle};
use crate::exam::{ExamResult, Outcome, examine};
use crate::report::{Record, describe};
use crate::screen::{ResultView, draw_result};
use crate::source::{Found, Sources};
use outputs::Outputs;

/// Arguments of `screen`.
#[derive(Debug, Args)]
pub struct ScreenArgs {
    /// Photographs (JPEG or PNG), or folders of them, searched through in the order of their names;
    /// with the feature `cloud` also URLs of objects and prefixes (s3://, gs://, az://, https://).
    #[arg(required_unless_present = "listing", value_name = "FILE|FOLDER|URL")]
    pub paths: Vec<PathBuf>,

    /// A file that names one more photograph a line, as a path or URL; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub listing: Option<PathBuf>,

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

    /// Work through an archive: write the JSON lines to a part in this folder, several photographs
    /// at a time. A run that was stopped goes on where it was; one that is complete does nothing.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "json"])]
    pub parts: Option<PathBuf>,

    /// Examine this share of the archive alone: the I-th of N, counted from 0.
    #[arg(long, value_name = "I/N", requires = "parts", default_value_t = Shard::WHOLE)]
    pub shard: Shard,

    /// Threads that read and decode photographs of an archive ahead of the network. By default as
    /// many as there are cores; more where the photographs come from far away.
    #[arg(long, value_name = "N", requires = "parts")]
    pub jobs: Option<NonZero<usize>>,

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
    let model = bundle::named_or_default(args.model.as_deref())?;
    let at_a_time = match args.parts {
        Some(_) => Photographs::Several,
        None => Photographs::Alone,
    };
    let bundle = Bundle::open(&model, &args.engine.options(at_a_time))?;
    let results = args.parts.clone().or_else(|| args.out.clone());
    let sources = Sources { paths: args.paths.clone(), listing: args.listing.clone(), results };
    match &args.parts {
        Some(folder) => parts::run(folder, args.shard, args.jobs, &sources, &bundle),
        None => one_by_one(args, &sources, &bundle),
    }
}

/// Examines the photographs one after another and reports each.
fn one_by_one(args: &ScreenArgs, sources: &Sources, bundle: &Bundle) -> anyhow::Result<Completion> {
    let mut outputs = Outputs::prepare(args.out.as_deref(), sources.single_file())?;
    let found: Vec<Found> = sources.photographs().collect();
    let progress = progress_bar(found.len());
    let setter = Typesetter::new();
    let mut completion = Completion::Whole;
    for one in &found {
        let name = match one {
            Ok(photograph) => photograph.name(),
            Err(problem) => problem.place.clone(),
        };
        progress.set_message(name.clone());
        let exam = examine_found(one, bundle);
        if matches!(exam.outcome, Outcome::Refused(_)) {
            completion = Completion::Partial;
        }
        let below = one.as_ref().ok().and_then(|photograph| photograph.below());
        let picture = outputs.path_for(below.unwrap_or(plain_name(&name)));
        progress.suspend(|| report(args, &name, &exam, bundle, picture.as_deref(), &setter))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(completion)
}

/// Reads and examines one photograph; whatever goes wrong is in the result.
fn examine_found(found: &Found, bundle: &Bundle) -> ExamResult {
    let limits = Limits::default();
    let fetched = match found {
        Ok(photograph) => photograph.read(limits.max_bytes),
        Err(problem) => Err(problem.message.clone()),
    };
    match fetched {
        Ok(fetched) => examine(&fetched.bytes, bundle, &limits),
        Err(message) => ExamResult::unavailable(message),
    }
}

/// Hands one result to everyone who asked for it: the picture, standard output, and for a refusal
/// standard error.
fn report(
    args: &ScreenArgs,
    name: &str,
    exam: &ExamResult,
    bundle: &Bundle,
    picture: Option<&Path>,
    setter: &Typesetter,
) -> anyhow::Result<()> {
    let manifest = &bundle.manifest;
    if let Some(path) = picture {
        let title = plain_name(name).to_string_lossy();
        let view = ResultView { title: &title, exam, model: (&manifest.name, &manifest.version) };
        let mut frame = Frame::new(Size::new(args.size.0, args.size.1));
        let Ok(()) = draw_result(&view, setter, &mut frame);
        write_png(&frame, path)?;
    }
    let text = if args.json {
        serde_json::to_string(&Record::new(name, exam, bundle))? + "\n"
    } else {
        describe(name, exam, manifest)
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
    if let Outcome::Refused(refusal) = &exam.outcome {
        eprintln!("error: {name}: {refusal}");
    }
    Ok(())
}

/// What a path or URL ends with.
fn plain_name(name: &str) -> &Path {
    let path = Path::new(name);
    path.file_name().map_or(path, Path::new)
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
