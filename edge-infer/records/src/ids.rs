//! New identifiers, passed in: the source is random on a device and counted in a test.

pub use getrandom::Error as RandomError;

use crate::visit::Uid;

/// Gives identifiers that were never given before.
pub trait Ids: Send {
    /// A new identifier.
    ///
    /// # Errors
    /// When the operating system gives no random numbers.
    fn next(&mut self) -> Result<Uid, RandomError>;
}

/// Random UUIDs (version 4) as DICOM UIDs, by the operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn next(&mut self) -> Result<Uid, RandomError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Ok(Uid::from_uuid(uuid.as_u128()))
    }
}

impl Uid {
    /// The UID of a UUID's number: `2.25.` and the number (DICOM PS3.5, B.2).
    #[must_use]
    pub fn from_uuid(number: u128) -> Self {
        Self(format!("2.25.{number}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_its_uuids_number() {
        // The example of DICOM PS3.5, B.2: f81d4fae-7dec-11d0-a765-00a0c91e6bf6.
        let uid = Uid::from_uuid(0xf81d_4fae_7dec_11d0_a765_00a0_c91e_6bf6);
        assert_eq!(uid.0, "2.25.329800735698586629295641978511506172918");
        assert!(Uid::from_uuid(u128::MAX).0.len() <= 64);
    }

    #[test]
    fn random_uids_are_of_version_4_and_differ() {
        let mut ids = RandomIds;
        let uids: Vec<Uid> = (0..100).map(|_| ids.next().unwrap()).collect();
        for (place, uid) in uids.iter().enumerate() {
            let number: u128 = uid.0.strip_prefix("2.25.").unwrap().parse().unwrap();
            assert_eq!((number >> 76) & 0xf, 4, "version of {uid:?}");
            assert_eq!((number >> 62) & 0b11, 0b10, "variant of {uid:?}");
            assert!(!uids[..place].contains(uid));
        }
    }
}
