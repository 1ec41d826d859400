//! `etude bench bus`: how well the drivers of two emulated arms keep time while one follows the other.

use super::arm::{model_settings, tell};
use super::bench::load_average;
use super::{CliError, progress_bar, say};
use crate::bus::driver::BusDriver;
use crate::bus::realtime::{self, Priority, REAL_TIME_REMEDY};
use crate::bus::registers::JOINT_IDS;
use crate::bus::settings::DriverSettings;
use crate::bus::state::{Mode, Timings};
use crate::bus::virtual_bus::arms::{self, FOLDED_RAD, Hand, LEADER_V};
use crate::bus::virtual_bus::pty::VirtualArm;
use clap::Args;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Options of `etude bench bus`.
#[derive(Args, Debug)]
pub(super) struct BenchBusArgs {
    /// How long to measure, s.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Leave the threads at ordinary priority.
    #[arg(long)]
    ordinary: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    seconds: f64,
    rate_hz: f64,
    /// How the system treated the drivers' threads.
    priority: &'static str,
    /// Load of the machine over the last minute, before and after, if the system tells it.
    load_average: [Option<f64>; 2],
    /// Time of one read of all six joints on the wire, us: bytes at 1 Mbaud and the servos' turnarounds.
    wire_us: f64,
    /// A whole tick of the follower's driver, us.
    tick: Spread,
    /// What a tick takes beyond the wire in the mean, us.
    beyond_wire_us: f64,
    /// How late ticks began, us.
    lateness: Spread,
    /// Ticks left out.
    skipped: u64,
    /// From the beginning of the leader's reading to the follower's goal on the wire, us.
    leader_to_follower: Spread,
}

#[derive(Serialize)]
struct Spread {
    count: u64,
    mean: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(times: &Timings) -> Self {
        let round = |us: f64| (us * 10.0).round() / 10.0;
        Self {
            count: times.count(),
            mean: round(times.mean_us()),
            p50: round(times.percentile_us(0.5)),
            p99: round(times.percentile_us(0.99)),
            max: round(times.max_us()),
        }
    }

    fn line(&self, what: &str) -> String {
        let [mean, p50, p99, max] = [self.mean, self.p50, self.p99, self.max].map(|us| us / 1e3);
        format!("  {what:<34} mean {mean:6.3}  median {p50:6.3}  99 of 100 {p99:6.3}  longest {max:7.3} ms")
    }
}

/// Bytes of a sync read of registers 56..70 of six servos, and of their answers.
const WIRE_BYTES: f64 = 14.0 + 6.0 * 21.0;
/// Turnaround of an emulated servo, us.
const TURNAROUND_US: f64 = 20.0;
/// How often the hand moves the leader.
const HAND_EVERY: Duration = Duration::from_millis(20);

pub(super) fn bench_bus(args: &BenchBusArgs) -> Result<(), CliError> {
    if !(1.0..=3600.0).contains(&args.seconds) {
        return Err(CliError::Usage(format!("--seconds {}: give a number from 1 to 3600", args.seconds)));
    }
    let before = load_average();
    let calibrations = [arms::calibration(1), arms::calibration(2)];
    let arm = |index: usize| {
        let mut bus = arms::calibrated(&calibrations[index], None);
        bus.place(&FOLDED_RAD);
        VirtualArm::start(if index == 0 { bus.with_supply(LEADER_V) } else { bus }, None)
    };
    let (leader_arm, follower_arm) = (arm(0)?, arm(1)?);
    let settings = DriverSettings { punctual: !args.ordinary, ..model_settings()? };
    let limp = DriverSettings { powered: false, floor: None, ..settings.clone() };
    let rate_hz = settings.rate_hz;
    let path = |arm: &VirtualArm| arm.path().to_string_lossy().into_owned();
    let leader = BusDriver::start(&path(&leader_arm), None, limp, &calibrations[0])?;
    let follower = BusDriver::start(&path(&follower_arm), None, settings, &calibrations[1])?;
    follower.stop_on_signals()?;
    super::teleoperate::wait_for(&leader, "leader")?;
    super::teleoperate::wait_for(&follower, "follower")?;
    follower.enable()?;
    let ended = AtomicBool::new(false);
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(args.seconds.ceil() as u64, "s") };
    std::thread::scope(|scope| {
        scope.spawn(|| wave(&leader_arm, &ended));
        if !args.ordinary {
            realtime::be_punctual(realtime::DRIVER_PRIORITY);
        }
        let (mut cycle, mut began): (u64, Option<Instant>) = (0, None);
        let warm_up = Instant::now();
        while !follower.is_finished() && began.is_none_or(|began| began.elapsed().as_secs_f64() < args.seconds) {
            let Some(led) = leader.wait_newer(cycle, Duration::from_millis(100)) else { continue };
            cycle = led.cycle;
            let read_at = leader.read_at().unwrap_or_else(Instant::now);
            if follower.set_goal_read_at(&led.positions_rad(), read_at).is_err() {
                break;
            }
            let follows = follower.state().mode == Mode::Following && warm_up.elapsed() > Duration::from_secs(2);
            match began {
                None if follows => {
                    follower.reset_pace();
                    began = Some(Instant::now());
                }
                Some(began) => bar.set_position(began.elapsed().as_secs()),
                None => {}
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    bar.finish_and_clear();
    let (pace, priority) = (follower.pace(), follower.priority());
    follower.stop();
    drop(leader);
    let wire_us = WIRE_BYTES * 10.0 + JOINT_IDS.len() as f64 * TURNAROUND_US;
    let tick = Spread::of(&pace.cycle);
    let figures = Figures {
        seconds: args.seconds,
        rate_hz,
        priority: priority.name(),
        load_average: [before, load_average()],
        wire_us,
        beyond_wire_us: ((tick.mean - wire_us) * 10.0).round() / 10.0,
        tick,
        lateness: Spread::of(&pace.lateness),
        skipped: pace.skipped,
        leader_to_follower: Spread::of(&pace.goal),
    };
    if args.json {
        return say(serde_json::to_string(&figures).unwrap_or_default());
    }
    say(format!(
        "two emulated arms, drivers at {rate_hz:.0} Hz for {:.0} s, {} priority",
        args.seconds, figures.priority
    ))?;
    say(figures.tick.line("a tick of the bus"))?;
    say(format!(
        "  {:<34} {:.3} ms in the mean, {:.3} ms are the wire",
        "of that beyond the wire",
        figures.beyond_wire_us / 1e3,
        wire_us / 1e3
    ))?;
    say(figures.lateness.line("ticks began late by"))?;
    say(format!("  {:<34} {} of {}", "ticks left out", figures.skipped, figures.tick.count + figures.skipped))?;
    say(figures.leader_to_follower.line("leader's reading to follower's goal"))?;
    if let [Some(before), Some(after)] = figures.load_average {
        say(format!("  {:<34} {before:.2} before, {after:.2} after", "load of the machine"))?;
    }
    if priority != Priority::RealTime && !args.ordinary {
        tell(REAL_TIME_REMEDY);
    }
    Ok(())
}

/// A hand moves the limp leader about.
fn wave(arm: &VirtualArm, ended: &AtomicBool) {
    let (mut hand, mut stage, mut time_s) = (Hand::Wave, 0, 0.0);
    // No program keeps a person's hand waiting; a thread that waits while it holds the arm would keep its servos waiting.
    realtime::be_punctual(realtime::EMULATOR_PRIORITY);
    while !ended.load(Ordering::SeqCst) {
        std::thread::sleep(HAND_EVERY);
        let mut bus = arm.bus().lock();
        let at_rad: Vec<f64> = bus.motions().iter().map(|motion| motion.position_rad).collect();
        let next = hand.step(&at_rad, HAND_EVERY.as_secs_f64(), &mut stage, &mut time_s);
        bus.place(&next);
    }
}
