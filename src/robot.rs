//! The arm as entities: an arm, its links and its joints. Everything above the backends reads [`JointState`] and writes
//! [`JointCommand`], and cannot tell what moves the joints.

mod limits;

pub use limits::{ArmLimits, Limited};

use crate::arm::{ArmModel, Floor, Tool};
use crate::config::{ArmConfig, ServoProfile};
use crate::control::{Control, ControlSystems, EmergencyStop, Look};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::sync::Arc;

/// An arm.
#[derive(Component, Clone, Debug)]
pub struct Arm {
    /// Its links and joints.
    pub model: Arc<ArmModel>,
    /// How it is set up.
    pub config: Arc<ArmConfig>,
    /// Its servos.
    pub servo: Arc<ServoProfile>,
    /// The point between its fingers.
    pub tool: Tool,
    /// Joint entities, in the order of `model.joints`.
    pub joints: Vec<Entity>,
    /// Link entities, in the order of `model.links`.
    pub links: Vec<Entity>,
}

/// A joint of an arm.
#[derive(Component, Clone, Copy, Debug)]
#[require(JointState, JointCommand, JointTarget)]
pub struct ArmJoint {
    /// Its arm.
    pub arm: Entity,
    /// Its index in the arm's model.
    pub index: usize,
}

/// A link of an arm.
#[derive(Component, Clone, Copy, Debug)]
#[require(WorldPose)]
pub struct ArmLink {
    /// Its arm.
    pub arm: Entity,
    /// Its index in the arm's model.
    pub index: usize,
}

/// What a joint's servo reports. Written in Sense by the joint's backend.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq)]
pub struct JointState {
    /// Angle, rad, in encoder ticks.
    pub position_rad: f64,
    /// Velocity, rad/s.
    pub velocity_rad_s: f64,
    /// Torque the servo gives, Nm.
    pub torque_nm: f64,
}

/// What the operator wants. Written in Decide.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq)]
pub struct JointCommand {
    /// Angle, rad.
    pub position_rad: f64,
}

/// What is sent to the servo: the command inside every limit. Written in Act.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq)]
pub struct JointTarget {
    /// Angle, rad.
    pub position_rad: f64,
}

/// Pose in the world, now and one tick ago, so that a window can draw what is between.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq)]
pub struct WorldPose {
    /// Pose at the latest tick.
    pub now: Pose,
    /// Pose at the tick before.
    pub before: Pose,
}

impl WorldPose {
    /// A pose that did not move.
    pub fn at(pose: Pose) -> Self {
        Self { now: pose, before: pose }
    }

    /// Takes the next tick's pose.
    pub fn advance(&mut self, pose: Pose) {
        self.before = self.now;
        self.now = pose;
    }
}

impl Arm {
    /// Measured joint angles, rad.
    pub fn positions_rad(&self, states: &Query<&JointState>) -> Vec<f64> {
        self.joints.iter().map(|joint| states.get(*joint).map_or(0.0, |state| state.position_rad)).collect()
    }

    /// Writes a command for every joint, rad.
    pub fn command(&self, commands: &mut Query<&mut JointCommand>, q_rad: &[f64]) {
        for (joint, q) in self.joints.iter().zip(q_rad) {
            if let Ok(mut command) = commands.get_mut(*joint) {
                command.position_rad = *q;
            }
        }
    }

    /// Stiffness of the arm's servos, Nm/rad.
    pub fn stiffness_nm_rad(&self) -> f64 {
        self.servo.stiffness_nm_rad(self.config.p_gain)
    }

    /// How far each joint's target must lead its wanted angle so that gravity does not pull it down, rad. The payload is a
    /// mass in kg at the tool point.
    pub fn gravity_lead_rad(&self, q_rad: &[f64], payload_kg: f64) -> Vec<f64> {
        let payload = (payload_kg > 0.0).then_some((self.tool.link, self.tool.point_m, payload_kg));
        let stiffness = self.stiffness_nm_rad();
        self.model.gravity_torque_nm(q_rad, payload).into_iter().map(|torque| torque / stiffness).collect()
    }
}

/// Set inside Sense in which link poses follow the joints.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoseLinks;

/// Adds what all arms share: limits and link poses.
pub fn plugin(app: &mut App) {
    app.add_systems(
        Control,
        pose_links.in_set(ControlSystems::Sense).in_set(PoseLinks).after(crate::backend::ReadJoints),
    );
    app.add_systems(Look, pose_links.in_set(PoseLinks).after(crate::backend::ReadJoints));
    app.init_resource::<EmergencyStop>();
    app.add_systems(Control, limits::limit_targets.in_set(ControlSystems::Act).before(crate::backend::SendTargets));
}

/// Spawns an arm with its links and joints; `joint_backend` goes onto every joint.
pub fn spawn_arm(
    commands: &mut Commands,
    model: Arc<ArmModel>,
    config: Arc<ArmConfig>,
    servo: Arc<ServoProfile>,
    joint_backend: impl Bundle + Clone,
) -> Entity {
    let arm = commands.spawn(Name::new(model.name.clone())).id();
    let joints = (0..model.joints.len())
        .map(|index| {
            let name = Name::new(model.joints[index].name.clone());
            commands.spawn((name, ArmJoint { arm, index }, joint_backend.clone(), ChildOf(arm))).id()
        })
        .collect();
    let links = (0..model.links.len())
        .map(|index| {
            commands.spawn((Name::new(model.links[index].name.clone()), ArmLink { arm, index }, ChildOf(arm))).id()
        })
        .collect();
    let tool = model.hand_tool();
    let limits = ArmLimits::new(config.hand_above_table.then(|| Floor::new(&model)));
    commands.entity(arm).insert((Arm { model, config, servo, tool, joints, links }, limits));
    arm
}

/// Link poses follow from the joints, whatever moves them.
fn pose_links(arms: Query<&Arm>, states: Query<&JointState>, mut poses: Query<&mut WorldPose, With<ArmLink>>) {
    for arm in &arms {
        let q = arm.positions_rad(&states);
        for (link, pose) in arm.links.iter().zip(arm.model.link_poses(&q)) {
            if let Ok(mut world_pose) = poses.get_mut(*link) {
                world_pose.advance(Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat()));
            }
        }
    }
}
