//! `etude generate`: synthetic episodes at scale.

use super::record::parse_size;
use super::{CliError, WorldArgs, planar, progress_bar, say};
use crate::app::{Loaded, RunOptions};
use crate::generate::{self, Camera, Demonstration, GenerateError, Made, Progress, Settings, Shard};
use crate::operator::Operator;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Quantiser of pictures: what it costs and keeps is measured in docs/generate.md.
pub(super) const QUANTISER: u8 = 14;
/// Amplitudes of noise unless others are given, rad.
const NOISE_RAD: [f64; 4] = [0.0, 0.005, 0.01, 0.015];
/// Cameras unless others are named.
pub(super) const CAMERAS: [&str; 2] = ["overview", "wrist"];
/// Time an attempt may take at the expert's own pace, s.
pub(super) const LIMIT_S: f64 = 15.0;
/// Progress as JSON comes this often.
const TELL: Duration = Duration::from_secs(5);

/// Options of `etude generate`.
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    pub(super) world: WorldArgs,
    /// Carry over the demonstrations of this dataset to new starts, instead of asking an expert.
    #[arg(long, value_name = "DATASET")]
    pub(super) from: Option<PathBuf>,
    /// Folder of the dataset. A run that was killed goes on with what is there.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: PathBuf,
    /// Episodes of the dataset.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) episodes: u64,
    /// Seed of the first episode; the next ones count up.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Worlds that run at once; "auto": as many as there are cores. The dataset is the same for any number.
    #[arg(long, default_value = "auto", value_name = "COUNT", value_parser = parse_workers)]
    pub(super) workers: Workers,
    /// Make only one part of the dataset, such as 2/8 of 0/8 to 7/8; `etude dataset merge` joins them.
    #[arg(long, default_value = "0/1", value_name = "K/N")]
    pub(super) shard: Shard,
    /// Which episodes to keep.
    #[arg(long, default_value = "success")]
    keep: KeepArg,
    /// Cameras to draw, by their names in the scene; "none" for none.
    #[arg(long, default_value = "overview,wrist", value_name = "NAMES", value_delimiter = ',')]
    pub(super) cameras: Vec<String>,
    /// Size of the pictures, such as 96x96; without it as the scene says.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(super) size: Option<(u32, u32)>,
    /// Quality of the pictures: H.264's quantiser, 0 to 51, smaller is better and larger.
    #[arg(long, default_value_t = QUANTISER)]
    pub(super) quantiser: u8,
    /// Draw and record only every K-th control tick; the dataset's rate becomes the control rate over K.
    #[arg(long, default_value_t = 1, value_name = "K")]
    pub(super) every: u32,
    /// Draw each simulated episode in K looks: the same states and actions, other pictures. They count as episodes.
    #[arg(long, default_value_t = 1, value_name = "K")]
    pub(super) looks: u32,
    /// Go over to another look every N rows of an episode, for policies without memory; 0: one look an episode.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) look_every: u32,
    /// Steps of the column etude.chunk: what the expert would do next without noise; 0 leaves it out.
    #[arg(long, default_value_t = 8, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(super) chunk: u32,
    /// Amplitudes of noise on the executed commands, rad (push_t_2d: pixels); each episode draws one. The labels stay clean.
    /// Without it 0,0.005,0.01,0.015 (push_t_2d: 0,6,12).
    #[arg(long, value_name = "RAD", value_delimiter = ',')]
    pub(super) noise: Option<Vec<f64>>,
    /// Share of episodes that start in the middle of the task, with the hand anywhere over the table; without it 0.35,
    /// and 0 with --from.
    #[arg(long, value_name = "SHARE")]
    pub(super) random_start: Option<f64>,
    /// By how much starts are drawn from wider ranges than the scene's.
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    wider: f64,
    /// An attempt has failed after this time, s; without it 15 at pace 1, more when slower.
    #[arg(long, value_name = "SECONDS")]
    limit: Option<f64>,
    /// One JSON line every five seconds and a summary line.
    #[arg(long)]
    json: bool,
}

impl GenerateArgs {
    /// Whether failures are kept too.
    pub(super) fn keeps_all(&self) -> bool {
        self.keep == KeepArg::All
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum KeepArg {
    /// Those in which the task was done; others are tried again from another seed.
    Success,
    /// Failures too, marked as such.
    All,
}

/// How many worlds run at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers(pub(super) usize);

pub(super) fn parse_workers(text: &str) -> Result<Workers, String> {
    if text == "auto" {
        return Ok(Workers(std::thread::available_parallelism().map_or(1, usize::from)));
    }
    let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
    count.map(Workers).ok_or_else(|| "give a number from 1 to 1024, or auto".into())
}

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Progress(&'a Progress),
    Done(Done<'a>),
}

/// The last one.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    made: &'a Made,
    kept_share: f64,
    episodes_per_minute: f64,
    ticks_per_second: f64,
}

pub(super) fn generate(args: &GenerateArgs) -> Result<(), CliError> {
    if args.world.task == planar::NAME {
        let of = args.shard.episodes(args.episodes);
        let made = watched(of.end - of.start, args.json, |watch| planar::generate(args, watch))?;
        return tell(args.json, 1, &made);
    }
    if args.world.is_real() {
        return Err(CliError::Usage("generating simulates; leave out --arm real and --arm-port".into()));
    }
    if !args.world.real_cameras.is_empty() {
        return Err(CliError::Usage("--camera: generating draws the scene's own cameras; leave it out".into()));
    }
    let options = args.world.options(Operator::Outside)?;
    let loaded = Loaded::new(&options)?;
    let mut settings = settings(args, &loaded, &options)?;
    settings.validate()?;
    let mut demonstrations = Vec::new();
    if let Some(root) = &args.from {
        super::dataset::open(root)?;
        let (found, name) = generate::demonstrations(root, &loaded, &options, settings.control_hz)?;
        (demonstrations, settings.from) = (found, Some(name));
    }
    make(&loaded, &options, &settings, &demonstrations, (args.shard, args.workers), &args.out, args.json)
}

/// Makes the dataset with a progress bar, or one JSON line now and then, and tells of it.
pub(super) fn make(
    loaded: &Loaded,
    options: &RunOptions,
    settings: &Settings,
    demonstrations: &[Arc<Demonstration>],
    (shard, workers): (Shard, Workers),
    out: &Path,
    json: bool,
) -> Result<(), CliError> {
    let of = shard.episodes(settings.episodes / u64::from(settings.looks));
    let count = (of.end - of.start) * u64::from(settings.looks);
    let made = watched(count, json, |watch| {
        Ok(generate::run(loaded, options, settings, demonstrations, (shard, workers.0), out, watch)?)
    })?;
    tell(json, settings.looks, &made)
}

/// Has `make` make `count` episodes, with a bar or lines that tell how far it is.
fn watched(
    count: u64,
    json: bool,
    make: impl FnOnce(&mut dyn FnMut(&Progress)) -> Result<Made, CliError>,
) -> Result<Made, CliError> {
    let bar = if json { indicatif::ProgressBar::hidden() } else { progress_bar(count, "episodes") };
    let mut told = Instant::now();
    let mut trouble = None;
    let made = make(&mut |progress: &Progress| {
        bar.set_position(progress.episodes);
        bar.set_message(format!(
            "{:.0}/min, {:.1} % kept, {:.0} ticks/s",
            progress.episodes_per_minute,
            100.0 * progress.kept_share,
            progress.ticks_per_second
        ));
        if json && told.elapsed() > TELL {
            told = Instant::now();
            trouble = say(serde_json::to_string(&Line::Progress(progress)).unwrap_or_default()).err();
        }
    })?;
    bar.finish_and_clear();
    trouble.map_or(Ok(made), Err)
}

fn tell(json: bool, looks: u32, made: &Made) -> Result<(), CliError> {
    let kept_share = made.episodes as f64 / (made.tried * u64::from(looks)).max(1) as f64;
    let per_second = |count: u64| if made.making_s > 0.0 { count as f64 / made.making_s } else { 0.0 };
    if json {
        let (episodes_per_minute, ticks_per_second) = (60.0 * per_second(made.made_now), per_second(made.ticks));
        let done = Line::Done(Done { made, kept_share, episodes_per_minute, ticks_per_second });
        return say(serde_json::to_string(&done).unwrap_or_default());
    }
    let name = made.dataset.display();
    if made.made_now == 0 && made.making_s == 0.0 {
        return say(format!("{name}: made before, {} episodes, {} rows", made.episodes, made.rows));
    }
    say(format!(
        "{name}: {} episodes, {} rows, {:.1} % of {} attempts kept; {} made now in {:.0} s and joined in {:.1} s, {:.0} \
         episodes/min, {:.0} ticks/s",
        made.episodes,
        made.rows,
        100.0 * kept_share,
        made.tried,
        made.made_now,
        made.making_s,
        made.joining_s,
        60.0 * per_second(made.made_now),
        per_second(made.ticks)
    ))
}

fn settings(args: &GenerateArgs, loaded: &Loaded, options: &RunOptions) -> Result<Settings, CliError> {
    let scene = &loaded.scene.scene;
    let speed = args.world.speed.unwrap_or(1.0);
    let names: &[String] = if args.cameras == ["none"] { &[] } else { &args.cameras };
    let mut cameras = Vec::new();
    for name in names {
        let Some(found) = scene.cameras.iter().find(|camera| camera.name == *name) else {
            let known: Vec<&str> = scene.cameras.iter().map(|camera| camera.name.as_str()).collect();
            return Err(GenerateError::Option {
                option: "--cameras",
                problem: format!("the scene has no camera \"{name}\""),
                remedy: format!("give some of {}, or none", known.join(",")),
            }
            .into());
        };
        let (width, height) = args.size.unwrap_or((found.width, found.height));
        cameras.push(Camera { name: name.clone(), width, height });
    }
    Ok(Settings {
        task: loaded.scene.name.clone(),
        expert: args.world.expert,
        from: None,
        episodes: args.episodes,
        seed: args.seed,
        keep_all: args.keeps_all(),
        cameras,
        quantiser: args.quantiser,
        every: args.every,
        control_hz: loaded.rate.hz,
        chunk: args.chunk,
        noise_rad: args.noise.clone().unwrap_or_else(|| NOISE_RAD.to_vec()),
        random_start: args.random_start.unwrap_or(if args.from.is_some() { 0.0 } else { 0.35 }),
        wider: args.wider,
        speed,
        limit_s: args.limit.unwrap_or(match args.from {
            // Demonstrations go at the pace of a person.
            Some(_) => 4.0 * LIMIT_S,
            None => LIMIT_S / speed.clamp(0.05, 1.0),
        }),
        looks: args.looks,
        look_every: args.look_every,
        pilot: None,
        worlds_differ: loaded.worlds.ranges(scene).is_some(),
        world: generate::world_hash(loaded, options),
        etude: env!("CARGO_PKG_VERSION").into(),
    })
}
