//! A picture in the size that was asked for: the middle part of the right shape, made smaller by area or larger by
//! interpolation. Whole numbers throughout, so that equal pictures stay equal.

/// The source columns (or rows) that make up one column (row) of the result.
#[derive(Clone, Debug)]
struct Tap {
    first: usize,
    /// Sum up to 256.
    weights: Vec<u16>,
}

/// Cuts and scales pictures of one size to another; keep it, since it remembers how.
#[derive(Clone, Debug, Default)]
pub struct Fitter {
    key: [usize; 4],
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    sum: Vec<u16>,
}

/// Weights of the sources of each of `out` places that share `length` sources from `from` on.
fn taps(from: usize, length: usize, out: usize) -> Vec<Tap> {
    let step = length as f64 / out as f64;
    (0..out)
        .map(|place| {
            let middle = (place as f64 + 0.5) * step;
            // At least one source wide: then neighbours are mixed by nearness.
            let half = 0.5 * step.max(1.0);
            let (low, high) = ((middle - half).max(0.0), (middle + half).min(length as f64));
            let first = (low.floor() as usize).min(length - 1);
            let last = (high.ceil() as usize).clamp(first + 1, length);
            let share = |k: usize| ((k + 1) as f64).min(high) - (k as f64).max(low);
            let exact: Vec<f64> = (first..last).map(|k| share(k).max(0.0) / (high - low)).collect();
            // Rounded so that the sum is exactly 256.
            let (mut sum, mut before) = (0.0, 0u16);
            let weights = exact
                .iter()
                .map(|share| {
                    sum += share;
                    let upto = (sum * 256.0).round() as u16;
                    upto - std::mem::replace(&mut before, upto)
                })
                .collect();
            Tap { first: from + first, weights }
        })
        .collect()
}

/// The largest part in the middle of a picture that has the shape `out_width` x `out_height`: left, top, width, height.
fn middle_part(width: usize, height: usize, out_width: usize, out_height: usize) -> [usize; 4] {
    let (mut w, mut h) = (width, height);
    if width * out_height > height * out_width {
        w = ((height * out_width + out_height / 2) / out_height).clamp(1, width);
    } else {
        h = ((width * out_height + out_width / 2) / out_width).clamp(1, height);
    }
    [(width - w) / 2, (height - h) / 2, w, h]
}

impl Fitter {
    /// Brings `rgb` of `width` x `height` pixels to `out_width` x `out_height` in `out`. A picture shorter than its size
    /// says, or without pixels, gives a black one.
    pub fn fit(&mut self, rgb: &[u8], (width, height): (usize, usize), out: &mut Vec<u8>, (ow, oh): (usize, usize)) {
        out.clear();
        if width == 0 || height == 0 || ow == 0 || oh == 0 || rgb.len() < width * height * 3 {
            out.resize(ow * oh * 3, 0);
            return;
        }
        if (width, height) == (ow, oh) {
            out.extend_from_slice(&rgb[..width * height * 3]);
            return;
        }
        if self.key != [width, height, ow, oh] {
            let [x, y, w, h] = middle_part(width, height, ow, oh);
            (self.columns, self.rows) = (taps(x, w, ow), taps(y, h, oh));
            self.key = [width, height, ow, oh];
        }
        out.reserve(ow * oh * 3);
        let stride = width * 3;
        for row in &self.rows {
            // Rows first, a whole row at a time; 255 * 256 still fits.
            self.sum.clear();
            self.sum.resize(stride, 0);
            for (k, &weight) in row.weights.iter().enumerate() {
                let source = &rgb[(row.first + k) * stride..][..stride];
                for (sum, &byte) in self.sum.iter_mut().zip(source) {
                    *sum += u16::from(byte) * weight;
                }
            }
            for column in &self.columns {
                let mut pixel = [1u32 << 15; 3];
                for (k, &weight) in column.weights.iter().enumerate() {
                    let at = (column.first + k) * 3;
                    for (part, &sum) in pixel.iter_mut().zip(&self.sum[at..at + 3]) {
                        *part += u32::from(sum) * u32::from(weight);
                    }
                }
                out.extend(pixel.map(|sum| (sum >> 16) as u8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fit(rgb: &[u8], size: (usize, usize), out: (usize, usize)) -> Vec<u8> {
        let mut result = Vec::new();
        Fitter::default().fit(rgb, size, &mut result, out);
        result
    }

    #[test]
    fn halving_means_four_pixels() {
        let rgb: Vec<u8> = [10, 20, 30, 40].into_iter().flat_map(|v| [v, v + 1, 200]).collect();
        assert_eq!(fit(&rgb, (2, 2), (1, 1)), [25, 26, 200]);
    }

    #[test]
    fn a_wide_picture_loses_its_sides() {
        // Columns 0..8, each of its own brightness; a square of the middle is columns 2..6.
        let rgb: Vec<u8> = (0..4).flat_map(|_| (0..8u8).flat_map(|x| [x * 10; 3])).collect();
        let square = fit(&rgb, (8, 4), (4, 4));
        assert_eq!(square[..12], [20, 20, 20, 30, 30, 30, 40, 40, 40, 50, 50, 50]);
        assert_eq!(middle_part(1280, 720, 640, 480), [160, 0, 960, 720]);
        assert_eq!(middle_part(480, 640, 640, 480), [0, 140, 480, 360]);
    }

    #[test]
    fn a_short_picture_is_black() {
        assert_eq!(fit(&[9; 5], (2, 2), (3, 1)), [0; 9]);
    }

    proptest! {
        #[test]
        fn one_colour_stays_and_no_value_leaves_the_range(
            (w, h, ow, oh) in (1usize..40, 1usize..40, 1usize..40, 1usize..40), colour: [u8; 3], seed: u8
        ) {
            let plain: Vec<u8> = colour.repeat(w * h);
            prop_assert_eq!(fit(&plain, (w, h), (ow, oh)), colour.repeat(ow * oh));
            let mixed: Vec<u8> = (0..w * h * 3).map(|i| (i as u8).wrapping_mul(seed | 1) | 64).collect();
            prop_assert!(fit(&mixed, (w, h), (ow, oh)).iter().all(|v| *v >= 64));
        }
    }
}
