//! The files that stood in the watched folders at a moment: told by their presence alone, for a camera's clock may
//! be wrong.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use glaucoma_exchange::intake::LeaveOut;
use walkdir::WalkDir;

/// As many as an intake looks at of one folder.
const MOST_FILES: usize = 100_000;

/// How a file looked.
type Look = (u64, Option<SystemTime>);

/// See the module.
#[derive(Debug, Default)]
pub struct Standing(HashMap<PathBuf, Look>);

impl Standing {
    /// Those that stand there now. What cannot be listed does not.
    #[must_use]
    pub fn now(folders: &[PathBuf]) -> Self {
        let entries = folders
            .iter()
            .flat_map(|folder| WalkDir::new(folder).into_iter().take(MOST_FILES).flatten());
        let files = entries.filter(|entry| entry.file_type().is_file());
        let looks = files.filter_map(|file| {
            let look = look(&file.metadata().ok()?);
            Some((file.into_path(), look))
        });
        Self(looks.collect())
    }

    /// Whether a photograph's origin stood there and is still the same file: its path, or that of an archive and its
    /// name within.
    #[must_use]
    pub fn holds(&self, origin: &str) -> bool {
        let archive = origin.split_once('!').map(|(archive, _)| archive);
        [Some(origin), archive].into_iter().flatten().any(|path| {
            let path = Path::new(path);
            path.metadata().is_ok_and(|now| self.still(path, &now))
        })
    }

    fn still(&self, path: &Path, now: &Metadata) -> bool {
        self.0.get(path).is_some_and(|before| *before == look(now))
    }
}

/// Photographs, by their SHA-256, that are to be written down as left out, and where to say whether they are.
pub type Asked = (Vec<String>, SyncSender<bool>);

/// What the intakes of folders are told: what stands there, and where they say what they left out.
#[derive(Debug)]
pub struct PassOver {
    /// Shared with what waits.
    pub standing: Arc<RwLock<Standing>>,
    /// To whoever writes it down.
    pub writer: Sender<Asked>,
}

impl LeaveOut for PassOver {
    fn stands(&self, path: &Path, now: &Metadata) -> bool {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).still(path, now)
    }

    fn written(&self, photographs: &[String]) -> bool {
        let (answer, answered) = sync_channel(1);
        let asked = self.writer.send((photographs.to_vec(), answer));
        asked.is_ok() && answered.recv() == Ok(true)
    }
}

fn look(metadata: &Metadata) -> Look {
    (metadata.len(), metadata.modified().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_stands_there_while_it_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let origin = |name: &str| at(name).display().to_string();
        std::fs::create_dir(at("DCIM")).unwrap();
        for name in ["DCIM/1.jpg", "DCIM/2.jpg", "export.zip"] {
            std::fs::write(at(name), name).unwrap();
        }
        let standing = Standing::now(&[folder.path().to_owned(), at("absent")]);
        std::fs::write(at("DCIM/3.jpg"), "later").unwrap();
        // A camera that counts from the beginning again.
        std::fs::write(at("DCIM/2.jpg"), "another picture").unwrap();
        let held = ["DCIM/1.jpg", "DCIM/2.jpg", "DCIM/3.jpg", "export.zip!a/1.jpg", "dicom:FUNDUS"]
            .map(|name| standing.holds(&origin(name)));
        assert_eq!(held, [true, false, false, true, false]);
        assert!(!Standing::default().holds(&origin("DCIM/1.jpg")));
    }
}
