//! A panel on an SPI bus for which the kernel has no driver: commands and pixels as the chip wants them. Only what
//! has changed is sent, since a whole picture takes a tenth of a second and more.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorKind, ErrorType, OutputPin};
use embedded_hal::spi::SpiDevice;
use gpiocdev::line::Value;
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use linux_embedded_hal::{Delay, SpidevDevice};
use mipidsi::interface::{InterfacePixelFormat, SpiInterface};
use mipidsi::models::{self, Model};
use mipidsi::options::{ColorInversion, ColorOrder};
use mipidsi::{Builder, Display};

use super::spi_panel::{Chip, SpiPanel};
use super::{DisplayError, Frame, OpenDisplay, Presenter, Turn};
use crate::panel::Panel;

/// The most that the kernel's `spidev` takes at once (its parameter `bufsiz`).
const MOST_BYTES: usize = 4096;

/// Opens the panel. `mm_per_px` is how large its pixels are, which no chip says.
///
/// # Errors
/// [`DisplayError::Device`] with the bus or the line that cannot be had.
pub fn open(panel: &SpiPanel, mm_per_px: f64, turn: Turn) -> Result<OpenDisplay, DisplayError> {
    let failed = |step| {
        let path = panel.device.clone();
        move |source| DisplayError::Device { path, step, source }
    };
    let mut spi = SpidevDevice::open(&panel.device)
        .map_err(|error| failed("open the bus")(io::Error::other(error.to_string())))?;
    let options = SpidevOptions::new()
        .bits_per_word(8)
        .max_speed_hz(panel.mhz * 1_000_000)
        .mode(SpiModeFlags::SPI_MODE_0)
        .build();
    spi.configure(&options).map_err(failed("set the bus"))?;
    let dc = Line::request(&panel.dc)?;
    let reset = panel.reset.as_deref().map(Line::request).transpose()?;
    begin(panel, Wires { spi, dc, reset }, &mut Delay, mm_per_px, turn)
}

/// What connects a panel: the bus, the line that tells commands from pixels, the line that resets.
struct Wires<S, D, R> {
    spi: S,
    dc: D,
    reset: Option<R>,
}

/// Wakes the panel on the other end of the wires.
fn begin<S, D, R>(
    panel: &SpiPanel,
    wires: Wires<S, D, R>,
    delay: &mut impl DelayNs,
    mm_per_px: f64,
    turn: Turn,
) -> Result<OpenDisplay, DisplayError>
where
    S: SpiDevice + Send + 'static,
    D: OutputPin + Send + 'static,
    R: OutputPin + Send + 'static,
{
    let mount = Mount { panel, mm_per_px, turn };
    // ILI9486 and ILI9488 have no colours of 16 bits on this kind of bus.
    match panel.chip {
        Chip::Ili9341 => mount.wake(models::ILI9341Rgb565, wires, delay),
        Chip::Ili9486 => mount.wake(models::ILI9486Rgb666, wires, delay),
        Chip::Ili9488 => mount.wake(models::ILI9488Rgb666, wires, delay),
        Chip::St7789 => mount.wake(models::ST7789, wires, delay),
        Chip::St7796 => mount.wake(models::ST7796, wires, delay),
    }
}

/// A panel and how it is mounted.
struct Mount<'a> {
    panel: &'a SpiPanel,
    mm_per_px: f64,
    turn: Turn,
}

impl Mount<'_> {
    fn wake<M, S, D, R>(
        &self,
        model: M,
        Wires { spi, dc, reset }: Wires<S, D, R>,
        delay: &mut impl DelayNs,
    ) -> Result<OpenDisplay, DisplayError>
    where
        M: Model + Send + 'static,
        M::ColorFormat: InterfacePixelFormat<u8> + From<Rgb888>,
        S: SpiDevice + Send + 'static,
        D: OutputPin + Send + 'static,
        R: OutputPin + Send + 'static,
    {
        // One display, for as long as the program runs.
        let buffer = Box::leak(vec![0; MOST_BYTES].into_boxed_slice());
        let SpiPanel { bgr, invert, .. } = *self.panel;
        let builder = Builder::new(model, SpiInterface::new(spi, dc, buffer))
            .color_order(if bgr { ColorOrder::Bgr } else { ColorOrder::Rgb })
            .invert_colors(if invert { ColorInversion::Inverted } else { ColorInversion::Normal });
        match reset {
            Some(reset) => {
                let display = builder.reset_pin(reset).init(delay);
                Ok(self.opened(display.map_err(|error| self.failed("wake the panel", error))?))
            }
            None => {
                let display = builder.init(delay);
                Ok(self.opened(display.map_err(|error| self.failed("wake the panel", error))?))
            }
        }
    }

    fn opened<M, S, D, R>(&self, display: Display<SpiInterface<'static, S, D>, M, R>) -> OpenDisplay
    where
        M: Model + Send + 'static,
        M::ColorFormat: InterfacePixelFormat<u8> + From<Rgb888>,
        S: SpiDevice + Send + 'static,
        D: OutputPin + Send + 'static,
        R: OutputPin + Send + 'static,
    {
        let (width, height) = M::FRAMEBUFFER_SIZE;
        let native = Size::new(width.into(), height.into());
        let panel = Panel { size: self.turn.size(native), mm_per_px: self.mm_per_px };
        let path = self.panel.device.clone();
        let presenter = Box::new(SpiDisplay { display, native, turn: self.turn, path });
        OpenDisplay { presenter, panel, native }
    }

    fn failed(&self, step: &'static str, error: impl Debug) -> DisplayError {
        failed(&self.panel.device, step, error)
    }
}

fn failed(path: &Path, step: &'static str, error: impl Debug) -> DisplayError {
    let source = io::Error::other(format!("{error:?}"));
    DisplayError::Device { path: path.to_path_buf(), step, source }
}

/// A panel that is awake.
struct SpiDisplay<M, S, D, R>
where
    M: Model,
    M::ColorFormat: InterfacePixelFormat<u8>,
    S: SpiDevice,
    D: OutputPin,
    R: OutputPin,
{
    display: Display<SpiInterface<'static, S, D>, M, R>,
    native: Size,
    turn: Turn,
    path: PathBuf,
}

impl<M, S, D, R> Presenter for SpiDisplay<M, S, D, R>
where
    M: Model,
    M::ColorFormat: InterfacePixelFormat<u8> + From<Rgb888>,
    S: SpiDevice,
    D: OutputPin,
    R: OutputPin,
{
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        let shown = Rectangle::new(Point::zero(), self.turn.size(self.native));
        let damage = damage.intersection(&frame.bounding_box()).intersection(&shown);
        let Some(end) = damage.bottom_right() else { return Ok(()) };
        let ends = [damage.top_left, end].map(|corner| self.turn.to_display(corner, self.native));
        let place = Rectangle::with_corners(ends[0], ends[1]);
        let Some(last) = place.bottom_right() else { return Ok(()) };
        // Row by row of the panel, whatever way the frame lies on it.
        let colors = place.points().map(|at| {
            let color = frame.pixel(self.turn.to_frame(at, self.native)).unwrap_or(Rgb888::BLACK);
            M::ColorFormat::from(color)
        });
        let [left, top, right, bottom] =
            [place.top_left.x, place.top_left.y, last.x, last.y].map(|side| side as u16);
        let sent = self.display.set_pixels(left, top, right, bottom, colors);
        sent.map_err(|error| failed(&self.path, "send pixels", error))
    }
}

/// A line of the board, found by its name: its number differs from kernel to kernel.
struct Line(gpiocdev::Request, u32);

impl Line {
    fn request(name: &str) -> Result<Self, DisplayError> {
        let failed = |step| {
            move |error: gpiocdev::Error| DisplayError::Device {
                path: name.into(),
                step,
                source: io::Error::other(error.to_string()),
            }
        };
        let found = gpiocdev::find_named_line(name).ok_or_else(|| DisplayError::Device {
            path: name.into(),
            step: "find the line of this name (gpioinfo lists them)",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let request = gpiocdev::Request::builder()
            .with_found_line(&found)
            .with_consumer("edge-infer")
            .as_output(Value::Active)
            .request()
            .map_err(failed("have the line"))?;
        Ok(Self(request, found.info.offset))
    }

    fn set(&mut self, value: Value) -> Result<(), LineError> {
        self.0.set_value(self.1, value).map(drop).map_err(LineError)
    }
}

/// The kernel's reason.
#[derive(Debug)]
struct LineError(#[expect(dead_code, reason = "shown by Debug")] gpiocdev::Error);

impl embedded_hal::digital::Error for LineError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Line {
    type Error = LineError;
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), LineError> {
        self.set(Value::Inactive)
    }

    fn set_high(&mut self) -> Result<(), LineError> {
        self.set(Value::Active)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
