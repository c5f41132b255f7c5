//! Live pictures on their way from the camera to the screen: only while they are looked at, the newest, and one at
//! a time, so that a slow display never has older ones before it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};

use glaucoma_exchange::intake::LiveView;
use glaucoma_kiosk::event_loop::Message;
use glaucoma_kiosk::model::Event;
use glaucoma_kiosk::picture::EyePicture;
use image::RgbImage;

/// Whether the screen wants live pictures.
pub type Wanted = Arc<AtomicBool>;

/// See the module.
pub struct ToScreen {
    wanted: Wanted,
    messages: Sender<Message>,
    /// The last one, until the screen has taken it.
    under_way: Weak<EyePicture>,
}

impl ToScreen {
    /// Sends pictures by `messages` while `wanted` is set.
    pub fn new(wanted: Wanted, messages: Sender<Message>) -> Self {
        Self { wanted, messages, under_way: Weak::new() }
    }
}

impl LiveView for ToScreen {
    fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.under_way.strong_count() == 0
    }

    fn show(&mut self, picture: RgbImage) {
        let (disc, cup, fovea) = (Vec::new(), Vec::new(), None);
        let picture = Arc::new(EyePicture { pixels: Arc::new(picture), disc, cup, fovea });
        self.under_way = Arc::downgrade(&picture);
        // At the end of the day nobody looks any more.
        let _ = self.messages.send(Message::Event(Event::LiveView(picture)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_next_picture_is_wanted_once_the_last_one_is_taken() {
        let (sender, messages) = channel();
        let wanted = Wanted::default();
        let mut view = ToScreen::new(Arc::clone(&wanted), sender);
        assert!(!view.wanted(), "nobody looks");
        wanted.store(true, Ordering::Relaxed);
        assert!(view.wanted());
        view.show(RgbImage::new(4, 3));
        assert!(!view.wanted(), "one is under way");
        let Message::Event(Event::LiveView(picture)) = messages.recv().unwrap() else { panic!() };
        assert_eq!(picture.pixels.dimensions(), (4, 3));
        let kept = EyePicture::clone(&picture);
        drop(picture);
        assert!(view.wanted(), "the kiosk keeps its own");
        drop((kept, messages));
        view.show(RgbImage::new(4, 3));
        assert!(view.wanted(), "one that nobody takes does not stop the next");
    }
}
