//! Modes a camera offers, and which of them to use.

use super::capture::Encoding;
use serde::Serialize;
use std::fmt;

/// A size, rate and encoding that a camera can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mode {
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// How pixels are sent.
    pub encoding: Encoding,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at {} {}", self.width, self.height, self.fps, self.encoding)
    }
}

/// Uncompressed bytes per second from which a second camera on the same USB 2 bus no longer fits: half of the 24 MB/s that
/// isochronous transfers reach.
const BUS_BYTES_PER_S: u64 = 12_000_000;

/// The mode for pictures of `width` x `height` at `fps`: large enough and fast enough, no larger and no faster than
/// needed, light enough for several cameras on one bus (compressed where the plain pixels would fill it), plain pixels
/// where they fit. `None` without modes.
pub fn choose_mode(modes: &[Mode], (width, height): (u32, u32), fps: u32) -> Option<Mode> {
    // Smaller is better, in this order.
    modes.iter().copied().min_by_key(|mode| {
        let missing_pixels = width.saturating_sub(mode.width) + height.saturating_sub(mode.height);
        let missing_fps = fps.saturating_sub(mode.fps);
        let bytes_per_s =
            u64::from(mode.width) * u64::from(mode.height) * u64::from(mode.fps) * mode.encoding.bits() / 8;
        let too_heavy = !mode.encoding.is_compressed() && bytes_per_s > BUS_BYTES_PER_S;
        // A little too slow is better than too small: pictures can be late, pixels cannot be made up.
        (
            missing_fps > fps / 2,
            missing_pixels,
            missing_fps,
            too_heavy,
            u64::from(mode.width) * u64::from(mode.height),
            mode.fps,
            mode.encoding.is_compressed(),
            *mode,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(width: u32, height: u32, fps: u32, encoding: Encoding) -> Mode {
        Mode { width, height, fps, encoding }
    }

    /// What a common webcam offers.
    fn webcam() -> Vec<Mode> {
        use Encoding::{Jpeg, Yuyv};
        vec![
            mode(160, 120, 30, Yuyv),
            mode(320, 240, 30, Yuyv),
            mode(640, 480, 30, Yuyv),
            mode(640, 480, 15, Yuyv),
            mode(1280, 720, 10, Yuyv),
            mode(1920, 1080, 5, Yuyv),
            mode(320, 240, 30, Jpeg),
            mode(640, 480, 30, Jpeg),
            mode(1280, 720, 60, Jpeg),
            mode(1280, 720, 30, Jpeg),
            mode(1920, 1080, 30, Jpeg),
        ]
    }

    #[test]
    fn large_pictures_come_compressed_and_small_ones_plain() {
        assert_eq!(choose_mode(&webcam(), (640, 480), 30), Some(mode(640, 480, 30, Encoding::Jpeg)));
        assert_eq!(choose_mode(&webcam(), (96, 96), 30), Some(mode(160, 120, 30, Encoding::Yuyv)));
        assert_eq!(choose_mode(&webcam(), (1280, 720), 30), Some(mode(1280, 720, 30, Encoding::Jpeg)));
        assert_eq!(choose_mode(&webcam(), (1280, 720), 60), Some(mode(1280, 720, 60, Encoding::Jpeg)));
    }

    #[test]
    fn what_is_missing_is_as_little_as_possible() {
        assert_eq!(choose_mode(&webcam(), (4096, 4096), 30), Some(mode(1920, 1080, 30, Encoding::Jpeg)));
        let slow = [mode(640, 480, 15, Encoding::Yuyv), mode(320, 240, 15, Encoding::Yuyv)];
        assert_eq!(choose_mode(&slow, (640, 480), 30), Some(slow[0]));
        assert_eq!(choose_mode(&[], (640, 480), 30), None);
    }
}
