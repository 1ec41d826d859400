//! Replaying an episode: its recorded actions are sent again, and the arm's states compared with the recorded ones.

use crate::control::{Control, ControlSystems};
use crate::dataset::{Dataset, DatasetError, schema};
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

/// Commands to send, rad, one list a tick. When it is empty the arm holds its last target.
#[derive(Resource, Clone, Debug, Default)]
struct Script(VecDeque<Vec<f64>>);

/// Adds the operator that sends a script.
fn plugin(app: &mut App) {
    app.init_resource::<Script>();
    app.add_systems(
        Control,
        send.in_set(ControlSystems::Decide)
            .in_set(DriveArms)
            .ambiguous_with(DriveArms)
            .run_if(has_the_arm(Operator::Replay)),
    );
}

fn send(mut script: ResMut<Script>, arms: Query<&Arm>, mut commands: Query<&mut JointCommand>) {
    let Some(q_rad) = script.0.pop_front() else { return };
    for arm in &arms {
        arm.command(&mut commands, &q_rad);
    }
}

/// Replays a recording in `headless`, a fresh world in which [`Operator::Replay`] has the arm. It starts from the recorded
/// seed, or, where there is none or `other_seed` is given, glides to the first pose from another start.
///
/// # Errors
/// [`StartError`] if the scene allows no start.
pub fn replay(
    headless: &mut Headless,
    recording: &Recording,
    other_seed: Option<u64>,
) -> Result<ReplayReport, StartError> {
    let world = recording.world.clone().unwrap_or_default();
    replay_seen(headless, recording, other_seed, &world, &mut |_| {})
}

/// As [`replay`], in `seen`: the world of the recording, perhaps with other looks and joint zeros, in which the same things
/// happen. `each` is called after every row.
///
/// # Errors
/// [`StartError`] if the scene allows no start.
pub fn replay_seen(
    headless: &mut Headless,
    recording: &Recording,
    other_seed: Option<u64>,
    seen: &DrawnWorld,
    each: &mut dyn FnMut(&mut Headless),
) -> Result<ReplayReport, StartError> {
    if headless.app.world().get_resource::<Script>().is_none() {
        headless.app.add_plugins(plugin);
    }
    let world = headless.app.world_mut();
    world.resource_mut::<Randomiser>().worlds = Worlds::Given(Arc::new(seen.clone()));
    let arm = world.query::<&Arm>().iter(world).next().cloned();
    let arm = arm.ok_or_else(|| StartError::new(0, "there is no arm in the scene"))?;
    let units = JointUnits::new(&arm.model);
    let shift_rad = zero_shift_rad(recording, seen, &arm);
    let shifted = |q_rad: Vec<f64>| q_rad.iter().zip(&shift_rad).map(|(q, shift)| q + shift).collect::<Vec<f64>>();
    let actions: VecDeque<Vec<f64>> = recording.actions.iter().map(|row| shifted(units.to_rad(row))).collect();
    let (start, seed) = match (other_seed, recording.seed) {
        (None, Some(seed)) if recording.is_whole => (ReplayStart::Seed, seed),
        (other, seed) => (ReplayStart::Glide, other.or(seed).unwrap_or(0)),
    };
    // Starting makes the first tick, which is the recording's first row.
    if start == ReplayStart::Seed {
        headless.app.insert_resource(Script(actions));
        headless.start(seed)?;
    } else {
        headless.start(seed)?;
        if let Some(first) = recording.states.first() {
            glide(headless, &arm, &shifted(units.to_rad(first)));
        }
        headless.app.insert_resource(Script(actions));
        headless.tick();
    }
    let tick_rad = std::f64::consts::TAU / f64::from(arm.servo.ticks_per_turn);
    let mut report = ReplayReport {
        start,
        seed,
        rows: recording.states.len(),
        identical: true,
        first_difference: None,
        largest_difference: vec![0.0; units.names().len()],
        success: false,
        score: 0.0,
    };
    for (row, recorded) in recording.states.iter().enumerate() {
        if row > 0 {
            headless.tick();
        }
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
        each(headless);
    }
    let episode = headless.report();
    (report.success, report.score) = (episode.success, episode.score);
    Ok(report)
}

/// How much more each joint reports in the world `seen` than in the recording's, rad.
fn zero_shift_rad(recording: &Recording, seen: &DrawnWorld, arm: &Arm) -> Vec<f64> {
    let recorded = recording.world.as_ref().map(|world| world.arm()).unwrap_or_default();
    let (now, ticks_per_turn) = (seen.arm(), arm.servo.ticks_per_turn);
    let shift = |index| now.zero_rad(index, ticks_per_turn) - recorded.zero_rad(index, ticks_per_turn);
    (0..arm.joints.len()).map(shift).collect()
}

/// Moves the arm smoothly to the pose `q_rad` and lets it come to rest there.
fn glide(headless: &mut Headless, arm: &Arm, q_rad: &[f64]) {
    let lead = arm.gravity_lead_rad(q_rad, 0.0);
    let to: Vec<f64> = q_rad.iter().zip(&lead).map(|(q, lead)| q + lead).collect();
    let from = positions_rad(headless, |target: &JointTarget| target.position_rad);
    let tick_s = headless.app.world().resource::<crate::control::ControlRate>().tick_s();
    let way = from.iter().zip(&to).map(|(a, b)| (b - a).abs()).fold(0.0, f64::max);
    // A smooth step is half as fast again in its middle as on average.
    let ticks = (1.5 * way / (GLIDE_RAD_S * tick_s)).ceil().max(1.0) as usize;
    let pose = |tick: usize| {
        let t = tick as f64 / ticks as f64;
        let share = t * t * (3.0 - 2.0 * t);
        from.iter().zip(&to).map(|(a, b)| a + (b - a) * share).collect()
    };
    headless.app.insert_resource(Script((1..=ticks).map(pose).collect()));
    let rest_ticks = (REST_S / tick_s).ceil() as usize;
    (0..ticks + rest_ticks).for_each(|_| headless.tick());
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
