//! The network and its loss.

use super::config::ActConfig;
use super::position;
use super::transformer::{Decoder, Encoder, LayerShape};
use crate::policy::checkpoint::{ConfigProblem, Features, backbone_width};
use crate::policy::nn::{Conv2d, Embedding, Linear, buffer};
use crate::policy::vision::ResNet18;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Distribution, Tensor};

/// What ACT sees, normalised, for a batch of moments.
#[derive(Debug, Clone)]
pub struct ActInput {
    /// Joint positions, `[batch, state]`, when the policy has them.
    pub state: Option<Tensor<2>>,
    /// Positions of objects, `[batch, environment]`, when the policy has them.
    pub environment: Option<Tensor<2>>,
    /// One picture `[batch, 3, height, width]` for each camera, in the order of the configuration.
    pub images: Vec<Tensor<4>>,
}

/// The loss of a batch and its parts, each of one element.
#[derive(Debug, Clone)]
pub struct ActLoss {
    /// `l1` plus the weighted `kl`: what is minimised.
    pub total: Tensor<1>,
    /// Mean distance of foretold and shown actions, in normalised units.
    pub l1: Tensor<1>,
    /// Divergence of the style variable from the standard normal distribution; `None` without a variational encoder.
    pub kl: Option<Tensor<1>>,
}

/// The network. Field names are LeRobot's tensor names behind `model.`.
#[derive(Module, Debug)]
pub struct Act {
    vae_encoder: Option<Encoder>,
    vae_encoder_cls_embed: Option<Embedding>,
    vae_encoder_robot_state_input_proj: Option<Linear>,
    vae_encoder_action_input_proj: Option<Linear>,
    vae_encoder_latent_output_proj: Option<Linear>,
    vae_encoder_pos_enc: Option<Param<Tensor<3>>>,
    backbone: Option<ResNet18>,
    encoder: Encoder,
    decoder: Decoder,
    encoder_robot_state_input_proj: Option<Linear>,
    encoder_env_state_input_proj: Option<Linear>,
    encoder_latent_input_proj: Linear,
    encoder_img_feat_input_proj: Option<Conv2d>,
    encoder_1d_feature_pos_embed: Embedding,
    decoder_pos_embed: Embedding,
    action_head: Linear,
    latent_dim: usize,
    kl_weight: f64,
}

impl Act {
    /// With random weights.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the features.
    pub fn new(config: &ActConfig, features: &Features, device: &Device) -> Result<Self, ConfigProblem> {
        config.check(features)?;
        let width = config.dim_model;
        let shape = LayerShape {
            width,
            heads: config.n_heads,
            feedforward: config.dim_feedforward,
            dropout: config.dropout,
            pre_norm: config.pre_norm,
            activation: config.feedforward_activation,
        };
        let action = features.action_width()?;
        let state = features.state_width();
        let environment = features.environment_width();
        let backbone_width = backbone_width(&config.vision_backbone)?;
        let has_images = features.cameras().next().is_some();
        let single_tokens = 1 + usize::from(state.is_some()) + usize::from(environment.is_some());
        let vae_tokens = 1 + usize::from(state.is_some()) + config.chunk_size;
        let linear = |input, output| Linear::new(input, output, device);
        let vae = config.use_vae;
        Ok(Self {
            vae_encoder: vae.then(|| Encoder::new(config.n_vae_encoder_layers, &shape, device)),
            vae_encoder_cls_embed: vae.then(|| Embedding::new(1, width, device)),
            vae_encoder_robot_state_input_proj: state.filter(|_| vae).map(|n| linear(n, width)),
            vae_encoder_action_input_proj: vae.then(|| linear(action, width)),
            vae_encoder_latent_output_proj: vae.then(|| linear(width, 2 * config.latent_dim)),
            vae_encoder_pos_enc: vae.then(|| buffer(position::of_sequence(vae_tokens, width, device))),
            backbone: has_images.then(|| ResNet18::new(backbone_width, device)),
            encoder: Encoder::new(config.n_encoder_layers, &shape, device),
            decoder: Decoder::new(config.n_decoder_layers, &shape, device),
            encoder_robot_state_input_proj: state.map(|n| linear(n, width)),
            encoder_env_state_input_proj: environment.map(|n| linear(n, width)),
            encoder_latent_input_proj: linear(config.latent_dim, width),
            encoder_img_feat_input_proj: has_images.then(|| Conv2d::new(8 * backbone_width, width, 1, 1, 0, device)),
            encoder_1d_feature_pos_embed: Embedding::new(single_tokens, width, device),
            decoder_pos_embed: Embedding::new(config.chunk_size, width, device),
            action_head: linear(width, action),
            latent_dim: config.latent_dim,
            kl_weight: config.kl_weight,
        })
    }

    /// The chunk for each moment, normalised: `[batch, chunk, action]`. The style variable is zero.
    pub fn predict(&self, input: ActInput) -> Tensor<3> {
        self.decode(None, input)
    }

    /// The loss of shown actions `[batch, chunk, action]`, normalised, of which `is_pad` `[batch, chunk]` marks those
    /// behind the episode's end. `noise` `[batch, latent_dim]`, standard normal, is drawn when not given.
    pub fn loss(
        &self,
        input: ActInput,
        actions: Tensor<3>,
        is_pad: Tensor<2, Bool>,
        noise: Option<Tensor<2>>,
    ) -> ActLoss {
        let style = self.encode_style(input.state.clone(), actions.clone(), is_pad.clone());
        let latent = style.as_ref().map(|(mean, log_variance)| {
            let noise = noise.unwrap_or_else(|| mean.random_like(Distribution::Normal(0.0, 1.0)));
            mean.clone() + log_variance.clone().div_scalar(2.0).exp() * noise
        });
        let foretold = self.decode(latent, input);
        let [_, _, width] = actions.dims();
        let shown = is_pad.bool_not().float();
        let count = shown.clone().sum().mul_scalar(width as f64).clamp_min(1.0);
        let l1 = ((foretold - actions).abs() * shown.unsqueeze_dim::<3>(2)).sum() / count;
        let kl = style.map(|(mean, log_variance)| {
            let each = mean.clone() * mean + log_variance.clone().exp() - log_variance - 1.0;
            each.sum_dim(1).mean().mul_scalar(0.5)
        });
        let total = match &kl {
            Some(kl) => l1.clone() + kl.clone().mul_scalar(self.kl_weight),
            None => l1.clone(),
        };
        ActLoss { total, l1, kl }
    }

    /// Mean and logarithm of the variance of the style variable, `[batch, latent_dim]` each, read off shown actions;
    /// `None` without a variational encoder.
    pub fn encode_style(
        &self,
        state: Option<Tensor<2>>,
        actions: Tensor<3>,
        is_pad: Tensor<2, Bool>,
    ) -> Option<(Tensor<2>, Tensor<2>)> {
        let encoder = self.vae_encoder.as_ref()?;
        let [batch, chunk, _] = actions.dims();
        let first = self.vae_encoder_cls_embed.as_ref()?.weight.val();
        let width = first.dims()[1];
        let mut tokens = vec![first.unsqueeze::<3>().expand([batch, 1, width])];
        if let (Some(linear), Some(state)) = (&self.vae_encoder_robot_state_input_proj, state) {
            tokens.push(linear.forward(state).unsqueeze_dim(1));
        }
        tokens.push(self.vae_encoder_action_input_proj.as_ref()?.forward(actions));
        let tokens = Tensor::cat(tokens, 1);
        let others = tokens.dims()[1] - chunk;
        let ignored = Tensor::cat(vec![Tensor::<2, Bool>::full([batch, others], false, &is_pad.device()), is_pad], 1);
        let position = self.vae_encoder_pos_enc.as_ref()?.val();
        let style = encoder.forward(tokens, position, Some(ignored)).narrow(1, 0, 1).reshape([batch, width]);
        let style = self.vae_encoder_latent_output_proj.as_ref()?.forward(style);
        Some((style.clone().narrow(1, 0, self.latent_dim), style.narrow(1, self.latent_dim, self.latent_dim)))
    }

    /// The chunk for a style variable; zero when there is none.
    fn decode(&self, latent: Option<Tensor<2>>, input: ActInput) -> Tensor<3> {
        let batch = match (&input.state, &input.environment, input.images.first()) {
            (Some(t), ..) | (None, Some(t), _) => t.dims()[0],
            (None, None, Some(t)) => t.dims()[0],
            (None, None, None) => 1,
        };
        let device = self.action_head.weight.device();
        let latent = latent.unwrap_or_else(|| Tensor::zeros([batch, self.latent_dim], &device));
        let mut tokens = vec![self.encoder_latent_input_proj.forward(latent).unsqueeze_dim(1)];
        for (linear, value) in [
            (&self.encoder_robot_state_input_proj, input.state),
            (&self.encoder_env_state_input_proj, input.environment),
        ] {
            if let (Some(linear), Some(value)) = (linear, value) {
                tokens.push(linear.forward(value).unsqueeze_dim(1));
            }
        }
        let mut positions = vec![self.encoder_1d_feature_pos_embed.weight.val().unsqueeze::<3>()];
        if let (Some(backbone), Some(projection)) = (&self.backbone, &self.encoder_img_feat_input_proj) {
            for map in see(backbone, projection, input.images) {
                let [_, width, rows, columns] = map.dims();
                positions.push(position::of_map(rows, columns, width, &device));
                tokens.push(map.reshape([batch, width, rows * columns]).swap_dims(1, 2));
            }
        }
        let (tokens, positions) = (Tensor::cat(tokens, 1), Tensor::cat(positions, 1));
        let memory = self.encoder.forward(tokens, positions.clone(), None);
        let queries = self.decoder_pos_embed.weight.val().unsqueeze::<3>();
        let [_, chunk, width] = queries.dims();
        let decoded = self.decoder.forward(memory, positions, queries.expand([batch, chunk, width]));
        self.action_head.forward(decoded)
    }

    /// The same function, faster: norms of the backbone moved into its convolutions, the style encoder dropped. No longer
    /// a checkpoint's tensors.
    pub fn for_inference(self) -> Self {
        let act = self.valid();
        Self {
            vae_encoder: None,
            vae_encoder_cls_embed: None,
            vae_encoder_robot_state_input_proj: None,
            vae_encoder_action_input_proj: None,
            vae_encoder_latent_output_proj: None,
            vae_encoder_pos_enc: None,
            backbone: act.backbone.map(ResNet18::folded),
            ..act
        }
    }
}

/// Feature maps of the cameras' pictures; pictures of one size go through the backbone together.
fn see(backbone: &ResNet18, projection: &Conv2d, images: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
    let alike = images.windows(2).all(|pair| pair[0].dims() == pair[1].dims());
    let look = |x| projection.forward(backbone.forward(x));
    if images.len() > 1 && alike {
        let count = images.len();
        look(Tensor::cat(images, 0)).chunk(count, 0)
    } else {
        images.into_iter().map(look).collect()
    }
}
