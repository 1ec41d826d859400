//! The command line: one subcommand per verb. Results go to stdout, progress and complaints to stderr.

mod arm;
mod bench;
#[cfg(unix)]
mod bench_bus;
mod bench_data;
mod bench_policy;
mod calibrate;
mod calibrate_window;
mod cameras;
mod curves;
mod dagger;
mod dataset;
mod dataset_text;
mod dataset_view;
mod doctor;
mod evaluate;
mod generate;
#[cfg(unix)]
mod guide;
mod park;
mod planar;
mod ports;
mod practise;
mod recipe;
mod record;
#[cfg(unix)]
mod record_live;
mod redraw;
mod replay;
mod rollout;
mod run;
mod run_file;
mod serve_env;
mod setup_motors;
#[cfg(unix)]
mod teleoperate;
#[cfg_attr(not(unix), path = "terminal_none.rs")]
mod terminal;
mod train;
mod urdf;
#[cfg(unix)]
mod virtual_arm;

use crate::app::{AppError, Backend, RunOptions};
use crate::camera::real::NamedSource;
use crate::config::Scene;
use crate::operator::Operator;
use crate::task::expert::{Expert, ExpertSpeed};
use crate::world::RandomiseChoice;
use bevy::log::{Level, LogPlugin};
use bevy::prelude::App;
use clap::{Args, Parser, Subcommand};
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use thiserror::Error;

/// Practise, record and run robot tasks on a simulated or real SO-100 arm.
///
/// Without a command, the practice window opens on Move-T.
#[derive(Parser, Debug)]
#[command(name = "etude", version, max_term_width = 100)]
struct Cli {
    /// Say more: -v for what happens, -vv for every detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Open the practice window; where there is none, watch the scripted expert headless.
    Practise(practise::PractiseArgs),
    /// Run episodes without a window, as fast as the machine goes.
    Run(run::RunArgs),
    /// Record episodes into a dataset.
    Record(record::RecordArgs),
    /// Generate episodes of the scripted expert at scale.
    Generate(generate::GenerateArgs),
    /// Send a recorded episode's actions again and compare what happens.
    Replay(replay::ReplayArgs),
    /// Look at recorded datasets; check, edit and export them.
    #[command(subcommand)]
    Dataset(dataset::DatasetVerb),
    /// Train a policy on a dataset.
    Train(train::TrainArgs),
    /// Watch the curves of a training run in a window.
    Curves(curves::CurvesArgs),
    /// Judge a policy on unseen starts.
    Evaluate(evaluate::EvaluateArgs),
    /// Let a policy drive, in the simulation or a real arm.
    Rollout(rollout::RolloutArgs),
    /// Let a policy drive in the simulation while the expert labels, for the next round of training.
    Dagger(dagger::DaggerArgs),
    /// Generate, train and evaluate: a result from nothing, by one command.
    Recipe(recipe::RecipeArgs),
    /// Draw the practice window into a PNG file.
    Screenshot(practise::ScreenshotArgs),
    /// Examine a URDF.
    #[command(subcommand)]
    Urdf(urdf::UrdfVerb),
    /// Serve simulated worlds to learners outside, Gymnasium-like, over a local socket.
    ServeEnv(serve_env::ServeEnvArgs),
    /// Measure the program's own speed on this machine.
    Bench(bench::BenchArgs),
    /// List cameras, look through all of them together, and give them names.
    Cameras(cameras::CamerasArgs),
    /// List serial ports and the arms on them.
    Ports(ports::PortsArgs),
    /// Give new motors their ids, one at a time.
    SetupMotors(setup_motors::SetupMotorsArgs),
    /// Calibrate an arm, step by step.
    Calibrate(calibrate::CalibrateArgs),
    /// Say what is wrong with an arm, why, and what to do.
    Doctor(doctor::DoctorArgs),
    /// Bring an arm slowly to its rest pose and switch its torque off.
    Park(park::ParkArgs),
    /// Let a follower do what a leader does.
    #[cfg(unix)]
    Teleoperate(teleoperate::TeleoperateArgs),
    /// Emulate an arm on a serial port of its own, for practice without one.
    #[cfg(unix)]
    VirtualArm(virtual_arm::VirtualArmArgs),
}

/// The arm and its physics.
#[derive(Args, Clone, Debug)]
struct SetUpArgs {
    /// Arm: a name in configs/arm/ or a .ron file.
    #[arg(long, default_value = "so100", value_name = "NAME")]
    arm: String,
    /// Another URDF for the arm.
    #[arg(long, value_name = "FILE")]
    urdf: Option<PathBuf>,
    /// Another servo profile: a name in configs/servo/ or a .ron file.
    #[arg(long, value_name = "NAME")]
    servo: Option<String>,
    /// Physics settings: a name in configs/physics/ or a .ron file.
    #[arg(long, default_value = "fast", value_name = "NAME")]
    physics: String,
}

/// What to simulate.
#[derive(Args, Clone, Debug)]
struct WorldArgs {
    /// Take the options below from a file: a name in configs/run/ or a .ron file; those given here count before it.
    #[arg(long, value_name = "NAME")]
    run_file: Option<PathBuf>,
    /// Task: a scene in scenes/ (move_t, move_t_anywhere, pick_place, sort_by_word, stack, free_play) or a .ron file;
    /// run, practise, screenshot, generate, evaluate and rollout also know push_t_2d, the published planar Push-T.
    #[arg(long, default_value = "move_t", value_name = "NAME")]
    task: String,
    #[command(flatten)]
    set_up: SetUpArgs,
    /// Drive the real arm on this serial port instead of a simulated one; `--arm real` is the one calibrated last here.
    #[arg(long, value_name = "PORT")]
    arm_port: Option<String>,
    /// Name of the real arm's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME", requires = "arm_port")]
    arm_id: Option<String>,
    /// How worlds differ from episode to episode: all, none, looks, a list of groups such as light,camera,mass, or a .ron
    /// file with ranges; without it as the scene's own randomise section says.
    #[arg(long, value_name = "GROUPS")]
    randomise: Option<RandomiseChoice>,
    /// A real camera, or what stands in for one, in place of the simulated one of that name: front=ID of `etude cameras`,
    /// front=folder:PATH@30, front=file:PATH. With a real arm the cameras bound by `etude cameras bind` are there anyway.
    #[arg(long = "camera", value_name = "NAME=SOURCE")]
    real_cameras: Vec<NamedSource>,
    /// Control ticks per second.
    #[arg(long, default_value_t = 30, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=1000))]
    control_hz: u32,
    /// Which scripted expert does the task.
    #[arg(long, default_value = "place")]
    expert: Expert,
    /// Pace of the expert: 0.5 is a practised person's, 1 the fastest at which it fails no more often; without it 0.5, and 1
    /// where episodes are generated.
    #[arg(long, value_name = "PACE")]
    speed: Option<f64>,
}

/// A practised person's pace of an expert.
const PACE: f64 = 0.5;

impl WorldArgs {
    fn options(&self, operator: Operator) -> Result<RunOptions, CliError> {
        let real = self.set_up.arm == "real";
        if self.is_real() && self.randomise.as_ref().is_some_and(|choice| *choice != RandomiseChoice::Off) {
            return Err(CliError::Usage(
                "--randomise: the world of a real arm is what it is; leave the option out".into(),
            ));
        }
        let speed = self.speed.unwrap_or(PACE);
        if !(speed.is_finite() && (0.05..=3.0).contains(&speed)) {
            return Err(CliError::Usage(format!("--speed {speed}: give a number from 0.05 to 3")));
        }
        if self.task == planar::NAME {
            return Err(CliError::Usage(
                "--task push_t_2d: this task is no table with an arm; run, practise, screenshot, generate, train, evaluate and \
                 rollout know it"
                    .into(),
            ));
        }
        Ok(RunOptions {
            expert: self.expert,
            speed: ExpertSpeed(speed),
            scene: self.task.clone(),
            arm: if real { "so100".into() } else { self.set_up.arm.clone() },
            urdf: self.set_up.urdf.clone(),
            servo: self.set_up.servo.clone(),
            physics: self.set_up.physics.clone(),
            control_hz: self.control_hz,
            multi_threaded: false,
            operator,
            backend: backend(self.arm_port.as_deref(), self.arm_id.as_deref(), real)?,
            randomise: self.randomise.clone().unwrap_or_default(),
            cameras: self.cameras()?,
        })
    }

    /// Complains where the chosen expert has nothing to do. `others`: what else could be asked for.
    fn check_expert(&self, scene: &Scene, others: &str) -> Result<(), CliError> {
        if self.expert.can_do(scene) {
            return Ok(());
        }
        Err(CliError::Usage(if Expert::Place.can_do(scene) {
            format!(
                "--expert push: \"{}\" is no task for pushing; choose --task move_t, or --expert place",
                scene.title
            )
        } else {
            format!(
                "--operator scripted: \"{}\" is a scene with nothing to do; choose --task move_t or pick_place{others}",
                scene.title
            )
        }))
    }

    /// The real cameras of the run: those given, and with a real arm those bound on this computer.
    fn cameras(&self) -> Result<Vec<NamedSource>, CliError> {
        let mut all = self.real_cameras.clone();
        for (index, named) in all.iter().enumerate() {
            if all[..index].iter().any(|other| other.name == named.name) {
                return Err(CliError::Usage(format!("--camera {}: the name is given twice", named.name)));
            }
            cameras::check_source(&named.source)?;
        }
        if self.is_real() {
            let bound = cameras::bound()?;
            all.extend(
                bound.into_iter().filter(|bound| !self.real_cameras.iter().any(|given| given.name == bound.name)),
            );
        }
        Ok(all)
    }

    /// Whether a real arm will move.
    fn is_real(&self) -> bool {
        self.set_up.arm == "real" || self.arm_port.is_some()
    }
}

/// What moves the joints: the real arm on `port`, with `real` the one calibrated last, else the simulation.
fn backend(port: Option<&str>, id: Option<&str>, real: bool) -> Result<Backend, CliError> {
    let Some(port) = port else {
        if !real {
            return Ok(Backend::Sim);
        }
        let arm = arm::latest_follower()?.ok_or_else(|| {
                CliError::Usage(
                    "--arm real: no arm was calibrated on this computer; run `etude ports` and `etude calibrate`, or give its \
                     port with --arm-port"
                        .into(),
                )
            })?;
        return Ok(Backend::Servo { port: arm.path, id: arm.calibration_id });
    };
    let found = arm::ArmArgs { port: port.to_string(), id: id.map(String::from), leader: false }.id()?;
    let id = found.ok_or_else(|| {
        CliError::Usage(format!(
            "{port}: which arm this is, is not known; give the name of its calibration with --arm-id NAME"
        ))
    })?;
    Ok(Backend::Servo { port: port.to_string(), id })
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The application could not be put together.
    #[error(transparent)]
    App(#[from] AppError),
    /// A URDF was refused.
    #[error(transparent)]
    Urdf(#[from] crate::arm::UrdfError),
    /// An episode could not start.
    #[error(transparent)]
    Start(#[from] crate::headless::StartError),
    /// A camera cannot be used.
    #[error(transparent)]
    Camera(#[from] crate::camera::real::CameraError),
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
    /// Nothing could be recorded.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// Nothing could be generated.
    #[error(transparent)]
    Generate(#[from] crate::generate::GenerateError),
    /// No environment could be served.
    #[error(transparent)]
    Serve(#[from] crate::serve_env::ServeError),
    /// An episode could not be replayed.
    #[error(transparent)]
    Replay(#[from] crate::replay::ReplayError),
    /// An episode could not be redrawn.
    #[error(transparent)]
    Redraw(#[from] crate::redraw::RedrawError),
    /// A table of poses was refused.
    #[error("{file}: {problem}; {remedy}")]
    Poses {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A policy could not be evaluated.
    #[error(transparent)]
    Evaluate(#[from] crate::evaluate::EvaluateError),
    /// A policy could not be trained.
    #[error(transparent)]
    Train(#[from] crate::policy::train::TrainError),
    /// The folder of a training run could not be used.
    #[error(transparent)]
    Run(#[from] crate::policy::run_folder::RunError),
    /// A policy could not be opened or written.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// An option does not fit.
    #[error("{0}")]
    Usage(String),
    /// Results could not be written.
    #[error("writing results: {0}; check where the output goes")]
    Output(#[from] std::io::Error),
    /// The arm, its port or its files.
    #[error(transparent)]
    Bus(#[from] crate::bus::error::BusError),
    /// The window could not be opened or drawn.
    #[error("window: {0}")]
    Window(String),
}

/// Parses the command line and carries it out.
///
/// # Errors
/// [`CliError`], to be shown as it is.
pub fn main() -> Result<(), CliError> {
    let cli = Cli::parse_from(run_file::expand(std::env::args_os().collect())?);
    match cli.verb.unwrap_or_else(|| Verb::Practise(practise::PractiseArgs::default())) {
        Verb::Practise(args) => practise::practise(&args, cli.verbose),
        Verb::Run(args) => {
            start_logging(cli.verbose);
            run::run(&args)
        }
        Verb::Record(args) => record::record(&args, cli.verbose),
        Verb::Generate(args) => {
            start_logging(cli.verbose);
            generate::generate(&args)
        }
        Verb::Replay(args) => replay::replay(&args, cli.verbose),
        Verb::Train(args) => {
            // A window starts logging by itself.
            if !args.window {
                start_logging(cli.verbose);
            }
            train::train(&args)
        }
        Verb::Curves(args) => curves::curves(&args),
        Verb::Evaluate(args) => {
            start_logging(cli.verbose);
            evaluate::evaluate(&args)
        }
        Verb::Rollout(args) => rollout::rollout(&args, cli.verbose),
        Verb::Dagger(args) => {
            start_logging(cli.verbose);
            dagger::dagger(&args)
        }
        Verb::Recipe(args) => {
            start_logging(cli.verbose);
            recipe::recipe(&args)
        }
        Verb::Dataset(verb) => dataset::run(&verb),
        Verb::Screenshot(args) => practise::screenshot(&args, cli.verbose),
        Verb::Urdf(verb) => urdf::run(&verb),
        Verb::ServeEnv(args) => {
            start_logging(cli.verbose);
            serve_env::serve_env(&args)
        }
        Verb::Bench(args) => {
            start_logging(cli.verbose);
            bench::bench(&args)
        }
        Verb::Cameras(args) => {
            start_logging(cli.verbose);
            cameras::cameras(&args)
        }
        Verb::Ports(args) => ports::ports(&args),
        Verb::SetupMotors(args) => setup_motors::setup_motors(&args),
        Verb::Calibrate(args) => calibrate::calibrate(&args, cli.verbose),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Park(args) => park::park(&args),
        #[cfg(unix)]
        Verb::Teleoperate(args) => teleoperate::teleoperate(&args),
        #[cfg(unix)]
        Verb::VirtualArm(args) => virtual_arm::virtual_arm(&args, cli.verbose),
    }
}

/// Lets the program say what it does, on stderr: -v what happens, -vv details. The window starts logging by itself.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        _ => Level::DEBUG,
    };
    // Added to an application that is dropped at once: what it installs is global.
    App::new().add_plugins(LogPlugin { level, filter: String::new(), ..LogPlugin::default() });
}

/// Width and height such as `1280x720`, not yet checked for their range.
fn width_x_height(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once(['x', 'X'])?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// JSON of one of our own plain structures, which cannot fail to serialise.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Writes one line to stdout.
fn say(line: impl Display) -> Result<(), CliError> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// A progress bar on stderr; shows nothing where stderr is no terminal.
fn progress_bar(length: u64, unit: &str) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(length);
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{msg}}  {{eta}} left");
    if let Ok(style) = indicatif::ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_option_means_two_things() {
        Cli::command().debug_assert();
    }
}
