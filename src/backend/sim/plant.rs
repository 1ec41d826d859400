//! The simulated arm as the mechanics behind emulated servos: a client of the virtual arm drives the simulation.

use crate::bus::virtual_bus::plant::{ServoDrive, ServoMotion, ServoPlant};
use crate::rig::Rig;

/// A simulated arm for [`VirtualBus`](crate::bus::virtual_bus::VirtualBus). Its servos must be those of the bus, joint by joint.
pub struct SimPlant {
    rig: Rig,
    step_s: f64,
    stiffness_per_p_nm_rad: f64,
    full_torque_nm: f64,
}

/// Stiffness of a joint without torque, Nm/rad: nothing, but not zero, by which a limit is divided.
const LIMP_NM_RAD: f32 = 1e-6;

impl SimPlant {
    /// The arm of `rig`, whose physics steps `step_hz` times a second.
    pub fn new(mut rig: Rig, step_hz: u32) -> Self {
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
        }
    }
}

impl ServoPlant for SimPlant {
    fn step_s(&self) -> f64 {
        self.step_s
    }

    fn advance(&mut self, dt_s: f64, drives: &[ServoDrive], motions: &mut [ServoMotion]) {
        for (servo, drive) in self.rig.servos.iter_mut().zip(drives) {
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
        for ((servo, (angle, velocity)), motion) in self.rig.servos.iter().zip(motion).zip(motions) {
            motion.position_rad = f64::from(angle);
            motion.velocity_rad_s = f64::from(velocity);
            motion.feel(f64::from(servo.torque_nm(angle, 0.0)) / self.full_torque_nm, dt_s);
        }
    }
}
