//! A policy at the arm: it sees what the cameras and the joints see, and its chunks become joint commands.
//!
//! In the simulation a chunk arrives a fixed number of ticks after it was asked for, so an episode is the same on a slow and
//! on a fast machine. At a real arm the network thinks in a thread of its own and the tick never waits for it: what is not
//! there in time is late, and the arm follows the older chunk, or holds still.

use crate::backend::servo::{self, ServoArm};
use crate::camera::live::wait_for_pictures;
use crate::camera::{CameraFrame, CameraSensor, CameraState, CamerasInUse};
use crate::config::{Scene, TaskConfig};
use crate::control::{Control, ControlRate, ControlSystems};
use crate::dataset::Image;
use crate::episode::{Episode, EpisodeStarted};
use crate::joint_units::JointUnits;
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::policy::gate::{self, Asked, Robot};
use crate::policy::pictures::resize;
use crate::policy::{Moment, Observation, Policy, PolicySpec};
use crate::robot::{Arm, JointCommand, JointState};
use crate::world::{ActiveScene, Order, may_ask};
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

mod nudge;
mod queue;
mod take_over;

pub use nudge::Nudge;
pub use queue::ChunkQueue;
pub use take_over::HandsBack;

/// What counts where chunks overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Overlap {
    /// As the policy says.
    #[default]
    OfPolicy,
    /// The newest chunk alone.
    Newest,
    /// A mean in which a chunk has the weight exp(-x * age in ticks); below 0 older chunks weigh more, as in LeRobot's
    /// temporal ensembling.
    Mean(f32),
}

impl Overlap {
    /// The fading of [`ChunkQueue::targets`] for a policy.
    pub fn fading(self, spec: &PolicySpec) -> Option<f32> {
        match self {
            Self::OfPolicy => spec.ensemble,
            Self::Newest => None,
            Self::Mean(fading) => Some(fading),
        }
    }
}

/// How a policy's chunks are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutOptions {
    /// Targets followed before the policy is asked again; `None`: as the policy says.
    pub execute: Option<usize>,
    /// What counts where chunks overlap.
    pub overlap: Overlap,
    /// Noise on the commands of an arm that stands still, rad, see [`Nudge`]; `None`: as the policy says.
    pub nudge_rad: Option<f64>,
    /// Ticks after which a chunk arrives in the simulation.
    pub latency_ticks: u64,
    /// Whether the network thinks in its own thread against the clock, as at a real arm.
    pub real_time: bool,
}

/// A question to the network.
struct Question {
    episode: u64,
    tick: u64,
    noise_seed: u64,
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
    nudge: Nudge,
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
        self.nudge.forget();
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
    fn think(&mut self, (episode, seed): (u64, u64), tick: u64, task: &str) {
        let execute = self.options.execute.unwrap_or(self.spec.n_action_steps).max(1) as u64;
        // A chunk that takes a while is asked for so much earlier.
        let every = execute.saturating_sub(self.options.latency_ticks).max(1);
        let due = self.last_asked.is_none_or(|asked| tick >= asked + every);
        let history: Vec<Arc<Moment>> = self.history.iter().cloned().collect();
        match self.mind.get() {
            Mind::Here(policy) => {
                if due {
                    let observation = Observation { history: &history, task };
                    let answer = policy.predict(&[observation], noise_seed(seed, tick));
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
                    let question =
                        Question { episode, tick, noise_seed: noise_seed(seed, tick), history, task: task.into() };
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

/// Seed of the noise a policy draws in a tick: the same whichever world the episode runs in.
fn noise_seed(episode_seed: u64, tick: u64) -> u64 {
    episode_seed.wrapping_mul(1 << 20).wrapping_add(tick)
}

/// Answers questions until nobody asks any more.
fn think_beside(mut policy: Box<dyn Policy>, questions: &Receiver<Question>, answers: &SyncSender<Answer>) {
    while let Ok(question) = questions.recv() {
        let began = std::time::Instant::now();
        let observation = Observation { history: &question.history, task: &question.task };
        let chunk = match policy.predict(&[observation], question.noise_seed) {
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
        asked: asked(&world.resource::<ActiveScene>().scene, &spec),
        state: standing(world, &arm, &units),
    };
    let refusals = gate::refusals(&spec, &robot);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let names: Vec<String> = spec.cameras.iter().map(|camera| camera.name.clone()).collect();
    for mut sensor in world.query::<&mut CameraSensor>().iter_mut(world) {
        if let Some(at) = spec.cameras.iter().position(|camera| camera.name == sensor.config.name) {
            // As large as the data's pictures were, and from there to the policy's size in the same way.
            let camera = &spec.cameras[at];
            let (width, height) = spec.recorded.get(at).copied().unwrap_or((camera.width, camera.height));
            (sensor.config.width, sensor.config.height) = (width as u32, height as u32);
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
        nudge: Nudge::new(options.nudge_rad.unwrap_or(spec.nudge_rad)),
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

/// What episodes of `scene` ask for, as far as it matters to a policy.
fn asked(scene: &Scene, spec: &PolicySpec) -> Asked {
    match &scene.task {
        TaskConfig::SortByWord { .. } => {
            let known = spec.tasks.iter().filter(|task| may_ask(scene, task)).count();
            Asked::Drawn { scene: scene.title.clone(), known }
        }
        _ => Asked::Always(scene.instruction.clone()),
    }
}

/// Where a real arm stands, LeRobot's numbers; a simulated one is set to a start of its own before it moves.
fn standing(world: &mut World, arm: &Arm, units: &JointUnits) -> Option<Vec<f32>> {
    world.get_resource::<ServoArm>()?;
    servo::read_now(world);
    let q_rad = arm.joints.iter().map(|joint| Some(world.get::<JointState>(*joint)?.position_rad));
    Some(units.to_lerobot(&q_rad.collect::<Option<Vec<f64>>>()?))
}

/// Adds the operator [`Operator::Policy`]; it drives once there is a [`PolicyDriver`].
pub fn plugin(app: &mut App) {
    app.add_systems(
        Control,
        drive
            .in_set(ControlSystems::Decide)
            .in_set(DriveArms)
            .ambiguous_with(DriveArms)
            .run_if(has_the_arm(Operator::Policy))
            .run_if(resource_exists::<PolicyDriver>),
    );
    take_over::plugin(app);
    app.add_observer(|started: On<EpisodeStarted>, driver: Option<ResMut<PolicyDriver>>| {
        if let Some(mut driver) = driver {
            driver.forget();
            driver.nudge.restart(started.seed);
        }
    });
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
    let q_rad = arm.positions_rad(&states);
    let state = driver.units.to_lerobot(&q_rad);
    let moment = Arc::new(Moment { state, pictures });
    let moments = driver.spec.n_obs_steps.max(1);
    driver.history.push_back(moment.clone());
    while driver.history.len() < moments {
        driver.history.push_front(moment.clone());
    }
    while driver.history.len() > moments {
        driver.history.pop_front();
    }
    driver.think((episode.number, episode.seed), episode.tick, &order.text);
    match driver.queue.targets(episode.tick, driver.options.overlap.fading(&driver.spec)) {
        Some(targets) => {
            let mut command_rad = driver.units.to_rad(&targets);
            driver.nudge.add_to(&mut command_rad, &q_rad);
            arm.command(&mut commands, &command_rad);
        }
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
