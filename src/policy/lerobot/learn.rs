//! Networks that learn from a dataset's rows.

use super::{ORIGIN_FILE, measure};
use crate::dataset::schema::{ACTION, CAMERA_PREFIX, STATE};
use crate::policy::act::{Act, ActConfig, ActInput};
use crate::policy::checkpoint::{self, Checkpoint, ConfigProblem, Contents, Features, PolicyConfig, PolicyKind};
use crate::policy::diffusion::{Diffusion, DiffusionConfig, DiffusionInput};
use crate::policy::learner::{Batch, Keep, Learner, Loss};
use crate::policy::loader::{CameraInput, TrainData};
use crate::policy::nn::Noise;
use crate::policy::normalise::{Normaliser, Statistics};
use crate::policy::{CONFIG_FILE, Origin, PolicyError, folder_of};
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use std::path::Path;

/// Spreads the numbers of steps over seeds.
const STEP_STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// What both kinds know besides their network.
#[derive(Debug, Clone)]
struct Frame {
    config: PolicyConfig,
    statistics: Statistics,
    normaliser: Normaliser,
    /// Keys of the cameras, in the order of a batch's pictures.
    cameras: Vec<String>,
}

impl Frame {
    fn new(data: &TrainData, features: Features, kind: PolicyKind) -> Result<Self, ConfigProblem> {
        let mut statistics = Statistics::default();
        measure(&mut statistics, STATE, &data.state, data.joints.len());
        measure(&mut statistics, ACTION, &data.chunk, data.joints.len());
        statistics.use_imagenet(&features);
        let config = PolicyConfig::new(kind, features);
        let normaliser = Normaliser::new(&statistics, &config.normalization, &config.features)?;
        let cameras = config.features.cameras().map(|(key, _)| key.to_string()).collect();
        Ok(Self { config, statistics, normaliser, cameras })
    }

    fn pictures(&self, batch: &Batch) -> Vec<Tensor<4>> {
        let each = batch.pictures.iter().zip(&self.cameras);
        each.map(|(picture, key)| self.normaliser.normalise(key, picture.clone())).collect()
    }

    /// Takes over the statistics of the checkpoint in a folder, which must see and give the same.
    fn begin_with(&mut self, folder: &Path) -> Result<Checkpoint, PolicyError> {
        let checkpoint = Checkpoint::open(&folder_of(folder))?;
        if checkpoint.config.features != self.config.features {
            return Err(PolicyError::Config {
                file: checkpoint.folder.join(CONFIG_FILE),
                problem: "it sees or gives something else than the data hold".into(),
                remedy: "choose its cameras with --cameras, or begin from nothing".into(),
            });
        }
        self.normaliser = checkpoint.normaliser()?;
        self.statistics = checkpoint.statistics.clone();
        self.config.normalization = checkpoint.config.normalization.clone();
        Ok(checkpoint)
    }

    fn save<M: Module>(&self, folder: &Path, module: &M, origin: &Origin) -> Result<(), PolicyError> {
        let contents = Contents { config: &self.config, statistics: &self.statistics, module };
        checkpoint::write(folder, &contents)?;
        let file = folder.join(ORIGIN_FILE);
        let text = serde_json::to_string_pretty(origin).unwrap_or_default();
        std::fs::write(&file, text).map_err(|source| PolicyError::Io { file, source })
    }
}

/// What the policy will see and give.
fn features(data: &TrainData) -> Features {
    let mut features = Features::of_arm(data.joints.len(), &[]);
    for camera in &data.cameras {
        let picture = checkpoint::Feature::picture(camera.height, camera.width);
        features.inputs.push((format!("{CAMERA_PREFIX}{}", camera.name), picture));
    }
    features
}

fn noise_of(batch: &Batch) -> Noise {
    Noise::new(batch.seed ^ (batch.step as u64 + 1).wrapping_mul(STEP_STRIDE))
}

/// ACT as it learns. The path of a tensor is LeRobot's name.
#[derive(Module, Debug)]
pub struct ActLearner {
    model: Act,
    #[module(skip)]
    frame: Frame,
    latent_dim: usize,
}

impl ActLearner {
    /// A network for a dataset, with random weights that follow from `seed`.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the data.
    pub fn new(
        config: &ActConfig,
        data: &TrainData,
        execute: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigProblem> {
        let config = ActConfig { chunk_size: data.chunk_size, n_action_steps: execute, ..config.clone() };
        let features = features(data);
        device.seed(seed);
        let model = Act::new(&config, &features, device)?;
        let latent_dim = config.latent_dim;
        Ok(Self { model, frame: Frame::new(data, features, PolicyKind::Act(config))?, latent_dim })
    }
}

impl Keep for ActLearner {
    fn begin_with(mut self, folder: &Path, _: &Device) -> Result<Self, PolicyError> {
        self.model = self.frame.begin_with(folder)?.load_into(self.model)?;
        Ok(self)
    }

    fn save(&self, folder: &Path, _: &[CameraInput], origin: &Origin, _: usize) -> Result<(), PolicyError> {
        self.frame.save(folder, &self.model, origin)
    }
}

impl Learner for ActLearner {
    fn loss(&self, batch: &Batch) -> Loss {
        let [rows, moments, joints] = batch.state.dims();
        let state = batch.state.clone().narrow(1, moments - 1, 1).reshape([rows, joints]);
        let normaliser = &self.frame.normaliser;
        let input = ActInput {
            state: Some(normaliser.normalise(STATE, state)),
            environment: None,
            images: self.frame.pictures(batch),
        };
        let actions = normaliser.normalise(ACTION, batch.action.clone());
        let noise = noise_of(batch).normal([rows, self.latent_dim], &actions.device());
        let loss = self.model.loss(input, actions, batch.is_pad.clone(), Some(noise));
        let mut parts = vec![("l1", loss.l1.detach())];
        parts.extend(loss.kl.map(|kl| ("kl", kl.detach())));
        Loss { total: loss.total, parts }
    }
}

/// The diffusion policy as it learns. The path of a tensor is LeRobot's name.
#[derive(Module, Debug)]
pub struct DiffusionLearner {
    diffusion: Diffusion,
    #[module(skip)]
    frame: Frame,
    n_obs_steps: usize,
    steps: usize,
}

impl DiffusionLearner {
    /// A network for a dataset, with random weights that follow from `seed`.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the data.
    pub fn new(
        config: &DiffusionConfig,
        data: &TrainData,
        execute: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigProblem> {
        let config = DiffusionConfig {
            horizon: data.chunk_size + config.n_obs_steps.max(1) - 1,
            n_action_steps: execute,
            // What was sent before the present is not learnt: it is never carried out.
            do_mask_loss_for_padding: true,
            ..config.clone()
        };
        let features = features(data);
        device.seed(seed);
        let diffusion = Diffusion::new(&config, &features, device)?;
        let (n_obs_steps, steps) = (config.n_obs_steps, config.num_train_timesteps);
        let frame = Frame::new(data, features, PolicyKind::Diffusion(config))?;
        Ok(Self { diffusion, frame, n_obs_steps, steps })
    }
}

impl Keep for DiffusionLearner {
    fn begin_with(mut self, folder: &Path, _: &Device) -> Result<Self, PolicyError> {
        self.diffusion = self.frame.begin_with(folder)?.load_into(self.diffusion)?;
        Ok(self)
    }

    fn save(&self, folder: &Path, _: &[CameraInput], origin: &Origin, _: usize) -> Result<(), PolicyError> {
        self.frame.save(folder, &self.diffusion, origin)
    }
}

impl Learner for DiffusionLearner {
    fn loss(&self, batch: &Batch) -> Loss {
        let normaliser = &self.frame.normaliser;
        let input = DiffusionInput {
            state: normaliser.normalise(STATE, batch.state.clone()),
            environment: None,
            images: self.frame.pictures(batch),
        };
        let actions = normaliser.normalise(ACTION, batch.action.clone());
        let [rows, _, joints] = actions.dims();
        let (device, before) = (actions.device(), self.n_obs_steps - 1);
        let (actions, is_pad) = if before > 0 {
            let first = actions.clone().narrow(1, 0, 1).expand([rows, before, joints]);
            let unlearnt = Tensor::<2, Bool>::full([rows, before], true, &device);
            (Tensor::cat(vec![first, actions], 1), Tensor::cat(vec![unlearnt, batch.is_pad.clone()], 1))
        } else {
            (actions, batch.is_pad.clone())
        };
        let mut source = noise_of(batch);
        let noise = source.normal(actions.dims(), &device);
        let steps = source.steps(rows, self.steps, &device);
        let total = self.diffusion.loss(input, actions, is_pad, noise, steps);
        Loss { parts: vec![("noise", total.clone().detach())], total }
    }
}
