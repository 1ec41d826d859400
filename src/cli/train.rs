//! `etude train`: a policy from a dataset.

use super::evaluate::cores;
use super::{CliError, progress_bar, say, to_json};
use crate::app::RunOptions;
use crate::config;
use crate::evaluate::{self, EvaluateOptions, SELECTION_SEED};
use crate::operator::Operator;
use crate::policy::checkpoint::ConfigProblem;
use crate::policy::curves::{Curves, sparkline};
use crate::policy::device::device;
use crate::policy::learner::Keep;
use crate::policy::lerobot::learn::{ActLearner, DiffusionLearner};
use crate::policy::loader::{TrainData, Wanted};
use crate::policy::preset::{NetworkPreset, Preset};
use crate::policy::run_folder::RunFolder;
use crate::policy::tensors::TensorFile;
use crate::policy::train::{Look, Progress, fit};
use crate::policy::{Origin, small_policy};
use crate::rollout::RolloutOptions;
use burn::tensor::Device;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Curves above the progress bar: the first part of the loss, success.
const LOSS: &str = "loss";
const SUCCESS: &str = "success_rate";
/// Points of the curves in a run, about.
const POINTS: usize = 100;

/// Options of `etude train`.
#[derive(Args, Clone, Debug)]
pub(super) struct TrainArgs {
    /// Dataset to learn from; may be given several times, for several datasets together.
    #[arg(long, value_name = "FOLDER", required_unless_present = "resume")]
    pub(super) dataset: Vec<PathBuf>,
    /// What to train and how: a name in configs/policy/ (small, act_small, diffusion_small, ..) or a .ron file.
    #[arg(long, default_value = "small", value_name = "NAME")]
    pub(super) policy: String,
    /// Folder of the run; the trained policy is in its policy/.
    #[arg(long, value_name = "FOLDER", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,
    /// Go on with the run in this folder, or from one of its checkpoints.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "from"])]
    pub(super) resume: Option<PathBuf>,
    /// Begin with the weights and statistics of this policy instead of random weights.
    #[arg(long, value_name = "FOLDER", alias = "init")]
    pub(super) from: Option<PathBuf>,
    /// Steps instead of the preset's.
    #[arg(long, value_name = "COUNT")]
    pub(super) steps: Option<usize>,
    /// Rows in a batch instead of the preset's.
    #[arg(long, value_name = "COUNT")]
    pub(super) batch: Option<usize>,
    /// Highest learning rate instead of the preset's.
    #[arg(long, value_name = "RATE")]
    pub(super) learning_rate: Option<f64>,
    /// Where to compute: flex (the CPU), or wgpu, vulkan, cuda in a build with that feature.
    #[arg(long, default_value = "flex", value_name = "NAME")]
    pub(super) device: String,
    /// Cameras to look through, by name; without it all of the dataset.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) cameras: Option<Vec<String>>,
    /// Seed of weights and order.
    #[arg(long, value_name = "SEED")]
    pub(super) seed: Option<u64>,
    /// Keep a checkpoint every so many steps; the last one is always kept.
    #[arg(long, value_name = "STEPS")]
    pub(super) save_every: Option<usize>,
    /// Evaluate in the simulation every so many steps and choose the best checkpoint.
    #[arg(long, value_name = "STEPS")]
    pub(super) eval_every: Option<usize>,
    /// Episodes of each such evaluation.
    #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) eval_episodes: u64,
    /// Task of such evaluations.
    #[arg(long, default_value = "move_t", value_name = "NAME")]
    pub(super) task: String,
    /// Time limit of each of their episodes, s.
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    pub(super) eval_limit: f64,
    /// Show the curves in a window; closing it does not end the training.
    #[arg(long, conflicts_with = "json")]
    pub(super) window: bool,
    /// One JSON line a report instead of a progress bar.
    #[arg(long)]
    pub(super) json: bool,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Trained {
    /// Folder of the chosen policy.
    pub(super) policy: PathBuf,
    /// Steps made.
    pub(super) steps: usize,
    /// Rows of the dataset.
    pub(super) rows: usize,
    /// Fingerprint of the dataset.
    pub(super) dataset: String,
    /// Weights of the network.
    pub(super) parameters: usize,
    /// Whether it was ended before its last step.
    pub(super) interrupted: bool,
    /// Time for reading the data, s.
    pub(super) load_s: f64,
    /// Time for training, s.
    pub(super) train_s: f64,
}

/// Everything that decides a run.
struct Plan {
    root: PathBuf,
    datasets: Vec<PathBuf>,
    preset: Preset,
    resume: Option<(PathBuf, TensorFile)>,
}

pub(super) fn train(args: &TrainArgs) -> Result<(), CliError> {
    let trained = if args.window { run_in_window(args)? } else { run(args)? };
    if args.json {
        return say(to_json(&trained));
    }
    let verb = if trained.interrupted { "interrupted after" } else { "trained" };
    say(format!(
        "{verb} {} steps on {} rows in {:.0} s (reading them: {:.0} s); policy in {}",
        trained.steps,
        trained.rows,
        trained.train_s,
        trained.load_s,
        trained.policy.display()
    ))
}

/// Trains in a thread of its own, since windows belong to the first one.
fn run_in_window(args: &TrainArgs) -> Result<Trained, CliError> {
    let root = match (&args.resume, &args.out) {
        (Some(path), _) => RunFolder::resume(path)?.0,
        (None, Some(out)) => out.clone(),
        (None, None) => return run(args),
    };
    std::thread::scope(|scope| {
        let training = scope.spawn(|| run(args));
        if let Err(fault) = super::curves::open(&root) {
            eprintln!("etude: {fault}: training goes on without a window");
        }
        training.join().unwrap_or_else(|_| Err(CliError::Window("the training's thread ended early".into())))
    })
}

/// Trains as `args` say.
pub(super) fn run(args: &TrainArgs) -> Result<Trained, CliError> {
    let plan = plan(args)?;
    let stop = interruption()?;
    let began = std::time::Instant::now();
    let wanted = Wanted {
        cameras: plan.preset.cameras.clone(),
        size: plan.preset.picture,
        chunk: plan.preset.chunk,
        n_obs_steps: plan.preset.network.n_obs_steps(),
    };
    if args.device != "flex" && matches!(plan.preset.network, NetworkPreset::Small(_)) {
        // Its convolution is written for this backend.
        return Err(CliError::Usage(format!(
            "--device {}: the small policies run on flex only; leave it out",
            args.device
        )));
    }
    std::fs::create_dir_all(&plan.root)?;
    let bar = progress_bar(0, "rows decoded");
    let rows = plan.datasets.iter().map(|root| Ok(crate::dataset::Dataset::open(root)?.len() as u64));
    bar.set_length(rows.sum::<Result<u64, CliError>>()?);
    let data = TrainData::open_all(&plan.datasets, &wanted, &plan.root, &|rows| bar.inc(rows as u64));
    bar.finish_and_clear();
    let data = Arc::new(data.map_err(crate::policy::train::TrainError::Load)?);
    let load_s = began.elapsed().as_secs_f64();
    if !data.shows_recoveries {
        eprintln!(
            "etude: {}: nobody disturbed these demonstrations, so they hardly show how to recover; expect more from data of \
             `etude generate`",
            plan.datasets[0].display()
        );
    }
    let config = json!({
        "preset": plan.preset,
        "dataset": {
            "paths": plan.datasets, "fingerprint": data.fingerprint, "rows": data.rows, "episodes": data.episodes,
        },
        "from": args.from,
        "command": std::env::args().collect::<Vec<_>>(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let mut folder =
        if plan.resume.is_some() { RunFolder::open(&plan.root)? } else { RunFolder::create(&plan.root, &config)? };
    let device = device(&args.device)?.autodiff();
    let (seed, execute) = (plan.preset.training.seed, plan.preset.execute);
    let unfit = |problem: ConfigProblem| CliError::Usage(format!("preset: network.{problem}"));
    let stage = Stage { args, plan: &plan, data: &data, stop: &stop, load_s };
    match &plan.preset.network {
        NetworkPreset::Small(size) => stage.run(small_policy::build(&data, size, seed, &device), &mut folder, &device),
        NetworkPreset::Act(config) => {
            let network = ActLearner::new(config, &data, execute, seed, &device).map_err(unfit)?;
            stage.run(network, &mut folder, &device)
        }
        NetworkPreset::Diffusion(config) => {
            let network = DiffusionLearner::new(config, &data, execute, seed, &device).map_err(unfit)?;
            stage.run(network, &mut folder, &device)
        }
    }
}

/// What a run needs besides its network and its folder.
struct Stage<'a> {
    args: &'a TrainArgs,
    plan: &'a Plan,
    data: &'a Arc<TrainData>,
    stop: &'a AtomicBool,
    load_s: f64,
}

impl Stage<'_> {
    /// Trains a network of whatever kind and chooses the policy.
    fn run<N: Keep>(&self, mut network: N, folder: &mut RunFolder, device: &Device) -> Result<Trained, CliError> {
        let Stage { args, plan, data, stop, load_s } = *self;
        if let Some(from) = &args.from {
            network = network.begin_with(from, device)?;
        }
        // A run that has made all its steps already still has its policy.
        let (before, made) = plan.resume.as_ref().map_or((None, 0), |(file, state)| {
            let folder = file.parent().and_then(Path::parent).map(|checkpoint| checkpoint.join("pretrained_model"));
            (folder, state.metadata.get("step").and_then(|step| step.parse().ok()).unwrap_or(0))
        });
        let mut session = Session {
            args,
            execute: plan.preset.execute,
            origin: Origin { nudge_rad: plan.preset.nudge_rad, ..origin(data) },
            data,
            folder,
            stop,
            best: None,
            last: before,
            bar: training_bar(plan.preset.training.steps as u64),
            curves: Curves::default(),
            fault: Ok(()),
            steps: made,
        };
        if args.json {
            session.bar = indicatif::ProgressBar::hidden();
        }
        let resume = plan.resume.as_ref().map(|(file, state)| (file.display().to_string(), state));
        let resume = resume.as_ref().map(|(name, state)| (name.as_str(), *state));
        let training = &plan.preset.training;
        let trains = std::time::Instant::now();
        // Often enough for Ctrl-C and the bar; the curves take every so manieth.
        let every = (training.steps / POINTS).clamp(1, 20);
        let network = fit(network, data, training, device, resume, every, |look| session.look(look))?;
        session.bar.finish_and_clear();
        session.fault?;
        let (best, last, steps) = (session.best, session.last, session.steps);
        let train_s = trains.elapsed().as_secs_f64();
        let Some(chosen) = best.map(|best| best.1).or(last) else {
            return Err(CliError::Usage(format!(
                "{}: there were no steps to make; give more --steps",
                plan.root.display()
            )));
        };
        let policy = folder.choose(&chosen)?;
        Ok(Trained {
            policy,
            steps,
            rows: data.rows,
            dataset: data.fingerprint.clone(),
            parameters: burn::module::Module::num_params(&network),
            interrupted: steps < training.steps,
            load_s,
            train_s,
        })
    }
}

#[cfg(unix)]
fn interruption() -> Result<Arc<AtomicBool>, CliError> {
    super::arm::interruption()
}

#[cfg(not(unix))]
fn interruption() -> Result<Arc<AtomicBool>, CliError> {
    Ok(Arc::default())
}

fn plan(args: &TrainArgs) -> Result<Plan, CliError> {
    let (root, mut preset, datasets, resume) = match &args.resume {
        Some(path) => {
            let (root, file, state) = RunFolder::resume(path)?;
            let config = RunFolder::config(&root)?;
            let damaged = |what: &str| {
                CliError::Usage(format!(
                    "{}: {what} is missing or damaged; begin a new run",
                    root.join("run.json").display()
                ))
            };
            let preset: Preset = serde_json::from_value(config["preset"].clone()).map_err(|_| damaged("preset"))?;
            // Runs of earlier versions have one path.
            let paths = &config["dataset"]["paths"];
            let paths = paths.as_array().into_iter().flatten().chain([&config["dataset"]["path"]]);
            let recorded: Vec<PathBuf> = paths.filter_map(|path| path.as_str().map(PathBuf::from)).collect();
            let datasets = if args.dataset.is_empty() { recorded } else { args.dataset.clone() };
            if datasets.is_empty() {
                return Err(damaged("dataset.paths"));
            }
            (root, preset, datasets, Some((file, state)))
        }
        None => {
            let (Some(root), [_, ..]) = (&args.out, &args.dataset[..]) else {
                return Err(CliError::Usage("give --dataset and --out, or --resume".into()));
            };
            let preset: Preset =
                config::load_named("configs/policy", &args.policy).map_err(crate::app::AppError::from)?;
            (root.clone(), preset, args.dataset.clone(), None)
        }
    };
    if !(0.5..=3600.0).contains(&args.eval_limit) {
        return Err(CliError::Usage("--eval-limit: give a number from 0.5 to 3600 s".into()));
    }
    let training = &mut preset.training;
    training.steps = args.steps.unwrap_or(training.steps);
    training.batch = args.batch.unwrap_or(training.batch);
    training.seed = args.seed.unwrap_or(training.seed);
    let rate = &mut training.optimiser.learning_rate;
    *rate = args.learning_rate.unwrap_or(*rate);
    if args.cameras.is_some() {
        preset.cameras = args.cameras.clone();
    }
    let mut problems = config::Problems::default();
    config::Validate::validate(&preset, &mut problems);
    if let Some(problem) = problems.first() {
        return Err(CliError::Usage(problem));
    }
    Ok(Plan { root, datasets, preset, resume })
}

/// Where the policy comes from, for its config.json.
fn origin(data: &TrainData) -> Origin {
    let joints = data.joints.len();
    let mut range = vec![(f32::MAX, f32::MIN); joints];
    for row in data.state.chunks_exact(joints) {
        range.iter_mut().zip(row).for_each(|(range, value)| *range = (range.0.min(*value), range.1.max(*value)));
    }
    Origin {
        joints: data.joints.clone(),
        fps: data.fps,
        robot: data.robot.clone(),
        tasks: data.tasks.clone(),
        dataset: data.fingerprint.clone(),
        state_range: range,
        recorded: data.recorded.clone(),
        nudge_rad: 0.0,
    }
}

/// A run under way.
struct Session<'a> {
    args: &'a TrainArgs,
    execute: usize,
    origin: Origin,
    data: &'a TrainData,
    folder: &'a mut RunFolder,
    stop: &'a AtomicBool,
    /// Success rate and folder of the best checkpoint.
    best: Option<(f64, PathBuf)>,
    last: Option<PathBuf>,
    bar: indicatif::ProgressBar,
    /// What the sparklines above the bar show.
    curves: Curves,
    fault: Result<(), CliError>,
    steps: usize,
}

impl Session<'_> {
    fn look<N: Keep>(&mut self, look: Look<'_, N>) -> ControlFlow<()> {
        let stopped = self.stop.load(Ordering::Relaxed);
        let result = self.note(&look, stopped);
        self.steps = look.progress.step;
        match result {
            Err(error) => {
                self.fault = Err(error);
                ControlFlow::Break(())
            }
            Ok(()) if stopped => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
        }
    }

    fn note<N: Keep>(&mut self, look: &Look<'_, N>, stopped: bool) -> Result<(), CliError> {
        let progress = &look.progress;
        self.bar.set_position(progress.step as u64);
        self.bar.set_message(describe(progress));
        if let Some((_, loss)) = progress.losses.first() {
            self.curves.add(LOSS, progress.step as f64, f64::from(*loss));
            self.bar.set_prefix(sparklines(&self.curves));
        }
        self.folder.log(progress)?;
        if self.args.json {
            say(to_json(progress))?;
        }
        // Reports come every few steps: what is due since the last one is done now.
        let due =
            |every: Option<usize>| every.is_some_and(|every| progress.step / every.max(1) > self.steps / every.max(1));
        let (evaluates, ends) = (due(self.args.eval_every), stopped || progress.step == progress.steps);
        if !(ends || evaluates || due(self.args.save_every)) {
            return Ok(());
        }
        let folder = self.folder.checkpoint(progress.step, &look.optimiser.to_file())?;
        let averaged = look.optimiser.averaged(look.network.clone());
        averaged.save(&folder, &self.data.cameras, &self.origin, self.execute)?;
        if evaluates && !stopped {
            self.evaluate(&folder, progress.step)?;
        }
        self.last = Some(folder);
        Ok(())
    }

    /// Drives the checkpoint in `folder` through seeds that neither training nor the final evaluation uses.
    fn evaluate(&mut self, folder: &Path, step: usize) -> Result<(), CliError> {
        if self.args.task == super::planar::NAME {
            return self.evaluate_in_the_plane(folder, step);
        }
        let world = RunOptions { scene: self.args.task.clone(), operator: Operator::Policy, ..RunOptions::default() };
        let options = EvaluateOptions {
            world: RunOptions { control_hz: self.origin.fps, ..world },
            policy: folder.to_path_buf(),
            episodes: self.args.eval_episodes,
            seed: SELECTION_SEED,
            threads: cores(),
            rollout: RolloutOptions::default(),
            time_limit_s: Some(self.args.eval_limit),
            instruction: None,
            gallery: None,
        };
        let result = evaluate::evaluate(&options, |_| ControlFlow::Continue(()))?;
        self.folder.log_success(step, result.success_rate, result.episodes as usize)?;
        self.curves.add(SUCCESS, step as f64, result.success_rate);
        self.bar.set_prefix(sparklines(&self.curves));
        let line = format!("step {step}: {} of {} episodes succeeded", result.successes, result.episodes);
        self.bar.suspend(|| eprintln!("etude: {line}"));
        if self.best.as_ref().is_none_or(|best| result.success_rate >= best.0) {
            self.best = Some((result.success_rate, folder.to_path_buf()));
        }
        Ok(())
    }

    /// The same for the planar Push-T, where the mean score decides as in the published comparison.
    fn evaluate_in_the_plane(&mut self, folder: &Path, step: usize) -> Result<(), CliError> {
        let (episodes, rollout) = ((SELECTION_SEED, self.args.eval_episodes), RolloutOptions::default());
        let result = crate::planar::evaluate(folder, rollout, episodes, cores(), |_| ControlFlow::Continue(()))?;
        self.folder.log_success(step, result.success_rate, result.episodes as usize)?;
        let line =
            format!("step {step}: mean score {:.3}, {} of {}", result.mean_score, result.successes, result.episodes);
        self.bar.suspend(|| eprintln!("etude: {line} episodes succeeded"));
        if self.best.as_ref().is_none_or(|best| result.mean_score >= best.0) {
            self.best = Some((result.mean_score, folder.to_path_buf()));
        }
        Ok(())
    }
}

/// A progress bar with a line for curves above it.
fn training_bar(steps: u64) -> indicatif::ProgressBar {
    let bar = progress_bar(steps, "steps");
    let template = "{prefix}\n{bar:30} {pos}/{len} steps  {msg}  {eta} left";
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// The first part of the loss, and success, one character a few steps.
fn sparklines(curves: &Curves) -> String {
    let line = |name: &str, words: &str, width: usize| {
        let points = curves.series.get(name)?;
        Some(format!("{words} {} {:.3}", sparkline(points, width), points.last()?[1]))
    };
    let lines = [line(LOSS, "loss", 40), line(SUCCESS, "success", 20)];
    lines.into_iter().flatten().collect::<Vec<_>>().join("   ")
}

fn describe(progress: &Progress) -> String {
    let losses: Vec<String> = progress.losses.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    format!(
        "loss {}  rate {:.1e}  {:.0} samples/s",
        losses.join(", "),
        progress.learning_rate,
        progress.samples_per_second
    )
}
