//! What the verbs for a real arm share: its port, its name, its calibration, and questions to the person at it.

use super::CliError;
use crate::app::AppError;
use crate::arm::load_urdf;
use crate::bus::calibration_file::{ArmCalibration, Role, lerobot_path};
use crate::bus::discover::{self, PortInfo, Probe};
use crate::bus::error::BusError;
use crate::bus::known_arms::{KnownArm, KnownArms};
use crate::bus::port::ServoPort;
use crate::bus::registers::{JOINT_IDS, JOINT_NAMES};
use crate::bus::settings::DriverSettings;
use crate::bus::state::ArmState;
use crate::config::{self, ArmConfig};
use clap::Args;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Which arm is meant.
#[derive(Args, Clone, Debug)]
pub(super) struct ArmArgs {
    /// Serial port of the arm, as `etude ports` shows it.
    #[arg(long, value_name = "PORT")]
    pub port: String,
    /// Name of its calibration; not needed for an arm that was calibrated on this computer.
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// It is a leader: an arm moved by hand.
    #[arg(long)]
    pub leader: bool,
}

impl ArmArgs {
    pub fn role(&self) -> Role {
        if self.leader { Role::Leader } else { Role::Follower }
    }

    /// The name given, or the one this arm was calibrated under on this computer.
    pub fn id(&self) -> Result<Option<String>, CliError> {
        // A port that is not there is what is wrong then, not its name.
        if cfg!(unix) && !Path::new(&self.port).exists() {
            return Err(BusError::NoSuchPort { path: self.port.clone() }.into());
        }
        match &self.id {
            Some(id) => {
                check_id(id)?;
                Ok(Some(id.clone()))
            }
            None => Ok(known_on(&self.port)?.filter(|arm| arm.role == self.role()).map(|arm| arm.calibration_id)),
        }
    }

    /// The calibration of this arm.
    pub fn calibration(&self) -> Result<ArmCalibration, CliError> {
        let Some(id) = self.id()? else {
            let word = if self.leader { " --leader" } else { "" };
            return Err(CliError::Usage(format!(
                "{}: which arm this is, is not known; give the name of its calibration with --id NAME, or make one with \
                 `etude calibrate --port {} --id NAME{word}`",
                self.port, self.port
            )));
        };
        load_calibration(self.role(), &id)
    }
}

/// The calibration `id` of an arm in this role.
pub(super) fn load_calibration(role: Role, id: &str) -> Result<ArmCalibration, CliError> {
    Ok(ArmCalibration::load(&calibration_file(role, id)?)?)
}

/// Where the calibration `id` is kept: where LeRobot keeps it.
pub(super) fn calibration_file(role: Role, id: &str) -> Result<PathBuf, CliError> {
    check_id(id)?;
    lerobot_path(role, id, |name| std::env::var(name).ok()).ok_or_else(|| {
        CliError::Usage("no home folder for calibrations; set HOME, or HF_LEROBOT_CALIBRATION to a folder".into())
    })
}

fn check_id(id: &str) -> Result<(), CliError> {
    let fine = !id.is_empty() && id.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !id.starts_with('.');
    if fine {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "--id \"{id}\": a name of letters, digits, \"-\" and \"_\" is needed, such as blue_arm"
    )))
}

/// The port at a path, with what its USB device says if it has one.
fn port_info(path: &str) -> PortInfo {
    let listed = discover::list_ports().unwrap_or_default();
    let bare = PortInfo { path: path.to_owned(), usb_id: None, serial_number: None, manufacturer: None, product: None };
    listed.into_iter().find(|port| port.path == path).unwrap_or(bare)
}

fn known_arms() -> Result<KnownArms, CliError> {
    Ok(KnownArms::user_file().map_or_else(|| Ok(KnownArms::default()), |file| KnownArms::load(&file))?)
}

fn known_on(path: &str) -> Result<Option<KnownArm>, CliError> {
    known(&port_info(path))
}

/// What is known of the arm on a port.
pub(super) fn known(port: &PortInfo) -> Result<Option<KnownArm>, CliError> {
    let port = PortInfo { path: absolute(&port.path), ..port.clone() };
    Ok(known_arms()?.on_port(&port).cloned())
}

/// A path as it is remembered, whatever folder it was given from.
fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The follower calibrated last on this computer, and where it is now.
pub(super) fn latest_follower() -> Result<Option<KnownArm>, CliError> {
    let known = known_arms()?.latest(Role::Follower).cloned();
    Ok(known.map(|mut arm| {
        if let Some(path) = arm.serial_number.as_deref().and_then(discover::path_of_serial_number) {
            arm.path = path;
        }
        arm
    }))
}

/// Remembers which arm is on a port, so that its name need not be given again.
pub(super) fn remember(port: &str, role: Role, id: &str) -> Result<(), CliError> {
    // The number of a pseudo-terminal says nothing about what will be behind it tomorrow.
    let (Some(file), false) = (KnownArms::user_file(), port.starts_with("/dev/pts/")) else { return Ok(()) };
    let info = port_info(&absolute(port));
    let mut known = known_arms()?;
    known.remember(KnownArm {
        name: id.to_owned(),
        role,
        serial_number: info.serial_number,
        path: info.path,
        calibration_id: id.to_owned(),
    });
    Ok(known.save(&file)?)
}

/// Opens a port on which all six servos must answer.
pub(super) fn open_arm(path: &str) -> Result<ServoPort, CliError> {
    let mut port = discover::open_patient(path)?;
    let probe = discover::probe_port(&mut port)?;
    whole_arm(path, &probe)?;
    Ok(port)
}

/// Complains unless all six servos answered.
pub(super) fn whole_arm(path: &str, probe: &Probe) -> Result<(), CliError> {
    if probe.is_arm() {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{path}: {}; run `etude doctor --port {path}`, or `etude setup-motors --port {path}` for new motors",
        describe_probe(probe)
    )))
}

/// What answers on a port, in words.
pub(super) fn describe_probe(probe: &Probe) -> String {
    let silent: Vec<&str> = JOINT_IDS
        .iter()
        .zip(JOINT_NAMES)
        .filter(|(id, _)| !probe.servos.iter().any(|(found, _)| found == *id))
        .map(|(_, name)| name)
        .collect();
    let volts = probe.voltage_v.map_or(String::new(), |volts| format!(" at {volts:.1} V"));
    match (probe.is_arm(), probe.servos.len(), probe.noise) {
        (true, _, _) => format!("an arm{volts}"),
        (false, 0, true) => "answers are garbled: several servos have the same id, or another device is there".into(),
        (false, 0, false) => "no servo answers; is its power supply on?".into(),
        (false, count, _) if silent.is_empty() => format!("{count} servos{volts}, but not all of them are STS3215"),
        (false, 1, _) => format!("one servo{volts}; no answer from {}", silent.join(", ")),
        (false, count, _) => format!("{count} servos{volts}; no answer from {}", silent.join(", ")),
    }
}

/// Settings of the driver of an SO-100 as its shipped files describe it, with the table it stands on.
pub(super) fn model_settings() -> Result<DriverSettings, CliError> {
    let config: ArmConfig = config::load_named("configs/arm", "so100").map_err(AppError::from)?;
    let home = config::home().map_err(AppError::from)?;
    let model = load_urdf(&home.join(&config.urdf))?;
    Ok(DriverSettings::of_arm(&Arc::new(model), &config))
}

/// Notices of a driver as one line each.
pub(super) fn notices(state: &ArmState) -> Vec<String> {
    state.notices.iter().map(|notice| notice.describe(&JOINT_NAMES)).collect()
}

/// Says something to the person: instructions and progress, beside the results on stdout.
pub(super) fn tell(line: &str) {
    // A person who closed the terminal reads no complaint either.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether a person watches stderr, so that lines may be drawn over.
pub(super) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Lines the person types, read beside whatever else goes on.
pub(super) struct Answers(Receiver<String>);

/// What came from the person.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A line, without its end.
    Line(String),
    /// Nothing yet.
    Waiting,
    /// Nothing more will come.
    Ended,
}

impl Answers {
    /// Starts reading stdin.
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        let reader = move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        // Without the thread nothing ever comes, which reads as the end of the input.
        let _ = std::thread::Builder::new().name("stdin".into()).spawn(reader);
        Self(receiver)
    }

    /// What came within `patience`.
    pub fn within(&self, patience: Duration) -> Answer {
        match self.0.recv_timeout(patience) {
            Ok(line) => Answer::Line(line),
            Err(RecvTimeoutError::Timeout) => Answer::Waiting,
            Err(RecvTimeoutError::Disconnected) => Answer::Ended,
        }
    }

    /// Asks, and waits for a line.
    pub fn ask(&self, question: &str) -> Result<String, CliError> {
        let _ = write!(std::io::stderr(), "{question} ");
        let _ = std::io::stderr().flush();
        let line = self.0.recv().map_err(|_| {
            CliError::Usage(
                "the input ended before the work was done; run this in a terminal, or send a line per step".into(),
            )
        })?;
        if !std::io::stdin().is_terminal() {
            tell("");
        }
        Ok(line.trim().to_owned())
    }
}

/// A flag that Ctrl-C, SIGTERM and SIGHUP raise instead of ending the program at once.
#[cfg(unix)]
pub(super) fn interruption() -> Result<std::sync::Arc<std::sync::atomic::AtomicBool>, CliError> {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

/// Whether a path leads to the same file as another, links followed.
pub(super) fn same_file(one: &str, other: &str) -> bool {
    let real = |path: &str| std::fs::canonicalize(path).unwrap_or_else(|_| Path::new(path).to_owned());
    real(one) == real(other)
}
