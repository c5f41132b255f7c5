//! Other implementations' answers (`tests/golden/seal.py`), and what must not open.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::SystemDisk;

/// An answer of the other implementations.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/seal.json")).unwrap();
    let hex = all[name].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn counted<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|place| from + u8::try_from(place).unwrap())
}

const QUICK: Cost = Cost { memory_kib: 256, passes: 2 };

#[test]
fn keys_and_seals_are_those_of_other_implementations() {
    let data = DataKey::from_bytes(counted(0));
    assert_eq!(data.check().as_slice(), golden("check"));
    let keys = Keys::new(data);
    assert_eq!(keys.lookup("ID-0042").as_slice(), golden("lookup"));
    let opened = keys.open("photograph:2.25.1", &golden("sealed")).unwrap();
    assert_eq!(opened.as_slice(), b"a photograph");
}

#[test]
fn what_others_wrapped_opens() {
    let sealed = golden("wrapped");
    let wrapped = Wrapped { salt: counted(50), cost: QUICK, sealed };
    let secret = DeviceSecret::from_bytes(counted(100));
    let key = wrapped.open("Asha", "4711-ክፍት", &secret).unwrap();
    assert_eq!(*key.to_bytes(), counted(0));
    let private = RecoveryKey::from_bytes(&counted::<32>(1)).unwrap();
    assert_eq!(*private.open(&golden("recovery_box")).unwrap().to_bytes(), counted(0));
    let public = <X25519HkdfSha256 as Kem>::sk_to_pk(&private.0).to_bytes();
    assert_eq!(public.as_slice(), golden("recovery_public"));
}

#[test]
fn a_seal_opens_only_whole_unaltered_and_as_its_own_record() {
    let keys = Keys::new(DataKey::generate().unwrap());
    let sealed = keys.seal("photograph:1", b"retina").unwrap();
    assert_eq!(sealed.len(), 24 + 6 + 16);
    assert_eq!(keys.open("photograph:1", &sealed).unwrap().as_slice(), b"retina");
    assert!(keys.open("photograph:2", &sealed).is_err(), "as another record");
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        assert!(keys.open("photograph:1", &altered).is_err(), "byte {place} altered");
        assert!(keys.open("photograph:1", &sealed[..place]).is_err(), "cut to {place}");
    }
    let others = Keys::new(DataKey::generate().unwrap());
    assert!(others.open("photograph:1", &sealed).is_err(), "by another key");
    assert_ne!(others.lookup("7"), keys.lookup("7"));
    assert_ne!(keys.seal("photograph:1", b"retina").unwrap(), sealed, "the nonce repeats");
}

#[test]
fn a_key_opens_only_by_pin_operator_and_device_together() {
    let key = DataKey::generate().unwrap();
    let (secret, other) = (DeviceSecret::from_bytes([1; 32]), DeviceSecret::from_bytes([2; 32]));
    let wrapped = Wrapped::new(&key, "Asha", "123456", &secret, QUICK).unwrap();
    let opened = |operator, pin, secret| wrapped.open(operator, pin, secret).ok();
    assert_eq!(opened("Asha", "123456", &secret).unwrap().check(), key.check());
    assert!(opened("Asha", "123457", &secret).is_none());
    assert!(opened("Bela", "123456", &secret).is_none());
    assert!(opened("Asha", "123456", &other).is_none());
}

#[test]
fn only_the_programmes_private_key_opens_the_recovery_box() {
    let key = DataKey::generate().unwrap();
    let (private, public) = RecoveryKey::generate();
    let sealed = recovery_box(&key, &public).unwrap();
    assert_eq!(private.open(&sealed).unwrap().check(), key.check());
    assert!(RecoveryKey::generate().0.open(&sealed).is_err());
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        assert!(private.open(&altered).is_err(), "byte {place} altered");
    }
    // A point of small order would give everybody the same key (RFC 9180, 7.1.4).
    assert!(matches!(recovery_box(&key, &[0; 32]), Err(SealError::RecoveryKey)));
}

#[test]
fn the_devices_secret_is_made_once_and_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.secret");
    assert!(DeviceSecret::read(&path).is_err_and(|e| e.to_string().contains("device.secret")));
    let made = DeviceSecret::create(&path, &SystemDisk).unwrap();
    assert_eq!(*DeviceSecret::read(&path).unwrap().0, *made.0);
    assert!(DeviceSecret::create(&path, &SystemDisk).is_err(), "made twice");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(DeviceSecret::read(&path).is_err_and(|e| e.to_string().contains("0600")));
    }
}
