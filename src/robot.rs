//! The arm as entities: an arm, its links and its joints. Everything above the backends reads [`JointState`] and writes
//! [`JointCommand`], and cannot tell what moves the joints.

mod limits;

pub use limits::{ArmLimits, Limited, Trouble};

use crate::arm::{ArmModel, Floor, Tool};
use crate::config::{ArmConfig, ServoProfile};
use crate::control::{Control, ControlSystems, EmergencyStop, Look};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::f64::consts::TAU;
use std::sync::Arc;

/// Gravity torque from which on a gear surely lies against its loaded flank, Nm; the dry friction of a servo is of this size.
const BALANCE_NM: f64 = 0.05;

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
    /// What it is in the present episode beyond its files; nothing for a real arm.
    pub drawn: DrawnArm,
}

/// What an arm is in one episode beyond its files.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnArm {
    /// What each joint reports beyond its true angle, encoder ticks; missing ones are 0.
    pub zero_ticks: Vec<i32>,
    /// Factor on the stiffness of each servo; missing ones are 1.
    pub stiffness: Vec<f64>,
    /// Control ticks of delay on top of the arm's own.
    pub latency_ticks: usize,
    /// Total play of the gears, rad; `None`: as the arm's file says.
    pub backlash_rad: Option<f64>,
    /// Factor on the friction of its links.
    pub friction: f64,
}

impl Default for DrawnArm {
    fn default() -> Self {
        Self { zero_ticks: Vec::new(), stiffness: Vec::new(), latency_ticks: 0, backlash_rad: None, friction: 1.0 }
    }
}

impl DrawnArm {
    /// What joint `index` reports beyond its true angle, rad, with an encoder of `ticks_per_turn`.
    pub fn zero_rad(&self, index: usize, ticks_per_turn: u32) -> f64 {
        match self.zero_ticks.get(index) {
            None | Some(0) => 0.0,
            Some(ticks) => f64::from(*ticks) * (TAU / f64::from(ticks_per_turn)),
        }
    }

    /// Factor on the stiffness of joint `index`.
    pub fn stiffness(&self, index: usize) -> f64 {
        self.stiffness.get(index).copied().unwrap_or(1.0)
    }
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
    /// Current its motor takes, A.
    pub current_a: f64,
    /// Temperature of its motor, degrees Celsius.
    pub temperature_c: f64,
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

    /// What joint `index` reports beyond its true angle, rad.
    pub fn zero_rad(&self, index: usize) -> f64 {
        self.drawn.zero_rad(index, self.servo.ticks_per_turn)
    }

    /// True joint angles as far as the encoders tell them, rad: the measured ones less what the zeros are off. For those
    /// who may know, such as scripted experts and what draws the scene; people and policies see the measured ones.
    pub fn true_positions_rad(&self, states: &Query<&JointState>) -> Vec<f64> {
        self.true_rad(&self.positions_rad(states))
    }

    /// True joint angles, rad, of an arm that reports `reported_rad`.
    pub fn true_rad(&self, reported_rad: &[f64]) -> Vec<f64> {
        let tick_rad = TAU / f64::from(self.servo.ticks_per_turn);
        let truth = |(index, q): (usize, &f64)| match self.zero_rad(index) {
            0.0 => *q,
            // Whole ticks again, so that an arm with another zero stands in the very same place.
            zero => ((q - zero) / tick_rad).round() * tick_rad,
        };
        reported_rad.iter().enumerate().map(truth).collect()
    }

    /// The same angles as the arm counts them: what it reports, and is told, of joints that are truly at `q_rad`, rad.
    pub fn counted_rad(&self, q_rad: &[f64]) -> Vec<f64> {
        q_rad.iter().enumerate().map(|(index, q)| q + self.zero_rad(index)).collect()
    }

    /// Writes a command for every joint, given as true angles, rad.
    pub fn command_true(&self, commands: &mut Query<&mut JointCommand>, q_rad: &[f64]) {
        self.command(commands, &self.counted_rad(q_rad));
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
        let play_rad = self.drawn.backlash_rad.unwrap_or(self.config.backlash_deg.to_radians());
        let lead = |(index, torque): (usize, f64)| {
            // A loaded gear lies against one of its flanks; about balance it goes over from one to the other.
            let flank = (torque / BALANCE_NM).clamp(-1.0, 1.0) * 0.5 * play_rad;
            torque / (stiffness * self.drawn.stiffness(index)) + flank
        };
        self.model.gravity_torque_nm(q_rad, payload).into_iter().enumerate().map(lead).collect()
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
    commands
        .entity(arm)
        .insert((Arm { model, config, servo, tool, joints, links, drawn: DrawnArm::default() }, limits));
    arm
}

/// Link poses follow from the joints, whatever moves them.
fn pose_links(arms: Query<&Arm>, states: Query<&JointState>, mut poses: Query<&mut WorldPose, With<ArmLink>>) {
    for arm in &arms {
        let q = arm.true_positions_rad(&states);
        for (link, pose) in arm.links.iter().zip(arm.model.link_poses(&q)) {
            if let Ok(mut world_pose) = poses.get_mut(*link) {
                world_pose.advance(Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat()));
            }
        }
    }
}
