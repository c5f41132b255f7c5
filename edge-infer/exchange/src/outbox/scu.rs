//! DICOM C-STORE and C-ECHO to a PACS.

use std::io::{Cursor, Write};
use std::time::Duration;

use dicom_object::meta::FileMetaTable;
use dicom_ul::association::Error;
use dicom_ul::pdu::{PDataValue, PDataValueType, PresentationContextResultReason};
use dicom_ul::{ClientAssociationOptions, Pdu};

use super::{Deliver, DeliverError, Receipt};
use crate::dimse::{self, Command, command, status};

/// Bytes before the meta group of a DICOM file, and its magic.
const PREAMBLE: usize = 128;

/// Sends DICOM files to an application entity.
#[derive(Debug, Clone)]
pub struct Scu {
    /// `host:port`.
    pub address: String,
    /// Our AE title.
    pub calling: String,
    /// The server's AE title.
    pub called: String,
    /// For connecting, and for each read and write.
    pub time: Duration,
}

impl Deliver for Scu {
    fn deliver(&self, item: &[u8]) -> Result<Receipt, DeliverError> {
        let (meta, data_set) =
            split(item).ok_or_else(|| DeliverError::refused("the item is no DICOM file"))?;
        let trimmed = |uid: &str| uid.trim_end_matches(['\0', ' ']).to_owned();
        let request = Command {
            field: command::STORE,
            message_id: 1,
            sop_class: trimmed(meta.media_storage_sop_class_uid()),
            sop_instance: trimmed(meta.media_storage_sop_instance_uid()),
            data_set: true,
            status: None,
        };
        let answer = self.exchange(&request, &trimmed(meta.transfer_syntax()), data_set)?;
        sorted(answer, "DIMSE status")
    }
}

impl Scu {
    /// Asks the server whether it is there (C-ECHO).
    ///
    /// # Errors
    /// Where it is not, or does not know us.
    pub fn echo(&self) -> Result<Receipt, DeliverError> {
        let request = Command {
            field: command::ECHO,
            message_id: 1,
            sop_class: dimse::VERIFICATION.to_owned(),
            sop_instance: String::new(),
            data_set: false,
            status: None,
        };
        let implicit = dimse::TRANSFER_SYNTAXES[2];
        sorted(self.exchange(&request, implicit, &[])?, "DIMSE status")
    }

    /// One message on an association of its own; the status of the answer.
    fn exchange(
        &self,
        request: &Command,
        transfer_syntax: &str,
        data_set: &[u8],
    ) -> Result<u16, DeliverError> {
        let mut association = ClientAssociationOptions::new()
            .calling_ae_title(self.calling.as_str())
            .called_ae_title(self.called.as_str())
            .with_presentation_context(request.sop_class.as_str(), vec![transfer_syntax])
            .connection_timeout(self.time)
            .read_timeout(self.time)
            .write_timeout(self.time)
            .establish(self.address.as_str())
            .map_err(|error| failed(&error))?;
        let accepted = |reason: &_| *reason == PresentationContextResultReason::Acceptance;
        let mut contexts = association.presentation_contexts().iter();
        let Some(context) = contexts.find(|context| accepted(&context.reason)).map(|it| it.id)
        else {
            let _ = association.abort();
            return Err(DeliverError::refused("the server does not take this kind of object"));
        };
        let command = PDataValue {
            presentation_context_id: context,
            value_type: PDataValueType::Command,
            is_last: true,
            data: request.write(),
        };
        association.send(&Pdu::PData { data: vec![command] }).map_err(|error| failed(&error))?;
        if request.data_set {
            let mut writer = association.send_pdata(context);
            let written = writer.write_all(data_set).and_then(|()| writer.finish());
            written.map_err(|error| DeliverError::later(format!("sending: {}", error.kind())))?;
        }
        let answer = match association.receive().map_err(|error| failed(&error))? {
            Pdu::PData { data } => command_in(&data),
            _ => None,
        };
        let answer = answer.filter(|answer| answer.field == request.field | command::RESPONSE);
        let status = answer.and_then(|answer| answer.status);
        // The word is given; how the association ends changes nothing.
        let _ = association.release();
        status.ok_or_else(|| DeliverError::later("the server broke off without a status"))
    }
}

/// The command in the values of one PDU.
fn command_in(values: &[PDataValue]) -> Option<Command> {
    let parts = values.iter().filter(|value| value.value_type == PDataValueType::Command);
    Command::read(&parts.flat_map(|value| value.data.iter().copied()).collect::<Vec<u8>>())
}

/// The meta group of a file, and the data set behind it as it is encoded.
fn split(file: &[u8]) -> Option<(FileMetaTable, &[u8])> {
    let mut rest = Cursor::new(file.get(PREAMBLE..)?);
    let meta = FileMetaTable::from_reader(&mut rest).ok()?;
    let read = usize::try_from(rest.position()).ok()?;
    Some((meta, file.get(PREAMBLE + read..)?))
}

/// What a status or a failure reason (PS3.4, B.2.3; PS3.7, C) means for the item.
pub(super) fn sorted(code: u16, said: &str) -> Result<Receipt, DeliverError> {
    let said = format!("{said} {code:04X}");
    match code {
        // Warnings (coercion and the like) are successes; so is an instance that is there already.
        status::SUCCESS | 0x0001 | 0x0107 | 0x0116 | 0xb000..=0xbfff | status::DUPLICATE => {
            Ok(Receipt { said })
        }
        // Processing failure, not authorised, resource limits.
        0x0110 | 0x0124 | 0x0213 | 0xa700..=0xa7ff => Err(DeliverError::later(said)),
        _ => Err(DeliverError::refused(said)),
    }
}

fn failed(error: &Error) -> DeliverError {
    match error {
        Error::NoAcceptedPresentationContexts { .. } => {
            DeliverError::refused("the server does not take this kind of object")
        }
        Error::Rejected { association_rj, .. } => {
            DeliverError::later(format!("the association was rejected: {}", association_rj.source))
        }
        // Their words may hold whole PDUs: the kind is enough.
        Error::Connect { source, .. } => {
            DeliverError::later(format!("connecting: {}", source.kind()))
        }
        Error::ToAddress { .. } => DeliverError::later("the server's name is not known"),
        Error::Timeout { .. } => DeliverError::later("no answer in time"),
        _ => DeliverError::later("the association broke"),
    }
}
