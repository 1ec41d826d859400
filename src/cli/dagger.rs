//! `etude dagger`: a policy drives in the simulation, and the expert says what would have been right wherever it gets.

use super::evaluate::FollowArgs;
use super::generate::{LIMIT_S, QUANTISER, Workers, make, parse_workers};
use super::{CliError, WorldArgs};
use crate::app::Loaded;
use crate::generate::{self, Camera, GenerateError, Pilot, Settings, Shard};
use crate::operator::Operator;
use crate::policy;
use burn::tensor::Device;
use clap::Args;
use std::path::PathBuf;

/// Options of `etude dagger`.
#[derive(Args, Debug)]
pub(super) struct DaggerArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Folder of the policy that drives.
    #[arg(long, value_name = "FOLDER")]
    policy: PathBuf,
    /// Folder of the dataset. A run that was killed goes on with what is there.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: PathBuf,
    /// Episodes of the dataset.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) episodes: u64,
    /// Seed of the first episode; the next ones count up, below 90000.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Share of the time in which the expert drives instead, some ticks at a time.
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    expert_share: f64,
    #[command(flatten)]
    follow: FollowArgs,
    /// Worlds that run at once; "auto": as many as there are cores. The dataset is the same for any number.
    #[arg(long, default_value = "auto", value_name = "COUNT", value_parser = parse_workers)]
    workers: Workers,
    /// Record only every K-th control tick; give the same as for the data this will be trained with.
    #[arg(long, default_value_t = 3, value_name = "K")]
    every: u32,
    /// Steps of the column etude.chunk; without it as many as the policy's chunks have.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..=256))]
    chunk: Option<u32>,
    /// Share of episodes that start in the middle of the task, with the hand anywhere over the table.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    random_start: f64,
    /// By how much starts are drawn from wider ranges than the scene's.
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    wider: f64,
    /// Rows after which an episode's pictures go over to another look of its world; 0: never. Needs --randomise.
    #[arg(long, default_value_t = 0, value_name = "ROWS")]
    look_every: u32,
    /// An episode ends after this time, s.
    #[arg(long, default_value_t = LIMIT_S, value_name = "SECONDS")]
    limit: f64,
    /// Quality of the pictures: H.264's quantiser, 0 to 51, smaller is better and larger.
    #[arg(long, default_value_t = QUANTISER)]
    quantiser: u8,
    /// One JSON line every five seconds and a summary line.
    #[arg(long)]
    json: bool,
}

pub(super) fn dagger(args: &DaggerArgs) -> Result<(), CliError> {
    if args.world.is_real() {
        return Err(CliError::Usage(
            "dagger: only in the simulation does an expert know what would be right; leave out --arm real and --arm-port, \
             or correct the policy by hand in `etude rollout --record`"
                .into(),
        ));
    }
    let options = args.world.options(Operator::Outside)?;
    let mut loaded = Loaded::new(&options)?;
    if let Some(instruction) = &args.follow.instruction {
        loaded.scene.change(|scene| scene.instruction.clone_from(instruction));
    }
    let pilot = Pilot::new(args.policy.clone(), args.expert_share, args.follow.options(false))?;
    let settings = settings(args, &loaded, &options, pilot)?;
    settings.validate()?;
    make(&loaded, &options, &settings, &[], (Shard::default(), args.workers), &args.out, args.json)
}

fn settings(
    args: &DaggerArgs,
    loaded: &Loaded,
    options: &crate::app::RunOptions,
    pilot: Pilot,
) -> Result<Settings, CliError> {
    let scene = &loaded.scene.scene;
    let policy = policy::load(&pilot.policy, &Device::flex())?;
    let spec = policy.spec();
    if !args.world.expert.can_do(scene) {
        return Err(GenerateError::NoExpert.into());
    }
    let cameras = spec.cameras.iter().enumerate().map(|(at, camera)| {
        let (width, height) = spec.recorded.get(at).copied().unwrap_or((camera.width, camera.height));
        Camera { name: camera.name.clone(), width: width as u32, height: height as u32 }
    });
    Ok(Settings {
        task: loaded.scene.name.clone(),
        expert: args.world.expert,
        from: None,
        episodes: args.episodes,
        seed: args.seed,
        keep_all: true,
        cameras: cameras.collect(),
        quantiser: args.quantiser,
        every: args.every,
        control_hz: loaded.rate.hz,
        chunk: args.chunk.unwrap_or(u32::try_from(spec.chunk_size).unwrap_or(1).min(256)),
        noise_rad: Vec::new(),
        random_start: args.random_start,
        wider: args.wider,
        speed: args.world.speed.unwrap_or(1.0),
        limit_s: args.limit,
        looks: 1,
        look_every: args.look_every,
        pilot: Some(pilot),
        worlds_differ: loaded.worlds.ranges(scene).is_some(),
        world: generate::world_hash(loaded, options),
        etude: env!("CARGO_PKG_VERSION").into(),
    })
}
