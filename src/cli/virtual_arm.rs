//! `etude virtual-arm`: an emulated arm on a serial port of its own, until Ctrl-C.

use super::arm::{Answer, Answers, calibration_file, interruption, tell};
use super::terminal::may_read_stdin;
use super::{CliError, say};
use crate::app::{Loaded, RunOptions};
use crate::backend::sim::{PropPoses, SimPlant};
use crate::bus::calibration_file::{ArmCalibration, Role};
use crate::bus::realtime;
use crate::bus::registers::{JOINT_IDS, JOINT_NAMES, Register};
use crate::bus::virtual_bus::VirtualBus;
use crate::bus::virtual_bus::arms::{self, FOLDED_RAD, Hand, MotorBox};
use crate::bus::virtual_bus::fault::{FaultKind, FaultPlayer, parse_script, random_script};
use crate::bus::virtual_bus::pty::VirtualArm;
use crate::bus::virtual_bus::registry;
use crate::rig::{Rig, RigSetUp};
use crate::ui::camera_rig::{Orbit, View};
use crate::ui::virtual_arm::VirtualArmShow;
use crate::window::stage::{StageArm, StageOptions, perform};
use crate::world::sample_start;
use clap::Args;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
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
    /// With the objects of this task on the table: a name in scenes/ or a .ron file.
    #[arg(long, value_name = "NAME", requires = "sim")]
    task: Option<String>,
    /// Show it in a window, where it can be moved by hand, too.
    #[arg(long, conflicts_with = "new_motors")]
    window: bool,
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

pub(super) fn virtual_arm(args: &VirtualArmArgs, verbose: u8) -> Result<(), CliError> {
    let script = faults(args)?;
    let interrupted = interruption()?;
    let (mut motors, mut simulation) = (None, None);
    let bus = if args.new_motors {
        let (mut motor_box, mut bus) = MotorBox::new();
        motor_box.connect(&mut bus, &[5]);
        motors = Some(motor_box);
        bus
    } else if args.uncalibrated {
        arms::uncalibrated(args.seed)
    } else if args.sim {
        let simulated = simulated(&calibration(args)?, args.task.as_deref(), args.seed)?;
        simulation = Some((simulated.loaded, simulated.props));
        simulated.bus
    } else {
        arms::calibrated(&calibration(args)?, None)
    };
    let volts = if args.leader { arms::LEADER_V } else { arms::FOLLOWER_V };
    let mut bus = bus.with_supply(volts).with_faults(FaultPlayer::new(script, args.seed));
    bus.place(&FOLDED_RAD);
    let arm = VirtualArm::start(bus, args.link.as_deref())?;
    let _note = registry::register(&registry::folder(), &arm.path(), &what(args));
    say(arm.path().display())?;
    tell(&explain(args, &arm));
    let hand = if args.leader && !args.uncalibrated { Hand::Wave } else { Hand::Still };
    let (orders, ordered) = channel();
    let tending = Tending { arm: &arm, motors, hand: HandAtWork::new(hand), ordered, simulated: args.sim };
    if !args.window {
        tending.run(&interrupted);
        return Ok(());
    }
    let (loaded, props) = match simulation {
        Some(simulation) => simulation,
        None => {
            (Loaded::new(&RunOptions { scene: "free_play".into(), ..RunOptions::default() })?, PropPoses::default())
        }
    };
    let show = VirtualArmShow::new(arm.bus().clone(), props, orders, interrupted.clone(), &arm.path());
    let options = StageOptions {
        title: format!("Etude: {}", arm.path().display()),
        arms: vec![StageArm { place_m: (0.0, 0.0), wanted: false, words: "" }],
        props: args.task.is_some(),
        view: Orbit::of(View::Front),
        verbose,
    };
    std::thread::scope(|scope| {
        let tended = std::thread::Builder::new().name("hand".into()).spawn_scoped(scope, || tending.run(&interrupted));
        let shown = tended.map_err(CliError::from).and_then(|_| {
            perform(&loaded, &options, Box::new(show))
                .map_err(|fault| CliError::Window(format!("{fault}; without --window the arm works without a display")))
        });
        // The arm goes with its window.
        interrupted.store(true, Ordering::SeqCst);
        shown
    })
}

/// A simulated arm behind emulated servos.
pub(super) struct Simulated {
    /// Its bus.
    pub bus: VirtualBus,
    /// What it is made of.
    pub loaded: Loaded,
    /// Where the task's objects are.
    pub props: PropPoses,
}

/// An arm whose mechanics are the simulation's, with the objects of `task` on its table, if one is given, placed as `seed` says.
pub(super) fn simulated(calibration: &ArmCalibration, task: Option<&str>, seed: u64) -> Result<Simulated, CliError> {
    let scene = task.unwrap_or("free_play").to_owned();
    let loaded = Loaded::new(&RunOptions { scene, ..RunOptions::default() })?;
    let mut props = Vec::new();
    if task.is_some() {
        let scene = &loaded.scene.scene;
        let start = sample_start(scene, &loaded.model, seed).map_err(|error| CliError::Usage(error.to_string()))?;
        props = scene.props.iter().cloned().zip(start.props).collect();
    }
    let set_up = RigSetUp { q_rad: FOLDED_RAD.to_vec(), table_friction: Some(TABLE_FRICTION), props };
    let rig = Rig::new(&loaded, &set_up, |_, _, _| {}).map_err(|error| CliError::Usage(error.to_string()))?;
    let plant = SimPlant::new(rig, loaded.sim.physics.step_hz);
    let props = plant.props();
    let mut bus = arms::calibrated(calibration, Some(Box::new(plant)));
    bus.place(&FOLDED_RAD);
    Ok(Simulated { bus, loaded, props })
}

/// What a virtual arm is, for the list of ports.
fn what(args: &VirtualArmArgs) -> String {
    let kind = if args.new_motors {
        "six new motors"
    } else if args.leader {
        "a leader"
    } else {
        "a follower"
    };
    let more = if args.uncalibrated {
        ", never calibrated"
    } else if args.sim {
        ", simulated"
    } else {
        ""
    };
    format!("{kind}{more}")
}

/// The hand that moves limp joints.
struct HandAtWork {
    hand: Hand,
    /// Where it holds the joints, rad; a simulated arm need not be there.
    held_rad: Option<Vec<f64>>,
    stage: usize,
    time_s: f64,
}

impl HandAtWork {
    fn new(hand: Hand) -> Self {
        Self { hand, held_rad: None, stage: 0, time_s: 0.0 }
    }

    fn step(&mut self, arm: &VirtualArm, dt_s: f64) {
        let mut bus = arm.bus().lock();
        // A hand is not strong enough for a joint under torque, and nobody should try.
        let powered = bus.servos().iter().any(|servo| servo.get(Register::TORQUE_ENABLE) == 1);
        if self.hand == Hand::Still || powered {
            if self.held_rad.take().is_some() {
                bus.hold(None);
            }
            return;
        }
        let now = || bus.motions().iter().map(|motion| motion.position_rad).collect();
        let at_rad = self.held_rad.take().unwrap_or_else(now);
        let next = self.hand.step(&at_rad, dt_s, &mut self.stage, &mut self.time_s);
        bus.hold(Some(&next));
        self.held_rad = Some(next);
        if self.hand == Hand::Still {
            tell("every joint was at both ends");
        }
    }
}

/// A virtual arm at work: lines typed or ordered by the window are carried out, the hand moves it.
struct Tending<'a> {
    arm: &'a VirtualArm,
    motors: Option<MotorBox>,
    hand: HandAtWork,
    ordered: Receiver<String>,
    simulated: bool,
}

impl Tending<'_> {
    fn run(mut self, interrupted: &AtomicBool) {
        // A thread that waits for its turn while it holds the arm would keep the servos waiting.
        realtime::be_punctual(realtime::EMULATOR_PRIORITY);
        let mut answers = may_read_stdin().then(Answers::new);
        let mut last = Instant::now();
        while !interrupted.load(Ordering::SeqCst) {
            let mut line = self.ordered.try_recv().ok();
            match answers.as_ref().map_or(Answer::Ended, |answers| answers.within(HAND_EVERY)) {
                Answer::Line(typed) => line = Some(typed),
                Answer::Waiting => {}
                Answer::Ended => {
                    answers = None;
                    std::thread::sleep(HAND_EVERY);
                }
            }
            if let Some(line) = line {
                match command(&line, self.arm, self.motors.as_mut(), &mut self.hand, self.simulated) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(complaint) => tell(&complaint),
                }
            }
            // A hand slower than a person's after the program was stopped for a while.
            let dt_s = last.elapsed().as_secs_f64().min(0.1);
            last = Instant::now();
            self.hand.step(self.arm, dt_s);
        }
        interrupted.store(true, Ordering::SeqCst);
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
    hand: &mut HandAtWork,
    simulated: bool,
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
        if simulated && moves == Hand::Sweep {
            return Err(
                "sweep: the simulated arm (--sim) has its own weight and a table in the way; move it with pose".into(),
            );
        }
        (hand.hand, hand.stage) = (moves, 0);
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
