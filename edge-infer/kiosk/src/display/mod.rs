//! From a page to a display: a frame in memory, and what carries it outside.

#[cfg(feature = "drm")]
mod drm;
mod frame;
mod png_dir;
mod turn;

use embedded_graphics::primitives::Rectangle;

#[cfg(feature = "drm")]
pub use drm::DrmDisplay;
pub use frame::Frame;
pub use png_dir::{PngDir, png, write_png};
pub use turn::Turn;

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
    /// There is no display.
    #[cfg(feature = "drm")]
    #[error("{}: no connected display: {reasons}", .folder.display())]
    NoDisplay {
        /// Where it was looked for.
        folder: std::path::PathBuf,
        /// What each card said.
        reasons: String,
    },
    /// A display refused.
    #[cfg(feature = "drm")]
    #[error("{}: cannot {step}: {source}", .path.display())]
    Device {
        /// Its device file.
        path: std::path::PathBuf,
        /// What was tried.
        step: &'static str,
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
