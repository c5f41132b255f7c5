//! The outbox: what is still to be delivered, what was, and the photographs deleted some days after.
//!
//! Delivery is at least once: what was sent and not acknowledged is sent again, and the receivers know it by its
//! UID. The order is that of the sequence; one delivery that fails does not hold up the next.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::audit::{Scribe, Table};
use super::{Journal, JournalError, Writer, sealed_folder};
use crate::clock::Timestamp;
use crate::visit::Uid;

/// What is delivered, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryKind {
    /// A photograph, named by its exam, to a picture archive.
    DicomImage,
    /// A visit as a FHIR transaction bundle.
    FhirBundle,
}

impl DeliveryKind {
    const ALL: [Self; 2] = [Self::DicomImage, Self::FhirBundle];

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DicomImage => "dicom_image",
            Self::FhirBundle => "fhir_bundle",
        }
    }
}

/// Something to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What, and how.
    pub kind: DeliveryKind,
    /// The exam's or the visit's identifier.
    pub id: Uid,
    /// How often it was tried, this time included; at least 1.
    pub attempts: u32,
}

/// How long a claimed delivery is left to whoever claimed it, seconds. After that it is due again.
pub const LEASE_S: u64 = 300;
/// The longest wait after a failure, seconds.
const LONGEST_WAIT_S: u64 = 24 * 3600;

impl Journal {
    /// Queues a delivery; one that is queued or was acknowledged already stays as it is.
    ///
    /// # Errors
    /// No such visit or exam; the disk.
    pub fn queue(&self, kind: DeliveryKind, id: &Uid) -> Result<(), JournalError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.transact("queueing a delivery", |tx, scribe| queue(tx, scribe, kind, &id))
        })
    }

    /// The delivery that is due and came first, for [`LEASE_S`] seconds nobody else's; `None` where none is
    /// due.
    ///
    /// # Errors
    /// The disk.
    pub fn claim(&self) -> Result<Option<Delivery>, JournalError> {
        self.ask(|writer| writer.transact("claiming a delivery", |tx, s| claim(tx, s.at)))
    }

    /// Records that a delivery arrived, with what the receiver said.
    ///
    /// # Errors
    /// No such delivery waits; the disk.
    pub fn acknowledge(
        &self,
        kind: DeliveryKind,
        id: &Uid,
        receipt: &str,
    ) -> Result<(), JournalError> {
        let (id, receipt) = (id.clone(), receipt.to_owned());
        self.ask(move |writer| {
            writer.transact("acknowledging a delivery", |tx, scribe| {
                let sql = "UPDATE outbox SET receipt = ?3, acknowledged_at = ?4, last_error = NULL \
                           WHERE kind = ?1 AND id = ?2 AND receipt IS NULL";
                let at = scribe.at.seconds().cast_signed();
                let changed = tx.execute(sql, params![kind.name(), id.0, receipt, at]);
                expect_one(changed, kind, &id)?;
                scribe.record(tx, "delivered", Table::Outbox, &subject(kind, &id))
            })
        })
    }

    /// Records that a delivery failed and why: it is due again after `wait`, at most after a day.
    ///
    /// # Errors
    /// No such delivery waits; the disk.
    pub fn fail(
        &self,
        kind: DeliveryKind,
        id: &Uid,
        reason: &str,
        wait: Duration,
    ) -> Result<(), JournalError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.ask(move |writer| {
            writer.transact("putting a delivery off", |tx, scribe| {
                let wait = wait.as_secs().min(LONGEST_WAIT_S);
                let next = scribe.at.after(wait).seconds().cast_signed();
                let sql = "UPDATE outbox SET next_try = ?3, last_error = ?4 \
                           WHERE kind = ?1 AND id = ?2 AND receipt IS NULL";
                let changed = tx.execute(sql, params![kind.name(), id.0, next, reason]);
                expect_one(changed, kind, &id)
            })
        })
    }

    /// Makes everything that waits due now: somebody wants it sent.
    ///
    /// # Errors
    /// The disk.
    pub fn hurry(&self) -> Result<(), JournalError> {
        self.ask(move |writer| {
            writer.transact("hurrying the outbox", |tx, scribe| {
                let now = scribe.at.seconds().cast_signed();
                let sql = "UPDATE outbox SET next_try = ?1 WHERE receipt IS NULL";
                tx.execute(sql, [now]).map_err(failed())?;
                Ok(())
            })
        })
    }

    /// Deletes every photograph whose deliveries were all acknowledged, the last of them at least `days` days
    /// ago by the device's clock; the exam and the photograph's hash stay. Returns how many.
    ///
    /// # Errors
    /// The disk; a photograph whose file could not be removed is removed at the next start.
    pub fn retire_photographs(&self, days: u32) -> Result<usize, JournalError> {
        self.ask(move |writer| writer.retire(days))
    }
}

fn failed() -> impl Fn(rusqlite::Error) -> JournalError {
    JournalError::database("working on the outbox")
}

/// How the audit names a delivery.
fn subject(kind: DeliveryKind, id: &Uid) -> String {
    format!("{} {}", kind.name(), id.0)
}

fn expect_one(
    changed: rusqlite::Result<usize>,
    kind: DeliveryKind,
    id: &Uid,
) -> Result<(), JournalError> {
    match changed.map_err(failed())? {
        0 => Err(JournalError::NoDelivery(subject(kind, id))),
        _ => Ok(()),
    }
}

fn queue(
    tx: &Transaction,
    scribe: &Scribe,
    kind: DeliveryKind,
    id: &Uid,
) -> Result<(), JournalError> {
    let (sql, missing): (_, fn(Uid) -> JournalError) = match kind {
        DeliveryKind::DicomImage => {
            ("SELECT EXISTS (SELECT 1 FROM exams WHERE uid = ?1)", JournalError::NoExam)
        }
        DeliveryKind::FhirBundle => {
            ("SELECT EXISTS (SELECT 1 FROM visits WHERE uid = ?1)", JournalError::NoVisit)
        }
    };
    if !tx.query_row(sql, [&id.0], |row| row.get(0)).map_err(failed())? {
        return Err(missing(id.clone()));
    }
    let sql = "INSERT INTO outbox (kind, id, next_try) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let next = scribe.at.seconds().cast_signed();
    match tx.execute(sql, params![kind.name(), id.0, next]).map_err(failed())? {
        0 => Ok(()),
        _ => scribe.record(tx, "queued", Table::Outbox, &subject(kind, id)),
    }
}

/// Queues a visit and its photographs by each kind.
pub(super) fn queue_visit(
    tx: &Transaction,
    scribe: &Scribe,
    visit: &Uid,
    kinds: &[DeliveryKind],
) -> Result<(), JournalError> {
    for &kind in kinds {
        if kind == DeliveryKind::FhirBundle {
            queue(tx, scribe, kind, visit)?;
            continue;
        }
        let sql = "SELECT uid FROM exams WHERE visit = ?1 ORDER BY sequence";
        let mut statement = tx.prepare_cached(sql).map_err(failed())?;
        let exams = statement.query_map([&visit.0], |row| row.get(0)).map_err(failed())?;
        for exam in exams {
            queue(tx, scribe, kind, &Uid(exam.map_err(failed())?))?;
        }
    }
    Ok(())
}

fn claim(tx: &Transaction, now: Timestamp) -> Result<Option<Delivery>, JournalError> {
    // A time further off than the longest wait was written before the clock went back.
    let sql = "SELECT sequence, kind, id, attempts FROM outbox \
               WHERE receipt IS NULL AND (next_try <= ?1 OR next_try > ?2) \
               ORDER BY sequence LIMIT 1";
    let far = now.after(LONGEST_WAIT_S).seconds().cast_signed();
    let due = tx
        .query_row(sql, params![now.seconds().cast_signed(), far], |row: &Row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get(2)?,
                row.get::<_, u32>(3)?,
            ))
        })
        .optional()
        .map_err(failed())?;
    let Some((sequence, kind, id, attempts)) = due else { return Ok(None) };
    let kind = DeliveryKind::ALL
        .into_iter()
        .find(|known| known.name() == kind)
        .ok_or(JournalError::Value(format!("delivery of kind {kind:?}")))?;
    let attempts = attempts.saturating_add(1);
    let sql = "UPDATE outbox SET attempts = ?2, next_try = ?3 WHERE sequence = ?1";
    let until = now.after(LEASE_S).seconds().cast_signed();
    tx.execute(sql, params![sequence, attempts, until]).map_err(failed())?;
    Ok(Some(Delivery { kind, id: Uid(id), attempts }))
}

impl Writer {
    fn retire(&mut self, days: u32) -> Result<usize, JournalError> {
        let files = self.transact("retiring photographs", |tx, scribe| {
            let before = scribe.at.seconds().cast_signed() - i64::from(days) * 86_400;
            let due = due_to_retire(tx, before).map_err(failed())?;
            for (exam, file) in &due {
                tx.execute("UPDATE exams SET sealed_file = NULL WHERE uid = ?1", [exam])
                    .map_err(failed())?;
                let exam = Some((Table::Exams, exam.as_str()));
                scribe.append(tx, "photograph_deleted", exam, Some(file))?;
            }
            Ok(due)
        })?;
        // The rows first: a row never names a file that is gone. What a power cut leaves here is an orphan.
        let folder = sealed_folder(&self.folder);
        for (_, file) in &files {
            let path = folder.join(file);
            self.disk.remove(&path).map_err(JournalError::io("removing", &path))?;
        }
        self.disk.sync_folder(&folder).map_err(JournalError::io("syncing", &folder))?;
        Ok(files.len())
    }
}

/// Exams and files whose deliveries, of the photograph and of its visit, are all acknowledged, the last
/// at `before` or earlier.
fn due_to_retire(tx: &Transaction, before: i64) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT exams.uid, exams.sealed_file FROM exams \
               JOIN outbox ON outbox.id IN (exams.uid, exams.visit) \
               WHERE exams.sealed_file IS NOT NULL GROUP BY exams.sequence \
               HAVING count(*) = count(outbox.receipt) AND max(outbox.acknowledged_at) <= ?1 \
               AND sum(outbox.id = exams.uid) > 0 ORDER BY exams.sequence";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
