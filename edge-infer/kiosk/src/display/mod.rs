//! From a page to a display: a frame in memory, and what carries it outside.

mod frame;
mod png_dir;

use embedded_graphics::primitives::Rectangle;

pub use frame::Frame;
pub use png_dir::{PngDir, write_png};

/// Carries frames to a display. Colours are converted and pictures turned here and nowhere else.
pub trait Presenter {
    /// Shows the frame; only the pixels inside `damage` differ from the frame shown before.
    ///
    /// # Errors
    /// When the display is gone or refuses.
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError>;
}

/// Why a frame could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DisplayError {
    /// A file could not be written.
    #[error("{}: cannot write the picture: {source}", .path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A picture could not be encoded.
    #[error("{}: cannot encode the picture: {source}", .path.display())]
    Encode {
        /// The file.
        path: std::path::PathBuf,
        /// The encoder's reason.
        source: image::ImageError,
    },
}
