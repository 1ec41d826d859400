//! `etude dataset redraw`: recorded episodes in other looks.

use super::dataset::{self, Episodes};
use super::generate::{Workers, parse_workers};
use super::{CliError, SetUpArgs, progress_bar, replay, say};
use crate::app::{Loaded, RunOptions};
use crate::config::Randomise;
use crate::dataset::schema::CAMERA_PREFIX;
use crate::dataset::{Dataset, Event};
use crate::generate::{self, Redraw};
use crate::headless::Headless;
use crate::operator::Operator;
use crate::record::{self, CameraWish, Keep, RecordOptions, Recorder};
use crate::redraw::{self, Redrawable, for_each_look};
use crate::world::RandomiseChoice;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Options of `etude dataset redraw`.
#[derive(Args, Debug)]
pub(super) struct RedrawArgs {
    /// Folder of the dataset.
    dataset: PathBuf,
    /// Folder of the dataset with the redrawn episodes; one that an earlier call began is completed.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// In how many looks each episode is drawn.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    looks: u32,
    /// Number of the first look; without it the one after the look that an episode was recorded in.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..1_000_000))]
    from_look: Option<u32>,
    /// Go over to another look every N rows of an episode; 0: one look an episode. For generated datasets.
    #[arg(long, default_value_t = 0, value_name = "N")]
    look_every: u32,
    /// Threads that draw; "auto": as many as there are cores. For generated datasets.
    #[arg(long, default_value = "auto", value_name = "COUNT", value_parser = parse_workers)]
    workers: Workers,
    /// What is drawn anew: looks for light, colours, textures, camera, lens, sensor and zeros, a list of some of them, or a .ron
    /// file with ranges.
    #[arg(long, default_value = "looks", value_name = "GROUPS")]
    randomise: RandomiseChoice,
    /// Episodes, such as 0-4,9; without it all.
    #[arg(long, value_name = "LIST")]
    episodes: Option<Episodes>,
    /// Scene they were recorded in: a name in scenes/ or a .ron file; without it the one with the episode's instruction.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    #[command(flatten)]
    set_up: SetUpArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    dataset: String,
    episodes: usize,
    rows: usize,
    /// Episodes drawn by this call.
    drawn: usize,
    rows_per_second: f64,
}

/// The world in which episodes of one scene are replayed.
struct Stage {
    scene: String,
    headless: Headless,
    ranges: Randomise,
}

pub(super) fn redraw(args: &RedrawArgs) -> Result<(), CliError> {
    let source = dataset::open(&args.dataset)?;
    let same = |path: &PathBuf| path.canonicalize().ok();
    if same(&args.out).is_some_and(|out| Some(out) == same(&args.dataset)) {
        return Err(CliError::Usage("--out: it is the dataset itself; name another folder".into()));
    }
    let chosen = match &args.episodes {
        Some(list) => list.numbers().to_vec(),
        None => (0..source.episodes().len()).collect(),
    };
    for episode in &chosen {
        source.episode(*episode)?;
    }
    if generate::can_redraw(&source) {
        return redraw_generated(args, &source, chosen);
    }
    if args.look_every > 0 {
        return Err(CliError::Usage("--look-every: only for what `etude generate` made; leave it out".into()));
    }
    let done = if args.out.join("meta/info.json").exists() { dataset::open(&args.out)?.episodes().len() } else { 0 };
    let total = chosen.len() * args.looks as usize;
    if done >= total {
        eprintln!("etude: {} has {done} episodes already; to add to them, give a larger --looks", args.out.display());
    }
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(total as u64, "episodes") };
    bar.set_position(done as u64);
    let (mut stage, mut drawn, mut rows) = (None, 0, 0);
    let began = Instant::now();
    for (place, episode) in chosen.into_iter().enumerate() {
        let before = place * args.looks as usize;
        let skipped = done.saturating_sub(before).min(args.looks as usize) as u32;
        if skipped == args.looks {
            continue;
        }
        let stage = stage_for(&mut stage, args, &source, episode)?;
        let recorded = Redrawable::read(&source, episode)?;
        recorded.check(&mut stage.headless)?;
        let first = args.from_look.unwrap_or(recorded.look() + 1) + skipped;
        let ranges = stage.ranges.clone();
        for_each_look(&mut stage.headless, first, args.looks - skipped, |headless, look| -> Result<(), CliError> {
            let seen = recorded.seen(headless, &ranges, look)?;
            recorded.redraw(headless, &seen)?;
            drawn += 1;
            rows += recorded.recording.states.len();
            bar.inc(1);
            let events = headless.app.world_mut().resource_mut::<Recorder>().events();
            settle(events)
        })?;
    }
    if let Some(mut stage) = stage {
        let events = stage.headless.app.world_mut().resource_mut::<Recorder>().flush();
        settle(events)?;
        // The writer lets go of the dataset before it is read.
        stage.headless.app.world_mut().remove_resource::<Recorder>();
    }
    bar.finish_and_clear();
    let after = dataset::open(&args.out)?;
    tell_missing(&source, &after);
    let summary = Summary {
        dataset: args.out.display().to_string(),
        episodes: after.episodes().len(),
        rows: after.len(),
        drawn,
        rows_per_second: rows as f64 / began.elapsed().as_secs_f64().max(1e-9),
    };
    tell(args, &summary)
}

/// Generated episodes tell what was where: nothing is simulated again.
fn redraw_generated(args: &RedrawArgs, source: &Dataset, episodes: Vec<usize>) -> Result<(), CliError> {
    let scene = match (&args.task, episodes.first()) {
        (Some(scene), _) => scene.clone(),
        (None, Some(first)) => replay::scene_of(source, *first)?,
        (None, None) => return Err(CliError::Usage("--episodes: none is left; name some".into())),
    };
    let options = RunOptions {
        scene,
        arm: args.set_up.arm.clone(),
        urdf: args.set_up.urdf.clone(),
        servo: args.set_up.servo.clone(),
        physics: args.set_up.physics.clone(),
        operator: Operator::Nobody,
        randomise: args.randomise.clone(),
        ..RunOptions::default()
    };
    let loaded = Loaded::new(&options)?;
    let ranges = redraw::looks_of(&loaded.worlds.ranges(&loaded.scene.scene).unwrap_or_default())?;
    let wanted = Redraw { episodes, looks: args.looks, from_look: args.from_look, look_every: args.look_every, ranges };
    let total = wanted.episodes.len() as u64 * u64::from(wanted.looks);
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(total, "episodes") };
    let began = Instant::now();
    let watch = |progress: &generate::Progress| bar.set_position(progress.episodes);
    let made = generate::redraw(source, (&loaded, &options), &wanted, args.workers.0, &args.out, watch)?;
    bar.finish_and_clear();
    let rows_now = made.rows as f64 * made.made_now as f64 / made.episodes.max(1) as f64;
    tell(
        args,
        &Summary {
            dataset: args.out.display().to_string(),
            episodes: made.episodes,
            rows: made.rows,
            drawn: made.made_now as usize,
            rows_per_second: rows_now / began.elapsed().as_secs_f64().max(1e-9),
        },
    )
}

fn tell(args: &RedrawArgs, summary: &Summary) -> Result<(), CliError> {
    if args.json {
        return say(serde_json::to_string(summary).unwrap_or_default());
    }
    say(format!(
        "{}: {} episodes, {} rows; {} drawn now, {:.0} rows/s",
        summary.dataset, summary.episodes, summary.rows, summary.drawn, summary.rows_per_second
    ))
}

/// The stage of the episode's scene; episodes of one scene share it.
fn stage_for<'a>(
    stage: &'a mut Option<Stage>,
    args: &RedrawArgs,
    source: &Dataset,
    episode: usize,
) -> Result<&'a mut Stage, CliError> {
    let scene = match &args.task {
        Some(scene) => scene.clone(),
        None => replay::scene_of(source, episode)?,
    };
    let recorder = match stage.take() {
        Some(kept) if kept.scene == scene => return Ok(stage.insert(kept)),
        Some(mut old) => old.headless.app.world_mut().remove_resource::<Recorder>(),
        None => None,
    };
    if let Some(mut recorder) = recorder {
        settle(recorder.flush())?;
    }
    let options = RunOptions {
        scene: scene.clone(),
        arm: args.set_up.arm.clone(),
        urdf: args.set_up.urdf.clone(),
        servo: args.set_up.servo.clone(),
        physics: args.set_up.physics.clone(),
        control_hz: source.info().fps,
        operator: Operator::Replay,
        randomise: args.randomise.clone(),
        ..RunOptions::default()
    };
    let (mut headless, ranges) = redraw::open(source, &options)?;
    let recording = RecordOptions { keep: Keep::All, note: record::note(&options, &[]), ..RecordOptions::default() };
    let recorder = record::open(headless.app.world_mut(), &args.out, &cameras(source), recording)?;
    headless.app.insert_resource(recorder);
    Ok(stage.insert(Stage { scene, headless, ranges }))
}

/// The dataset's cameras with their sizes.
fn cameras(source: &Dataset) -> Vec<CameraWish> {
    let wish = |feature: &crate::dataset::Feature| {
        let name = feature.key.strip_prefix(CAMERA_PREFIX).unwrap_or(&feature.key).to_string();
        let side = |index: usize| feature.shape.get(index).and_then(|side| u32::try_from(*side).ok());
        CameraWish { name, size: side(1).zip(side(0)) }
    };
    source.info().videos().map(wish).collect()
}

fn settle(events: Vec<Event>) -> Result<(), CliError> {
    for event in events {
        if let Event::Failed(error) = event {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Says which columns of the source nothing filled.
fn tell_missing(source: &Dataset, after: &Dataset) {
    let missing: Vec<&str> = source
        .info()
        .features
        .iter()
        .map(|feature| feature.key.as_str())
        .filter(|key| after.info().feature(key).is_none())
        .collect();
    if !missing.is_empty() {
        eprintln!("etude: what was recorded in {} is not carried over", missing.join(", "));
    }
}
