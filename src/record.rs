//! Recording: what happened in each tick goes into a dataset. A [`Recorder`] in the world is all it takes; it begins with
//! every episode and ends with it.

use crate::app::{Backend, RunOptions};
use crate::backend::servo::{ServoArm, ServoHealth};
use crate::camera::live::wait_for_pictures;
use crate::camera::real::CameraError;
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::config::TaskConfig;
use crate::control::{Control, ControlRate, ControlSystems};
use crate::dataset::check::CheckOptions;
use crate::dataset::{
    CameraSpec, CutEpisode, Dataset, DatasetError, Event, Image, Load, Note, Outcome, Row, RowExtra, Source, Spec,
    Writer, WriterOptions, schema::extra,
};
use crate::episode::{EndReason, Episode, EpisodePhase, EpisodeStarted, hash_state};
use crate::joint_units::JointUnits;
use crate::operator::Operator;
use crate::robot::{Arm, JointState, JointTarget};
use crate::rollout::PolicyDriver;
use crate::world::{ActiveScene, DrawnWorld, EpisodeWorld, Order, Randomiser, Worlds};
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Memory for pictures that wait for encoding, bytes a camera.
const WAITING_BYTES: usize = 48 << 20;
/// Greatest age of a picture that is written, s: a camera that never gave one has none that a column can hold.
const OLDEST_S: f32 = 1e6;
/// Seeds from here on are not kept exactly by readers that count in double precision.
pub const SEEDS_END: u64 = 1 << 53;

/// Why nothing can be recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The scene has no camera of this name.
    #[error("camera \"{name}\": the scene has no such camera; it has {known}")]
    Camera {
        /// The name.
        name: String,
        /// Names there are.
        known: String,
    },
    /// There is no arm.
    #[error("there is no arm in the scene; load one before recording")]
    NoArm,
    /// A real camera gives no picture.
    #[error(transparent)]
    RealCamera(#[from] CameraError),
    /// The dataset does not take it.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Which episodes become part of the dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those in which the task was done.
    #[default]
    Successes,
    /// All, except those in which the physics came apart.
    All,
}

/// How a [`Recorder`] works.
#[derive(Clone, Debug, Default)]
pub struct RecordOptions {
    /// Which episodes become part of the dataset.
    pub keep: Keep,
    /// Task text; `None`: the scene's instruction.
    pub task: Option<String>,
    /// Noted about every episode; see [`note`].
    pub note: Note,
}

impl From<Keep> for RecordOptions {
    fn from(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }
}

/// Writes episodes into a dataset while it is in the world.
#[derive(Resource)]
pub struct Recorder {
    writer: SyncCell<Writer>,
    /// Names of the cameras, in the dataset's order.
    cameras: Vec<String>,
    units: JointUnits,
    keep: Keep,
    task: Option<String>,
    /// Whether the next episode that starts is recorded.
    on: bool,
    /// Whether the task's own verdict counts where the person gives none.
    is_judged: bool,
    mark: Option<Outcome>,
    began: Instant,
    fault: Option<DatasetError>,
    /// Who drove in each row of the present episode, where that is known better than from who has the arm now.
    sources: Vec<Source>,
}

/// Keeps the time of control ticks against the clock on the wall; without it ticks are in nobody's hurry.
#[derive(Resource, Clone, Debug, Default)]
pub struct Pace {
    due: Option<Instant>,
    /// How late the present tick is, s.
    pub late_s: f64,
    /// Ticks that were late by more than [`LATE_SHARE`], since somebody set this to 0.
    pub late: usize,
}

impl Pace {
    /// Counts a tick of `tick` that begins at `now`.
    fn count(&mut self, now: Instant, tick: Duration) {
        // A tick that comes early is the new measure; one that is later than the next would be is not caught up with.
        let due = self.due.filter(|due| now >= *due).unwrap_or(now);
        let late = now.duration_since(due);
        self.late_s = late.as_secs_f64();
        self.late += usize::from(self.late_s > LATE_SHARE * tick.as_secs_f64());
        self.due = Some(if late >= tick { now + tick } else { due + tick });
    }

    /// Time has stood still: the next tick is as early as it comes.
    pub fn forget(&mut self) {
        (self.due, self.late_s) = (None, 0.0);
    }
}

/// Share of a tick by which it may be late.
pub const LATE_SHARE: f64 = 0.5;

/// What is noted about episodes recorded with `options`: what a replay needs to be the same, and the person's tags.
pub fn note(options: &RunOptions, tags: &[String]) -> Note {
    let mut note = Note::new();
    note.insert("scene".into(), json!(options.scene));
    note.insert("arm".into(), json!(options.arm));
    if let Some(urdf) = &options.urdf {
        note.insert("urdf".into(), json!(urdf.display().to_string()));
    }
    if let Some(servo) = &options.servo {
        note.insert("servo".into(), json!(servo));
    }
    match options.backend {
        Backend::Sim => {
            if options.operator == Operator::Scripted {
                note.insert("expert".into(), json!(options.expert));
                note.insert("speed".into(), json!(options.speed.0));
            }
            note.insert("physics".into(), json!(options.physics))
        }
        Backend::Servo { .. } => note.insert("real".into(), json!(true)),
    };
    if !tags.is_empty() {
        note.insert("tags".into(), json!(tags));
    }
    note
}

/// A camera to record.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraWish {
    /// Its name in the scene.
    pub name: String,
    /// Size of its pictures, pixels; `None`: as the scene says.
    pub size: Option<(u32, u32)>,
}

/// Sets up `cameras` and opens the dataset in `root`, creating
/// it if there is none. The recorder then belongs into the world as a resource.
///
/// # Errors
/// [`RecordError`]: an unknown camera, or why the dataset cannot be extended.
pub fn open(
    world: &mut World,
    root: &Path,
    cameras: &[CameraWish],
    options: impl Into<RecordOptions>,
) -> Result<Recorder, RecordError> {
    let options = options.into();
    let model = world.query::<&Arm>().iter(world).next().map(|arm| arm.model.clone()).ok_or(RecordError::NoArm)?;
    let units = JointUnits::new(&model);
    let spec = Spec {
        fps: world.resource::<ControlRate>().hz,
        robot_type: format!("{}_follower", model.name),
        joints: units.names().to_vec(),
        cameras: set_up_cameras(world, cameras)?,
        extras: true,
    };
    let largest = spec.cameras.iter().map(|camera| camera.width * camera.height * 3).max().unwrap_or(1);
    let is_real = world.contains_resource::<ServoArm>();
    let writer_options = WriterOptions {
        waiting_pictures: (WAITING_BYTES / largest).clamp(16, 512),
        check: CheckOptions { limits: Some(units.limits().to_vec()), ..CheckOptions::default() },
        world: worlds_differ(world) || tells_worlds(root),
        note: options.note,
    };
    let scored = world.get_resource::<ActiveScene>().is_some_and(|s| !matches!(s.scene.task, TaskConfig::FreePlay));
    Ok(Recorder {
        writer: SyncCell::new(Writer::open(root, &spec, &writer_options)?),
        cameras: cameras.iter().map(|wish| wish.name.clone()).collect(),
        units,
        keep: options.keep,
        task: options.task,
        on: true,
        // Nobody sees what a real arm has done to real things.
        is_judged: scored && !is_real,
        mark: None,
        began: Instant::now(),
        fault: None,
        sources: Vec::new(),
    })
}

/// Whether the episodes to come have worlds of their own.
fn worlds_differ(world: &World) -> bool {
    let Some(randomiser) = world.get_resource::<Randomiser>() else { return false };
    matches!(randomiser.worlds, Worlds::Given(_))
        || world.get_resource::<ActiveScene>().is_some_and(|scene| randomiser.worlds.ranges(&scene.nominal).is_some())
}

/// Whether the dataset in `root` tells the episodes' worlds. Episodes in the scene as it is may join it.
fn tells_worlds(root: &Path) -> bool {
    let dataset = root.join("meta/info.json").exists().then(|| Dataset::open(root).ok()).flatten();
    dataset.is_some_and(|dataset| dataset.info().feature(extra::WORLD).is_some())
}

/// The world of each episode of a dataset; `None` where it happened in the scene as its file has it.
///
/// # Errors
/// When the column cannot be read, or holds something else.
pub fn worlds(dataset: &Dataset) -> Result<Vec<Option<DrawnWorld>>, DatasetError> {
    if dataset.info().feature(extra::WORLD).is_none() {
        return Ok(vec![None; dataset.episodes().len()]);
    }
    let texts = dataset.texts(extra::WORLD)?;
    let world = |episode: &crate::dataset::Episode| match texts.get(episode.from).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => DrawnWorld::from_json(text).map(Some).map_err(|problem| DatasetError::Request {
            what: format!("episode {}, column {}", episode.index, extra::WORLD),
            problem,
            remedy: "Delete the episode, or restore its file from a copy".into(),
        }),
    };
    dataset.episodes().iter().map(world).collect()
}

/// Sets the sizes of `wishes` and lets these cameras draw, and no others.
///
/// # Errors
/// [`RecordError::Camera`] for a name that the scene does not have.
pub fn set_up_cameras(world: &mut World, wishes: &[CameraWish]) -> Result<Vec<CameraSpec>, RecordError> {
    let mut specs = Vec::new();
    let mut sensors = world.query::<&mut CameraSensor>();
    for CameraWish { name, size } in wishes {
        let Some(mut sensor) = sensors.iter_mut(world).find(|sensor| sensor.config.name == *name) else {
            let mut known: Vec<(usize, String)> =
                sensors.iter(world).map(|sensor| (sensor.index, sensor.config.name.clone())).collect();
            known.sort_unstable();
            let known: Vec<String> = known.into_iter().map(|(_, name)| name).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(RecordError::Camera { name: name.clone(), known });
        };
        if let Some(size) = size {
            (sensor.config.width, sensor.config.height) = *size;
        }
        let (width, height) = (sensor.config.width as usize, sensor.config.height as usize);
        specs.push(CameraSpec { name: name.clone(), width, height });
    }
    let names: Vec<String> = wishes.iter().map(|wish| wish.name.clone()).collect();
    wait_for_pictures(world, &names)?;
    world.insert_resource(if names.is_empty() { CamerasInUse::None } else { CamerasInUse::Named(names) });
    Ok(specs)
}

impl Recorder {
    /// News about saved episodes since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        self.writer.get().events().collect()
    }

    /// Waits until every ended episode is saved; the news about them.
    pub fn flush(&mut self) -> Vec<Event> {
        self.writer.get().flush()
    }

    /// How far encoding is behind.
    pub fn load(&mut self) -> Load {
        self.writer.get().load()
    }

    /// What went wrong since the last call; the episode it happened in was not recorded to its end.
    pub fn take_fault(&mut self) -> Option<DatasetError> {
        self.fault.take()
    }

    /// Episodes that were cut off in earlier sessions.
    pub fn cut_episodes(&mut self) -> Vec<CutEpisode> {
        self.writer.get().cut_episodes().to_vec()
    }

    /// Saves a cut episode; the result arrives as an event.
    pub fn recover(&mut self, cut: &CutEpisode) {
        self.writer.get().recover(cut, Outcome::Unjudged);
    }

    /// Removes a cut episode for good.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub fn discard(&mut self, cut: &CutEpisode) -> Result<(), DatasetError> {
        self.writer.get().discard(cut)
    }

    /// Says who drove in each row of the next episode, which happened before and is only seen again.
    pub fn credit(&mut self, sources: Vec<Source>) {
        self.sources = sources;
    }

    /// Ends the episode as it ended when it happened, if it has not ended by itself.
    pub fn end_as(&mut self, outcome: Outcome) {
        let writer = self.writer.get();
        if writer.recorded().is_some()
            && let Err(error) = writer.end(outcome)
        {
            self.fault = Some(error);
        }
    }

    /// Whether the next episode that starts is recorded; at first it is.
    pub fn switch(&mut self, on: bool) {
        self.on = on;
    }

    /// The person's verdict over the episode being recorded, for when it ends; `None`: the task's own counts.
    pub fn mark(&mut self, verdict: Option<Outcome>) {
        self.mark = verdict;
    }

    /// Forgets what was recorded of the present episode.
    pub fn cancel(&mut self) {
        self.writer.get().cancel();
    }

    /// Stops recording the present episode; what there is of it is offered for recovery the next time.
    pub fn leave(&mut self) {
        self.writer.get().leave();
    }

    /// Rows of the episode being recorded.
    pub fn recorded(&mut self) -> Option<usize> {
        self.writer.get().recorded()
    }

    /// Removes the last episode; the news of it comes as an event.
    pub fn remove_last(&mut self) {
        self.writer.get().remove_last();
    }

    /// Gives the last episode another verdict; the news of it comes as an event.
    pub fn judge_last(&mut self, verdict: Outcome) {
        self.writer.get().judge_last(verdict);
    }

    fn begin(&mut self, task: &str) {
        self.mark = None;
        let writer = self.writer.get();
        // An attempt that was left in the middle is not recorded.
        writer.cancel();
        self.fault = if self.on { writer.begin(self.task.as_deref().unwrap_or(task)).err() } else { None };
    }

    /// Adds a row; what fails ends the episode and is kept for [`Self::take_fault`].
    fn push(&mut self, row: Row) {
        let writer = self.writer.get();
        if let Err(error) = writer.push(row) {
            writer.cancel();
            self.fault = Some(error);
        }
    }

    fn end(&mut self, success: bool, whole: bool) {
        let writer = self.writer.get();
        let verdict = match self.mark.take() {
            Some(mark) => mark,
            None if !self.is_judged => Outcome::Unjudged,
            None if success => Outcome::Success,
            None => Outcome::Failure,
        };
        if whole && (verdict == Outcome::Success || self.keep == Keep::All) {
            if let Err(error) = writer.end(verdict) {
                self.fault = Some(error);
            }
        } else {
            writer.cancel();
        }
    }
}

/// The seed each episode of a dataset began with; `None` where it did not begin with one.
///
/// # Errors
/// When the column cannot be read.
pub fn seeds(dataset: &Dataset) -> Result<Vec<Option<u64>>, DatasetError> {
    if dataset.info().feature(extra::SEED).is_none() {
        return Ok(vec![None; dataset.episodes().len()]);
    }
    let column = dataset.scalars(extra::SEED)?;
    let seed = |row: usize| column.get(row).filter(|seed| **seed >= 0.0).map(|seed| *seed as u64);
    Ok(dataset.episodes().iter().map(|episode| seed(episode.from)).collect())
}

/// Adds recording; nothing is recorded until there is a [`Recorder`].
pub fn plugin(app: &mut App) {
    app.add_systems(
        Control,
        record.in_set(ControlSystems::Record).before(hash_state).run_if(resource_exists::<Recorder>),
    );
    app.add_systems(Control, keep_pace.in_set(ControlSystems::Sense).run_if(resource_exists::<Pace>));
    app.add_observer(|_: On<EpisodeStarted>, recorder: Option<ResMut<Recorder>>, order: Res<Order>| {
        if let Some(mut recorder) = recorder {
            recorder.begin(&order.text);
        }
    });
}

fn keep_pace(mut pace: ResMut<Pace>, rate: Res<ControlRate>) {
    pace.count(Instant::now(), Duration::from_secs_f64(rate.tick_s()));
}

fn record(
    mut recorder: ResMut<Recorder>,
    pace: Option<Res<Pace>>,
    real: Option<Res<ServoArm>>,
    health: Option<Res<ServoHealth>>,
    episode: Res<Episode>,
    rate: Res<ControlRate>,
    operator: Res<Operator>,
    drawn: Res<EpisodeWorld>,
    driver: Option<Res<PolicyDriver>>,
    arms: Query<&Arm>,
    joints: Query<(&JointState, &JointTarget)>,
    cameras: Query<(&CameraSensor, &CameraFrame)>,
) {
    let on = matches!(episode.phase, EpisodePhase::Running | EpisodePhase::Done(_));
    let Some(arm) = arms.iter().next().filter(|_| on) else { return };
    let Some(recorded) = recorder.writer.get().recorded() else { return };
    let (mut state_rad, mut action_rad, mut load) = (Vec::new(), Vec::new(), Vec::new());
    for (state, target) in joints.iter_many(&arm.joints) {
        state_rad.push(state.position_rad);
        action_rad.push(target.position_rad);
        load.push((state.torque_nm / arm.servo.torque_limit_nm) as f32);
    }
    let frame = |name: &String| Some(cameras.iter().find(|(sensor, _)| sensor.config.name == *name)?.1);
    let frames: Vec<&CameraFrame> = recorder.cameras.iter().filter_map(frame).collect();
    let image = |frame: &&CameraFrame| {
        Arc::new(Image { width: frame.width as usize, height: frame.height as usize, rgb: frame.rgb.clone() })
    };
    let readings = health.as_ref().filter(|_| real.is_some()).map_or(&[][..], |health| &health.state.joints);
    let row = Row {
        state: recorder.units.to_lerobot(&state_rad),
        action: recorder.units.to_lerobot(&action_rad),
        images: frames.iter().map(image).collect(),
        extra: RowExtra {
            // In simulation its own clock, so that the same seed gives the same row.
            capture_s: match real {
                Some(_) => recorder.began.elapsed().as_secs_f64(),
                None => episode.tick as f64 * rate.tick_s(),
            },
            late_s: pace.map_or(0.0, |pace| pace.late_s as f32),
            camera_age_s: frames.iter().map(|frame| frame.age_s.min(OLDEST_S)).collect(),
            load,
            current_a: readings.iter().map(|joint| joint.current_a as f32).collect(),
            temperature_c: readings.iter().map(|joint| joint.temperature_c as f32).collect(),
            score: episode.score.value as f32,
            success: episode.score.conditions_hold,
            source: recorder.sources.get(recorded).copied().unwrap_or(match *operator {
                Operator::Scripted => Source::Expert,
                Operator::Policy => Source::Policy,
                Operator::Human if driver.is_some() => Source::Intervention,
                Operator::Human | Operator::Nobody | Operator::Replay | Operator::Outside => Source::Human,
            }),
            seed: Some(episode.seed).filter(|seed| *seed < SEEDS_END && real.is_none()),
            world: drawn.0.as_ref().filter(|_| recorded == 0).map(|world| world.to_json()),
        },
    };
    recorder.push(row);
    if let Some(outcome) = episode.outcome() {
        let whole = !matches!(outcome.reason, EndReason::Diverged(_));
        recorder.end(outcome.success, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::expert::ExpertSpeed;

    #[test]
    fn lateness_is_counted_from_when_ticks_were_due() {
        let (start, tick) = (Instant::now(), Duration::from_millis(30));
        let mut pace = Pace::default();
        let mut late_ms = |ms: u64| {
            pace.count(start + Duration::from_millis(ms), tick);
            (pace.late_s * 1e3).round()
        };
        assert_eq!([0, 30, 65, 90, 140].map(&mut late_ms), [0.0, 0.0, 5.0, 0.0, 20.0]);
        assert_eq!([145, 175].map(&mut late_ms), [0.0, 0.0], "an early tick is the new measure");
        assert_eq!([500, 530].map(&mut late_ms), [295.0, 0.0], "a stall counts once");
        pace.forget();
        pace.count(start + Duration::from_secs(9), tick);
        assert_eq!((pace.late_s, pace.late), (0.0, 2), "a pause is no lateness");
    }

    #[test]
    fn what_a_replay_needs_is_noted() {
        let person = RunOptions { physics: "precise".into(), operator: Operator::Human, ..RunOptions::default() };
        let text = serde_json::to_string(&note(&person, &["a".to_string()])).unwrap();
        assert_eq!(text, r#"{"scene":"move_t","arm":"so100","physics":"precise","tags":["a"]}"#);
        let expert = RunOptions { speed: ExpertSpeed(1.5), ..RunOptions::default() };
        let note = note(&expert, &[]);
        assert_eq!((note["expert"].as_str(), note["speed"].as_f64()), (Some("place"), Some(1.5)));
    }
}
