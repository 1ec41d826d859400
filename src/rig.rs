//! A bare rig for tests and benchmarks: one arm, a table and props in the physics world, stepped by hand, without the
//! control tick around them.

use crate::app::Loaded;
use crate::arm::ArmModel;
use crate::backend::sim::{BodyMotion, Physics, PhysicsBundle, PhysicsError, PhysicsItem, Servo};
use crate::config::{PhysicsConfig, Prop, PropShape};
use crate::robot::Arm;
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::sync::Arc;

/// An arm in a physics world of its own.
pub struct Rig {
    /// The arm as operators see it; its entity lists are empty.
    pub arm: Arm,
    /// Its servos.
    pub servos: Vec<Servo>,
    world: World,
    entity: Entity,
    physics: PhysicsConfig,
}

/// What stands in a rig.
#[derive(Clone, Debug)]
pub struct RigSetUp {
    /// Joint angles at the start, rad.
    pub q_rad: Vec<f64>,
    /// Whether there is a table.
    pub table_friction: Option<f64>,
    /// Props with their poses.
    pub props: Vec<(Prop, Pose)>,
}

impl Rig {
    /// Builds a rig from loaded files; `change` may alter arm and servos before they are built in.
    ///
    /// # Errors
    /// [`PhysicsError`] if the arm cannot be simulated.
    pub fn new(
        loaded: &Loaded,
        set_up: &RigSetUp,
        change: impl FnOnce(&mut ArmModel, &mut Vec<Servo>, &mut PhysicsConfig),
    ) -> Result<Self, PhysicsError> {
        let mut model = ArmModel::clone(&loaded.model);
        let gripper = model.gripper_joint();
        let mut physics = loaded.sim.physics.clone();
        let start = |index: usize| set_up.q_rad.get(index).copied().unwrap_or(0.0);
        let mut servos: Vec<Servo> = (0..model.joints.len())
            .map(|index| Servo::new(&loaded.servo, &loaded.arm, index == gripper, 0, start(index)))
            .collect();
        change(&mut model, &mut servos, &mut physics);
        let mut world = World::new();
        let entity = world.spawn_empty().id();
        let mut bundle = PhysicsBundle::new(&physics);
        bundle.add_arm(entity, &model, &loaded.shapes, &servos, &set_up.q_rad, physics.arm_friction)?;
        if let Some(friction) = set_up.table_friction {
            bundle.add_table((0.0, -0.2), (1.0, 1.0), friction);
        }
        for (prop, pose) in &set_up.props {
            bundle.add_prop(entity, &prop.shape, prop.mass_kg, prop.friction, *pose);
        }
        world.entity_mut(entity).insert(bundle);
        let tool = model.hand_tool();
        let arm = Arm {
            model: Arc::new(model),
            config: loaded.arm.clone(),
            servo: loaded.servo.clone(),
            tool,
            joints: Vec::new(),
            links: Vec::new(),
            drawn: crate::robot::DrawnArm::default(),
        };
        Ok(Self { arm, servos, world, entity, physics })
    }

    /// Sets the targets of all servos, rad.
    pub fn command(&mut self, target_rad: &[f64]) {
        for (servo, target) in self.servos.iter_mut().zip(target_rad) {
            servo.command(*target);
        }
    }

    /// One physics step with the servos at work.
    pub fn step(&mut self) {
        let servos = std::mem::take(&mut self.servos);
        self.physics(|physics| {
            physics.set_springs(0, |joint, angle| servos[joint].spring(angle));
            physics.step();
        });
        self.servos = servos;
    }

    /// Steps for `seconds`.
    pub fn run(&mut self, seconds: f64) {
        let steps = (seconds * f64::from(self.physics.step_hz)).round() as u64;
        (0..steps).for_each(|_| self.step());
    }

    /// Measured joint angles, rad.
    pub fn q_rad(&mut self) -> Vec<f64> {
        self.physics(|physics| physics.joint_motion(0).into_iter().map(|(angle, _)| f64::from(angle)).collect())
    }

    /// Joint velocities, rad/s.
    pub fn velocities_rad_s(&mut self) -> Vec<f64> {
        self.physics(|physics| physics.joint_motion(0).into_iter().map(|(_, rate)| f64::from(rate)).collect())
    }

    /// Motion of a prop.
    pub fn prop(&mut self, index: usize) -> BodyMotion {
        self.physics(|physics| physics.prop_motion(index))
    }

    /// Access to the physics world.
    ///
    /// # Panics
    /// Never: the entity is made with all its components in [`Rig::new`].
    #[allow(clippy::expect_used, reason = "the rig owns its world and nothing can take the components away")]
    pub fn physics<R>(&mut self, visit: impl FnOnce(&mut PhysicsItem) -> R) -> R {
        let mut query = self.world.query::<Physics>();
        let mut physics = query.get_mut(&mut self.world, self.entity).expect("the rig's own entity");
        visit(&mut physics)
    }

    /// A cube of this edge length, m, for [`RigSetUp::props`].
    pub fn cube(edge_m: f64, mass_kg: f64, friction: f64) -> Prop {
        Self::prop_of("cube", PropShape::Block(edge_m, edge_m, edge_m), mass_kg, friction)
    }

    /// A prop for [`RigSetUp::props`]; colour and start do not matter there.
    pub fn prop_of(name: &str, shape: PropShape, mass_kg: f64, friction: f64) -> Prop {
        let anywhere = crate::config::Spawn {
            x_m: (0.0, 0.0),
            y_m: (0.0, 0.0),
            yaw_deg: (0.0, 0.0),
            reach_m: (0.0, 1.0),
            apart_m: 0.0,
        };
        Prop { name: name.into(), shape, mass_kg, friction, colour: (0.5, 0.5, 0.5), start: anywhere }
    }
}
