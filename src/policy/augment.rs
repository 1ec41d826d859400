//! Changes of pictures during training. Small ones: a random shift by pixels costs millimetres of precision, so it is off
//! unless asked for.

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How much pictures are changed; all zero: not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Greatest change of brightness, share of white.
    pub brightness: f32,
    /// Greatest change of contrast, share.
    pub contrast: f32,
    /// Greatest change of each colour, share.
    pub colour: f32,
    /// Greatest shift either way, pixels.
    pub shift_px: usize,
}

/// One draw of an [`Augmentation`], for one camera of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Shading {
    gain: [f32; 3],
    offset: f32,
    shift: (isize, isize),
}

impl Default for Shading {
    fn default() -> Self {
        Self { gain: [1.0; 3], offset: 0.0, shift: (0, 0) }
    }
}

impl Augmentation {
    /// Draws what happens to one picture.
    pub fn draw(&self, random: &mut impl RngExt) -> Shading {
        if *self == Self::default() {
            return Shading::default();
        }
        let mut within = |most: f32| if most > 0.0 { random.random_range(-most..=most) } else { 0.0 };
        let contrast = 1.0 + within(self.contrast);
        let gain = [0; 3].map(|_| contrast * (1.0 + within(self.colour)));
        let offset = within(self.brightness) + 0.5 * (1.0 - contrast);
        let mut pixels = || within(self.shift_px as f32).round() as isize;
        Shading { gain, offset, shift: (pixels(), pixels()) }
    }
}

impl Shading {
    /// Appends `rgb`, three bytes a pixel in rows of `size.0`, to `planes` as three planes of numbers from 0 to 1.
    pub fn to_planes(&self, rgb: &[u8], size: (usize, usize), planes: &mut Vec<f32>) {
        let (width, height) = size;
        let plain = *self == Self::default();
        for channel in 0..3 {
            if plain {
                planes.extend(rgb.iter().skip(channel).step_by(3).map(|byte| f32::from(*byte) / 255.0));
                continue;
            }
            let clamp = |value: usize, by: isize, most: usize| value.saturating_add_signed(by).min(most - 1);
            for y in 0..height {
                let row = clamp(y, self.shift.1, height) * width;
                for x in 0..width {
                    let byte = rgb[3 * (row + clamp(x, self.shift.0, width)) + channel];
                    planes.push((f32::from(byte) / 255.0 * self.gain[channel] + self.offset).clamp(0.0, 1.0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    #[test]
    fn nothing_changes_without_augmentation() {
        let rgb: Vec<u8> = (0..2 * 3 * 3).map(|i| i * 9).collect();
        let mut planes = Vec::new();
        let shading = Augmentation::default().draw(&mut ChaCha8Rng::seed_from_u64(0));
        shading.to_planes(&rgb, (3, 2), &mut planes);
        assert_eq!(planes[..2], [0.0, 27.0 / 255.0]);
        assert_eq!(planes[6..8], [9.0 / 255.0, 36.0 / 255.0]);
        assert_eq!(planes.len(), rgb.len());
    }

    #[test]
    fn shifts_hold_the_edge_and_numbers_stay_between_0_and_1() {
        let most = Augmentation { brightness: 0.9, contrast: 0.9, colour: 0.9, shift_px: 5 };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let rgb = vec![200; 4 * 4 * 3];
        for _ in 0..50 {
            let mut planes = Vec::new();
            most.draw(&mut random).to_planes(&rgb, (4, 4), &mut planes);
            assert!(planes.iter().all(|value| (0.0..=1.0).contains(value)));
            assert!(planes[..16].iter().all(|value| *value == planes[0]));
        }
    }
}
