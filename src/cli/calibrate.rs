//! `etude calibrate`: an arm's middle pose and ranges, guided.

use super::arm::{Answer, Answers, ArmArgs, calibration_file, open_arm, remember, tell, watched};
use super::setup_motors::unknown_joint;
use super::{CliError, say};
use crate::bus::calibrate::{Recording, Target, home, release, so100_targets, write};
use crate::bus::calibration_check::{ExpectedJoint, check};
use crate::bus::calibration_file::ArmCalibration;
use crate::bus::port::ServoPort;
use crate::bus::registers::{JOINT_NAMES, RAD_PER_TICK};
use crate::bus::settings::DriverSettings;
use clap::Args;
use std::io::Write;
use std::time::{Duration, Instant};

/// Options of `etude calibrate`.
#[derive(Args, Debug)]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    arm: ArmArgs,
    /// Only this joint; the others keep what they have.
    #[arg(long, value_name = "NAME")]
    joint: Option<String>,
}

/// Pause between two readings of all joints.
const READ_EVERY: Duration = Duration::from_millis(10);
/// How often the table of ranges is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// A joint that moved through this share of what the model says has been to both ends; more than the checks ask for.
const BOTH_ENDS: f64 = 0.93;

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<(), CliError> {
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
    // One joint alone belongs into a calibration there is.
    let before = args.joint.as_ref().map(|_| ArmCalibration::load(&file)).transpose()?;
    let mut targets = so100_targets();
    targets.retain(|target| args.joint.as_deref().is_none_or(|joint| joint == target.name));
    let expected: Vec<ExpectedJoint> = DriverSettings::default().joints.iter().map(ExpectedJoint::of).collect();
    let expected: Vec<ExpectedJoint> =
        expected.into_iter().filter(|joint| targets.iter().any(|target| target.name == joint.name)).collect();

    let mut port = open_arm(&args.arm.port)?;
    let answers = Answers::new();
    tell(&format!("Calibrating {} as \"{id}\". The motors let go now: hold the arm.", args.arm.port));
    answers.ask("1. Press Enter when you hold it:")?;
    release(&mut port, &targets)?;
    answers.ask(match args.joint.as_deref() {
        None => {
            "2. Bring it to its middle pose: base straight ahead, upper arm and forearm halfway between their ends, wrist \
             straight, gripper half open. Press Enter:"
        }
        Some(_) => "2. Bring the joint to the middle of its range and press Enter:",
    })?;
    let offsets = home(&mut port, &targets)?;
    tell("3. Move each joint to both of its ends, wrist_roll excepted; slowly. Press Enter when all are done:");
    let recorded = record(&mut port, &targets, &offsets, &expected, &answers)?;

    let findings = check(&recorded, &expected);
    for finding in &findings {
        tell(&format!("check: {finding}"));
    }
    if findings.is_empty() {
        tell("checks: no range touches the encoder's jump, every range and middle fits the arm's model");
    } else if answers
        .ask("Keep it all the same? Type yes, or press Enter to leave everything as it was in the file:")?
        != "yes"
    {
        return Err(CliError::Usage("nothing was saved; run the same command again and mind the checks".into()));
    }
    let whole = before.map_or_else(|| recorded.clone(), |before| replaced(before, &recorded));
    let registers = write(&mut port, &recorded)?;
    let kept = whole.save(&file)?;
    remember(&args.arm.port, role, &id)?;
    for (name, joint) in &recorded.joints {
        let degrees = (joint.width() * RAD_PER_TICK).to_degrees();
        let (min, max, offset) = (joint.range_min, joint.range_max, joint.homing_offset);
        say(format!("{name}: {min} to {max} ({degrees:.0} degrees), homing offset {offset}"))?;
    }
    say(format!("saved: {} ({registers} registers written)", file.display()))?;
    if let Some(kept) = kept {
        say(format!("the version before: {}", kept.display()))?;
    }
    Ok(())
}

/// `arm` with the joints of `recorded` in place of its own.
fn replaced(mut arm: ArmCalibration, recorded: &ArmCalibration) -> ArmCalibration {
    for (name, joint) in &recorded.joints {
        match arm.joints.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = *joint,
            None => arm.joints.push((name.clone(), *joint)),
        }
    }
    arm
}

/// Records until the person presses Enter and every joint has been moved.
fn record(
    port: &mut ServoPort,
    targets: &[Target],
    offsets: &[i32],
    expected: &[ExpectedJoint],
    answers: &Answers,
) -> Result<ArmCalibration, CliError> {
    let mut recording = Recording::new(targets, offsets);
    let mut table = Table { drawn: 0, next: Instant::now(), all_said: false };
    loop {
        recording.sample(port)?;
        table.draw(&recording, expected);
        let ended = match answers.within(READ_EVERY) {
            Answer::Waiting => continue,
            Answer::Line(_) => false,
            Answer::Ended => true,
        };
        match recording.finish() {
            Ok(calibration) => return Ok(calibration),
            Err(error) if ended => return Err(error.into()),
            Err(error) => {
                table.drawn = 0;
                let problem = error.to_string();
                let problem = problem.strip_prefix("bus settings, ").unwrap_or(&problem);
                tell(&format!("{problem}. Go on, and press Enter again:"));
            }
        }
    }
}

/// The ranges so far, drawn over and over where a person watches.
struct Table {
    drawn: usize,
    next: Instant,
    all_said: bool,
}

impl Table {
    fn draw(&mut self, recording: &Recording, expected: &[ExpectedJoint]) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + DRAW_EVERY;
        let mut lines = Vec::new();
        let mut all = true;
        for ((joint, range), now) in expected.iter().zip(recording.ranges()).zip(&recording.ticks) {
            let (Some((low, high)), Some(now)) = (range, now) else {
                all = false;
                lines.push(format!("   {:<14} no answer", joint.name));
                continue;
            };
            let moved = f64::from(high - low) * RAD_PER_TICK;
            let wanted = joint.upper_rad - joint.lower_rad;
            let word = if joint.full_turn {
                "turns freely, need not be moved"
            } else if moved >= BOTH_ENDS * wanted {
                "both ends reached"
            } else {
                all = false;
                "go on"
            };
            let (moved, wanted) = (moved.to_degrees(), wanted.to_degrees());
            lines.push(format!(
                "   {:<14} {low:>5} .. {now:>5} .. {high:>5}   {moved:>4.0} of {wanted:>3.0} degrees   {word}",
                joint.name
            ));
        }
        if watched() {
            let mut text = String::new();
            if self.drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.drawn));
            }
            for line in &lines {
                text.push_str(&format!("\r\x1b[K{line}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            self.drawn = lines.len();
        } else if all && !self.all_said {
            tell("every joint was at both ends: press Enter");
        }
        self.all_said |= all;
    }
}
