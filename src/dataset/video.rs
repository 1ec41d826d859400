//! Pictures of one mp4 file by index or time.

use super::av1::Av1Decoder;
use super::error::{DatasetError, Result, guarded};
use super::h264::H264Decoder;
use super::mp4::{CodecSetup, Mp4};
use super::pixels::Image;
use std::collections::BTreeMap;
use std::path::Path;

/// A frame further than this from the asked time is a wrong one; LeRobot's own tolerance, seconds.
pub const TIME_TOLERANCE_S: f64 = 1e-4;

enum Codec {
    H264(Box<H264Decoder>),
    Av1(Box<Av1Decoder>),
}

impl Codec {
    fn reset(&mut self) {
        match self {
            Self::H264(d) => d.reset(),
            Self::Av1(d) => d.reset(),
        }
    }

    fn decode(&mut self, sample: &[u8], key: bool, wanted: bool) -> Result<Option<Image>, String> {
        match self {
            Self::H264(d) => d.decode(sample, key, wanted),
            Self::Av1(d) => d.decode(sample, key, wanted),
        }
    }
}

/// An open video. It keeps its place: reading forward decodes one frame a call, a jump decodes from the key frame
/// before it.
pub(crate) struct Video {
    pub(crate) mp4: Mp4,
    codec: Codec,
    /// Decoding index of the frame fed next, while the decoder's references are valid.
    next: Option<usize>,
    sample: Vec<u8>,
}

impl Video {
    /// Opens an mp4 file holding H.264 or AV1.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mp4 = Mp4::open(path)?;
        let codec =
            match &mp4.setup {
                CodecSetup::H264 { sps, pps } => Codec::H264(Box::new(H264Decoder::new(sps, pps))),
                CodecSetup::Av1(setup) => {
                    let decoder = Av1Decoder::new(setup.config_obus.clone())
                        .map_err(|problem| DatasetError::Video { path: path.into(), frame: 0, problem })?;
                    Codec::Av1(Box::new(decoder))
                }
            };
        Ok(Self { mp4, codec, next: None, sample: Vec::new() })
    }

    /// Number of frames.
    pub(crate) fn len(&self) -> usize {
        self.mp4.samples.len()
    }

    /// Decoding index of the frame shown at `time_s`.
    ///
    /// # Errors
    /// [`DatasetError::Video`] when no frame is within [`TIME_TOLERANCE_S`].
    pub(crate) fn index_at(&self, time_s: f64) -> Result<usize> {
        match self.mp4.at_time(time_s) {
            Some((index, at)) if (at - time_s).abs() < TIME_TOLERANCE_S => Ok(index),
            found => {
                let nearest =
                    found.map_or("the video is empty".into(), |(_, at)| format!("the nearest is at {at:.4} s"));
                let problem = format!("no frame at {time_s:.4} s, {nearest}");
                Err(DatasetError::Video { path: self.mp4.path().into(), frame: 0, problem })
            }
        }
    }

    /// The picture with this decoding index.
    pub(crate) fn frame(&mut self, index: usize) -> Result<Image> {
        let path = self.mp4.path().to_path_buf();
        guarded(&path, "frames", || self.decode(&path, index)).inspect_err(|_| self.next = None)
    }

    fn decode(&mut self, path: &Path, index: usize) -> Result<Image> {
        let fail = |problem: String| DatasetError::Video { path: path.into(), frame: index, problem };
        if index >= self.len() {
            return Err(fail("there is none".into()));
        }
        let key = (0..=index).rev().find(|&i| self.mp4.samples[i].key).ok_or_else(|| fail("no key frame".into()))?;
        let mut feed = match self.next.take() {
            Some(next) if (key..=index).contains(&next) => next,
            _ => {
                self.codec.reset();
                key
            }
        };
        loop {
            self.sample.clear();
            self.mp4.read(feed, &mut self.sample)?;
            let picture = self.codec.decode(&self.sample, self.mp4.samples[feed].key, feed == index).map_err(&fail)?;
            feed += 1;
            if feed > index {
                self.next = Some(feed);
                let image = picture.ok_or_else(|| fail("the decoder gave no picture".into()))?;
                if (image.width, image.height) != (self.mp4.width, self.mp4.height) {
                    return Err(fail("the picture's size is not the file's".into()));
                }
                return Ok(image);
            }
        }
    }
}

/// Decoded pictures that may wait for their turn; videos that need more are damaged.
const MOST_AHEAD: usize = 64;

/// The pictures of an mp4 file (H.264 or AV1) in the order in which they are shown.
pub struct VideoFrames {
    video: Video,
    /// Place in the order of display of each sample, in decoding order.
    places: Vec<usize>,
    /// Decoding index of the next sample.
    next: usize,
    /// Decoded, but shown later.
    ahead: BTreeMap<usize, Image>,
}

impl VideoFrames {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read or holds another kind of video.
    pub fn open(path: &Path) -> Result<Self> {
        let video = guarded(path, "video", || Video::open(path))?;
        let places = video.mp4.places();
        Ok(Self { video, places, next: 0, ahead: BTreeMap::new() })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.video.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width, pixels.
    pub fn width(&self) -> usize {
        self.video.mp4.width
    }

    /// Height, pixels.
    pub fn height(&self) -> usize {
        self.video.mp4.height
    }

    /// Mean rate, pictures per second; 30 where there is only one.
    pub fn fps(&self) -> f64 {
        self.video.mp4.fps().unwrap_or(30.0)
    }

    /// The picture shown at this place. Going forward decodes every picture once.
    ///
    /// # Errors
    /// When there is none, or the video is damaged there.
    pub fn shown(&mut self, place: usize) -> Result<Image> {
        let path = self.video.mp4.path().to_path_buf();
        let fail = |problem: &str| DatasetError::Video { path: path.clone(), frame: place, problem: problem.into() };
        if place >= self.len() {
            return Err(fail("there is none"));
        }
        if let Some(image) = self.ahead.remove(&place) {
            return Ok(image);
        }
        if self.places[..self.next].contains(&place) {
            self.ahead.clear();
            self.next = 0;
        }
        self.ahead.retain(|other, _| *other > place);
        while self.next < self.places.len() {
            let index = self.next;
            self.next += 1;
            let image = self.video.frame(index)?;
            let shown = self.places[index];
            if shown == place {
                return Ok(image);
            }
            if shown > place {
                self.ahead.insert(shown, image);
                if self.ahead.len() > MOST_AHEAD {
                    self.ahead.clear();
                    return Err(fail("its pictures are too far out of order"));
                }
            }
        }
        Err(fail("it is not in the file"))
    }
}
