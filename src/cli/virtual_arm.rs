//! `etude virtual-arm`: an emulated arm on a serial port of its own, until Ctrl-C.

use super::arm::{Answer, Answers, calibration_file, interruption, tell};
use super::{CliError, say};
use crate::app::{Loaded, RunOptions};
use crate::backend::sim::SimPlant;
use crate::bus::calibration_file::{ArmCalibration, Role};
use crate::bus::registers::{JOINT_IDS, JOINT_NAMES, Register};
use crate::bus::virtual_bus::VirtualBus;
use crate::bus::virtual_bus::arms::{self, FOLDED_RAD, Hand, MotorBox};
use crate::bus::virtual_bus::fault::{FaultKind, FaultPlayer, parse_script, random_script};
use crate::bus::virtual_bus::pty::VirtualArm;
use crate::rig::{Rig, RigSetUp};
use clap::Args;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Options of `etude virtual-arm`.
#[derive(Args, Debug)]
pub(super) struct VirtualArmArgs {
    /// Make a link of this name to the port, so that it keeps its name.
    #[arg(long, value_name = "FILE")]
    link: Option<PathBuf>,
    /// Calibration it comes with; made if there is none of this name.
    #[arg(long, default_value = "virtual", value_name = "NAME")]
    id: String,
    /// Come assembled but never calibrated, to practise `etude calibrate`.
    #[arg(long)]
    uncalibrated: bool,
    /// Come as six motors from the shop, to practise `etude setup-motors`.
    #[arg(long, conflicts_with_all = ["uncalibrated", "leader"])]
    new_motors: bool,
    /// Put the simulated arm behind the servos: gravity, contact, its own weight and links.
    #[arg(long, conflicts_with_all = ["uncalibrated", "new_motors"])]
    sim: bool,
    /// A leader: 7.4 V; a hand moves it about until it is told otherwise.
    #[arg(long)]
    leader: bool,
    /// Decides how encoders are mounted and which random faults come.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Faults to play, from a RON script (docs/bus.md).
    #[arg(long, value_name = "FILE.ron")]
    faults: Option<PathBuf>,
    /// Random faults with pauses, for an hour.
    #[arg(long, conflicts_with = "faults")]
    random_faults: bool,
}

/// Friction of the table under the simulated arm.
const TABLE_FRICTION: f64 = 0.5;
/// Pause without faults between random ones, s.
const QUIET_S: f64 = 4.0;
/// The pose in the middle of all ranges, rad.
const MIDDLE_RAD: [f64; 6] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.788];
/// How often the hand moves the joints.
const HAND_EVERY: Duration = Duration::from_millis(20);

pub(super) fn virtual_arm(args: &VirtualArmArgs) -> Result<(), CliError> {
    let script = faults(args)?;
    let interrupted = interruption()?;
    let mut motors = None;
    let bus = if args.new_motors {
        let (mut motor_box, mut bus) = MotorBox::new();
        motor_box.connect(&mut bus, &[5]);
        motors = Some(motor_box);
        bus
    } else if args.uncalibrated {
        arms::uncalibrated(args.seed)
    } else if args.sim {
        simulated(&calibration(args)?)?
    } else {
        arms::calibrated(&calibration(args)?, None)
    };
    let volts = if args.leader { arms::LEADER_V } else { arms::FOLLOWER_V };
    let mut bus = bus.with_supply(volts).with_faults(FaultPlayer::new(script, args.seed));
    bus.place(&FOLDED_RAD);
    let arm = VirtualArm::start(bus, args.link.as_deref())?;
    say(arm.path().display())?;
    tell(&explain(args, &arm));
    let mut hand = if args.leader && !args.uncalibrated && !args.sim { Hand::Wave } else { Hand::Still };
    let (mut stage, mut time_s) = (0, 0.0);
    let mut answers = listens_to_us().then(Answers::new);
    let mut last = Instant::now();
    while !interrupted.load(Ordering::SeqCst) {
        match answers.as_ref().map_or(Answer::Ended, |answers| answers.within(HAND_EVERY)) {
            Answer::Line(line) => {
                stage = 0;
                match command(&line, &arm, motors.as_mut(), (!args.sim).then_some(&mut hand)) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(complaint) => tell(&complaint),
                }
            }
            Answer::Waiting => {}
            Answer::Ended => {
                answers = None;
                std::thread::sleep(HAND_EVERY);
            }
        }
        // A hand slower than a person's after the program was stopped for a while.
        let dt_s = last.elapsed().as_secs_f64().min(0.1);
        last = Instant::now();
        move_by_hand(&arm, &mut hand, dt_s, &mut stage, &mut time_s);
    }
    Ok(())
}

/// An arm whose mechanics are the simulation's.
pub(super) fn simulated(calibration: &ArmCalibration) -> Result<VirtualBus, CliError> {
    let loaded = Loaded::new(&RunOptions::default())?;
    let set_up = RigSetUp { q_rad: FOLDED_RAD.to_vec(), table_friction: Some(TABLE_FRICTION), props: Vec::new() };
    let rig = Rig::new(&loaded, &set_up, |_, _, _| {}).map_err(|error| CliError::Usage(error.to_string()))?;
    let plant = SimPlant::new(rig, loaded.sim.physics.step_hz);
    let mut bus = arms::calibrated(calibration, Some(Box::new(plant)));
    bus.place(&FOLDED_RAD);
    Ok(bus)
}

fn move_by_hand(arm: &VirtualArm, hand: &mut Hand, dt_s: f64, stage: &mut usize, time_s: &mut f64) {
    if *hand == Hand::Still {
        return;
    }
    let mut bus = arm.bus().lock();
    // A hand is not strong enough for a joint under torque, and nobody should try.
    if bus.servos().iter().any(|servo| servo.get(Register::TORQUE_ENABLE) == 1) {
        return;
    }
    let at_rad: Vec<f64> = bus.motions().iter().map(|motion| motion.position_rad).collect();
    let next = hand.step(&at_rad, dt_s, stage, time_s);
    bus.place(&next);
    if *hand == Hand::Still {
        tell("every joint was at both ends");
    }
}

fn calibration(args: &VirtualArmArgs) -> Result<ArmCalibration, CliError> {
    let role = if args.leader { Role::Leader } else { Role::Follower };
    let file = calibration_file(role, &args.id)?;
    if file.exists() {
        let calibration = ArmCalibration::load(&file)?;
        if let Some(name) = JOINT_NAMES.iter().find(|name| calibration.joint(name).is_none()) {
            return Err(CliError::Usage(format!("{}: no joint {name}; choose another --id", file.display())));
        }
        return Ok(calibration);
    }
    let made = arms::calibration(args.seed);
    made.save(&file)?;
    tell(&format!("calibration \"{}\" made: {}", args.id, file.display()));
    Ok(made)
}

fn faults(args: &VirtualArmArgs) -> Result<Vec<crate::bus::virtual_bus::fault::Fault>, CliError> {
    if args.random_faults {
        return Ok(random_script(args.seed, JOINT_IDS.len(), QUIET_S, 3600.0));
    }
    let Some(file) = &args.faults else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Usage(format!("{}: {error}; give a fault script", file.display())))?;
    parse_script(&text).map_err(|problem| CliError::Usage(format!("{}: {problem}", file.display())))
}

/// Whether stdin may be read: reading it in the background would stop the program.
fn listens_to_us() -> bool {
    match rustix::termios::tcgetpgrp(std::io::stdin()) {
        Ok(foreground) => foreground == rustix::process::getpgrp(),
        Err(_) => true,
    }
}

fn explain(args: &VirtualArmArgs, arm: &VirtualArm) -> String {
    let path = arm.path();
    let (path, id) = (path.display(), &args.id);
    let role = if args.leader { " --leader" } else { "" };
    let next = if args.new_motors {
        format!("The gripper motor is connected, alone. Set it up: etude setup-motors --port {path}\nHere, type")
    } else if args.uncalibrated {
        format!("Calibrate it: etude calibrate --port {path} --id {id}{role}\nMeanwhile be its hand here: type")
    } else {
        format!("It is calibrated as \"{id}\". Try: etude doctor --port {path} --id {id}{role}\nHere, type")
    };
    format!("{next} help for what it understands; Ctrl-C ends it.")
}

const HELP: &str = "\
middle            bring a limp arm to its middle pose and hold it there
sweep             move every joint of a limp arm to both ends
fold              lay a limp arm down folded
pose A B C D E F  bring a limp arm to these joint angles, degrees
wave              move a limp arm gently about, on and on
still             let go
connect N | all   connect this motor alone (1 to 6 or its joint), or all of them (--new-motors)
unplug [S]        pull the USB cable for S seconds (2)
hot J | overload J   let a joint (1 to 6 or its name) run hot, or trip its protection, for 3 s
look              say what the joints do
quit              end";

/// Carries out a line; whether that was the end.
fn command(
    line: &str,
    arm: &VirtualArm,
    motors: Option<&mut MotorBox>,
    hand: Option<&mut Hand>,
) -> Result<bool, String> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let moves: Option<Hand> = match first {
        "middle" => Some(Hand::Pose(MIDDLE_RAD.to_vec())),
        "fold" => Some(Hand::Pose(FOLDED_RAD.to_vec())),
        "sweep" => Some(Hand::Sweep),
        "wave" => Some(Hand::Wave),
        "still" => Some(Hand::Still),
        "pose" => {
            let angles: Vec<f64> = words.by_ref().map_while(|word| word.parse().ok()).collect();
            if angles.len() != 6 || !angles.iter().all(|angle: &f64| angle.is_finite()) {
                return Err("pose: six angles in degrees are needed, such as pose 0 -30 40 20 0 30".into());
            }
            let ends = arms::ends_rad();
            let inside = |(angle, ends): (&f64, &(f64, f64))| angle.to_radians().clamp(ends.0, ends.1);
            Some(Hand::Pose(angles.iter().zip(&ends).map(inside).collect()))
        }
        _ => None,
    };
    if let Some(moves) = moves {
        *hand.ok_or(format!("{first}: no hand reaches into the simulation (--sim)"))? = moves;
        return Ok(false);
    }
    match first {
        "" => {}
        "help" => tell(HELP),
        "connect" => {
            let motors = motors.ok_or("connect: only an arm started with --new-motors comes in pieces")?;
            let which = words.next().unwrap_or_default();
            let numbers =
                if which == "all" { (0..6).collect() } else { vec![joint(which).ok_or("connect: 1 to 6, or all")?] };
            motors.connect(&mut arm.bus().lock(), &numbers);
        }
        "unplug" => {
            let seconds = words.next().map_or(Ok(2.0), str::parse).unwrap_or(f64::NAN);
            if !(0.0..=3600.0).contains(&seconds) {
                return Err("unplug: seconds, 0 to 3600".into());
            }
            arm.bus().lock().inject(seconds, FaultKind::Unplug);
        }
        word @ ("hot" | "overload") => {
            let servo = words.next().and_then(joint).ok_or(format!("{word}: a joint, 1 to 6 or its name"))?;
            let kind = match word {
                "hot" => FaultKind::Hot { servo, celsius: 75.0 },
                _ => FaultKind::Overload { servo },
            };
            arm.bus().lock().inject(3.0, kind);
        }
        "look" => look(&arm.bus().lock()),
        "quit" | "exit" => return Ok(true),
        other => return Err(format!("{other}: not understood; help lists what is")),
    }
    Ok(false)
}

fn joint(word: &str) -> Option<usize> {
    let number = word.parse::<usize>().ok().filter(|number| (1..=6).contains(number)).map(|number| number - 1);
    number.or_else(|| JOINT_NAMES.iter().position(|name| *name == word))
}

fn look(bus: &VirtualBus) {
    for (servo, motion) in bus.servos().iter().zip(bus.motions()) {
        tell(&format!(
            "servo {}: {:7.2} degrees, reads {:4}, goal {:4}, torque {}, load {:4.0} %, {:.0} degrees Celsius, status {}",
            servo.id(),
            motion.position_rad.to_degrees(),
            servo.get(Register::PRESENT_POSITION),
            servo.get(Register::GOAL_POSITION),
            if servo.get(Register::TORQUE_ENABLE) == 1 { "on" } else { "off" },
            motion.load * 100.0,
            motion.temperature_c,
            if servo.status().is_ok() { "fine".to_owned() } else { servo.status().words().join(", ") },
        ));
    }
    let audit = &bus.audit;
    tell(&format!(
        "{} instructions, {} goals, {} outside limits",
        audit.instructions, audit.goals, audit.goals_outside_limits
    ));
}
