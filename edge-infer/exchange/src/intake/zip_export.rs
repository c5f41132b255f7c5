//! The photographs in a camera's ZIP export, under limits.

use std::io::{Read, Seek};
use std::path::Path;

use zip::ZipArchive;

/// Most entries of one export.
const MAX_ENTRIES: usize = 4096;

/// Most bytes that one export may unpack to, all photographs together.
const MAX_TOTAL: u64 = 4 << 30;

/// Why an export is not, or not wholly, opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ZipError {
    /// Not a ZIP file, or damaged, or the card went.
    #[error("not a whole ZIP file: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// The card went, or an entry is damaged.
    #[error("an entry cannot be read: {0}")]
    Entry(#[from] std::io::Error),
    /// A bomb, or not what a camera writes.
    #[error("more than {0} in it")]
    TooMuch(&'static str),
}

/// Gives every photograph of the archive to `take`, with its name, until that returns false. Entries of more than
/// `max_bytes` unpacked are passed over; what is declared is not believed, what is unpacked is counted.
pub(super) fn each_photograph(
    file: impl Read + Seek,
    max_bytes: usize,
    mut take: impl FnMut(&str, Vec<u8>) -> bool,
) -> Result<(), ZipError> {
    let mut archive = ZipArchive::new(file)?;
    if archive.len() > MAX_ENTRIES {
        return Err(ZipError::TooMuch("4096 entries"));
    }
    let mut total = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let Ok(name) = entry.name().map(|name| name.into_owned()) else { continue };
        if !entry.is_file() || !super::folder::is_photograph(Path::new(&name)) {
            continue;
        }
        let mut bytes = Vec::new();
        let limit = max_bytes as u64 + 1;
        total += entry.take(limit).read_to_end(&mut bytes)? as u64;
        if total > MAX_TOTAL {
            return Err(ZipError::TooMuch("4 GiB"));
        }
        if bytes.len() <= max_bytes && !take(&name, bytes) {
            break;
        }
    }
    Ok(())
}
