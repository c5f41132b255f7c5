//! What is in the objects we write, read back by dicom-object.

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, from_reader};
use glaucoma_common::photo::{Limits, decode, sha256_hex};
use glaucoma_exchange::dicom::{DicomError, DicomFile, Identity, Subject, photograph, result};
use glaucoma_records::visit::Visit;

use crate::fixture::{RETINA, png, retina_file, station, visit};

fn read(file: &DicomFile) -> DefaultDicomObject {
    from_reader(&file.bytes[..]).unwrap()
}

fn text(object: &DefaultDicomObject, tag: Tag) -> String {
    let text = object.element(tag).unwrap().to_str().unwrap();
    text.trim_end_matches(['\0', ' ']).to_owned()
}

fn made(
    visit: &Visit,
    identity: Identity,
    burned_in: Option<bool>,
    bytes: &[u8],
) -> Result<DicomFile, DicomError> {
    let station = station();
    photograph(
        &Subject { visit, exam: &visit.exams[0], station: &station, identity, burned_in },
        bytes,
    )
}

#[test]
fn a_photograph_keeps_its_jpeg_its_names_and_its_eye() {
    let file = retina_file();
    let object = read(&file);
    assert_eq!(object.meta().transfer_syntax(), uids::JPEG_BASELINE8_BIT);
    assert_eq!(text(&object, tags::SOP_CLASS_UID), "1.2.840.10008.5.1.4.1.1.77.1.5.1");
    assert_eq!(text(&object, tags::SOP_INSTANCE_UID), "2.25.1001");
    assert_eq!(text(&object, tags::STUDY_INSTANCE_UID), "2.25.1000");
    assert_eq!(text(&object, tags::PATIENT_NAME), "आशा देवी");
    assert_eq!(text(&object, tags::PATIENT_AGE), "093Y");
    assert_eq!(text(&object, tags::IMAGE_LATERALITY), "R");
    assert_eq!(text(&object, tags::BURNED_IN_ANNOTATION), "NO");
    assert_eq!(text(&object, tags::ACQUISITION_DATE_TIME), "20260501093100+0000");
    let fragments = object.element(tags::PIXEL_DATA).unwrap().value().fragments().unwrap().concat();
    assert_eq!(&fragments[..RETINA.len()], RETINA);
    assert!(fragments.len() - RETINA.len() < 2);
    let photo = decode(RETINA, &Limits::default()).unwrap().pixels;
    let columns: u32 = object.element(tags::COLUMNS).unwrap().to_int().unwrap();
    let rows: u32 = object.element(tags::ROWS).unwrap().to_int().unwrap();
    assert_eq!((columns, rows), photo.dimensions());
    assert_eq!(file, retina_file(), "made twice it is the same file");
}

#[test]
fn what_is_no_baseline_jpeg_goes_in_as_its_pixels() {
    let (mut visit, bytes) = (visit(), png(7));
    visit.exams[0].photograph_sha256 = sha256_hex(&bytes);
    let object = read(&made(&visit, Identity::Own, None, &bytes).unwrap());
    assert_eq!(object.meta().transfer_syntax(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(text(&object, tags::BURNED_IN_ANNOTATION), "YES", "where no one knows");
    let pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
    assert_eq!(&pixels[..], decode(&bytes, &Limits::default()).unwrap().pixels.as_raw());
}

#[test]
fn a_result_is_a_secondary_capture_in_the_same_study() {
    let (visit, station) = (visit(), station());
    let drawn = image::RgbImage::from_fn(33, 11, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let exam = &visit.exams[0];
    let subject = Subject {
        visit: &visit,
        exam,
        station: &station,
        identity: Identity::Own,
        burned_in: Some(true),
    };
    let object = read(&result(&subject, drawn.clone()).unwrap());
    assert_eq!(text(&object, tags::SOP_CLASS_UID), uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
    assert_eq!(text(&object, tags::STUDY_INSTANCE_UID), "2.25.1000");
    assert_ne!(
        text(&object, tags::SERIES_INSTANCE_UID),
        text(&read(&retina_file()), tags::SERIES_INSTANCE_UID)
    );
    let pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
    assert_eq!(&pixels[..33 * 11 * 3], drawn.as_raw().as_slice());
    assert_eq!(pixels.len(), 33 * 11 * 3 + 1, "padded to an even length");
}

#[test]
fn under_a_pseudonym_nothing_of_the_person_is_left() {
    // A photograph whose EXIF names the person.
    let mut named = RETINA[..2].to_vec();
    named.extend_from_slice(b"\xff\xe1\x00\x13Exif\0\0Asha Devi\0\0");
    named.extend_from_slice(&RETINA[2..]);
    let mut visit = visit();
    visit.exams[0].photograph_sha256 = sha256_hex(&named);
    let known_clean = Some(false);
    let file = made(&visit, Identity::Pseudonym("X-1"), known_clean, &named).unwrap();
    let secrets: [&[u8]; 11] = [
        "आशा".as_bytes(),
        b"Asha",
        b"CAMP/7",
        b"Rampur",
        b"Operator Seven\\Operator Eight",
        b"Operator",
        b"SN-1",
        b"20260501",
        b"0931",
        b"2.25.1000",
        b"2.25.1001",
    ];
    let has = |file: &DicomFile, secret: &[u8]| {
        file.bytes.windows(secret.len()).any(|window| window == secret)
    };
    let open = made(&visit, Identity::Own, known_clean, &named).unwrap();
    for secret in secrets {
        let name = String::from_utf8_lossy(secret);
        assert!(has(&open, secret), "{name} would be found if it were there");
        assert!(!has(&file, secret), "{name}");
    }
    let object = read(&file);
    assert_eq!(text(&object, tags::PATIENT_ID), "X-1");
    assert_eq!(text(&object, tags::PATIENT_AGE), "090Y");
    assert_eq!(text(&object, tags::STUDY_DATE), "20260101");
    assert_eq!(text(&object, tags::PATIENT_IDENTITY_REMOVED), "YES");
    for burned_in in [None, Some(true)] {
        let refused = made(&visit, Identity::Pseudonym("X-1"), burned_in, &named);
        assert!(matches!(refused, Err(DicomError::BurnedIn)));
    }
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let mut changed = visit();
    assert!(matches!(
        made(&changed, Identity::Own, None, &png(1)),
        Err(DicomError::OtherPhotograph { .. })
    ));
    changed.person.id = "a\\b".into();
    assert!(matches!(made(&changed, Identity::Own, None, RETINA), Err(DicomError::Text { .. })));
    changed = visit();
    changed.begun_at = "yesterday".into();
    assert!(matches!(made(&changed, Identity::Own, None, RETINA), Err(DicomError::Time(_))));
}
