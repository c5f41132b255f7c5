//! DICOMweb STOW-RS (PS3.18, 10.5): a DICOM file to a PACS over HTTP.

use glaucoma_common::photo::sha256_hex;
use serde_json::Value;

use super::http::{Answer, Endpoint};
use super::{Deliver, DeliverError, Receipt};

/// Failed SOP Sequence, and Failure Reason within it.
const FAILED: &str = "00081198";
const FAILURE_REASON: &str = "00081197";

/// Sends DICOM files to the studies of a server, whose address is the DICOMweb root (`https://pacs/dicom-web`).
#[derive(Debug)]
pub struct Stow(pub Endpoint);

impl Deliver for Stow {
    fn deliver(&self, item: &[u8]) -> Result<Receipt, DeliverError> {
        // A SHA-256 of the item cannot stand in the item by chance.
        let boundary = sha256_hex(item);
        let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n");
        let tail = format!("\r\n--{boundary}--\r\n");
        let body = [head.as_bytes(), item, tail.as_bytes()].concat();
        let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
        // 409 says that no instance was stored, and in its body why.
        let answer = self.0.post("/studies", &kind, "application/dicom+json", &body, &[409])?;
        read(&answer)
    }
}

fn read(answer: &Answer) -> Result<Receipt, DeliverError> {
    let said = format!("HTTP {}", answer.status);
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // Servers write an empty sequence upon success: only its items are failures.
    let data_set = json.get(0).unwrap_or(&json);
    let failed = data_set[FAILED]["Value"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut reasons = failed.iter().filter(|item| item.is_object()).map(|item| {
        item[FAILURE_REASON]["Value"][0].as_u64().and_then(|reason| u16::try_from(reason).ok())
    });
    match reasons.next() {
        None if answer.status == 409 => {
            Err(DeliverError::later(format!("{said} without a reason")))
        }
        None => Ok(Receipt { said }),
        // One instance was sent, so there is one reason.
        Some(None) => Err(DeliverError::later(format!("{said}, failed without a reason"))),
        Some(Some(reason)) => super::scu::sorted(reason, &format!("{said}, failure")),
    }
}
