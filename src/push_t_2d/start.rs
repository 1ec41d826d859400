//! Starts of the published Push-T: the same seeds give the same starts as NumPy's `RandomState` gives it.

use std::f64::consts::PI;

/// The Mersenne Twister (MT19937) with the draws that NumPy's `RandomState` makes of it.
struct RandomState {
    words: [u32; 624],
    used: usize,
}

impl RandomState {
    fn new(seed: u32) -> Self {
        let mut words = [0u32; 624];
        words[0] = seed;
        for index in 1..624 {
            let before = words[index - 1];
            words[index] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(index as u32);
        }
        Self { words, used: 624 }
    }

    fn word(&mut self) -> u32 {
        if self.used == 624 {
            for index in 0..624 {
                let joined = (self.words[index] & 0x8000_0000) | (self.words[(index + 1) % 624] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[index] = self.words[(index + 397) % 624] ^ (joined >> 1) ^ twist;
            }
            self.used = 0;
        }
        let mut word = self.words[self.used];
        self.used += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A whole number from `low` up to, but without, `high`: words are masked and those that are too large thrown away.
    fn integer(&mut self, low: u32, high: u32) -> f64 {
        let largest = high - low - 1;
        let mask = u32::MAX >> largest.leading_zeros();
        loop {
            let word = self.word() & mask;
            if word <= largest {
                return f64::from(low + word);
            }
        }
    }

    /// Uniform from 0 to 1, 53 bits.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Normal with standard deviation 1: the first one of the polar method's pair.
    fn normal(&mut self) -> f64 {
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                return (-2.0 * square.ln() / square).sqrt() * y;
            }
        }
    }
}

/// Finger and T at the start of the episode of `seed`, as the published environment draws them: finger x, y; T x, y, turn
/// (rad, not wrapped). Only the seed's lower 32 bits count.
pub fn published_start(seed: u64) -> ((f64, f64), (f64, f64, f64)) {
    let mut draws = RandomState::new(seed as u32);
    let finger = (draws.integer(50, 450), draws.integer(50, 450));
    let (x, y) = (draws.integer(100, 400), draws.integer(100, 400));
    (finger, (x, y, draws.normal() * 2.0 * PI - PI))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy 2.4.6: `RandomState(0)`, `randint(50, 450)` twice, `randint(100, 400)` twice, `randn()`.
    #[test]
    fn seeds_mean_what_they_mean_to_numpy() {
        let ((x, y), (tee_x, tee_y, turn)) = published_start(0);
        assert_eq!((x, y, tee_x, tee_y), (222.0, 97.0, 217.0, 292.0));
        assert!((turn - (0.9787379841057392 * 2.0 * PI - PI)).abs() < 1e-12, "{turn}");
        assert_eq!(RandomState::new(0).word(), 2_357_136_044);
    }
}
