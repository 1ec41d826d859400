//! What a camera delivers, and how it becomes red, green and blue.

use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// How the pixels of a picture are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A JPEG picture (V4L2: MJPG).
    Jpeg,
    /// Two pixels in four bytes: Y0 U Y1 V.
    Yuyv,
    /// A plane of brightness, then U and V in turn for each two by two pixels.
    Nv12,
    /// Brightness alone, a byte a pixel.
    Gray,
    /// Three bytes a pixel, red first.
    Rgb,
    /// Three bytes a pixel, blue first.
    Bgr,
}

impl Encoding {
    /// Bits a pixel takes on the way; for JPEG about what webcams send.
    pub fn bits(self) -> u64 {
        match self {
            Self::Jpeg => 2,
            Self::Gray => 8,
            Self::Nv12 => 12,
            Self::Yuyv => 16,
            Self::Rgb | Self::Bgr => 24,
        }
    }

    /// Whether the size depends on the content.
    pub fn is_compressed(self) -> bool {
        self == Self::Jpeg
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "MJPG",
            Self::Yuyv => "YUYV",
            Self::Nv12 => "NV12",
            Self::Gray => "GRAY",
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
        })
    }
}

/// A picture as it came.
#[derive(Debug)]
pub struct Capture<'a> {
    /// How its pixels are kept.
    pub encoding: Encoding,
    /// Width, pixels; a JPEG says its own.
    pub width: u32,
    /// Height, pixels; a JPEG says its own.
    pub height: u32,
    /// The bytes.
    pub data: Cow<'a, [u8]>,
    /// When it was taken.
    pub captured: Instant,
}

/// Turns captures into RGB. Keep one per camera.
#[derive(Debug, Default)]
pub struct Decoder {
    rgb: Vec<u8>,
    /// This camera ends its JPEGs as it should; then one without an end was cut off.
    ends: bool,
}

/// Sides beyond this are damage, not pictures, pixels.
const MAX_SIDE: usize = 8192;

impl Decoder {
    /// The picture's RGB bytes with its width and height.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    pub fn decode(&mut self, capture: &Capture) -> Result<(&[u8], usize, usize), String> {
        let (width, height) = (capture.width as usize, capture.height as usize);
        if capture.encoding == Encoding::Jpeg {
            let (width, height) = self.decode_jpeg(&capture.data)?;
            return Ok((&self.rgb, width, height));
        }
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(format!("a picture of {width}x{height} pixels"));
        }
        let needed = match capture.encoding {
            Encoding::Nv12 => width * height + width.next_multiple_of(2) * height.div_ceil(2),
            Encoding::Yuyv => width.next_multiple_of(2) * height * 2,
            other => width * height * other.bits() as usize / 8,
        };
        let data = &capture.data;
        if data.len() < needed {
            return Err(format!("{} bytes instead of {needed}", data.len()));
        }
        self.rgb.resize(width * height * 3, 0);
        let pixels = self.rgb.chunks_exact_mut(3);
        match capture.encoding {
            Encoding::Yuyv => {
                let stride = width.next_multiple_of(2) * 2;
                for (row, out) in data.chunks_exact(stride).zip(self.rgb.chunks_exact_mut(width * 3)) {
                    for (four, out) in row.chunks_exact(4).zip(out.chunks_mut(6)) {
                        let (a, b) = out.split_at_mut(3);
                        a.copy_from_slice(&rgb_of_yuv(four[0], four[1], four[3]));
                        if b.len() == 3 {
                            b.copy_from_slice(&rgb_of_yuv(four[2], four[1], four[3]));
                        }
                    }
                }
            }
            Encoding::Nv12 => {
                let (luma, chroma) = data.split_at(width * height);
                let stride = width.next_multiple_of(2);
                for (i, (out, &y)) in pixels.zip(luma).enumerate() {
                    let at = i / width / 2 * stride + (i % width) / 2 * 2;
                    out.copy_from_slice(&rgb_of_yuv(y, chroma[at], chroma[at + 1]));
                }
            }
            Encoding::Gray => pixels.zip(data.iter()).for_each(|(out, &y)| out.fill(y)),
            Encoding::Bgr => {
                pixels.zip(data.chunks_exact(3)).for_each(|(out, p)| out.copy_from_slice(&[p[2], p[1], p[0]]));
            }
            Encoding::Rgb | Encoding::Jpeg => self.rgb.copy_from_slice(&data[..width * height * 3]),
        }
        Ok((&self.rgb, width, height))
    }

    fn decode_jpeg(&mut self, data: &[u8]) -> Result<(usize, usize), String> {
        // Some drivers hand over the whole buffer, zeros after the end.
        let length = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let data = &data[..length];
        let ends = data.ends_with(&[0xff, 0xd9]);
        if self.ends && !ends {
            return Err("a JPEG that was cut off".into());
        }
        let rgb = &mut self.rgb;
        // The decoder's authors reserve the right to panic on damaged input.
        let size = catch_unwind(AssertUnwindSafe(|| {
            let options = DecoderOptions::default()
                .jpeg_set_out_colorspace(ColorSpace::RGB)
                .set_max_width(MAX_SIDE)
                .set_max_height(MAX_SIDE);
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
            decoder.decode_headers().map_err(|error| error.to_string())?;
            let (info, size) = (decoder.info(), decoder.output_buffer_size());
            let (Some(info), Some(size)) = (info, size) else { return Err("a JPEG without a size".to_string()) };
            rgb.resize(size, 0);
            decoder.decode_into(rgb).map_err(|error| error.to_string())?;
            Ok((usize::from(info.width), usize::from(info.height)))
        }))
        .unwrap_or_else(|_| Err("a damaged JPEG".into()))?;
        if self.rgb.len() != size.0 * size.1 * 3 {
            return Err("a JPEG whose pixels are not red, green and blue".into());
        }
        self.ends = ends;
        Ok(size)
    }
}

/// BT.601 of limited range, as UVC cameras send it, in 16-bit fixed point.
fn rgb_of_yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    let y = (i32::from(y) - 16) * 76309 + (1 << 15);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [y + 104_597 * v, y - 25675 * u - 53279 * v, y + 132_201 * u].map(|value| (value >> 16).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(encoding: Encoding, width: u32, height: u32, data: &[u8]) -> Result<Vec<u8>, String> {
        let capture = Capture { encoding, width, height, data: data.into(), captured: Instant::now() };
        Decoder::default().decode(&capture).map(|(rgb, ..)| rgb.to_vec())
    }

    #[test]
    fn every_encoding_shows_the_same_colours() {
        // White, black; BT.601's red.
        assert_eq!(decode(Encoding::Yuyv, 2, 1, &[235, 128, 16, 128]), Ok(vec![255, 255, 255, 0, 0, 0]));
        let red = decode(Encoding::Yuyv, 2, 1, &[81, 90, 81, 240]).unwrap();
        assert!(red[0] > 250 && red[1] < 4 && red[2] < 4, "{red:?}");
        let same = decode(Encoding::Nv12, 2, 2, &[81, 81, 81, 81, 90, 240]).unwrap();
        assert_eq!(same, [&red[..], &red[..]].concat());
        assert_eq!(decode(Encoding::Gray, 1, 2, &[7, 9]), Ok(vec![7, 7, 7, 9, 9, 9]));
        assert_eq!(decode(Encoding::Bgr, 1, 1, &[1, 2, 3]), Ok(vec![3, 2, 1]));
        assert_eq!(decode(Encoding::Rgb, 1, 1, &[1, 2, 3]), Ok(vec![1, 2, 3]));
        // Odd widths carry a pixel nobody sees.
        assert_eq!(decode(Encoding::Yuyv, 1, 1, &[235, 128, 16, 128]), Ok(vec![255; 3]));
    }

    #[test]
    fn too_few_bytes_are_told() {
        for encoding in [Encoding::Yuyv, Encoding::Nv12, Encoding::Gray, Encoding::Rgb, Encoding::Bgr] {
            assert!(decode(encoding, 4, 4, &[0; 15]).unwrap_err().contains("15 bytes"), "{encoding}");
        }
        assert!(decode(Encoding::Rgb, 0, 4, &[]).is_err());
    }

    #[test]
    fn a_cut_jpeg_is_noticed_once_the_camera_has_shown_whole_ones() {
        let jpeg = include_bytes!("../../../tests/fixtures/camera/table.jpg");
        let mut decoder = Decoder::default();
        let mut see = |data: &[u8]| {
            let capture =
                Capture { encoding: Encoding::Jpeg, width: 0, height: 0, data: data.into(), captured: Instant::now() };
            decoder.decode(&capture).map(|(rgb, width, height)| (rgb.len(), width, height))
        };
        let mut padded = jpeg.to_vec();
        padded.resize(jpeg.len() + 500, 0);
        assert_eq!(see(&padded), Ok((64 * 48 * 3, 64, 48)));
        assert!(see(&jpeg[..jpeg.len() / 2]).is_err());
        assert!(see(&[]).is_err());
        assert_eq!(see(jpeg), Ok((64 * 48 * 3, 64, 48)));
    }

    proptest! {
        #[test]
        fn damaged_jpegs_never_end_the_program(at in 0usize..600, value: u8, cut in 0usize..600) {
            let mut jpeg = include_bytes!("../../../tests/fixtures/camera/table.jpg").to_vec();
            let at = at % jpeg.len();
            jpeg[at] = value;
            jpeg.truncate(jpeg.len() - cut % jpeg.len());
            let _ = decode(Encoding::Jpeg, 64, 48, &jpeg);
        }
    }
}
