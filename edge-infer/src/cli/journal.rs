//! `edge-infer journal`: sets the records up, checks them, counts them, gives them away.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use glaucoma_common::files;
use glaucoma_common::photo::hexadecimal;
use glaucoma_records::export::Identity;
use glaucoma_records::journal::Reader;
use glaucoma_records::seal::RecoveryKey;

use super::Completion;
use super::kiosk::open_journal;
use crate::kiosk::Config;
use crate::kiosk::records::{always, export};

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
    /// Write all visits as CSV and JSON.
    Export {
        /// The operator whose PIN opens the journal.
        #[arg(long, value_name = "NAME")]
        operator: String,
        /// The folder.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Leave out what says who somebody is.
        #[arg(long)]
        without_identity: bool,
    },
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
        JournalCommand::Export { operator, out, without_identity } => {
            let identity = if *without_identity { Identity::Removed } else { Identity::Kept };
            let count = export(&unlocked(&config, operator)?, out, identity)?;
            println!("{}: {count} visits", out.display());
        }
    }
    Ok(Completion::Whole)
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
