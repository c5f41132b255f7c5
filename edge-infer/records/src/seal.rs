//! The cryptography of the journal: photographs and what identifies a person are sealed under one data
//! key, and the data key is wrapped for each operator and for the programme.
//!
//! | what | how |
//! |---|---|
//! | sealing | XChaCha20-Poly1305, random nonce of 24 bytes in front, the record's name as associated data |
//! | looking up a person | HMAC-SHA256 of the identifier |
//! | wrapping for an operator | the same sealing, under Argon2id(PIN, salt) keyed with the device's secret |
//! | wrapping for the programme | HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 |
//!
//! HPKE because it is a standard with several independent implementations, so that a programme can
//! recover a data key without this program, and because it shares the other primitives' crates.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::disk::{Disk, write_durably};

/// Why something was not sealed or opened. Never says what was in it.
#[derive(Debug, Error)]
pub enum SealError {
    /// The PIN is not this operator's, or the device's secret is another device's.
    #[error("the PIN is wrong")]
    WrongPin,
    /// Altered, cut short, of another record, or sealed under another key.
    #[error("{0} cannot be opened: it was altered, belongs to another record or to another key")]
    NotOpened(String),
    /// Not an X25519 key, or not the one of this journal.
    #[error("the recovery key is not valid here")]
    RecoveryKey,
    /// The cost of the PIN's key derivation is out of Argon2's range.
    #[error("the key derivation cannot be computed: {0}")]
    Derivation(argon2::Error),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The file of the device's secret.
    #[error("the device's secret {}: {reason}", .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a key derivation from a PIN costs, on the device and for a thief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
}

impl Default for Cost {
    /// 64 MiB and three passes, RFC 9106's choice for small machines.
    fn default() -> Self {
        Self { memory_kib: 65_536, passes: 3 }
    }
}

const LENGTH: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The key from which all others come. Wiped from memory when dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; LENGTH]>);

impl DataKey {
    /// A new one.
    ///
    /// # Errors
    /// No random numbers.
    pub fn generate() -> Result<Self, SealError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// A recovered one.
    #[must_use]
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes, to carry a recovered key to its device.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        self.0.clone()
    }

    /// What tells whether a recovered key is this one, and says nothing else about it.
    #[must_use]
    pub fn check(&self) -> [u8; LENGTH] {
        *self.derive(b"glaucoma-records check 1")
    }

    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; LENGTH]> {
        Zeroizing::new(hmac(&self.0, purpose))
    }
}

/// The keys that an unlocked journal works with. Wiped from memory when dropped.
pub struct Keys {
    data: DataKey,
    sealing: XChaCha20Poly1305,
    lookup: Zeroizing<[u8; LENGTH]>,
}

impl Keys {
    /// The keys of a data key.
    #[must_use]
    pub fn new(data: DataKey) -> Self {
        let sealing = XChaCha20Poly1305::new((&*data.derive(b"glaucoma-records sealing 1")).into());
        let lookup = data.derive(b"glaucoma-records lookup 1");
        Self { data, sealing, lookup }
    }

    /// The data key, to wrap it for somebody else.
    #[must_use]
    pub fn data(&self) -> &DataKey {
        &self.data
    }

    /// Seals `plain` as the contents of `record`: 24 + 16 bytes longer.
    ///
    /// # Errors
    /// No random numbers.
    pub fn seal(&self, record: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        seal(&self.sealing, record, plain)
    }

    /// Opens what [`Keys::seal`] made for the same `record`.
    ///
    /// # Errors
    /// Altered, of another record, under another key.
    pub fn open(&self, record: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&self.sealing, record, sealed)
    }

    /// By what a person is found again without the identifier being written anywhere.
    #[must_use]
    pub fn lookup(&self, person: &str) -> [u8; LENGTH] {
        hmac(&self.lookup, person.as_bytes())
    }
}

fn hmac(key: &[u8; LENGTH], message: &[u8]) -> [u8; LENGTH] {
    // A key of any length is one to HMAC; with 32 bytes, `new` is the whole of it.
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&padded(key).into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// HMAC's own first step (RFC 2104): a key shorter than SHA-256's block is followed by zeros.
fn padded(key: &[u8; LENGTH]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..LENGTH].copy_from_slice(key);
    block
}

fn seal(cipher: &XChaCha20Poly1305, record: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE] = random()?;
    // Room for all of it at once: a vector that grows leaves the plain bytes behind.
    let mut sealed = Vec::with_capacity(NONCE + plain.len() + TAG);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let text = (&mut sealed[NONCE..]).into();
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), record.as_bytes(), text)
        .map_err(|_| SealError::NotOpened(record.to_owned()))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

fn open(
    cipher: &XChaCha20Poly1305,
    record: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let refused = || SealError::NotOpened(record.to_owned());
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or_else(refused)?;
    let (text, tag) = rest.split_last_chunk::<TAG>().ok_or_else(refused)?;
    let mut plain = Zeroizing::new(text.to_vec());
    cipher
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            record.as_bytes(),
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| refused())?;
    Ok(plain)
}

/// A secret that never leaves the device: without it a copy of the journal cannot be tried with PINs.
pub struct DeviceSecret(Zeroizing<[u8; LENGTH]>);

impl DeviceSecret {
    /// Reads the secret, a file of 32 bytes that only its owner may read.
    ///
    /// # Errors
    /// Missing, unreadable, of another length, or readable by others.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let wrong = |reason: String| SealError::Secret { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let bytes = Zeroizing::new(bytes);
        #[cfg(unix)]
        {
            let mode = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
            if std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o077 != 0 {
                return Err(wrong("others may read it; its permissions must be 0600".to_owned()));
            }
        }
        let secret = bytes.as_slice().try_into();
        let secret = secret.map_err(|_| wrong(format!("{} bytes, not 32", bytes.len())))?;
        Ok(Self(Zeroizing::new(secret)))
    }

    /// Makes the secret, once in a device's life.
    ///
    /// # Errors
    /// The file is there already or cannot be written; no random numbers.
    pub fn create(path: &Path, disk: &dyn Disk) -> Result<Self, SealError> {
        let wrong = |reason: String| SealError::Secret { path: path.to_owned(), reason };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(wrong("not the path of a file".to_owned()));
        };
        if path.exists() {
            return Err(wrong("is there already".to_owned()));
        }
        let secret = Zeroizing::new(random()?);
        write_durably(disk, folder, &name.to_string_lossy(), &*secret)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self(secret))
    }

    /// A secret that is known, to check against other implementations.
    #[cfg(test)]
    fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// A data key that an operator's PIN opens on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Argon2's salt.
    pub salt: [u8; 16],
    /// Argon2's cost when it was wrapped.
    pub cost: Cost,
    /// The sealed key.
    pub sealed: Vec<u8>,
}

impl Wrapped {
    /// Wraps `key` for `operator`.
    ///
    /// # Errors
    /// No random numbers; a cost out of range.
    pub fn new(
        key: &DataKey,
        operator: &str,
        pin: &str,
        secret: &DeviceSecret,
        cost: Cost,
    ) -> Result<Self, SealError> {
        let salt = random()?;
        let cipher = pin_cipher(pin, &salt, secret, cost)?;
        Ok(Self { salt, cost, sealed: seal(&cipher, &record_of(operator), &*key.0)? })
    }

    /// The key, by the operator's PIN.
    ///
    /// # Errors
    /// [`SealError::WrongPin`]; a cost out of range.
    pub fn open(
        &self,
        operator: &str,
        pin: &str,
        secret: &DeviceSecret,
    ) -> Result<DataKey, SealError> {
        let cipher = pin_cipher(pin, &self.salt, secret, self.cost)?;
        let key = open(&cipher, &record_of(operator), &self.sealed);
        let key = key.map_err(|_| SealError::WrongPin)?;
        Ok(DataKey::from_bytes(key.as_slice().try_into().map_err(|_| SealError::WrongPin)?))
    }
}

fn record_of(operator: &str) -> String {
    format!("operator:{operator}")
}

fn pin_cipher(
    pin: &str,
    salt: &[u8; 16],
    secret: &DeviceSecret,
    cost: Cost,
) -> Result<XChaCha20Poly1305, SealError> {
    let derived = Params::new(cost.memory_kib, cost.passes, 1, Some(LENGTH)).and_then(|params| {
        let argon =
            Argon2::new_with_secret(&*secret.0, Algorithm::Argon2id, Version::V0x13, params)?;
        let mut key = Zeroizing::new([0; LENGTH]);
        argon.hash_password_into(pin.as_bytes(), salt, &mut *key)?;
        Ok(key)
    });
    Ok(XChaCha20Poly1305::new((&*derived.map_err(SealError::Derivation)?).into()))
}

/// What HPKE binds the recovery box to.
const RECOVERY: &[u8] = b"glaucoma-records recovery 1";

/// The programme's private recovery key; it never comes near a device.
pub struct RecoveryKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl RecoveryKey {
    /// A new private key and its public key, on the programme's computer.
    #[must_use]
    pub fn generate() -> (Self, [u8; LENGTH]) {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        (Self(private), public.to_bytes().into())
    }

    /// From the 32 bytes of an X25519 private key.
    ///
    /// # Errors
    /// [`SealError::RecoveryKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        Deserializable::from_bytes(bytes).map(Self).map_err(|_| SealError::RecoveryKey)
    }

    /// The 32 bytes, to keep them in a safe.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Opens a journal's recovery box: HPKE's encapsulated key, 32 bytes, and the sealed data key.
    ///
    /// # Errors
    /// [`SealError::RecoveryKey`] when it was made for another key.
    pub fn open(&self, sealed: &[u8]) -> Result<DataKey, SealError> {
        let (encapsulated, text) = sealed.split_at_checked(LENGTH).ok_or(SealError::RecoveryKey)?;
        let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated)
            .and_then(|encapsulated| {
                hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                    &OpModeR::Base,
                    &self.0,
                    &encapsulated,
                    RECOVERY,
                    text,
                    &[],
                )
            })
            .map(Zeroizing::new)
            .map_err(|_| SealError::RecoveryKey)?;
        Ok(DataKey::from_bytes(key.as_slice().try_into().map_err(|_| SealError::RecoveryKey)?))
    }
}

/// Seals `key` so that only the programme's private key opens it.
///
/// # Errors
/// [`SealError::RecoveryKey`] when `public` is no X25519 public key.
pub fn recovery_box(key: &DataKey, public: &[u8; LENGTH]) -> Result<Vec<u8>, SealError> {
    let sealed = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).and_then(|public| {
        hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            RECOVERY,
            &*key.0,
            &[],
        )
    });
    let (encapsulated, text) = sealed.map_err(|_| SealError::RecoveryKey)?;
    Ok([encapsulated.to_bytes().as_slice(), &text].concat())
}

#[cfg(test)]
pub(crate) mod tests;
