//! From linear light to sRGB bytes.

use super::lanes::{Base, F8, I8, LANES};
use super::scalar::fifth_root;
use std::sync::OnceLock;

/// Table entries per unit of linear light: fine enough that no step is wider than one byte value even in the dark.
const ENTRIES_PER_UNIT: f32 = 4096.0;
/// Entries of the table: light above 4 is white.
const ENTRIES: usize = 1 << 14;
/// Linear light up to here is kept; above, a shoulder leads softly to white.
const SHOULDER: f64 = 0.70;

/// The tone curve as a table from linear light to sRGB byte.
pub(super) struct ToneCurve {
    table: Box<[u8; ENTRIES]>,
}

impl ToneCurve {
    /// The one curve of the program.
    pub fn shared() -> &'static ToneCurve {
        static CURVE: OnceLock<ToneCurve> = OnceLock::new();
        CURVE.get_or_init(|| {
            let mut byte = 0u8;
            let mut table = Box::new([0u8; ENTRIES]);
            for (i, entry) in table.iter_mut().enumerate() {
                let x = i as f64 / f64::from(ENTRIES_PER_UNIT);
                let light = if x <= SHOULDER {
                    x
                } else {
                    let over = (x - SHOULDER) / (1.0 - SHOULDER);
                    SHOULDER + (1.0 - SHOULDER) * over / (1.0 + over) * 1.1
                };
                // The byte whose interval holds this light; both rise together, so walking up is enough.
                while byte < 255 && light >= decode((f64::from(byte) + 0.5) / 255.0) {
                    byte += 1;
                }
                *entry = byte;
            }
            ToneCurve { table }
        })
    }

    /// sRGB byte of a linear amount of light (negative counts as 0).
    pub fn byte(&self, light: f32) -> u8 {
        self.bytes(Base::splat(light))[0]
    }

    /// sRGB bytes of eight linear amounts of light (negative counts as 0).
    #[inline(always)]
    pub fn bytes<V: F8>(&self, light: V) -> [u8; LANES] {
        let at = (light * V::splat(ENTRIES_PER_UNIT)).clamp(0.0, (ENTRIES - 1) as f32).round().store();
        let mut bytes = [0; LANES];
        for l in 0..LANES {
            bytes[l] = self.table[at[l] as usize & (ENTRIES - 1)];
        }
        bytes
    }
}

/// Linear light 0 to 1 of an sRGB value 0 to 1 (IEC 61966-2-1).
pub(super) fn decode(srgb: f64) -> f64 {
    if srgb <= 0.04045 {
        return srgb / 12.92;
    }
    let y = (srgb + 0.055) / 1.055;
    // y^2.4 without the platform's power function.
    y * y * fifth_root(y * y)
}

/// Linear light of every byte: worked out once, since the root in [`decode`] takes its time.
pub(super) fn decoded() -> &'static [f64; 256] {
    static LIGHT: OnceLock<[f64; 256]> = OnceLock::new();
    LIGHT.get_or_init(|| std::array::from_fn(|byte| decode(byte as f64 / 255.0)))
}

/// Linear RGB reflectance of an sRGB colour given as bytes, the form in which colours are usually picked.
pub fn linear_from_srgb8(rgb: [u8; 3]) -> [f32; 3] {
    rgb.map(|c| decoded()[usize::from(c)] as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_through_the_curve() {
        let curve = ToneCurve::shared();
        for byte in 0..=200u8 {
            let light = decode(f64::from(byte) / 255.0);
            if light < SHOULDER {
                assert!(curve.byte(light as f32).abs_diff(byte) <= 1, "{byte}");
            }
        }
        assert_eq!((curve.byte(-1.0), curve.byte(0.0), curve.byte(100.0)), (0, 0, 255));
        assert!(curve.table.is_sorted());
    }

    #[test]
    fn decoding_is_the_standard_curve() {
        assert!((decode(0.5) - 0.214_041_14).abs() < 1e-8);
        assert!((decode(1.0) - 1.0).abs() < 1e-12);
    }
}
