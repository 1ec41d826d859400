//! `etude run --task push_t_2d`: the published planar Push-T, which has no arm and no table.

use super::{CliError, say};
use crate::push_t_2d::{CONTROL_HZ, PICTURE, PlanarExpert, PushT2d};
use serde::Serialize;
use std::time::Instant;

/// What the task is called on the command line.
pub(super) const NAME: &str = "push_t_2d";

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
