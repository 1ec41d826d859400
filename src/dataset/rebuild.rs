//! Builds a new dataset out of episodes of others: the common part of every edit. Videos are linked or copied without
//! decoding wherever a cut falls on a key frame.

use super::catalog::{self, Episode, FileRef, VideoRef, episodes_path, expand};
use super::commit::features_entry;
use super::disk;
use super::error::{DatasetError, RESTORE, Result};
use super::h264::{GOP, H264Encoder};
use super::mp4::{CodecSetup, Mp4, Track};
use super::notes::Note;
use super::reader::Dataset;
use super::row::{Outcome, timestamp_s};
use super::schema::{DATA_PATH, DEFAULT_COLUMNS, Info, VERSION, VIDEO_PATH, extra};
use super::segments::Segments;
use super::stats::{ImageStats, Stats};
use super::table::{self, Column, Layout, Table, Values};
use super::video::Video;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// An episode of the new dataset.
pub(crate) struct Part<'a> {
    pub(crate) source: &'a Dataset,
    /// The episode there.
    pub(crate) episode: usize,
    /// Which of its rows.
    pub(crate) rows: Range<usize>,
    /// Another verdict over it.
    pub(crate) verdict: Option<Outcome>,
    /// Other marks of its segments; `Some(None)`: none any more.
    pub(crate) segments: Option<Option<Segments>>,
}

impl<'a> Part<'a> {
    /// A whole episode.
    pub(crate) fn whole(source: &'a Dataset, episode: &Episode) -> Self {
        Self { source, episode: episode.index, rows: 0..episode.length, verdict: None, segments: None }
    }
}

/// How episodes are put into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Each into its own, as they are recorded.
    PerEpisode,
    /// Many into one, up to LeRobot's sizes.
    Large,
}

/// Where the bytes of encoded frames are.
enum Frames {
    /// In an mp4 file, at these decoding indices.
    File { path: PathBuf, indices: Range<usize> },
    /// In memory, one after the other.
    Memory(Vec<u8>),
}

/// Encoded frames that will follow each other in a new file.
pub(crate) struct Piece {
    frames: Frames,
    /// Whether the piece is a whole file.
    is_whole: bool,
    track: Track,
}

impl Piece {
    /// Frames that were just encoded: `bytes` holds them one after the other, of the sizes that `track` lists.
    pub(crate) fn in_memory(track: Track, bytes: Vec<u8>) -> Self {
        Self { frames: Frames::Memory(bytes), is_whole: false, track }
    }

    fn len(&self) -> usize {
        self.track.samples.len()
    }
}

/// An episode without its place in the dataset: what [`Builder::push`] adds.
pub(crate) struct NewEpisode {
    pub(crate) length: usize,
    /// Task text of each row; a single one stands for all rows.
    pub(crate) tasks: Vec<String>,
    /// Columns by name, without those that every dataset has.
    pub(crate) columns: Vec<Column>,
    /// One entry a camera, in the features' order, with the statistics of its pictures.
    pub(crate) videos: Vec<(Piece, Stats)>,
}

/// Puts a new dataset together, episode by episode. What it writes depends on the episodes and their order alone.
pub(crate) struct Builder<'a> {
    target: &'a Path,
    files: Files,
    info: Info,
    tasks: Vec<String>,
    episodes: Vec<Episode>,
    data: Vec<Vec<Column>>,
    data_bytes: usize,
    data_file: FileRef,
    /// For each camera the file being filled and its pieces.
    videos: Vec<(FileRef, Vec<Piece>)>,
    /// For each camera the codecs that occur.
    codecs: Vec<BTreeSet<&'static str>>,
    /// The source file of rows that was read last: the next episode is often in it too.
    table: Option<(PathBuf, Table)>,
    /// For each camera the source video that was opened last.
    open: Vec<Option<(PathBuf, Video)>>,
}

/// Writes the files of a dataset like `source` that has no episode into the folder `target`.
pub(crate) fn build_empty(target: &Path, source: &Dataset) -> Result<Info> {
    let info = new_info(source, &[])?;
    disk::create_dir(&target.join("meta"))?;
    disk::write_synced(&target.join("meta/info.json"), info.to_text().as_bytes())?;
    sync_tree(target)?;
    Ok(info)
}

/// Builds a dataset of `parts` in the folder `target`, which must not hold one; `alter` may change what its `info.json`
/// says. Every file is synced.
pub(crate) fn build(target: &Path, parts: &[Part], files: Files, alter: impl FnOnce(&mut Info)) -> Result<Info> {
    let Some(first) = parts.first() else {
        return Err(DatasetError::request("episodes", "none would be left", "Delete the folder instead"));
    };
    let mut info = new_info(first.source, parts)?;
    alter(&mut info);
    let mut builder = Builder::new(target, files, info);
    for (number, part) in parts.iter().enumerate() {
        builder.add(number, part)?;
    }
    builder.finish()
}

fn new_info(first: &Dataset, parts: &[Part]) -> Result<Info> {
    let mut info = first.info().clone();
    if let Some(pictures) = info.features.iter().find(|f| f.dtype == "image") {
        let remedy = "Convert the pictures to video with LeRobot first";
        return Err(DatasetError::request(&pictures.key, "pictures inside parquet files cannot be edited", remedy));
    }
    if info.is_v21() {
        info.version = VERSION.into();
        info.rest.remove("total_chunks");
        info.rest.remove("total_videos");
    }
    info.data_path = DATA_PATH.into();
    let has_video = info.videos().next().is_some();
    info.video_path = has_video.then(|| VIDEO_PATH.into());
    for part in parts {
        let mut theirs = part.source.info().clone();
        theirs.version = info.version.clone();
        let differences = info.differences(&theirs);
        if !differences.is_empty() {
            return Err(DatasetError::Mismatch { root: part.source.root().into(), differences });
        }
    }
    (info.total_episodes, info.total_frames, info.total_tasks) = (0, 0, 0);
    info.clear_notes();
    Ok(info)
}

impl<'a> Builder<'a> {
    /// Begins a dataset in the folder `target`, which must not hold one; `info` counts no episodes yet.
    pub(crate) fn new(target: &'a Path, files: Files, info: Info) -> Self {
        let cameras = info.videos().count();
        let (tasks, episodes, data) = Default::default();
        let start = FileRef::default();
        Builder {
            target,
            files,
            info,
            tasks,
            episodes,
            data,
            data_bytes: 0,
            data_file: start,
            videos: (0..cameras).map(|_| (start, Vec::new())).collect(),
            codecs: vec![BTreeSet::new(); cameras],
            table: None,
            open: (0..cameras).map(|_| None).collect(),
        }
    }

    fn add(&mut self, number: usize, part: &Part) -> Result<()> {
        let old = part.source.episode(part.episode)?;
        if part.rows.is_empty() || part.rows.end > old.length {
            let problem = format!("rows {}..{} of {}", part.rows.start, part.rows.end, old.length);
            return Err(DatasetError::request(format!("episode {}", part.episode), problem, "Keep at least one row"));
        }
        let (tasks, columns) = self.columns(part, old)?;
        let cameras: Vec<String> = self.info.videos().map(|f| f.key.clone()).collect();
        let mut videos = Vec::new();
        for (i, key) in cameras.iter().enumerate() {
            let stats = match old.stats.iter().find(|s| s.0 == *key) {
                Some((_, stats)) if part.rows.len() == old.length && stats.quantiles.is_some() => stats.clone(),
                _ => picture_stats(part, old, key)?,
            };
            videos.push((self.piece(part, old, i, key, number)?, stats));
        }
        self.info.add_note(self.episodes.len(), note_of(part).as_ref());
        self.push(NewEpisode { length: part.rows.len(), tasks, columns, videos })
    }

    /// Adds an episode at the end.
    pub(crate) fn push(&mut self, new: NewEpisode) -> Result<()> {
        let count = new.length;
        let mut episode = Episode {
            index: self.episodes.len(),
            tasks: Vec::new(),
            length: count,
            data: self.data_file,
            from: self.info.total_frames,
            videos: Vec::new(),
            stats: Vec::new(),
        };
        let mut tasks = Vec::with_capacity(count);
        for text in new.tasks {
            if !episode.tasks.contains(&text) {
                episode.tasks.push(text.clone());
            }
            let place = self.tasks.iter().position(|t| *t == text).unwrap_or_else(|| {
                self.tasks.push(text);
                self.tasks.len() - 1
            });
            tasks.push(place as i64);
        }
        tasks.resize(count, tasks.first().copied().unwrap_or(0));
        let mut given = new.columns;
        let mut columns = Vec::new();
        for feature in self.info.features.iter().filter(|f| !f.is_video()) {
            let values = match feature.key.as_str() {
                "timestamp" => Values::F32((0..count).map(|i| timestamp_s(i, self.info.fps)).collect()),
                "frame_index" => Values::I64((0..count as i64).collect()),
                "episode_index" => Values::I64(vec![episode.index as i64; count]),
                "index" => Values::I64((episode.from..episode.from + count).map(|i| i as i64).collect()),
                "task_index" => Values::I64(std::mem::take(&mut tasks)),
                key => {
                    let place = given.iter().position(|c| c.name == key).ok_or_else(|| {
                        let problem = "the episode has no such column";
                        DatasetError::request(key, problem, "Give every column of the dataset")
                    })?;
                    columns.push(given.swap_remove(place));
                    continue;
                }
            };
            columns.push(Column::scalar(&feature.key, values));
        }
        let cameras: Vec<String> = self.info.videos().map(|f| f.key.clone()).collect();
        let mut picture_stats = Vec::new();
        for (i, (key, (piece, stats))) in cameras.iter().zip(new.videos).enumerate() {
            episode.videos.push(self.add_piece(i, key, piece)?);
            picture_stats.push(stats);
        }
        let mut picture_stats = picture_stats.into_iter();
        for feature in &self.info.features {
            let stats = match columns.iter().find(|c| c.name == feature.key) {
                Some(column) => column.values.to_f64().zip(column.width()).map(|(v, w)| Stats::of_rows(&v, w)),
                None => picture_stats.next(),
            };
            episode.stats.extend(stats.map(|s| (feature.key.clone(), s)));
        }
        self.data_bytes += columns.iter().map(size_of_column).sum::<usize>();
        self.data.push(columns);
        self.info.total_frames += episode.length;
        self.episodes.push(episode);
        let full = self.data_bytes >= self.info.data_files_size_mib << 20;
        if self.files == Files::PerEpisode || full {
            self.flush_data()?;
        }
        Ok(())
    }

    /// Task texts and columns of a part, without the columns that every dataset has.
    fn columns(&mut self, part: &Part, old: &Episode) -> Result<(Vec<String>, Vec<Column>)> {
        let source = part.source;
        let path = source.catalog().data_path(source.root(), old);
        let table = match self.table.take() {
            Some((kept, table)) if kept == path => table,
            _ => table::read(&path, |_| true)?,
        };
        let first = source.catalog().row_in_file(old) + part.rows.start;
        let rows = first..first + part.rows.len();
        let numbers = table.i64s(&path, "task_index")?.get(rows.clone()).unwrap_or_default().to_vec();
        let mut tasks = Vec::with_capacity(numbers.len());
        for number in numbers {
            let text = usize::try_from(number).ok().and_then(|n| source.tasks().get(n)).ok_or_else(|| {
                DatasetError::invalid(&path, "task_index", format!("there is no task {number}"), RESTORE)
            })?;
            tasks.push(text.clone());
        }
        let mut columns = Vec::new();
        let own = |key: &str| DEFAULT_COLUMNS.iter().all(|c| c.0 != key);
        for feature in self.info.features.iter().filter(|f| !f.is_video() && own(&f.key)) {
            let begin = first - part.rows.start;
            let column = table.get(&feature.key).and_then(|c| match feature.key.as_str() {
                extra::WORLD => told_first(c, begin, rows.clone()),
                _ => slice(c, rows.clone()),
            });
            let damaged = || DatasetError::invalid(&path, &feature.key, "the column is missing or short", RESTORE);
            let mut column = column.ok_or_else(damaged)?;
            if let Some(verdict) = part.verdict {
                judge(&mut column, verdict);
            }
            columns.push(column);
        }
        self.table = Some((path, table));
        Ok((tasks, columns))
    }

    /// The encoded frames of a part: where they lie, if a file can begin with the first, else encoded anew.
    fn piece(&mut self, part: &Part, old: &Episode, camera: usize, key: &str, number: usize) -> Result<Piece> {
        let source = part.source;
        let lost = || DatasetError::request(key, "the episode has no such video", "Restore meta/episodes from a copy");
        let video = old.video(key).ok_or_else(lost)?;
        let path = source.catalog().video_path(source.root(), old, video).ok_or_else(lost)?;
        let fps = self.info.fps;
        let mut open = match self.open[camera].take() {
            Some((kept, open)) if kept == path => open,
            _ => Video::open(&path)?,
        };
        let time = |row: usize| video.from_s + row as f64 / f64::from(fps);
        let (first, last) = (open.index_at(time(part.rows.start))?, open.index_at(time(part.rows.end - 1))?);
        let indices = first..last + 1;
        let is_run = indices.len() == part.rows.len() && open.mp4.is_in_order();
        if is_run && open.mp4.samples[first].key {
            let is_whole = indices.len() == open.len();
            let track = track_of(&open.mp4, indices.clone(), fps);
            self.open[camera] = Some((path.clone(), open));
            return Ok(Piece { track, frames: Frames::File { path, indices }, is_whole });
        }
        let path = self.target.join("recoded").join(format!("{number}-{key}.mp4"));
        encode_again(&mut open, part, time, fps, &path)?;
        let mp4 = Mp4::open(&path)?;
        let indices = 0..mp4.samples.len();
        let track = track_of(&mp4, indices.clone(), fps);
        Ok(Piece { track, frames: Frames::File { path, indices }, is_whole: true })
    }

    /// Puts a piece into the camera's file, beginning a new one when it does not fit.
    fn add_piece(&mut self, camera: usize, key: &str, piece: Piece) -> Result<VideoRef> {
        let size = |p: &Piece| p.track.samples.iter().map(|s| u64::from(s.0)).sum::<u64>();
        self.codecs[camera].insert(piece.track.setup.name());
        let (_, pieces) = &self.videos[camera];
        let fits = pieces.last().is_none_or(|last| {
            let same = (&last.track.setup, last.track.width, last.track.height)
                == (&piece.track.setup, piece.track.width, piece.track.height);
            let bytes = pieces.iter().map(size).sum::<u64>() + size(&piece);
            same && self.files == Files::Large && bytes < (self.info.video_files_size_mib as u64) << 20
        });
        if !fits {
            self.flush_video(camera, key)?;
        }
        let (file, pieces) = &mut self.videos[camera];
        let before: usize = pieces.iter().map(Piece::len).sum();
        let seconds = |frames: usize| frames as f64 / f64::from(self.info.fps);
        let (from_s, to_s) = (seconds(before), seconds(before + piece.len()));
        pieces.push(piece);
        Ok(VideoRef { key: key.into(), file: *file, from_s, to_s })
    }

    fn flush_video(&mut self, camera: usize, key: &str) -> Result<()> {
        let template = self.info.video_path.clone().unwrap_or_default();
        let (file, pieces) = &mut self.videos[camera];
        let to = self.target.join(expand(&template, *file, 0, key));
        *file = file.next(self.info.chunks_size);
        let pieces = std::mem::take(pieces);
        if let [Piece { frames: Frames::File { path, .. }, is_whole: true, .. }] = pieces.as_slice() {
            return disk::link_or_copy(path, &to);
        }
        let Some(first) = pieces.first() else { return Ok(()) };
        let samples: Vec<_> = pieces.iter().flat_map(|p| p.track.samples.clone()).collect();
        let track = Track { samples, ..first.track.clone() };
        // For each frame its piece, its number in the piece and where its bytes begin, if they are in memory.
        let mut places = pieces.iter().flat_map(|piece| {
            let sizes = piece.track.samples.iter();
            let starts = sizes.scan(0, |at, sample| Some(std::mem::replace(at, *at + sample.0 as usize)));
            starts.enumerate().map(move |(i, start)| (piece, i, start))
        });
        let mut open: Option<Mp4> = None;
        if let Some(dir) = to.parent() {
            disk::create_dir(dir)?;
        }
        track.write(&to, |_, out| {
            let Some((piece, i, start)) = places.next() else { return Ok(()) };
            match &piece.frames {
                Frames::Memory(bytes) => {
                    let end = start + piece.track.samples[i].0 as usize;
                    out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
                    Ok(())
                }
                Frames::File { path, indices } => match &mut open {
                    Some(mp4) if mp4.path() == path => mp4.read(indices.start + i, out),
                    other => other.insert(Mp4::open(path)?).read(indices.start + i, out),
                },
            }
        })
    }

    fn flush_data(&mut self) -> Result<()> {
        if self.data.is_empty() {
            return Ok(());
        }
        let to = self.target.join(expand(&self.info.data_path, self.data_file, 0, ""));
        table::write(&to, &std::mem::take(&mut self.data), &[("huggingface", features_entry(&self.info))])?;
        self.data_file = self.data_file.next(self.info.chunks_size);
        self.data_bytes = 0;
        Ok(())
    }

    /// Writes what is left, and everything that lists and sums up. Every file is synced.
    pub(crate) fn finish(mut self) -> Result<Info> {
        self.flush_data()?;
        let keys: Vec<String> = self.info.videos().map(|f| f.key.clone()).collect();
        for (camera, key) in keys.iter().enumerate() {
            self.flush_video(camera, key)?;
        }
        disk::remove_dir(&self.target.join("recoded"))?;
        for (feature, codecs) in self.info.features.iter_mut().filter(|f| f.is_video()).zip(&self.codecs) {
            let entry = feature.rest.get_mut("info").and_then(|i| i.get_mut("video.codec"));
            if let (Some(entry), [only]) = (entry, codecs.iter().collect::<Vec<_>>().as_slice()) {
                *entry = json!(only);
            }
        }
        self.info.total_episodes = self.episodes.len();
        self.info.total_tasks = self.tasks.len();
        let mut file = FileRef::default();
        for rows in self.episodes.chunks(1000) {
            catalog::write_episodes(&self.target.join(episodes_path(file)), rows, file)?;
            file = file.next(self.info.chunks_size);
        }
        catalog::write_tasks(&self.target.join("meta/tasks.parquet"), &self.tasks)?;
        let stats = catalog::stats_text(&catalog::merge_stats(&self.info, &self.episodes));
        disk::write_synced(&self.target.join("meta/stats.json"), stats.as_bytes())?;
        disk::write_synced(&self.target.join("meta/info.json"), self.info.to_text().as_bytes())?;
        sync_tree(self.target)?;
        Ok(self.info)
    }
}

fn sync_tree(dir: &Path) -> Result<()> {
    for path in disk::list(dir)?.iter().filter(|p| p.is_dir()) {
        sync_tree(path)?;
    }
    disk::sync_dir(dir)
}

fn track_of(mp4: &Mp4, frames: Range<usize>, fps: u32) -> Track {
    let samples = frames.map(|i| (mp4.size(i), mp4.samples[i].key)).collect();
    Track { setup: mp4.setup.clone(), width: mp4.width, height: mp4.height, fps, samples }
}

/// Decodes the rows of a part and encodes them into a file that begins with the first.
fn encode_again(video: &mut Video, part: &Part, time: impl Fn(usize) -> f64, fps: u32, to: &Path) -> Result<()> {
    let fail = |problem: String| DatasetError::Video { path: to.into(), frame: 0, problem };
    let mut encoder = H264Encoder::new(video.mp4.width, video.mp4.height, fps).map_err(fail)?;
    let mut packets = Vec::with_capacity(part.rows.len());
    for row in part.rows.clone() {
        let index = video.index_at(time(row))?;
        packets.push(encoder.encode(&video.frame(index)?, GOP).map_err(fail)?);
    }
    let setup: CodecSetup = encoder.setup().cloned().ok_or_else(|| fail("no parameter sets".into()))?;
    let samples = packets.iter().map(|p| (p.bytes.len() as u32, p.key)).collect();
    if let Some(dir) = to.parent() {
        disk::create_dir(dir)?;
    }
    let track = Track { setup, width: video.mp4.width, height: video.mp4.height, fps, samples };
    track.write(to, |i, out| {
        out.extend_from_slice(&packets[i].bytes);
        Ok(())
    })
}

fn picture_stats(part: &Part, old: &Episode, key: &str) -> Result<Stats> {
    let mut stats = ImageStats::default();
    for row in part.rows.clone() {
        let image = part.source.frame(old.from + row, key)?;
        stats.add(&image);
    }
    Ok(stats.finish())
}

fn size_of_column(column: &Column) -> usize {
    match &column.values {
        Values::I64(v) => v.len() * 8,
        Values::F64(v) => v.len() * 8,
        Values::F32(v) => v.len() * 4,
        Values::Bool(v) => v.len(),
        Values::Text(v) => v.iter().map(|t| t.len() + 4).sum(),
        Values::Bytes(v) => v.iter().map(|t| t.len() + 4).sum(),
    }
}

/// The note of an episode of which only some rows are kept, with the marks it shall have.
fn note_of(part: &Part) -> Option<Note> {
    let old = part.source.info().note(part.episode);
    let marks = match part.segments {
        Some(marks) => marks,
        None => old.and_then(Segments::of_note).and_then(|marks| marks.within(&part.rows)),
    };
    let mut note = old.cloned().unwrap_or_default();
    Segments::forget_in(&mut note);
    if let Some(marks) = marks {
        marks.note_in(&mut note);
    }
    (old.is_some() || !note.is_empty()).then_some(note)
}

/// Some rows of a column of texts that are told in an episode's first row, with what changes in the rows where it does: what
/// holds for the first row kept goes there. `begin` is the row where the whole episode begins.
fn told_first(column: &Column, begin: usize, rows: Range<usize>) -> Option<Column> {
    let told = match &column.values {
        Values::Text(texts) => told_until(texts.get(begin..=rows.start.max(begin))?),
        _ => return None,
    };
    let mut column = slice(column, rows)?;
    if let Values::Text(texts) = &mut column.values {
        *texts.first_mut()? = told;
    }
    Some(column)
}

/// The first text with the entries of the later ones in place of its own.
fn told_until(texts: &[String]) -> String {
    let first = texts.first().cloned().unwrap_or_default();
    let object = |text: &String| serde_json::from_str::<Map<String, Value>>(text).ok();
    let later: Vec<Map<String, Value>> =
        texts.iter().skip(1).filter(|text| !text.is_empty()).filter_map(object).collect();
    if later.is_empty() {
        return first;
    }
    let mut told = object(&first).unwrap_or_default();
    told.extend(later.into_iter().flatten());
    Value::Object(told).to_string()
}

/// Writes another verdict into the columns that hold it.
fn judge(column: &mut Column, verdict: Outcome) {
    match (column.name.as_str(), &mut column.values) {
        (extra::OUTCOME, Values::I64(codes)) => codes.fill(verdict.code()),
        (extra::SUCCESS, Values::Bool(solved)) => {
            if let Some(last) = solved.last_mut().filter(|_| verdict != Outcome::Unjudged) {
                *last = verdict == Outcome::Success;
            }
        }
        _ => {}
    }
}

/// Some rows of a column; `None` when it is shorter or its lists differ in length.
fn slice(column: &Column, rows: Range<usize>) -> Option<Column> {
    let width = column.width()?;
    let place = rows.start * width..rows.end * width;
    let values = match &column.values {
        Values::I64(v) => Values::I64(v.get(place)?.to_vec()),
        Values::F32(v) => Values::F32(v.get(place)?.to_vec()),
        Values::F64(v) => Values::F64(v.get(place)?.to_vec()),
        Values::Bool(v) => Values::Bool(v.get(place)?.to_vec()),
        Values::Text(v) => Values::Text(v.get(place)?.to_vec()),
        Values::Bytes(v) => Values::Bytes(v.get(place)?.to_vec()),
    };
    let layout = match &column.layout {
        Layout::List(lengths) => Layout::List(lengths.get(rows)?.to_vec()),
        other => other.clone(),
    };
    Some(Column { name: column.name.clone(), values, layout })
}
