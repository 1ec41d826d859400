//! How an episode enters the dataset: every file is written aside and synced, then a list of moves (`commit.json`)
//! makes the decision durable, then the files are moved. A kill before the list leaves a cut episode; a kill after it
//! is completed by [`roll_forward`] when the dataset is opened for writing the next time. The order of the moves
//! (videos, tasks, rows, index, `info.json`) keeps the dataset readable after each of them, also for LeRobot.

use super::catalog::{self, Catalog, Episode, FileRef, VideoRef, episodes_path, expand, info_path};
use super::disk;
use super::encode::Encoded;
use super::error::{DatasetError, Result};
use super::journal::{self, JournalTrack};
use super::notes::Note;
use super::row::{self, Outcome, Record};
use super::schema::Info;
use super::stats::Stats;
use super::table::{self, Column};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rows of `meta/episodes` in one file: each new episode rewrites the last file, which bounds the work.
const EPISODES_PER_FILE: usize = 100;

/// The end of a dataset: all that is needed to add to it.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    pub(crate) info: Info,
    pub(crate) tasks: Vec<String>,
    pub(crate) stats: Vec<(String, Stats)>,
    next_data: FileRef,
    next_video: FileRef,
    /// File of `meta/episodes` that the next episode goes to, with the episodes this writer put there.
    index_file: FileRef,
    index_rows: Vec<Episode>,
    /// A decided episode could not be moved; nothing may be decided before it is.
    interrupted: bool,
}

impl Tail {
    /// Of a new dataset.
    pub(crate) fn empty(info: Info) -> Self {
        let start = FileRef::default();
        let (tasks, stats, index_rows) = Default::default();
        Self {
            info,
            tasks,
            stats,
            next_data: start,
            next_video: start,
            index_file: start,
            index_rows,
            interrupted: false,
        }
    }

    /// Of an existing one. Files that are there are never appended to: LeRobot does not either.
    pub(crate) fn of(root: &Path, catalog: Catalog) -> Result<Self> {
        let size = catalog.info.chunks_size;
        let after = |last: Option<FileRef>| last.map_or(FileRef::default(), |f| f.next(size));
        let next_data = after(catalog.episodes.iter().map(|e| e.data).max());
        let next_video = after(catalog.episodes.iter().flat_map(|e| &e.videos).map(|v| v.file).max());
        let mut index_file = FileRef::default();
        while root.join(episodes_path(index_file)).exists() {
            index_file = index_file.next(size);
        }
        let Catalog { info, tasks, mut stats, episodes } = catalog;
        if stats.len() < info.features.len() {
            stats = catalog::merge_stats(&info, &episodes);
        }
        Ok(Self { info, tasks, stats, next_data, next_video, index_file, index_rows: Vec::new(), interrupted: false })
    }

    /// Adds a finished episode whose journal lies in `dir`; `encoded` holds one entry a camera.
    pub(crate) fn commit(
        &mut self,
        root: &Path,
        dir: &Path,
        task: &str,
        note: &Note,
        outcome: Outcome,
        mut rows: Vec<Record>,
        encoded: &[Encoded],
    ) -> Result<Episode> {
        if self.interrupted {
            roll_forward(root)?;
            self.interrupted = false;
        }
        let mut next = self.clone();
        if let (Some(last), Outcome::Success | Outcome::Failure) = (rows.last_mut(), outcome) {
            // The verdict is that of the last row, so that LeRobot's readers see it under the usual name.
            last.extra.success = outcome == Outcome::Success;
        }
        let mut moves = Moves { root, dir, list: Vec::new() };
        let keys: Vec<String> = self.info.videos().map(|f| f.key.clone()).collect();
        let mut videos = Vec::new();
        for (camera, (key, encoded)) in keys.iter().zip(encoded).enumerate() {
            if encoded.track.samples.len() != rows.len() {
                let problem = format!("{} frames for {} rows", encoded.track.samples.len(), rows.len());
                return Err(DatasetError::Video { path: dir.into(), frame: rows.len(), problem });
            }
            let template = self.info.video_path.clone().unwrap_or_default();
            let to = expand(&template, self.next_video, self.info.total_episodes, key);
            let path = moves.add(&format!("camera-{camera}.mp4"), to);
            mux(dir, camera, encoded, &path)?;
            let to_s = rows.len() as f64 / f64::from(self.info.fps);
            videos.push(VideoRef { key: key.clone(), file: self.next_video, from_s: 0.0, to_s });
        }
        let task_index = self.tasks.iter().position(|t| t == task).unwrap_or(self.tasks.len());
        if task_index == self.tasks.len() {
            next.tasks.push(task.into());
            catalog::write_tasks(&moves.add("tasks.parquet", "meta/tasks.parquet".into()), &next.tasks)?;
        }
        let mut episode = Episode {
            index: self.info.total_episodes,
            tasks: vec![task.into()],
            length: rows.len(),
            data: self.next_data,
            from: self.info.total_frames,
            videos,
            stats: Vec::new(),
        };
        let columns = row::columns(&self.info, &episode, task_index, outcome, &rows);
        episode.stats = episode_stats(&self.info, &columns, &keys, encoded);
        let data_to = expand(&self.info.data_path, self.next_data, episode.index, "");
        let data = moves.add("data.parquet", data_to);
        table::write(&data, std::slice::from_ref(&columns), &[("huggingface", features_entry(&self.info))])?;
        next.info.add_note(episode.index, Some(note));
        next.append_index(&episode);
        let index = moves.add("episodes.parquet", episodes_path(next.index_file));
        catalog::write_episodes(&index, &next.index_rows, next.index_file)?;
        let stats = moves.add("stats.json", "meta/stats.json".into());
        disk::write_synced(&stats, catalog::stats_text(&next.stats).as_bytes())?;
        let info = moves.add("info.json", "meta/info.json".into());
        disk::write_synced(&info, next.info.to_text().as_bytes())?;
        let moved = moves.decide();
        if moved.is_ok() || dir.join(DECISION).exists() {
            *self = next;
            self.interrupted = moved.is_err();
        }
        moved.map(|()| episode)
    }

    /// Counts an episode in everything that summarises the dataset.
    fn append_index(&mut self, episode: &Episode) {
        let size = self.info.chunks_size;
        (self.next_data, self.next_video) = (self.next_data.next(size), self.next_video.next(size));
        if self.index_rows.len() >= EPISODES_PER_FILE {
            self.index_rows.clear();
            self.index_file = self.index_file.next(size);
        }
        self.index_rows.push(episode.clone());
        for (key, stats) in &episode.stats {
            match self.stats.iter_mut().find(|s| s.0 == *key) {
                Some((_, merged)) => {
                    merged.add(stats);
                }
                None => self.stats.push((key.clone(), stats.clone())),
            }
        }
        self.info.total_episodes += 1;
        self.info.total_frames += episode.length;
        self.info.total_tasks = self.tasks.len();
    }
}

/// Files to be moved from an episode's folder into the dataset, in this order.
struct Moves<'a> {
    root: &'a Path,
    dir: &'a Path,
    list: Vec<(String, String)>,
}

const DECISION: &str = "commit.json";

impl Moves<'_> {
    /// Path to write a file to that will be moved to `to` (relative to the dataset).
    fn add(&mut self, name: &str, to: String) -> PathBuf {
        self.list.push((name.into(), to));
        self.dir.join(name)
    }

    /// From here on the episode belongs to the dataset.
    fn decide(self) -> Result<()> {
        disk::sync_dir(self.dir)?;
        disk::replace(&self.dir.join(DECISION), json!(self.list).to_string().as_bytes())?;
        perform(self.root, self.dir, &self.list)
    }
}

/// Moves what is still to be moved and removes the folder.
fn perform(root: &Path, dir: &Path, list: &[(String, String)]) -> Result<()> {
    // Folders first: the moves themselves then follow each other without a pause.
    let parent = |m: &(String, String)| root.join(&m.1).parent().map(Path::to_path_buf);
    let folders: BTreeSet<PathBuf> = list.iter().filter_map(parent).collect();
    for folder in &folders {
        disk::create_dir(folder)?;
    }
    for (from, to) in list {
        if dir.join(from).exists() {
            disk::rename(&dir.join(from), &root.join(to))?;
        }
    }
    let touched: BTreeSet<&Path> =
        folders.iter().flat_map(|f| f.ancestors().take_while(|a| a.starts_with(root))).collect();
    for folder in touched {
        disk::sync_dir(folder)?;
    }
    discard(root, dir)
}

/// Takes an episode's folder away in one step, then removes it.
pub(crate) fn discard(root: &Path, dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let done = done_dir(root).join(dir.file_name().unwrap_or_default());
    disk::remove_dir(&done)?;
    disk::rename(dir, &done)?;
    disk::remove_dir(&done)
}

fn done_dir(root: &Path) -> PathBuf {
    journal::private_dir(root).join("done")
}

/// Completes the moves that a kill interrupted.
pub(crate) fn roll_forward(root: &Path) -> Result<()> {
    disk::remove_dir(&done_dir(root))?;
    for dir in disk::list(&journal::pending_dir(root))? {
        let path = dir.join(DECISION);
        if !path.exists() {
            continue;
        }
        let list: Vec<(String, String)> = serde_json::from_slice(&disk::read(&path)?).map_err(|e| {
            let remedy = "Move the folder out of the dataset; it holds one episode";
            DatasetError::invalid(&path, "JSON", e.to_string(), remedy)
        })?;
        if list.iter().any(|(from, to)| !is_inside(from) || !is_inside(to)) {
            let remedy = "Move the folder out of the dataset; it holds one episode";
            return Err(DatasetError::invalid(&path, "path", "a file would leave the dataset", remedy));
        }
        perform(root, &dir, &list)?;
    }
    Ok(())
}

fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)))
}

fn mux(dir: &Path, camera: usize, encoded: &Encoded, to: &Path) -> Result<()> {
    let from = journal::camera_file(dir, camera);
    let lost = || DatasetError::Video { path: from.clone(), frame: 0, problem: "its journal is damaged".into() };
    let mut frames = JournalTrack::open(&from)?.ok_or_else(lost)?;
    encoded.track.write(to, |i, out| if i < frames.samples.len() { frames.read(i, out) } else { Err(lost()) })
}

/// Statistics of an episode by feature, in the features' order.
fn episode_stats(info: &Info, columns: &[Column], cameras: &[String], encoded: &[Encoded]) -> Vec<(String, Stats)> {
    let of = |key: &String| {
        if let Some(i) = cameras.iter().position(|c| c == key) {
            return encoded.get(i).map(|e| e.stats.clone());
        }
        let column = columns.iter().find(|c| c.name == *key)?;
        Some(Stats::of_rows(&column.values.to_f64()?, column.width()?))
    };
    info.features.iter().filter_map(|f| Some((f.key.clone(), of(&f.key)?))).collect()
}

/// The `huggingface` entry of a data file: the columns' types in that library's words.
pub(crate) fn features_entry(info: &Info) -> String {
    let mut features = Map::new();
    for feature in info.features.iter().filter(|f| !f.is_video()) {
        let value = json!({"dtype": feature.dtype, "_type": "Value"});
        let entry = match feature.width() {
            1 => value,
            n => json!({"feature": value, "length": n, "_type": "List"}),
        };
        features.insert(feature.key.clone(), entry);
    }
    json!({"info": {"features": Value::Object(features)}}).to_string()
}

/// Writes the `info.json` of a new dataset.
pub(crate) fn write_first_info(root: &Path, info: &Info) -> Result<()> {
    disk::create_dir(&root.join("meta"))?;
    disk::replace(&info_path(root), info.to_text().as_bytes())
}
