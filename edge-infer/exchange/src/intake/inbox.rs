//! The device's own folder for what came in: every photograph once, durable before it is acknowledged.
//!
//! `SHA256.photo` holds the bytes, `SHA256.json` what was said of them, written first; `taken.txt` a line for
//! each photograph that was ever taken, so that a card which stays in its slot is not examined twice.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};

use glaucoma_common::{files, photo};
use serde::{Deserialize, Serialize};

use super::{Hints, Incoming, IntakeError, Offered};

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    folder: PathBuf,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    list: File,
    hashes: HashSet<String>,
}

/// What `SHA256.json` holds.
#[derive(Serialize, Deserialize)]
struct Said {
    origin: String,
    hints: Hints,
}

impl Inbox {
    /// Opens the folder, which is made where it is missing.
    ///
    /// # Errors
    /// Where the folder or its list cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, IntakeError> {
        std::fs::create_dir_all(folder).map_err(failed("making the folder", folder))?;
        let path = folder.join("taken.txt");
        let list = File::options().create(true).append(true).open(&path);
        let mut list = list.map_err(failed("opening", &path))?;
        let text = std::fs::read(&path).map_err(failed("reading", &path))?;
        if text.last().is_some_and(|&byte| byte != b'\n') {
            // A power cut left half a line: end it, or the next one is lost with it.
            list.write_all(b"\n").map_err(failed("mending", &path))?;
        }
        let text = String::from_utf8_lossy(&text);
        let hashes = text.lines().filter(|line| line.len() == 64).map(str::to_owned).collect();
        Ok(Self { folder: folder.to_owned(), taken: Mutex::new(Taken { list, hashes }) })
    }

    /// Sends what a former run took and no one settled. To be called at the start, before the intakes; waits
    /// for room in the channel, so the receiver must be at work.
    ///
    /// # Errors
    /// Where the folder cannot be read. A pair of which half is missing is left alone.
    pub fn hand_out_left_over(&self, sender: &SyncSender<Incoming>) -> Result<usize, IntakeError> {
        let entries = std::fs::read_dir(&self.folder).map_err(failed("listing", &self.folder))?;
        let mut copies: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "photo"))
            .collect();
        copies.sort();
        let mut sent = 0;
        for copy in copies {
            let bytes = std::fs::read(&copy).map_err(failed("reading", &copy))?;
            let said = std::fs::read(copy.with_extension("json"))
                .ok()
                .and_then(|json| serde_json::from_slice::<Said>(&json).ok())
                .unwrap_or_else(|| Said { origin: "inbox".into(), hints: Hints::default() });
            let sha256 = photo::sha256_hex(&bytes);
            self.note(&sha256)?;
            let incoming = Incoming { bytes, sha256, origin: said.origin, hints: said.hints, copy };
            if sender.send(incoming).is_err() {
                break;
            }
            sent += 1;
        }
        Ok(sent)
    }

    /// Keeps a photograph and sends it, unless it is known or there is no room.
    pub(super) fn offer(
        &self,
        bytes: Vec<u8>,
        origin: String,
        hints: Hints,
        sender: &SyncSender<Incoming>,
    ) -> Result<Offered, IntakeError> {
        let sha256 = photo::sha256_hex(&bytes);
        // Held throughout: the same photograph from two senders at once must be taken once.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.hashes.contains(&sha256) {
            return Ok(Offered::Known);
        }
        let copy = self.folder.join(format!("{sha256}.photo"));
        let said = copy.with_extension("json");
        let json = serde_json::to_vec(&Said { origin: origin.clone(), hints: hints.clone() })
            .map_err(|error| failed("wording", &said)(io::Error::other(error)))?;
        let kept = files::write(&said, &json)
            .map_err(failed("writing", &said))
            .and_then(|()| files::write(&copy, &bytes).map_err(failed("writing", &copy)));
        if let Err(error) = kept {
            let _ = remove(&copy);
            return Err(error);
        }
        match sender.try_send(Incoming { bytes, sha256: sha256.clone(), origin, hints, copy }) {
            Ok(()) => {
                taken.note(&[sha256]).map_err(failed("adding to taken.txt in", &self.folder))?;
                Ok(Offered::Taken)
            }
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                remove(&back.copy)?;
                Ok(Offered::Full)
            }
        }
    }

    /// Whether a photograph was ever taken or left out.
    pub(super) fn knows(&self, sha256: &str) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).hashes.contains(sha256)
    }

    /// Knows photographs from now on without taking them, once `written` has put those of them durably down that were not
    /// known. Says whether it has; if not, nothing is known that was not before.
    pub(super) fn pass_over(
        &self,
        mut photographs: Vec<String>,
        written: impl FnOnce(&[String]) -> bool,
    ) -> Result<bool, IntakeError> {
        // Held throughout: none of them may be taken meanwhile.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = HashSet::new();
        photographs.retain(|one| !taken.hashes.contains(one) && new.insert(one.clone()));
        if photographs.is_empty() {
            return Ok(true);
        }
        if !written(&photographs) {
            return Ok(false);
        }
        taken.note(&photographs).map_err(failed("adding to taken.txt in", &self.folder))?;
        Ok(true)
    }

    fn note(&self, sha256: &str) -> Result<(), IntakeError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.note(&[sha256.to_owned()]).map_err(failed("adding to taken.txt in", &self.folder))
    }
}

impl Taken {
    fn note(&mut self, photographs: &[String]) -> io::Result<()> {
        let mut lines = String::new();
        for sha256 in photographs {
            if self.hashes.insert(sha256.clone()) {
                lines.extend([sha256, "\n"]);
            }
        }
        if !lines.is_empty() {
            self.list.write_all(lines.as_bytes())?;
            self.list.sync_data()?;
        }
        Ok(())
    }
}

/// Removes a photograph and what was said of it; one that is gone already is no error.
pub(super) fn remove(copy: &Path) -> Result<(), IntakeError> {
    // The photograph first: words without one are never handed out.
    for path in [copy.to_owned(), copy.with_extension("json")] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("removing", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> IntakeError + 'a {
    move |source| IntakeError::Inbox { step, path: path.to_owned(), source }
}
