//! Scripted experts: they see the true state of the simulation, and act through the same joint commands as a person.

mod grip;
mod jobs;
mod push;

pub use grip::{
    GripJob, GripPhase, GripPlace, GripSide, HandMove, grip_and_place, grip_phase, move_hand_to, place_in_hand,
};
pub use jobs::{has_job, job_now, job_of};
pub use push::{PushJob, PushMemory, push_to_goal};

use crate::config::{PropShape, Scene, TaskConfig};
use crate::control::{Control, ControlRate, ControlSystems};
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::robot::{Arm, JointCommand, JointState};
use crate::world::{ActiveScene, Order, PropBody, PropState};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Rotation};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How fast experts go: 1 is the pace of a practised person.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct ExpertSpeed(pub f64);

impl Default for ExpertSpeed {
    fn default() -> Self {
        Self(1.0)
    }
}

/// Which expert does the task.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expert {
    /// Grips, carries, sets down; has no memory.
    #[default]
    Place,
    /// Pushes a T over the table with closed fingers; remembers the push it is at.
    Push,
}

/// What an expert remembers from tick to tick: part of the state of an episode, to be saved and restored with the world.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub struct ExpertMemory {
    /// Of the pushing expert; the gripping one has none.
    pub push: PushMemory,
}

impl Expert {
    /// Whether this expert can do a scene's task.
    pub fn can_do(self, scene: &Scene) -> bool {
        match self {
            Self::Place => has_job(scene),
            Self::Push => push_job(scene).is_some(),
        }
    }
}

/// The T of a scene and where it shall be pushed.
fn push_job(scene: &Scene) -> Option<(usize, PushJob)> {
    let TaskConfig::MoveT { block, goal, coverage, .. } = &scene.task else { return None };
    let index = scene.props.iter().position(|prop| prop.name == *block)?;
    let PropShape::Tee(tee) = scene.props[index].shape else { return None };
    let goal = (goal.x_m, goal.y_m, goal.yaw_rad());
    Some((index, PushJob { tee, goal, coverage: *coverage }))
}

/// What an expert sees.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The scene.
    pub scene: &'a Scene,
    /// What the episode asks for.
    pub order: &'a Order,
    /// The arm.
    pub arm: &'a Arm,
    /// Its measured joint angles, rad.
    pub q_rad: &'a [f64],
    /// Poses of all props, in the scene's order.
    pub props: &'a [Pose],
    /// Length of a control tick, s.
    pub tick_s: f64,
}

/// Joint command, rad, of an expert at a pace; `None` where the scene has nothing for it to do. An expert that cannot do
/// the task leaves it to the one that grips.
pub fn advise(now: &Situation, expert: Expert, speed: ExpertSpeed, memory: &mut ExpertMemory) -> Option<Vec<f64>> {
    let &Situation { scene, order, arm, q_rad, props, tick_s } = now;
    if expert == Expert::Push
        && let Some((index, job)) = push_job(scene)
    {
        let pose = props.get(index)?;
        return Some(push_to_goal(arm, &job, q_rad, pose, speed.0, tick_s, &mut memory.push));
    }
    let (index, job) = job_now(scene, order, arm, q_rad, props)?;
    let (prop, mut pose) = (scene.props.get(index)?, *props.get(index)?);
    if matches!(prop.shape, PropShape::Ball(_)) {
        // However far it has rolled, a ball looks the same.
        pose.rotation = Rotation::IDENTITY;
    }
    Some(grip_and_place(arm, &job, q_rad, &pose, prop.mass_kg, speed.0).0)
}

/// Adds the experts.
pub fn plugin(app: &mut App) {
    app.init_resource::<ExpertSpeed>().init_resource::<Expert>().init_resource::<ExpertMemory>();
    app.add_systems(
        Control,
        drive
            .in_set(ControlSystems::Decide)
            .in_set(DriveArms)
            .ambiguous_with(DriveArms)
            .run_if(has_the_arm(Operator::Scripted)),
    );
}

/// How the gripping expert sees a state: what it is about, and where its object is in the hand.
pub fn view(now: &Situation) -> Option<(GripPhase, GripPlace)> {
    let (index, job) = job_now(now.scene, now.order, now.arm, now.q_rad, now.props)?;
    let mut pose = *now.props.get(index)?;
    if matches!(now.scene.props.get(index)?.shape, PropShape::Ball(_)) {
        pose.rotation = Rotation::IDENTITY;
    }
    Some((grip_phase(now.arm, &job, now.q_rad, &pose), place_in_hand(now.arm, &job, now.q_rad, &pose)))
}

fn drive(
    scene: Res<ActiveScene>,
    order: Res<Order>,
    rate: Res<ControlRate>,
    expert: Res<Expert>,
    speed: Res<ExpertSpeed>,
    mut memory: ResMut<ExpertMemory>,
    arms: Query<&Arm>,
    states: Query<&JointState>,
    bodies: Query<(&PropBody, &PropState)>,
    mut commands: Query<&mut JointCommand>,
) {
    let mut props = vec![Pose::IDENTITY; scene.scene.props.len()];
    for (body, state) in &bodies {
        if let Some(pose) = props.get_mut(body.index) {
            *pose = state.motion.pose;
        }
    }
    for arm in &arms {
        let q = arm.true_positions_rad(&states);
        let now =
            Situation { scene: &scene.scene, order: &order, arm, q_rad: &q, props: &props, tick_s: rate.tick_s() };
        if let Some(command) = advise(&now, *expert, *speed, &mut memory) {
            arm.command_true(&mut commands, &command);
        }
    }
}
