//! Reading a dataset: rows, windows of rows, and pictures by time.

use super::catalog::{Catalog, Episode};
use super::error::{DatasetError, IoContext, RESTORE, Result};
use super::pixels::Image;
use super::schema::{Feature, Info};
use super::stats::Stats;
use super::table::{self, Values};
use super::video::Video;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Videos kept open at once; each holds a file and its decoder's reference pictures.
const OPEN_VIDEOS: usize = 8;
/// Decoded pictures kept, for readers that go back and forth.
const KEPT_PICTURES: usize = 32;

/// A column in memory: `width` numbers for each row of the dataset, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Numbers a row.
    pub width: usize,
    /// All numbers.
    pub values: Vec<f32>,
}

impl Rows {
    /// The numbers of row `index`; empty beyond the end.
    pub fn row(&self, index: usize) -> &[f32] {
        self.values.get(index * self.width..(index + 1) * self.width).unwrap_or_default()
    }
}

/// Rows around a row, and which of them lie outside its episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Indices in the whole dataset; those outside the episode are replaced by its first or last row.
    pub rows: Vec<usize>,
    /// Whether the row was replaced.
    pub is_pad: Vec<bool>,
}

/// An open dataset of v3.0 or v2.1. Reading needs no exclusive access: threads may share it.
pub struct Dataset {
    root: PathBuf,
    catalog: Catalog,
    columns: Mutex<BTreeMap<String, Arc<Rows>>>,
    videos: Mutex<VideoCache>,
}

#[derive(Default)]
struct VideoCache {
    open: VecDeque<(PathBuf, Video)>,
    pictures: VecDeque<((usize, usize), Arc<Image>)>,
    /// Encoded pictures of the parquet file read last, for datasets without video.
    encoded: Option<(PathBuf, String, Vec<Vec<u8>>)>,
}

/// A panic in another thread leaves the caches as valid as before: they hold finished entries only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dataset {
    /// Opens the dataset in folder `root`. Rows and pictures are read when they are asked for.
    ///
    /// # Errors
    /// Names the file and key that keep it from being opened. An episode of which a crash left a part is left out.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_path_buf();
        super::edit::complete_if_interrupted(&root)?;
        let catalog = Catalog::load(&root)?;
        Ok(Self { root, catalog, columns: Mutex::default(), videos: Mutex::default() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `meta/info.json`.
    pub fn info(&self) -> &Info {
        &self.catalog.info
    }

    /// The finished episodes in order.
    pub fn episodes(&self) -> &[Episode] {
        &self.catalog.episodes
    }

    /// The task texts by number.
    pub fn tasks(&self) -> &[String] {
        &self.catalog.tasks
    }

    /// Statistics of the whole dataset for a feature.
    pub fn stats(&self, key: &str) -> Option<&Stats> {
        self.catalog.stats.iter().find(|s| s.0 == key).map(|s| &s.1)
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Number of rows of all episodes.
    pub fn len(&self) -> usize {
        self.catalog.info.total_frames
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The episode with this number.
    ///
    /// # Errors
    /// [`DatasetError::Request`] when there are fewer.
    pub fn episode(&self, index: usize) -> Result<&Episode> {
        let count = self.catalog.episodes.len();
        self.catalog.episodes.get(index).ok_or_else(|| {
            let are = if count == 1 { "is 1 episode".into() } else { format!("are {count} episodes") };
            let problem = format!("there {are}, counted from 0");
            DatasetError::request(format!("episode {index}"), problem, "Name one of them")
        })
    }

    /// The episode that row `index` belongs to.
    ///
    /// # Errors
    /// [`DatasetError::Request`] when there are fewer rows.
    pub fn episode_of(&self, index: usize) -> Result<&Episode> {
        let after = self.catalog.episodes.partition_point(|e| e.from <= index);
        let episode = after.checked_sub(1).and_then(|i| self.catalog.episodes.get(i));
        episode.filter(|e| e.rows().contains(&index)).ok_or_else(|| {
            let problem = format!("there are {} rows, counted from 0", self.len());
            DatasetError::request(format!("row {index}"), problem, "Name one of them")
        })
    }

    fn feature(&self, key: &str) -> Result<&Feature> {
        self.catalog.info.feature(key).ok_or_else(|| {
            let names: Vec<_> = self.catalog.info.features.iter().map(|f| f.key.as_str()).collect();
            DatasetError::request(key, "the dataset has no such column", format!("It has {}", names.join(", ")))
        })
    }

    /// A column of numbers for all rows, in single precision; truth values become 0 and 1. Kept in memory.
    ///
    /// # Errors
    /// For unknown keys, cameras and texts, and for damaged files.
    pub fn rows(&self, key: &str) -> Result<Arc<Rows>> {
        if let Some(rows) = lock(&self.columns).get(key) {
            return Ok(rows.clone());
        }
        let mut rows = Rows { width: self.feature(key)?.width().max(1), values: Vec::new() };
        self.each_part(key, &mut |path, values, range| {
            let width = rows.width;
            let part = match values {
                Values::F32(v) => v.get(range.start * width..range.end * width).map(<[f32]>::to_vec),
                other => other.to_f64().and_then(|v| {
                    Some(v.get(range.start * width..range.end * width)?.iter().map(|&x| x as f32).collect())
                }),
            };
            let part =
                part.ok_or_else(|| DatasetError::invalid(path, key, format!("not {width} numbers a row"), RESTORE))?;
            rows.values.extend(part);
            Ok(())
        })?;
        let rows = Arc::new(rows);
        lock(&self.columns).insert(key.into(), rows.clone());
        Ok(rows)
    }

    /// A column of one number a row in double precision: clocks and indices. Not kept.
    ///
    /// # Errors
    /// As [`Dataset::rows`], and for columns of more than one number.
    pub fn scalars(&self, key: &str) -> Result<Vec<f64>> {
        if self.feature(key)?.width() != 1 {
            return Err(DatasetError::request(key, "it has more than one number a row", "Use `rows`"));
        }
        let mut all = Vec::with_capacity(self.len());
        self.each_part(key, &mut |path, values, range| {
            let part = values.to_f64().and_then(|v| v.get(range).map(<[f64]>::to_vec));
            all.extend(part.ok_or_else(|| DatasetError::invalid(path, key, "not one number a row", RESTORE))?);
            Ok(())
        })?;
        Ok(all)
    }

    /// A column of one text a row. Not kept.
    ///
    /// # Errors
    /// For unknown keys and columns that hold no texts, and for damaged files.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        self.feature(key)?;
        let mut all = Vec::with_capacity(self.len());
        self.each_part(key, &mut |path, values, range| {
            let part = match values {
                Values::Text(texts) => texts.get(range),
                _ => None,
            };
            let part = part.ok_or_else(|| DatasetError::invalid(path, key, "not one text a row", RESTORE))?;
            all.extend_from_slice(part);
            Ok(())
        })?;
        Ok(all)
    }

    /// Reads a column of every file and calls `take` with the rows of each file that belong to episodes.
    fn each_part(
        &self,
        key: &str,
        take: &mut dyn FnMut(&Path, &Values, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let episodes = &self.catalog.episodes;
        let mut at = 0;
        while let Some(first) = episodes.get(at) {
            let path = self.catalog.data_path(&self.root, first);
            let same = episodes[at..].iter().take_while(|e| self.catalog.data_path(&self.root, e) == path);
            let (count, rows) = same.fold((0, 0), |(n, rows), e| (n + 1, rows + e.length));
            let table = table::read(&path, |name| name == key)?;
            let column = table.get(key);
            let column = column.ok_or_else(|| DatasetError::invalid(&path, key, "the column is missing", RESTORE))?;
            take(&path, &column.values, 0..rows)?;
            at += count;
        }
        Ok(())
    }

    /// Steps of rows for offsets in seconds, LeRobot's `delta_timestamps`.
    ///
    /// # Errors
    /// [`DatasetError::Request`] when an offset is no whole number of rows (within 0.1 ms).
    pub fn steps(&self, offsets_s: &[f64]) -> Result<Vec<i64>> {
        let fps = f64::from(self.catalog.info.fps);
        let step = |&offset: &f64| {
            let rows = (offset * fps).round();
            if (rows / fps - offset).abs() > super::video::TIME_TOLERANCE_S || !rows.is_finite() {
                let problem = format!("{offset} s is not a whole number of rows at {fps} a second");
                return Err(DatasetError::request("offset", problem, "Use multiples of the row time"));
            }
            Ok(rows as i64)
        };
        offsets_s.iter().map(step).collect()
    }

    /// The rows at these steps from row `index`, held at the ends of its episode.
    ///
    /// # Errors
    /// As [`Dataset::episode_of`].
    pub fn window(&self, index: usize, steps: &[i64]) -> Result<Window> {
        let episode = self.episode_of(index)?;
        let (first, last) = (episode.from as i64, episode.rows().end as i64 - 1);
        let wanted = || steps.iter().map(|&s| (index as i64).saturating_add(s));
        Ok(Window {
            rows: wanted().map(|row| row.clamp(first, last) as usize).collect(),
            is_pad: wanted().map(|row| !(first..=last).contains(&row)).collect(),
        })
    }

    /// The picture of a camera in row `index`.
    ///
    /// # Errors
    /// For unknown cameras and damaged or missing files.
    pub fn frame(&self, index: usize, camera: &str) -> Result<Arc<Image>> {
        let episode = self.episode_of(index)?;
        self.picture(episode, index - episode.from, camera)
    }

    /// The picture of a camera `time_s` seconds into an episode: the nearest row's, held at the ends.
    ///
    /// # Errors
    /// As [`Dataset::frame`].
    pub fn frame_at(&self, episode: usize, time_s: f64, camera: &str) -> Result<Arc<Image>> {
        let episode = self.episode(episode)?;
        let row = (time_s * f64::from(self.catalog.info.fps)).round().clamp(0.0, (episode.length - 1) as f64);
        self.picture(episode, row as usize, camera)
    }

    fn picture(&self, episode: &Episode, row: usize, camera: &str) -> Result<Arc<Image>> {
        let features = &self.catalog.info.features;
        let position = features.iter().position(|f| f.key == camera && f.is_visual());
        let Some(position) = position else {
            let cameras: Vec<_> = features.iter().filter(|f| f.is_visual()).map(|f| f.key.as_str()).collect();
            let remedy = format!("It has {}", if cameras.is_empty() { "none".into() } else { cameras.join(", ") });
            return Err(DatasetError::request(camera, "the dataset has no such camera", remedy));
        };
        let mut cache = lock(&self.videos);
        let name = (position, episode.from + row);
        if let Some((_, picture)) = cache.pictures.iter().find(|p| p.0 == name) {
            return Ok(picture.clone());
        }
        let picture = Arc::new(match episode.video(camera) {
            Some(video) => {
                let path = self.catalog.video_path(&self.root, episode, video).ok_or_else(|| {
                    let path = super::catalog::info_path(&self.root);
                    DatasetError::invalid(&path, "video_path", "missing", "Write the template of the mp4 files' paths")
                })?;
                let time_s = video.from_s + row as f64 / f64::from(self.catalog.info.fps);
                let video = cache.video(&path)?;
                let frame = video.index_at(time_s)?;
                video.frame(frame)?
            }
            None => cache.encoded(
                &self.catalog.data_path(&self.root, episode),
                camera,
                self.catalog.row_in_file(episode) + row,
            )?,
        });
        cache.pictures.push_back((name, picture.clone()));
        if cache.pictures.len() > KEPT_PICTURES {
            cache.pictures.pop_front();
        }
        Ok(picture)
    }
}

impl VideoCache {
    /// The open video of a file; the one unused for longest is closed.
    fn video(&mut self, path: &Path) -> Result<&mut Video> {
        let entry = match self.open.iter().position(|v| v.0 == path).and_then(|i| self.open.remove(i)) {
            Some(entry) => entry,
            None => (path.to_path_buf(), Video::open(path)?),
        };
        if self.open.len() >= OPEN_VIDEOS {
            self.open.pop_front();
        }
        self.open.push_back(entry);
        match self.open.back_mut() {
            Some((_, video)) => Ok(video),
            None => Err(DatasetError::invalid(path, "video", "could not be kept open", RESTORE)),
        }
    }

    /// A picture kept as PNG inside a parquet file.
    fn encoded(&mut self, path: &Path, camera: &str, row: usize) -> Result<Image> {
        if self.encoded.as_ref().is_none_or(|e| e.0 != path || e.1 != camera) {
            let table = table::read(path, |name| name == camera)?;
            let Some(Values::Bytes(rows)) = table.get(&format!("{camera}.bytes")).map(|c| &c.values) else {
                return Err(DatasetError::invalid(path, camera, "there are no pictures in this column", RESTORE));
            };
            self.encoded = Some((path.to_path_buf(), camera.into(), rows.clone()));
        }
        let bytes = self.encoded.as_ref().and_then(|e| e.2.get(row));
        let bytes =
            bytes.ok_or_else(|| DatasetError::invalid(path, camera, format!("row {row} is missing"), RESTORE))?;
        decode_png(path, bytes)
    }
}

fn decode_png(path: &Path, bytes: &[u8]) -> Result<Image> {
    let bad = |e: png::DecodingError| match e {
        png::DecodingError::IoError(source) => Err(source).at(path, "read"),
        other => Err(DatasetError::invalid(path, "PNG", other.to_string(), RESTORE)),
    };
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = match decoder.read_info() {
        Ok(reader) => reader,
        Err(e) => return bad(e),
    };
    let size = reader.output_buffer_size().filter(|&n| n < 1 << 28);
    let mut data = vec![0; size.ok_or_else(|| DatasetError::invalid(path, "PNG", "impossibly large", RESTORE))?];
    let info = match reader.next_frame(&mut data) {
        Ok(info) => info,
        Err(e) => return bad(e),
    };
    let rgb = match info.color_type {
        png::ColorType::Rgb => data,
        png::ColorType::Rgba => data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        png::ColorType::Grayscale => data.iter().flat_map(|&g| [g; 3]).collect(),
        png::ColorType::GrayscaleAlpha => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        png::ColorType::Indexed => return Err(DatasetError::invalid(path, "PNG", "a palette was left", RESTORE)),
    };
    Ok(Image { width: info.width as usize, height: info.height as usize, rgb })
}
