//! Numbers a policy may be taught to see besides the command, for an auxiliary loss: where things are, how the object
//! lies in the hand, what the expert is about.

use crate::config::Scene;
use crate::task::expert::{GripPhase, GripPlace};
use crate::world::yaw_rad;
use bevy_rapier3d::rapier::math::Pose;

/// Of each prop, in the arm's base frame.
const OF_PROP: [&str; 5] = ["x_m", "y_m", "z_m", "cos_yaw", "sin_yaw"];
/// Of the expert's object in the hand, see [`crate::task::expert::GripPlace`]; its number of the phase; whether it holds
/// the object.
const OF_EXPERT: [&str; 7] =
    ["grip.across_m", "grip.along_m", "grip.sideways_m", "grip.cos_yaw", "grip.sin_yaw", "phase", "held"];

/// Names of the labels of a scene.
pub fn names(scene: &Scene) -> Vec<String> {
    let props = scene.props.iter().flat_map(|prop| OF_PROP.map(|name| format!("{}.{name}", prop.name)));
    props.chain(OF_EXPERT.map(String::from)).collect()
}

/// The labels of a state in the order of [`names`]. `props`: poses in the scene's order. Without an expert its labels are
/// zero.
pub fn labels(props: &[Pose], view: Option<(GripPhase, GripPlace)>) -> Vec<f32> {
    let mut labels = Vec::new();
    for pose in props {
        let (sin, cos) = yaw_rad(pose).sin_cos();
        let at = pose.translation;
        labels.extend([at.x, at.y, at.z, cos as f32, sin as f32]);
    }
    let Some((phase, place)) = view else {
        labels.extend([0.0; OF_EXPERT.len()]);
        return labels;
    };
    let (sin, cos) = place.yaw_rad.sin_cos();
    labels.extend([place.across_m, place.along_m, place.sideways_m, cos, sin].map(|value| value as f32));
    labels.extend([f32::from(phase as u8), f32::from(u8::from(phase.holds()))]);
    labels
}
