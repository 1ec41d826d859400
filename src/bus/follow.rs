//! A leader's pose as a follower's goal: mirrored, turned, with the jaws' ranges fitted, and approached smoothly at first.

use super::calibration::Zero;
use super::calibration_file::ArmCalibration;
use super::registers::{JOINT_NAMES, RAD_PER_TICK};
use super::settings::JointSettings;

/// Speed of the joint that has furthest to go while the follower glides to the leader's pose, rad/s.
const GLIDE_RAD_S: f64 = 0.5;
/// Closer than this on every joint, the follower has arrived, rad.
const ARRIVED_RAD: f64 = 0.02;

/// How a leader's joint angles become a follower's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeaderMap {
    /// The arms face each other like a person and a mirror: left and right are exchanged.
    pub mirror: bool,
    /// How far the follower's base is turned against the leader's, rad, positive to the left seen from above.
    pub turn_rad: f64,
    /// Closed and open end of the leader's gripper, rad.
    pub leader_gripper_rad: (f64, f64),
    /// Closed and open end of the follower's gripper, rad.
    pub follower_gripper_rad: (f64, f64),
}

impl LeaderMap {
    /// The follower's angles for the leader's, rad, in bus order.
    pub fn map(&self, leader_rad: &[f64]) -> Vec<f64> {
        let joints = leader_rad.iter().zip(JOINT_NAMES).map(|(angle, name)| match name {
            "shoulder_pan" if self.mirror => self.turn_rad - angle,
            "shoulder_pan" => self.turn_rad + angle,
            "wrist_roll" if self.mirror => -angle,
            "gripper" => {
                let ((from, to), (closed, open)) = (self.leader_gripper_rad, self.follower_gripper_rad);
                let share = if to > from { ((angle - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
                closed + share * (open - closed)
            }
            _ => *angle,
        });
        joints.collect()
    }
}

/// Both ends of a gripper as it was calibrated, rad.
pub fn gripper_range_rad(joints: &[JointSettings], calibration: &ArmCalibration) -> Option<(f64, f64)> {
    let joint = joints.iter().find(|joint| joint.name == "gripper")?;
    let calibrated = calibration.joint("gripper")?;
    let width_rad = calibrated.width() * RAD_PER_TICK;
    Some(match joint.zero {
        Zero::LowerEnd { lower_rad } => (lower_rad, lower_rad + width_rad),
        Zero::Middle { offset_rad } => (offset_rad - width_rad / 2.0, offset_rad + width_rad / 2.0),
    })
}

/// The way from where a follower stands to where its leader is, which may move meanwhile: what parts them shrinks steadily, on
/// all joints alike, while the follower takes part in the leader's movement.
#[derive(Clone, Debug, PartialEq)]
pub struct Glide {
    from_rad: Vec<f64>,
    apart_rad: Option<Vec<f64>>,
    arrived: bool,
}

impl Glide {
    /// Starts at the follower's angles, rad.
    pub fn from(from_rad: Vec<f64>) -> Self {
        Self { from_rad, apart_rad: None, arrived: false }
    }

    /// Whether the follower has met the leader and follows it directly.
    pub fn has_arrived(&self) -> bool {
        self.arrived
    }

    /// The goal for a leader now at `wanted_rad`, `dt_s` after the last one.
    pub fn next(&mut self, wanted_rad: &[f64], dt_s: f64) -> Vec<f64> {
        let at_first = || self.from_rad.iter().zip(wanted_rad).map(|(from, to)| from - to).collect();
        let apart = self.apart_rad.get_or_insert_with(at_first);
        let farthest = apart.iter().fold(0.0, |farthest: f64, joint| farthest.max(joint.abs()));
        self.arrived |= farthest < ARRIVED_RAD;
        if self.arrived {
            return wanted_rad.to_vec();
        }
        let left = (1.0 - GLIDE_RAD_S * dt_s / farthest).clamp(0.0, 1.0);
        apart.iter_mut().for_each(|joint| *joint *= left);
        wanted_rad.iter().zip(apart).map(|(to, joint)| to + *joint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: LeaderMap = LeaderMap {
        mirror: false,
        turn_rad: 0.0,
        leader_gripper_rad: (-0.174, 1.026),
        follower_gripper_rad: (-0.174, 1.726),
    };

    #[test]
    fn a_leader_is_turned_and_mirrored_and_its_jaws_are_fitted() {
        let leader = [0.4, -1.0, 0.9, 0.3, 0.5, 0.426];
        let plain = PLAIN.map(&leader);
        assert_eq!(plain[..5], leader[..5]);
        assert!((plain[5] - 0.776).abs() < 1e-12, "half open is half open: {}", plain[5]);
        let other = LeaderMap { mirror: true, turn_rad: 0.1, ..PLAIN }.map(&leader);
        assert!((other[0] + 0.3).abs() < 1e-12 && other[1..4] == leader[1..4] && other[4] == -0.5, "{other:?}");
        let squeezed = PLAIN.map(&[0.0, 0.0, 0.0, 0.0, 0.0, -0.5]);
        assert_eq!(squeezed[5], -0.174);
    }

    #[test]
    fn a_follower_glides_to_a_moving_leader_and_then_follows_at_once() {
        let mut glide = Glide::from(vec![0.0, 1.0]);
        let mut last = vec![0.0, 1.0];
        for step in 0..1000 {
            let wanted = [1.0 + 0.1 * (f64::from(step) * 0.01).sin(), 0.8];
            let goal = glide.next(&wanted, 0.01);
            if glide.has_arrived() {
                assert_eq!(goal, wanted);
                assert!((100..400).contains(&step), "{step}");
                return;
            }
            assert!(goal.iter().zip(&last).all(|(new, old)| (new - old).abs() < 0.0062), "{goal:?} {last:?}");
            last = goal;
        }
        panic!("it never arrived");
    }
}
