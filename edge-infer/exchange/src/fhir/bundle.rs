//! From a visit to the entries of its transaction.

use dicom_dictionary_std::uids;
use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::speaks_for;
use glaucoma_records::export::year;
use glaucoma_records::visit::{Decision, EyeExam, Finding, Sex, Uid, Visit};

use super::resources::*;
use crate::dicom::Station;
use crate::identity::{Identity, derive, uuid};

/// Codes of this system: the names of its findings and reasons. No code of LOINC was found that means a *vertical*
/// ratio measured in a photograph, or this probability.
const LOCAL: &str = "urn:uuid:6a0c4e1e-7d0f-4b4c-9a43-1b8f0f5f2f6d";
const LOINC: &str = "http://loinc.org";
const SNOMED: &str = "http://snomed.info/sct";
const UCUM: &str = "http://unitsofmeasure.org";
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const URI: &str = "urn:ietf:rfc:3986";
/// The system of pseudonyms: one of them must not be taken for a programme's own number.
const PSEUDONYMS: &str = "urn:uuid:0d4a1c52-52c5-4c5f-8c0e-3c7d4b7a9e21";

/// Whose numbers and devices these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programme {
    /// The URI under which persons' numbers are known.
    pub person_system: String,
    /// The URI under which devices' serial numbers are known.
    pub device_system: String,
    /// The device.
    pub station: Station,
}

/// Why a visit cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FhirError {
    /// FHIR has no empty strings.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// JSON has no such number.
    #[error("exam {exam}: {what} is not a finite number")]
    NotFinite {
        /// Which exam.
        exam: String,
        /// Which number.
        what: &'static str,
    },
}

/// The visit's transaction: patient, device, imaging study, for each eye whether its best photograph could be graded
/// and, if so, probability and vertical cup-to-disc ratio; the report, and the referral if there is one.
///
/// The best photograph of an eye is the one that speaks for it ([`speaks_for`]). An open visit's report is
/// *preliminary*; sent again when it is decided, it takes its own place. That of a visit that was `closed` without a
/// decision is *cancelled*; what was found of its photographs stands. Under a pseudonym its resources are others,
/// whose UIDs are those of the de-identified DICOM objects; ages are in neither.
///
/// # Errors
/// Where something is empty that must not be, or a number is none.
pub fn bundle(
    visit: &Visit,
    closed: bool,
    programme: &Programme,
    identity: Identity,
) -> Result<Bundle, FhirError> {
    let person = Identifier::of_person(visit, programme, identity);
    let device = Identifier::of_device(visit, programme, identity);
    for (what, text) in [
        ("the person's number", &person.value),
        ("the persons' system", &person.system),
        ("the devices' system", &device.system),
        ("the device's serial number", &device.value),
    ] {
        if text.trim().is_empty() {
            return Err(FhirError::Empty(what));
        }
    }
    if visit.exams.is_empty() {
        return Err(FhirError::Empty("the list of photographs"));
    }
    let url_of = |role: &str| url(&identity.appears(&derive(&visit.uid, role)));
    let mut writer = Writer {
        visit,
        closed,
        programme,
        identity,
        patient: url_of("patient"),
        device: url_of("device"),
        study: url_of("imaging study"),
        entries: Vec::new(),
    };
    writer.patient(person);
    writer.device(device);
    writer.study();
    let mut results = Vec::new();
    for eye in [Laterality::Right, Laterality::Left] {
        if let Some(exam) = speaks_for(visit, eye) {
            results.extend(writer.observations(exam)?);
        }
    }
    writer.report(&results);
    writer.referral();
    Ok(Bundle { resource_type: "Bundle", kind: "transaction", entry: writer.entries })
}

impl Identifier {
    fn of_person(visit: &Visit, programme: &Programme, identity: Identity) -> Self {
        let (system, value) = match identity {
            Identity::Own => (&*programme.person_system, &*visit.person.id),
            Identity::Pseudonym(pseudonym) => (PSEUDONYMS, pseudonym),
        };
        Self { system: system.to_owned(), value: value.to_owned() }
    }

    /// Under a pseudonym each visit has a device of its own: one for all would join what a serial number joins.
    fn of_device(visit: &Visit, programme: &Programme, identity: Identity) -> Self {
        match identity {
            Identity::Own => Self {
                system: programme.device_system.clone(),
                value: programme.station.serial.clone(),
            },
            Identity::Pseudonym(_) => Self::of(&identity.appears(&derive(&visit.uid, "device"))),
        }
    }

    fn of(uid: &Uid) -> Self {
        Self { system: URI.into(), value: url(uid) }
    }
}

struct Writer<'a> {
    visit: &'a Visit,
    /// Without a decision, for good.
    closed: bool,
    programme: &'a Programme,
    identity: Identity<'a>,
    patient: String,
    device: String,
    study: String,
    entries: Vec<Entry>,
}

impl Writer<'_> {
    /// Adds a resource that is put where its identifier says.
    fn put(&mut self, kind: &str, full_url: &str, identifier: &Identifier, resource: Resource) {
        let url = format!("{kind}?{}", query(identifier));
        let request = Request { method: "PUT", url, if_none_exist: None };
        self.entries.push(Entry { full_url: full_url.to_owned(), resource, request });
    }

    /// The UID of a thing of the visit's, as it appears.
    fn uid(&self, role: &str) -> Uid {
        self.identity.appears(&derive(&self.visit.uid, role))
    }

    /// A time as it appears: under a pseudonym its year.
    fn time(&self, time: &str) -> String {
        if self.identity.is_own() { time.to_owned() } else { year(time) }
    }

    fn patient(&mut self, identifier: Identifier) {
        let person = &self.visit.person;
        // Created if unknown; a record that the server has already is never overwritten by a camp's.
        let request = Request {
            method: "POST",
            url: "Patient".into(),
            if_none_exist: Some(query(&identifier)),
        };
        let named = |name: &&String| self.identity.is_own() && !name.trim().is_empty();
        let name = person.name.iter().filter(named);
        let resource = Resource::Patient(Patient {
            identifier: vec![identifier],
            name: name.map(|name| HumanName { text: name.clone() }).collect(),
            gender: match person.sex {
                Sex::Female => "female",
                Sex::Male => "male",
                Sex::Other => "other",
                Sex::Unknown => "unknown",
            },
        });
        self.entries.push(Entry { full_url: self.patient.clone(), resource, request });
    }

    fn device(&mut self, identifier: Identifier) {
        let station = &self.programme.station;
        let name = Some(&station.model).filter(|model| !model.trim().is_empty());
        let name = name.map_or_else(|| "Glaucoma screening device".to_owned(), Clone::clone);
        let resource = Resource::Device(Device {
            identifier: vec![identifier.clone()],
            status: "active",
            serial_number: self.identity.is_own().then(|| station.serial.clone()),
            device_name: vec![DeviceName { name, kind: "model-name" }],
            version: vec![Version { value: station.software.clone() }],
        });
        self.put("Device", &self.device.clone(), &identifier, resource);
    }

    /// The photographs as the PACS knows them.
    fn study(&mut self) {
        let exams = &self.visit.exams;
        let modality =
            || Coding { system: DICOM, code: "OP".into(), display: Some("Ophthalmic Photography") };
        let instances = exams.iter().enumerate().map(|(at, exam)| Instance {
            uid: self.identity.appears(&exam.uid).0,
            sop_class: Coding {
                system: URI,
                code: format!("urn:oid:{}", uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE),
                display: None,
            },
            number: at + 1,
            title: format!("{} eye", exam.eye),
        });
        // The system that FHIR gives study UIDs: https://hl7.org/fhir/R4/imagingstudy.html#notes
        let identifier = Identifier {
            system: "urn:dicom:uid".into(),
            value: format!("urn:oid:{}", self.identity.appears(&self.visit.uid).0),
        };
        let resource = Resource::ImagingStudy(ImagingStudy {
            identifier: vec![identifier.clone()],
            status: "available",
            modality: vec![modality()],
            subject: to(&self.patient),
            started: self.time(&self.visit.begun_at),
            number_of_series: 1,
            number_of_instances: exams.len(),
            series: vec![Series {
                uid: self.uid("photographs").0,
                number: 1,
                modality: modality(),
                number_of_instances: exams.len(),
                instance: instances.collect(),
            }],
        });
        self.put("ImagingStudy", &self.study.clone(), &identifier, resource);
    }

    /// Adds what was found in an eye's photograph; the URLs of what was added.
    fn observations(&mut self, exam: &EyeExam) -> Result<Vec<String>, FhirError> {
        let taken = self.time(&exam.taken_at);
        let base = base(exam, taken, &self.patient, &self.device, &self.study);
        let mut urls = Vec::new();
        // Named by visit and eye, not by photograph: a later photograph of the eye takes the place of a former.
        let mut add = |role: &str, observation: Observation| {
            let uid = self.uid(&format!("{role} of the {} eye", exam.eye));
            let identifier = Identifier::of(&uid);
            let observation = Observation { identifier: vec![identifier.clone()], ..observation };
            self.put(
                "Observation",
                &url(&uid),
                &identifier,
                Resource::Observation(Box::new(observation)),
            );
            urls.push(url(&uid));
        };
        let (gradable, reasons) = match &exam.finding {
            Finding::Graded { .. } => (true, [].as_slice()),
            Finding::Retake { reasons } | Finding::Ungradable { reasons } => (false, &reasons[..]),
        };
        add(
            "gradability",
            Observation {
                code: local("gradable", "Photograph can be graded"),
                value: Value::Boolean(gradable),
                note: reasons.iter().map(|reason| Annotation { text: reason.clone() }).collect(),
                ..base.clone()
            },
        );
        let Finding::Graded { probability, threshold, vcdr, vcdr_interval } = &exam.finding else {
            return Ok(urls);
        };
        let number = |what, value: f64| {
            let exam = exam.uid.0.clone();
            if value.is_finite() {
                Ok(ratio(value))
            } else {
                Err(FhirError::NotFinite { exam, what })
            }
        };
        let suspected = probability >= threshold;
        add(
            "probability",
            Observation {
                code: local("glaucoma-probability", "Probability of glaucoma by the model"),
                value: number("the probability", *probability)?,
                interpretation: vec![interpretation(suspected)],
                component: vec![Component {
                    code: local("operating-point", "Operating point"),
                    value: number("the operating point", *threshold)?,
                }],
                ..base.clone()
            },
        );
        let mut component = Vec::new();
        if let Some((low, high)) = vcdr_interval {
            for (code, text, value) in [
                ("vcdr-low", "Lower end of interval", low),
                ("vcdr-high", "Upper end of interval", high),
            ] {
                let value = number("an end of the interval", *value)?;
                component.push(Component { code: local(code, text), value });
            }
        }
        let value = number("the ratio", *vcdr)?;
        add("vcdr", Observation { code: vcdr_code(exam.eye), value, component, ..base });
        Ok(urls)
    }

    fn report(&mut self, results: &[String]) {
        let uid = self.uid("report");
        let identifier = Identifier::of(&uid);
        let (conclusion, codes) = match &self.visit.decision {
            None if self.closed => (
                Some("Closed without a decision.".to_owned()),
                vec![local("closed-without-decision", "Closed without a decision")],
            ),
            None => (None, Vec::new()),
            Some(Decision::NotSuspected) => (
                Some("Nothing found that this screening looks for.".to_owned()),
                vec![local("not-suspected", "Glaucoma not suspected")],
            ),
            Some(Decision::Refer { reasons }) => (
                Some(format!("Refer to an eye clinic: {}.", reasons.join(", "))),
                vec![local("refer", "Refer to an eye clinic")],
            ),
        };
        let told = |site: &String| self.identity.is_own() && !site.trim().is_empty();
        let site = Some(self.visit.site.clone()).filter(told);
        let performer = site.map(|site| Reference { display: Some(site), reference: None });
        let report = DiagnosticReport {
            identifier: vec![identifier.clone()],
            status: match (&self.visit.decision, self.closed) {
                (Some(_), _) => "final",
                (None, true) => "cancelled",
                (None, false) => "preliminary",
            },
            category: vec![CodeableConcept {
                coding: vec![Coding {
                    system: "http://terminology.hl7.org/CodeSystem/v2-0074",
                    code: "OTH".into(),
                    display: Some("Other"),
                }],
                text: "Eye screening".into(),
            }],
            code: local("glaucoma-screening", "Glaucoma screening by fundus photographs"),
            subject: to(&self.patient),
            effective_date_time: self.time(&self.visit.begun_at),
            performer: performer.into_iter().collect(),
            result: results.iter().map(|result| to(result)).collect(),
            imaging_study: vec![to(&self.study)],
            conclusion,
            conclusion_code: codes,
        };
        let report = Resource::DiagnosticReport(Box::new(report));
        self.put("DiagnosticReport", &url(&uid), &identifier, report);
    }

    fn referral(&mut self) {
        let Some(Decision::Refer { reasons }) = &self.visit.decision else { return };
        let uid = self.uid("referral");
        let identifier = Identifier::of(&uid);
        let request = ServiceRequest {
            identifier: vec![identifier.clone()],
            status: "active",
            intent: "order",
            code: local("eye-clinic", "Examination at an eye clinic"),
            subject: to(&self.patient),
            authored_on: self.time(&self.visit.begun_at),
            reason_code: reasons.iter().map(|reason| local(reason, reason)).collect(),
            reason_reference: vec![to(&url(&self.uid("report")))],
        };
        let request = Resource::ServiceRequest(Box::new(request));
        self.put("ServiceRequest", &url(&uid), &identifier, request);
    }
}

/// What all observations of an exam share.
fn base(exam: &EyeExam, taken: String, patient: &str, device: &str, study: &str) -> Observation {
    let (code, name) = match exam.eye {
        Laterality::Right => ("81745001", "Right eye"),
        Laterality::Left => ("8966001", "Left eye"),
    };
    Observation {
        identifier: Vec::new(),
        // One that will be taken again is not the last word.
        status: if matches!(exam.finding, Finding::Retake { .. }) {
            "preliminary"
        } else {
            "final"
        },
        category: vec![CodeableConcept {
            coding: vec![Coding {
                system: "http://terminology.hl7.org/CodeSystem/observation-category",
                code: "imaging".into(),
                display: Some("Imaging"),
            }],
            text: "Imaging".into(),
        }],
        code: local("", ""),
        subject: to(patient),
        effective_date_time: taken,
        value: Value::Boolean(false),
        interpretation: Vec::new(),
        note: Vec::new(),
        body_site: CodeableConcept {
            coding: vec![Coding { system: SNOMED, code: code.into(), display: None }],
            text: name.into(),
        },
        method: CodeableConcept {
            coding: Vec::new(),
            text: format!(
                "Model {} {} on a fundus photograph, SHA-256 of the model {}",
                exam.model.name, exam.model.version, exam.model.sha256
            ),
        },
        device: to(device),
        component: Vec::new(),
        derived_from: vec![to(study)],
    }
}

/// The vertical cup-to-disc ratio. LOINC 71485-7 is the right eye's cup-to-disc ratio by ophthalmoscopy: near enough
/// to be found by it, not the same, so the local code stands first. Its left twin is not known.
fn vcdr_code(eye: Laterality) -> CodeableConcept {
    let mut concept = local("vcdr", "Vertical cup-to-disc ratio in a fundus photograph");
    if eye == Laterality::Right {
        concept.coding.push(Coding { system: LOINC, code: "71485-7".into(), display: None });
    }
    concept
}

fn interpretation(suspected: bool) -> CodeableConcept {
    let (code, display, text) = if suspected {
        ("POS", "Positive", "At or above the operating point")
    } else {
        ("NEG", "Negative", "Below the operating point")
    };
    let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
    CodeableConcept {
        coding: vec![Coding { system, code: code.into(), display: Some(display) }],
        text: text.into(),
    }
}

fn local(code: &str, text: &str) -> CodeableConcept {
    let coding = vec![Coding { system: LOCAL, code: code.into(), display: None }];
    CodeableConcept { coding, text: text.into() }
}

fn ratio(value: f64) -> Value {
    Value::Quantity(Quantity { value, system: UCUM, code: "1" })
}

fn to(url: &str) -> Reference {
    Reference { reference: Some(url.to_owned()), display: None }
}

fn url(uid: &Uid) -> String {
    format!("urn:uuid:{}", uuid(uid))
}

/// A search by identifier, percent-encoded as a URL's query wants it.
fn query(identifier: &Identifier) -> String {
    let mut query = String::from("identifier=");
    // A comma or a bar of the number's own must not be taken for the search's.
    let escaped = |text: &str| {
        text.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|").replace('$', "\\$")
    };
    for byte in format!("{}|{}", escaped(&identifier.system), escaped(&identifier.value)).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte));
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
    query
}
