//! Which photographs belong to which process.

use std::fmt;
use std::str::FromStr;

use super::digest;

/// One of the equal shares an archive is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: u32,
    /// How many there are.
    count: u32,
}

/// The most shards: what five digits can number.
const MOST: u32 = 99_999;

impl Shard {
    /// The share that is everything.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// How many shards there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether the photograph with this key belongs to the shard. A key decides for itself: the
    /// first 64 bits of its SHA-256, as a number, modulo the number of shards. Photographs that
    /// come or go move no others.
    pub fn holds(self, key: &str) -> bool {
        (digest(key) >> 64) % u128::from(self.count) == u128::from(self.index)
    }

    /// The name of the shard's part.
    pub fn part_name(self) -> String {
        format!("part-{:05}-of-{:05}.jsonl", self.index, self.count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Parses `I/N`, I from 0 to N - 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count && count <= MOST => Ok(Self { index, count }),
            Some((_, count)) if (1..=MOST).contains(&count) => {
                Err(format!("the shards of {count} are numbered from 0 to {}", count - 1))
            }
            Some(_) => Err(format!("there must be from 1 to {MOST} shards")),
            None => Err("must look like 3/16".to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_photograph_belongs_to_exactly_one_shard(key in ".*", count in 1_u32..200) {
            let holders = (0..count).filter(|&index| Shard { index, count }.holds(&key)).count();
            prop_assert_eq!(holders, 1);
        }
    }

    #[test]
    fn the_assignment_is_fixed_for_good() {
        // printf %s camp/eye-0001.jpg | sha256sum, first 16 digits, modulo 16, by Python.
        for (key, index) in [("camp/eye-0001.jpg", 15), ("é.png", 11), ("", 4)] {
            assert!(Shard { index, count: 16 }.holds(key), "{key}");
        }
    }

    #[test]
    fn shares_are_about_equal() {
        let shard: Shard = "3/16".parse().unwrap();
        let held = (0..16_000).filter(|number| shard.holds(&format!("{number}.jpg"))).count();
        // Binomial: 1000 expected, deviation 31; five deviations either side.
        assert!((850..1150).contains(&held), "{held}");
    }

    #[test]
    fn shards_are_numbered_from_zero() {
        let shard: Shard = "3/16".parse().unwrap();
        assert_eq!(shard.part_name(), "part-00003-of-00016.jsonl");
        assert_eq!(shard.to_string(), "3/16");
        for (wrong, message) in [
            ("3/2", "from 0 to 1"),
            ("16/16", "from 0 to 15"),
            ("0/0", "from 1 to"),
            ("0/100000", "from 1 to"),
            ("3", "3/16"),
            ("-1/2", "3/16"),
            ("1/2/3", "3/16"),
            (" 1/2", "3/16"),
            ("/", "3/16"),
        ] {
            let said = wrong.parse::<Shard>().unwrap_err();
            assert!(said.contains(message), "{wrong}: {said}");
        }
    }
}
