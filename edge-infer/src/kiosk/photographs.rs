//! Photographs that have come in and wait to be examined: numbered, and few at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use glaucoma_common::photo::sha256_hex;
use glaucoma_common::reading::Laterality;
use glaucoma_exchange::intake::{Hints, Incoming};
use glaucoma_kiosk::model::Arrival;
use glaucoma_records::journal::Journal;

use super::standing::Standing;

/// How many may wait. Beyond that the card keeps them, and a sender is told to come back.
const ROOM: usize = 8;

/// A photograph.
pub struct Photograph {
    /// JPEG or PNG, as it came.
    pub bytes: Arc<Vec<u8>>,
    /// Which eye its sender says it is.
    pub eye: Option<Laterality>,
    /// Whose, by the person's number, as its sender says.
    pub person: Option<String>,
    /// Whether it names the person in its pixels, as far as its sender says.
    pub burned_in: Option<bool>,
    incoming: Option<Incoming>,
}

impl Photograph {
    /// One that no inbox holds.
    #[must_use]
    pub fn loose(bytes: Vec<u8>, eye: Option<Laterality>) -> Self {
        Self { bytes: Arc::new(bytes), eye, person: None, burned_in: None, incoming: None }
    }

    /// Whether it stood on a card when everything there was left out.
    fn stood(&self, standing: &Standing) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| standing.holds(&incoming.origin))
    }

    /// Tells the inbox, if one holds it, that nothing more is to be done with it: the journal has it, or nobody
    /// will. A copy that cannot be removed is handed out again at the next start.
    pub fn settle(self) {
        if let Some(Err(error)) = self.incoming.map(Incoming::settle) {
            tracing::warn!("{error}");
        }
    }
}

impl From<Incoming> for Photograph {
    fn from(mut incoming: Incoming) -> Self {
        let bytes = Arc::new(std::mem::take(&mut incoming.bytes));
        let Hints { laterality: eye, person_id, burned_in, .. } = &incoming.hints;
        let (eye, person, burned_in) = (*eye, person_id.clone(), *burned_in);
        Self { bytes, eye, person, burned_in, incoming: Some(incoming) }
    }
}

impl Shelf {
    fn add(&mut self, photograph: Photograph) -> Arrival {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let arrival =
            Arrival { photograph: number, eye: photograph.eye, person: photograph.person.clone() };
        self.waiting.insert(number, photograph);
        arrival
    }
}

/// What became of a photograph that was put in.
pub enum Put {
    /// It waits: what the kiosk hears of it.
    Waits(Arrival),
    /// It is one of those that are left out.
    Stood(Box<Photograph>),
    /// The day is over.
    Closed,
}

/// See the module.
#[derive(Default)]
pub struct Photographs {
    shelf: Mutex<Shelf>,
    changed: Condvar,
    /// What is left out as it comes.
    standing: Arc<RwLock<Standing>>,
}

#[derive(Default)]
struct Shelf {
    waiting: HashMap<u32, Photograph>,
    next: u32,
    closed: bool,
}

impl Photographs {
    /// Puts a photograph in, once there is room.
    pub fn put(&self, photograph: Photograph) -> Put {
        let mut shelf = self.lock();
        loop {
            if shelf.closed {
                return Put::Closed;
            }
            if photograph.stood(&self.standing.read().unwrap_or_else(PoisonError::into_inner)) {
                return Put::Stood(Box::new(photograph));
            }
            if shelf.waiting.len() < ROOM {
                return Put::Waits(shelf.add(photograph));
            }
            shelf = self.changed.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What stands in the folders now is left out, when it is come upon.
    pub fn leave_out(&self, folders: &[PathBuf]) {
        let standing = Standing::now(folders);
        // Whoever waits for room looks again, and so must not look between this and the call.
        let shelf = self.lock();
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
        drop(shelf);
        self.changed.notify_all();
    }

    /// What is left out, shared.
    #[must_use]
    pub fn standing(&self) -> Arc<RwLock<Standing>> {
        Arc::clone(&self.standing)
    }

    /// Writes down in the journal that a photograph was left out, and is done with it.
    ///
    /// # Errors
    /// What the journal could not take waits again.
    pub fn pass_over(&self, photograph: Photograph, journal: &Journal) -> Result<(), Arrival> {
        match journal.leave_out(&[sha256_hex(&photograph.bytes)]) {
            Ok(()) => {
                photograph.settle();
                Ok(())
            }
            Err(error) => {
                tracing::error!("{error}");
                Err(self.put_back(photograph))
            }
        }
    }

    /// Puts a photograph that was taken out in again, whether or not there is room.
    pub fn put_back(&self, photograph: Photograph) -> Arrival {
        self.lock().add(photograph)
    }

    /// Takes a photograph out.
    pub fn take(&self, number: u32) -> Option<Photograph> {
        let taken = self.lock().waiting.remove(&number);
        self.changed.notify_all();
        taken
    }

    /// Whoever waits for room waits no more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_ninth_waits_until_one_is_taken_and_none_after_the_end() {
        let photographs = Photographs::default();
        let put = |n| match photographs.put(Photograph::loose(vec![n], None)) {
            Put::Waits(arrival) => Some(arrival.photograph),
            Put::Stood(_) | Put::Closed => None,
        };
        let numbers: Vec<u32> = (0..8).map(|n| put(n).unwrap()).collect();
        std::thread::scope(|scope| {
            let ninth = scope.spawn(|| put(8));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!ninth.is_finished(), "there is no room");
            let third = photographs.take(numbers[3]).unwrap();
            assert_eq!(*third.bytes, [3]);
            assert_eq!(ninth.join().unwrap(), Some(8));
            assert_eq!(photographs.put_back(third).photograph, 9, "room or not");
            assert!(photographs.take(numbers[3]).is_none());
            let tenth = scope.spawn(|| put(9));
            photographs.close();
            assert_eq!(tenth.join().unwrap(), None);
        });
    }
}
