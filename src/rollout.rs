//! A policy at the arm: it sees what the cameras and the joints see, and its chunks become joint commands.
//!
//! In the simulation a chunk arrives a fixed number of ticks after it was asked for, so an episode is the same on a slow and
//! on a fast machine. At a real arm the network thinks in a thread of its own and the tick never waits for it: what is not
//! there in time is late, and the arm follows the older chunk, or holds still.

use crate::camera::live::wait_for_pictures;
use crate::camera::{CameraFrame, CameraSensor, CameraState, CamerasInUse};
use crate::control::{Control, ControlRate, ControlSystems};
use crate::dataset::Image;
use crate::episode::{Episode, EpisodeStarted};
use crate::joint_units::JointUnits;
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::policy::gate::{self, Robot};
use crate::policy::pictures::resize;
use crate::policy::{Moment, Observation, Policy, PolicySpec};
use crate::robot::{Arm, JointCommand, JointState};
use crate::teleop::TeleopInput;
use crate::world::{ActiveScene, Order};
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// How a policy's chunks are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RolloutOptions {
    /// Targets followed before the policy is asked again; `None`: as the policy says.
    pub execute: Option<usize>,
    /// Weight of older chunks, exp(-x * age in ticks); `None`: only the newest counts.
    pub ensemble: Option<f32>,
    /// Ticks after which a chunk arrives in the simulation.
    pub latency_ticks: u64,
    /// Whether the network thinks in its own thread against the clock, as at a real arm.
    pub real_time: bool,
}

/// Chunks that have arrived, and what they say for each tick.
#[derive(Clone, Debug, Default)]
pub struct ChunkQueue {
    /// Tick it was asked in, and its targets; newest first.
    chunks: VecDeque<(u64, Vec<f32>)>,
    joints: usize,
}

impl ChunkQueue {
    /// An empty queue for chunks of so many joints.
    pub fn new(joints: usize) -> Self {
        Self { chunks: VecDeque::new(), joints }
    }

    /// Adds the chunk that was asked for in tick `asked`.
    pub fn push(&mut self, asked: u64, chunk: Vec<f32>) {
        let at = self.chunks.iter().take_while(|(other, _)| *other > asked).count();
        self.chunks.insert(at, (asked, chunk));
    }

    /// Targets for `tick`; `None` when no chunk reaches so far. Chunks that are used up are dropped.
    pub fn targets(&mut self, tick: u64, ensemble: Option<f32>) -> Option<Vec<f32>> {
        let joints = self.joints;
        let part = |(asked, chunk): &(u64, Vec<f32>)| {
            let step = usize::try_from(tick.checked_sub(*asked)?).ok()?;
            chunk.get(step * joints..(step + 1) * joints).map(<[f32]>::to_vec)
        };
        self.chunks.retain(|chunk| part(chunk).is_some());
        let newest = self.chunks.front()?;
        let Some(fading) = ensemble else { return part(newest) };
        let (mut sums, mut weights) = (vec![0.0; joints], 0.0);
        for chunk in &self.chunks {
            let weight = (-fading * (newest.0 - chunk.0) as f32).exp();
            for (sum, target) in sums.iter_mut().zip(part(chunk)?) {
                *sum += weight * target;
            }
            weights += weight;
        }
        Some(sums.into_iter().map(|sum| sum / weights).collect())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

/// A question to the network.
struct Question {
    episode: u64,
    tick: u64,
    history: Vec<Arc<Moment>>,
    task: String,
}

/// Its answer.
struct Answer {
    episode: u64,
    tick: u64,
    chunk: Result<Vec<f32>, String>,
    seconds: f64,
}

/// Where the network thinks.
enum Mind {
    /// In the tick that asks.
    Here(Box<dyn Policy>),
    /// In its own thread.
    Beside { questions: SyncSender<Question>, answers: Receiver<Answer>, busy: bool },
}

/// How the network kept up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RolloutLoad {
    /// Chunks that arrived.
    pub chunks: u64,
    /// Ticks in which there was none to follow and the arm held still.
    pub held_ticks: u64,
    /// Longest time the network took, s.
    pub slowest_s: f64,
    /// Time it took on average, s.
    pub mean_s: f64,
}

/// The policy in the world, for [`Operator::Policy`].
#[derive(Resource)]
pub struct PolicyDriver {
    mind: SyncCell<Mind>,
    spec: PolicySpec,
    options: RolloutOptions,
    units: JointUnits,
    queue: ChunkQueue,
    history: VecDeque<Arc<Moment>>,
    /// In the simulation: chunks on their way, with the tick of their arrival and the one that asked.
    coming: VecDeque<(u64, u64, Vec<f32>)>,
    last_asked: Option<u64>,
    last_tick: Option<u64>,
    load: RolloutLoad,
    fault: Option<String>,
}

impl PolicyDriver {
    /// What the policy needs and gives.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// How the network kept up so far.
    pub fn load(&self) -> RolloutLoad {
        self.load
    }

    /// What went wrong since the last call; the arm holds still from then on.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    fn forget(&mut self) {
        self.queue.clear();
        self.history.clear();
        self.coming.clear();
        (self.last_asked, self.last_tick) = (None, None);
    }

    fn arrived(&mut self, seconds: f64) {
        self.load.chunks += 1;
        self.load.slowest_s = self.load.slowest_s.max(seconds);
        self.load.mean_s += (seconds - self.load.mean_s) / self.load.chunks as f64;
    }

    /// Asks the network if it is time, and takes what has arrived.
    fn think(&mut self, episode: u64, tick: u64, task: &str) {
        let execute = self.options.execute.unwrap_or(self.spec.n_action_steps).max(1) as u64;
        // A chunk that takes a while is asked for so much earlier.
        let every = execute.saturating_sub(self.options.latency_ticks).max(1);
        let due = self.last_asked.is_none_or(|asked| tick >= asked + every);
        let history: Vec<Arc<Moment>> = self.history.iter().cloned().collect();
        match self.mind.get() {
            Mind::Here(policy) => {
                if due {
                    let observation = Observation { history: &history, task };
                    let answer = policy.predict(&[observation], episode.wrapping_mul(1 << 20).wrapping_add(tick));
                    self.last_asked = Some(tick);
                    match answer.map(|mut chunks| chunks.pop()) {
                        Ok(Some(chunk)) => {
                            self.coming.push_back((tick + self.options.latency_ticks, tick, chunk));
                            self.load.chunks += 1;
                        }
                        Ok(None) => self.fault = Some("the policy gave no answer".into()),
                        Err(error) => self.fault = Some(error.to_string()),
                    }
                }
                while let Some((_, asked, chunk)) = self.coming.pop_front_if(|(arrival, ..)| *arrival <= tick) {
                    self.queue.push(asked, chunk);
                }
            }
            Mind::Beside { questions, answers, busy } => {
                let mut taken = Vec::new();
                loop {
                    match answers.try_recv() {
                        Ok(answer) => {
                            *busy = false;
                            taken.push(answer);
                        }
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            self.fault = Some("the policy's thread has ended; start again".into());
                            break;
                        }
                    }
                }
                if due && !*busy {
                    let question = Question { episode, tick, history, task: task.into() };
                    *busy = questions.try_send(question).is_ok();
                    if *busy {
                        self.last_asked = Some(tick);
                    }
                }
                for answer in taken {
                    self.arrived(answer.seconds);
                    match answer.chunk {
                        Ok(chunk) if answer.episode == episode => self.queue.push(answer.tick, chunk),
                        Ok(_) => {}
                        Err(problem) => self.fault = Some(problem),
                    }
                }
            }
        }
    }
}

/// Answers questions until nobody asks any more.
fn think_beside(mut policy: Box<dyn Policy>, questions: &Receiver<Question>, answers: &SyncSender<Answer>) {
    while let Ok(question) = questions.recv() {
        let began = std::time::Instant::now();
        let observation = Observation { history: &question.history, task: &question.task };
        let chunk = match policy.predict(&[observation], question.episode.wrapping_add(question.tick)) {
            Ok(mut chunks) => chunks.pop().ok_or_else(|| "the policy gave no answer".to_string()),
            Err(error) => Err(error.to_string()),
        };
        let seconds = began.elapsed().as_secs_f64();
        if answers.send(Answer { episode: question.episode, tick: question.tick, chunk, seconds }).is_err() {
            return;
        }
    }
}

/// Puts `policy` into `world` after checking that it fits arm, cameras, rate and task; the cameras it looks through draw from
/// now on, in its sizes. [`Operator::Policy`] then lets it drive.
///
/// # Errors
/// Everything that does not fit, in words.
pub fn install(world: &mut World, policy: Box<dyn Policy>, options: RolloutOptions) -> Result<(), Vec<String>> {
    let spec = policy.spec().clone();
    let arm = world.query::<&Arm>().iter(world).next().cloned();
    let Some(arm) = arm else { return Err(vec!["there is no arm in the scene; load one".into()]) };
    let units = JointUnits::new(&arm.model);
    let mut cameras: Vec<(usize, String)> =
        (world.query::<&CameraSensor>().iter(world)).map(|sensor| (sensor.index, sensor.config.name.clone())).collect();
    cameras.sort_unstable();
    let robot = Robot {
        joints: units.names().to_vec(),
        limits: units.limits().to_vec(),
        cameras: cameras.into_iter().map(|(_, name)| name).collect(),
        fps: world.resource::<ControlRate>().hz,
        task: world.resource::<ActiveScene>().scene.instruction.clone(),
        state: None,
    };
    let refusals = gate::refusals(&spec, &robot);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let names: Vec<String> = spec.cameras.iter().map(|camera| camera.name.clone()).collect();
    for mut sensor in world.query::<&mut CameraSensor>().iter_mut(world) {
        if let Some(camera) = spec.cameras.iter().find(|camera| camera.name == sensor.config.name) {
            (sensor.config.width, sensor.config.height) = (camera.width as u32, camera.height as u32);
        }
    }
    wait_for_pictures(world, &names).map_err(|error| vec![error.to_string()])?;
    if *world.resource::<CamerasInUse>() != CamerasInUse::All {
        world.insert_resource(CamerasInUse::Named(names));
    }
    let mind = if options.real_time {
        let ((questions, asked), (answered, answers)) = (sync_channel(1), sync_channel(2));
        std::thread::spawn(move || think_beside(policy, &asked, &answered));
        Mind::Beside { questions, answers, busy: false }
    } else {
        Mind::Here(policy)
    };
    world.insert_resource(PolicyDriver {
        mind: SyncCell::new(mind),
        queue: ChunkQueue::new(units.names().len()),
        spec,
        options,
        units,
        history: VecDeque::new(),
        coming: VecDeque::new(),
        last_asked: None,
        last_tick: None,
        load: RolloutLoad::default(),
        fault: None,
    });
    Ok(())
}

/// Adds the operator [`Operator::Policy`]; it drives once there is a [`PolicyDriver`].
pub fn plugin(app: &mut App) {
    app.add_systems(
        Control,
        (
            take_over.in_set(ControlSystems::Sense).run_if(has_the_arm(Operator::Policy)),
            drive
                .in_set(ControlSystems::Decide)
                .in_set(DriveArms)
                .ambiguous_with(DriveArms)
                .run_if(has_the_arm(Operator::Policy))
                .run_if(resource_exists::<PolicyDriver>),
        ),
    );
    app.add_observer(|_: On<EpisodeStarted>, driver: Option<ResMut<PolicyDriver>>| {
        if let Some(mut driver) = driver {
            driver.forget();
        }
    });
}

/// A person who touches the controls has the arm from the same tick on, from where it is.
fn take_over(input: Res<TeleopInput>, mut operator: ResMut<Operator>) {
    if is_touched(&input) {
        *operator = Operator::Human;
    }
}

/// Whether a person wants anything.
fn is_touched(input: &TeleopInput) -> bool {
    let TeleopInput { translate, roll, tilt, gripper, jog, drag_target_m, .. } = input;
    let axes = [translate.x, translate.y, translate.z, *roll, *tilt, *gripper];
    drag_target_m.is_some() || axes.iter().chain(jog).any(|axis| axis.abs() > 1e-3)
}

fn drive(
    mut driver: ResMut<PolicyDriver>,
    episode: Res<Episode>,
    order: Res<Order>,
    arms: Query<&Arm>,
    states: Query<&JointState>,
    cameras: Query<(&CameraSensor, &CameraFrame)>,
    mut commands: Query<&mut JointCommand>,
) {
    let Some(arm) = arms.iter().next() else { return };
    let driver = &mut *driver;
    if driver.fault.is_some() {
        return;
    }
    // After somebody else drove, what was planned before no longer holds.
    if driver.last_tick.is_some_and(|last| last + 1 != episode.tick) {
        driver.forget();
    }
    driver.last_tick = Some(episode.tick);
    let mut pictures = Vec::new();
    for wanted in &driver.spec.cameras {
        let frame = cameras.iter().find(|(sensor, _)| sensor.config.name == wanted.name).map(|(_, frame)| frame);
        let Some(frame) = frame.filter(|frame| !frame.rgb.is_empty()) else { return };
        if frame.state == CameraState::Lost {
            // Blind it does not act: the arm holds still until the camera is back.
            driver.forget();
            driver.load.held_ticks += 1;
            return;
        }
        let (width, height) = (frame.width as usize, frame.height as usize);
        let mut picture = Image { width, height, rgb: frame.rgb.clone() };
        if (width, height) != (wanted.width, wanted.height) {
            let mut rgb = vec![0; 3 * wanted.width * wanted.height];
            resize(&picture, (wanted.width, wanted.height), &mut rgb);
            picture = Image { width: wanted.width, height: wanted.height, rgb };
        }
        pictures.push(Arc::new(picture));
    }
    let state = driver.units.to_lerobot(&arm.positions_rad(&states));
    let moment = Arc::new(Moment { state, pictures });
    let moments = driver.spec.n_obs_steps.max(1);
    driver.history.push_back(moment.clone());
    while driver.history.len() < moments {
        driver.history.push_front(moment.clone());
    }
    while driver.history.len() > moments {
        driver.history.pop_front();
    }
    driver.think(episode.number, episode.tick, &order.text);
    match driver.queue.targets(episode.tick, driver.options.ensemble) {
        Some(targets) => arm.command(&mut commands, &driver.units.to_rad(&targets)),
        None => {
            driver.load.held_ticks += 1;
            // It thinks: that is no silence for which an arm would have to be parked.
            arm.joints.iter().for_each(|joint| {
                if let Ok(mut command) = commands.get_mut(*joint) {
                    command.set_changed();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(first: f32) -> Vec<f32> {
        (0..4).map(|step| first + step as f32).collect()
    }

    #[test]
    fn the_newest_chunk_counts_and_late_ones_are_followed_from_their_own_tick() {
        let mut queue = ChunkQueue::new(1);
        queue.push(10, chunk(0.0));
        assert_eq!(queue.targets(10, None), Some(vec![0.0]));
        // Arrives two ticks after it was asked for.
        queue.push(12, chunk(100.0));
        queue.push(11, chunk(50.0));
        assert_eq!(queue.targets(13, None), Some(vec![101.0]));
        assert_eq!(queue.targets(15, None), Some(vec![103.0]));
        assert_eq!(queue.targets(16, None), None);
    }

    #[test]
    fn ensembling_weighs_older_chunks_less() {
        let mut queue = ChunkQueue::new(1);
        queue.push(0, vec![0.0; 4]);
        queue.push(1, vec![1.0; 4]);
        assert_eq!(queue.targets(1, Some(0.0)), Some(vec![0.5]));
        let weighed = queue.targets(2, Some(1.0)).unwrap()[0];
        assert!((weighed - 1.0 / (1.0 + (-1.0f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn only_a_real_touch_takes_the_arm() {
        assert!(!is_touched(&TeleopInput { speed: 1.0, jog: vec![0.0; 6], ..TeleopInput::default() }));
        assert!(is_touched(&TeleopInput { gripper: -1.0, ..TeleopInput::default() }));
        assert!(is_touched(&TeleopInput { jog: vec![0.0, 0.5], ..TeleopInput::default() }));
    }
}
