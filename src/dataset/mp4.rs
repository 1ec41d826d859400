//! mp4 files with one video track of constant frame rate: written with the index first, read with any order of boxes.

use super::error::{DatasetError, IoContext, RESTORE, Result, guarded};
use mp4_atom::{
    Atom, Av01, Av1c, Avc1, Avcc, Co64, Codec, Decode, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov,
    Mvhd, Stbl, Stsc, StscEntry, Stsd, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Url, Visual, Vmhd,
};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Ticks of one frame; with a time scale of 512 fps every frame time is a whole number, as in LeRobot's files.
const FRAME_TICKS: u32 = 512;
/// No sensible recording has an index larger than this.
const MAX_INDEX_BYTES: u64 = 1 << 30;

/// What a decoder needs before the first frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CodecSetup {
    /// H.264 parameter sets without start codes.
    H264 { sps: Vec<u8>, pps: Vec<u8> },
    /// AV1's configuration box.
    Av1(Box<Av1c>),
}

impl CodecSetup {
    /// The name that LeRobot writes into `info.json`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::H264 { .. } => "h264",
            Self::Av1(_) => "av1",
        }
    }
}

/// A finished track, without its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub(crate) setup: CodecSetup,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) fps: u32,
    /// Bytes of each frame and whether decoding can begin there.
    pub(crate) samples: Vec<(u32, bool)>,
}

impl Track {
    /// Everything before the first frame's bytes.
    fn head(&self) -> Result<Vec<u8>, mp4_atom::Error> {
        let mut head = Vec::new();
        let brands = vec![b"isom".into(), b"iso2".into(), b"mp41".into()];
        Ftyp { major_brand: b"isom".into(), minor_version: 512, compatible_brands: brands }.encode(&mut head)?;
        let data: u64 = self.samples.iter().map(|s| u64::from(s.0)).sum();
        // 64-bit chunk offsets keep the index's length independent of where the data begins.
        let mut index = Vec::new();
        self.index(0)?.encode(&mut index)?;
        let start = (head.len() + index.len() + 16) as u64;
        self.index(start)?.encode(&mut head)?;
        head.extend_from_slice(&1u32.to_be_bytes());
        head.extend_from_slice(b"mdat");
        head.extend_from_slice(&(data + 16).to_be_bytes());
        Ok(head)
    }

    fn index(&self, start: u64) -> Result<Moov, mp4_atom::Error> {
        let count = self.samples.len() as u32;
        let timescale = self.fps * FRAME_TICKS;
        let duration = u64::from(count) * u64::from(FRAME_TICKS);
        let visual = Visual {
            data_reference_index: 1,
            width: self.width as u16,
            height: self.height as u16,
            horizresolution: 72.into(),
            vertresolution: 72.into(),
            frame_count: 1,
            compressor: "".into(),
            depth: 24,
        };
        let codec: Codec = match &self.setup {
            CodecSetup::H264 { sps, pps } => Avc1 { visual, avcc: Avcc::new(sps, pps)?, ..Default::default() }.into(),
            CodecSetup::Av1(setup) => Av01 { visual, av1c: (**setup).clone(), ..Default::default() }.into(),
        };
        let keys = self.samples.iter().enumerate().filter(|(_, s)| s.1).map(|(i, _)| i as u32 + 1).collect();
        let chunk = StscEntry { first_chunk: 1, samples_per_chunk: count, sample_description_index: 1 };
        let stbl = Stbl {
            stsd: Stsd { codecs: vec![codec] },
            stts: Stts { entries: vec![SttsEntry { sample_count: count, sample_delta: FRAME_TICKS }] },
            stss: Some(Stss { entries: keys }),
            stsc: Stsc { entries: vec![chunk] },
            stsz: Stsz { samples: StszSamples::Different { sizes: self.samples.iter().map(|s| s.0).collect() } },
            co64: Some(Co64 { entries: vec![start] }),
            ..Default::default()
        };
        let dref = Dref { entries: vec![Url { location: "".into() }.into()] };
        let mdia = Mdia {
            mdhd: Mdhd { timescale, duration, language: "und".into(), ..Default::default() },
            hdlr: Hdlr { handler: b"vide".into(), name: "VideoHandler".into() },
            minf: Minf { vmhd: Some(Vmhd::default()), dinf: Dinf { dref }, stbl, ..Default::default() },
        };
        let tkhd = Tkhd {
            track_id: 1,
            duration,
            enabled: true,
            in_movie: true,
            width: (self.width as u16).into(),
            height: (self.height as u16).into(),
            ..Default::default()
        };
        Ok(Moov {
            mvhd: Mvhd {
                timescale,
                duration,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: 2,
                ..Default::default()
            },
            trak: vec![Trak { tkhd, mdia, ..Default::default() }],
            ..Default::default()
        })
    }

    /// Writes and syncs a file; `next` appends the bytes of frame `i` to the buffer it is given.
    pub(crate) fn write(&self, path: &Path, mut next: impl FnMut(usize, &mut Vec<u8>) -> Result<()>) -> Result<()> {
        let head =
            self.head().map_err(|e| DatasetError::invalid(path, "index", e.to_string(), "Please report this"))?;
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path).at(path, "create")?);
        out.write_all(&head).at(path, "write")?;
        let mut sample = Vec::new();
        for (i, &(size, _)) in self.samples.iter().enumerate() {
            sample.clear();
            next(i, &mut sample)?;
            if sample.len() != size as usize {
                return Err(DatasetError::Video { path: path.into(), frame: i, problem: "changed its size".into() });
            }
            out.write_all(&sample).at(path, "write")?;
        }
        let file = out.into_inner().map_err(|e| e.into_error()).at(path, "write")?;
        file.sync_all().at(path, "sync")
    }
}

/// Where a frame's bytes lie and when it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    offset: u64,
    size: u32,
    /// Time of display in ticks of the track.
    pts: i64,
    /// Whether decoding can begin here.
    pub(crate) key: bool,
}

/// An open mp4 file: frames are found by time and handed out undecoded.
#[derive(Debug)]
pub(crate) struct Mp4 {
    path: PathBuf,
    file: File,
    pub(crate) width: usize,
    pub(crate) height: usize,
    timescale: u32,
    pub(crate) setup: CodecSetup,
    /// In decoding order.
    pub(crate) samples: Vec<Sample>,
    /// Decoding indices in the order of display.
    order: Vec<u32>,
}

impl Mp4 {
    /// Reads the index of `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).at(path, "open")?;
        let length = file.metadata().at(path, "read")?.len();
        let index = find_index(path, &mut file, length)?;
        guarded(path, "index", || {
            let mut bytes = index.as_slice();
            let moov =
                Moov::decode(&mut bytes).map_err(|e| DatasetError::invalid(path, "moov", e.to_string(), RESTORE))?;
            Self::from_index(path, file, length, &moov)
        })
    }

    fn from_index(path: &Path, file: File, length: u64, moov: &Moov) -> Result<Self> {
        let bad = |key: &str, problem: &str| DatasetError::invalid(path, key, problem, RESTORE);
        let is_video = |t: &&Trak| t.mdia.hdlr.handler == FourCC::new(b"vide");
        let trak = moov.trak.iter().find(is_video).ok_or_else(|| bad("trak", "there is no video track"))?;
        let table = &trak.mdia.minf.stbl;
        let (setup, visual) = match table.stsd.codecs.first() {
            Some(Codec::Avc1(a)) => {
                let sets = (a.avcc.sequence_parameter_sets.first(), a.avcc.picture_parameter_sets.first());
                let (Some(sps), Some(pps)) = sets else { return Err(bad("avcC", "parameter sets are missing")) };
                (CodecSetup::H264 { sps: sps.clone(), pps: pps.clone() }, &a.visual)
            }
            Some(Codec::Av01(a)) => (CodecSetup::Av1(Box::new(a.av1c.clone())), &a.visual),
            _ => return Err(bad("stsd", "the codec is neither H.264 nor AV1")),
        };
        let timescale = trak.mdia.mdhd.timescale;
        if timescale == 0 {
            return Err(bad("mdhd", "the time scale is zero"));
        }
        let sizes: Vec<u32> = match &table.stsz.samples {
            StszSamples::Different { sizes } => sizes.clone(),
            StszSamples::Identical { count, size } if u64::from(*count) * u64::from((*size).max(1)) <= length => {
                vec![*size; *count as usize]
            }
            StszSamples::Identical { .. } => return Err(bad("stsz", "more bytes than the file has")),
        };
        let times = display_times(path, trak, sizes.len())?;
        let mut samples = place_samples(path, table, &sizes, length)?;
        for (sample, pts) in samples.iter_mut().zip(&times) {
            sample.pts = *pts;
        }
        if let Some(keys) = &table.stss {
            for &i in &keys.entries {
                let sample = samples.get_mut((i as usize).wrapping_sub(1));
                sample.ok_or_else(|| bad("stss", "a key frame beyond the end"))?.key = true;
            }
        } else {
            samples.iter_mut().for_each(|s| s.key = true);
        }
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        order.sort_by_key(|&i| samples[i as usize].pts);
        let (width, height) = (visual.width.into(), visual.height.into());
        Ok(Self { path: path.into(), file, width, height, timescale, setup, samples, order })
    }

    /// The file's path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Decoding index and time of the frame shown nearest to `time_s`.
    pub(crate) fn at_time(&self, time_s: f64) -> Option<(usize, f64)> {
        let wanted = (time_s * f64::from(self.timescale)).round() as i64;
        let pts = |place: usize| self.samples[self.order[place] as usize].pts;
        let after = self.order.partition_point(|&i| self.samples[i as usize].pts < wanted);
        let near = [after.checked_sub(1), (after < self.order.len()).then_some(after)];
        let place = near.into_iter().flatten().min_by_key(|&p| pts(p).abs_diff(wanted))?;
        Some((self.order[place] as usize, pts(place) as f64 / f64::from(self.timescale)))
    }

    /// Appends the bytes of frame `i` (in decoding order) to `out`.
    pub(crate) fn read(&mut self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        let Some(sample) = self.samples.get(i) else {
            return Err(DatasetError::Video { path: self.path.clone(), frame: i, problem: "there is none".into() });
        };
        let start = out.len();
        out.resize(start + sample.size as usize, 0);
        self.file.seek(SeekFrom::Start(sample.offset)).at(&self.path, "seek in")?;
        self.file.read_exact(&mut out[start..]).at(&self.path, "read")
    }

    /// Bytes of frame `i`.
    pub(crate) fn size(&self, i: usize) -> u32 {
        self.samples.get(i).map_or(0, |s| s.size)
    }

    /// Place in the order of display of each sample, in decoding order.
    pub(crate) fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.samples.len()];
        for (place, &index) in self.order.iter().enumerate() {
            if let Some(slot) = places.get_mut(index as usize) {
                *slot = place;
            }
        }
        places
    }

    /// Mean rate of the frames, if there are two of them at different times.
    pub(crate) fn fps(&self) -> Option<f64> {
        let pts = |index: &u32| self.samples.get(*index as usize).map(|sample| sample.pts);
        let ticks = pts(self.order.last()?)? - pts(self.order.first()?)?;
        (ticks > 0).then(|| (self.order.len() - 1) as f64 * f64::from(self.timescale) / ticks as f64)
    }

    /// Whether frames are stored in the order of display, so that a run of them can be copied.
    pub(crate) fn is_in_order(&self) -> bool {
        self.order.iter().enumerate().all(|(i, &o)| i == o as usize)
    }
}

/// The bytes of the `moov` box.
fn find_index(path: &Path, file: &mut File, length: u64) -> Result<Vec<u8>> {
    let bad = |problem: &str| DatasetError::invalid(path, "boxes", problem, RESTORE);
    let mut at = 0u64;
    while at + 8 <= length {
        let mut header = [0u8; 16];
        file.seek(SeekFrom::Start(at)).at(path, "seek in")?;
        file.read_exact(&mut header[..8]).at(path, "read")?;
        let (short, rest) = header.split_at_mut(8);
        let mut size = u64::from(u32::from_be_bytes([short[0], short[1], short[2], short[3]]));
        if size == 1 {
            file.read_exact(rest).at(path, "read")?;
            size = u64::from_be_bytes([rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]]);
        } else if size == 0 {
            size = length - at;
        }
        if size < 8 || size > length - at {
            return Err(bad("the file was cut short"));
        }
        if &short[4..8] == Moov::KIND.as_ref() {
            if size > MAX_INDEX_BYTES {
                return Err(bad("the index is impossibly large"));
            }
            let mut bytes = vec![0; size as usize];
            file.seek(SeekFrom::Start(at)).at(path, "seek in")?;
            file.read_exact(&mut bytes).at(path, "read")?;
            return Ok(bytes);
        }
        at += size;
    }
    Err(bad("there is no index: the recording was cut before the file was finished"))
}

/// Time of display of each of `count` frames, in ticks.
fn display_times(path: &Path, trak: &Trak, count: usize) -> Result<Vec<i64>> {
    let table = &trak.mdia.minf.stbl;
    let mut times = Vec::with_capacity(count);
    let mut now = 0i64;
    for entry in &table.stts.entries {
        let left = (count - times.len()).min(entry.sample_count as usize);
        for _ in 0..left {
            times.push(now);
            now += i64::from(entry.sample_delta);
        }
    }
    if times.len() != count {
        return Err(DatasetError::invalid(path, "stts", "frame times are missing", RESTORE));
    }
    if let Some(shifts) = &table.ctts {
        let mut i = 0;
        for entry in &shifts.entries {
            let end = i + (entry.sample_count as usize).min(count - i);
            times[i..end].iter_mut().for_each(|t| *t += entry.sample_offset);
            i = end;
        }
    }
    let edit = trak.edts.as_ref().and_then(|e| e.elst.as_ref()).and_then(|e| e.entries.first());
    let start = edit.and_then(|e| e.media_time).map_or(0, |t| t as i64);
    times.iter_mut().for_each(|t| *t = t.wrapping_sub(start));
    Ok(times)
}

/// Offset and size of each frame, checked against the file's length.
fn place_samples(path: &Path, table: &Stbl, sizes: &[u32], length: u64) -> Result<Vec<Sample>> {
    let bad = |key: &str, problem: &str| DatasetError::invalid(path, key, problem, RESTORE);
    let offsets: Vec<u64> = match (&table.stco, &table.co64) {
        (Some(short), _) => short.entries.iter().map(|&o| o.into()).collect(),
        (None, Some(long)) => long.entries.clone(),
        (None, None) => return Err(bad("stco", "frame positions are missing")),
    };
    let mut samples = Vec::with_capacity(sizes.len());
    let mut run = 0;
    for (chunk, &start) in offsets.iter().enumerate() {
        let entries = &table.stsc.entries;
        while entries.get(run + 1).is_some_and(|next| next.first_chunk as usize <= chunk + 1) {
            run += 1;
        }
        let per_chunk = entries.get(run).ok_or_else(|| bad("stsc", "the table is empty"))?.samples_per_chunk as usize;
        let mut offset = start;
        for &size in sizes.iter().skip(samples.len()).take(per_chunk) {
            let end = offset.checked_add(size.into()).filter(|&e| e <= length);
            samples.push(Sample { offset, size, pts: 0, key: false });
            offset = end.ok_or_else(|| bad("stco", "a frame lies beyond the end: the file was cut short"))?;
        }
    }
    if samples.len() != sizes.len() {
        return Err(bad("stsc", "frame positions are missing"));
    }
    Ok(samples)
}
