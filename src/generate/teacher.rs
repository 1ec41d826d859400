//! Who shows what to do in generated episodes.

use super::carry_over::Follower;
use super::look_ahead::Present;
use crate::config::Scene;
use crate::robot::Arm;
use crate::task::expert::advise;
use std::sync::Arc;

/// A demonstrator. A clone goes on from the same state: so it can be asked what it would do next.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// The scene's scripted expert at a pace; it has no memory.
    Expert(Arc<Scene>, f64),
    /// A recorded demonstration, carried over.
    Follower(Box<Follower>),
}

impl Teacher {
    /// Command for the present state, rad; `None` where it has none.
    pub fn command_rad(&mut self, arm: &Arm, present: &Present) -> Option<Vec<f64>> {
        match self {
            Self::Expert(scene, speed) => advise(scene, arm, &present.q_rad, &present.props, *speed),
            Self::Follower(follower) => follower.command_rad(arm, present),
        }
    }
}
