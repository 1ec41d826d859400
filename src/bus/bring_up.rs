//! The transactions that bring each servo to the state it should be in: registers checked, torque on or off, protection
//! cleared. At most one joint per cycle; what fails is tried again in a later one.

use super::engine::{Engine, STALE_S};
use super::error::BusError;
use super::joint::Joint;
use super::packet::StatusBits;
use super::port::ServoPort;
use super::registers::{MODEL_STS3215, Register};
use super::settings::calibration_registers;
use super::state::NoticeKind;

/// How often a joint that cannot be used is looked at again, cycles. No multiple of a number of joints, so that each has its turn.
const LOOK_AGAIN_EVERY: u64 = 49;
/// Every so many cycles one joint's torque register is read, whatever is believed.
const CONFIRM_EVERY: u64 = 8;
/// How long an overloaded joint rests before its protection is cleared, s.
const OVERLOAD_REST_S: f64 = 0.3;
/// Acceleration of position moves: the highest, as LeRobot sets it.
const ACCELERATION: i32 = 254;
/// A joint this far outside its calibrated range gets no torque, ticks (5 degrees): its encoder has wrapped, or the calibration
/// is not its own.
const OUTSIDE_TICKS: i32 = 57;

impl Engine {
    /// Do the next thing that is needed, for one joint.
    pub(super) fn bring_up(&mut self, now_s: f64) -> Result<(), BusError> {
        let Some(index) = self.most_urgent(now_s) else { return Ok(()) };
        let wanted = self.intent.torque();
        let write_calibration = self.settings.write_calibration;
        let Some(port) = self.port.as_mut() else { return Ok(()) };
        let joint = &mut self.joints[index];
        let done = if joint.verified && wanted == Some(false) && joint.torque != Some(false) {
            joint.torque_off(port)
        } else if !joint.verified || joint.obstacle.is_some() {
            joint.verify(port, write_calibration)
        } else if joint.torque.is_none() {
            joint.confirm_torque(port)
        } else if joint.torque == Some(false) && wanted == Some(true) {
            joint.torque_on(port)
        } else if joint.overload_since_s.is_some() {
            joint.clear_overload(port, now_s)
        } else {
            joint.confirm_torque(port)
        };
        match done {
            Ok(()) => Ok(()),
            Err(error @ BusError::Unplugged { .. }) => Err(error),
            Err(error) => {
                joint.reading.errors.transactions += 1;
                joint.torque = None;
                // A lost packet is tried again in the next cycle; another kind of servo will still be there then.
                if matches!(error, BusError::WrongModel { .. } | BusError::NotKept { .. } | BusError::OutOfRange { .. })
                {
                    joint.obstacle = Some(NoticeKind::Unusable { reason: error.to_string() });
                }
                Ok(())
            }
        }
    }

    /// The joint that needs something most, in turns so that one that always fails does not starve the others.
    fn most_urgent(&self, now_s: f64) -> Option<usize> {
        let count = self.joints.len();
        let first = (self.cycle as usize) % count.max(1);
        let turn = (0..count).map(|offset| (first + offset) % count);
        let at_hand = |joint: &Joint| joint.age_s(now_s) < STALE_S && joint.missed_in_row == 0;
        let wanted = self.intent.torque();
        let needs = |joint: &Joint| {
            let release = joint.verified && wanted == Some(false) && joint.torque != Some(false);
            if joint.obstacle.is_some() {
                return release || self.cycle.is_multiple_of(LOOK_AGAIN_EVERY);
            }
            let rested = joint.overload_since_s.is_some_and(|since_s| now_s - since_s > OVERLOAD_REST_S);
            let as_wanted = joint.torque.is_some() && wanted.is_none_or(|wanted| joint.torque == Some(wanted));
            !joint.verified || !as_wanted || (rested && joint.torque == Some(true))
        };
        turn.clone().find(|index| at_hand(&self.joints[*index]) && needs(&self.joints[*index])).or_else(|| {
            let routine = self.cycle.is_multiple_of(CONFIRM_EVERY);
            let index = (self.cycle / CONFIRM_EVERY) as usize % count.max(1);
            (routine && at_hand(self.joints.get(index)?)).then_some(index)
        })
    }

    /// The whole control table of a joint as the servo has it now, 71 bytes, for a closer look while the driver runs.
    ///
    /// # Errors
    /// [`BusError::Unplugged`] or [`BusError::NoAnswer`].
    pub fn read_table(&mut self, index: usize) -> Result<Vec<u8>, BusError> {
        let joint = self.joints.get(index).ok_or_else(|| BusError::Settings {
            field: "joint index".to_owned(),
            reason: format!("{index} is not below {}", self.joints.len()),
        })?;
        let port = self.port.as_mut().ok_or_else(|| BusError::Unplugged { reason: "not connected".to_owned() })?;
        port.read_bytes(joint.id, 0, 71).map(|(bytes, _)| bytes)
    }
}

impl Joint {
    /// Compare the servo's registers with what they should be; write those that differ if its torque is off.
    fn verify(&mut self, port: &mut ServoPort, write_calibration: bool) -> Result<(), BusError> {
        let (table, _) = port.read_bytes(self.id, 0, 56)?;
        let get = |register: Register| register.in_block(0, &table).unwrap_or(0);
        if get(Register::MODEL) != MODEL_STS3215 {
            return Err(BusError::WrongModel { id: self.id, model: get(Register::MODEL) });
        }
        let torque_on = get(Register::TORQUE_ENABLE) == 1;
        // Found on: the goal it has is asked for before any other is sent.
        self.torque = if torque_on { None } else { Some(false) };
        let mut wrong: Vec<(Register, i32)> = self.settings.eeprom(get(Register::PHASE));
        wrong.retain(|(register, value)| get(*register) != *value);
        let mut calibration = calibration_registers(&self.calibration).to_vec();
        calibration.retain(|(register, value)| get(*register) != *value);
        self.obstacle = None;
        if let Some((register, file)) = calibration.first()
            && !write_calibration
        {
            let (register, servo, file) = (register.name, get(*register), *file);
            self.obstacle = Some(NoticeKind::CalibrationDiffers { register, servo, file });
            self.verified = true;
            return Ok(());
        }
        wrong.append(&mut calibration);
        if !wrong.is_empty() {
            if torque_on {
                // An arm that holds something is not let go for a register: released and checked again at the next chance.
                self.obstacle = Some(NoticeKind::Unusable {
                    reason: "its settings differ while its torque is on; park and release the arm to correct them"
                        .to_owned(),
                });
                self.verified = true;
                return Ok(());
            }
            port.write_verified(self.id, Register::LOCK, 0)?;
            for (register, value) in wrong {
                port.write_verified(self.id, register, value)?;
            }
        }
        if get(Register::LOCK) != 1 || port.read(self.id, Register::LOCK)?.value != 1 {
            port.write_verified(self.id, Register::LOCK, 1)?;
        }
        self.verified = true;
        Ok(())
    }

    fn confirm_torque(&mut self, port: &mut ServoPort) -> Result<(), BusError> {
        let on = port.read(self.id, Register::TORQUE_ENABLE)?.value == 1;
        let before = self.torque.replace(on);
        if self.powered_by_us && !on {
            self.reading.errors.resets += 1;
            self.powered_by_us = false;
        }
        if before.is_none() && on {
            // It was on all along, as after a cable that was out: carry on from the goal it has.
            let goal = port.read(self.id, Register::GOAL_POSITION)?.value;
            self.guard.reset(self.map.to_rad(goal));
            if !self.powered_by_us {
                self.limit(port)?;
                self.powered_by_us = true;
            }
        }
        Ok(())
    }

    /// Goal to where the joint is, confirmed, before the torque comes on: the arm never jumps.
    fn torque_on(&mut self, port: &mut ServoPort) -> Result<(), BusError> {
        if self.obstacle.is_some() {
            return Ok(());
        }
        let id = self.id;
        let ticks = port.read(id, Register::PRESENT_POSITION)?.value;
        if (ticks - self.reading.ticks).abs() > 200 {
            // Noise, or a joint in free fall; the next cycle looks again.
            return Ok(());
        }
        let position_rad = self.map.to_rad(ticks);
        let goal = self.goal_ticks(position_rad);
        if (goal - ticks).abs() > OUTSIDE_TICKS {
            let (min, max) = (self.calibration.range_min, self.calibration.range_max);
            self.obstacle = Some(NoticeKind::OutsideRange { ticks, min, max });
            return Ok(());
        }
        port.write_verified(id, Register::GOAL_POSITION, goal)?;
        self.limit(port)?;
        port.write_verified(id, Register::TORQUE_ENABLE, 1)?;
        self.guard.reset(position_rad);
        self.torque = Some(true);
        self.powered_by_us = true;
        Ok(())
    }

    /// The servo's own limits of torque and speed, reset to the highest by a loss of power.
    fn limit(&self, port: &mut ServoPort) -> Result<(), BusError> {
        port.write_verified(self.id, Register::TORQUE_LIMIT, self.settings.torque_units())?;
        port.write_verified(self.id, Register::GOAL_VELOCITY, self.settings.velocity_units())?;
        port.write_verified(self.id, Register::ACCELERATION, ACCELERATION).map(drop)
    }

    fn torque_off(&mut self, port: &mut ServoPort) -> Result<(), BusError> {
        port.write_verified(self.id, Register::TORQUE_ENABLE, 0)?;
        self.torque = Some(false);
        self.powered_by_us = false;
        // What could not be corrected while it was on can be now.
        self.verified = self.obstacle.is_none();
        Ok(())
    }

    /// A tripped protection is cleared by a torque cycle. The goal is at the joint by now, so it only gives way for the
    /// millisecond between the two writes.
    fn clear_overload(&mut self, port: &mut ServoPort, now_s: f64) -> Result<(), BusError> {
        let id = self.id;
        let ticks = port.read(id, Register::PRESENT_POSITION)?.value;
        port.write_verified(id, Register::GOAL_POSITION, self.goal_ticks(self.map.to_rad(ticks)))?;
        self.overloads_cleared.push(now_s);
        self.reading.errors.overloads += 1;
        self.torque = None;
        port.write(id, Register::TORQUE_ENABLE, 0)?;
        port.write_verified(id, Register::TORQUE_ENABLE, 1)?;
        self.guard.reset(self.map.to_rad(ticks));
        self.torque = Some(true);
        self.overload_since_s = Some(now_s).filter(|_| !self.reading.status.contains(StatusBits::SENSOR));
        Ok(())
    }
}
