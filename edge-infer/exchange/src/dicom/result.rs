//! Secondary Capture Image Storage (PS3.3, A.8): the picture that the device draws of a result.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use image::RgbImage;

use super::build::{self, Kind, Set};
use super::photograph::uncompressed;
use super::{DicomError, DicomFile, Subject, file};
use crate::identity::derive;

/// The result of the exam as it was drawn, uncompressed RGB. `subject.burned_in` is about the drawn picture,
/// which names the person where its page does.
///
/// # Errors
/// Where a text does not fit, or the drawing may name a person who is to be de-identified.
pub fn result(subject: &Subject, drawn: RgbImage) -> Result<DicomFile, DicomError> {
    if !subject.identity.is_own() && subject.burned_in != Some(false) {
        return Err(DicomError::BurnedIn);
    }
    let instance = subject.identity.appears(&derive(&subject.exam.uid, "result"));
    let mut set = build::common(
        subject,
        &Kind {
            sop_class: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
            instance: instance.clone(),
            modality: "OP",
            series: ("results", "2"),
            description: "Glaucoma screening results",
            image_type: "DERIVED\\SECONDARY",
        },
    )?;
    let mut source = Set::new();
    source
        .text(
            tags::REFERENCED_SOP_CLASS_UID,
            VR::UI,
            uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE,
        )
        .text(
            tags::REFERENCED_SOP_INSTANCE_UID,
            VR::UI,
            &subject.identity.appears(&subject.exam.uid).0,
        );
    set.text(tags::CONVERSION_TYPE, VR::CS, "WSD")
        .text(tags::DERIVATION_DESCRIPTION, VR::ST, "Drawn from the photograph and its result")
        .sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![source]);
    uncompressed(&mut set, drawn)?;
    file(set.done(), instance, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}
