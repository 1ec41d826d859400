//! The list of episodes and tasks: `meta/info.json`, `meta/tasks.parquet`, `meta/episodes/…`, `meta/stats.json`.

use super::disk;
use super::error::{DatasetError, RESTORE, Result};
use super::schema::{Feature, Info};
use super::stats::{QUANTILES, Stats};
use super::table::{self, Column, Layout, Table, Values};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder of chunk and number of a file in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FileRef {
    /// The `chunk-…` folder.
    pub chunk: usize,
    /// The number inside it.
    pub file: usize,
}

impl FileRef {
    /// The one after this, in folders of `chunks_size` files.
    pub fn next(self, chunks_size: usize) -> Self {
        if self.file + 1 >= chunks_size.max(1) {
            Self { chunk: self.chunk + 1, file: 0 }
        } else {
            Self { chunk: self.chunk, file: self.file + 1 }
        }
    }
}

/// The part of an mp4 file that belongs to an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoRef {
    /// The camera's feature key.
    pub key: String,
    /// The file.
    pub file: FileRef,
    /// Time of the episode's first frame in that file, seconds.
    pub from_s: f64,
    /// Time of its end, seconds.
    pub to_s: f64,
}

/// One recorded attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Its number, equal to its place in the list.
    pub index: usize,
    /// The task texts that occur in it.
    pub tasks: Vec<String>,
    /// Number of rows.
    pub length: usize,
    /// The parquet file with its rows.
    pub data: FileRef,
    /// Index of its first row in the whole dataset.
    pub from: usize,
    /// Its videos, one a camera.
    pub videos: Vec<VideoRef>,
    /// Statistics by feature key, in file order; empty where the dataset has none.
    pub stats: Vec<(String, Stats)>,
}

impl Episode {
    /// Indices of its rows in the whole dataset.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.from..self.from + self.length
    }

    /// The video of a camera.
    pub fn video(&self, key: &str) -> Option<&VideoRef> {
        self.videos.iter().find(|v| v.key == key)
    }
}

/// Everything below `meta/`.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) info: Info,
    pub(crate) tasks: Vec<String>,
    pub(crate) episodes: Vec<Episode>,
    pub(crate) stats: Vec<(String, Stats)>,
}

/// `meta/info.json` of a dataset.
pub(crate) fn info_path(root: &Path) -> PathBuf {
    root.join("meta/info.json")
}

/// Folder and file name of a part of the index.
pub(crate) fn episodes_path(file: FileRef) -> String {
    format!("meta/episodes/chunk-{:03}/file-{:03}.parquet", file.chunk, file.file)
}

/// Fills one of `info.json`'s path templates. `episode` is used by datasets of v2.1.
pub(crate) fn expand(template: &str, file: FileRef, episode: usize, key: &str) -> String {
    template
        .replace("{chunk_index:03d}", &format!("{:03}", file.chunk))
        .replace("{episode_chunk:03d}", &format!("{:03}", file.chunk))
        .replace("{file_index:03d}", &format!("{:03}", file.file))
        .replace("{episode_index:06d}", &format!("{episode:06}"))
        .replace("{video_key}", key)
}

impl Catalog {
    /// Reads everything below `root/meta` and checks that it is consistent and that the files it names exist.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let path = info_path(root);
        let info = Info::parse(&path, &disk::read(&path)?)?;
        let mut catalog = if info.is_v21() { super::v21::load(root, info)? } else { Self::load_v3(root, info)? };
        catalog.check(root)?;
        Ok(catalog)
    }

    fn load_v3(root: &Path, info: Info) -> Result<Self> {
        let mut episodes = Vec::new();
        for chunk in disk::list(&root.join("meta/episodes"))? {
            for path in disk::list(&chunk)?.iter().filter(|p| p.extension().is_some_and(|e| e == "parquet")) {
                read_episodes(path, &info, &mut episodes)?;
            }
        }
        let tasks_path = root.join("meta/tasks.parquet");
        let tasks = match (episodes.is_empty(), tasks_path.exists()) {
            (true, false) => Vec::new(),
            _ => read_tasks(&tasks_path)?,
        };
        let stats = read_stats(&root.join("meta/stats.json"), &info)?;
        Ok(Self { info, tasks, episodes, stats })
    }

    /// Drops episodes of which a crash left only a part, and refuses a dataset in which a finished one is damaged.
    fn check(&mut self, root: &Path) -> Result<()> {
        let path = info_path(root);
        let bad = |key: String, problem: String, remedy: &str| Err(DatasetError::invalid(&path, key, problem, remedy));
        let promised = self.info.total_episodes;
        if self.episodes.len() < promised {
            let problem = format!("{promised} are promised, meta/episodes lists {}", self.episodes.len());
            return bad("total_episodes".into(), problem, "Restore meta/episodes from a copy, or write the true count");
        }
        let mut next = 0;
        for (place, episode) in self.episodes.iter().enumerate() {
            let name = format!("episode {}", episode.index);
            if episode.index != place || episode.from != next || episode.length == 0 {
                let problem =
                    format!("it is number {place} in the list and should begin at row {next}, not {}", episode.from);
                return bad(name, problem, "The index has a gap or is out of order; restore meta/episodes from a copy");
            }
            next += episode.length;
        }
        let mut rows_of: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        let mut whole = 0;
        for episode in &self.episodes {
            let path = self.data_path(root, episode);
            let end = self.row_in_file(episode) + episode.length;
            let rows = *rows_of.entry(path.clone()).or_insert_with(|| table::count_rows(&path).ok());
            let complete = rows.is_some_and(|rows| rows >= end)
                && episode.videos.iter().all(|v| self.video_path(root, episode, v).is_some_and(|p| p.exists()));
            if !complete {
                if episode.index >= promised {
                    break;
                }
                // Said again with the reason, now that it is known to matter.
                let rows = table::count_rows(&path)?;
                if rows < end {
                    let problem = format!("it has {rows} rows, episode {} needs {end}", episode.index);
                    return Err(DatasetError::invalid(&path, "rows", problem, RESTORE));
                }
                let missing =
                    episode.videos.iter().filter_map(|v| self.video_path(root, episode, v)).find(|p| !p.exists());
                let path = missing.unwrap_or(path);
                let key = format!("episode {}", episode.index);
                return Err(DatasetError::invalid(&path, key, "its video is missing", RESTORE));
            }
            whole += 1;
        }
        self.episodes.truncate(whole);
        self.info.total_episodes = whole;
        self.info.total_frames = self.episodes.last().map_or(0, |e| e.rows().end);
        self.info.total_tasks = self.tasks.len();
        Ok(())
    }

    /// The parquet file with an episode's rows.
    pub(crate) fn data_path(&self, root: &Path, episode: &Episode) -> PathBuf {
        root.join(expand(&self.info.data_path, episode.data, episode.index, ""))
    }

    /// The mp4 file of an episode; `None` when `info.json` has no template.
    pub(crate) fn video_path(&self, root: &Path, episode: &Episode, video: &VideoRef) -> Option<PathBuf> {
        let template = self.info.video_path.as_ref()?;
        Some(root.join(expand(template, video.file, episode.index, &video.key)))
    }

    /// Place of an episode's first row in its parquet file.
    pub(crate) fn row_in_file(&self, episode: &Episode) -> usize {
        if self.info.is_v21() {
            return 0;
        }
        let before = self.episodes[..episode.index.min(self.episodes.len())].iter().rev();
        let first = before.take_while(|e| e.data == episode.data).last().map_or(episode.from, |e| e.from);
        episode.from - first
    }
}

fn read_episodes(path: &Path, info: &Info, episodes: &mut Vec<Episode>) -> Result<()> {
    let mut table = table::read(path, |_| true)?;
    let count = |name: &str, value: i64| -> Result<usize> {
        usize::try_from(value)
            .ok()
            .filter(|&n| n < 1 << 40)
            .ok_or_else(|| DatasetError::invalid(path, name, format!("{value} is out of range"), RESTORE))
    };
    let counts = |table: &Table, name: &str| -> Result<Vec<usize>> {
        table.i64s(path, name)?.iter().map(|&v| count(name, v)).collect()
    };
    let refs = |table: &Table, prefix: &str| -> Result<Vec<FileRef>> {
        let chunks = counts(table, &format!("{prefix}/chunk_index"))?;
        let files = counts(table, &format!("{prefix}/file_index"))?;
        Ok(chunks.into_iter().zip(files).map(|(chunk, file)| FileRef { chunk, file }).collect())
    };
    let indices = counts(&table, "episode_index")?;
    let (lengths, from) = (counts(&table, "length")?, counts(&table, "dataset_from_index")?);
    let (data, mut tasks) = (refs(&table, "data")?, table.texts(path, "tasks")?);
    let mut videos: Vec<(String, Vec<FileRef>, Vec<f64>, Vec<f64>)> = Vec::new();
    for feature in info.videos() {
        let prefix = format!("videos/{}", feature.key);
        let (start, end) = (format!("{prefix}/from_timestamp"), format!("{prefix}/to_timestamp"));
        let times = (table.f64s(path, &start)?, table.f64s(path, &end)?);
        videos.push((feature.key.clone(), refs(&table, &prefix)?, times.0, times.1));
    }
    let mut stats = take_stats(&mut table, info);
    for row in 0..table.rows {
        let of_row = |v: &(String, Vec<FileRef>, Vec<f64>, Vec<f64>)| VideoRef {
            key: v.0.clone(),
            file: v.1[row],
            from_s: v.2[row],
            to_s: v.3[row],
        };
        episodes.push(Episode {
            index: indices[row],
            tasks: std::mem::take(&mut tasks[row]),
            length: lengths[row],
            data: data[row],
            from: from[row],
            videos: videos.iter().map(of_row).collect(),
            stats: stats.get_mut(row).map(std::mem::take).unwrap_or_default(),
        });
    }
    Ok(())
}

/// The `stats/…` columns, one list of features a row; shorter than the table when columns are missing or ragged.
fn take_stats(table: &mut Table, info: &Info) -> Vec<Vec<(String, Stats)>> {
    let mut rows: Vec<Vec<(String, Stats)>> = vec![Vec::new(); table.rows];
    for feature in &info.features {
        let mut columns: BTreeMap<String, (usize, Vec<f64>)> = BTreeMap::new();
        for name in ["min", "max", "mean", "std", "count"].into_iter().chain(QUANTILES.map(|q| q.0)) {
            let column = table.take(&format!("stats/{}/{name}", feature.key));
            if let Some((width, values)) = column.and_then(|c| Some((c.width()?, c.values.to_f64()?))) {
                columns.insert(name.to_string(), (width, values));
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            let list = |name: &str| columns.get(name).and_then(|(w, v)| v.get(i * w..(i + 1) * w)).map(<[f64]>::to_vec);
            if let Some(stats) = Stats::from_lists(list, feature.is_visual()) {
                row.push((feature.key.clone(), stats));
            }
        }
    }
    rows
}

fn read_tasks(path: &Path) -> Result<Vec<String>> {
    let table = table::read(path, |_| true)?;
    // pandas calls an index without a name so.
    let name = if table.get("task").is_some() { "task" } else { "__index_level_0__" };
    let texts = table.texts(path, name)?;
    let indices = table.i64s(path, "task_index")?;
    let mut tasks = vec![String::new(); indices.len()];
    for (&index, text) in indices.iter().zip(texts) {
        let place = usize::try_from(index).ok().and_then(|i| tasks.get_mut(i));
        let place =
            place.ok_or_else(|| DatasetError::invalid(path, "task_index", "the numbers have a gap", RESTORE))?;
        *place = text.into_iter().next().unwrap_or_default();
    }
    Ok(tasks)
}

/// `stats.json`; empty when there is none, since it can be computed again.
pub(crate) fn read_stats(path: &Path, info: &Info) -> Result<Vec<(String, Stats)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let json: Value = serde_json::from_slice(&disk::read(path)?).map_err(|e| {
        DatasetError::invalid(path, "JSON", e.to_string(), "Run `etude dataset stats` to write it again")
    })?;
    let of = |f: &Feature| Some((f.key.clone(), Stats::from_json(json.get(&f.key)?, f.is_visual())?));
    Ok(info.features.iter().filter_map(of).collect())
}

/// The text of `stats.json`.
pub(crate) fn stats_text(stats: &[(String, Stats)]) -> String {
    let map: Map<_, _> = stats.iter().map(|(key, s)| (key.clone(), s.to_json())).collect();
    super::schema::to_pretty(&map)
}

/// Statistics of all episodes together, by feature.
pub(crate) fn merge_stats(info: &Info, episodes: &[Episode]) -> Vec<(String, Stats)> {
    let of =
        |key: &str| Stats::merge(episodes.iter().filter_map(|e| e.stats.iter().find(|s| s.0 == key).map(|s| &s.1)));
    info.features.iter().filter_map(|f| Some((f.key.clone(), of(&f.key)?))).collect()
}

/// Writes `tasks.parquet`. The `pandas` entry makes the text the frame's index, which is where LeRobot looks it up.
pub(crate) fn write_tasks(path: &Path, tasks: &[String]) -> Result<()> {
    let columns = vec![
        Column::scalar("task_index", Values::I64((0..tasks.len() as i64).collect())),
        Column::scalar("task", Values::Text(tasks.to_vec())),
    ];
    let column = |name: &str, pandas: &str, numpy: &str| json!({"name": name, "field_name": name, "pandas_type": pandas, "numpy_type": numpy, "metadata": null});
    let pandas = json!({
        "index_columns": ["task"], "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
    });
    table::write(path, &[columns], &[("pandas", pandas.to_string())])
}

/// Writes rows of `meta/episodes`, which will live in `file`.
pub(crate) fn write_episodes(path: &Path, episodes: &[Episode], file: FileRef) -> Result<()> {
    let rows = episodes.len();
    let ints = |name: String, of: &dyn Fn(&Episode) -> usize| {
        Column::scalar(name, Values::I64(episodes.iter().map(|e| of(e) as i64).collect()))
    };
    let mut columns = vec![
        ints("episode_index".into(), &|e| e.index),
        Column {
            name: "tasks".into(),
            values: Values::Text(episodes.iter().flat_map(|e| e.tasks.clone()).collect()),
            layout: Layout::List(episodes.iter().map(|e| e.tasks.len() as u32).collect()),
        },
        ints("length".into(), &|e| e.length),
        ints("data/chunk_index".into(), &|e| e.data.chunk),
        ints("data/file_index".into(), &|e| e.data.file),
        ints("dataset_from_index".into(), &|e| e.from),
        ints("dataset_to_index".into(), &|e| e.rows().end),
    ];
    let Some(first) = episodes.first() else {
        return Err(DatasetError::request("meta/episodes", "there are no episodes", "Please report this"));
    };
    for (i, video) in first.videos.iter().enumerate() {
        let name = |member: &str| format!("videos/{}/{member}", video.key);
        let times = |name: String, of: &dyn Fn(&VideoRef) -> f64| {
            Column::scalar(name, Values::F64(episodes.iter().filter_map(|e| e.videos.get(i)).map(of).collect()))
        };
        columns.push(ints(name("chunk_index"), &|e| e.videos.get(i).map_or(0, |v| v.file.chunk)));
        columns.push(ints(name("file_index"), &|e| e.videos.get(i).map_or(0, |v| v.file.file)));
        columns.push(times(name("from_timestamp"), &|v| v.from_s));
        columns.push(times(name("to_timestamp"), &|v| v.to_s));
    }
    for (i, (key, stats)) in first.stats.iter().enumerate() {
        let all: Option<Vec<&Stats>> =
            episodes.iter().map(|e| e.stats.get(i).filter(|s| s.0 == *key).map(|s| &s.1)).collect();
        // LeRobot cannot append to a dataset whose files have different columns: all rows or none.
        let Some(all) = all else { continue };
        for (k, (name, _)) in stats.lists().iter().enumerate() {
            if k == 4 {
                columns.push(count_column(key, &all));
            }
            let lists: Vec<Vec<f64>> = all.iter().filter_map(|s| s.lists().get(k).map(|l| l.1.clone())).collect();
            let lengths = lists.iter().map(|l| l.len() as u32).collect();
            let layout = if stats.is_image { Layout::Pixels } else { Layout::List(lengths) };
            columns.push(Column { name: format!("stats/{key}/{name}"), values: Values::F64(lists.concat()), layout });
        }
        if stats.quantiles.is_none() {
            columns.push(count_column(key, &all));
        }
    }
    columns.push(Column::scalar("meta/episodes/chunk_index", Values::I64(vec![file.chunk as i64; rows])));
    columns.push(Column::scalar("meta/episodes/file_index", Values::I64(vec![file.file as i64; rows])));
    table::write(path, &[columns], &[])
}

fn count_column(key: &str, all: &[&Stats]) -> Column {
    let counts = all.iter().map(|s| s.count as i64).collect();
    Column::lists(format!("stats/{key}/count"), Values::I64(counts), all.len(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_roll_over_into_the_next_chunk() {
        let at = FileRef { chunk: 0, file: 998 };
        assert_eq!(at.next(1000), FileRef { chunk: 0, file: 999 });
        assert_eq!(at.next(1000).next(1000), FileRef { chunk: 1, file: 0 });
    }

    #[test]
    fn templates_of_both_versions_are_filled() {
        let at = FileRef { chunk: 1, file: 23 };
        let new = expand("v/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4", at, 7, "a.b");
        assert_eq!(new, "v/a.b/chunk-001/file-023.mp4");
        let old = expand("data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet", at, 7, "");
        assert_eq!(old, "data/chunk-001/episode_000007.parquet");
    }
}
