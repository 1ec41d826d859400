//! Noise on executed commands. It carries the arm into states that a flawless demonstration never visits, while the
//! recorded label stays what the expert wanted there: so a policy learns to come back.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// How much of the noise is left after a tick.
const CORRELATION: f64 = 0.85;
/// Chance that a push begins in a tick.
const PUSH_CHANCE: f64 = 0.006;
/// Length of a push, ticks.
const PUSH_TICKS: (u32, u32) = (3, 12);

/// Joints differ in what noise does to the hand: `(steady, push)` in units of the amplitude.
const BODY: (f64, f64) = (1.0, 4.0);
const WRIST_FLEX: (f64, f64) = (1.3, 4.0);
const WRIST_ROLL: (f64, f64) = (2.0, 8.0);
const GRIPPER: (f64, f64) = (2.0, 20.0);

/// The noise of one episode.
#[derive(Debug)]
pub struct CommandNoise {
    amplitude_rad: f64,
    /// Steady noise and push of each joint in units of the amplitude.
    scales: Vec<(f64, f64)>,
    steady_rad: Vec<f64>,
    push_rad: Vec<f64>,
    push_ticks: u32,
    rng: ChaCha8Rng,
}

impl CommandNoise {
    /// Noise of this standard deviation for an arm of `joints` joints of which the last one is the gripper.
    pub fn new(joints: usize, amplitude_rad: f64, seed: u64) -> Self {
        let from_end = |joint: usize| joints - 1 - joint;
        let scale = |joint: usize| match from_end(joint) {
            0 => GRIPPER,
            1 => WRIST_ROLL,
            2 => WRIST_FLEX,
            _ => BODY,
        };
        Self {
            amplitude_rad,
            scales: (0..joints).map(scale).collect(),
            steady_rad: vec![0.0; joints],
            push_rad: vec![0.0; joints],
            push_ticks: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// What is added to the command of the next tick, rad, one number a joint.
    pub fn next_rad(&mut self) -> Vec<f64> {
        // Keeps the standard deviation of the correlated noise at the amplitude.
        let fresh = (1.0 - CORRELATION * CORRELATION).sqrt();
        for joint in 0..self.scales.len() {
            let new = self.gauss() * self.amplitude_rad * self.scales[joint].0;
            self.steady_rad[joint] = CORRELATION * self.steady_rad[joint] + fresh * new;
        }
        if self.push_ticks > 0 {
            self.push_ticks -= 1;
        } else if self.rng.random::<f64>() < PUSH_CHANCE {
            self.push_ticks = self.rng.random_range(PUSH_TICKS.0..=PUSH_TICKS.1) - 1;
            for joint in 0..self.scales.len() {
                self.push_rad[joint] = self.gauss() * self.amplitude_rad * self.scales[joint].1;
            }
        } else {
            self.push_rad.fill(0.0);
        }
        self.steady_rad.iter().zip(&self.push_rad).map(|(steady, push)| steady + push).collect()
    }

    /// A number of mean 0 and standard deviation 1, by adding: the same bits with every mathematical library.
    fn gauss(&mut self) -> f64 {
        (0..6).map(|_| self.rng.random::<f64>() - 0.5).sum::<f64>() * std::f64::consts::SQRT_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_spread_is_the_amplitude_and_pushes_are_rare_and_large() {
        let mut noise = CommandNoise::new(6, 0.01, 7);
        let ticks = 40_000;
        let (mut steady, mut pushed, mut largest) = (0.0, 0, 0.0f64);
        for _ in 0..ticks {
            let offsets = noise.next_rad();
            steady += noise.steady_rad[0].powi(2);
            pushed += u32::from(noise.push_rad[0] != 0.0);
            largest = largest.max(offsets[5].abs());
        }
        let spread = (steady / f64::from(ticks)).sqrt();
        assert!((spread - 0.01).abs() < 0.001, "{spread}");
        let share = f64::from(pushed) / f64::from(ticks);
        assert!((0.03..0.06).contains(&share), "0.6 % of ticks begin a push of 7.5 ticks: {share}");
        assert!(largest > 0.2, "the gripper is pushed by tens of amplitudes: {largest}");
    }

    #[test]
    fn no_amplitude_means_no_noise_and_a_seed_repeats() {
        let mut none = CommandNoise::new(6, 0.0, 1);
        assert!((0..500).all(|_| none.next_rad().iter().all(|offset| *offset == 0.0)));
        let (mut a, mut b) = (CommandNoise::new(6, 0.01, 3), CommandNoise::new(6, 0.01, 3));
        assert!((0..100).all(|_| a.next_rad() == b.next_rad()));
        assert_ne!(CommandNoise::new(6, 0.01, 4).next_rad(), CommandNoise::new(6, 0.01, 3).next_rad());
    }
}
