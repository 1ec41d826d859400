//! SmolVLA's configuration, with LeRobot's names and default values.

use crate::policy::checkpoint::{ConfigProblem, Features};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a SmolVLA policy is made of; keys as in LeRobot's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmolVlaConfig {
    /// Ticks of observation it sees: always 1.
    pub n_obs_steps: usize,
    /// Actions foretold at once.
    pub chunk_size: usize,
    /// How many of them are carried out before the next look.
    pub n_action_steps: usize,
    /// Width joint positions are filled up to with zeros.
    pub max_state_dim: usize,
    /// Width actions are filled up to.
    pub max_action_dim: usize,
    /// Width and height pictures are brought to, with black bars at the left and the top.
    pub resize_imgs_with_padding: Option<[usize; 2]>,
    /// Cameras that are not there; only 0 is supported.
    pub empty_cameras: usize,
    /// A conversion for another robot; only `false` is supported.
    pub adapt_to_pi_aloha: bool,
    /// A conversion for another robot; only `false` is supported.
    pub use_delta_joint_actions_aloha: bool,
    /// Most tokens of a task text.
    pub tokenizer_max_length: usize,
    /// Steps from noise to actions.
    pub num_steps: usize,
    /// LeRobot's switch for keeping the prefix's keys and values; Etude always does.
    pub use_cache: bool,
    /// What training left as it was.
    pub freeze_vision_encoder: bool,
    /// What training left as it was.
    pub train_expert_only: bool,
    /// What training changed.
    pub train_state_proj: bool,
    /// Learning rate.
    pub optimizer_lr: f64,
    /// Decay of Adam's two means.
    pub optimizer_betas: [f64; 2],
    /// Adam's small number.
    pub optimizer_eps: f64,
    /// Weight decay.
    pub optimizer_weight_decay: f64,
    /// Largest norm of a gradient.
    pub optimizer_grad_clip_norm: f64,
    /// Steps in which the learning rate rises.
    pub scheduler_warmup_steps: usize,
    /// Steps in which it falls.
    pub scheduler_decay_steps: usize,
    /// Where it ends.
    pub scheduler_decay_lr: f64,
    /// The vision-language model on the Hub.
    pub vlm_model_name: String,
    /// Whether training started from that model's weights.
    pub load_vlm_weights: bool,
    /// Tokens around a picture's; only `false` is supported.
    pub add_image_special_tokens: bool,
    /// How the expert looks at the model; only `cross_attn` is supported.
    pub attention_mode: String,
    /// Length the prefix is filled up to; only a number that changes nothing is supported.
    pub prefix_length: i64,
    /// How LeRobot fills up the words.
    pub pad_language_to: String,
    /// Layers of the expert; 0 or less for as many as the model has, the only number that is supported.
    pub num_expert_layers: i64,
    /// Layers of the model that are used.
    pub num_vlm_layers: usize,
    /// In every n-th layer model and expert attend to each other, in the others the expert looks at the model.
    pub self_attn_every_n_layers: usize,
    /// Width of the expert in widths of the model.
    pub expert_width_multiplier: f64,
    /// Shortest period of the vector that tells the time.
    pub min_period: f64,
    /// Longest period.
    pub max_period: f64,
    /// Real-time chunking, which Etude leaves to its own rollout.
    pub rtc_config: Option<Value>,
}

impl Default for SmolVlaConfig {
    fn default() -> Self {
        Self {
            n_obs_steps: 1,
            chunk_size: 50,
            n_action_steps: 50,
            max_state_dim: 32,
            max_action_dim: 32,
            resize_imgs_with_padding: Some([512, 512]),
            empty_cameras: 0,
            adapt_to_pi_aloha: false,
            use_delta_joint_actions_aloha: false,
            tokenizer_max_length: 48,
            num_steps: 10,
            use_cache: true,
            freeze_vision_encoder: true,
            train_expert_only: true,
            train_state_proj: true,
            optimizer_lr: 1e-4,
            optimizer_betas: [0.9, 0.95],
            optimizer_eps: 1e-8,
            optimizer_weight_decay: 1e-10,
            optimizer_grad_clip_norm: 10.0,
            scheduler_warmup_steps: 1000,
            scheduler_decay_steps: 30_000,
            scheduler_decay_lr: 2.5e-6,
            vlm_model_name: "HuggingFaceTB/SmolVLM2-500M-Video-Instruct".into(),
            load_vlm_weights: false,
            add_image_special_tokens: false,
            attention_mode: "cross_attn".into(),
            prefix_length: -1,
            pad_language_to: "longest".into(),
            num_expert_layers: -1,
            num_vlm_layers: 16,
            self_attn_every_n_layers: 2,
            expert_width_multiplier: 0.75,
            min_period: 4e-3,
            max_period: 4.0,
            rtc_config: None,
        }
    }
}

impl SmolVlaConfig {
    /// Checks the numbers against each other and against the features.
    ///
    /// # Errors
    /// The first key that cannot be, with what it may be.
    pub fn check(&self, features: &Features) -> Result<(), ConfigProblem> {
        let refuse = |key: &str, problem: String, remedy: &str| Err(ConfigProblem::new(key, problem, remedy));
        let at_least_one = [
            ("chunk_size", self.chunk_size),
            ("n_action_steps", self.n_action_steps),
            ("num_steps", self.num_steps),
            ("num_vlm_layers", self.num_vlm_layers),
            ("self_attn_every_n_layers", self.self_attn_every_n_layers),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return refuse(key, "is 0".into(), "give at least 1");
            }
        }
        let unsupported = [
            ("empty_cameras", self.empty_cameras > 0),
            ("adapt_to_pi_aloha", self.adapt_to_pi_aloha),
            ("use_delta_joint_actions_aloha", self.use_delta_joint_actions_aloha),
            ("add_image_special_tokens", self.add_image_special_tokens),
            ("attention_mode", self.attention_mode != "cross_attn"),
            ("prefix_length", self.prefix_length > 0),
            ("num_expert_layers", self.num_expert_layers > 0 && self.num_expert_layers as usize != self.num_vlm_layers),
        ];
        if let Some((key, _)) = unsupported.iter().find(|(_, is_set)| *is_set) {
            return refuse(key, "has a value Etude does not support".into(), "give a policy trained with the default");
        }
        if self.n_action_steps > self.chunk_size {
            let problem = format!("{} is more than chunk_size {}", self.n_action_steps, self.chunk_size);
            return refuse("n_action_steps", problem, "give at most chunk_size");
        }
        let action = features.action_width()?;
        if action > self.max_action_dim {
            return refuse("max_action_dim", format!("is less than the action's {action}"), "give at least as many");
        }
        match features.state_width() {
            Some(n) if n <= self.max_state_dim => {}
            Some(n) => {
                return refuse("max_state_dim", format!("is less than the state's {n}"), "give at least as many");
            }
            None => return refuse("input_features", "hold no observation.state".into(), "give a policy that has it"),
        }
        if features.cameras().next().is_none() {
            return refuse("input_features", "hold no picture".into(), "give a policy with cameras");
        }
        Ok(())
    }
}

/// Sizes of the vision-language model, which a checkpoint does not tell.
#[derive(Debug, Clone, PartialEq)]
pub struct VlmShape {
    /// Width of a token.
    pub width: usize,
    /// Width inside the feed-forward layers.
    pub feedforward: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each shared by several of queries.
    pub key_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Tokens it knows.
    pub vocabulary: usize,
    /// Small number of its norms.
    pub norm_epsilon: f64,
    /// Width of a token of a picture.
    pub vision_width: usize,
    /// Width inside the feed-forward layers of the picture's part.
    pub vision_feedforward: usize,
    /// Layers of the picture's part.
    pub vision_layers: usize,
    /// Heads of the picture's part.
    pub vision_heads: usize,
    /// Height and width of a picture.
    pub image_size: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    /// Patches along each side that become one token.
    pub scale_factor: usize,
}

impl VlmShape {
    /// Of the model with a name on the Hub.
    ///
    /// # Errors
    /// For a model whose sizes Etude does not know.
    pub fn of_model(name: &str) -> Result<Self, ConfigProblem> {
        match name {
            "HuggingFaceTB/SmolVLM2-500M-Video-Instruct" | "HuggingFaceTB/SmolVLM2-500M-Instruct" => Ok(Self {
                width: 960,
                feedforward: 2560,
                heads: 15,
                key_heads: 5,
                head_width: 64,
                vocabulary: 49_280,
                norm_epsilon: 1e-5,
                vision_width: 768,
                vision_feedforward: 3072,
                vision_layers: 12,
                vision_heads: 12,
                image_size: 512,
                patch_size: 16,
                scale_factor: 4,
            }),
            other => {
                let remedy = "give a policy on SmolVLM2-500M-Video-Instruct";
                Err(ConfigProblem::new("vlm_model_name", format!("is {other}, whose sizes are not known"), remedy))
            }
        }
    }
}
