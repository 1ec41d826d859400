//! What moves when an emulated servo drives: a small built-in model, or the simulated arm put behind the bus.

use crate::config::{AMBIENT_C, catalogue_stall_current_a, usual_cooling_s, usual_heating_c_s};

/// What a servo asks of its motor for the next step. Angles are joint angles of the arm model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServoDrive {
    /// Whether the motor is powered; if not, the joint is limp.
    pub torque_on: bool,
    /// Where the position loop pulls to, rad; already slowed to the servo's goal velocity.
    pub target_rad: f64,
    /// P gain register (0..=255).
    pub p_gain: u8,
    /// I gain register.
    pub i_gain: u8,
    /// D gain register.
    pub d_gain: u8,
    /// Fraction of full torque the servo may use, 0..=1.
    pub torque_limit: f64,
}

/// What a servo feels after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServoMotion {
    /// Joint angle, rad.
    pub position_rad: f64,
    /// Joint velocity, rad/s.
    pub velocity_rad_s: f64,
    /// Drive as a fraction of full torque, -1..=1.
    pub load: f64,
    /// Motor current, A.
    pub current_a: f64,
    /// Motor temperature, degrees Celsius.
    pub temperature_c: f64,
}

impl Default for ServoMotion {
    fn default() -> Self {
        ServoMotion { position_rad: 0.0, velocity_rad_s: 0.0, load: 0.0, current_a: 0.0, temperature_c: AMBIENT_C }
    }
}

impl ServoMotion {
    /// Takes in the drive of the last `dt_s`: load, current, and the heat of the windings.
    pub fn feel(&mut self, load: f64, dt_s: f64) {
        self.load = load;
        self.current_a = load.abs() * catalogue_stall_current_a();
        let cooling = (self.temperature_c - AMBIENT_C) / usual_cooling_s();
        self.temperature_c += dt_s * (usual_heating_c_s() * load * load - cooling);
    }
}

/// The mechanics behind the emulated servos.
pub trait ServoPlant: Send {
    /// Time of one step, s; the bus calls [`advance`](Self::advance) in exactly these.
    fn step_s(&self) -> f64 {
        0.001
    }

    /// A hand holds the limp joints at a pose, rad, with a person's strength, or lets go. Whether this plant has a hand: if not,
    /// limp joints are put where the hand would have them.
    fn hold(&mut self, _pose_rad: Option<&[f64]>) -> bool {
        false
    }

    /// Move on by `dt_s` under `drives`; `motions` holds the state before and receives the state after. One entry per servo,
    /// in the order the servos were put on the bus.
    fn advance(&mut self, dt_s: f64, drives: &[ServoDrive], motions: &mut [ServoMotion]);
}

/// One joint of [`SimplePlant`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimpleJoint {
    /// Inertia with the motor's armature, kg m^2.
    pub inertia_kg_m2: f64,
    /// Torque that acts on the joint from outside, Nm: gravity, a hand, an obstacle.
    pub external_nm: f64,
    /// Lower mechanical stop, rad.
    pub lower_rad: f64,
    /// Upper mechanical stop, rad.
    pub upper_rad: f64,
}

impl Default for SimpleJoint {
    fn default() -> Self {
        SimpleJoint { inertia_kg_m2: 0.04, external_nm: 0.0, lower_rad: -3.2, upper_rad: 3.2 }
    }
}

/// Independent second-order joints with the 12 V STS3215's identified constants (facts of BAM: 14.5 Nm/rad at P = 16, 0.6 Nm s/rad,
/// 2.94 Nm, friction 0.114 Nm).
#[derive(Clone, Debug, PartialEq)]
pub struct SimplePlant {
    /// Joints in bus order.
    pub joints: Vec<SimpleJoint>,
}

const STIFFNESS_PER_P_NM_RAD: f64 = 14.5 / 16.0;
const DAMPING_NM_S_RAD: f64 = 0.60;
const STALL_NM: f64 = 2.94;
const FRICTION_NM: f64 = 0.114;

impl SimplePlant {
    /// A plant of `count` default joints.
    pub fn new(count: usize) -> Self {
        SimplePlant { joints: vec![SimpleJoint::default(); count] }
    }
}

impl ServoPlant for SimplePlant {
    fn advance(&mut self, dt_s: f64, drives: &[ServoDrive], motions: &mut [ServoMotion]) {
        for ((joint, drive), motion) in self.joints.iter().zip(drives).zip(motions) {
            let limit_nm = if drive.torque_on { STALL_NM * drive.torque_limit.clamp(0.0, 1.0) } else { 0.0 };
            let stiffness = STIFFNESS_PER_P_NM_RAD * f64::from(drive.p_gain);
            let motor_nm = (stiffness * (drive.target_rad - motion.position_rad)).clamp(-limit_nm, limit_nm);
            // Damping (back-EMF, gears) is implicit, so that any step is stable.
            let push = motion.velocity_rad_s + dt_s * (motor_nm + joint.external_nm) / joint.inertia_kg_m2;
            let mut velocity = push / (1.0 + dt_s * DAMPING_NM_S_RAD / joint.inertia_kg_m2);
            let friction = dt_s * FRICTION_NM / joint.inertia_kg_m2;
            velocity = if velocity.abs() <= friction { 0.0 } else { velocity - friction * velocity.signum() };
            let mut position = motion.position_rad + dt_s * velocity;
            if position <= joint.lower_rad || position >= joint.upper_rad {
                position = position.clamp(joint.lower_rad, joint.upper_rad);
                velocity = 0.0;
            }
            motion.position_rad = position;
            motion.velocity_rad_s = velocity;
            motion.feel(motor_nm / STALL_NM, dt_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(plant: &mut SimplePlant, drive: ServoDrive, seconds: f64) -> ServoMotion {
        let mut motions = [ServoMotion::default()];
        for _ in 0..(seconds / 0.001) as usize {
            plant.advance(0.001, &[drive], &mut motions);
        }
        motions[0]
    }

    fn drive(target_rad: f64, torque_limit: f64) -> ServoDrive {
        ServoDrive { torque_on: true, target_rad, p_gain: 16, i_gain: 0, d_gain: 32, torque_limit }
    }

    #[test]
    fn reaches_a_target_within_the_friction_band() {
        let motion = settle(&mut SimplePlant::new(1), drive(0.5, 1.0), 2.0);
        assert!((motion.position_rad - 0.5).abs() < 0.012, "{motion:?}");
    }

    #[test]
    fn sags_under_a_load_and_stalls_against_a_stop() {
        let mut plant = SimplePlant::new(1);
        plant.joints[0].external_nm = -0.948;
        let sag = -settle(&mut plant, drive(0.0, 1.0), 3.0).position_rad;
        assert!((0.05..0.08).contains(&sag), "{sag}");
        plant.joints[0] = SimpleJoint { upper_rad: 0.1, ..SimpleJoint::default() };
        let stalled = settle(&mut plant, drive(1.0, 0.5), 3.0);
        assert_eq!((stalled.velocity_rad_s, stalled.load), (0.0, 0.5));
        assert!(stalled.temperature_c > 25.2);
    }

    #[test]
    fn without_torque_it_falls() {
        let mut plant = SimplePlant::new(1);
        plant.joints[0].external_nm = -0.5;
        let limp = ServoDrive { torque_on: false, ..drive(0.0, 1.0) };
        assert!(settle(&mut plant, limp, 3.0).position_rad < -1.5);
    }
}
