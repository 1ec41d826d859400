//! `etude replay`: sends an episode's actions again.

use super::{CliError, dataset, say, start_logging};
use crate::app::{AppError, Backend, Loaded, RunOptions, load_scene};
use crate::config;
use crate::dataset::Dataset;
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::operator::Operator;
use crate::replay::{self, Player, Recording, ReplayReport, ReplayStart, check_joints, replay as play};
use crate::robot::Arm;
use crate::window::{self, WindowOptions};
use crate::world::{RandomiseChoice, Randomiser, Worlds, may_ask};
use bevy::prelude::App;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Arm: a name in configs/arm/ or a .ron file; real: the one calibrated last here. Without it the recorded one.
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// Another URDF for the arm.
    #[arg(long, value_name = "FILE")]
    urdf: Option<PathBuf>,
    /// Another servo profile: a name in configs/servo/ or a .ron file.
    #[arg(long, value_name = "NAME")]
    servo: Option<String>,
    /// Physics settings: a name in configs/physics/ or a .ron file. Without it the recorded ones.
    #[arg(long, value_name = "NAME")]
    physics: Option<String>,
    /// Send them to the real arm on this serial port. It glides to the first pose; Tab stops it, Ctrl-C parks it.
    #[arg(long, value_name = "PORT")]
    arm_port: Option<String>,
    /// Name of the real arm's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME", requires = "arm_port")]
    arm_id: Option<String>,
    /// Watch it in the window, at the pace of the clock; Esc stops.
    #[arg(long, conflicts_with = "json")]
    window: bool,
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

pub(super) fn replay(args: &ReplayArgs, verbose: u8) -> Result<(), CliError> {
    let dataset = dataset::open(&args.dataset)?;
    let recording = Recording::read(&dataset, args.episode)?;
    let note = dataset.info().note(args.episode).cloned().unwrap_or_default();
    let noted = |key: &str| note.get(key).and_then(|value| value.as_str()).map(String::from);
    let scene = match (&args.task, noted("scene")) {
        (Some(scene), _) => scene.clone(),
        (None, Some(scene)) if load_scene(&scene).is_ok() => scene,
        _ => scene_of(&dataset, args.episode)?,
    };
    let or_noted = |given: &Option<String>, key: &str| given.clone().or_else(|| noted(key));
    let real = args.arm.as_deref() == Some("real");
    let arm = or_noted(&args.arm, "arm").filter(|_| !real);
    let defaults = RunOptions::default();
    let options = RunOptions {
        scene: scene.clone(),
        arm: arm.unwrap_or(defaults.arm),
        urdf: args.urdf.clone().or_else(|| noted("urdf").map(PathBuf::from)),
        servo: or_noted(&args.servo, "servo"),
        physics: or_noted(&args.physics, "physics").unwrap_or(defaults.physics),
        control_hz: dataset.info().fps,
        operator: Operator::Replay,
        randomise: RandomiseChoice::Off,
        backend: super::backend(args.arm_port.as_deref(), args.arm_id.as_deref(), real)?,
        ..RunOptions::default()
    };
    if args.window {
        return in_window(args, &dataset, &recording, &options, verbose);
    }
    start_logging(verbose);
    let mut headless = Headless::new(&options)?;
    let world = headless.app.world_mut();
    let units = world.query::<&Arm>().iter(world).next().map(|arm| JointUnits::new(&arm.model));
    if let Some(units) = &units {
        check_joints(&dataset, units)?;
    }
    let report = if options.backend == Backend::Sim {
        play(&mut headless, &recording, args.seed, || false)?
    } else {
        on_the_arm(headless, &recording, args.seed)?
    };
    if args.json {
        let line =
            Line { dataset: args.dataset.display().to_string(), episode: args.episode, task: &scene, report: &report };
        return say(serde_json::to_string(&line).unwrap_or_default());
    }
    let is_real = options.backend != Backend::Sim;
    say(describe(args.episode, &scene, is_real, &report, units.as_ref().map_or(&[], |units| units.names())))
}

/// Replays on a real arm, with the keys that stop it.
fn on_the_arm(mut headless: Headless, recording: &Recording, seed: Option<u64>) -> Result<ReplayReport, CliError> {
    super::arm::tell("The arm glides to the first pose, then replays.");
    super::terminal::add_stop_keys(&mut headless.app)?;
    let report = play(&mut headless, recording, seed, || false)?;
    super::terminal::end(headless);
    Ok(report)
}

/// Replays in the window.
fn in_window(
    args: &ReplayArgs,
    dataset: &Dataset,
    recording: &Recording,
    options: &RunOptions,
    verbose: u8,
) -> Result<(), CliError> {
    let loaded = Loaded::new(options)?;
    let units = JointUnits::new(&loaded.model);
    check_joints(dataset, &units)?;
    let glides = args.seed.is_some() || options.backend != Backend::Sim;
    // A real arm is what it is; its zeros are where they should be.
    let seen = recording.world.clone().filter(|_| options.backend == Backend::Sim).unwrap_or_default();
    let shift_rad = replay::zero_shift_rad(recording, &seen, units.names().len(), loaded.servo.ticks_per_turn);
    let player = Player::new(recording, &units, &shift_rad, glides);
    let window_options = WindowOptions {
        run: options.clone(),
        seed: args.seed.or(recording.seed).unwrap_or(0),
        quality: None,
        size: (1280, 720),
        measure_s: None,
        verbose,
    };
    let opened = window::open_with(&loaded, &window_options, |app: &mut App| {
        app.insert_resource(player);
        app.insert_resource(Randomiser { worlds: Worlds::Given(Arc::new(seen)), look: 0 });
        app.add_plugins(replay::plugin);
        Ok::<(), CliError>(())
    });
    opened.map_err(|fault| CliError::Window(fault.to_string()))?.map(|_| ())
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

fn describe(episode: usize, scene: &str, is_real: bool, report: &ReplayReport, names: &[String]) -> String {
    let from = match report.start {
        ReplayStart::Seed => format!("from its seed {}", report.seed),
        ReplayStart::Glide => format!("gliding to its first pose from the start of seed {}", report.seed),
    };
    if is_real {
        // What a real arm has done to real things nobody has seen.
        let text = format!("episode {episode} on the arm: {} rows\n", report.rows);
        return text + &differences(report, names);
    }
    let done = if report.success { "done" } else { "not done" };
    let text =
        format!("episode {episode} in {scene}, {from}: {} rows, {done}, score {:.3}\n", report.rows, report.score);
    text + &differences(report, names)
}

/// How the states differed from the recorded ones.
fn differences(report: &ReplayReport, names: &[String]) -> String {
    if report.identical {
        return "every state is the recorded one".into();
    }
    let stopped = if report.stopped { "stopped before its end\n" } else { "" };
    let Some(row) = report.first_difference else { return stopped.trim_end().into() };
    let mut text = format!("{stopped}states differ from row {row} on; largest differences");
    for (name, difference) in names.iter().zip(&report.largest_difference) {
        text += &format!("\n  {name:<20} {difference:>7.2}{}", if name.starts_with("gripper") { " %" } else { "°" });
    }
    text
}
