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
    /// What its joints may do to themselves. Left out: what the shipped arm allows.
    #[serde(default)]
    pub safety: SafetyConfig,
    /// Rest pose in degrees, one per joint in bus order, gripper last.
    pub rest_deg: Vec<f64>,
}

/// What the joints of an arm, simulated or real, may do to themselves: the same for the application and the driver of a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SafetyConfig {
    /// Furthest the target of a joint may be from where the joint is, rad: bounds its torque, and the jump when an obstacle
    /// gives way.
    pub max_lead_rad: f64,
    /// Share of the servo's torque at which a joint that stands still counts as pushing against something; after
    /// [`STALL_AFTER_S`] it yields. The gripper is meant to push.
    pub stall_load: f64,
    /// Current above which a joint yields after [`OVERCURRENT_AFTER_S`], A.
    pub max_current_a: f64,
    /// The same for the gripper, A.
    pub gripper_max_current_a: f64,
    /// Temperature above which the arm parks and lets go, degrees Celsius; the servos protect themselves at 70.
    pub max_temperature_c: f64,
}

/// How long a joint pushes at standstill before it yields, s.
pub const STALL_AFTER_S: f64 = 0.5;
/// How long a joint may be over its current before it yields, s.
pub const OVERCURRENT_AFTER_S: f64 = 0.2;

impl Default for SafetyConfig {
    fn default() -> Self {
        Self {
            max_lead_rad: 0.5,
            stall_load: 0.7,
            max_current_a: 2.2,
            gripper_max_current_a: 1.4,
            max_temperature_c: 62.0,
        }
    }
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
        let safety = &self.safety;
        problems.range("max_lead_rad", safety.max_lead_rad, 0.05, 3.0, "rad");
        problems.range("stall_load", safety.stall_load, 0.05, 1.0, "");
        problems.range("max_current_a", safety.max_current_a, 0.1, 4.0, "A");
        problems.range("gripper_max_current_a", safety.gripper_max_current_a, 0.1, 4.0, "A");
        problems.range("max_temperature_c", safety.max_temperature_c, 30.0, 75.0, "degrees Celsius");
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
    /// Current at its largest torque, A; in proportion below.
    #[serde(default = "catalogue_stall_current_a")]
    pub stall_current_a: f64,
    /// How fast it warms at its largest torque, degrees Celsius per second; with the square of the torque below.
    #[serde(default = "usual_heating_c_s")]
    pub heating_c_s: f64,
    /// Time in which it gives off all but a third of its warmth, s.
    #[serde(default = "usual_cooling_s")]
    pub cooling_s: f64,
    /// Encoder ticks per turn.
    pub ticks_per_turn: u32,
}

/// Temperature of a room and of a servo that rests in it, degrees Celsius.
pub const AMBIENT_C: f64 = 25.0;

/// Stall current of the 12 V servo, A (DFRobot's data sheet).
pub const fn catalogue_stall_current_a() -> f64 {
    2.7
}

/// Warming at stall, degrees Celsius per second: 12 V times 2.7 A are 32 W, all of it heat, into 55 g (data sheet) of steel,
/// copper and plastic of about 1 J/(g K), less what its shell gives off meanwhile. A servo held at stall is at its own limit
/// of 70 degrees within two minutes.
pub const fn usual_heating_c_s() -> f64 {
    0.5
}

/// Cooling of a shell of 40 cm² in still air, s: 55 J/K over about 0.3 W/K with what the bracket takes.
pub const fn usual_cooling_s() -> f64 {
    200.0
}

impl Validate for ServoProfile {
    fn validate(&self, problems: &mut Problems) {
        problems.range("voltage_v", self.voltage_v, 4.0, 16.0, "V");
        problems.range("stiffness_per_p_nm_rad", self.stiffness_per_p_nm_rad, 0.01, 10.0, "Nm/rad");
        problems.range("damping_nm_s_rad", self.damping_nm_s_rad, 0.0, 20.0, "Nm s/rad");
        problems.range("torque_limit_nm", self.torque_limit_nm, 0.05, 50.0, "Nm");
        problems.range("friction_nm", self.friction_nm, 0.0, 2.0, "Nm");
        problems.range("armature_kg_m2", self.armature_kg_m2, 0.001, 1.0, "kg m²");
        problems.range("stall_current_a", self.stall_current_a, 0.1, 50.0, "A");
        problems.range("heating_c_s", self.heating_c_s, 0.0, 50.0, "degrees Celsius/s");
        problems.range("cooling_s", self.cooling_s, 1.0, 100_000.0, "s");
        problems.range("ticks_per_turn", f64::from(self.ticks_per_turn), 64.0, 1_000_000.0, "");
    }
}

impl ServoProfile {
    /// Stiffness in Nm/rad at a value of the P gain register.
    pub fn stiffness_nm_rad(&self, p_gain: u8) -> f64 {
        self.stiffness_per_p_nm_rad * f64::from(p_gain)
    }

    /// Current at a torque, A.
    pub fn current_a(&self, torque_nm: f64) -> f64 {
        torque_nm.abs() / self.torque_limit_nm * self.stall_current_a
    }

    /// Temperature, degrees Celsius, after `dt_s` at a torque that began at `temperature_c`.
    pub fn warmed_c(&self, temperature_c: f64, torque_nm: f64, dt_s: f64) -> f64 {
        let load = torque_nm / self.torque_limit_nm;
        temperature_c + dt_s * (self.heating_c_s * load * load - (temperature_c - AMBIENT_C) / self.cooling_s)
    }
}
