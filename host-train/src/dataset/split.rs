//! Dividing samples into training and validation: by patient, stratified, without a hidden order.

use super::Sample;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Divides `samples` into training and validation parts, each in the order of `samples`.
///
/// See [`split_indices`] for how.
pub fn split(samples: &[Sample], validation_share: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let (train, validation) = split_indices(samples, validation_share, seed);
    let pick = |indices: Vec<usize>| indices.into_iter().map(|i| samples[i].clone()).collect();
    (pick(train), pick(validation))
}

/// Divides `samples` into training and validation parts and gives their indices, ascending.
///
/// All photographs of one patient stay together; a photograph without a patient number is its own
/// patient. Patients who share a photograph, byte for byte, count as one: publishers do give one
/// picture two numbers, and it must not stand on both sides. (A file that cannot be read is like no other.) Patients are stratified by data set and by which labels they have (with the class
/// itself), and within each stratum those with the smallest SHA-256 of (seed, data set, patient)
/// form the validation part, `round(validation_share * patients)` of them. So the division depends
/// on the set of samples and the seed, never on their order.
///
/// `validation_share` is taken within 0..=1.
pub fn split_indices(
    samples: &[Sample],
    validation_share: f64,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let share = validation_share.clamp(0.0, 1.0);
    let mut strata: BTreeMap<Stratum, Vec<Member>> = BTreeMap::new();
    for (key, indices) in joined_patients(samples) {
        let stratum = Stratum::of(samples, &indices);
        strata.entry(stratum).or_default().push((digest(seed, &key), indices));
    }
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for mut members in strata.into_values() {
        members.sort();
        let held_back = (share * members.len() as f64).round() as usize;
        for (rank, (_, indices)) in members.into_iter().enumerate() {
            if rank < held_back { &mut validation } else { &mut train }.extend(indices);
        }
    }
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

/// One patient within a stratum: the hash that ranks the patient, and the photographs' indices.
type Member = ([u8; 32], Vec<usize>);

/// What a patient's photographs are labelled with, for stratification.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stratum {
    dataset: String,
    positive: bool,
    negative: bool,
    disc: bool,
    cup: bool,
    fovea: bool,
}

impl Stratum {
    fn of(samples: &[Sample], indices: &[usize]) -> Self {
        let any = |test: fn(&Sample) -> bool| indices.iter().any(|&i| test(&samples[i]));
        Self {
            dataset: indices.first().map(|&i| samples[i].dataset.clone()).unwrap_or_default(),
            positive: any(|s| s.truth.glaucoma == Some(true)),
            negative: any(|s| s.truth.glaucoma == Some(false)),
            disc: any(|s| s.truth.disc.as_ref().is_some_and(|mask| !mask.pseudo)),
            cup: any(|s| s.truth.cup.as_ref().is_some_and(|mask| !mask.pseudo)),
            fovea: any(|s| s.truth.fovea.is_some()),
        }
    }
}

fn patient_key(sample: &Sample) -> String {
    match &sample.patient {
        Some(patient) => format!("patient {}/{patient}", sample.dataset),
        None => format!("photo {}", sample.id),
    }
}

/// Indices by patient, patients with a photograph in common under the smallest of their keys.
fn joined_patients(samples: &[Sample]) -> BTreeMap<String, Vec<usize>> {
    let mut keys: Vec<String> = samples.iter().map(patient_key).collect();
    for twins in same_files(samples) {
        let together: BTreeSet<String> = twins.iter().map(|&index| keys[index].clone()).collect();
        if let Some(first) = together.first() {
            for key in keys.iter_mut().filter(|key| together.contains(*key)) {
                key.clone_from(first);
            }
        }
    }
    let mut patients: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, key) in keys.into_iter().enumerate() {
        patients.entry(key).or_default().push(index);
    }
    patients
}

/// Groups of two or more samples whose photographs have the same bytes.
fn same_files(samples: &[Sample]) -> Vec<Vec<usize>> {
    let mut by_length: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        if let Ok(facts) = std::fs::metadata(&sample.photo) {
            by_length.entry(facts.len()).or_default().push(index);
        }
    }
    // Only files of one length need to be read, and they are few.
    let mut by_content: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for index in by_length.into_values().filter(|group| group.len() > 1).flatten() {
        if let Ok(bytes) = std::fs::read(&samples[index].photo) {
            by_content.entry(Sha256::digest(&bytes).into()).or_default().push(index);
        }
    }
    by_content.into_values().filter(|group| group.len() > 1).collect()
}

fn digest(seed: u64, key: &str) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_le_bytes()).chain_update(key.as_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::Truth;
    use proptest::prelude::*;

    fn sample(number: usize, patient: Option<usize>, glaucoma: Option<bool>) -> Sample {
        Sample {
            id: format!("set/{number}.jpg"),
            dataset: "set".into(),
            photo: format!("{number}.jpg").into(),
            patient: patient.map(|p| p.to_string()),
            part: None,
            declared_size: None,
            truth: Truth { glaucoma, ..Truth::default() },
            framing: None,
        }
    }

    #[test]
    fn strata_keep_their_shares() {
        let samples: Vec<Sample> = (0..50).map(|i| sample(i, None, Some(i < 20))).collect();
        let (train, validation) = split(&samples, 0.2, 7);
        let positive =
            |part: &[Sample]| part.iter().filter(|s| s.truth.glaucoma == Some(true)).count();
        assert_eq!((train.len(), validation.len()), (40, 10));
        assert_eq!((positive(&train), positive(&validation)), (16, 4));
    }

    #[test]
    fn another_seed_divides_otherwise() {
        let samples: Vec<Sample> = (0..50).map(|i| sample(i, None, None)).collect();
        assert_ne!(split_indices(&samples, 0.3, 1), split_indices(&samples, 0.3, 2));
    }

    #[test]
    fn shares_of_none_and_all() {
        let samples: Vec<Sample> = (0..9).map(|i| sample(i, None, None)).collect();
        assert_eq!(split(&samples, 0.0, 1).1.len(), 0);
        assert_eq!(split(&samples, 1.0, 1).0.len(), 0);
        assert_eq!(split(&[], 0.5, 1), (vec![], vec![]));
    }

    #[test]
    fn one_picture_under_two_numbers_stays_on_one_side() {
        let dir = tempfile::tempdir().unwrap();
        let mut samples: Vec<Sample> = (0..20).map(|i| sample(i, Some(i / 2), None)).collect();
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.photo = dir.path().join(index.to_string());
            // 3 and 8 are the same picture: patients 1 and 4.
            let content = if index == 8 { 3 } else { index };
            std::fs::write(&sample.photo, format!("picture {content:02}")).unwrap();
        }
        for seed in 0..20 {
            let (train, _) = split_indices(&samples, 0.3, seed);
            let sides = [2, 3, 8, 9].map(|index| train.contains(&index));
            assert!(sides.iter().all(|&side| side == sides[0]), "seed {seed}: {sides:?}");
        }
    }

    proptest! {
        #[test]
        fn patients_stay_together_in_any_order(
            owners in prop::collection::vec(0usize..12, 1..60),
            share in 0.0f64..1.0,
            seed: u64,
            turn in 0usize..60,
        ) {
            let samples: Vec<Sample> =
                owners.iter().enumerate().map(|(i, &owner)| sample(i, Some(owner), Some(owner % 3 == 0))).collect();
            let (train, validation) = split(&samples, share, seed);
            prop_assert_eq!(train.len() + validation.len(), samples.len());
            for held in &validation {
                prop_assert!(train.iter().all(|other| other.patient != held.patient));
            }
            let mut turned = samples.clone();
            turned.rotate_left(turn % samples.len());
            let ids = |part: Vec<Sample>| { let mut ids: Vec<String> = part.into_iter().map(|s| s.id).collect(); ids.sort(); ids };
            prop_assert_eq!(ids(split(&turned, share, seed).1), ids(validation));
        }
    }
}
