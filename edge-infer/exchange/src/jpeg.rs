//! What a JPEG file's header says, and the file without what it says of people and places.

/// The frame header, and how its colours are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whether it is coded as DICOM's JPEG Baseline: 8 bits, Huffman, in one sweep.
    pub baseline: bool,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Samples a pixel.
    pub components: u8,
    /// Whether the three colours are red, green and blue as they are, not luma and chroma.
    pub rgb: bool,
}

/// A segment between the start of the file and its first scan: marker, and position of the whole of it.
pub(crate) struct Segment {
    pub marker: u8,
    pub start: usize,
    pub end: usize,
}

pub(crate) const START_OF_SCAN: u8 = 0xda;

/// The segments up to and with the first start of scan; ends early where the header is damaged.
pub(crate) fn segments(bytes: &[u8]) -> impl Iterator<Item = Segment> + '_ {
    let mut at = if bytes.starts_with(&[0xff, 0xd8]) { 2 } else { bytes.len() };
    std::iter::from_fn(move || {
        let start = at;
        if bytes.get(at)? != &0xff {
            return None;
        }
        // Any number of fill bytes may stand before a marker.
        while bytes.get(at)? == &0xff {
            at += 1;
        }
        let marker = *bytes.get(at)?;
        let length = bytes.get(at + 1..at + 3)?;
        let end = at + 1 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if end > bytes.len() {
            return None;
        }
        at = if marker == START_OF_SCAN { bytes.len() } else { end };
        Some(Segment { marker, start, end })
    })
}

/// The frame header; `None` where there is none before the first scan.
pub(crate) fn frame(bytes: &[u8]) -> Option<Frame> {
    let (mut found, mut adobe, mut jfif) = (None, None, false);
    for segment in segments(bytes) {
        let body = bytes.get(segment.start..segment.end)?;
        let body = &body[body.iter().position(|&byte| byte != 0xff)? + 3..];
        match segment.marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let ids = body.get(6..).unwrap_or_default();
                let named_rgb = ids.iter().step_by(3).take(3).eq(b"RGB");
                found = Some((
                    Frame {
                        baseline: segment.marker == 0xc0 && *body.first()? == 8,
                        height: u16::from_be_bytes([*body.get(1)?, *body.get(2)?]),
                        width: u16::from_be_bytes([*body.get(3)?, *body.get(4)?]),
                        components: *body.get(5)?,
                        rgb: false,
                    },
                    named_rgb,
                ));
            }
            0xe0 => jfif |= body.starts_with(b"JFIF\0"),
            0xee if body.starts_with(b"Adobe") => adobe = body.get(11).copied(),
            _ => {}
        }
    }
    // The order in which libjpeg looks: JFIF is always luma and chroma, then Adobe's marker tells, then the names.
    let (frame, named_rgb) = found?;
    let rgb = !jfif && adobe.map_or(named_rgb, |transform| transform == 0);
    Some(Frame { rgb: rgb && frame.components == 3, ..frame })
}

/// The file without comments and application segments (EXIF with names, serial numbers and places, thumbnails,
/// maker's notes); those that say how colours are coded (JFIF, Adobe, ICC profile) stay, and every pixel stays.
/// `None` where the header is damaged.
pub(crate) fn without_metadata(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut kept = vec![0xff, 0xd8];
    for segment in segments(bytes) {
        let body = bytes.get(segment.start..segment.end)?;
        let told = body.get(4..).unwrap_or_default();
        let about_colours = match segment.marker {
            0xe0 => told.starts_with(b"JFIF\0"),
            0xe2 => told.starts_with(b"ICC_PROFILE\0"),
            0xee => told.starts_with(b"Adobe"),
            marker => !matches!(marker, 0xe0..=0xef | 0xfe),
        };
        if segment.marker == START_OF_SCAN {
            kept.extend_from_slice(&bytes[segment.start..]);
            return Some(kept);
        }
        if about_colours {
            kept.extend_from_slice(body);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use glaucoma_common::photo::{Limits, decode};

    const RETINA: &[u8] = include_bytes!("../../../tests/data/retina.jpg");

    #[test]
    fn the_frame_is_the_decoders() {
        let (frame, photo) =
            (frame(RETINA).unwrap(), decode(RETINA, &Limits::default()).unwrap().pixels);
        assert_eq!((u32::from(frame.width), u32::from(frame.height)), photo.dimensions());
        assert!(frame.baseline && frame.components == 3 && !frame.rgb);
    }

    #[test]
    fn metadata_goes_and_pixels_stay() {
        let mut named = RETINA[..2].to_vec();
        named.extend_from_slice(b"\xff\xfe\x00\x0aJane Doe");
        named.extend_from_slice(b"\xff\xe1\x00\x0fExif\0\0Delhi.\0");
        named.extend_from_slice(&RETINA[2..]);
        let bare = without_metadata(&named).unwrap();
        for secret in [&b"Jane"[..], b"Delhi", b"Exif"] {
            assert!(!bare.windows(secret.len()).any(|window| window == secret));
        }
        let pixels = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap().pixels;
        assert_eq!(pixels(&bare), pixels(RETINA));
    }

    #[test]
    fn a_damaged_header_is_none_and_no_panic() {
        for end in 0..600 {
            let _ = frame(&RETINA[..end]);
            assert_eq!(without_metadata(&RETINA[..end.min(100)]), None);
        }
    }
}
