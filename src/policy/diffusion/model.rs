//! The network and its loss.

use super::config::{DiffusionConfig, Prediction};
use super::schedule::Schedule;
use super::unet::UNet;
use crate::policy::checkpoint::{ConfigProblem, Features, backbone_width};
use crate::policy::nn::{Linear, Noise};
use crate::policy::vision::{SequentialResNet18, SpatialSoftmax, forward_sequential, sequential};
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Int, Tensor};

/// What a diffusion policy sees, normalised, for a batch of moments.
#[derive(Debug, Clone)]
pub struct DiffusionInput {
    /// Joint positions, `[batch, n_obs_steps, state]`, oldest first.
    pub state: Tensor<3>,
    /// Positions of objects, `[batch, n_obs_steps, environment]`, when the policy has them.
    pub environment: Option<Tensor<3>>,
    /// Pictures `[batch * n_obs_steps, 3, height, width]` for each camera in the order of the configuration; steps run
    /// inside a moment.
    pub images: Vec<Tensor<4>>,
}

/// One picture to a vector: backbone, points, linear layer.
#[derive(Module, Debug)]
pub struct RgbEncoder {
    backbone: SequentialResNet18,
    pool: SpatialSoftmax,
    out: Linear,
}

impl RgbEncoder {
    fn new(config: &DiffusionConfig, width: usize, seen: [usize; 2], device: &Device) -> Self {
        let points = config.spatial_softmax_num_keypoints;
        let map = seen.map(|n| n.div_ceil(32));
        Self {
            backbone: sequential(width, !config.use_group_norm, device),
            pool: SpatialSoftmax::new(8 * width, map, points, device),
            out: Linear::new(2 * points, 2 * points, device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        relu(self.out.forward(self.pool.forward(forward_sequential(&self.backbone, x))))
    }
}

/// One encoder for all cameras, or one each.
#[derive(Module, Debug)]
pub enum RgbEncoders {
    /// For all.
    Shared(RgbEncoder),
    /// In the order of the cameras.
    Separate(Vec<RgbEncoder>),
}

/// The network. Field names are LeRobot's tensor names behind `diffusion.`.
#[derive(Module, Debug)]
pub struct Diffusion {
    rgb_encoder: Option<RgbEncoders>,
    unet: UNet,
    #[module(skip)]
    schedule: Schedule,
    #[module(skip)]
    config: DiffusionConfig,
    action: usize,
}

impl Diffusion {
    /// With random weights.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the features.
    pub fn new(config: &DiffusionConfig, features: &Features, device: &Device) -> Result<Self, ConfigProblem> {
        config.check(features)?;
        let width = backbone_width(&config.vision_backbone)?;
        let action = features.action_width()?;
        let sizes: Vec<[usize; 2]> = features.cameras().map(|(_, f)| [f.shape[1], f.shape[2]]).collect();
        let encoder = |size| RgbEncoder::new(config, width, config.seen_size(size), device);
        let rgb_encoder = sizes.first().map(|&size| {
            if config.use_separate_rgb_encoder_per_camera {
                RgbEncoders::Separate(sizes.iter().map(|&size| encoder(size)).collect())
            } else {
                RgbEncoders::Shared(encoder(size))
            }
        });
        let seen = features.state_width().unwrap_or(0)
            + features.environment_width().unwrap_or(0)
            + sizes.len() * 2 * config.spatial_softmax_num_keypoints;
        Ok(Self {
            rgb_encoder,
            unet: UNet::new(config, action, seen * config.n_obs_steps, device),
            schedule: Schedule::new(config),
            config: config.clone(),
            action,
        })
    }

    /// The schedule of noise.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What the U-Net is told of an observation: `[batch, ..]`.
    pub fn condition(&self, input: DiffusionInput) -> Tensor<2> {
        let [batch, steps, _] = input.state.dims();
        let mut parts = vec![input.state];
        let images = input.images.into_iter().map(|image| self.crop_middle(image));
        match &self.rgb_encoder {
            None => {}
            Some(RgbEncoders::Separate(encoders)) => parts.extend(
                encoders
                    .iter()
                    .zip(images)
                    .map(|(encoder, image)| encoder.forward(image).reshape([batch as i32, steps as i32, -1])),
            ),
            Some(RgbEncoders::Shared(encoder)) => {
                let images: Vec<Tensor<4>> = images.collect();
                let cameras = images.len().max(1);
                let vectors = encoder.forward(Tensor::cat(images, 0)).chunk(cameras, 0);
                parts.extend(vectors.into_iter().map(|v| v.reshape([batch as i32, steps as i32, -1])));
            }
        }
        parts.extend(input.environment);
        Tensor::cat(parts, 2).flatten(1, 2)
    }

    /// The middle of a picture that is larger than what the backbone sees. Whoever trains with random cuts makes them
    /// before.
    fn crop_middle(&self, image: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = image.dims();
        match self.config.crop_shape {
            Some([h, w]) if h < height || w < width => {
                // torchvision rounds half to even.
                let start = |n: usize, seen: usize| ((n - seen) as f64 / 2.0).round_ties_even() as usize;
                image.narrow(2, start(height, h), h).narrow(3, start(width, w), w)
            }
            _ => image,
        }
    }

    /// What the network says of noisy actions `[batch, horizon, action]` at steps `[batch]`.
    pub fn denoise(&self, actions: Tensor<3>, steps: Tensor<1, Int>, condition: Tensor<2>) -> Tensor<3> {
        self.unet.forward(actions, steps, condition)
    }

    /// Actions to carry out, normalised, `[batch, n_action_steps, action]`, drawn out of `noise`
    /// `[batch, horizon, action]`; `fresh` gives the noise of DDPM's steps.
    pub fn predict(&self, input: DiffusionInput, noise: Tensor<3>, fresh: &mut Noise) -> Tensor<3> {
        let condition = self.condition(input);
        let (shape, device) = (noise.dims(), noise.device());
        let mut sample = noise;
        for (i, &step) in self.schedule.timesteps().iter().enumerate() {
            let steps = Tensor::full([shape[0]], step as i64, &device);
            let output = self.denoise(sample.clone(), steps, condition.clone());
            let fresh = self.schedule.needs_noise().then(|| fresh.normal(shape, &device));
            sample = self.schedule.step(i, output, sample, fresh);
        }
        sample.narrow(1, self.config.n_obs_steps - 1, self.config.n_action_steps)
    }

    /// Noise to draw actions out of: `[batch, horizon, action]`.
    pub fn noise(&self, batch: usize, source: &mut Noise, device: &Device) -> Tensor<3> {
        source.normal([batch, self.config.horizon, self.action], device)
    }

    /// The loss of shown actions `[batch, horizon, action]`, normalised, with `noise` of the same shape added at `steps`
    /// `[batch]`; `is_pad` `[batch, horizon]` marks actions behind the episode's end.
    pub fn loss(
        &self,
        input: DiffusionInput,
        actions: Tensor<3>,
        is_pad: Tensor<2, Bool>,
        noise: Tensor<3>,
        steps: Tensor<1, Int>,
    ) -> Tensor<1> {
        let condition = self.condition(input);
        let noisy = self.schedule.add_noise(actions.clone(), noise.clone(), steps.clone());
        let output = self.denoise(noisy, steps, condition);
        let target = match self.config.prediction_type {
            Prediction::Epsilon => noise,
            Prediction::Sample => actions,
        };
        let error = output - target;
        let error = error.clone() * error;
        if self.config.do_mask_loss_for_padding {
            (error * is_pad.bool_not().float().unsqueeze_dim::<3>(2)).mean()
        } else {
            error.mean()
        }
    }
}
