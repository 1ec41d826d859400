//! What `etude dataset info` and `stats` print.

use super::dataset::{counted, episodes};
use crate::dataset::schema::{ACTION, extra};
use crate::dataset::{Dataset, DatasetError};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::Path;

/// What a dataset holds.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    folder: String,
    version: String,
    robot: Option<String>,
    fps: u32,
    episodes: usize,
    rows: usize,
    seconds: f64,
    /// Episodes marked as success and failure; absent where nothing tells.
    successes: Option<usize>,
    failures: Option<usize>,
    tasks: Vec<Task>,
    joints: Vec<String>,
    cameras: Vec<Camera>,
    columns: Vec<String>,
    bytes: u64,
    /// Bytes kept for undoing that nothing else uses.
    undo_edits: usize,
    /// Episodes that were cut off and can be recovered.
    cut_episodes: usize,
}

#[derive(Debug, Serialize)]
struct Task {
    text: String,
    episodes: usize,
}

#[derive(Debug, Serialize)]
struct Camera {
    key: String,
    width: usize,
    height: usize,
    codec: Option<String>,
}

impl Overview {
    pub(super) fn of(dataset: &Dataset) -> Result<Self, DatasetError> {
        let (info, episodes) = (dataset.info(), dataset.episodes());
        let judged = info.feature(extra::OUTCOME).is_some();
        let outcomes = if judged { dataset.scalars(extra::OUTCOME)? } else { Vec::new() };
        let count =
            |verdict: f64| judged.then(|| episodes.iter().filter(|e| outcomes.get(e.from) == Some(&verdict)).count());
        let cameras = info.features.iter().filter(|f| f.is_visual()).map(|f| Camera {
            key: f.key.clone(),
            width: f.shape.get(1).copied().unwrap_or(0),
            height: f.shape.first().copied().unwrap_or(0),
            codec: f.rest.get("info").and_then(|i| i.get("video.codec")?.as_str()).map(String::from),
        });
        let tasks = dataset.tasks().iter().map(|text| Task {
            text: text.clone(),
            episodes: episodes.iter().filter(|e| e.tasks.contains(text)).count(),
        });
        let names = info.feature(ACTION).and_then(|f| f.names.as_array());
        let private = dataset.root().join(".etude");
        let inside = |folder: &str| std::fs::read_dir(private.join(folder)).map_or(0, |entries| entries.count());
        Ok(Self {
            folder: dataset.root().display().to_string(),
            version: info.version.clone(),
            robot: info.robot_type.clone(),
            fps: info.fps,
            episodes: episodes.len(),
            rows: dataset.len(),
            seconds: dataset.len() as f64 / f64::from(info.fps),
            successes: count(1.0),
            failures: count(0.0),
            tasks: tasks.collect(),
            joints: names.into_iter().flatten().filter_map(|n| n.as_str().map(String::from)).collect(),
            cameras: cameras.collect(),
            columns: info.features.iter().filter(|f| !f.is_visual()).map(|f| f.key.clone()).collect(),
            bytes: ["meta", "data", "videos"].iter().map(|tree| bytes_in(&dataset.root().join(tree))).sum(),
            undo_edits: inside("backup"),
            cut_episodes: inside("pending"),
        })
    }
}

fn bytes_in(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_in(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let robot = self.robot.as_deref().unwrap_or("unnamed robot");
        writeln!(f, "{}: LeRobot dataset {}, {robot}, {} rows a second", self.folder, self.version, self.fps)?;
        let mib = self.bytes as f64 / f64::from(1 << 20);
        write!(f, "  {}, {} rows, {:.1} s, {mib:.1} MiB", episodes(self.episodes), self.rows, self.seconds)?;
        if let (Some(good), Some(bad)) = (self.successes, self.failures) {
            write!(f, "; {good} {}, {}", if good == 1 { "success" } else { "successes" }, counted(bad, "failure"))?;
        }
        for task in &self.tasks {
            write!(f, "\n  task     \"{}\", {}", task.text, episodes(task.episodes))?;
        }
        if !self.joints.is_empty() {
            write!(f, "\n  joints   {}", self.joints.join(", "))?;
        }
        for camera in &self.cameras {
            let codec = camera.codec.as_deref().unwrap_or("pictures in the parquet files");
            write!(f, "\n  camera   {}, {}x{}, {codec}", camera.key, camera.width, camera.height)?;
        }
        write!(f, "\n  columns  {}", self.columns.join(", "))?;
        if self.undo_edits > 0 {
            let are = if self.undo_edits == 1 { "is" } else { "are" };
            write!(
                f,
                "\n  undo     {} {are} kept; `etude dataset undo --forget` removes",
                counted(self.undo_edits, "edit")
            )?;
        }
        if self.cut_episodes > 0 {
            write!(f, "\n  cut off  {}; recording into it again offers recovery", episodes(self.cut_episodes))?;
        }
        Ok(())
    }
}

/// Statistics of the columns `keys`, a line a number.
pub(super) fn stats_table(dataset: &Dataset, keys: &[&str]) -> String {
    let mut text = String::new();
    let mut widest = 0;
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    let mut heads: Vec<&str> = Vec::new();
    for key in keys {
        let Some(stats) = dataset.stats(key) else { continue };
        let lists = stats.lists();
        if lists.len() > heads.len() {
            heads = lists.iter().map(|list| list.0).collect();
        }
        let names = dataset.info().feature(key).map(|feature| feature.names.clone()).unwrap_or_default();
        for index in 0..stats.mean.len() {
            let name = match (stats.is_image, names.get(index).and_then(|name| name.as_str())) {
                (true, _) => format!("{key} {}", ["red", "green", "blue"].get(index).unwrap_or(&"")),
                (false, Some(name)) if stats.mean.len() > 1 => format!("{key} {name}"),
                _ => key.to_string(),
            };
            widest = widest.max(name.len());
            lines.push((name, lists.iter().filter_map(|(_, list)| list.get(index).copied()).collect()));
        }
    }
    // Writing into a text cannot fail.
    let _ = write!(text, "{:widest$}", "");
    heads.iter().for_each(|head| text.push_str(&format!(" {head:>10}")));
    for (name, numbers) in lines {
        let _ = write!(text, "\n{name:widest$}");
        numbers.iter().for_each(|number| text.push_str(&format!(" {number:>10.3}")));
    }
    text
}
