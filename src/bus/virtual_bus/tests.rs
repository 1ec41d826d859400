//! Tests of the emulated bus through the port layer.

use super::*;
use crate::bus::error::BusError;
use crate::bus::port::ServoPort;
use crate::bus::registers::{JOINT_IDS, PRESENT_ADDRESS, PRESENT_LEN, TICKS_PER_TURN};
use crate::bus::virtual_bus::sim_port::SharedBus;
use proptest::prelude::*;
use std::sync::Arc;

fn arm() -> ArmCalibration {
    ArmCalibration::from_json(include_str!("../../../tests/fixtures/bus/follower.json")).unwrap()
}

fn connected() -> (SharedBus, ServoPort) {
    let bus = SharedBus::new(VirtualBus::calibrated(&arm(), &[]));
    let port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
    (bus, port)
}

#[test]
fn one_sync_read_brings_everything_in_its_wire_time() {
    let (bus, mut port) = connected();
    bus.lock().place(&[0.3, -0.4, 0.5, 0.6, -0.2, 0.1]);
    let start_ns = bus.lock().now_ns();
    let read = port.sync_read(&JOINT_IDS, PRESENT_ADDRESS, PRESENT_LEN).unwrap();
    assert!(read.is_complete());
    assert_eq!((read.noise_bytes, read.stray_packets), (0, 0));
    let voltage = |answer: &(Vec<u8>, _)| Register::PRESENT_VOLTAGE.in_block(PRESENT_ADDRESS, &answer.0);
    assert!(read.answers.iter().flatten().all(|answer| voltage(answer) == Some(120)));
    // 14 bytes out, 6 x 21 back, six turnarounds of 20 us.
    assert_eq!(bus.lock().now_ns() - start_ns, (14 + 6 * 21) * 10_000 + 6 * 20_000);
}

#[test]
fn a_missing_servo_costs_only_its_own_answer() {
    let (bus, mut port) = connected();
    bus.lock().inject(1.0, FaultKind::DropReply { servo: Some(2), probability: 1.0 });
    bus.lock().inject(1.0, FaultKind::CorruptReply { servo: Some(4), probability: 1.0 });
    let read = port.sync_read(&JOINT_IDS, PRESENT_ADDRESS, PRESENT_LEN).unwrap();
    let answered: Vec<bool> = read.answers.iter().map(Option::is_some).collect();
    assert_eq!(answered, [true, true, false, true, false, true]);
}

#[test]
fn writes_and_reads_go_through_rustypot() {
    let (bus, mut port) = connected();
    assert!(port.ping(3).unwrap());
    assert!(!port.ping(9).unwrap());
    assert_eq!(port.read(2, Register::HOMING_OFFSET).unwrap().value, 1034);
    port.write_verified(2, Register::GOAL_POSITION, 2000).unwrap();
    assert_eq!(bus.lock().servos()[1].get(Register::GOAL_POSITION), 2000);
    assert!(matches!(port.write(2, Register::MODEL, 1), Err(BusError::ReadOnly { .. })));
    assert!(matches!(port.write(2, Register::HOMING_OFFSET, 4000), Err(BusError::OutOfRange { .. })));
    assert!(matches!(port.read(9, Register::MODEL), Err(BusError::NoAnswer { id: 9 })));
}

#[test]
fn a_sync_write_moves_the_joints() {
    let (bus, mut port) = connected();
    for id in JOINT_IDS {
        let position = port.read(id, Register::PRESENT_POSITION).unwrap().value;
        port.write(id, Register::GOAL_POSITION, position).unwrap();
        port.write(id, Register::TORQUE_ENABLE, 1).unwrap();
    }
    port.sync_write(Register::GOAL_POSITION, &[(1, 2040 + 400), (3, 1990 - 300)]).unwrap();
    bus.lock().advance_to(3_000_000_000);
    let moved = bus.lock().motions()[0].position_rad - 400.0 * std::f64::consts::TAU / 4095.0;
    assert!(moved.abs() < 0.02, "{moved}");
    let audit = bus.lock().audit.clone();
    assert_eq!((audit.goals, audit.goals_outside_limits, audit.torque_on_jumps), (8, 0, 0));
}

#[test]
fn what_a_driver_must_not_do_is_seen() {
    let (bus, mut port) = connected();
    port.sync_write(Register::GOAL_POSITION, &[(1, 700)]).unwrap();
    port.write(1, Register::TORQUE_ENABLE, 1).unwrap();
    let audit = bus.lock().audit.clone();
    assert_eq!((audit.goals_outside_limits, audit.torque_on_jumps), (1, 1));
    assert!(audit.first_violation.unwrap().contains("goal 700 of servo 1"));
}

#[test]
fn two_servos_with_one_id_spoil_each_others_answers() {
    let bus = SharedBus::new(VirtualBus::factory_new(2));
    let mut port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
    bus.lock().place(&[0.0, 0.5]);
    let read = port.sync_read(&[1], PRESENT_ADDRESS, PRESENT_LEN).unwrap();
    assert!(!read.is_complete() && read.noise_bytes > 10, "{read:?}");
    bus.lock().servos_mut().pop();
    assert!(port.sync_read(&[1], PRESENT_ADDRESS, PRESENT_LEN).unwrap().is_complete());
}

#[test]
fn everyone_answers_a_ping_and_only_at_its_own_baud_rate() {
    let (bus, mut port) = connected();
    bus.lock().servos_mut()[5].set(Register::BAUD_RATE, 4);
    assert_eq!(port.broadcast_ping().unwrap(), [1, 2, 3, 4, 5]);
    port.set_baud(115_200).unwrap();
    assert_eq!(port.broadcast_ping().unwrap(), [6]);
}

#[test]
fn a_pulled_cable_ends_the_port_but_not_the_bus() {
    let (bus, mut port) = connected();
    bus.lock().inject(0.5, FaultKind::Unplug);
    assert!(matches!(port.read(1, Register::MODEL), Err(BusError::Unplugged { .. })));
    assert!(bus.open(1_000_000).is_err());
    bus.lock().advance_to(600_000_000);
    assert!(port.ping(1).is_err(), "the old port stays dead");
    let mut port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
    assert!(port.ping(1).unwrap());
}

#[test]
fn a_brown_out_leaves_the_servo_limp() {
    let (bus, mut port) = connected();
    port.write(1, Register::GOAL_POSITION, 2040).unwrap();
    port.write(1, Register::TORQUE_ENABLE, 1).unwrap();
    bus.lock().inject(0.1, FaultKind::BrownOut { servo: Some(0), volts: 3.0 });
    assert!(!port.ping(1).unwrap());
    bus.lock().advance_to(300_000_000);
    assert_eq!(port.read(1, Register::TORQUE_ENABLE).unwrap().value, 0);
    assert!(port.ping(2).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_from_a_host_are_survived(
        chunks in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![2 => Just(0xFFu8), 2 => 0u8..8, 1 => Just(0xFEu8), 2 => any::<u8>()], 0..60),
            1..20,
        ),
    ) {
        let mut bus = VirtualBus::calibrated(&arm(), &[]);
        let mut buffer = [0u8; 512];
        for chunk in &chunks {
            bus.receive(chunk);
            let now_ns = bus.now_ns();
            bus.advance_to(now_ns + 2_000_000);
            while bus.send(&mut buffer) > 0 {}
        }
        for motion in bus.motions() {
            prop_assert!(motion.position_rad.is_finite());
        }
        prop_assert!(bus.servos().iter().all(|servo| servo.get(Register::PRESENT_POSITION) < TICKS_PER_TURN));
    }
}
