//! A visit as a FHIR R4 transaction.
//!
//! Every resource but the patient is put where its identifier says (conditional update), the patient is created
//! unless there is one, and all identifiers follow from the journal's UIDs: what is sent twice changes nothing.

mod bundle;
mod resources;

pub use bundle::{FhirError, Programme, bundle};
pub use resources::Bundle;
