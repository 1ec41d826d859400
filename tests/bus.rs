//! The servo bus end to end: driver, serial port and emulated arm over a real pseudo-terminal in real time.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "clippy knows tests, not their helpers")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etude::app::{Loaded, RunOptions};
use etude::backend::servo::{ArmLink, ServoArm, ServoHealth, SteppedLink};
use etude::backend::sim::{SimJoint, SimPlant};
use etude::bus::calibration_check::{ExpectedJoint, check};
use etude::bus::calibration_file::ArmCalibration;
use etude::bus::clock::Clock;
use etude::bus::discover;
use etude::bus::driver::BusDriver;
use etude::bus::engine::Engine;
use etude::bus::error::BusError;
use etude::bus::registers::Register;
use etude::bus::settings::DriverSettings;
use etude::bus::state::{ArmState, Mode, NoticeKind};
use etude::bus::virtual_bus::VirtualBus;
use etude::bus::virtual_bus::arms;
use etude::bus::virtual_bus::fault::FaultKind;
use etude::bus::virtual_bus::pty::VirtualArm;
use etude::bus::virtual_bus::sim_port::SharedBus;
use etude::control::EmergencyStop;
use etude::episode::EpisodeRequests;
use etude::headless::Headless;
use etude::record::{self, CameraWish, Keep, Recorder};
use etude::rig::RigSetUp;
use etude::robot::{Arm, ArmLimits, JointCommand, JointState, JointTarget, Trouble};

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
    let expected: Vec<ExpectedJoint> = settings().joints.iter().map(ExpectedJoint::of).collect();
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

/// Commands per tick for the parity test, rad: hold, then slow waves on every joint, then hold again. Starts at `start`.
fn recorded_commands(start: &[f64]) -> Vec<Vec<f64>> {
    let pose = |time_s: f64| {
        let wave = |joint: usize, size: f64, period_s: f64| {
            let waving_s = (time_s - 2.0).clamp(0.0, 8.0);
            start[joint] + size * (std::f64::consts::TAU * waving_s / period_s).sin()
        };
        vec![wave(0, 0.4, 8.0), wave(1, -0.1, 4.0), wave(2, -0.15, 8.0), wave(3, 0.2, 4.0), wave(4, 0.3, 8.0), {
            start[5] + 0.1 * (1.0 - (std::f64::consts::TAU * (time_s - 2.0).clamp(0.0, 8.0) / 4.0).cos())
        }]
    };
    (0..360).map(|tick| pose(f64::from(tick) / 30.0)).collect()
}

/// What an application made of a command sequence: targets and joint angles of every tick, rad.
type Trace = (Vec<Vec<f64>>, Vec<Vec<f64>>);

fn play(headless: &mut Headless, commands: &[Vec<f64>]) -> Trace {
    let (mut targets, mut angles) = (Vec::new(), Vec::new());
    for command in commands {
        let world = headless.app.world_mut();
        let arm = world.query::<&Arm>().single(world).unwrap().clone();
        for (joint, angle) in arm.joints.iter().zip(command) {
            world.get_mut::<JointCommand>(*joint).unwrap().position_rad = *angle;
        }
        headless.tick();
        let world = headless.app.world();
        targets.push(arm.joints.iter().map(|j| world.get::<JointTarget>(*j).unwrap().position_rad).collect());
        angles.push(arm.joints.iter().map(|j| world.get::<JointState>(*j).unwrap().position_rad).collect());
    }
    (targets, angles)
}

/// An application on a servo bus in simulated time behind which the simulated arm is, standing at `start`, and that bus.
fn driven(options: &RunOptions, start: &[f64]) -> (Headless, SharedBus) {
    let mut loaded = Loaded::new(options).unwrap();
    let (calibration, shared) = simulated(&loaded, start);
    let clock: Arc<dyn Clock> = Arc::new(shared.clone());
    // Fast enough that a goal is on the wire, whole, before the physics steps: the driver spreads what is sent between two
    // cycles over the next, and that is not what is compared here.
    let fast = DriverSettings { rate_hz: 240.0, ..DriverSettings::default() };
    let engine = Engine::new(fast, &calibration, opener(&shared), clock.clone()).unwrap();
    let link = SteppedLink::new(engine, clock);
    // Connected, all servos checked, still limp: it sinks a little, as a real arm does that nobody holds.
    link.pass(0.1);
    loaded.hardware = Some(ServoArm::new(Arc::new(link)));
    (Headless::from_loaded(&loaded, options), shared)
}

/// Emulated servos with the simulated arm behind them, standing at `start`, and their calibration.
fn simulated(loaded: &Loaded, start: &[f64]) -> (ArmCalibration, SharedBus) {
    let set_up = RigSetUp { q_rad: start.to_vec(), table_friction: Some(0.5), props: Vec::new() };
    let rig = etude::rig::Rig::new(loaded, &set_up, |_, _, _| {}).unwrap();
    let calibration = arms::calibration(5);
    let plant = SimPlant::new(rig, loaded.sim.physics.step_hz);
    let shared = SharedBus::new(arms::calibrated(&calibration, Some(Box::new(plant))));
    shared.lock().place(start);
    (calibration, shared)
}

fn opener(shared: &SharedBus) -> etude::bus::engine::Opener {
    let port = shared.clone();
    Box::new(move || {
        port.open(1_000_000).map_err(|error| BusError::Open { path: "bus".into(), reason: error.to_string() })
    })
}

/// The same application once with the simulation in it and once with a servo bus in it behind which the simulation is.
#[test]
fn simulation_and_bus_do_the_same() {
    let options =
        RunOptions { scene: "free_play".into(), operator: etude::operator::Operator::Nobody, ..RunOptions::default() };
    let mut simulated = Headless::new(&options).unwrap();
    simulated.start(3).unwrap();
    let world = simulated.app.world_mut();
    let arm = world.query::<&Arm>().single(world).unwrap().clone();
    let start: Vec<f64> = arm.joints.iter().map(|j| world.get::<JointTarget>(*j).unwrap().position_rad).collect();
    let commands = recorded_commands(&start);
    let (targets, angles) = play(&mut simulated, &commands);

    let (mut driven, shared) = driven(&options, &start);
    driven.start(3).unwrap();
    // The torque comes on and the arm is brought back to where the other one stands.
    play(&mut driven, &vec![commands[0].clone(); 60]);
    let (driven_targets, driven_angles) = play(&mut driven, &commands);

    assert_eq!(targets, driven_targets, "the same targets to the bit");
    let tick_rad = std::f64::consts::TAU / 4096.0;
    let (mut worst, mut sum, mut count) = ((0.0, 0, 0), 0.0, 0.0);
    // From the first movement on: what stood still before keeps what friction left it.
    for (tick, (one, other)) in angles.iter().zip(&driven_angles).enumerate().skip(75) {
        for (joint, (one, other)) in one.iter().zip(other).enumerate() {
            let apart = (one - other).abs() / tick_rad;
            sum += apart;
            count += 1.0;
            if apart > worst.0 {
                worst = (apart, tick, joint);
            }
        }
    }
    println!(
        "encoder ticks apart: mean {:.2}, worst {:.1} at tick {} joint {}",
        sum / count,
        worst.0,
        worst.1,
        worst.2
    );
    assert!(sum / count < 1.0 && worst.0 < 3.5, "mean {}, worst {worst:?}", sum / count);
    let audit = shared.lock().audit.clone();
    assert_eq!((audit.goals_outside_limits, audit.torque_on_jumps), (0, 0), "{audit:?}");
}

/// The first real-time ticks of an application on an emulated arm, and what remains when it is gone.
#[test]
fn the_same_application_drives_an_arm_and_parks_it() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("arm");
    let arm = VirtualArm::start(bus(), Some(&link)).unwrap();
    let options =
        RunOptions { scene: "free_play".into(), operator: etude::operator::Operator::Nobody, ..RunOptions::default() };
    let mut loaded = Loaded::new(&options).unwrap();
    let driver = BusDriver::start(&link.to_string_lossy(), None, settings(), &calibration()).unwrap();
    driver.wait_newer(30, Duration::from_secs(3)).unwrap();
    loaded.hardware = Some(ServoArm::new(Arc::new(driver)));
    let mut headless = Headless::from_loaded(&loaded, &options);
    drop(loaded);
    headless.start(0).unwrap();
    let began = Instant::now();
    let (_, angles) = play(&mut headless, &vec![GOAL.to_vec(); 75]);
    assert!((2.0..4.0).contains(&began.elapsed().as_secs_f64()), "ticks keep real time: {:?}", began.elapsed());
    assert!(close(&angles[0], &START) && close(&angles[74], &GOAL), "{:?} {:?}", angles[0], angles[74]);
    assert_eq!(headless.app.world().resource::<ServoHealth>().mode, Mode::Following);
    drop(headless);
    assert!(parked(&arm.bus().lock()));
    assert!(arm.bus().lock().servos().iter().all(|servo| servo.get(Register::TORQUE_ENABLE) == 0));
}

/// What the two backends record looks the same to whoever reads it.
#[test]
fn simulation_and_bus_record_the_same_columns() {
    let options =
        RunOptions { scene: "free_play".into(), operator: etude::operator::Operator::Nobody, ..RunOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let (driven, _bus) = driven(&options, &arms::FOLDED_RAD);
    let recorded = [("sim", Headless::new(&options).unwrap()), ("bus", driven)].map(|(name, mut headless)| {
        let root = folder.path().join(name);
        let camera = CameraWish { name: "overview".into(), size: Some((32, 32)) };
        let recorder = record::open(headless.app.world_mut(), &root, &[camera], Keep::All).unwrap();
        headless.app.insert_resource(recorder);
        headless.start(3).unwrap();
        (0..20).for_each(|_| headless.tick());
        headless.app.world_mut().resource_mut::<EpisodeRequests>().stop = true;
        headless.tick();
        headless.app.world_mut().resource_mut::<Recorder>().flush();
        drop(headless);
        let info = std::fs::read_to_string(root.join("meta/info.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&info).unwrap()
    });
    let [sim, bus] = recorded;
    assert!(sim["features"]["observation.state"].is_object(), "{sim}");
    for key in ["features", "fps", "robot_type", "codebase_version", "total_frames", "total_episodes"] {
        assert_eq!(sim[key], bus[key], "{key}");
    }
    assert_eq!(sim["total_episodes"], 1);
}

/// The same happens to both arms: a motor gets hot, the arm parks slowly and lets go, and works again when it is cool and asked.
#[test]
fn heat_parks_the_simulated_arm_and_the_one_on_the_bus_alike() {
    let options =
        RunOptions { scene: "free_play".into(), operator: etude::operator::Operator::Nobody, ..RunOptions::default() };
    let up = vec![0.4, -0.6, 0.6, 0.6, 0.2, 0.8];
    let mut simulated = Headless::new(&options).unwrap();
    simulated.start(3).unwrap();
    let world = simulated.app.world_mut();
    let arm = world.query::<&Arm>().single(world).unwrap().clone();
    let start: Vec<f64> = arm.joints.iter().map(|j| world.get::<JointTarget>(*j).unwrap().position_rad).collect();
    let (mut driven, shared) = driven(&options, &start);
    driven.start(3).unwrap();
    for (headless, on_the_bus) in [(&mut simulated, false), (&mut driven, true)] {
        let arm = {
            let world = headless.app.world_mut();
            world.query::<&Arm>().single(world).unwrap().clone()
        };
        let set_hot = |headless: &mut Headless, hot: bool| match on_the_bus {
            true if hot => shared.lock().inject(11.0, FaultKind::Hot { servo: 2, celsius: 66.0 }),
            true => {}
            false => {
                let mut joint = headless.app.world_mut().get_mut::<SimJoint>(arm.joints[2]).unwrap();
                joint.servo.as_mut().unwrap().temperature_c = if hot { 66.0 } else { 40.0 };
            }
        };
        let limits = |headless: &mut Headless| {
            let world = headless.app.world_mut();
            world.query::<&ArmLimits>().single(world).unwrap().clone()
        };
        let angles = play(headless, &vec![up.clone(); 120]).1;
        assert!(close(&angles[119], &up) || angles[119].iter().zip(&up).all(|(a, b)| (a - b).abs() < 0.1));
        set_hot(headless, true);
        let mut seen = None;
        let mut fastest = 0.0f64;
        let mut last = angles[119].clone();
        for _ in 0..300 {
            let now = play(headless, std::slice::from_ref(&up)).1.remove(0);
            let limits = limits(headless);
            if limits.is_released() {
                break;
            }
            fastest = now.iter().zip(&last).map(|(now, last)| (now - last).abs() * 30.0).fold(fastest, f64::max);
            last = now;
            seen = seen.or(limits.trouble);
        }
        assert!(matches!(seen, Some(Trouble::Hot { joint: 2, .. })), "{seen:?}");
        assert!(limits(headless).is_released(), "bus: {on_the_bus}");
        assert!(fastest < 1.2, "bus: {on_the_bus}, {fastest} rad/s");
        play(headless, &vec![up.clone(); 30]);
        let rest: Vec<f64> = arm.config.rest_deg.iter().map(|degrees| degrees.to_radians()).collect();
        let lies = play(headless, std::slice::from_ref(&up)).1.remove(0);
        assert!(lies.iter().zip(&rest).all(|(at, rest)| (at - rest).abs() < 0.25), "bus: {on_the_bus}, {lies:?}");
        if on_the_bus {
            assert!(shared.lock().servos().iter().all(|servo| servo.get(Register::TORQUE_ENABLE) == 0));
            // Until the fault is over.
            play(headless, &vec![up.clone(); 180]);
        }
        set_hot(headless, false);
        headless.app.world_mut().resource_mut::<EmergencyStop>().on = true;
        play(headless, &vec![up.clone(); 2]);
        headless.app.world_mut().resource_mut::<EmergencyStop>().on = false;
        let stands = play(headless, &vec![up.clone(); 300]).1.remove(299);
        assert!(stands.iter().zip(&up).all(|(at, up)| (at - up).abs() < 0.1), "bus: {on_the_bus}, {stands:?}");
        assert_eq!(limits(headless).trouble, None);
    }
    let audit = shared.lock().audit.clone();
    assert_eq!((audit.goals_outside_limits, audit.torque_on_jumps), (0, 0), "{audit:?}");
}

/// A leader is waved about, its hand through the table's place now and then. The simulated follower keeps its own hand above
/// the table, and nothing makes it push in vain. Nine minutes of it: `ETUDE_WAVE_SECONDS=540`.
#[test]
fn a_simulated_follower_of_a_waving_leader_never_pushes_in_vain() {
    let seconds = std::env::var("ETUDE_WAVE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25.0);
    let loaded = Loaded::new(&RunOptions::default()).unwrap();
    let (calibration, shared) = simulated(&loaded, &arms::FOLDED_RAD);
    let mut settings = DriverSettings::of_arm(&loaded.model, &loaded.arm);
    if std::env::var_os("ETUDE_WITHOUT_TABLE").is_some() {
        settings.floor = None;
    }
    let clock: Arc<dyn Clock> = Arc::new(shared.clone());
    let mut engine = Engine::new(settings, &calibration, opener(&shared), clock.clone()).unwrap();
    let (mut hand, mut stage, mut time_s) = (arms::Hand::Wave, 0, 0.0);
    let mut leader = arms::FOLDED_RAD.to_vec();
    let (mut held_back, mut stalls) = (0, Vec::new());
    for cycle in 0..(seconds * 100.0) as u64 {
        clock.sleep_until(Duration::from_millis(10 * cycle));
        if cycle == 20 {
            engine.enable();
        }
        leader = hand.step(&leader, 0.01, &mut stage, &mut time_s);
        engine.set_goal(&leader);
        engine.cycle();
        let state = engine.state();
        held_back += u64::from(state.notices.iter().any(|notice| notice.kind == NoticeKind::AtTable));
        for (joint, reading) in state.joints.iter().enumerate().filter(|(_, reading)| reading.stalled) {
            stalls.push((cycle, joint, reading.position_rad, leader[joint], reading.load_fraction));
        }
    }
    assert_eq!(engine.state().mode, Mode::Following);
    println!(
        "{held_back} cycles held back by the table, {} cycles stalled: {:.2?}",
        stalls.len(),
        &stalls[..stalls.len().min(12)]
    );
    assert!(stalls.is_empty(), "{} cycles, {:.2?}", stalls.len(), stalls[0]);
}
