//! Blur of a lens that is not quite in focus, in integer arithmetic.

use super::RasterError;
use super::lanes::wide_vectors;

/// Strongest blur a kernel of three pixels can make, pixels.
const STRONGEST_PX: f32 = 0.8;

/// Blurs a finished RGB picture of this width by `sigma_px` (standard deviation, 0 to 0.8 pixels), in place; `scratch` is room to
/// work in. Edges repeat. The same picture gives the same bytes everywhere.
///
/// # Errors
/// A blur out of range; the picture is then left alone.
pub fn blur(sigma_px: f32, width: usize, scratch: &mut Vec<u8>, rgb: &mut [u8]) -> Result<(), RasterError> {
    if !(0.0..=STRONGEST_PX).contains(&sigma_px) {
        return Err(RasterError::OutOfRange { what: "blur", value: sigma_px.to_string(), range: "0 to 0.8 pixels" });
    }
    // Three weights a, 1 - 2a, a have the variance 2a.
    let side = (sigma_px * sigma_px * 128.0 + 0.5) as u16;
    let (row, middle) = (width * 3, 256 - 2 * side);
    if side == 0 || row == 0 || !rgb.len().is_multiple_of(row) || rgb.is_empty() {
        return Ok(());
    }
    scratch.clear();
    scratch.extend_from_slice(rgb);
    spread((side, middle), row, scratch, rgb);
    Ok(())
}

wide_vectors! {
    /// Blurs `rgb`, of which `scratch` is a copy, with the weights of both neighbours and of the middle.
    fn spread(weights: (u16, u16), row: usize, scratch: &mut [u8], rgb: &mut [u8]) => spread_body
}

/// Integers only, in loops that compilers turn into vectors of whatever width.
#[expect(clippy::extra_unused_type_parameters, reason = "the macro names the kind of vectors")]
#[inline(always)]
fn spread_body<V>((side, middle): (u16, u16), row: usize, scratch: &mut [u8], rgb: &mut [u8]) {
    let mix = |a: u8, b: u8, c: u8| ((middle * u16::from(b) + side * (u16::from(a) + u16::from(c)) + 128) >> 8) as u8;
    // Along rows, from the copy into the picture.
    for (from, to) in scratch.chunks_exact(row).zip(rgb.chunks_exact_mut(row)) {
        if row > 6 {
            let inner = &mut to[3..row - 3];
            for (((to, a), b), c) in inner.iter_mut().zip(from).zip(&from[3..]).zip(&from[6..]) {
                *to = mix(*a, *b, *c);
            }
        }
        for k in 0..3 {
            let (first, last) = (k, row - 3 + k);
            to[first] = mix(from[first], from[first], from[(first + 3).min(last)]);
            to[last] = mix(from[last.saturating_sub(3).max(first)], from[last], from[last]);
        }
    }
    // Down columns, from the picture by way of the copy.
    scratch.copy_from_slice(rgb);
    let rows = rgb.len() / row;
    for (y, to) in rgb.chunks_exact_mut(row).enumerate() {
        let line = |y: usize| &scratch[y * row..(y + 1) * row];
        let (above, here, below) = (line(y.saturating_sub(1)), line(y), line((y + 1).min(rows - 1)));
        for (((to, a), b), c) in to.iter_mut().zip(above).zip(here).zip(below) {
            *to = mix(*a, *b, *c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A white dot on black, blurred.
    fn dot(sigma_px: f32) -> Vec<u8> {
        let mut rgb = vec![0u8; 9 * 7 * 3];
        rgb[(3 * 9 + 4) * 3..][..3].copy_from_slice(&[255; 3]);
        blur(sigma_px, 9, &mut Vec::new(), &mut rgb).unwrap();
        rgb
    }

    #[test]
    fn a_dot_spreads_by_the_asked_variance_and_keeps_its_light() {
        let rgb = dot(0.6);
        let at = |x: usize, y: usize| f64::from(rgb[(y * 9 + x) * 3 + 1]);
        let sum: f64 = (0..7).flat_map(|y| (0..9).map(move |x| (x, y))).map(|(x, y)| at(x, y)).sum();
        let variance: f64 = (0..9).map(|x| (x as f64 - 4.0).powi(2) * (0..7).map(|y| at(x, y)).sum::<f64>()).sum();
        assert!((sum - 255.0).abs() < 6.0, "{sum}");
        assert!((variance / sum - 0.36).abs() < 0.02, "{}", variance / sum);
        assert_eq!(at(3, 3), at(5, 3));
        assert_eq!(at(4, 2), at(4, 4));
    }

    #[test]
    fn wide_vectors_give_the_same_bytes() {
        let plain: Vec<u8> = (0..37 * 3 * 11u32).map(|i| ((i * i * 7) >> 3) as u8).collect();
        let (mut wide, mut narrow) = (plain.clone(), plain.clone());
        spread((46, 164), 37 * 3, &mut plain.clone(), &mut wide);
        spread_body::<()>((46, 164), 37 * 3, &mut plain.clone(), &mut narrow);
        assert!(wide == narrow && wide != plain);
    }

    #[test]
    fn an_even_picture_stays_and_odd_settings_are_refused() {
        let mut even = vec![77u8; 5 * 4 * 3];
        blur(0.8, 5, &mut Vec::new(), &mut even).unwrap();
        assert!(even.iter().all(|value| *value == 77));
        for sigma_px in [-0.1, 0.9, f32::NAN] {
            assert!(blur(sigma_px, 5, &mut Vec::new(), &mut even).is_err());
        }
        for width in [1, 2, 60] {
            blur(0.5, width, &mut Vec::new(), &mut even).unwrap();
        }
        assert_eq!(dot(0.0).iter().filter(|value| **value > 0).count(), 3);
    }
}
