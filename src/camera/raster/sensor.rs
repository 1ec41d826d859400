//! What the image sensor adds to a clean picture: exposure, white balance and noise.

use super::RasterError;
use super::lanes::wide_vectors;
use super::scalar::hash;
use super::tone::{ToneCurve, decoded};

/// Exposure, white balance and seeded noise, applied to a finished RGB picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorModel {
    /// Factor on the amount of light; 1 leaves it, 2 is one stop brighter. 0 to 16.
    pub exposure: f32,
    /// Factor on the light of each of R, G and B. 0 to 16.
    pub white_balance: [f32; 3],
    /// Standard deviation of the noise in byte values. 0 to 64.
    pub noise_sigma: f32,
    /// Seed of the noise; with the tick and the pixel it decides every value.
    pub seed: u32,
}

impl Default for SensorModel {
    fn default() -> Self {
        SensorModel { exposure: 1.0, white_balance: [1.0; 3], noise_sigma: 0.0, seed: 0 }
    }
}

impl SensorModel {
    /// Changes the picture in place. The same seed, tick and picture give the same bytes.
    ///
    /// # Errors
    /// A setting out of range; the picture is then left alone.
    pub fn apply(&self, tick: u64, rgb: &mut [u8]) -> Result<(), RasterError> {
        let gains = self.white_balance.map(|w| w * self.exposure);
        if !gains.iter().all(|g| (0.0..=16.0).contains(g)) {
            let value = format!("{} and {:?}", self.exposure, self.white_balance);
            return Err(RasterError::OutOfRange { what: "exposure and white balance", value, range: "0 to 16" });
        }
        if !(0.0..=64.0).contains(&self.noise_sigma) {
            let value = self.noise_sigma.to_string();
            return Err(RasterError::OutOfRange { what: "sensor noise", value, range: "0 to 64 byte values" });
        }
        if gains != [1.0; 3] {
            let curves = gains.map(|gain| self.curve(gain));
            for pixel in rgb.chunks_exact_mut(3) {
                for k in 0..3 {
                    pixel[k] = curves[k][usize::from(pixel[k])];
                }
            }
        }
        if self.noise_sigma > 0.0 {
            self.add_noise(tick, rgb);
        }
        Ok(())
    }

    /// Byte to byte for one channel.
    fn curve(&self, gain: f32) -> [u8; 256] {
        if gain == 1.0 {
            return std::array::from_fn(|i| i as u8);
        }
        let (tone, light) = (ToneCurve::shared(), decoded());
        std::array::from_fn(|i| tone.byte((light[i] * f64::from(gain)) as f32))
    }

    fn add_noise(&self, tick: u64, rgb: &mut [u8]) {
        let key = hash(self.seed ^ hash(tick as u32 ^ hash((tick >> 32) as u32)));
        // Sum of four bytes: near enough to a bell curve, mean 510, standard deviation 147.8. Sums in 1/65536 of a byte value.
        scatter(key, (self.noise_sigma * (65536.0 / 147.8)) as i32, rgb);
    }
}

wide_vectors! {
    /// Adds noise of strength `scale` to every byte.
    fn scatter(key: u32, scale: i32, rgb: &mut [u8]) => scatter_body
}

/// Integers only, in a loop that compilers turn into vectors of whatever width.
#[expect(clippy::extra_unused_type_parameters, reason = "the macro names the kind of vectors")]
#[inline(always)]
fn scatter_body<V>(key: u32, scale: i32, rgb: &mut [u8]) {
    for (i, value) in rgb.iter_mut().enumerate() {
        let h = hash(key.wrapping_add(i as u32));
        let sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
        let noise = ((sum as i32 - 510) * scale + (1 << 15)) >> 16;
        *value = (i32::from(*value) + noise).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_seeded_and_has_the_asked_spread() {
        let model = SensorModel { noise_sigma: 6.0, seed: 5, ..SensorModel::default() };
        let picture = |tick, model: &SensorModel| {
            let mut rgb = vec![128u8; 30_000];
            model.apply(tick, &mut rgb).unwrap();
            rgb
        };
        let a = picture(7, &model);
        assert_eq!(a, picture(7, &model));
        assert_ne!(a, picture(8, &model));
        assert_ne!(a, picture(7, &SensorModel { seed: 6, ..model }));
        let mean = a.iter().map(|&b| f64::from(b)).sum::<f64>() / a.len() as f64;
        let var = a.iter().map(|&b| (f64::from(b) - mean).powi(2)).sum::<f64>() / a.len() as f64;
        assert!((mean - 128.0).abs() < 0.2 && (var.sqrt() - 6.0).abs() < 0.2, "{mean} {}", var.sqrt());
    }

    #[test]
    fn wide_vectors_give_the_same_bytes() {
        let plain: Vec<u8> = (0..1003u32).map(|i| (i * 7) as u8).collect();
        let (mut wide, mut narrow) = (plain.clone(), plain);
        scatter(99, 4000, &mut wide);
        scatter_body::<()>(99, 4000, &mut narrow);
        assert_eq!(wide, narrow);
    }

    #[test]
    fn exposure_and_white_balance_shift_the_right_way() {
        let mut rgb = vec![100u8, 100, 100];
        let model = SensorModel { exposure: 1.5, white_balance: [1.2, 1.0, 0.5], ..SensorModel::default() };
        model.apply(0, &mut rgb).unwrap();
        assert!(rgb[0] > rgb[1] && rgb[1] > 110 && rgb[2] < 100, "{rgb:?}");
        let mut same = vec![0, 77, 255];
        SensorModel::default().apply(3, &mut same).unwrap();
        assert_eq!(same, [0, 77, 255]);
        assert!(SensorModel { exposure: f32::NAN, ..model }.apply(0, &mut rgb).is_err());
        assert!(SensorModel { noise_sigma: -1.0, ..model }.apply(0, &mut rgb).is_err());
    }
}
