//! `etude evaluate`: a policy judged on unseen starts.

use super::{CliError, WorldArgs, planar, progress_bar, say, to_json};
use crate::evaluate::{self, EvaluateError, EvaluateOptions, Evaluation, FIRST_SEED};
use crate::headless::EpisodeReport;
use crate::operator::Operator;
use crate::rollout::RolloutOptions;
use clap::Args;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// How chunks are followed.
#[derive(Args, Clone, Debug)]
pub(super) struct FollowArgs {
    /// Follow so many targets of a chunk before looking again; without it as the policy says.
    #[arg(long, value_name = "TICKS", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) execute: Option<u16>,
    /// Average overlapping chunks, older ones with the weight exp(-X * age in ticks); without it the newest counts.
    #[arg(long, value_name = "X")]
    pub(super) ensemble: Option<f32>,
    /// Simulated time the network takes, ticks.
    #[arg(long, default_value_t = 0, value_name = "TICKS", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(super) latency_ticks: u64,
    /// What to do, in the policy's own sentence, instead of the scene's.
    #[arg(long, value_name = "SENTENCE")]
    pub(super) instruction: Option<String>,
}

impl FollowArgs {
    pub(super) fn options(&self, real_time: bool) -> Result<RolloutOptions, CliError> {
        if self.ensemble.is_some_and(|fading| !(0.0..=100.0).contains(&fading)) {
            return Err(CliError::Usage("--ensemble: give a number from 0 to 100, such as 0.5".into()));
        }
        Ok(RolloutOptions {
            execute: self.execute.map(usize::from),
            ensemble: self.ensemble,
            latency_ticks: self.latency_ticks,
            real_time,
        })
    }
}

/// Options of `etude evaluate`.
#[derive(Args, Debug)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    pub(super) world: WorldArgs,
    /// Folder of the policy.
    #[arg(long, value_name = "FOLDER")]
    pub(super) policy: PathBuf,
    /// Number of episodes.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) episodes: u64,
    /// Seed of the first episode, 100000 or more: training stays below.
    #[arg(long, default_value_t = FIRST_SEED)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
    /// Worlds side by side; without it one a core. The result is the same.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: Option<u16>,
    /// Time limit instead of the scene's, s.
    #[arg(long, value_name = "SECONDS")]
    pub(super) time_limit: Option<f64>,
    /// Folder for contact sheets of the episodes that failed.
    #[arg(long, value_name = "FOLDER")]
    pub(super) gallery: Option<PathBuf>,
    /// One JSON line per episode and a summary line.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn evaluate(args: &EvaluateArgs) -> Result<(), CliError> {
    if args.world.task == planar::NAME {
        if args.seed < FIRST_SEED {
            return Err(EvaluateError::SeenSeed(args.seed).into());
        }
        return planar::evaluate(args);
    }
    let evaluation = judge(args)?;
    if args.json { say(to_json(&evaluation)) } else { tell(&evaluation) }
}

/// Evaluates as `args` say; with `--json` each episode is told of at once.
pub(super) fn judge(args: &EvaluateArgs) -> Result<Evaluation, CliError> {
    if args.world.is_real() {
        return Err(CliError::Usage(
            "evaluate: it runs in the simulation; drive a real arm with `etude rollout --policy FOLDER`".into(),
        ));
    }
    if args.seed < FIRST_SEED {
        return Err(EvaluateError::SeenSeed(args.seed).into());
    }
    if args.time_limit.is_some_and(|limit| !(0.5..=3600.0).contains(&limit)) {
        return Err(CliError::Usage("--time-limit: give a number from 0.5 to 3600 s".into()));
    }
    let options = EvaluateOptions {
        world: args.world.options(Operator::Policy)?,
        policy: args.policy.clone(),
        episodes: args.episodes,
        seed: args.seed,
        threads: args.threads.map_or_else(cores, usize::from),
        rollout: args.follow.options(false)?,
        time_limit_s: args.time_limit,
        instruction: args.follow.instruction.clone(),
        gallery: args.gallery.clone(),
    };
    run(&options, args.json)
}

/// Cores this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Evaluates with a progress bar, or one JSON line an episode.
fn run(options: &EvaluateOptions, json: bool) -> Result<Evaluation, CliError> {
    let bar = if json { indicatif::ProgressBar::hidden() } else { progress_bar(options.episodes, "episodes") };
    let (mut done, mut output) = (0, Ok(()));
    let evaluation = evaluate::evaluate(options, |report: &EpisodeReport| {
        done += u64::from(report.success);
        bar.set_message(format!("{done} done"));
        bar.inc(1);
        if json {
            output = say(to_json(report));
        }
        if output.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    output?;
    Ok(evaluation?)
}

/// The result for people.
pub(super) fn tell(evaluation: &Evaluation) -> Result<(), CliError> {
    let (low, high) = evaluation.confidence_95;
    say(format!(
        "{} of {} episodes succeeded: {:.1} % (95 % confidence: {:.1} to {:.1}); {} with a final score of 0.95 or more",
        evaluation.successes,
        evaluation.episodes,
        100.0 * evaluation.success_rate,
        100.0 * low,
        100.0 * high,
        evaluation.successes_095
    ))?;
    if let Some(median) = evaluation.median_success_s {
        say(format!("median time of a success {median:.1} s; evaluated in {:.0} s", evaluation.wall_s))?;
    }
    say("final score   episodes")?;
    let most = evaluation.score_histogram.iter().copied().max().unwrap_or(1).max(1);
    for (bin, count) in evaluation.score_histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bar = "#".repeat((40 * count / most) as usize);
        say(format!("{:.2} to {:.2}  {count:>6}  {bar}", 0.05 * bin as f64, 0.05 * (bin + 1) as f64))?;
    }
    if !evaluation.failed_seeds.is_empty() {
        let seeds: Vec<String> = evaluation.failed_seeds.iter().take(20).map(u64::to_string).collect();
        let more = if evaluation.failed_seeds.len() > 20 { ", …" } else { "" };
        say(format!("failed: {}{more}", seeds.join(", ")))?;
    }
    Ok(())
}
