//! DIMSE messages as both ends of an association speak them: commands, status codes, what is exchanged.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntax;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries;

use crate::lengths;

/// Verification (C-ECHO).
pub(crate) const VERIFICATION: &str = uids::VERIFICATION;

/// What a photograph may come as.
pub(crate) const PHOTOGRAPH_CLASSES: [&str; 3] = [
    uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE,
    uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
];

/// The only encodings that are offered: what everyone has, and the photograph's own.
pub(crate) const TRANSFER_SYNTAXES: [&str; 3] =
    [uids::JPEG_BASELINE8_BIT, uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN];

/// Command fields (PS3.7, E.1).
pub(crate) mod command {
    pub(crate) const STORE: u16 = 0x0001;
    pub(crate) const ECHO: u16 = 0x0030;
    /// Set in the answer to a command.
    pub(crate) const RESPONSE: u16 = 0x8000;
}

/// Status codes (PS3.7, C and PS3.4, B.2.3).
pub(crate) mod status {
    pub(crate) const SUCCESS: u16 = 0x0000;
    pub(crate) const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
    pub(crate) const DUPLICATE: u16 = 0x0111;
    pub(crate) const OUT_OF_RESOURCES: u16 = 0xa700;
    pub(crate) const CANNOT_UNDERSTAND: u16 = 0xc000;
    pub(crate) const UNRECOGNIZED_OPERATION: u16 = 0x0211;
}

/// Says in [`tags::COMMAND_DATA_SET_TYPE`] that no data set follows.
const NO_DATA_SET: u16 = 0x0101;

/// A command, as much of it as is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// See [`command`].
    pub field: u16,
    /// Number of the message, or of the message that this answers.
    pub message_id: u16,
    /// The class that is meant.
    pub sop_class: String,
    /// The instance that is meant; empty for C-ECHO.
    pub sop_instance: String,
    /// Whether a data set follows.
    pub data_set: bool,
    /// Of an answer.
    pub status: Option<u16>,
}

impl Command {
    /// Reads a command set, Implicit VR Little Endian; `None` where it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if !lengths::hold(bytes, false) {
            return None;
        }
        let set = InMemDicomObject::read_dataset_with_ts(
            bytes,
            &entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        )
        .ok()?;
        let number = |tag: Tag| set.get(tag)?.to_int::<u16>().ok();
        let text = |tag: Tag| {
            let text = set.get(tag).and_then(|element| element.to_str().ok())?;
            Some(text.trim_end_matches(['\0', ' ']).to_owned())
        };
        let field = number(tags::COMMAND_FIELD)?;
        let id = if field & command::RESPONSE == 0 {
            tags::MESSAGE_ID
        } else {
            tags::MESSAGE_ID_BEING_RESPONDED_TO
        };
        Some(Self {
            field,
            message_id: number(id)?,
            sop_class: text(tags::AFFECTED_SOP_CLASS_UID).unwrap_or_default(),
            sop_instance: text(tags::AFFECTED_SOP_INSTANCE_UID).unwrap_or_default(),
            data_set: number(tags::COMMAND_DATA_SET_TYPE)? != NO_DATA_SET,
            status: number(tags::STATUS),
        })
    }

    /// The command set, Implicit VR Little Endian.
    pub(crate) fn write(&self) -> Vec<u8> {
        let response = self.field & command::RESPONSE != 0;
        let id = if response { tags::MESSAGE_ID_BEING_RESPONDED_TO } else { tags::MESSAGE_ID };
        let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        let uid = |tag, value: &str| DataElement::new(tag, VR::UI, dicom_value!(Str, value));
        let data_set = if self.data_set { 0 } else { NO_DATA_SET };
        let mut elements = vec![
            uid(tags::AFFECTED_SOP_CLASS_UID, &self.sop_class),
            short(tags::COMMAND_FIELD, self.field),
            short(id, self.message_id),
            short(tags::COMMAND_DATA_SET_TYPE, data_set),
        ];
        if !self.sop_instance.is_empty() {
            elements.push(uid(tags::AFFECTED_SOP_INSTANCE_UID, &self.sop_instance));
        }
        if self.field == command::STORE {
            elements.push(short(tags::PRIORITY, 0));
        }
        elements.extend(self.status.map(|status| short(tags::STATUS, status)));
        let mut bytes = Vec::new();
        // Into memory, of elements made above: there is nothing to fail.
        let _ = InMemDicomObject::command_from_element_iter(elements)
            .write_dataset_with_ts(&mut bytes, &entries::IMPLICIT_VR_LITTLE_ENDIAN.erased());
        bytes
    }

    /// The answer to this command.
    pub(crate) fn answer(&self, status: u16) -> Self {
        Self {
            field: self.field | command::RESPONSE,
            data_set: false,
            status: Some(status),
            ..self.clone()
        }
    }
}

/// The transfer syntax of a UID that is one of [`TRANSFER_SYNTAXES`].
pub(crate) fn transfer_syntax(uid: &str) -> Option<TransferSyntax> {
    match uid.trim_end_matches(['\0', ' ']) {
        uids::JPEG_BASELINE8_BIT => Some(entries::JPEG_BASELINE.erased()),
        uids::EXPLICIT_VR_LITTLE_ENDIAN => Some(entries::EXPLICIT_VR_LITTLE_ENDIAN.erased()),
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Some(entries::IMPLICIT_VR_LITTLE_ENDIAN.erased()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_as_it_was_written() {
        let store = Command {
            field: command::STORE,
            message_id: 7,
            sop_class: PHOTOGRAPH_CLASSES[0].into(),
            sop_instance: "2.25.42".into(),
            data_set: true,
            status: None,
        };
        assert_eq!(Command::read(&store.write()), Some(store.clone()));
        let answer = store.answer(status::OUT_OF_RESOURCES);
        assert_eq!(Command::read(&answer.write()), Some(answer));
        assert_eq!(Command::read(b"nonsense"), None);
    }
}
