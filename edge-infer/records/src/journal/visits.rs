//! Writing visits: begun, examined, amended, decided or closed.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use glaucoma_common::photo::sha256_hex;

use super::audit::{Scribe, Table};
use super::deliveries::{self, DeliveryKind};
use super::{Journal, JournalError, Writer, sealed_folder};
use crate::clock::Timestamp;
use crate::disk::write_durably;
use crate::visit::{Decision, EyeExam, Person, Uid, Visit};

impl Journal {
    /// Records a new visit, without exams and decision yet.
    ///
    /// # Errors
    /// Locked; exams or a decision are there already, the person has no identifier, a time is not RFC
    /// 3339; the visit is recorded already; the disk.
    pub fn begin_visit(&self, visit: &Visit) -> Result<(), JournalError> {
        if !visit.exams.is_empty() || visit.decision.is_some() {
            return Err(JournalError::NotNew("it has exams or a decision"));
        }
        let visit = visit.clone();
        self.ask(move |writer| writer.begin_visit(&visit))
    }

    /// Writes anew what is known of the person, the note and the eyes without a photograph of a recorded
    /// visit; its exams and its decision stay.
    ///
    /// # Errors
    /// Locked; no such visit; the person has no identifier; the disk.
    pub fn amend_visit(&self, visit: &Visit) -> Result<(), JournalError> {
        let visit = visit.clone();
        self.ask(move |writer| writer.amend_visit(&visit))
    }

    /// Records an exam with its photograph: when this returns, both survive a power cut.
    ///
    /// # Errors
    /// Locked; no such visit, or it is decided or closed; the exam is recorded already; the photograph is not the
    /// one of the exam; a number in the finding is none, a time is not RFC 3339; the disk.
    pub fn record_exam(
        &self,
        visit: &Uid,
        exam: &EyeExam,
        photograph: impl Into<Arc<Vec<u8>>>,
    ) -> Result<(), JournalError> {
        let (visit, exam, photograph) = (visit.clone(), exam.clone(), photograph.into());
        self.ask(move |writer| writer.record_exam(&visit, &exam, &photograph))
    }

    /// Writes down that photographs stayed without a person, all or none of them: by their SHA-256, for nothing else is
    /// known of them.
    ///
    /// # Errors
    /// The disk.
    pub fn leave_out(&self, photographs: &[String]) -> Result<(), JournalError> {
        let photographs = photographs.to_vec();
        self.ask(move |writer| {
            writer.transact("noting photographs that were left out", |tx, scribe| {
                photographs.iter().try_for_each(|sha256| {
                    scribe.append(tx, "photograph_left_out", None, Some(sha256))
                })
            })
        })
    }

    /// Records that the operator looked again and stands by the exam's eye.
    ///
    /// # Errors
    /// Locked; no such exam; its visit is decided or closed; the disk.
    pub fn confirm_eye(&self, exam: &Uid) -> Result<(), JournalError> {
        let exam = exam.clone();
        self.ask(move |writer| {
            writer.session()?;
            writer.transact("confirming an eye", |tx, scribe| confirm_eye(tx, scribe, &exam))
        })
    }

    /// Records the decision of a visit as that of the operator who has unlocked the journal ([`Visit::decided_by`]) and, in the same transaction, queues the visit and each of its photographs
    /// for delivery by `kinds`. The same decision again changes nothing.
    ///
    /// # Errors
    /// Locked; no such visit; another decision is recorded, or the visit is closed; the disk.
    pub fn decide_visit(
        &self,
        visit: &Uid,
        decision: &Decision,
        kinds: &[DeliveryKind],
    ) -> Result<(), JournalError> {
        let (visit, decision, kinds) = (visit.clone(), decision.clone(), kinds.to_vec());
        self.ask(move |writer| {
            writer.session()?;
            writer.transact("recording a decision", |tx, scribe| {
                decide(tx, scribe, &visit, &decision)?;
                deliveries::queue_visit(tx, scribe, &visit, &kinds)
            })
        })
    }

    /// Closes a visit without a decision: nothing is added to it any more. In the same transaction the visit, if it has
    /// photographs, and each of them is queued for delivery by `kinds`, as with a decision. Again, it changes nothing.
    ///
    /// # Errors
    /// Locked; no such visit; it is decided; the disk.
    pub fn close_visit(&self, visit: &Uid, kinds: &[DeliveryKind]) -> Result<(), JournalError> {
        let (visit, kinds) = (visit.clone(), kinds.to_vec());
        self.ask(move |writer| {
            writer.session()?;
            writer.transact("closing a visit", |tx, scribe| {
                close(tx, scribe, &visit)?;
                // Nobody was examined where there is no photograph: there is nothing to tell.
                if has_exams(tx, &visit)? {
                    deliveries::queue_visit(tx, scribe, &visit, &kinds)?;
                }
                Ok(())
            })
        })
    }
}

/// What of a visit is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    pub person: Person,
    pub note: Option<String>,
}

/// The name under which a visit's person is sealed.
pub(super) fn person_record(visit: &str) -> String {
    format!("person:{visit}")
}

/// The name under which an exam's photograph is sealed.
pub(super) fn photograph_record(exam: &str) -> String {
    format!("photograph:{exam}")
}

impl Writer {
    fn begin_visit(&mut self, visit: &Visit) -> Result<(), JournalError> {
        let (lookup, sealed) = self.seal_person(visit)?;
        check_time(&visit.begun_at)?;
        let without = json(&visit.without_photograph)?;
        self.transact("recording a visit", |tx, scribe| {
            let failed = JournalError::database("recording a visit");
            if standing_of(tx, &visit.uid)?.is_some() {
                return Err(JournalError::Exists(visit.uid.clone()));
            }
            let sql = "INSERT INTO visits (uid, person_lookup, sealed_person, site, operator, \
                       begun_at, without_photograph) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let Visit { uid, site, operator, begun_at, .. } = visit;
            tx.execute(sql, params![uid.0, lookup, sealed, site, operator, begun_at, without])
                .map_err(failed)?;
            scribe.record(tx, "visit_begun", Table::Visits, &uid.0)
        })
    }

    fn amend_visit(&mut self, visit: &Visit) -> Result<(), JournalError> {
        let (lookup, sealed) = self.seal_person(visit)?;
        let without = json(&visit.without_photograph)?;
        self.transact("amending a visit", |tx, scribe| {
            let sql = "UPDATE visits SET person_lookup = ?2, sealed_person = ?3, \
                       without_photograph = ?4 WHERE uid = ?1";
            let changed = tx.execute(sql, params![visit.uid.0, lookup, sealed, without]);
            if changed.map_err(JournalError::database("amending a visit"))? == 0 {
                return Err(JournalError::NoVisit(visit.uid.clone()));
            }
            scribe.record(tx, "visit_amended", Table::Visits, &visit.uid.0)
        })
    }

    fn seal_person(&self, visit: &Visit) -> Result<([u8; 32], Vec<u8>), JournalError> {
        let keys = &self.session()?.keys;
        let Visit { uid, person, note, .. } = visit;
        if person.id.is_empty() {
            return Err(JournalError::NotNew("the person has no identifier"));
        }
        let sealed = Sealed { person: person.clone(), note: note.clone() };
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(&sealed)?);
        Ok((keys.lookup(&person.id), keys.seal(&person_record(&uid.0), &plain)?))
    }

    fn record_exam(
        &mut self,
        visit: &Uid,
        exam: &EyeExam,
        photograph: &[u8],
    ) -> Result<(), JournalError> {
        let keys = &self.session()?.keys;
        if sha256_hex(photograph) != exam.photograph_sha256 {
            return Err(JournalError::OtherPhotograph(exam.uid.clone()));
        }
        check_time(&exam.taken_at)?;
        check_new_exam(&self.connection, visit, exam)?;
        let columns = Columns::of(exam)?;
        let sealed = keys.seal(&photograph_record(&exam.uid.0), photograph)?;
        let name = sha256_hex(&sealed);
        let folder = sealed_folder(&self.folder);
        // The file first: a row never names a file that a power cut can take away. Should the transaction
        // fail, the file stays until the next start: only then is it certain that no row names it.
        write_durably(self.disk.as_ref(), &folder, &name, &sealed)
            .map_err(JournalError::io("writing a photograph to", &folder))?;
        self.transact("recording an exam", |tx, scribe| {
            let sql = "INSERT INTO exams (uid, visit, eye, eye_seen, eye_confirmed, taken_at, \
                       photograph_sha256, photograph_type, finding, model, sealed_file, burned_in) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            let EyeExam {
                uid,
                eye_confirmed,
                taken_at,
                photograph_sha256,
                photograph_type,
                burned_in,
                ..
            } = exam;
            let Columns { eye, eye_seen, finding, model } = columns;
            tx.execute(
                sql,
                params![
                    uid.0,
                    visit.0,
                    eye,
                    eye_seen,
                    eye_confirmed,
                    taken_at,
                    photograph_sha256,
                    photograph_type,
                    finding,
                    model,
                    name,
                    burned_in
                ],
            )
            .map_err(JournalError::database("recording an exam"))?;
            scribe.record(tx, "exam_recorded", Table::Exams, &uid.0)
        })
    }
}

/// What of an exam is written as JSON.
struct Columns {
    eye: String,
    eye_seen: Option<String>,
    finding: String,
    model: String,
}

impl Columns {
    fn of(exam: &EyeExam) -> Result<Self, JournalError> {
        Ok(Self {
            eye: json(&exam.eye)?,
            eye_seen: exam.eye_seen.as_ref().map(json).transpose()?,
            finding: json(&exam.finding)?,
            model: json(&exam.model)?,
        })
    }
}

/// JSON that is read as the same value again: it would not be if a number in it is none.
fn json<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> Result<String, JournalError> {
    let text = serde_json::to_string(value)?;
    serde_json::from_str::<T>(&text)?;
    Ok(text)
}

fn check_time(text: &str) -> Result<(), JournalError> {
    match Timestamp::parse(text) {
        Some(time) if time.to_string() == text => Ok(()),
        _ => Err(JournalError::Time(text.to_owned())),
    }
}

/// How a recorded visit stands.
enum Standing {
    Open,
    /// Its decision, as JSON.
    Decided(String),
    Closed,
}

/// `None` where there is no such visit.
fn standing_of(connection: &Connection, visit: &Uid) -> Result<Option<Standing>, JournalError> {
    let sql = "SELECT decision, closed_at IS NOT NULL FROM visits WHERE uid = ?1";
    let row = connection.query_row(sql, [&visit.0], |row| {
        Ok(match (row.get(0)?, row.get(1)?) {
            (Some(decision), _) => Standing::Decided(decision),
            (None, true) => Standing::Closed,
            (None, false) => Standing::Open,
        })
    });
    row.optional().map_err(JournalError::database("reading how a visit stands"))
}

/// The visit must be there, undecided and not closed.
fn check_open(connection: &Connection, visit: &Uid) -> Result<(), JournalError> {
    must_be_open(standing_of(connection, visit)?, visit)
}

fn must_be_open(standing: Option<Standing>, visit: &Uid) -> Result<(), JournalError> {
    match standing {
        None => Err(JournalError::NoVisit(visit.clone())),
        Some(Standing::Decided(_)) => Err(JournalError::Decided(visit.clone())),
        Some(Standing::Closed) => Err(JournalError::Closed(visit.clone())),
        Some(Standing::Open) => Ok(()),
    }
}

fn check_new_exam(
    connection: &Connection,
    visit: &Uid,
    exam: &EyeExam,
) -> Result<(), JournalError> {
    check_open(connection, visit)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM exams WHERE uid = ?1)";
    let exists = connection.query_row(sql, [&exam.uid.0], |row| row.get(0));
    if exists.map_err(JournalError::database("looking for an exam"))? {
        return Err(JournalError::Exists(exam.uid.clone()));
    }
    Ok(())
}

fn confirm_eye(tx: &Transaction, scribe: &Scribe, exam: &Uid) -> Result<(), JournalError> {
    let failed = JournalError::database("confirming an eye");
    let sql = "UPDATE exams SET eye_confirmed = 1 WHERE uid = ?1 RETURNING visit";
    let visit = tx.query_row(sql, [&exam.0], |row| row.get(0)).optional().map_err(failed)?;
    check_open(tx, &Uid(visit.ok_or_else(|| JournalError::NoExam(exam.clone()))?))?;
    scribe.record(tx, "eye_confirmed", Table::Exams, &exam.0)
}

fn decide(
    tx: &Transaction,
    scribe: &Scribe,
    visit: &Uid,
    decision: &Decision,
) -> Result<(), JournalError> {
    let decision = json(decision)?;
    match standing_of(tx, visit)? {
        Some(Standing::Decided(recorded)) if recorded == decision => return Ok(()),
        standing => must_be_open(standing, visit)?,
    }
    let sql = "UPDATE visits SET decision = ?2 WHERE uid = ?1";
    tx.execute(sql, params![visit.0, decision])
        .map_err(JournalError::database("recording a decision"))?;
    scribe.record(tx, "visit_decided", Table::Visits, &visit.0)
}

fn has_exams(connection: &Connection, visit: &Uid) -> Result<bool, JournalError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM exams WHERE visit = ?1)";
    let found = connection.query_row(sql, [&visit.0], |row| row.get(0));
    found.map_err(JournalError::database("looking for exams"))
}

fn close(tx: &Transaction, scribe: &Scribe, visit: &Uid) -> Result<(), JournalError> {
    match standing_of(tx, visit)? {
        Some(Standing::Closed) => return Ok(()),
        standing => must_be_open(standing, visit)?,
    }
    let sql = "UPDATE visits SET closed_at = ?2 WHERE uid = ?1";
    tx.execute(sql, params![visit.0, scribe.at.to_string()])
        .map_err(JournalError::database("closing a visit"))?;
    scribe.record(tx, "visit_closed", Table::Visits, &visit.0)
}
