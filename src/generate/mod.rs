//! Synthetic episodes at scale: the scripted expert in many worlds at once, into one dataset.
//!
//! [`plan`] says which seeds become which episode, [`Maker`] makes one, which is drawn in one look or several, [`run()`] has
//! workers make parts of eight and joins them; [`redraw()`] draws what was generated in other looks. Episodes depend on
//! settings and seed alone and are joined in their order, so the dataset is the same, byte for byte, whatever the number of
//! workers or shards, and however often the run was killed.

mod carry_over;
mod demonstration;
mod easel;
mod labels;
mod look_ahead;
mod maker;
mod noise;
mod pilot;
pub mod plan;
mod planar;
mod redraw;
mod run;
mod settings;
mod starts;
mod teacher;

pub use carry_over::Follower;
pub use demonstration::{Demonstration, Moment, Upright, turn_symmetry};
pub use look_ahead::{LookAhead, Present};
pub use maker::{Attempt, Maker, column};
pub use noise::CommandNoise;
pub use pilot::Pilot;
pub use plan::Shard;
pub use planar::{PlanarSettings, run_planar};
pub use redraw::{Redraw, can_redraw, redraw};
pub use run::{Made, Progress, run};
pub use settings::{Camera, Settings, world_hash};
pub use starts::Starts;
pub use teacher::{Scripted, Teacher};

use crate::app::{Loaded, RunOptions};
use crate::dataset::{Dataset, DatasetError};
use crate::headless::StartError;
use crate::record::RecordError;
use crate::world::SpawnError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Why nothing can be generated.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// There is no simulated arm.
    #[error("there is no simulated arm in the scene; generate without --arm real")]
    NoArm,
    /// The scene has no expert.
    #[error(
        "this expert has nothing to do in this scene; choose another --expert, or a --task such as move_t or pick_place"
    )]
    NoExpert,
    /// A camera gave nothing.
    #[error("camera \"{name}\" gave no picture; look at the scene with `etude screenshot`")]
    NoPicture {
        /// The camera.
        name: String,
    },
    /// The recorded demonstrations cannot be carried over.
    #[error("{}: no demonstration can be used: {problem}; record some that grip, carry and set down, in this scene", root.display())]
    Demonstrations {
        /// The dataset.
        root: PathBuf,
        /// What is wrong with the last one.
        problem: String,
    },
    /// An option does not fit.
    #[error("{option}: {problem}; {remedy}")]
    Option {
        /// The option as typed.
        option: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Every attempt at an episode failed.
    #[error(
        "episode {episode}: {attempts} attempts failed, the first with seed {seed}; raise --limit, lower --noise, or keep \
         failures too with --keep all and look at them"
    )]
    Hopeless {
        /// The episode's number in the run.
        episode: u64,
        /// How often it was tried.
        attempts: u64,
        /// Seed of the first attempt.
        seed: u64,
    },
    /// A dataset is there that this run did not make.
    #[error("{}: {problem}; {remedy}", root.display())]
    Taken {
        /// The folder.
        root: PathBuf,
        /// What is there.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A worker could not be started, or ended without a word.
    #[error("worker: {0}; try fewer with --workers")]
    Worker(String),
    /// The policy that shall drive cannot be opened.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// It does not fit.
    #[error("this policy cannot drive here:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// It failed in an episode.
    #[error("seed {seed}: the policy failed: {problem}")]
    Pilot {
        /// The episode.
        seed: u64,
        /// What happened.
        problem: String,
    },
    /// No start could be drawn.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// An episode could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cameras do not fit.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The dataset cannot be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Reads the demonstrations of a dataset, and names them for [`Settings::from`].
///
/// # Errors
/// [`GenerateError::Demonstrations`] when none can be used.
pub fn demonstrations(
    root: &Path,
    loaded: &Loaded,
    options: &RunOptions,
    control_hz: u32,
) -> Result<(Vec<Arc<Demonstration>>, String), GenerateError> {
    let dataset = Dataset::open(root)?;
    let found = demonstration::read(&dataset, loaded, options, control_hz)?;
    let name = format!("{} {:016x}", found.len(), xxh3_64(format!("{found:?}").as_bytes()));
    Ok((found.into_iter().map(Arc::new).collect(), name))
}
