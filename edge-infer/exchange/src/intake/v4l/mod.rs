//! A camera behind the kernel's V4L2: a live picture while one is wanted, and a photograph when it is released.
//!
//! Every frame is taken from the driver as it comes and forgotten unless it is wanted just then, so that what is
//! shown and what is photographed is the newest. A camera that is pulled out, or silent, is opened again and again
//! until it is back.

mod device;
mod frame;
mod tables;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

pub use device::{CameraError, Wanted};
pub use frame::Pixels;

use self::device::{BUFFERS, Camera};
use self::frame::{Frame, Mode};
use super::{Hints, Intake, IntakeError, LiveView, Outlet};

/// Between two live pictures, at least: a Raspberry Pi has time for the screen besides.
const VIEW_EVERY: Duration = Duration::from_millis(200);
/// The largest live picture, pixels across and down: no panel shows it larger.
const VIEW_MOST: (u32, u32) = (640, 480);
/// Time for a whole frame after the camera was released.
const PHOTOGRAPH: Duration = Duration::from_secs(5);
/// A camera that sends nothing for so long is opened anew.
const SILENCE: Duration = Duration::from_secs(5);
/// Between two tries to open it.
const OPEN_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a frame before the shutter is looked at again.
const WAIT: Duration = Duration::from_millis(50);

/// See the module.
pub struct V4l {
    /// The device file, such as `/dev/video0`.
    pub device: PathBuf,
    /// The mode it is set to.
    pub wanted: Wanted,
    /// A photograph is taken for each message; what it says goes with the photograph.
    pub shutter: Receiver<Hints>,
    /// Where live pictures go.
    pub view: Box<dyn LiveView>,
}

/// Where frames come from; a camera, or what stands for one in a test.
trait Frames {
    fn mode(&self) -> Mode;
    /// The next frame, oldest first; `None` where none comes in time.
    fn next(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError>;
}

impl Frames for Camera {
    fn mode(&self) -> Mode {
        Camera::mode(self)
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        Camera::next(self, wait)
    }
}

/// Why [`V4l::watch`] ended: the intake is to end, or the camera is lost.
enum End {
    Asked,
    Lost(CameraError),
    Failed(IntakeError),
}

impl From<CameraError> for End {
    fn from(error: CameraError) -> Self {
        Self::Lost(error)
    }
}

impl Intake for V4l {
    fn name(&self) -> &'static str {
        "v4l"
    }

    fn run(mut self, outlet: &Outlet) -> Result<(), IntakeError> {
        // Told once, not with every try.
        let mut told = String::new();
        while !outlet.stopped() {
            let end = match Camera::open(&self.device, self.wanted) {
                Ok(mut camera) => {
                    told.clear();
                    tracing::info!("the camera sends frames");
                    self.watch(&mut camera, outlet)
                }
                Err(error) => End::Lost(error),
            };
            match end {
                End::Asked => break,
                End::Failed(error) => return Err(error),
                End::Lost(error) => {
                    let error = error.to_string();
                    if error != told {
                        tracing::warn!("{error}");
                        told = error;
                    }
                    outlet.pause(OPEN_EVERY);
                }
            }
        }
        Ok(())
    }
}

impl V4l {
    /// Takes frames until the intake is to end or the camera is lost.
    fn watch(&mut self, camera: &mut impl Frames, outlet: &Outlet) -> End {
        self.forget_presses();
        let mode = camera.mode();
        let (mut heard, mut viewed) = (Instant::now(), None);
        while !outlet.stopped() {
            let taken = match self.shutter.try_recv() {
                Ok(hints) => take(camera, &hints, outlet),
                Err(TryRecvError::Empty) => Ok(()),
                Err(TryRecvError::Disconnected) => return End::Asked,
            };
            if let Err(end) = taken {
                return end;
            }
            match camera.next(WAIT) {
                Err(error) => return End::Lost(error),
                Ok(Some(frame)) if !frame.damaged => {
                    heard = Instant::now();
                    outlet.alive();
                    let due = viewed.is_none_or(|viewed: Instant| viewed.elapsed() >= VIEW_EVERY);
                    if due && self.view.wanted() {
                        viewed = Some(heard);
                        self.show(&frame, &mode);
                    }
                }
                Ok(_) if heard.elapsed() > SILENCE => {
                    return End::Lost(CameraError::Silent(SILENCE));
                }
                Ok(_) => {}
            }
        }
        End::Asked
    }

    /// Whoever released the camera while it was away does not expect a photograph once it is back.
    fn forget_presses(&self) {
        let forgotten = self.shutter.try_iter().count();
        if forgotten > 0 {
            tracing::warn!("{forgotten} photographs were asked for while the camera was away");
        }
    }

    fn show(&mut self, frame: &Frame<'_>, mode: &Mode) {
        match frame.reduced(mode, VIEW_MOST) {
            Ok(picture) => self.view.show(picture),
            Err(error) => tracing::debug!(%error, "a frame is not shown"),
        }
    }
}

/// Takes one photograph: the first whole frame that comes from now on. One that fails is told in the log, and may
/// be tried again.
fn take(camera: &mut impl Frames, hints: &Hints, outlet: &Outlet) -> Result<(), End> {
    let until = Instant::now() + PHOTOGRAPH;
    // What lies ready was seen before the camera was released.
    for _ in 0..BUFFERS {
        if camera.next(Duration::ZERO)?.is_none() {
            break;
        }
    }
    let mode = camera.mode();
    while Instant::now() < until && !outlet.stopped() {
        let Some(frame) = camera.next(WAIT)? else { continue };
        match frame.photograph(&mode) {
            Ok(file) => {
                outlet.alive();
                return outlet.offer_when_there_is_room(&file, "v4l", hints).map_err(End::Failed);
            }
            Err(error) => tracing::debug!(%error, "a frame is no photograph"),
        }
    }
    tracing::warn!("the camera sent no whole frame within {PHOTOGRAPH:?}: no photograph");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
