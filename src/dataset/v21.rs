//! The older layout, v2.1: one parquet and one mp4 a camera for each episode, lists as JSON lines. Read only.

use super::catalog::{Catalog, Episode, FileRef, VideoRef, read_stats};
use super::disk;
use super::error::{DatasetError, RESTORE, Result};
use super::schema::Info;
use super::stats::Stats;
use serde_json::Value;
use std::path::Path;

/// Reads the lists below `root/meta`.
pub(crate) fn load(root: &Path, info: Info) -> Result<Catalog> {
    let meta = root.join("meta");
    let tasks_path = meta.join("tasks.jsonl");
    let mut tasks: Vec<String> = Vec::new();
    for line in lines(&tasks_path)? {
        let text = line["task"].as_str();
        let (Some(index), Some(text)) = (line["task_index"].as_u64(), text) else {
            return Err(DatasetError::invalid(&tasks_path, "task_index", "a line without number or text", RESTORE));
        };
        if index as usize != tasks.len() {
            return Err(DatasetError::invalid(&tasks_path, "task_index", "the numbers have a gap", RESTORE));
        }
        tasks.push(text.into());
    }
    let episodes_path = meta.join("episodes.jsonl");
    let mut episodes: Vec<Episode> = Vec::new();
    for line in lines(&episodes_path)? {
        let number = |key: &str| line[key].as_u64().filter(|&n| n < 1 << 32).map(|n| n as usize);
        let (Some(index), Some(length)) = (number("episode_index"), number("length")) else {
            return Err(DatasetError::invalid(
                &episodes_path,
                "episode_index",
                "a line without number or length",
                RESTORE,
            ));
        };
        let texts = line["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let file = FileRef { chunk: index / info.chunks_size, file: index };
        let video =
            |key: &str| VideoRef { key: key.into(), file, from_s: 0.0, to_s: length as f64 / f64::from(info.fps) };
        episodes.push(Episode {
            index,
            tasks: texts.iter().filter_map(|t| t.as_str().map(String::from)).collect(),
            length,
            data: file,
            from: episodes.last().map_or(0, |e| e.rows().end),
            videos: info.videos().map(|f| video(&f.key)).collect(),
            stats: Vec::new(),
        });
    }
    let stats_path = meta.join("episodes_stats.jsonl");
    if stats_path.exists() {
        for line in lines(&stats_path)? {
            let episode = line["episode_index"].as_u64().and_then(|i| episodes.get_mut(i as usize));
            let Some(episode) = episode else { continue };
            let of = |key: &str, visual| Some((key.to_string(), Stats::from_json(line["stats"].get(key)?, visual)?));
            episode.stats = info.features.iter().filter_map(|f| of(&f.key, f.is_visual())).collect();
        }
    }
    let mut stats = read_stats(&meta.join("stats.json"), &info)?;
    if stats.is_empty() {
        stats = super::catalog::merge_stats(&info, &episodes);
    }
    Ok(Catalog { info, tasks, episodes, stats })
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let bytes = disk::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let parse = |(i, line): (usize, &str)| {
        let place = format!("line {}", i + 1);
        serde_json::from_str(line).map_err(|e| DatasetError::invalid(path, place, e.to_string(), RESTORE))
    };
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(parse).collect()
}
