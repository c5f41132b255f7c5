//! What an interrupted exam leaves in the folder of sealed photographs, removed at the next start.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{JournalError, Writer, sealed_folder};

impl Writer {
    /// Removes every file that no exam names: its exam was never acknowledged, or its photograph was retired.
    pub(super) fn collect_orphans(&mut self) -> Result<(), JournalError> {
        let folder = sealed_folder(&self.folder);
        let orphans = unnamed(&self.connection, &folder)?;
        if orphans.is_empty() {
            return Ok(());
        }
        for name in &orphans {
            let path = folder.join(name);
            self.disk.remove(&path).map_err(JournalError::io("removing", &path))?;
        }
        self.disk.sync_folder(&folder).map_err(JournalError::io("syncing", &folder))?;
        let details = format!("{} files", orphans.len());
        self.transact("writing down what was removed", |tx, scribe| {
            scribe.append(tx, "orphans_removed", None, Some(&details))
        })
    }
}

/// The names of the files in `folder` that no exam names, in the order of names.
pub fn unnamed(
    connection: &Connection,
    folder: &std::path::Path,
) -> Result<Vec<String>, JournalError> {
    let failed = JournalError::database("listing photographs");
    let mut statement = connection
        .prepare("SELECT sealed_file FROM exams WHERE sealed_file IS NOT NULL")
        .map_err(&failed)?;
    let named = statement.query_map((), |row| row.get(0)).map_err(&failed)?;
    let named: HashSet<String> = named.collect::<Result<_, _>>().map_err(&failed)?;
    let listing = JournalError::io("listing", folder);
    let mut unnamed = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&listing)? {
        let name = entry.map_err(&listing)?.file_name().to_string_lossy().into_owned();
        if !named.contains(&name) {
            unnamed.push(name);
        }
    }
    unnamed.sort();
    Ok(unnamed)
}
