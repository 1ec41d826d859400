//! `etude calibrate`: an arm's middle pose and ranges, guided, in the terminal or in a window.

use super::arm::{Answer, Answers, ArmArgs, calibration_file, model_settings, open_arm, remember, tell, watched};
use super::setup_motors::unknown_joint;
use super::{CliError, say};
use crate::bus::calibrate::drift;
use crate::bus::calibration_check::{ExpectedJoint, check};
use crate::bus::calibration_file::{ArmCalibration, Role};
use crate::bus::calibration_guide::{Guide, Other, Step, View, differences, read_pose};
use crate::bus::registers::{JOINT_NAMES, RAD_PER_TICK};
use crate::bus::settings::JointSettings;
use clap::Args;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Options of `etude calibrate`.
#[derive(Args, Debug)]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    arm: ArmArgs,
    /// Only this joint; the others keep what they have.
    #[arg(long, value_name = "NAME")]
    joint: Option<String>,
    /// Compare it with the arm on this port, its leader or follower, held in the same pose; it must be calibrated.
    #[arg(long, value_name = "PORT")]
    against: Option<String>,
    /// Name of the other arm's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME", requires = "against")]
    against_id: Option<String>,
    /// Calibrate nothing: check the calibration there is.
    #[arg(long, conflicts_with_all = ["joint", "window"])]
    check: bool,
    /// In a window, with the wanted pose shown beside the live arm.
    #[arg(long)]
    window: bool,
}

/// Pause between two readings of all joints.
const READ_EVERY: Duration = Duration::from_millis(10);
/// How often the table of ranges is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub(super) fn calibrate(args: &CalibrateArgs, verbose: u8) -> Result<(), CliError> {
    if let Some(joint) = args.joint.as_deref().filter(|joint| !JOINT_NAMES.contains(joint)) {
        return Err(unknown_joint(joint));
    }
    let role = args.arm.role();
    let id = args.arm.id()?.ok_or_else(|| {
        CliError::Usage(
            "give the calibration a name with --id NAME, such as --id blue_arm; LeRobot will know it, too".into(),
        )
    })?;
    let file = calibration_file(role, &id)?;
    // One joint alone belongs into a calibration there is, and only one there is can be checked.
    let known = match (args.joint.is_some() || args.check, file.exists()) {
        (false, false) => None,
        // A spoilt file must not keep anybody from making a new one.
        (false, true) => ArmCalibration::load(&file).ok(),
        (true, _) => Some(ArmCalibration::load(&file)?),
    };
    let joints = model_settings()?.joints;
    let other = other_arm(args, role)?;
    if let (true, Some(known)) = (args.check, &known) {
        return check_only(args, &joints, known, other);
    }
    let port = open_arm(&args.arm.port)?;
    let mut guide = Guide::new(port, &joints, known, args.joint.as_deref(), other)?;
    if args.window {
        return super::calibrate_window::calibrate(guide, &args.arm.port, &file, role, &id, verbose);
    }
    let answers = Answers::new();
    tell(&format!("Calibrating {} as \"{id}\". The motors let go now: hold the arm.", args.arm.port));
    answers.ask("1. Press Enter when you hold it:")?;
    guide.proceed()?;
    loop {
        answers.ask(match guide.view().alone {
            None => {
                "2. Bring it to its middle pose: base straight ahead, upper arm and forearm halfway between their ends, wrist \
                 straight, gripper half open. Press Enter:"
            }
            Some(_) => "2. Bring the joint to the middle of its range and press Enter:",
        })?;
        guide.proceed()?;
        match guide.view().alone {
            None => tell(
                "3. Move each joint to both of its ends, wrist_roll excepted; slowly. Press Enter when all are done:",
            ),
            Some(joint) => tell(&format!("3. Move {joint} to both of its ends, slowly. Press Enter when it is done:")),
        }
        record(&mut guide, &answers)?;
        if guide.step() == Step::Compare {
            answers.ask("4. Hold both arms in the same pose, such as folded at rest, and press Enter:")?;
            guide.proceed()?;
        }
        if !wants_again(&mut guide, &answers)? {
            break;
        }
    }
    let registers = guide.keep()?;
    save(&guide, &args.arm.port, &file, role, &id, registers)
}

/// Saves what was recorded, and says so.
pub(super) fn save(
    guide: &Guide,
    port: &str,
    file: &Path,
    role: Role,
    id: &str,
    registers: u32,
) -> Result<(), CliError> {
    let kept = guide.whole().save(file)?;
    remember(port, role, id)?;
    for (name, joint) in &guide.recorded().joints {
        let degrees = (joint.width() * RAD_PER_TICK).to_degrees();
        let (min, max, offset) = (joint.range_min, joint.range_max, joint.homing_offset);
        say(format!("{name}: {min} to {max} ({degrees:.0} degrees), homing offset {offset}"))?;
    }
    say(format!("saved: {} ({registers} registers written)", file.display()))?;
    if let Some(kept) = kept {
        say(format!("the version before: {}", kept.display()))?;
    }
    tell(&format!("Next: etude doctor --port {port}{}", if role == Role::Leader { " --leader" } else { "" }));
    Ok(())
}

/// The arm to compare with, if one was named.
fn other_arm(args: &CalibrateArgs, role: Role) -> Result<Option<Other>, CliError> {
    let Some(port) = &args.against else { return Ok(None) };
    if super::arm::same_file(port, &args.arm.port) {
        return Err(CliError::Usage(format!("--against {port}: that is the arm itself; name its leader or follower")));
    }
    let other = ArmArgs { port: port.clone(), id: args.against_id.clone(), leader: role == Role::Follower };
    let calibration = other.calibration().map_err(|error| match error {
        CliError::Usage(_) => CliError::Usage(format!(
            "--against {port}: which {} this is, is not known; give its name with --against-id NAME, or calibrate it first",
            if other.leader { "leader" } else { "follower" }
        )),
        error => error,
    })?;
    Ok(Some(Other { port: open_arm(port)?, calibration }))
}

/// Asks whether what the checks found is to be done again, kept or left; whether a joint is done again.
fn wants_again(guide: &mut Guide, answers: &Answers) -> Result<bool, CliError> {
    for finding in guide.findings() {
        tell(&format!("check: {finding}"));
    }
    if guide.findings().is_empty() {
        tell("checks: no range touches the encoder's jump, every range and middle fits the arm's model");
        return Ok(false);
    }
    loop {
        let answer = answers.ask(
            "Type the name of a joint to do it again alone, yes to keep everything all the same, or press Enter to leave \
             the file as it was:",
        )?;
        match answer.as_str() {
            "yes" => return Ok(false),
            "" | "no" | "q" => {
                return Err(CliError::Usage(
                    "nothing was saved; run the same command again and mind the checks".into(),
                ));
            }
            joint => match guide.redo(joint) {
                Ok(()) => return Ok(true),
                Err(_) => tell(&format!("{joint}: no such joint; the joints are {}", JOINT_NAMES.join(", "))),
            },
        }
    }
}

/// Records until the person presses Enter and every joint has been moved.
fn record(guide: &mut Guide, answers: &Answers) -> Result<(), CliError> {
    let mut table = Table { drawn: 0, next: Instant::now(), all_said: false };
    loop {
        guide.poll()?;
        table.draw(guide);
        let ended = match answers.within(READ_EVERY) {
            Answer::Waiting => continue,
            Answer::Line(_) => false,
            Answer::Ended => true,
        };
        match guide.proceed() {
            Ok(()) => return Ok(()),
            Err(error) if ended => return Err(error.into()),
            Err(error) => {
                table.drawn = 0;
                tell(&format!("{}. Go on, and press Enter again:", reason(&error.to_string())));
            }
        }
    }
}

/// What is wrong, without where in the settings.
pub(super) fn reason(problem: &str) -> &str {
    problem.strip_prefix("bus settings, ").unwrap_or(problem)
}

/// Whether the calibration in the file is that of the servos, plausible, and agrees with the other arm's.
fn check_only(
    args: &CalibrateArgs,
    joints: &[JointSettings],
    known: &ArmCalibration,
    other: Option<Other>,
) -> Result<(), CliError> {
    let mut port = open_arm(&args.arm.port)?;
    let mut problems = Vec::new();
    for (joint, register, servo, file) in drift(&mut port, known)? {
        problems.push(format!(
            "{joint}: {register} is {servo} in the servo and {file} in the file; the arm was calibrated elsewhere since, or \
             this is another arm"
        ));
    }
    let expected: Vec<ExpectedJoint> = joints.iter().map(ExpectedJoint::of).collect();
    problems.extend(check(known, &expected).iter().map(ToString::to_string));
    if let Some(mut other) = other {
        Answers::new().ask("Hold both arms in the same pose, such as folded at rest, and press Enter:")?;
        let mine = read_pose(&mut port, known, joints)?;
        let theirs = read_pose(&mut other.port, &other.calibration, joints)?;
        for ((joint, mine), theirs) in joints.iter().zip(&mine).zip(&theirs) {
            let (mine, theirs) = (mine.to_degrees(), theirs.to_degrees());
            say(format!("{:<14} {mine:7.1}  other arm {theirs:7.1} degrees", joint.name))?;
        }
        problems.extend(differences(joints, &mine, &theirs).iter().map(ToString::to_string));
    }
    for problem in &problems {
        say(problem)?;
    }
    match problems.len() {
        0 => say("the calibration is in the servos, fits the arm's model, and nothing contradicts it"),
        count => Err(CliError::Usage(format!(
            "{}: {count} doubts about its calibration; `etude calibrate --joint NAME` does one joint again",
            args.arm.port
        ))),
    }
}

/// The ranges so far, drawn over and over where a person watches.
struct Table {
    drawn: usize,
    next: Instant,
    all_said: bool,
}

impl Table {
    fn draw(&mut self, guide: &Guide) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + DRAW_EVERY;
        let View { joints, .. } = guide.view();
        let active = || joints.iter().filter(|joint| joint.active);
        let lines = active().map(|joint| {
            let (Some((low, high)), Some(now)) = (joint.range, joint.ticks) else {
                return format!("   {:<14} no answer", joint.name);
            };
            let word = match (joint.full_turn, joint.done) {
                (true, _) => "turns freely, need not be moved",
                (_, true) => "both ends reached",
                _ => "go on",
            };
            let (moved, wanted) = (joint.moved_rad.to_degrees(), joint.wanted_rad.to_degrees());
            format!(
                "   {:<14} {low:>5} .. {now:>5} .. {high:>5}   {moved:>4.0} of {wanted:>3.0} degrees   {word}",
                joint.name
            )
        });
        let all = active().all(|joint| joint.done && joint.ticks.is_some());
        if watched() {
            let mut text = String::new();
            if self.drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.drawn));
            }
            for line in lines {
                text.push_str(&format!("\r\x1b[K{line}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            self.drawn = active().count();
        } else if all && !self.all_said {
            tell("every joint was at both ends: press Enter");
        }
        self.all_said |= all;
    }
}
