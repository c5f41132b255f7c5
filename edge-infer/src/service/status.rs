//! How the device is: model, journal, storage, power, clock, heat and intakes, read from outside while the kiosk
//! runs. Documented in `edge-infer/README.md`.

use std::path::{Path, PathBuf};

use glaucoma_engine::Options;
use glaucoma_records::clock::{Clock, SystemClock};
use glaucoma_records::journal::{JournalError, Reader, State, Summary, Undelivered, state};
use serde::Serialize;

use crate::board::{Board, Power, Storage, Temperature, Throttling, temperatures, throttling};
use crate::bundle::{self, Bundle, BundleError};
use crate::kiosk::Config;
use crate::kiosk::operating_point::settled;
use crate::report::PROGRAM;
use crate::reports::always;

/// How the device is. Every key is always there; what is not known is `null`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Nothing is wrong.
    pub fine: bool,
    /// What is wrong and what to do, a sentence each.
    pub troubles: Vec<String>,
    /// The program and its version.
    pub program: &'static str,
    /// The machine.
    pub board: Board,
    /// The model.
    pub model: ModelStatus,
    /// The records.
    pub journal: JournalStatus,
    /// The disk under the journal.
    pub storage: Option<Storage>,
    /// What the machine is fed from.
    pub power: Power,
    /// The time.
    pub clock: ClockStatus,
    /// How warm it is.
    pub temperatures: Vec<Temperature>,
    /// What slows the machine down.
    pub throttling: Option<Throttling>,
    /// The folders that photographs come from.
    pub intake: Vec<FolderStatus>,
}

/// The model, loaded and tested just now.
#[derive(Debug, Default, Serialize)]
pub struct ModelStatus {
    /// The file, where one was found.
    pub file: Option<PathBuf>,
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// SHA-256 of the file.
    pub sha256: Option<String>,
    /// The day it was made.
    pub created: Option<String>,
    /// Whether it loads and gives the answers to its self-test that it gave when it was made.
    pub usable: bool,
    /// Whether it has a self-test at all.
    pub self_test: Option<bool>,
}

/// The records.
#[derive(Debug, Serialize)]
pub struct JournalStatus {
    /// Their folder.
    pub folder: PathBuf,
    /// Whether there is one, and whether a program writes it; `null` where that cannot be seen.
    pub state: Option<State>,
    /// How many operators can open it.
    pub operators: Option<usize>,
    /// All visits in numbers.
    pub records: Option<Summary>,
    /// What is still to be delivered.
    pub outbox: Option<Undelivered>,
}

/// The time.
#[derive(Debug, Serialize)]
pub struct ClockStatus {
    /// By the device's clock, UTC.
    pub now: String,
    /// Whether that is after the model was made; a clock that says otherwise is wrong.
    pub after_model: Option<bool>,
}

/// A folder that photographs come from.
#[derive(Debug, Serialize)]
pub struct FolderStatus {
    /// The folder.
    pub folder: PathBuf,
    /// Whether it is there: a card in its slot, a stick that is plugged in.
    pub present: bool,
}

/// What is looked at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The model's file; none: the default one.
    pub model: Option<&'a Path>,
    /// What the programme has set up.
    pub config: &'a Config,
    /// Below which the machine's files are: `/` on a device.
    pub root: &'a Path,
}

impl Status {
    /// Looks at everything. Takes as long as the model takes to load.
    #[must_use]
    pub fn read(subject: &Subject) -> Self {
        let mut troubles = Vec::new();
        let model = noted(&mut troubles, ModelStatus::default(), |found| {
            model(subject.model, subject.config, found)
        });
        let folder = &subject.config.journal.folder;
        let nothing = JournalStatus::unknown(folder);
        let journal = noted(&mut troubles, nothing, journal);
        let storage = Storage::of(folder);
        troubles.extend(storage.and_then(storage_trouble));
        let (power, throttling) = (Power::read(subject.root), throttling(subject.root));
        troubles.extend(power.troubles());
        // A weak supply also slows the processor down, and both tell.
        let slow = throttling.iter().flat_map(|found| found.now.clone());
        let new = |slow: &String| !power.troubles().iter().any(|known| known.starts_with(slow));
        troubles.extend(slow.filter(new));
        let clock = ClockStatus::read(&SystemClock, model.created.as_deref());
        if clock.after_model == Some(false) {
            let now = &clock.now;
            troubles.push(format!("the clock says {now}, before the model was made: set it"));
        }
        let intake: Vec<_> =
            subject.config.intake.folders.iter().map(|folder| FolderStatus::read(folder)).collect();
        troubles.extend(intake.iter().filter_map(FolderStatus::trouble));
        Self {
            fine: troubles.is_empty(),
            troubles,
            program: PROGRAM,
            board: Board::read(subject.root),
            model,
            journal,
            storage,
            power,
            clock,
            temperatures: temperatures(subject.root),
            throttling,
            intake,
        }
    }
}

/// What `read` found, as far as it came, with its trouble added to the others.
fn noted<T>(
    troubles: &mut Vec<String>,
    mut found: T,
    read: impl FnOnce(&mut T) -> Result<(), String>,
) -> T {
    troubles.extend(read(&mut found).err());
    found
}

fn model(named: Option<&Path>, config: &Config, found: &mut ModelStatus) -> Result<(), String> {
    let said = |error: BundleError| error.to_string();
    let file = bundle::named_or_default(named).map_err(said)?;
    found.file = Some(file.clone());
    let bundle = Bundle::open(&file, &Options::default()).map_err(said)?;
    // A kiosk would not start without a threshold that it may work with.
    let settled = settled(config, &bundle.manifest).map(|_| ());
    let manifest = bundle.manifest;
    *found = ModelStatus {
        file: Some(file),
        name: Some(manifest.name),
        version: Some(manifest.version),
        sha256: Some(bundle.sha256),
        created: Some(manifest.created),
        usable: true,
        self_test: Some(manifest.self_test.is_some()),
    };
    settled.map_err(|error| error.to_string())
}

fn journal(found: &mut JournalStatus) -> Result<(), String> {
    let said = |error: JournalError| error.to_string();
    let state = state(&found.folder).map_err(said)?;
    found.state = Some(state);
    let not_set_up =
        || format!("{}: no journal is set up: edge-infer journal found", found.folder.display());
    if state == State::Absent {
        return Err(not_set_up());
    }
    let reader = Reader::open_locked(&found.folder).map_err(said)?;
    let operators = reader.operators().map_err(said)?.len();
    let none = (operators == 0).then(not_set_up);
    found.operators = Some(operators);
    found.records = Some(reader.summary(always()).map_err(said)?);
    found.outbox = Some(reader.undelivered().map_err(said)?);
    none.map_or(Ok(()), Err)
}

fn storage_trouble(storage: Storage) -> Option<String> {
    if storage.is_enough() {
        return None;
    }
    let why = if storage.writable {
        format!("only {} are left: make space", gib(storage.free_bytes))
    } else {
        "nothing can be written".into()
    };
    Some(format!("where the journal is, {why}"))
}

impl JournalStatus {
    fn unknown(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: None,
            operators: None,
            records: None,
            outbox: None,
        }
    }
}

impl ClockStatus {
    /// The time now, beside the day `created` on which the model was made.
    #[must_use]
    pub fn read(clock: &dyn Clock, created: Option<&str>) -> Self {
        let now = clock.now().to_string();
        // Days and times of one length, year first: their alphabetical order is that of time.
        Self { after_model: created.map(|created| now.as_str() >= created), now }
    }
}

impl FolderStatus {
    fn read(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), present: folder.is_dir() }
    }

    fn trouble(&self) -> Option<String> {
        let absent =
            || format!("{}: the folder for photographs is not there", self.folder.display());
        (!self.present).then(absent)
    }
}

/// The same in words, a line for each thing, troubles last.
#[must_use]
pub fn text(status: &Status) -> String {
    let journal = &status.journal;
    let mut lines = vec![
        format!("program  {}", status.program),
        format!("board    {}", or_unknown(status.board.name.clone())),
        format!("model    {}", model_text(&status.model)),
        format!("journal  {}: {}", journal.folder.display(), journal_text(journal)),
        format!("outbox   {}", or_unknown(journal.outbox.as_ref().map(outbox_text))),
        format!("storage  {}", or_unknown(status.storage.map(storage_text))),
        format!("power    {}", power_text(&status.power)),
        format!("clock    {}", status.clock.now),
        format!("heat     {}", heat_text(status)),
    ];
    lines.extend(status.intake.iter().map(|intake| {
        let there = if intake.present { "there" } else { "not there" };
        format!("intake   {}: {there}", intake.folder.display())
    }));
    if status.fine {
        lines.push("all is fine".into());
    }
    lines.extend(status.troubles.iter().map(|trouble| format!("NOT FINE {trouble}")));
    lines.join("\n") + "\n"
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| "not known".into())
}

fn model_text(model: &ModelStatus) -> String {
    match (&model.name, &model.version, &model.sha256) {
        (Some(name), Some(version), Some(sha256)) => {
            let tested =
                if model.self_test == Some(true) { "self-test passed" } else { "no self-test" };
            format!("{name} {version}, {tested}, sha256 {sha256}")
        }
        _ => "not usable".into(),
    }
}

fn journal_text(journal: &JournalStatus) -> String {
    let state = match journal.state {
        None => "cannot be looked at",
        Some(State::Absent) => "not there",
        Some(State::Closed) => "closed",
        Some(State::InUse) => "in use",
    };
    let numbers = journal.records.map_or_else(String::new, |records| {
        format!(", {} visits, {} photographs", records.visits, records.photographs)
    });
    format!("{state}{numbers}")
}

fn outbox_text(outbox: &Undelivered) -> String {
    let oldest = outbox.oldest.iter().map(|oldest| format!(", the oldest from {oldest}"));
    let error = outbox.last_error.iter().map(|error| format!("; not delivered: {error}"));
    format!("{} waiting", outbox.waiting) + &oldest.chain(error).collect::<String>()
}

fn storage_text(storage: Storage) -> String {
    format!("{} of {} left", gib(storage.free_bytes), gib(storage.total_bytes))
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1 << 30) as f64)
}

fn power_text(power: &Power) -> String {
    let mains = power.mains.map(|on| if on { "mains" } else { "no mains" }.to_string());
    let batteries = power.batteries.iter().map(|battery| {
        let percent = battery.percent.map_or_else(String::new, |percent| format!(" {percent} %"));
        let way = if battery.discharging == Some(true) { ", discharging" } else { "" };
        format!("{}{percent}{way}", battery.name)
    });
    let voltage = power
        .under_voltage
        .map(|low| if low { "voltage too low" } else { "voltage fine" }.to_string());
    let known: Vec<String> = mains.into_iter().chain(batteries).chain(voltage).collect();
    if known.is_empty() { or_unknown(None) } else { known.join("; ") }
}

fn heat_text(status: &Status) -> String {
    let sensors = status.temperatures.iter();
    let warm = sensors.map(|sensor| format!("{} {:.1} °C", sensor.sensor, sensor.celsius));
    let warm: Vec<String> = warm.collect();
    if warm.is_empty() { or_unknown(None) } else { warm.join("; ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use glaucoma_records::clock::Timestamp;
    use glaucoma_records::journal::{Journal, Settings};
    use glaucoma_records::seal::{Cost, RecoveryKey};

    use super::*;
    use crate::board::ENOUGH_BYTES;
    use crate::board::tests::tree;

    struct At(&'static str);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::parse(self.0).unwrap()
        }
    }

    /// A journal that is set up in `folder`, and open.
    fn founded(folder: &Path) -> Journal {
        let cost = Cost { memory_kib: 64, passes: 1 };
        let secret = folder.join("device.secret");
        let journal =
            Journal::open(Settings { cost, ..Settings::new(folder.join("journal"), secret) });
        let journal = journal.unwrap();
        journal.found("Asha", "271828", RecoveryKey::generate().1).unwrap();
        journal
    }

    /// The journal in `folder`, and photographs from `card`.
    fn config(folder: &Path, card: &Path) -> Config {
        let mut config = Config::default();
        config.journal.folder = folder.join("journal");
        config.intake.folders = vec![card.to_owned()];
        // The shipped model does not screen at a threshold that nobody has chosen.
        config.camp.threshold = Some(0.5);
        config
    }

    #[test]
    fn a_device_that_is_set_up_is_fine_while_its_journal_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let journal = founded(folder.path());
        let (root, config) = (tree(&[]), config(folder.path(), folder.path()));
        let subject = Subject { model: None, config: &config, root: root.path() };
        let status = Status::read(&subject);
        // The disk of whoever runs this may be fuller than a device's.
        let of_the_disk = |trouble: &&String| trouble.starts_with("where the journal is");
        assert_eq!(status.troubles.iter().find(|trouble| !of_the_disk(trouble)), None);
        assert!(status.model.usable);
        assert_eq!(status.journal.state, Some(State::InUse));
        assert_eq!(status.journal.operators, Some(1));
        assert_eq!(status.journal.records, Some(Summary::default()));
        drop(journal);
        assert_eq!(Status::read(&subject).journal.state, Some(State::Closed));
        let mut unchosen = config.clone();
        unchosen.camp.threshold = None;
        let status = Status::read(&Subject { config: &unchosen, ..subject });
        assert!(status.troubles.iter().any(|trouble| trouble.contains("camp.operating_point")));
    }

    #[test]
    fn whatever_is_not_fine_is_told_and_the_rest_is_looked_at_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let weak = "sys/devices/platform/soc/soc:firmware/get_throttled";
        let root = tree(&[(weak, "5\n")]);
        let no_model = folder.path().join("x.onnx");
        let config = config(folder.path(), &folder.path().join("card"));
        let status =
            Status::read(&Subject { model: Some(&no_model), config: &config, root: root.path() });
        assert!(!status.fine && !status.model.usable);
        let words = ["x.onnx", "journal found", "supply voltage", "throttled", "card: the folder"];
        let told = |word: &str| status.troubles.iter().filter(|told| told.contains(word)).count();
        for word in words {
            assert_eq!(told(word), 1, "{word}: {:?}", status.troubles);
        }
        assert_eq!(
            status.clock.after_model, None,
            "of a model that cannot be read nothing is known"
        );
        let text = text(&status);
        let told = text.lines().filter(|line| line.starts_with("NOT FINE ")).count();
        assert_eq!(told, status.troubles.len());
    }

    #[test]
    fn a_clock_from_before_the_model_is_wrong() {
        let after = |now| ClockStatus::read(&At(now), Some("2026-05-01")).after_model;
        assert_eq!(after("1970-01-01T00:00:09Z"), Some(false));
        assert_eq!(after("2026-04-30T23:59:59Z"), Some(false));
        assert_eq!(after("2026-05-01T00:00:00Z"), Some(true));
        assert_eq!(ClockStatus::read(&At("2026-05-01T00:00:00Z"), None).after_model, None);
    }

    #[test]
    fn a_disk_that_is_full_or_only_read_is_told() {
        let storage = |free_bytes, writable| Storage { total_bytes: 1 << 40, free_bytes, writable };
        assert_eq!(storage_trouble(storage(ENOUGH_BYTES, true)), None);
        let full = storage_trouble(storage(ENOUGH_BYTES - 1, true));
        assert_eq!(
            full.as_deref(),
            Some("where the journal is, only 4.0 GiB are left: make space")
        );
        assert!(storage_trouble(storage(1 << 39, false)).is_some());
    }
}
