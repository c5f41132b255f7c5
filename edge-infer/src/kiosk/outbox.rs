//! What leaves the device by itself: photographs to a picture archive, results to a FHIR server, when there is a
//! network and an operator has unlocked the journal.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glaucoma_exchange::dicom::{self, DicomError, Subject};
use glaucoma_exchange::fhir::{self, FhirError, Programme};
use glaucoma_exchange::identity::Identity;
use glaucoma_exchange::outbox::fhir::Fhir;
use glaucoma_exchange::outbox::scu::Scu;
use glaucoma_exchange::outbox::stow::Stow;
use glaucoma_exchange::outbox::{Deliver, DeliverError, Endpoint, EndpointError, backoff};
use glaucoma_kiosk::event_loop::Message;
use glaucoma_kiosk::model::Event;
use glaucoma_records::journal::{Delivery, DeliveryKind, Journal, JournalError, Reader, Recorded};
use serde::{Deserialize, Serialize};

use super::intakes::check_titles;

/// Time for one exchange with a server; several times less than a claimed delivery is left to us.
const EXCHANGE: Duration = Duration::from_secs(60);
/// Between two looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks for photographs that may be deleted.
const RETIRE_EVERY: Duration = Duration::from_secs(3600);

/// Who takes photographs and results.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Days after which a photograph is deleted here, once it was delivered with its visit; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_after_days: Option<u32>,
    /// A picture archive by DICOMweb (STOW-RS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dicomweb: Option<Server>,
    /// A picture archive by DICOM (C-STORE), where there is no DICOMweb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dicom: Option<Archive>,
    /// A FHIR server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir: Option<Server>,
}

/// A server reached by HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its address, `https://...`.
    pub url: String,
    /// A file with the value of the header `Authorization`, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<PathBuf>,
    /// A PEM file with the only certificates to be trusted; left out: the web's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots_file: Option<PathBuf>,
}

/// A picture archive's application entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `host:port`.
    pub address: String,
    /// The device's AE title.
    pub calling: String,
    /// The archive's AE title.
    pub called: String,
}

impl OutboxConfig {
    /// Says by its key what cannot be.
    ///
    /// # Errors
    /// The first such thing.
    pub fn check(&self) -> Result<(), String> {
        if self.dicomweb.is_some() && self.dicom.is_some() {
            return Err("outbox.dicom: the archive is reached by DICOMweb already".into());
        }
        let titles = self.dicom.iter().flat_map(|archive| [&archive.calling, &archive.called]);
        check_titles("outbox.dicom", titles)
    }

    /// What is queued of a visit when it is decided, or closed without a decision.
    #[must_use]
    pub fn kinds(&self) -> Vec<DeliveryKind> {
        let images = self.dicomweb.is_some() || self.dicom.is_some();
        let kinds =
            [(images, DeliveryKind::DicomImage), (self.fhir.is_some(), DeliveryKind::FhirBundle)];
        kinds.into_iter().filter_map(|(wanted, kind)| wanted.then_some(kind)).collect()
    }
}

/// Why the outbox cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A file of the configuration.
    #[error("outbox, reading {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An address or certificate.
    #[error("outbox: {0}")]
    Endpoint(#[from] EndpointError),
}

/// Why an item was not made.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Dicom(#[from] DicomError),
    #[error(transparent)]
    Fhir(#[from] FhirError),
    #[error("wording the bundle: {0}")]
    Json(#[from] serde_json::Error),
}

/// How many deliveries wait still, as the kiosk hears it.
///
/// # Errors
/// The journal cannot be read.
pub fn delivered(journal: &Journal) -> Result<Event, JournalError> {
    let waiting = journal.reader()?.waiting()?.try_into().unwrap_or(u32::MAX);
    Ok(Event::Delivered { waiting })
}

/// The senders.
pub struct Outbox<'a> {
    journal: &'a Journal,
    images: Option<Box<dyn Deliver>>,
    results: Option<Box<dyn Deliver>>,
    programme: Programme,
    delete_after_days: Option<u32>,
}

impl<'a> Outbox<'a> {
    /// Sets the senders up; no server is asked yet.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn new(
        journal: &'a Journal,
        config: &OutboxConfig,
        programme: Programme,
    ) -> Result<Self, OutboxError> {
        let mut images: Option<Box<dyn Deliver>> = None;
        if let Some(server) = &config.dicomweb {
            images = Some(Box::new(Stow(server.endpoint()?)));
        } else if let Some(Archive { address, calling, called }) = config.dicom.clone() {
            images = Some(Box::new(Scu { address, calling, called, time: EXCHANGE }));
        }
        let mut results: Option<Box<dyn Deliver>> = None;
        if let Some(server) = &config.fhir {
            results = Some(Box::new(Fhir(server.endpoint()?)));
        }
        let delete_after_days = config.delete_after_days;
        Ok(Self { journal, images, results, programme, delete_after_days })
    }

    /// Delivers what is due until nobody can wake it any more. `woken` makes it look at once; how many still wait
    /// is told after each delivery. `alive` is called in every turn.
    pub fn run(&self, woken: &Receiver<()>, messages: &Sender<Message>, alive: &dyn Fn()) {
        let mut retired: Option<Instant> = None;
        loop {
            alive();
            let tried = self.step().unwrap_or_else(|error| {
                tracing::error!("outbox: {error}");
                false
            });
            if tried {
                self.tell(messages);
            } else if retired.is_none_or(|at| at.elapsed() >= RETIRE_EVERY) {
                retired = Some(Instant::now());
                self.retire();
            }
            // After a delivery there may be more.
            let wait = if tried { Duration::ZERO } else { LOOK_EVERY };
            if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn tell(&self, messages: &Sender<Message>) {
        if let Ok(count) = delivered(self.journal) {
            // A kiosk that has ended needs no count.
            let _ = messages.send(Message::Event(count));
        }
    }

    /// Tries what is due first; says whether there was something.
    ///
    /// # Errors
    /// The journal's. A server's refusal is none: the delivery waits.
    pub fn step(&self) -> Result<bool, JournalError> {
        let reader = self.journal.reader()?;
        // Who nobody has unlocked cannot read what is to be sent.
        if !reader.is_unlocked() {
            return Ok(false);
        }
        let Some(delivery) = self.journal.claim()? else { return Ok(false) };
        let Delivery { kind, id, attempts } = &delivery;
        match self.deliver(&reader, &delivery) {
            Ok(said) => self.journal.acknowledge(*kind, id, &said)?,
            Err((reason, after)) => {
                tracing::warn!("outbox, {} {}: {reason}", kind.name(), id.0);
                self.journal.fail(*kind, id, &reason, backoff(*attempts, jitter(), after))?;
            }
        }
        Ok(true)
    }

    fn deliver(
        &self,
        reader: &Reader,
        delivery: &Delivery,
    ) -> Result<String, (String, Option<Duration>)> {
        let (sender, what) = match delivery.kind {
            DeliveryKind::DicomImage => (&self.images, "picture archive"),
            DeliveryKind::FhirBundle => (&self.results, "FHIR server"),
        };
        let Some(sender) = sender else { return Err((format!("no {what} is set up"), None)) };
        let item = self.item(reader, delivery).map_err(|error| (error.to_string(), None))?;
        match sender.deliver(&item) {
            Ok(receipt) => Ok(receipt.said),
            Err(error @ DeliverError::Refused { .. }) => Err((error.to_string(), None)),
            Err(DeliverError::Later { reason, after }) => Err((reason, after)),
        }
    }

    /// The DICOM file or the transaction.
    fn item(&self, reader: &Reader, delivery: &Delivery) -> Result<Vec<u8>, ItemError> {
        match delivery.kind {
            DeliveryKind::FhirBundle => {
                let Recorded { visit, closed_at, .. } = reader.visit(&delivery.id)?;
                let closed = closed_at.is_some();
                let bundle = fhir::bundle(&visit, closed, &self.programme, Identity::Own)?;
                Ok(serde_json::to_vec(&bundle)?)
            }
            DeliveryKind::DicomImage => {
                let visit = reader.visit_of(&delivery.id)?.visit;
                let exam = visit.exams.iter().find(|exam| exam.uid == delivery.id);
                let exam = exam.ok_or_else(|| JournalError::NoExam(delivery.id.clone()))?;
                let subject = Subject {
                    visit: &visit,
                    exam,
                    station: &self.programme.station,
                    identity: Identity::Own,
                    burned_in: exam.burned_in,
                };
                Ok(dicom::photograph(&subject, &reader.photograph(&exam.uid)?)?.bytes)
            }
        }
    }

    fn retire(&self) {
        let Some(days) = self.delete_after_days else { return };
        match self.journal.retire_photographs(days) {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} delivered photographs were deleted"),
            Err(error) => tracing::error!("deleting delivered photographs: {error}"),
        }
    }
}

impl Server {
    fn endpoint(&self) -> Result<Endpoint, OutboxError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| OutboxError::Read { path: path.clone(), source })
        };
        let authorization = self.authorization_file.as_ref().map(read).transpose()?;
        let authorization = authorization.map(|text| String::from_utf8_lossy(&text).trim().into());
        let roots = self.roots_file.as_ref().map(read).transpose()?;
        Ok(Endpoint::new(&self.url, authorization, roots.as_deref(), EXCHANGE)?)
    }
}

/// Spreads the devices of a camp that find their network again: the fraction of the second.
fn jitter() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_nanos()) / 1e9
}
