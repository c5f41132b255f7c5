//! A frame as a PNG file that is either whole or not there.

use std::path::{Path, PathBuf};

use glaucoma_common::files;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};

use super::Frame;

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The file could not be written.
    #[error("{}: cannot write the picture: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The picture could not be encoded.
    #[error("{}: cannot encode the picture: {source}", .path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's reason.
        source: image::ImageError,
    },
}

/// Writes `frame` to `path`; a power cut leaves the old file or the new one.
///
/// # Errors
/// [`PngError`] with the file's name; no temporary file is left behind.
pub fn write(frame: &Frame, path: &Path) -> Result<(), PngError> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    frame
        .pixels()
        .write_with_encoder(encoder)
        .map_err(|source| PngError::Encode { path: path.to_path_buf(), source })?;
    files::write(path, &bytes)
        .map_err(|source| PngError::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_is_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        std::fs::write(&path, b"old").unwrap();
        write(&Frame::new(3, 2), &path).unwrap();
        let back = image::open(&path).unwrap();
        assert_eq!((back.width(), back.height()), (3, 2));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("picture.png");
        let message = write(&Frame::new(1, 1), &path).unwrap_err().to_string();
        assert!(message.contains("picture.png"), "{message}");
    }
}
