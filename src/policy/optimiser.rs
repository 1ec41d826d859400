//! AdamW with clipping and a moving average of the weights, fused into one pass over plain vectors: burn's own optimiser
//! makes a new tensor for each of a dozen operations a parameter. Everything a run needs to go on is in those vectors.

use super::tensors::{NamedTensor, TensorFile};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Decay of the average of gradients.
const BETA_1: f32 = 0.9;
/// Numbers below this share of a square root count as it.
const EPSILON: f32 = 1e-8;
/// Most that one step of the moving average keeps.
const MOST_DECAY: f64 = 0.999;

/// How weights change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps over which the rate rises to it.
    pub warmup_steps: usize,
    /// Share of it that is left at the end; between the two it falls as a cosine.
    pub final_share: f64,
    /// Pull of the weights towards zero, relative to the rate.
    pub weight_decay: f64,
    /// Decay of the average of squared gradients.
    pub beta_2: f64,
    /// Gradients longer than this are shortened to it.
    pub clip: f64,
    /// Whether the moving average of the weights is what is kept in the end.
    pub average: bool,
}

impl OptimiserConfig {
    /// Rate of step `step`, counted from 0, of `steps`.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let done = step as f64 / steps.max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.learning_rate * warm * (self.final_share + (1.0 - self.final_share) * cosine)
    }
}

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    weight: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    average: Vec<f32>,
    gradient: Option<Vec<f32>>,
}

/// The optimiser: master copies of all weights and what it remembers of their gradients.
#[derive(Clone, Debug)]
pub struct Optimiser {
    config: OptimiserConfig,
    steps: usize,
    step: usize,
    slots: Vec<Slot>,
}

/// What went wrong with the numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite;

impl Optimiser {
    /// For `module` and a run of `steps` steps.
    pub fn new<M: Module>(config: OptimiserConfig, steps: usize, module: &M) -> Self {
        let slots = weights_of(module).into_iter().map(|tensor| Slot {
            mean: vec![0.0; tensor.values.len()],
            square: vec![0.0; tensor.values.len()],
            average: tensor.values.clone(),
            weight: tensor.values,
            name: tensor.name,
            shape: tensor.shape,
            gradient: None,
        });
        Self { config, steps, step: 0, slots: slots.collect() }
    }

    /// Steps made.
    pub fn step_count(&self) -> usize {
        self.step
    }

    /// Learning rate of the next step.
    pub fn rate(&self) -> f64 {
        self.config.rate(self.step, self.steps)
    }

    /// One step along `gradients`; the module with its new weights and the length of the gradient before clipping.
    ///
    /// # Errors
    /// [`NotFinite`] when a gradient is no number; nothing has changed then.
    pub fn step<M: Module>(&mut self, module: M, gradients: GradientsParams) -> Result<(M, f64), NotFinite> {
        let mut reader = GradientReader { slots: &mut self.slots, at: 0, gradients };
        module.visit(&mut reader);
        // Collected first: the sum must not depend on who is done when.
        let squares: Vec<f64> =
            self.slots.par_iter().map(|slot| slot.gradient.as_deref().map_or(0.0, square)).collect();
        let length = squares.iter().sum::<f64>().sqrt();
        if !length.is_finite() {
            return Err(NotFinite);
        }
        let rate = self.rate();
        self.step += 1;
        let step = self.step as f64;
        let shorten = (self.config.clip / length.max(1e-12)).min(1.0) as f32;
        let beta_2 = self.config.beta_2 as f32;
        let keep = (1.0 - rate * self.config.weight_decay) as f32;
        let unbias_square = (1.0 / (1.0 - self.config.beta_2.powf(step))) as f32;
        let stride = (rate / (1.0 - f64::from(BETA_1).powf(step))) as f32;
        // The average forgets its random beginning quickly, and grows slow later.
        let decay = if self.config.average { (step / (step + 50.0)).min(MOST_DECAY) as f32 } else { 0.0 };
        self.slots.par_iter_mut().for_each(|slot| {
            let gradient = slot.gradient.take().unwrap_or_default();
            let rows = slot.weight.iter_mut().zip(&mut slot.mean).zip(&mut slot.square).zip(&gradient);
            for (((weight, mean), square), gradient) in rows {
                let gradient = gradient * shorten;
                *mean = BETA_1 * *mean + (1.0 - BETA_1) * gradient;
                *square = beta_2 * *square + (1.0 - beta_2) * gradient * gradient;
                *weight = keep * *weight - stride * *mean / ((*square * unbias_square).sqrt() + EPSILON);
            }
            slot.average.iter_mut().zip(&slot.weight).for_each(|(average, weight)| {
                *average = decay * *average + (1.0 - decay) * weight;
            });
        });
        Ok((fill(module, self.slots.iter().map(|slot| slot.weight.as_slice()).collect()), length))
    }

    /// `module` with the averaged weights: what is evaluated and kept.
    pub fn averaged<M: Module>(&self, module: M) -> M {
        fill(module, self.slots.iter().map(|slot| slot.average.as_slice()).collect())
    }

    /// Everything needed to go on, as tensors.
    pub fn to_file(&self) -> TensorFile {
        let mut file = TensorFile::default();
        for slot in &self.slots {
            let parts = [("weight", &slot.weight), ("mean", &slot.mean), ("square", &slot.square)];
            for (part, values) in parts.into_iter().chain([("average", &slot.average)]) {
                let name = format!("{part}.{}", slot.name);
                file.tensors.push(NamedTensor { name, shape: slot.shape.clone(), values: values.clone() });
            }
        }
        file.metadata.insert("step".into(), self.step.to_string());
        file
    }

    /// Goes on from what [`Self::to_file`] kept; the module with the weights of then.
    ///
    /// # Errors
    /// What is missing or has another shape.
    pub fn resume<M: Module>(&mut self, module: M, file: &TensorFile) -> Result<M, String> {
        for slot in &mut self.slots {
            let name = slot.name.clone();
            let Slot { weight, mean, square, average, .. } = slot;
            for (part, values) in [("weight", weight), ("mean", mean), ("square", square), ("average", average)] {
                let name = format!("{part}.{name}");
                let found = file.tensor(&name).ok_or_else(|| format!("{name} is missing"))?;
                if found.values.len() != values.len() {
                    return Err(format!("{name} has the shape {:?}, not {:?}", found.shape, slot.shape));
                }
                values.copy_from_slice(&found.values);
            }
        }
        let step = file.metadata.get("step").and_then(|step| step.parse().ok());
        self.step = step.ok_or("the number of its step is missing")?;
        Ok(fill(module, self.slots.iter().map(|slot| slot.weight.as_slice()).collect()))
    }
}

/// Sum of squares, in sixteen lanes within short parts: fast, and precise enough for millions.
fn square(values: &[f32]) -> f64 {
    let of = |part: &[f32]| {
        let (chunks, rest) = part.as_chunks::<16>();
        let mut lanes = [0.0f32; 16];
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value * value);
        }
        f64::from(lanes.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>())
    };
    values.chunks(4096).map(of).sum()
}

/// All float parameters of a module by their path, in the module's own order.
pub fn weights_of<M: Module>(module: &M) -> Vec<NamedTensor> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.tensors
}

/// `module` with other weights, in the order of [`weights_of`]; parameters beyond the end of the list stay.
fn fill<M: Module>(module: M, weights: Vec<&[f32]>) -> M {
    module.map(&mut Filler { weights, at: 0 })
}

/// `module` with the weights of `file`.
///
/// # Errors
/// What is missing or has another shape.
pub fn load_weights<M: Module>(module: M, file: &TensorFile) -> Result<M, String> {
    let mut weights = Vec::new();
    for wanted in weights_of(&module) {
        let found = file.tensor(&wanted.name).ok_or_else(|| format!("{} is missing", wanted.name))?;
        if found.shape != wanted.shape {
            return Err(format!("{} has the shape {:?}, not {:?}", wanted.name, found.shape, wanted.shape));
        }
        weights.push(found.values.as_slice());
    }
    Ok(fill(module, weights))
}

#[derive(Default)]
struct Collector {
    path: Vec<String>,
    tensors: Vec<NamedTensor>,
}

/// Numbers of a tensor; none if they are not f32.
fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap_or_default()
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, kind: &str) {
        // The variant of an enum is no part of a tensor's name.
        if !kind.starts_with("Enum:") {
            self.path.push(name.into());
        }
    }

    fn exit_module(&mut self, _name: &str, kind: &str) {
        if !kind.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let (name, shape) = (self.path.join("."), tensor.dims().to_vec());
        self.tensors.push(NamedTensor { name, shape, values: numbers(tensor) });
    }
}

struct GradientReader<'a> {
    slots: &'a mut [Slot],
    at: usize,
    gradients: GradientsParams,
}

impl ModuleVisitor for GradientReader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(slot) = self.slots.get_mut(self.at) {
            slot.gradient = self.gradients.remove::<D>(param.id).map(numbers);
        }
        self.at += 1;
    }
}

struct Filler<'a> {
    weights: Vec<&'a [f32]>,
    at: usize,
}

impl ModuleMapper for Filler<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weights = self.weights.get(self.at).copied();
        self.at += 1;
        let Some(weights) = weights else { return param };
        param.map(|tensor| {
            let (shape, device, tracked) = (tensor.dims(), tensor.device(), tensor.is_require_grad());
            let tensor = Tensor::from_data(TensorData::new(weights.to_vec(), shape), &device);
            if tracked { tensor.require_grad() } else { tensor }
        })
    }
}
