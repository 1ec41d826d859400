//! Replaying an episode: its recorded actions are sent again, and the arm's states compared with the recorded ones.

use crate::backend::servo::{ServoArm, ServoHealth};
use crate::bus::state::Mode;
use crate::control::{Control, ControlRate, ControlSystems};
use crate::dataset::{Dataset, DatasetError, schema};
use crate::episode::EpisodeStarted;
use crate::headless::{Headless, StartError};
use crate::joint_units::JointUnits;
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::record;
use crate::robot::{Arm, JointCommand, JointState, JointTarget};
use crate::world::{DrawnWorld, Randomiser, Worlds};
use bevy::prelude::*;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use thiserror::Error;

/// Fastest joint while the arm glides to the first pose, rad/s.
const GLIDE_RAD_S: f64 = 0.8;
/// Time for the arm to come to rest after gliding, s.
const REST_S: f64 = 0.3;
/// Ticks after which an arm that does not come to its first pose is given up.
const MOST_TICKS_BEFORE: usize = 2000;

/// Why an episode cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The dataset was recorded with other joints.
    #[error("{root}: it has the joints {recorded}, the arm has {present}; name the arm with --arm or --urdf")]
    Joints {
        /// The dataset.
        root: String,
        /// Joints of the dataset.
        recorded: String,
        /// Joints of the arm.
        present: String,
    },
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The scene cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// An episode to replay, in LeRobot's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Measured joint positions, one list a row.
    pub states: Vec<Vec<f32>>,
    /// Targets that were sent.
    pub actions: Vec<Vec<f32>>,
    /// The seed it began with; `None` where that is unknown.
    pub seed: Option<u64>,
    /// Whether its first row is the first tick of that seed; false when its beginning was cut off.
    pub is_whole: bool,
    /// The world it happened in; `None`: the scene as its file has it.
    pub world: Option<DrawnWorld>,
}

impl Recording {
    /// Reads an episode.
    ///
    /// # Errors
    /// When there is no such episode, or its files are damaged.
    pub fn read(dataset: &Dataset, episode: usize) -> Result<Self, DatasetError> {
        let found = dataset.episode(episode)?;
        let (states, actions) = (dataset.rows(schema::STATE)?, dataset.rows(schema::ACTION)?);
        let has_clock = dataset.info().feature(schema::extra::CAPTURE).is_some();
        let clock = if has_clock { dataset.scalars(schema::extra::CAPTURE)? } else { Vec::new() };
        // The simulation's clock begins at 0 with the episode; a trimmed episode's first row has another time.
        let is_whole = clock.get(found.from).is_some_and(|seconds| *seconds == 0.0);
        Ok(Self {
            states: found.rows().map(|row| states.row(row).to_vec()).collect(),
            actions: found.rows().map(|row| actions.row(row).to_vec()).collect(),
            seed: record::seeds(dataset)?.get(episode).copied().flatten(),
            is_whole,
            world: record::worlds(dataset)?.get(episode).cloned().flatten(),
        })
    }
}

/// How a replay began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStart {
    /// From the recorded seed: everything stands as it stood.
    Seed,
    /// From another start, gliding to the first pose.
    Glide,
}

/// How a replay went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayReport {
    /// How it began.
    pub start: ReplayStart,
    /// Seed of the start.
    pub seed: u64,
    /// Rows sent.
    pub rows: usize,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Whether every state was the recorded one, bit for bit.
    pub identical: bool,
    /// First row with another state.
    pub first_difference: Option<usize>,
    /// Largest difference of each joint's state from the recorded one, degrees (the gripper: 0 to 100).
    pub largest_difference: Vec<f32>,
    /// Whether the task was done.
    pub success: bool,
    /// Score at the end.
    pub score: f64,
}

/// What is sent in a tick: joint angles, rad, or nothing, so that the arm holds.
type Sent = Option<Vec<f64>>;

/// Plays a recording to the arm, from the start of each episode on; when it is through, the arm holds its last target.
#[derive(Resource, Clone, Debug)]
pub struct Player {
    /// Recorded actions, rad.
    actions: Vec<Vec<f64>>,
    /// Recorded first pose, rad.
    first: Vec<f64>,
    /// The seed from which it need not glide.
    exact_seed: Option<u64>,
    queue: VecDeque<Sent>,
    /// An episode has started: the way to the first pose is still to be found.
    glides: bool,
    /// Rows sent since.
    rows: usize,
}

impl Player {
    /// A player for the arm of a world, whose joints report `shift_rad` more than the recording's did (missing ones 0);
    /// `always_glides` even where the recorded start can be had again.
    pub fn new(recording: &Recording, units: &JointUnits, shift_rad: &[f64], always_glides: bool) -> Self {
        let to_rad = |row: &Vec<f32>| {
            let mut q_rad = units.to_rad(row);
            q_rad.iter_mut().zip(shift_rad).for_each(|(q, shift)| *q += shift);
            q_rad
        };
        Self {
            actions: recording.actions.iter().map(to_rad).collect(),
            first: recording.states.first().map(to_rad).unwrap_or_default(),
            exact_seed: recording.seed.filter(|_| recording.is_whole && !always_glides),
            queue: VecDeque::new(),
            glides: false,
            rows: 0,
        }
    }

    /// Rows sent since the episode started.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn restart(&mut self, seed: u64) {
        self.glides = self.exact_seed != Some(seed);
        self.queue = self.actions.iter().cloned().map(Some).collect();
        self.rows = 0;
    }

    /// Puts the way from the present targets to the first pose, and a rest there, before the actions.
    fn glide(&mut self, arm: &Arm, from: &[f64], tick_s: f64) {
        self.glides = false;
        if self.first.len() != from.len() {
            return;
        }
        let lead = arm.gravity_lead_rad(&arm.true_rad(&self.first), 0.0);
        let to: Vec<f64> = self.first.iter().zip(&lead).map(|(q, lead)| q + lead).collect();
        let way = from.iter().zip(&to).map(|(a, b)| (b - a).abs()).fold(0.0, f64::max);
        // A smooth step is half as fast again in its middle as on average.
        let ticks = (1.5 * way / (GLIDE_RAD_S * tick_s)).ceil().max(1.0) as usize;
        let pose = |tick: usize| {
            let t = tick as f64 / ticks as f64;
            let share = t * t * (3.0 - 2.0 * t);
            Some(from.iter().zip(&to).map(|(a, b)| a + (b - a) * share).collect())
        };
        let rest_ticks = (REST_S / tick_s).ceil() as usize;
        let before = (1..=ticks).map(pose).chain(std::iter::repeat_n(None, rest_ticks));
        self.queue = before.chain(std::mem::take(&mut self.queue)).collect();
    }
}

/// Adds the operator that plays; it waits for a [`Player`].
pub fn plugin(app: &mut App) {
    app.add_systems(
        Control,
        send.in_set(ControlSystems::Decide)
            .in_set(DriveArms)
            .ambiguous_with(DriveArms)
            .run_if(has_the_arm(Operator::Replay).and_then(resource_exists::<Player>)),
    );
    app.add_observer(|started: On<EpisodeStarted>, player: Option<ResMut<Player>>| {
        if let Some(mut player) = player {
            player.restart(started.seed);
        }
    });
}

fn send(
    mut player: ResMut<Player>,
    rate: Res<ControlRate>,
    real: Option<Res<ServoArm>>,
    health: Option<Res<ServoHealth>>,
    arms: Query<&Arm>,
    targets: Query<&JointTarget>,
    mut commands: Query<&mut JointCommand>,
) {
    // A real arm first gets its torque.
    let follows = health.is_some_and(|health| matches!(health.mode, Mode::Following | Mode::Holding));
    if real.is_some() && !follows {
        return;
    }
    let Some(arm) = arms.iter().next() else { return };
    if player.glides {
        let from: Vec<f64> = arm.joints.iter().filter_map(|j| targets.get(*j).ok()).map(|t| t.position_rad).collect();
        player.glide(arm, &from, rate.tick_s());
    }
    let Some(sent) = player.queue.pop_front() else { return };
    if player.queue.len() < player.actions.len() {
        player.rows += 1;
    }
    if let Some(q_rad) = sent {
        arm.command(&mut commands, &q_rad);
    }
}

/// Replays a recording in `headless`, a fresh world in which [`Operator::Replay`] has the arm. It starts from the recorded
/// seed, or, where there is none, `other_seed` is given or the arm is a real one, glides to the first pose from where it is.
/// `stops` is asked every tick.
///
/// # Errors
/// [`StartError`] if the scene allows no start.
pub fn replay(
    headless: &mut Headless,
    recording: &Recording,
    other_seed: Option<u64>,
    mut stops: impl FnMut() -> bool,
) -> Result<ReplayReport, StartError> {
    let seen = recording.world.clone().unwrap_or_default();
    replay_seen(headless, recording, other_seed, &seen, &mut stops, &mut |_, _| {})
}

/// The same, to its end; `watch` sees the world after the tick of every row.
///
/// # Errors
/// [`StartError`] if the scene allows no start.
pub fn replay_watched(
    headless: &mut Headless,
    recording: &Recording,
    other_seed: Option<u64>,
    mut watch: impl FnMut(&mut Headless, usize),
) -> Result<ReplayReport, StartError> {
    let seen = recording.world.clone().unwrap_or_default();
    replay_seen(headless, recording, other_seed, &seen, &mut || false, &mut watch)
}

/// As [`replay`] and [`replay_watched`], in `seen`: the world of the recording, perhaps with other looks and joint zeros, in
/// which the same things happen. It may be called again in the same `headless`.
///
/// # Errors
/// [`StartError`] if the scene allows no start.
pub fn replay_seen(
    headless: &mut Headless,
    recording: &Recording,
    other_seed: Option<u64>,
    seen: &DrawnWorld,
    stops: &mut dyn FnMut() -> bool,
    watch: &mut dyn FnMut(&mut Headless, usize),
) -> Result<ReplayReport, StartError> {
    if !headless.app.world().contains_resource::<Player>() {
        headless.app.add_plugins(plugin);
    }
    let world = headless.app.world_mut();
    let is_real = world.contains_resource::<ServoArm>();
    // A real arm is what it is; its zeros are where they should be.
    let seen = if is_real { DrawnWorld::default() } else { seen.clone() };
    world.resource_mut::<Randomiser>().worlds = Worlds::Given(Arc::new(seen.clone()));
    let arm = world.query::<&Arm>().iter(world).next().cloned();
    let arm = arm.ok_or_else(|| StartError::new(0, "there is no arm in the scene"))?;
    let units = JointUnits::new(&arm.model);
    let shift_rad = zero_shift_rad(recording, &seen, arm.joints.len(), arm.servo.ticks_per_turn);
    let seed = other_seed.or(recording.seed).unwrap_or(0);
    let player = Player::new(recording, &units, &shift_rad, is_real || other_seed.is_some());
    let start = if player.exact_seed == Some(seed) { ReplayStart::Seed } else { ReplayStart::Glide };
    world.insert_resource(player);
    let sent = |headless: &Headless| headless.app.world().resource::<Player>().rows();
    // Starting makes the first tick.
    headless.start(seed)?;
    let mut ticks = 0;
    while sent(headless) == 0 && !recording.actions.is_empty() && ticks < MOST_TICKS_BEFORE && !stops() {
        if headless.arm_has_ended() {
            break;
        }
        headless.tick();
        ticks += 1;
    }
    let tick_rad = std::f64::consts::TAU / f64::from(arm.servo.ticks_per_turn);
    let mut report = ReplayReport {
        start,
        seed,
        rows: 0,
        stopped: false,
        identical: true,
        first_difference: None,
        largest_difference: vec![0.0; units.names().len()],
        success: false,
        score: 0.0,
    };
    for (row, recorded) in recording.states.iter().enumerate() {
        if sent(headless) == 0 || headless.arm_has_ended() || stops() {
            report.stopped = true;
            report.identical = false;
            break;
        }
        if row > 0 {
            headless.tick();
        }
        report.rows += 1;
        let mut state_rad = positions_rad(headless, |joint: &JointState| joint.position_rad);
        for (q, shift) in state_rad.iter_mut().zip(&shift_rad).filter(|(_, shift)| **shift != 0.0) {
            // Counted from the recording's zero again, in whole ticks as there.
            *q = ((*q - shift) / tick_rad).round() * tick_rad;
        }
        let state = units.to_lerobot(&state_rad);
        if state != *recorded {
            report.identical = false;
            report.first_difference.get_or_insert(row);
        }
        for (largest, (a, b)) in report.largest_difference.iter_mut().zip(state.iter().zip(recorded)) {
            *largest = largest.max((a - b).abs());
        }
        watch(headless, row);
    }
    let episode = headless.report();
    (report.success, report.score) = (episode.success, episode.score);
    Ok(report)
}

/// How much more each of an arm's joints reports in the world `seen` than in the recording's, rad, with encoders of
/// `ticks_per_turn`.
pub fn zero_shift_rad(recording: &Recording, seen: &DrawnWorld, joints: usize, ticks_per_turn: u32) -> Vec<f64> {
    let recorded = recording.world.as_ref().map(|world| world.arm()).unwrap_or_default();
    let now = seen.arm();
    let shift = |index| now.zero_rad(index, ticks_per_turn) - recorded.zero_rad(index, ticks_per_turn);
    (0..joints).map(shift).collect()
}

/// A value of each joint of the first arm.
fn positions_rad<C: Component>(headless: &mut Headless, of: impl Fn(&C) -> f64) -> Vec<f64> {
    let world = headless.app.world_mut();
    let joints = world.query::<&Arm>().iter(world).next().map_or(Vec::new(), |arm| arm.joints.clone());
    joints.iter().filter_map(|joint| world.get::<C>(*joint).map(&of)).collect()
}

/// Whether the dataset's joints are those of the arm.
///
/// # Errors
/// [`ReplayError::Joints`] when they are not.
pub fn check_joints(dataset: &Dataset, units: &JointUnits) -> Result<(), ReplayError> {
    let names = dataset.info().feature(schema::ACTION).map(|feature| feature.names.clone()).unwrap_or_default();
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    if units.names().iter().eq(&names) {
        return Ok(());
    }
    Err(ReplayError::Joints {
        root: dataset.root().display().to_string(),
        recorded: if names.is_empty() { "none".into() } else { names.join(", ") },
        present: units.names().join(", "),
    })
}
