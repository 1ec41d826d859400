//! The driver against the emulated arm in simulated time.

use std::sync::Arc;
use std::time::Duration;

use super::calibration_file::ArmCalibration;
use super::clock::Clock;
use super::engine::Engine;
use super::error::BusError;
use super::registers::Register;
use super::settings::DriverSettings;
use super::state::{ArmState, Mode, NoticeKind, Reason};
use super::virtual_bus::VirtualBus;
use super::virtual_bus::fault::{FaultKind, FaultPlayer, random_script};
use super::virtual_bus::plant::{SimpleJoint, SimplePlant};
use super::virtual_bus::servo::VirtualServo;
use super::virtual_bus::sim_port::SharedBus;

const PERIOD: Duration = Duration::from_millis(10);

fn calibration() -> ArmCalibration {
    ArmCalibration::from_json(include_str!("../../tests/fixtures/bus/follower.json")).unwrap()
}

/// A driver and the bus it drives, in simulated time.
struct Rig {
    bus: SharedBus,
    engine: Engine,
    next: Duration,
}

impl Rig {
    fn with(mut bus: VirtualBus, settings: DriverSettings) -> Self {
        // The worse of the two ways a servo may come up.
        for servo in bus.servos_mut() {
            servo.forgets_goal = true;
            servo.rest();
        }
        let bus = SharedBus::new(bus);
        let opened = bus.clone();
        let baud = settings.baud;
        let opener = move || opened.open(baud).map_err(|error| BusError::Unplugged { reason: error.to_string() });
        let engine = Engine::new(settings, &calibration(), Box::new(opener), Arc::new(bus.clone())).unwrap();
        Rig { bus, engine, next: Duration::ZERO }
    }

    fn new() -> Self {
        let settings = DriverSettings::default();
        let zeros: Vec<_> = settings.joints.iter().map(|joint| joint.zero).collect();
        let mut bus = VirtualBus::calibrated(&calibration(), &zeros);
        bus.place(&[0.1, -1.2, 1.0, 0.8, 0.2, 0.3]);
        Rig::with(bus, settings)
    }

    fn cycle(&mut self) {
        self.engine.cycle();
        let now = self.bus.now();
        while self.next <= now {
            self.next += PERIOD;
        }
        self.bus.sleep_until(self.next);
    }

    /// Run for `seconds`, sending `goal` every cycle if there is one.
    fn run(&mut self, seconds: f64, goal: Option<&[f64]>) -> ArmState {
        let end = self.bus.now() + Duration::from_secs_f64(seconds);
        while self.bus.now() < end {
            if let Some(goal) = goal {
                self.engine.set_goal(goal);
            }
            self.cycle();
        }
        self.engine.state()
    }

    fn enabled() -> Self {
        let mut rig = Rig::new();
        rig.run(0.2, None);
        rig.engine.enable();
        let state = rig.run(0.3, Some(&START));
        assert_eq!(state.mode, Mode::Following);
        rig
    }

    fn positions(&self) -> Vec<f64> {
        self.bus.lock().motions().iter().map(|motion| motion.position_rad).collect()
    }

    fn register(&self, servo: usize, register: Register) -> i32 {
        self.bus.lock().servos()[servo].get(register)
    }

    fn torques(&self) -> Vec<bool> {
        self.bus.lock().servos().iter().map(|servo| servo.get(Register::TORQUE_ENABLE) == 1).collect()
    }

    fn assert_clean(&self) {
        let audit = self.bus.lock().audit.clone();
        assert_eq!((audit.goals_outside_limits, audit.torque_on_jumps), (0, 0), "{audit:?}");
    }
}

const START: [f64; 6] = [0.1, -1.2, 1.0, 0.8, 0.2, 0.3];
const GOAL: [f64; 6] = [0.6, -0.8, 0.6, 0.4, -0.5, 0.8];

fn close(positions: &[f64], goal: &[f64], tolerance_rad: f64) -> bool {
    positions.iter().zip(goal).all(|(position, goal)| (position - goal).abs() < tolerance_rad)
}

#[test]
fn connects_reads_everything_and_leaves_the_arm_limp() {
    let mut rig = Rig::new();
    let state = rig.run(0.2, None);
    assert_eq!((state.mode, state.notices.len()), (Mode::Limp, 0), "{:?}", state.notices);
    assert!(close(&state.positions_rad(), &START, 0.001));
    let joint = &state.joints[0];
    assert_eq!((joint.voltage_v, joint.temperature_c, joint.torque_on), (12.0, 25.0, false));
    assert!(state.is_fresh(0.02));
    // LeRobot's P = 16 was written, once, behind an open lock, and the lock closed again.
    assert_eq!((rig.register(0, Register::P_GAIN), rig.register(0, Register::LOCK)), (16, 1));
    let writes = rig.bus.lock().audit.eeprom_writes;
    rig.bus.lock().inject(0.1, FaultKind::Unplug);
    rig.run(1.0, None);
    assert_eq!(rig.bus.lock().audit.eeprom_writes, writes, "registers that are right are not written again");
}

#[test]
fn torque_comes_on_without_a_jump_and_goals_are_reached() {
    let mut rig = Rig::new();
    rig.run(0.2, None);
    rig.engine.enable();
    let mut fastest = 0.0f64;
    for _ in 0..400 {
        rig.run(0.01, Some(&GOAL));
        let speeds = rig.bus.lock().motions().iter().map(|motion| motion.velocity_rad_s.abs()).fold(0.0, f64::max);
        fastest = fastest.max(speeds);
    }
    assert!(close(&rig.positions(), &GOAL, 0.02), "{:?}", rig.positions());
    assert!(fastest < 0.9, "the first goal is approached slowly, not at {fastest} rad/s");
    assert_eq!(rig.engine.state().mode, Mode::Following);
    rig.assert_clean();
}

#[test]
fn without_goals_it_holds_then_parks_then_goes_limp() {
    let mut rig = Rig::enabled();
    rig.run(2.0, Some(&GOAL));
    let state = rig.run(0.5, None);
    assert_eq!(state.mode, Mode::Holding);
    assert!(close(&rig.positions(), &GOAL, 0.05));
    let state = rig.run(1.8, None);
    assert_eq!((state.mode, state.reason), (Mode::Parking, Some(Reason::Watchdog)));
    let state = rig.run(4.0, None);
    assert_eq!((state.mode, state.reason), (Mode::Limp, Some(Reason::Watchdog)));
    let park: Vec<f64> = DriverSettings::default().joints.iter().map(|joint| joint.park_rad).collect();
    assert!(close(&rig.positions(), &park, 0.05), "{:?}", rig.positions());
    assert_eq!(rig.torques(), [false; 6]);
    rig.run(0.5, Some(&GOAL));
    assert_eq!(rig.torques(), [false; 6], "goals alone do not wake a parked arm");
    rig.assert_clean();
}

#[test]
fn goals_that_come_back_end_a_watchdog_park() {
    let mut rig = Rig::enabled();
    rig.run(2.5, None);
    assert_eq!(rig.run(0.1, Some(&GOAL)).mode, Mode::Following);
    rig.run(4.0, Some(&GOAL));
    assert!(close(&rig.positions(), &GOAL, 0.02));
}

#[test]
fn an_emergency_stop_stands_still_until_enabled() {
    let mut rig = Rig::enabled();
    rig.run(0.1, Some(&GOAL));
    rig.engine.emergency_stop();
    rig.run(0.8, Some(&GOAL));
    let stopped = rig.positions();
    let state = rig.run(1.0, Some(&GOAL));
    assert_eq!((state.mode, state.reason), (Mode::Stopped, Some(Reason::EmergencyStop)));
    assert!(close(&rig.positions(), &stopped, 1e-3), "{:?} {stopped:?}", rig.positions());
    assert!(!close(&stopped, &GOAL, 0.1), "{stopped:?}");
    assert_eq!(rig.torques(), [true; 6]);
    rig.engine.enable();
    rig.run(4.0, Some(&GOAL));
    assert!(close(&rig.positions(), &GOAL, 0.02));
}

#[test]
fn a_shutdown_parks_and_finishes() {
    let mut rig = Rig::enabled();
    rig.run(1.0, Some(&GOAL));
    rig.engine.shut_down();
    let mut cycles = 0;
    while !rig.engine.is_finished() {
        rig.engine.set_goal(&GOAL);
        rig.cycle();
        cycles += 1;
        assert!(cycles < 1000);
    }
    assert_eq!(rig.torques(), [false; 6]);
    let park: Vec<f64> = DriverSettings::default().joints.iter().map(|joint| joint.park_rad).collect();
    assert!(close(&rig.positions(), &park, 0.1), "{:?}", rig.positions());
}

#[test]
fn a_shutdown_can_be_stopped_on_its_way_and_goes_on_when_it_may() {
    let mut rig = Rig::enabled();
    rig.run(2.0, Some(&GOAL));
    rig.engine.shut_down();
    rig.run(0.5, None);
    rig.engine.emergency_stop();
    rig.run(0.5, None);
    let stopped = rig.positions();
    let state = rig.run(30.0, None);
    assert_eq!((state.mode, rig.engine.is_finished(), rig.torques()), (Mode::Stopped, false, vec![true; 6]));
    assert!(close(&rig.positions(), &stopped, 1e-3), "it stands for as long as the person wants");
    rig.engine.enable();
    rig.run(6.0, None);
    assert!(rig.engine.is_finished());
    assert_eq!(rig.torques(), [false; 6]);
    let park: Vec<f64> = DriverSettings::default().joints.iter().map(|joint| joint.park_rad).collect();
    assert!(close(&rig.positions(), &park, 0.1), "{:?}", rig.positions());
}

/// A driver that minds the table, of an arm that stands at `from`.
fn above_table(from: &[f64]) -> Rig {
    let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = Arc::new(crate::arm::load_urdf(&home.join("urdf/so100.urdf")).unwrap());
    let settings = DriverSettings { floor: Some(crate::arm::Floor::new(&model)), ..DriverSettings::default() };
    let zeros: Vec<_> = settings.joints.iter().map(|joint| joint.zero).collect();
    let mut bus = VirtualBus::calibrated(&calibration(), &zeros);
    bus.place(from);
    Rig::with(bus, settings)
}

/// A wrongly calibrated arm: by its model its hand is deep in the table, which in truth it is not.
#[test]
fn an_arm_whose_model_is_inside_the_table_parks_all_the_same() {
    for from in [[0.0, 0.9, 0.6, 0.3, 0.0, 0.5], [0.0, 0.6, 0.9, 0.3, 0.0, 0.0], [-0.6, 0.7, 0.5, 0.6, 0.8, 0.4]] {
        let mut rig = above_table(&from);
        let floor = rig.engine.settings.floor.clone().unwrap();
        assert!(floor.height_m(&from) < -0.03, "{}", floor.height_m(&from));
        rig.run(0.2, None);
        rig.engine.enable();
        rig.run(0.5, Some(&from));
        rig.engine.shut_down();
        let start = rig.bus.now();
        while !rig.engine.is_finished() {
            rig.cycle();
        }
        let took_s = (rig.bus.now() - start).as_secs_f64();
        let park: Vec<f64> = DriverSettings::default().joints.iter().map(|joint| joint.park_rad).collect();
        assert!(close(&rig.positions(), &park, 0.1), "{from:?}: {:?} after {took_s} s", rig.positions());
        assert!(took_s < 20.0, "{took_s}");
        assert_eq!(rig.torques(), [false; 6]);
        rig.assert_clean();
    }
}

#[test]
fn an_arm_found_holding_is_not_dropped() {
    let mut rig = Rig::enabled();
    rig.run(2.0, Some(&GOAL));
    // The program is killed; another one takes over.
    let opened = rig.bus.clone();
    let opener = move || opened.open(1_000_000).map_err(|error| BusError::Unplugged { reason: error.to_string() });
    let clock = Arc::new(rig.bus.clone());
    rig.engine = Engine::new(DriverSettings::default(), &calibration(), Box::new(opener), clock).unwrap();
    rig.bus.lock().servos_mut()[5].set(Register::TORQUE_LIMIT, 1000);
    let state = rig.run(1.0, None);
    assert_eq!((state.mode, rig.torques()), (Mode::Holding, vec![true; 6]));
    assert_eq!(rig.register(5, Register::TORQUE_LIMIT), 500, "the gripper's limit is put back");
    assert!(close(&rig.positions(), &GOAL, 0.03));
    rig.engine.enable();
    rig.run(2.0, Some(&START));
    assert!(close(&rig.positions(), &START, 0.03));
    rig.assert_clean();
}

#[test]
fn a_leader_is_released_and_never_powered() {
    let settings = DriverSettings { powered: false, ..DriverSettings::default() };
    let zeros: Vec<_> = settings.joints.iter().map(|joint| joint.zero).collect();
    let mut bus = VirtualBus::calibrated(&calibration(), &zeros);
    bus.servos_mut().iter_mut().for_each(|servo| servo.set(Register::TORQUE_ENABLE, 1));
    let mut rig = Rig::with(bus, settings);
    rig.run(0.3, None);
    assert_eq!(rig.torques(), [false; 6]);
    rig.engine.enable();
    assert_eq!(rig.run(0.5, Some(&GOAL)).mode, Mode::Limp);
    assert_eq!(rig.torques(), [false; 6]);
}

#[test]
fn a_calibration_that_differs_is_reported_and_refused_or_written() {
    for write_calibration in [false, true] {
        let settings = DriverSettings { write_calibration, ..DriverSettings::default() };
        let zeros: Vec<_> = settings.joints.iter().map(|joint| joint.zero).collect();
        let mut wrong = calibration();
        wrong.joints[2].1.homing_offset += 300;
        let mut rig = Rig::with(VirtualBus::calibrated(&wrong, &zeros), settings);
        rig.run(0.3, None);
        rig.engine.enable();
        let state = rig.run(0.5, Some(&[0.0; 6]));
        if write_calibration {
            assert_eq!(rig.register(2, Register::HOMING_OFFSET), -980);
            assert_eq!(state.mode, Mode::Following);
        } else {
            assert_eq!(rig.register(2, Register::HOMING_OFFSET), -680);
            let kind = NoticeKind::CalibrationDiffers { register: "Homing_Offset", servo: -680, file: -980 };
            assert_eq!((state.notices[0].joint, &state.notices[0].kind), (Some(2), &kind));
            assert!(!rig.torques()[2]);
        }
    }
}

#[test]
fn a_joint_outside_its_range_gets_no_torque_until_it_is_moved_inside() {
    let mut rig = Rig::new();
    let outside = [2.3, -1.2, 1.0, 0.8, 0.2, 0.3];
    rig.bus.lock().place(&outside);
    rig.run(0.2, None);
    rig.engine.enable();
    let state = rig.run(1.0, Some(&GOAL));
    assert!(matches!(state.notices[0].kind, NoticeKind::OutsideRange { .. }), "{:?}", state.notices);
    assert!(!rig.torques()[0] && close(&rig.positions(), &outside, 0.01));
    let mut inside = rig.positions();
    inside[0] = 1.0;
    rig.bus.lock().place(&inside);
    assert_eq!(rig.run(1.2, Some(&GOAL)).mode, Mode::Following);
    rig.assert_clean();
}

#[test]
fn an_arm_with_another_kind_of_servo_is_not_powered_and_ends_at_once() {
    let mut rig = Rig::new();
    rig.bus.lock().servos_mut()[4].set(Register::MODEL, 1284);
    rig.run(0.3, None);
    rig.engine.enable();
    let state = rig.run(0.3, Some(&GOAL));
    let unusable = |kind: &NoticeKind| matches!(kind, NoticeKind::Unusable { reason } if reason.contains("1284"));
    assert!(state.notices.iter().any(|notice| notice.joint == Some(4) && unusable(&notice.kind)));
    assert!(!rig.torques()[4] && state.mode == Mode::Enabling);
    rig.engine.release();
    rig.engine.shut_down();
    rig.run(0.3, None);
    assert!(rig.engine.is_finished());
}

#[test]
fn a_pulled_cable_is_survived() {
    let mut rig = Rig::enabled();
    rig.run(2.0, Some(&START));
    rig.bus.lock().inject(0.5, FaultKind::Unplug);
    let state = rig.run(0.4, Some(&GOAL));
    assert_eq!(state.mode, Mode::Disconnected);
    let NoticeKind::Disconnected { reason } = &state.notices[0].kind else { panic!("{:?}", state.notices) };
    assert!(reason.contains("cable") || reason.contains("connection"), "{reason}");
    let state = rig.run(1.1, Some(&GOAL));
    assert_eq!((state.mode, state.reconnects), (Mode::Following, 1));
    rig.run(3.0, Some(&GOAL));
    assert!(close(&rig.positions(), &GOAL, 0.02));
    rig.assert_clean();
}

#[test]
fn a_servo_that_lost_power_comes_back_without_a_jump() {
    let mut rig = Rig::enabled();
    rig.run(3.0, Some(&GOAL));
    rig.bus.lock().inject(0.4, FaultKind::BrownOut { servo: Some(1), volts: 2.0 });
    let state = rig.run(0.3, Some(&GOAL));
    assert!(state.notices.iter().any(|notice| notice.joint == Some(1) && notice.kind == NoticeKind::Silent));
    assert_ne!(state.mode, Mode::Following, "the arm waits for its joint");
    let state = rig.run(1.0, Some(&GOAL));
    assert_eq!((state.mode, state.joints[1].errors.resets), (Mode::Following, 1));
    rig.assert_clean();
}

#[test]
fn a_silent_servo_does_not_slow_the_others() {
    let mut rig = Rig::enabled();
    rig.bus.lock().inject(100.0, FaultKind::DropReply { servo: Some(3), probability: 1.0 });
    rig.run(0.5, Some(&GOAL));
    let before = rig.engine.state();
    let after = rig.run(2.0, Some(&GOAL));
    assert!(after.cycle - before.cycle > 185, "{} cycles in 2 s", after.cycle - before.cycle);
    assert!(after.joints[3].age_s > 2.0 && after.joints[3].errors.missed > 200);
    assert!(after.joints[2].age_s < 0.05);
}

#[test]
fn an_overload_is_cleared_and_one_that_stays_parks_the_arm() {
    let mut rig = Rig::enabled();
    rig.run(2.0, Some(&GOAL));
    rig.bus.lock().inject(0.3, FaultKind::Overload { servo: 2 });
    let state = rig.run(1.3, Some(&GOAL));
    assert_eq!((state.mode, state.reason), (Mode::Following, None));
    assert!(state.joints[2].errors.overloads >= 1 && state.joints[2].status.is_ok());
    rig.bus.lock().inject(3.0, FaultKind::Overload { servo: 2 });
    let state = rig.run(2.0, Some(&GOAL));
    assert_eq!((state.mode, state.reason), (Mode::Parking, Some(Reason::Overload { joint: 2 })));
    rig.assert_clean();
}

#[test]
fn a_hot_motor_parks_the_arm_until_it_is_enabled_cool() {
    let mut rig = Rig::enabled();
    rig.bus.lock().inject(20.0, FaultKind::Hot { servo: 1, celsius: 65.0 });
    let state = rig.run(0.3, Some(&GOAL));
    assert_eq!((state.mode, state.reason), (Mode::Parking, Some(Reason::Hot { joint: 1 })));
    rig.run(6.0, Some(&GOAL));
    assert_eq!(rig.torques(), [false; 6]);
    rig.engine.enable();
    let state = rig.run(0.5, Some(&GOAL));
    assert_ne!(state.mode, Mode::Following, "still hot");
    rig.run(15.0, Some(&GOAL));
    rig.engine.enable();
    assert_eq!(rig.run(0.5, Some(&GOAL)).mode, Mode::Following);
}

/// An arm that falls onto its stops when it loses its torque.
fn heavy_bus(settings: &DriverSettings) -> VirtualBus {
    let external_nm = [0.0, -0.6, 0.4, 0.1, 0.0, 0.0];
    let joints = settings.joints.iter().zip(external_nm).map(|(joint, external_nm)| {
        let (lower_rad, upper_rad) = (joint.lower_rad, joint.upper_rad);
        SimpleJoint { external_nm, lower_rad, upper_rad, ..SimpleJoint::default() }
    });
    let plant = SimplePlant { joints: joints.collect() };
    let calibration = calibration();
    let pairs = calibration.joints.iter().zip(&settings.joints);
    let servos = pairs.map(|((_, calibration), joint)| VirtualServo::calibrated(calibration, joint.zero));
    VirtualBus::new(servos.collect(), Box::new(plant))
}

#[test]
fn an_arm_that_fell_is_picked_up_where_it_lies() {
    let settings = DriverSettings::default();
    let mut bus = heavy_bus(&settings);
    bus.place(&START);
    let mut rig = Rig::with(bus, settings.clone());
    rig.run(0.2, None);
    let fallen = rig.positions();
    assert!(fallen[1] < START[1] - 0.02 && fallen[2] > START[2] + 0.02, "{fallen:?}");
    rig.engine.enable();
    let state = rig.run(3.0, Some(&GOAL));
    assert_eq!(state.mode, Mode::Following);
    let sag = GOAL[1] - rig.positions()[1];
    assert!((0.02..0.06).contains(&sag), "0.6 Nm at 14.5 Nm/rad, give or take the friction: {sag}");
    rig.bus.lock().inject(0.8, FaultKind::BrownOut { servo: None, volts: 0.0 });
    rig.run(0.8, Some(&GOAL));
    assert!(rig.positions()[1] < GOAL[1] - 0.5, "it fell: {:?}", rig.positions());
    let state = rig.run(4.0, Some(&GOAL));
    assert_eq!(state.mode, Mode::Following);
    assert!(close(&rig.positions(), &GOAL, 0.06));
    rig.assert_clean();
}

/// An operator sends goals all the time, and enables the arm again when it has parked for a fault that is over.
#[test]
fn a_hundred_thousand_faults_are_survived() {
    let settings = DriverSettings::default();
    let mut injected = 0;
    let mut slowest_s = 0.0f64;
    let mut recoveries = 0;
    for seed in 0.. {
        let script = random_script(seed, 6, 1.5, 400.0);
        let mut bus = heavy_bus(&settings).with_faults(FaultPlayer::new(script, seed));
        bus.place(&START);
        let mut rig = Rig::with(bus, settings.clone());
        let mut healthy = true;
        while rig.bus.lock().now_s() < 400.0 {
            let time_s = rig.bus.now().as_secs_f64();
            let swing = (0.8 * time_s).sin();
            let goal: Vec<f64> = START.iter().zip(GOAL).map(|(a, b)| a + (b - a) * (0.5 + 2.5 * swing)).collect();
            rig.engine.set_goal(&goal);
            let state = rig.engine.state();
            let (quiet, end_s, active) = {
                let bus = rig.bus.lock();
                let active: Vec<_> = bus.faults().active().copied().collect();
                (bus.faults().is_quiet(), bus.faults().last_end_s, active)
            };
            if quiet && matches!(state.mode, Mode::Limp | Mode::Parking) {
                rig.engine.enable();
            }
            if state.mode == Mode::Following && state.is_fresh(0.05) && quiet {
                if !healthy {
                    slowest_s = slowest_s.max(time_s - end_s);
                    recoveries += 1;
                }
                healthy = true;
            } else if !quiet {
                healthy = false;
            } else {
                let limit_s = 1.0;
                assert!(
                    time_s - end_s < limit_s,
                    "seed {seed}, {time_s:.2} s: {:?} {:?} {active:?}",
                    state.mode,
                    state.notices
                );
            }
            rig.cycle();
        }
        rig.assert_clean();
        injected += rig.bus.lock().faults().injected;
        if injected >= 100_000 {
            println!("{injected} faults, seeds 0..={seed}, {recoveries} recoveries, slowest {slowest_s:.3} s");
            break;
        }
    }
    assert!(recoveries > 100);
}
