//! Random orders, a pure function of a seed.

use crate::training::seed::mix;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The numbers below `count` in random order.
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

/// An order of its own for each of `count` tasks.
pub fn orders(count: usize, seed: u64) -> Vec<Vec<usize>> {
    (0..count as u64).map(|task| shuffled(count, mix(seed, task))).collect()
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_orders_come_up_and_tasks_do_not_share_one() {
        let seen: BTreeSet<Vec<usize>> = (0..200).map(|seed| shuffled(3, seed)).collect();
        assert_eq!(seen.len(), 6);
        let pairs = (0..200).filter(|&seed| orders(3, seed)[0] == orders(3, seed)[1]).count();
        // One in six by chance.
        assert!((15..55).contains(&pairs), "{pairs}");
    }
}
