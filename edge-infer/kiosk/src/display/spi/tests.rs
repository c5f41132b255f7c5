//! Panels that read what is sent to them as their chips' data sheets say, and keep it as a picture.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use embedded_hal::spi::{ErrorType as SpiErrorType, Operation};

use super::*;

/// A panel's memory and what it was told.
#[derive(Default)]
struct Glass {
    /// Whether the next byte is a command.
    command: bool,
    resets: u32,
    writes: Vec<usize>,
    current: u8,
    arguments: Vec<u8>,
    /// Columns and rows into which pixels go, first and last.
    window: [[u16; 2]; 2],
    /// Which pixel of the window is next, and the bytes of it that came.
    next: usize,
    part: Vec<u8>,
    /// Bits a pixel, from COLMOD.
    bits: u8,
    awake: bool,
    lit: bool,
    inverted: bool,
    madctl: u8,
    size: Size,
    pixels: Vec<Option<[u8; 3]>>,
    pixels_sent: usize,
}

impl Glass {
    fn byte(&mut self, byte: u8) {
        if self.command {
            self.current = byte;
            self.arguments.clear();
            match byte {
                0x11 => self.awake = true,
                0x29 => self.lit = true,
                0x20 => self.inverted = false,
                0x21 => self.inverted = true,
                0x01 => self.resets += 1,
                0x2c => (self.next, self.part) = (0, Vec::new()),
                _ => {}
            }
            return;
        }
        if self.current == 0x2c {
            return self.pixel_byte(byte);
        }
        self.arguments.push(byte);
        match (self.current, &self.arguments[..]) {
            (0x2a | 0x2b, &[a, b, c, d]) => {
                let side = usize::from(self.current == 0x2b);
                self.window[side] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            }
            (0x3a, &[format]) => self.bits = if format & 7 == 5 { 16 } else { 18 },
            (0x36, &[madctl]) => self.madctl = madctl,
            _ => {}
        }
    }

    fn pixel_byte(&mut self, byte: u8) {
        self.part.push(byte);
        let pixel = match (self.bits, &self.part[..]) {
            (16, &[high, low]) => {
                let word = u16::from_be_bytes([high, low]);
                [(word >> 11) as u8, (word >> 5 & 63) as u8, (word & 31) as u8]
            }
            (18, &[r, g, b]) => [r >> 2, g >> 2, b >> 2],
            _ => return,
        };
        self.part.clear();
        let [[left, right], [top, bottom]] = self.window.map(|side| side.map(usize::from));
        assert!(left <= right && right < self.size.width as usize, "{:?}", self.window);
        assert!(top <= bottom && bottom < self.size.height as usize, "{:?}", self.window);
        let across = right - left + 1;
        let (x, y) = (left + self.next % across, top + self.next / across);
        assert!(y <= bottom, "more pixels than the window has");
        self.pixels[y * self.size.width as usize + x] = Some(pixel);
        self.next += 1;
        self.pixels_sent += 1;
    }
}

type Shared = Arc<Mutex<Glass>>;

struct Bus(Shared);

impl SpiErrorType for Bus {
    type Error = Infallible;
}

impl SpiDevice for Bus {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        let mut glass = self.0.lock().unwrap();
        for operation in operations {
            let Operation::Write(bytes) = operation else { panic!("a panel is only written to") };
            glass.writes.push(bytes.len());
            bytes.iter().for_each(|&byte| glass.byte(byte));
        }
        Ok(())
    }
}

/// The line that tells commands from pixels, or the one that resets.
struct Wire(Shared, bool);

impl ErrorType for Wire {
    type Error = Infallible;
}

impl OutputPin for Wire {
    fn set_low(&mut self) -> Result<(), Infallible> {
        let mut glass = self.0.lock().unwrap();
        if self.1 {
            glass.resets += 1
        } else {
            glass.command = true
        }
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        if !self.1 {
            self.0.lock().unwrap().command = false;
        }
        Ok(())
    }
}

struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

fn opened(text: &str, turn: Turn) -> (OpenDisplay, Shared) {
    let panel: SpiPanel = text.parse().unwrap();
    let large = matches!(panel.chip, Chip::Ili9486 | Chip::Ili9488 | Chip::St7796);
    let size = if large { Size::new(320, 480) } else { Size::new(240, 320) };
    let pixels = vec![None; (size.width * size.height) as usize];
    let glass = Arc::new(Mutex::new(Glass { size, pixels, ..Glass::default() }));
    let (spi, dc) = (Bus(Arc::clone(&glass)), Wire(Arc::clone(&glass), false));
    let reset = panel.reset.as_ref().map(|_| Wire(Arc::clone(&glass), true));
    let display = begin(&panel, Wires { spi, dc, reset }, &mut NoDelay, 0.15, turn).unwrap();
    (display, glass)
}

/// A picture in which no two neighbours are alike.
fn colourful(size: Size, seed: u32) -> Frame {
    let mut frame = Frame::new(size);
    let all = frame.bounding_box();
    let Ok(()) = frame.draw_iter(all.points().map(|at| {
        let value = (at.x as u32 * 40503 + at.y as u32 * 65599 + seed).wrapping_mul(2_654_435_761);
        let [r, g, b, _] = value.to_be_bytes();
        Pixel(at, Rgb888::new(r, g, b))
    }));
    frame
}

/// A colour with as many bits as the panel has, each channel to the nearest.
fn reduced(color: Rgb888, bits: u8) -> [u8; 3] {
    let most = if bits == 16 { [31.0, 63.0, 31.0] } else { [63.0; 3] };
    let channels = [color.r(), color.g(), color.b()];
    std::array::from_fn(|at| (f64::from(channels[at]) / 255.0 * most[at]).round() as u8)
}

fn assert_shown(glass: &Glass, frame: &Frame, turn: Turn) {
    for at in frame.bounding_box().points() {
        let place = turn.to_display(at, glass.size);
        let seen = glass.pixels[place.y as usize * glass.size.width as usize + place.x as usize];
        assert_eq!(seen, Some(reduced(frame.pixel(at).unwrap(), glass.bits)), "{at} {turn:?}");
    }
}

const TURNS: [Turn; 4] = [Turn::Upright, Turn::Right, Turn::Over, Turn::Left];

#[test]
fn every_chip_shows_the_frame_however_it_is_mounted() {
    for (chip, bits) in
        [("ili9341", 16), ("ili9486", 18), ("ili9488", 18), ("st7789", 16), ("st7796", 16)]
    {
        for turn in TURNS {
            let (mut display, glass) = opened(&format!("{chip},dc=1"), turn);
            assert_eq!(display.panel.size, turn.size(display.native));
            let frame = colourful(display.panel.size, 7);
            display.presenter.present(&frame, frame.bounding_box()).unwrap();
            let glass = glass.lock().unwrap();
            assert!(glass.awake && glass.lit && glass.bits == bits, "{chip}");
            assert_shown(&glass, &frame, turn);
            let most = glass.writes.iter().max().copied();
            assert!(most <= Some(MOST_BYTES), "{most:?} bytes are more than spidev takes");
        }
    }
}

#[test]
fn only_what_changed_is_sent() {
    for turn in TURNS {
        let (mut display, glass) = opened("ili9486,dc=1", turn);
        let before = colourful(display.panel.size, 1);
        display.presenter.present(&before, before.bounding_box()).unwrap();
        let mut after = before.clone();
        let changed = Rectangle::new(Point::new(31, 17), Size::new(60, 9));
        let Ok(()) = after.fill_solid(&changed, Rgb888::new(12, 200, 99));
        glass.lock().unwrap().pixels_sent = 0;
        display.presenter.present(&after, after.damage(&before)).unwrap();
        assert_eq!(glass.lock().unwrap().pixels_sent, 60 * 9, "{turn:?}");
        assert_shown(&glass.lock().unwrap(), &after, turn);
        // Nothing, and what lies beyond the panel.
        for nothing in [Rectangle::zero(), Rectangle::new(Point::new(900, 0), Size::new(5, 5))] {
            display.presenter.present(&after, nothing).unwrap();
        }
        assert_eq!(glass.lock().unwrap().pixels_sent, 60 * 9);
        let beyond = Rectangle::new(Point::new(-10, -10), Size::new(12, 13));
        display.presenter.present(&after, beyond).unwrap();
        assert_eq!(glass.lock().unwrap().pixels_sent, 60 * 9 + 2 * 3);
    }
}

#[test]
fn the_reset_line_and_the_panels_colours_are_as_set() {
    let (_, glass) = opened("st7789,dc=1", Turn::Upright);
    assert_eq!(glass.lock().unwrap().resets, 1, "by command, where there is no line");
    let (_, glass) = opened("st7789,dc=1,reset=2,bgr,invert", Turn::Upright);
    let glass = glass.lock().unwrap();
    assert_eq!((glass.resets, glass.inverted, glass.madctl & 8), (1, true, 8));
    let (_, plain) = opened("st7789,dc=1,reset=2", Turn::Upright);
    let plain = plain.lock().unwrap();
    assert_eq!((plain.inverted, plain.madctl & 8), (false, 0));
}

#[test]
fn a_bus_that_is_not_there_is_named() {
    let panel = "ili9486,dc=GPIO24,device=/dev/spidev99.0".parse().unwrap();
    let error = open(&panel, 0.15, Turn::Upright).err().unwrap().to_string();
    assert!(error.contains("/dev/spidev99.0: cannot open the bus"), "{error}");
}
