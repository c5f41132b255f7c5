//! Decoded photographs and masks on disk, so that large files are decoded once and not every run.
//!
//! An entry's name is the SHA-256 of everything it depends on: the bytes of the file, the input
//! contract, the side, and a fingerprint of the preprocessing code itself. A changed file or a changed
//! program therefore finds no entry; nothing has to be invalidated by hand.

use super::DatasetError;
use glaucoma_common::photo::{hexadecimal, sha256_hex};
use glaucoma_common::preprocess::{Framing, InputContract, ResizeFilter, prepare};
use image::RgbImage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Changes with the meaning of an entry's bytes.
const MAGIC: &[u8; 8] = b"GTCACHE1";

/// A folder of entries. Several processes may share it: entries appear whole or not at all.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    fingerprint: String,
}

/// What precedes an entry's payload.
#[derive(Serialize, Deserialize)]
struct Header<F> {
    facts: F,
    length: usize,
    sha256: String,
}

impl Cache {
    /// Opens the folder, making it where it is not there.
    ///
    /// # Errors
    /// [`DatasetError::Io`] when it cannot be made; [`DatasetError::Preprocess`] when the
    /// preprocessing refuses the test picture of its fingerprint.
    pub fn open(dir: &Path) -> Result<Self, DatasetError> {
        std::fs::create_dir_all(dir).map_err(|source| DatasetError::io(dir, source))?;
        Ok(Self { dir: dir.to_path_buf(), fingerprint: fingerprint()? })
    }

    /// The name of an entry that depends on `parts` (and on the preprocessing code).
    pub(crate) fn key(&self, parts: &[&str]) -> String {
        let mut hash = Sha256::new().chain_update(&self.fingerprint);
        for part in parts {
            // Lengths, so that no two lists of parts run together into the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hexadecimal(&hash.finalize())
    }

    /// Reads an entry; `None` when it is not there or is damaged (which is said in the log).
    pub(crate) fn read<F: DeserializeOwned>(&self, key: &str) -> Option<(F, Vec<u8>)> {
        let path = self.path(key);
        let bytes = std::fs::read(&path).ok()?;
        let entry = parse(&bytes);
        if entry.is_none() {
            tracing::warn!(file = %path.display(), "a damaged cache entry is made anew");
        }
        entry
    }

    /// Writes an entry: to a temporary name first, renamed when it is safely on the disk.
    pub(crate) fn write<F: Serialize>(
        &self,
        key: &str,
        facts: F,
        payload: &[u8],
    ) -> Result<(), DatasetError> {
        let path = self.path(key);
        let header = Header { facts, length: payload.len(), sha256: sha256_hex(payload) };
        let header =
            serde_json::to_vec(&header).map_err(|e| DatasetError::table(&path, e.to_string()))?;
        let io = |source| DatasetError::io(&path, source);
        let folder = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(folder).map_err(io)?;
        let length = (header.len() as u32).to_le_bytes();
        let entry = [MAGIC.as_slice(), &length, &header, payload].concat();
        glaucoma_common::files::write(&path, &entry).map_err(io)
    }

    /// Entries lie in folders of their first two digits, as some file systems slow down in large folders.
    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(&key[..2.min(key.len())]).join(key)
    }
}

fn parse<F: DeserializeOwned>(bytes: &[u8]) -> Option<(F, Vec<u8>)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (header, payload) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let header: Header<F> = serde_json::from_slice(header).ok()?;
    let whole = payload.len() == header.length && sha256_hex(payload) == header.sha256;
    whole.then(|| (header.facts, payload.to_vec()))
}

/// A hash of what the preprocessing makes of a test picture in each framing: it changes when the code does.
fn fingerprint() -> Result<String, DatasetError> {
    let picture = RgbImage::from_fn(240, 180, |x, y| {
        let (dx, dy) = (f64::from(x) - 123.0, f64::from(y) - 92.0);
        let inside = dx.hypot(dy) < 80.0;
        let level = |value: u32| if inside { 60 + (value % 160) as u8 } else { 0 };
        image::Rgb([level(2 * x + y), level(x * y / 7), level(x + 3 * y)])
    });
    let mut hash = Sha256::new();
    for framing in [Framing::FieldOfView, Framing::WholeImage] {
        let contract = InputContract {
            side: 64,
            framing,
            filter: ResizeFilter::AntialiasedBilinear,
            scale: 1.0,
        };
        let prepared = prepare(&picture, &contract).map_err(|cause| DatasetError::Preprocess {
            path: "(test picture of the cache)".into(),
            cause,
        })?;
        hash.update(prepared.pixels.as_raw());
        hash.update(format!("{:?}", prepared.placement));
    }
    Ok(hexadecimal(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn gives_back_what_was_written_and_nothing_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("new")).unwrap();
        let key = cache.key(&["a", "bc"]);
        assert_ne!(key, cache.key(&["ab", "c"]));
        assert!(cache.read::<u32>(&key).is_none());
        cache.write(&key, 7u32, b"payload").unwrap();
        assert_eq!(cache.read::<u32>(&key).unwrap(), (7, b"payload".to_vec()));
        let path = cache.path(&key);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(cache.read::<u32>(&key).is_none(), "cut at {cut}");
        }
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(cache.read::<u32>(&key).is_none());
    }
}
