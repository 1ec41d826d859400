//! Giving servos their ids and baud rate, one motor at a time. A new servo has id 1, so two at once cannot be told apart: that
//! is noticed here instead of giving both the same id.

use super::error::BusError;
use super::packet::MAX_ID;
use super::port::ServoPort;
use super::registers::{
    BAUD_RATES, JOINT_IDS, JOINT_NAMES, MODEL_STS3215, PRESENT_ADDRESS, PRESENT_LEN, Register, VOLT_PER_UNIT,
};

/// The order in which motors are set up: from the gripper down, as LeRobot's guide and the cables go.
pub fn setup_order() -> impl Iterator<Item = (u8, &'static str)> {
    JOINT_IDS.into_iter().zip(JOINT_NAMES).rev()
}

/// The one motor that is connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundMotor {
    /// Its id.
    pub id: u8,
    /// The baud rate it listens at.
    pub baud: u32,
    /// Its model number.
    pub model: i32,
    /// Its supply voltage, V.
    pub voltage_v: f64,
}

/// Readings of a motor that must all be whole for it to count as alone.
const SAMPLES: u32 = 8;

/// Look for the one connected motor at every baud rate, the most likely first; takes 0.8 s per rate. The port is left at the
/// motor's rate.
///
/// # Errors
/// [`BusError::NoServo`], [`BusError::SeveralServos`] or [`BusError::DuplicateId`], [`BusError::WrongModel`],
/// [`BusError::Unplugged`].
pub fn find_only_motor(port: &mut ServoPort) -> Result<FoundMotor, BusError> {
    let mut garbled = None;
    for baud in BAUD_RATES {
        port.set_baud(baud)?;
        let mut ids = port.broadcast_ping()?;
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BusError::DuplicateId { id: pair[0] });
        }
        match ids.as_slice() {
            // Two with one id may answer a ping to everyone with nothing that can be read.
            [] => garbled = garbled.or(garbled_id(port)?),
            // One may be heard well while others with one id spoil each other's answers.
            [id] => {
                return match garbled_id(port)? {
                    Some(other) => Err(BusError::DuplicateId { id: other }),
                    None => confirm(port, *id, baud),
                };
            }
            _ => return Err(BusError::SeveralServos { ids, baud }),
        }
    }
    match garbled {
        Some(id) => Err(BusError::DuplicateId { id }),
        None => Err(BusError::NoServo { path: port.path() }),
    }
}

/// The first of the usual ids whose answer is noise.
fn garbled_id(port: &mut ServoPort) -> Result<Option<u8>, BusError> {
    for id in JOINT_IDS {
        let read = port.sync_read(&[id], PRESENT_ADDRESS, PRESENT_LEN)?;
        if !read.is_complete() && read.noise_bytes > 0 {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Make sure that one motor answers with `id`, not two in turns.
fn confirm(port: &mut ServoPort, id: u8, baud: u32) -> Result<FoundMotor, BusError> {
    let model = port.read(id, Register::MODEL)?.value;
    if model != MODEL_STS3215 {
        return Err(BusError::WrongModel { id, model });
    }
    let mut damaged = 0;
    for _ in 0..SAMPLES {
        let read = port.sync_read(&[id], PRESENT_ADDRESS, PRESENT_LEN)?;
        damaged += u32::from(!read.is_complete() || read.stray_packets > 0);
    }
    if damaged > SAMPLES / 2 {
        return Err(BusError::DuplicateId { id });
    }
    let voltage_v = f64::from(port.read(id, Register::PRESENT_VOLTAGE)?.value) * VOLT_PER_UNIT;
    Ok(FoundMotor { id, baud, model, voltage_v })
}

/// Give the motor `found` the id `new_id` and 1 Mbaud, read both back, and lock its EEPROM again. The port is left at 1 Mbaud.
///
/// # Errors
/// [`BusError::Settings`] for an id that cannot be, [`BusError::SeveralServos`] if another motor has it,
/// [`BusError::NotKept`] if the motor does not keep what was written, and the errors of the bus.
pub fn assign(port: &mut ServoPort, found: &FoundMotor, new_id: u8) -> Result<(), BusError> {
    if new_id > MAX_ID {
        let reason = format!("{new_id} is not in 0..={MAX_ID}");
        return Err(BusError::Settings { field: "servo id".to_owned(), reason });
    }
    let (old, baud) = (found.id, found.baud);
    if old != new_id && port.ping(new_id)? {
        return Err(BusError::SeveralServos { ids: vec![old, new_id], baud });
    }
    port.write_verified(old, Register::TORQUE_ENABLE, 0)?;
    port.write_verified(old, Register::LOCK, 0)?;
    if old != new_id {
        // Whether the motor answers from its old or its new id is not documented; what counts is what it says afterwards.
        ignore_silence(port.write(old, Register::ID, i32::from(new_id)))?;
        expect(port, new_id, Register::ID, i32::from(new_id))?;
    }
    if baud != BAUD_RATES[0] {
        ignore_silence(port.write(new_id, Register::BAUD_RATE, 0))?;
        port.set_baud(BAUD_RATES[0])?;
    }
    expect(port, new_id, Register::BAUD_RATE, 0)?;
    port.write_verified(new_id, Register::LOCK, 1)?;
    expect(port, new_id, Register::ID, i32::from(new_id))?;
    if old != new_id && port.ping(old)? {
        return Err(BusError::DuplicateId { id: old });
    }
    Ok(())
}

fn ignore_silence<T>(result: Result<T, BusError>) -> Result<(), BusError> {
    match result {
        Ok(_) | Err(BusError::NoAnswer { .. } | BusError::Corrupt { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn expect(port: &mut ServoPort, id: u8, register: Register, wrote: i32) -> Result<(), BusError> {
    let reads = port.read(id, register)?.value;
    if reads == wrote { Ok(()) } else { Err(BusError::NotKept { id, register: register.name, wrote, reads }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::virtual_bus::VirtualBus;
    use crate::bus::virtual_bus::fault::FaultKind;
    use crate::bus::virtual_bus::sim_port::SharedBus;
    use std::sync::Arc;

    fn with_new_motors(count: usize) -> (SharedBus, ServoPort) {
        let bus = SharedBus::new(VirtualBus::factory_new(count));
        bus.lock().place(&[0.0, 0.7, -0.3][..count]);
        let port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
        (bus, port)
    }

    #[test]
    fn a_new_motor_gets_its_id_and_keeps_it_without_power() {
        for baud_code in [0, 4] {
            let (bus, mut port) = with_new_motors(1);
            bus.lock().servos_mut()[0].write(Register::LOCK.address, &[0]);
            bus.lock().servos_mut()[0].write(Register::BAUD_RATE.address, &[baud_code]);
            let found = find_only_motor(&mut port).unwrap();
            assert_eq!((found.id, found.baud), (1, BAUD_RATES[usize::from(baud_code)]));
            assign(&mut port, &found, 6).unwrap();
            bus.lock().servos_mut()[0].power_up();
            assert_eq!(port.read(6, Register::BAUD_RATE).unwrap().value, 0);
            assert_eq!(port.read(6, Register::LOCK).unwrap().value, 1);
            assert!(!port.ping(1).unwrap());
        }
    }

    #[test]
    fn two_motors_at_once_are_refused() {
        let (_bus, mut port) = with_new_motors(2);
        assert!(matches!(find_only_motor(&mut port), Err(BusError::DuplicateId { id: 1 })));
        let (bus, mut port) = with_new_motors(2);
        bus.lock().servos_mut()[1].set(Register::ID, 5);
        let error = find_only_motor(&mut port).unwrap_err();
        assert!(matches!(&error, BusError::SeveralServos { ids, .. } if ids == &[1, 5]), "{error}");
        let (bus_of_three, mut three) = with_new_motors(3);
        bus_of_three.lock().servos_mut()[2].set(Register::ID, 6);
        assert!(
            matches!(find_only_motor(&mut three), Err(BusError::DuplicateId { id: 1 })),
            "one of three is heard well"
        );
        let found = FoundMotor { id: 1, baud: 1_000_000, model: 777, voltage_v: 12.0 };
        assert!(matches!(assign(&mut port, &found, 5), Err(BusError::SeveralServos { .. })));
        assert_eq!(bus.lock().servos()[0].id(), 1, "nothing was changed");
    }

    #[test]
    fn no_motor_and_a_wrong_model_are_named() {
        let (bus, mut port) = with_new_motors(1);
        bus.lock().servos_mut()[0].set(Register::MODEL, 1284);
        assert!(matches!(find_only_motor(&mut port), Err(BusError::WrongModel { id: 1, model: 1284 })));
        bus.lock().inject(1e6, FaultKind::BrownOut { servo: None, volts: 0.0 });
        let error = find_only_motor(&mut port).unwrap_err().to_string();
        assert!(error.contains("power supply"), "{error}");
    }

    #[test]
    fn all_six_are_set_up_one_after_the_other() {
        let mut done = Vec::new();
        for (id, name) in setup_order() {
            let (_bus, mut port) = with_new_motors(1);
            let found = find_only_motor(&mut port).unwrap();
            assign(&mut port, &found, id).unwrap();
            done.push((id, name));
        }
        assert_eq!((done[0], done[5]), ((6, "gripper"), (1, "shoulder_pan")));
    }
}
