//! The journal's records as files for others.

use std::path::{Path, PathBuf};

use glaucoma_common::files;
use glaucoma_records::clock::Timestamp;
use glaucoma_records::export::{ExportError, Identity, export_csv, export_json};
use glaucoma_records::journal::{JournalError, Period, Reader};

/// Why the records were not written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// They could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// They could not be put into words.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file could not be written.
    #[error("{}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// All time that can be written down.
#[must_use]
pub fn always() -> Period {
    Period { from: Timestamp::from_seconds(0), to: Timestamp::from_seconds(u64::MAX) }
}

/// Writes all visits as `visits.csv` and `visits.json` into `folder`, and says how many there are.
///
/// # Errors
/// [`RecordsError`]; a file that was there before is then as it was.
pub fn export(reader: &Reader, folder: &Path, identity: Identity) -> Result<u32, RecordsError> {
    let visits = reader.visits_in(always())?;
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    export_csv(&visits, identity, &mut csv)?;
    export_json(&visits, identity, reader.head()?, &mut json)?;
    for (name, bytes) in [("visits.csv", csv), ("visits.json", json)] {
        let path = folder.join(name);
        files::write(&path, &bytes).map_err(|source| RecordsError::Write { path, source })?;
    }
    Ok(visits.len().try_into().unwrap_or(u32::MAX))
}
