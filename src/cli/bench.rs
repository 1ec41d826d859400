//! `etude bench`: the program's own speed on this machine.

use super::bench_data::{self, Generation, Reading};
use super::{CliError, progress_bar, say};
use crate::app::RunOptions;
use crate::arm::DVec3;
use crate::camera::{CameraSensor, CamerasInUse};
use crate::headless::Headless;
use crate::operator::Operator;
use crate::teleop::TeleopInput;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Options of `etude bench`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    part: Option<Part>,
    /// Time for each case, s.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Physics settings: a name in configs/physics/ or a .ron file.
    #[arg(long, default_value = "fast", value_name = "NAME")]
    physics: String,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Other things to measure.
#[derive(Subcommand, Debug)]
enum Part {
    /// The servo bus: time of a tick, punctuality, latency from a leader to its follower.
    #[cfg(unix)]
    Bus(super::bench_bus::BenchBusArgs),
    /// Networks: how long they take to answer and to learn.
    Policy(super::bench_policy::BenchPolicyArgs),
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    /// Control rate of all cases, Hz.
    control_hz: u32,
    physics: String,
    /// Load of the machine over the last minute when the benchmark began, if the system tells it.
    load_average: Option<f64>,
    ticks_per_second: Vec<Case>,
    /// Making a dataset of Move-T by the expert, all cores.
    generation: Vec<Generation>,
    /// Reading a dataset.
    reading: Vec<Reading>,
    /// Loading all files, building the world and making the first tick, s.
    start_to_first_tick_s: f64,
    /// Memory of one headless world, MiB, if the system tells it.
    memory_per_world_mib: Option<f64>,
}

/// Control ticks per second of the whole application on one core.
#[derive(Serialize)]
struct Case {
    case: &'static str,
    ticks_per_second: f64,
    /// How many times faster than real time.
    times_real_time: f64,
}

pub(super) fn bench(args: &BenchArgs) -> Result<(), CliError> {
    match &args.part {
        #[cfg(unix)]
        Some(Part::Bus(args)) => return super::bench_bus::bench_bus(args),
        Some(Part::Policy(args)) => return super::bench_policy::bench_policy(args),
        None => {}
    }
    if !(args.seconds.is_finite() && (0.1..=600.0).contains(&args.seconds)) {
        return Err(CliError::Usage(format!("--seconds {}: give a number from 0.1 to 600", args.seconds)));
    }
    let cases: [(&'static str, &str, Drive, Option<(u32, u32)>); 7] = [
        ("arm and resting cube", "pick_place", Drive::Nobody, None),
        ("pick-and-place by the expert", "pick_place", Drive::Expert, None),
        ("Move-T by the expert", "move_t", Drive::Expert, None),
        ("pushing the T to and fro", "move_t", Drive::Push, None),
        ("Move-T, two cameras of 96x96", "move_t", Drive::Expert, Some((96, 96))),
        ("Move-T, two cameras of 224x224", "move_t", Drive::Expert, Some((224, 224))),
        ("Move-T, two cameras of 640x480", "move_t", Drive::Expert, Some((640, 480))),
    ];
    let load_average = load_average();
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(cases.len() as u64 + 5, "cases") };
    let mut figures = Vec::new();
    for (case, scene, drive, pictures) in cases {
        bar.set_message(case);
        let time = Duration::from_secs_f64(args.seconds);
        let rate = ticks_per_second(scene, &args.physics, drive, pictures, time)?;
        figures.push(Case { case, ticks_per_second: rate, times_real_time: rate / 30.0 });
        bar.inc(1);
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (generation, reading) = bench_data::measure(&args.physics, workers, |case| {
        bar.set_message(case);
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let began = Instant::now();
    let mut first = Headless::new(&options("move_t", &args.physics, Operator::Scripted))?;
    first.start(0)?;
    let start_to_first_tick_s = began.elapsed().as_secs_f64();
    let figures = Figures {
        control_hz: 30,
        physics: args.physics.clone(),
        load_average,
        ticks_per_second: figures,
        generation,
        reading,
        start_to_first_tick_s,
        memory_per_world_mib: memory_per_world_mib(&args.physics)?,
    };
    if args.json {
        return say(serde_json::to_string(&figures).unwrap_or_default());
    }
    say(format!("whole application, one core, control at {} Hz, physics \"{}\"", figures.control_hz, figures.physics))?;
    for case in &figures.ticks_per_second {
        say(format!(
            "  {:<32} {:>8.0} ticks/s  {:>5.0} x real time",
            case.case, case.ticks_per_second, case.times_real_time
        ))?;
    }
    say(format!("making a dataset, Move-T by the expert, {workers} workers"))?;
    for case in &figures.generation {
        say(format!(
            "  {:<36} {:>8.0} ticks/s  {:>6.0} rows/s  {:>5.0} episodes/min  {:>6.0} bytes/row",
            case.case, case.ticks_per_second, case.rows_per_second, case.episodes_per_minute, case.bytes_per_row
        ))?;
    }
    say("reading a dataset")?;
    for case in &figures.reading {
        say(format!("  {:<36} {:>8.0} per s", case.case, case.per_second))?;
    }
    say("the rest")?;
    say(format!("  {:<32} {:>8.3} s", "files to first tick", figures.start_to_first_tick_s))?;
    if let Some(memory) = figures.memory_per_world_mib {
        say(format!("  {:<32} {memory:>8.1} MiB", "memory of a headless world"))?;
    }
    if let Some(load) = figures.load_average {
        say(format!("  {:<32} {load:>8.2}", "load of the machine before"))?;
    }
    Ok(())
}

/// Who moves the arm in a case.
#[derive(Clone, Copy, PartialEq)]
enum Drive {
    Nobody,
    Expert,
    Push,
}

fn options(scene: &str, physics: &str, operator: Operator) -> RunOptions {
    RunOptions { scene: scene.into(), physics: physics.into(), operator, ..RunOptions::default() }
}

/// `pictures`: size of what the overview and the wrist camera draw every tick, if they do.
fn ticks_per_second(
    scene: &str,
    physics: &str,
    drive: Drive,
    pictures: Option<(u32, u32)>,
    time: Duration,
) -> Result<f64, CliError> {
    let operator = match drive {
        Drive::Nobody => Operator::Nobody,
        Drive::Expert => Operator::Scripted,
        Drive::Push => Operator::Human,
    };
    let mut headless = Headless::new(&options(scene, physics, operator))?;
    if let Some((width, height)) = pictures {
        let world = headless.app.world_mut();
        for mut sensor in world.query::<&mut CameraSensor>().iter_mut(world) {
            (sensor.config.width, sensor.config.height) = (width, height);
        }
        world.insert_resource(CamerasInUse::Named(vec!["overview".into(), "wrist".into()]));
    }
    let mut seed = 0;
    headless.start(seed)?;
    let (mut ticks, began) = (0u64, Instant::now());
    let mut in_episode = 0u64;
    while began.elapsed() < time {
        for _ in 0..32 {
            if drive == Drive::Push {
                push(&mut headless, in_episode);
            }
            headless.tick();
            ticks += 1;
            in_episode += 1;
        }
        // A resting cube stays; the others go on to the next start, as they would in use.
        if drive != Drive::Nobody && (headless.episode().outcome().is_some() || in_episode > 480) {
            seed += 1;
            in_episode = 0;
            headless.start(seed)?;
        }
    }
    Ok(ticks as f64 / began.elapsed().as_secs_f64())
}

/// A person's hand with closed fingers sweeps through the middle of the table, to and fro, low enough to push the T.
fn push(headless: &mut Headless, tick: u64) {
    let phase = (tick % 120) as f64 / 120.0;
    let sweep = 4.0 * (phase - 0.5).abs() - 1.0;
    let target = DVec3::new(0.09 * sweep, -0.215 + 0.03 * (tick / 120 % 3) as f64 - 0.03, 0.019);
    let mut input = headless.app.world_mut().resource_mut::<TeleopInput>();
    *input = TeleopInput { drag_target_m: Some(target), gripper: -1.0, speed: 1.0, ..TeleopInput::default() };
}

/// Resident memory of one more headless world, averaged over eight.
fn memory_per_world_mib(physics: &str) -> Result<Option<f64>, CliError> {
    const WORLDS: usize = 8;
    let Some(before) = resident_mib() else { return Ok(None) };
    let mut worlds = Vec::new();
    for seed in 0..WORLDS {
        let mut world = Headless::new(&options("pick_place", physics, Operator::Scripted))?;
        world.start(seed as u64)?;
        (0..60).for_each(|_| world.tick());
        worlds.push(world);
    }
    Ok(resident_mib().map(|after| (after - before) / WORLDS as f64))
}

fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

pub(super) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
