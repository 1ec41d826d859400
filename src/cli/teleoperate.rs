//! `etude teleoperate`: a follower does what a leader does, or what it was shown by hand.

use super::arm::{ArmArgs, load_calibration, model_settings, notices, open_arm, tell, watched};
use super::terminal::{self, ArmKeys, Key, STOP_HELP, Terminal, Wish};
use super::{CliError, guide, say};
use crate::bus::calibration_file::{ArmCalibration, Role};
use crate::bus::driver::BusDriver;
use crate::bus::follow::{Glide, LeaderMap, gripper_range_rad};
use crate::bus::realtime::{self, Priority, REAL_TIME_REMEDY};
use crate::bus::registers::JOINT_NAMES;
use crate::bus::settings::DriverSettings;
use crate::bus::state::{ArmState, Mode, Pace, Reason};
use crate::bus::virtual_bus::arms;
use crate::bus::virtual_bus::pty::VirtualArm;
use crate::record::RecordError;
use crate::robot::Arm;
use crate::teleop::leader::Leader;
use bevy::prelude::World;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Options of `etude teleoperate`.
#[derive(Args, Debug)]
pub(super) struct TeleoperateArgs {
    /// Serial port of the leader, the arm moved by hand.
    #[arg(long, value_name = "PORT", required_unless_present = "guide")]
    leader: Option<String>,
    /// Serial port of the follower, or sim for a simulated one.
    #[arg(long, value_name = "PORT|sim")]
    follower: String,
    /// Without a leader: the follower's torque goes off, it is moved by hand, its path is saved in this table (CSV) and
    /// replayed. A path that is there already is replayed.
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["leader", "leader_id", "mirror", "rotate", "seconds"])]
    guide: Option<PathBuf>,
    /// Name of the leader's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME")]
    leader_id: Option<String>,
    /// Name of the follower's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME")]
    follower_id: Option<String>,
    /// The leader stands opposite: exchange left and right.
    #[arg(long)]
    mirror: bool,
    /// How far the follower's base is turned against the leader's, degrees.
    #[arg(long, default_value_t = 0.0, value_name = "DEGREES", allow_negative_numbers = true)]
    rotate: f64,
    /// Stop after this many seconds instead of on Ctrl-C.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
}

/// Older readings of a leader are not followed, s.
const FRESH_S: f64 = 0.05;
/// How long both arms may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A way from leader to follower that people begin to feel, us.
const SLOW_US: f64 = 5_000.0;
/// How often the state is shown.
const SHOW_EVERY: Duration = Duration::from_millis(250);

pub(super) fn teleoperate(args: &TeleoperateArgs) -> Result<(), CliError> {
    if !args.rotate.is_finite() || args.rotate.abs() > 180.0 {
        return Err(CliError::Usage(format!("--rotate {}: give degrees from -180 to 180", args.rotate)));
    }
    if args.seconds.is_some_and(|seconds| seconds.is_nan() || seconds <= 0.0) {
        return Err(CliError::Usage("--seconds: give a number above 0".into()));
    }
    let settings = model_settings()?;
    if let Some(file) = &args.guide {
        if args.follower == "sim" {
            return Err(CliError::Usage(
                "--guide: nobody can hold the simulated follower; start `etude virtual-arm --sim --link arm`, whose hand you \
                 are, and give --follower arm"
                    .into(),
            ));
        }
        let calibration = calibration(&args.follower, args.follower_id.clone(), false)?;
        return guide::guide(&args.follower, file, settings, &calibration);
    }
    let Some(leader_port) = &args.leader else {
        return Err(CliError::Usage(
            "--leader PORT is needed, or --guide FILE.csv to move the follower by hand".into(),
        ));
    };
    if super::arm::same_file(leader_port, &args.follower) {
        return Err(CliError::Usage(format!("--follower {}: that is the leader's port, too", args.follower)));
    }
    let (leader, leader_calibration) = connect_leader(leader_port, args.leader_id.clone())?;
    // The simulated follower outlives its driver, which parks it.
    let mut simulated = None;
    let (follower_port, follower_calibration) = if args.follower == "sim" {
        let calibration = arms::calibration(0);
        let arm = VirtualArm::start(super::virtual_arm::simulated(&calibration, None, 0)?.bus, None)?;
        let path = arm.path().to_string_lossy().into_owned();
        simulated = Some(arm);
        (path, calibration)
    } else {
        let calibration = calibration(&args.follower, args.follower_id.clone(), false)?;
        drop(open_arm(&args.follower)?);
        (args.follower.clone(), calibration)
    };
    let gripper = |calibration| gripper_range_rad(&settings.joints, calibration).unwrap_or((0.0, 1.0));
    let map = LeaderMap {
        mirror: args.mirror,
        turn_rad: args.rotate.to_radians(),
        leader_gripper_rad: gripper(&leader_calibration),
        follower_gripper_rad: gripper(&follower_calibration),
    };
    let follower = BusDriver::start(&follower_port, None, settings, &follower_calibration)?;
    follower.stop_on_signals()?;
    wait_for(&follower, "follower")?;
    tell(&format!(
        "The follower glides to the leader's pose, then follows it. {STOP_HELP}; q or Ctrl-C parks it and ends."
    ));
    let mut terminal = Terminal::open()?;
    let mut keys = ArmKeys::default();
    let pace = follow(args, &leader, &follower, &map, (&mut terminal, &mut keys))?;
    let priority = follower.priority();
    terminal::park(&follower, &mut terminal, &mut keys);
    drop(terminal);
    let last = follower.stop();
    drop(simulated);
    let latency = &pace.goal;
    if priority != Priority::RealTime && latency.percentile_us(0.99) > SLOW_US {
        tell(&format!("this computer was busy: {REAL_TIME_REMEDY}"));
    }
    say(format!(
        "{} goals; from reading the leader to the goal on the follower's wire: median {:.1} ms, 99 of 100 within {:.1} ms",
        latency.count(),
        latency.percentile_us(0.5) / 1e3,
        latency.percentile_us(0.99) / 1e3
    ))?;
    if last.mode == Mode::Disconnected {
        return Err(CliError::Usage(format!(
            "{0}: the follower was not connected in the end and could not be parked: its servos hold their last goal; plug it \
             in and run `etude park --port {0}`",
            args.follower
        )));
    }
    Ok(())
}

/// The leader on a port, limp and answering, with its calibration.
pub(super) fn connect_leader(port: &str, id: Option<String>) -> Result<(BusDriver, ArmCalibration), CliError> {
    let calibration = calibration(port, id, true)?;
    drop(open_arm(port)?);
    let limp = DriverSettings { powered: false, floor: None, ..model_settings()? };
    let leader = BusDriver::start(port, None, limp, &calibration)?;
    wait_for(&leader, "leader")?;
    Ok((leader, calibration))
}

/// A leader with which a person may take the arm from a policy.
#[derive(Args, Debug)]
pub(super) struct HeldLeaderArgs {
    /// Leader arm on this serial port: moving it by hand takes the arm from the policy at any moment. Without a window the
    /// policy goes on once the leader has rested for two seconds.
    #[arg(long = "leader", value_name = "PORT")]
    port: Option<String>,
    /// Name of the leader's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME", requires = "port")]
    leader_id: Option<String>,
    /// The leader stands opposite: exchange left and right.
    #[arg(long, requires = "port")]
    mirror: bool,
}

impl HeldLeaderArgs {
    /// Connects to the leader, if there shall be one.
    pub(super) fn connect(&self) -> Result<Option<HeldLeader>, CliError> {
        let Some(port) = &self.port else { return Ok(None) };
        let (driver, calibration) = connect_leader(port, self.leader_id.clone())?;
        Ok(Some(HeldLeader { driver: Arc::new(driver), calibration, mirror: self.mirror }))
    }
}

/// It, connected.
pub(super) struct HeldLeader {
    driver: Arc<BusDriver>,
    calibration: ArmCalibration,
    mirror: bool,
}

impl HeldLeader {
    pub(super) fn install(&self, world: &mut World) -> Result<(), CliError> {
        install_leader(world, (self.driver.clone(), &self.calibration), self.mirror)
    }
}

/// Lets a leader move the arm of a world in a person's place.
pub(super) fn install_leader(
    world: &mut World,
    (driver, calibration): (Arc<BusDriver>, &ArmCalibration),
    mirror: bool,
) -> Result<(), CliError> {
    let arm = world.query::<&Arm>().iter(world).next().ok_or(RecordError::NoArm)?;
    let joint = &arm.model.joints[arm.model.gripper_joint()];
    let joints = DriverSettings::default().joints;
    let map = LeaderMap {
        mirror,
        turn_rad: 0.0,
        leader_gripper_rad: gripper_range_rad(&joints, calibration).unwrap_or((0.0, 1.0)),
        follower_gripper_rad: (joint.lower, joint.upper),
    };
    world.insert_resource(Leader::new(driver, map));
    Ok(())
}

fn calibration(port: &str, id: Option<String>, leader: bool) -> Result<ArmCalibration, CliError> {
    if let Some(id) = &id {
        return load_calibration(if leader { Role::Leader } else { Role::Follower }, id);
    }
    ArmArgs { port: port.to_owned(), id, leader }.calibration().map_err(|error| match error {
        CliError::Usage(_) => CliError::Usage(format!(
            "{port}: which arm this is, is not known; give the name of its calibration with {} NAME, or calibrate it",
            if leader { "--leader-id" } else { "--follower-id" }
        )),
        other => other,
    })
}

pub(super) fn wait_for(driver: &BusDriver, which: &str) -> Result<(), CliError> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let state = driver.state();
        // Every joint has been checked once by then.
        if state.cycle > 20 && state.is_fresh(FRESH_S) && state.notices.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let why = notices(&driver.state()).join("; ");
    Err(CliError::Usage(format!("the {which} is not ready: {why}; `etude doctor` says more")))
}

/// Follows until Ctrl-C or time is up; how the follower's driver kept time while it followed directly.
fn follow(
    args: &TeleoperateArgs,
    leader: &BusDriver,
    follower: &BusDriver,
    map: &LeaderMap,
    (terminal, keys): (&mut Terminal, &mut ArmKeys),
) -> Result<Pace, CliError> {
    follower.enable()?;
    let start = Instant::now();
    let mut glide = Glide::from(follower.state().positions_rad());
    let mut met = false;
    // The way from leader to follower leads through this thread, too.
    realtime::be_punctual(realtime::DRIVER_PRIORITY);
    let (mut cycle, mut last) = (0, Instant::now());
    let mut show = Show::default();
    let mut told = None;
    while !follower.is_finished() && args.seconds.is_none_or(|seconds| start.elapsed().as_secs_f64() < seconds) {
        let followed = follower.state();
        if let Key::Char(key) = terminal.key() {
            match keys.wish(key, followed.mode == Mode::Stopped) {
                Some(Wish::Stop) => follower.emergency_stop(),
                Some(Wish::GoOn) => follower.enable()?,
                Some(Wish::End) => break,
                None if key == 'g' && followed.mode == Mode::Limp => follower.enable()?,
                None => {}
            }
        }
        let asked = matches!(followed.reason, Some(Reason::Requested | Reason::Shutdown));
        let let_go = followed.reason.filter(|_| followed.mode == Mode::Limp && !asked);
        if let_go != told
            && let Some(why) = &let_go
        {
            show.tell(vec![format!(
                "the follower has parked and let go: {}. Then g lets it follow again",
                why.describe(&JOINT_NAMES)
            )]);
        }
        told = let_go;
        if show.is_due() {
            show.state(&followed, &leader.state(), &follower.pace(), glide.has_arrived());
        }
        let Some(led) = leader.wait_newer(cycle, Duration::from_millis(100)) else { continue };
        cycle = led.cycle;
        let read_at = leader.read_at().unwrap_or_else(Instant::now);
        let dt_s = last.elapsed().as_secs_f64().min(0.05);
        last = Instant::now();
        // Nobody's pose is no goal: the driver holds, and parks if the leader does not come back.
        if !led.is_fresh(FRESH_S) {
            continue;
        }
        if followed.mode != Mode::Following {
            // After any interruption the leader may be anywhere.
            let held = followed.joints.iter().map(|joint| joint.goal_rad).collect();
            glide = Glide::from(held);
        }
        let goal = glide.next(&map.map(&led.positions_rad()), dt_s);
        if glide.has_arrived() && !met {
            met = true;
            follower.reset_pace();
        }
        if follower.set_goal_read_at(&goal, read_at).is_err() {
            break;
        }
    }
    if watched() {
        tell("");
    }
    Ok(follower.pace())
}

/// What the person sees while it runs.
#[derive(Default)]
pub(super) struct Show {
    next: Option<Instant>,
    told: Vec<(String, Instant)>,
}

/// A notice that is gone and comes back is told again only after this time.
const TELL_AGAIN: Duration = Duration::from_secs(10);

impl Show {
    fn state(&mut self, follower: &ArmState, leader: &ArmState, pace: &Pace, met: bool) {
        let mut news: Vec<String> = notices(leader).into_iter().map(|notice| format!("leader: {notice}")).collect();
        news.extend(notices(follower).into_iter().map(|notice| format!("follower: {notice}")));
        self.tell(news);
        let latency = pace.goal.percentile_us(0.5) / 1e3;
        let doing = if met { "following" } else { "gliding to the leader" };
        Self::line(follower, doing, &format!("latency {latency:.1} ms"));
    }

    /// Whether it is time to show something again.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now + SHOW_EVERY);
        true
    }

    /// Tells what is new.
    pub fn tell(&mut self, news: Vec<String>) {
        let now = Instant::now();
        for notice in news {
            match self.told.iter_mut().find(|(told, _)| *told == notice) {
                Some((_, seen)) => *seen = now,
                None => {
                    tell(&if watched() { format!("\r\x1b[K{notice}") } else { notice.clone() });
                    self.told.push((notice, now));
                }
            }
        }
        self.told.retain(|(_, seen)| now.duration_since(*seen) < TELL_AGAIN);
    }

    /// One line about an arm that does `doing` while it follows goals, drawn over and over where a person watches.
    pub fn line(arm: &ArmState, doing: &str, more: &str) {
        if !watched() {
            return;
        }
        let doing = match arm.mode {
            Mode::Following => doing,
            Mode::Enabling => "switching its torque on",
            Mode::Holding => "holding still",
            Mode::Parking => "parking",
            Mode::Stopped => "STOPPED (g goes on)",
            Mode::Limp => "limp",
            Mode::Disconnected => "not connected",
        };
        let degrees: Vec<String> =
            arm.joints.iter().map(|joint| format!("{:4.0}", joint.position_rad.to_degrees())).collect();
        let _ = write!(std::io::stderr(), "\r\x1b[K{doing}  {}  {more}", degrees.join(" "));
        let _ = std::io::stderr().flush();
    }
}
