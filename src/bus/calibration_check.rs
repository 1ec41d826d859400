//! Checks that catch a calibration that looks fine and is wrong.
//!
//! LeRobot accepts whatever was recorded; a joint that wrapped, a middle pose held wrong, or an end that was not reached
//! shows only when a policy trained elsewhere misses by centimetres.

use super::calibration::{HOMED_TICK, JointCalibration};
use super::calibration_file::ArmCalibration;
use super::registers::{MAX_TICK, RAD_PER_TICK};

/// What the arm model says about a joint.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedJoint {
    /// Joint name.
    pub name: String,
    /// Lower limit of the model, rad.
    pub lower_rad: f64,
    /// Upper limit of the model, rad.
    pub upper_rad: f64,
    /// Whether it turns without stops, so that its range is 0..=4095 by convention (the wrist roll).
    pub full_turn: bool,
    /// Whether its middle pose was held at homing, so that the middle of the range is near 2047 (all but the gripper).
    pub homed_at_middle: bool,
}

impl ExpectedJoint {
    /// What the driver's settings, whose limits are the arm model's, say about a joint.
    pub fn of(joint: &super::settings::JointSettings) -> Self {
        ExpectedJoint {
            name: joint.name.clone(),
            lower_rad: joint.lower_rad,
            upper_rad: joint.upper_rad,
            full_turn: joint.name == "wrist_roll",
            homed_at_middle: joint.name != "gripper",
        }
    }
}

/// What is wrong with a joint's calibration.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// The file has no such joint.
    Missing,
    /// The range touches the jump of the encoder from 4095 to 0.
    Wrapped {
        /// Lowest reading, ticks.
        range_min: i32,
        /// Highest reading, ticks.
        range_max: i32,
    },
    /// The range is narrower than the joint can move: an end was not reached.
    TooNarrow {
        /// Recorded width, rad.
        width_rad: f64,
        /// Width in the model, rad.
        expected_rad: f64,
    },
    /// The range is wider than the joint can move: it slipped, wrapped, or the horn is mounted a tooth off.
    TooWide {
        /// Recorded width, rad.
        width_rad: f64,
        /// Width in the model, rad.
        expected_rad: f64,
    },
    /// The pose held at homing was not the middle of the range.
    MiddleOff {
        /// How far, rad; positive: the middle of the range lies above the pose held.
        by_rad: f64,
    },
    /// A joint without stops does not have the range 0..=4095.
    NotFullTurn,
    /// It reads another angle than the same joint of another arm in the same pose.
    Apart {
        /// How far, rad; positive: it reads more than the other.
        by_rad: f64,
    },
}

/// A problem and the joint that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Joint name.
    pub joint: String,
    /// What is wrong.
    pub problem: Problem,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joint = &self.joint;
        match &self.problem {
            Problem::Missing => write!(f, "{joint}: not in the calibration; calibrate this joint"),
            Problem::Wrapped { range_min, range_max } => write!(
                f,
                "{joint}: the range {range_min}..{range_max} touches the encoder's jump from 4095 to 0; hold the joint at \
                 its middle and calibrate it again"
            ),
            Problem::TooNarrow { width_rad, expected_rad } => write!(
                f,
                "{joint}: moved through {:.0} degrees, can move through {:.0}; calibrate it again and reach both ends",
                width_rad.to_degrees(),
                expected_rad.to_degrees()
            ),
            Problem::TooWide { width_rad, expected_rad } => write!(
                f,
                "{joint}: moved through {:.0} degrees, can only move through {:.0}; check that its horn is screwed tight \
                 and calibrate it again",
                width_rad.to_degrees(),
                expected_rad.to_degrees()
            ),
            Problem::MiddleOff { by_rad } => write!(
                f,
                "{joint}: the pose held at the start was {:.0} degrees from the middle; compare with the picture of the \
                 middle pose and calibrate it again",
                by_rad.abs().to_degrees()
            ),
            Problem::Apart { by_rad } if by_rad.is_nan() => {
                write!(f, "{joint}: one of the two arms did not answer; check its cables with `etude doctor`")
            }
            Problem::Apart { by_rad } => write!(
                f,
                "{joint}: reads {:.0} degrees {} than the other arm in the same pose; a follower would be wrong by as much: \
                 calibrate this joint again, of the arm whose middle pose was held worse",
                by_rad.abs().to_degrees(),
                if *by_rad > 0.0 { "more" } else { "less" }
            ),
            Problem::NotFullTurn => {
                write!(f, "{joint}: turns without stops, so its range must be 0..4095; correct the file")
            }
        }
    }
}

/// Narrowest range that counts as both ends reached, as a fraction of the model's.
const NARROWEST: f64 = 0.85;
/// Widest range that counts as this joint, as a fraction of the model's. The model's limits are those of the collision-free
/// arm; real joints go a little further.
const WIDEST: f64 = 1.15;
/// Furthest the middle may be from the pose held at homing, rad. People hold it within some 10 degrees; a horn one tooth off
/// (25 teeth) is 14.
const MIDDLE_RAD: f64 = 0.24;

/// Everything suspicious in `arm`, joint by joint in the order of `expected`.
pub fn check(arm: &ArmCalibration, expected: &[ExpectedJoint]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for joint in expected {
        let problems = match arm.joint(&joint.name) {
            Some(calibration) => check_joint(calibration, joint),
            None => vec![Problem::Missing],
        };
        findings.extend(problems.into_iter().map(|problem| Finding { joint: joint.name.clone(), problem }));
    }
    findings
}

/// Everything suspicious in one joint's calibration.
pub fn check_joint(calibration: &JointCalibration, expected: &ExpectedJoint) -> Vec<Problem> {
    let (range_min, range_max) = (calibration.range_min, calibration.range_max);
    if expected.full_turn {
        let full = range_min == 0 && range_max == MAX_TICK;
        return if full { Vec::new() } else { vec![Problem::NotFullTurn] };
    }
    let mut problems = Vec::new();
    if range_min <= 2 || range_max >= MAX_TICK - 2 {
        problems.push(Problem::Wrapped { range_min, range_max });
    }
    let width_rad = calibration.width() * RAD_PER_TICK;
    let expected_rad = expected.upper_rad - expected.lower_rad;
    if width_rad < NARROWEST * expected_rad {
        problems.push(Problem::TooNarrow { width_rad, expected_rad });
    }
    if width_rad > WIDEST * expected_rad {
        problems.push(Problem::TooWide { width_rad, expected_rad });
    }
    let by_rad = (calibration.middle() - f64::from(HOMED_TICK)) * RAD_PER_TICK;
    if expected.homed_at_middle && by_rad.abs() > MIDDLE_RAD {
        problems.push(Problem::MiddleOff { by_rad });
    }
    problems
}

/// Joints on which two arms held in the same pose disagree by more than `tolerance_rad`, with the difference (first minus
/// second). Angles per joint, rad, in the same order.
pub fn compare_poses(names: &[&str], first_rad: &[f64], second_rad: &[f64], tolerance_rad: f64) -> Vec<(String, f64)> {
    let pairs = names.iter().zip(first_rad.iter().zip(second_rad));
    pairs
        .map(|(name, (first, second))| ((*name).to_owned(), first - second))
        // A reading that is no number is no agreement.
        .filter(|(_, difference)| difference.is_nan() || difference.abs() > tolerance_rad)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(name: &str, lower_rad: f64, upper_rad: f64) -> ExpectedJoint {
        let (full_turn, homed_at_middle) = (name == "wrist_roll", name != "gripper");
        ExpectedJoint { name: name.to_owned(), lower_rad, upper_rad, full_turn, homed_at_middle }
    }

    fn so100() -> Vec<ExpectedJoint> {
        // facts/so100.md 1, limits in the LeRobot zero.
        vec![
            expected("shoulder_pan", -1.92, 1.92),
            expected("shoulder_lift", -1.749, 1.745),
            expected("elbow_flex", -1.745, 1.569),
            expected("wrist_flex", -1.66, 1.66),
            expected("wrist_roll", -2.79, 2.79),
            expected("gripper", -0.174, 1.75),
        ]
    }

    fn arm() -> ArmCalibration {
        ArmCalibration::from_json(include_str!("../../tests/fixtures/bus/follower.json")).unwrap()
    }

    #[test]
    fn a_good_calibration_passes() {
        assert_eq!(check(&arm(), &so100()), []);
    }

    #[test]
    fn each_mistake_is_found_on_its_joint() {
        let mistakes: [(usize, i32, i32, fn(&Problem) -> bool); 5] = [
            (0, 0, 2520, |p| matches!(p, Problem::Wrapped { .. })),
            (1, 1500, 3000, |p| matches!(p, Problem::TooNarrow { .. })),
            (2, 300, 3900, |p| matches!(p, Problem::TooWide { .. })),
            (3, 1400, 3564, |p| matches!(p, Problem::MiddleOff { .. })),
            (4, 100, 4000, |p| matches!(p, Problem::NotFullTurn)),
        ];
        for (index, range_min, range_max, is_expected) in mistakes {
            let mut arm = arm();
            arm.joints[index].1 = JointCalibration { range_min, range_max, ..arm.joints[index].1 };
            let findings = check(&arm, &so100());
            assert!(findings.iter().any(|f| f.joint == arm.joints[index].0 && is_expected(&f.problem)), "{findings:?}");
            assert!(findings.iter().all(|f| f.joint == arm.joints[index].0), "{findings:?}");
        }
        let mut without = arm();
        without.joints.remove(5);
        assert_eq!(check(&without, &so100())[0].problem, Problem::Missing);
    }

    #[test]
    fn a_leader_seventeen_degrees_off_is_named() {
        let off = compare_poses(&["shoulder_pan", "wrist_roll"], &[0.1, 0.4], &[0.12, 0.1], 0.05);
        assert_eq!(off.len(), 1);
        assert_eq!(off[0].0, "wrist_roll");
        assert_eq!(compare_poses(&["gripper"], &[f64::NAN], &[0.0], 0.05).len(), 1);
    }
}
