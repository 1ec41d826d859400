//! What is on disk of an episode that is not finished: `.etude/pending/<name>/`, one folder an episode, with its rows
//! and encoded frames as they came. A cut episode is rebuilt from it; a finished one is moved out of it.
//!
//! Every file is a run of records: length (4 bytes), checksum (8 bytes), content. A record that was cut or damaged
//! ends the file.

use super::disk;
use super::error::{IoContext, Result};
use super::h264::Packet;
use super::mp4::CodecSetup;
use super::notes::Note;
use super::row::{Record, Source};
use super::schema::Info;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Records longer than this are damage.
const MAX_RECORD: u32 = 1 << 28;
const HEADER: usize = 12;

/// Folder of everything that is ours alone; LeRobot does not look into it.
pub(crate) fn private_dir(root: &Path) -> PathBuf {
    root.join(".etude")
}

/// Folder of the unfinished episodes.
pub(crate) fn pending_dir(root: &Path) -> PathBuf {
    private_dir(root).join("pending")
}

/// The journal of a camera inside an episode's folder.
pub(crate) fn camera_file(dir: &Path, camera: usize) -> PathBuf {
    dir.join(format!("camera-{camera}.bin"))
}

/// The journal of the rows inside an episode's folder.
pub(crate) fn rows_file(dir: &Path) -> PathBuf {
    dir.join("rows.bin")
}

/// A journal being written.
pub(crate) struct JournalWriter {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl JournalWriter {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        if let Some(dir) = path.parent() {
            disk::create_dir(dir)?;
        }
        let file = File::create(&path).at(&path, "create")?;
        Ok(Self { path, file, buffer: Vec::new() })
    }

    /// Appends a record made of two parts in one write, so that a kill leaves it whole or cut at its end.
    pub(crate) fn append(&mut self, head: &[u8], body: &[u8]) -> Result<()> {
        self.buffer.clear();
        self.buffer.resize(HEADER, 0);
        self.buffer.extend_from_slice(head);
        self.buffer.extend_from_slice(body);
        let (header, content) = self.buffer.split_at_mut(HEADER);
        header[..4].copy_from_slice(&(content.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&xxh3_64(content).to_le_bytes());
        self.file.write_all(&self.buffer).at(&self.path, "write")
    }

    /// Makes what was appended survive a power cut too.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().at(&self.path, "sync")
    }
}

/// Reads records in order, and any of them again by place.
pub(crate) struct JournalReader {
    path: PathBuf,
    file: File,
    /// Content of each whole record.
    pub(crate) records: Vec<Range<u64>>,
}

impl JournalReader {
    /// Finds the whole records of `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at(path, "open")?;
        let length = file.metadata().at(path, "read")?.len();
        let mut reader = Self { path: path.into(), file, records: Vec::new() };
        let (mut at, mut content) = (0u64, Vec::new());
        let mut header = [0u8; HEADER];
        while at + HEADER as u64 <= length {
            reader.read_at(at, &mut header)?;
            let (size, sum) = header.split_at(4);
            let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
            let end = at + HEADER as u64 + u64::from(size);
            if size > MAX_RECORD || end > length {
                break;
            }
            content.resize(size as usize, 0);
            reader.read_at(at + HEADER as u64, &mut content)?;
            if xxh3_64(&content).to_le_bytes() != sum {
                break;
            }
            reader.records.push(at + HEADER as u64..end);
            at = end;
        }
        Ok(reader)
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> Result<()> {
        self.file.seek(SeekFrom::Start(at)).at(&self.path, "seek in")?;
        self.file.read_exact(out).at(&self.path, "read")
    }

    /// Appends the content of record `i`, without its first `skip` bytes, to `out`.
    pub(crate) fn content(&mut self, i: usize, skip: u64, out: &mut Vec<u8>) -> Result<()> {
        let range = self.records.get(i).cloned().unwrap_or(0..0);
        let start = out.len();
        out.resize(start + range.end.saturating_sub(range.start + skip) as usize, 0);
        self.read_at(range.start + skip, &mut out[start..])
    }
}

// First byte of a camera's record.
const SETUP: u8 = 0;
const FRAME: u8 = 1;
const KEY_FRAME: u8 = 2;

/// Appends the parameter sets; always the first record.
pub(crate) fn append_setup(journal: &mut JournalWriter, setup: &CodecSetup) -> Result<()> {
    let CodecSetup::H264 { sps, pps } = setup else { return Ok(()) };
    journal.append(&[SETUP, sps.len() as u8], &[sps.as_slice(), pps].concat())
}

/// Appends an encoded frame.
pub(crate) fn append_packet(journal: &mut JournalWriter, packet: &Packet) -> Result<()> {
    journal.append(&[if packet.key { KEY_FRAME } else { FRAME }], &packet.bytes)
}

/// Encoded frames of a camera as found in its journal.
pub(crate) struct JournalTrack {
    reader: JournalReader,
    pub(crate) setup: CodecSetup,
    /// Size and key mark of each frame.
    pub(crate) samples: Vec<(u32, bool)>,
}

impl JournalTrack {
    /// `None` when not even the parameter sets were written.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let mut reader = JournalReader::open(path)?;
        let mut first = Vec::new();
        if reader.records.is_empty() {
            return Ok(None);
        }
        reader.content(0, 0, &mut first)?;
        let [SETUP, split, sets @ ..] = first.as_slice() else { return Ok(None) };
        let Some((sps, pps)) = sets.split_at_checked(usize::from(*split)) else { return Ok(None) };
        let setup = CodecSetup::H264 { sps: sps.to_vec(), pps: pps.to_vec() };
        let mut samples = Vec::new();
        for i in 1..reader.records.len() {
            let (range, mut kind) = (reader.records[i].clone(), [0]);
            reader.read_at(range.start, &mut kind)?;
            samples.push(((range.end - range.start).saturating_sub(1) as u32, kind[0] == KEY_FRAME));
        }
        Ok(Some(Self { reader, setup, samples }))
    }

    /// Appends the bytes of frame `i` to `out`.
    pub(crate) fn read(&mut self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        self.reader.content(i + 1, 1, out)
    }
}

/// What is known about an unfinished episode besides rows and frames.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) task: String,
    /// Seconds since 1970.
    pub(crate) started_unix_s: u64,
    pub(crate) joints: usize,
    pub(crate) cameras: Vec<String>,
    /// Noted about the episode.
    #[serde(default)]
    pub(crate) note: Note,
}

/// Writes the header and the features into an episode's folder.
pub(crate) fn write_header(dir: &Path, header: &Header, info: &Info) -> Result<()> {
    disk::create_dir(dir)?;
    disk::write_synced(&dir.join("features.json"), info.to_text().as_bytes())?;
    disk::replace(&dir.join("episode.json"), super::schema::to_pretty(header).as_bytes())
}

/// An episode that was cut off, by a kill, a power cut or a full disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutEpisode {
    /// Its folder below `.etude/pending`.
    pub dir: PathBuf,
    /// What the operator was doing.
    pub task: String,
    /// When it began, seconds since 1970.
    pub started_unix_s: u64,
    /// Rows that have all their pictures: what recovery can bring back.
    pub frames: usize,
    /// Who drove when it began.
    pub source: Source,
}

/// The cut episodes of a dataset, oldest first. Folders from which nothing can be recovered are removed.
pub(crate) fn cut_episodes(root: &Path, features: &Info) -> Result<Vec<CutEpisode>> {
    let mut found = Vec::new();
    for dir in disk::list(&pending_dir(root))? {
        let header = read_header(&dir);
        let same = |h: &Header| h.cameras.iter().eq(features.videos().map(|f| &f.key));
        let frames = match &header {
            Some(header) if same(header) => whole_rows(&dir, header)?,
            _ => 0,
        };
        match header {
            Some(Header { task, started_unix_s, joints, .. }) if frames > 0 => {
                let source = read_rows(&dir, joints)?.first().map_or(Source::default(), |row| row.extra.source);
                found.push(CutEpisode { dir, task, started_unix_s, frames, source });
            }
            _ => disk::remove_dir(&dir)?,
        }
    }
    found.sort_by_key(|c| c.started_unix_s);
    Ok(found)
}

pub(crate) fn read_header(dir: &Path) -> Option<Header> {
    serde_json::from_slice(&std::fs::read(dir.join("episode.json")).ok()?).ok()
}

fn whole_rows(dir: &Path, header: &Header) -> Result<usize> {
    if !rows_file(dir).exists() {
        return Ok(0);
    }
    let mut rows = JournalReader::open(&rows_file(dir))?.records.len();
    for camera in 0..header.cameras.len() {
        let path = camera_file(dir, camera);
        let frames = if path.exists() { JournalTrack::open(&path)?.map_or(0, |t| t.samples.len()) } else { 0 };
        rows = rows.min(frames);
    }
    Ok(rows)
}

/// The rows in a journal, up to the first damaged one.
pub(crate) fn read_rows(dir: &Path, joints: usize) -> Result<Vec<Record>> {
    let mut reader = JournalReader::open(&rows_file(dir))?;
    let mut records = Vec::new();
    let mut bytes = Vec::new();
    for i in 0..reader.records.len() {
        bytes.clear();
        reader.content(i, 0, &mut bytes)?;
        let Some(record) = Record::from_bytes(&bytes, joints) else { break };
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_damaged_record_ends_the_journal_and_keeps_the_ones_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.bin");
        let mut writer = JournalWriter::create(path.clone()).unwrap();
        for i in 0..5u8 {
            writer.append(&[i], &[i; 20]).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let reader = JournalReader::open(&path).unwrap();
            assert_eq!(reader.records.len(), cut / (whole.len() / 5));
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(JournalReader::open(&path).unwrap().records.len(), 2);
    }
}
