//! A window on a desktop (X11), for people without a board: the mouse is the finger; the arrows, Enter and Escape
//! are the four buttons; pixels are enlarged by whole numbers.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use softbuffer::{Context, Surface};
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::error::EventLoopError;
use winit::event::{ElementState, KeyEvent, MouseButton, TouchPhase, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop, EventLoopProxy};
use winit::keyboard::{Key, NamedKey};
use winit::platform::x11::EventLoopBuilderExtX11;
use winit::window::{Window, WindowId};

use super::{DisplayError, Frame, Presenter};
use crate::input::Sink;
use crate::model::{Button, Event};

/// The half of a window that frames go into; the other half lives on a thread of its own.
pub struct WindowDisplay {
    thread: EventLoopProxy<Order>,
}

/// What the window's thread is told.
enum Order {
    Show(Frame),
    Close,
}

impl WindowDisplay {
    /// Opens a window for frames of this size. Its touches and buttons go into `sink`, which ends when the window
    /// is closed.
    ///
    /// # Errors
    /// [`DisplayError::Window`] where there is no desktop, or a window is open in this program already.
    pub fn open(size: Size, sink: Sink) -> Result<Self, DisplayError> {
        let (ready, opened) = mpsc::channel();
        let failed = |reason: String| DisplayError::Window { step: "open a window", reason };
        std::thread::Builder::new()
            .name("window".into())
            .spawn(move || run(size, sink, &ready))
            .map_err(|error| failed(error.to_string()))?;
        match opened.recv() {
            Ok(Ok(thread)) => Ok(Self { thread }),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed("its thread has ended".into())),
        }
    }
}

impl Presenter for WindowDisplay {
    /// What comes after the window was closed is shown nowhere; the sink has ended.
    fn present(&mut self, frame: &Frame, _damage: Rectangle) -> Result<(), DisplayError> {
        let _closed = self.thread.send_event(Order::Show(frame.clone()));
        Ok(())
    }
}

impl Drop for WindowDisplay {
    fn drop(&mut self) {
        let _closed = self.thread.send_event(Order::Close);
    }
}

/// Says when the window is open, or why it is not.
type Ready = Sender<Result<EventLoopProxy<Order>, String>>;

/// The window's thread.
fn run(size: Size, sink: Sink, ready: &Ready) {
    let mut builder = EventLoop::with_user_event();
    // The main thread is the kiosk's.
    builder.with_x11().with_any_thread(true);
    let outcome = builder.build().map_err(no_desktop).and_then(|event_loop| {
        let thread = event_loop.create_proxy();
        let frame = Frame::new(size);
        let mut app = App { frame, sink: sink.clone(), open: None, failure: None, ready, thread };
        event_loop.run_app(&mut app).map_err(|error| error.to_string())?;
        app.failure.map_or(Ok(()), Err)
    });
    if let Err(reason) = outcome {
        // Where the window was open before, nobody waits for this: it is closed now, as if by hand.
        let _waiting = ready.send(Err(reason));
    }
    sink.end();
}

/// The library's own words name a line of its source.
fn no_desktop(error: EventLoopError) -> String {
    let desktop = std::env::var("DISPLAY").unwrap_or_default();
    match error {
        EventLoopError::Os(_) => format!("no X server answers at DISPLAY='{desktop}'"),
        other => other.to_string(),
    }
}

struct App<'a> {
    frame: Frame,
    sink: Sink,
    open: Option<OpenWindow>,
    failure: Option<String>,
    ready: &'a Ready,
    thread: EventLoopProxy<Order>,
}

/// The window, its pixels, and where the mouse is in it.
struct OpenWindow {
    window: Rc<Window>,
    surface: Surface<Rc<Window>, Rc<Window>>,
    pointer: Point,
}

impl OpenWindow {
    fn new(event_loop: &ActiveEventLoop, size: Size) -> Result<Self, Box<dyn std::error::Error>> {
        let pixels = PhysicalSize::new(size.width, size.height);
        let attributes = Window::default_attributes()
            .with_title("glaucoma-kiosk")
            .with_inner_size(pixels)
            .with_min_inner_size(pixels);
        let window = Rc::new(event_loop.create_window(attributes)?);
        let surface = Surface::new(&Context::new(Rc::clone(&window))?, Rc::clone(&window))?;
        Ok(Self { window, surface, pointer: Point::new(-1, -1) })
    }

    fn size(&self) -> Size {
        let PhysicalSize { width, height } = self.window.inner_size();
        Size::new(width, height)
    }

    fn draw(&mut self, frame: &Frame) -> Result<(), softbuffer::SoftBufferError> {
        let size = self.size();
        let (Some(width), Some(height)) =
            (NonZeroU32::new(size.width), NonZeroU32::new(size.height))
        else {
            return Ok(());
        };
        self.surface.resize(width, height)?;
        let mut pixels = self.surface.buffer_mut()?;
        enlarge(frame, size, &mut pixels);
        pixels.present()
    }
}

impl App<'_> {
    /// A finger at a pixel of the window.
    fn touch(&self, at: Point) {
        let Some(open) = &self.open else { return };
        let place = Fit::new(self.frame.size(), open.size());
        if let Some(at) = place.to_frame(at) {
            self.sink.send(Event::Touch(at));
        }
    }

    fn fail(&mut self, event_loop: &ActiveEventLoop, reason: String) {
        self.failure = Some(reason);
        event_loop.exit();
    }
}

impl ApplicationHandler<Order> for App<'_> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        match OpenWindow::new(event_loop, self.frame.size()) {
            Ok(open) => {
                self.open = Some(open);
                let _waiting = self.ready.send(Ok(self.thread.clone()));
            }
            Err(error) => self.fail(event_loop, error.to_string()),
        }
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, order: Order) {
        match order {
            Order::Show(frame) => {
                self.frame = frame;
                if let Some(open) = &self.open {
                    open.window.request_redraw();
                }
            }
            Order::Close => event_loop.exit(),
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested | WindowEvent::Destroyed => event_loop.exit(),
            WindowEvent::RedrawRequested => {
                let drawn = self.open.as_mut().map_or(Ok(()), |open| open.draw(&self.frame));
                if let Err(error) = drawn {
                    self.fail(event_loop, error.to_string());
                }
            }
            WindowEvent::CursorMoved { position, .. } => {
                if let Some(open) = &mut self.open {
                    open.pointer = Point::new(position.x as i32, position.y as i32);
                }
            }
            WindowEvent::MouseInput {
                state: ElementState::Pressed,
                button: MouseButton::Left,
                ..
            } => {
                if let Some(open) = &self.open {
                    self.touch(open.pointer);
                }
            }
            WindowEvent::Touch(touch) if touch.phase == TouchPhase::Started => {
                self.touch(Point::new(touch.location.x as i32, touch.location.y as i32));
            }
            WindowEvent::KeyboardInput { event, .. } => {
                if let Some(button) = button(&event) {
                    self.sink.send(Event::Button(button));
                }
            }
            _ => {}
        }
    }
}

/// The button of a key that goes down. It repeats only where that does no harm.
fn button(event: &KeyEvent) -> Option<Button> {
    let Key::Named(key) = event.logical_key else { return None };
    let button = match key {
        NamedKey::ArrowUp | NamedKey::ArrowLeft => Button::Up,
        NamedKey::ArrowDown | NamedKey::ArrowRight => Button::Down,
        NamedKey::Enter => Button::Ok,
        NamedKey::Escape => Button::Back,
        _ => return None,
    };
    let repeats = matches!(button, Button::Up | Button::Down);
    (event.state == ElementState::Pressed && (repeats || !event.repeat)).then_some(button)
}

/// How a frame lies in a window: enlarged by a whole number, in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fit {
    frame: Size,
    scale: u32,
    corner: Point,
}

impl Fit {
    fn new(frame: Size, window: Size) -> Self {
        let times = |whole: u32, part: u32| whole.checked_div(part).unwrap_or(1);
        let scale = times(window.width, frame.width).min(times(window.height, frame.height)).max(1);
        let free = |whole: u32, part: u32| (whole.saturating_sub(part * scale) / 2) as i32;
        let corner = Point::new(free(window.width, frame.width), free(window.height, frame.height));
        Self { frame, scale, corner }
    }

    /// The frame's pixel under a pixel of the window.
    fn to_frame(self, at: Point) -> Option<Point> {
        let from = at - self.corner;
        let at = from / self.scale as i32;
        let inside =
            from.x >= 0 && from.y >= 0 && Rectangle::new(Point::zero(), self.frame).contains(at);
        inside.then_some(at)
    }
}

/// Fills a window's pixels (XRGB, row by row) with a frame; black around it.
fn enlarge(frame: &Frame, window: Size, pixels: &mut [u32]) {
    let fit = Fit::new(frame.size(), window);
    let width = frame.size().width as usize;
    let rows = pixels.chunks_mut((window.width as usize).max(1));
    for (y, row) in (0i32..).zip(rows) {
        for (x, pixel) in (0i32..).zip(row) {
            let color = fit
                .to_frame(Point::new(x, y))
                .map(|at| frame.pixels()[at.y as usize * width + at.x as usize]);
            *pixel = color.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::pixelcolor::Rgb888;

    use super::*;

    #[test]
    fn a_frame_is_enlarged_by_a_whole_number_in_the_middle() {
        let fit = Fit::new(Size::new(3, 2), Size::new(11, 5));
        assert_eq!((fit.scale, fit.corner), (2, Point::new(2, 0)));
        let places = [(1, 0), (2, 0), (7, 3), (8, 3), (7, 4), (-1, -1)];
        let expected = [None, Some((0, 0)), Some((2, 1)), None, None, None];
        for ((x, y), expected) in places.into_iter().zip(expected) {
            let at = fit.to_frame(Point::new(x, y)).map(|at| (at.x, at.y));
            assert_eq!(at, expected, "{x} {y}");
        }
    }

    #[test]
    fn every_pixel_of_a_window_has_its_colour() {
        let mut frame = Frame::new(Size::new(2, 1));
        let Ok(()) = frame.draw_iter([Pixel(Point::new(1, 0), Rgb888::new(1, 2, 3))]);
        let mut pixels = vec![9; 5 * 3];
        enlarge(&frame, Size::new(5, 3), &mut pixels);
        let c = 0x01_02_03;
        assert_eq!(pixels, [0, 0, c, c, 0, 0, 0, c, c, 0, 0, 0, 0, 0, 0]);
        // A window smaller than the frame shows its first pixels.
        let mut pixels = [9];
        enlarge(&frame, Size::new(1, 1), &mut pixels);
        assert_eq!(pixels, [0]);
    }
}
