//! The photographs in a folder and the folders below it.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::{Found, Photograph, Place, Problem, is_hidden, is_photograph};

/// Walks through `folder` in the order of names, following links. `results` is left out. What is
/// held at a time are the names of one folder and of those above it.
pub fn walk(folder: &Path, results: Option<&Path>) -> impl Iterator<Item = Found> + Send + use<> {
    let folder = folder.to_path_buf();
    let results = results.and_then(|path| path.canonicalize().ok());
    let wanted = move |entry: &DirEntry| {
        let own = results.is_some() && entry.path().canonicalize().ok() == results;
        entry.depth() == 0 || !(is_hidden(entry.file_name()) || own)
    };
    let entries = WalkDir::new(&folder).follow_links(true).sort_by_file_name();
    entries.into_iter().filter_entry(wanted).filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_file() && is_photograph(entry.path()) => {
            let below = entry.path().strip_prefix(&folder).unwrap_or(entry.path()).to_path_buf();
            let place = Place::File(entry.into_path());
            Some(Ok(Photograph { place, below: Some(below) }))
        }
        Ok(_) => None,
        Err(error) => Some(Err(problem(error, &folder))),
    })
}

fn problem(error: walkdir::Error, folder: &Path) -> Problem {
    let place = error.path().unwrap_or(folder).display().to_string();
    let reason = match error.into_io_error() {
        Some(error) => format!("cannot be read: {error}"),
        None => "is a link that leads back to a folder it lies in".to_string(),
    };
    Problem { place, message: format!("the path {reason}") }
}
