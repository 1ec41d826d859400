//! The physics world: bevy_rapier's context components, filled, stepped, saved and read here and nowhere else.
//!
//! Bodies are put into Rapier's sets directly, in an order that depends on the scene alone, so that an episode does not
//! depend on what was simulated before it; the sets live in bevy_rapier's components, so that its debug view shows them.

use super::bristle::{Bristles, SavedBristles};
use super::servo::Servo;
use super::shapes::LinkShapes;
use crate::arm::{ArmModel, DPose3, GRAVITY_M_S2};
use crate::config::{PhysicsConfig, PropShape};
use bevy::ecs::query::QueryData;
use bevy::prelude::{Bundle, Component, Entity};
use bevy_rapier3d::plugin::context::{
    DefaultRapierContext, RapierContextColliders, RapierContextJoints, RapierContextSimulation, RapierRigidBodySet,
    SimulationToRenderTime,
};
use bevy_rapier3d::prelude::RapierConfiguration;
use bevy_rapier3d::rapier::prelude::*;
use thiserror::Error;

/// Index of the one free axis of a revolute joint (about its frame's x) in Rapier's spatial layout.
const ANGULAR_X: usize = 3;
/// Collision group of all arms; arms touch the world, not each other or themselves, as their links overlap by design.
const ARM: Group = Group::GROUP_1;
/// Collision group of table and props.
const WORLD: Group = Group::GROUP_2;
/// Damping of a ball's spin, 1/s: one that is let go stops within a few centimetres, as a soft one does.
const BALL_DAMPING_HZ: f32 = 12.0;
/// A body farther away than this, or one that moves faster than `SANE_SPEED_M_S`, has been thrown by a diverged solver.
const SANE_DISTANCE_M: f32 = 10.0;
const SANE_SPEED_M_S: f32 = 50.0;

/// Why a physics world could not be built.
#[derive(Debug, Error)]
pub enum PhysicsError {
    /// A joint that this backend cannot simulate.
    #[error("joint \"{joint}\": only revolute joints can be simulated; use a URDF whose arm joints turn")]
    Prismatic {
        /// The joint.
        joint: String,
    },
    /// Rapier refused the joint.
    #[error("joint \"{joint}\" could not be added to the physics world; check that the URDF is one tree")]
    Joint {
        /// The joint.
        joint: String,
    },
}

/// Components of the entity that holds the physics world.
#[derive(Bundle)]
pub struct PhysicsBundle {
    simulation: RapierContextSimulation,
    colliders: RapierContextColliders,
    joints: RapierContextJoints,
    bodies: RapierRigidBodySet,
    configuration: RapierConfiguration,
    render_time: SimulationToRenderTime,
    default: DefaultRapierContext,
    bristles: Bristles,
    members: Members,
}

/// What is in the physics world and whose it is.
#[derive(Component, Default, Debug, Clone)]
pub struct Members {
    /// Simulated arms.
    pub arms: Vec<SimArm>,
    /// Simulated props.
    pub props: Vec<SimProp>,
}

/// An arm in the physics world.
#[derive(Clone, Debug)]
pub struct SimArm {
    /// The arm's entity.
    pub entity: Entity,
    /// Joint handles, one per joint of the model.
    pub joints: Vec<MultibodyJointHandle>,
}

/// A prop in the physics world.
#[derive(Clone, Debug)]
pub struct SimProp {
    /// The prop's entity.
    pub entity: Entity,
    /// Its body.
    pub body: RigidBodyHandle,
    /// Its colliders.
    pub colliders: Vec<ColliderHandle>,
}

/// Access to the physics world from a system.
#[derive(QueryData)]
#[query_data(mutable)]
pub struct Physics {
    simulation: &'static mut RapierContextSimulation,
    colliders: &'static mut RapierContextColliders,
    joints: &'static mut RapierContextJoints,
    bodies: &'static mut RapierRigidBodySet,
    configuration: &'static RapierConfiguration,
    bristles: &'static mut Bristles,
    /// What is in it.
    pub members: &'static mut Members,
}

/// A saved physics world, restored exactly by [`PhysicsItem::restore`].
#[derive(Clone)]
pub struct Snapshot {
    islands: IslandManager,
    broad_phase: BroadPhaseBvh,
    narrow_phase: NarrowPhase,
    ccd_solver: CCDSolver,
    bodies: RigidBodySet,
    colliders: ColliderSet,
    multibody_joints: MultibodyJointSet,
    bristles: SavedBristles,
}

/// Motion of a rigid body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BodyMotion {
    /// Pose in the world.
    pub pose: Pose,
    /// Velocity of the centre of mass, m/s.
    pub linear_m_s: Vector,
    /// Angular velocity, rad/s.
    pub angular_rad_s: Vector,
}

impl PhysicsBundle {
    /// An empty world.
    pub fn new(config: &PhysicsConfig) -> Self {
        let step_s = 1.0 / config.step_hz as f32;
        let mut simulation = RapierContextSimulation::default();
        let p = &mut simulation.integration_parameters;
        p.dt = step_s;
        p.num_solver_iterations = config.solver_iterations;
        p.max_ccd_substeps = 1;
        p.length_unit = 1.0;
        let softness = SpringCoefficients::new(config.contact_frequency_hz, config.contact_damping_ratio);
        p.contact_softness = softness;
        p.static_contact_softness = softness;
        // Slow pushes move less per step than the recycling distance: with it, contacts would lag by the whole motion.
        p.contact_recycling = false;
        p.normalized_prediction_distance = 0.002;
        p.normalized_max_corrective_velocity = 3.0;
        p.friction_model = FrictionModel::Coulomb;
        p.friction_in_bias_pass = true;
        let mut configuration = RapierConfiguration::new(1.0);
        configuration.gravity = Vector::new(0.0, 0.0, -GRAVITY_M_S2 as f32);
        Self {
            simulation,
            colliders: RapierContextColliders::default(),
            joints: RapierContextJoints::default(),
            bodies: RapierRigidBodySet::default(),
            configuration,
            render_time: SimulationToRenderTime::default(),
            default: DefaultRapierContext,
            bristles: Bristles::new(config.bristle_stiffness, config.bristle_slip_m, step_s),
            members: Members::default(),
        }
    }

    /// Adds an arm standing at `q_rad`.
    ///
    /// # Errors
    /// [`PhysicsError`] if a shape or a joint cannot be simulated.
    pub fn add_arm(
        &mut self,
        entity: Entity,
        model: &ArmModel,
        shapes: &LinkShapes,
        servos: &[Servo],
        q_rad: &[f64],
        friction: f32,
    ) -> Result<(), PhysicsError> {
        let poses = model.link_poses(q_rad);
        let parts = rigid_parts(model);
        let bodies = &mut self.bodies.bodies;
        let mut body_of_link = vec![RigidBodyHandle::invalid(); model.links.len()];
        let hand = model.hand_link();
        let jaw = model.joints[model.gripper_joint()].link;
        for part in &parts {
            let moves = model.links[part.carrier].joint.is_some();
            let builder = if moves { RigidBodyBuilder::dynamic() } else { RigidBodyBuilder::fixed() };
            let mut mass = MassProperties::default();
            for (link, carrier_from_link) in &part.links {
                if let Some(inertial) = &model.links[*link].inertial {
                    let own = MassProperties::with_inertia_matrix(
                        inertial.com_m.as_vec3(),
                        inertial.mass_kg as f32,
                        inertial.inertia_kg_m2.as_mat3(),
                    );
                    mass += own.transform_by(&single(carrier_from_link));
                }
            }
            let body = bodies.insert(
                builder.pose(single(&poses[part.carrier])).can_sleep(false).additional_mass_properties(mass).build(),
            );
            bodies[body].user_data = u128::from(entity.to_bits());
            for (link, carrier_from_link) in &part.links {
                body_of_link[*link] = body;
                let finger = *link == hand || *link == jaw;
                for (shape, link_from_shape) in shapes.of_link(*link) {
                    let collider = ColliderBuilder::new(shape.clone())
                        .position(single(carrier_from_link) * *link_from_shape)
                        .density(0.0)
                        .friction(friction)
                        .friction_combine_rule(CoefficientCombineRule::Max)
                        .collision_groups(InteractionGroups::new(ARM, WORLD, InteractionTestMode::And))
                        .active_hooks(if finger { ActiveHooks::MODIFY_SOLVER_CONTACTS } else { ActiveHooks::empty() })
                        .user_data(u128::from(entity.to_bits()));
                    self.colliders.colliders.insert_with_parent(collider, body, bodies);
                }
            }
        }
        let mut joints = Vec::new();
        for joint in &model.joints {
            let error = || PhysicsError::Joint { joint: joint.name.clone() };
            if joint.kind != crate::arm::JointKind::Revolute {
                return Err(PhysicsError::Prismatic { joint: joint.name.clone() });
            }
            let link = &model.links[joint.link];
            let parent = link.parent.ok_or_else(error)?;
            let part = parts.iter().find(|part| part.links.iter().any(|(l, _)| *l == parent)).ok_or_else(error)?;
            let parent_in_carrier =
                part.links.iter().find(|(l, _)| *l == parent).map_or(DPose3::IDENTITY, |(_, pose)| *pose);
            // Rapier's revolute joints turn about the x axis of their frames.
            let axis_frame = Pose::from_rotation(Rotation::from_rotation_arc(Vector::X, joint.axis.as_vec3()));
            let data = GenericJointBuilder::new(JointAxesMask::LOCKED_REVOLUTE_AXES)
                .local_frame1(single(&(parent_in_carrier * link.parent_from_link)) * axis_frame)
                .local_frame2(axis_frame)
                .contacts_enabled(false)
                .limits(JointAxis::AngX, [joint.lower as f32, joint.upper as f32])
                .build();
            let (first, second) = (body_of_link[parent], body_of_link[joint.link]);
            joints.push(self.joints.multibody_joints.insert(first, second, data, true).ok_or_else(error)?);
        }
        if let Some(first) = joints.first() {
            let (multibody, _) = self
                .joints
                .multibody_joints
                .get_mut(*first)
                .ok_or_else(|| PhysicsError::Joint { joint: model.joints[0].name.clone() })?;
            multibody.set_self_contacts_enabled(false);
            // The fixed root keeps six degrees of freedom until the first pass; per-joint data is written after it.
            multibody.forward_kinematics(&self.bodies.bodies, true);
            debug_assert_eq!(multibody.ndofs(), joints.len());
            let displacements: Vec<f32> = q_rad.iter().map(|q| *q as f32).collect();
            multibody.apply_displacements(&displacements);
            multibody.forward_kinematics(&self.bodies.bodies, false);
            multibody.update_rigid_bodies(&mut self.bodies.bodies, true);
            for (index, servo) in servos.iter().enumerate() {
                multibody.armature_mut()[index] = servo.armature_kg_m2;
                multibody.damping_mut()[index] = servo.damping_nm_s_rad;
            }
        }
        for (handle, servo) in joints.iter().zip(servos) {
            let Some((multibody, link)) = self.joints.multibody_joints.get_mut(*handle) else { continue };
            let Some(link) = multibody.link_mut(link) else { continue };
            link.joint.set_spring(ANGULAR_X, 0.0, 0.0);
            if servo.friction_nm > 0.0 {
                // A velocity motor that wants to stand still and is as strong as the gear's dry friction.
                link.joint
                    .data
                    .set_motor_model(JointAxis::AngX, MotorModel::AccelerationBased)
                    .set_motor(JointAxis::AngX, 0.0, 0.0, 0.0, 1.0)
                    .set_motor_max_force(JointAxis::AngX, servo.friction_nm);
            }
        }
        self.members.arms.push(SimArm { entity, joints });
        Ok(())
    }

    /// Adds a table whose top is z = 0.
    pub fn add_table(&mut self, centre_m: (f64, f64), size_m: (f64, f64), friction: f64) {
        const HALF_THICKNESS_M: f32 = 0.05;
        let body = self.bodies.bodies.insert(RigidBodyBuilder::fixed().translation(Vector::new(
            centre_m.0 as f32,
            centre_m.1 as f32,
            -HALF_THICKNESS_M,
        )));
        let collider = ColliderBuilder::cuboid(0.5 * size_m.0 as f32, 0.5 * size_m.1 as f32, HALF_THICKNESS_M)
            .friction(friction as f32)
            .friction_combine_rule(CoefficientCombineRule::Max)
            .collision_groups(InteractionGroups::new(WORLD, Group::ALL, InteractionTestMode::And));
        self.colliders.colliders.insert_with_parent(collider, body, &mut self.bodies.bodies);
    }

    /// Adds a prop at `pose` (of its centre of mass).
    pub fn add_prop(&mut self, entity: Entity, shape: &PropShape, mass_kg: f64, friction: f64, pose: Pose) {
        let bodies = &mut self.bodies.bodies;
        // Nothing else would ever stop a rolling ball: Rapier knows no rolling resistance.
        let rolling = if matches!(shape, PropShape::Ball(_)) { BALL_DAMPING_HZ } else { 0.0 };
        let body = RigidBodyBuilder::dynamic().pose(pose).angular_damping(rolling);
        let body = bodies.insert(body.user_data(u128::from(entity.to_bits())));
        let mass = mass_kg as f32;
        let parts: Vec<(SharedShape, Pose, f32)> = match *shape {
            PropShape::Block(x, y, z) => {
                vec![(SharedShape::cuboid(0.5 * x as f32, 0.5 * y as f32, 0.5 * z as f32), Pose::IDENTITY, mass)]
            }
            PropShape::Ball(radius) => vec![(SharedShape::ball(radius as f32), Pose::IDENTITY, mass)],
            PropShape::Tee(tee) => tee
                .boxes_m()
                .iter()
                .map(|&(x, y, half_x, half_y)| {
                    let share = (4.0 * half_x * half_y / tee.area_m2()) as f32;
                    (
                        SharedShape::cuboid(half_x as f32, half_y as f32, 0.5 * tee.height_m as f32),
                        Pose::from_translation(Vector::new(x as f32, y as f32, 0.0)),
                        mass * share,
                    )
                })
                .collect(),
        };
        let colliders = parts
            .into_iter()
            .map(|(shape, at, mass)| {
                let collider = ColliderBuilder::new(shape)
                    .position(at)
                    .mass(mass)
                    .friction(friction as f32)
                    .friction_combine_rule(CoefficientCombineRule::Max)
                    .collision_groups(InteractionGroups::new(WORLD, Group::ALL, InteractionTestMode::And))
                    .user_data(u128::from(entity.to_bits()));
                self.colliders.colliders.insert_with_parent(collider, body, bodies)
            })
            .collect();
        self.members.props.push(SimProp { entity, body, colliders });
    }
}

impl PhysicsItem<'_, '_> {
    /// One physics step; the servos' springs must have been set for it.
    pub fn step(&mut self) {
        let simulation = &mut *self.simulation;
        let joints = &mut *self.joints;
        simulation.pipeline.step(
            self.configuration.gravity,
            &simulation.integration_parameters,
            &mut simulation.islands,
            &mut simulation.broad_phase,
            &mut simulation.narrow_phase,
            &mut self.bodies.bodies,
            &mut self.colliders.colliders,
            &mut joints.impulse_joints,
            &mut joints.multibody_joints,
            &mut simulation.ccd_solver,
            &*self.bristles,
            &(),
        );
        self.bristles.end_step();
    }

    /// Writes each joint's spring: stiffness in Nm/rad and rest angle in rad, from `spring(joint index, angle)`.
    pub fn set_springs(&mut self, arm: usize, mut spring: impl FnMut(usize, f32) -> (f32, f32)) {
        let joints = &mut *self.joints;
        for (index, handle) in self.members.arms[arm].joints.iter().enumerate() {
            let Some((multibody, link)) = joints.multibody_joints.get_mut(*handle) else { continue };
            let Some(link) = multibody.link_mut(link) else { continue };
            let (stiffness, rest) = spring(index, link.joint.coords()[ANGULAR_X]);
            link.joint.set_spring(ANGULAR_X, stiffness, rest);
        }
    }

    /// Angle (rad) and velocity (rad/s) of every joint of an arm.
    pub fn joint_motion(&self, arm: usize) -> Vec<(f32, f32)> {
        let joints = &self.members.arms[arm].joints;
        joints
            .iter()
            .enumerate()
            .map(|(index, handle)| {
                let found = self.joints.multibody_joints.get(*handle);
                found.map_or((0.0, 0.0), |(multibody, link)| {
                    let angle = multibody.link(link).map_or(0.0, |link| link.joint.coords()[ANGULAR_X]);
                    (angle, multibody.generalized_velocity()[index])
                })
            })
            .collect()
    }

    /// Motion of a prop's body.
    pub fn prop_motion(&self, prop: usize) -> BodyMotion {
        let body = &self.bodies.bodies[self.members.props[prop].body];
        BodyMotion { pose: *body.position(), linear_m_s: body.linvel(), angular_rad_s: body.angvel() }
    }

    /// Number of props.
    pub fn prop_count(&self) -> usize {
        self.members.props.len()
    }

    /// Whether any arm touches a prop.
    pub fn prop_touched(&self, prop: usize) -> bool {
        self.members.props[prop].colliders.iter().any(|collider| {
            self.simulation.narrow_phase.contact_pairs_with(*collider).any(|pair| {
                let other = if pair.collider1 == *collider { pair.collider2 } else { pair.collider1 };
                let arm = self.colliders.colliders[other].collision_groups().memberships.contains(ARM);
                arm && pair.total_impulse_magnitude() > 0.0
            })
        })
    }

    /// Gives a prop a velocity.
    pub fn set_prop_velocity(&mut self, prop: usize, linear_m_s: Vector, angular_rad_s: Vector) {
        let body = &mut self.bodies.bodies[self.members.props[prop].body];
        body.set_linvel(linear_m_s, true);
        body.set_angvel(angular_rad_s, true);
    }

    /// What has come apart, if the simulation diverged: something flew off, or a number is none any more.
    pub fn divergence(&self) -> Option<String> {
        if !self.simulation.pipeline.quarantine().is_empty() {
            return Some("a body's state is no finite number".into());
        }
        for (index, prop) in self.members.props.iter().enumerate() {
            let body = &self.bodies.bodies[prop.body];
            let (place, speed) = (body.translation().length(), body.linvel().length());
            if !(place < SANE_DISTANCE_M && speed < SANE_SPEED_M_S) {
                return Some(format!("prop {index} is {place:.1} m away at {speed:.1} m/s"));
            }
        }
        for arm in 0..self.members.arms.len() {
            for (joint, (angle, velocity)) in self.joint_motion(arm).into_iter().enumerate() {
                if !(angle.abs() < 20.0 && velocity.abs() < 500.0) {
                    return Some(format!("joint {joint} stands at {angle} rad and turns at {velocity} rad/s"));
                }
            }
        }
        None
    }

    /// Saves the world.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            islands: self.simulation.islands.clone(),
            broad_phase: self.simulation.broad_phase.clone(),
            narrow_phase: self.simulation.narrow_phase.clone(),
            ccd_solver: self.simulation.ccd_solver.clone(),
            bodies: self.bodies.bodies.clone(),
            colliders: self.colliders.colliders.clone(),
            multibody_joints: self.joints.multibody_joints.clone(),
            bristles: self.bristles.save(),
        }
    }

    /// Restores a saved world: what follows is what would have followed then, bit for bit.
    pub fn restore(&mut self, saved: &Snapshot) {
        self.restore_once(saved.clone());
    }

    /// The same for a saved world that is not needed again: nothing is copied.
    pub fn restore_once(&mut self, saved: Snapshot) {
        self.simulation.islands = saved.islands;
        self.simulation.broad_phase = saved.broad_phase;
        self.simulation.narrow_phase = saved.narrow_phase;
        self.simulation.ccd_solver = saved.ccd_solver;
        self.bodies.bodies = saved.bodies;
        self.colliders.colliders = saved.colliders;
        self.joints.multibody_joints = saved.multibody_joints;
        self.bristles.restore(&saved.bristles);
    }
}

/// Links joined by fixed joints: one rigid body, carried by the first of them.
struct RigidPart {
    carrier: usize,
    /// Links with their pose in the carrier.
    links: Vec<(usize, DPose3)>,
}

fn rigid_parts(model: &ArmModel) -> Vec<RigidPart> {
    let mut parts: Vec<RigidPart> = Vec::new();
    for (index, link) in model.links.iter().enumerate() {
        let home = link.parent.filter(|_| link.joint.is_none()).and_then(|parent| {
            parts.iter_mut().find_map(|part| {
                let at = part.links.iter().find(|(l, _)| *l == parent)?.1;
                Some((part, at * link.parent_from_link))
            })
        });
        match home {
            Some((part, pose)) => part.links.push((index, pose)),
            None => parts.push(RigidPart { carrier: index, links: vec![(index, DPose3::IDENTITY)] }),
        }
    }
    parts
}

/// The pose in single precision.
pub(super) fn single(pose: &DPose3) -> Pose {
    Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat())
}
