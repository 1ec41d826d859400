//! What the expert would do next: rolled out in the very world in which the episode runs, and undone exactly.

use super::teacher::Teacher;
use crate::arm::ArmModel;
use crate::backend::sim::{Physics, Servo, SimJoint, SimSettings};
use crate::control::{ControlRate, EmergencyStop};
use crate::episode::PhysicsEntity;
use crate::robot::{Arm, ArmLimits, JointState, JointTarget, Limited};
use crate::world::{PropBody, PropState};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::collections::BTreeMap;

/// The state of the simulation between two ticks, as the next Sense will report it.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// True joint angles as far as the encoders tell them, rad: for teachers.
    pub q_rad: Vec<f64>,
    /// The same as the arm reports them, counted from zeros that may be off, rad, in encoder ticks: for learners.
    pub reported_rad: Vec<f64>,
    /// Pose of every prop, in the scene's order.
    pub props: Vec<Pose>,
}

/// An expert with a world to try in.
pub struct LookAhead {
    arms: QueryState<&'static Arm>,
    limits: QueryState<&'static ArmLimits>,
    props: QueryState<(Entity, &'static PropBody, &'static PropState)>,
    physics: QueryState<Physics>,
}

impl LookAhead {
    /// Looks at `world`, which must hold one simulated arm.
    pub fn new(world: &mut World) -> Self {
        Self { arms: world.query(), limits: world.query(), props: world.query(), physics: world.query() }
    }

    /// The arm.
    pub fn arm(&mut self, world: &World) -> Option<Arm> {
        self.arms.iter(world).next().cloned()
    }

    /// The present state of `arm`, as it is in this episode.
    pub fn present(&mut self, world: &mut World, arm: &Arm) -> Option<Present> {
        let reported_rad = arm.joints.iter().map(|joint| {
            let joint = world.get::<SimJoint>(*joint)?;
            Some(joint.servo.as_ref()?.quantise(f64::from(joint.angle_rad) + joint.zero_rad))
        });
        let reported_rad = reported_rad.collect::<Option<Vec<f64>>>()?;
        let mut props: Vec<(usize, Pose)> =
            self.props.iter(world).map(|(_, prop, state)| (prop.index, state.motion.pose)).collect();
        props.sort_by_key(|prop| prop.0);
        let props = props.into_iter().map(|prop| prop.1).collect();
        Some(Present { q_rad: arm.true_rad(&reported_rad), reported_rad, props })
    }

    /// What `teacher` would command in this and the next `steps - 1` ticks, as true angles, rad: `steps` commands, the first
    /// of which is `now_rad`. The world is as before afterwards, bit for bit.
    pub fn roll_out(
        &mut self,
        world: &mut World,
        arm: &Arm,
        mut teacher: Teacher,
        now_rad: &[f64],
        steps: usize,
    ) -> Option<Vec<Vec<f64>>> {
        let mut commands = vec![within_limits(&arm.model, now_rad)];
        if steps <= 1 {
            return Some(commands);
        }
        let mut present = self.present(world, arm)?;
        // Props that are not in this episode are not in the physics world.
        let index_of: BTreeMap<Entity, usize> =
            self.props.iter(world).map(|(entity, prop, _)| (entity, prop.index)).collect();
        let mut servos: Vec<Servo> = Vec::new();
        let (mut joints, mut motion, mut zero_rad) = (Vec::new(), Vec::new(), Vec::new());
        for joint in &arm.joints {
            let sim = world.get::<SimJoint>(*joint)?;
            motion.push((sim.angle_rad, sim.velocity_rad_s));
            servos.push(sim.servo.clone()?);
            zero_rad.push(sim.zero_rad);
            let last_rad = world.get::<JointTarget>(*joint)?.position_rad;
            joints.push(Limited { state: JointState::default(), command_rad: 0.0, last_rad });
        }
        let mut limits = self.limits.iter(world).next()?.clone();
        let (substeps, rate) = (world.resource::<SimSettings>().substeps, *world.resource::<ControlRate>());
        let stopped = world.resource::<EmergencyStop>().on;
        let entity = world.get_resource::<PhysicsEntity>()?.0;
        let mut physics = self.physics.get_mut(world, entity).ok()?;
        let index = 0;
        let saved = physics.snapshot();
        let mut command = now_rad.to_vec();
        while commands.len() < steps {
            for (joint, ((servo, (angle, velocity)), zero)) in
                joints.iter_mut().zip(servos.iter().zip(&motion).zip(&zero_rad))
            {
                joint.state = servo.report(*angle, *velocity, *zero);
            }
            for (joint, command) in joints.iter_mut().zip(arm.counted_rad(&command)) {
                joint.command_rad = command;
            }
            let targets = limits.next_targets(arm, rate, stopped, &joints);
            for (((joint, servo), target), zero) in joints.iter_mut().zip(&mut servos).zip(targets).zip(&zero_rad) {
                joint.last_rad = target;
                servo.command(target - zero);
            }
            for _ in 0..substeps {
                physics.set_springs(index, |joint, angle| servos.get(joint).map_or((0.0, 0.0), |s| s.spring(angle)));
                physics.step();
            }
            motion = physics.joint_motion(index);
            let angles = motion.iter().zip(&servos).zip(&zero_rad);
            present.reported_rad =
                angles.map(|(((angle, _), servo), zero)| servo.quantise(f64::from(*angle) + zero)).collect();
            present.q_rad = arm.true_rad(&present.reported_rad);
            for prop in 0..physics.members.props.len() {
                let place = index_of.get(&physics.members.props[prop].entity);
                if let Some(pose) = place.and_then(|place| present.props.get_mut(*place)) {
                    *pose = physics.prop_motion(prop).pose;
                }
            }
            let sane = present.q_rad.iter().all(|q| q.is_finite())
                && present.props.iter().all(|pose| pose.translation.is_finite());
            // A roll-out that comes apart repeats its last command; the episode itself goes on undisturbed.
            if let Some(next) = sane.then(|| teacher.command_rad(arm, &present)).flatten() {
                command = next;
            }
            commands.push(within_limits(&arm.model, &command));
        }
        physics.restore_once(saved);
        Some(commands)
    }
}

/// A command inside the joints' limits: what a policy should be taught to give.
pub fn within_limits(model: &ArmModel, command_rad: &[f64]) -> Vec<f64> {
    model.clamp(command_rad)
}
