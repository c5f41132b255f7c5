//! A display behind the kernel's mode setting (KMS): HDMI, DSI and SPI panels of a Raspberry Pi, HDMI of a
//! Jetson. One buffer, drawn into where the frame has changed; drivers that copy are told what.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use drm::Device;
use drm::buffer::{Buffer, DrmFourcc};
use drm::control::dumbbuffer::DumbBuffer;
use drm::control::{ClipRect, Device as ControlDevice, connector, crtc, framebuffer};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use super::{DisplayError, Frame, Layout, Presenter, Turn, panel_of};
use crate::panel::Panel;

/// A card's device file.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device for Card {}
impl ControlDevice for Card {}

/// A connected display.
pub struct DrmDisplay {
    card: Card,
    path: PathBuf,
    buffer: DumbBuffer,
    framebuffer: framebuffer::Handle,
    size: Size,
    width_mm: Option<u32>,
    turn: Turn,
}

impl DrmDisplay {
    /// Opens a card's connected display in the display's preferred mode. `at` is the card, or the folder
    /// (usually `/dev/dri`) whose first card with a connected display is taken: cards that only render, or have
    /// nothing connected, are passed over.
    ///
    /// # Errors
    /// [`DisplayError::NoDisplay`] where there is none, with what each card said; [`DisplayError::Device`]
    /// when the display refuses.
    pub fn open(at: &Path, turn: Turn) -> Result<Self, DisplayError> {
        let no_display = |reasons: Vec<String>| DisplayError::NoDisplay {
            folder: at.to_path_buf(),
            reasons: reasons.join("; "),
        };
        let mut reasons = Vec::new();
        for path in cards(at).map_err(|error| no_display(vec![error.to_string()]))? {
            match connected(&path) {
                Ok(Some((card, connector))) => return Self::begin(card, path, &connector, turn),
                Ok(None) => reasons.push(format!("{}: nothing connected", path.display())),
                Err(error) => reasons.push(format!("{}: {error}", path.display())),
            }
        }
        Err(no_display(reasons))
    }

    fn begin(
        card: Card,
        path: PathBuf,
        connector: &connector::Info,
        turn: Turn,
    ) -> Result<Self, DisplayError> {
        let failed = |step: &'static str| {
            let path = path.clone();
            move |source| DisplayError::Device { path, step, source }
        };
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let &mode = connector.modes().first().ok_or_else(missing).map_err(failed("find a mode"))?;
        let crtc = crtc_for(&card, connector)
            .and_then(|crtc| crtc.ok_or_else(missing))
            .map_err(failed("find a controller"))?;
        let (width, height) = mode.size();
        let size = Size::new(width.into(), height.into());
        let buffer = card
            .create_dumb_buffer((size.width, size.height), DrmFourcc::Xrgb8888, 32)
            .map_err(failed("make a buffer"))?;
        let framebuffer =
            card.add_framebuffer(&buffer, 24, 32).map_err(failed("use the buffer"))?;
        card.set_crtc(crtc, Some(framebuffer), (0, 0), &[connector.handle()], Some(mode))
            .map_err(failed("set the mode"))?;
        let width_mm = connector.size().map(|(width, _)| width);
        Ok(Self { card, path, buffer, framebuffer, size, width_mm, turn })
    }

    /// The panel to draw for; `mm_per_px` where the display does not say how large it is.
    #[must_use]
    pub fn panel(&self, mm_per_px: f64) -> Panel {
        panel_of(self.size, self.width_mm, self.turn, mm_per_px)
    }

    /// Its own pixels, before the turn.
    #[must_use]
    pub fn native(&self) -> Size {
        self.size
    }
}

impl Presenter for DrmDisplay {
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        let path = &self.path;
        let failed = |step| move |source| DisplayError::Device { path: path.clone(), step, source };
        let layout = Layout::xrgb(self.size, self.buffer.pitch() as usize);
        let place = {
            let mut memory =
                self.card.map_dumb_buffer(&mut self.buffer).map_err(failed("map the buffer"))?;
            self.turn.copy(frame, damage, &layout, memory.as_mut())
        };
        let Some(end) = place.bottom_right() else { return Ok(()) };
        let corner = place.top_left;
        let clip =
            ClipRect::new(corner.x as u16, corner.y as u16, end.x as u16 + 1, end.y as u16 + 1);
        match self.card.dirty_framebuffer(self.framebuffer, &[clip]) {
            // A driver that shows the buffer itself has nothing to be told.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            told => told.map_err(failed("show the change")),
        }
    }
}

/// The cards in a folder, in order; a card alone.
fn cards(at: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(at)?.is_dir() {
        return Ok(vec![at.to_path_buf()]);
    }
    let is_card = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("card"))
    };
    let entries = std::fs::read_dir(at)?.flatten().map(|entry| entry.path());
    let mut cards: Vec<PathBuf> = entries.filter(is_card).collect();
    cards.sort();
    Ok(cards)
}

/// The card and its first connected display, if it has one.
fn connected(path: &Path) -> io::Result<Option<(Card, connector::Info)>> {
    let card = Card(OpenOptions::new().read(true).write(true).open(path)?);
    let resources = card.resource_handles()?;
    for &handle in resources.connectors() {
        let info = card.get_connector(handle, true)?;
        if info.state() == connector::State::Connected && !info.modes().is_empty() {
            return Ok(Some((card, info)));
        }
    }
    Ok(None)
}

/// A controller that can drive the display.
fn crtc_for(card: &Card, connector: &connector::Info) -> io::Result<Option<crtc::Handle>> {
    let resources = card.resource_handles()?;
    for &handle in connector.encoders() {
        let encoder = card.get_encoder(handle)?;
        if let Some(&crtc) = resources.filter_crtcs(encoder.possible_crtcs()).first() {
            return Ok(Some(crtc));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_machine_without_a_display_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("card7"), b"no device").unwrap();
        let error = DrmDisplay::open(folder.path(), Turn::Upright).err().unwrap().to_string();
        assert!(error.contains("no connected display") && error.contains("card7"), "{error}");
        for name in ["dri", "card7"] {
            let error = DrmDisplay::open(&folder.path().join(name), Turn::Upright).err().unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
