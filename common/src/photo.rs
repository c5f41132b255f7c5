//! From a photograph's bytes to upright RGB pixels, under limits.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};
use sha2::{Digest, Sha256};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

/// What a photograph may be; checked before any pixel is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file in bytes.
    pub max_bytes: usize,
    /// Largest width and height in pixels.
    pub max_side: u32,
    /// Smallest width and height in pixels.
    pub min_side: u32,
}

impl Default for Limits {
    /// 64 MiB; 128 to 8192 pixels a side.
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_side: 8192, min_side: 128 }
    }
}

/// A decoded photograph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// The pixels, turned upright as the EXIF orientation says.
    pub pixels: RgbImage,
    /// SHA-256 of the file's bytes, lower-case hexadecimal.
    pub sha256: String,
}

/// Why bytes are no usable photograph. `Display` is a plain sentence; it does not name the file,
/// which this module does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhotoError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("the file has {bytes} bytes; at most {max} are accepted")]
    TooManyBytes {
        /// The file's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Neither JPEG nor PNG.
    #[error("the file is neither a JPEG nor a PNG picture")]
    UnknownFormat,
    /// More pixels than allowed.
    #[error("the picture is {width} x {height} pixels; at most {max} a side are accepted")]
    TooLarge {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The limit.
        max: u32,
    },
    /// Fewer pixels than allowed.
    #[error("the picture is {width} x {height} pixels; at least {min} a side are needed")]
    TooSmall {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The limit.
        min: u32,
    },
    /// The file stops before the picture does.
    #[error("the {format} file is cut off: the picture's end is missing")]
    Truncated {
        /// `JPEG` or `PNG`.
        format: &'static str,
    },
    /// A kind of JPEG that no fundus camera writes.
    #[error(
        "the JPEG file holds {colours} colours, which is not supported; save it as RGB or grey"
    )]
    UnsupportedColours {
        /// The colour space's name.
        colours: String,
    },
    /// A damaged JPEG.
    #[error("the JPEG file is damaged or of an unsupported kind: {0}")]
    Jpeg(String),
    /// A damaged PNG.
    #[error("the PNG file is damaged or of an unsupported kind: {0}")]
    Png(String),
}

/// Decodes a JPEG or PNG photograph, strictly: a file that is cut off is an error, not a picture
/// with a grey part. That holds even where another program put an end marker behind what was left
/// of a sequential JPEG; of a progressive one, such a file passes for the coarser picture that it
/// is. Transparent pixels come out black.
///
/// # Errors
/// See [`PhotoError`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, PhotoError> {
    if bytes.is_empty() {
        return Err(PhotoError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(PhotoError::TooManyBytes { bytes: bytes.len(), max: limits.max_bytes });
    }
    let pixels = if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        decode_jpeg(bytes, limits)?
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(bytes, limits)?
    } else {
        return Err(PhotoError::UnknownFormat);
    };
    Ok(Photo { pixels: upright(pixels, bytes), sha256: sha256_hex(bytes) })
}

/// SHA-256 of `bytes`, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Two lower-case hexadecimal digits a byte.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_size(width: u32, height: u32, limits: &Limits) -> Result<(), PhotoError> {
    if width.max(height) > limits.max_side {
        return Err(PhotoError::TooLarge { width, height, max: limits.max_side });
    }
    if width.min(height) < limits.min_side {
        return Err(PhotoError::TooSmall { width, height, min: limits.min_side });
    }
    Ok(())
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<RgbImage, PhotoError> {
    // Our own limits speak first and more clearly; these keep the decoder from having others.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let layout = jpeg_layout(bytes);
    let open = layout.as_ref().and_then(|layout| without_end_marker(bytes, layout));
    let seen = open.as_deref().unwrap_or(bytes);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(seen), options);
    let failed = |error: DecodeErrors| PhotoError::Jpeg(error.to_string());
    if let Err(error) = decoder.decode_headers() {
        return Err(layout.map_or(PhotoError::Truncated { format: "JPEG" }, |_| failed(error)));
    }
    let size = decoder.info().map(|info| (u32::from(info.width), u32::from(info.height)));
    let (width, height) = size.ok_or_else(|| PhotoError::Jpeg("it has no frame header".into()))?;
    check_size(width, height, limits)?;
    if layout.is_none() {
        return Err(PhotoError::Truncated { format: "JPEG" });
    }
    match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr | ColorSpace::RGB | ColorSpace::Luma) => {}
        other => {
            let colours = other.map_or_else(|| "unknown".into(), |space| format!("{space:?}"));
            return Err(PhotoError::UnsupportedColours { colours });
        }
    }
    let pixels = decoder.decode().map_err(failed)?;
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| PhotoError::Jpeg("its pixels do not fill its frame".into()))
}

/// What a JPEG file's markers tell.
struct JpegLayout {
    /// Position of the end-of-image marker.
    end: usize,
    /// Number of scans.
    scans: usize,
    /// Whether the frame is coded in one sweep, not progressively.
    sequential: bool,
}

/// Follows the file's segments and scans to the end-of-image marker; `None` when there is none. In
/// the coded data of a scan a marker cannot occur by chance, so a file cut anywhere before its end
/// has none.
fn jpeg_layout(bytes: &[u8]) -> Option<JpegLayout> {
    const END: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    let (mut at, mut scans, mut sequential) = (2, 0, false);
    loop {
        // Skip coded data (stuffed zeros, restart markers) and fill bytes up to the next marker.
        let marker = loop {
            at += 1 + bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
            match bytes.get(at)? {
                0x00 | 0x01 | 0xd0..=0xd7 | 0xff => {}
                &marker => break marker,
            }
        };
        at += 1;
        match marker {
            END => return Some(JpegLayout { end: at - 2, scans, sequential }),
            START_OF_SCAN => scans += 1,
            0xc0 | 0xc1 => sequential = true,
            _ => {}
        }
        let length = bytes.get(at..at + 2)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
}

/// The file as the decoder is to see it.
///
/// Where a sequential scan stops early but an end marker follows (some recovery tools write one),
/// the decoder would fill the rest with grey and say nothing. Without the marker it reports that
/// the data ran out. A few zeros stand behind the scan, as the decoder reads ahead.
fn without_end_marker(bytes: &[u8], layout: &JpegLayout) -> Option<Vec<u8>> {
    const READ_AHEAD: usize = 16;
    (layout.sequential && layout.scans == 1).then(|| {
        let mut open = Vec::with_capacity(layout.end + READ_AHEAD);
        open.extend_from_slice(&bytes[..layout.end]);
        open.resize(layout.end + READ_AHEAD, 0);
        open
    })
}

fn decode_png(bytes: &[u8], limits: &Limits) -> Result<RgbImage, PhotoError> {
    let failed = |error: image::ImageError| {
        if ended_early(&error) {
            PhotoError::Truncated { format: "PNG" }
        } else {
            PhotoError::Png(error.to_string())
        }
    };
    // The header first, by hand: the sizes are needed before the decoder sees the rest.
    let header = bytes.get(16..24).ok_or(PhotoError::Truncated { format: "PNG" })?;
    let side = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    check_size(side(0), side(4), limits)?;
    if !png_is_complete(bytes) {
        return Err(PhotoError::Truncated { format: "PNG" });
    }
    let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(flatten(picture))
}

/// Whether the file's chunks lead to the end chunk.
fn png_is_complete(bytes: &[u8]) -> bool {
    let mut at = 8;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // Length, kind, data, checksum.
        at = match at.checked_add(length).and_then(|end| end.checked_add(12)) {
            Some(end) if end <= bytes.len() => end,
            _ => return false,
        };
        if kind == b"IEND" {
            return true;
        }
    }
    false
}

fn ended_early(error: &image::ImageError) -> bool {
    matches!(error, image::ImageError::IoError(io)
        if io.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// RGB on black.
fn flatten(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let (width, height) = rgba.dimensions();
    let mut pixels = RgbImage::new(width, height);
    for (to, from) in pixels.chunks_exact_mut(3).zip(rgba.chunks_exact(4)) {
        for (to, from_channel) in to.iter_mut().zip(from) {
            let product = u32::from(*from_channel) * u32::from(from[3]);
            *to = ((product + 127) / 255) as u8;
        }
    }
    pixels
}

/// Turns the pixels as the file's EXIF orientation says. EXIF that cannot be read says nothing.
fn upright(pixels: RgbImage, bytes: &[u8]) -> RgbImage {
    let orientation = exif::Reader::new()
        .read_from_container(&mut Cursor::new(bytes))
        .ok()
        .and_then(|exif| {
            let field = exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?;
            u8::try_from(field.value.get_uint(0)?).ok()
        })
        .and_then(Orientation::from_exif);
    match orientation {
        None | Some(Orientation::NoTransforms) => pixels,
        Some(orientation) => {
            let mut picture = DynamicImage::ImageRgb8(pixels);
            picture.apply_orientation(orientation);
            picture.into_rgb8()
        }
    }
}

#[cfg(test)]
mod tests;
