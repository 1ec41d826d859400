//! Simple measures of each picture, taken while it is encoded or read again: what the quality report looks at.

use super::pixels::Image;
use serde::Serialize;

/// Measures of one picture, on its luma (0 to 255).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct FrameMeasure {
    /// Mean luma.
    pub mean: f32,
    /// Fraction of pixels at the white end.
    pub bright: f32,
    /// Mean square of the second difference: small in a blurred or covered picture.
    pub sharpness: f32,
    /// Mean absolute difference to the picture before; 0 when the camera gave the same picture again.
    pub change: f32,
}

/// Columns and rows of a [`Thumbnail`].
pub const THUMBNAIL: (usize, usize) = (64, 48);

/// A picture's luma at 64 x 48: what tells whether a camera was moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail(pub Vec<f32>);

/// Measures pictures in order of time.
#[derive(Debug, Default)]
pub(crate) struct Measurer {
    previous: Vec<u8>,
    pub(crate) first: Option<Thumbnail>,
}

/// Luma that counts as clipped; 235 is white in limited range.
const WHITE: u8 = 234;

impl Measurer {
    /// Measures a plane of `width * height` luma values, looking at every second pixel of every second row.
    pub(crate) fn luma(&mut self, luma: &[u8], width: usize, height: usize) -> FrameMeasure {
        if width < 3 || height < 3 || luma.len() < width * height {
            return FrameMeasure::default();
        }
        let (mut sum, mut bright, mut count, mut sharp) = (0u64, 0u32, 0u32, 0u64);
        let mut thin = Vec::with_capacity(width * height / 4);
        for y in (1..height - 1).step_by(2) {
            let row = &luma[y * width..][..width];
            let (above, below) = (&luma[(y - 1) * width..][..width], &luma[(y + 1) * width..][..width]);
            for x in (1..width - 1).step_by(2) {
                let v = row[x];
                let around = [row[x - 1], row[x + 1], above[x], below[x]].map(i32::from).iter().sum::<i32>();
                let second = 4 * i32::from(v) - around;
                sharp += (second * second) as u64;
                sum += u64::from(v);
                bright += u32::from(v >= WHITE);
                count += 1;
                thin.push(v);
            }
        }
        let differ: u64 = thin.iter().zip(&self.previous).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let change = if self.previous.len() == thin.len() { differ as f32 / count as f32 } else { f32::NAN };
        self.previous = thin;
        if self.first.is_none() {
            self.first = Some(thumbnail(luma, width, height));
        }
        // The first picture has none before it and counts as changed.
        let change = if change.is_nan() { 255.0 } else { change };
        let n = count as f32;
        FrameMeasure { mean: sum as f32 / n, bright: bright as f32 / n, sharpness: sharp as f32 / n, change }
    }

    /// Measures a picture in RGB.
    pub(crate) fn image(&mut self, image: &Image) -> FrameMeasure {
        let luma: Vec<u8> = image.rgb.chunks_exact(3).map(|p| luma_of([p[0], p[1], p[2]])).collect();
        self.luma(&luma, image.width, image.height)
    }
}

/// Luma in limited range, as the encoder sees it.
fn luma_of([r, g, b]: [u8; 3]) -> u8 {
    ((66 * u32::from(r) + 129 * u32::from(g) + 25 * u32::from(b) + 128 + (16 << 8)) >> 8) as u8
}

fn thumbnail(luma: &[u8], width: usize, height: usize) -> Thumbnail {
    let (columns, rows) = THUMBNAIL;
    let mut sums = vec![(0f32, 0f32); columns * rows];
    for (y, row) in luma.chunks_exact(width).take(height).enumerate() {
        let line = &mut sums[y * rows / height * columns..][..columns];
        for (x, &v) in row.iter().enumerate() {
            let cell = &mut line[x * columns / width];
            cell.0 += f32::from(v);
            cell.1 += 1.0;
        }
    }
    Thumbnail(sums.iter().map(|(sum, n)| sum / n.max(1.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_brightness_and_blur_show() {
        let mut noisy = Image::filled(64, 48, [0; 3]);
        noisy.rgb.iter_mut().enumerate().for_each(|(i, v)| *v = (i * 7919 % 251) as u8);
        let mut measurer = Measurer::default();
        let first = measurer.image(&noisy);
        let again = measurer.image(&noisy);
        let white = measurer.image(&Image::filled(64, 48, [255; 3]));
        assert_eq!((first.change, again.change), (255.0, 0.0));
        assert!(white.bright == 1.0 && white.sharpness == 0.0 && white.mean >= 235.0);
        assert!(first.sharpness > 1000.0 && first.bright < 0.2);
    }
}
