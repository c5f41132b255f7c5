//! Ophthalmic Photography 8 Bit Image Storage (PS3.3, A.41).

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use glaucoma_common::photo::{self, Limits};
use image::RgbImage;

use super::build::{self, Kind, Set};
use super::{DicomError, DicomFile, Subject, file};
use crate::identity::derive;
use crate::jpeg;

/// The exam's photograph, whose bytes are `bytes`. A baseline JPEG goes in as it is (under a pseudonym without its
/// metadata) with the transfer syntax JPEG Baseline; anything else, and a JPEG that stores RGB, is decoded and goes
/// in as uncompressed RGB.
///
/// # Errors
/// Where the bytes are not the exam's photograph, a text does not fit, or the pixels may name a person who
/// is to be de-identified.
pub fn photograph(subject: &Subject, bytes: &[u8]) -> Result<DicomFile, DicomError> {
    let photo = photo::decode(bytes, &Limits::default())?;
    if photo.sha256 != subject.exam.photograph_sha256 {
        let expected = subject.exam.photograph_sha256.clone();
        return Err(DicomError::OtherPhotograph { found: photo.sha256, expected });
    }
    if !subject.identity.is_own() && subject.burned_in != Some(false) {
        return Err(DicomError::BurnedIn);
    }
    let instance = subject.identity.appears(&subject.exam.uid);
    let mut set = build::common(
        subject,
        &Kind {
            sop_class: uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE,
            instance: instance.clone(),
            modality: "OP",
            series: ("photographs", "1"),
            description: "Fundus photographs",
            image_type: "ORIGINAL\\PRIMARY\\\\COLOR",
        },
    )?;
    acquisition(&mut set, subject);
    let syntax = match jpeg::frame(bytes) {
        Some(frame) if frame.baseline && !frame.rgb && matches!(frame.components, 1 | 3) => {
            let bare = if subject.identity.is_own() { None } else { jpeg::without_metadata(bytes) };
            lossy(&mut set, &frame, bytes.len());
            encapsulated(&mut set, &frame, bare.unwrap_or_else(|| bytes.to_vec()));
            uids::JPEG_BASELINE8_BIT
        }
        frame => {
            match frame {
                Some(frame) => lossy(&mut set, &frame, bytes.len()),
                None => _ = set.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
            }
            uncompressed(&mut set, photo.pixels)?;
            uids::EXPLICIT_VR_LITTLE_ENDIAN
        }
    };
    file(set.done(), instance, syntax)
}

/// What is known of how it was taken, and empty what is not: type 2 attributes must be there.
fn acquisition(set: &mut Set, subject: &Subject) {
    let frame_of_reference =
        subject.identity.appears(&derive(&subject.visit.uid, "synchronization"));
    set.text(tags::NUMBER_OF_FRAMES, VR::IS, "1")
        .text(tags::SYNCHRONIZATION_FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference.0)
        .text(tags::SYNCHRONIZATION_TRIGGER, VR::CS, "NO TRIGGER")
        .text(tags::ACQUISITION_TIME_SYNCHRONIZED, VR::CS, "N")
        .code(tags::ANATOMIC_REGION_SEQUENCE, "5665001", "SCT", "Retina")
        .code(tags::ACQUISITION_DEVICE_TYPE_CODE_SEQUENCE, "409898007", "SCT", "Fundus Camera")
        .sequence(tags::ILLUMINATION_TYPE_CODE_SEQUENCE, vec![])
        .sequence(tags::LIGHT_PATH_FILTER_TYPE_STACK_CODE_SEQUENCE, vec![])
        .sequence(tags::IMAGE_PATH_FILTER_TYPE_STACK_CODE_SEQUENCE, vec![])
        .sequence(tags::LENSES_CODE_SEQUENCE, vec![])
        .sequence(tags::REFRACTIVE_STATE_SEQUENCE, vec![])
        .text(tags::DETECTOR_TYPE, VR::CS, "")
        .put(DataElement::new(tags::EMMETROPIC_MAGNIFICATION, VR::FL, PrimitiveValue::Empty))
        .put(DataElement::new(tags::HORIZONTAL_FIELD_OF_VIEW, VR::FL, PrimitiveValue::Empty))
        .put(DataElement::new(tags::INTRA_OCULAR_PRESSURE, VR::FL, PrimitiveValue::Empty))
        .text(tags::PATIENT_EYE_MOVEMENT_COMMANDED, VR::CS, "")
        .text(tags::PUPIL_DILATED, VR::CS, "");
}

/// That it once was a JPEG of `bytes`, whatever it is written as.
fn lossy(set: &mut Set, frame: &jpeg::Frame, bytes: usize) {
    let pixels = f64::from(frame.width) * f64::from(frame.height) * f64::from(frame.components);
    set.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01")
        .text(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &format!("{:.2}", pixels / bytes as f64))
        .text(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_10918_1");
}

fn encapsulated(set: &mut Set, frame: &jpeg::Frame, mut bytes: Vec<u8>) {
    let colours = if frame.components == 1 { "MONOCHROME2" } else { "YBR_FULL_422" };
    describe(set, frame.width, frame.height, u16::from(frame.components), colours);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let fragments = PixelFragmentSequence::new(vec![0], vec![bytes]);
    set.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
}

/// Pixels as they are, and what they are.
pub(super) fn uncompressed(set: &mut Set, pixels: RgbImage) -> Result<(), DicomError> {
    let (width, height) = pixels.dimensions();
    let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(DicomError::Size { width, height });
    };
    describe(set, columns, rows, 3, "RGB");
    let mut bytes = pixels.into_raw();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    set.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(bytes)));
    Ok(())
}

fn describe(set: &mut Set, columns: u16, rows: u16, samples: u16, colours: &str) {
    set.number(tags::SAMPLES_PER_PIXEL, samples)
        .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, colours)
        .number(tags::ROWS, rows)
        .number(tags::COLUMNS, columns)
        .number(tags::BITS_ALLOCATED, 8)
        .number(tags::BITS_STORED, 8)
        .number(tags::HIGH_BIT, 7)
        .number(tags::PIXEL_REPRESENTATION, 0);
    if samples == 3 {
        set.number(tags::PLANAR_CONFIGURATION, 0);
    } else {
        set.text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
    }
}
