//! ACT's configuration, with LeRobot's names and default values (0.6).

use crate::policy::checkpoint::{ConfigProblem, Features, backbone_width};
use serde::{Deserialize, Serialize};

/// Function between the linear layers of a transformer layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// Gaussian error linear unit.
    Gelu,
}

/// What an ACT policy is made of and how it is trained; keys as in LeRobot's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActConfig {
    /// Ticks of observation it sees: always 1.
    pub n_obs_steps: usize,
    /// Actions foretold at once.
    pub chunk_size: usize,
    /// How many of them are carried out before the next look; 1 with temporal ensembling.
    pub n_action_steps: usize,
    /// `resnet18`, or `resnet18_wN` with N channels instead of 64 after the first layer, which only Etude reads.
    pub vision_backbone: String,
    /// torchvision's name of the weights the backbone started from; `None` is random.
    pub pretrained_backbone_weights: Option<String>,
    /// LeRobot's switch for a finer last feature map; only `false` is supported.
    pub replace_final_stride_with_dilation: bool,
    /// Whether norms come before attention and feed-forward.
    pub pre_norm: bool,
    /// Width of a token.
    pub dim_model: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width inside feed-forward layers.
    pub dim_feedforward: usize,
    /// Function inside feed-forward layers.
    pub feedforward_activation: Activation,
    /// Layers of the encoder.
    pub n_encoder_layers: usize,
    /// Layers of the decoder.
    pub n_decoder_layers: usize,
    /// Whether training has the style variable of a variational auto-encoder.
    pub use_vae: bool,
    /// Width of that variable.
    pub latent_dim: usize,
    /// Layers of its encoder.
    pub n_vae_encoder_layers: usize,
    /// Weight of older chunks in an ensemble over time, exp(-c i); 0.01 in the paper, `None` for none.
    pub temporal_ensemble_coeff: Option<f64>,
    /// Share of values dropped while training.
    pub dropout: f64,
    /// Weight of the divergence of the style variable in the loss.
    pub kl_weight: f64,
    /// Learning rate.
    pub optimizer_lr: f64,
    /// Weight decay.
    pub optimizer_weight_decay: f64,
    /// Learning rate of the backbone.
    pub optimizer_lr_backbone: f64,
}

impl Default for ActConfig {
    fn default() -> Self {
        Self {
            n_obs_steps: 1,
            chunk_size: 100,
            n_action_steps: 100,
            vision_backbone: "resnet18".into(),
            pretrained_backbone_weights: Some("ResNet18_Weights.IMAGENET1K_V1".into()),
            replace_final_stride_with_dilation: false,
            pre_norm: false,
            dim_model: 512,
            n_heads: 8,
            dim_feedforward: 3200,
            feedforward_activation: Activation::Relu,
            n_encoder_layers: 4,
            n_decoder_layers: 1,
            use_vae: true,
            latent_dim: 32,
            n_vae_encoder_layers: 4,
            temporal_ensemble_coeff: None,
            dropout: 0.1,
            kl_weight: 10.0,
            optimizer_lr: 1e-5,
            optimizer_weight_decay: 1e-4,
            optimizer_lr_backbone: 1e-5,
        }
    }
}

impl ActConfig {
    /// Checks the numbers against each other and against the features.
    ///
    /// # Errors
    /// The first key that cannot be, with what it may be.
    pub fn check(&self, features: &Features) -> Result<(), ConfigProblem> {
        let refuse = |key: &str, problem: String, remedy: &str| ConfigProblem::new(key, problem, remedy);
        let at_least_one = [
            ("chunk_size", self.chunk_size),
            ("n_action_steps", self.n_action_steps),
            ("n_heads", self.n_heads),
            ("dim_feedforward", self.dim_feedforward),
            ("n_encoder_layers", self.n_encoder_layers),
            ("n_decoder_layers", self.n_decoder_layers),
            ("latent_dim", self.latent_dim),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(refuse(key, "is 0".into(), "give at least 1"));
            }
        }
        if self.n_obs_steps != 1 {
            return Err(refuse("n_obs_steps", format!("is {}", self.n_obs_steps), "ACT sees one tick: give 1"));
        }
        if self.n_action_steps > self.chunk_size {
            let problem = format!("{} is more than chunk_size {}", self.n_action_steps, self.chunk_size);
            return Err(refuse("n_action_steps", problem, "give at most chunk_size"));
        }
        if self.temporal_ensemble_coeff.is_some() && self.n_action_steps != 1 {
            let problem = format!("is {} with temporal_ensemble_coeff", self.n_action_steps);
            return Err(refuse("n_action_steps", problem, "an ensemble looks every tick: give 1"));
        }
        if self.dim_model == 0 || !self.dim_model.is_multiple_of(4) || !self.dim_model.is_multiple_of(self.n_heads) {
            let problem = format!("{} cannot be split among {} heads", self.dim_model, self.n_heads);
            return Err(refuse("dim_model", problem, "give a multiple of n_heads and of 4"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(refuse("dropout", format!("is {}", self.dropout), "give a share from 0 to below 1"));
        }
        if self.replace_final_stride_with_dilation {
            return Err(refuse(
                "replace_final_stride_with_dilation",
                "is true".into(),
                "train with false: Etude has no such backbone",
            ));
        }
        backbone_width(&self.vision_backbone)?;
        features.action_width()?;
        if features.cameras().next().is_none() && features.environment_width().is_none() {
            return Err(refuse(
                "input_features",
                "hold neither a picture nor observation.environment_state".into(),
                "train on a dataset with cameras",
            ));
        }
        Ok(())
    }
}
