//! Arithmetic whose result is the same on every machine: no platform maths library, no fused operations.

/// Half of a turn in f64.
const PI: f64 = std::f64::consts::PI;

/// Sine and cosine of an angle in radians by their series in f64; exact to about 1e-15 within a few turns.
pub(super) fn sin_cos(angle_rad: f64) -> (f64, f64) {
    let turns = (angle_rad / (2.0 * PI)).round();
    let x = angle_rad - turns * 2.0 * PI;
    let (mut sin, mut cos) = (x, 1.0);
    let (mut sin_term, mut cos_term) = (x, 1.0);
    for k in 1..16 {
        let n = f64::from(2 * k);
        cos_term *= -x * x / ((n - 1.0) * n);
        sin_term *= -x * x / (n * (n + 1.0));
        cos += cos_term;
        sin += sin_term;
    }
    (sin, cos)
}

/// Tangent of an angle in radians, for field-of-view angles below half a turn.
pub(super) fn tan(angle_rad: f64) -> f64 {
    let (sin, cos) = sin_cos(angle_rad);
    sin / cos
}

/// Fifth root of a number in 0..=1 by Newton's method from above.
pub(super) fn fifth_root(a: f64) -> f64 {
    if a <= 0.0 {
        return 0.0;
    }
    let mut x = 1.0f64;
    for _ in 0..48 {
        let x4 = x * x * x * x;
        x -= (x4 * x - a) / (5.0 * x4);
    }
    x
}

/// Smaller of two numbers in the form that maps to one instruction (no NaN handling).
#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Larger of two numbers in the form that maps to one instruction (no NaN handling).
#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Number limited to `low..=high` (no NaN handling).
#[inline(always)]
pub(super) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    max(min(x, high), low)
}

/// Nearest integer (ties to even) of a number within +-4 million, without the cost of a saturating cast.
#[inline(always)]
pub(super) fn round_i32(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: the sum's last bit weighs one
    ((x + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
}

/// Largest integer not above a number within +-4 million.
#[inline(always)]
pub(super) fn floor_i32(x: f32) -> i32 {
    let r = round_i32(x);
    r - i32::from((r as f32) > x)
}

/// Integer hash with full avalanche (the finaliser of the "lowbias32" search by C. Wellons).
#[inline(always)]
pub(super) fn hash(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_agree_with_the_library() {
        for i in -700..700 {
            let x = f64::from(i) * 0.01;
            let (s, c) = sin_cos(x);
            assert!((s - x.sin()).abs() < 1e-13 && (c - x.cos()).abs() < 1e-13, "{x}");
        }
        assert!((tan(0.55) - 0.55f64.tan()).abs() < 1e-14);
        for i in 1..=100 {
            let a = f64::from(i) * 0.01;
            assert!((fifth_root(a) - a.powf(0.2)).abs() < 1e-14);
        }
    }

    #[test]
    fn integers_from_floats() {
        for (x, floor, round) in
            [(0.0, 0, 0), (-0.25, -1, 0), (1.75, 1, 2), (-3.0, -3, -3), (2.5, 2, 2), (123456.75, 123456, 123457)]
        {
            assert_eq!((floor_i32(x), round_i32(x)), (floor, round), "{x}");
        }
    }
}
