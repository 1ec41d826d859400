//! Calibration of an arm in LeRobot's JSON, its units, and the conversion between encoder steps and joint angles.
//!
//! A file holds, per joint, the homing offset and the range of encoder steps found by moving the joint to both ends. The
//! servo subtracts the offset from its raw encoder, so the pose held at homing reads 2047. Checks on these numbers are in
//! [`super::calibration_check`], files and folders in [`super::calibration_file`].

use serde::{Deserialize, Serialize};

use super::registers::{MAX_TICK, RAD_PER_TICK};

/// What a pose held at homing reads afterwards: the middle of 0..=4095, rounded down as LeRobot does.
pub const HOMED_TICK: i32 = MAX_TICK / 2;

/// Greatest homing offset the register can hold.
pub const MAX_HOMING_OFFSET: i32 = 2047;

/// Calibration of one joint; the keys are LeRobot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointCalibration {
    /// Servo id.
    pub id: u8,
    /// 1 if the direction is reversed in percent units; LeRobot always writes 0.
    pub drive_mode: u8,
    /// Subtracted from the raw encoder reading by the servo, +-2047 ticks.
    pub homing_offset: i32,
    /// Lowest reading after homing, ticks.
    pub range_min: i32,
    /// Highest reading after homing, ticks.
    pub range_max: i32,
}

/// LeRobot's units of a joint value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Degrees from the middle of the range; not clamped, `drive_mode` ignored.
    Degrees,
    /// -100..=100 over the range, clamped.
    PlusMinus100,
    /// 0..=100 over the range, clamped.
    Percent,
}

impl JointCalibration {
    /// LeRobot's value of the reading `ticks` (`motors_bus.py:_normalize`).
    pub fn normalise(&self, ticks: i32, unit: Unit) -> f64 {
        let clamped = f64::from(ticks.clamp(self.range_min, self.range_max.max(self.range_min)));
        let fraction = (clamped - f64::from(self.range_min)) / self.width();
        let reversed = self.drive_mode != 0;
        match unit {
            Unit::Degrees => (f64::from(ticks) - self.middle()) * 360.0 / f64::from(MAX_TICK),
            Unit::PlusMinus100 => {
                let value = fraction * 200.0 - 100.0;
                if reversed { -value } else { value }
            }
            Unit::Percent => {
                let value = fraction * 100.0;
                if reversed { 100.0 - value } else { value }
            }
        }
    }

    /// The goal in ticks that LeRobot sends for `value` (`_unnormalize`): cut off towards zero, not rounded.
    pub fn unnormalise(&self, value: f64, unit: Unit) -> i32 {
        let reversed = self.drive_mode != 0;
        let ticks = match unit {
            Unit::Degrees => value * f64::from(MAX_TICK) / 360.0 + self.middle(),
            Unit::PlusMinus100 => {
                let value = (if reversed { -value } else { value }).clamp(-100.0, 100.0);
                (value + 100.0) / 200.0 * self.width() + f64::from(self.range_min)
            }
            Unit::Percent => {
                let value = (if reversed { 100.0 - value } else { value }).clamp(0.0, 100.0);
                value / 100.0 * self.width() + f64::from(self.range_min)
            }
        };
        ticks as i32
    }

    /// Middle of the range, ticks; may lie between two.
    pub fn middle(&self) -> f64 {
        f64::from(self.range_min + self.range_max) / 2.0
    }

    /// Width of the range, ticks; at least 1.
    pub fn width(&self) -> f64 {
        f64::from((self.range_max - self.range_min).max(1))
    }
}

/// How the encoder steps of a joint become its angle in the arm model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Zero {
    /// The middle of the calibrated range is `offset_rad`: the five body joints, where LeRobot's zero is the middle. The
    /// offset corrects for a range that is not symmetric in the model (expect up to 0.09 rad, `docs/bus.md`).
    Middle {
        /// Angle of the middle of the range, rad.
        offset_rad: f64,
    },
    /// The lower end of the calibrated range is `lower_rad`: the gripper, which closes against itself.
    LowerEnd {
        /// Angle of the lower end of the range, rad.
        lower_rad: f64,
    },
}

/// Encoder steps of one joint to radians and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AngleMap {
    reference_ticks: f64,
    reference_rad: f64,
}

impl AngleMap {
    /// The map of a joint calibrated as `calibration` whose zero is `zero`.
    pub fn new(calibration: &JointCalibration, zero: Zero) -> Self {
        match zero {
            Zero::Middle { offset_rad } => {
                AngleMap { reference_ticks: calibration.middle(), reference_rad: offset_rad }
            }
            Zero::LowerEnd { lower_rad } => {
                AngleMap { reference_ticks: f64::from(calibration.range_min), reference_rad: lower_rad }
            }
        }
    }

    /// Joint angle of the reading `ticks`, rad.
    pub fn to_rad(&self, ticks: i32) -> f64 {
        (f64::from(ticks) - self.reference_ticks) * RAD_PER_TICK + self.reference_rad
    }

    /// Encoder step nearest to `angle_rad`. A number that is no angle gives the reference.
    pub fn to_ticks(&self, angle_rad: f64) -> i32 {
        let steps = (angle_rad - self.reference_rad) / RAD_PER_TICK;
        let ticks = self.reference_ticks + if steps.is_finite() { steps } else { 0.0 };
        ticks.round().clamp(-32_767.0, 32_767.0) as i32
    }
}

/// The homing offset that makes the raw encoder reading `raw` (0..=4095) read 2047. The one reading for which the register
/// is a step too small, 4095, gives 2047 and reads 2048 instead of failing as LeRobot does ("Magnitude 2048 exceeds 2047").
pub fn homing_offset_for(raw: i32) -> i32 {
    (raw.rem_euclid(MAX_TICK + 1) - HOMED_TICK).clamp(-MAX_HOMING_OFFSET, MAX_HOMING_OFFSET)
}

/// Records the range of a joint moved by hand, also across the jump of the encoder from 4095 to 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeRecorder {
    last: Option<i32>,
    turns: i32,
    lowest: i32,
    highest: i32,
    wraps: u32,
}

impl RangeRecorder {
    /// A recorder that has seen nothing.
    pub fn new() -> Self {
        RangeRecorder::default()
    }

    /// Take in a reading, ticks 0..=4095. A change of more than half a turn between two readings is the encoder's jump.
    pub fn add(&mut self, ticks: i32) {
        let turn = MAX_TICK + 1;
        match self.last {
            None => (self.lowest, self.highest) = (ticks, ticks),
            Some(last) if ticks - last > turn / 2 => (self.turns, self.wraps) = (self.turns - 1, self.wraps + 1),
            Some(last) if last - ticks > turn / 2 => (self.turns, self.wraps) = (self.turns + 1, self.wraps + 1),
            Some(_) => {}
        }
        self.last = Some(ticks);
        let unwrapped = ticks + self.turns * turn;
        self.lowest = self.lowest.min(unwrapped);
        self.highest = self.highest.max(unwrapped);
    }

    /// Lowest and highest reading, unwrapped: outside 0..=4095 if the joint crossed the jump. `None` before any reading.
    pub fn range(&self) -> Option<(i32, i32)> {
        self.last.map(|_| (self.lowest, self.highest))
    }

    /// Whether the joint crossed the jump.
    pub fn wrapped(&self) -> bool {
        self.wraps > 0
    }

    /// A homing offset and range that keep the whole movement clear of the jump: what `calibrate` writes instead of failing
    /// on a joint that wrapped. `homing_offset` is the one in force while recording. `None` before any reading.
    pub fn rehomed(&self, homing_offset: i32) -> Option<(i32, i32, i32)> {
        let (lowest, highest) = self.range()?;
        let middle = (lowest + highest).div_euclid(2);
        let offset = homing_offset_for(middle + homing_offset);
        // Where a reading lands is decided by the offsets alone; the nearest whole turn is the one in range.
        let turn = MAX_TICK + 1;
        let shift = homing_offset - offset;
        let turns = (middle + shift).div_euclid(turn) * turn;
        Some((offset, lowest + shift - turns, highest + shift - turns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAN: JointCalibration =
        JointCalibration { id: 1, drive_mode: 0, homing_offset: -123, range_min: 780, range_max: 3300 };

    // Expected numbers worked out by hand from the formulas of servo_bus.md 2.4.
    #[test]
    fn units_are_lerobots() {
        assert_eq!(PAN.normalise(2040, Unit::Degrees), 0.0);
        assert_eq!(PAN.normalise(3300, Unit::Degrees), 1260.0 * 360.0 / 4095.0);
        assert_eq!(PAN.normalise(4000, Unit::PlusMinus100), 100.0);
        assert_eq!(PAN.normalise(780, Unit::PlusMinus100), -100.0);
        assert_eq!(PAN.normalise(1410, Unit::Percent), 25.0);
        assert_eq!(PAN.unnormalise(25.0, Unit::Percent), 1410);
        assert_eq!(PAN.unnormalise(-300.0, Unit::PlusMinus100), 780);
        // 10.4 degrees are 118.3 steps: 2158.3 is cut to 2158; -10.4 gives 1921.7, cut to 1921 where rounding gives 1922.
        assert_eq!(PAN.unnormalise(10.4, Unit::Degrees), 2158);
        assert_eq!(PAN.unnormalise(-10.4, Unit::Degrees), 1921);
        // Towards zero also below it: -182.1 degrees are -2071.4 steps from 2040.
        assert_eq!(PAN.unnormalise(-182.1, Unit::Degrees), -31);
        let reversed = JointCalibration { drive_mode: 1, ..PAN };
        assert_eq!(reversed.normalise(1410, Unit::Percent), 75.0);
        assert_eq!(reversed.unnormalise(75.0, Unit::Percent), 1410);
        assert_eq!(reversed.normalise(780, Unit::PlusMinus100), 100.0);
        assert_eq!(reversed.normalise(3300, Unit::Degrees), PAN.normalise(3300, Unit::Degrees));
    }

    #[test]
    fn angles_are_the_degrees_of_lerobot() {
        let map = AngleMap::new(&PAN, Zero::Middle { offset_rad: 0.0 });
        for ticks in [780, 2040, 2041, 3300] {
            assert!((map.to_rad(ticks).to_degrees() - PAN.normalise(ticks, Unit::Degrees)).abs() < 1e-12);
        }
        let gripper = AngleMap::new(&PAN, Zero::LowerEnd { lower_rad: -0.174 });
        assert_eq!(gripper.to_rad(780), -0.174);
        assert_eq!(gripper.to_ticks(f64::NAN), 780);
    }

    #[test]
    fn homing_reads_2047_for_every_raw_reading_but_the_last() {
        for raw in 0..=4094 {
            let offset = homing_offset_for(raw);
            assert_eq!(raw - offset, 2047);
            assert!(offset.abs() <= MAX_HOMING_OFFSET);
        }
        assert_eq!(homing_offset_for(4095), 2047);
    }

    #[test]
    fn a_joint_that_wraps_is_rehomed_with_its_whole_range_in_reach() {
        let mut recorder = RangeRecorder::new();
        // Homed at the wrong end: the reading runs 3000 .. 4095, 0 .. 1200.
        for ticks in (3000..4096).step_by(50).chain((0..=1200).step_by(50)) {
            recorder.add(ticks);
        }
        assert!(recorder.wrapped());
        assert_eq!(recorder.range(), Some((3000, 4096 + 1200)));
        let (offset, min, max) = recorder.rehomed(100).unwrap();
        assert_eq!(max - min, 2296);
        assert!(min > 0 && max < 4095 && (min + max - 4094).abs() <= 1, "{min} {max}");
        // The lower end, read 3000 with offset 100, is raw 3100 and must now read `min`.
        assert_eq!((3100 - offset).rem_euclid(4096), min);
    }

    proptest! {
        #[test]
        fn angle_and_ticks_are_inverse(ticks in -4095i32..8191, min in 0i32..2000, width in 100i32..2000) {
            let calibration = JointCalibration { range_min: min, range_max: min + width, ..PAN };
            let map = AngleMap::new(&calibration, Zero::Middle { offset_rad: 0.05 });
            prop_assert_eq!(map.to_ticks(map.to_rad(ticks)), ticks);
        }

        #[test]
        fn units_come_back_within_a_step(ticks in 0i32..4096, min in 0i32..2000, width in 100i32..2000) {
            let calibration = JointCalibration { range_min: min, range_max: min + width, ..PAN };
            let ticks = ticks.clamp(min, min + width);
            for unit in [Unit::Degrees, Unit::PlusMinus100, Unit::Percent] {
                let back = calibration.unnormalise(calibration.normalise(ticks, unit), unit);
                prop_assert!((back - ticks).abs() <= 1, "{unit:?}: {ticks} -> {back}");
            }
        }

        #[test]
        fn any_recorded_movement_below_a_turn_is_rehomed_into_range(
            start in 0i32..4096, width in 200i32..3900, offset in -2000i32..2000,
        ) {
            let mut recorder = RangeRecorder::new();
            for step in (0..=width).step_by(40) {
                recorder.add((start + step).rem_euclid(4096));
            }
            let (offset, min, max) = recorder.rehomed(offset).unwrap();
            prop_assert!(min >= 0 && max <= 4095 && offset.abs() <= MAX_HOMING_OFFSET, "{offset} {min} {max}");
        }
    }
}
