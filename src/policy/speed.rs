//! How long networks take on this machine: answers and training steps, optimiser included, on random numbers.

use super::act::{Act, ActConfig, ActInput};
use super::checkpoint::{ConfigProblem, Features};
use super::learner::{Batch, Learner, Loss};
use super::optimiser::{Optimiser, OptimiserConfig};
use super::sentence::Vocabulary;
use super::small::{SmallNet, SmallScales, SmallShape, SmallSize};
use super::train::keep_freed_memory;
use super::yardstick::{self, Yardstick};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Device, Distribution, Tensor};
use std::time::{Duration, Instant};

/// Joints of the arm.
const JOINTS: usize = 6;
/// Side of the pictures, pixels.
const SIDE: usize = 96;
/// Numbers to explain, as Move-T has.
const LABELS: usize = 11;
/// Phases among them.
const PHASES: usize = 7;
/// Runs before it counts: caches fill, the allocator gets its memory.
const WARM_UP: usize = 3;
/// Runs at least, however long they take.
const LEAST: usize = 5;

/// What was measured of one case.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// Runs.
    pub count: usize,
    /// Median time, ms.
    pub median_ms: f64,
    /// Least time, ms.
    pub least_ms: f64,
    /// Processor time of all threads, ms a run, if the system tells it.
    pub processor_ms: Option<f64>,
}

/// Runs `run` again and again for about `time`.
fn measure(time: Duration, mut run: impl FnMut()) -> Spread {
    (0..WARM_UP).for_each(|_| run());
    let (began, processor) = (Instant::now(), processor_ms());
    let mut times_ms = Vec::new();
    while times_ms.len() < LEAST || began.elapsed() < time {
        let from = Instant::now();
        run();
        times_ms.push(from.elapsed().as_secs_f64() * 1000.0);
    }
    let count = times_ms.len();
    let processor_ms = processor.zip(processor_ms()).map(|(before, after)| (after - before) / count as f64);
    times_ms.sort_by(f64::total_cmp);
    Spread { count, median_ms: times_ms[count / 2], least_ms: times_ms[0], processor_ms }
}

/// Processor time of this process so far, ms.
fn processor_ms() -> Option<f64> {
    /// Ticks a second in which Linux counts processor time for programs, on every common machine.
    const TICKS_PER_S: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * 1000.0 / TICKS_PER_S)
}

/// A batch of random numbers.
fn batch(rows: usize, chunk: usize, device: &Device) -> Batch {
    let uniform = Distribution::Default;
    let phase = Tensor::<2>::full([rows, 1], 2.0, device);
    Batch {
        pictures: (0..2).map(|_| Tensor::random([rows, 3, SIDE, SIDE], uniform, device)).collect(),
        state: Tensor::random([rows, 1, JOINTS], uniform, device),
        action: Tensor::random([rows, chunk, JOINTS], uniform, device),
        is_pad: Tensor::<2, Bool>::full([rows, chunk], false, device),
        labels: Some(Tensor::cat(vec![Tensor::random([rows, LABELS], uniform, device), phase], 1)),
        label_weight: 0.5,
        phase_weight: 0.1,
        tasks: vec!["Put the red block into the green area".into(); rows],
        step: 0,
        seed: 0,
    }
}

/// The small policy's network.
fn small(size: &SmallSize, chunk: usize, reads: bool, device: &Device) -> SmallNet {
    let words = ["red", "blue", "block", "area"].map(|word| format!("Put the {word} into the green area"));
    let shape = SmallShape {
        size: size.clone(),
        pictures: vec![(SIDE, SIDE); 2],
        joints: JOINTS,
        chunk,
        labels: LABELS,
        phases: PHASES,
        sentences: if reads { Vocabulary::of(&words) } else { None },
    };
    let scales = SmallScales {
        state_mean: vec![0.0; JOINTS],
        state_std: vec![1.0; JOINTS],
        target: vec![1.0; chunk * JOINTS],
        label_mean: vec![0.0; LABELS],
        label_std: vec![1.0; LABELS],
    };
    SmallNet::new(shape, scales, 0, device)
}

/// A training step of `network`: forward, backward, optimiser.
fn steps<L: Learner>(network: L, batch: &Batch, time: Duration) -> Spread {
    keep_freed_memory();
    let config = OptimiserConfig {
        learning_rate: 1e-4,
        warmup_steps: 1,
        final_share: 1.0,
        weight_decay: 1e-4,
        beta_2: 0.999,
        clip: 1.0,
        average: true,
    };
    let mut optimiser = Optimiser::new(config, 1_000_000, &network);
    let mut network = Some(network);
    measure(time, || {
        let Some(module) = network.take() else { return };
        let Loss { total, .. } = module.loss(batch);
        let gradients = GradientsParams::from_grads(total.backward(), &module);
        // Random targets do not run away.
        network = optimiser.step(module, gradients).ok().map(|(module, _)| module);
    })
}

/// A training step of the small policy with `rows` rows.
pub fn small_step(size: &SmallSize, chunk: usize, reads: bool, rows: usize, time: Duration) -> Spread {
    let device = Device::flex().autodiff();
    steps(small(size, chunk, reads, &device), &batch(rows, chunk, &device), time)
}

/// An answer of the small policy.
pub fn small_answer(size: &SmallSize, chunk: usize, time: Duration) -> Spread {
    let device = Device::flex();
    let (network, batch) = (small(size, chunk, false, &device), batch(1, chunk, &device));
    let state = batch.state.reshape([1, JOINTS]);
    measure(time, || drop(network.targets(&batch.pictures, state.clone(), None).into_data()))
}

fn act(config: &ActConfig, device: &Device) -> Result<Act, ConfigProblem> {
    Act::new(config, &Features::of_arm(JOINTS, &[("overview", SIDE, SIDE), ("wrist", SIDE, SIDE)]), device)
}

fn act_input(batch: &Batch) -> ActInput {
    let [rows, ..] = batch.state.dims();
    let state = Some(batch.state.clone().reshape([rows, JOINTS]));
    ActInput { state, environment: None, images: batch.pictures.clone() }
}

/// An answer of ACT.
///
/// # Errors
/// When the configuration does not fit itself.
pub fn act_answer(config: &ActConfig, time: Duration) -> Result<Spread, ConfigProblem> {
    let device = Device::flex();
    let (network, batch) = (act(config, &device)?.for_inference(), batch(1, config.chunk_size, &device));
    Ok(measure(time, || drop(network.predict(act_input(&batch)).into_data())))
}

/// ACT as the optimiser's step wants it.
#[derive(Module, Debug)]
struct LearningAct {
    model: Act,
}

impl Learner for LearningAct {
    fn loss(&self, batch: &Batch) -> Loss {
        let loss = self.model.loss(act_input(batch), batch.action.clone(), batch.is_pad.clone(), None);
        Loss { total: loss.total, parts: Vec::new() }
    }
}

/// A training step of ACT with `rows` rows.
///
/// # Errors
/// When the configuration does not fit itself.
pub fn act_step(config: &ActConfig, rows: usize, time: Duration) -> Result<Spread, ConfigProblem> {
    let device = Device::flex().autodiff();
    Ok(steps(LearningAct { model: act(config, &device)? }, &batch(rows, config.chunk_size, &device), time))
}

/// A training step of the network that is compared with other frameworks.
pub fn yardstick_step(rows: usize, time: Duration) -> Spread {
    let device = Device::flex().autodiff();
    steps(Yardstick::new(&device), &batch(rows, yardstick::CHUNK, &device), time)
}

/// An answer of it.
pub fn yardstick_answer(time: Duration) -> Spread {
    let device = Device::flex();
    let (network, batch) = (Yardstick::new(&device), batch(1, yardstick::CHUNK, &device));
    let state = batch.state.reshape([1, JOINTS]);
    measure(time, || drop(network.forward(&batch.pictures, state.clone()).into_data()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_can_be_measured() {
        let size = SmallSize { channels: (4, 4, 4, 4), embedding: 8, hidden: 8 };
        let time = Duration::from_millis(1);
        for spread in [small_step(&size, 4, true, 2, time), small_answer(&size, 4, time), yardstick_answer(time)] {
            assert!(
                spread.count >= LEAST && spread.least_ms > 0.0 && spread.least_ms <= spread.median_ms,
                "{spread:?}"
            );
        }
    }
}
