//! A camera's frame: whether it is whole, the file that becomes of it, and a small picture of it for the screen.

use std::borrow::Cow;
use std::io::Cursor;

use glaucoma_common::photo::{Limits, PhotoError, decode};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, RgbImage};

use super::tables::with_tables;

/// How a camera codes its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// Each frame a JPEG: kept as it is.
    Mjpeg,
    /// Two pixels in four bytes, luma for each, chroma for both: kept as PNG.
    Yuyv,
}

impl Pixels {
    /// The kernel's four letters, as a number.
    pub(super) fn code(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Mjpeg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
        })
    }

    pub(super) fn of(code: u32) -> Option<Self> {
        [Self::Mjpeg, Self::Yuyv].into_iter().find(|pixels| pixels.code() == code)
    }
}

/// How luma and chroma are made of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// The shares of red and blue in luma.
    shares: [f32; 2],
    /// Whether black is 0 and white 255, not 16 and 235.
    full: bool,
}

impl Colours {
    /// ITU-R BT.601, of which JPEG takes the full range.
    const BT601: [f32; 2] = [0.299, 0.114];
    /// ITU-R BT.709.
    const BT709: [f32; 2] = [0.2126, 0.0722];
    /// JFIF.
    pub(super) const JPEG: Self = Self { shares: Self::BT601, full: true };

    /// What the driver says: `v4l2_colorspace`, `v4l2_ycbcr_encoding`, `v4l2_quantization`, 0 where the colour
    /// space tells it. `None` for what no camera of ours has: better refused than shown in wrong colours.
    pub(super) fn of(space: u32, coding: u32, range: u32) -> Option<Self> {
        let shares = match (coding, space) {
            (1, _) | (0, 0 | 1 | 4..=9) => Self::BT601,
            (2, _) | (0, 3 | 12) => Self::BT709,
            _ => return None,
        };
        let full = match range {
            0 => space == 7,
            1 => true,
            2 => false,
            _ => return None,
        };
        Some(Self { shares, full })
    }

    /// Red, green and blue of a luma and its chroma, to the nearest.
    fn rgb(self, luma: u8, blue: u8, red: u8) -> [u8; 3] {
        let (low, high, reach) = if self.full { (0.0, 255.0, 255.0) } else { (16.0, 235.0, 224.0) };
        let y = (f32::from(luma) - low) * (255.0 / (high - low));
        let [cb, cr] = [blue, red].map(|chroma| (f32::from(chroma) - 128.0) * (255.0 / reach));
        let [kr, kb] = self.shares;
        let r = y + 2.0 * (1.0 - kr) * cr;
        let b = y + 2.0 * (1.0 - kb) * cb;
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|value| (value + 0.5).clamp(0.0, 255.0) as u8)
    }
}

/// How a camera's frames are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// Their coding.
    pub pixels: Pixels,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from a row to the next; of no meaning in a JPEG.
    pub pitch: usize,
    /// Of no meaning in a JPEG, which says it itself.
    pub colours: Colours,
}

/// A frame in the driver's memory.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What the camera sent of it.
    pub bytes: &'a [u8],
    /// Whether the driver knows that a part is lost.
    pub damaged: bool,
}

/// Why a frame is no photograph.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A part was lost on the way.
    #[error("a part of the frame was lost")]
    Damaged,
    /// Fewer bytes than pixels.
    #[error("the frame has {bytes} bytes instead of {whole}")]
    Short {
        /// So many came.
        bytes: usize,
        /// So many are a frame.
        whole: usize,
    },
    /// A JPEG that is none, or is cut short.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// A JPEG of another size than the camera was set to.
    #[error("the frame is {0} x {1} pixels")]
    Size(u32, u32),
    /// Its file could not be made.
    #[error("writing the frame as PNG: {0}")]
    Png(image::ImageError),
}

impl Frame<'_> {
    /// The frame as a file: a JPEG as the camera sent it, else a PNG of its pixels. A frame that is not whole is
    /// none.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn photograph(&self, mode: &Mode) -> Result<Vec<u8>, FrameError> {
        match mode.pixels {
            Pixels::Mjpeg => {
                let file = self.jpeg()?.into_owned();
                decoded(&file, mode)?;
                Ok(file)
            }
            Pixels::Yuyv => png(&self.rgb(mode)?),
        }
    }

    /// The frame's pixels, reduced to `most` across and down.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn reduced(&self, mode: &Mode, most: (u32, u32)) -> Result<RgbImage, FrameError> {
        let whole = self.rgb(mode)?;
        let scale = |side: u32, most: u32| f64::from(most) / f64::from(side);
        let scale = scale(mode.width, most.0).min(scale(mode.height, most.1));
        if scale >= 1.0 {
            return Ok(whole);
        }
        let [width, height] =
            [mode.width, mode.height].map(|side| ((f64::from(side) * scale) as u32).max(1));
        Ok(image::imageops::thumbnail(&whole, width, height))
    }

    fn rgb(&self, mode: &Mode) -> Result<RgbImage, FrameError> {
        match mode.pixels {
            Pixels::Mjpeg => decoded(&self.jpeg()?, mode),
            Pixels::Yuyv => self.yuyv(mode),
        }
    }

    /// The JPEG; with the tables that Motion JPEG may leave out, and no file may.
    fn jpeg(&self) -> Result<Cow<'_, [u8]>, FrameError> {
        if self.damaged {
            return Err(FrameError::Damaged);
        }
        Ok(with_tables(self.bytes))
    }

    fn yuyv(&self, mode: &Mode) -> Result<RgbImage, FrameError> {
        if self.damaged {
            return Err(FrameError::Damaged);
        }
        let Mode { width, height, pitch, colours, .. } = *mode;
        let row = 2 * width as usize;
        let whole = (height as usize).saturating_sub(1) * pitch + row;
        if self.bytes.len() < whole || pitch < row {
            return Err(FrameError::Short { bytes: self.bytes.len(), whole });
        }
        let mut pixels = Vec::with_capacity(3 * width as usize * height as usize);
        for line in self.bytes.chunks(pitch).take(height as usize) {
            for pair in line[..row].chunks_exact(4) {
                let &[first, blue, second, red] = pair else { continue };
                pixels.extend(colours.rgb(first, blue, red));
                pixels.extend(colours.rgb(second, blue, red));
            }
        }
        let bytes = pixels.len();
        RgbImage::from_raw(width, height, pixels).ok_or(FrameError::Short { bytes, whole })
    }
}

fn decoded(file: &[u8], mode: &Mode) -> Result<RgbImage, FrameError> {
    let pixels = decode(file, &Limits::default())?.pixels;
    match pixels.dimensions() {
        size if size == (mode.width, mode.height) => Ok(pixels),
        (width, height) => Err(FrameError::Size(width, height)),
    }
}

/// Lossless whatever the effort: the least, so that a board is done at once.
fn png(pixels: &RgbImage) -> Result<Vec<u8>, FrameError> {
    let mut file = Cursor::new(Vec::new());
    let encoder =
        PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = pixels.dimensions();
    let written = encoder.write_image(pixels, width, height, image::ExtendedColorType::Rgb8);
    written.map_err(FrameError::Png)?;
    Ok(file.into_inner())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RETINA: &[u8] = include_bytes!("../../../../../tests/data/retina.jpg");

    fn yuyv(width: u32, height: u32, pitch: usize) -> Mode {
        let colours = Colours::of(8, 0, 0).unwrap();
        Mode { pixels: Pixels::Yuyv, width, height, pitch, colours }
    }

    fn mjpeg() -> Mode {
        let (width, height) = decode(RETINA, &Limits::default()).unwrap().pixels.dimensions();
        Mode { pixels: Pixels::Mjpeg, width, height, pitch: 0, colours: Colours::JPEG }
    }

    fn whole(bytes: &[u8]) -> Frame<'_> {
        Frame { bytes, damaged: false }
    }

    #[test]
    fn colour_bars_are_the_colours_they_are_made_of() {
        // 100 % bars as ITU-R BT.801 codes them in BT.601, limited range: white to black.
        let bars = [
            ([235, 128, 128], [255, 255, 255]),
            ([210, 16, 146], [255, 255, 0]),
            ([170, 166, 16], [0, 255, 255]),
            ([145, 54, 34], [0, 255, 0]),
            ([106, 202, 222], [255, 0, 255]),
            ([81, 90, 240], [255, 0, 0]),
            ([41, 240, 110], [0, 0, 255]),
            ([16, 128, 128], [0, 0, 0]),
        ];
        let colours = Colours::of(8, 0, 0).unwrap();
        for ([y, cb, cr], expected) in bars {
            let seen = colours.rgb(y, cb, cr);
            let off = seen.iter().zip(expected).map(|(&a, b): (&u8, u8)| a.abs_diff(b)).max();
            assert!(off <= Some(2), "{seen:?} for {expected:?}");
        }
    }

    #[test]
    fn the_range_and_the_coding_are_the_drivers() {
        // JFIF: R = Y + 1.402 (Cr - 128), B = Y + 1.772 (Cb - 128), by hand for (100, 90, 150).
        assert_eq!(Colours::of(7, 0, 0).unwrap().rgb(100, 90, 150), [131, 97, 33]);
        assert_eq!(Colours::of(8, 1, 1).unwrap(), Colours::JPEG);
        // BT.709, limited: red is 63, 102, 240.
        let [r, g, b] = Colours::of(3, 0, 0).unwrap().rgb(63, 102, 240);
        assert!(r >= 254 && g <= 2 && b <= 2, "{r} {g} {b}");
        assert_eq!(Colours::of(8, 2, 2), Colours::of(3, 0, 0));
        assert_eq!(
            (Colours::of(10, 0, 0), Colours::of(8, 6, 0), Colours::of(8, 0, 3)),
            (None, None, None)
        );
    }

    #[test]
    fn a_yuyv_frame_becomes_a_png_with_its_pixels_and_nothing_behind_them() {
        // 128 pixels and 12 bytes of padding a row; each pair its own luma, all in one chroma.
        let mode = yuyv(128, 130, 268);
        let mut bytes = vec![0xee; 268 * 130];
        for row in bytes.chunks_mut(268) {
            for (index, pair) in row[..256].chunks_mut(4).enumerate() {
                pair.copy_from_slice(&[16 + index as u8, 128, 235, 128]);
            }
        }
        let file = whole(&bytes).photograph(&mode).unwrap();
        let pixels = decode(&file, &Limits::default()).unwrap().pixels;
        assert_eq!(pixels.dimensions(), (128, 130));
        for (x, _, pixel) in pixels.enumerate_pixels() {
            let grey = (f64::from(x / 2) * 255.0 / 219.0).round() as u8;
            let expected = if x % 2 == 0 { grey } else { 255 };
            assert_eq!(pixel.0, [expected; 3], "{x}");
        }
        // The last row may come without its padding, but not without a pixel.
        assert!(whole(&bytes[..bytes.len() - 12]).photograph(&mode).is_ok());
        let short = whole(&bytes[..bytes.len() - 13]).photograph(&mode);
        assert!(matches!(short, Err(FrameError::Short { .. })));
        assert!(matches!(whole(&[]).photograph(&mode), Err(FrameError::Short { .. })));
        let damaged = Frame { bytes: &bytes, damaged: true };
        assert!(matches!(damaged.photograph(&mode), Err(FrameError::Damaged)));
    }

    #[test]
    fn a_jpeg_frame_is_kept_byte_for_byte_and_one_cut_short_is_refused() {
        assert_eq!(whole(RETINA).photograph(&mjpeg()).unwrap(), RETINA);
        for end in [0, 1, 2, 100, RETINA.len() / 2, RETINA.len() - 2] {
            assert!(whole(&RETINA[..end]).photograph(&mjpeg()).is_err(), "{end}");
        }
        let other = Mode { width: 640, ..mjpeg() };
        assert!(matches!(whole(RETINA).photograph(&other), Err(FrameError::Size(..))));
    }

    #[test]
    fn a_frame_is_reduced_to_the_screen_and_never_enlarged() {
        let mode = mjpeg();
        let small = whole(RETINA).reduced(&mode, (320, 200)).unwrap();
        let (width, height) = small.dimensions();
        assert!(width <= 320 && height <= 200 && (width == 320 || height == 200));
        let shape = f64::from(width) / f64::from(height);
        assert!((shape - f64::from(mode.width) / f64::from(mode.height)).abs() < 0.02);
        let same = whole(RETINA).reduced(&mode, (9999, 9999)).unwrap();
        assert_eq!(same, decode(RETINA, &Limits::default()).unwrap().pixels);
    }
}
