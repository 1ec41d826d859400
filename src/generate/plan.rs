//! Which episodes a run makes, from which seeds, and how they are divided among shards, parts and workers. Nothing here
//! depends on who does the work, so nothing in the dataset does.

use std::ops::Range;
use std::str::FromStr;

/// Episodes in one part, unless a single original has more looks: what a kill can cost each worker.
pub const PART_EPISODES: u64 = 8;
/// Seeds of later attempts at the same episode are this far apart.
const ATTEMPT_STRIDE: u64 = 1 << 32;
/// First seeds of a run lie below this.
pub const SEEDS_END: u64 = ATTEMPT_STRIDE;
/// Attempts at one episode before the run is given up.
pub const MOST_ATTEMPTS: u64 = 200;

/// One of several equal parts of a run, made by different machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || format!("\"{text}\" is no shard; give its number from 0 and how many there are, such as 0/4");
        let (index, count) = text.split_once('/').ok_or_else(remedy)?;
        let (index, count) = (index.parse().map_err(|_| remedy())?, count.parse().map_err(|_| remedy())?);
        if index < count { Ok(Self { index, count }) } else { Err(remedy()) }
    }
}

impl Shard {
    /// The numbers of its episodes among all `episodes` of the run.
    pub fn episodes(self, episodes: u64) -> Range<u64> {
        let cut = |index: u64| (u128::from(episodes) * u128::from(index) / u128::from(self.count)) as u64;
        cut(self.index)..cut(self.index + 1)
    }
}

/// The parts of a range of originals of `looks` episodes each, in order.
pub fn parts(originals: Range<u64>, looks: u64) -> Vec<Range<u64>> {
    let size = (PART_EPISODES / looks.max(1)).max(1);
    let starts = originals.clone().step_by(size as usize);
    starts.map(|start| start..(start + size).min(originals.end)).collect()
}

/// Seed of an attempt at an episode: attempts at different episodes never share one. `episode` plus `first_seed` must be
/// below [`SEEDS_END`].
pub fn seed(first_seed: u64, episode: u64, attempt: u64) -> u64 {
    first_seed + episode + attempt * ATTEMPT_STRIDE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shards_and_parts_cover_every_episode_once(episodes in 0u64..5000, count in 1u64..40, looks in 1u64..20) {
            let made: Vec<u64> = (0..count)
                .flat_map(|index| parts(Shard { index, count }.episodes(episodes), looks))
                .flatten()
                .collect();
            prop_assert_eq!(made, (0..episodes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shards_are_read_and_nonsense_is_refused() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        for text in ["", "1", "8/8", "0/0", "-1/4", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn seeds_fit_the_seeds_that_datasets_can_hold() {
        assert!(seed(SEEDS_END - 1, 0, MOST_ATTEMPTS) < crate::record::SEEDS_END);
        assert_ne!(seed(5, 0, 1), seed(5, 1, 0));
    }
}
