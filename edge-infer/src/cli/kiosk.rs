//! `edge-infer kiosk`: the screens of a camp's day.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use glaucoma_kiosk::display::PngDir;
use glaucoma_kiosk::input::script;
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

    /// Where the screens are shown: `png:FOLDER`, a numbered picture of each.
    #[arg(long, value_name = "WHERE", required_unless_present = "print_config")]
    pub display: Option<Png>,

    /// Where touches, buttons and photographs come from: `script:FILE`.
    #[arg(long, value_name = "FROM", required_unless_present = "print_config")]
    pub input: Option<Script>,

    /// The model to use instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// How the network is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `png:FOLDER`.
#[derive(Debug, Clone)]
pub struct Png(PathBuf);

/// `script:FILE`.
#[derive(Debug, Clone)]
pub struct Script(PathBuf);

impl FromStr for Png {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        after(text, "png:").map(Self).ok_or("a display is png:FOLDER")
    }
}

impl FromStr for Script {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        after(text, "script:").map(Self).ok_or("an input is script:FILE")
    }
}

fn after(text: &str, prefix: &str) -> Option<PathBuf> {
    text.strip_prefix(prefix).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Runs the command.
///
/// # Errors
/// A configuration, script or model that cannot be used, a journal that cannot be opened or has no operator
/// yet, a folder that cannot be written.
pub fn run(args: &KioskArgs) -> anyhow::Result<Completion> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let (Some(Png(pictures)), Some(Script(steps)), false) =
        (&args.display, &args.input, args.print_config)
    else {
        print!("{}", toml::to_string(&config).context("the configuration as TOML")?);
        return Ok(Completion::Whole);
    };
    day(&config, args, pictures, steps)
}

/// A day from a script, headless.
fn day(
    config: &Config,
    args: &KioskArgs,
    pictures: &Path,
    steps: &Path,
) -> anyhow::Result<Completion> {
    let steps = script::read(steps)?;
    let model = bundle::named_or_default(args.model.as_deref())?;
    let bundle = Bundle::open(&model, &args.engine.options(Photographs::Alone))?;
    let (config, chosen) = settled(config, &bundle.manifest).context("camp.operating_point")?;
    if let Some(chosen) = chosen {
        eprintln!("operating point: {}", in_words(&chosen));
    }
    let config = &config;
    let journal = open_journal(config)?;
    let operators = journal.reader()?.operators()?;
    ensure!(!operators.is_empty(), "the journal has no operator yet: edge-infer journal found");
    let language = config.language().map_err(anyhow::Error::msg)?;
    let kiosk = Kiosk::new(config.panel(), config.setup(operators), language, config.theme());
    let mut stage = Stage::new(kiosk, PngDir::new(pictures)?);
    let tools = Tools { bundle: &bundle, journal: &journal, config };
    day::run(&mut stage, Input::Script(&steps), &tools)?;
    eprintln!("{}: {} pictures", pictures.display(), stage.presenter.written());
    Ok(Completion::Whole)
}

/// The journal that the configuration names.
///
/// # Errors
/// As [`Journal::open`].
pub fn open_journal(config: &Config) -> anyhow::Result<Journal> {
    let files = &config.journal;
    Ok(Journal::open(Settings::new(files.folder.clone(), files.device_secret.clone()))?)
}
