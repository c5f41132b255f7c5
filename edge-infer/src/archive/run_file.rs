//! `run.json` in the folder of parts: what all parts in it have in common. Whoever comes first
//! writes it, everyone else must agree, so that parts which lie together belong together.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::report::PROGRAM;
use glaucoma_common::files;

const NAME: &str = "run.json";

/// What is the same in every part of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunFile {
    /// The program and its version.
    program: String,
    /// The model.
    model: Model,
    /// How many parts the run has.
    shards: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    version: String,
    sha256: String,
}

/// Why a folder cannot take the parts of this run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not one of this program's.
    #[error("{}: is not the description of a run: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The folder belongs to another run.
    #[error("{}: this folder holds parts of another run: {there}; this run is {here}; name another folder", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// The run that made the folder, in words.
        there: String,
        /// This run, in words.
        here: String,
    },
}

impl RunFile {
    pub(super) fn new(bundle: &Bundle, shards: u32) -> Self {
        let model = Model {
            name: bundle.manifest.name.clone(),
            version: bundle.manifest.version.clone(),
            sha256: bundle.sha256.clone(),
        };
        Self { program: PROGRAM.to_string(), model, shards }
    }

    /// Whether a line of this program and model may stand in one of the run's parts.
    pub(super) fn made(&self, program: &str, model_sha256: &str) -> bool {
        self.program == program && self.model.sha256 == model_sha256
    }

    /// Writes the file, or agrees with the one that is there.
    pub(super) fn agree(&self, folder: &Path) -> Result<(), RunError> {
        let path = folder.join(NAME);
        let io_error = |source| RunError::Io { path: path.clone(), source };
        if !path.exists() {
            self.write_first(&path).map_err(io_error)?;
        }
        let bytes = std::fs::read(&path).map_err(io_error)?;
        let there: Self = serde_json::from_slice(&bytes)
            .map_err(|source| RunError::Unreadable { path: path.clone(), source })?;
        if there == *self {
            return Ok(());
        }
        Err(RunError::Other { path, there: there.in_words(), here: self.in_words() })
    }

    /// Writes the file whole, unless another process is faster: a link, unlike a rename, never
    /// replaces.
    fn write_first(&self, path: &Path) -> io::Result<()> {
        let temporary = files::temporary(path);
        let text = serde_json::to_string(self)? + "\n";
        let mut file = File::create(&temporary)?;
        let linked =
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
                match std::fs::hard_link(&temporary, path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    linked => linked,
                }
            });
        std::fs::remove_file(&temporary)?;
        linked.and_then(|()| files::sync_folder_of(path))
    }

    fn in_words(&self) -> String {
        let Model { name, version, sha256 } = &self.model;
        let start = sha256.get(..12).unwrap_or(sha256);
        let Self { program, shards, .. } = self;
        format!("{program} with the model {name} {version} ({start}...) in {shards} shards")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(sha256: &str, shards: u32) -> RunFile {
        let model = Model { name: "m".into(), version: "1".into(), sha256: sha256.into() };
        RunFile { program: PROGRAM.to_string(), model, shards }
    }

    #[test]
    fn who_comes_second_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| run("aa", 2).agree(folder).unwrap());
            }
        });
        let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        for (other, word) in [(run("bb", 2), "bb..."), (run("aa", 3), "3 shards")] {
            let message = other.agree(folder).unwrap_err().to_string();
            assert!(message.contains("another run") && message.contains(word), "{message}");
        }
        std::fs::write(folder.join(NAME), "{}").unwrap();
        let message = run("aa", 2).agree(folder).unwrap_err().to_string();
        assert!(message.contains("run.json"), "{message}");
    }
}
