//! Where an episode starts: arm and props drawn from the scene's ranges, reproducibly from one seed.

use super::order::{Order, draw_order};
use crate::arm::{ArmModel, DVec3, IkSettings, IkTarget};
use crate::config::{Scene, Spawn};
use bevy_rapier3d::rapier::math::{Pose, Rotation, Vector};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

/// Draws before a scene is called impossible.
const ATTEMPTS: usize = 10_000;
/// Times all props are drawn anew because the first ones leave no place for the others.
const ARRANGEMENTS: usize = 100;
/// Where a prop is that is not on the table in an episode: far below it.
const ABSENT_M: f32 = -5.0;

/// No start could be drawn.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The ranges of a prop leave no place for it.
    #[error(
        "scene \"{scene}\": props.{prop}.start: no pose out of {ATTEMPTS} keeps its corners within reach_m and its distance \
         apart_m; widen x_m and y_m or relax reach_m and apart_m"
    )]
    Prop {
        /// The scene's title.
        scene: String,
        /// The prop.
        prop: String,
    },
    /// The arm cannot reach its start.
    #[error(
        "scene \"{scene}\": arm_start: none of {ATTEMPTS} drawn tool points can be reached by \"{robot}\"; move x_m, y_m \
         and z_m nearer to the arm"
    )]
    Arm {
        /// The scene's title.
        scene: String,
        /// The robot.
        robot: String,
    },
}

/// The start of an episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Joint angles, rad.
    pub q_rad: Vec<f64>,
    /// Pose of every prop, in the scene's order.
    pub props: Vec<Pose>,
    /// Which of them are on the table; the others are no part of the episode.
    pub present: Vec<bool>,
    /// What the episode asks for.
    pub order: Order,
}

/// Draws the start that belongs to `seed`.
///
/// # Errors
/// [`SpawnError`] if the scene's ranges allow none.
pub fn sample_start(scene: &Scene, model: &ArmModel, seed: u64) -> Result<Start, SpawnError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let q_rad = sample_arm(scene, model, &mut rng)?;
    let pan_axis = pan_axis_m(model);
    let (present, order) = draw_order(scene, seed);
    let mut arranged = None;
    let mut missing = String::new();
    for _ in 0..ARRANGEMENTS {
        match arrange(scene, &present, pan_axis, &mut rng) {
            Ok(props) => {
                arranged = Some(props);
                break;
            }
            Err(prop) => missing = prop,
        }
        // One prop alone has nothing to blame but its ranges.
        if scene.props.len() < 2 {
            break;
        }
    }
    let props = arranged.ok_or_else(|| SpawnError::Prop { scene: scene.title.clone(), prop: missing })?;
    Ok(Start { q_rad, props, present, order })
}

/// Draws a place for every prop that is present; the error is the name of the first that found none.
fn arrange(scene: &Scene, present: &[bool], pan_axis: (f64, f64), rng: &mut ChaCha8Rng) -> Result<Vec<Pose>, String> {
    let goals = scene.task.goals_m();
    let attempts = if scene.props.len() > 1 { ATTEMPTS / 10 } else { ATTEMPTS };
    let mut centres: Vec<(f64, f64)> = Vec::new();
    let mut props = Vec::new();
    for (prop, present) in scene.props.iter().zip(present) {
        if !present {
            props.push(Pose::from_translation(Vector::new(0.0, 0.0, ABSENT_M)));
            continue;
        }
        let corners = prop.shape.footprint_m();
        let found = (0..attempts).find_map(|_| {
            let (x, y, yaw) = draw(&prop.start, rng);
            let (sin, cos) = yaw.sin_cos();
            let reachable = corners.iter().all(|(cx, cy)| {
                let (px, py) = (x + cos * cx - sin * cy - pan_axis.0, y + sin * cx + cos * cy - pan_axis.1);
                let reach = px.hypot(py);
                // Behind the pan axis the base is in the way.
                reach >= prop.start.reach_m.0 && reach <= prop.start.reach_m.1 && py < -0.04
            });
            let apart = centres.iter().chain(&goals).all(|(ox, oy)| (x - ox).hypot(y - oy) >= prop.start.apart_m);
            (reachable && apart).then_some((x, y, yaw))
        });
        let (x, y, yaw) = found.ok_or_else(|| prop.name.clone())?;
        centres.push((x, y));
        let place = Vector::new(x as f32, y as f32, prop.shape.rest_height_m() as f32);
        props.push(Pose::from_parts(place, Rotation::from_rotation_z(yaw as f32)));
    }
    Ok(props)
}

/// Tilt of the fingers from straight down that an arm of this reach needs at distance `reach_m` from its pan axis: none
/// near by, up to half a radian outwards where the wrist's limit stops a vertical hand.
pub fn outward_tilt_rad(reach_m: f64) -> f64 {
    ((reach_m - 0.235) * 6.0).clamp(0.0, 0.5)
}

/// Where the first joint's axis stands on the table, m.
pub fn pan_axis_m(model: &ArmModel) -> (f64, f64) {
    let pose = model.joints.first().map(|joint| model.link_pose(&vec![0.0; model.joints.len()], joint.link));
    pose.map_or((0.0, 0.0), |pose| (pose.translation.x, pose.translation.y))
}

fn uniform(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    low + rng.random::<f64>() * (high - low)
}

fn draw(spawn: &Spawn, rng: &mut ChaCha8Rng) -> (f64, f64, f64) {
    (uniform(rng, spawn.x_m), uniform(rng, spawn.y_m), uniform(rng, spawn.yaw_deg).to_radians())
}

fn sample_arm(scene: &Scene, model: &ArmModel, rng: &mut ChaCha8Rng) -> Result<Vec<f64>, SpawnError> {
    let start = &scene.arm_start;
    let tool = model.hand_tool();
    let gripper = model.gripper_joint();
    let roll = model.links[model.hand_link()].joint;
    let pan_axis = pan_axis_m(model);
    let settings = IkSettings::default();
    for _ in 0..ATTEMPTS {
        let position = DVec3::new(uniform(rng, start.x_m), uniform(rng, start.y_m), uniform(rng, start.z_m));
        let roll_rad = uniform(rng, start.roll_deg).to_radians();
        let gripper_rad = uniform(rng, start.gripper_deg).to_radians();
        let outward = DVec3::new(position.x - pan_axis.0, position.y - pan_axis.1, 0.0);
        let (sin, cos) = outward_tilt_rad(outward.length()).sin_cos();
        let approach = DVec3::NEG_Z * cos + outward.normalize_or_zero() * sin;
        // Elbow up, hand down: where an SO-100 stands when it works on the table. Other arms are pulled from there.
        let mut seed = [0.0, 0.1, 0.1, 1.3, 0.0, 0.0];
        seed[0] = outward.x.atan2(-outward.y);
        let mut q: Vec<f64> = seed.iter().copied().chain(std::iter::repeat(0.0)).take(model.joints.len()).collect();
        if let Some(roll) = roll {
            q[roll] = roll_rad;
        }
        q[gripper] = gripper_rad;
        let q = model.clamp(&q);
        let target = IkTarget { position_m: position, approach, closing: None };
        let solution = model.ik(&tool, &target, &q, &settings);
        if solution.reached {
            return Ok(solution.q);
        }
    }
    Err(SpawnError::Arm { scene: scene.title.clone(), robot: model.name.clone() })
}
