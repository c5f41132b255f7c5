//! TensorBoard event files: the numbers of the log as curves.
//!
//! A file is a row of records: length, masked CRC-32C of the length, data, masked CRC-32C of the
//! data (TensorFlow's `record_writer`). The data of each is an `Event` message, of which only the
//! fields in use are declared here. Every number of an [`Entry`] becomes a curve named by where it
//! stands in the entry, such as `train/losses/disc` or `validation/metrics/idrid/disc_dice/mean`.
//!
//! A resumed run begins a new file. Its first record after the version says that the run starts at
//! the step after the checkpoint's: readers then drop what earlier files hold from that step on.

use super::log::Entry;
use prost::Message;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "events.out.tfevents.";
/// Version of the format that readers know the meaning of starts from.
const FILE_VERSION: &str = "brain.Event:2";

/// Appends entries to one event file.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a file in `folder`: `events.out.tfevents.<seconds>.<host>.<process>`. The seconds are
    /// later than those of any event file there, since readers order files by them.
    ///
    /// # Errors
    /// The folder cannot be listed or the file not written; the message names it.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let now = seconds();
        let after = latest(folder)?.map_or(0, |last| last + 1);
        let stamp = (now as u64).max(after);
        let name = format!("{PREFIX}{stamp:010}.{}.{}", host(), std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(|error| at(&path, &error))?;
        let mut events = Self { path, file };
        events.append(&Event::new(now, 0, What::FileVersion(FILE_VERSION.into())))?;
        Ok(events)
    }

    /// Appends what `entry` says in numbers, if anything.
    ///
    /// # Errors
    /// The file cannot be written; the message names it.
    pub fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        match event(entry, seconds())? {
            Some(event) => self.append(&event),
            None => Ok(()),
        }
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        // One write a record: a reader following the file never sees half of one.
        let record = record(&event.encode_to_vec());
        self.file.write_all(&record).map_err(|error| at(&self.path, &error))
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The seconds in the name of the last event file of a folder.
fn latest(folder: &Path) -> io::Result<Option<u64>> {
    let mut latest = None;
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let name = entry?.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let stamp = rest.and_then(|rest| rest.split('.').next()?.parse().ok());
        latest = latest.max(stamp);
    }
    Ok(latest)
}

fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").ok());
    let told = told.or_else(|| std::env::var("COMPUTERNAME").ok()).unwrap_or_default();
    let name: String =
        told.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "host".into() } else { name }
}

fn event(entry: &Entry<'_>, wall_time: f64) -> io::Result<Option<Event>> {
    if let Entry::Start { step, .. } = entry {
        // What was found at the checkpoint's own step stays: the log keeps it too.
        let start = SessionLog { status: SessionStatus::Start.into() };
        let event = Event::new(wall_time, *step as i64 + 1, What::SessionLog(start));
        return Ok(Some(event));
    }
    let Value::Object(mut fields) = serde_json::to_value(entry)? else { return Ok(None) };
    let step = fields.remove("step").and_then(|step| step.as_i64()).unwrap_or_default();
    let kind = fields.remove("event");
    let kind = match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
        "step" => "train",
        other => other,
    };
    let mut value = Vec::new();
    collect(kind, &Value::Object(fields), &mut value);
    let summary = What::Summary(Summary { value });
    Ok(Some(Event::new(wall_time, step, summary)).filter(Event::says_something))
}

/// Every number below `value`, by its path; an item of a list by its `name` where it has one.
fn collect(path: &str, value: &Value, to: &mut Vec<Scalar>) {
    match value {
        Value::Number(number) => {
            let simple_value = number.as_f64().map(|number| number as f32);
            to.push(Scalar { tag: path.to_owned(), simple_value });
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, below)| collect(&format!("{path}/{name}"), below, to));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let name = name.map_or_else(|| index.to_string(), str::to_owned);
                collect(&format!("{path}/{name}"), item, to);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc(data).to_le_bytes());
    record
}

/// A checksum that stays good where checksums are themselves part of the data.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A record's data; field numbers are those of TensorFlow's `event.proto`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

impl Event {
    fn new(wall_time: f64, step: i64, what: What) -> Self {
        Self { wall_time, step, what: Some(what) }
    }

    fn says_something(&self) -> bool {
        !matches!(&self.what, Some(What::Summary(summary)) if summary.value.is_empty())
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// One point of one curve.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional so that a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(enumeration = "SessionStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum SessionStatus {
    Unspecified = 0,
    /// Readers drop what they have from this event's step on.
    Start = 1,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::log::Losses;
    use super::*;
    use serde_json::json;

    fn entries() -> Vec<Entry<'static>> {
        let losses = Losses { disc: Some(0.25), fovea: Some(0.0), ..Losses::default() };
        let start = Entry::Start {
            step: 3,
            steps: 9,
            parameters: 5,
            training_images: 2,
            validation_images: 1,
            dataset_hash: "ab",
        };
        let step = Entry::Step {
            step: 300,
            epoch: 2,
            losses,
            lr: 1e-4,
            seconds_per_step: 1.5,
            data_wait_seconds: 0.0,
        };
        let metrics = json!([{"name": "idrid", "n": 4, "disc_dice": {"mean": 0.5, "interval": [0.25, 0.75]},
            "cup_dice": null}]);
        let validation = Entry::Validation {
            step: 300,
            epoch: 2,
            losses,
            total: 0.25,
            best: true,
            seconds: 2.0,
            metrics,
        };
        vec![start, step, validation, Entry::Stop { step: 300, reason: "finished" }]
    }

    /// `tests/golden/events/make.py` writes the same events with TensorBoard's own writer.
    #[test]
    fn records_are_tensorboards_byte_for_byte() {
        let version = Event::new(1e9, 0, What::FileVersion(FILE_VERSION.into()));
        let told = entries().iter().filter_map(|entry| event(entry, 1e9 + 0.5).unwrap()).collect();
        let bytes: Vec<u8> = [vec![version], told]
            .iter()
            .flatten()
            .flat_map(|event| record(&event.encode_to_vec()))
            .collect();
        let golden = std::fs::read(glaucoma_tests::golden("events/events.tfevents")).unwrap();
        assert!(bytes == golden, "{} bytes, golden {}", bytes.len(), golden.len());
    }

    #[test]
    fn files_begun_in_the_same_second_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..3)
            .map(|_| Events::create(folder.path()).unwrap().path.file_name().unwrap().to_owned())
            .collect();
        assert!(names.is_sorted() && names[0] != names[1] && names[1] != names[2], "{names:?}");
    }
}
