//! Datasets made in one go, not recorded live: whole episodes come from memory, parts are made side by side and joined.
//! What the joined files hold depends on the episodes and their order alone, so any division into parts gives the same
//! bytes.

use super::disk;
use super::edit::{self, Edited};
use super::error::{DatasetError, Result};
use super::h264::{GOP, H264Encoder};
use super::lock::Lock;
use super::mp4::Track;
use super::pixels::Image;
use super::reader::Dataset;
use super::rebuild::{Builder, Files, NewEpisode, Piece};
use super::schema::Info;
use super::stats::{ImageStats, Stats};
use super::table::{Column, Values};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Key in `info.json` under which a generated dataset says how it was made.
pub const GENERATED: &str = "etude_generate";

/// Numbers of a column, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
}

/// Encodes the pictures of one camera and one episode in memory. The same pictures give the same bytes, whatever was
/// encoded before.
pub struct PictureEncoder {
    encoder: H264Encoder,
    size: (usize, usize),
    fps: u32,
    bytes: Vec<u8>,
    samples: Vec<(u32, bool)>,
    stats: ImageStats,
}

/// The pictures of one camera and one episode, encoded.
pub struct EncodedPictures {
    track: Track,
    bytes: Vec<u8>,
    stats: Stats,
}

impl PictureEncoder {
    /// For pictures of `width` x `height` pixels, both even; `quantiser` is H.264's, 0 to 51, smaller is better.
    ///
    /// # Errors
    /// [`DatasetError::Request`] for a size that cannot be encoded.
    pub fn new(width: usize, height: usize, fps: u32, quantiser: u8) -> Result<Self> {
        let encoder = H264Encoder::with_quantiser(width, height, fps, quantiser)
            .map_err(|problem| DatasetError::request("pictures", problem, "Use even sizes from 16 to 4096 pixels"))?;
        let (bytes, samples, stats) = Default::default();
        Ok(Self { encoder, size: (width, height), fps, bytes, samples, stats })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`DatasetError::Request`] for one of another size, or when the encoder fails.
    pub fn add(&mut self, image: &Image) -> Result<()> {
        if (image.width, image.height) != self.size || !image.is_consistent() {
            let problem = format!("{}x{} instead of {}x{}", image.width, image.height, self.size.0, self.size.1);
            return Err(DatasetError::request("picture", problem, "Give every picture of a camera the same size"));
        }
        let packet = self
            .encoder
            .encode(image, GOP)
            .map_err(|problem| DatasetError::request("picture", problem, "Try another size or quality"))?;
        self.stats.add(image);
        self.samples.push((packet.bytes.len() as u32, packet.key));
        self.bytes.extend_from_slice(&packet.bytes);
        Ok(())
    }

    /// The encoded episode.
    ///
    /// # Errors
    /// [`DatasetError::Request`] without any picture.
    pub fn finish(self) -> Result<EncodedPictures> {
        let none = || DatasetError::request("pictures", "there are none", "Add at least one");
        let setup = self.encoder.setup().cloned().ok_or_else(none)?;
        let track = Track { setup, width: self.size.0, height: self.size.1, fps: self.fps, samples: self.samples };
        Ok(EncodedPictures { track, bytes: self.bytes, stats: self.stats.finish() })
    }
}

impl EncodedPictures {
    /// Bytes of the encoded pictures.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A whole episode.
pub struct WholeEpisode {
    /// Its rows.
    pub rows: usize,
    /// What is to be done in it.
    pub task: String,
    /// The columns by key, without those that every dataset has (`timestamp` and so on).
    pub columns: Vec<(String, Numbers)>,
    /// One entry a camera, in the order of the dataset's features.
    pub pictures: Vec<EncodedPictures>,
}

impl WholeEpisode {
    fn into_new(self, info: &Info) -> Result<NewEpisode> {
        let rows = self.rows;
        let mut columns = Vec::new();
        for (key, numbers) in self.columns {
            let width = info.feature(&key).map_or(0, super::Feature::width);
            let (count, values) = match numbers {
                Numbers::F32(v) => (v.len(), Values::F32(v)),
                Numbers::F64(v) => (v.len(), Values::F64(v)),
                Numbers::I64(v) => (v.len(), Values::I64(v)),
                Numbers::Bool(v) => (v.len(), Values::Bool(v)),
                Numbers::Text(v) => (v.len(), Values::Text(v)),
            };
            if count != rows * width {
                let problem = format!("{count} numbers for {rows} rows of {width}");
                return Err(DatasetError::request(key, problem, "Fill every row"));
            }
            columns.push(match width {
                1 => Column::scalar(key, values),
                width => Column::lists(key, values, rows, width),
            });
        }
        let mut videos = Vec::new();
        for pictures in self.pictures {
            if pictures.track.samples.len() != rows {
                let problem = format!("{} for {rows} rows", pictures.track.samples.len());
                return Err(DatasetError::request("pictures", problem, "Give every row one picture a camera"));
            }
            videos.push((Piece::in_memory(pictures.track, pictures.bytes), pictures.stats));
        }
        Ok(NewEpisode { length: rows, tasks: vec![self.task], columns, videos })
    }
}

/// The right to make a dataset in a folder; nobody else writes there while it lives.
pub struct Claim {
    root: PathBuf,
    _lock: Lock,
}

impl Claim {
    /// Takes the folder, creating it.
    ///
    /// # Errors
    /// [`DatasetError::Locked`] while another program writes there.
    pub fn take(root: &Path) -> Result<Self> {
        let lock = Lock::take(root)?;
        edit::complete_swap(root)?;
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// Whether there is a dataset already.
    pub fn is_made(&self) -> bool {
        super::catalog::info_path(&self.root).exists()
    }

    /// Folder for what is not finished, inside the dataset's own.
    pub fn workshop(&self) -> PathBuf {
        super::journal::private_dir(&self.root).join("generate")
    }

    /// Writes `text` into a file of the workshop, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&self, name: &str, text: &str) -> Result<()> {
        disk::create_dir(&self.workshop())?;
        disk::replace(&self.workshop().join(name), text.as_bytes())
    }

    /// Joins parts, in this order, into the dataset; `made` tells how it was made. The workshop is removed.
    ///
    /// # Errors
    /// When parts do not fit together or files cannot be written.
    pub fn join(self, parts: &[PathBuf], made: &Value) -> Result<Edited> {
        let datasets = parts.iter().map(Dataset::open).collect::<Result<Vec<_>>>()?;
        let done = edit::join(&datasets, &self.root, Files::Large, |info| {
            info.rest.clear();
            info.rest.insert(GENERATED.into(), made.clone());
        })?;
        drop(datasets);
        disk::remove_dir(&self.workshop())?;
        Ok(done)
    }
}

/// Writes a dataset of `episodes` in the folder `to`, whole or not at all: it is built beside it and moved.
/// `info` counts no episodes yet.
///
/// # Errors
/// [`DatasetError::Request`] for an episode that does not fit `info`, and the reason when files cannot be written.
pub fn write_part(to: &Path, info: &Info, episodes: Vec<WholeEpisode>) -> Result<()> {
    let work = to.with_extension("new");
    disk::remove_dir(&work)?;
    disk::create_dir(&work)?;
    let mut builder = Builder::new(&work, Files::Large, info.clone());
    for episode in episodes {
        builder.push(episode.into_new(info)?)?;
    }
    builder.finish()?;
    disk::remove_dir(to)?;
    disk::rename(&work, to)?;
    disk::sync_parent(to)
}

/// How shards of one run belong together.
pub(crate) struct Shards {
    /// Places of the datasets in the order of their shards.
    pub(crate) order: Vec<usize>,
    /// What the whole says of how it was made.
    pub(crate) made: Value,
}

/// Finds out whether `infos` are the shards of one run of `etude generate`.
///
/// # Errors
/// [`DatasetError::Request`] when some of them are missing or occur twice.
pub(crate) fn shards(infos: &[&Info]) -> Result<Option<Shards>> {
    let notes: Option<Vec<&Map<String, Value>>> =
        infos.iter().map(|info| info.rest.get(GENERATED).and_then(Value::as_object)).collect();
    let Some(notes) = notes else { return Ok(None) };
    let Some(first) = notes.first() else { return Ok(None) };
    let place = |note: &Map<String, Value>| {
        let (index, count) = note.get("shard")?.as_str()?.split_once('/')?;
        Some((index.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
    };
    let places: Option<Vec<(usize, usize)>> = notes.iter().map(|note| place(note)).collect();
    let Some(places) = places else { return Ok(None) };
    let count = places[0].1;
    let one_run = notes.iter().all(|note| note.get("settings") == first.get("settings"));
    if !one_run || places.iter().any(|place| place.1 != count) {
        return Ok(None);
    }
    let mut order = Vec::new();
    for shard in 0..count {
        let mut found = (0..places.len()).filter(|i| places[*i].0 == shard);
        let problem = match (found.next(), found.next()) {
            (Some(place), None) => {
                order.push(place);
                continue;
            }
            (None, _) => "is missing",
            (Some(_), Some(_)) => "is given twice",
        };
        let remedy = "Give each shard of the run once; a missing one is made by the same command with its --shard";
        return Err(DatasetError::request(format!("shard {shard}/{count}"), problem, remedy));
    }
    let tried: u64 = notes.iter().filter_map(|note| note.get("tried")?.as_u64()).sum();
    let settings = first.get("settings").cloned().unwrap_or_default();
    Ok(Some(Shards { order, made: json!({"settings": settings, "tried": tried}) }))
}
