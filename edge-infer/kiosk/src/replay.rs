//! Plays a day from a script, without a screen, a finger or a clock.

use std::collections::VecDeque;
use std::path::Path;

use glaucoma_common::reading::Laterality;

use crate::display::{DisplayError, Presenter};
use crate::input::script::Step;
use crate::model::{Command, Event, Kiosk};
use crate::stage::Stage;

/// The outside: camera, model, journal, printer, network. The same trait serves the device and the tests.
pub trait World {
    /// The camera has delivered a file, which itself may name the eye. Usually answers with
    /// [`Event::PhotographTaken`].
    fn photograph(&mut self, file: &Path, eye: Option<Laterality>) -> Vec<Event>;

    /// Does what the kiosk asks for; what came of it comes back. `kiosk` tells the language, for a slip.
    fn perform(&mut self, command: Command, kiosk: &Kiosk) -> Vec<Event>;
}

/// The time of day at which a replay begins, hour and minute.
const BEGIN: (u64, u64) = (8, 0);
/// More commands than this after one step are a circle between kiosk and world.
const MOST_COMMANDS: usize = 1000;

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The display failed.
    #[error(transparent)]
    Display(#[from] DisplayError),
    /// Kiosk and world answer each other without end.
    #[error("step {step}: kiosk and world answer each other without end")]
    Circle {
        /// The step, from 1.
        step: usize,
    },
}

/// Plays the steps; after each, what is on the screen is shown.
///
/// # Errors
/// [`ReplayError`].
pub fn replay<P: Presenter>(
    stage: &mut Stage<P>,
    steps: &[Step],
    world: &mut dyn World,
) -> Result<(), ReplayError> {
    let mut seconds = 0;
    settle(stage, world, 0, [tick(seconds)].into())?;
    for (index, step) in steps.iter().enumerate() {
        let events = match step {
            Step::Touch(at) => vec![Event::Touch(*at)],
            Step::Button(button) => vec![Event::Button(*button)],
            Step::Wait(time) => {
                seconds += time;
                vec![tick(seconds)]
            }
            Step::Photograph { file, eye } => world.photograph(file, *eye),
            Step::Scan(id) => vec![Event::Scanned(id.clone())],
            Step::Camera(true) => vec![Event::CameraOnline],
            Step::Camera(false) => vec![Event::CameraOffline],
        };
        settle(stage, world, index + 1, events.into())?;
    }
    Ok(())
}

fn tick(seconds: u64) -> Event {
    let minutes = BEGIN.0 * 60 + BEGIN.1 + seconds / 60;
    Event::Tick { seconds, clock: ((minutes / 60 % 24) as u8, (minutes % 60) as u8) }
}

/// Takes events in, and what the world answers, until nothing is left; shows each state on the way.
fn settle<P: Presenter>(
    stage: &mut Stage<P>,
    world: &mut dyn World,
    step: usize,
    mut events: VecDeque<Event>,
) -> Result<(), ReplayError> {
    let mut commands = 0;
    while let Some(event) = events.pop_front() {
        let asked = stage.handle(event);
        stage.show()?;
        commands += asked.len();
        if commands > MOST_COMMANDS {
            return Err(ReplayError::Circle { step });
        }
        for command in asked {
            events.extend(world.perform(command, &stage.kiosk));
        }
    }
    Ok(())
}
