//! The training loop, the same for every kind of policy.

use super::augment::Augmentation;
use super::learner::{Batch, Learner, Loss};
use super::loader::{LoadError, Prepared, TrainData};
use super::optimiser::{NotFinite, Optimiser, OptimiserConfig};
use super::tensors::TensorFile;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// How long and on what to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitConfig {
    /// Steps in all.
    pub steps: usize,
    /// Rows in a batch.
    pub batch: usize,
    /// How weights change.
    pub optimiser: OptimiserConfig,
    /// Changes of the pictures.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Weight of what the simulation knows; without effect on data that do not hold it.
    pub label_weight: f32,
    /// Weight of the phase.
    pub phase_weight: f32,
    /// Seed of weights and order.
    #[serde(default)]
    pub seed: u64,
}

/// Training stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The numbers ran away.
    #[error(
        "step {step}: the loss is no number any more; train with a smaller learning_rate, and look at the data with `etude dataset check`"
    )]
    Diverged {
        /// The step.
        step: usize,
    },
    /// A checkpoint does not fit.
    #[error("{file}: {problem}; resume with the preset and the dataset the run began with")]
    Resume {
        /// The file.
        file: String,
        /// What does not fit.
        problem: String,
    },
}

/// How a run is going.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Steps made.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Parts of the loss by name, means since the last report.
    pub losses: Vec<(&'static str, f32)>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Length of the gradient before clipping.
    pub gradient: f64,
    /// Rows a second since the last report.
    pub samples_per_second: f64,
    /// Time since this call began, s.
    pub seconds: f64,
    /// Time to the end, s.
    pub seconds_left: f64,
}

/// A run at a moment when it may be looked at.
pub struct Look<'a, L> {
    /// How it is going.
    pub progress: Progress,
    /// The network as it is trained.
    pub network: &'a L,
    /// The optimiser, with the averaged weights.
    pub optimiser: &'a Optimiser,
}

impl Prepared {
    /// Moves the numbers onto a device.
    pub fn into_batch(self, data: &TrainData, config: &FitConfig, device: &Device) -> Batch {
        let (count, joints) = (self.count, data.joints.len());
        let moments = self.state.len() / (count * joints).max(1);
        let picture = |(values, camera): (Vec<f32>, &super::loader::CameraInput)| {
            let shape = [count * moments, 3, camera.height, camera.width];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let width = self.labels.len() / count.max(1);
        Batch {
            pictures: self.pictures.into_iter().zip(&data.cameras).map(picture).collect(),
            state: Tensor::from_data(TensorData::new(self.state, [count, moments, joints]), device),
            action: Tensor::from_data(TensorData::new(self.action, [count, data.chunk_size, joints]), device),
            is_pad: Tensor::from_data(TensorData::new(self.is_pad, [count, data.chunk_size]), device),
            labels: (width > 0).then(|| Tensor::from_data(TensorData::new(self.labels, [count, width]), device)),
            label_weight: config.label_weight,
            phase_weight: config.phase_weight,
            tasks: self.tasks,
            step: self.step,
            seed: self.seed,
        }
    }
}

/// Trains `network`, which lives on an autodiff `device`, and gives it back with the averaged weights. Every `report_every`
/// steps, and after the last one, `look` sees how it goes and may end it. With `resume`, what [`Optimiser::to_file`] kept,
/// the run goes on where it was: the same batches, the same weights.
///
/// # Errors
/// [`TrainError`].
pub fn fit<L: Learner>(
    mut network: L,
    data: &Arc<TrainData>,
    config: &FitConfig,
    device: &Device,
    resume: Option<(&str, &TensorFile)>,
    report_every: usize,
    mut look: impl FnMut(Look<'_, L>) -> ControlFlow<()>,
) -> Result<L, TrainError> {
    keep_freed_memory();
    let mut optimiser = Optimiser::new(config.optimiser, config.steps, &network);
    if let Some((name, file)) = resume {
        let unfit = |problem| TrainError::Resume { file: name.to_string(), problem };
        network = optimiser.resume(network, file).map_err(unfit)?;
    }
    let first = optimiser.step_count();
    let batches = data.batches(config.batch, first, config.seed, config.augmentation.clone());
    let began = Instant::now();
    let (mut last, mut since) = (began, first);
    let mut sums: Vec<(&'static str, f32)> = Vec::new();
    for step in first..config.steps {
        // The loader only ends after us, so there is always a next batch.
        let Ok(prepared) = batches.recv() else { break };
        let batch = prepared?.into_batch(data, config, device);
        let Loss { total, parts } = network.loss(&batch);
        let gradients = GradientsParams::from_grads(total.backward(), &network);
        let rate = optimiser.rate();
        let (next, gradient) = optimiser.step(network, gradients).map_err(|NotFinite| TrainError::Diverged { step })?;
        network = next;
        for (name, value) in parts {
            let value = value.into_scalar::<f32>();
            match sums.iter_mut().find(|sum| sum.0 == name) {
                Some(sum) => sum.1 += value,
                None => sums.push((name, value)),
            }
        }
        let done = step + 1;
        if done.is_multiple_of(report_every.max(1)) || done == config.steps {
            let (now, steps) = (Instant::now(), done - since);
            let seconds = now.duration_since(last).as_secs_f64().max(1e-9);
            let all = now.duration_since(began).as_secs_f64();
            let progress = Progress {
                step: done,
                steps: config.steps,
                losses: sums.drain(..).map(|(name, sum)| (name, sum / steps as f32)).collect(),
                learning_rate: rate,
                gradient,
                samples_per_second: (steps * config.batch) as f64 / seconds,
                seconds: all,
                seconds_left: all / (done - first) as f64 * (config.steps - done) as f64,
            };
            (last, since) = (now, done);
            if look(Look { progress, network: &network, optimiser: &optimiser }).is_break() {
                break;
            }
        }
    }
    Ok(optimiser.averaged(network))
}

/// Lets the allocator keep what is freed: every large tensor would be a fresh mapping otherwise, whose pages fault in one
/// after the other; that cost a quarter of a training step.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt sets two of malloc's own parameters, under its lock; it is given no pointer.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}
