//! The diffusion policy's configuration, with LeRobot's names. Default values are those of LeRobot up to 0.5, meant for
//! training from nothing; a checkpoint's own file says everything.

use crate::policy::checkpoint::{ConfigProblem, Features, backbone_width};
use serde::{Deserialize, Serialize};

/// How actions are drawn out of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Sampler {
    /// With fresh noise in every step.
    Ddpm,
    /// Without: few steps suffice.
    Ddim,
}

/// How the share of noise grows from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Squared cosine of the share of signal, no step above 0.999.
    SquaredcosCapV2,
    /// Even from `beta_start` to `beta_end`.
    Linear,
    /// Even in the square root.
    ScaledLinear,
}

/// What the network foretells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The actions without noise.
    Sample,
}

/// What a diffusion policy is made of and how it is trained; keys as in LeRobot's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Ticks of observation it sees.
    pub n_obs_steps: usize,
    /// Actions foretold at once, from the first observed tick on.
    pub horizon: usize,
    /// How many of them are carried out, from the present tick on.
    pub n_action_steps: usize,
    /// Frames at an episode's end that are no start of a sample.
    pub drop_n_last_frames: usize,
    /// `resnet18`, or `resnet18_wN` with N channels instead of 64 after the first layer, which only Etude reads.
    pub vision_backbone: String,
    /// Height and width pictures are resized to; only `None` is supported.
    pub resize_shape: Option<[usize; 2]>,
    /// Share of the resized picture that is kept.
    pub crop_ratio: f64,
    /// Height and width that are cut out of a picture: anywhere while training, the middle otherwise.
    pub crop_shape: Option<[usize; 2]>,
    /// Whether training cuts anywhere.
    pub crop_is_random: bool,
    /// torchvision's name of the weights the backbone started from; `None` is random.
    pub pretrained_backbone_weights: Option<String>,
    /// Group norms instead of batch norms in the backbone.
    pub use_group_norm: bool,
    /// Points each picture is reduced to.
    pub spatial_softmax_num_keypoints: usize,
    /// Whether each camera has an encoder of its own.
    pub use_separate_rgb_encoder_per_camera: bool,
    /// Channels of the U-Net's levels; each but the last halves the time.
    pub down_dims: Vec<usize>,
    /// Width of a convolution over time.
    pub kernel_size: usize,
    /// Groups of the U-Net's norms.
    pub n_groups: usize,
    /// Width of the vector that tells the step.
    pub diffusion_step_embed_dim: usize,
    /// Whether the condition scales channels besides shifting them.
    pub use_film_scale_modulation: bool,
    /// How actions are drawn out of noise.
    pub noise_scheduler_type: Sampler,
    /// Steps of noise.
    pub num_train_timesteps: usize,
    /// How the share of noise grows.
    pub beta_schedule: BetaSchedule,
    /// Noise of the first step, of even schedules.
    pub beta_start: f64,
    /// Noise of the last step, of even schedules.
    pub beta_end: f64,
    /// What the network foretells.
    pub prediction_type: Prediction,
    /// Whether foretold actions are kept within `clip_sample_range` in every step.
    pub clip_sample: bool,
    /// Largest normalised action.
    pub clip_sample_range: f64,
    /// Steps of drawing; `None` is `num_train_timesteps`.
    pub num_inference_steps: Option<usize>,
    /// Whether actions behind the episode's end are left out of the loss.
    pub do_mask_loss_for_padding: bool,
    /// Learning rate.
    pub optimizer_lr: f64,
    /// Decay of Adam's two means.
    pub optimizer_betas: [f64; 2],
    /// Adam's small number.
    pub optimizer_eps: f64,
    /// Weight decay.
    pub optimizer_weight_decay: f64,
    /// Course of the learning rate.
    pub scheduler_name: String,
    /// Steps in which it rises.
    pub scheduler_warmup_steps: usize,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        Self {
            n_obs_steps: 2,
            horizon: 16,
            n_action_steps: 8,
            drop_n_last_frames: 7,
            vision_backbone: "resnet18".into(),
            resize_shape: None,
            crop_ratio: 1.0,
            crop_shape: None,
            crop_is_random: true,
            pretrained_backbone_weights: None,
            use_group_norm: true,
            spatial_softmax_num_keypoints: 32,
            use_separate_rgb_encoder_per_camera: false,
            down_dims: vec![512, 1024, 2048],
            kernel_size: 5,
            n_groups: 8,
            diffusion_step_embed_dim: 128,
            use_film_scale_modulation: true,
            noise_scheduler_type: Sampler::Ddpm,
            num_train_timesteps: 100,
            beta_schedule: BetaSchedule::SquaredcosCapV2,
            beta_start: 0.0001,
            beta_end: 0.02,
            prediction_type: Prediction::Epsilon,
            clip_sample: true,
            clip_sample_range: 1.0,
            num_inference_steps: None,
            do_mask_loss_for_padding: false,
            optimizer_lr: 1e-4,
            optimizer_betas: [0.95, 0.999],
            optimizer_eps: 1e-8,
            optimizer_weight_decay: 1e-6,
            scheduler_name: "cosine".into(),
            scheduler_warmup_steps: 500,
        }
    }
}

impl DiffusionConfig {
    /// Checks the numbers against each other and against the features.
    ///
    /// # Errors
    /// The first key that cannot be, with what it may be.
    pub fn check(&self, features: &Features) -> Result<(), ConfigProblem> {
        let refuse = |key: &str, problem: String, remedy: &str| Err(ConfigProblem::new(key, problem, remedy));
        let at_least_one = [
            ("n_obs_steps", self.n_obs_steps),
            ("n_action_steps", self.n_action_steps),
            ("spatial_softmax_num_keypoints", self.spatial_softmax_num_keypoints),
            ("n_groups", self.n_groups),
            ("num_train_timesteps", self.num_train_timesteps),
            ("down_dims", self.down_dims.len()),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return refuse(key, "is 0".into(), "give at least 1");
            }
        }
        if self.n_obs_steps - 1 + self.n_action_steps > self.horizon {
            let problem = format!(
                "is {}, observed ticks and actions need {}",
                self.horizon,
                self.n_obs_steps - 1 + self.n_action_steps
            );
            return refuse("horizon", problem, "give at least n_obs_steps - 1 + n_action_steps");
        }
        let factor = 1usize.checked_shl(self.down_dims.len() as u32).unwrap_or(usize::MAX);
        if self.horizon == 0 || !self.horizon.is_multiple_of(factor) {
            let problem = format!("{} cannot be halved {} times", self.horizon, self.down_dims.len());
            return refuse("horizon", problem, &format!("give a multiple of {factor}"));
        }
        if let Some(n) = self.down_dims.iter().find(|n| **n == 0 || !n.is_multiple_of(self.n_groups)) {
            let problem = format!("{n} cannot be split into {} groups", self.n_groups);
            return refuse("down_dims", problem, "give multiples of n_groups");
        }
        if self.kernel_size.is_multiple_of(2) {
            return refuse("kernel_size", format!("is {}", self.kernel_size), "give an odd number");
        }
        if self.diffusion_step_embed_dim < 4 || !self.diffusion_step_embed_dim.is_multiple_of(2) {
            let problem = format!("is {}", self.diffusion_step_embed_dim);
            return refuse("diffusion_step_embed_dim", problem, "give an even number from 4 on");
        }
        if let Some(n) = self.num_inference_steps.filter(|n| !(1..=self.num_train_timesteps).contains(n)) {
            let remedy = format!("give 1 to num_train_timesteps, {}", self.num_train_timesteps);
            return refuse("num_inference_steps", format!("is {n}"), &remedy);
        }
        if self.resize_shape.is_some() {
            let problem = "is given, and Etude does not resize inside the policy".into();
            return refuse("resize_shape", problem, "train with cameras of the size the policy shall see");
        }
        backbone_width(&self.vision_backbone)?;
        features.action_width()?;
        if features.state_width().is_none() {
            return refuse(
                "input_features",
                "hold no observation.state".into(),
                "train on a dataset with joint positions",
            );
        }
        let mut pictures = features.cameras().map(|(key, f)| (key, [f.shape[1], f.shape[2]]));
        let Some((_, size)) = pictures.next() else {
            return match features.environment_width() {
                Some(_) => Ok(()),
                None => refuse("input_features", "hold no picture".into(), "train on a dataset with cameras"),
            };
        };
        if let Some((key, other)) = pictures.find(|(_, other)| *other != size) {
            let problem = format!("is {other:?} high and wide where the first camera is {size:?}");
            return refuse(key, problem, "give all cameras one size");
        }
        match self.crop_shape {
            Some([height, width]) if height == 0 || width == 0 || height > size[0] || width > size[1] => {
                let remedy = format!("give at most the pictures' height and width, {size:?}");
                refuse("crop_shape", format!("is {:?}", [height, width]), &remedy)
            }
            _ => Ok(()),
        }
    }

    /// Height and width of what the backbone sees of a picture.
    pub fn seen_size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        self.crop_shape.unwrap_or([height, width])
    }
}
