//! Noise schedules: how much noise each step adds, and how a step is taken back, as in Hugging Face's diffusers.

use super::config::{BetaSchedule, DiffusionConfig, Prediction, Sampler};
use burn::tensor::{Int, Tensor, TensorData};

/// Largest share of noise one step of the squared cosine may add.
const LARGEST_BETA: f64 = 0.999;
/// Smallest variance of the noise that a step of DDPM puts back.
const SMALLEST_VARIANCE: f64 = 1e-20;

/// The share of signal after each step, and how to go back.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Share of the signal's power that is left after each step.
    alphas_cumprod: Vec<f64>,
    /// The steps gone through when drawing, from noise to actions.
    timesteps: Vec<usize>,
    sampler: Sampler,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Schedule {
    /// Of a checked configuration.
    pub fn new(config: &DiffusionConfig) -> Self {
        let steps = config.num_train_timesteps;
        // PyTorch's tables are of single precision, and the golden values with them.
        let even = |low: f64, high: f64, i: usize| {
            if steps > 1 { low + (high - low) * i as f64 / (steps - 1) as f64 } else { low }
        };
        let beta = |i: usize| match config.beta_schedule {
            BetaSchedule::Linear => even(config.beta_start, config.beta_end, i),
            BetaSchedule::ScaledLinear => even(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2),
            BetaSchedule::SquaredcosCapV2 => {
                let signal = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let (before, after) = (i as f64 / steps as f64, (i + 1) as f64 / steps as f64);
                (1.0 - signal(after) / signal(before)).min(LARGEST_BETA)
            }
        };
        let mut product = 1.0;
        let alphas_cumprod = (0..steps)
            .map(|i| {
                product *= f64::from(1.0 - beta(i) as f32);
                product
            })
            .collect();
        let draws = config.num_inference_steps.unwrap_or(steps).clamp(1, steps);
        let stride = steps / draws;
        Self {
            alphas_cumprod,
            timesteps: (0..draws).rev().map(|i| i * stride).collect(),
            sampler: config.noise_scheduler_type,
            prediction: config.prediction_type,
            clip: config.clip_sample.then_some(config.clip_sample_range),
        }
    }

    /// Share of the signal's power after each step.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// Steps in the order they are gone through when drawing.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// Actions `[batch, horizon, action]` with the noise of each one's step `[batch]` added.
    pub fn add_noise(&self, actions: Tensor<3>, noise: Tensor<3>, steps: Tensor<1, Int>) -> Tensor<3> {
        let device = actions.device();
        let batch = actions.dims()[0];
        let factor = |f: &dyn Fn(f64) -> f64| {
            let table: Vec<f32> = self.alphas_cumprod.iter().map(|&a| f(a) as f32).collect();
            let table = Tensor::<1>::from_data(TensorData::new(table, [self.alphas_cumprod.len()]), &device);
            table.select(0, steps.clone()).reshape([batch, 1, 1])
        };
        actions * factor(&f64::sqrt) + noise * factor(&|a| (1.0 - a).sqrt())
    }

    /// Takes back step `i` of [`Self::timesteps`]: from `sample` and what the network said of it to the sample before.
    /// DDPM adds `fresh` noise, standard normal, except in the last step.
    pub fn step(&self, i: usize, output: Tensor<3>, sample: Tensor<3>, fresh: Option<Tensor<3>>) -> Tensor<3> {
        let Some(&at) = self.timesteps.get(i) else { return sample };
        let left = self.alphas_cumprod[at];
        let (signal, noise) = (left.sqrt(), (1.0 - left).sqrt());
        let (clean, said_noise) = match self.prediction {
            Prediction::Epsilon => ((sample.clone() - output.clone().mul_scalar(noise)).div_scalar(signal), output),
            Prediction::Sample => (output.clone(), (sample.clone() - output.mul_scalar(signal)).div_scalar(noise)),
        };
        let clean = match self.clip {
            Some(range) => clean.clamp(-range, range),
            None => clean,
        };
        let stride = self.alphas_cumprod.len() / self.timesteps.len();
        let left_before = at.checked_sub(stride).map_or(1.0, |before| self.alphas_cumprod[before]);
        match self.sampler {
            // The noise stays as the network said it, even where the clean sample was clipped.
            Sampler::Ddim => clean.mul_scalar(left_before.sqrt()) + said_noise.mul_scalar((1.0 - left_before).sqrt()),
            Sampler::Ddpm => {
                let (alpha, rest, rest_before) = (left / left_before, 1.0 - left, 1.0 - left_before);
                let mean = clean.mul_scalar(left_before.sqrt() * (1.0 - alpha) / rest)
                    + sample.mul_scalar(alpha.sqrt() * rest_before / rest);
                let variance = (rest_before / rest * (1.0 - alpha)).max(SMALLEST_VARIANCE);
                match fresh.filter(|_| at > 0) {
                    Some(fresh) => mean + fresh.mul_scalar(variance.sqrt()),
                    None => mean,
                }
            }
        }
    }

    /// Whether drawing needs fresh noise in every step.
    pub fn needs_noise(&self) -> bool {
        self.sampler == Sampler::Ddpm
    }
}
