//! Scripted experts: they see the true state of the simulation, and act through the same joint commands as a person.

mod grip;

pub use grip::{GripJob, GripPhase, grip_and_place};

use crate::config::{PropShape, Scene, TaskConfig};
use crate::control::{Control, ControlSystems};
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::robot::{Arm, JointCommand, JointState};
use crate::world::{ActiveScene, PropBody, PropState};
use bevy::prelude::*;

/// How fast experts go: 1 is the pace of a practised person.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct ExpertSpeed(pub f64);

impl Default for ExpertSpeed {
    fn default() -> Self {
        Self(1.0)
    }
}

/// Adds the experts.
pub fn plugin(app: &mut App) {
    app.init_resource::<ExpertSpeed>();
    app.add_systems(
        Control,
        drive
            .in_set(ControlSystems::Decide)
            .in_set(DriveArms)
            .ambiguous_with(DriveArms)
            .run_if(has_the_arm(Operator::Scripted)),
    );
}

/// The job of a scene's expert, and the prop it is about; `None` where a scene has nothing to do.
pub fn job_of(scene: &Scene) -> Option<(&str, GripJob)> {
    match &scene.task {
        TaskConfig::FreePlay => None,
        TaskConfig::MoveT { block, goal, .. } => {
            let PropShape::Tee(tee) = scene.props.iter().find(|prop| prop.name == *block)?.shape else { return None };
            let job = GripJob {
                goal_m: (goal.x_m, goal.y_m),
                goal_yaw_rad: Some(goal.yaw_rad()),
                // On the stem, close to the centre of mass, clear of the bar.
                grip_m: (0.0, tee.centroid_m() - 1.7 * tee.stroke_m),
                grip_height_m: 0.6 * tee.height_m,
                half_width_m: 0.5 * tee.stroke_m,
                rest_height_m: 0.5 * tee.height_m,
                turn_symmetry: 2,
                lift_m: 0.020,
                release_within_m: 0.0025,
                placed_within_m: 0.0045,
            };
            Some((block, job))
        }
        TaskConfig::PickPlace { block, goal, .. } => {
            let prop = scene.props.iter().find(|prop| prop.name == *block)?;
            let (half_width_m, rest_height_m) = match prop.shape {
                PropShape::Block(x, _, z) => (0.5 * x, 0.5 * z),
                PropShape::Ball(radius) => (radius, radius),
                PropShape::Tee(_) => return None,
            };
            let job = GripJob {
                goal_m: (goal.x_m, goal.y_m),
                goal_yaw_rad: None,
                grip_m: (0.0, 0.0),
                grip_height_m: rest_height_m,
                half_width_m,
                rest_height_m,
                turn_symmetry: 4,
                lift_m: 0.040,
                release_within_m: 0.005,
                placed_within_m: 0.013,
            };
            Some((block, job))
        }
    }
}

fn drive(
    scene: Res<ActiveScene>,
    speed: Res<ExpertSpeed>,
    arms: Query<&Arm>,
    states: Query<&JointState>,
    props: Query<(&PropBody, &PropState)>,
    mut commands: Query<&mut JointCommand>,
) {
    let Some((block, job)) = job_of(&scene.scene) else { return };
    let Some((prop, state)) = props.iter().find(|(prop, _)| prop.spec.name == block) else { return };
    for arm in &arms {
        let q = arm.true_positions_rad(&states);
        let (command, _) = grip_and_place(arm, &job, &q, &state.motion.pose, prop.spec.mass_kg, speed.0);
        arm.command_true(&mut commands, &command);
    }
}
