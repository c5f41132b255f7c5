//! From a page to a display: a frame in memory, and what carries it outside.

mod choice;
#[cfg(feature = "drm")]
mod drm;
#[cfg(feature = "fbdev")]
mod fbdev;
mod frame;
mod layout;
mod png_dir;
#[cfg(feature = "spi")]
mod spi;
mod spi_panel;
mod turn;
#[cfg(feature = "window")]
mod window;

use std::path::{Path, PathBuf};

use embedded_graphics::prelude::Size;
use embedded_graphics::primitives::Rectangle;

pub use choice::{DisplayChoice, NoSuchDisplay};
#[cfg(feature = "drm")]
pub use drm::DrmDisplay;
#[cfg(feature = "fbdev")]
pub use fbdev::FbdevDisplay;
pub use frame::Frame;
pub use layout::{Channel, Layout};
pub use png_dir::{PngDir, png, write_png};
pub use spi_panel::{Chip, SpiPanel};
pub use turn::{NoSuchTurn, Turn};
#[cfg(feature = "window")]
pub use window::WindowDisplay;

use crate::input::Sink;
use crate::panel::Panel;

/// Carries frames to a display. Colours are converted and pictures turned here and nowhere else.
pub trait Presenter {
    /// Shows the frame; only the pixels inside `damage` differ from the frame shown before.
    ///
    /// # Errors
    /// When the display is gone or refuses.
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError>;
}

impl<P: Presenter + ?Sized> Presenter for Box<P> {
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        (**self).present(frame, damage)
    }
}

/// A display that is open.
pub struct OpenDisplay {
    /// Carries frames to it.
    pub presenter: Box<dyn Presenter + Send>,
    /// The panel to draw for: as it is looked at.
    pub panel: Panel,
    /// Its own pixels, before the turn: touches are scaled to them.
    pub native: Size,
}

/// Opens a display. `panel` says how large a picture or a window is to be, and how large a pixel is where the
/// display does not say; `turn` how a device is mounted (pictures and windows stand upright). A window sends its
/// touches and buttons into `sink`, and ends it when it is closed.
///
/// # Errors
/// [`DisplayError`]; [`DisplayError::NotBuilt`] where this program was built without the display.
pub fn open(
    choice: &DisplayChoice,
    panel: Panel,
    turn: Turn,
    sink: &Sink,
) -> Result<OpenDisplay, DisplayError> {
    match choice {
        DisplayChoice::Drm(path) => open_drm(path, panel, turn),
        DisplayChoice::Fbdev(path) => open_fbdev(path, panel, turn),
        DisplayChoice::Window => open_window(panel, sink),
        DisplayChoice::Spi(spi) => open_spi(spi, panel, turn),
        DisplayChoice::Png(folder) => Ok(as_it_is(PngDir::new(folder)?, panel)),
    }
}

/// A display that is as large as was asked for, and upright.
fn as_it_is(presenter: impl Presenter + Send + 'static, panel: Panel) -> OpenDisplay {
    OpenDisplay { presenter: Box::new(presenter), panel, native: panel.size }
}

#[cfg(feature = "drm")]
fn open_drm(path: &Path, panel: Panel, turn: Turn) -> Result<OpenDisplay, DisplayError> {
    let display = DrmDisplay::open(path, turn)?;
    let (panel, native) = (display.panel(panel.mm_per_px), display.native());
    Ok(OpenDisplay { presenter: Box::new(display), panel, native })
}

#[cfg(not(feature = "drm"))]
fn open_drm(_: &Path, _: Panel, _: Turn) -> Result<OpenDisplay, DisplayError> {
    Err(DisplayError::NotBuilt { display: "drm" })
}

#[cfg(feature = "fbdev")]
fn open_fbdev(path: &Path, panel: Panel, turn: Turn) -> Result<OpenDisplay, DisplayError> {
    let display = FbdevDisplay::open(path, turn)?;
    let (panel, native) = (display.panel(panel.mm_per_px), display.native());
    Ok(OpenDisplay { presenter: Box::new(display), panel, native })
}

#[cfg(not(feature = "fbdev"))]
fn open_fbdev(_: &Path, _: Panel, _: Turn) -> Result<OpenDisplay, DisplayError> {
    Err(DisplayError::NotBuilt { display: "fbdev" })
}

#[cfg(feature = "window")]
fn open_window(panel: Panel, sink: &Sink) -> Result<OpenDisplay, DisplayError> {
    Ok(as_it_is(WindowDisplay::open(panel.size, sink.clone())?, panel))
}

#[cfg(not(feature = "window"))]
fn open_window(_: Panel, _: &Sink) -> Result<OpenDisplay, DisplayError> {
    Err(DisplayError::NotBuilt { display: "window" })
}

#[cfg(feature = "spi")]
fn open_spi(spi: &SpiPanel, panel: Panel, turn: Turn) -> Result<OpenDisplay, DisplayError> {
    spi::open(spi, panel.mm_per_px, turn)
}

#[cfg(not(feature = "spi"))]
fn open_spi(_: &SpiPanel, _: Panel, _: Turn) -> Result<OpenDisplay, DisplayError> {
    Err(DisplayError::NotBuilt { display: "spi" })
}

/// The panel of a device of `native` pixels that says it is `width_mm` wide. Sizes that no display has, as some
/// monitors tell, are not believed: `mm_per_px` holds then.
#[cfg(any(feature = "drm", feature = "fbdev"))]
fn panel_of(native: Size, width_mm: Option<u32>, turn: Turn, mm_per_px: f64) -> Panel {
    let told = width_mm.map(|width| f64::from(width) / f64::from(native.width.max(1)));
    let told = told.filter(|told| (0.04..=1.0).contains(told));
    Panel { size: turn.size(native), mm_per_px: told.unwrap_or(mm_per_px) }
}

/// Why a frame could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DisplayError {
    /// The display is not part of this program.
    #[error(
        "this program was built without the display {display} (the feature of this name); \
         png:FOLDER is always there"
    )]
    NotBuilt {
        /// What was asked for.
        display: &'static str,
    },
    /// A file could not be written.
    #[error("{}: cannot write the picture: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no display.
    #[error("{}: no connected display: {reasons}", .folder.display())]
    NoDisplay {
        /// Where it was looked for.
        folder: PathBuf,
        /// What each card said.
        reasons: String,
    },
    /// A display refused.
    #[error("{}: cannot {step}: {source}", .path.display())]
    Device {
        /// Its device file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A window could not be opened or drawn in.
    #[error("cannot {step}: {reason}")]
    Window {
        /// What was tried.
        step: &'static str,
        /// The desktop's reason.
        reason: String,
    },
    /// A picture could not be encoded.
    #[error("{}: cannot encode the picture: {source}", .path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's reason.
        source: image::ImageError,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    fn opened(choice: &str) -> Result<OpenDisplay, DisplayError> {
        let sink = Sink::new(mpsc::channel().0);
        open(&choice.parse().unwrap(), Panel::PI_7_INCH, Turn::Upright, &sink)
    }

    #[test]
    fn a_folder_of_pictures_is_always_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let mut display = opened(&format!("png:{}", path.display())).unwrap();
        assert_eq!((display.panel, display.native), (Panel::PI_7_INCH, Panel::PI_7_INCH.size));
        let frame = Frame::new(display.panel.size);
        let all = Rectangle::new(Default::default(), display.panel.size);
        display.presenter.present(&frame, all).unwrap();
        assert!(path.join("0001.png").exists());
    }

    #[test]
    #[cfg(not(feature = "drm"))]
    fn a_display_that_was_not_built_is_named() {
        let message = opened("drm").err().unwrap().to_string();
        assert!(message.contains("without the display drm") && message.contains("png:FOLDER"));
    }

    #[test]
    #[cfg(any(feature = "drm", feature = "fbdev"))]
    fn a_display_is_believed_only_a_size_that_displays_have() {
        let panel = |width_mm| panel_of(Size::new(800, 480), width_mm, Turn::Left, 0.2);
        assert_eq!(panel(Some(154)).mm_per_px, 154.0 / 800.0);
        assert_eq!(panel(Some(154)).size, Size::new(480, 800));
        for nonsense in [None, Some(0), Some(16), Some(1600)] {
            assert_eq!(panel(nonsense).mm_per_px, 0.2, "{nonsense:?}");
        }
    }
}
