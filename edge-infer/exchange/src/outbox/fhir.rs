//! A FHIR transaction to a server.

use serde_json::Value;

use super::{Deliver, DeliverError, Endpoint, Receipt};

/// Sends transaction bundles (JSON) to a FHIR server, whose address is its base (`https://server/fhir`).
#[derive(Debug)]
pub struct Fhir(pub Endpoint);

impl Deliver for Fhir {
    fn deliver(&self, item: &[u8]) -> Result<Receipt, DeliverError> {
        let kind = "application/fhir+json";
        let answer = self.0.post("", kind, kind, item, &[])?;
        let json: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| DeliverError::later(format!("HTTP {} without JSON", answer.status)))?;
        // Anything else that answers 200 to a POST, such as a hot spot's log-in page, has not taken the results.
        if json["type"] != "transaction-response" {
            return Err(DeliverError::later("the answer is no transaction's response"));
        }
        let sent = serde_json::from_slice::<Value>(item).unwrap_or_default();
        let count = |bundle: &Value| bundle["entry"].as_array().map_or(0, Vec::len);
        if count(&json) != count(&sent) {
            return Err(DeliverError::later("the response has another number of entries"));
        }
        for entry in json["entry"].as_array().into_iter().flatten() {
            // A transaction is all or nothing, so this is a server that breaks its word.
            let status = entry["response"]["status"].as_str().unwrap_or_default();
            if !status.starts_with('2') {
                return Err(DeliverError::later("an entry of the response is no success"));
            }
        }
        Ok(Receipt { said: format!("HTTP {}", answer.status) })
    }
}
