//! A policy judged on unseen starts: episodes without a window, one world a core, the same result on every machine.

use crate::app::{AppError, Loaded, RunOptions};
use crate::camera::{CameraFrame, CameraSensor};
use crate::dataset::{DatasetError, Image, export};
use crate::episode::EpisodePhase;
use crate::headless::{EpisodeReport, Headless, StartError};
use crate::operator::Operator;
use crate::policy::{self, PolicyError};
use crate::rollout::{self, PolicyDriver, RolloutOptions};
use burn::tensor::Device;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use thiserror::Error;

/// The first seed of evaluations: training stays below, so that no start is one the policy has seen.
pub const FIRST_SEED: u64 = 100_000;
/// The first seed with which checkpoints are compared while they are trained.
pub const SELECTION_SEED: u64 = policy::KEPT_SEEDS;
/// Pictures kept of an episode; when there are more, every second is dropped.
const FILM_LENGTH: usize = 24;
/// Bins of the histogram of final scores, from 0 to 1.
const BINS: usize = 20;

/// An evaluation could not be made.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// The world.
    #[error(transparent)]
    App(#[from] AppError),
    /// An episode.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The policy cannot be opened.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy does not fit.
    #[error("this policy cannot drive here:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The policy failed in an episode.
    #[error("seed {seed}: {problem}")]
    Failed {
        /// The episode.
        seed: u64,
        /// What happened.
        problem: String,
    },
    /// A seed that training may have used.
    #[error("seed {0}: evaluations begin at seed {FIRST_SEED}, training stays below; give --seed {FIRST_SEED} or more")]
    SeenSeed(u64),
    /// A picture of the gallery cannot be written.
    #[error(transparent)]
    Gallery(#[from] DatasetError),
    /// The gallery's folder cannot be made.
    #[error("{folder}: {source}; check the path and its permissions")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A world's thread ended early.
    #[error("a thread of the evaluation ended early; run it again with --threads 1 to see where")]
    Lost,
}

/// What to evaluate and how.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// The world.
    pub world: RunOptions,
    /// Folder of the policy.
    pub policy: PathBuf,
    /// Episodes.
    pub episodes: u64,
    /// Seed of the first.
    pub seed: u64,
    /// Worlds side by side.
    pub threads: usize,
    /// How chunks are followed.
    pub rollout: RolloutOptions,
    /// Time limit instead of the scene's, s.
    pub time_limit_s: Option<f64>,
    /// Task text instead of the scene's.
    pub instruction: Option<String>,
    /// Folder for contact sheets of failures.
    pub gallery: Option<PathBuf>,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Episodes.
    pub episodes: u64,
    /// Those in which the task was done.
    pub successes: u64,
    /// Share of them.
    pub success_rate: f64,
    /// 95 % confidence interval of the share, Wilson's.
    pub confidence_95: (f64, f64),
    /// Successes that ended with a score of at least 0.95.
    pub successes_095: u64,
    /// Episodes by final score in bins of 0.05.
    pub score_histogram: Vec<u64>,
    /// Median time of successes in the simulation, s.
    pub median_success_s: Option<f64>,
    /// Seeds that failed.
    pub failed_seeds: Vec<u64>,
    /// Time the evaluation took, s.
    pub wall_s: f64,
}

impl Evaluation {
    /// Of these episodes.
    pub fn of(reports: &[EpisodeReport], wall_s: f64) -> Self {
        let good: Vec<&EpisodeReport> = reports.iter().filter(|report| report.success).collect();
        let (count, successes) = (reports.len() as u64, good.len() as u64);
        let mut histogram = vec![0; BINS];
        for report in reports {
            let bin = (report.score.clamp(0.0, 1.0) * BINS as f64) as usize;
            histogram[bin.min(BINS - 1)] += 1;
        }
        let mut seconds: Vec<f64> = good.iter().map(|report| report.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        Self {
            episodes: count,
            successes,
            success_rate: successes as f64 / (count as f64).max(1.0),
            confidence_95: wilson(successes, count),
            successes_095: good.iter().filter(|report| report.score >= crate::task::STRICT_COVERAGE).count() as u64,
            score_histogram: histogram,
            median_success_s: seconds.get(seconds.len() / 2).copied(),
            failed_seeds: reports.iter().filter(|report| !report.success).map(|report| report.seed).collect(),
            wall_s,
        }
    }
}

/// Wilson's 95 % interval for `successes` of `count`.
pub(crate) fn wilson(successes: u64, count: u64) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (count as f64, 1.959_964);
    let share = successes as f64 / n;
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// A world with a policy in it.
pub struct Judge {
    headless: Headless,
    film: Option<Film>,
}

impl Judge {
    /// Puts `policy` from its folder into a world of its own; `film`: whether pictures are kept.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub fn new(loaded: &Loaded, options: &EvaluateOptions) -> Result<Self, EvaluateError> {
        let world = RunOptions { operator: Operator::Policy, ..options.world.clone() };
        let mut headless = Headless::from_loaded(loaded, &world);
        let policy = policy::load(&options.policy, &Device::flex())?;
        rollout::install(headless.app.world_mut(), policy, options.rollout).map_err(EvaluateError::Refused)?;
        Ok(Self { headless, film: options.gallery.is_some().then(Film::default) })
    }

    /// Runs the episode of `seed`.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub fn run(&mut self, seed: u64) -> Result<EpisodeReport, EvaluateError> {
        if let Some(film) = &mut self.film {
            film.clear();
        }
        self.headless.start(seed)?;
        loop {
            let world = self.headless.app.world_mut();
            if let Some(problem) = world.resource_mut::<PolicyDriver>().take_fault() {
                return Err(EvaluateError::Failed { seed, problem });
            }
            if let Some(film) = &mut self.film {
                let mut frames: Vec<(usize, Image)> = (world.query::<(&CameraSensor, &CameraFrame)>().iter(world))
                    .filter(|(_, frame)| !frame.rgb.is_empty())
                    .map(|(sensor, frame)| {
                        let (width, height) = (frame.width as usize, frame.height as usize);
                        (sensor.index, Image { width, height, rgb: frame.rgb.clone() })
                    })
                    .collect();
                frames.sort_by_key(|frame| frame.0);
                film.add(frames.into_iter().map(|frame| frame.1).collect());
            }
            if self.headless.episode().phase != EpisodePhase::Running {
                return Ok(self.headless.report());
            }
            self.headless.tick();
        }
    }
}

/// Pictures of an episode, evenly spread over it however long it becomes.
#[derive(Default)]
struct Film {
    seen: usize,
    every: usize,
    frames: Vec<Vec<Image>>,
}

impl Film {
    fn clear(&mut self) {
        *self = Self { every: 1, ..Self::default() };
    }

    fn add(&mut self, frame: Vec<Image>) {
        if self.seen.is_multiple_of(self.every.max(1)) {
            self.frames.push(frame);
        }
        self.seen += 1;
        if self.frames.len() > FILM_LENGTH {
            let mut keep = false;
            self.frames.retain(|_| {
                keep = !keep;
                keep
            });
            self.every = self.every.max(1) * 2;
        }
    }

    /// Everything on one sheet: time from left to right, twelve moments a line, the cameras under each other.
    fn sheet(&self) -> Option<Image> {
        let first = self.frames.first().filter(|first| !first.is_empty())?;
        let columns = self.frames.len().min(12);
        let tall: usize = first.iter().map(|picture| picture.height + 2).sum();
        let wide = first.iter().map(|picture| picture.width).max()? + 2;
        let lines = self.frames.len().div_ceil(columns);
        let (width, height) = (columns * wide, lines * tall);
        let mut sheet = Image { width, height, rgb: vec![32; 3 * width * height] };
        for (number, frame) in self.frames.iter().enumerate() {
            let (left, mut top) = (number % columns * wide, number / columns * tall);
            for picture in frame {
                for row in 0..picture.height {
                    let from = &picture.rgb[3 * row * picture.width..3 * (row + 1) * picture.width];
                    let at = 3 * ((top + row) * width + left);
                    if let Some(to) = sheet.rgb.get_mut(at..at + from.len()) {
                        to.copy_from_slice(from);
                    }
                }
                top += picture.height + 2;
            }
        }
        Some(sheet)
    }
}

/// Runs all episodes; `told` hears of each in the order of the seeds and may end it.
///
/// # Errors
/// [`EvaluateError`].
pub fn evaluate(
    options: &EvaluateOptions,
    mut told: impl FnMut(&EpisodeReport) -> ControlFlow<()>,
) -> Result<Evaluation, EvaluateError> {
    if options.seed < SELECTION_SEED {
        return Err(EvaluateError::SeenSeed(options.seed));
    }
    let began = std::time::Instant::now();
    let mut loaded = Loaded::new(&options.world)?;
    loaded.scene.change(|scene| {
        scene.time_limit_s = options.time_limit_s.unwrap_or(scene.time_limit_s);
        if let Some(instruction) = &options.instruction {
            scene.instruction.clone_from(instruction);
        }
    });
    if let Some(folder) = &options.gallery {
        std::fs::create_dir_all(folder).map_err(|source| EvaluateError::Folder { folder: folder.clone(), source })?;
    }
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, results) = channel();
    let work = |loaded: &Loaded| -> Result<(), EvaluateError> {
        let mut judge = Judge::new(loaded, options)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.episodes || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let report = judge.run(options.seed.wrapping_add(number))?;
            if let (Some(folder), Some(film)) = (&options.gallery, judge.film.as_ref().filter(|_| !report.success))
                && let Some(sheet) = film.sheet()
            {
                export::png(&sheet, &folder.join(format!("seed_{}.png", report.seed)))?;
            }
            if sender.send((number, report)).is_err() {
                return Ok(());
            }
        }
    };
    let mut reports: Vec<EpisodeReport> = Vec::new();
    let threads = options.threads.clamp(1, options.episodes.max(1) as usize);
    let (loaded, work) = (&loaded, &work);
    let finished = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let stop = &stop;
                scope.spawn(move || {
                    // Each world has one core to itself: its network must not spread over the others'.
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                    let done = match pool {
                        Ok(pool) => pool.install(|| work(loaded)),
                        Err(_) => work(loaded),
                    };
                    if done.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done
                })
            })
            .collect();
        let mut waiting = std::collections::BTreeMap::new();
        // The channel stays open as long as `work` borrows its sender: whether all have ended is asked for.
        while (reports.len() as u64) < options.episodes {
            match results.recv_timeout(std::time::Duration::from_millis(200)) {
                Ok((number, report)) => {
                    waiting.insert(number, report);
                }
                Err(_) if workers.iter().all(std::thread::ScopedJoinHandle::is_finished) => {
                    waiting.extend(results.try_iter());
                    if !waiting.contains_key(&(reports.len() as u64)) {
                        break;
                    }
                }
                Err(_) => {}
            }
            while let Some(report) = waiting.remove(&(reports.len() as u64)) {
                if told(&report).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
                reports.push(report);
            }
        }
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(EvaluateError::Lost)))
    });
    finished?;
    Ok(Evaluation::of(&reports, began.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson(490, 500);
        assert!((low - 0.9636).abs() < 5e-4 && (high - 0.9891).abs() < 5e-4, "{low} {high}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert!(wilson(10, 10).1 <= 1.0);
    }

    #[test]
    fn films_keep_their_length_and_spread_over_the_episode() {
        let mut film = Film::default();
        film.clear();
        for shade in 0..200u8 {
            film.add(vec![Image { width: 2, height: 2, rgb: vec![shade; 12] }]);
        }
        assert!(film.frames.len() <= FILM_LENGTH && film.frames.len() > FILM_LENGTH / 3);
        assert!(film.frames.last().unwrap()[0].rgb[0] > 180);
        let sheet = film.sheet().unwrap();
        assert_eq!(sheet.rgb.len(), 3 * sheet.width * sheet.height);
    }
}
