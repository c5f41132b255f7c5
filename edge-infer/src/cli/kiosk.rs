//! `edge-infer kiosk`: the screens of a camp's day.

use std::path::PathBuf;
use std::sync::mpsc::channel;

use anyhow::{Context, ensure};
use clap::Args;
use glaucoma_kiosk::display::{self, DisplayChoice};
use glaucoma_kiosk::input::script::{self, Step};
use glaucoma_kiosk::input::{self, InputChoice, Sink};
use glaucoma_kiosk::model::Kiosk;
use glaucoma_kiosk::stage::Stage;
use glaucoma_records::journal::{Journal, Settings};

use super::Completion;
use super::engine::{EngineArgs, Photographs};
use super::operating_point::in_words;
use crate::bundle::{self, Bundle};
use crate::kiosk::Config;
use crate::kiosk::day::{self, Input, Tools};
use crate::kiosk::operating_point::settled;

/// Arguments of `kiosk`.
#[derive(Debug, Args)]
pub struct KioskArgs {
    /// What the programme has set up: a TOML file.
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    pub config: Option<PathBuf>,

    /// Print the configuration that holds, every key with its value, and do nothing else.
    #[arg(long)]
    pub print_config: bool,

    /// Where the screens are shown instead of where the configuration says: `drm`, `fbdev`, `window`,
    /// `spi:CHIP,dc=LINE`, or `png:FOLDER`, a numbered picture of each.
    #[arg(long, value_name = "WHERE")]
    pub display: Option<DisplayChoice>,

    /// Where touches and buttons come from: `evdev`, the device's own, or `script:FILE`. A window brings its own.
    #[arg(long, value_name = "FROM", default_value = "evdev")]
    pub input: InputChoice,

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
/// A configuration, script, model or display that cannot be used, a journal that cannot be opened or has no
/// operator yet.
pub fn run(args: &KioskArgs) -> anyhow::Result<Completion> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if args.print_config {
        print!("{}", toml::to_string(&config).context("the configuration as TOML")?);
        return Ok(Completion::Whole);
    }
    let steps = match &args.input {
        InputChoice::Script(file) => Some(script::read(file)?),
        InputChoice::Evdev => None,
    };
    let model = bundle::named_or_default(args.model.as_deref())?;
    let bundle = Bundle::open(&model, &args.engine.options(Photographs::Alone))?;
    let (config, chosen) = settled(&config, &bundle.manifest).context("camp.operating_point")?;
    if let Some(chosen) = chosen {
        eprintln!("operating point: {}", in_words(&chosen));
    }
    let journal = open_journal(&config)?;
    let tools = Tools { bundle: &bundle, journal: &journal, config: &config };
    day(&tools, args, steps.as_deref())?;
    Ok(Completion::Whole)
}

/// Opens display and input and works until the script or the program ends.
fn day(tools: &Tools<'_>, args: &KioskArgs, steps: Option<&[Step]>) -> anyhow::Result<()> {
    let config = tools.config;
    let operators = tools.journal.reader()?.operators()?;
    ensure!(!operators.is_empty(), "the journal has no operator yet: edge-infer journal found");
    let language = config.language().map_err(anyhow::Error::msg)?;
    let choice = args.display.clone().map_or_else(|| config.device(), Ok)?;
    let turn = config.turn()?;
    let (sender, messages) = channel();
    let sink = Sink::new(sender.clone());
    let display = display::open(&choice, config.panel(), turn, &sink)?;
    if steps.is_none() && choice != DisplayChoice::Window {
        input::listen(display.native, turn, sink.clone(), |error| tracing::warn!("{error}"))?;
    }
    let stop = sink.clone();
    ctrlc::set_handler(move || stop.end()).context("listening for the end")?;
    let kiosk = Kiosk::new(display.panel, config.setup(operators), language, config.theme());
    let mut stage = Stage::new(kiosk, display.presenter);
    let input = steps.map_or(Input::Person, Input::Script);
    let worked = day::run(&mut stage, input, (sender, messages), tools);
    sink.end();
    Ok(worked?)
}

/// The journal that the configuration names.
///
/// # Errors
/// As [`Journal::open`].
pub fn open_journal(config: &Config) -> anyhow::Result<Journal> {
    let files = &config.journal;
    Ok(Journal::open(Settings::new(files.folder.clone(), files.device_secret.clone()))?)
}
