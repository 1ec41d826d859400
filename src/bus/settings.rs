//! Settings of the bus driver and of each joint; machine-independent, so they can live in a profile.

use serde::{Deserialize, Serialize};

use super::calibration::{JointCalibration, Zero};
use super::error::BusError;
use crate::arm::{ArmModel, Floor};
use crate::config::ArmConfig;
use std::sync::Arc;

use super::registers::{AMPERE_PER_UNIT, JOINT_NAMES, RAD_S_PER_TICK_S, Register};

/// Settings of the driver of one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverSettings {
    /// Cycles per second.
    pub rate_hz: f64,
    /// Baud rate.
    pub baud: u32,
    /// How long to wait for answers beyond their time on the wire, s.
    pub reply_timeout_s: f64,
    /// Whether this arm may be powered: true for a follower, false for a leader that is moved by hand.
    pub powered: bool,
    /// Without a new goal for this long the arm holds still, s.
    pub hold_after_s: f64,
    /// Without a new goal for this long the arm parks and goes limp, s.
    pub park_after_s: f64,
    /// Speed at which the arm parks, and approaches a goal after it was enabled or interrupted, rad/s.
    pub slow_velocity_rad_s: f64,
    /// Longest a park may take before the torque goes off all the same, s.
    pub park_timeout_s: f64,
    /// Pause between attempts to open a port that is gone, s.
    pub reconnect_every_s: f64,
    /// Whether a servo whose homing or limits differ from the calibration is rewritten (else it gets no torque).
    pub write_calibration: bool,
    /// Whether the driver's thread asks the system to be woken before others: real-time priority where the user may have it.
    pub punctual: bool,
    /// The table under the arm's hand, through which no goal takes it; nothing: it is not looked at. Comes from the arm's
    /// model, not from a file.
    #[serde(skip)]
    pub floor: Option<Floor>,
    /// The joints in bus order.
    pub joints: Vec<JointSettings>,
}

/// Settings of one joint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointSettings {
    /// Joint name, as in the calibration.
    pub name: String,
    /// Where the joint angle is zero.
    pub zero: Zero,
    /// Lower limit of goals, rad.
    pub lower_rad: f64,
    /// Upper limit of goals, rad.
    pub upper_rad: f64,
    /// Where the joint goes before its torque is released, rad.
    pub park_rad: f64,
    /// Fastest change of the goal, rad/s.
    pub max_velocity_rad_s: f64,
    /// Furthest the goal may be from the joint, rad: bounds the torque and the jump when an obstacle gives way.
    pub max_lead_rad: f64,
    /// The same after a stall, rad.
    pub stall_lead_rad: f64,
    /// Load (fraction of full torque) at standstill that counts as a stall after half a second.
    pub stall_load: f64,
    /// Torque the servo may use, fraction of full torque.
    pub torque_limit: f64,
    /// Current above which the joint yields, A.
    pub max_current_a: f64,
    /// Temperature at which the arm parks, degrees Celsius.
    pub max_temperature_c: f64,
    /// Position loop gains P, I, D.
    pub gains: [u8; 3],
    /// Load at which the servo protects itself, percent.
    pub overload_percent: u8,
    /// Current at which the servo protects itself, A.
    pub protection_current_a: f64,
}

impl Default for DriverSettings {
    /// An SO-100 follower: limits of the arm model in LeRobot's zero (menagerie's, `facts/so100.md`), LeRobot's gains and
    /// gripper protection, park pose = folded rest pose.
    fn default() -> Self {
        let limits = [(-1.92, 1.92), (-1.749, 1.745), (-1.745, 1.569), (-1.66, 1.66), (-2.79, 2.79), (-0.174, 1.75)];
        let park = [0.0, -1.70, 1.50, 1.15, 0.0, 0.0];
        let joints = JOINT_NAMES.iter().zip(limits).zip(park).map(|((name, (lower_rad, upper_rad)), park_rad)| {
            let gripper = *name == "gripper";
            JointSettings {
                name: (*name).to_owned(),
                zero: if gripper { Zero::LowerEnd { lower_rad } } else { Zero::Middle { offset_rad: 0.0 } },
                lower_rad,
                upper_rad,
                park_rad,
                max_velocity_rad_s: 3.0,
                max_lead_rad: 0.5,
                stall_lead_rad: if gripper { 0.045 } else { 0.12 },
                stall_load: if gripper { 0.3 } else { 0.7 },
                torque_limit: if gripper { 0.5 } else { 1.0 },
                max_current_a: if gripper { 1.4 } else { 2.2 },
                max_temperature_c: 62.0,
                gains: [16, 0, 32],
                overload_percent: if gripper { 25 } else { 80 },
                protection_current_a: if gripper { 250.0 * AMPERE_PER_UNIT } else { 500.0 * AMPERE_PER_UNIT },
            }
        });
        DriverSettings {
            rate_hz: 100.0,
            baud: 1_000_000,
            reply_timeout_s: 0.008,
            powered: true,
            hold_after_s: 0.2,
            park_after_s: 2.0,
            slow_velocity_rad_s: 0.6,
            park_timeout_s: 8.0,
            reconnect_every_s: 0.2,
            write_calibration: false,
            punctual: true,
            floor: None,
            joints: joints.collect(),
        }
    }
}

impl DriverSettings {
    /// The settings of an arm with the geometry of `model` that is set up as `config` says: limits, table, gain of the
    /// position loop, the gripper's torque, what joints may do to themselves, speed where it is below the driver's own. Joints of other names keep the
    /// defaults.
    pub fn of_arm(model: &Arc<ArmModel>, config: &ArmConfig) -> Self {
        let mut settings = Self { floor: config.hand_above_table.then(|| Floor::new(model)), ..Self::default() };
        for joint in &mut settings.joints {
            let Some(found) = model.joint_index(&joint.name).map(|index| &model.joints[index]) else { continue };
            (joint.lower_rad, joint.upper_rad) = (found.lower, found.upper);
            if let Zero::LowerEnd { lower_rad } = &mut joint.zero {
                *lower_rad = found.lower;
            }
            joint.park_rad = joint.park_rad.clamp(found.lower, found.upper);
            joint.max_velocity_rad_s = joint.max_velocity_rad_s.min(config.max_velocity_rad_s);
            joint.gains[0] = config.p_gain;
            let safety = &config.safety;
            joint.max_lead_rad = safety.max_lead_rad;
            joint.stall_lead_rad = joint.stall_lead_rad.min(safety.max_lead_rad);
            joint.max_temperature_c = safety.max_temperature_c;
            if joint.name == "gripper" {
                joint.torque_limit = config.gripper_torque_fraction;
                joint.max_current_a = safety.gripper_max_current_a;
            } else {
                joint.stall_load = safety.stall_load;
                joint.max_current_a = safety.max_current_a;
            }
        }
        settings
    }

    /// Check what would make the driver unsafe or useless.
    ///
    /// # Errors
    /// [`BusError::Settings`] naming the field and what it should be.
    pub fn validate(&self) -> Result<(), BusError> {
        within("rate_hz", self.rate_hz, 1.0, 500.0)?;
        within("baud", f64::from(self.baud), 19_200.0, 1_000_000.0)?;
        within("reply_timeout_s", self.reply_timeout_s, 0.001, 0.2)?;
        within("hold_after_s", self.hold_after_s, 0.02, 2.0)?;
        within("park_after_s", self.park_after_s, self.hold_after_s, 60.0)?;
        within("slow_velocity_rad_s", self.slow_velocity_rad_s, 0.05, 1.5)?;
        within("park_timeout_s", self.park_timeout_s, 1.0, 60.0)?;
        within("reconnect_every_s", self.reconnect_every_s, 0.05, 10.0)?;
        within("number of joints", self.joints.len() as f64, 1.0, 12.0)?;
        self.joints.iter().try_for_each(JointSettings::validate)
    }
}

impl JointSettings {
    fn validate(&self) -> Result<(), BusError> {
        let check = |field: &str, value, least, greatest| {
            within(&format!("joint {}, {field}", self.name), value, least, greatest)
        };
        check("lower_rad", self.lower_rad, -6.3, 6.3)?;
        check("upper_rad", self.upper_rad, self.lower_rad + 0.01, 6.3)?;
        check("park_rad", self.park_rad, self.lower_rad, self.upper_rad)?;
        check("max_velocity_rad_s", self.max_velocity_rad_s, 0.05, 6.0)?;
        check("max_lead_rad", self.max_lead_rad, 0.05, 3.0)?;
        check("stall_lead_rad", self.stall_lead_rad, 0.005, self.max_lead_rad)?;
        check("stall_load", self.stall_load, 0.05, 1.0)?;
        check("torque_limit", self.torque_limit, 0.05, 1.0)?;
        check("max_current_a", self.max_current_a, 0.1, 4.0)?;
        check("max_temperature_c", self.max_temperature_c, 30.0, 75.0)?;
        check("overload_percent", f64::from(self.overload_percent), 5.0, 100.0)?;
        check("protection_current_a", self.protection_current_a, 0.1, 3.4)
    }

    /// Registers kept in EEPROM that this joint should have, besides its calibration. `phase` is what the servo has now.
    pub fn eeprom(&self, phase: i32) -> Vec<(Register, i32)> {
        let [p, i, d] = self.gains.map(i32::from);
        vec![
            (Register::RETURN_DELAY, 0),
            (Register::OPERATING_MODE, 0),
            // Bit 0x10 lets positions run past a turn; LeRobot clears it too.
            (Register::PHASE, phase & !0x10),
            (Register::P_GAIN, p),
            (Register::D_GAIN, d),
            (Register::I_GAIN, i),
            (Register::MAX_TORQUE, self.torque_units()),
            (Register::PROTECTION_CURRENT, (self.protection_current_a / AMPERE_PER_UNIT).round() as i32),
            (Register::OVERLOAD_TORQUE, i32::from(self.overload_percent)),
        ]
    }

    /// Torque limit in register units.
    pub fn torque_units(&self) -> i32 {
        (self.torque_limit * 1000.0).round() as i32
    }

    /// Velocity limit the servo itself is given, register units: a fifth above the driver's own, as a second barrier.
    pub fn velocity_units(&self) -> i32 {
        (self.max_velocity_rad_s * 1.2 / RAD_S_PER_TICK_S).round().clamp(1.0, 3400.0) as i32
    }
}

/// The calibration registers of a joint. Limits are cut to what the register can hold.
pub fn calibration_registers(calibration: &JointCalibration) -> [(Register, i32); 3] {
    [
        (Register::HOMING_OFFSET, calibration.homing_offset),
        (Register::MIN_POSITION, calibration.range_min.max(0)),
        (Register::MAX_POSITION, calibration.range_max.max(0)),
    ]
}

fn within(field: &str, value: f64, least: f64, greatest: f64) -> Result<(), BusError> {
    if (least..=greatest).contains(&value) {
        return Ok(());
    }
    Err(BusError::Settings { field: field.to_owned(), reason: format!("{value} is not in {least}..={greatest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_ron() {
        let settings = DriverSettings::default();
        settings.validate().unwrap();
        let text = ron::ser::to_string(&settings).unwrap();
        assert_eq!(ron::from_str::<DriverSettings>(&text).unwrap(), settings);
        assert!(ron::from_str::<DriverSettings>("(rate: 100.0)").is_err(), "unknown keys are refused");
    }

    #[test]
    fn unsafe_settings_are_refused_by_name() {
        let mut settings = DriverSettings::default();
        settings.joints[1].max_velocity_rad_s = f64::NAN;
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("shoulder_lift, max_velocity_rad_s"), "{error}");
        settings = DriverSettings { hold_after_s: 3.0, ..DriverSettings::default() };
        assert!(settings.validate().is_err());
    }
}
