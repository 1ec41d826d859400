//! `etude run`: episodes without a window.

use super::{CliError, WorldArgs, planar, progress_bar, say, to_json};
use crate::headless::{EpisodeReport, Headless};
use crate::operator::Operator;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Instant;

/// Options of `etude run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Who moves the arm.
    #[arg(long, default_value = "scripted")]
    operator: OperatorArg,
    /// Seed of the first episode; the next ones count up from it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of episodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// One JSON line per episode and a summary line.
    #[arg(long)]
    json: bool,
}

/// Operators that need no window.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OperatorArg {
    /// The scene's scripted expert.
    Scripted,
    /// Nobody: the arm holds still until time is up.
    Nobody,
}

/// Last line of `--json`.
#[derive(Serialize)]
struct Summary {
    episodes: u64,
    successes: u64,
    success_rate: f64,
    /// Episodes that ended with coverage of at least 0.95; Move-T only.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_095: Option<u64>,
    mean_seconds: f64,
    ticks: u64,
    ticks_per_second: f64,
}

pub(super) fn run(args: &RunArgs) -> Result<(), CliError> {
    if args.world.task == planar::NAME {
        let still = matches!(args.operator, OperatorArg::Nobody);
        return planar::run(args.seed, args.episodes, still, args.json);
    }
    let operator = match args.operator {
        OperatorArg::Scripted => Operator::Scripted,
        OperatorArg::Nobody => Operator::Nobody,
    };
    let mut headless = Headless::new(&args.world.options(operator)?)?;
    let scene = headless.scene();
    if operator == Operator::Scripted {
        args.world.check_expert(&scene, ", or --operator nobody")?;
    }
    if args.world.is_real() {
        super::arm::tell("the real arm moves now, as in the simulation");
        super::terminal::add_stop_keys(&mut headless.app)?;
    }
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(args.episodes, "episodes") };
    let started = Instant::now();
    let mut reports: Vec<EpisodeReport> = Vec::new();
    for seed in (0..args.episodes).map(|count| args.seed.wrapping_add(count)) {
        let report = headless.run(seed)?;
        if args.json {
            say(to_json(&report))?;
        } else {
            bar.suspend(|| say(describe(&report)))?;
        }
        bar.inc(1);
        reports.push(report);
        if headless.arm_has_ended() {
            bar.finish_and_clear();
            return Err(CliError::Usage(
                "the arm was parked and its driver has ended, as after Ctrl-C; run the command again to go on".into(),
            ));
        }
    }
    bar.finish_and_clear();
    super::terminal::end(headless);
    let elapsed_s = started.elapsed().as_secs_f64();
    let count = reports.len() as u64;
    let successes = reports.iter().filter(|report| report.success).count() as u64;
    let ticks: u64 = reports.iter().map(|report| report.ticks).sum();
    let strict = matches!(scene.task, crate::config::TaskConfig::MoveT { .. })
        .then(|| reports.iter().filter(|report| report.score >= crate::task::STRICT_COVERAGE).count() as u64);
    let summary = Summary {
        episodes: count,
        successes,
        success_rate: successes as f64 / count as f64,
        coverage_095: strict,
        mean_seconds: reports.iter().map(|report| report.seconds).sum::<f64>() / count as f64,
        ticks,
        ticks_per_second: ticks as f64 / elapsed_s,
    };
    if args.json {
        return say(to_json(&summary));
    }
    let strict = strict.map_or(String::new(), |strict| format!(", {strict} with coverage of 0.95 or more"));
    say(format!(
        "{}: {successes} of {count} episodes succeeded{strict}; {:.1} s each in the simulation, {:.0} ticks/s",
        scene.title, summary.mean_seconds, summary.ticks_per_second
    ))
}

fn describe(report: &EpisodeReport) -> String {
    let verdict = if report.success { "done" } else { "failed" };
    let end = if report.success { String::new() } else { format!("  ({})", report.end) };
    format!("seed {:>6}  {verdict:<6}  score {:.3}  {:>5.1} s{end}", report.seed, report.score, report.seconds)
}
