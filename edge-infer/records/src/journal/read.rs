//! Reading the journal: by person, by time, the day's numbers, a photograph.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glaucoma_common::photo::hexadecimal;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::audit::{Hash, head};
use super::visits::{Sealed, person_record, photograph_record};
use super::{JournalError, database_file, schema, sealed_folder};
use crate::clock::Timestamp;
use crate::seal::Keys;
use crate::visit::{Decision, EyeExam, Finding, Uid, Visit};

/// A read-only connection. What it reads is as it was durable at that moment.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) folder: PathBuf,
    pub(super) keys: Option<Arc<Keys>>,
}

/// A time from `from` to before `to`. A camp's day is not UTC's: the caller knows its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first second.
    pub from: Timestamp,
    /// The first second after it.
    pub to: Timestamp,
}

/// A visit as it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place in the order in which visits were recorded, from 1.
    pub sequence: i64,
    /// The same for every visit of a person, and without the keys nobody's: 16 hexadecimal digits.
    pub pseudonym: String,
    /// When it was closed without a decision, if it was.
    pub closed_at: Option<String>,
    /// The visit.
    pub visit: Visit,
}

/// A period in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Visits begun.
    pub visits: u64,
    /// Visits with a decision.
    pub examined: u64,
    /// Of those, sent to a clinic.
    pub referred: u64,
    /// Of those, because an eye could not be graded, whatever other reasons there are.
    pub ungradable: u64,
    /// Visits without a decision that may still come to one.
    pub open: u64,
    /// Visits that were closed without a decision.
    pub closed: u64,
    /// Photographs.
    pub photographs: u64,
    /// Photographs that had to be taken again.
    pub retakes: u64,
}

impl Reader {
    /// Opens the journal in `folder` to read what is not sealed.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open_locked(folder: &Path) -> Result<Self, JournalError> {
        Self::open(folder, None)
    }

    pub(super) fn open(folder: &Path, keys: Option<Arc<Keys>>) -> Result<Self, JournalError> {
        let connection = schema::open_for_reading(&database_file(folder))?;
        Ok(Self { connection, folder: folder.to_owned(), keys })
    }

    /// A visit with its exams.
    ///
    /// # Errors
    /// Locked; no such visit; altered data.
    pub fn visit(&self, uid: &Uid) -> Result<Recorded, JournalError> {
        let found = self.visits("uid = ?1", &[&uid.0])?;
        found.into_iter().next().ok_or_else(|| JournalError::NoVisit(uid.clone()))
    }

    /// The visit that an exam belongs to, with all its exams.
    ///
    /// # Errors
    /// Locked; no such exam; altered data.
    pub fn visit_of(&self, exam: &Uid) -> Result<Recorded, JournalError> {
        let which = "uid = (SELECT visit FROM exams WHERE uid = ?1)";
        let found = self.visits(which, &[&exam.0])?;
        found.into_iter().next().ok_or_else(|| JournalError::NoExam(exam.clone()))
    }

    /// Whether what is sealed can be read.
    #[must_use]
    pub fn is_unlocked(&self) -> bool {
        self.keys.is_some()
    }

    /// The visits of a person in the order in which they were recorded.
    ///
    /// # Errors
    /// Locked; altered data.
    pub fn visits_of(&self, person: &str) -> Result<Vec<Recorded>, JournalError> {
        self.visits("person_lookup = ?1", &[&self.keys()?.lookup(person)])
    }

    /// The visits begun in a period, by the device's clock, in the order in which they were recorded.
    ///
    /// # Errors
    /// Locked; altered data.
    pub fn visits_in(&self, period: Period) -> Result<Vec<Recorded>, JournalError> {
        let Period { from, to } = period;
        self.visits("begun_at >= ?1 AND begun_at < ?2", &[&from.to_string(), &to.to_string()])
    }

    /// The visits that nobody has decided or closed, whenever they began, in the order in which they were recorded.
    ///
    /// # Errors
    /// Locked; altered data.
    pub fn open_visits(&self) -> Result<Vec<Recorded>, JournalError> {
        self.visits("decision IS NULL AND closed_at IS NULL", &[])
    }

    /// A period in numbers; needs no keys.
    ///
    /// # Errors
    /// The database; altered data.
    pub fn summary(&self, period: Period) -> Result<Summary, JournalError> {
        let bounds = [period.from.to_string(), period.to.to_string()];
        let mut summary = Summary::default();
        let sql = "SELECT decision FROM visits \
                   WHERE begun_at >= ?1 AND begun_at < ?2 AND closed_at IS NULL";
        self.each(sql, &bounds, |decision| {
            summary.visits += 1;
            match decision.as_deref().map(parse::<Decision>).transpose()? {
                None => summary.open += 1,
                Some(Decision::NotSuspected) => summary.examined += 1,
                Some(Decision::Refer { reasons }) => {
                    summary.examined += 1;
                    summary.referred += 1;
                    let ungradable = reasons.iter().any(|r| r.starts_with("ungradable_"));
                    summary.ungradable += u64::from(ungradable);
                }
            }
            Ok(())
        })?;
        let sql = "SELECT closed_at FROM visits \
                   WHERE begun_at >= ?1 AND begun_at < ?2 AND closed_at IS NOT NULL";
        self.each(sql, &bounds, |_| {
            summary.visits += 1;
            summary.closed += 1;
            Ok(())
        })?;
        let sql = "SELECT finding FROM exams JOIN visits ON visits.uid = exams.visit \
                   WHERE begun_at >= ?1 AND begun_at < ?2";
        self.each(sql, &bounds, |finding| {
            summary.photographs += 1;
            let finding: Finding = parse(finding.as_deref().unwrap_or_default())?;
            summary.retakes += u64::from(matches!(finding, Finding::Retake { .. }));
            Ok(())
        })?;
        Ok(summary)
    }

    /// How many deliveries have not been acknowledged.
    ///
    /// # Errors
    /// The database.
    pub fn waiting(&self) -> Result<u64, JournalError> {
        let sql = "SELECT count(*) FROM outbox WHERE receipt IS NULL";
        self.connection.query_row(sql, (), |row| row.get(0)).map_err(failed())
    }

    /// The names of the operators, in alphabetical order.
    ///
    /// # Errors
    /// The database.
    pub fn operators(&self) -> Result<Vec<String>, JournalError> {
        self.collect("SELECT name FROM operators ORDER BY name", &[], |row| row.get(0))
    }

    /// The hash of the audit's last row: printed in a report, it shows later that nothing up to there was
    /// cut off ([`Reader::verify`]).
    ///
    /// # Errors
    /// The database.
    pub fn head(&self) -> Result<Hash, JournalError> {
        head(&self.connection).map(|(_, hash)| hash).map_err(failed())
    }

    /// The photograph of an exam, as it came from the camera.
    ///
    /// # Errors
    /// Locked; no such exam; deleted after its delivery; missing or altered.
    pub fn photograph(&self, exam: &Uid) -> Result<Zeroizing<Vec<u8>>, JournalError> {
        let keys = self.keys()?;
        let sql = "SELECT sealed_file FROM exams WHERE uid = ?1";
        let file = self.connection.query_row(sql, [&exam.0], |row| row.get(0)).optional();
        let file: Option<String> =
            file.map_err(failed())?.ok_or_else(|| JournalError::NoExam(exam.clone()))?;
        let file = file.ok_or_else(|| JournalError::Retired(exam.clone()))?;
        let path = sealed_folder(&self.folder).join(file);
        let sealed = std::fs::read(&path).map_err(JournalError::io("reading", &path))?;
        Ok(keys.open(&photograph_record(&exam.0), &sealed)?)
    }

    pub(super) fn keys(&self) -> Result<&Keys, JournalError> {
        self.keys.as_deref().ok_or(JournalError::Locked)
    }

    /// The person and the note of a visit.
    pub(super) fn open_person(&self, visit: &str, sealed: &[u8]) -> Result<Sealed, JournalError> {
        let plain = self.keys()?.open(&person_record(visit), sealed)?;
        Ok(serde_json::from_slice(&plain)?)
    }

    fn visits(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<Recorded>, JournalError> {
        let sql = format!(
            "SELECT sequence, uid, person_lookup, sealed_person, site, operator, begun_at, \
             without_photograph, decision, closed_at, (SELECT audit.operator FROM audit \
             WHERE action = 'visit_decided' AND subject = visits.uid) \
             FROM visits WHERE {which} ORDER BY sequence"
        );
        let rows = self.collect(&sql, values, |row| {
            let texts = (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?);
            let ended = (row.get(9)?, row.get(10)?);
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, texts, ended))
        })?;
        rows.into_iter().map(|row| self.recorded(row)).collect()
    }

    fn recorded(&self, row: VisitRow) -> Result<Recorded, JournalError> {
        let (sequence, uid, lookup, sealed, texts, (closed_at, decided_by)) = row;
        let (site, operator, begun_at, without, decision) = texts;
        let Sealed { person, note } = self.open_person(&uid, &sealed)?;
        let visit = Visit {
            exams: self.exams(&uid)?,
            uid: Uid(uid),
            person,
            site,
            operator,
            begun_at,
            note,
            without_photograph: parse(&without)?,
            decision: decision.as_deref().map(parse).transpose()?,
            decided_by,
        };
        let pseudonym = hexadecimal(&lookup[..8]);
        Ok(Recorded { sequence, pseudonym, closed_at, visit })
    }

    fn exams(&self, visit: &str) -> Result<Vec<EyeExam>, JournalError> {
        let sql = "SELECT uid, eye, eye_seen, eye_confirmed, taken_at, photograph_sha256, \
                   photograph_type, finding, model, burned_in FROM exams WHERE visit = ?1 ORDER BY sequence";
        let rows = self.collect(sql, &[&visit], |row| {
            let json: [Option<String>; 4] = [row.get(1)?, row.get(2)?, row.get(7)?, row.get(8)?];
            let photograph = (row.get(5)?, row.get(6)?, row.get(9)?);
            Ok((row.get(0)?, row.get(3)?, row.get(4)?, photograph, json))
        })?;
        let exams = rows.into_iter().map(|(uid, eye_confirmed, taken_at, photograph, json)| {
            let (photograph_sha256, photograph_type, burned_in) = photograph;
            let [eye, eye_seen, finding, model] = json.each_ref().map(Option::as_deref);
            Ok(EyeExam {
                uid: Uid(uid),
                eye: parse(eye.unwrap_or_default())?,
                eye_seen: eye_seen.map(parse).transpose()?,
                eye_confirmed,
                taken_at,
                photograph_sha256,
                photograph_type,
                burned_in,
                finding: parse(finding.unwrap_or_default())?,
                model: parse(model.unwrap_or_default())?,
            })
        });
        exams.collect()
    }

    fn collect<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed())?;
        let rows = statement.query_map(values, read).map_err(failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed())
    }

    /// Calls `each` with the only column of every row.
    fn each(
        &self,
        sql: &str,
        bounds: &[String; 2],
        mut each: impl FnMut(Option<String>) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed())?;
        let mut rows = statement.query(params![bounds[0], bounds[1]]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            each(row.get(0).map_err(failed())?)?;
        }
        Ok(())
    }
}

/// Site, operator, time, eyes without a photograph, decision.
type VisitTexts = (String, String, String, String, Option<String>);
/// When it was closed, and by whom it was decided.
type VisitEnd = (Option<String>, Option<String>);
/// Sequence, UID, lookup, sealed person, the texts, and how it ended.
type VisitRow = (i64, String, Hash, Vec<u8>, VisitTexts, VisitEnd);

fn failed() -> impl Fn(rusqlite::Error) -> JournalError {
    JournalError::database("reading")
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, JournalError> {
    // The text is not in the message: it may say something of a person.
    serde_json::from_str(json).map_err(|error| JournalError::Value(error.to_string()))
}
