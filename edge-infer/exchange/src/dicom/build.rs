//! Data sets element by element, and the modules that both objects share: patient, study, series, equipment.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use glaucoma_common::reading::Laterality;
use glaucoma_records::export::OLDEST;
use glaucoma_records::visit::{Person, Sex, Uid, Visit};

use super::{DicomError, Identity, Subject};
use crate::identity::derive;

/// A data set in the making.
pub(super) struct Set(InMemDicomObject);

impl Set {
    pub(super) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    pub(super) fn text(&mut self, tag: Tag, vr: VR, text: &str) -> &mut Self {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { dicom_value!(Str, text) };
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    pub(super) fn number(&mut self, tag: Tag, number: u16) -> &mut Self {
        self.0.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
        self
    }

    pub(super) fn sequence(&mut self, tag: Tag, items: Vec<Set>) -> &mut Self {
        let items: Vec<_> = items.into_iter().map(Set::done).collect();
        self.0.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    /// A sequence with one coded concept.
    pub(super) fn code(&mut self, tag: Tag, code: &str, scheme: &str, meaning: &str) -> &mut Self {
        let mut item = Set::new();
        item.text(tags::CODE_VALUE, VR::SH, code)
            .text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme)
            .text(tags::CODE_MEANING, VR::LO, meaning);
        self.sequence(tag, vec![item])
    }

    pub(super) fn put(&mut self, element: DataElement<InMemDicomObject>) -> &mut Self {
        self.0.put(element);
        self
    }

    pub(super) fn done(self) -> InMemDicomObject {
        self.0
    }
}

/// What the series and the instance are.
pub(super) struct Kind {
    pub sop_class: &'static str,
    pub instance: Uid,
    pub modality: &'static str,
    /// The series' role in the visit, and its number.
    pub series: (&'static str, &'static str),
    pub description: &'static str,
    pub image_type: &'static str,
}

/// Character set, patient, study, series, equipment, instance, and laterality.
pub(super) fn common(subject: &Subject, kind: &Kind) -> Result<Set, DicomError> {
    let (visit, exam) = (subject.visit, subject.exam);
    let mut set = Set::new();
    set.text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192")
        .text(tags::SOP_CLASS_UID, VR::UI, kind.sop_class)
        .text(tags::SOP_INSTANCE_UID, VR::UI, &kind.instance.0)
        .text(tags::IMAGE_TYPE, VR::CS, kind.image_type)
        .text(tags::MODALITY, VR::CS, kind.modality)
        .text(tags::STUDY_INSTANCE_UID, VR::UI, &subject.identity.appears(&visit.uid).0)
        .text(tags::STUDY_ID, VR::SH, "")
        .text(tags::ACCESSION_NUMBER, VR::SH, "")
        .text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "")
        .text(
            tags::SERIES_INSTANCE_UID,
            VR::UI,
            &subject.identity.appears(&derive(&visit.uid, kind.series.0)).0,
        )
        .text(tags::SERIES_NUMBER, VR::IS, kind.series.1)
        .text(tags::SERIES_DESCRIPTION, VR::LO, kind.description)
        .text(tags::INSTANCE_NUMBER, VR::IS, &subject.number()?.to_string())
        .text(tags::IMAGE_LATERALITY, VR::CS, letter(exam.eye))
        .text(tags::PATIENT_ORIENTATION, VR::CS, "");
    patient(&mut set, &visit.person, subject.identity)?;
    equipment(&mut set, subject)?;
    times(&mut set, subject)?;
    let burned_in = if subject.burned_in == Some(false) { "NO" } else { "YES" };
    set.text(tags::BURNED_IN_ANNOTATION, VR::CS, burned_in);
    Ok(set)
}

pub(super) fn letter(eye: Laterality) -> &'static str {
    match eye {
        Laterality::Right => "R",
        Laterality::Left => "L",
    }
}

fn patient(set: &mut Set, person: &Person, identity: Identity) -> Result<(), DicomError> {
    let (id, name, age) = match identity {
        Identity::Own => {
            (person.id.as_str(), person.name.as_deref().unwrap_or_default(), person.age_years)
        }
        Identity::Pseudonym(id) => (id, "", person.age_years.map(|age| age.min(OLDEST))),
    };
    check("the person's number", id, 64)?;
    // Which part is the family's is not known: all of it goes where the family's goes, and is not cut up.
    let name = name.replace(['^', '=', '\\'], " ");
    check("the person's name", &name, 64)?;
    let sex = match person.sex {
        Sex::Female => "F",
        Sex::Male => "M",
        Sex::Other => "O",
        Sex::Unknown => "",
    };
    set.text(tags::PATIENT_NAME, VR::PN, &name)
        .text(tags::PATIENT_ID, VR::LO, id)
        .text(tags::PATIENT_BIRTH_DATE, VR::DA, "")
        .text(tags::PATIENT_SEX, VR::CS, sex);
    if let Some(age) = age {
        set.text(tags::PATIENT_AGE, VR::AS, &format!("{age:03}Y"));
    }
    if identity != Identity::Own {
        set.text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES").text(
            tags::DEIDENTIFICATION_METHOD,
            VR::LO,
            "Built without identifiers; days as years; new UIDs",
        );
    }
    Ok(())
}

fn equipment(set: &mut Set, subject: &Subject) -> Result<(), DicomError> {
    let station = subject.station;
    for (what, tag, vr, text, names_someone) in [
        ("the manufacturer", tags::MANUFACTURER, VR::LO, &station.manufacturer, false),
        ("the model's name", tags::MANUFACTURER_MODEL_NAME, VR::LO, &station.model, false),
        ("the program's name", tags::SOFTWARE_VERSIONS, VR::LO, &station.software, false),
        ("the serial number", tags::DEVICE_SERIAL_NUMBER, VR::LO, &station.serial, true),
        ("the site", tags::INSTITUTION_NAME, VR::LO, &subject.visit.site, true),
    ] {
        check(what, text, 64)?;
        if subject.identity.is_own() || !names_someone {
            set.text(tag, vr, text);
        }
    }
    operators(set, subject)
}

/// Who registered the person, and who decided where that is somebody else: values of one attribute.
fn operators(set: &mut Set, subject: &Subject) -> Result<(), DicomError> {
    let Visit { operator, decided_by, .. } = subject.visit;
    let decided_by = decided_by.as_ref().filter(|&name| name != operator);
    let names: Vec<&str> =
        [Some(operator), decided_by].into_iter().flatten().map(String::as_str).collect();
    for name in &names {
        check("the operator", name, 64)?;
    }
    if subject.identity.is_own() {
        set.text(tags::OPERATORS_NAME, VR::PN, &names.join("\\"));
    }
    Ok(())
}

/// Study, acquisition and content times, in UTC; under a pseudonym the year alone.
fn times(set: &mut Set, subject: &Subject) -> Result<(), DicomError> {
    let (mut day, mut time) = day_and_time(&subject.visit.begun_at)?;
    let (mut taken_day, mut taken_time) = day_and_time(&subject.exam.taken_at)?;
    if !subject.identity.is_own() {
        for day in [&mut day, &mut taken_day] {
            day.replace_range(4.., "0101");
        }
        (time, taken_time) = ("000000".into(), "000000".into());
    }
    set.text(tags::STUDY_DATE, VR::DA, &day)
        .text(tags::STUDY_TIME, VR::TM, &time)
        .text(tags::CONTENT_DATE, VR::DA, &taken_day)
        .text(tags::CONTENT_TIME, VR::TM, &taken_time)
        .text(tags::ACQUISITION_DATE_TIME, VR::DT, &format!("{taken_day}{taken_time}+0000"))
        .text(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0000");
    Ok(())
}

/// `2026-05-01T09:30:00Z` as `20260501` and `093000`.
fn day_and_time(time: &str) -> Result<(String, String), DicomError> {
    let form = "0000-00-00T00:00:00Z";
    let fits = time.len() == form.len()
        && time.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    if !fits {
        return Err(DicomError::Time(time.to_owned()));
    }
    Ok((time[..10].replace('-', ""), time[11..19].replace(':', "")))
}

/// A text that DICOM can hold as it is.
fn check(what: &'static str, text: &str, max: usize) -> Result<(), DicomError> {
    if text.chars().count() > max || text.chars().any(|c| c == '\\' || c.is_control()) {
        return Err(DicomError::Text { what, max });
    }
    Ok(())
}
