//! Visits as CSV and as JSON, with or without what identifies a person.

use std::io::Write;

use glaucoma_common::photo::hexadecimal;
use glaucoma_common::reading::Laterality;
use serde::Serialize;
use thiserror::Error;

use crate::journal::Recorded;
use crate::visit::{Decision, EyeExam, Finding, NoPhotograph, Sex, Visit};

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

/// Writes one line a visit, with a heading. An eye's columns are those of the photograph that decided: the
/// latest graded one, else the latest. A text that a spreadsheet would compute begins with an apostrophe.
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
        let line = Line::of(recorded, identity);
        let eyes = [Laterality::Right, Laterality::Left];
        let eyes = eyes.map(|eye| eye_cells(&recorded.visit, eye));
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
    struct Export<'a> {
        audit_head: String,
        visits: Vec<JsonVisit<'a>>,
    }
    #[derive(Serialize)]
    struct JsonVisit<'a> {
        #[serde(flatten)]
        line: Line,
        exams: Vec<JsonExam<'a>>,
    }
    let audit_head = hexadecimal(&head);
    let visits = visits.iter().map(|recorded| JsonVisit {
        line: Line::of(recorded, identity),
        exams: recorded.visit.exams.iter().map(|exam| JsonExam::of(exam, identity)).collect(),
    });
    serde_json::to_writer_pretty(&mut to, &Export { audit_head, visits: visits.collect() })?;
    Ok(to.flush()?)
}

/// The names of [`Line`]'s cells.
const PERSON: [&str; 12] = [
    "sequence",
    "visit",
    "person",
    "name",
    "age_years",
    "sex",
    "site",
    "operator",
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
    begun_at: String,
    note: Option<String>,
    decision: Option<&'static str>,
    reasons: Vec<String>,
}

impl Line {
    fn of(recorded: &Recorded, identity: Identity) -> Self {
        let Visit { uid, person, site, operator, begun_at, note, decision, .. } = &recorded.visit;
        let kept = |text: &str| (identity == Identity::Kept).then(|| text.to_owned());
        let (decision, reasons) = match decision {
            None => (None, Vec::new()),
            Some(Decision::NotSuspected) => (Some("not_suspected"), Vec::new()),
            Some(Decision::Refer { reasons }) => (Some("refer"), reasons.clone()),
        };
        Self {
            sequence: recorded.sequence,
            visit: kept(&uid.0),
            person: kept(&person.id).unwrap_or_else(|| recorded.pseudonym.clone()),
            name: person.name.as_deref().and_then(kept),
            age_years: match identity {
                Identity::Kept => person.age_years,
                Identity::Removed => person.age_years.map(|age| age.min(90)),
            },
            sex: match person.sex {
                Sex::Female => "female",
                Sex::Male => "male",
                Sex::Other => "other",
                Sex::Unknown => "unknown",
            },
            site: kept(site),
            operator: kept(operator),
            begun_at: kept(begun_at).unwrap_or_else(|| begun_at.chars().take(4).collect()),
            note: note.as_deref().and_then(kept),
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
            self.begun_at.clone(),
            optional(&self.note),
            self.decision.unwrap_or_default().to_owned(),
            self.reasons.join(" "),
        ]
    }
}

/// A text that a spreadsheet shows and does not compute.
fn inert(text: &str) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    }
}

fn eye_cells(visit: &Visit, eye: Laterality) -> [String; EYE.len()] {
    let of_eye = || visit.exams.iter().rev().filter(|exam| exam.eye == eye);
    let graded = |exam: &&EyeExam| matches!(exam.finding, Finding::Graded { .. });
    let photographs = of_eye().count().to_string();
    let mut cells = [const { String::new() }; EYE.len()];
    match of_eye().find(graded).or_else(|| of_eye().next()).map(|exam| &exam.finding) {
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
struct JsonExam<'a> {
    uid: Option<&'a str>,
    eye: Laterality,
    eye_seen: Option<Laterality>,
    eye_confirmed: bool,
    taken_at: Option<&'a str>,
    photograph_sha256: Option<&'a str>,
    burned_in: Option<bool>,
    finding: &'a Finding,
    model: &'a crate::visit::ModelName,
}

impl<'a> JsonExam<'a> {
    fn of(exam: &'a EyeExam, identity: Identity) -> Self {
        let kept = |text: &'a str| (identity == Identity::Kept).then_some(text);
        Self {
            uid: kept(&exam.uid.0),
            eye: exam.eye,
            eye_seen: exam.eye_seen,
            eye_confirmed: exam.eye_confirmed,
            taken_at: kept(&exam.taken_at),
            photograph_sha256: kept(&exam.photograph_sha256),
            burned_in: exam.burned_in,
            finding: &exam.finding,
            model: &exam.model,
        }
    }
}

#[cfg(test)]
mod tests;
