//! `--task push_t_2d`: the published planar Push-T, which has no arm and no table, for the verbs that know it.

use super::evaluate::{EvaluateArgs, cores};
use super::generate::GenerateArgs;
use super::{CliError, WorldArgs, progress_bar, say, to_json};
use crate::generate::{self, Made, PlanarSettings, Progress};
use crate::planar::{self, PlanarDriver, PlanarEvaluation};
use crate::push_t_2d::{CONTROL_HZ, PICTURE, PlanarExpert, PushT2d};
use crate::rollout::RolloutOptions;
use crate::ui::planar::{PlanarTable, Who, show};
use crate::window::{WindowError, open_page};
use bevy_egui::egui::Context;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// What the task is called on the command line.
pub(super) use crate::push_t_2d::NAME;

/// Amplitudes of noise on the finger's target unless others are given, pixels.
const NOISE_PX: [f64; 3] = [0.0, 6.0, 12.0];

/// A line of `--json` for an episode.
#[derive(Serialize)]
struct Line {
    seed: u64,
    success: bool,
    /// Greatest reward of the episode: the published score.
    score: f64,
    /// Coverage at the end.
    coverage: f64,
    steps: u32,
    seconds: f64,
}

/// Last line of `--json`.
#[derive(Serialize)]
struct Summary {
    episodes: u64,
    successes: u64,
    success_rate: f64,
    mean_score: f64,
    mean_steps: f64,
    steps_per_second: f64,
}

/// Runs episodes of the scripted expert, or of a finger that stays where it is.
pub(super) fn run(first: u64, episodes: u64, still: bool, json: bool) -> Result<(), CliError> {
    let started = Instant::now();
    let (mut successes, mut score, mut steps) = (0, 0.0, 0u64);
    for seed in (0..episodes).map(|count| first.wrapping_add(count)) {
        let line = episode(seed, still);
        successes += u64::from(line.success);
        score += line.score;
        steps += u64::from(line.steps);
        if json {
            say(serde_json::to_string(&line).unwrap_or_default())?;
        } else {
            let verdict = if line.success { "done" } else { "failed" };
            say(format!("seed {seed:>6}  {verdict:<6}  score {:.3}  {:>5.1} s", line.score, line.seconds))?;
        }
    }
    let summary = Summary {
        episodes,
        successes,
        success_rate: successes as f64 / episodes as f64,
        mean_score: score / episodes as f64,
        mean_steps: steps as f64 / episodes as f64,
        steps_per_second: steps as f64 / started.elapsed().as_secs_f64().max(1e-9),
    };
    if json {
        return say(serde_json::to_string(&summary).unwrap_or_default());
    }
    say(format!(
        "Push-T in the plane: {successes} of {episodes} episodes succeeded, mean score {:.3}; {:.0} steps each, {:.0} steps/s",
        summary.mean_score, summary.mean_steps, summary.steps_per_second
    ))
}

fn episode(seed: u64, still: bool) -> Line {
    let mut world = PushT2d::new(seed);
    let mut expert = PlanarExpert::default();
    let start = world.observation().agent_position;
    loop {
        let action = if still { start } else { expert.act(&world) };
        let result = world.step(action);
        if result.done {
            return Line {
                seed,
                success: result.success,
                score: world.best_reward(),
                coverage: result.coverage,
                steps: world.steps(),
                seconds: f64::from(world.steps()) / f64::from(CONTROL_HZ),
            };
        }
    }
}

/// Refuses what has no meaning without an arm.
fn check(world: &WorldArgs) -> Result<(), CliError> {
    let odd = |option: &str| Err(CliError::Usage(format!("{option}: push_t_2d has no arm and one look; leave it out")));
    if world.is_real() {
        return odd("--arm-port or --arm real");
    }
    if world.randomise.is_some() {
        return odd("--randomise");
    }
    if !world.real_cameras.is_empty() {
        return odd("--camera");
    }
    Ok(())
}

/// Settings of `etude generate --task push_t_2d`.
pub(super) fn settings(args: &GenerateArgs) -> Result<PlanarSettings, CliError> {
    check(&args.world)?;
    let odd = |option: &str, remedy: &str| Err(CliError::Usage(format!("{option}: with push_t_2d {remedy}")));
    if args.from.is_some() {
        return odd("--from", "demonstrations are not carried over; leave it out");
    }
    if args.every != 1 || args.looks != 1 || args.look_every != 0 {
        return odd("--every, --looks, --look-every", "every step is a row with one look; leave them out");
    }
    let none = args.cameras == ["none"];
    let named =
        args.cameras == [crate::push_t_2d::CAMERA] || args.cameras == super::generate::CAMERAS.map(String::from);
    if !(none || named) || args.size.is_some_and(|size| size != (PICTURE as u32, PICTURE as u32)) {
        return odd(
            "--cameras, --size",
            "there is one camera, plane, of 96x96 pixels; leave them out, or give --cameras none",
        );
    }
    Ok(PlanarSettings {
        task: NAME.into(),
        episodes: args.episodes,
        seed: args.seed,
        keep_all: args.keeps_all(),
        pictures: !none,
        quantiser: args.quantiser,
        chunk: args.chunk,
        noise_px: args.noise.clone().unwrap_or_else(|| NOISE_PX.to_vec()),
        random_start: args.random_start.unwrap_or(0.25),
        etude: env!("CARGO_PKG_VERSION").into(),
    })
}

/// Generates episodes of the scripted expert.
pub(super) fn generate(args: &GenerateArgs, watch: impl FnMut(&Progress)) -> Result<Made, CliError> {
    Ok(generate::run_planar(&settings(args)?, (args.shard, args.workers.0), &args.out, watch)?)
}

/// Judges a policy by the published measures.
pub(super) fn evaluate(args: &EvaluateArgs) -> Result<(), CliError> {
    check(&args.world)?;
    if args.time_limit.is_some() || args.gallery.is_some() || args.follow.instruction.is_some() {
        let problem = "--time-limit, --gallery, --instruction: push_t_2d is judged as published; leave them out";
        return Err(CliError::Usage(problem.into()));
    }
    let (threads, options) = (args.threads.map_or_else(cores, usize::from), args.follow.options(false));
    let result = judge(&args.policy, options, (args.seed, args.episodes), threads, args.json)?;
    if args.json {
        return say(to_json(&result));
    }
    let (low, high) = result.confidence_95;
    say(format!(
        "Push-T in the plane, {} episodes: mean score {:.3} (greatest coverage over 0.95), {:.1} % succeeded (95 % confidence: \
         {:.1} to {:.1}), {:.0} steps each; evaluated in {:.0} s",
        result.episodes,
        result.mean_score,
        100.0 * result.success_rate,
        100.0 * low,
        100.0 * high,
        result.mean_steps,
        result.wall_s
    ))
}

/// Evaluates with a progress bar, or one JSON line an episode.
pub(super) fn judge(
    policy: &Path,
    options: RolloutOptions,
    (first, episodes): (u64, u64),
    threads: usize,
    json: bool,
) -> Result<PlanarEvaluation, CliError> {
    let bar = if json { indicatif::ProgressBar::hidden() } else { progress_bar(episodes, "episodes") };
    let (mut done, mut output) = (0, Ok(()));
    let result = planar::evaluate(policy, options, (first, episodes), threads, |report| {
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
    Ok(result?)
}

/// Lets the policy in `folder` do episodes, one line each.
pub(super) fn rollout(folder: &Path, options: RolloutOptions, (first, episodes): (u64, u64)) -> Result<(), CliError> {
    let mut driver = PlanarDriver::open(folder, options)?;
    for seed in (0..episodes).map(|count| first.wrapping_add(count)) {
        driver.begin(seed);
        let report = planar::episode(seed, |world| driver.act(world))?;
        let verdict = if report.success { "done" } else { "failed" };
        let seconds = f64::from(report.steps) / f64::from(CONTROL_HZ);
        say(format!("seed {seed:>6}  {verdict:<6}  score {:.3}  {seconds:>5.1} s", report.score))?;
    }
    Ok(())
}

/// Opens the window: a person pushes, or the expert, or a policy. Without a display the expert does the episode.
pub(super) fn window(world: &WorldArgs, seed: u64, size: (u32, u32), verbose: u8, who: Who) -> Result<(), CliError> {
    check(world)?;
    let mut table = PlanarTable::new(seed, who);
    let page = move |context: &Context, dt_s: f64| show(context, &mut table, dt_s);
    match open_page("Etude: Push-T in the plane", size, verbose, Box::new(page)) {
        Err(fault @ (WindowError::NoDisplay(_) | WindowError::NoAdapter(_))) => {
            eprintln!(
                "etude: {fault}; to practise, start etude on a desktop. Here the scripted expert does it, seed {seed}:"
            );
            run(seed, 1, false, false)
        }
        other => other.map_err(|fault| CliError::Window(fault.to_string())),
    }
}

/// The picture a policy sees `at_s` into the expert's episode, enlarged to `size` without smoothing: RGB rows.
pub(super) fn picture(seed: u64, at_s: f64, size: (u32, u32)) -> Vec<u8> {
    let mut world = PushT2d::new(seed);
    let mut expert = PlanarExpert::default();
    while f64::from(world.steps()) < at_s * f64::from(CONTROL_HZ) {
        let action = expert.act(&world);
        if world.step(action).done {
            break;
        }
    }
    let small = world.observation().picture;
    let of = |at: u32, whole: u32| (at as usize * PICTURE / whole.max(1) as usize).min(PICTURE - 1);
    let pixels = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (of(y, size.1) * PICTURE + of(x, size.0)) * 3));
    pixels.flat_map(|index| [small[index], small[index + 1], small[index + 2]]).collect()
}
