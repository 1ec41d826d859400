//! Checkpoints in LeRobot's layout: `config.json`, `model.safetensors` with LeRobot's tensor names, and a pre- and a
//! post-processor with the statistics. LeRobot loads what is written here, and what LeRobot wrote is read here.

mod config;
mod error;
mod features;
mod folder;
mod half;
mod processor;
mod safetensors;
mod weights;

pub use config::{PolicyConfig, PolicyKind};
pub use error::{CheckpointError, ConfigProblem, Result};
pub use features::{Feature, FeatureKind, Features, backbone_width};
pub use folder::{Checkpoint, Contents, write};
pub use safetensors::{NamedTensor, StoredTensor, TensorFile, write_tensors};
pub use weights::{collect, load};

/// Names of a checkpoint's files, LeRobot's.
pub mod file {
    /// The policy's configuration.
    pub const CONFIG: &str = "config.json";
    /// The weights.
    pub const WEIGHTS: &str = "model.safetensors";
    /// What happens to an observation before the policy.
    pub const PREPROCESSOR: &str = "policy_preprocessor.json";
    /// What happens to an action after the policy.
    pub const POSTPROCESSOR: &str = "policy_postprocessor.json";
}
