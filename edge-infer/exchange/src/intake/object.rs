//! From a received DICOM data set to a photograph's file and what is said of it.
//!
//! A JPEG comes out as it is, byte for byte. Uncompressed pixels come out as PNG, which keeps each of them.

use std::io::Cursor;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use glaucoma_common::photo::Limits;
use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::Sex;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use super::Hints;
use crate::{dimse, jpeg, lengths};

/// Why a data set is no photograph that can be examined.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectError {
    #[error("the lengths in the data set do not hold")]
    Lengths,
    #[error("the data set cannot be parsed")]
    Parse,
    #[error("the transfer syntax is not one that was offered")]
    TransferSyntax,
    #[error("the data set is another instance than the command says")]
    OtherInstance,
    #[error("{0} is missing or no number")]
    Missing(&'static str),
    #[error("{0} frames; only single photographs are taken")]
    Frames(u32),
    #[error("{width} x {height} pixels are outside the limits")]
    Size { width: u32, height: u32 },
    #[error("{bits} bits, {samples} samples a pixel, {colours}: not supported")]
    Pixels { bits: u16, samples: u16, colours: String },
    #[error("the pixel data has another length than its rows and columns say")]
    PixelData,
    #[error("the JPEG says another size than rows and columns")]
    JpegSize,
    #[error("unexpected colours: the JPEG stores RGB, which decoders read differently")]
    JpegColours,
    #[error("the pixels cannot be written as PNG")]
    Png,
}

/// A data set as it came, with what the command said.
pub(super) struct Received<'a> {
    pub bytes: &'a [u8],
    pub transfer_syntax: &'a str,
    pub sop_class: &'a str,
    pub sop_instance: &'a str,
}

/// A photograph's file, and what is said of it.
pub(super) fn photograph(
    received: &Received,
    limits: &Limits,
) -> Result<(Vec<u8>, Hints), ObjectError> {
    let syntax =
        dimse::transfer_syntax(received.transfer_syntax).ok_or(ObjectError::TransferSyntax)?;
    let explicit = syntax.uid() != uids::IMPLICIT_VR_LITTLE_ENDIAN;
    if !lengths::hold(received.bytes, explicit) {
        return Err(ObjectError::Lengths);
    }
    let set = InMemDicomObject::read_dataset_with_ts(received.bytes, &syntax)
        .map_err(|_| ObjectError::Parse)?;
    let same = |tag, wanted: &str| text(&set, tag).as_deref() == Some(wanted);
    if !same(tags::SOP_INSTANCE_UID, received.sop_instance)
        || !same(tags::SOP_CLASS_UID, received.sop_class)
    {
        return Err(ObjectError::OtherInstance);
    }
    let frames = text(&set, tags::NUMBER_OF_FRAMES).map_or(Some(1), |frames| frames.parse().ok());
    match frames.ok_or(ObjectError::Missing("NumberOfFrames"))? {
        1 => {}
        frames => return Err(ObjectError::Frames(frames)),
    }
    let (width, height) =
        (number(&set, tags::COLUMNS, "Columns")?, number(&set, tags::ROWS, "Rows")?);
    let (wide, high) = (u32::from(width), u32::from(height));
    if wide.max(high) > limits.max_side || wide.min(high) < limits.min_side {
        return Err(ObjectError::Size { width: wide, height: high });
    }
    let bytes = if syntax.uid() == uids::JPEG_BASELINE8_BIT {
        whole_jpeg(&set, width, height)?
    } else {
        native_as_png(&set, width, height)?
    };
    Ok((bytes, hints(&set)))
}

/// The JPEG of the only frame, its fragments joined.
fn whole_jpeg(set: &InMemDicomObject, width: u16, height: u16) -> Result<Vec<u8>, ObjectError> {
    let fragments = set.get(tags::PIXEL_DATA).and_then(|element| element.value().fragments());
    let mut bytes = fragments.ok_or(ObjectError::PixelData)?.concat();
    if bytes.ends_with(&[0xff, 0xd9, 0]) {
        // Fragments are of even length.
        bytes.pop();
    }
    let frame = jpeg::frame(&bytes).ok_or(ObjectError::PixelData)?;
    if (frame.width, frame.height) != (width, height) {
        return Err(ObjectError::JpegSize);
    }
    let said = text(set, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    if frame.rgb != (said == "RGB") {
        return Err(ObjectError::JpegColours);
    }
    Ok(bytes)
}

/// Uncompressed pixels, RGB or grey of 8 bits.
fn native_as_png(set: &InMemDicomObject, width: u16, height: u16) -> Result<Vec<u8>, ObjectError> {
    let samples = number(set, tags::SAMPLES_PER_PIXEL, "SamplesPerPixel")?;
    let bits = number(set, tags::BITS_ALLOCATED, "BitsAllocated")?;
    let colours = text(set, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let kind = match (bits, samples, colours.as_str()) {
        (8, 3, "RGB") => ExtendedColorType::Rgb8,
        (8, 1, "MONOCHROME2") => ExtendedColorType::L8,
        _ => return Err(ObjectError::Pixels { bits, samples, colours }),
    };
    let pixels = usize::from(width) * usize::from(height);
    let wanted = pixels * usize::from(samples);
    let element = set.get(tags::PIXEL_DATA).ok_or(ObjectError::PixelData)?;
    let data = element.to_bytes().map_err(|_| ObjectError::PixelData)?;
    // One byte more where the length would be odd.
    if data.len() != wanted + wanted % 2 {
        return Err(ObjectError::PixelData);
    }
    let planar = samples == 3
        && set.get(tags::PLANAR_CONFIGURATION).is_some_and(|e| e.to_int::<u16>().ok() == Some(1));
    let data = if planar {
        (0..wanted).map(|at| data[at % 3 * pixels + at / 3]).collect()
    } else {
        data[..wanted].to_vec()
    };
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&data, u32::from(width), u32::from(height), kind)
        .map_err(|_| ObjectError::Png)?;
    Ok(png.into_inner())
}

fn hints(set: &InMemDicomObject) -> Hints {
    let laterality = text(set, tags::IMAGE_LATERALITY).or_else(|| text(set, tags::LATERALITY));
    Hints {
        laterality: match laterality.as_deref() {
            Some("R") => Some(Laterality::Right),
            Some("L") => Some(Laterality::Left),
            _ => None,
        },
        person_id: text(set, tags::PATIENT_ID),
        person_name: text(set, tags::PATIENT_NAME).map(|name| spoken(&name)),
        sex: match text(set, tags::PATIENT_SEX).as_deref() {
            Some("F") => Some(Sex::Female),
            Some("M") => Some(Sex::Male),
            Some("O") => Some(Sex::Other),
            _ => None,
        },
        birth_date: text(set, tags::PATIENT_BIRTH_DATE).and_then(|date| day(&date)),
        taken_at: taken_at(set),
        burned_in: match text(set, tags::BURNED_IN_ANNOTATION).as_deref() {
            Some("YES") => Some(true),
            Some("NO") => Some(false),
            _ => None,
        },
    }
}

/// A name of DICOM's as one would write it: the first group of components that is there, given names before
/// the family's.
fn spoken(name: &str) -> String {
    let group =
        name.split('=').find(|group| !group.trim_matches('^').is_empty()).unwrap_or_default();
    let mut parts = group.split('^').map(str::trim);
    let family = parts.next().unwrap_or_default();
    let mut order: Vec<&str> = parts.take(2).collect();
    order.push(family);
    order.retain(|part| !part.is_empty());
    order.join(" ")
}

/// `20260501` as `2026-05-01`.
fn day(date: &str) -> Option<String> {
    let digits = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]))
}

fn taken_at(set: &InMemDicomObject) -> Option<String> {
    let (date, time) = match text(set, tags::ACQUISITION_DATE_TIME) {
        Some(both) if both.len() >= 14 && both.is_ascii() => {
            (both[..8].to_owned(), both[8..14].to_owned())
        }
        _ => (
            text(set, tags::ACQUISITION_DATE).or_else(|| text(set, tags::CONTENT_DATE))?,
            text(set, tags::ACQUISITION_TIME).or_else(|| text(set, tags::CONTENT_TIME))?,
        ),
    };
    let six = time.get(..6).filter(|six| six.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(format!("{}T{}:{}:{}", day(&date)?, &six[..2], &six[2..4], &six[4..]))
}

/// A text that is there and not empty, without its padding.
fn text(set: &InMemDicomObject, tag: Tag) -> Option<String> {
    let element = set.get(tag)?;
    if element.vr() == VR::SQ {
        return None;
    }
    let text = element.to_str().ok()?;
    let text = text.trim_matches(['\0', ' ']);
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(set: &InMemDicomObject, tag: Tag, name: &'static str) -> Result<u16, ObjectError> {
    set.get(tag).and_then(|element| element.to_int().ok()).ok_or(ObjectError::Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_people_say_them() {
        assert_eq!(spoken("Yamada^Tarou=山田^太郎"), "Tarou Yamada");
        assert_eq!(spoken("=शर्मा^आशा"), "आशा शर्मा");
        assert_eq!(spoken("Devi"), "Devi");
        assert_eq!(spoken("^^"), "");
    }

    #[test]
    fn days_are_days() {
        assert_eq!(day("20260501").as_deref(), Some("2026-05-01"));
        assert_eq!(day("2026.05.01"), None);
        assert_eq!(day("２０２６"), None);
    }
}
