//! A policy at the planar Push-T, and how it is judged there: by the published measures, so that figures compare.
//!
//! The score of an episode is its greatest reward, which is the coverage in parts of 0.95 and at most 1; it succeeds when
//! the coverage exceeds 0.95 within 300 steps. The published seeds begin at 100000.

use crate::dataset::Image;
use crate::evaluate::{EvaluateError, wilson};
use crate::policy::gate::{self, Asked, Robot};
use crate::policy::{self, Moment, Observation, Policy, PolicySpec};
use crate::push_t_2d::{
    Action, CAMERA, CONTROL_HZ, JOINTS, Observation as Seen, PICTURE, PushT2d, SENTENCE, WORKSPACE,
};
use crate::rollout::{ChunkQueue, RolloutOptions};
use burn::tensor::Device;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

/// A policy that moves the finger.
pub struct PlanarDriver {
    policy: Box<dyn Policy>,
    spec: PolicySpec,
    options: RolloutOptions,
    queue: ChunkQueue,
    history: VecDeque<Arc<Moment>>,
    /// Chunks on their way, with the step of their arrival and the one that asked.
    coming: VecDeque<(u64, u64, Vec<f32>)>,
    last_asked: Option<u64>,
    seed: u64,
}

impl PlanarDriver {
    /// Opens the policy in `folder` after checking that it fits.
    ///
    /// # Errors
    /// [`EvaluateError`]: it cannot be opened, or everything that does not fit, in words.
    pub fn open(folder: &Path, options: RolloutOptions) -> Result<Self, EvaluateError> {
        let policy = policy::load(folder, &Device::flex())?;
        let spec = policy.spec().clone();
        let mut refusals = gate::refusals(&spec, &robot());
        for camera in spec.cameras.iter().filter(|camera| (camera.width, camera.height) != (PICTURE, PICTURE)) {
            refusals.push(format!(
                "cameras: the policy wants {}x{}, the published picture has {PICTURE}x{PICTURE}; train it without another \
                 size",
                camera.width, camera.height
            ));
        }
        if !refusals.is_empty() {
            return Err(EvaluateError::Refused(refusals));
        }
        Ok(Self {
            policy,
            spec,
            options,
            queue: ChunkQueue::new(JOINTS.len()),
            history: VecDeque::new(),
            coming: VecDeque::new(),
            last_asked: None,
            seed: 0,
        })
    }

    /// An episode begins.
    pub fn begin(&mut self, seed: u64) {
        self.queue.clear();
        self.history.clear();
        self.coming.clear();
        (self.last_asked, self.seed) = (None, seed);
    }

    /// What to do now; where the policy has not answered yet, the finger stays.
    ///
    /// # Errors
    /// [`EvaluateError::Failed`] when the policy cannot answer.
    pub fn act(&mut self, world: &PushT2d) -> Result<Action, EvaluateError> {
        let step = u64::from(world.steps());
        let seen = world.observation();
        let here = seen.agent_position;
        self.remember(seen);
        let execute = self.options.execute.unwrap_or(self.spec.n_action_steps).max(1) as u64;
        let every = execute.saturating_sub(self.options.latency_ticks).max(1);
        if self.last_asked.is_none_or(|asked| step >= asked + every) {
            let history: Vec<Arc<Moment>> = self.history.iter().cloned().collect();
            let asked = Observation { history: &history, task: SENTENCE };
            let failed = |problem: String| EvaluateError::Failed { seed: self.seed, problem };
            let noise_seed = self.seed.wrapping_mul(1 << 20).wrapping_add(step);
            let chunk = self.policy.predict(&[asked], noise_seed).map_err(|error| failed(error.to_string()))?.pop();
            let chunk = chunk.ok_or_else(|| failed("the policy gave no answer".into()))?;
            self.last_asked = Some(step);
            self.coming.push_back((step + self.options.latency_ticks, step, chunk));
        }
        while let Some((_, asked, chunk)) = self.coming.pop_front_if(|(arrival, ..)| *arrival <= step) {
            self.queue.push(asked, chunk);
        }
        let target = self.queue.targets(step, self.options.overlap.fading(&self.spec));
        Ok(target.and_then(|target| Some([*target.first()?, *target.get(1)?])).unwrap_or(here))
    }

    fn remember(&mut self, seen: Seen) {
        let picture = Arc::new(Image { width: PICTURE, height: PICTURE, rgb: seen.picture });
        let pictures = vec![picture; self.spec.cameras.len()];
        let moment = Arc::new(Moment { state: seen.agent_position.to_vec(), pictures });
        let wanted = self.spec.n_obs_steps.max(1);
        self.history.push_back(moment.clone());
        while self.history.len() < wanted {
            self.history.push_front(moment.clone());
        }
        while self.history.len() > wanted {
            self.history.pop_front();
        }
    }
}

/// What a policy drives here.
fn robot() -> Robot {
    Robot {
        joints: JOINTS.map(String::from).to_vec(),
        limits: vec![[0.0, WORKSPACE as f32]; JOINTS.len()],
        cameras: vec![CAMERA.into()],
        fps: CONTROL_HZ,
        asked: Asked::Always(SENTENCE.into()),
        // The finger may start anywhere.
        state: None,
    }
}

/// How an episode went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanarReport {
    /// Seed of its start.
    pub seed: u64,
    /// Whether the coverage exceeded 0.95.
    pub success: bool,
    /// Greatest reward: the published score.
    pub score: f64,
    /// Greatest coverage.
    pub best_coverage: f64,
    /// Steps, 300 at most.
    pub steps: u32,
}

/// Runs the episode of `seed` with whatever `act` says.
///
/// # Errors
/// Those of `act`.
pub fn episode<E>(seed: u64, mut act: impl FnMut(&PushT2d) -> Result<Action, E>) -> Result<PlanarReport, E> {
    let mut world = PushT2d::new(seed);
    let mut best_coverage = 0.0f64;
    loop {
        let action = act(&world)?;
        let result = world.step(action);
        best_coverage = best_coverage.max(result.coverage);
        if result.done {
            let (score, steps) = (world.best_reward(), world.steps());
            return Ok(PlanarReport { seed, success: result.success, score, best_coverage, steps });
        }
    }
}

/// A policy judged by the published measures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanarEvaluation {
    /// Episodes.
    pub episodes: u64,
    /// Mean of the greatest rewards: what is published as target area coverage.
    pub mean_score: f64,
    /// Mean of the greatest coverages themselves.
    pub mean_best_coverage: f64,
    /// Episodes whose coverage exceeded 0.95.
    pub successes: u64,
    /// Share of them.
    pub success_rate: f64,
    /// 95 % confidence interval of the share, Wilson's.
    pub confidence_95: (f64, f64),
    /// Mean number of steps.
    pub mean_steps: f64,
    /// Seeds that failed.
    pub failed_seeds: Vec<u64>,
    /// Time the evaluation took, s.
    pub wall_s: f64,
}

impl PlanarEvaluation {
    /// Of these episodes.
    pub fn of(reports: &[PlanarReport], wall_s: f64) -> Self {
        let count = reports.len() as f64;
        let mean = |of: &dyn Fn(&PlanarReport) -> f64| reports.iter().map(of).sum::<f64>() / count.max(1.0);
        let successes = reports.iter().filter(|report| report.success).count() as u64;
        Self {
            episodes: reports.len() as u64,
            mean_score: mean(&|report| report.score),
            mean_best_coverage: mean(&|report| report.best_coverage),
            successes,
            success_rate: successes as f64 / count.max(1.0),
            confidence_95: wilson(successes, reports.len() as u64),
            mean_steps: mean(&|report| f64::from(report.steps)),
            failed_seeds: reports.iter().filter(|report| !report.success).map(|report| report.seed).collect(),
            wall_s,
        }
    }
}

/// Judges the policy in `folder` on `episodes` starts from seed `first` on, with `threads` worlds side by side; `told` hears
/// of each episode in the order of the seeds and may end it. The result does not depend on the number of threads.
///
/// # Errors
/// [`EvaluateError`].
pub fn evaluate(
    folder: &Path,
    options: RolloutOptions,
    (first, episodes): (u64, u64),
    threads: usize,
    mut told: impl FnMut(&PlanarReport) -> ControlFlow<()>,
) -> Result<PlanarEvaluation, EvaluateError> {
    let began = std::time::Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, results) = channel();
    let work = |sender: std::sync::mpsc::Sender<(u64, PlanarReport)>| -> Result<(), EvaluateError> {
        let mut driver = PlanarDriver::open(folder, options)?;
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= episodes {
                break;
            }
            let seed = first.wrapping_add(number);
            driver.begin(seed);
            let report = episode(seed, |world| driver.act(world))?;
            if sender.send((number, report)).is_err() {
                break;
            }
        }
        Ok(())
    };
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let (work, stop) = (&work, &stop);
        let workers: Vec<_> = (0..threads.clamp(1, episodes.max(1) as usize))
            .map(|_| {
                let sender = sender.clone();
                scope.spawn(move || {
                    // Each world has one core to itself: its network must not spread over the others'.
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                    let done = match pool {
                        Ok(pool) => pool.install(|| work(sender)),
                        Err(_) => work(sender),
                    };
                    if done.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done
                })
            })
            .collect();
        drop(sender);
        let mut waiting = BTreeMap::new();
        // Ends when every worker has let go of its sender.
        while let Ok((number, report)) = results.recv() {
            waiting.insert(number, report);
            while let Some(report) = waiting.remove(&(reports.len() as u64)) {
                if told(&report).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
                reports.push(report);
            }
        }
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(EvaluateError::Lost)))
    })?;
    Ok(PlanarEvaluation::of(&reports, began.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push_t_2d::PlanarExpert;

    #[test]
    fn the_published_measures_are_taken_over_the_whole_episode() {
        let mut expert = PlanarExpert::default();
        let done = episode(100_000, |world| Ok::<_, EvaluateError>(expert.act(world))).unwrap();
        assert!(done.success && done.score == 1.0 && done.best_coverage > 0.95 && done.steps < 300, "{done:?}");
        let still = episode(100_001, |_| Ok::<_, EvaluateError>([0.0, 0.0])).unwrap();
        assert!(!still.success && still.steps == 300, "{still:?}");
        assert!((still.score - (still.best_coverage / 0.95).min(1.0)).abs() < 1e-12);
        let both = PlanarEvaluation::of(&[done, still.clone()], 0.0);
        assert_eq!((both.episodes, both.successes, both.failed_seeds.clone()), (2, 1, vec![100_001]));
        assert!((both.mean_score - 0.5 * (1.0 + still.score)).abs() < 1e-12);
    }
}
