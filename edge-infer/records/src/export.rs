//! Visits as CSV and as JSON, with or without what identifies a person.

use std::borrow::Cow;
use std::io::Write;

use glaucoma_common::photo::hexadecimal;
use glaucoma_common::reading::Laterality;
use serde::Serialize;
use thiserror::Error;

use crate::decide::speaks_for;
use crate::journal::Recorded;
use crate::visit::{Decision, EyeExam, Finding, ModelName, NoPhotograph, Person, Sex, Uid, Visit};

/// Whether an export says who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Everything.
    Kept,
    /// For others to count with: a pseudonym instead of identifier and name; the year instead of the time; ages
    /// from 90 on as 90; no site, operator, note, UID or photograph's hash, by which somebody could be found
    /// elsewhere (the identifiers of 45 CFR 164.514(b)(2)).
    Removed,
}

impl Identity {
    /// The visit as it may be shown: with [`Identity::Removed`] what is removed is empty, and times are years.
    #[must_use]
    pub fn of(self, recorded: &Recorded) -> Cow<'_, Visit> {
        let visit = &recorded.visit;
        if self == Self::Kept {
            return Cow::Borrowed(visit);
        }
        let nothing = || Uid(String::new());
        let exams = visit.exams.iter().map(|exam| EyeExam {
            uid: nothing(),
            taken_at: year(&exam.taken_at),
            photograph_sha256: String::new(),
            ..exam.clone()
        });
        Cow::Owned(Visit {
            uid: nothing(),
            person: Person {
                id: recorded.pseudonym.clone(),
                name: None,
                age_years: visit.person.age_years.map(|age| age.min(OLDEST)),
                sex: visit.person.sex,
            },
            site: String::new(),
            operator: String::new(),
            begun_at: year(&visit.begun_at),
            note: None,
            without_photograph: visit.without_photograph.clone(),
            exams: exams.collect(),
            decision: visit.decision.clone(),
            decided_by: None,
        })
    }
}

/// So few are older that their age may name them.
pub const OLDEST: u8 = 90;

/// The year of a time in RFC 3339.
#[must_use]
pub fn year(time: &str) -> String {
    time.chars().take(4).collect()
}

/// Why an export was not written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// As CSV.
    #[error("writing the export as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// As JSON.
    #[error("writing the export as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// To the disk.
    #[error("writing the export: {0}")]
    Io(#[from] std::io::Error),
}

/// Writes one line a visit, with a heading. An eye's columns are those of the photograph that speaks for
/// it ([`speaks_for`]). A text that a spreadsheet would compute begins with an apostrophe.
///
/// # Errors
/// Whatever `to` says.
pub fn export_csv(
    visits: &[Recorded],
    identity: Identity,
    to: impl Write,
) -> Result<(), ExportError> {
    let mut writer = csv::Writer::from_writer(to);
    let eyes = ["right", "left"];
    let heading = PERSON.iter().map(|&name| name.to_owned());
    let of_eyes = eyes.iter().flat_map(|eye| EYE.iter().map(move |name| format!("{eye}_{name}")));
    writer.write_record(heading.chain(of_eyes))?;
    for recorded in visits {
        let visit = identity.of(recorded);
        let line = Line::of(recorded.sequence, &visit);
        let eyes = [Laterality::Right, Laterality::Left];
        let eyes = eyes.map(|eye| eye_cells(&visit, eye));
        writer.write_record(line.cells().into_iter().chain(eyes.into_iter().flatten()))?;
    }
    Ok(writer.flush()?)
}

/// Writes `{"audit_head": ..., "visits": [...]}`: `audit_head` is the journal's head in hexadecimal, each visit
/// has the keys of the CSV's first columns and `exams`, a list of all photographs' findings.
///
/// # Errors
/// Whatever `to` says.
pub fn export_json(
    visits: &[Recorded],
    identity: Identity,
    head: [u8; 32],
    mut to: impl Write,
) -> Result<(), ExportError> {
    #[derive(Serialize)]
    struct Export {
        audit_head: String,
        visits: Vec<JsonVisit>,
    }
    #[derive(Serialize)]
    struct JsonVisit {
        #[serde(flatten)]
        line: Line,
        exams: Vec<JsonExam>,
    }
    let audit_head = hexadecimal(&head);
    let visits = visits.iter().map(|recorded| {
        let visit = identity.of(recorded);
        let exams = visit.exams.iter().map(JsonExam::of).collect();
        JsonVisit { line: Line::of(recorded.sequence, &visit), exams }
    });
    serde_json::to_writer_pretty(&mut to, &Export { audit_head, visits: visits.collect() })?;
    Ok(to.flush()?)
}

/// The names of [`Line`]'s cells.
const PERSON: [&str; 13] = [
    "sequence",
    "visit",
    "person",
    "name",
    "age_years",
    "sex",
    "site",
    "operator",
    "decided_by",
    "begun_at",
    "note",
    "decision",
    "reasons",
];
/// The names of an eye's cells.
const EYE: [&str; 7] =
    ["finding", "probability", "threshold", "vcdr", "vcdr_low", "vcdr_high", "photographs"];

/// What is said of a visit as a whole; `None`: not known, or removed.
#[derive(Serialize)]
struct Line {
    sequence: i64,
    visit: Option<String>,
    person: String,
    name: Option<String>,
    age_years: Option<u8>,
    sex: &'static str,
    site: Option<String>,
    operator: Option<String>,
    decided_by: Option<String>,
    begun_at: String,
    note: Option<String>,
    decision: Option<&'static str>,
    reasons: Vec<String>,
}

impl Line {
    fn of(sequence: i64, visit: &Visit) -> Self {
        let Visit { uid, person, site, operator, begun_at, note, decision, decided_by, .. } = visit;
        let (decision, reasons) = match decision {
            None => (None, Vec::new()),
            Some(Decision::NotSuspected) => (Some("not_suspected"), Vec::new()),
            Some(Decision::Refer { reasons }) => (Some("refer"), reasons.clone()),
        };
        Self {
            sequence,
            visit: said(&uid.0),
            person: person.id.clone(),
            name: person.name.clone(),
            age_years: person.age_years,
            sex: match person.sex {
                Sex::Female => "female",
                Sex::Male => "male",
                Sex::Other => "other",
                Sex::Unknown => "unknown",
            },
            site: said(site),
            operator: said(operator),
            decided_by: decided_by.clone(),
            begun_at: begun_at.clone(),
            note: note.clone(),
            decision,
            reasons,
        }
    }

    fn cells(&self) -> [String; PERSON.len()] {
        let optional = |text: &Option<String>| inert(text.as_deref().unwrap_or_default());
        [
            self.sequence.to_string(),
            optional(&self.visit),
            inert(&self.person),
            optional(&self.name),
            self.age_years.map_or_else(String::new, |age| age.to_string()),
            self.sex.to_owned(),
            optional(&self.site),
            optional(&self.operator),
            optional(&self.decided_by),
            self.begun_at.clone(),
            optional(&self.note),
            self.decision.unwrap_or_default().to_owned(),
            self.reasons.join(" "),
        ]
    }
}

/// A text, where there is one.
fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A text that a spreadsheet shows and does not compute.
fn inert(text: &str) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    }
}

fn eye_cells(visit: &Visit, eye: Laterality) -> [String; EYE.len()] {
    let photographs = visit.exams.iter().filter(|exam| exam.eye == eye).count().to_string();
    let mut cells = [const { String::new() }; EYE.len()];
    match speaks_for(visit, eye).map(|exam| &exam.finding) {
        Some(Finding::Graded { probability, threshold, vcdr, vcdr_interval }) => {
            "graded".clone_into(&mut cells[0]);
            let (low, high) = vcdr_interval.unzip();
            let numbers = [Some(*probability), Some(*threshold), Some(*vcdr), low, high];
            for (cell, number) in cells[1..].iter_mut().zip(numbers) {
                *cell = number.map_or_else(String::new, |number| number.to_string());
            }
        }
        Some(Finding::Retake { .. }) => "retake".clone_into(&mut cells[0]),
        Some(Finding::Ungradable { .. }) => "ungradable".clone_into(&mut cells[0]),
        None => {
            let why = visit.without_photograph.iter().rfind(|without| without.eye == eye);
            cells[0] = match why.map(|without| without.why) {
                Some(NoPhotograph::Absent) => "absent".to_owned(),
                Some(NoPhotograph::NotPossible) => "not_photographed".to_owned(),
                None => String::new(),
            };
        }
    }
    cells[EYE.len() - 1] = photographs;
    cells
}

/// What is said of one photograph.
#[derive(Serialize)]
struct JsonExam {
    uid: Option<String>,
    eye: Laterality,
    eye_seen: Option<Laterality>,
    eye_confirmed: bool,
    taken_at: String,
    photograph_sha256: Option<String>,
    burned_in: Option<bool>,
    finding: Finding,
    model: ModelName,
}

impl JsonExam {
    fn of(exam: &EyeExam) -> Self {
        Self {
            uid: said(&exam.uid.0),
            eye: exam.eye,
            eye_seen: exam.eye_seen,
            eye_confirmed: exam.eye_confirmed,
            taken_at: exam.taken_at.clone(),
            photograph_sha256: said(&exam.photograph_sha256),
            burned_in: exam.burned_in,
            finding: exam.finding.clone(),
            model: exam.model.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
