//! A guided calibration as a state machine: what the terminal and the window both lead a person through.
//!
//! [`Step::Hold`] - [`Step::Middle`] - [`Step::Ranges`] - ([`Step::Compare`]) - [`Step::Review`] - [`Step::Kept`]. [`Guide::poll`]
//! reads the joints again and again, [`Guide::proceed`] ends a step, [`Guide::redo`] does one joint again.

use super::calibrate::{Recording, Target, home, release, so100_targets, write};
use super::calibration::{AngleMap, HOMED_TICK, JointCalibration};
use super::calibration_check::{ExpectedJoint, Finding, Problem, check, compare_poses};
use super::calibration_file::ArmCalibration;
use super::error::BusError;
use super::port::ServoPort;
use super::registers::{MAX_TICK, PRESENT_ADDRESS, PRESENT_LEN, RAD_PER_TICK, Register};
use super::settings::JointSettings;
use super::virtual_bus::arms::FOLDED_RAD;

/// A joint that moved through this share of what the model says has been to both ends; more than the checks ask for.
const BOTH_ENDS: f64 = 0.93;
/// How far two arms in the same pose may differ, rad (6 degrees): what hands and eyes can do.
pub const SAME_POSE_RAD: f64 = 0.105;

/// Where a calibration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The person takes hold of the arm; its torque is as it was.
    Hold,
    /// Limp: the person brings it to the middle pose.
    Middle,
    /// The person moves each joint to both of its ends.
    Ranges,
    /// The person holds both arms in the same pose.
    Compare,
    /// The checks are done; the person decides.
    Review,
    /// Written into the servos.
    Kept,
}

/// What is to be seen of a joint.
#[derive(Clone, Debug, PartialEq)]
pub struct JointView {
    /// Joint name.
    pub name: String,
    /// Whether it is being calibrated now.
    pub active: bool,
    /// Newest reading, ticks; nothing if it does not answer.
    pub ticks: Option<i32>,
    /// Lowest and highest reading since the middle pose, ticks.
    pub range: Option<(i32, i32)>,
    /// How far it has been moved, rad.
    pub moved_rad: f64,
    /// How far it can move in the arm model, rad.
    pub wanted_rad: f64,
    /// Whether it turns without stops and need not be moved.
    pub full_turn: bool,
    /// Whether it has been to both ends, or need not.
    pub done: bool,
    /// Its angle in the arm model, rad, as far as it is known: before the middle pose counted from the rest pose.
    pub angle_rad: f64,
}

/// What is to be seen of a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Where it stands.
    pub step: Step,
    /// The joints in bus order.
    pub joints: Vec<JointView>,
    /// What the checks found; empty before they are done.
    pub findings: Vec<Finding>,
    /// The joint that is done alone, if it is.
    pub alone: Option<String>,
    /// Whether angles are those of the arm, not counted from a supposed beginning.
    pub homed: bool,
}

impl View {
    /// The pose the person should bring the arm to, rad, at a moment of the animation, s; nothing where any pose will do.
    pub fn wanted_rad(&self, limits: &[(f64, f64)], time_s: f64) -> Option<Vec<f64>> {
        let middle: Vec<f64> =
            self.joints.iter().zip(limits).map(|(joint, ends)| middle_rad(&joint.name, *ends)).collect();
        match self.step {
            Step::Hold => Some(FOLDED_RAD.to_vec()),
            Step::Middle => Some(middle),
            Step::Ranges => {
                let next = self.joints.iter().position(|joint| joint.active && !joint.done)?;
                let mut pose = middle;
                let (lower, upper) = *limits.get(next)?;
                let share = 0.5 - 0.5 * (std::f64::consts::TAU * time_s / 4.0).cos();
                *pose.get_mut(next)? = lower + share * (upper - lower);
                Some(pose)
            }
            Step::Compare | Step::Review | Step::Kept => None,
        }
    }

    /// The joint to be moved next.
    pub fn next_joint(&self) -> Option<&str> {
        self.joints.iter().find(|joint| joint.active && !joint.done).map(|joint| joint.name.as_str())
    }
}

/// Angle of the middle pose, rad: zero, the gripper half open.
pub fn middle_rad(name: &str, (lower_rad, upper_rad): (f64, f64)) -> f64 {
    if name == "gripper" { 0.5 * (lower_rad + upper_rad) } else { 0.0 }
}

/// Another arm to compare poses with.
#[derive(Debug)]
pub struct Other {
    /// Its port, open.
    pub port: ServoPort,
    /// Its calibration.
    pub calibration: ArmCalibration,
}

/// A calibration under way.
#[derive(Debug)]
pub struct Guide {
    port: ServoPort,
    joints: Vec<JointSettings>,
    targets: Vec<Target>,
    step: Step,
    /// What was known before; joints that are not done keep it.
    known: Option<ArmCalibration>,
    recording: Option<Recording>,
    /// Homing offset in force per joint.
    offsets: Vec<Option<i32>>,
    recorded: ArmCalibration,
    findings: Vec<Finding>,
    other: Option<Other>,
    first: Vec<Option<i32>>,
    newest: Vec<Option<i32>>,
    turned: Vec<i32>,
}

impl Guide {
    /// A calibration of the arm on `port`, whose joints are `joints`, all of them or the one called `alone`; `known` is what
    /// its file says now.
    ///
    /// # Errors
    /// [`BusError::Settings`] for a joint there is none of, or for one alone where nothing is known of the others.
    pub fn new(
        port: ServoPort,
        joints: &[JointSettings],
        known: Option<ArmCalibration>,
        alone: Option<&str>,
        other: Option<Other>,
    ) -> Result<Self, BusError> {
        let mut targets = so100_targets();
        if let Some(alone) = alone {
            targets.retain(|target| target.name == alone);
            if targets.is_empty() || known.is_none() {
                let reason =
                    if targets.is_empty() { "there is no such joint" } else { "calibrate the whole arm first" };
                return Err(BusError::Settings { field: format!("joint {alone}"), reason: reason.to_owned() });
            }
        }
        let count = joints.len();
        Ok(Self {
            port,
            joints: joints.to_vec(),
            targets,
            step: Step::Hold,
            known,
            recording: None,
            offsets: vec![None; count],
            recorded: ArmCalibration::default(),
            findings: Vec::new(),
            other,
            first: vec![None; count],
            newest: vec![None; count],
            turned: vec![0; count],
        })
    }

    /// Where it stands.
    pub fn step(&self) -> Step {
        self.step
    }

    /// What the checks found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The joints recorded so far.
    pub fn recorded(&self) -> &ArmCalibration {
        &self.recorded
    }

    /// What the arm's calibration is with them.
    pub fn whole(&self) -> ArmCalibration {
        let mut whole = self.known.clone().unwrap_or_default();
        put(&mut whole, &self.recorded);
        whole
    }

    /// Read all joints; call at 50 Hz or more.
    ///
    /// # Errors
    /// [`BusError::Unplugged`].
    pub fn poll(&mut self) -> Result<(), BusError> {
        if let Some(recording) = self.recording.as_mut().filter(|_| self.step == Step::Ranges) {
            recording.sample(&mut self.port)?;
        }
        let all = so100_targets();
        let ids: Vec<u8> = all.iter().map(|target| target.id).collect();
        let read = self.port.sync_read(&ids, PRESENT_ADDRESS, PRESENT_LEN)?;
        for (joint, answer) in read.answers.iter().enumerate().take(self.newest.len()) {
            let ticks =
                answer.as_ref().and_then(|(block, _)| Register::PRESENT_POSITION.in_block(PRESENT_ADDRESS, block));
            let Some(ticks) = ticks else { continue };
            let before = self.newest[joint].replace(ticks);
            self.first[joint].get_or_insert(ticks);
            // From reading to reading the shorter way round.
            self.turned[joint] += before.map_or(0, |before| shorter(ticks - before));
        }
        Ok(())
    }

    /// The person has done what the step asks for.
    ///
    /// # Errors
    /// The errors of the bus; [`BusError::Settings`] if the step is not done yet. The step stays then.
    pub fn proceed(&mut self) -> Result<(), BusError> {
        match self.step {
            Step::Hold => {
                release(&mut self.port, &self.targets)?;
                self.step = Step::Middle;
            }
            Step::Middle => {
                let offsets = home(&mut self.port, &self.targets)?;
                for (target, offset) in self.targets.iter().zip(&offsets) {
                    if let Some(joint) = self.joints.iter().position(|joint| joint.name == target.name) {
                        self.offsets[joint] = Some(*offset);
                    }
                }
                self.recording = Some(Recording::new(&self.targets, &offsets));
                self.findings.clear();
                self.step = Step::Ranges;
            }
            Step::Ranges => {
                let Some(recording) = &self.recording else { return Ok(()) };
                put(&mut self.recorded, &recording.finish()?);
                self.findings = check(&self.recorded, &self.expected());
                self.step = if self.other.is_some() { Step::Compare } else { Step::Review };
            }
            Step::Compare => {
                self.compare()?;
                self.step = Step::Review;
            }
            Step::Review => {
                write(&mut self.port, &self.recorded)?;
                self.step = Step::Kept;
            }
            Step::Kept => {}
        }
        Ok(())
    }

    /// Write what was recorded into the servos, as [`proceed`](Self::proceed) does from the review; how many registers that were.
    ///
    /// # Errors
    /// The errors of the bus.
    pub fn keep(&mut self) -> Result<u32, BusError> {
        let written = write(&mut self.port, &self.recorded)?;
        self.step = Step::Kept;
        Ok(written)
    }

    /// Do one joint again, alone: from its middle pose on.
    ///
    /// # Errors
    /// [`BusError::Settings`] for a joint there is none of, or before anything was recorded.
    pub fn redo(&mut self, joint: &str) -> Result<(), BusError> {
        let target = so100_targets().into_iter().find(|target| target.name == joint);
        let Some(target) = target.filter(|_| self.step == Step::Review) else {
            let reason = "there is no such joint to be done again; choose one of the arm's".to_owned();
            return Err(BusError::Settings { field: format!("joint {joint}"), reason });
        };
        self.targets = vec![target];
        self.step = Step::Middle;
        Ok(())
    }

    /// What is to be seen.
    pub fn view(&self) -> View {
        let ranges = self.recording.as_ref().filter(|_| self.step == Step::Ranges).map(Recording::ranges);
        let joints = self.joints.iter().enumerate().map(|(index, settings)| {
            let at = self.targets.iter().position(|target| target.name == settings.name);
            let recorded = self.recorded.joint(&settings.name).map(|joint| (joint.range_min, joint.range_max));
            let range = match (&ranges, at) {
                (Some(ranges), Some(at)) => ranges.get(at).copied().flatten(),
                _ => recorded,
            };
            let full_turn = settings.name == "wrist_roll";
            let moved_rad = range.map_or(0.0, |(low, high)| f64::from(high - low) * RAD_PER_TICK);
            let wanted_rad = settings.upper_rad - settings.lower_rad;
            JointView {
                name: settings.name.clone(),
                active: at.is_some(),
                ticks: self.newest[index],
                range,
                moved_rad,
                wanted_rad,
                full_turn,
                done: full_turn || moved_rad >= BOTH_ENDS * wanted_rad,
                angle_rad: self.angle_rad(index),
            }
        });
        View {
            step: self.step,
            joints: joints.collect(),
            findings: self.findings.clone(),
            alone: (self.targets.len() == 1).then(|| self.targets[0].name.clone()),
            homed: self.offsets.iter().all(Option::is_some) || self.known.is_some(),
        }
    }

    fn expected(&self) -> Vec<ExpectedJoint> {
        let recorded = |joint: &&JointSettings| self.recorded.joint(&joint.name).is_some();
        self.joints.iter().filter(recorded).map(ExpectedJoint::of).collect()
    }

    /// The best that is known of a joint's angle now.
    fn angle_rad(&self, index: usize) -> f64 {
        let settings = &self.joints[index];
        let Some(ticks) = self.newest[index] else { return FOLDED_RAD.get(index).copied().unwrap_or(0.0) };
        let by = |calibration: &JointCalibration, ticks: i32| AngleMap::new(calibration, settings.zero).to_rad(ticks);
        if let Some(recorded) = self.recorded.joint(&settings.name) {
            return by(recorded, self.reading_under(index, recorded, ticks));
        }
        if self.offsets[index].is_some() {
            let middle = middle_rad(&settings.name, (settings.lower_rad, settings.upper_rad));
            // Ends of the range may lie beyond the encoder's jump.
            return middle + f64::from(shorter(ticks - HOMED_TICK)) * RAD_PER_TICK;
        }
        if let Some(known) = self.known.as_ref().and_then(|known| known.joint(&settings.name)) {
            return by(known, ticks);
        }
        FOLDED_RAD.get(index).copied().unwrap_or(0.0) + f64::from(self.turned[index]) * RAD_PER_TICK
    }

    /// What a joint that reads `ticks` under the homing offset in force will read under a recorded calibration.
    fn reading_under(&self, index: usize, recorded: &JointCalibration, ticks: i32) -> i32 {
        match self.offsets[index].filter(|_| self.step != Step::Kept) {
            Some(offset) => (ticks + offset - recorded.homing_offset).rem_euclid(MAX_TICK + 1),
            None => ticks,
        }
    }

    /// Both arms are in the same pose: joints that disagree become findings. The gripper is left out, whose range differs
    /// from arm to arm.
    fn compare(&mut self) -> Result<(), BusError> {
        self.poll()?;
        let Some(other) = self.other.as_mut() else { return Ok(()) };
        let theirs = read_pose(&mut other.port, &other.calibration, &self.joints)?;
        let mine: Vec<f64> = (0..self.joints.len()).map(|joint| self.angle_rad(joint)).collect();
        self.findings.retain(|finding| !matches!(finding.problem, Problem::Apart { .. }));
        self.findings.extend(differences(&self.joints, &mine, &theirs));
        Ok(())
    }
}

/// Angles of a calibrated arm, rad; what does not answer is no number.
///
/// # Errors
/// [`BusError::Unplugged`].
pub fn read_pose(
    port: &mut ServoPort,
    calibration: &ArmCalibration,
    joints: &[JointSettings],
) -> Result<Vec<f64>, BusError> {
    let ids: Vec<u8> = joints.iter().filter_map(|joint| calibration.joint(&joint.name)).map(|joint| joint.id).collect();
    let read = port.sync_read(&ids, PRESENT_ADDRESS, PRESENT_LEN)?;
    let mut answers = read.answers.into_iter();
    let angle = |settings: &JointSettings| {
        let calibration = calibration.joint(&settings.name)?;
        let (block, _) = answers.next()??;
        let ticks = Register::PRESENT_POSITION.in_block(PRESENT_ADDRESS, &block)?;
        Some(AngleMap::new(calibration, settings.zero).to_rad(ticks))
    };
    Ok(joints.iter().map(angle).map(|angle| angle.unwrap_or(f64::NAN)).collect())
}

/// Joints of the body on which two arms in the same pose disagree, as findings about the first.
pub fn differences(joints: &[JointSettings], first_rad: &[f64], second_rad: &[f64]) -> Vec<Finding> {
    let names: Vec<&str> = joints.iter().map(|joint| joint.name.as_str()).filter(|name| *name != "gripper").collect();
    let apart = compare_poses(&names, first_rad, second_rad, SAME_POSE_RAD);
    apart.into_iter().map(|(joint, by_rad)| Finding { joint, problem: Problem::Apart { by_rad } }).collect()
}

/// `arm` with the joints of `newer` in place of its own.
fn put(arm: &mut ArmCalibration, newer: &ArmCalibration) {
    for (name, joint) in &newer.joints {
        match arm.joints.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = *joint,
            None => arm.joints.push((name.clone(), *joint)),
        }
    }
}

/// A difference of readings the shorter way round the turn.
fn shorter(ticks: i32) -> i32 {
    let turn = MAX_TICK + 1;
    (ticks + turn / 2).rem_euclid(turn) - turn / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::settings::DriverSettings;
    use crate::bus::virtual_bus::arms;
    use crate::bus::virtual_bus::sim_port::SharedBus;
    use std::sync::Arc;

    fn port(bus: &SharedBus) -> ServoPort {
        ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()))
    }

    fn joints() -> Vec<JointSettings> {
        DriverSettings::default().joints
    }

    const MIDDLE: [f64; 6] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.788];

    /// Moves each of these joints to both ends and back.
    fn sweep(bus: &SharedBus, guide: &mut Guide, which: &[usize], share: f64) {
        for joint in which {
            let (lower, upper) = arms::ends_rad()[*joint];
            for step in 0..=120 {
                let swing = (std::f64::consts::TAU * f64::from(step) / 120.0).sin() * share;
                let mut pose = MIDDLE;
                pose[*joint] = MIDDLE[*joint].clamp(lower, upper);
                let room = if swing > 0.0 { upper - pose[*joint] } else { pose[*joint] - lower };
                pose[*joint] += swing * room;
                bus.lock().place(&pose);
                guide.poll().unwrap();
            }
        }
    }

    fn at_review(bus: &SharedBus, other: Option<Other>) -> Guide {
        bus.lock().place(&FOLDED_RAD);
        let mut guide = Guide::new(port(bus), &joints(), None, None, other).unwrap();
        guide.poll().unwrap();
        guide.proceed().unwrap();
        // Seen as it moves, though nothing is known of it yet but where arms lie at rest.
        for step in 0..=50 {
            let share = f64::from(step) / 50.0;
            let pose: Vec<f64> = FOLDED_RAD.iter().zip(MIDDLE).map(|(a, b)| a + share * (b - a)).collect();
            bus.lock().place(&pose);
            guide.poll().unwrap();
        }
        let seen = guide.view();
        assert!(
            seen.joints.iter().zip(MIDDLE).all(|(joint, angle)| (joint.angle_rad - angle).abs() < 0.02),
            "{seen:#?}"
        );
        guide.proceed().unwrap();
        let error = guide.proceed().unwrap_err().to_string();
        assert!(error.contains("shoulder_pan"), "nothing moved yet: {error}");
        sweep(bus, &mut guide, &[0, 1, 2, 3, 5], 1.0);
        assert!(guide.view().joints.iter().all(|joint| joint.done));
        guide.proceed().unwrap();
        guide
    }

    #[test]
    fn it_leads_from_an_unknown_arm_to_a_calibrated_one() {
        let bus = SharedBus::new(arms::uncalibrated(4));
        let mut guide = at_review(&bus, None);
        assert_eq!((guide.step(), guide.findings()), (Step::Review, &[][..]));
        bus.lock().place(&[0.4, -0.5, 0.6, 0.7, 0.3, 0.2]);
        guide.poll().unwrap();
        let before = guide.view();
        assert!(guide.keep().unwrap() > 0);
        guide.poll().unwrap();
        let after = guide.view();
        for ((before, after), angle) in before.joints.iter().zip(&after.joints).zip([0.4, -0.5, 0.6, 0.7, 0.3, 0.2]) {
            // The model's ranges are not quite symmetric; LeRobot's zero is the middle of the range.
            assert!(
                (before.angle_rad - after.angle_rad).abs() < 0.004 && (after.angle_rad - angle).abs() < 0.1,
                "{after:?}"
            );
        }
        assert_eq!(guide.whole(), *guide.recorded());
    }

    #[test]
    fn one_joint_is_done_again_and_the_others_stay() {
        let bus = SharedBus::new(arms::uncalibrated(4));
        let mut guide = at_review(&bus, None);
        let first = guide.recorded().clone();
        assert!(guide.redo("elbow").is_err());
        guide.redo("elbow_flex").unwrap();
        let mut pose = MIDDLE;
        pose[2] = 0.1;
        bus.lock().place(&pose);
        guide.proceed().unwrap();
        assert_eq!(guide.view().next_joint(), Some("elbow_flex"));
        sweep(&bus, &mut guide, &[2], 1.0);
        guide.proceed().unwrap();
        let again = guide.recorded();
        assert_eq!(again.joints.len(), 6);
        assert_ne!(again.joint("elbow_flex"), first.joint("elbow_flex"));
        assert_eq!(again.joint("gripper"), first.joint("gripper"));
    }

    #[test]
    fn an_arm_that_disagrees_with_the_other_is_found() {
        let known = arms::calibration(9);
        let leader = SharedBus::new(arms::calibrated(&known, None));
        let bus = SharedBus::new(arms::uncalibrated(4));
        let other = Other { port: port(&leader), calibration: known };
        let mut guide = at_review(&bus, Some(other));
        assert_eq!(guide.step(), Step::Compare);
        bus.lock().place(&[0.3, -0.8, 0.5, 0.4, 0.2, 0.5]);
        leader.lock().place(&[0.3, -0.8, 0.5, 0.4, 0.5, 1.2]);
        guide.proceed().unwrap();
        let found: Vec<&str> = guide.findings().iter().map(|finding| finding.joint.as_str()).collect();
        assert_eq!(found, ["wrist_roll"], "{:?}", guide.findings());
    }

    #[test]
    fn the_wanted_pose_shows_what_to_do_next() {
        let bus = SharedBus::new(arms::uncalibrated(4));
        let mut guide = Guide::new(port(&bus), &joints(), None, None, None).unwrap();
        guide.proceed().unwrap();
        guide.proceed().unwrap();
        guide.poll().unwrap();
        let limits: Vec<(f64, f64)> = joints().iter().map(|joint| (joint.lower_rad, joint.upper_rad)).collect();
        let view = guide.view();
        assert_eq!(view.next_joint(), Some("shoulder_pan"));
        let ends: Vec<f64> = [0.0, 2.0].map(|time_s| view.wanted_rad(&limits, time_s).unwrap()[0]).to_vec();
        assert!((ends[0] + 1.92).abs() < 1e-9 && (ends[1] - 1.92).abs() < 1e-9, "{ends:?}");
        assert!(Guide::new(port(&bus), &joints(), None, Some("elbow_flex"), None).is_err());
    }
}
