//! A real arm behind the joints: the newest reading of its bus becomes [`JointState`], and [`JointTarget`] its goals.
//!
//! The bus has its own rate, limits and watchdog (docs/bus.md); a control tick never waits for it. Until the arm follows,
//! and whenever it does not, targets stay where it stands, so that whoever takes it over starts from there.

use super::sim::SimJoint;
use super::{ReadJoints, SendTargets};
use crate::arm::ArmModel;
use crate::bus::calibration_file::{ArmCalibration, Role, lerobot_path};
use crate::bus::clock::Clock;
use crate::bus::discover;
use crate::bus::driver::BusDriver;
use crate::bus::engine::Engine;
use crate::bus::error::BusError;
use crate::bus::registers::JOINT_NAMES;
use crate::bus::settings::DriverSettings;
use crate::bus::state::{ArmState, Mode, Reason};
use crate::config::ArmConfig;
use crate::control::{Control, ControlRate, ControlSystems, EmergencyStop};
use crate::episode::EpisodeRequests;
use crate::robot::{Arm, ArmJoint, ArmLimits, JointCommand, JointState, JointTarget};
use bevy::ecs::system::RunSystemOnce;
use bevy::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Tag of a joint moved by a real servo; its index in the arm is its place on the bus.
#[derive(Component, Clone, Copy, Debug, Default)]
pub struct ServoJoint;

/// The arm on the bus.
#[derive(Resource, Clone)]
pub struct ServoArm {
    link: Arc<dyn ArmLink>,
    enabled: bool,
    stopped: bool,
    /// Whether it was told to let go because something is the matter.
    released: bool,
}

impl std::fmt::Debug for ServoArm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServoArm").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// How the arm is; written in Sense.
#[derive(Resource, Clone, Debug, Default)]
pub struct ServoHealth {
    /// What the arm does.
    pub mode: Mode,
    /// Why it parks, is limp or has stopped.
    pub reason: Option<Reason>,
    /// What the person should know, each with its remedy.
    pub notices: Vec<String>,
    /// The newest reading of every joint, with temperature, load and age.
    pub state: ArmState,
}

/// Why a real arm cannot be used.
#[derive(Debug, Error)]
pub enum ServoError {
    /// The port, the bus or the calibration.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The arm is not whole, or not the one that was configured.
    #[error("{port}: {problem}; {remedy}")]
    Arm {
        /// Its port.
        port: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// An arm on a bus, in real time or in its own.
pub trait ArmLink: Send + Sync {
    /// The newest state.
    fn state(&self) -> ArmState;
    /// The newest goal per joint, rad.
    fn set_goal(&self, goal_rad: &[f64]);
    /// Torque on; follow goals.
    fn enable(&self);
    /// Stand still until enabled.
    fn emergency_stop(&self);
    /// Slowly to the rest pose, then limp.
    fn park(&self);
    /// The same, and the driver ends.
    fn shut_down(&self);
    /// Whether time passes by itself.
    fn is_real_time(&self) -> bool;
    /// Lets `dt_s` pass where it does not pass by itself.
    fn pass(&self, dt_s: f64);
}

impl ArmLink for BusDriver {
    fn state(&self) -> ArmState {
        BusDriver::state(self)
    }
    // The driver fails only once it has ended, and that is seen in its state.
    fn set_goal(&self, goal_rad: &[f64]) {
        let _ = BusDriver::set_goal(self, goal_rad);
    }
    fn enable(&self) {
        let _ = BusDriver::enable(self);
    }
    fn emergency_stop(&self) {
        BusDriver::emergency_stop(self);
    }
    fn park(&self) {
        let _ = BusDriver::park(self);
    }
    fn shut_down(&self) {
        BusDriver::request_stop(self);
    }
    fn is_real_time(&self) -> bool {
        true
    }
    fn pass(&self, _: f64) {}
}

/// The driver of an emulated arm in simulated time: it works while control ticks pass, and always the same way.
pub struct SteppedLink {
    inner: Mutex<Stepped>,
}

struct Stepped {
    engine: Engine,
    clock: Arc<dyn Clock>,
    next: Duration,
    until: Duration,
}

impl SteppedLink {
    /// A driver whose time is `clock`.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self { inner: Mutex::new(Stepped { engine, clock, next: now, until: now }) }
    }

    fn lock(&self) -> MutexGuard<'_, Stepped> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArmLink for SteppedLink {
    fn state(&self) -> ArmState {
        self.lock().engine.state()
    }
    fn set_goal(&self, goal_rad: &[f64]) {
        let mut inner = self.lock();
        inner.engine.set_goal(goal_rad);
        inner.engine.send_between();
    }
    fn enable(&self) {
        self.lock().engine.enable();
    }
    fn emergency_stop(&self) {
        self.lock().engine.emergency_stop();
    }
    fn park(&self) {
        self.lock().engine.park(Reason::Requested);
    }
    fn shut_down(&self) {
        self.lock().engine.shut_down();
    }
    fn is_real_time(&self) -> bool {
        false
    }
    fn pass(&self, dt_s: f64) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.until += Duration::from_secs_f64(dt_s.max(0.0));
        let period = inner.engine.period();
        // The cycle at the end of the tick belongs to it, so that the next one begins with a fresh reading.
        while inner.next + period <= inner.until + Duration::from_nanos(1) {
            inner.next += period;
            inner.clock.sleep_until(inner.next);
            inner.engine.cycle();
        }
    }
}

/// How long the first readings of an arm may take.
const PATIENCE: Duration = Duration::from_secs(4);

impl ServoArm {
    /// An arm behind an open link.
    pub fn new(link: Arc<dyn ArmLink>) -> Self {
        Self { link, enabled: false, stopped: false, released: false }
    }

    /// Connects to the follower on `port`, calibrated as `id`. Its torque stays as it is until the first tick; Ctrl-C and the
    /// end of the program park it.
    ///
    /// # Errors
    /// [`ServoError`] if the port cannot be opened, a servo is silent, or the calibration is missing or not the arm's.
    pub fn connect(port: &str, id: &str, model: &Arc<ArmModel>, config: &ArmConfig) -> Result<Self, ServoError> {
        let wrong =
            |problem: String, remedy: &str| ServoError::Arm { port: port.into(), problem, remedy: remedy.into() };
        let file = lerobot_path(Role::Follower, id, |name| std::env::var(name).ok())
            .ok_or_else(|| wrong("no home folder for calibrations".into(), "set HOME"))?;
        let calibration = ArmCalibration::load(&file)?;
        let names: Vec<&str> = model.joints.iter().map(|joint| joint.name.as_str()).collect();
        if names != JOINT_NAMES {
            let problem = format!("the arm's model has the joints {}", names.join(", "));
            return Err(wrong(problem, "use the URDF of an SO-100 or SO-101 with a real arm"));
        }
        let settings = DriverSettings::of_arm(model, config);
        let probe = discover::probe(port)?;
        if !probe.is_arm() {
            let problem = format!("{} of 6 servos answer as STS3215", probe.servos.len());
            return Err(wrong(problem, "switch its power on; `etude doctor` says which are missing"));
        }
        let serial_number = discover::list_ports()?.into_iter().find(|found| found.path == port);
        let serial_number = serial_number.and_then(|found| found.serial_number);
        let driver = BusDriver::start(port, serial_number.as_deref(), settings, &calibration)?;
        #[cfg(unix)]
        driver.stop_on_signals()?;
        let start = Instant::now();
        let mut cycle = 0;
        // One more than the cycles in which every joint is checked once.
        while cycle < 3 * JOINT_NAMES.len() as u64 || !driver.state().is_fresh(0.1) {
            cycle = driver.wait_newer(cycle, Duration::from_millis(100)).map_or(cycle, |state| state.cycle);
            if start.elapsed() > PATIENCE {
                break;
            }
        }
        let state = driver.state();
        if !state.notices.is_empty() || !state.is_fresh(0.2) {
            let problem =
                state.notices.iter().map(|notice| notice.describe(&JOINT_NAMES)).collect::<Vec<_>>().join("; ");
            let problem = if problem.is_empty() { "no readings come".into() } else { problem };
            return Err(wrong(problem, "`etude doctor` says more"));
        }
        Ok(Self::new(Arc::new(driver)))
    }

    /// What leads to it.
    pub fn link(&self) -> &Arc<dyn ArmLink> {
        &self.link
    }

    /// Torque on where the arm stands; it follows targets from then on. Ends a park and an emergency stop.
    pub fn enable(&self) {
        self.link.enable();
    }

    /// Stand still until enabled.
    pub fn emergency_stop(&self) {
        self.link.emergency_stop();
    }

    /// Slowly to the rest pose, then limp.
    pub fn park(&self) {
        self.link.park();
    }

    /// Whether ticks must keep to the clock on the wall.
    pub fn is_real_time(&self) -> bool {
        self.link.is_real_time()
    }

    /// Whether the driver has ended, after Ctrl-C for instance.
    pub fn is_finished(&self) -> bool {
        self.link.state().finished
    }
}

/// Adds the backend; without a [`ServoArm`] it does nothing.
pub fn plugin(app: &mut App) {
    app.init_resource::<ServoHealth>();
    app.add_systems(
        Control,
        (
            read_joints.in_set(ControlSystems::Sense).in_set(ReadJoints),
            send_targets.in_set(ControlSystems::Act).in_set(SendTargets),
            pass_time.in_set(ControlSystems::Step),
        )
            .run_if(resource_exists::<ServoArm>),
    );
}

/// Reads the joints outside a tick, so that the first one begins with the arm's true pose.
pub fn read_now(world: &mut World) {
    // Fails only without the plugin, and then there is nothing to read.
    let _ = world.run_system_once(read_joints);
}

fn read_joints(
    arm: Res<ServoArm>,
    arms: Query<&Arm>,
    mut joints: Query<
        (&ArmJoint, &mut JointState, &mut JointCommand, &mut JointTarget),
        (With<ServoJoint>, Without<SimJoint>),
    >,
    mut health: ResMut<ServoHealth>,
    mut requests: ResMut<EpisodeRequests>,
    exit: Option<ResMut<Messages<AppExit>>>,
) {
    let state = arm.link.state();
    let follows = arm.enabled && matches!(state.mode, Mode::Following | Mode::Holding);
    for (joint, mut joint_state, mut command, mut target) in &mut joints {
        let Some(reading) = state.joints.get(joint.index).filter(|reading| reading.age_s.is_finite()) else { continue };
        let full_torque_nm = arms.get(joint.arm).map_or(0.0, |arm| arm.servo.torque_limit_nm);
        *joint_state = JointState {
            position_rad: reading.position_rad,
            velocity_rad_s: reading.velocity_rad_s,
            torque_nm: reading.load_fraction * full_torque_nm,
            current_a: reading.current_a,
            temperature_c: reading.temperature_c,
        };
        if !follows {
            command.position_rad = reading.goal_rad;
            target.position_rad = reading.goal_rad;
        }
    }
    if state.finished {
        requests.stop = true;
        if let Some(mut exit) = exit {
            exit.write(AppExit::Success);
        }
    }
    *health = ServoHealth {
        mode: state.mode,
        reason: state.reason,
        notices: state.notices.iter().map(|notice| notice.describe(&JOINT_NAMES)).collect(),
        state,
    };
}

fn send_targets(
    mut arm: ResMut<ServoArm>,
    stop: Res<EmergencyStop>,
    arms: Query<&ArmLimits>,
    joints: Query<(&ArmJoint, &JointTarget), With<ServoJoint>>,
) {
    let released = joints.iter().next().is_some_and(|(joint, _)| arms.get(joint.arm).is_ok_and(ArmLimits::is_released));
    if arm.released != released {
        arm.released = released;
        if released { arm.link.park() } else { arm.link.enable() }
    }
    if released {
        return;
    }
    if arm.stopped != stop.on {
        arm.stopped = stop.on;
        if stop.on { arm.link.emergency_stop() } else { arm.link.enable() }
    }
    let mut goal_rad = [0.0; JOINT_NAMES.len()];
    for (joint, target) in &joints {
        if let Some(goal) = goal_rad.get_mut(joint.index) {
            *goal = target.position_rad;
        }
    }
    if !arm.enabled && !stop.on {
        arm.enabled = true;
        arm.link.enable();
    }
    arm.link.set_goal(&goal_rad);
}

fn pass_time(arm: Res<ServoArm>, rate: Res<ControlRate>) {
    arm.link.pass(rate.tick_s());
}
