//! One emulated STS3215: control table, EEPROM behind its lock, torque, limits, protections and status bits.

use crate::bus::calibration::{AngleMap, JointCalibration, Zero};
use crate::bus::packet::{StatusBits, instruction};
use crate::bus::registers::{
    AMPERE_PER_UNIT, BAUD_RATES, MODEL_STS3215, Memory, RAD_PER_TICK, Register, STS3215, TICKS_PER_TURN, VOLT_PER_UNIT,
};

use super::plant::{ServoDrive, ServoMotion};

const TABLE: usize = 128;
const EEPROM: usize = 40;
/// Fastest move the servo makes, ticks/s (facts of BAM: the register saturates at 3400).
const FASTEST_TICKS_S: f64 = 3400.0;
/// Below this supply the servo's processor is off, V.
const DEAD_BELOW_V: f64 = 4.0;

/// One emulated servo.
#[derive(Clone, Debug)]
pub struct VirtualServo {
    table: [u8; TABLE],
    eeprom: [u8; EEPROM],
    encoder_zero: f64,
    setpoint: f64,
    raw: i32,
    latched: StatusBits,
    overload_s: f64,
    overcurrent_s: f64,
    pending: Option<(u8, Vec<u8>)>,
    /// Supply voltage, V.
    pub supply_v: f64,
    /// Temperature shown instead of the plant's, if set.
    pub forced_temperature_c: Option<f64>,
    /// Whether the servo feels an overload whatever the plant says.
    pub forced_overload: bool,
    /// Whether it comes up with goal 0 instead of the goal where it stands. Which of the two a real servo does is not
    /// documented; a driver must survive either.
    pub forgets_goal: bool,
}

impl VirtualServo {
    /// A servo as it leaves the factory, with `id` and 1 Mbaud; joint angle 0 is its middle.
    pub fn factory(id: u8) -> Self {
        let mut servo = VirtualServo {
            table: [0; TABLE],
            eeprom: [0; EEPROM],
            encoder_zero: f64::from(TICKS_PER_TURN / 2),
            setpoint: f64::from(TICKS_PER_TURN / 2),
            raw: TICKS_PER_TURN / 2,
            latched: StatusBits::default(),
            overload_s: 0.0,
            overcurrent_s: 0.0,
            pending: None,
            supply_v: 12.0,
            forced_temperature_c: None,
            forced_overload: false,
            forgets_goal: false,
        };
        for (register, value) in [
            (Register::FIRMWARE_MAJOR, 3),
            (Register::FIRMWARE_MINOR, 10),
            (Register::MODEL, MODEL_STS3215),
            (Register::ID, i32::from(id)),
            (Register::BAUD_RATE, 0),
            (Register::RETURN_DELAY, 250),
            (Register::STATUS_LEVEL, 1),
            (Register::MAX_POSITION, 4095),
            (Register::MAX_TEMPERATURE, 70),
            (Register::MAX_VOLTAGE, 140),
            (Register::MIN_VOLTAGE, 40),
            (Register::MAX_TORQUE, 1000),
            (Register::PHASE, 12),
            (Register::UNLOADING, 0x2C),
            (Register::LED_ALARM, 0x2F),
            (Register::P_GAIN, 32),
            (Register::D_GAIN, 32),
            (Register::STARTUP_FORCE, 16),
            (Register::CW_DEAD_ZONE, 1),
            (Register::CCW_DEAD_ZONE, 1),
            (Register::PROTECTION_CURRENT, 500),
            (Register::ANGULAR_RESOLUTION, 1),
            (Register::PROTECTIVE_TORQUE, 20),
            (Register::PROTECTION_TIME, 200),
            (Register::OVERLOAD_TORQUE, 80),
            (Register::VELOCITY_P, 10),
            (Register::OVER_CURRENT_TIME, 200),
            (Register::VELOCITY_I, 10),
        ] {
            servo.set(register, value);
        }
        servo.eeprom.copy_from_slice(&servo.table[..EEPROM]);
        servo.power_up();
        servo
    }

    /// A servo calibrated as `calibration`, mounted so that the arm model's joint angles come out under `zero`.
    pub fn calibrated(calibration: &JointCalibration, zero: Zero) -> Self {
        let mut servo = VirtualServo::factory(calibration.id);
        servo.set(Register::RETURN_DELAY, 0);
        servo.set(Register::HOMING_OFFSET, calibration.homing_offset);
        servo.set(Register::MIN_POSITION, calibration.range_min.max(0));
        servo.set(Register::MAX_POSITION, calibration.range_max.max(0));
        servo.eeprom.copy_from_slice(&servo.table[..EEPROM]);
        let map = AngleMap::new(calibration, zero);
        // The map is linear: its value at one step gives the reading at joint angle 0 to the fraction of a step.
        servo.encoder_zero = -map.to_rad(0) / RAD_PER_TICK + f64::from(calibration.homing_offset);
        servo
    }

    /// Value of a register.
    pub fn get(&self, register: Register) -> i32 {
        register.decode(&self.table[usize::from(register.address)..])
    }

    /// Set a register from outside the bus, whatever its access; values that do not fit become the nearest that does.
    pub fn set(&mut self, register: Register, value: i32) {
        let (least, greatest) = register.value_range();
        if let Ok(bytes) = register.encode(value.clamp(least, greatest)) {
            let from = usize::from(register.address);
            let size = usize::from(register.size);
            self.table[from..from + size].copy_from_slice(&bytes[..size]);
        }
    }

    /// Bus id.
    pub fn id(&self) -> u8 {
        self.get(Register::ID) as u8
    }

    /// Baud rate the servo listens at; `None` for a code that means none.
    pub fn baud(&self) -> Option<u32> {
        BAUD_RATES.get(self.get(Register::BAUD_RATE) as usize).copied()
    }

    /// Whether the servo has power enough to answer.
    pub fn is_alive(&self) -> bool {
        self.supply_v >= DEAD_BELOW_V
    }

    /// Status bits as they stand in register 65.
    pub fn status(&self) -> StatusBits {
        StatusBits(self.get(Register::STATUS) as u8)
    }

    /// Pause before an answer, s.
    pub fn return_delay_s(&self) -> f64 {
        f64::from(self.get(Register::RETURN_DELAY)) * 2e-6
    }

    /// Come up as after a loss of power: what was not saved in EEPROM is gone, and the torque is off.
    pub fn power_up(&mut self) {
        self.table[..EEPROM].copy_from_slice(&self.eeprom);
        self.table[EEPROM..usize::from(Register::PRESENT_POSITION.address)].fill(0);
        self.set(Register::LOCK, 1);
        self.set(Register::TORQUE_LIMIT, self.get(Register::MAX_TORQUE));
        self.latched = StatusBits::default();
        self.overload_s = 0.0;
        self.overcurrent_s = 0.0;
        self.pending = None;
        self.set(Register::PRESENT_POSITION, self.reported_position());
        self.rest();
    }

    /// Let the goal of a limp joint be what it comes up with.
    pub fn rest(&mut self) {
        if self.get(Register::TORQUE_ENABLE) != 1 {
            let goal = if self.forgets_goal { 0 } else { self.get(Register::PRESENT_POSITION) };
            self.set(Register::GOAL_POSITION, goal);
        }
    }

    /// Carry out an instruction; the parameters of the answer, or `None` if the servo keeps silent.
    pub fn handle(&mut self, code: u8, params: &[u8]) -> Option<Vec<u8>> {
        let speaks = self.get(Register::STATUS_LEVEL) != 0;
        match (code, params) {
            (instruction::PING, _) => Some(Vec::new()),
            (instruction::READ, [address, len, ..]) => Some(self.bytes(*address, *len)),
            (instruction::WRITE, [address, bytes @ ..]) => {
                self.write(*address, bytes);
                speaks.then(Vec::new)
            }
            (instruction::REG_WRITE, [address, bytes @ ..]) => {
                self.pending = Some((*address, bytes.to_vec()));
                speaks.then(Vec::new)
            }
            (instruction::ACTION, _) => {
                if let Some((address, bytes)) = self.pending.take() {
                    self.write(address, &bytes);
                }
                speaks.then(Vec::new)
            }
            _ => None,
        }
    }

    /// Bytes of the control table; beyond its end there are zeros.
    pub fn bytes(&self, address: u8, len: u8) -> Vec<u8> {
        let from = usize::from(address);
        (from..from + usize::from(len)).map(|at| self.table.get(at).copied().unwrap_or(0)).collect()
    }

    /// Write bytes of the control table as the bus does: read-only bytes stay, EEPROM is kept only while the lock is open.
    pub fn write(&mut self, address: u8, bytes: &[u8]) {
        let torque_before = self.get(Register::TORQUE_ENABLE);
        let unlocked = self.get(Register::LOCK) == 0;
        for register in STS3215.iter().filter(|register| register.access == crate::bus::registers::Access::ReadWrite) {
            for offset in 0..register.size {
                let at = register.address + offset;
                let Some(byte) = at.checked_sub(address).and_then(|index| bytes.get(usize::from(index))) else {
                    continue;
                };
                self.table[usize::from(at)] = *byte;
                if register.memory == Memory::Eeprom && unlocked {
                    self.eeprom[usize::from(at)] = *byte;
                }
            }
        }
        match self.get(Register::TORQUE_ENABLE) {
            128 => {
                // Feetech's one-step homing: the present position becomes the middle.
                self.set(Register::HOMING_OFFSET, self.raw - TICKS_PER_TURN / 2);
                self.set(Register::TORQUE_ENABLE, torque_before);
            }
            after if after != torque_before || touches(address, bytes, Register::TORQUE_ENABLE) => {
                // Writing the torque register clears what the protections have latched.
                self.latched = StatusBits::default();
                self.overload_s = 0.0;
                self.overcurrent_s = 0.0;
                if after == 1 && torque_before != 1 {
                    self.setpoint = f64::from(self.raw);
                }
            }
            _ => {}
        }
    }

    /// What the servo asks of its motor for the next `dt_s`.
    pub fn drive(&mut self, dt_s: f64) -> ServoDrive {
        let torque_on = self.get(Register::TORQUE_ENABLE) == 1 && self.is_alive() && !self.unloaded();
        // The position loop works on what the servo reports: the encoder itself may be past its jump.
        let goal = f64::from(self.raw + self.limited_goal() - self.reported_position());
        let speed = match self.get(Register::GOAL_VELOCITY).abs() {
            0 => FASTEST_TICKS_S,
            ticks_s => f64::from(ticks_s).min(FASTEST_TICKS_S),
        };
        if torque_on {
            self.setpoint += (goal - self.setpoint).clamp(-speed * dt_s, speed * dt_s);
        }
        let mut torque_limit = f64::from(self.get(Register::TORQUE_LIMIT).min(self.get(Register::MAX_TORQUE))) * 0.001;
        if self.latched.contains(StatusBits::OVERLOAD) {
            torque_limit = torque_limit.min(f64::from(self.get(Register::PROTECTIVE_TORQUE)) * 0.01);
        }
        ServoDrive {
            torque_on,
            target_rad: (self.setpoint - self.encoder_zero) * RAD_PER_TICK,
            p_gain: self.get(Register::P_GAIN) as u8,
            i_gain: self.get(Register::I_GAIN) as u8,
            d_gain: self.get(Register::D_GAIN) as u8,
            torque_limit,
        }
    }

    /// Take in what the plant did in the last `dt_s`: present values, protections, status bits.
    pub fn sense(&mut self, motion: &ServoMotion, dt_s: f64) {
        if !self.is_alive() {
            return;
        }
        let temperature = self.forced_temperature_c.unwrap_or(motion.temperature_c);
        let load = if self.forced_overload { 1.0 } else { motion.load };
        self.raw = (motion.position_rad / RAD_PER_TICK + self.encoder_zero).round() as i32;
        self.set(Register::PRESENT_POSITION, self.reported_position());
        self.set(Register::PRESENT_VELOCITY, (motion.velocity_rad_s / RAD_PER_TICK).round() as i32);
        self.set(Register::PRESENT_LOAD, (load * 1000.0).round() as i32);
        self.set(Register::PRESENT_VOLTAGE, (self.supply_v / VOLT_PER_UNIT).round() as i32);
        self.set(Register::PRESENT_TEMPERATURE, temperature.round() as i32);
        self.set(Register::MOVING, i32::from(motion.velocity_rad_s.abs() > 0.02));
        self.set(Register::PRESENT_CURRENT, (motion.current_a / AMPERE_PER_UNIT).round() as i32);
        self.set(Register::GOAL_POSITION_2, self.get(Register::GOAL_POSITION));
        self.protect(load, motion.current_a, temperature, dt_s);
    }

    fn protect(&mut self, load: f64, current_a: f64, temperature_c: f64, dt_s: f64) {
        let over = |seconds: &mut f64, exceeded: bool, time_units: i32| {
            *seconds = if exceeded { *seconds + dt_s } else { 0.0 };
            exceeded && *seconds >= f64::from(time_units) * 0.01
        };
        let overloaded = load.abs() * 100.0 >= f64::from(self.get(Register::OVERLOAD_TORQUE));
        let overload_time = self.get(Register::PROTECTION_TIME);
        // An injected overload trips at once: what is tested is what comes after.
        if over(&mut self.overload_s, overloaded, overload_time) || self.forced_overload {
            self.latched = self.latched | StatusBits::OVERLOAD;
        }
        let overcurrent = current_a >= f64::from(self.get(Register::PROTECTION_CURRENT)) * AMPERE_PER_UNIT;
        let overcurrent_time = self.get(Register::OVER_CURRENT_TIME);
        if over(&mut self.overcurrent_s, overcurrent, overcurrent_time) {
            self.latched = self.latched | StatusBits::OVERCURRENT;
        }
        let mut bits = self.latched;
        if temperature_c >= f64::from(self.get(Register::MAX_TEMPERATURE)) {
            bits = bits | StatusBits::OVERHEAT;
        }
        let volts = |register| f64::from(self.get(register)) * VOLT_PER_UNIT;
        if self.supply_v < volts(Register::MIN_VOLTAGE) || self.supply_v > volts(Register::MAX_VOLTAGE) {
            bits = bits | StatusBits::VOLTAGE;
        }
        self.set(Register::STATUS, i32::from(bits.0));
    }

    /// Whether a status bit that releases the torque is set. An overload leaves the protective torque instead.
    fn unloaded(&self) -> bool {
        let mask = self.get(Register::UNLOADING) as u8 & !StatusBits::OVERLOAD.0;
        self.get(Register::STATUS) as u8 & mask != 0
    }

    fn limited_goal(&self) -> i32 {
        let (min, max) = (self.get(Register::MIN_POSITION), self.get(Register::MAX_POSITION));
        let goal = self.get(Register::GOAL_POSITION);
        if min < max { goal.clamp(min, max) } else { goal }
    }

    fn reported_position(&self) -> i32 {
        let position = self.raw - self.get(Register::HOMING_OFFSET);
        // Bit 0x10 of Phase lets positions run past one turn; without it the encoder jumps from 4095 to 0.
        if self.get(Register::PHASE) & 0x10 != 0 { position } else { position.rem_euclid(TICKS_PER_TURN) }
    }
}

fn touches(address: u8, bytes: &[u8], register: Register) -> bool {
    register.address.checked_sub(address).is_some_and(|index| usize::from(index) < bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(servo: &mut VirtualServo, register: Register, value: i32) {
        servo.write(register.address, &register.encode(value).unwrap()[..usize::from(register.size)]);
    }

    #[test]
    fn a_servo_homed_past_its_encoders_jump_obeys_goals() {
        let mut servo = VirtualServo::factory(1);
        servo.write(Register::LOCK.address, &[0]);
        // Just past the jump it reads 16 of 4096.
        let here = 2064.0 * RAD_PER_TICK;
        servo.sense(&at(here), 0.001);
        assert_eq!(servo.get(Register::PRESENT_POSITION), 16);
        write(&mut servo, Register::HOMING_OFFSET, 16 - 2047);
        servo.sense(&at(here), 0.001);
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        for (goal, degrees) in [(2047, 0.0), (2647, 600.0 * 360.0 / 4096.0), (1447, -600.0 * 360.0 / 4096.0)] {
            write(&mut servo, Register::GOAL_POSITION, goal);
            let target_rad = (0..500).map(|_| servo.drive(0.001).target_rad).last().unwrap();
            assert!(((target_rad - here).to_degrees() - degrees).abs() < 0.2, "{goal}: {target_rad} from {here}");
        }
    }

    fn at(position_rad: f64) -> ServoMotion {
        ServoMotion { position_rad, ..ServoMotion::default() }
    }

    #[test]
    fn eeprom_survives_a_loss_of_power_only_if_the_lock_was_open() {
        let mut servo = VirtualServo::factory(1);
        write(&mut servo, Register::P_GAIN, 16);
        assert_eq!(servo.get(Register::P_GAIN), 16);
        servo.power_up();
        assert_eq!(servo.get(Register::P_GAIN), 32, "written behind the lock");
        write(&mut servo, Register::LOCK, 0);
        write(&mut servo, Register::P_GAIN, 16);
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        servo.power_up();
        assert_eq!((servo.get(Register::P_GAIN), servo.get(Register::TORQUE_ENABLE)), (16, 0));
    }

    #[test]
    fn read_only_registers_stay() {
        let mut servo = VirtualServo::factory(1);
        servo.write(Register::FIRMWARE_MAJOR.address, &[9, 9, 9, 9, 9]);
        assert_eq!((servo.get(Register::FIRMWARE_MAJOR), servo.get(Register::MODEL)), (3, 777));
    }

    #[test]
    fn homing_shifts_the_reading_and_wraps_it_unless_phase_says_not() {
        let mut servo = VirtualServo::factory(1);
        servo.sense(&at(0.0), 0.001);
        assert_eq!(servo.get(Register::PRESENT_POSITION), 2048);
        write(&mut servo, Register::HOMING_OFFSET, 2047);
        servo.sense(&at(-0.1), 0.001);
        assert_eq!(servo.get(Register::PRESENT_POSITION), (1 - 65) + 4096);
        write(&mut servo, Register::PHASE, 12 | 0x10);
        servo.sense(&at(-0.1), 0.001);
        assert_eq!(servo.get(Register::PRESENT_POSITION), 1 - 65);
    }

    #[test]
    fn an_overload_lasts_until_the_torque_is_written_again() {
        let mut servo = VirtualServo::factory(1);
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        let stalled = ServoMotion { load: 0.9, ..at(0.0) };
        for _ in 0..1990 {
            servo.sense(&stalled, 0.001);
        }
        assert!(servo.status().is_ok());
        for _ in 0..20 {
            servo.sense(&stalled, 0.001);
        }
        assert!(servo.status().contains(StatusBits::OVERLOAD));
        assert_eq!(servo.drive(0.001).torque_limit, 0.2);
        servo.sense(&at(0.0), 0.001);
        assert!(servo.status().contains(StatusBits::OVERLOAD), "the bit is latched");
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        servo.sense(&at(0.0), 0.001);
        assert!(servo.status().is_ok());
        assert_eq!(servo.drive(0.001).torque_limit, 1.0);
    }

    #[test]
    fn heat_releases_the_torque_and_low_voltage_is_reported() {
        let mut servo = VirtualServo::factory(1);
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        servo.forced_temperature_c = Some(71.0);
        servo.sense(&at(0.0), 0.001);
        assert_eq!(servo.status(), StatusBits::OVERHEAT);
        assert!(!servo.drive(0.001).torque_on);
        servo.forced_temperature_c = None;
        write(&mut servo, Register::MIN_VOLTAGE, 125);
        servo.sense(&at(0.0), 0.001);
        assert_eq!(servo.status(), StatusBits::VOLTAGE);
        assert!(servo.drive(0.001).torque_on);
    }

    #[test]
    fn goals_are_held_to_the_limits_and_approached_at_goal_velocity() {
        let mut servo = VirtualServo::factory(1);
        write(&mut servo, Register::MAX_POSITION, 3000);
        servo.sense(&at(0.0), 0.001);
        write(&mut servo, Register::TORQUE_ENABLE, 1);
        write(&mut servo, Register::GOAL_POSITION, 4000);
        write(&mut servo, Register::GOAL_VELOCITY, 500);
        let first = servo.drive(0.1).target_rad;
        assert!((first - 50.0 * RAD_PER_TICK).abs() < 1e-9, "{first}");
        let last = servo.drive(10.0).target_rad;
        assert!((last - (3000.0 - 2048.0) * RAD_PER_TICK).abs() < 1e-9, "{last}");
    }

    #[test]
    fn a_calibrated_servo_reads_the_models_angle() {
        let calibration =
            JointCalibration { id: 2, drive_mode: 0, homing_offset: 1034, range_min: 906, range_max: 3184 };
        let zero = Zero::Middle { offset_rad: 0.03 };
        let mut servo = VirtualServo::calibrated(&calibration, zero);
        servo.sense(&at(0.7), 0.001);
        let read = AngleMap::new(&calibration, zero).to_rad(servo.get(Register::PRESENT_POSITION));
        assert!((read - 0.7).abs() <= RAD_PER_TICK / 2.0 + 1e-9, "{read}");
    }
}
