//! The kiosk on a display: each event changes the state, each changed state is drawn and shown.

use embedded_graphics::prelude::*;

use crate::display::{DisplayError, Frame, Presenter};
use crate::model::{Command, Event, Kiosk};
use crate::text::Typesetter;

/// A kiosk with its display.
pub struct Stage<P> {
    /// The state.
    pub kiosk: Kiosk,
    /// The display.
    pub presenter: P,
    setter: Typesetter,
    shown: Option<Frame>,
}

impl<P: Presenter> Stage<P> {
    /// A stage on which nothing is shown yet.
    pub fn new(kiosk: Kiosk, presenter: P) -> Self {
        Self { kiosk, presenter, setter: Typesetter::new(), shown: None }
    }

    /// Takes one event in; what the outside is to do comes back. Nothing is drawn: [`Stage::show`] is, once
    /// the events at hand are taken in.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        self.kiosk.handle(event)
    }

    /// Draws the state and shows what has changed.
    ///
    /// # Errors
    /// The display's own.
    pub fn show(&mut self) -> Result<(), DisplayError> {
        let frame = draw(&self.kiosk, &self.setter);
        let damage = match &self.shown {
            None => frame.bounding_box(),
            Some(before) => frame.damage(before),
        };
        if !damage.is_zero_sized() {
            self.presenter.present(&frame, damage)?;
        }
        self.shown = Some(frame);
        Ok(())
    }
}

/// The state as a picture.
#[must_use]
pub fn draw(kiosk: &Kiosk, setter: &Typesetter) -> Frame {
    let page = kiosk.page();
    let mut frame = Frame::new(kiosk.panel.size);
    let focus = kiosk.ring.then(|| page.focused(kiosk.focus));
    let Ok(()) = page.draw(focus, setter, &mut frame);
    frame
}
