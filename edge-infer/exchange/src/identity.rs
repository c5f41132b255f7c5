//! Names that two ends agree on: UIDs and UUIDs that follow from the journal's own, so that what is sent twice
//! is the same thing twice.

use glaucoma_common::photo::sha256_hex;
use glaucoma_records::visit::Uid;

/// Under which name a person appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The person's own: for the clinic's servers.
    Own,
    /// De-identified: this in place of the number, no name, site, operator nor serial number, other UIDs, years in
    /// place of days and times, ages above 89 as 90, no metadata inside the JPEG. The programme keeps the list of
    /// pseudonyms; they must not follow from the person's number. The pixels are as they are.
    Pseudonym(&'a str),
}

impl Identity<'_> {
    /// Whether it is the person's own.
    #[must_use]
    pub fn is_own(self) -> bool {
        self == Self::Own
    }

    /// The UID under which `uid` appears, in DICOM and in FHIR alike: another under a pseudonym, so that the two
    /// cannot be joined by anyone who does not know both.
    #[must_use]
    pub fn appears(self, uid: &Uid) -> Uid {
        match self {
            Self::Own => uid.clone(),
            Self::Pseudonym(pseudonym) => derive(uid, &format!("as {pseudonym}")),
        }
    }
}

/// The UID of a thing that belongs to `uid`, such as the series of a visit: always the same for the same
/// `uid` and `role`, and no other's. A version-8 UUID (RFC 9562) of a SHA-256.
#[must_use]
pub fn derive(uid: &Uid, role: &str) -> Uid {
    Uid(format!("2.25.{}", hashed(&format!("{}\n{role}", uid.0))))
}

/// The UUID behind a UID of the form `2.25.N`, lower case with hyphens; a UID of another root gets the UUID
/// that its SHA-256 gives.
#[must_use]
pub fn uuid(uid: &Uid) -> String {
    let number = uid.0.strip_prefix("2.25.").and_then(|number| number.parse::<u128>().ok());
    let hex = format!("{:032x}", number.unwrap_or_else(|| hashed(&uid.0)));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The first 128 bits of a SHA-256 with a UUID's version (8) and variant (binary 10) written in.
fn hashed(text: &str) -> u128 {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let hash = sha256_hex(text.as_bytes());
    let number = u128::from_str_radix(&hash[..32], 16).unwrap_or_default();
    number & !VERSION & !VARIANT | 0x8 << 76 | 0b10 << 62
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_its_uuid_in_decimal() {
        // The example of DICOM PS3.5, B.2.
        let uid = Uid("2.25.329800735698586629295641978511506172918".into());
        assert_eq!(uuid(&uid), "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    }

    #[test]
    fn derived_names_are_stable_distinct_and_valid() {
        let uid = Uid("2.25.1".into());
        let series = derive(&uid, "series");
        assert_eq!(series, derive(&uid, "series"));
        assert_ne!(series, derive(&uid, "device"));
        assert!(series.0.len() <= 64);
        let uuid = uuid(&series);
        assert_eq!(&uuid[14..15], "8", "version: {uuid}");
        assert!("89ab".contains(&uuid[19..20]), "variant: {uuid}");
    }
}
