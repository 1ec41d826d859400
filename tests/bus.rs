//! The servo bus end to end: driver, serial port and emulated arm over a real pseudo-terminal in real time.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "clippy knows tests, not their helpers")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use etude::bus::calibration_check::{ExpectedJoint, check};
use etude::bus::calibration_file::ArmCalibration;
use etude::bus::discover;
use etude::bus::driver::BusDriver;
use etude::bus::registers::Register;
use etude::bus::settings::DriverSettings;
use etude::bus::state::{ArmState, Mode, NoticeKind};
use etude::bus::virtual_bus::VirtualBus;
use etude::bus::virtual_bus::fault::FaultKind;
use etude::bus::virtual_bus::pty::VirtualArm;

const START: [f64; 6] = [0.1, -1.6, 1.4, 1.0, 0.2, 0.3];
const GOAL: [f64; 6] = [0.3, -1.4, 1.2, 0.8, 0.0, 0.5];

fn calibration() -> ArmCalibration {
    ArmCalibration::from_json(include_str!("fixtures/bus/follower.json")).unwrap()
}

fn bus() -> VirtualBus {
    let zeros: Vec<_> = DriverSettings::default().joints.iter().map(|joint| joint.zero).collect();
    let mut bus = VirtualBus::calibrated(&calibration(), &zeros);
    bus.place(&START);
    bus
}

/// An emulated arm behind a link, a driver on it, and the folder the link is in.
struct Rig {
    // Dropped in this order: the driver parks while the arm is still there.
    driver: BusDriver,
    arm: VirtualArm,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let link: PathBuf = folder.path().join("arm");
        let arm = VirtualArm::start(bus(), Some(&link)).unwrap();
        let driver = BusDriver::start(&link.to_string_lossy(), None, settings(), &calibration()).unwrap();
        Rig { driver, arm, _folder: folder }
    }

    /// Send `goal` at 100 Hz until `done`; fails after `limit_s`.
    fn drive_until(&self, goal: &[f64], limit_s: f64, what: &str, done: impl Fn(&ArmState) -> bool) -> ArmState {
        let start = Instant::now();
        loop {
            let state = self.driver.state();
            if done(&state) {
                return state;
            }
            assert!(start.elapsed().as_secs_f64() < limit_s, "{what}: {state:#?}");
            self.driver.set_goal(goal).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn enabled() -> Self {
        let rig = Rig::new();
        rig.drive_until(&START, 3.0, "connecting", |state| state.is_fresh(0.05));
        rig.driver.enable().unwrap();
        rig.drive_until(&START, 3.0, "enabling", |state| state.mode == Mode::Following);
        rig
    }

    fn torques(&self) -> Vec<i32> {
        self.arm.bus().lock().servos().iter().map(|servo| servo.get(Register::TORQUE_ENABLE)).collect()
    }

    fn assert_clean(&self) {
        let audit = self.arm.bus().lock().audit.clone();
        assert_eq!((audit.goals_outside_limits, audit.torque_on_jumps), (0, 0), "{audit:?}");
    }
}

/// Faster parking than on a real arm, to keep the test short.
fn settings() -> DriverSettings {
    DriverSettings { slow_velocity_rad_s: 1.5, ..DriverSettings::default() }
}

fn close(positions: &[f64], goal: &[f64]) -> bool {
    positions.iter().zip(goal).all(|(position, goal)| (position - goal).abs() < 0.03)
}

fn parked(rig_bus: &VirtualBus) -> bool {
    let joints = settings().joints;
    let near =
        |(motion, park): (&etude::bus::virtual_bus::plant::ServoMotion, f64)| (motion.position_rad - park).abs() < 0.12;
    rig_bus.motions().iter().zip(joints.iter().map(|joint| joint.park_rad)).all(near)
}

#[test]
fn an_arm_is_found_checked_moved_and_parked() {
    let rig = Rig::new();
    rig.drive_until(&START, 3.0, "connecting", |state| state.is_fresh(0.05) && state.notices.is_empty());
    let expected: Vec<ExpectedJoint> = settings()
        .joints
        .iter()
        .map(|joint| ExpectedJoint {
            name: joint.name.clone(),
            lower_rad: joint.lower_rad,
            upper_rad: joint.upper_rad,
            full_turn: joint.name == "wrist_roll",
            homed_at_middle: joint.name != "gripper",
        })
        .collect();
    assert_eq!(check(&calibration(), &expected), []);
    let table = rig.driver.read_table(1).unwrap();
    assert_eq!(Register::HOMING_OFFSET.in_block(0, &table), Some(1034));

    rig.driver.enable().unwrap();
    rig.drive_until(&GOAL, 5.0, "moving", |state| {
        state.mode == Mode::Following && close(&state.positions_rad(), &GOAL)
    });
    assert_eq!(rig.torques(), [1; 6]);
    rig.assert_clean();

    let last = rig.driver.stop();
    assert!(last.finished);
    let bus = rig.arm.bus().lock();
    assert!(parked(&bus), "{:?}", bus.motions());
    assert!(bus.servos().iter().all(|servo| servo.get(Register::TORQUE_ENABLE) == 0));
}

#[test]
fn a_cable_pulled_and_put_in_again_is_survived() {
    let rig = Rig::enabled();
    rig.arm.bus().lock().inject(0.6, FaultKind::Unplug);
    let state = rig.drive_until(&GOAL, 1.0, "noticing", |state| state.mode == Mode::Disconnected);
    assert!(matches!(state.notices[0].kind, NoticeKind::Disconnected { .. }));
    let back = Instant::now();
    rig.drive_until(&GOAL, 3.0, "reconnecting", |state| state.mode == Mode::Following);
    assert!(back.elapsed() < Duration::from_millis(2500), "{:?}", back.elapsed());
    rig.drive_until(&GOAL, 3.0, "moving", |state| close(&state.positions_rad(), &GOAL));
    rig.assert_clean();
}

#[test]
fn an_overload_is_cleared() {
    let rig = Rig::enabled();
    rig.arm.bus().lock().inject(0.3, FaultKind::Overload { servo: 1 });
    rig.drive_until(&GOAL, 1.0, "noticing", |state| !state.joints[1].status.is_ok());
    let state = rig
        .drive_until(&GOAL, 3.0, "clearing", |state| state.mode == Mode::Following && state.joints[1].status.is_ok());
    assert!(state.joints[1].errors.overloads > 0);
    rig.drive_until(&GOAL, 3.0, "moving", |state| close(&state.positions_rad(), &GOAL));
    rig.assert_clean();
}

#[test]
fn a_driver_that_is_dropped_by_a_panic_parks_first() {
    let Rig { driver, arm, _folder } = Rig::enabled();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _owned = driver;
        panic!("a mistake in the program");
    }));
    assert!(panicked.is_err());
    let bus = arm.bus().lock();
    assert!(parked(&bus), "{:?}", bus.motions());
    assert!(bus.servos().iter().all(|servo| servo.get(Register::TORQUE_ENABLE) == 0));
}

#[test]
fn an_arm_is_discovered_through_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("follower");
    let arm = VirtualArm::start(bus(), Some(&link)).unwrap();
    let probe = discover::probe(&link.to_string_lossy()).unwrap();
    assert!(probe.is_arm(), "{probe:?}");
    let _held = discover::open_patient(&link.to_string_lossy()).unwrap();
    let busy = discover::probe(&link.to_string_lossy()).unwrap_err().to_string();
    assert!(busy.contains("in use"), "{busy}");
    drop(arm);
    assert!(link.symlink_metadata().is_err(), "the link goes with the arm");
}

/// Not a limit the machine is held to in a test, only that the driver keeps up at all; `docs/bus.md` has the figures.
#[test]
fn the_driver_keeps_its_rate() {
    let rig = Rig::enabled();
    rig.driver.reset_pace();
    let seconds = std::env::var("ETUDE_BUS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.5);
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        rig.driver.set_goal(&START).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let pace = rig.driver.pace();
    let (cycle, late) = (&pace.cycle, &pace.lateness);
    println!(
        "{} cycles; bus tick mean {:.0} us, p50 {:.0}, p99 {:.0}, max {:.0}; lateness p50 {:.0} us, p99 {:.0}, max {:.0}; skipped {}",
        cycle.count(),
        cycle.mean_us(),
        cycle.percentile_us(0.5),
        cycle.percentile_us(0.99),
        cycle.max_us(),
        late.percentile_us(0.5),
        late.percentile_us(0.99),
        late.max_us(),
        pace.skipped
    );
    assert!(cycle.count() as f64 > 60.0 * seconds, "{} cycles in {seconds} s", cycle.count());
}

#[test]
fn sigterm_parks_the_arm_and_ends_the_driver() {
    let rig = Rig::enabled();
    rig.driver.stop_on_signals().unwrap();
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    let start = Instant::now();
    while !rig.driver.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(8), "{:#?}", rig.driver.state());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rig.torques(), [0; 6]);
    assert!(parked(&rig.arm.bus().lock()));
    // The thread ends a moment after its last state is out.
    std::thread::sleep(Duration::from_millis(50));
    assert!(rig.driver.set_goal(&GOAL).is_err());
}

/// A follower that is told what a leader does as soon as it is read: how long from the leader's answer to the follower's goal.
#[test]
fn a_leader_is_followed_without_waiting_for_a_cycle() {
    let follower = Rig::enabled();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("leader");
    let _leader_arm = VirtualArm::start(bus(), Some(&link)).unwrap();
    let powered = DriverSettings { powered: false, ..settings() };
    let leader = BusDriver::start(&link.to_string_lossy(), None, powered, &calibration()).unwrap();
    let mut times_us = Vec::new();
    let mut cycle = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let state = leader.wait_newer(cycle, Duration::from_secs(1)).unwrap();
        cycle = state.cycle;
        if !state.is_fresh(0.05) {
            continue;
        }
        let read = Instant::now();
        let before = follower.arm.bus().lock().audit.goals;
        follower.driver.set_goal(&state.positions_rad()).unwrap();
        while follower.arm.bus().lock().audit.goals == before && read.elapsed() < Duration::from_millis(20) {
            std::thread::sleep(Duration::from_micros(50));
        }
        times_us.push(read.elapsed().as_micros());
    }
    times_us.sort_unstable();
    let at = |fraction: f64| times_us[((times_us.len() - 1) as f64 * fraction) as usize];
    println!(
        "leader to follower: {} times, p50 {} us, p90 {} us, p99 {} us",
        times_us.len(),
        at(0.5),
        at(0.9),
        at(0.99)
    );
    assert!(times_us.len() > 100 && at(0.5) < 5000, "{times_us:?}");
}
