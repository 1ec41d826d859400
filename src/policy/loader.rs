//! A dataset ready for training: columns in memory, pictures decoded once into a cache, batches put together beside the step.

use super::augment::{Augmentation, Shading};
use super::pictures::PictureCache;
use crate::dataset::{Dataset, DatasetError, schema};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Column with the chunk an expert would send from each row on.
const CHUNK: &str = "etude.chunk";
/// Column with what the simulation knows.
const LABELS: &str = "etude.labels";
/// Column with the seed of a generated episode; further attempts at it count up in steps of 2^32.
const GENERATE_SEED: &str = "etude.generate_seed";
/// Seeds that are kept for choosing and judging policies.
const KEPT_SEEDS: std::ops::Range<f64> = super::KEPT_SEEDS as f64..4_294_967_296.0;
/// Name of the label that counts phases.
const PHASE: &str = "phase";
/// Batches that wait for the step.
const AHEAD: usize = 2;

/// A dataset cannot be trained on.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// It does not hold what is needed.
    #[error("{dataset}: {problem}; {remedy}")]
    Unfit {
        /// Its folder.
        dataset: String,
        /// What is missing.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The cache of pictures could not be kept.
    #[error("cache of decoded pictures: {0}; free some space where the run's folder is")]
    Cache(std::io::Error),
}

/// What is read of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Cameras by short name, in order; `None` takes all.
    pub cameras: Option<Vec<String>>,
    /// Width and height the pictures are brought to; `None` leaves them.
    pub size: Option<(usize, usize)>,
    /// Targets in a chunk.
    pub chunk: usize,
    /// Moments in an observation.
    pub n_obs_steps: usize,
}

/// A camera as the policy sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CameraInput {
    /// Short name, `wrist`.
    pub name: String,
    /// Width of the pictures, pixels.
    pub width: usize,
    /// Height of the pictures, pixels.
    pub height: usize,
}

/// What the simulation knows of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Names of the columns; the phase, if there is one, is the last.
    pub names: Vec<String>,
    /// Number of phases, 0 without.
    pub phases: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

/// A dataset in memory.
#[derive(Debug)]
pub struct TrainData {
    /// Names of the joints, `shoulder_pan.pos`.
    pub joints: Vec<String>,
    /// Control ticks a second: one step of a chunk.
    pub fps: u32,
    /// The robot's kind as the dataset names it.
    pub robot: Option<String>,
    /// Cameras in the order of the pictures.
    pub cameras: Vec<CameraInput>,
    /// Width and height of their pictures as they were recorded.
    pub recorded: Vec<(usize, usize)>,
    /// Rows.
    pub rows: usize,
    /// Episodes.
    pub episodes: usize,
    /// Measured joints, row after row.
    pub state: Vec<f32>,
    /// Chunks, row after row.
    pub chunk: Vec<f32>,
    /// Targets in a chunk.
    pub chunk_size: usize,
    /// Whether each target lies beyond its episode.
    pub is_pad: Vec<bool>,
    /// Labels, if there are any.
    pub labels: Option<Labels>,
    /// Task texts.
    pub tasks: Vec<String>,
    /// Number of each row's task.
    pub task_of: Vec<usize>,
    /// Hash of everything that is learnt from except the pictures: which data a run saw.
    pub fingerprint: String,
    /// Whether somebody disturbed the demonstrations, so that they show how to recover.
    pub shows_recoveries: bool,
    n_obs_steps: usize,
    /// First row of each row's episode.
    first_of: Vec<usize>,
    /// Pictures of each dataset, with its first row.
    pictures: Vec<(usize, PictureCache)>,
}

impl TrainData {
    /// Reads the dataset in `root`; `progress` is told of decoded rows. A cache too large for memory becomes a file in
    /// `scratch`.
    ///
    /// # Errors
    /// [`LoadError`]: what is missing or damaged.
    pub fn open(
        root: &Path,
        wanted: &Wanted,
        scratch: &Path,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, LoadError> {
        let dataset = Dataset::open(root)?;
        let unfit = |problem: String, remedy: &str| LoadError::Unfit {
            dataset: root.display().to_string(),
            problem,
            remedy: remedy.into(),
        };
        if dataset.is_empty() {
            return Err(unfit("it has no rows".into(), "record or generate episodes first"));
        }
        for column in [schema::extra::SEED, GENERATE_SEED] {
            if dataset.info().feature(column).is_some()
                && let Some(seed) = dataset.scalars(column)?.into_iter().find(|seed| KEPT_SEEDS.contains(seed))
            {
                let (problem, remedy) = (
                    format!(
                        "an episode began with seed {seed}; seeds from {} on are for evaluation",
                        super::KEPT_SEEDS
                    ),
                    "leave those episodes out with `etude dataset delete`",
                );
                return Err(unfit(problem, remedy));
            }
        }
        let names = dataset.info().feature(schema::ACTION).map(|feature| feature.names.clone()).unwrap_or_default();
        let joints: Vec<String> =
            names.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_string())).collect();
        let (state, action) = (dataset.rows(schema::STATE)?, dataset.rows(schema::ACTION)?);
        if joints.is_empty() || joints.len() != action.width || state.width != action.width {
            let problem = format!("{} names for {} actions and {} states", joints.len(), action.width, state.width);
            return Err(unfit(problem, "train on a dataset whose state and action are the same named joints"));
        }
        let cameras = cameras_of(&dataset, wanted).map_err(|(problem, remedy)| unfit(problem, &remedy))?;
        let (rows, width) = (dataset.len(), joints.len());
        let mut data = Self {
            fps: dataset.info().fps,
            robot: dataset.info().robot_type.clone(),
            rows,
            episodes: dataset.episodes().len(),
            state: state.values.clone(),
            chunk: Vec::with_capacity(rows * wanted.chunk * width),
            chunk_size: wanted.chunk,
            is_pad: Vec::with_capacity(rows * wanted.chunk),
            labels: labels_of(&dataset)?,
            tasks: dataset.tasks().to_vec(),
            task_of: vec![0; rows],
            fingerprint: String::new(),
            shows_recoveries: dataset.info().feature("etude.sent").is_some(),
            n_obs_steps: wanted.n_obs_steps.max(1),
            first_of: vec![0; rows],
            pictures: Vec::new(),
            joints,
            recorded: cameras.iter().map(|camera| recorded_size(&dataset, camera)).collect(),
            cameras,
        };
        for episode in dataset.episodes() {
            data.first_of[episode.rows()].fill(episode.from);
        }
        if dataset.tasks().len() > 1 {
            let numbers = dataset.scalars("task_index")?;
            data.task_of = numbers.iter().map(|number| *number as usize).collect();
        }
        let whole = dataset.info().feature(CHUNK).and_then(|feature| {
            let info = feature.rest.get("info")?;
            Some((
                info["steps"].as_u64()? as usize,
                info["hz"].as_u64().unwrap_or(u64::from(dataset.info().fps)) as u32,
            ))
        });
        match whole {
            Some((steps, hz)) if steps >= wanted.chunk => data.take_chunks(&dataset.rows(CHUNK)?.values, steps, hz),
            Some((steps, _)) => {
                let problem = format!("its chunks have {steps} targets, the policy wants {}", wanted.chunk);
                return Err(unfit(problem, "generate with a larger --chunk, or choose a policy with a shorter one"));
            }
            None => data.cut_chunks(&dataset, &action.values),
        }
        if let Some(bad) = data.state.iter().chain(&data.chunk).position(|value| !value.is_finite()) {
            let row = bad / width;
            return Err(unfit(format!("a number near row {row} is not finite"), "run `etude dataset check` on it"));
        }
        data.fingerprint = data.hash();
        data.pictures = vec![(0, PictureCache::decode(root, &data.cameras, rows, scratch, progress)?)];
        Ok(data)
    }

    /// Reads several datasets as one, as [`Self::open`] reads each.
    ///
    /// # Errors
    /// [`LoadError`], also where they do not go together.
    pub fn open_all(
        roots: &[PathBuf],
        wanted: &Wanted,
        scratch: &Path,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, LoadError> {
        let mut joined: Option<Self> = None;
        for root in roots {
            let next = Self::open(root, wanted, scratch, progress)?;
            joined = Some(match joined {
                None => next,
                Some(data) => join(data, next).map_err(|problem| LoadError::Unfit {
                    dataset: root.display().to_string(),
                    problem,
                    remedy: format!("it does not go together with {}; train on each alone", roots[0].display()),
                })?,
            });
        }
        joined.ok_or_else(|| LoadError::Unfit {
            dataset: "datasets".into(),
            problem: "none is given".into(),
            remedy: "name at least one".into(),
        })
    }

    /// Chunks as the expert would have sent them.
    fn take_chunks(&mut self, chunks: &[f32], steps: usize, hz: u32) {
        let (width, kept) = (self.joints.len(), self.chunk_size * self.joints.len());
        for chunk in chunks.chunks_exact(steps * width) {
            self.chunk.extend(&chunk[..kept]);
        }
        self.is_pad.resize(self.rows * self.chunk_size, false);
        self.fps = hz;
    }

    /// Chunks of the actions that followed, held at the end of the episode.
    fn cut_chunks(&mut self, dataset: &Dataset, action: &[f32]) {
        let width = self.joints.len();
        for episode in dataset.episodes() {
            for row in episode.rows() {
                for step in row..row + self.chunk_size {
                    let at = step.min(episode.rows().end - 1);
                    self.chunk.extend(&action[at * width..(at + 1) * width]);
                    self.is_pad.push(step != at);
                }
            }
        }
    }

    fn hash(&self) -> String {
        let mut hash = Xxh3::new();
        for text in self.joints.iter().chain(&self.tasks) {
            hash.update(text.as_bytes());
        }
        for value in self.state.iter().chain(&self.chunk) {
            hash.update(&value.to_bits().to_le_bytes());
        }
        format!("{:016x}", hash.digest())
    }

    /// Mean and standard deviation of each joint.
    pub fn state_statistics(&self) -> (Vec<f32>, Vec<f32>) {
        statistics(&self.state, self.joints.len())
    }

    /// Mean size of each number of a chunk relative to the present joints.
    pub fn target_sizes(&self) -> Vec<f32> {
        let width = self.joints.len();
        let mut sums = vec![0.0f64; self.chunk_size * width];
        for (state, chunk) in self.state.chunks_exact(width).zip(self.chunk.chunks_exact(sums.len())) {
            for (index, (sum, target)) in sums.iter_mut().zip(chunk).enumerate() {
                *sum += f64::from((target - state[index % width]).abs());
            }
        }
        sums.iter().map(|sum| (sum / self.rows as f64) as f32).collect()
    }

    /// Row of each sample: every epoch is a new shuffle.
    fn sampler(&self, seed: u64) -> Sampler {
        Sampler { rows: self.rows, seed, epoch: u64::MAX, order: Vec::new() }
    }

    /// Puts a batch together.
    fn prepare(
        &self,
        rows: &[usize],
        step: usize,
        seed: u64,
        augmentation: &Augmentation,
    ) -> Result<Prepared, LoadError> {
        let (width, count) = (self.joints.len(), rows.len());
        let mut prepared = Prepared { step, seed, count, ..Prepared::default() };
        let moments: Vec<usize> = rows
            .iter()
            .flat_map(|row| (0..self.n_obs_steps).rev().map(|back| row.saturating_sub(back).max(self.first_of[*row])))
            .collect();
        let mut bytes = vec![0; self.cameras.iter().map(|camera| 3 * camera.width * camera.height).sum()];
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for camera in &self.cameras {
            prepared.pictures.push(Vec::with_capacity(moments.len() * 3 * camera.width * camera.height));
        }
        let mut shading = vec![Shading::default(); self.cameras.len()];
        for (number, row) in moments.iter().enumerate() {
            let part = self.pictures.partition_point(|(first, _)| first <= row).saturating_sub(1);
            if let Some((first, pictures)) = self.pictures.get(part).filter(|_| !bytes.is_empty()) {
                pictures.read(row - first, &mut bytes).map_err(LoadError::Cache)?;
            }
            if number.is_multiple_of(self.n_obs_steps) {
                shading.fill_with(|| augmentation.draw(&mut random));
            }
            let mut at = 0;
            for ((camera, planes), shading) in self.cameras.iter().zip(&mut prepared.pictures).zip(&shading) {
                let size = 3 * camera.width * camera.height;
                shading.to_planes(&bytes[at..at + size], (camera.width, camera.height), planes);
                at += size;
            }
        }
        for row in &moments {
            prepared.state.extend(&self.state[row * width..(row + 1) * width]);
        }
        for row in rows {
            let chunk = self.chunk_size * width;
            prepared.action.extend(&self.chunk[row * chunk..(row + 1) * chunk]);
            prepared.is_pad.extend(&self.is_pad[row * self.chunk_size..(row + 1) * self.chunk_size]);
            if let Some(labels) = &self.labels {
                prepared.labels.extend(&labels.values[row * labels.names.len()..(row + 1) * labels.names.len()]);
            }
            prepared.tasks.push(self.tasks.get(self.task_of[*row]).cloned().unwrap_or_default());
        }
        Ok(prepared)
    }

    /// Batches from step `from` on, put together in a thread of their own. The same seed gives the same batches, also after a
    /// resumed run. The thread ends when the receiver is dropped.
    pub fn batches(
        self: &Arc<Self>,
        batch: usize,
        from: usize,
        seed: u64,
        augmentation: Augmentation,
    ) -> Receiver<Result<Prepared, LoadError>> {
        let (sender, receiver) = sync_channel(AHEAD);
        let data = self.clone();
        std::thread::spawn(move || data.feed(&sender, batch, from, seed, &augmentation));
        receiver
    }

    fn feed(
        &self,
        sender: &SyncSender<Result<Prepared, LoadError>>,
        batch: usize,
        from: usize,
        seed: u64,
        augmentation: &Augmentation,
    ) {
        let mut sampler = self.sampler(seed);
        for step in from.. {
            let rows: Vec<usize> = (step * batch..(step + 1) * batch).map(|sample| sampler.row(sample)).collect();
            if sender.send(self.prepare(&rows, step, seed, augmentation)).is_err() {
                return;
            }
        }
    }

    /// Some rows in order, without augmentation: what a trained network is checked on.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn rows_at(&self, rows: &[usize]) -> Result<Prepared, LoadError> {
        self.prepare(rows, 0, 0, &Augmentation::default())
    }
}

/// Numbers of a batch before they become tensors; see [`super::learner::Batch`] for the shapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prepared {
    /// Number of the step.
    pub step: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Rows.
    pub count: usize,
    /// For each camera.
    pub pictures: Vec<Vec<f32>>,
    /// Measured joints.
    pub state: Vec<f32>,
    /// Targets.
    pub action: Vec<f32>,
    /// Whether each target lies beyond its episode.
    pub is_pad: Vec<bool>,
    /// Labels; empty without.
    pub labels: Vec<f32>,
    /// Task texts.
    pub tasks: Vec<String>,
}

/// `next` behind `data`; what is different about it, where they do not go together.
fn join(mut data: TrainData, next: TrainData) -> Result<TrainData, String> {
    let same = [
        (data.joints == next.joints, "joints"),
        (data.cameras == next.cameras, "cameras or sizes of pictures"),
        (data.fps == next.fps, "rate of targets"),
        (data.chunk_size == next.chunk_size, "length of chunks"),
        (
            data.labels.as_ref().map(|labels| &labels.names) == next.labels.as_ref().map(|labels| &labels.names),
            "columns in etude.labels",
        ),
    ];
    if let Some((_, what)) = same.iter().find(|(same, _)| !same) {
        return Err(format!("it has other {what}"));
    }
    let rows = data.rows;
    data.rows += next.rows;
    data.episodes += next.episodes;
    data.state.extend(next.state);
    data.chunk.extend(next.chunk);
    data.is_pad.extend(next.is_pad);
    if let (Some(labels), Some(more)) = (&mut data.labels, next.labels) {
        labels.phases = labels.phases.max(more.phases);
        labels.values.extend(more.values);
    }
    let mut number_of = Vec::new();
    for task in next.tasks {
        let known = data.tasks.iter().position(|known| *known == task);
        number_of.push(known.unwrap_or(data.tasks.len()));
        if known.is_none() {
            data.tasks.push(task);
        }
    }
    data.task_of.extend(next.task_of.iter().map(|task| number_of.get(*task).copied().unwrap_or(0)));
    data.shows_recoveries |= next.shows_recoveries;
    data.first_of.extend(next.first_of.iter().map(|first| rows + first));
    data.pictures.extend(next.pictures.into_iter().map(|(first, pictures)| (rows + first, pictures)));
    data.fingerprint = format!("{:016x}", xxh3_64(format!("{} {}", data.fingerprint, next.fingerprint).as_bytes()));
    Ok(data)
}

struct Sampler {
    rows: usize,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl Sampler {
    fn row(&mut self, sample: usize) -> usize {
        let epoch = (sample / self.rows) as u64;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order = (0..self.rows).collect();
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(epoch);
            self.order.shuffle(&mut random);
        }
        self.order[sample % self.rows]
    }
}

/// Mean and standard deviation of each of `width` columns; a column that never changes has a deviation of 1.
fn statistics(values: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = (values.len() / width.max(1)).max(1) as f64;
    let (mut sums, mut squares) = (vec![0.0f64; width], vec![0.0f64; width]);
    for row in values.chunks_exact(width.max(1)) {
        for (column, value) in row.iter().enumerate() {
            sums[column] += f64::from(*value);
            squares[column] += f64::from(*value) * f64::from(*value);
        }
    }
    let deviation = |(sum, square): (&f64, &f64)| {
        let deviation = (square / rows - (sum / rows).powi(2)).max(0.0).sqrt();
        if deviation > 1e-6 { deviation as f32 } else { 1.0 }
    };
    let stds = sums.iter().zip(&squares).map(deviation).collect();
    (sums.iter().map(|sum| (sum / rows) as f32).collect(), stds)
}

type Problem = (String, String);

fn cameras_of(dataset: &Dataset, wanted: &Wanted) -> Result<Vec<CameraInput>, Problem> {
    let known: Vec<CameraInput> = (dataset.info().features.iter())
        .filter(|feature| feature.is_visual())
        .filter_map(|feature| {
            let name = feature.key.strip_prefix(schema::CAMERA_PREFIX).unwrap_or(&feature.key).to_string();
            let (width, height) = wanted.size.unwrap_or((*feature.shape.get(1)?, *feature.shape.first()?));
            Some(CameraInput { name, width, height })
        })
        .collect();
    let Some(names) = &wanted.cameras else { return Ok(known) };
    let find = |name: &String| {
        known.iter().find(|camera| camera.name == *name).cloned().ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(|camera| camera.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            (format!("it has no camera \"{name}\""), format!("it has {known}"))
        })
    };
    names.iter().map(find).collect()
}

/// Width and height of a camera's pictures in the dataset.
fn recorded_size(dataset: &Dataset, camera: &CameraInput) -> (usize, usize) {
    let feature = dataset.info().feature(&format!("{}{}", schema::CAMERA_PREFIX, camera.name));
    let sides = feature.and_then(|feature| Some((*feature.shape.get(1)?, *feature.shape.first()?)));
    sides.unwrap_or((camera.width, camera.height))
}

/// Labels with the phase moved to the end.
fn labels_of(dataset: &Dataset) -> Result<Option<Labels>, DatasetError> {
    let Some(feature) = dataset.info().feature(LABELS) else { return Ok(None) };
    let names: Vec<String> =
        feature.names.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_string())).collect();
    let rows = dataset.rows(LABELS)?;
    if names.len() != rows.width {
        return Ok(None);
    }
    let phase = names.iter().position(|name| name == PHASE);
    let order: Vec<usize> = (0..names.len()).filter(|index| Some(*index) != phase).chain(phase).collect();
    let values: Vec<f32> =
        rows.values.chunks_exact(rows.width).flat_map(|row| order.iter().map(|index| row[*index])).collect();
    let highest =
        phase.map(|_| values.iter().skip(names.len() - 1).step_by(names.len()).fold(0.0f32, |a, b| a.max(*b)));
    let phases = highest.map_or(0, |highest| highest as usize + 1);
    Ok(Some(Labels { names: order.iter().map(|index| names[*index].clone()).collect(), phases, values }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_every_row_once_in_another_order() {
        let mut sampler = Sampler { rows: 50, seed: 3, epoch: u64::MAX, order: Vec::new() };
        let epoch = |sampler: &mut Sampler, number: usize| (0..50).map(|i| sampler.row(number * 50 + i)).collect();
        let (first, second): (Vec<usize>, Vec<usize>) = (epoch(&mut sampler, 0), epoch(&mut sampler, 1));
        assert_ne!(first, second);
        for mut order in [first.clone(), second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..50));
        }
        assert_eq!(epoch(&mut sampler, 0), first);
    }
}
