//! What the expert would do next: rolled out in the very world in which the episode runs, and undone exactly.

use super::teacher::Teacher;
use crate::arm::ArmModel;
use crate::backend::sim::{Physics, Servo, SimJoint, SimSettings};
use crate::control::ControlRate;
use crate::episode::PhysicsEntity;
use crate::robot::{Arm, JointTarget};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;

/// The state of the simulation between two ticks, as the next Sense will report it.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// Measured joint angles, rad, in encoder ticks.
    pub q_rad: Vec<f64>,
    /// Pose of every prop, in the scene's order.
    pub props: Vec<Pose>,
}

/// An expert with a world to try in.
pub struct LookAhead {
    arms: QueryState<&'static Arm>,
    physics: QueryState<Physics>,
}

impl LookAhead {
    /// Looks at `world`, which must hold one simulated arm.
    pub fn new(world: &mut World) -> Self {
        Self { arms: world.query(), physics: world.query() }
    }

    /// The arm.
    pub fn arm(&mut self, world: &World) -> Option<Arm> {
        self.arms.iter(world).next().cloned()
    }

    /// The present state.
    pub fn present(&mut self, world: &mut World, arm: &Arm) -> Option<Present> {
        let q_rad = arm.joints.iter().map(|joint| {
            let joint = world.get::<SimJoint>(*joint)?;
            Some(joint.servo.as_ref()?.quantise(f64::from(joint.angle_rad)))
        });
        let q_rad: Option<Vec<f64>> = q_rad.collect();
        let entity = world.get_resource::<PhysicsEntity>()?.0;
        let physics = self.physics.get_mut(world, entity).ok()?;
        let props = (0..physics.members.props.len()).map(|prop| physics.prop_motion(prop).pose).collect();
        Some(Present { q_rad: q_rad?, props })
    }

    /// What `teacher` would command in this and the next `steps - 1` ticks, rad: `steps` commands, the first of which is
    /// `now_rad`. The world is as before afterwards, bit for bit.
    pub fn roll_out(
        &mut self,
        world: &mut World,
        arm: &Arm,
        mut teacher: Teacher,
        now_rad: &[f64],
        steps: usize,
    ) -> Option<Vec<Vec<f64>>> {
        let mut commands = vec![within_limits(&arm.model, now_rad)];
        let mut servos: Vec<Servo> = Vec::new();
        let mut targets = Vec::new();
        for joint in &arm.joints {
            servos.push(world.get::<SimJoint>(*joint)?.servo.clone()?);
            targets.push(world.get::<JointTarget>(*joint)?.position_rad);
        }
        let (substeps, rate) = (world.resource::<SimSettings>().substeps, *world.resource::<ControlRate>());
        let entity = world.get_resource::<PhysicsEntity>()?.0;
        let mut physics = self.physics.get_mut(world, entity).ok()?;
        let index = 0;
        let saved = (steps > 1).then(|| physics.snapshot());
        let mut command = now_rad.to_vec();
        while commands.len() < steps {
            for (joint, servo) in servos.iter_mut().enumerate() {
                targets[joint] = arm.limited_rad(rate, joint, command[joint], targets[joint]);
                servo.command(targets[joint]);
            }
            for _ in 0..substeps {
                physics.set_springs(index, |joint, angle| servos.get(joint).map_or((0.0, 0.0), |s| s.spring(angle)));
                physics.step();
            }
            let motion = physics.joint_motion(index);
            let q: Vec<f64> =
                motion.iter().zip(&servos).map(|((angle, _), servo)| servo.quantise(f64::from(*angle))).collect();
            let props: Vec<Pose> =
                (0..physics.members.props.len()).map(|prop| physics.prop_motion(prop).pose).collect();
            let sane = q.iter().all(|q| q.is_finite()) && props.iter().all(|pose| pose.translation.is_finite());
            // A roll-out that comes apart repeats its last command; the episode itself goes on undisturbed.
            let present = Present { q_rad: q, props };
            if let Some(next) = sane.then(|| teacher.command_rad(arm, &present)).flatten() {
                command = next;
            }
            commands.push(within_limits(&arm.model, &command));
        }
        if let Some(saved) = saved {
            physics.restore_once(saved);
        }
        Some(commands)
    }
}

/// A command inside the joints' limits: what a policy should be taught to give.
pub fn within_limits(model: &ArmModel, command_rad: &[f64]) -> Vec<f64> {
    model.clamp(command_rad)
}
