//! What the camera sees, while a photograph is waited for.

use super::{Command, Kiosk, Screen};
use crate::picture::EyePicture;

/// Seconds after which a live picture is one no more: an old one would be taken for what the camera sees.
const LIVE_S: u64 = 2;

impl Kiosk {
    /// Whether the open screen waits for a photograph, and nothing else has come.
    #[must_use]
    pub fn waits_for_photograph(&self) -> bool {
        let waits = self.visit.as_ref().is_some_and(|visit| {
            visit.examining.is_none() && visit.decision().is_none() && self.unasked.is_empty()
        });
        waits && matches!(self.screen, Screen::Photograph { .. })
    }

    /// What the camera sees now; `None` where nothing came lately or the camera is gone.
    #[must_use]
    pub fn live(&self) -> Option<&EyePicture> {
        let (picture, at) = self.live.as_ref()?;
        let now = self.camera && self.seconds.saturating_sub(*at) < LIVE_S;
        now.then_some(picture)
    }

    /// One that was not asked for any more is not kept.
    pub(super) fn take_live(&mut self, picture: EyePicture) {
        if self.live_asked {
            self.live = Some((picture, self.seconds));
        }
    }

    /// Live pictures are made only while they are looked at.
    pub(super) fn ask_for_live_view(&mut self) -> Option<Command> {
        let wanted = self.setup.live_view && self.waits_for_photograph();
        if wanted == self.live_asked {
            return None;
        }
        self.live_asked = wanted;
        self.live = None;
        Some(Command::LiveView(wanted))
    }
}
