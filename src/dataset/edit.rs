//! Editing: delete, trim, split, merge, compact. The changed dataset is built beside the old one and takes its place
//! in one journalled step; the old one stays as a backup that [`undo`] brings back. Unchanged videos are hard links,
//! so a backup costs little.

use super::bulk;
use super::catalog::{Catalog, merge_stats, stats_text};
use super::commit::roll_forward;
use super::disk;
use super::error::{DatasetError, Result};
use super::journal::private_dir;
use super::lock::Lock;
use super::reader::Dataset;
use super::rebuild::{Files, Part, build, build_empty};
use super::row::Outcome;
use super::schema::extra;
use super::segments::Segments;
use serde_json::json;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The parts of a dataset that an edit replaces.
const TREES: [&str; 3] = ["meta", "data", "videos"];

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Episodes the dataset has now.
    pub episodes: usize,
    /// Rows it has now.
    pub frames: usize,
    /// Folder with the dataset as it was; `None` when nothing was replaced.
    pub backup: Option<PathBuf>,
}

/// Removes episodes; those after them move up.
///
/// # Errors
/// [`DatasetError::Request`] for unknown numbers or when none would be left.
pub fn delete(root: &Path, episodes: &[usize]) -> Result<Edited> {
    in_place(root, "delete", Files::PerEpisode, |dataset| {
        for &episode in episodes {
            dataset.episode(episode)?;
        }
        let kept = dataset.episodes().iter().filter(|e| !episodes.contains(&e.index));
        Ok(kept.map(|e| Part::whole(dataset, e)).collect())
    })
}

/// Keeps only the rows `rows` of an episode. A cut that does not fall on a key frame has the episode's videos encoded
/// anew.
///
/// # Errors
/// [`DatasetError::Request`] when no row would be left.
pub fn trim(root: &Path, episode: usize, rows: Range<usize>) -> Result<Edited> {
    in_place(root, "trim", Files::PerEpisode, |dataset| {
        dataset.episode(episode)?;
        let part = |e: &super::Episode| match e.index == episode {
            true => Part { rows: rows.clone(), ..Part::whole(dataset, e) },
            false => Part::whole(dataset, e),
        };
        Ok(dataset.episodes().iter().map(part).collect())
    })
}

/// Marks where the segments of a demonstration begin, or takes the marks away. Only the episode's note changes.
///
/// # Errors
/// [`DatasetError::Request`] for an unknown episode, or marks that cannot be.
pub fn mark(root: &Path, episode: usize, segments: Option<Segments>) -> Result<Edited> {
    in_place(root, "mark", Files::PerEpisode, |dataset| {
        let rows = dataset.episode(episode)?.length;
        if let Some(problem) = segments.and_then(|segments| segments.problem(rows)) {
            let remedy = "Mark closing, lifting and setting down in this order";
            return Err(DatasetError::request(format!("episode {episode}"), problem, remedy));
        }
        let part = |e: &super::Episode| match e.index == episode {
            true => Part { segments: Some(segments), ..Part::whole(dataset, e) },
            false => Part::whole(dataset, e),
        };
        Ok(dataset.episodes().iter().map(part).collect())
    })
}

/// Gives episodes another verdict.
///
/// # Errors
/// [`DatasetError::Request`] for unknown numbers, or when the dataset has no column for verdicts.
pub fn judge(root: &Path, episodes: &[usize], verdict: Outcome) -> Result<Edited> {
    let _lock = prepare(root)?;
    judge_locked(root, episodes, verdict)
}

/// [`judge`] by the holder of the lock.
pub(crate) fn judge_locked(root: &Path, episodes: &[usize], verdict: Outcome) -> Result<Edited> {
    in_place_locked(root, "judge", Files::PerEpisode, |dataset| {
        if dataset.info().feature(extra::OUTCOME).is_none() {
            let problem = format!("the dataset has no column {}", extra::OUTCOME);
            return Err(DatasetError::request("verdict", problem, "Only datasets recorded by this program have it"));
        }
        for &episode in episodes {
            dataset.episode(episode)?;
        }
        let part = |e: &super::Episode| {
            let verdict = Some(verdict).filter(|_| episodes.contains(&e.index));
            Part { verdict, ..Part::whole(dataset, e) }
        };
        Ok(dataset.episodes().iter().map(part).collect())
    })
}

/// Removes the last episode, also the only one; for the holder of the lock.
pub(crate) fn delete_last_locked(root: &Path) -> Result<Edited> {
    in_place_locked(root, "delete", Files::PerEpisode, |dataset| {
        let Some((_, before)) = dataset.episodes().split_last() else {
            return Err(DatasetError::request("episode", "there is none to remove", "Record one first"));
        };
        Ok(before.iter().map(|e| Part::whole(dataset, e)).collect())
    })
}

/// Puts the episodes into few files of LeRobot's sizes.
///
/// # Errors
/// When files cannot be read or written.
pub fn compact(root: &Path) -> Result<Edited> {
    in_place(root, "compact", Files::Large, |dataset| {
        Ok(dataset.episodes().iter().map(|e| Part::whole(dataset, e)).collect())
    })
}

/// Copies the named episodes into a new dataset in `to`. The source stays as it is.
///
/// # Errors
/// [`DatasetError::Request`] when `to` holds a dataset already or an episode is unknown.
pub fn split(root: &Path, episodes: &[usize], to: &Path) -> Result<Edited> {
    let dataset = Dataset::open(root)?;
    let parts = episodes.iter().map(|&e| Ok(Part::whole(&dataset, dataset.episode(e)?))).collect::<Result<Vec<_>>>()?;
    into_new(&parts, to)
}

/// Puts the episodes of all `sources`, one dataset after the other, into a new dataset in `to`. Datasets of v2.1
/// become v3.0. The sources stay as they are. All shards of one run of `etude generate` become the dataset that the run
/// would have made in one go, byte for byte, in whatever order they are given.
///
/// # Errors
/// [`DatasetError::Mismatch`] when they do not fit together, [`DatasetError::Request`] when a shard is missing.
pub fn merge(sources: &[PathBuf], to: &Path) -> Result<Edited> {
    let mut datasets = sources.iter().map(Dataset::open).collect::<Result<Vec<_>>>()?;
    let infos: Vec<_> = datasets.iter().map(Dataset::info).collect();
    let shards = bulk::shards(&infos)?;
    let _lock = new_folder(to)?;
    let Some(shards) = shards else {
        return join(&datasets, to, Files::PerEpisode, |info| {
            info.rest.remove(bulk::GENERATED);
        });
    };
    let mut slots: Vec<Option<Dataset>> = datasets.drain(..).map(Some).collect();
    let ordered: Vec<Dataset> = shards.order.iter().filter_map(|place| slots[*place].take()).collect();
    join(&ordered, to, Files::Large, |info| {
        info.rest.insert(bulk::GENERATED.into(), shards.made.clone());
    })
}

/// Builds a dataset of all episodes of `datasets` and puts it into `to`, whose lock is held. `alter` may change what its
/// `info.json` says.
pub(crate) fn join(
    datasets: &[Dataset],
    to: &Path,
    files: Files,
    alter: impl FnOnce(&mut super::Info),
) -> Result<Edited> {
    let parts: Vec<_> = datasets.iter().flat_map(|d| d.episodes().iter().map(move |e| Part::whole(d, e))).collect();
    let work = private_dir(to).join("edit");
    disk::remove_dir(&work)?;
    disk::create_dir(&work)?;
    let info = build(&work, &parts, files, alter)?;
    let moves = TREES.map(|tree| (Path::new(".etude/edit").join(tree), PathBuf::from(tree)));
    swap(to, moves.into())?;
    Ok(Edited { episodes: info.total_episodes, frames: info.total_frames, backup: None })
}

/// Takes a folder in which no dataset is.
fn new_folder(to: &Path) -> Result<Lock> {
    disk::create_dir(to)?;
    let lock = Lock::take(to)?;
    if TREES.iter().any(|tree| to.join(tree).exists()) {
        return Err(DatasetError::request(to.display().to_string(), "it holds a dataset already", "Name a new folder"));
    }
    Ok(lock)
}

/// Writes `meta/stats.json` anew from the statistics of the episodes.
///
/// # Errors
/// [`DatasetError::Request`] when the episodes have none; [`compact`] computes them.
pub fn restat(root: &Path) -> Result<()> {
    let _lock = prepare(root)?;
    let catalog = Catalog::load(root)?;
    let stats = merge_stats(&catalog.info, &catalog.episodes);
    if stats.is_empty() {
        return Err(DatasetError::request("statistics", "the episodes have none", "Run `etude dataset compact`"));
    }
    disk::replace(&root.join("meta/stats.json"), stats_text(&stats).as_bytes())
}

/// Brings back the dataset as it was before the last edit, and returns that edit's name. What is replaced is kept
/// beside the backups, under a name ending in `-undone`.
///
/// # Errors
/// [`DatasetError::Request`] when there is no backup.
pub fn undo(root: &Path) -> Result<String> {
    let _lock = prepare(root)?;
    let names: Vec<String> = backups(root)?;
    let last = names.iter().rev().find(|n| !n.ends_with("-undone")).ok_or_else(|| {
        DatasetError::request("undo", "there is no edit to take back", "Backups lie in .etude/backup")
    })?;
    let kept = format!("{last}-undone");
    let backup = Path::new(".etude/backup");
    let aside = TREES.map(|tree| (tree.into(), backup.join(&kept).join(tree)));
    let back = TREES.map(|tree| (backup.join(last).join(tree), tree.into()));
    swap(root, aside.into_iter().chain(back).collect())?;
    disk::remove_dir(&root.join(backup).join(last))?;
    Ok(last.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').into())
}

/// Removes all backups for good.
///
/// # Errors
/// When they cannot be removed.
pub fn forget_backups(root: &Path) -> Result<()> {
    let _lock = prepare(root)?;
    disk::remove_dir(&private_dir(root).join("backup"))
}

/// Takes the lock and completes whatever was interrupted.
fn prepare(root: &Path) -> Result<Lock> {
    if !root.exists() {
        return Err(DatasetError::request(root.display().to_string(), "there is no such folder", "Check the path"));
    }
    let lock = Lock::take(root)?;
    complete_swap(root)?;
    roll_forward(root)?;
    Ok(lock)
}

fn backups(root: &Path) -> Result<Vec<String>> {
    let paths = disk::list(&private_dir(root).join("backup"))?;
    Ok(paths.iter().filter_map(|p| Some(p.file_name()?.to_str()?.to_string())).collect())
}

fn in_place(
    root: &Path,
    name: &str,
    files: Files,
    parts: impl for<'a> FnOnce(&'a Dataset) -> Result<Vec<Part<'a>>>,
) -> Result<Edited> {
    let _lock = prepare(root)?;
    in_place_locked(root, name, files, |dataset| {
        let parts = parts(dataset)?;
        if parts.is_empty() {
            return Err(DatasetError::request("episodes", "none would be left", "Delete the folder instead"));
        }
        Ok(parts)
    })
}

/// An edit by the holder of the lock; one that leaves no episode leaves an empty dataset.
fn in_place_locked(
    root: &Path,
    name: &str,
    files: Files,
    parts: impl for<'a> FnOnce(&'a Dataset) -> Result<Vec<Part<'a>>>,
) -> Result<Edited> {
    let dataset = Dataset::open(root)?;
    let work = private_dir(root).join("edit");
    disk::remove_dir(&work)?;
    disk::create_dir(&work)?;
    let parts = parts(&dataset)?;
    let info = if parts.is_empty() { build_empty(&work, &dataset)? } else { build(&work, &parts, files, |_| {})? };
    drop(parts);
    drop(dataset);
    let newest = backups(root)?.iter().filter_map(|n| n.get(..4)?.parse::<usize>().ok()).max();
    let backup = Path::new(".etude/backup").join(format!("{:04}-{name}", newest.map_or(1, |n| n + 1)));
    let aside = TREES.map(|tree| (PathBuf::from(tree), backup.join(tree)));
    let forward = TREES.map(|tree| (Path::new(".etude/edit").join(tree), PathBuf::from(tree)));
    swap(root, aside.into_iter().chain(forward).collect())?;
    Ok(Edited { episodes: info.total_episodes, frames: info.total_frames, backup: Some(root.join(backup)) })
}

fn into_new(parts: &[Part], to: &Path) -> Result<Edited> {
    let _lock = new_folder(to)?;
    let work = private_dir(to).join("edit");
    disk::remove_dir(&work)?;
    disk::create_dir(&work)?;
    let info = build(&work, parts, Files::PerEpisode, |info| {
        info.rest.remove(bulk::GENERATED);
    })?;
    let moves = TREES.map(|tree| (Path::new(".etude/edit").join(tree), PathBuf::from(tree)));
    swap(to, moves.into())?;
    Ok(Edited { episodes: info.total_episodes, frames: info.total_frames, backup: None })
}

fn swap_path(root: &Path) -> PathBuf {
    private_dir(root).join("swap.json")
}

/// Decides on moves of folders inside the dataset and performs them.
fn swap(root: &Path, moves: Vec<(PathBuf, PathBuf)>) -> Result<()> {
    disk::replace(&swap_path(root), json!(moves).to_string().as_bytes())?;
    complete_swap(root)
}

/// Performs the moves that were decided on; those already done are recognised by their target.
pub(crate) fn complete_swap(root: &Path) -> Result<()> {
    let path = swap_path(root);
    if !path.exists() {
        return Ok(());
    }
    let remedy = "Move the folders of .etude/backup back by hand";
    let moves: Vec<(PathBuf, PathBuf)> = serde_json::from_slice(&disk::read(&path)?)
        .map_err(|e| DatasetError::invalid(&path, "JSON", e.to_string(), remedy))?;
    for (from, to) in &moves {
        let (from, to) = (root.join(from), root.join(to));
        if from.exists() && !to.exists() {
            disk::rename(&from, &to)?;
            disk::sync_parent(&to)?;
        }
    }
    disk::sync_dir(root)?;
    std::fs::remove_file(&path).map_err(|source| DatasetError::Io { path: path.clone(), action: "remove", source })?;
    disk::sync_parent(&path)
}

/// Completes an edit that a kill interrupted, so that a reader finds a whole dataset.
pub(crate) fn complete_if_interrupted(root: &Path) -> Result<()> {
    if swap_path(root).exists() {
        let _lock = Lock::take(root)?;
        complete_swap(root)?;
    }
    Ok(())
}
