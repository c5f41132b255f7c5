//! A display behind a framebuffer device: older kernels, and drivers without mode setting. Pixels are written
//! as into a file, so that drivers that send them on by themselves (SPI, USB) see what has changed.

mod info;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use self::info::{Bitfield, Fixed, Variable};
use super::{Channel, DisplayError, Frame, Layout, Presenter, Turn, panel_of};
use crate::panel::Panel;

/// A framebuffer device in the mode in which it was found.
pub struct FbdevDisplay {
    device: File,
    path: PathBuf,
    layout: Layout,
    /// What is on the display, byte for byte.
    memory: Vec<u8>,
    width_mm: Option<u32>,
    turn: Turn,
}

impl FbdevDisplay {
    /// Opens a device such as `/dev/fb0`.
    ///
    /// # Errors
    /// [`DisplayError::Device`] where it is not there, is no framebuffer, or keeps its pixels in a way that has
    /// no 16, 24 or 32 bits of red, green and blue.
    pub fn open(path: &Path, turn: Turn) -> Result<Self, DisplayError> {
        let failed =
            |step| move |source| DisplayError::Device { path: path.to_path_buf(), step, source };
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed("open the framebuffer"))?;
        let variable = info::variable(&device).map_err(failed("ask for its mode"))?;
        let fixed = info::fixed(&device).map_err(failed("ask for its memory"))?;
        let layout = layout(&variable, &fixed)
            .map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))
            .map_err(failed("draw in its mode"))?;
        let memory = vec![0; end(&layout, layout.size.height as usize - 1)];
        let width_mm = Some(variable.width_mm);
        Ok(Self { device, path: path.to_path_buf(), layout, memory, width_mm, turn })
    }

    /// The panel to draw for; `mm_per_px` where the display does not say how large it is.
    #[must_use]
    pub fn panel(&self, mm_per_px: f64) -> Panel {
        panel_of(self.layout.size, self.width_mm, self.turn, mm_per_px)
    }

    /// Its own pixels, before the turn.
    #[must_use]
    pub fn native(&self) -> Size {
        self.layout.size
    }
}

impl Presenter for FbdevDisplay {
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        let place = self.turn.copy(frame, damage, &self.layout, &mut self.memory);
        let Some(last) = place.bottom_right() else { return Ok(()) };
        let begin = self.layout.start + place.top_left.y as usize * self.layout.pitch;
        let rows = &self.memory[begin..end(&self.layout, last.y as usize)];
        self.device.write_all_at(rows, begin as u64).map_err(|source| DisplayError::Device {
            path: self.path.clone(),
            step: "write into the framebuffer",
            source,
        })
    }
}

/// The byte after the last pixel of a row.
fn end(layout: &Layout, row: usize) -> usize {
    layout.start + row * layout.pitch + layout.size.width as usize * layout.bytes
}

/// `FB_TYPE_PACKED_PIXELS`: a pixel's bits lie together.
const PACKED_PIXELS: u32 = 0;
/// `FB_VISUAL_TRUECOLOR` and `FB_VISUAL_DIRECTCOLOR`: a pixel is its colour, no index into a table.
const COLORS: [u32; 2] = [2, 4];

/// How the device keeps its pixels; the reason where that is not supported.
fn layout(variable: &Variable, fixed: &Fixed) -> Result<Layout, String> {
    let bits = variable.bits_per_pixel;
    let plain = fixed.kind == PACKED_PIXELS && variable.nonstandard == 0 && variable.grayscale == 0;
    if !plain || !COLORS.contains(&fixed.visual) || ![16, 24, 32].contains(&bits) {
        return Err(format!(
            "{bits} bits a pixel of visual {} and type {}: 16, 24 or 32 bits of red, green and blue are needed",
            fixed.visual, fixed.kind
        ));
    }
    let channel = |field: Bitfield| {
        let inside = field.offset.checked_add(field.length).is_some_and(|end| end <= bits);
        let known = inside && field.msb_right == 0;
        known.then_some(Channel { offset: field.offset, length: field.length })
    };
    let [Some(red), Some(green), Some(blue), Some(alpha)] =
        [variable.red, variable.green, variable.blue, variable.transparency].map(channel)
    else {
        return Err("the bits of a colour lie outside of the pixel or backwards".to_owned());
    };
    let (bytes, pitch) = (bits as usize / 8, fixed.line_length as usize);
    let layout = Layout {
        size: Size::new(variable.width, variable.height),
        start: variable.y_offset as usize * pitch + variable.x_offset as usize * bytes,
        pitch,
        bytes,
        channels: [red, green, blue],
        set: alpha.mask(),
    };
    let fits = |layout: &Layout| {
        layout.pitch >= layout.size.width as usize * bytes
            && end(layout, layout.size.height as usize - 1) <= fixed.memory_length as usize
    };
    // No display is larger than that, and no product overflows.
    let sane = (1..=16_384).contains(&variable.width)
        && (1..=16_384).contains(&variable.height)
        && variable.y_offset <= 1 << 16
        && variable.x_offset <= 1 << 16
        && fixed.line_length <= 1 << 20;
    if sane && fits(&layout) {
        return Ok(layout);
    }
    let Variable { width, height, .. } = variable;
    let Fixed { line_length, memory_length, .. } = fixed;
    Err(format!(
        "{width}x{height} pixels in rows of {line_length} bytes do not fit into {memory_length} bytes"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use embedded_graphics::pixelcolor::Rgb888;

    use super::*;

    fn field(offset: u32, length: u32) -> Bitfield {
        Bitfield { offset, length, msb_right: 0 }
    }

    /// 4x3 pixels as `vfb` gives them with 16 bits: red lowest.
    fn bgr565() -> (Variable, Fixed) {
        let variable = Variable {
            width: 4,
            height: 3,
            bits_per_pixel: 16,
            red: field(0, 5),
            green: field(5, 6),
            blue: field(11, 5),
            ..Variable::default()
        };
        let fixed =
            Fixed { visual: COLORS[0], line_length: 10, memory_length: 64, ..Fixed::default() };
        (variable, fixed)
    }

    #[test]
    fn the_driver_says_where_pixels_lie() {
        let (mut variable, fixed) = bgr565();
        variable.y_offset = 2;
        variable.x_offset = 1;
        let layout = layout(&variable, &fixed).unwrap();
        assert_eq!((layout.start, layout.pitch, layout.bytes), (22, 10, 2));
        assert_eq!(layout.channels[2], Channel { offset: 11, length: 5 });
    }

    #[test]
    fn what_cannot_be_drawn_in_is_refused_with_its_reason() {
        let refuse = |change: &dyn Fn(&mut Variable, &mut Fixed), expected: &str| {
            let (mut variable, mut fixed) = bgr565();
            change(&mut variable, &mut fixed);
            let why = layout(&variable, &fixed).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        refuse(&|variable, _| variable.bits_per_pixel = 8, "8 bits");
        refuse(&|_, fixed| fixed.visual = 3, "visual 3");
        refuse(&|_, fixed| fixed.kind = 1, "type 1");
        refuse(&|variable, _| variable.grayscale = 1, "red, green and blue");
        refuse(&|variable, _| variable.blue.offset = 12, "outside");
        refuse(&|variable, _| variable.red.offset = u32::MAX, "outside");
        refuse(&|variable, _| variable.red.msb_right = 1, "backwards");
        refuse(&|_, fixed| fixed.line_length = 7, "do not fit");
        refuse(&|_, fixed| fixed.memory_length = 27, "do not fit");
        refuse(&|variable, _| variable.height = 0, "do not fit");
        refuse(&|variable, _| variable.y_offset = u32::MAX, "do not fit");
    }

    #[test]
    fn only_the_rows_that_changed_are_written() {
        let (variable, fixed) = bgr565();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0xEE; 64]).unwrap();
        let layout = layout(&variable, &fixed).unwrap();
        let mut display = FbdevDisplay {
            device: file.reopen().unwrap(),
            path: file.path().to_path_buf(),
            layout,
            memory: vec![0; end(&layout, 2)],
            width_mm: None,
            turn: Turn::Upright,
        };
        let mut frame = Frame::new(layout.size);
        let damage = Rectangle::new(Point::new(1, 1), Size::new(2, 1));
        let Ok(()) = frame.fill_solid(&damage, Rgb888::RED);
        display.present(&frame, damage).unwrap();
        display.present(&frame, Rectangle::zero()).unwrap();
        let written = std::fs::read(file.path()).unwrap();
        assert!(written[..10].iter().chain(&written[18..]).all(|&byte| byte == 0xEE));
        assert_eq!(written[10..18], [0, 0, 31, 0, 31, 0, 0, 0]);
    }

    #[test]
    fn a_file_that_is_no_framebuffer_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = FbdevDisplay::open(file.path(), Turn::Upright).err().unwrap().to_string();
        assert!(error.contains("cannot ask for its mode"), "{error}");
        let missing = FbdevDisplay::open(Path::new("/dev/fb99"), Turn::Upright);
        assert!(missing.err().unwrap().to_string().contains("cannot open the framebuffer"));
    }
}
