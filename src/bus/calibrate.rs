//! The steps of a calibration, without the person: what a guided calibration, in the window or the terminal, calls in turn.
//!
//! 1. [`release`]: torque off, EEPROM open, position mode. The person moves the arm to its middle pose.
//! 2. [`home`]: the pose held now reads 2047 on every joint.
//! 3. [`Recording::sample`] again and again while the person moves every joint to both ends.
//! 4. [`Recording::finish`]: the range of every joint, moved clear of the encoder's jump where it crossed it.
//! 5. [`write()`]: into the servos, only what differs, read back, EEPROM locked.
//!
//! One joint can be done alone by giving only its name and id.

use std::time::Duration;

use super::calibration::{JointCalibration, RangeRecorder, homing_offset_for};
use super::calibration_file::ArmCalibration;
use super::error::BusError;
use super::port::ServoPort;
use super::registers::{MAX_TICK, PRESENT_ADDRESS, PRESENT_LEN, Register};
use super::settings::calibration_registers;

/// How long a servo may take to report positions with a new offset.
const SETTLE: Duration = Duration::from_millis(10);

/// A joint to be calibrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Joint name.
    pub name: String,
    /// Servo id.
    pub id: u8,
    /// Whether it turns without stops, so that its range is 0..=4095 whatever was recorded (the wrist roll).
    pub full_turn: bool,
}

/// The six joints of an SO-100.
pub fn so100_targets() -> Vec<Target> {
    let joints = super::registers::JOINT_NAMES.iter().zip(super::registers::JOINT_IDS);
    joints.map(|(name, id)| Target { name: (*name).to_owned(), id, full_turn: *name == "wrist_roll" }).collect()
}

/// Torque off, EEPROM open, position mode, one turn: ready to be moved by hand.
///
/// # Errors
/// The errors of the bus; the joints before the one that failed are released.
pub fn release(port: &mut ServoPort, targets: &[Target]) -> Result<(), BusError> {
    for target in targets {
        port.write_verified(target.id, Register::TORQUE_ENABLE, 0)?;
        port.write_verified(target.id, Register::LOCK, 0)?;
        for (register, value) in
            [(Register::OPERATING_MODE, 0), (Register::PHASE, port.read(target.id, Register::PHASE)?.value & !0x10)]
        {
            write_if_different(port, target.id, register, value)?;
        }
    }
    Ok(())
}

/// Make the pose held now the middle: it reads 2047 afterwards. Returns the homing offsets. Opens the position limits.
///
/// # Errors
/// The errors of the bus, and [`BusError::NotKept`] if a joint reads something else afterwards by more than it can have moved.
pub fn home(port: &mut ServoPort, targets: &[Target]) -> Result<Vec<i32>, BusError> {
    let mut offsets = Vec::with_capacity(targets.len());
    for target in targets {
        let id = target.id;
        for (register, value) in calibration_registers(&blank(id)) {
            write_if_different(port, id, register, value)?;
        }
        port.pause(SETTLE);
        let raw = port.read(id, Register::PRESENT_POSITION)?.value;
        let offset = homing_offset_for(raw);
        port.write_verified(id, Register::HOMING_OFFSET, offset)?;
        port.pause(SETTLE);
        let reads = port.read(id, Register::PRESENT_POSITION)?.value;
        if (reads - super::calibration::HOMED_TICK).abs() > 100 {
            let wrote = super::calibration::HOMED_TICK;
            return Err(BusError::NotKept { id, register: Register::PRESENT_POSITION.name, wrote, reads });
        }
        offsets.push(offset);
    }
    Ok(offsets)
}

/// The ranges of joints being moved by hand.
#[derive(Clone, Debug)]
pub struct Recording {
    targets: Vec<Target>,
    offsets: Vec<i32>,
    recorders: Vec<RangeRecorder>,
    /// Newest reading per joint, ticks, for display.
    pub ticks: Vec<Option<i32>>,
}

impl Recording {
    /// Start recording joints whose homing offsets in force are `offsets`.
    pub fn new(targets: &[Target], offsets: &[i32]) -> Self {
        Recording {
            targets: targets.to_vec(),
            offsets: offsets.to_vec(),
            recorders: vec![RangeRecorder::new(); targets.len()],
            ticks: vec![None; targets.len()],
        }
    }

    /// Read all joints once; call at 50 Hz or more, so that no joint turns half a turn in between. Lost answers are passed over.
    ///
    /// # Errors
    /// [`BusError::Unplugged`].
    pub fn sample(&mut self, port: &mut ServoPort) -> Result<(), BusError> {
        let ids: Vec<u8> = self.targets.iter().map(|target| target.id).collect();
        let read = port.sync_read(&ids, PRESENT_ADDRESS, PRESENT_LEN)?;
        for ((answer, recorder), shown) in read.answers.iter().zip(&mut self.recorders).zip(&mut self.ticks) {
            let position = |block: &[u8]| Register::PRESENT_POSITION.in_block(PRESENT_ADDRESS, block);
            if let Some(ticks) = answer.as_ref().and_then(|(block, _)| position(block)) {
                recorder.add(ticks);
                *shown = Some(ticks);
            }
        }
        Ok(())
    }

    /// Lowest and highest reading of each joint so far, ticks; beyond 0..=4095 if it crossed the encoder's jump.
    pub fn ranges(&self) -> Vec<Option<(i32, i32)>> {
        self.recorders.iter().map(RangeRecorder::range).collect()
    }

    /// The calibration that follows. A joint that crossed the jump gets an offset that moves its whole range clear of it, and
    /// so does no longer read 2047 in the middle pose but at the middle of its range.
    ///
    /// # Errors
    /// [`BusError::Settings`] naming a joint that was not moved or went round more than once.
    pub fn finish(&self) -> Result<ArmCalibration, BusError> {
        let mut joints = Vec::with_capacity(self.targets.len());
        for ((target, offset), recorder) in self.targets.iter().zip(&self.offsets).zip(&self.recorders) {
            let wrong = |reason: &str| BusError::Settings { field: target.name.clone(), reason: reason.to_owned() };
            let (range_min, range_max) = recorder.range().ok_or_else(|| wrong("it was never read"))?;
            let mut calibration =
                JointCalibration { id: target.id, drive_mode: 0, homing_offset: *offset, range_min, range_max };
            if target.full_turn {
                (calibration.range_min, calibration.range_max) = (0, MAX_TICK);
            } else if range_max - range_min > MAX_TICK {
                return Err(wrong("it went round more than once; hold its horn screw and calibrate it again"));
            } else if range_max == range_min {
                return Err(wrong("it was not moved; move it to both ends"));
            } else if recorder.wrapped() {
                let (homing_offset, range_min, range_max) =
                    recorder.rehomed(*offset).ok_or_else(|| wrong("it was never read"))?;
                calibration = JointCalibration { homing_offset, range_min, range_max, ..calibration };
            }
            joints.push((target.name.clone(), calibration));
        }
        Ok(ArmCalibration { joints })
    }
}

/// Write a calibration into the servos: only registers that differ, behind an open lock, read back, locked again. Returns how
/// many were written. The torque must be off.
///
/// # Errors
/// The errors of the bus.
pub fn write(port: &mut ServoPort, calibration: &ArmCalibration) -> Result<u32, BusError> {
    let mut written = 0;
    for (_, joint) in &calibration.joints {
        port.write_verified(joint.id, Register::LOCK, 0)?;
        for (register, value) in calibration_registers(joint) {
            written += u32::from(write_if_different(port, joint.id, register, value)?);
        }
        port.write_verified(joint.id, Register::LOCK, 1)?;
    }
    Ok(written)
}

/// Registers in which the servos differ from the calibration: joint, register name, value in the servo, value in the file. The
/// check at each start.
///
/// # Errors
/// The errors of the bus.
pub fn drift(
    port: &mut ServoPort,
    calibration: &ArmCalibration,
) -> Result<Vec<(String, &'static str, i32, i32)>, BusError> {
    let mut different = Vec::new();
    for (name, joint) in &calibration.joints {
        for (register, file) in calibration_registers(joint) {
            let servo = port.read(joint.id, register)?.value;
            if servo != file {
                different.push((name.clone(), register.name, servo, file));
            }
        }
    }
    Ok(different)
}

fn blank(id: u8) -> JointCalibration {
    JointCalibration { id, drive_mode: 0, homing_offset: 0, range_min: 0, range_max: MAX_TICK }
}

fn write_if_different(port: &mut ServoPort, id: u8, register: Register, value: i32) -> Result<bool, BusError> {
    if port.read(id, register)?.value == value {
        return Ok(false);
    }
    port.write_verified(id, register, value)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::calibration::Zero;
    use crate::bus::registers::RAD_PER_TICK;
    use crate::bus::virtual_bus::VirtualBus;
    use crate::bus::virtual_bus::plant::SimplePlant;
    use crate::bus::virtual_bus::servo::VirtualServo;
    use crate::bus::virtual_bus::sim_port::SharedBus;
    use std::sync::Arc;

    /// Six servos with ids but never calibrated, their encoders mounted anyhow: joint angle 0 reads `zeros` raw.
    fn uncalibrated(zeros: [i32; 6]) -> (SharedBus, ServoPort) {
        let servos = so100_targets().into_iter().zip(zeros).map(|(target, zero)| {
            // Mounted so: the servo's own reading is what a calibration without offset, with its middle at `zero`, makes 0.
            let mount = JointCalibration { range_min: zero - 1000, range_max: zero + 1000, ..blank(target.id) };
            let mut servo = VirtualServo::calibrated(&mount, Zero::Middle { offset_rad: 0.0 });
            // As an older calibration left it, behind the open lock.
            servo.write(Register::LOCK.address, &[0]);
            servo.write(Register::MIN_POSITION.address, &[0, 0, 0xFF, 0x0F]);
            servo
        });
        let bus = SharedBus::new(VirtualBus::new(servos.collect(), Box::new(SimplePlant::new(6))));
        let port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
        (bus, port)
    }

    fn sweep(bus: &SharedBus, port: &mut ServoPort, recording: &mut Recording, lower_rad: f64, upper_rad: f64) {
        for step in 0..=100 {
            let angle_rad = lower_rad + (upper_rad - lower_rad) * f64::from(step) / 100.0;
            bus.lock().place(&[angle_rad; 6]);
            recording.sample(port).unwrap();
        }
    }

    #[test]
    fn an_arm_is_calibrated_whatever_its_encoders_read() {
        let targets = so100_targets();
        let (bus, mut port) = uncalibrated([2048, 300, 4000, 1000, 3100, 10]);
        release(&mut port, &targets).unwrap();
        let offsets = home(&mut port, &targets).unwrap();
        let mut recording = Recording::new(&targets, &offsets);
        sweep(&bus, &mut port, &mut recording, -1.7, 1.7);
        let calibration = recording.finish().unwrap();
        assert!(write(&mut port, &calibration).unwrap() >= 10);
        assert_eq!(write(&mut port, &calibration).unwrap(), 0, "what is right is not written again");
        assert_eq!(drift(&mut port, &calibration).unwrap(), []);
        for (name, joint) in &calibration.joints {
            if name == "wrist_roll" {
                assert_eq!((joint.range_min, joint.range_max), (0, 4095));
            } else {
                assert!((joint.middle() - 2047.0).abs() <= 1.0, "{name}: {joint:?}");
                assert!((joint.width() * RAD_PER_TICK - 3.4).abs() < 0.01, "{name}: {joint:?}");
            }
        }
        bus.lock().servos_mut().iter_mut().for_each(VirtualServo::power_up);
        assert_eq!(drift(&mut port, &calibration).unwrap(), [], "it survives a loss of power");
        bus.lock().servos_mut()[2].set(Register::HOMING_OFFSET, 7);
        assert_eq!(drift(&mut port, &calibration).unwrap()[0].0, "elbow_flex");
    }

    #[test]
    fn a_pose_homed_far_from_the_middle_is_rehomed() {
        let targets = so100_targets();
        let (bus, mut port) = uncalibrated([2048; 6]);
        release(&mut port, &targets).unwrap();
        // Held near the lower end: the upper end then lies beyond the encoder's jump.
        bus.lock().place(&[-1.6; 6]);
        let offsets = home(&mut port, &targets).unwrap();
        let mut recording = Recording::new(&targets, &offsets);
        sweep(&bus, &mut port, &mut recording, -1.7, 1.9);
        let calibration = recording.finish().unwrap();
        write(&mut port, &calibration).unwrap();
        let pan = calibration.joint("shoulder_pan").unwrap();
        assert!(pan.range_min > 500 && pan.range_max < 3600, "{pan:?}");
        // The angle it reads is that of the joint, measured from the middle of its range.
        bus.lock().place(&[0.7; 6]);
        let ticks = port.read(1, Register::PRESENT_POSITION).unwrap().value;
        let angle_rad = (f64::from(ticks) - pan.middle()) * RAD_PER_TICK;
        assert!((angle_rad - (0.7 - 0.1)).abs() < 0.003, "{angle_rad}");
    }

    #[test]
    fn a_joint_that_was_not_moved_is_named() {
        let targets = so100_targets();
        let (_bus, mut port) = uncalibrated([2048; 6]);
        let offsets = home(&mut port, &targets).unwrap();
        let mut recording = Recording::new(&targets, &offsets);
        recording.sample(&mut port).unwrap();
        let error = recording.finish().unwrap_err().to_string();
        assert!(error.contains("shoulder_pan") && error.contains("both ends"), "{error}");
    }
}
