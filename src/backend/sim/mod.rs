//! The simulated arm and table top: Rapier behind the joints.

mod bristle;
mod physics;
mod plant;
mod servo;
mod shapes;

pub use bristle::Bristles;
pub use physics::{BodyMotion, Members, Physics, PhysicsBundle, PhysicsError, PhysicsItem, Snapshot};
pub use plant::{PropPoses, SimPlant};
pub use servo::Servo;
pub use shapes::{LinkShapes, ShapeError};

use super::{ReadJoints, SendTargets};
use crate::config::PhysicsConfig;
use crate::control::{Control, ControlRate, ControlSystems, Look};
use crate::episode::Episode;
use crate::robot::{Arm, ArmJoint, ArmLimits, JointState, JointTarget, WorldPose};
use crate::world::PropState;
use bevy::prelude::*;
use thiserror::Error;

/// The rates do not fit together.
#[derive(Debug, Error)]
#[error(
    "physics at {step_hz} Hz does not divide into control ticks at {control_hz} Hz; choose a step_hz that is a whole \
     multiple of the control rate, such as {suggestion}"
)]
pub struct RateError {
    step_hz: u32,
    control_hz: u32,
    suggestion: u32,
}

/// Settings of the simulated world.
#[derive(Resource, Clone, Debug)]
pub struct SimSettings {
    /// How the engine is set up.
    pub physics: PhysicsConfig,
    /// Physics steps per control tick.
    pub substeps: u32,
}

impl SimSettings {
    /// Settings whose physics steps fit the control rate.
    ///
    /// # Errors
    /// [`RateError`] if they do not.
    pub fn new(physics: PhysicsConfig, rate: ControlRate) -> Result<Self, RateError> {
        let (step_hz, control_hz) = (physics.step_hz, rate.hz);
        if control_hz == 0 || step_hz == 0 || step_hz % control_hz != 0 {
            let suggestion = control_hz.max(1) * (step_hz / control_hz.max(1)).max(1);
            return Err(RateError { step_hz, control_hz, suggestion });
        }
        Ok(Self { physics, substeps: step_hz / control_hz })
    }
}

/// Tag and state of a simulated joint.
#[derive(Component, Clone, Debug, Default)]
pub struct SimJoint {
    /// Its servo; `None` until the first reset.
    pub servo: Option<Servo>,
    /// True angle, rad.
    pub angle_rad: f32,
    /// True velocity, rad/s.
    pub velocity_rad_s: f32,
    /// What the joint reports beyond its true angle, rad: its zero is off by so much.
    pub zero_rad: f64,
}

/// Adds the backend.
pub fn plugin(app: &mut App, settings: SimSettings) {
    app.insert_resource(settings);
    app.add_systems(
        Control,
        (
            read_joints.in_set(ControlSystems::Sense).in_set(ReadJoints),
            send_targets.in_set(ControlSystems::Act).in_set(SendTargets),
            step.in_set(ControlSystems::Step),
        ),
    );
    app.add_systems(Look, read_joints.in_set(ReadJoints));
}

fn read_joints(mut joints: Query<(&SimJoint, &mut JointState), With<ArmJoint>>) {
    for (joint, mut state) in &mut joints {
        let Some(servo) = &joint.servo else { continue };
        *state = servo.report(joint.angle_rad, joint.velocity_rad_s, joint.zero_rad);
    }
}

fn send_targets(arms: Query<&ArmLimits>, mut joints: Query<(&mut SimJoint, &JointTarget, &ArmJoint)>) {
    for (mut joint, target, place) in &mut joints {
        let zero_rad = joint.zero_rad;
        let released = arms.get(place.arm).is_ok_and(ArmLimits::is_released);
        if let Some(servo) = &mut joint.servo {
            servo.has_torque = !released;
            servo.command(target.position_rad - zero_rad);
        }
    }
}

fn step(
    settings: Res<SimSettings>,
    rate: Res<ControlRate>,
    mut physics: Query<Physics>,
    arms: Query<&Arm>,
    mut joints: Query<&mut SimJoint>,
    mut props: Query<(&mut PropState, &mut WorldPose)>,
    mut episode: ResMut<Episode>,
) {
    let Ok(mut physics) = physics.single_mut() else { return };
    if episode.diverged() {
        return;
    }
    let arm_count = physics.members.arms.len();
    for _ in 0..settings.substeps {
        for index in 0..arm_count {
            let Ok(arm) = arms.get(physics.members.arms[index].entity) else { continue };
            let servos: Vec<&SimJoint> = joints.iter_many(&arm.joints).collect();
            physics.set_springs(index, |joint, angle| {
                servos.get(joint).and_then(|j| j.servo.as_ref()).map_or((0.0, 0.0), |servo| servo.spring(angle))
            });
        }
        physics.step();
    }
    for index in 0..arm_count {
        let Ok(arm) = arms.get(physics.members.arms[index].entity) else { continue };
        for (entity, (angle, velocity)) in arm.joints.iter().zip(physics.joint_motion(index)) {
            if let Ok(mut joint) = joints.get_mut(*entity) {
                (joint.angle_rad, joint.velocity_rad_s) = (angle, velocity);
                if let Some(servo) = &mut joint.servo {
                    servo.warm(angle, velocity, rate.tick_s());
                }
            }
        }
    }
    for index in 0..physics.members.props.len() {
        if let Ok((mut state, mut pose)) = props.get_mut(physics.members.props[index].entity) {
            let motion = physics.prop_motion(index);
            let touched = physics.prop_touched(index);
            *state = PropState { motion, touched };
            pose.advance(motion.pose);
        }
    }
    if let Some(what) = physics.divergence() {
        episode.report_divergence(what);
    }
}

/// Fills `physics_entity` with a new world: arms standing at the given joint angles, the table, props at the given poses
/// (index in the scene, entity, motion); props that are not named are not there.
///
/// # Errors
/// [`PhysicsError`] if a shape or joint cannot be simulated.
pub fn rebuild(
    world: &mut World,
    physics_entity: Entity,
    q_rad: &[f64],
    prop_poses: &[(usize, Entity, BodyMotion)],
) -> Result<(), PhysicsError> {
    let settings = world.resource::<SimSettings>().clone();
    let tick_s = world.resource::<ControlRate>().tick_s();
    let scene = world.resource::<crate::world::ActiveScene>().scene.clone();
    let mut bundle = PhysicsBundle::new(&settings.physics);
    let mut arms: Vec<(Entity, Arm)> =
        world.query::<(Entity, &Arm)>().iter(world).map(|(entity, arm)| (entity, arm.clone())).collect();
    arms.sort_by_key(|(entity, _)| *entity);
    for (entity, arm) in arms {
        // A real arm stands on its own table.
        if arm.joints.first().is_none_or(|joint| world.get::<SimJoint>(*joint).is_none()) {
            continue;
        }
        let gripper = arm.model.gripper_joint();
        let delay_ticks = (arm.config.command_delay_s / tick_s).round() as usize + arm.drawn.latency_ticks;
        let start = |index: usize| q_rad.get(index).copied().unwrap_or(0.0);
        let servos: Vec<Servo> = (0..arm.joints.len())
            .map(|index| {
                let mut servo = Servo::new(&arm.servo, &arm.config, index == gripper, delay_ticks, start(index));
                servo.stiffness_nm_rad *= arm.drawn.stiffness(index) as f32;
                servo.backlash_rad = arm.drawn.backlash_rad.map_or(servo.backlash_rad, |play_rad| play_rad as f32);
                servo
            })
            .collect();
        let Some(shapes) = world.get::<LinkShapes>(entity).cloned() else { continue };
        let friction = settings.physics.arm_friction * arm.drawn.friction as f32;
        bundle.add_arm(entity, &arm.model, &shapes, &servos, q_rad, friction)?;
        for (index, servo) in servos.into_iter().enumerate() {
            if let Some(mut joint) = world.get_mut::<SimJoint>(arm.joints[index]) {
                let zero_rad = arm.zero_rad(index);
                *joint = SimJoint { servo: Some(servo), angle_rad: start(index) as f32, velocity_rad_s: 0.0, zero_rad };
            }
        }
    }
    bundle.add_table(scene.table.centre_m, scene.table.size_m, scene.table.friction);
    for (index, entity, motion) in prop_poses {
        let Some(prop) = scene.props.get(*index) else { continue };
        bundle.add_prop(*entity, &prop.shape, prop.mass_kg, prop.friction, motion.pose);
    }
    world.entity_mut(physics_entity).insert(bundle);
    Ok(())
}
