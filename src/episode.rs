//! Episodes: start, run, end. An episode is determined by scene, seed and operator; nothing else reaches it.

use crate::backend::servo::ServoJoint;
use crate::backend::sim::{self, BodyMotion, SimJoint};
use crate::camera::live::RealCameras;
use crate::camera::{CameraSensor, spawn_cameras};
use crate::control::{Control, ControlRate, ControlSystems};
use crate::robot::{Arm, ArmLimits, JointCommand, JointState, JointTarget, WorldPose};
use crate::task::expert::ExpertMemory;
use crate::task::{TaskScore, judge_task};
use crate::world::{ActiveScene, Order, PropBody, PropState, Start, set_up_world, spawn_props};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Vector};
use xxhash_rust::xxh3::Xxh3;

/// A joint target that differs by more than this from the one at the start is a movement, rad: one tenth of a degree more
/// than an encoder tick.
const MOVEMENT_RAD: f64 = 0.003;

/// The present episode.
#[derive(Resource)]
pub struct Episode {
    /// Seed of its start.
    pub seed: u64,
    /// Counts episodes since the program started.
    pub number: u64,
    /// Ticks since the start, whether or not the clock runs.
    pub tick: u64,
    /// Ticks on the clock.
    pub clock_ticks: u64,
    /// Where it stands.
    pub phase: EpisodePhase,
    /// Latest score.
    pub score: TaskScore,
    /// Highest score so far.
    pub best_score: f64,
    /// Consecutive ticks in which every condition of success held.
    held_ticks: u64,
    start_targets: Vec<f64>,
    divergence: Option<String>,
    digest: Xxh3,
}

/// Where an episode stands.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum EpisodePhase {
    /// Nothing has been started.
    #[default]
    Idle,
    /// The clock starts with the first movement.
    Ready,
    /// The clock runs.
    Running,
    /// It is over.
    Done(Outcome),
}

/// How an episode ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the task was done.
    pub success: bool,
    /// Why it ended.
    pub reason: EndReason,
    /// Score at the end.
    pub score: f64,
    /// Time on the clock, s.
    pub seconds: f64,
}

/// Why an episode ended.
#[derive(Clone, Debug, PartialEq)]
pub enum EndReason {
    /// The task was done.
    Success,
    /// Time was up.
    TimeLimit,
    /// The operator ended it.
    Stopped,
    /// The physics came apart.
    Diverged(String),
}

/// What shall happen at the beginning of the next tick.
#[derive(Resource, Clone, Debug, Default)]
pub struct EpisodeRequests {
    /// Change to this scene; takes effect together with `start`.
    pub scene: Option<ActiveScene>,
    /// Start an episode with this seed.
    pub start: Option<u64>,
    /// Where the next episode starts, instead of where its seed says; used once.
    pub start_at: Option<Start>,
    /// End the present one.
    pub stop: bool,
    /// The clock waits for the first movement, as people need; operators that start at once do without.
    pub wait_for_movement: bool,
}

/// Triggered when an episode has been set up, before its first tick.
#[derive(Event, Clone, Copy, Debug)]
pub struct EpisodeStarted {
    /// Its seed.
    pub seed: u64,
}

/// The entity that holds the physics world.
#[derive(Resource, Clone, Copy, Debug)]
pub struct PhysicsEntity(pub Entity);

/// Why the last requested episode could not start; shown instead of starting it.
#[derive(Resource, Clone, Debug, Default)]
pub struct EpisodeFault(pub Option<String>);

impl Default for Episode {
    fn default() -> Self {
        Self {
            seed: 0,
            number: 0,
            tick: 0,
            clock_ticks: 0,
            phase: EpisodePhase::Idle,
            score: TaskScore::default(),
            best_score: 0.0,
            held_ticks: 0,
            start_targets: Vec::new(),
            divergence: None,
            digest: Xxh3::new(),
        }
    }
}

impl Episode {
    /// Whether the physics came apart.
    pub fn diverged(&self) -> bool {
        self.divergence.is_some()
    }

    /// Notes that the physics came apart; the episode ends in this tick.
    pub fn report_divergence(&mut self, what: String) {
        self.divergence.get_or_insert(what);
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            EpisodePhase::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Hash over every joint and object state of every tick so far.
    pub fn digest(&self) -> u64 {
        self.digest.digest()
    }
}

/// Adds episodes.
pub fn plugin(app: &mut App) {
    app.init_resource::<Order>();
    app.init_resource::<Episode>().init_resource::<EpisodeRequests>().init_resource::<EpisodeFault>();
    app.add_systems(
        Control,
        (
            start_episode.in_set(ControlSystems::Reset).run_if(|r: Res<EpisodeRequests>| r.start.is_some()),
            judge.in_set(ControlSystems::Judge),
            hash_state.in_set(ControlSystems::Record),
        ),
    );
}

fn start_episode(world: &mut World) {
    let (seed, scene, wait, start_at) = {
        let mut requests = world.resource_mut::<EpisodeRequests>();
        let Some(seed) = requests.start.take() else { return };
        requests.stop = false;
        (seed, requests.scene.take(), requests.wait_for_movement, requests.start_at.take())
    };
    if let Some(scene) = scene {
        change_scene(world, scene);
    }
    let fault = set_up_episode(world, seed, wait, start_at).err();
    if fault.is_some() {
        world.resource_mut::<Episode>().phase = EpisodePhase::Idle;
    }
    world.resource_mut::<EpisodeFault>().0 = fault;
}

/// Replaces table and props; the arm stays.
fn change_scene(world: &mut World, scene: ActiveScene) {
    let old: Vec<Entity> =
        world.query_filtered::<Entity, Or<(With<PropBody>, With<CameraSensor>)>>().iter(world).collect();
    for entity in old {
        world.despawn(entity);
    }
    spawn_props(&mut world.commands(), &scene.scene);
    let real = world.resource::<RealCameras>().clone();
    spawn_cameras(&mut world.commands(), &scene.scene.cameras, &real);
    world.flush();
    world.insert_resource(scene);
}

fn set_up_episode(world: &mut World, seed: u64, wait: bool, start_at: Option<Start>) -> Result<(), String> {
    let physics = world.resource::<PhysicsEntity>().0;
    let mut arms = world.query::<(Entity, &Arm)>();
    let (entity, joints) = arms
        .iter(world)
        .next()
        .map(|(entity, arm)| (entity, arm.joints.clone()))
        .ok_or("there is no arm in the scene")?;
    // A real arm starts where it is: nothing can put it elsewhere.
    let real = joints.iter().any(|joint| world.get::<ServoJoint>(*joint).is_some());
    let mut start = set_up_world(world, entity, seed, start_at, !real)?;
    let arm = world.get::<Arm>(entity).cloned().ok_or("there is no arm in the scene")?;
    if real {
        let angle = |joint: &Entity| world.get::<JointState>(*joint).map_or(0.0, |state| state.position_rad);
        start.q_rad = arm.joints.iter().map(angle).collect();
    }
    let mut props: Vec<(usize, Entity)> =
        world.query::<(Entity, &PropBody)>().iter(world).map(|(entity, prop)| (prop.index, entity)).collect();
    props.sort_unstable();
    place(world, physics, &arm, &props, &start)?;
    let number = world.resource::<Episode>().number + 1;
    // The arm starts at rest: its targets hold it up against gravity.
    let lead = arm.gravity_lead_rad(&start.q_rad, 0.0);
    // What the joints report and are told is counted from zeros that may be off.
    let reported = |index: usize, q: f64| q + arm.zero_rad(index);
    let mut start_targets: Vec<f64> =
        start.q_rad.iter().zip(&lead).enumerate().map(|(index, (q, lead))| reported(index, q + lead)).collect();
    if real {
        let target = |joint: &Entity| world.get::<JointTarget>(*joint).map_or(0.0, |target| target.position_rad);
        start_targets = arm.joints.iter().map(target).collect();
    }
    for (index, joint) in arm.joints.iter().enumerate().filter(|_| !real) {
        let target = start_targets[index];
        world.entity_mut(*joint).insert((
            JointState { position_rad: reported(index, start.q_rad[index]), ..JointState::default() },
            JointCommand { position_rad: target },
            JointTarget { position_rad: target },
        ));
    }
    if !real && let Some(mut limits) = world.get_mut::<ArmLimits>(entity) {
        // A new world: nothing of the last one is felt in it.
        limits.start_over();
    }
    *world.resource_mut::<Episode>() = Episode {
        seed,
        number,
        phase: if wait { EpisodePhase::Ready } else { EpisodePhase::Running },
        start_targets,
        ..default()
    };
    debug!("episode {number}, seed {seed}: {start:?}");
    world.insert_resource(start.order);
    world.insert_resource(ExpertMemory::default());
    world.trigger(EpisodeStarted { seed });
    Ok(())
}

/// Puts arm and props where the start wants them.
fn place(
    world: &mut World,
    physics: Entity,
    arm: &Arm,
    props: &[(usize, Entity)],
    start: &Start,
) -> Result<(), String> {
    let still = |pose: Pose| BodyMotion { pose, linear_m_s: Vector::ZERO, angular_rad_s: Vector::ZERO };
    let motions: Vec<(Entity, BodyMotion)> =
        props.iter().map(|(index, entity)| (*entity, still(start.props[*index]))).collect();
    let there: Vec<(usize, Entity, BodyMotion)> = props
        .iter()
        .zip(&motions)
        .filter(|((index, _), _)| start.present.get(*index).copied().unwrap_or(true))
        .map(|((index, _), (entity, motion))| (*index, *entity, *motion))
        .collect();
    sim::rebuild(world, physics, &start.q_rad, &there).map_err(|error| error.to_string())?;
    for (entity, motion) in motions {
        world.entity_mut(entity).insert((PropState { motion, touched: false }, WorldPose::at(motion.pose)));
    }
    for (link, pose) in arm.links.iter().zip(arm.model.link_poses(&start.q_rad)) {
        let pose = Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat());
        world.entity_mut(*link).insert(WorldPose::at(pose));
    }
    Ok(())
}

fn judge(
    rate: Res<ControlRate>,
    scene: Option<Res<ActiveScene>>,
    order: Res<Order>,
    mut requests: ResMut<EpisodeRequests>,
    mut episode: ResMut<Episode>,
    arms: Query<&Arm>,
    states: Query<&JointState>,
    targets: Query<&JointTarget>,
    props: Query<(&PropBody, &PropState)>,
) {
    let (Some(scene), Some(arm)) = (scene, arms.iter().next()) else { return };
    if episode.phase == EpisodePhase::Ready {
        let moved = arm.joints.iter().zip(&episode.start_targets).any(|(joint, start)| {
            targets.get(*joint).is_ok_and(|target| (target.position_rad - start).abs() > MOVEMENT_RAD)
        });
        if moved {
            episode.phase = EpisodePhase::Running;
        }
    }
    let tool_height_m = {
        let q = arm.true_positions_rad(&states);
        arm.model.tool_pose(&q, &arm.tool).translation.z
    };
    let score = judge_task(&scene.scene, &order, &props, tool_height_m);
    episode.score = score.clone();
    if episode.phase != EpisodePhase::Running {
        return;
    }
    episode.clock_ticks += 1;
    episode.best_score = episode.best_score.max(score.value);
    episode.held_ticks = if score.conditions_hold { episode.held_ticks + 1 } else { 0 };
    let seconds = episode.clock_ticks as f64 * rate.tick_s();
    let held_s = episode.held_ticks as f64 * rate.tick_s();
    let reason = if let Some(what) = episode.divergence.clone() {
        EndReason::Diverged(what)
    } else if score.hold_s.is_some_and(|hold_s| score.conditions_hold && held_s >= hold_s) {
        EndReason::Success
    } else if requests.stop {
        EndReason::Stopped
    } else if seconds >= scene.scene.time_limit_s {
        EndReason::TimeLimit
    } else {
        return;
    };
    requests.stop = false;
    let success = reason == EndReason::Success;
    episode.phase = EpisodePhase::Done(Outcome { success, reason, score: score.value, seconds });
}

/// Adds this tick's joint and object states to the digest and counts the tick.
pub(crate) fn hash_state(
    mut episode: ResMut<Episode>,
    arms: Query<&Arm>,
    joints: Query<(&JointState, Option<&SimJoint>)>,
    mut props: Query<(&PropBody, &PropState)>,
) {
    let mut bytes = Vec::with_capacity(512);
    let mut put = |value: f32| bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    for arm in &arms {
        for joint in &arm.joints {
            let Ok((state, sim)) = joints.get(*joint) else { continue };
            match sim {
                Some(sim) => [sim.angle_rad, sim.velocity_rad_s].into_iter().for_each(&mut put),
                None => put(state.position_rad as f32),
            }
        }
    }
    for (_, state) in props.iter_mut().sort_by_key::<&PropBody, _>(|prop| prop.index) {
        let BodyMotion { pose, linear_m_s, angular_rad_s } = state.motion;
        let parts = [pose.translation, linear_m_s, angular_rad_s];
        parts.iter().flat_map(|v| v.to_array()).chain(pose.rotation.to_array()).for_each(&mut put);
    }
    episode.digest.update(&bytes);
    episode.tick += 1;
}
