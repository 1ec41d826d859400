//! What the driver knows of one joint, and how a reading becomes angles, volts and amperes.

use super::calibration::{AngleMap, JointCalibration};
use super::guard::JointGuard;
use super::packet::StatusBits;
use super::registers::{LOAD_PER_UNIT, PRESENT_ADDRESS, RAD_S_PER_TICK_S, Register, VOLT_PER_UNIT, current_a};
use super::settings::JointSettings;
use super::state::{JointReading, NoticeKind};

/// A joint cannot move faster than this even by hand, rad/s; further is a reading of noise.
const FASTEST_RAD_S: f64 = 15.0;

/// One joint of the engine.
pub(super) struct Joint {
    pub id: u8,
    pub settings: JointSettings,
    pub calibration: JointCalibration,
    pub map: AngleMap,
    pub reading: JointReading,
    pub read_at_s: Option<f64>,
    pub missed_in_row: u32,
    pub asked_at_s: f64,
    pub suspicious: Option<i32>,
    pub hot_in_row: u32,
    pub guard: JointGuard,
    /// Whether its registers have been checked since the connection was made.
    pub verified: bool,
    /// Why it cannot be used, if it cannot.
    pub obstacle: Option<NoticeKind>,
    /// Torque as the servo last confirmed it.
    pub torque: Option<bool>,
    /// Whether this driver turned the torque on and did not turn it off again.
    pub powered_by_us: bool,
    pub overload_since_s: Option<f64>,
    pub overloads_cleared: Vec<f64>,
}

impl Joint {
    /// A joint nothing is known of yet.
    pub fn new(settings: JointSettings, calibration: JointCalibration) -> Self {
        Joint {
            id: calibration.id,
            map: AngleMap::new(&calibration, settings.zero),
            settings,
            calibration,
            reading: JointReading { age_s: f64::INFINITY, ..JointReading::default() },
            read_at_s: None,
            missed_in_row: 0,
            asked_at_s: f64::NEG_INFINITY,
            suspicious: None,
            hot_in_row: 0,
            guard: JointGuard::new(0.0),
            verified: false,
            obstacle: None,
            torque: None,
            powered_by_us: false,
            overload_since_s: None,
            overloads_cleared: Vec::new(),
        }
    }

    /// Age of the reading, s.
    pub fn age_s(&self, now_s: f64) -> f64 {
        self.read_at_s.map_or(f64::INFINITY, |at_s| now_s - at_s)
    }

    /// The goal in ticks, within what the servo accepts.
    pub fn goal_ticks(&self, goal_rad: f64) -> i32 {
        let (min, max) = (self.calibration.range_min.max(0), self.calibration.range_max.max(0));
        self.map.to_ticks(goal_rad).clamp(min, max)
    }

    /// Take in the block of present values that arrived at `now_s`.
    pub fn take_in(&mut self, block: &[u8], status: StatusBits, now_s: f64) {
        let value = |register: Register| f64::from(register.in_block(PRESENT_ADDRESS, block).unwrap_or(0));
        let ticks = value(Register::PRESENT_POSITION) as i32;
        let position_rad = self.map.to_rad(ticks);
        if let Some(read_at_s) = self.read_at_s {
            let moved = (position_rad - self.reading.position_rad).abs();
            let possible = 0.15 + FASTEST_RAD_S * (now_s - read_at_s);
            // The checksum has eight bits: now and then noise passes it. What is read twice in a row is true.
            let again = self.suspicious.is_some_and(|before| (before - ticks).abs() < 100);
            if moved > possible && !again {
                self.suspicious = Some(ticks);
                self.reading.errors.implausible += 1;
                self.missed_in_row = self.missed_in_row.saturating_add(1);
                return;
            }
        }
        self.suspicious = None;
        self.missed_in_row = 0;
        self.read_at_s = Some(now_s);
        self.reading = JointReading {
            position_rad,
            velocity_rad_s: value(Register::PRESENT_VELOCITY) * RAD_S_PER_TICK_S,
            load_fraction: value(Register::PRESENT_LOAD) * LOAD_PER_UNIT,
            voltage_v: value(Register::PRESENT_VOLTAGE) * VOLT_PER_UNIT,
            temperature_c: value(Register::PRESENT_TEMPERATURE),
            current_a: current_a(value(Register::PRESENT_CURRENT) as i32),
            status: status | StatusBits(value(Register::STATUS) as u8),
            ticks,
            ..self.reading
        };
    }
}
