//! H.264: what the writer encodes and the reader decodes, on one pure Rust codec.

use super::mp4::CodecSetup;
use super::pixels::{Image, Planes, PlanesView};
use rusty_h264::{Decoder, Encoder, EncoderConfig, YuvPlanes};

/// Frames from one key frame to the next. Two, as LeRobot: any frame is at most one step from where decoding begins.
pub const GOP: usize = 2;
/// The same under load: fewer key frames are about twice as fast to encode.
pub(crate) const GOP_UNDER_LOAD: usize = 15;
/// Quantiser. 27 gave 40.3 dB at 17 kB a frame for 640x480, the quality of LeRobot's default.
const QP: u8 = 27;

/// An encoded frame in mp4's form: each unit after its length, no parameter sets.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    /// Decoding can begin here.
    pub(crate) key: bool,
}

/// A constant-quality encoder, one packet for each picture, no reordering.
pub(crate) struct H264Encoder {
    encoder: Encoder,
    planes: Planes,
    setup: Option<CodecSetup>,
    since_key: usize,
}

impl H264Encoder {
    /// For pictures of this size, even in both directions.
    pub(crate) fn new(width: usize, height: usize, fps: u32) -> Result<Self, String> {
        Self::with_quantiser(width, height, fps, QP)
    }

    /// The same with another quantiser: 0 to 51, smaller is better and larger in bytes.
    pub(crate) fn with_quantiser(width: usize, height: usize, fps: u32, qp: u8) -> Result<Self, String> {
        let mut config = EncoderConfig::baseline(width, height);
        config.qp = qp;
        config.framerate = fps as f32;
        // Key frames are asked for one by one, so that the distance can change while recording.
        config.gop_size = u32::MAX / 2;
        config.min_keyint = 1;
        let macroblocks = width.div_ceil(16) * height.div_ceil(16) * fps as usize;
        // H.264 table A-1: macroblocks a second of the levels 3, 3.1, 4 and 5.1.
        config.level_idc = match macroblocks {
            0..=40_500 => 30,
            40_501..=108_000 => 31,
            108_001..=245_760 => 40,
            _ => 51,
        };
        let encoder = Encoder::new(config).map_err(|e| format!("the encoder refused {width}x{height}: {e:?}"))?;
        Ok(Self { encoder, planes: Planes::default(), setup: None, since_key: 0 })
    }

    /// The next picture is coded by itself: the beginning of an episode.
    pub(crate) fn restart(&mut self) {
        self.since_key = 0;
    }

    /// Encodes a picture; `gop` is the distance of key frames from now on.
    pub(crate) fn encode(&mut self, image: &Image, gop: usize) -> Result<Packet, String> {
        self.planes.fill(image);
        self.encode_again(gop)
    }

    /// Encodes the former picture once more, in place of one that was lost.
    pub(crate) fn encode_again(&mut self, gop: usize) -> Result<Packet, String> {
        let key_wanted = self.since_key.is_multiple_of(gop.max(1));
        if key_wanted {
            self.encoder.request_keyframe();
            self.since_key = 0;
        }
        self.since_key += 1;
        let p = &self.planes;
        let view = YuvPlanes {
            width: p.width,
            height: p.height,
            y: &p.y,
            u: &p.u,
            v: &p.v,
            stride_y: p.width,
            stride_c: p.width / 2,
        };
        let coded = self.encoder.encode_planes(&view).map_err(|e| format!("the encoder failed: {e:?}"))?;
        let (packet, sets) = split(&coded);
        if packet.bytes.is_empty() || (key_wanted && !packet.key) {
            return Err("the encoder gave no frame".into());
        }
        match (sets, &self.setup) {
            (Some(new), Some(old)) if new != *old => return Err("the encoder changed its parameters".into()),
            (Some(new), None) => self.setup = Some(new),
            _ => {}
        }
        Ok(packet)
    }

    /// Parameter sets; known after the first picture.
    pub(crate) fn setup(&self) -> Option<&CodecSetup> {
        self.setup.as_ref()
    }

    /// Luma of the picture encoded last, rows from the top.
    pub(crate) fn luma(&self) -> &[u8] {
        &self.planes.y
    }
}

/// Splits a byte stream with start codes into its units.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut i = 0;
    while i + 3 <= stream.len() {
        if stream[i..i + 3] == [0, 0, 1] {
            starts.push(i + 3);
            i += 3;
        } else {
            i += 1;
        }
    }
    let ends = starts.iter().skip(1).map(|s| s - 3).chain([stream.len()]);
    let trim = |unit: &'_ [u8]| unit.len() - unit.iter().rev().take_while(|&&b| b == 0).count();
    starts.iter().zip(ends).map(|(&s, e)| &stream[s..e]).map(|u| &u[..trim(u)]).filter(|u| !u.is_empty()).collect()
}

/// Start codes to lengths, with the parameter sets taken out.
fn split(stream: &[u8]) -> (Packet, Option<CodecSetup>) {
    let mut packet = Packet { bytes: Vec::with_capacity(stream.len() + 16), key: false };
    let (mut sps, mut pps) = (None, None);
    for unit in units(stream) {
        match unit[0] & 31 {
            7 => sps = Some(unit.to_vec()),
            8 => pps = Some(unit.to_vec()),
            9 => {}
            kind => {
                packet.key |= kind == 5;
                packet.bytes.extend_from_slice(&(unit.len() as u32).to_be_bytes());
                packet.bytes.extend_from_slice(unit);
            }
        }
    }
    let setup = sps.zip(pps).map(|(sps, pps)| CodecSetup::H264 { sps, pps });
    (packet, setup)
}

/// Decodes frames of an mp4 track.
pub(crate) struct H264Decoder {
    decoder: Decoder,
    /// Parameter sets with start codes, put before every key frame.
    head: Vec<u8>,
    stream: Vec<u8>,
}

impl H264Decoder {
    pub(crate) fn new(sps: &[u8], pps: &[u8]) -> Self {
        let head = [&[0, 0, 0, 1], sps, &[0, 0, 0, 1], pps].concat();
        Self { decoder: Decoder::new(), head, stream: Vec::new() }
    }

    /// Forgets all reference pictures.
    pub(crate) fn reset(&mut self) {
        self.decoder = Decoder::new();
    }

    /// Feeds one frame; the picture is converted only when `wanted`.
    pub(crate) fn decode(&mut self, sample: &[u8], key: bool, wanted: bool) -> Result<Option<Image>, String> {
        self.stream.clear();
        if key {
            self.stream.extend_from_slice(&self.head);
        }
        let mut rest = sample;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let unit = tail.get(..length).ok_or("a unit lies beyond the end of its frame")?;
            self.stream.extend_from_slice(&[0, 0, 0, 1]);
            self.stream.extend_from_slice(unit);
            rest = &tail[length..];
        }
        let picture = self.decoder.decode(&self.stream).map_err(|e| format!("H.264: {e:?}"))?;
        let Some(p) = picture.filter(|_| wanted) else { return Ok(None) };
        let view = PlanesView {
            width: p.width,
            height: p.height,
            y: &p.y,
            u: &p.u,
            v: &p.v,
            luma_stride: p.width,
            chroma_stride: p.width.div_ceil(2),
            full_range: false,
        };
        view.to_image().map(Some).ok_or_else(|| "H.264: only 8-bit 4:2:0 pictures can be read".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(t: usize) -> Image {
        let mut image = Image::filled(64, 48, [40, 90, 160]);
        for y in 10..30 {
            for x in 0..16 {
                let at = (y * 64 + (x + t * 3) % 64) * 3;
                image.rgb[at..at + 3].copy_from_slice(&[230, 60, 20]);
            }
        }
        image
    }

    #[test]
    fn decoded_pictures_resemble_the_encoded_ones_at_every_distance_of_key_frames() {
        for gop in [1, GOP, GOP_UNDER_LOAD] {
            let mut encoder = H264Encoder::new(64, 48, 30).unwrap();
            let packets: Vec<_> = (0..7).map(|t| encoder.encode(&picture(t), gop).unwrap()).collect();
            let keys: Vec<_> = packets.iter().map(|p| p.key).collect();
            assert_eq!(keys, (0..7).map(|t| t % gop == 0).collect::<Vec<_>>());
            let Some(CodecSetup::H264 { sps, pps }) = encoder.setup() else { panic!("no parameter sets") };
            let mut decoder = H264Decoder::new(sps, pps);
            for (t, packet) in packets.iter().enumerate() {
                let image = decoder.decode(&packet.bytes, packet.key, true).unwrap().unwrap();
                let truth = picture(t);
                let error: u64 = image.rgb.iter().zip(&truth.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                assert!(error / (64 * 48 * 3) < 6, "mean error {} at frame {t}", error / (64 * 48 * 3));
            }
        }
    }

    #[test]
    fn a_cut_frame_is_an_error() {
        let mut encoder = H264Encoder::new(64, 48, 30).unwrap();
        let packet = encoder.encode(&picture(0), 2).unwrap();
        let mut decoder = H264Decoder::new(&[0x67, 66, 0, 30], &[0x68, 0]);
        assert!(decoder.decode(&packet.bytes[..packet.bytes.len() / 2], true, true).is_err());
    }
}
