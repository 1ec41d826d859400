//! What training needs of a network, whatever its kind.

use super::loader::CameraInput;
use super::{Origin, PolicyError};
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use std::path::Path;

/// Rows of a dataset as tensors, in the dataset's own units. `B` rows, `O` moments each (the present one last), chunks of
/// `H` targets for `J` joints.
#[derive(Clone, Debug)]
pub struct Batch {
    /// For each camera, [B * O, 3, height, width], 0 to 1.
    pub pictures: Vec<Tensor<4>>,
    /// Measured joints, [B, O, J].
    pub state: Tensor<3>,
    /// Targets from the present row on, [B, H, J], absolute.
    pub action: Tensor<3>,
    /// Which targets lie beyond the end of their episode and repeat its last one, [B, H].
    pub is_pad: Tensor<2, Bool>,
    /// What the simulation knows of each row, [B, labels]; the last one is the phase where there are phases.
    pub labels: Option<Tensor<2>>,
    /// Weight of the labels in the loss.
    pub label_weight: f32,
    /// Weight of the phase in the loss.
    pub phase_weight: f32,
    /// The task texts, one a row.
    pub tasks: Vec<String>,
    /// Number of the step, for whoever draws noise.
    pub step: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// What a step tries to make small.
#[derive(Debug)]
pub struct Loss {
    /// What gradients are taken of, `[1]`.
    pub total: Tensor<1>,
    /// Its parts by name, for people.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

/// A network that can be trained.
pub trait Learner: Module {
    /// The loss of a batch.
    fn loss(&self, batch: &Batch) -> Loss;
}

/// A network that is kept as the folder of a policy.
pub trait Keep: Learner {
    /// The same network with weights and statistics of the policy in `folder`, to be trained further on `device`.
    ///
    /// # Errors
    /// [`PolicyError`] when it cannot be read or is another network.
    fn begin_with(self, folder: &Path, device: &Device) -> Result<Self, PolicyError>;

    /// Writes the policy into `folder`.
    ///
    /// # Errors
    /// [`PolicyError`] when a file cannot be written.
    fn save(
        &self,
        folder: &Path,
        cameras: &[CameraInput],
        origin: &Origin,
        n_action_steps: usize,
    ) -> Result<(), PolicyError>;
}
