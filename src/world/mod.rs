//! The table top: props and where an episode starts.

mod draw;
mod drawn;
mod order;
mod randomiser;
mod spawn;

pub use draw::{DrawFor, draw_world};
pub use drawn::{
    Distractor, DrawnCamera, DrawnColours, DrawnFriction, DrawnLight, DrawnTable, DrawnTexture, DrawnWorld,
};
pub use order::{Order, Wish, may_ask};
pub use randomiser::{EpisodeWorld, RandomiseChoice, Randomiser, Worlds, set_up_world};
pub use spawn::{SpawnError, Start, outward_tilt_rad, pan_axis_m, sample_start};

use crate::backend::sim::BodyMotion;
use crate::config::{Prop, Scene};
use crate::robot::WorldPose;
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Vector};
use std::sync::Arc;

/// The scene in play.
#[derive(Resource, Clone, Debug)]
pub struct ActiveScene {
    /// Name it was loaded by.
    pub name: String,
    /// Its contents, as they are in the present episode.
    pub scene: Arc<Scene>,
    /// Its contents as its file has them: the same, unless the episode's world was drawn.
    pub nominal: Arc<Scene>,
}

impl ActiveScene {
    /// Changes the scene before any episode; what is drawn for an episode is then drawn from the changed one.
    pub fn change(&mut self, change: impl FnOnce(&mut Scene)) {
        change(Arc::make_mut(&mut self.nominal));
        self.scene = self.nominal.clone();
    }
}

/// An object on the table.
#[derive(Component, Clone, Debug)]
#[require(PropState, WorldPose)]
pub struct PropBody {
    /// Index in the scene's list.
    pub index: usize,
    /// What the scene says of it.
    pub spec: Prop,
}

/// How an object moves. Written in Step.
#[derive(Component, Clone, Copy, Debug, PartialEq)]
pub struct PropState {
    /// Pose and velocities.
    pub motion: BodyMotion,
    /// Whether an arm touches it.
    pub touched: bool,
}

impl Default for PropState {
    fn default() -> Self {
        let motion = BodyMotion { pose: Pose::IDENTITY, linear_m_s: Vector::ZERO, angular_rad_s: Vector::ZERO };
        Self { motion, touched: false }
    }
}

/// Turn of a pose about z, rad.
pub fn yaw_rad(pose: &Pose) -> f64 {
    let x = pose.rotation * Vector::X;
    f64::from(x.y).atan2(f64::from(x.x))
}

/// `angle` brought into -pi..pi.
pub fn wrap_angle(angle: f64) -> f64 {
    let turn = std::f64::consts::TAU;
    angle - turn * (angle / turn).round()
}

/// Spawns the props of a scene, in its order.
pub fn spawn_props(commands: &mut Commands, scene: &Scene) -> Vec<Entity> {
    scene
        .props
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            commands.spawn((Name::new(spec.name.clone()), PropBody { index, spec: spec.clone() })).id()
        })
        .collect()
}
