//! A DICOM receiver: C-STORE and C-ECHO from known senders, in bounded memory.
//!
//! Bounds: associations at a time, bytes of a PDU and of an object, time for a message. A sender that breaks one
//! is cut off; the others are not disturbed. When the exams are behind, the answer is *out of resources* (A700),
//! upon which senders try again.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dicom_ul::association::Association;
use dicom_ul::association::server::AccessControl;
use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceProviderPresentationReason,
    AssociationRJServiceUserReason, AssociationRJSource, PDataValue, PDataValueType, UserIdentity,
    write_pdu,
};
use dicom_ul::{Pdu, ServerAssociation, ServerAssociationOptions};
use glaucoma_common::photo::Limits;

use super::object::{self, Received};
use super::{Intake, IntakeError, Offered, Outlet};
use crate::dimse::{self, Command, command, status};

/// Most bytes of a command set; real ones have some 200.
const MAX_COMMAND: usize = 16 << 10;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Scp {
    /// The port, bound already; to the camera's interface only.
    pub listener: TcpListener,
    /// Our AE title; senders must call it.
    pub ae_title: String,
    /// The senders that are let in, by AE title.
    pub allowed: Vec<String>,
    /// Associations at a time.
    pub max_associations: usize,
    /// Bytes of a PDU.
    pub max_pdu: u32,
    /// Bytes of an object.
    pub max_object: usize,
    /// Time for a whole message, and for silence between messages.
    pub message_time: Duration,
    /// What a photograph may be.
    pub limits: Limits,
}

impl Scp {
    /// Listens on `address` as `ae_title` for the `allowed` senders: 4 associations at a time, PDUs of
    /// 128 KiB, objects of 208 MiB (8192 x 8192 uncompressed RGB and their header), one minute a message.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub fn bind(
        address: SocketAddr,
        ae_title: &str,
        allowed: &[&str],
    ) -> Result<Self, IntakeError> {
        let listener = TcpListener::bind(address).map_err(failed("binding", address))?;
        Ok(Self {
            listener,
            ae_title: ae_title.to_owned(),
            allowed: allowed.iter().map(|&title| title.to_owned()).collect(),
            max_associations: 4,
            max_pdu: 128 << 10,
            max_object: 208 << 20,
            message_time: Duration::from_secs(60),
            limits: Limits::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An association in progress, as the watching thread sees it.
struct Line {
    socket: TcpStream,
    deadline: Arc<Mutex<Instant>>,
    alive: std::sync::Weak<()>,
}

impl Intake for Scp {
    fn name(&self) -> &'static str {
        "dicom"
    }

    fn run(self, outlet: &Outlet) -> Result<(), IntakeError> {
        let address = self.address().map_or_else(|error| error.to_string(), |it| it.to_string());
        self.listener.set_nonblocking(true).map_err(failed("preparing", &address))?;
        let mut lines: Vec<Line> = Vec::new();
        std::thread::scope(|scope| {
            while !outlet.stopped() {
                lines.retain(|line| line.alive.strong_count() > 0);
                for line in &lines {
                    // A read or a write that waits in the association's thread fails at once.
                    if Instant::now()
                        > *line.deadline.lock().unwrap_or_else(PoisonError::into_inner)
                    {
                        let _ = line.socket.shutdown(Shutdown::Both);
                    }
                }
                // A connection may fail before it is accepted, or files run out; the next may not.
                let Ok((socket, _)) = self.listener.accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                if lines.len() >= self.max_associations {
                    reject(&socket);
                    continue;
                }
                let deadline = Arc::new(Mutex::new(Instant::now() + self.message_time));
                let token = Arc::new(());
                let Ok(watched) = socket.try_clone() else { continue };
                let alive = Arc::downgrade(&token);
                lines.push(Line { socket: watched, deadline: deadline.clone(), alive });
                let this = &self;
                scope.spawn(move || {
                    let _token = token;
                    // A panic on hostile bytes must not take the receiver along.
                    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        this.serve(socket, &deadline, outlet)
                    }));
                    match served {
                        Ok(Ok(())) => {}
                        Ok(Err(ended)) => tracing::info!(%ended, "an association ended early"),
                        Err(_) => tracing::error!("an association ended in a panic"),
                    }
                });
            }
            for line in &lines {
                let _ = line.socket.shutdown(Shutdown::Both);
            }
        });
        Ok(())
    }
}

/// Why an association ended before its release.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Association(Box<dicom_ul::association::Error>),
    #[error("the sender broke it off")]
    Aborted,
    #[error("a message that makes no sense: {0}")]
    Nonsense(&'static str),
    #[error("{0}")]
    Intake(#[from] IntakeError),
    #[error("the socket: {0}")]
    Socket(#[from] std::io::Error),
}

impl From<dicom_ul::association::Error> for Ended {
    fn from(error: dicom_ul::association::Error) -> Self {
        Self::Association(Box::new(error))
    }
}

impl Scp {
    fn serve(
        &self,
        socket: TcpStream,
        deadline: &Mutex<Instant>,
        outlet: &Outlet,
    ) -> Result<(), Ended> {
        socket.set_nonblocking(false)?;
        let mut options = ServerAssociationOptions::new()
            .ae_access_control(KnownOnly(&self.allowed))
            .ae_title(self.ae_title.as_str())
            .max_pdu_length(self.max_pdu)
            .strict(true)
            .read_timeout(self.message_time)
            .write_timeout(self.message_time)
            .with_abstract_syntax(dimse::VERIFICATION);
        for class in dimse::PHOTOGRAPH_CLASSES {
            options = options.with_abstract_syntax(class);
        }
        for syntax in dimse::TRANSFER_SYNTAXES {
            options = options.with_transfer_syntax(syntax);
        }
        let mut association = options.establish(socket)?;
        outlet.alive();
        let served = self.messages(&mut association, deadline, outlet);
        if matches!(served, Err(Ended::Nonsense(_) | Ended::Intake(_))) {
            let _ = association.abort();
        }
        served
    }

    fn messages(
        &self,
        association: &mut ServerAssociation<TcpStream>,
        deadline: &Mutex<Instant>,
        outlet: &Outlet,
    ) -> Result<(), Ended> {
        let mut message = Message::default();
        loop {
            let values = match association.receive()? {
                Pdu::PData { data } => data,
                Pdu::ReleaseRQ => return Ok(association.send(&Pdu::ReleaseRP)?),
                Pdu::AbortRQ { .. } => return Err(Ended::Aborted),
                _ => return Err(Ended::Nonsense("an unexpected PDU")),
            };
            for value in values {
                if !message.add(value, self.max_object)? {
                    continue;
                }
                let whole = std::mem::take(&mut message);
                let context = whole.context;
                if let Some(answer) = self.answer(whole, association, outlet)? {
                    let answer = PDataValue {
                        presentation_context_id: context,
                        value_type: PDataValueType::Command,
                        is_last: true,
                        data: answer.write(),
                    };
                    association.send(&Pdu::PData { data: vec![answer] })?;
                }
                *deadline.lock().unwrap_or_else(PoisonError::into_inner) =
                    Instant::now() + self.message_time;
            }
        }
    }

    fn answer(
        &self,
        message: Message,
        association: &ServerAssociation<TcpStream>,
        outlet: &Outlet,
    ) -> Result<Option<Command>, Ended> {
        let Some(asked) = message.command else { return Ok(None) };
        outlet.alive();
        let mut contexts = association.presentation_contexts().iter();
        let context = contexts
            .find(|context| context.id == message.context)
            .ok_or(Ended::Nonsense("a presentation context that was not accepted"))?;
        let status = match asked.field {
            command::ECHO => status::SUCCESS,
            command::STORE if message.too_large => status::OUT_OF_RESOURCES,
            command::STORE if context.abstract_syntax != asked.sop_class => {
                status::SOP_CLASS_NOT_SUPPORTED
            }
            command::STORE => {
                let received = Received {
                    bytes: &message.data_set,
                    transfer_syntax: &context.transfer_syntax,
                    sop_class: &asked.sop_class,
                    sop_instance: &asked.sop_instance,
                };
                self.store(&received, association.peer_ae_title(), outlet)
            }
            field if field & command::RESPONSE != 0 => return Err(Ended::Nonsense("an answer")),
            _ => status::UNRECOGNIZED_OPERATION,
        };
        Ok(Some(asked.answer(status)))
    }

    fn store(&self, received: &Received, sender: &str, outlet: &Outlet) -> u16 {
        let (bytes, hints) = match object::photograph(received, &self.limits) {
            Ok(photograph) => photograph,
            Err(error) => {
                tracing::warn!(%error, sender, "an object was refused");
                return status::CANNOT_UNDERSTAND;
            }
        };
        match outlet.offer(bytes, format!("dicom:{sender}"), hints) {
            Ok(Offered::Taken | Offered::Known) => status::SUCCESS,
            Ok(Offered::Full) => status::OUT_OF_RESOURCES,
            Err(error) => {
                tracing::error!(%error, "a received photograph could not be kept");
                status::OUT_OF_RESOURCES
            }
        }
    }
}

/// A message as it comes in, piece by piece.
#[derive(Default)]
struct Message {
    context: u8,
    command_bytes: Vec<u8>,
    command: Option<Command>,
    data_set: Vec<u8>,
    too_large: bool,
}

impl Message {
    /// Adds a piece; true when the message is complete. Of an object that is too large nothing is kept, but
    /// its pieces are heard to the end so that it can be answered.
    fn add(&mut self, value: PDataValue, max_object: usize) -> Result<bool, Ended> {
        if self.command_bytes.is_empty() {
            self.context = value.presentation_context_id;
        } else if self.context != value.presentation_context_id {
            return Err(Ended::Nonsense("a message in two presentation contexts"));
        }
        match (value.value_type, &self.command) {
            (PDataValueType::Command, None) => {
                self.command_bytes.extend_from_slice(&value.data);
                if self.command_bytes.len() > MAX_COMMAND {
                    return Err(Ended::Nonsense("a command too large"));
                }
                if !value.is_last {
                    return Ok(false);
                }
                let command =
                    Command::read(&self.command_bytes).ok_or(Ended::Nonsense("no command"))?;
                let complete = !command.data_set;
                self.command = Some(command);
                Ok(complete)
            }
            (PDataValueType::Data, Some(_)) => {
                if self.data_set.len() + value.data.len() > max_object {
                    (self.data_set, self.too_large) = (Vec::new(), true);
                }
                if !self.too_large {
                    self.data_set.extend_from_slice(&value.data);
                }
                Ok(value.is_last)
            }
            (PDataValueType::Command, Some(_)) => Err(Ended::Nonsense("two commands")),
            (PDataValueType::Data, None) => Err(Ended::Nonsense("data without a command")),
        }
    }
}

/// Lets in the senders of a list that call us by our name.
struct KnownOnly<'a>(&'a [String]);

impl AccessControl for KnownOnly<'_> {
    fn check_access(
        &self,
        ours: &str,
        calling: &str,
        called: &str,
        _: Option<&UserIdentity>,
    ) -> Result<(), AssociationRJServiceUserReason> {
        if called.trim() != ours {
            return Err(AssociationRJServiceUserReason::CalledAETitleNotRecognized);
        }
        if !self.0.iter().any(|known| known == calling.trim()) {
            return Err(AssociationRJServiceUserReason::CallingAETitleNotRecognized);
        }
        Ok(())
    }
}

/// Tells one sender too many to come back later.
fn reject(mut socket: &TcpStream) {
    let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let rejection = Pdu::AssociationRJ(AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(reason),
    });
    let mut bytes = Vec::new();
    if write_pdu(&mut bytes, &rejection).is_ok() {
        // Ten bytes fit the socket's buffer; where they do not, the sender sees the line go.
        let _ = std::io::Write::write_all(&mut socket, &bytes);
    }
}

fn failed(
    step: &'static str,
    address: impl ToString,
) -> impl FnOnce(std::io::Error) -> IntakeError {
    let address = address.to_string();
    move |source| IntakeError::Network { step, address, source }
}
