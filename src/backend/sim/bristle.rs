//! Bristle friction for grasps. Rapier's friction acts on velocity, so a held object creeps; this hook gives it memory.
//!
//! For every pair of a finger and an object the relative pose at which the two stuck is remembered. Each step the
//! tangential slip since then, at each contact, becomes a surface velocity that makes the solver pull it back, still
//! inside the Coulomb cone. Slip beyond a limit drags the memory along: true sliding.

use bevy::prelude::Component;
use bevy_rapier3d::rapier::prelude::*;
use std::sync::{Mutex, PoisonError};

/// The memory of all sticking pairs. Part of the physics state: it is saved, restored and cleared with it.
#[derive(Component, Debug)]
pub struct Bristles {
    stiffness: f32,
    slip_m: f32,
    step_s: f32,
    // The engine hands hooks out by shared reference; the lock is never contended, since a step runs on one thread.
    pairs: Mutex<Vec<Pair>>,
}

/// One sticking pair.
#[derive(Clone, Copy, Debug)]
struct Pair {
    colliders: (ColliderHandle, ColliderHandle),
    /// Pose of the second collider in the first when they stuck.
    first_from_second: Pose,
    /// Whether it was in contact in this step.
    alive: bool,
}

/// Saved state of [`Bristles`].
#[derive(Clone, Debug)]
pub struct SavedBristles(Vec<Pair>);

impl Bristles {
    /// `stiffness`: share of the slip taken back per step; `slip_m`: slip beyond which a pair slides; `step_s`: length of
    /// a physics step.
    pub fn new(stiffness: f32, slip_m: f32, step_s: f32) -> Self {
        Self { stiffness, slip_m, step_s, pairs: Mutex::default() }
    }

    /// Forgets pairs that did not touch in the step that just ended. Call once after every step.
    pub fn end_step(&mut self) {
        let pairs = self.pairs.get_mut().unwrap_or_else(PoisonError::into_inner);
        pairs.retain_mut(|pair| std::mem::take(&mut pair.alive));
    }

    /// A copy of the memory.
    pub fn save(&self) -> SavedBristles {
        SavedBristles(self.pairs.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Puts a saved memory back.
    pub fn restore(&mut self, saved: &SavedBristles) {
        self.pairs.get_mut().unwrap_or_else(PoisonError::into_inner).clone_from(&saved.0);
    }
}

impl PhysicsHooks for Bristles {
    fn modify_solver_contacts(&self, context: &mut ContactModificationContext) {
        if context.solver_contacts.is_empty() {
            return;
        }
        let first = *context.colliders[context.collider1].position();
        let second = *context.colliders[context.collider2].position();
        let now = first.inv_mul(&second);
        let loaded = context.manifold.points.iter().any(|point| point.data.impulse > 0.0);
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let colliders = (context.collider1, context.collider2);
        let Some(pair) = pairs.iter_mut().find(|pair| pair.colliders == colliders) else {
            pairs.push(Pair { colliders, first_from_second: now, alive: true });
            return;
        };
        pair.alive = true;
        if !loaded {
            pair.first_from_second = now;
            return;
        }
        let normal = *context.normal;
        let slip = |point: Vector, stuck: Pose| {
            let moved = point - stuck * second.inverse_transform_point(point);
            moved - normal * moved.dot(normal)
        };
        let mut stuck = first * pair.first_from_second;
        let worst = context.solver_contacts.iter().map(|c| slip(c.anchor2, stuck).length()).fold(0.0, f32::max);
        if worst > self.slip_m {
            pair.first_from_second = pair.first_from_second.lerp(&now, 1.0 - self.slip_m / worst);
            stuck = first * pair.first_from_second;
        }
        let gain = self.stiffness / self.step_s;
        for contact in context.solver_contacts.iter_mut() {
            contact.tangent_velocity = -slip(contact.anchor2, stuck) * gain;
        }
    }
}
