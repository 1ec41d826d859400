//! Runs: workers make parts side by side, and the parts are joined in their order.

use super::maker::Maker;
use super::plan::{self, Shard};
use super::{Demonstration, GenerateError, Settings};
use crate::app::{Loaded, RunOptions};
use crate::config::Group;
use crate::dataset::bulk::{Claim, GENERATED, WholeEpisode, write_part};
use crate::dataset::{Dataset, Info};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

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
    /// Looks of each that are kept.
    #[serde(skip)]
    looks: u64,
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
    Attempt { kept: u64, ticks: u64 },
    Ended(Result<(), GenerateError>),
}

/// What a part notes beside its episodes.
#[derive(Serialize, Deserialize)]
struct PartNote {
    tried: u64,
}

/// Where a worker tells what it did.
pub(super) struct Told<'a> {
    news: &'a Sender<News>,
    stop: &'a AtomicBool,
    tried: u64,
}

impl Told<'_> {
    /// An attempt of so many ticks gave so many episodes of the dataset.
    pub fn attempt(&mut self, kept: usize, ticks: u64) {
        self.tried += 1;
        // Nobody listening means that the run has ended; the stop flag says so too.
        let _ = self.news.send(News::Attempt { kept: kept as u64, ticks });
    }

    /// Whether the run is over.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What is made in a run: numbered originals, each of which becomes some episodes of the dataset.
pub(super) trait Work: Sync {
    /// What one thread needs.
    type Worker;
    /// Makes a worker.
    fn hire(&self) -> Result<Self::Worker, GenerateError>;
    /// Features of the dataset.
    fn info(&self, worker: &Self::Worker) -> Info;
    /// Makes an original's episodes, as many as [`Work::looks`] says.
    fn make(
        &self,
        worker: &mut Self::Worker,
        original: u64,
        told: &mut Told,
    ) -> Result<Vec<WholeEpisode>, GenerateError>;
    /// Episodes that become of each original.
    fn looks(&self) -> u64;
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
    watch: impl FnMut(&Progress),
) -> Result<Made, GenerateError> {
    settings.validate()?;
    if demonstrations.is_empty() && !settings.expert.can_do(&loaded.scene.scene) {
        return Err(GenerateError::NoExpert);
    }
    let ranges = loaded.worlds.ranges(&loaded.scene.scene);
    let groups = |of: &dyn Fn(Group) -> bool| ranges.iter().any(|ranges| ranges.groups().into_iter().any(of));
    let remedy = "say with --randomise what may differ, such as looks or all";
    if settings.looks > 1 && !groups(&Group::is_look) {
        let problem = format!("{}: all would be the same", settings.looks);
        return Err(GenerateError::Option { option: "--looks", problem, remedy: remedy.into() });
    }
    if settings.look_every > 0 && !groups(&|group| group.is_look() && group != Group::Zeros) {
        let problem = format!("{}: all would be the same", settings.look_every);
        return Err(GenerateError::Option { option: "--look-every", problem, remedy: remedy.into() });
    }
    let originals = shard.episodes(settings.simulated());
    if originals.is_empty() {
        let problem = format!("{} episodes leave none for shard {}/{}", settings.episodes, shard.index, shard.count);
        let remedy = "give more --episodes or fewer shards".into();
        return Err(GenerateError::Option { option: "--shard", problem, remedy });
    }
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
    let work = Generation { loaded, options, settings: Arc::new(settings.clone()), demonstrations };
    carry_out(&work, originals, workers, root, &about, watch)
}

/// Episodes from seeds.
struct Generation<'a> {
    loaded: &'a Loaded,
    options: &'a RunOptions,
    settings: Arc<Settings>,
    demonstrations: &'a [Arc<Demonstration>],
}

impl Work for Generation<'_> {
    type Worker = Maker;

    fn hire(&self) -> Result<Maker, GenerateError> {
        let mut maker = Maker::new(self.loaded, self.options, self.settings.clone())?;
        maker.set_demonstrations(self.demonstrations);
        Ok(maker)
    }

    fn info(&self, maker: &Maker) -> Info {
        maker.info().clone()
    }

    fn make(&self, maker: &mut Maker, episode: u64, told: &mut Told) -> Result<Vec<WholeEpisode>, GenerateError> {
        let first = plan::seed(self.settings.seed, episode, 0);
        for attempt in 0..plan::MOST_ATTEMPTS {
            let seed = plan::seed(self.settings.seed, episode, attempt);
            let made = maker.attempt(seed, self.settings.keep_all)?;
            told.attempt(made.episodes.len(), made.ticks);
            if !made.episodes.is_empty() {
                return Ok(made.episodes);
            }
            if told.stops() {
                break;
            }
        }
        Err(GenerateError::Hopeless { episode, attempts: plan::MOST_ATTEMPTS, seed: first })
    }

    fn looks(&self) -> u64 {
        self.settings.looks.into()
    }
}

/// Has `work` done on `originals` by `workers` threads, into the dataset `root`. `about` tells how it is made, at the end with the
/// number of attempts.
///
/// # Errors
/// [`GenerateError`]; finished parts are kept and used by the next call.
pub(super) fn carry_out<W: Work>(
    work: &W,
    originals: Range<u64>,
    workers: usize,
    root: &Path,
    about: &dyn Fn(Option<u64>) -> Value,
    mut watch: impl FnMut(&Progress),
) -> Result<Made, GenerateError> {
    let claim = Claim::take(root)?;
    if claim.is_made() {
        return already_made(root, about);
    }
    begin(&claim, root, &about(None))?;
    let looks = work.looks();
    let shared = Shared {
        parts: plan::parts(originals.clone(), looks),
        looks,
        folder: claim.workshop().join("parts"),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let mut progress = Progress {
        episodes: 0,
        of: (originals.end - originals.start) * looks,
        tried: 0,
        kept_share: 0.0,
        looks,
        episodes_per_minute: 0.0,
        ticks_per_second: 0.0,
        eta_s: None,
    };
    let mut todo = Vec::new();
    for number in 0..shared.parts.len() {
        match shared.tried_in(number) {
            Some(tried) => {
                progress.episodes += shared.episodes_in(number);
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
            let spawned = worker.spawn_scoped(scope, move || {
                // Whatever computes in parallel, such as a policy's network, keeps to this worker's core.
                let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok();
                let make = || make_parts(work, shared, todo, &news);
                let result = alone.map_or_else(make, |pool| pool.install(make));
                // Nobody listening means that the run has ended.
                let _ = news.send(News::Ended(result));
            });
            match spawned {
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
                    progress.episodes += kept;
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
        self.kept_share = if self.tried > 0 { self.episodes as f64 / (self.tried * self.looks) as f64 } else { 0.0 };
        self.episodes_per_minute = 60.0 * made as f64 / seconds;
        self.ticks_per_second = ticks as f64 / seconds;
        let left = self.of.saturating_sub(self.episodes) as f64;
        self.eta_s = (made > 0).then(|| left * seconds / made as f64);
    }
}

/// A run that has nothing left to do, or a folder that holds something else.
fn already_made(root: &Path, about: &dyn Fn(Option<u64>) -> Value) -> Result<Made, GenerateError> {
    let dataset = Dataset::open(root)?;
    let made = dataset.info().rest.get(GENERATED);
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
struct Shared {
    parts: Vec<Range<u64>>,
    /// Episodes of each original.
    looks: u64,
    folder: PathBuf,
    /// Place in the list of parts to do that nobody has taken yet.
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn part(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:06}"))
    }

    fn episodes_in(&self, number: usize) -> u64 {
        (self.parts[number].end - self.parts[number].start) * self.looks
    }

    /// Attempts a finished part took; `None` if it is not finished or was damaged.
    fn tried_in(&self, number: usize) -> Option<u64> {
        let folder = self.part(number);
        let dataset = Dataset::open(&folder).ok()?;
        let note: PartNote = serde_json::from_value(dataset.info().rest.get(NOTE)?.clone()).ok()?;
        (dataset.episodes().len() as u64 == self.episodes_in(number)).then_some(note.tried)
    }
}

/// Key of a part's own note in its `info.json`.
const NOTE: &str = "etude_part";

/// Makes parts until there are none left.
fn make_parts<W: Work>(work: &W, shared: &Shared, todo: &[usize], news: &Sender<News>) -> Result<(), GenerateError> {
    let mut worker = work.hire()?;
    while let Some(number) = todo.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
        let mut episodes: Vec<WholeEpisode> = Vec::new();
        let mut told = Told { news, stop: &shared.stop, tried: 0 };
        for original in shared.parts[*number].clone() {
            episodes.extend(work.make(&mut worker, original, &mut told)?);
            if told.stops() {
                return Ok(());
            }
        }
        let mut info = work.info(&worker);
        info.rest.insert(NOTE.into(), json!(PartNote { tried: told.tried }));
        write_part(&shared.part(*number), &info, episodes)?;
    }
    Ok(())
}
