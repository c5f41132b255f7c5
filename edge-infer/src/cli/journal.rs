//! `edge-infer journal`: sets the records up, checks them, counts them, gives them away.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use glaucoma_common::files;
use glaucoma_common::photo::hexadecimal;
use glaucoma_kiosk::words::Language;
use glaucoma_records::clock::Timestamp;
use glaucoma_records::export::Identity;
use glaucoma_records::journal::{Period, Reader};
use glaucoma_records::seal::RecoveryKey;

use super::Completion;
use super::engine::{EngineArgs, Photographs};
use super::kiosk::open_journal;
use crate::bundle::{self, Bundle, BundleError};
use crate::kiosk::Config;
use crate::reports::{self, Format, What, always};

/// Arguments of `journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// What the programme has set up: a TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// What to do with the journal. A PIN is one line of standard input.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Set a new journal up, with its first operator. Once in a device's life.
    Found {
        /// The operator's name.
        #[arg(long, value_name = "NAME")]
        operator: String,
        /// The programme's public recovery key, 64 hexadecimal digits.
        #[arg(long, value_name = "HEX")]
        recovery_key: String,
        /// Where the recovery box is written: with the programme's private key it opens the journal when
        /// every PIN is lost.
        #[arg(long, value_name = "FILE")]
        recovery_box: PathBuf,
    },
    /// Make a pair of recovery keys, on the programme's computer: the private key goes into FILE, the public
    /// one is printed. Needs no journal.
    RecoveryKey {
        /// Where the private key is written.
        #[arg(long, value_name = "FILE")]
        private: PathBuf,
    },
    /// Check database, audit and photographs, and name the first thing that is wrong.
    Verify {
        /// With this operator's PIN also what is sealed is opened and checked.
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
    },
    /// Print the records in numbers, as JSON.
    Summary,
    /// Write visits into a folder: as tables, for archives and servers, as pages to print.
    Export(ExportArgs),
}

/// Arguments of `journal export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The operator whose PIN opens the journal.
    #[arg(long, value_name = "NAME")]
    pub operator: String,
    /// The folder; made where it is missing. Files of an export before are replaced.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// What is written.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', default_value = "csv,json")]
    pub format: Vec<Format>,
    /// Leave out what says who somebody is, and every photograph that may.
    #[arg(long)]
    pub without_identity: bool,
    /// Vouch that no photograph names anybody in its pixels unless its source says that it does: most cameras say
    /// nothing, and their photographs are left out of what is written without identity.
    #[arg(long, requires = "without_identity")]
    pub pixels_name_nobody: bool,
    /// The first day, UTC.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub from: Option<Timestamp>,
    /// The last day, UTC.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub to: Option<Timestamp>,
    /// The language of pages instead of the configuration's: en, hi, es, fr, pt, ar, sw, am.
    #[arg(long, value_name = "CODE")]
    pub language: Option<Language>,
    /// The model that draws outlines again, instead of the one that models/default.txt names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// How the network is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the command.
///
/// # Errors
/// Whatever the journal says; for `verify` the first thing that is wrong.
pub fn run(args: &JournalArgs) -> anyhow::Result<Completion> {
    let config = Config::read(&args.config)?;
    match &args.command {
        JournalCommand::Found { operator, recovery_key, recovery_box } => {
            let journal = open_journal(&config)?;
            journal.found(operator, &pin()?, key(recovery_key)?)?;
            let bytes = journal.recovery_box()?;
            files::write(recovery_box, &bytes)
                .with_context(|| recovery_box.display().to_string())?;
        }
        JournalCommand::RecoveryKey { private } => {
            let (key, public) = RecoveryKey::generate();
            write_private(private, &*key.to_bytes())
                .with_context(|| private.display().to_string())?;
            println!("{}", hexadecimal(&public));
        }
        JournalCommand::Verify { operator } => {
            let verified = match operator {
                None => Reader::open_locked(&config.journal.folder)?.verify(None)?,
                Some(operator) => unlocked(&config, operator)?.verify(None)?,
            };
            let sealed = if verified.opened { "opened" } else { "not opened: no PIN" };
            println!(
                "{} records, {} rows of audit, {} photographs ({sealed}): nothing is wrong\nhead {}",
                verified.records,
                verified.audit_rows,
                verified.photographs,
                hexadecimal(&verified.head)
            );
        }
        JournalCommand::Summary => {
            let summary = Reader::open_locked(&config.journal.folder)?.summary(always())?;
            println!("{}", serde_json::to_string(&summary)?);
        }
        JournalCommand::Export(args) => return export(&config, args),
    }
    Ok(Completion::Whole)
}

fn export(config: &Config, args: &ExportArgs) -> anyhow::Result<Completion> {
    let language = match args.language {
        Some(language) => language,
        None => config.language().map_err(anyhow::Error::msg)?,
    };
    let drawn = [Format::Dicom, Format::Pdf, Format::Png];
    let draws = args.format.iter().any(|format| drawn.contains(format));
    let bundle = if draws { model(args)? } else { None };
    let always = always();
    let what = What {
        formats: &args.format,
        identity: if args.without_identity { Identity::Removed } else { Identity::Kept },
        vouched: args.pixels_name_nobody,
        period: Period {
            from: args.from.unwrap_or(always.from),
            to: args.to.map_or(always.to, |day| day.after(DAY_S)),
        },
        language,
        bundle: bundle.as_ref(),
        programme: &config.device.programme(),
    };
    let done = reports::export(&unlocked(config, &args.operator)?, &args.out, &what)?;
    println!("{}: {} visits, {} files", args.out.display(), done.visits, done.files);
    Ok(if done.problems.is_empty() { Completion::Whole } else { Completion::Partial })
}

/// The model named, or the default; without a default pages have no outlines.
fn model(args: &ExportArgs) -> anyhow::Result<Option<Bundle>> {
    let path = match bundle::named_or_default(args.model.as_deref()) {
        Err(error @ BundleError::NoDefault { .. }) => {
            tracing::warn!("photographs are without outlines: {error}");
            return Ok(None);
        }
        found => found?,
    };
    Ok(Some(Bundle::open(&path, &args.engine.options(Photographs::Alone))?))
}

const DAY_S: u64 = 86_400;

/// The first second of a day.
fn day(text: &str) -> Result<Timestamp, &'static str> {
    let time = Some(format!("{text}T00:00:00Z")).filter(|_| text.len() == 10);
    time.and_then(|time| Timestamp::parse(&time)).ok_or("a day is written 2026-05-01")
}

fn unlocked(config: &Config, operator: &str) -> anyhow::Result<Reader> {
    let journal = open_journal(config)?;
    journal.unlock(operator, &pin()?)?;
    Ok(journal.reader()?)
}

/// Writes a new file that its owner alone may read; one that is there stays.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// One line of standard input.
fn pin() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the PIN")?;
    let pin = line.trim_end_matches(['\r', '\n']).to_owned();
    ensure!(!pin.is_empty(), "no PIN: give it as one line of standard input");
    Ok(pin)
}

fn key(text: &str) -> anyhow::Result<[u8; 32]> {
    let digits: Option<Vec<u8>> = (text.len() == 64 && text.is_ascii())
        .then(|| (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect())
        .flatten();
    let bytes = digits.and_then(|bytes| bytes.try_into().ok());
    bytes.context("a public recovery key is 64 hexadecimal digits")
}
