//! The U-Net over time. Time runs along the middle dimension, channels come last: see [`crate::policy::nn::Conv1d`].

use super::config::DiffusionConfig;
use crate::policy::nn::{Conv1d, ConvTranspose1d, GroupNorm, Linear};
use burn::module::Module;
use burn::tensor::activation::mish;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Convolution, norm, Mish. LeRobot's `block`: 0 the convolution, 1 the norm.
#[derive(Module, Debug)]
struct ConvBlock {
    block: (Conv1d, GroupNorm),
}

impl ConvBlock {
    fn new(input: usize, output: usize, config: &DiffusionConfig, device: &Device) -> Self {
        let kernel = config.kernel_size;
        let conv = Conv1d::new(input, output, kernel, 1, kernel / 2, device);
        Self { block: (conv, GroupNorm::new(config.n_groups, output, device)) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (conv, norm) = &self.block;
        mish(norm.forward(conv.forward(x).swap_dims(1, 2)).swap_dims(1, 2))
    }
}

/// Two blocks around which the input is carried; the condition scales and shifts the channels between them.
#[derive(Module, Debug)]
struct ConditionedBlock {
    conv1: ConvBlock,
    /// LeRobot's `cond_encoder`: 0 the activation, 1 the linear layer.
    cond_encoder: (bool, Linear),
    conv2: ConvBlock,
    residual_conv: Option<Conv1d>,
    scales: bool,
}

impl ConditionedBlock {
    fn new(input: usize, output: usize, condition: usize, config: &DiffusionConfig, device: &Device) -> Self {
        let scales = config.use_film_scale_modulation;
        Self {
            conv1: ConvBlock::new(input, output, config, device),
            cond_encoder: (true, Linear::new(condition, if scales { 2 * output } else { output }, device)),
            conv2: ConvBlock::new(output, output, config, device),
            residual_conv: (input != output).then(|| Conv1d::new(input, output, 1, 1, 0, device)),
            scales,
        }
    }

    /// `condition` is the condition after Mish, the same for every block.
    fn forward(&self, x: Tensor<3>, condition: Tensor<2>) -> Tensor<3> {
        let y = self.conv1.forward(x.clone());
        let film = self.cond_encoder.1.forward(condition).unsqueeze_dim::<3>(1);
        let channels = y.dims()[2];
        let y = if self.scales {
            y * film.clone().narrow(2, 0, channels) + film.narrow(2, channels, channels)
        } else {
            y + film
        };
        let y = self.conv2.forward(y);
        y + match &self.residual_conv {
            Some(conv) => conv.forward(x),
            None => x,
        }
    }
}

/// The U-Net: from noisy actions, the step and the condition to what [`super::Prediction`] says.
#[derive(Module, Debug)]
pub struct UNet {
    /// 0 the step's vector, 1 and 3 linear layers, 2 the activation.
    diffusion_step_encoder: (bool, Linear, bool, Linear),
    down_modules: Vec<(ConditionedBlock, ConditionedBlock, Option<Conv1d>)>,
    mid_modules: Vec<ConditionedBlock>,
    up_modules: Vec<(ConditionedBlock, ConditionedBlock, Option<ConvTranspose1d>)>,
    final_conv: (ConvBlock, Conv1d),
    step_width: usize,
}

impl UNet {
    /// With random weights, for actions of `action` numbers and a condition of `condition` numbers besides the step.
    pub fn new(config: &DiffusionConfig, action: usize, condition: usize, device: &Device) -> Self {
        let step = config.diffusion_step_embed_dim;
        let condition = condition + step;
        let dims = &config.down_dims;
        let block = |input, output| ConditionedBlock::new(input, output, condition, config, device);
        let inputs = std::iter::once(action).chain(dims.iter().copied());
        let levels: Vec<(usize, usize)> = inputs.zip(dims.iter().copied()).collect();
        let last = dims[dims.len() - 1];
        let down_modules = levels.iter().enumerate().map(|(i, &(input, output))| {
            let halve = (i + 1 < levels.len()).then(|| Conv1d::new(output, output, 3, 2, 1, device));
            (block(input, output), block(output, output), halve)
        });
        let up_modules = levels[1..].iter().rev().map(|&(output, input)| {
            (block(2 * input, output), block(output, output), Some(ConvTranspose1d::new(output, device)))
        });
        Self {
            diffusion_step_encoder: (
                true,
                Linear::new(step, 4 * step, device),
                true,
                Linear::new(4 * step, step, device),
            ),
            down_modules: down_modules.collect(),
            mid_modules: vec![block(last, last), block(last, last)],
            up_modules: up_modules.collect(),
            final_conv: (
                ConvBlock::new(dims[0], dims[0], config, device),
                Conv1d::new(dims[0], action, 1, 1, 0, device),
            ),
            step_width: step,
        }
    }

    /// `[batch, horizon, action]`, steps `[batch]`, condition `[batch, ..]` to `[batch, horizon, action]`.
    pub fn forward(&self, x: Tensor<3>, steps: Tensor<1, Int>, condition: Tensor<2>) -> Tensor<3> {
        let (_, widen, _, narrow) = &self.diffusion_step_encoder;
        let step = narrow.forward(mish(widen.forward(step_vectors(steps, self.step_width))));
        let condition = mish(Tensor::cat(vec![step, condition], 1));
        let mut x = x;
        let mut carried = Vec::new();
        for (first, second, halve) in &self.down_modules {
            x = second.forward(first.forward(x, condition.clone()), condition.clone());
            carried.push(x.clone());
            if let Some(halve) = halve {
                x = halve.forward(x);
            }
        }
        for block in &self.mid_modules {
            x = block.forward(x, condition.clone());
        }
        for (first, second, double) in &self.up_modules {
            let mut parts = vec![x];
            parts.extend(carried.pop());
            x = second.forward(first.forward(Tensor::cat(parts, 2), condition.clone()), condition.clone());
            if let Some(double) = double {
                x = double.forward(x);
            }
        }
        let (block, conv) = &self.final_conv;
        conv.forward(block.forward(x))
    }
}

/// Sines, then cosines of a step at frequencies from 1 down to 1/10000: `[batch]` to `[batch, width]`.
fn step_vectors(steps: Tensor<1, Int>, width: usize) -> Tensor<2> {
    let half = width / 2;
    let rate = 10_000f64.ln() / (half.max(2) - 1) as f64;
    let frequencies: Vec<f32> = (0..half).map(|i| (-rate * i as f64).exp() as f32).collect();
    let device = steps.device();
    let batch = steps.dims()[0];
    let frequencies = Tensor::<2>::from_data(TensorData::new(frequencies, [1, half]), &device);
    let angles = steps.float().reshape([batch, 1]) * frequencies;
    Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1)
}
