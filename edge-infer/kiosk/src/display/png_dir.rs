//! A folder of numbered PNG files in place of a display: each frame that differs from the one before.

use std::path::{Path, PathBuf};

use embedded_graphics::primitives::Rectangle;
use glaucoma_common::files;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageError, RgbImage};

use super::{DisplayError, Frame, Presenter};

/// Writes `0001.png`, `0002.png` and so on into a folder.
#[derive(Debug)]
pub struct PngDir {
    folder: PathBuf,
    written: u32,
}

impl PngDir {
    /// Makes the folder where it is not there yet.
    ///
    /// # Errors
    /// [`DisplayError::Write`] when it cannot be made.
    pub fn new(folder: &Path) -> Result<Self, DisplayError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| DisplayError::Write { path: folder.to_path_buf(), source })?;
        Ok(Self { folder: folder.to_path_buf(), written: 0 })
    }

    /// Pictures written so far.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.written
    }
}

impl Presenter for PngDir {
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        if damage.is_zero_sized() {
            return Ok(());
        }
        let path = self.folder.join(format!("{:04}.png", self.written + 1));
        write_png(frame, &path)?;
        self.written += 1;
        Ok(())
    }
}

/// The picture as a PNG file's bytes. What is written while somebody waits is compressed fast, which costs photographs
/// little size; what is kept or sent is compressed as usual, which halves a page of text.
///
/// # Errors
/// The encoder's.
pub fn png(picture: &RgbImage, compression: CompressionType) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, compression, FilterType::Adaptive);
    picture.write_with_encoder(encoder)?;
    Ok(bytes)
}

/// Writes the frame as a PNG file that is either whole or not there.
///
/// # Errors
/// [`DisplayError`] with the file's name; no temporary file is left behind.
pub fn write_png(frame: &Frame, path: &Path) -> Result<(), DisplayError> {
    let bytes = png(&frame.to_image(), CompressionType::Fast)
        .map_err(|source| DisplayError::Encode { path: path.to_path_buf(), source })?;
    files::write(path, &bytes)
        .map_err(|source| DisplayError::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use embedded_graphics::prelude::*;

    use super::*;

    #[test]
    fn pictures_are_numbered_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut presenter = PngDir::new(&folder.path().join("new")).unwrap();
        let frame = Frame::new(Size::new(3, 2));
        presenter.present(&frame, frame.bounding_box()).unwrap();
        presenter.present(&frame, Rectangle::zero()).unwrap();
        presenter.present(&frame, frame.bounding_box()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path().join("new"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["0001.png", "0002.png"]);
        let back = image::open(folder.path().join("new/0001.png")).unwrap();
        assert_eq!((back.width(), back.height()), (3, 2));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("picture.png");
        let frame = Frame::new(Size::new(1, 1));
        let message = write_png(&frame, &path).unwrap_err().to_string();
        assert!(message.contains("picture.png"), "{message}");
    }
}
