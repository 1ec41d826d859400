//! The command line: one subcommand per verb. Results go to stdout, progress and complaints to stderr.

mod arm;
mod bench;
mod calibrate;
mod dataset;
mod dataset_text;
mod doctor;
mod park;
mod ports;
mod practise;
mod record;
mod redraw;
mod replay;
mod run;
mod setup_motors;
#[cfg(unix)]
mod teleoperate;
mod urdf;
#[cfg(unix)]
mod virtual_arm;

use crate::app::{AppError, Backend, RunOptions};
use crate::operator::Operator;
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
    /// Send a recorded episode's actions again and compare what happens.
    Replay(replay::ReplayArgs),
    /// Look at recorded datasets; check, edit and export them.
    #[command(subcommand)]
    Dataset(dataset::DatasetVerb),
    /// Draw the practice window into a PNG file.
    Screenshot(practise::ScreenshotArgs),
    /// Examine a URDF.
    #[command(subcommand)]
    Urdf(urdf::UrdfVerb),
    /// Measure the program's own speed on this machine.
    Bench(bench::BenchArgs),
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
    /// Task: a scene in scenes/ (move_t, pick_place, free_play) or a .ron file.
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
    /// Control ticks per second.
    #[arg(long, default_value_t = 30, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=1000))]
    control_hz: u32,
}

impl WorldArgs {
    fn options(&self, operator: Operator) -> Result<RunOptions, CliError> {
        let real = self.set_up.arm == "real";
        if self.is_real() && self.randomise.as_ref().is_some_and(|choice| *choice != RandomiseChoice::Off) {
            return Err(CliError::Usage(
                "--randomise: the world of a real arm is what it is; leave the option out".into(),
            ));
        }
        Ok(RunOptions {
            scene: self.task.clone(),
            arm: if real { "so100".into() } else { self.set_up.arm.clone() },
            urdf: self.set_up.urdf.clone(),
            servo: self.set_up.servo.clone(),
            physics: self.set_up.physics.clone(),
            control_hz: self.control_hz,
            multi_threaded: false,
            operator,
            backend: self.backend(real)?,
            randomise: self.randomise.clone().unwrap_or_default(),
        })
    }

    /// Whether a real arm will move.
    fn is_real(&self) -> bool {
        self.set_up.arm == "real" || self.arm_port.is_some()
    }

    fn backend(&self, real: bool) -> Result<Backend, CliError> {
        let Some(port) = &self.arm_port else {
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
        let found = arm::ArmArgs { port: port.clone(), id: self.arm_id.clone(), leader: false }.id()?;
        let id = found.ok_or_else(|| {
            CliError::Usage(format!(
                "{port}: which arm this is, is not known; give the name of its calibration with --arm-id NAME"
            ))
        })?;
        Ok(Backend::Servo { port: port.clone(), id })
    }
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
    /// A dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
    /// Nothing could be recorded.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
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
    let cli = Cli::parse();
    match cli.verb.unwrap_or_else(|| Verb::Practise(practise::PractiseArgs::default())) {
        Verb::Practise(args) => practise::practise(&args, cli.verbose),
        Verb::Run(args) => {
            start_logging(cli.verbose);
            run::run(&args)
        }
        Verb::Record(args) => {
            start_logging(cli.verbose);
            record::record(&args)
        }
        Verb::Replay(args) => {
            start_logging(cli.verbose);
            replay::replay(&args)
        }
        Verb::Dataset(verb) => dataset::run(&verb),
        Verb::Screenshot(args) => practise::screenshot(&args, cli.verbose),
        Verb::Urdf(verb) => urdf::run(&verb),
        Verb::Bench(args) => {
            start_logging(cli.verbose);
            bench::bench(&args)
        }
        Verb::Ports(args) => ports::ports(&args),
        Verb::SetupMotors(args) => setup_motors::setup_motors(&args),
        Verb::Calibrate(args) => calibrate::calibrate(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Park(args) => park::park(&args),
        #[cfg(unix)]
        Verb::Teleoperate(args) => teleoperate::teleoperate(&args),
        #[cfg(unix)]
        Verb::VirtualArm(args) => virtual_arm::virtual_arm(&args),
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
