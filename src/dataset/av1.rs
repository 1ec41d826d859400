//! AV1, which LeRobot writes by default: decoding only.

use super::pixels::{Image, PlanesView};
use re_rav1d::dav1d::{self, PixelLayout, PlanarImageComponent, Settings, pixel::YUVRange};

/// Decodes frames of an mp4 track.
pub(crate) struct Av1Decoder {
    decoder: dav1d::Decoder,
    /// The sequence header, put before key frames that carry none.
    head: Vec<u8>,
}

impl Av1Decoder {
    pub(crate) fn new(head: Vec<u8>) -> Result<Self, String> {
        let mut settings = Settings::new();
        // One thread and no delay: each frame fed gives its picture at once.
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        let decoder = dav1d::Decoder::with_settings(&settings).map_err(|e| format!("AV1: {e}"))?;
        Ok(Self { decoder, head })
    }

    /// Forgets all reference pictures.
    pub(crate) fn reset(&mut self) {
        self.decoder.flush();
    }

    /// Feeds one frame; the picture is converted only when `wanted`.
    pub(crate) fn decode(&mut self, sample: &[u8], key: bool, wanted: bool) -> Result<Option<Image>, String> {
        let mut stream = Vec::with_capacity(self.head.len() + sample.len());
        if key && !has_sequence_header(sample) {
            stream.extend_from_slice(&self.head);
        }
        stream.extend_from_slice(sample);
        let mut image = None;
        let mut sent = self.decoder.send_data(stream, None, None, None);
        // The decoder may ask for its pictures to be fetched before it takes the rest; bounded against damaged data.
        for _ in 0..64 {
            match sent {
                Ok(()) => break,
                Err(dav1d::Error::Again) => {
                    self.fetch(wanted, &mut image)?;
                    sent = self.decoder.send_pending_data();
                }
                Err(e) => return Err(format!("AV1: {e}")),
            }
        }
        self.fetch(wanted, &mut image)?;
        Ok(image)
    }

    fn fetch(&mut self, wanted: bool, image: &mut Option<Image>) -> Result<(), String> {
        loop {
            let picture = match self.decoder.get_picture() {
                Ok(picture) => picture,
                Err(dav1d::Error::Again) => return Ok(()),
                Err(e) => return Err(format!("AV1: {e}")),
            };
            if !wanted {
                continue;
            }
            if picture.bit_depth() != 8 || picture.pixel_layout() != PixelLayout::I420 {
                return Err("AV1: only 8-bit 4:2:0 pictures can be read".into());
            }
            let [y, u, v] =
                [PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V].map(|c| picture.plane(c));
            let view = PlanesView {
                width: picture.width() as usize,
                height: picture.height() as usize,
                y: &y,
                u: &u,
                v: &v,
                luma_stride: picture.stride(PlanarImageComponent::Y) as usize,
                chroma_stride: picture.stride(PlanarImageComponent::U) as usize,
                full_range: picture.color_range() == YUVRange::Full,
            };
            *image = Some(view.to_image().ok_or("AV1: the planes are smaller than the picture")?);
        }
    }
}

/// Whether a frame's units begin with a sequence header (type 1), as key frames of most writers do.
fn has_sequence_header(sample: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&header) = sample.get(at) {
        if header >> 3 & 15 == 1 {
            return true;
        }
        at += 1 + usize::from(header >> 2 & 1);
        // Without a size field the unit fills the rest.
        if header & 2 == 0 {
            return false;
        }
        let (mut size, mut shift) = (0usize, 0);
        loop {
            let Some(&byte) = sample.get(at) else { return false };
            at += 1;
            size |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
            if shift > 28 {
                return false;
            }
        }
        at += size;
    }
    false
}
