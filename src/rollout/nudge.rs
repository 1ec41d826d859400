//! A way out of standstills. A policy without memory that stands between two intentions, such as to shift a little and to
//! let go, stands there for good: nothing that it sees changes. A little noise on its commands does.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;

/// An arm stands still when no joint moved more than this, rad, …
const STILL_RAD: f64 = 0.006;
/// … for so many ticks.
const STILL_TICKS: usize = 13;
/// Ticks that a nudge lasts.
const NUDGE_TICKS: usize = 14;
/// How much of the noise is left after a tick.
const CORRELATION: f64 = 0.85;
/// Sets the draws of nudges apart from an episode's others.
const OWN_DRAWS: u64 = 0x6e75_6467_6521_0008;

/// Watches an arm and nudges it when it stands still. The same episode gives the same nudges.
#[derive(Debug)]
pub struct Nudge {
    amplitude_rad: f64,
    /// Joint angles of the latest ticks, rad.
    seen_rad: VecDeque<Vec<f64>>,
    ticks_left: usize,
    noise_rad: Vec<f64>,
    draws: ChaCha8Rng,
}

impl Nudge {
    /// Noise of this standard deviation, rad; 0 never nudges.
    pub fn new(amplitude_rad: f64) -> Self {
        let (seen_rad, noise_rad) = Default::default();
        Self { amplitude_rad, seen_rad, ticks_left: 0, noise_rad, draws: ChaCha8Rng::seed_from_u64(0) }
    }

    /// Begins an episode.
    pub fn restart(&mut self, seed: u64) {
        self.draws = ChaCha8Rng::seed_from_u64(seed ^ OWN_DRAWS);
        self.forget();
    }

    /// Forgets what it saw: somebody else drove.
    pub fn forget(&mut self) {
        self.seen_rad.clear();
        self.ticks_left = 0;
    }

    /// Adds to this tick's command what gets an arm at `q_rad` going again, if it stands still. Both rad, one number a joint.
    pub fn add_to(&mut self, command_rad: &mut [f64], q_rad: &[f64]) {
        if self.amplitude_rad <= 0.0 {
            return;
        }
        if self.ticks_left == 0 {
            self.seen_rad.push_back(q_rad.to_vec());
            if self.seen_rad.len() <= STILL_TICKS {
                return;
            }
            let still = self.is_still();
            self.seen_rad.pop_front();
            if !still {
                return;
            }
            self.seen_rad.clear();
            self.ticks_left = NUDGE_TICKS;
            self.noise_rad = q_rad.iter().map(|_| self.amplitude_rad * gauss(&mut self.draws)).collect();
        }
        self.ticks_left -= 1;
        // Keeps the standard deviation at the amplitude.
        let fresh = (1.0 - CORRELATION * CORRELATION).sqrt() * self.amplitude_rad;
        for (command, noise) in command_rad.iter_mut().zip(&mut self.noise_rad) {
            *command += *noise;
            *noise = CORRELATION * *noise + fresh * gauss(&mut self.draws);
        }
    }

    fn is_still(&self) -> bool {
        let joints = self.seen_rad.front().map_or(0, Vec::len);
        (0..joints).all(|joint| {
            let angles = self.seen_rad.iter().filter_map(|q| q.get(joint));
            let (low, high) = angles.fold((f64::MAX, f64::MIN), |(low, high), q| (low.min(*q), high.max(*q)));
            high - low < STILL_RAD
        })
    }
}

/// A number of mean 0 and standard deviation 1, by adding: the same bits with every mathematical library.
fn gauss(draws: &mut ChaCha8Rng) -> f64 {
    (0..6).map(|_| draws.random::<f64>() - 0.5).sum::<f64>() * std::f64::consts::SQRT_2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added in each tick to the commands of an arm whose joints stand at `at(tick)`.
    fn added(nudge: &mut Nudge, ticks: usize, at: impl Fn(usize) -> f64) -> Vec<f64> {
        let each = (0..ticks).map(|tick| {
            let mut command = vec![0.0; 2];
            nudge.add_to(&mut command, &[0.3, at(tick)]);
            command[0].abs() + command[1].abs()
        });
        each.collect()
    }

    #[test]
    fn an_arm_that_stands_still_is_nudged_for_a_while_and_then_watched_again() {
        let mut nudge = Nudge::new(0.015);
        nudge.restart(7);
        let first = added(&mut nudge, 60, |_| 0.5);
        assert!(first[..STILL_TICKS].iter().all(|added| *added == 0.0), "{first:?}");
        let end = STILL_TICKS + NUDGE_TICKS;
        assert!(first[STILL_TICKS..end].iter().all(|added| *added > 0.0), "{first:?}");
        assert!(first[end..end + STILL_TICKS].iter().all(|added| *added == 0.0), "{first:?}");
        assert!(first[end + STILL_TICKS] > 0.0);
        nudge.restart(7);
        assert_eq!(added(&mut nudge, 60, |_| 0.5), first);
        nudge.restart(8);
        assert_ne!(added(&mut nudge, 60, |_| 0.5), first);
    }

    #[test]
    fn an_arm_that_moves_is_left_alone_and_so_is_everyone_without_an_amplitude() {
        let mut nudge = Nudge::new(0.015);
        nudge.restart(1);
        // A thousandth of a radian a tick is slow, but gets somewhere.
        assert!(added(&mut nudge, 200, |tick| 0.001 * tick as f64).iter().all(|added| *added == 0.0));
        let mut never = Nudge::new(0.0);
        assert!(added(&mut never, 200, |_| 0.0).iter().all(|added| *added == 0.0));
    }

    #[test]
    fn its_spread_is_the_amplitude() {
        let mut nudge = Nudge::new(0.015);
        nudge.restart(3);
        let (mut squares, mut count) = (0.0, 0);
        for _ in 0..20_000 {
            let mut command = [0.0];
            nudge.add_to(&mut command, &[0.0]);
            if command[0] != 0.0 {
                squares += command[0] * command[0];
                count += 1;
            }
        }
        let spread = (squares / f64::from(count)).sqrt();
        assert!((spread - 0.015).abs() < 0.001, "{spread}");
    }
}
