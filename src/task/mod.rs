//! Tasks: what is scored, and what counts as done.

pub mod expert;
mod overlap;

pub use overlap::{convex_overlap_m2, tee_coverage};

use crate::config::{Pose2, Prop, PropShape, Scene, TaskConfig};
use crate::world::{PropBody, PropState, yaw_rad};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Vector;

/// An object slower than this is at rest, m/s.
const REST_SPEED_M_S: f32 = 0.005;
/// An object turning slower than this is at rest, rad/s.
const REST_SPIN_RAD_S: f32 = 0.10;
/// An object lies on the table if its centre is no higher than this above where it rests, m.
const LYING_M: f32 = 0.0015;
/// A tool point higher than this is clear of what lies on the table, m.
const CLEAR_HEIGHT_M: f64 = 0.035;
/// Coverage that is reported besides the one that counts as success: the published Push-T's criterion.
pub const STRICT_COVERAGE: f64 = 0.95;

/// Score of one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskScore {
    /// 0 to 1; what it means depends on the task.
    pub value: f64,
    /// Whether every condition of success holds in this tick.
    pub conditions_hold: bool,
    /// How long they must hold, s; `None` if the task cannot be done, as in free play.
    pub hold_s: Option<f64>,
    /// The conditions and whether each holds, for people.
    pub conditions: Vec<(&'static str, bool)>,
}

/// Scores the present state. `tool_height_m`: height of the point between the fingers.
pub fn judge_task(scene: &Scene, props: &Query<(&PropBody, &PropState)>, tool_height_m: f64) -> TaskScore {
    let find = |name: &str| props.iter().find(|(prop, _)| prop.spec.name == name);
    match &scene.task {
        TaskConfig::FreePlay => TaskScore::default(),
        TaskConfig::MoveT { block, goal, coverage, hold_s } => find(block).map_or_else(TaskScore::default, |found| {
            let value = coverage_of(found.0, found.1, *goal);
            conditions(*hold_s, value, [("covers the outline", value >= *coverage)], found, tool_height_m)
        }),
        TaskConfig::PickPlace { block, goal, size_m, hold_s } => {
            find(block).map_or_else(TaskScore::default, |found| {
                let outside_m = distance_outside_m(&found.0.spec, found.1, *goal, *size_m);
                // Full marks inside; half of them 5 cm short, so that progress shows from afar.
                let value = 1.0 / (1.0 + outside_m.max(0.0) / 0.05);
                conditions(*hold_s, value, [("inside the area", outside_m <= 0.0)], found, tool_height_m)
            })
        }
    }
}

fn conditions(
    hold_s: f64,
    value: f64,
    goal: [(&'static str, bool); 1],
    (prop, state): (&PropBody, &PropState),
    tool_height_m: f64,
) -> TaskScore {
    let motion = &state.motion;
    let upright = match prop.spec.shape {
        PropShape::Tee(_) => (motion.pose.rotation * Vector::Z).z > 0.999,
        PropShape::Block(..) | PropShape::Ball(_) => true,
    };
    let lying = upright && motion.pose.translation.z < prop.spec.shape.rest_height_m() as f32 + LYING_M;
    let still = motion.linear_m_s.length() < REST_SPEED_M_S && motion.angular_rad_s.length() < REST_SPIN_RAD_S;
    let clear = !state.touched && tool_height_m > CLEAR_HEIGHT_M;
    let conditions = vec![goal[0], ("at rest on the table", lying && still), ("gripper clear", clear)];
    let conditions_hold = conditions.iter().all(|(_, holds)| *holds);
    TaskScore { value, conditions_hold, hold_s: Some(hold_s), conditions }
}

fn coverage_of(prop: &PropBody, state: &PropState, goal: Pose2) -> f64 {
    let PropShape::Tee(tee) = prop.spec.shape else { return 0.0 };
    let pose = &state.motion.pose;
    let at = (f64::from(pose.translation.x), f64::from(pose.translation.y), yaw_rad(pose));
    tee_coverage(&tee, at, (goal.x_m, goal.y_m, goal.yaw_rad()))
}

/// How far the farthest corner of a prop's footprint is outside a rectangle, m; negative inside.
fn distance_outside_m(prop: &Prop, state: &PropState, goal: Pose2, size_m: (f64, f64)) -> f64 {
    let pose = &state.motion.pose;
    let (sin, cos) = goal.yaw_rad().sin_cos();
    prop.shape
        .footprint_m()
        .iter()
        .map(|(x, y)| {
            let corner = pose.transform_point(Vector::new(*x as f32, *y as f32, 0.0));
            let (dx, dy) = (f64::from(corner.x) - goal.x_m, f64::from(corner.y) - goal.y_m);
            let (along, across) = (cos * dx + sin * dy, -sin * dx + cos * dy);
            (along.abs() - 0.5 * size_m.0).max(across.abs() - 0.5 * size_m.1)
        })
        .fold(f64::NEG_INFINITY, f64::max)
}
