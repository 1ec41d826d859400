//! The simulated arm as the mechanics behind emulated servos: a client of the virtual arm drives the simulation.

use super::servo::LIMP_NM_RAD;
use crate::bus::virtual_bus::plant::{ServoDrive, ServoMotion, ServoPlant};
use crate::rig::Rig;
use bevy_rapier3d::rapier::math::Pose;
use std::sync::{Arc, Mutex, PoisonError};

/// A simulated arm for [`VirtualBus`](crate::bus::virtual_bus::VirtualBus). Its servos must be those of the bus, joint by joint.
pub struct SimPlant {
    rig: Rig,
    step_s: f64,
    stiffness_per_p_nm_rad: f64,
    full_torque_nm: f64,
    hand_rad: Option<Vec<f64>>,
    props: PropPoses,
}

/// Where the objects of a simulated arm are, for whoever looks on.
pub type PropPoses = Arc<Mutex<Vec<Pose>>>;

/// Stiffness and strength of a hand that holds a joint, Nm/rad and Nm: it carries the arm, and yields to the table.
const HAND_NM_RAD: f32 = 30.0;
const HAND_NM: f32 = 3.0;

impl SimPlant {
    /// Where the rig's objects are after each step.
    pub fn props(&self) -> PropPoses {
        self.props.clone()
    }

    /// The arm of `rig`, whose physics steps `step_hz` times a second.
    pub fn new(mut rig: Rig, step_hz: u32) -> Self {
        let objects = rig.physics(|physics| physics.prop_count());
        let servo = rig.arm.servo.clone();
        for servo in &mut rig.servos {
            // The emulated servo counts whole ticks already, in its own zero.
            servo.tick_rad = 0.0;
        }
        Self {
            rig,
            step_s: 1.0 / f64::from(step_hz.max(1)),
            stiffness_per_p_nm_rad: servo.stiffness_per_p_nm_rad,
            full_torque_nm: servo.torque_limit_nm,
            hand_rad: None,
            props: Arc::new(Mutex::new(vec![Pose::IDENTITY; objects])),
        }
    }
}

impl ServoPlant for SimPlant {
    fn step_s(&self) -> f64 {
        self.step_s
    }

    fn hold(&mut self, pose_rad: Option<&[f64]>) -> bool {
        self.hand_rad = pose_rad.map(<[f64]>::to_vec);
        true
    }

    fn advance(&mut self, dt_s: f64, drives: &[ServoDrive], motions: &mut [ServoMotion]) {
        for (joint, (servo, drive)) in self.rig.servos.iter_mut().zip(drives).enumerate() {
            let hand_rad = self.hand_rad.as_ref().and_then(|hand| hand.get(joint)).filter(|_| !drive.torque_on);
            if let Some(hand_rad) = hand_rad {
                (servo.stiffness_nm_rad, servo.torque_limit_nm) = (HAND_NM_RAD, HAND_NM);
                servo.command(*hand_rad);
                continue;
            }
            let (stiffness, torque) = if drive.torque_on {
                let stiffness = self.stiffness_per_p_nm_rad * f64::from(drive.p_gain);
                (stiffness as f32, self.full_torque_nm * drive.torque_limit.clamp(0.0, 1.0))
            } else {
                (0.0, 0.0)
            };
            servo.stiffness_nm_rad = stiffness.max(LIMP_NM_RAD);
            servo.torque_limit_nm = torque as f32;
            servo.command(drive.target_rad);
        }
        self.rig.step();
        let motion = self.rig.physics(|physics| physics.joint_motion(0));
        let mut props = self.props.lock().unwrap_or_else(PoisonError::into_inner);
        for (object, pose) in props.iter_mut().enumerate() {
            *pose = self.rig.prop(object).pose;
        }
        drop(props);
        for (((servo, (angle, velocity)), motion), drive) in self.rig.servos.iter().zip(motion).zip(motions).zip(drives)
        {
            motion.position_rad = f64::from(angle);
            motion.velocity_rad_s = f64::from(velocity);
            let load = if drive.torque_on { f64::from(servo.torque_nm(angle, 0.0)) / self.full_torque_nm } else { 0.0 };
            motion.feel(load, dt_s);
        }
    }
}
