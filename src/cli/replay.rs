//! `etude replay`: sends an episode's actions again.

use super::{CliError, SetUpArgs, dataset, say};
use crate::app::{AppError, RunOptions, load_scene};
use crate::config;
use crate::dataset::Dataset;
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::operator::Operator;
use crate::replay::{Recording, ReplayReport, ReplayStart, check_joints, replay as play};
use crate::robot::Arm;
use crate::world::{RandomiseChoice, may_ask};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Options of `etude replay`.
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Folder of the dataset.
    #[arg(long, value_name = "FOLDER")]
    dataset: PathBuf,
    /// The episode.
    #[arg(long, value_name = "NUMBER")]
    episode: usize,
    /// Scene to replay it in: a name in scenes/ or a .ron file; without it the one with the episode's instruction.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Start as this seed does and glide to the first pose, instead of from the recorded start.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    set_up: SetUpArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    dataset: String,
    episode: usize,
    task: &'a str,
    #[serde(flatten)]
    report: &'a ReplayReport,
}

pub(super) fn replay(args: &ReplayArgs) -> Result<(), CliError> {
    let dataset = dataset::open(&args.dataset)?;
    let recording = Recording::read(&dataset, args.episode)?;
    let scene = match &args.task {
        Some(scene) => scene.clone(),
        None => scene_of(&dataset, args.episode)?,
    };
    let options = RunOptions {
        scene: scene.clone(),
        arm: args.set_up.arm.clone(),
        urdf: args.set_up.urdf.clone(),
        servo: args.set_up.servo.clone(),
        physics: args.set_up.physics.clone(),
        control_hz: dataset.info().fps,
        operator: Operator::Replay,
        randomise: RandomiseChoice::Off,
        ..RunOptions::default()
    };
    let mut headless = Headless::new(&options)?;
    let world = headless.app.world_mut();
    let units = world.query::<&Arm>().iter(world).next().map(|arm| JointUnits::new(&arm.model));
    if let Some(units) = &units {
        check_joints(&dataset, units)?;
    }
    let report = play(&mut headless, &recording, args.seed)?;
    if args.json {
        let line =
            Line { dataset: args.dataset.display().to_string(), episode: args.episode, task: &scene, report: &report };
        return say(serde_json::to_string(&line).unwrap_or_default());
    }
    say(describe(args.episode, &scene, &report, units.as_ref().map_or(&[], |units| units.names())))
}

/// The shipped scene whose instruction is the episode's task.
pub(super) fn scene_of(dataset: &Dataset, episode: usize) -> Result<String, CliError> {
    let tasks = &dataset.episode(episode)?.tasks;
    let names = config::names_in(&config::home().map_err(AppError::from)?.join("scenes"));
    for name in &names {
        let scene = load_scene(name).map_err(AppError::from)?;
        if tasks.iter().any(|task| may_ask(&scene.scene, task)) {
            return Ok(name.clone());
        }
    }
    Err(CliError::Usage(format!(
        "episode {episode}: no scene has its task \"{}\"; name one with --task, such as {}",
        tasks.join("; "),
        names.join(", ")
    )))
}

fn describe(episode: usize, scene: &str, report: &ReplayReport, names: &[String]) -> String {
    let from = match report.start {
        ReplayStart::Seed => format!("from its seed {}", report.seed),
        ReplayStart::Glide => format!("gliding to its first pose from the start of seed {}", report.seed),
    };
    let done = if report.success { "done" } else { "not done" };
    let mut text =
        format!("episode {episode} in {scene}, {from}: {} rows, {done}, score {:.3}\n", report.rows, report.score);
    if report.identical {
        return text + "every state is the recorded one";
    }
    let row = report.first_difference.unwrap_or(0);
    text += &format!("states differ from row {row} on; largest differences");
    for (name, difference) in names.iter().zip(&report.largest_difference) {
        text += &format!("\n  {name:<20} {difference:>7.2}{}", if name.starts_with("gripper") { " %" } else { "°" });
    }
    text
}
