//! `etude rollout`: a policy drives, in the simulation or a real arm, with a person who may take over at any moment.

use super::evaluate::FollowArgs;
#[cfg(unix)]
use super::teleoperate::HeldLeaderArgs;
use super::{CliError, WorldArgs, planar, say};
use crate::app::{Loaded, RunOptions};
use crate::camera::CamerasInUse;
use crate::episode::EpisodePhase;
use crate::evaluate::EvaluateError;
use crate::headless::Headless;
use crate::operator::Operator;
use crate::planar::PlanarDriver;
use crate::policy;
use crate::record::{self, CameraWish, Keep, RecordOptions};
use crate::rollout::{self, HandsBack, PolicyDriver};
use crate::ui::planar::Who;
use crate::window::{self, WindowOptions};
use bevy::prelude::App;
use burn::tensor::Device;
use clap::Args;
use std::path::PathBuf;

/// A leader that has rested for so long hands the arm back to the policy, s.
const HAND_BACK_S: f64 = 2.0;

/// Options of `etude rollout`.
#[derive(Args, Debug)]
pub(super) struct RolloutArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Folder of the policy.
    #[arg(long, value_name = "FOLDER")]
    policy: PathBuf,
    /// Seed of the first start.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of episodes without a window.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    episodes: u64,
    #[cfg(unix)]
    #[command(flatten)]
    leader: HeldLeaderArgs,
    /// Watch in the window; whoever touches the controls has the arm.
    #[arg(long)]
    window: bool,
    #[command(flatten)]
    follow: FollowArgs,
    /// Record into this dataset; the column `etude.source` tells policy and person apart.
    #[arg(long, value_name = "FOLDER", conflicts_with = "window")]
    record: Option<PathBuf>,
}

pub(super) fn rollout(args: &RolloutArgs, verbose: u8) -> Result<(), CliError> {
    if args.world.task == planar::NAME {
        return in_the_plane(args, verbose);
    }
    let run = args.world.options(Operator::Policy)?;
    let policy = policy::load(&args.policy, &Device::flex())?;
    let real_time = args.world.is_real() || args.window;
    let options = args.follow.options(real_time);
    let refused = |refusals| CliError::from(EvaluateError::Refused(refusals));
    if args.window {
        return in_window(args, run, policy, options, verbose);
    }
    super::start_logging(verbose);
    let loaded = load(args, &run)?;
    let mut headless = Headless::from_loaded(&loaded, &run);
    rollout::install(headless.app.world_mut(), policy, options).map_err(refused)?;
    #[cfg(unix)]
    if let Some(leader) = args.leader.connect()? {
        leader.install(headless.app.world_mut())?;
        headless.app.insert_resource(HandsBack(HAND_BACK_S));
        // The hand on the leader lives in real time.
        headless.keep_real_time();
    }
    if let Some(folder) = &args.record {
        let wishes = match headless.app.world().resource::<CamerasInUse>() {
            CamerasInUse::Named(names) => {
                names.iter().map(|name| CameraWish { name: name.clone(), size: None }).collect()
            }
            CamerasInUse::All | CamerasInUse::None => Vec::new(),
        };
        let mut note = record::note(&run, &[]);
        note.insert("policy".into(), serde_json::json!(args.policy.display().to_string()));
        let recording = RecordOptions { keep: Keep::All, note, ..RecordOptions::default() };
        let recorder = record::open(headless.app.world_mut(), folder, &wishes, recording)?;
        headless.app.insert_resource(recorder);
    }
    if args.world.is_real() {
        super::arm::tell("the policy moves the real arm now");
        super::terminal::add_stop_keys(&mut headless.app)?;
    }
    for seed in (0..args.episodes).map(|count| args.seed.wrapping_add(count)) {
        headless.start(seed)?;
        while headless.episode().phase == EpisodePhase::Running {
            headless.tick();
            if let Some(problem) = headless.app.world_mut().resource_mut::<PolicyDriver>().take_fault() {
                return Err(EvaluateError::Failed { seed, problem }.into());
            }
            if headless.arm_has_ended() {
                return Err(CliError::Usage(
                    "the arm was parked and its driver has ended, as after Ctrl-C; run the command again to go on"
                        .into(),
                ));
            }
        }
        let report = headless.report();
        let verdict = if report.success { "done" } else { "failed" };
        say(format!("seed {seed:>6}  {verdict:<6}  score {:.3}  {:>5.1} s", report.score, report.seconds))?;
    }
    let load = headless.app.world().resource::<PolicyDriver>().load();
    if real_time {
        say(format!(
            "{} chunks; the network took {:.1} ms on average, {:.1} ms at most; {} ticks held still for want of one",
            load.chunks,
            1000.0 * load.mean_s,
            1000.0 * load.slowest_s,
            load.held_ticks
        ))?;
    }
    if let Some(mut recorder) = headless.app.world_mut().get_resource_mut::<record::Recorder>() {
        for event in recorder.flush() {
            if let crate::dataset::Event::Failed(error) = event {
                return Err(error.into());
            }
        }
    }
    super::terminal::end(headless);
    Ok(())
}

fn in_the_plane(args: &RolloutArgs, verbose: u8) -> Result<(), CliError> {
    if args.record.is_some() || args.follow.instruction.is_some() {
        return Err(CliError::Usage("--record, --instruction: push_t_2d does not know them; leave them out".into()));
    }
    let options = args.follow.options(false);
    if args.window {
        let driver = Box::new(PlanarDriver::open(&args.policy, options)?);
        return planar::window(&args.world, args.seed, (1000, 720), verbose, Who::Policy(driver));
    }
    super::start_logging(verbose);
    planar::rollout(&args.policy, options, (args.seed, args.episodes))
}

fn load(args: &RolloutArgs, run: &RunOptions) -> Result<Loaded, CliError> {
    let mut loaded = Loaded::new(run)?;
    if let Some(instruction) = &args.follow.instruction {
        loaded.scene.change(|scene| scene.instruction.clone_from(instruction));
    }
    Ok(loaded)
}

fn in_window(
    args: &RolloutArgs,
    run: RunOptions,
    policy: Box<dyn policy::Policy>,
    options: rollout::RolloutOptions,
    verbose: u8,
) -> Result<(), CliError> {
    let loaded = load(args, &run)?;
    let window = WindowOptions { run, seed: args.seed, quality: None, size: (1280, 720), measure_s: None, verbose };
    #[cfg(unix)]
    let leader = args.leader.connect()?;
    let install = |app: &mut App| -> Result<(), CliError> {
        rollout::install(app.world_mut(), policy, options).map_err(EvaluateError::Refused)?;
        #[cfg(unix)]
        if let Some(leader) = &leader {
            leader.install(app.world_mut())?;
        }
        Ok(())
    };
    window::open_with(&loaded, &window, install).map_err(|fault| CliError::Window(fault.to_string()))?.map(|_| ())
}
