//! Synthetic episodes at scale: the scripted expert in many worlds at once, into one dataset.
//!
//! [`plan`] says which seeds become which episode, [`Maker`] makes one, [`run`] has workers make parts of eight and joins
//! them. Episodes depend on settings and seed alone and are joined in their order, so the dataset is the same, byte for
//! byte, whatever the number of workers or shards, and however often the run was killed.

mod carry_over;
mod demonstration;
mod labels;
mod look_ahead;
mod maker;
mod noise;
mod pilot;
pub mod plan;
mod starts;
mod teacher;

pub use carry_over::Follower;
pub use demonstration::{Demonstration, Moment, Upright, turn_symmetry};
pub use look_ahead::{LookAhead, Present};
pub use maker::{Attempt, Maker, column};
pub use noise::CommandNoise;
pub use pilot::Pilot;
pub use plan::Shard;
pub use starts::Starts;
pub use teacher::{Scripted, Teacher};

use crate::app::{Loaded, RunOptions};
use crate::dataset::bulk::{Claim, WholeEpisode, write_part};
use crate::dataset::{CameraSpec, Dataset, DatasetError};
use crate::headless::StartError;
use crate::record::{CameraWish, RecordError};
use crate::task::expert::Expert;
use crate::world::SpawnError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Why nothing can be generated.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// There is no simulated arm.
    #[error("there is no simulated arm in the scene; generate without --arm real")]
    NoArm,
    /// The scene has no expert.
    #[error(
        "this expert has nothing to do in this scene; choose another --expert, or a --task such as move_t or pick_place"
    )]
    NoExpert,
    /// A camera gave nothing.
    #[error("camera \"{name}\" gave no picture; look at the scene with `etude screenshot`")]
    NoPicture {
        /// The camera.
        name: String,
    },
    /// The recorded demonstrations cannot be carried over.
    #[error("{}: no demonstration can be used: {problem}; record some that grip, carry and set down, in this scene", root.display())]
    Demonstrations {
        /// The dataset.
        root: PathBuf,
        /// What is wrong with the last one.
        problem: String,
    },
    /// An option does not fit.
    #[error("{option}: {problem}; {remedy}")]
    Option {
        /// The option as typed.
        option: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Every attempt at an episode failed.
    #[error(
        "episode {episode}: {attempts} attempts failed, the first with seed {seed}; raise --limit, lower --noise, or keep \
         failures too with --keep all and look at them"
    )]
    Hopeless {
        /// The episode's number in the run.
        episode: u64,
        /// How often it was tried.
        attempts: u64,
        /// Seed of the first attempt.
        seed: u64,
    },
    /// A dataset is there that this run did not make.
    #[error("{}: {problem}; {remedy}", root.display())]
    Taken {
        /// The folder.
        root: PathBuf,
        /// What is there.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A worker could not be started, or ended without a word.
    #[error("worker: {0}; try fewer with --workers")]
    Worker(String),
    /// The policy that shall drive cannot be opened.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// It does not fit.
    #[error("this policy cannot drive here:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// It failed in an episode.
    #[error("seed {seed}: the policy failed: {problem}")]
    Pilot {
        /// The episode.
        seed: u64,
        /// What happened.
        problem: String,
    },
    /// No start could be drawn.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// An episode could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cameras do not fit.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The dataset cannot be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// A camera of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    /// Its name in the scene.
    pub name: String,
    /// Width of its pictures, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
}

impl Camera {
    fn spec(&self) -> CameraSpec {
        CameraSpec { name: self.name.clone(), width: self.width as usize, height: self.height as usize }
    }

    fn wish(&self) -> CameraWish {
        CameraWish { name: self.name.clone(), size: Some((self.width, self.height)) }
    }
}

/// Everything that decides what is in the dataset. It is kept in the dataset's `info.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Scene, by the name it was loaded with.
    pub task: String,
    /// Which expert.
    pub expert: Expert,
    /// Instead of an expert, the demonstrations that are carried over: how many, and a hash of them.
    pub from: Option<String>,
    /// Episodes of the whole run.
    pub episodes: u64,
    /// Seed of the first episode; the next ones count up.
    pub seed: u64,
    /// Whether failures are kept too.
    pub keep_all: bool,
    /// Cameras.
    pub cameras: Vec<Camera>,
    /// H.264 quantiser of the pictures.
    pub quantiser: u8,
    /// Every how many control ticks there is a row.
    pub every: u32,
    /// Control ticks per second.
    pub control_hz: u32,
    /// Steps of the column [`column::CHUNK`]; 0 leaves it out.
    pub chunk: u32,
    /// Amplitudes of the noise on commands, rad; each episode draws one.
    pub noise_rad: Vec<f64>,
    /// Share of episodes that start with the hand anywhere over the table.
    pub random_start: f64,
    /// By how much the ranges of starts are wider than the scene's; 0.1 is ten per cent.
    pub wider: f64,
    /// Pace of the expert, 1 is its own.
    pub speed: f64,
    /// An attempt has failed after this time, s.
    pub limit_s: f64,
    /// Whether every episode has a world of its own, told in the column `etude.world`.
    #[serde(default)]
    pub worlds_differ: bool,
    /// The policy that drives while the expert labels, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot: Option<Pilot>,
    /// Hash of scene, arm, servo and physics files, and of the ranges of worlds: a change of them is another run.
    pub world: String,
    /// Version of this program.
    pub etude: String,
}

impl Settings {
    /// Ticks after which an attempt has failed.
    fn most_ticks(&self) -> u64 {
        (self.limit_s * f64::from(self.control_hz)).round().max(1.0) as u64
    }

    /// Checks what does not depend on the scene.
    ///
    /// # Errors
    /// [`GenerateError::Option`] naming the option and what it may be.
    pub fn validate(&self) -> Result<(), GenerateError> {
        let bad = |option, problem: String, remedy: &str| {
            Err(GenerateError::Option { option, problem, remedy: remedy.into() })
        };
        let hz = self.control_hz;
        if self.every == 0 || !hz.is_multiple_of(self.every) {
            let problem = format!("{hz} ticks a second do not divide by {}", self.every);
            return bad("--every", problem, "give a divisor of the control rate, so that rows have a whole rate");
        }
        if self.seed.checked_add(self.episodes).is_none_or(|end| end > plan::SEEDS_END) {
            return bad("--seed", format!("{} is too large", self.seed), "give a seed below 4000000000");
        }
        if self.noise_rad.iter().any(|noise| !(0.0..=0.2).contains(noise)) {
            return bad(
                "--noise",
                format!("{:?}", self.noise_rad),
                "give amplitudes from 0 to 0.2 rad, such as 0,0.01",
            );
        }
        if !(0.0..=1.0).contains(&self.random_start) {
            return bad("--random-start", self.random_start.to_string(), "give a share from 0 to 1");
        }
        if !(-0.5..=1.0).contains(&self.wider) {
            return bad("--wider", self.wider.to_string(), "give a share from -0.5 to 1; 0.1 is ten per cent");
        }
        if !(0.05..=2.0).contains(&self.speed) {
            return bad("--speed", self.speed.to_string(), "give a pace from 0.05 to 2; 1 is the expert's own");
        }
        if !(0.5..=3600.0).contains(&self.limit_s) {
            return bad("--limit", self.limit_s.to_string(), "give seconds from 0.5 to 3600");
        }
        if let Some(pilot) = &self.pilot {
            if !(0.0..=1.0).contains(&pilot.expert_share) {
                return bad("--expert-share", pilot.expert_share.to_string(), "give a share from 0 to 1");
            }
            let kept = crate::policy::KEPT_SEEDS;
            if self.seed + self.episodes > kept {
                let problem = format!("{} episodes from seed {} on", self.episodes, self.seed);
                let remedy = format!("stay below seed {kept}: those from there on are kept for judging");
                return bad("--seed", problem, &remedy);
            }
        }
        if self.quantiser > 51 {
            return bad("--quantiser", self.quantiser.to_string(), "give 0 to 51; smaller is better and larger");
        }
        Ok(())
    }
}

/// Hash of everything loaded that an episode depends on.
pub fn world_hash(loaded: &Loaded, options: &RunOptions) -> String {
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        loaded.scene.scene,
        loaded.arm,
        loaded.servo,
        loaded.sim,
        options.urdf,
        options.control_hz,
        loaded.worlds.ranges(&loaded.scene.scene)
    );
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

/// Reads the demonstrations of a dataset, and names them for [`Settings::from`].
///
/// # Errors
/// [`GenerateError::Demonstrations`] when none can be used.
pub fn demonstrations(
    root: &Path,
    loaded: &Loaded,
    options: &RunOptions,
    control_hz: u32,
) -> Result<(Vec<Arc<Demonstration>>, String), GenerateError> {
    let dataset = Dataset::open(root)?;
    let found = demonstration::read(&dataset, loaded, options, control_hz)?;
    let name = format!("{} {:016x}", found.len(), xxh3_64(format!("{found:?}").as_bytes()));
    Ok((found.into_iter().map(Arc::new).collect(), name))
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Episodes made, also those of an earlier, killed run.
    pub episodes: u64,
    /// Episodes there will be.
    pub of: u64,
    /// Attempts for them.
    pub tried: u64,
    /// Share of attempts that were kept.
    pub kept_share: f64,
    /// Episodes made per minute by this call.
    pub episodes_per_minute: f64,
    /// Environment ticks per second of this call, all workers together.
    pub ticks_per_second: f64,
    /// Time left at this pace, s; `None` before there is a pace.
    pub eta_s: Option<f64>,
}

/// What a run made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Made {
    /// Folder of the dataset.
    pub dataset: PathBuf,
    /// Its episodes.
    pub episodes: usize,
    /// Its rows.
    pub rows: usize,
    /// Attempts for them.
    pub tried: u64,
    /// Episodes made by this call; the others were there already.
    pub made_now: u64,
    /// Environment ticks of this call.
    pub ticks: u64,
    /// Time of making episodes, s.
    pub making_s: f64,
    /// Time of joining the parts, s.
    pub joining_s: f64,
}

/// News of a worker.
enum News {
    Attempt { kept: bool, ticks: u64 },
    Ended(Result<(), GenerateError>),
}

/// What a part notes beside its episodes.
#[derive(Serialize, Deserialize)]
struct PartNote {
    tried: u64,
}

/// Generates the dataset of `settings`, or its `shard`, in the folder `root` with `workers` worlds at once. A run that was
/// killed goes on where it was. With `demonstrations` these are carried over, without them the scripted expert shows what
/// to do. `watch` hears of progress about twice a second.
///
/// # Errors
/// [`GenerateError`]; what was made until then is kept and used by the next call.
pub fn run(
    loaded: &Loaded,
    options: &RunOptions,
    settings: &Settings,
    demonstrations: &[Arc<Demonstration>],
    (shard, workers): (Shard, usize),
    root: &Path,
    mut watch: impl FnMut(&Progress),
) -> Result<Made, GenerateError> {
    settings.validate()?;
    if demonstrations.is_empty() && !settings.expert.can_do(&loaded.scene.scene) {
        return Err(GenerateError::NoExpert);
    }
    let episodes = shard.episodes(settings.episodes);
    if episodes.is_empty() {
        let problem = format!("{} episodes leave none for shard {}/{}", settings.episodes, shard.index, shard.count);
        let remedy = "give more --episodes or fewer shards".into();
        return Err(GenerateError::Option { option: "--shard", problem, remedy });
    }
    let claim = Claim::take(root)?;
    let about = |tried: Option<u64>| {
        let mut made = json!({"settings": settings});
        if shard.count > 1 {
            made["shard"] = json!(format!("{}/{}", shard.index, shard.count));
        }
        if let Some(tried) = tried {
            made["tried"] = json!(tried);
        }
        made
    };
    if claim.is_made() {
        return already_made(root, &about);
    }
    begin(&claim, root, &about(None))?;
    let shared = Shared {
        loaded,
        options,
        settings: Arc::new(settings.clone()),
        demonstrations,
        parts: plan::parts(episodes.clone()),
        folder: claim.workshop().join("parts"),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let mut progress = Progress {
        episodes: 0,
        of: episodes.end - episodes.start,
        tried: 0,
        kept_share: 0.0,
        episodes_per_minute: 0.0,
        ticks_per_second: 0.0,
        eta_s: None,
    };
    let mut todo = Vec::new();
    for (number, part) in shared.parts.iter().enumerate() {
        match shared.tried_in(number) {
            Some(tried) => {
                progress.episodes += part.end - part.start;
                progress.tried += tried;
            }
            None => todo.push(number),
        }
    }
    let before = progress.episodes;
    let began = Instant::now();
    let mut ticks = 0u64;
    let mut failed = None;
    std::thread::scope(|scope| {
        let (news, heard) = channel();
        let workers = workers.clamp(1, todo.len().max(1));
        let mut running = 0;
        for number in 0..workers {
            let (shared, todo, news) = (&shared, &todo, news.clone());
            let worker = std::thread::Builder::new().name(format!("generate-{number}"));
            // A large stack is not needed: the solver's data lives on the heap.
            match worker.spawn_scoped(scope, move || work(shared, todo, &news)) {
                Ok(_) => running += 1,
                Err(error) => failed = Some(GenerateError::Worker(error.to_string())),
            }
        }
        drop(news);
        let mut told = Instant::now();
        while running > 0 {
            match heard.recv_timeout(Duration::from_millis(500)) {
                Ok(News::Attempt { kept, ticks: more }) => {
                    progress.tried += 1;
                    progress.episodes += u64::from(kept);
                    ticks += more;
                }
                Ok(News::Ended(result)) => {
                    running -= 1;
                    if let Err(error) = result {
                        shared.stop.store(true, Ordering::Relaxed);
                        failed.get_or_insert(error);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    failed.get_or_insert(GenerateError::Worker("it ended without a word".into()));
                    break;
                }
            }
            if told.elapsed() > Duration::from_millis(500) {
                told = Instant::now();
                progress.pace(began.elapsed(), progress.episodes - before, ticks);
                watch(&progress);
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let making_s = began.elapsed().as_secs_f64();
    progress.pace(began.elapsed(), progress.episodes - before, ticks);
    watch(&progress);
    let joining = Instant::now();
    let parts: Vec<PathBuf> = (0..shared.parts.len()).map(|number| shared.part(number)).collect();
    let tried = (0..parts.len()).filter_map(|number| shared.tried_in(number)).sum();
    let edited = claim.join(&parts, &about(Some(tried)))?;
    Ok(Made {
        dataset: root.to_path_buf(),
        episodes: edited.episodes,
        rows: edited.frames,
        tried,
        made_now: progress.episodes - before,
        ticks,
        making_s,
        joining_s: joining.elapsed().as_secs_f64(),
    })
}

impl Progress {
    fn pace(&mut self, elapsed: Duration, made: u64, ticks: u64) {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        self.kept_share = if self.tried > 0 { self.episodes as f64 / self.tried as f64 } else { 0.0 };
        self.episodes_per_minute = 60.0 * made as f64 / seconds;
        self.ticks_per_second = ticks as f64 / seconds;
        let left = self.of.saturating_sub(self.episodes) as f64;
        self.eta_s = (made > 0).then(|| left * seconds / made as f64);
    }
}

/// A run that has nothing left to do, or a folder that holds something else.
fn already_made(root: &Path, about: &dyn Fn(Option<u64>) -> Value) -> Result<Made, GenerateError> {
    let dataset = Dataset::open(root)?;
    let made = dataset.info().rest.get(crate::dataset::bulk::GENERATED);
    let tried = made.and_then(|made| made.get("tried")?.as_u64());
    if tried.is_none() || made != Some(&about(tried)) {
        let problem = "it holds a dataset that this command did not make".into();
        let remedy = "name another folder with --out, or repeat the command that made it".into();
        return Err(GenerateError::Taken { root: root.to_path_buf(), problem, remedy });
    }
    Ok(Made {
        dataset: root.to_path_buf(),
        episodes: dataset.episodes().len(),
        rows: dataset.len(),
        tried: tried.unwrap_or(0),
        made_now: 0,
        ticks: 0,
        making_s: 0.0,
        joining_s: 0.0,
    })
}

/// Notes the settings in the workshop, or compares them with those of the run that was begun there.
fn begin(claim: &Claim, root: &Path, about: &Value) -> Result<(), GenerateError> {
    let file = claim.workshop().join("run.json");
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(claim.note("run.json", &about.to_string())?) };
    let before: Value = serde_json::from_str(&text).unwrap_or_default();
    if before == *about {
        return Ok(());
    }
    let mut changed = Vec::new();
    let empty = serde_json::Map::new();
    let of = |value: &Value| value.get("settings").and_then(Value::as_object).unwrap_or(&empty).clone();
    let (old, new) = (of(&before), of(about));
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            changed.push(format!("{key} was {}, is {value}", old.get(key).unwrap_or(&Value::Null)));
        }
    }
    if before.get("shard") != about.get("shard") {
        changed.push("another shard".into());
    }
    Err(GenerateError::Taken {
        root: root.to_path_buf(),
        problem: format!("a run with other settings was begun there ({})", changed.join("; ")),
        remedy: format!("repeat that command, name another folder, or remove {}", claim.workshop().display()),
    })
}

/// What all workers share.
struct Shared<'a> {
    loaded: &'a Loaded,
    options: &'a RunOptions,
    settings: Arc<Settings>,
    demonstrations: &'a [Arc<Demonstration>],
    parts: Vec<Range<u64>>,
    folder: PathBuf,
    /// Place in the list of parts to do that nobody has taken yet.
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Shared<'_> {
    fn part(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:06}"))
    }

    /// Attempts a finished part took; `None` if it is not finished or was damaged.
    fn tried_in(&self, number: usize) -> Option<u64> {
        let folder = self.part(number);
        let dataset = Dataset::open(&folder).ok()?;
        let note: PartNote = serde_json::from_value(dataset.info().rest.get(NOTE)?.clone()).ok()?;
        let expected = self.parts[number].end - self.parts[number].start;
        (dataset.episodes().len() as u64 == expected).then_some(note.tried)
    }
}

/// Key of a part's own note in its `info.json`.
const NOTE: &str = "etude_part";

/// Makes parts until there are none left.
fn work(shared: &Shared, todo: &[usize], news: &Sender<News>) {
    let make = || make_parts(shared, todo, news);
    // A policy's network keeps to its worker's core: the others have their own.
    let alone =
        shared.settings.pilot.as_ref().and_then(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build().ok());
    let result = alone.map_or_else(make, |pool| pool.install(make));
    // Nobody listening means that the run has ended.
    let _ = news.send(News::Ended(result));
}

fn make_parts(shared: &Shared, todo: &[usize], news: &Sender<News>) -> Result<(), GenerateError> {
    let mut maker = Maker::new(shared.loaded, shared.options, shared.settings.clone())?;
    maker.set_demonstrations(shared.demonstrations);
    while let Some(number) = todo.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
        let mut episodes: Vec<WholeEpisode> = Vec::new();
        let mut tried = 0;
        for episode in shared.parts[*number].clone() {
            episodes.push(make_episode(&mut maker, shared, episode, &mut tried, news)?);
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let mut info = maker.info().clone();
        info.rest.insert(NOTE.into(), json!(PartNote { tried }));
        write_part(&shared.part(*number), &info, episodes)?;
    }
    Ok(())
}

fn make_episode(
    maker: &mut Maker,
    shared: &Shared,
    episode: u64,
    tried: &mut u64,
    news: &Sender<News>,
) -> Result<WholeEpisode, GenerateError> {
    let first = plan::seed(shared.settings.seed, episode, 0);
    for attempt in 0..plan::MOST_ATTEMPTS {
        let seed = plan::seed(shared.settings.seed, episode, attempt);
        let made = maker.attempt(seed, shared.settings.keep_all)?;
        *tried += 1;
        // Nobody listening means that the run has ended; the stop flag says so too.
        let _ = news.send(News::Attempt { kept: made.episode.is_some(), ticks: made.ticks });
        if let Some(episode) = made.episode {
            return Ok(episode);
        }
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Err(GenerateError::Hopeless { episode, attempts: plan::MOST_ATTEMPTS, seed: first })
}
