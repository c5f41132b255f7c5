//! Who may open the journal: PINs, wrong ones, and what to do when they are lost.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::audit::{Scribe, Table};
use super::{Journal, JournalError, Session, Writer, schema};
use crate::seal::{Cost, DataKey, DeviceSecret, Keys, SealError, Wrapped, recovery_box};

/// The fewest characters of a PIN.
pub const MIN_PIN: usize = 6;

/// So many wrong PINs in a row are forgiven; each further one doubles the wait.
const FREE_TRIES: u32 = 3;
/// The first wait, seconds.
const FIRST_WAIT_S: u64 = 5;
/// The longest wait, seconds.
const LONGEST_WAIT_S: u64 = 900;

impl Journal {
    /// Sets up a new journal: makes its data key, wraps it for the first operator and for the programme's
    /// recovery key (the 32 bytes of an X25519 public key), and unlocks the journal.
    ///
    /// # Errors
    /// It is set up already; a short PIN; not a public key; no random numbers; the disk.
    pub fn found(&self, operator: &str, pin: &str, recovery: [u8; 32]) -> Result<(), JournalError> {
        let (operator, pin) = (operator.to_owned(), checked(pin)?);
        self.ask(move |writer| writer.found(operator, &pin, &recovery))
    }

    /// Unlocks the journal for an operator. After three wrong PINs in a row each further one makes the wait
    /// longer, up to 15 minutes; tries are counted on the disk before they are heard, so that switching off
    /// and on gains nothing.
    ///
    /// # Errors
    /// A wrong PIN, or too early after one; no such operator; the disk.
    pub fn unlock(&self, operator: &str, pin: &str) -> Result<(), JournalError> {
        let key = self.key_by_pin(operator, pin)?;
        let operator = operator.to_owned();
        self.ask(move |writer| {
            writer.begin_session(operator, key);
            Ok(())
        })
    }

    /// The data key by a PIN. The long part of a try, Argon2, runs on the caller's thread: the writer records
    /// meanwhile, and whoever waits for it waits for the disk alone.
    fn key_by_pin(&self, operator: &str, pin: &str) -> Result<DataKey, JournalError> {
        let name = operator.to_owned();
        let attempt = self.ask(move |writer| writer.begin_try(name))?;
        let opened = attempt.wrapped.open(operator, pin, &attempt.secret);
        self.ask(move |writer| writer.end_try(&attempt, opened))
    }

    /// Forgets the keys. Readers that were made before keep theirs until they are dropped.
    ///
    /// # Errors
    /// The writer has stopped.
    pub fn lock(&self) -> Result<(), JournalError> {
        self.ask(|writer| {
            writer.session = None;
            Ok(())
        })
    }

    /// Adds an operator to an unlocked journal.
    ///
    /// # Errors
    /// Locked; the name is taken; a short PIN; the disk.
    pub fn add_operator(&self, name: &str, pin: &str) -> Result<(), JournalError> {
        let (name, pin) = (name.to_owned(), checked(pin)?);
        self.ask(move |writer| {
            let key = writer.session()?.keys.data().clone();
            let wrapped = writer.wrap(&key, &name, &pin)?;
            writer.transact("adding an operator", |tx, scribe| {
                if read_operator(tx, &name)?.is_some() {
                    return Err(JournalError::OperatorExists(name));
                }
                put_operator(tx, scribe, "operator_added", &name, &wrapped)
            })
        })
    }

    /// Removes an operator from an unlocked journal: this device no longer opens by that PIN. What the person
    /// has seen or copied while unlocked is not undone.
    ///
    /// # Errors
    /// Locked; no such operator; the last one; the disk.
    pub fn remove_operator(&self, name: &str) -> Result<(), JournalError> {
        let name = name.to_owned();
        self.ask(move |writer| {
            writer.session()?;
            writer.transact("removing an operator", |tx, scribe| remove(tx, scribe, &name))
        })
    }

    /// Gives an operator a new PIN for the old one, which is tried as in [`Journal::unlock`].
    ///
    /// # Errors
    /// As [`Journal::unlock`]; a short new PIN.
    pub fn change_pin(&self, operator: &str, old: &str, new: &str) -> Result<(), JournalError> {
        let (operator, new) = (operator.to_owned(), checked(new)?);
        let key = self.key_by_pin(&operator, old)?;
        self.ask(move |writer| writer.set_pin("pin_changed", &operator, &new, &key))
    }

    /// What the programme's private key opens ([`crate::seal::RecoveryKey::open`]) when every PIN is lost. No
    /// secret: copy it off the device when the journal is set up.
    ///
    /// # Errors
    /// Not set up; the database.
    pub fn recovery_box(&self) -> Result<Vec<u8>, JournalError> {
        self.ask(|writer| {
            let sql = "SELECT recovery_box FROM vault";
            let sealed = writer.connection.query_row(sql, (), |row| row.get(0)).optional();
            sealed
                .map_err(JournalError::database("reading its keys"))?
                .ok_or(JournalError::NotFounded)
        })
    }

    /// Unlocks the journal with a recovered data key and sets the operator's PIN, adding the operator
    /// where there is none of that name.
    ///
    /// # Errors
    /// Not this journal's key; not set up; a short PIN; the disk.
    pub fn recover(&self, key: DataKey, operator: &str, pin: &str) -> Result<(), JournalError> {
        let (operator, pin) = (operator.to_owned(), checked(pin)?);
        self.ask(move |writer| {
            let sql = "SELECT key_check FROM vault";
            let check = writer.connection.query_row(sql, (), |row| row.get(0)).optional();
            let check: Option<[u8; 32]> =
                check.map_err(JournalError::database("reading its keys"))?;
            if check.ok_or(JournalError::NotFounded)? != key.check() {
                return Err(SealError::RecoveryKey.into());
            }
            writer.set_pin("pin_recovered", &operator, &pin, &key)?;
            writer.begin_session(operator, key);
            Ok(())
        })
    }
}

impl Writer {
    fn found(
        &mut self,
        operator: String,
        pin: &str,
        recovery: &[u8; 32],
    ) -> Result<(), JournalError> {
        if schema::is_founded(&self.connection)? {
            return Err(JournalError::Founded);
        }
        let key = DataKey::generate()?;
        let sealed = recovery_box(&key, recovery)?;
        let wrapped = self.wrap(&key, &operator, pin)?;
        self.transact("writing its keys", |tx, scribe| {
            tx.execute(
                "INSERT INTO vault VALUES (1, ?1, ?2, ?3, ?4)",
                params![scribe.at.to_string(), recovery, sealed, key.check()],
            )
            .map_err(JournalError::database("writing its keys"))?;
            scribe.record(tx, "founded", Table::Vault, "key")?;
            put_operator(tx, scribe, "operator_added", &operator, &wrapped)
        })?;
        self.begin_session(operator, key);
        Ok(())
    }

    fn begin_session(&mut self, operator: String, key: DataKey) {
        self.session = Some(Session { operator, keys: Arc::new(Keys::new(key)) });
    }

    /// Here Argon2 does run on the writer's thread: PINs are set when a device is set up, not while people are
    /// examined.
    fn wrap(&self, key: &DataKey, operator: &str, pin: &str) -> Result<Wrapped, SealError> {
        Wrapped::new(key, operator, pin, &self.secret, self.cost)
    }

    fn set_pin(
        &mut self,
        action: &str,
        operator: &str,
        pin: &str,
        key: &DataKey,
    ) -> Result<(), JournalError> {
        let wrapped = self.wrap(key, operator, pin)?;
        self.transact("writing a PIN's key", |tx, scribe| {
            put_operator(tx, scribe, action, operator, &wrapped)
        })
    }

    /// Whether a try is heard now; if so, it counts as failed until it has succeeded.
    fn begin_try(&mut self, operator: String) -> Result<Attempt, JournalError> {
        if !schema::is_founded(&self.connection)? {
            return Err(JournalError::NotFounded);
        }
        let Some((wrapped, tries)) = read_operator(&self.connection, &operator)? else {
            return Err(JournalError::NoOperator(operator));
        };
        let now = self.clock.now().seconds();
        if let Some(wait_s) = tries.wait_at(now) {
            if tries.failed_at.is_some_and(|failed_at| now < failed_at) {
                // The clock went back: the wait begins anew instead of lasting until the clock is there again.
                self.count_failures(&operator, tries.failures, Some(now))?;
            }
            return Err(JournalError::Wait { wait_s });
        }
        let failures = tries.failures.saturating_add(1);
        self.count_failures(&operator, failures, Some(now))?;
        Ok(Attempt { operator, wrapped, failures, secret: Arc::clone(&self.secret) })
    }

    /// Writes down what came of a try.
    fn end_try(
        &mut self,
        attempt: &Attempt,
        opened: Result<DataKey, SealError>,
    ) -> Result<DataKey, JournalError> {
        let Attempt { operator, wrapped, failures, .. } = attempt;
        match opened {
            Ok(key) => {
                // Meanwhile the operator may have been removed, or the PIN changed.
                let now = read_operator(&self.connection, operator)?;
                if now.is_none_or(|(now, _)| now != *wrapped) {
                    return Err(JournalError::NoOperator(operator.clone()));
                }
                self.count_failures(operator, 0, None)?;
                self.write_down("unlocked", operator)?;
                Ok(key)
            }
            Err(SealError::WrongPin) => {
                self.write_down("pin_refused", operator)?;
                Err(JournalError::WrongPin { wait_s: wait_after(*failures) })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn count_failures(
        &mut self,
        operator: &str,
        failures: u32,
        at: Option<u64>,
    ) -> Result<(), JournalError> {
        self.transact("counting a try of a PIN", |tx, _| {
            let sql = "UPDATE operators SET failures = ?2, failed_at = ?3 WHERE name = ?1";
            tx.execute(sql, params![operator, failures, at.map(u64::cast_signed)])
                .map(drop)
                .map_err(JournalError::database("counting a try of a PIN"))
        })
    }

    fn write_down(&mut self, action: &str, operator: &str) -> Result<(), JournalError> {
        self.transact("writing the audit", |tx, scribe| {
            scribe.record(tx, action, Table::Operators, operator)
        })
    }
}

/// A try of a PIN that is heard.
struct Attempt {
    operator: String,
    wrapped: Wrapped,
    /// Wrong PINs in a row, should this be another one.
    failures: u32,
    secret: Arc<DeviceSecret>,
}

/// Wrong PINs in a row.
struct Tries {
    failures: u32,
    failed_at: Option<u64>,
}

impl Tries {
    /// Seconds to wait before a try at `now` is heard; `None`: it is heard.
    fn wait_at(&self, now: u64) -> Option<u64> {
        let wait = wait_after(self.failures);
        let passed = self.failed_at.map_or(u64::MAX, |failed_at| now.saturating_sub(failed_at));
        wait.checked_sub(passed).filter(|&left| left > 0)
    }
}

/// Seconds to wait after so many wrong PINs in a row.
fn wait_after(failures: u32) -> u64 {
    match failures.checked_sub(FREE_TRIES) {
        None => 0,
        Some(further) => (FIRST_WAIT_S << further.min(10)).min(LONGEST_WAIT_S),
    }
}

fn checked(pin: &str) -> Result<zeroize::Zeroizing<String>, JournalError> {
    if pin.chars().count() < MIN_PIN {
        return Err(JournalError::ShortPin);
    }
    Ok(zeroize::Zeroizing::new(pin.to_owned()))
}

fn read_operator(
    connection: &Connection,
    name: &str,
) -> Result<Option<(Wrapped, Tries)>, JournalError> {
    let sql = "SELECT salt, memory_kib, passes, wrapped, failures, failed_at FROM operators \
               WHERE name = ?1";
    let row = connection.query_row(sql, [name], |row| {
        let cost = Cost { memory_kib: row.get(1)?, passes: row.get(2)? };
        let wrapped = Wrapped { salt: row.get(0)?, cost, sealed: row.get(3)? };
        Ok((wrapped, Tries { failures: row.get(4)?, failed_at: row.get(5)? }))
    });
    row.optional().map_err(JournalError::database("reading an operator"))
}

fn put_operator(
    tx: &Transaction,
    scribe: &Scribe,
    action: &str,
    name: &str,
    wrapped: &Wrapped,
) -> Result<(), JournalError> {
    let sql = "INSERT INTO operators (name, salt, memory_kib, passes, wrapped) \
               VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, \
               memory_kib = excluded.memory_kib, passes = excluded.passes, \
               wrapped = excluded.wrapped, failures = 0, failed_at = NULL";
    let Wrapped { salt, cost, sealed } = wrapped;
    tx.execute(sql, params![name, salt, cost.memory_kib, cost.passes, sealed])
        .map_err(JournalError::database("writing an operator"))?;
    scribe.record(tx, action, Table::Operators, name)
}

fn remove(tx: &Transaction, scribe: &Scribe, name: &str) -> Result<(), JournalError> {
    let failed = JournalError::database("removing an operator");
    let removed = tx.execute("DELETE FROM operators WHERE name = ?1", [name]).map_err(&failed)?;
    if removed == 0 {
        return Err(JournalError::NoOperator(name.to_owned()));
    }
    let left = tx.query_row("SELECT EXISTS (SELECT 1 FROM operators)", (), |row| row.get(0));
    if !left.map_err(failed)? {
        return Err(JournalError::LastOperator);
    }
    scribe.record(tx, "operator_removed", Table::Operators, name)
}
