//! The numbers LeRobot gives joints: degrees for those of the body, 0 (closed) to 100 (open) for the gripper. Datasets
//! and policies use them; inside everything is in radians. docs/dataset.md says how they were chosen.

use crate::arm::{ArmModel, JointKind};

/// Clipping is not looked for at a joint with these limits.
const NO_LIMITS: [f32; 2] = [-1e9, 1e9];

/// How LeRobot counts one joint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Degrees,
    /// Share of the way from closed to open, clamped to 0..100 as LeRobot clamps it.
    Percent {
        closed: f64,
        open: f64,
    },
    /// A sliding joint of the body, m; LeRobot has none.
    Metres,
}

/// How LeRobot counts the joints of an arm.
#[derive(Clone, Debug, PartialEq)]
pub struct JointUnits {
    units: Vec<Unit>,
    names: Vec<String>,
    limits: Vec<[f32; 2]>,
}

impl JointUnits {
    /// Units of an arm: its gripper is counted between its joint's limits.
    pub fn new(model: &ArmModel) -> Self {
        let gripper = model.gripper_joint();
        let units: Vec<Unit> = (model.joints.iter().enumerate())
            .map(|(index, joint)| match joint.kind {
                _ if index == gripper && joint.upper > joint.lower => {
                    Unit::Percent { closed: joint.lower, open: joint.upper }
                }
                JointKind::Revolute => Unit::Degrees,
                JointKind::Prismatic => Unit::Metres,
            })
            .collect();
        let limits = (units.iter().zip(&model.joints))
            .map(|(unit, joint)| match unit {
                // Grippers are meant to close and open all the way.
                Unit::Percent { .. } => NO_LIMITS,
                unit => [unit.to_lerobot(joint.lower), unit.to_lerobot(joint.upper)],
            })
            .collect();
        let names = model.joints.iter().map(|joint| format!("{}.pos", joint.name)).collect();
        Self { units, names, limits }
    }

    /// Names of the joints in LeRobot's manner, `shoulder_pan.pos`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Lowest and highest value of each joint; the gripper's are out of reach, since it is meant to go to its ends.
    pub fn limits(&self) -> &[[f32; 2]] {
        &self.limits
    }

    /// LeRobot's numbers for joint angles in rad.
    pub fn to_lerobot(&self, q_rad: &[f64]) -> Vec<f32> {
        self.units.iter().zip(q_rad).map(|(unit, q)| unit.to_lerobot(*q)).collect()
    }

    /// Joint angles in rad for LeRobot's numbers.
    pub fn to_rad(&self, values: &[f32]) -> Vec<f64> {
        self.units.iter().zip(values).map(|(unit, value)| unit.to_rad(f64::from(*value))).collect()
    }
}

impl Unit {
    fn to_lerobot(self, q: f64) -> f32 {
        match self {
            Self::Degrees => q.to_degrees() as f32,
            Self::Percent { closed, open } => ((q - closed) / (open - closed) * 100.0).clamp(0.0, 100.0) as f32,
            Self::Metres => q as f32,
        }
    }

    fn to_rad(self, value: f64) -> f64 {
        match self {
            Self::Degrees => value.to_radians(),
            Self::Percent { closed, open } => closed + value / 100.0 * (open - closed),
            Self::Metres => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Loaded, RunOptions};
    use std::f64::consts::TAU;

    #[test]
    fn the_so100_is_counted_as_lerobot_counts_it() {
        let model = Loaded::new(&RunOptions::default()).unwrap().model;
        let units = JointUnits::new(&model);
        assert_eq!(units.names()[..2], ["shoulder_pan.pos", "shoulder_lift.pos"]);
        let mut q: Vec<f64> = model.joints.iter().map(|joint| joint.upper).collect();
        let top = units.to_lerobot(&q);
        assert!((top[0] - 110.0).abs() < 0.1 && top[5] == 100.0, "{top:?}");
        q[5] = model.joints[5].lower - 0.01;
        assert_eq!(units.to_lerobot(&q)[5], 0.0);
    }

    #[test]
    fn whole_encoder_ticks_come_back_as_the_same_ticks() {
        let units = JointUnits::new(&Loaded::new(&RunOptions::default()).unwrap().model);
        let tick_rad = TAU / 4096.0;
        for tick in -100..1100 {
            let q = vec![f64::from(tick) * tick_rad; 6];
            let back = units.to_rad(&units.to_lerobot(&q));
            assert!(back.iter().all(|q| (q / tick_rad).round() as i32 == tick), "tick {tick}");
        }
    }
}
