//! Emulated arms as a person meets them: calibrated, fresh from assembly, or six motors in a box; and the hand that moves a
//! limp one.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::VirtualBus;
use super::plant::{ServoPlant, SimpleJoint, SimplePlant};
use super::servo::VirtualServo;
use crate::bus::calibration::{HOMED_TICK, JointCalibration, Zero};
use crate::bus::calibration_file::ArmCalibration;
use crate::bus::registers::{JOINT_IDS, JOINT_NAMES, MAX_TICK, RAD_PER_TICK, Register};
use crate::bus::settings::{DriverSettings, JointSettings};

/// Supply of a follower, V.
pub const FOLLOWER_V: f64 = 12.0;
/// Supply of a leader, V.
pub const LEADER_V: f64 = 7.4;
/// Where an arm lies when it is switched on, rad: folded on itself.
pub const FOLDED_RAD: [f64; 6] = [0.0, -1.70, 1.50, 1.15, 0.0, 0.0];

/// A calibration as a careful person would have made it on the arm with this seed.
pub fn calibration(seed: u64) -> ArmCalibration {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let joints = DriverSettings::default().joints;
    let calibrated = joints.iter().zip(JOINT_IDS).map(|(joint, id)| {
        let homing_offset = rng.random_range(-1800..=1800);
        let half = (width_rad(joint) / RAD_PER_TICK / 2.0).round() as i32;
        let (range_min, range_max) =
            if joint.name == "wrist_roll" { (0, MAX_TICK) } else { (HOMED_TICK - half, HOMED_TICK + half) };
        (joint.name.clone(), JointCalibration { id, drive_mode: 0, homing_offset, range_min, range_max })
    });
    ArmCalibration { joints: calibrated.collect() }
}

fn width_rad(joint: &JointSettings) -> f64 {
    joint.upper_rad - joint.lower_rad
}

/// Where the joints of the emulated arm end, rad: as far apart as in the arm model, about the zero a calibration gives.
pub fn ends_rad() -> Vec<(f64, f64)> {
    let joints = DriverSettings::default().joints;
    let ends = joints.iter().map(|joint| match joint.zero {
        Zero::Middle { offset_rad } => (offset_rad - width_rad(joint) / 2.0, offset_rad + width_rad(joint) / 2.0),
        Zero::LowerEnd { lower_rad } => (lower_rad, lower_rad + width_rad(joint)),
    });
    ends.collect()
}

fn plant() -> Box<SimplePlant> {
    let joints = ends_rad().into_iter().map(|(lower_rad, upper_rad)| SimpleJoint {
        lower_rad,
        upper_rad,
        ..SimpleJoint::default()
    });
    Box::new(SimplePlant { joints: joints.collect() })
}

/// An arm whose servos hold `calibration`, with the built-in mechanics or others.
pub fn calibrated(calibration: &ArmCalibration, mechanics: Option<Box<dyn ServoPlant>>) -> VirtualBus {
    let joints = DriverSettings::default().joints;
    let servos = joints.iter().filter_map(|joint| {
        let calibration = calibration.joint(&joint.name)?;
        Some(VirtualServo::calibrated(calibration, joint.zero))
    });
    VirtualBus::new(servos.collect(), mechanics.unwrap_or_else(|| plant()))
}

/// An assembled arm that was never calibrated: ids are set, encoders sit as they came to sit, other for every seed.
pub fn uncalibrated(seed: u64) -> VirtualBus {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let servos = JOINT_IDS.into_iter().map(|id| {
        let middle = rng.random_range(0..=MAX_TICK);
        let (range_min, range_max) = (middle - 1000, middle + 1000);
        let mount = JointCalibration { id, drive_mode: 0, homing_offset: 0, range_min, range_max };
        let mut servo = VirtualServo::calibrated(&mount, Zero::Middle { offset_rad: 0.0 });
        // As an assembled arm has them: the whole turn is allowed.
        servo.write(Register::LOCK.address, &[0]);
        servo.write(Register::MIN_POSITION.address, &[0, 0, 0xFF, 0x0F]);
        servo.write(Register::LOCK.address, &[1]);
        servo
    });
    VirtualBus::new(servos.collect(), plant())
}

/// Motors as they come from the shop: all with id 1. Connect them with [`MotorBox::connect`].
#[derive(Debug)]
pub struct MotorBox {
    motors: Vec<Option<VirtualServo>>,
}

impl MotorBox {
    /// Six motors, and a bus to which none of them is connected.
    pub fn new() -> (Self, VirtualBus) {
        let mut bus = VirtualBus::factory_new(JOINT_IDS.len());
        let motors = bus.servos_mut().drain(..).map(Some).collect();
        (Self { motors }, bus)
    }

    /// Connect the motors of these numbers (from 0) and no others; numbers there are none of are passed over.
    pub fn connect(&mut self, bus: &mut VirtualBus, numbers: &[usize]) {
        for motor in bus.servos_mut().drain(..) {
            if let Some(place) = self.motors.iter_mut().find(|place| place.is_none()) {
                *place = Some(motor);
            }
        }
        // In their own order, so that each finds its place in the box again.
        for (_, place) in self.motors.iter_mut().enumerate().filter(|(number, _)| numbers.contains(number)) {
            if let Some(mut motor) = place.take() {
                motor.power_up();
                bus.servos_mut().push(motor);
            }
        }
    }
}

/// What a hand does with a limp arm.
#[derive(Clone, Debug, PartialEq)]
pub enum Hand {
    /// Nothing: it lies or stands where it is.
    Still,
    /// Brings the joints to a pose, rad, and holds them there.
    Pose(Vec<f64>),
    /// Moves each joint in turn to both of its ends, the wrist roll excepted, which has none.
    Sweep,
    /// Moves the whole arm gently about, on and on.
    Wave,
}

/// Speed of the hand, rad/s.
const HAND_RAD_S: f64 = 2.0;

impl Hand {
    /// Where the joints are `dt_s` later; `stage` counts the ends reached so far in a sweep, `time_s` the time in a wave.
    pub fn step(&mut self, at_rad: &[f64], dt_s: f64, stage: &mut usize, time_s: &mut f64) -> Vec<f64> {
        let towards = |goal: &[f64]| -> Vec<f64> {
            let step = HAND_RAD_S * dt_s;
            at_rad.iter().zip(goal).map(|(at, goal)| at + (goal - at).clamp(-step, step)).collect()
        };
        match self {
            Hand::Still => at_rad.to_vec(),
            Hand::Pose(goal) => towards(goal),
            Hand::Sweep => {
                let ends = ends_rad();
                let (joint, end) = (*stage / 3, *stage % 3);
                let Some((lower, upper)) = ends.get(joint) else {
                    *self = Hand::Still;
                    *stage = 0;
                    return at_rad.to_vec();
                };
                // Down, up, and back to the middle, so that the next joint has room.
                let to = [*lower, *upper, 0.5 * (lower + upper)][end];
                let mut goal = at_rad.to_vec();
                if let Some(angle) = goal.get_mut(joint) {
                    *angle = to;
                }
                let endless = JOINT_NAMES.get(joint) == Some(&"wrist_roll");
                if endless || at_rad.get(joint).is_none_or(|at| (at - to).abs() < 1e-6) {
                    *stage += 1;
                }
                if endless {
                    return at_rad.to_vec();
                }
                towards(&goal)
            }
            Hand::Wave => {
                *time_s += dt_s;
                let phase = |period_s: f64| (std::f64::consts::TAU * *time_s / period_s).sin();
                let goal = [
                    0.7 * phase(7.0),
                    -0.5 + 0.5 * phase(9.0),
                    0.5 + 0.4 * phase(8.0),
                    0.6 + 0.3 * phase(5.0),
                    0.6 * phase(6.0),
                    0.7 + 0.6 * phase(4.0),
                ];
                towards(&goal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::calibration_check::{ExpectedJoint, check};

    #[test]
    fn what_a_careful_person_makes_passes_the_checks() {
        let expected: Vec<ExpectedJoint> = DriverSettings::default().joints.iter().map(ExpectedJoint::of).collect();
        for seed in 0..20 {
            assert_eq!(check(&calibration(seed), &expected), []);
        }
        assert_ne!(calibration(1), calibration(2));
    }

    #[test]
    fn a_sweep_reaches_every_end_and_stops() {
        let (mut hand, mut stage, mut time_s) = (Hand::Sweep, 0, 0.0);
        let mut at = FOLDED_RAD.to_vec();
        let mut seen: Vec<(f64, f64)> = at.iter().map(|angle| (*angle, *angle)).collect();
        for _ in 0..3000 {
            at = hand.step(&at, 0.02, &mut stage, &mut time_s);
            for (seen, angle) in seen.iter_mut().zip(&at) {
                *seen = (seen.0.min(*angle), seen.1.max(*angle));
            }
        }
        assert_eq!(hand, Hand::Still);
        for ((seen, ends), name) in seen.iter().zip(ends_rad()).zip(JOINT_NAMES) {
            let endless = name == "wrist_roll";
            assert!(endless || ((seen.0 - ends.0).abs() < 1e-6 && (seen.1 - ends.1).abs() < 1e-6), "{seen:?} {ends:?}");
        }
    }

    #[test]
    fn motors_keep_what_they_learned_when_they_are_unplugged() {
        let (mut motors, mut bus) = MotorBox::new();
        motors.connect(&mut bus, &[2]);
        assert_eq!(bus.servos().len(), 1);
        bus.servos_mut()[0].write(Register::LOCK.address, &[0]);
        bus.servos_mut()[0].write(Register::ID.address, &[5]);
        motors.connect(&mut bus, &[0, 1, 2, 3, 4, 5, 6]);
        let ids: Vec<u8> = bus.servos().iter().map(VirtualServo::id).collect();
        assert_eq!((ids.len(), ids.iter().filter(|id| **id == 5).count()), (6, 1));
    }
}
