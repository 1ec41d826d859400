//! `configs/arm/*.ron` and `configs/servo/*.ron`.

use super::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// One arm as it stands on the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmConfig {
    /// URDF file, relative to the home folder.
    pub urdf: String,
    /// Servo profile, a name in `configs/servo`.
    pub servo: String,
    /// Position gain register of the servos: LeRobot writes 16, the servo's own default is 32.
    pub p_gain: u8,
    /// Share of the torque limit the gripper may use; LeRobot sets 0.5 so that it does not cook itself while squeezing.
    pub gripper_torque_fraction: f64,
    /// Fastest change of a joint's target, rad/s; the servo's own limit is 3400 ticks/s, 5.2 rad/s.
    pub max_velocity_rad_s: f64,
    /// Play between motor and joint, degrees, total; 0.5 by specification, 0.9 to 1.3 measured on worn gears.
    pub backlash_deg: f64,
    /// Time from a command to its effect, s; rounded to whole control ticks.
    pub command_delay_s: f64,
    /// Whether targets are kept from taking the hand through the table top; not for an arm at a table's edge that reaches
    /// below it. Left out: they are.
    #[serde(default = "kept_above")]
    pub hand_above_table: bool,
    /// Rest pose in degrees, one per joint in bus order, gripper last.
    pub rest_deg: Vec<f64>,
}

fn kept_above() -> bool {
    true
}

impl Validate for ArmConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.range("p_gain", f64::from(self.p_gain), 1.0, 254.0, "");
        problems.range("gripper_torque_fraction", self.gripper_torque_fraction, 0.05, 1.0, "");
        problems.range("max_velocity_rad_s", self.max_velocity_rad_s, 0.05, 20.0, "rad/s");
        problems.range("backlash_deg", self.backlash_deg, 0.0, 10.0, "degrees");
        problems.range("command_delay_s", self.command_delay_s, 0.0, 1.0, "s");
        for angle in &self.rest_deg {
            problems.range("rest_deg", *angle, -180.0, 180.0, "degrees");
        }
    }
}

/// A servo as a motor: what turns position error into torque. Sources stand in the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoProfile {
    /// Supply voltage, V.
    pub voltage_v: f64,
    /// Stiffness at the joint per unit of the P gain register, Nm/rad.
    pub stiffness_per_p_nm_rad: f64,
    /// Back-EMF and viscous damping, Nm s/rad.
    pub damping_nm_s_rad: f64,
    /// Largest torque of the position loop, Nm.
    pub torque_limit_nm: f64,
    /// Dry friction of the gear train, Nm.
    pub friction_nm: f64,
    /// Rotor inertia seen at the joint, kg m².
    pub armature_kg_m2: f64,
    /// Encoder ticks per turn.
    pub ticks_per_turn: u32,
}

impl Validate for ServoProfile {
    fn validate(&self, problems: &mut Problems) {
        problems.range("voltage_v", self.voltage_v, 4.0, 16.0, "V");
        problems.range("stiffness_per_p_nm_rad", self.stiffness_per_p_nm_rad, 0.01, 10.0, "Nm/rad");
        problems.range("damping_nm_s_rad", self.damping_nm_s_rad, 0.0, 20.0, "Nm s/rad");
        problems.range("torque_limit_nm", self.torque_limit_nm, 0.05, 50.0, "Nm");
        problems.range("friction_nm", self.friction_nm, 0.0, 2.0, "Nm");
        problems.range("armature_kg_m2", self.armature_kg_m2, 0.001, 1.0, "kg m²");
        problems.range("ticks_per_turn", f64::from(self.ticks_per_turn), 64.0, 1_000_000.0, "");
    }
}

impl ServoProfile {
    /// Stiffness in Nm/rad at a value of the P gain register.
    pub fn stiffness_nm_rad(&self, p_gain: u8) -> f64 {
        self.stiffness_per_p_nm_rad * f64::from(p_gain)
    }
}
