//! The control table of the Feetech STS3215 as typed registers, and the six joints of the arm that carry one each.
//!
//! Addresses, sizes and sign bits are those of LeRobot's `motors/feetech/tables.py`; a unit test compares them with
//! rustypot's table, the other independent transcription of the data sheet.

use super::error::BusError;

/// Encoder steps per turn of an STS3215.
pub const TICKS_PER_TURN: i32 = 4096;

/// Highest encoder reading. LeRobot's degree is 360/4095 of a turn, not 360/4096 (`motors_bus.py`), and so is the angle
/// used everywhere in this project, so that degrees written to a dataset are LeRobot's to the last bit. The difference
/// from the true angle is 0.024 %, half an encoder step at the end of a half turn.
pub const MAX_TICK: i32 = 4095;

/// Radians per encoder step, in LeRobot's measure (see [`MAX_TICK`]).
pub const RAD_PER_TICK: f64 = std::f64::consts::TAU / MAX_TICK as f64;

/// Radians per second for one unit of a velocity register (one encoder step per second).
pub const RAD_S_PER_TICK_S: f64 = RAD_PER_TICK;

/// Volts per unit of a voltage register.
pub const VOLT_PER_UNIT: f64 = 0.1;

/// Ampere per unit of a current register (6.5 mA).
pub const AMPERE_PER_UNIT: f64 = 0.0065;

/// Fraction of full torque per unit of a load or torque register.
pub const LOAD_PER_UNIT: f64 = 0.001;

/// Model number an STS3215 reports.
pub const MODEL_STS3215: i32 = 777;

/// Baud rates by the code stored in [`Register::BAUD_RATE`].
pub const BAUD_RATES: [u32; 8] = [1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200];

/// Joint names of the SO-100 in bus order; joint `i` is servo id `i + 1`.
pub const JOINT_NAMES: [&str; 6] =
    ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];

/// Servo ids in bus order.
pub const JOINT_IDS: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// Start of the block of present values that one sync read fetches.
pub const PRESENT_ADDRESS: u8 = 56;

/// Length of that block: position, velocity, load, voltage, temperature, status, moving and current (56..=70).
pub const PRESENT_LEN: u8 = 15;

/// Who may write a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
}

/// Where a register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Kept without power; written only while `Lock` is 0, else the write is lost at the next power-up.
    Eeprom,
    /// Reset at power-up.
    Sram,
}

/// One register of the control table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Name as LeRobot spells it.
    pub name: &'static str,
    /// Address in the control table.
    pub address: u8,
    /// Size in bytes, 1 or 2 (little endian).
    pub size: u8,
    /// Who may write it.
    pub access: Access,
    /// Where it lives.
    pub memory: Memory,
    /// Bit that carries the sign of a sign-magnitude register; `None` for unsigned ones.
    pub sign_bit: Option<u8>,
}

macro_rules! control_table {
    ($($constant:ident: $name:literal, $address:literal, $size:literal, $access:ident, $memory:ident, $sign:expr, $doc:literal;)*) => {
        impl Register {
            $(#[doc = $doc]
            pub const $constant: Register = Register {
                name: $name,
                address: $address,
                size: $size,
                access: Access::$access,
                memory: Memory::$memory,
                sign_bit: $sign,
            };)*
        }

        /// Every register of the STS3215, by address.
        pub const STS3215: &[Register] = &[$(Register::$constant,)*];
    };
}

control_table! {
    FIRMWARE_MAJOR: "Firmware_Major_Version", 0, 1, Read, Eeprom, None, "Firmware version, major.";
    FIRMWARE_MINOR: "Firmware_Minor_Version", 1, 1, Read, Eeprom, None, "Firmware version, minor.";
    MODEL: "Model_Number", 3, 2, Read, Eeprom, None, "Model number, 777 for the STS3215.";
    ID: "ID", 5, 1, ReadWrite, Eeprom, None, "Bus id, 0..=252.";
    BAUD_RATE: "Baud_Rate", 6, 1, ReadWrite, Eeprom, None, "Code of the baud rate, see [`BAUD_RATES`].";
    RETURN_DELAY: "Return_Delay_Time", 7, 1, ReadWrite, Eeprom, None, "Pause before an answer, in 2 us.";
    STATUS_LEVEL: "Response_Status_Level", 8, 1, ReadWrite, Eeprom, None, "0: answer only reads and pings; 1: answer everything.";
    MIN_POSITION: "Min_Position_Limit", 9, 2, ReadWrite, Eeprom, None, "Lowest goal position, ticks.";
    MAX_POSITION: "Max_Position_Limit", 11, 2, ReadWrite, Eeprom, None, "Highest goal position, ticks.";
    MAX_TEMPERATURE: "Max_Temperature_Limit", 13, 1, ReadWrite, Eeprom, None, "Temperature at which the servo protects itself, degrees Celsius.";
    MAX_VOLTAGE: "Max_Voltage_Limit", 14, 1, ReadWrite, Eeprom, None, "Highest supply voltage, 0.1 V.";
    MIN_VOLTAGE: "Min_Voltage_Limit", 15, 1, ReadWrite, Eeprom, None, "Lowest supply voltage, 0.1 V.";
    MAX_TORQUE: "Max_Torque_Limit", 16, 2, ReadWrite, Eeprom, None, "Torque limit loaded at power-up, 0.1 %.";
    PHASE: "Phase", 18, 1, ReadWrite, Eeprom, None, "Drive configuration bits; 0x10 makes positions run past one turn.";
    UNLOADING: "Unloading_Condition", 19, 1, ReadWrite, Eeprom, None, "Status bits that release the torque.";
    LED_ALARM: "LED_Alarm_Condition", 20, 1, ReadWrite, Eeprom, None, "Status bits that make the LED blink.";
    P_GAIN: "P_Coefficient", 21, 1, ReadWrite, Eeprom, None, "Position loop gain P.";
    D_GAIN: "D_Coefficient", 22, 1, ReadWrite, Eeprom, None, "Position loop gain D.";
    I_GAIN: "I_Coefficient", 23, 1, ReadWrite, Eeprom, None, "Position loop gain I.";
    STARTUP_FORCE: "Minimum_Startup_Force", 24, 2, ReadWrite, Eeprom, None, "Least torque that is applied, 0.1 %.";
    CW_DEAD_ZONE: "CW_Dead_Zone", 26, 1, ReadWrite, Eeprom, None, "Dead zone clockwise, ticks.";
    CCW_DEAD_ZONE: "CCW_Dead_Zone", 27, 1, ReadWrite, Eeprom, None, "Dead zone counter-clockwise, ticks.";
    PROTECTION_CURRENT: "Protection_Current", 28, 2, ReadWrite, Eeprom, None, "Over-current threshold, 6.5 mA.";
    ANGULAR_RESOLUTION: "Angular_Resolution", 30, 1, ReadWrite, Eeprom, None, "Multiplier of the encoder step.";
    HOMING_OFFSET: "Homing_Offset", 31, 2, ReadWrite, Eeprom, Some(11), "Subtracted from the raw encoder reading, +-2047 ticks.";
    OPERATING_MODE: "Operating_Mode", 33, 1, ReadWrite, Eeprom, None, "0 position, 1 velocity, 2 PWM, 3 step.";
    PROTECTIVE_TORQUE: "Protective_Torque", 34, 1, ReadWrite, Eeprom, None, "Torque left after an overload, %.";
    PROTECTION_TIME: "Protection_Time", 35, 1, ReadWrite, Eeprom, None, "How long an overload lasts before it trips, 10 ms.";
    OVERLOAD_TORQUE: "Overload_Torque", 36, 1, ReadWrite, Eeprom, None, "Load that counts as overload, %.";
    VELOCITY_P: "Velocity_closed_loop_P_proportional_coefficient", 37, 1, ReadWrite, Eeprom, None, "Velocity loop gain P.";
    OVER_CURRENT_TIME: "Over_Current_Protection_Time", 38, 1, ReadWrite, Eeprom, None, "How long an over-current lasts before it trips, 10 ms.";
    VELOCITY_I: "Velocity_closed_loop_I_integral_coefficient", 39, 1, ReadWrite, Eeprom, None, "Velocity loop gain I.";
    TORQUE_ENABLE: "Torque_Enable", 40, 1, ReadWrite, Sram, None, "0 off, 1 on, 128 makes the present position the middle.";
    ACCELERATION: "Acceleration", 41, 1, ReadWrite, Sram, None, "Acceleration of position moves, 100 ticks/s^2; 0 is the highest.";
    GOAL_POSITION: "Goal_Position", 42, 2, ReadWrite, Sram, Some(15), "Goal position, ticks.";
    GOAL_TIME: "Goal_Time", 44, 2, ReadWrite, Sram, None, "Duration of a move, ms; unused here.";
    GOAL_VELOCITY: "Goal_Velocity", 46, 2, ReadWrite, Sram, Some(15), "Speed of position moves, ticks/s; 0 is the highest.";
    TORQUE_LIMIT: "Torque_Limit", 48, 2, ReadWrite, Sram, None, "Torque limit in force, 0.1 %.";
    LOCK: "Lock", 55, 1, ReadWrite, Sram, None, "1 protects the EEPROM, 0 opens it.";
    PRESENT_POSITION: "Present_Position", 56, 2, Read, Sram, Some(15), "Present position after homing, ticks.";
    PRESENT_VELOCITY: "Present_Velocity", 58, 2, Read, Sram, Some(15), "Present velocity, ticks/s.";
    PRESENT_LOAD: "Present_Load", 60, 2, Read, Sram, Some(10), "Present drive, 0.1 % of full torque.";
    PRESENT_VOLTAGE: "Present_Voltage", 62, 1, Read, Sram, None, "Supply voltage, 0.1 V.";
    PRESENT_TEMPERATURE: "Present_Temperature", 63, 1, Read, Sram, None, "Temperature, degrees Celsius.";
    STATUS: "Status", 65, 1, Read, Sram, None, "Status bits, see [`super::packet::StatusBits`].";
    MOVING: "Moving", 66, 1, Read, Sram, None, "1 while the servo moves.";
    PRESENT_CURRENT: "Present_Current", 69, 2, Read, Sram, None, "Motor current, 6.5 mA.";
    GOAL_POSITION_2: "Goal_Position_2", 71, 2, Read, Sram, None, "Copy of the goal position.";
    MOVING_THRESHOLD: "Moving_Velocity_Threshold", 80, 1, ReadWrite, Sram, None, "Velocity above which the servo counts as moving.";
    DTS: "DTs", 81, 1, ReadWrite, Sram, None, "Factory constant.";
    VELOCITY_UNIT: "Velocity_Unit_factor", 82, 1, ReadWrite, Sram, None, "Factory constant.";
    HTS: "Hts", 83, 1, ReadWrite, Sram, None, "Factory constant.";
    MAX_VELOCITY: "Maximum_Velocity_Limit", 84, 1, ReadWrite, Sram, None, "Factory limit of the velocity.";
    MAX_ACCELERATION: "Maximum_Acceleration", 85, 1, ReadWrite, Sram, None, "Factory limit of the acceleration. One byte: rustypot before 1.13 declared two and hit address 86 as well.";
    ACCELERATION_MULTIPLIER: "Acceleration_Multiplier", 86, 1, ReadWrite, Sram, None, "Factory constant.";
}

/// Motor current of a value of [`Register::PRESENT_CURRENT`], A. LeRobot and rustypot take the register as unsigned, Feetech's
/// own C++ library takes bit 15 for a sign; without the sign both agree, and nothing here needs it.
pub fn current_a(value: i32) -> f64 {
    f64::from(value & 0x7FFF) * AMPERE_PER_UNIT
}

impl Register {
    /// The little-endian bytes of `value` for this register (the first [`size`](Self::size) of them count).
    ///
    /// # Errors
    /// [`BusError::OutOfRange`] if the magnitude does not fit: the servo would silently take another value.
    pub fn encode(&self, value: i32) -> Result<[u8; 2], BusError> {
        let (least, greatest) = self.value_range();
        if value < least || value > greatest {
            return Err(BusError::OutOfRange { register: self.name, value, least, greatest });
        }
        let raw = match self.sign_bit {
            Some(bit) if value < 0 => value.unsigned_abs() as u16 | 1 << bit,
            _ => value as u16,
        };
        Ok(raw.to_le_bytes())
    }

    /// The value in `bytes`; missing bytes count as 0.
    pub fn decode(&self, bytes: &[u8]) -> i32 {
        let low = bytes.first().copied().unwrap_or(0);
        let high = if self.size == 2 { bytes.get(1).copied().unwrap_or(0) } else { 0 };
        let raw = u16::from_le_bytes([low, high]);
        match self.sign_bit {
            Some(bit) => {
                let magnitude = i32::from(raw & ((1 << bit) - 1));
                if raw & (1 << bit) != 0 { -magnitude } else { magnitude }
            }
            None => i32::from(raw),
        }
    }

    /// The value of this register in `block`, the bytes of the control table from `start` on; `None` if it is not
    /// wholly inside.
    pub fn in_block(&self, start: u8, block: &[u8]) -> Option<i32> {
        let from = usize::from(self.address.checked_sub(start)?);
        block.get(from..from + usize::from(self.size)).map(|bytes| self.decode(bytes))
    }

    /// Least and greatest value the encoding can carry.
    pub fn value_range(&self) -> (i32, i32) {
        match (self.sign_bit, self.size) {
            (Some(bit), _) => (-((1 << bit) - 1), (1 << bit) - 1),
            (None, 1) => (0, 255),
            (None, _) => (0, 65_535),
        }
    }

    /// The register that starts at `address`.
    pub fn at(address: u8) -> Option<Register> {
        STS3215.iter().copied().find(|register| register.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_rustypots_table() {
        use rustypot::servo::feetech::sts3215;
        use std::collections::BTreeMap;
        // rustypot lists some registers under two names, and does not know the copy of the goal at 71.
        let theirs: BTreeMap<u8, (u8, Option<u8>)> =
            sts3215::REGISTERS.iter().map(|r| (r.addr, (r.size, r.encoding.sign_bit()))).collect();
        let ours: BTreeMap<u8, (u8, Option<u8>)> = STS3215
            .iter()
            .filter(|r| **r != Register::GOAL_POSITION_2)
            .map(|r| (r.address, (r.size, r.sign_bit)))
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn registers_are_sorted_and_do_not_overlap() {
        for pair in STS3215.windows(2) {
            assert!(pair[0].address + pair[0].size <= pair[1].address, "{} and {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn homing_offset_is_sign_magnitude_with_bit_11() {
        assert_eq!(Register::HOMING_OFFSET.encode(-5).unwrap(), [0x05, 0x08]);
        assert_eq!(Register::HOMING_OFFSET.decode(&[0x05, 0x08]), -5);
        let error = Register::HOMING_OFFSET.encode(2048).unwrap_err().to_string();
        assert!(error.contains("Homing_Offset") && error.contains("2047"), "{error}");
    }

    #[test]
    fn a_register_is_found_inside_a_block_only_if_whole() {
        let block: Vec<u8> = (0..PRESENT_LEN).collect();
        assert_eq!(Register::PRESENT_CURRENT.in_block(PRESENT_ADDRESS, &block), Some(0x0e0d));
        assert_eq!(Register::GOAL_POSITION_2.in_block(PRESENT_ADDRESS, &block), None);
        assert_eq!(Register::LOCK.in_block(PRESENT_ADDRESS, &block), None);
    }

    proptest! {
        #[test]
        fn every_value_in_range_survives_encoding(index in 0..STS3215.len(), value in -70_000i32..70_000) {
            let register = STS3215[index];
            let (least, greatest) = register.value_range();
            match register.encode(value) {
                Ok(bytes) => prop_assert_eq!(register.decode(&bytes), value),
                Err(_) => prop_assert!(value < least || value > greatest),
            }
        }
    }
}
