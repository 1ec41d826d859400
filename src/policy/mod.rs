//! Policies: networks that see what cameras and joints see and answer with the next targets, and how they are trained.
//!
//! A [`Policy`] is what runs: [`load`] opens one from its folder, whatever its kind. A [`learner::Learner`] is what trains:
//! [`train::fit`] drives it with batches of [`loader::TrainData`]. Nothing here knows of Bevy; [`crate::rollout`] puts a
//! policy at an arm. Units outside a policy are the dataset's, LeRobot's numbers; each policy normalises for itself.

pub mod act;
pub mod augment;
pub mod checkpoint;
pub mod conv;
pub mod curves;
pub mod device;
pub mod diffusion;
pub mod events;
pub mod gate;
pub mod learner;
pub mod lerobot;
pub mod loader;
pub mod nn;
pub mod normalise;
pub mod optimiser;
pub mod pictures;
pub mod preset;
pub mod run_folder;
pub mod sentence;
pub mod small;
pub mod small_policy;
pub mod smolvla;
pub mod speed;
pub mod stack;
pub mod stack_op;
pub mod tensors;
pub mod train;
pub mod vision;
pub mod yardstick;

use crate::dataset::Image;
use burn::tensor::Device;
use loader::CameraInput;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// File with a policy's configuration, in LeRobot's layout.
pub const CONFIG_FILE: &str = "config.json";
/// File with its weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The first seed that is kept from training, for choosing and judging policies.
pub const KEPT_SEEDS: u64 = 90_000;
/// Key of `config.json` under which this program keeps its own entries.
pub const ORIGIN_KEY: &str = "etude";

/// A policy could not be opened or asked.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// A file could not be read or written.
    #[error("{file}: {source}; name the folder of a policy, the one with config.json and model.safetensors in it")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is not what it should be.
    #[error("{file}: {problem}; {remedy}")]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The weights are damaged or do not fit.
    #[error(transparent)]
    Tensors(#[from] tensors::TensorError),
    /// The weights do not fit the configuration.
    #[error("{file}: {problem}; its config.json belongs to other weights, restore both from one copy")]
    Weights {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// There is no such device.
    #[error("device {name}: {problem}; {remedy}")]
    Device {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A checkpoint in LeRobot's layout is damaged or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
    /// An observation is not what the policy wants.
    #[error("the policy cannot be asked: {0}; give it what its config.json lists")]
    Observation(String),
}

/// What an arm sees in one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Measured joints, LeRobot's numbers.
    pub state: Vec<f32>,
    /// A picture of each camera, in the order and size of [`PolicySpec::cameras`].
    pub pictures: Vec<Arc<Image>>,
}

/// What a policy is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The latest moments, oldest first, as many as [`PolicySpec::n_obs_steps`] says.
    pub history: &'a [Arc<Moment>],
    /// What to do, one sentence.
    pub task: &'a str,
}

/// Where a policy comes from: this program's entries in `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Names of the joints, `shoulder_pan.pos`, in order.
    pub joints: Vec<String>,
    /// Control ticks a second.
    pub fps: u32,
    /// The robot's kind.
    pub robot: Option<String>,
    /// Task texts it was trained on.
    pub tasks: Vec<String>,
    /// Fingerprint of the dataset.
    pub dataset: String,
    /// Range of each joint in the dataset, for the gate: least and greatest.
    #[serde(default)]
    pub state_range: Vec<(f32, f32)>,
    /// Width and height of each camera's pictures as they were recorded, before they were brought to the policy's size.
    #[serde(default)]
    pub recorded: Vec<(usize, usize)>,
    /// Noise on the commands of an arm that stands still, rad; 0 without.
    #[serde(default)]
    pub nudge_rad: f64,
}

/// What a policy needs and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Its kind: `small`, `act`, …
    pub kind: String,
    /// Names of the joints; empty where the checkpoint does not tell.
    pub joints: Vec<String>,
    /// Cameras in order.
    pub cameras: Vec<CameraInput>,
    /// Control ticks a second; `None` where the checkpoint does not tell.
    pub fps: Option<u32>,
    /// The robot's kind, where the checkpoint tells.
    pub robot: Option<String>,
    /// Moments in an observation.
    pub n_obs_steps: usize,
    /// Targets in a chunk.
    pub chunk_size: usize,
    /// Targets that are followed before the policy is asked again.
    pub n_action_steps: usize,
    /// Task texts it was trained on; empty where the checkpoint does not tell.
    pub tasks: Vec<String>,
    /// Least and greatest of each joint in its data; empty where the checkpoint does not tell.
    pub state_range: Vec<(f32, f32)>,
    /// Whether it reads the task text; others do the same whatever it says.
    pub reads: bool,
    /// Width and height of each camera's pictures in its data; empty where the checkpoint does not tell.
    pub recorded: Vec<(usize, usize)>,
    /// How overlapping chunks are averaged, see [`crate::rollout::Overlap::Mean`]; `None`: the newest counts.
    pub ensemble: Option<f32>,
    /// Noise on the commands of an arm that stands still, rad, see [`crate::rollout::Nudge`]; 0 without.
    pub nudge_rad: f64,
}

/// A trained network that answers observations.
pub trait Policy: Send {
    /// What it needs and gives.
    fn spec(&self) -> &PolicySpec;

    /// A chunk for each observation: absolute targets, [chunk_size * joints], step after step. It has no memory of earlier
    /// calls: the same observations, and the same `noise_seed` where the policy draws noise, give the same chunks.
    ///
    /// # Errors
    /// [`PolicyError::Observation`] when an observation lacks something.
    fn predict(&mut self, observations: &[Observation], noise_seed: u64) -> Result<Vec<Vec<f32>>, PolicyError>;
}

/// Reads a folder's `config.json`.
///
/// # Errors
/// [`PolicyError`] naming the file.
pub fn read_config(folder: &Path) -> Result<serde_json::Value, PolicyError> {
    let file = folder.join(CONFIG_FILE);
    let text = std::fs::read_to_string(&file).map_err(|source| PolicyError::Io { file: file.clone(), source })?;
    serde_json::from_str(&text).map_err(|error| PolicyError::Config {
        file,
        problem: format!("no JSON: {error}"),
        remedy: "restore it from a copy".into(),
    })
}

/// Where in `folder` a policy is: there, or in its `policy` or `pretrained_model`.
pub fn folder_of(folder: &Path) -> PathBuf {
    let places = [folder.to_path_buf(), folder.join("policy"), folder.join("pretrained_model")];
    places.into_iter().find(|place| place.join(CONFIG_FILE).is_file()).unwrap_or_else(|| folder.to_path_buf())
}

/// Opens the policy in `folder`, or the one in its `policy` or `pretrained_model`.
///
/// # Errors
/// [`PolicyError`] naming the file, what is wrong and what to do.
pub fn load(folder: &Path, device: &Device) -> Result<Box<dyn Policy>, PolicyError> {
    let folder = &folder_of(folder);
    let config = read_config(folder)?;
    match config["type"].as_str() {
        Some(small_policy::KIND) => Ok(Box::new(small_policy::SmallPolicy::open(folder, &config, device)?)),
        Some("act" | "diffusion" | "smolvla") => Ok(Box::new(lerobot::at_work::ChunkPolicy::open(folder, device)?)),
        other => Err(PolicyError::Config {
            file: folder.join(CONFIG_FILE),
            problem: format!("a policy of the kind {} is not known", other.unwrap_or("(none)")),
            remedy: format!("there are {}, act, diffusion", small_policy::KIND),
        }),
    }
}
