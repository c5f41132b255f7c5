//! What leaves the device in files: tables, transactions, DICOM objects and pages, for an archive or a stick.
//!
//! Every file is whole or not there, on the disk before the next is begun, and named so that an export that was
//! interrupted can be repeated over itself. What cannot be written of one visit is told and does not stop the others;
//! a disk that fails does.

pub(crate) mod page;
mod pdf;
mod visit;

pub mod stick;

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use glaucoma_common::files;
use glaucoma_exchange::fhir::Programme;
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::words::Language;
use glaucoma_records::clock::Timestamp;
use glaucoma_records::export::{ExportError, Identity, export_csv, export_json};
use glaucoma_records::journal::{JournalError, Period, Reader};

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `visits.csv`: one line a visit.
    Csv,
    /// `visits.json`: all visits with all photographs' findings.
    Json,
    /// `fhir/UID.json`: a FHIR R4 transaction a visit.
    Fhir,
    /// `dicom/UID.dcm`: each photograph unchanged, and each eye's result as a picture.
    Dicom,
    /// `reports/UID.pdf`: a page of A4 a visit.
    Pdf,
    /// `reports/UID.png`: the same page as a picture.
    Png,
}

/// What is exported, and how.
pub struct What<'a> {
    /// The kinds of files.
    pub formats: &'a [Format],
    /// Whether they say who somebody is.
    pub identity: Identity,
    /// Whether the programme vouches that photographs name nobody of which their source says nothing. Without this,
    /// and of any whose source says that they do, none leaves the device de-identified.
    pub vouched: bool,
    /// The visits begun in this time.
    pub period: Period,
    /// The language of pages and pictures.
    pub language: Language,
    /// The model, with which outlines are drawn again of photographs that it examined; `None`: without outlines.
    pub bundle: Option<&'a Bundle>,
    /// Whose numbers and devices these are.
    pub programme: &'a Programme,
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Visits of the period.
    pub visits: u32,
    /// Files.
    pub files: u32,
    /// Photographs that were left out of a de-identified export because they may show who somebody is.
    pub withheld: u32,
    /// Photographs whose source says that they show who somebody is, and that were written.
    pub burned_in: u32,
    /// Pictures of graded photographs without outlines, because another model examined them.
    pub without_outlines: u32,
    /// What could not be written of single visits: the file's name and why.
    pub problems: Vec<String>,
}

/// Why an export was broken off.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// The records could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// They could not be put into words.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file or folder could not be written.
    #[error("{}: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// All time that can be written down.
#[must_use]
pub fn always() -> Period {
    Period { from: Timestamp::from_seconds(0), to: Timestamp::from_seconds(u64::MAX) }
}

/// Writes what is wanted into `folder`, which is made where it is missing.
///
/// # Errors
/// [`ReportsError`]: the journal is locked or altered, or a file could not be written. What was written before is
/// whole; the same call again writes it anew.
pub fn export(reader: &Reader, folder: &Path, what: &What) -> Result<Done, ReportsError> {
    let visits = reader.visits_in(what.period)?;
    for part in ["", "fhir", "dicom", "reports"] {
        sweep(&folder.join(part));
    }
    let mut out = Out { folder, done: Done::default() };
    out.done.visits = count(visits.len());
    if what.formats.contains(&Format::Csv) {
        let mut csv = Vec::new();
        export_csv(&visits, what.identity, &mut csv)?;
        out.write("visits.csv", &csv)?;
    }
    let head = reader.head()?;
    if what.formats.contains(&Format::Json) {
        let mut json = Vec::new();
        export_json(&visits, what.identity, head, &mut json)?;
        out.write("visits.json", &json)?;
    }
    let writer = visit::Writer { reader, what, head, setter: Typesetter::new() };
    for recorded in &visits {
        writer.write(recorded, &mut out)?;
    }
    tell(&out.done);
    Ok(out.done)
}

/// Warns, without a word of any person.
fn tell(done: &Done) {
    let Done { withheld, burned_in, without_outlines, problems, .. } = done;
    for problem in problems {
        tracing::warn!("not exported: {problem}");
    }
    if *burned_in > 0 {
        tracing::warn!(
            "identity in the picture: {burned_in} exported photographs show who somebody is"
        );
    }
    if *withheld > 0 {
        tracing::warn!("{withheld} photographs may show who somebody is and were left out");
    }
    if *without_outlines > 0 {
        tracing::warn!(
            "{without_outlines} pictures are without outlines: another model examined them"
        );
    }
}

/// Writes what is wanted into `FOLDER/edge-infer-DATE-DEVICE/`, where `folder` is a stick ([`stick::stick`]), the
/// date is `today`'s and the device is called by its serial number. Says how many visits there are.
///
/// # Errors
/// As [`export`].
pub fn export_day(
    reader: &Reader,
    folder: &Path,
    today: Timestamp,
    what: &What,
) -> Result<u32, ReportsError> {
    let date: String = today.to_string().chars().take(10).collect();
    // A name that every file system takes, FAT's too.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let device = what.programme.station.serial.replace(|letter| !plain(letter), "_");
    let folder = folder.join(format!("edge-infer-{date}-{device}"));
    Ok(export(reader, &folder, what)?.visits)
}

/// Where files go, and what went there.
struct Out<'a> {
    folder: &'a Path,
    done: Done,
}

impl Out<'_> {
    /// Writes a file, durably: the folders above it too.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportsError> {
        let path = self.folder.join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ReportsError::Write { path, source }
        };
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            make_folder(parent).map_err(failed(parent))?;
        }
        files::write(&path, bytes).map_err(failed(&path))?;
        self.done.files += 1;
        Ok(())
    }

    fn problem(&mut self, name: &str, why: &dyn std::fmt::Display) {
        self.done.problems.push(format!("{}: {why}", self.folder.join(name).display()));
    }
}

/// Removes what an interrupted export had not finished; a left-over that stays is only untidy.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "partial") && path.is_file() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Makes a folder and those above it, their names on the disk.
fn make_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent().filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
        make_folder(parent)?;
    }
    std::fs::create_dir(folder)?;
    files::sync_folder_of(folder)
}

fn count(length: usize) -> u32 {
    length.try_into().unwrap_or(u32::MAX)
}
