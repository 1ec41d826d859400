//! `etude record`: episodes into a dataset. Here those of the scripted expert, as fast as the machine goes; `record_live`
//! records what people do.

use super::{CliError, WorldArgs, dataset, progress_bar, say, start_logging, width_x_height};
use crate::dataset::check::Finding;
use crate::dataset::schema::CAMERA_PREFIX;
use crate::dataset::{Event, Saved, Source};
use crate::episode::EpisodePhase;
use crate::headless::{EpisodeReport, Headless};
use crate::operator::Operator;
use crate::record::{self, CameraWish, Keep, RecordOptions, Recorder, SEEDS_END};
use crate::world::Randomiser;
use bevy::prelude::Mut;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Attempts in a row that may come to nothing.
const MOST_FAILURES: u64 = 25;

/// Options of `etude record`.
#[derive(Args, Debug)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) world: WorldArgs,
    /// Who moves the arm.
    #[arg(long, default_value = "scripted")]
    operator: OperatorArg,
    /// Leader arm on this serial port, moved by hand, in place of keyboard and mouse.
    #[arg(long, value_name = "PORT", conflicts_with = "realtime")]
    pub(super) leader: Option<String>,
    /// Name of the leader's calibration, if it is not known from this computer.
    #[arg(long, value_name = "NAME", requires = "leader")]
    pub(super) leader_id: Option<String>,
    /// The leader stands opposite: exchange left and right.
    #[arg(long, requires = "leader")]
    pub(super) mirror: bool,
    /// Stay in the terminal: keys and one line of state, as over SSH.
    #[arg(long)]
    pub(super) no_window: bool,
    /// Let the expert work at the pace of the clock, with the same keys as for people.
    #[arg(long)]
    pub(super) realtime: bool,
    /// Folder of the dataset. One that is there is continued.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: PathBuf,
    /// Episodes the dataset shall have in the end; those it has already count.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) episodes: u64,
    /// Task text of the episodes, for policies that read; without it the scene's instruction.
    #[arg(long, value_name = "TEXT")]
    pub(super) instruction: Option<String>,
    /// People: longest time to get used to the arm before the first episode; 0 for none [default: 10].
    #[arg(long, value_name = "SECONDS")]
    pub(super) warm_up: Option<f64>,
    /// People: longest time of an episode; without it as long as the scene allows.
    #[arg(long, value_name = "SECONDS")]
    pub(super) episode_time: Option<f64>,
    /// People: longest time between episodes; without it 60 for a real arm, and a simulated one waits for the person.
    #[arg(long, value_name = "SECONDS")]
    pub(super) reset_time: Option<f64>,
    /// Tags of the episodes recorded now, such as evening,left_handed.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub(super) tags: Vec<String>,
    /// People: stop in order when no more room than this is left on the disk.
    #[arg(long, default_value_t = 500, value_name = "MB")]
    pub(super) keep_free_mb: u64,
    /// Seed of the first episode; the next ones count up from it, also when a dataset is continued.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..SEEDS_END))]
    pub(super) seed: u64,
    /// In how many looks each episode is recorded: the same things happen in all, but light, colours, cameras and joint zeros
    /// differ as --randomise says. Each look counts as an episode.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) looks: u32,
    /// Cameras to record, by their names in the scene, "none" for none; without it those the dataset has, in a new one
    /// the real ones if there are any, else overview,wrist.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cameras: Option<Vec<String>>,
    /// Size of the pictures, such as 96x96; without it as in the dataset, in a new one as the scene says.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Which episodes to keep.
    #[arg(long, default_value = "success")]
    keep: KeepArg,
    /// What to do with episodes of people that were cut off by a kill or a power cut.
    #[arg(long, default_value = "leave")]
    pub(super) cut: CutArg,
    /// One JSON line per episode and a summary line.
    #[arg(long)]
    pub(super) json: bool,
}

/// Who can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum OperatorArg {
    /// The scene's scripted expert.
    Scripted,
    /// A person: keyboard and mouse in the window, or a leader arm.
    Human,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum KeepArg {
    /// Those in which the task was done.
    Success,
    /// Failures too, marked as such.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(super) enum CutArg {
    /// Leave them where they are, and say so.
    Leave,
    /// Make episodes of them.
    Recover,
    /// Remove them for good.
    Discard,
}

/// Width and height such as `96x96`.
pub(super) fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let remedy = "give width x height in pixels, even numbers from 16 to 4096, such as 96x96";
    let size = width_x_height(text).ok_or(remedy)?;
    let fits = |side: u32| (16..=4096).contains(&side) && side.is_multiple_of(2);
    if fits(size.0) && fits(size.1) { Ok(size) } else { Err(remedy.into()) }
}

/// A line of `--json` for an attempt.
#[derive(Serialize)]
struct Line<'a> {
    seed: Option<u64>,
    /// Which look of that seed.
    look: u32,
    /// Its number in the dataset; `None` if it was not kept.
    episode: Option<usize>,
    success: bool,
    score: f64,
    seconds: f64,
    rows: usize,
    end: &'a str,
    findings: &'a [Finding],
}

/// Last line of `--json`.
#[derive(Serialize)]
struct Summary {
    dataset: String,
    episodes: usize,
    rows: usize,
    /// Episodes recorded by this call.
    recorded: u64,
    /// Attempts that were not kept.
    dropped: u64,
    /// Next seed nobody has tried.
    next_seed: u64,
    ticks: u64,
    ticks_per_second: f64,
    lost_pictures: usize,
}

/// What waits to be told, in the order in which it happened.
enum Attempt {
    /// It is being saved.
    Kept(EpisodeReport, u32),
    NotKept(EpisodeReport, u32),
    /// A cut episode of an earlier session is being saved.
    Recovered,
}

/// A session of recording.
struct Session<'a> {
    args: &'a RecordArgs,
    headless: Headless,
    bar: indicatif::ProgressBar,
    /// Oldest first.
    untold: VecDeque<Attempt>,
    recorded: u64,
    dropped: u64,
    ticks: u64,
}

impl RecordArgs {
    /// Whether the times can be meant.
    #[cfg(unix)]
    pub(super) fn check_times(&self) -> Result<(), CliError> {
        let times = [
            ("--warm-up", self.warm_up, 0.0),
            ("--episode-time", self.episode_time, 0.5),
            ("--reset-time", self.reset_time, 0.0),
        ];
        for (name, time, least) in times {
            if time.is_some_and(|seconds| !(least..=86_400.0).contains(&seconds)) {
                return Err(CliError::Usage(format!("{name}: give a number from {least} to 86400 s")));
            }
        }
        if self.instruction.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(CliError::Usage("--instruction: the text is empty; say what the robot shall do".into()));
        }
        Ok(())
    }
}

pub(super) fn record(args: &RecordArgs, verbose: u8) -> Result<(), CliError> {
    let is_human = args.operator == OperatorArg::Human || args.leader.is_some();
    if is_human || args.realtime {
        if args.looks > 1 {
            return Err(CliError::Usage(
                "--looks: an episode happens once before a person; record it, then draw more looks of it with `etude dataset \
                 redraw`"
                    .into(),
            ));
        }
        let operator = if is_human { Operator::Human } else { Operator::Scripted };
        if args.no_window || args.realtime {
            start_logging(verbose);
        }
        #[cfg(unix)]
        return super::record_live::record(args, operator, verbose);
        #[cfg(not(unix))]
        return Err(CliError::Usage(format!("{operator:?}: people are recorded on Linux and macOS only so far")));
    }
    start_logging(verbose);
    let operator = Operator::Scripted;
    let run_options = args.world.options(operator)?;
    let mut headless = Headless::new(&run_options)?;
    if args.world.is_real() {
        super::terminal::add_stop_keys(&mut headless.app)?;
    }
    check_looks(args, &headless)?;
    let scene = headless.scene();
    args.world.check_expert(&scene, "")?;
    let keep = match args.keep {
        KeepArg::Success => Keep::Successes,
        KeepArg::All => Keep::All,
    };
    let options = RecordOptions { keep, task: args.instruction.clone(), note: record::note(&run_options, &args.tags) };
    let recorder = record::open(headless.app.world_mut(), &args.out, &cameras(args)?, options)?;
    headless.app.insert_resource(recorder);
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(args.episodes, "episodes") };
    let mut session = Session { args, headless, bar, untold: VecDeque::new(), recorded: 0, dropped: 0, ticks: 0 };
    session.settle_cut_episodes()?;
    session.run()
}

/// Several looks of a world that has one would be the same episode several times.
fn check_looks(args: &RecordArgs, headless: &Headless) -> Result<(), CliError> {
    let world = headless.app.world();
    let ranges = world.resource::<Randomiser>().worlds.ranges(&headless.scene());
    let differs = ranges.is_some_and(|ranges| ranges.groups().iter().any(|group| group.is_look()));
    if args.looks > 1 && !differs {
        return Err(CliError::Usage(format!(
            "--looks {}: all would be the same; say with --randomise what may differ, such as looks or all",
            args.looks
        )));
    }
    Ok(())
}

/// The cameras asked for; what is left open follows the dataset that is continued.
pub(super) fn cameras(args: &RecordArgs) -> Result<Vec<CameraWish>, CliError> {
    let mut before: Vec<CameraWish> = Vec::new();
    let continued = args.out.join("meta/info.json").exists();
    if continued {
        for feature in dataset::open(&args.out)?.info().videos() {
            let name = feature.key.strip_prefix(CAMERA_PREFIX).unwrap_or(&feature.key).to_string();
            let side = |index: usize| feature.shape.get(index).and_then(|side| u32::try_from(*side).ok());
            before.push(CameraWish { name, size: side(1).zip(side(0)) });
        }
    }
    let names: Vec<String> = match &args.cameras {
        Some(names) if names == &["none"] => Vec::new(),
        Some(names) => names.clone(),
        None if continued => before.iter().map(|wish| wish.name.clone()).collect(),
        None => match args.world.cameras()? {
            real if real.is_empty() => ["overview", "wrist"].map(String::from).to_vec(),
            real => real.into_iter().map(|camera| camera.name).collect(),
        },
    };
    let known = |name: &String| before.iter().find(|wish| wish.name == *name).and_then(|wish| wish.size);
    Ok(names.into_iter().map(|name| CameraWish { size: args.size.or_else(|| known(&name)), name }).collect())
}

/// Does with cut episodes what `wish` says; the number of those that are being recovered. Those of the expert are recorded
/// again from their seed; people's are theirs.
pub(super) fn settle_cut_episodes(recorder: &mut Recorder, wish: CutArg, out: &Path) -> Result<usize, CliError> {
    let (mut left, mut recovering) = (Vec::new(), 0);
    for cut in recorder.cut_episodes() {
        if cut.source == Source::Expert || wish == CutArg::Discard {
            recorder.discard(&cut)?;
        } else if wish == CutArg::Recover {
            recorder.recover(&cut);
            recovering += 1;
        } else {
            left.push(format!("\"{}\", {} rows", cut.task, cut.frames));
        }
    }
    if !left.is_empty() {
        let (count, are) = if left.len() == 1 {
            ("1 cut episode".into(), "waits")
        } else {
            (format!("{} cut episodes", left.len()), "wait")
        };
        eprintln!(
            "etude: {}: {count} of earlier sessions {are} ({}); --cut recover saves, --cut discard removes",
            out.display(),
            left.join("; ")
        );
    }
    Ok(recovering)
}

/// Tells of a recovered episode.
pub(super) fn tell_recovered(event: Event) -> Result<(), CliError> {
    match event {
        Event::Saved(saved) => eprintln!("etude: recovered a cut episode as {}", saved.report),
        Event::Failed(error) => return Err(error.into()),
        Event::Removed { .. } | Event::Judged { .. } => {}
    }
    Ok(())
}

impl Session<'_> {
    fn recorder(&mut self) -> Mut<'_, Recorder> {
        self.headless.app.world_mut().resource_mut::<Recorder>()
    }

    fn settle_cut_episodes(&mut self) -> Result<(), CliError> {
        let (cut, out) = (self.args.cut, &self.args.out);
        let recovering = settle_cut_episodes(&mut self.recorder(), cut, out)?;
        self.untold.extend(std::iter::repeat_with(|| Attempt::Recovered).take(recovering));
        let events = self.recorder().flush();
        self.report(events)
    }

    fn run(mut self) -> Result<(), CliError> {
        let before = dataset::open(&self.args.out)?;
        let had = before.episodes().len() as u64;
        let seeds = record::seeds(&before)?;
        drop(before);
        let known = seeds.iter().copied().flatten().filter(|seed| *seed >= self.args.seed).max();
        let looks_done = seeds.iter().filter(|seed| seed.is_some() && **seed == known).count() as u32;
        let (mut seed, mut look) = match known {
            None => (self.args.seed, 0),
            Some(seed) if looks_done < self.args.looks => (seed, looks_done),
            Some(seed) => (seed + 1, 0),
        };
        if had >= self.args.episodes {
            eprintln!(
                "etude: {} has {} already; to add to them, give a larger --episodes",
                self.args.out.display(),
                dataset::episodes(had as usize)
            );
        } else if had > 0 {
            let had = dataset::episodes(had as usize);
            eprintln!("etude: {} has {had}; continuing with seed {seed}", self.args.out.display());
        }
        self.bar.set_position(had);
        let started = Instant::now();
        let mut failures = 0;
        while had + self.recorded < self.args.episodes {
            if seed >= SEEDS_END {
                return Err(CliError::Usage("--seed: there are no more seeds; give a smaller one".into()));
            }
            let kept = self.attempt(seed, look)?;
            failures = if kept { 0 } else { failures + 1 };
            if failures >= MOST_FAILURES {
                let events = self.recorder().flush();
                self.report(events)?;
                return Err(CliError::Usage(format!(
                    "{failures} attempts in a row failed, the last with seed {seed}; the dataset is whole. Look at one \
                     with `etude practise --watch --seed {seed}`, or record failures too with --keep all"
                )));
            }
            // What failed in one look would fail in all.
            (seed, look) = if kept && look + 1 < self.args.looks { (seed, look + 1) } else { (seed + 1, 0) };
        }
        let events = self.recorder().flush();
        self.report(events)?;
        self.bar.finish_and_clear();
        let elapsed_s = started.elapsed().as_secs_f64();
        let lost_pictures = self.recorder().load().lost;
        for (name, stale, losses) in crate::camera::live::faults(self.headless.app.world_mut()) {
            eprintln!("etude: camera {name}: {stale} ticks had no fresh picture, lost {losses} times");
        }
        self.headless.app.world_mut().remove_resource::<Recorder>();
        super::terminal::end(self.headless);
        let after = dataset::open(&self.args.out)?;
        let summary = Summary {
            dataset: self.args.out.display().to_string(),
            episodes: after.episodes().len(),
            rows: after.len(),
            recorded: self.recorded,
            dropped: self.dropped,
            next_seed: seed,
            ticks: self.ticks,
            ticks_per_second: if self.ticks > 0 { self.ticks as f64 / elapsed_s } else { 0.0 },
            lost_pictures,
        };
        if self.args.json {
            return say(serde_json::to_string(&summary).unwrap_or_default());
        }
        let rate = if self.ticks > 0 { format!(", {:.0} ticks/s", summary.ticks_per_second) } else { String::new() };
        say(format!(
            "{}: {}, {} rows; {} recorded now, {} not kept{rate}",
            summary.dataset,
            dataset::episodes(summary.episodes),
            summary.rows,
            summary.recorded,
            summary.dropped
        ))
    }

    /// Makes one attempt; whether it was kept.
    fn attempt(&mut self, seed: u64, look: u32) -> Result<bool, CliError> {
        self.headless.app.world_mut().resource_mut::<Randomiser>().look = look;
        self.headless.start(seed)?;
        loop {
            self.ticks += 1;
            if let Some(fault) = self.recorder().take_fault() {
                return Err(fault.into());
            }
            if self.headless.episode().phase != EpisodePhase::Running {
                break;
            }
            // Without real cameras nothing is in a hurry: no picture is lost, and key frames stay as dense as on a fast
            // machine.
            while !self.headless.is_real_time()
                && let load = self.recorder().load()
                && load.waiting * 3 > load.capacity
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.headless.tick();
        }
        let report = self.headless.report();
        let kept = report.success || (self.args.keep == KeepArg::All && !report.end.starts_with("diverged"));
        if kept {
            self.recorded += 1;
            self.untold.push_back(Attempt::Kept(report, look));
        } else {
            self.dropped += 1;
            self.untold.push_back(Attempt::NotKept(report, look));
        }
        let events = self.recorder().events();
        self.report(events)?;
        Ok(kept)
    }

    /// Tells what was saved; a failure ends the session.
    fn report(&mut self, events: Vec<Event>) -> Result<(), CliError> {
        self.tell_not_kept()?;
        for event in events {
            let attempt = self.untold.pop_front();
            let saved = match event {
                Event::Failed(error) => return Err(error.into()),
                Event::Saved(saved) => saved,
                // Only people change the last episode.
                Event::Removed { .. } | Event::Judged { .. } => continue,
            };
            self.bar.inc(1);
            match attempt {
                Some(Attempt::Kept(report, look) | Attempt::NotKept(report, look)) => {
                    self.tell(&report, look, Some(&saved))?;
                }
                Some(Attempt::Recovered) | None => eprintln!("etude: recovered a cut episode as {}", saved.report),
            }
            self.tell_not_kept()?;
        }
        Ok(())
    }

    /// Tells of attempts that were not kept, as far as nothing before them is still being saved.
    fn tell_not_kept(&mut self) -> Result<(), CliError> {
        while let Some(Attempt::NotKept(report, look)) =
            self.untold.pop_front_if(|next| matches!(next, Attempt::NotKept(..)))
        {
            self.tell(&report, look, None)?;
        }
        Ok(())
    }

    fn tell(&self, report: &EpisodeReport, look: u32, saved: Option<&Saved>) -> Result<(), CliError> {
        let findings = saved.map_or(&[][..], |saved| &saved.report.findings);
        let line = Line {
            seed: Some(report.seed),
            look,
            episode: saved.map(|saved| saved.episode),
            success: report.success,
            score: report.score,
            seconds: report.seconds,
            rows: saved.map_or(0, |saved| saved.frames),
            end: &report.end,
            findings,
        };
        if self.args.json {
            return say(serde_json::to_string(&line).unwrap_or_default());
        }
        let verdict = if report.success { "done" } else { "failed" };
        let place = saved.map_or("not kept    ".into(), |saved| format!("episode {:<4}", saved.episode));
        let mut text = format!(
            "{place}  seed {:>6}  {verdict:<6}  score {:.3}  {:>5.1} s  {:>4} rows",
            report.seed, report.score, report.seconds, line.rows
        );
        if self.args.looks > 1 {
            text += &format!("  look {look}");
        }
        if !report.success {
            text += &format!("  ({})", report.end);
        }
        if saved.is_some() && findings.is_empty() {
            text += "  no faults found";
        }
        for finding in findings {
            text += &format!("\n    {finding}");
        }
        self.bar.suspend(|| say(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_encoded_are_refused() {
        assert_eq!(parse_size("96x64"), Ok((96, 64)));
        for text in ["", "96", "95x96", "8x8", "x96", "5000x96", "-96x96"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
